from __future__ import annotations

import heapq
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbsim.nic import Moves, RssppParams, core_loads, next_tick, rebalance, rough_load, round_robin_table
from lbsim.nic import rsspp as module
from lbsim.units import MS

PUBLISHED = RssppParams()
INTENDED = RssppParams(as_published=False)


class Tick(NamedTuple):
    load: np.ndarray
    counts: np.ndarray
    table: np.ndarray
    received: np.ndarray


def tick(load: list[float], counts: list[int], table: list[int], received: list[bool] | None = None) -> Tick:
    flags = received or [False] * len(load)
    return Tick(np.array(load, float), np.array(counts, np.int64), np.array(table, np.int64), np.array(flags))


@st.composite
def ticks(draw: st.DrawFn) -> Tick:
    """Any loads and counts, coarse enough for many ties, or fine."""
    cores = draw(st.integers(1, 6))
    size = draw(st.sampled_from([1, 2, 4, 8, 16, 32]))
    load = st.integers(0, 20).map(lambda k: k / 20) | st.floats(0, 1)
    count = st.integers(0, 5) | st.integers(0, 10**6)
    return tick(
        draw(st.lists(load, min_size=cores, max_size=cores)),
        draw(st.lists(count, min_size=size, max_size=size)),
        draw(st.lists(st.integers(0, cores - 1), min_size=size, max_size=size)),
        draw(st.lists(st.sampled_from([False, False, False, True]), min_size=cores, max_size=cores)),
    )


def random_tick(seed: int) -> Tick:
    """A larger tick as a NIC sees it: skewed buckets on up to 18 cores."""
    rng = np.random.default_rng(seed)
    cores, size = int(rng.integers(2, 19)), int(rng.choice([16, 64, 128]))
    counts = rng.lognormal(5, rng.choice([0.1, 1.0, 2.0]), size).astype(np.int64) * rng.integers(0, 2, size)
    table = rng.integers(0, cores, size)
    load = np.minimum(
        np.bincount(table, counts, cores) / max(counts.sum(), 1) * cores * rng.uniform(0.1, 1), 1
    )
    return Tick(load, counts, table, rng.random(cores) < 0.1)


# --- An oracle in plain Python, from the description of the algorithm: heaps and dictionaries ---------------


class Outcome(NamedTuple):
    score: float
    moves: dict[int, int]  # bucket -> core
    left: dict[int, float]  # core -> remaining excess or deficit


def greedy(
    buckets: dict[int, dict[int, float]],
    excess: dict[int, float],
    deficit: dict[int, float],
    a_o: float,
    a_u: float,
) -> Outcome:
    left, moves = {**excess, **deficit}, {}
    stacks = {o: [(-w, b) for b, w in own.items()] for o, own in buckets.items()}
    for stack in stacks.values():
        heapq.heapify(stack)
    overloaded = [(-e, o) for o, e in excess.items()]
    underloaded = [(-d, u) for u, d in deficit.items()]
    heapq.heapify(overloaded)
    heapq.heapify(underloaded)
    while overloaded and underloaded:
        _, o = heapq.heappop(overloaded)
        negative, b = heapq.heappop(stacks[o])
        refused = []
        while underloaded:
            offer = heapq.heappop(underloaded)
            u = offer[1]
            if -negative < left[u] + a_u:
                left[u] += negative
                left[o] += negative
                moves[b] = u
                if left[u] > 0.01:
                    heapq.heappush(underloaded, (-left[u], u))
                break
            refused.append(offer)
        for offer in refused:
            heapq.heappush(underloaded, offer)
        if left[o] > -a_o and stacks[o]:
            heapq.heappush(overloaded, (-left[o], o))
    return Outcome(sum(left[c] ** 2 for c in sorted(left)), moves, left)


