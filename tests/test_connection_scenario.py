"""Scenarios of connections: text in, text out, and every mistake told at once in words."""

import json
import math
import pickle
import random
import tomllib
from pathlib import Path

import jsonschema
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import Field

from lbsim.balancer.cheetah.cookie import CARRIERS, cookie_bits
from lbsim.scenario import (
    Adapt,
    AnyScenario,
    Balancer,
    Bimodal,
    Change,
    ConnectionMeasure,
    ConnectionScenario,
    ConnTable,
    Cookie,
    DaisyChain,
    Exponential,
    Fixed,
    Flaps,
    FlowTable,
    Jet,
    Lognormal,
    Open,
    Rehash,
    Scenario,
    ScenarioError,
    Schedule,
    Servers,
    SilkRoad,
    Table,
    Updates,
    Urls,
    Work,
    canonical,
    connections,
    dump_toml,
    json_schema,
    load_scenario,
    models,
    override,
    requests,
)
from lbsim.scenario.clients import LONGEST
from lbsim.scenario.consistency import COOKIE_VALUES
from lbsim.scenario.part import Part
from lbsim.scenario.toml import KINDS
from lbsim.units import MS, SECOND, US
from lbsim.workload import laws as workload_laws

EXAMPLE = Path(__file__).parent.parent / "examples" / "connections.toml"

GOOD = """
grain = "connection"
duration = "60s"
warmup = "10s"
[clients]
kind = "open"
concurrent = 100.0
length = { kind = "fixed", time = "2s" }
[balancer]
policy = "maglev"
consistency = { kind = "rehash" }
[servers]
configured = 12
active = 8
[churn]
kind = "schedule"
changes = [{ at = "20s", do = "add" }, { at = "30s", do = "drain", servers = 2 }]
[measure]
interval = "1s"
"""

URLS = """
grain = "connection"
duration = "60s"
clients = { kind = "urls" }
balancer = { policy = "beamer", consistency = { kind = "cookie", buckets = 256 } }
servers = { configured = 32, active = 24 }
churn = { kind = "updates", per_minute = 4, down = { kind = "exponential", mean = "1s" } }
"""


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(ScenarioError) as refusal:
        load_scenario(text)
    return refusal.value.problems


def changed(text: str, *replacements: tuple[str, str]) -> str:
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    return text


# Any scenario ----------------------------------------------------------------------------------------------


def floats(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_subnormal=False)


times = st.integers(0, 1000 * SECOND)
works = st.integers(1, 1000 * SECOND).map(Work)
laws = st.one_of(
    st.builds(Fixed, time=works),
    st.builds(Exponential, mean=works),
    st.builds(Lognormal, mean=works, cv=floats(1e-3, 100)),
    st.builds(Bimodal, short=works, long=works, share_long=floats(0, 1)),
    st.builds(Table, table=st.just("cheetah_hadoop_conn_duration_s"), mean=works),
)
hashes = st.sampled_from(["ideal", "toeplitz", "crc32c", "click"])
addresses = st.integers(1, 2**32)
opens = st.one_of(
    *(
        st.builds(
            Open,
            length=lengths,
            gap=times,
            retry=st.none() | times,
            notice=times,
            hash=hashes,
            addresses=addresses,
            **{pace: floats(1e-3, most)},
        )
        for pace, lengths, most in (("concurrent", laws, 1e6), ("per_second", laws, 1e4))
    )
)
url_clients = st.builds(
    lambda low, more, start, longer, urls, levels, **rest: Urls(
        low=low,
        high=low + more,
        start=start,
        stop=start + longer,
        urls=urls,
        levels=min(levels, urls),
        **rest,
    ),
    processes=st.integers(1, 9),
    urls=st.integers(1, 10_000),
    low=floats(1, 1e4),
    more=floats(0, 1e4),
    start=times,
    longer=st.integers(1, SECOND),
    overhead=times,
    lengths=st.sampled_from(["cheetah_hadoop_conn_duration_s", "imix"]),
    levels=st.integers(1, 50),
    segment=st.integers(1, 10**6),
    again=st.booleans(),
    notice=times,
    hash=hashes,
    addresses=addresses,
)
capacities = st.integers(1, 2**31)
consistencies = st.one_of(
    st.builds(Rehash),
    st.builds(Cookie, carrier=st.sampled_from(["msb", "lsb", "quic"]), hidden=st.booleans()),
    st.builds(Cookie, buckets=st.integers(100, 32_768)),
    st.builds(
        ConnTable,
        capacity=capacities,
        variant=st.sampled_from(["cheetah", "fastclick", "bmv2"]),
        block=st.sampled_from([2, 64, 32_768]),
    ),
    st.builds(FlowTable, capacity=capacities),
    st.builds(DaisyChain),
    st.builds(Jet),
    st.builds(SilkRoad, cells=capacities, delay=times),
)
adapts = st.builds(
    lambda least, more, **rest: Adapt(least=least, most=least + more, **rest),
    period=st.integers(US, SECOND),
    gain=floats(0.1, 100),
    alpha=floats(0, 1),
    least=st.integers(1, 50),
    more=st.integers(0, 50),
    as_published=st.booleans(),
)
balancers = st.builds(
    Balancer,
    policy=st.sampled_from(["maglev", "mine_2"]),
    slots=st.none() | st.integers(100, 10**6),
    choices=st.integers(1, 2),
    consistency=consistencies,
    adapt=st.none() | adapts,
)
places = st.sampled_from(["random", "end"])
leaves = st.sampled_from(["drain", "remove", "crash"])
slow = st.integers(SECOND, 1000 * SECOND).map(lambda ps: Fixed(time=Work(ps)))
detections = st.just(0) | st.integers(0, 10 * SECOND)


