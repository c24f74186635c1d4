"""A sweep from its plan to its folder: pilots and rounds of replications, then tables, figure, provenance."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

import pandas as pd
from rich.console import Console

from lbsim.balancer import policies
from lbsim.engine.connection.run import prepare
from lbsim.engine.request.run import prepare as prepare_requests
from lbsim.engine.run import prepare as prepare_packets
from lbsim.engine.run import run as run_scenario
from lbsim.metrics.quantities import BY_NAME
from lbsim.scenario import AnyScenario, ConnectionScenario, RequestScenario, dump_toml
from lbsim.scenario.errors import refuse
from lbsim.study.folder import Folder
from lbsim.study.plot import Panel
from lbsim.study.points.keys import files_of, policy_named
from lbsim.study.points.store import way_out
from lbsim.study.provenance import provenance
from lbsim.study.running.executors import Execution, open_pool
from lbsim.study.running.watch import open_watch
from lbsim.study.running.worker import Run
from lbsim.study.sweeps.labels import Label, as_text, axis_text, none_of
from lbsim.study.sweeps.plan import Sweep
from lbsim.study.sweeps.rounds import Rounds
from lbsim.study.sweeps.sweepfile import dump_sweep
from lbsim.study.sweeps.table import Row, differences, summary_table, tidy_table


@dataclass(frozen=True, repr=False)
class SweepResult:
    """What a sweep gave, for pandas: `table` has a row a point, `summary` a row a configuration.

    A latency quantile is that of one run in `table` and `differences`, of all replications
    together in `summary`. `failures` and `warnings` are lines that name their point, or `folder` where it
    could not be written; `left` counts the points that the time limit kept from starting (the same sweep
    again computes them). Everything also stands in `folder`.
    """

    sweep: Sweep
    folder: Path
    table: pd.DataFrame
    summary: pd.DataFrame
    failures: tuple[str, ...]
    left: int
    warnings: tuple[str, ...]

    def differences(
        self, axis: str, quantity: str, *, against: Label | None = None, level: float = 0.95
    ) -> pd.DataFrame:
        """Return the mean paired differences of a quantity along an axis; see `table.differences`."""
        return differences(self.table, axis, quantity, against=against, level=level)

    def __repr__(self) -> str:
        parts = [f"{len(self.table)} points of {len(self.summary)} configurations"]
        parts += [f"{len(self.failures)} failed"] if self.failures else []
        parts += [f"{self.left} left"] if self.left else []
        parts += [f"{len(self.warnings)} warning{'s' * (len(self.warnings) > 1)}"] if self.warnings else []
        return f"<sweep {self.sweep.name}: {', '.join(parts)}; files in {self.folder}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        estimates = self.summary.filter(regex="^(?!.*_(low|high)$)")
        shown = estimates.to_html(index=False, max_rows=40, float_format="{:.4g}".format)
        return f"<p>{escape(repr(self))}</p>{shown}"


def run_sweep(
    sweep: Sweep,
    *,
    results: str | Path = "results",
    execution: Execution | None = None,
    progress: bool = True,
    run: Run = run_scenario,
) -> SweepResult:
    """Run what is missing of a sweep, write `results/<name>`, and return its tables.

    Points stand in `results/points`: one that is there is not computed again, whichever sweep it was for.
    `progress` shows how far it is, on stderr or in the notebook. Raises ScenarioError before the first packet
    for what cannot run, ValueError where the folder belongs to a figure; KeyboardInterrupt keeps all points
    that are done.
    """
    folder = Path(results) / sweep.name
    if (folder / "claims.json").exists():
        raise ValueError(
            f"{folder} holds a published figure; give the sweep another name than {sweep.name!r}"
        )
    _check(sweep)
    execution = execution or Execution()
    pool = open_pool(execution)
    with open_watch(Console(stderr=True) if progress else None) as watch:
        try:
            rounds = Rounds(sweep, Path(results) / "points", execution, pool, watch, run)
            rounds.warm_up()
            rounds.replicate()
        finally:
            pool.close()
    rows = rounds.rows()
    result = SweepResult(
        sweep=sweep,
        folder=folder,
        table=tidy_table(rows),
        summary=summary_table(rows, sweep.until.level if sweep.until else 0.95),
        failures=tuple(f"{row.name}: {row.problem}" for row in rows if row.problem),
        left=sum(row.status == "left" for row in rows),
        warnings=(*rounds.warnings(), *_notes(rows)),
    )
    try:
        _write(result, [row.scenario for row in rows])
    except OSError as error:  # hours of work are in these tables: hand them over all the same
        why = f"{folder}: cannot be written: {error.strerror or error}"
        lost = f"{why}; {way_out(error)}, then the same sweep writes it"
        return replace(result, failures=(*result.failures, lost))
    return result


def _check(sweep: Sweep) -> None:
    """Refuse what a scenario names and nobody has, before the first packet: policies, captures."""
    scenarios = [configuration.scenario for configuration in sweep.configurations]
    known = policies()
    named = dict.fromkeys(named for s in scenarios if (named := policy_named(s)) is not None)
    problems = [f"{field}: {none_of(name, sorted(known))}" for field, name in named if name not in known]
    problems += [
        f"{field}: there is no file {file}; check the path"
        for field, file in dict.fromkeys(named for s in scenarios for named in files_of(s))
        if not Path(file).is_file()
    ]
    refuse(*problems)
    for scenario in scenarios:
        if isinstance(scenario, ConnectionScenario):
            prepare(scenario)
        elif isinstance(scenario, RequestScenario):
            prepare_requests(scenario)
        else:
            prepare_packets(scenario)


def _notes(rows: Sequence[Row]) -> Iterator[str]:
    """Yield what runs say of themselves: of notes that differ in their numbers alone, the first."""
    kinds: dict[str, list[str]] = {}
    for row in rows:
        for note in row.measured.notes if row.measured else ():
            kinds.setdefault(re.sub(r"[\d.]+", "#", note), []).append(f"{row.name}: {note}")
    for first, *others in kinds.values():
        yield f"{first} (and in {len(others)} more points: column note)" if others else first


def _write(result: SweepResult, scenarios: Sequence[AnyScenario]) -> None:
    """Write the folder of a sweep."""
    sweep, folder = result.sweep, Folder(result.folder)
    for name, made in ((sweep.name, result.table), ("summary", result.summary)):
        folder.text(f"{name}.csv", made.to_csv(index=False, float_format="%.9g"))
    folder.text("sweep.toml", dump_sweep(sweep))
    folder.text("scenario.toml", dump_toml(sweep.base))
    drawn = result.table[result.table["status"] == "ok"]
    folder.figure(sweep.name, _panels(sweep), drawn.assign(series=_series(sweep, drawn)), pd.DataFrame())
    for name in {"chart.json", *(f"{sweep.name}.{form}" for form in ("png", "pdf", "svg"))} - {*folder.names}:
        (result.folder / name).unlink(missing_ok=True)  # a figure that is asked for no more
    about = provenance(
        sweep.name, _title(sweep), "full", "lbsim sweep sweep.toml", sweep.base, scenarios,
        result.failures, result.left,
    )  # fmt: skip
    folder.close({**about, "warnings": list(result.warnings)})


def _title(sweep: Sweep) -> str:
    fields = " and ".join(sweep.expansion.columns)
    return f"{sweep.base.name}, over {fields}" if fields else sweep.base.name


def _panels(sweep: Sweep) -> list[Panel]:
    """Return the axes of the figure: a panel for each of its quantities."""
    if sweep.figure is None:
        return []
    field = {column: name for name, column in sweep.expansion.columns.items()}
    x, names = sweep.column(sweep.figure.x), pd.DataFrame(c.labels for c in sweep.configurations)
    return [
        Panel(
            x=x,
            y=y,
            series=tuple(dict.fromkeys(_series(sweep, names))),
            xlabel=axis_text(field[x], x),
            ylabel=BY_NAME[y].axis,
            log=sweep.figure.log,
            band="interval",
        )
        for y in sweep.figure.y
    ]


def _series(sweep: Sweep, table: pd.DataFrame) -> list[str]:
    """Return the name of the line that each row of a table belongs to."""
    if sweep.figure is None or not sweep.figure.series:
        return [sweep.base.name] * len(table)
    return [
        "none" if pd.isna(value) else as_text(value) for value in table[sweep.column(sweep.figure.series)]
    ]
