"""From a hash to a core: the indirection table, whose entries are the buckets that RSS++ moves."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.int64]

LARGEST_TABLE: Final = 4096
CHECKSUM_VALUES: Final = 256


def round_robin_table(size: int, cores: int) -> Table:
    """Return int64[size], the table a driver writes at start: entry i holds core i mod `cores`.

    `size` is a power of two from 1 to 4096 (82599 and XDP 128, XL710 and mlx5 512); `cores` is at least 1.
    Cores beyond the size of the table get no packet. Raises ValueError otherwise.
    """
    _check_size(size)
    if cores < 1:
        raise ValueError(f"cores is {cores}: a table needs at least 1 core")
    return np.arange(size, dtype=np.int64) % cores


def sprayer_table(cores: int) -> Table:
    """Return int64[256], the rules of Sprayer: low byte of the layer-4 checksum -> core, dealt in turn.

    Checksums are close to uniform, so packets of one flow spread over all cores (Sadok et al., HotNets 2018;
    as run by the authors of RSS++). Raises ValueError without a core.
    """
    return round_robin_table(CHECKSUM_VALUES, cores)


def bucket_of(hashes: NDArray[np.uint32], size: int) -> NDArray[np.int64]:
    """Return the entry of a table of `size` that each hash falls in: its low log2(size) bits, as int64[n].

    Raises ValueError when `size` is not a power of two from 1 to 4096.
    """
    _check_size(size)
    return (hashes & np.uint32(size - 1)).astype(np.int64)


def random_table(size: int, cores: int, server: int = 0) -> Table:
    """Return int64[size], entries drawn uniformly from the cores: how the servers of CrossRSS's poster begin.

    Server s draws from a 32-bit Mersenne Twister seeded with s, by multiplication and rejection (Lemire, ACM
    TOMACS 2019), as C++'s uniform_int_distribution does (tbarbette/fastclick, crossrss.cc). `size` as above.
    """
    _check_size(size)
    if cores < 1:
        raise ValueError(f"cores is {cores}: a table needs at least 1 core")
    words = np.random.RandomState(server)
    first = 2**32 % cores  # of 2**32 words so many are one too many for some core
    table: list[int] = []
    while len(table) < size:
        draws = words.randint(0, 2**32, size - len(table), dtype=np.uint32).astype(np.uint64)
        scaled = draws * np.uint64(cores)
        fair = (scaled & np.uint64(0xFFFFFFFF)) >= first
        table += (scaled[fair] >> np.uint64(32)).tolist()
    return np.array(table, np.int64)


def _check_size(size: int) -> None:
    if not (1 <= size <= LARGEST_TABLE and size & (size - 1) == 0):
        raise ValueError(
            f"indirection table size is {size}: a NIC's table has a power of two of entries, "
            f"1 to {LARGEST_TABLE}, as in 128 or 512"
        )
