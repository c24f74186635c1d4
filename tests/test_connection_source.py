"""Where connections come from: begins, lengths, hashes, and clients that ask for URLs."""

from __future__ import annotations

import heapq
import math
from typing import Any

import numpy as np
import pytest

from lbsim.balancer.hashing.flows import click_hash, dpdk_hash
from lbsim.engine.connection.plane import Attempts
from lbsim.engine.connection.source import attempts_of, clients_of
from lbsim.nic import flow_hashes, parse_key
from lbsim.rng import stream
from lbsim.scenario import (
    Balancer,
    ConnectionScenario,
    Exponential,
    Lognormal,
    Open,
    ScenarioError,
    Servers,
    Urls,
    Work,
)
from lbsim.units import MS, SECOND, US
from lbsim.workload.connections import (
    CHUNK,
    CLIENTS,
    PORT,
    SERVICE,
    Launches,
    hasher,
    launches,
    poisson,
    scattered,
    url_table,
)
from lbsim.workload.distributions import Distribution, published
from lbsim.workload.packets import FlowTable


def scenario(clients: Any, **fields: Any) -> ConnectionScenario:
    fields.setdefault("duration", SECOND)
    return ConnectionScenario(
        clients=clients, balancer=Balancer(policy="hashed"), servers=Servers(configured=4), **fields
    )


def open_clients(**fields: Any) -> Open:
    fields.setdefault("per_second", 200_000.0)
    return Open(length=Exponential(mean=Work.parse("20ms")), **fields)


def columns(s: ConnectionScenario) -> Attempts:
    chunks = list(attempts_of(s))
    assert all(len(chunk.time) <= CHUNK for chunk in chunks)
    return Attempts(*(np.concatenate(parts) for parts in zip(*chunks, strict=True)))


# --- clients that are open ----------------------------------------------------------------------------------


def test_begins_are_poisson_and_end_with_the_run() -> None:
    all_ = columns(scenario(open_clients()))
    n = len(all_.time)
    assert abs(n - 200_000) < 5 * math.sqrt(200_000)
    assert all_.time[0] >= 0
    assert (np.diff(all_.time) >= 0).all()
    assert SECOND - SECOND // 1000 < all_.time[-1] < SECOND
    counts = np.histogram(all_.time, 2000, (0, SECOND))[0]  # of a Poisson process: variance = mean
    assert counts.var() / counts.mean() == pytest.approx(1, abs=5 * math.sqrt(2 / 2000))


def test_a_mean_number_under_way_sets_the_rate() -> None:
    all_ = columns(scenario(open_clients(per_second=None, concurrent=4000.0)))
    assert abs(len(all_.time) - 200_000) < 5 * math.sqrt(200_000)


def test_lengths_follow_the_law_and_gaps_are_constant() -> None:
    all_ = columns(scenario(open_clients(gap=3 * MS)))
    n = len(all_.length)
    assert all_.length.mean() == pytest.approx(20 * MS, rel=5 / math.sqrt(n))
    assert np.median(all_.length) == pytest.approx(20 * MS * math.log(2), rel=0.02)
    assert (all_.gap == 3 * MS).all()
    assert len(all_.process) == len(all_.coin) == 0


def test_ideal_hashes_are_32_random_bits() -> None:
    digest = columns(scenario(open_clients())).hash
    assert digest.dtype == np.int64
    assert digest.min() >= 0
    assert digest.max() < 1 << 32
    ones = np.unpackbits(digest.astype(np.uint32).view(np.uint8).reshape(-1, 4), axis=1).mean(axis=0)
    assert np.abs(ones - 0.5).max() < 5 * 0.5 / math.sqrt(len(digest))


def test_what_begins_does_not_depend_on_how_long_or_how_hashed() -> None:
    base = columns(scenario(open_clients()))
    again = columns(scenario(open_clients()))
    other = columns(scenario(open_clients(hash="click")))
    longer = columns(scenario(Open(per_second=200_000.0, length=Lognormal(mean=Work.parse("1s"), cv=2.0))))
    replicated = columns(scenario(open_clients(), replication=1))
    for a, b in zip(base, again, strict=True):
        assert np.array_equal(a, b)
    assert np.array_equal(base.time, other.time)
    assert np.array_equal(base.length, other.length)
    assert not np.array_equal(base.hash, other.hash)
    assert np.array_equal(base.time, longer.time)
    assert np.array_equal(base.hash, longer.hash)
    assert not np.array_equal(base.time[:1000], replicated.time[:1000])


