"""What a run of connections yields: series, laws, summary; and theory that runs must meet."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lbsim.engine.connection.run import run_connections
from lbsim.metrics.connections import (
    LOST,
    REMAPPED,
    SERIES,
    Breaks,
    ConnectionResult,
    ConnectionSamples,
    Counters,
)
from lbsim.metrics.intervals import mean_interval
from lbsim.scenario import (
    Balancer,
    Change,
    ConnectionMeasure,
    ConnectionScenario,
    Cookie,
    Exponential,
    Lognormal,
    Open,
    Schedule,
    Servers,
    Work,
)
from lbsim.units import MS, SECOND


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


def made_up() -> ConnectionResult:
    """Three seconds, of which the last two count."""
    whole = Counters(20, 12, 3, 1, 2, 1, 2, 4, 2, 3, 1, 3)
    seconds = range(4)
    samples = {
        "time": [SECOND * k for k in seconds],
        "begun": [0, 8, 14, 20],
        "completed": [0, 4, 4, 12],
        "remapped": [0, 1, 3, 3],
        "lost": [0, 0, 0, 1],
        "refused": [0, 0, 2, 2],
        "skipped": [0, 1, 1, 1],
        "retried": [0, 0, 1, 2],
        "live": [0, 3, 7, 4],
        "active": [3, 3, 2, 2],
        "highest": [0, 2, 4, 3],
        "lowest": [0, 0, 3, 1],
        "protected": [0, 3, 7, 3],
    }
    return ConnectionResult(
        scenario=SimpleNamespace(name="made up"),
        engine="none",
        span=2 * SECOND,
        whole=whole,
        cohort=whole._replace(begun=12, completed=8, remapped=2, skipped=0),
        imbalance_sum=15.0,
        imbalance_max=2.0,
        imbalance_count=12,
        peak=7,
        peak_protected=7,
        load=ints(1, 3, 0),
        placed=ints(6, 10, 4),
        breaks=Breaks(
            ints(SECOND // 2, SECOND, 2 * SECOND - 1, 5 * SECOND // 2),
            ints(SECOND, SECOND, 4 * SECOND, 3 * SECOND - 1),
            ints(3, 5, 9, 12),
            ints(0, 2, 2, 0),
            ints(REMAPPED, REMAPPED, REMAPPED, LOST),
        ),
        memory_bytes=48,
        samples=ConnectionSamples(**{name: ints(*column) for name, column in samples.items()}),
    )


def test_series_are_rates_by_interval_and_levels_at_its_end() -> None:
    result = made_up()
    expected = {
        "begun": [8, 6, 6],
        "completed": [4, 0, 8],
        "remapped": [1, 2, 0],
        "lost": [0, 0, 1],
        "broken": [1, 2, 1],
        "refused": [0, 2, 0],
        "skipped": [1, 0, 0],
        "retried": [0, 1, 1],
        "reported": [0, 2, 1],  # that at 4 s is beyond the run
        "reported_pct": [0, math.nan, 12.5],
        "live": [3, 7, 4],
        "active": [3, 2, 2],
        "highest": [2, 4, 3],
        "lowest": [0, 3, 1],
        "protected": [3, 7, 3],
    }
    assert set(expected) == set(SERIES)
    for name, column in expected.items():
        frame = result.series(name)
        assert list(frame.columns) == [name]
        assert frame.index.tolist() == [1.0, 2.0, 3.0]
        assert frame.index.name == "time_s"
        assert frame[name].tolist() == pytest.approx(column, nan_ok=True), name


def test_rates_are_per_second_whatever_the_interval() -> None:
    result = made_up()
    assert result.samples is not None
    halves = result.samples._replace(time=result.samples.time // 2)
    assert replace(result, samples=halves).series("begun")["begun"].tolist() == [16, 12, 12]


def test_a_series_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'load' is unknown: choose one of begun, completed, .*protected"):
        made_up().series("load")
    with pytest.raises(ValueError, match=r"set measure\.interval"):
        replace(made_up(), samples=None).series("begun")


def test_numbers_are_those_of_the_cohort() -> None:
    result = made_up()
    assert result.broken == 3
    assert result.broken_share == 3 / 12
    assert result.imbalance == 1.25
    assert result.imbalance_pct == 25
    assert result.imbalance_max_pct == 100
    summary = json.loads(json.dumps(result.summary(), allow_nan=False))
    assert summary["connections"] == 12
    assert summary["begun_per_second"] == 6
    assert summary["completed_per_second"] == 4
    assert summary["broken_pct"] == 25
    assert summary["imbalance_pct"] == 25
    assert summary["memory_bytes"] == 48
    assert summary["live_at_end"] == 4


def test_a_run_without_a_begin_has_a_summary() -> None:
    nothing = Counters(*[0] * 12)
    empty = replace(
        made_up(),
        whole=nothing,
        cohort=nothing,
        imbalance_sum=0.0,
        imbalance_max=0.0,
        imbalance_count=0,
        load=ints(0),
        placed=ints(0),
        breaks=Breaks(*[ints()] * 5),
    )
    assert all(empty.laws().values())
    summary = json.loads(json.dumps(empty.summary(), allow_nan=False))
    assert (summary["broken_pct"], summary["imbalance_pct"]) == (0, None)
    assert math.isnan(empty.imbalance)
    assert math.isnan(empty.imbalance_max_pct)


def tampered() -> list[tuple[str, dict[str, Any]]]:
    r = made_up()
    b, w = r.breaks, r.whole
    return [
        ("every connection that begins is completed", {"whole": w._replace(completed=11)}),
        ("every connection under way has one server", {"load": ints(1, 2, 0)}),
        ("no server has fewer than no connection", {"load": ints(5, -1, 0)}),
        ("every connection that begins is placed once", {"placed": ints(6, 10, 3)}),
        ("every break is logged once", {"breaks": b._replace(cause=ints(LOST, REMAPPED, REMAPPED, LOST))}),
        ("breaks are logged in order", {"breaks": b._replace(time=ints(SECOND, SECOND - 1, SECOND, SECOND))}),
        ("no break is reported before", {"breaks": b._replace(reported=b.time - ints(0, 0, 1, 0))}),
        ("no connection breaks twice", {"breaks": b._replace(index=ints(3, 5, 9, 3))}),
        ("the cohort is a part", {"cohort": r.cohort._replace(retried=3)}),
        ("nothing is ever above its peak", {"peak": 3}),
        ("nothing is ever above its peak", {"peak_protected": 2}),
        ("the highest load is not below the mean", {"imbalance_sum": 11.0}),
        ("the highest load is not below the mean", {"imbalance_max": 1.2}),
    ]


def test_laws_hold() -> None:
    assert all(made_up().laws().values())
    assert len({law for law, _ in tampered()}) == len(made_up().laws())


@pytest.mark.parametrize(("law", "changed"), tampered())
def test_a_broken_law_is_found(law: str, changed: dict[str, Any]) -> None:
    broken = [text for text, holds in replace(made_up(), **changed).laws().items() if not holds]
    assert len(broken) >= 1
    assert any(text.startswith(law) for text in broken)


# --- theory -------------------------------------------------------------------------------------------------


def scenario(**fields: Any) -> ConnectionScenario:
    fields.setdefault("balancer", Balancer(policy="hashed", consistency=Cookie()))
    fields.setdefault("servers", Servers(configured=10, active=8))
    return ConnectionScenario(**fields)


@pytest.mark.parametrize(
    "law", [Exponential(mean=Work.parse("50ms")), Lognormal(mean=Work.parse("50ms"), cv=2.0)]
)
def test_littles_law(law: Any) -> None:
    """Mean number under way = rate x mean length, whatever the law of lengths."""
    means = []
    for replication in range(12):
        s = scenario(
            clients=Open(per_second=2000.0, length=law),
            duration=4 * SECOND,
            replication=replication,
            measure=ConnectionMeasure(interval=10 * MS),
        )
        live = run_connections(s, "compiled").series("live")["live"]
        means.append(float(live.loc[1.0:].mean()))
    interval = mean_interval(means, 0.999)
    assert interval.low < 100 < interval.high
    assert interval.high - interval.low < 20


def test_a_mean_number_under_way_is_reached() -> None:
    s = scenario(
        clients=Open(concurrent=5000.0, length=Exponential(mean=Work.parse("50ms"))), duration=SECOND
    )
    result = run_connections(s, "compiled")
    assert result.whole.live == pytest.approx(5000, abs=5 * math.sqrt(5000))  # Poisson


@pytest.mark.parametrize(("engine", "n"), [("reference", 3), ("compiled", 3), ("compiled", 8)])
def test_hashing_modulo_n_breaks_n_of_n_plus_1(engine: Any, n: int) -> None:
    """When n servers become n + 1, hash mod n = hash mod n+1 for one hash in n + 1 (independent bits)."""
    s = scenario(
        clients=Open(concurrent=2000.0, length=Exponential(mean=Work.parse("100ms"))),
        balancer=Balancer(policy="hashed"),
        servers=Servers(configured=n + 1, active=n),
        churn=Schedule(changes=(Change(at=SECOND // 2, do="add", place="end"),)),
        duration=SECOND // 2 + 1,
        measure=ConnectionMeasure(interval=SECOND // 2),
    )
    result = run_connections(s, engine)
    assert (result.breaks.time == SECOND // 2).all()
    before = result.whole.live + result.whole.remapped
    share = result.whole.remapped / before
    assert share == pytest.approx(n / (n + 1), abs=5 * math.sqrt(n) / (n + 1) / math.sqrt(before))
    assert result.series("live")["live"].tolist() == [pytest.approx(before, abs=2)]


@pytest.mark.parametrize("engine", ["reference", "compiled"])
def test_series_add_up_to_the_totals(engine: Any) -> None:
    s = scenario(
        clients=Open(per_second=3000.0, length=Exponential(mean=Work.parse("50ms")), gap=10 * MS, retry=MS),
        balancer=Balancer(policy="hashed"),
        churn=Schedule(changes=(Change(at=SECOND // 4, do="add"), Change(at=SECOND // 2, do="remove"))),
        duration=SECOND,
        measure=ConnectionMeasure(interval=50 * MS),
    )
    result = run_connections(s, engine)
    assert result.whole.remapped > 0
    assert result.whole.lost > 0
    for name in ("begun", "completed", "remapped", "lost", "retried"):
        total = result.series(name)[name].sum() * 0.05
        assert total == pytest.approx(getattr(result.whole, name)), name
    assert result.series("reported")["reported"].sum() * 0.05 == pytest.approx(result.broken)
    assert result.series("active")["active"].tolist() == [8] * 5 + [9] * 5 + [8] * 10
