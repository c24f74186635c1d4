"""Damaged captures: refused with offset and reason, or read as far as they are whole."""

from __future__ import annotations

import gzip
import pickle
import struct
from pathlib import Path

import captures as made
import numpy as np
import pytest
from capture_oracle import (
    FRAME,
    LINKS,
    NOON,
    at_times,
    check,
    columns,
    failure,
    ip_packets,
    read,
)
from captures import Packet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lbsim.workload.capture import CaptureError, read_capture, source, traffic

# --- damage


def small_pcap(n: int = 4) -> tuple[bytes, list[int]]:
    """A capture and the offsets at which its records end."""
    frames = [made.on_link(1, packet) for packet in ip_packets()[:n]]
    packets = at_times(frames)
    return made.pcap(packets), [len(made.pcap(packets[:i])) for i in range(n + 1)]


def small_pcapng() -> tuple[bytes, list[int]]:
    """A capture and the offsets at which its blocks with packets end."""
    frame = made.on_link(1, ip_packets()[0])
    data, ends = made.section() + made.interface(options=made.tsresol(9)), []
    for part in (
        made.enhanced(10, frame),
        made.simple(frame),
        made.obsolete(30, frame),
        made.section(">") + made.interface(order=">") + made.enhanced(1, frame, ">"),
    ):
        data += part
        ends.append(len(data))
    return data, ends


@pytest.mark.parametrize("make", [small_pcap, small_pcapng])
def test_every_truncation(tmp_path, make):
    data, ends = make()
    ends = [end for end in ends if end > 24]
    whole = columns(read(tmp_path, data))
    inside = {len(made.section() + made.interface(options=made.tsresol(9)))} if make is small_pcapng else {24}
    if make is small_pcapng:  # a cut between blocks is no damage
        third = ends[2]
        inside |= {28, third + 28, third + 28 + 20}
    for size in range(len(data)):
        records = sum(end <= size for end in ends)
        if size in ends:
            assert columns(read(tmp_path, data[:size])) == whole[:records]
            continue
        if size in inside and records:
            assert columns(read(tmp_path, data[:size])) == whole[:records]
            continue
        error = failure(tmp_path, data[:size])
        assert error.offset <= size
        if records:
            part = read(tmp_path, data[:size], partial=True)
            assert columns(part) == whole[:records]
            assert part.notices[-1] == f"stopped at byte {error.offset}: {error.reason}"
        else:
            failure(tmp_path, data[:size], partial=True)