def test_hashes_of_addresses_are_those_of_tuples() -> None:
    """One client address: only its even ports can be behind a hash."""
    ports = np.arange(1024, 65536, 2)
    n = len(ports)
    src, dst = np.zeros((n, 16), np.uint8), np.zeros((n, 16), np.uint8)
    src[:, 0] = CLIENTS >> 24
    dst[:, :4] = list(SERVICE.to_bytes(4, "big"))
    table = FlowTable(
        src, dst, np.full(n, 4, np.uint8), np.full(n, 6, np.uint8),
        ports.astype(np.uint16), np.full(n, PORT, np.uint16),
    )  # fmt: skip
    expected = {
        "toeplitz": flow_hashes(table, parse_key("microsoft")).astype(np.int64),
        "crc32c": np.array([dpdk_hash(CLIENTS, int(port), SERVICE, PORT) for port in ports]),
        "click": np.array([click_hash(CLIENTS, int(port), SERVICE, PORT) for port in ports]),
    }
    for name, known in expected.items():
        drawn = hasher(name, 1, stream(1, "flows"))(1_000_000)
        assert set(drawn.tolist()) == set(known.tolist()), name


def test_clients_come_from_as_many_addresses_as_asked() -> None:
    some = hasher("click", 3, stream(1, "flows"))(200_000)
    expected = {
        click_hash(CLIENTS + k, port, SERVICE, PORT) for k in range(3) for port in range(1024, 65536, 2)
    }
    assert set(some.tolist()) <= expected
    assert len(set(some.tolist())) > 0.8 * len(expected)


# --- clients that ask for URLs ------------------------------------------------------------------------------

LAW = Launches(480.0, 800.0, 2 * SECOND, 5 * SECOND, 500 * US)


def interval(time: int) -> int:
    """What the model page says, in plain Python."""
    x = min(max(time, LAW.start), LAW.stop) - LAW.start
    rate = LAW.low + (LAW.high - LAW.low) * math.sin(math.pi * x / (LAW.stop - LAW.start)) ** 2
    return round(SECOND / rate) + LAW.overhead


def test_launches_are_merged_from_processes_each_on_its_own_clock() -> None:
    times, processes = (
        np.concatenate(parts).tolist()
        for parts in zip(*launches(LAW, 3, stream(1, "think"), 7 * SECOND), strict=True)
    )
    due = [(times[processes.index(k)], k) for k in range(3)]
    assert all(0 <= time < interval(0) for time, _ in due)
    assert len({time for time, _ in due}) == 3
    heapq.heapify(due)
    for seen in zip(times, processes, strict=True):
        time, process = heapq.heappop(due)
        assert seen == (pytest.approx(time, abs=1), process)  # libraries differ in the last bit of a sine
        heapq.heappush(due, (seen[0] + interval(seen[0]), process))
    assert due[0][0] >= 7 * SECOND


def test_launches_at_one_time_go_by_process() -> None:
    flat = Launches(0.5, 0.5, 0, 1, 0)
    chunks = list(launches(flat, 2, _Zeros(), 9 * SECOND))  # type: ignore[arg-type]
    times, processes = (np.concatenate(parts).tolist() for parts in zip(*chunks, strict=True))
    assert times == [k * 2 * SECOND for k in range(5) for _ in range(2)]
    assert processes == [0, 1] * 5


class _Zeros:
    """No randomness: every process starts at 0."""

    def random(self, n: int) -> Any:
        return np.zeros(n)


def test_the_launch_rate_is_what_the_scenario_says() -> None:
    clients = Urls(start=SECOND, stop=4 * SECOND)
    s = scenario(clients, duration=5 * SECOND)
    all_ = columns(s)
    assert len(all_.time) == pytest.approx(s.expected_units(), rel=2e-3)
    counts = np.histogram(all_.time, 5, (0, 5 * SECOND))[0]
    low, top = (4 / (1 / rate + 500e-6) for rate in (480, 800))
    assert counts[[0, 4]] == pytest.approx(low, rel=3e-3)
    assert low < counts[1] < counts[2] < top
    assert counts[2] > 0.95 * top
    assert len(all_.length) == len(all_.gap) == 0
    assert all_.coin.min() >= 0
    assert set(all_.process.tolist()) == {0, 1, 2, 3}


