"""What a scenario says about its software dispatcher, in picoseconds."""

from __future__ import annotations

from typing import Final

from lbsim.engine.software.state import ROUND_ROBIN, SHARED, STATEFUL_LOAD, STATEFUL_RR, Spec
from lbsim.scenario import Scenario
from lbsim.scenario.dispatch import Software

_DISCIPLINES: Final = {
    "shared": SHARED,
    "round_robin": ROUND_ROBIN,
    "stateful_rr": STATEFUL_RR,
    "stateful_load": STATEFUL_LOAD,
}


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
