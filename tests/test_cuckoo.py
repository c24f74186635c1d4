"""The cuckoo table against a dictionary."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbsim.balancer.tables.cuckoo import (
    FULL,
    MISSING,
    NEW,
    UPDATED,
    WIDTH,
    delete,
    find,
    insert,
    lookup,
    new_cuckoo,
    other_bucket,
)
from lbsim.jit import transient


def check_places(entries: np.recarray) -> None:
    """Every entry is in one of the two buckets its hash allows, and no key is there twice."""
    used = np.flatnonzero(entries.value >= 0)
    assert len(set(entries.key[used].tolist())) == len(used)
    mask = len(entries) // WIDTH - 1
    for k in used.tolist():
        digest = digest_of(int(entries.key[k]))
        first = digest & mask
        assert k // WIDTH in (first, (first ^ digest >> 16) & mask)
        assert entries.signature[k] == digest >> 16


def digest_of(key: int) -> int:
    """Any 32-bit hash, with many keys to a hash."""
    return (key // 3) * 0x9E3779B1 & 0xFFFFFFFF


STEPS = st.lists(
    st.tuples(st.sampled_from(["insert", "insert", "insert", "lookup", "delete"]), st.integers(0, 60)),
    max_size=150,
)


def run(size: int, steps: list[tuple[str, int]]) -> None:
    entries, queue = new_cuckoo(size)
    oracle: dict[int, int] = {}
    for number, (name, key) in enumerate(steps):
        digest = digest_of(key)
        if name == "insert":
            before = entries.copy()
            result = insert(entries, queue, key, digest, number)
            if result == FULL:
                assert key not in oracle
                assert (entries == before).all()
                assert len(oracle) >= WIDTH
                continue
            assert result == (UPDATED if key in oracle else NEW)
            oracle[key] = number
        elif name == "delete":
            assert delete(entries, key, digest) == (oracle.pop(key, None) is not None)
        else:
            assert lookup(entries, key, digest) == oracle.get(key, MISSING)
    for key in range(61):
        assert lookup(entries, key, digest_of(key)) == oracle.get(key, MISSING)
        assert (find(entries, key, digest_of(key)) >= 0) == (key in oracle)
    check_places(entries)


@given(st.sampled_from([8, 16, 32, 64]), STEPS)
@settings(max_examples=200)
def test_it_is_a_dictionary(size: int, steps: list[tuple[str, int]]) -> None:
    run(size, steps)


@pytest.mark.slow
@given(st.sampled_from([8, 16, 32, 64]), STEPS)
@settings(max_examples=3_000)
def test_it_is_a_dictionary_over_many_sequences(size: int, steps: list[tuple[str, int]]) -> None:
    run(size, steps)


def test_one_bucket_holds_eight() -> None:
    entries, queue = new_cuckoo(1)
    assert [insert(entries, queue, key, key << 16, 0) for key in range(9)] == [NEW] * 8 + [FULL]
    assert delete(entries, 3, 3 << 16)
    assert insert(entries, queue, 8, 8 << 16, 0) == NEW


def test_equal_hashes_fill_two_buckets_and_no_more() -> None:
    entries, queue = new_cuckoo(1024)
    results = [insert(entries, queue, key, 0x00050003, key) for key in range(17)]
    assert results == [NEW] * 16 + [FULL]
    assert [lookup(entries, key, 0x00050003) for key in range(17)] == [*range(16), MISSING]
    used = set((np.flatnonzero(entries.value >= 0) // WIDTH).tolist())
    assert used == {3, 3 ^ 5}


def test_a_key_displaces_another() -> None:
    """Bucket 0 is full of entries that could be elsewhere: the next one finds a place in it."""
    entries, queue = new_cuckoo(64)
    for key in range(8):
        assert insert(entries, queue, key, (key % 7 + 1) << 16, key) == NEW
    assert insert(entries, queue, 99, 0, 99) == NEW  # both its buckets are 0
    assert find(entries, 99, 0) < WIDTH
    assert [lookup(entries, key, (key % 7 + 1) << 16) for key in range(8)] == list(range(8))


def test_a_key_goes_to_its_second_bucket_when_nothing_can_leave_the_first() -> None:
    entries, queue = new_cuckoo(64)
    for key in range(8):
        assert insert(entries, queue, key, 0, key) == NEW  # both buckets are 0
    assert insert(entries, queue, 99, 5 << 16, 99) == NEW
    assert find(entries, 99, 5 << 16) // WIDTH == 5
    assert insert(entries, queue, 100, 0, 100) == FULL


def test_the_other_bucket_of_the_other_is_the_first() -> None:
    for bucket in range(64):
        for signature in (0, 1, 63, 64, 0xFFFF):
            assert other_bucket(other_bucket(bucket, signature, 63), signature, 63) == bucket


@transient
def fill(entries: np.recarray, queue: np.recarray, digests: np.ndarray) -> int:
    """Insert until the table is full; return how many went in."""
    for k in range(len(digests)):
        if insert(entries, queue, k, digests[k], k) != NEW:
            return k
    return len(digests)


@transient
def check_all(entries: np.recarray, digests: np.ndarray, n: int) -> int:
    right = 0
    for k in range(n):
        right += lookup(entries, k, digests[k]) == k
    return right


def test_it_fills_beyond_95_percent() -> None:
    size = 1 << 14
    for seed in range(5):
        entries, queue = new_cuckoo(size)
        digests = np.random.default_rng(seed).integers(0, 1 << 32, size)
        placed = fill(entries, queue, digests)
        assert 0.95 < placed / size < 1
        assert np.count_nonzero(entries.value >= 0) == placed == check_all(entries, digests, placed)


@pytest.mark.parametrize("entries", [0, -1, 2**31 + 1])
def test_impossible_sizes_are_refused(entries: int) -> None:
    with pytest.raises(ValueError, match=f"entries is {entries}: a table has 1 to {2**31}"):
        new_cuckoo(entries)


@pytest.mark.parametrize(("asked", "given"), [(1, 8), (8, 8), (9, 16), (1000, 1024), (4_000_000, 4_194_304)])
def test_sizes_are_powers_of_two(asked: int, given: int) -> None:
    assert len(new_cuckoo(asked)[0]) == given
