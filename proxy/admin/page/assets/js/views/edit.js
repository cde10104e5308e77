// Editing an assistant: its chain, its breakers, what the server's check says meanwhile, and saving it upon what was seen.
import { signal } from "@preact/signals";
import { useState } from "preact/hooks";
import { ask, at } from "../api.js";
import { begin, changes, edit, placed, rebase, same, unfinished } from "../draft.js";
import { html } from "../html.js";
import { Diff } from "../parts/diff.js";
import { confirm, tell } from "../parts/dialog.js";
import { Sentence } from "../parts/decision.js";
import { Said } from "../parts/said.js";
import { go, to } from "../place.js";
import { configured, modelOf, setAssistant } from "../store.js";
import { ChainEditor } from "./chain_editor.js";

/** Kept while one looks elsewhere; given up by saving or by a click on Cancel. */
const drafts = new Map();

/** The draft of this assistant as a signal; null in it while nobody edits. */
export function useDraft(document, editing) {
  if (!drafts.has(document.id)) drafts.set(document.id, signal(null));
  const draft = drafts.get(document.id);
  if (editing && draft.peek() === null) draft.value = begin(document);
  return editing ? draft : NONE;
}

const NONE = signal(null);

export function Editor({ document, draft, found }) {
  const [theirs, setTheirs] = useState(null);
  const now = draft.value;
  const fields = edit(now);
  const faults = found?.faults && found.refused ? placed(found.faults, document.id) : [];
  const of = (part) => faults.filter((each) => each.at === part).map((each) => each.said);
  const set = (more) => (draft.value = { ...draft.peek(), ...more });
  const leave = () => {
    draft.value = null;
    go(to("assistants", document.id));
  };
  const cancel = async () => {
    const body = html`<p>These changes have not been saved and are given up:</p><${Diff} changes=${changes(fields ?? {}, now.base)} />`;
    if (!fields || (await confirm({ title: "Give up the edit", body, act: "Give it up", danger: true }))) leave();
  };
  const save = async () => {
    const saved = await saving(document.id, now, fields, found);
    if (saved === "outdated") setTheirs(await ask(at("assistants", document.id)));
    if (saved === true) leave();
  };
  const outdated = document.revision !== now.base.revision;
  return html`<form class="editor" aria-label=${`Edit ${document.id}`} onSubmit=${(event) => (event.preventDefault(), fields && save())}>
    ${outdated && !theirs && html`<p class="banner">It was changed meanwhile: revision ${document.revision} is in force. <button type="button" class="plain" onClick=${() => setTheirs(document)}>Compare</button></p>`}
    ${theirs && html`<${Conflict} draft=${draft} theirs=${document.revision > theirs.revision ? document : theirs} done=${() => setTheirs(null)} />`}
    <section aria-labelledby="chain-title">
      <h2 id="chain-title">Chain</h2>
      <p class="hint">Tried from the top. The first is the home port.</p>
      <${ChainEditor} slots=${now.slots} id=${document.id} faults=${of} set=${(slots) => set({ slots })} />
    </section>
    ${now.embeddings &&
    html`<section aria-labelledby="embeddings-title">
      <h2 id="embeddings-title">Chain for embeddings</h2>
      <${ChainEditor} slots=${now.embeddings} id=${document.id} prefix="embeddings/" faults=${of} set=${(embeddings) => set({ embeddings })} />
    </section>`}
    <${Breakers} draft=${now} set=${set} faults=${of("breaker")} tiers=${document.tiers} />
    ${of("").map((said) => html`<p class="fault" key=${said} role="alert"><${Said} text=${said} /></p>`)}
    <div class="acts closing">
      <button class="first" disabled=${!fields}>Save…</button>
      <button type="button" onClick=${cancel}>Cancel</button>
      <span class="quiet" role="status">${unfinished(now, modelOf) ? "A tier has no model yet." : standing(fields, found, faults)}</span>
    </div>
  </form>`;
}

function standing(fields, found, faults) {
  if (!fields) return "Nothing is changed yet.";
  if (faults.length) return faults.length === 1 ? "The check found a fault." : `The check found ${faults.length} faults.`;
  return found?.faults ? found.faults : `Changed: ${Object.keys(fields).join(", ")}. The check finds nothing wrong.`;
}

