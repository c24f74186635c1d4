"""`lbsim list` and `lbsim check`: what may be written, and whether what was written is right."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lbsim.balancer import policies
from lbsim.balancer.policies import READS
from lbsim.chain.hardware import device, devices, machine, machines
from lbsim.chain.offload import Device
from lbsim.cli.app import BAD_INPUT
from lbsim.cli.variants import dispatchers
from lbsim.engine.connection.run import prepare
from lbsim.engine.request.run import prepare as prepare_requests
from lbsim.engine.request.source import servers_of, source_of
from lbsim.engine.run import prepare as prepare_packets
from lbsim.engine.source import open_source
from lbsim.scenario import (
    AnyChurn,
    AnyFunction,
    Balancer,
    Cluster,
    ConnectionScenario,
    Cost,
    RequestScenario,
    RequestServers,
    Scenario,
    Server,
    load_scenario,
)
from lbsim.workload.distributions import Distribution, names, published


def list_command() -> None:
    """Print everything that a scenario or a command may name."""
    from experiments import ALL

    out = Console(highlight=False)
    sections: dict[str, Iterable[tuple[str, str]]] = {
        "traffic": _kinds(Scenario.model_fields["traffic"].annotation),
        "arrivals": _kinds(Scenario.model_fields["arrivals"].annotation),
        "cluster.balancer": _kinds(Cluster.model_fields["balancer"].annotation),
        "nic.dispatch": ((kind, _first_line(model)) for kind, model in dispatchers().items()),
        "server.state": _kinds(Server.model_fields["state"].annotation),
        "server.hardware": ((name, machine(name).note) for name in machines()),
        "chain.functions": _kinds(AnyFunction),
        "chain.switch": ((name, _room(device(name))) for name in devices() if device(name).kind == "switch"),
        "policies": ((p.name, f"{p.about} Reads: {p.reads}, {READS[p.reads]}.") for p in policies().values()),
        "clients (connections)": _kinds(ConnectionScenario.model_fields["clients"].annotation),
        "balancer.consistency": _kinds(Balancer.model_fields["consistency"].annotation),
        "churn": _kinds(AnyChurn),
        "clients (requests)": _kinds(RequestScenario.model_fields["clients"].annotation),
        "servers.discipline": _kinds(RequestServers.model_fields["discipline"].annotation),
        "servers.service": _kinds(RequestServers.model_fields["service"].annotation),
        "work laws": _kinds(Cost.model_fields["work"].annotation),
        "published tables": ((name, _source(published(name))) for name in names()),
        "figures": ((study.name, study.title) for study in ALL),
    }
    for title, rows in sections.items():
        lines = list(rows)
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(style="cyan", min_width=2 + max(len(name) for name, _ in lines))
        table.add_column()
        for name, text in lines:
            table.add_row(f"  {name}", escape(text))
        out.print(title, style="bold")
        out.print(table)


def check_command(path: Path) -> int:
    """Check a scenario, a study file or a results folder and return the exit code."""
    from lbsim.study import check, is_sweep, load_sweep

    if path.is_dir():
        return _check_results(path, check(path))
    if is_sweep(path):
        typer.echo(f"{path}: fine, {load_sweep(path).count} points")
        return 0
    scenario = load_scenario(path)
    if isinstance(scenario, ConnectionScenario):
        prepare(scenario)
    elif isinstance(scenario, RequestScenario):
        prepare_requests(scenario)
        source_of(scenario)  # reads the files it names
        servers_of(scenario)
    else:
        prepare_packets(scenario)
        open_source(scenario)  # reads the files it names
    typer.echo(f"{path}: fine")
    return 0


def _check_results(path: Path, problems: list[str]) -> int:
    if not problems and not any(any(path.rglob(name)) for name in ("points", "provenance.json")):
        raise ValueError(f"{path} holds no results; give the folder of --results")
    for problem in problems:
        typer.echo(problem, err=True)
    typer.echo(
        f"{path}: {f'{len(problems)} files are not as written' if problems else 'every file is as written'}"
    )
    return BAD_INPUT if problems else 0


def _room(switch: Device) -> str:
    """Return what a switch has room for."""
    if not switch.conformant:
        return "Lacks what it takes to tell classes apart, so it takes nothing over."
    return f"{switch.rules} entries in {switch.tables} table{'s' * (switch.tables > 1)}."


def _source(table: Distribution) -> str:
    """Return a table's unit and the first part of its source."""
    return f"{table.unit}: {table.source.partition(';')[0]}"


def _kinds(union: Any) -> list[tuple[str, str]]:
    models = [model for model in get_args(union) if model is not type(None)]
    return [(model.model_fields["kind"].default, _first_line(model)) for model in models]


def _first_line(model: type) -> str:
    return (inspect.getdoc(model) or "").partition("\n")[0]
