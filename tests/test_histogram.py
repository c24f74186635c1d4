import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsim.metrics import Histogram
from lbsim.metrics.histogram import bin_middles, bin_of

VALUES = st.lists(st.integers(0, 2**62), min_size=1, max_size=200)


@given(st.integers(0, 2**62))
def test_a_bin_is_within_one_part_in_256(value: int) -> None:
    middle = bin_middles()[bin_of(value)]
    assert abs(middle - value) <= value / 256


@given(VALUES, st.floats(0, 1))
def test_quantiles_match_the_sorted_values(values: list[int], q: float) -> None:
    exact = np.sort(values)[max(1, int(np.ceil(q * len(values) - 1e-9))) - 1]
    assert Histogram.of(values).quantile(q) == pytest.approx(exact, rel=1 / 250, abs=0)


@given(VALUES, VALUES)
def test_merging_is_exact(a: list[int], b: list[int]) -> None:
    merged, whole = Histogram.of(a) + Histogram.of(b), Histogram.of(a + b)
    assert (merged.counts == whole.counts).all()
    assert (merged.total, merged.low, merged.high) == (sum(a + b), min(a + b), max(a + b))
    assert whole.mean == sum(a + b) / len(a + b)


def test_bins_do_not_overlap_and_leave_no_hole() -> None:
    values = np.unique(np.concatenate([np.arange(5000), 2 ** np.arange(12, 62), 2 ** np.arange(12, 62) - 1]))
    bins = [bin_of(int(v)) for v in values]
    assert bins == sorted(bins)
    assert bins[:256] == list(range(256))


def test_an_empty_histogram_says_so() -> None:
    empty = Histogram.of([])
    assert np.isnan(empty.mean)
    assert np.isnan(empty.quantile(0.5))
    assert (empty + Histogram.of([5])).low == 5
    with pytest.raises(ValueError, match=r"q = 1\.5 is out of range"):
        empty.quantile(1.5)
