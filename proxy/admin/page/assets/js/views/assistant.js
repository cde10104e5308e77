// One assistant: its route, its tiers with their breakers, where each value comes from, and what its requests met.
import { signal, useComputed } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { ask, at, post, Refusal } from "../api.js";
import { edit as edited, nameOf, unfinished } from "../draft.js";
import { html } from "../html.js";
import { loadCatalog, refresh } from "../live.js";
import { Chain } from "../parts/chain.js";
import { Decision } from "../parts/decision.js";
import { Diff } from "../parts/diff.js";
import { confirm, tell } from "../parts/dialog.js";
import { useAnswers, usePlan } from "../plan.js";
import { go, place, to } from "../place.js";
import { configured, decisions, modelOf, now, order, setAssistant, status, tile } from "../store.js";
import { Editor, useDraft } from "./edit.js";
import { Tiers } from "./tiers.js";
import { WhatIf } from "./what_if.js";

const LATEST = 12;

export function Assistant({ name: id }) {
  const { doc } = tile(id);
  if (order.value !== null && !order.value.includes(id)) return html`<${Unknown} id=${id} />`;
  if (doc.value === null) return html`<p class="wait">Asking for ${id}…</p>`;
  return html`<${Known} document=${doc.value} />`;
}

const Unknown = ({ id }) => html`<section class="nothing">
  <h1>No assistant is called ${id}</h1>
  <p>It may have been taken out of the configuration. <a href=${to()}>Those there are</a>; its <a href=${to("decisions", null, { assistant: id })}>decisions</a> are kept for a while.</p>
</section>`;

function Known({ document }) {
  const { id } = document;
  const editing = place.value.query.edit === "1" && status.value?.configuration.edits !== "off";
  const draft = useDraft(document, editing);
  const plan = usePlan();
  const fields = draft.value ? edited(draft.value) : null;
  // What is foretold of a breaker that is not closed holds for a moment only.
  const beat = useComputed(() => (tile(id).doc.value?.tiers.every((each) => each.breaker.state === "closed") ? 0 : Math.floor(now.value / 5)));
  useAnswers(plan, id, fields, `${beat.value} ${written(document)}`, draft.value !== null && unfinished(draft.value, modelOf));
  // Last uses are told by no event: who looks at one assistant sees them within a second.
  useEffect(() => decisions.subscribe((all) => all[0]?.assistant === id && refresh([id])), [id]);
  const heard = configured.value;
  useEffect(() => void loadCatalog().catch(() => {}), [id, heard]);
  return html`
    <nav class="trail" aria-label="Trail"><a href=${to()}>Assistants</a></nav>
    <header class="head">
      <h1>${id}</h1>
      <p class="sum"><${Summary} document=${document} /></p>
      <${Edit} id=${id} editing=${editing} />
    </header>
    <${Differs} document=${document} />
    <section class="lead" style=${{ "--stops": Math.max(2, document.tiers.filter((each) => each.chain === null).length + (document.primary ? 0 : 1)) }}>
      <${Chain} document=${document} />
    </section>
    <div class="columns">
      <div class="main">
        ${editing && draft.value
          ? html`<${Editor} document=${document} draft=${draft} found=${plan.found.value} />`
          : html`<section aria-label="Tiers"><${Tiers} document=${document} /></section><${Values} document=${document} />`}
      </div>
      <div class="side">
        <${WhatIf} plan=${plan} tiers=${tiersOf(document, draft.value, plan.endpoint.value)} edited=${fields !== null} />
        <${Latest} id=${id} />
      </div>
    </div>
  `;
}

/** What a dry run depends on: asked again only when that has changed. */
const written = (document) => JSON.stringify([document.revision, document.tiers.map((each) => each.breaker)]);

function tiersOf(document, draft, endpoint) {
  if (endpoint === "embeddings" || !draft) {
    const chain = endpoint === "embeddings" ? "embeddings" : null;
    return document.tiers.filter((each) => each.chain === chain).map((each) => [each.tier, each]);
  }
  return draft.slots.map((each, n) => [nameOf(n), each.binding]).filter(([, binding]) => binding !== null);
}

function Summary({ document }) {
  const { resolved, serves_now: serves, last_used_tier: last } = document;
  return html`${serves ? html`<b>${serves}</b> serves now` : html`<b class="bad">no tier is closed</b>`}${" · "}
    ${resolved ? html`home port ${resolved.source} / ${resolved.model}${resolved.model_from === "source" && " (its default model)"}` : "the home port is cleared"}
    ${last && html`${" · "}last answer by ${last}`}${document.revision > 0 && html`${" · "}last changed in <a href=${to("revisions")}>revision ${document.revision}</a>`}`;
}

