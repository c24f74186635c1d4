"""Kernels of the campus traffic: when its flows are active, and in which order their packets come.

An *event* is a number of packets that one flow sends within one epoch. The first three kernels make the
events of a recording, once; `expand` turns the events of an epoch into packets, again and again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lbsim.jit import inlined, kernel

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]
Floats = NDArray[np.float64]

SLOTS = 1 << 16
"""Places per epoch by which the packets of an epoch are put in order."""

_PARTS = 1 << 20  # an epoch in fixed point
_PART_BITS = 4  # log2(_PARTS / SLOTS)
_TRIES = 5
_TURNS = 20


@kernel
def light_events(
    rng: np.random.Generator,
    sizes: Int64s,
    first: Floats,
    epochs: int,
    bursts: tuple[float, float],
    gap: tuple[float, float],
    out: tuple[Int32s, Int32s, Int32s],
) -> int:
    """Split light flows into bursts, place the bursts in time, write (epoch, flow, count); return how many.

    The packets of a flow join bursts one by one as in a Pitman-Yor process with (strength, discount) =
    `bursts`: few large bursts, many small ones. Later bursts follow the first after log-normal gaps
    of (median in epochs, sigma) = `gap`. `first` holds one first-packet time a flow, in epochs: every flow
    takes one at random, the flows with many bursts first (`sizes` falls), avoiding those too late for all
    its bursts to happen. A burst still beyond the end goes to a uniform time after the first.
    """
    epoch, flow, count = out
    strength, discount = bursts
    free = len(first)
    most = sizes[0]
    burst_of, packets, delay = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most)
    n = 0
    for f in range(len(sizes)):
        k, span = 1, 0.0
        burst_of[0], packets[0], delay[0] = 0, 1, 0.0
        for i in range(1, sizes[f]):
            if rng.random() * (strength + i) < strength + discount * k:
                burst_of[i], packets[k] = k, 1
                delay[k] = gap[0] * np.exp(gap[1] * rng.standard_normal())
                span = max(span, delay[k])
                k += 1
            else:  # a burst of m packets is joined with weight m - discount
                b = burst_of[int(rng.random() * i)]
                while rng.random() * packets[b] < discount:
                    b = burst_of[int(rng.random() * i)]
                burst_of[i] = b
                packets[b] += 1
        place = int(rng.random() * free)
        for _ in range(_TRIES):
            if first[place] + span < epochs:
                break
            place = int(rng.random() * free)
        begin = first[place]
        free -= 1
        first[place] = first[free]
        for b in range(k):
            at = begin + delay[b]
            if at >= epochs:
                at = begin + (epochs - begin) * rng.random()
            epoch[n], flow[n], count[n] = min(int(at), epochs - 1), f, packets[b]
            n += 1
    return n


@kernel
def log_rates(rng: np.random.Generator, starts: Int64s, sigma: float, memory: float) -> Floats:
    """Return exp(z) for a stationary AR(1) log-rate z of every flow; flow f owns starts[f]:starts[f + 1]."""
    rate = np.empty(starts[-1])
    fresh = np.sqrt(1 - memory * memory)
    for f in range(len(starts) - 1):
        z = rng.standard_normal()
        for j in range(starts[f], starts[f + 1]):
            rate[j] = np.exp(sigma * z)
            z = memory * z + fresh * rng.standard_normal()
    return rate


@kernel
def rake(
    rate: Floats,
    starts: Int64s,
    begin: Int64s,
    sizes: Int64s,
    frame: Floats,
    packets: Floats,
    volume: Floats,
    limit: float,
) -> None:
    """Scale rates, in place, to the flows' sizes and nearly to `packets` and `volume` (bytes) of each epoch.

    Iterative proportional fitting (Deming and Stephan, 1940), ending on the sizes. Flow f is active from
    epoch begin[f] on, with `frame` bytes a packet; flows of small and of large frames are scaled apart.
    No rate is scaled beyond `limit` packets an epoch.
    """
    split = volume.sum() / packets.sum()
    for turn in range(_TURNS):
        n, volumes = np.zeros((2, len(packets))), np.zeros((2, len(packets)))
        for f in range(len(sizes)):
            mine = rate[starts[f] : starts[f + 1]]
            mine *= sizes[f] / mine.sum()
            kind, last = int(frame[f] > split), begin[f] + len(mine)
            n[kind, begin[f] : last] += mine
            volumes[kind, begin[f] : last] += mine * frame[f]
        if turn + 1 == _TURNS:
            return
        n += 1e-9
        for e in range(len(packets)):
            small, large = volumes[0, e] / n[0, e], volumes[1, e] / n[1, e]
            part = (volume[e] / max(packets[e], 1e-9) - small) / max(large - small, 1.0)
            part = min(max(part, 0.05), 0.95)
            n[0, e], n[1, e] = (1 - part) * packets[e] / n[0, e], part * packets[e] / n[1, e]
        for f in range(len(sizes)):
            mine = rate[starts[f] : starts[f + 1]]
            factor = n[int(frame[f] > split), begin[f] : begin[f] + len(mine)]
            mine[:] = np.minimum(mine * factor, limit)


@kernel
def heavy_events(
    rng: np.random.Generator,
    rate: Floats,
    starts: Int64s,
    begin: Int64s,
    sizes: Int64s,
    quantum: int,
    out: tuple[Int32s, Int32s, Int32s],
) -> int:
    """Round rates to whole packets, `quantum` at a time, write (epoch, flow, count); return how many."""
    epoch, flow, count = out
    n = 0
    for f in range(len(sizes)):
        sent, owed = 0, rng.random() * quantum
        for j in range(starts[f], starts[f + 1]):
            owed += rate[j]
            due = min(int(owed / quantum) * quantum, sizes[f])
            if j + 1 == starts[f + 1]:
                due = sizes[f]
            if due > sent:
                epoch[n], flow[n], count[n] = begin[f] + j - starts[f], f, due - sent
                n += 1
                sent = due
    return n


@kernel
def by_epoch(events: tuple[Int32s, Int32s, Int32s], epochs: int) -> tuple[Int64s, Int32s, Int32s]:
    """Sort events by epoch; return (starts, flow, count), epoch e being starts[e]:starts[e + 1]."""
    epoch, flow, count = events
    starts = np.zeros(epochs + 1, np.int64)
    for e in epoch:
        starts[e + 1] += 1
    starts = np.cumsum(starts)
    head = starts[:-1].copy()
    sorted_flow, sorted_count = np.empty_like(flow), np.empty_like(count)
    for k in range(len(epoch)):
        place = head[epoch[k]]
        head[epoch[k]] += 1
        sorted_flow[place], sorted_count[place] = flow[k], count[k]
    return starts, sorted_flow, sorted_count


@inlined
def _mix(state: np.uint64) -> np.uint64:
    """Return the SplitMix64 output of a counter (Steele, Lea and Flood, OOPSLA 2014)."""
    z = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@kernel
def expand(
    seed: int,
    flows: Int32s,
    counts: Int32s,
    lengths: Int32s,
    spacing: int,
    frame_from: NDArray[np.uint32],
    frame_width: NDArray[np.uint32],
    own: int,
    frames: Int32s,
) -> tuple[Int32s, Int32s]:
    """Return (flow, frame) of the packets of one epoch, in order.

    A flow's packets come in trains: `lengths` holds 2**k train lengths to draw from, a train starts anywhere
    in the epoch where it fits and its packets are `spacing` 2**-20 of the epoch apart. A packet's frame is
    `frames` (4096 quantiles) at a point of its flow's own interval with probability own / 2**20, else at any.
    """
    step = np.uint64(0x9E3779B97F4A7C15)
    state = np.uint64(seed)
    total, trains = 0, 0
    for c in counts:
        total += c
    train_event, train_start, train_length = (
        np.empty(total, np.int32),
        np.empty(total, np.int32),
        np.empty(total, np.int32),
    )
    head = np.zeros(SLOTS + 1, np.int32)
    for k in range(len(flows)):
        left = counts[k]
        while left > 0:
            state += step
            z = _mix(state)
            n = min(int(lengths[z & np.uint64(len(lengths) - 1)]), int(left))
            room = _PARTS - n * spacing
            start = np.int64(((z >> np.uint64(32)) * np.uint64(room)) >> np.uint64(32))
            train_event[trains], train_start[trains], train_length[trains] = k, start, n
            trains += 1
            left -= n
            for i in range(n):
                head[1 + ((start + i * spacing) >> _PART_BITS)] += 1
    for s in range(SLOTS):
        head[s + 1] += head[s]
    flow, frame = np.empty(total, np.int32), np.empty(total, np.int32)
    for t in range(trains):
        f = flows[train_event[t]]
        low, width, start = np.uint64(frame_from[f]), np.uint64(frame_width[f]), np.int64(train_start[t])
        for i in range(train_length[t]):
            slot = (start + i * spacing) >> _PART_BITS
            place = head[slot]
            head[slot] = place + 1
            state += step
            z = _mix(state)
            point = z >> np.uint64(32)
            if np.int64(z & np.uint64(0xFFFFF)) < own:
                point = low + ((point * width) >> np.uint64(32))
            flow[place], frame[place] = f, frames[point >> np.uint64(20)]
    return flow, frame


@kernel
def stamp(first: int, n: int, lap: int, packets: Int64s, times: Int64s) -> Int64s:
    """Return the times (ps) of the n packets from number `first` of a lap on, `lap` being when it began.

    Packet packets[j] is sent at times[j], the others evenly between. Both arrays rise.
    """
    out = np.empty(n, np.int64)
    j = np.searchsorted(packets, first, side="right") - 1
    pace = (times[j + 1] - times[j]) / (packets[j + 1] - packets[j])
    for i in range(n):
        k = first + i
        if k >= packets[j + 1]:
            j += 1
            pace = (times[j + 1] - times[j]) / (packets[j + 1] - packets[j])
        out[i] = lap + times[j] + np.int64((k - packets[j]) * pace)
    return out
