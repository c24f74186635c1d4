"""Synthetic traffic: a fixed population of flows, each packet drawn independently."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lbsim.rng import stream
from lbsim.scenario import Flows
from lbsim.workload.campus_facts import frame_sizes
from lbsim.workload.distributions import Distribution, published
from lbsim.workload.packets import FlowTable, Traffic, TrafficChunk

CHUNK = 1 << 15


def flow_traffic(spec: Flows, seed: int, replication: int = 0) -> Traffic:
    """Return endless traffic over `spec.flows` TCP 5-tuples.

    Packet k belongs to flow r with probability proportional to (r + 1)^-popularity. Frames are constant or
    drawn from a published table of packet sizes.
    """
    tuples = _random_tuples if spec.tuples == "clients" else _ports_of_one_client
    table = tuples(spec.flows, stream(seed, "flows", replication))
    cdf = np.cumsum(np.arange(1, spec.flows + 1, dtype=float) ** -spec.popularity)
    cdf /= cdf[-1]
    sizes = _frame_law(spec.frame) if isinstance(spec.frame, str) else None
    mean = sizes.mean if sizes else float(spec.frame)

    def chunks(checksums: bool) -> Iterator[TrafficChunk]:
        order, size = stream(seed, "order", replication), stream(seed, "sizes", replication)
        sums = stream(seed, "checksums", replication)
        none = np.empty(0, np.int64)
        constant = np.full(CHUNK, 0 if sizes else spec.frame, np.int32)
        while True:
            flow = _draw(spec, cdf, order)
            frame = np.rint(sizes.sample(size, CHUNK)).astype(np.int32) if sizes else constant
            low = sums.integers(0, 256, CHUNK, dtype=np.uint8) if checksums else np.empty(0, np.uint8)
            yield TrafficChunk(flow, frame, low, none)

    return Traffic(f"{spec.flows} flows", table, mean, float("nan"), chunks)


def _frame_law(name: Literal["imix", "campus", "campus-4"]) -> Distribution:
    return published(name) if name == "imix" else frame_sizes(name)


def _draw(spec: Flows, cdf: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int32]:
    if spec.popularity == 0:
        return rng.integers(0, spec.flows, CHUNK, dtype=np.int32)
    return np.searchsorted(cdf, rng.random(CHUNK), side="right").astype(np.int32)


def _random_tuples(n: int, rng: np.random.Generator) -> FlowTable:
    """Clients all over 10.0.0.0/8 talk to one server's port 80."""
    src, dst = np.zeros((n, 16), np.uint8), np.zeros((n, 16), np.uint8)
    src[:, 0] = 10
    src[:, 1:4] = rng.integers(0, 256, (n, 3), dtype=np.uint8)
    dst[:, :4] = (192, 0, 2, 1)
    sport = rng.integers(1024, 65536, n).astype(np.uint16)
    return FlowTable(
        src, dst, np.full(n, 4, np.uint8), np.full(n, 6, np.uint8), sport, np.full(n, 80, np.uint16)
    )


def _ports_of_one_client(n: int, rng: np.random.Generator) -> FlowTable:
    """One client talks to port 80 of one server, from every second port after a random one.

    Linux gives a client's connections ports of one parity, in order. A linear hash, as Toeplitz is, may map
    such a run of ports to few values: to how many is a matter of its key.
    """
    src, dst = np.zeros((n, 16), np.uint8), np.zeros((n, 16), np.uint8)
    src[:, :4], dst[:, :4] = (10, 0, 0, 1), (192, 0, 2, 1)
    first, last = 32768, 61000  # the range of ports that Linux hands out
    sport = (int(rng.integers(first, last - 2 * n)) + 2 * np.arange(n)).astype(np.uint16)
    return FlowTable(
        src, dst, np.full(n, 4, np.uint8), np.full(n, 6, np.uint8), sport, np.full(n, 80, np.uint16)
    )
