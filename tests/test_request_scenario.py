"""Scenarios of requests: text in, text out, and every mistake told at once in words."""

import pickle
import tomllib
from pathlib import Path

import jsonschema
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lbsim.scenario import (
    Adapt,
    BalancerCost,
    Bimodal,
    Cpu,
    Exponential,
    Fcfs,
    Fixed,
    Independent,
    Jbsq,
    Lognormal,
    Paced,
    Pauses,
    Priority,
    RequestBalancer,
    RequestMeasure,
    RequestScenario,
    RequestServers,
    Retry,
    ScenarioError,
    Sharing,
    Signal,
    Spin,
    Stealing,
    Table,
    Traced,
    Users,
    Work,
    canonical,
    dump_toml,
    json_schema,
    load_scenario,
    override,
    requests,
)
from lbsim.scenario.toml import KINDS
from lbsim.units import MS, SECOND, US

EXAMPLE = Path(__file__).parent.parent / "examples" / "requests.toml"

GOOD = """
grain = "request"
duration = "60s"
warmup = "10s"
[clients]
kind = "independent"
load = 0.8
[balancer]
policy = "power_of_two"
signal = { metric = "cpu", period = "10ms" }
[servers]
number = 12
cores = 2
discipline = { kind = "sharing" }
service = { kind = "cpu", work = { kind = "fixed", time = "2ms" } }
[measure]
interval = "1s"
"""

SPIN = """
grain = "request"
duration = "15s"
clients = { kind = "paced", processes = 64, connections = 16, per_second = 6400.0, overhead = "14500us" }
balancer = { policy = "round_robin", signal = { metric = "live" } }
[servers]
number = 64
discipline = { kind = "sharing", workers = 32, turn = "300us" }
service = { kind = "spin", setup = "600us", wall = { kind = "fixed", time = "7ms" }, finish = "1580us" }
"""

LIVE, CPU = 'signal = { metric = "live" }', 'signal = { metric = "cpu", period = "10ms" }'
OPEN = 'kind = "independent"\nload = 0.8'
SHARED = '{ kind = "sharing" }'


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
spans = st.integers(1, SECOND)
works = st.integers(US, SECOND).map(Work)
laws = st.one_of(
    st.builds(Fixed, time=works),
    st.builds(Exponential, mean=works),
    st.builds(Lognormal, mean=works, cv=floats(1e-3, 100)),
    st.builds(Bimodal, short=works, long=works, share_long=floats(0, 1)),
    st.builds(Table, table=st.just("zygos_bimodal1"), mean=works),
)
shared = {
    "hash": st.sampled_from(["ideal", "toeplitz", "crc32c", "click"]),
    "addresses": st.integers(1, 2**32),
    "scattered": st.booleans(),
    "overhead": times,
    "retry": st.none()
    | st.builds(
        lambda backoff, more, **rest: Retry(backoff=backoff, most=backoff + more, **rest),
        timeout=st.none() | spans,
        attempts=st.integers(1, 100),
        backoff=times,
        more=times,
        factor=floats(1, 100),
        jitter=floats(0, 1),
    ),
}
clients = st.one_of(
    st.builds(Independent, per_second=floats(1e-3, 1e6), gaps=st.sampled_from(["exponential", "fixed"])),
    st.builds(Independent, load=floats(1e-3, 2), **shared),
    st.builds(Traced, file=st.just("a/b.csv"), speed=floats(1e-3, 1000), **shared),
    st.builds(Users, users=st.integers(1, 1000), think=laws, session=floats(1, 1000), **shared),
    st.builds(
        Paced,
        processes=st.integers(1, 100),
        connections=st.integers(1, 100),
        per_second=floats(10, 1e6),
        stagger=st.integers(0, MS),
        jitter=st.integers(0, MS),
        spread=st.integers(0, MS),
        catch_up=floats(1.001, 1000),
        **shared,
    ),
)
signals = st.builds(Signal) | st.builds(
    lambda metric, tick, **rest: Signal(metric=metric, **rest, **({"tick": tick} if metric == "cpu" else {})),
    metric=st.sampled_from(["connections", "cpu", "bytes", "latency"]),
    tick=times,
    period=st.integers(MS, SECOND),
    spread=times,
    delay=st.integers(0, SECOND),
    loss=floats(0, 0.99),
    machines=st.none() | st.integers(1, 4),
    synchronised=st.booleans(),
)
costs = st.builds(
    BalancerCost,
    mode=st.sampled_from(["hash_rss", "hash_dpdk", "stateless", "stateful", "beamer", "cuckoo"]),
    cores=st.integers(1, 64),
    clock=floats(1e9, 4e9),
    packets=floats(1, 100),
    delay=times,
)
balancers = st.builds(
    RequestBalancer,
    policy=st.sampled_from(["power_of_two", "mine_2"]),
    choices=st.integers(1, 4),
    slots=st.none() | st.integers(100, 10**6),
    adapt=st.none() | st.builds(Adapt, period=st.integers(MS, SECOND), gain=floats(0.1, 100)),
    signal=signals,
    cost=st.none() | costs,
)
sharings = st.builds(Sharing, slice=st.integers(US, SECOND), switch=times) | st.builds(
    lambda turn, more, **rest: Sharing(turn=turn, slice=turn + more, **rest),
    turn=st.integers(US, MS),
    more=times,
    workers=st.integers(1, 64),
    switch=times,
)
alone = st.builds(Fcfs) | sharings | st.builds(Priority, urgent=floats(0.01, 0.99))
several = st.builds(Stealing, steal=times) | st.builds(Jbsq, depth=st.integers(1, 9))
services = st.builds(Cpu, work=laws, by_second=st.booleans()) | st.builds(
    Spin, setup=times, wall=laws, finish=times, by_second=st.booleans()
)


