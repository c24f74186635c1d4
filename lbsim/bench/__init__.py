"""The benchmark: lbsim against other simulators on the same work, in one run."""

from lbsim.bench.rounds import Row, bench

__all__ = ["Row", "bench"]
