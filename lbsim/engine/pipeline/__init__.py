"""Pipelines of cores: a service chain cut into stages, one core each, packets going from ring to ring.

How chains in the manner of OpenBox are deployed, and what Metron (Katsikas et al., NSDI 2018) avoids: each
stage costs a packet a hand-over, a place in one more ring and, between virtual machines, a way through a NIC.

    spec        what the stages cost
    state       the cores, and the packets that wait for them
    kernels     what happens to them, core after core
    bank        the same as a bank of cores of the compiled plane
    reference   the same as SimPy processes, the oracle
"""

from __future__ import annotations

from lbsim.engine.pipeline.bank import PipelineBank
from lbsim.engine.pipeline.reference import ReferencePipeline
from lbsim.engine.pipeline.spec import Spec, spec_of

__all__ = ["PipelineBank", "ReferencePipeline", "Spec", "spec_of"]
