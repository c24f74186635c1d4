import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsim.scenario import Rate, Rss, Rsspp, Scenario, ScenarioError, dump_toml, load_scenario
from lbsim.study.plot import LOOKS
from lbsim.study.sweeps.labels import plain
from lbsim.study.sweeps.plan import MOST_POINTS, Sweep
from lbsim.study.sweeps.sweepfile import dump_sweep, load_sweep

BASE = load_scenario("""
duration = "1ms"
traffic = { kind = "flows" }
arrivals = { kind = "poisson", load = 0.5 }
[server]
cores = 2
cost = { work = { kind = "fixed", time = "1us" } }
""")
HEAD = f"""
name = "x"
[base]
{dump_toml(BASE).replace("[", "[base.")}
"""


def sweep(**fields: object) -> Sweep:
    return Sweep(**{"name": "x", "base": BASE, **fields})


def labels(made: Sweep) -> list[dict]:
    return [configuration.labels for configuration in made.configurations]


def problems(**fields: object) -> list[str]:
    with pytest.raises(ScenarioError) as error:
        sweep(**fields)
    return list(error.value.problems)


def file_problems(text: str) -> list[str]:
    with pytest.raises(ScenarioError) as error:
        load_sweep(text)
    return list(error.value.problems)


# --- expansion ---


def test_a_grid_is_the_product_of_its_fields_the_first_slowest():
    made = sweep(grid={"server.cores": [1, 4], "arrivals.load": [0.1, 0.2, 0.3]})
    assert labels(made) == [{"server.cores": c, "arrivals.load": x} for c in (1, 4) for x in (0.1, 0.2, 0.3)]
    assert [(s.server.cores, s.arrivals.load) for _, s in made.configurations] == [
        (c, x) for c in (1, 4) for x in (0.1, 0.2, 0.3)
    ]


def test_points_are_crossed_with_the_grid():
    made = sweep(
        points=[{"server.cores": 1}, {"server.cores": 4, "server.ring": 9}],
        grid={"arrivals.load": [0.1, 0.2]},
    )
    assert [tuple(row.values()) for row in labels(made)] == [
        (1, 4096, 0.1), (1, 4096, 0.2), (4, 9, 0.1), (4, 9, 0.2),
    ]  # fmt: skip  # the base says what a point leaves out
    assert made.count == 4


def test_no_axis_at_all_is_the_base_alone():
    made = sweep(replications=7)
    assert made.configurations == (({}, BASE),)
    assert made.count == 7


@given(st.lists(st.integers(1, 4), max_size=3), st.integers(1, 5))
def test_the_count_is_that_of_the_points(sizes: list[int], replications: int):
    fields = ["server.cores", "server.ring", "server.burst"]
    made = sweep(
        grid={f: range(1, n + 1) for f, n in zip(fields, sizes, strict=False)}, replications=replications
    )
    assert made.count == len(made.configurations) * replications == np.prod(sizes, initial=1) * replications


def test_all_configurations_share_the_seed_and_the_replication_of_the_base():
    base = BASE.model_copy(update={"seed": 5})
    made = Sweep(name="x", base=base, grid={"nic.dispatch.kind": ["rss", "rss++", "sprayer"]})
    assert {(s.seed, s.replication) for _, s in made.configurations} == {(5, 0)}


def test_python_values_of_every_kind_are_taken():
    made = sweep(
        grid={"arrivals.load": np.linspace(0.25, 0.75, 3), "server.cores": range(1, 3), "server.ring": (7,)}
    )
    assert labels(made)[0] == {"arrivals.load": 0.25, "server.cores": 1, "server.ring": 7}
    assert type(made.grid["arrivals.load"][0]) is float


def test_nested_tables_and_dotted_names_are_the_same():
    assert sweep(grid={"server": {"cores": [1, 2]}}) == sweep(grid={"server.cores": [1, 2]})
    assert sweep(points=[{"server": {"cores": 1}}]) == sweep(points=[{"server.cores": 1}])


