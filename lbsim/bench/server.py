"""The server of the bench as an lbsim scenario, and its runs."""

from __future__ import annotations

from functools import cache
from typing import Final

from lbsim.bench.peers import Outcome, Server
from lbsim.engine.run import Engine, run
from lbsim.engine.source import open_source
from lbsim.nic import bucket_of, round_robin_table
from lbsim.scenario import Arrivals, Cost, Flows, Lognormal, Nic, Poisson, Rss, Scenario, Work, override
from lbsim.scenario import Server as Cores
from lbsim.units import SECOND, US

FRAME: Final = 1000  # bytes
SCENARIO: Final = Scenario(
    name="rss-8-cores",
    duration=SECOND,
    traffic=Flows(flows=4096, frame=FRAME),
    arrivals=Poisson(load=0.8),
    nic=Nic(dispatch=Rss(table=512)),
    server=Cores(cores=8, ring=512, burst=1, cost=Cost(work=Lognormal(mean=Work(US), cv=1.0))),
)


@cache
def the_server(seed: int) -> Server:
    """Return what the other simulators need to know of replication `seed`: above all, each flow's core."""
    s = override(SCENARIO, {"replication": seed})
    entries = s.nic.dispatch.table  # type: ignore[union-attr]
    cores = round_robin_table(entries, s.server.cores)[bucket_of(open_source(s).hashes, entries)]
    return Server(cores.tolist(), s.server.cores, _load(s), s.server.ring)


def lasting(scenario: Scenario, packets: float) -> Scenario:
    """Return a scenario of a given load as long as about so many packets take."""
    duration = round(packets * SECOND / scenario.server.capacity(FRAME) / _load(scenario))
    return override(scenario, {"duration": max(1, duration)})


def run_lbsim(engine: Engine, packets: int, seed: int) -> Outcome:
    """Run replication `seed` for about so many packets."""
    result = run(override(lasting(SCENARIO, packets), {"replication": seed}), engine)
    latency = result.latency
    return Outcome(result.offered, latency.mean / US, latency.quantile(0.99) / US, result.drop_share)


def _load(scenario: Scenario) -> float:
    """Return the load of a scenario that says how fast packets come by it."""
    assert isinstance(scenario.arrivals, Arrivals)
    assert scenario.arrivals.load is not None
    return scenario.arrivals.load
