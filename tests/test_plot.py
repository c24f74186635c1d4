import json
import math
from dataclasses import replace
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import ALL, cheetah_sim_dip
from lbsim.study import plot
from lbsim.study.plot import legend, scales

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


def made_up(study):
    """A table of a study as if it had run: its own labels, and a number wherever a panel needs one."""
    rows = pd.DataFrame([p._asdict() if study.compute else dict(p.labels) for p in study.points(False)])
    shown = [(p.x, p.y, p.area, p.heat, *p.box) for p in study.panels]
    measured = {name for names in shown for name in names} - {"", *rows}
    table = rows.assign(**{name: 1 + np.arange(len(rows)) % 39 for name in sorted(measured)})
    return table.assign(core=np.arange(len(rows)) % 3) if "core" in measured else table


@pytest.mark.parametrize("study", [s for s in ALL if s.panels], ids=lambda s: s.name)
def test_every_study_draws_its_panels_and_its_published_points(study):
    published = pd.DataFrame()
    if study.published:
        assert study.published.read_text().startswith(
            ("# source: digested from ", "# source: digitised from ")
        )
        published = pd.read_csv(study.published, comment="#")
    table = made_up(study)
    with plot.style():
        figure = plot.draw(study.panels, table, published)
    drawn_points = 0
    for axes, panel in zip(figure.axes, study.panels, strict=False):  # colour bars come last
        assert axes.get_xlabel()
        assert axes.get_ylabel()
        if panel.heat:
            assert len(axes.collections) == 1
            continue
        assert any(len(line) for line in plot.curves(panel, table).values())
        hollow = [x for x in axes.lines if x.get_markerfacecolor() == "white" and len(x.get_xdata())]
        shown = [dots for dots in plot.published_points(panel, published).values() if len(dots)]
        assert len(hollow) == len(shown)
        drawn_points += len(shown)
    assert (drawn_points > 0) == bool(study.published)
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
    assert legend._columns(["RSS", "RSS++", "Sprayer", "simulated, p25 to p75", "published, p25 to p75"]) == 3
    lines = ["dynamic Beamer", "dynamic Beamer, mean of minutes"]
    assert legend._columns([*lines, "simulated", "published"]) == 3
    assert legend._columns([*lines, "simulated mean, 95 %", "published"]) == 2
    assert legend._columns([*lines, "simulated mean, 95 % interval", "published"]) == 1


@pytest.mark.parametrize(("panels", "columns"), [(1, 1), (3, 3), (4, 2), (5, 3)])
def test_many_panels_stand_in_two_rows(panels, columns):
    with plot.style():
        figure = plot.draw([PANEL] * panels, TABLE, PUBLISHED)
        figure.draw_without_rendering()
    assert len(figure.axes) == panels
    assert len({round(axes.get_position().x0, 2) for axes in figure.axes}) == columns
    assert len({round(axes.get_position().y0, 2) for axes in figure.axes}) == -(-panels // columns)


# --- scales ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"log": True, "symlog": 1}, "log and symlog are two scales of y; give one of them"),
        ({"symlog": 0}, "symlog = 0 must be a number above 0"),
        ({"symlog": math.nan}, "symlog = nan must be a number above 0"),
        ({"symlog": 1, "ylim": (-1, 8)}, "ylim starts at -1; with symlog it must start at 0 or above"),
        ({"log": True, "ylim": (0, 8)}, "ylim starts at 0; with log it must start above 0"),
        ({"xlog": True, "xticks": (0, 1)}, r"xticks = \[0, 1\] must be above 0 with xlog"),
        ({"step": True, "labels": "key"}, "step draws lines, labels draws points"),
        ({"area": "key"}, "area = 'key' .* give labels"),
        ({"labels": "key", "area_label": "keys"}, "area_label = 'keys' .* give area"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(change, message):
    with pytest.raises(ValueError, match=f"panel of 'y' over 'x': {message}"):
        replace(PANEL, **change)


@pytest.mark.parametrize(
    ("knee", "top", "ticks"),
    [
        (1, 8, [0, 0.5, 1, 2, 4, 8]),
        (1, 8.9, [0, 0.5, 1, 2, 4, 8]),
        (1, 63, [0, 0.5, 1, 2, 4, 8, 16, 32]),
        (1, 64, [0, 0.5, 1, 2, 5, 10, 20, 50]),
        (1, 200, [0, 0.5, 1, 2, 5, 10, 20, 50, 100, 200]),
        (0.01, 1000, [0, 0.01, 0.1, 1, 10, 100, 1000]),
        (1, 1e14, [0, 1, 10, 1000, 1e5, 1e7, 1e9, 1e11, 1e13]),
    ],
)
def test_ticks_of_a_symlog_axis(knee, top, ticks):
    assert scales.symlog_ticks(knee, top) == ticks


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (1.56, 78, [2, 5, 10, 20, 50]),
        (1, 100, [1, 2, 5, 10, 20, 50, 100]),
        (0.001, 1e7, [0.001, 0.1, 10, 1000, 1e5, 1e7]),
        (3, 9, [3, 4, 5, 6, 7, 8, 9]),
        (3.1, 3.9, []),
    ],
)
def test_ticks_of_a_logarithmic_axis(low, high, ticks):
    assert scales.log_ticks(low, high) == ticks


