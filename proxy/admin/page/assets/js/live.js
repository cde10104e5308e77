// What happens, as it happens: one stream of events and the state that it changes, put into the store frame by frame.
import { batch } from "@preact/signals";
import { all, ask, Refusal } from "./api.js";
import * as store from "./store.js";

/** Decisions that are asked for at the start; and when a stream begins anew. */
const FIRST = 500;
const AGAIN = 100;
/** Events that wait for a frame; where more came, all is asked for anew. */
const MOST = 2000;
/** Milliseconds that a page which nobody sees keeps its stream. */
const HIDDEN = 30_000;
/** Milliseconds between looks at what no event tells of: last uses, staleness. */
const LOOK = 12_000;

let source = null;
let last = null;
let queue = [];
let frame = 0;
let missed = false;
let retry = 0;
let wait = 500;
let due = new Set();
let timer = 0;
let hiding = 0;

/** Begin to follow; again after a sign-in. */
export function follow() {
  stop();
  connect();
}

export function stop() {
  source?.close();
  source = null;
  clearTimeout(retry);
}

function connect() {
  source = new EventSource(last === null ? "api/events" : `api/events?after=${encodeURIComponent(last)}`);
  source.onopen = () => {
    wait = 500;
    // What was missed before the stream began is in the whole state.
    load().then((well) => well && say("live"));
  };
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) refused();
    else away();
  };
  for (const kind of ["decision", "breaker", "store", "config"]) source.addEventListener(kind, (event) => take(kind, event));
  source.addEventListener("gap", () => {
    missed = true;
    wake();
  });
}

function say(state) {
  if (store.link.value.state !== state) store.link.value = { state, since: store.now.peek() };
}

function away() {
  // A stream that ends while all is well comes back at once: that is not worth a word.
  clearTimeout(retry);
  retry = setTimeout(() => look().catch(() => say("away")), 400);
}

/** The stream was refused: signed out, no room for a reader, or nobody there. */
async function refused() {
  stop();
  try {
    await look();
    await load();
    say("looking");
  } catch (error) {
    if (error instanceof Refusal && error.status === 401) return;
    say("away");
  }
  wait = Math.min(wait * 2, 10_000);
  clearTimeout(retry);
  retry = setTimeout(connect, wait);
}

function take(kind, event) {
  last = event.lastEventId || last;
  if (queue.length >= MOST) {
    queue = [];
    missed = true;
  }
  queue.push([kind, event.data]);
  wake();
}

function wake() {
  if (!frame) frame = requestAnimationFrame(apply);
}

function apply() {
  frame = 0;
  const now = queue;
  queue = [];
  if (missed) {
    missed = false;
    load();
  }
  batch(() => {
    const decided = [];
    for (const [kind, data] of now) {
      const event = JSON.parse(data);
      if (kind === "decision") decided.unshift(event);
      if (kind === "breaker") {
        store.applyBreaker(event);
        refresh(event.assistants, 250);
      }
      if (kind === "store") refreshAll(250);
      if (kind === "config") {
        store.configured.value += 1;
        refreshAll(50);
      }
    }
    if (decided.length) store.addDecisions(decided);
  });
}

/** Ask for the whole state; whether that went well. */
async function load() {
  try {
    const limit = store.decisions.peek().length ? AGAIN : FIRST;
    const [, , found] = await Promise.all([look(), assistants(), ask(`api/decisions?limit=${limit}`)]);
    store.setDecisions(found.decisions);
    store.complete.value = found.complete;
    return true;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    if (error.status === 0) say("away");
    return false;
  }
}

async function look() {
  const document = await ask("api/status");
  store.setClock(document.started_at + document.uptime_seconds);
  store.status.value = document;
  store.session.value = "in";
  if (store.link.value.state === "away" && source?.readyState === EventSource.OPEN) say("live");
}

async function assistants() {
  const found = await all("api/assistants", "assistants", "after");
  store.setAssistants(found.assistants);
}

export async function loadCatalog() {
  store.catalog.value = await ask("api/catalog");
  return store.catalog.value;
}

/** Ask for these assistants again, soon and once. */
export function refresh(ids, after = 1000) {
  ids.forEach((id) => due.add(id));
  if (!timer) timer = setTimeout(renew, after);
}

function refreshAll(after) {
  due.add("*");
  clearTimeout(timer);
  timer = setTimeout(renew, after);
}

async function renew() {
  timer = 0;
  const wanted = [...due];
  due = new Set();
  try {
    if (wanted.includes("*") || wanted.length > 4) {
      await Promise.all([look(), assistants()]);
    } else {
      const found = await Promise.all(wanted.map((id) => ask(`api/assistants/${encodeURIComponent(id)}`)));
      batch(() => found.forEach(store.setAssistant));
    }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    if (error.status === 0) say("away");
    if (error.status === 404) assistants().catch(() => {});
  }
}

setInterval(() => {
  if (store.session.value === "in" && !document.hidden && source) refreshAll(0);
}, LOOK);

document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (document.hidden) hiding = setTimeout(stop, HIDDEN);
  else if (!source && store.session.value === "in") connect();
});
