"""A software dispatcher and its workers as columns: what it costs, who waits where, who is at work."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.engine import kernels
from lbsim.engine.kernels import NEVER, Machine, Records
from lbsim.jit import step

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]

SHARED, ROUND_ROBIN, STATEFUL_RR, STATEFUL_LOAD = range(4)

CORE = np.dtype(
    [
        *kernels.CORE.descr,
        ("since", "i8"),  # when it last ran out of work, ps
        ("flows", "i8"),  # that were ever assigned to it
    ]
)
SLOT = np.dtype(
    [
        ("time", "i8"),  # arrival, ps
        ("service", "i8"),  # ps
        ("packet", "i8"),  # its number
        ("flow", "i4"),
        ("frame", "i4"),  # bytes
    ]
)
DESK = np.dtype(
    [
        ("next", "i8"),  # when the first core is done, ps; NEVER where all are idle
        ("turn", "i8"),  # worker that is next in turn
        ("head", "i8"),  # packets that ever left the shared queue
        ("waiting", "i8"),  # packets in it
        ("held", "i8"),  # the same, and those in service
        ("idle", "i8"),  # workers that poll in vain
        ("changed", "i8"),  # when their number last changed, ps
        ("spent", "i8"),  # worker-ps ever spent so, up to then
        ("before", "i8"),  # of these, until the dispatcher began its batch, or a stall
        ("vain", "i8"),  # worker-ps spent so during its last batch
        ("span", "i8"),  # ps that its last batch took
    ]
)


class Spec(NamedTuple):
    """A software dispatcher; costs in ps."""

    discipline: int  # SHARED, ROUND_ROBIN, STATEFUL_RR or STATEFUL_LOAD
    capacity: int  # packets a queue holds, those in service included
    per_batch: int  # of the dispatcher, on each poll of its ring
    per_packet: int  # of the dispatcher, on each packet
    hand_over: int  # of a worker, on each packet it takes from a queue
    contention: int  # of the dispatcher, per packet and idle worker; on a shared queue of a worker, per other


class State(NamedTuple):
    """The dispatcher, its workers, and what waits for them. Every capacity is a power of two."""

    cores: Records  # CORE[workers + 1]; the last is the dispatcher
    desk: Records  # DESK[1]
    ring: Records  # SLOT[capacity], of the dispatcher
    queues: Records  # SLOT[workers, capacity]; only what is in service where the queue is shared
    shared: Records  # SLOT[capacity]
    home: Int32s  # worker of each flow, -1 for none yet; empty where flows do not matter
    newest: Int64s  # highest number of a departed packet of each flow; empty where order does not matter


def idle(m: Machine, p: Spec, workers: int, flows: int, reordering: bool) -> State:
    """Return idle cores with empty queues."""

    def slots(packets: int, *rows: int) -> Records:
        return np.zeros((*rows, 1 << (packets - 1).bit_length()), SLOT)

    shared = p.discipline == SHARED
    desk = np.zeros(1, DESK)
    desk["next"], desk["idle"] = NEVER, workers
    return State(
        cores=np.zeros(workers + 1, CORE),
        desk=desk,
        ring=slots(m.ring),
        queues=slots(m.burst if shared else p.capacity, workers),
        shared=slots(p.capacity if shared else 1),
        home=np.full(0 if p.discipline in (SHARED, ROUND_ROBIN) else flows, -1, np.int32),
        newest=np.full(flows if reordering else 0, -1, np.int64),
    )


@step
def begin(s: State, c: int, now: int, packets: int, cost: int) -> None:
    """Core c starts on a batch."""
    core, desk = s.cores[c], s.desk[0]
    core.serving, core.start, core.cost, core.end, core.active = packets, now, cost, now + cost, 1
    desk.next = min(desk.next, core.end)


@step
def watch(s: State, now: int, more: int) -> None:
    """Note the time spent polling in vain up to now; `more` workers do so from now on."""
    desk = s.desk[0]
    desk.spent += desk.idle * (now - desk.changed)
    desk.changed = now
    desk.idle += more
