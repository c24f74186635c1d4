"""The random numbers of CPython's `random.Random`, drawn inside kernels.

Many published simulations draw from Python's own generator; with its exact stream their results can be
reproduced to the digit. It is MT19937 (Matsumoto and Nishimura, ACM TOMACS 8(1), 1998), and `random()` makes
a float of 53 bits from two of its words. CPython promises the same `random()` for the same seed forever.

The state of a stream is a uint32[625]: the 624 words and the position of the next one, as in
`random.Random.getstate()`. Only 53-bit floats are drawn here, so the position is always even.
"""

from __future__ import annotations

import random
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lbsim.jit import lean

Stream = NDArray[np.uint32]

WORDS: Final = 624
_MIDDLE: Final = 397
_HIGH, _LOW = np.uint32(0x80000000), np.uint32(0x7FFFFFFF)
_MATRIX: Final = np.uint32(0x9908B0DF)


def stream(seed: int) -> Stream:
    """Return the stream of `random.Random(seed)`, from its start."""
    return np.array(random.Random(seed).getstate()[1], np.uint32)


@lean
def uniform(stream: Stream) -> float:
    """Return what `random()` would return next, 0 <= u < 1."""
    at = np.uintp(stream[WORDS])
    if at >= np.uintp(WORDS):
        _twist(stream)
        at = np.uintp(0)
    stream[WORDS] = at + np.uintp(2)
    high = _tempered(stream[at]) >> np.uint32(5)
    low = _tempered(stream[at + np.uintp(1)]) >> np.uint32(6)
    return (np.float64(high) * 67108864.0 + np.float64(low)) * (1.0 / 9007199254740992.0)


@lean
def _tempered(word: np.uint32) -> np.uint32:
    word ^= word >> np.uint32(11)
    word ^= (word << np.uint32(7)) & np.uint32(0x9D2C5680)
    word ^= (word << np.uint32(15)) & np.uint32(0xEFC60000)
    return np.uint32(word ^ (word >> np.uint32(18)))


@lean
def _mixed(high: np.uint32, low: np.uint32) -> np.uint32:
    word = (high & _HIGH) | (low & _LOW)
    return np.uint32((word >> np.uint32(1)) ^ (_MATRIX * (word & np.uint32(1))))


@lean
def _twist(stream: Stream) -> None:
    """Replace the 624 words by the next ones."""
    for k in range(WORDS - _MIDDLE):
        stream[k] = stream[k + _MIDDLE] ^ _mixed(stream[k], stream[k + 1])
    for k in range(WORDS - _MIDDLE, WORDS - 1):
        stream[k] = stream[k + _MIDDLE - WORDS] ^ _mixed(stream[k], stream[k + 1])
    stream[WORDS - 1] = stream[_MIDDLE - 1] ^ _mixed(stream[WORDS - 1], stream[0])
