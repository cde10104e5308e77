"""What a configuration costs grows with what is written in it, not with its square: calls are counted, not time."""

from __future__ import annotations

import gc
import io
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import pytest

from proxy.app import replica as replica_module
from proxy.app.replica import Replica
from proxy.breaker.keeper import Keeper
from proxy.config import edits, ledger, load
from proxy.config.schema import Config
from proxy.record.log import Log
from proxy.record.metrics import Metrics
from proxy.routing.bindings import Bindings, bind
from tests.unit.record.now import now

_FEW, _MANY = 60, 240
_SOURCES = 4
_HEAD = "version: 1\nlisten: 127.0.0.1:0\nadmin: {listen: 127.0.0.1:0}\nstate_dir: null\n"


def _text(assistants: int, *, tier: str = "{{source: s{}, model: m}}") -> str:
    """Chains of four tiers over few targets."""
    sources = "".join(
        f"  s{each}: {{kind: openai-compatible, base_url: 'http://127.0.0.1:{9000 + each}/v1', api_key: key-{each}}}\n"
        for each in range(_SOURCES)
    )
    chains = "".join(
        f"  a{each}: {{primary: {tiers[0]}, fallbacks: [{', '.join(tiers[1:])}]}}\n"
        for each in range(assistants)
        if (tiers := [tier.format((each + place) % _SOURCES) for place in range(_SOURCES)])
    )
    return f"{_HEAD}sources:\n{sources}assistants:\n{chains}"


def _config(assistants: int) -> Config:
    config = load.parse(_text(assistants), "f", {}, Path())
    assert isinstance(config, Config), config
    return config


def _calls(work: Callable[[], object]) -> int:
    """Functions that were called meanwhile, those written in C as well."""
    count = 0

    def called(_: Any, what: str, __: Any) -> None:
        nonlocal count
        count += what in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def _grows_evenly(work: Callable[[int], object]) -> None:
    """Four times as much takes four times as many calls, and not more."""
    work(1)  # what is done once in a process
    few, many = _calls(lambda: work(_FEW)), _calls(lambda: work(_MANY))
    assert few > _FEW
    assert many <= few * _MANY / _FEW * 1.02


def test_a_configuration_is_read_and_bound_assistant_by_assistant() -> None:
    """From the text to what requests go by, with all that is told of it."""

    def work(assistants: int) -> None:
        config = _config(assistants)
        laid = edits.laid_over(config, {"a0": {"primary": None}}, "edits")
        assert isinstance(laid, Config)
        ledger.filed(ledger.Ledger(), laid, config.fingerprint, ledger.Author(0.0, "file", "file"))
        bindings = bind(laid, "r", lambda secret: secret)
        keeper = Keeper(lambda: 0.0, lambda: "t", lambda: 0.0, lambda *_: None)
        for guard in bindings.guards:
            keeper.watch(guard)
        Metrics(now(bindings, look=keeper.look)).exposition()

    _grows_evenly(work)


def test_faults_are_found_one_by_one() -> None:
    """A mistake in every assistant hides none of the others, and is not held against each of them."""

    def work(assistants: int) -> None:
        faulty = _text(assistants, tier="{{source: s{}, modle: m}}") + f"identity: {{default: {'x' * 40}}}\n"
        found = load.parse(faulty, "f", {}, Path())
        assert isinstance(found, tuple)
        assert len(found) == _SOURCES * assistants + 1

    _grows_evenly(work)


class _Counted(str):
    """A name that counts how often it is compared."""

    compared = 0
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        _Counted.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_what_assistants_share_is_made_once() -> None:
    """Guards and names of credentials, however many use them; and who uses a target is found without a search."""
    identified: list[str] = []

    def identify(secret: str) -> str:
        identified.append(secret)
        return "digest"

    def bound(assistants: int) -> Bindings:
        identified.clear()
        config = _config(assistants)
        named = MappingProxyType({_Counted(name): each for name, each in config.assistants.items()})
        _Counted.compared = 0
        return bind(config.model_copy(update={"assistants": named}), "r", identify)

    few = bound(_FEW)
    assert len(identified) == _SOURCES
    many = bound(_MANY)
    assert len(identified) == _SOURCES
    assert _Counted.compared <= _MANY
    assert set(few.guards) == set(many.guards)
    assert len({id(guard) for _, _, tier in many.tiers() for guard in tier.guards.values()}) == len(many.guards)
    assert {len(target.assistants) for target in many.targets.values()} == {_MANY}


@pytest.fixture
def usual_collector() -> Iterator[None]:
    """A replica sets the collector to its own ways."""
    usual = gc.get_threshold()
    yield
    gc.set_threshold(*usual)
    gc.unfreeze()


@pytest.mark.usefixtures("usual_collector")
async def test_a_replica_binds_what_has_changed_beside_its_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once at start, though a revision is made there; once for a changed file, in a thread; never for the same."""
    threads: dict[str, list[int]] = {}

    def watched(module: ModuleType, name: str) -> None:
        told, real = threads.setdefault(name, []), getattr(module, name)

        def call(*given: Any) -> Any:
            told.append(threading.get_ident())
            return real(*given)

        monkeypatch.setattr(module, name, call)

    watched(replica_module, "bind")
    config, log = _config(1), Log(io.BytesIO(), human=False, unix=time.time)
    files = iter([_config(1), _config(2)])
    replica = Replica(config, log, lambda: next(files))
    watched(edits, "laid_over")
    watched(ledger, "in_force")
    try:
        await replica.start()
        assert len(threads["bind"]) == 1
        assert set(replica.edge.serving.bindings.routes) == {"a0"}
        assert replica.edge.serving.bindings.revision == replica.configured.revision
        for told in threads.values():
            told.clear()
        assert await replica.configured.reload() == "unchanged"
        assert threads["bind"] == []
        assert await replica.configured.reload() == "ok"
        assert len(threads["bind"]) == 1
        assert set(replica.edge.serving.bindings.routes) == {"a0", "a1"}
    finally:
        await replica.close()
        log.close()
    here = threading.get_ident()
    assert all(told and here not in told for told in threads.values()), threads
