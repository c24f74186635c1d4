import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsim import balancer
from lbsim.scenario import override
from lbsim.study.points import pointfile
from lbsim.study.points.cell import Cell
from lbsim.study.points.pointfile import (
    MARK,
    UNSIGNED,
    DamagedError,
    decode,
    encode,
    payload_digest,
    provenance_of,
)
from results import BASE, made_up, same

KEY = "0123456789abcdef" * 2
WHOLE = encode(made_up(BASE), KEY)


def signed(content):
    """The content with the digest of the whole file made right again."""
    at = content.rindex(MARK) + len(MARK)
    blank = content[:at] + UNSIGNED + content[at + 64 :]
    return content[:at] + hashlib.sha256(blank).hexdigest().encode() + content[at + 64 :]


def flipped(position, mask):
    return WHOLE[:position] + bytes([WHOLE[position] ^ mask]) + WHOLE[position + 1 :]


def silent(contents):
    """Those contents that are taken for a point."""
    taken = []
    for content in contents:
        try:
            decode(content, BASE, KEY)
            taken.append(content)
        except DamagedError:
            pass
    return taken


# --- what goes in comes out ---


@given(seed=st.integers(0, 99), cores=st.integers(1, 5), samples=st.booleans())
def test_a_result_comes_back_exactly(seed, cores, samples):
    scenario = override(BASE, {"seed": seed, "server.cores": cores})
    result = made_up(scenario, samples)
    assert same(decode(encode(result, KEY), scenario, KEY), result)


def test_any_reader_of_parquet_reads_it():
    [row] = pq.read_table(pa.BufferReader(WHOLE), page_checksum_verification=True).to_pylist()
    assert row["delivered"] == 5
    assert int(row["latency_total"]) == 10**25


