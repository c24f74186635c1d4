"""The benchmark: all engines simulate the same server, take turns, and are compared fairly."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from lbsim.bench import fed, memory, points, requests, section2
from lbsim.bench.peers import PEERS, Outcome, Server
from lbsim.bench.rounds import Engine, Plan, race
from lbsim.bench.server import SCENARIO, run_lbsim, the_server
from lbsim.cli.app import app
from lbsim.engine.run import run
from lbsim.scenario import override

KEYS = {"case", "engine", "unit", "units_per_s", "ratio", "units", "mean_us", "agrees", "peak_mb"}
EVEN = Server(core_of=[flow % 8 for flow in range(4096)], load=0.5)


def test_the_formula_is_that_of_pollaczek_and_khinchine() -> None:
    # M/G/1 with mean 1 and E[S^2] = 2: at load 1/2 the wait is 0.5 x 2 / (2 x 0.5) = 1, as for M/M/1.
    assert EVEN.mean_latency() == pytest.approx(2.0)
    assert EVEN._replace(load=0.8).mean_latency() == pytest.approx(5.0)
    # One core gets three quarters of 0.8: 0.75 x (1 + 0.6 / 0.4) + 0.25 x (1 + 0.2 / 0.8).
    assert Server([0, 0, 0, 1], cores=2, load=0.4).mean_latency() == pytest.approx(2.1875)


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.module + "-" + peer.run.__name__)
def test_every_peer_simulates_this_server(peer: Any) -> None:
    pytest.importorskip(peer.module)
    uneven = Server([0, 0, 0, 1] * 1024, cores=2, load=0.3)
    seen = peer.run(uneven, 4000, 2)
    assert seen.packets == pytest.approx(4000, rel=0.1)
    assert seen.mean == pytest.approx(uneven.mean_latency(), rel=0.1)
    assert 2 * seen.mean < seen.p99 < 10 * seen.mean
    assert seen.drop_share == 0


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.module + "-" + peer.run.__name__)
def test_every_peer_drops_what_a_full_ring_cannot_take(peer: Any) -> None:
    pytest.importorskip(peer.module)
    # One place, at a load of 2: Erlang's loss formula gives 2 / (1 + 2), whatever the law of service.
    overloaded = Server([0], cores=1, load=2.0, ring=1)
    assert peer.run(overloaded, 3000, 3).drop_share == pytest.approx(2 / 3, abs=0.04)


def test_both_engines_of_lbsim_run_the_same_packets() -> None:
    assert run_lbsim("compiled", 3000, 7) == run_lbsim("reference", 3000, 7)
    assert run_lbsim("compiled", 3000, 7) != run_lbsim("compiled", 3000, 8)


def test_peers_get_the_cores_that_the_nic_of_lbsim_picks() -> None:
    share = np.array(the_server(1).shares)
    assert share.sum() == pytest.approx(1)
    assert share.max() - share.min() > 0.01  # hashing is uneven
    result = run(override(SCENARIO, {"duration": "100ms", "replication": 1}))
    n = result.processed.sum()
    assert np.all(np.abs(result.processed - n * share) < 5 * np.sqrt(n * share))  # and the peers share that
    assert not np.allclose(share, the_server(2).shares, atol=0.002)


def test_a_prepared_trace_gives_the_same_run_in_both_engines() -> None:
    trace = fed.first(fed.prepare(5 * fed.CHUNK, seed=3), 4 * fed.CHUNK)
    assert len(trace) == 4
    assert all(a.time[-1] <= b.time[0] for a, b in pairwise(trace))
    ours, theirs = fed.lbsim_compiled(trace), fed.simpy_process_per_packet(trace)
    assert ours.outcome.mean == theirs.outcome.mean
    assert ours.outcome.p99 == pytest.approx(theirs.outcome.p99, rel=1 / 128)
    assert (ours.moves, ours.table) == (theirs.moves, theirs.table)
    assert ours.moves > 0
    assert ours.outcome.drop_share == theirs.outcome.drop_share


def test_engines_take_turns_and_medians_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[tuple[str, int]] = []
    slowness = {"first": [1.0, 9.0, 1.1], "second": [10.0, 10.0, 90.0]}

    def timed(engine: Engine, packets: int, seed: int) -> tuple[float, Outcome]:
        if seed == 0:
            return 1.0, engine.run(packets, seed)
        turns.append((engine.name, seed))
        return slowness[engine.name][seed - 1], engine.run(packets, seed)

    monkeypatch.setattr("lbsim.bench.rounds.timed", timed)
    engines = [Engine(name, lambda packets, seed: Outcome(1000, seed, 1, 0)) for name in slowness]
    engines.append(
        Engine("absent", lambda packets, seed: pytest.fail("not installed"), module="no_such_module")
    )
    first, second, absent = race("a case", engines, Plan(3, 1.0, ()), lambda text: None)
    assert turns == [(name, seed) for seed in (1, 2, 3) for name in slowness]
    assert (first["unit"], first["units"]) == ("packets", 2000)
    assert first["units_per_s"] == pytest.approx(1000 / 1.1)
    assert first["ratio"] == 1
    assert second["ratio"] == pytest.approx(10 / 1.1)
    assert second["mean_us"] == 2
    assert (absent["units_per_s"], absent["ratio"]) == (None, None)
    assert all(row.keys() == KEYS and row["case"] == "a case" for row in (first, second, absent))


def test_latency_is_that_of_packets_alone() -> None:
    engine = Engine("e", lambda units, seed: Outcome(units, 1.0, 1, 0), most=50, least=50)
    rows = [race("a case", [engine], Plan(1, 1.0, ()), str, unit) for unit in ("packets", "connections")]
    assert [(row["unit"], row["mean_us"]) for (row,) in rows] == [("packets", 1.0), ("connections", None)]


def test_an_engine_gets_no_less_than_makes_sense() -> None:
    given: list[int] = []

    def run(units: int, seed: int) -> Outcome:
        given.append(units)
        return Outcome(units, 1.0, 1, 0)

    race("a case", [Engine("e", run, most=90, least=70)], Plan(2, 0.0, ()), str)
    assert given == [70] * 4


@pytest.mark.parametrize("case", section2.CASES)
def test_section_2_counts_the_same_in_plain_python(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.setattr(section2, "CONNECTIONS", 2500)
    connections = round(2500 / section2.CONNECTION_S * section2.SETTLED_S)
    ours, theirs = section2.lbsim(case, connections, 5), section2.python(case, connections, 5)
    assert ours == theirs
    assert ours.packets == pytest.approx(connections, rel=0.1)
    assert ours != section2.lbsim(case, connections, 6)


@pytest.mark.parametrize("case", requests.CASES)
@pytest.mark.parametrize("desks", [False, True])
def test_requests_take_as_long_in_simpy(case: str, desks: bool) -> None:
    ours, theirs = requests.lbsim("fast", case, 5000, 5), requests.simpy_process_each(case, 5000, 5, desks)
    assert (ours.packets, ours.mean) == (theirs.packets, theirs.mean)
    assert ours.p99 == pytest.approx(theirs.p99, rel=0.02)
    assert ours.packets == pytest.approx(5000, rel=0.2)
    assert ours != requests.lbsim("fast", case, 5000, 6)


@pytest.mark.slow
def test_memory_is_that_of_a_fresh_process() -> None:
    ballast = np.ones(50_000_000)  # 400 MB here must not count there
    peak, seconds = memory.measure(20_000)
    assert memory.peak_mb() > 400 > peak > 20
    assert seconds > 0
    assert ballast[0] == 1


@pytest.mark.slow
def test_a_whole_bench_has_every_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lbsim.bench.rounds.QUICK", Plan(1, 0.01, (10_000,)))
    monkeypatch.setattr("lbsim.bench.fed.LONGEST", fed.CHUNK)
    monkeypatch.setattr(section2, "LEAST", section2.LEAST // 4)
    monkeypatch.setattr(section2, "CONNECTIONS", section2.CONNECTIONS // 4)
    monkeypatch.setattr(section2, "CASES", ("dip", "hash"))
    monkeypatch.setattr("lbsim.bench.connections.WAYS", ("hashed, rehash", "least_loaded, conntable"))
    monkeypatch.setattr("lbsim.bench.connections.LIVE", 500)
    monkeypatch.setattr("lbsim.bench.connections.CLUSTERS", ((4, 100), (9, 500)))
    answer = CliRunner().invoke(app, ["bench", "--quick", "--json"])
    assert answer.exit_code == 0, answer.output
    rows = json.loads(answer.stdout)
    assert all(row.keys() == KEYS for row in rows)
    names = [(row["case"], row["engine"]) for row in rows]
    assert [e for c, e in names if c == "rss-8-cores"] == [
        "lbsim compiled",
        "lbsim reference",
        *(peer.name for peer in PEERS),
    ]
    assert [e for c, e in names if c == "trace-fed rss++"] == ["lbsim compiled", "simpy process per packet"]
    for case in section2.CASES:
        raced = [e for c, e in names if c == section2.MEASURED.format(case)]
        assert raced == ["lbsim compiled", "plain Python, dict and heap"]
    for case in requests.CASES:
        raced = [e for c, e in names if c == f"requests, {case}"]
        assert raced == [
            *("lbsim compiled", "lbsim compiled, heap of events", "lbsim reference"),
            *("simpy resource each", "simpy process each"),
        ]
    assert [e for c, e in names if c == "sweep of two points"] == list(points.WAYS)
    assert [e for c, e in names if c == "memory"] == ["lbsim compiled, 1e4 packets"]
    balancers = ("a balancer of 468 servers", "a growing cluster")
    assert [e for c, e in names if c == balancers[0]] == ["hashed, rehash", "least_loaded, conntable"]
    assert next(e for c, e in names if c == balancers[1]) == "hashed, 4 servers, 100 connections"
    assert all(row["agrees"] for row in rows if row["ratio"] is not None and row["case"] not in balancers)


def test_disagreement_is_an_exit_code_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    row = dict.fromkeys(KEYS) | {"case": "x", "engine": "e", "unit": "packets"}
    row |= {"units_per_s": 5.0, "ratio": 1.0, "mean_us": 1.0}
    for agrees, code, word in ((True, 0, "yes"), (False, 1, "NO")):
        monkeypatch.setattr("lbsim.cli.bench.bench", lambda quick, agrees=agrees: [row | {"agrees": agrees}])
        answer = CliRunner().invoke(app, ["bench"])
        assert (answer.exit_code, word in answer.stdout) == (code, True)
