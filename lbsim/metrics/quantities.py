"""The quantities one reads off a result: one list for tables, summaries, comparisons and figures.

A name says the unit, so a column of a table needs no legend: `latency_p99_us`, `drop_pct`. A value is that of
one run, also that of a latency quantile: its mean over replications is not the quantile of all their packets.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.metrics.connections import ConnectionResult
from lbsim.metrics.requests import TRIM, RequestResult
from lbsim.metrics.result import Result
from lbsim.units import SECOND, US


class Quantity(NamedTuple):
    """A number of a result: its name in tables, how people call it, its unit, and how to read it."""

    name: str  # with its unit
    label: str
    unit: str
    read: Callable[[Any], float]  # of a result of its grain; nan where there is nothing to say
    scale: float = 1  # factor from what `read` returns to `unit`
    q: float | None = None  # where it is a latency quantile: the share of the run's units at or below it
    whole: bool = False  # it counts something
    asked: Callable[[Any], bool] = lambda scenario: True  # whether a scenario of its grain measures it

    def of(self, result: Any) -> float:
        """Return the value in `unit`; nan where the result cannot say."""
        return self.read(result) * self.scale

    @property
    def axis(self) -> str:
        """Return what an axis of a figure says."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


def core_load(result: Result) -> NDArray[np.float64]:
    """Return the share of the run that each core spent working, shape [cores]."""
    return np.asarray(result.busy / max(1, result.end))


def _imbalance(result: Result) -> float:
    processed = result.processed[: result.workers]
    least = int(processed.min())
    return (int(processed.max()) - least) / least if least else math.nan


def _reordered(result: Result) -> float:
    if result.reordered is None:
        return math.nan
    return result.reordered / result.delivered if result.delivered else 0.0


def _share(result: ConnectionResult, count: int) -> float:
    return count / result.cohort.begun if result.cohort.begun else math.nan


def _latency(name: str, q: float) -> Quantity:
    return Quantity(
        f"latency_{name.replace('.', '')}_us",
        f"{name} latency",
        "µs",
        lambda r: r.latency.quantile(q),
        1 / US,
        q,
    )


def _connections(
    name: str,
    label: str,
    unit: str,
    read: Callable[[ConnectionResult], float],
    scale: float = 1,
    *,
    whole: bool = False,
) -> Quantity:
    return Quantity(name, label, unit, read, scale, whole=whole)


def _failing(name: str, label: str, event: str, asked: Callable[[Any], bool]) -> Quantity:
    return Quantity(name, label, "%", lambda r: r.share(event), 100, asked=asked)


def _refuses(scenario: Any) -> bool:
    return scenario.servers.backlog is not None


def _gives_up(scenario: Any) -> bool:
    return scenario.clients.retry is not None and scenario.clients.retry.timeout is not None


def _fails(scenario: Any) -> bool:
    return _refuses(scenario) or _gives_up(scenario)


def _variance(result: RequestResult) -> float:
    values = result.cpu_variances() if result.samples else np.empty(0)
    return float(values.mean()) if len(values) else math.nan


def _every_second(scenario: Any) -> bool:
    interval = scenario.measure.interval
    return interval is not None and SECOND % interval == 0 and scenario.duration > sum(TRIM) * SECOND


LATENCIES: Final = (
    Quantity("latency_mean_us", "mean latency", "µs", lambda r: r.latency.mean, 1 / US),
    _latency("p50", 0.5),
    _latency("p95", 0.95),
    _latency("p99", 0.99),
    _latency("p99.9", 0.999),
    _latency("p99.99", 0.9999),
)
"""Of packets, and of requests."""

PACKETS: Final = (
    Quantity("packets", "packets", "", lambda r: r.offered, whole=True),
    Quantity("offered_gbps", "offered", "Gb/s", lambda r: r.offered_gbps),
    Quantity("throughput_gbps", "delivered", "Gb/s", lambda r: r.throughput_gbps),
    Quantity("throughput_mpps", "delivered", "Mpps", lambda r: r.throughput, 1e-6),
    Quantity("drop_pct", "dropped", "%", lambda r: r.drop_share, 100),
    *LATENCIES,
    Quantity("core_load_mean_pct", "core load, mean", "%", lambda r: float(core_load(r).mean()), 100),
    Quantity("core_load_max_pct", "core load, max", "%", lambda r: float(core_load(r).max()), 100),
    Quantity("imbalance_pct", "imbalance", "%", _imbalance, 100),
    Quantity(
        "cores_mean",
        "cores in use, mean",
        "",
        lambda r: r.cores_used,
        asked=lambda s: s.measure.interval is not None,
    ),
    Quantity("reordered_pct", "reordered", "%", _reordered, 100, asked=lambda s: s.measure.reordering),
)
"""In the order of tables; what a control plane counted (ticks, moves) comes after them under its own name."""

CONNECTIONS: Final = (
    _connections("connections", "connections", "", lambda r: r.cohort.begun, whole=True),
    _connections("completed_per_s", "completed", "1/s", lambda r: r.cohort.completed * SECOND / r.span),
    _connections("broken", "broken", "", lambda r: r.broken, whole=True),
    _connections("broken_pct", "broken", "%", lambda r: r.broken_share, 100),
    _connections("remapped_pct", "broken, remapped", "%", lambda r: _share(r, r.cohort.remapped), 100),
    _connections("lost_pct", "broken, server down", "%", lambda r: _share(r, r.cohort.lost), 100),
    _connections("refused_pct", "refused, table full", "%", lambda r: _share(r, r.cohort.refused), 100),
    _connections(
        "excess_load_mean_pct", "most loaded server, above the mean", "%", lambda r: r.imbalance_pct
    ),
    _connections(
        "excess_load_max_pct",
        "the same, at most",
        "%",
        lambda r: (r.imbalance_max - 1) * 100 if r.imbalance_count else math.nan,
    ),
    _connections("live_peak", "under way, at most", "", lambda r: r.peak, whole=True),
    _connections("memory_kb", "balancer's memory", "kB", lambda r: r.memory_bytes, 1e-3),
)
"""The same at connection grain; shares are of the connections that began."""

REQUESTS: Final = (
    Quantity("requests", "requests", "", lambda r: r.units, whole=True),
    Quantity("completed_per_s", "completed", "1/s", lambda r: r.throughput),
    *LATENCIES,
    Quantity("server_load_mean_pct", "server load, mean", "%", lambda r: float(r.server_load.mean()), 100),
    Quantity("server_load_max_pct", "server load, max", "%", lambda r: float(r.server_load.max()), 100),
    Quantity("server_excess_pct", "busiest server, above the mean", "%", lambda r: r.excess_load, 100),
    Quantity("server_variance_pct2", "variance of server loads", "%²", _variance, asked=_every_second),
    _failing("attempts_refused_pct", "refused, server full", "refused", _refuses),
    _failing("timed_out_pct", "timed out", "timed_out", _gives_up),
    _failing("retried_pct", "tried again", "retried", _fails),
    _failing("given_up_pct", "given up", "given_up", _fails),
    Quantity("inside_peak", "in servers, at most", "", lambda r: r.peak, whole=True),
)
"""The same at request grain; shares are attempts, or requests, per request of the cohort."""

ALL: Final = {"packet": PACKETS, "connection": CONNECTIONS, "request": REQUESTS}
BY_NAME: Final = {quantity.name: quantity for quantities in ALL.values() for quantity in quantities}


def quantities_of(scenario: Any) -> tuple[Quantity, ...]:
    """Return the quantities of a scenario's grain that it measures."""
    return tuple(quantity for quantity in ALL[scenario.grain] if quantity.asked(scenario))
