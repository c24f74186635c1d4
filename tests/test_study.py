import json
from dataclasses import replace
from io import StringIO
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import results
from lbsim.study import (
    Claim,
    Execution,
    Panel,
    Point,
    Study,
    figures,
    open_watch,
    run_study,
    write_report,
)
from results import BASE

INLINE = Execution("inline")
PANELS = (Panel(x="x", y="y", series=("RSS",), xlabel="x", ylabel="y"),)


def made_up(scenario, progress=None):
    return results.made_up(scenario)


def study(**changes):
    fields = {
        "name": "rsspp-fig13",
        "title": "A made-up figure",
        "base": BASE,
        "points": lambda full: [
            Point({"series": "RSS", "x": seed}, {"seed": seed}) for seed in (range(6) if full else range(3))
        ],
        "measure": lambda result: {"y": result.offered / 3},
        "claims": (Claim("RS-02", lambda tables: tables["rsspp-fig13"]["y"].max()),),
    }
    return Study(**(fields | changes))


def counted(calls):
    def run(scenario, progress=None):
        calls.append(scenario.seed)
        return made_up(scenario)

    return run


# --- running a study ---


def test_a_study_writes_its_folder(tmp_path):
    ran = run_study(study(panels=PANELS), execution=INLINE, results=tmp_path, run=made_up)
    folder = tmp_path / "quick" / "rsspp-fig13"
    assert sorted(p.name for p in folder.iterdir()) == [
        "chart.json",
        "claims.json",
        "provenance.json",
        "rsspp-fig13.csv",
        "rsspp-fig13.pdf",
        "rsspp-fig13.png",
        "rsspp-fig13.svg",
        "scenario.toml",
    ]
    assert list(ran.table.columns) == ["series", "x", "y"]
    assert len(ran.table) == 3
    pd.testing.assert_frame_equal(pd.read_csv(folder / "rsspp-fig13.csv"), ran.table)
    assert json.loads((folder / "claims.json").read_text()) == ran.claims
    about = json.loads((folder / "provenance.json").read_text())
    assert about["seeds"] == [0, 1, 2]
    assert about["points"] == 3
    assert about["command"] == "lbsim figures rsspp-fig13"
    assert about["versions"]["numpy"] == np.__version__


def test_full_and_quick_scale_have_their_own_place(tmp_path):
    run_study(study(), full=True, execution=INLINE, results=tmp_path, run=made_up)
    assert len(pd.read_csv(tmp_path / "rsspp-fig13" / "rsspp-fig13.csv")) == 6
    assert len(list((tmp_path / "points").iterdir())) == 6
    assert not (tmp_path / "quick").exists()


def test_finished_points_are_not_run_again(tmp_path):
    calls = []
    run_study(study(), execution=INLINE, results=tmp_path, run=counted(calls))
    run_study(study(), execution=INLINE, results=tmp_path, run=counted(calls))
    assert calls == [0, 1, 2]
    more = study(points=lambda full: [Point({"x": s}, {"seed": s}) for s in range(5)])
    ran = run_study(more, execution=INLINE, results=tmp_path, run=counted(calls))
    assert calls == [0, 1, 2, 3, 4]
    assert len(ran.table) == 5


def test_a_failed_point_is_named_and_the_others_stay(tmp_path):
    def run(scenario, progress=None):
        if scenario.seed == 1:
            raise ArithmeticError("seed 1 is unlucky")
        return made_up(scenario)

    ran = run_study(study(), execution=INLINE, results=tmp_path, run=run)
    assert ran.failed == ["{'series': 'RSS', 'x': 1}: ArithmeticError: seed 1 is unlucky"]
    assert list(ran.table["x"]) == [0, 2]
    about = json.loads((tmp_path / "quick/rsspp-fig13/provenance.json").read_text())
    assert about["failed_points"] == ran.failed


def test_a_study_without_any_result_still_judges(tmp_path):
    def run(scenario, progress=None):
        raise MemoryError

    ran = run_study(study(), execution=INLINE, results=tmp_path, run=run)
    assert len(ran.failed) == 3
    assert [c["verdict"] for c in ran.claims] == ["fail"]
    assert "not computed" in ran.claims[0]["note"]
    assert "3 points failed, the first" in ran.claims[0]["note"]
    assert write_report(tmp_path).exists()


