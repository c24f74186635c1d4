"""SilkRoad: no learned or noted connection changes its version, and what happens without the notes."""

from collections import deque

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from pools import MASK, mix

from lbsim.balancer.tables.silkroad import (
    EMPTY,
    HIT,
    MISS,
    SOFTWARE,
    STAGES,
    WAYS,
    begin_update,
    digest_table,
    end_update,
    forget,
    free_version,
    learn,
    match,
    no_update,
    pool_server,
    silkroad,
    switch_version,
    transit_add,
    transit_has,
    transit_table,
)

keys = st.integers(0, MASK)
DELAY = 5


def digest(key: int) -> int:
    return mix(key) & 0xFFFF


def twins(count: int) -> list[int]:
    """Return keys of equal digest."""
    found, key = [1], 2
    while len(found) < count:
        if digest(key) == digest(1):
            found.append(key)
        key += 1
    return found


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=80))
def test_the_table_is_a_dict(steps: list[tuple[bool, int]]) -> None:
    table = digest_table(4 * STAGES * WAYS)
    here: dict[int, int] = {}
    for number, (come, key) in enumerate(steps):
        if come and key not in here and learn(table, np.uint64(key), number):
            here[key] = number
        elif not come:
            assert forget(table, np.uint64(key)) == (here.pop(key, None) is not None)
        for known, version in here.items():
            assert table[match(table, np.uint64(known))].version == version
        assert np.count_nonzero(table.version != EMPTY) == len(here)


def test_a_full_bucket_refuses() -> None:
    table = digest_table(1)
    assert len(table) == STAGES * WAYS
    assert [learn(table, np.uint64(key), 1) for key in range(17)] == [True] * 16 + [False]
    assert not forget(table, np.uint64(16))
    assert forget(table, np.uint64(3))
    assert learn(table, np.uint64(16), 2)
    assert table[match(table, np.uint64(16))].version == 2


def test_occupancy_before_the_first_refusal() -> None:
    table = digest_table(16_000)
    key = 0
    while learn(table, np.uint64(mix(key)), 0):
        key += 1
    assert key / len(table) > 0.6


def test_equal_digests() -> None:
    table, transit, update = digest_table(1), transit_table(), no_update(3)  # one bucket a stage
    resident, newcomer = twins(2)
    assert learn(table, np.uint64(resident), 2)
    assert silkroad(table, transit, update, np.uint64(newcomer), True) == (3, SOFTWARE)
    assert silkroad(table, transit, update, np.uint64(newcomer), False) == (2, HIT)  # before it is learned
    learn(table, np.uint64(newcomer), 3)
    assert silkroad(table, transit, update, np.uint64(newcomer), False) == (3, HIT)
    assert silkroad(table, transit, update, np.uint64(resident), False) == (2, HIT)
    assert not forget(table, np.uint64(twins(3)[2]))


@given(st.sets(keys, max_size=40), st.sets(keys, max_size=40))
def test_transit_table_forgets_none(noted: set[int], others: set[int]) -> None:
    transit = transit_table()
    for key in noted:
        transit_add(transit, np.uint64(key))
    assert all(transit_has(transit, np.uint64(key)) for key in noted)
    assert np.count_nonzero(np.unpackbits(transit.view(np.uint8))) <= 4 * len(noted)
    assert sum(transit_has(transit, np.uint64(key)) for key in others - noted) <= 1


def test_false_hits_of_a_small_filter() -> None:
    transit, update = transit_table(8), no_update()
    begin_update(transit, update)
    for key in range(40):
        silkroad(digest_table(1), transit, update, np.uint64(key), True)
    switch_version(update, 1)
    found = [silkroad(digest_table(1), transit, update, np.uint64(k), True) for k in range(1000, 1400)]
    assert {f.version for f in found} == {1}  # first packets: software knows better
    assert sum(f.how == SOFTWARE for f in found) > 100


def churn(steps: list[str], record: bool) -> int:
    """Let connections come while the pool changes; return how many packets met another version."""
    table, transit, update = digest_table(4096), transit_table(), no_update()
    pending: deque[tuple[int, int, int]] = deque()  # to be learned at, key, version
    chosen: dict[int, int] = {}
    version, wrong, next_step = 0, 0, 0
    for now, step in enumerate(steps):
        while pending and pending[0][0] <= now:
            learn(table, np.uint64(pending[0][1]), pending[0][2])
            pending.popleft()
        if update.phase[0] == 1 and now >= next_step:
            version += 1
            switch_version(update, version)
            next_step = now + DELAY
        elif update.phase[0] == 2 and now >= next_step:
            end_update(transit, update)
        if step == "come":
            key = mix(now)
            first = silkroad(table, transit, update, np.uint64(key), True)
            assert first.how in (MISS, SOFTWARE)
            chosen[key] = first.version
            pending.append((now + DELAY, key, first.version))
        elif step == "change" and update.phase[0] == 0:
            begin_update(transit, update)
            next_step = now + DELAY
            if not record:
                version += 1
                switch_version(update, version)
                end_update(transit, update)
        for key, mine in chosen.items():
            wrong += silkroad(table, transit, update, np.uint64(key), False).version != mine
    return wrong


@given(st.lists(st.sampled_from(["come", "come", "change", "wait"]), max_size=60))
def test_no_connection_changes_its_version(steps: list[str]) -> None:
    assert churn(steps, record=True) == 0


def test_without_the_first_step_unlearned_connections_do() -> None:
    assert churn(["come", "come", "change", "wait"], record=False) == 2 * 2
    assert churn(["come", *["wait"] * DELAY, "change", "wait"], record=False) == 0


def test_pools_and_versions() -> None:
    pools, sizes = np.zeros((4, 8), np.int64), np.array([3, 8, 0, 0])
    pools[0, :3], pools[1] = (5, 6, 7), np.arange(8)
    picks = [[pool_server(pools, sizes, v, np.uint64(mix(k))) for k in range(4000)] for v in (0, 1)]
    assert set(picks[0]) == {5, 6, 7}
    assert np.all(np.abs(np.bincount(picks[1]) / 500 - 1) < 0.2)
    assert picks[0] == [(5, 6, 7)[mix(mix(k) ^ MASK) % 3] for k in range(4000)]
    users = np.array([4, 0, 0, 2])
    assert (free_version(users, 1), free_version(users, 3), free_version(np.ones(4, np.int64), 0)) == (
        2,
        1,
        -1,
    )
