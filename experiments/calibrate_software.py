"""What a queue in memory costs: the constants of software dispatch, fitted on "SW RR" of RSS++'s Fig. 14.

    python -m experiments.calibrate_software > results/calibration/software.csv

Only the 16 throughputs of SW RR are looked at. The dispatcher polls its ring at the cost of any poll
(`PER_BATCH` of the testbed); what is left is fitted at 1 GHz by simulation:

- hand_over: up to 8 workers all are busy, and each is slower than under RSS by what taking a packet costs;
- contention: from 9 on most poll in vain, which slows the dispatcher, which starves them; where this trap
  shuts depends on the same constant;
- per_packet: what the dispatcher spends on a packet if nobody polls in vain.

The sum of squared logarithms of simulated / published is made least by a pattern search: from `START`, a step
up and down in each constant, the best of them taken while there is a better one, then all steps halved,
`HALVINGS` times. The same seed for all, so the result is reproducible to the digit. SW shared queue is
printed beside, a prediction: its published points are looked at by nothing but this table.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import cache
from typing import NamedTuple, TextIO

import pandas as pd

from experiments import rsspp_testbed as rsspp
from experiments.rsspp_fig14 import DRAWS
from lbsim.engine.run import run
from lbsim.scenario import Flows, Measure, Nic, Scenario, Server, Work
from lbsim.scenario.dispatch import Software
from lbsim.units import MS, NS

WARMUP, DURATION = 100 * MS, 1000 * MS
FRAME = 1002  # bytes, the mean of Campus #4
FITTED, PREDICTED = ("SW RR", "round_robin"), ("SW shared queue", "shared")


class Constants(NamedTuple):
    """What is fitted, in ps at 1 GHz."""

    per_packet: int
    hand_over: int
    contention: int


START = Constants(100 * NS, 1000 * NS, 200 * NS)
STEPS = Constants(100 * NS, 200 * NS, 40 * NS)
HALVINGS = 3


def scenario(queues: str, workers: int, constants: Constants) -> Scenario:
    """Return Fig. 14 as a short run, with frames of the mean length."""
    per_batch = Work(round(rsspp.PER_BATCH * rsspp.SLOW_CORE))
    costs = {name: Work(value) for name, value in constants._asdict().items()}
    dispatch = Software.model_validate({"queues": queues, "per_batch": per_batch, **costs})
    return Scenario(
        name="calibrate-software",
        duration=DURATION,
        traffic=Flows(flows=1, frame=FRAME),
        arrivals=rsspp.from_memory(rsspp.GENERATOR_LIMIT),
        nic=Nic(dispatch=dispatch),
        server=Server(
            cores=workers,
            ring=rsspp.RING,
            burst=rsspp.BURST,
            cost=rsspp.cost(DRAWS, rsspp.SLOW_CORE),
            stalls=rsspp.STALLS,
        ),
        measure=Measure(interval=WARMUP),
    )


def throughput(queues: str, workers: int, constants: Constants) -> float:
    """Return the rate at which packets leave the workers after the warm-up, in Gb/s with 24 bytes a frame."""
    packets = run(scenario(queues, workers, constants)).series("packets")
    rate = packets.iloc[1:, :workers].sum(axis=1).mean()
    return float(rate * (FRAME + 24) * 8 / 1e9)


def published(series: str) -> dict[int, float]:
    """Return the published throughput in Gb/s by number of workers."""
    points = pd.read_csv(rsspp.published("rsspp-fig14"), comment="#").query("series == @series")
    return dict(zip(points["x"].astype(int).tolist(), points["value"].tolist(), strict=True))


def error(constants: Constants) -> float:
    """Return the sum of squared log errors over all points of SW RR."""
    series, queues = FITTED
    return sum(
        math.log(throughput(queues, workers, constants) / measured) ** 2
        for workers, measured in published(series).items()
    )


def search(error: Callable[[Constants], float]) -> tuple[Constants, float]:
    """Return the constants of least error that the pattern search finds, and that error."""
    best, steps, halvings = START, STEPS, 0
    while True:
        near = [
            best._replace(**{name: max(0, getattr(best, name) + step)})
            for name, size in steps._asdict().items()
            for step in (size, -size)
        ]
        nearest = min(near, key=error)
        if error(nearest) < error(best):
            best = nearest
        elif halvings == HALVINGS:
            return best, error(best)
        else:
            steps, halvings = Constants(*(step // 2 for step in steps)), halvings + 1


def table(constants: Constants) -> pd.DataFrame:
    """Return published beside simulated throughput, one row a series and number of workers."""
    rows = [
        (series, workers, measured, throughput(queues, workers, constants))
        for series, queues in (FITTED, PREDICTED)
        for workers, measured in published(series).items()
    ]
    out = pd.DataFrame(rows, columns=["series", "workers", "published_gbps", "simulated_gbps"])
    out["ratio"] = out["simulated_gbps"] / out["published_gbps"]
    return out


def main(out: TextIO) -> None:
    """Fit, then write the constants as comments and the comparison as CSV."""
    constants, least = search(cache(error))
    points = table(constants)
    print("# source: published values from rsspp/experiments, BSD 3-Clause, (c) 2019 RSS++", file=out)
    for name, value in constants._asdict().items():
        print(
            f"# {name}: {value / NS:g} ns at 1 GHz, {value / NS / rsspp.SLOW_CORE:.1f} ns at full clock",
            file=out,
        )
    rms = math.sqrt(least / len(published(FITTED[0])))
    print(f"# r.m.s. log error over {FITTED[0]}: {rms:.4f}; {PREDICTED[0]} is predicted", file=out)
    points.round(3).to_csv(out, index=False)


if __name__ == "__main__":
    main(sys.stdout)
