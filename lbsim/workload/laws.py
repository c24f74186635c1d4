"""Service laws: how long a packet or request keeps a core busy, drawn in whole picoseconds.

Each function returns a `ServiceLaw`: its exact mean and mean square (queueing formulas need both) and a
`draw`. Draws are rounded to whole picoseconds and at most 2**53 ps (2.5 hours); the moments are those of the
law before rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.workload.distributions import Distribution

Int64s = NDArray[np.int64]
Floats = NDArray[np.float64]

LONGEST: Final = 2**53
"""Longest service time in ps: up to here float64 holds every whole picosecond."""

_BLOCK: Final = 1 << 14  # draws at a time, so that the float work stays in the core's cache


class ServiceLaw(NamedTuple):
    """A law of service times in ps; `second_moment` is E[S^2] in ps^2, inf where it does not exist."""

    name: str
    mean: float
    second_moment: float
    draw: Callable[[np.random.Generator, int], Int64s]


def fixed(time_ps: int) -> ServiceLaw:
    """Return the law of one constant time; it draws no randomness."""
    time = _whole("time", time_ps)
    return ServiceLaw("fixed", float(time), float(time) ** 2, partial(_constant, time))


def exponential(mean_ps: float) -> ServiceLaw:
    """Return the exponential law of a mean."""
    mean = _mean(mean_ps)
    return ServiceLaw("exponential", mean, 2 * mean**2, partial(_draw, partial(_exponentials, mean)))


def lognormal(mean_ps: float, cv: float) -> ServiceLaw:
    """Return the lognormal law of a mean and a coefficient of variation (standard deviation / mean)."""
    mean = _mean(mean_ps)
    if not 0 <= cv <= 1000:
        raise ValueError(
            f"cv = {cv} is out of range: a coefficient of variation is between 0 and 1000, e.g. 1.5"
        )
    variance = math.log1p(cv**2)  # of the logarithm
    times = partial(_lognormals, math.log(mean) - variance / 2, math.sqrt(variance))
    return ServiceLaw("lognormal", mean, mean**2 * (1 + cv**2), partial(_draw, times))


def pareto(mean_ps: float, alpha: float) -> ServiceLaw:
    """Return the Pareto law P(S > t) = (m / t)^alpha, t >= m, of a mean; E[S^2] is inf unless alpha > 2."""
    mean = _mean(mean_ps)
    if not 1 < alpha < math.inf:
        raise ValueError(
            f"alpha = {alpha} is out of range: a Pareto law with a mean has alpha above 1, e.g. 2.5"
        )
    least = mean * (alpha - 1) / alpha
    second = alpha * least**2 / (alpha - 2) if alpha > 2 else math.inf
    return ServiceLaw("pareto", mean, second, partial(_draw, partial(_paretos, least, 1 / alpha)))


def bimodal(short_ps: int, long_ps: int, share_long: float) -> ServiceLaw:
    """Return the law of two times, the long one with probability `share_long`."""
    short, long = _whole("short", short_ps), _whole("long", long_ps)
    if not 0 <= share_long <= 1:
        raise ValueError(f"share_long = {share_long} is out of range: a share is between 0 and 1, e.g. 0.1")
    mean = short * (1 - share_long) + long * share_long
    second = float(short) ** 2 * (1 - share_long) + float(long) ** 2 * share_long
    return ServiceLaw("bimodal", mean, second, partial(_two_times, short, long, share_long))


def table(distribution: Distribution, mean_ps: float) -> ServiceLaw:
    """Return the shape of a published or own distribution, stretched to a mean; its unit does not matter."""
    if distribution.mean <= 0:
        raise ValueError(
            f"table {distribution.name!r} has mean 0 and cannot be stretched: give it values above 0"
        )
    times = replace(distribution, values=distribution.values * (_mean(mean_ps) / distribution.mean))
    return ServiceLaw(distribution.name, times.mean, times.second_moment, partial(_draw, times.sample))


def _constant(time: int, rng: np.random.Generator, n: int) -> Int64s:
    return np.full(n, time, np.int64)


def _two_times(short: int, long: int, share_long: float, rng: np.random.Generator, n: int) -> Int64s:
    return np.where(rng.random(n) < share_long, np.int64(long), np.int64(short))


def _exponentials(mean: float, rng: np.random.Generator, n: int) -> Floats:
    times = rng.standard_exponential(n)
    times *= mean
    return times


def _lognormals(mu: float, sigma: float, rng: np.random.Generator, n: int) -> Floats:
    times = rng.standard_normal(n)
    times *= sigma
    times += mu
    return np.exp(times, out=times)


def _paretos(least: float, exponent: float, rng: np.random.Generator, n: int) -> Floats:
    times = rng.standard_exponential(n)  # -log of a uniform
    times *= exponent
    np.exp(times, out=times)
    times *= least
    return times


def _draw(times: Callable[[np.random.Generator, int], Floats], rng: np.random.Generator, n: int) -> Int64s:
    """Return n of `times` (unrounded, fresh arrays) as whole ps, at most `LONGEST`."""
    whole = np.empty(n, np.int64)
    for start in range(0, n, _BLOCK):
        block = times(rng, min(_BLOCK, n - start))
        np.rint(block, out=block)
        np.minimum(block, LONGEST, out=block)
        whole[start : start + len(block)] = block
    return whole


def _mean(value: float) -> float:
    if not 0 < value <= LONGEST:
        raise ValueError(
            f"mean = {value} ps is out of range: give more than 0 and at most 2**53 ps (2.5 hours)"
        )
    return float(value)


def _whole(field: str, value: int) -> int:
    if not (0 <= value <= LONGEST and value == int(value)):
        raise ValueError(
            f"{field} = {value} ps is out of range: give a whole number from 0 to 2**53 ps (2.5 hours)"
        )
    return int(value)
