"""A sweep: scenarios that are not in the store yet go to an executor; each comes back as a file.

The seam is the standard `concurrent.futures.Executor`: processes of this machine by default, anything
with `submit` in its place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from loky import cpu_count, get_reusable_executor
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lbsim.metrics.result import Result
from lbsim.scenario import Scenario
from lbsim.study import store

Run = Callable[[Scenario], Result]


class Failure(NamedTuple):
    """A point that has no result, and why."""

    point: int  # position in the sweep
    reason: str


def sweep(
    scenarios: Sequence[Scenario],
    folder: Path,
    run: Run,
    *,
    jobs: int | None = None,
    executor: Executor | None = None,
    title: str = "points",
    console: Console | None = None,
) -> tuple[list[Result | None], list[Failure]]:
    """Return the result of every scenario in order, None where it failed, and the failures.

    Finished points are read from `folder`, a damaged one is computed again with a notice. `jobs` processes
    share the rest (None: one per core; 1: no other process); an `executor` given takes their place.
    """
    files = [store.point_file(folder, scenario) for scenario in scenarios]
    results = [_stored(file, scenario, console) for file, scenario in zip(files, scenarios, strict=True)]
    missing = [i for i, result in enumerate(results) if result is None]
    failures = []
    if missing:
        work = [(run, scenarios[i], files[i]) for i in missing]
        with watch(title, len(missing), console) as seen:
            for k, outcome in _outcomes(work, jobs, executor):
                i = missing[k]
                if isinstance(outcome, int):
                    results[i] = store.load(files[i], scenarios[i])
                    seen(outcome)
                else:
                    failures.append(Failure(i, outcome))
                    seen(0)
    return results, sorted(failures)


def run_point(run: Run, scenario: Scenario, file: Path) -> int | str:
    """Run one scenario and store its result; return its packets, or the reason why it failed."""
    try:
        result = run(scenario)
        store.save(file, result)
    except Exception as error:  # the reason belongs to the point, the sweep goes on
        return _reason(error)
    return result.offered


def _reason(error: BaseException) -> str:
    """Return an error in one line, with the last line of what caused it in a worker."""
    cause = str(error.__cause__ or "").strip().splitlines()
    return f"{type(error).__name__}: {error}" + (f" (because of {cause[-1]})" if cause else "")


def _stored(file: Path, scenario: Scenario, console: Console | None) -> Result | None:
    if not file.exists():
        return None
    try:
        return store.load(file, scenario)
    except store.DamagedError as error:
        if console is not None:
            console.print(f"notice: {error}; computed again", markup=False, soft_wrap=True)
        return None


def _outcomes(
    work: Sequence[tuple[Run, Scenario, Path]], jobs: int | None, executor: Executor | None
) -> Iterator[tuple[int, int | str]]:
    """Yield (position, packets or reason) as the points finish."""
    if executor is None and jobs == 1:
        for k, point in enumerate(work):
            yield k, run_point(*point)
        return
    # Workers stay up from one figure to the next: what they compiled and the traffic they planned stays warm.
    pool: Any = executor or get_reusable_executor(max_workers=jobs or cpu_count(), timeout=600)
    futures: dict[Future[int | str], int] = {pool.submit(run_point, *w): k for k, w in enumerate(work)}
    try:
        for future in as_completed(futures):
            error = future.exception()
            yield futures[future], _reason(error) if error else future.result()
    except BaseException:
        for future in futures:
            future.cancel()
        if executor is None:
            pool.shutdown(wait=False, kill_workers=True)
        raise


@contextmanager
def watch(title: str, total: int, console: Console | None) -> Iterator[Callable[[int], None]]:
    """Show how a sweep advances: a bar on a terminal, a line every ten seconds elsewhere, silence for None.

    Yields the function to call with the packets of each point that finished.
    """
    start = shown = time.monotonic()
    done = packets = 0
    bar = None
    if console is not None and console.is_terminal:
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
        )
        task = bar.add_task(title, total=total, rate="")
        bar.start()

    def seen(new: int) -> None:
        nonlocal done, packets, shown
        done, packets, now = done + 1, packets + new, time.monotonic()
        rate = f"{packets / max(now - start, 1e-9) / 1e6:.1f} M packets/s"
        if bar is not None:
            bar.update(task, advance=1, rate=rate)
        elif console is not None and (done == total or now - shown >= 10):
            left = (now - start) / done * (total - done)
            console.print(
                f"{title}: {done} of {total} points, {rate}, {left:.0f} s left", markup=False, soft_wrap=True
            )
            shown = now

    try:
        yield seen
    finally:
        if bar is not None:
            bar.stop()
