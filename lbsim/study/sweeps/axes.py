"""The axes of a sweep as people write them, in Python or TOML: which fields vary, and over which values.

[grid]
arrivals.load = [0.5, 0.8]                     # values
nic.dispatch.kind = ["rss", "rss++"]
server.cost = { light = { ... }, heavy = { ... } }  # values that are tables, with their labels

[[points]]                                     # or combinations, one by one
server.cores = 4
"nic.dispatch" = { kind = "rss++", tick = "10ms" }  # a name with its dots: the table as a whole
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
from pydantic import BaseModel

from lbsim.scenario import ScenarioError
from lbsim.scenario.errors import refuse, show
from lbsim.study.sweeps.labels import form_of, names_below, plain


def read_grid(grid: object, *, in_file: bool) -> dict[str, Any]:
    """Return the axes of a grid by dotted field: each a list of values, or label -> value.

    Tables nest by field, as TOML's dotted keys do; a name that has dots itself holds its values.
    Files write units (`in_file`). Raises ScenarioError with every problem.
    """
    if not isinstance(grid, Mapping):
        raise ScenarioError([f"grid: {show(grid)} is not a table; write [grid] with field = [values]"])
    read, problems = dict[str, Any](), list[str]()
    for path, values in _leaves(grid, _names_fields):
        try:
            read[path] = _axis(path, values)
        except ValueError as error:
            problems.append(f"grid.{path}: {error}")
        else:
            problems += [f"grid.{p}" for p in _bare_numbers(path, values)] if in_file else []
    refuse(*problems)
    return read


def read_points(points: object, *, in_file: bool) -> tuple[dict[str, Any], ...]:
    """Return a list of combinations, each dotted field -> value; a table as {label: table}.

    Raises ScenarioError with every problem.
    """
    if not isinstance(points, list | tuple) or not all(isinstance(point, Mapping) for point in points):
        raise ScenarioError(["points: not a list of tables; write [[points]] before each combination"])
    read, problems = list[dict[str, Any]](), list[str]()
    for k, point in enumerate(points, 1):
        read.append({})
        for path, value in _leaves(point, lambda path, table: not _is_label(path, table)):
            labelled = isinstance(value, Mapping) and _is_label(path, value)
            try:
                read[-1][path] = _axis(path, value if labelled else [value])
            except ValueError as error:
                problems.append(f"point {k}: {path}: {error}")
            if isinstance(read[-1].get(path), list):
                [read[-1][path]] = read[-1][path]
            problems += [f"point {k}: {p}" for p in _bare_numbers(path, value)] if in_file else []
    refuse(*problems)
    return tuple(read)


def _leaves(
    tree: Mapping[str, Any], is_group: Callable[[str, Mapping[str, Any]], bool], above: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield (dotted field, what is written for it); tables for which `is_group` holds are entered."""
    for name, inner in tree.items():
        path = f"{above}{name}"
        if isinstance(inner, Mapping) and "." not in name and is_group(path, inner):
            yield from _leaves(inner, is_group, f"{path}.")
        else:
            yield path, inner


def _names_fields(path: str, table: Mapping[str, Any]) -> bool:
    """Return whether the names in a table of the grid are fields below `path` rather than labels."""
    if any(isinstance(value, list | tuple) for value in table.values()):
        return True
    known = names_below(path)
    if "kind" in known and all(_kind(value) for value in table.values()):
        return False
    return any(name in known or get_close_matches(name, known, 1, 0.75) for name in table)


def _is_label(path: str, table: Mapping[str, Any]) -> bool:
    """Return whether a table of a point is label = value rather than fields below `path`."""
    if len(table) != 1:
        return False
    [(name, value)] = table.items()
    known = names_below(path)
    if not known:
        return True
    if "kind" in known and _kind(value):
        return True
    return name not in known and isinstance(value, Mapping | BaseModel)


def _axis(path: str, values: object) -> Any:
    """Return the values of an axis, plain: a list of them, or label -> value."""
    if isinstance(values, Mapping):
        pairs = [(str(label), plain(path, value)) for label, value in values.items()]
    elif isinstance(values, Sequence | np.ndarray) and not isinstance(values, str):
        if not any(isinstance(value, Mapping | BaseModel) for value in values):
            pairs, listed = [], [plain(path, value) for value in values]
            if listed:
                return listed
        pairs = [(_kind(value), plain(path, value)) for value in values]
    else:
        shown = show(plain(path, values))
        raise ValueError(f"{shown} is not a list of values; write [{shown}]")
    if not pairs:
        raise ValueError("no value; write e.g. [1, 2]")
    labels = [label for label, _ in pairs]
    if not all(labels) or len(set(labels)) < len(labels):
        raise ValueError(
            "tables need labels to tell them apart; write "
            f'{show(path)} = {{ "A" = {{ ... }}, "B" = {{ ... }} }}'
        )
    return dict(pairs)


def _kind(value: object) -> str:
    """Return the kind of a table, "" where it has none."""
    kind = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
    return kind if isinstance(kind, str) else ""


def _bare_numbers(path: str, value: object) -> list[str]:
    """Return a problem for each number in `value` that a file has to write with its unit."""
    if isinstance(value, list):
        return [problem for inner in value for problem in _bare_numbers(path, inner)]
    if isinstance(value, Mapping):
        below = {name: f"{path}.{name}" if name in names_below(path) else path for name in value}
        return [problem for name, inner in value.items() for problem in _bare_numbers(below[name], inner)]
    form = form_of(path)
    if form is None or not value or isinstance(value, bool) or not isinstance(value, int | float):
        return []
    return [f"{path}: {value} has no unit; write text such as {' or '.join(map(show, form.examples))}"]
