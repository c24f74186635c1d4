"""Measure one recording of campus traffic from its packets, as the authors' counters measured theirs."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.units import SECOND, WIRE_OVERHEAD
from lbsim.workload.campus import campus
from lbsim.workload.campus_plan import CLOCK_LAG, campus_plan

LAG = round(CLOCK_LAG * SECOND)
FULL = slice(2, 55)  # the seconds of the counting clock without the ramps at both ends, as published


class Second(NamedTuple):
    """Flows that sent in one second, and how many packets each."""

    flow: NDArray[np.int64]
    packets: NDArray[np.int64]


class Recording(NamedTuple):
    """`frames[b]` packets had b bytes; `packets`, `bits` are per second of the recording's clock."""

    packets: NDArray[np.int64]
    bits: NDArray[np.float64]
    frames: NDArray[np.int64]
    sizes: NDArray[np.int64]
    new: NDArray[np.int64]
    seconds: list[Second]  # of the counting clock, which is CLOCK_LAG ahead
    per_second: NDArray[np.int64]  # packets of a flow in a second, over all flows and seconds, sorted
    window: int

    @property
    def active(self) -> NDArray[np.int64]:
        return np.array([len(second.flow) for second in self.seconds])

    def imbalance(self, cores: int, bucket: NDArray[np.uint16]) -> float:
        """Median over the full seconds of (max - min) / min packets per core, for a bucket per flow."""
        core = bucket % 512 % cores
        values = []
        for second in self.seconds[FULL]:
            load = np.bincount(core[second.flow], second.packets, cores)
            values.append((load.max() - load.min()) / load.min())
        return float(np.median(values))


@lru_cache(maxsize=2)
def record(trace: str, seed: int) -> Recording:
    """Expand one lap and count."""
    traffic = campus(trace, seed)
    plan = campus_plan(trace, seed)
    n = len(traffic.flows)
    packets, bits, frames = np.zeros(56, np.int64), np.zeros(56), np.zeros(1515, np.int64)
    sizes, new, seconds = np.zeros(n, np.int64), [], []
    open_second: list[NDArray[np.int32]] = []

    def close() -> None:
        counts = np.bincount(np.concatenate(open_second), minlength=n)
        flow = np.flatnonzero(counts)
        new.append(np.count_nonzero(sizes[flow] == 0))
        sizes[flow] += counts[flow]
        seconds.append(Second(flow, counts[flow]))
        open_second.clear()

    last = 0
    for chunk in traffic.chunks(False):
        if chunk.recorded[0] >= plan.window:
            break
        assert chunk.recorded[0] >= last
        assert np.all(np.diff(chunk.recorded) >= 0)
        last = chunk.recorded[-1]
        frames += np.bincount(chunk.frame, minlength=1515)
        second = chunk.recorded // SECOND
        packets += np.bincount(second, minlength=56)
        bits += np.bincount(second, (chunk.frame + WIRE_OVERHEAD) * 8, 56)
        border = (len(seconds) + 1) * SECOND - LAG
        cut = np.searchsorted(chunk.recorded, border)
        open_second.append(chunk.flow[:cut])
        if cut < len(chunk.recorded):
            close()
            open_second.append(chunk.flow[cut:])
    close()
    per_second = np.sort(np.concatenate([second.packets for second in seconds]))
    return Recording(packets, bits, frames, sizes, np.array(new), seconds, per_second, plan.window)