def oracle(case: Tick, params: RssppParams) -> Outcome | None:
    """Return the outcome, or None when the solver is not called."""
    load = case.load.tolist()
    mean = sum(load) / len(load)
    imbalance = {c: mean - x for c, x in enumerate(load) if not case.received[c]}
    own: dict[int, dict[int, int]] = {}
    for b, (c, n) in enumerate(zip(case.table.tolist(), case.counts.tolist(), strict=True)):
        if n > 0:
            own.setdefault(c, {})[b] = n
    excess = {c: -x for c, x in imbalance.items() if x < -params.threshold and len(own.get(c, {})) > 1}
    deficit = {c: x for c, x in imbalance.items() if x > params.threshold}
    if not excess or not deficit:
        return None
    buckets = {o: {b: n / sum(own[o].values()) * load[o] for b, n in own[o].items()} for o in excess}

    tried: list[Outcome] = []
    here = (-0.01, -0.01)
    bottom, top, state, m = here, here, "grow", 0.5
    while len(tried) < params.passes - 1:
        tried.append(greedy(buckets, excess, deficit, *here))
        now = tried[-1]
        if now.score < 0.01:
            break
        if len(tried) == 1:
            here = (
                sum(abs(now.left[o]) for o in sorted(excess)),
                sum(abs(now.left[u]) for u in sorted(deficit)),
            )
            continue
        better = now.score <= tried[-2].score
        if state == "grow":
            if better:
                here = (here[0] * 1.5, here[1] * 1.5)
                continue
            top, here, state = here, (here[0] / 2, here[1] / 2), "left"
            continue
        if better:
            m = m / 2 if state == "left" else (1 + m) / 2
            if not 0.01 <= m <= 0.99:
                break
        elif state == "left":
            bottom, state, m = here, "right", 0.5
        else:
            top, state, m = here, "left", 0.5
        here = (bottom[0] + (top[0] - bottom[0]) * m, bottom[1] + (top[1] - bottom[1]) * m)
    return tried[-1] if params.as_published else min(tried, key=lambda outcome: outcome.score)


def assert_equals_oracle(case: Tick, params: RssppParams) -> None:
    got, expected = rebalance(*case, params), oracle(case, params)
    if expected is None:
        assert (got.buckets.size, got.passes, got.score) == (0, 0, 0.0)
        return
    assert dict(zip(got.buckets.tolist(), got.table[got.buckets].tolist(), strict=True)) == expected.moves
    assert got.score == pytest.approx(expected.score, abs=1e-12)
    assert {c: abs(got.residual[c]) for c in expected.left} == pytest.approx(
        {c: abs(x) for c, x in expected.left.items()}, abs=1e-12
    )


@settings(deadline=None)
@given(ticks(), st.booleans())
def test_the_solver_equals_the_oracle_on_small_ticks(case: Tick, as_published: bool) -> None:
    assert_equals_oracle(case, RssppParams(as_published=as_published))


def test_the_solver_equals_the_oracle_on_large_ticks() -> None:
    solved = 0
    for seed in range(1500):
        case = random_tick(seed)
        for params in (PUBLISHED, INTENDED):
            assert_equals_oracle(case, params)
            solved += rebalance(*case, params).passes == 10
    assert solved > 200  # searches of full length are among them


# --- Worked by hand -----------------------------------------------------------------------------------------


def test_one_pass_by_hand() -> None:
    # Mean load 0.6; core 0 has 0.3 too much and core 1 can take 0.3. The buckets of core 0 carry 5, 3 and 2
    # of its 10 packets: loads 0.45, 0.27, 0.18. Tolerances -0.01: a bucket must be below the deficit - 0.01.
    # 0.45 < 0.29 no; 0.27 < 0.29 moves, 0.03 remains on both sides; 0.18 < 0.02 no. No bucket is left.
    # Score 2 x 0.03^2 = 0.0018 < 0.01, so the first pass is the last.
    got = rebalance(*tick([0.9, 0.3], [5, 9, 3, 2, 0], [0, 1, 0, 0, 0]), PUBLISHED)
    assert got.table.tolist() == [0, 1, 1, 0, 0]
    assert got.buckets.tolist() == [2]
    assert got.residual == pytest.approx([-0.03, 0.03])
    assert got.received.tolist() == [False, True]
    assert got.passes == 1
    assert got.score == pytest.approx(0.0018)


