"""A recording of campus-like traffic: which flows there are, and how many packets each sends when.

The traces "Campus" and "Campus #4" of RSS++ (CoNEXT 2019) are not public; their statistics are
(rsspp/experiments, digested in `data/campus_*.csv`). The plan takes from them the packets and bits of
every second, the sizes of flows and frames, and when new flows appear. What a flow does between its first
and last packet is a model of few constants: light flows come in bursts, heavy flows at a wandering rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lbsim.rng import stream
from lbsim.units import MS, SECOND, US, WIRE_OVERHEAD
from lbsim.workload import campus_kernels as kernels
from lbsim.workload.campus_facts import FACTS, Floats, Trace, flow_columns, frame_sizes, second_columns
from lbsim.workload.campus_tuples import campus_tuples
from lbsim.workload.distributions import Distribution
from lbsim.workload.packets import FlowTable, Int32s, Int64s

EPOCH: Final = 100 * MS  # the period of the RSS++ balancer; nothing here is faster but the trains
CLOCK_LAG: Final = 0.45  # s; the receiver that counted flows began its seconds earlier than the sender
"""source: assumed; above 0.1, as the flows of Campus fill 57 of these seconds, its packets 56 of those."""

HEAVY: Final = 184  # packets; larger flows (1 %) have a rate, others bursts. source: p99 of the flow sizes
TAIL: Final = 0.9  # exponent of the sizes beyond the published table (its last 0.1 %)
"""source: fitted to the published packets of a flow in a second (their last 0.1 %, the largest of Campus #4);
the slope of the size table itself is 0.72 to 0.76 up to its end."""

BURSTS: Final = (1.0, 0.135)  # strength and discount by which packets of a light flow join bursts
GAP: Final = (7.2, 1.8)  # median (s) and sigma of the log-normal gaps from the first burst to the others
RATE: Final = (120.0, 0.6, 1.9)  # pps of a flow of 1000 packets, growth exponent with size, sigma of log
"""source of the four: fitted to the published packets of a flow in a second and flows in a second, of both
traces at once. Exponents up to 1 fit as well; 0.75 makes the p99.9 of the former a fifth too high."""

LINE: Final = 1e9 / 8 / (1514 + WIRE_OVERHEAD)  # pps of a 1 Gb/s access link
"""source: the largest flow averages 79 k and peaks at 83 k packets in a second, just this."""

RATE_SIGMA: Final = 0.5  # of the log-rate of a heavy flow from epoch to epoch
RATE_MEMORY: Final = 0.905  # its correlation from epoch to epoch, 1 s in all
"""source: assumed. Left to themselves, the flows then make the total change by 5.7 and 3-4 % from one second
to the next; published 5.7 and 3.1."""
STEADY: Final = 0.03  # sigma of the largest flow. source: its packets in a second, at most 5 % over the mean
QUANTUM: Final = 4  # packets; slower flows pause for epochs rather than send less at a time

TRAIN: Final = 12  # packets, mean of a geometric train length
"""source: not in the trace files; calibrated on the p95 of RSS++ at 2, 6 and 10 Gb/s in Fig. 13."""
TRAIN_GAP: Final = 2 * US  # between the packets of a train. source: assumed, back to back at some 6 Gb/s

OWN_FRAME: Final = 0.7  # share of a flow's packets of the flow's own size. source: assumed
_QUANTILES: Final = 4096


@dataclass(frozen=True, eq=False)
class CampusPlan:
    """One recording: its flows, how many packets each sends in which epoch, and the clock.

    Rows of all flow columns are flows by falling size. Shapes: `sizes`, `frame_from`, `frame_width` [n];
    epoch e holds the events starts[e]:starts[e + 1] of `event_flow` and `event_count`; `frames` int32[4096]
    are quantiles of the frame size and a flow's own ones lie from 2**-32 `frame_from` on; packet number
    clock_packets[j] is sent at clock_times[j] (ps), the rest evenly between.
    """

    trace: Trace
    seed: int
    flows: FlowTable
    sizes: Int64s
    starts: Int64s
    event_flow: Int32s
    event_count: Int32s
    frames: Int32s
    frame_from: NDArray[np.uint32]
    frame_width: NDArray[np.uint32]
    clock_packets: Int64s
    clock_times: Int64s

    @property
    def window(self) -> int:
        """Length of the recording in ps."""
        return int(self.clock_times[-1])


@lru_cache(maxsize=2)
def campus_plan(trace: Trace, seed: int, replication: int = 0) -> CampusPlan:
    """Return the plan of a recording, drawn from the streams "sizes", "flows" and "gaps"."""
    if trace not in FACTS:
        raise ValueError(f"trace {trace!r} is not known: use one of {', '.join(FACTS)}")
    facts = FACTS[trace]
    rng = stream(seed, "sizes", replication)
    sizes = _flow_sizes(trace, rng)
    law = frame_sizes(trace)
    frames = np.rint(law.quantile((np.arange(_QUANTILES) + 0.5) / _QUANTILES)).astype(np.int32)
    low, width = _own_intervals(sizes, rng)
    clock_packets, clock_times = _clock(trace)
    own = _mean_over(frames, low / 2**32, (low + width.astype(float)) / 2**32)
    mean_frame = OWN_FRAME * own + (1 - OWN_FRAME) * frames.mean()
    starts, flow, count = _events(
        trace, sizes, mean_frame, clock_packets, clock_times, stream(seed, "gaps", replication)
    )
    tuples = campus_tuples(facts.flows, facts.windows, stream(seed, "flows", replication))
    return CampusPlan(
        trace, seed, tuples, sizes, starts, flow, count, frames, low, width, clock_packets, clock_times
    )


def _flow_sizes(trace: Trace, rng: np.random.Generator) -> Int64s:
    """Return falling sizes whose sum is the published total, one of each equal share of the law.

    The body is the published table; beyond it sizes are Pareto with exponent `TAIL`, cut off where the total
    comes out right; the largest flow is given.
    """
    facts = FACTS[trace]
    table = flow_columns(trace)
    knots, cdf = (table[name][table["span"] == 0] for name in ("packets", "flows"))
    law = Distribution("flow sizes", knots, cdf / cdf[-1], "log", "packets", "rsspp/experiments")
    n = facts.flows - 1
    share = (np.arange(n) + rng.random(n)) / n
    inside = share <= cdf[-1]
    body = np.ceil(law.quantile(share[inside] / cdf[-1])).astype(np.int64)
    rest = (share[~inside] - cdf[-1]) / (1 - cdf[-1])
    missing = facts.packets - facts.largest - int(body.sum())

    def tail(cut: float) -> Int64s:
        pareto: Floats = knots[-1] * (1 - rest * (1 - (knots[-1] / cut) ** TAIL)) ** (-1 / TAIL)
        return np.rint(pareto).astype(np.int64)

    low, high = knots[-1], 1e9
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if tail(middle).sum() < missing else (low, middle)
    sizes = np.concatenate(([facts.largest], tail(low)[::-1], body[::-1]))
    sizes[1] += facts.packets - sizes.sum()  # a packet or so of rounding
    return sizes


def _own_intervals(sizes: Int64s, rng: np.random.Generator) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return start and width, in 2**-32, of every flow's own interval of frame-size quantiles.

    The flows share 0..1 in random order, each as much as it has packets: so packets that draw from their own
    flow's interval follow, all together, the published law. The largest flow is last: full-size frames.
    """
    order = np.append(1 + rng.permutation(len(sizes) - 1), 0)
    share = np.cumsum(sizes[order])
    edges = np.append(0, share * (2**32 / share[-1])).astype(np.int64)
    low, width = np.empty(len(sizes), np.uint32), np.empty(len(sizes), np.uint32)
    low[order], width[order] = edges[:-1], np.diff(edges)
    return low, width


def _mean_over(frames: Int32s, low: Floats, high: Floats) -> Floats:
    """Return the mean frame over each interval low..high of quantiles."""
    at = np.arange(len(frames) + 1) / len(frames)
    total = np.append(0, np.cumsum(frames)) / len(frames)
    return (np.interp(high, at, total) - np.interp(low, at, total)) / np.maximum(high - low, 1e-12)


def _clock(trace: Trace) -> tuple[Int64s, Int64s]:
    """Return (packet number, ps) at the published seconds; the last one is cut so that the mean pps holds."""
    facts = FACTS[trace]
    counts = second_columns(trace)["packets"]
    total = np.append(0, np.cumsum(counts[counts > 0]))
    packets = np.rint(total * (facts.packets / total[-1])).astype(np.int64)
    times = np.arange(len(packets), dtype=np.int64) * SECOND
    times[-1] = round(facts.packets / facts.pps * SECOND)
    return packets, times


def _events(
    trace: Trace, sizes: Int64s, mean_frame: Floats, packets: Int64s, times: Int64s, rng: np.random.Generator
) -> tuple[Int64s, Int32s, Int32s]:
    """Return the events (starts, flow, count) of all epochs, following the published packets and bits."""
    seconds = times / SECOND
    epochs = round(times[-1] / EPOCH)
    per_epoch = epochs / seconds[-1]
    edges = np.arange(epochs + 1) / per_epoch
    wanted = np.diff(np.interp(edges, seconds, packets))
    heavy = np.count_nonzero(sizes > HEAVY)
    begin, length = _heavy_spans(sizes[:heavy], epochs, per_epoch, rng)

    light = sizes[heavy:]
    room = int(light.sum() + length.sum())
    out = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int32)
    first = _first_times(trace, len(light), begin / per_epoch, seconds[-1], rng) * per_epoch
    gap = (GAP[0] * per_epoch, GAP[1])
    n = kernels.light_events(rng, light, first, epochs, BURSTS, gap, out)
    epoch, flow, count = (column[:n] for column in out)
    flow += heavy
    light_packets = np.bincount(epoch, count, epochs)
    light_volume = np.bincount(epoch, count * mean_frame[flow], epochs)

    steady = np.minimum(1.0, wanted / (0.8 * wanted.mean()))  # the largest flow, dimmed only at the ends
    steady *= np.exp(STEADY * rng.standard_normal(epochs))
    steady *= sizes[0] / steady.sum()
    spans = np.append(0, np.cumsum(length))
    rate = kernels.log_rates(rng, spans, RATE_SIGMA, RATE_MEMORY)
    rate[:epochs] = steady
    left = np.maximum(wanted - light_packets - steady, 0.0)
    volume = wanted * _frame_series(trace, edges, wanted, float(mean_frame @ sizes))
    volume -= light_volume + steady * mean_frame[0]
    limit = LINE / per_epoch
    kernels.rake(rate, spans[1:], begin[1:], sizes[1:heavy], mean_frame[1:heavy], left, volume, limit)

    more = out[0][n:], out[1][n:], out[2][n:]
    n += kernels.heavy_events(rng, rate, spans, begin, sizes[:heavy], QUANTUM, more)
    return kernels.by_epoch((out[0][:n], out[1][:n], out[2][:n]), epochs)


