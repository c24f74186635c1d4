"""What must hold between the NIC, the way packets come, and the cores; see `lbsim.scenario.sense`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from lbsim.scenario.dispatch import (
    Grow,
    PolicyDispatch,
    Rss,
    Rsspp,
    RssRoundRobin,
    Scaling,
    Software,
    Sprayer,
    TrafficClasses,
)
from lbsim.scenario.fields import LARGEST_FRAME, Work
from lbsim.scenario.machine import PerBucket, Server, Shared
from lbsim.scenario.metron import RSS_ENTRIES, FlowDirector, Metron
from lbsim.scenario.nic import AnyDispatch, Nic
from lbsim.scenario.traffic import AnyArrivals, Closed
from lbsim.scenario.work import LONGEST_WORK
from lbsim.units import MAX_TIME, SECOND, format_time

DAY: Final = 24 * 3600 * SECOND


def dispatch_problems(nic: Nic, arrivals: AnyArrivals | None) -> Iterator[str]:
    """Yield what keeps packets that come in this way from being dispatched so."""
    dispatch = nic.dispatch
    if isinstance(dispatch, Rss) and dispatch.grow is not None and dispatch.fill == "random":
        yield (
            "nic.dispatch.fill: random, but cores that come into use write the table anew, in turn; write "
            '"turn", or leave nic.dispatch.grow out'
        )
    if isinstance(dispatch, Software) and nic.queue is not None:
        yield (
            "nic.queue: given, but where software dispatches, the one queue is that of the dispatcher; leave "
            "it out, and add its time to nic.dispatch.per_packet"
        )
    if nic.queue is not None and nic.queue.per_packet + nic.queue.per_byte * LARGEST_FRAME > LONGEST_WORK:
        yield "nic.queue: it makes hours of the largest frame; write less"
    if nic.limit is not None:
        held = nic.limit.burst * SECOND / nic.limit.rate.pps(LARGEST_FRAME)
        if held > MAX_TIME:
            yield (
                f"nic.limit.burst: {nic.limit.burst} of the largest frames take {held / DAY:.0f} days at "
                f"{nic.limit.rate}, at most 53; lower it or raise nic.limit.rate"
            )
    if not isinstance(arrivals, Closed):
        return
    if isinstance(dispatch, Sprayer | Software | PolicyDispatch | FlowDirector):
        yield (
            f"nic.dispatch.kind: {dispatch.kind}, but a closed loop needs a table that names the core of a "
            "flow; write rss, rss++, rssrr, classes or metron"
        )
    if isinstance(dispatch, Metron) and dispatch.migration:
        yield (
            f"nic.dispatch.migration: {format_time(dispatch.migration)}, but cores that serve a closed loop "
            "never stall; write 0"
        )
    for name in ("limit", "queue"):
        if getattr(nic, name) is not None:
            yield (
                f"nic.{name}: given, but is not simulated in a closed loop, whose rate is that of "
                "arrivals.link; leave it out"
            )


def cores_problems(server: Server, dispatch: AnyDispatch) -> Iterator[str]:
    """Yield what keeps the cores from being used in this way."""
    yield from _idle_cores(dispatch, server.cores)
    yield from _cores_in_use(dispatch, server.cores)
    yield from _state(server, dispatch)
    if isinstance(dispatch, Software):
        yield from _software(dispatch, server)


def _idle_cores(dispatch: AnyDispatch, cores: int) -> Iterator[str]:
    """Refuse cores that could never get a packet."""
    match dispatch:
        case (
            Rss(table=entries)
            | Rsspp(table=entries)
            | RssRoundRobin(table=entries)
            | FlowDirector(table=entries)
        ) if cores > entries:
            more = f"lower it or raise nic.dispatch.table to {1 << (cores - 1).bit_length()}"
            yield f"server.cores: {cores} cores share the {entries} entries of nic.dispatch.table; {more}"
        case Metron(scope="rss") if cores > RSS_ENTRIES:
            yield (
                f"server.cores: {cores} cores share the {RSS_ENTRIES} entries of metron in scope rss; "
                f"lower it to {RSS_ENTRIES}"
            )
        case Metron(scope="rss"):
            pass
        case TrafficClasses(rules=rules) | Metron(rules=rules) if cores > rules:
            yield f"server.cores: {cores} cores share {rules} rules; lower it or raise nic.dispatch.rules"
        case Sprayer() if cores > 256:
            yield f"server.cores: {cores} cores share the 256 values Sprayer spreads by; lower it to 256"


def _cores_in_use(dispatch: AnyDispatch, cores: int) -> Iterator[str]:
    """Refuse to take more cores into use than there are."""
    named: dict[str, int | None] = {}
    match dispatch:
        case Rss(grow=Grow(start=start)):
            named = {"grow.start": start}
        case (
            Rsspp(scaling=Scaling(start=first, least=least))
            | TrafficClasses(scaling=Scaling(start=first, least=least))
            | Metron(scaling=Scaling(start=first, least=least))
        ):
            named = {"scaling.start": first, "scaling.least": least}
    for name, number in named.items():
        if number is not None and number > cores:
            yield f"nic.dispatch.{name}: {number}, but server.cores is {cores}; write 1 to {cores}"


def _state(server: Server, dispatch: AnyDispatch) -> Iterator[str]:
    """Refuse state that packets so dispatched would not find."""
    match server.state:
        case PerBucket() if isinstance(dispatch, Sprayer | PolicyDispatch | Software | FlowDirector):
            yield (
                f"server.state.kind: per_bucket, but {dispatch.kind} has no table whose buckets own flows; "
                "write shared, or nic.dispatch of kind rss, rss++, rssrr, classes or metron"
            )
        case Shared() if isinstance(dispatch, Software | PolicyDispatch):
            yield (
                f"server.state.kind: shared is not simulated where {dispatch.kind} dispatches; leave "
                "server.state out, or write nic.dispatch of kind rss, rss++, rssrr, classes or sprayer"
            )


def _software(dispatch: Software, server: Server) -> Iterator[str]:
    costs = {name: value for name, value in dispatch if isinstance(value, Work)}
    if server.clock is None and any(work.unit == "cycles" for work in costs.values()):
        yield from (
            f'nic.dispatch.{name}: {work} need a clock; set server.clock, e.g. "3.7GHz", or write a time'
            for name, work in costs.items()
            if work.unit == "cycles"
        )
        return
    for name, work in costs.items():
        most = work.ps(server.clock) * (server.cores if name == "contention" else 1)
        if most > LONGEST_WORK:
            yield f"nic.dispatch.{name}: {work} make {most:.1e} ps, at most 2.5 hours; write less"
