"""Results that no run yielded, for tests of what is done with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lbsim.metrics.histogram import BINS, Histogram
from lbsim.metrics.result import Result, Samples
from lbsim.scenario import Cost, Fixed, Flows, Poisson, Rate, Scenario, Server, Work

BASE = Scenario(
    duration=10**9,
    traffic=Flows(flows=16),
    arrivals=Poisson(rate=Rate(1e6, "pps")),
    server=Server(cores=2, cost=Cost(work=Fixed(time=Work(1000)))),
)


def made_up(scenario: Scenario, samples: bool = True) -> Result:
    """A result that depends on the seed and the cores alone; without `samples` it has no extras either."""
    latencies = np.zeros((3, BINS), np.int64)
    latencies[[0, 2, 2], [5, 0, BINS - 1]] = (2**62, 1, 7)
    rng = np.random.default_rng(scenario.seed)
    cores = scenario.server.cores
    processed, busy, dropped = rng.integers(1, 2**60, (3, cores))
    return Result(
        scenario=scenario,
        engine="made up",
        span=10**12,
        offered=int(processed.sum() % 10**6),
        offered_bytes=64 * 10**9,
        delivered=5,
        delivered_bytes=320,
        drops={"ring full": 7},
        latency=replace(Histogram.of(rng.integers(0, 2**62, 50)), total=10**25),
        processed=processed,
        busy=busy,
        dropped=dropped,
        end=10**12,
        samples=Samples(np.arange(4), *rng.integers(0, 2**62, (4, 4, cores)), np.full(4, cores))
        if samples
        else None,
        latencies=latencies if samples else None,
        reordered=0 if samples else None,
        control={"ticks": 3},
        notices=("a notice, µ",),
    )


def same(a: Result, b: Result) -> bool:
    """Whether two results agree in everything the store keeps."""
    plain = [
        (r.scenario, r.engine, r.span, r.offered, r.offered_bytes, r.delivered, r.delivered_bytes, r.end)
        for r in (a, b)
    ]
    rest = [
        (r.latency.total, r.latency.low, r.latency.high, r.drops, r.reordered, r.control, r.notices)
        for r in (a, b)
    ]
    arrays = [
        [r.processed, r.busy, r.dropped, r.latency.counts, *(r.samples or ())]
        + ([] if r.latencies is None else [r.latencies])
        for r in (a, b)
    ]
    return (
        plain[0] == plain[1]
        and rest[0] == rest[1]
        and len(arrays[0]) == len(arrays[1])
        and all(np.array_equal(x, y) and x.dtype == y.dtype for x, y in zip(*arrays, strict=True))
    )
