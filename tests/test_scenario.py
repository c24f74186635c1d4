"""Scenarios: text in, text out, and every mistake told at once in words."""

import pickle
import tomllib
from contextlib import suppress
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbsim.scenario import (
    Batch,
    Batched,
    Bimodal,
    Campus,
    CaptureFile,
    Closed,
    Cost,
    Deterministic,
    Exponential,
    Fixed,
    FlowDirector,
    Flows,
    Grow,
    Lognormal,
    Measure,
    Metron,
    Nic,
    NicLimit,
    OnOff,
    Pareto,
    PerBucket,
    Poisson,
    PolicyDispatch,
    Profile,
    QueueLimit,
    Rate,
    Recorded,
    Rss,
    Rsspp,
    RssRoundRobin,
    Scaling,
    Scenario,
    ScenarioError,
    Server,
    Shared,
    Software,
    Sprayer,
    Stalls,
    Table,
    TrafficClasses,
    Work,
    canonical,
    dump_toml,
    json_schema,
    load_scenario,
    override,
)
from lbsim.scenario.models import KINDS
from lbsim.scenario.nic import AnyDispatch
from lbsim.scenario.traffic import MOST_PORTS
from lbsim.study import is_sweep
from lbsim.units import MS, SECOND, US, parse_time

EXAMPLES = [  # the others are studies
    path
    for path in sorted(Path(__file__).parent.parent.joinpath("examples").glob("*.toml"))
    if not is_sweep(path)
]

GOOD = """
duration = "1s"
warmup = "100ms"
traffic = { kind = "flows" }
arrivals = { kind = "poisson", rate = "2Mpps" }
[nic.dispatch]
kind = "rss"
[server]
cores = 4
[server.cost]
work = { kind = "fixed", time = "1us" }
"""


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(ScenarioError) as refusal:
        load_scenario(text)
    return refusal.value.problems


def changed(*replacements: tuple[str, str]) -> str:
    text = GOOD
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    return text


# Any scenario ----------------------------------------------------------------------------------------------


def floats(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_subnormal=False)


times = st.integers(0, 100 * SECOND)
spans = st.integers(1, 10 * MS)
periods = st.integers(MS, 10 * SECOND)
works = st.builds(Work, st.integers(1, 100 * US)) | st.builds(Work, floats(1, 1e5), st.just("cycles"))
slow = st.builds(Work, st.integers(50 * US, MS))  # keeps rates within what batches can reach
rates = st.builds(Rate, floats(1, 9e6), st.just("pps")) | st.builds(Rate, floats(1e6, 1e9), st.just("bps"))
paces = st.fixed_dictionaries({"rate": rates}) | st.fixed_dictionaries({"load": floats(1e-3, 2)})
keys = st.sampled_from(["microsoft", "symmetric", "random:12", "6d5a" * 20])
hashes = st.sampled_from(["toeplitz", "byte_sum"])
tables = st.sampled_from([64, 128, 512, 4096])
batches = st.builds(
    Batch,
    base=floats(1, 256),
    timer=spans,
    cap=st.none() | floats(256, 1e6),
    law=st.sampled_from(["exponential", "geometric", "fixed"]),
    gap=st.integers(0, 82_000),
    jitter=floats(0, 1),
)
profiles = st.none() | st.builds(
    Profile,
    every=periods,
    factors=st.tuples(st.just(0.0), floats(0, 1000), floats(1e-3, 1000))
    | st.lists(floats(0.1, 2), min_size=1),
)
arrival_kinds = st.one_of(
    st.builds(lambda pace, profile: Poisson(profile=profile, **pace), paces, profiles),
    st.builds(lambda pace, profile: Deterministic(profile=profile, **pace), paces, profiles),
    st.builds(lambda pace, on, off: OnOff(on=on, off=off, law="fixed", **pace), paces, spans, spans),
    st.builds(lambda pace, batch: Batched(batch=batch, **pace), paces, batches),
    st.builds(
        lambda pace, batch: Recorded(batch=batch, **pace),
        paces | st.fixed_dictionaries({"speed": floats(1e-3, 5)}),
        st.none() | batches,
    ),
)
closed = st.builds(
    Closed,
    link=st.builds(Rate, floats(1e6, 1e12), st.just("bps")),
    window=floats(1, 100),
    spread=floats(0, 10),
    delay=spans,
)
laws = st.one_of(
    st.builds(Fixed, time=works),
    st.builds(Exponential, mean=works),
    st.builds(Lognormal, mean=works, cv=floats(1e-3, 100)),
    st.builds(Pareto, mean=works, alpha=floats(1.01, 100)),
    st.builds(Bimodal, short=works, long=works, share_long=floats(0, 1)),
    st.builds(Table, table=st.just("zygos_bimodal1"), mean=works),
)


