"""Connections are known by number; their keys are hashed to buckets.

The published simulation gives connections and server updates numbers from one counter; the key of a
connection is the text "000" and its decimal number (three empty header fields come first), hashed by Python
2's `hash`. Hashes of sequential texts are not independent: uniform hashes give other imbalance.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from lbsim.balancer.hashing.texts import python2_begin, python2_end, python2_extend
from lbsim.jit import lean
from lbsim.rng import coin

Hashing = Literal["python2", "uniform"]
HASHINGS: Final = ("python2", "uniform")
_PYTHON2: Final = 0
_ZERO: Final = ord("0")
_KEY_WORDS: Final = 6  # of an MD5 block; 3 + 19 digits and a byte of padding


@lean
def prefix(tens: int) -> Any:
    """Return the state of the hash of "000" and the digits of `tens`, of which 0 has none."""
    state = python2_begin(_ZERO)
    for _ in range(3):
        state = python2_extend(state, _ZERO)
    unit = 1
    while unit <= tens // 10:
        unit *= 10
    while tens and unit:
        state = python2_extend(state, _ZERO + tens // unit % 10)
        unit //= 10
    return state


@lean
def prefix_length(tens: int) -> int:
    """Return the number of characters that `prefix` has seen."""
    length = 3
    while tens:
        tens //= 10
        length += 1
    return length


@lean
def bucket(hashing: int, seed: int, state: Any, length: int, number: int, suffix: int, buckets: int) -> int:
    """Return the bucket of a connection whose key is the prefix, its last digit and, from 0 on, a suffix."""
    if hashing != _PYTHON2:
        return coin(seed, number, max(suffix, 0)) % buckets
    state = python2_extend(state, _ZERO + number % 10)
    length += 1
    if suffix >= 0:
        state = python2_extend(state, _ZERO + suffix)
        length += 1
    return python2_end(state, length) % buckets


@lean
def key_blocks(first: int, blocks: NDArray[np.uint32]) -> None:
    """Write the MD5 blocks of the keys of connections first, first + 1 ... into uint32[16, n].

    The other words of `blocks` must be 0, and stay so.
    """
    for i in range(blocks.shape[1]):
        number = first + i
        if i and number % 10:  # the key before with its last digit one higher
            for word in range(_KEY_WORDS):
                blocks[word, i] = blocks[word, i - 1]
            blocks[14, i] = blocks[14, i - 1]
            at = (blocks[14, i] >> np.uint32(3)) - np.uint32(1)
            blocks[at >> np.uint32(2), i] += np.uint32(1) << (np.uint32(8) * (at & np.uint32(3)))
        else:
            _write_key(number, blocks, i)


@lean
def _write_key(number: int, blocks: NDArray[np.uint32], i: int) -> None:
    """Write the MD5 block of a connection's key to column i."""
    length = 3 + (prefix_length(number) - 3 if number else 1)
    for word in range(_KEY_WORDS):
        blocks[word, i] = 0
    for at in range(length, -1, -1):
        if at == length:
            character = 0x80  # MD5's padding
        elif at < 3:
            character = _ZERO
        else:
            character = _ZERO + number % 10
            number //= 10
        blocks[at >> 2, i] |= np.uint32(character) << np.uint32(8 * (at & 3))
    blocks[14, i] = 8 * length
