"""Where chains go: servers by two choices and its rivals, paths by hops."""

from __future__ import annotations

from itertools import islice, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbsim.chain.placement import (
    CHOICES,
    Demand,
    Fleet,
    Placement,
    Topology,
    best_path,
    fat_tree,
    leaf_spine,
    paths,
    place,
    two_choices,
)


class Draws:
    """Stands for a generator that draws what it is told."""

    def __init__(self, *pairs: tuple[int, ...]) -> None:
        self.pairs = list(pairs)

    def integers(self, most: int, size: int | None = None) -> object:
        drawn = self.pairs.pop(0)
        assert max(drawn) < most
        return np.array(drawn) if size else drawn[0]


def fleet(taken: list[int], load: list[float] | None = None, cores: int = 4, nics: int = 1) -> Fleet:
    empty = Fleet.of(len(taken), cores, nics)
    return empty._replace(taken=np.array(taken), load=np.array(taken if load is None else load, float))


def placed(demand: Demand, servers: Fleet, choice: str, *draws: tuple[int, ...]) -> tuple[int, int]:
    got = place([demand], servers, CHOICES[choice], Draws(*draws))  # type: ignore[arg-type]
    return int(got.server[0]), int(got.tries[0])


# --- Servers ------------------------------------------------------------------------------------------------


def test_the_one_with_more_spare_capacity_is_taken() -> None:
    spare = np.array([1.0, 3.0, 2.0, 3.0])
    for first, second, chosen in ((0, 1, 1), (1, 0, 1), (1, 3, 1), (3, 1, 3), (2, 2, 2)):
        assert two_choices([0, 1, 2, 3], spare, Draws((first, second))) == chosen  # type: ignore[arg-type]
    assert two_choices([1, 3], spare, Draws((1, 1))) == 3  # type: ignore[arg-type]


def test_spare_capacity_is_what_the_work_leaves_not_what_chains_hold() -> None:
    servers = fleet([3, 1], load=[0.5, 0.9])
    assert placed(Demand(1), servers, "two choices", (0, 1)) == (0, 1)
    assert placed(Demand(2), servers, "two choices", (0, 1), (0, 0)) == (1, 2)  # dropped, then the other


def test_who_cannot_take_it_is_dropped_and_others_are_drawn() -> None:
    servers = fleet([3, 3, 0], load=[0, 0, 2])
    # Of 0, 1, 2 it draws 0 and 1: 0 refuses. Of 1, 2 the first: 1 refuses. Of 2 alone: 2.
    assert placed(Demand(2), servers, "two choices", (0, 1), (0, 0), (0, 0)) == (2, 3)
    assert placed(Demand(5), servers, "two choices", (0, 0), (0, 0), (0, 0)) == (-1, 3)


def test_nics_must_suffice() -> None:
    assert placed(Demand(1, nics=2), fleet([0, 0]), "first fit") == (-1, 2)
    assert placed(Demand(1, nics=2), fleet([0, 0], nics=2), "first fit") == (0, 1)


def test_rivals() -> None:
    servers = fleet([1, 3, 0, 2])
    assert placed(Demand(1), servers, "first fit") == (0, 1)
    assert placed(Demand(4), servers, "first fit") == (2, 3)
    assert placed(Demand(1), servers, "best fit") == (1, 1)
    assert placed(Demand(3), servers, "best fit") == (0, 3)  # 1 and 3 refuse
    assert placed(Demand(1), servers, "most spare") == (2, 1)
    assert placed(Demand(1), servers, "random", (3,)) == (3, 1)
    assert placed(Demand(3), servers, "random", (3,), (1,), (1,)) == (2, 3)


def test_what_a_chain_takes_counts_for_the_next() -> None:
    start = Fleet.of(2, 4)
    got = place(
        [Demand(3, 1.5), Demand(1, 0.5), Demand(4)], start, CHOICES["most spare"], np.random.default_rng(0)
    )
    assert got.server.tolist() == [0, 1, -1]
    assert got.fleet.taken.tolist() == [3, 1]
    assert got.fleet.load.tolist() == [1.5, 0.5]
    assert start.taken.tolist() == [0, 0]  # it was not touched
    assert start.load.tolist() == [0, 0]


@pytest.mark.parametrize("wrong", [Demand(0), Demand(1, -0.1), Demand(1, float("nan"))])
def test_a_senseless_demand_is_refused(wrong: Demand) -> None:
    with pytest.raises(ValueError, match=r"chain 1: Demand.* must ask for 1 core or more"):
        place([Demand(1), wrong], Fleet.of(1, 4), CHOICES["random"], np.random.default_rng(0))


