"""What the model of Cheetah's servers and clients does not know: calibrated on round robin at 100 and 200.

    python -m experiments.calibrate_cheetah > results/calibration/cheetah.csv

Only four published numbers are looked at: the medians of p99 under round robin at 100 and at 200 requests a
second and server, and the mean load of the servers at these rates.

- finish: work of a request after spinning, found by halving an interval until the p99 at 200, `overhead`
  counted in, is right; it rises steeply with this work;
- overhead: the client's own delay, what is then missing of the p99 at 100;
- reading: published load over simulated busy time, at 200;
- spread: over which the client processes start; of those tried, the one whose load at 100 is nearest.

The seeds are not those of the figures (`SEED`), so the figures show how far a calibration carries.
"""

from __future__ import annotations

import sys
from typing import Final, NamedTuple, TextIO

import numpy as np

from experiments import cheetah_testbed as cheetah
from experiments.cheetah_uniform_p99 import SERVERS
from lbsim.engine.run import run
from lbsim.scenario import override
from lbsim.units import MS, US

SEED: Final = 1001
RUNS: Final = 8
P99_MS: Final = {100: 43.1, 200: 330.9}  # published, round robin
LOAD_PCT: Final = {100: 60.0, 200: 94.0}
SPREADS: Final = (40 * MS, 60 * MS, 80 * MS)
LEAST, MOST, STEPS = 1600 * US, 2624 * US, 7  # of finish: between them it is sought, to 8 us


class Seen(NamedTuple):
    """What some runs at one rate showed, medians over the runs."""

    p99_ms: float  # overhead left out
    busy_pct: float


def seen(rate: int, finish: int, spread: int) -> Seen:
    """Return what round robin shows at a rate."""
    base = override(cheetah.scenario("calibration"), {"seed": SEED, **cheetah.paced(SERVERS, rate, 16)})
    rows = []
    for k in range(RUNS):
        changed = {"servers.service.finish": finish, "clients.spread": spread, "clients.overhead": 0}
        result = run(override(base, {**changed, "replication": k}))
        p99 = cheetah.completion_times(result)["p99_ms"]
        rows.append(Seen(p99, cheetah.load_pct(result) / cheetah.READING))
    return Seen(*np.median(np.array(rows), axis=0).tolist())


def calibrate(spread: int) -> dict[str, float]:
    """Return the constants for one spread of the starts, and what they give."""
    low, high = LEAST, MOST
    for _ in range(STEPS):
        finish = (low + high) // 2
        light, heavy = seen(100, finish, spread), seen(200, finish, spread)
        overhead = P99_MS[100] - light.p99_ms
        low, high = (low, finish) if heavy.p99_ms + overhead > P99_MS[200] else (finish, high)
    reading = LOAD_PCT[200] / heavy.busy_pct
    return {
        "spread_ms": spread / MS,
        "finish_us": finish / US,
        "overhead_ms": overhead,
        "reading": reading,
        "p99_100_ms": light.p99_ms + overhead,
        "p99_200_ms": heavy.p99_ms + overhead,
        "load_100_pct": reading * light.busy_pct,
        "load_200_pct": reading * heavy.busy_pct,
    }


def main(out: TextIO = sys.stdout) -> None:
    """Print a row for each spread; the constants in use are those of the row with the right load at 100."""
    out.write("# calibrated on round robin at 100 and 200 requests/s/server, published p99 and load alone\n")
    for k, spread in enumerate(SPREADS):
        row = calibrate(spread)
        if not k:
            out.write(",".join(row) + "\n")
        out.write(",".join(f"{value:.6g}" for value in row.values()) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
