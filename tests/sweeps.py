"""Sweeps for tests: tiny scenarios, and ways for a point to go wrong, for real."""

import importlib
import os
import re
import signal
import sys
import time
from functools import partial

import numpy as np

from lbsim.engine.run import run
from lbsim.scenario import Cost, Fixed, Flows, Poisson, Rate, Scenario, Server, Work, override
from lbsim.study.points.pointfile import payload_digest

BASE = Scenario(
    duration=10**8,
    traffic=Flows(flows=16),
    arrivals=Poisson(rate=Rate(1e6, "pps")),
    server=Server(cores=2, cost=Cost(work=Fixed(time=Work(1000)))),
)


def seeds(*numbers):
    return [override(BASE, {"seed": number}) for number in numbers]


def offered(result):
    return result.offered


class EvilError(Exception):
    """Neither pickles nor prints."""

    def __reduce__(self):
        raise TypeError("not me")

    def __str__(self):
        raise TypeError("not me either")


def hang(progress):
    while True:
        time.sleep(0.01)


def hang_with_callbacks(progress):
    while True:
        time.sleep(0.01)
        progress(0.5, 1)


def hang_holding_the_interpreter(progress):
    re.match(r"(a+)+$", "a" * 60 + "b")


def kill(progress):
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def leave(progress):
    raise SystemExit(3)


def vanish(progress):
    os._exit(7)


def fail(progress):
    raise ArithmeticError("this seed is\nunlucky")


def fail_evilly(progress):
    raise EvilError


def run_out_of_memory(progress):
    np.empty(1 << 60, np.int8)


def _misbehave(scenario, progress=None, *, how, once, log):
    """Run; but a seed in `how` goes wrong, if `once` only for the first time. Starts go to `log`."""
    with open(log, "a") as file:
        file.write(f"{scenario.seed} {os.getpid()}\n")
    if scenario.seed in how and not (once and started(log).count(scenario.seed) > 1):
        how[scenario.seed](progress)
    return run(scenario, progress=progress)


def misbehaving(folder, how=None, *, once=False):
    """Return a run function for `run_points`, and the file that tells which seeds were started."""
    log = folder / "log"
    return partial(_misbehave, how=how or {}, once=once, log=log), log


def started(log):
    """Return the seeds in the order in which their points were started."""
    return [int(line.split()[0]) for line in log.read_text().splitlines()] if log.exists() else []


def processes(log):
    """Return the processes that ran points."""
    return {int(line.split()[1]) for line in log.read_text().splitlines()}


def alive(process):
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def payloads(folder):
    """Return what the points of a store hold, by key."""
    return {path.stem: payload_digest(path.read_bytes()) for path in folder.glob("*.parquet")}


POLICY = """
import numpy as np
from numba import njit

from lbsim import coin, policy
{imports}

ORDER = np.array([1, 0, 0])


@njit
def turn(number):
    return number + 1


@policy(state=1)
def travelling(view, unit):
    view.state[0] = turn(view.state[0])
    if coin(view, unit, 0) % 3 == 0:
        return {helper}(view.state[0]) % view.n
    return ORDER[unit.index % 3]
"""

HELPERS = """
from numba import njit

@njit
def twice(number):
    return 2 * number + 1
"""


def travelling(folder, monkeypatch):
    """Return scenarios of a policy whose module, and the module of its helper, only this process has."""
    monkeypatch.syspath_prepend(str(folder))
    texts = {
        "users_helpers": HELPERS,
        "users_policies": POLICY.format(imports="import users_helpers", helper="users_helpers.twice"),
    }
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    importlib.import_module("users_policies")
    for name in texts:
        (folder / f"{name}.py").unlink()
    return [
        override(s, {"nic.dispatch": {"kind": "policy", "policy": "travelling"}}) for s in seeds(*range(6))
    ]


class Notes:
    """A watch that remembers what it was told."""

    def __init__(self):
        self.said, self.begun, self.ended, self.points = [], None, 0, []

    def begin(self, title, total, stored, weights=None):
        self.begun = (title, total, stored, len(weights))

    def point(self, packets, failed="", weight=1.0, *, stored=False):
        self.points.append((packets, failed, stored))

    def note(self, text):
        self.said.append(text)

    def end(self):
        self.ended += 1
