"""What error answers of providers mean: fixtures/faults.json holds bodies from reports and from documentation."""

from __future__ import annotations

import gzip
import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.providers.fault_table import ROWS, Row
from proxy.providers.faults import (
    PHRASE_CHARS,
    Table,
    diagnose,
    diagnose_error,
    error_object,
    override_row,
    status_of,
)
from proxy.terms import Cause, Diagnosis, Headers

_NOW = 1_790_000_000.0
"""Mon, 21 Sep 2026 14:13:20 GMT."""
_TOKEN = re.compile(r"[a-z0-9_.-]{1,48}")
_USED_UP = {"anthropic-ratelimit-requests-remaining": "0"}
_KINDS = ("openai", "openai-compatible", "azure-openai", "anthropic", "chatgpt-account")


@dataclass(frozen=True, slots=True)
class _Answer:
    """One recorded answer; status 200 is an error that came inside a good answer."""

    row: str
    source: str
    kind: str
    model: str
    status: int
    body: Any
    cause: str
    detail: str
    headers: dict[str, str] | None = None

    def read(self, rows: tuple[Row, ...] = ROWS, overrides: tuple[Row, ...] = ()) -> Diagnosis:
        if self.status == 200:
            error = self.body["error"]
            inside = error if isinstance(error, dict) else {"message": error}
            return diagnose_error(
                self.kind, inside, bound_model=self.model, now_unix=_NOW, overrides=overrides, table=Table(rows)
            )
        body = self.body.encode() if isinstance(self.body, str) else orjson.dumps(self.body)
        headers = tuple((self.headers or {}).items())
        return diagnose(
            self.kind,
            self.status,
            headers,
            body,
            bound_model=self.model,
            now_unix=_NOW,
            overrides=overrides,
            table=Table(rows),
        )


_ANSWERS = [
    _Answer(**answer) for answer in json.loads((Path(__file__).parent / "fixtures" / "faults.json").read_text("utf-8"))
]


def _read(
    status: int,
    body: Any,
    headers: Headers = (),
    *,
    kind: str = "openai",
    model: str | None = "gpt-5.4",
    overrides: tuple[Row, ...] = (),
) -> Diagnosis:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return diagnose(kind, status, headers, raw, bound_model=model, now_unix=_NOW, overrides=overrides)


