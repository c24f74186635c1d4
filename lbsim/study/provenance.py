"""Where a figure came from: the commit, the versions, the seeds, and the command that makes it again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any

from lbsim.study import store

ROOT = store.PACKAGE.parent


def provenance(
    name: str, title: str, scale: str, seeds: Iterable[int], points: int, failed: list[str]
) -> dict[str, Any]:
    """Return what produced a figure, JSON-ready; nothing in it depends on the clock or the machine."""
    commit, date = commit_of(ROOT)
    return {
        "figure": name,
        "title": title,
        "scale": scale,
        "command": f"lbsim figures {name}" + (" --full" if scale == "full" else ""),
        "commit": commit,
        "commit_date": date,
        "sources": store.fingerprint(),
        "seeds": sorted(set(seeds)),
        "points": points,
        "failed_points": failed,
        "versions": {"python": python_version(), **{p: _version(p) for p in ("numpy", "numba", "lbsim")}},
    }


def commit_of(root: Path) -> tuple[str, str | None]:
    """Return (commit, its date), or ("uncommitted", None) where the sources are not exactly a commit."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        if not (root / ".git").exists() or git("status", "--porcelain", "--", "lbsim", "experiments"):
            return "uncommitted", None
        return git("rev-parse", "HEAD"), git("log", "-1", "--format=%cI")
    except (OSError, subprocess.CalledProcessError):
        return "uncommitted", None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
