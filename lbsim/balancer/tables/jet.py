"""JET: track only the connections that a change could move (Mendelson et al., CoNEXT 2021).

The horizon is the set of servers that may come next; servers come from nowhere else. A key is unsafe when it
would belong to another server if the whole horizon had come: only then is the connection tracked. That is
enough for any table in which servers that come take keys and move no others: `rendezvous_table` and
`ring_table`, not Maglev's nor the published ring. A server that leaves joins the horizon; its own
connections are lost, others stay.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from lbsim.balancer.tables import Table, Word
from lbsim.jit import lean

UNTRACKED: Final = -1


class Routed(NamedTuple):
    """Where a packet goes, and what to remember of its connection."""

    server: int
    tracked: int  # that server, or UNTRACKED


@lean
def jet(table: Table, wide: Table, hash: Word, tracked: int = UNTRACKED) -> Routed:  # noqa: A002
    """Return the server of a packet; `tracked` is what its connection remembers.

    `table` is of the active servers, `wide` of those and the horizon, of equal size. Every packet is looked
    up, so that a connection is tracked from its first packet after a server joined the horizon.
    """
    if tracked != UNTRACKED:
        return Routed(tracked, tracked)
    slot = np.uint64(hash) % np.uint64(len(table))
    server = table[slot]
    return Routed(server, server if wide[slot] != server else UNTRACKED)
