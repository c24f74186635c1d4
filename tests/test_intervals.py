from __future__ import annotations

from collections.abc import Callable
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lbsim.metrics import (
    Histogram,
    Interval,
    mean_interval,
    median_interval,
    more_replications,
    paired_interval,
    quantile_interval,
    relative_half_width,
)

NAN, INF = float("nan"), float("inf")


def covered(intervals: list[Interval], truth: float) -> float:
    return float(np.mean([i.low <= truth <= i.high for i in intervals]))


def three_errors(share: float, experiments: int) -> float:
    """Three standard errors of a share that was counted in so many experiments."""
    return float(3 * (share * (1 - share) / experiments) ** 0.5)


# ---- means and medians


def test_a_t_interval_by_hand() -> None:
    # mean 2, standard deviation 1, t(0.975; 2) = 4.302653: half width 4.302653 / sqrt(3)
    interval = mean_interval([1, 2, 3])
    assert interval == pytest.approx((2.0, 2 - 2.484138, 2 + 2.484138, 3), abs=1e-6)
    # t(0.95; 2) = 2.919986
    assert mean_interval([1, 2, 3], level=0.9).high == pytest.approx(2 + 2.919986 / 3**0.5, abs=1e-6)


def test_intervals_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    means = [mean_interval(rng.normal(3, 2, 8)) for _ in range(2000)]
    medians = [median_interval(rng.exponential(1, 15)) for _ in range(2000)]
    assert covered(means, 3) == pytest.approx(0.95, abs=0.02)
    assert 0.945 < covered(medians, np.log(2)) < 0.98  # ranks are whole numbers: the cover is at least 95 %


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_the_ranks_of_a_median_are_the_tightest_that_hold_the_level(level: float) -> None:
    for n in range(2, 60):
        interval = median_interval(np.arange(1, n + 1), level)
        low = int(interval.low)
        assert interval.high == n + 1 - low  # the ranks are symmetric

        def outside(rank: int, n: int = n) -> float:
            return float(2 * sum(comb(n, k) for k in range(rank)) / 2**n)

        assert outside(low) <= 1 - level or low == 1
        assert outside(low + 1) > 1 - level


def test_common_random_numbers_tighten_a_difference() -> None:
    rng = np.random.default_rng(1)
    common = rng.normal(0, 10, 12)
    a, b = common + rng.normal(1, 0.1, 12), common + rng.normal(0, 0.1, 12)
    paired = paired_interval(a, b)
    assert paired.low < 1 < paired.high
    assert paired.high - paired.low < 0.5


def test_one_sample_says_nothing_about_spread() -> None:
    assert np.isnan(mean_interval([4.0]).low)
    assert str(mean_interval([4.0])) == "4"
    assert np.isnan(quantile_interval([Histogram.of([4])], 0.5).high)


def test_what_cannot_be_an_interval_is_refused() -> None:
    for bad in (NAN, INF):
        with pytest.raises(ValueError, match="nan"):
            mean_interval([1.0, bad])
    with pytest.raises(ValueError, match="not pairs"):
        paired_interval([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="no sample"):
        mean_interval([])
    for level in (0.0, 1.0, 95, NAN):
        with pytest.raises(ValueError, match=r"level = .* is out of range"):
            mean_interval([1, 2, 3], level)


# ---- quantiles over replications


def test_a_sectioned_quantile_by_hand() -> None:
    # Medians 20 and 30; of all six values the third is 20, and the spread is around that one:
    # sqrt((0 + 100) / 1) = 10, t(0.975; 1) = 12.706205, half width 12.706205 x 10 / sqrt(2).
    parts = [Histogram.of([10, 20, 30]), Histogram.of([20, 30, 40])]
    half = 12.706205 * 10 / 2**0.5
    assert quantile_interval(parts, 0.5) == pytest.approx((20, 20 - half, 20 + half, 2), abs=1e-4)


@given(
    st.lists(st.lists(st.integers(0, 127), min_size=1, max_size=20), min_size=2, max_size=6),
    st.floats(0.01, 0.99),
    st.sampled_from([0.8, 0.95]),
)
def test_a_sectioned_quantile_is_its_definition(parts: list[list[int]], q: float, level: float) -> None:
    """Below 128 a histogram keeps every value exactly, so the definition can be computed from the values."""

    def nearest_rank(values: list[int]) -> int:
        return sorted(values)[max(1, int(np.ceil(q * len(values) - 1e-9))) - 1]

    n, point = len(parts), nearest_rank([v for part in parts for v in part])
    spread = (sum((nearest_rank(part) - point) ** 2 for part in parts) / (n - 1)) ** 0.5
    t = (mean_interval([0] * (n - 1) + [n], level).high - 1) / mean_spread(n)
    half = t * spread / n**0.5
    found = quantile_interval([Histogram.of(part) for part in parts], q, level)
    assert found == pytest.approx((point, point - half, point + half, n))


def mean_spread(n: int) -> float:
    """The standard error of the samples 0, ..., 0, n: what multiplies t in their interval."""
    return float(np.std([0] * (n - 1) + [n], ddof=1) / n**0.5)


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=50), st.floats(0.0, 1.0))
def test_the_width_of_a_bin_is_not_forgotten(values: list[int], q: float) -> None:
    found = quantile_interval([Histogram.of(values)] * 3, q)
    exact = sorted(values * 3)[max(1, int(np.ceil(q * 3 * len(values) - 1e-9))) - 1]
    assert found.low <= exact <= found.high
    assert found.high - found.low <= exact / 128
    assert min(values) <= found.low
    assert found.high <= max(values)