steps = st.integers(0, 2).map(lambda seconds: seconds * SECOND)  # so that changes and detections meet


@st.composite
def schedules(draw: st.DrawFn, named: bool = True) -> Schedule:
    """Any order of changes; whether they can be done depends on the servers."""
    changes, at = [], 0
    for do in draw(st.lists(st.sampled_from(["add", "drain", "remove", "crash", "crash"]), max_size=8)):
        at += draw(steps)
        server = draw(st.none() | st.integers(0, 3)) if named else None
        changes.append(
            Change(
                at=at,
                do=do,
                servers=draw(st.integers(1, 2)) if server is None else 1,
                server=server,
                pick=draw(st.sampled_from(["random", "oldest"])),
                place=draw(places),
                detect=draw(steps) * 2 if do == "crash" else 0,
            )
        )
    return Schedule(changes=tuple(changes))


@st.composite
def churns(draw: st.DrawFn) -> Schedule | Updates | Flaps | None:
    kind = draw(st.sampled_from(["none", "schedule", "updates", "flaps"]))
    if kind == "none":
        return None
    if kind == "schedule":
        return draw(schedules())
    do = draw(leaves)
    rest = {"do": do, "place": draw(places), "detect": draw(detections) if do == "crash" else 0}
    if kind == "updates":
        return Updates(per_minute=draw(floats(1e-3, 1000)), down=draw(laws), **rest)
    return Flaps(servers=draw(st.integers(1, 3)), up=draw(slow), down=draw(slow), **rest)


@st.composite
def scenarios(draw: st.DrawFn) -> ConnectionScenario:
    configured = draw(st.integers(4, 100))
    duration = draw(st.integers(2, 100 * SECOND))
    try:
        return ConnectionScenario(
            name=draw(st.sampled_from(["a", "an 'odd' \"name\" µ"])),
            seed=draw(st.integers(0, 2**63 - 1)),
            replication=draw(st.integers(0, 10**6)),
            duration=duration,
            warmup=draw(st.integers(0, duration - 1)),
            clients=draw(opens | url_clients),
            balancer=draw(balancers),
            servers=Servers(
                configured=configured,
                active=draw(st.none() | st.integers(4, configured)),
                weights=draw(st.lists(floats(0.5, 10), min_size=1, max_size=4).map(tuple)),
            ),
            churn=draw(churns()),
            measure=ConnectionMeasure(interval=draw(st.none() | st.integers(MS, SECOND))),
        )
    except ScenarioError as error:  # a schedule that these servers cannot follow, or too many connections
        expected = ("churn.changes", "duration: about", "clients: about")
        assume(not all(line.startswith(expected) for line in error.problems))
        raise


@given(scenarios())
@settings(max_examples=150)
def test_every_scenario_survives_its_toml(scenario):
    text = dump_toml(scenario)
    again = load_scenario(text)
    assert type(again) is ConnectionScenario
    assert again == scenario
    assert hash(again) == hash(scenario)
    assert dump_toml(again) == text
    assert canonical(again) == canonical(scenario)
    assert override(scenario, {}) == scenario
    assert pickle.loads(pickle.dumps(scenario)) == scenario
    SCHEMA.validate(tomllib.loads(text))


@given(scenarios(), st.sampled_from(["seed", "replication", "warmup", "duration", "balancer.policy", "name"]))
@settings(max_examples=30)
def test_canonical_text_ignores_the_name_alone(scenario, path):
    start = scenario.model_copy(
        update={"warmup": 0, "duration": 100 * SECOND, "clients": Urls(), "churn": None}
    )
    new = override(start, {path: {"balancer.policy": "other", "name": "x"}.get(path, 50)})
    assert new != start
    assert (canonical(new) == canonical(start)) == (path == "name")


SCHEMA = jsonschema.Draft202012Validator(json_schema())


# Files -----------------------------------------------------------------------------------------------------


def test_the_grain_chooses_what_is_read():
    assert isinstance(load_scenario(GOOD), ConnectionScenario)
    packet = load_scenario(EXAMPLE.with_name("rss.toml"))
    assert isinstance(packet, Scenario)
    assert isinstance(load_scenario(dump_toml(packet)), Scenario)
    assert "grain" in canonical(packet)


def test_an_unknown_grain_is_read_as_the_nearest():
    text = changed(GOOD, ('"connection"', '"conection"'), ("configured = 12", "configured = 0"))
    assert problems(text) == (
        'grain: "conection" is none of packet, connection, request; did you mean "connection"?',
        "servers.configured: 0 is not a whole number from 1 to 1000000; try 1",
    )
    for wrong, shown in (("3", "3"), ("[]", "an array"), ("{}", "a table")):
        first = problems(changed(GOOD, ('"connection"', wrong)))[0]
        assert first == f"grain: {shown} is none of packet, connection, request"


def test_the_example_is_what_it_says():
    scenario = load_scenario(EXAMPLE)
    assert load_scenario(dump_toml(scenario)) == scenario
    assert (scenario.servers.configured, scenario.expected_live()) == (468, pytest.approx(70_000))
    SCHEMA.validate(tomllib.loads(EXAMPLE.read_text()))


