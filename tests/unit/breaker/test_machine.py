"""The state machine's rules, one transcript each: time is an argument."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.breaker import machine, meeting
from proxy.breaker.state import (
    Acquire,
    Act,
    Event,
    Granted,
    Heard,
    Hears,
    Operate,
    Policy,
    Renew,
    Returned,
    State,
    View,
    Word,
)

POLICY = Policy()


class Bench:
    """One target on a workbench: events go in, words come out."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self.state, self.policy, self.now, self.count = State(), policy, 1000.0, 0
        self.causes: list[str] = []

    def send(self, event: Event) -> Granted | View | None:
        stepped = machine.step(self.state, self.policy, event, self.now)
        self.state = stepped.state
        if stepped.moved:
            self.causes.append(f"{stepped.moved.before}>{stepped.moved.after}:{stepped.moved.cause}")
        return stepped.answer

    def ask(self, who: str = "t", *, early: bool = False) -> Granted | View:
        answer = self.send(Acquire(who, early))
        assert answer is not None
        return answer

    def hear(self, hears: Hears, **more: object) -> None:
        """A result of the current epoch, of a request that began just now, unless `more` says otherwise."""
        self.count += 1
        event = Heard(self.state.epoch, hears, self.now, f"req_{self.count}", reason="http_503")
        self.send(replace(event, **more))  # type: ignore[arg-type]

    def trip(self) -> None:
        for _ in range(self.policy.failure_threshold):
            self.hear(Hears.BAD)
        assert self.word() is Word.OPEN

    @property
    def view(self) -> View:
        return machine.view(self.state, self.now)

    def word(self) -> Word:
        return self.view.word


def test_a_run_of_failures_trips() -> None:
    """The threshold's failure opens the circuit for the cooldown, and says why and by whom."""
    bench = Bench()
    bench.hear(Hears.BAD)
    bench.hear(Hears.BAD)
    assert bench.word() is Word.CLOSED
    bench.hear(Hears.BAD)
    assert bench.view == View(Word.OPEN, "http_503", 1000.0, 1015.0, ("req_1", "req_2", "req_3"))
    assert bench.causes == ["closed>open:failures"]


def test_a_younger_success_clears_the_run() -> None:
    """A success that began after the run's first failure says that the target is well now."""
    bench = Bench()
    for _ in range(10):
        bench.hear(Hears.BAD)
        bench.hear(Hears.BAD)
        bench.now += 1
        bench.hear(Hears.GOOD)
        bench.now += 19
    assert bench.word() is Word.CLOSED


def test_an_older_success_dilutes_but_does_not_clear() -> None:
    """A long call that began before the trouble hides no outage, and still counts as an outcome."""
    bench = Bench()
    bench.hear(Hears.BAD)
    bench.hear(Hears.GOOD, began=900.0)
    bench.hear(Hears.BAD)
    bench.hear(Hears.BAD)
    assert bench.word() is Word.OPEN
    diluted = Bench()
    diluted.hear(Hears.BAD)
    for _ in range(4):
        diluted.hear(Hears.GOOD, began=900.0)
    diluted.hear(Hears.BAD)
    diluted.hear(Hears.BAD)
    assert diluted.word() is Word.CLOSED


def test_the_rate_trips_what_a_run_never_sees() -> None:
    """Every other answer failing is half broken, however often a success comes between."""
    bench = Bench()
    for _ in range(19):
        bench.hear(Hears.GOOD)
        bench.now += 0.1
        bench.hear(Hears.BAD)
        bench.now += 0.1
    assert bench.word() is Word.OPEN
    assert bench.causes == ["closed>open:failure_rate"]


def test_the_rate_forgets() -> None:
    """Failures of more than two buckets ago count no more."""
    bench = Bench()
    for _ in range(9):
        bench.hear(Hears.BAD)
        bench.now += 0.1
        bench.hear(Hears.GOOD)
    bench.now += 2 * machine.BUCKET
    for _ in range(9):
        bench.hear(Hears.BAD)
        bench.now += 0.1
        bench.hear(Hears.GOOD)
    assert bench.word() is Word.CLOSED


