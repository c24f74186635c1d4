"""Policies that map a hash to a target: modulo, consistent hashing, mapping tables, Beamer's buckets.

All but one look at nothing else, so a balancer without memory asks them anew for every packet. A slot of a
table is the hash modulo its size; how tables are made is told in `lbsim.balancer.tables`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lbsim.balancer.hashing.flows import fold16
from lbsim.balancer.policies import Unit, View, policy
from lbsim.balancer.tables import check_pool
from lbsim.balancer.tables.beamer import BUCKETS, beamer_add, beamer_buckets, beamer_remove
from lbsim.balancer.tables.bounded import bounded_limit
from lbsim.balancer.tables.faild import faild_drain, faild_fill, faild_next_hops
from lbsim.balancer.tables.maglev import LARGE, SMALL, maglev_table
from lbsim.balancer.tables.rendezvous import rendezvous_table
from lbsim.balancer.tables.ring import SLOTS, published_ring, ring_table
from lbsim.balancer.tables.uhashring import ring as uhashring_points

Int64s = NDArray[np.int64]
Float64s = NDArray[np.float64]
Rows = Any  # a structured array

VNODES: Final = 160
"""Points of a server on uhashring's default ring (uhashring/ring.py)."""

BOUND: Final = 1.25
"""How far above its share bounded loads let a server go (the paper's c = 1 + epsilon)."""


# --- builders: what makes a policy's table, and how large it asks to be -------------------------------------


def slots_each(configured: int) -> int:
    """Return the slots of a ring: as many for each configured server as in Cheetah's balancer."""
    return SLOTS * configured


def ring_slots(active: Int64s, weights: Float64s, size: int, seed: int) -> Int64s:
    """Return the ring as meant, with places by weight."""
    return ring_table(active, weights, size)


def published_ring_slots(active: Int64s, weights: Float64s, size: int, seed: int) -> Int64s:
    """Return Cheetah's ring; weights play no part."""
    return published_ring(active, size)


def first_published_ring_slots(active: Int64s, weights: Float64s, size: int, seed: int) -> Int64s:
    """Return the ring of Cheetah's first version; weights play no part."""
    return published_ring(active, size, True)


def rendezvous_slots(active: Int64s, weights: Float64s, size: int, seed: int) -> Int64s:
    """Return the servers of highest random weight."""
    return rendezvous_table(active, weights, size)


def maglev_slots(active: Int64s, weights: Float64s, size: int, seed: int) -> Int64s:
    """Return Maglev's table."""
    return maglev_table(active, weights, size)


def uhashring_slots(active: Int64s, weights: Float64s, size: int, seed: int) -> Int64s:
    """Return uhashring's ring read at `size` evenly spaced positions; weights play no part."""
    check_pool(active, size)
    server, cells = _uhashring(len(weights), size)
    up = np.zeros(len(weights), np.bool_)
    up[active] = True
    alive = np.flatnonzero(up[server])
    return server[alive[np.searchsorted(alive, cells) % len(alive)]].astype(np.int64)


