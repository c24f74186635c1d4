from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from connection_oracle import Attempt, Change, Outcome, simulate
from hypothesis import given, settings
from hypothesis import strategies as st

from lbsim.balancer.balancer import Balancer
from lbsim.balancer.policies import Unit, View, policies
from lbsim.engine.connection.compiled import CompiledPlane
from lbsim.engine.connection.plane import Attempts, Clients, Tally, Urls
from lbsim.engine.policy import PolicyError
from lbsim.scenario.consistency import Rehash

EVENTS = ("begun", "completed", "remapped", "lost", "refused", "skipped", "retried")


def balancer(name: str, configured: int, active: int) -> Balancer:
    return Balancer(policies()[name], configured, active, np.ones(configured), consistency=Rehash())


def chunks(attempts: list[Attempt], size: int) -> Iterator[Attempts]:
    for k in range(0, len(attempts), size):
        rows = np.array(attempts[k : k + size], np.int64).T.copy()
        yield Attempts(*rows[[0, 1, 2, 3, 4, 5]])


def compiled(
    attempts: list[Attempt],
    changes: list[Change],
    configured: int,
    active: int,
    clients: Clients,
    end: int,
    chunk: int,
    live_hint: int = 1,
) -> tuple[Tally, CompiledPlane]:
    front = balancer("hashed", configured, active)
    plane = CompiledPlane(front, chunks(attempts, chunk), clients, 1e11, live_hint)
    for c in changes:
        if c.time < end:
            if c.do == "join":
                plane.change(c.time, lambda c=c: front.join(c.server, c.place, c.time))  # type: ignore[misc]
            elif c.do == "leave":
                plane.change(c.time, lambda c=c: front.leave(c.server, c.time))  # type: ignore[misc]
            else:
                plane.change(c.time, lambda c=c: front.crash(c.server, c.time))  # type: ignore[misc]
    return plane.finish(end), plane


def same(tally: Tally, told: Outcome) -> None:
    for name in EVENTS:
        assert getattr(tally.whole, name) == told.whole[name], name
        assert getattr(tally.cohort, name) == told.cohort[name], name
    assert list(zip(*(column.tolist() for column in tally.breaks), strict=True)) == told.breaks
    total = 0.0
    for ratio in told.ratios:
        total += ratio
    assert tally.imbalance_sum == total
    assert tally.imbalance_max == max(told.ratios, default=0.0)
    assert tally.imbalance_count == len(told.ratios)
    assert tally.load.tolist() == told.load
    assert tally.placed.tolist() == told.placed
    assert (tally.whole.live, tally.peak) == (told.live, told.peak)


def made(rng: np.random.Generator, configured: int, active: int, span: int) -> list[Change]:
    """Draw changes that a pool can make, several of them at one instant."""
    listed, down = list(range(active)), set()
    changes = []
    for time in np.sort(rng.integers(0, span, rng.integers(0, 8))).tolist():
        away = [s for s in range(configured) if s not in listed]
        do = rng.choice(["join", "leave", "crash"])
        if do == "join" and away:
            server, place = int(rng.choice(away)), int(rng.integers(len(listed) + 1))
            listed.insert(place, server)
            down.discard(server)
            changes.append(Change(time, "join", server, place))
        elif do == "leave" and len(listed) > 1:
            server = int(rng.choice(listed))
            listed.remove(server)
            changes.append(Change(time, "leave", server))
        elif do == "crash":
            server = int(rng.integers(configured))
            changes.append(Change(time, "crash", server))
    return changes


