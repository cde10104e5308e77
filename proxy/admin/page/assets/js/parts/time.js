// Times that go on by themselves: only these small pieces are drawn again each second.
import { html } from "../html.js";
import { now } from "../store.js";
import { clock, span } from "../words.js";

const iso = (unix) => new Date(unix * 1000).toISOString();

/** How long ago; nothing for what never was. */
export function Ago({ at, never = "never" }) {
  if (at === null || at === undefined) return html`<span class="quiet">${never}</span>`;
  const past = Math.max(0, now.value - at);
  return html`<time datetime=${iso(at)} title=${new Date(at * 1000).toLocaleString()}>
    ${past < 2 ? "just now" : `${span(past)} ago`}
  </time>`;
}

/** Until a tier may be tried again. */
export function Until({ at }) {
  const left = at - now.value;
  const said = left > 0 ? `in ${span(left)}` : "with the next request";
  return html`<time class="until" datetime=${iso(at)} title=${clock(at)}>${said}</time>`;
}

export const At = ({ at }) => html`<time datetime=${iso(at)} title=${new Date(at * 1000).toLocaleString()}>${clock(at, now.peek())}</time>`;