def test_untold_successes_count_in_the_rate() -> None:
    """Successes that were only counted arrive with the next failure."""
    bench = Bench()
    bench.hear(Hears.BAD, goods=(100, 50))
    bench.now += 1
    bench.hear(Hears.GOOD)
    for _ in range(30):
        bench.hear(Hears.BAD)
        bench.now += 0.01
        bench.hear(Hears.GOOD)
    assert bench.word() is Word.CLOSED


def test_an_open_circuit_hears_nobody() -> None:
    """A late result neither extends nor closes."""
    bench = Bench()
    before = bench.state.epoch
    bench.trip()
    state = bench.state
    bench.now += 1
    for hears in (Hears.GOOD, Hears.BAD, Hears.NEUTRAL):
        bench.hear(hears, epoch=before)
        bench.hear(hears)
    assert bench.state is state


def test_one_probe_after_the_cooldown() -> None:
    """Whoever asks first may try; everyone else is told when the lease ends."""
    bench = Bench()
    bench.trip()
    bench.now += 14.9
    assert isinstance(bench.ask(), View)
    bench.now += 0.1
    granted = bench.ask("a")
    assert granted == Granted("half_open", bench.state.epoch)
    denied = bench.ask("b")
    assert isinstance(denied, View)
    assert (denied.word, denied.until) == (Word.HALF_OPEN, bench.now + machine.LEASE)


def test_a_good_probe_brings_home() -> None:
    """The owner's success closes; anyone else's says nothing."""
    bench = Bench()
    bench.trip()
    bench.now += 15
    bench.ask("a")
    bench.hear(Hears.GOOD)
    bench.hear(Hears.GOOD, token="b")
    bench.hear(Hears.GOOD, token="a", epoch=bench.state.epoch - 1)
    assert bench.word() is Word.HALF_OPEN
    bench.hear(Hears.GOOD, token="a")
    assert bench.word() is Word.CLOSED
    assert bench.causes[1:] == ["open>half_open:cooldown_over", "half_open>closed:probe_good"]


def test_bad_probes_double_the_cooldown() -> None:
    """Each failed probe doubles the rest, up to the limit, and `until` is exactly that."""
    bench = Bench()
    bench.trip()
    rests = []
    for _ in range(6):
        assert bench.view.until is not None
        bench.now = bench.view.until
        bench.ask("a")
        bench.hear(Hears.BAD, token="a")
        assert bench.view.until is not None
        rests.append(bench.view.until - bench.now)
    assert rests == [30, 60, 120, 240, 300, 300]
    assert len(bench.view.tripped_by) == 5


def test_a_neutral_probe_frees_the_slot() -> None:
    """A caller who leaves judges nobody: the next request may ask at once."""
    bench = Bench()
    bench.trip()
    bench.now += 15
    bench.ask("a")
    bench.hear(Hears.NEUTRAL, token="a")
    assert bench.view.until == bench.now
    assert bench.ask("b") == Granted("half_open", bench.state.epoch)


def test_a_lost_lease_fences_its_owner() -> None:
    """After the lease another may ask, and the first one's verdict is void."""
    bench = Bench()
    bench.trip()
    bench.now += 15
    bench.ask("a")
    epoch = bench.state.epoch
    bench.now += machine.LEASE
    assert isinstance(bench.ask("b"), Granted)
    bench.hear(Hears.GOOD, token="a", epoch=epoch)
    assert bench.word() is Word.HALF_OPEN
    bench.send(Renew("a"))
    assert bench.view.until == bench.now + machine.LEASE


def test_a_renewed_lease_holds() -> None:
    """A probe that takes long keeps its place while it renews, and cannot renew what it has lost."""
    bench = Bench()
    bench.trip()
    bench.now += 15
    bench.ask("a")
    for _ in range(5):
        bench.now += machine.LEASE / 3
        bench.send(Renew("a"))
        assert isinstance(bench.ask("b"), View)
    bench.now += machine.LEASE
    state = bench.state
    bench.send(Renew("a"))
    assert bench.state is state