# Times from a tiny range, so that everything meets at one instant now and then.
@given(
    st.integers(0, 2**32), st.sampled_from([6, 40, 1000]), st.sampled_from(["open", "retry", "urls", "again"])
)
@settings(max_examples=150, deadline=None)
def test_the_kernels_do_what_the_oracle_tells(seed: int, span: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    configured = int(rng.integers(1, 6))
    active, n = int(rng.integers(1, configured + 1)), int(rng.integers(0, 60))
    gaps = rng.choice([0, 1, 2, 5, 50], n)
    lengths = rng.choice([0, 1, 3, span // 2, span * 2], n) + rng.integers(0, 3, n)
    times = np.sort(rng.integers(0, span, n))
    hashes = rng.integers(0, 1 << 32, n)
    urls = None
    if kind in ("urls", "again"):
        count = int(rng.integers(1, 5))
        urls = Urls(2, rng.integers(0, span, count), rng.choice([0, 1, 3], count), kind == "again")
    retry = int(rng.choice([0, 1, 7])) if kind == "retry" else -1
    clients = Clients(seed, int(rng.integers(0, span)), retry, int(rng.choice([0, 100])), urls)
    process = rng.integers(0, 2, n) if urls else np.full(n, -1)
    columns = (times, hashes, lengths, gaps, process, rng.integers(0, 2**63 - 1, n))
    attempts = [Attempt(*(int(value) for value in row)) for row in zip(*columns, strict=True)]
    changes = made(rng, configured, active, span)
    if retry == 0 and any(change.do == "crash" for change in changes):
        changes = [change for change in changes if change.do != "crash"]  # else it would begin for ever
    end = int(rng.integers(1, 2 * span))
    told = simulate(
        attempts,
        changes,
        configured,
        active,
        clients,
        end,
        lambda digest, servers: servers[digest % len(servers)],
    )
    tally, _ = compiled(attempts, changes, configured, active, clients, end, int(rng.integers(1, 20)))
    same(tally, told)


def test_a_large_case_with_growth_and_every_kind_of_event() -> None:
    rng = np.random.default_rng(5)
    n, span = 20_000, 1_000_000
    columns = (
        np.sort(rng.integers(0, span, n)),
        rng.integers(0, 1 << 32, n),
        rng.exponential(300_000, n).astype(np.int64),
        rng.choice([0, 1000, 100_000], n),
    )
    attempts = [Attempt(*(int(value) for value in row)) for row in zip(*columns, strict=True)]
    clients = Clients(3, 200_000, 5_000, 1_000_000, None)
    changes = [
        *(Change(200_000, "leave", 3), Change(200_000, "join", 7, 1), Change(350_000, "leave", 0)),
        *(Change(500_000, "crash", 1), Change(510_000, "leave", 1), Change(800_000, "join", 1, 0)),
    ]
    told = simulate(
        attempts, changes, 9, 5, clients, span, lambda digest, servers: servers[digest % len(servers)]
    )
    tally, _ = compiled(attempts, changes, 9, 5, clients, span, 1000)
    same(tally, told)
    assert min(tally.whole.remapped, tally.whole.lost, tally.whole.retried) > 500
    assert tally.peak > 4000  # far more than hinted


def test_counters_and_loads_at_an_instant() -> None:
    # Two at 0 and one at 10 that ends at 20, as control looks.
    attempts = [Attempt(0, 0, 20), Attempt(0, 0, 50), Attempt(10, 1, 10), Attempt(20, 1, 5)]
    front = balancer("hashed", 3, 2)
    plane = CompiledPlane(front, chunks(attempts, 2), Clients(1, 0, -1, 0, None), 1e11, 4)
    plane.sync(10)
    assert plane.counters()[:2] == (2, 0)
    assert plane.loads().tolist() == [2, 0, 0]
    plane.sync(20)  # ends at 20 have been, begins at 20 have not
    c = plane.counters()
    assert (c.begun, c.completed, c.live, c.active, c.highest, c.lowest, c.protected) == (3, 2, 1, 2, 1, 0, 0)
    tally = plane.finish(25)  # what ends at the very end does not count
    assert (tally.whole.begun, tally.whole.completed, tally.whole.live) == (4, 2, 2)


def fake(choose: object, n: int = 4) -> Balancer:
    """Return a balancer of n servers with a policy that is not registered."""
    real = balancer("hashed", n, n)
    made = SimpleNamespace(choose=choose, rank=None, by_hash=False)
    real.policy = made  # type: ignore[assignment]
    return real


def test_a_policy_that_points_nowhere_is_told() -> None:
    def astray(view: View, unit: Unit) -> int:
        return view.n if unit.index == 1 else 0

    plane = CompiledPlane(
        fake(astray), chunks([Attempt(0, 0, 5), Attempt(1, 0, 5)], 8), Clients(1, 0, -1, 0, None), 1e9, 4
    )
    with pytest.raises(ValueError, match=r"connection 1 to no server: it must return 0 \.\. 3"):
        plane.finish(10)


def test_a_policy_that_cannot_be_compiled_is_told() -> None:
    def plain(view: View, unit: Unit) -> int:
        return len(str(open)) % view.n

    plane = CompiledPlane(fake(plain), chunks([Attempt(0, 0, 5)], 8), Clients(1, 0, -1, 0, None), 1e9, 4)
    with pytest.raises(PolicyError):
        plane.finish(10)


def test_progress_is_told_as_events_pass() -> None:
    rng = np.random.default_rng(2)
    n, none = 1_200_000, np.empty(0, np.int64)
    columns = Attempts(
        np.arange(n), rng.integers(0, 1 << 32, n), np.full(n, 50), np.zeros(n, np.int64), none, none
    )
    told: list[tuple[int, int]] = []
    plane = CompiledPlane(
        balancer("hashed", 4, 4), iter([columns]), Clients(1, 0, -1, 0, None), 2e12, 50,
        lambda time, events: told.append((time, events)),
    )  # fmt: skip
    tally = plane.finish(2 * n)
    assert tally.whole.completed == n
    assert [events for _, events in told] == sorted(events for _, events in told)
    assert len(told) >= 2
    assert len(plane._agenda.records) < 200
