"""Table entries: how many a switch or NIC needs to hold a decision diagram.

An entry matches a prefix of each field. Intervals are no prefixes, but as the longest prefix wins, few
entries with exceptions say what many without would: the fewest are found as ORTC finds the smallest
forwarding table (Draves, King, Venkatachary and Zill, INFOCOM 1999).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lbsim.chain.diagram import Diagrams
from lbsim.chain.space import BITS, Int64s

Sets = NDArray[Any]
"""Sets of children, a bit for each: int64, or Python ints where there are too many."""


def entries(diagrams: Diagrams, root: int, tables: int) -> int:
    """Return how many entries hold a diagram on a device that a packet passes so many tables of.

    With a table for each field that the diagram asks for, there is an entry for each prefix of each node.
    With fewer, an entry matches all fields at once, and prefixes of one field multiply with those of the
    next.
    """
    reached = diagrams.reached(root)
    fields = {diagrams.nodes[k].field for k in reached if k >= 0}
    needed, total = dict[int, int](), 0
    for k in reached:
        needed[k] = 1
        if k >= 0:
            field, starts, kids = diagrams.nodes[k]
            count = prefixes(starts, kids, BITS[field])
            needed[k] = sum(number * needed[kid] for kid, number in count.items())
            total += count.total()
    return max(1, total) if tables >= len(fields) else needed[root]


def prefixes(starts: Int64s, kids: Int64s, bits: int) -> Counter[int]:
    """Return how many prefixes lead to each child in a smallest table; the longest that matches wins.

    Values have `bits` bits; those from starts[i] on, up to the next start, have child kids[i].
    """
    if kids.size == 1:
        return Counter(kids.tolist())
    names, which = np.unique(kids, return_inverse=True)
    single: Sets = np.array([1 << k for k in range(names.size)], np.int64 if names.size < 63 else object)
    cuts = starts[1:]
    blocks, sets, halves = np.empty(0, np.int64), single[:0], list[tuple[Sets, NDArray[np.bool_]]]()
    for level in range(bits):  # blocks of 2**level values that no single child has, and what suits each
        parents = np.unique(cuts[cuts & (2 << level) - 1 != 0] >> level + 1)
        parts = np.repeat(2 * parents, 2)
        parts[1::2] += 1
        divided = np.isin(parts, blocks)
        suits = single[which[np.searchsorted(starts, parts << level, "right") - 1]]
        suits[divided] = sets
        halves.append((suits, divided))
        both = suits[::2] & suits[1::2]
        blocks, sets = parents, np.where(both != 0, both, suits[::2] | suits[1::2])
    chosen = _one_of(sets)
    count = Counter(chosen.tolist())
    for suits, divided in reversed(halves):  # a block has what suits it from above, or an entry of its own
        above = np.repeat(chosen, 2)
        inherits = suits & above != 0
        taken = np.where(inherits, above, _one_of(suits))
        count.update(taken[~inherits].tolist())
        chosen = taken[divided]
    return Counter({int(names[bit.bit_length() - 1]): number for bit, number in count.items()})


def _one_of(sets: Sets) -> Sets:
    """Return the lowest element of each set, as a set."""
    return sets & -sets
