"""Published sizes and durations: cumulative tables with their sources, drawn by inverting them.

`data/README.md` lists the tables. A table is a CSV of rows `value,cdf` under the lines `# source:`,
`# interpolation:` and `# unit:`; `published` reads one of ours, `read_table` one of yours.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lbsim.jit import kernel

Floats = NDArray[np.float64]
Interpolation = Literal["linear", "step", "log"]

INTERPOLATIONS: Final = ("linear", "step", "log")
_LINEAR, _STEP = 0, 1  # their positions
MAX_ROWS: Final = 100_000
MAX_BYTES: Final = 8_000_000
_CELLS_PER_ROW: Final = 8  # of the guide table; more no longer pays


@dataclass(frozen=True, eq=False)
class Distribution:
    """A law given by points of its cumulative distribution, `cdf[i]` = share of values <= `values[i]`.

    Shapes: `values` and `cdf` float64[k], neither ever falling, `cdf` ending at 1; both are read-only copies.
    Between two rows the value is linear in the share ("linear"), its logarithm is ("log"), or only the
    listed values occur ("step"). A first row with a share above 0 is that share of exactly that value.
    Raises ValueError naming the row that breaks this.

    >>> float(published("imix").quantile(0.5))
    60.0
    """

    name: str
    values: Floats
    cdf: Floats
    interpolation: Interpolation
    unit: str
    source: str

    def __post_init__(self) -> None:
        values = np.array(self.values, dtype=np.float64)
        cdf = np.array(self.cdf, dtype=np.float64)
        _refuse_faults(self.name, values, cdf, self.interpolation)
        cdf = np.minimum(cdf, 1.0)
        cdf[-1] = 1.0
        for column, array in (("values", values), ("cdf", cdf)):
            array.flags.writeable = False
            object.__setattr__(self, column, array)

    @cached_property
    def mean(self) -> float:
        """Return the exact mean of the law as interpolated."""
        return self._moment(1)

    @cached_property
    def second_moment(self) -> float:
        """Return the exact mean square of the law as interpolated."""
        return self._moment(2)

    def quantile(self, u: ArrayLike) -> Floats:
        """Return the smallest value whose share of the law is at least `u`, in the shape of `u`.

        `u` = 0 gives the least possible value. Raises ValueError where a share is outside 0..1.
        """
        shares = np.atleast_1d(np.array(u, dtype=np.float64))
        bad = shares[~((shares >= 0) & (shares <= 1))]
        if bad.size:
            raise ValueError(f"share u = {bad[0]} is out of range: give shares between 0 and 1, e.g. 0.99")
        return self._invert(shares.ravel()).reshape(np.shape(u))

    def sample(self, rng: np.random.Generator, n: int) -> Floats:
        """Return n draws, float64[n]: the quantiles of one `rng.random(n)`."""
        return self._invert(rng.random(n))

    def cdf_at(self, x: ArrayLike) -> Floats:
        """Return the share of the law at or below `x`, in the shape of `x`."""
        at = np.asarray(x, dtype=np.float64)
        after = np.searchsorted(self.values, at, side="right")
        low, high = np.maximum(after - 1, 0), np.minimum(after, len(self.values) - 1)
        share = self.cdf[low]
        if self.interpolation != "step":
            at = np.clip(at, self.values[0], self.values[-1])
            if self.interpolation == "log":
                at = np.log(at)
            width = self._knots[high] - self._knots[low]
            part = (at - self._knots[low]) / np.where(width > 0, width, np.inf)
            share = share + part * (self.cdf[high] - share)
        return np.where(after > 0, share, 0.0)

    def _moment(self, power: int) -> float:
        share = np.diff(self.cdf, prepend=0.0)
        if self.interpolation == "step":
            return float(share @ self.values**power)
        low, high = self.values[:-1], self.values[1:]
        if self.interpolation == "linear":  # mean of v**power over a uniform v in low..high
            inside = sum(low**j * high ** (power - j) for j in range(power + 1)) / (power + 1)
        else:  # mean of exp(power * w) over a uniform w in log low..log high
            width = power * np.diff(self._knots)
            flat = np.where(width > 0, width, 1.0)
            inside = high**power * np.where(width > 0, -np.expm1(-width) / flat, 1.0)
        return float(share[0] * self.values[0] ** power + share[1:] @ inside)

    @cached_property
    def _knots(self) -> Floats:
        """Return the values on the scale where they are linear in the share."""
        return np.log(self.values) if self.interpolation == "log" else self.values

    @cached_property
    def _guide(self) -> NDArray[np.int32]:
        """Return the guide table: for each of equal cells of 0..1, the first row its shares can need.

        Chen and Asau (AIIE Transactions, 1974). The number of cells is a power of two, so finding the cell
        of a share is exact. Cell 0 skips rows that no draw can reach.
        """
        cells = 1 << (_CELLS_PER_ROW * len(self.cdf) - 1).bit_length()
        guide = np.searchsorted(self.cdf, np.arange(cells + 1) / cells)
        guide[0] = np.searchsorted(self.cdf, 0.0, side="right")
        return guide.astype(np.int32)

    def _invert(self, u: Floats) -> Floats:
        """Replace the shares `u` by their quantiles, in place."""
        _invert(u, self.values, self.cdf, self._guide, INTERPOLATIONS.index(self.interpolation))
        return u


@kernel
def _invert(u: Floats, values: Floats, cdf: Floats, guide: NDArray[np.int32], interpolation: int) -> None:
    """Replace each share by its quantile: look up the guide table, walk to the row, interpolate."""
    cells = np.float64(len(guide) - 1)
    for k in range(len(u)):
        share = u[k]
        i = np.intp(guide[np.intp(share * cells)])
        while cdf[i] < share:
            i += 1
        if interpolation == _STEP or i == 0 or share == cdf[i]:
            u[k] = values[i]
            continue
        low, high = values[i - 1], values[i]
        part = (share - cdf[i - 1]) / (cdf[i] - cdf[i - 1])
        if interpolation == _LINEAR:
            value = low + part * (high - low)
        else:
            value = low * math.exp(part * math.log(high / low))
        u[k] = min(value, high)  # rounding must not leave the piece


def names() -> tuple[str, ...]:
    """Return the names `published` knows, sorted."""
    return tuple(sorted(_tables()))


def published(name: str) -> Distribution:
    """Return a published table by name, e.g. "homa_w4_fb_hadoop" or "imix".

    Packet sizes named "imix" are Ethernet frames without FCS, as everywhere in the simulator. Raises
    ValueError for an unknown name, with the nearest known ones.
    """
    tables = _tables()
    if name not in tables:
        near = difflib.get_close_matches(name, tables, n=3, cutoff=0.5) or sorted(tables)
        raise ValueError(f"no published distribution is named {name!r}: use one of {', '.join(near)}")
    return _parse(name, tables[name].read_text("utf-8"))


def read_table(path: str | Path) -> Distribution:
    """Return the distribution in a CSV file of the form described above; its name is the file's.

    Raises ValueError naming the file, the row and the fix where the table is malformed, falls, does not end
    at 1, or exceeds 100,000 rows or 8 MB.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"table {str(path)!r} is not a file: give the path of a CSV file of rows value,cdf")
    with path.open("rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(
            f"table {str(path)!r} is larger than {MAX_BYTES // 10**6} MB: thin it out, e.g. to its quantiles"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"table {str(path)!r} is not UTF-8 text: save it as a plain CSV file") from error
    return _parse(path.stem, text)


