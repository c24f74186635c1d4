"""Stateful cores as Numba kernels: all cores advance together, the least (time, core) first.

A core polls a batch, handles it packet by packet, and lets it depart as one. Where cores share nothing, a
batch is a single piece of work; else each packet is one, because what a core meets depends on what the
others have done by then. A packet is a slot of one pool and moves from queue to queue: the ring of a core,
its hand (taken, not yet handled), what it has handled, the parking place of a bucket, the spare slots.
"""

from __future__ import annotations

from typing import Any, NamedTuple

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
from lbsim.engine.stateful.sharing import MARK, NONE, Sharing
from lbsim.jit import lean, step

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]
Records = Any  # a structured array: Numba reads its fields as attributes, mypy cannot

NOTHING = -1  # no slot; no work

CORE = np.dtype(
    [
        ("count", "i8"),  # packets in the ring
        ("serving", "i8"),  # of these, in the batch in service
        ("left", "i8"),  # packets that ever left the ring, with the batches they were in
        ("departed", "i8"),  # packets handled and gone
        ("working", "i8"),  # 1 while there is a batch in service
        ("start", "i8"),  # of the work it is doing, ps
        ("cost", "i8"),  # of that work, ps
        ("busy", "i8"),  # work done before it, ps
        ("dropped", "i8"),  # packets the full ring refused
        ("pending", "i8"),  # 1 while it has buckets to hand over
        ("watch", "i8"),  # which it may once so many packets have left the ring,
        ("mark", "i8"),  # or a packet of this epoch has been in a batch
        ("newest", "i8"),  # epoch of the last ring packet of its batch
    ]
)
SLOT = np.dtype(
    [
        ("next", "i8"),  # slot behind it in its queue
        ("time", "i8"),  # arrival, ps
        ("service", "i8"),  # ps
        ("packet", "i8"),  # number of the packet
        ("bucket", "i8"),  # entry of the indirection table that led here
        ("flow", "i8"),
        ("frame", "i8"),  # bytes
        ("epoch", "i8"),  # times the table had been rewritten when it arrived
    ]
)
QUEUE = np.dtype([("head", "i8"), ("tail", "i8")])  # slots; the tail means nothing where there is no head
COMMON = np.dtype(
    [
        ("clock", "i8"),  # the last event or look from outside, ps
        ("epoch", "i8"),  # times the table has been rewritten
        ("working", "i8"),  # cores with a batch in service
        ("spare", "i8"),  # slots in no use
        ("waiting", "i8"),  # buckets with packets parked
        ("parked", "i8"),  # packets ever parked
        ("handed", "i8"),  # buckets ever handed over
    ]
)


class State(NamedTuple):
    """The cores, what waits for them, and what they share."""

    cores: Records  # CORE[n]
    due: Int64s  # ps at which each core is done with what it is doing; NEVER: idle
    slots: Records  # SLOT[pool]
    rings: Records  # QUEUE[n], polled packets not included
    hands: Records  # QUEUE[n]
    handled: Records  # QUEUE[n]
    parking: Records  # QUEUE[buckets]
    spare: Records  # QUEUE[1]
    common: Records  # COMMON[1]
    polled: Int64s  # packets taken from the rings, by bucket
    table: Int64s  # bucket -> core its packets go to
    owner: Int64s  # bucket -> core that has its flows
    unlocked: Int64s  # ps at which each flow's lock is free again; empty where flows have none
    newest: Int64s  # highest packet number of each flow that departed; empty where order is not measured


def idle(cores: int, table: Int64s, flows: int, sharing: Sharing, reordering: bool) -> State:
    """Return idle cores with empty rings and no slots."""

    def queues(count: int) -> Records:
        return np.full(count, NOTHING, QUEUE)

    return State(
        cores=np.zeros(cores, CORE),
        due=np.full(cores, NEVER),
        slots=np.empty(0, SLOT),
        rings=queues(cores),
        hands=queues(cores),
        handled=queues(cores),
        parking=queues(len(table)),
        spare=queues(1),
        common=np.zeros(1, COMMON),
        polled=np.zeros(len(table), np.int64),
        table=table,
        owner=table.copy(),
        unlocked=np.zeros(flows if sharing.lock else 0, np.int64),
        newest=np.full(flows if reordering else 0, -1),
    )


def with_room(s: State, packets: int) -> State:
    """Return the state with at least so many spare slots."""
    common, old = s.common[0], len(s.slots)
    if common["spare"] >= packets:
        return s
    slots = np.zeros(2 * old + packets, SLOT)
    slots[:old] = s.slots
    slots["next"][old:] = np.arange(old + 1, len(slots) + 1)
    slots["next"][-1] = s.spare["head"][0]
    s.spare["head"] = old
    common["spare"] += len(slots) - old
    return s._replace(slots=slots)


# --- queues of slots -----------------------------------------------------------------------------------


@step
def put(slots: Records, queue: Records, k: int) -> None:
    """Put slot k at the end of a queue."""
    slots[k].next = NOTHING
    if queue.head == NOTHING:
        queue.head = k
    else:
        slots[queue.tail].next = k
    queue.tail = k


@step
def take(slots: Records, queue: Records) -> int:
    """Take the first slot of a queue, which is not empty."""
    k = queue.head
    queue.head = slots[k].next
    return k  # type: ignore[no-any-return]


@step
def put_first(slots: Records, queue: Records, others: Records) -> None:
    """Move all of `others`, which is not empty, before what is in a queue."""
    slots[others.tail].next = queue.head
    if queue.head == NOTHING:
        queue.tail = others.tail
    queue.head = others.head
    others.head = NOTHING


# --- buckets and their owners --------------------------------------------------------------------------


@step
def wake(s: State, c: int, when: int) -> None:
    """Let core c, if idle, look for work at `when`."""
    if s.due[c] == NEVER:
        s.due[c], s.cores[c].start, s.cores[c].cost = when, when, 0


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
    s.cores[c].pending = 0


@lean
def moved(s: State, sharing: Sharing, now: int) -> None:
    """Note which cores have buckets to hand over, now that the table has been rewritten."""
    s.common[0].epoch += 1
    for b in range(len(s.table)):
        if s.owner[b] != s.table[b]:
            core = s.cores[s.owner[b]]
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
        for b in range(len(s.table) - 1, -1, -1):
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
    if sharing.protocol == NONE and sharing.contention == 0 and sharing.lock == 0:
        while hand.head != NOTHING:
            core.cost += handle(s, books, m, sharing, c, now)
    s.due[c] = now + core.cost


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
        if len(s.newest):
            in_order = packet.packet > s.newest[packet.flow]
            s.newest[packet.flow] = max(s.newest[packet.flow], packet.packet)
            books.counts[REORDERED] += not in_order and packet.time >= m.warmup
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
