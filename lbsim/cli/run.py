"""`lbsim run`: run what is asked for and show it."""

from __future__ import annotations

import json
from typing import Any, Final

import typer
from rich.console import Console

from lbsim.cli.progress import RunProgress
from lbsim.cli.show import Variants, estimate, show_variants
from lbsim.cli.variants import Request, variants_of
from lbsim.engine.planner import stalls
from lbsim.engine.run import run
from lbsim.metrics import AnyResult
from lbsim.metrics.quantities import quantities_of
from lbsim.scenario import (
    AnyScenario,
    CaptureFile,
    Chain,
    Closed,
    ConnectionScenario,
    Independent,
    Open,
    PolicyDispatch,
    Recorded,
    RequestScenario,
    Software,
    override,
)
from lbsim.scenario.traffic import AnyArrivals
from lbsim.units import format_time

UNITS: Final = {"packet": "packets", "connection": "events", "request": "requests"}
"""What runs count as they go."""


def run_command(request: Request, as_json: bool) -> None:
    """Run every variant of a request, each as often as asked, and print the results."""
    out, err = Console(highlight=False), Console(stderr=True, highlight=False)
    results: dict[str, list[AnyResult]] = {}
    for label, scenario in variants_of(request).items():
        results[label] = []
        for k in range(request.replications):
            title = label if request.replications == 1 else f"{label} {k + 1}/{request.replications}"
            with RunProgress(title, err, UNITS[scenario.grain]) as progress:
                results[label].append(
                    run(
                        override(scenario, {"replication": scenario.replication + k}),
                        request.engine,
                        progress,
                    )
                )
    if as_json:
        typer.echo(json.dumps(as_data(results), indent=2, ensure_ascii=False, allow_nan=False))
        return
    first = next(iter(results.values()))[0].scenario
    out.print(f"[bold]{first.name}[/]  {about(first)}")
    for engine, labels in _engines(results).items():
        out.print(f"{', '.join(labels)}: {engine}" if len(results) > 1 else engine, style="dim", markup=False)
    out.print()
    show_variants(out, results)


def as_data(variants: Variants) -> Any:
    """Return results JSON-ready: an object for one variant, a list of them for several.

    With replications an object holds `intervals`, quantity -> {mean, low, high} of the runs' own values, and
    `runs`, else the summary of the run itself.
    """
    data = []
    for label, results in variants.items():
        if len(results) == 1:
            data.append({"dispatch": label, **results[0].summary()})
            continue
        intervals = {}
        for quantity in quantities_of(results[0].scenario):
            interval = estimate(quantity, results)
            intervals[quantity.name] = interval and dict(zip(("mean", "low", "high"), interval, strict=False))
        runs = [result.summary() for result in results]
        head = {"dispatch": label, "scenario": runs[0]["scenario"], "replications": len(runs)}
        data.append({**head, "intervals": intervals, "runs": runs})
    return data[0] if len(data) == 1 else data


def _engines(variants: Variants) -> dict[str, list[str]]:
    """Return what ran, with the reason, and for which labels."""
    engines: dict[str, list[str]] = {}
    for label, results in variants.items():
        engines.setdefault(f"{results[0].engine} ({why(results[0])})", []).append(label)
    return engines


