"""The reference bank of a pipeline: a SimPy process per core. The executable specification, and the oracle.

At one instant a core ends its batch, which makes room in its ring, before it takes what is handed over to it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import simpy

from lbsim.engine.kernels import Machine
from lbsim.engine.pipeline.spec import Spec, check
from lbsim.engine.plane import (
    DEPARTURE,
    HAND_OVER,
    QUEUE_FULL,
    RING_FULL,
    Clock,
    Counters,
    Int64s,
    work_done,
)
from lbsim.engine.reference import Fate, Packet

Process = Generator[simpy.Event, Any, None]


class Held(NamedTuple):
    """A packet inside."""

    packet: Packet
    fate: simpy.Event  # told when it departs or is dropped


class Core:
    """A core and its ring: polls up to a burst, works, lets the batch go as one, polls again."""

    def __init__(self, bank: ReferencePipeline, number: int) -> None:
        self.bank, self.env, self.number = bank, bank.env, number
        self.stage = number % bank.spec.stages
        self.room = bank.spec.capacity if self.stage else bank.machine.ring
        self.per_batch = bank.spec.poll if self.stage else bank.machine.per_batch
        self.ring: deque[Held] = deque()  # packets in service first
        self.start = self.cost = self.end = self.busy = 0
        self.processed = self.dropped = self.taken = 0
        self.alarm: simpy.Event | None = None  # of an idle core
        self.env.process(self.work())

    def work(self) -> Process:
        """Serve batch after batch; sleep while the ring is empty."""
        while True:
            if not self.ring:
                yield from self.sleep()
                continue
            size = self.poll()
            yield self.env.wait(self.cost, DEPARTURE)
            yield from self.wait()
            self.busy += self.cost
            self.cost = 0
            self.let_go([self.ring.popleft() for _ in range(size)])

    def poll(self) -> int:
        """Start on up to a burst of packets and tell how many; they keep their places until they leave."""
        batch = [held.packet for held in islice(self.ring, self.bank.machine.burst)]
        work = sum(self.bank.work_at(self.stage, packet) for packet in batch)
        self.start, self.cost = self.env.now, self.per_batch + work
        self.end = self.start + self.cost
        if self.stage == 0:
            for packet in batch:
                self.bank.polled[packet.bucket] += 1
        return len(batch)

    def wait(self) -> Process:
        """Wait for the end of what the core is doing, which stalls may move meanwhile."""
        while self.env.now < self.end:
            yield self.env.wait(self.end - self.env.now, DEPARTURE)

    def sleep(self) -> Process:
        """Do nothing until woken."""
        self.alarm = self.env.event()
        yield self.alarm
        yield from self.wait()

    def wake(self, delay: int) -> None:
        """Let an idle core look for work `delay` ps from now."""
        if self.alarm is not None:
            self.alarm._ok, self.alarm._value = True, None
            self.env.schedule(self.alarm, DEPARTURE, delay)  # type: ignore[arg-type]
            self.alarm, self.end = None, self.env.now + delay

    def stall(self, length: int) -> None:
        """Delay the end of the batch in service, or the next poll."""
        if self.alarm is None:
            self.end += length
        else:
            self.wake(length)

    def let_go(self, batch: list[Held]) -> None:
        """Hand a batch on to the next core; what goes no further departs."""
        self.processed += len(batch)
        staying = []
        for held in batch:
            if self.bank.work_at(self.stage + 1, held.packet) >= 0:
                staying.append(held)
                continue
            self.bank.left.append((self.env.now, held.packet))
            held.fate.succeed(Fate(self.number))
        if staying:
            below = self.bank.cores[self.number + 1]
            hop = self.env.wait(int(self.bank.spec.latency[self.stage]), HAND_OVER)
            hop.callbacks.append(partial(below.take_over, staying))

    def take_over(self, batch: list[Held], _: simpy.Event) -> None:
        """Take what another core has handed over."""
        self.taken += self.accept(batch)

    def accept(self, batch: list[Held]) -> int:
        """Put packets into the ring as far as it has room, and tell how many; an idle core polls."""
        room = self.room - len(self.ring)
        self.ring.extend(batch[:room])
        for held in batch[room:]:
            self.dropped += 1
            held.fate.succeed(Fate(self.number, QUEUE_FULL if self.stage else RING_FULL))
        self.wake(0)
        return len(batch[:room])


class ReferencePipeline:
    """Lanes of cores, as `PipelineBank`; interface: `lbsim.engine.reference.Bank`."""

    name = "a SimPy process per packet and core of a pipeline"
    causes: tuple[str, ...] = (RING_FULL, QUEUE_FULL)

    def __init__(
        self, env: Clock, machine: Machine, cores: int, table: Int64s, spec: Spec, reordering: bool
    ) -> None:
        check(cores, table, spec)
        self.env, self.machine, self.table, self.spec = env, machine, table, spec
        self.polled = np.zeros(len(table), np.int64)
        self.left: list[tuple[int, Packet]] = []  # departures, ps
        self.reordering, self.reordered = reordering, 0
        self.cores = [Core(self, number) for number in range(cores)]

    def take(self, p: Packet) -> simpy.Event:
        """Put a packet into the ring of the first core of its lane, unless that is full."""
        held = Held(p, self.env.event())
        self.cores[self.table[p.bucket]].accept([held])
        return held.fate

    def work_at(self, stage: int, p: Packet) -> int:
        """Return the work on a packet at a stage; below 0 where it leaves before that."""
        if stage == 0:
            return p.service
        if stage == self.spec.stages:
            return -1
        fixed = int(self.spec.fixed[stage, self.spec.class_of[p.flow]])
        return fixed if fixed < 0 else fixed + int(self.spec.per_byte[stage]) * p.frame

    def counters(self, now: int) -> Counters:
        """Return the counters at now."""

        def row(name: str) -> Int64s:
            return np.array([getattr(core, name) for core in self.cores], np.int64)

        busy = work_done(row("busy"), row("start"), row("cost"), now)
        occupancy = np.array([len(core.ring) for core in self.cores], np.int64)
        return Counters(row("processed"), busy, row("dropped"), occupancy, self.polled.copy())

    def stall(self, core: int, length: int) -> None:
        """Hold a core for `length` ps."""
        self.cores[core].stall(length)

    def moved(self) -> None:
        """Do nothing: buckets keep no state."""

    def in_transit(self) -> None:
        """Return None: buckets keep no state."""

    def drain(self) -> None:
        """Count what left after a later packet of its flow; at one instant packets leave in order."""
        newest: dict[int, int] = {}
        for _, p in sorted(self.left) if self.reordering else ():
            late = p.number < newest.get(p.flow, -1)
            self.reordered += late and p.arrival >= self.machine.warmup
            newest[p.flow] = max(p.number, newest.get(p.flow, -1))

    def counted(self) -> dict[str, int]:
        """Return the packets that a core took over from another."""
        return {"hand_overs": sum(core.taken for core in self.cores)}
