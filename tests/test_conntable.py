"""Stateful Cheetah against dictionaries and lists: no connection breaks, no cookie does harm."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbsim.balancer.cheetah.conntable import (
    BLOCK_SIZE,
    FULL,
    NOTHING,
    REFUSED,
    ConnTable,
    block_of,
    bytes_per_connection,
    check_of,
    client_fin,
    conntable,
    delete,
    delete_server,
    insert,
    lookup,
    new_conntable,
)
from lbsim.jit import transient

# --- sizes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("connections", "blocks"),
    [(1, 1), (32_768, 1), (32_769, 2), (65_537, 4), (1_000_000, 32), (10_000_000, 512)],
)
def test_published_sizes(connections: int, blocks: int) -> None:
    assert conntable(connections, "fastclick") == (1, BLOCK_SIZE, blocks)
    assert conntable(10_000_000).blocks * BLOCK_SIZE == 16_777_216


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "connections is 0"),
        ((2**31 + 1,), "connections is 2147483649"),
        ((9, "linux"), "variant 'linux' is unknown: choose cheetah, fastclick, bmv2"),
    ],
)
def test_impossible_tables_are_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        conntable(*arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(("variant", "size"), [("cheetah", 65_537), ("bmv2", 65_536), ("fastclick", 1)])
def test_impossible_blocks_are_refused(variant: str, size: int) -> None:
    with pytest.raises(ValueError, match=f"size is {size}: a block of variant {variant!r} has 2 to"):
        conntable(9, variant, size=size)


def test_memory() -> None:
    sizes = bytes_per_connection()
    assert sizes == {"fastclick": 80, "bmv2": 6, "cheetah": 8, "cuckoo": 108}
    assert bytes_per_connection(56)["fastclick"] == 104
    entries, blocks = new_conntable(conntable(1_000_000))
    assert entries.nbytes == 32 * BLOCK_SIZE * sizes["cheetah"]
    assert blocks.nbytes == 32 * 12


# --- one block ----------------------------------------------------------------------------------------------


def test_fastclick_hands_out_the_last_index_first_and_never_index_0() -> None:
    table = conntable(1, "fastclick")
    entries, blocks = new_conntable(table)
    indices = [insert(table, entries, blocks, 77, k % 64) for k in range(BLOCK_SIZE)]
    assert indices == [*range(BLOCK_SIZE - 1, 0, -1), FULL]
    assert not delete(table, entries, blocks, 77, 5)
    assert client_fin(table, entries, blocks, 77, BLOCK_SIZE - 1) == 0
    assert insert(table, entries, blocks, 77, 1) == FULL
    assert lookup(table, entries, 77, 0) == REFUSED  # never written


def test_fastclick_lets_any_cookie_use_anybodys_entry() -> None:
    table = conntable(1, "fastclick")
    entries, blocks = new_conntable(table)
    index = insert(table, entries, blocks, 77, 9)
    assert lookup(table, entries, 12345, index) == 9
    meant = conntable(1)
    entries, blocks = new_conntable(meant)
    index = insert(meant, entries, blocks, 77 << 16, 9)
    assert lookup(meant, entries, 78 << 16, index) == REFUSED
    assert lookup(meant, entries, 77 << 16, index) == 9


def test_every_entry_of_a_block_is_used_and_reused() -> None:
    table = conntable(1)
    entries, blocks = new_conntable(table)
    digests = [k * 40503 & 0xFFFFFFFF for k in range(BLOCK_SIZE)]
    indices = [insert(table, entries, blocks, d, k) for k, d in enumerate(digests)]
    assert indices == list(range(BLOCK_SIZE))
    assert insert(table, entries, blocks, 1, 1) == FULL
    assert [lookup(table, entries, d, k) for k, d in enumerate(digests)] == list(range(BLOCK_SIZE))
    for k in (5, 30_000, 17):
        assert delete(table, entries, blocks, digests[k], k)
        assert not delete(table, entries, blocks, digests[k], k)
    assert [insert(table, entries, blocks, 1, 1) for _ in range(4)] == [17, 30_000, 5, FULL]


def test_a_block_can_be_full_before_the_table() -> None:
    table = conntable(40, size=10)
    entries, blocks = new_conntable(table)
    assert table.blocks == 4
    assert [insert(table, entries, blocks, 2, 0) for _ in range(11)][-2:] == [9, FULL]
    assert insert(table, entries, blocks, 3, 0) == 0
    assert blocks.free.tolist() == [10, 10, 0, 9]


@pytest.mark.parametrize("variant", ["cheetah", "fastclick", "bmv2"])
def test_cookies_out_of_range(variant: str) -> None:
    table = conntable(20, variant, size=10)
    entries, blocks = new_conntable(table)
    for index in (-1, 10, 65_535, 2**40):
        assert lookup(table, entries, 0, index) == REFUSED
        assert not delete(table, entries, blocks, 0, index)


def test_bmv2_drops_what_follows_the_clients_fin() -> None:
    table = conntable(20, "bmv2", size=10)
    entries, blocks = new_conntable(table)
    index = insert(table, entries, blocks, 0x1235, 3)
    assert lookup(table, entries, 0x1235, index) == 3
    assert client_fin(table, entries, blocks, 0x1235, index) == 3
    assert lookup(table, entries, 0x1235, index) == REFUSED
    assert client_fin(table, entries, blocks, 0x1235, index) == REFUSED  # sent again: freed once
    meant = conntable(20, size=10)
    entries, blocks = new_conntable(meant)
    index = insert(meant, entries, blocks, 0x1235, 3)
    assert client_fin(meant, entries, blocks, 0x1235, index) == 3
    assert lookup(meant, entries, 0x1235, index) == 3
    assert delete(meant, entries, blocks, 0x1235, index)


def test_bmv2_does_not_notice_a_full_block_and_loses_places() -> None:
    table = conntable(2, "bmv2", size=2)
    entries, blocks = new_conntable(table)
    assert [insert(table, entries, blocks, 4, s) for s in range(3)] == [0, 1, NOTHING]
    assert lookup(table, entries, 4, NOTHING) == REFUSED
    assert delete(table, entries, blocks, 4, 0)  # pushed at place 0, but the next pop is at 1
    assert [insert(table, entries, blocks, 4, s) for s in range(2)] == [NOTHING, 0]


def test_the_hash_decides_block_and_check() -> None:
    meant, published = conntable(80, size=10), conntable(80, "bmv2", size=10)
    assert [block_of(meant, 0xABCD1235), check_of(meant, 0xABCD1235)] == [5, 0xABCD]
    assert [block_of(published, 0xABCD1235), check_of(published, 0xABCD1235)] == [5, 0x1235]


# --- any sequence of what can happen ------------------------------------------------------------------------


class Oracle:
    """Free lists and dictionaries in plain Python, one a block, for each variant."""

    def __init__(self, variant: str, size: int, blocks: int) -> None:
        self.variant = variant
        self.size = size
        self.used: dict[tuple[int, int], tuple[int, int]] = {}  # (block, index) -> (digest, server)
        start = {"cheetah": range(size - 1, -1, -1), "fastclick": range(1, size), "bmv2": range(size)}[
            variant
        ]
        self.stack = [list(start) for _ in range(blocks)]
        self.ring = [dict(enumerate(range(size))) for _ in range(blocks)]  # bmv2: place -> index
        self.pops, self.pushes = [0] * blocks, [0] * blocks

    def insert(self, block: int, digest: int, server: int) -> int:
        if self.variant == "bmv2":
            index = self.ring[block].pop(self.pops[block] % self.size, NOTHING)
            self.pops[block] += 1
        else:
            index = self.stack[block].pop() if self.stack[block] else FULL
        if index not in (NOTHING, FULL):
            self.used[block, index] = digest, server
        return index

    def lookup(self, block: int, digest: int, index: int) -> int:
        if (block, index) not in self.used:
            return REFUSED
        owner, server = self.used[block, index]
        same = {"cheetah": owner >> 16 == digest >> 16, "bmv2": owner % 65536 == digest % 65536}
        return server if same.get(self.variant, True) else REFUSED

    def delete(self, block: int, digest: int, index: int) -> bool:
        if self.variant == "fastclick" or self.lookup(block, digest, index) == REFUSED:
            return False
        del self.used[block, index]
        self.stack[block].append(index)
        self.ring[block][self.pushes[block] % self.size] = index
        self.pushes[block] += 1
        return True

    def delete_server(self, server: int) -> int:
        dead = sorted(k for k, (_, s) in self.used.items() if s == server and self.variant == "cheetah")
        return sum(self.delete(block, self.used[block, index][0], index) for block, index in dead)


class World:
    """Connections through a table while servers come, drain and crash."""

    def __init__(self, variant: str, size: int, connections: int) -> None:
        self.table: ConnTable = conntable(connections, variant, size=size)
        self.entries, self.blocks = new_conntable(self.table)
        self.oracle = Oracle(variant, size, self.table.blocks)
        self.active, self.away = [0, 1, 2], [3, 4, 5]
        self.known = {0, 1, 2}
        self.open: list[tuple[int, int, int]] = []  # digest, cookie, server
        self.closed: list[tuple[int, int]] = []
        self.served = self.refused = 0

    def step(self, name: str, x: int, y: int) -> None:
        args = self.table, self.entries, self.blocks
        digest = y ^ (y & 1) << 16
        block = digest % self.table.blocks
        if name == "open":
            server = self.active[x % len(self.active)]  # any policy
            cookie = insert(*args, digest, server)
            assert cookie == self.oracle.insert(block, digest, server)
            if cookie in (FULL, NOTHING):
                self.refused += 1
            else:
                assert all((d % self.table.blocks, c) != (block, cookie) for d, c, _ in self.open)
                self.open.append((digest, cookie, server))
        elif name == "add" and self.away:
            self.active.append(self.away.pop(x % len(self.away)))
            self.known.add(self.active[-1])
        elif name in ("drain", "crash") and len(self.active) > 1:
            server = self.active.pop(x % len(self.active))
            self.away.append(server)
            if name == "crash":  # these, and only these, are lost; the balancer may know or not
                self.open = [c for c in self.open if c[2] != server]
                if y & 64:
                    assert delete_server(*args, server) == self.oracle.delete_server(server)
        elif name == "forge":
            self.forge(digest, x % (self.table.size + 2) - 1)
        elif name == "stale" and self.closed:
            self.forge(*self.closed[x % len(self.closed)])
        elif name in ("talk", "close") and self.open:
            digest, cookie, server = self.open[x % len(self.open)]
            assert lookup(self.table, self.entries, digest, cookie) == server, "a connection broke"
            self.served += 1
            if name == "close":
                self.open.remove((digest, cookie, server))
                self.closed.append((digest, cookie))
                freed = delete(*args, digest, cookie)
                assert freed == self.oracle.delete(digest % self.table.blocks, digest, cookie)

    def forge(self, digest: int, cookie: int) -> None:
        server = lookup(self.table, self.entries, digest, cookie)
        assert server == self.oracle.lookup(digest % self.table.blocks, digest, cookie)
        assert server == REFUSED or server in self.known


NAMES = ["open", "open", "open", "talk", "talk", "close", "add", "drain", "crash", "forge", "stale"]
WORD = st.integers(0, 2**32 - 1)
FEW = st.integers(0, 3) | WORD  # many equal hashes
STEPS = st.lists(st.tuples(st.sampled_from(NAMES), WORD, FEW), min_size=5, max_size=60)
WORLDS = st.builds(
    World, st.sampled_from(["cheetah", "fastclick", "bmv2"]), st.sampled_from([2, 3, 10]), st.integers(1, 40)
)


def run(world: World, steps: list[tuple[str, int, int]]) -> None:
    for name, x, y in steps:
        world.step(name, x, y)
    for k in range(len(world.open)):
        world.step("talk", k, 0)


@given(WORLDS, STEPS)
@settings(max_examples=300)
def test_no_connection_breaks(world: World, steps: list[tuple[str, int, int]]) -> None:
    run(world, steps)


@pytest.mark.slow
@given(WORLDS, STEPS)
@settings(max_examples=10_000)
def test_no_connection_breaks_in_many_sequences(world: World, steps: list[tuple[str, int, int]]) -> None:
    run(world, steps)


@pytest.mark.parametrize("variant", ["cheetah", "bmv2"])
def test_the_sequences_do_what_they_should(variant: str) -> None:
    world = World(variant, 10, 40)
    rng = np.random.default_rng(1)
    for _ in range(5000):
        world.step(NAMES[rng.integers(len(NAMES))], int(rng.integers(2**32)), int(rng.integers(2**32)))
    assert world.served > (500 if variant == "cheetah" else 50)  # bmv2 loses the entries of crashed servers
    assert world.refused > 10


@transient
def occupy(table: ConnTable, entries: np.recarray, blocks: np.recarray, digests: np.ndarray) -> int:
    """Insert connections until one is refused; return how many went in."""
    for k in range(len(digests)):
        if insert(table, entries, blocks, digests[k], k % 64) == FULL:
            return k
    return len(digests)


def test_the_published_table_is_full_early_in_one_block() -> None:
    """500,000 connections over 16 blocks all fit; of as many as there are entries, the last few do not."""
    table = conntable(500_000)
    digests = np.random.default_rng(7).integers(0, 1 << 32, 16 * BLOCK_SIZE)
    entries, blocks = new_conntable(table)
    assert occupy(table, entries, blocks, digests[:500_000]) == 500_000
    entries, blocks = new_conntable(table)
    placed = occupy(table, entries, blocks, digests)
    owners = [np.flatnonzero(digests % 16 == b) for b in range(16)]
    first_full = min(of_block[BLOCK_SIZE] for of_block in owners if len(of_block) > BLOCK_SIZE)
    assert placed == first_full
    assert 0.97 < placed / len(digests) < 1
