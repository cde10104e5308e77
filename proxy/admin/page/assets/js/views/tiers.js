// The tiers of an assistant, one below the other, with all that is known of each and what can be done with it.
import { useState } from "preact/hooks";
import { post } from "../api.js";
import { html } from "../html.js";
import { isolate, release, reset, touched } from "../operate.js";
import { Requests } from "../parts/decision.js";
import { Anchor } from "../parts/marks.js";
import { Said } from "../parts/said.js";
import { Next, State } from "../parts/state.js";
import { Ago } from "../parts/time.js";
import { listed, span, stateWord, tierName } from "../words.js";

export const Tiers = ({ document }) =>
  html`<ol class="tiers">${document.tiers.map((each) => html`<${Tier} key=${tierName(each)} id=${document.id} tier=${each} serves=${each.chain === null && each.tier === document.serves_now} />`)}</ol>`;

function Tier({ id, tier, serves }) {
  const name = tierName(tier);
  const others = touched(tier, id).filter((each) => each !== id);
  return html`<li class=${`tier is-${tier.breaker.state}`} aria-labelledby=${`tier-${name}`}>
    <header>
      <h3 id=${`tier-${name}`}>${tier.tier === "primary" && html`<${Anchor} />`} ${name}</h3>
      <p class="binding"><b>${tier.model}</b> <span class="quiet">at ${tier.source}${tier.model_from === "source" && ", its default model"}</span></p>
      <p class="condition"><${State} state=${tier.breaker.state} />${serves && html`<span class="now">serves now</span>`}</p>
    </header>
    <${Condition} tier=${tier} />
    <dl class="facts">
      <div><dt>last used</dt><dd><${Ago} at=${tier.last_used_at} /></dd></div>
      <div><dt>last served</dt><dd><${Ago} at=${tier.last_success_at} /></dd></div>
      <div><dt>last failed</dt><dd><${Ago} at=${tier.last_failure_at} /></dd></div>
      <div><dt>opens after</dt><dd>${tier.failure_threshold} failures, rests ${span(tier.cooldown_seconds)}</dd></div>
      <div><dt>asks</dt><dd><code class="wraps">${tier.url}</code> <span class="quiet">${tier.kind}</span></dd></div>
      <div><dt>health</dt><dd>${others.length ? `shared with ${listed(others, 4)}` : "this assistant’s alone"}</dd></div>
    </dl>
    <${Acts} id=${id} tier=${tier} name=${name} />
  </li>`;
}

/** Why it is so, since when, and what comes next; endpoint by endpoint where they differ. */
function Condition({ tier }) {
  const said = Object.entries(tier.breakers);
  const alike = said.every(([, each]) => each.state === tier.breaker.state && each.reason === tier.breaker.reason);
  const shown = alike ? [["", tier.breaker]] : said.filter(([, each]) => each.state !== "closed" || each.failures > 0);
  return html`<div class="conditions">${shown.map(([endpoint, each]) => html`<${One} key=${endpoint} endpoint=${endpoint} breaker=${each} />`)}</div>`;
}

function One({ endpoint, breaker: each }) {
  if (each.state === "closed" && !each.failures) return null;
  return html`<p>
    ${endpoint && html`<span class="quiet">${endpoint}: </span>`}
    ${each.state === "closed"
      ? html`closed, with ${each.failures} ${each.failures === 1 ? "failure" : "failures"} in a run`
      : html`${stateWord(each.state)}${each.reason && html` (<code>${each.reason}</code>)`}${each.since !== null && html`, since <${Ago} at=${each.since} />`}; <${Next} breaker=${each} />`}
    ${each.tripped_by.length > 0 && html`; tripped by <${Requests} ids=${each.tripped_by} />`}
    ${each.local && html`<span class="tag">this replica’s own view</span>`}
  </p>`;
}

function Acts({ id, tier, name }) {
  const [tested, setTested] = useState(null);
  const test = async (reach) => {
    setTested("asking");
    setTested(await tryBinding({ source: tier.source, model: tier.model, assistant: id, tier: name, reach }));
  };
  const isolated = tier.breaker.state === "isolated";
  return html`
    <div class="acts">
      <button onClick=${() => test(false)} aria-label=${`Test the binding of ${name}`}>Test binding</button>
      ${isolated
        ? html`<button onClick=${() => release(tier, id)} aria-label=${`Release ${name}`}>Release…</button>`
        : html`<button onClick=${() => isolate(tier, id)} aria-label=${`Isolate ${name}`}>Isolate…</button>`}
      <button onClick=${() => reset(tier, id)} aria-label=${`Reset ${name}`}>Reset…</button>
    </div>
    ${tested && html`<${Findings} tested=${tested} reach=${() => test(true)} close=${() => setTested(null)} />`}
  `;
}

/** Ask the API what it finds; a refusal is a finding too. */
export async function tryBinding(order) {
  try {
    return await post("api/bindings/test", order);
  } catch (error) {
    return { ok: false, reached: null, findings: [{ level: "error", what: "asked", said: error.message, remedy: null }] };
  }
}

const SIGN = { ok: "✓", warning: "!", error: "✕" };

export function Findings({ tested, reach, close }) {
  if (tested === "asking") return html`<p class="findings quiet" role="status">Looking…</p>`;
  return html`<div class="findings" role="status">
    <p><b>${tested.ok ? "It would do." : "It would not do."}</b> <span class="quiet">No model was asked${tested.reached ? "; the source’s listing was" : ""}.</span></p>
    <ul>
      ${tested.findings.map(
        (each) => html`<li key=${each.what + each.said} class=${`level-${each.level}`}>
          <span class="sign" aria-hidden="true">${SIGN[each.level]}</span><span class="unseen">${each.level}: </span>
          <span><b>${each.what}</b> <${Said} text=${each.said} />${each.remedy && html` <em><${Said} text=${each.remedy} /></em>`}</span>
        </li>`,
      )}
    </ul>
    <p class="acts">
      ${reach && html`<button class="plain" onClick=${reach}>Ask its listing too</button>`}
      <button class="plain" onClick=${close}>Close</button>
    </p>
  </div>`;
}
