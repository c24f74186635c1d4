"""Record the example capture: a real HTTP server and real clients on the loopback of a private namespace.

    python examples/record_capture.py examples/http-loopback.pcap.gz

Needs Linux, root (or user namespaces), and the tools `unshare`, `ip` and `tcpdump`. Nothing but the traffic
made here exists in the namespace, so nothing else can be recorded, and nothing leaves it. README.md in this
folder describes what is in the result.
"""

from __future__ import annotations

import array
import fcntl
import gzip
import http.client
import random
import signal
import socket
import socketserver
import struct
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SEED = 2025
SECONDS = 12  # over which connections begin
CONNECTIONS = 360  # HTTP, each with one or more requests
DOWNLOADS = 8  # of these: a single long response each
QUERIES = 300  # UDP, each from a port of its own
CLIENTS = [f"127.0.0.{host}" for host in range(2, 42)]
HTTP_PORT, UDP_PORT = 8080, 8053
LINKS = [2_500_000, 6_250_000, 12_500_000]  # clients' access links, bytes per second
SNAP = 96  # bytes kept of a packet: every header and a little of what follows
TEXT = b"lbsim example capture "


@dataclass(frozen=True)
class Connection:
    """One HTTP connection to make: when (s), whence, over which link, and the responses to ask for."""

    start: float
    client: str
    link: int
    sizes: list[int]
    pauses: list[float]


def plan(rng: random.Random) -> list[Connection]:
    """Draw the connections: Poisson starts, geometric numbers of requests, bounded-Pareto sizes."""
    connections = []
    for i in range(CONNECTIONS):
        client = "::1" if rng.random() < 0.2 else rng.choice(CLIENTS)
        sizes = [bounded_pareto(rng)]
        while rng.random() < 0.7:
            sizes.append(bounded_pareto(rng))
        if i < DOWNLOADS:
            sizes = [rng.randrange(1_500_000, 3_000_000)]
        pauses = [rng.expovariate(4.0) for _ in sizes]
        connections.append(Connection(rng.uniform(0, SECONDS), client, rng.choice(LINKS), sizes, pauses))
    return connections


def bounded_pareto(rng: random.Random, low: float = 400, high: float = 1e6, shape: float = 0.6) -> int:
    """Draw a response size in bytes: many small, a few that carry most of the bytes."""
    return round(low / (1 - rng.random() * (1 - (low / high) ** shape)) ** (1 / shape))


