"""What a point is named by: everything that can change its result, and nothing else.

The name is a hash of the canonical scenario, of the sources that define what a run yields, of the content
of the files the scenario names, and of what a policy defined elsewhere does. A cell counts by its function.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import fields
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

import lbsim
from lbsim.balancer import Policy, policies
from lbsim.balancer.meaning import meaning
from lbsim.scenario import (
    AnyScenario,
    CaptureFile,
    Choosing,
    PolicyDispatch,
    Scenario,
    Table,
    Traced,
    Urls,
    canonical,
)
from lbsim.scenario.part import Part
from lbsim.study.points.cell import Cell

P = TypeVar("P", bound=Part)
PACKAGE: Final = Path(lbsim.__file__).parent

NOT_SEMANTIC: Final = (
    "__init__.py",
    "bench",
    "cli",
    "metrics/intervals.py",
    "metrics/quantities.py",
    "py.typed",
    "study",
)
"""Files and folders of the package that cannot change what a run yields."""


@cache
def fingerprint() -> str:
    """Return the hash of NumPy's version and of all sources and data files that define what a run yields."""
    digest = hashlib.sha256(np.__version__.encode())
    for path in sorted(PACKAGE.rglob("*")):
        name = path.relative_to(PACKAGE)
        if (
            path.is_file()
            and "__pycache__" not in name.parts
            and not any(map(name.is_relative_to, NOT_SEMANTIC))
        ):
            digest.update(name.as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def point_key(scenario: AnyScenario | Cell) -> str:
    """Return the name of a scenario's point: 32 hex digits, equal where the results are bound to be.

    Files count by their content, wherever they lie. Raises OSError where one cannot be read, ValueError where
    it cannot be told what a policy does.
    """
    if isinstance(scenario, Cell):
        return _name([fingerprint(), "cell", meaning((scenario.compute, scenario.point))])
    parts = [fingerprint(), canonical(by_content(scenario))]
    policy = policy_of(scenario)
    if policy is not None:
        parts.append(policy_digest(policy))
    return _name(parts)


def _name(parts: list[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def policy_named(scenario: AnyScenario) -> tuple[str, str] | None:
    """Return the field that names a scenario's policy, and the name; None where there is none."""
    if not isinstance(scenario, Scenario):
        return "balancer.policy", scenario.balancer.policy
    if scenario.cluster is not None and isinstance(scenario.cluster.balancer, Choosing):
        return "cluster.balancer.policy", scenario.cluster.balancer.policy
    dispatch = scenario.nic.dispatch
    return ("nic.dispatch.policy", dispatch.policy) if isinstance(dispatch, PolicyDispatch) else None


def policy_of(scenario: AnyScenario | Cell) -> Policy | None:
    """Return the policy that a scenario names; None where there is none, or none of that name."""
    named = None if isinstance(scenario, Cell) else policy_named(scenario)
    return policies().get(named[1]) if named else None


def policy_digest(policy: Policy) -> str:
    """Return a hash of what a policy does, 64 hex digits; see `lbsim.balancer.meaning`.

    Its text is not asked: a file edited after its import still runs as it was. Raises ValueError where the
    policy uses something whose content cannot be told.
    """
    try:
        told = meaning([getattr(policy, field.name) for field in fields(policy) if field.name != "about"])
    except ValueError as error:
        raise ValueError(f"policy {policy.name!r} cannot be named by what it does: {error}") from error
    return hashlib.sha256(told.encode()).hexdigest()


def policy_source(policy: Policy) -> str | None:
    """Return the text of a policy as its file or notebook holds it now; None where there is none."""
    import inspect  # only for provenance

    try:
        return inspect.getsource(policy.choose)
    except (OSError, TypeError):
        return None


def file_digest(path: str | os.PathLike[str]) -> str:
    """Return the sha256 of a file's content; an unchanged file is read once. Raises OSError."""
    place = Path(path).resolve()
    about = place.stat()
    return _file_digest(place, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)


@lru_cache(maxsize=1024)
def _file_digest(path: Path, *unchanged: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_of(part: Part, above: str = "") -> Iterator[tuple[str, str]]:
    """Yield (field, path) of each file that a scenario names: a recording, or a table of one's own."""
    for name, value in part:
        if isinstance(value, Part):
            yield from files_of(value, f"{above}{name}.")
        elif _is_file(part, name):
            yield above + name, value


def by_content(part: P) -> P:
    """Return a scenario, or a part of one, with the digest of each file it names in place of its path."""
    changed: dict[str, Any] = {}
    for name, value in part:
        if isinstance(value, Part):
            changed[name] = by_content(value)
        elif _is_file(part, name):
            changed[name] = file_digest(value)
    return part.model_copy(update=changed)


def _is_file(part: Part, field: str) -> bool:
    """Whether a field holds the path of a file; a table is one where it is not published."""
    if isinstance(part, CaptureFile | Traced):
        return field == "file"
    tables = {Table: ("table",), Urls: ("lengths", "sizes")}.get(type(part), ())
    return field in tables and getattr(part, field).endswith(".csv")
