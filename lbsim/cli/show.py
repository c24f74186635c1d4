"""Results as text: one column a variant, bars for cores or servers; 80 columns, with or without colour."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lbsim.metrics import AnyResult, RequestResult, Result
from lbsim.metrics.intervals import Interval, mean_interval, paired_interval
from lbsim.metrics.quantities import Quantity, core_load, quantities_of
from lbsim.units import short

Variants = Mapping[str, Sequence[AnyResult]]
"""Label -> one result per replication."""

Loaded = Result | RequestResult
"""What has the load of each core, or of each server."""

MAX_CORES: Final = 32  # rows of bars; --json has all
EIGHTHS: Final = " ▏▎▍▌▋▊▉█"


def estimate(quantity: Quantity, results: Sequence[AnyResult]) -> Interval | None:
    """Return the mean over replications with its 95 % t interval; None where a replication says nothing.

    Of a latency quantile it is the mean of the replications' own quantiles.
    """
    values = np.array([quantity.of(r) for r in results], dtype=float)
    return None if np.isnan(values).any() else mean_interval(values)


def difference(quantity: Quantity, a: Sequence[AnyResult], b: Sequence[AnyResult]) -> Interval | None:
    """Return the mean paired difference a - b over replications that shared their traffic, or None."""
    x, y = ([quantity.of(r) for r in results] for results in (a, b))
    return None if np.isnan([*x, *y]).any() else paired_interval(x, y)


def number(value: float, like: float | None = None) -> str:
    """Return a value in about four digits, or with as many decimals as `like` would get."""
    size = abs(value if like is None else like)
    if math.isnan(size):
        return "–"
    decimals = 0 if size >= 1000 or size == 0 else max(0, 3 - max(0, math.floor(math.log10(size))))
    if size < 0.001 and size:
        return f"{value:.2g}"
    return f"{value:,.{min(3, decimals)}f}"


def _cell(interval: Interval | None, *, signed: bool = False) -> str:
    if interval is None:
        return "–"
    sign = "+" if signed and interval.mean > 0 else ""
    half = interval.mean - interval.low
    if half > 0 and abs(interval.mean) >= 1e6:
        return f"{sign}{short(interval.mean)} ± {short(half)}"
    return f"{sign}{number(interval.mean)}" + (f" ± {number(half, interval.mean)}" if half > 0 else "")


def show_variants(console: Console, variants: Variants) -> None:
    """Print the comparison: quantities, the control plane's counts, laws, cores, notices."""
    labels = list(variants)
    replications = len(variants[labels[0]])
    paired = len(labels) == 2 and replications > 1
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("", style="dim", justify="right", no_wrap=True)
    table.add_column("", style="dim", no_wrap=True)
    for label in labels:
        table.add_column(label, justify="right", header_style="bold", overflow="fold")
    if paired:
        table.add_column(f"{labels[1]} − {labels[0]}", justify="right")
    for quantity in _worth_a_row(variants):
        cells = [_cell(estimate(quantity, results)) for results in variants.values()]
        if paired:
            gap = difference(quantity, variants[labels[1]], variants[labels[0]])
            cells.append(_cell(gap, signed=True))
        table.add_row(quantity.label, quantity.unit, *cells)
    controls = [[getattr(r, "control", {}) for r in results] for results in variants.values()]
    for name in dict.fromkeys(name for runs in controls for name in runs[0]):
        counts = [[run[name] for run in runs if name in run] for runs in controls]
        table.add_row(name, "", *(short(float(np.mean(count))) if count else "" for count in counts))
    drops = [[getattr(r, "drops", {}) for r in results] for results in variants.values()]
    for cause in _causes(drop for runs in drops for drop in runs):
        counts = [[run.get(cause, 0) for run in runs] for runs in drops]
        table.add_row(f"dropped: {cause}", "", *(short(float(np.mean(count))) for count in counts))
    table.add_row("laws", "", *(_laws(results) for results in variants.values()))
    console.print(table)
    if replications > 1:
        console.print(f"[dim]means of {replications} replications ± half of the 95 % t interval[/]")
    loaded = {
        label: runs
        for label, results in variants.items()
        if (runs := [r for r in results if isinstance(r, Loaded)])
    }
    if loaded:
        console.print()
        console.print(_cores(console, loaded))
    notices = dict.fromkeys(n for results in variants.values() for r in results for n in r.notices)
    for notice in notices:
        console.print(Text(f"note: {notice}", style="yellow"))


