"""Cheetah's Section 2 against the same simulation as one writes it in plain Python (`engine.section2.plain`).

Same seed, same draws, and at the end the same numbers to the last digit. A unit is a connection.
"""

from __future__ import annotations

import math
from typing import Final

from lbsim.bench.peers import Outcome
from lbsim.engine.section2 import plain
from lbsim.engine.section2.dip import Churn, dip
from lbsim.engine.section2.events import durations
from lbsim.engine.section2.imbalance import PLACEMENTS, Cluster, Placement, imbalance

CONNECTIONS: Final = 10_000
"""Under way on average, at 468 servers: the fewest that were published."""

CONNECTION_S: Final = durations().mean
SETTLED_S: Final = 400.0
"""The least that is simulated: imbalance is measured from 90% of the mean load on, after some 200 s."""

LEAST: Final = math.ceil(CONNECTIONS / CONNECTION_S * SETTLED_S)
"""Connections of the shortest run."""

CASES: Final = ("dip", *PLACEMENTS)
MEASURED: Final = "section 2, {}"


def lbsim(case: str, connections: int, seed: int) -> Outcome:
    """Run about so many connections in the compiled kernel; `mean` is what the simulation yields."""
    if case == "dip":
        broken = dip(_churn(connections), seed)
        return Outcome(broken.connections, broken.percent, math.nan, 0.0)
    run = imbalance(_placement(case), _cluster(connections), seed)
    return Outcome(run.connections, run.percent, math.nan, 0.0)


def python(case: str, connections: int, seed: int) -> Outcome:
    """Do the same in plain Python."""
    if case == "dip":
        broken = plain.dip(_churn(connections), seed)
        return Outcome(broken.connections, broken.percent, math.nan, 0.0)
    run = plain.imbalance(_placement(case), _cluster(connections), seed)
    return Outcome(run.connections, run.percent, math.nan, 0.0)


def _cluster(connections: int) -> Cluster:
    return Cluster(CONNECTIONS, end=connections * CONNECTION_S / CONNECTIONS)


def _churn(connections: int) -> Churn:
    """Return the published churn at 10 updates a minute."""
    end = connections * CONNECTION_S / CONNECTIONS
    return Churn(updates=10, rule="every-move", connections=CONNECTIONS, end=end)


def _placement(case: str) -> Placement:
    return next(placement for placement in PLACEMENTS if placement == case)
