"""The table of what providers' error answers mean, and what one of its rows may look at.

1. First match wins, so a row stands above every row that is wider than it.
2. A phrase is anchored at the message's start and spells the provider's own words up to where a caller's could begin:
   providers echo prompts, so the rest of a message proves nothing. Only an operator's override may match anywhere.
3. A detail is a word of this file, of config, or `http_<status>`; an upstream's text never becomes one.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from proxy.terms import Cause


@dataclass(frozen=True, slots=True)
class Row:
    """One rule. Every condition that is given must hold; what is left out holds for anything."""

    name: str
    """Unique within ROWS."""
    cause: Cause
    kinds: tuple[str, ...] | None = None
    """Kinds of source."""
    statuses: Collection[int] | None = None
    """HTTP statuses; 200 stands for an error that came inside a 200, next to the status that it gives itself."""
    codes: tuple[str, ...] = ()
    """Lower case: one of these is the error's code, type or status, or stands in its details."""
    code_like: re.Pattern[str] | None = None
    """The whole of such a word, where a provider makes up families of them."""
    types: tuple[str, ...] = ()
    """Lower case: one of these is the error's type."""
    phrase: re.Pattern[str] | None = None
    """Matches from the start of the error's message."""
    bound: bool = False
    """Only where the tier names its model, and the error's `param` is no other field: else the caller's fault."""
    names_model: bool = False
    """The message names the tier's model; with `*` nothing does."""
    needs_retry_after: bool | None = None
    """True: the upstream says when to come back. False: it does not."""
    bare: bool = False
    """The body holds no error object."""
    html: bool = False
    """The body is a page, so something in front of the API wrote it."""
    detail: str | None = None
    """None: the first of `codes`, then of `types`, that matched, else `http_<status>`."""

    def fits(self, evidence: Evidence) -> bool:
        """True when every condition holds."""
        return self.met(evidence.kind, evidence.status, evidence.wire) and self.agrees(evidence)

    def met(self, kind: str, status: int, wire: int) -> bool:
        """The conditions that ask for the kind of source and the statuses hold."""
        return (self.kinds is None or kind in self.kinds) and (
            self.statuses is None or status in self.statuses or wire in self.statuses
        )

    def agrees(self, evidence: Evidence) -> bool:
        """All the other conditions hold."""
        return (
            (not self.codes or not evidence.words.isdisjoint(self.codes))
            and (self.code_like is None or any(map(self.code_like.fullmatch, evidence.words)))
            and (not self.types or not evidence.types.isdisjoint(self.types))
            and (self.phrase is None or self.phrase.match(evidence.message) is not None)
            and not (self.bound and not evidence.about_bound_model())
            and not (self.names_model and not evidence.names_model())
            and (self.needs_retry_after is None or self.needs_retry_after is (evidence.retry_after is not None))
            and not (self.bare and evidence.spoke)
            and not (self.html and not evidence.html)
        )


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a row may look at."""

    kind: str
    status: int
    """What the answer says of itself; differs from `wire` only for an error inside a 200."""
    wire: int
    spoke: bool
    """There is an error object."""
    words: frozenset[str]
    types: frozenset[str]
    message: str
    param: str
    """The request's field that the error is about; empty when it does not say."""
    bound_model: str | None
    retry_after: float | None
    html: bool

    def about_bound_model(self) -> bool:
        # A tool may name a model of its own, and that one is the caller's.
        return self.bound_model is not None and self.param in ("", "model")

    def names_model(self) -> bool:
        if not self.bound_model:
            return False
        # `gpt-5` is not named by a message about `gpt-5-mini` or `gpt-5.4`; `llama3` is by one about `llama3:latest`.
        name = rf"(?<![\w.-]){re.escape(self.bound_model)}(?![\w-]|\.\w)"
        return re.search(name, self.message, re.IGNORECASE) is not None


def _starts(*wordings: str) -> re.Pattern[str]:
    return re.compile(rf"\A(?:{'|'.join(wordings)})")


