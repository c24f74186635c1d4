"""Cheetah, Section 2, "DIP updates": connections broken by servers that go down and come back.

Connections hash to a ring of 468 servers. Servers go down for updates and come back; whenever one comes back
it captures connections of others. With daisy chaining (Beamer) a connection may be passed on once: the server
it comes to knows the previous one. What counts as broken is a rule, see `RULES`.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.balancer.hashing.texts import md5_blocks
from lbsim.balancer.tables.uhashring import cell_before, cell_of, md5_top, owner, ring, starts_arc
from lbsim.engine.section2.block import BLOCK, NONE, Block, block, draw_pairs, list_departures
from lbsim.engine.section2.events import (
    ROOT,
    Records,
    departures,
    down_times,
    durations,
    enter,
    gap,
    leave,
    position,
    refuse_below,
)
from lbsim.engine.section2.groups import (
    CHAIN,
    CHAIN_ONCE,
    GROUP,
    RULES,
    TALLY,
    Rule,
    captured,
    free,
    removed,
    renew,
)
from lbsim.engine.section2.keys import key_blocks
from lbsim.jit import lean
from lbsim.workload.cpython import Stream, stream

Int32s = NDArray[np.int32]
Uint32s = NDArray[np.uint32]
Bools = NDArray[np.bool_]

_UPDATE, _RETURN = np.uint32(0xFFFFFFFE), np.uint32(0xFFFFFFFF)  # events that are no arrival
LANES: Final = 256  # keys that are hashed at once
FLOW: Final = np.dtype([("time", "f8"), ("group", "u4"), ("next", "u4")])
RETURN: Final = np.dtype([("time", "f8"), ("server", "i8")])


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
    queues, _, slots = departures(law, rate, FLOW)
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
        np.array(law.cdf), queues, block(), slots, np.zeros(BLOCK, np.uint32),
        np.array(down.cdf), down_queues, down_tree, returns,
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
    cdf: NDArray[np.float64], queues: Records, block: Block, slots: Records, drawn: Uint32s,
    down_cdf: NDArray[np.float64], down_queues: Records, down_tree: Records, returns: Records,
    points: NDArray[np.uint64], guide: Int32s, server: Int32s, of_server: Int32s, up: Bools,
    groups: Records, count: Int32s, first: Int32s, current: Int32s,
    blocks: Uint32s, digests: Uint32s, cells: Int32s, tallies: Records,
) -> None:  # fmt: skip
    """Run until `end`; `first` is the first group of every cell, `current` the one new connections join."""
    tally = tallies[0]
    servers = len(up)
    arrival, update, used = 0.0, 0.0, BLOCK
    connection, number, fresh = 0, 1, 2  # numbers of the next connection, the next update, the one after
    located = -LANES
    while True:
        arrival, update, used = _next_events(
            block, stream, cdf, rate, drawn, down_cdf, update_rate, down_queues, down_tree, returns,
            arrival, update, used,
        )  # fmt: skip
        list_departures(block, queues, slots, False)
        for i in range(BLOCK):
            if block.time[i] > end or tally.started == most:
                return
            slot = block.leaving[i]
            while slot != NONE:
                g = slots[slot].group
                count[g] -= 1
                if count[g] == 0 and current[groups[g].cell] != g:
                    free(groups, first, tally, g)
                slot = slots[slot].next
            kind = block.kind[i]
            if kind < _UPDATE:
                if connection - located >= LANES:
                    located = connection
                    _locate(located, points, guide, blocks, digests, cells)
                g = current[cells[connection - located]]
                count[g] += 1
                slots[block.slot[i]].group = g
                tally.started += 1
                connection = fresh
                fresh += 1
            elif kind == _UPDATE:
                s = number % servers
                while pick_up and not up[s]:
                    s = (s + 1) % servers
                if up[s] and tally.up > 1:
                    _go_down(rule, groups, count, first, current, server, of_server, up, tally, s)
                returns[block.slot[i]].server = s
                tally.updates += 1
                number = fresh
                fresh += 1
            else:
                s = returns[block.slot[i]].server
                if not up[s]:
                    _come_back(rule, groups, count, first, current, server, of_server, up, tally, s)


@lean
def _next_events(
    block: Block, stream: Stream, cdf: NDArray[np.float64], rate: float, drawn: Uint32s,
    down_cdf: NDArray[np.float64], update_rate: float, down_queues: Records, down_tree: Records,
    returns: Records, arrival: float, update: float, used: int,
) -> Any:  # fmt: skip
    """Fill a block; return the next arrival and update, and how many of the pairs drawn are used."""
    for i in range(BLOCK):
        now = min(arrival, update)
        if down_tree[ROOT].time <= now:
            block.time[i], block.kind[i] = down_tree[ROOT].time, _RETURN
            block.slot[i] = leave(down_queues, down_tree, returns)  # its server stays until the next update
            continue
        if used == BLOCK:
            draw_pairs(stream, cdf, drawn)
            used = 0
        block.time[i] = now
        if arrival == now:
            block.kind[i] = drawn[used]
            arrival = now + gap(stream.floats[2 * used + 1], rate)
        else:
            k = position(down_cdf, stream.floats[2 * used])
            block.kind[i], block.slot[i] = _UPDATE, enter(down_queues, down_tree, returns, k, now)
            update = now + gap(stream.floats[2 * used + 1], update_rate)
        used += 1
    return arrival, update, used


@lean
def _locate(
    number: int, points: NDArray[np.uint64], guide: Int32s, blocks: Uint32s, digests: Uint32s, cells: Int32s
) -> None:
    """Find the cells of LANES connections from this number on."""
    key_blocks(number, blocks)
    md5_blocks(blocks, digests)
    for i in range(LANES):
        cells[i] = cell_of(points, guide, md5_top(digests[0, i], digests[1, i]))


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
                captured(rule, group, count[g], tally, old, s)
                g = group.after
            renew(groups, count, first, current, tally, cell, s)
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
                removed(rule, group, count[g], tally, s, new)
                g = group.after
            renew(groups, count, first, current, tally, cell, new)
            if starts_arc(server, up, cell, s):
                break
            cell = cell_before(server, cell)
    if rule in (CHAIN, CHAIN_ONCE):
        for cell in range(len(first)):
            g = first[cell]
            while g >= 0:
                group = groups[g]
                if group.previous == s:
                    group.previous = -1
                    if rule == CHAIN_ONCE and not group.dead and group.home == s:
                        tally.forced += count[g]
                        group.dead = 1
                g = group.after
