"""The servers behind a balancer: which are on its list, which wait, which are down.

As in the published code: new connections go to the servers on a list, whose order matters to some policies;
the others wait in a queue, and the first of them comes next (FastClick's selector and spares).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Pool:
    """Servers 0 .. configured-1, the first `active` of them on the list at the start.

    - `active`: the list, server numbers in its order; never empty;
    - `spares`: all others, in the order in which they will come;
    - `down`: bool[configured], crashed or removed and not back; a crashed one is on the list until noticed;
    - `weights`: float64[configured], a copy.

    Raises ValueError when the numbers do not fit one another, or a weight is negative or not finite.
    """

    def __init__(self, configured: int, active: int, weights: NDArray[np.float64]) -> None:
        if not 1 <= active <= configured:
            raise ValueError(
                f"active is {active} of {configured} configured servers: choose 1 to {configured}"
            )
        self.weights = np.array(weights, np.float64)
        if self.weights.shape != (configured,):
            raise ValueError(
                f"weights has shape {self.weights.shape}: give one for each of {configured} servers"
            )
        if not (np.isfinite(self.weights) & (self.weights >= 0)).all():
            raise ValueError(f"weights are {self.weights.tolist()}: give finite weights of 0 or more")
        self.configured = configured
        self.active = list(range(active))
        self.spares = list(range(active, configured))
        self.down = np.zeros(configured, np.bool_)

    def join(self, server: int | None = None, place: int | None = None) -> int:
        """Put a spare on the list, at position `place`, and up; return its number.

        The first spare where `server` is None, at the end where `place` is. Raises ValueError for a server
        that is on the list, or not configured, without a spare, and for a place beyond the list.
        """
        if server is None:
            if not self.spares:
                raise ValueError(f"all {self.configured} servers are active: none can join; configure more")
            server = self.spares[0]
        self.check(server)
        if server not in self.spares:
            raise ValueError(f"server {server} is active already: let one join that is not")
        place = len(self.active) if place is None else place
        if not 0 <= place <= len(self.active):
            raise ValueError(f"place is {place}: the list has places 0 to {len(self.active)}")
        self.spares.remove(server)
        self.active.insert(place, server)
        self.down[server] = False
        return server

    def leave(self, server: int) -> None:
        """Take a server off the list; it is the last of the spares then.

        Raises ValueError for a server that is not on it, and for the last one.
        """
        self.check(server)
        if server not in self.active:
            raise ValueError(f"server {server} is not active: it cannot leave")
        if len(self.active) == 1:
            raise ValueError(f"server {server} is the last active one: let another join before it leaves")
        self.active.remove(server)
        self.spares.append(server)

    def check(self, server: int) -> None:
        """Raise ValueError for a number that is no server's."""
        if not 0 <= server < self.configured:
            raise ValueError(f"server is {server}: servers are 0 to {self.configured - 1}")