def scalings(cores: int) -> st.SearchStrategy[Scaling | None]:
    least = st.integers(1, cores)
    return st.none() | least.flatmap(
        lambda n: st.builds(Scaling, least=st.just(n), start=st.none() | st.integers(n, cores), begin=times)
    )


def with_tables(cores: int) -> st.SearchStrategy[Rss | Rsspp | RssRoundRobin | TrafficClasses | Metron]:
    """Every dispatch whose table names the core of a flow."""
    return st.one_of(
        st.builds(
            Rss,
            table=tables,
            key=keys,
            hash=hashes,
            grow=st.none() | st.builds(Grow, start=st.integers(1, cores), every=periods),
        ),
        st.builds(Rss, table=tables, key=keys, hash=hashes, fill=st.just("random")),
        st.builds(
            lambda tick, longer, **rest: Rsspp(
                tick=tick, tick_max=None if longer is None else tick + longer, **rest
            ),
            tick=periods,
            longer=st.none() | times,
            table=tables,
            key=keys,
            hash=hashes,
            threshold=floats(0, 1),
            target_load=floats(0.01, 1),
            load=st.sampled_from(["cycles", "cpu"]),
            load_period=periods,
            queue_term=st.booleans(),
            as_published=st.booleans(),
            begin=times,
            scaling=scalings(cores),
        ),
        st.builds(RssRoundRobin, table=tables, key=keys, hash=hashes, tick=periods),
        st.builds(
            Metron,
            scope=st.sampled_from(["mac", "rules", "rss"]),
            rules=st.integers(64, 65536),
            period=periods,
            up=floats(0.5, 1),
            down=floats(0, 0.5),
            hold=times,
            memory=floats(0, 0.99),
            load=st.sampled_from(["cycles", "proc_stat"]),
            rule_latency=times,
            per_rule=times,
            scaling=scalings(cores),
        ),
        st.builds(
            lambda moves, **rest: TrafficClasses(controller=moves[0], scaling=moves[1], **rest),
            moves=st.tuples(st.just(True), scalings(cores)) | st.just((False, None)),
            rules=st.integers(64, 65536),
            deal=st.integers(0, 2**31),
            tick=periods,
            overload=floats(0.5, 1),
            underload=floats(0, 0.5),
            hold=st.none() | periods,
        ),
    )


software = st.builds(
    Software,
    queues=st.sampled_from(["shared", "round_robin", "stateful_rr", "stateful_load"]),
    capacity=st.integers(1, 2**20),
    per_batch=works,
    per_packet=works,
    hand_over=works,
    contention=works,
)
per_bucket = st.builds(
    PerBucket,
    lookup=works,
    protocol=st.sampled_from(["watch", "mark", "none"]),
    as_published=st.booleans(),
)
shared = st.builds(Shared, lookup=works, contention=works, lock=st.builds(Work, st.integers(0, 50 * US)))
traffics = st.one_of(
    st.builds(
        Flows, flows=st.integers(1, 10**7), popularity=floats(0, 5), frame=st.sampled_from([60, 1500, "imix"])
    ),
    st.builds(Flows, flows=st.integers(1, MOST_PORTS), tuples=st.just("ports")),
    st.builds(Campus, trace=st.sampled_from(["campus", "campus-4"])),
    st.builds(
        CaptureFile,
        file=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
        loops=st.none() | st.integers(1, 10**9),
        partial=st.booleans(),
        max_bytes=st.integers(1, 2**46),
    ),
)
servers = st.builds(
    Server,
    cores=st.integers(1, 64),
    ring=st.integers(1, 2**20),
    burst=st.integers(1, 1024),
    clock=floats(1e6, 1e11),
    cost=st.builds(Cost, per_batch=works, per_packet=slow, per_byte=works, work=laws),
    stalls=st.none() | st.builds(Stalls, rate=floats(1e-3, 10), length=spans),
)
titles = st.text(st.characters(exclude_categories=["C", "Zl", "Zp", "Zs"]), min_size=1, max_size=80)


measures = st.one_of(
    st.builds(
        Measure,
        interval=st.none() | periods,
        path_delay=times,
    ),
    st.builds(Measure, interval=st.integers(10 * MS, SECOND), latency=st.just(True), path_delay=times),
)


