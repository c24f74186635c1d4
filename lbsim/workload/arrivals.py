"""When packets arrive: clocks that turn "the next n packets" into n arrival times.

A clock is a function `times(recorded) -> int64[n]`: it is given the packets' own timestamps (only their
number matters to most clocks) and returns arrival times in ps that never fall, continuing where the last
call ended. Every clock draws from the named stream "gaps" alone, so what arrives does not depend on when.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lbsim.scenario import Batch, Batched, Deterministic, OnOff, Poisson, Profile, Recorded
from lbsim.units import MAX_TIME, SECOND

Int64s = NDArray[np.int64]
Clock = Callable[[Int64s], Int64s]
Arrivals = Poisson | Deterministic | OnOff | Batched | Recorded


def clock(arrivals: Arrivals, pps: float, own_pps: float, rng: np.random.Generator) -> Clock:
    """Return the clock of an arrival process with a mean of `pps` packets per second, at factor 1.

    `own_pps` is the mean rate of the traffic's own recording, nan where it has none; recorded arrivals
    replay it `pps / own_pps` times as fast.
    """
    steady = _steady(arrivals, pps, own_pps, rng)
    if arrivals.profile is None:
        return steady
    bend = warp(arrivals.profile)
    return lambda recorded: bend(steady(recorded))


def warp(profile: Profile) -> Callable[[Int64s], Int64s]:
    """Return the map from a steady clock to one whose rate follows a profile.

    Steady time x, int64 ps, becomes the last time at which the profile's factors, integrated from 0, give x:
    piecewise linear, rounded once, never falling; where the factor is 0 nothing arrives. All gaps shrink
    alike, those inside a batch too. A Poisson process stays one, its rate multiplied by the factor (Cinlar,
    Introduction to Stochastic Processes, 1975, section 4.7).
    """
    factors = np.array(profile.factors)
    begin = np.array([min(k * profile.every, MAX_TIME) for k in range(len(factors))])
    end = np.append(begin[1:], MAX_TIME)
    room = (end - begin).astype(float)
    steady = [0]  # when each factor begins to hold, in steady time
    for factor in profile.factors[:-1]:
        steady.append(min(steady[-1] + round(factor * profile.every), MAX_TIME))
    begins = np.array(steady)

    def bend(times: Int64s) -> Int64s:
        k = np.searchsorted(begins, times, side="right") - 1
        with np.errstate(over="ignore"):  # a factor may be next to nothing
            since = np.minimum(np.rint((times - begins[k]) / factors[k]), room[k]).astype(np.int64)
        return np.asarray(np.minimum(begin[k] + since, end[k]))

    return bend


def _steady(arrivals: Arrivals, pps: float, own_pps: float, rng: np.random.Generator) -> Clock:
    """Return the clock at factor 1."""
    match arrivals:
        case Poisson():
            return _poisson(SECOND / pps, rng)
        case Deterministic():
            return _deterministic(SECOND / pps)
        case OnOff():
            return _on_off(arrivals, SECOND / pps, rng)
        case Batched(batch=batch):
            return _batched(batch, pps, rng)
        case Recorded(batch=None):
            return _recorded(own_pps / pps)
        case Recorded(batch=Batch() as batch):
            return _recorded_batches(batch, pps, own_pps / pps, rng)
    raise AssertionError(arrivals)


def _poisson(gap: float, rng: np.random.Generator) -> Clock:
    """Independent exponential gaps."""
    now = 0

    def times(recorded: Int64s) -> Int64s:
        nonlocal now
        gaps = rng.standard_exponential(len(recorded))
        gaps *= gap
        out = np.rint(gaps, out=gaps).astype(np.int64)
        out[0] += now
        np.cumsum(out, out=out)
        now = int(out[-1])
        return out

    return times


def _deterministic(gap: float) -> Clock:
    """Packet k at k gaps, each rounded on its own so that the rate does not drift."""
    k = 0

    def times(recorded: Int64s) -> Int64s:
        nonlocal k
        out: Int64s = np.rint(np.arange(k + 1, k + 1 + len(recorded)) * gap).astype(np.int64)
        k += len(recorded)
        return out

    return times


def _on_off(law: OnOff, gap: float, rng: np.random.Generator) -> Clock:
    """Poisson arrivals while on, silence while off; the mean gap over both is `gap`.

    The Poisson process runs in on-time only; a time of that clock is shifted by the silences before it.
    """
    gaps, periods = rng.spawn(2)
    busy = _poisson(gap * law.on / (law.on + law.off), gaps)
    on_end, shift = [0], [0]  # on-time at which period k ends; silence before period k

    def length(mean: int) -> int:
        return round(periods.standard_exponential() * mean) if law.law == "exponential" else mean

    def times(recorded: Int64s) -> Int64s:
        on_time = busy(recorded)
        while on_end[-1] <= on_time[-1]:
            on_end.append(on_end[-1] + max(1, length(law.on)))
            shift.append(shift[-1] + length(law.off))
        period = np.searchsorted(np.array(on_end), on_time, side="right")
        out: Int64s = on_time + np.array(shift, np.int64)[period - 1]
        keep = max(0, int(period[-1]) - 1)
        del on_end[:keep], shift[:keep]
        return out

    return times


def _sizes(batch: Batch, pps: float, rng: np.random.Generator) -> tuple[Callable[[int], Int64s], float]:
    """Return a draw of batch sizes (whole packets, at least one) and their exact mean.

    The mean asked for is base + rate x timer, at most `cap`: a generator that flushes on a timer or when
    its buffers are full.
    """
    mean = max(1.0, min(batch.base + pps * batch.timer / SECOND, batch.cap or np.inf))
    if batch.law == "fixed":
        return (lambda n: np.full(n, round(mean), np.int64)), float(round(mean))
    return (lambda n: rng.geometric(1 / mean, n)), mean


def _on_the_wire(first: Int64s, sizes: Int64s, gap: int, free: int) -> Int64s:
    """Return the times of packets in batches that start at `first` or, if later, when the wire is free.

    Inside a batch packets are `gap` apart; t_i = max(start of i's batch, t_{i-1} + gap), solved at once by a
    running maximum of t_i - i x gap.
    """
    steps = np.arange(int(sizes.sum()), dtype=np.int64) * gap
    out = np.repeat(first, sizes)
    out -= steps
    out[0] = max(int(out[0]), free)
    np.maximum.accumulate(out, out=out)
    out += steps
    return out


def _batched(batch: Batch, pps: float, rng: np.random.Generator) -> Clock:
    """Batches whose starts are a mean gap apart, uniform within 1 ± jitter of it."""
    draw, mean = _sizes(batch, pps, rng)
    gap = mean * SECOND / pps
    start, free = 0.0, 0
    ready = np.empty(0, np.int64)

    def times(recorded: Int64s) -> Int64s:
        nonlocal start, free, ready
        while len(ready) < len(recorded):
            n = int((len(recorded) - len(ready)) / mean) + 16
            starts = start + np.cumsum((1 + batch.jitter * (2 * rng.random(n) - 1)) * gap)
            start = float(starts[-1])
            more = _on_the_wire(np.rint(starts).astype(np.int64), draw(n), batch.gap, free)
            free = int(more[-1]) + batch.gap
            ready = np.concatenate((ready, more))
        out, ready = ready[: len(recorded)], ready[len(recorded) :]
        return out

    return times


def _recorded(stretch: float) -> Clock:
    """The traffic's own times, stretched."""
    return lambda recorded: np.rint(recorded * stretch).astype(np.int64)


def _recorded_batches(batch: Batch, pps: float, stretch: float, rng: np.random.Generator) -> Clock:
    """The traffic's own times, but sent in batches: a batch leaves when its first packet is due."""
    draw, mean = _sizes(batch, pps, rng)
    free, due, left = 0, 0, 0  # wire free at; the open batch's due time; packets it still takes

    def times(recorded: Int64s) -> Int64s:
        nonlocal free, due, left
        n = len(recorded)
        sizes = [np.array([left], np.int64)] if left else []
        while sum(int(s.sum()) for s in sizes) < n:
            sizes.append(draw(int(n / mean) + 16))
        size = np.concatenate(sizes)
        ends = np.cumsum(size)
        used = int(np.searchsorted(ends, n)) + 1  # batches that packets of this call fall into
        size, ends = size[:used], ends[:used]
        first = np.rint(recorded[ends - size] * stretch).astype(np.int64)
        if left:
            first[0] = due
        left, due = int(ends[-1]) - n, int(first[-1])
        size[-1] -= left
        out = _on_the_wire(first, size, batch.gap, free)
        free = int(out[-1]) + batch.gap
        return out

    return times