def test_replications_may_be_set_anew():
    made = sweep(grid={"server.cores": [1, 2]}, until={"at_least": 9})
    assert made.replicated(3) == sweep(grid={"server.cores": [1, 2]}, replications=3)
    with pytest.raises(ScenarioError, match="replications: 0 is not"):
        made.replicated(0)


# --- columns and labels ---


@pytest.mark.parametrize(
    ("field", "values", "column", "numbers"),
    [
        ("arrivals.rate", ["10Gbps", Rate(2.5e9, "bps")], "arrivals.rate_gbps", [10, 2.5]),
        ("arrivals.rate", ["2Mpps"], "arrivals.rate_mpps", [2]),
        ("server.cost.per_batch", ["500ns", 4_000_000, 0], "server.cost.per_batch_us", [0.5, 4, 0]),
        ("server.cost.work.time", ["1us", "2500ns"], "server.cost.work.time_us", [1, 2.5]),
        ("duration", ["1s", "1.5ms"], "duration_s", [1, 0.0015]),
        ("warmup", ["10us"], "warmup_s", [0.00001]),
        ("measure.interval", ["10us"], "measure.interval_us", [10]),
        ("server.clock", ["3.7GHz"], "server.clock_ghz", [3.7]),
        ("server.cores", [4], "server.cores", [4]),
        ("nic.dispatch.key", ["random:1"], "nic.dispatch.key", ["random:1"]),
        ("nic.dispatch.kind", ["rss", "rss++"], "nic.dispatch.kind", ["rss", "rss++"]),
        ("traffic.frame", ["imix"], "traffic.frame", ["imix"]),
    ],
)
def test_columns_say_the_unit_of_their_numbers(field, values, column, numbers):
    made = sweep(grid={field: values})
    assert [row[column] for row in labels(made)] == numbers
    assert made.column(field) == made.column(column) == column


def test_cycles_are_no_time():
    base = load_scenario(dump_toml(BASE).replace("[server]", '[server]\nclock = "1GHz"'))
    made = Sweep(name="x", base=base, grid={"server.cost.per_packet": ["7cycles", "0cycles"]})
    assert [row["server.cost.per_packet_cycles"] for row in labels(made)] == [7, 0]


def test_tables_are_labelled_by_their_kind_or_as_one_likes():
    kinds = sweep(grid={"nic.dispatch": [Rss(), {"kind": "rss++", "tick": "1ms"}]})
    assert [row["nic.dispatch"] for row in labels(kinds)] == ["rss", "rss++"]
    named = sweep(grid={"nic.dispatch": {"slow": Rsspp(), "fast": Rsspp(tick=10**9)}})
    assert [row["nic.dispatch"] for row in labels(named)] == ["slow", "fast"]
    assert [s.nic.dispatch.tick for _, s in named.configurations] == [10**11, 10**9]
    words = sweep(grid={"server.cores": {"few": 2, "many": 8}})
    assert [row["server.cores"] for row in labels(words)] == ["few", "many"]


def test_a_table_with_labels_may_stand_without_dots():
    made = load_sweep(
        HEAD
        + """
    [grid]
    traffic = { flows = { kind = "flows" }, campus = { kind = "campus", trace = "campus" } }
    [grid.server.cost]
    light = { work = { kind = "fixed", time = "1us" } }
    heavy = { work = { kind = "fixed", time = "9us" } }
    """
    )
    assert [tuple(row.values()) for row in labels(made)] == [
        ("flows", "light"), ("flows", "heavy"), ("campus", "light"), ("campus", "heavy"),
    ]  # fmt: skip
    assert made.configurations[3].scenario.traffic.kind == "campus"