/** Breakers of its own, or the health that it shares: never changed by the way. */
function Breakers({ draft, set, faults, tiers }) {
  const now = tiers[0];
  return html`<fieldset>
    <legend>Breakers</legend>
    <label><input type="radio" name="scope" checked=${!draft.own} onChange=${() => set({ own: false })} />The health of its sources, shared with other assistants</label>
    <label><input type="radio" name="scope" checked=${draft.own} onChange=${() => set({ own: true })} />Breakers of its own</label>
    ${draft.own &&
    html`<div class="pair">
      <label>Failures in a run that open it <input inputmode="numeric" size="4" value=${draft.threshold} placeholder=${now?.failure_threshold ?? 3} onInput=${(event) => set({ threshold: event.target.value })} /></label>
      <label>Rests for <input size="6" value=${draft.cooldown} placeholder=${`${now?.cooldown_seconds ?? 15}s`} onInput=${(event) => set({ cooldown: event.target.value })} /></label>
    </div>
    <p class="hint">1 to 50 failures; 1s to 1h. What is left empty is as for all.</p>`}
    ${!draft.own && draft.base.breaker?.scope && html`<p class="hint">What its own breakers know is left behind: from then on failures of others count here too.</p>`}
    ${faults.map((said) => html`<p class="fault" key=${said}><${Said} text=${said} /></p>`)}
  </fieldset>`;
}

/** Ask, then save upon the revision that was seen: true, false, or "outdated" if somebody else was first. */
async function saving(id, draft, fields, found) {
  let outdated = false;
  const told = found?.story && !found.faults ? html`<h3>The next request then</h3><ol class="story">${found.story.map((said) => html`<${Sentence} key=${said} said=${said} />`)}</ol>` : null;
  const done = await confirm({
    title: `Change ${id}`,
    body: html`<p>This is in force on all replicas within two seconds, as a revision that can be gone back to. Requests under way end by what they began with.</p>
      ${fields.primary === null &&
      html`<p class="bad">
        <b>The home port is cleared</b> and stays so until an operator sets it:
        ${draft.slots.length > 1 ? " fallbacks serve every request." : " nobody serves a request."}
      </p>`}
      <${Diff} changes=${changes(fields, draft.base)} />${told}`,
    act: "Save",
    run: async () => {
      try {
        setAssistant(await ask(at("assistants", id), { method: "PUT", body: fields, seen: draft.base.revision }));
      } catch (error) {
        if (error.code !== "revision_outdated") throw error;
        outdated = true;
        throw Object.assign(error, { handled: true });
      }
      configured.value += 1;
      tell(`Saved: ${id} has changed.`);
    },
  });
  return outdated ? "outdated" : done;
}

/** Somebody else was first: what was seen, what they made of it, and the draft. */
function Conflict({ draft, theirs, done }) {
  const mine = edit(draft.value) ?? {};
  const { base } = draft.value;
  const names = [...new Set([...Object.keys(mine), ...["primary", "fallbacks", "chains", "breaker"].filter((each) => !same(base[each], theirs[each]))])];
  const upon = () => {
    draft.value = rebase(draft.peek(), theirs);
    done();
  };
  const drop = () => {
    draft.value = begin(theirs);
    done();
  };
  return html`<section class="conflict" role="alert" aria-labelledby="conflict">
    <h2 id="conflict">Somebody else changed it meanwhile</h2>
    <p>Nothing of yours was saved. You began from revision ${base.revision}; revision ${theirs.revision} is in force.</p>
    ${names.map(
      (field) => html`<div class="versions" key=${field}>
        <div><h3>${field}: theirs, in force</h3><${Diff} titles=${false} changes=${[{ field, before: base[field], after: theirs[field] }]} /></div>
        <div><h3>${field}: yours</h3><${Diff} titles=${false} changes=${[{ field, before: base[field], after: field in mine ? mine[field] : base[field] }]} /></div>
      </div>`,
    )}
    <p class="acts">
      <button type="button" onClick=${upon}>Go on with mine, upon theirs</button>
      <button type="button" onClick=${drop}>Drop mine, begin from theirs</button>
    </p>
  </section>`;
}
