from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsim.nic import bucket_of, round_robin_table, sprayer_table

SIZES = st.integers(0, 12).map(lambda bits: 2**bits)


def test_entries_are_dealt_in_turn() -> None:
    table = round_robin_table(8, 3)
    assert table.dtype == np.int64
    assert table.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert round_robin_table(2, 5).tolist() == [0, 1]


@given(SIZES, st.integers(1, 64))
def test_every_core_gets_an_equal_part_within_one_entry(size: int, cores: int) -> None:
    entries = np.bincount(round_robin_table(size, cores), minlength=cores)
    assert (entries.size, entries.sum()) == (cores, size)
    assert np.ptp(entries) <= 1


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=8), SIZES)
def test_a_bucket_is_the_low_bits_of_the_hash(hashes: list[int], size: int) -> None:
    buckets = bucket_of(np.array(hashes, np.uint32), size)
    assert buckets.dtype == np.int64
    assert buckets.tolist() == [h % size for h in hashes]


def test_sprayer_has_a_rule_for_each_value_of_a_byte() -> None:
    table = sprayer_table(8)
    assert table.tolist() == [value % 8 for value in range(256)]


@pytest.mark.parametrize("size", [0, -4, 3, 100, 8192])
def test_a_table_no_nic_has_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"table size is {size}: .* power of two of entries, 1 to 4096"):
        round_robin_table(size, 4)
    with pytest.raises(ValueError, match=f"table size is {size}"):
        bucket_of(np.zeros(1, np.uint32), size)


@pytest.mark.parametrize("cores", [0, -1])
def test_a_table_without_cores_is_refused(cores: int) -> None:
    with pytest.raises(ValueError, match=f"cores is {cores}"):
        round_robin_table(128, cores)
    with pytest.raises(ValueError, match=f"cores is {cores}"):
        sprayer_table(cores)
