"""The fault script: every way in which a scripted upstream treats a request, and what a record is to say of it.

1. The columns are written by hand, from what providers document and what callers were promised. None of them is
   computed by the proxy or taken from it; only the bytes that are played come from the simulated upstreams.
2. Sources of a kind that speaks OpenAI's protocol are all that can be configured, so the errors of other protocols are
   here as far as gateways of such sources pass them on.
"""

from __future__ import annotations

from dataclasses import replace

from proxy.demo import moods
from proxy.demo.answers import Fault, refusal
from proxy.demo.moods import Mood, Then
from tests.long.script_rows import JSON, STREAM, Row, Words, error, not_a_stream, row, said

_SERVER = Fault("The server had an error.", "server_error", "server_error")
_OVERLOADED = Fault("Overloaded.", "overloaded_error", "overloaded_error")
_LIMITED = Fault("Rate limit reached.", "requests", "rate_limit_exceeded")
_POLICY = Fault("Rejected by our safety system.", "invalid_request_error", "content_policy_violation")
_NGINX = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center></body></html>"
_LARGE = moods.large(4).text

UNREACHED: dict[str, Words] = {
    "refused": Words.of("network connect_error no bad next -"),
    "no_tls": Words.of("network tls_error no bad next -"),
    "backlog": Words.of("timeout_connect connect no bad next -"),
}
"""What is to be said of a source where no request ever arrives, by what is amiss there."""

WELL = row("well", moods.WELL, "served - yes good stop 200")