@pytest.mark.parametrize("text", [GOOD, URLS], ids=["open", "urls"])
def test_the_schema_takes_good_files(text):
    load_scenario(text)
    SCHEMA.validate(tomllib.loads(text))


def test_the_schema_refuses_what_the_loader_refuses():
    for pair in (
        ("configured", "cors"),
        ('kind = "open"', ""),
        ("configured = 12", "configured = 0"),
        ('"60s"', "60"),
        ('do = "add"', 'do = "ad"'),
        ('at = "20s", ', ""),
        ('"connection"', '"packet"'),
        ('"connection"', '"other"'),
        ("active = 8", "weights = [-1]"),
    ):
        bad = changed(GOOD, pair)
        assert not SCHEMA.is_valid(tomllib.loads(bad)), pair
        assert problems(bad)


def test_the_schema_describes_every_grain():
    schema = json_schema()
    assert {"server", "servers", "traffic", "clients"} <= set(schema["properties"])
    assert schema["properties"]["grain"]["enum"] == ["packet", "connection", "request"]
    assert schema["$defs"]["Adapt"]["properties"]["period"]["default"] == "5ms"
    assert schema["$defs"]["Urls"]["required"] == ["kind"]
    json.dumps(schema)


def test_tables_are_found_from_the_scenario_file(tmp_path):
    text = changed(URLS, ('kind = "urls"', 'kind = "urls", lengths = "a/l.csv", sizes = "s.csv"'))
    (tmp_path / "s.toml").write_text(text)
    clients = load_scenario(tmp_path / "s.toml").clients
    assert (clients.lengths, clients.sizes) == (str(tmp_path / "a" / "l.csv"), str(tmp_path / "s.csv"))


# Refusals --------------------------------------------------------------------------------------------------

LENGTH = '{ kind = "fixed", time = "2s" }'
CHANGES = '[{ at = "20s", do = "add" }, { at = "30s", do = "drain", servers = 2 }]'
SCHEDULE = f'kind = "schedule"\nchanges = {CHANGES}'
KEPT = '{ kind = "rehash" }'

