"""Flow Director as a front: the NIC has a rule for each flow that it knows, and RSS for the others."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.engine.front import Int32s
from lbsim.engine.reference import Packet
from lbsim.jit import kernel
from lbsim.workload.packets import Packets

Int64s = NDArray[np.int64]

UNSEEN, WITHOUT = -1, -2  # in `Rules.of`: no packet so far; came when there was no room
GIVEN, REFUSED = 0, 1  # rows of `Rules.counts`


class Rules(NamedTuple):
    """The rules of the NIC, as columns over flows."""

    of: Int32s  # the number of each flow's rule; UNSEEN, WITHOUT
    works_at: Int64s  # ps from which on it does
    counts: Int64s  # rules given; flows refused
    entries: int  # most rules
    latency: int  # ps from a flow's first packet to its rule
    table: int  # buckets of RSS; rule k is bucket table + k


class FlowDirector:
    """Flow Director; see `lbsim.engine.front.Front`.

    The first packet of a flow asks for a rule, which works `latency` later: until then its packets go by RSS,
    and those already on their way to another core may be overtaken. Rules are given in turn, and rule k names
    core k mod n by the plane's table. They are never taken back; a flow that comes when all are given stays
    with RSS.
    """

    name = "flow director"
    causes: tuple[str, ...] = ()

    def __init__(self, flows: int, entries: int, latency: int, table: int) -> None:
        of, works_at = np.full(flows, UNSEEN, np.int32), np.zeros(flows, np.int64)
        self.rules = Rules(of, works_at, np.zeros(2, np.int64), entries, latency, table)

    def steer(self, p: Packets, base: int) -> Int32s:
        """Return the bucket of each of these packets, in order of arrival."""
        bucket = np.empty(len(p.time), np.int32)
        _steer(self.rules, p.time, p.flow, p.bucket, bucket)
        return bucket

    def steer_one(self, packet: Packet) -> int:
        """Return the bucket of a packet that arrives now."""
        rules, flow, now = self.rules, packet.flow, packet.arrival
        if rules.of[flow] == UNSEEN:
            given = int(rules.counts[GIVEN])
            room = given < rules.entries
            rules.of[flow] = given if room else WITHOUT
            rules.works_at[flow] = now + rules.latency
            rules.counts[GIVEN if room else REFUSED] += 1
        if rules.of[flow] >= 0 and now >= rules.works_at[flow]:
            return rules.table + int(rules.of[flow])
        return packet.bucket

    def counted(self) -> dict[str, int]:
        """Return the rules given, and the flows that came too late for one."""
        given, refused = self.rules.counts.tolist()
        return {"rules": given, "rules_refused": refused}


@kernel
def _steer(rules: Rules, time: Int64s, flows: Any, by_hash: Int32s, bucket: Int32s) -> None:
    for k in range(time.size):
        flow = flows[k]
        if rules.of[flow] == UNSEEN:
            given = rules.counts[GIVEN]
            if given < rules.entries:
                rules.of[flow] = given
                rules.counts[GIVEN] += 1
            else:
                rules.of[flow] = WITHOUT
                rules.counts[REFUSED] += 1
            rules.works_at[flow] = time[k] + rules.latency
        if rules.of[flow] >= 0 and time[k] >= rules.works_at[flow]:
            bucket[k] = rules.table + rules.of[flow]
        else:
            bucket[k] = by_hash[k]
