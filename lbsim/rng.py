"""Randomness with names: one NumPy stream per purpose, and stateless coins for policies.

Streams are spawned as `SeedSequence(seed, spawn_key=(replication, stream))`. A purpose owns its stream, so
two scenarios that differ only in a policy see the same packets (common random numbers) and a paired
difference between them is honest.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from lbsim.jit import kernel

STREAMS: Final = (
    "gaps",
    "sizes",
    "flows",
    "service",
    "think",
    "churn",
    "order",
    "checksums",
    "stalls",
    "key",
    "windows",
    "reports",
    "pauses",
    "rules",
    "routes",
)
"""Stream names; a name's position is its spawn key, so append new names and never reorder."""


def stream(seed: int, name: str, replication: int = 0) -> np.random.Generator:
    """Return the generator of one named stream.

    `seed` and `replication` are non-negative; an unknown name raises ValueError.
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(replication, STREAMS.index(name)))
    return np.random.Generator(np.random.PCG64DXSM(sequence))


@kernel
def coin(seed: int, index: int, k: int) -> int:
    """Return the k-th 63-bit coin of unit `index`: a counter hash, equal in both engines.

    Two rounds of the SplitMix64 finaliser (Steele, Lea and Flood, OOPSLA 2014) over (seed, index, k).
    """
    z = (
        np.uint64(seed)
        + np.uint64(index) * np.uint64(0x9E3779B97F4A7C15)
        + np.uint64(k) * np.uint64(0xD1B54A32D192ED03)
    )
    for _ in range(2):
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return np.int64(z >> np.uint64(1))  # type: ignore[return-value]
