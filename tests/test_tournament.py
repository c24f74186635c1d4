"""The tournament: its winner is the first of the targets with the least rank, whatever changed."""

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsim.balancer.policies import fewest, soonest
from lbsim.balancer.tournament import new_order, play, play_all

RANKS = {"fewest": (fewest, lambda q, w: q), "soonest": (soonest, lambda q, w: (q + 1) / w if w else np.inf)}


@numba.njit
def winner_after(order, queue, weight, rank, positions, queues):
    """Every change in turn; the winner after each."""
    winners = np.empty(len(positions) + 1, np.int64)
    play_all(order, queue, weight, rank)
    winners[0] = order[1].winner
    for k in range(len(positions)):
        queue[positions[k]] = queues[k]
        play(order, queue, weight, rank, positions[k])
        winners[k + 1] = order[1].winner
    return winners


@pytest.mark.parametrize("name", RANKS)
@given(data=st.data(), n=st.integers(1, 40))
def test_the_winner_is_the_first_of_least_rank_after_every_change(name, data, n):
    rank, oracle = RANKS[name]
    small = st.integers(0, 4)
    queue = np.array(data.draw(st.lists(small, min_size=n, max_size=n)), np.int64)
    weight = np.array(data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=n, max_size=n)))
    changes = data.draw(st.lists(st.tuples(st.integers(0, n - 1), small), max_size=30))
    positions, queues = np.array(changes, np.int64).reshape(-1, 2).T.copy()
    now = queue.tolist()
    expected = []
    for position, length in [(0, now[0]), *changes]:
        now[position] = length
        expected.append(int(np.argmin([oracle(q, w) for q, w in zip(now, weight.tolist(), strict=True)])))
    order = new_order(n)
    assert winner_after(order, queue, weight, rank, positions, queues).tolist() == expected
    again = new_order(n)
    play_all.py_func(again, queue, weight, rank)
    if n > 1:  # as if all had been played anew
        assert again[1:n].tolist() == order[1:n].tolist()


@given(n=st.integers(1, 70), data=st.data())
def test_every_match_is_played_and_has_its_own_winner(n, data):
    queue = np.array(data.draw(st.permutations(range(n))), np.int64)
    order, weight = new_order(n), np.ones(n)
    play_all.py_func(order, queue, weight, fewest)
    under = {n + p: [p] for p in range(n)}
    for match in range(n - 1, 0, -1):
        under[match] = under[2 * match] + under[2 * match + 1]
        assert order[match].winner == min(under[match], key=lambda p: queue[p])
    assert sorted(under[1]) == list(range(n))


def test_a_tournament_of_nobody_is_refused():
    with pytest.raises(ValueError, match="n is 0: a tournament needs 1 target or more"):
        new_order(0)
