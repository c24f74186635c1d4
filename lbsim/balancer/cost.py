"""What a request costs the balancer itself: published cycles per packet, at the rate it runs at.

Cost falls as the rate rises, because batches grow. The table is that of Cheetah's balancers on 4 cores
(NSDI 2020, see `data/cheetah_cycles.csv`). Beamer's column is an indication only: its traffic was failing.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lbsim.units import SECOND

Float64s = NDArray[np.float64]

MODES: Final = ("hash_rss", "hash_dpdk", "stateless", "stateful", "beamer", "cuckoo")
"""Balancers that were measured: hash of the NIC or in software, Cheetah's two, Beamer, a cuckoo table."""


@cache
def _published() -> tuple[Float64s, dict[str, Float64s]]:
    """Return the rates of the published table, requests/s, and by mode the cycles at each."""
    text = (files("lbsim.balancer") / "data" / "cheetah_cycles.csv").read_text("utf-8")
    head, *rows = (line.split(",") for line in text.splitlines() if not line.startswith("#"))
    columns = np.array(rows, np.float64).T
    return columns[0], dict(zip(head[1:], columns[1:], strict=True))


def cycles(mode: str, per_second: float) -> float:
    """Return the cycles per packet of a balancer at a rate of requests.

    Linear in the logarithm of the rate between published points; outside, that of the nearest one. Raises
    ValueError for a mode that is none of `MODES`, and for a rate that is not positive.
    """
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}: give one of {', '.join(MODES)}")
    if not per_second > 0:
        raise ValueError(f"per_second is {per_second}: give a rate above 0")
    rates, by_mode = _published()
    return float(np.interp(np.log2(per_second), np.log2(rates), by_mode[mode]))


def request_cost(mode: str, per_second: float, packets: float, clock: float) -> int:
    """Return the ps that a request of so many packets takes on a core of `clock` Hz, at least 1.

    `per_second` is the rate of requests at the whole balancer.
    """
    return max(1, round(packets * cycles(mode, per_second) / clock * SECOND))
