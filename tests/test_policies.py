"""Every policy against a plain reading of its rule, compiled and as written."""

import bisect
import hashlib
import math
import sys
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import MASK, ids, mix

from lbsim import balancer
from lbsim.balancer import Policy, Unit, View, first, policies, policy
from lbsim.balancer.choices import BUCKETS, LARGE, SMALL, VNODES
from lbsim.balancer.policies import fewest, memory_of, slots_of, soonest, table_over
from lbsim.balancer.tournament import new_order, no_order
from lbsim.balancer.weighted import LONGEST, awrr_weights, weighted_list
from lbsim.engine.compiled import CompiledPlane
from lbsim.engine.kernels import Machine
from lbsim.engine.plane import Choice, Clock
from lbsim.engine.policy import compile_policy
from lbsim.engine.reference import ReferencePlane, Rings
from lbsim.engine.rings import PolledRings
from lbsim.workload.packets import Packets

CONFIGURED = 16
SLOTS = 101  # a prime, for Maglev
NONE = np.empty(0, np.int64)


# --- the rules, written once more ---------------------------------------------------------------------------


def coin(v, u, k):
    z = (v.seed + u.index * 0x9E3779B97F4A7C15 + k * 0xD1B54A32D192ED03) & MASK
    return mix(mix(z)) >> 1


