"""Studies: one pipeline from a base scenario to a figure and the verdict on its claims."""

from lbsim.study.claims import Claim, Tables, scorecard, scorecard_table
from lbsim.study.report import write_report
from lbsim.study.store import check
from lbsim.study.study import Label, Point, Ran, Study, figures, run_study

__all__ = [
    "Claim",
    "Label",
    "Point",
    "Ran",
    "Study",
    "Tables",
    "check",
    "figures",
    "run_study",
    "scorecard",
    "scorecard_table",
    "write_report",
]
