"""Heat maps and boxes: what a cell or a box is, and that pictures and the report's data show it."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsim.study import plot
from lbsim.study.plot.heat import cells, edges, heat_range
from lbsim.study.plot.looks import HEAT

TABLE = pd.DataFrame(
    [
        {"series": s, "key": k, "time": t, "core": c, "load": 10 * c + t + 100 * k * k}
        for s in ("A", "B")
        for k in range(3)
        for t in (1, 2, 4)
        for c in (0, 1)
        if (t, c) != (4, 1)
    ]
)
PUBLISHED = pd.DataFrame(
    [("A", 1, "load", 7.0, 0), ("A", 2, "load", 9.0, 3), ("A", 2, "other", 1.0, 3), ("B", 2, "load", 1.0, 3)],
    columns=["series", "x", "metric", "value", "core"],
)
HEATED = plot.Panel(
    x="time", y="core", series=("A",), xlabel="time (s)", ylabel="core", heat="load", heat_label="load (%)"
)
NONE = pd.DataFrame()


def drawn(panel=HEATED, table=TABLE, published=NONE):
    with plot.style():
        figure = plot.draw([panel], table, published)
    return figure.axes


def test_a_cell_is_the_median_of_its_runs():
    grid = cells(HEATED, TABLE.sample(frac=1, random_state=1), NONE)
    assert grid.to_numpy().tolist() == [
        [1, 0, 101, 3],
        [2, 0, 102, 3],
        [4, 0, 104, 3],
        [1, 1, 111, 3],
        [2, 1, 112, 3],
    ]
    assert list(grid.columns) == ["x", "y", "value", "n"]
    gaps = TABLE.assign(load=TABLE["load"].where((TABLE["key"] == 1) & (TABLE["time"] == 2)))
    assert cells(HEATED, gaps, NONE).to_numpy().tolist() == [[2, 0, 102, 1], [2, 1, 112, 1]]
    assert len(cells(replace(HEATED, where="time > 1 and key < 2"), TABLE, NONE)) == 3


def test_what_was_published_makes_a_map_of_its_own():
    panel = replace(HEATED, shows="published")
    assert cells(panel, TABLE, PUBLISHED).to_numpy().tolist() == [[1, 0, 7, 1], [2, 3, 9, 1]]
    axes, bar = drawn(panel, published=PUBLISHED)
    assert axes.get_title(loc="left") == "A, published"
    assert bar.get_ylabel() == "load (%)"


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=20, unique=True))
def test_edges_lie_halfway_between_centres(values):
    centres = np.sort(np.array(values, float))
    found = edges(centres)
    assert len(found) == len(centres) + 1
    assert (found[:-1] < centres).all()
    assert (centres < found[1:]).all()
    assert found[1:-1] == pytest.approx((centres[1:] + centres[:-1]) / 2)
    if len(centres) > 1:
        assert centres[0] - found[0] == found[1] - centres[0]


def test_a_picture_has_every_cell_a_colour_bar_and_no_legend():
    axes, bar = drawn(replace(HEATED, heat_range=(0, 200), xticks=(1, 4)))
    mesh = axes.collections[0]
    assert np.ma.filled(mesh.get_array(), -1).tolist() == [[101, 102, 104], [111, 112, -1]]
    assert mesh.get_coordinates()[0, :, 0].tolist() == [0.5, 1.5, 3, 5]
    assert mesh.get_coordinates()[:, 0, 1].tolist() == [-0.5, 0.5, 1.5]
    assert (mesh.norm.vmin, mesh.norm.vmax) == (0, 200)
    assert (axes.get_xlabel(), axes.get_ylabel(), bar.get_ylabel()) == ("time (s)", "core", "load (%)")
    assert axes.get_xticks().tolist() == [1, 4]
    assert all(float(tick).is_integer() for tick in axes.get_yticks())
    assert axes.get_title(loc="left") == "A"
    assert axes.get_legend() is None


def test_colours_span_the_values_where_no_range_is_given():
    grid = cells(HEATED, TABLE, NONE)
    assert heat_range(HEATED, grid) == (101, 112)
    assert heat_range(HEATED, grid.assign(value=3)) == (2.5, 3.5)
    assert heat_range(HEATED, grid[:0]) == (0, 1)


def test_colours_get_evenly_lighter_so_that_grey_tells():
    red, green, blue = (np.array([int(color[k : k + 2], 16) for color in HEAT]) for k in (1, 3, 5))
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    assert (np.diff(grey) > 15).all()
    assert np.diff(grey).max() < 2 * np.diff(grey).min()


def test_chart_data_tell_cells_and_colours():
    [chart] = plot.chart_data([replace(HEATED, heat_range=(0, 200))], TABLE, NONE)
    assert json.loads(json.dumps(chart, allow_nan=False)) == chart
    assert chart["heat"] == {"label": "load (%)", "heading": "A", "range": [0, 200], "colors": list(HEAT)}
    [series] = chart["series"]
    assert (series["name"], series["published"]) == ("A", [])
    assert series["points"] == [
        [1, 0, 101, 3],
        [2, 0, 102, 3],
        [4, 0, 104, 3],
        [1, 1, 111, 3],
        [2, 1, 112, 3],
    ]


def test_a_map_without_a_cell_is_drawn_empty():
    axes = drawn(table=TABLE[:0])
    assert len(axes) == 1
    assert not axes[0].collections
    [chart] = plot.chart_data([HEATED], TABLE[:0], NONE)
    assert chart["series"][0]["points"] == []


@pytest.mark.parametrize("form", ["png", "svg"])
def test_equal_maps_give_equal_bytes_beside_lines(form):
    line = plot.Panel(x="time", y="load", series=("A", "B"), xlabel="time (s)", ylabel="load (%)")

    def rendered():
        with plot.style():
            return plot.render(plot.draw([HEATED, line], TABLE, NONE), form)

    assert rendered() == rendered()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"series": ("A", "B")}, "the picture of one series, not of 2; make a panel for each"),
        ({"log": True, "rule": 3}, "heat draws cells, log, rule something else"),
        ({"labels": "key"}, "heat draws cells, labels something else"),
        ({"heat_range": (3, 3)}, r"heat_range = \(3, 3\) must rise"),
        ({"heat": ""}, "heat_label tells of a heat map; give heat, its column"),
        (
            {"heat": "", "heat_label": "", "shows": "published"},
            "shows = 'published' .* give heat, its metric",
        ),
    ],
)
def test_fields_that_contradict_a_map_are_refused(change, message):
    with pytest.raises(ValueError, match=f"panel of 'core' over 'time': .*{message}"):
        replace(HEATED, **change)


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match=r"Panel.value: no column 'gone' .* the table has series, key, time"):
        cells(replace(HEATED, heat="gone"), TABLE, NONE)
    with pytest.raises(ValueError, match=r"Panel.y: no column 'core' .* published are series, time, metric"):
        cells(replace(HEATED, shows="published"), TABLE, PUBLISHED.drop(columns="core"))


# --- boxes ---

BOXED = plot.Panel(
    x="time", y="p50_us", series=("A", "B"), xlabel="time (s)", ylabel="latency (µs)",
    box=("p25_us", "p75_us", "p99_us"),
)  # fmt: skip
BOXES = pd.DataFrame(
    [
        {
            "series": "A",
            "key": k,
            "time": t,
            "p25_us": k,
            "p50_us": 10 + k,
            "p75_us": 20 + k * t,
            "p99_us": 90,
        }
        for k in range(3)
        for t in (1, 2, 4)
    ]
)


def test_a_box_has_the_medians_of_its_columns_over_the_runs():
    a = plot.curves(BOXED, BOXES)["A"]
    assert a.index.tolist() == [1, 2, 4]
    assert a[["middle", "low", "high", "mark", "n"]].to_numpy().tolist() == [
        [11, 1, 21, 90, 3],
        [11, 1, 22, 90, 3],
        [11, 1, 24, 90, 3],
    ]
    assert plot.curves(replace(BOXED, box=("p25_us", "p75_us")), BOXES)["A"]["mark"].isna().all()


def test_boxes_are_drawn_with_middle_and_tail_and_no_line():
    (axes,) = drawn(BOXED, BOXES)
    assert [(b.get_y(), b.get_height()) for b in axes.patches] == [(1, 20), (1, 21), (1, 23)]
    assert [b.get_width() for b in axes.patches] == [pytest.approx(0.6)] * 3
    middles = axes.collections[0].get_segments()
    assert middles[0].tolist() == [[0.7, 11], [1.3, 11]]
    tails = [line for line in axes.lines if len(line.get_xdata())]
    assert [line.get_ydata().tolist() for line in tails] == [[90, 90, 90]]
    assert {line.get_linestyle() for line in tails} == {"None"}
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["A", "simulated, p25 to p75", "p99"]


def test_chart_data_tell_boxes():
    [chart] = plot.chart_data([BOXED], BOXES, NONE)
    assert (chart["box"], chart["band"]) == ({"tail": "p99"}, "p25 to p75")
    assert chart["series"][0]["points"][0] == [1, 11, 1, 21, 3, {"mark": 90}]
    [bare] = plot.chart_data([replace(BOXED, box=("p25_us", "p75_us"))], BOXES, NONE)
    assert bare["box"] == {"tail": ""}
    assert bare["series"][0]["points"][0][5] == {"mark": None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"box": ("p25_us",)}, r"box = \['p25_us'\] must name two columns"),
        ({"step": True}, "box draws boxes, labels and step do not"),
        ({"band": "interval"}, "band = 'interval' tells of runs"),
    ],
)
def test_fields_that_contradict_boxes_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(BOXED, **change)


def test_a_missing_column_of_a_box_is_named():
    with pytest.raises(ValueError, match=r"Panel.box: the table has no column 'p99_us'"):
        plot.curves(BOXED, BOXES.drop(columns="p99_us"))


# --- many series ---


def test_a_high_legend_makes_the_figure_higher_instead_of_the_axes_lower():
    names = [f"a rather long name {k}" for k in range(8)]
    table = pd.DataFrame([{"series": name, "x": x, "y": x} for name in names for x in (1, 2)])
    panel = plot.Panel(x="x", y="y", series=names, xlabel="x", ylabel="y")
    heights = []
    for series in (names[:2], names):
        with plot.style():
            figure = plot.draw([replace(panel, series=series)], table, NONE)
            figure.draw_without_rendering()
        legend = figure.axes[0].get_legend().get_window_extent()
        assert legend.x1 <= figure.bbox.x1 + 1
        assert legend.y1 <= figure.bbox.y1 + 1
        heights.append((figure.get_figheight(), figure.axes[0].bbox.height))
    (low, axes), (high, axes_of_eight) = heights
    assert high > low
    assert axes_of_eight > 0.9 * axes
