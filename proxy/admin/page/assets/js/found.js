// A search of decisions that goes on by itself: what was found, what has come since, and where to look further.
import { signal } from "@preact/signals";
import { ask, Refusal } from "./api.js";
import { decisions } from "./store.js";

const PAGE = 100;
/** Decisions in one list; who looks further begins anew from the oldest. */
export const MOST = 600;
export const FIELDS = ["assistant", "outcome", "tier", "reason", "id", "after", "before"];

export class Search {
  constructor(query) {
    this.query = Object.fromEntries(FIELDS.filter((each) => query[each]).map((each) => [each, query[each]]));
    this.items = signal(null);
    this.next = signal(null);
    this.complete = signal(true);
    this.fault = signal("");
    this.busy = signal(false);
    /** What has come while the list is held, newest first. */
    this.held = signal([]);
    this.holding = false;
    this.known = new Set();
    this.unheard = decisions.subscribe((all) => this.heard(all));
  }

  /** Look further back; at first from now. */
  async older() {
    if (this.busy.value) return;
    this.busy.value = true;
    const cursor = this.next.value;
    const asked = new URLSearchParams({ ...this.query, limit: PAGE, ...(cursor === null ? {} : { cursor }) });
    try {
      const found = await ask(`api/decisions?${asked}`);
      const fresh = found.decisions.filter((each) => !this.known.has(each.request_id));
      fresh.forEach((each) => this.known.add(each.request_id));
      this.items.value = [...(this.items.value ?? []), ...fresh];
      this.next.value = found.next;
      this.complete.value = found.complete;
      this.fault.value = "";
      // What came while it was looked for.
      this.heard(decisions.peek());
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.fault.value = error.message;
      this.items.value ??= [];
    } finally {
      this.busy.value = false;
    }
  }

  heard(all) {
    if (this.items.value === null) return;
    const fresh = all.filter((each) => !this.known.has(each.request_id) && this.meets(each) && !this.isOlder(each));
    if (!fresh.length) return;
    fresh.forEach((each) => this.known.add(each.request_id));
    if (this.holding) this.held.value = [...fresh, ...this.held.value].slice(0, MOST);
    else this.items.value = [...fresh, ...this.items.value].slice(0, MOST);
    this.forget(all);
  }

  /** What has fallen off the end counts as known for as long as it can be heard of again. */
  forget(all) {
    const again = all.filter((each) => this.known.has(each.request_id));
    this.known = new Set([...this.items.value, ...this.held.value, ...again].map((each) => each.request_id));
  }

  /** Of the time before the list began: that is found by looking further. */
  isOlder(each) {
    const oldest = this.items.value.at(-1);
    return oldest !== undefined && each.at < oldest.at;
  }

  hold(holding) {
    this.holding = holding;
    if (!holding && this.held.value.length) {
      this.items.value = [...this.held.value, ...this.items.value].slice(0, MOST);
      this.held.value = [];
    }
  }

  meets(each) {
    const { assistant, outcome, tier, reason, id, after, before } = this.query;
    return (
      (!assistant || each.assistant === assistant) &&
      (!outcome || each.outcome === outcome) &&
      (!tier || (each.tier ?? "none") === tier) &&
      (!reason || said(each).has(reason)) &&
      (!id || each.request_id.startsWith(id)) &&
      (!after || each.at >= Number(after)) &&
      (!before || each.at < Number(before))
    );
  }

  end() {
    this.unheard();
  }
}

const said = (each) =>
  new Set([each.refusal, ...each.steps.flatMap((step) => (step.verdict === "skipped" ? [step.reason, step.uncarried, step.breaker?.reason] : [step.outcome, step.detail]))]);
