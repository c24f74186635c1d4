"""The command line: what it prints, what it refuses, and its exit codes."""

from __future__ import annotations

import io
import json
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console
from typer.testing import CliRunner

from lbsim.cli import show
from lbsim.cli.app import PLAIN, app
from lbsim.cli.run import about
from lbsim.cli.variants import Request, label_of, variants_of
from lbsim.engine.run import run
from lbsim.metrics.intervals import mean_interval
from lbsim.metrics.quantities import BY_NAME
from lbsim.scenario import Fixed, Flaps, Rsspp, Scenario, Software, load_scenario, override
from lbsim.study import Execution, Ran
from lbsim.study.running.runner import Interrupted

COMMANDS = ("run", "figures", "scorecard", "report", "bench", "check", "list", "schema")
SCENARIO = """
name = "small"
duration = "4ms"
[traffic]
kind = "flows"
flows = 64
[arrivals]
kind = "poisson"
load = 0.7
[server]
cores = 4
ring = 64
burst = 1
[server.cost.work]
kind = "exponential"
mean = "1us"
"""

CLUSTER = {"servers": 4, "active": 3, "balancer": {"kind": "crossrss"}}
CLUSTERED = """
[cluster]
servers = 4
balancer = { kind = "crossrss", period = "1ms" }
"""
CHAIN = {
    "arrivals": "{ kind = 'poisson', rate = '2Mpps' }",
    "chain.functions": "[{ kind = 'firewall' }, { kind = 'work_package' }]",
    "chain.synthesised": "true",
    "chain.offload": "nic",
}


def call(*arguments: object) -> Any:
    """Run the command line in this process, 80 columns wide and without colour."""
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "80", "NO_COLOR": "1"})


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SCENARIO)
    return path


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """300 UDP packets of 30 flows, 10 µs apart."""
    packets = b""
    for k in range(300):
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28, 0, 0, 64, 17, 0, bytes([10, 0, 0, k % 30]), bytes(4))
        frame = bytes(12) + b"\x08\x00" + ip + struct.pack("!HHHH", 1000 + k % 30, 53, 8, 0)
        packets += struct.pack("<IIII", 0, 10 * k, len(frame), len(frame)) + frame
    path = tmp_path / "small.pcap"
    path.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + packets)
    return path


def test_help_lists_every_command_and_each_has_help() -> None:
    answer = call("--help")
    assert answer.exit_code == 0
    assert all(re.search(rf"^│ {name} ", answer.stdout, re.MULTILINE) for name in COMMANDS)
    assert all(call(name, "-h").exit_code == 0 for name in COMMANDS)


