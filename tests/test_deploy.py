"""A chain in place: what becomes of each flow, and what its packets cost every core of a lane."""

import numpy as np
import pytest

from lbsim import run
from lbsim.chain.cost import one_by_one, synthesised
from lbsim.chain.deploy import FILTERED, OFFLOADED, SERVED, deploy
from lbsim.chain.hardware import machine
from lbsim.engine.pipeline import spec_of
from lbsim.engine.source import open_source
from lbsim.scenario import (
    Backends,
    Chain,
    Cost,
    Dpi,
    Firewall,
    Fixed,
    Flows,
    Forward,
    Monitor,
    Napt,
    Poisson,
    Rate,
    Route,
    Router,
    Rule,
    Sanity,
    Scenario,
    ScenarioError,
    Server,
    Work,
    WorkPackage,
)
from lbsim.units import NS, US
from lbsim.workload.packets import FlowTable

GHZ = 1e9
TELNET = Firewall(rules=(Rule(action="deny", proto=6, dport=(23, 23)),))
ROUTER = Router(routes=(Route(prefix="10.0.0.0/8", port=1), Route(prefix="0.0.0.0/0", port=0)))


def flows(*tuples):
    """Return a flow table of (src, dst, proto, sport, dport)."""
    src, dst = np.zeros((2, len(tuples), 16), np.uint8)
    for row, (source, destination, *_) in enumerate(tuples):
        src[row, :4] = [int(part) for part in source.split(".")]
        dst[row, :4] = [int(part) for part in destination.split(".")]
    _, _, proto, sport, dport = zip(*tuples, strict=True)
    ports = np.array(sport, np.uint16), np.array(dport, np.uint16)
    return FlowTable(src, dst, np.full(len(tuples), 4, np.uint8), np.array(proto, np.uint8), *ports)


TABLE = flows(
    ("1.0.0.1", "10.0.0.1", 6, 5000, 80),
    ("1.0.0.2", "10.0.0.1", 6, 5001, 23),  # telnet
    ("1.0.0.3", "20.0.0.1", 17, 5002, 53),
    ("1.0.0.4", "20.0.0.1", 6, 5003, 23),  # telnet
)


def scenario(*functions, clock=GHZ, hardware=None, cores=12, **chain):
    return Scenario(
        duration="1ms",
        traffic=Flows(flows=4, frame=1000),
        arrivals=Poisson(rate=Rate.parse("1Mpps")),
        chain=Chain(functions=functions, **chain),
        server=Server(cores=cores, clock=clock, hardware=hardware),
    )


def in_place(*functions, **more):
    return deploy(scenario(*functions, **more), TABLE)


def test_a_rule_filters_flows_where_it_stands_in_the_chain():
    first, last = in_place(TELNET, Napt(), Dpi()), in_place(Dpi(), Napt(), TELNET)
    for each in (first, last):
        assert each.fate.tolist() == [SERVED, FILTERED, SERVED, FILTERED]
        assert each.stages is None
        assert each.notices == ()
        assert each.class_of[1] == each.class_of[3] != each.class_of[0]
    chain = [TELNET, Napt(), Dpi()]
    passing, filtered = one_by_one(chain, chain[1:]), one_by_one(chain[:1], [])
    assert first.fixed.tolist() == [bill.ps(GHZ) for bill in (passing, filtered) * 2]
    assert first.per_byte.tolist() == [353, 0, 353, 0]
    # behind the others, the rule saves nothing: the port that the NAPT gives out is not what it asks for
    assert last.fixed[1] == passing.ps(GHZ)
    assert last.per_byte.tolist() == [353] * 4


def test_synthesis_saves_reads_and_writes():
    chain = [TELNET, ROUTER, Napt()]
    apart, merged = in_place(*chain), in_place(*chain, synthesised=True)
    assert merged.fate.tolist() == apart.fate.tolist()
    assert merged.fixed[0] == synthesised(chain, chain[1:]).ps(GHZ)
    assert apart.fixed[0] - merged.fixed[0] == pytest.approx((2 * 20 + 40) * NS, abs=1)
    assert merged.fixed[1] == synthesised(chain[:1], []).ps(GHZ)


def test_a_load_balancer_costs_its_lookup_only_for_its_service():
    backends = Backends(service="20.0.0.1")
    assert in_place(backends).fixed.tolist() == [20_000, 20_000, 169_000, 169_000]
    assert in_place(Backends()).fixed.tolist() == [169_000] * 4


