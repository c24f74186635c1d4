"""The testbed of Cheetah's completion times (NSDI 2020): one set of constants for all of its figures.

Settings are those of the published test files (cheetahlb/experiments 30ba68f). What is calibrated is found by
`experiments/calibrate_cheetah.py`, on round robin at 100 and 200 requests a second and server and nothing
else; everything else is predicted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from lbsim.metrics import RequestResult
from lbsim.scenario import (
    Fixed,
    Paced,
    RequestBalancer,
    RequestMeasure,
    RequestScenario,
    RequestServers,
    Sharing,
    Spin,
    Work,
)
from lbsim.units import MS, SECOND, US

# --- Settings of the experiment ---
MACHINES: Final = 4  # of servers, each with its own reporter; and as many of clients
SECONDS: Final = 15  # of a run
SETTLED: Final = 10 * SECOND  # then, and 5 ms a connection later, the generator begins its histogram
WALL: Final = 7 * MS  # for which a request of the uniform workload spins
RESPONSE: Final = 8192  # bytes
WORKERS: Final = 32  # NGINX workers that share a server's one core
CONNECTIONS: Final = 1024  # of all client processes together

# --- Assumed: the scheduler (a prototype's choice among eight, model page) ---
SLICE: Final = 4 * MS  # a tick of Linux at 250 Hz; workers take turns in order, without wake-up credit
TURN: Final = 300 * US  # after this a spinning request yields to the others of its worker
SETUP: Final = 600 * US  # of a request, before it spins

# --- Calibrated on round robin at 100 and 200 requests/s/server: results/calibration/cheetah.csv ---
FINISH: Final = 2040 * US  # of a request, after it has spun: p99 at 200
OVERHEAD: Final = 11_786 * US  # of the client, holding nothing up: p99 at 100
SPREAD: Final = 40 * MS  # over which processes start: load at 100
READING: Final = 0.94  # share of busy time that the published load tells: load at 200

RR, RSS, DPDK, CLICK = "Cheetah RR", "Hash RSS", "Hash DPDK", "Hash Click"
AWRR, POW2, LEAST = "Cheetah AWRR", "Cheetah Pow2", "Cheetah Least Loaded"
HASHES: Final[dict[str, dict[str, Any]]] = {
    RR: {"balancer.policy": "round_robin_per_core", "clients.hash": "toeplitz"},
    RSS: {"balancer.policy": "hashed_folded", "clients.hash": "toeplitz"},
    DPDK: {"balancer.policy": "hashed_folded", "clients.hash": "crc32c"},
    CLICK: {"balancer.policy": "hashed_folded", "clients.hash": "click"},
}
"""Ways to pick a server that know nothing of load; the clients' addresses and ports are real."""


def published(name: str) -> Path:
    """Return the file of a figure's published points."""
    return Path(__file__).parent / "data" / f"{name.replace('-', '_')}.csv"


def paced(servers: int, per_server: float, processes_per_machine: int) -> dict[str, Any]:
    """Return the clients and servers of a run: every process has its own address and a whole rate."""
    processes = MACHINES * processes_per_machine
    connections = CONNECTIONS // processes
    return {
        "clients.processes": processes,
        "clients.connections": connections,
        "clients.addresses": processes,
        "clients.per_second": float(per_server * servers // processes * processes),
        "servers.number": servers,
        "warmup": SETTLED + 5 * MS * connections,
    }


def scenario(name: str) -> RequestScenario:
    """Return the uniform workload on 64 servers, 100 requests a second on each, round robin."""
    return RequestScenario(
        name=name,
        duration=SECONDS * SECOND,
        warmup=SETTLED + 80 * MS,
        clients=Paced(
            processes=64,
            connections=16,
            per_second=6400.0,
            spread=SPREAD,
            overhead=OVERHEAD,
            hash="toeplitz",
            addresses=64,
            scattered=True,
        ),
        balancer=RequestBalancer(policy="round_robin_per_core"),
        servers=RequestServers(
            number=64,
            discipline=Sharing(slice=SLICE, workers=WORKERS, turn=TURN),
            service=Spin(setup=SETUP, wall=Fixed(time=Work(WALL)), finish=FINISH),
            response=RESPONSE,
        ),
        measure=RequestMeasure(interval=SECOND, cohort="done", requests=True),
    )


def completion_times(result: RequestResult) -> dict[str, float]:
    """Return the quartiles over the client processes of the p99 that each of them saw, in ms."""
    frame = result.frame()
    tails = frame.groupby("process")["latency_us"].apply(nearest_rank) / 1000
    low, middle, high = np.quantile(tails, (0.25, 0.5, 0.75))
    return {"p99_ms": float(middle), "p99_low_ms": float(low), "p99_high_ms": float(high)}


def nearest_rank(latency: pd.Series, q: float = 0.99) -> float:
    """Return the smallest latency that a share q of them does not exceed."""
    return float(np.sort(latency)[max(0, int(np.ceil(q * len(latency) - 1e-9)) - 1)])


def median(table: pd.DataFrame, column: str, **labels: str | int) -> float:
    """Return the median of a column over the rows that have all these labels; nan where one has no value."""
    rows = table[np.logical_and.reduce([table[name] == value for name, value in labels.items()])]
    return float(rows[column].median(skipna=False))


def load_pct(result: RequestResult) -> float:
    """Return the mean load of the servers as published figures tell it, in %, warm-up left out."""
    return READING * 100 * float(result.server_load.mean())
