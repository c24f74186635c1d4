from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsim.metrics import Truncation, mser5

Series = list[int]
series = st.lists(st.integers(-(10**6), 10**6), min_size=50, max_size=90)
steps = st.tuples(
    st.integers(0, 60), st.integers(1, 100), st.lists(st.integers(0, 9), min_size=50, max_size=90)
)


def mser_of_every_cut(values: Series) -> list[Fraction]:
    """The definition, in exact numbers: one statistic a number of batches that is dropped."""
    count = len(values) // 5
    batches = [Fraction(sum(values[5 * i : 5 * i + 5]), 5) for i in range(count)]
    found = []
    for cut in range(count - 5 + 1):
        kept = batches[cut:]
        mean = sum(kept, Fraction(0)) / len(kept)
        found.append(sum(((z - mean) ** 2 for z in kept), Fraction(0)) / len(kept) ** 2)
    return found


@given(series)
def test_the_cut_is_the_best_of_all_cuts(values: Series) -> None:
    every = mser_of_every_cut(values)
    found = mser5(values)
    assert found.index % 5 == 0
    assert float(every[found.index // 5]) == pytest.approx(float(min(every)), rel=1e-9)
    assert found.statistic == pytest.approx(float(min(every)), rel=1e-9, abs=1e-12)
    assert found.settled == (2 * (found.index // 5) <= len(values) // 5)


@given(steps, st.integers(-(10**9), 10**9), st.integers(-20, 20))
def test_neither_the_unit_nor_the_zero_matters(step: tuple[int, int, Series], shift: int, power: int) -> None:
    start, height, noise = step
    values = np.array([height] * start + noise, dtype=float)
    found = mser5(values)
    assert mser5(values + shift) == found
    assert mser5(-values) == found
    scaled = mser5(values * 2.0**power)
    assert (scaled.index, scaled.settled) == (found.index, found.settled)
    assert scaled.statistic == pytest.approx(found.statistic * 4.0**power)


@given(series)
def test_a_series_that_was_cut_asks_for_no_more(values: Series) -> None:
    found = mser5(values)
    rest = values[found.index :]
    if len(rest) >= 50:
        assert mser5(rest).index == 0


def test_a_step_is_cut_where_it_ends() -> None:
    assert mser5([7] * 100) == Truncation(0, True, 0.0)
    assert mser5([9] * 30 + [1] * 70) == Truncation(30, True, 0.0)
    assert mser5([9] * 31 + [1] * 69) == Truncation(35, True, 0.0)  # whole batches
    assert mser5([9] * 50 + [1] * 50) == Truncation(50, True, 0.0)
    assert mser5([9] * 51 + [1] * 49) == Truncation(55, False, 0.0)
    assert mser5([0.1] * 30 + [1e9 + 0.1] * 70).index == 30  # what is left has no spread at all


def test_an_incomplete_last_batch_is_left_out() -> None:
    values = [9] * 30 + [1] * 70
    assert mser5([*values, 10**6, 10**6, 10**6, 10**6]) == mser5(values)


def test_a_ramp_never_settles() -> None:
    found = mser5(np.arange(1000))
    assert not found.settled
    assert found.index == 975  # five batches are always kept


def test_a_short_series_says_nothing() -> None:
    found = mser5([9] * 20 + [1] * 29)
    assert (found.index, found.settled) == (0, False)
    assert np.isnan(found.statistic)
    assert mser5([9] * 20 + [1] * 30).index == 20
    assert not mser5([]).settled


def test_a_start_up_is_cut_and_its_bias_with_it() -> None:
    # AR(1) around 0 that starts at 20 and forgets it within about 50 steps
    rng = np.random.default_rng(7)
    noise = rng.normal(size=(200, 1000))
    x, level = np.empty_like(noise), np.full(200, 20.0)
    for k in range(1000):
        level = 0.9 * level + noise[:, k]
        x[:, k] = level
    cuts = [mser5(row) for row in x]
    kept = [row[cut.index :].mean() for row, cut in zip(x, cuts, strict=True)]
    assert np.mean([cut.settled for cut in cuts]) > 0.95
    assert 15 <= np.median([cut.index for cut in cuts]) <= 60
    assert x.mean() > 0.15  # the start adds 20 x 0.9 / 0.1 / 1000 = 0.18
    assert abs(np.mean(kept)) < 0.05


def test_what_is_not_one_series_of_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(60, 2\).*add up its columns"):
        mser5(np.zeros((60, 2)))
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="nan or infinite"):
            mser5([1.0] * 60 + [bad])
