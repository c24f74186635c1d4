from __future__ import annotations

import gzip
import io
import pickle
import struct
from collections import Counter
from fractions import Fraction
from pathlib import Path

import captures as made
import dpkt
import numpy as np
import pytest
from captures import A4, A6, B4, B6, Packet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lbsim.units import MAX_TIME, SECOND
from lbsim.workload.capture import Capture, CaptureError, read_capture, source, traffic

EXAMPLE = Path(__file__).parent.parent / "examples" / "http-loopback.pcap.gz"
NOON = 1_700_000_001 * 10**9  # ns since 1970
LINKS = [1, 113, 276, 0, 108, 101, 12, 14, 9, 50, 104]


def read(tmp_path: Path, data: bytes, **options) -> Capture:
    path = tmp_path / "capture"
    path.unlink(missing_ok=True)  # much faster than to truncate it
    path.write_bytes(data)
    return read_capture(path, **options)


def failure(tmp_path: Path, data: bytes, **options) -> CaptureError:
    with pytest.raises(CaptureError) as caught:
        read(tmp_path, data, **options)
    assert caught.value.path == tmp_path / "capture"
    assert str(caught.value.path) in str(caught.value)
    assert str(caught.value.offset) in str(caught.value)
    return caught.value


def five_tuples(capture: Capture) -> list[tuple]:
    f, rows = capture.flows, []
    for i in range(len(f)):
        size = 4 if f.version[i] == 4 else 16
        assert not f.src[i, size:].any()
        assert not f.dst[i, size:].any()
        addresses = f.src[i, :size].tobytes(), f.dst[i, :size].tobytes()
        rows.append((int(f.version[i]), int(f.proto[i]), *addresses, int(f.sport[i]), int(f.dport[i])))
    return rows


def columns(capture: Capture) -> list[tuple]:
    """One (time, frame, 5-tuple, checksum) a packet."""
    flows = five_tuples(capture)
    assert len(set(flows)) == len(flows)
    values = zip(
        capture.time.tolist(),
        capture.frame.tolist(),
        capture.flow.tolist(),
        capture.checksum.tolist(),
        strict=True,
    )
    return [(time, frame, flows[flow], checksum) for time, frame, flow, checksum in values]


def check(capture: Capture) -> None:
    """What holds for every capture, whatever the file."""
    assert capture.packets >= 1
    assert [c.dtype for c in (capture.time, capture.frame, capture.flow, capture.checksum)] == [
        np.int64,
        np.int32,
        np.int32,
        np.uint8,
    ]
    assert {len(c) for c in (capture.time, capture.frame, capture.flow, capture.checksum)} == {
        capture.packets
    }
    assert capture.time[0] == 0
    assert (np.diff(capture.time) >= 0).all()
    assert capture.time[-1] <= MAX_TIME
    assert (capture.frame > 0).all()
    first = np.unique(capture.flow, return_index=True)
    assert first[0].tolist() == list(range(len(capture.flows)))  # every flow has packets
    assert (np.diff(first[1]) > 0).all()  # in order of first appearance
    assert capture.records == capture.packets + capture.non_ip + capture.truncated + capture.malformed
    assert set(capture.flows.version.tolist()) <= {4, 6}
    assert len(set(five_tuples(capture))) == len(capture.flows)


# --- the oracle: dpkt parses the frames; times and lengths are known from the making


def dpkt_network(link: int, data: bytes):
    if link == 1:
        frame = dpkt.ethernet.Ethernet(data)
        packet = frame.data
        while isinstance(packet, (dpkt.pppoe.PPPoE, dpkt.ppp.PPP, dpkt.llc.LLC)):
            packet = packet.data
        return packet
    if link in (9, 50):
        return dpkt.ppp.PPP(data).data
    if link in (0, 108):
        return dpkt.loopback.Loopback(data).data
    if link == 113:
        return dpkt.sll.SLL(data).data
    if link == 276:
        return dpkt.sll2.SLL2(data).data
    payload = data[4:] if link == 104 else data
    return dpkt.ip.IP(payload) if payload[0] >> 4 == 4 else dpkt.ip6.IP6(payload)


