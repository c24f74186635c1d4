"""The cores of a pipeline and what waits for them: packets are slots of a pool, passed from ring to ring."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.engine.kernels import CORE
from lbsim.engine.stateful.state import NOTHING, QUEUE

Int64s = NDArray[np.int64]
Records = Any  # a structured array: Numba reads its fields as attributes, mypy cannot

SLOT = np.dtype(
    [
        ("next", "i8"),  # slot behind it in its queue
        ("due", "i8"),  # when it comes to its next ring, or departed, ps
        ("time", "i8"),  # arrival at the NIC, ps
        ("service", "i8"),  # work of its next core on it, ps
        ("packet", "i8"),  # its number
        ("flow", "i4"),
        ("kind", "i4"),  # class of its flow
        ("frame", "i4"),  # bytes
        ("bucket", "i4"),  # entry of the indirection table that led here
        ("more", "i8"),  # 1 where the next of its queue comes with it, in one batch
    ]
)


class State(NamedTuple):
    """The cores, the packets on their way to each, and those in its ring."""

    cores: Records  # CORE[n]
    slots: Records  # SLOT[pool]
    coming: Records  # QUEUE[n], by time
    rings: Records  # QUEUE[n], packets in service first
    gone: Records  # QUEUE[n], departed in this call; empty where order is not measured
    spare: Records  # QUEUE[1]
    free: Int64s  # [1] slots in no use
    polled: Int64s  # packets that the first cores took from their rings, by bucket
    newest: Int64s  # highest number of a departed packet of each flow; empty where order does not matter


def idle(cores: int, buckets: int, flows: int, reordering: bool) -> State:
    """Return idle cores with empty rings and no slots."""

    def queues(count: int) -> Records:
        return np.full(count, NOTHING, QUEUE)

    return State(
        cores=np.zeros(cores, CORE),
        slots=np.empty(0, SLOT),
        coming=queues(cores),
        rings=queues(cores),
        gone=queues(cores if reordering else 0),
        spare=queues(1),
        free=np.zeros(1, np.int64),
        polled=np.zeros(buckets, np.int64),
        newest=np.full(flows if reordering else 0, -1, np.int64),
    )


def with_room(s: State, packets: int) -> State:
    """Return the state with at least so many slots in no use."""
    if s.free[0] >= packets:
        return s
    old = len(s.slots)
    slots = np.zeros(2 * old + packets, SLOT)
    slots[:old] = s.slots
    slots["next"][old:] = np.arange(old + 1, len(slots) + 1)
    slots["next"][-1] = s.spare["head"][0]
    s.spare["head"] = old
    s.free[0] += len(slots) - old
    return s._replace(slots=slots)