def test_every_truncation_of_gzip(tmp_path):
    data, ends = small_pcap(12)
    packed = made.zipped(data, members=2)
    whole, half = columns(read(tmp_path, packed)), len(made.zipped(data[: len(data) // 2]))
    most = 0
    for size in range(len(packed)):
        if size == half:  # between the members
            continue
        failure(tmp_path, packed[:size])
        try:
            part = read(tmp_path, packed[:size], partial=True)
        except CaptureError:
            assert most == 0
            continue
        assert columns(part) == whole[: part.packets]
        assert part.packets >= most
        most = part.packets
    assert most == len(whole)
    assert len(ends) == 13


@pytest.mark.parametrize("make", [small_pcap, small_pcapng])
@pytest.mark.parametrize("piece", [24, 61, 200, 1 << 16])
def test_windows_join_without_a_seam(tmp_path, monkeypatch, make, piece):
    data, _ = make()
    whole = columns(read(tmp_path, data))
    monkeypatch.setattr(source, "PIECE", piece)
    capture = read(tmp_path, data)
    assert columns(capture) == whole
    assert capture.link_types == (1,)
    assert columns(read(tmp_path, made.zipped(data, 3))) == whole
    error = failure(tmp_path, data[:-1])
    assert error.offset == len(data) - 1


def spoil(data: bytes, offset: int, value: int) -> bytes:
    return data[:offset] + struct.pack("<I", value) + data[offset + 4 :]


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        (8, 300_000, "300000 captured bytes"),
        (8, 0xFFFFFFFF, "4294967295 captured bytes"),
        (12, 3, "captured bytes"),  # fewer on the wire than captured
        (12, 0, "0 bytes on the wire"),
        (12, 1 << 30, "1073741824 bytes on the wire"),
        (0, 1_500_000_001, "-200000000 s from the first"),
        (0, 0xFFFFFFFF, "53 days"),
    ],
)
def test_impossible_pcap_records(tmp_path, field, value, reason):
    data, ends = small_pcap()
    error = failure(tmp_path, spoil(data, ends[2] + field, value))
    assert error.offset == ends[2]
    assert reason in error.reason
    part = read(tmp_path, spoil(data, ends[2] + field, value), partial=True)
    assert columns(part) == columns(read(tmp_path, data))[:2]
    assert f"byte {ends[2]}" in part.notices[-1]
    failure(tmp_path, spoil(data, ends[0] + 8, 300_000), partial=True)  # nothing before it


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (made.block(6, bytes(16)), "a block claims 28 bytes"),
        (made.block(3, b""), "a block claims 12 bytes"),
        (made.block(1, bytes(4)), "a block claims 16 bytes"),
        (made.block(0x0A0D0D0A, struct.pack("<II", 0x1A2B3C4D, 1)), "a block claims 20 bytes"),
        (struct.pack("<III", 77, 14, 14), "a block claims 14 bytes"),
        (struct.pack("<III", 77, 0, 0), "a block claims 0 bytes"),
        (struct.pack("<III", 77, 1 << 25, 0), "a block claims 33554432 bytes"),
        (made.block(77, bytes(8))[:-4] + bytes(4), "ends with another length, 0"),
        (made.section(version=2), "pcapng version 2"),
        (spoil(made.section(), 8, 0x1A2B3C4E), "byte-order magic"),
        (made.enhanced(9, FRAME, number=1), "interface 1"),
        (made.obsolete(9, FRAME, number=65535), "interface 65535"),
        (made.enhanced(1 << 63, FRAME), "53 days"),
        (made.enhanced(9, FRAME, number=0, wire=20), "captured bytes"),
        (spoil(made.enhanced(9, FRAME), 20, 1000), "1000 captured bytes"),
        (made.simple(FRAME, wire=1000), "1000 captured bytes"),
        (made.simple(b"", wire=0), "0 bytes on the wire"),
        (made.interface(options=made.option(9, b"ab")), "option 9"),
        (made.interface(options=made.option(14, bytes(4))), "option 14"),
        (made.interface(options=made.tsoffset(1 << 60)), "option 14"),
        (made.interface(options=made.tsoffset(-(1 << 63))), "option 14"),
        (made.interface(options=made.option(13, b"")), "option 13"),
        (made.interface(options=struct.pack("<HHI", 2, 9, 0)), "option 2"),
        (made.section() + made.enhanced(9, FRAME), "interface 0"),  # a new section forgets the interfaces
        (made.section() + made.simple(FRAME), "interface 0"),
    ],
)
def test_impossible_pcapng_blocks(tmp_path, bad, reason):
    good = made.section() + made.interface() + made.enhanced(5, FRAME)
    later = made.enhanced(50, FRAME)
    error = failure(tmp_path, good + bad + later)
    assert reason in error.reason
    assert error.offset in (len(good), len(good) + len(made.section()))
    part = read(tmp_path, good + bad + later, partial=True)
    assert part.packets == 1
    assert reason in part.notices[-1]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\xd4\xc3", "magic number"),
        (b"hello, this is a text", "magic number 68656c6c"),
        (b"\x28\xb5\x2f\xfd" + bytes(40), "Zstandard"),
        (b"\xfd7zXZ\0" + bytes(40), "xz"),
        (b"BZh9" + bytes(40), "bzip2"),
        (b"PK\x03\x04" + bytes(40), "zip archive"),
        (made.zipped(made.zipped(bytes(100))), "gzip data within gzip"),
        (gzip.compress(b"", mtime=0), "empty"),
        (made.pcap([]), "no IP packet in 0 records"),
        (made.pcap([])[:20], "pcap header"),
        (made.section(), "no IP packet in 0 records"),
        (made.section() + made.interface(147), "no IP packet in 0 records"),
        (made.pcap([Packet.whole(NOON, made.ethernet(made.ARP, bytes(28)))]), "no IP packet in 1 records"),
        (made.pcap([Packet.whole(NOON, FRAME)], version=(2, 2)), "version 2.2"),
        (made.pcap([Packet.whole(NOON, FRAME)], link=105), "link type 105"),
        (made.zipped(made.pcap([Packet.whole(NOON, FRAME)])) + b"junk", "gzip data are damaged"),
        (made.zipped(made.pcap([Packet.whole(NOON, FRAME)]))[:-3], "ends inside a gzip member"),
    ],
)
def test_files_that_are_no_captures(tmp_path, data, reason):
    assert reason in failure(tmp_path, data).reason


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(CaptureError, match="No such file"):
        read_capture(tmp_path / "nothing.pcap")
    with pytest.raises(CaptureError, match="Is a directory"):
        read_capture(tmp_path)


def test_errors_travel_between_workers():
    error = pickle.loads(pickle.dumps(CaptureError("a.pcap", 7, "because")))
    assert (str(error), error.path, error.offset, error.reason) == (
        "a.pcap: at byte 7: because",
        Path("a.pcap"),
        7,
        "because",
    )


