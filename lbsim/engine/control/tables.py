"""The indirection table at the start of a run."""

from __future__ import annotations

import numpy as np

from lbsim.engine.plane import Int64s
from lbsim.nic import dealt, random_table, round_robin_table, sprayer_table
from lbsim.scenario import (
    AnyDispatch,
    FlowDirector,
    Metron,
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
from lbsim.scenario.metron import RSS_ENTRIES


def initial_table(scenario: Scenario, classes: int = 0) -> Int64s:
    """Return the core of each bucket at the start, int64[buckets]; empty where no table dispatches.

    The rules of `classes` traffic classes are dealt; other dispatches ignore `classes`. In a pipeline
    buckets have the first cores of lanes. The tables of the servers of a cluster follow one another.
    """
    dispatch, cores = scenario.nic.dispatch, scenario.server.cores
    stages = len(scenario.chain.stages) if scenario.chain else 1
    servers = scenario.cluster.servers if scenario.cluster else 1
    tables = (table_of(dispatch, cores // stages, classes, server) for server in range(servers))
    return np.concatenate([table * stages + server * cores for server, table in enumerate(tables)])


def table_of(dispatch: AnyDispatch, cores: int, classes: int = 0, server: int = 0) -> Int64s:
    """Return the table of one server, whose cores count from 0.

    Entry i holds core i mod n, with n the cores in use at the start. Rules are dealt in a random order
    instead, each server in its own; a table that is filled at random is drawn with the server's number.
    """
    match dispatch:
        case PolicyDispatch() | Software():
            return np.empty(0, np.int64)
        case Sprayer():
            return sprayer_table(cores)
        case TrafficClasses(scaling=scaling, deal=deal):
            return dealt(classes, at_start(scaling, cores), deal + server)
        case Metron(scope="rss", scaling=scaling):
            return round_robin_table(RSS_ENTRIES, at_start(scaling, cores))
        case Metron(scaling=scaling, deal=deal):
            return dealt(classes, at_start(scaling, cores), deal + server)
        case FlowDirector(table=size, entries=entries):  # a rule has a bucket of its own, behind those of RSS
            return np.concatenate([round_robin_table(size, cores), np.arange(entries) % cores])
        case Rss(table=size, fill="random"):
            return random_table(size, cores, server)
        case Rss(table=size, grow=grow):
            return round_robin_table(size, grow.start if grow else cores)
        case Rsspp(table=size, scaling=scaling):
            return round_robin_table(size, at_start(scaling, cores))
        case RssRoundRobin(table=size):
            return round_robin_table(size, cores)
    raise AssertionError(dispatch)


def at_start(scaling: Scaling | None, cores: int) -> int:
    """Return how many of the cores are in use at the start."""
    return cores if scaling is None or scaling.start is None else scaling.start
