// What stands around every view: where one can go, how the fleet is, and what keeps the page from knowing.
import { ask } from "./api.js";
import { html } from "./html.js";
import { Anchor } from "./parts/marks.js";
import { tell } from "./parts/dialog.js";
import { Ago } from "./parts/time.js";
import { place, to } from "./place.js";
import { complete, link, spoken, status } from "./store.js";
import { count, span } from "./words.js";

const LINKS = [
  ["", "Assistants"],
  ["decisions", "Decisions"],
  ["revisions", "Revisions"],
  ["sources", "Sources"],
];

export function Top({ signOut }) {
  const { view } = place.value;
  const here = view === "assistants" ? "" : view;
  return html`<header class="top">
    <a class="skip" href="#content" onClick=${skip}>Skip to the content</a>
    <a class="wordmark" href=${to()}><${Anchor} size=${17} />Homeport</a>
    <nav aria-label="Views">
      ${LINKS.map(([name, title]) => html`<a key=${name} href=${to(name)} aria-current=${here === name ? "page" : undefined}>${title}</a>`)}
    </nav>
    <${Fleet} />
    <button class="plain sign-out" onClick=${signOut}>Sign out</button>
  </header>`;
}

/** The hash is the page's address, so it cannot be the target's as well. */
function skip(event) {
  event.preventDefault();
  document.querySelector("#content").focus();
}

const LINK = { connecting: "connecting", live: "live", looking: "every few seconds", away: "no answer" };

function Fleet() {
  const now = status.value;
  const how = link.value.state;
  return html`<dl class="fleet" aria-label="The fleet">
    <div><dt class="unseen">This page</dt><dd class=${`link is-${how}`}><i aria-hidden="true"></i>${LINK[how]}</dd></div>
    ${now && html`
      <div><dt>replicas</dt><dd>${now.store.shared ? (now.store.up ? now.store.replicas : "?") : 1}</dd></div>
      <div><dt>store</dt><dd class=${now.store.shared && !now.store.up ? "bad" : ""}>${storeWord(now.store)}</dd></div>
      <div><dt>revision</dt><dd><a href=${to("revisions")} title=${now.revision}>${now.configuration.number}</a></dd></div>
      <div><dt>in flight</dt><dd class="number">${now.in_flight}</dd></div>
    `}
  </dl>`;
}

const storeWord = (store) => (!store.shared ? "memory" : store.up ? "redis, shared" : `redis is away (${store.why})`);

/** What an operator has to know before all else. */
export function Banners() {
  const now = status.value;
  const said = [];
  if (link.value.state === "away") {
    said.push(html`<p class="banner bad" key="away"><b>This replica does not answer.</b> What is shown was so <${Ago} at=${link.value.since} />. The page goes on asking.</p>`);
  }
  if (link.value.state === "looking") {
    said.push(html`<p class="banner" key="looking">This replica has all the readers of events that it takes, so the page asks every few seconds instead.</p>`);
  }
  if (now?.store.shared && !now.store.up) {
    said.push(html`<p class="banner bad" key="store">
      <b>The shared store is away</b> (${now.store.why}), since <${Ago} at=${now.store.since} />. Each replica decides
      alone; edits and the hand on breakers wait until it is back.
    </p>`);
  }
  if (!complete.value && !(now?.store.shared && !now.store.up)) {
    said.push(html`<p class="banner" key="complete">The shared journal is away: only this replica’s own decisions are shown.</p>`);
  }
  if (now?.draining) said.push(html`<p class="banner" key="draining"><b>This replica is stopping.</b> It takes no new requests.</p>`);
  if (now?.configuration.faults.length) said.push(html`<${Faults} key="faults" faults=${now.configuration.faults} />`);
  if (now?.configuration.differences) said.push(html`<${Differences} key="differs" ...${now.configuration} />`);
  return html`<div class="banners">${said}</div>`;
}

const NAMED = 6;

function Differences({ differences, edited }) {
  const links = edited.slice(0, NAMED).map((each, n) => html`${n > 0 && ", "}<a key=${each} href=${to("assistants", each)}>${each}</a>`);
  return html`<p class="banner">
    ${count(differences, "edited field")} of ${links}${edited.length > NAMED && ` and ${edited.length - NAMED} more`}
    ${differences === 1 ? " is" : " are"} unlike the file. The edits hold until somebody decides.
  </p>`;
}

function Faults({ faults }) {
  const again = async () => {
    try {
      const told = await ask("api/reload", { method: "POST" });
      tell(told.result === "ok" ? "The file is in force." : "Nothing has changed.");
    } catch (error) {
      tell(error.status === 422 ? "The file still has faults." : error.message, "bad");
    }
  };
  return html`<div class="banner bad">
    <p><b>The file has faults, so what was in force stays in force.</b> <button class="plain" onClick=${again}>Read it again</button></p>
    <ul>${faults.slice(0, 5).map((each) => html`<li key=${each}>${each}</li>`)}</ul>
    ${faults.length > 5 && html`<p>And ${count(faults.length - 5, "other")}.</p>`}
  </div>`;
}

export function Foot() {
  const now = status.value;
  if (!now) return null;
  const stale = now.store.shared && now.store.staleness_seconds !== null ? `, store read ${span(now.store.staleness_seconds)} ago` : "";
  return html`<footer>
    <span>Homeport ${now.version}, replica <code>${now.replica}</code>, up ${span(now.uptime_seconds)}${stale}</span>
    <span>${now.journal.keep === 0 ? "Nothing is recorded" : `${count(now.journal.held, "record")} held here`}</span>
  </footer>`;
}

/** For who hears the page. */
export const Spoken = () => html`<p class="unseen" role="status" aria-live="polite">${spoken.value}</p>`;
