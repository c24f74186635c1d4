from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsim.nic import bucket_of, random_table, round_robin_table, sprayer_table

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


# Tables filled at random -----------------------------------------------------------------------------------

# source: tbarbette/fastclick, elements/research/crossrss.cc: std::mt19937 of seeds 0..3, 128 entries, 4 cores
PUBLISHED_SHARES = (
    (0.84, 1.03, 1.19, 0.94),
    (1.06, 1.03, 0.97, 0.94),
    (0.94, 1.09, 1.03, 0.94),
    (0.81, 1.38, 1.06, 0.75),
)
"""Buckets of each core over their mean, by server."""

EVERY_WORD = 2**32
"""With so many cores the entries are the very words of the Mersenne Twister."""


@pytest.mark.parametrize("server", range(4))
def test_the_tables_of_crossrss_are_those_of_its_servers(server: int) -> None:
    buckets = np.bincount(random_table(128, 4, server))
    assert np.abs(buckets / 32 - PUBLISHED_SHARES[server]).max() <= 0.005 + 1e-9


def test_words_are_those_of_the_published_twister() -> None:
    """Matsumoto and Nishimura (1998) seed with 5489; C++ fixes the 10000th word after it."""
    assert random_table(4, EVERY_WORD, 5489).tolist() == [3499211612, 581869302, 3890346734, 3586334585]
    words = np.random.RandomState(5489).randint(0, 2**32, 10_000, dtype=np.uint32)
    assert words[:4096].tolist() == random_table(4096, EVERY_WORD, 5489).tolist()
    assert words[-1] == 4123659995


@given(SIZES, st.integers(1, 2**32 - 1), st.integers(0, 255))
def test_a_word_that_would_favour_a_core_is_drawn_again(size: int, cores: int, server: int) -> None:
    words = iter(np.random.RandomState(server).randint(0, 2**32, 8 * size + 99, dtype=np.uint32).tolist())
    table: list[int] = []
    while len(table) < size:
        scaled = next(words) * cores
        if scaled % 2**32 >= 2**32 % cores:
            table.append(scaled >> 32)
    assert random_table(size, cores, server).tolist() == table
    assert max(table) < cores


@pytest.mark.parametrize(("size", "cores"), [(100, 4), (8192, 4), (128, 0)])
def test_a_random_table_needs_a_size_and_a_core(size: int, cores: int) -> None:
    with pytest.raises(ValueError, match=r"power of two|at least 1 core"):
        random_table(size, cores, 0)
