"""Stateful cores as Numba kernels: all cores advance together, the least (time, core) first.

A core polls a batch, handles it packet by packet, and lets it depart as one. While other cores can do
nothing to it, a batch is a single piece of work; else each packet is one, because what a core meets depends
on what the others have done by then. A packet moves from the ring of its core to the core's hand, perhaps
waits in the parking place of its bucket, is handled, and departs with the batch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lbsim.engine.kernels import (
    DEPARTURE,
    DROPPED_BYTES,
    NEVER,
    NOT_OWNER,
    REORDERED,
    TO_CORE,
    Books,
    Machine,
    drop,
    note,
    record,
)
from lbsim.engine.stateful.state import (
    MARK,
    NONE,
    NOTHING,
    Int64s,
    Records,
    Sharing,
    State,
    put,
    put_first,
    take,
)
from lbsim.jit import lean, step

Int32s = NDArray[np.int32]


# --- buckets and their owners --------------------------------------------------------------------------


@step
def wake(s: State, c: int, when: int) -> None:
    """Let core c, if idle, look for work at `when`."""
    if s.due[c] == NEVER:
        s.due[c] = when


@step
def park(s: State, b: int, k: int) -> None:
    """Keep a packet until its bucket has come to this core."""
    s.common[0].parked += 1
    s.common[0].waiting += s.parking[b].head == NOTHING
    put(s.slots, s.parking[b], k)


@step
def unpark(s: State, c: int, b: int) -> None:
    """Let core c handle first what is parked of bucket b."""
    s.common[0].waiting -= 1
    put_first(s.slots, s.hands[c], s.parking[b])


@step
def at_home(s: State, b: int, c: int) -> bool:
    """Return whether bucket b is core c's and is to stay so."""
    return bool(s.owner[b] == c and s.table[b] == c)


@step
def may_hand_over(core: Records, sharing: Sharing) -> bool:
    """Return whether nothing older than the last table is left in a core's ring."""
    if sharing.protocol == MARK:
        return bool(core.newest >= core.mark or (core.count == 0 and not sharing.as_published))
    return bool(core.left > core.watch or (core.left == core.watch and not sharing.as_published))


@step
def hand_over(s: State, sharing: Sharing, c: int, now: int) -> None:
    """Give away all of core c's buckets that the table has elsewhere; their packets no longer wait."""
    for b in range(len(s.table)):
        if s.owner[b] == c and s.table[b] != c:
            s.owner[b] = s.table[b]
            s.common[0].handed += 1
            if s.parking[b].head != NOTHING and not sharing.as_published:
                wake(s, s.owner[b], now)
    s.common[0].pending -= s.cores[c].pending
    s.cores[c].pending = 0


@lean
def moved(s: State, sharing: Sharing, now: int) -> None:
    """Note which cores have buckets to hand over, now that the table has been rewritten."""
    s.common[0].epoch += 1
    for b in range(len(s.table)):
        if s.owner[b] != s.table[b]:
            core = s.cores[s.owner[b]]
            s.common[0].pending += 1 - core.pending
            core.pending, core.watch, core.mark = 1, core.left + core.count, s.common[0].epoch
    for c in range(len(s.cores)):
        if s.cores[c].pending and s.due[c] == NEVER and not sharing.as_published:
            hand_over(s, sharing, c, now)


# --- batches -------------------------------------------------------------------------------------------


@step
def poll(s: State, books: Books, m: Machine, sharing: Sharing, c: int, now: int) -> None:
    """Core c takes what it has parked and can now handle, then a burst from its ring, or falls idle."""
    core, hand = s.cores[c], s.hands[c]
    if s.common[0].waiting and not sharing.as_published:
        for b in range(len(s.table) - 1, -1, -1):  # each goes before those after it
            if s.parking[b].head != NOTHING and at_home(s, b, c):
                unpark(s, c, b)
    core.serving, core.newest = min(m.burst, core.count), -1
    for _ in range(core.serving):
        k = take(s.slots, s.rings[c])
        s.polled[s.slots[k].bucket] += 1
        core.newest = s.slots[k].epoch
        put(s.slots, hand, k)
    if hand.head == NOTHING:
        s.due[c] = NEVER
        return
    core.working = 1
    s.common[0].working += 1
    core.start, core.cost = now, m.per_batch
    if undisturbed(s, sharing):
        while hand.head != NOTHING:
            core.cost += max(0, handle(s, books, m, sharing, c, now))
    s.due[c] = now + core.cost


@step
def undisturbed(s: State, sharing: Sharing) -> bool:
    """Return whether others can do nothing to a batch: no contention, no locks, nothing to hand over."""
    return bool(sharing.contention == 0 and sharing.lock == 0 and s.common[0].pending == 0)


@step
def handle(s: State, books: Books, m: Machine, sharing: Sharing, c: int, now: int) -> int:
    """Core c turns to its next packet: return the work on it, or NOTHING when its hand is empty."""
    hand = s.hands[c]
    while hand.head != NOTHING:
        packet = s.slots[hand.head]
        b = packet.bucket
        if sharing.protocol != NONE and s.owner[b] != c:
            k = take(s.slots, hand)
            if s.table[b] == c:
                park(s, b, k)
            else:
                refuse(s, books, m, c, k)
        elif sharing.protocol != NONE and s.parking[b].head != NOTHING and s.table[b] == c:
            unpark(s, c, b)
        else:
            put(s.slots, s.handled[c], take(s.slots, hand))
            return work_on(s, sharing, packet.flow, packet.service, now)
    return NOTHING