def test_help_loads_no_simulator() -> None:
    script = (
        "import sys, lbsim.cli.app as a\n"
        "try: a.app(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'numpy', 'numba', 'pandas', 'pydantic', 'simpy', 'scipy'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "[]"


def test_version() -> None:
    answer = call("--version")
    assert (answer.exit_code, answer.stdout) == (0, "lbsim 0.1.0\n")


def test_json_is_the_summary_of_the_run(scenario: Path) -> None:
    answer = call("run", scenario, "--json")
    assert answer.exit_code == 0
    expected = run(load_scenario(scenario)).summary()
    assert json.loads(answer.stdout) == {"dispatch": "rss", **expected}
    assert expected["packets"] > 5_000


def test_the_table_says_what_ran_and_what_came_out(scenario: Path) -> None:
    answer = call("run", scenario)
    assert answer.exit_code == 0
    result = run(load_scenario(scenario))
    lines = answer.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in answer.stdout
    assert lines[0] == "small  4 cores, ring 64, burst 1, load 70%"
    assert lines[1].startswith(result.engine)
    assert "exact" in lines[1]
    words = [line.split() for line in lines]
    assert ["packets", f"{result.offered:,}"] in words
    assert ["p99", "latency", "µs", show.number(result.latency_us(0.99))] in words
    assert ["laws", "all", "4", "hold"] in words
    assert sum(line.startswith("core ") and "█" in line for line in lines) == 4
    load = result.busy[0] / result.end
    assert next(w for w in words if w[:2] == ["core", "0"])[-3] == f"{load:.0%}"


def test_both_engines_give_the_same(scenario: Path) -> None:
    compiled, reference = (
        json.loads(call("run", scenario, "--json", "--engine", engine).stdout)
        for engine in ("compiled", "reference")
    )
    assert compiled.pop("engine") != reference.pop("engine")
    assert compiled == reference


def test_set_changes_fields(scenario: Path) -> None:
    answer = call("run", scenario, "--json", "--set", "server.cores=2", "--set", "nic.dispatch.kind=sprayer")
    data = json.loads(answer.stdout)
    assert len(data["core_load"]) == 2
    assert data["dispatch"] == "sprayer"


def test_replications_give_t_intervals(scenario: Path) -> None:
    small = load_scenario(scenario)
    sprayed = override(small, {"nic.dispatch.kind": "sprayer"})
    data = json.loads(call("run", scenario, "--json", "--replications", 3).stdout)
    rates = [summary["throughput_gbps"] for summary in data["runs"]]
    assert len(set(rates)) == data["replications"] == 3
    expected = mean_interval(rates)
    assert data["intervals"]["throughput_gbps"] == pytest.approx(
        {"mean": expected.mean, "low": expected.low, "high": expected.high}
    )
    answer = call("run", scenario, "--replications", 3, "--against", "sprayer")
    assert (
        f"{show.number(expected.mean)} ± {show.number(expected.mean - expected.low, expected.mean)}"
        in answer.stdout
    )
    assert "sprayer − rss" in answer.stdout
    rss, sprayer = ([run(override(s, {"replication": k})) for k in range(3)] for s in (small, sprayed))
    gap = show.difference(BY_NAME["core_load_max_pct"], sprayer, rss)
    assert gap is not None
    assert gap.mean < 0  # spraying is more even
    assert f" {show.number(gap.mean)} ± " in answer.stdout
    assert max(map(len, answer.stdout.splitlines())) <= 80


def test_against_shows_the_same_packets_side_by_side(scenario: Path) -> None:
    data = json.loads(
        call("run", scenario, "--json", "--against", "sprayer,least_loaded", "--against", "rss").stdout
    )
    assert [d["dispatch"] for d in data] == ["rss", "sprayer", "least_loaded"]
    assert len({d["packets"] for d in data}) == 1
    assert len({d["latency_us"]["mean"] for d in data}) == 3


def test_software_dispatch_is_told_apart_by_its_queues(scenario: Path) -> None:
    names = "software,software:shared,software:stateful_rr,software:stateful_load,software:round_robin"
    variants = variants_of(
        Request(scenario, ("nic.dispatch.capacity=7",), against=("rssrr", "classes", names))
    )
    assert list(variants) == [
        *("rss", "rssrr", "classes", "software round_robin"),
        *("software shared", "software stateful_rr", "software stateful_load"),
    ]
    for label, variant in variants.items():
        assert isinstance(variant, Scenario)
        assert variant.nic.dispatch.kind == label.split()[0]
        if isinstance(variant.nic.dispatch, Software):
            assert label == f"software {variant.nic.dispatch.queues}"
            assert variant.nic.dispatch.capacity == 7


def test_the_dispatcher_has_a_row_of_its_own(scenario: Path) -> None:
    against = ("--against", "software,software:shared", "--set", "measure.interval=1ms")
    answer = call("run", scenario, *against, "--set", "server.burst=32")
    assert answer.exit_code == 0, answer.output
    lines = answer.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line for line in lines if re.match(r" *(core \d|hands over)", line)]
    assert [row.split()[:2] for row in rows] == [*(["core", str(k)] for k in range(4)), ["hands", "over"]]
    assert [row.count("%") for row in rows] == [3, 3, 3, 3, 2]  # RSS has no dispatcher
    assert "a core hands packets to the others" in " ".join(answer.stdout.split())
    assert "cores in use" not in answer.stdout  # all are, always


