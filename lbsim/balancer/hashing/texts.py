"""Hash functions of texts, exact to the bit, as kernels.

- `python2_hash`: the hash of a string in CPython 2 (Objects/stringobject.c, string_hash): a multiplicative
  FNV variant; without -R it has no secret.
- `md5_blocks`: MD5 (RFC 1321) of messages of at most 55 bytes, which is one block.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lbsim.jit import kernel, lean

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint32]

_PYTHON2: Final = np.uint64(1000003)


@lean
def python2_begin(first: int) -> Any:
    """Return the state of Python 2's string hash before its first character, which is `first`."""
    return np.uint64(first) << np.uint64(7)


@lean
def python2_extend(state: Any, character: int) -> Any:
    """Return the state after one more character."""
    return (_PYTHON2 * state) ^ np.uint64(character)


@lean
def python2_end(state: Any, length: int) -> int:
    """Return the hash of a string of `length` characters: a signed 64-bit int that is never -1."""
    value = np.int64(state ^ np.uint64(length))
    return np.int64(-2) if value == -1 else value  # type: ignore[return-value]


@kernel
def python2_hash(text: Bytes) -> int:
    """Return `hash(text)` of 64-bit Python 2, a signed int64, 0 for the empty string."""
    if len(text) == 0:
        return 0
    state = python2_begin(text[0])
    for character in text:
        state = python2_extend(state, character)
    return python2_end(state, len(text))


_SINES: Final = np.floor(2.0**32 * np.abs(np.sin(np.arange(1, 65)))).astype(np.uint32)
_TURNS: Final = np.array([7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21], np.uint32)
_START: Final = np.array([0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476], np.uint32)


@lean
def md5_blocks(blocks: Words, digests: Words) -> None:
    """Digest many one-block messages at once, so that they share the vector registers.

    `blocks` is uint32[16, n], the padded messages as little-endian words (see `md5_padded`); `digests`
    uint32[4, n] receives the words of their digests.
    """
    n = blocks.shape[1]
    for k in range(4):
        for i in range(n):
            digests[k, i] = _START[k]
    for r in range(64):
        a, b = digests[-r & 3], digests[(1 - r) & 3]
        c, d = digests[(2 - r) & 3], digests[(3 - r) & 3]
        turn, sine = _TURNS[(r >> 4) * 4 + (r & 3)], _SINES[r]
        if r < 16:
            words = blocks[r]
            for i in range(n):
                a[i] = b[i] + _turned(a[i] + ((b[i] & c[i]) | (~b[i] & d[i])) + words[i] + sine, turn)
        elif r < 32:
            words = blocks[(5 * r + 1) & 15]
            for i in range(n):
                a[i] = b[i] + _turned(a[i] + ((d[i] & b[i]) | (~d[i] & c[i])) + words[i] + sine, turn)
        elif r < 48:
            words = blocks[(3 * r + 5) & 15]
            for i in range(n):
                a[i] = b[i] + _turned(a[i] + (b[i] ^ c[i] ^ d[i]) + words[i] + sine, turn)
        else:
            words = blocks[(7 * r) & 15]
            for i in range(n):
                a[i] = b[i] + _turned(a[i] + (c[i] ^ (b[i] | ~d[i])) + words[i] + sine, turn)
    for k in range(4):
        for i in range(n):
            digests[k, i] += _START[k]


@lean
def _turned(word: Any, bits: Any) -> Any:
    word = np.uint32(word)
    return np.uint32((word << bits) | (word >> (np.uint32(32) - bits)))


def md5_padded(messages: list[bytes]) -> Words:
    """Return the blocks of messages of at most 55 bytes, uint32[16, n]; ValueError for a longer one."""
    longest = max(map(len, messages), default=0)
    if longest > 55:
        raise ValueError(f"a message of {longest} bytes takes more than one MD5 block: give at most 55 bytes")
    padded = (m + b"\x80" + bytes(55 - len(m)) + (8 * len(m)).to_bytes(8, "little") for m in messages)
    return np.frombuffer(b"".join(padded), "<u4").reshape(-1, 16).T.copy()
