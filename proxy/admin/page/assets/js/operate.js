// An operator's hand on a tier's breaker. Each act is asked about first, with who it touches and what it means to them.
import { signal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { post } from "./api.js";
import { html } from "./html.js";
import { refresh } from "./live.js";
import { confirm, tell } from "./parts/dialog.js";
import { knownAssistants, tile } from "./store.js";
import { bound, listed } from "./words.js";

const SPANS = [
  ["5m", "5 minutes"],
  ["10m", "10 minutes"],
  ["30m", "30 minutes"],
  ["1h", "1 hour"],
  ["", "until somebody releases it"],
];

const owns = (document) => document?.breaker?.scope === "assistant";

/** Assistants whose requests meet the breaker of this tier. Without `id`: of everybody's. */
export function touched(tier, id = null) {
  if (id !== null && owns(tile(id).doc.value)) return [id];
  return knownAssistants.value.filter((name) => {
    const document = tile(name).doc.value;
    return document !== null && (id === null || !owns(document)) && document.tiers.some((each) => each.source === tier.source && each.model === tier.model);
  });
}

const Who = ({ names }) => html`<b>${listed(names)}</b>`;
const pass = (names) => (names.length === 1 ? "passes" : "pass");

async function act(action, tier, id, more = {}) {
  const body = { source: tier.source, model: tier.model, action, ...more };
  if (id !== null) body.assistant = id;
  await post("api/breakers", body);
  refresh(touched(tier, id), 0);
}

export function isolate(tier, id = null) {
  const names = touched(tier, id);
  const span = signal("10m");
  return confirm({
    title: `Isolate ${bound(tier)}`,
    body: () => html`
      <p>
        No request is sent to ${bound(tier)}, on any replica. <${Who} names=${names} /> ${pass(names)} it by and
        ${names.length === 1 ? " goes" : " go"} on to the next tier, as in an outage. Requests that it is answering now
        end as they would.
      </p>
      <${Foretold} tier=${tier} names=${names} state="isolated" />
      <label>For how long <select value=${span.value} onChange=${(event) => (span.value = event.target.value)}>
        ${SPANS.map(([value, text]) => html`<option key=${value} value=${value}>${text}</option>`)}
      </select></label>`,
    act: "Isolate",
    danger: true,
    run: async () => {
      await act("isolate", tier, id, span.value ? { for: span.value } : {});
      tell(`${bound(tier)} is isolated.`);
    },
  });
}

export function release(tier, id = null) {
  const names = touched(tier, id);
  return confirm({
    title: `Release ${bound(tier)}`,
    body: html`<p>Requests of <${Who} names=${names} /> are sent to ${bound(tier)} again, as soon as its breaker allows.</p>`,
    act: "Release",
    run: async () => {
      await act("release", tier, id);
      tell(`${bound(tier)} is released.`);
    },
  });
}

export function reset(tier, id = null) {
  const names = touched(tier, id);
  return confirm({
    title: `Reset ${bound(tier)}`,
    body: html`<p>
      Its breaker closes and forgets what it met, and so does that of the credential of ${tier.source}. The next
      requests of <${Who} names=${names} /> are sent there at once. If it still fails, they meet that before the breaker
      opens again.
    </p>`,
    act: "Reset",
    danger: true,
    run: async () => {
      await act("reset", tier, id);
      tell(`The breaker of ${bound(tier)} is reset.`);
    },
  });
}

/** What it would mean to the first assistants that it touches, as the real walk foresees it. */
function Foretold({ tier, names, state }) {
  const [told, setTold] = useState([]);
  useEffect(() => void foresee(tier, names.slice(0, 3), state).then(setTold), []);
  return html`<ul class="foretold">${told.map((said) => html`<li key=${said}>${said}</li>`)}</ul>`;
}

async function foresee(tier, names, state) {
  const asked = names.map(async (name) => {
    const own = tile(name).doc.value.tiers.find((each) => each.chain === null && each.source === tier.source && each.model === tier.model);
    if (!own) return null;
    const { would, tier: by, source, model } = await post(`api/assistants/${encodeURIComponent(name)}/explain`, { assume: { [own.tier]: state } });
    return would === "serve" ? `${name} would be served by ${by} (${source} / ${model}).` : `Nobody would serve ${name}.`;
  });
  return (await Promise.all(asked.map((each) => each.catch(() => null)))).filter(Boolean);
}
