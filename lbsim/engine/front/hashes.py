"""The hash of each flow that a balancer's policies look at; that of the servers' NICs is another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lbsim.balancer.hashing.flows import click_hash, dpdk_hash
from lbsim.jit import kernel
from lbsim.nic import MICROSOFT_KEY, flow_hashes
from lbsim.rng import coin
from lbsim.workload.packets import FlowTable

Int64s = NDArray[np.int64]


def hashes_of(name: str, flows: FlowTable, seed: int) -> Int64s:
    """Return the 32-bit hash of each flow, int64[flows].

    "click" and "crc32c" are those of `lbsim.balancer.hashing.flows`, of client, service and their ports, the
    source being the client; of IPv6 addresses they see the four words XORed (they are defined for IPv4
    alone). "toeplitz" has Microsoft's key. "ideal" is a random number of each row of the table. Raises
    ValueError for other names.
    """
    match name:
        case "toeplitz":
            return flow_hashes(flows, MICROSOFT_KEY).astype(np.int64)
        case "ideal":
            return _ideal(seed, len(flows))
        case "click" | "crc32c":
            ends = _word(flows.src, flows.version), _word(flows.dst, flows.version)
            return _tuples(
                name == "click",
                *ends,
                flows.sport.astype(np.int64),
                flows.dport.astype(np.int64),
                flows.proto,
            )
    raise ValueError(f"hash {name!r} is unknown: choose click, toeplitz, crc32c or ideal")


def _word(address: NDArray[np.uint8], version: NDArray[np.uint8]) -> Int64s:
    """Return an address as 32 bits."""
    words = np.ascontiguousarray(address).view(">u4").astype(np.int64).reshape(-1, 4)
    return np.where(version == 4, words[:, 0], np.bitwise_xor.reduce(words, axis=1))


@kernel
def _tuples(
    click: bool, client: Int64s, service: Int64s, client_port: Int64s, service_port: Int64s,
    protocol: NDArray[np.uint8],
) -> Int64s:  # fmt: skip
    hashes = np.empty(len(client), np.int64)
    for k in range(len(client)):
        if click:
            hashes[k] = click_hash(client[k], client_port[k], service[k], service_port[k])
        else:
            hashes[k] = dpdk_hash(client[k], client_port[k], service[k], service_port[k], int(protocol[k]))
    return hashes


@kernel
def _ideal(seed: int, flows: int) -> Int64s:
    hashes = np.empty(flows, np.int64)
    for k in range(flows):
        hashes[k] = coin(seed, k, 3) & 0xFFFFFFFF
    return hashes