def dpkt_packet(link: int, data: bytes) -> tuple | None:
    """The (5-tuple, checksum) dpkt finds, or None if not IP."""
    packet = dpkt_network(link, data)
    if not isinstance(packet, (dpkt.ip.IP, dpkt.ip6.IP6)):
        return None
    version = 4 if isinstance(packet, dpkt.ip.IP) else 6
    sport = dport = checksum = 0
    if isinstance(packet.data, (dpkt.tcp.TCP, dpkt.udp.UDP, dpkt.sctp.SCTP)):
        sport, dport, checksum = packet.data.sport, packet.data.dport, packet.data.sum & 0xFF
    return (version, packet.p, packet.src, packet.dst, sport, dport), checksum


HEADER = {1: 14, 113: 16, 276: 20, 0: 4, 108: 4, 9: 4, 50: 4, 104: 4}


def expected(packets: list[tuple[int, bytes, int]], link: int) -> list[tuple]:
    """`columns` as dpkt sees (time in ps, bytes, length on the wire); sorted by time."""
    kept = []
    for when, data, wire in packets:
        seen = dpkt_packet(link, data)
        if seen is not None:
            kept.append((when, wire - HEADER.get(link, 0) + 14, *seen))
    kept.sort(key=lambda row: row[0])
    return [(when - kept[0][0], *rest) for when, *rest in kept]


def ip_packets() -> list[bytes]:
    """IPv4 and IPv6 in every shape that both we and dpkt should understand."""
    tcp, udp, sctp = made.tcp(40000, 80, b"x" * 9), made.udp(53, 5353, b"y" * 30), made.sctp(9, 65535)
    hop, route, dest, frag, auth = 0, 43, 60, 44, 51
    return [
        made.ipv4(made.TCP, tcp),
        made.ipv4(made.TCP, made.tcp(80, 40000, checksum=0x00FF), B4, A4),
        made.ipv4(made.UDP, udp),
        made.ipv4(made.UDP, made.udp(1, 2, checksum=0)),
        made.ipv4(made.SCTP, sctp),
        made.ipv4(made.ICMP, made.icmp()),
        made.ipv4(made.GRE, bytes(12)),
        made.ipv4(255, b""),
        made.ipv4(made.TCP, tcp, options=bytes([148, 4, 0, 0])),
        made.ipv4(made.UDP, udp, options=bytes([1] * 40)),
        made.ipv4(made.UDP, udp, fragment=0x4000),
        made.ipv4(made.UDP, udp, fragment=0x2000),  # the first fragment has its ports
        made.ipv4(made.UDP, b"z" * 64, fragment=0x2000 | 185),
        made.ipv4(made.UDP, b"z" * 3, fragment=370),
        made.ipv4(made.TCP, tcp, total=0),  # left to segmentation offload
        made.ipv4(made.TCP, tcp) + b"padding",
        made.ipv6(made.TCP, tcp),
        made.ipv6(made.UDP, udp, B6, A6),
        made.ipv6(made.SCTP, sctp),
        made.ipv6(made.ICMP6, made.icmp()),
        made.ipv6(59, b""),
        made.ipv6(made.TCP, tcp, length=0),
        made.ipv6(made.TCP, tcp, extensions=[(hop, made.options_header())]),
        made.ipv6(made.UDP, udp, extensions=[(hop, made.options_header(1)), (dest, made.options_header(3))]),
        made.ipv6(made.TCP, tcp, extensions=[(route, made.options_header(2))]),
        made.ipv6(made.TCP, tcp, extensions=[(auth, made.authentication_header())]),
        made.ipv6(made.UDP, udp, extensions=[(frag, made.fragment_header(0))]),
        made.ipv6(made.UDP, b"z" * 40, extensions=[(frag, made.fragment_header(1))]),
        made.ipv6(made.UDP, b"z" * 40, extensions=[(frag, made.fragment_header(8191, more=False))]),
        made.ipv6(made.ICMP6, made.icmp(), extensions=[(hop, made.options_header())]),
    ]


def at_times(frames: list[bytes], unit: int = 1000) -> list[Packet]:
    """Packets at odd times from NOON on, over several seconds."""
    return [Packet(NOON + i * 123_457 * unit, data, len(data) + i % 3) for i, data in enumerate(frames)]


FRAME = made.on_link(1, ip_packets()[0])


