"""Where Metron puts a chain: on which server, and over which path its packets get there.

Metron polls two random servers and takes the one with more spare capacity; of the eight shortest paths it
takes the one with the fewest hops, which is the first (Katsikas et al., NSDI 2018; gkatsikas/onos,
apps/metron). Rivals of the choice stand beside it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Int64s = NDArray[np.int64]
Floats = NDArray[np.float64]

# --- Servers ------------------------------------------------------------------------------------------------


class Demand(NamedTuple):
    """What a chain asks of its server."""

    cores: int
    load: float = 0.0  # cores' worth of work that it will bring
    nics: int = 1


class Fleet(NamedTuple):
    """The servers; one row each."""

    cores: Int64s
    nics: Int64s
    taken: Int64s  # cores that chains have
    load: Floats  # cores' worth of work

    @classmethod
    def of(cls, servers: int, cores: int, nics: int = 1) -> Fleet:
        """Return equal servers without any chain."""
        every = np.ones(servers, np.int64)
        return cls(cores * every, nics * every, 0 * every, np.zeros(servers))

    def fits(self, demand: Demand, server: int) -> bool:
        """Return whether a server has the cores and the NICs that a chain asks for."""
        free = self.cores[server] - self.taken[server]
        return bool(free >= demand.cores and self.nics[server] >= demand.nics)


Choose = Callable[[Sequence[int], Floats, np.random.Generator], int]
"""From the servers that are left, and the spare capacity of every server, to one of those left."""


def two_choices(left: Sequence[int], spare: Floats, rng: np.random.Generator) -> int:
    """Return the one of two random servers with more spare capacity, of equals the first.

    The two may be the same.
    """
    first, second = (left[int(k)] for k in rng.integers(len(left), size=2))
    return second if spare[second] > spare[first] else first


def at_random(left: Sequence[int], spare: Floats, rng: np.random.Generator) -> int:
    """Return a random server."""
    return left[int(rng.integers(len(left)))]


def first_fit(left: Sequence[int], spare: Floats, rng: np.random.Generator) -> int:
    """Return the first server."""
    return left[0]


def best_fit(left: Sequence[int], spare: Floats, rng: np.random.Generator) -> int:
    """Return the server with the least spare capacity, as one packs bins."""
    return min(left, key=lambda server: float(spare[server]))


def most_spare(left: Sequence[int], spare: Floats, rng: np.random.Generator) -> int:
    """Return the server with the most spare capacity, for which all have to be polled."""
    return max(left, key=lambda server: float(spare[server]))


CHOICES: Final[Mapping[str, Choose]] = MappingProxyType(
    {
        "two choices": two_choices,
        "random": at_random,
        "first fit": first_fit,
        "best fit": best_fit,
        "most spare": most_spare,
    }
)
"""Metron's choice and its rivals, by name."""


class Placement(NamedTuple):
    """Where chains went."""

    server: Int64s  # of each chain; -1: none could take it
    tries: Int64s  # servers that were asked to take it
    fleet: Fleet  # afterwards


def place(demands: Sequence[Demand], fleet: Fleet, choose: Choose, rng: np.random.Generator) -> Placement:
    """Place one chain after another; `fleet` does not change.

    A server that cannot take a chain is dropped from that chain's list, and another is chosen, until one can
    or none is left. Spare capacity is a server's cores less the work that the chains before brought. Raises
    ValueError for a chain that asks for less than one core, or for negative work.
    """
    fleet = fleet._replace(taken=fleet.taken.copy(), load=fleet.load.copy())
    server, tries = np.full(len(demands), -1, np.int64), np.zeros(len(demands), np.int64)
    for k, demand in enumerate(demands):
        if demand.cores < 1 or not demand.load >= 0:
            raise ValueError(f"chain {k}: {demand} must ask for 1 core or more and bring no negative load")
        left = list(range(len(fleet.cores)))
        while left:
            chosen = choose(left, fleet.cores - fleet.load, rng)
            tries[k] += 1
            if fleet.fits(demand, chosen):
                server[k] = chosen
                fleet.taken[chosen] += demand.cores
                fleet.load[chosen] += demand.load
                break
            left.remove(chosen)
    return Placement(server, tries, fleet)


