"""Reading captures in tests: to a file and back, and what dpkt sees in the same frames."""

from __future__ import annotations

from pathlib import Path

import captures as made
import dpkt
import numpy as np
import pytest
from captures import A4, A6, B4, B6, Packet

from lbsim.units import MAX_TIME
from lbsim.workload.capture import Capture, CaptureError, read_capture

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