@st.composite
def served(draw: st.DrawFn) -> tuple[AnyDispatch, Server, Measure]:
    """A dispatch, the cores and the state it goes with, and what can be recorded of it."""
    server, measure = draw(servers), draw(measures)
    dispatch, states = draw(
        st.one_of(
            st.tuples(with_tables(server.cores), st.just(st.none() | per_bucket | shared)),
            st.tuples(st.just(Sprayer()), st.just(st.none() | shared)),
            st.tuples(
                st.builds(FlowDirector, entries=st.integers(1, 2**20), latency=times, table=tables, key=keys),
                st.just(st.none() | shared),
            ),
            st.tuples(software, st.just(st.none())),
            st.tuples(st.builds(PolicyDispatch, policy=st.sampled_from(["in_turn", "mine_2"])), st.none()),
        )
    )
    if states is not None:
        server = server.model_copy(update={"state": draw(states)})
        measure = measure.model_copy(update={"reordering": draw(st.booleans())})
    return dispatch, server, measure


limits = st.none() | st.builds(NicLimit, rate=rates, burst=st.integers(1, 4096))
queues = st.none() | st.builds(QueueLimit, per_packet=spans, per_byte=st.integers(0, US))


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    traffic, arrivals = draw(traffics), draw(arrival_kinds)
    dispatch, server, measure = draw(served())
    limit, queue = draw(limits), draw(queues) if not isinstance(dispatch, Software) else None
    if isinstance(traffic, Flows) and isinstance(arrivals, Recorded):
        cost = server.cost.model_copy(update={"per_batch": Work(0)})
        arrivals, dispatch, limit, queue = draw(closed), draw(with_tables(server.cores)), None, None
        traffic = Flows(flows=draw(st.integers(1, 10**4)), frame=1514)
        server = Server(cores=server.cores, ring=server.ring, burst=1, clock=server.clock, cost=cost)
        measure = measure.model_copy(update={"reordering": False})
    duration = draw(st.integers(2, 100 * SECOND))
    return Scenario(
        name=draw(titles),
        seed=draw(st.integers(0, 2**63 - 1)),
        replication=draw(st.integers(0, 10**6)),
        duration=duration,
        warmup=draw(st.integers(0, duration - 1)),
        traffic=traffic,
        arrivals=arrivals,
        nic=Nic(dispatch=dispatch, limit=limit, queue=queue),
        server=server,
        measure=measure,
    )


SCHEMA = jsonschema.Draft202012Validator(json_schema())


@given(scenarios())
@settings(max_examples=100)
def test_every_scenario_survives_its_toml(scenario):
    text = dump_toml(scenario)
    again = load_scenario(text)
    assert again == scenario
    assert dump_toml(again) == text
    assert canonical(again) == canonical(scenario)
    assert override(scenario, {}) == scenario
    assert pickle.loads(pickle.dumps(scenario)) == scenario
    SCHEMA.validate(tomllib.loads(text))


CHANGES = {
    "seed": 5,
    "warmup": 7,
    "server.ring": 3,
    "measure.path_delay": 9,
    "server.cost.per_packet": "2ms",
}


@given(scenarios(), st.dictionaries(st.sampled_from(sorted(CHANGES)), st.booleans()))
@settings(max_examples=30)
def test_canonical_text_is_the_same_only_for_equal_scenarios(scenario, chosen):
    start = scenario.model_copy(update={"duration": SECOND, "warmup": 0})
    new = override(start, {"name": "x", **{path: CHANGES[path] for path in chosen}})
    assert (canonical(new) == canonical(start)) == (new.model_copy(update={"name": start.name}) == start)


def test_what_means_the_same_has_one_canonical_text():
    other = changed(('"1s"', '"1_000ms"'), ('"2Mpps"', '"2000kpps"'), ('"1us"', '"1e3ns"'))
    assert canonical(load_scenario(other)) == canonical(load_scenario(GOOD))
    assert canonical(load_scenario(changed(("cores = 4", "cores = 5")))) != canonical(load_scenario(GOOD))


# Examples --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_load_and_fit_the_schema(path):
    scenario = load_scenario(path)
    assert load_scenario(dump_toml(scenario)) == scenario
    SCHEMA.validate(tomllib.loads(path.read_text()))
    SCHEMA.validate(tomllib.loads(dump_toml(scenario)))


def test_there_are_examples_of_ways_to_choose_a_core():
    scenarios = map(load_scenario, EXAMPLES)
    kinds = {scenario.nic.dispatch.kind for scenario in scenarios if isinstance(scenario, Scenario)}
    assert kinds == {"rss", "rss++", "sprayer", "metron", "software", "policy"}


def test_files_are_found_from_the_scenario_file(tmp_path):
    text = changed(
        ('kind = "flows"', 'kind = "capture", file = "a/b.pcap"'),
        ('kind = "fixed", time', 'kind = "table", table = "t.csv", mean'),
    )
    (tmp_path / "s.toml").write_text(text)
    scenario = load_scenario(tmp_path / "s.toml")
    assert scenario.traffic.file == str(tmp_path / "a" / "b.pcap")
    assert scenario.server.cost.work.table == str(tmp_path / "t.csv")
    (tmp_path / "s.toml").write_text(text.replace("a/b.pcap", "/x/b.pcap").replace("t.csv", "zygos_bimodal1"))
    scenario = load_scenario(str(tmp_path / "s.toml"))
    assert scenario.traffic.file == "/x/b.pcap"
    assert scenario.server.cost.work.table == "zygos_bimodal1"


