"""Where a figure came from: the commit, the versions, the seeds, and the command that makes it again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any

from lbsim.scenario import AnyScenario
from lbsim.study.points import keys
from lbsim.study.points.cell import Cell

ROOT = keys.PACKAGE.parent


def provenance(
    name: str,
    title: str,
    scale: str,
    command: str,
    base: AnyScenario | None,
    points: Sequence[AnyScenario | Cell],
    failed: Sequence[str],
    left: int = 0,
) -> dict[str, Any]:
    """Return what produced a figure, JSON-ready; nothing in it depends on the clock or the machine.

    `failed` has a line for every point without a result, `left` counts those that never started.
    """
    commit, date = commit_of(ROOT)
    scenarios = [point for point in points if not isinstance(point, Cell)]
    return {
        "figure": name,
        "title": title,
        "scale": scale,
        "command": command,
        "commit": commit,
        "commit_date": date,
        "sources": keys.fingerprint(),
        "seeds": sorted({scenario.seed for scenario in scenarios}),
        "points": len(points),
        "failed_points": list(failed),
        "points_left": left,
        "varies": varies(base, scenarios) if base else {},
        "versions": versions(),
    }


def varies(base: AnyScenario, scenarios: Sequence[AnyScenario]) -> dict[str, list[Any]]:
    """Return every field in which some scenario differs from the base, with all values it takes, in order.

    The base's own value is there too where a scenario keeps it; a field that a scenario lacks has none.
    """
    same = _fields(base)
    each = [_fields(scenario) for scenario in scenarios]
    names = {name: None for fields in each for name in fields if fields[name] != same.get(name)}
    return {
        name: list({repr(f[name]): f[name] for f in each if name in f}.values())
        for name in names
        if name != "name"
    }


def versions() -> dict[str, str]:
    """Return the versions that results depend on."""
    return {"python": python_version(), **{p: _version(p) for p in ("numpy", "numba", "lbsim")}}


@cache
def commit_of(root: Path) -> tuple[str, str | None]:
    """Return (commit, its date), or ("uncommitted", None) where the sources are not exactly a commit."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        if not (root / ".git").exists() or git("status", "--porcelain", "--", "lbsim", "experiments"):
            return "uncommitted", None
        commit, date = git("log", "-1", "--no-show-signature", "--format=%H %cI").split()
        return commit, date
    except (OSError, subprocess.CalledProcessError):
        return "uncommitted", None


def _fields(scenario: AnyScenario) -> dict[str, Any]:
    """Return every field of a scenario by its dotted name, as a TOML file would say it."""

    def leaves(tree: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
        for name, value in tree.items():
            if isinstance(value, dict):
                yield from leaves(value, f"{path}{name}.")
            elif value is not None:
                yield path + name, value

    return dict(leaves(scenario.model_dump(mode="json"), ""))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
