"""Contradictions between the parts of a scenario: each refused in words, and gone once mended as they say."""

from __future__ import annotations

import pytest

from lbsim.scenario import (
    Closed,
    Cost,
    Fixed,
    FlowDirector,
    Flows,
    Grow,
    Measure,
    Metron,
    NicLimit,
    PerBucket,
    Poisson,
    PolicyDispatch,
    QueueLimit,
    Rss,
    Rsspp,
    Scaling,
    Scenario,
    ScenarioError,
    Server,
    Shared,
    Software,
    Sprayer,
    TrafficClasses,
    Work,
    override,
)
from lbsim.scenario.sense import series_problems
from lbsim.scenario.traffic import AnyArrivals
from lbsim.units import MS, NS, SECOND, US

CLOSED = Closed(link="100Gbps", window=30.0, delay="50us")


def scenario(arrivals: AnyArrivals | None = None, burst: int = 32) -> Scenario:
    return Scenario(
        duration="1s",
        traffic=Flows(flows=100, frame=1514),
        arrivals=arrivals or Poisson(rate="2Mpps"),
        server=Server(cores=4, burst=burst, cost=Cost(work=Fixed(time="1us"))),
    )


OPEN, LOOP = scenario(), scenario(CLOSED, burst=1)
CASES = [  # what is said, of what, deserved by which changes, and what mends it
    # closed loops
    (
        "arrivals.kind: closed, but traffic of kind campus does not wait for answers; write traffic",
        LOOP,
        {"traffic": {"kind": "campus", "trace": "campus"}},
        {"traffic": Flows()},
    ),
    (
        "arrivals.kind: closed, but traffic of kind capture does not wait",
        LOOP,
        {"traffic": {"kind": "capture", "file": "x"}},
        {"arrivals": {"kind": "recorded", "speed": 1.0}},
    ),
    (
        "traffic.popularity: 1.2, but in a closed loop windows tell flows apart; write 0",
        LOOP,
        {"traffic.popularity": 1.2},
        {"traffic.popularity": 0.0},
    ),
    (
        'traffic.frame: "imix", but the frames of a closed loop have one size; write bytes, e.g. 1514',
        LOOP,
        {"traffic.frame": "imix"},
        {"traffic.frame": 1514},
    ),
    (
        "arrivals.window: 101 packets of each of 100000 flows are under way, at most 1e+07 of all; lower it",
        LOOP,
        {"traffic.flows": 10**5, "arrivals.window": 101.0},
        {"arrivals.window": 100.0},
    ),
    (
        'arrivals.link: 8Mpps counts packets; write bits, e.g. "100Gbps"',
        LOOP,
        {"arrivals.link": "8Mpps"},
        {"arrivals.link": "8Mbps"},
    ),
    (
        "arrivals.profile: unknown field of kind closed; it belongs to kind poisson or",
        LOOP,
        {"arrivals.profile": {"every": SECOND, "factors": [1.0]}},
        {"arrivals.profile": None},
    ),
    *(
        (
            f"nic.dispatch.kind: {dispatch.kind}, but a closed loop needs a table that names the core of",
            LOOP,
            {"nic.dispatch": dispatch},
            {"nic.dispatch": {"kind": kind}},
        )
        for dispatch, kind in (
            (Sprayer(), "rss"),
            (Software(), "rss++"),
            (PolicyDispatch(policy="random"), "rssrr"),
            (Sprayer(), "classes"),
        )
    ),
    (
        "server.burst: 2, but a closed loop is served packet by packet; write 1",
        LOOP,
        {"server.burst": 2},
        {"server.burst": 1},
    ),
    (
        "server.cost.per_batch: 1us, but a closed loop is served packet by packet; write 0 and",
        LOOP,
        {"server.cost.per_batch": "1us"},
        {"server.cost.per_batch": 0, "server.cost.per_packet": "1us"},
    ),
    (
        "server.stalls: given, but cores that serve a closed loop never stall; leave it out",
        LOOP,
        {"server.stalls": {"rate": 1.0, "length": "1ms"}},
        {"server.stalls": None},
    ),
    (
        "server.state: per_bucket, but cores that serve a closed loop keep no state; leave it out, and add",
        LOOP,
        {"server.state": PerBucket()},
        {"server.state": None},
    ),
    (
        "measure.packets: true, but a closed loop has no log of its packets; write false",
        LOOP,
        {"measure.packets": True},
        {"measure.packets": False},
    ),
    (
        "measure.reordering: true, but a closed loop never reorders a flow's packets; write false",
        LOOP,
        {"measure.reordering": True},
        {"measure.reordering": False},
    ),
    # cores in use
    (
        "server.cores: 4 cores share the 2 entries of nic.dispatch.table; lower it or raise",
        OPEN,
        {"nic.dispatch.kind": "rssrr", "nic.dispatch.table": 2},
        {"nic.dispatch.table": 4},
    ),
    (
        "server.cores: 4 cores share 3 rules; lower it or raise nic.dispatch.rules",
        OPEN,
        {"nic.dispatch": TrafficClasses(rules=3)},
        {"nic.dispatch.rules": 4},
    ),
    (
        "nic.dispatch.grow.start: 5, but server.cores is 4; write 1 to 4",
        OPEN,
        {"nic.dispatch": Rss(grow=Grow(start=5, every="1s"))},
        {"nic.dispatch.grow.start": 4},
    ),
    (
        "nic.dispatch.scaling.start: 5, but server.cores is 4; write 1 to 4",
        OPEN,
        {"nic.dispatch": Rsspp(scaling=Scaling(start=5))},
        {"nic.dispatch.scaling.start": 4},
    ),
    (
        "nic.dispatch.scaling.least: 5, but server.cores is 4; write 1 to 4",
        OPEN,
        {"nic.dispatch": TrafficClasses(scaling=Scaling(least=5))},
        {"nic.dispatch.scaling.least": 4},
    ),
    (
        "nic.dispatch.scaling.start: 1 is below least 2; raise start or lower least",
        OPEN,
        {"nic.dispatch.kind": "rss++", "nic.dispatch.scaling": {"start": 1, "least": 2}},
        {"nic.dispatch.scaling.start": 2},
    ),
    (
        "nic.dispatch.scaling: given, but controller is false; leave scaling out or write true",
        OPEN,
        {"nic.dispatch.kind": "classes", "nic.dispatch.controller": False, "nic.dispatch.scaling.start": 2},
        {"nic.dispatch.controller": True},
    ),
    # state
    *(
        (
            f"server.state.kind: per_bucket, but {dispatch.kind} has no table whose buckets own flows; write",
            OPEN,
            {"nic.dispatch": dispatch, "server.state": PerBucket()},
            mend,
        )
        for dispatch, mend in (
            (Sprayer(), {"server.state.kind": "shared"}),
            (Software(), {"nic.dispatch.kind": "rss"}),
            (PolicyDispatch(policy="random"), {"nic.dispatch.kind": "classes"}),
        )
    ),
    *(
        (
            f"server.state.kind: shared is not simulated where {dispatch.kind} dispatches; leave",
            OPEN,
            {"nic.dispatch": dispatch, "server.state": Shared()},
            mend,
        )
        for dispatch, mend in (
            (Software(), {"server.state": None}),
            (PolicyDispatch(policy="random"), {"nic.dispatch.kind": "sprayer"}),
        )
    ),
    (
        "server.state.lock: 1500001ps, but a packet costs about 1500ns, and a lock is held for part of that",
        OPEN,
        {
            "server.state": Shared(lookup=Work(500_000), lock=Work(1_500_001)),
            "server.cost.per_batch": "9us",
        },
        {"server.state.lock": 1_500_000},
    ),
    (
        "server.state.lookup: 7cycles need a clock; set server.clock",
        OPEN,
        {"server.state": {"kind": "shared", "lookup": "7cycles"}},
        {"server.clock": 1e9},
    ),
    (
        "server.state.contention: 1000s for 12 pairs of cores make hours; write less",
        OPEN,
        {"server.state": Shared(contention=Work(1000 * SECOND))},
        {"server.cores": 2},
    ),
    (
        "server.cost.per_byte: 1s make hours of the largest",
        OPEN,
        {"server.cost.per_byte": "1s"},
        {"server.cost.per_byte": "0.9s"},
    ),
    # software dispatch
    (
        'nic.dispatch.hand_over: 7cycles need a clock; set server.clock, e.g. "3.7GHz", or write a time',
        OPEN,
        {"nic.dispatch": Software(hand_over=Work(7, "cycles"))},
        {"server.clock": 1e9},
    ),
    (
        "nic.dispatch.contention: 3000s make 1.2e+16 ps, at most 2.5 hours; write less",
        OPEN,
        {"nic.dispatch": Software(contention=Work(3000 * SECOND))},
        {"server.cores": 3},
    ),
    # records
    (
        'measure.latency: true, but there is no measure.interval; set it, e.g. "1s"',
        OPEN,
        {"measure.latency": True},
        {"measure.interval": MS},
    ),
    (
        "measure.latency: true keeps 10001 histograms, at most 10000; write measure.interval 100us or more",
        OPEN,
        {"measure": Measure(latency=True, interval=SECOND // 10_000 - 1000)},
        {"measure.interval": 100 * US},
    ),
    (
        "measure.reordering: true, but is not counted where a policy chooses; write false or another kind",
        OPEN,
        {"measure.reordering": True, "nic.dispatch": PolicyDispatch(policy="random")},
        {"nic.dispatch.kind": "software"},
    ),
    # dispatch by rules
    (
        "server.cores: 65 cores share 64 rules; lower it or raise nic.dispatch.rules",
        OPEN,
        {"server.cores": 65, "nic.dispatch": Metron(rules=64)},
        {"nic.dispatch.rules": 65},
    ),
    (
        "server.cores: 513 cores share the 512 entries of metron in scope rss; lower it to 512",
        OPEN,
        {"server.cores": 513, "nic.dispatch": Metron(scope="rss", rules=64)},
        {"server.cores": 512},
    ),
    (
        "server.cores: 65 cores share the 64 entries of nic.dispatch.table; lower it or raise",
        OPEN,
        {"server.cores": 65, "nic.dispatch": FlowDirector(table=64)},
        {"nic.dispatch.table": 128},
    ),
    (
        "nic.dispatch.scaling.start: 5, but server.cores is 4; write 1 to 4",
        OPEN,
        {"nic.dispatch": Metron(scaling=Scaling(start=5))},
        {"nic.dispatch.scaling.start": 4},
    ),
    (
        "nic.dispatch.controller: agent, but in scope rss only the global controller scales",
        OPEN,
        {"nic.dispatch": {"kind": "metron", "scope": "rss", "controller": "agent"}},
        {"nic.dispatch.controller": "none"},
    ),
    (
        "server.state.kind: per_bucket, but flow_director has no table whose buckets own flows; write shared",
        OPEN,
        {"nic.dispatch": FlowDirector(), "server.state": PerBucket()},
        {"server.state": Shared()},
    ),
    (
        "nic.dispatch.kind: flow_director, but a closed loop needs a table that names the core of a flow",
        LOOP,
        {"nic.dispatch.kind": "flow_director"},
        {"nic.dispatch.kind": "metron"},
    ),
    (
        "nic.dispatch.migration: 1us, but cores that serve a closed loop never stall; write 0",
        LOOP,
        {"nic.dispatch": Metron(migration=US)},
        {"nic.dispatch.migration": 0},
    ),
    # the table and what the NIC takes
    (
        "nic.dispatch.fill: random, but cores that come into use write the table anew, in turn",
        OPEN,
        {"nic.dispatch": Rss(fill="random", grow=Grow(every=SECOND))},
        {"nic.dispatch.fill": "turn"},
    ),
    (
        "nic.queue: per_packet and per_byte are 0, which limits nothing; write one of them",
        OPEN,
        {"nic.queue": {"per_packet": 0}},
        {"nic.queue.per_byte": 80},
    ),
    (
        "nic.queue: given, but where software dispatches, the one queue is that of the dispatcher",
        OPEN,
        {"nic.queue": QueueLimit(per_packet=NS), "nic.dispatch": Software()},
        {"nic.queue": None},
    ),
    (
        "nic.queue: it makes hours of the largest frame; write less",
        OPEN,
        {"nic.queue": QueueLimit(per_byte=SECOND)},
        {"nic.queue.per_byte": SECOND // 2},
    ),
    (
        "nic.queue: given, but is not simulated in a closed loop, whose rate is that of arrivals.link",
        LOOP,
        {"nic.queue": QueueLimit(per_byte=1)},
        {"nic.queue": None},
    ),
    (
        "nic.limit: given, but is not simulated in a closed loop, whose rate is that of arrivals.link",
        LOOP,
        {"nic.limit": NicLimit(rate="1Mpps")},
        {"nic.limit": None},
    ),
    (
        "nic.limit.burst: 1048576 of the largest frames take 90 days at 10kbps, at most 53",
        OPEN,
        {"nic.limit": NicLimit(rate="10kbps", burst=2**20)},
        {"nic.limit.burst": 2**19},
    ),
    # hardware
    (
        'server.cost.work.time: 700cycles need a clock; set server.clock, e.g. "3.7GHz", or write a time',
        OPEN,
        {"server.cost.work.time": "700cycles"},
        {"server.hardware": "rsspp"},
    ),
    (
        "nic.dispatch.per_packet: 7cycles need a clock; set server.clock",
        OPEN,
        {"nic.dispatch": Software(per_packet="7cycles")},
        {"server.hardware": "rsspp"},
    ),
    # profiles
    (
        "arrivals.profile.factors: empty; write at least one factor, e.g. [1.0]",
        OPEN,
        {"arrivals.profile": {"every": SECOND, "factors": []}},
        {"arrivals.profile.factors": [1.0]},
    ),
    (
        "arrivals.profile.factors: the last is 0 and holds on; end with a factor above 0",
        OPEN,
        {"arrivals.profile": {"every": SECOND, "factors": [1.0, 0.0]}},
        {"arrivals.profile.factors": [0.0, 1.0]},
    ),
    (
        "duration: about 2.0e+13 packets, at most 1e13; shorten it or lower the rate",
        OPEN,
        {"duration": 10**5 * SECOND, "arrivals.profile": {"every": SECOND, "factors": [100.0]}},
        {"arrivals.profile": None},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0][:50])
def test_a_contradiction_is_refused_and_can_be_mended_as_told(case) -> None:
    said, base, broken, mended = case
    with pytest.raises(ScenarioError) as refusal:
        override(base, broken)
    (problem,) = refusal.value.problems
    assert problem.startswith(said)
    assert len(problem) < 250
    fields = {path: change for path, change in broken.items() if path not in mended}
    whole = {path for path in fields if any(path.startswith(f"{field}.") for field in mended)}
    override(base, {path: change for path, change in fields.items() if path not in whole} | mended)


def test_every_contradiction_is_told_at_once() -> None:
    with pytest.raises(ScenarioError) as refusal:
        override(
            LOOP,
            {
                "traffic.popularity": 1.0,
                "traffic.frame": "imix",
                "nic.dispatch.kind": "sprayer",
                "server.cores": 257,
                "server.burst": 2,
                "server.state": PerBucket(),
                "measure.latency": True,
            },
        )
    assert [line.partition(":")[0] for line in refusal.value.problems] == [
        *("traffic.popularity", "traffic.frame"),
        *("server.cores", "server.state.kind"),
        "measure.latency",
    ]


def test_series_of_a_run_whose_end_is_known_late_are_checked_too() -> None:
    measure = Measure(interval=MS, latency=True)
    assert not list(series_problems(measure, None))
    assert not list(series_problems(measure, 10 * SECOND))
    assert len(list(series_problems(measure, 10 * SECOND + 1))) == 1
    assert len(list(series_problems(Measure(interval=MS), 1001 * SECOND))) == 1
