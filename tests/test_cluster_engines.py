"""Clusters in two engines: equal packets, servers that come and go, and control give equal bits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lbsim
from lbsim.balancer import Unit, View, policy
from lbsim.balancer.policies import _REGISTRY
from lbsim.metrics.result import Result
from lbsim.scenario import (
    Batch,
    Batched,
    Change,
    Choosing,
    Cluster,
    Cost,
    CrossRss,
    Deterministic,
    Exponential,
    Fixed,
    Flaps,
    Flows,
    Measure,
    Nic,
    PerBucket,
    Poisson,
    Rss,
    Rsspp,
    RssRoundRobin,
    Scaling,
    Scenario,
    Schedule,
    Server,
    Sprayer,
    Stalls,
    TrafficClasses,
    Updates,
)
from lbsim.units import US

BY_HASH = ("hashed_folded", "hashed", "rendezvous")
POLICIES = ("round_robin", "power_of_two", "least_loaded", "bounded_loads", *BY_HASH)
FEW = ("round_robin", "power_of_two", "hashed_folded")
"""Each policy is compiled anew in every process."""

TABLES = st.one_of(
    st.builds(
        CrossRss,
        period=st.sampled_from(("1us", "3us", "10us", "40us")),
        smoothing=st.sampled_from((0.3, 0.5, 1.0)),
        load=st.sampled_from(("packets", "cpu")),
        credit=st.booleans(),
        maps=st.sampled_from(("start", "live")),
    ),
    st.builds(
        CrossRss,
        period=st.sampled_from(("3us", "10us")),
        counted_by=st.just("balancer"),
        credit=st.booleans(),
    ),
)


def choosing(names: tuple[str, ...]) -> st.SearchStrategy[Choosing]:
    return st.builds(
        Choosing,
        policy=st.sampled_from(names),
        slots=st.none(),
        hash=st.sampled_from(("click", "toeplitz", "crc32c", "ideal")),
        signal=st.sampled_from(("packets", "cpu", "flows")),
        period=st.sampled_from(("1us", "3us", "10us")),
    )


LAWS = st.sampled_from((Fixed(time="7us"), Exponential(mean="5us"), Exponential(mean="20us")))
GOES = st.sampled_from((("drain", 0), ("remove", 0), ("crash", 0), ("crash", "3us"), ("crash", "10us")))
DISPATCHES = st.sampled_from(
    (
        Rss(table=8, key="random:1"),
        Rss(table=2, key="random:1"),
        # Rss(table=16, fill="random"),
        Rsspp(table=8, key="random:1", tick="5us", load_period="5us"),
        Rsspp(table=8, key="random:1", tick="5us", load="cpu", scaling=Scaling(start=1)),
        RssRoundRobin(table=8, tick="3us"),
        TrafficClasses(rules=8, tick="5us", hold="5us", scaling=Scaling(start=1)),
        Sprayer(),
    )
)


@st.composite
def churns(draw: st.DrawFn, servers: int) -> Any:
    do, detect = draw(GOES)
    place = draw(st.sampled_from(("random", "end")))
    kind = draw(st.sampled_from((None, "schedule", "updates", "flaps") if servers > 1 else (None,)))
    if kind == "schedule":
        server = draw(st.integers(0, servers - 1))
        return Schedule(
            changes=(
                Change(at=draw(st.integers(0, 20)) * US, do=do, detect=detect, server=server),
                Change(at=draw(st.integers(32, 60)) * US, do="add", place=place),
            )
        )
    if kind == "updates":
        return Updates(per_minute=6e6, do=do, detect=detect, down=draw(LAWS), place=place)
    if kind == "flaps":
        number = draw(st.integers(1, servers - 1))
        laws = {"up": draw(LAWS), "down": draw(LAWS)}
        return Flaps(servers=number, do=do, detect=detect, place=place, **laws)
    return None


@st.composite
def scenarios(draw: st.DrawFn, names: tuple[str, ...] = FEW) -> Scenario:
    """Small numbers on purpose: ties in time and load, full rings, single servers and cores are common."""
    servers = draw(st.integers(1, 4))
    balancer: CrossRss | Choosing = draw(st.one_of(TABLES, choosing(names)))
    hashed = isinstance(balancer, CrossRss) or balancer.policy in BY_HASH
    dispatch, cores = draw(DISPATCHES), draw(st.integers(1, 2))
    if isinstance(dispatch, Sprayer) and isinstance(balancer, CrossRss):  # refused
        balancer = draw(choosing(names))
        hashed = balancer.policy in BY_HASH
    spare = draw(st.sampled_from((0, 0, 1)))
    state = None
    if not isinstance(dispatch, Sprayer):
        state = draw(st.sampled_from((None, None, PerBucket(lookup="100ns"))))
    gaps = Batched(rate="2Mpps", batch=Batch(base=4.0, law="fixed", gap=0))
    fast = draw(st.booleans())
    return Scenario(
        seed=draw(st.integers(0, 10**6)),
        duration=draw(st.sampled_from(("80us", "150us"))),
        warmup=draw(st.sampled_from((0, "10us"))),
        traffic=Flows(flows=draw(st.sampled_from((2, 8, 40))), popularity=draw(st.sampled_from((0.0, 1.2)))),
        arrivals=draw(st.sampled_from((Deterministic(rate="1Mpps"), Poisson(rate="1Mpps"), gaps))),
        cluster=Cluster(
            servers=servers + spare,
            active=servers,
            balancer=balancer,
            remember=draw(st.booleans()) if hashed else True,
            churn=draw(churns(servers)),
        ),
        nic=Nic(dispatch=dispatch),
        server=Server(
            cores=cores,
            ring=draw(st.sampled_from((1, 3, 16))),
            burst=1 if fast else 4,
            cost=Cost(
                per_batch=0 if fast else "200ns", per_packet=draw(st.sampled_from(("1us", "3us", "5us")))
            ),
            state=state,
            stalls=draw(st.sampled_from((None, None, Stalls(rate=30_000.0, length="4us")))),
        ),
        measure=Measure(interval="10us", packets=draw(st.booleans()), reordering=draw(st.booleans())),
    )


def observed(result: Result) -> dict[str, Any]:
    """Everything that a run says of itself."""
    assert result.samples is not None
    return {
        "summary": {k: v for k, v in result.summary().items() if k != "engine"},
        "samples": [column.tolist() for column in result.samples],
        "packets": result.packets and [column.tolist() for column in result.packets],
        "cores": [result.processed.tolist(), result.busy.tolist(), result.dropped.tolist()],
        "latency": (result.latency.total, np.flatnonzero(result.latency.counts).tolist(), result.end),
    }


@given(scenarios())
@settings(max_examples=60)
def test_the_engines_agree(s: Scenario) -> None:
    assert observed(lbsim.run(s, "compiled")) == observed(lbsim.run(s, "reference"))


@pytest.fixture(scope="module")
def nosy() -> Iterator[None]:
    """A policy that looks at everything there is."""

    @policy(state=1)
    def nosy(view: View, unit: Unit) -> int:
        told = view.now + 3 * view.total + 5 * unit.index + unit.size + 7 * unit.flow + unit.hash
        for k in range(view.n):
            told += (k + 1) * (view.queue[k] + 2 * view.inside[k] + 5 * view.age[k] + view.latency[k])
            told += (k + 3) * view.active[k] + int(100 * view.weight[k])
        view.state[0] = (view.state[0] + told) % 1000
        return (told // 7 + view.state[0]) % view.n

    yield
    del _REGISTRY["nosy"]


@pytest.mark.usefixtures("nosy")
@given(scenarios())
@settings(max_examples=30)
def test_a_policy_sees_the_same_in_both_engines(s: Scenario) -> None:
    seen = {"cluster.balancer": Choosing(policy="nosy", period="10us"), "cluster.remember": True}
    s = lbsim.override(s, seen)
    assert observed(lbsim.run(s, "compiled")) == observed(lbsim.run(s, "reference"))


@pytest.mark.slow
@given(scenarios(POLICIES))
@settings(max_examples=1500)
def test_the_engines_agree_on_thousands_of_clusters(s: Scenario) -> None:
    assert observed(lbsim.run(s, "compiled")) == observed(lbsim.run(s, "reference"))