def test_a_byte_order_mark_and_crlf_do_not_matter(tmp_path):
    (tmp_path / "s.toml").write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load_scenario(tmp_path / "s.toml") == load_scenario(GOOD)


def test_the_schema_refuses_what_the_loader_refuses():
    assert SCHEMA.is_valid(tomllib.loads(GOOD))
    for bad in (
        changed(("cores", "cors")),
        changed(('kind = "flows"', "")),
        changed(("cores = 4", "cores = 0")),
        changed(('"1s"', "10")),
        changed(('"1s"', '"10"')),
        changed(('"2Mpps"', '"2mpps"')),
        changed(('"1us"', '"1 us/s"')),
    ):
        assert not SCHEMA.is_valid(tomllib.loads(bad)), bad
        assert problems(bad)


def test_the_schema_writes_defaults_as_files_do():
    definitions = json_schema()["$defs"]
    assert definitions["Rsspp"]["properties"]["tick"]["default"] == "100ms"
    assert definitions["Batch"]["properties"]["gap"]["default"] == "82ns"
    assert definitions["Cost"]["properties"]["per_batch"]["default"] == "0ps"
    assert definitions["Server"]["properties"]["ring"]["description"].startswith("Packets that wait")


# Refusals --------------------------------------------------------------------------------------------------