def test_a_constant_is_known_exactly() -> None:
    assert quantile_interval([Histogram.of([1_234_567])] * 4, 0.99) == (1_234_567,) * 3 + (4,)


def test_the_order_of_replications_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    parts = [Histogram.of(rng.integers(0, 10**9, 100)) for _ in range(5)]
    assert quantile_interval(parts, 0.9) == pytest.approx(quantile_interval(parts[::-1], 0.9), rel=1e-14)


@pytest.mark.parametrize(("q", "size"), [(0.5, 500), (0.99, 1000), (0.999, 2000)])
def test_sectioned_quantiles_of_independent_values_cover_as_they_say(q: float, size: int) -> None:
    rng = np.random.default_rng(11)
    truth = -np.log1p(-q) * 1e6
    found = [
        quantile_interval([Histogram.of(rng.exponential(1e6, size)) for _ in range(5)], q) for _ in range(500)
    ]
    assert covered(found, truth) == pytest.approx(0.95, abs=three_errors(0.95, 500))


def sojourn_times(experiments: int, packets: int, load: float) -> NDArray[np.float64]:
    """Stationary M/M/1 queues with work 1 on average, by Lindley: times are exponential, 1 / (1 - load)."""
    rng = np.random.default_rng(3)
    busy = rng.random(experiments) < load
    wait = np.where(busy, rng.exponential(1 / (1 - load), experiments), 0.0)
    times = np.empty((experiments, packets))
    for k in range(packets):
        work = rng.exponential(1, experiments)
        times[:, k] = wait + work
        wait = np.maximum(0.0, times[:, k] - rng.exponential(1 / load, experiments))
    return times


def test_sectioned_quantiles_of_a_queue_cover_as_documented() -> None:
    """The docstring promises no more than this: bursts cost coverage where few packets lie beyond."""
    load, experiments, n = 0.7, 200, 5
    times = sojourn_times(experiments * n, 10_000, load) * 1e6
    parts = [Histogram.of(row) for row in times]
    groups = [parts[i : i + n] for i in range(0, len(parts), n)]
    for q, share in ((0.5, 0.937), (0.95, 0.938), (0.99, 0.93), (0.999, 0.85)):
        truth = -np.log1p(-q) / (1 - load) * 1e6
        found = covered([quantile_interval(group, q) for group in groups], truth)
        assert found == pytest.approx(share, abs=three_errors(share, experiments)), q


def test_what_cannot_be_a_quantile_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="no histogram"):
        quantile_interval([], 0.5)
    with pytest.raises(ValueError, match="nan"):
        quantile_interval([Histogram.of([1, 2]), Histogram.of([])], 0.5)
    with pytest.raises(ValueError, match=r"q = 1\.5"):
        quantile_interval([Histogram.of([1])] * 2, 1.5)


# ---- until the mean is known