def _error(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


# -- the table


@pytest.mark.parametrize("answer", _ANSWERS, ids=lambda answer: f"{answer.row}-{answer.source}")
def test_recorded_answers_are_read(answer: _Answer) -> None:
    """Every recorded answer has the cause and the detail that stand beside it."""
    diagnosis = answer.read()
    assert (diagnosis.cause, diagnosis.detail) == (answer.cause, answer.detail)


@pytest.mark.parametrize("answer", _ANSWERS, ids=lambda answer: f"{answer.row}-{answer.source}")
def test_recorded_answers_are_read_by_their_row(answer: _Answer) -> None:
    """The row that an answer is recorded for is the one that decides it."""
    marked = tuple(replace(row, detail="marked") if row.name == answer.row else row for row in ROWS)
    assert answer.read(marked).detail == "marked"


def test_every_row_has_a_recorded_answer() -> None:
    """A row without a real body, and a body for no row, are both refused; names are unique."""
    names = [row.name for row in ROWS]
    assert set(names) == {answer.row for answer in _ANSWERS}
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("gone", ROWS, ids=lambda row: row.name)
def test_no_row_can_be_removed(gone: Row) -> None:
    """Without any one row, at least one recorded answer is read differently."""
    rest = tuple(row for row in ROWS if row is not gone)
    assert any(answer.read(rest) != answer.read() for answer in _ANSWERS)


@pytest.mark.parametrize("row", [row for row in ROWS if row.phrase], ids=lambda row: row.name)
def test_phrases_start_where_the_message_starts(row: Row) -> None:
    """A built-in phrase is anchored, and is always asked for together with a status."""
    assert row.phrase is not None
    assert row.phrase.pattern.startswith(r"\A")
    assert row.statuses is not None


def test_codes_are_lower_case() -> None:
    """Codes are compared in lower case, so the table writes them so, and each of them can be a detail."""
    codes = [code for row in ROWS for code in row.codes]
    assert codes
    assert all(_TOKEN.fullmatch(code) for code in codes)


def test_an_answer_of_no_error_status_is_not_guessed_at() -> None:
    """A status that is no error's counts against the server, in a word of our own."""
    assert _read(199, b"") == Diagnosis(Cause.SERVER, "unclassified")


# -- prompts are echoed

_ECHO = "rate limit exceeded 429 insufficient_quota"


@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize(
    "message",
    [
        f"Invalid value: '{_ECHO}'. Supported values are: 'text'.",
        f"{_ECHO}",
        f"Could not parse your prompt: {_ECHO}",
        "Invalid prompt token in 'You have reached your specified API usage limits.'",
        "Bad content: This model's maximum context length is 5 tokens",
        "Bad content: prompt is too long: 5 tokens > 4 maximum",
        "Unreadable: API key not valid. Please pass a valid API key.",
        "Unknown field: No models loaded.",
        "Unknown tool: 'The model `gpt-5.4` does not exist'",
        "\nRequest too large for gpt-4o",
        '{"error":{"code":"insufficient_quota","type":"insufficient_quota"}}',
    ],
)
def test_an_echoed_prompt_stays_the_requests_fault(kind: str, message: str) -> None:
    """What a caller wrote and a provider repeats says nothing about the tier."""
    body = _error(message, type="invalid_request_error", param="messages", code=None)
    assert _read(400, body, kind=kind) == Diagnosis(Cause.CLIENT_FAULT, "http_400")


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize(
    "body",
    [
        _ECHO.encode(),
        f'"{_ECHO}"'.encode(),
        orjson.dumps({"detail": [{"msg": "Field required", "input": {"error": {"code": "insufficient_quota"}}}]}),
        orjson.dumps({"error": {"message": "no", "param": _ECHO, "input": {"type": "insufficient_quota"}}}),
        orjson.dumps({"error": {"message": "no", "metadata": {"raw": '{"code":"insufficient_quota"}'}}}),
        orjson.dumps({"error": {"message": "no", "code": None}, "prompt": {"code": "insufficient_quota"}}),
    ],
)
def test_only_the_errors_own_words_count(status: int, body: bytes) -> None:
    """A free body, an echoed input and a foreign answer quoted as text are not searched."""
    assert _read(status, body) == Diagnosis(Cause.CLIENT_FAULT, f"http_{status}")


def test_an_echo_cannot_end_a_tier_whose_id_it_knows() -> None:
    """A 404 about something of the caller's own that is called like the model leaves the model alone."""
    body = _error("Vector store with id [gpt-5.4] not found.", type="invalid_request_error")
    assert _read(404, body).cause is Cause.CLIENT_FAULT
    tool = _error("The model 'x' does not exist.", code="model_not_found", param="tools[0].model")
    assert _read(400, tool).cause is Cause.CLIENT_FAULT


@pytest.mark.parametrize(
    "code", ["sk-live-abc", "Prompt Text!", "x" * 49, "unheard_of", "", None, True, 17, ["insufficient_quota"], {}]
)
def test_upstream_text_never_becomes_a_detail(code: Any) -> None:
    """A code that the table does not know is not repeated, whatever it looks like."""
    assert _read(400, _error("no", code=code, type=code)).detail == "http_400"


def test_a_phrase_sees_only_the_start_of_a_message() -> None:
    """Beyond PHRASE_CHARS nothing is looked at, even by an override that may match anywhere."""
    rule = (override_row(None, None, None, "needle", Cause.QUOTA),)
    near = _error("x" * (PHRASE_CHARS - 6) + "needle")
    far = _error("x" * PHRASE_CHARS + "needle")
    assert _read(400, near, overrides=rule).cause is Cause.QUOTA
    assert _read(400, far, overrides=rule).cause is Cause.CLIENT_FAULT


# -- the model


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("The model `gpt-5` does not exist.", Cause.MODEL_MISSING),
        ("The model `GPT-5` does not exist.", Cause.MODEL_MISSING),
        ("model 'gpt-5:latest' not found", Cause.MODEL_MISSING),
        ("models/gpt-5 is not found for API version v1main", Cause.MODEL_MISSING),
        ("No endpoints found for openai/gpt-5.", Cause.MODEL_MISSING),
        ("The model `gpt-5-mini` does not exist.", Cause.CLIENT_FAULT),
        ("The model `gpt-5.4` does not exist.", Cause.CLIENT_FAULT),
        ("The model `my-gpt-5` does not exist.", Cause.CLIENT_FAULT),
    ],
)
def test_a_missing_model_is_the_bound_one(message: str, cause: Cause) -> None:
    """A 404 ends a tier only when it names the tier's model, not one that is called nearly so."""
    assert _read(404, _error(message), model="gpt-5").cause is cause