REFUSALS = [  # what is said, and what was changed in GOOD to deserve it
    # unknown and missing fields
    ("server.cors: unknown field; did you mean server.cores?", ("cores", "cors")),
    ("srv: unknown field; did you mean server?", ("warmup", "srv = 3\nwarmup")),
    ("server.table: unknown field; did you mean nic.dispatch.table?", ("cores", "table")),
    ("server.seed: unknown field; did you mean seed?", ("cores", "seed")),
    (
        "nic.dispatch.tick: unknown field of kind rss; it belongs to kind rss++ or rssrr or classes",
        ('"rss"', '"rss"\ntick = 1'),
    ),
    ("server.xyzzy: unknown field; known here: cores, ring, burst", ("cores", "xyzzy")),
    ("traffic: missing; write a table with kind = one of flows", ('traffic = { kind = "flows" }', "")),
    ("server.cost: missing; write a table with work", ("[server.cost]", "[nic]"), ("work =", "#")),
    ("server.cost.work.time: missing; write text such as", (', time = "1us"', "")),
    ("traffic: 3 is not a table; write a table with kind = one of", ('{ kind = "flows" }', "3")),
    # kinds and choices
    (
        'nic.dispatch: kind "rsss" is none of rss, rss++, rssrr, sprayer, classes, metron, flow_director, '
        'software, policy; did you mean "rss"?',
        ('"rss"', '"rsss"'),
    ),
    ("traffic: kind is missing; write kind = one of flows, campus, capture", ('kind = "flows"', "flows = 3")),
    ('traffic: kind "poisson" is none of flows, campus, capture', ('"flows"', '"poisson"')),
    (
        'traffic.trace: "campus4" is none of campus, campus-4, campus-8; did you mean "campus',
        ('"flows"', '"campus", trace = "campus4"'),
    ),
    ('grain: "flow" is none of packet', ("warmup", 'grain = "flow"\nwarmup')),
    (
        'traffic.frame: "imax" is neither bytes from 60 to 9216 nor one of imix, campus, campus-4; did you',
        ('"flows"', '"flows", frame = "imax"'),
    ),
    ("traffic.frame: 59 is neither bytes from 60 to 9216", ('"flows"', '"flows", frame = 59')),
    ("traffic.frame: true is neither bytes from 60", ('"flows"', '"flows", frame = true')),
    # numbers
    ("server.cores: 0 is not a whole number from 1 to 1024; try 1", ("= 4", "= 0")),
    ("server.cores: 1025 is not a whole number from 1 to 1024; try 1024", ("= 4", "= 1025")),
    ("server.cores: 1000000", ("= 4", f"= {10**90}")),
    ("server.ring: -1 is not a whole number from 1 to 1048576; try 1", ("cores = 4", "ring = -1")),
    ("server.cores: true is not a whole number from 1 to 1024; try 8", ("= 4", "= true")),
    ("server.cores: 4.0 is not a whole number", ("= 4", "= 4.0")),
    ('server.cores: "4" is not a whole number', ("= 4", '= "4"')),
    ("server.cores: 2019-12-09 is not a whole number", ("= 4", "= 2019-12-09")),
    ("arrivals.load: nan is not a finite number above 0 to 100; try 0.8", ('rate = "2Mpps"', "load = nan")),
    ("arrivals.load: 0 is not a finite number above 0 to 100; try 0.8", ('rate = "2Mpps"', "load = 0")),
    ("arrivals.load: -1 is not a finite number", ('rate = "2Mpps"', "load = -1")),
    (
        "traffic.popularity: inf is not a finite number from 0 to 5; try 0.0",
        ('"flows"', '"flows", popularity = inf'),
    ),
    (
        f"seed: {2**63} is not a whole number from 0 to {2**63 - 1}; try",
        ("warmup", f"seed = {2**63}\nwarmup"),
    ),
    (
        "traffic.partial: 1 is not true or false; try false",
        ('"flows"', '"capture", file = "x", partial = 1'),
    ),
    (
        'traffic.loops: "ever" is neither a number of times from 1 nor "forever"',
        ('"flows"', '"capture", file = "x", loops = "ever"'),
    ),
    ('name: 123 is not text of 1 to 80 characters; try "123"', ("warmup", "name = 123\nwarmup")),
    ('name: "xxxxx', ("warmup", f'name = "{"x" * 81}"\nwarmup')),
    ('name: "a\\nb" has a line break or control character; write one', ("warmup", 'name = "a\\nb"\nwarmup')),
    # quantities
    ('duration: 10 has no unit; write text such as "10us"', ('"1s"', "10")),
    ("duration: '10' is not a time: write a number and one of ps, ns, us", ('"1s"', '"10"')),
    ("duration: true is not a quantity; write text such as", ('"1s"', "true")),
    ("duration: 0 is too short; write a time above 0", ('"1s"', '"0s"')),
    ("duration: '60d' is not a time", ('"1s"', '"60d"')),
    ("warmup: '-1s' is out of range: a time is between 0 and 53 days", ('"100ms"', '"-1s"')),
    ("arrivals.rate: '2 fast' is not a rate: write a number and one of pps, kpps", ('"2Mpps"', '"2 fast"')),
    ('arrivals.rate: 2000000.0 has no unit; write text such as "8Mpps"', ('"2Mpps"', "2e6")),
    ("arrivals.rate: '1e9Gpps' is out of range: a rate is above 0 and at most", ('"2Mpps"', '"1e9Gpps"')),
    ("server.cost.work.time: 1000 has no unit; write text such as", ('"1us"', "1000")),
    ("server.cost.work.time: '-1us' is out of range", ('"1us"', '"-1us"')),
    ("server.cost.work.time: '1e13cycles' is out of range: 0 to 10000", ('"1us"', '"1e13cycles"')),
    ("server.cost.work.mean: 0 is too short", ('"fixed", time = "1us"', '"exponential", mean = 0')),
    ('server.clock: 3.7 has no unit; write text such as "3.7GHz"', ("cores = 4", "clock = 3.7")),
    ("server.clock: '3Hz' is out of range: a clock is between 1 MHz", ("cores = 4", 'clock = "3Hz"')),
    # the NIC
    (
        "nic.dispatch.table: 500 is not a power of two from 1 to 4096; try 256",
        ('"rss"', '"rss"\ntable = 500'),
    ),
    ("nic.dispatch.table: 8192 is not a whole number from 1 to 4096", ('"rss"', '"rss"\ntable = 8192')),
    ("nic.dispatch.key: hash key 'mikro' is unknown", ('"rss"', '"rss"\nkey = "mikro"')),
    ("nic.dispatch.key: hash key", ('"rss"', f'"rss"\nkey = "{"6d5a" * 19}"')),
    ("nic.dispatch.tick: 999ns is too short; write", ('"rss"', '"rss++"\ntick = "999ns"')),
    ("nic.dispatch.tick_max: 1ms is below tick 100ms; raise", ('"rss"', '"rss++"\ntick_max = "1ms"')),
    ('nic.dispatch.policy: "a-b" is not a name', ('"rss"', '"policy"\npolicy = "a-b"')),
    # contradictions
    (
        "server.cores: 4 cores share the 2 entries of nic.dispatch.table; lower it or raise",
        ('"rss"', '"rss"\ntable = 2'),
    ),
    ("server.cores: 257 cores share the 256 values", ('"rss"', '"sprayer"'), ("= 4", "= 257")),
    ("warmup: 1s is not below duration 1s; shorten it", ('"100ms"', '"1s"')),
    ("duration: missing, and this traffic has no end; write e.g.", ('duration = "1s"', "")),
    (
        "duration: missing, and this traffic has no end",
        ('duration = "1s"', ""),
        ('"flows"', '"capture", file = "x", loops = "forever"'),
    ),
    (
        'arrivals: rate = "2Mpps" and load = 0.5 given; write exactly one of rate, load',
        ('"2Mpps"', '"2Mpps", load = 0.5'),
    ),
    ("arrivals: none of them given; write exactly one of rate, load", (', rate = "2Mpps"', "")),
    (
        'arrivals: speed = 2.0 and rate = "2Mpps" given; write exactly one of speed, rate, load',
        ('"flows"', '"campus", trace = "campus"'),
        ('"poisson"', '"recorded", speed = 2'),
    ),
    ("arrivals.kind: recorded, but traffic of kind flows has no clock", ('"poisson"', '"recorded"')),
    (
        'server.cost.work.time: 700cycles need a clock; set server.clock, e.g. "3.7GHz"',
        ('"1us"', '"700cycles"'),
    ),
    ("server.cost.per_batch: 7cycles need a clock", ("work", 'per_batch = "7cycles"\nwork')),
    (
        "arrivals.batch.cap: 4 is below base 8; raise cap or lower base",
        ('"poisson"', '"batched", batch = { base = 8, cap = 4 }'),
    ),
    (
        "arrivals.batch.jitter: 1.5 is not a finite number from 0 to 1; try 1",
        ('"poisson"', '"batched", batch = { jitter = 1.5 }'),
    ),
    (
        "arrivals.batch.gap: packets 1us apart are at most 1e+06 a second, but 2e+06 are asked for; write",
        ('"poisson"', '"batched", batch = { gap = "1us" }'),
    ),
    (
        "server.stalls.length: 4 stalls a second of 250ms leave no time to work; shorten them to below 250ms",
        ("cores = 4", 'stalls = { rate = 4, length = "250ms" }'),
    ),
    (
        "arrivals.load: packets that cost nothing make no load",
        ('rate = "2Mpps"', "load = 0.5"),
        ('"1us"', '"0us"'),
    ),
    (
        "duration: about 1.2e+13 packets, at most 1e13; shorten it or lower the rate",
        ('"2Mpps"', '"10Gpps"'),
        ('"1s"', '"20min"'),
    ),
    (
        "duration: about 4.6e+13 packets",
        ('rate = "2Mpps"', "speed = 1e4"),
        ('"poisson"', '"recorded"'),
        ('"flows"', '"campus", trace = "campus-4"'),
        ('"1s"', '"38min"'),
    ),
    (
        "measure.interval: 1us is 1.0e+07 samples, at most 1e+06; write 10us or more",
        ("[server]", '[measure]\ninterval = "1us"\n[server]'),
        ('"1s"', '"10s"'),
    ),
    (
        "measure.packets: true keeps about 1.2e+09 rows",
        ("[server]", "[measure]\npackets = true\n[server]"),
        ('"1s"', '"10min"'),
    ),
    # not TOML
    ("scenario: not TOML: Invalid value (at line 9, column 9); mend that line", ("= 4", "= = 4")),
    ("scenario: not TOML: Cannot overwrite a value (at line 10, column 10)", ("= 4", "= 4\ncores = 5")),
    ("scenario: nested too deep, or a number too long", ("= 4", "= " + "[" * 10_000)),
    ("scenario: nested too deep, or a number too long", ("= 4", "= 0x" + "f" * 10_000)),
]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case[0][:40])
def test_refusals_say_where_what_and_how_to_mend(case):
    said, *replacements = case
    (problem,) = problems(changed(*replacements))
    assert problem.startswith(said)
    assert len(problem) < 250
    for jargon in ("pydantic", "http", "type=", "Input should", "Value error", "input_value", "Traceback"):
        assert jargon not in problem


