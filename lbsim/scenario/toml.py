"""Scenarios as text: read TOML, write it back exactly, override fields, describe them to editors."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from pydantic import BaseModel, ValidationError

from lbsim.scenario.errors import ScenarioError, problems_of, show
from lbsim.scenario.models import KINDS, Scenario

LARGEST_FILE = 1_000_000
"""Bytes of a scenario file; real ones have about a thousand."""

LONGEST_INTEGER = 2048
"""Bits of a number that messages can still talk about; Python refuses to print far longer ones."""

PACES = ("speed", "rate", "load")


def load_scenario(source: str | PathLike[str]) -> Scenario:
    """Return the scenario of a TOML file, or of TOML text (a string with a line break).

    Files that a scenario names are relative to the folder of its own file. Raises ScenarioError with every
    problem at once: an unreadable file, invalid TOML (with its line), unknown fields, wrong values.
    """
    if isinstance(source, str) and "\n" in source:
        return _validated(_parse(source, "scenario"), in_file=True)
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
    return _validated(tree, in_file=True, folder=path.parent)


def dump_toml(scenario: Scenario) -> str:
    """Return a scenario as TOML, every field written out; `load_scenario` gives an equal scenario back."""
    return tomli_w.dumps(_tree(scenario))


def canonical(scenario: Scenario) -> str:
    """Return a scenario as JSON in one fixed form, for content hashes; its name, a mere title, is not in."""
    tree = _tree(scenario)
    del tree["name"]
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def override(scenario: Scenario, changes: Mapping[str, object]) -> Scenario:
    """Return a copy with some fields changed, all checked again.

    `changes` maps dotted paths to values, as in {"nic.dispatch.kind": "sprayer", "server.cores": 4}. Text is
    read as a TOML value where it is one ("4", "true", "{...}"), else taken as it is; None and "" put a field
    back to its default. A new kind keeps the fields it shares with the old one and drops the others; a new
    rate, load or speed replaces the one there was. Raises ScenarioError.
    """
    tree = _tree(scenario)
    whole_tables_first_then_kinds = sorted(changes, key=lambda p: (p.count("."), not p.endswith(".kind")))
    for path in whole_tables_first_then_kinds:
        *parents, name = path.split(".")
        table = _table(tree, parents, path)
        value = _value(changes[path])
        if name == "kind" and isinstance(value, str) and value in KINDS:
            _keep_only(table, KINDS[value])
        if parents == ["arrivals"] and name in PACES and value is not None:
            for other in PACES:
                if f"arrivals.{other}" not in changes:
                    table.pop(other, None)
        if value is None:
            table.pop(name, None)
        else:
            table[name] = value
    return _validated(tree, in_file=all(isinstance(value, str) for value in changes.values()))


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of scenario files, for editors that complete and check while one types."""
    schema = Scenario.model_json_schema(mode="serialization")
    for part in schema["$defs"].values():
        if "kind" in part["properties"]:  # it has a default in Python, but a file must write it
            part["required"] = ["kind", *part.get("required", [])]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


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


def _validated(tree: dict[str, Any], in_file: bool, folder: Path | None = None) -> Scenario:
    try:
        return Scenario.model_validate(tree, context={"text": in_file, "folder": folder})
    except ValidationError as error:
        raise ScenarioError(problems_of(error, Scenario)) from None


def _tree(part: BaseModel) -> dict[str, Any]:
    """Return a model as nested dicts of what TOML can hold; absent fields are left out."""

    def present(tree: dict[str, Any]) -> dict[str, Any]:
        return {k: present(v) if isinstance(v, dict) else v for k, v in tree.items() if v is not None}

    return present(part.model_dump(mode="json"))


def _table(tree: dict[str, Any], parents: list[str], path: str) -> dict[str, Any]:
    """Return the table that holds a field, made where it was absent."""
    for depth, name in enumerate(parents):
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            held = ".".join(parents[: depth + 1])
            raise ScenarioError([f"{path}: unknown field; {held} is {show(tree)}, not a table"])
    return tree


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
