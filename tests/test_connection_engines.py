"""Two engines, one truth, for connections: equal attempts and equal control give equal bits."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lbsim
from lbsim.balancer import policies
from lbsim.balancer.balancer import Balancer
from lbsim.engine.connection.compiled import CompiledPlane
from lbsim.engine.connection.plane import CONTROL, Attempts, Clients, Plane, Tally, Urls
from lbsim.engine.connection.reference import ReferencePlane
from lbsim.engine.connection.run import STOP, run_connections
from lbsim.engine.plane import Clock
from lbsim.scenario import (
    Adapt,
    ConnectionScenario,
    ConnTable,
    Cookie,
    DaisyChain,
    Exponential,
    FlowTable,
    Jet,
    Open,
    Rehash,
    ScenarioError,
    Servers,
    SilkRoad,
    Work,
)
from lbsim.scenario import Balancer as Balancing
from lbsim.units import SECOND

SHORT = (0, 0, 0, 1, 1, 2, 3, 5)
PAUSES = (0, 0, 1, 2, 3, 6, 12, 25)
LENGTHS = (0, 0, 1, 4, 6, 12, 42, 84)
GAPS = (0, 0, 1, 3, 7, 14)
ANY = ("hashed", "bounded_loads", "least_loaded", "adaptive_weighted_round_robin", "beamer")
BY_HASH = ("hashed", "ring", "beamer")
GENTLE = ("add", "drain", "adapt", "read")
ROUGH = ("add", "drain", *GENTLE, "add", "remove", "crash", "leave")
SCHEMES: dict[str, tuple[Callable[[Random], Any], tuple[str, ...]]] = {
    "rehash": (lambda r: Rehash(), BY_HASH),
    "cookie": (
        lambda r: Cookie(carrier=r.choice(("msb", "lsb", "quic")), hidden=r.random() < 0.5),  # type: ignore[arg-type]
        ANY,
    ),
    "conntable": (
        lambda r: ConnTable(
            capacity=r.randint(1, 12),
            block=r.choice((4, 64)),
            variant=r.choice(("cheetah", "fastclick", "bmv2")),  # type: ignore[arg-type]
        ),
        ANY,
    ),
    "flow_table": (lambda r: FlowTable(capacity=r.randint(1, 12)), ANY),
    "daisy_chain": (lambda r: DaisyChain(), ("beamer",)),
    "jet": (lambda r: Jet(), ("ring", "maglev")),
    "silkroad": (lambda r: SilkRoad(cells=r.randint(1, 40)), BY_HASH),
}


class Case(NamedTuple):
    """All that a run depends on."""

    policy: str
    consistency: Any
    configured: int
    active: int
    weights: list[int]
    seed: int
    clients: Clients
    rows: list[tuple[int, int, int, int, int, int]]  # gap to the one before, then as in Attempts
    cut: int  # rows in the first chunk
    control: list[tuple[int, str, int]]  # gap to the one before, what, which
    end: int


def cases(
    policy: str = "", schemes: tuple[str, ...] = tuple(SCHEMES), does: tuple[str, ...] = ROUGH
) -> st.SearchStrategy[Case]:
    """Return random cases; not hypothesis's own, most of which are too small for anything to happen."""
    return st.randoms(use_true_random=True).map(lambda r: case_of(r, policy, schemes, does))


def case_of(r: Random, policy: str, schemes: tuple[str, ...], does: tuple[str, ...]) -> Case:
    """Times in a tiny range: ties of every kind, connections of no length and at every instant are common."""
    scheme, fitting = SCHEMES[r.choice(schemes)]
    configured = r.choice((1, 2, 3, 4, 5, 6))
    control = [(r.choice(PAUSES), r.choice(does), r.randrange(100)) for _ in range(r.randint(0, 20))]
    urls = None
    if r.random() < 0.4:
        lengths, gaps = zip(
            *((r.choice(LENGTHS), r.choice(GAPS)) for _ in range(r.randint(1, 6))), strict=True
        )
        columns = (np.array(column, np.int64) for column in (lengths, gaps))
        urls = Urls(r.randint(1, 2), *columns, again=r.random() < 0.5)
    # A client that retries at once would hammer a dead server of the list for ever, at one instant.
    crashes = any(what == "crash" for _, what, _ in control)
    retries = (-1, 1, 3) if crashes else (-1, 0, 1, 3)
    clients = Clients(
        r.getrandbits(62), r.choice((0, 0, 5, 20)), r.choice(retries), r.choice((0, 3, 1000)), urls
    )
    rows = [
        (
            r.choice(SHORT),
            r.choice((r.randrange(4), r.getrandbits(32))),
            r.choice(LENGTHS),
            r.choice(GAPS),
            0 if urls is None else r.randrange(urls.processes),
            r.getrandbits(63),
        )
        for _ in range(r.randint(0, 60))
    ]
    return Case(
        policy or r.choice(fitting),
        scheme(r),
        configured,
        r.randint(1, configured),
        [r.randint(1, 3) for _ in range(configured)],
        r.getrandbits(62),
        clients,
        rows,
        r.randint(0, len(rows)),
        control,
        r.choice((r.randint(1, 90), 1000 if crashes else 10**6)),  # and here it still does until the end
    )


