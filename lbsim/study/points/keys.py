"""What a point is named by: everything that can change its result, and nothing else.

The name is a hash of the canonical scenario, of the sources that define what a run yields, of the content
of the files the scenario names, and of what a policy defined elsewhere does. A cell counts by its function.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache, lru_cache
from pathlib import Path
from typing import Final

import numpy as np

import lbsim
from lbsim.balancer import Policy, policies
from lbsim.balancer.meaning import meaning
from lbsim.scenario import CaptureFile, PolicyDispatch, Scenario, Table, canonical
from lbsim.study.points.cell import Cell

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


def point_key(scenario: Scenario | Cell) -> str:
    """Return the name of a scenario's point: 32 hex digits, equal where the results are bound to be.

    Files count by their content, wherever they lie. Raises OSError where one cannot be read, ValueError where
    it cannot be told what a policy does.
    """
    if isinstance(scenario, Cell):
        return _name([fingerprint(), "cell", meaning((scenario.compute, scenario.point))])
    parts = [fingerprint(), canonical(_by_content(scenario))]
    policy = policy_of(scenario)
    if policy is not None:
        parts.append(policy_digest(policy))
    return _name(parts)


def _name(parts: list[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def policy_of(scenario: Scenario | Cell) -> Policy | None:
    """Return the policy that chooses a scenario's cores; None where there is none, or none of that name."""
    dispatch = None if isinstance(scenario, Cell) else scenario.nic.dispatch
    return policies().get(dispatch.policy) if isinstance(dispatch, PolicyDispatch) else None


def policy_digest(policy: Policy) -> str:
    """Return a hash of what a policy does, 64 hex digits; see `lbsim.balancer.meaning`.

    Its text is not asked: a file edited after its import still runs as it was. Raises ValueError where the
    policy uses something whose content cannot be told.
    """
    try:
        told = meaning((policy.name, policy.state, policy.choose))
    except ValueError as error:
        raise ValueError(
            f"nic.dispatch.policy: {policy.name!r} cannot be named by what it does: {error}"
        ) from error
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


def _by_content(scenario: Scenario) -> Scenario:
    """Return the scenario with the digest of each file it names in place of its path."""
    traffic, server = scenario.traffic, scenario.server
    if isinstance(traffic, CaptureFile):
        traffic = traffic.model_copy(update={"file": file_digest(traffic.file)})
    law = server.cost.work
    if isinstance(law, Table) and law.table.endswith(".csv"):
        law = law.model_copy(update={"table": file_digest(law.table)})
        server = server.model_copy(update={"cost": server.cost.model_copy(update={"work": law})})
    return scenario.model_copy(update={"traffic": traffic, "server": server})