def _worth_a_row(variants: Variants) -> list[Quantity]:
    """Return the quantities to show; not the cores in use where all always are."""
    runs = [r for results in variants.values() for r in results]
    all_serve = all(r.cores_used == len(r.busy) for r in runs if isinstance(r, Result))
    quantities = {q.name: q for r in runs for q in quantities_of(r.scenario)}
    return [q for name, q in quantities.items() if not (all_serve and name == "cores_mean")]


def _causes(drops: Iterable[Mapping[str, int]]) -> list[str]:
    """Return why packets were dropped, where that was not only at full rings."""
    counts = sum(map(Counter, drops), start=Counter[str]())  # drops what is 0
    return list(counts) if set(counts) - {"ring full"} else []


def _laws(results: Sequence[AnyResult]) -> Text:
    laws = [holds for r in results for holds in r.laws().values()]
    if all(laws):
        return Text(f"all {len(results[0].laws())} hold", style="green")
    return Text(f"{laws.count(False)} BROKEN", style="bold red")


def _load(result: Loaded) -> NDArray[np.float64]:
    return core_load(result) if isinstance(result, Result) else result.server_load


def _units(result: Loaded) -> NDArray[np.int64]:
    return result.processed if isinstance(result, Result) else result.during.placed


def _cores(console: Console, variants: Mapping[str, Sequence[Loaded]]) -> Table:
    """Load, and packets or requests where there is room, of each core or server: means over replications."""
    loads = {label: np.mean([_load(r) for r in results], axis=0) for label, results in variants.items()}
    packets = {label: np.mean([_units(r) for r in results], axis=0) for label, results in variants.items()}
    first, cores = next(iter(variants.values()))[0], max(map(len, loads.values()))
    what, workers = ("core", first.workers) if isinstance(first, Result) else ("server", cores)
    counted, names = len(variants) <= 3, 12 if cores > workers else len(what) + 4
    width = max(4, min(20, (console.width - names) // len(variants) - (16 if counted else 8)))
    table = Table(box=None, pad_edge=False, show_header=len(variants) > 1, header_style="bold")
    table.add_column("", style="dim", justify="right", no_wrap=True)
    for label in variants:
        table.add_column(label, width=width, overflow="fold")
        table.add_column("", justify="right", no_wrap=True)
        if counted:
            table.add_column("", justify="right", no_wrap=True)
    for core in range(min(cores, MAX_CORES)):
        cells: list[str | Text] = []
        for label in variants:
            if core >= len(loads[label]):  # no dispatcher here
                cells += [""] * (3 if counted else 2)
                continue
            load = float(loads[label][core])
            colour = "red" if load > 0.98 else "yellow" if load > 0.9 else "cyan"
            filled = bar(load, width, ascii_only=console.options.ascii_only)
            cells += [Text(filled, style=colour), f"{load:.0%}"]
            cells += [short(float(packets[label][core]))] if counted else []
        table.add_row(f"{what} {core}" if core < workers else "hands over", *cells)
    if cores > MAX_CORES:
        table.caption = f"and {cores - MAX_CORES} more {what}s: --json has them all"
    return table


def bar(share: float, width: int, *, ascii_only: bool = False) -> str:
    """Return a bar of `width` places filled to a share of 0..1, in eighths of a place.

    >>> bar(0.5, 4)
    '██  '
    """
    filled = max(0.0, min(1.0, share)) * width
    if ascii_only:
        return ("#" * round(filled)).ljust(width, ".")
    whole = int(filled)
    part = EIGHTHS[int((filled - whole) * 8)] if whole < width else ""
    return ("█" * whole + part.strip()).ljust(width)
