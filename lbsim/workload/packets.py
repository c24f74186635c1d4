"""The columns a workload delivers: who sends, what, and when it did in its own recording."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Int64s = NDArray[np.int64]
Int32s = NDArray[np.int32]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class FlowTable:
    """Directional 5-tuples, one row a flow; a packet names its flow by row number.

    Shapes: `src`, `dst` uint8[n, 16] in network order (IPv4 uses the first four bytes), `version` uint8[n]
    (4 or 6), `proto` uint8[n], `sport`, `dport` uint16[n] (0 where the packet carries no ports).
    """

    src: Bytes
    dst: Bytes
    version: Bytes
    proto: Bytes
    sport: NDArray[np.uint16]
    dport: NDArray[np.uint16]

    def __len__(self) -> int:
        return len(self.proto)


class TrafficChunk(NamedTuple):
    """Some packets in order of arrival, as columns of equal length."""

    flow: Int32s  # row of the flow table
    frame: Int32s  # Ethernet frame in bytes, without FCS
    checksum: Bytes  # low byte of the layer-4 checksum (Sprayer spreads by it); empty unless asked for
    recorded: Int64s  # ps since the recording began, never falling; empty where the traffic has no clock


@dataclass(frozen=True)
class Traffic:
    """What arrives, apart from when: flows and an ordered stream of packets.

    `chunks(checksums)` starts the stream anew and yields bounded chunks (at most 2**18 packets, so memory
    does not grow with the length of a run); the same traffic yields the same packets every time.
    """

    name: str
    flows: FlowTable
    mean_frame: float  # bytes, mean over packets
    rate: float  # packets per second in its own time; nan where it has no clock
    chunks: Callable[[bool], Iterator[TrafficChunk]]
    length: int | None = None  # ps of its own time until it ends; None: it goes on for ever
    notices: tuple[str, ...] = field(default=())


class Packets(NamedTuple):
    """A chunk of packets in order of arrival; columns of equal length."""

    time: Int64s  # ps at the NIC, never falling
    bucket: Int32s  # entry of the indirection table
    flow: Int32s  # row of the flow table
    frame: Int32s  # bytes
    service: Int64s  # ps on a core, apart from the per-batch cost; drawn for dropped packets too

    def part(self, first: int, last: int) -> Packets:
        """Return the packets first .. last - 1, without copying."""
        k = slice(first, last)
        return Packets(self.time[k], self.bucket[k], self.flow[k], self.frame[k], self.service[k])

    def where(self, keep: NDArray[np.bool_]) -> Packets:
        """Return the packets that `keep`, bool[n], is true of, in order."""
        if keep.all():
            return self
        return Packets(
            self.time[keep], self.bucket[keep], self.flow[keep], self.frame[keep], self.service[keep]
        )
