"""Service chains: the network functions that a packet passes, and how they share cores, NIC and switch."""

from __future__ import annotations

from itertools import groupby
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, field_validator

from lbsim.scenario.fields import Identifier, Time, Work, WorkText
from lbsim.scenario.functions import AnyFunction
from lbsim.scenario.part import Part

MOST_FUNCTIONS: Final = 32

AnyOfChain = Annotated[AnyFunction, Field(discriminator="kind")]


class Chain(Part):
    """Network functions that every packet passes in order, until one drops it.

    What they cost comes on top of `server.cost`, which then is what the framework spends on a packet.
    """

    functions: Annotated[
        tuple[AnyOfChain, ...],
        BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value),
    ]
    """The functions, in order."""
    execution: Literal["together", "pipeline"] = "together"
    """together: a core runs all functions on a packet, apart from those with a box of their own. pipeline:
    every function has a core of its own, and packets go from core to core."""
    synthesised: bool = False
    """Whether the functions are merged into one, as SNF (PeerJ CS 2016) does: a packet is classified,
    read and written once."""
    offload: Literal["none", "nic", "switch"] = "none"
    """Who takes over what a synthesised chain does without state."""
    switch: Identifier = Field(default="conformant", min_length=1, max_length=64)
    """Profile of the switch that takes over."""
    hand_over: WorkText = Work(0)
    """Work of a core on each packet that it takes from another core's ring."""
    poll: WorkText = Work(0)
    """Work of a core on each poll of such a ring that finds packets."""
    queue: int = Field(default=1024, ge=1, le=2**20)
    """Packets that fit into each such ring."""
    hop: Time = 0
    """Time of a packet through the NIC to another virtual function."""
    io: WorkText = Work(0)
    """Work at each side of such a hop."""

    @field_validator("functions")
    @classmethod
    def _some_functions(cls, functions: tuple[AnyFunction, ...]) -> tuple[AnyFunction, ...]:
        if not 1 <= len(functions) <= MOST_FUNCTIONS:
            raise ValueError(f"{len(functions)} functions; write 1 to {MOST_FUNCTIONS}")
        return functions

    @property
    def stages(self) -> tuple[tuple[int, ...], ...]:
        """Return the functions that each core of a lane runs, by their place in the chain, in order.

        One stage where all run together; else one for every function of a pipeline, for every function with a
        box of its own, and for every run of functions without between those.
        """
        if self.execution == "pipeline":
            return tuple((k,) for k in range(len(self.functions)))
        boxes = [None if f.box == "inline" else k for k, f in enumerate(self.functions)]
        return tuple(tuple(run) for _, run in groupby(range(len(boxes)), key=boxes.__getitem__))