@pytest.mark.parametrize("link", LINKS)
def test_every_link_type_agrees_with_dpkt(tmp_path, link):
    packets = at_times([made.on_link(link, packet) for packet in ip_packets()])
    capture = read(tmp_path, made.pcap(packets, link=link))
    check(capture)
    assert columns(capture) == expected([(p.when * 1000, p.data, p.wire) for p in packets], link)
    assert capture.link_types == (link,)
    assert capture.fragments == 4
    assert capture.notices == ("later IP fragments, without ports: 4 packets told apart by addresses alone",)


@pytest.mark.parametrize(("link", "version"), [(228, 4), (229, 6)])
def test_raw_ip_of_one_version(tmp_path, link, version):
    packets = at_times([p for p in ip_packets() if p[0] >> 4 == version])
    capture = read(tmp_path, made.pcap(packets, link=link))
    assert columns(capture) == expected([(p.when * 1000, p.data, p.wire) for p in packets], link)
    wrong = at_times([p for p in ip_packets() if p[0] >> 4 != version])
    assert read(tmp_path, made.pcap(packets + wrong, link=link)).malformed == len(wrong)


def test_ethernet_encapsulations_agree_with_dpkt(tmp_path):
    four, six = ip_packets()[0], ip_packets()[16]
    frames = [
        made.ethernet(made.VLAN, made.ethernet(made.IPV4, four)[12:])[:12]
    ]  # placeholder, replaced below
    frames = [
        made.ethernet(made.IPV4, four, [made.VLAN]),
        made.ethernet(made.IPV6, six, [made.VLAN]),
        made.ethernet(made.IPV4, four, [made.QINQ, made.VLAN]),
        made.ethernet(made.IPV6, six, [made.VLAN, made.VLAN]),
        made.mpls(four, 1),
        made.mpls(six, 3),
        made.pppoe(four, 0x21),
        made.pppoe(six, 0x57),
        made.snap(made.IPV4, four),
        made.ethernet(made.ARP, bytes(28)),
        made.ethernet(made.ARP, bytes(28), [made.VLAN]),
        made.llc(bytes.fromhex("424203") + bytes(35)),
        made.llc(b"\x00\x01\xaf\x81\x01\x00"),
        made.ethernet(0x88CC, bytes(40)),
    ]
    packets = at_times(frames)
    capture = read(tmp_path, made.pcap(packets))
    check(capture)
    assert columns(capture) == expected([(p.when * 1000, p.data, p.wire) for p in packets], 1)
    assert (capture.packets, capture.non_ip, len(capture.flows)) == (9, 5, 2)
    assert capture.notices == ("not IP: 5 packets skipped",)


def test_deep_and_odd_stacks(tmp_path):
    """Beyond what dpkt parses: over two tags, tags after cooked headers, every address family of IPv6."""
    four, six = ip_packets()[0], ip_packets()[16]
    deep = made.ethernet(made.IPV4, four, [made.QINQ, 0x9100, 0x9200, made.VLAN, made.VLAN])
    assert read(tmp_path, made.pcap(at_times([deep]))).flows.proto[0] == made.TCP
    tagged = made.ethernet(made.IPV6, six, [made.VLAN])[14:]
    for link, head in ((113, made.sll), (276, made.sll2)):
        assert read(tmp_path, made.pcap(at_times([head(made.VLAN, tagged)]), link=link)).frame[
            0
        ] == 14 + 4 + len(six)
    for family in (10, 23, 24, 28, 30):
        for order in "<>":
            frames = [struct.pack(order + "I", family) + six, struct.pack(order + "I", 2) + four]
            capture = read(
                tmp_path, made.pcap(at_times([*frames, struct.pack(order + "I", 99) + four]), link=0)
            )
            assert capture.flows.version.tolist() == [6, 4]
            assert capture.non_ip == 1


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nano", [False, True])
@pytest.mark.parametrize("members", [0, 1, 3])
def test_byte_orders_units_and_gzip(tmp_path, order, nano, members):
    packets = at_times([made.on_link(1, packet) for packet in ip_packets()], 1 if nano else 1000)
    data = made.pcap(packets, order=order, nano=nano)
    capture = read(tmp_path, made.zipped(data, members) if members else data)
    assert columns(capture) == expected([(p.when * 1000, p.data, p.wire) for p in packets], 1)
    # and the container as dpkt reads it
    ours = [time * Fraction(1, SECOND) for time, *_ in columns(capture)]
    theirs = [Fraction(when) for when, _ in dpkt.pcap.Reader(io.BytesIO(data))]
    assert all(abs(a - (b - theirs[0])) < Fraction(1, 10**6) for a, b in zip(ours, theirs, strict=True))


