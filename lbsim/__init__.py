"""lbsim: a discrete-event simulator of datacenter load balancing.

The names below are the public ones, in reading order: say what to simulate, run it, look at the result.
They load on first use, so that `lbsim --help` need not wait for a compiler.

>>> import lbsim
>>> scenario = lbsim.load_scenario("examples/rss.toml")
>>> result = lbsim.run(scenario)
>>> result.drop_share < 0.01
True
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lbsim.balancer import Unit, View, coin, policies, policy  # type: ignore[no-redef]
    from lbsim.engine import run  # type: ignore[no-redef]
    from lbsim.metrics import (
        ConnectionResult,
        Histogram,
        Interval,
        RequestResult,
        Result,
        mean_interval,
        paired_interval,
    )
    from lbsim.scenario import (
        ConnectionScenario,
        RequestScenario,
        Scenario,
        ScenarioError,
        dump_toml,
        load_scenario,
        override,
    )
    from lbsim.study import Execution, Sweep, load_sweep, run_sweep

__version__ = "0.1.0"

__all__ = [  # noqa: RUF022  # the order in which one meets them
    "Scenario",
    "ConnectionScenario",
    "RequestScenario",
    "ScenarioError",
    "load_scenario",
    "dump_toml",
    "override",
    "run",
    "Result",
    "ConnectionResult",
    "RequestResult",
    "Histogram",
    "Interval",
    "mean_interval",
    "paired_interval",
    "policy",
    "policies",
    "View",
    "Unit",
    "coin",
    "Sweep",
    "load_sweep",
    "run_sweep",
    "Execution",
]

_ROOMS = ("scenario", "engine", "metrics", "balancer", "study")


def __getattr__(name: str) -> Any:
    if name in __all__:
        for room in _ROOMS:
            module = import_module(f"lbsim.{room}")
            if name in module.__all__:
                return getattr(module, name)
    raise AttributeError(f"module 'lbsim' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
