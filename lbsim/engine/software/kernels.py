"""Software dispatch, compiled: a dispatcher and its workers advanced event by event.

Cores influence each other through queues and through who is idle, so unlike rings they cannot be brought up
to date one by one: the least (end, number) of all cores is always next. The dispatcher has the highest
number: at equal time workers depart first, in order of number, then it hands over; then come control and
arrivals. A packet holds its place, in the ring or in a queue, until the core that took it is done with it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lbsim.engine import kernels
from lbsim.engine.kernels import (
    DEPARTURE,
    DROPPED_BYTES,
    NEVER,
    QUEUE_FULL,
    REORDERED,
    TO_CORE,
    Books,
    Machine,
    Records,
    drop,
    note,
    record,
)
from lbsim.engine.software.state import ROUND_ROBIN, SHARED, STATEFUL_RR, Spec, State, begin, watch
from lbsim.jit import lean, step

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]

# --- The dispatcher ------------------------------------------------------------------------------------


@step
def poll_ring(s: State, m: Machine, p: Spec, now: int) -> None:
    """The dispatcher polls its ring, which is not empty.

    Each packet costs it contention for every worker that polls in vain: on average over its last batch, at
    whose end it woke them all; now, where that took no time.
    """
    dispatcher, desk = len(s.cores) - 1, s.desk[0]
    each = p.per_packet
    if desk.span == 0:
        each += p.contention * desk.idle
    else:  # in two parts, since the product of all three numbers may exceed an int64
        each += p.contention * (desk.vain // desk.span) + p.contention * (desk.vain % desk.span) // desk.span
    n = min(m.burst, s.cores[dispatcher].count)
    watch(s, now, 0)
    desk.before = desk.spent
    begin(s, dispatcher, now, n, p.per_batch + n * each)


@step
def in_turn(s: State) -> int:
    """Return the next worker in turn."""
    desk, workers = s.desk[0], len(s.cores) - 1
    w: int = desk.turn
    desk.turn = w + 1 if w + 1 < workers else 0
    return w


@step
def worker_of(s: State, p: Spec, flow: int) -> int:
    """Return the worker in whose queue a packet of this flow is put."""
    if p.discipline == ROUND_ROBIN:
        return in_turn(s)
    w: int = s.home[flow]
    if w < 0:
        if p.discipline == STATEFUL_RR:
            w = in_turn(s)
        else:
            w = 0
            for other in range(1, len(s.cores) - 1):
                if s.cores[other].flows < s.cores[w].flows:
                    w = other
        s.home[flow] = w
        s.cores[w].flows += 1
    return w


@step
def put(s: State, b: Books, m: Machine, p: Spec, slot: Records) -> None:
    """Put a packet in a queue, or drop it."""
    if p.discipline == SHARED:
        c, desk = len(s.cores) - 1, s.desk[0]
        full = desk.held == p.capacity
        if not full:
            s.shared[(desk.head + desk.waiting) & (len(s.shared) - 1)] = slot
            desk.waiting += 1
            desk.held += 1
    else:
        c = worker_of(s, p, slot.flow)
        core = s.cores[c]
        full = core.count == p.capacity
        if not full:
            s.queues[c, (core.head + core.count) & (s.queues.shape[1] - 1)] = slot
            core.count += 1
    if full:
        s.cores[c].dropped += 1
        if slot.time >= m.warmup:
            b.counts[QUEUE_FULL] += 1
            b.counts[DROPPED_BYTES] += slot.frame
        if b.log.shape[1]:
            b.log[TO_CORE, slot.packet] = c


@step
def hand_over(s: State, b: Books, m: Machine, p: Spec) -> None:
    """The dispatcher's batch ends: into the queues; idle workers poll; it polls again."""
    workers = len(s.cores) - 1
    core, desk = s.cores[workers], s.desk[0]
    now = core.end
    watch(s, now, 0)
    desk.vain, desk.span = desk.spent - desk.before, now - core.start
    for k in range(core.head, core.head + core.serving):
        put(s, b, m, p, s.ring[k & (len(s.ring) - 1)])
    core.head += core.serving
    core.count -= core.serving
    core.busy += core.cost
    core.serving, core.cost, core.active = 0, 0, 0
    if p.discipline == SHARED:
        while desk.waiting:
            w = workers
            for other in range(workers):
                if not s.cores[other].active and (w == workers or s.cores[other].since < s.cores[w].since):
                    w = other
            if w == workers:
                break
            poll_queue(s, m, p, w, now)
    else:
        for w in range(workers):
            if s.cores[w].count and not s.cores[w].active:
                poll_queue(s, m, p, w, now)
    if core.count:
        poll_ring(s, m, p, now)


