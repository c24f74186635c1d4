"""Claims: machine-checked sentences about a figure, each with bounds that only `targets.csv` may set.

A claim computes one number from the tables of the studies; the number is accepted when it lies within the
bounds of its target. A claim that cannot be computed fails with the reason: it is never dropped.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from rich.table import Table
from rich.text import Text

Tables = Mapping[str, pd.DataFrame]
"""The tidy tables of the studies that ran, by study name."""

Row = dict[str, Any]
"""One line of the scorecard, JSON-ready: id, figure, quantity, published, low, high, simulated, verdict;
beside them unit, scale ("full" or "quick") and note (why it failed, or what belongs beside the number)."""

TARGETS = Path(__file__).with_name("targets.csv")


class Target(NamedTuple):
    """What one claim is measured against."""

    id: str
    system: str
    figure: str
    quantity: str
    published: float
    low: float
    high: float
    unit: str
    source: str


@dataclass(frozen=True)
class Claim:
    """How to compute the number that target `id` judges.

    `value` reads the tables of its own study and of the studies that study needs; `beside` gives text that
    has to stand next to the number, e.g. the values of all hash keys behind a median.
    """

    id: str
    value: Callable[[Tables], float]
    beside: Callable[[Tables], str] | None = None


@cache
def targets() -> dict[str, Target]:
    """Return all targets by id, in the order of the file."""
    with TARGETS.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return {row["id"]: _target(row) for row in rows}


def judge(claim: Claim, tables: Tables, scale: str, missing: str = "") -> Row:
    """Return the scorecard line of one claim; raises ValueError when no target has its id.

    `missing` says which points have no result; it stands in the note.
    """
    value: float | None = None
    try:
        number = float(claim.value(tables))
        note = claim.beside(tables) if claim.beside else ""
        if math.isfinite(number):
            value = number
        else:
            note = f"not computed: the value is {number}; {note}"
    except Exception as error:  # whatever goes wrong inside a claim is that claim's failure, shown as such
        note = f"not computed: {type(error).__name__}: {error}"
    return _line(claim.id, value, scale, "; ".join(part for part in (note, missing) if part))


def scorecard(results: Path) -> list[Row]:
    """Return one line per claim whose results exist under `results`, in the order of the targets.

    Full-scale results stand in `results/<figure>`, quick ones in `results/quick/<figure>`; where a claim has
    both, the full one counts. Bounds and verdicts come from the targets, only the simulated number from the
    files. Raises ValueError when a claims file cannot be read.
    """
    lines = {row["id"]: row for scale in ("quick", "full") for row in claims_of(results, scale)}
    return [lines[id_] for id_ in targets() if id_ in lines]


def claims_of(results: Path, scale: str) -> list[Row]:
    """Return the scorecard lines of one scale ("full" or "quick") alone."""
    files = sorted(scale_folder(results, scale).glob("*/claims.json"))
    return [line for file in files for line in _read(file, scale)]


def scale_folder(results: Path, scale: str) -> Path:
    """Return where the figures of a scale stand: `results` itself, or `results/quick`."""
    return results if scale == "full" else results / "quick"


def scorecard_table(lines: Iterable[Row]) -> Table:
    """Return the scorecard as a table for the terminal."""
    table = Table(box=None, pad_edge=False)
    for name in ("claim", "quantity", "published", "accepted", "simulated", "verdict"):
        number = name in ("published", "accepted", "simulated")
        table.add_column(name, justify="right" if number else "left", no_wrap=name != "quantity")
    for line in lines:
        where = f"{line['figure']}, {line['scale']} scale"
        table.add_row(
            line["id"],
            Text.assemble(f"{line['quantity']}, {line['unit']} ", (f"({where}) {line['note']}", "dim")),
            f"{line['published']:g}",
            accepted(line),
            simulated(line),
            Text(line["verdict"], "green" if line["verdict"] == "pass" else "bold red"),
        )
    return table


def accepted(line: Row) -> str:
    """Return the accepted range as text."""
    return f"{line['low']:g} to {line['high']:g}" if line["low"] != line["high"] else f"{line['low']:g}"


def simulated(line: Row) -> str:
    """Return the simulated value as text; a dash where there is none."""
    return "–" if line["simulated"] is None else f"{line['simulated']:.4g}"


def _line(id_: str, value: float | None, scale: str, note: str) -> Row:
    if id_ not in targets():
        raise ValueError(f"claim {id_!r} has no target: use an id of {TARGETS.name}")
    t = targets()[id_]
    return {
        "id": t.id,
        "figure": t.figure,
        "quantity": t.quantity,
        "unit": t.unit,
        "published": t.published,
        "low": t.low,
        "high": t.high,
        "simulated": value,
        "verdict": "pass" if value is not None and t.low <= value <= t.high else "fail",
        "scale": scale,
        "note": note,
    }


def _read(file: Path, scale: str) -> list[Row]:
    try:
        return [_line(r["id"], r["simulated"], scale, r["note"]) for r in json.loads(file.read_text("utf-8"))]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} cannot be read ({error}): run its figure again") from error


def _target(row: dict[str, str]) -> Target:
    return Target(
        id=row["id"],
        system=row["system"],
        figure=row["figure"],
        quantity=row["quantity"],
        published=_number(row["published"]),
        low=_number(row["low"]),
        high=_number(row["high"]),
        unit=row["unit"],
        source=row["source"],
    )


def _number(text: str) -> float:
    """Return an int where the text is one, so that JSON shows 1 and not 1.0."""
    value = float(text)
    return int(value) if value.is_integer() else value
