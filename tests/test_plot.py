import json
import math
from dataclasses import replace
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from experiments import ALL
from lbsim.study import plot

TABLE = pd.DataFrame(
    [
        {"series": s, "key": k, "x": x, "y": x * (k + 1) + i}
        for i, s in enumerate("AB")
        for k in range(5)
        for x in (1, 2, 4)
    ]
)
PUBLISHED = pd.DataFrame(
    [("A", 2, "y", 5.5, 5.0, 7.0), ("A", 2, "z", 9.0, 9.0, 9.0)],
    columns=["series", "x", "metric", "value", "p25", "p75"],
)


PANEL = plot.Panel(x="x", y="y", series=("A", "B"), xlabel="x (unit)", ylabel="y (unit)")


def drawn(**changes):
    with plot.style():
        figure = plot.draw([replace(PANEL, **changes)], TABLE, PUBLISHED)
    return figure, figure.axes[0]


def lines(axes):
    return [line for line in axes.lines if line.get_linestyle() != "None"]


@pytest.mark.parametrize("form", ["png", "pdf", "svg"])
def test_equal_figures_give_equal_bytes(form):
    first, second = (plot.render(drawn()[0], form) for _ in range(2))
    assert first == second
    assert b"CreationDate" not in first
    assert b"<dc:date>" not in first


def test_lines_are_medians_and_bands_quartiles():
    _, axes = drawn()
    line = lines(axes)[0]
    assert list(line.get_xdata()) == [1, 2, 4]
    assert list(line.get_ydata()) == [3, 6, 12]
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == 2
    assert band[:, 1].max() == 16


def test_published_points_are_hollow_with_their_spread():
    _, axes = drawn()
    points = [line for line in axes.lines if line.get_linestyle() == "None" and len(line.get_xdata())]
    assert len(points) == 1
    assert (list(points[0].get_xdata()), list(points[0].get_ydata())) == ([2], [5.5])
    assert points[0].get_markerfacecolor() == "white"
    spread = axes.collections[1].get_segments()[0]
    assert spread.tolist() == [[2, 5], [2, 7]]


def test_axes_are_labelled_and_the_legend_names_all():
    _, axes = drawn(log=True)
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_yscale()) == ("x (unit)", "y (unit)", "log")
    assert [t.get_text() for t in axes.get_legend().get_texts()] == [
        "A",
        "B",
        "simulated, p25 to p75",
        "published, p25 to p75",
    ]


def test_series_differ_in_colour_marker_dashes_and_on_white():
    for a, b in combinations(plot.LOOKS, 2):
        assert a.color != b.color
        assert a.marker != b.marker
        assert a.dashes != b.dashes
    for look in plot.LOOKS:
        assert np.dot(mpl.colors.to_rgb(look.color), (0.299, 0.587, 0.114)) < 0.72


def test_settings_of_the_caller_stay():
    before = dict(mpl.rcParams)
    with mpl.rc_context({"font.size": 31}):
        figure, axes = drawn()
        assert axes.xaxis.label.get_fontsize() == plot.STYLE["font.size"]
        plot.render(figure, "png")
        assert mpl.rcParams["font.size"] == 31
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("study", [s for s in ALL if s.panels], ids=lambda s: s.name)
def test_every_study_draws_its_published_points(study):
    published = pd.read_csv(study.published, comment="#")
    assert study.published.read_text().startswith("# source: digested from ")
    rows = [p._asdict() if study.compute else dict(p.labels) for p in study.points(False)]
    names = {panel.y for panel in study.panels}
    assert names & set(published["metric"])
    table = pd.DataFrame(rows).assign(**{name: np.arange(1.0, len(rows) + 1) for name in names})
    with plot.style():
        figure = plot.draw(study.panels, table, published)
    for axes, panel in zip(figure.axes, study.panels, strict=True):
        assert axes.get_xlabel()
        assert axes.get_ylabel()
        hollow = [x for x in axes.lines if x.get_markerfacecolor() == "white" and len(x.get_xdata())]
        shown = [dots for dots in plot.published_points(panel, published).values() if len(dots)]
        assert len(hollow) == len(shown)
    assert any(
        len(dots) for panel in study.panels for dots in plot.published_points(panel, published).values()
    )
    assert plot.render(figure, "png").startswith(b"\x89PNG")


def test_chart_data_tell_what_is_drawn():
    [chart] = plot.chart_data([replace(PANEL, log=True, rule=3, xticks=(1, 4))], TABLE, PUBLISHED)
    assert json.loads(json.dumps(chart)) == chart
    assert (chart["x"], chart["y"], chart["log"], chart["rule"], chart["xticks"]) == (
        "x",
        "y",
        True,
        3,
        [1, 4],
    )
    a, b = chart["series"]
    assert (a["name"], a["marker"], a["dashes"]) == ("A", "o", [])
    assert b["dashes"] == [5, 1.5]
    assert a["points"] == [[1, 3, 2, 4, 5], [2, 6, 4, 8, 5], [4, 12, 8, 16, 5]]
    assert a["published"] == [[2, 5.5, 5, 7]]
    assert b["published"] == []


def test_a_panel_may_leave_rows_out_and_show_intervals():
    panel = replace(PANEL, where="x > 1", band="interval")
    assert list(plot.curves(panel, TABLE)["A"].index) == [2, 4]
    middle, low, high, n = plot.curves(panel, TABLE)["A"].loc[2]
    assert (middle, n) == (6, 5)
    t = 2.7764451051977987  # of 4 degrees of freedom
    assert high - 6 == pytest.approx(6 - low) == pytest.approx(t * math.sqrt(10) / math.sqrt(5))
    assert list(plot.published_points(replace(PANEL, where="x > 2"), PUBLISHED)["A"].index) == []
    [chart] = plot.chart_data([panel], TABLE.assign(y=TABLE["y"].where(TABLE["x"] != 2)), pd.DataFrame())
    assert chart["band"] == "95 % interval of the mean"
    assert chart["series"][0]["points"][0] == [2, None, None, None, 0]


def test_a_spread_is_named_only_where_it_is_published():
    bare = PUBLISHED.assign(p25=np.nan, p75=np.nan)
    with plot.style():
        axes = plot.draw([PANEL], TABLE, bare).axes[0]
    assert axes.get_legend().get_texts()[-1].get_text() == "published"
    [chart] = plot.chart_data([PANEL], TABLE, bare)
    assert chart["series"][0]["published"] == [[2, 5.5, None, None]]


def test_a_series_without_data_keeps_the_looks_of_the_others_and_is_not_named():
    with plot.style():
        axes = plot.draw([PANEL], TABLE[TABLE["series"] == "B"], pd.DataFrame()).axes[0]
    assert axes.get_legend().get_texts()[0].get_text() == "B"
    assert axes.get_legend().get_lines()[0].get_color() == plot.LOOKS[1].color


def test_published_data_are_named_only_where_there_are_any():
    with plot.style():
        axes = plot.draw([PANEL], TABLE, pd.DataFrame()).axes[0]
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["A", "B", "simulated, p25 to p75"]


def test_a_legend_is_no_wider_than_its_axes():
    assert plot._columns(["RSS", "RSS++", "Sprayer", "simulated, p25 to p75", "published, p25 to p75"]) == 3
    lines = ["dynamic Beamer", "dynamic Beamer, mean of minutes"]
    assert plot._columns([*lines, "simulated", "published"]) == 3
    assert plot._columns([*lines, "simulated mean, 95 %", "published"]) == 2
    assert plot._columns([*lines, "simulated mean, 95 % interval", "published"]) == 1
