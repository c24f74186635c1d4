"""What the cores of a scenario share."""

from __future__ import annotations

from lbsim.engine.plane import NOT_OWNER, RING_FULL
from lbsim.engine.stateful.state import MARK, NONE, WATCH, Sharing
from lbsim.scenario.machine import PerBucket, Server, Shared

_PROTOCOLS = {"none": NONE, "watch": WATCH, "mark": MARK}


def spec_of(server: Server) -> Sharing:
    """Return what the cores of a server share; the work of a lookup belongs to the packets' service."""
    state, clock = server.state, server.clock
    if isinstance(state, PerBucket):
        return Sharing(protocol=_PROTOCOLS[state.protocol], as_published=state.as_published)
    if isinstance(state, Shared):
        return Sharing(contention=state.contention.ps(clock), lock=state.lock.ps(clock))
    return Sharing()


def causes(sharing: Sharing) -> tuple[str, ...]:
    """Return why packets may be dropped: only buckets with owners can meet a core that does not own them."""
    return (RING_FULL,) if sharing.protocol == NONE else (RING_FULL, NOT_OWNER)
