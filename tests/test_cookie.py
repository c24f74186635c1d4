"""The cookie: every bit of every carrier, against bit strings written out."""

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsim.balancer.cheetah.cookie import (
    BMV2,
    GENERATION,
    LSB,
    MEMORY,
    MSB,
    PLAIN,
    QUIC,
    TOFINO,
    cid_cookie,
    cid_with_cookie,
    client_accepts,
    cookie_bits,
    crc16,
    obfuscate,
    quic_digest,
    read_cookie,
    remember,
    restore,
    server_in_tier,
    tcp_digest,
    tier_cookie,
    tier_of,
    write_word,
)

COOKIES = range(1 << 16)
WORDS = (0, 0xFFFFFFFF, 0x12345678, 0xA5A5A5A5, 0x0000FFFF, 0xFFFF0000)
HALVES = (0, 1, 0x7FFF, 0x8000, 0xFFFF)


def memory() -> np.recarray:
    return np.zeros(1, MEMORY).view(np.recarray)


def bits_of(word: int) -> str:
    return f"{word:032b}"


def expected_word(carrier: int, word: int, cookie: int, version: int) -> int:
    bits = bits_of(word)
    if carrier == MSB:
        return int(str(version) + f"{cookie:015b}" + bits[16:], 2)
    if carrier == LSB:
        return int(bits[16:] + f"{cookie:016b}", 2)
    return int(bits[:8] + f"{cookie:016b}" + bits[24:], 2)


@pytest.mark.parametrize("carrier", [MSB, LSB, QUIC])
def test_every_cookie_in_every_carrier(carrier: int) -> None:
    for cookie in range(1 << cookie_bits(carrier)):
        word = WORDS[cookie % len(WORDS)]
        for version in (0, 1):
            written = write_word(carrier, word, cookie, version)
            assert written == expected_word(carrier, word, cookie, version)
            assert read_cookie(carrier, written) == cookie


def test_widths() -> None:
    assert [cookie_bits(c) for c in (MSB, LSB, QUIC)] == [15, 16, 16]
    assert GENERATION == 65_536 * 10**9


@pytest.mark.parametrize("bits", [15, 16])
def test_every_server_is_hidden_and_found(bits: int) -> None:
    for digest in (0, 0x1234, 0x7FFF, 0xFFFFFFFF):
        cookies = [obfuscate(server, digest, bits) for server in range(1 << bits)]
        assert cookies == [(server ^ digest) % 2**bits for server in range(1 << bits)]
        assert [obfuscate(c, digest, bits) for c in cookies] == list(range(1 << bits))


def test_plain_cookies_are_the_number() -> None:
    assert all(obfuscate(c, 0, 16) == c for c in COOKIES)


# --- upper halves -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parity", [False, True])
def test_msb_through_all_generations(parity: bool) -> None:
    row = memory()[0]
    versions = []
    before = 0
    for upper in [*range(1 << 16), 0, 1]:
        tsval = upper << 16 | HALVES[upper % 5]
        version = remember(MSB, row, tsval, parity)
        echo = write_word(MSB, tsval, upper & 0x7FFF, version)
        assert restore(MSB, row, echo) == tsval
        if versions:  # the echo of one generation ago, still in flight
            old = write_word(MSB, before, 77, versions[-1])
            assert restore(MSB, row, old) == before
        versions.append(version)
        before = tsval
    assert versions == [upper % 2 for upper in range((1 << 16) + 2)]  # flips with every generation, from 0


def test_msb_forgets_after_two_generations() -> None:
    row = memory()[0]
    sent = [5 << 16 | 1, 6 << 16 | 1, 7 << 16 | 1]
    echoes = [write_word(MSB, t, 0, remember(MSB, row, t, False)) for t in sent]
    assert [restore(MSB, row, e) for e in echoes] == [7 << 16 | 1, *sent[1:]]


def test_msb_survives_reordering_across_a_boundary() -> None:
    row = memory()[0]
    old, new = 8 << 16 | 0xFFFF, 9 << 16
    versions = [remember(MSB, row, t, False) for t in (old, new, old, new, new)]
    assert versions == [1, 0, 1, 0, 0]
    assert [restore(MSB, row, write_word(MSB, t, 3, v)) for t, v in ((old, 1), (new, 0))] == [old, new]


def test_balancers_that_met_a_server_at_different_times_agree_by_parity_only() -> None:
    early, late = memory()[0], memory()[0]
    for upper in (4, 5):
        remember(MSB, early, upper << 16, False)
    remember(MSB, late, 5 << 16, False)
    toggled = [remember(MSB, row, 6 << 16, False) for row in (early, late)]
    assert toggled == [1, 0]
    early, late = memory()[0], memory()[0]
    for upper in (4, 5, 6):
        remember(MSB, early, upper << 16, True)
    for upper in (5, 6):
        remember(MSB, late, upper << 16, True)
    assert early.version == late.version == 0
    assert (early.upper0, early.upper1) == (late.upper0, late.upper1) == (6, 5)


def test_lsb_is_right_exactly_where_its_bits_allow() -> None:
    row = memory()

    @numba.njit
    def wrong(rows: np.recarray, stride: int) -> int:
        bad = 0
        for k in range(0, 1 << 16, stride):
            now = 3 << 16 | k
            for age in range(1 << 16):
                then = now - age
                remember(LSB, rows[0], now, False)
                restored = restore(LSB, rows[0], write_word(LSB, then, 0xBEEF, 0))
                same = then >> 16 == now >> 16
                before = then & 0xFFFF >= 0x8000 > now & 0xFFFF
                right = restored == then
                if right != (same or before) or (age < 0x8000 and not right):
                    bad += 1
        return bad

    assert wrong(row, 257) == 0


