"""Network functions that keep state of flows, on the testbed of RSS++: where that state lives, what it costs.

The rest of the testbed is that of `rsspp_testbed`. What is calibrated here says on what; everything else is
predicted.
"""

from __future__ import annotations

from typing import Literal

from experiments import rsspp_testbed as rsspp
from lbsim.scenario import Batch, Batched, Cost, Fixed, PerBucket, Rate, Server, Shared, Work
from lbsim.units import NS, SECOND, US, wire_bits

LINE = Rate.parse("99.5Gbps")  # the most that was received in Fig. 16 and 17: 99.5 to 99.7

# --- Fig. 16: artificial work behind a flow table ---
DRAWS = 100  # published test file
ONE_CORE = 21.4e9
"""Bits per second that one core forwarded (Fig. 16); calibrates LOOKUP."""
LOOKUP = round(wire_bits(1500) * SECOND / ONE_CORE - (rsspp.SATURATED[400] - 300 * rsspp.PER_DRAW))
CONTENTION = round(9.4 * NS)
"""Of a shared table, for every ordered pair of busy cores; calibrated on one point, the 89.1 Gb/s that
8 cores forwarded on average (Fig. 16)."""
LINE_DELAY = 822 * US
"""What a packet waits outside the server at line rate; calibrated on the median latency of per-bucket tables
when the last of 15 cores came into use (Fig. 16); from 6 cores on it is 730 to 1030 us."""

# --- Fig. 17: a packet of 1002 bytes on one saturated core, from the throughput of one core ---
SATURATED = {"FW": 622 * NS, "FW+NAT": 761 * NS, "FW+NAT+DPI": 1360 * NS}
MEAN_FRAME = 1002  # bytes, of Campus #4
NAT_LOOKUP = SATURATED["FW+NAT"] - SATURATED["FW"]
DPI_PER_BYTE = round((SATURATED["FW+NAT+DPI"] - SATURATED["FW+NAT"]) / MEAN_FRAME)
LOCK = 100 * NS
"""For which a packet holds the lock of its flow in a shared table; assumed."""

Home = Literal["per bucket", "shared"]
NF = Literal["FW", "FW+NAT", "FW+NAT+DPI"]
"""Only with NAT is there state: FW alone scales under Sprayer as without any (slides of Fig. 14)."""


def at_line_rate(frame_gap: int) -> Batched:
    """Return the replay from memory as fast as the wire allows, frames of a batch `frame_gap` ps apart."""
    batch = rsspp.MEMORY_BATCH
    return Batched(rate=LINE, batch=Batch(base=batch.base, timer=batch.timer, cap=batch.cap, gap=frame_gap))


def table(home: Home, lookup: int, lock: int = 0) -> PerBucket | Shared:
    """Return where the state of flows is kept."""
    if home == "per bucket":
        return PerBucket(lookup=Work(lookup))
    return Shared(lookup=Work(lookup), contention=Work(CONTENTION), lock=Work(lock))


def server(home: Home, nf: NF, cores: int = 8) -> Server:
    """Return the server of Fig. 17."""
    cost = Cost(
        per_batch=Work(rsspp.PER_BATCH),
        per_byte=Work(DPI_PER_BYTE if "DPI" in nf else 0),
        work=Fixed(time=Work(SATURATED["FW"] - rsspp.PER_BATCH // rsspp.BURST)),
    )
    state = None if nf == "FW" else table(home, NAT_LOOKUP, LOCK)
    return Server(
        cores=cores, ring=rsspp.RING, burst=rsspp.BURST, cost=cost, state=state, stalls=rsspp.STALLS
    )
