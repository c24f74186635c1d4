"""Groups of connections that share their fate, and the rules by which they break.

Connections of a cell of the ring that came between two changes of its owner are one group; nobody looks at a
connection between its arrival and its departure.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from lbsim.engine.section2.events import Records
from lbsim.jit import lean

Int32s = NDArray[np.int32]

Rule = Literal["every-move", "new-server", "chain", "once", "chain-once"]
RULES: Final = ("every-move", "new-server", "chain", "once", "chain-once")
EVERY_MOVE, NEW_SERVER, CHAIN, ONCE, CHAIN_ONCE = range(5)

PAST: Final = 32  # servers a connection can remember
GROUP: Final = np.dtype(
    [
        ("cell", "i4"),
        ("after", "i4"),  # the next group of the cell, or the next free one; -1 for none
        ("before", "i4"),
        ("home", "i4"),  # the server its connections came to
        ("previous", "i4"),  # the server that passed them on, -1 for none
        ("dead", "i4"),  # they are broken already
        ("visited", "i4"),  # servers in `past`
        ("past", "i4", PAST),
    ]
)
TALLY: Final = np.dtype(
    [("started", "i8"), ("broken", "i8"), ("forced", "i8"), ("updates", "i8"), ("up", "i8"), ("free", "i8")]
)


@lean
def captured(rule: int, group: Any, connections: int, tally: Any, old: int, new: int) -> None:
    """A group moves from server `old` to `new`, which came back."""
    if rule == EVERY_MOVE:
        tally.broken += connections
    elif rule == NEW_SERVER:
        been = _been(group, new)
        if been:
            group.visited = been
        else:
            tally.broken += connections
            _remember(group, new)
    elif rule == CHAIN:
        if group.previous >= 0:
            tally.broken += connections
        group.previous = old
    else:
        if not group.dead and (rule == ONCE or group.home != old):
            tally.broken += connections
            group.dead = 1
        group.previous = old


@lean
def removed(rule: int, group: Any, connections: int, tally: Any, old: int, new: int) -> None:
    """A group moves from server `old`, which went down, to `new`."""
    if rule == NEW_SERVER:
        if not _been(group, new):
            _remember(group, new)
    elif rule >= ONCE and not group.dead:
        if group.home == old:
            tally.forced += connections
            group.dead = 1
        elif group.home != new:
            tally.broken += connections
            group.dead = 1
    group.previous = -1


@lean
def _been(group: Any, server: int) -> int:
    """Return which of the servers a group has been on this is, from 1; 0 where it is none."""
    for k in range(group.visited):
        if group.past[k] == server:
            return k + 1
    return 0


@lean
def _remember(group: Any, server: int) -> None:
    if group.visited == PAST:
        raise OverflowError("a connection has been on more servers than it can remember: lower the updates")
    group.past[group.visited] = server
    group.visited += 1


@lean
def renew(
    groups: Records, count: Int32s, first: Int32s, current: Int32s, tally: Any, cell: int, server: int
) -> None:
    """A cell has a new owner: connections that come from now on are a group of their own."""
    g = current[cell]
    if count[g]:
        g = tally.free
        tally.free = groups[g].after
        head = first[cell]
        groups[head].before = g
        groups[g].after, groups[g].before = head, -1
        groups[g].cell = cell
        first[cell] = current[cell] = g
    group = groups[g]
    group.home, group.previous, group.dead, group.visited = server, -1, 0, 1
    group.past[0] = server


@lean
def free(groups: Records, first: Int32s, tally: Any, g: int) -> None:
    """A group that is not current has lost its last connection."""
    group = groups[g]
    if group.before >= 0:
        groups[group.before].after = group.after
    else:
        first[group.cell] = group.after
    if group.after >= 0:
        groups[group.after].before = group.before
    group.after = tally.free
    tally.free = g
