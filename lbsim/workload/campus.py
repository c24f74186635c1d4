"""Campus-like traffic: synthetic twins of the traces "Campus" and "Campus #4" of RSS++ (CoNEXT 2019).

The traces are not public; their statistics are, and `campus_plan` draws a recording that has them. Here
its events become packets, one epoch of 100 ms at a time.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lbsim.rng import coin, stream
from lbsim.workload import campus_kernels as kernels
from lbsim.workload.campus_facts import FACTS, Trace
from lbsim.workload.campus_plan import EPOCH, OWN_FRAME, TRAIN, TRAIN_GAP, campus_plan
from lbsim.workload.packets import Int32s, Traffic, TrafficChunk

_CHUNK = 1 << 18


def campus(trace: Trace, seed: int, replication: int = 0) -> Traffic:
    """Return endless traffic like the trace's: after its 56 s the recording begins anew.

    Packets of later laps are the same events in a new order. The first call for a trace and seed draws the
    plan (under a second for "campus", a few for "campus-4", 5 s for "campus-8"). Raises ValueError for an
    unknown trace.
    """
    plan = campus_plan(trace, seed, replication)
    facts = FACTS[trace]

    def chunks(checksums: bool) -> Iterator[TrafficChunk]:
        sums = stream(seed, "checksums", replication)
        salt = int(stream(seed, "order", replication).integers(2**62))
        lengths = _train_lengths()
        spacing = round(2**20 * TRAIN_GAP / EPOCH)
        epochs = len(plan.starts) - 1
        lap = 0
        while True:
            sent = 0
            for e in range(epochs):
                events = slice(plan.starts[e], plan.starts[e + 1])
                flow, frame = kernels.expand(
                    coin(salt, e, lap),
                    plan.event_flow[events],
                    plan.event_count[events],
                    lengths,
                    spacing,
                    plan.frame_from,
                    plan.frame_width,
                    round(2**20 * OWN_FRAME),
                    plan.frames,
                )
                for k in range(0, len(flow), _CHUNK):
                    part = slice(k, k + _CHUNK)
                    n = len(flow[part])
                    recorded = kernels.stamp(sent, n, lap * plan.window, plan.clock_packets, plan.clock_times)
                    low = sums.integers(0, 256, n if checksums else 0, dtype=np.uint8)
                    yield TrafficChunk(flow[part], frame[part], low, recorded)
                    sent += n
            lap += 1

    return Traffic(trace, plan.flows, facts.mean_frame, facts.pps, chunks)


def _train_lengths() -> Int32s:
    """Return 4096 quantiles of a geometric train length of mean `TRAIN`."""
    share = (np.arange(4096) + 0.5) / 4096
    lengths: Int32s = np.ceil(np.log1p(-share) / np.log1p(-1 / TRAIN)).astype(np.int32)
    return lengths
