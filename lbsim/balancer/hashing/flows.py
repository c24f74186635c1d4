"""Hashes of 5-tuples that software balancers compute, exact to the bit.

Addresses are IPv4 as ints, 10.0.0.1 being 0x0A000001; ports are ints. `fold16` is what Cheetah's balancers do
with each of them before they reduce it modulo the servers or the slots.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from lbsim.jit import kernel, lean

_WORD: Final = 0xFFFFFFFF

CASTAGNOLI: Final = np.array(
    [
        0x00000000, 0x105EC76F, 0x20BD8EDE, 0x30E349B1, 0x417B1DBC, 0x5125DAD3, 0x61C69362, 0x7198540D,
        0x82F63B78, 0x92A8FC17, 0xA24BB5A6, 0xB21572C9, 0xC38D26C4, 0xD3D3E1AB, 0xE330A81A, 0xF36E6F75,
    ],
    np.int64,
)  # fmt: skip
"""Remainders of the 16 half-bytes for CRC-32C (polynomial 0x1EDC6F41, reflected)."""

IEEE: Final = np.array(
    [
        0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC, 0x76DC4190, 0x6B6B51F4, 0x4DB26158, 0x5005713C,
        0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C, 0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C,
    ],
    np.int64,
)  # fmt: skip
"""The same for CRC-32 (polynomial 0x04C11DB7, reflected)."""


@lean
def fold16(hash: int) -> int:  # noqa: A002
    """Return the upper half of a 32-bit hash XOR its lower half, 16 bits."""
    return (hash >> 16 ^ hash) & 0xFFFF


@kernel
def click_hash(client: int, client_port: int, service: int, service_port: int) -> int:
    """Return the 32-bit hash of Click's flow id (include/click/ipflowid.hh as in cheetah-fastclick).

    The addresses, as a little-endian machine reads them, rotated left by (client port mod 16) + 1 and
    31 - (service port mod 16), XOR the ports side by side. It mixes nothing: with one service, clients of
    one network and even ports, few of its bits vary.
    """
    source = _rotated(in_memory(client), client_port % 16 + 1)
    destination = _rotated(in_memory(service), 31 - service_port % 16)
    return source ^ destination ^ (service_port << 16 | client_port)


@kernel
def dpdk_hash(client: int, client_port: int, service: int, service_port: int, protocol: int = 6) -> int:
    """Return the 32-bit hash that DPDK's flow tables and Cheetah's "hash_crc" take of a 5-tuple.

    CRC-32C with neither initial nor final inversion, over the protocol as 4 bytes and then the addresses and
    the ports as they lie in the packet (`ipv4_hash_crc` of DPDK's l3fwd).
    """
    crc = crc32(CASTAGNOLI, 0, protocol << 24, 4)
    crc = crc32(CASTAGNOLI, crc, client, 4)
    crc = crc32(CASTAGNOLI, crc, service, 4)
    return crc32(CASTAGNOLI, crc, client_port << 16 | service_port, 4)


@kernel
def beamer_hash(client: int, client_port: int) -> int:
    """Return the 32-bit hash by which Beamer finds a bucket: CRC-32 of the client's address and port.

    The polynomial is that of P4's crc32; the published code names it so.
    """
    return crc32(IEEE, crc32(IEEE, _WORD, client, 4), client_port, 2) ^ _WORD


@lean
def crc32(remainders: NDArray[np.int64], crc: int, value: int, octets: int) -> int:
    """Return a reflected 32-bit CRC after the low `octets` bytes of `value`, in network order."""
    for k in range(octets - 1, -1, -1):
        crc ^= value >> (8 * k) & 0xFF
        crc = crc >> 4 ^ remainders[crc & 15]
        crc = crc >> 4 ^ remainders[crc & 15]
    return crc


@lean
def _rotated(word: int, bits: int) -> int:
    return (word << bits | word >> (32 - bits)) & _WORD


@lean
def in_memory(address: int) -> int:
    """Return an IPv4 address as a little-endian machine reads it from memory."""
    return (address & 0xFF) << 24 | (address & 0xFF00) << 8 | (address >> 8 & 0xFF00) | address >> 24
