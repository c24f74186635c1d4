"""Service laws: their moments, their draws, and what they refuse."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbsim.rng import stream
from lbsim.units import US
from lbsim.workload import laws
from lbsim.workload.distributions import Distribution, published

N = 400_000
SMOOTH = {
    "exponential": laws.exponential(5 * US),
    "lognormal": laws.lognormal(5 * US, 0.5),
    "lognormal cv 0": laws.lognormal(5 * US, 0),
    "pareto": laws.pareto(5 * US, 12),
    "bimodal": laws.bimodal(US // 2, 500 * US, 0.005),
    "fixed": laws.fixed(1_455_000),
    "table, step": laws.table(published("racksched_trimodal"), 5 * US),
    "table, linear": laws.table(published("hpcc_alistorage2019"), 5 * US),
}


def central_moment(law, k):
    """Return E[(S^k - E S^k)^2], the variance of S^k, for the laws above."""
    raw = {
        "exponential": lambda m: math.factorial(m) * law.mean**m,
        "lognormal": lambda m: law.mean**m * (law.second_moment / law.mean**2) ** (m * (m - 1) / 2),
        "pareto": lambda m: 12 * (law.mean * 11 / 12) ** m / (12 - m),
        "bimodal": lambda m: 0.995 * (US / 2) ** m + 0.005 * (500.0 * US) ** m,
        "fixed": lambda m: law.mean**m,
    }.get(law.name)
    if raw is None:  # a table: raw moments by quadrature over its quantiles, good to 1 %
        u = (np.arange(200_000) + 0.5) / 200_000
        table = published(law.name)
        x = table.quantile(u) * law.mean / table.mean
        return float(np.var(x**k))
    return max(0.0, raw(2 * k) - raw(k) ** 2)


@pytest.mark.parametrize("label", SMOOTH)
def test_mean_and_mean_square_of_many_draws(label):
    law = SMOOTH[label]
    times = law.draw(stream(11, "service"), N).astype(float)
    for k, moment in ((1, law.mean), (2, law.second_moment)):
        band = 5.5 * math.sqrt(central_moment(law, k) / N) + 1e-9 * moment  # 5.5 sigma and the rounding
        assert abs((times**k).mean() - moment) < band


def test_moments_in_closed_form():
    # relative to a mean of 1 as tabulated with the laws' definitions: E[S^2] = 2, 5, 1.8, 3.25
    mean = 10 * US
    assert laws.exponential(mean)[1:3] == (mean, 2 * mean**2)
    assert laws.lognormal(mean, 2).second_moment == pytest.approx(5 * mean**2, rel=1e-15)
    assert laws.pareto(mean, 2.5).second_moment == pytest.approx(1.8 * mean**2, rel=1e-15)
    assert laws.table(published("zygos_bimodal1"), mean).second_moment == pytest.approx(3.25 * mean**2)
    two = laws.bimodal(5 * US, 55 * US, 0.1)
    assert two.mean == pytest.approx(mean, rel=1e-15)
    assert two.second_moment == pytest.approx(3.25 * mean**2, rel=1e-15)
    assert laws.fixed(7)[:3] == ("fixed", 7.0, 49.0)
    assert laws.pareto(mean, 2).second_moment == math.inf
    assert laws.pareto(mean, 1.5).second_moment == math.inf


@pytest.mark.parametrize(
    ("law", "cdf"),
    [
        (laws.exponential(3 * US), lambda t: -np.expm1(-t / (3 * US))),
        (laws.pareto(3 * US, 1.5), lambda t: 1 - (US / np.maximum(t, US)) ** 1.5),
        (
            laws.lognormal(3 * US, 2),
            lambda t: np.array(
                [
                    0.5
                    * math.erfc(
                        (math.log(3 * US) - math.log(5) / 2 - math.log(x)) / math.sqrt(2 * math.log(5))
                    )
                    for x in t
                ]
            ),
        ),
    ],
    ids=["exponential", "pareto", "lognormal"],
)
def test_draws_follow_the_distribution_function(law, cdf):
    times = np.sort(law.draw(stream(12, "service"), N))
    at = times[N // 200 :: N // 200].astype(float)
    distance = math.sqrt(math.log(2 / 1e-9) / (2 * N))  # Dvoretzky-Kiefer-Wolfowitz: probability < 1e-9
    assert np.abs(np.searchsorted(times, at, side="right") / N - cdf(at)).max() < distance


def test_draws_are_the_textbook_transforms_of_the_stream():
    mean, n = 10**12, 1000  # long, so that rounding to whole ps is below 1e-9 of almost every draw
    normal = stream(9, "service").standard_normal(n)
    waits = stream(9, "service").standard_exponential(n)
    expected = {
        laws.exponential(mean): mean * waits,
        laws.pareto(mean, 2.5): 0.6 * mean * np.exp(waits / 2.5),
        laws.lognormal(mean, 2): mean / math.sqrt(5) * np.exp(math.sqrt(math.log(5)) * normal),
    }
    for law, times in expected.items():
        assert law.draw(stream(9, "service"), n) == pytest.approx(times, rel=1e-12, abs=0.6)


@pytest.mark.parametrize("label", SMOOTH)
@settings(deadline=None, max_examples=25)
@given(cut=st.integers(0, 40_000))
def test_draws_do_not_depend_on_how_a_run_is_cut(label, cut):
    law, rng = SMOOTH[label], stream(4, "service")
    whole = law.draw(stream(4, "service"), 40_000)
    assert np.array_equal(whole, np.concatenate([law.draw(rng, cut), law.draw(rng, 40_000 - cut)]))


def test_draws_are_whole_picoseconds_in_range():
    for law in (*SMOOTH.values(), laws.pareto(2.0**53, 1.01), laws.lognormal(2.0**53, 1000)):
        times = law.draw(stream(5, "service"), 50_000)
        assert times.dtype == np.int64
        assert times.shape == (50_000,)
        assert times.min() >= 0
        assert times.max() <= 2**53
    assert laws.lognormal(2.0**53, 1000).draw(stream(5, "service"), 50_000).max() == 2**53


def test_fixed_and_bimodal_give_exactly_their_times():
    rng = stream(6, "service")
    state = rng.bit_generator.state
    assert laws.fixed(2**53).draw(rng, 3).tolist() == [2**53] * 3
    assert laws.fixed(0).draw(rng, 1).tolist() == [0]
    assert rng.bit_generator.state == state  # a constant uses up no randomness
    times = laws.bimodal(4_000_000, 500_000_000, 0.1).draw(rng, N)
    assert set(times.tolist()) == {4_000_000, 500_000_000}
    assert set(laws.bimodal(1, 2, 0).draw(rng, 1000).tolist()) == {1}
    assert set(laws.bimodal(1, 2, 1).draw(rng, 1000).tolist()) == {2}


def test_a_table_keeps_its_shape_and_takes_the_mean():
    shape = published("shinjuku_bimodal_995_05_005_500")  # in us, mean 2.9975
    law = laws.table(shape, 2_997_500)
    assert law.name == shape.name
    assert law.mean == pytest.approx(2_997_500, rel=1e-15)
    assert law.second_moment == pytest.approx(shape.second_moment * US**2, rel=1e-14)
    assert set(law.draw(stream(7, "service"), 20_000).tolist()) == {500_000, 500_000_000}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: laws.fixed(-1), "time = -1 ps is out of range"),
        (lambda: laws.fixed(2**53 + 1), "time = .* 2\\*\\*53"),
        (lambda: laws.fixed(1.5), "time = 1.5 ps .* whole number"),
        (lambda: laws.exponential(0), "mean = 0 ps is out of range"),
        (lambda: laws.exponential(math.nan), "mean = nan"),
        (lambda: laws.lognormal(1, -0.1), "cv = -0.1 is out of range"),
        (lambda: laws.lognormal(math.inf, 1), "mean = inf"),
        (lambda: laws.pareto(1, 1), "alpha = 1 is out of range.*above 1"),
        (lambda: laws.pareto(1, math.inf), "alpha = inf"),
        (lambda: laws.bimodal(1, 2, 1.1), "share_long = 1.1 is out of range"),
        (lambda: laws.bimodal(-1, 2, 0.1), "short = -1 ps"),
        (lambda: laws.bimodal(1, 2**54, 0.1), "long = "),
        (lambda: laws.table(published("imix"), 0), "mean = 0 ps"),
    ],
)
def test_an_impossible_law_is_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_a_table_of_zeros_cannot_be_stretched():
    zeros = Distribution("zeros", np.array([0.0]), np.array([1.0]), "step", "us", "this test")
    with pytest.raises(ValueError, match="'zeros' has mean 0"):
        laws.table(zeros, 1000)
