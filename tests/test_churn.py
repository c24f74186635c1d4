"""Servers that come and go: what the control plane does, and when; and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbsim.balancer import policies
from lbsim.balancer.balancer import Balancer as TheBalancer
from lbsim.engine.connection.control import Churn
from lbsim.engine.connection.run import prepare, run_connections
from lbsim.engine.plane import Clock
from lbsim.metrics.connections import LOST, ConnectionResult
from lbsim.rng import stream
from lbsim.scenario import (
    Adapt,
    Balancer,
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
    Open,
    Rehash,
    ScenarioError,
    Schedule,
    Servers,
    SilkRoad,
    Updates,
    Urls,
    Work,
)
from lbsim.units import MS, SECOND, US


def work(text: str) -> Work:
    return Work.parse(text)


class Quiet:
    """A plane without connections, which notes the list after each change."""

    def __init__(self, env: Clock, balancer: TheBalancer) -> None:
        self.env, self.balancer = env, balancer
        self.lists: list[tuple[int, list[int], list[int]]] = []  # time, active, down

    def change(self, now: int, apply: Any) -> None:
        assert now == self.env.now
        apply()
        pool = self.balancer.pool
        self.lists.append((now, list(pool.active), np.flatnonzero(pool.down).tolist()))


def history(
    spec: Any, until: int, *, configured: int = 6, active: int = 4, delay: int = 0
) -> tuple[Any, int]:
    """Return the list after each change, and how many changes could not be."""
    env = Clock()
    balancer = TheBalancer(
        policies()["hashed"], configured, active, np.ones(configured), consistency=Cookie()
    )
    plane = Quiet(env, balancer)
    churn = Churn(env, plane, balancer, spec, delay, stream(1, "churn"))  # type: ignore[arg-type]
    env.run(until=until)
    return plane.lists, churn.undone


def changes(*all_: tuple[int, str, dict[str, Any]]) -> Schedule:
    return Schedule(changes=tuple(Change(at=at, do=do, **more) for at, do, more in all_))  # type: ignore[arg-type]


# --- what happens to the list -------------------------------------------------------------------------------


def test_spares_come_in_their_order_and_the_oldest_go_first() -> None:
    end, oldest = {"place": "end"}, {"pick": "oldest"}
    spec = changes(
        (1, "add", end | {"servers": 2}),
        (5, "drain", oldest),
        (5, "drain", oldest),
        (9, "add", end),
        (10, "drain", oldest | {"servers": 3}),
    )
    lists, undone = history(spec, 100)
    assert lists == [
        (1, [0, 1, 2, 3, 4, 5], []),
        (5, [1, 2, 3, 4, 5], []),
        (5, [2, 3, 4, 5], []),
        (9, [2, 3, 4, 5, 0], []),
        (10, [5, 0], []),
    ]
    assert undone == 0


def test_the_oldest_is_the_longest_there_wherever_it_stands() -> None:
    """An added server may be put first, and is the youngest all the same."""
    adds = [(k + 1, "add", {}) for k in range(2)]
    drains = [(k + 10, "drain", {"pick": "oldest"}) for k in range(5)]
    lists, _ = history(changes(*adds, *drains), 100)
    assert {tuple(sorted(active)) for _, active, _ in lists[2:]} == {
        (1, 2, 3, 4, 5),
        (2, 3, 4, 5),
        (3, 4, 5),
        (4, 5),
        (5,),
    }


def test_named_servers_go_and_come() -> None:
    spec = changes(
        (1, "remove", {"server": 2}), (2, "add", {"server": 5, "place": "end"}), (3, "drain", {"server": 0}),
        (4, "add", {"server": 2, "place": "end"}),
    )  # fmt: skip
    lists, _ = history(spec, 100)
    assert lists == [
        (1, [0, 1, 3], [2]), (2, [0, 1, 3, 5], [2]), (3, [1, 3, 5], [2]), (4, [1, 3, 5, 2], []),
    ]  # fmt: skip


def test_random_choices_are_uniform() -> None:
    went, places = np.zeros(4), np.zeros(4)
    for seed in range(400):
        env = Clock()
        balancer = TheBalancer(policies()["hashed"], 5, 4, np.ones(5), consistency=Cookie())
        plane = Quiet(env, balancer)
        spec = changes((1, "drain", {}), (2, "add", {"server": 4}))
        Churn(env, plane, balancer, spec, 0, stream(seed, "churn"))  # type: ignore[arg-type]
        env.run(until=10)
        (gone,) = {0, 1, 2, 3} - set(plane.lists[0][1])
        went[gone] += 1
        places[plane.lists[1][1].index(4)] += 1
    for counts in (went, places):
        assert ((counts - 100) ** 2 / 100).sum() < 21.1  # chi square, 3 degrees of freedom, 0.9999


def test_a_crash_is_noticed_later() -> None:
    spec = changes((10, "crash", {"server": 1, "detect": 5}), (12, "add", {"place": "end"}))
    lists, _ = history(spec, 100)
    assert lists == [
        (10, [0, 1, 2, 3], [1]), (12, [0, 1, 2, 3, 4], [1]), (15, [0, 2, 3, 4], [1]),
    ]  # fmt: skip
    assert history(changes((10, "crash", {"server": 1})), 100)[0] == [(10, [0, 2, 3], [1])]


def test_what_is_dead_is_not_picked_to_go() -> None:
    spec = changes(
        (10, "crash", {"server": 0, "detect": 50}), *((20 + k, "drain", {"pick": "oldest"}) for k in range(2))
    )
    lists, _ = history(spec, 100)
    assert [active for _, active, _ in lists] == [[0, 1, 2, 3], [0, 2, 3], [0, 3], [3]]


def test_a_server_that_is_back_before_its_crash_is_noticed_stays() -> None:
    spec = Flaps(
        servers=1,
        up=Fixed(time=work("10ps")),
        down=Fixed(time=work("5ps")),
        do="crash",
        detect=8,
        place="random",
    )
    lists, _ = history(spec, 29)
    assert lists == [
        (10, [0, 1, 2, 3], [0]), (15, [0, 1, 2, 3], []),
        (25, [0, 1, 2, 3], [0]),
    ]  # fmt: skip


def test_flaps_go_and_come_again_and_again() -> None:
    spec = Flaps(
        servers=2, up=Fixed(time=work("10ps")), down=Fixed(time=work("3ps")), do="remove", place="end"
    )
    lists, undone = history(spec, 24)
    assert lists == [
        (10, [1, 2, 3], [0]), (10, [2, 3], [0, 1]), (13, [2, 3, 0], [1]), (13, [2, 3, 0, 1], []),
        (23, [2, 3, 1], [0]), (23, [2, 3], [0, 1]),
    ]  # fmt: skip
    assert undone == 0


def test_updates_come_as_often_as_asked_and_last_as_long() -> None:
    spec = Updates(per_minute=600.0, down=Fixed(time=work("20ms")))
    lists, undone = history(spec, 60 * SECOND, configured=40, active=40)
    sizes = np.array([len(active) for _, active, _ in lists])
    times = np.array([time for time, _, _ in lists])
    gone = times[np.diff(sizes, prepend=40) < 0]
    back = times[np.diff(sizes, prepend=40) > 0]
    assert abs(len(gone) - 600) < 5 * 600**0.5
    assert np.array_equal(back, gone[: len(back)] + 20 * MS)
    assert undone == 0


def test_the_last_server_stays() -> None:
    spec = Updates(per_minute=6e5, down=Exponential(mean=work("1s")))
    lists, undone = history(spec, SECOND, configured=3, active=3)
    assert min(len(active) for _, active, _ in lists) == 1
    assert undone > 100


def test_a_slow_balancer_follows_later_but_the_dead_are_dead_at_once() -> None:
    spec = changes(
        (10, "drain", {"server": 0}), (11, "crash", {"server": 1, "detect": 2}), (12, "add", {"place": "end"})
    )
    lists, _ = history(spec, 100, delay=7)
    assert lists == [
        (11, [0, 1, 2, 3], [1]), (17, [1, 2, 3], [1]), (19, [1, 2, 3, 4], [1]), (20, [2, 3, 4], [1]),
    ]  # fmt: skip


@given(st.data())
@settings(max_examples=200)
def test_the_list_always_holds_a_server_that_is_up(data: st.DataObject) -> None:
    configured = data.draw(st.integers(2, 6))
    active = data.draw(st.integers(2, configured))
    law = st.sampled_from([Fixed(time=work("3ps")), Exponential(mean=work("4ps")), Fixed(time=work("0ps"))])
    do = data.draw(st.sampled_from(["drain", "remove", "crash"]))
    detect = data.draw(st.sampled_from([0, 2, 9])) if do == "crash" else 0
    place = data.draw(st.sampled_from(["random", "end"]))
    more: dict[str, Any] = {"do": do, "detect": detect, "place": place}
    if data.draw(st.booleans()):
        spec: Any = Updates(per_minute=60e12 * 0.3, down=data.draw(law), **more)
    else:
        servers = data.draw(st.integers(1, active - 1))
        spec = Flaps(servers=servers, up=Exponential(mean=work("4ps")), down=data.draw(law), **more)
    delay = data.draw(st.sampled_from([0, 0, 3]))
    lists, _ = history(spec, 150, configured=configured, active=active, delay=delay)
    for _, listed, down in lists:
        assert set(listed) - set(down)
        assert len(set(listed)) == len(listed)


# --- what happens to connections ----------------------------------------------------------------------------


def scenario(**fields: Any) -> ConnectionScenario:
    fields.setdefault("clients", Open(per_second=2000.0, length=Exponential(mean=work("50ms")), gap=5 * MS))
    fields.setdefault("servers", Servers(configured=8, active=6))
    fields.setdefault("duration", SECOND // 2)
    return ConnectionScenario(
        balancer=Balancer(
            policy=fields.pop("policy", "hashed"),
            consistency=fields.pop("consistency", Cookie()),
            adapt=fields.pop("adapt", None),
            slots=fields.pop("slots", None),
        ),
        **fields,
    )


CRASH = changes((SECOND // 10, "crash", {"server": 3, "detect": SECOND // 10}))


@pytest.mark.parametrize("engine", ["reference", "compiled"])
def test_a_crash_loses_what_the_server_had_and_what_is_sent_to_it(engine: Any) -> None:
    result = run_connections(scenario(churn=CRASH), engine)
    log = result.breaks
    assert (log.cause == LOST).all()
    assert (log.server == 3).all()
    assert log.time.min() >= SECOND // 10
    assert log.time.max() < SECOND // 5
    # 2000 a second for 0.1 s, a sixth of them on server 3; and 2000 x 0.05 / 6 that were there, of which
    # those that end before their next packet, exp(-1/10) < 10 %, are not hurt.
    assert len(log.time) == pytest.approx(33 + 16, abs=25)
    assert result.load[3] == 0


def test_a_drained_server_serves_on() -> None:
    result = run_connections(scenario(churn=changes((SECOND // 10, "drain", {"servers": 5}))), "compiled")
    assert result.broken == 0
    assert result.whole.active == 1


def test_silkroad_breaks_what_it_has_no_room_for() -> None:
    many, few = (
        run_connections(
            scenario(
                policy="maglev", consistency=SilkRoad(cells=cells), churn=changes((SECOND // 4, "add", {}))
            ),
            "compiled",
        )
        for cells in (10_000, 16)
    )
    assert many.broken == 0
    assert few.whole.remapped > 0
    assert few.breaks.time.min() >= SECOND // 4 + MS


SPECS = {
    "schedule": changes(
        (40 * MS, "add", {}), (80 * MS, "crash", {"detect": 10 * MS}), (90 * MS, "drain", {"servers": 2}),
        (90 * MS, "add", {"servers": 2}), (120 * MS, "remove", {}),
    ),
    "updates": Updates(per_minute=6000.0, do="crash", down=Exponential(mean=work("20ms")), detect=5 * MS),
    "flaps": Flaps(servers=2, up=Exponential(mean=work("9ms")), down=Fixed(time=work("4ms")), do="remove"),
}  # fmt: skip

SCHEMES = (
    Rehash(), Cookie(), ConnTable(capacity=64, block=16), FlowTable(capacity=64), DaisyChain(), Jet(),
    SilkRoad(cells=32),
)  # fmt: skip


def seen(result: ConnectionResult) -> list[Any]:
    samples = result.samples
    assert samples is not None
    return [
        result.whole, result.cohort, result.imbalance_sum, result.imbalance_max, result.imbalance_count,
        result.peak, result.peak_protected, result.memory_bytes, result.load.tolist(), result.placed.tolist(),
        [c.tolist() for c in result.breaks], [c.tolist() for c in samples], result.notices,
    ]  # fmt: skip


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.kind)
@pytest.mark.parametrize("churn", SPECS)
def test_whole_runs_agree_in_both_engines(churn: str, scheme: Any) -> None:
    policy = {"jet": "ring", "daisy_chain": "beamer"}.get(scheme.kind, "hashed")
    clients: Any = Open(
        per_second=2000.0, length=Exponential(mean=work("40ms")), gap=3 * MS, retry=MS, notice=2 * MS
    )
    if scheme.kind in ("rehash", "cookie"):
        clients = Urls(urls=60, overhead=100 * US, notice=MS, start=10 * MS, stop=90 * MS, again=True)
    s = scenario(
        clients=clients, churn=SPECS[churn], policy=policy, consistency=scheme, duration=SECOND // 5,
        warmup=20 * MS, measure=ConnectionMeasure(interval=10 * MS),
        slots=97 if policy == "ring" else None,
    )  # fmt: skip
    reference, compiled = run_connections(s, "reference"), run_connections(s, "compiled")
    assert seen(compiled) == seen(reference)
    assert compiled.engine != reference.engine
    assert compiled.whole.begun > 100
    assert compiled.broken > 0 or scheme.kind == "flow_table"


def test_weights_adapt_in_both_engines() -> None:
    s = scenario(
        policy="adaptive_weighted_round_robin",
        adapt=Adapt(period=5 * MS),
        churn=SPECS["schedule"],
        servers=Servers(configured=8, active=6, weights=(1.0, 4.0)),
        measure=ConnectionMeasure(interval=10 * MS),
    )
    reference, compiled = run_connections(s, "reference"), run_connections(s, "compiled")
    assert seen(compiled) == seen(reference)
    fixed = run_connections(scenario(policy="weighted_round_robin", servers=s.servers), "compiled")
    assert fixed.placed[1] == pytest.approx(4 * fixed.placed[0], rel=0.1)
    adapted = run_connections(s.model_copy(update={"churn": None}), "compiled")
    assert adapted.placed[1] < 2 * adapted.placed[0]  # the weights of the start are soon forgotten


def test_churn_does_not_depend_on_the_policy() -> None:
    active = []
    for policy in ("hashed", "least_loaded"):
        s = scenario(policy=policy, churn=SPECS["updates"], measure=ConnectionMeasure(interval=5 * MS))
        active.append(run_connections(s, "compiled").series("active")["active"].tolist())
    assert active[0] == active[1]
    assert len(set(active[0])) > 1


def test_what_could_not_be_is_told() -> None:
    spec = Updates(per_minute=60_000.0, down=Exponential(mean=work("1s")))
    result = run_connections(scenario(churn=spec, servers=Servers(configured=2)), "compiled")
    assert any("changes of the pool could not be" in notice for notice in result.notices)


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"policy": "hashd"}, r"balancer\.policy: 'hashd' is none of .*did you mean 'hashed'\?"),
        (
            {"policy": "round_robin", "consistency": Rehash()},
            r"'round_robin' looks at more .* rehash .*'hashed'.* or another balancer\.consistency",
        ),
        ({"policy": "least_loaded", "consistency": SilkRoad(cells=10)}, r"silkroad cannot ask it again"),
        ({"policy": "bounded_loads", "consistency": Jet()}, r"jet cannot ask it again; write .*'ring'"),
        ({"policy": "hashed", "consistency": Jet()}, r"'hashed' has no table.*write .*'ring'"),
        ({"policy": "maglev", "consistency": DaisyChain()}, r"no buckets.*write 'beamer' or "),
        ({"policy": "round_robin", "adapt": Adapt()}, r"balancer\.adapt: .*'adaptive_weighted_round_robin'"),
        ({"policy": "maglev", "adapt": Adapt()}, r"'maglev' has no weighted list"),
        (
            {"policy": "round_robin", "slots": 100},
            r"balancer\.slots: 'round_robin' has no table; leave it out",
        ),
        (
            {"policy": "beamer", "servers": Servers(configured=4000)},
            r"balancer\.slots: 'beamer' has 3200 slots for 4000 configured servers; write slots = ",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(fields: dict[str, Any], told: str) -> None:
    s = scenario(**fields)
    for check in (prepare, run_connections):
        with pytest.raises(ScenarioError, match=told):
            check(s)


def test_clients_that_would_connect_again_for_ever_are_refused() -> None:
    clients = Open(per_second=1000.0, length=Exponential(mean=work("50ms")), retry=0)
    with pytest.raises(ScenarioError, match=r"clients\.retry: .*for ever.*write retry = \"1ms\""):
        prepare(scenario(clients=clients, churn=CRASH))
    prepare(scenario(clients=clients, churn=changes((MS, "crash", {}), (MS, "remove", {}))))
    result = run_connections(scenario(clients=clients, churn=changes((100 * MS, "crash", {}))), "compiled")
    assert result.whole.retried == result.whole.lost > 0


def test_all_problems_are_told_at_once() -> None:
    s = scenario(policy="least_loaded", consistency=Rehash(), adapt=Adapt(), slots=50)
    with pytest.raises(ScenarioError) as error:
        prepare(s)
    assert len(error.value.problems) == 3


@pytest.mark.parametrize("name", sorted(policies()))
def test_every_policy_runs_with_cookies(name: str) -> None:
    assert prepare(scenario(policy=name)).name == name