@st.composite
def servers(draw: st.DrawFn) -> RequestServers:
    cores = draw(st.integers(1, 8))
    return RequestServers(
        number=draw(st.integers(4, 100)),
        cores=cores,
        discipline=draw(alone | several if cores > 1 else alone),
        service=draw(services),
        speeds=draw(st.lists(floats(0.05, 10), min_size=1, max_size=4).map(tuple)),
        weights=draw(st.lists(floats(0.5, 10), min_size=1, max_size=4).map(tuple)),
        backlog=draw(st.none() | st.integers(1, 1000)),
        response=draw(st.integers(0, 10**9)),
        pauses=draw(
            st.none()
            | st.builds(Pauses, rate=floats(1e-3, 10), length=spans, speed=st.just(0.0) | floats(0.05, 1))
        ),
    )


@st.composite
def scenarios(draw: st.DrawFn) -> RequestScenario:
    duration = draw(st.integers(2 * SECOND, 100 * SECOND))
    try:
        return RequestScenario(
            name=draw(st.sampled_from(["a", "an 'odd' \"name\" µ"])),
            seed=draw(st.integers(0, 2**63 - 1)),
            replication=draw(st.integers(0, 10**6)),
            duration=duration,
            warmup=draw(st.integers(0, duration - 1)),
            clients=draw(clients),
            balancer=draw(balancers),
            servers=draw(servers()),
            measure=RequestMeasure(
                interval=draw(st.none() | st.integers(MS, SECOND)),
                cohort=draw(st.sampled_from(["sent", "done"])),
                requests=draw(st.booleans()),
            ),
        )
    except ScenarioError as error:  # too much to compute, or to keep
        assume(not all(" about " in line for line in error.problems))
        raise


SCHEMA = jsonschema.Draft202012Validator(json_schema())


@given(scenarios())
@settings(max_examples=150, deadline=None)
def test_every_scenario_survives_its_toml(scenario):
    text = dump_toml(scenario)
    again = load_scenario(text)
    assert type(again) is RequestScenario
    assert again == scenario
    assert hash(again) == hash(scenario)
    assert dump_toml(again) == text
    assert canonical(again) == canonical(scenario)
    assert override(scenario, {}) == scenario
    assert pickle.loads(pickle.dumps(scenario)) == scenario
    SCHEMA.validate(tomllib.loads(text))


@pytest.mark.parametrize("path", ["seed", "replication", "warmup", "balancer.policy", "name"])
def test_canonical_text_ignores_the_name_alone(path):
    start = load_scenario(GOOD)
    new = override(start, {path: {"balancer.policy": "other", "name": "x"}.get(path, 50)})
    assert new != start
    assert (canonical(new) == canonical(start)) == (path == "name")


# Files -----------------------------------------------------------------------------------------------------


