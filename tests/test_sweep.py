import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from typer.testing import CliRunner

from lbsim.cli.app import app
from lbsim.cli.sweep import show_sweep
from lbsim.metrics.histogram import Histogram
from lbsim.metrics.intervals import mean_interval, relative_half_width
from lbsim.metrics.result import Result, Samples
from lbsim.scenario import Cost, Fixed, Flows, Poisson, Scenario, ScenarioError, Server, Work
from lbsim.study.points.store import check
from lbsim.study.running.executors import Execution
from lbsim.study.running.runner import Interrupted
from lbsim.study.sweeps.pilot import pilot_of, warmup_of
from lbsim.study.sweeps.plan import Sweep
from lbsim.study.sweeps.sweep import run_sweep
from lbsim.study.sweeps.sweepfile import load_sweep

BASE = Scenario(
    name="A made-up server",
    duration=10**9,
    traffic=Flows(flows=16),
    arrivals=Poisson(load=0.5),
    server=Server(cores=2, cost=Cost(work=Fixed(time=Work(10**6)))),
)
INLINE = Execution(executor="inline")


def made_up(scenario: Scenario, progress: object = None, *, settles: int = 200) -> Result:
    """A result that depends on load and replication alone; where sampled, the rings fill until `settles`."""
    rng = np.random.default_rng(scenario.replication)
    latency = np.round(10**7 * scenario.arrivals.load * (1 + 0.2 * rng.random(1000))).astype(np.int64)
    samples = None
    if scenario.measure.interval:
        k = np.arange(1001)
        time = k * scenario.measure.interval
        waiting = np.column_stack([np.minimum(k, settles) + k % 2] * 2)
        zeros = np.zeros_like(waiting)
        samples = Samples(time, zeros, zeros, zeros, waiting, np.ones(len(time), np.int64))
    return Result(
        scenario=scenario,
        engine="made up",
        span=10**9 - scenario.warmup,
        offered=10**6,
        offered_bytes=10**9,
        delivered=10**6,
        delivered_bytes=10**9,
        drops={"ring full": 0},
        latency=replace(Histogram.of(latency), counts=Histogram.of(latency).counts * 1000),
        processed=np.array([1, 2]),
        busy=np.array([5, 6]),
        dropped=np.array([0, 0]),
        end=10**9,
        samples=samples,
    )


def never(scenario: Scenario, progress: object = None) -> Result:
    raise AssertionError(f"{scenario} was computed again")


def sweep(**fields: object) -> Sweep:
    return Sweep(**{"name": "s", "base": BASE, "grid": {"arrivals.load": [0.25, 0.5]}, **fields})


def run(made: Sweep, results: Path, run=made_up, **settings):
    return run_sweep(
        made, results=results, execution=settings.pop("execution", INLINE), progress=False, run=run
    )


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- tables and files ---


def test_a_sweep_gives_its_tables(tmp_path: Path):
    result = run(sweep(replications=3), tmp_path)
    assert len(result.table) == 6
    assert result.table["arrivals.load"].tolist() == [0.25] * 3 + [0.5] * 3
    assert result.table["replication"].tolist() == [0, 1, 2] * 2
    assert set(result.table["status"]) == {"ok"}
    assert result.summary["n"].tolist() == [3, 3]
    assert (result.failures, result.left, result.warnings) == ((), 0, ())
    assert repr(result) == f"<sweep s: 6 points of 2 configurations; files in {tmp_path / 's'}>"
    assert "&lt;sweep s" in result._repr_html_()
    assert "latency_p99_us" in result._repr_html_()
    assert "latency_p99_us_low" not in result._repr_html_()
    doubled = result.differences("arrivals.load", "latency_mean_us")
    means = result.table["latency_mean_us"].to_numpy()
    assert doubled["latency_mean_us_difference"][0] == pytest.approx((means[3:] - means[:3]).mean())


