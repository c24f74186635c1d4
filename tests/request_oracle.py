"""Hand-made requests for the reference engine, in whole picoseconds that one can follow with a pencil."""

from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import simpy

from lbsim.balancer.balancer import Balancer
from lbsim.balancer.policies import Policy, Unit, View
from lbsim.engine.plane import Clock
from lbsim.engine.request.plane import (
    CONTROL,
    INDEPENDENT,
    PACED,
    USERS,
    Columns,
    Int64s,
    Log,
    Retry,
    Servers,
    Source,
    Tally,
)
from lbsim.engine.request.reference import ReferencePlane
from lbsim.scenario.consistency import FlowTable

END = 10**9
NONE = np.empty(0, np.int64)
Step = tuple[int, Callable[[ReferencePlane, int], object]]
"""When control does what."""


class Run(NamedTuple):
    plane: ReferencePlane
    tally: Tally
    log: Log

    @property
    def latency(self) -> list[int]:
        """Of each request in order of launch."""
        return [int(value) for value in self.log.latency[np.argsort(self.log.index)]]


def ints(values: Sequence[int]) -> Int64s:
    return np.array(values, np.int64)


def first(view: View, unit: Unit) -> int:
    return 0


def in_turn(view: View, unit: Unit) -> int:
    view.state[0] += 1
    return int(view.state[0] - 1) % view.n


def servers(**fields: Any) -> Servers:
    number = fields.pop("number", 1)
    speeds = np.resize(np.array(fields.pop("speeds", [1.0])), number)
    return Servers(**{"number": number, "cores": 1, "speeds": speeds, "response": 100, **fields})


def _source(
    kind: int, start: Sequence[int], columns: Callable[[], Iterator[Columns]], **fields: Any
) -> Source:
    default = Source(
        kind, len(start), ints(start), period=0, catch=0, session=1.0, overhead=0, delay=0, lanes=0, cost=0,
        retry=Retry(), seed=1, end=END, warmup=0, cohort_done=False, columns=columns,
    )  # fmt: skip
    return default._replace(**fields)


def arriving(rows: Sequence[tuple[int, int]], hashes: Sequence[int] | None = None, **fields: Any) -> Source:
    """Independent requests, (time, work) each, in two chunks."""
    time, work = (ints(column) for column in zip(*rows, strict=True))
    digest = ints(hashes or [0] * len(rows))

    def columns() -> Iterator[Columns]:
        for part in (slice(0, 2), slice(2, None)):
            yield Columns(digest[part], work[part], NONE, time[part])

    return _source(INDEPENDENT, [], columns, **fields)


def looping(
    kind: int, start: Sequence[int], work: Sequence[int], pause: Sequence[int], **fields: Any
) -> Source:
    """Users or paced ones, whose works and pauses repeat."""

    def columns() -> Iterator[Columns]:
        n = 3
        for k in count(0, n):
            rows = np.arange(k, k + n)
            think = np.resize(ints(pause), k + n)[k:] if kind == USERS else NONE
            yield Columns(rows, np.resize(ints(work), k + n)[k:], think, NONE)

    return _source(kind, start, columns, **fields)


def users(start: Sequence[int], work: Sequence[int], pause: Sequence[int], **fields: Any) -> Source:
    return looping(USERS, start, work, pause, **fields)


def paced(start: Sequence[int], work: Sequence[int], **fields: Any) -> Source:
    return looping(PACED, start, work, [], **fields)


def run(
    source: Source,
    spec: Servers,
    choose: Callable[[View, Unit], int] = first,
    *,
    done: Any = None,
    control: Sequence[Step] = (),
    live: bool = True,
) -> Run:
    env = Clock()
    policy = Policy(choose.__name__, choose, 4, "", done=done)
    balancer = Balancer(
        policy, spec.number, spec.number, np.ones(spec.number), consistency=FlowTable(capacity=1), seed=7
    )
    plane = ReferencePlane(env, balancer, source, spec, live=live, log=True)

    def steps() -> Generator[simpy.Event, Any, None]:
        for time, do in control:
            yield env.wait(time - env.now, CONTROL)
            plane.sync(env.now)
            do(plane, env.now)

    env.process(steps())
    tally = plane.finish()
    assert tally.log is not None
    return Run(plane, tally, tally.log)