@lru_cache(maxsize=4)
def _uhashring(servers: int, size: int) -> tuple[NDArray[np.int32], Int64s]:
    """Return the server of each point of the ring of all servers, and the first point after each slot."""
    made = uhashring_points(servers, VNODES)
    positions = np.array([(slot << 64) // size for slot in range(size)], np.uint64)
    return made.server, np.searchsorted(made.points, positions, side="right") % len(made.points)


def beamer_join(buckets: Rows, active: Int64s, server: int, now: int) -> None:
    """Give a new server its share, the oldest buckets of the most loaded."""
    beamer_add(buckets, active, server, now)


def beamer_join_published(buckets: Rows, active: Int64s, server: int, now: int) -> None:
    """Give a new server its share, the buckets of highest index of the most loaded."""
    beamer_add(buckets, active, server, now, True)


def faild_join(hops: Rows, active: Int64s, server: int, now: int) -> None:
    """Bring a server's next hops back home.

    Faild's servers are known from the start. One that is home to none yet takes every n-th next hop for
    good, where n counts it in, so that its share is even and comes from all.
    """
    if not np.any(hops.home == server):
        hops.home[server % len(active) :: len(active)] = server
    faild_fill(hops, server)


def faild_leave(hops: Rows, active: Int64s, server: int, now: int) -> None:
    """Spread a server's next hops over those that stay."""
    faild_drain(hops, active, server)


# --- policies -----------------------------------------------------------------------------------------------


@policy(by_hash=True)
def hashed(view: View, unit: Unit) -> int:
    """The flow's hash modulo n, without an indirection table (ECMP)."""
    return unit.hash % view.n


@policy(by_hash=True)
def hashed_folded(view: View, unit: Unit) -> int:
    """The two halves of the hash XORed, modulo n, as published for Cheetah's hash balancers."""
    return fold16(unit.hash) % view.n


@policy(by_hash=True, table=ring_slots, slots=slots_each)
def ring(view: View, unit: Unit) -> int:
    """Consistent hashing on a ring, as meant (Karger et al., STOC 1997), 100 slots a server."""
    return view.table[unit.hash % len(view.table)]  # type: ignore[no-any-return]


@policy(by_hash=True, table=published_ring_slots, slots=slots_each)
def ring_published(view: View, unit: Unit) -> int:
    """Cheetah's consistent hashing as published: Cantor's pairing places nodes, hashes are folded."""
    return view.table[fold16(unit.hash) % len(view.table)]  # type: ignore[no-any-return]


@policy(by_hash=True, table=first_published_ring_slots, slots=slots_each)
def ring_first_published(view: View, unit: Unit) -> int:
    """Cheetah's consistent hashing as first published (2020-02-08): nodes placed linearly, hashes folded."""
    return view.table[fold16(unit.hash) % len(view.table)]  # type: ignore[no-any-return]


@policy(by_hash=True, table=uhashring_slots, slots=SMALL)
def uhashring(view: View, unit: Unit) -> int:
    """Consistent hashing on the ring of the Python package uhashring, 160 points a server."""
    return view.table[unit.hash % len(view.table)]  # type: ignore[no-any-return]


@policy(by_hash=True, table=rendezvous_slots, slots=SMALL)
def rendezvous(view: View, unit: Unit) -> int:
    """Rendezvous hashing, highest random weight (Thaler and Ravishankar 1998), 65537 slots."""
    return view.table[unit.hash % len(view.table)]  # type: ignore[no-any-return]


@policy(by_hash=True, table=maglev_slots, slots=SMALL)
def maglev(view: View, unit: Unit) -> int:
    """Maglev's table (Eisenbud et al., NSDI 2016), 65537 slots."""
    return view.table[unit.hash % len(view.table)]  # type: ignore[no-any-return]


@policy(by_hash=True, table=maglev_slots, slots=LARGE)
def maglev_large(view: View, unit: Unit) -> int:
    """Maglev's table (Eisenbud et al., NSDI 2016), 655373 slots: a change moves less."""
    return view.table[unit.hash % len(view.table)]  # type: ignore[no-any-return]


@policy(by_hash=True, slots=BUCKETS, buckets=(beamer_buckets, beamer_join, beamer_remove))
def beamer(view: View, unit: Unit) -> int:
    """Beamer's buckets (Olteanu et al., NSDI 2018), 3200; a new server takes the oldest, as meant."""
    return view.table[unit.hash % len(view.table)]  # type: ignore[no-any-return]


@policy(by_hash=True, slots=BUCKETS, buckets=(beamer_buckets, beamer_join_published, beamer_remove))
def beamer_published(view: View, unit: Unit) -> int:
    """Beamer's buckets as Cheetah's authors published them: a new server takes those of highest index."""
    return view.table[unit.hash % len(view.table)]  # type: ignore[no-any-return]


@policy(by_hash=True, slots=BUCKETS, buckets=(faild_next_hops, faild_join, faild_leave))
def faild(view: View, unit: Unit) -> int:
    """Faild's next hops (Araujo et al., NSDI 2018), 3200, which return to where they were."""
    return view.table[unit.hash % len(view.table)]  # type: ignore[no-any-return]


@policy(table=ring_slots, slots=slots_each)
def bounded_loads(view: View, unit: Unit) -> int:
    """Consistent hashing with bounded loads: no server above 1.25 of its share (Mirrokni et al. 2018).

    The first server on the ring, from the hash's slot on, that is below ceil(1.25 x units x its share of the
    weights), this unit counted in; the slot's own if none on the ring is.
    """
    slot = unit.hash % len(view.table)
    for k in range(len(view.table)):
        target = view.table[(slot + k) % len(view.table)]
        if view.queue[target] < bounded_limit(BOUND, view.total + 1, view.weight[target] / view.n):
            return target  # type: ignore[no-any-return]
    return view.table[slot]  # type: ignore[no-any-return]