# --- Paths --------------------------------------------------------------------------------------------------


class Topology(NamedTuple):
    """A network: switches, then servers."""

    names: tuple[str, ...]
    neighbours: tuple[tuple[int, ...], ...]  # of each node, ascending
    servers: tuple[int, ...]  # their nodes, ascending
    edges: tuple[int, ...]  # nodes of the switches that servers are connected to, in order of the servers


def leaf_spine(leaves: int, spines: int, servers: int) -> Topology:
    """Return a network of two levels, `servers` under each leaf and every leaf connected to every spine."""
    names = [f"spine {k}" for k in range(spines)] + [f"leaf {k}" for k in range(leaves)]
    links = [(spine, spines + leaf) for spine in range(spines) for leaf in range(leaves)]
    return _with_servers(names, links, [spines + leaf for leaf in range(leaves)], servers)


def fat_tree(k: int) -> Topology:
    """Return the fat tree of switches with `k` ports, which has k^3 / 4 servers.

    As in Al-Fares et al., SIGCOMM 2008. Raises ValueError where `k` is odd or below 2.
    """
    if k < 2 or k % 2:
        raise ValueError(f"k is {k}: the switches of a fat tree have an even number of ports, 2 or more")
    half, core = k // 2, (k // 2) ** 2
    names = [f"core {c}" for c in range(core)]
    links, edges = [], []
    for pod in range(k):
        first = core + pod * k
        names += [f"aggregation {pod}.{a}" for a in range(half)] + [f"edge {pod}.{e}" for e in range(half)]
        links += [(a * half + c, first + a) for a in range(half) for c in range(half)]
        links += [(first + a, first + half + e) for a in range(half) for e in range(half)]
        edges += [first + half + e for e in range(half)]
    return _with_servers(names, links, edges, half)


def _with_servers(
    names: list[str], links: list[tuple[int, int]], edges: Sequence[int], servers: int
) -> Topology:
    """Return the network with `servers` more nodes at each edge switch."""
    up = [edge for edge in edges for _ in range(servers)]
    first = len(names)
    names = [*names, *(f"server {k}" for k in range(len(up)))]
    links = [*links, *((edge, first + k) for k, edge in enumerate(up))]
    neighbours: list[list[int]] = [[] for _ in names]
    for a, b in links:
        neighbours[a].append(b)
        neighbours[b].append(a)
    return Topology(
        tuple(names),
        tuple(tuple(sorted(near)) for near in neighbours),
        tuple(range(first, len(names))),
        tuple(up),
    )


def paths(topology: Topology, source: int, target: int) -> Iterator[tuple[int, ...]]:
    """Yield all paths without a loop, the shortest by hops first, of equals in order of their nodes."""
    far = _hops_to(topology, target)
    heap: list[tuple[int, tuple[int, ...]]] = [(far[source], (source,))] if source in far else []
    while heap:
        _, path = heapq.heappop(heap)  # no path to the target through here is shorter than that
        if path[-1] == target:
            yield path
            continue
        for node in topology.neighbours[path[-1]]:
            if node in far and node not in path:
                heapq.heappush(heap, (len(path) + far[node], (*path, node)))


def best_path(topology: Topology, source: int, target: int) -> tuple[int, ...]:
    """Return the first of the shortest paths; ValueError where there is none."""
    for path in paths(topology, source, target):
        return path
    raise ValueError(f"there is no path from {topology.names[source]} to {topology.names[target]}")


def _hops_to(topology: Topology, target: int) -> dict[int, int]:
    far, queue = {target: 0}, deque([target])
    while queue:
        node = queue.popleft()
        for near in topology.neighbours[node]:
            if near not in far:
                far[near] = far[node] + 1
                queue.append(near)
    return far