def test_cores_in_use_are_shown_where_they_change(scenario: Path) -> None:
    grow = "nic.dispatch.grow={ every = '1ms' }"
    answer = call("run", scenario, "--set", grow, "--set", "measure.interval=250us", "--set", "warmup=1ms")
    assert answer.exit_code == 0, answer.output
    [line] = [line for line in answer.stdout.splitlines() if "cores in use" in line]
    result = run(override(load_scenario(scenario), {"nic.dispatch.grow.every": "1ms"}))
    assert result.processed.min() < result.processed.max() / 2
    assert 1 < float(line.split()[-1]) < 4


def test_drops_are_told_by_cause_where_rings_are_not_the_only_one(scenario: Path) -> None:
    small = ("--set", "nic.dispatch.capacity=1", "--set", "nic.dispatch.kind=software")
    answer = call("run", scenario, *small, "--set", "arrivals.load=3")
    assert answer.exit_code == 0, answer.output
    assert re.search(r"dropped: queue full +\d", answer.stdout)
    assert "dropped: " not in call("run", scenario, "--set", "arrivals.load=3").stdout


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arrivals.rate": "2Mpps"}, "burst 1, 2Mpps"),
        (
            {"arrivals.profile": '{ every = "1ms", factors = [0.5, 1, 3] }'},
            "burst 1, load 70% times 0.5 to 3",
        ),
        ({"server.state": '{ kind = "per_bucket" }'}, "burst 1, per bucket state, load 70%"),
        (
            {"arrivals": '{ kind = "closed", link = "10Gbps", window = 30, delay = "50us" }'},
            "burst 1, 10Gbps shared by flows with 30 packets under way",
        ),
        (CHAIN, "burst 1, firewall > work package synthesised, offloaded to the nic, 2Mpps"),
        (
            {**CHAIN, "chain.synthesised": "false", "chain.offload": "none", "chain.execution": "pipeline"},
            "burst 1, firewall > work package on 2 cores each, 2Mpps",
        ),
    ],
)
def test_the_set_up_is_told_in_a_line(scenario: Path, changes: dict[str, str], said: str) -> None:
    assert about(override(load_scenario(scenario), changes)) == f"4 cores, ring 64, {said}"


def test_the_servers_of_a_cluster_are_told(scenario: Path) -> None:
    cluster = override(load_scenario(scenario), {"cluster": CLUSTER})
    assert about(cluster) == "3 of 4 servers with 4 cores, ring 64, burst 1, load 70%"
    flaps = override(cluster, {"cluster.churn": Flaps(up=Fixed(time="1s"), down=Fixed(time="1s"))})
    assert about(flaps).endswith("burst 1, churn: flaps, load 70%")


def test_balancers_of_a_cluster_and_dispatches_behind_them_are_compared(scenario: Path) -> None:
    scenario.write_text(SCENARIO + CLUSTERED)
    names = ("power_of_two", "rss++", "crossrss", "maglev+rssrr")
    asked = variants_of(Request(scenario, against=names))
    assert [*asked] == ["crossrss+rss", "power_of_two+rss", "crossrss+rss++", "maglev+rssrr"]
    assert {label_of(variant) for variant in asked.values()} == set(asked)
    answer = call("run", scenario, "--against", "round_robin", "--json")
    assert answer.exit_code == 0, answer.output
    crossed, turned = json.loads(answer.stdout)
    assert (crossed["dispatch"], turned["dispatch"]) == ("crossrss+rss", "round_robin+rss")
    assert crossed["packets"] == turned["packets"] > 0
    assert len(turned["core_load"]) == 16
    for wrong in ("rsss", "crossrss+x", "x+rss", "software"):
        refused = call("run", scenario, "--against", wrong)
        assert refused.exit_code == 2
        assert "unknown; choose a balancer" in refused.stderr or "table of their own" in refused.stderr


