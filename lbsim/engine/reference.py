"""The reference data plane: a SimPy process per packet. The executable specification; read it first.

It runs any plain-Python policy and is the oracle of every kernel: equal packets give equal cores,
departures, drops and counters, to the last bit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np
import simpy

from lbsim.balancer.policies import Unit, view_of_cores
from lbsim.engine.kernels import Machine
from lbsim.engine.plane import (
    ARRIVAL,
    DEPARTURE,
    RING_FULL,
    Choice,
    Clock,
    Counters,
    Flags,
    Int64s,
    Progress,
    Tally,
    work_done,
)
from lbsim.metrics.histogram import BINS, Histogram, bin_of
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


class Fate(NamedTuple):
    """What became of a packet."""

    core: int  # where it was served, or refused
    dropped: str = ""  # why, where it was


class Bank(Protocol):
    """A bank of cores with what queues before them."""

    name: str
    causes: tuple[str, ...]
    """Why it may drop packets."""
    table: Int64s
    """The indirection table."""
    reordered: int
    """Packets that left after a later one of their flow, where that is measured."""

    def take(self, packet: Packet) -> Fate | simpy.Event:
        """Take a packet that arrives now: return its fate, or an event that will have it as its value."""

    def counters(self, now: int) -> Counters:
        """Return the counters at now."""

    def stall(self, core: int, length: int) -> None:
        """Hold a core for `length` ps."""

    def moved(self) -> None:
        """Take note that the table has been rewritten now."""

    def in_transit(self) -> Flags | None:
        """Return the buckets on their way to another core; None for none."""

    def drain(self) -> None:
        """After the last event: let go what still waits for something, and run to the last departure."""

    def counted(self) -> dict[str, int]:
        """Return what else it counted in the whole run, by name."""


class Core:
    """A core and its ring: poll up to a burst, work, let the batch depart, poll again."""

    def __init__(self, env: Clock, machine: Machine, number: int, polled: Int64s) -> None:
        self.env, self.machine, self.number, self.polled = env, machine, number, polled
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
            yield self.env.wait(self.end - self.env.now, DEPARTURE + self.number)
            if self.env.now < self.end:  # a stall has moved the end meanwhile
                continue
            for _, departed in batch:
                self.ring.popleft()
                departed.succeed(Fate(self.number))
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


class Rings:
    """Independent cores, one ring each: packets by the indirection table, or where a policy sends them."""

    name = "a SimPy process per packet"
    causes: tuple[str, ...] = (RING_FULL,)
    reordered = 0

    def __init__(
        self, env: Clock, machine: Machine, cores: int, table: Int64s, choice: Choice | None = None
    ) -> None:
        self.env, self.machine, self.table, self.choice = env, machine, table, choice
        self.polled = np.zeros(1 if choice else len(table), np.int64)
        self.cores = [Core(env, machine, number, self.polled) for number in range(cores)]

    def take(self, p: Packet) -> Fate | simpy.Event:
        """Put a packet into the ring of its core, unless that is full; an idle core starts at once."""
        number = self.choose(p)
        core = self.cores[number]
        if len(core.ring) == self.machine.ring:
            core.dropped += 1
            return Fate(number, RING_FULL)
        departed = self.env.event()
        core.ring.append((p, departed))
        if not core.active:
            core.wake(core.poll())
        return departed

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
        """Do nothing: cores work until their rings are empty."""

    def counted(self) -> dict[str, int]:
        """Return nothing: there is nothing else to count."""
        return {}


class ReferencePlane:
    """Packets, each a process, through a bank of cores; see `lbsim.engine.plane.Plane` for the interface."""

    def __init__(
        self,
        env: Clock,
        packets: Iterator[Packets],
        machine: Machine,
        bank: Bank,
        *,
        intervals: int = 0,
        log: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.name = f"reference: {bank.name}"
        self.env, self.machine, self.bank, self.table = env, machine, bank, bank.table
        self.latencies: list[int] = []
        self.rows = np.zeros((intervals, BINS), np.int64)
        self.log: list[list[int]] | None = [] if log else None  # arrival, flow, core, departure
        self.offered = self.offered_bytes = self.dropped_bytes = 0
        self.drops = dict.fromkeys(bank.causes, 0)
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
        row = [p.arrival, p.flow, -1, -1]
        if self.log is not None:
            self.log.append(row)
        taken = self.bank.take(p)
        fate: Fate = taken if isinstance(taken, Fate) else (yield taken)
        row[2] = fate.core
        if fate.dropped:
            self.drops[fate.dropped] += measured
            self.dropped_bytes += measured * p.frame
            return
        row[3] = self.env.now
        self.last = max(self.last, self.env.now)
        if measured:
            latency = self.env.now - p.arrival + self.machine.delay
            self.latencies.append(latency)
            if self.machine.interval:
                k = min(p.arrival // self.machine.interval, len(self.rows) - 1)
                self.rows[k, bin_of(latency)] += 1

    def sync(self, now: int) -> None:
        """Nothing: every packet is a process on the same clock."""

    def counters(self, now: int) -> Counters:
        """Return the counters at now."""
        return self.bank.counters(now)

    def stall(self, core: int, now: int, length: int) -> None:
        """Hold a core for `length` ps."""
        self.bank.stall(core, length)

    def moved(self, now: int) -> None:
        """Say that the table has been rewritten."""
        self.bank.moved()

    def in_transit(self) -> Flags | None:
        """Return the buckets on their way to another core."""
        return self.bank.in_transit()

    def finish(self) -> Tally:
        """Return what was counted, once the environment has run out of events."""
        self.bank.drain()
        log = None
        if self.log is not None:
            log = PacketLog(*np.array(self.log, np.int64).reshape(-1, 4).T)
        return Tally(
            self.offered, self.offered_bytes, self.drops, self.dropped_bytes,
            Histogram.of(self.latencies), self.rows, self.bank.reordered,
            self.counters(self.env.now), self.last, log, self.bank.counted(),
        )  # fmt: skip
