// How things are called and written: states, times, numbers, tiers.

const STATES = {
  closed: "closed",
  half_open: "half-open",
  open: "open",
  parked: "parked",
  disabled: "disabled",
  isolated: "isolated",
};

/** From best to worst, as the API orders them. */
export const SEVERITY = ["closed", "half_open", "open", "parked", "disabled", "isolated"];

export const stateWord = (state) => STATES[state] ?? state;

/** What a state means to the next request. */
export const MEANING = {
  closed: "Requests are sent here.",
  half_open: "One request is asking whether it is back; the others go past.",
  open: "It failed; requests go past until it is asked again.",
  parked: "Its upstream asked for a rest.",
  disabled: "A fault that does not pass by itself; mend it, then reset.",
  isolated: "An operator keeps requests off.",
};

export const OUTCOMES = {
  success: "served by the primary",
  fallback_success: "served by a fallback",
  client_error: "a fault of the request",
  exhausted: "no tier served",
  rejected: "refused before any tier",
  cancelled: "the caller left",
  stream_broken: "broke off in its answer",
};

/** How an outcome is to be seen: good, fallback, bad or neutral. */
export const TONE = {
  success: "good",
  fallback_success: "fallback",
  client_error: "neutral",
  exhausted: "bad",
  rejected: "neutral",
  cancelled: "neutral",
  stream_broken: "bad",
};

export const SKIPS = ["open", "half_open", "parked", "disabled", "isolated", "unbound", "unsupported", "too_small_context", "deadline"];

/** Milliseconds, in a few letters. */
export function lasted(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
  return span(ms / 1000);
}

/** Seconds, in a few letters: `42 s`, `5 min`, `2 h 10 min`. */
export function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 90) return `${s} s`;
  if (s < 5400) return s < 600 && s % 60 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${Math.round(s / 60)} min`;
  if (s < 129_600) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.round(s / 86_400)} days`;
}

/** A duration as a person would type it into a configuration. */
export const typed = (seconds) => (seconds % 60 === 0 && seconds >= 120 ? `${seconds / 60}m` : `${seconds}s`);

/** A moment of today as a clock shows it; of another day with its date. */
export function clock(unix, now = Date.now() / 1000) {
  const day = new Date(unix * 1000);
  const time = day.toLocaleTimeString(undefined, { hour12: false });
  if (new Date(now * 1000).toDateString() === day.toDateString()) return time;
  return `${day.toLocaleDateString(undefined, { month: "short", day: "numeric" })} ${time}`;
}

export const share = (part, whole) => (whole ? `${Math.round((100 * part) / whole)} %` : "–");

export const count = (number, one, many = `${one}s`) => `${number.toLocaleString()} ${number === 1 ? one : many}`;

export const bound = (binding) => (binding ? `${binding.source} / ${binding.model ?? "its default model"}` : "none");

/** A tier as operators call it: with its chain's name before it, where that is not the assistant's own. */
export const tierName = (tier) => (tier.chain ? `${tier.chain}/${tier.tier}` : tier.tier);

/** A list in words: `a, b and c`; after `most` how many more. */
export function listed(words, most = 6) {
  if (words.length > most) return `${words.slice(0, most).join(", ")} and ${words.length - most} more`;
  if (words.length < 2) return words.join("");
  return `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}
