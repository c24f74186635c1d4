"""pcapng: sections, interfaces, clocks and blocks."""

from __future__ import annotations

import io
from fractions import Fraction

import captures as made
import dpkt
import pytest
from capture_oracle import (
    NOON,
    check,
    columns,
    expected,
    ip_packets,
    read,
)

from lbsim.units import SECOND

# --- pcapng


RESOLUTIONS = [
    (0, False),
    (3, False),
    (6, False),
    (9, False),
    (12, False),
    (14, False),
    (19, False),
    (20, False),
]
RESOLUTIONS += [
    (1, True),
    (10, True),
    (12, True),
    (13, True),
    (20, True),
    (30, True),
    (40, True),
    (44, True),
    (60, True),
]
RESOLUTIONS += [(64, True), (75, True), (90, True), (31, False), (32, False), (127, False), (127, True)]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("exponent", "binary"), RESOLUTIONS)
def test_every_time_resolution_is_exact(tmp_path, order, exponent, binary):
    resolution = Fraction(1, 2**exponent if binary else 10**exponent)
    limit = min(2**64 - 1, int(4_000_000 / resolution))
    ticks = sorted({0, 1, limit // 3, limit // 7 * 5, limit - 1, limit})
    frame = made.on_link(1, ip_packets()[0])
    options = made.tsresol(exponent, order, binary) + made.option(0, b"", order)
    data = made.section(order) + made.interface(order=order, options=options)
    data += b"".join(made.enhanced(tick, frame, order) for tick in ticks)
    assert read(tmp_path, data).time.tolist() == [int(tick * resolution * SECOND) for tick in ticks]


def test_interfaces_and_sections_have_their_own_rules(tmp_path):
    """Other byte order, link types, resolutions and offsets a section; the clock runs through all."""
    four, six = ip_packets()[2], ip_packets()[16]
    data = made.section("<", options=made.option(4, b"a test") + made.option(0, b""))
    data += made.interface(1) + made.interface(101, options=made.tsresol(9) + made.tsoffset(NOON // 10**9))
    data += made.enhanced(NOON // 1000 + 5, made.on_link(1, four))
    data += made.enhanced(7_000, six, number=1, wire=1400, options=made.option(2, bytes(4)))
    data += (
        made.block(4, bytes(8))
        + made.block(0x0BAD, bytes(20))
        + made.block(5, bytes(12))
        + made.block(99, b"")
    )
    data += made.section(">") + made.interface(113, ">", options=made.tsresol(10, ">", binary=True))
    data += made.enhanced((NOON // 10**9 + 1) << 10 | 512, made.sll(made.IPV4, four), ">")
    data += made.section("<") + made.interface(276, options=made.tsoffset(-3) + made.tsresol(3))
    data += made.obsolete((NOON // 10**9 + 5) * 1000, made.sll2(made.IPV6, six))
    capture = read(tmp_path, data)
    check(capture)
    first = 5_000_000  # ps after NOON
    assert [time + first for time in capture.time.tolist()] == [first, 7_000_000, SECOND * 3 // 2, 2 * SECOND]
    assert capture.frame.tolist() == [14 + len(four), 14 + 1400, 14 + len(four), 14 + len(six)]
    assert capture.flow.tolist() == [0, 1, 0, 1]
    assert capture.link_types == (1, 101, 113, 276)
    assert capture.notices == ()


def test_many_interfaces(tmp_path):
    frames = [made.on_link(1, made.ipv4(made.UDP, made.udp(i, 9))) for i in range(100)]
    data = made.section() + b"".join(made.interface(options=made.tsresol(i % 10)) for i in range(100))
    data += b"".join(made.enhanced(7 * 10 ** (i % 10), frame, number=i) for i, frame in enumerate(frames))
    capture = read(tmp_path, data)
    assert capture.time.tolist() == [0] * 100
    assert capture.flows.sport.tolist() == list(range(100))


def test_simple_packets_take_the_time_before(tmp_path):
    frame = made.on_link(1, made.ipv4(made.UDP, made.udp(1, 2, bytes(60))))
    data = made.section() + made.interface(snap=64)
    data += (
        made.simple(frame[:64], wire=len(frame))
        + made.enhanced(100, frame)
        + made.simple(frame[:64], wire=len(frame))
    )
    data += made.enhanced(300, frame) + made.simple(frame[:50])
    capture = read(tmp_path, data)
    assert capture.time.tolist() == [0, 0, 0, 200_000_000, 200_000_000]
    assert capture.frame.tolist() == [len(frame)] * 4 + [50]
    assert capture.notices == ("no timestamp: 3 packets took that of the packet before",)


def test_pcapng_agrees_with_dpkt(tmp_path):
    frames = [made.on_link(1, packet) for packet in ip_packets()]
    for order in "<>":
        data = made.section(order) + made.interface(order=order, options=made.tsresol(9, order))
        data += b"".join(made.enhanced(NOON + 999 * i, frame, order) for i, frame in enumerate(frames))
        theirs = [frame for _, frame in dpkt.pcapng.Reader(io.BytesIO(data))]
        assert theirs == frames
        packets = [((NOON + 999 * i) * 1000, frame, len(frame)) for i, frame in enumerate(theirs)]
        assert columns(read(tmp_path, made.zipped(data))) == expected(packets, 1)
