// Every assistant with its chain as a route, who serves now, and how its latest requests went.
import { useSignal } from "@preact/signals";
import { html } from "../html.js";
import { Chain, stops } from "../parts/chain.js";
import { median, Spark } from "../parts/marks.js";
import { go, place, to } from "../place.js";
import { order, status, tile } from "../store.js";
import { count, lasted, share } from "../words.js";

/** Rows that are drawn at first; a filter finds the others. */
const DRAWN = 60;

export function Overview() {
  const names = order.value;
  const { q = "", amiss = "" } = place.value.query;
  const drawn = useSignal(DRAWN);
  if (names === null) return html`<p class="wait">Asking for the assistants…</p>`;
  if (names.length === 0) return html`<${Nothing} />`;
  const met = names.filter((id) => id.includes(q.toLowerCase()) && (!amiss || isAmiss(tile(id).doc.value)));
  const troubled = names.filter((id) => isAmiss(tile(id).doc.value)).length;
  return html`
    <header class="head">
      <h1>Assistants</h1>
      <p class="sum">${count(names.length, "assistant")}, ${troubled ? count(troubled, "with", "with") + " a tier amiss" : "all tiers well"}</p>
      ${names.length > 5 && html`<${Filter} q=${q} amiss=${amiss} />`}
    </header>
    ${met.length === 0 && html`<p class="empty">No assistant is like that. <a href=${to()}>Show all</a>.</p>`}
    <ul class="assistants" style=${{ "--stops": width(met) }}>
      ${met.slice(0, drawn.value).map((id) => html`<${Row} key=${id} id=${id} />`)}
    </ul>
    ${met.length > drawn.value &&
    html`<button class="more" onClick=${() => (drawn.value += DRAWN)}>Show more (${met.length - drawn.value} left)</button>`}
  `;
}

/** Stops of the longest chain, so that those of all chains stand below each other. */
const width = (names) => Math.min(5, Math.max(2, ...names.map((id) => (tile(id).doc.value ? stops(tile(id).doc.value).length : 2))));

const isAmiss = (document) =>
  document !== null && (document.tiers.some((each) => each.breaker.state !== "closed") || !document.primary || document.differs.some((each) => !each.settled));

function Filter({ q, amiss }) {
  const set = (query) => go(to("", null, { q, amiss, ...query }), { replace: true });
  return html`<form class="filter" role="search" onSubmit=${(event) => event.preventDefault()}>
    <label><span class="unseen">Filter by name</span>
      <input type="search" placeholder="Filter by name" value=${q} onInput=${(event) => set({ q: event.target.value })} />
    </label>
    <label class="tick"><input type="checkbox" checked=${amiss === "1"} onChange=${(event) => set({ amiss: event.target.checked ? "1" : "" })} /> amiss only</label>
  </form>`;
}

function Row({ id }) {
  const { doc, lately } = tile(id);
  const document = doc.value;
  if (document === null) return null;
  return html`<li class="assistant">
    <div class="who">
      <a class="id" href=${to("assistants", id)}>${id}</a>
      <${Serves} document=${document} />
    </div>
    <${Chain} document=${document} />
    <${Lately} id=${id} sum=${lately.value} />
  </li>`;
}

function Serves({ document }) {
  const open = document.differs.filter((each) => !each.settled).length;
  return html`<span class="notes">
    ${document.serves_now === null &&
    html`<span class="tag bad">${document.tiers.length ? "no tier is closed" : "bound to nothing"}</span>`}
    ${open > 0 && html`<span class="tag">${count(open, "field")} unlike the file</span>`}
    ${document.breaker?.scope && html`<span class="tag">own breakers</span>`}
  </span>`;
}

function Lately({ id, sum }) {
  if (sum.requests === 0) return html`<div class="lately"><span class="quiet">no recent request</span></div>`;
  const middle = median(sum.first);
  return html`<a class="lately" href=${to("decisions", null, { assistant: id })}
    title=${`Of the last ${count(sum.requests, "request")} of ${id}`}>
    <span class="figure"><b class=${sum.fallback ? "some" : ""}>${share(sum.fallback, sum.requests)}</b> <small>fallback</small></span>
    ${sum.unserved > 0 && html`<span class="figure"><b class="bad">${sum.unserved}</b> <small>failed</small></span>`}
    <span class="figure first"><b>${lasted(middle)}</b> <small>first token</small></span>
    <${Spark} values=${sum.first} label=${`Time to the first token of the last ${sum.first.length} answers; the median is ${lasted(middle)}`} />
  </a>`;
}

function Nothing() {
  return html`<section class="nothing">
    <h1>No assistant yet</h1>
    <p>
      Homeport is running${status.value ? ` (${status.value.version})` : ""}, and its configuration has no assistant. Name one in the file,
      with a source for its home port; it is taken up as soon as the file is saved:
    </p>
    <pre>${EXAMPLE}</pre>
    <p><code>homeport init</code> writes a file to start from, and <code>homeport check</code> says what is wrong with one.</p>
  </section>`;
}

const EXAMPLE = `sources:
  openai: {kind: openai, api_key: "\${OPENAI_API_KEY}"}
assistants:
  support-bot:
    primary: {source: openai, model: gpt-5.4}`;
