"""The sum of a tuple's bytes, which stands in for Toeplitz in the published experiments of CrossRSS."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lbsim.nic.toeplitz import FlowColumns

IPV4_BYTES = 4


def byte_sums(flows: FlowColumns) -> NDArray[np.uint32]:
    """Return uint32[flows], the sum of the bytes of both addresses and both ports of each flow.

    Of IPv4 that is 12 bytes (tbarbette/fastclick, crossrss.cc). The two directions of a connection have one
    sum, so they share a bucket.
    """
    inside = np.where(flows.version[:, None] == 6, 16, IPV4_BYTES) > np.arange(16)
    addresses = ((flows.src.astype(np.uint32) + flows.dst) * inside).sum(axis=1, dtype=np.uint32)
    ports = (flows.sport >> 8) + (flows.sport & 255) + (flows.dport >> 8) + (flows.dport & 255)
    return np.asarray(addresses + ports, np.uint32)
