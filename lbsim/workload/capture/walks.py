"""Kernels that walk over the records of pcap (draft-ietf-opsawg-pcap) and the blocks of pcapng files.

Both stop at the first record that cannot be true. All they keep between windows is the recording's clock and,
for pcapng (draft-ietf-opsawg-pcapng), what the section has said so far: its byte order and its interfaces.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from lbsim.jit import kernel
from lbsim.units import MAX_TIME, SECOND
from lbsim.workload.capture.fields import u8, u16, u32
from lbsim.workload.packets import Bytes, Int64s

RECORD: Final = np.dtype(
    [("at", np.int64), ("captured", np.int32), ("wire", np.int32), ("link", np.int32), ("time", np.int64)]
)
"""Where a packet's bytes begin in the window, how many there are, its length on the wire (without FCS), its
link type, and ps since the first record that has a time."""

MAX_CAPTURED: Final = 1 << 18  # bytes of one packet, as in libpcap (MAXIMUM_SNAPLEN)
MAX_WIRE: Final = 1 << 20  # twice the largest packet Linux builds by segmentation offload
MAX_BLOCK: Final = 1 << 24  # bytes of one pcapng block, as in libpcap
_MAX_SECONDS: Final = MAX_TIME // SECOND
_FAR: Final = 1 << 40  # seconds; no date

# What a walk stops for.
MORE, GROW, CAPTURED, WIRE, TIME, BLOCK, TRAILER, ORDER, VERSION, INTERFACE, OPTION = range(11)

# The clock: state kept between windows.
_TICKING, _SECONDS, _FRACTION, _LAST, _LOW, _HIGH, UNTIMED = range(7)

_ENHANCED, _SIMPLE, _PACKET, _DESCRIPTION, _SECTION = 6, 3, 2, 1, 0x0A0D0D0A
_BIG, _INTERFACES = range(2)  # the section: its byte order, and how many interfaces it has described
INTERFACES: Final = np.dtype(
    [("link", np.int32), ("snap", np.int64), ("fcs", np.int32), ("tick", np.int32), ("offset", np.int64)]
)
_TEN: Final = 10 ** np.arange(20, dtype=np.uint64)


@kernel
def _check(captured: int, wire: int) -> tuple[int, int]:
    """Return what is wrong with a packet's lengths, or MORE, and the length at fault."""
    if wire < 1 or wire > MAX_WIRE:
        return WIRE, wire
    return (CAPTURED, captured) if captured > min(wire, MAX_CAPTURED) else (MORE, 0)


@kernel
def _enter(row: Any, at: int, captured: int, wire: int, link: int, fcs: int, time: int) -> None:
    row["at"] = at
    row["wire"] = max(wire - fcs, 0)
    row["captured"] = max(min(captured, wire - fcs), 0)
    row["link"] = link
    row["time"] = time


@kernel
def _advance(clock: Int64s, seconds: int, fraction: int) -> bool:
    """Set the clock to a timestamp (s and ps since 1970); False if the capture then spans too long."""
    if not clock[_TICKING]:
        clock[_TICKING], clock[_SECONDS], clock[_FRACTION] = 1, seconds, fraction
    seconds -= clock[_SECONDS]
    if abs(seconds) >= _MAX_SECONDS - 1:
        return False
    clock[_LAST] = seconds * SECOND + fraction - clock[_FRACTION]
    clock[_LOW] = min(clock[_LOW], clock[_LAST])
    clock[_HIGH] = max(clock[_HIGH], clock[_LAST])
    return bool(clock[_HIGH] - clock[_LOW] <= MAX_TIME)


@kernel
def walk_pcap(
    data: Bytes, at: int, big: bool, unit: int, header: int, link: int, fcs: int, clock: Int64s, rows: Any
) -> tuple[int, int, int, int]:
    """Enter the records from `at` on into `rows`; return (where it stopped, rows, why, the claim there).

    `unit` is ps per fraction tick. A fraction beyond its second carries over, as tcpdump has it.
    """
    count = 0
    while at + header <= len(data):
        captured = u32(data, at + 8, big)
        if captured > MAX_CAPTURED:
            return at, count, CAPTURED, captured
        if at + header + captured > len(data):
            break
        wire = u32(data, at + 12, big)
        stop, claim = _check(captured, wire)
        if stop != MORE:
            return at, count, stop, claim
        seconds = u32(data, at, big)
        if not _advance(clock, seconds, u32(data, at + 4, big) * unit):
            return at, count, TIME, seconds - clock[_SECONDS]
        _enter(rows[count], at + header, captured, wire, link, fcs, clock[_LAST])
        count += 1
        at += header + captured
    return at, count, MORE, 0