def _tables() -> dict[str, Traversable]:
    data = files("lbsim.workload") / "data"  # campus_* are the campus model's own, in another form
    tables = (
        file for file in data.iterdir() if file.name.endswith(".csv") and not file.name.startswith("campus_")
    )
    return {file.name.removesuffix(".csv"): file for file in tables}


def _parse(name: str, text: str) -> Distribution:
    header: dict[str, str] = {}
    rows: list[tuple[float, float]] = []
    for number, line in _content(text):
        if line.startswith("#"):
            key, colon, value = line.removeprefix("#").partition(":")
            if colon:
                header.setdefault(key.strip().lower(), value.strip())
        elif rows or line.replace(" ", "").lower() != "value,cdf":
            rows.append(_row(name, number, line))
        if len(rows) > MAX_ROWS:
            raise ValueError(
                f"table {name!r} has more than {MAX_ROWS:,} rows: thin it out, e.g. to its quantiles"
            )
    for key, example in (("source", "own measurement"), ("interpolation", "linear"), ("unit", "bytes")):
        if not header.get(key):
            raise ValueError(
                f"table {name!r} lacks a line '# {key}: ...': add one, e.g. '# {key}: {example}'"
            )
    values, cdf = np.array(rows, dtype=np.float64).reshape(-1, 2).T
    interpolation = cast(Interpolation, header["interpolation"])  # Distribution refuses any other
    return Distribution(name, values, cdf, interpolation, header["unit"], header["source"])


def _content(text: str) -> Iterator[tuple[int, str]]:
    return ((number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip())


def _row(name: str, number: int, line: str) -> tuple[float, float]:
    try:
        value, share = line.split(",")
        return float(value), float(share)
    except ValueError:
        raise ValueError(
            f"table {name!r}, line {number}: {line[:60]!r} is not two numbers: write value,cdf, e.g. 1500,0.9"
        ) from None


def _refuse_faults(name: str, values: Floats, cdf: Floats, interpolation: str) -> None:
    """Raise ValueError at the first row that is not a point of a cumulative distribution."""
    if interpolation not in INTERPOLATIONS:
        raise ValueError(
            f"table {name!r}: interpolation {interpolation!r} is not one of {', '.join(INTERPOLATIONS)}"
        )
    if values.ndim != 1 or values.shape != cdf.shape:
        raise ValueError(
            f"table {name!r}: values {values.shape} and cdf {cdf.shape} must be two columns of one length"
        )
    if not len(values):
        raise ValueError(f"table {name!r} has no rows: write at least one row value,cdf, the last with cdf 1")
    above = np.arange(len(values)) - 1
    above[0] = 0
    faults = (
        (~(np.abs(values) <= 1e30), "the value is not a plain number up to 1e30: correct it"),
        (values < 0, "the value is negative: sizes and durations are 0 or more"),
        ((values <= 0) & (interpolation == "log"), "log interpolation needs values above 0"),
        (~((cdf >= 0) & (cdf <= 1 + 1e-9)), "cdf is outside 0..1: divide percentages by 100"),
        (values < values[above], "the value is below the row before: sort the rows"),
        (cdf < cdf[above], "cdf falls below the row before: make it cumulative"),
    )
    wrong = [(int(np.argmax(fault)), text) for fault, text in faults if fault.any()]
    if not wrong and cdf[-1] < 1 - 1e-9:
        wrong = [(len(cdf) - 1, "the last cdf must be 1: add the largest value with cdf 1")]
    if wrong:
        row, text = min(wrong, key=lambda fault: fault[0])
        raise ValueError(f"table {name!r}, row {row + 1} ({values[row]:g},{cdf[row]:g}): {text}")
