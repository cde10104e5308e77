// The page: signed out, or one of its views. Where one is stands in the URL's hash.
import { render } from "preact";
import { useEffect } from "preact/hooks";
import { ask, onSignedOut } from "./api.js";
import { Banners, Foot, Spoken, Top } from "./frame.js";
import { html } from "./html.js";
import { follow, stop } from "./live.js";
import { Dialogs, dismiss } from "./parts/dialog.js";
import { place } from "./place.js";
import { forget, session } from "./store.js";
import { Assistant } from "./views/assistant.js";
import { Decisions } from "./views/decisions.js";
import { Overview } from "./views/overview.js";
import { Revisions } from "./views/revisions.js";
import { SignIn } from "./views/sign_in.js";
import { Sources } from "./views/sources.js";

const VIEWS = {
  "": [Overview, () => "Assistants"],
  assistants: [Assistant, (name) => name],
  decisions: [Decisions, (name) => name ?? "Decisions"],
  revisions: [Revisions, () => "Revisions"],
  sources: [Sources, () => "Sources"],
};

function View() {
  const { view, name } = place.value;
  const [Shown, title] = VIEWS[view];
  useEffect(() => {
    document.title = `${title(name)} · Homeport`;
  }, [view, name]);
  useEffect(() => {
    // Who comes by a link within the page begins at its top, and is told where.
    scrollTo(0, 0);
    if (moved) document.querySelector("#content").focus({ preventScroll: true });
    moved = true;
  }, [view, view === "decisions" ? null : name]);
  return html`<main id="content" aria-label=${title(name)} class=${`view-${view || "overview"}`} tabindex="-1"><${Shown} name=${name} key=${view === "decisions" ? view : `${view}/${name}`} /></main>`;
}

let moved = false;

async function signOut() {
  try {
    await ask("api/session", { method: "DELETE" });
  } finally {
    left();
  }
}

function left() {
  stop();
  dismiss();
  forget();
  moved = true;
  session.value = "out";
}

function entered() {
  session.value = "in";
  follow();
}

function Page() {
  if (session.value === "unknown") return html`<main class="sign-in" id="content"><p class="wait">Asking this replica…</p></main>`;
  if (session.value === "out") return html`<${SignIn} done=${entered} />`;
  return html`<${Top} signOut=${signOut} /><${Banners} /><${View} /><${Foot} /><${Dialogs} /><${Spoken} />`;
}

onSignedOut(() => {
  if (session.value !== "out") left();
});
render(html`<${Page} />`, document.querySelector("#page"));

const known = await ask("api/session").catch(() => ({ signed_in: true }));
if (known.signed_in) entered();
else left();
