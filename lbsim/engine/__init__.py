"""HOW a scenario runs: SimPy is the clock, a reference and a compiled data plane do the work."""

from lbsim.engine.run import Engine, run

__all__ = ["Engine", "run"]
