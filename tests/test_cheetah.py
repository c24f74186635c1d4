"""Stateless Cheetah under churn: no connection breaks but those of crashed servers, no cookie does harm."""

from collections.abc import Callable
from typing import NamedTuple

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbsim.balancer.cheetah.cookie import MSB, QUIC, cookie_bits, obfuscate, write_word
from lbsim.balancer.cheetah.stateless import (
    ABSENT,
    ACTIVE,
    BUCKET,
    CRASHED,
    DATA,
    DRAINING,
    FORGED,
    LB_FIX,
    NO_CARRIER,
    RST,
    SYN,
    UNKNOWN,
    UNUSED,
    Cheetah,
    Packet,
    Sent,
    active_servers,
    add_server,
    cheetah,
    crash_server,
    drain_server,
    echo_server,
    fallback_server,
    forget_server,
    from_client,
    from_client_at_first_tier,
    from_server,
    new_pool,
)

LAYOUTS = [
    ("msb", "lb-fix"),
    ("msb", "server-echo"),
    ("msb", "direct-return"),
    ("lsb", "lb-fix"),
    ("quic", "server-echo"),
    ("quic", "direct-return"),
]


def data(digest: int, echo: int, value: int = 7) -> Packet:
    return Packet(DATA, digest, True, value, echo)


# --- one packet at a time -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("carrier", "mode"), LAYOUTS)
@pytest.mark.parametrize("hidden", [False, True])
def test_a_syn_goes_where_the_policy_says(carrier: str, mode: str, hidden: bool) -> None:
    balancer = cheetah(carrier, mode, hidden=hidden)
    sent = from_client(balancer, new_pool(balancer, 9), Packet(SYN, 0xABCDE, True, 1, 0), 5)
    assert sent.server == 5
    if mode == "lb-fix" or carrier == "quic":
        assert sent.word == 0
    else:
        assert sent.word == ((5 ^ 0xABCDE) % 2**15 if hidden else 5) << 16


def test_lb_fix_hides_the_cookie_from_the_server() -> None:
    balancer = cheetah()
    pool = new_pool(balancer, 9)
    answer = from_server(balancer, pool, Packet(SYN, 0x1234, True, 0xCAFE1234, 1), 5)
    assert answer == Sent(5, 1 << 31 | (5 ^ 0x1234) << 16 | 0x1234)  # first upper half: version 1
    assert from_client(balancer, pool, data(0x1234, answer.word), -1) == Sent(5, 0xCAFE1234)


def test_the_p4_layout_moves_the_lower_half_up() -> None:
    balancer = cheetah("lsb")
    pool = new_pool(balancer, 9)
    answer = from_server(balancer, pool, Packet(DATA, 0x1234, True, 0xCAFE9234, 1), 5)
    assert answer == Sent(5, 0x9234 << 16 | (5 ^ 0x1234))
    assert from_client(balancer, pool, data(0x1234, answer.word), -1) == Sent(5, 0xCAFE9234)


def test_server_echo_keeps_the_cookie_of_the_syn() -> None:
    balancer = cheetah("msb", "server-echo")
    pool, row = new_pool(balancer, 9), np.zeros(1, BUCKET).view(np.recarray)[0]
    syn = from_client(balancer, pool, Packet(SYN, 0x1234, True, 1, 0), 5)
    for clock in (0x00010002, 0x00020003, 0x00030001):
        value = echo_server(balancer, row, clock, syn.word)
        assert from_server(balancer, pool, Packet(DATA, 0x1234, True, value, 1), 5) == Sent(5, value)
        assert from_client(balancer, pool, data(0x1234, value), -1) == Sent(5, value)
    assert not pool.version.any()  # the balancer remembers nothing


@pytest.mark.parametrize(("carrier", "mode"), LAYOUTS)
def test_a_reset_of_a_server_passes_as_it_is(carrier: str, mode: str) -> None:
    balancer = cheetah(carrier, mode)
    pool = new_pool(balancer, 9)
    before = pool.tolist()
    assert from_server(balancer, pool, Packet(RST, 3, True, 0xCAFE1234, 1), 5) == Sent(5, 0xCAFE1234)
    assert pool.tolist() == before


@pytest.mark.parametrize("kind", [SYN, DATA, RST])
def test_packets_of_clients_without_a_carrier(kind: int) -> None:
    balancer = cheetah()
    pool = new_pool(balancer, 9)
    assert from_client(balancer, pool, Packet(kind, 3, False, 0, 8), 4) == Sent(NO_CARRIER, 8)


