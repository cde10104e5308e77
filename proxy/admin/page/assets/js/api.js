// The operators' API, asked with the session's cookie. Nothing else is ever asked.

/** What the API said no to, or what kept it from answering. */
export class Refusal extends Error {
  /** `status` 0: nobody answered. */
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

const UNREACHABLE = "This replica does not answer.";
/** Milliseconds that an answer may take: a binding's test, which asks a source, takes five seconds at most. */
const LATE = 8000;

let signedOut = () => {};

/** `heard` is called whenever the API says that nobody is signed in. */
export function onSignedOut(heard) {
  signedOut = heard;
}

/** The name that revisions bear, kept in this browser alone. */
export const operator = {
  get: () => localStorage.getItem("homeport-operator") ?? "",
  set: (name) => localStorage.setItem("homeport-operator", name),
};

/**
 * Ask; the answer's document. `seen` is the revision that a change is made upon. Throws a Refusal.
 */
export async function ask(path, { method = "GET", body, seen, signal } = {}) {
  const headers = {};
  if (method !== "GET") headers["x-homeport-csrf"] = "1";
  if (body !== undefined) headers["content-type"] = "application/json";
  if (seen !== undefined) headers["if-match"] = `"${seen}"`;
  if (method !== "GET" && operator.get()) headers["x-operator"] = asciiOf(operator.get());
  const patience = AbortSignal.timeout(LATE);
  let answer;
  let document = null;
  try {
    answer = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, patience]) : patience,
      credentials: "same-origin",
    });
    document = await answer.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    if (!answer || !(error instanceof SyntaxError)) throw new Refusal(0, "unreachable", UNREACHABLE);
  }
  if (answer.ok) return document;
  const said = document?.error ?? {};
  if (answer.status === 401 && path !== "api/session") signedOut();
  throw new Refusal(answer.status, said.code ?? "unknown", said.message ?? `HTTP ${answer.status}`);
}

/** A header holds no other letters. */
function asciiOf(text) {
  return text.normalize("NFKD").replace(/[^\x20-\x7e]/g, "").slice(0, 64);
}

export const post = (path, body, more = {}) => ask(path, { method: "POST", body, ...more });

/** All pages of a list: `field` is what its entries stand under, `from` the name of the query that goes on. */
export async function all(path, field, from, most = Infinity) {
  const found = [];
  let first = null;
  let next = null;
  do {
    const joint = path.includes("?") ? "&" : "?";
    const page = await ask(next === null ? path : `${path}${joint}${from}=${encodeURIComponent(next)}`);
    first ??= page;
    found.push(...page[field]);
    next = page.next;
  } while (next !== null && found.length < most);
  return { ...first, [field]: found, next };
}

/** A path below `api/`, each part as it is written in a URL. */
export const at = (...parts) => ["api", ...parts.map(encodeURIComponent)].join("/");
