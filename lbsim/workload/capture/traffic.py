"""Play a capture as traffic, once or over and over."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from lbsim.units import MAX_TIME, SECOND
from lbsim.workload.capture.read import Capture
from lbsim.workload.packets import Traffic, TrafficChunk

CHUNK: Final = 1 << 15
"""Most packets of a chunk: columns that stay in a core's cache."""


def traffic(capture: Capture, loops: int | None = 1) -> Traffic:
    """Return the traffic of a capture, played `loops` times in a row; None: for ever.

    Each pass begins one capture length after the one before: from the first to the last packet plus a mean
    gap, so that the seam is like any other place. Raises ValueError for fewer than one loop, for loops of a
    capture whose packets all have the same time, and when the clock (53 days) would run out.
    """
    packets, last = capture.packets, int(capture.time[-1])
    gap = (2 * last + packets - 1) // (2 * (packets - 1)) if packets > 1 else 0
    length = min(last + gap, MAX_TIME)
    if loops is not None and loops < 1:
        raise ValueError(f"loops = {loops}: must be at least 1, or None to go on for ever")
    if loops != 1 and not length:
        raise ValueError(f"{capture.path} cannot be looped: all its packets have the same time")
    if loops is not None and loops * length > MAX_TIME:
        raise ValueError(
            f"loops = {loops}: at most {MAX_TIME // length} passes of {capture.path} fit in 53 days"
        )

    def chunks(checksums: bool) -> Iterator[TrafficChunk]:
        # A short capture is laid out several times, so that chunks are full and slices copy nothing.
        laps = max(1, min(CHUNK // packets, MAX_TIME // length if length else 1))
        laps = laps if loops is None else min(laps, loops)
        flow, frame, checksum, time = capture.flow, capture.frame, capture.checksum, capture.time
        if laps > 1:
            flow, frame, checksum = np.tile(flow, laps), np.tile(frame, laps), np.tile(checksum, laps)
            time = (time + length * np.arange(laps)[:, np.newaxis]).ravel()
        left, shift = math.inf if loops is None else loops * packets, 0
        while left > 0:
            if shift + laps * length > MAX_TIME:
                raise ValueError(f"{capture.path} has looped until the clock ran out, after 53 days")
            for start in range(0, int(min(left, len(time))), CHUNK):
                end = int(min(start + CHUNK, len(time), start + left))
                yield TrafficChunk(
                    flow[start:end],
                    frame[start:end],
                    checksum[start:end] if checksums else checksum[:0],
                    time[start:end] + shift,
                )
                left -= end - start
            shift += laps * length

    return Traffic(
        name=capture.path.name,
        flows=capture.flows,
        mean_frame=float(capture.frame.mean()),
        rate=packets * SECOND / length if length else math.nan,
        chunks=chunks,
        length=None if loops is None else loops * length,
        notices=capture.notices,
    )
