"""The testbed of PacketMill (ASPLOS 2021): one core of a 100 Gb/s server, and what a packet costs on it.

What a packet costs is the published fit A / f + B of each configuration (`lbsim.chain.cost`), the rest of the
machine its profile (`lbsim.chain.hardware`): those figures that fix a cost or a limit check an input, the
others are predictions. The generator sends without a pause, at the rate of the wire.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pandas as pd

from lbsim.chain.cost import framework
from lbsim.chain.hardware import machine
from lbsim.metrics.result import Result
from lbsim.scenario import (
    Campus,
    Deterministic,
    Flows,
    Measure,
    Nic,
    NicLimit,
    QueueLimit,
    Rate,
    Rss,
    Scenario,
    Server,
)
from lbsim.study import Tables
from lbsim.units import MS

MACHINE: Final = machine("packetmill")
CLOCK: Final = 2.3e9  # where a figure does not vary it
RING: Final = 1024  # descriptors of a receive queue (published test files)
BURST: Final = 32
LINE: Final = Rate.parse("100Gbps")
MEAN_FRAME: Final = 1011  # bytes, of the campus trace
WARMUP: Final = 20 * MS  # a full ring needs 2; and what the trace's first, partial second holds
LOOP: Final = 166 * MS  # 2 million packets at the rate of the wire: what the published runs play 25 times
KEYS: Final = tuple(f"random:{key}" for key in range(16))
"""Hash keys: the luck of RSS; which one the published runs had is not known."""

VANILLA, PACKETMILL = "Vanilla", "PacketMill"


def nic(key: str = KEYS[0]) -> Nic:
    """Return the network card: RSS, and what it and one of its receive queues hand over at most."""
    return Nic(
        dispatch=Rss(key=key),
        limit=NicLimit(rate=MACHINE.limit(MEAN_FRAME)),
        queue=QueueLimit(per_packet=MACHINE.queue_per_packet, per_byte=MACHINE.queue_per_byte),
    )


def saturated(figure: str, configuration: str, *, clock: float = CLOCK) -> Scenario:
    """Return the server with the campus trace at 100 Gb/s: faster than any core."""
    return Scenario(
        name=figure,
        warmup=WARMUP,
        duration=WARMUP + LOOP,
        traffic=Campus(trace="campus"),
        arrivals=Deterministic(rate=LINE),
        nic=nic(),
        server=server(configuration, clock=clock),
        measure=Measure(path_delay=MACHINE.path(MEAN_FRAME)),
    )


def server(configuration: str, *, clock: float = CLOCK) -> Server:
    """Return the server on which a packet costs what the configuration does."""
    return Server(cores=1, clock=clock, ring=RING, burst=BURST, cost=framework(configuration))


def fixed_size(frame: int) -> Flows:
    """Return packets of one size."""
    return Flows(flows=1024, frame=frame)


def measure(result: Result) -> dict[str, float]:
    """Return the rate, the received link rate and latency."""
    return {
        "rate_mpps": result.throughput / 1e6,
        "throughput_gbps": result.throughput_gbps,
        "p50_us": result.latency_us(0.5),
        "p99_us": result.latency_us(0.99),
    }


def value(table: pd.DataFrame, column: str, **where: Any) -> float:
    """Return the median of a column over the rows in which all columns of `where` have those values."""
    rows = table
    for name, wanted in where.items():
        rows = rows[rows[name] == wanted]
    return float(rows[column].median(skipna=False))


def reader(figure: str, column: str, **where: Any) -> Any:
    """Return a function that reads such a value from the tables of studies."""

    def read(tables: Tables) -> float:
        return value(tables[figure], column, **where)

    return read


def published(figure: str) -> Path:
    """Return the CSV of a figure's published points."""
    return Path(__file__).parent / "data" / f"{figure.replace('-', '_')}.csv"
