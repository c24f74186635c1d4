"""What cores share besides the traffic: buckets that change hands, one flow table, locks of flows."""

from __future__ import annotations

from typing import NamedTuple

from lbsim.engine.plane import NOT_OWNER, RING_FULL
from lbsim.scenario.machine import PerBucket, Server, Shared

NONE, WATCH, MARK = 0, 1, 2
"""Protocols by which a bucket that was moved changes its owner (see `lbsim.scenario.machine.PerBucket`)."""

_PROTOCOLS = {"none": NONE, "watch": WATCH, "mark": MARK}


class Sharing(NamedTuple):
    """What cores share; nothing by default."""

    protocol: int = NONE
    """How the owner of a moved bucket changes. NONE: buckets have no owner, nothing is checked."""
    as_published: bool = False
    """Whether an idle source waits for its next packet, and parked packets for the next of their bucket."""
    contention: int = 0
    """ps added to a packet for each ordered pair of working cores: the shared table's."""
    lock: int = 0
    """ps for which a packet holds the lock of its flow; 0: flows have no lock."""


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
