// One request's story: its sentences, its attempts on a line of time, and its facts.
import { useEffect, useRef, useState } from "preact/hooks";
import { ask, at, Refusal } from "../api.js";
import { html } from "../html.js";
import { Request, Sentence } from "../parts/decision.js";
import { Mark } from "../parts/marks.js";
import { to } from "../place.js";
import { decisions } from "../store.js";
import { lasted, OUTCOMES, stateWord, TONE } from "../words.js";

export function Story({ id, query }) {
  const [record, setRecord] = useState(() => decisions.peek().find((each) => each.request_id === id) ?? null);
  const [fault, setFault] = useState("");
  const box = useRef(null);
  useEffect(() => {
    // Who opens it from the list reads on here, and goes on there.
    box.current.focus({ preventScroll: true });
    box.current.scrollIntoView({ block: "nearest" });
    return () => document.querySelector(`.decision a[href*="/${CSS.escape(id)}"]`)?.focus();
  }, [id]);
  useEffect(() => {
    ask(at("decisions", id)).then(setRecord, (error) => {
      if (!(error instanceof Refusal)) throw error;
      setFault(error.message);
    });
  }, [id]);
  const close = to("decisions", null, query);
  return html`<article class="one" aria-labelledby="one" tabindex="-1" ref=${box}>
    <header>
      <h2 id="one" class="mono">${record?.request_id ?? id}</h2>
      <a class="close" href=${close} aria-label="Close this story">✕</a>
    </header>
    ${record ? html`<${Told} record=${record} />` : fault ? html`<p class="fault" role="alert">${fault}</p>` : html`<p class="wait">Looking for it…</p>`}
  </article>`;
}

function Told({ record }) {
  return html`
    <p class=${`verdict tone-${TONE[record.outcome] ?? "neutral"}`}><b class="outcome">${OUTCOMES[record.outcome] ?? record.outcome}</b> · HTTP ${record.code} · ${lasted(record.duration_ms)}</p>
    <ol class="story">${record.story.map((said) => html`<${Sentence} key=${said} said=${said} />`)}</ol>
    ${record.steps.length > 0 && html`<${Waterfall} record=${record} />`}
    <${Facts} record=${record} />
  `;
}

/** Each tier on one line of time, from the request's arrival to its end. */
function Waterfall({ record }) {
  const end = Math.max(1, record.duration_ms, ...record.steps.map((each) => each.ended_ms ?? each.at_ms));
  return html`<figure class="waterfall" aria-label="The attempts on a line of time">
    <ol>${record.steps.map((step) => html`<${Line} key=${step.tier} step=${step} end=${end} />`)}</ol>
    <figcaption>
      <span>0</span><span class="keys"><i class="waits"></i>until a first byte <i class="reads"></i>until the first token <i class="gives"></i>answering</span><span>${lasted(end)}</span>
    </figcaption>
  </figure>`;
}

function Line({ step, end }) {
  const across = (ms) => `${Math.min(100, (100 * ms) / end)}%`;
  if (step.verdict === "skipped") {
    const state = step.breaker && step.reason === step.breaker.state ? step.breaker.state : "unbound";
    return html`<li><span class="label">${step.tier}</span>
      <span class="track"><span class="passed" style=${{ left: across(step.at_ms) }}><${Mark} state=${state} /> ${stateWord(step.reason)}</span></span>
    </li>`;
  }
  const first = step.first_byte_ms ?? step.ended_ms;
  const token = step.first_token_ms ?? first;
  const parts = [
    ["waits", step.started_ms, first],
    ["reads", first, token],
    ["gives", token, step.ended_ms],
  ];
  const said = `${step.outcome}${step.detail ? ` (${step.detail})` : ""}, from ${lasted(step.started_ms)} to ${lasted(step.ended_ms)}`;
  return html`<li title=${said}><span class="label">${step.tier}</span>
    <span class=${`track ${step.verdict}`}>
      ${parts.filter(([, from, until]) => until > from).map(([kind, from, until]) => html`<i key=${kind} class=${kind} style=${{ left: across(from), width: across(until - from) }}></i>`)}
    </span>
    <span class="unseen">${said}</span>
    <span class="ended" aria-hidden="true">${step.verdict === "served" ? "served" : step.outcome}</span>
  </li>`;
}

function Facts({ record: each }) {
  const upstream = each.steps.filter((step) => step.upstream_request_id).map((step) => `${step.tier}: ${step.upstream_request_id}`);
  const rows = [
    ["assistant", each.assistant && html`<a href=${to("assistants", each.assistant)}>${each.assistant}</a>`],
    ["known by", each.identified_by],
    ["client", each.client],
    ["asked for", `${each.endpoint}${each.stream ? ", streamed" : ""}`],
    ["reason", each.reason && html`<code class="wraps">${each.reason}</code>`],
    ["refused with", each.refusal && html`<code>${each.refusal}</code>`],
    ["served model", each.served_model],
    ["tokens", each.usage && `${each.usage.input.toLocaleString()} in, ${each.usage.output.toLocaleString()} out${each.usage.cache_read ? `, ${each.usage.cache_read.toLocaleString()} from cache` : ""}`],
    ["first byte", each.first_byte_ms !== null && lasted(each.first_byte_ms)],
    ["our own time", lasted(each.overhead_ms)],
    ["bytes", `${each.body_in.toLocaleString()} in, ${each.body_out.toLocaleString()} out`],
    ["caller’s id", each.caller_request_id],
    ["upstream’s id", upstream.length > 0 && upstream.join(", ")],
    ["also so called", each.also?.length > 0 && each.also.map((id) => html`<${Request} key=${id} id=${id} /> `)],
    ["replica", html`<code>${each.replica}</code>`],
    ["revision", html`<code>${each.revision}</code>`],
  ];
  return html`<dl class="rows">${rows.filter(([, value]) => value).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}