def test_all_problems_are_told_at_once_in_the_order_of_the_file():
    text = changed(
        ('"100ms"', '"2s"'),
        ('"flows"', '"flows", flow = 3, popularity = -1'),
        ('"2Mpps"', '"2Mpps", load = 0.5'),
        ('"rss"', '"rss"\ntable = 3\nkey = ""'),
        ("cores = 4", "cores = 0\nburst = 2000\nclok = 3"),
        ('time = "1us"', 'time = "1 year"'),
    )
    assert [line.partition(":")[0] for line in problems("x = 1\n" + text)] == [
        "warmup",
        "traffic.popularity",
        "traffic.flow",
        "arrivals",
        "nic.dispatch.table",
        "nic.dispatch.key",
        "server.cores",
        "server.burst",
        "server.cost.work.time",
        "server.clok",
        "x",
    ]
    with pytest.raises(ScenarioError) as refusal:
        load_scenario(text)
    assert str(refusal.value) == "\n".join(refusal.value.problems)
    assert pickle.loads(pickle.dumps(refusal.value)).problems == refusal.value.problems


def test_python_is_told_the_same():
    with pytest.raises(ScenarioError) as refusal:
        Server(cores=0, cost=Cost(work=Fixed(time=Work.parse("7cycles"))))
    assert refusal.value.problems == ("cores: 0 is not a whole number from 1 to 1024; try 1",)
    with pytest.raises(ScenarioError, match="arrivals: none of them given"):
        Poisson()
    cycles = Work.parse("7cycles")
    with pytest.raises(ScenarioError) as refusal:
        Server(cost=Cost(per_batch=cycles, work=Fixed(time=cycles)))
    assert [line.partition(":")[0] for line in refusal.value.problems] == [
        "server.cost.per_batch",
        "server.cost.work.time",
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read (No such file or directory); check the path"),
        (b"x = 1\n# \xff", "byte 8 is not UTF-8; save it as UTF-8 text"),
        (b"#" * 1_000_001, "more than 1 MB"),
        (b"\x00", "not TOML: "),
        (b"", "traffic: missing; write a table"),
    ],
)
def test_unreadable_files_are_refused(tmp_path, content, said):
    path = tmp_path / "s.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ScenarioError) as refusal:
        load_scenario(path)
    assert said in refusal.value.problems[0]


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=3)
)
@settings(max_examples=30)
def test_any_value_is_taken_or_refused(junk):
    base = load_scenario(GOOD)
    for path in ("duration", "traffic", "traffic.kind", "traffic.frame", "arrivals.rate", "nic.dispatch.key"):
        with suppress(ScenarioError):  # and nothing else
            override(base, {path: junk, "server.clock": junk, "measure": {"interval": junk}})


