"""Connections in studies: their results are stored, swept, tabulated and shown like those of packets."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import lbsim
from lbsim.cli.app import app
from lbsim.metrics import ConnectionResult
from lbsim.metrics.quantities import CONNECTIONS
from lbsim.scenario import ConnectionScenario, ScenarioError
from lbsim.study.points.keys import point_key
from lbsim.study.points.pointfile import decode, encode
from lbsim.study.study import Point, Study, run_study
from lbsim.study.sweeps.sweepfile import dump_sweep, load_sweep
from lbsim.units import MS, SECOND

TOML = """
grain = "connection"
duration = "4s"
warmup = "1s"
clients = { kind = "open", concurrent = 200.0, gap = "100ms", length = { kind = "exponential", mean = "1s" } }
balancer = { policy = "hashed" }
servers = { configured = 10, active = 8 }
churn = { kind = "schedule", changes = [{ at = "2s", do = "add" }, { at = "3s", do = "drain" }] }
measure = { interval = "500ms" }
"""


@pytest.fixture(scope="module")
def scenario() -> ConnectionScenario:
    made = lbsim.load_scenario(TOML)
    assert isinstance(made, ConnectionScenario)
    return made


@pytest.fixture(scope="module")
def result(scenario: ConnectionScenario) -> ConnectionResult:
    return lbsim.run(scenario)


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal, arrays element by element and with their types."""
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, tuple) and hasattr(a, "_fields"):
        return type(a) is type(b) and all(map(same, a, b))
    return bool(a == b) and type(a) is type(b)


def test_a_stored_result_is_the_same_to_the_last_field(
    scenario: ConnectionScenario, result: ConnectionResult
) -> None:
    key = point_key(scenario)
    back = decode(encode(result, key), scenario, key)
    for field in dataclasses.fields(ConnectionResult):
        assert same(getattr(result, field.name), getattr(back, field.name)), field.name
    assert len(result.breaks.time) > 100
    assert result.samples is not None


def test_a_result_without_series_and_breaks_is_stored_too(scenario: ConnectionScenario) -> None:
    quiet = lbsim.override(scenario, {"measure.interval": None, "churn": None})
    ran, key = lbsim.run(quiet), point_key(quiet)
    back = decode(encode(ran, key), quiet, key)
    assert (back.samples, len(back.breaks.time)) == (None, 0)
    assert back.summary() == ran.summary()


def test_a_point_is_named_by_what_its_policy_declares(scenario: ConnectionScenario) -> None:
    def named(table: Any, slots: int) -> str:
        @lbsim.policy(by_hash=True, table=table, slots=slots)
        def of_mine(view: Any, unit: Any) -> Any:
            return view.table[unit.hash % len(view.table)]

        return point_key(lbsim.override(scenario, {"balancer.policy": "of_mine"}))

    def in_order(active: Any, weights: Any, size: int, seed: int) -> Any:
        return active[np.arange(size) % len(active)]

    def backwards(active: Any, weights: Any, size: int, seed: int) -> Any:
        return active[::-1][np.arange(size) % len(active)]

    names = [named(in_order, 100), named(in_order, 200), named(backwards, 100)]
    assert len(set(names)) == 3
    assert named(in_order, 100) == names[0]


def test_a_point_is_named_by_what_the_tables_of_its_clients_hold(
    scenario: ConnectionScenario, tmp_path: Any
) -> None:
    def named(lengths: str) -> str:
        file = tmp_path / "lengths.csv"
        file.write_text(lengths)
        urls = {"kind": "urls", "lengths": str(file), "sizes": "cheetah_pcc_response_size_kb"}
        return point_key(lbsim.override(scenario, {"clients": urls}))

    one, other = "value,cdf\n1,0.5\n2,1\n", "value,cdf\n1,0.5\n3,1\n"
    names = [named(one), named(other), named(one)]
    assert names[0] == names[2] != names[1]


