"""What a panel shows of a table: lines or points, published values, and all of it as JSON for the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lbsim.metrics.intervals import mean_interval
from lbsim.study.plot.heat import cells, heat_json
from lbsim.study.plot.looks import LOOKS, Look
from lbsim.study.plot.panel import Panel

BANDS: dict[str, str] = {"quartiles": "p25 to p75", "interval": "95 % interval of the mean"}
SPREAD = ["middle", "low", "high", "n"]
SMALLEST = 0.15  # share of the range of marker areas that the least value above zero takes


def curves(panel: Panel, table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return a frame per series, indexed by x, with columns middle, low, high and n (runs behind a point).

    With labels there are also label, xlow, xhigh and area (NaN without one); of boxes there is also mark, the
    tail (NaN without one), and low and high are the ends of the box. Raises ValueError when the table
    lacks a column of the panel, a row has no label, or an area is not a number >= 0.
    """
    _check_columns(panel, table)
    rows = table.query(panel.where) if panel.where else table
    return {name: _curve(panel, rows[rows[panel.by] == name]) for name in panel.series}


def published_points(panel: Panel, published: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return a frame per series, indexed by x, with columns value, p25, p75; empty where there is none.

    Published rows have columns series, x, metric, value, p25, p75; the metric is the panel's y. With labels
    there is also a column label: of the column that the panel names, or empty.
    """
    columns = ["value", "p25", "p75", *(["label"] if panel.labels else [])]
    if published.empty:
        return {name: pd.DataFrame(columns=columns) for name in panel.series}
    rows = published[published["metric"] == panel.y].rename(columns={"x": panel.x, "series": panel.by})
    rows = rows.query(panel.where) if panel.where else rows
    if panel.labels:
        named = rows[panel.labels].fillna("").astype(str) if panel.labels in rows else ""
        rows = rows.assign(label=named)
    return {name: rows[rows[panel.by] == name].set_index(panel.x)[columns] for name in panel.series}


class Areas(NamedTuple):
    """The scale of marker areas: logarithmic from the least to the most value above zero."""

    least: float
    most: float

    def share(self, value: float) -> float:
        """Return the share of the range of areas that a value takes: 0 for zero (or unknown) up to 1."""
        if not value > 0:
            return 0.0
        if self.least == self.most:
            return (1 + SMALLEST) / 2
        place = math.log(value / self.least) / math.log(self.most / self.least)
        return SMALLEST + (1 - SMALLEST) * place

    def legend(self) -> list[float]:
        """Return up to three values for the legend: on 1-2-5 where these span the range."""
        steps = [
            float(f"{m}e{k}")
            for k in range(math.floor(math.log10(self.least)), math.floor(math.log10(self.most)) + 1)
            for m in (1, 2, 5)
        ]
        inside = [step for step in steps if self.least <= step <= self.most]
        if len(inside) < 3:
            inside = [self.least, math.sqrt(self.least) * math.sqrt(self.most), self.most]
        picked = (inside[0], inside[len(inside) // 2], inside[-1])
        return list(dict.fromkeys(float(f"{value:.3g}") for value in picked))


def areas_of(lines: dict[str, pd.DataFrame]) -> Areas | None:
    """Return the scale of the marker areas of a panel's points; None where none is above zero."""
    values = np.concatenate([frame["area"].to_numpy(float) for frame in lines.values()])
    positive = values[values > 0]
    return Areas(float(positive.min()), float(positive.max())) if len(positive) else None


def band_name(panel: Panel) -> str:
    """Return what bands or boxes span, e.g. "p25 to p75"."""
    return " to ".join(map(_stem, panel.box[:2])) if panel.box else BANDS[panel.band]


def tail_name(panel: Panel) -> str:
    """Return what the mark beside a box is, e.g. "p99"; empty where there is none."""
    return _stem(panel.box[2]) if len(panel.box) == 3 else ""


def chart_data(panels: Sequence[Panel], table: pd.DataFrame, published: pd.DataFrame) -> list[dict[str, Any]]:
    """Return what the report draws of each panel, JSON-ready: looks, points and bands of every series.

    Points are [x, middle, low, high, n], published ones [x, value, p25, p75]; with labels a mapping follows,
    and of boxes one that holds the mark. The points of a heat map are its cells: [x, y, value, n].
    """
    return [_heat_data(panel, table, published) if panel.heat else _line_data(panel, table, published)
            for panel in panels]  # fmt: skip


def _line_data(panel: Panel, table: pd.DataFrame, published: pd.DataFrame) -> dict[str, Any]:
    lines, points = curves(panel, table), published_points(panel, published)
    areas = areas_of(lines) if panel.area else None
    return _panel_data(panel) | {
        "area": _area_legend(panel, areas),
        "series": [
            _looks(name, look)
            | {
                "points": _rows(lines[name], SPREAD, areas),
                "published": _rows(points[name], ["value", "p25", "p75"], None),
            }
            for name, look in zip(panel.series, LOOKS, strict=False)
        ],
    }


def _heat_data(panel: Panel, table: pd.DataFrame, published: pd.DataFrame) -> dict[str, Any]:
    grid = cells(panel, table, published)
    points = [[_finite(float(value)) for value in row] for row in grid.itertuples(index=False)]
    series = _looks(panel.series[0], LOOKS[0]) | {"points": points, "published": []}
    return _panel_data(panel) | {"heat": heat_json(panel, grid), "series": [series]}


def _panel_data(panel: Panel) -> dict[str, Any]:
    """Return what all kinds of panels have in common."""
    return {
        "x": panel.x,
        "y": panel.y,
        "xlabel": panel.xlabel,
        "ylabel": panel.ylabel,
        "log": panel.log,
        "symlog": panel.symlog,
        "xlog": panel.xlog,
        "step": panel.step,
        "labels": panel.labels or None,
        "area": None,
        "heat": None,
        "box": {"tail": tail_name(panel)} if panel.box else None,
        "ylim": panel.ylim,
        "xticks": list(panel.xticks) or None,
        "rule": panel.rule,
        "band": band_name(panel),
    }


def _looks(name: str, look: Look) -> dict[str, Any]:
    dashes = [] if look.dashes == "-" else list(look.dashes[1])
    return {"name": name, "color": look.color, "marker": look.marker, "dashes": dashes}


def _stem(column: str) -> str:
    return column.partition("_")[0]


def _curve(panel: Panel, rows: pd.DataFrame) -> pd.DataFrame:
    """Return what `curves` does of one series."""
    if panel.box:
        return _boxes(panel, rows)
    if not panel.labels:
        groups = rows.groupby(panel.x)[panel.y]
        return pd.DataFrame({x: _spread(runs, panel.band) for x, runs in groups}, index=SPREAD).T
    if (nameless := int(rows[panel.labels].isna().sum())) > 0:
        raise ValueError(f"Panel.labels: {nameless} rows have no text in column {panel.labels!r}; name them")
    made = []
    for label, runs in rows.groupby(panel.labels):
        x, xlow, xhigh, _ = _spread(runs[panel.x], panel.band)
        area = _spread(_areas(panel, runs), panel.band)[0] if panel.area else math.nan
        made.append((x, *_spread(runs[panel.y], panel.band), str(label), xlow, xhigh, area))
    frame = pd.DataFrame(made, columns=["x", *SPREAD, "label", "xlow", "xhigh", "area"])
    return frame.set_index("x").sort_index(kind="stable")


def _boxes(panel: Panel, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the boxes of one series: medians over runs of their middle, ends and tail."""
    groups = rows.groupby(panel.x)
    columns = dict(zip(("middle", "low", "high", "mark"), (panel.y, *panel.box), strict=False))
    made = pd.DataFrame({name: groups[column].median() for name, column in columns.items()})
    return made.reindex(columns=["middle", "low", "high", "mark"]).assign(n=groups[panel.y].count())


def _areas(panel: Panel, runs: pd.DataFrame) -> pd.Series[float]:
    values = pd.to_numeric(runs[panel.area], errors="coerce")
    wrong = runs[panel.area][(values < 0) | np.isinf(values) | (values.isna() & runs[panel.area].notna())]
    if len(wrong):
        raise ValueError(
            f"Panel.area: column {panel.area!r} holds {wrong.tolist()[0]!r}; an area is a number >= 0"
        )
    return values


def _check_columns(panel: Panel, table: pd.DataFrame) -> None:
    named = [(field, getattr(panel, field)) for field in ("x", "y", "by", "labels", "area")]
    for field, name in (*named, *(("box", name) for name in panel.box)):
        if name and name not in table.columns:
            has = ", ".join(map(str, table.columns))
            raise ValueError(f"Panel.{field}: the table has no column {name!r}; it has {has}")


def _spread(runs: pd.Series[float], band: str) -> list[float]:
    """Return middle, low, high and count of the runs of one configuration."""
    if band == "quartiles":
        return [float(runs.median()), *map(float, runs.quantile([0.25, 0.75])), len(runs)]
    known = runs.dropna()
    if len(known) < 2:
        return [runs.mean()] * 3 + [len(known)]
    middle, low, high, n = mean_interval(known)
    return [middle, low, high, n]


def _area_legend(panel: Panel, areas: Areas | None) -> dict[str, Any] | None:
    """Return the name of the area and, for the legend, values with their share of the range of areas."""
    if not panel.area:
        return None
    sizes = [[value, areas.share(value)] for value in areas.legend()] if areas else []
    return {"label": panel.area_label or panel.area, "sizes": sizes}


def _rows(frame: pd.DataFrame, numbers: list[str], areas: Areas | None) -> list[list[Any]]:
    """Return index and numbers as rows, then what else is known of a labelled point or of a box."""
    rows = frame[numbers].reset_index().to_numpy(dtype=float).tolist()
    known: list[list[Any]] = [[_finite(value) for value in row] for row in rows]
    if "mark" in frame:
        return [[*row, {"mark": _finite(mark)}] for row, mark in zip(known, frame["mark"], strict=True)]
    if "label" not in frame:
        return known
    more = [{name: row[name] for name in ("label", "xlow", "xhigh", "area") if name in row}
            for row in frame.to_dict("records")]  # fmt: skip
    for row, about in zip(known, more, strict=True):
        row.append({name: value if name == "label" else _finite(value) for name, value in about.items()})
        if areas:
            row[-1]["share"] = areas.share(about["area"])
    return known


def _finite(value: float) -> float | None:
    """Return a number; what JSON has no number for becomes null."""
    return value if math.isfinite(value) else None
