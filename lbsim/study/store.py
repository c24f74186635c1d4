"""The result store: one Parquet file per simulated point, named by its content, written whole or not at all.

A point's name is a hash of its canonical scenario and of every source file that can change what a run
yields, so a finished point is found again exactly when it would come out the same. Page checksums are
written and verified: a damaged file is noticed and its point computed again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import lbsim
from lbsim.metrics.histogram import BINS, Histogram
from lbsim.metrics.result import Result, Samples
from lbsim.scenario import Scenario, canonical

PACKAGE = Path(lbsim.__file__).parent
NOT_SEMANTIC = ("study", "bench", "cli", "cli.py", "__init__.py", "__pycache__", "py.typed")
"""Entries of the package that cannot change what a run yields."""


SCALARS = ("span", "offered", "offered_bytes", "delivered", "delivered_bytes", "end")
PER_CORE = ("processed", "busy", "dropped")


class DamagedError(ValueError):
    """A file of the store does not hold what was written to it."""


@cache
def fingerprint() -> str:
    """Return the hash of NumPy's version and of all sources and data files that define what a run yields."""
    digest = hashlib.sha256(np.__version__.encode())
    for path in sorted(PACKAGE.rglob("*")):
        name = path.relative_to(PACKAGE)
        if path.is_file() and name.parts[0] not in NOT_SEMANTIC and "__pycache__" not in name.parts:
            digest.update(name.as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def point_file(folder: Path, scenario: Scenario) -> Path:
    """Return the file of a scenario's result in `folder`, whether it exists or not."""
    text = f"{fingerprint()}\n{canonical(scenario)}"
    return folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.parquet"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there in full or not at all, also after a crash or a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the sha256 of files in a folder, by name."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in sorted(names)}


def check(results: Path) -> list[str]:
    """Return one line per file under `results` that is not what was written; empty when all is well.

    Reads every point file and compares every file of a figure with its digest in provenance.json.
    """
    problems = []
    for path in sorted(results.rglob("*.parquet")):
        try:
            _read(path)
        except DamagedError as error:
            problems.append(f"{path.parent / str(error)}; run its figure again")
    for about in sorted(results.rglob("provenance.json")):
        try:
            written: dict[str, str] = json.loads(about.read_text("utf-8"))["files"]
        except (ValueError, KeyError, TypeError) as error:
            problems.append(f"{about} cannot be read ({error}); run its figure again")
            continue
        for name, digest in written.items():
            path = about.with_name(name)
            if not path.is_file():
                problems.append(f"{path} is missing; run its figure again")
            elif digests(about.parent, [name])[name] != digest:
                problems.append(f"{path} differs from what its study wrote; run its figure again")
    return problems


def save(path: Path, result: Result) -> None:
    """Write the result of one point; a packet log is not kept."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        to_table(result), sink, write_page_checksum=True, write_statistics=False, compression="zstd"
    )
    write_whole(path, sink.getvalue().to_pybytes())


def load(path: Path, scenario: Scenario) -> Result:
    """Read a point back; raises DamagedError when the file is not exactly what was written."""
    return from_row(_read(path), scenario)


def _read(path: Path) -> dict[str, Any]:
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        row = {
            name: np.asarray(value, np.int64) if isinstance(value, list) else value
            for name, value in table.to_pylist()[0].items()
        }
        if row.pop("digest") != _digest(row):
            raise ValueError("its content differs from its digest")
    except Exception as error:  # a damaged footer may make the reader fail in any way
        raise DamagedError(f"{path.name} is damaged: {error}") from error
    return row


def to_table(result: Result) -> pa.Table:
    """Return a result as a table of one row; whole numbers stay whole, the histogram is sparse."""
    used = np.flatnonzero(result.latency.counts)
    row: dict[str, Any] = {
        "scenario": canonical(result.scenario),
        "engine": result.engine,
        **{name: getattr(result, name) for name in SCALARS},
        "drops": json.dumps(result.drops),
        "control": json.dumps(result.control),
        "notices": json.dumps(result.notices),
        "latency_total": str(result.latency.total),  # may exceed an int64
        "latency_low": result.latency.low,
        "latency_high": result.latency.high,
        "latency_bins": used,
        "latency_counts": result.latency.counts[used],
        **{name: getattr(result, name) for name in PER_CORE},
    }
    if result.samples is not None:
        row |= {f"sampled_{name}": part.ravel() for name, part in result.samples._asdict().items()}
    row["digest"] = _digest(row)
    return pa.table({name: pa.array([value]) for name, value in row.items()})


def from_row(row: dict[str, Any], scenario: Scenario) -> Result:
    """Return the result that `to_table` turned into a row."""
    counts = np.zeros(BINS, np.int64)
    counts[row["latency_bins"]] = row["latency_counts"]
    samples = None
    if "sampled_time" in row:
        cores = len(row["processed"])
        parts = {name: row[f"sampled_{name}"].reshape(-1, cores) for name in Samples._fields[1:]}
        samples = Samples(row["sampled_time"], **parts)
    return Result(
        scenario=scenario,
        engine=row["engine"],
        **{name: row[name] for name in (*SCALARS, *PER_CORE)},
        drops=json.loads(row["drops"]),
        control=json.loads(row["control"]),
        notices=tuple(json.loads(row["notices"])),
        latency=Histogram(counts, int(row["latency_total"]), row["latency_low"], row["latency_high"]),
        samples=samples,
    )


def _digest(row: dict[str, Any]) -> str:
    """Return a hash over all fields: page checksums cover the pages, this also the names and shapes."""
    digest = hashlib.sha256()
    for name, value in row.items():
        content = value.tobytes() if isinstance(value, np.ndarray) else str(value).encode()
        digest.update(name.encode() + b"\0" + content + b"\0")
    return digest.hexdigest()