def test_modified_pcap_has_longer_record_headers(tmp_path):
    packets = at_times([made.on_link(1, packet) for packet in ip_packets()])
    data = made.pcap(packets, magic=0xA1B2CD34)
    assert columns(read(tmp_path, data)) == expected([(p.when * 1000, p.data, p.wire) for p in packets], 1)


def test_stated_fcs_does_not_count(tmp_path):
    frame = made.on_link(1, ip_packets()[0])
    data = made.pcap(
        [Packet.whole(NOON, frame + b"FCS!")], link=0x24000001
    )  # FCS present, 2 words of 16 bits
    assert read(tmp_path, data).frame[0] == len(frame)
    for length in (4, 32):
        ng = (
            made.section()
            + made.interface(options=made.option(13, bytes([length])))
            + made.enhanced(1, frame + b"FCS!")
        )
        assert read(tmp_path, ng).frame[0] == len(frame)


def test_fraction_beyond_its_second_carries(tmp_path):
    frame = made.on_link(1, ip_packets()[0])
    data = bytearray(made.pcap([Packet.whole(NOON, frame), Packet.whole(NOON, frame)]))
    struct.pack_into("<I", data, 24 + 16 + len(frame) + 4, 4_000_000_000)
    assert read(tmp_path, bytes(data)).time.tolist() == [0, 4000 * SECOND]


def test_short_snap_length_keeps_the_wire_length(tmp_path):
    frame = made.on_link(1, made.ipv4(made.TCP, made.tcp(1, 2, bytes(1400))))
    capture = read(
        tmp_path, made.pcap([Packet(NOON, frame[:n], len(frame)) for n in (96, 54, 52, 51, 38, 37, 34)])
    )
    assert set(capture.frame.tolist()) == {len(frame)}
    assert capture.checksum.tolist() == [0xCD, 0xCD, 0xCD, 0, 0, 0, 0]  # byte 51 is its low half
    assert capture.flow.tolist() == [0, 0, 0, 0, 0, 1, 1]  # the ports end at byte 38
    assert (capture.portless, capture.truncated) == (2, 0)
    assert capture.flows.sport.tolist() == [1, 0]


def test_headers_cut_or_impossible_are_counted(tmp_path):
    four, six = ip_packets()[0], ip_packets()[22]
    good = made.on_link(1, four)

    def counts(data: bytes, missing: int, link: int = 1) -> tuple[int, ...]:
        packets = [Packet.whole(NOON, good), Packet(NOON, data, len(data) + missing)]
        if link != 1:
            packets = [Packet.whole(NOON, made.on_link(link, four)), packets[1]]
        c = read(tmp_path, made.pcap(packets, link=link))
        check(c)
        return c.packets, c.non_ip, c.truncated, c.malformed, c.portless

    cut, not_ip, impossible, portless = (1, 0, 1, 0, 0), (1, 1, 0, 0, 0), (1, 0, 0, 1, 0), (2, 0, 0, 0, 1)
    for size in (0, 13, 14, 33):
        assert counts(good[:size], missing=100) == cut
    assert counts(good[:13], missing=0) == not_ip  # a runt
    assert counts(good[:33], missing=0) == impossible  # says IP, has no room for it
    for size in range(14 + 40, 14 + 40 + 8 + 4):  # IPv6 addresses; then the hop-by-hop header and the ports
        assert counts(made.on_link(1, six)[:size], missing=100) == portless
    assert counts(made.on_link(1, six)[: 14 + 39], missing=100) == cut
    for tagged in (made.ethernet(made.IPV4, four, [made.VLAN]), made.pppoe(four, 0x21), made.mpls(four, 2)):
        assert counts(tagged[:16], missing=100) == cut
    assert counts(b"", missing=100, link=101) == cut
    assert counts(b"\x50" + four[1:], missing=0, link=101) == not_ip
    assert counts(made.ethernet(made.IPV4, b"\x65" + four[1:]), missing=0) == impossible  # version 6
    assert counts(made.ethernet(made.IPV6, four + bytes(40)), missing=0) == impossible
    assert counts(made.ethernet(made.IPV4, b"\x44" + four[1:]), missing=0) == impossible  # 16-byte header
    assert counts(made.on_link(1, made.ipv4(made.TCP, b"", total=19)), missing=0) == impossible
    assert counts(made.on_link(1, made.ipv4(made.TCP, bytes(20), total=23)), missing=0) == portless
    assert counts(made.on_link(1, made.ipv6(made.UDP, bytes(20), length=3)), missing=0) == portless


