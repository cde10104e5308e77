// Where models are served: each source with its models and who uses them.
import { useEffect, useState } from "preact/hooks";
import { Refusal } from "../api.js";
import { html } from "../html.js";
import { loadCatalog } from "../live.js";
import { isolate, release, reset } from "../operate.js";
import { State } from "../parts/state.js";
import { to } from "../place.js";
import { catalog, configured, knownAssistants, tile } from "../store.js";
import { count, SEVERITY } from "../words.js";
import { Findings, tryBinding } from "./tiers.js";

const NAMED = 8;

export function Sources() {
  const [fault, setFault] = useState("");
  const heard = configured.value;
  useEffect(() => {
    loadCatalog().catch((error) => {
      if (!(error instanceof Refusal)) throw error;
      setFault(error.message);
    });
  }, [heard]);
  const now = catalog.value;
  if (now === null) return html`<p class=${fault ? "fault" : "wait"} role="status">${fault || "Asking for the sources…"}</p>`;
  return html`
    <header class="head">
      <h1>Sources</h1>
      <p class="sum">Where models are served; the file says which there are</p>
    </header>
    ${!now.sources.length && html`<p class="empty">The configuration has no source yet: add one under <code>sources</code>.</p>`}
    <ul class="sources">${now.sources.map((each) => html`<${Source} key=${each.name} source=${each} />`)}</ul>
  `;
}

function Source({ source }) {
  return html`<li class="source sheet" aria-labelledby=${`source-${source.name}`}>
    <header>
      <h2 id=${`source-${source.name}`}>${source.name}</h2>
      <p class="quiet">${source.kind}</p>
      <p><code class="wraps">${source.base_url}</code></p>
      <p>${source.credential === "set" ? "credential set" : html`<span class="quiet">no credential</span>`}</p>
      ${source.default_model && html`<p>default model <code class="wraps">${source.default_model}</code></p>`}
      ${source.models.length > 0 && source.models.every((each) => worst({ source: source.name, model: each.model }) === "isolated") && html`<span class="tag bad">isolated</span>`}
      <p class="quiet used">${source.uses ? `used by ${count(source.uses, "tier")}` : "used by nobody"}</p>
    </header>
    ${source.models.length > 0 && html`<ul class="models">${source.models.map((each) => html`<${Model} key=${each.model} source=${source.name} model=${each} />`)}</ul>`}
  </li>`;
}

function Model({ source, model }) {
  const [tested, setTested] = useState(null);
  const [open, setOpen] = useState(false);
  const pair = { source, model: model.model };
  const state = worst(pair);
  const test = async (reach) => {
    setTested("asking");
    setTested(await tryBinding({ ...pair, reach }));
  };
  const shown = open ? model.used_by : model.used_by.slice(0, NAMED);
  const left = model.uses - shown.length;
  return html`<li class="model-of">
    <p class="what"><b>${model.model}</b> ${state && html`<${State} state=${state} />`}</p>
    <p class="quiet declared-of">${[model.context && `context ${model.context.toLocaleString()}`, model.supports && `supports ${model.supports.join(", ") || "nothing declared"}`].filter(Boolean).join("; ")}</p>
    <ul class="users">
      ${shown.map((each) => html`<li key=${`${each.assistant}/${each.tier}`}><a href=${to("assistants", each.assistant)}>${each.assistant}</a> <span class="quiet">${each.tier}</span></li>`)}
      ${left > 0 && html`<li>${open ? html`<span class="quiet">and ${left} more</span>` : html`<button class="plain" onClick=${() => setOpen(true)}>and ${left} more</button>`}</li>`}
    </ul>
    <p class="acts">
      <button aria-label=${`Test ${model.model}`} onClick=${() => test(false)}>Test</button>
      ${state === "isolated"
        ? html`<button aria-label=${`Release ${model.model}`} onClick=${() => release(pair)}>Release…</button>`
        : html`<button aria-label=${`Isolate ${model.model}`} onClick=${() => isolate(pair)}>Isolate…</button>`}
      <button aria-label=${`Reset ${model.model}`} onClick=${() => reset(pair)}>Reset…</button>
    </p>
    ${tested && html`<${Findings} tested=${tested} reach=${() => test(true)} close=${() => setTested(null)} />`}
  </li>`;
}

/** The worst state that anybody's tier of this binding is in. */
function worst({ source, model }) {
  const states = knownAssistants.value.flatMap((id) =>
    (tile(id).doc.value?.tiers ?? []).filter((each) => each.source === source && each.model === model).map((each) => each.breaker.state),
  );
  return states.length ? states.reduce((a, b) => (SEVERITY.indexOf(b) > SEVERITY.indexOf(a) ? b : a)) : null;
}
