"""Studies: one pipeline from a base scenario to a figure and the verdict on its claims."""

from lbsim.study.claims import Claim, Tables, scorecard, scorecard_table
from lbsim.study.executors import Execution
from lbsim.study.plan import Label, Point
from lbsim.study.plot import Panel
from lbsim.study.report import write_report
from lbsim.study.store import check
from lbsim.study.study import Ran, Study, figures, run_study
from lbsim.study.watch import open_watch

__all__ = [
    "Claim",
    "Execution",
    "Label",
    "Panel",
    "Point",
    "Ran",
    "Study",
    "Tables",
    "check",
    "figures",
    "open_watch",
    "run_study",
    "scorecard",
    "scorecard_table",
    "write_report",
]
