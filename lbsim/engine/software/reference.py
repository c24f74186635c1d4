"""Software dispatch as SimPy events: the executable specification, and the oracle of the kernels."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import numpy as np
import simpy

from lbsim.engine.kernels import Machine
from lbsim.engine.plane import DEPARTURE, HAND_OVER, QUEUE_FULL, RING_FULL, Clock, Counters, Int64s, work_done
from lbsim.engine.reference import Fate, Packet
from lbsim.engine.software.state import ROUND_ROBIN, SHARED, STATEFUL_RR, Spec

Held = tuple[Packet, simpy.Event]
"""A packet inside, and the event that will tell its process of its fate."""


class Core:
    """A core that is idle or at work on a batch.

    The end of a batch is an event with a priority of its own, not a process: a process begins with an event
    of SimPy's own priority, which would come too late where work costs nothing.
    """

    def __init__(self, env: Clock, priority: int, done: Callable[[list[Held]], None]) -> None:
        self.env, self.priority, self.done = env, priority, done
        self.batch: list[Held] = []
        self.active = False
        self.start = self.cost = self.end = 0
        self.since = 0  # when it last ran out of work
        self.vain = 0  # ps spent polling in vain, but for the present time
        self.busy = self.processed = self.dropped = 0

    def begin(self, batch: list[Held], cost: int) -> None:
        """Start on a batch."""
        self.vain = self.in_vain()
        self.active, self.batch = True, batch
        self.start, self.cost, self.end = self.env.now, cost, self.env.now + cost
        self.wait()

    def in_vain(self) -> int:
        """Return the ps spent polling in vain so far."""
        return self.vain if self.active else self.vain + self.env.now - self.since

    def wait(self) -> None:
        """Come back at the end."""
        self.env.wait(self.end - self.env.now, self.priority).callbacks.append(self.due)

    def due(self, _: simpy.Event) -> None:
        """End the batch, unless a stall has moved the end meanwhile."""
        if self.env.now < self.end:
            self.wait()
            return
        batch, self.batch = self.batch, []
        self.processed += len(batch)
        self.busy += self.cost
        self.active, self.cost, self.since = False, 0, self.end
        self.done(batch)

    def stall(self, length: int) -> None:
        """Delay the end of the batch, or the next poll."""
        if not self.active:
            self.begin([], 0)
        self.end += length


@dataclass
class Queue:
    """A queue in memory: a packet holds its place until it departs."""

    waiting: deque[Held] = field(default_factory=deque)
    held: int = 0  # waiting or in service


class ReferenceSoftware:
    """A dispatcher and its workers, as `SoftwareBank`; interface: `lbsim.engine.reference.Bank`."""

    name = "SimPy events of software dispatch"
    causes: tuple[str, ...] = (RING_FULL, QUEUE_FULL)

    def __init__(self, env: Clock, machine: Machine, workers: int, spec: Spec, reordering: bool) -> None:
        self.env, self.machine, self.spec = env, machine, spec
        self.table: Int64s = np.empty(0, np.int64)
        self.ring: deque[Held] = deque()  # packets in service first
        self.dispatcher = Core(env, HAND_OVER, self.hand_over)
        self.workers = [Core(env, DEPARTURE + w, partial(self.depart, w)) for w in range(workers)]
        self.shared = spec.discipline == SHARED
        self.queues = [Queue()] * workers if self.shared else [Queue() for _ in range(workers)]
        self.before = 0  # ps that workers had polled in vain when the dispatcher began its batch
        self.last = (0, 0)  # such ps during its last batch, and how long that took
        self.turn = 0  # packets, or flows, dealt in turn so far
        self.home: dict[int, int] = {}  # flow -> worker
        self.assigned = [0] * workers  # flows of each worker
        self.newest: dict[int, int] | None = {} if reordering else None  # flow -> highest number departed
        self.reordered = 0

    def take(self, p: Packet) -> Fate | simpy.Event:
        """Put a packet into the dispatcher's ring, unless that is full; an idle dispatcher starts at once."""
        if len(self.ring) == self.machine.ring:
            self.dispatcher.dropped += 1
            return Fate(len(self.workers), RING_FULL)
        departed = self.env.event()
        self.ring.append((p, departed))
        if not self.dispatcher.active:
            self.poll_ring()
        return departed

    def poll_ring(self) -> None:
        """The dispatcher takes a batch.

        Each packet costs it contention for every worker that polls in vain: on average over its last batch,
        at whose end it woke them all; now, where that took no time.
        """
        batch = list(islice(self.ring, self.machine.burst))
        vain, span = self.last if self.last[1] else (sum(not w.active for w in self.workers), 1)
        each = self.spec.per_packet + self.spec.contention * vain // span
        self.before = self.in_vain()
        self.dispatcher.begin(batch, self.spec.per_batch + len(batch) * each)

    def in_vain(self) -> int:
        """Return the ps that all workers together have polled in vain so far."""
        return sum(worker.in_vain() for worker in self.workers)

    def hand_over(self, batch: list[Held]) -> None:
        """The dispatcher's batch ends: into the queues; idle workers poll; it polls again."""
        self.last = self.in_vain() - self.before, self.env.now - self.dispatcher.start
        for held in batch:
            self.ring.popleft()
            self.put(held)
        order = range(len(self.workers))
        for w in sorted(order, key=lambda w: self.workers[w].since) if self.shared else order:
            if self.queues[w].waiting and not self.workers[w].active:
                self.poll_queue(w)
        if self.ring:
            self.poll_ring()

    def put(self, held: Held) -> None:
        """Put a packet in a queue, or drop it."""
        packet, departed = held
        w = 0 if self.shared else self.worker_of(packet.flow)
        queue = self.queues[w]
        if queue.held == self.spec.capacity:
            number, core = (len(self.workers), self.dispatcher) if self.shared else (w, self.workers[w])
            core.dropped += 1
            departed.succeed(Fate(number, QUEUE_FULL))
            return
        queue.waiting.append(held)
        queue.held += 1

    def worker_of(self, flow: int) -> int:
        """Return the worker in whose queue a packet of this flow is put."""
        if self.spec.discipline == ROUND_ROBIN:
            return self.in_turn()
        if flow not in self.home:
            by_turn = self.spec.discipline == STATEFUL_RR
            w = self.in_turn() if by_turn else self.assigned.index(min(self.assigned))
            self.home[flow] = w
            self.assigned[w] += 1
        return self.home[flow]

    def in_turn(self) -> int:
        """Return the next worker in turn."""
        self.turn += 1
        return (self.turn - 1) % len(self.workers)

    def poll_queue(self, w: int) -> None:
        """Worker w takes a batch from its queue, which is not empty."""
        waiting = self.queues[w].waiting
        batch = [waiting.popleft() for _ in range(min(self.machine.burst, len(waiting)))]
        others = len(self.workers) - 1 if self.shared else 0
        each = self.spec.hand_over + self.spec.contention * others
        service = sum(packet.service for packet, _ in batch)
        self.workers[w].begin(batch, self.machine.per_batch + service + len(batch) * each)

    def depart(self, w: int, batch: list[Held]) -> None:
        """Worker w's batch ends: its packets depart, and it polls again."""
        for packet, departed in batch:
            departed.succeed(Fate(w))
            if self.newest is None:
                continue
            if packet.number < self.newest.get(packet.flow, -1):
                self.reordered += packet.arrival >= self.machine.warmup
            else:
                self.newest[packet.flow] = packet.number
        queue = self.queues[w]
        queue.held -= len(batch)
        if queue.waiting:
            self.poll_queue(w)

    def counters(self, now: int) -> Counters:
        """Return the counters at now; buckets there are none."""
        cores = [*self.workers, self.dispatcher]

        def row(name: str) -> Int64s:
            return np.array([getattr(core, name) for core in cores], np.int64)

        busy = work_done(row("busy"), row("start"), row("cost"), now)
        if self.shared:
            held = [len(worker.batch) for worker in self.workers]
            held.append(len(self.ring) + len(self.queues[0].waiting))
        else:
            held = [*(queue.held for queue in self.queues), len(self.ring)]
        return Counters(
            row("processed"), busy, row("dropped"), np.array(held, np.int64), np.zeros(1, np.int64)
        )

    def stall(self, core: int, length: int) -> None:
        """Hold a core for `length` ps; core number `workers` is the dispatcher."""
        if core == len(self.workers) and not self.dispatcher.active:
            self.before = self.in_vain()
        [*self.workers, self.dispatcher][core].stall(length)

    def moved(self) -> None:
        """Do nothing: there is no table."""

    def in_transit(self) -> None:
        """Return None: there are no buckets."""

    def counted(self) -> dict[str, int]:
        """Return nothing: there is nothing else to count."""
        return {}

    def drain(self) -> None:
        """Do nothing: every core works until nothing waits for it."""
