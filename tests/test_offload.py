"""Offload: the device's part and what is left to software make the whole chain."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from chains import chains, packets, rewriting
from hypothesis import given, settings
from hypothesis import strategies as st

from lbsim.chain import (
    DROPPED,
    FORWARDED,
    ON_SERVER,
    Device,
    Header,
    Offload,
    execute,
    plan,
    synthesise,
    tables,
)
from lbsim.chain.diagram import Diagrams
from lbsim.chain.entries import entries, prefixes
from lbsim.chain.space import EVERYTHING, IPV4, Box
from lbsim.scenario import Backends, Dpi, Firewall, Forward, Monitor, Napt, Route, Router, Rule, Sanity
from lbsim.scenario.functions import AnyFunction

TUPLE = frozenset({"src", "dst", "proto", "sport", "dport"})
ALL = TUPLE | {"ttl", "validity"}
ACTIONS = frozenset({"drop", "tag", "forward", "dec_ttl"})
SWITCH = Device("a switch", "switch", True, ALL, ACTIONS, 10**9, 6)
NIC = Device("a NIC", "nic", True, TUPLE, frozenset({"drop", "tag"}), 10**9, 6)
TCP = 6

subsets = st.builds(frozenset, st.sets(st.sampled_from(sorted(ACTIONS))))
devices = st.builds(
    Device,
    name=st.just("a device"),
    kind=st.sampled_from(["nic", "switch"]),
    conformant=st.just(True),
    matches=st.sampled_from([ALL, TUPLE, ALL - {"ttl"}, ALL - {"validity"}, TUPLE - {"sport", "dport"}]),
    actions=st.just(ACTIONS) | subsets,
    rules=st.sampled_from([10**9, 10**9, 5]),
    tables=st.sampled_from([1, 6]),
)


@given(st.data(), chains | rewriting, devices)
def test_device_and_software_make_the_whole_chain(
    data: st.DataObject, parts: list[AnyFunction], device: Device
) -> None:
    whole_chain(data, parts, device)


@pytest.mark.slow
@settings(max_examples=1500)
@given(st.data(), chains | rewriting, devices)
def test_device_and_software_make_many_whole_chains(
    data: st.DataObject, parts: list[AnyFunction], device: Device
) -> None:
    whole_chain(data, parts, device)


def whole_chain(data: st.DataObject, parts: list[AnyFunction], device: Device) -> None:
    """Send packets through device and software, and through the functions one after the other."""
    synthesis = synthesise(parts)
    offload = plan(synthesis, device)
    whole, rest = tables(synthesis.functions), tables(synthesis.functions)
    for header in data.draw(packets(parts)):
        verdict = execute(synthesis.functions, header, whole)
        taken = offload.take(header)
        if taken.fate == DROPPED:
            assert verdict.dropped_by is not None
        elif taken.fate == FORWARDED:
            assert taken.header == verdict.header is not None
        else:
            assert taken.header == header
            assert (taken.tag is not None) == offload.tagged
            assert offload.finish(taken, rest) == verdict
        assert rest == whole


@given(chains | rewriting, devices)
def test_state_is_never_offloaded(parts: list[AnyFunction], device: Device) -> None:
    offload = plan(synthesise(parts), device)
    classes = offload.synthesis.classes
    assert len(offload.fates) == len(offload.software) == len(classes)
    stateful = {k for k, part in enumerate(parts) if isinstance(part, Monitor | Napt | Backends)}
    for treatment, fate, left in zip(classes, offload.fates.tolist(), offload.software, strict=True):
        assert set(treatment.stateful) <= stateful
        if fate == ON_SERVER:
            assert set(treatment.stateful) <= set(left)
        else:  # handled wholly: no server sees it
            assert (treatment.stateful, treatment.then, left) == ((), None, ())
            assert (fate == DROPPED) == (treatment.dropped_by is not None)
        assert not any(isinstance(parts[k], Dpi) for k in treatment.visits) or fate == ON_SERVER
    if offload.reason:
        assert not offload.fates.any()
        assert not offload.tagged
        assert offload.software == tuple(each.visits for each in classes)


# By hand


def fates(offload: Offload, *headers: Header) -> list[int]:
    return [int(offload.fates[offload.synthesis.classify(header)]) for header in headers]


ROUTES = (Route(prefix="10.0.0.0/8", port=1), Route(prefix="0.0.0.0/0", port=2))
INSIDE, OUTSIDE = Header(1, 10 << 24, TCP, 9, 80), Header(1, 2, TCP, 9, 80)
NO_SSH = Firewall(rules=(Rule(action="deny", dport=(22, 22)),))


def test_a_chain_without_state_needs_no_server() -> None:
    offload = plan(synthesise([NO_SSH, Router(routes=ROUTES)]), SWITCH)
    assert offload.reason == ""
    assert (offload.fates != ON_SERVER).all()
    assert set(offload.software) == {()}
    assert fates(offload, INSIDE, INSIDE._replace(dport=22)) == [FORWARDED, DROPPED]
    assert offload.take(INSIDE) == (FORWARDED, None, INSIDE._replace(ttl=63, port=1))
    assert offload.take(OUTSIDE) == (FORWARDED, None, OUTSIDE._replace(ttl=63, port=2))
    assert offload.take(OUTSIDE._replace(ttl=1)).fate == DROPPED


def test_state_stays_on_servers_behind_a_tag() -> None:
    offload = plan(synthesise([NO_SSH, Router(routes=ROUTES), Napt()]), SWITCH)
    assert fates(offload, INSIDE, INSIDE._replace(dport=22), INSIDE._replace(proto=1)) == [
        ON_SERVER,
        DROPPED,
        FORWARDED,
    ]
    number = offload.synthesis.classify(INSIDE)
    assert offload.software[number] == (1, 2)  # the write of the router, and NAPT: nothing of the firewall
    assert offload.take(INSIDE) == (ON_SERVER, number, INSIDE)


def test_a_nic_classifies_and_drops() -> None:
    offload = plan(synthesise([NO_SSH, Router(routes=ROUTES)]), NIC)
    assert fates(offload, INSIDE, INSIDE._replace(dport=22)) == [ON_SERVER, DROPPED]
    assert offload.tagged
    assert offload.software[offload.synthesis.classify(INSIDE)] == (1,)
    # It cannot match the TTL: software does not trust the tag of a packet whose TTL may run out.
    old = INSIDE._replace(ttl=1)
    taken = offload.take(old)
    assert (taken.fate, taken.tag) == (ON_SERVER, offload.synthesis.classify(INSIDE))
    assert offload.finish(taken, tables(offload.synthesis.functions)).dropped_by == 1
    assert offload.lowest == 2


def test_a_device_that_only_drops_leaves_classification_to_software() -> None:
    dropper = NIC._replace(actions=frozenset({"drop"}))
    offload = plan(synthesise([NO_SSH, Router(routes=ROUTES)]), dropper)
    assert (offload.reason, offload.tagged) == ("", False)
    assert offload.software[offload.synthesis.classify(INSIDE)] == (0, 1)
    assert offload.entries < plan(synthesise([NO_SSH, Router(routes=ROUTES)]), NIC).entries


def test_what_sees_a_packet_is_not_skipped() -> None:
    behind = plan(synthesise([Monitor(), NO_SSH]), SWITCH)
    assert fates(behind, INSIDE._replace(dport=22)) == [ON_SERVER]
    assert behind.software[behind.synthesis.classify(INSIDE._replace(dport=22))] == (0,)
    inspected = plan(synthesise([Dpi(), NO_SSH]), SWITCH)
    assert fates(inspected, INSIDE, INSIDE._replace(dport=22)) == [ON_SERVER, ON_SERVER]
    before = plan(synthesise([NO_SSH, Dpi()]), SWITCH)
    assert fates(before, INSIDE, INSIDE._replace(dport=22)) == [ON_SERVER, DROPPED]


def test_sanity_needs_a_device_that_checks() -> None:
    chain = synthesise([Sanity(), NO_SSH, Forward()])
    checks, trusts = plan(chain, SWITCH), plan(chain, SWITCH._replace(matches=ALL - {"validity"}))
    ssh = INSIDE._replace(dport=22)
    assert fates(checks, INSIDE, ssh) == [FORWARDED, DROPPED]
    assert fates(trusts, INSIDE, ssh) == [ON_SERVER, DROPPED]  # dropped it is, checked or not
    number = chain.classify(INSIDE)
    assert trusts.software[number] == (0, 2)
    tagged = plan(chain, SWITCH._replace(actions=frozenset({"tag"})))
    assert tagged.software[number] == (2,)  # the check is done in hardware, the write is not
    blind = plan(chain, SWITCH._replace(matches=ALL - {"ttl"}))
    assert blind.take(INSIDE._replace(ttl=0)).fate == DROPPED


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        (Device("none"), "there is no device to offload to"),
        (
            SWITCH._replace(conformant=False),
            "a switch does not do what its specification says, so nothing is entrusted to it",
        ),
        (
            NIC._replace(actions=frozenset({"forward"})),
            "a NIC can neither drop nor forward any class of this chain, nor tag packets",
        ),
        (
            NIC._replace(matches=TUPLE - {"dst", "dport", "sport"}),
            "a NIC cannot match dst, dport, which the chain's classes differ in",
        ),
        (NIC._replace(rules=19), "a NIC has room for 19 rules, and this chain needs 20"),
    ],
)
def test_a_device_that_does_not_fit_takes_nothing_over(device: Device, reason: str) -> None:
    synthesis = synthesise([NO_SSH, Router(routes=ROUTES), Napt()])
    offload = plan(synthesis, device)
    assert offload.reason == reason
    assert not offload.fates.any()
    assert not offload.tagged
    assert offload.take(INSIDE) == (ON_SERVER, None, INSIDE)
    assert offload.software == tuple(each.visits for each in synthesis.classes)
    # 2 versions, 2 destinations, for each TCP, UDP, SCTP and others, and twice port 22 or not.
    assert plan(synthesis, NIC._replace(rules=20)).reason == ""


def test_one_table_multiplies_what_several_add_up() -> None:
    synthesis = synthesise([Firewall(default="deny"), Router()])
    several, one = plan(synthesis, SWITCH), plan(synthesis, SWITCH._replace(tables=1, rules=8192))
    assert 1000 < several.entries < 643 + 3117 + 10
    assert one.entries > 100 * 643
    assert one.reason == f"a switch has room for 8192 rules, and this chain needs {one.entries}"


# Entries


@st.composite
def labelled(draw: st.DrawFn) -> tuple[int, list[int]]:
    """A child for each value of a few bits, in runs."""
    bits = draw(st.integers(1, 5))
    kids: list[int] = []
    while len(kids) < 1 << bits:
        kids += [draw(st.integers(-3, 3))] * draw(st.integers(1, 8))
    return bits, kids[: 1 << bits]


def fewest(bits: int, kids: list[int]) -> int:
    """Oracle: try every child as the entry of every prefix."""

    @cache
    def below(first: int, size: int, above: int | None) -> int:
        inside = set(kids[first : first + size])
        if inside == {above}:
            return 0
        if size == 1:
            return 1
        half = size // 2
        return min(
            (own != above) + below(first, half, own) + below(first + half, half, own)
            for own in ({above} if above is not None else set()) | inside
        )

    return below(0, 1 << bits, None)


@given(labelled())
def test_prefixes_are_as_few_as_can_be(case: tuple[int, list[int]]) -> None:
    bits, kids = case
    starts = [k for k in range(1 << bits) if k == 0 or kids[k] != kids[k - 1]]
    count = prefixes(np.array(starts), np.array([kids[k] for k in starts]), bits)
    assert count.total() == fewest(bits, kids)
    assert set(count) == set(kids)
    assert min(count.values()) > 0


def test_prefixes_with_many_children() -> None:
    starts = np.arange(100)
    assert prefixes(starts, starts + 5, 7) == dict.fromkeys(
        range(5, 105), 1
    )  # 104, for 99 to 127: the default


def test_entries_by_hand() -> None:
    diagrams = Diagrams()
    assert entries(diagrams, diagrams.leaf("same"), 1) == 1
    web = [(Box(dport=(80, 81)), "web"), (EVERYTHING, "rest")]
    assert entries(diagrams, diagrams.first_match(web), 1) == 2  # one port, and a default
    low = [(Box(dport=(0, 1024)), "low"), (EVERYTHING, "rest")]
    assert entries(diagrams, diagrams.first_match(low), 1) == 2
    net = [(Box(src=(1 << 24, 2 << 24), dport=(80, 81)), "web"), (EVERYTHING, "rest")]
    root = diagrams.first_match(net)
    assert entries(diagrams, root, 2) == 4  # two sources, and two ports for one of them
    assert entries(diagrams, root, 1) == 3
    old = [(Box(src=IPV4), "v4"), (EVERYTHING, "v6")]
    assert entries(diagrams, diagrams.first_match(old), 1) == 2  # a rule for each version