def test_the_folder_of_a_sweep(tmp_path: Path):
    made = sweep(figure={"x": "arrivals.load", "y": ["latency_p99_us", "drop_pct"]}, replications=2)
    result = run(made, tmp_path)
    assert sorted(files(result.folder)) == [
        "chart.json", "provenance.json", "s.csv", "s.pdf", "s.png", "s.svg", "scenario.toml", "summary.csv",
        "sweep.toml",
    ]  # fmt: skip
    assert load_sweep(result.folder / "sweep.toml") == made
    written = pd.read_csv(result.folder / "s.csv")
    pd.testing.assert_frame_equal(
        written.drop(columns="note"), result.table.drop(columns="note"), rtol=1e-8, check_dtype=False
    )
    about = json.loads((result.folder / "provenance.json").read_text())
    assert about["varies"] == {"arrivals.load": [0.25, 0.5], "replication": [0, 1]}
    assert about["title"] == "A made-up server, over arrivals.load"
    assert (about["points"], about["failed_points"], about["points_left"], about["warnings"]) == (
        4,
        [],
        0,
        [],
    )
    panels = json.loads((result.folder / "chart.json").read_text())
    assert [panel["y"] for panel in panels] == ["latency_p99_us", "drop_pct"]
    assert [series["name"] for series in panels[0]["series"]] == ["A made-up server"]
    assert [point[0] for point in panels[0]["series"][0]["points"]] == [0.25, 0.5]
    assert check(tmp_path) == []


def test_series_are_lines_of_their_values(tmp_path: Path):
    grid = {"arrivals.load": [0.25, 0.5], "server.cores": [1, 2]}
    figure = {"x": "arrivals.load", "series": "server.cores", "log": True}
    result = run(sweep(grid=grid, figure=figure), tmp_path)
    (panel,) = json.loads((result.folder / "chart.json").read_text())
    assert [(s["name"], len(s["points"])) for s in panel["series"]] == [("1", 2), ("2", 2)]
    assert panel["log"] is True


def test_the_same_again_computes_nothing_and_writes_the_same_bytes(tmp_path: Path):
    made = sweep(replications=2, figure={"x": "arrivals.load"})
    before = files(run(made, tmp_path).folder)
    assert files(run(made, tmp_path, never).folder) == before


def test_more_values_and_replications_compute_only_what_is_new(tmp_path: Path):
    run(sweep(replications=2), tmp_path)
    seen = []

    def counted(scenario: Scenario, progress: object = None) -> Result:
        seen.append((scenario.arrivals.load, scenario.replication))
        return made_up(scenario)

    run(sweep(replications=3, grid={"arrivals.load": [0.5, 0.75]}), tmp_path, counted)
    assert sorted(seen) == [(0.5, 2), (0.75, 0), (0.75, 1), (0.75, 2)]


def test_a_sweep_does_not_overwrite_a_published_figure(tmp_path: Path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "claims.json").write_text("[]")
    with pytest.raises(ValueError, match="holds a published figure; give the sweep another name"):
        run(sweep(), tmp_path)


def test_a_policy_that_nobody_registered_is_refused_before_the_first_packet(tmp_path: Path):
    made = sweep(grid={"nic.dispatch": [{"kind": "policy", "policy": "round_robbin"}]})
    with pytest.raises(ScenarioError, match=r'"round_robbin" is none of .*; did you mean "round_robin"\?'):
        run(made, tmp_path, never)


def test_a_capture_that_is_not_there_is_refused_before_the_first_packet(tmp_path: Path):
    traffic = {"kind": "capture", "file": str(tmp_path / "nope.pcap")}
    with pytest.raises(ScenarioError, match=r"traffic.file: there is no file .*nope.pcap; check the path"):
        run(sweep(grid={"traffic": [traffic]}), tmp_path, never)