def test_the_nic_drops_and_tags_and_software_keeps_the_state():
    each = in_place(TELNET, Napt(), Dpi(), synthesised=True, offload="nic")
    assert each.fate.tolist() == [SERVED, OFFLOADED, SERVED, OFFLOADED]
    assert each.fixed[0] == synthesised([], [Napt()], tagged=True).ps(GHZ)
    assert each.per_byte[0] == 353
    assert each.notices == ()


def test_a_switch_forwards_what_needs_no_software():
    whole = in_place(TELNET, ROUTER, synthesised=True, offload="switch")
    assert whole.fate.tolist() == [OFFLOADED] * 4
    partly = in_place(TELNET, ROUTER, Backends(service="20.0.0.1"), synthesised=True, offload="switch")
    assert partly.fate.tolist() == [OFFLOADED, OFFLOADED, SERVED, OFFLOADED]
    looking = in_place(TELNET, Dpi(), synthesised=True, offload="switch")
    assert looking.fate.tolist() == [SERVED, OFFLOADED, SERVED, OFFLOADED]
    assert looking.fixed[0] == 0


@pytest.mark.parametrize(
    ("switch", "reason"),
    [
        ("not_conformant", "does not do what its specification says"),
        ("conformant_small", "has room for 1024 rules"),
    ],
)
def test_hardware_that_does_not_fit_leaves_it_to_software_and_says_so(switch, reason):
    chain = [TELNET, Router(routes=3000), Napt()]
    each = in_place(*chain, synthesised=True, offload="switch", switch=switch)
    assert each.fate.tolist() == [SERVED, FILTERED, SERVED, FILTERED]
    assert each.fixed[0] == synthesised(chain, chain[1:]).ps(GHZ)
    (notice,) = each.notices
    assert notice.startswith("chain.offload: the switch takes nothing over")
    assert reason in notice


def test_unknown_names_are_told_the_known_ones():
    known = "conformant, conformant_small, not_conformant"
    with pytest.raises(ScenarioError, match=rf'^chain\.switch: "connectx5" is none of {known}'):
        in_place(ROUTER, synthesised=True, offload="switch", switch="connectx5")
    with pytest.raises(
        ScenarioError, match=r'^server\.hardware: "rspp" is none of packetmill, .*did you mean "rsspp"'
    ):
        in_place(ROUTER, hardware="rspp")


def test_hardware_gives_the_clock_and_the_memory():
    work = WorkPackage(draws=10, accesses=5, size_mb=4)
    bill = one_by_one([work], [work], machine("packetmill"))
    assert in_place(work, clock=None, hardware="packetmill").fixed[0] == bill.ps(2.3e9)
    assert in_place(work, clock=GHZ, hardware="packetmill").fixed[0] == bill.ps(1e9)
    with pytest.raises(ScenarioError, match=r"server\.clock: missing, .*\nchain\.functions\.1: its accesses"):
        deploy(scenario(Forward(), work, clock=None), TABLE)


def test_a_pipeline_has_a_core_for_each_function():
    each = in_place(
        Sanity(), TELNET, Dpi(), execution="pipeline", hand_over="50cycles", poll="1us", queue=256
    )
    assert each.fate.tolist() == [SERVED, FILTERED, SERVED, FILTERED]
    assert each.fixed.tolist() == [110_000] * 4
    assert each.per_byte.tolist() == [0] * 4
    stages = each.stages
    assert (stages.capacity, stages.poll) == (256, US)
    assert stages.fixed[:, each.class_of[:2]].tolist() == [[110_000, 110_000], [74_000, 74_000], [50_000, -1]]
    assert stages.per_byte.tolist() == [0, 0, 353]
    assert stages.latency.tolist() == [0, 0, 0]
    assert spec_of(**stages._asdict(), class_of=each.class_of).stages == 3


def test_boxes_stand_apart_and_the_way_there_costs_both_sides():
    chain = [Sanity(), TELNET, Dpi(box="sriov"), Monitor(), Napt(box="ring")]
    each = in_place(*chain, hop="3us", io="100ns", hand_over="50ns")
    functions = [chain[:2], [chain[2]], [chain[3]], [chain[4]]]
    work = [one_by_one(part, [f for f in part if f is not TELNET]).ps(GHZ) for part in functions]
    ways = [100 * NS, 200 * NS, 100 * NS, 50 * NS]
    served = each.stages.fixed[:, each.class_of[0]]
    assert served.tolist() == [cost + way for cost, way in zip(work, ways, strict=True)]
    assert each.stages.latency.tolist() == [3 * US, 3 * US, 0, 0]
    filtered = each.stages.fixed[:, each.class_of[1]]
    assert filtered.tolist() == [work[0], -1, -1, -1]  # it does not go to the box
    assert each.fixed.tolist() == [served[0], filtered[0]] * 2