def test_a_point_may_replace_a_whole_table_or_some_fields():
    made = load_sweep(
        HEAD
        + """
    [[points]]
    "nic.dispatch" = { kind = "rss++", tick = "1ms" }
    [[points]]
    "nic.dispatch" = { mine = { kind = "rss++", tick = "2ms" } }
    [[points]]
    nic.dispatch = { kind = "rss", table = 64 }
    """
    )
    assert [row["nic.dispatch"] for row in labels(made)] == ["rss++", "mine", "rss"]
    assert [row["nic.dispatch.table"] for row in labels(made)] == [512, 512, 64]


def test_what_a_scenario_lacks_has_no_label():
    made = sweep(points=[{"arrivals.rate": "1Gbps"}, {"arrivals.load": 0.25}])
    assert labels(made) == [
        {"arrivals.rate_gbps": 1.0, "arrivals.load": None},
        {"arrivals.rate_gbps": None, "arrivals.load": 0.25},
    ]


# --- files ---


def full() -> Sweep:
    return sweep(
        grid={
            "nic.dispatch": {"RSS": Rss(), "++ \"fast\"": Rsspp(tick=10**9)},
            "arrivals.rate": ["1Gbps", Rate(2e9, "bps")],
            "duration": [10**9, "0.002s"],
        },
        points=[{"server.cores": 2}, {"server": {"cores": 3, "cost": {"per_batch": 1000}}}],
        warmup="mser5",
        until={"quantity": "drop_pct", "at_least": 3},
    )  # fmt: skip


@pytest.mark.parametrize(
    "made",
    [
        full(),
        sweep(),
        sweep(until={}),
        sweep(
            replications=4,
            grid={"server.cores": [1, 2]},
            figure={"x": "server.cores", "y": ["drop_pct"], "log": True},
        ),
        sweep(grid={"traffic": {"flows": {"kind": "flows"}, "skewed": {"kind": "flows", "popularity": 1.0}}}),
        sweep(grid={"measure.interval": [None, "10us"]}),
        sweep(points=[{"traffic": BASE.traffic}]),
    ],
)
def test_a_sweep_written_and_read_is_the_same(made: Sweep):
    again = load_sweep(dump_sweep(made) + "\n")
    assert again == made
    assert again.configurations == made.configurations
    assert dump_sweep(again) == dump_sweep(made)


def test_the_same_values_in_other_words_make_the_same_sweep():
    assert sweep(grid={"duration": ["1ms", "2000us"]}) == sweep(grid={"duration": [10**9, "0.002s"]})


def test_files_are_found_from_the_study_file(tmp_path: Path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "base.toml").write_text(dump_toml(BASE))
    (tmp_path / "sub" / "study.toml").write_text("""
    name = "x"
    base = "base.toml"
    [grid]
    [grid.server.cost.work]
    a = { kind = "table", table = "a.csv", mean = "1us" }
    b = { kind = "table", table = "zygos_bimodal1", mean = "1us" }
    [[points]]
    traffic = { kind = "capture", file = "b.pcap" }
    [[points]]
    "traffic" = { mine = { kind = "capture", file = "c.pcap" } }
    """)
    made = load_sweep(tmp_path / "sub" / "study.toml")
    assert made.base == BASE
    scenarios = [s for _, s in made.configurations]
    sub = tmp_path / "sub"
    assert [s.server.cost.work.table for s in scenarios[:2]] == [str(sub / "a.csv"), "zygos_bimodal1"]
    assert [s.traffic.file for s in scenarios[::2]] == [str(sub / "b.pcap"), str(sub / "c.pcap")]


def test_the_example_study_is_valid():
    made = load_sweep(Path(__file__).parent.parent / "examples" / "load-sweep.toml")
    assert made.count == 50
    assert made.figure is not None


def test_a_file_that_is_none_is_refused(tmp_path: Path):
    for content, told in ((b"\xff\xfe", "byte 0 is not UTF-8"), (b"name = ", "not TOML")):
        (tmp_path / "s.toml").write_bytes(content)
        with pytest.raises(ScenarioError, match=told):
            load_sweep(tmp_path / "s.toml")
    with pytest.raises(ScenarioError, match=r"nope.toml: cannot be read"):
        load_sweep(tmp_path / "nope.toml")


