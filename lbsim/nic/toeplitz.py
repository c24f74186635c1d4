"""The hash with which a NIC spreads flows: Toeplitz over addresses and ports.

For every 1 bit of the input, most significant bit first, the hash takes in by XOR the 32 bits of the key
that start at that bit (Krawczyk, CRYPTO 1994; Microsoft, "RSS Hashing Functions"). XOR makes the hash linear,
so what each byte of the input contributes is one look-up in a table of 256 words.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lbsim.jit import kernel
from lbsim.rng import stream

Bytes = NDArray[np.uint8]
Ports = NDArray[np.uint16]
Hashes = NDArray[np.uint32]

MICROSOFT_KEY: Final = bytes.fromhex(
    "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"
)
"""The verification key of Microsoft's RSS documentation, the default of many NICs."""

MLX5_KEY: Final = bytes.fromhex(
    "2cc681d15bdbf4f7fca28319db1a3e946b9e38d92c9c03d1ad9944a7d9563d59063c25f3fc1fdc2a"
)
"""The default of DPDK's mlx5 driver, in force when an application passes no key (rss_hash_default_key)."""

SHORTEST_KEY: Final = 40
"""Bytes of key that IPv6 addresses with ports consume: 36 bytes of input and the last window."""

LONGEST_KEY: Final = 52

TCP: Final = 6
UDP: Final = 17


class FlowColumns(Protocol):
    """The columns of 5-tuples that a hash reads; row i of each is flow i.

    A row whose version is not 4 is hashed as IPv6; IPv4 uses the first four bytes of its addresses.
    """

    @property
    def src(self) -> Bytes:
        """Source addresses, uint8[n, 16] in network order."""

    @property
    def dst(self) -> Bytes:
        """Destination addresses, uint8[n, 16] in network order."""

    @property
    def version(self) -> Bytes:
        """IP version, uint8[n]: 4 or 6."""

    @property
    def proto(self) -> Bytes:
        """Layer-4 protocol number, uint8[n]."""

    @property
    def sport(self) -> Ports:
        """Source ports, uint16[n]; 0 where the packet carries none."""

    @property
    def dport(self) -> Ports:
        """Destination ports, uint16[n]; 0 where the packet carries none."""