def test_a_stage_costs_bytes_of_the_class_where_they_are_most():
    each = in_place(Sanity(box="ring"), TELNET, Dpi())
    assert each.stages.fixed[:, each.class_of[1]].tolist() == [110_000, 24_000]
    assert each.stages.per_byte.tolist() == [0, 353]


def test_a_router_does_nothing_to_a_packet_that_it_has_no_route_for():
    router = Router(routes=(Route(prefix="10.0.0.0/8"),))
    each = in_place(router)
    assert each.fate.tolist() == [SERVED, SERVED, FILTERED, FILTERED]
    assert each.fixed[2] == one_by_one([router], []).ps(GHZ) < each.fixed[0]


def test_a_switch_checks_headers_for_the_software_behind_it():
    behind = in_place(Sanity(), Dpi(), synthesised=True, offload="switch")
    alone = in_place(Sanity(), Dpi(), synthesised=True, offload="nic")
    assert (behind.fixed[0], alone.fixed[0]) == (0, 110_000)


def test_what_only_the_packet_itself_can_tell_is_classified_again():
    # which source port the NAPT hands out decides on the rule behind it
    balanced, napt = Backends(service="20.0.0.9"), Napt(first=1024)
    halves = Firewall(rules=(Rule(action="deny", sport=(1025, 1025)),))
    same = ("20.0.0.1", 6, 7, 80)
    table = flows(
        ("1.0.0.1", *same),
        ("1.0.0.2", *same),
        ("1.0.0.1", "20.0.0.9", 6, 7, 80),
        ("1.0.0.1", "1.0.0.2", 1, 0, 0),
    )
    each = deploy(scenario(balanced, napt, halves, synthesised=True), table)
    assert each.fate.tolist() == [SERVED, FILTERED, SERVED, SERVED]
    again = synthesised([halves], [])
    cost = {
        "passing": synthesised([balanced, napt], [napt]) + again,
        "balanced": synthesised([balanced, napt], [balanced, napt]) + again,
        "ICMP": synthesised([balanced, napt, halves], []),
    }
    ways = ("passing", "passing", "balanced", "ICMP")
    assert each.fixed.tolist() == [cost[way].ps(GHZ) for way in ways]


def test_to_forward_is_the_work_of_the_framework():
    own = Cost(per_packet=Work(100, "cycles"), work=Fixed(time="5ns"))
    both = scenario(Forward()).model_copy(update={"server": Server(clock=GHZ, cost=own)})
    assert deploy(both, TABLE).fixed.tolist() == [0] * 4


LOW = Firewall(rules=(Rule(action="deny", sport=(0, 32767)),))


@pytest.mark.parametrize(
    "chain",
    [
        Chain(functions=(LOW, Napt(), Dpi())),
        Chain(functions=(LOW, Napt(), Dpi()), synthesised=True, offload="nic"),
        Chain(functions=(Sanity(), LOW, Dpi()), execution="pipeline", hand_over="50ns", poll="200ns"),
        Chain(functions=(Sanity(), LOW, Dpi(box="sriov")), hop="5us", io="80ns", queue=16),
    ],
    ids=["together", "NIC", "pipeline", "SR-IOV"],
)
def test_both_engines_run_it_and_every_packet_has_the_fate_of_its_flow(chain):
    base = scenario(Forward(), hardware="packetmill", cores=6).model_copy(
        update={"chain": chain, "traffic": Flows(flows=64, frame="imix")}
    )
    one, other = (run(base, engine=engine) for engine in ("compiled", "reference"))
    assert one.processed.tolist() == other.processed.tolist()
    assert one.busy.tolist() == other.busy.tolist()
    assert one.latency.counts.tolist() == other.latency.counts.tolist()
    assert one.latency.total == other.latency.total
    assert one.control == other.control
    source = open_source(base)
    fates = np.concatenate([source.deployment.fate[p.flow] for p in source.packets()])
    low = one.control["filtered"] + one.control["offloaded"]
    assert one.control["filtered"] == np.count_nonzero(fates == FILTERED)
    assert not (fates == OFFLOADED).any()
    assert 0.3 * one.offered < low
    assert (one.control["offloaded"] > 0) == (chain.offload == "nic")