def chunks(case: Case) -> list[Attempts]:
    """The case's attempts as two chunks, below its end as a source gives them."""
    columns = np.array(case.rows, np.int64).reshape(-1, 6).T.copy()
    columns[0] = np.cumsum(columns[0])
    columns = columns[:, columns[0] < case.end]
    none = np.empty(0, np.int64)
    parts = []
    for part in (columns[:, : case.cut], columns[:, case.cut :]):
        time, digest, length, gap, process, coin = (column.copy() for column in part)
        if case.clients.urls is None:
            parts.append(Attempts(time, digest, length, gap, none, none))
        else:
            parts.append(Attempts(time, digest, none, none, process, coin))
    return parts


def act(balancer: Balancer, plane: Plane, now: int, what: str, which: int) -> None:
    """Do one thing to the pool, where it can be done."""
    pool = balancer.pool
    up = [server for server in pool.active if not pool.down[server]]
    dead = [server for server in pool.active if pool.down[server]]
    server = up[which % len(up)]
    if what == "add" and pool.spares:
        spare = None if which % 2 else pool.spares[which % len(pool.spares)]
        plane.change(now, lambda: balancer.join(spare, which % (len(pool.active) + 1), now))
    elif what in ("drain", "remove", "crash") and len(up) > 1:
        plane.change(now, lambda: getattr(balancer, what)(server, now))
    elif what == "leave" and dead:
        plane.change(now, lambda: balancer.leave(dead[which % len(dead)], now))
    elif what == "adapt" and balancer.policy.name == "adaptive_weighted_round_robin":
        balancer.reweigh(plane.loads(), now)
        plane.refresh()


def run(case: Case, engine: str, reference: type[ReferencePlane] = ReferencePlane) -> tuple[Tally, list[Any]]:
    """Run a case; return what was counted, and all that control read on the way."""
    policy = policies()[case.policy]
    env = Clock()
    has_table = policy.table is not None or policy.buckets is not None
    balancer = Balancer(
        policy,
        case.configured,
        case.active,
        np.array(case.weights, np.float64),
        consistency=case.consistency,
        slots=17 if has_table else None,
        choices=3,
        seed=case.seed,
        adapt=Adapt(gain=3, least=1, most=5),
    )
    plane: Plane
    if engine == "reference":
        plane = reference(env, balancer, iter(chunks(case)), case.clients)
    else:
        plane = CompiledPlane(balancer, iter(chunks(case)), case.clients, 1e12, 0)
    seen: list[Any] = []

    def control() -> Any:
        for gap, what, which in case.control:
            yield env.wait(gap, CONTROL)
            plane.sync(env.now)
            act(balancer, plane, env.now, what, which)
            seen.append((env.now, plane.counters(), plane.loads().tolist()))

    env.process(control())
    env.run(until=env.wait(case.end, STOP))
    tally = plane.finish(case.end)
    seen.append(balancer.state.tolist())
    return tally, seen


def plain(tally: Tally) -> dict[str, Any]:
    """A tally in values that compare."""
    fields = tally._asdict() | {f"breaks.{k}": v for k, v in tally.breaks._asdict().items()}
    del fields["breaks"]
    return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in fields.items()}


def check(case: Case, reference: type[ReferencePlane] = ReferencePlane) -> None:
    truth, seen = run(case, "reference", reference)
    tally, same = run(case, "compiled")
    assert plain(tally) == plain(truth)
    assert same == seen


@given(cases())
@settings(max_examples=250)
def test_the_engines_agree(case: Case) -> None:
    check(case)


@given(cases(schemes=("jet", "silkroad", "daisy_chain"), does=("add", "drain")))
@settings(max_examples=100)
def test_the_engines_agree_where_schemes_remember_a_part(case: Case) -> None:
    check(case)


