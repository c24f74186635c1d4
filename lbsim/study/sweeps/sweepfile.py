"""Sweeps as TOML: a study file that people write, and the one that stands beside the results."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Final

import tomli_w
from pydantic import ValidationError

from lbsim.scenario import ScenarioError, dump_toml
from lbsim.scenario.errors import problems_of
from lbsim.study.sweeps.axes import read_grid, read_points
from lbsim.study.sweeps.labels import names_below
from lbsim.study.sweeps.plan import Sweep

LARGEST_FILE: Final = 10_000_000  # bytes; a list of 100,000 points is about that
NAME: Final = 'write e.g. name = "load-sweep", the folder of its results'
EXAMPLE: Final = 'base = "scenario.toml" (relative to this file), or the scenario itself as [base]'
ONLY_HERE: Final = ("base", "grid", "points", "replications", "until", "figure")
"""Fields that a scenario has not."""

FILES: Final = ("traffic.file", "server.cost.work.table")
"""Fields that name files, relative to the file they are written in."""


def load_sweep(source: str | PathLike[str]) -> Sweep:
    """Return the sweep of a TOML study file, or of TOML text (a string with a line break).

    Files that it names are relative to its own folder. Raises ScenarioError with every problem at once: of
    the file, of the base scenario, and of every point, each expanded and checked.
    """
    if isinstance(source, str) and "\n" in source:
        return _validated(_parsed(source, "study"), None)
    path = Path(source)
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ScenarioError(
                [f"{path}: more than 10 MB; a study file has about 1 kB: is it the right file?"]
            )
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ScenarioError([f"{path}: cannot be read ({error.strerror}); check the path"]) from None
    except UnicodeDecodeError as error:
        raise ScenarioError([f"{path}: byte {error.start} is not UTF-8; save it as UTF-8 text"]) from None
    return _validated(_parsed(text, str(path)), path.parent)


def is_sweep(path: str | PathLike[str]) -> bool:
    """Say whether a TOML file is a study file rather than a scenario, right or wrong as it may be."""
    try:
        return not tomllib.loads(Path(path).read_text("utf-8-sig")).keys().isdisjoint(ONLY_HERE)
    except (OSError, ValueError, RecursionError):
        return False


def dump_sweep(sweep: Sweep) -> str:
    """Return a sweep as TOML, its base written out in full; `load_sweep` gives an equal sweep back.

    Files keep the paths they have.
    """
    head = sweep.model_dump(mode="json", include={"name", "replications", "warmup"})
    parts = sweep.model_dump(mode="json", include={"until", "figure"}, exclude_none=True)
    lines = ["", "[grid]", *_axes(sweep.grid)]
    for point in sweep.points:
        lines += ["", "[[points]]", *_axes(point)]
    base = {"base": tomllib.loads(dump_toml(sweep.base))}
    return "\n".join([tomli_w.dumps(head).rstrip(), *lines, "", tomli_w.dumps(parts | base)])


def _axes(values: Mapping[str, Any]) -> list[str]:
    """Return a line a field: tables within the line, so that fields keep their order."""
    return [f"{json.dumps(path)} = {_inline(value)}" for path, value in values.items()]


def _inline(value: Any) -> str:
    """Return a value as TOML within a line."""
    if isinstance(value, Mapping):
        return (
            "{" + ", ".join(f"{_inline(str(name))} = {_inline(inner)}" for name, inner in value.items()) + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _parsed(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError([f"{name}: not TOML: {error}; mend that line"]) from None
    except (RecursionError, ValueError):
        raise ScenarioError([f"{name}: nested too deep, or a number too long"]) from None


def _validated(tree: dict[str, Any], folder: Path | None) -> Sweep:
    if folder is not None:
        tree = {**tree, **_located(tree, folder)}
    try:
        return Sweep.model_validate(tree, context={"text": True, "folder": folder})
    except ValidationError as error:
        missing = {
            "base: missing": f"base: missing; write {EXAMPLE}",
            "name: missing": f"name: missing; {NAME}",
        }
        raise ScenarioError(
            missing.get(problem.partition(";")[0], problem) for problem in problems_of(error, Sweep)
        ) from None


def _located(tree: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the axes of a file with the files they name found from its folder."""
    located: dict[str, Any] = {}
    try:
        grid, points = (
            read_grid(tree.get("grid", {}), in_file=True),
            read_points(tree.get("points", []), in_file=True),
        )
    except ScenarioError:
        return {}  # told with everything else that is wrong
    located["grid"] = {path: _found(path, values, folder) for path, values in grid.items()}
    located["points"] = [
        {path: _found(path, value, folder) for path, value in point.items()} for point in points
    ]
    return located


def _found(path: str, value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [_found(path, inner, folder) for inner in value]
    if isinstance(value, Mapping):
        below = {name: f"{path}.{name}" if name in names_below(path) else path for name in value}
        return {name: _found(below[name], inner, folder) for name, inner in value.items()}
    names_file = path in FILES and isinstance(value, str) and (path == FILES[0] or value.endswith(".csv"))
    return str(folder / value) if names_file else value
