"""Results as tables: a row a point, a row a configuration with intervals, and differences of pairs.

The labels of a point come first, then `replication`; names of columns say the unit of their numbers.

A latency quantile is two things. In the table, in differences, figures and `until` each replication has its
own, and what is estimated is their mean. In the summary it is the quantile of all replications together,
of their packets or requests, the one that a longer run would tend to. They nearly agree where replications
are alike, and may be far apart where a few of them are congested and the others not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lbsim.metrics import AnyResult, RequestResult, Result
from lbsim.metrics.histogram import BINS, Histogram
from lbsim.metrics.intervals import Interval, mean_interval, paired_interval, quantile_interval
from lbsim.metrics.quantities import BY_NAME, quantities_of
from lbsim.scenario import AnyScenario
from lbsim.scenario.errors import show
from lbsim.study.sweeps.labels import Label, as_text, none_of
from lbsim.units import SECOND, US

NOT_MEASURED = ("replication", "seed", "warmup_s", "status", "note")


class Latency(NamedTuple):
    """A histogram without its empty bins: a sweep keeps thousands."""

    bins: NDArray[np.int16]
    counts: NDArray[np.int64]
    total: int
    low: int
    high: int

    @staticmethod
    def of(histogram: Histogram) -> Latency:
        """Return what is needed to make the histogram again."""
        used = np.flatnonzero(histogram.counts)
        counts = histogram.counts[used]
        return Latency(used.astype(np.int16), counts, histogram.total, histogram.low, histogram.high)

    def histogram(self) -> Histogram:
        """Return the histogram."""
        counts = np.zeros(BINS, np.int64)
        counts[self.bins] = self.counts
        return Histogram(counts, self.total, self.low, self.high)


class Measured(NamedTuple):
    """What a sweep keeps of a result."""

    values: dict[str, float]  # quantities and the counts of the control plane, by column
    notes: tuple[str, ...]  # what the run says of itself, e.g. that it is too short
    latency: Latency | None = None  # of packets or requests


class Row(NamedTuple):
    """A point of the table: one replication of a configuration."""

    labels: Mapping[str, Label | None]
    scenario: AnyScenario
    measured: Measured | None = None
    problem: str = ""  # why there is no result, or none that could be stored

    @property
    def name(self) -> str:
        """Return what the point is called."""
        return name_of(self.labels, self.scenario.replication)

    @property
    def status(self) -> str:
        """Return "ok", "failed", or "left" where the point never started."""
        return "ok" if self.measured else "failed" if self.problem else "left"

    @property
    def notes(self) -> list[str]:
        """Return what there is to say of the point."""
        return [self.problem] * bool(self.problem) + list(self.measured.notes if self.measured else ())


def name_of(labels: Mapping[str, Label | None], replication: int | None = None) -> str:
    """Return what a configuration is called, or one of its points: its labels and the replication."""
    parts = [f"{name} = {as_text(value)}" for name, value in labels.items() if value is not None]
    parts += [f"replication {replication}"] * (replication is not None)
    return ", ".join(parts) or "the base"


def measure(result: AnyResult) -> Measured:
    """Return what the tables tell of a result."""
    values = {quantity.name: quantity.of(result) for quantity in quantities_of(result.scenario)}
    if isinstance(result, Result | RequestResult):
        return Measured(values | result.control, result.notices, Latency.of(result.latency))
    return Measured(values, result.notices)


def tidy_table(rows: Sequence[Row]) -> pd.DataFrame:
    """Return one row a point: labels, replication, seed, warmup_s, quantities, status, note.

    All numbers are those of that one run. `warmup_s` is left out where the labels have it.
    """
    names = _quantities(rows)
    table = pd.DataFrame(
        {
            **row.labels,
            "replication": row.scenario.replication,
            "seed": row.scenario.seed,
            **({} if "warmup_s" in row.labels else {"warmup_s": row.scenario.warmup / SECOND}),
            **dict.fromkeys(names),
            "status": row.status,
            "note": "; ".join(row.notes),
        }
        for row in rows
    )
    for name in names:
        values = [row.measured.values.get(name) if row.measured else None for row in rows]
        whole = name not in BY_NAME or BY_NAME[name].whole
        table[name] = pd.array(values, dtype="Int64") if whole else np.array(values, dtype=float)
    return table


def summary_table(rows: Sequence[Row], level: float = 0.95) -> pd.DataFrame:
    """Return one row a configuration: its labels, n, and of each quantity the estimate and its interval.

    Columns are e.g. `drop_pct`, `drop_pct_low`, `drop_pct_high`. The estimate is the mean over the n
    replications that have a result, with Student's t interval; but `latency_p50_us` and the other quantiles
    of latency are those of all of them together, with the interval by sectioning, not the mean of the
    column in the table. Bounds are empty where one replication cannot say.
    """
    names = _quantities(rows)
    return pd.DataFrame(
        {**labels, "n": len(measured), **dict(_estimates(names, measured, level))}
        for labels, measured in _configurations(rows)
    )


def differences(
    table: pd.DataFrame, axis: str, quantity: str, *, against: Label | None = None, level: float = 0.95
) -> pd.DataFrame:
    """Return how much a quantity differs along an axis, each value against one of them (None: the first).

    One row a value of `axis` and combination of the other labels: n pairs of replications that had the same
    traffic, the mean of `quantity` minus that of `against` in columns `<quantity>_difference`, `_low` and
    `_high`, by Student's t: an interval that leaves out 0 is a difference. Latency quantiles are those of
    each replication. Replications without a result on either side are left out. Raises ValueError for an
    axis, a quantity or a value that the table does not have.

    >>> import pandas as pd
    >>> table = pd.DataFrame({"cores": [2, 2, 4, 4], "replication": [0, 1, 0, 1], "drop_pct": [3.0, 5, 1, 2]})
    >>> differences(table.assign(status="ok"), "cores", "drop_pct")[["cores", "n", "drop_pct_difference"]]
       cores  n  drop_pct_difference
    0      4  2                 -2.5
    """
    labels = list(table.columns[: table.columns.get_loc("replication")])
    axis = _known("axis", axis, labels)
    _known("quantity", quantity, [c for c in table.columns if c not in {*labels, *NOT_MEASURED}])
    values = list(dict.fromkeys(table[axis]))
    if against is None:
        against = values[0]
    if against not in values:
        raise ValueError(
            f"against: {show(against)} is none of {', '.join(map(str, values))}, the values of {axis}"
        )
    done = table[table["status"] == "ok"]
    others = [name for name in labels if name != axis]
    base = done.loc[done[axis] == against, [*others, "replication", quantity]]
    pairs = done[done[axis] != against].merge(
        base, how="inner", on=[*others, "replication"], suffixes=("", "_against")
    )
    found = []
    for key, pair in pairs.groupby(labels, sort=False, dropna=False):
        a, b = (
            pair[name].to_numpy(dtype=float, na_value=math.nan) for name in (quantity, f"{quantity}_against")
        )
        interval = _interval(partial(paired_interval, a, b, level), a - b)
        found.append((*key, interval.n, interval.mean, interval.low, interval.high))
    columns = [*labels, "n", *(f"{quantity}_{part}" for part in ("difference", "low", "high"))]
    return pd.DataFrame(found, columns=columns)


def _quantities(rows: Sequence[Row]) -> list[str]:
    """Return the columns of numbers: the quantities, then whatever control planes counted."""
    counted = (name for row in rows if row.measured for name in row.measured.values)
    of_grain = [quantity.name for row in rows[:1] for quantity in quantities_of(row.scenario)]
    return list(dict.fromkeys([*of_grain, *counted]))


def _configurations(rows: Sequence[Row]) -> Iterator[tuple[Mapping[str, Label | None], list[Measured]]]:
    """Yield the labels of each configuration and what was measured of its replications, in order."""
    groups: dict[tuple[Label | None, ...], tuple[Mapping[str, Label | None], list[Measured]]] = {}
    for row in rows:
        _, measured = groups.setdefault(tuple(row.labels.values()), (row.labels, []))
        if row.measured is not None:
            measured.append(row.measured)
    yield from groups.values()


def _estimates(
    names: Sequence[str], measured: Sequence[Measured], level: float
) -> Iterator[tuple[str, float]]:
    """Yield (column, number) of every quantity's estimate and bounds."""
    histograms = [m.latency.histogram() for m in measured if m.latency]
    for name in names:
        values = np.array([m.values.get(name, math.nan) for m in measured], dtype=float)
        q = BY_NAME[name].q if name in BY_NAME else None
        if q is None or len(measured) == 1:
            interval = _interval(partial(mean_interval, values, level), values)
        else:
            interval = _scaled(_interval(partial(quantile_interval, histograms, q, level), values))
        yield from zip((name, f"{name}_low", f"{name}_high"), interval[:3], strict=True)


def _scaled(interval: Interval) -> Interval:
    """Return an interval of picoseconds in microseconds."""
    return Interval(interval.mean / US, interval.low / US, interval.high / US, interval.n)


def _interval(make: Callable[[], Interval], values: NDArray[np.float64]) -> Interval:
    """Return an interval; nan where there are no values, or some replication has none."""
    if not len(values) or np.isnan(values).any():
        return Interval(math.nan, math.nan, math.nan, len(values))
    return make()


def _known(what: str, name: str, names: Sequence[str]) -> str:
    """Return the column that is meant by a column or, without its unit, a field."""
    fields = {column.rpartition("_")[0]: column for column in names} if what == "axis" else {}
    if name in names or name in fields:
        return name if name in names else fields[name]
    raise ValueError(f"{what}: {none_of(name, names) if names else 'nothing varies'}")
