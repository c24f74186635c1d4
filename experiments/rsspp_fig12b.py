"""RSS++ Fig. 12b: imbalance over cores for Campus #4, whose largest flow carries 4.2 % of the packets."""

from __future__ import annotations

from itertools import pairwise

from experiments import rsspp_testbed as rsspp
from experiments.rsspp_fig12 import at_8_cores, panel
from lbsim.study import Claim, Tables
from lbsim.workload.campus_tuples import PREFIX_ZIPF

NAME = "rsspp-fig12b"
ORDER = (
    ("SW RR",),
    (rsspp.SPRAYER,),
    (rsspp.RSSPP,),
    ("SW stateful RR", rsspp.RSS),
    (rsspp.CLASSES,),
)
"""From the most even to the least; those in one group stand in no order."""


def in_order(tables: Tables) -> float:
    """Return 1 where every series is more even at 8 cores than those of the next group, else 0."""
    groups = [[at_8_cores(tables, NAME, series) for series in group] for group in ORDER]
    return float(all(max(a) < min(b) for a, b in pairwise(groups)))


def imbalances(tables: Tables) -> str:
    """Return what stands behind the order, and the assumption it rests on."""
    every = (f"{series} {at_8_cores(tables, NAME, series):.3g} %" for group in ORDER for series in group)
    return (
        f"{', '.join(every)}; hosts of traffic classes by Zipf's law over prefixes, exponent {PREFIX_ZIPF:g}"
    )


STUDY = panel(
    NAME,
    "RSS++ Fig. 12b: imbalance over cores, Campus #4",
    trace="campus-4",
    draws=lambda cores: int(18.75 * cores),  # published Makefile
    quick_end=10,
    claims=(
        Claim("RS-05", lambda t: at_8_cores(t, NAME, "RSS")),
        Claim("RS-06", lambda t: at_8_cores(t, NAME, "RSS++")),
        Claim("RS-08", in_order, imbalances),
        Claim("RS-07", lambda t: at_8_cores(t, NAME, "RSS") / at_8_cores(t, NAME, "RSS++")),
    ),
)
