"""Claims: machine-checked sentences about a figure, each with bounds that were fixed beforehand.

A claim computes one number from the tables of the studies; the number is accepted when it lies within the
bounds of its target. The targets of published figures stand in `targets.csv` and nowhere else; a study of
one's own brings its own. A claim that cannot be computed fails with the reason: it is never dropped.
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
    """What one claim is measured against: a sentence about a quantity, and the range that is accepted."""

    id: str
    system: str  # whose claim it is: RSS++, Cheetah ..., or your own
    figure: str  # the study that shows it
    quantity: str  # the sentence
    published: float  # the measured or derived value
    low: float
    high: float
    unit: str
    source: str


@dataclass(frozen=True)
class Claim:
    """How to compute the number that target `id` judges.

    `value` reads the tables of its own study and of the studies that study needs; `beside` gives text that
    has to stand next to the number, e.g. the values of all hash keys behind a median. `target` is needed
    where `targets.csv` has none of that id.

    >>> even = Target("MY-1", "mine", "my-sweep", "RSS++ is no slower", 1.0, 0.9, 1.0, "ratio", "a guess")
    >>> claim = Claim("MY-1", lambda tables: tables["my-sweep"]["ratio"].median(), target=even)
    """

    id: str
    value: Callable[[Tables], float]
    beside: Callable[[Tables], str] | None = None
    target: Target | None = None


@cache
def targets() -> dict[str, Target]:
    """Return all targets by id, in the order of the file."""
    with TARGETS.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return {row["id"]: _target(row) for row in rows}


def judge(claim: Claim, tables: Tables, scale: str, missing: str = "") -> Row:
    """Return the scorecard line of one claim; raises ValueError when it has no target, or two.

    `missing` says which points have no result; it stands in the note.
    """
    target = _target_of(claim)
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
    return _line(target, value, scale, "; ".join(part for part in (note, missing) if part))


def scorecard(results: Path) -> list[Row]:
    """Return one line per claim whose results exist under `results`, in the order of the targets.

    Full-scale results stand in `results/<figure>`, quick ones in `results/quick/<figure>`; where a claim has
    both, the full one counts. Bounds come from `targets.csv` wherever it has the id, and every verdict is
    judged anew: of such a claim only the simulated number is taken from the files. Raises ValueError when a
    claims file cannot be read.
    """
    lines = {row["id"]: row for scale in ("quick", "full") for row in claims_of(results, scale)}
    return [lines[id_] for id_ in dict.fromkeys([*targets(), *lines]) if id_ in lines]


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


def _target_of(claim: Claim) -> Target:
    known = targets().get(claim.id)
    if known is None and claim.target is None:
        raise ValueError(
            f"claim {claim.id!r} has no target: use an id of {TARGETS.name}, or give it a target"
        )
    if known is not None and claim.target not in (None, known):
        raise ValueError(
            f"claim {claim.id!r} has its target in {TARGETS.name}: choose another id for your own"
        )
    return known or claim.target  # type: ignore[return-value]  # one of them is there


def _line(t: Target, value: float | None, scale: str, note: str) -> Row:
    return {
        "id": t.id,
        "system": t.system,
        "figure": t.figure,
        "quantity": t.quantity,
        "unit": t.unit,
        "source": t.source,
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
        rows = json.loads(file.read_text("utf-8"))
        return [_line(_target_in(r), r["simulated"], scale, r["note"]) for r in rows]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} cannot be read ({error}): run its figure again") from error


def _target_in(row: Row) -> Target:
    """Return the target of a line of a claims file: that of `targets.csv`, else the one it holds itself."""
    known = targets().get(row["id"])
    return known or Target(**{name: row[name] for name in Target._fields})


def _target(row: dict[str, str]) -> Target:
    values: dict[str, Any] = row | {name: _number(row[name]) for name in ("published", "low", "high")}
    return Target(**values)


def _number(text: str) -> float:
    """Return an int where the text is one, so that JSON shows 1 and not 1.0."""
    value = float(text)
    return int(value) if value.is_integer() else value
