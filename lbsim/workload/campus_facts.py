"""What is published of the traces "Campus" and "Campus #4" of RSS++ (CoNEXT 2019), and of CrossRSS's.

Totals, columns by flow and by second, and the law of frame sizes. The trace of the poster of CrossRSS
(CoNEXT 2020), eight windows replayed at once, is known by its rate and mean frame alone; "campus-8"
extrapolates the rest from one window and four.
"""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.workload.distributions import Distribution, read_table

Trace = Literal["campus", "campus-4", "campus-8"]
Floats = NDArray[np.float64]


class Facts(NamedTuple):
    """Totals of a trace; `windows` is the number of recordings merged into it."""

    packets: int
    pps: float  # mean of the whole recording
    mean_frame: float  # bytes, without FCS
    flows: int  # directional 5-tuples
    largest: int  # packets of the largest flow
    windows: int


FACTS: Final[dict[str, Facts]] = {
    "campus": Facts(28_363_552, 507_376.0, 1011.17, 539_021, 4_425_709, 1),
    "campus-4": Facts(104_454_970, 1_868_681.0, 1002.17, 2_189_989, 4_415_866, 4),
    "campus-8": Facts(227_494_400, 4_062_400.0, 1002.17, 4_851_500, 4_415_866, 8),
}
"""source: rsspp/experiments, count/. campus-8: 33.35 Gb/s in packets of 1026 bytes on the wire (crossrss,
published results), as large as those of campus-4, for 56 s. Flows: one and four windows make 46.9 packets a
flow in eight; the largest flow is in one window, as in campus-4."""

_SHAPE: Final = {"campus": "campus", "campus-4": "campus-4", "campus-8": "campus-4"}
"""The trace whose laws of flow and frame sizes a trace has: one and four windows hardly differ in them."""


def frame_sizes(trace: Trace) -> Distribution:
    """Return the published law of the trace's frame sizes, bytes without FCS."""
    name = {"campus": "campus_frames.csv", "campus-4": "campus_4_frames.csv"}[_SHAPE[trace]]
    with as_file(files("lbsim.workload") / "data" / name) as path:
        return read_table(path)


def flow_columns(trace: Trace) -> dict[str, Floats]:
    """Return the numeric columns of a trace in `data/campus_flows.csv`.

    The rows of span 0 are about the whole recording, those of span 1 about one second.
    """
    return _columns("campus_flows", _SHAPE[trace])


def second_columns(trace: Trace) -> dict[str, Floats]:
    """Return packets, bits, active and new flows of every second, as in `data/campus_seconds.csv`.

    The poster's offered load is within 0.4 % the same whichever seconds of its trace are replayed: campus-8
    has a constant rate and no ramps. Its flows are those of one and four windows, extrapolated.
    """
    if trace != "campus-8":
        return _columns("campus_seconds", trace)
    one, four = (_columns("campus_seconds", name) for name in ("campus", "campus-4"))
    facts = FACTS[trace]
    packets = np.append(np.full(len(four["second"]) - 1, float(_PER_SECOND)), 0.0)
    assert packets.sum() == facts.packets
    out = {"second": four["second"], "packets": packets, "bits": packets * 8 * (facts.mean_frame + 24)}
    full = np.clip(four["second"].astype(np.int64), *_FULL)
    for name in ("active", "new"):
        eight = four[name] + (four[name] - one[name]) * (4 / 3)
        out[name] = eight[full]
    out["new"][0] *= _FIRST
    return out


_PER_SECOND: Final = 4_062_400  # packets
_FULL: Final = (2, 53)  # first and last second without a ramp in either trace
_FIRST: Final = 0.55  # of a second: what the counting clock's first one holds


def _columns(name: str, trace: str) -> dict[str, Floats]:
    text = (files("lbsim.workload") / "data" / f"{name}.csv").read_text("utf-8")
    header, *rows = (line.split(",") for line in text.splitlines() if not line.startswith("#"))
    mine = np.array([row[1:] for row in rows if row[0] == trace], dtype=np.float64)
    return dict(zip(header[1:], mine.T, strict=True))