@pytest.mark.parametrize(
    "answer",
    [answer for answer in _ANSWERS if answer.cause == "model_missing" or answer.row == "deployment"],
    ids=lambda answer: answer.source,
)
def test_with_a_passed_through_model_a_missing_one_is_the_callers(answer: _Answer) -> None:
    """With `*` the caller named the model, so its absence is the caller's fault and no fact about the tier."""
    assert _read(answer.status, answer.body, kind=answer.kind, model=None).cause is Cause.CLIENT_FAULT


def test_a_bare_404_is_a_path_even_with_a_passed_through_model() -> None:
    """No model is to blame for an answer that no API wrote."""
    assert _read(404, b"Not here", model=None).cause is Cause.PATH_MISSING


# -- other facts


def test_azure_parks_where_others_have_no_money() -> None:
    """At Azure a 429 is a rate, whatever its code says; elsewhere the same body is an empty account."""
    body = _error("You exceeded your current quota.", code="insufficient_quota")
    assert _read(429, body, kind="azure-openai").cause is Cause.RATE_LIMITED
    assert _read(429, body, kind="openai").cause is Cause.QUOTA


def test_a_return_time_decides_what_an_empty_budget_means() -> None:
    """OpenRouter's in-flight budget and Anthropic's spend limit are told apart by retry-after."""
    budget = _error("Retry later.", code=402, metadata={"limit_source": "openrouter_in_flight_budget"})
    assert _read(402, budget).cause is Cause.QUOTA
    assert _read(402, budget, (("retry-after", "2"),)).cause is Cause.RATE_LIMITED
    spend = _error("No.", type="rate_limit_error", details={"error_code": "enforced_spend_limit_reached"})
    assert _read(429, spend, kind="anthropic").cause is Cause.QUOTA
    assert _read(429, spend, (("retry-after", "2"),), kind="anthropic").cause is Cause.RATE_LIMITED


def test_a_page_with_an_error_inside_is_an_error() -> None:
    """JSON that is labelled as HTML is read as JSON."""
    body = _error("no", code="context_length_exceeded")
    assert _read(400, body, (("Content-Type", "text/html"),)).cause is Cause.CONTEXT_LENGTH


