"""The reference bank of stateful cores: a SimPy process per core. The executable specification.

Cores take turns packet by packet, at equal time in order of number, where one can meet what another does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import simpy

from lbsim.engine.kernels import Machine
from lbsim.engine.plane import (
    DEPARTURE,
    NOT_OWNER,
    RING_FULL,
    Clock,
    Counters,
    Flags,
    Int64s,
    work_done,
)
from lbsim.engine.reference import Fate, Packet
from lbsim.engine.stateful.sharing import causes
from lbsim.engine.stateful.state import MARK, NONE, Sharing

Process = Generator[simpy.Event, Any, None]


class Held(NamedTuple):
    """A packet on its way through the bank."""

    packet: Packet
    fate: simpy.Event  # told when it departs or is dropped
    epoch: int  # times the table had been rewritten when it arrived


class Core:
    """A core: polls up to a burst, handles packet after packet, lets them depart together, polls again."""

    def __init__(self, bank: StatefulReference, number: int) -> None:
        self.bank, self.env, self.number = bank, bank.env, number
        self.ring: deque[Held] = deque()
        self.hand: deque[Held] = deque()  # of its batch, not yet handled
        self.handled: list[Held] = []
        self.serving = 0  # packets of the ring that its batch has polled
        self.working = False
        self.start = self.cost = self.end = self.busy = 0
        self.left = self.departed = self.dropped = 0
        self.pending = False  # has buckets to hand over,
        self.watch = self.mark = 0  # once so many packets left the ring, or one of that epoch was polled
        self.newest = -1  # epoch of the last packet polled for its batch
        self.alarm: simpy.Event | None = None  # of an idle core
        self.env.process(self.work())

    def work(self) -> Process:
        """Work as long as there is something to do; else sleep."""
        while True:
            self.depart()
            if self.pending and self.may_hand_over():
                self.hand_over()
            self.poll()
            if not self.hand:
                yield from self.sleep()
                continue
            self.working = True
            if self.bank.undisturbed():
                yield from self.spend(self.bank.machine.per_batch + sum(self.handle()))
                continue
            yield from self.spend(self.bank.machine.per_batch)
            for work in self.handle():
                yield from self.spend(work)

    def poll(self) -> None:
        """Take what was parked for this core to come, and a burst from the ring, whose slots stay taken."""
        if not self.bank.sharing.as_published:
            for bucket, parked in enumerate(self.bank.parking):
                if parked and self.bank.at_home(bucket, self):
                    self.hand.extend(parked)
                    parked.clear()
        batch = list(islice(self.ring, self.bank.machine.burst))
        for held in batch:
            self.bank.polled[held.packet.bucket] += 1
        self.hand.extend(batch)
        self.serving = len(batch)
        self.newest = batch[-1].epoch if batch else -1

    def handle(self) -> Iterator[int]:
        """Handle the batch; yield the work on each packet when its turn comes."""
        bank = self.bank
        while self.hand:
            held = self.hand.popleft()
            bucket = held.packet.bucket
            parked = bank.parking[bucket]
            if bank.sharing.protocol != NONE and bank.owner[bucket] != self.number:
                if bank.table[bucket] == self.number:
                    parked.append(held)
                    bank.parked_total += 1
                else:
                    held.fate.succeed(Fate(self.number, NOT_OWNER))
            elif parked and bank.at_home(bucket, self):
                self.hand.extendleft([held, *reversed(parked)])
                parked.clear()
            else:
                self.handled.append(held)
                yield bank.work_on(held.packet)

    def spend(self, work: int) -> Process:
        """Work for so long, stalls aside."""
        self.start, self.cost, self.end = self.env.now, work, self.env.now + work
        yield self.env.wait(work, DEPARTURE + self.number)
        yield from self.wait()
        self.busy += work
        self.cost = 0

    def wait(self) -> Process:
        """Wait for the end of what the core is doing, which stalls may move meanwhile."""
        while self.env.now < self.end:
            yield self.env.wait(self.end - self.env.now, DEPARTURE + self.number)

    def sleep(self) -> Process:
        """Do nothing until woken."""
        self.alarm = self.env.event()
        yield self.alarm
        yield from self.wait()

    def wake(self, delay: int) -> None:
        """Let an idle core look for work `delay` ps from now."""
        if self.alarm is not None:
            self.alarm._ok, self.alarm._value = True, None
            self.env.schedule(self.alarm, DEPARTURE + self.number, delay)  # type: ignore[arg-type]
            self.alarm, self.end = None, self.env.now + delay

    def stall(self, length: int) -> None:
        """Delay the end of what the core is doing, or the next poll."""
        if self.alarm is None:
            self.end += length
        else:
            self.wake(length)

    def depart(self) -> None:
        """Let what was handled go, and free the slots of the ring."""
        for held in self.handled:
            self.bank.note_order(held.packet)
            held.fate.succeed(Fate(self.number))
        for _ in range(self.serving):
            self.ring.popleft()
        self.departed += len(self.handled)
        self.left += self.serving
        self.handled.clear()
        self.serving, self.working = 0, False

    def may_hand_over(self) -> bool:
        """Return whether nothing older than the last table is left in the ring."""
        as_published = self.bank.sharing.as_published
        if self.bank.sharing.protocol == MARK:
            return self.newest >= self.mark or (not self.ring and not as_published)
        return self.left > self.watch if as_published else self.left >= self.watch

    def hand_over(self) -> None:
        """Give away all buckets that the table has elsewhere; their packets no longer wait."""
        bank = self.bank
        for bucket in np.flatnonzero((bank.owner == self.number) & (bank.table != self.number)):
            bank.owner[bucket] = bank.table[bucket]
            bank.handed_over += 1
            if bank.parking[bucket] and not bank.sharing.as_published:
                bank.cores[bank.owner[bucket]].wake(0)
        self.pending = False


class StatefulReference:
    """Cores that share something, or whose reordering is measured; see `lbsim.engine.reference.Bank`."""

    name = "a SimPy process per packet and core"

    def __init__(
        self,
        env: Clock,
        machine: Machine,
        cores: int,
        table: Int64s,
        sharing: Sharing,
        flows: int,
        reordering: bool,
    ) -> None:
        self.env, self.machine, self.table, self.sharing = env, machine, table, sharing
        self.causes: tuple[str, ...] = causes(sharing)
        self.polled = np.zeros(len(table), np.int64)
        self.owner = table.copy()
        self.parking: list[deque[Held]] = [deque() for _ in table]
        self.unlocked = [0] * flows  # ps at which each flow's lock is free again
        self.highest = [-1] * flows if reordering else None  # packet number of each flow that departed
        self.epoch = self.reordered = self.handed_over = self.parked_total = 0
        self.cores = [Core(self, number) for number in range(cores)]

    def take(self, p: Packet) -> Fate | simpy.Event:
        """Put a packet into the ring of its core, unless that is full; an idle core polls."""
        core = self.cores[self.table[p.bucket]]
        if len(core.ring) == self.machine.ring:
            core.dropped += 1
            return Fate(core.number, RING_FULL)
        held = Held(p, self.env.event(), self.epoch)
        core.ring.append(held)
        core.wake(0)
        return held.fate

    def undisturbed(self) -> bool:
        """Return whether others can do nothing to a batch: no contention, no locks, nothing to hand over."""
        pending = any(core.pending for core in self.cores)
        return not (self.sharing.contention or self.sharing.lock or pending)

    def at_home(self, bucket: int, core: Core) -> bool:
        """Return whether a bucket is this core's and is to stay so."""
        return bool(self.owner[bucket] == self.table[bucket] == core.number)

    def work_on(self, p: Packet) -> int:
        """Return the work on a packet handled now, the wait for its flow's lock included."""
        wait = 0
        if self.sharing.lock:
            wait = max(0, self.unlocked[p.flow] - self.env.now)
            self.unlocked[p.flow] = self.env.now + wait + self.sharing.lock
        working = sum(core.working for core in self.cores)
        return wait + p.service + self.sharing.contention * working * (working - 1)

    def note_order(self, p: Packet) -> None:
        """Note that a packet departs: out of order if a later one of its flow has done so."""
        if self.highest is None:
            return
        if p.number < self.highest[p.flow]:
            self.reordered += p.arrival >= self.machine.warmup
        else:
            self.highest[p.flow] = p.number

    def counters(self, now: int) -> Counters:
        """Return the counters at now."""

        def row(name: str) -> Int64s:
            return np.array([getattr(core, name) for core in self.cores], np.int64)

        busy = work_done(row("busy"), row("start"), row("cost"), now)
        occupancy = np.array([len(core.ring) for core in self.cores], np.int64)
        return Counters(row("departed"), busy, row("dropped"), occupancy, self.polled.copy())

    def stall(self, core: int, length: int) -> None:
        """Hold a core for `length` ps."""
        self.cores[core].stall(length)

    def moved(self) -> None:
        """Take note that the table has been rewritten now."""
        if self.sharing.protocol == NONE:
            return
        self.epoch += 1
        for number in set(self.owner[self.owner != self.table]):
            core = self.cores[number]
            core.pending, core.watch, core.mark = True, core.left + len(core.ring), self.epoch
        for core in self.cores:
            if core.pending and core.alarm is not None and not self.sharing.as_published:
                core.hand_over()

    def in_transit(self) -> Flags | None:
        """Return the buckets that their new core does not own yet, or has packets of to catch up with."""
        if self.sharing.protocol == NONE:
            return None
        flags: Flags = (self.owner != self.table) | np.array([bool(parked) for parked in self.parking])
        return flags

    def counted(self) -> dict[str, int]:
        """Return the buckets that have changed hands and the packets that had to wait for theirs."""
        if self.sharing.protocol == NONE:
            return {}
        return {"hand-overs": self.handed_over, "parked": self.parked_total}

    def drain(self) -> None:
        """After the last event: hand over every moved bucket, flush all that is parked, run to the end."""
        if self.sharing.protocol == NONE:
            return
        self.sharing = self.sharing._replace(as_published=False)
        for core in self.cores:
            core.hand_over()
        for bucket, parked in enumerate(self.parking):
            if parked:
                self.cores[self.owner[bucket]].wake(0)
        self.env.run()