_ANTHROPIC, _AZURE, _CHATGPT = ("anthropic", "claude-account"), ("azure-openai",), ("chatgpt-account",)
_5XX = range(500, 600)
# Too large for a gateway is still a fact about the request; any other page with a 4xx says nothing about it.
_PAGE_4XX = frozenset(range(400, 500)) - {413, 414, 431}

ROWS: tuple[Row, ...] = (
    Row("redirect", Cause.REDIRECT, statuses=range(300, 400)),
    # -- no money left, or none for today
    Row("azure_throttled", Cause.RATE_LIMITED, kinds=_AZURE, statuses={429}, detail="azure_throttled"),
    # OpenRouter: money is there, but promised to requests that still run
    Row(
        "in_flight_budget",
        Cause.RATE_LIMITED,
        statuses={402},
        codes=("openrouter_in_flight_budget", "in_flight_budget_exhausted"),
        needs_retry_after=True,
    ),
    Row("payment_required", Cause.QUOTA, statuses={402}),
    Row(
        "quota",
        Cause.QUOTA,
        statuses={400, 403, 429},
        codes=(
            "insufficient_quota",
            "credit_balance_exhausted",
            "organization_usage_limit_exceeded",
            "organization_spend_limit_exceeded",
            "project_spend_limit_exceeded",
            "billing_hard_limit_reached",
            "billing_not_active",
            "quota_exceeded",
        ),
    ),
    # Gemini's quotaId, in its details
    Row("daily_quota", Cause.QUOTA, statuses={429}, code_like=re.compile(r".*perday.*"), detail="daily_quota"),
    # until the first of the month
    Row(
        "spend_limit",
        Cause.QUOTA,
        kinds=_ANTHROPIC,
        statuses={429},
        codes=("enforced_spend_limit_reached", "contract_spend_limit_reached"),
        needs_retry_after=False,
    ),
    Row(
        "usage_limit",
        Cause.QUOTA,
        kinds=_ANTHROPIC,
        statuses={400},
        codes=("invalid_request_error",),
        phrase=_starts(
            r"You have reached your specified (?:workspace )?API usage limits\b",
            r"Your credit balance is too low to access the \w+ API\b",
        ),
        detail="usage_limit",
    ),
    # a plan's hours or its week are used up, it has no such use, or the account's owner allows no more of it
    Row(
        "account_usage",
        Cause.QUOTA,
        kinds=_CHATGPT,
        codes=("usage_limit_reached", "usage_not_included", "subscription_sharing_usage_limit_exceeded"),
    ),
    # OpenRouter: the key's own budget, which its window gives back
    Row("key_limit", Cause.QUOTA, statuses={403}, phrase=_starts(r"Key limit exceeded\b"), detail="key_limit"),
    # -- too much at once
    # OpenAI; Groq says it with 413
    Row(
        "over_limit_alone",
        Cause.RATE_LIMITED_SIZE,
        statuses={413, 429},
        phrase=_starts(r"Request too large for "),
        detail="request_over_limit",
    ),
    Row(
        "long_context_usage",
        Cause.RATE_LIMITED_SIZE,
        kinds=_ANTHROPIC,
        statuses={429},
        phrase=_starts(r"Extra usage is required for long context requests\b"),
        detail="long_context_usage",
    ),
    Row("rate_limited", Cause.RATE_LIMITED, statuses={429}),
    Row("slow_down", Cause.RATE_LIMITED, statuses={503}, codes=("slow_down",)),
    # -- what the request asks for is refused for its content
    # OpenRouter: the keys of its metadata
    Row("moderation", Cause.CONTENT_POLICY, statuses={403}, codes=("flagged_input", "reasons"), detail="moderation"),
    Row(
        "content_policy",
        Cause.CONTENT_POLICY,
        statuses={400, 403},
        codes=(
            "content_policy_violation",
            "content_filter",
            "responsibleaipolicyviolation",
            "invalid_prompt",
            "moderation_blocked",
        ),
    ),
    # bio_policy, cyber_policy, image_content_policy_violation, …
    Row(
        "other_policy",
        Cause.CONTENT_POLICY,
        statuses={400},
        code_like=re.compile(r".*_policy(?:_.*)?"),
        detail="policy",
    ),
    # -- who asks
    Row("key_invalid", Cause.KEY_INVALID, statuses={401}, codes=("invalid_api_key", "account_deactivated")),
    # the vendor has ended the login that the token is of
    Row("account_ended", Cause.KEY_INVALID, _CHATGPT, {401}, codes=("token_invalidated", "token_revoked")),
    Row("access_denied", Cause.ACCESS_DENIED, statuses={401, 403, 407}),
    # an account that was closed: it comes as a fault of the request, and is none
    Row(
        "organization_disabled",
        Cause.ACCESS_DENIED,
        kinds=_ANTHROPIC,
        statuses={400},
        phrase=_starts(r"This organization has been disabled\b"),
        detail="organization_disabled",
    ),
    Row("gemini_key", Cause.ACCESS_DENIED, statuses={400}, codes=("api_key_invalid",)),
    # the compatible endpoint may leave the details out
    Row(
        "gemini_key_phrase",
        Cause.ACCESS_DENIED,
        statuses={400},
        phrase=_starts(r"API key not valid\b"),
        detail="api_key_invalid",
    ),
    Row("gemini_region", Cause.ACCESS_DENIED, statuses={400}, codes=("failed_precondition",)),
    # the account's privacy settings leave no endpoint
    Row(
        "openrouter_data_policy",
        Cause.ACCESS_DENIED,
        statuses={404},
        phrase=_starts(r"No endpoints (?:found|available) matching your (?:data policy|guardrail restrictions)\b"),
        detail="data_policy",
    ),
    # -- longer than the model reads. Some servers say so with a 500, or inside a 200
    Row("context_length", Cause.CONTEXT_LENGTH, codes=("context_length_exceeded", "exceed_context_size_error")),
    # vLLM to 0.15 and OpenRouter speak likewise
    Row(
        "context_openai",
        Cause.CONTEXT_LENGTH,
        statuses={200, 400, 422},
        phrase=_starts(
            r"This (?:model|endpoint)'s maximum context length is \d+ tokens\b",
            r"'?max_(?:completion_)?tokens'?(?: or 'max_completion_tokens')? is too large: \d+\. "
            r"This model's maximum context length is \d+ tokens\b",
        ),
        detail="context_length",
    ),
    Row(
        "context_vllm",
        Cause.CONTEXT_LENGTH,
        statuses={200, 400, 422},
        phrase=_starts(
            r"You passed \d+ input (?:tokens|characters) and requested \d+ output tokens\. "
            r"However, the model's context length is only \d+ tokens\b"
        ),
        detail="context_length",
    ),
    Row(
        "context_anthropic",
        Cause.CONTEXT_LENGTH,
        statuses={200, 400, 413},
        phrase=_starts(
            r"prompt is too long: \d+ tokens > \d+ maximum\b",
            r"input length and `max_tokens` exceed context limit: \d+ \+ \d+ > \d+\b",
        ),
        detail="context_length",
    ),
    Row(
        "context_gemini",
        Cause.CONTEXT_LENGTH,
        statuses={200, 400},
        phrase=_starts(r"The input token count(?: \(\d+\))? exceeds the maximum number of tokens allowed\b"),
        detail="context_length",
    ),
    # LM Studio, llama.cpp without a type, Ollama
    Row(
        "context_local",
        Cause.CONTEXT_LENGTH,
        statuses={200, 400, 500},
        phrase=_starts(
            r"The number of tokens to keep from the initial prompt is greater than the context length\b",
            r"Trying to keep the first \d+ tokens when context (?:the )?overflows\b",
            r"Context size has been exceeded\b",
            r"input \(\d+ tokens\) is too large to process\b",
            r"(?:the )?input length exceeds (?:the|maximum) context length\b",
        ),
        detail="context_length",
    ),
    # -- kept elsewhere
    Row(
        "state_not_here",
        Cause.STATE_NOT_HERE,
        statuses={400, 404},
        codes=("invalid_encrypted_content", "previous_response_not_found"),
    ),
    # Azure leaves the code out
    Row(
        "state_not_here_phrase",
        Cause.STATE_NOT_HERE,
        statuses={400},
        phrase=_starts(r"The encrypted content (?:for item )?\S{1,128} could not be verified\b"),
        detail="invalid_encrypted_content",
    ),
    # -- no such model, no such path
    Row("model_code", Cause.MODEL_MISSING, statuses={400, 404}, codes=("model_not_found", "invalid_model"), bound=True),
    # vLLM, Ollama, Gemini, Anthropic, OpenRouter. Naming it is not enough: a caller's own ids are echoed too
    Row(
        "model_named",
        Cause.MODEL_MISSING,
        statuses={404},
        phrase=_starts(r"(?:The |This )?[Mm]odels?\b", r"No endpoints found for "),
        names_model=True,
        detail="model_not_found",
    ),
    # OpenRouter
    Row(
        "model_id",
        Cause.MODEL_MISSING,
        statuses={400},
        phrase=_starts(r"\S{1,256} is not a valid model ID\b"),
        names_model=True,
        detail="model_not_found",
    ),
    Row(
        "account_model",
        Cause.MODEL_MISSING,
        kinds=_CHATGPT,
        statuses={200, 400},
        phrase=_starts(
            r"The '\S{1,256}' model is not supported when using Codex with a ChatGPT account\b",
            r"The '\S{1,256}' model requires a newer version of Codex\b",
        ),
        names_model=True,
        detail="model_not_usable",
    ),
    # LM Studio with nothing loaded, DeepSeek, OpenAI about a model of another endpoint
    Row(
        "model_none",
        Cause.MODEL_MISSING,
        statuses={400, 404},
        phrase=_starts(
            r"No models loaded\.",
            r"Model Not Exist\Z",
            r"This is not a chat model\b",
            r"This model is only supported in v1/responses\b",
        ),
        bound=True,
        detail="model_not_usable",
    ),
    Row("deployment", Cause.PATH_MISSING, _AZURE, {404}, codes=("deploymentnotfound",), bound=True),
    # nothing that the translation sends names anything but the model, and that has its row above
    Row(
        "anthropic_path",
        Cause.PATH_MISSING,
        kinds=_ANTHROPIC,
        statuses={404},
        types=("not_found_error",),
        bound=True,
        detail="path_not_found",
    ),
    Row("path_bare", Cause.PATH_MISSING, statuses={404}, bare=True),
    Row("path_method", Cause.PATH_MISSING, statuses={405}),
    # a server's words for a route that it does not have
    Row(
        "path_phrase",
        Cause.PATH_MISSING,
        statuses={200, 404},
        phrase=_starts(
            r"Invalid URL \(",
            r"(?:File )?Not Found\Z",
            r"Resource not found\Z",
            r"Cannot POST /",
            r"Unexpected endpoint or method\b",
        ),
        detail="path_not_found",
    ),
    # -- unwell
    Row("loading", Cause.LOADING, statuses={503}, codes=("unavailable_error",)),
    Row("overloaded", Cause.SERVER, statuses=_5XX, codes=("overloaded_error", "server_is_overloaded")),
    Row("server", Cause.SERVER, statuses={408, 409, *_5XX}),
    # -- all else is the request
    Row("request_too_large", Cause.CLIENT_FAULT, statuses={413}, codes=("request_too_large",)),
    Row("page", Cause.SERVER, statuses=_PAGE_4XX, html=True, detail="html"),
    Row("client_fault", Cause.CLIENT_FAULT, statuses=range(400, 500)),
)
