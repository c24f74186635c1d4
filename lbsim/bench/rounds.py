"""`lbsim bench`: engines race on the same work, in interleaved rounds of one run.

The speed of a shared machine drifts by tens of percent within minutes, so the engines take turns and medians
over the rounds are compared. Each engine gets as many units of work as it handles in about a second.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any, Final, NamedTuple

from lbsim.bench import connections, fed, memory, points, requests, section2
from lbsim.bench.peers import PEERS, Outcome, Peer
from lbsim.bench.server import run_lbsim, the_server
from lbsim.workload.packets import Packets

Row = dict[str, Any]
"""One line of the bench, JSON-ready: case, engine, unit (what is counted: packets, requests ...),
units_per_s, ratio; beside them units (of a round), mean_us (latency of packets), agrees (with the truth of
its case) and peak_mb (case "memory" alone)."""

Say = Callable[[str], None]
"""Told what is being measured now."""

SPREAD: Final = 60.0
"""The mean latency over n packets has a standard deviation of about SPREAD / sqrt(n) µs (500 runs)."""


class Plan(NamedTuple):
    """How long to measure."""

    rounds: int
    seconds: float  # per engine and round
    memory: tuple[int, ...]  # packets


FULL: Final = Plan(5, 1.5, (10**6, 10**7, 10**8))
QUICK: Final = Plan(3, 0.3, (10**6, 10**7))


class Engine(NamedTuple):
    """A contestant: run(units, seed) does the work."""

    name: str
    run: Callable[[int, int], Outcome]
    most: int = 1 << 40  # units it is given at most
    module: str = "lbsim"  # what must be installed
    least: int = 2_000  # units that make sense


def bench(quick: bool = False, say: Say = lambda _: None) -> list[Row]:
    """Measure every case and return its rows.

    The first row of a case is lbsim's compiled engine, and `ratio` is its units per second divided by the
    row's own. Both are None for a peer that is not installed.
    """
    plan = QUICK if quick else FULL
    cases = (
        *(rss_8_cores, trace_fed, cheetah_section_2, policies_of_balancers, clusters),
        *(request_loops, sweep, memory_rows),
    )
    return [row for case in cases for row in case(plan, say)]


def rss_8_cores(plan: Plan, say: Say) -> list[Row]:
    """Race on an 8-core RSS server, random generation included; the truth is its mean latency by formula."""
    engines = [Engine(f"lbsim {kind}", partial(run_lbsim, kind)) for kind in ("compiled", "reference")]
    engines += [Engine(peer.name, partial(_run_peer, peer), module=peer.module) for peer in PEERS]
    seeds = range(1, plan.rounds + 1)
    truth = statistics.fmean(the_server(seed).mean_latency() for seed in seeds)
    rows = race("rss-8-cores", engines, plan, say)
    for row in rows:
        if row["mean_us"] is not None:
            error = SPREAD / math.sqrt(row["units"] * plan.rounds)
            row["agrees"] = abs(row["mean_us"] - truth) <= 0.01 * truth + 4 * error
    return rows


def _run_peer(peer: Peer, packets: int, seed: int) -> Outcome:
    return peer.run(the_server(seed), packets, seed)


def trace_fed(plan: Plan, say: Say) -> list[Row]:
    """Race on prepared packets under RSS++; the truth is that both engines agree to the last move and ps."""
    say("trace-fed rss++: preparing packets")
    trace = fed.prepare(fed.LONGEST)
    ways = {"lbsim compiled": fed.lbsim_compiled, "simpy process per packet": fed.simpy_process_per_packet}

    def run(way: Callable[[list[Packets]], fed.Fed], packets: int, seed: int) -> Outcome:
        return way(fed.first(trace, packets)).outcome

    few = fed.first(trace, 3 * fed.CHUNK)
    seen = [way(few) for way in ways.values()]
    agree = all(one.moves == seen[0].moves and one.outcome.mean == seen[0].outcome.mean for one in seen)
    engines = [Engine(name, partial(run, way), fed.LONGEST) for name, way in ways.items()]
    return [{**row, "agrees": agree} for row in race("trace-fed rss++", engines, plan, say)]


def cheetah_section_2(plan: Plan, say: Say) -> list[Row]:
    """Race the authors' simulation against plain Python; the truth is that both count the same."""
    rows, least = [], section2.LEAST
    for case in section2.CASES:
        name = section2.MEASURED.format(case)
        say(f"{name}: comparing")
        ours, plain = partial(section2.lbsim, case), partial(section2.python, case)
        agree = ours(least, 1) == plain(least, 1)
        engines = [
            Engine("lbsim compiled", ours, least=least),
            Engine("plain Python, dict and heap", plain, least, least=least),  # takes seconds
        ]
        rows += [{**row, "agrees": agree} for row in race(name, engines, plan, say, unit="connections")]
    return rows


def policies_of_balancers(plan: Plan, say: Say) -> list[Row]:
    """Race the policies of a balancer: 468 servers, 70,000 connections under way."""
    short = plan._replace(rounds=min(3, plan.rounds))
    least = 4 * connections.LIVE
    engines = [Engine(way, partial(connections.by_way, way), least=least) for way in connections.WAYS]
    return race("a balancer of 468 servers", engines, short, say, unit="events")