def test_a_search_by_hand_and_the_quirk_of_the_published_code() -> None:
    # Deficit and excess 0.25, buckets of core 1: 2/3 and 1/3. Both tolerances are equal all the way:
    # 1: -0.01      neither moves                 score 0.125 -> both tolerances become 0.25
    # 2: 0.25       2/3 >= 0.5; 1/3 moves         2/144 = 0.0139, better: x 1.5
    # 3: 0.375      the same, 2/3 >= 0.625        0.0139, no worse: x 1.5
    # 4: 0.5625     2/3 < 0.8125 moves            50/144 = 0.347, worse: top = 0.5625, halve
    # 5: 0.28125    1/3                           0.0139, better: m = 1/4 between -0.01 and 0.5625
    # 6: 0.133      1/3 < 0.383                   0.0139, no worse: m = 1/8
    # 7: 0.0616     1/3 >= 0.312, none moves      0.125, worse: bottom = 0.0616, m = 1/2
    # 8: 0.312      1/3                           0.0139, better: m = 3/4
    # 9: 0.437      2/3 < 0.687 moves             0.347
    # 10: the best tolerances again; as published, those of pass 9, worse than no move at all (0.125).
    case = tick([0.5, 1.0], [2, 1], [1, 1])
    published, intended = rebalance(*case, PUBLISHED), rebalance(*case, INTENDED)
    assert (published.passes, intended.passes) == (10, 10)
    assert published.score == pytest.approx(50 / 144)
    assert published.table.tolist() == [0, 1]
    assert published.residual == pytest.approx([-5 / 12, 5 / 12])
    assert intended.score == pytest.approx(2 / 144)
    assert intended.table.tolist() == [1, 0]
    assert rebalance(*case, PUBLISHED._replace(passes=9)).table.tolist() == [1, 0]  # pass 8 is repeated
    assert rebalance(*case, PUBLISHED._replace(passes=1)).table.tolist() == [1, 1]


def test_ties_fall_to_the_lowest_core_and_bucket() -> None:
    # Two equal sources of 0.1 too much, two equal destinations, all buckets 0.08: the first moves of each
    # core must be buckets 0 and 1, to core 0 and then to core 1.
    case = tick([0.2, 0.2, 0.4, 0.4], [1, 1, 1, 1, 1, 1, 1, 1, 1, 1], [2, 3, 2, 3, 2, 3, 2, 3, 2, 3])
    assert rebalance(*case, PUBLISHED).table.tolist() == [0, 1, 2, 3, 2, 3, 2, 3, 2, 3]


@pytest.mark.parametrize(
    ("case", "moved"),
    [
        (tick([0.9, 0.3], [1, 1, 1, 1], [0, 0, 0, 0]), True),
        (tick([0.9, 0.3], [1, 1, 1, 1], [0, 0, 0, 0], [True, False]), False),  # the source sits out
        (tick([0.9, 0.3], [1, 1, 1, 1], [0, 0, 0, 0], [False, True]), False),  # the destination does
        (tick([0.9, 0.3], [9, 0, 0, 1], [0, 0, 0, 1]), False),  # one hot bucket alone
        (tick([0.9], [1, 1], [0, 0]), False),
        (tick([0.9, 0.3], [0, 0, 0, 0], [0, 0, 0, 0]), False),  # load without packets
    ],
)
def test_who_takes_part(case: Tick, moved: bool) -> None:
    got = rebalance(*case, PUBLISHED)
    assert (got.buckets.size > 0) is moved
    assert (got.passes > 0) is moved


