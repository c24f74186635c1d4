"""Rendezvous hashing: the highest score, exactly, and the least possible disruption."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from pools import bigger_pools, ids, keys, mix, ones, pools, shares, weightings, word_of

from lbsim.balancer.tables.rendezvous import (
    rendezvous,
    rendezvous_add,
    rendezvous_remove,
    rendezvous_table,
    score,
    weighted_rendezvous,
)


def score_oracle(server: int, key: int) -> int:
    return mix(word_of(server) ^ mix(key)) >> 11


@given(pools, keys)
def test_the_highest_score_wins(active: list[int], key: int) -> None:
    assert score(active[0], np.uint64(mix(key))) == score_oracle(active[0], key)
    best = max(active, key=lambda s: score_oracle(s, key))
    assert rendezvous(ids(active), np.uint64(key)) == best
    assert weighted_rendezvous(ids(active), ones(), np.uint64(key)) == best


@given(pools, weightings, keys)
def test_weighted_scores(active: list[int], weights: list[float], key: int) -> None:
    def cost(server: int) -> float:
        fraction = float((Fraction(score_oracle(server, key)) + Fraction(1, 2)) / 2**53)
        return -math.log(fraction) / weights[server]

    assert weighted_rendezvous(ids(active), np.array(weights), np.uint64(key)) == min(active, key=cost)


@given(bigger_pools, weightings)
def test_only_keys_of_a_server_that_leaves_move(active: list[int], weights: list[float]) -> None:
    for given_weights in (np.array(weights), ones()):
        whole = rendezvous_table(ids(active), given_weights, 300)
        without = rendezvous_table(ids(active[1:]), given_weights, 300)
        assert np.all((whole == without) | (whole == active[0]))
        assert set(without) <= set(active[1:])
        assert np.array_equal(whole, rendezvous_table(ids(active[1:] + active[:1]), given_weights, 300))


@given(bigger_pools, weightings)
def test_step_by_step_is_the_same_table(active: list[int], weights: list[float]) -> None:
    for given_weights in (np.array(weights), ones()):
        whole = rendezvous_table(ids(active), given_weights, 200)
        table = rendezvous_table(ids(active[1:]), given_weights, 200)
        rendezvous_add(table, given_weights, active[0])
        assert np.array_equal(table, whole)
        rendezvous_remove(table, ids(active[1:]), given_weights, active[0])
        assert np.array_equal(table, rendezvous_table(ids(active[1:]), given_weights, 200))


@given(pools, weightings)
def test_a_change_of_weight_moves_keys_one_way(active: list[int], weights: list[float]) -> None:
    before = rendezvous_table(ids(active), np.array(weights), 300)
    raised = np.array(weights)
    raised[active[0]] *= 1.5
    after = rendezvous_table(ids(active), raised, 300)
    assert np.all((before == after) | (after == active[0]))


def test_the_table_is_of_keys_0_to_size() -> None:
    table = rendezvous_table(np.arange(10), ones(), 100)
    assert table.tolist() == [rendezvous(np.arange(10), key) for key in range(100)]
    assert all(shares(rendezvous_table(np.arange(10), ones(), 20_000), np.arange(10)) > 0.9)


def test_shares_follow_the_weights() -> None:
    weights = np.array([1.0, 2.0, 0.0, 4.0])
    counts = np.bincount(rendezvous_table(np.arange(4), weights, 70_000)) / 10_000
    assert counts[2] == 0
    assert counts == pytest.approx(weights, rel=0.05)


def test_even_shares_are_as_random_as_they_should_be() -> None:
    n, keys = 64, 64_000
    counts = np.bincount(rendezvous_table(np.arange(n), ones(n), keys), minlength=n)
    chi2 = np.sum((counts - keys / n) ** 2) / (keys / n)
    assert 30 < chi2 < 110  # 63 degrees of freedom: 1 in 10,000 outside, and the keys are fixed
