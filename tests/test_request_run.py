"""Requests from TOML to the table: run by both engines, stored, swept, compared on the command line."""

from __future__ import annotations

import dataclasses
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import lbsim
from lbsim.cli.app import app
from lbsim.engine.run import Engine
from lbsim.metrics.quantities import quantities_of
from lbsim.scenario import RequestScenario, ScenarioError
from lbsim.study.points.keys import files_of, point_key
from lbsim.study.points.pointfile import decode, encode
from lbsim.study.sweeps.sweepfile import dump_sweep, load_sweep
from lbsim.units import MS, SECOND, US

TOML = """
name = "a few requests"
grain = "request"
duration = "600ms"
warmup = "100ms"

[clients]
kind = "paced"
processes = 4
connections = 8
per_second = 4000.0
overhead = "30us"
retry = { timeout = "8ms", attempts = 2, jitter = 0.5 }

[balancer]
policy = "power_of_two"
choices = 3
signal = { metric = "connections", period = "5ms", spread = "1ms", delay = "200us", loss = 0.1, machines = 2 }
cost = { mode = "stateless", delay = "40us" }

[servers]
number = 4
cores = 2
discipline = { kind = "sharing", slice = "500us", switch = "5us" }
service = { kind = "cpu", work = { kind = "exponential", mean = "1.6ms" } }
speeds = [1.0, 1.5]
backlog = 12
pauses = { rate = 3.0, length = "10ms" }

[measure]
interval = "20ms"
requests = true
"""
PLAIN = """
grain = "request"
duration = "200ms"
warmup = "20ms"
clients = { kind = "independent", load = 0.7 }
balancer = { policy = "round_robin" }
servers = { number = 4, service = { kind = "cpu", work = { kind = "exponential", mean = "100us" } } }
"""
ENGINES: tuple[Engine, ...] = ("compiled", "reference")


@pytest.fixture(scope="module")
def scenario() -> RequestScenario:
    return loaded(TOML)


@pytest.fixture(scope="module")
def result(scenario: RequestScenario) -> lbsim.RequestResult:
    return lbsim.run(scenario)


