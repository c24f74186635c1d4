"""Where requests come from: times, hashes, work, thoughts, and what servers and clients are told."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbsim.balancer.cost import request_cost
from lbsim.engine.request import plane
from lbsim.engine.request.plane import Columns, Source
from lbsim.engine.request.source import rate_of, servers_of, source_of
from lbsim.rng import coin, stream
from lbsim.scenario import (
    BalancerCost,
    Bimodal,
    Cpu,
    Exponential,
    Fcfs,
    Fixed,
    Independent,
    Jbsq,
    Paced,
    Priority,
    RequestBalancer,
    RequestMeasure,
    RequestScenario,
    RequestServers,
    Retry,
    ScenarioError,
    Sharing,
    Spin,
    Stealing,
    Table,
    Traced,
    Users,
    Work,
)
from lbsim.units import MS, SECOND, US
from lbsim.workload.connections import CHUNK
from lbsim.workload.requests import equal_gaps, read_times, starts

EXPONENTIAL = Cpu(work=Exponential(mean=Work(MS)))


def scenario(clients: Any, balancer: dict[str, Any] | None = None, **fields: Any) -> RequestScenario:
    """Return a scenario; `fields` are its own, or those of its servers."""
    of_servers = {name: fields.pop(name) for name in tuple(fields) if name in RequestServers.model_fields}
    return RequestScenario(
        clients=clients,
        balancer=RequestBalancer(policy="hashed", **balancer or {}),
        servers=RequestServers(**{"number": 4, "service": EXPONENTIAL, **of_servers}),
        **{"duration": SECOND, **fields},
    )


def joined(source: Source, chunks: int | None = None) -> Columns:
    """Return the first chunks of a source as one, all of them where no number is given."""
    found = list(itertools.islice(source.columns(), chunks))
    assert all(len(chunk.hash) <= CHUNK for chunk in found)
    return Columns(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


OPEN = Independent(per_second=200_000.0)
THINKING = Users(users=100, think=Exponential(mean=Work(8 * MS)))
PACED = Paced(processes=4, connections=16, per_second=640.0)


# --- an open loop -------------------------------------------------------------------------------------------


def test_requests_are_poisson_and_end_with_the_run() -> None:
    source = source_of(scenario(OPEN))
    all_ = joined(source)
    n = len(all_.time)
    assert (source.kind, source.users, len(source.first)) == (plane.INDEPENDENT, 0, 0)
    assert abs(n - 200_000) < 5 * math.sqrt(200_000)
    assert (np.diff(all_.time) >= 0).all()
    assert SECOND - MS < all_.time[-1] < SECOND
    counts = np.histogram(all_.time, 2000, (0, SECOND))[0]  # of a Poisson process: variance = mean
    assert counts.var() / counts.mean() == pytest.approx(1, abs=5 * math.sqrt(2 / 2000))
    assert len(all_.hash) == len(all_.work) == n
    assert len(all_.pause) == 0
    assert all_.work.mean() == pytest.approx(MS, rel=5 / math.sqrt(n))


def test_equal_gaps_do_not_drift() -> None:
    times = joined(source_of(scenario(Independent(per_second=300_000.0, gaps="fixed")))).time
    assert len(times) == 299_999  # the next is due at the end
    expected = [round((k + 1) * SECOND / 300_000) for k in range(len(times))]
    assert times.tolist() == expected


@given(st.floats(1e-3, 1e6), st.integers(1, SECOND))
@settings(max_examples=50)
def test_equal_gaps_end_before_the_end(rate: float, end: int) -> None:
    times = np.concatenate(list(equal_gaps(rate, end)))
    assert (times < end).all()
    assert len(times) == pytest.approx(end * rate / SECOND, abs=1.001)


def test_a_load_is_what_the_cores_can_do() -> None:
    for cores, speeds in ((1, (1.0,)), (3, (1.0, 2.0, 2.0))):
        s = scenario(Independent(load=0.5), cores=cores, speeds=speeds, duration=10 * SECOND)
        work = joined(source_of(s)).work.sum()
        offered = 0.5 * 10 * SECOND * cores * sum(np.resize(speeds, 4))
        assert work == pytest.approx(offered, rel=0.05)


# --- a recording --------------------------------------------------------------------------------------------


def recording(folder: Path, text: str) -> Traced:
    (folder / "r.csv").write_text(text, "utf-8")
    return Traced(file=str(folder / "r.csv"))


def test_a_recording_is_replayed(tmp_path: Path) -> None:
    text = "# source: mine\nname, time_s\n# a comment\na,0\nb,0.25\n\nc,0.25\nd,0.999999999999\ne,1.5\nf,3\n"
    traced = recording(tmp_path, text)
    s = scenario(traced)
    assert joined(source_of(s)).time.tolist() == [0, SECOND // 4, SECOND // 4, SECOND - 1]
    assert rate_of(s) == 4
    fast = scenario(traced.model_copy(update={"speed": 2.0}))
    assert joined(source_of(fast)).time.tolist() == [
        0,
        SECOND // 8,
        SECOND // 8,
        SECOND // 2,
        3 * SECOND // 4,
    ]


def test_a_long_recording_comes_in_chunks(tmp_path: Path) -> None:
    times = np.sort(np.random.default_rng(1).integers(0, 10**6, CHUNK + 5)) / 1e6
    text = "time_s\n" + "\n".join(f"{time:.6f}" for time in times)
    chunks = list(source_of(scenario(recording(tmp_path, text))).columns())
    assert [len(chunk.time) for chunk in chunks] == [CHUNK, 5]
    assert np.array_equal(np.concatenate([c.time for c in chunks]), np.rint(times * 1e12).astype(np.int64))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "its first line names no column time_s; write one, e.g. time_s"),
        ("seconds\n1\n", "its first line names no column time_s"),
        ("time_s\n", "has no rows; write a time in seconds"),
        ("time_s\n0\n-1\n", "row 2: -1 is negative; let times begin at 0"),
        ("time_s\n1\n2\n1.5\n", "row 3: 1.5 is before the row above; sort the rows"),
        ("time_s\nnan\n", "row 1: nan is no time up to 4e+06 s; correct it"),
        ("time_s\n1e300\n", "row 1: 1e+300 is no time up to 4e+06 s"),
        ("time_s\n1\nx\n", "could not convert string 'x'"),
        ("a,time_s\n1\n", "r.csv': "),
    ],
)
def test_recordings_that_cannot_be_are_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ScenarioError) as refusal:
        source_of(scenario(recording(tmp_path, text)))
    (problem,) = refusal.value.problems
    assert problem.startswith("clients.file: ")
    assert said in problem
    assert "r.csv" in problem


def test_a_recording_that_is_no_text_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ScenarioError, match=r"^clients.file: '.*' is not a file; give the path of a CSV file"
    ):
        source_of(scenario(Traced(file=str(tmp_path / "none.csv"))))
    (tmp_path / "r.csv").write_bytes(b"time_s\n\xff\xfe\n")
    with pytest.raises(ValueError, match="is not UTF-8 text; save it as a plain CSV file"):
        read_times(tmp_path / "r.csv", 1.0, SECOND)


# --- closed loops -------------------------------------------------------------------------------------------


def test_users_begin_after_a_thought_and_columns_never_end() -> None:
    s = scenario(THINKING.model_copy(update={"session": 3.0}))
    source = source_of(s)
    assert (source.kind, source.users, source.session) == (plane.USERS, 100, 3.0)
    all_ = joined(source, 3)
    assert len(all_.hash) == len(all_.work) == len(all_.pause) == 3 * CHUNK
    assert len(all_.time) == 0
    assert all_.pause.mean() == pytest.approx(8 * MS, rel=5 / math.sqrt(3 * CHUNK))
    thoughts = np.rint(stream(1, "think").standard_exponential(100 + CHUNK) * 8 * MS).astype(np.int64)
    assert np.array_equal(np.concatenate([source.first, all_.pause[:CHUNK]]), thoughts)


def test_users_who_never_think_begin_at_once() -> None:
    source = source_of(scenario(Users(users=3, think=Fixed(time=Work(0)))))
    assert source.first.tolist() == [0, 0, 0]
    assert not joined(source, 1).pause.any()


def test_paced_connections_start_one_after_the_other() -> None:
    source = source_of(scenario(PACED))
    assert (source.kind, source.users, source.period, source.catch) == (
        plane.PACED,
        64,
        SECOND // 10,
        SECOND // 20,
    )
    first = source.first.reshape(4, 16)
    later = first - 5 * MS * np.arange(16)  # a process's own start, and up to 1 ms
    own = later.min(axis=1)
    assert (later.max(axis=1) - own <= MS).all()
    assert len(np.unique(later)) == 64
    assert (own >= 0).all()
    assert (own <= 61 * MS).all()
    assert np.ptp(own) > MS
    all_ = joined(source, 2)
    assert len(all_.hash) == 2 * CHUNK
    assert len(all_.pause) == len(all_.time) == 0


def test_starts_without_chance_are_exact() -> None:
    rng = np.random.default_rng(1)
    assert starts(2, 3, 7, 0, 0, rng).tolist() == [0, 7, 14, 0, 7, 14]
    spread = starts(1000, 2, 0, 0, 60, rng).reshape(1000, 2)
    assert np.array_equal(spread[:, 0], spread[:, 1])  # connections of a process share its start
    assert (spread.min(), spread.max()) == (0, 60)
    jitter = starts(1, 1000, 0, 9, 0, rng)
    assert set(jitter.tolist()) == set(range(10))


# --- what is drawn ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clients", [OPEN, THINKING, PACED], ids=lambda clients: clients.kind)
def test_columns_start_anew_at_each_call(clients: Any) -> None:
    source = source_of(scenario(clients))
    for a, b in zip(joined(source, 2), joined(source, 2), strict=True):
        assert np.array_equal(a, b)


def test_what_is_sent_does_not_depend_on_the_rest() -> None:
    base = joined(source_of(scenario(OPEN)))
    n = len(base.time)
    longer = joined(source_of(scenario(OPEN, duration=2 * SECOND)))
    hashed = joined(source_of(scenario(OPEN.model_copy(update={"hash": "click"}))))
    slower = joined(source_of(scenario(OPEN, service=Cpu(work=Exponential(mean=Work(2 * MS))), number=9)))
    elsewhere = joined(source_of(scenario(OPEN, {"cost": BalancerCost(mode="cuckoo")}, discipline=Sharing())))
    other = joined(source_of(scenario(OPEN, replication=1)))
    for name in ("time", "hash", "work"):
        column = getattr(base, name)
        assert np.array_equal(column, getattr(longer, name)[:n])
        assert np.array_equal(column, getattr(elsewhere, name))
        assert np.array_equal(column, getattr(hashed, name)) == (name != "hash")
        assert np.array_equal(column, getattr(slower, name)) == (name != "work")
        assert not np.array_equal(column[:1000], getattr(other, name)[:1000])
    closed = joined(source_of(scenario(THINKING)), 1)
    assert np.array_equal(closed.hash, base.hash[:CHUNK])
    assert np.array_equal(closed.work, base.work[:CHUNK])


@pytest.mark.parametrize("name", ["ideal", "toeplitz", "crc32c", "click"])
def test_hashes_have_32_bits(name: Any) -> None:
    digest = joined(source_of(scenario(PACED.model_copy(update={"hash": name}))), 1).hash
    assert digest.dtype == np.int64
    assert digest.min() >= 0
    assert 1 << 31 < digest.max() < 1 << 32


def test_work_takes_some_time() -> None:
    """A bimodal law may say 0; a request that took none would never end."""
    nothing = Bimodal(short=Work(0), long=Work(MS), share_long=0.5)
    work = joined(source_of(scenario(OPEN, service=Cpu(work=nothing)))).work
    assert set(work.tolist()) == {1, MS}


def test_a_table_that_cannot_be_read_is_told_with_its_field() -> None:
    law = Table(table="no_such_table", mean=Work(MS))
    for service, path in ((Cpu(work=law), "servers.service.work"), (Spin(wall=law), "servers.service.wall")):
        with pytest.raises(ScenarioError, match=f"^{path}.table: no published distribution is named"):
            source_of(scenario(OPEN, service=service))
    with pytest.raises(ScenarioError, match=r"^clients\.think\.table: no published distribution"):
        source_of(scenario(Users(users=1, think=law)))


# --- what clients and servers are told ----------------------------------------------------------------------


def test_clients_are_told_how_to_behave() -> None:
    plain = source_of(scenario(OPEN))
    assert (plain.retry, plain.overhead, plain.delay, plain.lanes, plain.cost) == (plane.Retry(), 0, 0, 0, 0)
    assert (plain.end, plain.warmup, plain.cohort_done) == (SECOND, 0, False)
    assert plain.seed == int(coin(1, 0, 1))
    retry = Retry(timeout=5 * MS, attempts=4, backoff=2 * MS, factor=3.0, most=7 * MS, jitter=0.5)
    told = source_of(
        scenario(
            Independent(per_second=5.0, overhead=3 * US, retry=retry),
            warmup=MS,
            seed=8,
            replication=2,
            measure=RequestMeasure(cohort="done"),
        )
    )
    assert told.retry == plane.Retry(5 * MS, 4, 2 * MS, 3.0, 7 * MS, 0.5)
    assert (told.overhead, told.warmup, told.cohort_done) == (3 * US, MS, True)
    assert told.seed == int(coin(8, 2, 1))
    endless = source_of(scenario(Independent(per_second=5.0, retry=Retry())))
    assert endless.retry == plane.Retry(plane.NEVER, 3, MS, 2.0, SECOND, 0.0)


def test_the_balancer_costs_what_it_does_at_the_expected_rate(tmp_path: Path) -> None:
    cost = BalancerCost(mode="stateful", cores=3, packets=9.0, clock=2e9, delay=4 * US)
    source = source_of(scenario(OPEN, {"cost": cost}))
    assert (source.lanes, source.delay) == (3, 4 * US)
    assert source.cost == request_cost("stateful", 200_000.0, 9.0, 2e9)
    users = source_of(scenario(THINKING, {"cost": cost}))
    assert users.cost == request_cost("stateful", 100 / 9e-3, 9.0, 2e9)
    silent = source_of(scenario(recording(tmp_path, "time_s\n7\n"), {"cost": cost}))  # after the end
    assert silent.cost == request_cost("stateful", 1.0, 9.0, 2e9)


def test_servers_are_told_how_to_share() -> None:
    plain = servers_of(scenario(OPEN))
    assert (plain.number, plain.cores, plain.backlog) == (4, 1, plane.NEVER)
    assert (plain.discipline, plain.slice, plain.spins) == (plane.FCFS, plane.FOREVER, False)
    assert plain.by_second.size == 0
    uneven = servers_of(scenario(OPEN, speeds=(1.0, 2.0, 0.5), backlog=7, response=9))
    assert uneven.speeds.tolist() == [1.0, 2.0, 0.5, 1.0]
    assert (uneven.backlog, uneven.response) == (7, 9)
    for discipline, expected in (
        (Fcfs(), {"discipline": plane.FCFS, "slice": plane.FOREVER}),
        (
            Sharing(),
            {"discipline": plane.SHARING, "slice": 4 * MS, "turn": 4 * MS, "workers": 0, "switch": 0},
        ),
        (
            Sharing(slice=MS, workers=32, turn=US, switch=3),
            {"discipline": plane.SHARING, "slice": MS, "turn": US, "workers": 32, "switch": 3},
        ),
        (Stealing(steal=5), {"discipline": plane.STEALING, "steal": 5, "slice": plane.FOREVER}),
        (Priority(urgent=0.3), {"discipline": plane.PRIORITY, "urgent": 0.3, "slice": plane.FOREVER}),
        (Jbsq(depth=3), {"discipline": plane.JBSQ, "depth": 3, "slice": plane.FOREVER}),
    ):
        told = servers_of(scenario(OPEN, cores=2, discipline=discipline))._asdict()
        assert {name: told[name] for name in expected} == expected


def test_servers_that_spin_are_told_the_phases() -> None:
    spin = Spin(setup=600 * US, wall=Fixed(time=Work(7 * MS)), finish=1580 * US)
    s = scenario(OPEN, service=spin)
    told = servers_of(s)
    assert (told.spins, told.setup, told.finish) == (True, 600 * US, 1580 * US)
    assert set(joined(source_of(s)).work.tolist()) == {7 * MS}


def test_one_draw_a_server_and_second() -> None:
    service = Cpu(work=Exponential(mean=Work(MS)), by_second=True)
    s = scenario(OPEN, service=service, number=1000, duration=10 * SECOND + 1)
    table = servers_of(s).by_second
    assert table.shape == (1000, 11)
    assert table.dtype == np.int64
    assert table.flags.c_contiguous
    assert table.mean() == pytest.approx(MS, rel=5 / math.sqrt(table.size))
    assert len(np.unique(table)) > 10_900
    shorter = servers_of(scenario(OPEN, service=service, number=1000, duration=3 * SECOND)).by_second
    assert np.array_equal(shorter, table[:, :3])  # a longer run goes on from the same draws
    assert set(joined(source_of(s), 1).work.tolist()) == {1}
    never = servers_of(scenario(OPEN, service=Cpu(work=Fixed(time=Work(0)), by_second=True))).by_second
    assert (never == 1).all()