def test_a_figure_that_is_asked_for_no_more_goes(tmp_path: Path):
    run(sweep(figure={"x": "arrivals.load"}), tmp_path)
    without = run(sweep(), tmp_path)
    assert sorted(files(without.folder)) == [
        "provenance.json", "s.csv", "scenario.toml", "summary.csv", "sweep.toml",
    ]  # fmt: skip
    assert check(tmp_path) == []


def test_lines_of_points_that_lack_the_field_have_a_name(tmp_path: Path):
    points = [{"nic.dispatch.kind": "sprayer"}, {"nic.dispatch.table": 64}]
    result = run(
        sweep(points=points, figure={"x": "arrivals.load", "series": "nic.dispatch.table"}), tmp_path
    )
    (panel,) = json.loads((result.folder / "chart.json").read_text())
    assert [(s["name"], len(s["points"])) for s in panel["series"]] == [("none", 2), ("64", 2)]


# --- failures and limits ---


def test_a_failed_point_is_named_and_the_others_stay(tmp_path: Path):
    def unlucky(scenario: Scenario, progress: object = None) -> Result:
        if (scenario.arrivals.load, scenario.replication) == (0.5, 1):
            raise ArithmeticError("no luck")
        return made_up(scenario)

    result = run(sweep(replications=3), tmp_path, unlucky)
    (failure,) = result.failures
    assert failure.startswith("arrivals.load = 0.5, replication 1: ")
    assert "no luck" in failure
    assert result.table["status"].tolist() == ["ok"] * 4 + ["failed", "ok"]
    assert result.summary["n"].tolist() == [3, 2]
    assert "1 failed" in repr(result)
    assert len(run(sweep(replications=3), tmp_path).failures) == 0  # the same again mends it


def test_tables_are_handed_over_when_their_folder_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("lbsim.study.folder.store.write_whole", full)
        patch.setattr("lbsim.study.points.store.write", lambda *point: None)
        patch.setattr("lbsim.study.points.store.writable", lambda folder: None)
        result = run(sweep(), tmp_path)
    assert result.table["status"].tolist() == ["ok", "ok"]
    (failure,) = result.failures
    assert failure.startswith(
        f"{tmp_path / 's'}: cannot be written: No space left on device; free some space"
    )
    assert run(sweep(), tmp_path).failures == ()


def test_what_the_time_limit_left_is_said_and_comes_next_time(tmp_path: Path):
    limit = Execution(executor="inline", limit_time=0)
    result = run(sweep(), tmp_path, execution=limit)
    assert result.left == 2
    assert result.table["status"].tolist() == ["left", "left"]
    assert result.summary["n"].tolist() == [0, 0]
    made = run(sweep(), tmp_path)
    assert made.left == 0
    assert files(made.folder) == files(run(sweep(), tmp_path / "other").folder)


def test_no_round_begins_once_the_time_is_up(tmp_path: Path):
    calls = []

    class Three(Execution):
        def over(self) -> bool:
            return len(calls) >= 3

    def counted(scenario: Scenario, progress: object = None) -> Result:
        calls.append(scenario)
        return made_up(scenario)

    until = {"quantity": "latency_mean_us", "within": 1e-9, "at_least": 2, "at_most": 4}
    result = run(sweep(until=until), tmp_path, counted, execution=Three(executor="inline"))
    assert result.table["status"].tolist() == ["ok", "ok", "ok", "left"]


def test_an_interrupted_sweep_goes_on_to_the_same_bytes(tmp_path: Path):
    made = sweep(
        warmup="mser5", until={"within": 0.0005, "at_least": 2, "at_most": 5, "quantity": "latency_mean_us"}
    )
    whole = files(run(made, tmp_path / "whole").folder)
    points = len(list((tmp_path / "whole" / "points").glob("*.parquet")))
    assert points == 12
    for stop in range(1, points + 1):
        calls = []

        def stopped(
            scenario: Scenario, progress: object = None, calls: list = calls, stop: int = stop
        ) -> Result:
            calls.append(scenario)
            if len(calls) == stop:
                raise KeyboardInterrupt
            return made_up(scenario)

        shutil.rmtree(tmp_path / "part", ignore_errors=True)
        with pytest.raises(Interrupted):
            run(made, tmp_path / "part", stopped)
        assert files(run(made, tmp_path / "part").folder) == whole


