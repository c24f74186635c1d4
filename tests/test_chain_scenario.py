"""Service chains as scenarios write them: every one survives its TOML, and contradictions are refused."""

from __future__ import annotations

import tomllib
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbsim.scenario import (
    Backends,
    Chain,
    Choosing,
    Closed,
    Cluster,
    Cost,
    Dpi,
    Firewall,
    Fixed,
    Flows,
    Forward,
    Grow,
    Monitor,
    Napt,
    PerBucket,
    Poisson,
    Route,
    Router,
    Rss,
    Rule,
    Sanity,
    Scenario,
    ScenarioError,
    Server,
    Work,
    WorkPackage,
    dump_toml,
    json_schema,
    load_scenario,
    override,
)
from lbsim.units import SECOND

BASE = Scenario(
    duration="1s",
    traffic=Flows(),
    arrivals=Poisson(rate="1Mpps"),
    chain=Chain(functions=[Firewall(), Router(), Napt(), Dpi()]),
    server=Server(cores=8, hardware="packetmill"),
)
PIPED = override(BASE, {"chain.execution": "pipeline"})

SCHEMA = jsonschema.Draft202012Validator(json_schema())

GOOD = """
duration = "1s"
traffic = { kind = "flows" }
arrivals = { kind = "poisson", rate = "2Mpps" }
[server]
clock = "2GHz"
[chain]
functions = [
  { kind = "firewall", rules = [{ action = "deny", src = "10.0.0.0/8", proto = 6, dport = [1, 1023] }] },
  { kind = "router", routes = [{ prefix = "192.0.2.0/24", port = 1 }] },
  { kind = "napt", first = 2000, last = 3000 },
]
"""

# Any chain -------------------------------------------------------------------------------------------------

addresses = st.integers(0, 2**32 - 1).map(lambda n: ".".join(str(n >> k & 255) for k in (24, 16, 8, 0)))
prefixes = st.integers(0, 32).flatmap(
    lambda length: st.integers(0, 2**length - 1).map(
        lambda n: ".".join(str((n << 32 - length) >> k & 255) for k in (24, 16, 8, 0)) + f"/{length}"
    )
)
ports = st.none() | st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(lambda p: (min(p), max(p)))
rules = st.builds(
    Rule,
    action=st.sampled_from(["allow", "deny"]),
    src=st.none() | prefixes,
    dst=st.none() | prefixes,
    proto=st.none() | st.integers(0, 255),
    sport=ports,
    dport=ports,
)
routes = st.builds(Route, prefix=prefixes, port=st.integers(0, 1023))
numbers = st.integers(0, 65536)
capacities = st.integers(1, 2**31)


def functions(box: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.builds(Forward, box=box),
        st.builds(
            Firewall,
            box=box,
            rules=numbers | st.lists(rules, max_size=3),
            default=st.sampled_from(["allow", "deny"]),
            seed=st.integers(0, 2**31),
        ),
        st.builds(Router, box=box, routes=numbers | st.lists(routes, max_size=3), seed=st.integers(0, 2**31)),
        st.builds(
            Napt,
            box=box,
            address=addresses,
            first=st.integers(0, 9),
            last=st.integers(9, 65535),
            capacity=capacities,
        ),
        st.builds(
            Backends, box=box, number=st.integers(1, 256), service=st.none() | addresses, capacity=capacities
        ),
        st.builds(Monitor, box=box, capacity=capacities),
        st.builds(Dpi, box=box, patterns=st.integers(1, 10**6)),
        st.builds(Sanity, box=box),
        st.builds(
            WorkPackage,
            box=box,
            draws=st.integers(0, 10**6),
            accesses=st.integers(0, 10**6),
            size_mb=st.floats(0, 1e5),
            payload=st.floats(0, 1),
        ),
    )


works = st.integers(0, 10**6).map(Work) | st.floats(1, 1e5).map(lambda cycles: Work(cycles, "cycles"))
common = {
    "switch": st.sampled_from(["conformant", "mine_2"]),
    "hand_over": works,
    "poll": works,
    "queue": st.integers(1, 2**20),
    "hop": st.integers(0, SECOND),
    "io": works,
}
chains = st.builds(
    Chain,
    functions=st.lists(functions(st.sampled_from(["inline", "ring", "sriov"])), min_size=1, max_size=6),
    execution=st.sampled_from(["together", "pipeline"]),
    **common,
) | st.builds(
    Chain,
    functions=st.lists(functions(st.just("inline")), min_size=1, max_size=6),
    synthesised=st.just(True),
    offload=st.sampled_from(["none", "nic", "switch"]),
    **common,
)


@given(chains)
@settings(max_examples=60)
def test_every_chain_survives_its_toml(chain: Chain) -> None:
    server = Server(cores=len(chain.stages), clock=2e9)
    scenario = Scenario(
        duration=SECOND, traffic=Flows(), arrivals=Poisson(rate="1Mpps"), chain=chain, server=server
    )
    text = dump_toml(scenario)
    again = load_scenario(text)
    assert again == scenario
    assert dump_toml(again) == text
    SCHEMA.validate(tomllib.loads(text))