def test_a_pipeline_says_why_it_ran(scenario: Path) -> None:
    pipeline = (
        "chain.functions=[{kind='dpi'}, {kind='forward'}]",
        "chain.execution=pipeline",
        "server.clock=2GHz",
    )
    changes = [
        text
        for change in (*pipeline, "arrivals={kind='poisson', rate='1Mpps'}")
        for text in ("--set", change)
    ]
    answer = call("run", scenario, *changes)
    assert answer.exit_code == 0, answer.output
    assert "compiled: pipeline of cores (functions have cores of their own)" in answer.stdout.replace(
        "\n", " "
    )
    assert "hand_overs" in answer.stdout


def test_a_dispatch_is_tuned_where_it_has_the_field(scenario: Path) -> None:
    tuned = variants_of(Request(scenario, ("nic.dispatch.tick=10ms",), against=("rss++",)))
    dispatch = tuned["rss++"].nic.dispatch
    assert isinstance(dispatch, Rsspp)
    assert dispatch.tick == 10 * 10**9
    assert label_of(tuned["rss"]) == "rss"
    with pytest.raises(ValueError, match="tik"):
        variants_of(Request(scenario, ("nic.dispatch.tik=10ms",), against=("rss++",)))


def test_a_capture_needs_no_scenario(capture: Path) -> None:
    answer = call("run", "--capture", capture, "--json")
    assert answer.exit_code == 0, answer.output
    rss, rsspp = json.loads(answer.stdout)
    assert (rss["dispatch"], rsspp["dispatch"]) == ("rss", "rss++")
    assert rss["packets"] == rsspp["packets"] > 1_000_000
    assert len(rss["core_load"]) == 8
    assert rsspp["control"]["ticks"] > 15
    assert max(rsspp["core_load"]) < max(rss["core_load"])
    assert rss["offered_gbps"] == pytest.approx(0.8 * 8 / 1.455e-6 * (42 + 24) * 8 / 1e9, rel=0.01)
    lighter = json.loads(
        call("run", "--capture", capture, "--load", 0.2, "--against", "rss", "--json").stdout
    )
    assert lighter["offered_gbps"] == pytest.approx(rss["offered_gbps"] / 4, rel=0.01)


def test_a_capture_can_replace_the_traffic_of_a_scenario(capture: Path, scenario: Path) -> None:
    answer = call("run", scenario, "--capture", capture, "--json")
    assert answer.exit_code == 0, answer.output
    rss, rsspp = json.loads(answer.stdout)
    assert len(rss["core_load"]) == 4
    assert rss["packets"] == pytest.approx(
        0.7 * 4 * 4000, rel=0.05
    )  # 4 ms of a load of 0.7 on 4 cores of 1 µs
    assert rsspp["control"]["ticks"] == 0


def test_a_damaged_capture_is_refused_unless_its_part_is_wanted(capture: Path) -> None:
    capture.write_bytes(capture.read_bytes()[:-5])
    answer = call("run", "--capture", capture)
    assert answer.exit_code == 2
    assert str(capture) in answer.stderr
    assert "byte" in answer.stderr
    answer = call("run", "--capture", capture, "--partial", "--against", "rss")
    assert answer.exit_code == 0, answer.output
    assert "note: stopped at byte" in answer.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "nothing to run"),
        (("absent.toml",), "absent.toml: cannot be read"),
        (("{s}", "--set", "server.cores=0"), "server.cores: 0 is not a whole number from 1 to 1024"),
        (("{s}", "--set", "duration=5"), "duration: 5 has no unit"),
        (("{s}", "--set", "server.coers=4"), "did you mean server.cores?"),
        (("{s}", "--set", "server.cores"), "write FIELD=VALUE"),
        (
            ("{s}", "--against", "rs"),
            "--against rs: unknown; choose from rss, rss++, rssrr, sprayer, classes",
        ),
        (("{s}", "--against", "software:x"), "software:x: unknown; choose from"),
        (("{s}", "--set", "nic.dispatch.kind=policy", "--set", "nic.dispatch.policy=nope"), "nope"),
        (("{s}", "--load", "-1"), "arrivals.load: -1"),
        (("{s}", "--partial"), "--partial: there is no capture"),
        (("--capture", "{s}"), "small.toml: at byte 0"),
        (("--capture", "absent.pcap"), "absent.pcap: at byte 0: the file cannot be read"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(
    scenario: Path, arguments: tuple[str, ...], words: str
) -> None:
    answer = call("run", *(a.format(s=scenario) for a in arguments))
    assert answer.exit_code == 2
    assert answer.stdout == ""
    assert answer.stderr.startswith("error: ")
    assert words in answer.stderr
    assert "Traceback" not in answer.stderr
    assert answer.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [("run", "--engine", "fast"), ("run", "--replications", "0"), ("dance",)]
)
def test_bad_usage_is_exit_code_2_too(arguments: tuple[str, ...]) -> None:
    assert call(*arguments).exit_code == 2


