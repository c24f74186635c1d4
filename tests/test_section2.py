"""Cheetah's Section 2: the kernels against the authors' digits, and against plain Python."""

from heapq import heappop, heappush

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbsim.balancer.hashing.texts import md5_padded
from lbsim.engine.section2 import plain
from lbsim.engine.section2.block import BLOCK, NONE, block, next_arrivals
from lbsim.engine.section2.dip import RULES, Churn, dip
from lbsim.engine.section2.dynamic_beamer import Beamer, dynamic_beamer
from lbsim.engine.section2.events import departures, down_times, durations
from lbsim.engine.section2.imbalance import PLACEMENTS, SLOT, Cluster, Meter, imbalance
from lbsim.engine.section2.keys import HASHINGS, key_blocks
from lbsim.engine.section2.levels import HIGHEST, LOWEST, change, highest, join, levels, lowest, withdraw
from lbsim.workload.cpython import stream

SEEDS = st.integers(0, 2**32)


def rows(table):
    return [tuple(row) for row in table.to_numpy().tolist()]


def test_the_laws_have_the_published_means():
    assert durations().mean == 21.334035066373556
    assert down_times().mean == pytest.approx(1786, abs=1)


# --- the authors' own runs at reduced scale (cheetahlb/simulations under Python 2.7) ----------------------


@pytest.mark.parametrize(
    ("placement", "mean", "largest"),
    [
        ("least-loaded", 1.0286158378373202, 1.0555555556),
        ("hash", 1.6575670289663802, 2.0540540541),
        ("power-of-two", 1.1313387163082829, 1.1842105263),
        ("round-robin", 1.3774242679688689, 1.5277777778),
    ],
)
def test_imbalance_to_the_last_digit(placement, mean, largest):
    made = imbalance(placement, Cluster(4000, servers=100, buckets=100, end=300))
    assert (made.connections, made.mean) == (56169, mean)
    assert round(made.largest, 10) == largest


@pytest.mark.parametrize(
    ("connections", "updates", "end", "every_move", "chain"),
    [
        (500, 78, 500, 441, 37),
        (2000, 15.6, 200, 29, 1),
        (8000, 15.6, 200, 187, 0),
        (20000, 15.6, 200, 632, 3),
    ],
)
def test_broken_by_updates_to_the_last_connection(connections, updates, end, every_move, chain):
    assert dip(Churn(updates, "every-move", connections, end=end)).broken == every_move
    assert dip(Churn(updates, "chain", connections, end=end)).broken == chain


def test_dynamic_beamer_to_the_last_connection():
    assert dynamic_beamer(Beamer(1.5, 4000, end=120)).broken.iloc[-1] == 6
    assert dynamic_beamer(Beamer(1.3, 4000, 100, 10000, end=50)).broken.iloc[-1] == 1566


@pytest.mark.slow
@pytest.mark.parametrize(
    ("threshold", "minute", "last"),
    [
        (1.10, 15, (2953989, 99187, 74000)),
        (1.15, 32, (6300643, 205508, 71700)),
        (1.25, 52, (10233016, 178082, 43000)),
        (1.30, 20, (3939085, 40168, 26600)),
        (1.40, 273, (53736112, 65540, 10500)),
    ],
)
def test_dynamic_beamer_as_published(threshold, minute, last):
    table = dynamic_beamer(Beamer(threshold, end=60 * minute))
    assert tuple(table.loc[minute, ["connections", "broken", "moved"]]) == last


# --- against plain Python ---------------------------------------------------------------------------------


@pytest.mark.parametrize("hashing", HASHINGS)
@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize(("floor", "at_arrivals"), [(True, True), (False, False)])
def test_imbalance_equals_plain_python(placement, hashing, floor, at_arrivals):
    run = placement, Cluster(400, servers=37, buckets=50, end=320), 3, Meter(hashing, floor, at_arrivals)
    ours, theirs = imbalance(*run), plain.imbalance(*run)
    assert tuple(ours) == pytest.approx(tuple(theirs), rel=1e-12)
    assert at_arrivals <= (ours == theirs)  # to the last digit where both add the same terms


@settings(max_examples=12, deadline=None)
@given(
    seed=SEEDS,
    rule=st.sampled_from(RULES),
    pick_up=st.booleans(),
    servers=st.integers(2, 25),
    vnodes=st.integers(1, 6),
)
def test_broken_by_updates_equal_plain_python(seed, rule, pick_up, servers, vnodes):
    churn = Churn(60.0, rule, 300, servers, vnodes, 400.0, pick_up=pick_up)
    assert dip(churn, seed) == plain.dip(churn, seed)


