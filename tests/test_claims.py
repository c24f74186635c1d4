import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import ALL, rsspp_testbed
from experiments.rsspp_fig13 import knee
from lbsim.scenario import Closed, Scenario, override
from lbsim.study import Claim, scorecard, scorecard_table
from lbsim.study.claims import Target, judge, targets
from lbsim.study.points import store

RSS_STEP = {
    *("RS-01", "RS-02", "RS-03", "RS-04", "RS-05", "RS-06", "RS-07", "RS-09-120", "RS-09-130", "RS-09-140"),
    *("RS-09-abs", "RS-10", "RS-11", "RS-12", "RS-13-10", "RS-13-24", "RS-13-26", "RS-19", "RS-20"),
    *("ME-07-r", "ME-07-p"),
}


def given_value(value, id_="RS-02"):
    return judge(Claim(id_, lambda tables: value), {}, "full")


def keep(results, scale, lines):
    folder = results / "quick" if scale == "quick" else results
    store.write_whole(folder / "figure" / "claims.json", json.dumps(lines).encode())


def test_targets_are_in_order_and_well_formed():
    assert len(targets()) == 135
    for id_, target in targets().items():
        assert target.id == id_
        assert target.low <= target.published <= target.high or id_ == "RS-09-abs"
        assert target.quantity
        assert target.source
        assert "/" not in target.source


def test_a_target_reads_as_written():
    target = targets()["RS-02"]
    assert (target.published, target.low, target.high, target.unit) == (8.56, 8.13, 8.99, "ms")
    assert target.figure == "rsspp-fig13"


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(8.13, "pass"), (8.99, "pass"), (8.56, "pass"), (8.129, "fail"), (8.991, "fail"), (-math.inf, "fail")],
)
def test_the_verdict_takes_both_bounds_in(value, verdict):
    assert given_value(value)["verdict"] == verdict


def test_a_line_carries_the_target_unchanged():
    line = given_value(8.5)
    assert line["id"] == "RS-02"
    assert (line["published"], line["low"], line["high"], line["simulated"]) == (8.56, 8.13, 8.99, 8.5)
    assert json.loads(json.dumps(line)) == line


def test_a_claim_that_cannot_be_computed_fails_with_the_reason():
    line = judge(Claim("RS-02", lambda tables: tables["absent"]["y"].max()), {}, "quick")
    assert line["verdict"] == "fail"
    assert line["simulated"] is None
    assert "KeyError" in line["note"]
    assert "absent" in line["note"]


def test_a_claim_that_is_no_number_fails_with_its_note():
    line = judge(Claim("RS-02", lambda tables: math.nan, lambda tables: "key 3 has no knee"), {}, "quick")
    assert (line["verdict"], line["simulated"]) == ("fail", None)
    assert "nan" in line["note"]
    assert "key 3 has no knee" in line["note"]


def test_a_claim_without_a_target_is_an_error():
    with pytest.raises(ValueError, match="RS-99"):
        given_value(1, "RS-99")


def test_the_scorecard_takes_full_before_quick_and_the_order_of_targets(tmp_path):
    keep(tmp_path, "quick", [given_value(1.0, "RS-03"), given_value(1.0, "RS-02")])
    keep(tmp_path, "full", [given_value(8.5, "RS-02")])
    lines = scorecard(tmp_path)
    assert [(x["id"], x["simulated"], x["scale"]) for x in lines] == [
        ("RS-02", 8.5, "full"),
        ("RS-03", 1.0, "quick"),
    ]


def test_bounds_and_verdicts_come_from_the_targets_not_from_result_files(tmp_path):
    keep(tmp_path, "full", [given_value(1.0) | {"low": 0, "verdict": "pass", "published": 1}])
    assert scorecard(tmp_path)[0] == given_value(1.0)


def test_no_results_no_lines(tmp_path):
    assert scorecard(tmp_path) == []


@pytest.mark.parametrize("text", ["{", "[{}]", '[{"id": "RS-99", "simulated": 1, "note": ""}]', "[1]"])
def test_an_unreadable_claims_file_is_named(tmp_path, text):
    store.write_whole(tmp_path / "figure" / "claims.json", text.encode())
    with pytest.raises(ValueError, match=r"claims\.json cannot be read"):
        scorecard(tmp_path)


def test_the_text_table_has_a_row_per_claim():
    table = scorecard_table([given_value(8.5), given_value(1.0, "RS-03")])
    assert table.row_count == 2


# --- the claims of the studies ---


def test_the_studies_claim_what_their_targets_ask():
    claimed = [(claim.id, study.name) for study in ALL for claim in study.claims]
    assert len(claimed) == len(set(claimed))
    assert {id_ for id_, _ in claimed} >= RSS_STEP
    assert all(targets()[id_].figure == name for id_, name in claimed)


def test_studies_come_after_those_they_need():
    names = [study.name for study in ALL]
    assert len(set(names)) == len(names)
    assert all(names.index(need) < names.index(study.name) for study in ALL for need in study.needs)


