// Requests as they end: a list that goes on by itself, what it is narrowed to, and the story of the one that is opened.
import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { FIELDS, MOST, Search } from "../found.js";
import { html } from "../html.js";
import { Decision } from "../parts/decision.js";
import { At } from "../parts/time.js";
import { go, place, to } from "../place.js";
import { knownAssistants } from "../store.js";
import { count, OUTCOMES, SKIPS, stateWord } from "../words.js";
import { Story } from "./story.js";

const TIERS = ["primary", "fallback-1", "fallback-2", "fallback-3", "none"];
/** Pixels from the top from where on nothing moves under the reader. */
const READING = 240;

export function Decisions({ name }) {
  const { query } = place.value;
  const asked = JSON.stringify(FIELDS.map((each) => query[each] ?? ""));
  const search = useMemo(() => new Search(query), [asked]);
  const paused = useSignal(false);
  useEffect(() => {
    search.older();
    const hold = () => search.hold(paused.value || scrollY > READING);
    const unheard = paused.subscribe(hold);
    addEventListener("scroll", hold, { passive: true });
    return () => {
      removeEventListener("scroll", hold);
      unheard();
      search.end();
    };
  }, [search]);
  return html`
    <header class="head">
      <h1>Decisions</h1>
      <p class="sum">Every request, and why it was answered so</p>
      <div class="acts"><button aria-pressed=${paused.value} onClick=${() => (paused.value = !paused.value)}>${paused.value ? "Go on" : "Hold the list"}</button></div>
    </header>
    <${Filters} query=${query} name=${name} />
    <div class=${name ? "columns reading" : ""}>
      <div class="main"><${List} search=${search} query=${query} current=${name} top=${() => ((paused.value = false), scrollTo(0, 0), search.hold(false))} /></div>
      ${name && html`<div class="side"><${Story} key=${name} id=${name} query=${query} /></div>`}
    </div>
  `;
}

function List({ search, query, current, top }) {
  const items = search.items.value;
  const waiting = search.held.value.length;
  if (items === null) return html`<p class="wait">Searching…</p>`;
  const full = items.length >= MOST;
  return html`
    ${waiting > 0 && html`<button class="arrived first" onClick=${top}>${count(waiting, "new request")}</button>`}
    ${!search.complete.value && html`<p class="banner">The shared journal is away or has lost the place: these are this replica’s own.</p>`}
    ${search.fault.value && html`<p class="fault" role="alert">${search.fault.value}</p>`}
    ${items.length > 0
      ? html`<ol class="decisions sheet">${items.map((each) => html`<${Decision} key=${each.request_id} decision=${each} query=${query} current=${each.request_id === current} />`)}</ol>`
      : html`<p class="empty">${search.next.value ? "Nothing found so far." : Object.keys(search.query).length ? "No recorded request is like that." : "No request is recorded yet. As soon as one ends, it is here."}</p>`}
    ${full
      ? html`<p class="empty">${MOST} are shown. <a href=${to("decisions", null, { ...query, before: items.at(-1).at })}>Go on from the oldest of them</a></p>`
      : search.next.value && html`<button class="more" disabled=${search.busy.value} onClick=${() => search.older()}>${search.busy.value ? "Searching…" : "Look further back"}</button>`}
  `;
}

function Filters({ query, name }) {
  const set = (more) => go(to("decisions", name, { ...query, ...more }), { replace: true });
  const pick = (field) => (event) => set({ [field]: event.target.value });
  return html`<form class="filters" role="search" aria-label="Narrow the list" onSubmit=${(event) => event.preventDefault()}>
    <label>Assistant <input list="assistants" value=${query.assistant ?? ""} onChange=${pick("assistant")} placeholder="any" /></label>
    <datalist id="assistants">${knownAssistants.value.map((each) => html`<option key=${each} value=${each}></option>`)}</datalist>
    <label>Ended <select value=${query.outcome ?? ""} onChange=${pick("outcome")}>
      <option value="">any way</option>
      ${Object.entries(OUTCOMES).map(([word, text]) => html`<option key=${word} value=${word}>${text}</option>`)}
    </select></label>
    <label>Served by <select value=${query.tier ?? ""} onChange=${pick("tier")}>
      <option value="">any tier</option>
      ${TIERS.map((word) => html`<option key=${word} value=${word}>${word === "none" ? "nobody" : word}</option>`)}
    </select></label>
    <label>Met <input list="reasons" value=${query.reason ?? ""} onChange=${pick("reason")} placeholder="open, http_503, …" /></label>
    <datalist id="reasons">${SKIPS.map((each) => html`<option key=${each} value=${each}>${stateWord(each)}</option>`)}</datalist>
    <label>Id <input class="mono" value=${query.id ?? ""} onChange=${pick("id")} placeholder="req_… (its beginning)" size="18" /></label>
    ${["after", "before"]
      .filter((each) => query[each])
      .map(
        (each) => html`<button key=${each} type="button" class="chip" aria-label=${`No longer only ${each}`} onClick=${() => set({ [each]: "" })}>
          ${each} <${At} at=${Number(query[each])} /> ✕
        </button>`,
      )}
    ${FIELDS.some((each) => query[each]) && html`<a href=${to("decisions", name)}>Show all</a>`}
  </form>`;
}
