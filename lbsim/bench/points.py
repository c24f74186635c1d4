"""Two points of a sweep on two processes against one: what a second core brings."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from lbsim.bench.peers import Outcome
from lbsim.bench.server import SCENARIO, lasting
from lbsim.metrics.histogram import Histogram
from lbsim.metrics.result import Result
from lbsim.scenario import override
from lbsim.study.running.executors import Execution
from lbsim.study.running.runner import run_points
from lbsim.units import US

WAYS: Final = {"lbsim, two processes": ("loky", 2), "lbsim, one process": ("inline", 1)}


class Part(NamedTuple):
    """What one point contributes."""

    offered: int
    dropped: int
    latency: Histogram


def two_points(way: tuple[str, int], packets: int, seed: int) -> Outcome:
    """Sweep over two replications that share so many packets, nothing stored beforehand."""
    executor, jobs = way
    base = lasting(SCENARIO, packets / 2)
    scenarios = [override(base, {"replication": 2 * seed + k}) for k in range(2)]
    with TemporaryDirectory() as folder:
        done = run_points(scenarios, Path(folder), _part, execution=Execution(executor, jobs))
    first, second = done.values
    if first is None or second is None:
        raise RuntimeError(done.failures[0].reason)
    offered, latency = first.offered + second.offered, first.latency + second.latency
    drops = (first.dropped + second.dropped) / offered
    return Outcome(offered, latency.mean / US, latency.quantile(0.99) / US, drops)


def _part(result: Result) -> Part:
    return Part(result.offered, sum(result.drops.values()), result.latency)
