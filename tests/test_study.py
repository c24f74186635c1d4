import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from lbsim.metrics.histogram import Histogram
from lbsim.metrics.result import Result, Samples
from lbsim.scenario import Cost, Fixed, Flows, Poisson, Rate, Scenario, Server, Work, override
from lbsim.study import Claim, Point, Study, check, figures, plot, run_study, store, write_report
from lbsim.study.sweep import sweep

BASE = Scenario(
    duration=10**9,
    traffic=Flows(flows=16),
    arrivals=Poisson(rate=Rate(1e6, "pps")),
    server=Server(cores=2, cost=Cost(work=Fixed(time=Work(1000)))),
)


def made_up(scenario, samples=True):
    """A result that depends on the seed and the cores alone."""
    rng = np.random.default_rng(scenario.seed)
    cores = scenario.server.cores
    processed, busy, dropped = rng.integers(1, 2**60, (3, cores))
    return Result(
        scenario=scenario,
        engine="made up",
        span=10**12,
        offered=int(processed.sum() % 10**6),
        offered_bytes=64 * 10**9,
        delivered=5,
        delivered_bytes=320,
        drops={"ring full": 7},
        latency=replace(Histogram.of(rng.integers(0, 2**62, 50)), total=10**25),
        processed=processed,
        busy=busy,
        dropped=dropped,
        end=10**12,
        samples=Samples(np.arange(4), *rng.integers(0, 2**62, (4, 4, cores))) if samples else None,
        control={"ticks": 3},
        notices=("a notice",),
    )


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
        "draw": None,
    }
    return Study(**(fields | changes))


def draw(table, published):
    figure, [axes] = plot.figure()
    axes.plot(table["x"], table["y"])
    return figure


def counted(calls):
    def run(scenario):
        calls.append(scenario.seed)
        return made_up(scenario)

    return run


def same(a, b):
    plain = [
        (r.engine, r.span, r.offered, r.offered_bytes, r.delivered, r.delivered_bytes, r.drops, r.end)
        for r in (a, b)
    ]
    arrays = [[r.processed, r.busy, r.dropped, r.latency.counts, *(r.samples or ())] for r in (a, b)]
    tails = [(r.latency.total, r.latency.low, r.latency.high, r.control, r.notices) for r in (a, b)]
    return (
        plain[0] == plain[1]
        and tails[0] == tails[1]
        and len(arrays[0]) == len(arrays[1])
        and all(np.array_equal(x, y) and x.dtype == y.dtype for x, y in zip(*arrays, strict=True))
    )


# --- the store ---


@given(seed=st.integers(0, 99), cores=st.integers(1, 5), samples=st.booleans())
@settings(max_examples=20, deadline=None)
def test_a_stored_result_comes_back_exactly(tmp_path_factory, seed, cores, samples):
    scenario = override(BASE, {"seed": seed, "server.cores": cores})
    path = tmp_path_factory.mktemp("store") / "point"
    store.save(path, made_up(scenario, samples))
    assert same(store.load(path, scenario), made_up(scenario, samples))


def test_a_flipped_bit_is_noticed_or_harmless(tmp_path):
    path = tmp_path / "point"
    store.save(path, made_up(BASE))
    whole = path.read_bytes()
    noticed = 0
    for position in range(0, len(whole), 29):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 16]) + whole[position + 1 :])
        try:
            assert same(store.load(path, BASE), made_up(BASE))
        except store.DamagedError:
            noticed += 1
    assert noticed > 0.3 * len(whole) / 29


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_cut_file_is_noticed(tmp_path, keep):
    path = tmp_path / "point"
    store.save(path, made_up(BASE))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(store.DamagedError, match="damaged"):
        store.load(path, BASE)


