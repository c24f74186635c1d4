import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsim.metrics.histogram import Histogram
from lbsim.metrics.intervals import mean_interval, paired_interval, quantile_interval
from lbsim.metrics.quantities import ALL, BY_NAME
from lbsim.metrics.result import Result, Samples
from lbsim.scenario import Cost, Fixed, Flows, Measure, Poisson, Rate, Scenario, Server, Work
from lbsim.study.sweeps.table import Latency, Row, differences, measure, name_of, summary_table, tidy_table

BASE = Scenario(
    duration=10**9,
    traffic=Flows(flows=16),
    arrivals=Poisson(rate=Rate(1e6, "pps")),
    server=Server(cores=2, cost=Cost(work=Fixed(time=Work(1000)))),
)


def result(latencies=(10**6,), offered=4, control=None, notices=()) -> Result:
    delivered = len(latencies)
    return Result(
        scenario=BASE,
        engine="made up",
        span=10**12,
        offered=offered,
        offered_bytes=offered * 976,
        delivered=delivered,
        delivered_bytes=delivered * 976,
        drops={"ring full": offered - delivered},
        latency=Histogram.of(list(latencies)),
        processed=np.array([1, 3]),
        busy=np.array([10**11, 3 * 10**11]),
        dropped=np.array([0, offered - delivered]),
        end=10**12,
        control=control or {},
        notices=notices,
    )


def row(label, replication=0, made: Result | None = None, problem: str = "") -> Row:
    scenario = BASE.model_copy(update={"replication": replication, "warmup": 2 * 10**6})
    return Row({"load": label}, scenario, None if made is None else measure(made), problem)


def test_quantities_have_the_unit_of_their_name():
    values = measure(result(latencies=[2 * 10**6, 4 * 10**6, 6 * 10**6])).values
    assert values == pytest.approx(
        {
            "packets": 4,
            "offered_gbps": 4 * 8000 / 1e9,
            "throughput_gbps": 3 * 8000 / 1e9,
            "throughput_mpps": 3e-6,
            "drop_pct": 25,
            "latency_mean_us": 4,
            "latency_p50_us": 4,
            "latency_p95_us": 6,
            "latency_p99_us": 6,
            "latency_p999_us": 6,
            "latency_p9999_us": 6,
            "core_load_mean_pct": 20,
            "core_load_max_pct": 30,
            "imbalance_pct": 200,
        },
        rel=1 / 256,
    )


def test_quantities_are_those_that_the_scenario_asks_for():
    asked = BASE.model_copy(update={"measure": Measure(interval=10**6, reordering=True)})
    samples = Samples(np.array([0, 10**6]), *np.zeros((4, 2, 2), np.int64), used=np.array([1, 2]))
    one = replace(result(latencies=[1] * 8, offered=8), scenario=asked, samples=samples, reordered=2)
    values = measure(one).values
    assert list(values)[-2:] == ["cores_mean", "reordered_pct"]
    assert (values["cores_mean"], values["reordered_pct"]) == (1.5, 25)
    assert values.keys() - measure(result()).values.keys() == {"cores_mean", "reordered_pct"}
    silent = replace(one, samples=None, reordered=None)
    assert math.isnan(BY_NAME["cores_mean"].of(silent))
    assert math.isnan(BY_NAME["reordered_pct"].of(silent))
    assert BY_NAME["reordered_pct"].of(replace(one, delivered=0, reordered=0)) == 0


def test_imbalance_is_among_the_cores_that_serve():
    four = {"processed": np.array([1, 3, 4]), "busy": np.array([1, 2, 4]) * 10**11}
    assert BY_NAME["imbalance_pct"].of(replace(result(), **four)) == 200
    assert BY_NAME["core_load_max_pct"].of(replace(result(), **four)) == 40