def test_the_example_is_what_it_says():
    scenario = load_scenario(EXAMPLE)
    assert load_scenario(dump_toml(scenario)) == scenario
    assert (scenario.servers.number, scenario.servers.cores) == (16, 1)
    assert scenario.balancer.signal == Signal(metric="cpu", period=10 * MS)
    assert scenario.rate() == pytest.approx(0.8 * 16 / 5e-3)
    SCHEMA.validate(tomllib.loads(EXAMPLE.read_text()))


@pytest.mark.parametrize("text", [GOOD, SPIN], ids=["cpu", "spin"])
def test_the_schema_takes_good_files(text):
    assert type(load_scenario(text)) is RequestScenario
    SCHEMA.validate(tomllib.loads(text))


def test_the_schema_refuses_what_the_loader_refuses():
    for pair in (
        ("number = 12", "numbr = 12"),
        ('kind = "independent"\n', ""),
        ("number = 12", "number = 0"),
        ('"60s"', "60"),
        ('"cpu", period', '"cpus", period'),
        (SHARED, '{ kind = "share" }'),
        ('"request"', '"connection"'),
        ('"request"', '"packet"'),
        ('"request"', '"other"'),
        ("cores = 2", "speeds = [0]"),
    ):
        bad = changed(GOOD, pair)
        assert not SCHEMA.is_valid(tomllib.loads(bad)), pair
        assert problems(bad)


def test_a_recording_is_found_from_the_scenario_file(tmp_path):
    text = changed(GOOD, (OPEN, 'kind = "traced"\nfile = "a/b.csv"'))
    (tmp_path / "s.toml").write_text(text)
    assert load_scenario(tmp_path / "s.toml").clients.file == str(tmp_path / "a" / "b.csv")


# Refusals --------------------------------------------------------------------------------------------------