def test_unsorted_timestamps_are_sorted_stably(tmp_path):
    times = [50, 10, 10, 70, 0, 70, 60]
    frames = [made.on_link(1, made.ipv4(made.UDP, made.udp(100 + i, 9), A4)) for i in range(len(times))]
    packets = [Packet.whole(NOON + t * 1000, frame) for t, frame in zip(times, frames, strict=True)]
    capture = read(tmp_path, made.pcap(packets))
    check(capture)
    assert columns(capture) == expected([(p.when * 1000, p.data, p.wire) for p in packets], 1)
    assert capture.flows.sport.tolist() == [104, 101, 102, 100, 106, 103, 105]
    assert capture.notices == ("timestamps were not sorted: 5 packets moved",)


def test_equal_times_keep_their_order(tmp_path):
    rng = np.random.default_rng(3)
    frames = [made.on_link(1, made.ipv4(made.UDP, made.udp(i, 9))) for i in range(300)]
    packets = [
        Packet.whole(NOON + 1000 * int(t), f) for t, f in zip(rng.integers(0, 5, 300), frames, strict=True)
    ]
    capture = read(tmp_path, made.pcap(packets))
    check(capture)
    assert columns(capture) == expected([(p.when * 1000, p.data, p.wire) for p in packets], 1)


def test_the_span_counts_between_the_extremes(tmp_path):
    day = 86400 * 10**9
    packets = [Packet.whole(NOON + days * day, FRAME) for days in (0, 40, -13, -14)]
    assert read(tmp_path, made.pcap(packets[:3])).time[-1] == 53 * 86400 * SECOND
    assert "53 days" in failure(tmp_path, made.pcap(packets)).reason
    assert read(tmp_path, made.pcap(packets), partial=True).packets == 3
    for ticks in (1 << 63, 1 << 62, (1 << 40) + 1):  # no date at all, even for a first packet
        data = made.section() + made.interface(options=made.tsresol(0)) + made.enhanced(ticks, FRAME)
        assert "53 days" in failure(tmp_path, data).reason


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
        (gzip.compress(b""), "empty"),
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


# --- as traffic


def three_packets(tmp_path) -> Capture:
    frames = [
        made.on_link(1, made.ipv4(made.UDP, made.udp(i, 9, bytes(i)), checksum))
        for i, checksum in enumerate((A4, B4, A4))
    ]
    times = [0, 10, 40]
    return read(
        tmp_path, made.pcap([Packet.whole(NOON + 1000 * t, f) for t, f in zip(times, frames, strict=True)])
    )


def test_traffic_plays_the_capture_once(tmp_path):
    capture = three_packets(tmp_path)
    played = traffic(capture)
    (chunk,) = played.chunks(True)
    assert chunk.flow.tolist() == capture.flow.tolist() == [0, 1, 2]
    assert chunk.frame.tolist() == [42, 43, 44]
    assert chunk.checksum.tolist() == [0x34] * 3
    assert chunk.recorded.tolist() == [0, 10_000_000, 40_000_000]
    assert played.length == 60_000_000  # 40 µs and a mean gap of 20 µs
    assert played.rate == pytest.approx(50_000)
    assert played.mean_frame == 43
    assert (played.name, played.flows) == ("capture", capture.flows)
    assert len(next(played.chunks(False)).checksum) == 0


