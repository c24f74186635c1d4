"""Synthesis: a chain as traffic classes, each with all that is done to its packets, in one go.

SNF (Katsikas et al., PeerJ Computer Science 2016; Metron builds on it, NSDI 2018): classes are disjoint and
cover header space; a packet is classified once, dropped at once if some function is going to drop it, has
each field written at most once, and the state of each stateful function accessed once.

Every function is asked for its decision on packets as they reach it, in terms of the header as it arrives:
a field that was written a constant is known, one that a table writes is somewhere in that table's values.
Where a function would decide differently on two of those values, only the packet itself can tell: its class
ends there (`TrafficClass.then`), and the packet is classified anew, by the synthesis of the functions from
there on. State is accessed also for packets that a later function drops, as one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from lbsim.chain.diagram import Diagrams
from lbsim.chain.functions import (
    KEY,
    PAYLOAD,
    WORK,
    Decision,
    NetworkFunction,
    Table,
    Verdict,
    resolve,
    tables,
)
from lbsim.chain.space import FIELDS, FRESH, TTL, Header, Region, columns, header_of, point
from lbsim.scenario.functions import AnyFunction
from lbsim.workload.packets import FlowTable

Int32s = NDArray[np.int32]


class Write(NamedTuple):
    """What is written to one field of the header."""

    field: str
    value: int = 0  # the constant; for ttl, what is taken off it
    function: int | None = None  # whose table says the value instead


class Access(NamedTuple):
    """A function's state is accessed for a packet."""

    function: int
    sees: tuple[Write, ...]  # writes to the flow's key that the function sees, done in the packet or not


class TrafficClass(NamedTuple):
    """Headers that are treated alike, and how. Functions are named by their place in the chain."""

    first: int  # function that its segment begins with; 0 but for packets classified anew
    last: int  # the function after the last one that its packets pass
    dropped_by: int | None  # function that drops its packets; None: none, or only for want of room in a table
    then: int | None  # function at which its packets are classified anew
    writes: tuple[Write, ...]  # at most one of each field
    accesses: tuple[Access, ...]  # in order
    acts: tuple[int, ...]  # functions that do more than match: write, access state, or look into the packet

    @property
    def visits(self) -> tuple[int, ...]:
        """Return the functions that its packets pass, up to the one that drops them."""
        return tuple(range(self.first, self.last))

    @property
    def stateful(self) -> tuple[int, ...]:
        """Return the functions whose state is accessed for its packets, each once."""
        return tuple(access.function for access in self.accesses)

    @property
    def port(self) -> int:
        """Return the output port; 0 where no function chose one."""
        return next((write.value for write in self.writes if write.field == "port"), 0)


class Segment(NamedTuple):
    """The classes of packets that are classified at one function of the chain."""

    first: int  # that function
    root: int  # diagram whose leaves are numbers of classes


@dataclass(frozen=True)
class Synthesis:
    """A chain as traffic classes."""

    functions: tuple[NetworkFunction, ...]
    classes: tuple[TrafficClass, ...]
    segments: tuple[Segment, ...]  # the first for packets that arrive; nearly always the only one
    diagrams: Diagrams

    def of(self, flows: FlowTable, ttl: int = FRESH) -> Int32s:
        """Return int32[flows], the class of each flow's packets as they arrive."""
        found = self.diagrams.find_all(self.segments[0].root, columns(flows, ttl))
        return self._numbers()[~found]

    def classify(self, header: Header, first: int = 0) -> int:
        """Return the class of a packet that has reached function `first`, where a segment begins."""
        root = next(segment.root for segment in self.segments if segment.first == first)
        return cast(int, self.diagrams.value(self.diagrams.find(root, point(header))))

    def regions(self, number: int) -> tuple[Region, ...]:
        """Return the disjoint regions of a class."""
        root = next(s.root for s in self.segments if s.first == self.classes[number].first)
        leaf = self.diagrams.leaf(number)
        return tuple(region for region, found in self.diagrams.regions(root) if found == leaf)

    def passes(self, flows: FlowTable) -> Int32s:
        """Return int32[flows, k], the classes that each flow's packets go through; -1 for no more.

        The first column is `of(flows)`. Where no class ends before the chain does, it is the only one; else
        flows are taken to begin in order of rows, as tables hand out values in that order.
        """
        first = self.of(flows)
        if all(each.then is None for each in self.classes):
            return first[:, None]
        state, rows = tables(self.functions), []
        for row, number in enumerate(first.tolist()):
            passed: list[int] = []
            carry_out(self, number, header_of(flows, row), state, passed)
            rows.append(passed)
        most = max(map(len, rows), default=1)
        padded = [row + [-1] * (most - len(row)) for row in rows]
        return np.array(padded, np.int32).reshape(len(rows), most)

    def _numbers(self) -> Int32s:
        """Return the class that each leaf of the diagrams stands for; -1 for other leaves."""
        return np.array([v if isinstance(v, int) else -1 for v in self.diagrams.values], np.int32)