function Edit({ id, editing }) {
  if (status.value?.configuration.edits === "off") {
    return html`<p class="acts quiet">edits: off, so the file alone changes it</p>`;
  }
  if (editing) return null;
  return html`<div class="acts"><button class="first" onClick=${() => go(to("assistants", id, { edit: "1" }))}>Edit the chain</button></div>`;
}

const CHOICE = {
  keep: "What is in force stays so, and the file’s word counts for nothing until it says something else again.",
  file: "The edit is dropped, and what the file says is in force on all replicas:",
};

/** Where an edit and the file say different things: both, and the choice. */
function Differs({ document }) {
  const open = document.differs.filter((each) => !each.settled);
  if (!open.length) return null;
  const settle = (each, choose) =>
    confirm({
      title: choose === "keep" ? `Keep the edit of ${each.field}` : `Take ${each.field} from the file`,
      body: html`<p>${CHOICE[choose]}</p>
        ${choose === "file" && html`<${Diff} titles=${false} changes=${[{ field: each.field, before: each.edit, after: each.file }]} />`}`,
      act: choose === "keep" ? "Keep the edit" : "Take the file’s",
      danger: choose === "file",
      run: async () => {
        setAssistant(await post(`${at("assistants", document.id)}/differences`, { field: each.field, choose }));
        tell(choose === "keep" ? `The edit of ${each.field} is kept.` : `${each.field} is as in the file.`);
      },
    });
  return html`<section class="differs" aria-label="Unlike the file">
    ${open.map(
      (each) => html`<div key=${each.field}>
        <p><b>${each.field}</b> was edited, and the file says something else. The edit (+) holds over the file (−).</p>
        <${Diff} titles=${false} changes=${[{ field: each.field, before: each.file, after: each.edit }]} />
        <p class="acts"><button onClick=${() => settle(each, "keep")}>Keep the edit…</button><button onClick=${() => settle(each, "file")}>Take the file’s…</button></p>
      </div>`,
    )}
  </section>`;
}

const FIELDS = ["primary", "fallbacks", "chains", "breaker"];

/** The origin of each value. */
function Values({ document }) {
  const from = (field) => {
    if (document.edited.includes(field.split(".")[0])) return "an operator’s edit";
    return { operator: "the file", migration: "a migration of the file", default: "the default" }[document.origin[field]];
  };
  const times = Object.keys(document.origin).filter((each) => each.startsWith("timeouts."));
  return html`<section class="values">
    <h2>Where it comes from</h2>
    <dl>
      ${FIELDS.map((field) => html`<div key=${field}><dt>${field}</dt><dd>${from(field)}</dd></div>`)}
      ${times.filter((each) => document.origin[each] !== "default").map((each) => html`<div key=${each}><dt>${each}</dt><dd>${document.timeouts[each.slice(9)]} s, ${from(each)}</dd></div>`)}
    </dl>
    ${times.every((each) => document.origin[each] === "default") && html`<p class="hint">All timeouts are the defaults.</p>`}
  </section>`;
}

/** Its latest requests, whether this page has heard of them or asked for them. */
function Latest({ id }) {
  const older = useMemo(() => signal([]), [id]);
  useEffect(() => {
    ask(`api/decisions?limit=${LATEST}&assistant=${encodeURIComponent(id)}`).then(
      (found) => (older.value = found.decisions),
      (error) => {
        if (!(error instanceof Refusal)) throw error;
      },
    );
  }, [id]);
  const query = useMemo(() => ({ assistant: id }), [id]);
  const live = decisions.value.filter((each) => each.assistant === id).slice(0, LATEST);
  const known = new Set(live.map((each) => each.request_id));
  const shown = [...live, ...older.value.filter((each) => !known.has(each.request_id))].slice(0, LATEST);
  return html`<section class="latest" aria-labelledby="latest">
    <h2 id="latest">Latest requests</h2>
    <ul class="decisions">
      ${shown.map((each) => html`<${Decision} key=${each.request_id} decision=${each} named=${false} query=${query} />`)}
    </ul>
    ${shown.length === 0 && html`<p class="quiet">None is recorded.</p>`}
    <p><a href=${to("decisions", null, { assistant: id })}>All decisions of ${id}</a></p>
  </section>`;
}
