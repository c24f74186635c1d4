"""Traffic classes: NIC rules on pairs of prefixes, dealt to the cores and moved by halves as loads ask.

Metron (Katsikas et al., NSDI 2018) as the authors of RSS++ re-implemented it for their measurements
(rsspp/fastclick, metron.cc). A controller moves rules by their number, not by their load: that is its limit,
and a simulator must keep it. Pure functions over arrays; loads are in units of one core.
"""

from __future__ import annotations

from typing import Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from lbsim.nic.rsspp import Flags, Floats, Ints
from lbsim.nic.toeplitz import FlowColumns
from lbsim.rng import stream

Int32s = NDArray[np.int32]

IDLE: Final = 0.1  # mean load below which relative loads say nothing
LONGEST: Final = {4: 32, 6: 128}  # bits of an address, by version


class Classes(NamedTuple):
    """Which class each flow is in."""

    of: Int32s  # int32[flows], classes numbered by their first flow
    prefix: int  # common length of the source and destination prefixes, in bits

    @property
    def number(self) -> int:
        """Return the number of classes."""
        return int(self.of.max()) + 1 if self.of.size else 0


class ClassParams(NamedTuple):
    """What can be set about the controller; the defaults are those of the paper's experiments."""

    overload: float = 0.65  # load, or its forecast, above which a core gives half of its rules away
    underload: float = 0.35  # load, and forecast, below which it takes rules
    scaling: bool = True  # let cores come into use and go out of it
    least: int = 1  # fewest cores in use


class Rearranged(NamedTuple):
    """What one tick decided."""

    table: Ints  # int64[rules], the new table
    used: Flags  # bool[cores] in use afterwards
    touched: Flags  # bool[cores] that took part in a change: they are left alone for a while
    added: int  # cores that came into use
    removed: int  # cores that went out of use


def classes_of(flows: FlowColumns, most: int) -> Classes:
    """Return the class of each flow: its pair of source and destination prefix.

    All prefixes have one length, the longest at which the flows show at most `most` distinct pairs; an
    address of IPv4 has 32 bits of it at most, and classes never mix versions. Raises ValueError where even
    empty prefixes, a rule for each version, are more than `most`.
    """
    versions = flows.version == 6
    ids, count, order = _renumbered(versions.astype(np.int64), 2)
    if count > most:
        raise ValueError(f"rules is {most}: flows of IPv4 and of IPv6 need 2 at least")
    present: tuple[int, ...] = (4,) * bool((~versions).any()) + (6,) * bool(versions.any())
    length = 0
    for bit in range(max((LONGEST[v] for v in present), default=0)):
        place, shift = bit // 8, np.uint8(7 - bit % 8)
        pair = ((flows.src[:, place] >> shift) & 1).astype(np.int64) * 2 + (
            (flows.dst[:, place] >> shift) & 1
        )
        if bit >= LONGEST[4]:
            pair *= versions
        finer, count, first = _renumbered(ids * 4 + pair, count * 4)
        if count > most:
            break
        ids, order, length = finer, first, bit + 1
    rank = np.empty(order.size, np.int32)
    rank[np.argsort(order)] = np.arange(order.size, dtype=np.int32)
    return Classes(rank[ids], length)


def _renumbered(ids: Ints, bound: int) -> tuple[Ints, int, Ints]:
    """Return ids below `bound` numbered without gaps, how many there are, and where each shows up first."""
    first = np.full(bound, -1, np.int64)
    first[ids[::-1]] = np.arange(ids.size - 1, -1, -1)  # of equal places the last assignment stays
    present = first >= 0
    return (np.cumsum(present) - 1)[ids], int(present.sum()), first[present]


def dealt(classes: int, cores: int, deal: int) -> Ints:
    """Return int64[classes], the core of each rule at the start: dealt in turn, in a random order.

    The order is a permutation from the stream "key" of seed `deal`: as with a hash key, which rules meet on
    a core is luck, and independent of the traffic's own seed.
    """
    table = np.empty(classes, np.int64)
    table[stream(deal, "key").permutation(classes)] = np.arange(classes) % cores
    return table


def relative_loads(load: Floats) -> Floats:
    """Return loads by which a fixed set of cores is balanced: half the load over the mean, at most 1.

    The mean is over all cores; where it is below 0.1 every core shows 0.5, so that nothing moves.
    """
    mean = float(load.mean())
    if mean < IDLE:
        return np.full(load.size, 0.5)
    return cast(Floats, np.clip(load / (2 * mean), 0.0, 1.0))


def rearrange(
    load: Floats,
    past: Floats,
    rested: Flags,
    used: Flags,
    table: Ints,
    params: ClassParams,
    held: Flags | None,
) -> Rearranged:
    """Return what the controller does at one tick.

    `load`, `past` (load at the previous tick, 0 at first), `rested` (took part in no recent change) and
    `used` (in use) are over all cores; `table` holds the core of each rule; `held` marks rules whose last
    move is still under way and which stay, None for none. No argument changes.

    The forecast is 2 x load - past. A rested core with load or forecast above `overload` is overloaded; with
    load, past and forecast all below `underload` it is underloaded. Overloaded cores, highest load first,
    each give the later half of their rules, in order of number and at least one, to a new core (the lowest
    out of use), or to the least loaded of the underloaded ones, which then is one no more; where there is
    neither, nothing more moves. Then, with `scaling`, the two least loaded of the underloaded cores are
    merged if their sum is below `overload`: the least loaded gives all its rules away and goes out of use.
    A core with one rule gives it away; one without any is passed over.
    """
    forecast = 2 * load - past
    hot = used & rested & ((load > params.overload) | (forecast > params.overload))
    cool = used & rested & (np.maximum(np.maximum(load, past), forecast) < params.underload)
    table, used, touched = table.copy(), used.copy(), np.zeros(load.size, np.bool_)
    stays = np.zeros(table.size, np.bool_) if held is None else held
    under = sorted(np.flatnonzero(cool).tolist(), key=lambda c: (load[c], c))
    added = removed = 0
    for source in sorted(np.flatnonzero(hot).tolist(), key=lambda c: (-load[c], c)):
        rules = np.flatnonzero(table == source)
        given = rules[~stays[rules]][-max(1, rules.size // 2) :]
        if not given.size:
            continue
        if params.scaling and not used.all():
            sink = int(np.argmin(used))
            used[sink] = True
            added += 1
        elif under:
            sink = under.pop(0)
        else:
            break
        table[given] = sink
        touched[[source, sink]] = True
    if params.scaling and len(under) >= 2 and int(used.sum()) > params.least:
        source, sink = under[:2]
        rules = np.flatnonzero(table == source)
        if load[source] + load[sink] < params.overload and not stays[rules].any():
            table[rules] = sink
            used[source] = False
            touched[[source, sink]] = True
            removed = 1
    return Rearranged(table, used, touched, added, removed)
