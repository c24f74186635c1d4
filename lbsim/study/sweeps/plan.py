"""What a sweep runs: scenarios that differ from a base in a few fields, each with the same replications.

A sweep is data like a scenario: frozen, expanded and checked as a whole before the first packet. Every point
has the seed of the base and the same replications, so points that are compared see the same traffic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from math import prod
from os import PathLike
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from lbsim.metrics.quantities import BY_NAME, quantities_of
from lbsim.scenario import AnyScenario, ScenarioError, load_scenario
from lbsim.scenario.errors import nearest, refuse, show
from lbsim.scenario.part import Part
from lbsim.study.plot import LOOKS
from lbsim.study.sweeps.axes import read_grid, read_points
from lbsim.study.sweeps.expansion import Configuration, Expansion, expand
from lbsim.study.sweeps.labels import none_of

MOST_POINTS: Final = 100_000  # each is a file; more is surely a slip
MOST_REPLICATIONS: Final = 10_000
RESERVED: Final = ("points", "quick", "con", "nul")  # folders of their own, and what no folder can be called
FIXED: Final = {
    "seed": "compared points share their traffic; write replications = N for independent runs",
    "replication": "write replications = N instead",
    "name": "it is a mere title and changes nothing",
    "measure.packets": "a sweep keeps no packet log",
    "measure.requests": "no table shows the rows of requests",
}
"""Fields that no axis may have, and what to write instead."""


class Until(Part):
    """When replications suffice: the mean of a quantity over them is known well enough.

    Each replication gives one value, also of a latency quantile; the interval is Student's t of their mean.
    """

    quantity: str = "latency_p99_us"
    """Name of a quantity, as in the table."""
    within: float = Field(default=0.02, gt=0, le=1)
    """Half of the interval as a share of the mean: 0.02 is ± 2 %."""
    level: float = Field(default=0.95, ge=0.5, le=0.999)
    """Level of the interval."""
    at_least: int = Field(default=5, ge=2, le=MOST_REPLICATIONS)
    """Replications of the first round."""
    at_most: int = Field(default=100, ge=2, le=MOST_REPLICATIONS)
    """Replications after which it ends, narrow enough or not."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        refuse(*_quantity("until.quantity", self.quantity))
        if self.at_most < self.at_least:
            refuse(f"until.at_most: {self.at_most} is below at_least {self.at_least}; raise at_most")
        return self


class Chart(Part):
    """The figure of a sweep: quantities over a field, a line for every value of another.

    Lines are means over replications with their t intervals, also of latency quantiles.
    """

    x: str = Field(min_length=1, max_length=80, examples=["arrivals.load"])
    """Field or column on the x axis; its values must be numbers."""
    y: tuple[str, ...] | str = "latency_p99_us"
    """Name of a quantity, or several: a panel each."""
    series: str = ""
    """Field or column of the lines; left out where only x varies."""
    log: bool = False
    """Whether the y axis is logarithmic."""

    @field_validator("y", mode="before")
    @classmethod
    def _several(cls, y: object) -> object:
        names = (y,) if isinstance(y, str) else tuple(y) if isinstance(y, list | tuple) else y
        if isinstance(names, tuple):
            refuse(*(problem for name in names for problem in _quantity("figure.y", name)))
        return names


