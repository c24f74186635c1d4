"""The balancer of connections: pool, policy's tables and scheme, changed together.

Plain Python; both engines and the control plane share one. Engines look only at `front`, `keeper` and
`state`, anew after every change.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim import rng
from lbsim.balancer.cheetah.conntable import VARIANTS, bytes_per_connection
from lbsim.balancer.consistency import (
    CONNTABLE,
    COOKIE,
    DAISY_CHAIN,
    FLOW_TABLE,
    JET,
    REHASH,
    SILKROAD,
    follow_buckets,
    follow_table,
    joined,
    left,
    new_keeper,
    went_down,
)
from lbsim.balancer.policies import Builder, Policy, Unit, View, memory_of, slots_of
from lbsim.balancer.pool import Pool
from lbsim.balancer.tables import silkroad
from lbsim.balancer.tournament import no_order
from lbsim.balancer.weighted import awrr_weights
from lbsim.scenario.consistency import Adapt, AnyConsistency

Int64s = NDArray[np.int64]
Float64s = NDArray[np.float64]
Bools = NDArray[np.bool_]
Rows = Any  # a structured array: mypy does not know its fields


class Front(NamedTuple):
    """What is looked up at this moment: made anew at each change, never written."""

    active: Int64s  # [n] server ids in list order
    place: Int64s  # [configured] position of each server, -1 where it is not active
    weight: Float64s  # [n] by position, relative to their mean
    table: Int64s  # positions by slot; empty where the policy has no table
    down: Bools  # [configured] crashed or removed, and not back


class Balancer:
    """A balancer whose servers come and go.

    `weights` are those of all `configured` servers, of which the first `active` are on the list. `slots` is
    the size of the policy's table, None for the policy's own. `choices` is d of JSQ(d), `seed` that of the
    policy's coins and of its tables, `adapt` the settings of `reweigh`. Raises ValueError where policy,
    scheme and pool do not go together.
    """

    def __init__(
        self,
        policy: Policy,
        configured: int,
        active: int,
        weights: Float64s,
        *,
        consistency: AnyConsistency,
        slots: int | None = None,
        choices: int = 2,
        seed: int = 0,
        adapt: Adapt | None = None,
    ) -> None:
        self.policy, self.choices, self.seed, self.adapt = policy, choices, seed, adapt
        self.pool = Pool(configured, active, weights)
        self.keeper = new_keeper(consistency, self.pool)
        self.state = memory_of(policy, configured)
        self.slots = slots_of(policy, configured) if slots is None else slots
        self.rows: Rows = None  # the policy's buckets
        if policy.buckets is not None:
            self.rows = policy.buckets[0](self._listed(), self.slots)
        self.rebuilds = 0
        self.wide: Int64s | None = None  # JET's table with all servers
        self.front = self._front()
        self._check()

    # --- servers --------------------------------------------------------------------------------------------

    def join(self, server: int | None, place: int | None, now: int) -> int:
        """Let a spare take connections, the first one where none is named; return its number.

        `place` in the list is the end where it is None. A server that was down is up again. Raises ValueError
        as `Pool.join` does.
        """
        server = self.pool.join(server, place)
        joined(self.keeper, server)
        if self.policy.buckets is not None:
            self.policy.buckets[1](self.rows, self._listed(), server, now)
        self.front = self._front()
        return server

    def leave(self, server: int, now: int) -> None:
        """Take a server off the list: one that drains, or one whose crash is noticed.

        Raises ValueError as `Pool.leave` does.
        """
        self.pool.leave(server)
        left(self.keeper, server)
        if self.policy.buckets is not None:
            self.policy.buckets[2](self.rows, self._listed(), server, now)
        self.front = self._front()

    def drain(self, server: int, now: int) -> None:
        """Give a server no more connections; it serves on what it has. Raises ValueError as `leave` does."""
        self.leave(server, now)

    def remove(self, server: int, now: int) -> None:
        """Give a server no more connections, and lose those it has. Raises ValueError as `leave` does."""
        self.leave(server, now)
        self.crash(server, now)

    def crash(self, server: int, now: int) -> None:
        """Let a server die, on the list or not: what reaches it is lost. It stays on the list until `leave`.

        Nothing more happens to one that is down. Raises ValueError for a number that is no server's.
        """
        self.pool.check(server)
        self.pool.down[server] = True
        went_down(self.keeper, server)
        self.front = self.front._replace(down=self.pool.down.copy())

    def reweigh(self, loads: Int64s, now: int) -> None:
        """Set every server's weight by its load (adaptive WRR), and make the policy's table anew.

        `loads` are by server number. As published, the mean is over all configured servers; otherwise over
        the active ones. The published list has all configured servers too, so that it uses spares: here one
        that is not active is never chosen, and waits with the weight of its load. Pointers stay. Raises
        ValueError where no adaptation is set.
        """
        if self.adapt is None:
            raise ValueError("adapt is None: give the balancer settings of an adaptation")
        a, configured = self.adapt, self.pool.configured
        averaged = np.arange(configured, dtype=np.int64) if a.as_published else self._listed()
        self.pool.weights[:] = awrr_weights(loads, averaged, a.gain, a.alpha, a.least, a.most)
        self.front = self._front()

    # --- what is looked up ----------------------------------------------------------------------------------

    def _listed(self) -> Int64s:
        return np.array(self.pool.active, np.int64)

    def _front(self) -> Front:
        """Return the front of the moment, and let the keeper follow it."""
        pool, policy, active = self.pool, self.policy, self._listed()
        place = np.full(pool.configured, -1, np.int64)
        place[active] = np.arange(len(active))
        table = np.empty(0, np.int64)
        if policy.buckets is not None:
            table = self._positions(self.rows["current"], place)
            if self.keeper.kind == DAISY_CHAIN:
                self.keeper = follow_buckets(self.keeper, self.rows)
        elif policy.table is not None:
            by_slot = self._built(policy.table, active)
            table = self._positions(by_slot, place)
            self.rebuilds += 1
            if self.keeper.kind == JET:
                if self.wide is None:  # all servers, whichever are active: it stays
                    self.wide = self._built(policy.table, np.arange(pool.configured, dtype=np.int64))
                self.keeper = follow_table(self.keeper, by_slot, self.wide)
        weight = pool.weights[active]
        weight = weight * (len(active) / weight.sum()) if weight.any() else np.ones(len(active))
        return Front(active, place, weight, table, pool.down.copy())

    def _built(self, builder: Builder, servers: Int64s) -> Int64s:
        seed = rng.coin(self.seed, self.rebuilds, 1)
        return np.ascontiguousarray(builder(servers, self.pool.weights, self.slots, seed), np.int64)

    def _positions(self, by_slot: Int64s, place: Int64s) -> Int64s:
        """Return the positions in the list of the servers of a table."""
        if len(by_slot) == 0:
            raise ValueError(f"policy {self.policy.name} has a table of no slots; give slots of 1 or more")
        table = np.take(place, by_slot, mode="clip")
        wrong = by_slot[(by_slot < 0) | (by_slot >= len(place)) | (table < 0)]
        if len(wrong):
            raise ValueError(
                f"policy {self.policy.name} has server {wrong[0]} in its table, which is not active: its "
                "builder, or its buckets, must name active servers only"
            )
        return table

    def _check(self) -> None:
        kind, policy = self.keeper.kind, self.policy
        if kind in (REHASH, DAISY_CHAIN, JET, SILKROAD) and not policy.by_hash:
            raise ValueError(
                f"policy {policy.name} is not by hash: without a memory of every connection it cannot find "
                "their servers again; choose cookies or a table of connections"
            )
        if kind == DAISY_CHAIN and policy.buckets is None:
            raise ValueError(f"policy {policy.name} has no buckets to chain; choose one with buckets: beamer")
        if kind == JET and policy.table is None:
            raise ValueError(f"policy {policy.name} has no table for JET to compare; choose one: rendezvous")
        if kind in (DAISY_CHAIN, JET) and not self._looks_up_by_modulo():
            raise ValueError(
                f"policy {policy.name} does not look its table up by hash modulo size, as the scheme does; "
                "choose another policy, such as beamer to chain or rendezvous for JET"
            )

    def _looks_up_by_modulo(self) -> bool:
        """Return whether the policy takes its table's entry at hash modulo size, by a sample of hashes."""
        active, _, weight, table, _ = self.front
        n = len(active)
        none = np.zeros(n, np.int64)
        view = View(
            n, 0, none, self.state, self.seed, 0, weight, table, no_order(), active, self.choices,
            none, none, none,
        )  # fmt: skip
        hashes = [rng.coin(0, k, 0) & 0xFFFFFFFF for k in range(64)]
        return all(self.policy.choose(view, Unit(0, 0, h, 0)) == table[h % len(table)] for h in hashes)