def test_every_error_status_has_a_cause() -> None:
    """Without a word in the body, a status alone decides, and names itself."""
    causes = {status: _read(status, b"").cause for status in range(300, 600)}
    special = {
        401: Cause.ACCESS_DENIED,
        402: Cause.QUOTA,
        403: Cause.ACCESS_DENIED,
        404: Cause.PATH_MISSING,
        405: Cause.PATH_MISSING,
        407: Cause.ACCESS_DENIED,
        408: Cause.SERVER,
        409: Cause.SERVER,
        429: Cause.RATE_LIMITED,
    }
    usual = {3: Cause.REDIRECT, 4: Cause.CLIENT_FAULT, 5: Cause.SERVER}
    assert causes == {status: special.get(status, usual[status // 100]) for status in range(300, 600)}
    assert all(_read(status, b"").detail == f"http_{status}" for status in range(300, 600))


# -- overrides


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        (override_row(400, None, None, None, "quota"), True),
        (override_row(401, None, None, None, "quota"), False),
        (override_row(None, "House_Code", None, None, "quota"), True),
        (override_row(None, "other", None, None, "quota"), False),
        (override_row(None, None, "House_Type", None, "quota"), True),
        (override_row(None, None, "house_code", None, "quota"), False),
        (override_row(None, None, None, "MONEY (gone)", "quota"), True),
        (override_row(None, None, None, "money .gone.", "quota"), False),
        (override_row(400, "house_code", "house_type", "all money", "quota"), True),
        (override_row(400, "house_code", "house_type", "no money", "quota"), False),
    ],
)
def test_overrides_come_first_and_match_whole(rule: Row, fits: bool) -> None:
    """An operator's rule beats the table when all that it names is there; phrases are literal and without case."""
    body = _error("All money (gone) today.", code="HOUSE_CODE", type="house_type")
    assert (_read(400, body, overrides=(rule,)).cause is Cause.QUOTA) is fits


def test_an_override_searches_the_message_only() -> None:
    """A phrase of config is not looked for in the rest of the body."""
    rule = override_row(None, None, None, "teapot", Cause.LOADING)
    assert _read(400, {"error": {"message": "no"}, "hint": "teapot"}, overrides=(rule,)).cause is Cause.CLIENT_FAULT


@pytest.mark.parametrize(
    ("code", "type_", "detail"),
    [
        ("house_code", None, "house_code"),
        (None, "house_type", "house_type"),
        ("house_code", "house_type", "house_code"),
        ("odd code", "house_type", "house_type"),
        ("odd code", None, "http_400"),
    ],
)
def test_an_overrides_detail_is_configs_word_or_the_status(code: str | None, type_: str | None, detail: str) -> None:
    """The word that config spells out may be shown when it is a token; the upstream's others may not."""
    rule = override_row(None, code, type_, None, Cause.QUOTA)
    body = _error("no", code=code or "other_code", type=type_ or "other_type")
    assert _read(400, body, overrides=(rule,)) == Diagnosis(Cause.QUOTA, detail)


def test_status_200_means_an_error_inside_a_good_answer() -> None:
    """A rule for status 200 sees only what came inside a 200."""
    rule = (override_row(200, None, None, None, Cause.LOADING),)
    inside = diagnose_error("openai", {"message": "x"}, bound_model=None, now_unix=_NOW, overrides=rule)
    assert inside.cause is Cause.LOADING
    assert _read(502, _error("x"), overrides=rule).cause is Cause.SERVER


def test_an_unknown_cause_is_refused() -> None:
    """A rule cannot invent a cause."""
    with pytest.raises(ValueError, match="tired"):
        override_row(500, None, None, None, "tired")


# -- finding the error object


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "m", "code": 1}}, "m"),
        ({"error": "m"}, "m"),
        ([{"error": {"message": "m", "status": "X"}}], "m"),
        ({"object": "error", "message": "m", "type": "BadRequestError", "code": 400}, "m"),
        ({"type": "error", "error": {"type": "api_error", "message": "m"}}, "m"),
        ({"message": "m"}, "m"),
        ({"detail": "m"}, "m"),
        ({"detail": {"error": {"message": "m"}}}, "m"),
        ({"detail": [{"msg": "m", "loc": []}]}, "m"),
        ({"errors": [{"message": "m", "code": 7003}], "success": False}, "m"),
        ({"error": {"error": {"message": "m"}}}, "m"),
        ({"message": "outer", "error": {"message": "m"}}, "m"),
        ({"error": {"message": "m", "errors": [{"message": "older"}]}}, "m"),
        ({"statusCode": 404, "message": "m", "error": "Not Found"}, "m"),
        ({"error": {"code": 500}}, "The upstream gave no message."),
        ({"error": {"code": 500, "message": None}}, "The upstream gave no message."),
    ],
)
def test_an_error_is_found_in_any_wrapping(body: Any, message: str) -> None:
    """Whatever wraps it, the error object is found and has a message."""
    found = error_object(orjson.dumps(body))
    assert found is not None
    assert found["message"] == message


def test_an_error_keeps_its_own_keys() -> None:
    """Nothing of the error object is lost on the way to the caller."""
    error = {"message": "m", "type": "t", "param": None, "code": 7, "metadata": {"raw": "x"}}
    assert error_object(orjson.dumps({"error": error})) == error


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{}", b"7", b'"text"', b'{"error":null}', b'{"error":{}}', b'{"error":{"message":"cut',
     b"<html>", b"\xff\xfe", b"\x1f\x8bnot gzip", b'{"id":"chatcmpl-1","choices":[]}', b"[" * 5000],
)  # fmt: skip
def test_where_no_error_is_none_is_found(body: bytes) -> None:
    """A body without an error object gives None."""
    assert error_object(body) is None


