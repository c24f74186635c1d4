from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbsim.nic import (
    MICROSOFT_KEY,
    MLX5_KEY,
    flow_hashes,
    parse_key,
    published_vectors,
    symmetric_key,
    vectors_match,
)
from lbsim.nic import toeplitz as module
from lbsim.nic.toeplitz import toeplitz
from lbsim.rng import stream
from lbsim.workload.packets import FlowTable

KEYS = st.binary(min_size=40, max_size=52)


def bit_by_bit(key: bytes, data: bytes) -> int:
    """The definition, one bit of the input after another, on one big integer."""
    number, width = int.from_bytes(key, "big"), 8 * len(key)
    text = "".join(f"{byte:08b}" for byte in data)
    value = 0
    for place, bit in enumerate(text):
        if bit == "1":
            value ^= number >> (width - 32 - place) & 0xFFFFFFFF
    return value


def matrix(rows: list[bytes]) -> np.ndarray:
    return np.array([list(row) for row in rows], np.uint8)


def random_flows(seed: int, n: int) -> FlowTable:
    rng = np.random.default_rng(seed)
    return FlowTable(
        src=rng.integers(0, 256, (n, 16), dtype=np.uint8),
        dst=rng.integers(0, 256, (n, 16), dtype=np.uint8),
        version=rng.choice(np.array([4, 6], np.uint8), n),
        proto=rng.choice(np.array([1, 6, 17, 47, 132], np.uint8), n),
        sport=rng.choice(np.array([0, 80, 443, 51813, 65535], np.uint16), n),
        dport=rng.choice(np.array([0, 53, 8080, 256], np.uint16), n),
    )


def reversed_flows(flows: FlowTable) -> FlowTable:
    return FlowTable(flows.dst, flows.src, flows.version, flows.proto, flows.dport, flows.sport)


def nic_input(flows: FlowTable, i: int, ports: bool) -> bytes:
    width = {4: 4, 6: 16}[int(flows.version[i])]
    data = bytes(flows.src[i, :width]) + bytes(flows.dst[i, :width])
    sport, dport = int(flows.sport[i]), int(flows.dport[i])
    if ports and flows.proto[i] in (6, 17) and (sport, dport) != (0, 0):
        data += sport.to_bytes(2, "big") + dport.to_bytes(2, "big")
    return data


def test_the_published_vectors_hold_in_the_definition_itself() -> None:
    from ipaddress import ip_address

    vectors = published_vectors()
    assert [ip_address(v.src).version for v in vectors] == [4] * 5 + [6] * 3
    for v in vectors:
        addresses = ip_address(v.src).packed + ip_address(v.dst).packed
        ports = v.sport.to_bytes(2, "big") + v.dport.to_bytes(2, "big")
        assert bit_by_bit(MICROSOFT_KEY, addresses) == v.addresses
        assert bit_by_bit(MICROSOFT_KEY, addresses + ports) == v.ports


def test_the_published_vectors_hold_in_the_compiled_hash() -> None:
    assert vectors_match() is True


def test_one_wrong_vector_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    for changed in ("ports", "addresses"):
        vectors = list(published_vectors())
        vectors[6] = vectors[6]._replace(**{changed: 1})
        with monkeypatch.context() as patch:
            patch.setattr(module, "published_vectors", lambda wrong=tuple(vectors): wrong)
            assert vectors_match() is False


@settings(deadline=None)
@given(KEYS, st.integers(0, 36), st.data())
def test_any_key_and_length_equal_the_definition(key: bytes, length: int, data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.binary(min_size=length, max_size=length), min_size=1, max_size=4))
    got = toeplitz(key, matrix(rows).reshape(len(rows), length))
    assert got.dtype == np.uint32
    assert got.tolist() == [bit_by_bit(key, row) for row in rows]


@settings(deadline=None)
@given(KEYS, st.binary(min_size=12, max_size=12), st.binary(min_size=12, max_size=12))
def test_the_hash_is_linear(key: bytes, a: bytes, b: bytes) -> None:
    both = bytes(x ^ y for x, y in zip(a, b, strict=True))
    one, other, sum_ = toeplitz(key, matrix([a, b, both])).tolist()
    assert sum_ == one ^ other