# Overrides -------------------------------------------------------------------------------------------------


def test_overrides_reach_any_field():
    base = load_scenario(GOOD)
    new = override(
        base,
        {
            "duration": 3 * SECOND,
            "server.cores": "6",
            "traffic.frame": "imix",
            "traffic.popularity": "1",
            "server.cost.per_batch": "4us",
            "server.stalls.rate": 0.5,
            "server.stalls.length": "1ms",
            "measure": Measure(packets=True),
            "name": "a 'quoted' name",
        },
    )
    assert (new.duration, new.server.cores) == (3 * SECOND, 6)
    assert (new.traffic.frame, new.traffic.popularity, new.name) == ("imix", 1.0, "a 'quoted' name")
    assert new.server.cost.per_batch == Work(4 * US)
    assert new.server.stalls == Stalls(rate=0.5, length=MS)
    assert new.measure.packets
    assert base == load_scenario(GOOD)  # untouched


def test_a_new_kind_keeps_what_it_shares():
    base = override(load_scenario(GOOD), {"nic.dispatch.table": 256, "nic.dispatch.key": "random:3"})
    rsspp = override(base, {"nic.dispatch.tick": "5ms", "nic.dispatch.kind": "rss++"})
    assert rsspp.nic.dispatch == Rsspp(table=256, key="random:3", tick=5 * MS)
    assert override(rsspp, {"nic.dispatch.kind": "rss"}) == base
    assert override(rsspp, {"nic.dispatch.kind": "sprayer"}).nic.dispatch == Sprayer()
    assert override(base, {"arrivals.kind": "batched"}).arrivals == Batched(rate=Rate(2e6, "pps"))
    whole = override(base, {"server.cost.work": '{ kind = "exponential", mean = "2us" }'})
    assert whole.server.cost.work == Exponential(mean=Work.parse("2us"))


def test_a_new_pace_replaces_the_old_one():
    base = load_scenario(GOOD)
    assert override(base, {"arrivals.load": "0.7"}).arrivals == Poisson(load=0.7)
    with pytest.raises(ScenarioError, match="exactly one of rate, load"):
        override(base, {"arrivals.load": "0.7", "arrivals.rate": "1Mpps"})


def test_whole_tables_are_set_before_their_fields():
    traffic = {"kind": "campus", "trace": "campus"}
    changes = {"traffic.kind": "flows", "traffic.flows": np.int64(7), "traffic": traffic}
    assert override(load_scenario(GOOD), changes).traffic == Flows(flows=7)
    assert traffic == {"kind": "campus", "trace": "campus"}  # untouched


