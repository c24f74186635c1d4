"""The pool against a list, a queue and a set."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsim.balancer.pool import Pool


def pool(configured: int = 5, active: int = 3) -> Pool:
    return Pool(configured, active, np.ones(configured))


def test_at_the_start_the_first_are_active_and_the_others_spares() -> None:
    weights = np.array([1.0, 0.5, 2.0, 0.0])
    p = Pool(4, 2, weights)
    assert (p.configured, p.active, p.spares, p.down.tolist()) == (4, [0, 1], [2, 3], [False] * 4)
    weights[0] = 9.0
    assert p.weights.tolist() == [1.0, 0.5, 2.0, 0.0]


def test_the_first_spare_joins_at_the_end_and_who_leaves_comes_last() -> None:
    p = pool()
    assert p.join() == 3
    assert p.active == [0, 1, 2, 3]
    p.leave(1)
    assert (p.active, p.spares) == ([0, 2, 3], [4, 1])
    assert p.join(1, 0) == 1
    assert p.active == [1, 0, 2, 3]
    assert p.join(None, 2) == 4
    assert (p.active, p.spares) == ([1, 0, 4, 2, 3], [])


def test_one_that_comes_back_is_up() -> None:
    p = pool()
    p.down[[1, 2]] = True
    p.leave(1)
    p.join(1)
    assert p.down.tolist() == [False, False, True, False, False]


@given(
    st.integers(1, 6),
    st.integers(0, 5),
    st.lists(st.tuples(st.sampled_from(["join", "leave"]), st.integers(0, 12), st.integers(0, 12))),
)
def test_any_sequence(active: int, spares: int, steps: list[tuple[str, int, int]]) -> None:
    p = pool(active + spares, active)
    listed, waiting = list(range(active)), list(range(active, active + spares))
    for step, k, place in steps:
        if step == "leave" and len(listed) > 1:
            server = listed.pop(k % len(listed))
            waiting.append(server)
            p.leave(server)
        elif step == "join" and waiting:
            named = waiting[k % len(waiting)] if k % 2 else None
            at = place % (len(listed) + 1) if place % 3 else None
            server = waiting.pop(0 if named is None else k % len(waiting))
            listed.insert(len(listed) if at is None else at, server)
            assert p.join(named, at) == server
        assert (p.active, p.spares) == (listed, waiting)
    assert sorted(p.active + p.spares) == list(range(active + spares))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1,), "server 1 is active already: let one join that is not"),
        ((5,), "server is 5: servers are 0 to 4"),
        ((-1,), "server is -1: servers are 0 to 4"),
        ((None, 4), "place is 4: the list has places 0 to 3"),
        ((3, -1), "place is -1: the list has places 0 to 3"),
    ],
)
def test_what_cannot_join(arguments: tuple[int | None, ...], message: str) -> None:
    p = pool()
    with pytest.raises(ValueError, match=message):
        p.join(*arguments)
    assert (p.active, p.spares) == ([0, 1, 2], [3, 4])


def test_nobody_is_left_to_join() -> None:
    with pytest.raises(ValueError, match="all 2 servers are active: none can join; configure more"):
        pool(2, 2).join()


@pytest.mark.parametrize(
    ("server", "message"),
    [(4, "server 4 is not active: it cannot leave"), (7, "server is 7: servers are 0 to 4")],
)
def test_what_cannot_leave(server: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pool().leave(server)


def test_the_last_one_stays() -> None:
    p = pool(3, 2)
    p.leave(0)
    with pytest.raises(
        ValueError, match="server 1 is the last active one: let another join before it leaves"
    ):
        p.leave(1)
    assert (p.active, p.spares) == ([1], [2, 0])


@pytest.mark.parametrize(
    ("configured", "active", "weights", "message"),
    [
        (3, 0, [1.0] * 3, "active is 0 of 3 configured servers: choose 1 to 3"),
        (3, 4, [1.0] * 3, "active is 4 of 3"),
        (3, 3, [1.0] * 2, r"weights has shape \(2,\): give one for each of 3 servers"),
        (3, 3, [1.0, -1.0, 1.0], "weights are .*: give finite weights of 0 or more"),
        (3, 3, [1.0, np.inf, 1.0], "give finite weights"),
    ],
)
def test_impossible_pools(configured: int, active: int, weights: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pool(configured, active, np.array(weights))