class Sweep(Part):
    """Scenarios to compare: a grid, a list of points, or their product, each with the same replications.

    >>> import lbsim
    >>> base = lbsim.load_scenario("examples/rss.toml")
    >>> sweep = Sweep(name="load", base=base, grid={"arrivals.load": [0.5, 0.8]}, replications=3)
    >>> [configuration.labels for configuration in sweep.configurations]
    [{'arrivals.load': 0.5}, {'arrivals.load': 0.8}]

    `grid` maps dotted fields to their values; values that are tables (or parts) have labels, as in
    `{"nic.dispatch": {"RSS": Rss(), "RSS++": Rsspp()}}`, where their kind does not say enough. `points` lists
    combinations of fields. Raises ScenarioError with every problem, also of any point.
    """

    name: str
    """Folder of its results."""
    base: AnyScenario = Field(discriminator="grain")
    """What the points have in common."""
    grid: dict[str, Any] = Field(default_factory=dict)
    """Field -> its values: a list, or a table of label -> value."""
    points: tuple[dict[str, Any], ...] = ()
    """Combinations, each field -> value."""
    replications: int = Field(default=1, ge=1, le=MOST_REPLICATIONS)
    """Independent repetitions of every point."""
    warmup: Literal["given", "mser5"] = "given"
    """Whether the warm-up is that of the scenario, or found by a pilot run of every configuration."""
    until: Until | None = None
    """Adds replications until an interval is narrow enough."""
    figure: Chart | None = None
    """What to draw; nothing if left out."""

    @field_validator("name")
    @classmethod
    def _folder(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", name) or name.lower() in RESERVED:
            refuse(
                f'name: {show(name)} cannot be a folder; write letters, digits, "-", "_", e.g. "load-sweep"'
            )
        return name

    @field_validator("base", mode="before")
    @classmethod
    def _loaded(cls, base: object, info: ValidationInfo) -> object:
        if isinstance(base, Mapping):
            return {"grain": "packet", **base}
        if not isinstance(base, str | PathLike):
            return base
        folder = info.context["folder"] if info.context else None
        try:
            return load_scenario(Path(folder or "") / base)
        except ScenarioError as error:
            raise ScenarioError(f"base: {problem}" for problem in error.problems) from None

    @field_validator("grid", mode="before")
    @classmethod
    def _axes(cls, grid: object, info: ValidationInfo) -> dict[str, Any]:
        return read_grid(grid, in_file=bool(info.context and info.context["text"]))

    @field_validator("points", mode="before")
    @classmethod
    def _combinations(cls, points: object, info: ValidationInfo) -> tuple[dict[str, Any], ...]:
        return read_points(points, in_file=bool(info.context and info.context["text"]))

    @model_validator(mode="after")
    def _expands(self) -> Self:
        listed = _paths(self.points)
        problems = [f"{path}: cannot vary; {FIXED[path]}" for path in (*self.grid, *listed) if path in FIXED]
        twice = [path for path in listed if path in self.grid]
        problems += [f"grid.{path}: also in points; vary it in one of them" for path in twice]
        if self.warmup != "given" and "warmup" in {*self.grid, *listed}:
            problems.append('warmup: mser5 finds it, but the points also set it; write warmup = "given"')
        if self.until is not None and self.replications != 1:
            problems.append("replications: until also says how many; leave one of them out")
        count = self.count
        if count > MOST_POINTS:
            problems.append(f"grid: {count:,} points, at most {MOST_POINTS:,}; vary fewer fields or values")
        refuse(*problems)
        self.expansion  # noqa: B018  # refuses bad points now
        refuse(*self._of_another_grain())
        refuse(*self._undrawable())
        return self

    def replicated(self, replications: int) -> Sweep:
        """Return the sweep with that many replications, whatever it said; ScenarioError for too many."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return Sweep(**{**fields, "replications": replications, "until": None})

    @property
    def first_round(self) -> int:
        """Return the replications of every configuration that are wanted in any case."""
        return self.until.at_least if self.until else self.replications

    @property
    def count(self) -> int:
        """Return the number of points wanted in any case."""
        return max(1, len(self.points)) * prod(map(len, self.grid.values())) * self.first_round

    @cached_property
    def expansion(self) -> Expansion:
        """Every combination, and the column of each field."""
        return expand(self.base, self.points, self.grid)

    @property
    def configurations(self) -> tuple[Configuration, ...]:
        """Every combination in order, the first field varying slowest."""
        return self.expansion.configurations

    def column(self, name: str) -> str:
        """Return the column of a field, or a column itself; ValueError for what does not vary."""
        columns = self.expansion.columns
        if name in columns.values():
            return name
        if name not in columns:
            close = nearest(name, [*columns, *columns.values()])
            hint = f"; did you mean {show(close)}?" if close else ""
            raise ValueError(
                f"{show(name)} does not vary; choose from {', '.join(columns) or 'a [grid]'}{hint}"
            )
        return columns[name]

    def _of_another_grain(self) -> list[str]:
        """Return what asks for quantities that this grain does not have."""
        known = [quantity.name for quantity in quantities_of(self.base)]
        asked = {"until.quantity": [self.until.quantity] if self.until else []}
        asked["figure.y"] = list(self.figure.y) if self.figure else []
        return [
            f"{where}: {none_of(name, known)}"
            for where, names in asked.items()
            for name in names
            if name not in known
        ]

    def _undrawable(self) -> list[str]:
        """Return what keeps the figure from being drawn."""
        if self.figure is None:
            return []
        asked = {"x": self.figure.x, "series": self.figure.series}
        drawn, problems = {}, []
        for role in [role for role, name in asked.items() if name]:
            try:
                drawn[role] = self.column(asked[role])
            except ValueError as error:
                problems.append(f"figure.{role}: {error}")
        if problems:
            return problems
        labels = [configuration.labels for configuration in self.configurations]
        if not all(isinstance(row[drawn["x"]], int | float) for row in labels):
            return [f"figure.x: {asked['x']} has values that are no numbers; make it the series"]
        lines = len({row[drawn["series"]] for row in labels}) if "series" in drawn else 1
        if lines > len(LOOKS):
            return [
                f"figure.series: {lines} lines, at most {len(LOOKS)} can be told apart; leave the figure out"
            ]
        shown = [tuple(row[column] for column in drawn.values()) for row in labels]
        if len(set(shown)) == len(shown):
            return []
        hidden = next(
            name
            for name in labels[0]
            if name not in drawn.values() and len({row[name] for row in labels}) > 1
        )
        return [f"figure: {hidden} varies too; make it the series, or leave the figure out"]


def _paths(points: tuple[dict[str, Any], ...]) -> list[str]:
    return list(dict.fromkeys(path for point in points for path in point))


def _quantity(where: str, name: object) -> list[str]:
    return [] if name in BY_NAME else [f"{where}: {none_of(name, BY_NAME)}"]
