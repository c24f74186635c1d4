"""`lbsim run`: which scenarios a request means, their runs, and how they are shown."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

import typer
from rich.console import Console

from lbsim.balancer import policies
from lbsim.cli.progress import RunProgress
from lbsim.cli.show import QUANTITIES, Variants, estimate, show_variants
from lbsim.engine.run import Engine, run
from lbsim.metrics.result import Result
from lbsim.scenario import (
    CaptureFile,
    Cost,
    Fixed,
    Nic,
    PolicyDispatch,
    Recorded,
    Scenario,
    ScenarioError,
    Server,
    Work,
    load_scenario,
    override,
)
from lbsim.units import MS, NS, SECOND, US, format_time
from lbsim.workload.capture import read_capture

REPLAY_COST: Final = Cost(per_batch=Work(4 * US), work=Fixed(time=Work(1330 * NS)))
"""What a capture without a scenario costs: RSS++ Fig. 10 (W = 400), 1.455 µs a packet in full bursts of 32."""

REPLAY_LOAD: Final = 0.8
REPLAY_LENGTH: Final = 2 * SECOND
"""A shorter replay is looped up to this: RSS++ acts ten times a second and would not be seen at work."""

REPLAY_WARMUP: Final = 500 * MS


class Request(NamedTuple):
    """What `lbsim run` was asked for."""

    scenario: Path | None = None
    changes: tuple[str, ...] = ()  # "field=value"
    capture: Path | None = None
    partial: bool = False
    load: float | None = None
    against: tuple[str, ...] = ()
    engine: Engine = "auto"
    replications: int = 1


def run_command(request: Request, as_json: bool) -> None:
    """Run every variant of a request and print the results."""
    out, err = Console(highlight=False), Console(stderr=True, highlight=False)
    scenarios = variants_of(request)
    results: dict[str, list[Result]] = {}
    for label, scenario in scenarios.items():
        results[label] = []
        for k in range(request.replications):
            title = label if request.replications == 1 else f"{label} {k + 1}/{request.replications}"
            repeated = override(scenario, {"replication": scenario.replication + k}) if k else scenario
            with RunProgress(title, err) as progress:
                results[label].append(run(repeated, request.engine, progress))
    if as_json:
        typer.echo(json.dumps(as_data(results), indent=2, ensure_ascii=False))
    else:
        _show(out, results)


def variants_of(request: Request) -> dict[str, Scenario]:
    """Return the scenarios to run by label: the dispatch of each, the scenario's own first.

    Raises ScenarioError or CaptureError for what cannot be run.
    """
    changes = _changes(request.changes)
    if request.capture is not None:
        base = _replay(request, changes)
    elif request.scenario is not None:
        base = load_scenario(request.scenario)
    else:
        raise ScenarioError(["nothing to run: name a SCENARIO.toml, or --capture FILE"])
    if request.load is not None:
        base = override(base, {"arrivals.load": request.load})
    names = [name for names in request.against for name in names.split(",") if name]
    if request.capture is not None and not names:
        names = ["rss", "rss++"] if label_of(base) not in ("rss", "rss++") else _other(base)
    if not names:
        return {label_of(base): override(base, changes) if changes else base}
    return _compared(base, names, changes)


def label_of(scenario: Scenario) -> str:
    """Return what a scenario's dispatch is called: its kind, or the name of its policy."""
    dispatch = scenario.nic.dispatch
    return dispatch.policy if isinstance(dispatch, PolicyDispatch) else dispatch.kind


def dispatchers() -> dict[str, type[Any]]:
    """Return the kinds of NIC dispatch and their models."""
    models = get_args(Nic.model_fields["dispatch"].annotation)
    return {model.model_fields["kind"].default: model for model in models}


def _other(base: Scenario) -> list[str]:
    return ["rss++"] if label_of(base) == "rss" else ["rss"]


def _changes(texts: Sequence[str]) -> dict[str, str]:
    changes = {}
    for text in texts:
        path, sign, value = text.partition("=")
        if not sign or not path.strip():
            raise ScenarioError([f"--set {text}: write FIELD=VALUE, e.g. --set server.cores=4"])
        changes[path.strip()] = value.strip()
    return changes


def _replay(request: Request, changes: Mapping[str, str]) -> Scenario:
    """Return the scenario that replays a capture, on the given scenario's server or a default one."""
    assert request.capture is not None
    traffic = CaptureFile(file=str(request.capture), partial=request.partial)
    if request.scenario is not None:
        given = load_scenario(request.scenario)
        base = override(given, {"traffic": {"kind": "flows"}})
        arrivals = given.arrivals
        if not isinstance(arrivals, Recorded):
            pace = {"rate": arrivals.rate} if arrivals.load is None else {"load": arrivals.load}
            arrivals = Recorded(**pace)
        return override(given, {"traffic": traffic, "arrivals": arrivals})
    ...
