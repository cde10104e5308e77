"""What the hot path asks: may this tier be tried, and what its attempt's end means for the next request.

1. A target in good health costs a look at one flag and a count: no event, no new state, nothing that waits.
2. Every permit is settled exactly once. A probe's lease is renewed while its attempt is under way, and ends with it.
3. An invalid key is a fact about the credential: it is kept in the credential's own row, which all its targets obey.
4. All state is this process's. A restart starts with every circuit closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from proxy.breaker import machine
from proxy.breaker.state import Acquire, Event, Granted, Heard, Hears, Moved, Operate, Policy, Renew, State, View, Word


@dataclass(frozen=True, slots=True)
class Guard:
    """Whose health guards a tier."""

    target: str
    credential: str | None
    """The credential's row; None for a source without one."""
    policy: Policy


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an attempt's end says about its target."""

    hears: Hears
    reason: str = ""
    """A terms.Diagnosis.detail."""
    whole: bool = True
    """With GOOD: False while the answer has only begun; then `report_end` owes its end."""
    fault: str = ""
    """With a permanent fault: auth or config."""
    retry_after: float | None = None
    exhausted: bool = False
    credential: bool = False
    """It says so of the credential, whatever it is used for."""


@dataclass(slots=True)
class Permit:
    """The tier may be tried once."""

    guard: Guard
    request_id: str
    began: float
    kind: str
    """closed, half_open, early or trickle."""
    epoch: int
    credential_epoch: int = 0
    token: str | None = None
    """Of a probe."""
    renewal: asyncio.TimerHandle | None = None
    settled: bool = False


class _Row:
    """One target's state, and the successes that it need not hear of one by one."""

    __slots__ = ("calm", "goods", "goods_before", "state", "turned")

    def __init__(self) -> None:
        self.state = State()
        self.calm = True
        self.turned = 0.0
        self.goods = self.goods_before = 0

    def count(self, now: float) -> None:
        """A success."""
        if now - self.turned >= machine.BUCKET:
            self._turn(now)
        self.goods += 1

    def _turn(self, now: float) -> None:
        self.goods_before = self.goods if now - self.turned < 2 * machine.BUCKET else 0
        self.turned, self.goods = now, 0

    def take(self, now: float) -> tuple[int, int]:
        """The counts of this bucket and the one before, which start anew."""
        if now - self.turned >= machine.BUCKET:
            self._turn(now)
        taken = self.goods, self.goods_before
        self.goods = self.goods_before = 0
        return taken


