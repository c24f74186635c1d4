"""The reference data plane: a SimPy process per packet. The executable specification; read it first.

It runs any plain-Python policy and is the oracle of every kernel: equal packets give equal cores,
departures, drops and counters, to the last bit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import simpy

from lbsim.balancer.policies import Unit, view_of_cores
from lbsim.engine.kernels import Machine
from lbsim.engine.plane import ARRIVAL, DEPARTURE, Choice, Clock, Counters, Int64s, Progress, Tally, work_done
from lbsim.metrics.histogram import Histogram
from lbsim.metrics.result import PacketLog
from lbsim.workload.packets import Packets

Process = Generator[simpy.Event, Any, None]


class Packet(NamedTuple):
    """One packet as its process sees it."""

    number: int
    arrival: int
    bucket: int
    flow: int
    frame: int
    service: int


class Core:
    """A core and its ring: poll up to a burst, work, let the batch depart, poll again."""

    def __init__(self, env: Clock, machine: Machine, polled: Int64s) -> None:
        self.env, self.machine, self.polled = env, machine, polled
        self.ring: deque[tuple[Packet, simpy.Event]] = deque()  # packets in service first
        self.active = False
        self.start = self.cost = self.end = 0
        self.busy = self.processed = self.dropped = 0

    def poll(self) -> list[tuple[Packet, simpy.Event]]:
        """Start on up to a burst of packets; they keep their slots in the ring until they depart."""
        batch = list(islice(self.ring, self.machine.burst))
        self.start = self.env.now
        self.cost = self.machine.per_batch + sum(packet.service for packet, _ in batch)
        self.end = self.start + self.cost
        for packet, _ in batch:
            self.polled[packet.bucket] += 1
        return batch

    def wake(self, batch: list[tuple[Packet, simpy.Event]]) -> None:
        """Let an idle core work on a batch, or sit out a stall."""
        self.active = True
        self.env.process(self.work(batch))

    def work(self, batch: list[tuple[Packet, simpy.Event]]) -> Process:
        """Serve batch after batch until the ring is empty."""
        while True:
            yield self.env.wait(self.end - self.env.now, DEPARTURE)
            if self.env.now < self.end:  # a stall has moved the end meanwhile
                continue
            for _, departed in batch:
                self.ring.popleft()
                departed.succeed()
            self.processed += len(batch)
            self.busy += self.cost
            self.cost = 0
            if not self.ring:
                self.active = False
                return
            batch = self.poll()

    def stall(self, length: int) -> None:
        """Delay the end of the batch in service, or the next poll."""
        if self.active:
            self.end += length
        else:
            self.start, self.end = self.env.now, self.env.now + length
            self.wake([])


class ReferencePlane:
    """See `lbsim.engine.plane.Plane` for the interface; `sync` has nothing to do here."""

    def __init__(
        self,
        env: Clock,
        packets: Iterator[Packets],
        machine: Machine,
        cores: int,
        table: Int64s,
        *,
        choice: Choice | None = None,
        log: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.name = "reference: a SimPy process per packet"
        self.env, self.machine, self.table, self.choice = env, machine, table, choice
        self.polled = np.zeros(1 if choice else len(table), np.int64)
        self.cores = [Core(env, machine, self.polled) for _ in range(cores)]
        self.latencies: list[int] = []
        self.rows: list[list[int]] | None = [] if log else None  # arrival, flow, core, departure
        self.offered = self.offered_bytes = self.refused = self.refused_bytes = 0
        self.last = 0
        self.progress = progress
        env.process(self.arrivals(packets))

    def arrivals(self, packets: Iterator[Packets]) -> Process:
        """Start each packet's process; a gap of zero still lets everything due happen first."""
        index = 0
        for chunk in packets:
            for arrival, bucket, flow, frame, service in zip(*(c.tolist() for c in chunk), strict=True):
                yield from self.until(arrival)
                self.env.process(self.packet(Packet(index, arrival, bucket, flow, frame, service)))
                index += 1
            if self.progress is not None:
                self.progress(self.env.now, index)

    def until(self, arrival: int) -> Process:
        """Wait for an arrival time, behind all departures and control of that instant."""
        yield self.env.wait(arrival - self.env.now, ARRIVAL)

    def packet(self, p: Packet) -> Process:
        """A packet's life: the NIC picks a core, its ring takes or drops it, it is served, it departs."""
        measured = p.arrival >= self.machine.warmup
        self.offered += measured
        self.offered_bytes += measured * p.frame
        self.last = max(self.last, p.arrival)
        number = self.choose(p)
        core = self.cores[number]
        row = [p.arrival, p.flow, number, -1]
        if self.rows is not None:
            self.rows.append(row)
        if len(core.ring) == self.machine.ring:
            core.dropped += 1
            self.refused += measured
            self.refused_bytes += measured * p.frame
            return
        departed = self.env.event()
        core.ring.append((p, departed))
        if not core.active:
            core.wake(core.poll())
        yield departed
        row[3] = self.env.now
        self.last = max(self.last, self.env.now)
        if measured:
            self.latencies.append(self.env.now - p.arrival + self.machine.delay)

    def choose(self, p: Packet) -> int:
        """Return the packet's core: the indirection table's, or the policy's choice on live queues."""
        if self.choice is None:
            return int(self.table[p.bucket])
        queue = np.array([len(core.ring) for core in self.cores], np.int64)
        view = view_of_cores(self.env.now, queue, self.choice.state, self.choice.seed, self.table)
        unit = Unit(p.number, p.flow, int(self.choice.hashes[p.flow]), p.frame)
        number = int(self.choice.choose(view, unit))
        if not 0 <= number < len(self.cores):
            raise ValueError(
                f"the policy sent packet {p.number} to no core: it must return 0 .. {len(self.cores) - 1}"
            )
        return number

    def sync(self, now: int) -> None:
        """Nothing: every packet is a process on the same clock."""

    def counters(self, now: int) -> Counters:
        """Return the counters at now."""

        def row(name: str) -> Int64s:
            return np.array([getattr(core, name) for core in self.cores], np.int64)

        busy = work_done(row("busy"), row("start"), row("cost"), now)
        occupancy = np.array([len(core.ring) for core in self.cores], np.int64)
        return Counters(row("processed"), busy, row("dropped"), occupancy, self.polled.copy())

    def stall(self, core: int, now: int, length: int) -> None:
        """Hold a core for `length` ps."""
        self.cores[core].stall(length)

    def finish(self) -> Tally:
        """Return what was counted, once the environment has run out of events."""
        log = None
        if self.rows is not None:
            log = PacketLog(*np.array(self.rows, np.int64).reshape(-1, 4).T)
        return Tally(
            self.offered, self.offered_bytes, self.refused, self.refused_bytes,
            Histogram.of(self.latencies), self.counters(self.env.now), self.last, log,
        )  # fmt: skip