@settings(max_examples=12, deadline=None)
@given(
    seed=SEEDS,
    threshold=st.floats(1.01, 2),
    servers=st.integers(2, 70),
    per_server=st.floats(1, 30),
    hashing=st.sampled_from(HASHINGS),
    floor=st.booleans(),
    any_overloaded=st.booleans(),
)
def test_dynamic_beamer_equals_plain_python(
    seed, threshold, servers, per_server, hashing, floor, any_overloaded
):
    buckets = int(servers * per_server)
    beamer = Beamer(threshold, 500, servers, buckets, 100.0, hashing, floor, any_overloaded)
    assert rows(dynamic_beamer(beamer, seed)) == plain.dynamic_beamer(beamer, seed)


# --- pieces -----------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(seed=SEEDS, rate=st.floats(1, 500), in_order=st.booleans())
def test_a_block_lists_the_departures_before_each_arrival(seed, rate, in_order):
    law, numbers, ahead, start, waiting = durations(), stream(seed), block(), 0.0, []
    queues, _, slots = departures(law, rate, SLOT)
    for _ in range(4):
        start = next_arrivals(ahead, numbers, np.array(law.cdf), rate, queues, slots, start, in_order)
        for i in range(BLOCK):
            seen, slot = [], ahead.leaving[i]
            while slot != NONE:
                seen.append(slots[slot]["time"])
                slot = slots[slot]["next"]
            due = []
            while waiting and waiting[0] <= ahead.time[i]:
                due.append(heappop(waiting))
            assert (seen if in_order else sorted(seen)) == due
            heappush(waiting, slots[ahead.slot[i]]["time"])


@given(st.integers(1, 200), st.lists(st.tuples(st.integers(0, 199), st.integers(-3, 3)), max_size=60))
def test_the_most_and_least_loaded_are_those_of_a_list(servers, changes):
    made, loads, span = levels(servers, 200), [0] * servers, np.zeros(2, np.int64)
    for at, by in changes:
        server = at % servers
        if loads[server] + by >= 0:
            change(made, span, server, loads[server], by)
            loads[server] += by
        assert (span[LOWEST], span[HIGHEST]) == (min(loads), max(loads))
        assert lowest(made, min(loads)) == loads.index(min(loads))
        assert highest(made, max(loads)) == servers - 1 - loads[::-1].index(max(loads))


@given(st.lists(st.integers(0, 30), min_size=2, max_size=80), st.data())
def test_servers_that_withdraw_are_not_seen(loads, data):
    made, span = levels(len(loads), 40), np.zeros(2, np.int64)
    for server, load in enumerate(loads):
        change(made, span, server, 0, load)
    gone = data.draw(st.sets(st.integers(0, len(loads) - 1), max_size=len(loads)))
    for server in gone:
        withdraw(made, span, server, loads[server])
    left = [load for server, load in enumerate(loads) if server not in gone]
    if left:
        assert (span[LOWEST], span[HIGHEST]) == (min(left), max(left))
    for server in gone:
        join(made, span, server, loads[server])
    assert (span[LOWEST], span[HIGHEST]) == (min(loads), max(loads))


@pytest.mark.parametrize("first", [0, 1, 90, 995, 10**9 - 3, 10**13])
def test_key_blocks_are_those_of_the_texts(first):
    blocks = np.zeros((16, 20), np.uint32)
    key_blocks(10**15, blocks)  # leaves nothing behind
    key_blocks(first, blocks)
    np.testing.assert_array_equal(blocks, md5_padded([f"000{first + i}".encode() for i in range(20)]))


def test_a_run_ends_after_so_many_connections():
    churn = Churn(78, "every-move", 500, servers=20, most=9000)
    assert dip(churn).connections == 9000
    assert dip(churn) == plain.dip(churn)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: imbalance("hash", Cluster(500, end=10)), "end = 10"),
        (lambda: imbalance("hash", Cluster(0)), "connections = 0"),
        (lambda: imbalance("power-of-two", Cluster(500, buckets=1)), "buckets = 1"),
        (lambda: dip(Churn(0, "chain")), "updates = 0"),
        (lambda: dip(Churn(1, "chain", servers=0)), "servers = 0"),
        (lambda: dynamic_beamer(Beamer(0.9)), "threshold = 0.9"),
        (lambda: dynamic_beamer(Beamer(1.1, end=0)), "end = 0"),
        (lambda: dynamic_beamer(Beamer(1.1, end=1e6)), "end = 1000000.0 s is too long: give 609544 s"),
    ],
)
def test_what_makes_no_sense_is_refused(run, message):
    with pytest.raises(ValueError, match=message):
        run()