# --- rounds ---


def test_until_adds_replications_until_the_interval_is_narrow_enough(tmp_path: Path):
    made = sweep(until={"quantity": "latency_mean_us", "within": 0.001, "at_least": 3, "at_most": 90})
    result = run(made, tmp_path)
    for _, rows in result.table.groupby("arrivals.load"):
        values = rows["latency_mean_us"].to_numpy()
        assert 3 < len(values) < 90
        assert rows["replication"].tolist() == list(range(len(values)))
        assert relative_half_width(mean_interval(values)) <= 0.001
    assert result.warnings == ()
    assert "narrow" not in repr(result)


def test_until_ends_at_most_there_with_a_warning(tmp_path: Path):
    until = {"quantity": "latency_mean_us", "within": 1e-9, "at_least": 2, "at_most": 5}
    result = run(sweep(until=until), tmp_path)
    assert result.summary["n"].tolist() == [5, 5]
    assert len(result.warnings) == 2
    assert result.warnings[0].startswith(
        "arrivals.load = 0.25: after 5 replications the mean of latency_mean_us is known to ±"
    )


def test_until_stops_where_nothing_was_delivered(tmp_path: Path):
    def empty(scenario: Scenario, progress: object = None) -> Result:
        return replace(made_up(scenario), latency=Histogram.of([]), delivered=0)

    result = run(sweep(until={"at_least": 2}), tmp_path, empty)
    assert result.summary["n"].tolist() == [2, 2]
    assert "latency_p99_us has no value in some replication" in result.warnings[0]


def test_until_stops_where_a_replication_failed(tmp_path: Path):
    def unlucky(scenario: Scenario, progress: object = None) -> Result:
        if scenario.replication == 1:
            raise ArithmeticError
        return made_up(scenario)

    until = {"quantity": "latency_mean_us", "within": 1e-6, "at_least": 3, "at_most": 99}
    result = run(sweep(until=until), tmp_path, unlucky)
    assert len(result.table) == 6
    assert len(result.failures) == 2


# --- warm-up ---


def test_pilots_set_the_warm_up_of_every_replication(tmp_path: Path):
    seen: list[Scenario] = []

    def watched(scenario: Scenario, progress: object = None) -> Result:
        seen.append(scenario)
        return made_up(scenario, settles=200 if scenario.arrivals.load < 0.4 else 300)

    result = run(sweep(warmup="mser5", replications=2), tmp_path, watched)
    pilots = [s for s in seen if s.measure.interval]
    assert [(s.warmup, s.replication, s.measure.interval) for s in pilots] == [(0, 0, 10**6)] * 2
    assert [s.warmup for s in seen if not s.measure.interval] == [200 * 10**6] * 2 + [300 * 10**6] * 2
    assert result.table["warmup_s"].tolist() == [200e-6] * 2 + [300e-6] * 2
    assert result.warnings == ()


def test_a_pilot_that_does_not_settle_is_a_warning_and_the_warm_up_stays(tmp_path: Path):
    def filling(scenario: Scenario, progress: object = None) -> Result:
        return made_up(scenario, settles=900)

    base = BASE.model_copy(update={"warmup": 7000})
    result = run(sweep(base=base, warmup="mser5", grid={"arrivals.load": [0.25]}), tmp_path, filling)
    assert result.table["warmup_s"].tolist() == [7e-9]
    (warning,) = result.warnings
    assert warning.startswith("arrivals.load = 0.25: too short to say how much warm-up it needs")


