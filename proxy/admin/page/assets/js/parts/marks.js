// Small drawings: the state of a breaker by its shape, the home port, the wordmark's anchor, a sparkline.
import { html } from "../html.js";

const SHAPES = {
  closed: html`<circle cx="8" cy="8" r="5" class="solid" />`,
  half_open: html`<circle cx="8" cy="8" r="5" class="line" /><path d="M8 3a5 5 0 0 0 0 10z" class="solid" />`,
  open: html`<path d="M3.5 3.5l9 9m0-9l-9 9" class="line thick" />`,
  parked: html`<path d="M5.5 3.5v9m5-9v9" class="line thick" />`,
  disabled: html`<path d="M3.5 3.5h9v9h-9z" class="line" /><path d="M3.5 12.5l9-9" class="line" />`,
  isolated: html`<path d="M8 2l6 6-6 6-6-6z" class="line" />`,
  unbound: html`<circle cx="8" cy="8" r="4.6" class="line dashed" />`,
};

/** A state's shape; its word stands beside it. */
export const Mark = ({ state }) =>
  html`<svg class=${`mark is-${state}`} viewBox="0 0 16 16" width="14" height="14" aria-hidden="true">${SHAPES[state]}</svg>`;

export const Anchor = ({ size = 14 }) =>
  html`<svg class="anchor" viewBox="0 0 16 16" width=${size} height=${size} aria-hidden="true">
    <circle cx="8" cy="3" r="1.6" class="line" />
    <path d="M8 4.6V14M5.4 7h5.2M2.5 9.5A5.6 5.6 0 0 0 8 14a5.6 5.6 0 0 0 5.5-4.5" class="line" />
  </svg>`;

const WIDE = 84;
const HIGH = 20;

/** The latest values, oldest first; the last is marked. */
export function Spark({ values, label }) {
  if (values.length < 2) return html`<span class="spark none" role="img" aria-label=${label}></span>`;
  const shown = values.slice(-40);
  const most = Math.max(...shown);
  const step = (WIDE - 4) / (shown.length - 1);
  const at = (value) => HIGH - 2 - (most ? (value / most) * (HIGH - 5) : 0);
  const points = shown.map((value, n) => `${(2 + n * step).toFixed(1)},${at(value).toFixed(1)}`);
  return html`<svg class="spark" viewBox=${`0 0 ${WIDE} ${HIGH}`} width=${WIDE} height=${HIGH} role="img" aria-label=${label}>
    <polyline points=${points.join(" ")} />
    <circle cx=${WIDE - 2} cy=${at(shown.at(-1)).toFixed(1)} r="1.8" />
  </svg>`;
}

/** The middle of them. */
export function median(values) {
  if (!values.length) return null;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)];
}
