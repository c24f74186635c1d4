"""`lbsim sweep`: run a study file, show its summary, say what is missing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd
import typer
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from lbsim.cli.app import INTERRUPTED, POINTS_FAILED
from lbsim.cli.show import number
from lbsim.metrics.quantities import BY_NAME
from lbsim.study.running.executors import Execution
from lbsim.study.sweeps.labels import as_text
from lbsim.study.sweeps.sweep import SweepResult, run_sweep
from lbsim.study.sweeps.sweepfile import load_sweep

FIRST: Final = (
    "latency_p99_us", "throughput_gbps", "drop_pct", "latency_p50_us", "core_load_max_pct", "imbalance_pct",
    "latency_p999_us", "latency_mean_us", "offered_gbps",
    "broken_pct", "excess_load_mean_pct", "memory_kb", "connections", "completed_per_s", "broken",
    "server_load_mean_pct", "given_up_pct", "server_excess_pct", "requests",
)  # fmt: skip
"""Quantities in the order in which they get a column, while there is room."""

MAX_ROWS: Final = 60
MAX_LINES: Final = 10  # of warnings
MAX_FAILURES: Final = 100


def sweep_command(
    study: Path, execution: Execution, replications: int | None, results: Path, as_json: bool
) -> int:
    """Run a study file and return the exit code: 3 when points failed, 130 when some were left."""
    out, err = Console(highlight=False), Console(stderr=True, highlight=False, soft_wrap=True)
    sweep = load_sweep(study)
    if replications is not None:
        sweep = sweep.replicated(replications)
    result = run_sweep(sweep, results=results, execution=execution)
    if as_json:
        typer.echo(json.dumps(as_data(result), indent=1, ensure_ascii=False, allow_nan=False))
    else:
        show_sweep(out, result)
    for failure in result.failures[-MAX_FAILURES:]:  # the last may say that there are no tables
        err.print(f"{sweep.name}: {failure}", markup=False)
    if len(result.failures) > MAX_FAILURES:
        err.print(
            f"{sweep.name}: {len(result.failures)} failures, the last {MAX_FAILURES} shown: see column note"
        )
    if result.failures:
        return POINTS_FAILED
    if result.left:
        err.print(f"the time is up, {result.left} points are left: the same command again resumes")
        return INTERRUPTED
    return 0


def as_data(result: SweepResult) -> dict[str, Any]:
    """Return a sweep JSON-ready: what is missing, warnings, and the summary, a row a configuration."""
    rows = result.summary.to_dict("records")
    return {
        "name": result.sweep.name,
        "folder": str(result.folder),
        "points": len(result.table),
        "failures": list(result.failures),
        "left": result.left,
        "warnings": list(result.warnings),
        "summary": [{k: None if pd.isna(v) else v for k, v in row.items()} for row in rows],
    }


def show_sweep(console: Console, result: SweepResult) -> None:
    """Print the summary, the warnings and where the files are."""
    sweep, summary = result.sweep, result.summary
    about = f"  {sweep.base.name}, {len(summary)} configurations"
    console.print(Text.assemble((sweep.name, "bold"), about), soft_wrap=True)
    asked = [sweep.until.quantity] if sweep.until else []
    asked += list(sweep.figure.y) if sweep.figure else []
    wanted = [name for name in dict.fromkeys([*asked, *FIRST]) if name in summary]
    console.print(_table(result, _fitting(console, result, wanted)))
    if len(summary) > MAX_ROWS:
        console.print(f"and {len(summary) - MAX_ROWS} more configurations: see summary.csv", style="dim")
    if (summary["n"] > 1).any():
        level = sweep.until.level if sweep.until else 0.95
        which = f"means over n replications ± half of the {100 * level:g} % interval"
        pooled = "; p50 to p99.99 are of all of them together" if "latency_p50_us" in summary else ""
        console.print(which + pooled, style="dim")
    for warning in result.warnings[:MAX_LINES]:
        console.print(Text(f"note: {warning}", style="yellow"))
    if len(result.warnings) > MAX_LINES:
        console.print(
            f"and {len(result.warnings) - MAX_LINES} more notes: see provenance.json", style="yellow"
        )
    console.print(f"table, summary and provenance: {result.folder}", soft_wrap=True, markup=False)


def _fitting(console: Console, result: SweepResult, wanted: Iterable[str]) -> list[str]:
    """Return the first of the wanted quantities that fit the console, in the order of all tables."""
    room = console.options.update(max_width=10 * console.width)
    fitting: list[str] = []
    for name in wanted:
        wider = [known for known in BY_NAME if known in (*fitting, name)]
        if fitting and Measurement.get(console, room, _table(result, wider)).maximum > console.width:
            break
        fitting = wider
    return fitting


def _table(result: SweepResult, quantities: Sequence[str]) -> Table:
    """Return the summary of some quantities for the terminal."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    labels = list(result.summary.columns[: result.summary.columns.get_loc("n")])
    for name, short in zip(labels, _short(labels), strict=True):
        text = not pd.api.types.is_numeric_dtype(result.summary[name])
        table.add_column(short, justify="left" if text else "right", no_wrap=True)
    table.add_column("n", justify="right", style="dim")
    for name in quantities:
        quantity = BY_NAME[name]
        table.add_column(f"{quantity.label}\n{quantity.unit}", justify="right", no_wrap=True)
    for row in result.summary.head(MAX_ROWS).to_dict("records"):
        cells = [_estimate(row[name], row[f"{name}_low"], row[f"{name}_high"]) for name in quantities]
        table.add_row(*("" if pd.isna(row[n]) else as_text(row[n]) for n in labels), str(row["n"]), *cells)
    return table


def _short(labels: Sequence[str]) -> list[str]:
    """Return the last parts of fields, as few as tell them apart."""
    last = [name.rpartition(".")[2] for name in labels]
    return [
        end if last.count(end) == 1 and end != "kind" else ".".join(name.split(".")[-2:])
        for name, end in zip(labels, last, strict=True)
    ]


def _estimate(mean: float, low: float, high: float) -> str:
    if pd.isna(mean):
        return "–"
    half = (high - low) / 2
    return number(mean) + (f" ± {number(half, mean)}" if half > 0 else "")