@pytest.mark.parametrize("loops", [1, 2, 7, 10_922, 10_923, 30_000])
def test_loops_follow_each_other_by_the_captures_length(tmp_path, loops):
    capture = three_packets(tmp_path)
    played = traffic(capture, loops)
    chunks = list(played.chunks(True))
    assert max(len(chunk.flow) for chunk in chunks) <= 1 << 18
    flow, frame, checksum, recorded = (np.concatenate(column) for column in zip(*chunks, strict=True))
    passes = np.arange(loops)[:, np.newaxis]
    assert np.array_equal(recorded, (capture.time + 60_000_000 * passes).ravel())
    assert np.array_equal(flow, np.tile(capture.flow, loops))
    assert np.array_equal(frame, np.tile(capture.frame, loops))
    assert np.array_equal(checksum, np.tile(capture.checksum, loops))
    assert played.length == 60_000_000 * loops
    again = np.concatenate([chunk.recorded for chunk in played.chunks(False)])
    assert np.array_equal(again, recorded)


def test_endless_loops(tmp_path):
    played = traffic(three_packets(tmp_path), None)
    assert played.length is None
    last = -1
    for count, chunk in enumerate(played.chunks(False)):
        assert chunk.recorded[0] > last
        assert (np.diff(chunk.recorded) > 0).all()
        last = int(chunk.recorded[-1])
        if count == 20:
            break


def test_loops_that_cannot_be(tmp_path):
    capture = three_packets(tmp_path)
    with pytest.raises(ValueError, match="loops = 0: must be at least 1"):
        traffic(capture, 0)
    most = MAX_TIME // 60_000_000
    assert traffic(capture, most).length == most * 60_000_000
    with pytest.raises(ValueError, match=f"at most {most} passes"):
        traffic(capture, most + 1)
    one = read(tmp_path, made.pcap([Packet.whole(NOON, FRAME)]))
    assert np.isnan(traffic(one).rate)
    assert traffic(one).length == 0
    with pytest.raises(ValueError, match="cannot be looped"):
        traffic(one, None)


def test_long_captures_loop_until_the_clock_runs_out(tmp_path):
    day = 86400 * 10**9
    packets = [Packet.whole(NOON + days * day, FRAME) for days in (0, 8)]  # 16 days a pass
    played = traffic(read(tmp_path, made.pcap(packets)), None)
    chunks = played.chunks(False)
    recorded = next(chunks).recorded.tolist()
    assert recorded == [days * 86400 * SECOND for days in (0, 8, 16, 24, 32, 40)]
    with pytest.raises(ValueError, match="until the clock ran out"):
        next(chunks)
    packets = [Packet.whole(NOON + days * day, FRAME) for days in (0, 50)]
    once = traffic(read(tmp_path, made.pcap(packets)))
    assert next(once.chunks(False)).recorded.tolist() == [0, 50 * 86400 * SECOND]
    assert once.length == MAX_TIME  # and not 100 days


# --- the capture that the project recorded


def test_the_example_agrees_with_dpkt():
    with gzip.open(EXAMPLE) as file:
        data = file.read()
    packets, at = [], 24
    while at < len(data):
        seconds, nanoseconds, captured, wire = struct.unpack_from("<IIII", data, at)
        packets.append(((seconds * 10**9 + nanoseconds) * 1000, data[at + 16 : at + 16 + captured], wire))
        at += 16 + captured
    capture = read_capture(EXAMPLE)
    check(capture)
    assert columns(capture) == expected(packets, 1)
    assert capture.notices == ("timestamps were not sorted: 18 packets moved",)


def test_the_example_is_what_its_description_says():
    text = (EXAMPLE.parent / "README.md").read_text("utf-8")
    capture = read_capture(EXAMPLE)
    protocols = Counter(capture.flows.proto[capture.flow].tolist())
    versions = Counter(capture.flows.version[capture.flow].tolist())
    facts = [
        f"{capture.packets:,} packets",
        f"{len(capture.flows):,} flows",
        f"{capture.time[-1] / SECOND:.2f} s",
        f"{capture.frame.mean():.1f} bytes",
        f"{protocols[made.TCP]:,} TCP",
        f"{protocols[made.UDP]:,} UDP",
        f"{versions[6]:,} IPv6",
    ]
    assert [fact for fact in facts if fact not in text] == []
