"""What stateful cores share and keep: packets are slots of one pool that move from queue to queue."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.engine.kernels import NEVER
from lbsim.jit import step

Int64s = NDArray[np.int64]
Records = Any  # a structured array: Numba reads its fields as attributes, mypy cannot

NONE, WATCH, MARK = 0, 1, 2
"""Protocols by which a bucket that was moved changes its owner (see `lbsim.scenario.machine.PerBucket`)."""


class Sharing(NamedTuple):
    """What cores share; nothing by default."""

    protocol: int = NONE
    """How the owner of a moved bucket changes. NONE: buckets have no owner, nothing is checked."""
    as_published: bool = False
    """Whether an idle source waits for its next packet, and parked packets for the next of their bucket."""
    contention: int = 0
    """ps added to a packet for each ordered pair of working cores: the shared table's."""
    lock: int = 0
    """ps for which a packet holds the lock of its flow; 0: flows have no lock."""


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
        ("pending", "i8"),  # cores with buckets to hand over
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
    highest: Int64s  # packet number of each flow that departed; empty where order is not measured


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
        highest=np.full(flows if reordering else 0, -1),
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
