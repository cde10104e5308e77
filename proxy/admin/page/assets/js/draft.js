// An edit that is being made: pure values, made from an assistant's document and into the body of a PUT.
import { typed } from "./words.js";

let count = 0;
const slot = (binding) => ({ key: ++count, binding });

/** What is edited. `slots` begins with the home port, whose binding is null where it is cleared. */
export function begin(document) {
  const own = document.breaker;
  return {
    base: document,
    slots: [document.primary, ...document.fallbacks].map(slot),
    embeddings: document.chains.embeddings ? [document.chains.embeddings.primary ?? null, ...(document.chains.embeddings.fallbacks ?? [])].map(slot) : null,
    own: own?.scope === "assistant",
    threshold: own?.failure_threshold === undefined ? "" : String(own.failure_threshold),
    cooldown: own?.cooldown === undefined || own.cooldown === null ? "" : typed(own.cooldown),
  };
}

/** The fields that differ from what was in force, as a PUT takes them; null if none does. */
export function edit(draft) {
  const { base } = draft;
  const made = { ...chain(draft.slots), breaker: breaker(draft) };
  if (draft.embeddings) made.chains = { ...base.chains, embeddings: { ...base.chains.embeddings, ...chain(draft.embeddings) } };
  const changed = Object.entries(made).filter(([field, value]) => !same(value, base[field]));
  return changed.length ? Object.fromEntries(changed) : null;
}

/** A tier has no model yet, nor has its source a default, as far as `modelOf` knows: there is nothing to check. */
export const unfinished = (draft, modelOf) =>
  [...draft.slots, ...(draft.embeddings ?? [])].some(({ binding }) => binding !== null && (!binding.source || modelOf(binding) === null));

/** The draft upon what somebody else has made meanwhile: what it changes it still changes, and the rest is theirs. */
export function rebase(draft, theirs) {
  const mine = edit(draft) ?? {};
  const fresh = begin(theirs);
  const slots = ["primary" in mine ? draft.slots[0] : fresh.slots[0], ...("fallbacks" in mine ? draft : fresh).slots.slice(1)];
  const { own, threshold, cooldown } = "breaker" in mine ? draft : fresh;
  return { base: theirs, slots, embeddings: ("chains" in mine ? draft : fresh).embeddings, own, threshold, cooldown };
}

/** What it changes, field by field, as a revision tells it. */
export const changes = (fields, before) => Object.entries(fields).map(([field, after]) => ({ field, before: before[field], after }));

const chain = (slots) => ({ primary: slots[0].binding, fallbacks: slots.slice(1).map((each) => each.binding) });

function breaker({ base, own, threshold, cooldown }) {
  if (!own) return base.breaker?.scope === "assistant" ? null : base.breaker;
  const made = { ...base.breaker, scope: "assistant" };
  set(made, "failure_threshold", threshold.trim(), /^\d+$/.test(threshold.trim()) ? Number(threshold) : threshold.trim());
  const kept = base.breaker?.cooldown;
  set(made, "cooldown", cooldown.trim(), kept !== undefined && kept !== null && typed(kept) === cooldown.trim() ? kept : cooldown.trim());
  return made;
}

function set(made, name, text, value) {
  if (text === "") delete made[name];
  else made[name] = value;
}

/** Equal, whatever the order of the keys. */
export const same = (a, b) => written(a) === written(b);

function written(value) {
  if (value === null || typeof value !== "object") return JSON.stringify(value ?? null);
  if (Array.isArray(value)) return `[${value.map(written).join()}]`;
  const keys = Object.keys(value).filter((key) => value[key] !== undefined && value[key] !== null).sort();
  return `{${keys.map((key) => `${JSON.stringify(key)}:${written(value[key])}`).join()}}`;
}

// -- changes of a chain; each gives new slots

/** Move a tier; one that comes to the top becomes the home port, and an empty home port gives way. */
export function move(slots, from, to) {
  if (to < 0 || to >= slots.length || from === to || slots[from].binding === null) return slots;
  const moved = [...slots];
  const [taken] = moved.splice(from, 1);
  if (to === 0 && slots[0].binding === null) moved.shift();
  moved.splice(to, 0, taken);
  return moved;
}

export const add = (slots, binding) => [...slots, slot(binding)];

/** Without this tier; of the home port the place stays, cleared. */
export const remove = (slots, place) =>
  place === 0 ? slots.with(0, { ...slots[0], binding: null }) : slots.toSpliced(place, 1);

/** Another binding there. What was declared of the former model is taken from what is declared of the new one anywhere. */
export function bind(slots, place, binding, declared) {
  const { params } = slots[place].binding ?? {};
  const made = { source: binding.source, model: binding.model };
  if (params !== undefined) made.params = params;
  if (declared?.context) made.context = declared.context;
  if (declared?.supports) made.supports = declared.supports;
  return slots.with(place, { ...slots[place], binding: made });
}

export const declare = (slots, place, name, value) => {
  const { [name]: _, ...rest } = slots[place].binding;
  return slots.with(place, { ...slots[place], binding: value === null ? rest : { ...rest, [name]: value } });
};

export const nameOf = (place) => (place === 0 ? "primary" : `fallback-${place}`);

/**
 * What the server's check says, line by line, beside the part of the draft that it is about: `primary`, `fallback-1`,
 * `embeddings/primary`, `breaker`; `""` for the rest.
 */
export function placed(message, assistant) {
  return message.split("\n").map((line) => {
    const path = line.startsWith("assistants.") ? line.slice("assistants.".length).replace(`${assistant}.`, "") : "";
    const [where, said] = path ? [path.slice(0, path.indexOf(": ")), path.slice(path.indexOf(": ") + 2)] : ["", line];
    return { at: part(where), said: said.replace("; ", ". To mend it: ") };
  });
}

function part(where) {
  const words = where.split(".");
  const before = words[0] === "chains" ? `${words[1]}/` : "";
  const [field, place] = before ? words.slice(2) : words;
  if (field === "primary") return `${before}primary`;
  if (field === "fallbacks" && place !== undefined) return `${before}fallback-${Number(place) + 1}`;
  return field === "breaker" ? "breaker" : "";
}