def symmetric_key() -> bytes:
    """Return 6d5a repeated: both directions of a connection get one hash (Woo and Park, 2012)."""
    return b"\x6d\x5a" * (SHORTEST_KEY // 2)


def parse_key(text: str) -> bytes:
    """Return the key that `text` names.

    Names are "microsoft", "mlx5", "symmetric" and "random:N" (40 bytes from the stream "key" of seed N);
    anything else is a key of 40 to 52 bytes in hexadecimal, its bytes set apart by ":" or spaces if you like.
    Raises ValueError for any other text.
    """
    match text.strip().lower():
        case "microsoft":
            return MICROSOFT_KEY
        case "mlx5":
            return MLX5_KEY
        case "symmetric":
            return symmetric_key()
        case name if name.startswith("random"):
            seed = name.removeprefix("random").removeprefix(":")
            if not (name.startswith("random:") and seed.isascii() and seed.isdigit()):
                raise ValueError(
                    f"hash key {text!r}: write random:N with a whole number N >= 0, as in random:7"
                )
            return stream(int(seed), "key").bytes(SHORTEST_KEY)
        case digits:
            try:
                key = bytes.fromhex(digits.replace(":", " "))
            except ValueError:
                raise ValueError(
                    f"hash key {text!r} is unknown: "
                    "write microsoft, mlx5, symmetric, random:N or 80 to 104 hexadecimal digits"
                ) from None
            if not SHORTEST_KEY <= len(key) <= LONGEST_KEY:
                raise ValueError(
                    f"hash key {text!r} has {len(key)} bytes: "
                    f"a key has {SHORTEST_KEY} to {LONGEST_KEY} bytes, so 80 to 104 hexadecimal digits"
                )
            return key


def lookup_tables(key: bytes, length: int) -> Hashes:
    """Return uint32[length, 256]: what each value of each input byte contributes to the hash.

    Raises ValueError when the key is too short for `length` bytes of input.
    """
    if len(key) < length + 4:
        raise ValueError(
            f"hash key has {len(key)} bytes: to hash {length} bytes of input it needs {length + 4} or more"
        )
    octets = np.frombuffer(key, np.uint8).astype(np.uint64)
    forty = np.zeros(length, np.uint64)  # the 40 bits of key that hold the eight windows of a byte
    for k in range(5):
        forty = forty << np.uint64(8) | octets[k : k + length]
    tables = np.zeros((length, 256), np.uint32)
    for bit in range(8):  # from the byte's last bit on the wire; what is below it is already there
        window = (forty >> np.uint64(bit + 1)).astype(np.uint32)
        tables[:, 1 << bit : 2 << bit] = tables[:, : 1 << bit] ^ window[:, np.newaxis]
    return tables


def toeplitz(key: bytes, data: Bytes) -> Hashes:
    """Return the hash of every row of `data` (uint8[n, m], network order) as uint32[n].

    Raises ValueError when `data` is not a table of bytes, or the key is shorter than m + 4 bytes.
    """
    if data.ndim != 2 or data.dtype != np.uint8:
        raise ValueError(f"data is {data.dtype}{list(data.shape)}: pass uint8[n, m], one input a row")
    return _hash_rows(lookup_tables(key, data.shape[1]), data)


def flow_hashes(flows: FlowColumns, key: bytes, *, ports: bool = True) -> Hashes:
    """Return the hash of every flow as uint32[n]: (src, dst, sport, dport), or addresses only.

    As NICs do, ports enter for TCP and UDP alone, and not where both are 0 (a fragment carries no ports).
    `ports=False` leaves them out everywhere. Raises ValueError for a key shorter than 40 bytes.
    """
    has_ports = (flows.proto == TCP) | (flows.proto == UDP)
    has_ports &= (flows.sport | flows.dport) != 0
    tables = lookup_tables(key, SHORTEST_KEY - 4)
    return _hash_flows(
        tables, flows.src, flows.dst, flows.version, flows.sport, flows.dport, has_ports & ports
    )


@kernel
def _hash_rows(tables: Hashes, data: Bytes) -> Hashes:
    hashes = np.zeros(data.shape[0], np.uint32)
    for i in range(data.shape[0]):
        word = np.uint32(0)
        for j in range(data.shape[1]):
            word ^= tables[j, data[i, j]]
        hashes[i] = word
    return hashes


@kernel
def _hash_flows(
    tables: Hashes,
    src: Bytes,
    dst: Bytes,
    version: Bytes,
    sport: Ports,
    dport: Ports,
    has_ports: NDArray[np.bool_],
) -> Hashes:
    hashes = np.zeros(version.size, np.uint32)
    for i in range(version.size):
        width = 4 if version[i] == 4 else 16
        word = np.uint32(0)
        for j in range(width):
            word ^= tables[j, src[i, j]] ^ tables[width + j, dst[i, j]]
        if has_ports[i]:
            word ^= tables[2 * width, sport[i] >> 8] ^ tables[2 * width + 1, sport[i] & 255]
            word ^= tables[2 * width + 2, dport[i] >> 8] ^ tables[2 * width + 3, dport[i] & 255]
        hashes[i] = word
    return hashes


class Vector(NamedTuple):
    """One published example: a connection and its hashes under `MICROSOFT_KEY`."""

    src: str
    sport: int
    dst: str
    dport: int
    addresses: int  # hash of the addresses
    ports: int  # hash of addresses and ports


def published_vectors() -> tuple[Vector, ...]:
    """Return the examples of Microsoft's "Verifying the RSS Hash Calculation": five IPv4, three IPv6."""
    return (
        Vector("66.9.149.187", 2794, "161.142.100.80", 1766, 0x323E8FC2, 0x51CCC178),
        Vector("199.92.111.2", 14230, "65.69.140.83", 4739, 0xD718262A, 0xC626B0EA),
        Vector("24.19.198.95", 12898, "12.22.207.184", 38024, 0xD2D0A5DE, 0x5C2B394A),
        Vector("38.27.205.30", 48228, "209.142.163.6", 2217, 0x82989176, 0xAFC7327F),
        Vector("153.39.163.191", 44251, "202.188.127.2", 1303, 0x5D1809C5, 0x10E828A2),
        Vector("3ffe:2501:200:1fff::7", 2794, "3ffe:2501:200:3::1", 1766, 0x2CC18CD5, 0x40207D3D),
        Vector("3ffe:501:8::260:97ff:fe40:efab", 14230, "ff02::1", 4739, 0x0F0C461C, 0xDDE51BBF),
        Vector(
            "3ffe:1900:4545:3:200:f8ff:fe21:67cf",
            44251,
            "fe80::200:f8ff:fe21:67cf",
            38024,
            0x4B61E985,
            0x02D1FEEF,
        ),
    )


def vectors_match() -> bool:
    """Return whether `flow_hashes` gives every published hash, with and without ports."""
    vectors = published_vectors()
    flows = _VectorFlows(
        src=_addresses([v.src for v in vectors]),
        dst=_addresses([v.dst for v in vectors]),
        version=np.array([ip_address(v.src).version for v in vectors], np.uint8),
        proto=np.full(len(vectors), TCP, np.uint8),
        sport=np.array([v.sport for v in vectors], np.uint16),
        dport=np.array([v.dport for v in vectors], np.uint16),
    )
    with_ports = flow_hashes(flows, MICROSOFT_KEY).tolist() == [v.ports for v in vectors]
    without = flow_hashes(flows, MICROSOFT_KEY, ports=False).tolist() == [v.addresses for v in vectors]
    return bool(with_ports and without)


class _VectorFlows(NamedTuple):
    src: Bytes
    dst: Bytes
    version: Bytes
    proto: Bytes
    sport: Ports
    dport: Ports


def _addresses(texts: list[str]) -> Bytes:
    packed = b"".join(ip_address(text).packed.ljust(16, b"\0") for text in texts)
    return np.frombuffer(packed, np.uint8).reshape(-1, 16)