def test_packets_of_servers_without_a_carrier() -> None:
    packet = Packet(DATA, 3, False, 8, 0)
    for published, expected in ((False, 5), (True, NO_CARRIER)):
        balancer = cheetah(published=published)
        assert from_server(balancer, new_pool(balancer, 9), packet, 5) == Sent(expected, 8)


@pytest.mark.parametrize("server", [-1, 9, 255, 256])
def test_packets_from_unknown_addresses(server: int) -> None:
    balancer = cheetah()
    packet = Packet(DATA, 3, True, 8, 0)
    assert from_server(balancer, new_pool(balancer, 9), packet, server) == Sent(UNKNOWN, 8)


def test_the_fallback_folds_the_hash() -> None:
    active = np.array([3, 5, 8])
    for digest in (0, 1, 0x00010000, 0xDEADBEEF, 0xFFFFFFFF):
        assert fallback_server(digest, active) == active[((digest >> 16) ^ (digest & 0xFFFF)) % 3]


@pytest.mark.parametrize("mode", ["lb-fix", "server-echo"])
def test_two_tiers(mode: str) -> None:
    """Whatever both policies choose, later packets take the same way; other tiers refuse them."""
    balancers = [cheetah("msb", mode, tier=tier, tier_bits=2) for tier in range(4)]
    pools = [new_pool(balancer, 200) for balancer in balancers]
    rng = np.random.default_rng(3)
    for _ in range(300):
        tier, server, digest = (int(rng.integers(n)) for n in (4, 200, 1 << 32))
        syn = Packet(SYN, digest, True, 1, 0)
        assert from_client_at_first_tier(balancers[0], syn, tier) == tier
        sent = from_client(balancers[tier], pools[tier], syn, server)
        row = np.zeros(1, BUCKET).view(np.recarray)[0]
        value = 0x10000 if mode == "lb-fix" else echo_server(balancers[tier], row, 0x10000, sent.word)
        answer = from_server(balancers[tier], pools[tier], Packet(SYN, digest, True, value, 1), server)
        packet = data(digest, answer.word)
        assert from_client_at_first_tier(balancers[0], packet, -9) == tier
        assert from_client(balancers[tier], pools[tier], packet, -9).server == server
        assert from_client(balancers[tier - 1], pools[tier - 1], packet, -9).server == FORGED
        bare = packet._replace(carrier=False)
        assert from_client_at_first_tier(balancers[0], bare, -9) == NO_CARRIER


# --- every cookie, forged -----------------------------------------------------------------------------------


@numba.njit
def all_cookies(balancer: Cheetah, pool: np.recarray, digest: int) -> np.ndarray:
    """The server each cookie leads to, whatever the other bits of the word."""
    servers = np.empty(1 << cookie_bits(balancer.carrier), np.int64)
    for cookie in range(len(servers)):
        word = write_word(balancer.carrier, cookie * 0x9E37 & 0xFFFFFFFF, cookie, cookie & 1)
        servers[cookie] = from_client(balancer, pool, Packet(DATA, digest, True, 7, word), -1).server
    return servers


def patchy(balancer: Cheetah) -> np.recarray:
    """A pool with servers in every state and buckets without any."""
    pool = new_pool(balancer, 40)
    for server in range(0, 40, 4):
        drain_server(pool, server)
        crash_server(pool, server + 1)
        if server % 8:
            forget_server(pool, server)
    return pool


@pytest.mark.parametrize(("carrier", "mode"), LAYOUTS)
@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("buckets", [256, 100])
def test_no_cookie_leaves_the_pool(
    carrier: str, mode: str, hidden: bool, published: bool, buckets: int
) -> None:
    balancer = cheetah(carrier, mode, buckets=buckets, hidden=hidden, published=published)
    pool = patchy(balancer)
    members = set(np.flatnonzero(pool.status != ABSENT).tolist())
    bits = 15 if carrier == "msb" else 16
    servers = all_cookies(balancer, pool, 0x5A5A).tolist()
    assert len(servers) == 1 << bits
    seen = set(servers)
    for cookie, server in enumerate(servers):
        number = (cookie ^ 0x5A5A if hidden else cookie) % 2**bits
        if published and carrier == "msb" and hidden:
            number %= buckets
        if number >= buckets:
            assert server == FORGED
            continue
        if published and carrier == "msb":
            number &= buckets - 1
        assert server == (number if number in members else UNUSED)
    assert seen - {FORGED, UNUSED} <= members
    assert (FORGED in seen) != (published and carrier == "msb" and hidden)