def test_page_checksums_are_verified(tmp_path, monkeypatch):
    path = tmp_path / "point"
    store.save(path, made_up(BASE))
    whole = path.read_bytes()
    monkeypatch.setattr(store, "_digest", lambda row: row.get("digest", "same"))
    noticed = 0
    for position in range(4, 1000, 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        try:
            store.load(path, BASE)
        except store.DamagedError as error:
            noticed += "crc" in str(error).lower() or "checksum" in str(error).lower()
    assert noticed > 20


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    store.write_whole(path, b"old")

    def full_disk(descriptor):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        store.write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_points_are_keyed_on_scenario_and_meaningful_sources(tmp_path, monkeypatch):
    for name in ("engine/run.py", "study/plot.py", "workload/data/sizes.csv", "cli/app.py"):
        store.write_whole(tmp_path / name, b"1")
    monkeypatch.setattr(store, "PACKAGE", tmp_path)

    def name(scenario=BASE):
        store.fingerprint.cache_clear()
        return store.point_file(tmp_path, scenario).name

    first = name()
    assert name(override(BASE, {"seed": 2})) != first
    for harmless in ("study/plot.py", "cli/app.py", "engine/__pycache__/run.pyc"):
        store.write_whole(tmp_path / harmless, b"2")
        assert name() == first
    seen = {first}
    for meaningful in ("engine/run.py", "workload/data/sizes.csv", "engine/new.py"):
        store.write_whole(tmp_path / meaningful, b"2")
        seen.add(name())
    assert len(seen) == 4
    store.fingerprint.cache_clear()


# --- running a study ---


def test_a_study_writes_its_folder(tmp_path):
    ran = run_study(study(draw=draw), jobs=1, results=tmp_path, run=made_up)
    folder = tmp_path / "quick" / "rsspp-fig13"
    assert sorted(p.name for p in folder.iterdir()) == [
        "claims.json",
        "provenance.json",
        "rsspp-fig13.csv",
        "rsspp-fig13.pdf",
        "rsspp-fig13.png",
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
    run_study(study(), full=True, jobs=1, results=tmp_path, run=made_up)
    assert len(pd.read_csv(tmp_path / "rsspp-fig13" / "rsspp-fig13.csv")) == 6
    assert len(list((tmp_path / "points").iterdir())) == 6
    assert not (tmp_path / "quick").exists()


def test_finished_points_are_not_run_again(tmp_path):
    calls = []
    run_study(study(), jobs=1, results=tmp_path, run=counted(calls))
    run_study(study(), jobs=1, results=tmp_path, run=counted(calls))
    assert calls == [0, 1, 2]
    more = study(points=lambda full: [Point({"x": s}, {"seed": s}) for s in range(5)])
    ran = run_study(more, jobs=1, results=tmp_path, run=counted(calls))
    assert calls == [0, 1, 2, 3, 4]
    assert len(ran.table) == 5


def test_a_damaged_point_is_run_again_with_a_notice(tmp_path):
    calls, console = [], Console(record=True, file=open(os.devnull, "w"), width=200)  # noqa: SIM115
    run_study(study(), jobs=1, results=tmp_path, run=counted(calls))
    damaged = store.point_file(tmp_path / "quick" / "points", override(BASE, {"seed": 1}))
    damaged.write_bytes(damaged.read_bytes()[:-50])
    assert any(damaged.name in problem for problem in check(tmp_path))
    run_study(study(), jobs=1, results=tmp_path, run=counted(calls), console=console)
    console.file.close()
    assert calls == [0, 1, 2, 1]
    assert re.search(f"notice: {damaged.name} is damaged.*computed again", console.export_text())
    assert check(tmp_path) == []


def test_a_failed_point_is_named_and_the_others_stay(tmp_path):
    def run(scenario):
        if scenario.seed == 1:
            raise ArithmeticError("seed 1 is unlucky")
        return made_up(scenario)

    ran = run_study(study(), jobs=1, results=tmp_path, run=run)
    assert ran.failed == ["{'series': 'RSS', 'x': 1}: ArithmeticError: seed 1 is unlucky"]
    assert list(ran.table["x"]) == [0, 2]
    about = json.loads((tmp_path / "quick/rsspp-fig13/provenance.json").read_text())
    assert about["failed_points"] == ran.failed


def test_a_study_without_any_result_still_judges(tmp_path):
    def run(scenario):
        raise MemoryError

    ran = run_study(study(), jobs=1, results=tmp_path, run=run)
    assert len(ran.failed) == 3
    assert [c["verdict"] for c in ran.claims] == ["fail"]
    assert "not computed" in ran.claims[0]["note"]
    assert "3 points failed, the first" in ran.claims[0]["note"]
    assert write_report(tmp_path).exists()


def test_any_executor_gives_the_same_as_none(tmp_path):
    scenarios = [override(BASE, {"seed": seed}) for seed in range(5)]
    alone, _ = sweep(scenarios, tmp_path / "a", made_up, jobs=1)
    with ThreadPoolExecutor(3) as pool:
        shared, failures = sweep(scenarios, tmp_path / "b", made_up, executor=pool)
    assert failures == []
    assert all(same(a, b) for a, b in zip(alone, shared, strict=True))
    names = [sorted(p.name for p in (tmp_path / x).iterdir()) for x in "ab"]
    assert names[0] == names[1]


@pytest.mark.slow  # processes take seconds to start
def test_processes_give_the_same_as_none(tmp_path):
    ran = [run_study(study(), jobs=jobs, results=tmp_path / str(jobs), run=made_up) for jobs in (1, 2)]
    assert ran[0].failed == ran[1].failed == []
    pd.testing.assert_frame_equal(ran[0].table, ran[1].table)


def test_the_same_study_writes_the_same_bytes(tmp_path):
    for folder in "ab":
        run_study(study(draw=draw), jobs=1, results=tmp_path / folder, run=made_up)
    files = sorted((tmp_path / "a").rglob("*.*"))
    assert len(files) == 9
    for file in files:
        assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes(), (
            file.name
        )


def test_progress_on_no_terminal_is_plain_lines(tmp_path):
    console = Console(record=True, file=open(os.devnull, "w"), width=200)  # noqa: SIM115
    run_study(study(), jobs=1, results=tmp_path, run=made_up, console=console)
    console.file.close()
    assert re.search(r"rsspp-fig13: 3 of 3 points, [0-9.]+ M packets/s, 0 s left\n", console.export_text())


# --- figures ---


def test_needed_studies_run_first_and_lend_their_tables(tmp_path):
    first = study(name="first", claims=())
    needy = study(
        needs=("first",),
        claims=(Claim("RS-02", lambda tables: len(tables["first"]) + 10 * len(tables["rsspp-fig13"])),),
    )
    other = study(name="other", claims=())
    ran = figures(["rsspp-fig13"], studies=(first, other, needy), jobs=1, results=tmp_path, run=made_up)
    assert [r.name for r in ran] == ["first", "rsspp-fig13"]
    assert ran[1].claims[0]["simulated"] == 33
    assert [r.name for r in figures(studies=(first, other), jobs=1, results=tmp_path, run=made_up)] == [
        "first",
        "other",
    ]


def test_an_unknown_figure_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match=r"'fig99' is unknown: choose from rsspp-fig13"):
        figures(["fig99"], studies=(study(),), results=tmp_path)


def test_a_study_may_compute_its_table_without_simulating(tmp_path):
    plain = study(base=None, points=lambda full: (), draw=None, compute=lambda: pd.DataFrame({"y": [1.5]}))
    ran = run_study(plain, jobs=1, results=tmp_path, run=None)
    assert ran.claims[0]["simulated"] == 1.5


# --- report and check ---


def test_the_report_stands_alone(tmp_path):
    run_study(study(title="One <title> & more", draw=draw), full=True, jobs=1, results=tmp_path, run=made_up)
    page = write_report(tmp_path).read_text()
    assert "One &lt;title&gt; &amp; more" in page
    assert "data:image/png;base64," in page
    assert "One <title>" not in page
    assert "RS-02" in page
    assert "[server]" in page  # the scenario
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert "http" not in page


def test_the_report_prefers_full_scale_and_shows_quick_beside_it(tmp_path):
    for full, value in ((False, 1.25), (True, 8.5)):
        one = study(draw=draw, claims=(Claim("RS-02", lambda tables, v=value: v),))
        run_study(one, full=full, jobs=1, results=tmp_path, run=made_up)
    page = write_report(tmp_path).read_text()
    assert page.count("data:image/png") == 2
    assert page.index("data:image/png") < page.index("At quick scale</summary>")
    assert "full scale" in page
    assert "quick scale, 3" not in page
    assert '<td class="n">8.5</td><td class="n">1.25</td><td class="pass">pass</td>' in page


def test_no_results_no_report(tmp_path):
    with pytest.raises(ValueError, match="holds no figure yet"):
        write_report(tmp_path)


def test_check_names_files_that_changed_or_went(tmp_path):
    run_study(study(draw=draw), jobs=1, results=tmp_path, run=made_up)
    assert check(tmp_path) == []
    folder = tmp_path / "quick" / "rsspp-fig13"
    (folder / "rsspp-fig13.pdf").unlink()
    (folder / "rsspp-fig13.csv").write_text("series,x,y\nRSS,0,1\n")
    problems = check(tmp_path)
    assert len(problems) == 2
    assert "rsspp-fig13.csv differs" in problems[0]
    assert "rsspp-fig13.pdf is missing" in problems[1]