def loaded(text: str) -> RequestScenario:
    made = lbsim.load_scenario(text)
    assert isinstance(made, RequestScenario)
    return made


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal, arrays element by element and with their types."""
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if dataclasses.is_dataclass(a):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, tuple) and hasattr(a, "_fields"):
        return type(a) is type(b) and all(map(same, a, b))
    return bool(a == b) and type(a) is type(b)


def equal_but_for_the_engine(a: lbsim.RequestResult, b: lbsim.RequestResult) -> None:
    for field in dataclasses.fields(a):
        if field.name != "engine":
            assert same(getattr(a, field.name), getattr(b, field.name)), field.name
    assert a.engine != b.engine


# --- a run --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cohort", ["sent", "done"])
def test_both_engines_yield_the_same_result(scenario: RequestScenario, cohort: str) -> None:
    asked = lbsim.override(scenario, {"measure.cohort": cohort})
    compiled, reference = lbsim.run(asked, "compiled"), lbsim.run(asked, "reference")
    assert (compiled.engine, reference.engine) == (
        "compiled: heap of events",
        "reference: SimPy, a method for each kind of event",
    )
    equal_but_for_the_engine(compiled, reference)
    cohort_of = compiled.cohort
    assert min(cohort_of) > 0, "every kind of event happens"
    assert min(compiled.control.values()) > 0


def test_servers_that_pause_yield_the_same_result() -> None:
    asked = lbsim.override(loaded(PLAIN), {"servers.pauses": {"rate": 20.0, "length": "2ms"}})
    compiled, reference = lbsim.run(asked), lbsim.run(asked, "reference")
    assert compiled.engine == "compiled: heap of events"
    equal_but_for_the_engine(compiled, reference)
    assert compiled.control["pauses"] > 0


@pytest.mark.parametrize("policy", ["round_robin", "power_of_two"])
def test_departures_known_at_admission_yield_the_same_result(policy: str) -> None:
    asked = lbsim.override(
        loaded(PLAIN), {"balancer.policy": policy, "measure.interval": 10 * MS, "measure.requests": True}
    )
    compiled, reference = lbsim.run(asked), lbsim.run(asked, "reference")
    assert compiled.engine.startswith("compiled: departures at admission")
    equal_but_for_the_engine(compiled, reference)


def test_what_is_counted_agrees(result: lbsim.RequestResult) -> None:
    """Rows, histogram, counters and series tell the same."""
    frame = result.frame()
    answered = frame["latency_us"].dropna()
    assert result.units == len(frame)
    assert len(frame) - len(answered) == result.cohort.given_up
    assert answered.mean() == pytest.approx(result.latency.mean / US)
    assert answered.quantile(0.99) == pytest.approx(result.latency_us(0.99), rel=0.02)
    assert set(frame["process"]) == set(range(4))
    assert (frame["due"] >= 100 * MS).all()
    assert (frame["due"] < 600 * MS).all()
    assert (frame["sent"] >= frame["due"]).all()
    kept = answered.index
    assert np.allclose(answered, (frame["done"] - frame["due"])[kept] / US + 30)
    assert result.span == 500 * MS
    for name in ("launched", "completed", "refused", "timed_out", "retried", "given_up"):
        events = result.series(name)[name].loc[0.11:].sum() * 0.02
        assert events == pytest.approx(getattr(result.during, name)), name
    busy = result.series("server_load").loc[0.11:].mean()
    assert busy.tolist() == pytest.approx(result.server_load.tolist())
    assert result.throughput == result.during.completed / 0.5
    assert 0.3 < result.server_load.mean() < 1


def test_without_a_warm_up_the_span_begins_at_0(scenario: RequestScenario) -> None:
    result = lbsim.run(lbsim.override(scenario, {"warmup": 0}))
    assert result.during.launched == result.whole.launched == result.cohort.launched
    assert result.during.completed <= result.whole.completed


def test_policies_see_the_same_requests() -> None:
    plain = loaded(PLAIN)
    runs = [
        lbsim.run(lbsim.override(plain, {"balancer.policy": name, "measure.requests": True}))
        for name in ("round_robin", "uniform")
    ]
    dues = [np.sort(run.log.due) for run in runs if run.log]
    assert len(dues) == 2
    assert np.array_equal(*dues)
    assert runs[0].latency.total < runs[1].latency.total


def test_adapted_weights_follow_the_signal() -> None:
    """A server of a quarter of the others' speed gets fewer requests once its load is known."""
    slow = lbsim.override(
        loaded(PLAIN),
        {
            "servers.speeds": [1.0, 1.0, 1.0, 0.25],
            "balancer.policy": "adaptive_weighted_round_robin",
            "clients.load": 0.5,
            "duration": SECOND,
            "balancer.signal.metric": "connections",
            "balancer.signal.period": MS,
        },
    )
    adapted = lbsim.override(slow, {"balancer.adapt": {"period": "1ms"}})
    results = [lbsim.run(adapted, engine) for engine in ENGINES]
    assert np.array_equal(results[0].whole.placed, results[1].whole.placed)
    assert results[0].latency.mean < 0.5 * lbsim.run(slow).latency.mean


def test_progress_is_told(scenario: RequestScenario) -> None:
    told: list[tuple[float, int]] = []
    for engine in ENGINES:
        lbsim.run(scenario, engine, lambda share, units: told.append((share, units)))
    assert all(0 <= share <= 1 for share, _ in told)
    assert told


def test_an_empty_run_says_so() -> None:
    result = lbsim.run(loaded(PLAIN.replace("load = 0.7", "per_second = 1e-6")))
    assert result.units == 0
    assert "no request was answered after the warm-up: the run is too short" in result.notices


def test_a_short_run_says_so(result: lbsim.RequestResult) -> None:
    assert any(notice.startswith(f"of {result.latency.count} requests only") for notice in result.notices)


def test_a_policy_that_does_not_compile_runs_in_the_reference_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry = import_module("lbsim.balancer.policies")  # a function of the same name hides it
    monkeypatch.setattr(registry, "_REGISTRY", lbsim.policies())

    @lbsim.policy
    def wordy(view: Any, unit: Any) -> int:
        return len(f"{unit.index:b}") % int(view.n)

    asked = lbsim.override(loaded(PLAIN), {"balancer.policy": "wordy"})
    result = lbsim.run(asked)
    assert result.engine.startswith("reference")
    assert any(notice.startswith("policy wordy runs in the reference engine") for notice in result.notices)
    with pytest.raises(ScenarioError, match=r"balancer\.policy: 'wordy' does not compile"):
        lbsim.run(asked, "compiled")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"policy": "power_of_too"}, r"'power_of_too' is none of .*; did you mean 'power_of_two'\?"),
        ({"adapt": {"period": "1ms"}}, r"balancer\.adapt: .*'round_robin' has no weighted list; write 'adap"),
        ({"policy": "maglev", "adapt": {"period": "1ms"}}, r"balancer\.adapt: .*'maglev' has no weighted"),
        ({"slots": 64}, r"balancer\.slots: 'round_robin' has no table; leave it out"),
    ],
)
def test_what_a_policy_cannot_do_is_refused(changes: dict[str, Any], problem: str) -> None:
    asked = lbsim.override(loaded(PLAIN), {f"balancer.{name}": value for name, value in changes.items()})
    for engine in ENGINES:
        with pytest.raises(ScenarioError, match=problem):
            lbsim.run(asked, engine)