REFUSALS = [  # what is said, and what was changed in GOOD to deserve it
    # the whole
    ("duration: missing; write text such as", ('duration = "60s"\nwarmup = "10s"', "")),
    ("warmup: 60s is not below duration 60s; shorten it", ('"10s"', '"60s"')),
    ("measure.interval: 1us is 6.0e+07 samples, at most 1e+06; write 60us or more", ('"1s"', '"1us"')),
    ("server: unknown field; did you mean churn.changes.0.server?", ("warmup", "server = 3\nwarmup")),
    # clients
    ('clients: kind "opn" is none of open, urls; did you mean "open"?', ('"open"', '"opn"')),
    (
        "clients: concurrent = 100.0 and per_second = 3.0 given; write exactly one of concurrent, per_second",
        ("concurrent = 100.0", "concurrent = 100.0\nper_second = 3.0"),
    ),
    (
        "clients: neither given; write exactly one of concurrent, per_second",
        ("concurrent = 100.0", ""),
    ),
    ("clients.concurrent: 0 is not a finite number above 0; try 70000.0", ("100.0", "0")),
    (
        "clients.per_second: inf is not a finite number above 0; try",
        ("concurrent = 100.0", "per_second = inf"),
    ),
    ("clients.concurrent: connections that last 0 are never under way, so 100 cannot", ('"2s"', '"0s"')),
    ("clients.length: missing; write a table with kind = one of fixed", (f"length = {LENGTH}", "")),
    (
        'clients.length.time: 700cycles need a clock, and here is none; write a time, e.g. "20s"',
        ('"2s"', '"700cycles"'),
    ),
    ('clients.length.time: 10800s is above 2.5 hours; write at most "150min"', ('"2s"', '"180min"')),
    (
        "clients.notice: 10800s is above 2.5 hours",
        ("concurrent", 'notice = "3e3min"\nconcurrent'),
        ("3e3", "180"),
    ),
    ('clients.retry: 3 has no unit; write text such as "10us"', ("concurrent", "retry = 3\nconcurrent")),
    (
        'clients.hash: "crc32" is none of ideal, toeplitz, crc32c, click; did you mean "crc32c"?',
        ("concurrent", 'hash = "crc32"\nconcurrent'),
    ),
    ("clients.addresses: 0 is not a whole number from 1 to", ("concurrent", "addresses = 0\nconcurrent")),
    (
        "clients: about 1.0e+09 connections under way, at most 1e8; lower",
        ("100.0", "1e9"),
        ('"60s"', '"600s"'),
    ),
    (
        "duration: about 6.0e+13 connections, at most 1e13; shorten it or lower the rate",
        ("concurrent = 100.0", "per_second = 1e12"),
        ('"2s"', '"1us"'),
    ),
    (
        "clients.urls: unknown field of kind open; it belongs to kind urls",
        ("concurrent", "urls = 3\nconcurrent"),
    ),
    # the balancer
    ('balancer.policy: "a-b" is not a name', ('"maglev"', '"a-b"')),
    ("balancer.policy: missing; write text of 1 to 64", ('policy = "maglev"', "")),
    (
        "balancer.slots: 11 slots for 12 configured servers, so some never get anything; write 12 or more",
        ('"maglev"', '"maglev"\nslots = 11'),
    ),
    ("balancer.choices: 13 of 12 servers; write 12 or less", ('"maglev"', '"maglev"\nchoices = 13')),
    ("balancer.choices: 0 is not a whole number from 1", ('"maglev"', '"maglev"\nchoices = 0')),
    (
        'balancer.consistency: kind "silk" is none of rehash, cookie, conntable, flow_table, daisy_chain',
        ('"rehash"', '"silk"'),
    ),
    ("balancer.consistency.capacity: missing; write a whole number from 1", ('"rehash"', '"conntable"')),
    ("balancer.consistency.capacity: missing; write a whole number from 1", ('"rehash"', '"flow_table"')),
    ("balancer.consistency.cells: missing; write a whole number from 1 to", ('"rehash"', '"silkroad"')),
    (
        "balancer.consistency.capacity: 2147483649 is not a whole number from 1 to 2147483648",
        (KEPT, '{ kind = "flow_table", capacity = 2147483649 }'),
    ),
    (
        "balancer.consistency.block: 1 is not a whole number from 2 to 65536; try 2",
        (KEPT, '{ kind = "conntable", capacity = 9, block = 1 }'),
    ),
    (
        "balancer.consistency.block: 65536 entries, but variant bmv2 keeps the last number for connections",
        (KEPT, '{ kind = "conntable", capacity = 9, block = 65536, variant = "bmv2" }'),
    ),
    (
        "balancer.consistency.capacity: 2147483648 takes 131072 blocks of 30000, more than 2147483648",
        (KEPT, '{ kind = "conntable", capacity = 2147483648, block = 30000 }'),
    ),
    (
        "balancer.consistency.buckets: 40000 do not fit the 32768 values of a cookie in msb; write 32768 or",
        (KEPT, '{ kind = "cookie", buckets = 40000 }'),
    ),
    (
        "balancer.consistency.buckets: 11 for 12 configured servers; write 12 or more, or leave it out",
        (KEPT, '{ kind = "cookie", buckets = 11 }'),
    ),
    (
        "servers.configured: 32769 servers do not fit the 32768 values of a cookie in msb; "
        'write 32768 or less, or balancer.consistency.carrier = "quic"',
        (KEPT, '{ kind = "cookie" }'),
        ("configured = 12", "configured = 32769"),
    ),
    (
        "servers.configured: 65537 servers do not fit the 65536 values of a cookie in quic; write 65536",
        (KEPT, '{ kind = "cookie", carrier = "quic" }'),
        ("configured = 12", "configured = 65537"),
    ),
    (
        "balancer.adapt.most: 1 is below least 2; raise most or lower least",
        ('"maglev"', '"maglev"\nadapt = { most = 1 }'),
    ),
    (
        'balancer.adapt.period: 0ps is too short; write a period of at least "1us"',
        ('"maglev"', '"maglev"\nadapt = { period = "0s" }'),
    ),
    (
        "balancer.adapt.alpha: 1.5 is not a finite number from 0 to 1; try 1",
        ('"maglev"', '"maglev"\nadapt = { alpha = 1.5 }'),
    ),
    # servers
    (
        "servers.configured: 0 is not a whole number from 1 to 1000000; try 1",
        ("configured = 12", "configured = 0"),
    ),
    ("servers.active: 13 is above configured 12; lower it", ("active = 8", "active = 13")),
    (
        "servers.weights: all are 0, so no server gets anything; write one above 0",
        ("active = 8", "weights = [0, 0]"),
    ),
    (
        "servers.weights: those of the 8 servers active at the start are all 0; write one above 0 among them",
        ("active = 8", "active = 8\nweights = [0, 0, 0, 0, 0, 0, 0, 0, 1]"),
    ),
    (
        "servers.weights.1: -1 is not a finite number from 0 to 1000000; try 0",
        ("active = 8", "weights = [1, -1]"),
    ),
    ("servers.weights.0: true is not a finite number", ("active = 8", "weights = [true]")),
    ("servers.weights: an array of nothing; write one weight or more", ("active = 8", "weights = []")),
    ("servers.weights: 13 weights for 12 servers; write one each", ("active = 8", f"weights = {[1] * 13}")),
    (
        "servers.weights: 1 is not an array, each of it a finite number from 0 to 1000000; try [1.0]",
        ("active = 8", "weights = 1"),
    ),
    # the schedule, one change at a time
    ('churn: kind "plan" is none of schedule, updates, flaps', ('"schedule"', '"plan"')),
    (
        "churn.changes: missing; write an array, each of it a table with at and do",
        (f"changes = {CHANGES}", ""),
    ),
    ("churn.changes: 3 is not an array, each of it a table with at and do", (CHANGES, "3")),
    ("churn.changes.0: 3 is not a table; write a table with at and do", (CHANGES, "[3]")),
    ("churn.changes.1.at: missing; write text such as", ('at = "30s", ', "")),
    (
        'churn.changes.1.do: "drian" is none of add, drain, remove, crash; did you mean "drain"?',
        ('"drain"', '"drian"'),
    ),
    ("churn.changes.1.servers: 0 is not a whole number from 1 to", ("servers = 2", "servers = 0")),
    ("churn.changes.1.sever: unknown field; did you mean", ("servers = 2", "sever = 2")),
    (
        "churn.changes.1.at: 10s is before the change above it, at 20s; write changes in order of time",
        ('"30s"', '"10s"'),
    ),
    (
        "churn.changes.1.servers: 2, but server = 3 names one; leave one of the two out",
        ("servers = 2", "servers = 2, server = 3"),
    ),
    (
        'churn.changes.1.detect: 1s, but only a crash is detected; leave it out or write do = "crash"',
        ("servers = 2", 'detect = "1s"'),
    ),
    # the schedule through time
    (
        "churn.changes.1.servers: 9 to drain at 30s of 9 active, which leaves none; write 8 or less",
        ("servers = 2", "servers = 9"),
    ),
    (
        "churn.changes.0.servers: 1 to remove at 0ps of 1 active, which leaves none; add servers before",
        ("active = 8", "active = 1"),
        (CHANGES, '[{ at = "0s", do = "remove" }]'),
    ),
    (
        "churn.changes.1.servers: 4 to crash at 30s of 4 active, which leaves none; write 3 or less",
        (
            CHANGES,
            '[{ at = "20s", do = "crash", servers = 4, detect = "1min" }, '
            '{ at = "30s", do = "crash", servers = 4 }]',
        ),
    ),
    (
        "churn.changes.0.servers: 5 to add at 20s, but only 4 spares are left; raise servers.configured",
        ('do = "add"', 'do = "add", servers = 5'),
    ),
    (
        "churn.changes.0.servers: 1 to add at 20s, but no spare is left; raise servers.configured to 13 or",
        ("active = 8", "active = 12"),
    ),
    (
        "churn.changes.1.servers: 5 to add at 30s, but only 4 spares are left",  # not before the detection
        (CHANGES, '[{ at = "20s", do = "crash", detect = "11s" }, { at = "30s", do = "add", servers = 5 }]'),
    ),
    (
        "churn.changes.0.server: 3 is active already at 20s; name one that is not, or leave it out",
        ('do = "add"', 'do = "add", server = 3'),
    ),
    (
        "churn.changes.1.server: 11 is not active at 30s, so it cannot drain; name an active one",
        ("servers = 2", "server = 11"),
        ('do = "add"', 'do = "drain"'),
    ),
    (
        "churn.changes.1.server: 12 is not among the 12 configured; write 11 or less",
        ("servers = 2", "server = 12"),
    ),
    (
        "churn.changes.1.server: 3 is down at 30s, so it cannot drain; name an active one, or leave it out",
        ("servers = 2", "server = 3"),
        ('do = "add"', 'do = "crash", server = 3, detect = "11s"'),
    ),
    (
        "churn.changes.3.servers: 5 to add at 7s, but only 4 spares are left",  # not after its return
        (
            CHANGES,
            '[{ at = "1s", do = "crash", server = 3, detect = "5s" }, { at = "2s", do = "add", server = 3 }, '
            '{ at = "3s", do = "crash", server = 3, detect = "5s" }, { at = "7s", do = "add", servers = 5 }]',
        ),
    ),
    (
        "churn.changes.2.servers: 5 to add at 6s, but only 4 spares are left",  # once detected, it is a spare
        (
            CHANGES,
            '[{ at = "1s", do = "crash", server = 3, detect = "1s" }, { at = "5s", do = "add", server = 3 }, '
            '{ at = "6s", do = "add", servers = 5 }]',
        ),
    ),
    # churn by chance
    (
        "churn.per_minute: 0 is not a finite number above 0; try 10.0",
        (SCHEDULE, f'kind = "updates"\nper_minute = 0\ndown = {LENGTH}'),
    ),
    (
        "churn.per_minute: about 2.0e+09 changes, at most 1e+07; lower it",
        (SCHEDULE, f'kind = "updates"\nper_minute = 1e9\ndown = {LENGTH}'),
    ),
    (
        "churn.kind: updates, but with one active server none can ever go; write more servers",
        (SCHEDULE, f'kind = "updates"\nper_minute = 1\ndown = {LENGTH}'),
        ("active = 8", "active = 1"),
    ),
    (
        'churn.do: "add" is none of drain, remove, crash',
        (SCHEDULE, f'kind = "updates"\nper_minute = 1\ndown = {LENGTH}\ndo = "add"'),
    ),
    (
        "churn.detect: 1s, but only a crash is detected",
        (SCHEDULE, f'kind = "updates"\nper_minute = 1\ndown = {LENGTH}\ndetect = "1s"'),
    ),
    (
        "churn.down.mean: 7cycles need a clock",
        (SCHEDULE, 'kind = "updates"\nper_minute = 1\ndown = { kind = "exponential", mean = "7cycles" }'),
    ),
    (
        "churn.servers: 8 of 8 active servers flap, so none may be left; write 7 or less",
        (SCHEDULE, f'kind = "flaps"\nservers = 8\nup = {LENGTH}\ndown = {LENGTH}'),
    ),
    (
        "churn.servers: 1 of 1 active servers flap, so none may be left; write more servers",
        (SCHEDULE, f'kind = "flaps"\nup = {LENGTH}\ndown = {LENGTH}'),
        ("active = 8", "active = 1"),
    ),
    (
        "churn.up: endless changes, at most 1e+07; write longer times in up and down",
        (SCHEDULE, f'kind = "flaps"\nup = {LENGTH}\ndown = {LENGTH}'.replace('"2s"', '"0s"')),
    ),
    (
        "churn.up: about 6.0e+07 changes, at most 1e+07",
        (SCHEDULE, f'kind = "flaps"\nup = {LENGTH}\ndown = {LENGTH}'.replace('"2s"', '"1us"')),
    ),
    (
        "churn.detect: 1s, but only a crash is detected",
        (SCHEDULE, f'kind = "flaps"\nup = {LENGTH}\ndown = {LENGTH}\ndetect = "1s"'),
    ),
]

