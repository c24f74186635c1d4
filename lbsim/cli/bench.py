"""`lbsim bench`: the race as a table."""

from __future__ import annotations

import json
import math

import typer
from rich.console import Console
from rich.table import Table

from lbsim.bench import Row, bench
from lbsim.cli.app import CLAIM_FAILED
from lbsim.cli.show import bar, number
from lbsim.units import short

WIDTH = 16


def bench_command(quick: bool, as_json: bool) -> int:
    """Run the bench, print it, and return the exit code: 1 when engines disagree."""
    out, err = Console(highlight=False), Console(stderr=True, highlight=False)
    if err.is_terminal:
        with err.status("") as status:
            rows = bench(quick, status.update)
    else:
        rows = bench(quick)
    if as_json:
        typer.echo(json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False))
    else:
        for case in dict.fromkeys(row["case"] for row in rows):
            lines = [row for row in rows if row["case"] == case]
            out.print(case, style="bold")
            out.print(_memory(lines) if case == "memory" else _race(lines, out.options.ascii_only))
            out.print()
        out.print(
            "agrees: mean within 4 standard errors of the formula; others: to the last ps or connection",
            style="dim",
        )
    return CLAIM_FAILED if any(row["agrees"] is False for row in rows) else 0


def _race(rows: list[Row], ascii_only: bool) -> Table:
    """Speeds of one case; bars are logarithmic, a full one is the fastest and an empty one 100/s."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    speed, latency = f"{rows[0]['unit']}/s", "mean µs" * (rows[0]["mean_us"] is not None)
    for name in ("engine", speed, "", "lbsim is", latency, "agrees"):
        table.add_column(name, justify="right" if name in (speed, "lbsim is", latency) else "left")
    fastest = max(row["units_per_s"] or 1 for row in rows)
    for row in rows:
        if row["units_per_s"] is None:
            table.add_row(row["engine"], "[dim]not installed[/]")
            continue
        share = math.log10(row["units_per_s"] / 100) / math.log10(fastest / 100)
        table.add_row(
            row["engine"],
            short(row["units_per_s"]),
            f"[cyan]{bar(share, WIDTH, ascii_only=ascii_only)}[/]",
            f"{number(row['ratio'])}x" if row["ratio"] != 1 else "",
            "" if row["mean_us"] is None else number(row["mean_us"]),
            {True: "[green]yes[/]", None: ""}.get(row["agrees"], "[bold red]NO[/]"),
        )
    return table


def _memory(rows: list[Row]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("packets", "peak memory", "packets/s"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(f"{row['units']:,}", f"{row['peak_mb']:.0f} MB", short(row["units_per_s"]))
    return table
