"""A sweep of 200 points, killed with SIGKILL over and over: what is left must always be right.

`python tests/kills.py 500 --log results/kills/kills-SEED.csv` is a long run; test_kills.py a short one.
Each kill hits the sweep, one of its workers, or both, at a random instant: once a random number of points
is stored and a random delay has passed, or at a random time after the start.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lbsim.study.points.pointfile import DamagedError, verified
from lbsim.study.provenance import ROOT, commit_of

POINTS = 200
POINTS_FAILED = 3  # exit code
VICTIMS = ("sweep", "worker", "both")
STUDY = """
name = "killed"
replications = 10

[base]
name = "two cores"
duration = "20ms"
[base.traffic]
kind = "flows"
flows = 256
[base.arrivals]
kind = "poisson"
load = 0.5
[base.server]
cores = 2
ring = 64
[base.server.cost]
work = { kind = "exponential", mean = "1us" }

[grid]
arrivals.load = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
nic.dispatch.kind = ["rss", "rss++"]
"""
FURTHER = 60  # points that a sweep gets stored at most before it is hit again
STARTUP, WORK = 2.5, 3.0  # s, about; only to spread the random instants


class Kill(NamedTuple):
    """One kill, and what the store looked like when the dust had settled."""

    number: int
    seed: int
    victim: str
    after_s: float  # since the sweep started
    stored: int  # whole points
    damaged: int  # files under their final name that are not what was written
    changed: int  # points that were stored before and were written again, or are gone
    temporary: int  # files a dead writer left; the next sweep removes them
    orphans: int  # workers that outlived the sweep by more than they may


@dataclass
class Store:
    """The results of one sweep that is killed until it is through, and what is known of its points."""

    folder: Path
    seen: dict[str, tuple[int, int]]  # name -> inode and time of change when first seen

    @property
    def points(self) -> Path:
        return self.folder / "points"

    def names(self) -> set[str]:
        """Return the names of the points that are stored."""
        with suppress(FileNotFoundError):
            return {entry.name for entry in os.scandir(self.points) if entry.name.endswith(".parquet")}
        return set()

    def look(self) -> tuple[int, int]:
        """Return how many points are damaged, and how many are not the file they were."""
        now = {name: _identity(self.points / name) for name in self.names()}
        damaged = 0
        for name in now:
            try:
                verified((self.points / name).read_bytes(), name.removesuffix(".parquet"))
            except DamagedError:
                damaged += 1
        changed = sum(now.get(name) != identity for name, identity in self.seen.items())
        self.seen = now
        return damaged, changed

    def files(self) -> dict[str, bytes]:
        """Return the tables of the finished sweep."""
        return {path.name: path.read_bytes() for path in sorted((self.folder / "killed").glob("*.csv"))}


def _identity(path: Path) -> tuple[int, int]:
    about = path.stat()
    return about.st_ino, about.st_mtime_ns


def start(study: Path, results: Path) -> subprocess.Popen[bytes]:
    """Start a sweep on two workers."""
    options = [f"--results={results}", "--jobs=2", "--timeout=60s"]
    command = [sys.executable, "-m", "lbsim", "sweep", str(study), *options]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=ROOT, start_new_session=True, **quiet)


def workers(process: int) -> list[int]:
    """Return the pids of a sweep's workers."""
    found = []
    with suppress(OSError):
        for child in Path(f"/proc/{process}/task/{process}/children").read_text().split():
            with suppress(OSError):
                if b"popen_loky" in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(int(child))
    return found


def wait_for_instant(rng: random.Random, process: subprocess.Popen[bytes], store: Store) -> None:
    """Wait for a random instant of a sweep's life; return earlier when it ends by itself.

    One that has all its points stored is mostly left to end: the others are the ones with something to lose.
    """
    now, end, enough = len(store.names()), time.monotonic() + 60, POINTS + 1
    if rng.random() < 0.2:
        end = time.monotonic() + rng.uniform(0, STARTUP + WORK)
    elif now < POINTS:
        enough = rng.randint(now + 1, min(POINTS, now + FURTHER))
    while process.poll() is None and time.monotonic() < end and len(store.names()) < enough:
        time.sleep(0.003)
    if process.poll() is None:
        time.sleep(rng.uniform(0, 0.05))


