"""The indirection table at the start of a run."""

from __future__ import annotations

import numpy as np

from lbsim.engine.plane import Int64s
from lbsim.nic import dealt, round_robin_table, sprayer_table
from lbsim.scenario import (
    PolicyDispatch,
    Rss,
    Rsspp,
    RssRoundRobin,
    Scaling,
    Scenario,
    Software,
    Sprayer,
    TrafficClasses,
)


def initial_table(scenario: Scenario, classes: int = 0) -> Int64s:
    """Return the core of each bucket at the start, int64[buckets]; empty where no table dispatches.

    Entry i holds core i mod n, with n the cores in use at the start. The rules of `classes` traffic classes
    are dealt in a random order instead; other dispatches ignore `classes`.
    """
    dispatch, cores = scenario.nic.dispatch, scenario.server.cores
    match dispatch:
        case PolicyDispatch() | Software():
            return np.empty(0, np.int64)
        case Sprayer():
            return sprayer_table(cores)
        case TrafficClasses(scaling=scaling, deal=deal):
            return dealt(classes, at_start(scaling, cores), deal)
        case Rss(table=size, grow=grow):
            return round_robin_table(size, grow.start if grow else cores)
        case Rsspp(table=size, scaling=scaling):
            return round_robin_table(size, at_start(scaling, cores))
        case RssRoundRobin(table=size):
            return round_robin_table(size, cores)


def at_start(scaling: Scaling | None, cores: int) -> int:
    """Return how many of the cores are in use at the start."""
    return cores if scaling is None or scaling.start is None else scaling.start
