"""What a run yields: counters, the latency histogram, time series, and the laws they obey.

Samples belong to the cohort of packets that arrive at or after the warm-up; the engines drain at the end,
so every packet of the cohort is either delivered or dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.metrics.histogram import Histogram
from lbsim.units import SECOND, US, WIRE_OVERHEAD

if TYPE_CHECKING:
    import pandas as pd

Int64s = NDArray[np.int64]


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

    def latency_us(self, q: float) -> float:
        """Return the latency quantile `q` in microseconds; nan where nothing was delivered."""
        return self.latency.quantile(q) / US

    def series(self, name: str) -> pd.DataFrame:
        """Return one row per sampling interval, indexed by its end in seconds, one column per core.

        Names: "core_load" (share of the interval spent working), "packets" (packets processed per second),
        "drops" (packets dropped per second), "occupancy" (packets in the ring at the instant).
        Raises ValueError when the scenario asked for no series or the name is unknown.
        """
        import pandas as pd  # loads slowly; few runs need it

        if self.samples is None:
            raise ValueError('this run kept no series: set measure.interval, e.g. "1s"')
        s = self.samples
        interval = np.diff(s.time)[:, None]
        columns: dict[str, NDArray[Any]] = {
            "core_load": np.diff(s.busy, axis=0) / interval,
            "packets": np.diff(s.processed, axis=0) * (SECOND / interval),
            "drops": np.diff(s.dropped, axis=0) * (SECOND / interval),
            "occupancy": s.occupancy[1:],
        }
        if name not in columns:
            raise ValueError(f"series {name!r} is unknown: choose one of {', '.join(columns)}")
        index = pd.Index(s.time[1:] / SECOND, name="time_s")
        cores = pd.RangeIndex(s.busy.shape[1], name="core")
        return pd.DataFrame(columns[name], index=index, columns=cores)

    def imbalance(self, first: float = 0.0, last: float = float("inf")) -> NDArray[np.float64]:
        """Return (max - min) / min over cores of the packets processed per interval, in %.

        One value per sampling interval that ends within `first`..`last` seconds; as in RSS++ Fig. 12, cores
        without a packet in the interval are left out and values are capped at 2000 %.
        """
        packets = self.series("packets").loc[first:last].to_numpy(dtype=float)
        packets = packets[packets.max(axis=1, initial=0) > 0]
        least = np.where(packets > 0, packets, np.inf).min(axis=1)
        return np.asarray(np.minimum(2000.0, (packets.max(axis=1) - least) / least * 100))

    def laws(self) -> dict[str, bool]:
        """Return the conservation laws checked at the end of every run, and whether each holds."""
        dropped = sum(self.drops.values())
        return {
            "every packet is delivered or dropped": self.offered == self.delivered + dropped,
            "every delivered packet has one latency": self.latency.count == self.delivered,
            "no core worked longer than the run": bool((self.busy <= self.end).all()),
            "no byte is delivered that was not offered": self.delivered_bytes <= self.offered_bytes,
        }

    def summary(self) -> dict[str, Any]:
        """Return the headline numbers, JSON-ready: rates, drops, latency in µs, load, imbalance."""
        tail = {f"p{q * 100:g}": self.latency_us(q) for q in (0.5, 0.9, 0.95, 0.99, 0.999, 0.9999)}
        latency = {"mean": self.latency.mean / US, **tail, "max": self.latency.high / US}
        load = self.busy / max(1, self.end)
        least = self.processed.min() if len(self.processed) else 0
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
            "imbalance_pct": float((self.processed.max() - least) / least * 100) if least else None,
            "control": dict(self.control),
            "laws": self.laws(),
            "notices": list(self.notices),
        }


def _gbps(packets: int, frames: int, span: int) -> float:
    return (frames + packets * WIRE_OVERHEAD) * 8 * SECOND / span / 1e9