@given(chains)
def test_stages_hold_every_function_once_and_in_order(chain: Chain) -> None:
    assert [k for stage in chain.stages for k in stage] == list(range(len(chain.functions)))
    for stage in chain.stages:
        boxes = {chain.functions[k].box for k in stage}
        assert len(stage) == 1 or (boxes == {"inline"} and chain.execution == "together")


def test_a_box_takes_its_function_from_the_others() -> None:
    def stages(*boxes: str, execution: str = "together") -> Any:
        return Chain(functions=[Forward(box=box) for box in boxes], execution=execution).stages

    assert stages("inline", "inline", "inline") == ((0, 1, 2),)
    assert stages("inline", "inline", "ring", "inline") == ((0, 1), (2,), (3,))
    assert stages("sriov", "ring", "ring") == ((0,), (1,), (2,))
    assert stages("inline", "inline", execution="pipeline") == ((0,), (1,))


def test_what_functions_cost_may_be_all_that_packets_cost() -> None:
    assert BASE.server.cost.work.mean_ps(None) == 0
    assert load_scenario(GOOD).server.cost == Cost(work=Fixed(time=0))
    plain = GOOD.partition("[chain]")[0]
    with pytest.raises(ScenarioError, match=r"^server\.cost: missing; write a table with work, or chain"):
        load_scenario(plain)
    with pytest.raises(ScenarioError, match=r"^server\.cost: empty; write e\.g\. work = "):
        load_scenario(plain + "[server.cost]\n")
    assert load_scenario(plain + '[server.cost]\nper_packet = "1us"\n').chain is None
    assert override(BASE, {"chain": None, "server.cost.per_packet": "1us"}).chain is None


# Refusals --------------------------------------------------------------------------------------------------

REFUSALS = [  # what is said, and what was changed in GOOD to deserve it
    (
        'chain.functions.0.rules.0.src: "10.0.0.1/8" has bits set beyond its length of 8; write "10.0.0.0/8"',
        ("10.0.0.0/8", "10.0.0.1/8"),
    ),
    (
        'chain.functions.1.routes.0.prefix: "192.0.2/24" is no IPv4 prefix; write e.g. "192.0.2.0/24"',
        ("192.0.2.0/24", "192.0.2/24"),
    ),
    (
        "chain.functions.0.rules.0.dport: [1023, 1] is empty; write the lower port first",
        ("1, 1023", "1023, 1"),
    ),
    ("chain.functions.0.rules.0.dport.1: 70000 is not a whole number from 0 to 65535", ("1023", "70000")),
    ("chain.functions.0.rules.0.action: missing; write one of allow, deny", ('action = "deny", ', "")),
    ('chain.functions.0.rules.0.action: "drop" is none of allow, deny', ('"deny"', '"drop"')),
    (
        "chain.functions.1.routes.0.prefx: unknown field; did you mean chain.functions.1.routes.0.prefix?",
        ("port = 1", 'prefx = "10.0.0.0/8"'),
    ),
    (
        "chain.functions.1.routes: -1 is not a whole number from 0 to 65536 or an array, each of it a "
        "table with prefix; try 0",
        ('[{ prefix = "192.0.2.0/24", port = 1 }]', "-1"),
    ),
    (
        "chain.functions.2.last: 3000 is below first 4000; raise last or lower first",
        ("first = 2000", "first = 4000"),
    ),
    (
        'chain.functions.2: kind "natp" is none of forward, firewall, router, napt, backends',
        ('"napt", first = 2000, last = 3000', '"natp"'),
    ),
    (
        'chain.functions.2.address: "203.0.113" is no IPv4 address; write e.g. "192.0.2.1"',
        ("first = 2000", 'address = "203.0.113"'),
    ),
    (
        "chain.functions.2.first: 255.255.255.0 and the 299 after it are beyond 255.255.255.255; lower it",
        ('"napt", first = 2000, last = 3000', '"backends", number = 300, first = "255.255.255.0"'),
    ),
    (
        "chain.functions: missing; write an array, each of it a table with kind = one of",
        ("functions = [", "x = ["),
    ),
]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case[0][:60])
def test_refusals_say_where_what_and_how_to_mend(case: Any) -> None:
    said, (old, new) = case
    assert old in GOOD
    with pytest.raises(ScenarioError) as refusal:
        load_scenario(GOOD.replace(old, new))
    assert refusal.value.problems[0].startswith(said)
    assert len(refusal.value.problems) == 1 + said.endswith("one of")  # there, `x` is unknown besides


@pytest.mark.parametrize("number", [0, 33])
def test_a_chain_has_some_functions(number: int) -> None:
    with pytest.raises(ScenarioError, match=rf"^functions: {number} functions; write 1 to 32$"):
        Chain(functions=[Forward()] * number)