URL_REFUSALS = [  # the same for URLS
    ("clients.high: 100 is below low 480; raise high or lower low", "high = 100"),
    ("clients.low: 0 is not a finite number above 0", "low = 0"),
    ("clients.stop: 20s is not after start 20s; write a later stop", 'stop = "20s"'),
    ("clients.levels: 33 levels for 20 URLs, so some never occur; write 20 or less", "urls = 20"),
    ("clients.processes: 0 is not a whole number from 1 to 100000; try 1", "processes = 0"),
    ("clients.segment: 0 is not a whole number from 1", "segment = 0"),
    (
        'clients.sizes: "x" is the table of lengths too; write one of sizes, e.g. "cheetah',
        'lengths = "x", sizes = "x"',
    ),
    ('clients.sizes: "" is not text of 1 to 4096 characters', 'sizes = ""'),
    ("clients.length: unknown field of kind urls; it belongs to kind open", "length = 3"),
    ("clients.retry: unknown field of kind urls; it belongs to kind open", 'retry = "1s"'),
    (
        "clients: about 1.0e+09 connections under way, at most 1e8",
        'processes = 100000, urls = 10000, overhead = "0s"',
    ),
]


def say(problem: str, said: str) -> None:
    assert problem.startswith(said)
    assert len(problem) < 250
    for jargon in ("pydantic", "http", "type=", "Input should", "Value error", "input_value", "Traceback"):
        assert jargon not in problem


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case[0][:60])
def test_refusals_say_where_what_and_how_to_mend(case):
    said, *replacements = case
    (problem,) = problems(changed(GOOD, *replacements))
    say(problem, said)


