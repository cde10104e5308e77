// How a breaker is: its shape, its word, and what comes next.
import { html } from "../html.js";
import { MEANING, stateWord } from "../words.js";
import { Mark } from "./marks.js";
import { Until } from "./time.js";

const NEXT = { open: "asked again", parked: "may be tried", isolated: "released" };

/** The word, marked. */
export const State = ({ state }) =>
  html`<span class=${`state is-${state}`} title=${MEANING[state]}><${Mark} state=${state} />${stateWord(state)}</span>`;

/** When it may be tried again, where that is known. */
export function Next({ breaker }) {
  if (breaker.state === "closed") return null;
  if (breaker.state === "half_open") return html`<span>a request is asking</span>`;
  if (breaker.until !== null) return html`<span>${NEXT[breaker.state] ?? "again"} <${Until} at=${breaker.until} /></span>`;
  if (breaker.state === "disabled") return html`<span>until it is mended and reset</span>`;
  if (breaker.state === "isolated") return html`<span>until it is released</span>`;
  return html`<span>asked again with the next request</span>`;
}