CASES = [  # what is said, of what, deserved by which changes, and what mends it
    (
        "chain.execution: pipeline, but synthesised functions are merged into one; write",
        PIPED,
        {"chain.synthesised": True},
        {"chain.execution": "together"},
    ),
    (
        "chain.functions.1.box: ring, but a router in a process of its own cannot be merged with others",
        BASE,
        {"chain.synthesised": True, "chain.functions.1.box": "ring", "chain.functions.3.box": "ring"},
        {"chain.functions.1.box": "inline"},
    ),
    (
        "chain.offload: nic, but only what is merged is taken over; write synthesised = true, or offload =",
        BASE,
        {"chain.offload": "nic"},
        {"chain.synthesised": True},
    ),
    (
        "chain: given, but packets of a closed loop cost what server.cost says; leave it out, or write",
        BASE,
        {"arrivals": Closed(link="100Gbps", window=30.0, delay="50us"), "server.burst": 1},
        {"chain": None, "server.clock": 2e9},
    ),
    (
        "arrivals.load: what a chain costs is known only to a run, so load is not; write arrivals.rate",
        BASE,
        {"arrivals": Poisson(load=0.5)},
        {"arrivals": Poisson(rate="8Mpps")},
    ),
    (
        "chain: it takes 4 cores, one after another, which is simulated for one server alone; leave cluster "
        'out, or write chain.execution = "together"',
        PIPED,
        {"cluster": Cluster(servers=2, balancer=Choosing(policy="round_robin"))},
        {"chain.execution": "together"},
    ),
    (
        'nic.dispatch.fill: random, but pipelines are dealt in turn; write "turn", or chain.execution = ',
        PIPED,
        {"nic.dispatch": Rss(fill="random")},
        {"nic.dispatch.fill": "turn"},
    ),
    (
        "nic.dispatch.grow: given, but the cores of a pipeline all serve; leave it out, or chain.execution",
        PIPED,
        {"nic.dispatch": Rss(grow=Grow(every=SECOND))},
        {"nic.dispatch": Rss()},
    ),
    (
        'nic.dispatch.kind: metron, but pipelines stay as they are; write rss, or box = "inline" everywhere',
        BASE,
        {"nic.dispatch.kind": "metron", "chain.functions.3.box": "ring"},
        {"chain.functions.3.box": "inline"},
    ),
    (
        "server.cores: 7, but this chain takes 4 cores a lane; write a multiple of 4, e.g. 4",
        PIPED,
        {"server.cores": 7},
        {"server.cores": 4},
    ),
    (
        "server.cores: 3, but this chain takes 4 cores a lane; write a multiple of 4, e.g. 4",
        PIPED,
        {"server.cores": 3},
        {"server.cores": 4},
    ),
    (
        "server.state: per_bucket, but is not simulated in a pipeline of cores; leave it out, or write",
        PIPED,
        {"server.state": PerBucket()},
        {"server.state": None},
    ),
    (
        'chain.hand_over: 7cycles need a clock; set server.clock, e.g. "3.7GHz", or write a time',
        BASE,
        {"server.hardware": None, "chain.hand_over": "7cycles"},
        {"server.clock": 2e9},
    ),
    (
        "chain.poll: 9007199254740994ps is above 2.5 hours; write less",
        BASE,
        {"chain.poll": 2**53 + 2},
        {"chain.poll": 2**53},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0][:60])
def test_a_contradiction_is_refused_and_can_be_mended_as_told(case: Any) -> None:
    said, base, broken, mended = case
    with pytest.raises(ScenarioError) as refusal:
        override(base, broken)
    (problem,) = refusal.value.problems
    assert problem.startswith(said)
    assert len(problem) < 250
    override(base, broken | mended)


def test_cycles_need_a_clock_or_hardware() -> None:
    for told in ({"server.clock": 2e9}, {"server.hardware": "packetmill"}):
        changes = {"server.hardware": None, "server.cost.per_packet": "700cycles", **told}
        assert str(override(BASE, changes).server.cost.per_packet) == "700cycles"
    with pytest.raises(ScenarioError, match=r"^server\.cost\.per_packet: 700cycles need a clock"):
        override(BASE, {"server.hardware": None, "server.cost.per_packet": "700cycles"})


def test_rules_are_changed_whole_or_one_by_one() -> None:
    scenario = load_scenario(GOOD)
    one = override(scenario, {"chain.functions.0.rules.0.action": "allow"})
    assert one.chain is not None
    assert one.chain.functions[0].rules[0].action == "allow"
    many = override(scenario, {"chain.functions.0.rules": 7})
    assert many.chain is not None
    assert many.chain.functions[0].rules == 7
    other = override(scenario, {"chain.functions.0.kind": "sanity"})
    assert other.chain is not None
    assert other.chain.functions[0] == Sanity()
