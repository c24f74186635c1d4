"""What a run of requests yields: series, rows, variances, laws, quantities; and was it long enough?"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lbsim.metrics import Histogram, RequestLog, RequestResult, RequestSamples, too_short
from lbsim.metrics.quantities import BY_NAME, REQUESTS, quantities_of
from lbsim.metrics.requests import SERIES, RequestCounters, RequestEvents
from lbsim.units import MS, SECOND, US

Table = list[list[int]]


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


def scenario(**fields: Any) -> Any:
    """As much of a scenario of two servers with two cores as a result looks at."""
    parts: dict[str, Any] = {
        "name": "made up",
        "grain": "request",
        "duration": 3 * SECOND,
        "warmup": SECOND,
        "servers": SimpleNamespace(cores=2, response=100, backlog=5),
        "clients": SimpleNamespace(retry=SimpleNamespace(timeout=MS)),
        "measure": SimpleNamespace(interval=SECOND, cohort="sent"),
    }
    return SimpleNamespace(**{**parts, **fields})


def sampled(busy: Table, **columns: Any) -> RequestSamples:
    """Samples a second apart, all 0 but for some columns."""
    n = len(busy)
    zeros = {name: ints(*[0] * n) for name in RequestSamples._fields}
    tables = {name: np.zeros((n, len(busy[0])), np.int64) for name in ("placed", "bytes", "inside")}
    time = ints(*range(n)) * SECOND
    given = {name: np.array(column, np.int64) for name, column in columns.items()}
    return RequestSamples(**{**zeros, **tables, "time": time, "busy": np.array(busy, np.int64), **given})


def made_up() -> RequestResult:
    """Three seconds of eight requests, of which the last two count; five and one of six end well."""
    latencies = ints(100, 200, 300, 1000, 400) * US
    half, one = SECOND // 2, SECOND
    return RequestResult(
        scenario=scenario(),
        engine="none",
        span=2 * SECOND,
        whole=RequestCounters(
            8, 7, 1, 2, 2, 3, ints(6, 5), ints(500, 400), ints(2 * one, 3 * one), ints(0, 0)
        ),
        during=RequestCounters(6, 6, 0, 1, 1, 1, ints(4, 3), ints(400, 300), ints(one, 3 * one), ints(1, 0)),
        cohort=RequestEvents(6, 5, 1, 2, 1, 2),
        latency=Histogram.of(latencies),
        area=12345,
        sojourn=12345,
        peak=4,
        end=4 * SECOND,
        samples=sampled(
            [[0, 0], [one, 0], [one, one], [2 * one, 3 * one]],
            launched=[0, 2, 2, 8],
            completed=[0, 1, 3, 7],
            given_up=[0, 0, 0, 1],
            refused=[0, 1, 2, 2],
            timed_out=[0, 0, 2, 2],
            retried=[0, 1, 2, 3],
            placed=[[0, 0], [2, 1], [3, 1], [6, 5]],
            inside=[[0, 0], [2, 0], [1, 3], [1, 0]],
        ),
        log=RequestLog(
            index=ints(2, 4, 3, 5, 7, 6),
            process=ints(0, 0, 1, 1, 0, 1),
            server=ints(0, 1, 0, 1, 0, 1),
            due=ints(one, one, one + half, 2 * one, 2 * one, 2 * one),
            sent=ints(one, one + 5, one + half, 2 * one, 2 * one, 2 * one),
            done=ints(one + 1, one + half, one + half, 2 * one, 2 * one + 1, 2 * one + 2),
            latency=np.concatenate((latencies, ints(-1))),
            attempts=ints(1, 1, 2, 1, 1, 3),
        ),
        control={"reports": 3},
    )


def test_series_are_rates_by_interval_and_loads_by_server() -> None:
    result = made_up()
    expected = {
        "launched": [[2], [0], [6]],
        "completed": [[1], [2], [4]],
        "given_up": [[0], [0], [1]],
        "refused": [[1], [1], [0]],
        "timed_out": [[0], [2], [0]],
        "retried": [[1], [1], [1]],
        "server_load": [[0.5, 0], [0, 0.5], [0.5, 1]],
        "queue": [[2, 0], [1, 3], [1, 0]],
        "placed": [[2, 1], [1, 0], [3, 4]],
        "latency_us": [[math.nan] * 4, [200, 200, 300, 300], [700, 400, 1000, 1000]],
    }
    assert set(expected) == set(SERIES)
    for name, rows in expected.items():
        frame = result.series(name)
        assert frame.index.tolist() == [1.0, 2.0, 3.0]
        assert frame.index.name == "time_s"
        assert np.array_equal(frame.to_numpy(dtype=float), rows, equal_nan=True), name
    assert list(result.series("refused").columns) == ["refused"]
    assert result.series("queue").columns.name == "server"
    assert list(result.series("latency_us").columns) == ["mean", "p50", "p95", "p99"]


def test_rates_are_per_second_whatever_the_interval() -> None:
    result = made_up()
    assert result.samples is not None
    halves = replace(result, samples=result.samples._replace(time=result.samples.time // 2))
    assert halves.series("launched")["launched"].tolist() == [4, 0, 12]
    assert halves.series("placed")[1].tolist() == [2, 0, 8]
    assert halves.series("server_load")[0].tolist() == [1, 0, 1]


def test_a_series_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'load' is unknown: choose one of launched, .*server_load"):
        made_up().series("load")
    with pytest.raises(ValueError, match=r"set measure\.interval"):
        replace(made_up(), samples=None).series("queue")
    with pytest.raises(ValueError, match=r"set measure\.requests"):
        replace(made_up(), log=None).series("latency_us")


def test_the_rows_of_requests_are_a_frame() -> None:
    frame = made_up().frame()
    assert list(frame.columns) == ["due", "sent", "done", "latency_us", "server", "process", "attempt"]
    assert frame.index.tolist() == [2, 4, 3, 5, 7, 6]
    assert frame["latency_us"].tolist() == pytest.approx([100, 200, 300, 1000, 400, math.nan], nan_ok=True)
    assert frame.loc[4, "sent"] == SECOND + 5
    assert frame.loc[6, "attempt"] == 3
    assert frame.groupby("process")["latency_us"].max().tolist() == [400, 1000]
    with pytest.raises(ValueError, match=r"set measure\.requests"):
        replace(made_up(), log=None).frame()


# --- variance of loads --------------------------------------------------------------------------------------


def loads(rows: Table) -> RequestResult:
    """Servers that work so many milliseconds of each second, on two cores."""
    busy = np.concatenate(([[0] * len(rows[0])], np.cumsum(rows, axis=0))) * MS
    spans = scenario(duration=len(rows) * SECOND)
    return replace(made_up(), scenario=spans, samples=sampled(busy.tolist()))


def test_variance_of_loads_leaves_out_the_ends_and_idle_seconds() -> None:
    rows = [[0, 2000]] * 4 + [[400, 800], [0, 160], [0, 240], [1000, 1000]] + [[0, 2000]] * 3
    assert loads(rows).cpu_variances().tolist() == [10.0**2, 6.0**2, 0.0]  # 20 and 40 %, 0 and 12 %, 50 %
    assert loads(rows).cpu_variances(trim=(7, 4)).tolist() == []
    assert loads(rows[:5]).cpu_variances().tolist() == []


def test_variance_of_loads_needs_a_sample_every_second() -> None:
    result = loads([[0, 1000]] * 8)
    assert result.samples is not None
    for samples in (None, result.samples._replace(time=result.samples.time + 1)):
        with pytest.raises(ValueError, match=r'set measure\.interval = "1s"'):
            replace(result, samples=samples).cpu_variances()


# --- quantities ---------------------------------------------------------------------------------------------


def test_quantities() -> None:
    values = {q.name: q.of(made_up()) for q in quantities_of(made_up().scenario)}
    assert values == pytest.approx(
        {
            "requests": 6,
            "completed_per_s": 3,
            "latency_mean_us": 400,
            "latency_p50_us": 300,
            "latency_p95_us": 1000,
            "latency_p99_us": 1000,
            "latency_p999_us": 1000,
            "latency_p9999_us": 1000,
            "server_load_mean_pct": 50,
            "server_load_max_pct": 75,
            "server_excess_pct": 50,
            "attempts_refused_pct": 100 / 3,
            "timed_out_pct": 100 / 6,
            "retried_pct": 100 / 3,
            "given_up_pct": 100 / 6,
            "inside_peak": 4,
        },
        rel=1 / 128,
    )
    assert made_up().latency_us(0.5) == values["latency_p50_us"]


def test_only_what_can_happen_is_a_quantity() -> None:
    names = {q.name for q in REQUESTS}
    patient = SimpleNamespace(retry=None)
    roomy = SimpleNamespace(cores=2, response=100, backlog=None)
    never = {"attempts_refused_pct", "timed_out_pct", "retried_pct", "given_up_pct", "server_variance_pct2"}
    assert {q.name for q in quantities_of(scenario(clients=patient, servers=roomy))} == names - never
    assert {q.name for q in quantities_of(scenario(clients=patient))} == names - {
        "timed_out_pct",
        "server_variance_pct2",
    }
    assert {q.name for q in quantities_of(scenario(duration=8 * SECOND))} == names
    every = SimpleNamespace(interval=700 * MS, cohort="sent")
    assert "server_variance_pct2" not in {q.name for q in quantities_of(scenario(measure=every))}


def test_the_variance_of_loads_is_a_quantity() -> None:
    result = loads([[0, 0]] * 4 + [[400, 800], [0, 240]] + [[0, 0]] * 3)
    assert BY_NAME["server_variance_pct2"].of(result) == pytest.approx((100 + 36) / 2)
    assert math.isnan(BY_NAME["server_variance_pct2"].of(loads([[0, 0]] * 8)))


def test_a_summary_is_json() -> None:
    summary = json.loads(json.dumps(made_up().summary(), allow_nan=False))
    assert (summary["requests"], summary["completed_per_second"]) == (6, 3)
    assert summary["latency_us"]["mean"] == 400
    assert summary["server_load"] == [0.25, 0.75]
    assert summary["excess_load_pct"] == 50
    assert [summary[name] for name in ("given_up", "refused", "timed_out", "retried")] == [1, 2, 1, 2]
    assert summary["control"] == {"reports": 3}
    assert all(summary["laws"].values())


def test_a_run_without_a_request_has_a_summary() -> None:
    none, idle = [0] * 6, [ints(0, 0)] * 4
    empty = replace(
        made_up(),
        whole=RequestCounters(*none, *idle),
        during=RequestCounters(*none, *idle),
        cohort=RequestEvents(*none),
        latency=Histogram.of([]),
        area=0,
        sojourn=0,
        peak=0,
        end=0,
        log=RequestLog(*[ints()] * 8),
    )
    assert all(empty.laws().values())
    summary = json.loads(json.dumps(empty.summary(), allow_nan=False))
    assert (summary["requests"], summary["excess_load_pct"], summary["latency_us"]["p50"]) == (0, None, None)
    assert math.isnan(empty.share("refused"))


# --- laws ---------------------------------------------------------------------------------------------------


def tampered() -> list[tuple[str, dict[str, Any]]]:
    r = made_up()
    w, d, c = r.whole, r.during, r.cohort
    assert r.log is not None
    return [
        ("every request is answered or given up", {"whole": w._replace(completed=6)}),
        ("every request is answered or given up", {"cohort": c._replace(launched=7)}),
        ("every failed attempt is tried again", {"whole": w._replace(timed_out=3)}),
        ("every attempt is placed once", {"whole": w._replace(placed=ints(6, 6))}),
        ("every attempt that is placed is refused", {"whole": w._replace(bytes=ints(500, 500))}),
        ("every attempt that is placed is refused", {"whole": w._replace(inside=ints(0, 1))}),
        ("every request of the cohort that is answered", {"cohort": c._replace(completed=4, launched=5)}),
        ("no server works longer", {"during": d._replace(busy=ints(SECOND, 4 * SECOND + 1))}),
        ("no server works longer", {"whole": w._replace(busy=ints(8 * SECOND + 1, 3 * SECOND))}),
        ("the mean number in servers", {"area": 12346}),
        ("nothing is ever above its peak", {"during": d._replace(inside=ints(3, 2))}),
        ("nothing is ever above its peak", {"peak": 12}),
        ("span and cohort are parts", {"cohort": c._replace(refused=3)}),
        ("span and cohort are parts", {"during": d._replace(placed=ints(-1, 3))}),
        ("the log has every request", {"log": r.log._replace(index=ints(2, 4, 3, 5, 7, 7))}),
        (
            "the log has every request",
            {"log": r.log._replace(latency=r.log.latency + ints(1, 0, 0, 0, 0, 0))},
        ),
    ]


def test_laws_hold() -> None:
    assert all(made_up().laws().values())
    assert len({law for law, _ in tampered()}) == len(made_up().laws())
    assert len(replace(made_up(), log=None).laws()) == len(made_up().laws()) - 1


@pytest.mark.parametrize(("law", "changed"), tampered())
def test_a_broken_law_is_found(law: str, changed: dict[str, Any]) -> None:
    broken = [text for text, holds in replace(made_up(), **changed).laws().items() if not holds]
    assert any(text.startswith(law) for text in broken)


def test_requests_that_were_due_before_may_end_in_a_cohort_of_what_is_done() -> None:
    done = scenario(measure=SimpleNamespace(interval=SECOND, cohort="done"))
    fewer = replace(made_up(), scenario=done, cohort=made_up().cohort._replace(launched=4))
    assert all(fewer.laws().values())


# --- long enough? -------------------------------------------------------------------------------------------


def test_a_quantile_needs_requests_beyond_it() -> None:
    result = replace(made_up(), samples=None)
    assert too_short(result, (0.5,)) == (
        "of 5 requests only 2 beyond p50: fewer than 100 say little; lengthen the run 40-fold",
    )
    enough = replace(result, latency=Histogram.of(np.arange(200)))
    assert too_short(enough, (0.5,)) == ()
    nothing = replace(result, latency=Histogram.of([]))
    assert too_short(nothing) == (
        "no request was answered, so there is no latency to read: lengthen duration or shorten warmup",
    )


def test_a_start_up_of_the_servers_is_seen() -> None:
    rng = np.random.default_rng(1)
    level = rng.integers(90, 110, 400)
    level[:60] = rng.integers(0, 5, 60)
    inside = np.stack((level, level), axis=1)
    result = replace(
        made_up(), samples=sampled([[0, 0]] * 400, inside=inside), latency=Histogram.of(np.arange(200))
    )
    [told] = too_short(result, (0.5,))
    assert told.startswith(
        "the warm-up of 1s is short: leaving out all before 61s changes the mean number of"
    )
    assert "requests in the servers from" in told
    rising = np.stack((np.arange(400), np.arange(400)), axis=1)
    [told] = too_short(replace(result, samples=sampled([[0, 0]] * 400, inside=rising)), (0.5,))
    assert told.startswith("the servers still fill or drain: ")
    assert told.endswith("or lower the load if it is more than the servers can do")