# --- what is refused, and how ---


def test_everything_wrong_with_a_file_is_told_at_once():
    assert file_problems("""
    replicatons = 3
    warmup = "mser"
    [base]
    duration = "1ms"
    traffic = { kind = "flows" }
    arrivals = { kind = "poisson", load = 0.5 }
    server = { cores = 0, cost = { work = { kind = "fixed", time = 5 } } }
    [grid]
    duration = [1, 2]
    server.cores = 4
    server.ring = []
    [until]
    within = 3
    """) == [
        'name: missing; write e.g. name = "load-sweep", the folder of its results',
        "base.server.cores: 0 is not a whole number from 1 to 1024; try 1",
        'base.server.cost.work.time: 5 has no unit; write text such as "190ns" or "700cycles"',
        'grid.duration: 1 has no unit; write text such as "10us" or "1.5ms"',
        'grid.duration: 2 has no unit; write text such as "10us" or "1.5ms"',
        "grid.server.cores: 4 is not a list of values; write [4]",
        "grid.server.ring: no value; write e.g. [1, 2]",
        'warmup: "mser" is none of given, mser5; did you mean "mser5"?',
        "until.within: 3 is not a finite number above 0 to 1; try 1.0",
        "replicatons: unknown field; did you mean replications?",
    ]


def test_problems_of_the_base_file_are_told_with_the_others(tmp_path: Path):
    (tmp_path / "base.toml").write_text('duration = "1ms"\n')
    (tmp_path / "study.toml").write_text('name = "a/b"\nbase = "base.toml"\n')
    with pytest.raises(ScenarioError) as error:
        load_sweep(tmp_path / "study.toml")
    assert [p.partition(" ")[0] for p in error.value.problems] == ["name:", "base:", "base:", "base:"]


@pytest.mark.parametrize("field", ["seed", "replication", "name", "measure.packets"])
def test_fields_that_cannot_vary(field: str):
    assert [p.partition(";")[0] for p in problems(grid={field: [1, 2]})] == [f"{field}: cannot vary"]


def test_the_hint_on_seeds_is_replications():
    assert "write replications = N" in problems(points=[{"seed": 1}])[0]


def test_bad_points_are_named_once_with_the_fix():
    assert problems(grid={"server.cores": [2, 0, 4096], "arrivals.load": [0.1, 0.2]}) == [
        "server.cores: 0 is not a whole number from 1 to 1024; try 1 "
        "(in the point server.cores = 0, arrivals.load = 0.1, and 1 more)",
        "server.cores: 4096 is not a whole number from 1 to 1024; try 1024 "
        "(in the point server.cores = 4096, arrivals.load = 0.1, and 1 more)",
    ]


def test_problems_that_differ_in_numbers_alone_are_told_thrice():
    told = problems(grid={"server.ring": range(-9, 1), "arrivals.load": [0.1, 0.2]})
    assert len(told) == 4
    assert told[3] == "server.ring: the like in 14 more points"


def test_unknown_fields_get_a_hint():
    (told,) = problems(grid={"server.core": [1, 2]})
    assert told.startswith("server.core: unknown field; did you mean server.cores?")
    (told,) = file_problems(HEAD + "[grid]\nnic.dispach = { A = { kind = 'rss' } }\n")
    assert told.startswith("nic.dispach: unknown field; did you mean nic.dispatch?")


def test_values_name_a_field_even_if_nothing_resembles_it():
    (told,) = file_problems(HEAD + "[grid]\nnic.zzz = [1, 2]\n")
    assert told.startswith("nic.zzz: unknown field")