def test_a_failed_pilot_fails_its_points(tmp_path: Path):
    def unlucky(scenario: Scenario, progress: object = None) -> Result:
        if scenario.measure.interval and scenario.arrivals.load == 0.25:
            raise ArithmeticError("no luck")
        return made_up(scenario)

    result = run(sweep(warmup="mser5", replications=2), tmp_path, unlucky)
    assert result.table["status"].tolist() == ["failed", "failed", "ok", "ok"]
    assert "its pilot failed: " in result.failures[0]
    assert "no luck" in result.failures[0]


def test_pilots_that_were_left_leave_their_points(tmp_path: Path):
    limit = Execution(executor="inline", limit_time=0)
    assert run(sweep(warmup="mser5", replications=2), tmp_path, execution=limit).left == 4


def test_the_pilot_samples_as_the_scenario_says_or_a_thousand_times():
    assert pilot_of(BASE).measure.interval == 10**6
    assert pilot_of(BASE.model_copy(update={"warmup": 7000})).warmup == 0
    own = BASE.model_copy(update={"measure": BASE.measure.model_copy(update={"interval": 5 * 10**6})})
    assert pilot_of(own).measure.interval == 5 * 10**6
    short = BASE.model_copy(update={"duration": 10**6 + 1})
    assert pilot_of(short).measure.interval == 10**6  # the shortest period there is
    assert warmup_of(made_up(pilot_of(BASE), settles=100)).time == 100 * 10**6


# --- warnings ---


def test_runs_that_are_too_short_are_told_once_and_noted_everywhere(tmp_path: Path):
    def short(scenario: Scenario, progress: object = None) -> Result:
        notices = (f"of {200 + scenario.replication} packets only 0 beyond p99.9",)
        return replace(made_up(scenario), notices=notices)

    result = run(sweep(replications=2), tmp_path, short)
    assert [w.partition(": ")[0] for w in result.warnings] == ["arrivals.load = 0.25, replication 0"]
    assert "of 200 packets only" in result.warnings[0]
    assert result.warnings[0].endswith("(and in 3 more points: column note)")
    assert result.table["note"].str.contains(r"of 20[01] packets only").all()


# --- for real ---


@pytest.mark.slow  # processes take seconds to start
def test_a_real_sweep_is_the_same_from_two_processes(tmp_path: Path):
    made = sweep(grid={"nic.dispatch": [{"kind": "rss"}, {"kind": "sprayer"}]})
    inline = run_sweep(made, results=tmp_path / "a", execution=INLINE, progress=False)
    loky = run_sweep(made, results=tmp_path / "b", execution=Execution(jobs=2), progress=False)
    assert files(inline.folder) == files(loky.folder)
    assert (inline.table["packets"] > 500).all()


# --- the command ---

STUDY = """
name = "study"
replications = 2
[grid]
arrivals.load = [0.25, 0.5]
nic.dispatch.kind = ["rss", "rss++"]
[base]
name = "a [small] server"
duration = "2ms"
traffic = { kind = "flows" }
arrivals = { kind = "poisson", load = 0.5 }
server = { cores = 2, cost = { work = { kind = "fixed", time = "1us" } } }
"""


def command(tmp_path: Path, *arguments: str, study: str = STUDY):
    (tmp_path / "study.toml").write_text(study)
    fixed = ["sweep", str(tmp_path / "study.toml"), "--results", str(tmp_path / "r"), "--executor", "inline"]
    return CliRunner().invoke(app, [*fixed, *arguments], env={"COLUMNS": "80"})


def test_the_command_shows_the_summary_and_where_the_files_are(tmp_path: Path):
    done = command(tmp_path)
    assert done.exit_code == 0, done.output
    assert "a [small] server, 4 configurations" in done.stdout
    lines = done.stdout.splitlines()
    assert max(map(len, lines[:9])) <= 80
    assert any("load" in line and "dispatch.kind" in line for line in lines)
    assert sum("rss++" in line for line in lines) == 2
    assert "±" in done.stdout
    assert str(tmp_path / "r" / "study") in done.stdout


