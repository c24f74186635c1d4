"""A sweep that survives anything: points go to workers, come back as bytes, and are stored as they come.

What a point can do to others is limited by rules. A worker computes, this process alone writes. No more
points are under way than can be computed at once, so when the pool breaks only those are suspects. What
failed, or was suspect, runs once more at the end, alone; what fails then is recorded with its reason.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from lbsim.engine.run import run as run_scenario
from lbsim.metrics import AnyResult
from lbsim.scenario import AnyScenario
from lbsim.study.points import store
from lbsim.study.points.cell import Cell, Numbers, size_of
from lbsim.study.points.keys import fingerprint, point_key, policy_of, policy_source
from lbsim.study.points.pointfile import DamagedError, decode
from lbsim.study.running.executors import Execution, Pool, open_pool
from lbsim.study.running.flight import Flight
from lbsim.study.running.watch import Watch, silent
from lbsim.study.running.worker import Problem, Run, Task, pack, reason_of

T = TypeVar("T")


class Failure(NamedTuple):
    """A point without a result, or with one that could not be stored or measured, and why."""

    point: int  # position in the sweep
    reason: str


class Swept(NamedTuple, Generic[T]):
    """What a sweep gave."""

    values: list[T | None]  # what was measured of each point, in the order of the scenarios
    failures: list[Failure]  # by position
    left: int  # points not computed because the time was up
    stored: int  # points found in the store
    packets: int  # simulated now


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, after everything that had come back was stored."""

    def __init__(self, kept: int, total: int) -> None:
        super().__init__(f"interrupted; {kept} of {total} points are stored, the same command goes on")
        self.kept, self.total = kept, total


def run_points(
    scenarios: Sequence[AnyScenario | Cell],
    folder: Path,
    measure: Callable[[Any], T],
    *,
    run: Run = run_scenario,
    execution: Execution | None = None,
    pool: Pool | None = None,
    watch: Watch = silent,
    title: str = "points",
    label: Callable[[int], str] = lambda i: f"point {i + 1}",
    order: Iterable[int] | None = None,
) -> Swept[T]:
    """Return what `measure` takes of the result of every scenario; results not in `folder` are computed.

    Cells are computed likewise, by `run=compute_cell`; `measure` then takes their numbers.

    `order` is that in which points start, `label` names one in notes. A `pool` given stays open; else one is
    opened as `execution` says. Raises OSError when `folder` cannot be written, ValueError when the pool
    cannot be opened, and Interrupted after Ctrl-C; whatever was computed by then is stored.
    """
    execution = execution or Execution()
    used = pool or open_pool(execution)
    sweep = _Sweep(scenarios, folder, measure, run, execution, used, watch, label)
    done = False
    try:
        missing = sweep.look_up(range(len(scenarios)) if order is None else order)
        sweep.begin(title, missing)
        if missing:
            store.writable(folder)
            store.leftovers(folder)
            again = sweep.compute(missing)
            sweep.give_up(sweep.compute(again, alone=True))
            sweep.store_again()
        done = True
    except KeyboardInterrupt:
        sweep.save_what_is_back()
        raise Interrupted(len(sweep.kept), len(sweep.points)) from None
    finally:
        watch.end()
        if pool is None or not done:
            used.close(kill=not done)
    return Swept(sweep.values, sorted(sweep.failures), sweep.left, sweep.stored, sweep.packets)