@pytest.mark.parametrize(("said", "fields"), URL_REFUSALS, ids=lambda text: text[:60])
def test_refusals_of_url_clients(said, fields):
    (problem,) = problems(changed(URLS, ('kind = "urls"', f'kind = "urls", {fields}')))
    say(problem, said)


def test_all_problems_are_told_at_once_in_the_order_of_the_file():
    text = changed(
        GOOD,
        ('"10s"', '"2min"'),
        ("concurrent = 100.0", "concurrent = -1\ngapp = 3"),
        ('"maglev"', '"maglev"\nslots = 3'),
        ("active = 8", "active = 8\nweights = [-1, nan]"),
        ("servers = 2", "servers = 2, detect = 3"),
        ('"1s"', '"1us"'),
    )
    assert [line.partition(":")[0] for line in problems(text)] == [
        "warmup",
        "clients.concurrent",
        "clients.gapp",
        "servers.weights.0",
        "servers.weights.1",
        "churn.changes.1.detect",
        "measure.interval",
    ]


def test_python_is_told_the_same():
    with pytest.raises(ScenarioError) as refusal:
        ConnectionScenario(
            duration=SECOND,
            clients=Open(per_second=1.0, length=Fixed(time=Work(SECOND))),
            balancer=Balancer(policy="maglev", slots=2, choices=9, consistency=Cookie(buckets=2)),
            servers=Servers(configured=3),
        )
    assert [line.partition(":")[0] for line in refusal.value.problems] == [
        "balancer.slots",
        "balancer.choices",
        "balancer.consistency.buckets",
    ]
    with pytest.raises(ScenarioError, match="weights: all are 0"):
        Servers(configured=3, weights=(0.0,))


def test_parts_that_hold_a_scenario_say_where_its_problems_are():
    class Held(Part):
        base: AnyScenario = Field(discriminator="grain")

    with pytest.raises(ScenarioError) as refusal:
        Held(
            base={"grain": "connection", "servers": {"configured": 0}, "clients": {"kind": "urls", "low": -1}}
        )
    assert refusal.value.problems[1:] == (
        "base.clients.low: -1 is not a finite number above 0 to 10000000; try 480.0",
        "base.balancer: missing; write a table with policy",
        "base.servers.configured: 0 is not a whole number from 1 to 1000000; try 1",
    )
    for base, said in (
        (
            {"grain": "conection"},
            'base: grain "conection" is none of packet, connection, request; did you mean "connection"?',
        ),
        ({}, "base: grain is missing; write grain = one of packet, connection, request"),
    ):
        with pytest.raises(ScenarioError) as refusal:
            Held(base=base)
        assert refusal.value.problems == (said,)


def test_what_just_fits_is_taken():
    for replacements in (
        [(KEPT, '{ kind = "cookie" }'), ("configured = 12", "configured = 32768")],
        [(KEPT, '{ kind = "cookie", carrier = "lsb" }'), ("configured = 12", "configured = 65536")],
        [(KEPT, '{ kind = "cookie", buckets = 12 }')],
        [('"maglev"', '"maglev"\nslots = 12\nchoices = 12')],
        [("active = 8", "active = 12\nweights = [0, 1]"), (CHANGES, "[]")],
        [("servers = 2", "servers = 8")],
        [('do = "add"', 'do = "add", servers = 4')],
        [('do = "add"', 'do = "add", server = 11')],
        [(KEPT, '{ kind = "conntable", capacity = 2147483648 }')],
        [(KEPT, '{ kind = "conntable", capacity = 9, block = 65535, variant = "bmv2" }')],
        [
            (
                CHANGES,
                '[{ at = "20s", do = "crash", detect = "10s" }, { at = "30s", do = "add", servers = 5 }]',
            )
        ],
        [  # back before its crash is detected, then gone again
            (
                CHANGES,
                '[{ at = "1s", do = "crash", server = 3, detect = "5s" }, '
                '{ at = "2s", do = "add", server = 3 }, '
                '{ at = "3s", do = "crash", server = 3, detect = "5s" }, '
                '{ at = "6s", do = "add", servers = 4 }, { at = "8s", do = "add", server = 3 }]',
            )
        ],
        [("configured = 12\nactive = 8", "configured = 1"), (SCHEDULE, "kind = 'schedule'\nchanges = []")],
        [(SCHEDULE, f'kind = "flaps"\nservers = 7\nup = {LENGTH}\ndown = {LENGTH}')],
    ):
        load_scenario(changed(GOOD, *replacements))


