// Questions and short notes. Every act that takes something away is asked about here, in words that say what will happen.
import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { html } from "../html.js";
import { spoken } from "../store.js";
import { Said } from "./said.js";

const open = signal(null);
const note = signal(null);
let fading = 0;

/**
 * Ask; true once it is confirmed. `body` is what will happen, `act` the word on the button, and `run` what is done, if
 * given: the dialog stays until that has ended, and says what went wrong.
 */
export function confirm({ title, body, act, danger = false, run = null }) {
  return new Promise((done) => {
    open.value = { title, body, act, danger, run, done };
  });
}

/** Ask nothing any more, as when nobody is signed in. */
export function dismiss() {
  open.value?.done(false);
  open.value = null;
}

/** Say what has been done. */
export function tell(text, tone = "good") {
  note.value = { text, tone };
  spoken.value = text;
  clearTimeout(fading);
  fading = setTimeout(() => (note.value = null), 6000);
}

export function Dialogs() {
  return html`${open.value && html`<${Question} key=${open.value.title} asked=${open.value} />`}<${Note} />`;
}

function Note() {
  if (note.value === null) return null;
  return html`<p class=${`note is-${note.value.tone}`}>${note.value.text}</p>`;
}

function Question({ asked }) {
  const box = useRef(null);
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState("");
  useEffect(() => box.current.showModal(), []);
  const end = (answer) => {
    box.current?.close();
    if (open.value === asked) open.value = null;
    asked.done(answer);
  };
  const confirmed = async (event) => {
    event.preventDefault();
    if (!asked.run) return end(true);
    setBusy(true);
    setFault("");
    try {
      await asked.run();
      end(true);
    } catch (error) {
      if (error.handled) return end(false);
      setBusy(false);
      setFault(error.message);
    }
  };
  return html`<dialog ref=${box} aria-labelledby="question" onCancel=${(event) => (event.preventDefault(), busy || end(false))}>
    <form onSubmit=${confirmed}>
      <h2 id="question">${asked.title}</h2>
      <div class="said">${typeof asked.body === "function" ? html`<${asked.body} />` : asked.body}</div>
      ${fault && html`<p class="fault" role="alert"><${Said} text=${fault} /></p>`}
      <div class="acts">
        <button type="button" onClick=${() => end(false)} disabled=${busy}>Cancel</button>
        <button type="submit" class=${asked.danger ? "danger" : "first"} disabled=${busy}>${asked.act}</button>
      </div>
    </form>
  </dialog>`;
}