def test_probation() -> None:
    """Just back home, two failures are enough to leave, for longer; later it takes the threshold again."""
    bench = Bench()
    bench.trip()
    bench.now += 15
    bench.ask("a")
    bench.hear(Hears.GOOD, token="a")
    bench.hear(Hears.BAD)
    bench.hear(Hears.BAD)
    assert bench.word() is Word.OPEN
    assert bench.view.until == bench.now + 30
    bench.now += 30
    bench.ask("b")
    bench.hear(Hears.GOOD, token="b")
    bench.now += machine.QUIET
    bench.hear(Hears.BAD)
    bench.hear(Hears.BAD)
    assert bench.word() is Word.CLOSED
    bench.hear(Hears.BAD)
    assert bench.view.until == bench.now + 15


def test_an_early_probe() -> None:
    """When a whole chain is refused one request a second may ask ahead of time; failing so costs no longer rest."""
    bench = Bench()
    bench.trip()
    bench.now += 0.9
    assert isinstance(bench.ask("a", early=True), View)
    bench.now += 0.1
    assert bench.ask("a", early=True) == Granted("early", bench.state.epoch)
    assert isinstance(bench.ask("b", early=True), View)
    bench.hear(Hears.BAD, token="a")
    assert bench.view.until == 1015.0
    assert isinstance(bench.ask("c", early=True), View)
    bench.now += 1
    assert isinstance(bench.ask("c", early=True), Granted)
    bench.hear(Hears.GOOD, token="c")
    assert bench.word() is Word.CLOSED


def test_a_lone_rate_limit_only_moves_the_request_on() -> None:
    """One large request over a limit parks nobody."""
    bench = Bench()
    bench.hear(Hears.RATE_LIMIT, retry_after=2.0)
    assert machine.calm(bench.state)
    bench.now += 2.1
    bench.hear(Hears.RATE_LIMIT)
    assert bench.word() is Word.CLOSED


@pytest.mark.parametrize(
    ("told", "wait"),
    [
        ({"retry_after": 7.0}, 7.0),
        ({"retry_after": 90000.0}, 3600.0),
        ({"exhausted": True}, 5.0),
        ({"exhausted": True, "retry_after": 0.2}, 1.0),
        ({"exhausted": True, "retry_after": 2.0, "chance": 0.5}, 2.1),
    ],
)
def test_what_parks_at_once(told: dict[str, float], wait: float) -> None:
    """A long Retry-After, or a window with nothing left, is kept: never undercut, at most an hour and a tenth."""
    bench = Bench()
    bench.hear(Hears.RATE_LIMIT, **told)
    assert bench.word() is Word.PARKED
    assert bench.view.until == pytest.approx(bench.now + wait)


def test_a_second_rate_limit_parks() -> None:
    """Two within two seconds, of two requests, are no accident."""
    bench = Bench()
    bench.hear(Hears.RATE_LIMIT, request_id="one")
    bench.hear(Hears.RATE_LIMIT, request_id="one")
    assert bench.word() is Word.CLOSED
    bench.now += 1
    bench.hear(Hears.RATE_LIMIT, request_id="two")
    assert bench.view.until == bench.now + 5


def test_a_wait_is_never_shortened() -> None:
    """A later shorter wait leaves the longer one, and a success from before its end does not lift it."""
    bench = Bench()
    bench.hear(Hears.RATE_LIMIT, retry_after=60.0)
    bench.now += 1
    bench.hear(Hears.RATE_LIMIT, retry_after=10.0)
    bench.hear(Hears.GOOD)
    assert bench.view.until == 1060.0
    bench.hear(Hears.RATE_LIMIT, retry_after=70.0)
    assert bench.view.until == 1071.0


def test_after_a_wait_one_request_a_second() -> None:
    """Until the first success; then everyone."""
    bench = Bench()
    bench.hear(Hears.RATE_LIMIT, retry_after=60.0)
    bench.now += 60
    assert bench.ask() == Granted("trickle", bench.state.epoch)
    assert isinstance(bench.ask(), View)
    bench.now += 1
    assert isinstance(bench.ask(), Granted)
    bench.hear(Hears.GOOD, paced=True)
    assert machine.calm(bench.state)
    assert bench.causes[-1] == "parked>closed:probe_good"


def test_unasked_waits_grow() -> None:
    """Without a header: 5 s, doubling to a minute, once per wave however many requests were under way."""
    bench = Bench()
    waits = []
    for _ in range(5):
        began = bench.now
        for _ in range(3):
            bench.hear(Hears.RATE_LIMIT, began=began, exhausted=True)
        assert bench.view.until is not None
        waits.append(bench.view.until - bench.now)
        bench.now = bench.view.until
        bench.ask()
    assert waits == [5, 10, 20, 40, 60]


