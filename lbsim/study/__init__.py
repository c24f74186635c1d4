"""Studies: sweeps over scenarios, and one pipeline from a base scenario to a figure and its claims.

Names load on first use: a worker that computes points needs neither pandas nor Matplotlib.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lbsim.study.claims import Claim, Tables, Target, scorecard, scorecard_table
    from lbsim.study.plot import Panel
    from lbsim.study.points.store import check
    from lbsim.study.report import write_report
    from lbsim.study.running.executors import Execution
    from lbsim.study.running.runner import Interrupted
    from lbsim.study.running.watch import open_watch
    from lbsim.study.study import Point, Ran, Study, figures, run_study
    from lbsim.study.sweeps.plan import Sweep
    from lbsim.study.sweeps.sweep import SweepResult, run_sweep
    from lbsim.study.sweeps.sweepfile import dump_sweep, is_sweep, load_sweep

_HOMES = {
    "sweeps.plan": ("Sweep",),
    "sweeps.sweepfile": ("load_sweep", "dump_sweep", "is_sweep"),
    "sweeps.sweep": ("run_sweep", "SweepResult"),
    "running.executors": ("Execution",),
    "running.runner": ("Interrupted",),
    "running.watch": ("open_watch",),
    "study": ("Study", "Point", "Ran", "run_study", "figures"),
    "plot": ("Panel",),
    "claims": ("Claim", "Target", "Tables", "scorecard", "scorecard_table"),
    "report": ("write_report",),
    "points.store": ("check",),
}

__all__ = [  # noqa: RUF022  # the order in which one meets them
    "Sweep",
    "load_sweep",
    "dump_sweep",
    "is_sweep",
    "run_sweep",
    "SweepResult",
    "Execution",
    "Interrupted",
    "open_watch",
    "Study",
    "Point",
    "Ran",
    "run_study",
    "figures",
    "Panel",
    "Claim",
    "Target",
    "Tables",
    "scorecard",
    "scorecard_table",
    "write_report",
    "check",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"lbsim.study.{home}"), name)
    raise AttributeError(f"module 'lbsim.study' has no attribute {name!r}")
