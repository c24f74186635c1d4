"""Two engines, one truth: equal packets and equal control give equal bits."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lbsim.balancer import Unit, View, policies
from lbsim.balancer.policies import view_of_cores
from lbsim.engine.compiled import CompiledPlane
from lbsim.engine.kernels import Machine
from lbsim.engine.plane import ARRIVAL, CONTROL, Choice, Clock, Plane
from lbsim.engine.policy import compile_policy
from lbsim.engine.reference import ReferencePlane, Rings
from lbsim.engine.rings import FifoRings, PolledRings
from lbsim.workload.packets import Packets

POLICIES = ("round_robin", "uniform", "hashed", "power_of_two", "least_loaded")
COMPILED = {name: compile_policy(policies()[name].choose) for name in POLICIES}
WORDS = st.integers(0, 2**32 - 1)


class Case(NamedTuple):
    machine: Machine
    cores: int
    table: list[int]
    packets: list[tuple[int, int, int, int]]  # gap, bucket, service, frame
    cut: int  # packets in the first chunk
    control: list[tuple[int, str, int, int]]  # gap, what, where, how much
    policy: str | None
    hashes: list[int]


@st.composite
def cases(draw: st.DrawFn, dispatch: str = "any") -> Case:
    """Small numbers on purpose: ties, zero gaps, zero service, full rings and one core are common."""
    cores = draw(st.integers(1, 4))
    machine = Machine(
        ring=draw(st.sampled_from((1, 1, 2, 3, 5, 8, 64))),
        burst=1 if dispatch == "fifo" else draw(st.sampled_from((1, 2, 3, 32))),
        per_batch=0 if dispatch == "fifo" else draw(st.sampled_from((0, 0, 1, 5))),
        warmup=draw(st.sampled_from((0, 0, 7))),
        delay=draw(st.sampled_from((0, 3))),
    )
    short = st.sampled_from((0, 0, 0, 1, 1, 2, 3, 5, 9))
    packets = draw(
        st.lists(st.tuples(short, st.integers(0, 7), short, st.integers(60, 1514)), min_size=1, max_size=60)
    )
    control = draw(
        st.lists(
            st.tuples(
                short,
                st.sampled_from(
                    ("read", "read", "table") if dispatch == "fifo" else ("read", "table", "stall")
                ),
                st.integers(0, 7),
                st.integers(0, 9),
            ),
            max_size=12,
        )
    )
    policy = draw(st.sampled_from((None, *POLICIES))) if dispatch == "any" else None
    table = draw(st.lists(st.integers(0, cores - 1), min_size=8, max_size=8))
    cut = draw(st.integers(1, len(packets)))
    return Case(
        machine, cores, table, packets, cut, control, policy, draw(st.lists(WORDS, min_size=8, max_size=8))
    )


def columns(case: Case) -> list[Packets]:
    """The case's packets as two chunks."""
    gap, bucket, service, frame = np.array(case.packets, np.int64).T
    entry = bucket if case.policy is None else 0 * bucket
    whole = Packets(
        np.cumsum(gap),
        entry.astype(np.int32),
        bucket.astype(np.int32),
        frame.astype(np.int32),
        service.copy(),
    )
    parts = (whole.part(0, case.cut), whole.part(case.cut, len(gap)))
    return [part for part in parts if len(part.time)]


def outcome(case: Case, engine: str, reference: type[ReferencePlane] = ReferencePlane) -> dict[str, Any]:
    """Everything observable of a run, as plain lists."""
    env = Clock()
    table = np.array(case.table if case.policy is None else [0], np.int64)
    choice = None
    if case.policy is not None:
        choose = policies()[case.policy].choose if engine == "reference" else COMPILED[case.policy]
        state = np.zeros(policies()[case.policy].state, np.int64)
        choice = Choice(choose, state, 42, np.array(case.hashes, np.uint32))
    plane: Plane
    if engine == "reference":
        rings = Rings(env, case.machine, case.cores, table, choice)
        plane = reference(env, iter(columns(case)), case.machine, rings, log=True)
    else:
        banks = {"fifo": FifoRings, "poll": partial(PolledRings, choice=choice)}
        bank = banks[engine](case.machine, case.cores, table)
        plane = CompiledPlane(iter(columns(case)), case.machine, bank, log=True)
    seen: list[Any] = []

    def control() -> Any:
        for gap, what, where, much in case.control:
            yield env.wait(gap, CONTROL)
            plane.sync(env.now)
            if what == "read":
                c = plane.counters(env.now)
                seen.append((env.now, *(column.tolist() for column in c)))
            elif what == "table":
                table[where % len(table)] = much % case.cores
            else:
                plane.stall(where % case.cores, env.now, much)

    env.process(control())
    env.run()
    t = plane.finish()
    assert t.log is not None
    return {
        "packets": [column.tolist() for column in t.log],
        "seen": seen,
        "tally": (
            t.offered,
            t.offered_bytes,
            t.drops,
            t.dropped_bytes,
            t.latency.total,
            t.latency.high,
            t.end,
        ),
        "bins": np.flatnonzero(t.latency.counts).tolist(),
        "counters": [column.tolist() for column in t.counters],
        "table": table.tolist(),
    }


def check(case: Case, *engines: str) -> None:
    truth = outcome(case, "reference")
    for engine in engines:
        assert outcome(case, engine) == truth


SOME = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
MANY = settings(max_examples=2500, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(cases())
@SOME
def test_the_engines_agree(case: Case) -> None:
    check(case, "poll")


@given(cases("fifo"))
@SOME
def test_the_ring_recursion_agrees_with_both(case: Case) -> None:
    check(case, "poll", "fifo")


@pytest.mark.slow
@given(cases())
@MANY
def test_the_engines_agree_on_thousands_of_cases(case: Case) -> None:
    check(case, "poll")


@pytest.mark.slow
@given(cases("fifo"))
@MANY
def test_the_ring_recursion_agrees_on_thousands_of_cases(case: Case) -> None:
    check(case, "poll", "fifo")


class Hurried(ReferencePlane):
    """A broken reference: it does not yield to the clock when the next packet arrives at once."""

    def until(self, arrival: int) -> Any:
        if arrival > self.env.now:
            yield self.env.wait(arrival - self.env.now, ARRIVAL)


def test_without_the_yield_at_a_zero_gap_the_engines_differ() -> None:
    # One slot, no service: the second packet of the same instant finds the first already gone.
    case = Case(Machine(1, 1, 0, 0, 0), 1, [0] * 8, [(0, 0, 0, 60), (0, 0, 0, 60)], 2, [], None, [0] * 8)
    truth = outcome(case, "poll")
    assert truth["packets"][3] == [0, 0]
    assert outcome(case, "reference") == truth
    assert outcome(case, "reference", Hurried) != truth


TARGET = 0


def constant(view: View, unit: Unit) -> int:
    return TARGET


def test_a_policy_compiles_again_when_a_global_it_reads_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    none = np.empty(0, np.int64)
    view, unit = view_of_cores(0, np.zeros(2, np.int64), none, 1, none), Unit(0, 0, 0, 64)
    assert compile_policy(constant)(view, unit) == 0
    assert compile_policy(constant) is compile_policy(constant)
    monkeypatch.setitem(globals(), "TARGET", 1)
    assert compile_policy(constant)(view, unit) == 1
