"""Scenarios as text: read TOML, write it back exactly, override fields, describe them to editors."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import tomli_w
from pydantic import BaseModel, ValidationError
from pydantic.json_schema import models_json_schema

from lbsim.scenario import connections, models, requests
from lbsim.scenario.connections import ConnectionScenario
from lbsim.scenario.errors import ScenarioError, nearest, none_of, problems_of, show
from lbsim.scenario.models import Scenario
from lbsim.scenario.requests import RequestScenario

AnyScenario = Scenario | ConnectionScenario | RequestScenario
"""A scenario of any grain."""

S = TypeVar("S", bound=AnyScenario)
M = TypeVar("M", bound=BaseModel)

GRAINS: Final[dict[str, type[AnyScenario]]] = {
    "packet": Scenario,
    "connection": ConnectionScenario,
    "request": RequestScenario,
}

KINDS: Final = models.KINDS | connections.KINDS | requests.KINDS

LARGEST_FILE = 1_000_000
"""Bytes of a scenario file; real ones have about a thousand."""

LONGEST_INTEGER = 2048
"""Bits of a number that messages can still talk about; Python refuses to print far longer ones."""

RIVALS: Final = {"arrivals": ("speed", "rate", "load"), "clients": ("concurrent", "per_second", "load")}
"""Fields of a table of which only one is written."""


def load_scenario(source: str | PathLike[str]) -> AnyScenario:
    """Return the scenario of a TOML file, or of TOML text (a string with a line break).

    `grain` says what it simulates: packets where it is left out. Files that a scenario names are relative to
    the folder of its own file. Raises ScenarioError with every problem at once: an unreadable file, invalid
    TOML (with its line), unknown fields, wrong values.
    """
    if isinstance(source, str) and "\n" in source:
        return _of_its_grain(_parse(source, "scenario"), None)
    path = Path(source)
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_FILE + 1)
        if len(raw) > LARGEST_FILE:
            raise ScenarioError(
                [f"{path}: more than 1 MB; a scenario file has about 1 kB: is this the right file?"]
            )
        tree = _parse(raw.decode("utf-8-sig"), str(path))
    except OSError as error:
        raise ScenarioError([f"{path}: cannot be read ({error.strerror}); check the path"]) from None
    except UnicodeDecodeError as error:
        raise ScenarioError([f"{path}: byte {error.start} is not UTF-8; save it as UTF-8 text"]) from None
    return _of_its_grain(tree, path.parent)


def dump_toml(scenario: AnyScenario) -> str:
    """Return a scenario as TOML, every field written out; `load_scenario` gives an equal scenario back."""
    return tomli_w.dumps(_tree(scenario))


def canonical(scenario: AnyScenario) -> str:
    """Return a scenario as JSON in one fixed form, for content hashes; its name, a mere title, is not in."""
    tree = _tree(scenario)
    del tree["name"]
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def override(scenario: S, changes: Mapping[str, object]) -> S:
    """Return a copy with some fields changed, all checked again.

    `changes` maps dotted paths to values, as in {"nic.dispatch.kind": "sprayer", "server.cores": 4}; a number
    picks one of an array, from 0 ("churn.changes.0.at"). Text is read as a TOML value where it is one ("4",
    "true", "{...}"), else taken as it is; None and "" put a field back to its default. A new kind keeps the
    fields it shares with the old one and drops the others; a new rate, load or speed replaces the one there
    was. The grain stays. Raises ScenarioError.
    """
    tree = _tree(scenario)
    whole_tables_first_then_kinds = sorted(changes, key=lambda p: (p.count("."), not p.endswith(".kind")))
    for path in whole_tables_first_then_kinds:
        *parents, name = path.split(".")
        table = _table(tree, parents, path)
        value = _value(changes[path])
        if name == "kind" and isinstance(value, str) and value in KINDS:
            _keep_only(table, KINDS[value])
        rivals = RIVALS.get(".".join(parents), ())
        if name in rivals and value is not None:
            for other in rivals:
                if ".".join([*parents, other]) not in changes:
                    table.pop(other, None)
        if value is None:
            table.pop(name, None)
        else:
            table[name] = value
    return _validated(type(scenario), tree, in_file=all(isinstance(value, str) for value in changes.values()))


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of scenario files, for editors that complete and check while one types."""
    grains = GRAINS.values()
    references, schema = models_json_schema([(model, "serialization") for model in grains])
    for part in schema["$defs"].values():
        if "kind" in part["properties"]:  # it has a default in Python, but a file must write it
            part["required"] = ["kind", *part.get("required", [])]
    packet, connection, request = (references[model, "serialization"] for model in grains)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Scenario",
        "type": "object",
        "properties": {name: {} for model in grains for name in model.model_fields}  # for completion
        | {"grain": {"enum": [*GRAINS], "default": "packet"}},
        **_where("connection", connection, _where("request", request, packet)),
        **schema,
    }


