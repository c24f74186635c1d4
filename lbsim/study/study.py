"""A study: one figure, from scenarios to claims, always along the same way.

    base + points -> results (the store) -> tidy table (CSV) -> figure (PNG, PDF, SVG) and claims.json

The claims are judged on the table as it was written, so anyone can compute them again from the CSV.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from lbsim.engine.run import run as run_scenario
from lbsim.scenario import AnyScenario, dump_toml, override
from lbsim.study.claims import Claim, Row, Tables, judge, scale_folder
from lbsim.study.folder import Folder
from lbsim.study.plot import Panel
from lbsim.study.points.cell import Cell, compute_cell
from lbsim.study.provenance import provenance
from lbsim.study.running.executors import Execution
from lbsim.study.running.runner import run_points
from lbsim.study.running.watch import Watch, silent
from lbsim.study.running.worker import Run
from lbsim.study.sweeps.labels import Label

Measured = Mapping[str, Any] | Sequence[Mapping[str, Any]]
"""What is read off a result: the numbers of its row of the table, or of several rows, e.g. one a second."""


class Point(NamedTuple):
    """One scenario of a study: what differs from the base, and how its row of the table is labelled."""

    labels: Mapping[str, Label]
    overrides: Mapping[str, Any]  # dotted field -> value, as `lbsim.scenario.override` reads them


@dataclass(frozen=True)
class Study:
    """Everything one figure needs, as data.

    `points(full)` gives the points of the full or the quick scale; `measure` turns a result into the numbers
    of its row, or of its rows. A study without a base has points of any kind, and `compute`, a function of a
    module, makes the row of one. `needs` names the studies whose tables the claims also read; they run first.
    """

    name: str
    title: str
    claims: tuple[Claim, ...]
    base: AnyScenario | None = None
    points: Callable[[bool], Sequence[Any]] = lambda full: ()
    measure: Callable[[Any], Measured] = lambda result: {}
    compute: Callable[[Any], Mapping[str, Any]] | None = None
    size: Callable[[Any], float] = lambda point: 1.0  # how much work a computed point is
    published: Path | None = None  # CSV of the published points
    panels: tuple[Panel, ...] = ()  # what to draw
    needs: tuple[str, ...] = ()


class Ran(NamedTuple):
    """What running a study gave."""

    name: str
    table: pd.DataFrame
    claims: list[Row]
    failed: list[str]  # one line a point that has no result
    left: int = 0  # points that the time limit kept from starting


def run_study(
    study: Study,
    *,
    full: bool = False,
    results: Path = Path("results"),
    tables: Tables | None = None,
    execution: Execution | None = None,
    watch: Watch = silent,
    run: Run = run_scenario,
) -> Ran:
    """Run what is missing of a study and write its folder; return the table, the claims and the failures.

    Writes table, figure, claims.json, scenario.toml and provenance.json to `results/<name>` at full scale, to
    `results/quick/<name>` otherwise. `tables` holds the tables of the studies in `needs`.
    """
    scale = "full" if full else "quick"
    home = scale_folder(results, scale)
    work = _work(study, full, run)
    done = run_points(
        work.units, home / "points", work.measure,
        run=work.run, execution=execution or Execution(), watch=watch,
        title=study.name, label=work.names.__getitem__,
    )  # fmt: skip
    failed = [f"{work.names[f.point]}: {f.reason}" for f in done.failures]
    made = pd.DataFrame(
        {**label, **row}
        for label, measured in zip(work.labels, done.values, strict=True)
        for row in ([measured] if isinstance(measured, Mapping) else measured or ())
    )
    missing = [f"{len(failed)} points failed, the first {failed[0]}"] if failed else []
    missing += [f"{done.left} points were left when the time was up"] if done.left else []
    folder = Folder(home / study.name)
    table = folder.table(study.name, made)
    claims = [
        judge(claim, {**(tables or {}), study.name: table}, scale, "; ".join(missing))
        for claim in study.claims
    ]
    folder.json("claims.json", claims)
    published = pd.read_csv(study.published, comment="#") if study.published else pd.DataFrame()
    folder.figure(study.name, study.panels, table, published)
    if study.base is not None:
        folder.text("scenario.toml", dump_toml(study.base))
    command = f"lbsim figures {study.name}" + (" --full" if full else "")
    about = provenance(study.name, study.title, scale, command, study.base, work.units, failed, done.left)
    folder.close(about)
    return Ran(study.name, table, claims, failed, done.left)


def figures(
    names: Sequence[str] | None = None,
    *,
    studies: Sequence[Study],
    full: bool = False,
    results: Path = Path("results"),
    execution: Execution | None = None,
    watch: Watch = silent,
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
    execution = execution or Execution()  # one for all: its time limit counts from now
    ran: list[Ran] = []
    for study in studies:
        if study.name in wanted:
            tables = {r.name: r.table for r in ran if r.name in study.needs}
            one = run_study(
                study, full=full, results=results, tables=tables, execution=execution, watch=watch, run=run
            )
            ran.append(one)
    return ran


class _Work(NamedTuple):
    """The points of a study, ready to run."""

    units: Sequence[Any]  # scenarios or cells
    labels: Sequence[Mapping[str, Label]]  # what stands before the numbers of each in the table
    names: Sequence[str]  # for messages
    measure: Callable[[Any], Measured]
    run: Run


def _work(study: Study, full: bool, run: Run) -> _Work:
    points = study.points(full)
    if study.compute is not None:
        cells = [Cell(study.compute, point, study.size(point)) for point in points]
        return _Work(cells, [{}] * len(points), list(map(repr, points)), dict, compute_cell)
    scenarios = [override(study.base, point.overrides) for point in points] if study.base else []
    labels = [point.labels for point in points]
    return _Work(scenarios, labels, [str(dict(label)) for label in labels], study.measure, run)