class Handler(BaseHTTPRequestHandler):
    """Answers GET /LINK/SIZE with SIZE bytes, no faster than the client's access link."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "lbsim", ""

    def do_GET(self) -> None:
        """Send the response."""
        link, size = map(int, self.path.split("/")[1:])
        self.connection.setsockopt(socket.SOL_SOCKET, 47, link)  # SO_MAX_PACING_RATE
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        self.wfile.write((TEXT * (size // len(TEXT) + 1))[:size])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (as inherited)
        """Stay silent."""


class Server(ThreadingHTTPServer):
    """A thread per connection; many may knock at once."""

    daemon_threads = True
    request_queue_size = 256


class Server6(Server):
    """The same on IPv6."""

    address_family = socket.AF_INET6


class Resolver(socketserver.BaseRequestHandler):
    """Answers a datagram as a small DNS would: with the question and something more."""

    def handle(self) -> None:
        """Send the answer."""
        question, sock = self.request
        sock.sendto(question + TEXT * (1 + len(question) % 7), self.client_address)


def browse(connection: Connection, begin: float) -> None:
    """Make one HTTP connection and its requests."""
    time.sleep(max(0.0, begin + connection.start - time.monotonic()))
    server = "::1" if connection.client == "::1" else "127.0.0.1"
    http_client = http.client.HTTPConnection(server, HTTP_PORT, source_address=(connection.client, 0))
    for size, pause in zip(connection.sizes, connection.pauses, strict=True):
        http_client.request("GET", f"/{connection.link}/{size}")
        http_client.getresponse().read()
        time.sleep(pause)
    http_client.close()


def resolve(rng: random.Random, begin: float) -> None:
    """Send the UDP queries, one after the other, each from its own port."""
    for i in range(QUERIES):
        time.sleep(max(0.0, begin + SECONDS * i / QUERIES - time.monotonic()))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((rng.choice(CLIENTS), 0))
            sock.settimeout(1)
            sock.sendto(b"query %d " % i + b"?" * rng.randrange(12, 40), ("127.0.0.1", UDP_PORT))
            sock.recv(2048)


def make_traffic() -> None:
    """Run the servers and all clients to their end."""
    servers: list[socketserver.BaseServer] = [
        Server(("127.0.0.1", HTTP_PORT), Handler),
        Server6(("::1", HTTP_PORT), Handler),
        socketserver.UDPServer(("127.0.0.1", UDP_PORT), Resolver),
    ]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    rng = random.Random(SEED)
    begin = time.monotonic() + 0.5
    clients = [threading.Thread(target=browse, args=(c, begin)) for c in plan(rng)]
    clients.append(threading.Thread(target=resolve, args=(rng, begin)))
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    for server in servers:
        server.shutdown()


def prepare_loopback() -> None:
    """Bring the namespace's loopback up with Ethernet's MTU and without segmentation offload."""
    subprocess.run(["ip", "link", "set", "lo", "up", "mtu", "1500"], check=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for command in (0x1F, 0x24):  # ETHTOOL_STSO, ETHTOOL_SGSO
            value = array.array("I", [command, 0])
            request = struct.pack("16sP16x", b"lo", value.buffer_info()[0])
            try:
                fcntl.ioctl(sock, 0x8946, request)  # SIOCETHTOOL
            except OSError as error:
                print(f"offload {command:#x} stays as it is: {error.strerror}")


def record(path: Path) -> None:
    """Record the traffic with tcpdump, whole packets, into `path`."""
    command = ["tcpdump", "-i", "lo", "-n", "-s", "0", "-B", "65536", "-Z", "root"]
    command += ["--time-stamp-precision=nano", "-w", str(path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tcpdump:
        assert tcpdump.stderr is not None
        print(tcpdump.stderr.readline().strip())  # "listening on lo": it records from now on
        make_traffic()
        time.sleep(1)
        tcpdump.send_signal(signal.SIGINT)
        print(tcpdump.stderr.read().strip())


def fill_checksum(frame: bytes) -> bytes:
    """Return an Ethernet frame with its TCP or UDP checksum computed (RFC 1071).

    The loopback device leaves that to hardware which it does not have, so what tcpdump sees is unfinished. On
    a wire the sender's NIC would have filled in exactly this.
    """
    ipv6 = frame[12:14] == b"\x86\xdd"
    header = 40 if ipv6 else 4 * (frame[14] & 15)
    protocol = frame[20] if ipv6 else frame[23]
    if protocol not in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
        return frame
    start = 14 + header
    end = start + int.from_bytes(frame[18:20], "big") if ipv6 else 14 + int.from_bytes(frame[16:18], "big")
    at = start + (16 if protocol == socket.IPPROTO_TCP else 6)
    segment = frame[start:at] + b"\0\0" + frame[at + 2 : end]
    addresses = frame[22:54] if ipv6 else frame[26:34]
    pseudo = addresses + struct.pack(">II", len(segment), protocol)
    words = array.array("H", pseudo + segment + b"\0" * (len(segment) % 2))
    words.byteswap()
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    checksum = ~total & 0xFFFF
    if protocol == socket.IPPROTO_UDP and not checksum:
        checksum = 0xFFFF  # 0 would say that there is none
    return frame[:at] + struct.pack(">H", checksum) + frame[at + 2 :]


def finish(recorded: bytes) -> bytes:
    """Return the recording (as tcpdump writes it here: little endian) with checksums, cut to SNAP bytes."""
    kept = bytearray(recorded[:16] + struct.pack("<I", SNAP) + recorded[20:24])
    at = 24
    while at < len(recorded):
        seconds, fraction, captured, wire = struct.unpack_from("<IIII", recorded, at)
        frame = fill_checksum(recorded[at + 16 : at + 16 + captured])[:SNAP]
        kept += struct.pack("<IIII", seconds, fraction, len(frame), wire) + frame
        at += 16 + captured
    return bytes(kept)


def main(out: str, inside: bool = False) -> None:
    """Record into the file `out`; first move into a namespace of our own."""
    if not inside:
        subprocess.run(["unshare", "--net", sys.executable, __file__, out, "--inside"], check=True)
        return
    prepare_loopback()
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.pcap"
        record(whole)
        capture = finish(whole.read_bytes())
    Path(out).write_bytes(gzip.compress(capture, 9, mtime=0))
    print(f"{out}: {Path(out).stat().st_size} bytes, unpacked {len(capture)}")


if __name__ == "__main__":
    main(sys.argv[1], "--inside" in sys.argv[2:])
