"""Is a run long enough for what is read from it? Plain sentences, with numbers and a fix, where it is not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from lbsim.metrics.connections import ConnectionResult
from lbsim.metrics.requests import RequestResult
from lbsim.metrics.result import Result
from lbsim.metrics.warmup import mser5
from lbsim.units import format_time

QUANTILES = (0.5, 0.95, 0.99, 0.999)
"""The latency quantiles that tables show."""

BEYOND = 100
"""A quantile with fewer packets beyond it is not to be trusted."""

_MATTERS = 0.05  # share of the mean occupancy; MSER-5 often cuts a little more for no other reason than noise


def too_short(
    result: Result | ConnectionResult | RequestResult, quantiles: Sequence[float] = QUANTILES
) -> tuple[str, ...]:
    """Return a sentence for each thing that the run is too short to say; empty where nothing was found.

    Two things are looked at. Each of `quantiles` needs `BEYOND` delivered packets, or answered requests,
    beyond it. And where the run kept a series of at least 50 samples, MSER-5 must not find a start-up in the
    number of packets in the rings, of connections under way or of requests in the servers after the warm-up:
    a cut counts where it changes their mean by more than 5 %, as a warm-up that is too short, or, past the
    middle of the series, as a run that is too short.

    What is not found may still be there: near saturation latencies come in long bursts, and 100 packets
    beyond a quantile may be a few bursts only (`quantile_interval` tells what that costs); only replications
    show it. Measured on an M/M/1 queue, 900 samples 100 service times apart, 60 runs each: a start-up is seen
    where there is none in at most 5 % at loads up to 0.8; something is found in 30 % at load 0.95, where such
    a run indeed is too short, and in all at 1.05.

    Raises ValueError for a quantile outside 0 <= q < 1.
    """
    tail = () if isinstance(result, ConnectionResult) else _tail(result, quantiles)
    return (*tail, *_start(result))


def _tail(result: Result | RequestResult, quantiles: Sequence[float]) -> Iterator[str]:
    for q in quantiles:
        if not 0 <= q < 1:
            raise ValueError(f"quantile q = {q} is out of range: give a share from 0 to below 1, e.g. 0.99")
    n = result.latency.count
    beyond = {q: n - math.ceil(q * n - 1e-9) for q in sorted(quantiles)}
    few = {q: k for q, k in beyond.items() if k < BEYOND}
    unit, arrived = ("packet", "delivered") if isinstance(result, Result) else ("request", "answered")
    if few and not n:
        yield f"no {unit} was {arrived}, so there is no latency to read: lengthen duration or shorten warmup"
    elif few:
        listed = " and ".join(f"{k} beyond p{100 * q:g}" for q, k in few.items())
        longer = _round_up(BEYOND / (1 - max(few)) / n)
        yield f"of {n} {unit}s only {listed}: fewer than {BEYOND} say little; lengthen the run {longer}-fold"


def _start(result: Result | ConnectionResult | RequestResult) -> Iterator[str]:
    if result.samples is None or result.backlog is None:
        return
    match result:
        case Result():
            what, where, who = "packets in the rings", "the rings still fill or drain", "cores"
        case RequestResult():
            what, where, who = "requests in the servers", "the servers still fill or drain", "servers"
        case _:
            what, where, who = "connections under way", "the connections under way are not settled", ""
    warmup = result.scenario.warmup
    kept = result.samples.time >= warmup
    time, waiting = result.samples.time[kept], result.backlog[kept]
    cut = mser5(waiting)
    if not cut.index:
        return
    whole, rest = float(waiting.mean()), float(waiting[cut.index :].mean())
    if abs(whole - rest) <= _MATTERS * whole:
        return
    until = format_time(int(time[cut.index]))
    change = f"leaving out all before {until} changes the mean number of {what}"
    change += f" from {_units(whole)} to {_units(rest)}"
    if cut.settled:
        yield f'the warm-up of {format_time(warmup)} is short: {change}; set warmup = "{until}"'
    else:
        more = "lengthen duration"
        more += f", or lower the load if it is more than the {who} can do" if who else ""
        yield f"{where}: {change}, and that is past the middle of the run; {more}"


def _units(mean: float) -> str:
    return f"{mean:.0f}" if mean >= 100 else f"{mean:.3g}"


def _round_up(factor: float) -> str:
    """Return a factor with two digits, rounded up."""
    step = 10.0 ** (math.floor(math.log10(factor)) - 1)
    return f"{math.ceil(factor / step - 1e-9) * step:.6g}"