def folded(h):
    return (h // 65536) ^ (h % 65536)


def turn(memory, key, start, n):
    """The pointer's target; the pointer moves on."""
    here = memory.get(key, start) % n
    memory[key] = (here + 1) % n
    return here


def per_core(m, v, u):
    core = u.hash & 3
    return turn(m, core, core * (v.n // 4), v.n)


def shortest(v, drawn):
    return min(drawn, key=lambda t: v.queue[t])  # min takes the first


def different(m, v, u):
    a = coin(v, u, 0) % v.n
    others = [t for t in range(v.n) if t != a] or [a]
    return shortest(v, [a, others[coin(v, u, 1) % len(others)]])


def idle(m, v, u):
    waiting = [t for t in range(v.n) if v.queue[t] == 0]
    return waiting[0] if waiting else coin(v, u, 0) % v.n


def delay(m, v, u):
    return min(range(v.n), key=lambda t: _delay(v, t))


def _delay(v, t):
    return (v.queue[t] + 1) / v.weight[t] if v.weight[t] else math.inf


def walked(m, v, u):
    return v.table[turn(m, "slot", 0, len(v.table))]


def bounded(m, v, u):
    start = u.hash % len(v.table)
    for t in v.table[start:] + v.table[:start]:
        if v.queue[t] < math.ceil(1.25 * (sum(v.queue) + 1) * (v.weight[t] / sum(v.weight))):
            return t
    return v.table[start]


def slot(m, v, u):
    return v.table[u.hash % len(v.table)]


def folded_slot(m, v, u):
    return v.table[folded(u.hash) % len(v.table)]


ORACLES = {
    "round_robin": lambda m, v, u: turn(m, "all", 0, v.n),
    "round_robin_per_core": per_core,
    "uniform": lambda m, v, u: coin(v, u, 0) % v.n,
    "power_of_two": lambda m, v, u: shortest(v, [coin(v, u, k) % v.n for k in (0, 1)]),
    "power_of_two_distinct": different,
    "jsq": lambda m, v, u: shortest(v, [coin(v, u, k) % v.n for k in range(v.choices)]),
    "least_loaded": lambda m, v, u: shortest(v, range(v.n)),
    "join_idle": idle,
    "shortest_expected_delay": delay,
    "weighted_round_robin": walked,
    "adaptive_weighted_round_robin": walked,
    "bounded_loads": bounded,
    "one_plus_beta": lambda m, v, u: shortest(
        v, [coin(v, u, k) % v.n for k in range(2 if coin(v, u, 2) >> 10 < 2**52 else 1)]
    ),
}
BY_HASH = {
    "hashed": lambda m, v, u: u.hash % v.n,
    "hashed_folded": lambda m, v, u: folded(u.hash) % v.n,
    "ring": slot,
    "ring_published": folded_slot,
    "ring_first_published": folded_slot,
    "uhashring": slot,
    "rendezvous": slot,
    "maglev": slot,
    "maglev_large": slot,
    "beamer": slot,
    "beamer_published": slot,
    "faild": slot,
}
ALL = ORACLES | BY_HASH
HOME = Path(balancer.__file__).parent


@pytest.fixture(scope="module")
def compiled():
    """Each policy's function, compiled when it is first asked for."""
    return lambda name: compile_policy(policies()[name].choose)


def positions(own, active, weights, seed):
    """A policy's table over a pool as an engine shows it."""
    if own.buckets is not None:
        servers = own.buckets[0](active, SLOTS).current
    elif own.table is not None:
        servers = own.table(active, weights, SLOTS, seed)
    else:
        return NONE
    place = {server: k for k, server in enumerate(active.tolist())}
    return np.array([place[server] for server in servers.tolist()], np.int64)


@st.composite
def pools(draw):
    """Active servers in some order, weights of all, and connections of the active ones."""
    active = draw(st.lists(st.integers(0, CONFIGURED - 1), min_size=1, max_size=CONFIGURED, unique=True))
    some = st.sampled_from([0.0, 0.5, 1.0, 1.0, 1.7, 3.0])
    weights = np.array(draw(st.lists(some, min_size=CONFIGURED, max_size=CONFIGURED)))
    weights[active[0]] = draw(st.sampled_from([1.0, 4.0]))  # not all 0
    queue = draw(st.lists(st.integers(0, 5), min_size=len(active), max_size=len(active)))
    return ids(active), weights, queue


def unseen(n):
    """Latency, inside and age where no policy is to look at them."""
    return (np.full(n, -1),) * 3


HASHES = st.integers(0, 2**32 - 1)
SEEDS = st.integers(0, 2**63 - 1)


@pytest.mark.parametrize("name", ALL)
@given(
    phases=st.lists(pools(), min_size=1, max_size=3),
    hashes=st.lists(HASHES, min_size=6, max_size=6),
    choices=st.integers(1, 5),
    seed=SEEDS,
)
@settings(max_examples=25)
def test_a_policy_follows_its_rule_while_the_pool_changes(name, compiled, phases, hashes, choices, seed):
    own, memory, index = policies()[name], {}, 0
    plain_state, state = memory_of(own, CONFIGURED), memory_of(own, CONFIGURED)
    for active, weights, start in phases:
        n, table = len(active), positions(own, active, weights, seed)
        queue, weight = np.array(start, np.int64), weights[active]
        weight = weight * (n / weight.sum())

        def seen(memory, queue=queue, weight=weight, table=table, active=active, n=n):
            total = int(queue.sum())
            return View(
                n, 7, queue, memory, seed, total, weight, table, no_order(), active, choices, *unseen(n)
            )  # fmt: skip

        for word in hashes:
            unit = Unit(index, index, word, 0)
            plainly = seen(state)._replace(
                queue=queue.tolist(), weight=weight.tolist(), table=table.tolist()
            )  # fmt: skip
            expected = ALL[name](memory, plainly, unit)
            assert 0 <= expected < n
            assert own.choose(seen(plain_state), unit) == expected
            assert compiled(name)(seen(state), unit) == expected
            assert plain_state.tolist() == state.tolist()
            queue[expected] += 1
            index += 1


def test_every_policy_has_its_rule_and_says_whether_it_goes_by_hash():
    files = {name: Path(p.choose.__code__.co_filename) for name, p in policies().items()}
    own = {
        name: p for name, p in policies().items() if files[name].parent == HOME
    }  # not those of other tests
    assert set(own) == set(ALL) | {"peak_ewma", "c3", "prequal"}  # whose rules need answers, or time
    assert {name for name, p in own.items() if p.by_hash} == set(BY_HASH)
    assert all(p.about.endswith((".", ")")) and len(p.about) <= 110 for p in own.values())


@pytest.mark.parametrize("name", BY_HASH)
@given(pool=pools(), word=HASHES, a=SEEDS, b=SEEDS, queue=st.integers(0, 9))
@settings(max_examples=15)
def test_a_policy_by_hash_looks_at_nothing_else(name, compiled, pool, word, a, b, queue):
    own, (active, weights, start) = policies()[name], pool
    table, n = positions(own, active, weights, 1), len(active)
    assert own.state == 0
    starting, busy = np.array(start, np.int64), np.full(n, queue)
    one = View(
        n, 0, starting, NONE, a, sum(start), weights[active], table, no_order(), active, 2, *unseen(n)
    )  # fmt: skip
    other = View(
        n, b, busy, NONE, b, n * queue, weights[active], table, new_order(n), active, 3, busy, busy, busy
    )  # fmt: skip
    choose = compiled(name)
    assert choose(one, Unit(0, 0, word, 64)) == choose(other, Unit(b, 5, word, 1500))


@given(n=st.integers(1, 9), calls=st.integers(1, 40))
def test_round_robin_is_the_index_modulo_n_as_long_as_nothing_changes(n, calls):
    queue, order, servers = np.zeros(n, int), no_order(), np.arange(n)
    view = View(n, 0, queue, np.zeros(1, int), 0, 0, np.ones(n), NONE, order, servers, 2, *unseen(n))
    choose = policies()["round_robin"].choose
    assert [choose(view, Unit(k, 0, 0, 0)) for k in range(calls)] == [k % n for k in range(calls)]


def test_the_bound_gives_way_where_no_server_of_the_table_has_room(compiled):
    only_0 = np.zeros(5, np.int64)
    queue, order, servers = np.array([9, 0]), no_order(), np.arange(2)
    view = View(2, 0, queue, NONE, 0, 9, np.ones(2), only_0, order, servers, 2, *unseen(2))
    assert compiled("bounded_loads")(view, Unit(0, 0, 3, 0)) == 0


@pytest.mark.parametrize("rank", [fewest, soonest])
def test_the_first_comes_from_the_tournament_where_one_is_kept(rank):
    queue, order, servers = np.array([2, 1, 1]), no_order(), np.arange(3)
    view = View(3, 0, queue, NONE, 0, 4, np.ones(3), NONE, order, servers, 2, *unseen(3))
    for ask in (first, first.py_func):
        assert ask(view, rank) == 1
        kept = new_order(3)
        kept.winner = [0, 2, 2, 0]
        assert ask(view._replace(order=kept), rank) == 2


# --- weights ------------------------------------------------------------------------------------------------


@given(pool=pools(), seed=SEEDS)
def test_a_round_gives_each_server_what_it_weighs(pool, seed):
    active, weights, _ = pool
    made = weighted_list(active, weights, 0, seed)
    expected = {s: round(weights[s]) for s in active.tolist() if round(weights[s])}
    assert Counter(made.tolist()) == expected
    assert made.tolist() == weighted_list(active, weights, 0, seed).tolist()


def test_the_list_is_shuffled_evenly():
    lists = np.array([weighted_list(np.arange(4), np.ones(4), 0, seed) for seed in range(4000)])
    for place in range(4):
        assert np.all(np.abs(np.bincount(lists[:, place]) - 1000) < 150)  # five standard deviations


@pytest.mark.parametrize(
    ("weights", "problem"),
    [
        ([0.4, 0.0], "add up to 0: scale them"),
        ([-1.0, 3.0], r"the weight of server 0 is -1\.0"),
        ([1.0, np.nan], "the weight of server 1 is nan"),
        ([float(LONGEST), 1.0], f"add up to {LONGEST + 1}: scale them"),
    ],
)
def test_weights_that_make_no_list_are_refused(weights, problem):
    with pytest.raises(ValueError, match=problem):
        weighted_list(np.arange(2), np.array(weights), 0, 1)


@given(
    load=st.lists(st.integers(0, 3000), min_size=4, max_size=4),
    averaged=st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True),
    gain=st.sampled_from([1, 10]),
    alpha=st.sampled_from([0, Fraction(1, 4), 1]),
)
def test_adapted_weights_are_those_of_the_published_formula(load, averaged, gain, alpha):
    mean = sum(load[s] for s in averaged) // len(averaged)
    expected = []
    for own in load:
        scale = (1 - alpha) * own + alpha * mean
        expected.append(30 if own == 0 or scale == 0 else int(min(max(Fraction(gain * mean) / scale, 2), 30)))
    made = awrr_weights(ids(load), ids(averaged), float(gain), float(alpha), 2, 30)
    assert made.tolist() == expected


def test_adapted_weights_with_published_constants():
    load = ids([0, 10, 20, 41, 400])  # mean 94
    assert awrr_weights(load, np.arange(5), 10.0, 0.0, 2, 30).tolist() == [30, 30, 30, 22, 2]
    assert awrr_weights(load, ids([1, 2]), 10.0, 0.0, 2, 30).tolist() == [30, 15, 7, 3, 2]  # mean 15


# --- tables -------------------------------------------------------------------------------------------------


def test_tables_are_as_large_as_published():
    sizes = {name: slots_of(p, 32) for name, p in policies().items() if name in ALL and slots_of(p, 32)}
    assert sizes == {
        **dict.fromkeys(("ring", "ring_published", "ring_first_published", "bounded_loads"), 3200),
        **dict.fromkeys(("uhashring", "rendezvous", "maglev"), SMALL),
        "maglev_large": LARGE,
        **dict.fromkeys(("beamer", "beamer_published", "faild"), BUCKETS),
    }


@given(pool=pools(), size=st.integers(CONFIGURED, 200))
@settings(max_examples=30)
def test_the_slots_of_uhashring_are_positions_on_its_ring(pool, size):
    active, weights, _ = pool
    points = sorted(
        (int(hashlib.md5(f"{server}-{v}".encode()).hexdigest(), 16), server)
        for server in active.tolist()
        for v in range(VNODES)
    )
    table = policies()["uhashring"].table(active, weights, size, 1)
    at = [bisect.bisect(points, ((k << 128) // size, CONFIGURED)) for k in range(size)]
    assert table.tolist() == [points[k % len(points)][1] for k in at]


@pytest.mark.parametrize("name", [name for name in ALL if policies()[name].table])
@given(pool=pools(), seed=SEEDS)
@settings(max_examples=15)
def test_a_table_names_active_servers_only(name, pool, seed):
    active, weights, _ = pool
    table = policies()[name].table(active, weights, SLOTS, seed)
    assert table.dtype == np.int64
    assert set(table.tolist()) <= set(active.tolist())


@pytest.mark.parametrize("name", ["beamer", "beamer_published", "faild"])
@given(pool=pools(), data=st.data())
@settings(max_examples=25)
def test_buckets_are_shared_evenly_by_those_who_are_there(name, pool, data):
    make, join, leave = policies()[name].buckets
    active, rows = pool[0].tolist(), make(pool[0], 320)
    for now in range(5):
        others = [s for s in range(CONFIGURED) if s not in active]
        if len(active) > 1 and (not others or data.draw(st.booleans())):
            gone = active.pop(data.draw(st.integers(0, len(active) - 1)))
            leave(rows, ids(active), gone, now)
        else:
            active.append(data.draw(st.sampled_from(others)))
            join(rows, ids(active), active[-1], now)
        load = Counter(rows.current.tolist())
        assert set(load) == set(active)
        if name != "faild":  # where servers return to their home, whoever has taken over from another
            assert max(load.values()) - min(load.values()) <= 1 + 320 % len(active)


def test_a_server_new_to_faild_takes_its_share_from_all_and_keeps_it():
    make, join, leave = policies()["faild"].buckets
    rows, three, four = make(ids([0, 1, 2]), 120), ids([0, 1, 2]), ids([0, 1, 2, 7])
    join(rows, four, 7, 0)
    first_time = rows.current.tolist()
    assert Counter(first_time) == {0: 30, 1: 30, 2: 30, 7: 30}
    leave(rows, three, 7, 1)
    assert 7 not in rows.current
    join(rows, four, 7, 2)
    assert rows.current.tolist() == first_time


def test_a_new_server_takes_the_oldest_buckets_as_meant_and_the_last_as_published():
    taken = {}
    for name in ("beamer", "beamer_published"):
        make, join, _ = policies()[name].buckets
        rows = make(ids([0, 1]), 12)
        join(rows, ids([0, 1, 2]), 2, 5)
        taken[name] = np.flatnonzero(rows.current == 2).tolist()
    assert taken == {"beamer": [0, 1, 6, 7], "beamer_published": [4, 5, 10, 11]}


@pytest.mark.parametrize("name", ["maglev", "faild", "weighted_round_robin", "round_robin_per_core"])
def test_a_policy_with_a_table_or_memory_picks_cores_alike_in_both_engines(name, compiled):
    rng, n = np.random.default_rng(1), 300
    packets = Packets(
        np.cumsum(rng.integers(0, 9, n)), np.zeros(n, np.int32), rng.integers(0, 40, n).astype(np.int32),
        np.full(n, 64, np.int32), rng.integers(0, 30, n),
    )  # fmt: skip
    own, hashes = policies()[name], rng.integers(0, 2**32, 40).astype(np.uint32)
    logs = []
    for engine, choose in ((ReferencePlane, own.choose), (CompiledPlane, compiled(name))):
        chosen = Choice(choose, np.zeros(own.state, np.int64), 3, hashes)
        table, machine, clock = table_over(own, 3, 3), Machine(8, 2, 0, 0, 0), Clock()
        if engine is ReferencePlane:
            bank = Rings(clock, machine, 3, table, chosen)
            plane = ReferencePlane(clock, iter([packets]), machine, bank, log=True)
        else:
            plane = CompiledPlane(iter([packets]), machine, PolledRings(machine, 3, table, chosen), log=True)
        clock.run()
        logs.append([column.tolist() for column in plane.finish().log])
    assert logs[0] == logs[1]
    assert set(logs[0][2]) == {0, 1, 2}


# --- declaring one ------------------------------------------------------------------------------------------


@pytest.fixture
def registry(monkeypatch):
    """A registry for this test alone."""
    made = {}
    monkeypatch.setattr(sys.modules[Policy.__module__], "_REGISTRY", made)
    return made


def test_a_policy_keeps_what_it_declares(registry):
    @policy
    def plain(view, unit):
        """Plain.

        More.
        """
        return 0

    @policy(state=2, by_hash=True, table=weighted_list, slots=lambda configured: 3 * configured, rank=fewest)
    def full(view, unit):
        return 0

    assert registry["plain"] == Policy("plain", plain, 0, "Plain.")
    assert registry["full"].table is weighted_list
    assert registry["full"].rank is fewest
    assert (registry["full"].state, registry["full"].by_hash) == (2, True)
    assert (slots_of(registry["full"], 5), slots_of(registry["plain"], 5)) == (15, 0)
    assert table_over(registry["plain"], 5, 1).tolist() == []
    assert sorted(table_over(registry["full"], 5, 1).tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        ({"table": weighted_list, "buckets": (len, len, len)}, "declares table and buckets"),
        ({"slots": 5}, "declares slots but no table"),
    ],
)
def test_declarations_that_contradict_each_other_are_refused(registry, declared, problem):
    with pytest.raises(ValueError, match=problem):
        policy(**declared)(lambda view, unit: 0)
    assert registry == {}