def test_an_interrupt_says_how_to_go_on(scenario: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lbsim.cli.run.run", interrupted)
    answer = call("run", scenario)
    assert (answer.exit_code, answer.stderr) == (130, "interrupted; nothing was saved\n")
    monkeypatch.setattr("lbsim.cli.studies.figures", interrupted)
    answer = call("figures")
    assert answer.exit_code == 130
    assert "the same command again resumes" in answer.stderr
    monkeypatch.setattr("lbsim.cli.studies.figures", lambda *_, **__: interrupted_at(57))
    assert "57 of 200 points are stored" in call("figures").stderr


def interrupted_at(kept: int) -> None:
    raise Interrupted(kept, 200)


def test_how_points_are_computed_can_be_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Execution] = []
    monkeypatch.setattr(
        "lbsim.cli.studies.figures", lambda *_, execution, **__: asked.append(execution) or []
    )
    monkeypatch.setattr("lbsim.cli.studies.write_report", lambda results: results / "report.html")
    assert call("figures", "--executor", "inline", "--fresh", "--limit-time", "10m").exit_code == 0
    assert call("figures", "--executor", "tcp://127.0.0.1:8786", "--timeout", "1.5 h").exit_code == 0
    first, second = asked
    assert (first.executor, first.fresh, first.limit_time, first.timeout) == ("inline", True, 600, 3600)
    assert (second.executor, second.fresh, second.limit_time, second.timeout) == (
        "tcp://127.0.0.1:8786",
        False,
        None,
        5400,
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--limit-time", "ten"], "--limit-time: 'ten' is not a time: write a number and one of s, m"),
        (["--timeout", "0s"], "--timeout: 0s is over before it begins"),
        (["--executor", "slurm"], "'slurm' is none of inline, loky, dask"),
    ],
)
def test_nonsense_about_computing_is_refused(options: list[str], said: str) -> None:
    answer = call("figures", *options)
    assert answer.exit_code == 2
    assert said in answer.stderr


def test_points_left_by_the_time_limit_are_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    left = [Ran("a-figure", pd.DataFrame(), [], [], 3)]
    monkeypatch.setattr("lbsim.cli.studies.figures", lambda *_, **__: left)
    monkeypatch.setattr("lbsim.cli.studies.write_report", lambda results: results / "report.html")
    answer = call("figures")
    assert answer.exit_code == 130
    assert "3 points left" in answer.stdout
    assert "the same command again resumes" in answer.stderr


