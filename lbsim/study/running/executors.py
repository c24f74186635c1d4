"""Where the points of a sweep are computed: here, in processes of this machine, or on a Dask cluster.

All of them stand behind the standard `concurrent.futures.Executor`. A `Pool` adds what a sweep needs that
the standard does not say: how many points run at once, whether an error broke the executor for all, and a
way to open it again.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from loky import cpu_count, get_reusable_executor

LOCAL = ("inline", "loky", "dask")
REMOTE = ("tcp://", "tls://")
WARM = 600
"""Seconds that idle local workers stay up: what they compiled and planned serves the next study too."""
REACH = 10
"""Seconds to wait for the scheduler of a cluster."""
MOST_JOBS = 1024
"""Points at once; each may be a process that is started here, so more is surely a slip."""


@dataclass(frozen=True)
class Execution:
    """How points are computed; raises ValueError for settings that cannot be.

    `began` is when the time limit started to count: studies that share an Execution share its limit.
    """

    executor: str = "loky"  # inline, loky, dask, or the address of a Dask scheduler: tcp://host:port
    jobs: int | None = None  # points at once; None: one per core, or per thread of a running cluster
    fresh: bool = False  # compute what is stored already, too
    timeout: float | None = 3600.0  # s a point may take
    limit_time: float | None = None  # s after which no further point starts
    began: float = field(default_factory=time.monotonic, compare=False)

    def __post_init__(self) -> None:
        if self.executor not in LOCAL and not self.executor.startswith(REMOTE):
            known = ", ".join(LOCAL)
            raise ValueError(
                f"executor: {self.executor!r} is none of {known} or an address such as tcp://host:8786"
            )
        for name, least in (("jobs", 1), ("timeout", 0.001), ("limit_time", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name}: {value} is below {least}; write {least} or more, or leave it out")
        if self.jobs is not None and self.jobs > MOST_JOBS:
            raise ValueError(f"jobs: {self.jobs} is above {MOST_JOBS}; write at most that, or leave it out")

    def over(self) -> bool:
        """Say whether the time limit is reached."""
        return self.limit_time is not None and time.monotonic() - self.began >= self.limit_time


class Opened(NamedTuple):
    """A running executor and what its kind alone knows."""

    executor: Executor
    workers: Callable[[], int]  # points it can compute at once, now
    broken: Callable[[BaseException], bool]  # whether an error of a future means that it is lost as a whole
    close: Callable[[bool], None]  # True: end the workers at once


class Pool:
    """An executor that opens when first needed, and again after it broke; a context that ends its workers.

    `apart`: it computes in other processes, which may be ended without harm to this one.
    """

    def __init__(self, start: Callable[[], Opened], *, apart: bool = True) -> None:
        self.apart = apart
        self._start = start
        self._opened: Opened | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close(kill=True)

    def _open(self) -> Opened:
        if self._opened is None:
            self._opened = self._start()
        return self._opened

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Start a call; an executor that broke while idle is opened again."""
        for _ in range(2):
            executor = self._open().executor
            try:
                return executor.submit(function, *args)
            except (BrokenExecutor, RuntimeError) as caught:  # the latter: it was shut down
                error: Exception = caught
                self.close(kill=True)
            except Exception as caught:  # e.g. what cannot be pickled
                error = caught
                break
        future: Future[Any] = Future()
        future.set_exception(error)
        return future

    def workers(self) -> int:
        """Return how many points it can compute at once; 0: a cluster without workers, as yet."""
        return self._open().workers()

    def broken(self, error: BaseException) -> bool:
        """Say whether the error of one future means that all others are lost as well."""
        return self._opened is None or self._opened.broken(error)

    def close(self, *, kill: bool = False) -> None:
        """Let go of the executor; `kill`: whatever it still computes. The next use opens it again."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close(kill)


def open_pool(execution: Execution) -> Pool:
    """Return the pool of an execution.

    It opens at the first point; that raises ValueError when Dask is missing or no scheduler answers.
    """
    if execution.executor == "inline":
        return Pool(_inline, apart=False)
    if execution.executor == "loky":
        return Pool(lambda: _loky(execution.jobs))
    return Pool(lambda: _dask(execution.executor, execution.jobs))


class Inline(Executor):
    """Calls right where they are submitted, one after the other."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call the function and return a finished future; an interrupt is not caught."""
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:  # as in any executor: the future tells
            future.set_exception(error)
        return future


def _inline() -> Opened:
    return Opened(Inline(), lambda: 1, lambda error: False, lambda kill: None)


def _loky(jobs: int | None) -> Opened:
    workers = jobs or cpu_count()
    # A worker that keeps planned traffic in memory is no leak; that loky starts it anew does no harm.
    warnings.filterwarnings("ignore", "A worker was restarted", UserWarning)
    executor = get_reusable_executor(
        max_workers=workers, timeout=WARM, initializer=settle, initargs=(os.getpid(),)
    )

    def close(kill: bool) -> None:
        if kill:
            executor.shutdown(wait=True, kill_workers=True)

    return Opened(executor, lambda: workers, lambda error: isinstance(error, BrokenExecutor), close)


def settle(parent: int) -> None:
    """Prepare a worker: Ctrl-C is its parent's business, and it does not outlive its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def stay() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=stay, daemon=True).start()


def _dask(address: str, jobs: int | None) -> Opened:
    """Start a cluster on this machine, or join the one whose scheduler is at `address`."""
    try:
        dask, distributed = importlib.import_module("dask"), importlib.import_module("distributed")
    except ImportError as error:
        raise ValueError(f"executor: {address} needs Dask ({error}); pip install 'lbsim[dask]'") from error
    cluster = None
    if address == "dask":
        with dask.config.set({"distributed.scheduler.allowed-failures": 0}):  # a suspect runs again alone
            cluster = distributed.LocalCluster(
                n_workers=jobs or cpu_count(),
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",  # Dask insists on some port, but not on a page
                scheduler_kwargs={"dashboard": False},
                memory_limit=0,  # as with loky: the system's own limit
                silence_logs=logging.CRITICAL,  # the sweep tells of lost workers itself
            )
    try:
        client = distributed.Client(cluster or address, timeout=REACH, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"executor: no Dask scheduler answers at {address} ({error}); start one with `dask scheduler`, "
            "or use the executor dask, which needs none"
        ) from error

    def workers() -> int:
        return jobs or sum(client.nthreads().values())

    def close(kill: bool) -> None:
        client.close()
        if cluster is not None:
            cluster.close()

    executor = client.get_executor(pure=False, retries=0)
    return Opened(executor, workers, lambda error: client.status != "running", close)
