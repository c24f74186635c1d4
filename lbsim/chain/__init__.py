"""Service chains: what network functions do to headers, merged into traffic classes, and who does what."""

from lbsim.chain.functions import NetworkFunction, Table, Verdict, execute, resolve, tables
from lbsim.chain.offload import DROPPED, FORWARDED, ON_SERVER, Device, Offload, Taken, plan
from lbsim.chain.space import Header, Region
from lbsim.chain.synthesis import (
    Access,
    Segment,
    Synthesis,
    TrafficClass,
    Write,
    carry_out,
    run,
    synthesise,
)

__all__ = [
    "DROPPED",
    "FORWARDED",
    "ON_SERVER",
    "Access",
    "Device",
    "Header",
    "NetworkFunction",
    "Offload",
    "Region",
    "Segment",
    "Synthesis",
    "Table",
    "Taken",
    "TrafficClass",
    "Verdict",
    "Write",
    "carry_out",
    "execute",
    "plan",
    "resolve",
    "run",
    "synthesise",
    "tables",
]
