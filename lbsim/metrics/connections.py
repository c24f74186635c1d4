"""What a run of connections yields: counters, series, the log of broken connections, and laws they obey.

The cohort is what happens at or after the warm-up; nothing is drained, so what is under way at the end is
counted as such.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.units import SECOND

if TYPE_CHECKING:
    import pandas as pd

Int64s = NDArray[np.int64]

REMAPPED: Final = 0
LOST: Final = 1
CAUSES: Final = ("remapped", "lost")
"""Why a connection broke: its packet reached another server; its own server was down."""


class Counters(NamedTuple):
    """What happened so far, in the whole run (`Tally` has the cohort's); copies, safe to keep."""

    begun: int  # retries included
    completed: int
    remapped: int
    lost: int
    refused: int  # the scheme had no room
    skipped: int  # attempts without a free URL
    retried: int
    live: int  # under way, on whatever server
    active: int  # servers that take new connections
    highest: int  # most connections of an active server
    lowest: int  # fewest
    protected: int  # connections of which the balancer remembers something


class Breaks(NamedTuple):
    """One row a broken connection, in the order in which they broke; whole run."""

    time: Int64s  # ps
    reported: Int64s  # ps
    index: Int64s  # type: ignore[assignment]  # of the connection
    server: Int64s
    cause: Int64s  # REMAPPED or LOST


class Tally(NamedTuple):
    """What a finished run counted."""

    whole: Counters
    cohort: Counters  # events at or after the warm-up; live, active, highest, lowest, protected as at the end
    imbalance_sum: float  # of highest load / mean load, over begins of the cohort
    imbalance_max: float
    imbalance_count: int
    peak: int  # most connections under way at once, whole run
    peak_protected: int
    load: Int64s  # connections of each configured server at the end
    placed: Int64s  # connections each configured server was given, whole run
    breaks: Breaks


class ConnectionSamples(NamedTuple):
    """What the sampler read every interval: the counters of the whole run so far, one row an instant."""

    time: Int64s  # ps
    begun: Int64s
    completed: Int64s
    remapped: Int64s
    lost: Int64s
    refused: Int64s
    skipped: Int64s
    retried: Int64s
    live: Int64s
    active: Int64s
    highest: Int64s
    lowest: Int64s
    protected: Int64s


RATES: Final = ("begun", "completed", "remapped", "lost", "broken", "refused", "skipped", "retried")
"""Series of events per second by interval."""

LEVELS: Final = ("live", "active", "highest", "lowest", "protected")
"""Series of numbers at the end of each interval."""

SERIES: Final = (*RATES, "reported", "reported_pct", *LEVELS)


@dataclass(frozen=True)
class ConnectionResult:
    """Counters, series and breaks of one run.

    `result.series("broken")` is a pandas frame with one row per interval; `result.broken_share` the broken
    connections as a share of those begun.
    """

    scenario: Any  # the ConnectionScenario that ran
    engine: str  # which engine and kernel
    span: int  # ps measured: duration - warm-up
    whole: Counters
    cohort: Counters
    imbalance_sum: float
    imbalance_max: float
    imbalance_count: int
    peak: int
    peak_protected: int
    load: Int64s  # by configured server, at the end
    placed: Int64s  # by configured server, whole run
    breaks: Breaks  # whole run
    memory_bytes: int  # that the balancer's tables take
    samples: ConnectionSamples | None = None
    notices: tuple[str, ...] = ()

    @property
    def units(self) -> int:
        """Return the units of work that were counted: connections that began."""
        return self.cohort.begun

    @property
    def backlog(self) -> Int64s | None:
        """Return the connections under way at each sample; None where there are no samples."""
        return None if self.samples is None else self.samples.live

    @property
    def broken(self) -> int:
        """Return the broken connections of the cohort, remapped and lost."""
        return self.cohort.remapped + self.cohort.lost

    @property
    def broken_share(self) -> float:
        """Return broken / begun of the cohort."""
        return self.broken / self.cohort.begun if self.cohort.begun else 0.0

    @property
    def imbalance(self) -> float:
        """Return the mean over begins of highest load / mean load of active servers; nan without a begin."""
        return self.imbalance_sum / self.imbalance_count if self.imbalance_count else float("nan")

    @property
    def imbalance_pct(self) -> float:
        """Return by how many percent the highest load is above the mean load, on average over begins."""
        return (self.imbalance - 1) * 100

    @property
    def imbalance_max_pct(self) -> float:
        """Return the same at most; nan without a begin."""
        return (self.imbalance_max - 1) * 100 if self.imbalance_count else float("nan")

    def series(self, name: str) -> pd.DataFrame:
        """Return one row per sampling interval, indexed by its end in seconds, in one column of that name.

        Names: those of `RATES` (events per second), "reported" (breaks that clients reported, per second),
        "reported_pct" (in % of the completed), and those of `LEVELS` (at the instant). "reported_pct" is nan
        where nothing was completed. Raises ValueError when the scenario asked for no series or the name is
        unknown.
        """
        import pandas as pd  # loads slowly; few runs need it

        if self.samples is None:
            raise ValueError('this run kept no series: set measure.interval, e.g. "1s"')
        if name not in SERIES:
            raise ValueError(f"series {name!r} is unknown: choose one of {', '.join(SERIES)}")
        index = pd.Index(self.samples.time[1:] / SECOND, name="time_s")
        return pd.DataFrame({name: self._column(name, self.samples)}, index=index)

    def _column(self, name: str, s: ConnectionSamples) -> NDArray[Any]:
        if name in LEVELS:
            return np.asarray(getattr(s, name)[1:])
        if name == "reported_pct":
            completed = self._column("completed", s)
            rate = np.where(completed > 0, completed, np.nan)
            return np.asarray(100 * self._column("reported", s) / rate)
        if name == "reported":  # at or after the start of an interval, before its end
            events = np.diff(np.searchsorted(np.sort(self.breaks.reported), s.time))
        else:
            events = np.diff(s.remapped + s.lost if name == "broken" else getattr(s, name))
        return np.asarray(events * (SECOND / np.diff(s.time)))

    def laws(self) -> dict[str, bool]:
        """Return the conservation laws checked at the end of every run, and whether each holds."""
        whole, cohort, breaks = self.whole, self.cohort, self.breaks
        broken = whole.remapped + whole.lost
        causes = np.bincount(breaks.cause, minlength=len(CAUSES)).tolist()
        counted = Counters._fields.index("live")  # fields before it are sums of events
        return {
            "every connection that begins is completed, broken or under way": (
                whole.begun == whole.completed + broken + whole.live
            ),
            "every connection under way has one server": int(self.load.sum()) == whole.live,
            "no server has fewer than no connection": bool((self.load >= 0).all()),
            "every connection that begins is placed once": int(self.placed.sum()) == whole.begun,
            "every break is logged once with its cause": causes == [whole.remapped, whole.lost],
            "breaks are logged in order of time": bool((np.diff(breaks.time) >= 0).all()),
            "no break is reported before it happens": bool((breaks.reported >= breaks.time).all()),
            "no connection breaks twice": len(np.unique(breaks.index)) == len(breaks.index),
            "the cohort is a part of the whole": all(
                0 <= part <= all_ for part, all_ in zip(cohort[:counted], whole[:counted], strict=True)
            ),
            "nothing is ever above its peak": self.peak >= whole.live
            and self.peak_protected >= whole.protected,
            "the highest load is not below the mean": self.imbalance_count == 0
            or self.imbalance_max >= self.imbalance >= 1 - 1e-9,
        }

    def summary(self) -> dict[str, Any]:
        """Return the headline numbers, JSON-ready; rates are those of the cohort."""
        cohort, seconds = self.cohort, self.span / SECOND
        measured = self.imbalance_count > 0
        return {
            "scenario": self.scenario.name,
            "engine": self.engine,
            "span_s": seconds,
            "connections": cohort.begun,
            "begun_per_second": cohort.begun / seconds,
            "completed_per_second": cohort.completed / seconds,
            "broken": self.broken,
            "broken_pct": 100 * self.broken_share,
            "remapped": cohort.remapped,
            "lost": cohort.lost,
            "refused": cohort.refused,
            "skipped": cohort.skipped,
            "retried": cohort.retried,
            "live_at_end": self.whole.live,
            "live_peak": self.peak,
            "protected_peak": self.peak_protected,
            "active_servers_at_end": self.whole.active,
            "imbalance_pct": self.imbalance_pct if measured else None,
            "imbalance_max_pct": self.imbalance_max_pct if measured else None,
            "memory_bytes": self.memory_bytes,
            "laws": self.laws(),
            "notices": list(self.notices),
        }