def test_a_gzipped_body_is_read() -> None:
    """A server that gzips without saying so is understood, and a bomb is not unpacked."""
    assert _read(429, gzip.compress(orjson.dumps(_error("x", type="insufficient_quota")))).cause is Cause.QUOTA
    bomb = gzip.compress(b'{"error":{"message":"' + b"x" * 10_000_000 + b'"}}')
    assert _read(400, bomb) == Diagnosis(Cause.CLIENT_FAULT, "http_400")


# -- the status of an error inside a 200


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"code": 429, "message": "m"}, 429),
        ({"code": "503", "message": "m"}, 503),
        ({"status": 400, "message": "m"}, 400),
        ({"code": "rate_limit_exceeded", "message": "m"}, 429),
        ({"code": "server_error", "message": "m"}, 500),
        ({"code": "invalid_prompt", "message": "m"}, 400),
        ({"code": "image_too_large", "message": "m"}, 400),
        ({"code": "context_length_exceeded", "message": "m"}, 400),
        ({"code": "vector_store_timeout", "message": "m"}, 504),
        ({"code": "model_not_found", "type": "invalid_request_error"}, 404),
        ({"type": "overloaded_error", "message": "m"}, 529),
        ({"type": "authentication_error", "message": "m"}, 401),
        ({"code": 200, "message": "m"}, 502),
        ({"code": 600, "message": "m"}, 502),
        ({"code": -429, "message": "m"}, 502),
        ({"code": True, "message": "m"}, 502),
        ({"code": 429.0, "message": "m"}, 502),
        ({"message": "429 rate_limit_exceeded"}, 502),
        ({}, 502),
    ],
)
def test_an_error_inside_a_200_gets_a_status(error: dict[str, Any], status: int) -> None:
    """Its own number, else what its code stands for, else 502; never a number out of its text."""
    assert status_of(error) == status


# -- when to come back


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"Retry-After-Ms": "nonsense", "Retry-After": "9"}, 9.0),
        ({"RETRY-AFTER": " 0.25 "}, 0.25),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "86400000"}, 86_400_000.0),
        ({"retry-after": "Mon, 21 Sep 2026 14:14:20 GMT"}, 60.0),
        ({"retry-after": "Mon, 21 Sep 2026 16:14:20 +0200"}, 60.0),
        ({"retry-after": "Mon, 21 Sep 2026 14:12:20 GMT"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "NaN"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e3"}, None),
        ({"retry-after": "1_0"}, None),
        ({"retry-after": "٣"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1s"}, 1.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "20ms"}, 0.02),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1h2m3.5s"}, 3723.5),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "soon"}, None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "-1s"}, None),
        ({"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "6m0s"}, None),
        ({"x-ratelimit-reset-requests": "6m0s"}, None),
        ({**_USED_UP, "anthropic-ratelimit-requests-reset": "2026-09-21T14:14:20Z"}, 60.0),
        ({**_USED_UP, "anthropic-ratelimit-requests-reset": "2026-09-21T14:12:20Z"}, None),
        ({**_USED_UP, "anthropic-ratelimit-requests-reset": "soon"}, None),
        ({**_USED_UP, "anthropic-ratelimit-requests-reset": "2026-09-21T14:14:20Z", "retry-after": "7"}, 7.0),
        ({"anthropic-ratelimit-requests-reset": "2026-09-21T14:14:20Z"}, None),
        ({"retry-after": "2", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 2.0),
    ],
)
def test_retry_after_is_read(headers: dict[str, str], seconds: float | None) -> None:
    """Milliseconds before seconds before dates before a used-up window's reset; what cannot be read is no time."""
    assert _read(429, b"", tuple(headers.items())).retry_after == pytest.approx(seconds)


def test_retry_after_goes_with_any_cause() -> None:
    """An overloaded server's wish is passed on too."""
    assert _read(503, b"", (("retry-after", "30"),)).retry_after == 30.0


def test_geminis_delay_is_in_its_details() -> None:
    """Without a header the error's own RetryInfo counts, and a header beats it."""
    body = [_error("x", code=429, details=[{"@type": "RetryInfo", "retryDelay": "34.5s"}, {"retryDelay": "no"}])]
    assert _read(429, body).retry_after == 34.5
    assert _read(429, body, (("retry-after", "1"),)).retry_after == 1.0


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ({"resets_in_seconds": 529498, "resets_at": 1}, 529_498.0),
        ({"resets_at": _NOW + 60}, 60.0),
        ({"resets_at": _NOW - 60}, None),
        ({"resets_in_seconds": "soon", "resets_at": True}, None),
        ({"resets_in_seconds": -1}, None),
        ({"resets_in_seconds": 1e300}, None),
    ],
)
def test_an_accounts_window_says_when_it_ends(said: dict[str, Any], seconds: float | None) -> None:
    """In the error itself, by HTTP and within a stream; a header beats it."""
    error = {"type": "usage_limit_reached", "message": "The usage limit has been reached", **said}
    assert _read(429, {"error": error}, kind="chatgpt-account").retry_after == seconds
    assert _read(429, {"error": error}, (("retry-after", "7"),), kind="chatgpt-account").retry_after == 7.0
    within = diagnose_error("chatgpt-account", error, bound_model="m", now_unix=_NOW)
    assert (within.cause, within.retry_after) == (Cause.QUOTA, seconds)
    assert status_of(error) == 429