REFUSALS = [  # what is said, and what was changed in GOOD to deserve it
    # the whole
    (
        'grain: "requests" is none of packet, connection, request; did you mean "request"?',
        ('"request"', '"requests"'),
    ),
    ("duration: missing; write text such as", ('duration = "60s"\nwarmup = "10s"', "")),
    ("warmup: 60s is not below duration 60s; shorten it", ('"10s"', '"60s"')),
    ("measure.interval: 1us is 6.0e+07 samples, at most 1e+06; write 60us or more", ('"1s"', '"1us"')),
    (
        "measure.requests: true keeps about 5.8e+08 rows, at most 2e+08; shorten duration or write requests",
        ('interval = "1s"', "requests = true"),
        ('"2ms"', '"2us"'),
    ),
    ('measure.cohort: "send" is none of sent, done; did you mean "sent"?', ('"1s"', '"1s"\ncohort = "send"')),
    # clients
    (
        'clients: kind "user" is none of independent, traced, users, paced; did you mean',
        ('"independent"', '"user"'),
    ),
    (
        "clients: per_second = 3.0 and load = 0.8 given; write exactly one of per_second, load",
        ("load = 0.8", "load = 0.8\nper_second = 3.0"),
    ),
    ("clients: neither given; write exactly one of per_second, load", ("load = 0.8", "")),
    ("clients.load: 0 is not a finite number above 0 to 100; try 0.8", ("load = 0.8", "load = 0")),
    ("clients.load: requests that cost nothing make no load; write clients.per_second", ('"2ms"', '"0s"')),
    ('clients.gaps: "even" is none of exponential, fixed', ("load", 'gaps = "even"\nload')),
    (
        "clients.session: unknown field of kind independent; it belongs to kind users",
        ("load", "session = 3\nload"),
    ),
    ("clients.overhead: 10800s is above 2.5 hours", ("load", 'overhead = "180min"\nload')),
    (
        "clients.retry.attempts: 0 is not a whole number from 1 to 100; try 1",
        ("load", "retry = { attempts = 0 }\nload"),
    ),
    (
        "clients.retry.timeout: 0 is too short; write a time above 0",
        ("load", 'retry = { timeout = "0s" }\nload'),
    ),
    ("clients.retry.timeout: 10800s is above 2.5", ("load", 'retry = { timeout = "180min" }\nload')),
    (
        "clients.retry.most: 1s is below backoff 2s; raise most or lower it",
        ("load", 'retry = { backoff = "2s" }\nload'),
    ),
    (
        "clients.retry.jitter: 2 is not a finite number from 0 to 1; try 1",
        ("load", "retry = { jitter = 2 }\nload"),
    ),
    (
        "clients.retry.factor: 0.5 is not a finite number from 1 to 100",
        ("load", "retry = { factor = 0.5 }\nload"),
    ),
    ("clients.file: missing; write text of 1 to 4096 characters", (OPEN, 'kind = "traced"')),
    ("clients.speed: 0 is not a finite number from 1e-06", (OPEN, 'kind = "traced"\nfile = "f"\nspeed = 0')),
    (
        "clients.users: missing; write a whole number from 1",
        (OPEN, 'kind = "users"\nthink = { kind = "fixed", time = "1s" }'),
    ),
    ("clients.think: missing; write a table with kind", (OPEN, 'kind = "users"\nusers = 3')),
    (
        'clients.think.time: 3cycles need a clock, and here is none; write a time, e.g. "20s"',
        (OPEN, 'kind = "users"\nusers = 3\nthink = { kind = "fixed", time = "3cycles" }'),
    ),
    (
        "clients.session: 0.5 is not a finite number from 1",
        (OPEN, 'kind = "users"\nusers = 3\nsession = 0.5\nthink = { kind = "fixed", time = "1s" }'),
    ),
    (
        "clients.think: users who think for 0 send for ever requests that cost 0; write a time above 0, or",
        (OPEN, 'kind = "users"\nusers = 3\nthink = { kind = "fixed", time = "0s" }'),
        ('"2ms"', '"0s"'),
    ),
    (
        "clients.think: users who think for 0 come back at once when servers.backlog = 2 refuses them; write",
        (OPEN, 'kind = "users"\nusers = 3\nthink = { kind = "fixed", time = "0s" }'),
        ("cores = 2", "backlog = 2"),
    ),
    (
        "clients.connections: 10000 of each of 10000 processes, at most 1e+07 of all; lower it or processes",
        (OPEN, 'kind = "paced"\nprocesses = 10000\nconnections = 10000\nper_second = 1e6'),
    ),
    (
        "clients.per_second: 0.001 over 100 connections is less than one request in 2.5 hours on each; raise",
        (OPEN, 'kind = "paced"\nconnections = 100\nper_second = 1e-3'),
    ),
    (
        "clients.stagger: the last connection starts at up to 99061ms, not before duration 60s; lower",
        (OPEN, 'kind = "paced"\nconnections = 100\nper_second = 1e3\nstagger = "1s"'),
    ),
    (
        "clients.catch_up: 1 is not a finite number above 1 to 1000",
        (OPEN, 'kind = "paced"\nconnections = 9\nper_second = 1e3\ncatch_up = 1'),
    ),
    (
        "duration: about 6.0e+13 requests, at most 1e13; shorten it or lower the rate",
        ("load = 0.8", "per_second = 1e12"),
        ('"2ms"', '"1ps"'),
    ),
    (
        "clients: about 6.0e+08 requests under way, at most 1e8; lower the rate, or write servers.backlog",
        ("load = 0.8", "per_second = 1e7"),
        ('"2ms"', '"1s"'),
    ),
    # the balancer
    ('balancer.policy: "a-b" is not a name', ('"power_of_two"', '"a-b"')),
    (
        "balancer.slots: 11 slots for 12 servers, so some never get anything; write 12",
        ('of_two"', 'of_two"\nslots = 11'),
    ),
    ("balancer.choices: 13 of 12 servers; write 12 or less", ('of_two"', 'of_two"\nchoices = 13')),
    (
        'balancer.signal.metric: "cpus" is none of live, connections, cpu, bytes',
        ('"cpu", period', '"cpus", period'),
    ),
    ('balancer.signal.period: missing, and cpu is reported; write e.g. "10ms"', (', period = "10ms"', "")),
    (
        "balancer.signal.period: given, but a live signal needs no reports; leave",
        ('"cpu", period', '"live", period'),
    ),
    (
        "balancer.signal.tick: given, but bytes has no ticks; leave it out",
        ('"cpu", period', '"bytes", tick = "1ms", period'),
    ),
    ("balancer.signal.loss: 1 leaves no report; write less than 1", ('"10ms"', '"10ms", loss = 1')),
    ('balancer.signal.period: 0ps is too short; write a period of at least "1us"', ('"10ms"', '"0s"')),
    ("balancer.signal.machines: 13 for 12 servers; write 12 or less", ('"10ms"', '"10ms", machines = 13')),
    ("balancer.signal.period: 60s is not below duration 60s, so reports may never come", ('"10ms"', '"60s"')),
    ("balancer.signal.delay: 70s is not below duration 60s, so reports", ('"10ms"', '"10ms", delay = "70s"')),
    ("balancer.signal.period: about 7.2e+08 reports, at most 1e+08; write a longer one", ('"10ms"', '"1us"')),
    ("balancer.adapt.most: 1 is below least 2", ('of_two"', 'of_two"\nadapt = { most = 1 }')),
    ('balancer.cost.mode: "none" is none of hash_rss', ('of_two"', 'of_two"\ncost = { mode = "none" }')),
    ("balancer.cost.mode: missing; write one of", ('of_two"', 'of_two"\ncost = { }')),
    (
        'balancer.cost.clock: 2.3 has no unit; write text such as "3.7GHz"',
        ('of_two"', 'of_two"\ncost = { mode = "cuckoo", clock = 2.3 }'),
    ),
    # servers
    ("servers.number: 0 is not a whole number from 1 to 1000000; try 1", ("number = 12", "number = 0")),
    (
        "servers.cores: 1000 of each of 100000 servers, at most 1e+07 of all; lower it or number",
        ("number = 12", "number = 100_000"),
        ("cores = 2", "cores = 1000"),
        ('"10ms"', '"1s"'),
        ("load = 0.8", "per_second = 1.0"),
    ),
    ("servers.speeds: an array of nothing; write one number or more", ("cores = 2", "speeds = []")),
    ("servers.speeds: 13 of them for 12 servers; write one each", ("cores = 2", f"speeds = {[1] * 13}")),
    (
        "servers.speeds.1: 0 is not a finite number from 0.05 to 1000; try 0.05",
        ("cores = 2", "speeds = [1, 0]"),
    ),
    (
        "servers.weights: all are 0, so no server gets anything; write one above 0",
        ("cores = 2", "weights = [0]"),
    ),
    ("servers.backlog: 0 is not a whole number from 1", ("cores = 2", "backlog = 0")),
    ('servers.discipline: kind "ps" is none of fcfs, sharing, stealing, jbsq', (SHARED, '{ kind = "ps" }')),
    (
        "servers.discipline.turn: 5ms is above slice 4ms; lower turn or raise slice",
        (SHARED, '{ kind = "sharing", workers = 3, turn = "5ms" }'),
    ),
    (
        "servers.discipline.turn: 1ms, but without workers a slice has one request; write workers, e.g. 32",
        (SHARED, '{ kind = "sharing", turn = "1ms" }'),
    ),
    ("servers.discipline.slice: 0 is too short", (SHARED, '{ kind = "sharing", slice = "0s" }')),
    (
        "servers.discipline.slice: about 1.2e+15 turns, at most 1e13; write a longer one",
        (SHARED, '{ kind = "sharing", slice = "1ps" }'),
    ),
    (
        "servers.discipline.turn: about 1.2e+15 turns, at most 1e13; write a longer one",
        (SHARED, '{ kind = "sharing", workers = 1, turn = "1ps" }'),
    ),
    (
        "servers.discipline.kind: stealing, but with one core it is fcfs; write servers.cores = 2 or more",
        ("cores = 2", "cores = 1"),
        (SHARED, '{ kind = "stealing" }'),
    ),
    (
        "servers.discipline.kind: jbsq, but with one core it is fcfs",
        ("cores = 2", "cores = 1"),
        (SHARED, '{ kind = "jbsq" }'),
    ),
    (
        "servers.discipline.depth: unknown field of kind sharing; it belongs to kind jbsq",
        (SHARED, '{ kind = "sharing", depth = 2 }'),
    ),
    ("servers.service.work.time: 7cycles need a clock", ('"2ms"', '"7cycles"')),
    (
        "servers.service.wall: missing; write a table with kind",
        ('{ kind = "cpu", work', '{ kind = "spin", work'),
    ),
    (
        "servers.service.by_second: true takes 1.2e+07 draws, at most 1e+07; shorten duration, lower servers",
        ('"2ms" }', '"2ms" }, by_second = true'),
        ("number = 12", "number = 200_000"),
        ('"10ms"', '"1s"'),
        ("load = 0.8", "per_second = 1.0"),
    ),
    (
        "servers.pauses.rate: missing; write a finite number above 0",
        ("cores = 2", 'cores = 2\npauses = { length = "1s" }'),
    ),
    (
        "servers.pauses.speed: 0.01 is too slow; write 0.05 to 1, or 0 to stop",
        ("cores = 2", 'cores = 2\npauses = { rate = 1.0, length = "1s", speed = 0.01 }'),
    ),
    (
        "servers.pauses.rate: about 7.2e+08 pauses, at most 1e+08; lower it",
        ("cores = 2", 'cores = 2\npauses = { rate = 1e6, length = "1us" }'),
    ),
]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case[0][:60])
def test_refusals_say_where_what_and_how_to_mend(case):
    said, *replacements = case
    text = changed(GOOD, *replacements)
    if "missing; write" in said or "none of" in said:  # what is missing may keep others from being checked
        problem = problems(text)[0]
    else:
        (problem,) = problems(text)
    assert problem.startswith(said)
    assert len(problem) < 250
    for jargon in ("pydantic", "http", "type=", "Input should", "Value error", "input_value", "Traceback"):
        assert jargon not in problem