def test_urls_have_equal_levels_of_both_tables_by_rank() -> None:
    lengths, sizes = published("cheetah_pcc_conn_duration_s"), published("cheetah_pcc_response_size_kb")
    length, gap = url_table(lengths, sizes, 908, 33, 1460)
    values, counts = np.unique(length, return_counts=True)
    assert set(counts.tolist()) <= {26, 27, 28, 56, 54, 55, 81, 82, 83}  # equal levels, some of one length
    assert counts.sum() == 908
    assert (np.diff(length) >= 0).all()
    assert length.mean() / SECOND == pytest.approx(lengths.mean, rel=0.01)
    share = (np.arange(33) + 0.5) / 33
    for url in (0, 300, 500, 700, 907):
        level = url * 33 // 908
        d, size = float(lengths.quantile(share[level])), float(sizes.quantile(share[level])) * 1000
        assert length[url] == pytest.approx(d * SECOND, rel=1e-9)
        if size <= 1460:
            assert gap[url] >= length[url]  # nothing crosses between the first packet and the last
        else:
            assert gap[url] == pytest.approx(d * SECOND * 1460 / size, abs=1)
    assert values[-1] == length[907]


def test_sizes_may_be_dealt_to_urls_at_random() -> None:
    """With equal lengths, gaps tell sizes: the same ones, in another order."""
    same = Distribution("same", np.array([60.0]), np.array([1.0]), "step", "s", "test")
    sizes = published("cheetah_pcc_response_size_kb")
    _, ranked = url_table(same, sizes, 908, 33, 60)  # segments smaller than the least response
    _, dealt = url_table(same, sizes, 908, 33, 60, stream(1, "sizes"))
    assert sorted(dealt) == sorted(ranked)
    assert abs(np.corrcoef(np.argsort(np.argsort(dealt)), np.arange(908))[0, 1]) < 5 / math.sqrt(908)
    length = [clients_of(scenario(Urls(), replication=k)).urls for k in range(2)]
    apart = [
        clients_of(scenario(Urls(pairing="independent"), replication=replication)).urls
        for replication in (0, 0, 1)
    ]
    assert all(np.array_equal(urls.length, length[0].length) for urls in (*length, *apart))  # type: ignore[union-attr]
    gaps = [urls.gap.tolist() for urls in (*length, *apart) if urls is not None]
    assert gaps[0] == gaps[1]
    assert gaps[2] == gaps[3]
    assert len({tuple(gap) for gap in gaps}) == 3


def test_a_url_of_no_length_still_has_a_gap() -> None:
    nothing = Distribution("nothing", np.array([0.0]), np.array([1.0]), "step", "s", "test")
    large = Distribution("large", np.array([1e6]), np.array([1.0]), "step", "bytes", "test")
    length, gap = url_table(nothing, large, 3, 1, 1460)
    assert length.tolist() == [0, 0, 0]
    assert gap.tolist() == [1, 1, 1]


@pytest.mark.parametrize("field", ["lengths", "sizes"])
def test_a_table_of_another_unit_is_refused(field: str) -> None:
    s = scenario(Urls(**{field: "zygos_bimodal1"}))
    with pytest.raises(ScenarioError, match=r"zygos_bimodal1.* is in means"):
        clients_of(s)


def test_clients_behave_as_the_scenario_says() -> None:
    c = clients_of(scenario(open_clients(retry=5 * MS, notice=2 * MS), warmup=MS))
    assert c[1:] == (MS, 5 * MS, 2 * MS, None)
    assert clients_of(scenario(open_clients())).retry == -1
    by_url = clients_of(scenario(Urls(urls=100, again=True)))
    assert by_url.urls is not None
    assert (by_url.retry, by_url.urls.processes, by_url.urls.again) == (-1, 4, True)
    assert len(by_url.urls.length) == len(by_url.urls.gap) == 100
    assert clients_of(scenario(open_clients(), replication=1)).seed != c.seed


def test_a_poisson_process_may_be_slow_over_a_long_time() -> None:
    [times] = poisson(1e-3, stream(1, "gaps"), 10_000 * SECOND)
    assert 2 < len(times) < 30
    assert (np.diff(times) > 0).all()
    assert 0 < times[0] <= times[-1] < 10_000 * SECOND


def test_scattered_addresses_are_the_same_for_a_seed_and_all_over() -> None:
    one, two = (scattered(seed, np.arange(64)) for seed in (1, 2))
    assert (scattered(1, np.array([5, 5, 7])) == one[[5, 5, 7]]).all()
    assert not set(one) & set(two)
    assert len(set(one >> 24)) > 32
    hashes = {s: hasher("click", 3, stream(1, "flows"), s)(100_000) for s in (False, True)}
    assert len(set(hashes[False] >> 24)) < len(set(hashes[True] >> 24))
