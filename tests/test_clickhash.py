"""Hashes of 5-tuples: check values, bytes and strings of bits in plain Python."""

import ipaddress
import struct
import zlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from pools import hashes

from lbsim.balancer.hashing.flows import CASTAGNOLI, IEEE, beamer_hash, click_hash, crc32, dpdk_hash, fold16

ports = st.integers(0, 65_535)
ONES = 0xFFFFFFFF


def bitwise(polynomial: int, data: bytes) -> int:
    """Long division, reflected, without inversions."""
    crc = 0
    for byte in data:
        for bit in range(8):
            crc = crc >> 1 ^ polynomial * ((crc ^ byte >> bit) & 1)
    return crc


def little(address: int) -> int:
    return int(struct.unpack("<I", ipaddress.IPv4Address(address).packed)[0])


def rotated(word: int, by: int) -> int:
    bits = f"{word:032b}"
    return int(bits[by:] + bits[:by], 2)


def test_check_values() -> None:
    digits = [int.from_bytes(b"1234"), int.from_bytes(b"5678")]
    for remainders, check in ((CASTAGNOLI, 0xE3069283), (IEEE, 0xCBF43926)):
        crc = ONES
        for word in digits:
            crc = crc32(remainders, crc, word, 4)
        assert crc32(remainders, crc, ord("9"), 1) ^ ONES == check


@given(hashes, ports, hashes, ports, st.integers(0, 255))
def test_dpdk(client: int, client_port: int, service: int, service_port: int, protocol: int) -> None:
    data = struct.pack("<I", protocol) + struct.pack(">IIHH", client, service, client_port, service_port)
    assert dpdk_hash(client, client_port, service, service_port, protocol) == bitwise(0x82F63B78, data)


@given(hashes, ports)
def test_beamer(client: int, client_port: int) -> None:
    assert beamer_hash(client, client_port) == zlib.crc32(struct.pack(">IH", client, client_port))


@given(hashes, ports, hashes, ports)
def test_click(client: int, client_port: int, service: int, service_port: int) -> None:
    expected = rotated(little(client), client_port % 16 + 1) ^ rotated(
        little(service), 31 - service_port % 16
    )
    expected ^= service_port * 65_536 + client_port
    assert click_hash(client, client_port, service, service_port) == expected


@given(hashes)
def test_fold(word: int) -> None:
    assert fold16(word) == word // 65_536 ^ word % 65_536


def test_click_is_biased_and_dpdk_is_not() -> None:
    """Clients of one /24 with the even ports that Linux gives to connect()."""
    spread = []
    for hash_of in (click_hash, dpdk_hash):
        counts = np.zeros(64)
        for host in range(64):
            for port in range(32_768, 33_768, 2):
                counts[fold16(hash_of(0x0A000100 + host, port, 0x0A000001, 80)) % 64] += 1
        spread.append(counts.var() / counts.mean())
    assert spread[0] > 3
    assert spread[1] < 2