class Keeper:
    """Every target's breaker, in this process."""

    def __init__(
        self,
        clock: Callable[[], float],
        new_token: Callable[[], str],
        chance: Callable[[], float],
        moved: Callable[[str, Moved], None],
    ) -> None:
        """`chance` gives 0 ≤ x < 1; `moved` is told of every change of a target's word."""
        self._clock, self._new_token, self._chance, self._moved = clock, new_token, chance, moved
        self._rows: dict[str, _Row] = {}

    async def admit(self, guard: Guard, request_id: str, *, early: bool = False) -> Permit | View:
        """May one request be sent? If not: the view that denies it.

        `early`: no tier of its chain may be tried, so ask ahead of time.
        """
        row, now, credential_epoch = self._row(guard.target), self._clock(), 0
        if guard.credential is not None:
            owner = self._row(guard.credential)
            if not owner.calm:
                return machine.view(owner.state, now)
            credential_epoch = owner.state.epoch
        if row.calm:
            return Permit(guard, request_id, now, "closed", row.state.epoch, credential_epoch)
        token = self._new_token()
        answer = self._step(guard.target, row, guard.policy, Acquire(token, early), now)
        if not isinstance(answer, Granted):
            assert answer is not None  # noqa: S101  # the machine answers every Acquire
            return answer
        permit = Permit(guard, request_id, now, answer.kind, answer.epoch, credential_epoch)
        if answer.kind in ("half_open", "early"):
            permit.token = token
            self._renew_later(permit)
        return permit

    def _renew_later(self, permit: Permit) -> None:
        permit.renewal = asyncio.get_running_loop().call_later(machine.LEASE / 3, self._renew, permit)

    def _renew(self, permit: Permit) -> None:
        assert permit.token is not None  # noqa: S101  # only probes have leases
        guard = permit.guard
        self._step(guard.target, self._row(guard.target), guard.policy, Renew(permit.token), self._clock())
        self._renew_later(permit)

    def settle(self, permit: Permit, verdict: Verdict) -> None:
        """The attempt has reached its commit point or its end. Exactly once for each permit."""
        if permit.settled:
            raise RuntimeError(f"the permit of {permit.request_id} was settled twice")
        permit.settled = True
        if permit.renewal is not None:
            permit.renewal.cancel()
        row = self._row(permit.guard.target)
        if row.calm and verdict.hears is Hears.GOOD:
            row.count(self._clock())
        elif verdict.hears is not Hears.NEUTRAL or permit.token is not None:
            self._hear(permit, verdict, permit.token)
            if verdict.hears is Hears.GOOD and permit.token is not None:
                # The rest of this answer belongs to the time that it has opened.
                permit.epoch = row.state.epoch

    def report_end(self, permit: Permit, verdict: Verdict) -> None:
        """How an answer ended that was settled as good when it had only begun."""
        row = self._row(permit.guard.target)
        if verdict.hears is not Hears.NEUTRAL and not (verdict.hears is Hears.GOOD and row.calm):
            self._hear(permit, verdict, None, late=True)

    def _hear(self, permit: Permit, verdict: Verdict, token: str | None, *, late: bool = False) -> None:
        guard, now = permit.guard, self._clock()
        row = self._row(guard.target)
        goods = row.take(now) if verdict.hears in (Hears.BAD, Hears.DISABLE_TWICE) else (0, 0)
        heard = Heard(
            epoch=permit.epoch,
            hears=verdict.hears,
            began=permit.began,
            request_id=permit.request_id,
            whole=verdict.whole,
            late=late,
            token=token,
            paced=permit.kind == "trickle",
            reason=verdict.reason,
            fault=verdict.fault,
            retry_after=verdict.retry_after,
            exhausted=verdict.exhausted,
            chance=self._chance(),
            goods=goods,
        )
        if verdict.credential and guard.credential is not None:
            # The target itself is judged by nobody, but a probe's slot must come free.
            whole = Heard(
                permit.credential_epoch,
                Hears.DISABLE,
                permit.began,
                permit.request_id,
                reason=verdict.reason,
                fault=verdict.fault,
            )
            self._step(guard.credential, self._row(guard.credential), guard.policy, whole, now)
            heard = Heard(permit.epoch, Hears.NEUTRAL, permit.began, permit.request_id, token=token)
        self._step(guard.target, row, guard.policy, heard, now)

    def operate(self, target: str, policy: Policy, operation: Operate) -> None:
        """An operator's hand on one target or credential row."""
        self._step(target, self._row(target), policy, operation, self._clock())

    def look(self, guard: Guard) -> View:
        """What people are shown of a tier's breaker: its target's word, or its credential's where that is worse."""
        now = self._clock()
        if guard.credential is not None and not (owner := self._row(guard.credential)).calm:
            seen = machine.view(owner.state, now)
            if seen.word is not Word.CLOSED:
                return seen
        return machine.view(self._row(guard.target).state, now)

    def _row(self, target: str) -> _Row:
        row = self._rows.get(target)
        if row is None:
            row = self._rows[target] = _Row()
        return row

    def _step(self, target: str, row: _Row, policy: Policy, event: Event, now: float) -> Granted | View | None:
        stepped = machine.step(row.state, policy, event, now)
        if stepped.state is not row.state:
            row.state = stepped.state
            row.calm = machine.calm(stepped.state)
        if stepped.moved is not None:
            self._moved(target, stepped.moved)
        return stepped.answer
