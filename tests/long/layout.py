"""Who is bound to what in the audited fleet: sources, chains, limits of time; the configuration is made of it.

1. A binding stands at one place: it is a primary wherever it is bound, or a fallback wherever it is.
2. Sources of UNREACHED kinds get no request, whatever is sent to them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

REACHED = ("north", "south", "east", "west")
KEYED = {"east": "the-key-of-east", "west": "the-key-of-west"}
"""Sources with a credential, whose row all their targets obey."""
UNREACHED = {"shut": "refused", "plain": "no_tls", "full": "backlog"}
"""What is amiss at sources where no request ever arrives: a key of faults_script.UNREACHED."""
COOLDOWN_MAX = 2.0
CONNECT, FIRST_BYTE, IDLE, ATTEMPT = 0.7, 1.5, 1.5, 2.2
PATIENCE = 1.0
"""Seconds that an impatient caller says it will wait."""
HURRY = 6.0
"""Seconds that a hurried assistant gives all its tiers. The last of them has a tenth, which a busy machine needs."""
_USUAL = {
    "connect": CONNECT,
    "first_byte": FIRST_BYTE,
    "first_token": 2.0,
    "idle": IDLE,
    "attempt": ATTEMPT,
    "total": 15,
}


@dataclass(frozen=True, slots=True)
class Tier:
    """A place in a chain."""

    name: str
    source: str
    model: str
    context: int | None = None
    supports: frozenset[str] | None = None

    @property
    def binding(self) -> tuple[str, str]:
        return self.source, self.model


@dataclass(frozen=True, slots=True)
class Assistant:
    """A chain, and what its requests are like."""

    name: str
    tiers: tuple[Tier, ...]
    cleared: bool = False
    own: bool = False
    """Its breakers are its own."""
    timeouts: Mapping[str, object] = field(default_factory=lambda: _USUAL)
    tools: bool = False
    """Half of its requests need tools."""

    def tier(self, name: str) -> Tier | None:
        return next((tier for tier in self.tiers if tier.name == name), None)

    def entry(self) -> dict[str, object]:
        """As it stands in the configuration."""
        primary, *fallbacks = ([None] if self.cleared else []) + [_binding(tier) for tier in self.tiers]
        more: dict[str, object] = {"breaker": {"scope": "assistant"}} if self.own else {}
        return {"primary": primary, "fallbacks": fallbacks, "timeouts": self.timeouts, **more}


def _binding(tier: Tier) -> dict[str, object] | None:
    told = {"context": tier.context, "supports": None if tier.supports is None else sorted(tier.supports)}
    return {"source": tier.source, "model": tier.model} | {
        key: value for key, value in told.items() if value is not None
    }


def _chain(*tiers: str, cleared: bool = False) -> tuple[Tier, ...]:
    """`_chain("north/big", "south/small 128000")`: bindings in order, each with the context that it declares."""

    def made() -> Iterator[Tier]:
        for place, tier in enumerate(tiers, start=int(cleared)):
            binding, _, context = tier.partition(" ")
            source, model = binding.split("/")
            yield Tier(f"fallback-{place}" if place else "primary", source, model, int(context) if context else None)

    return tuple(made())


_CODER = (
    Tier("primary", "south", "plain-text", supports=frozenset()),
    Tier("fallback-1", "east", "with-tools", supports=frozenset({"tools"})),
    Tier("fallback-2", "north", "with-tools", supports=frozenset({"tools"})),
)

ASSISTANTS = (
    Assistant("bot", _chain("north/big", "south/small", "east/mini")),
    Assistant("desk", _chain("north/big", "west/small")),
    Assistant("own", _chain("north/big", "south/small"), own=True),
    Assistant("search", _chain("east/fast", "north/quick", "south/quick")),
    Assistant("clerk", _chain("west/prime", "east/spare", "north/spare")),
    Assistant("writer", _chain("west/long 8000", "east/longer 128000")),
    Assistant("reader", _chain("south/brief 8000", "north/brief-too 8000", "west/vast 128000")),
    Assistant("coder", _CODER, tools=True),
    Assistant("cleared", _chain("south/stand-in", "west/stand-in", cleared=True), cleared=True),
    Assistant("alone", _chain("north/alone")),
    Assistant("solo", _chain("east/solo")),
    Assistant("held", _chain("south/held", "west/held-too"), timeouts=_USUAL | {"hold": 0.15}),
    Assistant(
        "hurried",
        _chain("north/hurried", "south/hurried-too", "east/hurried-too"),
        timeouts={"first_byte": HURRY, "first_token": HURRY, "total": HURRY},
    ),
    Assistant("unreached", _chain("shut/gone", "south/after-shut")),
    Assistant("unsecured", _chain("plain/gone", "north/after-plain", "shut/gone-too")),
    Assistant("backlogged", _chain("full/gone", "east/after-full")),
    Assistant("long-chain", _chain("west/first", "south/second", "north/third", "east/fourth")),
    Assistant("calm", _chain("south/calm", "north/calm-too")),
)
BY_NAME = {assistant.name: assistant for assistant in ASSISTANTS}
PLACES = {tier.binding: tier.name for assistant in ASSISTANTS for tier in assistant.tiers}
BINDINGS = tuple(PLACES)


def configuration(
    urls: Mapping[str, str], store: str, token: str, faults: Sequence[Mapping[str, object]] = ()
) -> dict[str, object]:
    """One file for all replicas; `urls` are the sources' base URLs, `faults` what their errors mean instead."""
    sources = {
        name: {"kind": "openai-compatible", "base_url": url, "faults": list(faults)}
        | ({"api_key": KEYED[name]} if name in KEYED else {})
        for name, url in urls.items()
    }
    return {
        "version": 1,
        "listen": "127.0.0.1:0",
        "admin": {"listen": "127.0.0.1:0", "token": token},
        "store": store,
        "breaker": {"cooldown": "1s", "cooldown_max": COOLDOWN_MAX},
        "decisions": {"keep": 100000, "age": "1h"},
        "sources": sources,
        "assistants": {assistant.name: assistant.entry() for assistant in ASSISTANTS},
    }
