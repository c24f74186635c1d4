"""A balancer of servers at packet rate, as Numba kernels over columns.

A packet of a flow whose server is known costs a few nanoseconds; only a flow that begins, or has lost its
server, is looked up in a table (CrossRSS) or asks a policy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.balancer.policies import Unit, View
from lbsim.jit import inlined, lean

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]

UNKNOWN, GONE = -1, -2
"""Instead of a flow's server: none yet; one that is no more."""

BEGUN, BROKEN, CHOICES = range(3)
"""`Memory.counts`: flows that began, flows that changed their server, choices made."""


class Memory(NamedTuple):
    """What the balancer knows of flows."""

    owner: Int32s  # [flows] server of each, or UNKNOWN or GONE
    sent: Int64s  # [servers x buckets] packets sent to each bucket of each server
    flows: Int64s  # [servers] flows whose server it is
    down: Bools  # [servers] dead, whether the balancer knows or not: what it sends there is lost
    counts: Int64s  # see above
    buckets: int  # of each server
    remember: bool  # flows keep their server; else each packet is looked up


@inlined
def own(m: Memory, flow: int, server: int) -> None:
    """From now on a flow belongs to a server; one that comes from another is broken."""
    before = m.owner[flow]
    if before != server:
        m.counts[BEGUN if before == UNKNOWN else BROKEN] += 1
        if before >= 0:
            m.flows[before] -= 1
        m.flows[server] += 1
        m.owner[flow] = server


@inlined
def send(m: Memory, server: int, bucket: int) -> int:
    """Send a packet to a bucket of a server; return the entry of the whole table, -1 where it is lost."""
    entry = server * m.buckets + bucket
    m.sent[entry] += 1
    return -1 if m.down[server] else entry


@lean
def by_table(m: Memory, table: Int64s, flow: Int32s, bucket: Int32s, entry: Int32s) -> None:
    """Write the entry of each packet; flows begin at the server that the table has for their bucket."""
    for i in range(len(flow)):
        server = int(m.owner[flow[i]])
        if server < 0 or not m.remember:
            server = table[bucket[i]]
            own(m, flow[i], server)
        entry[i] = send(m, server, bucket[i])


@lean
def by_policy(
    m: Memory, policy: Callable[[View, Unit], int], view: View, hashes: Int64s, measured: int, live: bool,
    time: Int64s, flow: Int32s, bucket: Int32s, frame: Int32s, entry: Int32s,
) -> int:  # fmt: skip
    """Write the entry of each packet; a policy chooses where flows begin.

    `measured` is when the loads in `view.queue` were reported; `live`: they are the flows of each server.
    Return -1, or the packet that the policy sent nowhere.
    """
    for i in range(len(flow)):
        server = int(m.owner[flow[i]])
        if server < 0 or not m.remember:
            look(m, view, time[i], measured, live)
            f = np.int64(flow[i])
            unit = Unit(m.counts[CHOICES], f, hashes[f], np.int64(frame[i]))  # type: ignore[arg-type]
            place = policy(
                View(
                    view.n, time[i], view.queue, view.state, view.seed, view.queue.sum(),
                    view.weight, view.table, view.order, view.active, view.choices,
                    view.latency, view.inside, view.age,
                ),
                unit,
            )  # fmt: skip
            if place < 0 or place >= view.n:
                return i
            m.counts[CHOICES] += 1
            server = view.active[place]
            own(m, flow[i], server)
        entry[i] = send(m, server, bucket[i])
    return -1


@inlined
def look(m: Memory, view: View, now: int, measured: int, live: bool) -> None:
    """Bring up to date what a policy sees of the active servers."""
    for k in range(view.n):
        view.inside[k] = m.flows[view.active[k]]
        if live:
            view.queue[k] = view.inside[k]
        else:
            view.age[k] = now - measured