def clusters(plan: Plan, say: Say) -> list[Row]:
    """Race a balancer on clusters of growing size: of servers alone, and of connections with them."""
    sizes = connections.CLUSTERS if plan.memory == FULL.memory else connections.CLUSTERS[:2]
    rows = []
    for policy in connections.GROWN:
        connections.by_size(policy, 100, 1_000, 10_000, 0)  # compiles
        engines = []
        for servers, live in sizes:
            name = f"{policy}, {servers:,} servers, {live:,} connections"
            events = max(6 * live, 2_000_000)  # six of each connection under way: most when it is full
            run = partial(connections.by_size, policy, servers, live)
            engines.append(Engine(name, run, events, least=events))
        rows += race("a growing cluster", engines, plan._replace(rounds=2), say, unit="events")
    return rows


def request_loops(plan: Plan, say: Say) -> list[Row]:
    """Race on requests, closed and open loop; the truth is that all see the same latencies."""
    rows = []
    for case in requests.CASES:
        ways = {
            "lbsim compiled": partial(requests.lbsim, "fast", case),
            "lbsim compiled, heap of events": partial(requests.lbsim, "general", case),
            "lbsim reference": partial(requests.lbsim, "reference", case),
            "simpy resource each": partial(requests.simpy_process_each, case, desks=True),
            "simpy process each": partial(requests.simpy_process_each, case),
        }
        say(f"requests, {case}: comparing")
        seen = [way(20_000, 1) for way in ways.values()]
        agree = all(one.mean == seen[0].mean and one.packets == seen[0].packets for one in seen)
        engines = [Engine(name, way) for name, way in ways.items()]
        rows += [
            {**row, "agrees": agree} for row in race(f"requests, {case}", engines, plan, say, unit="requests")
        ]
    return rows


def sweep(plan: Plan, say: Say) -> list[Row]:
    """Race two points on two processes against one; the truth is that both yield the same packets."""
    ways = {name: partial(points.two_points, way) for name, way in points.WAYS.items()}
    seen = {way(200_000, 1) for way in ways.values()}
    engines = [Engine(name, way) for name, way in ways.items()]
    longer = plan._replace(seconds=3 * plan.seconds)  # starting a point takes some ms
    return [{**row, "agrees": len(seen) == 1} for row in race("sweep of two points", engines, longer, say)]


def memory_rows(plan: Plan, say: Say) -> list[Row]:
    """Measure lbsim's peak memory as runs grow, each in a process of its own."""
    rows = []
    for packets in plan.memory:
        say(f"memory: {packets:,} packets")
        peak, seconds = memory.measure(packets)
        row = _row("memory", f"lbsim compiled, {packets:.0e} packets".replace("e+0", "e"))
        rows.append(row | {"units_per_s": packets / seconds, "units": packets, "peak_mb": round(peak, 1)})
    return rows


def race(case: str, engines: list[Engine], plan: Plan, say: Say, unit: str = "packets") -> list[Row]:
    """Let the engines take turns and return a row for each; the first one's speed is the measure."""
    rows = {engine.name: _row(case, engine.name, unit) for engine in engines}
    present = [engine for engine in engines if find_spec(engine.module)]
    sizes: dict[str, int] = {}
    speeds: dict[str, list[float]] = {engine.name: [] for engine in present}
    means: dict[str, list[float]] = {engine.name: [] for engine in present}
    for engine in present:
        say(f"{case}: warming up {engine.name}")
        sizes[engine.name] = fitting(engine, plan.seconds)
    for turn in range(plan.rounds):
        for engine in present:
            say(f"{case}: round {turn + 1} of {plan.rounds}, {engine.name}")
            seconds, outcome = timed(engine, sizes[engine.name], seed=turn + 1)
            speeds[engine.name].append(outcome.packets / seconds)
            means[engine.name].append(outcome.mean)
    best = statistics.median(speeds[engines[0].name])
    for name in sizes:
        speed = statistics.median(speeds[name])
        rows[name] |= {
            "units_per_s": speed,
            "ratio": best / speed,
            "units": sizes[name],
            "mean_us": statistics.fmean(means[name]) if unit == "packets" else None,
        }
    return list(rows.values())


def fitting(engine: Engine, seconds: float) -> int:
    """Return how many units an engine handles in about `seconds`; compiles and imports on the way.

    Where it is given a fixed number it does not run.
    """
    units = engine.least
    if engine.least == engine.most:
        return units
    engine.run(units, 0)
    while True:
        took, _ = timed(engine, units, seed=0)
        if took >= seconds / 8 or units == engine.most:
            return min(engine.most, max(1, engine.least, round(units * seconds / took)))
        units = min(engine.most, units * 8)


def timed(engine: Engine, packets: int, seed: int) -> tuple[float, Outcome]:
    """Return the seconds one run takes, and what it saw; garbage of earlier runs is collected first."""
    gc.collect()
    start = time.perf_counter()
    outcome = engine.run(packets, seed)
    return time.perf_counter() - start, outcome


def _row(case: str, engine: str, unit: str = "packets") -> Row:
    empty = dict.fromkeys(("units_per_s", "ratio", "units", "mean_us", "agrees", "peak_mb"))
    return {"case": case, "engine": engine, "unit": unit, **empty}