def test_lsb_at_the_wrap_of_the_clock() -> None:
    row = memory()[0]
    then, now = 0xFFFFFFF0, 0x00000010
    echo = write_word(LSB, then, 1, 0)
    assert remember(LSB, row, now, False) == 0
    assert restore(LSB, row, echo) == then
    assert remember(LSB, row, then, False) == 1


def test_quic_displaces_nothing() -> None:
    row = memory()[0]
    assert remember(QUIC, row, 0xDEADBEEF, False) == 0
    assert restore(QUIC, row, 0xDEADBEEF) == 0xDEADBEEF
    assert row.tolist() == (0, 0, 0)


@pytest.mark.parametrize(("carrier", "silence"), [(MSB, 65_535), (LSB, 32_767)])
def test_clients_accept_segments_after_a_silence(carrier: int, silence: int) -> None:
    rows = memory()

    @numba.njit
    def refused(rows: np.recarray, carrier: int, silence: int) -> int:
        count = 0
        for start in range(1 << 16, (1 << 16) + (1 << 17), 1009):
            for gap in range(1, silence + 1):
                rows[0].upper0, rows[0].upper1, rows[0].version = 0, 0, 0
                a = write_word(carrier, start, 9, remember(carrier, rows[0], start, False))
                later = start + gap
                b = write_word(carrier, later, 9, remember(carrier, rows[0], later, False))
                count += not client_accepts(a, b)
        return count

    assert refused(rows, carrier, silence) == 0
    assert refused(rows, carrier, silence + 1) > 0


# --- tiers, QUIC, CRC ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("tier_bits", [1, 2, 5])
def test_every_server_of_every_tier(tier_bits: int) -> None:
    below = 15 - tier_bits
    for number in range(1 << 15):
        tier, server, digest = number >> below, number % 2**below, number * 40503 & 0xFFFFFFFF
        cookie = tier_cookie(tier, server, digest, 15, tier_bits)
        assert 0 <= cookie < 1 << 15
        assert tier_of(cookie, 15, tier_bits) == tier
        assert server_in_tier(cookie, digest, 15, tier_bits) == server


def test_a_hash_over_the_whole_cookie_would_hide_the_tier() -> None:
    tiers = {tier_of(obfuscate(0, digest, 15), 15, 2) for digest in range(1 << 15)}
    assert tiers == {0, 1, 2, 3}


@pytest.mark.parametrize("length", [3, 4, 8, 20])
def test_every_cookie_in_a_connection_id(length: int) -> None:
    cid = bytes(range(100, 100 + length))
    for cookie in COOKIES:
        marked = cid_with_cookie(cid, cookie)
        assert marked == cid[:1] + cookie.to_bytes(2, "big") + cid[3:]
        assert cid_cookie(marked) == cookie


@pytest.mark.parametrize("length", [0, 2, 21])
def test_a_connection_id_must_have_room(length: int) -> None:
    with pytest.raises(ValueError, match=f"has {length} bytes: with a cookie it has 3 to 20"):
        cid_cookie(bytes(length))
    with pytest.raises(ValueError, match="3 to 20"):
        cid_with_cookie(bytes(length), 0)


def division(data: bytes) -> int:
    """The remainder of the message, bits of each byte reversed, modulo x^16 + x^15 + x^2 + 1, reversed."""
    message = int("".join(f"{b:08b}"[::-1] for b in data) + "0" * 16, 2)
    for shift in range(message.bit_length() - 17, -1, -1):
        if message >> (shift + 16) & 1:
            message ^= 0x18005 << shift
    return int(f"{message:016b}"[::-1], 2)


def test_crc16_has_its_check_value() -> None:
    crc = 0
    for byte in b"123456789":
        crc = crc16(byte, 1, crc)
    assert crc == division(b"123456789") == 0xBB3D


@given(st.integers(0, 2**32 - 1), st.integers(0, 65535), st.integers(0, 65535), st.sampled_from([6, 17]))
def test_digests_of_the_switches(client: int, client_port: int, service_port: int, protocol: int) -> None:
    address, port, service = (
        client.to_bytes(4, "big"),
        client_port.to_bytes(2, "big"),
        service_port.to_bytes(2, "big"),
    )
    meant = division(address + service + port + bytes([protocol]))
    slip = division(address + service + service + bytes([protocol]))
    fields = (client, client_port, service_port, protocol)
    assert tcp_digest(*fields, PLAIN) == meant
    assert tcp_digest(*fields, BMV2) == meant % 65535
    assert tcp_digest(*fields, TOFINO) == slip
    assert quic_digest(client, client_port, PLAIN) == division(port + address)
    assert quic_digest(client, client_port, BMV2) == division(port + address) % 65535


def test_tofino_forgets_the_port_of_the_client() -> None:
    assert len({tcp_digest(0x0A000001, port, 80, 6, TOFINO) for port in range(1000)}) == 1
    assert len({tcp_digest(0x0A000001, port, 80, 6, PLAIN) for port in range(1000)}) == 1000


def test_the_software_switch_never_hashes_to_65535() -> None:
    client = 0xC0A80105
    (port,) = (p for p in range(1 << 16) if quic_digest(client, p, PLAIN) == 65535)
    assert quic_digest(client, port, BMV2) == 0
    (port,) = (p for p in range(1 << 16) if tcp_digest(client, p, 443, 6, PLAIN) == 65535)
    assert tcp_digest(client, port, 443, 6, BMV2) == 0
