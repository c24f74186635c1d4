"""Maglev's table against the paper's pseudo-code, its evenness, and what a change moves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pools import MASK, bigger_pools, ids, mix, ones, pools, weightings, word_of

from lbsim.balancer.tables.maglev import LARGE, SMALL, maglev_table

primes = st.sampled_from([67, 101, 251, 1009])


def oracle(active: list[int], weights: list[float], size: int) -> list[int]:
    """Whole permutations first, then turns, as the paper has them; a turn when one is due."""
    servers = sorted(active)
    most = max(weights[s] for s in servers)
    wishes = {}
    for server in servers:
        word = word_of(server)
        offset, skip = mix(word) % size, mix(word ^ MASK) % (size - 1) + 1
        wishes[server] = iter([(offset + k * skip) % size for k in range(size)])
    table: dict[int, int] = {}
    taken = dict.fromkeys(servers, 0)
    turn = 1
    while True:
        for server in servers:
            if taken[server] < int(turn * (weights[server] / most)):
                taken[server] += 1
                table[next(slot for slot in wishes[server] if slot not in table)] = server
                if len(table) == size:
                    return [table[slot] for slot in range(size)]
        turn += 1


@given(pools, weightings, primes)
def test_population(active: list[int], weights: list[float], size: int) -> None:
    assert maglev_table(ids(active), np.array(weights), size).tolist() == oracle(active, weights, size)


@given(pools, primes)
def test_shares_differ_by_one_slot(active: list[int], size: int) -> None:
    counts = np.bincount(maglev_table(ids(active), ones(), size), minlength=64)
    assert set(counts[active]) <= {size // len(active), -(-size // len(active))}
    assert counts.sum() == counts[active].sum()


@given(pools, weightings, primes)
def test_shares_follow_the_weights(active: list[int], weights: list[float], size: int) -> None:
    counts = np.bincount(maglev_table(ids(active), np.array(weights), size), minlength=64)[active]
    share = np.array(weights)[active]
    fair = counts.sum() * share / share.sum()
    assert np.all(np.abs(counts - fair) <= 1 + share / share.sum() * len(active))


@given(bigger_pools)
def test_the_table_depends_on_the_set_only(active: list[int]) -> None:
    assert np.array_equal(
        maglev_table(ids(active), ones(), 251), maglev_table(ids(active[1:] + active[:1]), ones(), 251)
    )


@pytest.mark.parametrize(("size", "most"), [(SMALL, 0.03), (LARGE, 0.005)])
def test_disruption_falls_with_the_size(size: int, most: float) -> None:
    active = np.arange(100)
    whole = maglev_table(active, ones(100), size)
    without = maglev_table(active[1:], ones(100), size)
    elsewhere = np.mean((whole != without) & (whole != 0))
    assert 0 < elsewhere < most


def test_a_size_that_is_not_prime_is_refused() -> None:
    for size in (1, 9, 25, 49, 65_536, 3 * 21_847):
        with pytest.raises(ValueError, match="prime number of slots"):
            maglev_table(np.arange(1), ones(), size)
    assert set(maglev_table(np.arange(2), ones(), 2)) == {0, 1}


@pytest.mark.slow
def test_the_paper_s_sizes_with_1000_servers() -> None:
    active = list(range(1000))
    assert maglev_table(ids(active), ones(1000), SMALL).tolist() == oracle(active, [1.0] * 1000, SMALL)
