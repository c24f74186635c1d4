"""What a run yields: counters, the latency histogram, time series, and the laws they obey.

Samples belong to the cohort of packets that arrive at or after the warm-up; the engines drain at the end,
so every packet of the cohort is either delivered or dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.metrics.histogram import Histogram, bin_middles
from lbsim.units import SECOND, US, WIRE_OVERHEAD

if TYPE_CHECKING:
    import pandas as pd

Int64s = NDArray[np.int64]

SERIES_QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""Quantiles of latency in a time series of it."""


class PacketLog(NamedTuple):
    """One row a packet, in order of arrival; kept only where the scenario asks for it."""

    arrival: Int64s  # ps
    flow: Int64s  # row of the flow table
    core: Int64s  # where the NIC sent it
    departure: Int64s  # ps; -1 where dropped


class Samples(NamedTuple):
    """What the sampler read every interval: cumulative counters, one row an instant, one column a core."""

    time: Int64s  # ps, shape [k]
    processed: Int64s  # packets that left the core, [k, cores]
    busy: Int64s  # ps of work done, [k, cores]
    dropped: Int64s  # packets refused by a full ring, [k, cores]
    occupancy: Int64s  # packets in the ring at the instant, [k, cores]
    used: Int64s  # cores in use, [k]


@dataclass(frozen=True)
class Result:
    """Counters, latency and series of one run.

    Columns a core: the workers first, then the dispatcher where one is a core of its own.

    `result.latency.quantile(0.95)` is in picoseconds, `result.latency_us(0.95)` in microseconds;
    `result.series("core_load")` is a pandas frame with one row per interval and one column per core.
    """

    scenario: Any  # the Scenario that ran
    engine: str  # "compiled: poll ring" and the like: which engine and kernel
    span: int  # ps of arrivals measured: end of arrivals - warm-up
    offered: int  # packets of the cohort
    offered_bytes: int  # their frames, without FCS
    delivered: int
    delivered_bytes: int
    drops: dict[str, int]  # packets of the cohort, by cause
    latency: Histogram  # ps, arrival at the NIC to departure, plus measure.path_delay
    processed: Int64s  # packets per core, whole run
    busy: Int64s  # ps of work per core, whole run
    dropped: Int64s  # packets per core, whole run
    end: int  # ps at which the last packet left
    samples: Samples | None = None
    latencies: Int64s | None = None  # [intervals, BINS]: the histogram by interval of arrival, if asked for
    reordered: int | None = None  # packets that left after a later one of their flow, if asked for
    packets: PacketLog | None = None
    control: dict[str, int] = field(default_factory=dict)  # e.g. ticks, moves of RSS++
    notices: tuple[str, ...] = ()

    @property
    def units(self) -> int:
        """Return the units of work that were counted: packets."""
        return self.offered

    @property
    def backlog(self) -> Int64s | None:
        """Return the packets in all rings at each sample; None where there are no samples."""
        return None if self.samples is None else self.samples.occupancy.sum(axis=1)

    @property
    def throughput(self) -> float:
        """Return delivered packets per second."""
        return self.delivered * SECOND / self.span

    @property
    def throughput_gbps(self) -> float:
        """Return the delivered link rate in Gb/s, 24 bytes of overhead a frame included."""
        return _gbps(self.delivered, self.delivered_bytes, self.span)

    @property
    def offered_gbps(self) -> float:
        """Return the offered link rate in Gb/s, 24 bytes of overhead a frame included."""
        return _gbps(self.offered, self.offered_bytes, self.span)

    @property
    def drop_share(self) -> float:
        """Return dropped / offered packets of the cohort."""
        return sum(self.drops.values()) / self.offered if self.offered else 0.0

    @property
    def workers(self) -> int:
        """Return the number of cores that serve packets; a software dispatcher is not one of them."""
        return int(self.scenario.cores)

    @property
    def cores_used(self) -> float:
        """Return the mean number of cores in use, over the samples after the warm-up; nan without them.

        A software dispatcher is one of them.
        """
        if self.samples is None:
            return float("nan")
        used = self.samples.used[self.samples.time >= self.scenario.warmup]
        return float(used.mean()) if len(used) else float("nan")

    def latency_us(self, q: float) -> float:
        """Return the latency quantile `q` in microseconds; nan where nothing was delivered."""
        return self.latency.quantile(q) / US

    def series(self, name: str) -> pd.DataFrame:
        """Return one row per sampling interval, indexed by its end in seconds.

        One column per core: "core_load" (share of the interval spent working), "packets" (packets processed
        per second), "drops" (packets dropped per second), "occupancy" (packets in the ring at the instant).
        One column: "cores" (cores in use at the instant, a software dispatcher included). Several columns:
        "latency_us" (mean, p5, p25, p50, p75, p95 and p99 in microseconds of the packets that arrived in the
        interval, nan where none did or all were dropped; needs measure.latency). Raises ValueError when the
        scenario asked for no such series or the name is unknown.
        """
        import pandas as pd  # loads slowly; few runs need it

        if name == "latency_us":
            return self._latency_series()
        if self.samples is None:
            raise ValueError('this run kept no series: set measure.interval, e.g. "1s"')
        s = self.samples
        index = pd.Index(s.time[1:] / SECOND, name="time_s")
        if name == "cores":
            return pd.DataFrame({"cores": s.used[1:]}, index=index)
        interval = np.diff(s.time)[:, None]
        columns: dict[str, NDArray[Any]] = {
            "core_load": np.diff(s.busy, axis=0) / interval,
            "packets": np.diff(s.processed, axis=0) * (SECOND / interval),
            "drops": np.diff(s.dropped, axis=0) * (SECOND / interval),
            "occupancy": s.occupancy[1:],
        }
        if name not in columns:
            known = ", ".join([*columns, "cores", "latency_us"])
            raise ValueError(f"series {name!r} is unknown: choose one of {known}")
        return pd.DataFrame(columns[name], index=index, columns=pd.RangeIndex(s.busy.shape[1], name="core"))

    def _latency_series(self) -> pd.DataFrame:
        import pandas as pd

        if self.latencies is None:
            raise ValueError("this run kept no latency by interval: set measure.latency = true")
        ends = np.arange(1, len(self.latencies) + 1) * self.scenario.measure.interval
        ends[-1:] = self.scenario.warmup + self.span  # the last interval may be cut short
        return pd.DataFrame(
            [_moments(counts) for counts in self.latencies],
            index=pd.Index(ends / SECOND, name="time_s"),
            columns=["mean", *(f"p{100 * q:g}" for q in SERIES_QUANTILES)],
            dtype=float,
        )

    def imbalance(self, first: float = 0.0, last: float = float("inf")) -> NDArray[np.float64]:
        """Return (max - min) / min over cores of the packets processed per interval, in %.

        Only cores that serve packets count, not a software dispatcher. One value per sampling interval that
        ends within `first`..`last` seconds; as in RSS++ Fig. 12, cores without a packet in the interval are
        left out and values are capped at 2000 %.
        """
        packets = self.series("packets").loc[first:last, : self.workers - 1].to_numpy(dtype=float)
        packets = packets[packets.max(axis=1, initial=0) > 0]
        least = np.where(packets > 0, packets, np.inf).min(axis=1)
        return np.asarray(np.minimum(2000.0, (packets.max(axis=1) - least) / least * 100))

    def server_series(self, name: str) -> pd.DataFrame:
        """Return a series by core with one column per server: sums over its cores, of "core_load" the mean.

        Raises ValueError as `series` does, and for a series that is not by core.
        """
        import pandas as pd

        if name in ("cores", "latency_us"):
            raise ValueError(f"series {name!r} is not by core: choose core_load, packets, drops or occupancy")
        by_core = self.series(name)
        cells = by_core.to_numpy(dtype=float)[:, : self.workers]
        cells = cells.reshape(len(cells), -1, self.scenario.server.cores)
        totals = cells.mean(axis=2) if name == "core_load" else cells.sum(axis=2)
        return pd.DataFrame(
            totals, index=by_core.index, columns=pd.RangeIndex(totals.shape[1], name="server")
        )

    def core_variance(self, first: float = 0.0, last: float = float("inf")) -> float:
        """Return how much the cores differ, in %, as the CrossRSS poster (CoNEXT 2020) tells it.

        The population variance of the packets that each core processed in each sampling interval that ends
        within `first`..`last` seconds, relative to the mean over all cores of that interval; nan where no
        interval has packets. Raises ValueError as `series` does.
        """
        packets = self.series("packets").loc[first:last, : self.workers - 1]
        return _relative_variance(packets.to_numpy(dtype=float))

    def server_variance(self, first: float = 0.0, last: float = float("inf")) -> float:
        """Return how much the servers of a cluster differ, in %: `core_variance` over servers."""
        return _relative_variance(self.server_series("packets").loc[first:last].to_numpy(dtype=float))

    def laws(self) -> dict[str, bool]:
        """Return the conservation laws checked at the end of every run, and whether each holds."""
        dropped = sum(self.drops.values())
        asked: dict[str, bool] = {}
        if self.latencies is not None:
            asked["the latencies of all intervals are those of the run"] = bool(
                (self.latencies.sum(axis=0) == self.latency.counts).all()
            )
        if self.reordered is not None:
            asked["only delivered packets are reordered"] = 0 <= self.reordered <= self.delivered
        return {
            "every packet is delivered or dropped": self.offered == self.delivered + dropped,
            "every delivered packet has one latency": self.latency.count == self.delivered,
            "no core worked longer than the run": bool((self.busy <= self.end).all()),
            "no byte is delivered that was not offered": self.delivered_bytes <= self.offered_bytes,
            **asked,
        }

    def summary(self) -> dict[str, Any]:
        """Return the headline numbers, JSON-ready: rates, drops, latency in µs, load, imbalance."""
        tail = {f"p{q * 100:g}": self.latency_us(q) for q in (0.5, 0.9, 0.95, 0.99, 0.999, 0.9999)}
        latency = {"mean": self.latency.mean / US, **tail, "max": self.latency.high / US}
        load = self.busy / max(1, self.end)
        processed = self.processed[: self.workers]
        least = processed.min() if len(processed) else 0
        known = {} if np.isnan(self.cores_used) else {"cores": self.cores_used}
        known |= {} if self.reordered is None else {"reordered": self.reordered}
        return {
            "scenario": self.scenario.name,
            "engine": self.engine,
            "packets": self.offered,
            "span_s": self.span / SECOND,
            "offered_gbps": self.offered_gbps,
            "throughput_gbps": self.throughput_gbps,
            "throughput_pps": self.throughput,
            "drop_share": self.drop_share,
            "drops": dict(self.drops),
            "latency_us": {k: (None if np.isnan(v) else v) for k, v in latency.items()},
            "core_load": [float(x) for x in load],
            "imbalance_pct": float((processed.max() - least) / least * 100) if least else None,
            **known,
            "control": dict(self.control),
            "laws": self.laws(),
            "notices": list(self.notices),
        }


def _relative_variance(packets: NDArray[np.float64]) -> float:
    """Return the variance, in %, of the values of each row over the row's mean, all rows pooled."""
    packets = packets[packets.max(axis=1, initial=0) > 0]
    shares = packets / packets.mean(axis=1, keepdims=True)
    return float(shares.var() * 100) if len(shares) else float("nan")


def _moments(counts: Int64s) -> list[float]:
    """Return mean and quantiles, in microseconds, of one interval's latencies by bin."""
    used = np.flatnonzero(counts)
    if not len(used):
        return [float("nan")] * (1 + len(SERIES_QUANTILES))
    levels, each = bin_middles()[used] / US, counts[used]
    below = np.cumsum(each)
    ranks = np.maximum(1, np.ceil(np.array(SERIES_QUANTILES) * below[-1] - 1e-9))
    return [float(levels @ each / below[-1]), *levels[np.searchsorted(below, ranks)].tolist()]


def _gbps(packets: int, frames: int, span: int) -> float:
    return (frames + packets * WIRE_OVERHEAD) * 8 * SECOND / span / 1e9
