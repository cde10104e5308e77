// One request in a line, its id as a link, and its sentences with the ids in them as links.
import { Component } from "preact";
import { html } from "../html.js";
import { to } from "../place.js";
import { lasted, OUTCOMES, stateWord, TONE } from "../words.js";
import { Mark } from "./marks.js";
import { At } from "./time.js";

const ID = /(req_[0-9a-f]+)/;

export const Request = ({ id }) => html`<a class="mono" href=${to("decisions", id)} title=${id}>${short(id)}</a>`;

/** The end tells requests of one replica apart. */
const short = (id) => (id.length > 14 ? `…${id.slice(-6)}` : id);

/** Ids in a list of words. */
export const Requests = ({ ids }) => ids.map((id, n) => html`${n > 0 && (n === ids.length - 1 ? " and " : ", ")}<${Request} key=${id} id=${id} />`);

export const Sentence = ({ said }) =>
  html`<li class="sentence">${said.split(ID).map((part) => (ID.test(part) ? html`<a class="mono" href=${to("decisions", part)}>${part}</a>` : part))}</li>`;

/** A line of a list of requests. `query` is the list's own, kept while one of it is read. */
export class Decision extends Component {
  /** A record never changes, and a list has hundreds. */
  shouldComponentUpdate(next) {
    return next.decision.request_id !== this.props.decision.request_id || next.current !== this.props.current || next.query !== this.props.query;
  }

  render(props) {
    return html`<${Row} ...${props} />`;
  }
}

function Row({ decision: each, named = true, query = {}, current = false }) {
  return html`<li class=${`decision tone-${TONE[each.outcome] ?? "neutral"}${named ? "" : " short"}`}>
    <a href=${to("decisions", each.request_id, query)} aria-current=${current ? "true" : undefined}>
      <${At} at=${each.at} />
      ${named && html`<span class="name">${each.assistant ?? "nobody known"}</span>`}
      <span class="steps" aria-hidden="true">${each.steps.map((step) => html`<${Step} step=${step} />`)}</span>
      <span class="by">${each.tier ? html`${each.tier} <span class="quiet">${each.model}</span>` : html`<span class="quiet">${each.endpoint === "other" ? "no model asked" : "nobody"}</span>`}</span>
      <span class="outcome">${OUTCOMES[each.outcome] ?? each.outcome}</span>
      <span class="code">${each.code}</span>
      <span class="took">${lasted(each.duration_ms)}</span>
    </a>
  </li>`;
}

function Step({ step }) {
  if (step.verdict === "served") return html`<i class="served" title=${`${step.tier} served`}></i>`;
  if (step.verdict === "attempted") return html`<i class="failed" title=${`${step.tier}: ${step.outcome} (${step.detail})`}></i>`;
  const state = step.breaker && step.reason === step.breaker.state ? step.breaker.state : "unbound";
  return html`<span title=${`${step.tier} was not tried: ${stateWord(step.reason)}`}><${Mark} state=${state} /></span>`;
}
