"""Points that are no scenarios: a pure function of a few parameters, stored like any other point."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lbsim.scenario import AnyScenario

Numbers = Mapping[str, Any]
"""What a cell yields: a row of its table; text, numbers and truth values by column."""


@dataclass(frozen=True)
class Cell:
    """One call to make.

    It is named by what the function does (see `lbsim.balancer.meaning`) and by the parameters, so a changed
    function or parameter is computed anew. `size` says how much work it is, for the time left.
    """

    compute: Callable[[Any], Numbers]
    point: Any
    size: float = 1.0


def size_of(unit: AnyScenario | Cell) -> float:
    """Return about how much work a point is: units of work of a scenario, the size of a cell."""
    return unit.size if isinstance(unit, Cell) else unit.expected_units() or 1.0


def compute_cell(cell: Cell, progress: Callable[[float, int], None] | None = None) -> Numbers:
    """Make the call of a cell; what `lbsim.engine.run.run` is for scenarios. It tells no progress."""
    return cell.compute(cell.point)
