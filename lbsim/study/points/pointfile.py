"""One point as bytes: a Parquet file of one row in which every byte counts.

Parquet's page checksums cover the pages alone. So the footer also holds a sha256 of the whole file, taken
with zeros in its own place and checked before anything is parsed, and the row a digest of its fields.
Equal results give equal bytes: nothing here knows the clock or the machine.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from platform import python_version
from typing import Any, Final

import numba
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import lbsim
from lbsim.balancer.meaning import from_lbsim
from lbsim.metrics import AnyResult
from lbsim.scenario import AnyScenario
from lbsim.study.points.cell import Cell, Numbers
from lbsim.study.points.keys import fingerprint, policy_of, policy_source
from lbsim.study.points.rows import Row, from_row, row_of
from lbsim.study.provenance import ROOT, commit_of

UNSIGNED: Final = b"0" * 64
MARK: Final = b"lbsim.sha256\x18\x40"
"""What stands before the file's digest: its key, then "a string of 64 bytes" in Thrift's compact protocol.

JSON escapes such control characters, so neither the row nor the provenance can hold it."""


class DamagedError(ValueError):
    """A file of the store does not hold what was written to it; the text says how one can tell."""


def encode(result: AnyResult | Numbers, key: str, source: str | None = None) -> bytes:
    """Return the file of a point: a run, without a log of packets, or the numbers of a cell.

    `source` is the text of a user's policy, for a process that has the policy but not its text.
    """
    table = to_table(row_of(result) if isinstance(result, AnyResult) else {"numbers": _json(result)})
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        table.schema,
        compression="zstd",
        write_page_checksum=True,
        write_statistics=False,
        store_schema=False,
    ) as writer:
        writer.write_table(table)
        about = json.dumps(_provenance(result, source))
        writer.add_key_value_metadata(
            {"lbsim.key": key, "lbsim.sha256": UNSIGNED.decode(), "lbsim.provenance": about}
        )
    content: bytes = sink.getvalue().to_pybytes()
    at = content.rindex(MARK + UNSIGNED) + len(MARK)
    return content[:at] + hashlib.sha256(content).hexdigest().encode() + content[at + 64 :]


def decode(content: bytes, scenario: AnyScenario | Cell, key: str) -> AnyResult | Numbers:
    """Return what `encode` made into bytes: the result of a scenario, or the numbers of a cell.

    Raises DamagedError unless these are exactly the bytes that were written, for this very key.
    """
    row = verified(content, key)
    try:
        return json.loads(row["numbers"]) if isinstance(scenario, Cell) else from_row(row, scenario)
    except (ValueError, LookupError) as error:
        raise DamagedError(f"it is no point file of this version: {error!r}") from error


def payload_digest(content: bytes) -> str:
    """Return the digest of a point's result, whoever computed it where; raises DamagedError."""
    return _digest(verified(content))


def provenance_of(content: bytes) -> dict[str, Any]:
    """Return where a point comes from: versions, commit, sources, engine, policy; raises DamagedError."""
    verified(content)
    about: dict[str, Any] = json.loads(
        _metadata(pq.ParquetFile(pa.BufferReader(content)))["lbsim.provenance"]
    )
    return about


def verified(content: bytes, key: str | None = None) -> Row:
    """Return the row of a point file after every check; raises DamagedError with the reason.

    In this order: the hash of the whole file, the pages' checksums, the row's digest, and the key, if given.
    """
    at = content.rfind(MARK) + len(MARK)  # where there is none, the hash will not agree
    unsigned = content[:at] + UNSIGNED + content[at + 64 :]
    if hashlib.sha256(unsigned).hexdigest().encode() != content[at : at + 64]:
        raise DamagedError("its bytes are not those that were written")
    try:
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        table = file.read(use_threads=False)  # a thread of Arrow's that outlives Python may abort it
        [row] = table.to_pylist()
        row = {k: np.asarray(v, np.int64) if isinstance(v, list) else v for k, v in row.items()}
        if row.pop("digest") != _digest(row):
            raise ValueError("its row differs from its digest")
        held = _metadata(file)["lbsim.key"]
    except Exception as error:  # whatever a reader makes of a file that is none of ours
        raise DamagedError(f"it is no point file of this version: {error}") from error
    if key is not None and held != key:
        raise DamagedError(f"it holds the point {held}")
    return row


def to_table(row: Row) -> pa.Table:
    """Return columns as a table of one row, with the digest of them all."""
    return pa.table({name: pa.array([value]) for name, value in {**row, "digest": _digest(row)}.items()})


def _digest(row: Row) -> str:
    """Return a hash over all fields, their names and lengths."""
    digest = hashlib.sha256()
    for name, value in row.items():
        content = value.tobytes() if isinstance(value, np.ndarray) else str(value).encode()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _metadata(file: pq.ParquetFile) -> dict[str, str]:
    return {k.decode(): v.decode() for k, v in file.metadata.metadata.items()}


def _json(numbers: Numbers) -> str:
    """Return numbers as text that gives the same numbers back, NumPy's own as Python's."""
    return json.dumps(dict(numbers), default=lambda value: value.item())


def _provenance(result: AnyResult | Numbers, source: str | None) -> dict[str, Any]:
    """Return what made a result, JSON-ready: the same for the same code, whenever and wherever it runs."""
    about = dict(_code_provenance())
    if not isinstance(result, AnyResult):
        return about
    about["engine"] = result.engine
    policy = policy_of(result.scenario)
    if policy is not None and not from_lbsim(policy.choose):
        about["policy_source"] = source or policy_source(policy)
    return about


@cache
def _code_provenance() -> dict[str, Any]:
    return {
        "lbsim": lbsim.__version__,
        "commit": commit_of(ROOT)[0],
        "sources": fingerprint(),
        "python": python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
    }