@settings(deadline=None)
@given(
    st.lists(st.builds(Demand, st.integers(1, 6), st.floats(0, 6), st.integers(1, 2)), max_size=12),
    st.lists(st.integers(0, 5), min_size=1, max_size=5),
    st.sampled_from(sorted(CHOICES)),
    st.integers(0, 2**32 - 1),
)
def test_a_chain_is_refused_only_where_no_server_could_take_it(
    demands: list[Demand], taken: list[int], choice: str, seed: int
) -> None:
    start = fleet(taken, cores=5)
    got: Placement = place(demands, start, CHOICES[choice], np.random.default_rng(seed))
    free = start.cores - start.taken
    for demand, server, tries in zip(demands, got.server.tolist(), got.tries.tolist(), strict=True):
        could = [s for s in range(len(taken)) if free[s] >= demand.cores and demand.nics <= 1]
        assert (server in could) if could else (server == -1 and tries == len(taken))
        assert 1 <= tries <= len(taken)
        if server >= 0:
            free[server] -= demand.cores
    assert (got.fleet.cores - got.fleet.taken == free).all()


def test_two_choices_spread_far_better_than_one() -> None:
    # 512 chains of one core on as many servers, 20 times. At random a server gets 5 or more with probability
    # 0.00366, so the most on one is about 5; with two choices about log2 ln n = 2.6, plus 0 to 1.
    def most(choice: str, seed: int) -> int:
        rng = np.random.default_rng(seed)
        return int(place([Demand(1, 1.0)] * 512, Fleet.of(512, 512), CHOICES[choice], rng).fleet.taken.max())

    assert 4.3 < np.mean([most("random", seed) for seed in range(20)]) < 5.7
    assert 2.0 <= np.mean([most("two choices", seed) for seed in range(20)]) < 3.5
    assert most("most spare", 0) == 1
    assert most("first fit", 0) == most("best fit", 0) == 512


# --- Paths --------------------------------------------------------------------------------------------------


def node(topology: Topology, name: str) -> int:
    return topology.names.index(name)


def test_a_leaf_spine_by_hand() -> None:
    net = leaf_spine(leaves=3, spines=2, servers=2)
    assert net.names[:5] == ("spine 0", "spine 1", "leaf 0", "leaf 1", "leaf 2")
    assert net.servers == (5, 6, 7, 8, 9, 10)
    assert net.edges == (2, 2, 3, 3, 4, 4)
    assert net.neighbours[2] == (0, 1, 5, 6)
    assert best_path(net, 5, 6) == (5, 2, 6)
    assert list(islice(paths(net, 5, 7), 3)) == [(5, 2, 0, 3, 7), (5, 2, 1, 3, 7), (5, 2, 0, 4, 1, 3, 7)]
    assert best_path(net, 5, 5) == (5,)
    # Of 4 hops one path a spine; of 6 hops over leaf 2, up and down by different spines.
    assert [len(path) - 1 for path in paths(net, 5, 7)] == [4, 4, 6, 6]


def test_a_fat_tree_has_the_paths_that_it_is_built_for() -> None:
    net = fat_tree(4)
    assert len(net.servers) == 16
    assert len(net.names) == 36
    assert {len(near) for near in net.neighbours[:20]} == {4}  # every switch uses all ports
    far, near, beside = net.servers[0], net.servers[-1], net.servers[2]
    shortest = [path for path in islice(paths(net, far, near), 8) if len(path) == 7]
    assert len(shortest) == 4  # (k / 2)^2, one a core switch
    assert sorted(net.names[path[3]] for path in shortest) == [f"core {c}" for c in range(4)]
    assert [len(path) for path in islice(paths(net, far, beside), 3)] == [
        5,
        5,
        11,
    ]  # down again in another pod
    assert len(best_path(net, far, net.servers[1])) == 3
    for wrong in (0, 3):
        with pytest.raises(ValueError, match="even number of ports"):
            fat_tree(wrong)


def every_path(net: Topology, here: tuple[int, ...], target: int) -> list[tuple[int, ...]]:
    if here[-1] == target:
        return [here]
    onward = (node for node in net.neighbours[here[-1]] if node not in here)
    return [path for node in onward for path in every_path(net, (*here, node), target)]


@settings(deadline=None, max_examples=150)
@given(st.integers(2, 6), st.data())
def test_paths_are_all_paths_in_order(nodes: int, data: st.DataObject) -> None:
    pairs = [(a, b) for a in range(nodes) for b in range(a)]
    links = set(data.draw(st.lists(st.sampled_from(pairs), max_size=10)))
    near = tuple(
        tuple(sorted({a for a, b in links if b == n} | {b for a, b in links if a == n})) for n in range(nodes)
    )
    net = Topology(tuple(map(str, range(nodes))), near, (), ())
    found = list(paths(net, 0, nodes - 1))
    assert found == sorted(every_path(net, (0,), nodes - 1), key=lambda path: (len(path), path))
    assert all(b in near[a] for path in found for a, b in pairwise(path))
    if found:
        assert best_path(net, 0, nodes - 1) == found[0]
    else:
        with pytest.raises(ValueError, match=f"no path from 0 to {nodes - 1}"):
            best_path(net, 0, nodes - 1)
