"""Captures: link types, encapsulations, lengths, counters and times, against dpkt."""

from __future__ import annotations

import gzip
import io
import struct
from collections import Counter
from fractions import Fraction

import captures as made
import dpkt
import numpy as np
import pytest
from capture_oracle import (
    EXAMPLE,
    FRAME,
    LINKS,
    NOON,
    at_times,
    check,
    columns,
    expected,
    failure,
    ip_packets,
    read,
)
from captures import A4, Packet

from lbsim.units import SECOND
from lbsim.workload.capture import read_capture


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