def test_check_tells_every_problem_of_a_scenario(scenario: Path) -> None:
    assert call("check", scenario).exit_code == 0
    scenario.write_text(SCENARIO.replace("cores = 4", "cores = -4").replace("flows = 64", "flws = 64"))
    answer = call("check", scenario)
    assert answer.exit_code == 2
    assert "2 problems" in answer.stderr
    assert "server.cores: -4" in answer.stderr
    assert "did you mean traffic.flows?" in answer.stderr


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ('[cluster]\nservers = 4\nbalancer = { kind = "choosing", policy = "power_of_too" }', "power_of_two"),
        ('[nic]\ndispatch = { kind = "policy", policy = "power_of_too" }', "power_of_two"),
        ('[chain]\nfunctions = [{ kind = "dpi" }]\n[server]\nhardware = "packetmil"', "packetmill"),
        (
            '[chain]\nfunctions = [{ kind = "dpi" }]\nsynthesised = true\noffload = "switch"\n'
            'switch = "conform"\n[server]\nhardware = "packetmill"',
            "conformant",
        ),
    ],
)
def test_check_knows_the_names_of_policies_and_hardware(scenario: Path, wrong: str, said: str) -> None:
    text = SCENARIO.replace("load = 0.7", 'rate = "2Mpps"')
    scenario.write_text(text.replace("[server]", wrong if "[server]" in wrong else wrong + "\n[server]"))
    answer = call("check", scenario)
    assert answer.exit_code == 2
    assert "none of" in answer.stderr
    assert f"did you mean '{said}'?" in answer.stderr.replace('"', "'")
    scenario.write_text(
        scenario.read_text().replace("too", "two").replace('mil"', 'mill"').replace('orm"', 'ormant"')
    )
    assert call("check", scenario).exit_code == 0


def test_check_reads_the_capture_of_a_scenario(scenario: Path, capture: Path) -> None:
    text = SCENARIO.replace(
        'kind = "flows"\nflows = 64', f'kind = "capture"\nfile = "{capture.name}"\nloops = "forever"'
    )
    scenario.write_text(text)
    assert call("check", scenario).exit_code == 0
    capture.write_bytes(capture.read_bytes()[:-5])
    assert call("check", scenario).exit_code == 2


def test_check_reads_every_file_of_a_results_folder(tmp_path: Path) -> None:
    (tmp_path / "points").mkdir()
    assert call("check", tmp_path).exit_code == 0
    (tmp_path / "points" / "bad.parquet").write_bytes(b"PAR1 not really")
    answer = call("check", tmp_path)
    assert answer.exit_code == 2
    assert "bad.parquet is damaged" in answer.stderr


@pytest.mark.parametrize(("simulated", "code", "verdict"), [(1, 0, "pass"), (0, 1, "fail")])
def test_the_scorecard_exits_with_1_when_a_claim_fails(
    tmp_path: Path, simulated: int, code: int, verdict: str
) -> None:
    (tmp_path / "toeplitz").mkdir()
    claims = [{"id": "RS-01", "simulated": simulated, "note": ""}]
    (tmp_path / "toeplitz" / "claims.json").write_text(json.dumps(claims))
    answer = call("scorecard", "--json", "--results", tmp_path)
    assert answer.exit_code == code
    (line,) = json.loads(answer.stdout)
    assert list(line) == ["id", "figure", "quantity", "published", "low", "high", "simulated", "verdict"]
    assert (line["id"], line["figure"], line["published"], line["verdict"]) == (
        "RS-01",
        "toeplitz",
        1,
        verdict,
    )
    answer = call("scorecard", "--results", tmp_path)
    assert answer.exit_code == code
    assert f"{code ^ 1} of 1 claims hold" in answer.stdout


def test_a_scorecard_without_results_is_empty_json_or_a_hint(tmp_path: Path) -> None:
    assert call("scorecard", "--json", "--results", tmp_path).stdout == "[]\n"
    answer = call("scorecard", "--results", tmp_path)
    assert answer.exit_code == 2
    assert "lbsim figures" in answer.stderr