def _heavy_spans(
    sizes: Int64s, epochs: int, per_epoch: float, rng: np.random.Generator
) -> tuple[Int64s, Int64s]:
    """Return first epoch and number of epochs of every heavy flow; the largest is there all the time.

    A flow's mean rate is log-normal around a power of its size. A flow of duration d begins uniformly from
    1.5 d before the window to d / 2 after its end, less d, and is moved inside: the moved ones are those that
    the window cuts, so many that as many are active at its edges as in its middle.
    """
    median, growth, sigma = RATE
    rate = median * (sizes / 1000) ** growth * np.exp(sigma * rng.standard_normal(len(sizes)))
    duration = sizes / np.minimum(rate, LINE) * per_epoch
    duration = np.clip(duration, 1, epochs)
    duration[0] = epochs
    anywhere = rng.uniform(-1.5 * duration, epochs + 0.5 * duration)
    begin = np.clip(anywhere, 0, epochs - duration).astype(np.int64)
    length = np.minimum(np.rint(duration).astype(np.int64), epochs - begin)
    return begin, length


def _first_times(trace: Trace, n: int, heavy: Floats, end: float, rng: np.random.Generator) -> Floats:
    """Return n times (s) that, with the begins of the heavy flows, follow the published new flows."""
    new = second_columns(trace)["new"]
    edges = np.clip(np.arange(len(new) + 1) - CLOCK_LAG, 0, end)
    new = np.maximum(new - np.histogram(heavy, edges)[0], 0)
    total = np.append(0, np.cumsum(new))
    times: Floats = np.interp((np.arange(n) + rng.random(n)) * (total[-1] / n), total, edges)
    return times


def _frame_series(trace: Trace, edges: Floats, wanted: Floats, total: float) -> Floats:
    """Return the published mean frame (bytes) of every epoch, scaled to the total number of bytes."""
    table = second_columns(trace)
    packets, bits = (table[name][table["packets"] > 0] for name in ("packets", "bits"))
    frame = bits / packets / 8 - WIRE_OVERHEAD
    series = frame[np.minimum(edges[:-1].astype(np.int64), len(frame) - 1)]
    scaled: Floats = series * (total / (wanted @ series))
    return scaled