def test_every_quantity_has_a_name_of_its_own_that_ends_in_its_unit():
    ends = {"": "", "Gb/s": "_gbps", "Mpps": "_mpps", "%": "_pct", "µs": "_us", "1/s": "_per_s", "kB": "_kb"}
    ends["%²"] = "_pct2"
    told = {(q.name, q.label, q.unit, q.scale, q.q, q.whole) for grain in ALL.values() for q in grain}
    assert len(BY_NAME) == len(told)  # grains that share a name mean the same by it
    assert all(len({q.name for q in grain}) == len(grain) for grain in ALL.values())
    assert all(q.name.endswith(ends[q.unit]) for q in BY_NAME.values())
    assert BY_NAME["drop_pct"].axis == "dropped (%)"
    assert BY_NAME["packets"].axis == "packets"


def test_the_table_has_a_row_a_point():
    table = tidy_table(
        [
            row(0.5, 0, result(control={"moves": 7}, notices=("a notice",))),
            row(0.5, 1, None, "ValueError: no luck"),
            row(0.9, 0),
        ]
    )
    assert list(table.columns[:4]) == ["load", "replication", "seed", "warmup_s"]
    assert list(table.columns[-3:]) == ["moves", "status", "note"]
    assert list(table["status"]) == ["ok", "failed", "left"]
    assert list(table["note"]) == ["a notice", "ValueError: no luck", ""]
    assert list(table["replication"]) == [0, 1, 0]
    assert list(table["warmup_s"]) == [2e-6] * 3
    assert table["latency_p99_us"].isna().tolist() == [False, True, True]


def test_counts_stay_whole_beside_missing_ones():
    table = tidy_table([row(1, 0, result(offered=2**53 + 1, control={"moves": 3})), row(1, 1)])
    assert table.to_csv(columns=["packets", "moves"], index=False, float_format="%.9g").splitlines() == [
        "packets,moves",
        f"{2**53 + 1},3",
        ",",
    ]


def test_a_point_that_could_not_be_stored_counts_and_says_so():
    table = tidy_table([row(1, 0, result(notices=("a notice",)), "cannot be stored")])
    assert table["status"][0] == "ok"
    assert table["note"][0] == "cannot be stored; a notice"


def test_a_name_tells_labels_and_replication():
    assert row(0.5, 3).name == "load = 0.5, replication 3"
    assert row(None, 0).name == "replication 0"
    assert name_of({"load": 0.5, "kind": "rss"}) == "load = 0.5, kind = rss"
    assert name_of({}) == "the base"


@given(st.lists(st.integers(0, 2**40), max_size=50))
def test_a_latency_without_empty_bins_is_the_histogram(values: list[int]):
    histogram = Histogram.of(values)
    again = Latency.of(histogram).histogram()
    np.testing.assert_array_equal(again.counts, histogram.counts)
    assert replace(again, counts=None) == replace(histogram, counts=None)


def test_the_summary_is_means_with_intervals_and_quantiles_of_all_packets():
    made = [result([10**6 * k] * 50 + [10**9], offered=60 + k) for k in (1, 2, 4)]
    rows = [*(row(0.5, r, m) for r, m in enumerate(made)), row(0.9, 0, made[0])]
    summary = summary_table(rows, 0.9)
    assert list(summary["load"]) == [0.5, 0.9]
    assert list(summary["n"]) == [3, 1]
    first = summary.iloc[0]
    drops = [m.drop_share * 100 for m in made]
    assert tuple(first[["drop_pct", "drop_pct_low", "drop_pct_high"]]) == pytest.approx(
        mean_interval(drops, 0.9)[:3]
    )
    p50 = quantile_interval([m.latency for m in made], 0.5, 0.9)
    assert tuple(first[["latency_p50_us", "latency_p50_us_low", "latency_p50_us_high"]]) == pytest.approx(
        [x / 1e6 for x in p50[:3]]
    )
    assert p50.mean != pytest.approx(np.mean([m.latency.quantile(0.5) for m in made]), rel=0.01)
    assert summary["drop_pct"][1] == drops[0]
    assert math.isnan(summary["drop_pct_low"][1])


