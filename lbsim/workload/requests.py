"""When requests are sent in an open loop, and when users and connections of a closed one begin.

Times are int64 ps that never fall, in chunks of at most `CHUNK`, so memory does not grow with a run.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lbsim.units import SECOND
from lbsim.workload.connections import CHUNK

Int64s = NDArray[np.int64]

TIME = "time_s"
LONGEST_SECONDS = 4e6  # 46 days


def equal_gaps(rate: float, end: int) -> Iterator[Int64s]:
    """Yield times below `end`, `rate` per second: k + 1 gaps, each rounded on its own so that none drifts."""
    gap, k = SECOND / rate, 0
    while True:
        times = np.minimum(np.rint(np.arange(k + 1, k + 1 + CHUNK) * gap), end).astype(np.int64)
        n = int(np.searchsorted(times, end))
        yield times[:n]
        if n < CHUNK:
            return
        k += n


def in_chunks(times: Int64s) -> Iterator[Int64s]:
    """Yield times that are known already."""
    for k in range(0, len(times), CHUNK):
        yield times[k : k + CHUNK]


def read_times(path: str | Path, speed: float, end: int) -> Int64s:
    """Return the times below `end` of a CSV file's column `time_s`, replayed `speed` times as fast.

    Lines that start with # are comments, the first other line names the columns. Raises ValueError naming
    the file, the row and the fix where the file cannot be read, or its times are no rising seconds from 0.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{str(path)!r} is not a file; give the path of a CSV file with a column {TIME}")
    seconds = _column(path)
    if not len(seconds):
        raise ValueError(f"{str(path)!r} has no rows; write a time in seconds into each, e.g. 0.25")
    above = np.append(seconds[:1], seconds[:-1])
    for fault, text in (
        (~(np.abs(seconds) <= LONGEST_SECONDS), f"is no time up to {LONGEST_SECONDS:.0e} s; correct it"),
        (seconds < 0, "is negative; let times begin at 0"),
        (seconds < above, "is before the row above; sort the rows"),
    ):
        if fault.any():
            row = int(np.argmax(fault))
            raise ValueError(f"{str(path)!r}, row {row + 1}: {seconds[row]:g} {text}")
    times = np.minimum(np.rint(seconds * (SECOND / speed)), end).astype(np.int64)
    return times[: np.searchsorted(times, end)]


def _column(path: Path) -> NDArray[np.float64]:
    try:
        with path.open(encoding="utf-8-sig") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a file without rows, which the caller refuses
            header = next((line for line in file if line.strip() and not line.startswith("#")), "")
            names = [name.strip() for name in header.split(",")]
            if TIME not in names:
                raise ValueError(f"its first line names no column {TIME}; write one, e.g. {TIME}")
            return np.loadtxt(file, delimiter=",", usecols=names.index(TIME), ndmin=1)
    except UnicodeDecodeError:
        raise ValueError(f"{str(path)!r} is not UTF-8 text; save it as a plain CSV file") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{str(path)!r}: {error}") from None


def starts(
    processes: int, connections: int, stagger: int, jitter: int, spread: int, rng: np.random.Generator
) -> Int64s:
    """Return when each connection of each process starts, int64[processes * connections], process by process.

    A process starts at a uniform time up to `spread`, its connections one `stagger` after the other, each
    later by up to `jitter`, uniform.
    """
    own = rng.integers(0, spread, (processes, 1), endpoint=True)
    later = rng.integers(0, jitter, (processes, connections), endpoint=True)
    return (own + stagger * np.arange(connections) + later).ravel()