def test_the_threshold_itself_is_left_alone() -> None:
    one_source = tick([1.0, 0.25, 0.25], [1] * 64, [0] * 64)  # imbalances -0.5, 0.25, 0.25
    one_sink = tick([0.75, 0.75, 0.0], [1] * 64, [0, 1] * 32)  # imbalances -0.25, -0.25, 0.5
    for case in (one_source, one_sink):
        assert rebalance(*case, PUBLISHED._replace(threshold=0.25)).passes == 0
        assert rebalance(*case, PUBLISHED._replace(threshold=0.2499)).passes == 1


def test_a_bucket_that_just_fits_stays() -> None:
    # Deficit 0.25, buckets of 0.5: the first pass moves none, so the second may overfill by 0.25.
    case = tick([0.5, 1.0], [1, 1], [1, 1])
    assert rebalance(*case, PUBLISHED._replace(passes=3)).buckets.size == 0  # 0.5 is not below 0.25 + 0.25
    assert rebalance(*case, PUBLISHED._replace(passes=4)).buckets.size == 1  # it is below 0.25 + 0.375


def test_a_core_that_sits_out_has_no_imbalance() -> None:
    case = tick([0.9, 0.3, 0.3], [1] * 9, [0] * 9, [False, True, False])
    got = rebalance(*case, PUBLISHED)
    assert got.residual[1] == 0.0
    assert set(got.table.tolist()) == {0, 2}
    assert got.received.tolist() == [False, False, True]  # the flag of core 1 is cleared


def test_alpha_is_the_share_of_the_imbalance_acted_upon() -> None:
    case = tick([0.75, 0.25], [1] * 48, [0] * 48)  # buckets of 1/64; 1/64 < deficit - 0.01 until 1/64 is left
    whole, half = (rebalance(*case, PUBLISHED._replace(alpha=a)).buckets.size for a in (1.0, 0.5))
    assert (whole, half) == (15, 7)


# --- What always holds --------------------------------------------------------------------------------------


def loads_after(case: Tick, got: Moves) -> np.ndarray:
    packets = np.bincount(case.table, case.counts, case.load.size)
    after = case.load.copy()
    for b in got.buckets:
        source = case.table[b]
        weight = case.counts[b] / packets[source] * case.load[source]
        after[source] -= weight
        after[got.table[b]] += weight
    return after


@settings(deadline=None)
@given(ticks(), st.booleans())
def test_moves_obey_the_rules(case: Tick, as_published: bool) -> None:
    params = RssppParams(as_published=as_published)
    before = [column.copy() for column in case]
    got = rebalance(*case, params)
    for column, copy in zip(case, before, strict=True):
        assert np.array_equal(column, copy)

    cores = case.load.size
    assert got.table.shape == case.table.shape
    assert got.table.min() >= 0
    assert got.table.max() < cores
    assert np.array_equal(got.buckets, np.flatnonzero(got.table != case.table))
    sources, sinks = set(case.table[got.buckets].tolist()), set(got.table[got.buckets].tolist())
    assert not sources & sinks
    assert set(np.flatnonzero(got.received).tolist()) == sinks

    imbalance = case.load.mean() - case.load
    active = np.bincount(case.table[case.counts > 0], minlength=cores)
    edge = 1e-12  # a sum in another order may round the other way
    assert (case.counts[got.buckets] > 0).all()
    assert all(imbalance[c] < -params.threshold + edge and active[c] >= 2 for c in sources)
    assert all(imbalance[c] > params.threshold - edge for c in sinks)
    assert not any(case.received[c] for c in sources | sinks)

    residual = np.where(case.received, 0.0, case.load.mean() - loads_after(case, got))
    assert got.residual == pytest.approx(residual, abs=1e-9)
    assert got.passes <= params.passes


@settings(deadline=None)
@given(ticks())
def test_nothing_moves_within_the_threshold(case: Tick) -> None:
    case.load[:] = 0.5 + 0.0199 * case.load
    for params in (PUBLISHED, INTENDED):
        got = rebalance(*case, params)
        assert got.buckets.size == 0
        assert got.passes == 0
        assert not got.received.any()


