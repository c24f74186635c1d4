"""Software dispatch: one more core takes every packet from the NIC and hands it to a worker over a queue.

What the published RSS++ comparison calls "SW shared queue", "SW RR", "SW stateful RR" and "SW stateful load"
(Barbette et al., CoNEXT 2019, Fig. 12 to 14). A queue in memory costs both sides, and lines of the cache that
many cores read cost more the more of them there are: the constants are calibrated by
`experiments.calibrate_software`.

    spec        what a scenario says about it
    state       the dispatcher and its workers as columns
    kernels     what happens to them, in order of time
    bank        the same as a bank of cores of the compiled plane
    reference   the same as SimPy events, the oracle
"""

from __future__ import annotations

from lbsim.engine.software.bank import SoftwareBank
from lbsim.engine.software.reference import ReferenceSoftware
from lbsim.engine.software.spec import spec_of
from lbsim.engine.software.state import Spec

__all__ = ["ReferenceSoftware", "SoftwareBank", "Spec", "spec_of"]