def test_a_table_smaller_than_the_pool_is_refused() -> None:
    name, slots = next((p.name, p.slots) for p in lbsim.policies().values() if isinstance(p.slots, int))
    assert isinstance(slots, int)
    many = lbsim.override(loaded(PLAIN), {"servers.number": slots + 1, "balancer.policy": name})
    with pytest.raises(ScenarioError, match=rf"balancer\.slots: '{name}' has {slots} slots for {slots + 1}"):
        lbsim.run(many)


# --- studies ------------------------------------------------------------------------------------------------


def test_a_stored_result_is_the_same_to_the_last_field(
    scenario: RequestScenario, result: lbsim.RequestResult
) -> None:
    key = point_key(scenario)
    content = encode(result, key)
    back = decode(content, scenario, key)
    assert isinstance(back, lbsim.RequestResult)
    assert same(back, result)
    assert encode(back, key) == content
    assert back.laws() == result.laws()
    bare = dataclasses.replace(result, samples=None, log=None, area=2**70, sojourn=2**70)
    assert same(decode(encode(bare, key), scenario, key), bare)


def test_a_point_is_named_by_what_its_recording_holds(tmp_path: Path) -> None:
    file = tmp_path / "times.csv"
    traced = lbsim.override(loaded(PLAIN), {"clients": {"kind": "traced", "file": str(file)}})
    assert list(files_of(traced)) == [("clients.file", str(file))]
    names = []
    for times in ("0.01\n0.05\n", "0.01\n0.06\n", "0.01\n0.05\n"):
        file.write_text(f"# two requests\ntime_s\n{times}")
        names.append(point_key(traced))
    assert names[0] == names[2] != names[1]
    assert names[0] != point_key(lbsim.override(traced, {"balancer.policy": "uniform"}))
    assert lbsim.run(traced).units == 1


def test_a_sweep_over_policies(tmp_path: Path) -> None:
    base = loaded(PLAIN)
    grid = {"balancer.policy": ["uniform", "power_of_two"]}
    sweep = lbsim.Sweep(name="policies", base=base, grid=grid, replications=2)
    done = lbsim.run_sweep(sweep, results=tmp_path, execution=lbsim.Execution("inline"), progress=False)
    assert list(done.table.columns[1:]) == [
        *("replication", "seed", "warmup_s"),
        *(quantity.name for quantity in quantities_of(base)),
        *("status", "note"),
    ]
    assert (done.table["status"] == "ok").all()
    assert (done.differences("balancer.policy", "latency_p99_us")["latency_p99_us_difference"] < 0).all()
    pooled = [
        lbsim.run(lbsim.override(base, {"balancer.policy": "uniform", "replication": k})).latency
        for k in range(2)
    ]
    [p99] = done.summary.loc[done.summary["balancer.policy"] == "uniform", "latency_p99_us"]
    assert p99 == (pooled[0] + pooled[1]).quantile(0.99) / US
    assert load_sweep(dump_sweep(sweep)) == sweep


def test_a_sweep_over_clients_that_give_up(tmp_path: Path) -> None:
    grid = {"clients.retry": {"patient": "", "hasty": {"timeout": "300us", "attempts": 2}}}
    sweep = lbsim.Sweep(name="retry", base=loaded(PLAIN), grid=grid)
    done = lbsim.run_sweep(sweep, results=tmp_path, execution=lbsim.Execution("inline"), progress=False)
    assert done.table["given_up_pct"].isna().tolist() == [True, False]
    assert done.table["given_up_pct"][1] > 0


def test_a_pilot_finds_the_warm_up(tmp_path: Path) -> None:
    still = lbsim.override(
        loaded(PLAIN), {"clients.load": 0.95, "servers.number": 100, "duration": 100 * MS, "warmup": 0}
    )
    sweep = lbsim.Sweep(name="pilot", base=still, warmup="mser5")
    done = lbsim.run_sweep(sweep, results=tmp_path, execution=lbsim.Execution("inline"), progress=False)
    assert 0 < done.table["warmup_s"].iloc[0] < 0.05


