"""Dispatch by rules: Metron's tags, with its controllers, and Intel's Flow Director."""

from __future__ import annotations

from typing import Final, Literal, Self

from pydantic import Field, model_validator

from lbsim.scenario.dispatch import Scaling
from lbsim.scenario.errors import refuse
from lbsim.scenario.fields import Key, Period, TableSize, Time
from lbsim.scenario.part import Part
from lbsim.units import MS, SECOND, US

RSS_ENTRIES: Final = 512
"""Entries of the indirection table where Metron dispatches by hash (scope rss)."""


class Metron(Part):
    """Metron (NSDI 2018): every traffic class has a tag, a tag is a core, and a controller deals classes.

    The defaults are those of the published controller and agent.
    """

    kind: Literal["metron"] = "metron"
    scope: Literal["mac", "rules", "rss"] = "rules"
    """Who tags. mac: a switch, which writes the tag as destination address. rules: the flow rules of the NIC.
    rss: nobody; the NIC spreads by hash over the cores in use, which come and go in order."""
    rules: int = Field(default=1024, ge=2, le=65536)
    """Most rules the tagger holds: classes are pairs of the longest prefixes that stay within it, one a
    version of IP at least. Scope rss has none."""
    deal: int = Field(default=0, ge=0, le=2**31)
    """Classes are dealt to the cores in turn, in a random order drawn from this number."""
    key: Key = Field(default="microsoft", min_length=1, max_length=200)
    """Hash key of scope rss, as for rss."""
    controller: Literal["global", "agent", "none"] = "global"
    """Who scales. global: the network's controller, by halves of a core's classes. agent: the server's own,
    one core at a time, with all classes dealt anew. none: cores and classes stay as they are."""
    period: Period = Field(default=100 * MS, validate_default=False)
    """Period of the controller, which samples every core."""
    up: float = Field(default=0.75, gt=0, le=1)
    """Load, or its forecast, from which on a core gives half of its classes away."""
    down: float = Field(default=0.25, ge=0, le=1)
    """Load up to which a core may be merged with another."""
    hold: Time = Field(default=SECOND, validate_default=False)
    """Time for which a core is left alone once its change is seen to work, unless its load is urgent."""
    memory: float = Field(default=0.67, ge=0, lt=1)
    """Weight of the past in the trend of a core's load; the rest is that of its last sample."""
    agent_period: Period = Field(default=SECOND, validate_default=False)
    """Period of the agent."""
    agent_up: float = Field(default=0.7, gt=0, le=1)
    """Highest load of a core, smoothed, above which the agent takes one core more."""
    agent_down: float = Field(default=0.4, ge=0, le=1)
    """Highest load of a core, smoothed, below which it takes one less."""
    agent_rest: Time = Field(default=5 * SECOND, validate_default=False)
    """Least time between two steps of the agent, also those it could not take."""
    load: Literal["cycles", "proc_stat"] = "cycles"
    """What tells a core's load, ten times a second. cycles: the useful share of the last 0.1 s of a core that
    polls. proc_stat: the busy share of a core that runs a closed program, in whole jiffies of 10 ms."""
    rule_latency: Time = 0
    """Time from a decision to the new rules taking effect, for which the controller waits."""
    per_rule: Time = 0
    """Added to it for every rule that changes."""
    migration: Time = 0
    """Time for which a core that receives classes stalls, to take over their state."""
    scaling: Scaling | None = None
    """Which cores are in use: how many at the start, how many at least, and from when on that may change;
    left out, all at the start and one at least."""

    @model_validator(mode="after")
    def _some_controller(self) -> Self:
        if self.scope == "rss" and self.controller == "agent":
            refuse(
                "nic.dispatch.controller: agent, but in scope rss only the global controller scales; "
                'write "global" or "none", or scope "rules"'
            )
        if self.scaling is not None and self.controller == "none":
            refuse(
                "nic.dispatch.scaling: given, but controller is none; leave scaling out or write "
                'controller "global" or "agent"'
            )
        return self

    @model_validator(mode="after")
    def _down_below_up(self) -> Self:
        pairs = (
            ("down", self.down, "up", self.up),
            ("agent_down", self.agent_down, "agent_up", self.agent_up),
        )
        refuse(
            *(
                f"nic.dispatch.{low}: {lower:g} is above {high} {upper:g}; lower {low} or raise {high}"
                for low, lower, high, upper in pairs
                if lower > upper
            )
        )
        return self


class FlowDirector(Part):
    """Flow Director: the NIC has a rule for each flow it knows, and RSS for those it does not."""

    kind: Literal["flow_director"] = "flow_director"
    entries: int = Field(default=8192, ge=1, le=2**20)
    """Most rules the NIC holds, as perfect filters of an Intel 82599; a flow beyond them stays with RSS."""
    latency: Time = Field(default=50 * US, validate_default=False)
    """Time from a flow's first packet until its rule works; assumed."""
    table: TableSize = Field(default=512, ge=1, le=4096)
    """Entries of the indirection table of RSS, a power of two."""
    key: Key = Field(default="microsoft", min_length=1, max_length=200)
    """Hash key, as for rss."""
