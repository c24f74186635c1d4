"""What the tests of mapping tables share: pools, and checks of what a change moves."""

import numpy as np
from hypothesis import strategies as st

from lbsim.balancer.tables import Servers, Table, Weights

MASK = (1 << 64) - 1


def mix(word: int) -> int:
    """SplitMix64's finaliser on Python's ints."""
    word = ((word ^ word >> 30) * 0xBF58476D1CE4E5B9) & MASK
    word = ((word ^ word >> 27) * 0x94D049BB133111EB) & MASK
    return word ^ word >> 31


def word_of(server: int) -> int:
    return (server + 1) * 0x9E3779B97F4A7C15 & MASK


def ids(servers: list[int]) -> Servers:
    return np.array(servers, np.int64)


def ones(servers: int = 64) -> Weights:
    return np.ones(servers)


def shares(table: Table, active: Servers) -> Weights:
    """Return each active server's part of the table, relative to a fair one."""
    return np.bincount(table, minlength=active.max() + 1)[active] * len(active) / len(table)


pools = st.lists(st.integers(0, 63), min_size=1, max_size=24, unique=True)
bigger_pools = st.lists(st.integers(0, 63), min_size=2, max_size=24, unique=True)
weightings = st.lists(st.sampled_from([0.25, 0.5, 1.0, 1.0, 1.5, 2.0, 3.7]), min_size=64, max_size=64)
hashes = st.integers(0, (1 << 32) - 1)
keys = st.integers(0, MASK)
