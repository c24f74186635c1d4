"""Cheetah, Section 2, "DIP updates": connections broken by servers that go down and come back.

Connections hash to a ring of 468 servers. Servers go down for updates and come back; whenever one comes back
it captures connections of others. With daisy chaining (Beamer) a connection may be passed on once: the server
it comes to knows the previous one. What counts as broken is a rule, see `RULES`.

Connections of a cell of the ring that came between two changes of its owner share their fate, so they are one
group; nobody looks at a connection between its arrival and its departure.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.balancer.hashing.texts import md5_blocks
from lbsim.balancer.tables.uhashring import cell_before, cell_of, md5_top, owner, ring, starts_arc
from lbsim.engine.section2.events import (
    ROOT,
    Records,
    departures,
    down_times,
    draw,
    durations,
    enter,
    exponential,
    leave,
    refuse_below,
)
from lbsim.engine.section2.keys import key_blocks
from lbsim.jit import lean
from lbsim.workload.cpython import Stream, stream

Int32s = NDArray[np.int32]
Bools = NDArray[np.bool_]

Rule = Literal["every-move", "new-server", "chain", "once", "chain-once"]
RULES: Final = ("every-move", "new-server", "chain", "once", "chain-once")
_EVERY_MOVE, _NEW_SERVER, _CHAIN, _ONCE, _CHAIN_ONCE = range(5)

PAST: Final = 32  # servers a connection can remember
LANES: Final = 256  # keys that are hashed at once
FLOW: Final = np.dtype([("time", "f8"), ("group", "i8")])
RETURN: Final = np.dtype([("time", "f8"), ("server", "i8")])
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


class Churn(NamedTuple):
    """What is simulated; the defaults are as published."""

    updates: float  # servers a minute that go down
    rule: Rule
    connections: int = 70_000  # active at a time, on average
    servers: int = 468
    vnodes: int = 30
    end: float = 10_000.0  # s
    most: int = 1 << 62  # connections after which it ends in any case
    pick_up: bool = False  # an update goes to a server that is up; else it may hit one that is down already


class Broken(NamedTuple):
    """What a run counted."""

    connections: int  # started
    broken: int
    forced: int  # connections whose server went down; counted by the rules that count each connection once
    updates: int
    up: int  # servers at the end

    @property
    def percent(self) -> float:
        """Return the broken connections, % of those started."""
        return 100 * self.broken / self.connections


def dip(churn: Churn, seed: int = 1) -> Broken:
    """Run the simulation."""
    refuse_below(1, connections=churn.connections, servers=churn.servers, vnodes=churn.vnodes)
    refuse_below(1e-6, updates=churn.updates)
    law, down = durations(), down_times()
    rate, update_rate = churn.connections / law.mean, churn.updates / 60
    queues, tree, slots = departures(law, rate, FLOW)
    down_queues, down_tree, returns = departures(down, update_rate, RETURN)
    points, server, of_server, guide = ring(churn.servers, churn.vnodes)
    cells, room = len(points), len(points) + len(slots)
    groups = np.zeros(room, GROUP)
    groups["cell"][:cells] = np.arange(cells)
    groups["home"][:cells] = groups["past"][:cells, 0] = server
    groups["visited"], groups["before"], groups["previous"] = 1, -1, -1
    groups["after"][:cells], groups["after"][cells:] = -1, np.append(np.arange(cells + 1, room), -1)
    tally = np.zeros(1, TALLY)
    tally["up"], tally["free"] = churn.servers, cells
    _run(
        RULES.index(churn.rule), churn.pick_up, rate, update_rate, churn.end, churn.most, stream(seed),
        np.array(law.cdf), queues, tree, slots, np.array(down.cdf), down_queues, down_tree, returns,
        points, guide, server, of_server, np.ones(churn.servers, np.bool_),
        groups, np.zeros(room, np.int32), np.arange(cells, dtype=np.int32), np.arange(cells, dtype=np.int32),
        np.zeros((16, LANES), np.uint32), np.zeros((4, LANES), np.uint32), np.zeros(LANES, np.int32), tally,
    )  # fmt: skip
    started, broken, forced, updates, up = (
        int(tally[name][0]) for name in ("started", "broken", "forced", "updates", "up")
    )
    return Broken(started, broken, forced, updates, up)


@lean
def _run(
    rule: int, pick_up: bool, rate: float, update_rate: float, end: float, most: int, stream: Stream,
    cdf: NDArray[np.float64], queues: Records, tree: Records, slots: Records,
    down_cdf: NDArray[np.float64], down_queues: Records, down_tree: Records, returns: Records,
    points: NDArray[np.uint64], guide: Int32s, server: Int32s, of_server: Int32s, up: Bools,
    groups: Records, count: Int32s, first: Int32s, current: Int32s,
    blocks: NDArray[np.uint32], digests: NDArray[np.uint32], cells: Int32s, tallies: Records,
) -> None:  # fmt: skip
    """Run until `end`; `first` is the first group of every cell, `current` the one new connections join."""
    tally = tallies[0]
    servers = len(up)
    arrival, update = 0.0, 0.0
    connection, number, fresh = 0, 1, 2  # numbers of the next connection, the next update, the one after
    located = -LANES
    while True:
        now = min(min(arrival, update), down_tree[ROOT].time)
        if now > end or tally.started == most:
            return
        while tree[ROOT].time <= now:
            g = slots[leave(queues, tree, slots)].group
            count[g] -= 1
            if count[g] == 0 and current[groups[g].cell] != g:
                _free(groups, first, tally, g)
        if down_tree[ROOT].time == now:
            s = returns[leave(down_queues, down_tree, returns)].server
            if not up[s]:
                _come_back(rule, groups, count, first, current, server, of_server, up, tally, s)
        elif arrival == now:
            if connection - located >= LANES:
                located = connection
                key_blocks(located, blocks)
                md5_blocks(blocks, digests)
                for i in range(LANES):
                    cells[i] = cell_of(points, guide, md5_top(digests[0, i], digests[1, i]))
            g = current[cells[connection - located]]
            count[g] += 1
            slots[enter(queues, tree, slots, draw(stream, cdf), now)].group = g
            arrival = now + exponential(stream, rate)
            tally.started += 1
            connection = fresh
            fresh += 1
        else:
            s = number % servers
            while pick_up and not up[s]:
                s = (s + 1) % servers
            if up[s] and tally.up > 1:
                _go_down(rule, groups, count, first, current, server, of_server, up, tally, s)
            returns[enter(down_queues, down_tree, returns, draw(stream, down_cdf), now)].server = s
            update = now + exponential(stream, update_rate)
            tally.updates += 1
            number = fresh
            fresh += 1


@lean
def _come_back(
    rule: int, groups: Records, count: Int32s, first: Int32s, current: Int32s, server: Int32s,
    of_server: Int32s, up: Bools, tally: Any, s: int,
) -> None:  # fmt: skip
    """Server s is up again and captures its arcs."""
    for cell in of_server[s]:
        old = owner(server, up, cell)
        while True:
            g = first[cell]
            while g >= 0:
                group = groups[g]
                _captured(rule, group, count[g], tally, old, s)
                g = group.after
            _renew(groups, count, first, current, tally, cell, s)
            if starts_arc(server, up, cell, s):
                break
            cell = cell_before(server, cell)
    up[s] = True
    tally.up += 1


@lean
def _go_down(
    rule: int, groups: Records, count: Int32s, first: Int32s, current: Int32s, server: Int32s,
    of_server: Int32s, up: Bools, tally: Any, s: int,
) -> None:  # fmt: skip
    """Server s goes down; its connections go to the next ones on the ring."""
    up[s] = False
    tally.up -= 1
    for cell in of_server[s]:
        new = owner(server, up, cell)
        while True:
            g = first[cell]
            while g >= 0:
                group = groups[g]
                _removed(rule, group, count[g], tally, s, new)
                g = group.after
            _renew(groups, count, first, current, tally, cell, new)
            if starts_arc(server, up, cell, s):
                break
            cell = cell_before(server, cell)
    if rule in (_CHAIN, _CHAIN_ONCE):
        for cell in range(len(first)):
            g = first[cell]
            while g >= 0:
                group = groups[g]
                if group.previous == s:
                    group.previous = -1
                    if rule == _CHAIN_ONCE and not group.dead and group.home == s:
                        tally.forced += count[g]
                        group.dead = 1
                g = group.after


@lean
def _captured(rule: int, group: Any, connections: int, tally: Any, old: int, new: int) -> None:
    """A group moves from server `old` to `new`, which came back."""
    if rule == _EVERY_MOVE:
        tally.broken += connections
    elif rule == _NEW_SERVER:
        been = _been(group, new)
        if been:
            group.visited = been
        else:
            tally.broken += connections
            _remember(group, new)
    elif rule == _CHAIN:
        if group.previous >= 0:
            tally.broken += connections
        group.previous = old
    else:
        if not group.dead and (rule == _ONCE or group.home != old):
            tally.broken += connections
            group.dead = 1
        group.previous = old


@lean
def _removed(rule: int, group: Any, connections: int, tally: Any, old: int, new: int) -> None:
    """A group moves from server `old`, which went down, to `new`."""
    if rule == _NEW_SERVER:
        if not _been(group, new):
            _remember(group, new)
    elif rule >= _ONCE and not group.dead:
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
def _renew(
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
def _free(groups: Records, first: Int32s, tally: Any, g: int) -> None:
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