def test_relative_half_widths() -> None:
    assert relative_half_width(Interval(10, 9, 11, 3)) == pytest.approx(0.1)
    assert relative_half_width(Interval(-10, -11, -9, 3)) == pytest.approx(0.1)
    assert relative_half_width(Interval(0, 0, 0, 3)) == 0
    assert relative_half_width(Interval(0, -1, 1, 3)) == INF
    assert relative_half_width(Interval(5, NAN, NAN, 1)) == INF


def test_more_replications_by_hand() -> None:
    # Ten 9s and ten 11s: s = sqrt(20 / 19), t(0.975; 19) = 2.093024, half width 0.4802 of 10.
    values = [9, 11] * 10
    assert more_replications(values, within=0.0481) == 0
    assert more_replications(values, within=0.0480) == 1
    # (2.093024 x 1.025978 / 0.4)^2 = 28.8: 29 in all
    assert more_replications(values, within=0.04) == 9
    assert more_replications([-x for x in values], within=0.04) == 9
    assert more_replications(values, within=0.04, at_most=25) == 5
    assert more_replications(values, within=0.04, at_most=20) == 0
    assert more_replications(values, within=0.01) == 20  # 461 in all, but never more than twice as many
    assert more_replications(values, within=0.01, at_most=30) == 10


def test_more_replications_where_there_is_little_to_go_by() -> None:
    assert [more_replications([1.0] * n, 0.02) for n in range(4)] == [2, 1, 0, 0]
    assert more_replications([1.0], 0.02, at_most=1) == 0
    assert more_replications([-1, 1, -1, 1], 0.02) == 4  # no share of a mean of 0 is wide enough
    assert more_replications([0, 0, 0], 0.02) == 0


def test_more_replications_refuses_what_makes_no_sense() -> None:
    for within in (0, -0.02, NAN):
        with pytest.raises(ValueError, match=r"within = .* give a share above 0"):
            more_replications([1, 2, 3], within)
    with pytest.raises(ValueError, match="nan"):
        more_replications([1, NAN], 0.02)
    with pytest.raises(ValueError, match="level"):
        more_replications([1, 2, 3], 0.02, level=95)


Draw = Callable[[int], NDArray[np.float64]]


def until(draw: Draw, within: float, at_least: int, at_most: int = 200) -> NDArray[np.float64]:
    """Follow the rule to its end, as a sweep does."""
    values = draw(at_least)
    while more := more_replications(values, within, at_most=at_most):
        assert 1 <= more <= len(values)
        values = np.append(values, draw(more))
        assert len(values) <= at_most
    return values


@given(st.integers(0, 2**32), st.floats(0.001, 0.5), st.integers(2, 10), st.integers(10, 60))
def test_the_rule_ends_where_the_mean_is_known_or_at_the_most(
    seed: int, spread: float, at_least: int, at_most: int
) -> None:
    rng = np.random.default_rng(seed)
    values = until(lambda n: rng.normal(1, spread, n), 0.02, at_least, at_most)
    assert len(values) == at_most or relative_half_width(mean_interval(values)) <= 0.02


@pytest.mark.parametrize(
    ("spread", "at_least", "expected"),
    [(0.01, 5, 0.95), (0.04, 5, 0.924), (0.04, 10, 0.936), (0.08, 5, 0.945)],
)
def test_the_stopping_rule_covers_as_documented(spread: float, at_least: int, expected: float) -> None:
    """Until ± 2 % at 95 %: the interval covers a little less often, the ± 2 % holds as asked for."""
    rng, experiments = np.random.default_rng(17), 1500
    ends = [until(lambda n: rng.normal(1, spread, n), 0.02, at_least) for _ in range(experiments)]
    error = three_errors(expected, experiments)
    assert covered([mean_interval(x) for x in ends], 1) == pytest.approx(expected, abs=error)
    assert np.mean([abs(x.mean() - 1) <= 0.02 for x in ends]) >= 0.945 - error


def test_the_stopping_rule_on_skewed_values_covers_as_documented() -> None:
    rng, sigma = np.random.default_rng(19), np.log(2) ** 0.5  # lognormal, mean 1, standard deviation 1
    ends = [until(lambda n: rng.lognormal(-(sigma**2) / 2, sigma, n), 0.4, 5) for _ in range(1500)]
    assert covered([mean_interval(x) for x in ends], 1) == pytest.approx(0.844, abs=three_errors(0.844, 1500))
