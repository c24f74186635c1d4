"""Which twins of CrossRSS's trace are like it: as uneven over cores under round robin and hashing.

    python -m experiments.calibrate_crossrss > results/calibration/crossrss.csv

The published runs share one trace, which is not public. Of it two numbers are looked at, the variance over
cores under RR and HASH at half speed (7.24 and 7.75 %). `SKEWS` is how uneven large flows spread over the
sums of their bytes; for each, `CANDIDATES` recordings are drawn. The skew is that whose mean of both
variances over all recordings is nearest to the published mean; the twins are the five of its recordings that
are nearest to both. Distances are of logarithms. CrossRSS itself, Pow2, other speeds, drops and servers are
looked at by nothing here.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd

from experiments import crossrss_testbed as crossrss
from lbsim.engine.run import run
from lbsim.scenario import override

SKEWS = (0.0, 0.4, 0.8)
CANDIDATES = range(1, 17)
PUBLISHED = {crossrss.RR: 7.24, crossrss.HASH: 7.75}  # %


def variances(skew: float, recording: int) -> dict[str, float]:
    """Return the variance over cores under RR and HASH at half speed, in %."""
    base = crossrss.base_scenario("calibrate-crossrss")
    row: dict[str, float] = {"skew": skew, "recording": recording}
    for scheme in PUBLISHED:
        way = {
            "traffic.recording": recording,
            "traffic.skew": skew,
            "cluster.balancer": crossrss.SCHEMES[scheme],
        }
        row[scheme] = crossrss.measure(run(override(base, way)))["core_variance_pct"]
    return row


def main() -> None:
    """Print every candidate, then the skew and the recordings."""
    table = pd.DataFrame(variances(skew, recording) for skew in SKEWS for recording in CANDIDATES)
    table["distance"] = sum(np.log(table[name] / value) ** 2 for name, value in PUBLISHED.items()) ** 0.5
    means = table.groupby("skew")[list(PUBLISHED)].mean().mean(axis=1)
    skew = abs(np.log(means) - np.log(np.mean(list(PUBLISHED.values())))).idxmin()
    twins = table[table["skew"] == skew].nsmallest(5, "distance")["recording"].sort_values().tolist()
    print(
        "# source: published values from the results of CrossRSS (CoNEXT 2020), repository tbarbette/crossrss"
    )
    print(f"# skew: {skew:g}; recordings: {' '.join(map(str, twins))}")
    table.round(3).to_csv(sys.stdout, index=False)


if __name__ == "__main__":
    main()
