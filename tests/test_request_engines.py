"""Two engines, one truth, for requests: equal clients and equal control give equal bits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from lbsim.balancer import policies
from lbsim.balancer.balancer import Balancer
from lbsim.balancer.policies import Answer, Policy, Unit, View, coin, fewest, first
from lbsim.engine.plane import Clock
from lbsim.engine.policy import PolicyError
from lbsim.engine.request import compiled, plane, state
from lbsim.engine.request.compiled import CompiledPlane
from lbsim.engine.request.plane import (
    CONTROL,
    FCFS,
    INDEPENDENT,
    JBSQ,
    NEVER,
    PACED,
    PRIORITY,
    SHARING,
    STEALING,
    USERS,
    Cohort,
    Columns,
    Plane,
    Retry,
    Servers,
    Source,
    Tally,
)
from lbsim.engine.request.reference import ReferencePlane
from lbsim.scenario import Adapt, FlowTable
from lbsim.units import SECOND

MANY = 3000
"""Events of one instant that are too many, here: the reference would take minutes for as many as in a run."""

Process = Any


# --- a policy that looks at everything ----------------------------------------------------------------------

PRIME = 1_000_003


def nosy(view: View, unit: Unit) -> int:
    """Whom it chooses depends on all that it can see, and on all that it was told."""
    if view.choices == 1:
        return first(view, fewest)
    if view.choices == 2:
        return coin(view, unit, 0) % view.n
    if view.choices == 3:
        return unit.hash % view.n
    x = (view.now % PRIME + view.total * 3 + unit.index % PRIME + unit.flow * 5 + unit.size) % PRIME
    x = (x * 7 + view.state[0]) % PRIME
    for k in range(view.n):
        x = (x * 31 + view.queue[k] % PRIME) % PRIME
        x = (x * 31 + view.inside[k]) % PRIME
        x = (x * 31 + view.latency[k] % PRIME) % PRIME
        x = (x * 31 + view.age[k] % PRIME) % PRIME
        x = (x * 31 + int(view.weight[k] * 100)) % PRIME
    view.state[1] = x
    return (x // 7 if view.choices == 4 else x // 7 + first(view, fewest)) % view.n  # type: ignore[no-any-return]


def told(view: View, answer: Answer) -> None:
    """Remember all that an answer tells."""
    x = (view.state[0] * 31 + answer.target + answer.queue * 7 + answer.index * 11) % PRIME
    x = (x * 31 + answer.latency % PRIME + answer.service % PRIME) % PRIME
    x = (x * 31 + view.now % PRIME + view.total + view.queue[answer.target] % PRIME) % PRIME
    view.state[0] = (x * 31 + view.latency[answer.target] % PRIME + view.inside[answer.target]) % PRIME


NOSY = Policy("nosy", nosy, 2, "", rank=fewest, done=told)


# --- cases --------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """All that a run depends on."""

    policy: Policy
    choices: int
    source: Source
    servers: Servers
    live: bool
    control: list[tuple[int, str, int, int]]  # gap to the one before, what, to which server, how much


def cases(policy: Policy = NOSY) -> st.SearchStrategy[Case]:
    """Return random cases; not hypothesis's own, most of which are too small for anything to happen."""
    return st.randoms(use_true_random=True).map(lambda r: case_of(r, policy))