def strike(rng: random.Random, process: subprocess.Popen[bytes], victim: str) -> list[int]:
    """Kill the sweep, one of its workers or both; return all the workers that it had."""
    alive = workers(process.pid)
    targets = [rng.choice(alive)] if victim != "sweep" and alive else []
    targets += [process.pid] if victim != "worker" else []
    for target in targets:
        with suppress(ProcessLookupError):
            os.kill(target, signal.SIGKILL)
    return alive


def settled(pids: list[int], patience: float = 10.0) -> int:
    """Wait until processes are gone and return how many are not."""
    end = time.monotonic() + patience
    while time.monotonic() < end and any(map(_alive, pids)):
        time.sleep(0.02)
    return sum(map(_alive, pids))


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def campaign(kills: int, seed: int, home: Path) -> Iterator[Kill | str]:
    """Yield every kill, and "equal", or what is wrong, for each sweep that came through in the end."""
    rng = random.Random(seed)
    study = home / "study.toml"
    study.write_text(STUDY)
    calm = Store(home / "calm", {})
    assert start(study, calm.folder).wait() == 0, "the sweep nobody kills must succeed"
    truth = calm.files()
    store, done, process, began = Store(home / "0", {}), 0, None, 0.0
    while done < kills or process is not None:
        if process is None:
            process, began = start(study, store.folder), time.monotonic()
        if done < kills:
            wait_for_instant(rng, process, store)
        else:
            process.wait()
        if process.poll() == POINTS_FAILED:  # a point was hit twice, the second time alone: again, as it says
            process, began = start(study, store.folder), time.monotonic()
            continue
        if process.poll() is not None:  # it came through
            yield verdict(process.returncode, store, calm, truth)
            shutil.rmtree(store.folder)
            store, process = Store(home / str(done), {}), None
            continue
        victim, after = rng.choice(VICTIMS), time.monotonic() - began
        children = strike(rng, process, victim)
        done += 1
        orphans = 0
        if victim != "worker":
            process.wait()
            orphans, process = settled(children), None
        damaged, changed = store.look()
        temporary = len(list(store.points.glob(".*")))
        yield Kill(done, seed, victim, round(after, 3), len(store.seen), damaged, changed, temporary, orphans)


def verdict(code: int, store: Store, calm: Store, truth: dict[str, bytes]) -> str:
    """Return "equal" when a sweep ended as one that nobody killed, else what differs."""
    damaged, changed = store.look()
    wrong = {
        f"exit code {code}": code != 0,
        "tables differ": store.files() != truth,
        f"{len(store.names())} points of {POINTS}": store.names() != calm.names(),
        f"{damaged} points damaged": bool(damaged),
        f"{changed} points computed twice": bool(changed),
        "temporary files left": bool(list(store.points.glob(".*"))),
        "failures recorded": bool(list(store.points.glob("*.failed.json"))),
    }
    return "; ".join(what for what, holds in wrong.items() if holds) or "equal"


def main() -> int:
    """Run a campaign from the command line and write its log."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kills", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", type=Path, required=True)
    given = parser.parse_args()
    given.log.parent.mkdir(parents=True, exist_ok=True)
    ends: list[str] = []
    bad = 0
    with given.log.open("w") as log, tempfile.TemporaryDirectory() as home:
        command = f"python tests/kills.py {given.kills} --seed {given.seed}"
        print(f"# commit {commit_of(ROOT)[0]}; {command}", file=log)
        print(",".join(Kill._fields), file=log)
        for event in campaign(given.kills, given.seed, Path(home)):
            if isinstance(event, Kill):
                print(*event, sep=",", file=log, flush=True)
                bad += event.damaged + event.changed + event.orphans
            else:
                ends.append(event)
        unequal = [end for end in ends if end != "equal"]
        summary = f"{len(ends)} sweeps came through, {len(unequal)} not equal to one that nobody killed"
        print(f"# {summary}; {bad} points lost, damaged or computed twice, or workers left behind", file=log)
        for end in unequal:
            print(f"# {end}", file=log)
    return bool(bad or unequal)


if __name__ == "__main__":
    sys.exit(main())
