"""How a balancer finds the server of a flow that begins: in CrossRSS's table, or by a policy.

Both know which servers are on the balancer's list and which are down. `choose` is the specification, in plain
Python; `steer` does the same for a chunk of packets, compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Protocol, cast

import numba
import numpy as np
from numba.core.errors import NumbaError, UnsupportedBytecodeError
from numpy.typing import NDArray

from lbsim.balancer import crossrss
from lbsim.balancer.balancer import Balancer
from lbsim.balancer.policies import Unit, View
from lbsim.balancer.pool import Pool
from lbsim.balancer.tournament import no_order
from lbsim.engine.front import cluster_kernels as kernels
from lbsim.engine.front.cluster_kernels import CHOICES, Memory
from lbsim.engine.policy import PolicyError, compile_policy
from lbsim.engine.reference import Packet
from lbsim.workload.packets import Packets

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]


class Chooser(Protocol):
    """Servers on a list, and a choice among them."""

    @property
    def pool(self) -> Pool:
        """Which servers are on the list, which wait, which are down."""

    def join(self, server: int, place: int, now: int) -> None:
        """Put a spare on the list, and up."""

    def leave(self, server: int, now: int) -> None:
        """Take a server off the list."""

    def crash(self, server: int, now: int) -> None:
        """Let a server die, on the list or not."""

    def choose(self, packet: Packet, memory: Memory) -> int:
        """Return the server for a packet of a flow that has none."""

    def steer(self, memory: Memory, p: Packets, entry: Int32s) -> None:
        """Write the entry of the whole table for each packet."""


class ByTable:
    """CrossRSS: a table from bucket to server, written anew by its controller now and then.

    The buckets of a server that leaves go at once to where the loads of the last tick send them; a server
    that joins gets buckets at the next tick. `moved` counts the buckets that changed their server.
    """

    def __init__(self, servers: int, active: int, load: Int64s, maps: Int64s) -> None:
        self.pool = Pool(servers, active, np.ones(servers))
        self.load, self.maps = load, maps
        self.table = crossrss.in_turn(self.listed(), maps.shape[1])
        self.moved = 0

    def listed(self) -> NDArray[np.bool_]:
        """Return which servers are on the list, bool[servers]."""
        flags = np.zeros(self.pool.configured, np.bool_)
        flags[self.pool.active] = True
        return flags

    def write(self, table: Int64s) -> None:
        """Let a table be the one that flows are looked up in."""
        self.moved += int(np.count_nonzero(table != self.table))
        self.table = table

    def join(self, server: int, place: int, now: int) -> None:
        """Put a spare on the list, and up."""
        self.pool.join(server, place)

    def leave(self, server: int, now: int) -> None:
        """Take a server off the list, and out of the table."""
        self.pool.leave(server)
        self.write(crossrss.repaired(self.table, self.load, self.maps, self.listed()))

    def crash(self, server: int, now: int) -> None:
        """Let a server die; it stays in the table until that is noticed."""
        self.pool.down[server] = True

    def choose(self, packet: Packet, memory: Memory) -> int:
        """Return the server that the table has for the packet's bucket."""
        return int(self.table[packet.bucket])

    def steer(self, memory: Memory, p: Packets, entry: Int32s) -> None:
        """Write the entry of the whole table for each packet."""
        kernels.by_table(memory, self.table, p.flow, p.bucket, entry)


class ByPolicy:
    """A registered policy among the active servers.

    It sees the loads that were reported last, or `live` the flows that each server was given; `hashes` are
    int64[flows]. The number of a choice is its `unit.index`.
    """

    def __init__(self, balancer: Balancer, hashes: Int64s, live: bool) -> None:
        self.balancer, self.hashes, self.live = balancer, hashes, live
        self.signal = np.zeros(balancer.pool.configured, np.int64)  # by server
        self.measured = 0  # ps
        self._plain = balancer.policy.choose
        self._compiled: Callable[[View, Unit], int] | None = None
        self._view = self._look_up()

    @property
    def pool(self) -> Pool:
        """The servers."""
        return self.balancer.pool

    def report(self, loads: Int64s, now: int) -> None:
        """Take note of the load of every server, measured now."""
        self.signal, self.measured = loads, now
        self._view = self._look_up()

    def join(self, server: int, place: int, now: int) -> None:
        """Put a spare on the list, and up."""
        self.balancer.join(server, place, now)
        self._view = self._look_up()

    def leave(self, server: int, now: int) -> None:
        """Take a server off the list."""
        self.balancer.leave(server, now)
        self._view = self._look_up()

    def crash(self, server: int, now: int) -> None:
        """Let a server die; it stays on the list until that is noticed."""
        self.balancer.crash(server, now)

    def _look_up(self) -> View:
        """Return what the policy sees; the kernel keeps its queues up to date."""
        balancer, front = self.balancer, self.balancer.front
        n = len(front.active)
        return View(
            n, 0, self.signal[front.active], balancer.state, balancer.seed, 0, front.weight, front.table,
            no_order(), front.active, balancer.choices,
            np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64),
        )  # fmt: skip

    def choose(self, packet: Packet, memory: Memory) -> int:
        """Return the server that the policy picks on what it sees now."""
        active = self.balancer.front.active
        inside = memory.flows[active]
        age = np.full(len(active), 0 if self.live else packet.arrival - self.measured, np.int64)
        queue = inside if self.live else self.signal[active]
        view = self._look_up()._replace(
            now=packet.arrival, queue=queue, total=int(queue.sum()), inside=inside, age=age
        )
        number = int(memory.counts[CHOICES])
        unit = Unit(number, packet.flow, int(self.hashes[packet.flow]), packet.frame)
        place = int(self._plain(view, unit))
        if not 0 <= place < len(active):
            raise self._astray(packet.flow)
        memory.counts[CHOICES] += 1
        return int(active[place])

    def steer(self, memory: Memory, p: Packets, entry: Int32s) -> None:
        """Write the entry of the whole table for each packet."""
        if self._compiled is None:
            self._compiled = compile_policy(self._plain)
        try:
            lost = _by_policy()(
                memory, self._compiled, self._view, self.hashes, self.measured, self.live,
                p.time, p.flow, p.bucket, p.frame, entry,
            )  # fmt: skip
        except (NumbaError, UnsupportedBytecodeError) as error:
            raise PolicyError.of(error) from error
        if lost >= 0:
            raise self._astray(int(p.flow[lost]))

    def _astray(self, flow: int) -> ValueError:
        n = len(self.balancer.front.active)
        return ValueError(
            f"policy {self.balancer.policy.name} sent a packet of flow {flow} to no server: it must return "
            f"0 .. {n - 1}"
        )


@cache
def _by_policy() -> Callable[..., int]:
    """Return the kernel in which policies run, compiled for this process only (see `rings`)."""
    plain: Any = kernels.by_policy
    options: Any = {"nogil": True, "_nrt": False}
    return cast(Callable[..., int], numba.njit(plain.py_func, **options))
