"""Fields of a scenario as columns of a table: their values as plain text, numbers with units, and labels.

A column says the unit of its numbers: `arrivals.rate_gbps`, `server.cost.per_batch_us`, `duration_s`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final, get_args

import numpy as np
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lbsim.scenario import AnyScenario, Rate, Work
from lbsim.scenario.errors import models_in, nearest, show
from lbsim.scenario.fields import Written
from lbsim.units import SECOND, US

Label = str | int | float

IN_SECONDS: Final = ("duration", "warmup")
"""Times of a whole run; every other time is told in microseconds."""


def names_below(path: str) -> set[str]:
    """Return the names of the fields below a path, of whatever kind is there; "" is the scenario itself."""
    return {name for model in _models(path) for name in model.model_fields}


def plain(path: str, value: object) -> Any:
    """Return a value as TOML holds it; a quantity as its shortest exact text, None as ""."""
    match value:
        case None:
            return ""
        case np.generic():
            return plain(path, value.item())
        case Rate() | Work():
            return str(value)
        case BaseModel():
            tree = value.model_dump(mode="json")
            return plain(path, {name: inner for name, inner in tree.items() if inner is not None})
        case Mapping():
            return {
                name: plain(f"{path}.{name}", inner) for name, inner in value.items() if inner is not None
            }
        case str() | int() | float() if not isinstance(value, bool):
            form = form_of(path)
            try:
                return form.write(form.parse(value) if isinstance(value, str) else value) if form else value
            except (ValueError, ArithmeticError):
                return value  # what is wrong with it is said when the scenario is checked
    return value


def label_at(scenario: AnyScenario, path: str) -> tuple[str, Label | None]:
    """Return (unit, value in it) of a field: "" for what has no unit, the kind of a table; None if absent."""
    value: Any = scenario
    for name in path.split("."):
        value = getattr(value, name, None)
    match value:
        case Rate(value=rate, unit=unit):
            return ("gbps", rate / 1e9) if unit == "bps" else ("mpps", rate / 1e6)
        case Work(amount=amount, unit=unit):
            return ("us", amount / US) if unit == "ps" else ("cycles", amount)
        case BaseModel():
            return "", str(getattr(value, "kind", path))
        case bool() | str() | None:
            return "", value
        case int() if form_of(path):
            return ("s", value / SECOND) if path in IN_SECONDS else ("us", value / US)
        case float() if form_of(path):
            return "ghz", value / 1e9
        case int() | float():
            return "", value
    return "", str(value)


def as_text(value: object) -> str:
    """Return a value the way a message names it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name} = {as_text(inner)}" for name, inner in value.items()) + "}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def none_of(name: object, known: Iterable[str]) -> str:
    """Return that a name is none of those known, and which one was probably meant."""
    names = list(known)
    close = nearest(name, names)
    hint = f"; did you mean {show(close)}?" if close else ""
    return f"{show(name)} is none of {', '.join(names)}{hint}"


@cache
def form_of(path: str) -> Written | None:
    """Return how a field writes its quantities; None where it holds plain numbers, text or a table."""
    return next((form for field in _fields(path) for form in _forms(field.annotation, field.metadata)), None)


def _forms(annotation: Any, metadata: Any) -> list[Written]:
    inside = [f for part in get_args(annotation) for f in _forms(part, getattr(part, "__metadata__", ()))]
    return [m for m in metadata if isinstance(m, Written)] + inside


UNITS: Final = {"gbps": "Gb/s", "mpps": "Mpps", "us": "µs", "s": "s", "cycles": "cycles", "ghz": "GHz"}
"""How people write the units of columns."""


def axis_text(field: str, column: str) -> str:
    """Return what an axis of a figure says: the field, and the unit of its column."""
    unit = column.removeprefix(field).removeprefix("_")
    return f"{field} ({UNITS[unit]})" if unit else field


@cache
def _fields(path: str) -> tuple[FieldInfo, ...]:
    """Return the field at a path, once for every kind that has it."""
    above, _, name = path.rpartition(".")
    return tuple(model.model_fields[name] for model in _models(above) if name in model.model_fields)


@cache
def _models(path: str) -> tuple[type[BaseModel], ...]:
    if not path:
        return get_args(AnyScenario)
    return tuple(model for field in _fields(path) for model in models_in(field.annotation).values())
