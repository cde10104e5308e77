"""What a source's listing of models tells an operator: reachable, credential taken, model there, worth a reset?

1. A source that lists for anybody proves nothing of its key, and a listing that cannot be had nothing of its models.
2. A reset is worthwhile where what disabled the tier is seen to be gone; null where that cannot be seen from here.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from proxy.admin.trial.findings import Finding, What, error, ok, warning
from proxy.breaker.state import View
from proxy.providers.listing import Listed
from proxy.routing.story import remedy
from proxy.terms import Cause, Diagnosis

_NO_ANSWER: Mapping[str, tuple[str, str]] = {
    "dns_error": ("its host's name cannot be resolved", "correct `base_url`, or this machine's DNS"),
    "address_refused": (
        "its name leads to a link-local or metadata address, or to a private one, which it may not have",
        "correct `base_url` or DNS; if a private network is meant, say `private_network: true`",
    ),
    "tls_error": ("TLS failed", "check the scheme in `base_url`, and `ca_file` for certificates of your own"),
    "proxy_error": ("its forward proxy does not let it through", "check the source's `proxy`"),
    "connect_error": ("nothing accepts connections there", "start it, or correct host and port in `base_url`"),
    "connect": ("no connection came about within 5 s", "check firewalls and routes to its host"),
    "total": ("it gave no whole answer within 5 s", "see what its host is busy with"),
    "oauth_unreachable": (
        "its account got no access token",
        "see the log's `credential` lines: what its `token_url` does",
    ),
    "no_resources": ("this replica is out of file descriptors or ports", "raise this machine's limits"),
}
_OTHERWISE = ("the connection broke", "see what answers at its host and port, and whether it is HTTP")


@dataclass(frozen=True, slots=True)
class Reached:
    """What was seen of the source."""

    answer: Listed | Diagnosis
    source: str
    model: str

    @property
    def listed(self) -> bool | None:
        """Whether the model stands in the listing; None where there is none to look at, or nothing to look for."""
        names = self.answer.models if isinstance(self.answer, Listed) else None
        return None if names is None or self.model == "*" else self.model in names

    def document(self) -> dict[str, object]:
        """As the API tells it."""
        if isinstance(self.answer, Diagnosis):
            return {"status": None, "detail": self.answer.detail, "listed": None, "models": None}
        meant, names = self.answer.diagnosis, self.answer.models
        return {
            "status": self.answer.status,
            "detail": None if meant is None else meant.detail,
            "listed": self.listed,
            "models": None if names is None else len(names),
        }

    def findings(self) -> Iterator[Finding]:
        """Whether it was reached, and what it lists."""
        answer = self.answer
        if isinstance(answer, Diagnosis):
            said, mend = _NO_ANSWER.get(answer.detail, _OTHERWISE)
            if answer.cause is Cause.KEY_INVALID:
                said, mend = "its account is refused a token", remedy(answer.detail)
            yield error(What.REACH, f"It was not reached: {said} ({answer.detail}).", mend)
        elif answer.diagnosis is None:
            yield ok(
                What.REACH, "It answered its listing of models with 200. Some sources list without a look at a key."
            )
            yield self._listing(answer.models)
        else:
            yield self._refused(answer.status, answer.diagnosis)

    def _listing(self, names: frozenset[str] | None) -> Finding:
        if names is None:
            said = "It has no listing of models that can be read, so whether it serves this one cannot be seen."
            return warning(What.LISTING, said, "send one request of your own, if that must be known")
        if self.listed is None:
            return ok(What.LISTING, f"It lists {len(names)} models, of which the caller names its own.")
        if self.listed:
            return ok(What.LISTING, f"It lists this model, among {len(names)}.")
        said = f"It lists {len(names)} models, and this is none of them; some sources list less than they serve."
        return warning(What.LISTING, said, "compare the name with the source's own, letter by letter")

    def _refused(self, status: int, meant: Diagnosis) -> Finding:
        told = f"It answered its listing of models with {status} ({meant.detail})"
        match meant.cause:
            case Cause.REDIRECT:
                said = f"{told}: a redirect, which is never followed."
                return error(What.REACH, said, "make `base_url` the final one: https, host, path")
            case Cause.KEY_INVALID:
                said = f"{told}: it refuses the credential. A request would disable every tier that uses it."
                return error(What.REACH, said, f"mend the credential of `{self.source}`, then reset")
            case Cause.ACCESS_DENIED if status == 403:
                said = f"{told}: this key may not list models, or not from here. Some keys may chat and not list."
                return warning(What.REACH, said, "check the key's scopes, its project, and from where it may be used")
            case Cause.ACCESS_DENIED:
                said = f"{told}: it does not take the credential. A request that meets this twice disables its tier."
                return error(What.REACH, said, f"mend the credential of `{self.source}`, then reset")
            case Cause.PATH_MISSING | Cause.MODEL_MISSING:
                said = f"{told}: it is reachable and has no listing there, so nothing can be said of the model."
                return warning(What.LISTING, said, "check that `base_url` ends where the API begins, mostly with /v1")
            case _:
                said = f"{told}: it is reachable, and says nothing of the model."
                return warning(What.REACH, said, "test again later")


def reset(disabled: Sequence[View], reached: Reached | None, source: str, model: str) -> tuple[bool | None, Finding]:
    """Whether a reset of what is disabled is worthwhile, and that as a finding."""
    command = shlex.join(("homeport", "reset", source, model))
    worthwhile = None if reached is None else _worthwhile(disabled, reached)
    if reached is None:
        said = "Something is disabled, and nothing was sent, so whether that is mended cannot be told."
        return None, warning(What.RESET, said, f"test again with reach, or, once it is mended: {command}")
    if worthwhile:
        said = "What disabled it is not to be seen any more: a reset is worthwhile. This test changed nothing."
        return True, warning(What.RESET, said, command)
    if worthwhile is None:
        said = "Whether what disabled it is mended cannot be seen from its listing: a reset would cost one request."
        return None, warning(What.RESET, said, f"once it is mended: {command}")
    said = "What disabled it still holds: after a reset the next request would meet it again."
    return False, error(What.RESET, said, f"mend it first, then: {command}")


def _worthwhile(disabled: Sequence[View], reached: Reached) -> bool | None:
    answer = reached.answer
    if isinstance(answer, Diagnosis) or (
        answer.diagnosis is not None and answer.diagnosis.cause in (Cause.KEY_INVALID, Cause.REDIRECT)
    ):
        return False
    if answer.diagnosis is not None:
        refused = answer.diagnosis.cause is Cause.ACCESS_DENIED
        return False if refused and any(each.fault == "auth" for each in disabled) else None
    return True if all(each.fault == "auth" for each in disabled) else reached.listed