@settings(deadline=None)
@given(ticks())
def test_the_intended_search_never_adds_imbalance(case: Tick) -> None:
    squared = np.square(case.load.mean() - case.load).sum()
    got = rebalance(*case, INTENDED)
    assert np.square(case.load.mean() - loads_after(case, got)).sum() <= squared + 1e-9
    assert got.score <= rebalance(*case, PUBLISHED).score


def test_the_kernels_give_the_same_bits_as_plain_python(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [(random_tick(seed), params) for seed in range(12) for params in (PUBLISHED, INTENDED)]
    compiled = [rebalance(*args, params) for args, params in cases]
    for name in ("_rebalance", "_search", "_greedy_pass", "_extreme"):
        monkeypatch.setattr(module, name, getattr(module, name).py_func)
    for (args, params), fast in zip(cases, compiled, strict=True):
        slow = rebalance(*args, params)
        assert np.array_equal(slow.table, fast.table)
        assert slow.residual.tobytes() == fast.residual.tobytes()
        assert (slow.passes, slow.score) == (fast.passes, fast.score)


@pytest.mark.parametrize("params", [PUBLISHED, INTENDED])
def test_an_uneven_start_is_balanced_within_three_ticks(params: RssppParams) -> None:
    cores, size = 8, 512
    weight = np.random.default_rng(11).lognormal(0, 1, size)
    weight *= 0.6 * cores / weight.sum()  # in cores: 60 % load on average
    counts = (weight * 1e6).astype(np.int64)
    table, received = round_robin_table(size, cores), np.zeros(cores, np.bool_)
    table[table == 5] = 4  # one core starts with twice its part, another with none

    def load() -> np.ndarray:
        return np.bincount(table, weight, cores)

    assert np.ptp(load()) > 0.9
    spreads = []
    for _ in range(3):
        got = rebalance(load(), counts, table, received, params)
        table, received = got.table, got.received
        spreads.append(np.ptp(load()))
    assert spreads[-1] < 2 * params.threshold + 0.01
    assert spreads[-1] < spreads[0] or spreads[0] < 2 * params.threshold


def test_columns_that_do_not_fit_are_refused() -> None:
    load, counts, table, received = tick([0.5, 0.5], [1, 1], [0, 1])
    with pytest.raises(ValueError, match="2 loads with 3 received flags"):
        rebalance(load, counts, table, np.zeros(3, np.bool_), PUBLISHED)
    with pytest.raises(ValueError, match="2 table entries with 1 bucket counts"):
        rebalance(load, counts[:1], table, received, PUBLISHED)
    with pytest.raises(ValueError, match="names cores 0 to 2: with 2 cores in use"):
        rebalance(load, counts, np.array([0, 2]), received, PUBLISHED)
    with pytest.raises(ValueError, match="names cores -1 to 1"):
        rebalance(load, counts, np.array([-1, 1]), received, PUBLISHED)


# --- Loads and the tick -------------------------------------------------------------------------------------


def test_rough_load_halves_the_way_in_ten_bits() -> None:
    assert rough_load(0.0, 100, 100) == 0.5
    assert rough_load(0.5, 100, 100) == 0.75
    assert rough_load(0.0, 1, 3) == (341 // 2) / 1024  # 341 = 1024 // 3
    assert rough_load(1023 / 1024, 100, 100) == 1023 / 1024  # truncation keeps it below 1
    assert rough_load(0.25, 0, 0) == 0.25  # no time has passed
    assert rough_load(0.0, 101, 100) == 0.5  # a burst begun before the update cannot count above one core
    assert rough_load([0.0, 0.5], [50, 0], [100, 100]).tolist() == [0.25, 0.25]
    assert rough_load([0.0, 0.0], 10**11, 10**11).tolist() == [0.5, 0.5]  # 0.1 s in ps


@settings(deadline=None)
@given(st.floats(0, 1), st.lists(st.integers(0, 1000), min_size=30, max_size=30))
def test_rough_load_stays_a_load(start: float, busy: list[int]) -> None:
    load = np.array(start)
    for useful in busy:
        load = rough_load(load, useful, 1000)
        assert 0 <= load <= 1
        assert load * 1024 == int(load * 1024)


def loads(
    useful: list[int], rough: list[float], occupancy: list[int] | None = None, **set_: bool
) -> list[float]:
    full = np.array(occupancy or [0] * len(useful), np.int64)
    case = np.array(useful, np.int64), np.array(rough), full, 4096, PUBLISHED._replace(**set_)
    return core_loads(*case).tolist()


def test_shares_are_exact_and_only_the_scale_is_smoothed() -> None:
    assert loads([30, 10], [0.2, 0.6]) == pytest.approx([0.6, 0.2])
    assert loads([30, 10], [0.9, 0.9]) == pytest.approx([1.0, 1 / 3])  # lowered from 1.35 and 0.45
    assert loads([0, 0], [0.5, 0.5]) == [0.0, 0.0]
    assert loads([0, 7], [0.0, 0.3]) == pytest.approx([0.0, 0.3])


def test_the_queue_term_needs_more_than_one_saturated_core() -> None:
    assert loads([50, 50, 25], [1, 1, 0.9], [4096, 0, 2048]) == pytest.approx([1.0, 0.9, 0.5])
    assert loads([50, 40, 25], [1, 1, 0.9], [4096, 0, 2048]) == pytest.approx([1.0, 0.8, 0.5])
    assert loads([50, 49, 1], [1, 1, 0], [0, 0, 0]) == pytest.approx([1.0, 0.98, 0.02])  # not above 0.98
    assert loads([50, 50, 25], [1, 1, 0.9], [4096, 0, 2048], queue_term=False) == pytest.approx([1, 1, 0.5])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**11), st.floats(0, 1)), min_size=1, max_size=18))
