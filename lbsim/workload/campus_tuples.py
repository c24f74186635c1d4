"""Directional 5-tuples of the campus traffic: who talks to whom, by assumption, as nothing is published.

RSS spreads any tuples alike. Rules over prefixes (the traffic classes of Metron) do not. What is known: the
merged recording shows 830 pairs of /8 prefixes (the rules of the RSS++ experiments). So each recording has
one campus prefix and talks to 104 server prefixes, of Zipf popularity: 4 x 104 x 2 directions.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from lbsim.workload.packets import Bytes, FlowTable

Uint32s = NDArray[np.uint32]
Int64s = NDArray[np.int64]

PREFIX_ZIPF: Final = 2.0
"""Exponent of the popularity of server prefixes: of 1, 1.5, 1.75, 2 and 2.5 the one whose traffic classes
come nearest to the published imbalance on 6 and 12 cores (RSS++ Fig. 12b: 172 and 604 %; here 152 and 457 %
in the seconds 5 to 14, over which they were compared, and 116 and 192 % over the whole recording)."""
HOST_ZIPF: Final = 1.0  # of hosts inside a prefix; assumed
CAMPUS_HOSTS: Final = 1 << 16  # of the one campus prefix of a window
SERVER_PREFIXES, SERVER_HOSTS = 104, 1 << 14  # of a window, and hosts in each
TCP, UDP = 6, 17
SERVICES: Final = (  # protocol, port of the server, share of flows
    (TCP, 443, 0.56),
    (TCP, 80, 0.24),
    (TCP, 8080, 0.02),
    (TCP, 993, 0.02),
    (TCP, 22, 0.01),
    (UDP, 53, 0.07),
    (UDP, 443, 0.06),
    (UDP, 123, 0.02),
)
_FIRST_PORT: Final = 1024
_PORTS: Final = 65536 - _FIRST_PORT
_STRIDE: Final = 40507  # prime to _PORTS: a host's ports are scattered, none twice
_SCATTER: Final = 10368889  # odd: no two hosts of a prefix are one


def campus_tuples(n: int, windows: int, rng: np.random.Generator) -> FlowTable:
    """Return n distinct tuples, each from one of `windows` recordings with prefixes of its own.

    A host on the campus talks from an ephemeral port, its own for each flow, to a well-known port of a
    server; half of the flows are the opposite direction.
    """
    window = rng.integers(0, windows, n)
    octets = rng.permutation([a for a in range(1, 224) if a not in (10, 127)])
    homes, away = octets[:windows], octets[windows:]
    prefixes = np.stack([rng.permutation(away)[:SERVER_PREFIXES] for _ in range(windows)])
    campus = _hosts(homes[window], CAMPUS_HOSTS, rng)
    server = _hosts(prefixes[window, _zipf(SERVER_PREFIXES, PREFIX_ZIPF, n, rng)], SERVER_HOSTS, rng)
    service = rng.choice(len(SERVICES), n, p=[share for _, _, share in SERVICES])
    proto = np.array([p for p, _, _ in SERVICES], np.uint8)[service]
    port = np.array([p for _, p, _ in SERVICES], np.uint16)[service]
    own_port = _own_ports(campus, rng)
    back = rng.random(n) < 0.5
    return FlowTable(
        src=_address(np.where(back, server, campus)),
        dst=_address(np.where(back, campus, server)),
        version=np.full(n, 4, np.uint8),
        proto=proto,
        sport=np.where(back, port, own_port),
        dport=np.where(back, own_port, port),
    )


def _hosts(prefix: Int64s, hosts: int, rng: np.random.Generator) -> Uint32s:
    """Return an address per flow: a host in its prefix, by Zipf's law; hosts are scattered over it."""
    host = _zipf(hosts, HOST_ZIPF, len(prefix), rng)
    return ((prefix << 24) | ((host * _SCATTER + prefix) & 0xFFFFFF)).astype(np.uint32)


def _zipf(ranks: int, exponent: float, n: int, rng: np.random.Generator) -> Int64s:
    share = np.cumsum(np.arange(1, ranks + 1) ** -exponent)
    return np.searchsorted(share / share[-1], rng.random(n)).astype(np.int64)


def _own_ports(host: Uint32s, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Return ports of which no host uses one twice (up to 64512 flows a host)."""
    key = (host.astype(np.uint64) << np.uint64(32)) | rng.integers(0, 2**32, len(host), dtype=np.uint64)
    order = np.argsort(key)
    sorted_host = host[order]
    new = np.append(True, sorted_host[1:] != sorted_host[:-1])
    group = np.flatnonzero(new)[np.cumsum(new) - 1]
    rank = np.arange(len(host)) - group
    port = np.empty(len(host), np.uint16)
    port[order] = _FIRST_PORT + (rank * _STRIDE + sorted_host.astype(np.int64) * 7919) % _PORTS
    return port


def _address(hosts: Uint32s) -> Bytes:
    out = np.zeros((len(hosts), 16), np.uint8)
    out[:, :4] = hosts.astype(">u4").view(np.uint8).reshape(-1, 4)
    return out
