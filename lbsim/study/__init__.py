"""Studies: sweeps over scenarios, and one pipeline from a base scenario to a figure and its claims."""

from lbsim.study.claims import Claim, Tables, Target, scorecard, scorecard_table
from lbsim.study.executors import Execution
from lbsim.study.plan import Sweep
from lbsim.study.plot import Panel
from lbsim.study.report import write_report
from lbsim.study.runner import Interrupted
from lbsim.study.store import check
from lbsim.study.study import Point, Ran, Study, figures, run_study
from lbsim.study.sweep import SweepResult, run_sweep
from lbsim.study.sweepfile import dump_sweep, is_sweep, load_sweep
from lbsim.study.watch import open_watch

__all__ = [
    "Claim",
    "Execution",
    "Interrupted",
    "Panel",
    "Point",
    "Ran",
    "Study",
    "Sweep",
    "SweepResult",
    "Tables",
    "Target",
    "check",
    "dump_sweep",
    "figures",
    "is_sweep",
    "load_sweep",
    "open_watch",
    "run_study",
    "run_sweep",
    "scorecard",
    "scorecard_table",
    "write_report",
]
