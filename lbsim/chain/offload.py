"""What of a synthesised chain a NIC or a switch takes over, and what is left to the servers' software.

Metron (Katsikas et al., NSDI 2018): the part of a chain without state goes into the network. Hardware
classifies packets, drops those that a rule drops, forwards those that need nothing else, and tags the
others with their class, so that software need not classify them again. State, and whatever looks into
packets, stays in software. A device that does not fit takes nothing over, and says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.chain.entries import entries
from lbsim.chain.functions import VALIDITY, Table, Verdict
from lbsim.chain.space import FIELDS, SIZES, TTL, Header
from lbsim.chain.synthesis import Synthesis, TrafficClass, carry_out, run, written

ON_SERVER, DROPPED, FORWARDED = range(3)
LIVE: Final = SIZES[TTL] - 1  # what a device that cannot match the TTL takes every packet's to be


class Device(NamedTuple):
    """What a NIC or a switch can do."""

    name: str
    kind: Literal["none", "nic", "switch"] = "none"
    conformant: bool = True  # does what its specification says; nothing is entrusted to one that does not
    matches: frozenset[str] = frozenset()  # of `FIELDS`, and "validity": it checks lengths and checksums
    actions: frozenset[str] = (
        frozenset()
    )  # of drop, tag, forward, dec_ttl (which drops where the TTL runs out)
    rules: int = 0  # most entries, in all tables together
    tables: int = 1  # that a packet can pass in sequence


class Taken(NamedTuple):
    """What a device did with a packet."""

    fate: int  # ON_SERVER, DROPPED or FORWARDED
    tag: int | None  # class that it tells the server; None: the server classifies
    header: Header | None  # as it leaves the device; None where it is dropped


@dataclass(frozen=True)
class Offload:
    """A synthesised chain, divided between a device and software."""

    synthesis: Synthesis
    device: Device
    fates: NDArray[np.int8]  # of each class: ON_SERVER, DROPPED or FORWARDED
    tagged: bool  # packets come to servers with their class: software does not classify
    entries: int  # that the device needs; of what it would need, where it has no room
    reason: str  # why the device takes nothing over; "" where it does
    software: tuple[
        tuple[int, ...], ...
    ]  # for each class, the functions with something left to do in software
    lowest: int  # TTL from which on packets of equal other fields are treated alike

    def take(self, header: Header) -> Taken:
        """Return what the device does with a packet."""
        if self.reason:
            return Taken(ON_SERVER, None, header)
        known = header if "ttl" in self.device.matches else header._replace(ttl=LIVE)
        number = self.synthesis.classify(known)
        treatment, fate = self.synthesis.classes[number], int(self.fates[number])
        if fate == ON_SERVER:
            return Taken(fate, number if self.tagged else None, header)
        if fate == DROPPED or header.ttl <= self._spent(treatment):
            return Taken(DROPPED, None, None)
        return Taken(fate, None, written(header, treatment.writes, {}))

    def finish(self, taken: Taken, state: Sequence[Table]) -> Verdict:
        """Do in software what is left to do for a packet; tables change in place.

        Where the TTL may run out, software does not trust a tag, as the device may not know the TTL.
        """
        assert taken.header is not None, "a packet that is dropped goes nowhere"
        if taken.fate != ON_SERVER:
            return Verdict(None, taken.header)
        if taken.tag is None or taken.header.ttl < self.lowest:
            return run(self.synthesis, taken.header, state)
        return carry_out(self.synthesis, taken.tag, taken.header, state)

    def _spent(self, treatment: TrafficClass) -> int:
        """Return the highest TTL that runs out on the way of a class; -1 where none does."""
        hops = sum(write.value for write in treatment.writes if write.field == "ttl")
        checked = any(self.synthesis.functions[k].sees == VALIDITY for k in treatment.visits)
        return hops if hops or checked else -1


def plan(synthesis: Synthesis, device: Device) -> Offload:
    """Return what of a chain a device takes over: all that it is able to, or nothing.

    Of a chain whose classes end early (`TrafficClass.then`) the device sees the first segment only. Where it
    cannot match the TTL, expiry is left to its dec_ttl for packets that it forwards, and else to software.
    """
    diagrams, root, classes = synthesis.diagrams, synthesis.segments[0].root, synthesis.classes
    ttls = [
        diagrams.nodes[k].starts[-1]
        for k in diagrams.reached(root)
        if k >= 0 and diagrams.nodes[k].field == TTL
    ]
    lowest = int(max(ttls, default=0))
    tagged = "tag" in device.actions
    fates = np.array([_fate(synthesis, each, device) for each in classes], np.int8)

    def action(leaf: int) -> int:
        number = diagrams.value(leaf)
        assert isinstance(number, int)
        told = {ON_SERVER: number if tagged else None, DROPPED: None, FORWARDED: classes[number].writes}
        fate = int(fates[number])
        return diagrams.leaf(("action", fate, told[fate]))

    rules = diagrams.relabel(root, action)
    if "ttl" not in device.matches:
        rules = diagrams.assume(rules, TTL, (LIVE, LIVE + 1), diagrams.leaf(None))
    needed = {FIELDS[diagrams.nodes[k].field] for k in diagrams.reached(rules) if k >= 0}
    size = entries(diagrams, rules, device.tables)
    reason = _reason(device, needed - device.matches, size, tagged or bool(fates.any()))
    if reason:
        tagged, fates = False, np.zeros(len(classes), np.int8)
    software = (
        () if fate else _left(synthesis, each, device, tagged)
        for fate, each in zip(fates.tolist(), classes, strict=True)
    )
    return Offload(synthesis, device, fates, tagged, size, reason, tuple(software), lowest)


def _fate(synthesis: Synthesis, treatment: TrafficClass, device: Device) -> int:
    """Return the best that a device can do for the packets of a class."""
    if treatment.first or treatment.then is not None or treatment.accesses:
        return ON_SERVER
    if treatment.dropped_by is not None:
        return DROPPED if "drop" in device.actions and not treatment.acts else ON_SERVER
    actions = {"forward", *("dec_ttl" for write in treatment.writes if write.field == "ttl")}
    looks = {synthesis.functions[k].sees for k in treatment.visits} - {""}
    return FORWARDED if actions <= device.actions and looks <= device.matches else ON_SERVER


def _left(synthesis: Synthesis, treatment: TrafficClass, device: Device, tagged: bool) -> tuple[int, ...]:
    """Return the functions that software still has to do something for, on the packets of a class."""
    if not tagged or treatment.first:
        return treatment.visits
    checked = VALIDITY in device.matches
    left = (k for k in treatment.acts if not (checked and synthesis.functions[k].sees == VALIDITY))
    rest = () if treatment.then is None else range(treatment.then, len(synthesis.functions))
    return (*left, *rest)


def _reason(device: Device, missing: set[str], size: int, useful: bool) -> str:
    """Return why a device takes nothing over; "" if it can."""
    if device.kind == "none":
        return "there is no device to offload to"
    if not device.conformant:
        return f"{device.name} does not do what its specification says, so nothing is entrusted to it"
    if not useful:
        return f"{device.name} can neither drop nor forward any class of this chain, nor tag packets"
    if missing:
        names = ", ".join(name for name in FIELDS if name in missing)
        return f"{device.name} cannot match {names}, which the chain's classes differ in"
    if size > device.rules:
        return f"{device.name} has room for {device.rules} rules, and this chain needs {size}"
    return ""
