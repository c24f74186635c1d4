"""Number the directional 5-tuples of a capture: an open-addressing hash table of flow rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lbsim.jit import kernel
from lbsim.workload.packets import FlowTable, Int32s


@kernel
def find(keys: NDArray[np.uint64], table: Int32s, known: int) -> int:
    """Return the row of the flow `keys[known]`: an earlier row, or `known`, which is then entered."""
    key: Any = keys[known]
    mixed = np.uint64(0)
    for i in range(5):
        mixed = (mixed ^ key[i]) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(32)
    slot = np.int64(mixed >> np.uint64(1)) & (len(table) - 1)
    while table[slot] >= 0:
        row: int = table[slot]
        same = True
        for i in range(5):
            same = same and keys[row, i] == key[i]
        if same:
            return row
        slot = (slot + 1) & (len(table) - 1)
    table[slot] = known
    return known


@kernel
def _enter_all(keys: NDArray[np.uint64], table: Int32s, known: int) -> None:
    for row in range(known):
        find(keys, table, row)


class FlowIndex:
    """The flows met so far; `keys` uint64[capacity, 5] as `layers.parse` fills them, `table` their hash."""

    def __init__(self) -> None:
        self.known = 0
        self.keys = np.zeros((0, 5), np.uint64)
        self.table = np.zeros(0, np.int32)

    def reserve(self, new: int) -> None:
        """Make room for `new` more flows and keep the table at most half full."""
        need = self.known + new + 1
        if need <= len(self.keys):
            return
        capacity = 1 << (need - 1).bit_length()
        keys = np.zeros((capacity, 5), np.uint64)
        keys[: self.known] = self.keys[: self.known]
        self.keys, self.table = keys, np.full(2 * capacity, -1, np.int32)
        _enter_all(self.keys, self.table, self.known)

    def flow_table(self, order: NDArray[np.intp]) -> FlowTable:
        """Return the flows' 5-tuples, rows in the given order."""
        keys = self.keys[order]
        addresses = keys[:, :4].astype(">u8").view(np.uint8).reshape(-1, 2, 16)
        last = keys[:, 4]
        return FlowTable(
            src=addresses[:, 0].copy(),
            dst=addresses[:, 1].copy(),
            version=(last >> np.uint64(40)).astype(np.uint8),
            proto=(last >> np.uint64(32)).astype(np.uint8),
            sport=(last >> np.uint64(16)).astype(np.uint16),
            dport=last.astype(np.uint16),
        )