@kernel
def _since_1970(ticks: Any, tick: int) -> tuple[Any, Any]:
    """Return whole seconds and ps of a count of ticks of 10**-tick s, or 2**-(tick - 128) s from 128 on.

    Exact in uint64: 10**12 = 5**12 * 2**12, and the product is taken in two halves.
    """
    if tick < 128:
        if tick > 31:  # not even 2**64 ticks make a picosecond
            return 0, 0
        if tick > 19:
            return 0, np.int64(ticks // _TEN[tick - 12])
        seconds = ticks // _TEN[tick]
        rest = ticks % _TEN[tick]
        return np.int64(seconds), np.int64(rest * _TEN[12 - tick] if tick <= 12 else rest // _TEN[tick - 12])
    bits = tick - 128
    seconds = ticks >> np.uint64(bits) if bits < 64 else np.uint64(0)
    rest = ticks - (seconds << np.uint64(bits)) if bits < 64 else ticks
    five = np.uint64(5**12)
    half = np.uint64(32)
    low = (rest & np.uint64(0xFFFFFFFF)) * five
    high = (rest >> half) * five + (low >> half)
    if bits <= 12:
        return np.int64(seconds), np.int64((rest * five) << np.uint64(12 - bits))
    shift = bits - 12
    if shift >= 32:
        return np.int64(seconds), np.int64(high >> np.uint64(shift - 32) if shift < 96 else np.uint64(0))
    low = (low & np.uint64(0xFFFFFFFF)) >> np.uint64(shift)
    return np.int64(seconds), np.int64((high << np.uint64(32 - shift)) + low)


@kernel
def _describe(data: Bytes, at: int, end: int, big: bool, row: Any) -> int:
    """Read an interface description's body into `row`; return the option that is damaged, or -1."""
    row["link"], row["snap"] = u16(data, at, big), u32(data, at + 4, big)
    row["fcs"], row["tick"], row["offset"] = 0, 6, 0
    at += 8
    while at + 4 <= end:
        option, size = u16(data, at, big), u16(data, at + 2, big)
        at += 4
        if option == 0:
            break
        if at + size > end:
            return option
        if option == 9:  # if_tsresol
            if size != 1:
                return option
            row["tick"] = u8(data, at)
        elif option == 13:  # if_fcslen: early drafts count bits, later ones bytes
            if size != 1:
                return option
            row["fcs"] = u8(data, at) if u8(data, at) < 8 else u8(data, at) >> 3
        elif option == 14:  # if_tsoffset
            if size != 8:
                return option
            first, second = u32(data, at, big), u32(data, at + 4, big)
            row["offset"] = first << 32 | second if big else second << 32 | first
            if row["offset"] > _FAR or row["offset"] < -_FAR:
                return option
        at += (size + 3) & ~3
    return -1


@kernel
def walk_pcapng(
    data: Bytes, at: int, section: Int64s, interfaces: Any, clock: Int64s, rows: Any
) -> tuple[int, int, int, int]:
    """Enter the packets of the blocks from `at` on into `rows`; return as `walk_pcap`.

    `section` and `interfaces` are what the blocks before have said; GROW asks for more room for the latter.
    Blocks of other kinds are passed over.
    """
    count = 0
    while at + 12 <= len(data):
        big = section[_BIG] == 1
        kind = u32(data, at, big)
        if kind == _SECTION:  # reads the same in either order; the next field tells which it is
            big = data[at + 8] == 0x1A
            if u32(data, at + 8, big) != 0x1A2B3C4D:
                return at, count, ORDER, u32(data, at + 8, big)
        size = u32(data, at + 4, big)
        least = 12
        if kind == _SECTION:
            least = 28
        elif kind in (_ENHANCED, _PACKET):
            least = 32
        elif kind == _SIMPLE:
            least = 16
        elif kind == _DESCRIPTION:
            least = 20
        if size < least or size > MAX_BLOCK or size & 3:
            return at, count, BLOCK, size
        end = at + size - 4
        if end + 4 > len(data):
            break
        if u32(data, end, big) != size:
            return at, count, TRAILER, u32(data, end, big)

        if kind == _SECTION:
            if u16(data, at + 12, big) != 1:
                return at, count, VERSION, u16(data, at + 12, big)
            section[_BIG], section[_INTERFACES] = big, 0
        elif kind == _DESCRIPTION:
            if section[_INTERFACES] == len(interfaces):
                return at, count, GROW, 0
            damaged = _describe(data, at + 8, end, big, interfaces[section[_INTERFACES]])
            if damaged >= 0:
                return at, count, OPTION, damaged
            section[_INTERFACES] += 1
        elif kind in (_ENHANCED, _PACKET, _SIMPLE):
            source = 0
            if kind == _ENHANCED:
                source = u32(data, at + 8, big)
            elif kind == _PACKET:
                source = u16(data, at + 8, big)
            if source >= section[_INTERFACES]:
                return at, count, INTERFACE, source
            interface = interfaces[source]
            if kind == _SIMPLE:
                packet, wire = at + 12, u32(data, at + 8, big)
                captured = min(wire, interface["snap"]) if interface["snap"] else wire
            else:
                packet, captured, wire = at + 28, u32(data, at + 20, big), u32(data, at + 24, big)
            stop, claim = _check(captured, wire)
            if stop == MORE and captured > end - packet:
                stop, claim = CAPTURED, captured
            if stop != MORE:
                return at, count, stop, claim
            if kind == _SIMPLE:
                clock[UNTIMED] += 1
            else:
                high, low = np.uint64(u32(data, at + 12, big)), np.uint64(u32(data, at + 16, big))
                seconds, fraction = _since_1970(high << np.uint64(32) | low, interface["tick"])
                if seconds < 0 or seconds > _FAR:
                    return at, count, TIME, seconds
                seconds += interface["offset"]
                if not _advance(clock, seconds, fraction):
                    return at, count, TIME, seconds - clock[_SECONDS]
            link, fcs = interface["link"], interface["fcs"]
            _enter(rows[count], packet, captured, wire, link, fcs, clock[_LAST])
            count += 1
        at += size
    return at, count, MORE, 0