def test_unknown_link_type_of_one_interface(tmp_path):
    good = (
        made.section()
        + made.interface(1)
        + made.interface(189)
        + made.enhanced(5, FRAME)
        + made.enhanced(6, FRAME)
    )
    data = good + made.enhanced(7, FRAME, number=1) + made.enhanced(8, FRAME)
    assert "link type 189" in failure(tmp_path, data).reason
    part = read(tmp_path, data, partial=True)
    assert (part.packets, part.records, part.link_types) == (2, 2, (1,))


def test_gzip_padding_is_no_damage(tmp_path):
    data, _ = small_pcap()
    assert read(tmp_path, made.zipped(data) + bytes(1000)).packets == 4


def test_damaged_gzip_keeps_what_was_unpacked(tmp_path):
    rng = np.random.default_rng(1)
    packets = [
        Packet.whole(NOON + i, made.on_link(1, made.ipv4(17, made.udp(1, 2, rng.bytes(900)))))
        for i in range(400)
    ]
    data = made.pcap(packets, nano=True)
    packed = bytearray(gzip.compress(data, mtime=0))
    packed[-6] ^= 1  # the checksum
    error = failure(tmp_path, bytes(packed))
    assert "gzip data are damaged" in error.reason
    assert read(tmp_path, bytes(packed), partial=True).packets == 400
    packed = bytearray(gzip.compress(data, mtime=0))
    packed[len(packed) // 2 : len(packed) // 2 + 200] = bytes(200)
    failure(tmp_path, bytes(packed))
    assert 150 < read(tmp_path, bytes(packed), partial=True).packets < 220


def test_a_gzip_bomb_ends_at_the_cap(tmp_path):
    record = made.pcap([Packet(NOON, FRAME + bytes(200_000), 210_000)])
    bomb = gzip.compress(record + record[24:] * 300, mtime=0)
    assert len(bomb) < 100_000  # it unpacks to 60 MB
    error = failure(tmp_path, bomb, max_bytes=10_000_000)
    assert error.offset == 10_000_000
    assert "max_bytes = 10000000" in error.reason
    part = read(tmp_path, bomb, partial=True, max_bytes=10_000_000)
    assert part.packets == (10_000_000 - 24) // len(record[24:])
    assert read(tmp_path, bomb).packets == 301
    assert failure(tmp_path, record, max_bytes=len(record) - 1).offset == len(record) - 1
    assert read(tmp_path, record, max_bytes=len(record)).packets == 1


# --- any bytes at all

SEEDS = [
    small_pcap(29)[0],
    made.pcap(at_times([made.on_link(276, p) for p in ip_packets()[:6]]), link=276, order=">", nano=True),
    small_pcapng()[0],
    made.zipped(small_pcap(6)[0]),
    made.zipped(small_pcapng()[0], 2),
]
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["set", "flip", "insert", "delete", "copy", "cut"]),
        st.floats(0, 1, exclude_max=True),
        st.binary(min_size=1, max_size=8)
        | st.sampled_from(
            [b"\xff\xff\xff\xff", bytes(4), b"\x0a\x0d\x0d\x0a", b"\x00\x00\x04\x00", b"\x2c\x3c\x00\x2b"]
        ),
    ),
    min_size=1,
    max_size=6,
)


def mutate(data: bytes, changes) -> bytes:
    for kind, where, some in changes:
        at = int(where * len(data))
        if kind == "set":
            data = data[:at] + some + data[at + len(some) :]
        elif kind == "flip":
            data = (
                data[:at]
                + bytes(a ^ b for a, b in zip(data[at:], some, strict=False))
                + data[at + len(some) :]
            )
        elif kind == "insert":
            data = data[:at] + some + data[at:]
        elif kind == "delete":
            data = data[:at] + data[at + 4 * len(some) :]
        elif kind == "copy":
            data = data[:at] + data[at // 2 : at // 2 + 16 * len(some)] + data[at:]
        elif kind == "cut":
            data = data[: max(at, 1)]
    return data


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.sampled_from(SEEDS), changes=CHANGES, partial=st.booleans())
def test_only_a_capture_or_a_capture_error_comes_out(tmp_path, seed, changes, partial):
    data = mutate(seed, changes)
    try:
        capture = read(tmp_path, data, partial=partial, max_bytes=1 << 20)
    except CaptureError:
        return
    check(capture)
    chunk = next(traffic(capture).chunks(True))
    assert len(chunk.flow) == capture.packets


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    link=st.sampled_from([*LINKS, 228, 229]),
    packets=st.lists(st.binary(max_size=120), min_size=1, max_size=8),
)
def test_any_packets_are_kept_or_counted(tmp_path, link, packets):
    records = [Packet(NOON, data, max(1, len(data))) for data in packets]
    records.append(Packet.whole(NOON, made.on_link(link, ip_packets()[16 if link == 229 else 0])))
    capture = read(tmp_path, made.pcap(records, link=link))
    check(capture)
    assert capture.records == len(records)
