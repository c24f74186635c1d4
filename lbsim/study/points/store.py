"""The folder of finished points: one file each under the name of its content, whole or not there at all.

Any number of sweeps may share a folder: files only ever appear under their names complete, by one atomic
replacement, and equal names mean equal results. What is found damaged is moved aside, never read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import re
import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

from lbsim.metrics import AnyResult
from lbsim.scenario import AnyScenario
from lbsim.study.points.cell import Cell, Numbers
from lbsim.study.points.pointfile import DamagedError, decode, verified

POINTS: Final = "points"
QUARANTINE: Final = "quarantine"
ABANDONED: Final = 3600
"""Seconds after which a temporary file of another machine is taken for left over."""

_TEMPORARY: Final = re.compile(r"\..+\.([0-9a-f]{8})-(\d+)-[0-9a-f]{16}\.tmp")


def path_of(folder: Path, key: str) -> Path:
    """Return the file of the point `key`, whether it exists or not."""
    return folder / f"{key}.parquet"


def read(
    folder: Path, key: str, scenario: AnyScenario | Cell, notice: Callable[[str], None]
) -> AnyResult | Numbers | None:
    """Return what is stored of a scenario or a cell; None where there is nothing to use.

    A damaged file goes to quarantine; of that, and of one that cannot be read, `notice` is told.
    """
    path = path_of(folder, key)
    try:
        return decode(path.read_bytes(), scenario, key)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        notice(f"{path.name} cannot be read ({_reason(error)}); computed again")
    except DamagedError as error:
        notice(f"{path.name} is damaged: {error}; {_set_aside(path, error)}, computed again")
    return None


def write(folder: Path, key: str, content: bytes) -> None:
    """Store a point, as `pointfile.encode` made it; raises OSError."""
    write_whole(path_of(folder, key), content)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there in full or not at all, also after a crash or a power cut.

    Raises OSError, with the path, when that cannot be done: then the file is as it was before.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{_host()}-{os.getpid()}-{secrets.token_hex(8)}.tmp")
        try:
            with open(temporary, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):  # the first error is the one to tell
                temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise OSError(error.errno, _reason(error), str(path)) from error


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder last, where its file system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder one may write to but not list
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def writable(folder: Path) -> None:
    """Raise OSError, with what to do, unless a point can be stored in `folder` now."""
    probe = folder / f"probe-{secrets.token_hex(8)}"
    try:
        write_whole(probe, bytes(1 << 16))  # as much as a point needs: a full disk still takes an empty file
        probe.unlink()
    except OSError as error:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
        raise OSError(
            error.errno, f"cannot store points here: {_reason(error)}; {way_out(error)}", str(folder)
        ) from error


def way_out(error: OSError) -> str:
    """Return what to do about a file that could not be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "free some space" if full else "give another results folder"


def quarantine(path: Path, reason: str) -> Path:
    """Move a damaged file to the quarantine of its folder, the reason in a .txt beside it; return its place.

    Nothing that is there is overwritten. Raises OSError when it cannot be moved: perhaps another just did.
    """
    folder = path.parent / QUARANTINE
    folder.mkdir(exist_ok=True)
    for number in range(1, 1 << 20):
        place = folder / (path.name if number == 1 else f"{path.stem}.{number}{path.suffix}")
        note = place.with_suffix(".txt")
        if place.exists():
            continue
        try:
            file = note.open("x", encoding="utf-8")  # who makes the note owns the name beside it
        except FileExistsError:
            continue
        try:
            with file:
                file.write(f"{path.name}: {reason}\n")
            os.replace(path, place)
        except OSError:
            with suppress(OSError):
                note.unlink()
            raise
        return place
    raise OSError(errno.EEXIST, "too many damaged files; empty the quarantine", str(folder))


def remember_failure(folder: Path, key: str, about: dict[str, Any]) -> bool:
    """Leave a record of why a point failed; say whether it could be: a full disk may be the very reason."""
    try:
        write_whole(_failure(folder, key), (json.dumps(about, indent=1, ensure_ascii=False) + "\n").encode())
    except OSError:
        return False
    return True


def forget_failure(folder: Path, key: str) -> None:
    """Remove the record of a failure, if there is one."""
    with suppress(OSError):
        _failure(folder, key).unlink()


def _failure(folder: Path, key: str) -> Path:
    return folder / f"{key}.failed.json"


def leftovers(folder: Path) -> int:
    """Remove the temporary files of sweeps that died, and return how many; those of a live one stay.

    On this machine a file is left over when its process is gone; from elsewhere, when it is an hour old.
    """
    removed = 0
    for path in folder.glob(".*.tmp"):
        name = _TEMPORARY.fullmatch(path.name)
        if name is None:
            continue
        with suppress(OSError):  # gone meanwhile, or not ours to remove
            here = name[1] == _host()
            if not _alive(int(name[2])) if here else time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink()
                removed += 1
    return removed


@cache
def _host() -> str:
    """Return eight hex digits of the machine and the container in which a process number means something."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return hashlib.sha256(f"{platform.node()} {space}".encode()).hexdigest()[:8]


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the sha256 of files in a folder, by name."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in sorted(names)}


def check(results: Path) -> list[str]:
    """Return one line per file under `results` that is not what was written; empty when all is well.

    Reads every point file, moving damaged ones to quarantine, and compares every file of a figure with its
    digest in provenance.json.
    """
    problems = []
    for path in sorted(results.rglob(f"{POINTS}/*.parquet")):
        try:
            verified(path.read_bytes(), path.stem)
        except DamagedError as error:
            problems.append(f"{path} is damaged: {error}; {_set_aside(path, error)}; run its figure again")
        except OSError as error:
            problems.append(f"{path} cannot be read ({_reason(error)})")
    for about in sorted(results.rglob("provenance.json")):
        problems += _check_figure(about)
    return problems


def _check_figure(about: Path) -> list[str]:
    try:
        written = dict[str, str](json.loads(about.read_text("utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"{about} cannot be read ({error}); run its figure again"]
    problems = []
    for name, digest in written.items():
        path = about.with_name(name)
        try:
            if digests(about.parent, [name])[name] != digest:
                problems.append(f"{path} differs from what its study wrote; run its figure again")
        except FileNotFoundError:
            problems.append(f"{path} is missing; run its figure again")
        except OSError as error:
            problems.append(f"{path} cannot be read ({_reason(error)}); run its figure again")
    return problems


def _set_aside(path: Path, error: DamagedError) -> str:
    """Move a damaged file to quarantine and return what became of it, in words."""
    try:
        place = quarantine(path, str(error))
    except OSError as failed:
        return f"it could not be moved to quarantine ({_reason(failed)})"
    return f"moved to {place.parent.name}/{place.name}"


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
