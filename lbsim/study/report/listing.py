"""A scenario as a listing that shows at a glance what its author set and what the points vary."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from pydantic import BaseModel

from lbsim.scenario import ScenarioError, load_scenario

MOST_VALUES = 12  # spelled out of what varies


def variation(varies: Mapping[str, Sequence[Any]]) -> str:
    """Return what the points change of the base, field by field, as HTML."""
    rows = "".join(
        f"<dt><code>{escape(field)}</code></dt><dd>{escape(_values(values))}</dd>"
        for field, values in varies.items()
    )
    return f'<dl class="facts">{rows}</dl>' if rows else ""


def listing(toml: str, varies: Mapping[str, Sequence[Any]]) -> str:
    """Return TOML as HTML: defaults in grey, what varies marked."""
    usual = defaults(toml)
    lines = "\n".join(_line(line, path, usual, varies) for line, path in _paths(toml))
    legend = (
        f'<p class="note">Grey lines are defaults of lbsim{", coloured ones vary" if varies else ""}.</p>'
        if usual
        else ""
    )
    box = (
        f'<div class="scroll" role="region" aria-label="Base scenario" tabindex="0"><pre>{lines}</pre></div>'
    )
    return box + legend


def defaults(toml: str) -> frozenset[str]:
    """Return the dotted fields of a scenario that have their default value; none if it no longer loads."""
    try:
        return frozenset(_defaults(load_scenario(f"{toml}\n"), None, ""))
    except ScenarioError:  # written by another version, or its capture is not here
        return frozenset()


def spelled(value: Any) -> str:
    """Return a JSON value as HTML text, nested mappings as lines."""
    if isinstance(value, dict):
        return "<br>".join(f"{escape(str(key))} <code>{spelled(item)}</code>" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(spelled(item) for item in value) or "none"
    return "none" if value is None else escape(str(value))


def _defaults(part: BaseModel, usual: object, path: str) -> Iterator[str]:
    """Yield the fields of a part that are as in `usual`, its own default, or as its class has them."""
    for name, field in type(part).model_fields.items():
        value = getattr(part, name)
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        if type(usual) is type(part):
            default = getattr(usual, name)
        if isinstance(value, BaseModel):
            yield from _defaults(value, default, f"{path}{name}.")
        elif name == "kind":
            if type(usual) is type(part):
                yield f"{path}{name}"
        elif (type(usual) is type(part) or not field.is_required()) and value == default:
            yield f"{path}{name}"


def _paths(toml: str) -> Iterator[tuple[str, str]]:
    """Yield every line with the dotted field it sets ("" for none), a section header with its own path."""
    table = ""
    for line in toml.splitlines():
        if line.startswith("["):
            table = line.strip("[]")
            yield line, table
        else:
            key, equals, _ = line.partition(" = ")
            yield line, f"{table}.{key}".lstrip(".") if equals and not line.startswith(" ") else ""


def _line(line: str, path: str, usual: frozenset[str], varies: Mapping[str, Sequence[Any]]) -> str:
    text = escape(line)
    if path in varies:
        return f'<span class="varies">{text}  # varies: {escape(_values(varies[path], 4))}</span>'
    return f'<span class="usual">{text}</span>' if path in usual else text


def _values(values: Sequence[Any], most: int = MOST_VALUES) -> str:
    texts = [
        json.dumps(v, ensure_ascii=False) if isinstance(v, bool | list | dict) else str(v) for v in values
    ]
    if len(texts) <= most:
        return ", ".join(texts)
    return f"{', '.join(texts[: most - 1])}, …, {texts[-1]} ({len(texts)} values)"
