"""What becomes of connections while servers come, drain, are removed and crash: each scheme, every packet."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lbsim.balancer.balancer import Balancer
from lbsim.balancer.cheetah import stateless
from lbsim.balancer.consistency import (
    ASK,
    KINDS,
    REFUSED,
    UNTRACKED,
    admit,
    needs_admission,
    reach,
    release,
)
from lbsim.balancer.policies import policies
from lbsim.rng import coin
from lbsim.scenario.consistency import (
    AnyConsistency,
    ConnTable,
    Cookie,
    DaisyChain,
    FlowTable,
    Jet,
    Rehash,
    SilkRoad,
)

ROOMY = 64  # more than the connections of any sequence
ALL: list[AnyConsistency] = [
    Rehash(),
    *(Cookie(carrier=c, hidden=h) for c in ("msb", "lsb", "quic") for h in (True, False)),
    *(ConnTable(capacity=ROOMY, block=ROOMY, variant=v) for v in ("cheetah", "fastclick", "bmv2")),
    FlowTable(capacity=4 * ROOMY),
    DaisyChain(),
    Jet(),
    SilkRoad(cells=4 * ROOMY),
]
KEEPERS = [spec for spec in ALL if spec.kind in ("cookie", "conntable", "flow_table", "silkroad")]
HASH = 0xFFFFFFFF


def name(spec: AnyConsistency) -> str:
    return "-".join(
        str(value) for value in (spec.kind, *spec.model_dump().values()) if isinstance(value, str)
    )


def balancer(
    spec: AnyConsistency, policy: str = "hashed", slots: int | None = None, configured: int = 7
) -> Balancer:
    of_tables = {"daisy_chain": "beamer", "jet": "ring"}
    chosen = of_tables.get(spec.kind, policy) if policy == "hashed" else policy
    return Balancer(
        policies()[chosen], configured, 4, np.ones(configured), consistency=spec, slots=slots, seed=3
    )


def ask(b: Balancer, digest: int) -> int:
    """Return the server that a policy by hash names: by its table, or the list where it has none."""
    targets = b.front.active[b.front.table] if len(b.front.table) else b.front.active
    return int(targets[digest % len(targets)])


class Connection(NamedTuple):
    index: int  # type: ignore[assignment]
    digest: int
    server: int
    handle: int


class Story:
    """Connections that begin and end, and where their packets go, while the pool changes."""

    def __init__(self, b: Balancer, salt: int = 0) -> None:
        self.b, self.salt, self.begun, self.now = b, salt, 0, 0
        self.live: list[Connection] = []

    def begin(self) -> int:
        index = self.begun
        digest = coin(self.salt, index, 0) & HASH
        server = ask(self.b, digest)
        handle = admit(self.b.keeper, index, digest, server)
        if handle != REFUSED:
            self.begun += 1
            self.live.append(Connection(index, digest, server, handle))
        return handle

    def end(self, k: int) -> None:
        connection = self.live.pop(k % len(self.live))
        release(self.b.keeper, *connection)

    def where(self, connection: Connection) -> int:
        found = reach(self.b.keeper, *connection)
        return ask(self.b, connection.digest) if found == ASK else found

    def step(self, step: str, k: int) -> bool:
        """Do one thing, if it can be done; return whether the pool changed."""
        pool, b = self.b.pool, self.b
        self.now += 1
        if step == "begin":
            self.begin()
        elif step == "end" and self.live:
            self.end(k)
        elif step == "join" and pool.spares:
            b.join(pool.spares[k % len(pool.spares)], k % (len(pool.active) + 1), self.now)
            return True
        elif step == "crash":
            b.crash(k % pool.configured, self.now)
            return True
        elif step in ("drain", "remove", "leave") and len(pool.active) > 1:
            {"drain": b.drain, "remove": b.remove, "leave": b.leave}[step](
                pool.active[k % len(pool.active)], self.now
            )
            return True
        return False


CHANGES = ["join", "join", "drain", "remove", "crash", "leave"]
steps_of_life = st.lists(
    st.tuples(st.sampled_from(["begin", "begin", "begin", "begin", "end", *CHANGES]), st.integers(0, 60)),
    max_size=40,
)

# --- schemes that keep every connection ---------------------------------------------------------------------


@pytest.mark.parametrize("spec", KEEPERS, ids=name)
def test_every_connection_reaches_its_server(spec: AnyConsistency) -> None:
    @settings(max_examples=150)
    @given(steps_of_life, st.integers(0, 2**31))
    def check(steps: list[tuple[str, int]], salt: int) -> None:
        story = Story(balancer(spec), salt)
        for step, k in steps:
            if story.step(step, k):
                assert all(story.where(c) == c.server for c in story.live)
        assert all(story.where(c) == c.server for c in story.live)
        assert all((c.handle >= 0) == (spec.kind != "cookie") for c in story.live)

    check()


@pytest.mark.parametrize("spec", KEEPERS, ids=name)
def test_long_lives(spec: AnyConsistency) -> None:
    """Thousands of changes, and ever new connections in entries that others left."""
    story, random = Story(balancer(spec)), np.random.default_rng(5)
    variant = getattr(spec, "variant", "")
    for _ in range(3000):
        if len(story.live) < 40 and not (variant == "fastclick" and story.begun == ROOMY - 1):
            assert story.begin() != REFUSED
        elif story.live:
            story.end(int(random.integers(60)))
        if random.random() < 0.3:
            story.step(CHANGES[random.integers(len(CHANGES))], int(random.integers(60)))
        for connection in story.live[:: int(random.integers(1, 9))]:
            assert story.where(connection) == connection.server
    assert story.begun == (ROOMY - 1 if variant == "fastclick" else story.begun) > 0
    assert story.begun > 1500 or variant == "fastclick"


@pytest.mark.parametrize("spec", KEEPERS, ids=name)
def test_connections_of_equal_hash_are_told_apart(spec: AnyConsistency) -> None:
    keeper = balancer(spec).keeper
    twins = [Connection(k, 77, k % 4, admit(keeper, k, 77, k % 4)) for k in range(8)]
    assert [reach(keeper, *c) for c in twins] == [0, 1, 2, 3] * 2
    for c in twins[::2]:
        release(keeper, *c)
    assert [reach(keeper, *c) for c in twins[1::2]] == [1, 3] * 2


def test_a_crashed_server_is_reached_and_one_never_used_is_not() -> None:
    b = balancer(Cookie())
    b.crash(2, 0)
    b.remove(1, 0)
    assert [reach(b.keeper, 0, 99, server, UNTRACKED) for server in range(4)] == [0, 1, 2, 3]
    assert [reach(b.keeper, 0, 99, server, UNTRACKED) for server in (4, 6)] == [stateless.UNKNOWN] * 2
    b.join(4, None, 0)
    assert reach(b.keeper, 0, 99, 4, UNTRACKED) == 4
    assert reach(b.keeper, 0, 99, 7, UNTRACKED) == reach(b.keeper, 0, 99, -1, UNTRACKED) == stateless.UNKNOWN
    b = balancer(Cookie(carrier="quic"))
    assert reach(b.keeper, 0, 99, 5, UNTRACKED) == stateless.UNUSED
    assert reach(b.keeper, 0, 99, 7, UNTRACKED) == stateless.FORGED


# --- full tables --------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(0, 2**31))
def test_a_full_block_refuses(ends: list[int], salt: int) -> None:
    story, block = Story(balancer(ConnTable(capacity=16, block=4)), salt), 4
    in_block = [0] * 4
    for end in ends:
        digest = coin(salt, story.begun, 0) & HASH
        full = in_block[digest % 4] == block
        assert (story.begin() == REFUSED) == full
        if not full:
            in_block[digest % 4] += 1
        else:  # the hash of the next is the same: make room, or it is refused for ever
            end = next(k for k, c in enumerate(story.live) if c.digest % 4 == digest % 4) * 4 + 3
        if end % 4 == 3 and story.live:
            k = end // 4
            in_block[story.live[k].digest % 4] -= 1
            story.end(k)
    assert [sum(c.digest % 4 == k for c in story.live) for k in range(4)] == in_block
    handles = {(c.digest % 4, c.handle) for c in story.live}
    assert len(handles) == len(story.live)


def test_a_full_flow_table_refuses_and_keeps_those_it_has() -> None:
    story = Story(balancer(FlowTable(capacity=8)))
    assert [story.begin() == REFUSED for _ in range(9)] == [False] * 8 + [True]
    story.step("drain", 1)
    assert all(story.where(c) == c.server for c in story.live)
    story.end(3)
    assert story.begin() != REFUSED


def test_what_finds_no_cell_in_a_silkroad_is_not_protected() -> None:
    story = Story(balancer(SilkRoad(cells=16), configured=7))
    handles = [story.begin() for _ in range(40)]
    assert (
        handles == [c.server for c in story.live[:16]] + [UNTRACKED] * 24
    )  # four ways in each of four stages
    story.step("join", 0)
    assert all(story.where(c) == c.server for c in story.live[:16])
    assert all(reach(story.b.keeper, *c) == ASK for c in story.live[16:])
    assert any(story.where(c) != c.server for c in story.live[16:])
    story.end(20)  # unprotected: nobody's cell is freed
    assert story.begin() == UNTRACKED
    story.end(2)
    assert story.begin() >= 0


# --- schemes that keep some ---------------------------------------------------------------------------------


def test_rehash_asks_anew() -> None:
    story = Story(balancer(Rehash()))
    assert {story.begin() for _ in range(50)} == {UNTRACKED}
    assert all(story.where(c) == c.server for c in story.live)
    story.step("join", 0)
    moved = [c for c in story.live if story.where(c) != c.server]
    assert moved
    assert all(reach(story.b.keeper, *c) == ASK for c in story.live)
    assert {c.index for c in moved} == {
        c.index for c in story.live if c.server != story.b.pool.active[c.digest % 5]
    }


@pytest.mark.parametrize("policy", ["beamer", "beamer_published", "faild"])
def test_a_chain_reaches_the_last_two_servers_of_a_bucket(policy: str) -> None:
    def owners(b: Balancer) -> list[int]:
        return [int(server) for server in b.front.active[b.front.table]]

    @given(steps_of_life, st.integers(0, 2**31))
    def check(steps: list[tuple[str, int]], salt: int) -> None:
        story = Story(balancer(DaisyChain(), policy, slots=23), salt)
        history = {bucket: [server] for bucket, server in enumerate(owners(story.b))}
        for step, k in steps:
            story.step(step, k)
            for bucket, server in enumerate(owners(story.b)):
                if history[bucket][-1] != server:
                    history[bucket].append(server)
            for c in story.live:
                assert (story.where(c) == c.server) == (c.server in history[c.digest % 23][-2:])
                assert reach(story.b.keeper, *c) in history[c.digest % 23][-2:]

    check()


def test_a_chain_breaks_what_moved_twice() -> None:
    story = Story(balancer(DaisyChain(), "beamer", slots=23))
    for _ in range(ROOMY):
        story.begin()
    for step, k in [("join", 0), ("drain", 1), ("join", 2), ("drain", 0)]:
        story.step(step, k)
    broken = [story.where(c) != c.server for c in story.live]
    assert 0 < sum(broken) < len(broken)


@pytest.mark.parametrize("policy", ["ring", "rendezvous", "uhashring"])
def test_jet_breaks_none_of_a_server_that_stays(policy: str) -> None:
    @given(steps_of_life, st.integers(0, 2**31))
    def check(steps: list[tuple[str, int]], salt: int) -> None:
        story = Story(balancer(Jet(), policy, slots=251), salt)
        for step, k in steps:
            story.step(step, k)
            for c in story.live:
                assert c.handle in (UNTRACKED, c.server)
                if c.handle != UNTRACKED or c.server in story.b.pool.active:
                    assert story.where(c) == c.server
            gone = [c for c in story.live if story.where(c) != c.server]
            story.live = [c for c in story.live if c not in gone]
            assert all(c.server not in story.b.pool.active for c in gone)

    check()


def test_jet_remembers_what_all_spares_together_would_take() -> None:
    story = Story(balancer(Jet(), "rendezvous", slots=251))
    for _ in range(400):
        story.begin()
    first = list(story.live)
    everyone = balancer(Jet(), "rendezvous", slots=251)
    while everyone.pool.spares:
        everyone.join(None, None, 0)
    for c in first:
        assert (c.handle != UNTRACKED) == (ask(everyone, c.digest) != c.server)
    tracked = sum(c.handle != UNTRACKED for c in first)
    assert tracked / 400 == pytest.approx(3 / 7, abs=0.1)
    for _ in range(3):
        story.step("join", 0)
    assert all(story.where(c) == c.server for c in first)
    assert any(ask(story.b, c.digest) != c.server for c in first)


@pytest.mark.parametrize("spec", ALL, ids=name)
def test_only_some_admit(spec: AnyConsistency) -> None:
    story = Story(balancer(spec))
    for _ in range(ROOMY - 1):
        story.begin()
    protected = [c.handle != UNTRACKED for c in story.live]
    assert any(protected) == needs_admission(KINDS[spec.kind])


# --- forged packets -----------------------------------------------------------------------------------------

bits = st.integers(0, HASH)
far = st.one_of(st.integers(-3, 80), st.sampled_from([2**16 - 1, 2**16, 2**31, 2**40, -(2**40)]))


@pytest.mark.parametrize("spec", [s for s in ALL if s.kind != "jet"], ids=name)
def test_forged_handles_reach_no_server_outside_the_pool_and_do_no_harm(spec: AnyConsistency) -> None:
    story = Story(balancer(spec), salt=7)
    for _ in range(ROOMY // 2):
        story.begin()
    checks = {c.digest >> shift & 0xFFFF for c in story.live for shift in (0, 16)}
    for step, k in (("join", 1), ("drain", 2), ("remove", 0), ("crash", 3)):
        story.step(step, k)

    @given(st.integers(ROOMY, 2**40), bits, far, far)
    def check(index: int, digest: int, server: int, handle: int) -> None:
        assume(not checks & {digest & 0xFFFF, digest >> 16})  # who knows an entry's 16 bits may free it
        found = reach(story.b.keeper, index, digest, server, handle)
        assert found == ASK or -5 < found < 7
        release(story.b.keeper, index, digest, server, handle)

    before = [story.where(c) for c in story.live]
    check()
    assert [story.where(c) for c in story.live] == before


@pytest.mark.parametrize("spec", [s for s in ALL if s.kind == "cookie"], ids=name)
@given(bits, bits, st.integers(0, 2**5))
def test_forged_cookies_reach_servers_that_were_used_or_none(
    spec: AnyConsistency, digest: int, word: int, few: int
) -> None:
    b = balancer(spec)
    b.join(5, None, 0)
    b.drain(0, 1)
    rows, cheetah = b.keeper.rows, b.keeper.cheetah
    for forged in (word, few << 16, few, few << 8):
        packet = stateless.Packet(stateless.DATA, digest, True, 0, forged)
        found = stateless.from_client(cheetah, rows, packet, 0).server
        assert found in (stateless.FORGED, stateless.UNUSED, 0, 1, 2, 3, 5)
