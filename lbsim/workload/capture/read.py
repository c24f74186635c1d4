"""Read a capture: the columns a workload needs, one row a packet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lbsim.workload.capture.containers import Container
from lbsim.workload.capture.flows import FlowIndex
from lbsim.workload.capture.layers import LINK_TYPES, parse_all
from lbsim.workload.capture.source import CaptureError
from lbsim.workload.packets import Bytes, FlowTable, Int32s, Int64s

Columns = tuple[Int64s, Int32s, Int32s, Bytes]
_OUTCOMES: Final = ("whole", "fragments", "portless", "non_ip", "truncated", "malformed")  # as in layers
_NOTICES: Final = {
    "moved": "timestamps were not sorted: {} moved",
    "untimed": "no timestamp: {} took that of the packet before",
    "non_ip": "not IP: {} skipped",
    "truncated": "cut before the end of the addresses: {} skipped",
    "malformed": "impossible IP header: {} skipped",
    "fragments": "later IP fragments, without ports: {} told apart by addresses alone",
    "portless": "ports cut off: {} told apart by addresses alone",
}


@dataclass(frozen=True, eq=False)
class Capture:
    """The IP packets of a capture in order of time, as columns of equal length.

    `records` = `packets` + `non_ip` + `truncated` + `malformed`: a record is kept, or skipped and counted.
    """

    path: Path
    time: Int64s = field(repr=False)  # ps since the first packet; never falls
    frame: Int32s = field(repr=False)  # bytes on the wire as an Ethernet frame without FCS
    flow: Int32s = field(repr=False)  # row of `flows`
    checksum: Bytes = field(repr=False)  # low byte of the TCP, UDP or SCTP checksum; 0 where there is none
    flows: FlowTable = field(repr=False)  # directional 5-tuples, in order of first appearance
    link_types: tuple[int, ...]  # as numbered at tcpdump.org, in order of first appearance
    records: int  # packet records in the file
    non_ip: int  # skipped: ARP, STP and the like
    truncated: int  # skipped: the snap length cuts them before their addresses end
    malformed: int  # skipped: an impossible IP header
    fragments: int  # kept: IP fragments after the first, which carry no ports
    portless: int  # kept: TCP, UDP or SCTP whose ports were cut off; ports 0, like fragments
    notices: tuple[str, ...]

    @property
    def packets(self) -> int:
        """How many packets were kept."""
        return len(self.time)


def read_capture(path: str | PathLike[str], *, partial: bool = False, max_bytes: int = 8 << 30) -> Capture:
    """Read a pcap or pcapng file, plain or gzip, recognised by content.

    Memory grows with the packets (17 bytes each, four times that while sorting) and flows, not with the file.
    `max_bytes` bounds the bytes read, counted after unpacking: a gzip bomb ends early.

    A `frame` is what the packet would be on Ethernet: with a link type that has no Ethernet header, its own
    link header counts as one of 14 bytes; VLAN tags, MPLS labels and PPPoE headers count in full. Packets
    without a timestamp (pcapng simple packet blocks) take the time of the packet before.

    Raises CaptureError for a file that is not a capture, ends early, contradicts itself, has a link type
    other than those of `layers.LINK_TYPES`, spans over 53 days or holds no IP packet. With `partial` the
    packets before the damage are returned instead, if there are any, and a notice says where and why the
    reading stopped.
    """
    container = Container(Path(path), max_bytes)
    index = FlowIndex()
    tally = np.zeros(6, np.int64)
    link_types: list[int] = []
    columns: list[Columns] = []
    damage: CaptureError | None = None
    try:
        for window in container:
            readable = _readable(window.rows["link"], link_types)
            columns.append(_parse(window.data, window.rows[:readable], index, tally))
            if readable < len(window.rows):
                raise _unknown_link_type(container, window.rows[readable])
    except CaptureError as error:
        damage = error
        if not partial:
            raise

    counts = dict(zip(_OUTCOMES, tally.tolist(), strict=True))
    if not index.known:
        reason = f"no IP packet in {sum(counts.values())} records"
        raise container.error(0, reason if damage is None else f"{reason} before this: {damage.reason}")
    time, frame, flow, checksum = (np.concatenate(column) for column in zip(*columns, strict=True))
    rows, moved = np.arange(index.known), 0
    if np.any(time[1:] < time[:-1]):
        order = np.argsort(time, kind="stable")
        moved = int(np.count_nonzero(order != np.arange(len(order))))
        time, frame, flow, checksum = time[order], frame[order], flow[order], checksum[order]
        flow, rows = _by_first_appearance(flow)
    return Capture(
        path=container.path,
        time=time - time[0],
        frame=frame,
        flow=flow,
        checksum=checksum,
        flows=index.flow_table(rows),
        link_types=tuple(link_types),
        records=sum(counts.values()),
        **{name: counts[name] for name in _OUTCOMES[1:]},
        notices=tuple(_notices(counts | {"moved": moved, "untimed": container.untimed}, damage)),
    )


def _notices(counts: dict[str, int], damage: CaptureError | None) -> Iterator[str]:
    for name, text in _NOTICES.items():
        if counts[name]:
            yield text.format("1 packet" if counts[name] == 1 else f"{counts[name]} packets")
    if damage is not None:
        yield f"stopped at byte {damage.offset}: {damage.reason}"


def _readable(links: Int32s, link_types: list[int]) -> int:
    """Return how many records precede the first with an unknown link type; note the types they have."""
    found, first = np.unique(links, return_index=True)
    end = len(links)
    for at, link in sorted(zip(first.tolist(), found.tolist(), strict=True)):
        if link not in LINK_TYPES:
            end = at
            break
        if link not in link_types:
            link_types.append(link)
    return end


def _unknown_link_type(container: Container, row: np.void) -> CaptureError:
    known = ", ".join(f"{number} ({name})" for number, name in LINK_TYPES.items())
    return container.error(int(row["at"]), f"link type {row['link']} cannot be parsed; known are {known}")


def _parse(data: Bytes, rows: NDArray[np.void], index: FlowIndex, tally: Int64s) -> Columns:
    """Return the kept packets of one window as (time, frame, flow, checksum)."""
    flow, frame = np.empty(len(rows), np.int32), np.empty(len(rows), np.int32)
    checksum = np.empty(len(rows), np.uint8)
    index.reserve(len(rows))
    index.known = parse_all(data, rows, index.keys, index.table, index.known, flow, frame, checksum, tally)
    kept = flow >= 0
    return rows["time"][kept], frame[kept], flow[kept], checksum[kept]


def _by_first_appearance(flow: Int32s) -> tuple[Int32s, NDArray[np.intp]]:
    """Return the flows renumbered in order of first appearance, and their old numbers in that order."""
    old, first = np.unique(flow, return_index=True)
    rows = old[np.argsort(first)].astype(np.intp)
    new = np.empty(len(rows), np.int32)
    new[rows] = np.arange(len(rows), dtype=np.int32)
    return new[flow], rows
