"""`lbsim figures` and `lbsim scorecard`: studies run, claims judged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console

from lbsim.cli.app import CLAIM_FAILED, INTERRUPTED, POINTS_FAILED
from lbsim.study import Execution, Ran, figures, open_watch, scorecard, scorecard_table, write_report

SCORECARD = ("id", "figure", "quantity", "published", "low", "high", "simulated", "verdict")
"""What --json tells of a claim."""


def figures_command(names: Sequence[str], full: bool, execution: Execution, results: Path) -> int:
    """Run figures, write the report, and return the exit code."""
    out, err = Console(highlight=False), Console(stderr=True, highlight=False)
    ran = _run(names, full, execution, results, err)
    for study in ran:
        passed = sum(line["verdict"] == "pass" for line in study.claims)
        claims = f"{passed} of {len(study.claims)} claims hold" if study.claims else "no claims"
        failed = f", {len(study.failed)} points FAILED" if study.failed else ""
        left = f", {study.left} points left" if study.left else ""
        out.print(f"{study.name:24} {claims}{failed}{left}")
    out.print(f"report: {write_report(results)}")
    return _code(ran, err)


def scorecard_command(as_json: bool, execution: Execution | None, results: Path) -> int:
    """Print the verdicts, after computing every figure at full scale if there is an execution for it.

    Returns the exit code.
    """
    out, err = Console(highlight=False), Console(stderr=True, highlight=False)
    code = _code(_run((), True, execution, results, err), err) if execution else 0
    lines = scorecard(results)
    if as_json:
        typer.echo(
            json.dumps(
                [{key: line[key] for key in SCORECARD} for line in lines], indent=1, ensure_ascii=False
            )
        )
    elif not lines:
        raise ValueError(f"{results} holds no results yet: run `lbsim figures` first")
    else:
        failed = sum(line["verdict"] != "pass" for line in lines)
        out.print(scorecard_table(lines))
        out.print(f"{len(lines) - failed} of {len(lines)} claims hold")
    return code or (CLAIM_FAILED if any(line["verdict"] != "pass" for line in lines) else 0)


def _run(names: Sequence[str], full: bool, execution: Execution, results: Path, err: Console) -> list[Ran]:
    from experiments import ALL

    with open_watch(err) as watch:
        return figures(
            list(names) or None, studies=ALL, full=full, results=results, execution=execution, watch=watch
        )


def _code(ran: Sequence[Ran], err: Console) -> int:
    """Return the exit code of points that failed or were left, naming each that failed."""
    for study in ran:
        for reason in study.failed:
            err.print(f"{study.name}: {reason}", markup=False)
    if any(study.failed for study in ran):
        return POINTS_FAILED
    if any(study.left for study in ran):
        err.print("the time is up; finished points are kept: the same command again resumes")
        return INTERRUPTED
    return 0
