"""A block of events: the next arrivals, and who leaves before each of them.

No placement has a say in when connections come and go. So everything about time is settled a block ahead, in
short loops that depend on no load and hardly ever branch the unexpected way; then the block is played.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.engine.section2.events import Records, gap
from lbsim.jit import lean
from lbsim.workload.cpython import PAIRS, Stream, refill

Uint32s = NDArray[np.uint32]

BLOCK: Final = PAIRS  # events; an arrival takes a pair of random numbers
NONE: Final = np.uint32(0xFFFFFFFF)  # no slot
_STEPS: Final = (128, 64, 32, 16, 8, 4, 2, 1)  # of a search among fewer than 256


class Block(NamedTuple):
    """The events of a block; those that are no arrivals are the simulation's own."""

    time: NDArray[np.float64]  # [sum of steps] rising; infinity behind the last event
    kind: Uint32s  # [BLOCK] the duration of the arrival, as its position in the law; above: no arrival
    slot: Uint32s  # [BLOCK] of the arrival
    leaving: Uint32s  # [BLOCK] slot of one who leaves before the event, its `next` another's; or NONE


def block() -> Block:
    """Return an empty block."""
    kind, slot, leaving = np.zeros((3, BLOCK), np.uint32)
    return Block(np.full(sum(_STEPS), np.inf), kind, slot, leaving)


@lean
def draw_pairs(stream: Stream, cdf: NDArray[np.float64], kind: Uint32s) -> None:
    """Draw BLOCK pairs of numbers; the first of a pair is also looked up in the law."""
    refill(stream)
    for i in range(BLOCK):
        kind[i] = 0
    for share in cdf:
        for i in range(BLOCK):
            kind[i] += stream.floats[2 * i] >= share


@lean
def next_arrivals(
    block: Block, stream: Stream, cdf: NDArray[np.float64], rate: float, queues: Records, slots: Records,
    start: float, in_order: bool,
) -> float:  # fmt: skip
    """Fill a block with arrivals, the first at `start`; return when the one after them comes."""
    draw_pairs(stream, cdf, block.kind)
    now = start
    for i in range(BLOCK):
        block.time[i] = now
        now += gap(stream.floats[2 * i + 1], rate)  # here, as a loop of logs alone may be rounded otherwise
    list_departures(block, queues, slots, in_order)
    return now


@lean
def list_departures(block: Block, queues: Records, slots: Records, in_order: bool) -> None:
    """Give the arrivals of a block their slots, and list who leaves before each event.

    Those who leave between the same two events are in order of time if that matters.
    """
    for i in range(BLOCK):
        block.leaving[i] = NONE
        if block.kind[i] < len(queues):
            queue = queues[block.kind[i]]
            slot = np.uint32(queue.tail)
            slots[slot].time = block.time[i] + queue.lasts
            queue.tail = slot + 1 if slot + 1 < queue.end else queue.base
            queue.count += 1
            block.slot[i] = slot
    last = block.time[BLOCK - 1]
    for k in range(len(queues)):
        queue = queues[k]
        head, count, base, end = np.uintp(queue.head), queue.count, queue.base, queue.end
        if count > end - base:
            raise OverflowError("more connections are active than 12 standard deviations above the mean")
        while count and slots[head].time <= last:
            _list(block, slots, head, in_order)
            head = np.uintp(head + np.uintp(1) if head + np.uintp(1) < end else base)
            count -= 1
        queue.head, queue.count = head, count


@lean
def _list(block: Block, slots: Records, leaver: np.uintp, in_order: bool) -> None:
    """List one who leaves before the first event that is not earlier, found by bisection without branches."""
    time, event = slots[leaver].time, np.uintp(0)
    for step in _STEPS:
        event += np.uintp(step) * np.uintp(block.time[event + np.uintp(step - 1)] < time)
    before, after = NONE, block.leaving[event]
    while in_order and after != NONE and slots[after].time <= time:
        before, after = after, slots[after].next
    slots[leaver].next = after
    if before == NONE:
        block.leaving[event] = leaver
    else:
        slots[before].next = leaver
