import numpy as np
import pytest

from lbsim.metrics import mean_interval, median_interval, paired_interval


def test_a_t_interval_by_hand() -> None:
    # mean 2, standard deviation 1, t(0.975; 2) = 4.302653: half width 4.302653 / sqrt(3)
    interval = mean_interval([1, 2, 3])
    assert interval == pytest.approx((2.0, 2 - 2.484138, 2 + 2.484138, 3), abs=1e-6)


def test_intervals_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    means = [mean_interval(rng.normal(3, 2, 8)) for _ in range(2000)]
    medians = [median_interval(rng.exponential(1, 15)) for _ in range(2000)]
    assert sum(i.low <= 3 <= i.high for i in means) / 2000 == pytest.approx(0.95, abs=0.02)
    covered = sum(i.low <= np.log(2) <= i.high for i in medians) / 2000
    assert 0.945 < covered < 0.98  # ranks are whole numbers, so the cover is at least 95 %


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


def test_what_cannot_be_an_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="nan"):
        mean_interval([1.0, float("nan")])
    with pytest.raises(ValueError, match="not pairs"):
        paired_interval([1, 2], [1, 2, 3])