def test_all_problems_are_told_at_once_in_the_order_of_the_file():
    text = changed(
        GOOD,
        ('"10s"', '"2min"'),
        ("load = 0.8", "load = -1\nlod = 3"),
        ('of_two"', 'of_two"\nslots = 3'),
        (', period = "10ms"', ""),
        ("cores = 2", "cores = 1\nspeeds = []\nweights = [0]"),
        (SHARED, '{ kind = "jbsq" }'),
        ('"1s"', '"1us"'),
    )
    assert [line.partition(":")[0] for line in problems(text)] == [
        "warmup",
        "clients.load",
        "clients.lod",
        "balancer.signal.period",
        "servers.speeds",
        "servers.weights",
        "servers.discipline.kind",
        "measure.interval",
    ]


def test_everything_that_a_live_signal_ignores_is_refused():
    with pytest.raises(ScenarioError) as refusal:
        Signal(period=MS, spread=MS, delay=MS, loss=0.5, machines=3, synchronised=True, tick=MS)
    assert [line.partition(":")[0].rpartition(".")[2] for line in refusal.value.problems] == [
        *("period", "spread", "delay", "loss", "machines", "synchronised", "tick")
    ]


def test_python_is_told_the_same():
    with pytest.raises(ScenarioError) as refusal:
        RequestScenario(
            duration=SECOND,
            clients=Independent(per_second=1.0),
            balancer=RequestBalancer(
                policy="maglev", slots=2, choices=9, signal=Signal(metric="bytes", period=MS, machines=4)
            ),
            servers=RequestServers(number=3, service=Cpu(work=Fixed(time=Work(MS)))),
        )
    assert [line.partition(":")[0] for line in refusal.value.problems] == [
        "balancer.slots",
        "balancer.choices",
        "balancer.signal.machines",
    ]


