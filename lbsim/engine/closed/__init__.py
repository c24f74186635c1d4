"""Closed loop: flows that keep a window of packets under way, so that arrivals depend on departures.

A window is so many units. Each unit is a packet on its way round: in the queue of the link, on the link, at
its core, and as an acknowledgement back to the queue of the link. Nothing but the first entries into that
queue is drawn; so there are no packets to run through the usual planes, but the cores are theirs.
"""

from lbsim.engine.closed.loop import Loop, loop_of
from lbsim.engine.closed.plane import ClosedPlane, closed_plane
from lbsim.engine.closed.reference import ClosedReference

__all__ = ["ClosedPlane", "ClosedReference", "Loop", "closed_plane", "loop_of"]