def test_limits_are_those_of_the_rooms_that_use_them():
    assert {name: 1 << cookie_bits(carrier) for name, carrier in CARRIERS.items()} == COOKIE_VALUES
    assert LONGEST == workload_laws.LONGEST


# Schedules through time ------------------------------------------------------------------------------------


def follow(schedule: Schedule, configured: int, active: int, seed: int) -> int | None:
    """Return the first change that servers, kept one by one, cannot follow; None if they can all."""
    rng = random.Random(seed)
    up, spares = list(range(active)), list(range(active, configured))
    later: list[tuple[int, int]] = []
    for k, change in enumerate(schedule.changes):
        spares += [server for at, server in later if at <= change.at]
        later = [(at, server) for at, server in later if at > change.at]
        for _ in range(change.servers):
            if change.do == "add":
                unnoticed = [entry for entry in later if entry[1] == change.server]
                if unnoticed:  # it is back before its crash was detected
                    later.remove(unnoticed[0])
                    up.append(unnoticed[0][1])
                    continue
                if not spares or (change.server is not None and change.server not in spares):
                    return k
                server = spares[0] if change.server is None else change.server
                spares.remove(server)
                up.append(server)
                continue
            if (change.server is not None and change.server not in up) or len(up) == 1:
                return k
            server = rng.choice(up) if change.server is None else change.server
            up.remove(server)
            if change.do == "crash":
                later.append((change.at + change.detect, server))
            else:
                spares.append(server)
        spares += [server for at, server in later if at <= change.at]
        later = [(at, server) for at, server in later if at > change.at]
    return None


def first_refused(schedule: Schedule, configured: int, active: int) -> int | None:
    """Return the first change that the scenario refuses."""
    try:
        ConnectionScenario(
            duration=SECOND,
            clients=Open(per_second=1.0, length=Fixed(time=Work(SECOND))),
            balancer=Balancer(policy="maglev"),
            servers=Servers(configured=configured, active=active),
            churn=schedule,
        )
    except ScenarioError as error:
        return min(int(line.split(".")[2]) for line in error.problems)
    return None


@given(schedules(named=False), st.integers(1, 6), st.integers(0, 4), st.integers(0, 9))
@settings(max_examples=300)
def test_unnamed_changes_are_refused_just_where_servers_cannot_follow(schedule, active, spare, seed):
    configured = active + spare
    assert first_refused(schedule, configured, active) == follow(schedule, configured, active, seed)


@given(schedules(), st.integers(2, 5), st.integers(0, 2), st.integers(0, 9))
@settings(max_examples=300)
def test_named_changes_are_refused_only_where_servers_cannot_follow(schedule, active, spare, seed):
    configured = active + spare
    refused, failed = first_refused(schedule, configured, active), follow(schedule, configured, active, seed)
    if refused is not None:  # whatever chance picks
        assert failed is not None
        assert failed <= refused
    if all(change.server is not None for change in schedule.changes):  # nothing is left to chance
        assert refused == failed


# Overrides -------------------------------------------------------------------------------------------------


def test_overrides_reach_any_field():
    base = load_scenario(GOOD)
    new = override(
        base,
        {
            "clients.concurrent": "7",
            "clients.length.time": "3s",
            "balancer.slots": 31,
            "servers.weights": "[1, 2.5]",
            "churn.changes.1.servers": 3,
            "churn.changes.0.at": "5s",
        },
    )
    assert type(new) is ConnectionScenario
    assert (new.clients.concurrent, new.clients.length) == (7.0, Fixed(time=Work(3 * SECOND)))
    assert (new.balancer.slots, new.servers.weights) == (31, (1.0, 2.5))
    assert [change.servers for change in new.churn.changes] == [1, 3]
    assert new.churn.changes[0].at == 5 * SECOND
    assert base == load_scenario(GOOD)  # untouched


def test_parts_may_be_overridden_whole():
    base = load_scenario(GOOD)
    changes = (Change(at=SECOND, do="crash", detect=MS), Change(at=2 * SECOND, do="add", server=9))
    assert override(base, {"churn.changes": changes}).churn.changes == changes
    assert override(base, {"churn": Schedule(changes=changes)}).churn.changes == changes
    assert override(base, {"churn": None}).churn is None
    clients = Urls(levels=4)
    assert override(base, {"clients": clients}).clients == clients
    text = '[{ at = "1s", do = "add" }]'
    assert override(base, {"churn.changes": text}).churn.changes == (Change(at=SECOND, do="add"),)


