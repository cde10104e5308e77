"""What the hot path asks: may this tier be tried, and what its attempt's end means for the next request.

1. A target in good health costs a look at one flag and a count: no event, no new state, nothing that waits.
2. Every permit is settled exactly once. A probe's lease is renewed while its attempt is under way, and ends with it.
3. An invalid key is a fact about the credential: it is kept in the credential's own row, which all its targets obey.
4. Each target has a guard, this replica's own machine, and, where a store is shared, the shared view. A shared view
   that is not closed decides alone; while it is closed the guard decides, so what was met here counts here at once. A
   shared return home clears the guard.
5. While the store is away the guard decides alone. It begins with what the shared view last said, so that nothing
   comes home early and what only an operator may end does not end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

from proxy.breaker import machine, meeting
from proxy.breaker.link import ASK_LIMIT, Link
from proxy.breaker.permit import Guard, Permit, Verdict
from proxy.breaker.row import Row
from proxy.breaker.state import (
    CLOSED,
    Acquire,
    Event,
    Granted,
    Heard,
    Hears,
    Moved,
    Operate,
    Policy,
    Renew,
    Returned,
    State,
    View,
    Word,
)

# Every request asks for them: to find a member in its class costs many times as much.
_GOOD: Final = Hears.GOOD
_NEUTRAL: Final = Hears.NEUTRAL
_FAILURES = (Hears.BAD, Hears.DISABLE_TWICE)
_CLOSED_ALONE: Final = replace(CLOSED, local=True)


class Keeper:
    """Every target's breaker, as this replica sees it."""

    def __init__(
        self,
        clock: Callable[[], float],
        new_token: Callable[[], str],
        chance: Callable[[], float],
        moved: Callable[[str, Moved], None],
        link: Link | None = None,
    ) -> None:
        """`chance` gives 0 ≤ x < 1; `moved` is told of every change of word that this replica decided on alone."""
        self._clock, self._new_token, self._chance, self._moved = clock, new_token, chance, moved
        self._rows: dict[str, Row] = {}
        self._link = link
        if link is not None:
            link.serve(self)

    def watch(self, guard: Guard) -> None:
        """Make a guard's rows known, so that a shared view of them is there before the first request."""
        for target in (guard.target, *((guard.credential,) if guard.credential is not None else ())):
            self._row(target, guard.policy).policy = guard.policy
            if self._link is not None:
                self._link.watch(target, guard.policy)

    # -- may it be tried

    def calm(self, guard: Guard, request_id: str) -> Permit | None:
        """Leave to send one request, where nothing is amiss and so there is nothing to ask. None: `admit` must say."""
        row, key = self._row(guard.target, guard.policy), guard.credential
        owner = None if key is None else self._row(key, guard.policy)
        if not row.calm or not (owner is None or owner.calm):
            return None
        return self._permit(guard, request_id, row, owner, self._clock())

    def _permit(self, guard: Guard, request_id: str, row: Row, owner: Row | None, now: float) -> Permit:
        permit, link = Permit(guard, request_id, now, "closed", self._calm_view(), row.state.epoch), self._link
        if owner is not None:
            permit.credential_epoch = owner.state.epoch
        if link is not None and link.up:
            permit.shared_epoch = link.view(guard.target).epoch
            if guard.credential is not None:
                permit.credential_shared_epoch = link.view(guard.credential).epoch
        return permit

    def standing(self, guard: Guard) -> View | None:
        """The denial that every request hears alike, so there is nobody to ask. None: `admit` must say."""
        row, key = self._row(guard.target, guard.policy), guard.credential
        if key is not None and not (owner := self._row(key, guard.policy)).calm:
            row = owner
        denial = row.denial
        return denial[0] if denial is not None and self._clock() < denial[1] else None

    async def admit(
        self, guard: Guard, request_id: str, *, early: bool = False, patience: float = ASK_LIMIT
    ) -> Permit | View:
        """May one request be sent? If not: the view that denies it.

        `early`: no tier of its chain may be tried, so ask ahead of time. `patience`: seconds that it may wait for a
        shared store.
        """
        if not early and (denial := self.standing(guard)) is not None:
            return denial
        target, row, now = guard.target, self._row(guard.target, guard.policy), self._clock()
        owner = None
        if guard.credential is not None:
            owner = self._row(guard.credential, guard.policy)
            if not owner.calm and (seen := self._seen(guard.credential, owner, now)).word is not Word.CLOSED:
                owner.deny(seen)
                return seen
        permit = self._permit(guard, request_id, row, owner, now)
        if row.calm:
            return permit
        state = self._state(target, row)
        if self._shared_decides(target, now):
            answer = await self._ask_link(permit, early, patience)
        else:
            answer = self._ask_guard(row, permit, now, early=early)
        # What changed while the store was asked is news to this answer.
        if isinstance(answer, View) and state is self._state(target, row):
            row.deny(answer)
        return answer

    def _state(self, target: str, row: Row) -> State:
        return self._link.view(target) if self._link is not None and self._link.up else row.state

    def foresee(
        self, guard: Guard, *, early: bool = False, away: bool = False, assumed: Mapping[str, State] | None = None
    ) -> Permit | View:
        """What `admit` would say now: asks nobody, changes nothing.

        `away`: as if the store were. `assumed`: states of targets to go by, whatever is known of those.
        """
        now, row = self._clock(), self._known(guard.target, guard.policy)
        permit = Permit(guard, "", now, "closed", self._calm_view(), row.state.epoch)
        assumed_state = (assumed or {}).get(guard.target)
        if assumed_state is not None:
            return self._foretold(permit, assumed_state, early, now, local=away)
        if guard.credential is not None:
            owner = self._known(guard.credential, guard.policy)
            if not owner.calm and (seen := self._seen(guard.credential, owner, now, away=away)).word is not Word.CLOSED:
                return seen
        if row.calm:
            permit.seen = _CLOSED_ALONE if away else permit.seen
            return permit
        if self._link is not None and not away and self._shared_decides(guard.target, now):
            shared = machine.view(self._link.view(guard.target), now)
            answer = self._link.foresee(guard.target, early=early)
            if isinstance(answer, View):
                return answer
            permit.kind, permit.seen = answer.kind, shared
            return permit
        alone = self._alone(guard.target, row, now) if away else row.state
        return self._foretold(permit, alone, early, now, local=self._link is not None)

    def _foretold(self, permit: Permit, state: State, early: bool, now: float, *, local: bool) -> Permit | View:
        answer = machine.step(state, permit.guard.policy, Acquire("", early), now).answer
        if isinstance(answer, Granted):
            permit.kind, permit.seen = answer.kind, replace(machine.view(state, now), local=local)
            return permit
        assert answer is not None  # noqa: S101  # the machine answers every Acquire
        return replace(answer, local=local)

    def _alone(self, target: str, row: Row, now: float) -> State:
        """What the guard knows, or would know once the store went."""
        if self._link is None or not self._link.up or machine.calm(shared := self._link.view(target)):
            return row.state
        return meeting.fallen_back(row.state, shared, now)

    def _calm_view(self) -> View:
        return CLOSED if self._link is None or self._link.up else _CLOSED_ALONE

    def _shared_decides(self, target: str, now: float) -> bool:
        if self._link is None or not self._link.up:
            return False
        return machine.view(self._link.view(target), now).word is not Word.CLOSED

    async def _ask_link(self, permit: Permit, early: bool, patience: float) -> Permit | View:
        assert self._link is not None  # noqa: S101  # a shared view decides only where there is one
        permit.seen = machine.view(self._link.view(permit.guard.target), permit.began)
        answer = await self._link.ask(permit.guard.target, self._new_token(), early=early, patience=patience)
        if isinstance(answer, View):
            return answer
        token, granted = answer
        permit.shared, permit.kind, permit.shared_epoch = True, granted.kind, granted.epoch
        permit.began = self._clock()
        if granted.kind in ("half_open", "early"):
            permit.token = token
            self._renew_later(permit)
        return permit

    def _ask_guard(self, row: Row, permit: Permit, now: float, *, early: bool) -> Permit | View:
        token = self._new_token()
        permit.seen = replace(machine.view(row.state, now), local=self._link is not None)
        answer = self._step(permit.guard.target, row, Acquire(token, early), now)
        if not isinstance(answer, Granted):
            assert answer is not None  # noqa: S101  # the machine answers every Acquire
            return replace(answer, local=self._link is not None)
        permit.kind, permit.epoch = answer.kind, answer.epoch
        if answer.kind in ("half_open", "early"):
            permit.token = token
            self._renew_later(permit)
        return permit

    def _renew_later(self, permit: Permit) -> None:
        permit.renewal = asyncio.get_running_loop().call_later(machine.LEASE / 3, self._renew, permit)

    def _renew(self, permit: Permit) -> None:
        assert permit.token is not None  # noqa: S101  # only probes have leases
        self._tell(permit, Renew(permit.token))
        self._renew_later(permit)

    def _tell(self, permit: Permit, event: Event) -> None:
        """An event of a place's owner, to whoever gave the place."""
        target = permit.guard.target
        if permit.shared:
            assert self._link is not None  # noqa: S101  # it gave the place
            self._link.report(target, event)
        else:
            self._step(target, self._row(target, permit.guard.policy), event, self._clock())

    # -- what came of it

    def settle(self, permit: Permit, verdict: Verdict) -> None:
        """The attempt has reached its commit point or its end. Exactly once for each permit."""
        if permit.settled:
            raise RuntimeError(f"the permit of {permit.request_id} was settled twice")
        permit.settled = True
        if permit.renewal is not None:
            permit.renewal.cancel()
        row = self._row(permit.guard.target, permit.guard.policy)
        if row.calm and verdict.hears is _GOOD:
            row.count(self._clock())
        elif verdict.hears is not _NEUTRAL or permit.token is not None:
            self._hear(permit, verdict, permit.token)
            if verdict.hears is _GOOD and permit.token is not None:
                # The rest of this answer belongs to the time that it has opened.
                if permit.shared:
                    permit.shared_epoch += 1
                permit.epoch = row.state.epoch

    def report_end(self, permit: Permit, verdict: Verdict) -> None:
        """How an answer ended that was settled as good when it had only begun."""
        row = self._row(permit.guard.target, permit.guard.policy)
        if verdict.hears is not _NEUTRAL and not (verdict.hears is _GOOD and row.calm):
            self._hear(permit, verdict, None, late=True)

    def _hear(self, permit: Permit, verdict: Verdict, token: str | None, *, late: bool = False) -> None:
        guard, now = permit.guard, self._clock()
        row = self._row(guard.target, guard.policy)
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
            goods=row.take(now) if verdict.hears in _FAILURES else (0, 0),
        )
        if verdict.credential and guard.credential is not None:
            # The target itself is judged by nobody, but a probe's slot must come free.
            fault = replace(heard, epoch=permit.credential_epoch, token=None, paced=False)
            owner = self._row(guard.credential, guard.policy)
            self._both(guard.credential, owner, fault, permit.credential_shared_epoch, now)
            heard = Heard(permit.epoch, _NEUTRAL, permit.began, permit.request_id, token=token)
        self._both(guard.target, row, heard, permit.shared_epoch, now, shared=permit.shared)

    def _both(
        self, target: str, row: Row, heard: Heard, shared_epoch: int, now: float, *, shared: bool = False
    ) -> None:
        """Tell the guard, and the others if it is news to them. `shared`: the token is the shared view's."""
        self._step(target, row, replace(heard, token=None) if shared else heard, now)
        if self._link is not None and self._link.up:
            suspect = not machine.calm(self._link.view(target))
            if (shared and heard.token) or (heard.hears is not _NEUTRAL and (suspect or heard.hears is not _GOOD)):
                self._link.report(target, replace(heard, epoch=shared_epoch, token=heard.token if shared else None))

    # -- for people

    async def operate(self, target: str, policy: Policy, operation: Operate) -> bool:
        """An operator's hand on one target or credential row. False: the shared store did not take it."""
        row = self._row(target, policy)
        if self._link is not None:
            return await self._link.operate(target, operation)
        self._step(target, row, operation, self._clock())
        return True

    def look(self, guard: Guard) -> View:
        """What people are shown of a tier's breaker: its target's word, or its credential's where that is worse."""
        now = self._clock()
        if guard.credential is not None:
            seen = self._seen(guard.credential, self._row(guard.credential, guard.policy), now)
            if seen.word is not Word.CLOSED:
                return seen
        return self._seen(guard.target, self._row(guard.target, guard.policy), now)

    def _seen(self, target: str, row: Row, now: float, *, away: bool = False) -> View:
        if self._link is not None and self._link.up and not away:
            shared = machine.view(self._link.view(target), now)
            guard = machine.view(row.state, now)
            return shared if shared.word is not Word.CLOSED or guard.word is Word.CLOSED else replace(guard, local=True)
        state = self._alone(target, row, now) if away else row.state
        return replace(machine.view(state, now), local=self._link is not None)

    # -- rows

    def _row(self, target: str, policy: Policy) -> Row:
        row = self._rows.get(target)
        if row is None:
            row = self._rows[target] = Row(policy)
            if self._link is not None:
                self._link.watch(target, policy)
        return row

    def _known(self, target: str, policy: Policy) -> Row:
        """To look at: of a target that nobody guards there is nothing, and nothing is kept."""
        return self._rows.get(target) or Row(policy)

    def _step(self, target: str, row: Row, event: Event, now: float) -> Granted | View | None:
        stepped = machine.step(row.state, row.policy, event, now)
        if stepped.state is not row.state:
            row.state = stepped.state
            self._settle_calm(target, row)
        if stepped.moved is not None and (self._link is None or not self._link.up):
            self._moved(target, stepped.moved)
        return stepped.answer

    def _settle_calm(self, target: str, row: Row) -> None:
        row.denial = None
        row.calm = machine.calm(row.state)
        if self._link is not None and self._link.up:
            row.calm = row.calm and machine.calm(self._link.view(target))

    # -- what the link tells (a linked.Owner)

    def changed(self, target: str, before: State, after: State) -> None:
        """The shared view is another one: a return home, or an operator's act, clears the guard."""
        row, now = self._rows[target], self._clock()
        closed = machine.view(after, now).word is Word.CLOSED
        if closed and (machine.view(before, now).word is not Word.CLOSED or after.serial != before.serial):
            row.state = State(epoch=row.state.epoch + 1, reset_epoch=row.state.epoch + 1)
        self._settle_calm(target, row)

    def flipped(self) -> None:
        """The store went, so the guards go on from what it last said; or it came, and the views count again."""
        assert self._link is not None  # noqa: S101  # it speaks
        now = self._clock()
        for target, row in self._rows.items():
            shared = self._link.view(target)
            if not self._link.up and not machine.calm(shared):
                row.state = meeting.fallen_back(row.state, shared, now)
            self._settle_calm(target, row)

    def unheard(self) -> Iterable[tuple[str, list[Event]]]:
        """Where the guard knows better than the shared view.

        It is worse, because its reports were lost or outweighed; or it came home while the store was away, and the
        shared view still says what it said before.
        """
        assert self._link is not None  # noqa: S101  # it asks
        now = self._clock()
        for target, row in self._rows.items():
            shared, home = self._link.view(target), row.state.circuit
            word, mine = machine.view(shared, now).word, machine.view(row.state, now).word
            if word is Word.CLOSED and mine is not Word.CLOSED:
                yield target, list(meeting.retold(row.state, shared.epoch, now))
            elif word is not Word.CLOSED and mine is Word.CLOSED and home.recovered:
                yield target, [Returned(shared.epoch, home.since)]