def test_what_just_fits_is_taken():
    users = 'kind = "users"\nusers = 3\nthink = { kind = "fixed", time = "0s" }'
    for replacements in (
        [('of_two"', 'of_two"\nslots = 12\nchoices = 12'), ('"10ms"', '"10ms", machines = 12')],
        [('of_two"', 'of_two"\nadapt = { period = "1us" }'), (CPU, LIVE)],
        [(OPEN, users)],
        [(OPEN, users + "\nretry = { attempts = 2 }"), ("cores = 2", "backlog = 1")],
        [("load", "retry = { attempts = 1 }\nload")],
        [(SHARED, '{ kind = "sharing", workers = 1, turn = "4ms" }')],
        [("load = 0.8", "load = 1.5"), ("cores = 2", "backlog = 100")],
        [("cores = 2", "weights = [0, 1]")],
        [("cores = 2", 'pauses = { rate = 1, length = "1s", speed = 1 }')],
        [('"cpu", period = "10ms"', '"cpu", period = "59s", tick = 0, loss = 0.999')],
    ):
        load_scenario(changed(GOOD, *replacements))


# Overrides -------------------------------------------------------------------------------------------------


def test_overrides_reach_any_field():
    new = override(
        load_scenario(GOOD),
        {
            "clients.retry.attempts": 5,
            "servers.speeds": "[1, 2.5]",
            "servers.service.work.time": "3ms",
            "balancer.cost": {"mode": "cuckoo"},
            "balancer.signal": Signal(metric="latency", period=MS),
        },
    )
    assert type(new) is RequestScenario
    assert new.clients.retry == Retry(attempts=5)
    assert (new.servers.speeds, new.servers.service) == ((1.0, 2.5), Cpu(work=Fixed(time=Work(3 * MS))))
    assert new.balancer.cost == BalancerCost(mode="cuckoo")
    assert new.balancer.signal == Signal(metric="latency", period=MS)


