"""The random numbers of CPython's `random.Random`, drawn inside kernels.

Many published simulations draw from Python's own generator; with its exact stream their results can be
reproduced to the digit. It is MT19937 (Matsumoto and Nishimura, ACM TOMACS 8(1), 1998), and `random()` makes
a float of 53 bits from two of its words. CPython promises the same `random()` for the same seed forever.

Words are made and tempered 624 at a time, in loops that share the vector registers.
"""

from __future__ import annotations

import random
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.jit import lean

WORDS: Final = 624
FLOATS: Final = WORDS // 2
PAIRS: Final = FLOATS // 2
_MIDDLE: Final = 397
_HIGH, _LOW = np.uint32(0x80000000), np.uint32(0x7FFFFFFF)
_MATRIX: Final = np.uint32(0x9908B0DF)


class Stream(NamedTuple):
    """A stream of `random.Random`; only floats are drawn here, so the position is always even."""

    state: NDArray[np.uint32]  # [625]: the words and the position of the next one, as in `getstate()`
    floats: NDArray[np.float64]  # [312]: what `random()` makes of the words


def stream(seed: int) -> Stream:
    """Return the stream of `random.Random(seed)`, from its start."""
    return Stream(np.array(random.Random(seed).getstate()[1], np.uint32), np.zeros(FLOATS))


@lean
def uniform(stream: Stream) -> float:
    """Return what `random()` would return next, 0 <= u < 1."""
    at = np.uintp(stream.state[WORDS])
    if at >= np.uintp(WORDS):
        refill(stream)
        at = np.uintp(0)
    stream.state[WORDS] = at + np.uintp(2)
    return stream.floats[at >> np.uintp(1)]  # type: ignore[no-any-return]


@lean
def refill(stream: Stream) -> None:
    """Make the next 312 floats; those of the stream that were not drawn are skipped."""
    words, floats = stream.state, stream.floats
    for k in range(WORDS - _MIDDLE):
        words[k] = words[k + _MIDDLE] ^ _mixed(words[k], words[k + 1])
    for k in range(WORDS - _MIDDLE, WORDS - 1):
        words[k] = words[k + _MIDDLE - WORDS] ^ _mixed(words[k], words[k + 1])
    words[WORDS - 1] = words[_MIDDLE - 1] ^ _mixed(words[WORDS - 1], words[0])
    for k in range(FLOATS):
        high = _tempered(words[2 * k]) >> np.uint32(5)
        low = _tempered(words[2 * k + 1]) >> np.uint32(6)
        floats[k] = (np.float64(high) * 67108864.0 + np.float64(low)) * (1.0 / 9007199254740992.0)


@lean
def _mixed(high: np.uint32, low: np.uint32) -> np.uint32:
    word = (high & _HIGH) | (low & _LOW)
    return np.uint32((word >> np.uint32(1)) ^ (_MATRIX * (word & np.uint32(1))))


@lean
def _tempered(word: np.uint32) -> np.uint32:
    word ^= word >> np.uint32(11)
    word ^= (word << np.uint32(7)) & np.uint32(0x9D2C5680)
    word ^= (word << np.uint32(15)) & np.uint32(0xEFC60000)
    return np.uint32(word ^ (word >> np.uint32(18)))
