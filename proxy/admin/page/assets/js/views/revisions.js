// Who changed what, newest first, and the way back.
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { all, ask, post, Refusal } from "../api.js";
import { same } from "../draft.js";
import { html } from "../html.js";
import { Diff, LeftOut } from "../parts/diff.js";
import { confirm, tell } from "../parts/dialog.js";
import { At } from "../parts/time.js";
import { configured, status } from "../store.js";
import { count } from "../words.js";

const PAGE = 30;
const FROM = { api: "the API", page: "the page" };

export function Revisions() {
  const book = useSignal(null);
  const fault = useSignal("");
  const busy = useSignal(false);
  const read = async (more) => {
    busy.value = true;
    try {
      const from = more ? `&before=${book.value.next}` : "";
      const found = await ask(`api/revisions?limit=${PAGE}${from}`);
      book.value = more ? { ...found, revisions: [...book.value.revisions, ...found.revisions] } : found;
      fault.value = "";
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      fault.value = error.message;
    } finally {
      busy.value = false;
    }
  };
  const heard = configured.value;
  useEffect(() => void read(false), [heard]);
  if (book.value === null) return html`<p class=${fault.value ? "fault" : "wait"} role="status">${fault.value || "Asking for the revisions…"}</p>`;
  const { revisions, number, next } = book.value;
  const mayEdit = status.value?.configuration.edits !== "off";
  return html`
    <header class="head">
      <h1>Revisions</h1>
      <p class="sum">Who changed what is served; the last 200 are kept</p>
    </header>
    ${!revisions.length && html`<p class="empty">Nothing has been changed yet, and nothing is kept of what was before.</p>`}
    <ol class="revisions">
      ${revisions.map((each) => html`<${Revision} key=${each.number} revision=${each} newest=${number} mayEdit=${mayEdit} />`)}
    </ol>
    ${next !== null && html`<button class="more" disabled=${busy.value} onClick=${() => read(true)}>Show earlier ones</button>`}
  `;
}

function Revision({ revision: each, newest, mayEdit }) {
  return html`<li class="revision sheet" aria-labelledby=${`revision-${each.number}`}>
    <header>
      <h2 id=${`revision-${each.number}`}>${each.number}</h2>
      <p>
        <b>${each.origin === "file" ? "the file" : each.by}</b>
        <span class="quiet">${each.origin === "file" ? "" : ` through ${FROM[each.origin] ?? each.origin}`}, <${At} at=${each.at} /></span>
      </p>
      ${each.note && html`<p class="note-of">${each.note}</p>`}
      <p class="acts">
        ${each.number === newest && html`<span class="tag">in force</span>`}
        ${each.number !== newest && mayEdit && html`<button onClick=${() => restore(each.number, newest)} aria-label=${`Go back to revision ${each.number}`}>Go back to this…</button>`}
      </p>
    </header>
    ${each.changes.length > 0 ? html`<${Diff} changes=${each.changes} />` : html`<p class="quiet">No assistant was changed by it.</p>`}
    <${LeftOut} more=${each.changes_left_out} />
  </li>`;
}

/** Ask with all that going back would change: what is in force of each field, and what was before the later revisions. */
async function restore(number, newest) {
  let book;
  try {
    book = await all("api/revisions?limit=200", "revisions", "before");
  } catch (error) {
    return tell(error.message, "bad");
  }
  const later = book.revisions.filter((each) => each.number > number);
  const fields = new Map();
  for (const each of later.flatMap((one) => one.changes)) {
    const key = `${each.assistant} ${each.field}`;
    fields.set(key, { assistant: each.assistant, field: each.field, before: (fields.get(key) ?? { before: each.after }).before, after: each.before });
  }
  const changes = [...fields.values()].filter((each) => !same(each.before, each.after));
  const hidden = later.reduce((sum, each) => sum + each.changes_left_out, 0);
  return confirm({
    title: `Go back to revision ${number}`,
    body: html`<p>
        What was in force at revision ${number} is in force again on all replicas, as a new revision, and
        ${" "}${count(later.length, "later revision is", "later revisions are")} undone. Assistants that were not there yet
        stay as they are.
      </p>
      ${changes.length ? html`<${Diff} changes=${changes.slice(0, 40)} /><${LeftOut} more=${changes.length - 40 + hidden} />` : html`<p>No assistant would change.</p>`}`,
    act: "Go back",
    danger: true,
    run: async () => {
      try {
        await post(`api/revisions/${number}/restore`, undefined, { seen: newest });
      } finally {
        configured.value += 1;
      }
      tell(`What was in force at revision ${number} is in force again.`);
    },
  });
}

