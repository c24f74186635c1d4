"""What stands before the cores and gives each packet its entry of the whole indirection table.

With a cluster there is one table for all servers: entry server x R + bucket holds the core, numbered
server x cores + core, for the R buckets of each server. A front adds the server, or picks another entry. Its
state changes with the packets that it sees, in their order, and by control after `plane.sync(now)`; so a
compiled plane may steer them chunk by chunk.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lbsim.engine.reference import Packet
from lbsim.workload.packets import Packets

__all__ = ["Front", "Int32s"]

Int32s = NDArray[np.int32]


class Front(Protocol):
    """A front; the two ways to steer must agree, `steer_one` is the specification."""

    name: str
    """For people."""
    causes: tuple[str, ...]
    """Why it may lose packets, beside the bank's causes."""

    def steer(self, p: Packets, base: int) -> Int32s:
        """Return the entry of the whole table for packets base, base + 1 ... in order; -1: lost."""

    def steer_one(self, packet: Packet) -> int:
        """Return the entry for a packet that arrives now, or -1: the same in plain Python."""

    def counted(self) -> dict[str, int]:
        """Return what it counted in the whole run, by name."""