# --- The workers ---------------------------------------------------------------------------------------


@step
def poll_queue(s: State, m: Machine, p: Spec, w: int, now: int) -> None:
    """Worker w polls its queue, or the shared one, which is not empty."""
    core, desk, mask = s.cores[w], s.desk[0], s.queues.shape[1] - 1
    each = p.hand_over
    if p.discipline == SHARED:
        each += p.contention * (len(s.cores) - 2)
        core.count = min(m.burst, desk.waiting)
        for k in range(core.count):
            s.queues[w, (core.head + k) & mask] = s.shared[(desk.head + k) & (len(s.shared) - 1)]
        desk.head += core.count
        desk.waiting -= core.count
    n = min(m.burst, core.count)
    cost = m.per_batch + n * each
    for k in range(core.head, core.head + n):
        cost += s.queues[w, k & mask].service
    watch(s, now, -1)
    begin(s, w, now, n, cost)


@step
def depart(s: State, b: Books, m: Machine, p: Spec, w: int) -> None:
    """Worker w's batch ends: its packets depart, and it polls again."""
    core, desk, mask = s.cores[w], s.desk[0], s.queues.shape[1] - 1
    end, total, low, high = core.end, 0, NEVER, 0
    for k in range(core.head, core.head + core.serving):
        slot = s.queues[w, k & mask]
        if slot.time >= m.warmup:
            latency = end - slot.time + m.delay
            record(b.counts, b.rows, m, slot.time, latency)
            total, low, high = total + latency, min(low, latency), max(high, latency)
        if len(s.newest):
            if slot.packet < s.newest[slot.flow]:
                b.counts[REORDERED] += slot.time >= m.warmup
            else:
                s.newest[slot.flow] = slot.packet
        if b.log.shape[1]:
            b.log[TO_CORE, slot.packet] = w
            b.log[DEPARTURE, slot.packet] = end
    if core.serving:
        note(b.counts, total, low, high, end)
    core.head += core.serving
    core.count -= core.serving
    core.busy += core.cost
    if p.discipline == SHARED:
        desk.held -= core.serving
    core.serving, core.cost, core.active, core.since = 0, 0, 0, end
    watch(s, end, 1)
    if core.count or (p.discipline == SHARED and desk.waiting):
        poll_queue(s, m, p, w, end)


# --- In order of time ----------------------------------------------------------------------------------


@step
def advance(s: State, b: Books, m: Machine, p: Spec, now: int) -> None:
    """Let everything happen that is due up to now."""
    desk = s.desk[0]
    while desk.next <= now:
        first, then, c = NEVER, NEVER, 0
        for k in range(len(s.cores)):
            core = s.cores[k]
            if core.active:
                if core.end < first:
                    first, then, c = core.end, first, k
                elif core.end < then:
                    then = core.end
        if first > now:  # a stall has moved the end meanwhile
            desk.next = first
            return
        desk.next = then
        if c == len(s.cores) - 1:
            hand_over(s, b, m, p)
        else:
            depart(s, b, m, p, c)


@lean
def run(
    s: State, b: Books, m: Machine, p: Spec,
    time: Int64s, flow: Int32s, service: Int64s, frame: Int32s, base: int,
) -> None:  # fmt: skip
    """Take packets base, base + 1 ... in order of arrival into the dispatcher's ring."""
    dispatcher = len(s.cores) - 1
    core = s.cores[dispatcher]
    for i in range(len(time)):
        t = time[i]
        advance(s, b, m, p, t)
        if core.count == m.ring:
            drop(s.cores, b.counts, m, dispatcher, t, frame[i])
            if b.log.shape[1]:
                b.log[TO_CORE, base + i] = dispatcher
            continue
        slot = s.ring[(core.head + core.count) & (len(s.ring) - 1)]
        slot.time, slot.service, slot.packet, slot.flow, slot.frame = (
            t,
            service[i],
            base + i,
            flow[i],
            frame[i],
        )
        core.count += 1
        if not core.active:
            poll_ring(s, m, p, t)


@lean
def catch_up(s: State, b: Books, m: Machine, p: Spec, now: int) -> None:
    """Let everything happen that is due up to now."""
    advance(s, b, m, p, now)


@lean
def hold(s: State, c: int, now: int, length: int) -> None:
    """Stall core c: what it is doing, or its next poll, is delayed by `length`."""
    if not s.cores[c].active:
        watch(s, now, -1 if c < len(s.cores) - 1 else 0)
        if c == len(s.cores) - 1:
            s.desk[0].before = s.desk[0].spent
    kernels.hold(s.cores, c, now, length)
    s.desk[0].next = min(s.desk[0].next, s.cores[c].end)