def test_a_sweep_over_policies(scenario: ConnectionScenario, tmp_path: Any) -> None:
    grid = {"balancer.policy": ["hashed", "maglev"]}
    sweep = lbsim.Sweep(name="policies", base=scenario, grid=grid, replications=2)
    done = lbsim.run_sweep(sweep, results=tmp_path, execution=lbsim.Execution("inline"), progress=False)
    assert list(done.table.columns[1:]) == [
        *("replication", "seed", "warmup_s"),
        *(quantity.name for quantity in CONNECTIONS),
        *("status", "note"),
    ]
    assert (done.table["status"] == "ok").all()
    gap = done.differences("balancer.policy", "broken_pct")
    assert (gap["broken_pct_difference"] < 0).all()  # 1 - 1/9 of all against little more than 1/9
    assert load_sweep(dump_sweep(sweep)) == sweep


def test_a_pilot_finds_how_long_connections_take_to_gather(
    scenario: ConnectionScenario, tmp_path: Any
) -> None:
    still = lbsim.override(scenario, {"churn": None, "duration": 30 * SECOND, "measure.interval": 50 * MS})
    sweep = lbsim.Sweep(name="pilot", base=still, warmup="mser5")
    done = lbsim.run_sweep(sweep, results=tmp_path, execution=lbsim.Execution("inline"), progress=False)
    assert 1 < done.table["warmup_s"].iloc[0] < 10  # the mean length is 1 s


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (
            {"until": {"quantity": "latency_p99_us"}},
            'until.quantity: "latency_p99_us" is none of connections',
        ),
        ({"figure": {"x": "servers.active", "y": "drop_pct"}}, 'figure.y: "drop_pct" is none of connections'),
    ],
)
def test_what_belongs_to_packets_is_refused(
    scenario: ConnectionScenario, more: dict[str, Any], told: str
) -> None:
    with pytest.raises(ScenarioError, match=told):
        lbsim.Sweep(name="x", base=scenario, grid={"servers.active": [4, 8]}, **more)


def test_a_point_that_a_balancer_cannot_do_is_refused_before_the_first(
    scenario: ConnectionScenario, tmp_path: Any
) -> None:
    sweep = lbsim.Sweep(name="x", base=scenario, grid={"balancer.policy": ["hashed", "round_robin"]})
    with pytest.raises(ScenarioError, match="'round_robin' looks at more than the connection's hash"):
        lbsim.run_sweep(sweep, results=tmp_path, progress=False)
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_figure_may_have_several_rows_a_run(scenario: ConnectionScenario, tmp_path: Any) -> None:
    def seconds(result: ConnectionResult) -> list[dict[str, float]]:
        return [{"time_s": t, "live": n} for t, n in result.series("live")["live"].items()]

    study = Study("live", "a title", (), scenario, lambda full: [Point({"series": "a"}, {})], seconds)
    ran = run_study(study, results=tmp_path, execution=lbsim.Execution("inline"))
    assert ran.table["time_s"].tolist() == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]
    assert (ran.table["series"] == "a").all()


def test_the_command_line_runs_and_compares_them(tmp_path: Any) -> None:
    file = tmp_path / "scenario.toml"
    file.write_text(TOML)
    one = CliRunner().invoke(app, ["run", str(file), "--json"])
    assert one.exit_code == 0, one.output
    assert json.loads(one.stdout)["broken"] > 0
    two = CliRunner().invoke(
        app, ["run", str(file), "--against", "cookie,round_robin+cookie", "--replications", "2"]
    )
    assert two.exit_code == 0, two.output
    for text in ("hashed+cookie", "round_robin+cookie", "above the mean", "all 11 hold", "8 of 10 servers"):
        assert text in two.stdout
    assert CliRunner().invoke(app, ["check", str(file)]).stdout.endswith("fine\n")
    wrong = CliRunner().invoke(app, ["run", str(file), "--against", "cooky"])
    assert wrong.exit_code == 2
    assert "--against cooky: unknown" in wrong.stderr


def test_check_asks_the_policy(tmp_path: Any) -> None:
    file = tmp_path / "scenario.toml"
    file.write_text(TOML.replace("hashed", "least_loaded"))
    answer = CliRunner().invoke(app, ["check", str(file)])
    assert answer.exit_code == 2
    assert "looks at more than the connection's hash" in answer.stderr
