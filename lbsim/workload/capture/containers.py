"""pcap and pcapng files as columns of packet records.

A capture is read once, front to back, in windows of a few MiB, plain or gzip alike. The first record that
cannot be true ends the reading with its offset and the reason; everything before it was delivered.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.units import NS, US
from lbsim.workload.capture import walks
from lbsim.workload.capture.source import CaptureError, pieces
from lbsim.workload.packets import Bytes, Int64s


class Records(NamedTuple):
    """The packet records of one window of a capture."""

    data: Bytes  # uint8[window]
    rows: NDArray[np.void]  # walks.RECORD[packets]


_REASONS: Final = {
    walks.CAPTURED: "a packet claims {} captured bytes: it has fewer on the wire, its block has no room for "
    f"them, or they exceed {walks.MAX_CAPTURED}",
    walks.WIRE: f"a packet claims {{}} bytes on the wire: it can have 1 to {walks.MAX_WIRE}",
    walks.TIME: "a packet's time is {} s from the first one's or from 1970: a capture can span 53 days",
    walks.BLOCK: f"a block claims {{}} bytes: no multiple of 4, too few or over {walks.MAX_BLOCK}",
    walks.TRAILER: "a block ends with another length, {}, than it begins with",
    walks.ORDER: "a section has the byte-order magic {:#x} instead of 0x1a2b3c4d",
    walks.VERSION: "a section has pcapng version {}: only version 1 is known",
    walks.INTERFACE: "a packet is from interface {}, which its section does not describe",
    walks.OPTION: "an interface description has a damaged option {}",
}

_Walk = Callable[[Bytes, int, NDArray[np.void]], tuple[int, int, int, int]]

# Magic number: what a timestamp's fraction counts, and the bytes of a record header. The third is "modified".
_PCAP: Final = {0xA1B2C3D4: (US, 16), 0xA1B23C4D: (NS, 16), 0xA1B2CD34: (US, 24)}
_OTHERS: Final = {
    b"\x28\xb5\x2f\xfd": "Zstandard data: unpack them first",
    b"\xfd7zX": "xz data: unpack them first",
    b"BZh": "bzip2 data: unpack them first",
    b"\x04\x22\x4d\x18": "LZ4 data: unpack them first",
    b"PK\x03\x04": "a zip archive: unpack it first",
    b"snoop\0": "a snoop capture: convert it with `editcap -F pcap`",
    b"\x1f\x8b": "gzip data within gzip data: unpack them first",
}


class Container:
    """An open capture: iterate over its `Records`, then ask for what was noticed.

    Iteration raises CaptureError at the first damage, after yielding every whole record before it.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self.offset = 0  # of the window, in the capture
        self.clock: Int64s = np.zeros(7, np.int64)
        self._pieces = pieces(path, max_bytes)
        self._window = np.empty(0, np.uint8)

    @property
    def untimed(self) -> int:
        """How many packets had no timestamp (simple packet blocks) and took the last one's."""
        return int(self.clock[walks.UNTIMED])

    def __iter__(self) -> Iterator[Records]:
        at, walk = self._open()
        while True:
            rows = np.empty(len(self._window) // 16 + 1, walks.RECORD)
            at, count, stop, claim = walk(self._window, at, rows)
            if count:
                yield Records(self._window, rows[:count])
            if stop != walks.MORE:
                raise self.error(at, _REASONS[stop].format(claim))
            if not self._more(at):
                break
            at = 0
        if len(self._window):
            raise self.error(len(self._window), f"the file ends inside the record at byte {self.offset}")

    def error(self, at: int, reason: str) -> CaptureError:
        """Return the error to raise for what is `at` in the window."""
        return CaptureError(self.path, self.offset + at, reason)

    def _more(self, at: int) -> bool:
        """Move the window to `at` and extend it; False at the end of the file."""
        self._window = self._window[at:]
        self.offset += at
        piece = next(self._pieces, b"")
        if piece:
            self._window = np.concatenate([self._window, np.frombuffer(piece, np.uint8)])
        return bool(piece)

    def _open(self) -> tuple[int, _Walk]:
        """Recognise the format; return where its records begin and the walk over them."""
        while len(self._window) < 24 and self._more(0):
            pass
        head = self._window[:24].tobytes()
        if not head:
            raise self.error(0, "the file is empty")
        magic = head[:4].ljust(4, b"\0")
        if magic == b"\x0a\x0d\x0d\x0a":
            return 0, self._pcapng()
        for order in "<>":
            if struct.unpack(order + "I", magic)[0] in _PCAP:
                return 24, self._pcap(head, order)
        for start, what in _OTHERS.items():
            if head.startswith(start):
                raise self.error(0, f"these are {what}" if "data" in what else f"this is {what}")
        raise self.error(0, f"the magic number {magic.hex()} is neither that of pcap nor of pcapng")

    def _pcap(self, head: bytes, order: str) -> _Walk:
        if len(head) < 24:
            raise self.error(len(head), "the file ends inside the pcap header of 24 bytes")
        magic, major, minor, _, _, _, network = struct.unpack(order + "IHHIIII", head)
        if (major, minor) != (2, 4):
            raise self.error(4, f"pcap version {major}.{minor} is not 2.4: rewrite it with `tcpdump -r -w`")
        unit, header = _PCAP[magic]
        link = network & 0xFFFF
        fcs = 2 * (network >> 28) if network >> 26 & 1 else 0

        def walk(data: Bytes, at: int, rows: NDArray[np.void]) -> tuple[int, int, int, int]:
            return walks.walk_pcap(data, at, order == ">", unit, header, link, fcs, self.clock, rows)

        return walk

    def _pcapng(self) -> _Walk:
        section = np.zeros(2, np.int64)
        interfaces = np.zeros(16, walks.INTERFACES)

        def walk(data: Bytes, at: int, rows: NDArray[np.void]) -> tuple[int, int, int, int]:
            nonlocal interfaces
            count = 0
            while True:
                at, found, stop, claim = walks.walk_pcapng(
                    data, at, section, interfaces, self.clock, rows[count:]
                )
                count += found
                if stop != walks.GROW:
                    return at, count, stop, claim
                interfaces = np.concatenate([interfaces, np.zeros_like(interfaces)])

        return walk