@pytest.mark.parametrize("full", [False, True])
def test_every_point_is_a_valid_scenario_with_its_own_labels(full):
    for study in ALL:
        points = study.points(full) if study.base else ()
        labels = [tuple(point.labels.items()) for point in points]
        assert len(set(labels)) == len(labels)
        chosen = points[:: 7 if full else 1]
        scenarios = [override(study.base, point.overrides) for point in chosen]
        packets = [s for s in scenarios if isinstance(s, Scenario) and not isinstance(s.arrivals, Closed)]
        if study.name.startswith("rsspp"):  # one testbed, one set of constants
            assert all(s.server.stalls == rsspp_testbed.STALLS for s in packets)


@pytest.mark.parametrize("draws", [400, 600])
def test_a_saturated_core_spends_what_was_published(draws):
    cost = rsspp_testbed.cost(draws)
    at_full_bursts = cost.per_batch.ps(None) / 32 + cost.per_packet.ps(None) + cost.work.mean_ps(None)
    assert at_full_bursts == pytest.approx(rsspp_testbed.SATURATED[draws], abs=2)


def test_a_slow_core_spends_1750_ns_at_300_draws():
    cost = rsspp_testbed.cost(300, rsspp_testbed.SLOW_CORE)
    at_full_bursts = cost.per_batch.ps(None) / 32 + cost.per_packet.ps(None) + cost.work.mean_ps(None)
    assert at_full_bursts == pytest.approx(1_750_000, abs=2)


@given(a=st.floats(1, 900), growth=st.floats(0.01, 0.3))
def test_the_knee_of_an_exponential_is_exact(a, growth):
    loads = np.arange(2, 36, 2)
    exact = math.log(1000 / a) / growth
    found = knee(pd.Series(a * np.exp(growth * loads), loads))
    if loads[0] < exact < loads[-1]:
        assert found == pytest.approx(exact)
    else:
        assert math.isnan(found) or found == pytest.approx(exact)


def test_the_knee_is_the_first_crossing():
    assert 10 < knee(pd.Series([500.0, 2000, 400, 3000], [10, 12, 14, 16])) < 12
    assert math.isnan(knee(pd.Series([500.0, 600], [10, 12])))
    assert math.isnan(knee(pd.Series([1500.0, 2600], [10, 12])))


def uneven_tables(imbalance, gains):
    rows = [{"series": "RSS", "key": k, "cores": 8, "imbalance_pct": v} for k, v in enumerate(imbalance)]
    rows.append({"series": "RSS", "key": 0, "cores": 4, "imbalance_pct": 50})
    return {"rsspp-fig12b": pd.DataFrame(rows), "gains": pd.Series(gains)}


def test_claims_over_uneven_keys_take_their_median_and_tell_all():
    claim = rsspp_testbed.over_uneven_keys("RS-10", lambda tables: tables["gains"])
    tables = uneven_tables([34.9, 35, 60, 75, 75.1], [9.0, 1.0, 1.5, 1.1, 9.5])
    line = judge(claim, tables, "full")
    assert line["simulated"] == 1.1
    assert line["note"].startswith("median of keys 1 2 3; every key 0: 9, 1: 1, 2: 1.5")


def test_no_uneven_key_no_value():
    claim = rsspp_testbed.over_uneven_keys("RS-10", lambda tables: tables["gains"])
    line = judge(claim, uneven_tables([10, 100], [1.05, 1.05]), "full")
    assert line["verdict"] == "fail"
    assert "no hash key" in line["note"]


def test_one_key_without_a_value_spoils_the_median():
    claim = rsspp_testbed.over_uneven_keys("RS-10", lambda tables: tables["gains"])
    assert judge(claim, uneven_tables([50, 60], [1.05, math.nan]), "full")["verdict"] == "fail"


# --- claims of a study of one's own ---

OWN = Target("MY-1", "mine", "my-study", "RSS++ is as fast", 1.0, 0.9, 1.1, "ratio", "a guess")


def test_a_study_may_bring_its_own_target(tmp_path):
    line = judge(Claim("MY-1", lambda tables: 1.05, target=OWN), {}, "full")
    assert (line["verdict"], line["low"], line["high"]) == ("pass", 0.9, 1.1)
    keep(tmp_path, "full", [line, given_value(8.5)])
    assert [row["id"] for row in scorecard(tmp_path)] == ["RS-02", "MY-1"]
    assert scorecard(tmp_path)[1] == line


def test_a_verdict_in_a_file_is_judged_anew(tmp_path):
    line = judge(Claim("MY-1", lambda tables: 2, target=OWN), {}, "full")
    keep(tmp_path, "full", [{**line, "verdict": "pass"}])
    assert scorecard(tmp_path)[0]["verdict"] == "fail"


def test_nobody_loosens_a_published_target(tmp_path):
    loose = targets()["RS-02"]._replace(high=1e9)
    with pytest.raises(ValueError, match=r"RS-02.*targets\.csv"):
        judge(Claim("RS-02", lambda tables: 1, target=loose), {}, "full")
    keep(tmp_path, "full", [{**given_value(100), "high": 1e9, "verdict": "pass"}])
    assert scorecard(tmp_path)[0]["verdict"] == "fail"


def test_an_own_claim_needs_every_field_of_its_target(tmp_path):
    line = judge(Claim("MY-1", lambda tables: 1, target=OWN), {}, "full")
    del line["low"]
    keep(tmp_path, "full", [line])
    with pytest.raises(ValueError, match="cannot be read"):
        scorecard(tmp_path)