def test_quota_comes_back_by_itself() -> None:
    """Five minutes, doubling to an hour; nobody is woken for a topped-up account."""
    bench = Bench()
    waits = []
    for _ in range(5):
        bench.hear(Hears.QUOTA)
        assert bench.view.until is not None
        waits.append(bench.view.until - bench.now)
        bench.now = bench.view.until
        bench.ask()
    assert waits == [300, 600, 1200, 2400, 3600]
    assert bench.causes == ["closed>parked:quota"]


def test_a_permanent_fault_disables() -> None:
    """Time, successes and probes do not heal it; a reset does."""
    bench = Bench()
    bench.hear(Hears.DISABLE, reason="model_not_found", fault="config")
    bench.now += 1e9
    bench.hear(Hears.GOOD)
    assert (bench.word(), bench.view.until, bench.view.tripped_by) == (Word.DISABLED, None, ("req_1",))
    assert isinstance(bench.ask(early=True), View)
    bench.send(Operate(Act.RESET))
    assert machine.calm(bench.state)
    assert bench.causes == ["closed>disabled:config", "disabled>closed:operator"]


def test_a_doubtful_fault_disables_the_second_time() -> None:
    """Five seconds apart and without a success between; until then it is a failure like any other."""
    bench = Bench()
    bench.hear(Hears.DISABLE_TWICE)
    bench.now += 4.9
    bench.hear(Hears.DISABLE_TWICE)
    assert bench.word() is Word.CLOSED
    bench.hear(Hears.GOOD)
    bench.now += 5
    bench.hear(Hears.DISABLE_TWICE)
    assert bench.word() is Word.CLOSED
    bench.now += 5
    bench.hear(Hears.DISABLE_TWICE)
    assert bench.word() is Word.DISABLED


def test_a_doubtful_fault_of_a_probe() -> None:
    """The circuit opens at the threshold, and the probe's own refusal is then the second one."""
    bench = Bench()
    for _ in range(3):
        bench.hear(Hears.DISABLE_TWICE)
    assert bench.word() is Word.OPEN
    bench.now += 15
    bench.ask("a")
    bench.hear(Hears.DISABLE_TWICE, token="a")
    assert bench.word() is Word.DISABLED


def test_a_reset_is_undone_by_nothing_from_before() -> None:
    """A result of a request that was let through before the reset is void, whatever it says."""
    bench = Bench()
    old = bench.state.epoch
    bench.send(Operate(Act.RESET))
    for hears in Hears:
        bench.hear(hears, epoch=old, retry_after=60.0)
    assert bench.state == State(epoch=old + 1, reset_epoch=old + 1, serial=1)


def test_isolation() -> None:
    """An operator's word is stronger than all others, outlives a reset, and ends at its time or by release."""
    bench = Bench()
    bench.hear(Hears.DISABLE)
    bench.send(Operate(Act.ISOLATE, bench.now + 60))
    assert (bench.word(), bench.view.until) == (Word.ISOLATED, 1060.0)
    bench.send(Operate(Act.RESET))
    assert isinstance(bench.ask(early=True), View)
    bench.now += 60
    assert isinstance(bench.ask(), Granted)
    bench.send(Operate(Act.ISOLATE))
    bench.now += 1e9
    assert (bench.word(), bench.view.until) == (Word.ISOLATED, None)
    bench.send(Operate(Act.RELEASE))
    assert machine.calm(bench.state)


def test_latches_do_not_erase_each_other() -> None:
    """A park during an outage lets the circuit's cooldown run on, and a probe's good word ends both."""
    bench = Bench()
    epoch = bench.state.epoch
    bench.trip()
    bench.hear(Hears.RATE_LIMIT, epoch=epoch, retry_after=60.0)
    assert bench.word() is Word.PARKED
    bench.now += 59
    assert isinstance(bench.ask(), View)
    bench.now += 1
    assert bench.ask("a") == Granted("half_open", bench.state.epoch)
    bench.hear(Hears.GOOD, token="a")
    assert machine.calm(bench.state)