def memory_bytes(balancer: Balancer, peak_protected: int) -> dict[str, int]:
    """Return the bytes that the balancer's memory takes, by part; what is allocated, not what is in use.

    - "table": 4 bytes a slot, a server's number; with buckets, our rows (`beamer.BUCKET`, `faild.NEXT_HOP`).
    - "cookies": 16 bytes a server (cheetahlb/cheetah-fastclick, CheetahStateless).
    - "connections": entries of the published layout or ours (`conntable.bytes_per_connection`). SilkRoad: 28
      bits a cell (Miao et al., SIGCOMM 2017: digest 16, version 6, overhead 6). JET: 20 bytes for each of
      `peak_protected` connections, an assumption: 13 of addresses and ports, 4 of a server, 3 of overhead.
    - "change": what only changes need. SilkRoad: a transit table of 256 bytes, and 64 versions of the pool at
      4 bytes a server, an assumption. JET: the table with all spares.
    """
    keeper, configured = balancer.keeper, balancer.pool.configured
    rows = balancer.rows
    parts = {"table": 4 * len(balancer.front.table) if rows is None else int(rows.nbytes)}
    if keeper.kind == COOKIE:
        parts["cookies"] = 16 * keeper.cheetah.buckets
    elif keeper.kind == CONNTABLE:
        variant = next(name for name, number in VARIANTS.items() if number == keeper.conntable.variant)
        parts["connections"] = bytes_per_connection()[variant] * len(keeper.entries)
    elif keeper.kind == FLOW_TABLE:
        parts["connections"] = bytes_per_connection()["cuckoo"] * len(keeper.flows)
    elif keeper.kind == JET:
        parts["connections"] = 20 * peak_protected
        parts["change"] = 4 * len(keeper.wide)
    elif keeper.kind == SILKROAD:
        parts["connections"] = -(-len(keeper.cells) * silkroad.CELL_BITS // 8)
        parts["change"] = silkroad.TRANSIT_BYTES + silkroad.VERSIONS * 4 * configured
    return parts
