"""RSS++ Fig. 12b: imbalance over cores for Campus #4, whose largest flow carries 4.2 % of the packets."""

from __future__ import annotations

from experiments.rsspp_fig12 import at_8_cores, panel
from lbsim.study import Claim

NAME = "rsspp-fig12b"


STUDY = panel(
    NAME,
    "RSS++ Fig. 12b: imbalance over cores, Campus #4",
    trace="campus-4",
    draws=lambda cores: int(18.75 * cores),  # published Makefile
    quick_end=12,
    claims=(
        Claim("RS-05", lambda t: at_8_cores(t, NAME, "RSS")),
        Claim("RS-06", lambda t: at_8_cores(t, NAME, "RSS++")),
        Claim("RS-07", lambda t: at_8_cores(t, NAME, "RSS") / at_8_cores(t, NAME, "RSS++")),
    ),
)
