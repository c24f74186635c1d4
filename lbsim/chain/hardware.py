"""Machines and network devices as data: clocks, memory, what NICs and hosts move, what devices can match.

A machine is put together from parts (`data/hardware.csv`), a later one overriding what an earlier one says;
limits add up: the tightest counts. Every number carries its basis (published, calibrated on what its source
says, or assumed) and its source.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from lbsim.chain.offload import Device
from lbsim.scenario import Rate
from lbsim.scenario.errors import none_of, refuse
from lbsim.units import SECOND, parse_clock, parse_time, wire_bits


class Basis(NamedTuple):
    """What a number rests on."""

    kind: str  # published, calibrated or assumed
    source: str


@dataclass(frozen=True)
class Machine:
    """A server with its NIC. Times are ps; 0, None or empty where nothing is known."""

    name: str
    note: str  # where it stood, and what of it is assumed as a whole
    nic: str  # its NIC as a `device`
    clock: float  # Hz
    cores: int
    ring: int | None  # descriptors of a receive queue
    queue_per_packet: int  # that one receive queue takes to hand a packet to its core
    queue_per_byte: int  # and for every byte of its frame
    path_delay: int  # of a packet outside the server: generator, wire, NIC
    sender_queue: int  # frames that wait for the wire at a sender that fills it
    line: Rate  # of the wire
    limits: Mapping[str, Rate]  # by part: the most that NIC and host move
    memory: tuple[tuple[float, int], ...]  # (MB, time of an access to a place of so many), rising
    basis: Mapping[str, Basis]  # by quantity; limits by "limit of <part>", memory by "memory <MB>MB"

    def limit(self, frame: float) -> Rate:
        """Return the tightest limit for frames of so many bytes (mean, without FCS)."""
        return min((self.line, *self.limits.values()), key=lambda rate: rate.pps(frame))

    def queue_time(self, frame: float) -> int:
        """Return the ps that one receive queue takes for a frame of so many bytes; 0 where it is not known.

        A queue serves its packets in a row, so that for packets of many sizes the mean frame counts.
        """
        return self.queue_per_packet + round(self.queue_per_byte * frame)

    def path(self, frame: float) -> int:
        """Return the ps that a packet is outside the server when its sender fills the wire.

        Path delay, and the sender's queue of frames of so many bytes (mean, without FCS) at the line's rate.
        """
        return self.path_delay + round(self.sender_queue * wire_bits(frame) / self.line.value * SECOND)

    def access_ps(self, size_mb: float) -> float:
        """Return the ps of an access to a random place in so many MB, beyond that of one in the first cache.

        Linear between the measured sizes, from nothing at 0 MB; beyond the last, that of the last.
        """
        sizes, times = zip((0.0, 0), *self.memory, strict=True)
        return float(np.interp(size_mb, sizes, times))


def machines() -> tuple[str, ...]:
    """Return the names of all machines."""
    return tuple(_machines())


def machine(name: str) -> Machine:
    """Return a machine; ValueError for an unknown name."""
    if name not in _machines():
        raise ValueError(f"machine {none_of(name, machines())}")
    return _machines()[name]


def hardware_named(field: str, name: str) -> Machine:
    """Return the machine that a field of a scenario names; ScenarioError for an unknown name."""
    if name not in machines():
        refuse(f"{field}: {none_of(name, machines())}")
    return machine(name)


def devices() -> tuple[str, ...]:
    """Return the names of all NICs and switches."""
    return tuple(_devices())


def device(name: str) -> Device:
    """Return what a NIC or a switch can take over; ValueError for an unknown name."""
    if name not in _devices():
        raise ValueError(f"device {none_of(name, devices())}")
    return _devices()[name]


def rows(name: str) -> list[dict[str, str]]:
    """Return the rows of a CSV file of this package, without its comments."""
    text = (files("lbsim.chain") / "data" / f"{name}.csv").read_text("utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


@cache
def _devices() -> dict[str, Device]:
    return {
        row["device"]: Device(
            row["device"],
            "nic" if row["kind"] == "nic" else "switch",
            row["conformant"] == "yes",
            frozenset(row["matches"].split()),
            frozenset(row["actions"].split()),
            int(row["rules"]),
            int(row["tables"]),
        )
        for row in rows("devices")
    }


@cache
def _machines() -> dict[str, Machine]:
    return {row["machine"]: _built(row) for row in rows("machines")}


def _built(row: dict[str, str]) -> Machine:
    """Return the machine of a row of `data/machines.csv`, put together from its parts."""
    facts: dict[str, str] = {}
    basis: dict[str, Basis] = {}
    limits: dict[str, Rate] = {}
    memory: dict[float, int] = {}
    for part in row["parts"].split():
        for fact in (fact for fact in rows("hardware") if fact["part"] == part):
            quantity, value = fact["quantity"], fact["value"]
            if quantity == "limit":
                quantity = f"limit of {part}"
                limits[part] = Rate.parse(value)
            elif quantity == "memory":
                size, time = value.split()
                quantity = f"memory {size}"
                memory[float(size.removesuffix("MB"))] = parse_time(time)
            else:
                facts[quantity] = value
            basis[quantity] = Basis(fact["basis"], fact["source"])
    return Machine(
        name=row["machine"],
        note=row["note"],
        nic=row["nic"],
        clock=parse_clock(facts["clock"]),
        cores=int(facts["cores"]),
        ring=int(facts["ring"]) if "ring" in facts else None,
        queue_per_packet=parse_time(facts.get("queue_per_packet", "0ps")),
        queue_per_byte=parse_time(facts.get("queue_per_byte", "0ps")),
        path_delay=parse_time(facts.get("path_delay", "0ps")),
        sender_queue=int(facts.get("sender_queue", 0)),
        line=Rate.parse(facts["line"]),
        limits=MappingProxyType(limits),
        memory=tuple(sorted(memory.items())),
        basis=MappingProxyType(basis),
    )
