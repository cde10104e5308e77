"""A resource of Azure OpenAI in front of what a simulated upstream says: its paths, its key, and what it adds.

1. A deployment is named in the path where there is an `api-version`, and in the body where there is none.
2. A stream begins with a chunk about the prompt, without a choice and without names; errors carry Azure's codes.
"""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import unquote

import orjson

from proxy.demo.answers import Fault, event, made_up, refusal
from proxy.demo.wire import Answer, Piece, Received
from proxy.terms import Headers

_DEPLOYED = re.compile(r"/openai/deployments/([^/]+)(/.+)")
_FILTERED = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}
_ABOUT_THE_PROMPT = {
    "choices": [],
    "created": 0,
    "id": "",
    "model": "",
    "object": "",
    "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": _FILTERED}],
}


def asked(received: Received) -> bool:
    """The caller takes this upstream for a resource of Azure's."""
    return received.path.startswith("/openai/")


def inner(received: Received) -> Received | Answer:
    """The request as OpenAI would get it, or what the resource itself says to it."""
    if received.header("api-key") is None and received.header("authorization") is None:
        return refusal(401, Fault("Access denied due to invalid subscription key or wrong API endpoint.", code="401"))
    deployed = _DEPLOYED.fullmatch(received.path)
    versioned = "api-version=" in received.query
    if deployed is not None and versioned:
        return replace(received, path=f"/v1{deployed[2]}", body=_named(received.body, unquote(deployed[1])))
    if received.path.startswith("/openai/v1/"):
        return replace(received, path=received.path.removeprefix("/openai"))
    if versioned:
        return replace(received, path="/v1" + received.path.removeprefix("/openai"))
    return refusal(404, Fault("Resource not found", code="404"))


def _named(body: bytes, deployment: str) -> bytes:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body
    return orjson.dumps(document | {"model": deployment}) if isinstance(document, dict) else body


def outer(answer: Answer) -> Answer:
    """What OpenAI would say, as the resource says it."""
    if answer.stream:
        return replace(answer, pieces=(Piece(event(orjson.dumps(_ABOUT_THE_PROMPT))), *answer.pieces))
    if answer.status == 404 and b"model_not_found" in b"".join(piece.data for piece in answer.pieces):
        text = "The API deployment for this resource does not exist."
        return refusal(404, Fault(text, code="DeploymentNotFound"))
    return answer


def content_filtered() -> Answer:
    """The prompt was refused by the filter in front of the model."""
    text = "The response was filtered due to the prompt triggering Azure OpenAI's content management policy."
    inner_error = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": _FILTERED}
    error = {"message": text, "type": None, "param": "prompt", "code": "content_filter", "status": 400}
    made = refusal(400, Fault(text))
    body = orjson.dumps({"error": error | {"innererror": inner_error}})
    return replace(made, pieces=(Piece(body, content=True),))


def usual_headers() -> Headers:
    """What Azure adds to every answer."""
    return (("apim-request-id", made_up("")), ("x-ms-region", "Simulated"), ("x-ratelimit-remaining-requests", "99"))