def test_a_new_pace_replaces_the_old_one():
    base = load_scenario(GOOD)
    fast = override(base, {"clients.per_second": "9"})
    assert (fast.clients.load, fast.clients.per_second) == (None, 9.0)
    assert override(fast, {"clients.load": 0.8}) == base
    with pytest.raises(ScenarioError, match="exactly one of per_second, load"):
        override(base, {"clients.load": 1, "clients.per_second": 1})


def test_a_new_kind_keeps_what_it_shares():
    base = override(load_scenario(GOOD), {"clients.overhead": "2ms", "servers.service.by_second": True})
    paced = override(
        base,
        {"clients.kind": "paced", "clients.connections": 4, "clients.per_second": 8, "clients.spread": 0},
    )
    assert paced.clients == Paced(connections=4, per_second=8.0, spread=0, overhead=2 * MS)
    spin = override(base, {"servers.service.kind": "spin", "servers.service.wall": Fixed(time=Work(MS))})
    assert spin.servers.service == Spin(wall=Fixed(time=Work(MS)), by_second=True)
    assert override(base, {"servers.discipline.kind": "jbsq"}).servers.discipline == Jbsq()
    assert override(base, {"servers.discipline.kind": "fcfs"}).servers.discipline == Fcfs()


# Meaning ---------------------------------------------------------------------------------------------------


def test_a_load_is_what_all_cores_do_at_their_speeds():
    scenario = load_scenario(GOOD)  # 24 cores, 2 ms each
    assert scenario.rate() == pytest.approx(0.8 * 24 / 2e-3)
    assert scenario.expected_units() == pytest.approx(60 * 9600)
    assert scenario.expected_live() == pytest.approx(0.8 * 24)
    uneven = override(scenario, {"servers.speeds": "[1, 2, 3, 4, 5]"})  # of 12 servers: 15 + 15 + 1 + 2
    assert uneven.servers.capacity == 2 * 33
    assert uneven.rate() == pytest.approx(0.8 * 66 / 2e-3)
    spin = override(load_scenario(SPIN), {"clients": Independent(load=0.5)})
    assert spin.rate() == pytest.approx(0.5 * 64 / 9.18e-3)


def test_an_overload_leaves_requests_behind():
    scenario = override(load_scenario(GOOD), {"clients.load": 2.0})
    assert scenario.expected_live() == pytest.approx(24 * 2 + scenario.expected_units() / 2)
    bounded = override(scenario, {"servers.backlog": 5})
    assert bounded.expected_live() == 60


def test_of_users_as_many_are_expected_as_could_be():
    users = Users(users=30, think=Exponential(mean=Work(8 * MS)))
    scenario = override(load_scenario(GOOD), {"clients": users})
    assert scenario.rate() == pytest.approx(30 / 10e-3)
    assert scenario.expected_live() == 30
    paced = load_scenario(SPIN)
    assert (paced.rate(), paced.expected_live()) == (6400, 1024)
    assert paced.expected_units() == 6400 * 15


def test_of_a_recording_only_its_file_knows():
    scenario = override(load_scenario(GOOD), {"clients": Traced(file="x.csv")})
    assert scenario.rate() is scenario.expected_units() is scenario.expected_live() is None


def test_every_kind_has_one_part():
    for kind, part in requests.KINDS.items():
        assert part.model_fields["kind"].default == kind
        assert KINDS[kind] is part
    assert set(requests.KINDS.values()) == {
        *(Independent, Traced, Users, Paced),
        *(Fcfs, Sharing, Stealing, Jbsq, Priority),
        *(Cpu, Spin),
    }