def test_an_attacker_cannot_aim_but_without_a_hash_can() -> None:
    word = write_word(MSB, 0, 5, 0)
    for hidden, reached in ((False, {5}), (True, set(range(9)) | {FORGED, UNUSED})):
        balancer = cheetah(hidden=hidden)
        pool = new_pool(balancer, 9)
        digests = range(0, 1 << 15, 1 if hidden else 64)
        assert {from_client(balancer, pool, data(d, word), -1).server for d in digests} == reached


# --- as published, otherwise than meant ---------------------------------------------------------------------


def round_trip(balancer: Cheetah, pool: np.recarray, server: int, digest: int, clock: int) -> Sent:
    answer = from_server(balancer, pool, Packet(DATA, digest, True, clock, 1), server)
    return from_client(balancer, pool, data(digest, answer.word), -1)


@pytest.mark.parametrize("buckets", [100, 128])
def test_published_masks_break_pools_that_are_no_power_of_two(buckets: int) -> None:
    astray = {}
    for published in (False, True):
        balancer = cheetah(buckets=buckets, published=published)
        pool = new_pool(balancer, buckets)
        trips = [round_trip(balancer, pool, server, 0x1357, 0x00028000).server for server in range(buckets)]
        astray[published] = sum(trip != server for server, trip in enumerate(trips))
    assert astray[False] == 0
    assert astray[True] == (84 if buckets == 100 else 0)  # 99 has four bits set: 16 numbers stay


def test_published_versions_are_read_with_their_sign() -> None:
    balancer, meant = cheetah(published=True), cheetah()
    clock = 0x00028001  # the first upper half seen gets version 1
    pool = new_pool(balancer, 9)
    assert round_trip(balancer, pool, 5, 3, clock) == Sent(5, 0x0600000A | 0x8001)  # 10.0.0.6, from memory
    assert round_trip(meant, new_pool(meant, 9), 5, 3, clock) == Sent(5, clock)
    assert round_trip(balancer, pool, 5, 3, clock + 65536) == Sent(5, clock + 65536)  # version 0 again


# --- servers come and go ------------------------------------------------------------------------------------


