"""What a result says beyond its counters: series of latency and of cores in use, and the laws it obeys."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lbsim
from lbsim.metrics.histogram import BINS, Histogram
from lbsim.metrics.result import Result, Samples
from lbsim.scenario import Cost, Exponential, Fixed, Flows, Measure, Poisson, Scenario, Server
from lbsim.units import MS, SECOND, US

BASE = Scenario(
    duration=10 * SECOND,
    warmup=2 * SECOND,
    traffic=Flows(flows=16),
    arrivals=Poisson(rate="1kpps"),
    server=Server(cores=2, cost=Cost(work=Fixed(time="1us"))),
    measure=Measure(interval=4 * SECOND, latency=True, reordering=True),
)


def result(by_interval: list[list[int]], **changes: Any) -> Result:
    """A result of such latencies in ps, all packets delivered."""
    latency = Histogram.of([x for values in by_interval for x in values])
    parts: dict[str, Any] = {
        "scenario": BASE,
        "engine": "made up",
        "span": 8 * SECOND,
        "offered": latency.count,
        "offered_bytes": 0,
        "delivered": latency.count,
        "delivered_bytes": 0,
        "drops": {},
        "latency": latency,
        "processed": np.array([3, 4]),
        "busy": np.array([3, 4]),
        "dropped": np.zeros(2, np.int64),
        "end": 10 * SECOND,
        "latencies": np.array([Histogram.of(values).counts for values in by_interval]),
        "reordered": 0,
    }
    return Result(**{**parts, **changes})


@given(st.lists(st.lists(st.integers(0, 10**12)), min_size=3, max_size=3))
def test_the_latency_of_an_interval_is_that_of_its_own_histogram(by_interval: list[list[int]]) -> None:
    frame = result(by_interval).series("latency_us")
    assert frame.index.tolist() == [4, 8, 10]  # the last interval is cut short
    assert frame.index.name == "time_s"
    assert frame.columns.tolist() == ["mean", "p5", "p25", "p50", "p75", "p95", "p99"]
    for values, (_, row) in zip(by_interval, frame.iterrows(), strict=True):
        own = Histogram.of(values)
        quantiles = [own.quantile(q) / US for q in (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)]
        # a histogram also knows its least and greatest value: up to a bin apart
        assert row.tolist() == pytest.approx([own.mean / US, *quantiles], rel=1 / 128, nan_ok=True)


def test_a_series_of_latency_by_hand() -> None:
    values = [*range(1, 101)]  # ps, each in a bin of its own
    frame = result([values, [], [7]]).series("latency_us")
    assert (frame.iloc[0] * US).round(6).tolist() == [50.5, 5, 25, 50, 75, 95, 99]
    assert frame.iloc[1].isna().all()
    assert (frame.iloc[2] * US).round(6).tolist() == [7] * 7


def test_the_series_of_a_run_is_of_the_packets_that_arrived_in_each_interval() -> None:
    scenario = BASE.model_copy(
        update={
            "duration": 25 * MS,
            "warmup": 5 * MS,
            "arrivals": Poisson(rate="1Mpps"),
            "server": Server(cores=2, cost=Cost(work=Exponential(mean="1us"))),
            "measure": Measure(interval=10 * MS, latency=True, packets=True, path_delay="3us"),
        }
    )
    run = lbsim.run(scenario)
    log, frame = run.packets, run.series("latency_us")
    assert log is not None
    cohort = log.arrival >= 5 * MS
    interval = log.arrival[cohort] // (10 * MS)
    latency = (log.departure - log.arrival)[cohort] + 3 * US
    assert frame.index.tolist() == [0.01, 0.02, 0.025]
    for k in range(3):
        here = latency[interval == k] / US
        assert frame["mean"].iloc[k] == pytest.approx(here.mean(), rel=1 / 256)
        assert frame["p95"].iloc[k] == pytest.approx(np.quantile(here, 0.95), rel=0.02)


def test_what_was_not_asked_for_is_refused_with_the_field_to_set() -> None:
    bare = result([[1]], latencies=None)
    with pytest.raises(ValueError, match=r"set measure\.latency = true"):
        bare.series("latency_us")
    with pytest.raises(ValueError, match=r"set measure\.interval"):
        bare.series("cores")
    sampled = replace(bare, samples=samples([2, 2]))
    with pytest.raises(
        ValueError, match=r"'load' is unknown: choose one of core_load, .*, cores, latency_us"
    ):
        sampled.series("load")


def samples(used: list[int], cores: int = 2, processed: Any = None) -> Samples:
    nothing = np.zeros((len(used), cores), np.int64)
    packets = nothing if processed is None else np.array(processed)
    return Samples(np.arange(len(used)) * SECOND, packets, nothing, nothing, nothing, np.array(used))


def test_cores_in_use_are_a_series_and_a_mean_after_the_warm_up() -> None:
    run = result([[1]], samples=samples([7, 7, 1, 2, 2]))  # the warm-up ends at 2 s
    assert run.series("cores")["cores"].to_dict() == {1: 7, 2: 1, 3: 2, 4: 2}
    assert run.cores_used == pytest.approx(5 / 3)
    assert run.summary()["cores"] == pytest.approx(5 / 3)
    for unknown in (None, samples([7, 7])):
        assert np.isnan(replace(run, samples=unknown).cores_used)
        assert "cores" not in replace(run, samples=unknown).summary()


def test_a_dispatcher_is_no_part_of_the_imbalance() -> None:
    counts = [[0, 0, 0], [10, 15, 99], [10, 19, 1000]]
    run = result([[1]], samples=samples([3, 3, 3], 3, counts), processed=np.array([10, 19, 1000]))
    assert run.imbalance().tolist() == [50.0, 0.0]
    assert run.summary()["imbalance_pct"] == 90
    assert run.series("packets").shape == (2, 3)


def test_reordering_is_told_where_it_was_counted() -> None:
    assert result([[1]]).summary()["reordered"] == 0
    assert "reordered" not in result([[1]], reordered=None).summary()


def test_laws_of_what_was_asked_for() -> None:
    good = result([[1, 2], [3]])
    assert all(good.laws().values())
    assert len(good.laws()) == 6
    other = np.zeros((2, BINS), np.int64)
    other[1, [1, 2, 4]] = 1
    for broken, law in (
        ({"latencies": other}, "the latencies of all intervals are those of the run"),
        ({"reordered": 4}, "only delivered packets are reordered"),
        ({"reordered": -1}, "only delivered packets are reordered"),
    ):
        assert [name for name, holds in replace(good, **broken).laws().items() if not holds] == [law]
    assert len(replace(good, latencies=None, reordered=None).laws()) == 4
