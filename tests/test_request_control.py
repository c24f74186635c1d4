"""Reports, weights, pauses and samples of the request grain, on a plane that only pretends to work."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbsim.balancer import policies
from lbsim.balancer.balancer import Balancer
from lbsim.balancer.weighted import awrr_weights
from lbsim.engine.plane import Clock
from lbsim.engine.request.control import Reports, Stops, adapt, percent, sample, samples_of
from lbsim.engine.request.plane import Counters
from lbsim.rng import stream
from lbsim.scenario.consistency import Adapt, Cookie
from lbsim.scenario.request_balancer import Signal
from lbsim.scenario.request_servers import Pauses
from lbsim.units import MS, SECOND

SERVERS = 6


class Pretence:
    """Server s is busy for s + 1 of every SERVERS + 1 ms, and answers s bytes a ms; it notes what is done."""

    def __init__(self) -> None:
        self.name = "pretence"
        self.signal, self.measured = np.zeros(SERVERS, np.int64), np.zeros(SERVERS, np.int64)
        self.synced = -1
        self.seen: list[tuple[int, list[int], list[int]]] = []  # time, signal and measured at each refresh
        self.did: list[tuple[Any, ...]] = []

    def sync(self, now: int) -> None:
        assert now >= self.synced
        self.synced = now

    def counters(self, now: int) -> Counters:
        assert self.synced == now
        servers = np.arange(SERVERS, dtype=np.int64)
        cycle = (SERVERS + 1) * MS
        busy = now // cycle * (servers + 1) * MS + np.minimum(now % cycle, (servers + 1) * MS)
        count = now // MS
        return Counters(
            count, count, 0, 0, 0, 0, servers + count, servers, servers * count, busy, servers * 7 + count
        )

    def refresh(self) -> None:
        self.seen.append((self.synced, self.signal.tolist(), self.measured.tolist()))

    def pause(self, server: int, now: int, length: int) -> None:
        assert self.synced == now
        self.did.append(("pause", server, now, length))

    def slow(self, server: int, now: int, factor: float) -> None:
        assert self.synced == now
        self.did.append(("slow", server, now, factor))

    def finish(self) -> Any:
        raise AssertionError


def reported(until: int, seed: int = 1, **signal: Any) -> tuple[Pretence, Reports]:
    env, plane = Clock(), Pretence()
    spec = Signal(**{"metric": "connections", "period": 10 * MS, **signal})
    reports = Reports(env, plane, spec, SERVERS, 1, until, stream(seed, "reports"))
    env.run()
    return plane, reports


def measurements(plane: Pretence, server: int) -> list[int]:
    """The times at which a server was measured, of the reports that came."""
    return sorted({measured[server] for _, _, measured in plane.seen} - {0})


# --- when reports come --------------------------------------------------------------------------------------


def test_synchronised_reporters_all_report_at_every_period_from_the_start_on() -> None:
    plane, reports = reported(100 * MS, synchronised=True)
    assert reports.came == 10 * SERVERS
    assert [time for time, _, _ in plane.seen] == [10 * MS * k for k in range(10) for _ in range(SERVERS)]


@given(seed=st.integers(0, 10**6), spread=st.sampled_from([0, 1, 3 * MS]))
@settings(max_examples=20)
def test_reporters_begin_within_a_period_and_go_on_after_period_and_spread(seed: int, spread: int) -> None:
    plane, _ = reported(200 * MS, seed, spread=spread)
    firsts = set()
    for server in range(SERVERS):
        times = measurements(plane, server)
        gaps = np.diff(times)
        assert times[0] < 20 * MS + spread
        assert gaps.min() >= 10 * MS
        assert gaps.max() <= 10 * MS + spread
        assert times[-1] < 200 * MS <= times[-1] + 10 * MS + spread
        firsts.add(times[0] % (10 * MS))
    assert len(firsts) == SERVERS
    assert spread < 10 or len(set(gaps)) > 1


@pytest.mark.parametrize("machines", [1, 4, None])
def test_a_server_belongs_to_one_reporter(machines: int | None) -> None:
    plane, reports = reported(100 * MS, machines=machines)
    together = {tuple(measurements(plane, s)) for s in range(SERVERS)}
    assert len(together) == (machines or SERVERS)
    for server in range(SERVERS):
        own = server % machines if machines else server
        assert measurements(plane, server) == measurements(plane, own)
    assert reports.came == 10 * (machines or SERVERS)


def test_a_report_comes_after_the_delay_and_says_when_it_was_measured() -> None:
    plane, _ = reported(100 * MS, delay=7 * MS)
    before = [0] * SERVERS
    for time, signal, measured in plane.seen:
        (server,) = [s for s in range(SERVERS) if measured[s] != before[s]]
        assert measured[server] == time - 7 * MS
        assert signal[server] == server + measured[server] // MS
        before = measured
    assert plane.seen[-1][0] > 100 * MS  # it was under way at the end


def test_of_lost_reports_nothing_arrives() -> None:
    plane, reports = reported(SECOND, loss=0.3)
    assert reports.came + reports.lost == 100 * SERVERS
    assert len(plane.seen) == reports.came
    assert abs(reports.lost - 30 * SERVERS) < 5 * (0.21 * 100 * SERVERS) ** 0.5


def test_reports_come_at_the_same_times_whatever_they_say() -> None:
    times = [
        [measured for _, _, measured in reported(SECOND, spread=3 * MS, metric=metric)[0].seen]
        for metric in ("connections", "cpu", "bytes", "latency")
    ]
    assert times[0] == times[1] == times[2] == times[3]


def test_a_live_signal_has_no_reports() -> None:
    with pytest.raises(ValueError, match="needs no reports"):
        Reports(Clock(), Pretence(), Signal(), SERVERS, 1, SECOND, stream(1, "reports"))


# --- what they say ------------------------------------------------------------------------------------------


def test_connections_and_latency_are_those_of_the_instant() -> None:
    for metric, own in (("connections", 1), ("latency", 7)):
        plane, _ = reported(100 * MS, metric=metric)
        _, signal, measured = plane.seen[-1]
        assert signal == [own * s + measured[s] // MS for s in range(SERVERS)]


def test_bytes_are_those_since_the_last_measurement_lost_or_not() -> None:
    whole, _ = reported(SECOND, metric="bytes", machines=1)
    some, reports = reported(SECOND, metric="bytes", machines=1, loss=0.5)
    assert reports.lost
    by_time = {measured[3]: signal for _, signal, measured in whole.seen}
    assert all(by_time[measured[3]] == signal for _, signal, measured in some.seen)
    last = max(by_time)
    assert sum(signal[5] for signal in by_time.values()) == 5 * (last // MS)


@given(seed=st.integers(0, 10**6), tick=st.sampled_from([0, MS // 2, MS, 10 * MS]), period=st.integers(3, 40))
@settings(max_examples=25)
def test_cpu_is_the_percentage_of_whole_ticks_since_the_last_measurement(
    seed: int, tick: int, period: int
) -> None:
    plane, _ = reported(300 * MS, seed, metric="cpu", tick=tick, period=period * MS, spread=MS)
    unit = tick or 1
    for server in range(SERVERS):
        reports = {m[server]: signal[server] for _, signal, m in plane.seen if m[server]}
        before = (0, 0)
        for time, load in sorted(reports.items()):
            cycles, rest = divmod(time, (SERVERS + 1) * MS)
            busy = cycles * (server + 1) * MS + min(rest, (server + 1) * MS)
            now = (busy // unit, (time - busy) // unit)
            b, i = now[0] - before[0], now[1] - before[1]
            assert load == (int(100 * b / (b + i)) if b + i else 0)
            before = now


def test_a_tick_as_long_as_the_period_shows_all_or_nothing_or_half() -> None:
    plane, _ = reported(SECOND, metric="cpu")
    assert {load for _, signal, _ in plane.seen for load in signal} == {0, 50, 100}


def test_percentages_are_cut_and_0_where_no_time_passed() -> None:
    busy, idle = np.array([1, 0, 1, 2, 10**18]), np.array([0, 0, 1, 1, 10**18])
    assert percent(busy, idle).tolist() == [100, 0, 50, 66, 50]


# --- weights ------------------------------------------------------------------------------------------------


def test_weights_follow_the_signal_every_period_until_the_end() -> None:
    env, plane = Clock(), Pretence()
    plane.signal[:] = [0, 10, 20, 30, 40, 50]
    settings_ = Adapt(period=5 * MS)
    policy = policies()["adaptive_weighted_round_robin"]
    balancer = Balancer(policy, SERVERS, SERVERS, np.ones(SERVERS), consistency=Cookie(), adapt=settings_)
    env.process(adapt(env, plane, balancer, 5 * MS, 20 * MS))
    rebuilds = balancer.rebuilds
    env.run()
    assert [time for time, _, _ in plane.seen] == [5 * MS, 10 * MS, 15 * MS]
    assert balancer.rebuilds == rebuilds + 3
    weights = awrr_weights(plane.signal, np.arange(SERVERS), 10.0, 0.0, 2, 30)
    assert balancer.pool.weights.tolist() == weights.tolist() == [30, 25, 12, 8, 6, 5]
    assert np.bincount(balancer.front.table).tolist() == weights.tolist()


# --- pauses -------------------------------------------------------------------------------------------------


def stopped(until: int, **pauses: Any) -> tuple[Pretence, Stops]:
    env, plane = Clock(), Pretence()
    stops = Stops(env, plane, Pauses(**pauses), SERVERS, until, stream(1, "pauses"))
    env.run()
    return plane, stops


def test_servers_stop_at_poisson_times_each_on_its_own() -> None:
    plane, stops = stopped(20 * SECOND, rate=10.0, length=3 * MS)
    assert stops.begun == len(plane.did)
    assert abs(stops.begun - 1200) < 5 * 1200**0.5
    assert {(what, length) for what, _, _, length in plane.did} == {("pause", 3 * MS)}
    for server in range(SERVERS):
        times = [time for _, s, time, _ in plane.did if s == server]
        gaps = np.diff(times) / SECOND
        assert abs(gaps.mean() - 0.1) < 5 * 0.1 / len(gaps) ** 0.5
        assert abs((gaps > 0.1).mean() - np.exp(-1)) < 0.2  # exponential
        assert times[-1] < 20 * SECOND


def test_a_server_is_itself_again_when_its_last_slow_down_ends() -> None:
    plane, stops = stopped(20 * SECOND, rate=1.0, length=SECOND, speed=0.5)
    assert any(time > 20 * SECOND for _, _, time, _ in plane.did)  # also in the drain
    for server in range(SERVERS):
        own = [(time, factor) for _, s, time, factor in plane.did if s == server]
        begins = [time for time, factor in own if factor == 0.5]
        ends = [time for time, factor in own if factor == 1.0]
        expected = [
            b + SECOND for b in begins if not any(b < other <= b + SECOND for other in begins)
        ]  # fmt: skip
        assert ends == expected
        assert len(ends) < len(begins)
    assert stops.begun == sum(factor == 0.5 for *_, factor in plane.did)


# --- samples ------------------------------------------------------------------------------------------------


def test_samples_are_of_every_interval_the_end_included() -> None:
    env, plane = Clock(), Pretence()
    rows: list[tuple[int, Counters]] = []
    env.process(sample(env, plane, 10 * MS, 35 * MS, rows))
    env.run()
    samples = samples_of(rows)
    assert samples.time.tolist() == [0, 10 * MS, 20 * MS, 30 * MS]
    assert samples.launched.tolist() == [0, 10, 20, 30]
    assert samples.inside.tolist() == [[s + k for s in range(SERVERS)] for k in (0, 10, 20, 30)]
    assert samples.busy.shape == (4, SERVERS)
    env = Clock()
    rows = []
    env.process(sample(env, Pretence(), 10 * MS, 30 * MS, rows))
    env.run()
    assert [time for time, _ in rows][-1] == 30 * MS
