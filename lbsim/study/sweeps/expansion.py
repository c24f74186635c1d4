"""From the axes of a sweep to its configurations: every combination as a scenario, with its labels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, Final, NamedTuple

from lbsim.scenario import AnyScenario, ScenarioError, override
from lbsim.scenario.errors import refuse
from lbsim.study.sweeps.labels import Label, as_text, label_at

OF_A_KIND: Final = 3
"""Problems that differ in their numbers alone and are told one by one."""


class Configuration(NamedTuple):
    """One combination of a sweep: its labels by column, and its scenario at the first replication."""

    labels: dict[str, Label | None]  # None where its scenario has no such field
    scenario: AnyScenario


class _Choice(NamedTuple):
    """A field's value in one combination, and what people call it where it is a table."""

    value: Any
    label: str | None = None

    def __str__(self) -> str:
        return as_text(self.value if self.label is None else self.label)


class Expansion(NamedTuple):
    """All combinations of a sweep, and the column that tells of each field."""

    columns: dict[str, str]  # field -> column
    configurations: tuple[Configuration, ...]


def expand(base: AnyScenario, points: Sequence[Mapping[str, Any]], grid: Mapping[str, Any]) -> Expansion:
    """Return every point crossed with the grid, the first field varying slowest.

    Labels are read off the checked scenarios, so "0.5ms" and "500us" are the same. Raises ScenarioError with
    every problem of any combination, for columns of several units, and for two combinations labelled alike.
    """
    combinations = list(_combinations(points, grid))
    scenarios = _scenarios(base, combinations)
    columns: dict[str, str] = {}
    labels: list[dict[str, Label | None]] = [{} for _ in combinations]
    problems = []
    for path in dict.fromkeys([*(path for point in points for path in point), *grid]):
        try:
            columns[path], values = _column(path, combinations, scenarios)
        except ValueError as error:
            problems.append(str(error))
            continue
        for row, value in zip(labels, values, strict=True):
            row[columns[path]] = value
    refuse(*(problems or _alike(labels)))
    return Expansion(columns, tuple(map(Configuration, labels, scenarios)))


def _combinations(
    points: Sequence[Mapping[str, Any]], grid: Mapping[str, Any]
) -> Iterator[dict[str, _Choice]]:
    """Yield the choices of each combination by field."""
    values = [
        [_Choice(table, label) for label, table in axis.items()]
        if isinstance(axis, Mapping)
        else [_Choice(value) for value in axis]
        for axis in grid.values()
    ]
    for point in points or [{}]:
        listed = {
            path: _Choice(*reversed(*value.items())) if isinstance(value, Mapping) else _Choice(value)
            for path, value in point.items()
        }
        for crossed in product(*values):
            yield listed | dict(zip(grid, crossed, strict=True))


def _scenarios(base: AnyScenario, combinations: Sequence[Mapping[str, _Choice]]) -> list[AnyScenario]:
    """Return the scenario of each combination; raises ScenarioError with what is wrong with any of them."""
    scenarios, found = [], dict[str, list[str]]()
    for choices in combinations:
        try:
            scenarios.append(override(base, {path: choice.value for path, choice in choices.items()}))
        except ScenarioError as error:
            for problem in error.problems:
                found.setdefault(problem, []).append(
                    ", ".join(f"{path} = {choice}" for path, choice in choices.items())
                )
    refuse(*_told(found))
    return scenarios


def _told(found: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield a line a problem, with the first point that has it; few of those that differ in numbers alone."""
    kinds: dict[str, list[str]] = {}
    for problem in found:
        kinds.setdefault(re.sub(r"-?[\d.]+(e[+-]?\d+)?[a-zµ]*", "#", problem), []).append(problem)
    for problems in kinds.values():
        for problem in problems[:OF_A_KIND]:
            more = f", and {len(found[problem]) - 1} more" if found[problem][1:] else ""
            yield f"{problem} (in the point {found[problem][0]}{more})"
        if problems[OF_A_KIND:]:
            points = sum(len(found[problem]) for problem in problems[OF_A_KIND:])
            yield f"{problems[0].partition(':')[0]}: the like in {points} more points"


def _column(
    path: str, combinations: Sequence[Mapping[str, _Choice]], scenarios: Sequence[AnyScenario]
) -> tuple[str, list[Label | None]]:
    """Return the column of a field: its name with the unit, and the label of every combination."""
    labels = [choices[path].label if path in choices else None for choices in combinations]
    read = [label_at(scenario, path) for scenario in scenarios]
    if any(labels):
        return path, [
            label or (None if value is None else as_text(value))
            for label, (_, value) in zip(labels, read, strict=True)
        ]
    units = {unit for unit, value in read if value}  # 0 is 0 in any unit
    if len(units) > 1:
        raise ValueError(f"{path}: values in {' and in '.join(sorted(units))}; write all in one unit")
    unit = next(iter(units), "")
    return f"{path}_{unit}" if unit else path, [value for _, value in read]


def _alike(labels: Sequence[Mapping[str, Label | None]]) -> list[str]:
    """Return a problem where two combinations cannot be told apart."""
    seen = set[tuple[Label | None, ...]]()
    for row in labels:
        key = tuple(row.values())
        if key in seen:
            what = ", ".join(f"{name} = {as_text(value)}" for name, value in row.items())
            return [f"grid: two points are {what or 'the same'}; keep one, or give its values labels"]
        seen.add(key)
    return []