def _where(grain: str, scenario: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of scenarios of a grain, and of others."""
    is_it = {"properties": {"grain": {"const": grain}}, "required": ["grain"]}
    return {"if": is_it, "then": scenario, "else": other}


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        tree = tomllib.loads(text)
        if any(number.bit_length() > LONGEST_INTEGER for number in _integers(tree)):
            raise ValueError
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError([f"{name}: not TOML: {error}; mend that line"]) from None
    except (RecursionError, ValueError):
        raise ScenarioError([f"{name}: nested too deep, or a number too long"]) from None
    return tree


def _integers(value: object) -> Iterator[int]:
    """Yield every whole number in parsed TOML."""
    if isinstance(value, int):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _integers(inner)


def _of_its_grain(tree: dict[str, Any], folder: Path | None) -> AnyScenario:
    """Return the scenario in a file's tree; of an unknown grain, all else is checked as the nearest one."""
    grain = tree.get("grain", "packet")
    if isinstance(grain, str) and grain in GRAINS:
        return _validated(GRAINS[grain], tree, in_file=True, folder=folder)
    meant = nearest(grain, GRAINS) or "packet"
    problems = [f"grain: {none_of(grain, GRAINS)}"]
    try:
        _validated(GRAINS[meant], {**tree, "grain": meant}, in_file=True, folder=folder)
    except ScenarioError as error:
        problems += error.problems
    raise ScenarioError(problems)


def _validated(model: type[M], tree: dict[str, Any], in_file: bool, folder: Path | None = None) -> M:
    try:
        return model.model_validate(tree, context={"text": in_file, "folder": folder})
    except ValidationError as error:
        raise ScenarioError(problems_of(error, model)) from None


def _tree(part: BaseModel) -> dict[str, Any]:
    """Return a model as nested dicts of what TOML can hold; absent fields are left out."""

    def present(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: present(inner) for name, inner in value.items() if inner is not None}
        return [present(inner) for inner in value] if isinstance(value, list) else value

    tree: dict[str, Any] = present(part.model_dump(mode="json"))
    return tree


def _table(tree: dict[str, Any], parents: list[str], path: str) -> dict[str, Any]:
    """Return the table that holds a field, made where it was absent."""
    inside: Any = tree
    for depth, name in enumerate(parents):
        if isinstance(inside, list):
            if not (name.isdecimal() and int(name) < len(inside)):
                held = ".".join(parents[:depth])
                last = f"write {held}.0 to {held}.{len(inside) - 1}" if inside else f"{held} is empty"
                raise ScenarioError([f"{path}: there is no {held}.{name}; {last}"])
            inside = inside[int(name)]
        else:
            inside = inside.setdefault(name, {})
        if not isinstance(inside, dict | list):
            held = ".".join(parents[: depth + 1])
            raise ScenarioError([f"{path}: unknown field; {held} is {show(inside)}, not a table"])
    if isinstance(inside, list):
        held = ".".join(parents)
        raise ScenarioError([f"{path}: {held} is an array; write it whole, or a field of one of its tables"])
    table: dict[str, Any] = inside
    return table


def _keep_only(table: dict[str, Any], kind: type[BaseModel]) -> None:
    for name in set(table) - set(kind.model_fields):
        del table[name]


def _value(value: object) -> object:
    """Return what text means as TOML, a part as its table, a NumPy scalar as a Python number."""
    match value:
        case str():
            return _read(value)
        case BaseModel():
            return _tree(value)
        case Mapping():
            return {name: inner if isinstance(inner, str) else _value(inner) for name, inner in value.items()}
        case list() | tuple():
            return [inner if isinstance(inner, str) else _value(inner) for inner in value]
        case np.generic():
            return value.item()
    return value


def _read(text: str) -> object:
    """Return the TOML value that text is; other text as it is; None for none."""
    try:
        tree = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text if text.strip() else None
    return tree["value"] if tree.keys() == {"value"} else text
