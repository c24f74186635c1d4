"""A study: one figure, from scenarios to claims, always along the same way.

    base + points -> results (the store) -> tidy table (CSV) -> figure (PNG, PDF) and claims.json

The claims are judged on the table as it was written, so anyone can compute them again from the CSV.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure
from rich.console import Console

from lbsim.engine.run import run as run_scenario
from lbsim.metrics.result import Result
from lbsim.scenario import Scenario, dump_toml, override
from lbsim.study import plot, store
from lbsim.study.claims import Claim, Row, Tables, judge, scale_folder
from lbsim.study.provenance import provenance
from lbsim.study.sweep import Run, sweep

Label = str | int | float


class Point(NamedTuple):
    """One scenario of a study: what differs from the base, and how its row of the table is labelled."""

    labels: Mapping[str, Label]
    overrides: Mapping[str, Any]  # dotted field -> value, as `lbsim.scenario.override` reads them


@dataclass(frozen=True)
class Study:
    """Everything one figure needs, as data.

    `points(full)` gives the points of the full or the quick scale; `measure` turns a result into the numbers
    of its row. A study without a base simulates nothing: `compute` gives its table. `needs` names the studies
    whose tables the claims also read; they run first.
    """

    name: str
    title: str
    claims: tuple[Claim, ...]
    base: Scenario | None = None
    points: Callable[[bool], Sequence[Point]] = lambda full: ()
    measure: Callable[[Result], Mapping[str, float]] = lambda result: {}
    compute: Callable[[], pd.DataFrame] | None = None
    published: Path | None = None  # CSV of the published points
    draw: Callable[[pd.DataFrame, pd.DataFrame], Figure] | None = None  # (table, published)
    needs: tuple[str, ...] = ()


class Ran(NamedTuple):
    """What running a study gave."""

    name: str
    table: pd.DataFrame
    claims: list[Row]
    failed: list[str]  # one line a point that has no result


def run_study(
    study: Study,
    *,
    full: bool = False,
    jobs: int | None = None,
    results: Path = Path("results"),
    tables: Tables | None = None,
    console: Console | None = None,
    run: Run = run_scenario,
) -> Ran:
    """Run what is missing of a study and write its folder; return the table, the claims and the failures.

    Writes table, figure, claims.json, scenario.toml and provenance.json to `results/<name>` at full scale, to
    `results/quick/<name>` otherwise. `tables` holds the tables of the studies in `needs`.
    """
    scale = "full" if full else "quick"
    home = scale_folder(results, scale)
    folder = home / study.name
    wanted = study.points(full)
    scenarios = _scenarios(study, wanted)
    got, failures = sweep(scenarios, home / "points", run, jobs=jobs, title=study.name, console=console)
    failed = [f"{dict(wanted[f.point].labels)}: {f.reason}" for f in failures]
    rows = [
        {**point.labels, **study.measure(result)}
        for point, result in zip(wanted, got, strict=True)
        if result is not None
    ]
    made = study.compute() if study.compute else pd.DataFrame(rows)
    store.write_whole(folder / f"{study.name}.csv", made.to_csv(index=False, float_format="%.9g").encode())
    table = pd.read_csv(folder / f"{study.name}.csv") if len(made) else made
    files = {f"{study.name}.{form}": content for form, content in _figure(study, table)}
    missing = f"{len(failed)} points failed, the first {failed[0]}" if failed else ""
    claims = [judge(claim, {**(tables or {}), study.name: table}, scale, missing) for claim in study.claims]
    files["claims.json"] = _json(claims)
    if study.base is not None:
        files["scenario.toml"] = dump_toml(study.base).encode()
    for name, content in files.items():
        store.write_whole(folder / name, content)
    about = provenance(study.name, study.title, scale, {s.seed for s in scenarios}, len(scenarios), failed)
    about["files"] = store.digests(folder, [f"{study.name}.csv", *files])
    store.write_whole(folder / "provenance.json", _json(about))
    return Ran(study.name, table, claims, failed)


def figures(
    names: Sequence[str] | None = None,
    *,
    studies: Sequence[Study],
    full: bool = False,
    jobs: int | None = None,
    results: Path = Path("results"),
    console: Console | None = None,
    run: Run = run_scenario,
) -> list[Ran]:
    """Run the named studies (all for None) in the order of `studies`, those they need before them.

    Raises ValueError for a name that no study has.
    """
    known = {study.name: study for study in studies}
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ValueError(f"figure {unknown[0]!r} is unknown: choose from {', '.join(known)}")
    wanted = set(names or known)
    for study in reversed(studies):  # a study comes after those it needs
        wanted |= set(study.needs) if study.name in wanted else set()
    ran: list[Ran] = []
    for study in studies:
        if study.name in wanted:
            tables = {r.name: r.table for r in ran if r.name in study.needs}
            ran.append(
                run_study(
                    study, full=full, jobs=jobs, results=results, tables=tables, console=console, run=run
                )
            )
    return ran


def _scenarios(study: Study, wanted: Sequence[Point]) -> list[Scenario]:
    if study.base is None:
        return []
    return [override(study.base, dict(point.overrides)) for point in wanted]


def _figure(study: Study, table: pd.DataFrame) -> Iterator[tuple[str, bytes]]:
    if study.draw is None or table.empty:
        return
    published = pd.read_csv(study.published, comment="#") if study.published else pd.DataFrame()
    with plot.style():
        made = study.draw(table, published)
    for form in ("png", "pdf"):
        yield form, plot.render(made, form)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
