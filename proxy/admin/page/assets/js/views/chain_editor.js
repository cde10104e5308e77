// The tiers of a chain, to be bound, added, removed, and put into order: by dragging, by buttons, and from the keyboard.
import { useRef, useState } from "preact/hooks";
import { add, bind, declare, move, nameOf, remove } from "../draft.js";
import { html } from "../html.js";
import { Anchor } from "../parts/marks.js";
import { Said } from "../parts/said.js";
import { NEEDS } from "../plan.js";
import { catalog, modelOf, spoken, status } from "../store.js";
import { Findings, tryBinding } from "./tiers.js";

/** `faults(part)` are the check's words about `primary`, `fallback-1`, …, each after `prefix`. */
export function ChainEditor({ slots, id, prefix = "", faults, set }) {
  const list = useRef(null);
  const dragged = useRef(null);
  const most = status.value?.configuration.max_fallbacks ?? 3;
  const shift = (from, to) => {
    const moved = move(slots, from, to);
    if (moved === slots) return;
    const { key } = slots[from];
    set(moved);
    spoken.value = `${modelOf(slots[from].binding) ?? "A tier without a model"} is now ${nameOf(moved.findIndex((each) => each.key === key))}.`;
    // Where the tier goes, the focus goes with it, unless the view is left before the next frame.
    requestAnimationFrame(() => list.current?.querySelector(`[data-key="${key}"] .handle`)?.focus());
  };
  const over = (event, place) => {
    if (dragged.current === null) return;
    event.preventDefault();
    const from = slots.findIndex((each) => each.key === dragged.current);
    if (from !== place && !(place === 0 && slots[0].binding === null)) set(move(slots, from, place));
  };
  return html`
    <ol class="slots" ref=${list}>
      ${slots.map(
        (slot, place) => html`<li key=${slot.key} data-key=${slot.key} class="slot" onDragOver=${(event) => over(event, place)} onDrop=${(event) => event.preventDefault()}>
          <${Slot}
            slot=${slot} place=${place} id=${id} prefix=${prefix} count=${slots.length}
            faults=${[...faults(prefix + nameOf(place))]}
            set=${(change) => set(change(slots))}
            shift=${(to) => shift(place, to)}
            hold=${(key) => (dragged.current = key)}
          />
        </li>`,
      )}
    </ol>
    <p class="acts">
      <button type="button" disabled=${slots.length > most} onClick=${() => set(add(slots, { source: catalog.value?.sources[0]?.name ?? "", model: null }))}>Add a fallback</button>
      <span class="quiet">${slots.length > most ? `${most} fallbacks are the limit (limits.max_fallbacks).` : `up to ${most}`}</span>
    </p>
  `;
}

