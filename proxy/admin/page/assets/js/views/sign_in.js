// Signed out: the operators' token, and the name that changes bear.
import { useState } from "preact/hooks";
import { operator, post } from "../api.js";
import { html } from "../html.js";
import { Anchor } from "../parts/marks.js";

export function SignIn({ done }) {
  const [fault, setFault] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    const { token, name } = event.target.elements;
    setBusy(true);
    try {
      await post("api/session", { token: token.value });
      operator.set(name.value.trim());
      done();
    } catch (error) {
      setFault(error.status === 401 ? "That is not the operators’ token." : error.message);
      setBusy(false);
      token.select();
    }
  };
  return html`<main class="sign-in" id="content">
    <form onSubmit=${submit}>
      <h1><${Anchor} size=${22} /> Homeport</h1>
      <input name="username" value="operator" autocomplete="username" hidden readonly />
      <label for="token">Operators’ token</label>
      <input id="token" name="token" type="password" required autocomplete="current-password" autofocus />
      <p class="hint">
        It stands in the configuration as <code>admin.token</code>. Without one there, Homeport printed a token when it
        started.
      </p>
      <label for="name">Your name <span class="quiet">(optional)</span></label>
      <input id="name" name="name" maxlength="64" autocomplete="name" value=${operator.get()} />
      <p class="hint">Revisions that you make bear it. It is kept in this browser.</p>
      ${fault && html`<p class="fault" role="alert">${fault}</p>`}
      <button class="first" disabled=${busy}>Sign in</button>
    </form>
  </main>`;
}