@pytest.mark.parametrize(
    ("status", "left", "exhausted"), [(429, "0", True), (429, "1", False), (429, "none", False), (503, "0", False)]
)
def test_exhausted_means_no_request_is_left(status: int, left: str, exhausted: bool) -> None:
    """Only a 429 with nothing left in its window is exhausted."""
    assert _read(status, b"", (("X-RateLimit-Remaining-Requests", left),)).exhausted is exhausted


# -- anything at all

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["error", "errors", "detail", "details", "message", "code", "type", "status", "param", "innererror",
                 "metadata", "violations", "reason", "retryDelay", "reasons", "quotaId", "object", "msg"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)  # fmt: skip
_BODIES = (
    st.binary(max_size=200)
    | st.binary(max_size=60).map(gzip.compress)
    | st.binary(max_size=60).map(lambda tail: b"\x1f\x8b" + tail)
    | _JSON.map(lambda document: json.dumps(document).encode())
)
_FIELDS = st.tuples(
    st.sampled_from(
        ["retry-after", "Retry-After-Ms", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests",
         "anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset",
         "content-type", "x"]
    ),
    st.text(max_size=30) | st.floats().map(str) | st.integers().map(str)
    | st.datetimes().map("{:%a, %d %b %Y %T}".format),
)  # fmt: skip


def _sane(diagnosis: Diagnosis) -> None:
    assert _TOKEN.fullmatch(diagnosis.detail)
    assert diagnosis.retry_after is None or (math.isfinite(diagnosis.retry_after) and diagnosis.retry_after >= 0)


@given(
    kind=st.sampled_from(_KINDS),
    status=st.integers(300, 599) | st.integers(),
    headers=st.lists(_FIELDS, max_size=4).map(tuple),
    body=_BODIES,
    model=st.none() | st.text(max_size=10),
)
def test_nothing_that_comes_raises(kind: str, status: int, headers: Headers, body: bytes, model: str | None) -> None:
    """Whatever bytes, status and headers come, there is a diagnosis with a token and a usable time."""
    _sane(diagnose(kind, status, headers, body, bound_model=model, now_unix=_NOW))


@given(error=st.dictionaries(st.sampled_from(["message", "code", "type", "status", "details", "metadata"]), _JSON))
def test_nothing_inside_a_200_raises(error: dict[str, Any]) -> None:
    """Whatever an error event holds, there is a diagnosis, and a status that says error."""
    _sane(diagnose_error("openai", error, bound_model="m", now_unix=_NOW))
    assert 400 <= status_of(error) <= 599


@given(
    code=st.none() | st.text(max_size=60),
    type_=st.none() | st.text(max_size=60),
    phrase=st.none() | st.text(max_size=20),
)
def test_nothing_that_an_operator_writes_raises(code: str | None, type_: str | None, phrase: str | None) -> None:
    """Whatever words a rule holds, it is a rule, and the details that it gives are tokens."""
    rule = override_row(None, code, type_, phrase, Cause.QUOTA)
    body = json.dumps(_error(phrase or "m", code=code, type=type_)).encode()
    _sane(_read(400, body, overrides=(rule,)))