@step
def work_on(s: State, sharing: Sharing, flow: int, service: int, now: int) -> int:
    """Return the work on a packet, the wait for its flow's lock included."""
    wait = 0
    if sharing.lock:
        wait = max(0, s.unlocked[flow] - now)
        s.unlocked[flow] = now + wait + sharing.lock
    working = s.common[0].working
    return wait + service + sharing.contention * working * (working - 1)  # type: ignore[no-any-return]


@step
def refuse(s: State, books: Books, m: Machine, c: int, k: int) -> None:
    """Drop a packet whose bucket belongs to another core, and is not on its way to this one."""
    packet = s.slots[k]
    if packet.time >= m.warmup:
        books.counts[NOT_OWNER] += 1
        books.counts[DROPPED_BYTES] += packet.frame
    if books.log.shape[1]:
        books.log[TO_CORE, packet.packet] = c
    packet.next = s.spare[0].head
    s.spare[0].head = k
    s.common[0].spare += 1


@step
def depart(s: State, books: Books, m: Machine, c: int, now: int) -> None:
    """Let all that core c has handled go, in that order, and free the slots of its ring."""
    core, handled = s.cores[c], s.handled[c]
    gone, total, low, high = 0, 0, NEVER, 0
    k = handled.head
    while k != NOTHING:
        packet = s.slots[k]
        if len(s.highest):
            if packet.packet < s.highest[packet.flow]:
                books.counts[REORDERED] += packet.time >= m.warmup
            else:
                s.highest[packet.flow] = packet.packet
        if packet.time >= m.warmup:
            latency = now - packet.time + m.delay
            record(books.counts, books.rows, m, packet.time, latency)
            total, low, high = total + latency, min(low, latency), max(high, latency)
        if books.log.shape[1]:
            books.log[TO_CORE, packet.packet], books.log[DEPARTURE, packet.packet] = c, now
        gone += 1
        k = packet.next
    if gone:
        note(books.counts, total, low, high, now)
        put_first(s.slots, s.spare[0], handled)
    core.departed += gone
    core.left += core.serving
    core.count -= core.serving
    s.common[0].spare += gone
    s.common[0].working -= core.working
    core.serving, core.working = 0, 0


@step
def advance(s: State, books: Books, m: Machine, sharing: Sharing, c: int) -> None:
    """Core c is done with what it was doing: the next packet, or the end of the batch and another poll."""
    core, now = s.cores[c], s.due[c]
    core.busy += core.cost
    core.start, core.cost = now, 0
    work = handle(s, books, m, sharing, c, now)
    if work != NOTHING:
        core.cost = work
        s.due[c] = now + work
        return
    depart(s, books, m, c, now)
    if core.pending and may_hand_over(core, sharing):
        hand_over(s, sharing, c, now)
    poll(s, books, m, sharing, c, now)


@step
def first_due(s: State) -> int:
    """Return the core that is done first; of equals, the one with the lowest number."""
    first = 0
    for c in range(1, len(s.due)):
        if s.due[c] < s.due[first]:
            first = c
    return first


@step
def run_to(s: State, books: Books, m: Machine, sharing: Sharing, now: int) -> None:
    """Let everything happen that is due at or before `now`."""
    c = first_due(s)
    while s.due[c] <= now:
        s.common[0].clock = s.due[c]
        advance(s, books, m, sharing, c)
        c = first_due(s)


# --- the bank's kernels --------------------------------------------------------------------------------


@lean
def run(
    s: State, books: Books, m: Machine, sharing: Sharing,
    time: Int64s, bucket: Int32s, flow: Int32s, service: Int64s, frame: Int32s, base: int,
) -> None:  # fmt: skip
    """Run packets base, base + 1 ... through the indirection table into the cores."""
    for i in range(len(time)):
        t, c = time[i], s.table[bucket[i]]
        run_to(s, books, m, sharing, t)
        core = s.cores[c]
        if core.count == m.ring:
            drop(s.cores, books.counts, m, c, t, frame[i])
            if books.log.shape[1]:
                books.log[TO_CORE, base + i] = c
        else:
            k = take(s.slots, s.spare[0])
            slot = s.slots[k]
            slot.time, slot.service, slot.packet, slot.frame = t, service[i], base + i, frame[i]
            slot.bucket, slot.flow, slot.epoch = bucket[i], flow[i], s.common[0].epoch
            s.common[0].spare -= 1
            put(s.slots, s.rings[c], k)
            core.count += 1
            wake(s, c, t)


@lean
def catch_up(s: State, books: Books, m: Machine, sharing: Sharing, now: int) -> None:
    """Let everything happen that is due at or before `now`."""
    run_to(s, books, m, sharing, now)


@lean
def hold(s: State, c: int, now: int, length: int) -> None:
    """Stall core c, which is up to date: what it is doing, or its next poll, ends `length` later."""
    if s.due[c] == NEVER:
        wake(s, c, now + length)
    else:
        s.due[c] += length


@lean
def hand_over_all(s: State, sharing: Sharing) -> None:
    """At the end of a run, with all cores idle: give away every moved bucket, flush all that is parked."""
    now = s.common[0].clock
    for c in range(len(s.cores)):
        hand_over(s, sharing, c, now)
    for b in range(len(s.table)):
        if s.parking[b].head != NOTHING:
            wake(s, s.owner[b], now)