def synthesise(parts: Sequence[AnyFunction]) -> Synthesis:
    """Return the traffic classes of a chain of functions. Raises ValueError as `resolve` does."""
    functions = tuple(map(resolve, parts))
    diagrams = Diagrams()
    decisions = [diagrams.first_match(function.rules) for function in functions]
    starts, segments, classes = [0], list[Segment](), list[TrafficClass]()
    for first in starts:  # grows as classes end early
        root = _traced(functions, decisions, first, diagrams)
        numbers: dict[int, int] = {}
        for leaf in (k for k in diagrams.reached(root) if k < 0):
            treatment = cast(TrafficClass, diagrams.value(leaf))
            numbers[leaf] = diagrams.leaf(len(classes))
            classes.append(treatment)
            if treatment.then is not None and treatment.then not in starts:
                starts.append(treatment.then)
        segments.append(Segment(first, diagrams.relabel(root, numbers.__getitem__)))
    return Synthesis(functions, tuple(classes), tuple(segments), diagrams)


def run(synthesis: Synthesis, header: Header, state: Sequence[Table]) -> Verdict:
    """Send one packet through a synthesised chain; the tables of its functions change in place."""
    return carry_out(synthesis, synthesis.classify(header), header, state)


def carry_out(
    synthesis: Synthesis,
    number: int,
    header: Header,
    state: Sequence[Table],
    passed: list[int] | None = None,
) -> Verdict:
    """Do to a packet what is done to those of its class; to `passed` are added all classes that it has."""
    treatment, looked = synthesis.classes[number], dict[int, int]()
    if passed is not None:
        passed.append(number)
    for k, sees in treatment.accesses:
        look = synthesis.functions[k].look
        assert look is not None, "only stateful functions are accessed"
        value = look(written(header, sees, looked), state[k])
        if value is None:
            return Verdict(k, None)
        looked[k] = value
    if treatment.dropped_by is not None:
        return Verdict(treatment.dropped_by, None)
    header = written(header, treatment.writes, looked)
    if treatment.then is None:
        return Verdict(None, header)
    return carry_out(synthesis, synthesis.classify(header, treatment.then), header, state, passed)


def written(header: Header, writes: Sequence[Write], looked: dict[int, int]) -> Header:
    """Return a header with writes done, given the values that tables of functions said."""
    values = {field: value if k is None else looked[k] for field, value, k in writes}
    if "ttl" in values:
        values["ttl"] = header.ttl - values["ttl"]
    return header._replace(**values)


_UNSURE: Final = "the value that a table writes decides"


def _traced(
    functions: Sequence[NetworkFunction], decisions: Sequence[int], first: int, diagrams: Diagrams
) -> int:
    """Return the diagram of how packets are treated that begin at function `first`."""
    root = diagrams.leaf(TrafficClass(first, first, None, None, (), (), ()))
    for k in range(first, len(functions)):
        before = root
        for leaf in sorted(diagrams.leaves(before)):
            treatment = cast(TrafficClass, diagrams.value(leaf))
            if treatment.dropped_by is None and treatment.then is None:
                seen = _as_seen(functions, decisions[k], treatment.writes, diagrams)
                treat = partial(_next, functions, k, treatment, diagrams)
                root = diagrams.graft(root, leaf, diagrams.relabel(seen, treat))
    return root


def _as_seen(
    functions: Sequence[NetworkFunction], decisions: int, writes: Sequence[Write], diagrams: Diagrams
) -> int:
    """Return a function's decisions on packets with writes done, by the header as it was before them."""
    unsure = diagrams.leaf(_UNSURE)
    for name, value, k in writes:
        if name == "ttl":
            decisions = diagrams.shifted(decisions, TTL, value)
        elif name in FIELDS:
            values = (value, value + 1) if k is None else functions[k].values
            decisions = diagrams.assume(decisions, FIELDS.index(name), values, unsure)
    return decisions


def _next(
    functions: Sequence[NetworkFunction], k: int, before: TrafficClass, diagrams: Diagrams, leaf: int
) -> int:
    """Return, as a leaf, the treatment of packets once function k has decided on them."""
    decided = diagrams.value(leaf)
    if decided == _UNSURE:
        return diagrams.leaf(before._replace(then=k))
    drops, constants, hops, looks = cast(Decision, decided)
    function = functions[k]
    acts = (*before.acts, k) if constants or hops or looks or function.sees else before.acts
    after = before._replace(last=k + 1, acts=acts)
    if drops:
        needed = tuple(j for j in acts if j in before.stateful or functions[j].sees in (PAYLOAD, WORK))
        return diagrams.leaf(after._replace(dropped_by=k, writes=(), acts=needed))
    writes = {write.field: write for write in before.writes}
    writes |= {name: Write(name, value) for name, value in constants}
    if hops:
        writes["ttl"] = Write("ttl", hops + (writes["ttl"].value if "ttl" in writes else 0))
    if looks and function.field:
        writes[function.field] = Write(function.field, 0, k)
    known = tuple(write for write in before.writes if write.field in KEY)
    accesses = (*before.accesses, Access(k, known)) if looks else before.accesses
    ordered = tuple(writes[name] for name in Header._fields if name in writes)
    return diagrams.leaf(after._replace(writes=ordered, accesses=accesses))