def test_a_sweep_refuses_what_cannot_run_before_the_first(tmp_path: Path) -> None:
    base = loaded(PLAIN)
    adapted = {"balancer.policy": ["adaptive_weighted_round_robin", "round_robin"]}
    with_adapt = lbsim.override(
        base, {"balancer.policy": "adaptive_weighted_round_robin", "balancer.adapt": {"period": "1ms"}}
    )
    sweep = lbsim.Sweep(name="x", base=with_adapt, grid=adapted)
    with pytest.raises(ScenarioError, match="'round_robin' has no weighted list"):
        lbsim.run_sweep(sweep, results=tmp_path, progress=False)
    unknown = lbsim.Sweep(name="x", base=base, grid={"balancer.policy": ["uniform", "uniforn"]})
    with pytest.raises(ScenarioError, match='did you mean "uniform"'):
        lbsim.run_sweep(unknown, results=tmp_path, progress=False)
    assert not list(tmp_path.rglob("*.parquet"))
    with pytest.raises(ScenarioError, match=r"measure\.requests: cannot vary"):
        lbsim.Sweep(name="x", base=base, grid={"measure.requests": [False, True]})
    with pytest.raises(ScenarioError, match=r'until\.quantity: "drop_pct" is none of requests'):
        lbsim.Sweep(name="x", base=base, grid=adapted, until={"quantity": "drop_pct"})


# --- command line -------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "scenario.toml"
    path.write_text(PLAIN)
    return str(path)


def lines(*arguments: str) -> str:
    answer = CliRunner().invoke(app, list(arguments))
    assert answer.exit_code == 0, answer.output
    return answer.stdout


def refused(*arguments: str) -> str:
    answer = CliRunner().invoke(app, list(arguments))
    assert answer.exit_code == 2
    return answer.stderr


def test_the_command_line_prints_a_summary(file: str) -> None:
    told = json.loads(lines("run", file, "--json"))
    assert told["dispatch"] == "round_robin"
    assert told["requests"] == lbsim.run(loaded(PLAIN)).units
    assert len(told["server_load"]) == 4
    assert all(told["laws"].values())


def test_the_command_line_compares_policies(file: str) -> None:
    shown = lines("run", file, "--against", "uniform", "--load", "0.6", "--replications", "2")
    for text in ("4 servers, fcfs, independent clients, load 60%", "round_robin", "uniform", "all 9 hold"):
        assert text in shown
    for text in ("p99 latency", "server load, max", "above the mean", "server 3", "a departure is known"):
        assert text in shown
    assert "refused" not in shown
    several = json.loads(
        lines("run", file, "--against", "uniform,power_of_two", "--replications", "2", "--json")
    )
    assert [one["dispatch"] for one in several] == ["round_robin", "uniform", "power_of_two"]
    assert several[0]["intervals"]["latency_p50_us"]["mean"] > 0
    assert "--against unifrom: unknown; choose from" in refused("run", file, "--against", "unifrom")
    assert "grain request" in refused("run", file, "--capture", "x.pcap")


def test_the_command_line_says_what_runs(tmp_path: Path) -> None:
    path = tmp_path / "scenario.toml"
    path.write_text(TOML)
    shown = " ".join(lines("run", str(path)).split())
    for text in (
        "4 servers of 2 cores, sharing, paced clients, 4,000 requests/s",
        "connections reported every 5ms",
        "heap of events (exact: every turn",
        "refused, server full",
        "reports_lost",
    ):
        assert text in shown


def test_check_asks_the_policy_and_the_files(file: str, tmp_path: Path) -> None:
    assert lines("check", file).endswith("fine\n")
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(PLAIN.replace("round_robin", "round_robbin"))
    assert "did you mean 'round_robin'?" in refused("check", str(wrong))
    wrong.write_text(PLAIN.replace('"independent", load = 0.7', '"traced", file = "none.csv"'))
    assert "clients.file" in refused("check", str(wrong))


def test_a_sweep_file_runs(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(PLAIN)
    study = tmp_path / "study.toml"
    study.write_text(
        'name = "loads"\nbase = "base.toml"\n[grid]\nclients.load = [0.3, 0.6]\n'
        '[figure]\nx = "clients.load"\ny = ["latency_p99_us", "server_load_max_pct"]\n'
    )
    assert "fine, 2 points" in lines("check", str(study))
    told = json.loads(
        lines("sweep", str(study), "--executor", "inline", "--results", str(tmp_path), "--json")
    )
    assert [row["clients.load"] for row in told["summary"]] == [0.3, 0.6]
    assert told["failures"] == []
    shown = lines("sweep", str(study), "--executor", "inline", "--results", str(tmp_path))
    assert "p99 latency" in shown
    assert "server load" in shown
    assert (tmp_path / "loads" / "loads.png").exists()


def test_the_command_line_lists_what_requests_may_name() -> None:
    shown = lines("list")
    for text in ("clients (requests)", "paced", "servers.discipline", "stealing", "prequal"):
        assert text in shown