def test_equal_results_give_equal_bytes_in_any_process():
    code = (
        "import sys, hashlib; from results import BASE, made_up;"
        "from lbsim.study.points.pointfile import encode;"
        "print(hashlib.sha256(encode(made_up(BASE), sys.argv[1])).hexdigest())"
    )
    other = subprocess.run(
        [sys.executable, "-c", code, KEY],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == hashlib.sha256(WHOLE).hexdigest()
    assert encode(made_up(BASE), KEY) == WHOLE


# --- damage ---


@pytest.mark.parametrize("mask", [0xFF, 1, 0x20])
def test_every_flipped_byte_is_noticed(mask):
    assert silent(flipped(position, mask) for position in range(len(WHOLE))) == []


@pytest.mark.slow
def test_every_byte_turned_into_every_other_is_noticed():
    for mask in range(1, 256):
        assert silent(flipped(position, mask) for position in range(len(WHOLE))) == []


def test_every_truncation_and_every_addition_is_noticed():
    assert silent(WHOLE[:length] for length in range(len(WHOLE))) == []
    assert silent(WHOLE[start:] for start in range(1, len(WHOLE))) == []
    assert silent(WHOLE + bytes([more]) for more in range(256)) == []
    assert silent(bytes([more]) + WHOLE for more in range(256)) == []
    assert silent([WHOLE + WHOLE, WHOLE * 3, bytes(len(WHOLE))]) == []


@given(st.binary(max_size=200))
def test_foreign_bytes_are_no_point(content):
    assert silent([content, MARK + content, content + MARK + UNSIGNED]) == []


def test_even_where_the_files_digest_agrees_pages_and_row_are_verified(monkeypatch):
    first_footer_byte = len(WHOLE) - 8 - int.from_bytes(WHOLE[-8:-4], "little")
    reasons = []
    for position in range(4, first_footer_byte, 5):
        try:
            assert same(decode(signed(flipped(position, 1)), BASE, KEY), made_up(BASE))
        except DamagedError as error:
            reasons.append(str(error))
    assert sum("CRC" in reason for reason in reasons) > 0.5 * first_footer_byte / 5
    row = pq.read_table(pa.BufferReader(WHOLE)).set_column(1, "engine", pa.array(["another engine"]))
    monkeypatch.setattr(pointfile, "to_table", lambda result: row)
    with pytest.raises(DamagedError, match="its row differs from its digest"):
        decode(encode(made_up(BASE), KEY), BASE, KEY)


def test_a_point_under_another_key_is_not_taken_for_it():
    with pytest.raises(DamagedError, match=f"holds the point {KEY}"):
        decode(WHOLE, BASE, "f" * 32)


def test_a_point_of_another_form_is_refused(monkeypatch):
    short = pointfile.to_table(pointfile.row_of(made_up(BASE)))
    monkeypatch.setattr(pointfile, "_digest", lambda row: "same")
    monkeypatch.setattr(
        pointfile,
        "to_table",
        lambda r: short.drop_columns(["span", "digest"]).append_column("digest", [["same"]]),
    )
    with pytest.raises(DamagedError, match=r"no point file of this version.*span"):
        decode(encode(made_up(BASE), KEY), BASE, KEY)


# --- what it tells of itself ---


def test_the_payload_digest_is_that_of_the_result_alone(monkeypatch):
    assert payload_digest(WHOLE) == payload_digest(encode(made_up(BASE), "f" * 32))
    monkeypatch.setattr(pointfile, "_provenance", lambda *given: {"commit": "another"})
    elsewhere = encode(made_up(BASE), KEY)
    assert elsewhere != WHOLE
    assert payload_digest(elsewhere) == payload_digest(WHOLE)
    others = [made_up(override(BASE, {"seed": 9})), made_up(BASE, samples=False)]
    assert len({payload_digest(WHOLE), *(payload_digest(encode(other, KEY)) for other in others)}) == 3
    with pytest.raises(DamagedError):
        payload_digest(WHOLE[:-1])


def test_provenance_is_in_the_file():
    about = provenance_of(WHOLE)
    assert about.keys() == {"lbsim", "commit", "sources", "python", "numpy", "numba", "engine"}
    assert about["engine"] == "made up"
    assert about["python"].split(".") == [str(part) for part in sys.version_info[:3]]
    assert len(about["sources"]) == 64


def test_the_text_of_a_users_policy_is_in_the_file(monkeypatch):
    def always_first(view, unit):
        return 0  # a telling comment: lbsim.sha256\x18@

    registry = {
        "always_first": balancer.Policy("always_first", always_first, 0, ""),
        "uniform": balancer.policies()["uniform"],
    }
    monkeypatch.setattr("lbsim.study.points.keys.policies", lambda: registry)
    for name, known in (("always_first", True), ("uniform", False), ("gone", False)):
        scenario = override(BASE, {"nic.dispatch": {"kind": "policy", "policy": name}})
        content = encode(made_up(scenario), KEY)
        assert same(decode(content, scenario, KEY), made_up(scenario))
        assert ("a telling comment" in json.dumps(provenance_of(content))) == known
        told = provenance_of(encode(made_up(scenario), KEY, source="def as_it_was_sent"))
        assert (told.get("policy_source") == "def as_it_was_sent") == known


def test_no_thread_reads_a_point(monkeypatch):
    """A thread of Arrow's that still holds the bytes when Python ends aborts the process: exit code 134."""
    read, asked = pq.ParquetFile.read, []

    def spy(file, **how):
        asked.append(how.get("use_threads", True))
        return read(file, **how)

    monkeypatch.setattr(pq.ParquetFile, "read", spy)
    decode(WHOLE, BASE, KEY)
    assert asked == [False]


# --- cells ---


def area(point):
    return {"area": point[0] * point[1]}


@given(
    st.dictionaries(
        st.text(max_size=9), st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
    )
)
def test_the_numbers_of_a_cell_come_back_exactly(numbers):
    back = decode(encode(numbers, KEY), Cell(area, (1, 2)), KEY)
    assert repr(back) == repr(numbers)


def test_numbers_of_numpy_come_back_as_those_of_python():
    numbers = {"a": np.float64(0.1), "b": np.int64(2**62), "c": np.bool_(True)}
    assert decode(encode(numbers, KEY), Cell(area, 1), KEY) == {"a": 0.1, "b": 2**62, "c": True}


def test_a_cell_and_a_scenario_are_not_taken_for_each_other():
    with pytest.raises(DamagedError, match="no point file of this version"):
        decode(encode({"area": 2}, KEY), BASE, KEY)
    with pytest.raises(DamagedError, match="no point file of this version"):
        decode(WHOLE, Cell(area, 1), KEY)
