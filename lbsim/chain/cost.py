"""What packets cost on a core: the framework that moves them, and the network functions on the way.

A cost is some cycles, which last as the core's clock says, and some time that no clock shortens: memory.
Frameworks are published fits of that form (`data/framework_costs.csv`); network functions are put together
from what they do (`data/function_costs.csv`), so that the same numbers tell what a chain costs function by
function, and what it costs when it is synthesised.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from lbsim.chain.hardware import Machine, rows
from lbsim.scenario import Cost, Firewall, Fixed, Router, Work, WorkPackage
from lbsim.scenario.errors import none_of
from lbsim.scenario.functions import AnyFunction
from lbsim.units import NS, SECOND


class Fit(NamedTuple):
    """Cost of a packet on a saturated core: cycles / GHz + nanoseconds."""

    cycles: float
    nanoseconds: float
    basis: str  # fitted (over clocks), calibrated (on one point), derived (from others)
    source: str


def configurations() -> tuple[str, ...]:
    """Return the frameworks whose cost is known."""
    return tuple(_fits())


def fit(configuration: str) -> Fit:
    """Return what a packet costs in a framework, polls included; ValueError for an unknown one."""
    if configuration not in _fits():
        raise ValueError(f"configuration {none_of(configuration, configurations())}")
    return _fits()[configuration]


def framework(configuration: str) -> Cost:
    """Return what a packet costs in a framework as the cost of a scenario's server, which needs a clock."""
    known = fit(configuration)
    return Cost(per_packet=Work(known.cycles, "cycles"), work=Fixed(time=Work(round(known.nanoseconds * NS))))


def nanoseconds(configuration: str, hertz: float) -> float:
    """Return the nanoseconds of a packet on a core of `hertz`."""
    known = fit(configuration)
    return known.cycles / hertz * 1e9 + known.nanoseconds


@cache
def _fits() -> dict[str, Fit]:
    return {
        row["configuration"]: Fit(
            float(row["cycles"]), float(row["nanoseconds"]), row["basis"], row["source"]
        )
        for row in rows("framework_costs")
    }


@dataclass(frozen=True)
class Bill:
    """What is done with a packet."""

    cycles: float = 0.0
    memory: float = 0.0  # ps of waiting for memory, whatever the clock
    per_byte: float = 0.0  # cycles for every byte of its frame

    def __add__(self, other: Bill) -> Bill:
        return Bill(self.cycles + other.cycles, self.memory + other.memory, self.per_byte + other.per_byte)

    def ps(self, clock: float) -> int:
        """Return the ps that it takes on a core of `clock` hertz, apart from bytes."""
        return round(self.cycles * SECOND / clock + self.memory)

    def byte_ps(self, clock: float) -> int:
        """Return the ps of every byte."""
        return round(self.per_byte * SECOND / clock)


def one_by_one(
    visited: Sequence[AnyFunction], acting: Sequence[AnyFunction], machine: Machine | None = None
) -> Bill:
    """Return what functions cost on one core, each of which reads, matches, looks up and writes by itself.

    A visited function that does not act on the packet only finds that out. Without a machine memory costs
    nothing; ValueError for a WorkPackage that goes there.
    """
    bill = _own(acting, machine)
    for each in visited:
        bill += Bill(_price(each.kind, "read")) + _match(each, machine, merged=False)
    for each in acting:
        bill += Bill(_price(each.kind, "write"))
    return bill


def synthesised(
    visited: Sequence[AnyFunction],
    acting: Sequence[AnyFunction],
    machine: Machine | None = None,
    *,
    tagged: bool = False,
) -> Bill:
    """Return what functions cost that are merged into one: one read, one tree, one write.

    Those acting do their own work besides: each accesses its state. A packet that comes tagged with its
    class has been classified by hardware. Memory as in `one_by_one`.
    """
    reading, bill = acting if tagged else visited, _own(acting, machine)
    bill += Bill(max((_price(each.kind, "read") for each in reading), default=0.0))
    bill += Bill(max((_price(each.kind, "write") for each in acting), default=0.0))
    for each in () if tagged else visited:
        bill += _match(each, machine, merged=True)
    return bill


def _match(function: AnyFunction, machine: Machine | None, *, merged: bool) -> Bill:
    """Return what it costs to find the rule of a function that matches.

    A firewall by itself tries its rules in turn, half of them in the mean. All others, and merged functions
    where that is cheaper, go down a decision tree, and to its leaf in memory.
    """
    rules = _rules(function)
    in_turn = Bill(_price(function.kind, "rule") * (rules + 1) / 2 if rules else 0.0)
    place = machine.access_ps(rules * _price(function.kind, "rule_mb")) if machine else 0.0
    tree = Bill(_price(function.kind, "level") * math.log2(rules + 1), place)
    if isinstance(function, Firewall):
        return min(in_turn, tree, key=lambda bill: bill.cycles) if merged else in_turn
    return tree


def _rules(function: AnyFunction) -> int:
    """Return how many rules a function tells packets apart by."""
    match function:
        case Firewall(rules=rules) | Router(routes=rules):
            return rules if isinstance(rules, int) else len(rules)
    return 0


def _own(acting: Sequence[AnyFunction], machine: Machine | None) -> Bill:
    """Return what functions do with a packet that no other does for them."""
    bill, found = Bill(), False
    for function in acting:
        kind = function.kind
        state = _price(kind, "found") if found else 0.0
        bill += Bill(state or _price(kind, "state"), 0.0, _price(kind, "byte"))
        bill += Bill(_price(kind, "work"))
        found = found or _price(kind, "state") > 0
        if isinstance(function, WorkPackage):
            cycles = function.draws * _price(kind, "draw") + function.accesses * _price(kind, "access")
            bill += Bill(cycles, _memory(function, machine))
    return bill


def _memory(function: WorkPackage, machine: Machine | None) -> float:
    """Return the ps that synthetic work waits for memory."""
    if not goes_to_memory(function):
        return 0.0
    if machine is None:
        raise ValueError("a work_package that accesses memory costs what a machine's memory does: name one")
    own = (1 - function.payload) * machine.access_ps(function.size_mb)
    packet = function.payload * machine.access_ps(_price(function.kind, "payload_mb"))
    return function.accesses * (own + packet)


def goes_to_memory(function: AnyFunction) -> bool:
    """Return whether a function does synthetic work in memory, whose time depends on the machine."""
    return isinstance(function, WorkPackage) and bool(
        function.accesses and (function.size_mb or function.payload)
    )


def _price(kind: str, quantity: str) -> float:
    """Return the cycles, or MB, of one thing that functions of a kind do; 0 where they do not."""
    prices = _prices()
    return prices.get((kind, quantity), prices.get(("any", quantity), 0.0))


@cache
def _prices() -> dict[tuple[str, str], float]:
    return {(row["function"], row["quantity"]): float(row["value"]) for row in rows("function_costs")}
