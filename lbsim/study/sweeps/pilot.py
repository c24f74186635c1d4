"""Pilots: how much warm-up a configuration needs, found by a run of its own."""

from __future__ import annotations

from typing import Final, NamedTuple, cast

from lbsim.engine.source import open_source
from lbsim.metrics import AnyResult
from lbsim.metrics.warmup import mser5
from lbsim.scenario import AnyScenario, Scenario, override
from lbsim.units import SECOND, US

SAMPLES: Final = 1000
"""Of the backlog in a pilot, where the scenario does not say how often."""


class WarmUp(NamedTuple):
    """What a pilot says."""

    time: int | None  # ps to leave out; None where it cannot say
    warning: str = ""


def pilot_of(scenario: AnyScenario) -> AnyScenario:
    """Return the run that looks for the end of the start-up: nothing left out, the backlog sampled.

    Raises ScenarioError where its traffic cannot be read.
    """
    interval = scenario.measure.interval
    if interval is None:
        end = scenario.duration or open_source(cast(Scenario, scenario)).end
        interval = max(US, -(-end // SAMPLES))
    return override(scenario, {"warmup": 0, "measure.interval": interval})


def warmup_of(pilot: AnyResult) -> WarmUp:
    """Return where the backlog settles, by MSER-5; a warning if it does not.

    The backlog is the packets in all rings, the connections under way or the requests in servers; the first
    sample kept ends the warm-up.
    """
    assert pilot.samples is not None
    assert pilot.backlog is not None
    cut = mser5(pilot.backlog)
    if cut.settled:
        return WarmUp(int(pilot.samples.time[cut.index]))
    k, time = len(pilot.samples.time), f"{int(pilot.samples.time[-1]) / SECOND:.3g} s"
    return WarmUp(
        None,
        f"too short to say how much warm-up it needs: in {k} samples over {time} the backlog does "
        "not settle, so the warm-up stays as given; lengthen duration, or lower the load",
    )