ROWS: tuple[Row, ...] = (
    WELL,
    row("late", moods.delay(0.3), "served - yes good stop 200"),
    row("gzip", moods.compressed(), "served - yes good stop 200"),
    row("early_hints", moods.early_hints(), "served - yes good stop 200"),
    row("large_header", moods.large_header(20_000), "served - yes good stop 200"),
    row("http10", moods.http10(), "served - yes good stop 200"),
    # -- no usable answer
    row("reset", moods.reset(), "network reset maybe bad next -", drops=True),
    row("close", moods.close(), "network closed maybe bad next -", drops=True),
    row("stale", moods.stale(), "network closed maybe bad next -", drops=True),
    row("garbage", moods.garbage(), "transient bad_http maybe bad next -"),
    row("hang_json", moods.hang(), "timeout_total attempt maybe bad next -", only=JSON),
    row("hang_stream", moods.hang(), "timeout_first_byte first_byte maybe bad next -", only=STREAM),
    row("head_json", moods.hang_after_headers(), "timeout_total attempt maybe bad next -", only=JSON),
    row("head_stream", moods.hang_after_headers(), "slow first_token maybe neutral next -", only=STREAM),
    row("life_only", moods.hang_mid_stream(0), "slow first_token maybe neutral next -", only=STREAM),
    row("half_json", moods.hang_mid_stream(0), "timeout_idle idle maybe bad next -", only=JSON),
    row("truncated", moods.truncate(), "stream_broken truncated maybe bad next -"),
    row("not_json", moods.not_json(), "transient not_json maybe bad next -"),
    row("not_an_object", said(200, ["Hello."]), "transient not_json_object maybe bad next -", only=JSON),
    row("empty", moods.empty(), "transient empty maybe bad next -"),
    row("page_200", moods.html(200), "transient html maybe bad next -"),
    row("redirect", moods.redirect(), "config http_307 no bad next 307"),
    row("not_a_stream", not_a_stream, "transient not_a_stream maybe bad next -", only=STREAM),
    row("done_only", moods.empty_stream(), "stream_broken no_content maybe bad next -", only=STREAM),
    row("nothing", moods.empty_stream(done=False), "stream_broken no_content maybe bad next -", only=STREAM),
    row("garbage_event", moods.garbage_event(0), "stream_broken garbage maybe bad next -", only=STREAM),
    row("error_event", moods.error_event(0, _SERVER), "transient http_500 maybe bad next 500", only=STREAM),
    row(
        "overloaded_event",
        moods.error_event(0, _OVERLOADED),
        "transient overloaded_error maybe bad next 529",
        only=STREAM,
    ),
    row("limited_event", moods.error_event(0, _LIMITED), "rate_limited http_429 no rate_limit next 429", only=STREAM),
    row(
        "policy_event",
        moods.error_event(0, _POLICY),
        "content_policy content_policy_violation no neutral stop 400",
        only=STREAM,
        at_fault=True,
    ),
    # OpenRouter: the error's own code is the real status
    row("502_in_200", moods.error_in_200(502), "transient http_502 maybe bad next 502"),
    row("429_in_200", moods.error_in_200(429), "rate_limited http_429 no rate_limit next 429"),
    row("402_in_200", moods.error_in_200(402), "quota http_402 no quota next 402"),
    row("text_in_200", said(200, {"error": "llama runner has ended"}), "transient http_502 maybe bad next 502"),
    # -- too much at once, no money left
    row("429", moods.status(429), "rate_limited http_429 no rate_limit next 429"),
    row("429_1s", moods.status(429, retry_after=1), "rate_limited http_429 no rate_limit next 429", retry_after=1.0),
    row("429_6s", moods.status(429, retry_after=6), "rate_limited http_429 no rate_limit next 429", retry_after=6.0),
    row(
        "429_250ms",
        said(429, {"error": {"message": "Slower."}}, retry_after_ms="250", retry_after="9"),
        "rate_limited http_429 no rate_limit next 429",
        retry_after=0.25,
    ),
    row(
        "429_none_left",
        moods.status(429, headers=(("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "1s"))),
        "rate_limited http_429 no rate_limit next 429",
        retry_after=1.0,
    ),
    row(
        "429_too_large",
        error(429, "Request too large for gpt-big on tokens per min (TPM): Limit 1000, Requested 2000.", type="tokens"),
        "rate_limited request_over_limit no neutral next 429",
        at_fault=True,
    ),
    row("slow_down", error(503, "Slow down.", code="slow_down"), "rate_limited slow_down maybe rate_limit next 503"),
    row("no_quota", moods.insufficient_quota(), "quota insufficient_quota no quota next 429"),
    row(
        "no_credit",
        error(429, "No credit is left.", type="requests", code="credit_balance_exhausted"),
        "quota credit_balance_exhausted no quota next 429",
    ),
    row(
        "gemini_limit",
        said(
            429, [{"error": {"code": 429, "message": "Resource has been exhausted.", "status": "RESOURCE_EXHAUSTED"}}]
        ),
        "rate_limited http_429 no rate_limit next 429",
    ),
    row(
        "gemini_daily",
        said(
            429,
            [
                {
                    "error": {
                        "message": "Exceeded.",
                        "details": [{"violations": [{"quotaId": "RequestsPerDayPerProject"}]}],
                    }
                }
            ],
        ),
        "quota daily_quota no quota next 429",
    ),
    row("openrouter_402", error(402, "Insufficient credits.", code=402), "quota http_402 no quota next 402"),
    row(
        "openrouter_budget",
        said(
            402,
            {"error": {"message": "Retry.", "metadata": {"limit_source": "openrouter_in_flight_budget"}}},
            retry_after="2",
        ),
        "rate_limited openrouter_in_flight_budget no rate_limit next 402",
        retry_after=2.0,
    ),
    row("openrouter_key", error(403, "Key limit exceeded (daily limit)."), "quota key_limit no quota next 403"),
    # -- who asks
    row("key_invalid", moods.status(401), "auth invalid_api_key no disable next 401"),
    row(
        "key_deactivated",
        error(401, "The account has been deactivated.", code="account_deactivated"),
        "auth account_deactivated no disable next 401",
    ),
    row(
        "scope", error(401, "Missing scopes.", type="invalid_request_error"), "auth http_401 no disable_twice next 401"
    ),
    row("region", moods.status(403), "auth http_403 no disable_twice next 403"),
    row("firewall", moods.html(403), "auth http_403 no disable_twice next 403"),
    row(
        "gemini_key",
        said(400, [{"error": {"code": 400, "message": "API key not valid. Pass one.", "status": "INVALID_ARGUMENT"}}]),
        "auth api_key_invalid no disable_twice next 400",
    ),
    row(
        "gemini_region",
        said(400, [{"error": {"code": 400, "message": "Not here.", "status": "FAILED_PRECONDITION"}}]),
        "auth failed_precondition no disable_twice next 400",
    ),
    row(
        "data_policy",
        error(404, "No endpoints found matching your data policy.", code=404),
        "auth data_policy no disable_twice next 404",
    ),
    # -- no such model, no such path
    row("no_model", moods.model_missing(), "config model_not_found no disable next 404"),
    row(
        "no_model_400",
        lambda model: error(400, f"The model '{model}' is gone.", code="model_not_found", param="model"),
        "config model_not_found no disable next 400",
    ),
    row(
        "ollama_model",
        lambda model: said(404, {"error": f"model '{model}' not found, try pulling it first"}),
        "config model_not_found no disable next 404",
    ),
    row(
        "no_model_loaded",
        error(400, "No models loaded. Load one.", type="invalid_request_error", param="model"),
        "config model_not_usable no disable next 400",
    ),
    row("404_page", moods.html(404), "config http_404 no disable_twice next 404"),
    row("404_text", said(404, "404 page not found", kind="text/plain"), "config http_404 no disable_twice next 404"),
    row("404_detail", said(404, {"detail": "Not Found"}), "config path_not_found no disable_twice next 404"),
    row("405", said(405, {"detail": "Method Not Allowed"}), "config http_405 no disable_twice next 405"),
    # -- unwell
    row("408", moods.status(408), "transient http_408 maybe bad next 408"),
    row("409", moods.status(409), "transient http_409 no bad next 409"),
    row("500", moods.status(500), "transient http_500 maybe bad next 500"),
    row("502_page", moods.html(502), "transient http_502 maybe bad next 502"),
    row("503", moods.status(503), "transient server_is_overloaded maybe bad next 503"),
    row(
        "503_2s", moods.status(503, retry_after=2), "transient server_is_overloaded maybe bad next 503", retry_after=2.0
    ),
    row("503_ollama", said(503, {"error": "server busy"}), "transient http_503 maybe bad next 503"),
    row("504", said(504, "", kind="text/plain"), "transient http_504 maybe bad next 504"),
    row("520", said(520, "error code: 520", kind="text/plain"), "transient http_520 maybe bad next 520"),
    row("529", error(529, "Overloaded", type="overloaded_error"), "transient overloaded_error maybe bad next 529"),
    row(
        "loading",
        error(503, "Loading model", code=503, type="unavailable_error"),
        "transient unavailable_error maybe rate_limit next 503",
    ),
    row("400_page", said(400, _NGINX.format("400"), kind="text/html"), "transient html no bad next 400"),
    # -- the request: too long, refused for its content, or wrong
    row(
        "too_long",
        moods.context_length(),
        "context_length context_length_exceeded no neutral larger 400",
        at_fault=True,
    ),
    row(
        "too_long_vllm",
        error(
            400,
            "You passed 98305 input tokens and requested 32768 output tokens. However, the model's context length is "
            "only 131072 tokens.",
            type="BadRequestError",
            code=400,
        ),
        "context_length context_length no neutral larger 400",
        at_fault=True,
    ),
    row(
        "too_long_llama",
        error(500, "the request exceeds the available context size.", code=500, type="exceed_context_size_error"),
        "context_length exceed_context_size_error maybe neutral larger 500",
        at_fault=True,
    ),
    row(
        "policy",
        Mood("policy", instead=refusal(400, _POLICY)),
        "content_policy content_policy_violation no neutral stop 400",
        at_fault=True,
    ),
    row(
        "moderation",
        said(403, {"error": {"message": "Flagged.", "code": 403, "metadata": {"reasons": ["violence"]}}}),
        "content_policy moderation no neutral stop 403",
        at_fault=True,
    ),
    row(
        "400",
        moods.status(400),
        "client_fault http_400 no neutral stop 400",
        "unsupported http_400 no neutral next 400",
        at_fault=True,
    ),
    row(
        "413_page",
        said(413, _NGINX.format("413"), kind="text/html"),
        "client_fault http_413 no neutral stop 413",
        "unsupported http_413 no neutral next 413",
        at_fault=True,
    ),
    row(
        "413",
        said(413, {"type": "error", "error": {"type": "request_too_large", "message": "Too large."}}),
        "client_fault request_too_large no neutral stop 413",
        "unsupported request_too_large no neutral next 413",
        at_fault=True,
    ),
    row(
        "415",
        moods.status(415),
        "client_fault http_415 no neutral stop 415",
        "unsupported http_415 no neutral next 415",
        at_fault=True,
    ),
    row(
        "422",
        said(422, {"detail": [{"type": "missing", "loc": ["body", "messages"], "msg": "Field required"}]}),
        "client_fault http_422 no neutral stop 422",
        "unsupported http_422 no neutral next 422",
        at_fault=True,
    ),
    row(
        "state_elsewhere",
        error(400, "Previous response with id 'r' not found.", code="previous_response_not_found"),
        "client_fault previous_response_not_found no neutral stop 400",
        "unsupported previous_response_not_found no neutral next 400",
        at_fault=True,
    ),
    # -- cut after the commit
    row("cut_ends", moods.cut_stream(3), "stream_broken truncated yes bad stop 200", cuts=True, only=STREAM),
    row("cut_before_finish", moods.cut_stream(99), "stream_broken truncated yes bad stop 200", cuts=True, only=STREAM),
    row(
        "cut_closes",
        moods.cut_stream(3, then=Then.CLOSE),
        "stream_broken truncated yes bad stop 200",
        cuts=True,
        only=STREAM,
    ),
    row(
        "cut_resets",
        moods.cut_stream(3, then=Then.RESET),
        "stream_broken truncated yes bad stop 200",
        cuts=True,
        only=STREAM,
    ),
    row("cut_garbage", moods.garbage_event(3), "stream_broken garbage yes bad stop 200", cuts=True, only=STREAM),
    row("cut_error", moods.error_event(3, _SERVER), "transient http_500 yes bad stop 200", cuts=True, only=STREAM),
    row(
        "cut_overloaded",
        moods.error_event(3, _OVERLOADED),
        "transient overloaded_error yes bad stop 200",
        cuts=True,
        only=STREAM,
    ),
    row(
        "cut_limited",
        moods.error_event(3, _LIMITED),
        "rate_limited http_429 yes rate_limit stop 200",
        cuts=True,
        only=STREAM,
    ),
    row("cut_silent", moods.hang_mid_stream(3), "timeout_idle idle yes bad stop 200", cuts=True, only=STREAM),
    row(
        "large_truncated",
        replace(moods.truncate(), text=_LARGE),
        "stream_broken truncated yes bad stop 200",
        cuts=True,
        large=True,
        only=JSON,
    ),
    row(
        "large_silent",
        replace(moods.hang_mid_stream(0), text=_LARGE),
        "timeout_idle idle yes bad stop 200",
        cuts=True,
        large=True,
        only=JSON,
    ),
    row("large", Mood("large", text=_LARGE), "served - yes good stop 200", large=True, only=JSON),
)

LEFT_EARLY = row("left_early", moods.hang(), "cancelled caller_left maybe neutral stop -")
"""To callers who leave before an answer."""
LEFT_MIDWAY = row("left_midway", moods.hang_mid_stream(3), "cancelled caller_left yes good stop 200", only=STREAM)
"""To callers who leave once the answer has begun."""
STALLED = row(
    "stalled", Mood("stalled", text=moods.large(12).text), "cancelled caller_stalled yes good stop 200", only=JSON
)
"""To callers who stop reading."""
IMPATIENT = row("impatient", moods.hang(), "timeout_total patience maybe neutral next -")
"""To callers who said that they would not wait for long."""
HURRIED = row("hurried", moods.hang(), "timeout_total total maybe bad|neutral next -")
"""By models whose assistant gives all tiers together little time."""

BY_NAME = {row.name: row for row in (*ROWS, LEFT_EARLY, LEFT_MIDWAY, STALLED, IMPATIENT, HURRIED)}