def case_of(r: Random, policy: Policy) -> Case:
    """Times are few units of time, so that ties of all kinds are common; a unit is 1 ps, or much."""
    unit = r.choice((1, 1, 1, 7, SECOND // 2))
    servers = servers_of(r, unit)
    live = r.random() < 0.6
    does = ["pause", "slow", "adapt", "read"] if live else ["pause", "slow", "adapt", "report", "report"]
    control = [
        (unit * r.choice((0, 0, 1, 1, 2, 5)), r.choice(does), r.randrange(servers.number), r.randrange(6))
        for _ in range(r.choice((0, 3, 20)))
    ]
    return Case(policy, r.randint(1, 5), source_of(r, unit), servers, live, control)


def servers_of(r: Random, unit: int) -> Servers:
    """Return random servers."""
    number, discipline = r.randint(1, 4), r.choice((FCFS, SHARING, SHARING, STEALING, JBSQ, PRIORITY))
    servers = Servers(
        number=number,
        cores=r.randint(1, 3),
        speeds=np.array([r.choice((1.0, 1.0, 2.0, 0.5, 1 / 3)) for _ in range(number)]),
        response=r.choice((1, 100)),
        backlog=r.choice((NEVER, NEVER, 1, 2, 5)),
        discipline=discipline,
        steal=unit * r.randint(0, 2),
        depth=r.randint(1, 3),
        urgent=r.choice((0.2, 0.7)),
        spins=r.random() < 0.4,
        setup=unit * r.randint(0, 2),
        finish=unit * r.randint(0, 2),
    )
    if discipline == SHARING:
        length, workers = r.choice((1, 1, 2, 3, 5)), r.choice((0, 1, 2, 3))
        turn = r.randint(1, length) if workers else length
        switch = unit * r.choice((0, 0, 1, 2))
        servers = servers._replace(slice=unit * length, turn=unit * turn, workers=workers, switch=switch)
    if r.random() < 0.2:
        table = [[unit * r.randint(1, 4) for _ in range(4)] for _ in range(number)]
        servers = servers._replace(by_second=np.array(table, np.int64))
    return servers


def source_of(r: Random, unit: int) -> Source:
    """Return random clients."""
    kind, lanes = r.choice((INDEPENDENT, USERS, USERS, PACED)), r.choice((0, 0, 1, 2))
    users = 0 if kind == INDEPENDENT else r.randint(1, 8)
    period, end = r.randint(1, 6), r.randint(1, 40)
    retry = Retry(
        timeout=r.choice((NEVER, unit * r.randint(0, 8))),
        attempts=r.randint(1, 4),
        backoff=unit * r.choice((0, 1, 1, 2)),
        factor=r.choice((1.0, 1.5, 2.0)),
        most=unit * r.randint(0, 4),
        jitter=r.choice((0.0, 0.5, 1.0)),
    )
    return Source(
        kind=kind,
        users=users,
        first=np.array([unit * r.choice((0, 0, 1, 2, 3, 50)) for _ in range(users)], np.int64),
        period=unit * period,
        catch=max(1, unit * period // 2),
        session=r.choice((1.0, 1.5, 4.0)),
        overhead=unit * r.choice((0, 2)),
        delay=unit * r.choice((0, 0, 1, 2)),
        lanes=lanes,
        cost=unit * r.randint(1, 2) if lanes else 0,
        retry=r.choice((Retry(), retry, retry)),
        seed=r.getrandbits(62),
        end=unit * end,
        warmup=unit * r.choice((0, 0, 5)),
        cohort_done=r.random() < 0.5,
        columns=columns_of(r, unit, kind),
    )


def columns_of(r: Random, unit: int, kind: int) -> Any:
    """Return columns: without end where there are users, else some arrivals, in chunks of any size."""
    n, cut = r.randint(0, 60), r.randint(1, 60)
    gaps = [unit * r.choice((0, 0, 0, 1, 1, 2)) for _ in range(n)]
    thinks = (1, 2, 5) if r.random() < 0.7 else (0, 0, 1, 3)

    def column(chosen: list[int], of: int) -> np.ndarray[Any, Any]:
        return np.array(chosen if kind == of else [], np.int64)

    chunk = Columns(
        np.array([r.choice((r.randrange(4), r.getrandbits(32))) for _ in range(n)], np.int64),
        np.array([max(1, unit * r.choice((0, 1, 1, 2, 3, 7))) for _ in range(n)], np.int64),
        column([unit * r.choice(thinks) for _ in range(n)], USERS),
        column(np.cumsum(gaps).tolist(), INDEPENDENT),
    )

    def columns() -> Iterator[Columns]:
        yield Columns(*(column[:cut] for column in chunk))
        yield Columns(*(column[cut:] for column in chunk))
        while kind != INDEPENDENT:
            yield Columns(*(np.resize(column, len(column) and cut) for column in _padded(chunk, unit)))

    return columns


def _padded(chunk: Columns, unit: int) -> Columns:
    """Return a chunk of at least one request."""
    if len(chunk.hash):
        return chunk
    one = np.ones(1, np.int64)
    return Columns(one, unit * one, unit * one, one[:0])


# --- running them -------------------------------------------------------------------------------------------


def balancer_of(case: Case) -> Balancer:
    """Return the balancer of a case."""
    n, policy = case.servers.number, case.policy
    has_table = policy.table is not None or policy.buckets is not None
    return Balancer(
        policy,
        n,
        n,
        np.arange(1.0, n + 1),
        consistency=FlowTable(capacity=1),
        slots=17 if has_table else None,
        choices=case.choices,
        seed=5,
        adapt=Adapt(gain=3, least=1, most=5),
    )


def act(case: Case, balancer: Balancer, it: Plane, now: int, what: str, which: int, much: int) -> None:
    """Do one thing to the servers, or to what the balancer knows of them."""
    unit = max(1, case.source.period)
    if what == "pause":
        it.pause(which, now, unit * much // 3)
    elif what == "slow":
        it.slow(which, now, (1.0, 1.0, 0.5, 2.0, 0.1, 1 / 3)[much])
    elif what == "report":
        it.signal[which], it.measured[which] = much, now
        it.refresh()
    elif what == "adapt":
        balancer.reweigh(it.signal, now)
        it.refresh()


def run(
    case: Case, engine: str, reference: type[ReferencePlane] = ReferencePlane, shuffle: bool = False
) -> tuple[Tally, list[Any]]:
    """Run a case; return what was counted, and all that control read on the way."""
    env, balancer = Clock(), balancer_of(case)
    it: Plane
    if engine == "reference":
        it = reference(env, balancer, case.source, case.servers, live=case.live, log=True)
    else:
        it = CompiledPlane(balancer, case.source, case.servers, live=case.live, log=True)
        if shuffle:
            shuffle_records(it)
    seen: list[Any] = []

    def control() -> Process:
        for gap, what, which, much in case.control:
            yield env.wait(gap, CONTROL)
            it.sync(env.now)
            act(case, balancer, it, env.now, what, which, much)
            seen.append((env.now, plain(it.counters(env.now)), it.signal.tolist()))

    env.process(control())
    env.run()
    tally = it.finish()
    seen.append(balancer.state.tolist())
    return tally, seen


def shuffle_records(it: CompiledPlane) -> None:
    """Let attempts get records in another order."""
    slots = [int(state.take(it._state)) for _ in range(len(it._state.attempts))]
    Random(1).shuffle(slots)
    for slot in slots:
        state.give(it._state, slot)


def plain(value: Any) -> Any:
    """What was counted in values that compare."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if hasattr(value, "_asdict"):
        return {name: plain(part) for name, part in value._asdict().items()}
    if hasattr(value, "counts"):  # a histogram
        return value.counts.tolist(), value.total, value.low, value.high
    return value


def outcome(case: Case, engine: str, *options: Any) -> Any:
    """Return all that a run yields, in values that compare; where it came to a stand, when."""
    try:
        tally, seen = run(case, engine, *options)
    except RuntimeError as error:
        return str(error).partition(" at ")[2]
    return plain(tally), seen


def check(case: Case) -> Any:
    """Return what both engines say."""
    truth = outcome(case, "reference")
    assert outcome(case, "compiled") == truth
    return truth


@pytest.fixture(autouse=True)
def _many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plane, "MOST_AT_ONCE", MANY)


# --- the engines agree --------------------------------------------------------------------------------------

NO_SHRINKING = settings(phases=(Phase.explicit, Phase.generate), print_blob=False)
"""A case comes from one random number: there is nothing to make smaller."""


@given(cases())
@settings(NO_SHRINKING, max_examples=200)
def test_the_engines_agree(case: Case) -> None:
    check(case)


@pytest.mark.slow
@given(cases())
@settings(NO_SHRINKING, max_examples=2000)
def test_the_engines_agree_at_length(case: Case) -> None:
    check(case)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(policies()))
def test_the_engines_agree_for_every_policy(name: str) -> None:
    @given(cases(policies()[name]))
    @settings(NO_SHRINKING, max_examples=30)
    def agree(case: Case) -> None:
        check(case)

    agree()


def test_all_that_can_happen_happens_in_such_cases() -> None:
    """That the engines agree means little where nothing happens."""
    sums: Counter[Any] = Counter()
    for seed in range(150):
        case = case_of(Random(seed), NOSY)
        said = outcome(case, "compiled")
        if isinstance(said, str):
            sums["came to a stand"] += 1
            continue
        tally, _ = said
        counters, late = tally["counters"], max(tally["log"]["done"], default=0)
        sums.update({name: counters[name] > 0 for name in Cohort._fields})
        sums["zombie outlives all clients"] += tally["end"] > late > 0
        sums["kinds", case.source.kind] += counters["launched"] > 5
        sums["disciplines", case.servers.discipline] += counters["launched"] > 5
        sums["several attempts"] += max(tally["log"]["attempts"], default=0) > 2
        sums["waiting"] += tally["peak"] > case.servers.number * case.servers.cores
    rare = {what: times for what, times in sums.items() if times < 5 and what != "came to a stand"}
    assert not rare
    assert len(sums) >= 15


def test_the_results_do_not_depend_on_records_or_on_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [case_of(Random(seed), NOSY) for seed in range(40)]
    before = [outcome(case, "compiled") for case in cases]
    monkeypatch.setattr(compiled, "PAUSE", 2)
    assert [outcome(case, "compiled", ReferencePlane, True) for case in cases] == before


def test_progress_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "PAUSE", 5)
    case = next(c for seed in range(99) if (c := case_of(Random(seed), NOSY)).source.kind == USERS)
    calls: list[tuple[int, int]] = []
    it = CompiledPlane(
        balancer_of(case), case.source, case.servers, progress=lambda now, units: calls.append((now, units))
    )
    tally = it.finish()
    assert calls == sorted(calls)
    assert 0 < calls[-1][1] <= tally.counters.launched


# --- by hand ------------------------------------------------------------------------------------------------

NONE = np.empty(0, np.int64)


def plain_case(works: list[int], times: list[int], policy: Policy = NOSY, **servers: Any) -> Case:
    """Return a case of independent requests on servers without whims."""
    hashes = np.arange(len(works), dtype=np.int64)
    columns = Columns(hashes, np.array(works, np.int64), NONE, np.array(times, np.int64))
    source = Source(
        INDEPENDENT, 0, NONE, 0, 0, 1.0, 0, 0, 0, 0, Retry(), 1, 1000, 0, False, lambda: iter([columns])
    )
    spec = Servers(1, 1, np.ones(1), 1)._replace(**servers)
    return Case(policy, 1, source, spec, True, [])


def departures(case: Case) -> list[int]:
    """Return when each request is answered, in order of their numbers."""
    log = check(case)[0]["log"]
    return [done for _, done in sorted(zip(log["index"], log["done"], strict=True))]


def test_first_come_first_served() -> None:
    assert departures(plain_case([5, 1, 1], [0, 1, 2])) == [5, 6, 7]
    assert departures(plain_case([5, 1, 4, 1], [0, 0, 0, 0], cores=2)) == [5, 1, 5, 6]


def test_cores_shared_in_slices() -> None:
    case = plain_case([5, 1, 3], [0, 0, 0], discipline=SHARING, slice=2, turn=2)
    assert departures(case) == [9, 3, 8]  # 2 of the first, 1, 2, 2, 1, 1
    switching = plain_case([3, 1], [0, 0], discipline=SHARING, slice=2, turn=2, switch=10)
    assert departures(switching) == [24, 13]


def test_a_stolen_request_costs_more() -> None:
    """Numbers 0 and 2 are at home on core 0, where 2 waits until core 1 has done 1."""
    case = plain_case([9, 2, 3], [0, 0, 1], cores=2, discipline=STEALING, steal=4)
    assert departures(case) == [9, 2, 2 + 3 + 4]


def test_bounded_queues_commit_early() -> None:
    """Number 2 is given to core 0, of equally many, and stays there although core 1 is free first."""
    case = plain_case([9, 2, 1], [0, 0, 0], cores=2, discipline=JBSQ, depth=2)
    assert departures(case) == [9, 2, 10]


def test_overlapping_waits_on_the_wall_clock() -> None:
    case = plain_case([5, 5], [0, 0], discipline=SHARING, slice=1, turn=1, spins=True, setup=1, finish=1)
    assert departures(case) == [7, 8]


def test_a_pause_and_a_slow_server() -> None:
    case = plain_case([6], [0])._replace(control=[(2, "pause", 0, 6), (1, "slow", 0, 2)])
    unit = case._replace(source=case.source._replace(period=5))
    assert departures(unit) == [2 + 10 + 8]  # 4 left at half the speed


def test_a_policy_that_sends_nowhere_is_told() -> None:
    def beyond(view: View, unit: Unit) -> int:
        return view.n if unit.index == 1 else 0

    case = plain_case([1, 1], [0, 0], Policy("beyond", beyond, 0, ""))
    for engine in ("reference", "compiled"):
        with pytest.raises(ValueError, match=r"sent request 1 to no server: it must return 0 \.\. 0, not 1"):
            run(case, engine)


def test_a_policy_numba_refuses_is_told() -> None:
    def by_bits(view: View, unit: Unit) -> int:
        return unit.hash.bit_count() % view.n

    def refused(view: View, answer: Answer) -> None:
        view.state[0] = answer.index.bit_count()

    case = plain_case([1], [0], Policy("by_bits", by_bits, 0, ""))
    assert run(case, "reference")[0].counters.completed == 1
    with pytest.raises(PolicyError, match="bit_count"):
        run(case, "compiled")
    with pytest.raises(PolicyError, match="bit_count"):
        run(plain_case([1], [0], replace(NOSY, done=refused)), "compiled")


def test_clients_that_come_back_at_once_are_told() -> None:
    case = plain_case([9, 9], [0, 3], backlog=1)
    retry = Retry(attempts=10 * MANY)
    for engine in ("reference", "compiled"):
        with pytest.raises(RuntimeError, match=r"no progress: 3001 events at 3 ps.*clients.retry.backoff"):
            run(case._replace(source=case.source._replace(retry=retry)), engine)


class Hasty(ReferencePlane):
    """Wrong on purpose: answers pass the balancer before their request has left its server."""

    def stop(self, server: Any, core: int, turn: Any) -> None:
        if server.turns[core] is turn:
            self.ledger.end = now = self.env.now
            departed = server.stop(core, turn, now)
            if departed is not None:
                self.answered(departed)
                self.ledger.leave(departed, now)
            self.go_on(server, core)


def test_another_order_at_one_instant_would_be_seen() -> None:
    case = plain_case([2, 1], [0, 0])
    assert outcome(case, "compiled") == outcome(case, "reference")
    assert outcome(case, "compiled") != outcome(case, "reference", Hasty)
