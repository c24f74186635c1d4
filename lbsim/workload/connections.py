"""Columns of connections: when they begin, how their addresses hash, and what the URLs of clients are like.

Chunks are of `CHUNK` rows, so memory does not grow with the length of a run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim.balancer.hashing.flows import click_hash, dpdk_hash
from lbsim.jit import kernel
from lbsim.nic.toeplitz import MICROSOFT_KEY, toeplitz
from lbsim.rng import coin
from lbsim.units import SECOND, TIMES
from lbsim.workload.distributions import Distribution

Int64s = NDArray[np.int64]
Hasher = Callable[[int], Int64s]
"""Returns the 32-bit hashes of the next n connections."""

CHUNK: Final = 1 << 16

SERVICE: Final = 0xC0000201  # 192.0.2.1, the one address that clients connect to
PORT: Final = 80
CLIENTS: Final = 0x0A000000  # 10.0.0.0, the first of the clients' addresses
EPHEMERAL: Final = 1024  # first port of a client; Linux's connect() takes even ones
BYTES: Final = {"bytes": 1, "KB": 1000}


# --- begins -------------------------------------------------------------------------------------------------


def poisson(rate: float, rng: np.random.Generator, end: int) -> Iterator[Int64s]:
    """Yield the times of a Poisson process below `end`, `rate` per second."""
    now, gap = 0, SECOND / rate
    while True:
        gaps = rng.standard_exponential(CHUNK)
        gaps *= gap
        enough = np.searchsorted(np.cumsum(gaps), float(end - now + CHUNK)) + 1  # more would not fit an int64
        times = np.minimum(gaps[:enough], end).astype(np.int64)
        times[0] += now
        np.cumsum(times, out=times)
        now = int(times[-1])
        if now >= end:
            yield times[: np.searchsorted(times, end, side="left")]
            return
        yield times


class Launches(NamedTuple):
    """How fast each process launches requests: every 1 / rate(t) + overhead."""

    low: float  # per second, before `start` and after `stop`
    high: float  # in the middle between them, where a squared sine has its top
    start: int  # ps
    stop: int  # ps
    overhead: int  # ps


@kernel
def launch_interval(law: Launches, time: int) -> int:
    """Return the time from a launch at `time` to the process's next one, ps."""
    part = min(max(time - law.start, 0), law.stop - law.start) / (law.stop - law.start)
    rate = law.low + (law.high - law.low) * math.sin(math.pi * part) ** 2
    return int(round(SECOND / rate)) + law.overhead  # noqa: RUF046  # Numba's round gives a float


def launches(
    law: Launches, processes: int, rng: np.random.Generator, end: int
) -> Iterator[tuple[Int64s, Int64s]]:
    """Yield times below `end` and processes of launches in order of time, of equals the lowest process first.

    Each process starts at a random time within its first interval.
    """
    due = np.floor(rng.random(processes) * launch_interval(law, 0)).astype(np.int64)
    while True:
        time, process = np.empty(CHUNK, np.int64), np.empty(CHUNK, np.int64)
        n = _launch(law, due, end, time, process)
        yield time[:n], process[:n]
        if n < CHUNK:
            return


@kernel
def _launch(law: Launches, due: Int64s, end: int, time: Int64s, process: Int64s) -> int:
    """Fill the columns with the next launches; `due` is each process's next. Return how many there are."""
    for k in range(len(time)):
        first = np.argmin(due)
        if due[first] >= end:
            return k
        time[k], process[k] = due[first], first
        due[first] += launch_interval(law, due[first])
    return len(time)


# --- hashes -------------------------------------------------------------------------------------------------


def hasher(name: str, addresses: int, rng: np.random.Generator, all_over: bool = False) -> Hasher:
    """Return what hashes connections: "ideal" draws 32 random bits, the others hash a random client's tuple.

    "toeplitz" (with Microsoft's key), "crc32c" and "click" see one of `addresses` client addresses at random,
    a random even port, and one service. The addresses follow each other, or are random ones, `all_over`.
    """
    if name == "ideal":
        return lambda n: rng.integers(0, 1 << 32, n, dtype=np.int64)
    digest = {"toeplitz": _toeplitz, "crc32c": _crc32c, "click": _click}[name]
    seed = int(rng.integers(1 << 62)) if all_over else None

    def hashes(n: int) -> Int64s:
        client = rng.integers(0, addresses, n)
        address = (CLIENTS + client) & 0xFFFFFFFF if seed is None else scattered(seed, client)
        return digest(address, 2 * rng.integers(EPHEMERAL // 2, 1 << 15, n))

    return hashes


@kernel
def scattered(seed: int, client: Int64s) -> Int64s:
    """Return a random address for each number of a client, the same for the same seed."""
    address = np.empty(len(client), np.int64)
    for k in range(len(client)):
        address[k] = coin(seed, client[k], 0) & 0xFFFFFFFF
    return address


def _toeplitz(address: Int64s, port: Int64s) -> Int64s:
    data = np.empty((len(address), 12), np.uint8)
    data[:, :4] = address.astype(">u4").view(np.uint8).reshape(-1, 4)
    data[:, 4:8] = np.frombuffer(SERVICE.to_bytes(4, "big"), np.uint8)
    data[:, 8:10] = port.astype(">u2").view(np.uint8).reshape(-1, 2)
    data[:, 10:] = np.frombuffer(PORT.to_bytes(2, "big"), np.uint8)
    return toeplitz(MICROSOFT_KEY, data).astype(np.int64)


@kernel
def _crc32c(address: Int64s, port: Int64s) -> Int64s:
    hashes = np.empty(len(address), np.int64)
    for k in range(len(address)):
        hashes[k] = dpdk_hash(address[k], port[k], SERVICE, PORT)
    return hashes


@kernel
def _click(address: Int64s, port: Int64s) -> Int64s:
    hashes = np.empty(len(address), np.int64)
    for k in range(len(address)):
        hashes[k] = click_hash(address[k], port[k], SERVICE, PORT)
    return hashes


# --- what clients ask for -----------------------------------------------------------------------------------


def url_table(
    lengths: Distribution,
    sizes: Distribution,
    urls: int,
    levels: int,
    segment: int,
    rng: np.random.Generator | None = None,
) -> tuple[Int64s, Int64s]:
    """Return length and gap in ps of each URL, int64[urls].

    Level k of `levels` has the quantile at (k + 1/2) / levels of its table. URLs have the levels of length
    in turn, and the same of size; with `rng` sizes are dealt to URLs at random. A response is sent evenly
    over its length, a packet at every full `segment` bytes: the gap is length x segment / size. Raises
    ValueError where a table's unit is no time or no size.
    """
    time, size = TIMES.get(lengths.unit), BYTES.get(sizes.unit)
    if time is None:
        raise ValueError(f"table {lengths.name!r} is in {lengths.unit}: write one of lengths in s or us")
    if size is None:
        raise ValueError(f"table {sizes.name!r} is in {sizes.unit}: write one of sizes in bytes or KB")
    share = (np.arange(urls) * levels // urls + 0.5) / levels
    length = np.rint(lengths.quantile(share) * time)
    octets = np.maximum(sizes.quantile(share) * size, 1)
    if rng is not None:
        octets = rng.permutation(octets)
    gap = np.maximum(np.rint(length * (segment / octets)), 1)  # 0 would mean at every instant
    # Beyond the length it means nothing; it must only fit.
    gap = np.minimum(gap, np.maximum(length, 1))
    return length.astype(np.int64), gap.astype(np.int64)
