"""What control processes and series read, by hand: code that both engines share, so no comparison of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import lbsim
from lbsim.engine import control
from lbsim.engine.compiled import CompiledPlane
from lbsim.engine.control import RssppController
from lbsim.engine.kernels import Machine
from lbsim.engine.plane import CONTROL, Clock, Counters, Plane
from lbsim.engine.reference import ReferencePlane, Rings
from lbsim.engine.rings import FifoRings, PolledRings
from lbsim.metrics import Samples
from lbsim.nic import Moves
from lbsim.scenario import Cost, Deterministic, Fixed, Flows, Rsspp, Server
from lbsim.units import MS, SECOND
from lbsim.workload.packets import Packets


@pytest.mark.parametrize("engine", ["fifo", "poll", "reference"])
def test_work_in_service_counts_up_to_the_instant(engine: str) -> None:
    # One core, service 10: packet 0 works from 0 to 10, packet 1 (arrived at 3) from 10 to 20.
    zero = np.zeros(2, np.int32)
    packets = Packets(np.array([0, 3]), zero, zero, zero, np.array([10, 10]))
    env, machine, table = Clock(), Machine(8, 1, 0, 0, 0), np.zeros(1, np.int64)
    plane: Plane
    if engine == "reference":
        plane = ReferencePlane(env, iter([packets]), machine, Rings(env, machine, 1, table))
    else:
        bank = FifoRings(machine, 1, table) if engine == "fifo" else PolledRings(machine, 1, table)
        plane = CompiledPlane(iter([packets]), machine, bank)
    seen = []

    def read() -> Any:
        for gap in (4, 6, 5, 5, 5):
            yield env.wait(gap, CONTROL)
            plane.sync(env.now)
            seen.append([env.now, *(int(column[0]) for column in plane.counters(env.now))])

    env.process(read())
    env.run()
    assert [dict(zip(("now", *Counters._fields), row, strict=True)) for row in seen] == [
        {"now": 4, "processed": 0, "busy": 4, "dropped": 0, "occupancy": 2, "polled": 1},
        {"now": 10, "processed": 1, "busy": 10, "dropped": 0, "occupancy": 1, "polled": 2},
        {"now": 15, "processed": 1, "busy": 15, "dropped": 0, "occupancy": 1, "polled": 2},
        {"now": 20, "processed": 2, "busy": 20, "dropped": 0, "occupancy": 0, "polled": 2},
        {"now": 25, "processed": 2, "busy": 20, "dropped": 0, "occupancy": 0, "polled": 2},
    ]


class Script:
    """A plane whose buckets were polled as told, tick by tick."""

    def __init__(self, polled: list[list[int]]) -> None:
        self.table = np.zeros(2, np.int64)
        self.polled = iter(np.cumsum([[0, 0], *polled], axis=0))
        self.name = "script"

    def sync(self, now: int) -> None:
        pass

    def counters(self, now: int) -> Counters:
        zero = np.zeros(2, np.int64)
        return Counters(zero, zero, zero, zero, next(self.polled))


@pytest.mark.parametrize(("as_published", "last"), [(True, [5, 4]), (False, [0, 4])])
def test_a_silent_bucket_shows_its_old_count_as_published(
    as_published: bool, last: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def note(load: Any, counts: Any, table: Any, received: Any, params: Any) -> Moves:
        seen.append(counts.tolist())
        return Moves(table.copy(), np.zeros(0, np.int64), np.zeros(2), received, 0, 0.0)

    monkeypatch.setattr(control, "rebalance", note)
    env = Clock()
    spec = Rsspp(tick=100 * MS, load_period=SECOND, as_published=as_published)  # type: ignore[arg-type]
    RssppController(env, Script([[5, 3], [0, 4]]), spec, ring=8, until=300 * MS)  # type: ignore[arg-type]
    env.run()
    assert seen == [[5, 3], last]


def steady(**changes: Any) -> lbsim.Scenario:
    """A packet each 10 us on two cores, 4 us of work each."""
    base = {
        "duration": "1s",
        "traffic": Flows(flows=64),
        "arrivals": Deterministic(rate="100kpps"),
        "server": Server(cores=2, burst=1, cost=Cost(work=Fixed(time="4us"))),
        "measure": {"interval": "100ms"},
    }
    return lbsim.Scenario(**{**base, **changes})


def test_imbalance_by_hand() -> None:
    result = lbsim.run(steady(nic={"dispatch": {"kind": "policy", "policy": "round_robin"}}))
    counts = np.array([[0, 0, 0], [10, 15, 20], [10, 16, 24], [110, 16, 24], [111, 16, 124], [111, 16, 124]])
    nothing = np.zeros_like(counts)
    samples = Samples(np.arange(6) * SECOND, counts, nothing, nothing, nothing, np.full(6, 2))
    # (20 - 10) / 10; one core silent, so of 1 and 4 only; alone; capped at 2000 %; a second without packets
    assert replace(result, samples=samples).imbalance().tolist() == [100.0, 300.0, 0.0, 2000.0]
    assert replace(result, samples=samples).imbalance(1.5, 3).tolist() == [300.0, 0.0]


def test_series_by_hand() -> None:
    result = lbsim.run(steady(nic={"dispatch": {"kind": "policy", "policy": "round_robin"}}))
    assert result.series("packets").to_numpy() == pytest.approx(50_000, rel=1e-3)
    assert result.series("core_load").to_numpy() == pytest.approx(0.2, rel=1e-3)
    assert result.series("drops").to_numpy().max() == 0
    with pytest.raises(ValueError, match="series 'load' is unknown: choose one of core_load"):
        result.series("load")
    with pytest.raises(ValueError, match="kept no series"):
        replace(result, samples=None).series("packets")
