// Where on the page somebody is: the hash of the URL, so that every view can be linked to.
import { signal } from "@preact/signals";

const VIEWS = new Set(["", "assistants", "decisions", "revisions", "sources"]);

/** `#/decisions/req_1?assistant=bot` → {view: "decisions", name: "req_1", query: {assistant: "bot"}}. */
export function read(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  const [view = "", name = null] = path.split("/").map(decoded);
  return { view: VIEWS.has(view) ? view : "", name: name || null, query: Object.fromEntries(new URLSearchParams(query)) };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** The hash of a place. What is empty in the query is left out. */
export function to(view = "", name = null, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const asked = new URLSearchParams(given).toString();
  return `#/${[view, ...(name === null ? [] : [name])].map(encodeURIComponent).join("/")}${asked ? `?${asked}` : ""}`;
}

export const place = signal(read(location.hash));

addEventListener("hashchange", () => {
  place.value = read(location.hash);
});

export function go(hash, { replace = false } = {}) {
  if (!replace) location.hash = hash;
  else {
    history.replaceState(null, "", hash);
    place.value = read(hash);
  }
}
