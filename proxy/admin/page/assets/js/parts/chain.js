// An assistant's chain as a route: the home port first, the tiers after it in the order in which they are tried.
import { html } from "../html.js";
import { MEANING, stateWord } from "../words.js";
import { Anchor, Mark } from "./marks.js";
import { Next } from "./state.js";

/** The stops of one chain: its tiers, and the empty home port of a cleared one. */
export function stops(document, key = null) {
  const tiers = document.tiers.filter((each) => each.chain === key);
  const primary = key === null ? document.primary : document.chains[key]?.primary;
  return primary ? tiers : [null, ...tiers];
}

export function Chain({ document, chain = null }) {
  const all = stops(document, chain);
  const serves = chain === null ? document.serves_now : all.find((each) => each?.admits)?.tier;
  return html`<ol class="route" aria-label=${`The chain of ${document.id}`}>
    ${all.map((tier) => html`<${Stop} key=${tier ? tier.tier : "cleared"} tier=${tier} serves=${tier?.tier === serves} />`)}
  </ol>`;
}

function Stop({ tier, serves }) {
  if (tier === null) {
    return html`<li class="stop passed is-unbound">
      <span class="rail"><${Mark} state="unbound" /></span>
      <span class="named"><${Anchor} /><span class="unseen">primary: </span><em>cleared by an operator</em></span>
      <span class="how">fallbacks serve</span>
    </li>`;
  }
  const { breaker } = tier;
  return html`<li class=${`stop is-${breaker.state}${serves ? " serves" : ""}${tier.admits ? "" : " passed"}`}>
    <span class="rail"><${Mark} state=${breaker.state} /></span>
    <span class="named" title=${`${tier.tier}: ${tier.source} / ${tier.model}`}>
      ${tier.tier === "primary" && html`<${Anchor} />`}<span class="unseen">${tier.tier}: </span>
      <span class="model">${tier.model}</span> <span class="at">${tier.source}</span>
    </span>
    <span class="how">
      ${serves
        ? html`<span class="now">serves now</span><span class="unseen">, ${stateWord(breaker.state)}</span>`
        : html`<span class="word" title=${MEANING[breaker.state]}>${stateWord(breaker.state)}</span>`}
      ${!serves && breaker.state !== "closed" && html`<${Next} breaker=${breaker} />`}
    </span>
  </li>`;
}