def test_the_command_in_json(tmp_path: Path):
    done = command(tmp_path, "--json", "--replications", "1")
    data = json.loads(done.stdout)
    assert (data["name"], data["points"], data["left"], data["failures"]) == ("study", 4, 0, [])
    assert data["summary"][0]["n"] == 1
    assert data["summary"][0]["drop_pct_low"] is None
    assert data["summary"][3]["nic.dispatch.kind"] == "rss++"


def test_replications_on_the_command_line_replace_until(tmp_path: Path):
    study = STUDY.replace("replications = 2", "").replace("[base]", "[until]\nat_least = 3\n[base]")
    done = command(tmp_path, "--json", "--replications", "2", study=study)
    assert json.loads(done.stdout)["points"] == 8


def test_the_command_refuses_a_bad_study(tmp_path: Path):
    done = command(tmp_path, study=STUDY.replace("0.25", "0"))
    assert done.exit_code == 2
    assert "arrivals.load: 0 is not a finite number above 0" in done.stderr


def test_the_command_names_failed_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def unlucky(scenario: Scenario, progress: object = None) -> Result:
        raise ArithmeticError("no luck")

    monkeypatch.setattr("lbsim.study.running.runner.run_scenario", unlucky)
    monkeypatch.setattr(
        "lbsim.study.sweeps.sweep.run_sweep.__kwdefaults__", {**run_sweep.__kwdefaults__, "run": unlucky}
    )
    done = command(tmp_path)
    assert done.exit_code == 3
    assert done.stderr.count("\nstudy: arrivals.load = 0.") == 8


def test_the_command_does_not_drown_in_failures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def unlucky(scenario: Scenario, progress: object = None) -> Result:
        raise ArithmeticError("no luck")

    monkeypatch.setattr("lbsim.cli.sweep.MAX_FAILURES", 3)
    monkeypatch.setattr(
        "lbsim.study.sweeps.sweep.run_sweep.__kwdefaults__", {**run_sweep.__kwdefaults__, "run": unlucky}
    )
    done = command(tmp_path)
    assert done.exit_code == 3
    assert done.stderr.count("\nstudy: arrivals.load = 0.") == 3
    assert "study: 8 failures, the last 3 shown: see column note" in done.stderr


def test_the_command_says_how_to_go_on(tmp_path: Path):
    done = command(tmp_path, "--limit-time", "0.000001s")
    assert done.exit_code == 130
    assert "8 points are left: the same command again resumes" in done.stderr
    assert command(tmp_path).exit_code == 0


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_the_summary_fits_the_terminal(tmp_path: Path, width: int):
    grid = {
        "arrivals.load": [0.25, 0.5],
        "nic.dispatch.kind": ["rss", "rss++"],
        "server.cost.per_batch": ["1us"],
    }
    result = run(sweep(grid=grid, replications=2), tmp_path)
    console = Console(width=width, record=True, file=open("/dev/null", "w"), highlight=False)  # noqa: SIM115
    show_sweep(console, result)
    console.file.close()
    text = console.export_text()
    table = text[: text.index("means over n replications")].splitlines()[1:]
    assert all(len(line) <= width for line in table)
    assert "p99" in text
    assert ("imbalance" in text) is (width == 200)


def test_long_summaries_and_many_warnings_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lbsim.cli.sweep.MAX_ROWS", 5)
    monkeypatch.setattr("lbsim.cli.sweep.MAX_LINES", 4)
    until = {"quantity": "latency_mean_us", "within": 1e-9, "at_least": 2, "at_most": 2}
    result = run(sweep(grid={"arrivals.load": [k / 100 for k in range(1, 9)]}, until=until), tmp_path)
    console = Console(width=80, record=True, file=open("/dev/null", "w"), highlight=False)  # noqa: SIM115
    show_sweep(console, result)
    console.file.close()
    text = console.export_text()
    assert "and 3 more configurations: see summary.csv" in text
    assert "and 4 more notes: see provenance.json" in text
