"""Changes of the pool, as Numba kernels: which connections will break, and when.

They run over all records, in the order of the records: none depends on another. Only `ask` is compiled anew
for each policy; it is needed where the consistency scheme has the policy decide again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lbsim.balancer import consistency
from lbsim.balancer.consistency import ASK, Keeper
from lbsim.balancer.policies import Unit, View
from lbsim.engine.connection.agenda import INDEX, KIND_SHIFT, USED, Agenda, Rows, int64, key_of
from lbsim.engine.connection.kernels import BREAK, END, RETRY
from lbsim.jit import kernel, lean

Int32s = NDArray[np.int32]


@lean
def is_live(record: Rows) -> bool:
    """Return whether a record is of a connection under way; else it is free, or waits to begin again."""
    return record.key >= 0 and record.key >> KIND_SHIFT != RETRY  # type: ignore[no-any-return]


@lean
def reached(a: Agenda, keeper: Keeper, where: Int32s) -> bool:
    """Write the server that packets of each connection reach now; return whether to ask the policy."""
    asks = False
    for slot in range(a.mark[USED]):
        record = a.records[slot]
        if is_live(record):
            digest, server, handle = int64(record.hash), int64(record.server), int64(record.handle)
            where[slot] = consistency.reach(keeper, record.key & INDEX, digest, server, handle)
            asks |= where[slot] == ASK
        else:
            where[slot] = 0
    return asks


@lean
def ask(a: Agenda, view: View, policy: Callable[[View, Unit], int], where: Int32s) -> int:
    """Let the policy decide where it is asked; return -1, or the index of a connection it placed nowhere."""
    for slot in range(a.mark[USED]):
        if where[slot] == ASK:
            record = a.records[slot]
            index = record.key & INDEX
            position = policy(view, Unit(index, index, int64(record.hash), 0))
            if position < 0 or position >= view.n:
                return index  # type: ignore[no-any-return]
            where[slot] = view.active[position]
    return -1


@kernel
def plan(a: Agenda, servers: Rows, where: Int32s, now: int) -> bool:
    """Plan every break anew after a change at `now`; return whether any event is another than before."""
    changed = False
    for slot in range(a.mark[USED]):
        record = a.records[slot]
        if not is_live(record):
            continue
        index = record.key & INDEX
        time, key = record.end, key_of(END, index)
        if where[slot] != record.server or servers[record.server].down:
            begin, gap = record.begin, record.gap
            if gap == 0:
                time, key = now, key_of(BREAK, index)
            elif gap < record.end - begin:  # else no packet crosses between its first and its last
                crossing = begin + max(1, -((begin - now) // gap)) * gap
                if crossing < record.end:
                    time, key = crossing, key_of(BREAK, index)
        if time != record.time or key != record.key:
            record.time, record.key = time, key
            changed = True
    return changed
