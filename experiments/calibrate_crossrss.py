"""Which twins of CrossRSS's trace are like it: as uneven over cores under round robin and hashing.

    python -m experiments.calibrate_crossrss > results/calibration/crossrss.csv

The published runs share one trace, which is not public. Of it two numbers are looked at, the variance over
cores under RR and HASH at half speed (7.24 and 7.75 %). Of `CANDIDATES` recordings the twin is the one
nearest to both, by distance of logarithms, and the next four tell how much is luck. CrossRSS itself, Pow2,
other speeds, drops and servers are looked at by nothing here, and there is no constant to fit: traffic and
cluster are as they are.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd

from experiments import crossrss_testbed as crossrss
from lbsim.engine.run import run
from lbsim.scenario import override

CANDIDATES = range(1, 17)
PUBLISHED = {crossrss.RR: 7.24, crossrss.HASH: 7.75}  # %


def variances(recording: int) -> dict[str, float]:
    """Return the variance over cores under RR and HASH at half speed, in %."""
    base = crossrss.base_scenario("calibrate-crossrss")
    row: dict[str, float] = {"recording": recording}
    for scheme in PUBLISHED:
        way = {"traffic": crossrss.traffic(recording), "cluster.balancer": crossrss.SCHEMES[scheme]}
        row[scheme] = crossrss.measure(run(override(base, way)))["core_variance_pct"]
    return row


def main() -> None:
    """Print every candidate, after the twins."""
    table = pd.DataFrame(variances(recording) for recording in CANDIDATES)
    table["distance"] = sum(np.log(table[name] / value) ** 2 for name, value in PUBLISHED.items()) ** 0.5
    twins = table.nsmallest(1 + len(crossrss.OTHER_TWINS), "distance")["recording"]
    print(
        "# source: published values from the results of CrossRSS (CoNEXT 2020), repository tbarbette/crossrss"
    )
    print(f"# twins, the nearest first: {' '.join(map(str, twins))}")
    table.round(3).to_csv(sys.stdout, index=False)


if __name__ == "__main__":
    main()
