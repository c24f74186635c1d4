"""What the studies of Cheetah's Section 2 share: its scale, its seeds, how rows become a table and claims.

The published numbers come from the authors' own simulation; `lbsim.engine.section2` does the same work
draw by draw. Every row of a table is one run, a pure function of its point.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pandas as pd

from lbsim.study import Claim, Tables

SERVERS: Final = 468  # NSDI 2020, Section 2: a cluster of SilkRoad (SIGCOMM 2017)
TARGET: Final = 70_000  # connections active at a time, published command lines of the figures on updates
BEAMER_BUCKETS: Final = 46_800  # 100 a server: bucket column of the published results
MEAN_DURATION: Final = 21.334  # s, of the Hadoop durations
PUBLISHED_SEED: Final = 1  # default of the published command line
SEEDS: Final = (1, 2, 3, 4, 5)
AS_PUBLISHED, INTENDED = "as published", "intended"  # how the balancer and the counting are taken


def published(study: str) -> Path:
    """Return the CSV of a study's published points."""
    return Path(__file__).parent / "data" / f"{study.replace('-', '_')}.csv"


def values(tables: Tables, study: str, query: str, column: str) -> pd.Series:
    """Return a column of the rows that match, one a seed; ValueError where none does."""
    rows = tables[study].query(query)
    if rows.empty:
        raise ValueError(f"no row of {study} has {query}")
    return rows.set_index("seed")[column]


def over_seeds(id_: str, study: str, query: str, column: str) -> Claim:
    """Return the claim on the mean over the seeds, the value of each beside it."""

    def beside(tables: Tables) -> str:
        each = values(tables, study, query, column)
        return f"mean of {len(each)} seeds: " + ", ".join(f"{value:.4g}" for value in each)

    return Claim(id_, lambda tables: float(values(tables, study, query, column).mean()), beside)