function Slot({ slot, place, id, prefix, count, faults, set, shift, hold }) {
  const [tested, setTested] = useState(null);
  const name = prefix + nameOf(place);
  const { binding, key } = slot;
  if (binding === null) {
    return html`<div class="row cleared">
      <span class="label"><${Anchor} /> ${name}</span>
      <span><em>cleared</em></span>
      <button type="button" onClick=${() => set((slots) => slots.with(0, { key, binding: { source: catalog.value?.sources[0]?.name ?? "", model: null } }))}>Bind a home port</button>
    </div>`;
  }
  const keys = (event) => {
    const to = { ArrowUp: place - 1, ArrowDown: place + 1, Home: 0, End: count - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    shift(to);
  };
  const rebind = (more) => {
    const made = { ...binding, ...more };
    setTested(null);
    set((slots) => bind(slots, place, made, declaredOf(made)));
  };
  const test = async () => {
    setTested("asking");
    setTested(await tryBinding({ source: binding.source, model: binding.model, assistant: id, tier: name }));
  };
  const faulty = faults.length ? "true" : undefined;
  return html`
    <div class="row">
      <button
        type="button" class="handle square" draggable="true" onKeyDown=${keys}
        aria-label=${`Move ${name}: arrow keys`} title="Drag, or use the arrow keys"
        onDragStart=${(event) => (event.dataTransfer.setData("text/plain", name), (event.dataTransfer.effectAllowed = "move"), hold(key))}
        onDragEnd=${() => hold(null)}
      >⠿</button>
      <span class="label">${place === 0 && html`<${Anchor} />`} ${name}</span>
      <${Source} name=${name} value=${binding.source} faulty=${faulty} set=${(source) => rebind({ source })} />
      <${Model} name=${name} binding=${binding} faulty=${faulty} set=${(model) => rebind({ model: model || null })} />
      <span class="moves">
        <button type="button" class="square" aria-label=${`Move ${name} up`} disabled=${place === 0} onClick=${() => shift(place - 1)}>↑</button>
        <button type="button" class="square" aria-label=${`Move ${name} down`} disabled=${place === count - 1} onClick=${() => shift(place + 1)}>↓</button>
        <button type="button" aria-label=${`Test the binding of ${name}`} disabled=${modelOf(binding) === null} onClick=${test}>Test</button>
        <button type="button" aria-label=${`${place === 0 ? "Clear" : "Remove"} ${name}`} onClick=${() => set((slots) => remove(slots, place))}>${place === 0 ? "Clear" : "Remove"}</button>
      </span>
    </div>
    <${Declared} name=${name} binding=${binding} set=${(what, value) => set((slots) => declare(slots, place, what, value))} />
    ${faults.map((said) => html`<p class="fault" key=${said}><${Said} text=${said} /></p>`)}
    ${tested && html`<${Findings} tested=${tested} close=${() => setTested(null)} />`}
  `;
}

function Source({ name, value, faulty, set }) {
  const names = catalog.value?.sources.map((each) => each.name) ?? [value];
  return html`<select aria-label=${`Source of ${name}`} aria-invalid=${faulty} value=${value} onChange=${(event) => set(event.target.value)}>
    ${!names.includes(value) && html`<option value=${value}>${value || "choose a source"}</option>`}
    ${names.map((each) => html`<option key=${each} value=${each}>${each}</option>`)}
  </select>`;
}

function Model({ name, binding, faulty, set }) {
  const known = catalog.value?.sources.find((each) => each.name === binding.source)?.models ?? [];
  const list = `models-${name.replace("/", "-")}`;
  const otherwise = modelOf({ source: binding.source });
  return html`<input
      aria-label=${`Model of ${name}`} aria-invalid=${faulty} list=${list} value=${binding.model ?? ""} placeholder=${otherwise ? `${otherwise} (the source’s default)` : "model"} required=${otherwise === null}
      autocomplete="off" autocapitalize="off" spellcheck=${false} class="mono" onInput=${(event) => set(event.target.value)} />
    <datalist id=${list}>${known.map((each) => html`<option key=${each.model} value=${each.model}></option>`)}</datalist>`;
}

/** What is declared of this model at this source anywhere. */
const declaredOf = (binding) =>
  catalog.value?.sources.find((each) => each.name === binding.source)?.models.find((each) => each.model === modelOf(binding));

function Declared({ name, binding, set }) {
  const said = [
    binding.context && `context ${binding.context.toLocaleString()}`,
    binding.supports && (binding.supports.length ? `supports ${binding.supports.join(", ")}` : "supports none of tools, images, json_schema"),
    binding.params && `changes ${Object.values(binding.params).flatMap((each) => (Array.isArray(each) ? each : Object.keys(each))).join(", ")} of requests`,
  ].filter(Boolean);
  const toggle = (ability, on) => {
    const now = binding.supports ?? [];
    set("supports", NEEDS.filter((each) => (each === ability ? on : now.includes(each))));
  };
  return html`<details class="declared">
    <summary>${said.length ? said.join("; ") : "nothing declared"}</summary>
    <div class="pair">
      <label>Context, in tokens <input inputmode="numeric" size="10" aria-label=${`Context of ${name}`} value=${binding.context ?? ""} onInput=${(event) => set("context", numberOf(event.target.value))} /></label>
      <label><input type="checkbox" checked=${Array.isArray(binding.supports)} onChange=${(event) => set("supports", event.target.checked ? [...NEEDS] : null)} />declare what it supports</label>
      ${Array.isArray(binding.supports) &&
      NEEDS.map(
        (each) => html`<label key=${each}>
          <input type="checkbox" checked=${binding.supports.includes(each)} onChange=${(event) => toggle(each, event.target.checked)} />${each}
        </label>`,
      )}
    </div>
    ${binding.params && html`<p class="hint">Kept as it is: <code class="wraps">params ${JSON.stringify(binding.params)}</code></p>`}
  </details>`;
}

const numberOf = (text) => (text.trim() === "" ? null : /^\d+$/.test(text.trim()) ? Number(text) : text.trim());
