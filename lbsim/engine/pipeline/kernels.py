"""Pipelines of cores, compiled: packets only ever move on, so core after core is brought up to date.

A full ring drops, it never blocks: what a core does depends on the cores before it, and on none behind it.
Each in turn, the first of a lane first, therefore does everything up to an instant, leaving to the next one
a queue of what it hands over and when. A core is done with its batch before it takes what comes at the same
instant, and what one batch hands over comes as one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lbsim.engine.kernels import (
    DEPARTURE,
    DROPPED,
    DROPPED_BYTES,
    NEVER,
    QUEUE_FULL,
    REORDERED,
    TO_CORE,
    Books,
    Machine,
    note,
    record,
)
from lbsim.engine.pipeline.spec import Spec
from lbsim.engine.pipeline.state import State
from lbsim.engine.stateful.state import NOTHING, put, take
from lbsim.jit import lean, step

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]

BLOCK = 1024
"""Packets taken at a time: their slots stay in the cache."""


@step
def release(s: State, k: int) -> None:
    """Slot k is in no use any more."""
    s.slots[k].next = s.spare[0].head
    s.spare[0].head = k
    s.free[0] += 1


@step
def poll(s: State, m: Machine, p: Spec, c: int, stage: int, now: int) -> None:
    """Core c polls its ring, which is not empty, and starts on the batch."""
    core = s.cores[c]
    n = min(m.burst, core.count)
    cost = p.poll if stage else m.per_batch
    k = s.rings[c].head
    for _ in range(n):
        slot = s.slots[k]
        cost += slot.service
        if stage == 0:
            s.polled[slot.bucket] += 1
        k = slot.next
    core.serving, core.start, core.cost, core.end, core.active = n, now, cost, now + cost, 1


@step
def depart(s: State, b: Books, m: Machine, c: int, k: int, now: int) -> None:
    """The packet in slot k leaves core c and the pipeline."""
    slot = s.slots[k]
    if slot.time >= m.warmup:
        latency = now - slot.time + m.delay
        record(b.counts, b.rows, m, slot.time, latency)
        note(b.counts, latency, latency, latency, now)
    else:
        note(b.counts, 0, NEVER, 0, now)
    if b.log.shape[1]:
        b.log[TO_CORE, slot.packet], b.log[DEPARTURE, slot.packet] = c, now
    if len(s.newest):
        slot.due = now
        put(s.slots, s.gone[c], k)
    else:
        release(s, k)


@step
def finish(s: State, b: Books, m: Machine, p: Spec, c: int, stage: int) -> None:
    """Core c's batch ends: on to the next core, or out; it polls again."""
    core, end, last = s.cores[c], s.cores[c].end, NOTHING
    for _ in range(core.serving):
        k = take(s.slots, s.rings[c])
        slot = s.slots[k]
        if stage + 1 == p.stages or p.fixed[stage + 1, slot.kind] < 0:
            depart(s, b, m, c, k, end)
            continue
        slot.service = p.fixed[stage + 1, slot.kind] + p.per_byte[stage + 1] * slot.frame
        slot.due, slot.more = end + p.latency[stage], 1
        put(s.slots, s.coming[c + 1], k)
        last = k
    if last != NOTHING:
        s.slots[last].more = 0
    core.head += core.serving
    core.count -= core.serving
    core.busy += core.cost
    core.serving, core.cost, core.active = 0, 0, 0
    if core.count:
        poll(s, m, p, c, stage, end)


@step
def accept(s: State, b: Books, m: Machine, p: Spec, c: int, stage: int, now: int) -> None:
    """What comes next comes to core c: into its ring as far as that has room; an idle core starts at once."""
    core = s.cores[c]
    room = p.capacity if stage else m.ring
    more = 1
    while more:
        k = take(s.slots, s.coming[c])
        slot = s.slots[k]
        more = slot.more
        if core.count < room:
            put(s.slots, s.rings[c], k)
            core.count += 1
            continue
        core.dropped += 1
        if slot.time >= m.warmup:
            b.counts[QUEUE_FULL if stage else DROPPED] += 1
            b.counts[DROPPED_BYTES] += slot.frame
        if b.log.shape[1]:
            b.log[TO_CORE, slot.packet] = c
        release(s, k)
    if not core.active:
        poll(s, m, p, c, stage, now)


@step
def settle(s: State, b: Books, m: Machine, p: Spec, c: int, stage: int, now: int) -> None:
    """Let everything happen to core c that is due up to now."""
    core, coming = s.cores[c], s.coming[c]
    while True:
        due = s.slots[coming.head].due if coming.head != NOTHING else NEVER
        if core.active and core.end <= min(due, now):
            finish(s, b, m, p, c, stage)
        elif due <= now:
            accept(s, b, m, p, c, stage, due)
        else:
            return


@step
def order(s: State, b: Books, m: Machine) -> None:
    """Count what has left after a later packet of its flow, in order of time; free the slots."""
    while True:
        first = NOTHING
        for c in range(len(s.gone)):
            k = s.gone[c].head
            if k == NOTHING:
                continue
            if first != NOTHING:
                one, other = s.slots[k], s.slots[s.gone[first].head]
                if one.due > other.due or (one.due == other.due and one.packet > other.packet):
                    continue
            first = c
        if first == NOTHING:
            return
        k = take(s.slots, s.gone[first])
        slot = s.slots[k]
        if slot.packet < s.newest[slot.flow]:
            b.counts[REORDERED] += slot.time >= m.warmup
        else:
            s.newest[slot.flow] = slot.packet
        release(s, k)


@step
def advance(s: State, b: Books, m: Machine, p: Spec, now: int) -> None:
    """Let everything happen that is due up to now, core after core."""
    stage = 0
    for c in range(len(s.cores)):
        settle(s, b, m, p, c, stage, now)
        stage = stage + 1 if stage + 1 < p.stages else 0
    if len(s.newest):
        order(s, b, m)


@lean
def run(
    s: State, b: Books, m: Machine, p: Spec, table: Int64s,
    time: Int64s, bucket: Int32s, flow: Int32s, service: Int64s, frame: Int32s, base: int,
) -> None:  # fmt: skip
    """Take packets base, base + 1 ... in order of arrival to the cores that the table names."""
    for first in range(0, len(time), BLOCK):
        last = min(first + BLOCK, len(time))
        for i in range(first, last):
            k = take(s.slots, s.spare[0])
            slot = s.slots[k]
            slot.due, slot.time, slot.service, slot.packet = time[i], time[i], service[i], base + i
            slot.flow, slot.kind, slot.frame, slot.bucket = flow[i], p.class_of[flow[i]], frame[i], bucket[i]
            slot.more = 0
            put(s.slots, s.coming[table[bucket[i]]], k)
        s.free[0] -= last - first
        advance(s, b, m, p, time[last - 1])


@lean
def catch_up(s: State, b: Books, m: Machine, p: Spec, now: int) -> None:
    """Let everything happen that is due up to now."""
    advance(s, b, m, p, now)