@pytest.mark.parametrize("ports", [True, False])
def test_flows_hash_what_a_nic_hashes(ports: bool) -> None:
    flows = random_flows(1, 400)
    expected = [bit_by_bit(MLX5_KEY, nic_input(flows, i, ports)) for i in range(len(flows))]
    assert flow_hashes(flows, MLX5_KEY, ports=ports).tolist() == expected


def test_bytes_behind_an_ipv4_address_are_not_read() -> None:
    flows = random_flows(2, 50)
    flows.version[:] = 4
    before = flow_hashes(flows, MICROSOFT_KEY)
    flows.src[:, 4:] ^= 0xFF
    flows.dst[:, 4:] ^= 0xFF
    assert np.array_equal(flow_hashes(flows, MICROSOFT_KEY), before)


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_only_the_symmetric_key_gives_both_directions_one_hash(seed: int) -> None:
    flows = random_flows(seed, 40)
    there, back = (flow_hashes(f, symmetric_key()) for f in (flows, reversed_flows(flows)))
    assert np.array_equal(there, back)
    there, back = (flow_hashes(f, MICROSOFT_KEY) for f in (flows, reversed_flows(flows)))
    assert not np.array_equal(there, back)


def test_the_kernels_give_the_same_bits_as_plain_python() -> None:
    from lbsim.nic.toeplitz import _hash_flows, _hash_rows, lookup_tables

    flows = random_flows(3, 60)
    tables = lookup_tables(MLX5_KEY, 36)
    columns = (flows.src, flows.dst, flows.version, flows.sport, flows.dport, flows.sport > 0)
    assert np.array_equal(_hash_flows(tables, *columns), _hash_flows.py_func(tables, *columns))
    assert np.array_equal(_hash_rows(tables, flows.src), _hash_rows.py_func(tables, flows.src))


def test_no_flows_have_no_hashes() -> None:
    assert flow_hashes(random_flows(4, 0), MICROSOFT_KEY).size == 0


def test_keys_by_name() -> None:
    assert parse_key("microsoft") == MICROSOFT_KEY
    assert parse_key(" Mlx5 ") == MLX5_KEY
    assert parse_key("symmetric") == symmetric_key() == bytes.fromhex("6d5a" * 20)
    assert parse_key("random:7") == stream(7, "key").bytes(40)
    assert len({parse_key(f"random:{n}") for n in range(20)}) == 20


@given(KEYS, st.sampled_from(["", ":", " "]))
def test_a_key_in_hexadecimal_reads_back(key: bytes, apart: str) -> None:
    assert parse_key(key.hex(apart) if apart else key.hex()) == key
    assert parse_key(key.hex().upper()) == key


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("intel", "write microsoft, mlx5, symmetric, random:N or 80 to 104"),
        ("", "has 0 bytes"),
        ("random", "write random:N"),
        ("random:-1", "write random:N"),
        ("random:x", "write random:N"),
        ("random7", "write random:N"),
        ("6d5a" * 19, "has 38 bytes: a key has 40 to 52"),
        ("6d5a" * 27, "has 54 bytes: a key has 40 to 52"),
        ("6d5a6" * 20 + "f", "unknown"),
    ],
)
def test_a_wrong_key_is_explained(text: str, says: str) -> None:
    with pytest.raises(ValueError, match="hash key") as caught:
        parse_key(text)
    assert says in str(caught.value)


def test_a_key_too_short_for_the_input_is_refused() -> None:
    with pytest.raises(ValueError, match="key has 40 bytes: to hash 37 bytes of input it needs 41 or more"):
        toeplitz(MICROSOFT_KEY, np.zeros((1, 37), np.uint8))
    with pytest.raises(ValueError, match="key has 39 bytes"):
        flow_hashes(random_flows(5, 1), MICROSOFT_KEY[:39])


@pytest.mark.parametrize("data", [np.zeros(12, np.uint8), np.zeros((1, 12), np.int64)])
def test_data_of_another_shape_or_type_is_refused(data: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"pass uint8\[n, m\]"):
        toeplitz(MICROSOFT_KEY, data)
