from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lbsim.engine.run import run
from lbsim.metrics import Histogram, Result, Samples, mser5, too_short
from lbsim.scenario import Scenario, override
from lbsim.units import MS


def scenario(**fields: str | float) -> Scenario:
    """One M/M/1 queue, 1 us of work a packet; `server__ring=4096` is the field server.ring."""
    base = {
        "traffic": {"kind": "flows", "flows": 16},
        "arrivals": {"kind": "poisson", "load": 0.5},
        "server": {"cores": 1, "ring": 4096, "cost": {"work": {"kind": "exponential", "mean": "1us"}}},
    }
    dotted = {name.replace("__", "."): value for name, value in fields.items()}
    return override(Scenario.model_validate({"duration": "20ms"} | base), dotted)


@pytest.fixture(scope="module")
def short() -> Result:
    return run(scenario())


def with_latencies(result: Result, count: int) -> Result:
    return replace(result, latency=Histogram.of(np.full(count, 1000)))


def with_rings(result: Result, rings: list[int], warmup: str = "0ps") -> Result:
    """The same run with 100,000 latencies and a series, one sample a millisecond, shared by two cores."""
    k = len(rings)
    cores = np.zeros((k, 2), np.int64)
    halves = np.stack([np.array(rings) // 2, np.array(rings) - np.array(rings) // 2], axis=1)
    samples = Samples(np.arange(k) * MS, cores, cores, cores, halves, np.ones(k, np.int64))
    return replace(
        with_latencies(result, 100_000), scenario=scenario(duration=f"{k}ms", warmup=warmup), samples=samples
    )


def test_a_quantile_needs_a_hundred_packets_beyond_it(short: Result) -> None:
    assert too_short(with_latencies(short, 100_000)) == ()
    (said,) = too_short(with_latencies(short, 99_999))
    assert said == (
        "of 99999 packets only 99 beyond p99.9: fewer than 100 say little; lengthen the run 1.1-fold"
    )
    (said,) = too_short(with_latencies(short, 1999))
    assert "only 99 beyond p95 and 19 beyond p99 and 1 beyond p99.9" in said
    assert "lengthen the run 51-fold" in said  # 100 / 0.001 / 1999 = 50.03, rounded up
    assert too_short(with_latencies(short, 1999), quantiles=(0.5,)) == ()
    assert too_short(with_latencies(short, 200), quantiles=[0.5]) == ()
    assert "only 93 beyond p7:" in too_short(with_latencies(short, 100), quantiles=[0.07])[0]
    assert "99 beyond p50" in too_short(with_latencies(short, 199), quantiles=[0.5])[0]


def test_the_advice_is_enough(short: Result) -> None:
    for count in (1, 7, 123, 4567, 99_999):
        (said,) = too_short(with_latencies(short, count))
        factor = float(said.split("lengthen the run ")[1].split("-fold")[0])
        assert too_short(with_latencies(short, int(np.ceil(count * factor)))) == ()


def test_no_packet_says_nothing_at_all(short: Result) -> None:
    (said,) = too_short(with_latencies(short, 0))
    assert said.startswith("no packet was delivered")


def test_a_warm_up_that_is_too_short_is_told_with_the_right_one(short: Result) -> None:
    rings = [300] * 10 + [40, 42, 41, 39, 38] * 18
    (said,) = too_short(with_rings(short, rings))
    assert said == (
        "the warm-up of 0ps is short: leaving out all before 10ms changes the mean number of packets in the"
        ' rings from 66 to 40; set warmup = "10ms"'
    )
    assert '; set warmup = "10ms"' in too_short(with_rings(short, rings, warmup="5ms"))[0]
    assert too_short(with_rings(short, rings, warmup="10ms")) == ()


def test_a_cut_that_changes_next_to_nothing_is_not_worth_a_word(short: Result) -> None:
    rings = [104] * 20 + [100] * 80  # mean 100.8
    assert mser5(rings).index == 20
    assert too_short(with_rings(short, rings)) == ()
    assert too_short(with_rings(short, [0] * 100)) == ()


def test_rings_that_still_fill_are_seen(short: Result) -> None:
    (said,) = too_short(with_rings(short, list(range(200))))
    assert said.startswith("the rings still fill or drain: leaving out all before 175ms")
    assert "from 99.5 to 187, and that is past the middle" in said
    assert "lengthen duration" in said


def test_a_series_of_a_few_samples_is_no_evidence(short: Result) -> None:
    assert too_short(with_rings(short, list(range(49)))) == ()
    assert too_short(with_rings(short, list(range(50)))) != ()
    assert too_short(with_rings(short, list(range(100)), warmup="51ms")) == ()  # 49 are left
    assert too_short(with_rings(short, [5] * 9, warmup="8500us")) == ()  # none is left


def test_real_runs(short: Result) -> None:
    assert "beyond p99.9" in too_short(short)[0]
    long = run(scenario(duration="220ms", warmup="20ms", measure__interval="200us"))
    assert too_short(long, quantiles=(0.5, 0.99)) == ()
    crowded = scenario(duration="50ms", arrivals__load=1.05, measure__interval="200us")
    (said,) = too_short(run(crowded), quantiles=(0.5,))
    assert said.startswith("the rings still fill")
    # A ring of 256 is full after about 5 ms, and the rest is steady: a warm-up will do.
    (said,) = too_short(run(override(crowded, {"server.ring": 256})), quantiles=(0.5,))
    assert said.startswith("the warm-up of 0ps is short")


def test_a_quantile_with_nothing_beyond_is_refused(short: Result) -> None:
    for q in (1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match="quantile q = "):
            too_short(short, quantiles=(0.5, q))