def test_a_new_pace_replaces_the_old_one():
    base = load_scenario(GOOD)
    fast = override(base, {"clients.per_second": "9"})
    assert (fast.clients.concurrent, fast.clients.per_second) == (None, 9.0)
    slow = override(fast, {"clients.concurrent": 5.0})
    assert (slow.clients.concurrent, slow.clients.per_second) == (5.0, None)
    with pytest.raises(ScenarioError, match="exactly one of concurrent, per_second"):
        override(base, {"clients.concurrent": 1, "clients.per_second": 1})


def test_a_new_kind_keeps_what_it_shares():
    base = override(load_scenario(GOOD), {"clients.notice": "2s"})
    urls = override(base, {"clients.kind": "urls"})
    assert urls.clients == Urls(notice=2 * SECOND)
    table = override(base, {"balancer.consistency": ConnTable(capacity=9, block=64)})
    assert override(table, {"balancer.consistency.kind": "flow_table"}).balancer.consistency == FlowTable(
        capacity=9
    )
    assert override(table, {"balancer.consistency.kind": "jet"}).balancer.consistency == Jet()
    updates = override(
        base, {"churn.kind": "updates", "churn.per_minute": 3, "churn.down": LENGTH, "churn.do": "crash"}
    )
    assert updates.churn == Updates(per_minute=3.0, down=Fixed(time=Work(2 * SECOND)), do="crash")
    flaps = override(updates, {"churn.kind": "flaps", "churn.up": LENGTH})
    assert flaps.churn == Flaps(up=updates.churn.down, down=updates.churn.down, do="crash")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"grain": "packet"}, 'grain: "packet" is none of connection'),
        (
            {"churn.changes.2.at": "1s"},
            "churn.changes.2.at: there is no churn.changes.2; write churn.changes.0 to",
        ),
        (
            {"churn.changes.x.at": "1s"},
            "churn.changes.x.at: there is no churn.changes.x; write churn.changes.0",
        ),
        (
            {"churn.changes.at": "1s"},
            "churn.changes.at: churn.changes is an array; write it whole, or a field of",
        ),
        (
            {"servers.weights.0.x": "1"},
            "servers.weights.0.x: unknown field; servers.weights.0 is 1.0, not a table",
        ),
        ({"churn.changes.0.do": "ad"}, 'churn.changes.0.do: "ad" is none of add'),
        ({"servers.active": "12"}, "churn.changes.0.servers: 1 to add at 20s, but no spare is left"),
        (
            {"clients.kind": "urls", "clients.gap": 3},
            "clients.gap: unknown field of kind urls; it belongs to",
        ),
    ],
)
def test_overrides_are_checked_like_files(changes, said):
    with pytest.raises(ScenarioError) as refusal:
        override(load_scenario(GOOD), changes)
    assert refusal.value.problems[0].startswith(said)


# Meaning ---------------------------------------------------------------------------------------------------


def test_open_clients_keep_littles_law():
    scenario = load_scenario(GOOD)  # 100 under way, 2 s each
    assert scenario.rate() == 50
    assert scenario.expected_units() == 50 * 60
    assert scenario.expected_live() == 100
    fast = override(scenario, {"clients.per_second": 10})
    assert (fast.rate(), fast.expected_units(), fast.expected_live()) == (10, 600, 20)
    short = override(scenario, {"duration": "1s", "warmup": 0})
    assert short.expected_live() == 50  # no more can have begun


def test_a_packet_scenario_counts_packets():
    scenario = load_scenario(EXAMPLE.with_name("rss.toml"))
    assert scenario.expected_packets() == 488281.25
    assert scenario.expected_units() == 488281.25


def test_the_rate_of_url_clients_is_the_published_hump():
    urls = Urls()
    assert urls.launch_rate(0) == urls.launch_rate(50 * SECOND) == 1 / (1 / 480 + 500e-6)
    assert urls.launch_rate(35 * SECOND) == pytest.approx(1 / (1 / 800 + 500e-6))
    assert urls.launch_rate(round(27.5 * SECOND)) == pytest.approx(1 / (1 / 640 + 500e-6))
    free = Urls(overhead=0)
    assert free.rate(20 * SECOND) == pytest.approx(4 * 480)
    assert free.rate(50 * SECOND) == pytest.approx(
        4 * (480 * 20 + 640 * 30) / 50
    )  # a squared sine averages 1/2
    assert free.rate(100 * SECOND) == pytest.approx(4 * (480 * 70 + 640 * 30) / 100)
    at = range(20 * SECOND, 30 * SECOND, MS)
    assert urls.rate(30 * SECOND) == pytest.approx(
        4 * (20 * urls.launch_rate(0) + math.fsum(map(urls.launch_rate, at)) / 1000) / 30, rel=1e-4
    )
    scenario = load_scenario(URLS)
    assert scenario.rate() == urls.rate(60 * SECOND)
    assert scenario.expected_live() == 4 * 908


def test_every_kind_has_one_part():
    assert len(KINDS) == len(models.KINDS) + len(connections.KINDS) + len(
        requests.KINDS
    )  # none is taken twice
    for kind, part in KINDS.items():
        assert part.model_fields["kind"].default == kind
    parts = (
        Open,
        Urls,
        Rehash,
        Cookie,
        ConnTable,
        FlowTable,
        DaisyChain,
        Jet,
        SilkRoad,
        Schedule,
        Updates,
        Flaps,
    )
    assert set(parts) < set(KINDS.values())