def test_life_of_a_server() -> None:
    balancer = cheetah(buckets=4)
    pool = new_pool(balancer, 2)
    assert active_servers(pool).tolist() == [0, 1]
    add_server(pool, 3, 0x0A0000FE)
    drain_server(pool, 0)
    crash_server(pool, 1)
    assert pool.status.tolist() == [DRAINING, CRASHED, ABSENT, ACTIVE]
    assert pool.address.tolist() == [0x0A000001, 0x0A000002, 0, 0x0A0000FE]
    pool[0].upper0, pool[1].upper0 = 7, 8
    crash_server(pool, 0)
    forget_server(pool, 0)
    add_server(pool, 1)
    add_server(pool, 0)
    assert pool.status.tolist() == [ACTIVE, ACTIVE, ABSENT, ACTIVE]
    assert pool.upper0[:2].tolist() == [0, 8]  # nothing is left of the server that was forgotten
    assert active_servers(pool).dtype == np.int64


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda p: add_server(p, 0), "server 0 is active already"),
        (lambda p: add_server(p, 4), "server is 4: this balancer has buckets 0 to 3"),
        (lambda p: drain_server(p, 2), "server 2 is not active"),
        (lambda p: crash_server(p, -1), "server is -1"),
        (lambda p: forget_server(p, 0), "server 0 is active: forget"),
        (lambda p: forget_server(p, 3), "server 3 is not in the pool"),
        (lambda p: (drain_server(p, 0), drain_server(p, 1)), "server 1 is the last active one"),
        (lambda p: (drain_server(p, 0), crash_server(p, 1)), "server 1 is the last active one"),
    ],
)
def test_impossible_churn_is_refused(act: Callable[[np.recarray], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        act(new_pool(cheetah(buckets=4), 2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cheetah("http"), "carrier 'http' is unknown: choose msb, lsb, quic"),
        (lambda: cheetah(mode="nat"), "mode 'nat' is unknown"),
        (lambda: cheetah("lsb", "server-echo"), "choose lb-fix"),
        (lambda: cheetah("quic"), "use server-echo"),
        (lambda: cheetah(buckets=0), "buckets is 0"),
        (lambda: cheetah(buckets=32_769), "1 to 32768 servers apart"),
        (lambda: cheetah("quic", "direct-return", buckets=65_537), "1 to 65536 servers apart"),
        (lambda: cheetah(tier=4, tier_bits=2), "tier is 4 with tier_bits 2"),
        (lambda: cheetah(tier_bits=15), "tier_bits is 0 to 14"),
        (lambda: cheetah(tier_bits=2, published=True), "published is true with two tiers"),
        (lambda: cheetah(tier_bits=2, buckets=8193), "1 to 8192 servers apart"),
        (lambda: new_pool(cheetah(buckets=8), 9), "servers is 9: this balancer has 8 buckets"),
    ],
)
def test_impossible_settings_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# --- churn: any sequence of what can happen -----------------------------------------------------------------


class Connection(NamedTuple):
    """A connection as the client and the server know it; the oracle, with nothing of the balancer's."""

    server: int
    digest: int
    row: np.recarray  # the patched server's memory of it
    syn_echo: int  # what the server received in the SYN
    clock: int  # the server's own timestamp in the last packet the client received
    echo: int  # the word the client will send back


class World:
    """Clients, servers and some balancers that share statuses and a hash key, nothing more."""

    def __init__(self, balancer: Cheetah, balancers: int, servers: int) -> None:
        self.balancer = balancer
        self.pools = [new_pool(balancer, servers) for _ in range(balancers)]
        self.now = 0
        self.offset = {server: server * 0x1F3D5B79 for server in range(balancer.buckets)}
        self.seen: dict[tuple[int, int], list[int]] = {}  # upper halves, latest last, by balancer and server
        self.open: list[Connection] = []
        self.served = 0

    def clock(self, server: int) -> int:
        return (self.offset[server] + self.now) & 0xFFFFFFFF

    def statuses(self) -> list[int]:
        return self.pools[0].status.tolist()

    def which(self, *wanted: int) -> list[int]:
        return [server for server, status in enumerate(self.statuses()) if status in wanted]

    def answer(self, c: Connection, b: int, kind: int) -> Connection:
        """The server sends a packet, through balancer b where the mode has it so."""
        clock = self.clock(c.server)
        if self.balancer.carrier == QUIC:
            digest = c.digest if self.balancer.hidden else 0
            value = write_word(QUIC, clock, obfuscate(c.server, digest, 16), 0)
        elif self.balancer.mode == LB_FIX:
            value = clock
        else:
            value = echo_server(self.balancer, c.row[0], clock, c.syn_echo)
        if self.balancer.mode != 2:  # not direct return
            sent = from_server(self.balancer, self.pools[b], Packet(kind, c.digest, True, value, 0), c.server)
            assert sent.server == c.server
            if self.balancer.mode == LB_FIX:
                uppers = self.seen.setdefault((b, c.server), [0, 0])
                if uppers[-1] != clock >> 16:
                    uppers.append(clock >> 16)
            else:
                assert sent.word == value
            value = sent.word
        return c._replace(clock=clock, echo=value)

    def step(self, name: str, x: int, y: int) -> None:
        b = y % len(self.pools)
        if name == "open":
            active = self.which(ACTIVE)
            choice = active[x % len(active)]  # any policy
            sent = from_client(self.balancer, self.pools[b], Packet(SYN, y, True, 0, 0), choice)
            assert sent.server == choice
            row = np.zeros(1, BUCKET).view(np.recarray)
            c = Connection(choice, y, row, sent.word, 0, 0)
            self.open.append(self.answer(c, (y >> 8) % len(self.pools), SYN))
        elif name == "tick":
            self.now += x % 200_000
        elif name == "forge":
            packet = Packet(x % 3 or DATA, y, True, x, x)
            server = from_client(self.balancer, self.pools[b], packet._replace(kind=DATA), -1).server
            assert server in (FORGED, UNUSED) or self.statuses()[server] != ABSENT
            assert (
                from_client(self.balancer, self.pools[b], packet._replace(carrier=False), 0).server
                == NO_CARRIER
            )
        elif name in ("add", "drain", "crash", "forget"):
            self.churn(name, x)
        elif self.open:
            k = x % len(self.open)
            if name == "close":
                self.open.pop(k)
            else:
                self.talk(k, b, y)

    def churn(self, name: str, x: int) -> None:
        busy = {c.server for c in self.open}
        able = {
            "add": self.which(ABSENT, DRAINING, CRASHED),
            "drain": self.which(ACTIVE),
            "crash": self.which(ACTIVE, DRAINING),
            "forget": [s for s in self.which(DRAINING, CRASHED) if s not in busy],
        }[name]
        if not able:
            return
        server = able[x % len(able)]
        if name in ("drain", "crash") and self.which(ACTIVE) == [server]:
            with pytest.raises(ValueError, match="last active one"):
                drain_server(self.pools[0], server)
            return
        act = {"add": add_server, "drain": drain_server, "crash": crash_server, "forget": forget_server}[name]
        if name == "add" and self.statuses()[server] == ABSENT:
            self.seen = {key: uppers for key, uppers in self.seen.items() if key[1] != server}
        for pool in self.pools:
            act(pool, server)
        if name == "crash":
            self.open = [c for c in self.open if c.server != server]  # these, and only these, are lost
            self.offset[server] = x  # its clock starts anew

    def talk(self, k: int, b: int, y: int) -> None:
        c = self.open[k]
        sent = from_client(self.balancer, self.pools[b], data(c.digest, c.echo), -1)
        assert sent.server == c.server, "a connection broke"
        self.served += 1
        if self.balancer.mode != LB_FIX:
            assert sent.word == c.echo
        elif not self.balancer.published and self.balancer.carrier == MSB:
            known = c.clock >> 16 in self.seen.get((b, c.server), [0, 0])[-2:]
            agreed = len(self.pools) == 1 or self.balancer.parity
            if known and agreed and (not self.balancer.parity or self.parity_kept(b, c)):
                assert sent.word == c.clock
            elif not known:
                assert sent.word & 0xFFFF == c.clock & 0xFFFF
        if y & 1024:
            self.open[k] = self.answer(c, (y >> 16) % len(self.pools), DATA)

    def parity_kept(self, b: int, c: Connection) -> bool:
        """No later upper half of equal parity took the place of the connection's."""
        uppers = self.seen.get((b, c.server), [0, 0])
        last = len(uppers) - 1 - uppers[::-1].index(c.clock >> 16)
        return all((u ^ c.clock >> 16) & 1 for u in uppers[last + 1 :])


NAMES = ["open", "open", "talk", "talk", "talk", "tick", "add", "drain", "crash", "forget", "forge", "close"]
WORD = st.integers(0, 2**32 - 1)
STEPS = st.lists(st.tuples(st.sampled_from(NAMES), WORD, WORD), min_size=5, max_size=40)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    carrier, mode = draw(st.sampled_from(LAYOUTS))
    balancer = cheetah(
        carrier,
        mode,
        buckets=draw(st.sampled_from([4, 8])),
        hidden=draw(st.booleans()),
        parity=draw(st.booleans()),
        published=draw(st.booleans()),
    )
    return World(balancer, draw(st.integers(1, 3)), draw(st.integers(1, 4)))


def run(world: World, steps: list[tuple[str, int, int]]) -> None:
    for name, x, y in steps:
        world.step(name, x, y)
    for k in range(len(world.open)):  # whoever is left is still where it was
        for b in range(len(world.pools)):
            world.talk(k, b, 0)
    for pool in world.pools[1:]:
        assert pool.status.tolist() == world.statuses()


@given(worlds(), STEPS)
@settings(max_examples=400)
def test_no_connection_breaks(world: World, steps: list[tuple[str, int, int]]) -> None:
    run(world, steps)


@pytest.mark.slow
@given(worlds(), STEPS)
@settings(max_examples=10_000)
def test_no_connection_breaks_in_many_sequences(world: World, steps: list[tuple[str, int, int]]) -> None:
    run(world, steps)


def test_the_sequences_do_what_they_should() -> None:
    """Long random sequences serve many connections, and lose some to crashes."""
    world = World(cheetah(buckets=8), 2, 4)
    rng = np.random.default_rng(1)
    opened = 0
    for _ in range(5000):
        name = NAMES[rng.integers(len(NAMES))]
        opened += name == "open"
        world.step(name, int(rng.integers(2**32)), int(rng.integers(2**32)))
    assert world.served > 500
    assert len(world.open) < opened


def test_hash_mod_n_would_break() -> None:
    """The oracle notices: the same connections placed by hash modulo the active servers do break."""
    balancer = cheetah(buckets=8)
    pool = new_pool(balancer, 5)
    before = [fallback_server(digest * 40503, active_servers(pool)) for digest in range(1000)]
    drain_server(pool, 4)
    after = [fallback_server(digest * 40503, active_servers(pool)) for digest in range(1000)]
    assert sum(a != b for a, b in zip(before, after, strict=True)) > 500
