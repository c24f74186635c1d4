"""Header space: points, regions, and decision diagrams over it."""

from __future__ import annotations

from itertools import combinations
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbsim.chain import Header, Region
from lbsim.chain.diagram import Diagrams
from lbsim.chain.space import (
    EVERYTHING,
    FIELDS,
    IPV4,
    IPV6,
    SIZES,
    SPORT,
    TTL,
    Box,
    Interval,
    columns,
    header_of,
    network,
    point,
)
from lbsim.workload.packets import FlowTable

Rules = list[tuple[Box, int]]


@st.composite
def intervals(draw: st.DrawFn, field: int) -> Interval:
    """All of a field, or a piece between a few borders: pieces often touch, nest and overlap."""
    size = SIZES[field]
    if draw(st.booleans()):
        return 0, size
    borders = sorted({0, 1, 2, 3, size // 2, size - 1, size})
    first, last = sorted(draw(st.lists(st.sampled_from(borders), min_size=2, max_size=2, unique=True)))
    return first, last


boxes = st.tuples(*map(intervals, range(len(FIELDS)))).map(lambda parts: Box(*parts))
default = st.just((EVERYTHING, 0))
rule_lists = st.builds(
    lambda some, last: [*some, last], st.lists(st.tuples(boxes, st.integers(0, 3)), max_size=6), default
)
points = st.tuples(
    *(st.sampled_from([0, 1, 2, 3, size // 2 - 1, size // 2, size - 2, size - 1]) for size in SIZES)
)


def scanned(rules: Rules, at: tuple[int, ...]) -> int:
    """The value of the first rule that matches a point."""
    return next(v for box, v in rules if all(a <= x < b for x, (a, b) in zip(at, box, strict=True)))


@given(rule_lists, st.lists(points, min_size=1))
def test_the_first_rule_that_matches_decides(rules: Rules, some: list[tuple[int, ...]]) -> None:
    diagrams = Diagrams()
    root = diagrams.first_match(rules)
    want = [scanned(rules, at) for at in some]
    assert [diagrams.value(diagrams.find(root, at)) for at in some] == want
    found = diagrams.find_all(root, np.array(some, np.int64).T)
    assert [diagrams.value(leaf) for leaf in found.tolist()] == want


@settings(max_examples=25)
@given(rule_lists)
def test_regions_are_disjoint_and_cover_the_space(rules: Rules) -> None:
    diagrams = Diagrams()
    found = list(diagrams.regions(diagrams.first_match(rules)))
    assert sum(region.size for region, _ in found) == prod(SIZES)
    assert not any(a.meets(b) for (a, _), (b, _) in combinations(found, 2))
    for region, leaf in found:
        corner = tuple(int(values[-1, 1]) - 1 for values in region)
        assert scanned(rules, corner) == diagrams.value(leaf)
        for values in region:  # in order, and apart from each other: touching intervals are one
            assert (values[:, 0] < values[:, 1]).all()
            assert (values[1:, 0] > values[:-1, 1]).all()


@given(rule_lists, boxes, st.integers(0, 3))
def test_equal_diagrams_are_one(rules: Rules, where: Box, value: int) -> None:
    diagrams = Diagrams()
    root = diagrams.first_match(rules)
    assert diagrams.first_match([*rules, (where, value)]) == root  # a rule behind the default never counts
    assert diagrams.first_match([*rules[:1], *rules]) == root
    assert diagrams.combine(root, root, lambda a, _: a) == root


@settings(max_examples=50)
@given(rule_lists, rule_lists, st.lists(points, min_size=1))
def test_combine_and_graft(one: Rules, other: Rules, some: list[tuple[int, ...]]) -> None:
    diagrams = Diagrams()
    a, b = diagrams.first_match(one), diagrams.first_match(other)
    both = diagrams.combine(a, b, lambda x, y: diagrams.leaf((diagrams.value(x), diagrams.value(y))))
    grafted = diagrams.graft(a, diagrams.leaf(1), b)
    for at in some:
        x, y = scanned(one, at), scanned(other, at)
        assert diagrams.value(diagrams.find(both, at)) == (x, y)
        assert diagrams.value(diagrams.find(grafted, at)) == (y if x == 1 else x)


@given(rule_lists, st.lists(points, min_size=1), intervals(SPORT))
def test_what_is_known_of_a_field(rules: Rules, some: list[tuple[int, ...]], known: Interval) -> None:
    diagrams = Diagrams()
    root = diagrams.first_match(rules)
    assumed = diagrams.assume(root, SPORT, known, diagrams.leaf("unsure"))
    borders = {end for box, _ in rules for end in box.sport} | {known[0]}
    inside = [v for v in borders if known[0] <= v < known[1]]  # one value of each piece
    for at in some:
        results = {scanned(rules, (*at[:SPORT], v, *at[SPORT + 1 :])) for v in inside}
        want = results.pop() if len(results) == 1 else "unsure"
        assert diagrams.value(diagrams.find(assumed, at)) == want


@given(rule_lists, st.lists(points, min_size=1), st.integers(0, 40))
def test_a_field_that_was_higher(rules: Rules, some: list[tuple[int, ...]], by: int) -> None:
    diagrams = Diagrams()
    shifted = diagrams.shifted(diagrams.first_match(rules), TTL, by)
    assert all(node.starts[-1] < SIZES[node.field] for node in diagrams.nodes)
    for at in some:
        want = scanned(rules, (*at[:TTL], max(0, at[TTL] - by)))
        assert diagrams.value(diagrams.find(shifted, at)) == want


def test_thousands_of_rules_are_as_small_as_their_sum() -> None:
    diagrams = Diagrams()
    sources = diagrams.first_match([*((Box(src=(4 * k, 4 * k + 1)), 1) for k in range(643)), (EVERYTHING, 0)])
    hosts = diagrams.first_match(
        [*((Box(src=IPV4, dst=(3 * k, 3 * k + 1)), k % 2) for k in range(3117)), (EVERYTHING, 2)]
    )
    both = diagrams.combine(
        sources, hosts, lambda a, b: diagrams.leaf((diagrams.value(a), diagrams.value(b)))
    )
    reached = diagrams.reached(both)
    assert len(diagrams.leaves(both)) == 6  # 2 x 3, all met
    assert sum(k >= 0 for k in reached) == 3  # sources; hosts behind allowed and behind other sources
    assert reached[-1] == both
    assert max(diagrams.nodes[k].starts.size for k in reached if k >= 0) == 2 * 3117


def test_points_of_headers() -> None:
    assert point(Header(1, 2, 6, 3, 4, 5)) == (1, 2, 6, 3, 4, 5)
    assert point(Header(1 << 100, 2, 6, 3, 4, 5, version=6)) == (IPV6, 0, 6, 3, 4, 5)
    assert point(Header(1, 2, 6)) == (1, 2, 6, 0, 0, 64)
    assert network("10.64.0.0/10") == ((10 << 24) + (64 << 16), (10 << 24) + (128 << 16))
    assert network("0.0.0.0/0") == IPV4


def test_columns_equal_the_points_of_headers() -> None:
    rng = np.random.Generator(np.random.PCG64(7))
    n = 200
    src, dst = rng.integers(0, 256, (2, n, 16), dtype=np.uint8)  # IPv4 addresses are followed by rubbish
    ports = rng.integers(0, 65536, (2, n)).astype(np.uint16)
    version = rng.choice([4, 6], n).astype(np.uint8)
    flows = FlowTable(src, dst, version, rng.integers(0, 256, n, dtype=np.uint8), *ports)
    headers = [header_of(flows, row, 9) for row in range(n)]
    assert np.column_stack(columns(flows, 9)).tolist() == [list(point(header)) for header in headers]
    first = headers[int(np.argmax(version == 6))]
    assert first.src == int.from_bytes(src[int(np.argmax(version == 6))].tobytes(), "big")
    assert set(version.tolist()) == {header.version for header in headers} == {4, 6}


def region(**fields: list[Interval]) -> Region:
    whole = [[each] for each in EVERYTHING]
    parts = [fields.get(name, every) for name, every in zip(FIELDS, whole, strict=True)]
    return Region(*(np.array(part, np.int64) for part in parts))


def test_regions_by_hand() -> None:
    a = region(proto=[(6, 7), (17, 18)], dport=[(80, 81)])
    assert a.size == prod(SIZES) // (256 * 65536) * 2
    assert Header(1, 2, 17, 3, 80) in a
    assert Header(1, 2, 16, 3, 80) not in a
    assert Header(1, 2, 17, 3, 81) not in a
    assert a.meets(region(proto=[(0, 7)]))
    assert not a.meets(region(proto=[(7, 17)]))
    assert not a.meets(region(proto=[(6, 7)], dport=[(0, 80), (81, 90)]))
    with pytest.raises(TypeError):
        Box(sprot=(1, 2))  # type: ignore[call-arg]