def test_units_are_asked_for_inside_tables():
    text = """
    [grid.server.cost.work]
    a = { kind = "fixed", time = 5 }
    [[points]]
    nic.dispatch.tick = 7
    """
    assert file_problems(HEAD + text) == [
        'grid.server.cost.work.time: 5 has no unit; write text such as "190ns" or "700cycles"',
        'point 1: nic.dispatch.tick: 7 has no unit; write text such as "10us" or "1.5ms"',
    ]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"grid": {"server.cores": [2, 2]}}, "two points are server.cores = 2"),
        ({"grid": {"duration": ["1ms", "1000us"]}}, "two points are duration_s = 0.001"),
        ({"points": [{}, {}]}, "two points are the same"),
        ({"grid": {"arrivals.rate": ["1Gbps", "1Mpps"]}}, "arrivals.rate: values in gbps and in mpps"),
        ({"grid": {"nic.dispatch": [Rsspp(), Rsspp(tick=10**9)]}}, "tables need labels"),
        ({"grid": {"server.cost": [BASE.server.cost]}}, "tables need labels"),
        ({"grid": {"nic.dispatch.kind": "rss"}}, 'grid.nic.dispatch.kind: "rss" is not a list'),
        ({"grid": [1]}, "grid: an array is not a table"),
        ({"points": {"server.cores": 1}}, "points: not a list of tables"),
        ({"grid": {"server.cores": [1]}, "points": [{"server.cores": 1}]}, "also in points"),
        ({"grid": {"warmup": ["1us"]}, "warmup": "mser5"}, "warmup: mser5 finds it"),
        ({"replications": 3, "until": {}}, "replications: until also says how many"),
        ({"replications": 0}, "replications: 0 is not a whole number from 1 to 10000; try 1"),
        ({"until": {"at_least": 30, "at_most": 3}}, "at_most: 3 is below at_least 30"),
        ({"until": {"quantity": "latency_p9_us"}}, 'did you mean "latency_p99_us"'),
        ({"name": "points"}, "cannot be a folder"),
        ({"name": "../x"}, "cannot be a folder"),
        ({"figure": {"x": "server.cors"}, "grid": {"server.cores": [1, 2]}}, 'did you mean "server.cores"'),
        ({"figure": {"x": "server.cores", "y": "p99"}, "grid": {"server.cores": [1, 2]}}, "figure.y: "),
        (
            {"figure": {"x": "nic.dispatch.kind"}, "grid": {"nic.dispatch.kind": ["rss", "rss++"]}},
            "are no numbers",
        ),
        (
            {"figure": {"x": "server.cores"}, "grid": {"server.cores": [1, 2], "arrivals.load": [0.1, 0.2]}},
            "figure: arrivals.load varies too",
        ),
        (
            {
                "figure": {"x": "server.cores", "series": "server.ring"},
                "grid": {"server.cores": [1, 2], "server.ring": range(1, len(LOOKS) + 2)},
            },
            f"{len(LOOKS) + 1} lines, at most {len(LOOKS)}",
        ),
    ],
)
def test_what_cannot_be_is_refused(fields, told):
    assert told in "\n".join(problems(**fields))


def test_too_many_points_are_refused_with_their_number_before_any_is_made():
    told = problems(grid={"server.ring": range(1, 1001), "server.burst": range(1, 1001)})
    assert told == [f"grid: 1,000,000 points, at most {MOST_POINTS:,}; vary fewer fields or values"]


def test_plain_leaves_what_it_cannot_read():
    assert plain("duration", "soon") == "soon"
    assert plain("duration", True) is True
    assert plain("no.such.field", 3) == 3


def test_the_base_may_be_a_path(tmp_path: Path):
    (tmp_path / "base.toml").write_text(dump_toml(BASE))
    assert isinstance(sweep(base=tmp_path / "base.toml").base, Scenario)
    assert tomllib.loads(dump_sweep(sweep(base=str(tmp_path / "base.toml"))))["base"]["duration"] == "1ms"
