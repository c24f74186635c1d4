"""What a run of requests yields: counters, latency, series, a log, and the laws they obey.

Two sets of counters: of the whole run, after everything under way has drained, and of the span measured, from
the warm-up to the end of the scenario. Latencies are those of the cohort that `measure.cohort` names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.metrics.histogram import Histogram
from lbsim.units import SECOND, US

if TYPE_CHECKING:
    import pandas as pd

Int64s = NDArray[np.int64]
Float64s = NDArray[np.float64]

EVENTS: Final = ("launched", "completed", "given_up", "refused", "timed_out", "retried")
"""What is counted of all servers together: requests first, then attempts."""

TRIM: Final = (4, 3)
"""Seconds at the start and at the end that `cpu_variances` leaves out, as published for Cheetah."""

IDLE: Final = 0.05
"""Mean load of the servers below which `cpu_variances` leaves a second out."""


class RequestEvents(NamedTuple):
    """How much happened of all that can."""

    launched: int  # requests, at their first attempt
    completed: int  # requests whose client had an answer in time
    given_up: int  # requests whose every attempt failed
    refused: int  # attempts that found their server full
    timed_out: int  # attempts that were not waited for any longer
    retried: int  # attempts after the first


class RequestCounters(NamedTuple):
    """What happened in some time: the same, what each server did, and how it was left."""

    launched: int
    completed: int
    given_up: int
    refused: int
    timed_out: int
    retried: int
    placed: Int64s  # [servers] attempts sent to each
    bytes: Int64s  # [servers] answered, also to clients that had gone
    busy: Int64s  # [servers] ps that cores worked, all of a server together
    inside: Int64s  # [servers] attempts in each server at the end of that time


class RequestSamples(NamedTuple):
    """What the sampler read every interval: `RequestCounters` of all until then, one row an instant."""

    time: Int64s  # ps, [k]
    launched: Int64s
    completed: Int64s
    given_up: Int64s
    refused: Int64s
    timed_out: Int64s
    retried: Int64s
    placed: Int64s  # [k, servers]
    bytes: Int64s  # [k, servers]
    busy: Int64s  # [k, servers]
    inside: Int64s  # [k, servers]


class RequestLog(NamedTuple):
    """One row a request of the cohort, in the order in which they were over."""

    index: Int64s  # type: ignore[assignment]  # in order of first attempts
    process: Int64s  # of its client, or user; -1 where clients are neither
    server: Int64s  # of its last attempt
    due: Int64s  # ps at which it should have been sent
    sent: Int64s  # ps of its first attempt
    done: Int64s  # ps at which its client had the answer, or gave up
    latency: Int64s  # ps, clients.overhead included; -1: given up
    attempts: Int64s


LATENCIES: Final = (0.5, 0.95, 0.99)
"""Quantiles of the series of latency."""

LATENCY_COLUMNS: Final = ["mean", *(f"p{100 * q:g}" for q in LATENCIES)]

SERIES: Final = (*EVENTS, "server_load", "queue", "placed", "latency_us")


@dataclass(frozen=True)
class RequestResult:
    """Counters, latency, series and log of one run.

    `result.latency_us(0.99)` is in microseconds, `result.series("server_load")` a pandas frame with one row
    per interval and one column per server, `result.frame()` one with a row per request.
    """

    scenario: Any  # the RequestScenario that ran
    engine: str  # which engine and kernel
    span: int  # ps measured: duration - warm-up
    whole: RequestCounters  # after draining
    during: RequestCounters  # in the span alone, whatever it belongs to
    cohort: RequestEvents  # of requests due in the span, or what happened in it: as measure.cohort says
    latency: Histogram  # ps of the cohort's requests, from due to answered, plus clients.overhead
    area: int  # ps: integral over the whole run of the attempts in servers
    sojourn: int  # ps: sum over all attempts of how long each was in a server
    peak: int  # most attempts in servers at once, whole run
    end: int  # ps at which the last one was over
    samples: RequestSamples | None = None
    log: RequestLog | None = None
    control: dict[str, int] = field(default_factory=dict)  # e.g. reports that came and that were lost
    notices: tuple[str, ...] = ()

    @property
    def units(self) -> int:
        """Return the units of work that were counted: requests of the cohort."""
        return self.cohort.completed + self.cohort.given_up

    @property
    def backlog(self) -> Int64s | None:
        """Return the requests in all servers at each sample; None where there are no samples."""
        return None if self.samples is None else self.samples.inside.sum(axis=1)

    @property
    def throughput(self) -> float:
        """Return the requests per second that were answered in the span, due in it or before."""
        return self.during.completed * SECOND / self.span

    @property
    def server_load(self) -> Float64s:
        """Return the share of the span that the cores of each server worked, shape [servers]."""
        return np.asarray(self.during.busy / (self.span * self._cores))

    @property
    def excess_load(self) -> float:
        """Return by what share the most loaded server is above the mean load; nan where none worked."""
        load = self.server_load
        return float(load.max() / load.mean()) - 1 if load.any() else float("nan")

    @property
    def _cores(self) -> int:
        return int(self.scenario.servers.cores)

    def latency_us(self, q: float) -> float:
        """Return the latency quantile `q` in microseconds; nan where nothing was answered."""
        return self.latency.quantile(q) / US

    def share(self, event: str) -> float:
        """Return the events of a name of `EVENTS` per request launched, of the cohort; nan without any."""
        events = self.cohort._asdict()
        return float(events[event] / events["launched"]) if events["launched"] else float("nan")

    # --- series and rows ------------------------------------------------------------------------------------

    def series(self, name: str) -> pd.DataFrame:
        """Return one row per sampling interval, indexed by its end in seconds.

        One column: each of `EVENTS`, per second. One column per server: "server_load" (share of the interval
        that its cores worked), "queue" (requests in it at the instant), "placed" (attempts sent there per
        second). Several columns: "latency_us" (mean, p50, p95 and p99 in microseconds of the cohort's
        requests answered in the interval, nan where there is none; needs measure.requests). Raises ValueError
        when the scenario asked for no such series or the name is unknown.
        """
        import pandas as pd  # loads slowly; few runs need it

        if self.samples is None:
            raise ValueError('this run kept no series: set measure.interval, e.g. "1s"')
        if name not in SERIES:
            raise ValueError(f"series {name!r} is unknown: choose one of {', '.join(SERIES)}")
        s = self.samples
        index = pd.Index(s.time[1:] / SECOND, name="time_s")
        length = np.diff(s.time)
        if name in EVENTS:
            return pd.DataFrame({name: np.diff(getattr(s, name)) * (SECOND / length)}, index=index)
        if name == "latency_us":
            return pd.DataFrame(self._latency_rows(s.time), index=index, columns=LATENCY_COLUMNS, dtype=float)
        values: dict[str, NDArray[Any]] = {
            "queue": s.inside[1:],
            "server_load": np.diff(s.busy, axis=0) / (length[:, None] * self._cores),
            "placed": np.diff(s.placed, axis=0) * (SECOND / length[:, None]),
        }
        servers = pd.RangeIndex(s.busy.shape[1], name="server")
        return pd.DataFrame(values[name], index=index, columns=servers)

    def _latency_rows(self, times: Int64s) -> list[list[float]]:
        log = self._logged()
        parts = np.split(log.latency, np.searchsorted(log.done, times))[1:-1]
        return [_moments(part[part >= 0]) for part in parts]

    def frame(self) -> pd.DataFrame:
        """Return a row a request of the cohort, in the order in which they were over.

        The index is the request's number. Columns: `due`, `sent`, `done` (ps), `latency_us` (nan where given
        up), `server` of the last attempt, `process` (or user; -1 for independent clients), `attempt`
        (how many it took). Raises ValueError where the scenario asked for no rows.
        """
        import pandas as pd

        log = self._logged()
        return pd.DataFrame(
            {
                "due": log.due,
                "sent": log.sent,
                "done": log.done,
                "latency_us": np.where(log.latency >= 0, log.latency / US, np.nan),
                "server": log.server,
                "process": log.process,
                "attempt": log.attempts,
            },
            index=pd.Index(log.index, name="request"),
        )

    def _logged(self) -> RequestLog:
        if self.log is None:
            raise ValueError("this run kept no rows: set measure.requests = true")
        return self.log

    def cpu_variances(self, trim: tuple[int, int] = TRIM) -> Float64s:
        """Return the population variance over servers of their loads in %, a value a second of the run.

        As published for the testbed of Cheetah (NSDI 2020): the first and last seconds of `trim` are left
        out, and so are seconds in which the mean load is below 5 %. Raises ValueError where there is no
        sample at every full second.
        """
        at = np.arange(0, self.scenario.duration + 1, SECOND)
        if self.samples is None or not np.isin(at, self.samples.time).all():
            raise ValueError('variances need a sample at every second: set measure.interval = "1s"')
        busy = self.samples.busy[np.searchsorted(self.samples.time, at)]
        load = 100 * np.diff(busy, axis=0) / (SECOND * self._cores)
        load = load[trim[0] : max(0, len(load) - trim[1])]
        return np.asarray(load[load.mean(axis=1) >= 100 * IDLE].var(axis=1))

    # --- what must hold -------------------------------------------------------------------------------------

    def laws(self) -> dict[str, bool]:
        """Return the conservation laws checked at the end of every run, and whether each holds."""
        whole, during, cohort, servers = self.whole, self.during, self.cohort, self.scenario.servers
        sent = self.scenario.measure.cohort == "sent"
        asked = {}
        if self.log is not None:
            asked["the log has every request of the cohort once"] = self._log_agrees(self.log)
        return {
            "every request is answered or given up": whole.launched == whole.completed + whole.given_up
            and (not sent or cohort.launched == cohort.completed + cohort.given_up),
            "every failed attempt is tried again or given up": (
                whole.refused + whole.timed_out == whole.retried + whole.given_up
            ),
            "every attempt is placed once": int(whole.placed.sum()) == whole.launched + whole.retried,
            "every attempt that is placed is refused or answered, and none stays": (
                int(whole.bytes.sum()) == servers.response * (int(whole.placed.sum()) - whole.refused)
                and not whole.inside.any()
            ),
            "every request of the cohort that is answered has one latency": (
                self.latency.count == cohort.completed
            ),
            "no server works longer than its cores can": bool(
                (during.busy <= self.span * servers.cores).all()
                and (whole.busy <= self.end * servers.cores).all()
            ),
            "the mean number in servers is their rate times their mean stay": self.area == self.sojourn,
            "nothing is ever above its peak": int(during.inside.sum())
            <= self.peak
            <= int(whole.placed.sum()),
            "span and cohort are parts of the whole": all(
                bool(np.all(np.asarray(part) >= 0) and np.all(np.asarray(part) <= getattr(whole, name)))
                for parts in (cohort._asdict(), during._replace(inside=whole.inside)._asdict())
                for name, part in parts.items()
            ),
            **asked,
        }

    def _log_agrees(self, log: RequestLog) -> bool:
        """Return whether rows and latencies are as many, and as long, as counted."""
        counted = log.latency[log.latency >= 0]
        return (
            len(np.unique(log.index)) == len(log.index) == self.units
            and len(counted) == self.latency.count
            and int(counted.astype(object).sum()) == self.latency.total
        )

    def summary(self) -> dict[str, Any]:
        """Return the headline numbers, JSON-ready: rates and loads of the span, the rest of the cohort."""
        tail = {f"p{q * 100:g}": self.latency_us(q) for q in (0.5, 0.9, 0.95, 0.99, 0.999, 0.9999)}
        latency = {"mean": self.latency.mean / US, **tail, "max": self.latency.high / US}
        excess = self.excess_load
        return {
            "scenario": self.scenario.name,
            "engine": self.engine,
            "span_s": self.span / SECOND,
            "requests": self.units,
            "launched_per_second": self.during.launched * SECOND / self.span,
            "completed_per_second": self.throughput,
            "latency_us": {k: (None if np.isnan(v) else v) for k, v in latency.items()},
            "server_load": self.server_load.tolist(),
            "excess_load_pct": None if np.isnan(excess) else 100 * excess,
            "placed": self.during.placed.tolist(),
            "refused": self.cohort.refused,
            "timed_out": self.cohort.timed_out,
            "retried": self.cohort.retried,
            "given_up": self.cohort.given_up,
            "inside_peak": self.peak,
            "control": dict(self.control),
            "laws": self.laws(),
            "notices": list(self.notices),
        }


def _moments(latencies: Int64s) -> list[float]:
    """Return mean and quantiles (nearest rank) of latencies, in microseconds; nan of none."""
    if not len(latencies):
        return [float("nan")] * len(LATENCY_COLUMNS)
    ranked = np.sort(latencies) / US
    ranks = np.ceil(np.array(LATENCIES) * len(ranked) - 1e-9).astype(np.int64)
    return [float(ranked.mean()), *ranked[np.maximum(ranks, 1) - 1].tolist()]
