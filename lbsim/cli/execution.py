"""How points are computed, as the options of `lbsim sweep`, `figures` and `scorecard` say it."""

from __future__ import annotations

from typing import Final

from lbsim.scenario import ScenarioError
from lbsim.study.running.executors import Execution
from lbsim.units import parse_quantity

REAL_TIMES: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}  # in s


def execution_of(
    executor: str,
    jobs: int | None,
    fresh: bool = False,
    limit_time: str | None = None,
    timeout: str | None = None,
) -> Execution:
    """Return how points are to be computed; raises ScenarioError for a time that is none."""
    given = {"limit_time": _seconds("--limit-time", limit_time), "timeout": _seconds("--timeout", timeout)}
    return Execution(
        executor=executor, jobs=jobs, fresh=fresh, **{name: s for name, s in given.items() if s is not None}
    )


def _seconds(option: str, text: str | None) -> float | None:
    """Return the seconds of real time that an option gives."""
    if text is None:
        return None
    try:
        seconds = float(parse_quantity(text, REAL_TIMES, "time")[0])
    except ValueError as error:
        raise ScenarioError([f"{option}: {error}, e.g. 10m"]) from None
    if seconds <= 0:
        raise ScenarioError([f"{option}: {text} is over before it begins; give a time above 0, e.g. 10m"])
    return seconds
