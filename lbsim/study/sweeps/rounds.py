"""The runs of a sweep: pilots that find warm-ups, then rounds of replications until they suffice.

What runs next depends on results alone, never on the order in which they come, so the tables are the same
for any number of workers, and after any interruption.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from lbsim.metrics import AnyResult
from lbsim.metrics.intervals import mean_interval, more_replications, relative_half_width
from lbsim.scenario import AnyScenario, override
from lbsim.study.running.executors import Execution, Pool
from lbsim.study.running.runner import run_points
from lbsim.study.running.watch import Watch
from lbsim.study.running.worker import Run
from lbsim.study.sweeps.pilot import pilot_of, warmup_of
from lbsim.study.sweeps.plan import Sweep, Until
from lbsim.study.sweeps.table import Measured, Row, measure, name_of

T = TypeVar("T")


class Outcome(NamedTuple):
    """What came of a point; neither a value nor a problem where it was left when the time was up."""

    measured: Measured | None = None
    problem: str = ""


class Rounds:
    """The state of a running sweep: the scenario of each configuration, the outcomes of its replications."""

    def __init__(
        self, sweep: Sweep, folder: Path, execution: Execution, pool: Pool, watch: Watch, run: Run
    ) -> None:
        self.sweep, self.folder = sweep, folder
        self.execution, self.pool, self.watch, self.run = execution, pool, watch, run
        self.scenarios = [configuration.scenario for configuration in sweep.configurations]
        self.outcomes: list[list[Outcome]] = [[] for _ in self.scenarios]
        self.unsettled: dict[int, str] = {}  # configurations whose pilot cannot say, and why

    def warm_up(self) -> None:
        """Run a pilot of every configuration and set its warm-up, if the sweep asks for it."""
        if self.sweep.warmup == "given":
            return
        points = [(c, 0) for c in range(len(self.scenarios))]
        pilots = [pilot_of(self._scenario(*point)) for point in points]
        for (c, _), (found, problem) in zip(
            points, self._run("warm-up", points, pilots, warmup_of)[0], strict=True
        ):
            if found is None:
                lost = Outcome(problem=f"its pilot failed: {problem}" if problem else "")
                self.outcomes[c] = [lost] * self.sweep.first_round
            elif found.time is None:
                self.unsettled[c] = found.warning
            else:
                self.scenarios[c] = override(self.scenarios[c], {"warmup": found.time})

    def replicate(self) -> None:
        """Run the replications that are wanted in any case, then those that `until` asks for."""
        wanted = {c: self.sweep.first_round for c, known in enumerate(self.outcomes) if not known}
        number = 1
        while wanted:
            points = [(c, len(self.outcomes[c]) + k) for c, n in wanted.items() for k in range(n)]
            scenarios = [self._scenario(*point) for point in points]
            back, left = self._run(f"round {number}" * (number > 1), points, scenarios, measure)
            for (c, _), outcome in zip(points, back, strict=True):
                self.outcomes[c].append(Outcome(*outcome))
            until, number = self.sweep.until, number + 1
            if until is None or left:
                return
            wanted = {c: more for c in wanted if (more := _more(until, self.outcomes[c]))}

    def rows(self) -> list[Row]:
        """Return a row for every point, by configuration and replication."""
        return [self._row(c, r) for c, outcomes in enumerate(self.outcomes) for r in range(len(outcomes))]

    def warnings(self) -> Iterator[str]:
        """Yield what is not known well enough: warm-ups, and intervals that `until` did not get."""
        for c, outcomes in enumerate(self.outcomes):
            name = name_of(self.sweep.configurations[c].labels)
            if c in self.unsettled:
                yield f"{name}: {self.unsettled[c]}"
            if self.sweep.until and all(outcome.measured for outcome in outcomes):
                yield from (f"{name}: {text}" for text in _unreached(self.sweep.until, outcomes))

    def _run(
        self,
        what: str,
        points: Sequence[tuple[int, int]],
        scenarios: Sequence[AnyScenario],
        take: Callable[[AnyResult], T],
    ) -> tuple[list[tuple[T | None, str]], int]:
        """Run points; return the value or problem of each, and how many were left."""
        done = run_points(
            scenarios, self.folder, take,
            run=self.run, execution=self.execution, pool=self.pool, watch=self.watch,
            title=f"{self.sweep.name}: {what}" if what else self.sweep.name,
            label=lambda i: name_of(self.sweep.configurations[points[i][0]].labels, scenarios[i].replication),
        )  # fmt: skip
        problems = {failure.point: failure.reason for failure in done.failures}
        return [(value, problems.get(i, "")) for i, value in enumerate(done.values)], done.left

    def _scenario(self, c: int, r: int) -> AnyScenario:
        """Return a replication of a configuration."""
        scenario = self.scenarios[c]
        return scenario.model_copy(update={"replication": scenario.replication + r})

    def _row(self, c: int, r: int) -> Row:
        return Row(self.sweep.configurations[c].labels, self._scenario(c, r), *self.outcomes[c][r])


def _values(until: Until, outcomes: Sequence[Outcome]) -> list[float]:
    return [outcome.measured.values[until.quantity] for outcome in outcomes if outcome.measured]


def _more(until: Until, outcomes: Sequence[Outcome]) -> int:
    """Return how many more replications the mean needs; 0 where a failed one makes that pointless."""
    values = _values(until, outcomes)
    if len(values) < len(outcomes) or not np.isfinite(values).all():
        return 0
    return more_replications(values, until.within, until.level, until.at_most)


def _unreached(until: Until, outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield why the interval of a configuration is not as narrow as asked for, if it is not."""
    values = _values(until, outcomes)
    if not np.isfinite(values).all():
        yield f"{until.quantity} has no value in some replication: nothing was delivered; lower the load"
        return
    width = relative_half_width(mean_interval(values, until.level))
    if width > until.within:
        yield (
            f"after {len(values)} replications the mean of {until.quantity} is known to ± {100 * width:.2g} "
            f"%, not to ± {100 * until.within:g} %; raise until.at_most, or lengthen duration"
        )