def test_nothing_puts_a_field_back_to_its_default():
    base = load_scenario(GOOD)
    assert override(base, {"server.cores": None, "warmup": ""}) == override(
        base, {"server.cores": 8, "warmup": "0s"}
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"server.cores": "0"}, "server.cores: 0 is not a whole number from 1 to 1024; try 1"),
        ({"server.cors": 4}, "server.cors: unknown field; did you mean server.cores?"),
        ({"sever.cores": 4}, "sever: unknown field; did you mean server?"),
        ({"server.cores.x": 4}, "server.cores.x: unknown field; server.cores is 4, not a table"),
        ({"nic.dispatch.kind": "rs"}, 'nic.dispatch: kind "rs" is none of rss, rss++, rssrr, sprayer'),
        ({"warmup": "2s"}, "warmup: 2s is not below duration 1s; shorten it"),
        ({"duration": "10"}, "duration: 10 has no unit"),
        ({"server.stalls.rate": "1"}, "server.stalls.length: missing"),
        ({"nic.dispatch.kind": "policy"}, "nic.dispatch.policy: missing"),
    ],
)
def test_overrides_are_checked_like_files(changes, said):
    with pytest.raises(ScenarioError) as refusal:
        override(load_scenario(GOOD), changes)
    assert refusal.value.problems[0].startswith(said)


# Meaning ---------------------------------------------------------------------------------------------------


def test_service_and_capacity_follow_the_costs():
    server = Server(
        cores=4,
        burst=32,
        clock=2e9,
        cost=Cost(
            per_batch=Work.parse("3.2us"),
            per_packet=Work.parse("200cycles"),
            per_byte=Work.parse("0.5ns"),
            work=Bimodal(short=Work.parse("100ns"), long=Work.parse("1100ns"), share_long=0.1),
        ),
        state=Shared(lookup=Work.parse("80cycles"), contention=US),
    )
    # 3.2us / 32, (200 + 80) / 2 GHz, 100 + 0.1 x 1000 ns, 0.5 ns a byte; contention is no work of its own
    assert (server.fixed_ps, server.per_byte_ps) == (140_000, 500)
    assert server.mean_service(0) == 100_000 + 140_000 + 200_000
    assert server.mean_service(320) == 100_000 + 140_000 + 200_000 + 160_000
    assert server.capacity(320) == 4 / 600e-9


@pytest.mark.parametrize(
    "law",
    [
        Fixed(time=Work(500)),
        Exponential(mean=Work(500)),
        Lognormal(mean=Work(500), cv=2.0),
        Pareto(mean=Work(500), alpha=1.5),
        Table(table="imix", mean=Work(500)),
        Bimodal(short=Work(500), long=Work(500), share_long=0.3),
    ],
)
def test_laws_know_their_mean(law):
    assert law.mean_ps(None) == 500
    assert KINDS[law.kind] is type(law)


def test_rates_count_bits_on_the_wire():
    assert Rate.parse("100Gbps").pps(60) == 100e9 / 672
    assert Rate.parse("8Mpps").pps(60) == 8e6


def test_cycles_last_as_the_clock_says():
    assert Work.parse("700cycles").ps(3.5e9) == 200_000
    assert Work.parse("1.5ns").ps(None) == 1500
    with pytest.raises(ValueError, match="700cycles need a clock"):
        Work.parse("700cycles").ps(None)


@given(works)
def test_work_survives_its_text(work):
    assert Work.parse(str(work)) == work


def test_expected_packets_are_rate_times_time():
    scenario = load_scenario(GOOD)
    assert scenario.expected_packets() == 2e6
    assert override(scenario, {"arrivals.load": 0.5}).expected_packets() == 2e6  # 4 cores x 1 Mpps / 2
    profile = {"every": 250 * MS, "factors": [0, 3, 1]}
    assert override(scenario, {"arrivals.profile": profile}).expected_packets() == 2e6 * (0 + 3 + 1 + 1) / 4
    of_bytes = override(scenario, {"arrivals.load": 0.5, "server.cost.per_byte": "1ns"})
    assert of_bytes.expected_packets() == 1e6  # frames of 1000 B take 1 us more
    capture = override(
        scenario,
        {"traffic": {"kind": "capture", "file": "x"}, "arrivals": {"kind": "recorded", "speed": 1.0}},
    )
    assert capture.expected_packets() is None


def test_a_capture_may_end_a_scenario():
    text = changed(('duration = "1s"', ""), ('"flows"', '"capture", file = "x"'), ('"poisson"', '"recorded"'))
    assert load_scenario(text).duration is None


@given(
    st.lists(floats(0, 100), min_size=1, max_size=6).filter(lambda factors: factors[-1] > 0),
    st.integers(1, 50),
)
def test_the_mean_of_a_profile_is_that_of_every_microsecond(factors, until):
    profile = Profile(every=7 * US, factors=factors)
    held = [factors[min(k // 7, len(factors) - 1)] for k in range(until)]
    assert profile.mean(until * US) == pytest.approx(sum(held) / until, abs=1e-9)


def test_scenarios_are_frozen_and_hashable():
    scenario = load_scenario(GOOD)
    assert hash(scenario) == hash(load_scenario(GOOD))
    with pytest.raises(ValueError, match="frozen"):
        scenario.seed = 2
    assert parse_time("1s") == scenario.duration
