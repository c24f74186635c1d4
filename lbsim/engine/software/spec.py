"""Which queues a software dispatcher has, and what they cost."""

from __future__ import annotations

from typing import Final, NamedTuple

from lbsim.scenario import Scenario
from lbsim.scenario.dispatch import Software

SHARED, ROUND_ROBIN, STATEFUL_RR, STATEFUL_LOAD = range(4)

_DISCIPLINES: Final = {
    "shared": SHARED,
    "round_robin": ROUND_ROBIN,
    "stateful_rr": STATEFUL_RR,
    "stateful_load": STATEFUL_LOAD,
}


class Spec(NamedTuple):
    """A software dispatcher; costs in ps."""

    discipline: int  # SHARED, ROUND_ROBIN, STATEFUL_RR or STATEFUL_LOAD
    capacity: int  # packets a queue holds, those in service included
    per_batch: int  # of the dispatcher, on each poll of its ring
    per_packet: int  # of the dispatcher, on each packet
    hand_over: int  # of a worker, on each packet it takes from a queue
    contention: int  # of the dispatcher, per packet and idle worker; on a shared queue of a worker, per other


def spec_of(scenario: Scenario) -> Spec:
    """Return the dispatcher of a scenario whose dispatch is of kind software; TypeError for other kinds."""
    dispatch, clock = scenario.nic.dispatch, scenario.server.clock
    if not isinstance(dispatch, Software):
        raise TypeError(f"nic.dispatch: kind {dispatch.kind!r} has no software dispatcher; give 'software'")
    return Spec(
        discipline=_DISCIPLINES[dispatch.queues],
        capacity=dispatch.capacity,
        per_batch=dispatch.per_batch.ps(clock),
        per_packet=dispatch.per_packet.ps(clock),
        hand_over=dispatch.hand_over.ps(clock),
        contention=dispatch.contention.ps(clock),
    )
