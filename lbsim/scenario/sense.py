"""What must hold between the parts of a scenario: contradictions, each with a way out.

Every function here takes a part and the parts before it on a packet's way, those that were found to be right
themselves, and yields a line for each contradiction.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from lbsim.scenario.dispatch import PolicyDispatch
from lbsim.scenario.errors import show
from lbsim.scenario.fields import LARGEST_FRAME
from lbsim.scenario.machine import Server, Shared
from lbsim.scenario.measure import Measure
from lbsim.scenario.nic import Nic
from lbsim.scenario.sense_chain import nic_of_chain_problems, server_of_chain_problems
from lbsim.scenario.sense_cluster import nic_of_cluster_problems, server_of_cluster_problems
from lbsim.scenario.sense_nic import cores_problems, dispatch_problems
from lbsim.scenario.traffic import AnyArrivals, AnyTraffic, Campus, Closed, Flows, Profile, Recorded
from lbsim.scenario.work import LONGEST_WORK
from lbsim.units import SECOND, format_time

MOST_PACKETS: Final = 1e13  # days of computing
MOST_UNITS: Final = 1e7  # packets under way that a closed loop keeps in memory
MOST_ROWS: Final = 2e8  # rows of a per-packet log that fit a workstation's memory
MOST_SAMPLES: Final = 1e6  # samples of a time series
MOST_HISTOGRAMS: Final = 10_000  # 58 kB each
ROUGH_FRAME: Final = {"imix": 350} | dict.fromkeys(("campus", "campus-4", "campus-8"), 1000)
"""Bytes; only to refuse absurd lengths."""
ROUGH_CLOCK: Final = 2e9  # Hz; same
ROUGH_PPS: Final = {"campus": 5e5, "campus-4": 2e6, "campus-8": 4e6}  # same

Parts = Mapping[str, Any]
"""The parts of a scenario that are known to be right, by their field."""


def warmup_problems(warmup: int, duration: int | None) -> Iterator[str]:
    """Yield that a warm-up in ps leaves nothing of a duration."""
    if duration is not None and warmup >= duration:
        yield f"warmup: {format_time(warmup)} is not below duration {format_time(duration)}; shorten it"


def arrivals_problems(arrivals: AnyArrivals, traffic: AnyTraffic | None) -> Iterator[str]:
    """Yield what keeps packets from coming in this way."""
    if isinstance(arrivals, Recorded) and isinstance(traffic, Flows):
        yield (
            "arrivals.kind: recorded, but traffic of kind flows has no clock of its own; "
            "write poisson, deterministic, on_off or batched"
        )
    if not isinstance(arrivals, Closed) or traffic is None:
        return
    if not isinstance(traffic, Flows):
        yield (
            f"arrivals.kind: closed, but traffic of kind {traffic.kind} does not wait for answers; "
            "write traffic of kind flows, or another kind of arrivals"
        )
        return
    if traffic.popularity:
        popularity = f"{traffic.popularity:g}"
        yield f"traffic.popularity: {popularity}, but in a closed loop windows tell flows apart; write 0"
    if isinstance(traffic.frame, str):
        frame = show(traffic.frame)
        yield f"traffic.frame: {frame}, but the frames of a closed loop have one size; write bytes, e.g. 1514"
    if traffic.flows * arrivals.window > MOST_UNITS:
        yield (
            f"arrivals.window: {arrivals.window:g} packets of each of {traffic.flows} flows are under way, "
            f"at most {MOST_UNITS:.0e} of all; lower it or traffic.flows"
        )


def nic_problems(nic: Nic, parts: Parts) -> Iterator[str]:
    """Yield what keeps packets that come in this way from being dispatched so."""
    yield from dispatch_problems(nic, parts.get("arrivals"))
    if parts.get("cluster") is not None:
        yield from nic_of_cluster_problems(nic, parts["cluster"])
    if parts.get("chain") is not None:
        yield from nic_of_chain_problems(nic, parts["chain"])


def server_problems(server: Server, parts: Parts) -> Iterator[str]:
    """Yield what keeps the cores from serving such packets, and rates that cannot be or would never end."""
    if "nic" in parts:
        yield from cores_problems(clocked(server), parts["nic"].dispatch)
    if parts.get("cluster") is not None:
        yield from server_of_cluster_problems(server, parts["cluster"])
    if parts.get("chain") is not None:
        yield from server_of_chain_problems(server, parts["chain"])
    elif "chain" in parts:
        yield from _no_cost(server)
    if isinstance(parts.get("arrivals"), Closed):
        yield from _one_by_one(server)
    yield from _long_work(clocked(server), parts.get("traffic"))
    yield from _pace({**parts, "server": server})


def measure_problems(measure: Measure, parts: Parts) -> Iterator[str]:
    """Yield records that cannot be had, or would not fit the memory."""
    yield from series_problems(measure, parts.get("duration"))
    packets = packets_of(parts) or 0
    if measure.packets and packets > MOST_ROWS:
        yield (
            f"measure.packets: true keeps about {packets:.1e} rows, at most {MOST_ROWS:.0e}; "
            "shorten duration or write packets = false"
        )
    if isinstance(parts.get("arrivals"), Closed):
        kept = {"packets": "has no log of its packets", "reordering": "never reorders a flow's packets"}
        yield from (
            f"measure.{name}: true, but a closed loop {why}; write false"
            for name, why in kept.items()
            if getattr(measure, name)
        )
    if measure.reordering and "nic" in parts and isinstance(parts["nic"].dispatch, PolicyDispatch):
        yield (
            "measure.reordering: true, but is not counted where a policy chooses; "
            "write false or another kind of nic.dispatch"
        )


def series_problems(measure: Measure, end: int | None) -> Iterator[str]:
    """Yield what keeps time series up to `end` ps from being kept."""
    yield from sampling_problems(measure.interval, end)
    if not measure.latency:
        return
    if measure.interval is None:
        yield 'measure.latency: true, but there is no measure.interval; set it, e.g. "1s"'
    elif end and -(-end // measure.interval) > MOST_HISTOGRAMS:
        yield (
            f"measure.latency: true keeps {-(-end // measure.interval)} histograms, at most "
            f"{MOST_HISTOGRAMS}; write measure.interval {format_time(-(-end // MOST_HISTOGRAMS))} or more"
        )


def sampling_problems(interval: int | None, duration: int | None) -> Iterator[str]:
    """Yield that a sampling interval in ps gives more samples than a time series holds."""
    if interval and duration and duration / interval > MOST_SAMPLES:
        yield (
            f"measure.interval: {format_time(interval)} is {duration / interval:.1e} samples, "
            f"at most {MOST_SAMPLES:.0e}; write {format_time(math.ceil(duration / MOST_SAMPLES))} or more"
        )


def packets_of(parts: Parts) -> float | None:
    """Return roughly how many packets arrive; None where only the capture knows."""
    pps, duration = _pps(parts), parts.get("duration")
    if pps is None or duration is None:
        return None
    profile: Profile | None = getattr(parts["arrivals"], "profile", None)
    return pps * (profile.mean(duration) if profile else 1.0) * int(duration) / SECOND


def _no_cost(server: Server) -> Iterator[str]:
    """Refuse packets that were given nothing to do."""
    if "cost" not in server.model_fields_set:
        yield "server.cost: missing; write a table with work, or chain, with what is done with packets"
    elif not server.cost.model_fields_set:
        yield 'server.cost: empty; write e.g. work = { kind = "fixed", time = "1us" }, or chain'


def _one_by_one(server: Server) -> Iterator[str]:
    """Refuse what the cores of a closed loop cannot do: they take one packet after another."""
    if server.burst != 1:
        yield f"server.burst: {server.burst}, but a closed loop is served packet by packet; write 1"
    if server.cost.per_batch.amount:
        yield (
            f"server.cost.per_batch: {server.cost.per_batch}, but a closed loop is served packet by packet; "
            "write 0 and add it to per_packet"
        )
    if server.stalls is not None:
        yield "server.stalls: given, but cores that serve a closed loop never stall; leave it out"
    if server.state is not None:
        yield (
            f"server.state: {server.state.kind}, but cores that serve a closed loop keep no state; leave it "
            "out, and add its lookup to server.cost.per_packet"
        )


def _long_work(server: Server, traffic: AnyTraffic | None) -> Iterator[str]:
    """Refuse packets that last for hours, and locks that are held for longer than a packet lasts."""
    if server.per_byte_ps * LARGEST_FRAME > LONGEST_WORK:
        yield f"server.cost.per_byte: {server.cost.per_byte} make hours of the largest frame; write less"
    if not isinstance(server.state, Shared):
        return
    state, pairs = server.state, server.cores * (server.cores - 1)
    if state.contention.ps(server.clock) * pairs > LONGEST_WORK:
        yield f"server.state.contention: {state.contention} for {pairs} pairs of cores make hours; write less"
    if traffic is not None:
        batch = server.cost.per_batch.ps(server.clock) / server.burst
        mean = server.mean_service(_rough_frame(traffic)) - batch
        if state.lock.ps(server.clock) > mean:
            yield (
                f"server.state.lock: {state.lock}, but a packet costs about {format_time(round(mean))}, and "
                "a lock is held for part of that; lower it"
            )


def _pps(parts: Parts) -> float | None:
    """Return roughly the packets per second offered at factor 1; None where only the capture knows."""
    if not parts.keys() >= {
        "traffic",
        "arrivals",
        "cluster",
        "chain",
        "server",
    }:  # some part was refused before
        return None
    traffic, arrivals = parts["traffic"], parts["arrivals"]
    frame = _rough_frame(traffic)
    if isinstance(arrivals, Closed):
        return arrivals.link.pps(frame)
    if arrivals.load is not None:
        servers = parts["cluster"].initial if parts.get("cluster") else 1
        return float(arrivals.load * servers * clocked(parts["server"]).capacity(frame))
    if arrivals.rate is not None:
        return float(arrivals.rate.pps(frame))
    return float(ROUGH_PPS[traffic.trace] * arrivals.speed) if isinstance(traffic, Campus) else None


def clocked(server: Server) -> Server:
    """Return a server with a rough clock where only its hardware knows it."""
    if server.clock is not None or server.hardware is None:
        return server
    return server.model_copy(update={"clock": ROUGH_CLOCK})


def _rough_frame(traffic: AnyTraffic) -> float:
    match traffic:
        case Flows(frame=int() as size):
            return size
        case Flows(frame=str() as name) | Campus(trace=name):
            return ROUGH_FRAME[name]
    return ROUGH_FRAME["campus"]


def _pace(parts: Parts) -> Iterator[str]:
    """Refuse rates that cannot be, or would never end."""
    pps, packets = _pps(parts), packets_of(parts)
    batch = getattr(parts.get("arrivals"), "batch", None)
    if pps == math.inf:
        yield "arrivals.load: packets that cost nothing make no load; write arrivals.rate or a cost above 0"
    elif packets is not None and packets > MOST_PACKETS:
        yield f"duration: about {packets:.1e} packets, at most 1e13; shorten it or lower the rate"
    elif pps is not None and batch is not None and pps * batch.gap > SECOND:
        most, gap = SECOND / batch.gap, format_time(int(SECOND / pps))
        yield (
            f"arrivals.batch.gap: packets {format_time(batch.gap)} apart are at most {most:.3g} a second, "
            f"but {pps:.3g} are asked for; write {gap} or less"
        )
