"""The testbed of RSS++ and the claims of its figures, on tables that no run yielded."""

import math

import numpy as np
import pandas as pd
import pytest

from experiments import (
    rsspp_fig10b,
    rsspp_fig11,
    rsspp_fig12b,
    rsspp_fig13,
    rsspp_frontier,
)
from experiments import rsspp_testbed as rsspp
from lbsim.scenario import Scaling, override
from lbsim.study.claims import judge
from lbsim.units import SECOND

# --- who is compared ---


def test_every_series_has_a_dispatcher_of_its_own():
    spreads = [rsspp.dispatch(series) for series in rsspp.SERIES]
    assert len(set(map(repr, spreads))) == len(rsspp.SERIES) == 8
    with pytest.raises(ValueError, match=r"'RSSPP' is unknown: choose from RSS, RSS\+\+, Sprayer"):
        rsspp.dispatch("RSSPP")


def test_handing_over_takes_as_much_longer_on_a_slow_core_as_all_work():
    fast, slow = (rsspp.dispatch("SW RR", slowdown=k) for k in (1.0, 1.5))
    for name in ("per_batch", "hand_over", "contention"):
        assert getattr(fast, name).ps(None) > 0
        assert getattr(slow, name).ps(None) == pytest.approx(1.5 * getattr(fast, name).ps(None), abs=1)


def test_only_what_has_luck_is_drawn_more_than_once():
    rivals = rsspp.rivals((3, 5), deals=(0, 1, 2))
    assert [key for series, key in rivals if series == rsspp.RSS] == [3, 5]
    assert [key for series, key in rivals if series == rsspp.CLASSES] == [0, 1, 2]
    assert sum(series in ("Sprayer", *rsspp.QUEUES) for series, _ in rivals) == 5
    assert len(set(rivals)) == len(rivals) == 12


def test_what_scales_starts_with_few_cores():
    for series in (rsspp.RSSPP, rsspp.CLASSES):
        assert rsspp.dispatch(series, scaling=Scaling(start=2)).scaling == Scaling(start=2)


# --- tables ---


def table(**columns):
    return pd.DataFrame(columns)


def test_a_key_without_a_run_is_nan():
    rows = table(series=["RSS", "RSS", "RSS++"], key=[0, 1, 0], cores=[8, 8, 8], y=[1.0, 2.0, 3.0])
    rates = rsspp.by_key(rows, "y", "cores == 8")
    assert rates["RSS"].tolist() == [1.0, 2.0]
    assert math.isnan(rates["RSS++"][1])
    assert rsspp.median_of(rows, "y", "cores == 8", "RSS") == 1.5
    with pytest.raises(KeyError):
        rsspp.median_of(rows, "y", "cores == 8", "Sprayer")


def test_the_order_of_imbalance_is_strict():
    ordered = [0.01, 1.6, 14.0, 72.0, 51.0, 465.0]
    names = ["SW RR", "Sprayer", "RSS++", "SW stateful RR", "RSS", "Traffic class"]
    claim = next(claim for claim in rsspp_fig12b.STUDY.claims if claim.id == "RS-08")

    def judged(values):
        rows = table(series=names, key=[0] * 6, cores=[8] * 6, imbalance_pct=values)
        return judge(claim, {"rsspp-fig12b": rows}, "full")

    line = judged(ordered)
    assert line["verdict"] == "pass"
    assert line["note"] == (
        "SW RR 0.01 %, Sprayer 1.6 %, RSS++ 14 %, SW stateful RR 72 %, RSS 51 %, Traffic class 465 %; "
        "hosts of traffic classes by Zipf's law over prefixes, exponent 2"
    )
    swapped = [0.01, 1.6, 14.0, 51.0, 72.0, 465.0]
    assert judged(swapped)["simulated"] == 1  # the two of a group stand in no order
    for k in range(6):
        for wrong in (ordered[k - 1], 1000.0) if k not in (0, 4) else (1000.0,):
            assert judged([*ordered[:k], wrong, *ordered[k + 1 :]])["simulated"] == (wrong == 1000 and k == 5)