def test_a_probe_that_meets_a_rate_limit() -> None:
    """The target lives but is full: parked, and its circuit may be asked again after that."""
    bench = Bench()
    bench.trip()
    bench.now += 15
    bench.ask("a")
    bench.hear(Hears.RATE_LIMIT, token="a", retry_after=2.0)
    assert bench.word() is Word.PARKED
    bench.now += 2
    assert isinstance(bench.ask("b"), Granted)


def test_streams_that_always_break_trip() -> None:
    """A first content alone clears no run, so a target that cuts every stream cannot hide behind its beginnings."""
    bench = Bench()
    for _ in range(3):
        bench.now += 10
        began = bench.now
        bench.hear(Hears.GOOD, began=began, whole=False)
        bench.now += 1
        bench.hear(Hears.BAD, began=began, late=True)
    assert bench.word() is Word.OPEN


def test_a_stream_that_ends_well_clears_the_run() -> None:
    """Its end, not its first content, is what says that the target is well."""
    bench = Bench()
    bench.hear(Hears.BAD)
    bench.hear(Hears.BAD)
    bench.now += 1
    began = bench.now
    bench.hear(Hears.GOOD, began=began, whole=False)
    assert bench.view.failures == 2
    bench.now += 1
    bench.hear(Hears.GOOD, began=began, late=True)
    assert bench.view.failures == 0


def test_a_cut_is_one_call() -> None:
    """A stream that began well and was cut is one call and one failure in the rate."""
    bench = Bench(Policy(failure_threshold=50))
    for _ in range(19):
        bench.hear(Hears.GOOD, whole=False)
        bench.hear(Hears.BAD, late=True)
    assert bench.word() is Word.CLOSED
    bench.hear(Hears.GOOD, whole=False)
    bench.hear(Hears.BAD, late=True)
    assert bench.causes == ["closed>open:failure_rate"]


def test_a_probe_that_was_lost_keeps_its_place_closed() -> None:
    """After a store lost its data a probe under way comes back as open, for the rest of its lease and no longer."""
    bench = Bench()
    bench.trip()
    bench.now += 15
    bench.ask("a")
    bench.now += 5
    both = meeting.joined(bench.state, State(), bench.now)
    assert (both.circuit.word, both.circuit.until, both.circuit.token) == (Word.OPEN, bench.now + 10, "")


def test_views_that_meet_keep_what_the_latest_operator_said() -> None:
    """Who knows of a later reset wins; of equals, every latch counts."""
    sick = Bench()
    sick.hear(Hears.DISABLE)
    healed = Bench()
    healed.hear(Hears.DISABLE)
    healed.send(Operate(Act.RESET))
    for one, other in ((sick, healed), (healed, sick)):
        assert meeting.joined(one.state, other.state, 1000.0).disabled is None
    for one, other in ((sick, Bench()), (Bench(), sick)):
        assert meeting.joined(one.state, other.state, 1000.0).disabled is not None


def test_a_clock_that_was_set_back_lengthens_nothing() -> None:
    """Cooldowns, leases and waits keep to the length that they were set for, and nothing lies in the future."""
    bench = Bench()
    bench.trip()
    bench.hear(Hears.RATE_LIMIT, epoch=0, retry_after=60.0)
    state = meeting.clamped(bench.state, bench.now - 5000)
    assert (state.circuit.since, state.circuit.until) == (bench.now - 5000, bench.now - 4985)
    assert state.wait.latch is not None
    assert (state.wait.latch.until, state.wait.next) == (bench.now - 4940, bench.now - 4940)


def test_a_return_that_was_seen_alone_closes_what_is_asleep() -> None:
    """While the store was away a replica's own probe was good: news from after the trip, of the same epoch."""
    bench = Bench()
    bench.trip()
    epoch, tripped = bench.state.epoch, bench.now
    bench.now += 20
    for stale in (Returned(epoch - 1, bench.now), Returned(epoch, tripped)):
        bench.send(stale)
        assert bench.word() is Word.OPEN
    bench.ask("a")
    bench.send(Returned(bench.state.epoch, bench.now))
    assert bench.word() is Word.HALF_OPEN
    bench.now += machine.LEASE
    bench.send(Returned(bench.state.epoch, bench.now))
    assert bench.word() is Word.CLOSED
