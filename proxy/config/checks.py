"""What the parts of a configuration say of each other: references, chains, limits, exposure, shared health.

1. A check never raises, whatever is missing: a Finding says where, what and how to repair it.
2. Nothing here reads a file or the environment, apart from `certificates`.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator

from proxy.config.fault import Finding, Loc, dotted
from proxy.config.oauth import OAuth
from proxy.config.schema import Binding, Chain, Config
from proxy.config.thresholds import Thresholds, merge
from proxy.config.words import listed, nearest
from proxy.providers.kinds import KINDS
from proxy.terms import EMBEDDINGS


def find(config: Config) -> list[Finding]:
    """Everything in a valid configuration that does not go together."""
    return [
        *_exposure(config),
        *_identity(config),
        *_clients(config),
        *_sources(config),
        *_accounts(config),
        *_limits(config),
        *_cooldowns(config),
        *_shared_policies(config),
        *(finding for name in config.assistants for finding in _assistant(config, name)),
    ]


def certificates(config: Config) -> Iterator[Finding]:
    """`ca_file`s that cannot be used. Reads them."""
    for name, source in config.sources.items():
        if source.ca_file is not None:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=source.ca_file)
            except (OSError, ValueError):  # ssl.SSLError is an OSError
                problem, remedy = "certificates cannot be read from here", "name a PEM file that Homeport may read"
                yield Finding(("sources", name, "ca_file"), problem, remedy)


def _exposure(config: Config) -> Iterator[Finding]:
    listen, admin = config.listen, config.admin
    if not listen.loopback and not config.clients:
        remedy = "list `clients`, or write clients: open to let anybody call"
        yield Finding(("listen",), "beyond loopback anybody could call", remedy, (("clients",),))
    if not admin.listen.loopback and admin.token is None:
        remedy = "give admin a token, or listen on 127.0.0.1"
        yield Finding(("admin", "listen"), "beyond loopback anybody could operate it", remedy, (("admin", "token"),))
    if listen == admin.listen and listen.port:
        yield Finding(
            ("admin", "listen"), "`listen` and `admin.listen` are one address", "choose another port", (("listen",),)
        )


def _identity(config: Config) -> Iterator[Finding]:
    default = config.identity.default
    if default is not None and default not in config.assistants:
        yield _unknown(("identity", "default"), "assistants", default, list(config.assistants))


def _clients(config: Config) -> Iterator[Finding]:
    if isinstance(config.clients, str):
        return
    ids: dict[str, int] = {}
    keys: dict[str, int] = {}
    for place, client in enumerate(config.clients):
        if ids.setdefault(client.id, place) != place:
            yield Finding(("clients", place, "id"), "two clients of one id", "give each its own")
        if keys.setdefault(client.key_sha256, place) != place:
            yield Finding(("clients", place, "key_sha256"), "two clients of one key", "give each its own key")
        for index, assistant in enumerate(client.assistants or ()):
            if assistant not in config.assistants:
                yield _unknown(
                    ("clients", place, "assistants", index), "assistants", assistant, list(config.assistants)
                )


def _sources(config: Config) -> Iterator[Finding]:
    for name, source in config.sources.items():
        header = source.credential_header
        twice = next((each for each in source.headers if each.lower() == header.lower()), None)
        if source.credential and twice is not None:
            loc: Loc = ("sources", name, "headers", twice)
            named = "an Authorization" if header == "Authorization" else f"an `{header}`"
            yield Finding(loc, f"{named} beside `{'api_key' if source.api_key else 'oauth'}`", "keep one of them")
        if source.api_key is not None and source.oauth is not None:
            yield Finding(("sources", name, "oauth"), "an account beside `api_key`", "keep one of them")
        if not source.credential and KINDS[source.kind].account:
            yield Finding(
                ("sources", name, "kind"), f"kind `{source.kind}` needs an account", "add `oauth`, or `api_key`"
            )
        for place, forwarded in enumerate(source.forward_headers):
            if forwarded.lower() == config.identity.header.lower():
                loc = ("sources", name, "forward_headers", place)
                yield Finding(loc, "the identity header is Homeport's alone", "leave it out", (("identity",),))


def _accounts(config: Config) -> Iterator[Finding]:
    first: dict[str, tuple[str, OAuth]] = {}
    for name, account in config.accounts.items():
        if account.grant == "refresh_token" and (account.refresh_token or account.file_login):
            other, same = first.setdefault(account.login, (name, account))
            if same != account:
                problem = f"the account of `{other}`, with other settings: whose tokens are refreshed in one way only"
                loc: Loc = ("sources", name, "oauth")
                yield Finding(loc, problem, "say the same at both", (("sources", other, "oauth"),))


def _limits(config: Config) -> Iterator[Finding]:
    if config.limits.buffered < config.limits.body:
        loc = ("limits", "buffered" if "buffered" in config.limits.model_fields_set else "body")
        problem = "one body could be larger than all bodies together may be"
        yield Finding(loc, problem, "make `buffered` at least as large as `body`", (("limits",),))


def _cooldowns(config: Config) -> Iterator[Finding]:
    levels: list[tuple[Loc, Thresholds]] = []
    if config.breaker:
        levels.append((("breaker",), merge(config.breaker)))
    for name, source in config.sources.items():
        if source.breaker:
            levels.append((("sources", name, "breaker"), merge(config.breaker, source.breaker)))
    for name, assistant in config.assistants.items():
        if assistant.breaker and assistant.breaker.scope:
            used = dict.fromkeys(binding.source for _, _, binding in _bindings(config, name))
            merged = [config.policy(name, source) for source in used if source in config.sources]
            levels += [(("assistants", name, "breaker"), each) for each in merged]
    told: set[Loc] = set()
    for loc, values in levels:
        if values.cooldown > values.cooldown_max and not (told & {loc, ("breaker",)}):
            told.add(loc)
            remedy = "lower `cooldown`, or raise `cooldown_max` here as well"
            yield Finding(
                loc, "`cooldown` is longer than `cooldown_max` (which is 5m unless set)", remedy, (("breaker",),)
            )


def _shared_policies(config: Config) -> Iterator[Finding]:
    first: dict[tuple[object, ...], tuple[str, Thresholds, Loc]] = {}
    told: set[str] = set()
    owners = {name: (source.kind, source.base_url, source.credential) for name, source in config.sources.items()}
    policies: dict[tuple[str, str | None], Thresholds] = {}
    for assistant in config.assistants:
        own = assistant if config.assistants[assistant].apart else None
        for chain, loc, binding in _bindings(config, assistant):
            source, model = config.sources.get(binding.source), config.model_of(binding)
            if source is None or model is None:
                continue
            policy = policies.get((binding.source, own))
            if policy is None:
                policy = policies[binding.source, own] = config.policy(assistant, binding.source)
            target = (*owners[binding.source], model, chain, own)
            name, other, place = first.setdefault(target, (binding.source, policy, loc))
            if other != policy and binding.source not in told:
                told.add(binding.source)
                # Where both have a breaker, either could be meant; where one has, that is the one that differs.
                named = binding.source if source.breaker else name
                remedy = "give both the same breaker values, or make them one source"
                problem = (
                    f"two policies on one shared target: `{name}` and `{binding.source}` have the same URL and key"
                )
                sources: tuple[Loc, ...] = (("sources", name), ("sources", binding.source))
                grounds = (*sources, (*place, "model"), (*loc, "model"))
                yield Finding(("sources", named, "breaker"), problem, remedy, grounds)


def _bindings(config: Config, name: str) -> Iterator[tuple[str, Loc, Binding]]:
    """Chain key, location and binding of every tier of one assistant."""
    for key, base, chain in _chains(config, name):
        for loc, binding in _tiers(base, chain):
            yield key, loc, binding


def _chains(config: Config, name: str) -> Iterator[tuple[str, Loc, Chain]]:
    assistant = config.assistants[name]
    yield "", ("assistants", name), assistant
    for key, chain in assistant.chains.items():
        yield key, ("assistants", name, "chains", key), chain


def _tiers(base: Loc, chain: Chain) -> Iterator[tuple[Loc, Binding]]:
    if chain.primary is not None:
        yield (*base, "primary"), chain.primary
    for place, binding in enumerate(chain.fallbacks):
        yield (*base, "fallbacks", place), binding


def _assistant(config: Config, name: str) -> Iterator[Finding]:
    assistant = config.assistants[name]
    if assistant.breaker is not None and assistant.breaker.scope is None:
        problem = "health is shared through the source, so an assistant cannot set its thresholds"
        remedy = "add scope: assistant for breakers of its own, or move this to the source"
        yield Finding(("assistants", name, "breaker"), problem, remedy, (("assistants", name, "breaker"),))
    yield from _timeouts(config, name)
    for key, base, chain in _chains(config, name):
        yield from _tiers_of(config, base, chain)
        yield from _declared(base, chain)
        if key == "embeddings":
            yield from _one_model(config, base, chain)
            yield from _no_embeddings(config, base, chain)


def _tiers_of(config: Config, base: Loc, chain: Chain) -> Iterator[Finding]:
    most = config.limits.max_fallbacks
    if len(chain.fallbacks) > most:
        remedy = "remove some, or raise limits.max_fallbacks"
        problem = f"{len(chain.fallbacks)} fallbacks, and {most} are allowed"
        yield Finding((*base, "fallbacks", most), problem, remedy, (("limits", "max_fallbacks"),))
    seen: dict[tuple[str, str | None, str], Loc] = {}
    for loc, binding in _tiers(base, chain):
        if binding.source not in config.sources:
            yield _unknown((*loc, "source"), "sources", binding.source, list(config.sources))
        elif config.model_of(binding) is None:
            default: Loc = ("sources", binding.source, "default_model")
            problem = f"no model is named, and `{binding.source}` has no `default_model`"
            yield Finding((*loc, "model"), problem, f"name one here, or as {dotted(default)}", (default,))
        first = seen.setdefault(_same_tier(config, binding), loc)
        if first != loc:
            problem = f"the same tier as {_tier_name(first)}: the same source, model and params"
            yield Finding(loc, problem, "remove one of them", (first, loc))


def _same_tier(config: Config, binding: Binding) -> tuple[str, str | None, str]:
    params = binding.params
    changed = [sorted(params.drop), dict(params.set), dict(params.cap)]
    return binding.source, config.model_of(binding), json.dumps(changed, sort_keys=True) if any(changed) else ""


def _tier_name(loc: Loc) -> str:
    last = loc[-1]
    return f"fallback-{last + 1}" if isinstance(last, int) else last


def _declared(base: Loc, chain: Chain) -> Iterator[Finding]:
    if (primary := chain.primary) is None:
        return
    origin: Loc = (*base, "primary")
    for loc, fallback in list(_tiers(base, chain))[1:]:
        if primary.context is not None and fallback.context is not None and fallback.context < primary.context:
            problem = f"a smaller context than the primary declares ({primary.context})"
            yield Finding(
                (*loc, "context"), problem, "choose a model that can take over, or correct what is declared", (origin,)
            )
        lacking = sorted({*(primary.supports or ())} - {*fallback.supports}) if fallback.supports is not None else []
        if lacking:
            problem = f"lacks what the primary declares to support: {listed(lacking)}"
            yield Finding(
                (*loc, "supports"), problem, "choose a model that can take over, or correct what is declared", (origin,)
            )


def _one_model(config: Config, base: Loc, chain: Chain) -> Iterator[Finding]:
    named = [(loc, config.model_of(binding)) for loc, binding in _tiers(base, chain)]
    tiers = [each for each in named if each[1] is not None]
    for loc, model in tiers[1:]:
        if model != tiers[0][1]:
            problem = f"another model than {_tier_name(tiers[0][0])}'s: vectors of two models do not fit in one index"
            yield Finding((*loc, "model"), problem, "use one embedding model in the whole chain", (tiers[0][0],))


def _no_embeddings(config: Config, base: Loc, chain: Chain) -> Iterator[Finding]:
    for loc, binding in _tiers(base, chain):
        source = config.sources.get(binding.source)
        if source is not None and not source.speaks.serves(EMBEDDINGS):
            problem = f"a source of kind `{source.kind}` has no embeddings"
            yield Finding((*loc, "source"), problem, "name a source that has", (("sources", binding.source, "kind"),))


def _timeouts(config: Config, name: str) -> Iterator[Finding]:
    """Contradictions between limits that were both written; a default gives way without a word."""
    times, base = config.assistants[name].timeouts, ("assistants", name, "timeouts")
    written = times.model_fields_set
    for key in ("connect", "first_byte", "first_token", "hold", "attempt"):
        value = getattr(times, key)
        if {key, "total"} <= written and value is not None and value > times.total:
            yield Finding(
                (*base, key), f"`{key}` is longer than `total`, so it would never apply", "shorten it, or raise `total`"
            )
    if {"first_byte", "first_token"} <= written and times.first_byte > times.first_token:
        problem = "`first_byte` is longer than `first_token`, so a dead tier would only ever look slow"
        yield Finding((*base, "first_byte"), problem, "shorten it, or raise `first_token`")


def _unknown(loc: Loc, section: str, word: str, known: list[str]) -> Finding:
    meant = nearest(word, known)
    if meant:
        remedy = f"did you mean `{meant}`?"
    elif known:
        remedy = f"{section} has {listed(known[:8])}" + (", …" if len(known) > 8 else "")
    else:
        remedy = f"add it under `{section}`"
    return Finding(loc, f"`{word}` does not stand under `{section}`", remedy, ((section, word),))