def about(scenario: AnyScenario) -> str:
    """Return the set-up in a line."""
    if isinstance(scenario, RequestScenario):
        return _about_requests(scenario)
    if isinstance(scenario, ConnectionScenario):
        servers, clients = scenario.servers, scenario.clients
        text = f"{servers.active or servers.configured} of {servers.configured} servers"
        text += f", about {scenario.expected_live():,.0f} connections under way"
        if isinstance(clients, Open) and clients.retry is not None:
            text += f", again {format_time(clients.retry)} after a break"
        return text + (f", churn: {scenario.churn.kind}" if scenario.churn else "")
    server, cluster = scenario.server, scenario.cluster
    text = f"{server.cores} cores, ring {server.ring}, burst {server.burst}"
    if cluster is not None:
        text = f"{cluster.initial} of {cluster.servers} servers with {text}"
        text += f", churn: {cluster.churn.kind}" if cluster.churn else ""
    if scenario.chain is not None:
        text += f", {_about_chain(scenario.chain)}"
    if server.state is not None:
        text += f", {server.state.kind.replace('_', ' ')} state"
    text += ", " + _pace(scenario.arrivals)
    if isinstance(scenario.traffic, CaptureFile) and scenario.traffic.loops != 1:
        loops = scenario.traffic.loops
        text += ", capture played " + ("on and on" if loops is None else f"{loops} times")
    return text


def _about_chain(chain: Chain) -> str:
    """Return the functions of a chain, and how they run."""
    text = " > ".join(function.kind.replace("_", " ") for function in chain.functions)
    if len(chain.stages) > 1:
        text += f" on {len(chain.stages)} cores each"
    if chain.synthesised:
        text += " synthesised"
    return text + (f", offloaded to the {chain.offload}" if chain.offload != "none" else "")


def _about_requests(scenario: RequestScenario) -> str:
    servers, clients, signal = scenario.servers, scenario.clients, scenario.balancer.signal
    cores = "" if servers.cores == 1 else f" of {servers.cores} cores"
    text = f"{servers.number} servers{cores}, {servers.discipline.kind}, {clients.kind} clients"
    rate = scenario.rate()
    if isinstance(clients, Independent) and clients.load is not None:
        text += f", load {clients.load:.0%}"
    elif rate is not None:
        text += f", {'at most ' * (clients.kind == 'users')}{rate:,.0f} requests/s"
    if signal.period is not None:
        text += f", {signal.metric} reported every {format_time(signal.period)}"
    return text


def _pace(arrivals: AnyArrivals) -> str:
    """Return how fast packets come."""
    if isinstance(arrivals, Closed):
        return f"{arrivals.link} shared by flows with {arrivals.window:g} packets under way"
    if arrivals.load is not None:
        text = f"load {arrivals.load:.0%}"
    elif arrivals.rate is not None:
        text = str(arrivals.rate)
    else:
        assert isinstance(arrivals, Recorded)
        text = f"{arrivals.speed:g}x as recorded"
    if arrivals.profile is None:
        return text
    return f"{text} times {min(arrivals.profile.factors):g} to {max(arrivals.profile.factors):g}"


def why(result: AnyResult) -> str:
    """Return why the planner chose the engine and kernel that ran."""
    s = result.scenario
    if result.engine.startswith("reference"):
        return "as asked for, or as a notice below explains"
    if isinstance(s, RequestScenario):
        if "departures" in result.engine:
            return "exact: one core, first come, first served, so a departure is known at admission"
        return "exact: every turn of a core, pick, timeout and answer, in order"
    if isinstance(s, ConnectionScenario):
        return "exact: every begin, end and break, in order"
    if "recursion" in result.engine:
        return "exact: one packet at a time, no cost per poll, no policy that looks at the cores"
    server = s.server
    poll = server.cost.per_batch.ps(server.clock)
    dispatch, in_step = s.nic.dispatch, "stateful" in result.engine
    reasons = {
        "a policy watches the cores": isinstance(dispatch, PolicyDispatch),
        "a core hands packets to the others": isinstance(dispatch, Software),
        "functions have cores of their own": s.chain is not None and len(s.chain.stages) > 1,
        "flows wait for answers": isinstance(s.arrivals, Closed),
        "flows have state that cores share or pass on": in_step and server.state is not None,
        "reordering is counted": in_step and s.measure.reordering,
        f"polls take up to {server.burst} packets": server.burst > 1,
        f"a poll costs {format_time(poll)}": poll > 0,
        "cores stall": stalls(s),
    }
    return "; ".join(reason for reason, holds in reasons.items() if holds)
