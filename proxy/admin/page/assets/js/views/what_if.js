// What the next request would meet, and what if: the real walk over the chain, with nothing sent.
import { html } from "../html.js";
import { Sentence } from "../parts/decision.js";
import { ASSUMPTIONS, ENDPOINTS, NEEDS } from "../plan.js";
import { modelOf, status } from "../store.js";
import { stateWord } from "../words.js";

/** `tiers` are names and bindings of the chain that is asked about: as it is, or as an edit would have it. */
export function WhatIf({ plan, tiers, edited }) {
  const assume = plan.assume.value;
  const set = (what, word) => {
    const { [what]: _, ...others } = plan.assume.value;
    plan.assume.value = word ? { ...others, [what]: word } : others;
  };
  return html`<section class="what-if" aria-labelledby="what-if">
    <h2 id="what-if">${edited ? "What the next request would meet, with this edit" : "What the next request would meet"}</h2>
    <${Answer} found=${plan.found.value} assumed=${Object.keys(assume).length > 0} />
    <details open=${Object.keys(assume).length > 0}>
      <summary>What if…</summary>
      <div class="supposed">
        ${tiers.map(
          ([name, binding]) => html`<label key=${name}><span>${name} <small class="quiet">${modelOf(binding)}</small></span>
            <select aria-label=${`Assume of ${name}`} value=${assume[name] ?? ""} onChange=${(event) => set(name, event.target.value)}>
              <option value="">as it is</option>
              ${ASSUMPTIONS.map((word) => html`<option key=${word} value=${word}>${stateWord(word)}</option>`)}
            </select>
          </label>`,
        )}
        ${status.value?.store.shared &&
        html`<label><span>the shared store</span>
          <select aria-label="Assume of the shared store" value=${assume.redis ?? ""} onChange=${(event) => set("redis", event.target.value)}>
            <option value="">as it is</option>
            <option value="away">away</option>
          </select>
        </label>`}
        <label><span>the request asks for</span>
          <select value=${plan.endpoint.value} onChange=${(event) => ((plan.endpoint.value = event.target.value), (plan.assume.value = {}))}>
            ${ENDPOINTS.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
          </select>
        </label>
        <div class="ticks">
          <label><input type="checkbox" checked=${plan.stream.value} onChange=${(event) => (plan.stream.value = event.target.checked)} />streamed</label>
          ${NEEDS.map((name) => html`<${Need} key=${name} name=${name} plan=${plan} />`)}
        </div>
      </div>
    </details>
  </section>`;
}

function Need({ name, plan }) {
  const asked = plan.needs.value.includes(name);
  const set = () => (plan.needs.value = asked ? plan.needs.value.filter((each) => each !== name) : [...plan.needs.value, name]);
  return html`<label><input type="checkbox" checked=${asked} onChange=${set} />needs ${name}</label>`;
}

function Answer({ found, assumed }) {
  if (found === null) return html`<p class="verdict quiet">…</p>`;
  if (found.faults) {
    const said = found.refused ? "The check refuses this, so it would not be saved." : "This cannot be said now.";
    return html`<p class="verdict bad" role="status">${said}</p>`;
  }
  return html`<div role="status">
    <p class="verdict">
      ${found.would === "serve"
        ? html`<b>${found.tier}</b> serves: ${found.source} / ${found.model}${found.probe ? ", asking whether it is back" : ""}`
        : html`<b class="bad">Nobody serves</b>: the caller gets <code>${found.refusal}</code>`}
    </p>
    <ol class="story">${found.story.map((said) => html`<${Sentence} key=${said} said=${said} />`)}</ol>
    ${found.reason && html`<p class="hint">The header would say <code class="wraps">${found.reason}</code></p>`}
    ${assumed && html`<p class="hint">With what is assumed below. Nothing was sent, and nothing has changed.</p>`}
  </div>`;
}
