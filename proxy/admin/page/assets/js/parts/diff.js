// Two values of a field beside each other, line by line: what goes, what comes, what stays.
import { html } from "../html.js";
import { bound, count } from "../words.js";

export function Diff({ changes, titles = true }) {
  return html`<ul class="diffs">
    ${changes.map(
      (each) => html`<li key=${`${each.assistant}/${each.field}`}>
        ${titles && html`<h4>${each.assistant && html`<span>${each.assistant}</span> `}${each.field}</h4>`}
        <${Lines} before=${lines(each.before)} after=${lines(each.after)} />
      </li>`,
    )}
  </ul>`;
}

function Lines({ before, after }) {
  return html`<ul class="lines">
    ${compared(before, after).map(
      ([how, text], n) => html`<li key=${n} class=${how}>
        <span class="sign" aria-hidden="true">${{ gone: "−", come: "+", stays: " " }[how]}</span>
        ${how !== "stays" && html`<span class="unseen">${how === "gone" ? "removed: " : "added: "}</span>`}<span>${text}</span>
      </li>`,
    )}
  </ul>`;
}

/** A value of a configuration, a line for each part of it. */
function lines(value) {
  if (value === null || value === undefined) return ["nothing"];
  if (Array.isArray(value)) return value.length ? value.map(line) : ["none"];
  if (value.source !== undefined) return [line(value)];
  const parts = Object.entries(value).filter(([, each]) => each !== null);
  if (!parts.length) return ["nothing of its own"];
  return parts.flatMap(([key, each]) =>
    each.primary !== undefined || each.fallbacks !== undefined
      ? [`${key}: ${line(each.primary)}`, ...(each.fallbacks ?? []).map((one) => `${key}, then: ${line(one)}`)]
      : [`${key}: ${typeof each === "object" ? JSON.stringify(each) : each}`],
  );
}

function line(value) {
  if (value === null || value === undefined) return "nothing";
  if (typeof value !== "object") return String(value);
  const { source: _, model: __, ...more } = value;
  const told = Object.entries(more).map(([key, each]) => `${key} ${words(each)}`);
  return `${bound(value)}${told.length ? ` (${told.join("; ")})` : ""}`;
}

function words(value) {
  if (Array.isArray(value)) return value.join(", ") || "none";
  return typeof value === "object" ? JSON.stringify(value) : value;
}

/** The longest common lines stay. */
function compared(before, after) {
  const most = Array.from({ length: before.length + 1 }, () => new Array(after.length + 1).fill(0));
  for (let a = before.length - 1; a >= 0; a--) {
    for (let b = after.length - 1; b >= 0; b--) {
      most[a][b] = before[a] === after[b] ? most[a + 1][b + 1] + 1 : Math.max(most[a + 1][b], most[a][b + 1]);
    }
  }
  const found = [];
  let a = 0;
  let b = 0;
  while (a < before.length || b < after.length) {
    if (a < before.length && b < after.length && before[a] === after[b]) found.push(["stays", before[a++]]), b++;
    else if (b >= after.length || (a < before.length && most[a + 1][b] >= most[a][b + 1])) found.push(["gone", before[a++]]);
    else found.push(["come", after[b++]]);
  }
  return found;
}

export const LeftOut = ({ more }) => (more > 0 ? html`<p class="quiet">And ${count(more, "further change")}.</p>` : null);