@dataclass
class _Sweep(Generic[T]):
    """The state of one sweep. Points are known by their key: equal ones are computed once."""

    scenarios: Sequence[AnyScenario | Cell]
    folder: Path
    measure: Callable[[Any], T]
    run: Run
    execution: Execution
    pool: Pool
    watch: Watch
    label: Callable[[int], str]
    points: dict[str, list[int]] = field(default_factory=dict)  # key -> positions in the sweep
    failures: list[Failure] = field(default_factory=list)
    kept: set[str] = field(default_factory=set)  # keys of what the store holds
    unsaved: dict[str, bytes] = field(default_factory=dict)  # computed, but the disk refused it
    packed: dict[str, bytes | None] = field(default_factory=dict)  # policies as they travel, by name
    left: int = 0
    stored: int = 0
    packets: int = 0
    waits: bool = False  # for a worker of the cluster

    def __post_init__(self) -> None:
        self.values: list[T | None] = [None] * len(self.scenarios)
        self.flight = Flight(self.pool, self.execution.timeout)

    # --- a point ---

    def scenario(self, key: str) -> AnyScenario | Cell:
        return self.scenarios[self.points[key][0]]

    def name(self, key: str) -> str:
        return self.label(self.points[key][0])

    def weight(self, key: str) -> float:
        """Return about how much work a point is."""
        return size_of(self.scenario(key))

    def fail(self, key: str, reason: str) -> str:
        """Record a failure for good, and return its reason."""
        self.failures += [Failure(i, reason) for i in self.points[key]]
        return f"{self.name(key)}: {reason}"

    def take(self, key: str, result: AnyResult | Numbers) -> str:
        """Measure a result for all points it stands for; return what went wrong, or nothing."""
        try:
            value = self.measure(result)
        except Exception as error:  # the point is stored, and others can be measured
            return self.fail(key, f"computed, but cannot be measured: {reason_of(error)}")
        for i in self.points[key]:
            self.values[i] = value
        return ""

    # --- the store ---

    def look_up(self, order: Iterable[int]) -> list[str]:
        """Name all points and read what is stored of them; return the keys of what is missing, in order."""
        for i in order:
            try:
                self.points.setdefault(point_key(self.scenarios[i]), []).append(i)
            except (OSError, ValueError) as error:  # e.g. its capture is not there
                self.failures.append(Failure(i, reason_of(error)))
        missing = [key for key in self.points if not self.read(key)]
        self.stored = sum(len(self.points[key]) for key in self.kept)
        return missing

    def begin(self, title: str, missing: Sequence[str]) -> None:
        """Tell what lies ahead, and what cannot even be named."""
        total = len(self.points) + len(self.failures)
        self.watch.begin(title, total, len(self.points) - len(missing), list(map(self.weight, missing)))
        for i, reason in self.failures:
            self.watch.point(0, f"{self.label(i)}: {reason}", 0.0)

    def read(self, key: str) -> bool:
        """Measure a point if it is stored, and say whether it is."""
        if self.execution.fresh:
            return False
        result = store.read(self.folder, key, self.scenario(key), self.watch.note)
        if result is None:
            return False
        self.kept.add(key)
        self.take(key, result)
        return True

    def keep(self, key: str, content: bytes) -> None:
        """Store a point; what the disk refuses stays in memory until the end."""
        try:
            store.write(self.folder, key, content)
        except OSError as error:
            if not self.unsaved:
                self.watch.note(f"{self.name(key)} cannot be stored: {error}; tried again at the end")
            self.unsaved[key] = content
        else:
            self.kept.add(key)
            store.forget_failure(self.folder, key)

    def store_again(self) -> None:
        """Try once more to store what the disk refused; one note tells of all that it still does."""
        refused = []
        for key, content in self.unsaved.items():
            try:
                store.write(self.folder, key, content)
                self.kept.add(key)
            except OSError as error:
                why = f"computed, but cannot be stored: {error.strerror or error}"
                refused.append(
                    self.fail(key, f"{why}: {store.way_out(error)}, then the same command goes on")
                )
        if refused:
            more = f" (and {len(refused) - 1} more points)" if refused[1:] else ""
            self.watch.note(f"{refused[0]}{more}")

    # --- computing ---

    def compute(self, keys: Iterable[str], *, alone: bool = False) -> dict[str, Problem]:
        """Compute each point once, one at a time if `alone`; return the problems, by key."""
        queue, problems = deque(keys), dict[str, Problem]()
        while queue or self.flight:
            self.launch(queue, problems, alone)
            if not self.flight:
                break  # the time is up, or another sweep did the rest
            for key, outcome in self.flight.land():
                problem = self.accept(key, outcome)
                if problem is not None:
                    problems[key] = problem
                    if not alone:
                        self.watch.note(f"{self.name(key)}: {problem.reason}; tried again at the end")
        self.left += sum(len(self.points[key]) for key in queue)
        return problems

    def launch(self, queue: deque[str], problems: dict[str, Problem], alone: bool) -> None:
        """Start points while there is room and time."""
        while queue and len(self.flight) < (1 if alone else self.room()) and not self.execution.over():
            key = queue.popleft()
            if self.read(key):
                self.watch.point(0, weight=self.weight(key), stored=True)
                continue
            try:
                task = self.task(key)
            except ValueError as error:  # its policy cannot travel
                problems[key] = Problem(str(error))
            else:
                self.flight.start(key, task)

    def room(self) -> int:
        """Return how many points the pool computes at once."""
        workers = self.pool.workers()
        if not workers and not self.waits:
            self.watch.note("the cluster has no worker yet; waiting for one")
        self.waits = not workers
        return max(1, workers)

    def task(self, key: str) -> Task:
        """Return a point as a worker gets it, with the policy it names."""
        scenario, apart = self.scenario(key), self.pool.apart
        policy = policy_of(scenario) if apart else None
        if policy is not None and policy.name not in self.packed:
            self.packed[policy.name] = pack(policy)
        packed = self.packed[policy.name] if policy is not None else None
        source = policy_source(policy) if policy is not None and packed else None
        return Task(self.run, scenario, key, fingerprint(), packed, source, self.execution.timeout, apart)

    def accept(self, key: str, outcome: bytes | Problem) -> Problem | None:
        """Check, store and measure what came back; return the problem if it is none."""
        if isinstance(outcome, Problem):
            return outcome
        try:
            result = decode(outcome, self.scenario(key), key)
        except DamagedError as error:
            return Problem(f"its result came back damaged: {error}")
        self.keep(key, outcome)
        packets = result.units if isinstance(result, AnyResult) else 0
        self.packets += packets
        self.watch.point(packets, self.take(key, result), self.weight(key))
        return None

    # --- the end ---

    def give_up(self, problems: dict[str, Problem]) -> None:
        """Record the points that failed twice."""
        for key, problem in problems.items():
            self.watch.point(0, self.fail(key, problem.reason), self.weight(key))
            store.remember_failure(self.folder, key, problem._asdict())

    def save_what_is_back(self) -> None:
        """Store what came back before an interrupt."""
        for key, outcome in self.flight.back():
            self.accept(key, outcome)
        self.store_again()