def test_no_core_is_loaded_above_one(cores: list[tuple[int, float]]) -> None:
    useful, rough = [u for u, _ in cores], [r for _, r in cores]
    got = loads(useful, rough, queue_term=False)
    assert all(0 <= x <= 1 for x in got)
    assert sum(got) <= sum(rough) + 1e-9


@pytest.mark.parametrize(
    ("period", "residual", "moved", "as_published", "expected"),
    [
        (800, [0.3, -0.3], True, True, 200),
        (800, [0.15, -0.15], True, True, 400),
        (800, [0.2, -0.2], True, True, 400),  # 0.4 is not above 0.4
        (300, [0.15, -0.15], True, True, 200),  # not below the minimum
        (400, [0.1, -0.1], True, True, 400),
        (400, [0.1, -0.1], False, True, 800),
        (800, [0.1, -0.1], False, True, 1000),  # not above the maximum
        (400, [0.3, -0.3], False, True, 800),  # what no move can mend: the published code slows down
        (400, [0.3, -0.3], False, False, 200),
        (401, [0.15, -0.15], False, False, 200),
    ],
)
def test_the_next_tick(
    period: int, residual: list[float], moved: bool, as_published: bool, expected: int
) -> None:
    params = RssppParams(min_tick=200 * MS, max_tick=1000 * MS, as_published=as_published)
    got = next_tick(period * MS, np.array(residual), moved, params)
    assert got == pytest.approx(expected * MS, abs=MS / 2)
    assert isinstance(got, int)


@settings(deadline=None)
@given(st.integers(1, 10**13), st.floats(0, 2), st.booleans(), st.booleans())
def test_a_fixed_period_stays_fixed(period: int, residual: float, moved: bool, as_published: bool) -> None:
    params = RssppParams(as_published=as_published)
    assert next_tick(period, np.array([residual]), moved, params) == 100 * MS
