"""Exact oracles and closed-form queueing theory for one core."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lbsim
from lbsim.engine.compiled import CompiledPlane
from lbsim.engine.kernels import Machine
from lbsim.engine.plane import Clock, Tally
from lbsim.engine.reference import ReferencePlane, Rings
from lbsim.engine.rings import FifoRings, PolledRings
from lbsim.scenario import Bimodal, Cost, Exponential, Fixed, Flows, Law, Lognormal, Pareto, Poisson, Server
from lbsim.units import US
from lbsim.workload import laws
from lbsim.workload.packets import Packets


def serve(
    arrivals: list[int],
    services: list[int],
    engine: str,
    ring: int = 10_000,
    burst: int = 1,
    per_batch: int = 0,
) -> Tally:
    """Run packets through one core."""
    n = len(arrivals)
    none, frame = np.zeros(n, np.int32), np.full(n, 100, np.int32)
    packets = Packets(np.array(arrivals, np.int64), none, none, frame, np.array(services, np.int64))
    machine, table = Machine(ring, burst, per_batch, 0, 0), np.zeros(1, np.int64)
    if engine == "reference":
        env = Clock()
        reference = ReferencePlane(env, iter([packets]), machine, Rings(env, machine, 1, table), log=True)
        env.run()
        return reference.finish()
    bank = FifoRings(machine, 1, table) if engine == "fifo" else PolledRings(machine, 1, table)
    return CompiledPlane(iter([packets]), machine, bank, log=True).finish()


def departures(tally: Tally) -> list[int]:
    assert tally.log is not None
    return [int(d) for d in tally.log.departure]


ENGINES = pytest.mark.parametrize("engine", ["fifo", "poll", "reference"])


@ENGINES
@given(data=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=50))
def test_lindley(engine: str, data: list[tuple[int, int]]) -> None:
    gaps, services = zip(*data, strict=True)
    arrivals = np.cumsum(gaps).tolist()
    wait, waits = 0, [0]
    for k in range(1, len(data)):  # W' = max(0, W + S - A), Lindley 1952
        wait = max(0, wait + services[k - 1] - gaps[k])
        waits.append(wait)
    expected = [a + w + s for a, w, s in zip(arrivals, waits, services, strict=True)]
    assert departures(serve(arrivals, list(services), engine)) == expected


@ENGINES
def test_d_d_1(engine: str) -> None:
    under = serve(list(range(0, 1000, 10)), [7] * 100, engine)
    assert (under.latency.low, under.latency.high, under.latency.mean) == (7, 7, 7.0)
    over = serve(list(range(0, 700, 7)), [10] * 100, engine)
    assert departures(over) == [10 * (k + 1) for k in range(100)]


@ENGINES
def test_tail_drop_by_hand(engine: str) -> None:
    # Two slots, ten units of work each. 0 and 1 fill the ring; 2 finds it full; at 10 the first departs
    # before the arrival of that instant, which is taken; 11 finds the ring full again; 20 is like 10.
    tally = serve([0, 1, 2, 10, 11, 20], [10] * 6, engine, ring=2)
    assert departures(tally) == [10, 20, -1, 30, -1, 40]
    assert (sum(tally.drops.values()), tally.offered) == (2, 6)


@pytest.mark.parametrize("engine", ["poll", "reference"])
def test_batches_by_hand(engine: str) -> None:
    # A poll costs 5, a packet 10. 0 is polled alone, done at 15; then 1, 2 and 3 wait, two are polled:
    # 15 + 5 + 20 = 40; the last alone: 40 + 5 + 10 = 55.
    assert departures(serve([0, 1, 2, 3], [10] * 4, engine, burst=2, per_batch=5)) == [15, 40, 40, 55]


SERVICE = 1 * US
REPLICATIONS = 10


def queue(work: Law, load: float, *, ring: int = 1 << 20, packets: int = 300_000) -> list[lbsim.Result]:
    """Independent replications of a queue with Poisson arrivals on one core."""
    return [
        lbsim.run(
            lbsim.Scenario(
                seed=7,
                replication=r,
                duration=round(packets * SERVICE / load),
                warmup=round(packets / 20 * SERVICE / load),
                traffic=Flows(flows=16),
                arrivals=Poisson(load=load),
                server=Server(cores=1, ring=ring, burst=1, cost=Cost(work=work)),
            )
        )
        for r in range(REPLICATIONS)
    ]


def within(samples: list[float], theory: float) -> None:
    """The 99.9 % interval of the replications holds the theory's value, and is tight enough to say so."""
    interval = lbsim.mean_interval(samples, level=0.999)
    assert interval.low <= theory <= interval.high, f"{interval} does not hold {theory}"
    assert interval.high - interval.low < 0.2 * theory


def test_m_m_1() -> None:
    runs, load = queue(Exponential(mean="1us"), 0.7), 0.7
    within([r.latency.mean for r in runs], SERVICE / (1 - load))
    within([r.latency.quantile(0.99) for r in runs], -np.log(0.01) * SERVICE / (1 - load))
    within([float(r.busy[0] / r.end) for r in runs], load)


# Pollaczek and Khinchine: mean sojourn = E[S] + load E[S²] / (2 E[S] (1 - load)), E[S²] from the law alone.
M_G_1 = {
    "deterministic": (Fixed(time="1us"), laws.fixed(SERVICE)),
    "lognormal": (Lognormal(mean="1us", cv=1.5), laws.lognormal(SERVICE, 1.5)),
    "bimodal": (
        Bimodal(short="0.5us", long="5.5us", share_long=0.1),
        laws.bimodal(US // 2, 11 * US // 2, 0.1),
    ),
    "pareto": (Pareto(mean="1us", alpha=4.5), laws.pareto(SERVICE, 4.5)),
}


@pytest.mark.parametrize("law", M_G_1)
def test_m_g_1(law: str) -> None:
    work, moments = M_G_1[law]
    load = 0.6
    wait = load * moments.second_moment / (2 * moments.mean * (1 - load))
    within([r.latency.mean for r in queue(work, load)], moments.mean + wait)


@pytest.mark.parametrize(("places", "load"), [(1, 0.5), (4, 0.9), (10, 1.3)])
def test_m_m_1_k_loss(places: int, load: float) -> None:
    runs = queue(Exponential(mean="1us"), load, ring=places, packets=100_000)
    theory = (1 - load) * load**places / (1 - load ** (places + 1))
    within([r.drop_share for r in runs], theory)
