// All that the page knows, as signals: fed by live.js, read by the views.
import { batch, computed, signal } from "@preact/signals";
import { SEVERITY } from "./words.js";

/** unknown, in or out. */
export const session = signal("unknown");
/** How the stream of events is: `state` is connecting, live, looking (no room among its readers) or away. */
export const link = signal({ state: "connecting", since: Date.now() / 1000 });
export const status = signal(null);
/** Names of assistants, in the order of the configuration. */
export const order = signal(null);
/** The latest decisions of all assistants, newest first. */
export const decisions = signal([]);
/** Whether those are of all replicas. */
export const complete = signal(true);
/** Counts changes of the configuration that were heard of: what shows it asks again. */
export const configured = signal(0);
export const catalog = signal(null);
/** The last thing that a screen reader is told. */
export const spoken = signal("");

/** Decisions that are kept here at most. */
const KEPT = 1000;
/** Requests of one assistant that are summed up. */
const SHORT = 50;

const tiles = new Map();

/** The server's Unix time, a tick a second. */
export const now = signal(Date.now() / 1000);
let ahead = 0;
setInterval(() => {
  if (!document.hidden) now.value = Date.now() / 1000 + ahead;
}, 1000);

/** The server's clock counts: this browser's may be another. */
export function setClock(unix) {
  ahead = unix - Date.now() / 1000;
  now.value = unix;
}

/** What is known of one assistant: `doc`, and `lately`, what its latest requests met. */
export function tile(id) {
  if (!tiles.has(id)) tiles.set(id, { doc: signal(null), lately: signal(NOTHING) });
  return tiles.get(id);
}

export const knownAssistants = computed(() => order.value ?? []);

export function setAssistants(documents) {
  batch(() => {
    const names = documents.map((each) => each.id);
    if (JSON.stringify(names) !== JSON.stringify(order.value)) order.value = names;
    documents.forEach(setAssistant);
  });
}

export function setAssistant(document) {
  const { doc } = tile(document.id);
  if (JSON.stringify(doc.value) !== JSON.stringify(document)) doc.value = document;
}

/** Take in decisions, newest first, which may be known already. */
export function addDecisions(newer) {
  const known = new Set(decisions.value.map((each) => each.request_id));
  const fresh = newer.filter((each) => !known.has(each.request_id));
  if (fresh.length === 0) return;
  decisions.value = [...fresh, ...decisions.value].slice(0, KEPT);
  summarize();
}

/** What was asked for anew, and before it what was known already. */
export function setDecisions(newest) {
  const known = new Set(newest.map((each) => each.request_id));
  const oldest = newest.at(-1)?.at ?? Infinity;
  const older = decisions.value.filter((each) => !known.has(each.request_id) && each.at <= oldest);
  decisions.value = [...newest, ...older].slice(0, KEPT);
  summarize();
}

const NOTHING = { requests: 0, fallback: 0, unserved: 0, first: [] };

/** Of each assistant's last requests: how many, by whom they were served, and how soon. */
function summarize() {
  const of = new Map();
  for (const each of decisions.value) {
    if (each.assistant === null || each.steps.length === 0) continue;
    let sum = of.get(each.assistant);
    if (!sum) of.set(each.assistant, (sum = { requests: 0, fallback: 0, unserved: 0, first: [] }));
    if (sum.requests >= SHORT) continue;
    sum.requests += 1;
    if (each.outcome === "fallback_success") sum.fallback += 1;
    if (each.outcome === "exhausted" || each.outcome === "stream_broken") sum.unserved += 1;
    const ms = firstToken(each);
    if (ms !== null) sum.first.unshift(ms);
  }
  batch(() => {
    for (const [id, sum] of of) {
      const { lately } = tile(id);
      if (JSON.stringify(lately.value) !== JSON.stringify(sum)) lately.value = sum;
    }
  });
}

/** Milliseconds until a caller had something: of a stream its first token, of anything else its first byte. */
function firstToken(decision) {
  const served = decision.steps.find((each) => each.verdict === "served");
  return served ? (served.first_token_ms ?? decision.first_byte_ms) : null;
}

/** The model that a binding means, its own or its source's default; null where neither is named, undefined where nobody knows yet. */
export const modelOf = (binding) => binding.model ?? catalog.value?.sources.find((each) => each.name === binding.source)?.default_model;

/** A breaker's transition, put into what is known of the tiers behind it until that is asked for anew. */
export function applyBreaker(event) {
  for (const id of event.assistants) {
    const { doc } = tile(id);
    if (doc.value === null) continue;
    const tiers = doc.value.tiers.map((tier) => (meant(event, tier) ? moved(tier, event) : tier));
    const serves = tiers.find((each) => each.chain === null && each.admits);
    doc.value = { ...doc.value, tiers, serves_now: serves ? serves.tier : null };
  }
  const tier = event.model === "*" ? `the credential of ${event.source}` : `${event.source}/${event.model}`;
  spoken.value = `The breaker of ${tier} is now ${event.after.replace("_", "-")}.`;
}

const meant = (event, tier) =>
  event.source === tier.source &&
  (event.model === "*" || event.model === tier.model) &&
  (event.endpoint === "*" || event.endpoint in tier.breakers);

function moved(tier, event) {
  const said = {
    state: event.after,
    reason: event.reason,
    since: event.after === "closed" ? null : event.at,
    until: event.until,
    tripped_by: event.tripped_by,
    failures: 0,
    local: false,
  };
  const breakers = { ...tier.breakers };
  for (const endpoint of Object.keys(breakers)) {
    if (event.endpoint === "*" || event.endpoint === endpoint) breakers[endpoint] = said;
  }
  const breaker = Object.values(breakers).reduce((a, b) => (SEVERITY.indexOf(b.state) > SEVERITY.indexOf(a.state) ? b : a));
  return { ...tier, breakers, breaker, admits: breaker.state === "closed" };
}

/** Everything is forgotten, as who signs out expects. */
export function forget() {
  batch(() => {
    status.value = order.value = catalog.value = null;
    decisions.value = [];
    tiles.clear();
  });
}