def test_claims_on_traffic_classes_take_the_median_of_the_deals():
    claims = {claim.id: claim for claim in rsspp_fig13.STUDY.claims}
    rows = table(
        series=["Traffic class"] * 6 + ["RSS"] * 3,
        key=[0, 0, 1, 1, 2, 2, 0, 1, 2],
        load_gbps=[10, 16] * 3 + [10] * 3,
        p95_us=[300.0, 1000.0, 400.0, 10_000.0, 500.0, 1000.0, 100.0, 200.0, 900.0],
    )
    line = judge(claims["ME-06"], {"rsspp-fig13": rows}, "full")
    assert line["simulated"] == 2
    assert line["note"] == "median of the deals of traffic classes, 0: 1.5, 1: 2, 2: 2.5"
    assert judge(claims["ME-07-m"], {"rsspp-fig13": rows}, "full")["simulated"] == 16


# --- Fig. 10b ---


def test_drops_are_means_over_seconds_and_keys():
    rows = pd.DataFrame(
        {"series": series, "key": key, "replay_pct": 120, "drops_kpps": drops, "received_kpps": 95.0}
        for series, key, drops in (("RSS", 0, 0), ("RSS", 0, 60), ("RSS", 1, 0), ("RSS++", 0, 5))
    )
    claims = {claim.id: claim.value({"rsspp-fig10b": rows}) for claim in rsspp_fig10b.STUDY.claims[::3]}
    assert claims == {"RS-09-120": 4.0, "RS-09-abs": 5.0}


# --- Fig. 11 ---


def test_the_load_of_fig_11_is_what_the_published_runs_had():
    published = pd.read_csv(rsspp.published("rsspp-fig11"), comment="#").query("metric == 'throughput_gbps'")
    runs = published[published["series"].isin(rsspp_fig11.SERIES)]
    median = runs.pivot(index="x", columns="series", values="value").median(axis=1)
    assert np.abs(median.to_numpy() - rsspp_fig11.OFFERED_GBPS).max() <= 0.0051
    assert rsspp_fig11.STUDY.base.duration == len(rsspp_fig11.OFFERED_GBPS) * SECOND == 75 * SECOND


def test_cores_are_means_over_the_right_seconds():
    rows = pd.DataFrame(
        {
            "series": series,
            "key": key,
            "time_s": float(second),
            "cores": (1 + key if second < 40 else 10) * (2 if series == "Traffic class" else 1),
            "in_use": 5,
            "throughput_gbps": 4.0 if series == "RSS" else 3.0 if second < 60 else 0.0,
        }
        for series in rsspp_fig11.SERIES
        for key in range(3)
        for second in range(75)
    )
    values = {claim.id: claim.value({"rsspp-fig11": rows}) for claim in rsspp_fig11.STUDY.claims}
    assert values == {
        "RS-14": pytest.approx((40 * 2 + 20 * 10) / 60), "RS-15": 0.75, "ME-03": 4, "ME-04": 2, "ME-05": 4,
    }  # fmt: skip


# --- the frontier ---


def test_a_day_rises_to_its_peak_and_falls_again():
    day = np.array(rsspp_frontier.DAY)
    assert day.min() == pytest.approx(0.2, abs=0.002)
    assert day.max() == pytest.approx(1.0, abs=0.002)
    assert day.mean() == pytest.approx(0.6)
    assert np.allclose(day, day[::-1])
    factors = rsspp_frontier.STUDY.base.arrivals.profile.factors
    assert factors[:5] == (0.2,) * 5
    assert factors[5:] == rsspp_frontier.DAY


def test_ways_are_told_apart_by_name():
    named = [(way.series, way.label) for way in rsspp_frontier.WAYS]
    assert len(set(named)) == len(named)
    assert {way.series for way in rsspp_frontier.WAYS} == set(rsspp.SERIES)
    assert {way.series for way in rsspp_frontier.WAYS if way.quick} == set(rsspp.SERIES)
    for point in rsspp_frontier.points(full=True):
        scenario = override(rsspp_frontier.STUDY.base, point.overrides)
        label, spread = point.labels["label"], scenario.nic.dispatch
        assert ("scaling" in label) == (getattr(spread, "scaling", None) is not None)
        assert label.split()[-1] in (
            str(scenario.server.cores),
            "scaling",
            f"{getattr(spread, 'target_load', 0):g}",
        )