def test_the_same_study_writes_the_same_bytes(tmp_path):
    for folder in "ab":
        run_study(study(panels=PANELS), execution=INLINE, results=tmp_path / folder, run=made_up)
    files = sorted((tmp_path / "a").rglob("*.*"))
    assert len(files) == 11
    for file in files:
        assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes(), (
            file.name
        )


def test_a_watch_hears_of_every_point(tmp_path):
    console = Console(file=StringIO(), width=200)
    for _ in range(2):
        run_study(study(), execution=INLINE, results=tmp_path, run=made_up, watch=open_watch(console))
    first, second = console.file.getvalue().splitlines()
    assert first.startswith("rsspp-fig13: 3 of 3 points, ")
    assert second == "rsspp-fig13: 3 points, all from the store"


def test_what_the_points_vary_is_told_with_all_values(tmp_path):
    points = [
        Point({"x": 0}, {"server.cores": 4}),
        Point({"x": 1}, {"nic.dispatch.kind": "rss++"}),
        Point({"x": 2}, {"arrivals.rate": "2Mpps"}),
    ]
    run_study(study(points=lambda full: points), execution=INLINE, results=tmp_path, run=made_up)
    varies = json.loads((tmp_path / "quick/rsspp-fig13/provenance.json").read_text())["varies"]
    assert varies["server.cores"] == [4, 2]
    assert varies["nic.dispatch.kind"] == ["rss", "rss++"]
    assert varies["arrivals.rate"] == ["1Mpps", "2Mpps"]
    assert varies["nic.dispatch.tick"] == ["100ms"]  # only RSS++ has one
    assert "server.ring" not in varies


def test_points_that_the_time_limit_kept_from_starting_are_told(tmp_path):
    over = replace(INLINE, limit_time=0.0)
    ran = run_study(study(), execution=over, results=tmp_path, run=made_up)
    assert (ran.left, ran.failed, len(ran.table)) == (3, [], 0)
    assert "3 points were left when the time was up" in ran.claims[0]["note"]
    assert json.loads((tmp_path / "quick/rsspp-fig13/provenance.json").read_text())["points_left"] == 3
    assert run_study(study(), execution=INLINE, results=tmp_path, run=made_up).left == 0


# --- figures ---


def test_needed_studies_run_first_and_lend_their_tables(tmp_path):
    first = study(name="first", claims=())
    needy = study(
        needs=("first",),
        claims=(Claim("RS-02", lambda tables: len(tables["first"]) + 10 * len(tables["rsspp-fig13"])),),
    )
    other = study(name="other", claims=())
    ran = figures(
        ["rsspp-fig13"], studies=(first, other, needy), execution=INLINE, results=tmp_path, run=made_up
    )
    assert [r.name for r in ran] == ["first", "rsspp-fig13"]
    assert ran[1].claims[0]["simulated"] == 33
    assert [
        r.name for r in figures(studies=(first, other), execution=INLINE, results=tmp_path, run=made_up)
    ] == [
        "first",
        "other",
    ]


def test_an_unknown_figure_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match=r"'fig99' is unknown: choose from rsspp-fig13"):
        figures(["fig99"], studies=(study(),), results=tmp_path)


class Corner(NamedTuple):
    x: float
    y: int


def corner(point):
    if point.y == 13:
        raise ArithmeticError("unlucky")
    return {**point._asdict(), "area": np.float64(point.x * point.y), "thin": np.bool_(point.x < 1)}


def test_a_study_may_compute_its_rows_without_scenarios(tmp_path):
    def plain(*points):
        console = Console(file=StringIO(), width=200)
        one = study(base=None, points=lambda full: points, compute=corner, claims=())
        ran = run_study(one, execution=INLINE, results=tmp_path, watch=open_watch(console))
        return ran, console.file.getvalue()

    first, _ = plain(Corner(0.25, 3), Corner(2.0, 4))
    assert first.table.to_dict("list") == {
        "x": [0.25, 2.0], "y": [3, 4], "area": [0.75, 8.0], "thin": [True, False]
    }  # fmt: skip
    more, said = plain(Corner(0.25, 3), Corner(5.0, 1), Corner(1.0, 13))
    assert more.failed == ["Corner(x=1.0, y=13): ArithmeticError: unlucky"]
    assert list(more.table["area"]) == [0.75, 5.0]
    assert "(1 from the store)" in said
    about = json.loads((tmp_path / "quick/rsspp-fig13/provenance.json").read_text())
    assert (about["points"], about["seeds"], about["varies"]) == (3, [], {})
