"""The reference closed loop: a SimPy process per unit, round and round."""

from __future__ import annotations

from collections.abc import Iterator

from lbsim.engine.closed.loop import Loop
from lbsim.engine.kernels import Machine
from lbsim.engine.plane import ARRIVAL, Clock, Progress
from lbsim.engine.reference import Packet, Process, ReferencePlane, Rings

ENTRY = ARRIVAL + 1
"""SimPy priority of unit 0's entry into the queue of the link, behind arrivals; unit k has ENTRY + k."""


class ClosedReference(ReferencePlane):
    """A link that all units queue for, then the cores of `Rings`; see `ReferencePlane` for the rest."""

    def __init__(
        self,
        env: Clock,
        loop: Loop,
        machine: Machine,
        bank: Rings,
        *,
        intervals: int = 0,
        progress: Progress | None = None,
    ) -> None:
        super().__init__(env, iter(()), machine, bank, intervals=intervals, progress=progress)
        self.loop = loop
        self.services: Iterator[int] = (int(time) for chunk in loop.services for time in chunk)
        self.free = 0  # when the link has sent what is queued
        self.sent = 0
        for unit in range(len(loop.first)):
            env.process(self.unit(unit))

    def unit(self, number: int) -> Process:
        """A unit's life: wait for the link, cross it, wait for its core, be served, come back."""
        loop, turn = self.loop, ENTRY + number
        flow, bucket = int(loop.flow[number]), int(loop.bucket[number])
        yield self.env.wait(int(loop.first[number]), turn)
        while self.env.now < loop.end:
            packet = Packet(self.sent, self.env.now, bucket, flow, loop.frame, next(self.services))
            self.sent += 1
            self.free = max(self.free, self.env.now) + loop.wire
            yield self.env.wait(self.free - self.env.now, ARRIVAL)
            yield from self.packet(packet)
            yield self.env.wait(loop.delay, turn)