@pytest.mark.slow
@given(cases())
@settings(max_examples=500)
def test_the_engines_agree_at_length(case: Case) -> None:
    check(case)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(policies()))
def test_the_engines_agree_for_every_policy(name: str) -> None:
    @given(cases(policy=name, schemes=("cookie", "conntable", "flow_table")))
    @settings(max_examples=20)
    def agree(case: Case) -> None:
        check(case)

    agree()


@pytest.mark.parametrize("engine", ["compiled", "reference"])
@pytest.mark.parametrize("scheme", ["cookie", "conntable"])
@pytest.mark.parametrize("examples", [50, pytest.param(2500, marks=pytest.mark.slow)])
def test_cheetah_breaks_nothing_while_servers_come_and_drain(scheme: str, engine: str, examples: int) -> None:
    @given(cases(schemes=(scheme,), does=GENTLE))
    @settings(max_examples=examples)
    def nothing_breaks(case: Case) -> None:
        if scheme == "conntable":  # bmv2's table gives the same cookie to all that find it full
            case = case._replace(consistency=ConnTable(capacity=40, block=64))
        tally, _ = run(case, engine)
        assert len(tally.breaks.time) == 0
        assert tally.whole.remapped == tally.whole.lost == 0
        assert tally.whole.begun == tally.whole.completed + tally.whole.live

    nothing_breaks()


class Late(ReferencePlane):
    """Wrong on purpose: a break at the very instant of a change comes a picosecond later."""

    def astray(self, c: Any, time: int, change: int) -> Any:
        return super().astray(c, time + 1, change)


def test_a_break_at_another_instant_would_be_seen() -> None:
    clients = Clients(1, 0, -1, 0, None)
    case = Case("hashed", Rehash(), 2, 1, [1, 1], 1, clients, [(0, 1, 9, 0, 0, 0)], 1, [(4, "add", 1)], 10)
    check(case)
    assert run(case, "compiled")[0].breaks.time.tolist() == [4]
    with pytest.raises(AssertionError):
        check(case, Late)


@pytest.mark.parametrize(("back", "broken"), [(6, 0), (7, 1)])
def test_a_packet_at_the_instant_of_a_change_comes_after_it(back: int, broken: int) -> None:
    """A server leaves at 3; its connections, begun at 1, send at 6: nothing happens if it is back by then."""
    rows = [(k == 0, digest, 20, 5, 0, 0) for k, digest in enumerate(range(17))]
    control = [(3, "drain", 1), (back - 3, "add", 0)]
    clients = Clients(1, 0, -1, 0, None)
    case = Case("ring", Jet(), 2, 2, [1, 1], 1, clients, rows, 17, control, 15)
    check(case)
    tally, seen = run(case, "compiled")
    _, counters, loads = seen[0]
    assert counters.live == 17
    assert loads[1] > 0
    assert tally.whole.remapped == broken * loads[1]
    assert tally.breaks.time.tolist() == [6] * (broken * loads[1])
    assert tally.peak_protected == 0  # all servers were there when they began


def test_a_policy_numba_refuses_runs_in_the_reference_and_says_so() -> None:
    @lbsim.policy(by_hash=True)
    def by_bits(view: lbsim.View, unit: lbsim.Unit) -> int:
        return unit.hash.bit_count() % view.n

    s = ConnectionScenario(
        clients=Open(per_second=1000.0, length=Exponential(mean=Work.parse("50ms"))),
        balancer=Balancing(policy="by_bits"),
        servers=Servers(configured=4),
        duration=SECOND // 5,
    )
    result = run_connections(s)
    assert result.engine.startswith("reference")
    assert "by_bits runs in the reference engine" in result.notices[0]
    assert "bit_count" in result.notices[0]
    with pytest.raises(ScenarioError, match="does not compile"):
        run_connections(s, "compiled")


@pytest.mark.parametrize("engine", ["compiled", "reference"])
def test_a_policy_that_sends_nowhere_is_told(engine: str) -> None:
    @lbsim.policy
    def beyond(view: lbsim.View, unit: lbsim.Unit) -> int:
        return view.n if unit.index == 2 else 0

    case = Case(
        "beyond", Cookie(), 2, 2, [1, 1], 1, Clients(1, 0, -1, 0, None), [(1, 0, 5, 0, 0, 0)] * 4, 4, [], 9
    )
    with pytest.raises(ValueError, match=r"sent connection 2 to no server: it must return 0 \.\. 1"):
        run(case, engine)