def test_the_summary_leaves_out_what_failed_and_says_nothing_of_what_has_no_value():
    rows = [
        row(1, 0, result(offered=8)),
        row(1, 1, None, "failed"),
        row(2, 0, result([])),
        row(2, 1, result()),
    ]
    summary = summary_table(rows)
    assert list(summary["n"]) == [1, 2]
    assert summary["drop_pct"][0] == 87.5
    assert math.isnan(summary["latency_p99_us"][1])  # nothing was delivered in one replication
    assert summary["packets"][1] == 4
    assert summary_table([row(1, 0)])["n"][0] == 0


# --- differences ---


def table(**columns) -> pd.DataFrame:
    n = len(next(iter(columns.values())))
    return pd.DataFrame({**columns, "status": ["ok"] * n})


def test_differences_pair_replications():
    made = table(
        kind=["a"] * 3 + ["b"] * 3,
        load=[0.5] * 6,
        replication=[0, 1, 2, 2, 1, 0],
        drop_pct=[1.0, 2, 4, 8, 7, 3],
    )
    (only,) = differences(made, "kind", "drop_pct", level=0.9).to_dict("records")
    wanted = paired_interval([3, 7, 8], [1, 2, 4], 0.9)
    numbers = dict(zip(("difference", "low", "high"), wanted[:3], strict=True))
    assert only == {"kind": "b", "load": 0.5, "n": 3} | {
        f"drop_pct_{name}": pytest.approx(value) for name, value in numbers.items()
    }


def test_differences_are_within_the_other_labels():
    made = table(kind=["a", "a", "b", "b"], load=[1, 2, 1, 2], replication=[0] * 4, drop_pct=[1.0, 2, 30, 40])
    assert differences(made, "kind", "drop_pct")["drop_pct_difference"].tolist() == [29, 38]
    against = differences(made, "kind", "drop_pct", against="b")
    assert against["kind"].tolist() == ["a", "a"]
    assert against["drop_pct_difference"].tolist() == [-29, -38]
    assert differences(made, "load", "drop_pct")["drop_pct_difference"].tolist() == [1, 10]


def test_differences_leave_out_pairs_that_lack_a_side():
    made = table(kind=["a"] * 3 + ["b"] * 3, replication=[0, 1, 2] * 2, drop_pct=[1.0, 2, 3, 5, 5, math.nan])
    made.loc[1, "status"] = "failed"
    (only,) = differences(made[:5], "kind", "drop_pct").to_dict("records")
    assert (only["n"], only["drop_pct_difference"]) == (1, 4)
    (only,) = differences(made, "kind", "drop_pct").to_dict("records")
    assert only["n"] == 2
    assert math.isnan(only["drop_pct_difference"])  # a replication without a value is not passed over


def test_differences_pair_what_other_labels_lack():
    made = table(kind=["a", "b"], rate=[math.nan] * 2, replication=[0, 0], drop_pct=[1.0, 3])
    assert differences(made, "kind", "drop_pct")["drop_pct_difference"].tolist() == [2]


def test_an_axis_is_found_without_its_unit():
    made = table(**{"arrivals.rate_gbps": [1.0, 2], "replication": [0, 0], "drop_pct": [1.0, 3]})
    assert len(differences(made, "arrivals.rate", "drop_pct", against=2)) == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("knd", "drop_pct"), r'axis: "knd" is none of kind; did you mean "kind"\?'),
        (("kind", "drops_pct"), r'quantity: "drops_pct" is none of drop_pct; did you mean "drop_pct"\?'),
        (("kind", "status"), "quantity"),
        (("kind", "drop_pct", "c"), r'against: "c" is none of a, b, the values of kind'),
    ],
)
def test_differences_of_what_is_not_there_are_refused(arguments, told):
    made = table(kind=["a", "b"], replication=[0, 0], drop_pct=[1.0, 3])
    axis, quantity, *against = arguments
    with pytest.raises(ValueError, match=told):
        differences(made, axis, quantity, against=against[0] if against else None)
