"""The sum of a tuple's bytes, against sums by hand."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lbsim.nic import byte_sums
from lbsim.workload.packets import FlowTable

addresses = st.ip_addresses(v=4) | st.ip_addresses(v=6)
ports = st.integers(0, 65535)
flows_of_a_version = st.sampled_from([4, 6]).flatmap(
    lambda v: st.tuples(st.ip_addresses(v=v), st.ip_addresses(v=v), ports, ports)
)
Flow = tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address, int, int]


def table(flows: list[Flow]) -> FlowTable:
    """A flow table of (src, dst, sport, dport), with rubbish where IPv4 has no bytes."""

    def rows(column: int) -> np.ndarray:
        return np.array([[*flow[column].packed, *[255] * 12][:16] for flow in flows], np.uint8)

    version = np.array([flow[0].version for flow in flows], np.uint8)
    sport, dport = (np.array([flow[k] for flow in flows], np.uint16) for k in (2, 3))
    return FlowTable(rows(0), rows(1), version, np.full(len(flows), 6, np.uint8), sport, dport)


@given(st.lists(flows_of_a_version, min_size=1, max_size=5))
def test_every_byte_of_addresses_and_ports_counts_once(flows: list[Flow]) -> None:
    sums = byte_sums(table(flows))
    assert sums.dtype == np.uint32
    for flow, found in zip(flows, sums.tolist(), strict=True):
        src, dst, sport, dport = flow
        assert found == sum(src.packed + dst.packed + sport.to_bytes(2) + dport.to_bytes(2))


def test_a_sum_by_hand() -> None:
    flow = (IPv4Address("10.0.1.2"), IPv4Address("192.0.2.1"), 0x1234, 80)
    back = (flow[1], flow[0], flow[3], flow[2])
    assert byte_sums(table([flow, back])).tolist() == [13 + 195 + 0x12 + 0x34 + 80] * 2
