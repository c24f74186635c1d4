"""Panels of named points: what a point is, how large its marker, where its name."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsim.study import plot
from lbsim.study.plot.names import place_names
from lbsim.study.plot.scatter import PLAIN, diameter
from lbsim.study.plot.shown import Areas

TABLE = pd.DataFrame(
    [
        {"series": s, "system": name, "load": load * (9 + k) / 10, "broken": 10 * load + k, "memory": memory}
        for s, name, load, memory in (("A", "slim", 2, 0), ("A", "wide", 1, 1000), ("B", "mid", 4, 10))
        for k in range(3)
    ]
)
PUBLISHED = pd.DataFrame(
    [("A", 1.5, "broken", 9.0, 8.0, 10.0, "wide"), ("B", 3, "broken", 5.0, np.nan, np.nan, "alone")],
    columns=["series", "x", "metric", "value", "p25", "p75", "system"],
)
PANEL = plot.Panel(
    x="load",
    y="broken",
    series=("A", "B"),
    xlabel="load",
    ylabel="broken (%)",
    labels="system",
    area="memory",
    area_label="memory (B)",
)


def drawn(table=TABLE, published=PUBLISHED, **changes):
    with plot.style():
        figure = plot.draw([replace(PANEL, **changes)], table, published)
    return figure, figure.axes[0]


def marked(axes, hollow=False):
    """Markers without a line: of simulated points, or the hollow ones of published points."""
    bare = [line for line in axes.lines if line.get_linestyle() == "None" and len(line.get_xdata())]
    return [line for line in bare if (line.get_markerfacecolor() == "white") == hollow]


def marks(axes, hollow=False):
    """Position and diameter of every marker."""
    return [
        (float(x), float(y), line.get_markersize())
        for line in marked(axes, hollow)
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    ]


def names(axes):
    return {text.get_text(): text for text in axes.texts if text.get_text()}


def test_a_point_is_the_middle_of_its_runs_in_both_directions():
    a = plot.curves(PANEL, TABLE)["A"]
    assert list(a.index) == [1, 2]  # in the order of x, not of the names
    assert list(a.columns) == ["middle", "low", "high", "n", "label", "xlow", "xhigh", "area"]
    assert a.loc[2].tolist() == [21, 20.5, 21.5, 3, "slim", 1.9, 2.1, 0]
    mean = plot.curves(replace(PANEL, band="interval"), TABLE)["B"].iloc[0]
    assert (mean["middle"], mean["n"]) == (41, 3)
    assert mean["xhigh"] - 4 == pytest.approx(4.302652729911275 * 0.4 / math.sqrt(3))  # t of 2 degrees


def test_points_are_markers_with_bars_and_no_line():
    _, axes = drawn(area="", area_label="")
    assert marks(axes) == [(1, 11, PLAIN), (2, 21, PLAIN), (4, 41, PLAIN)]
    assert {line.get_linestyle() for line in axes.lines} == {"None", ":"}  # dotted to the published twin
    upright, level = (axes.collections[k].get_segments() for k in (0, 1))
    assert [bar.tolist() for bar in upright] == [[[1, 10.5], [1, 11.5]], [[2, 20.5], [2, 21.5]]]
    assert np.allclose(level[1], [[1.9, 21], [2.1, 21]])
    assert [t.get_text() for t in axes.get_legend().get_texts()] == [
        "A",
        "B",
        "simulated, p25 to p75",
        "published, p25 to p75",
    ]
    single = drawn(TABLE[::3], pd.DataFrame())[1]
    assert [t.get_text() for t in single.get_legend().get_texts()] == ["A", "B"]


def test_published_points_are_hollow_and_named_only_without_a_twin():
    _, axes = drawn()
    assert [mark[:2] for mark in marks(axes, hollow=True)] == [(1.5, 9), (3, 5)]
    assert set(names(axes)) == {"slim", "wide", "mid", "alone"}
    twins = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert [line.get_xydata().tolist() for line in twins] == [[[1, 11], [1.5, 9]]]
    nameless = drawn(published=PUBLISHED.drop(columns="system"))[1]
    assert len(marks(nameless, hollow=True)) == 2
    assert set(names(nameless)) == {"slim", "wide", "mid"}


def test_areas_are_logarithmic_and_have_a_legend_of_three():
    _, axes = drawn()
    areas = Areas(10, 1000)
    assert marks(axes) == [
        (x, y, pytest.approx(diameter(areas.share(m))))
        for x, y, m in ((1, 11, 1000), (2, 21, 0), (4, 41, 10))
    ]
    stacked = sorted(marked(axes), key=lambda line: line.get_zorder())
    assert [line.get_markersize() for line in stacked] == sorted((m for _, _, m in marks(axes)), reverse=True)
    sizes = next(a for a in axes.artists if hasattr(a, "get_texts"))
    assert sizes.get_title().get_text() == "memory (B)"
    assert [text.get_text() for text in sizes.get_texts()] == ["10", "100", "1,000"]
    assert areas.share(0) == areas.share(math.nan) == 0 < areas.share(10)
    assert areas.share(1000) == pytest.approx(1)
    assert areas.share(100) == pytest.approx((areas.share(10) + 1) / 2)
    assert 0 < Areas(7, 7).share(7) < 1


@given(st.floats(1e-6, 1e9), st.floats(1, 1e6))
def test_a_legend_of_areas_stays_within_them(least, ratio):
    shown = Areas(least, least * ratio).legend()
    assert 1 <= len(shown) <= 3
    assert shown == sorted(set(shown))
    assert least * 0.99 <= shown[0]
    assert shown[-1] <= least * ratio * 1.01


def test_no_area_above_zero_is_no_legend():
    assert not [a for a in drawn(TABLE.assign(memory=0))[1].artists if hasattr(a, "get_texts")]
    [chart] = plot.chart_data([PANEL], TABLE.assign(memory=0), pd.DataFrame())
    assert chart["area"] == {"label": "memory (B)", "sizes": []}


@pytest.mark.parametrize("form", ["png", "svg"])
def test_equal_scatter_plots_give_equal_bytes(form):
    first, second = (plot.render(drawn()[0], form) for _ in range(2))
    assert first == second


def test_chart_data_tell_names_bars_and_areas():
    [chart] = plot.chart_data([PANEL], TABLE, PUBLISHED)
    assert json.loads(json.dumps(chart, allow_nan=False)) == chart
    assert chart["labels"] == "system"
    assert [size for size, _ in chart["area"]["sizes"]] == [10, 100, 1000]
    wide = chart["series"][0]["points"][0]
    assert wide == [
        1,
        11,
        10.5,
        11.5,
        3,
        {"label": "wide", "xlow": 0.95, "xhigh": 1.05, "area": 1000, "share": 1},
    ]
    assert chart["series"][1]["published"] == [[3, 5, None, None, {"label": "alone"}]]
    [bare] = plot.chart_data([replace(PANEL, area="", area_label="")], TABLE, pd.DataFrame())
    assert bare["area"] is None
    assert bare["series"][0]["points"][0][5]["area"] is None
    assert "share" not in bare["series"][0]["points"][0][5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": "gone"}, "Panel.labels: the table has no column 'gone'; it has series, system, load"),
        ({"area": "gone"}, "Panel.area: the table has no column 'gone'"),
        ({"x": "gone"}, "Panel.x: the table has no column 'gone'"),
        ({"area": "system"}, "column 'system' holds 'slim'; an area is a number >= 0"),
        ({"area": "cost"}, "column 'cost' holds -1; an area is a number >= 0"),
        ({"labels": "gap"}, "Panel.labels: 5 rows have no text in column 'gap'"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_with_the_column(change, message):
    table = TABLE.assign(cost=-1, gap=TABLE["system"].where(TABLE.index == 0))
    with pytest.raises(ValueError, match=message):
        plot.draw([replace(PANEL, **change)], table, pd.DataFrame())


# --- where names stand ---

FRAME = (0.0, 0.0, 400.0, 300.0)


def boxes(anchors, sizes, places):
    return [
        (x + dx - w / 2, y + dy - h / 2, x + dx + w / 2, y + dy + h / 2)
        for (x, y), (w, h), (dx, dy, _) in zip(anchors, sizes, places, strict=True)
    ]


def shared(a, b):
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def test_a_name_alone_stands_right_of_its_marker_and_left_at_the_right_edge():
    around = np.array([[195, 95, 205, 105]])
    assert place_names([(200, 100)], [(40, 8)], [5], around, FRAME) == [(27, pytest.approx(0), 2)]
    ((dx, dy, gap),) = place_names([(390, 100)], [(40, 8)], [5], around, FRAME)
    assert (dx, gap) == (-27, 2)
    assert dy == pytest.approx(0)


def test_twenty_five_names_stand_apart_and_inside():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        anchors = [(float(x), float(y)) for x, y in rng.uniform((5, 5), (395, 295), (25, 2))]
        sizes = [(float(w), 8.0) for w in rng.uniform(15, 60, 25)]
        marks = np.array([(x - 4, y - 4, x + 4, y + 4) for x, y in anchors])
        found = boxes(anchors, sizes, place_names(anchors, sizes, [4.0] * 25, marks, FRAME))
        assert sum(shared(a, b) for i, a in enumerate(found) for b in found[:i]) == 0
        assert all(
            shared(box, FRAME) == pytest.approx(w * h) for box, (w, h) in zip(found, sizes, strict=True)
        )
        assert sum(shared(a, b) for a in found for b in marks) < 40


def test_names_in_the_picture_stand_where_they_were_placed():
    rng = np.random.default_rng(7)
    rows = [{"series": "A", "system": f"system {k}", "load": x, "broken": y, "memory": 10.0 ** (k % 5)}
            for k, (x, y) in enumerate(rng.uniform(0, 10, (25, 2)))]  # fmt: skip
    figure, axes = drawn(pd.DataFrame(rows), pd.DataFrame())
    with plot.style():
        figure.draw_without_rendering()
    found = [text.get_window_extent().extents for text in names(axes).values()]
    assert len(found) == 25
    assert sum(shared(a, b) for i, a in enumerate(found) for b in found[:i]) < 10  # of 25 000 pixels
    left, bottom, right, top = axes.bbox.extents
    assert all(box[0] > left - 1 and box[2] < right + 1 for box in found)
    assert all(box[1] > bottom - 1 and box[3] < top + 1 for box in found)
