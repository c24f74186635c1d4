"""RSS++ Fig. 12a: imbalance over cores for Campus, where one flow alone carries 15.6 % of the packets.

No dispatcher that keeps flows whole can be even on many cores.
"""

from __future__ import annotations

from experiments.rsspp_fig12 import at_8_cores, panel
from lbsim.study import Claim

NAME = "rsspp-fig12a"


STUDY = panel(
    NAME,
    "RSS++ Fig. 12a: imbalance over cores, Campus",
    trace="campus",
    draws=lambda cores: 125 * cores,  # published Makefile
    quick_end=15,
    claims=(
        Claim("RS-03", lambda t: at_8_cores(t, NAME, "RSS") / at_8_cores(t, NAME, "RSS++")),
        Claim("RS-04", lambda t: at_8_cores(t, NAME, "RSS++")),
    ),
)