def test_points_that_failed_are_named_and_exit_with_3(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {}

    def figures(names: list[str] | None, **options: Any) -> list[Ran]:
        asked.update(options, names=names)
        return [Ran("a-figure", pd.DataFrame(), [], ["{'cores': 3}: ValueError: no"])]

    monkeypatch.setattr("lbsim.cli.studies.figures", figures)
    monkeypatch.setattr("lbsim.cli.studies.write_report", lambda results: results / "report.html")
    answer = call("figures", "a-figure", "--full", "--jobs", 2, "--results", tmp_path)
    assert answer.exit_code == 3
    assert "a-figure: {'cores': 3}: ValueError: no" in answer.stderr
    assert (asked["names"], asked["full"], asked["execution"].jobs, asked["results"]) == (
        ["a-figure"],
        True,
        2,
        tmp_path,
    )


def test_an_unknown_figure_is_bad_input(tmp_path: Path) -> None:
    answer = call("figures", "rsspp-fig99", "--results", tmp_path)
    assert answer.exit_code == 2
    assert "rsspp-fig99" in answer.stderr


def test_list_names_everything_in_80_columns() -> None:
    answer = call("list")
    assert answer.exit_code == 0
    names = ("campus", "on_off", "rss++", "per_bucket", "power_of_two", "imix", "rsspp-fig13")
    new = ("crossrss", "choosing", "metron", "flow_director", "napt", "packetmill", "conformant")
    for name in (*names, *new):
        assert re.search(rf"^  {re.escape(name)} ", answer.stdout, re.MULTILINE), name
    assert max(map(len, answer.stdout.splitlines())) <= 80


def test_schema_is_json() -> None:
    schema = json.loads(call("schema").stdout)
    assert "server" in schema["properties"]


def test_bars_are_as_long_as_their_share() -> None:
    assert show.bar(0, 4) == "    "
    assert show.bar(0.5, 4) == "██  "
    assert show.bar(0.55, 4) == "██▏ "
    assert show.bar(1, 4) == show.bar(1.7, 4) == "████"
    assert show.bar(0.5, 4, ascii_only=True) == "##.."


def test_numbers_have_about_four_digits() -> None:
    values = (0, 0.00012, 0.0456, 1.23456, 45.678, 999.96, 12345.6)
    assert [show.number(v) for v in values] == [
        "0",
        "0.00012",
        "0.046",
        "1.235",
        "45.68",
        "1,000.0",
        "12,346",
    ]
    assert show.number(float("nan")) == "–"
    assert show.number(0.5, 1234.0) == "0"
    assert [show.short(v) for v in (950, 12_345, 6_400_000, 1.2e9)] == ["950", "12.3 k", "6.4 M", "1.2 G"]


def test_many_cores_are_cut_and_said_to_be(scenario: Path) -> None:
    answer = call("run", scenario, "--set", "server.cores=40", "--set", "duration=1ms")
    assert "and 8 more cores" in answer.stdout
    assert "core 31" in answer.stdout
    assert "core 32" not in answer.stdout


def test_text_survives_a_terminal_without_unicode(scenario: Path) -> None:
    script = f"import sys; sys.argv[1:] = ['run', {str(scenario)!r}]; from lbsim.cli import main; main()"
    answer = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONIOENCODING": "ascii", "COLUMNS": "80"},
        capture_output=True,
    )
    assert answer.returncode == 0, answer.stderr
    text = answer.stdout.decode("ascii")
    assert " us " in text
    assert "###" in text
    assert all(len(plain) >= 1 for plain in PLAIN.values())


def test_progress_shows_up_only_when_it_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    from lbsim.cli.progress import RunProgress

    now = 100.0
    monkeypatch.setattr("lbsim.cli.progress.time.monotonic", lambda: now)
    shown = io.StringIO()
    console = Console(width=80, force_terminal=False, file=shown)
    with RunProgress("rss", console) as progress:
        progress(0.0, 1_000)
        now = 101.0
        progress(0.1, 2_000)
        assert shown.getvalue() == ""
        now = 104.0
        progress(0.5, 401_000)
        now = 105.0
        progress(0.6, 500_000)
    assert shown.getvalue() == "rss: 50%, 100 k packets/s, 4 s left\n"


def test_a_folder_without_results_is_not_called_fine(tmp_path):
    done = CliRunner().invoke(app, ["check", str(tmp_path)])
    assert done.exit_code == 2
    assert "holds no results; give the folder of --results" in done.stderr
