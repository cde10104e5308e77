"""What this replica shares with the others: views of every target, kept current, and proposals to change them.

1. The hot path reads the views and waits for nothing, except a request that asks to be a probe: ASK_LIMIT at most.
2. A change is proposed from the view that is known, by compare-and-swap; who loses takes the reply's view and
   proposes again. The rules are machine.py's alone: a report is folded into whatever the view is by then.
3. A push is a hint. Nothing is acted on before a first `sync`, and every sync puts right what pushes have missed.
4. All times are this process's, moved at the door by the store's clock as its last reply told it; no other clock is
   read.
5. A store that fails in any way is away: nothing is asked of it until a sync succeeds, and no caller waits meanwhile.
6. After data was lost, or the link was, nobody is let through as a probe for one lease: an owner may still be about.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from typing import Any

from proxy.breaker import codec, machine, meeting
from proxy.breaker.linked import Facts, LinkStatus, Owner, Row
from proxy.breaker.state import Acquire, Event, Granted, Heard, Hears, Moved, Operate, Policy, State, View
from proxy.breaker.store import Push, Snapshot, Store, Stored, StoreError

ASK_LIMIT = 0.025
"""Seconds that a request waits, all its tiers together, to become a probe; the answer then serves a later one."""
_KEPT_FOR_LATER = 1.0
"""Seconds that a place won too late is kept for the next request."""
_ASK_WINDOW, _WINDOW = 0.25, 1.0
"""Seconds by which a proposal may reach the store late; an ask that thaws after longer must not take a place."""
_COALESCE = 0.003
"""Seconds in which reports are gathered."""
_POLL, _RETRY = 1.0, 0.5
_TRIES = 6
_OUTBOX = 2000


class Link:
    """One replica's share in a store. `run` keeps it current until cancelled."""

    def __init__(
        self, store: Store, replica: str, clock: Callable[[], float], chance: Callable[[], float], facts: Facts
    ) -> None:
        """`replica` names this process among the others; `chance` gives 0 ≤ x < 1."""
        self._store, self._replica, self._clock, self._chance, self._facts = store, replica, clock, chance, facts
        self._owner: Owner | None = None
        self._rows: dict[str, Row] = {}
        self._shift = 0.0
        """From this process's clock to the store's."""
        self._lineage = ""
        self._lost_until = self._linked_until = -math.inf
        """Nobody probes until then, since data was lost; since the link was, nobody but who has no tier left: the store
        itself fences what it still knows."""
        self._stir = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._since, self._why, self._replicas = clock(), "starting", 0
        self._last_sync: float | None = None
        self._away_for = 0.0
        self.up = False

    def serve(self, owner: Owner) -> None:
        """Tell `owner` of changes from now on."""
        self._owner = owner

    def watch(self, target: str, policy: Policy) -> None:
        """Keep a view of this target."""
        if target not in self._rows:
            self._rows[target] = Row(policy)
            self._stir.set()
        self._rows[target].policy = policy

    def view(self, target: str) -> State:
        """The shared state, on this process's clock."""
        return self._rows[target].state

    def status(self) -> LinkStatus:
        """For people."""
        return LinkStatus(
            up=self.up,
            since=self._since,
            why=self._why,
            last_sync=self._last_sync,
            lineage=self._lineage,
            replicas=self._replicas,
            targets=len(self._rows),
            version=sum(row.version for row in list(self._rows.values())),
            away=self._away_for + (0.0 if self.up else self._clock() - self._since),
        )

    # -- asking for a place

    async def ask(self, target: str, token: str, *, early: bool, patience: float) -> tuple[str, Granted] | View:
        """May one request be a probe? If so: the token that owns the place. Takes `patience` seconds at most."""
        row = self._rows[target]
        now = self._clock()
        if row.won is not None and (won := row.take()) is not None:
            return won
        # Nobody waits for the store to say what the view says already.
        said = self._said(row, Acquire(token, early), now)
        if isinstance(said, View):
            return said
        if patience <= 0:
            return machine.view(row.state, now)
        row.asking = True
        asked = asyncio.get_running_loop().create_task(self._ask(target, row, token, early))
        self._keep(asked)
        try:
            await asyncio.wait({asked}, timeout=patience)
        except asyncio.CancelledError:
            # The caller has left, perhaps just as the answer came: it must find somebody all the same.
            asked.add_done_callback(lambda done: self._late(target, row, done))
            raise
        if not asked.done():
            asked.add_done_callback(lambda done: self._late(target, row, done))
            return machine.view(row.state, self._clock())
        row.asking = False
        return asked.result()

    def foresee(self, target: str, *, early: bool) -> Granted | View:
        """What `ask` would say, if the store knew no better. Asks nobody and changes nothing."""
        row = self._rows[target]
        won = row.won if row.won_lives else None
        return won[1] if won is not None else self._said(row, Acquire("", early), self._clock())

    def _said(self, row: Row, acquire: Acquire, now: float) -> Granted | View:
        answer = machine.step(row.state, row.policy, acquire, now).answer
        assert answer is not None  # noqa: S101  # the machine answers every Acquire
        held_until = self._lost_until if acquire.early else max(self._lost_until, self._linked_until)
        held = row.asking or now < held_until
        return machine.view(row.state, now) if held and isinstance(answer, Granted) else answer

    async def _ask(self, target: str, row: Row, token: str, early: bool) -> tuple[str, Granted] | View:
        for _ in range(2):
            stepped = machine.step(row.state, row.policy, Acquire(token, early), self._clock())
            if not isinstance(stepped.answer, Granted):
                break
            if stepped.state is row.state:
                return token, stepped.answer
            try:
                swapped = await self._swap(target, row, stepped.state, _ASK_WINDOW)
            except StoreError as error:
                self._away(error)
                break
            if swapped:
                if stepped.moved is not None:
                    self._facts.moved(target, stepped.moved)
                return token, stepped.answer
        return machine.view(row.state, self._clock())

    def _late(self, target: str, row: Row, asked: asyncio.Future[tuple[str, Granted] | View]) -> None:
        row.asking = False
        if asked.cancelled() or isinstance(won := asked.result(), View):
            return
        row.won = won
        asyncio.get_running_loop().call_later(_KEPT_FOR_LATER, self._give_back, target, row, won)

    def _give_back(self, target: str, row: Row, won: tuple[str, Granted]) -> None:
        if row.won is won:
            row.won = None
            token, granted = won
            self.report(target, Heard(granted.epoch, Hears.NEUTRAL, self._clock(), "", token=token))

    # -- telling what was met

    def report(self, target: str, event: Event) -> None:
        """Propose what an attempt's end makes of the shared state. Never waits; lost while the store is away."""
        row = self._rows[target]
        if not self.up or len(row.outbox) >= _OUTBOX:
            return
        row.outbox.append(event)
        if not row.flushing:
            row.flushing = True
            self._keep(asyncio.get_running_loop().create_task(self._flush(target, row)))

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _flush(self, target: str, row: Row) -> None:
        try:
            await asyncio.sleep(_COALESCE)
            if self.up:
                await self._deliver(target, row, row.outbox)
        except StoreError as error:
            self._away(error)
        finally:
            row.outbox.clear()
            row.flushing = False

    async def _deliver(self, target: str, row: Row, told: list[Event]) -> None:
        """Until nothing is left of `told`, which may grow meanwhile."""
        tries = 0
        while told and tries < _TRIES:
            if await self._propose(target, row, told):
                tries = 0
            else:
                tries += 1
                await asyncio.sleep(self._chance() * 0.01 * tries)

    async def _propose(self, target: str, row: Row, told: list[Event]) -> bool:
        """Fold all that is to be told into the view, and offer the result."""
        events, state, now = list(told), row.state, self._clock()
        moves: list[Moved] = []
        for event in events:
            stepped = machine.step(state, row.policy, event, now)
            state = stepped.state
            if stepped.moved is not None:
                moves.append(stepped.moved)
        if state is not row.state and not await self._swap(target, row, state, _WINDOW):
            return False
        del told[: len(events)]
        for move in moves:
            self._facts.moved(target, move)
        return True

    async def operate(self, target: str, operation: Operate) -> bool:
        """An operator's act, for all replicas; False if the store did not take it."""
        row = self._rows[target]
        for _ in range(_TRIES if self.up else 0):
            stepped = machine.step(row.state, row.policy, operation, self._clock())
            try:
                if await self._swap(target, row, stepped.state, _WINDOW):
                    if stepped.moved is not None:
                        self._facts.moved(target, stepped.moved)
                    return True
            except StoreError as error:
                self._away(error)
                return False
            await asyncio.sleep(self._chance() * 0.01)
        return False

    async def _swap(self, target: str, row: Row, state: State, window: float) -> bool:
        """Offer `state`; True if it stands. Otherwise the row holds what the store says."""
        version = max(row.version, row.present) + 1
        before = self._clock()
        at = before + self._shift
        new = Stored(version, self._lineage, codec.encode(state, self._shift))
        row.offered = new.row
        lasting = state.disabled is not None or state.isolated is not None
        swapped = await self._store.swap(
            target, row.present, new, not_before=at - _WINDOW, not_after=at + window, lasting=lasting
        )
        self._shift = meeting.shifted(self._shift, swapped.now, before, self._clock())
        if swapped.lineage != self._lineage:
            self._stir.set()
            return False
        if swapped.stored is None:
            row.present = 0
        else:
            self._adopt(target, row, swapped.stored)
        return swapped.applied

    # -- taking what others have done

    def _adopt(self, target: str, row: Row, stored: Stored) -> None:
        row.present = stored.version
        if stored.lineage == row.lineage and stored.version <= row.version:
            return
        now = self._clock()
        try:
            state = meeting.clamped(codec.decode(stored.row, -self._shift), now)
        except codec.NotAState:
            # Somebody else's bytes: the next proposal overwrites them.
            state = row.state
        before, row.state = row.state, state
        row.version, row.lineage = stored.version, stored.lineage
        if self._owner is not None:
            self._owner.changed(target, before, state)

    def _heard(self, push: Push) -> None:
        row = self._rows.get(push.target)
        if row is None or not self.up:
            return
        delay = self._clock() + self._shift - push.now
        if push.stored.lineage != self._lineage or abs(delay) > _WINDOW:
            # New data, a clock that was set, or a push that lay about: its times would be read wrong.
            self._stir.set()
            return
        if push.stored.version > row.version:
            if push.stored.row != row.offered:
                self._facts.propagated(max(0.0, delay))
            if push.stored.version > row.version + 1:
                self._stir.set()
            self._adopt(push.target, row, push.stored)

    # -- keeping current

    async def run(self) -> None:
        """Until cancelled: sync, listen, come back."""
        listening = asyncio.ensure_future(self._listen())
        try:
            while True:
                await self.sync()
                wait = _POLL * (0.8 + 0.4 * self._chance()) if self.up else _RETRY * (0.5 + self._chance())
                with contextlib.suppress(TimeoutError):
                    # Not wait_for: on Python 3.11 it can swallow the cancellation that ends this.
                    async with asyncio.timeout(wait):
                        await self._stir.wait()
                # Pushes that come in a burst are one reason to look, not many.
                await asyncio.sleep(0.02 * self._chance())
        finally:
            listening.cancel()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(listening, *self._tasks, return_exceptions=True)

    async def _listen(self) -> None:
        while True:
            with contextlib.suppress(StoreError):
                await self._store.listen(self._stir.set, self._heard)
            await asyncio.sleep(_RETRY * (0.5 + self._chance()))

    async def sync(self) -> None:
        """Ask the store for all that has changed, and put back what it has lost."""
        self._stir.clear()
        before = self._clock()
        try:
            snapshot = await self._store.sync(self._replica)
            now = self._clock()
            self._shift = meeting.shifted(self._shift, snapshot.now, before, now)
            self._replicas = snapshot.replicas
            lost = bool(self._lineage) and snapshot.lineage != self._lineage
            if lost:
                self._lost_until = now + machine.LEASE
            # Not twice in a row: a store that comes and goes would keep every tier from coming home.
            elif not self.up and self._last_sync is not None and now >= self._linked_until + machine.LEASE:
                self._linked_until = now + machine.LEASE
            self._lineage = snapshot.lineage
            await self._catch_up(snapshot)
            if not self.up:
                await self._tell_before()
        except StoreError as error:
            self._away(error)
            return
        self._last_sync = self._clock()
        if not self.up:
            self._away_for += self._clock() - self._since
            self.up, self._since, self._why = True, self._clock(), ""
            self._facts.link(up=True, why="")
            if self._owner is not None:
                self._owner.flipped()
        if self._owner is not None:
            for target, events in self._owner.unheard():
                for event in events:
                    self.report(target, event)

    async def _tell_before(self) -> None:
        """The link is back: what was met meanwhile is told before the views count again, as they are old until then."""
        unheard = list(self._owner.unheard()) if self._owner is not None else []
        await asyncio.gather(*(self._deliver(target, self._rows[target], events) for target, events in unheard))

    async def _catch_up(self, snapshot: Snapshot) -> None:
        stale = [
            target
            for target, row in self._rows.items()
            if (snapshot.versions.get(target, 0), snapshot.lineage) != (row.version, row.lineage)
            and (target in snapshot.versions or row.version)
        ]
        if not stale:
            return
        _, rows = await self._store.read(stale)
        for target in stale:
            await self._meet(target, self._rows[target], rows.get(target))

    async def _meet(self, target: str, row: Row, stored: Stored | None) -> None:
        """Make one of what the store holds and what is known here."""
        row.present = stored.version if stored is not None else 0
        same = stored is not None and stored.lineage == row.lineage
        if stored is not None and (not row.lineage or (same and stored.version >= row.version)):
            self._adopt(target, row, stored)
            return
        now = self._clock()
        theirs = State()
        if stored is not None:
            with contextlib.suppress(codec.NotAState):
                theirs = meeting.clamped(codec.decode(stored.row, -self._shift), now)
        both = meeting.joined(row.state, theirs, now)
        if stored is not None and both == theirs:
            row.version, row.lineage = 0, ""
            self._adopt(target, row, stored)
        elif stored is None and machine.calm(both) and not both.serial:
            # A row that was forgotten after a quiet day, or a calm one that was lost: nothing to put back.
            row.version, row.lineage = 0, self._lineage
        else:
            await self._swap(target, row, both, _WINDOW)

    def _away(self, error: StoreError) -> None:
        if self.up or self._why == "starting":
            self.up, self._since = False, self._clock()
            self._why = error.word
            self._facts.link(up=False, why=error.word)
            self._stir.set()
            if self._owner is not None:
                self._owner.flipped()
        self._why = error.word

    async def close(self) -> None:
        """Drop the store's connections."""
        await self._store.close()
