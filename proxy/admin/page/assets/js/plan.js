// What a request would meet: asked of the API after a pause in typing, for an assistant as it is, as it is assumed to
// be, and as an edit would have it. Nothing is sent to a model and nothing changes.
import { signal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { at, post, Refusal } from "./api.js";

const PAUSE = 250;

export const ENDPOINTS = ["chat_completions", "completions", "responses", "embeddings"];
export const NEEDS = ["tools", "images", "json_schema"];
export const ASSUMPTIONS = ["closed", "open", "half_open", "parked", "disabled", "isolated", "failing"];

/** What is asked, and what came of it: `found` is {story…}, or {faults} where the check refuses the edit. */
export function usePlan() {
  return useMemo(
    () => ({
      endpoint: signal("chat_completions"),
      stream: signal(true),
      needs: signal([]),
      assume: signal({}),
      found: signal(null),
    }),
    [],
  );
}

/** Ask whenever what is asked for has changed, or `anew` has; the last question's answer counts. Not while it is `idle`. */
export function useAnswers(plan, id, edit, anew, idle) {
  const order = {
    endpoint: plan.endpoint.value,
    stream: plan.stream.value,
    needs: plan.needs.value,
    assume: plan.assume.value,
    ...(edit === null ? {} : { edit }),
  };
  const asked = JSON.stringify(order);
  useEffect(() => {
    if (idle) {
      plan.found.value = null;
      return undefined;
    }
    const over = new AbortController();
    const timer = setTimeout(() => answered(plan, id, asked, over.signal), PAUSE);
    return () => {
      clearTimeout(timer);
      over.abort();
    };
  }, [asked, id, anew, idle]);
}

async function answered(plan, id, asked, signal) {
  try {
    plan.found.value = await post(`${at("assistants", id)}/explain`, JSON.parse(asked), { signal });
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof Refusal)) throw error;
    plan.found.value = { faults: error.message, refused: error.code !== "unreachable" };
  }
}