@given(st.floats(1e-6, 1e6), st.floats(0, 1e9), st.floats(0, 1e9))
def test_a_symlog_scale_keeps_order_and_comes_back(knee, a, b):
    low, high = sorted((a, b))
    assert scales.symlog(low, knee) <= scales.symlog(high, knee)
    assert scales.symlog_inverse(scales.symlog(a, knee), knee) == pytest.approx(a, rel=1e-9)
    assert scales.symlog([0, knee / 2, knee, knee * math.e], knee) == pytest.approx([0, 0.5, 1, 2])


def test_zeros_stand_on_the_axis_of_a_symlog_panel():
    zeros = TABLE.assign(y=(TABLE["y"] - 3).clip(lower=0))
    with plot.style():
        figure = plot.draw([replace(PANEL, symlog=2)], zeros, PUBLISHED)
    axes = figure.axes[0]
    assert lines(axes)[0].get_ydata()[0] == 0
    assert axes.get_ylim()[0] == 0
    assert not lines(axes)[0].get_clip_on()
    figure.draw_without_rendering()
    assert [label.get_text() for label in axes.get_yticklabels()][:5] == ["0", "1", "2", "4", "8"]
    height = [axes.transData.transform((1, y))[1] for y in (0, 1, 2, 2 * math.e)]
    assert np.diff(height) == pytest.approx(
        [height[1] - height[0], height[1] - height[0], 2 * (height[1] - height[0])]
    )


def test_a_symlog_axis_below_its_knee_is_linear():
    _, axes = drawn(symlog=1000)
    assert np.allclose(np.diff(axes.get_yticks()), np.diff(axes.get_yticks())[0])


def test_a_logarithmic_x_axis_has_plain_numbers():
    figure, axes = drawn(xlog=True)
    figure.draw_without_rendering()
    assert axes.get_xscale() == "log"
    shown = {label.get_text() for label in axes.get_xticklabels(which="both")} - {""}
    assert shown
    assert all("$" not in text for text in shown)
    assert axes.transData.transform((4, 1))[0] - axes.transData.transform((2, 1))[0] == pytest.approx(
        axes.transData.transform((2, 1))[0] - axes.transData.transform((1, 1))[0]
    )
    wide = TABLE.assign(x=TABLE["x"] ** 4)
    with plot.style():
        axes = plot.draw([replace(PANEL, xlog=True)], wide, pd.DataFrame()).axes[0]
    assert axes.get_xticks().tolist() == [1, 2, 5, 10, 20, 50, 100, 200]
    narrow = TABLE.assign(x=3 + TABLE["x"] / 5)
    with plot.style():
        axes = plot.draw([replace(PANEL, xlog=True)], narrow, pd.DataFrame()).axes[0]
    assert len(axes.get_xticks()) >= 3
    assert drawn(xlog=True, xticks=(1, 4))[1].get_xticks().tolist() == [1, 4]


def test_a_staircase_holds_every_value_until_the_next():
    _, axes = drawn(step=True)
    assert lines(axes)[0].get_drawstyle() == "steps-post"
    path = lines(axes)[0].get_path()
    assert path.vertices.tolist() == [[1, 3], [2, 3], [2, 6], [4, 6], [4, 12]]
    band = axes.collections[0].get_paths()[0].vertices
    assert [2, 4] in band.tolist()  # p75 of x = 1 at the moment before x = 2
    many = pd.DataFrame({"series": "A", "x": range(100), "y": range(100)})
    with plot.style():
        axes = plot.draw([replace(PANEL, step=True)], many, pd.DataFrame()).axes[0]
    assert lines(axes)[0].get_markevery() == 5


def test_chart_data_tell_the_scales():
    [chart] = plot.chart_data([replace(PANEL, symlog=0.5, xlog=True, step=True)], TABLE, PUBLISHED)
    assert (chart["log"], chart["symlog"], chart["xlog"], chart["step"]) == (False, 0.5, True, True)
    assert (chart["labels"], chart["area"]) == (None, None)


def test_the_published_axis_of_the_updates_is_logarithmic():
    assert all(panel.xlog and panel.log for panel in cheetah_sim_dip.STUDY.panels)
