import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import sweeps
from loky import get_reusable_executor
from sweeps import alive, misbehaving, offered, payloads, processes, seeds, started

from lbsim.engine.run import run
from lbsim.study.points.keys import fingerprint, point_key
from lbsim.study.running import worker
from lbsim.study.running.executors import Execution, Inline, Opened, Pool, open_pool
from lbsim.study.running.runner import run_points
from lbsim.study.running.worker import Problem, Task, compute

POINTS = range(6)


@pytest.fixture
def travelling(tmp_path, monkeypatch):
    return sweeps.travelling(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What the points hold when computed here, one after the other."""
    folder = tmp_path_factory.mktemp("alone")
    run_points(seeds(*POINTS), folder, offered, execution=Execution("inline"))
    return payloads(folder)


# --- settings ---


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"executor": "slurm"}, "executor: 'slurm' is none of inline, loky, dask or an address"),
        ({"jobs": 0}, "jobs: 0 is below 1"),
        ({"jobs": 100_000}, "jobs: 100000 is above 1024"),
        ({"timeout": 0.0}, "timeout: 0.0 is below 0.001"),
        ({"limit_time": -1.0}, "limit_time: -1.0 is below 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        Execution(**settings)


def test_the_time_limit_counts_from_the_beginning_and_is_shared():
    assert not Execution().over()
    assert not Execution(limit_time=3600).over()
    assert Execution(limit_time=10, began=time.monotonic() - 11).over()
    assert Execution() == Execution()


def test_a_call_inline_runs_at_once_and_its_error_stays_in_the_future():
    executor = Inline()
    assert executor.submit(int, "2", base=3).result() == 2
    assert isinstance(executor.submit(int, "x").exception(), ValueError)
    with pytest.raises(KeyboardInterrupt):
        executor.submit(_interrupt)


def _interrupt():
    raise KeyboardInterrupt


class Broken(Inline):
    def submit(self, function, /, *args, **kwargs):
        raise BrokenExecutor("while idle")


def test_an_executor_that_broke_while_idle_is_opened_again_once():
    opened, closed = iter([Broken(), Inline(), Broken(), Broken()]), []
    pool = Pool(lambda: Opened(next(opened), lambda: 1, lambda error: True, closed.append))
    assert pool.submit(int, "3").result() == 3
    assert closed == [True]
    pool.close()
    assert isinstance(pool.submit(int, "3").exception(), BrokenExecutor)


# --- what a worker refuses ---


def task(**changes):
    [scenario] = seeds(1)
    fields = {
        "run": run,
        "scenario": scenario,
        "key": point_key(scenario),
        "fingerprint": fingerprint(),
        "policy": None,
        "source": None,
        "timeout": None,
        "apart": False,
    }
    return Task(**(fields | changes))


def test_a_worker_with_other_sources_refuses():
    assert isinstance(compute(task()), bytes)
    outcome = compute(task(fingerprint="other"))
    assert isinstance(outcome, Problem)
    assert "the worker runs other sources of lbsim than the sweep" in outcome.reason


def test_a_worker_where_a_file_or_policy_differs_refuses():
    outcome = compute(task(key=point_key(*seeds(2))))
    assert isinstance(outcome, Problem)
    assert "its policy, or a file it names, is not the same on the worker" in outcome.reason


def test_the_watchdog_is_called_off_when_a_point_is_done(monkeypatch):
    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(worker, "grace", lambda timeout: 0.0)
    compute(task(timeout=5.0, apart=True))  # warm
    assert isinstance(compute(task(timeout=0.5, apart=True)), bytes)
    time.sleep(0.8)
    assert ended == []
    go = lambda scenario, progress: time.sleep(0.8)  # noqa: E731
    compute(task(run=go, timeout=0.5, apart=True))
    assert ended == [1]


# --- loky ---


@pytest.mark.parametrize("jobs", [1, 2])
def test_processes_give_what_one_gives_in_any_order(tmp_path, alone, jobs):
    execution = Execution(jobs=jobs)
    order = [3, 0, 5, 1, 4, 2]
    swept = run_points(seeds(*POINTS), tmp_path, offered, execution=execution, order=order)
    assert swept.failures == []
    assert payloads(tmp_path) == alone
    warm = get_reusable_executor(max_workers=jobs, reuse=True)
    assert warm.submit(os.getppid).result() == os.getpid()  # still there for the next study
    assert warm.submit(signal.getsignal, signal.SIGINT).result() == signal.SIG_IGN
    warm.shutdown(kill_workers=True)


# --- Dask ---


def test_without_dask_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ValueError, match=r"executor: dask needs Dask .*pip install 'lbsim\[dask\]'"):
        run_points(seeds(1), tmp_path, offered, execution=Execution("dask"))


@pytest.fixture(scope="module")
def distributed():
    return pytest.importorskip("distributed", reason="Dask is not installed: pip install 'lbsim[dask]'")


@pytest.fixture(scope="module")
def cluster(distributed, tmp_path_factory):
    """A scheduler and two workers, each a process of its own, over TCP; gives address and processes."""
    folder = tmp_path_factory.mktemp("cluster")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    commands = [
        ["scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"],
        *[
            ["worker", address, "--nworkers", "1", "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1",
             "--local-directory", str(folder)]
        ] * 2,
    ]  # fmt: skip
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])}
    with (folder / "log").open("w") as log:
        running = [
            subprocess.Popen(
                [sys.executable, "-m", "dask", *command],
                env=env,
                cwd=folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            for command in commands
        ]
        try:
            with distributed.Client(address, timeout=60, set_as_default=False) as client:
                client.wait_for_workers(2, timeout=60)
            yield address, running
        finally:
            for process in running:  # with what they started; asked politely, a worker may take a minute
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture(scope="module")
def joined(cluster):
    with open_pool(Execution(cluster[0])) as pool:
        yield pool


def test_a_cluster_over_tcp_gives_what_one_process_gives(tmp_path, alone, joined):
    go, log = misbehaving(tmp_path)
    swept = run_points(seeds(*POINTS), tmp_path, offered, run=go, pool=joined)
    assert swept.failures == []
    assert payloads(tmp_path) == alone
    assert len(processes(log)) == 2
    assert os.getpid() not in processes(log)


def test_errors_come_back_from_a_cluster(tmp_path, joined):
    go, log = misbehaving(tmp_path, {1: sweeps.fail_evilly})
    swept = run_points(seeds(0, 1, 2), tmp_path, offered, run=go, pool=joined)
    assert swept.failures == [(1, "EvilError")]
    assert sorted(started(log)) == [0, 1, 1, 2]


def test_a_users_policy_travels_to_a_cluster(tmp_path, joined, travelling):
    here = run_points(travelling, tmp_path / "here", lambda r: r.engine, execution=Execution("inline"))
    there = run_points(travelling, tmp_path / "there", lambda r: r.engine, pool=joined)
    assert (there.failures, there.values) == ([], here.values)
    assert payloads(tmp_path / "there") == payloads(tmp_path / "here")


def test_a_worker_of_a_cluster_that_dies_or_hangs_is_replaced(tmp_path, joined):
    go, _ = misbehaving(tmp_path, {1: sweeps.kill, 2: sweeps.hang}, once=True)
    execution = Execution(timeout=5.0)
    swept = run_points(seeds(*POINTS), tmp_path, offered, run=go, pool=joined, execution=execution)
    assert swept.failures == []
    assert len(payloads(tmp_path)) == len(POINTS)


def test_no_scheduler_is_told_before_the_first_packet(tmp_path, distributed, monkeypatch):
    monkeypatch.setattr("lbsim.study.running.executors.REACH", 0.5)
    with pytest.raises(ValueError, match=r"no Dask scheduler answers at tcp://127.0.0.1:1 "):
        run_points(seeds(1), tmp_path, offered, execution=Execution("tcp://127.0.0.1:1"))


@pytest.mark.slow
def test_a_local_cluster_survives_what_its_workers_do(tmp_path, alone, distributed):
    go, log = misbehaving(tmp_path, {1: sweeps.kill, 3: sweeps.hang})
    with open_pool(Execution("dask", jobs=2)) as pool:
        swept = run_points(
            seeds(*POINTS), tmp_path, offered, run=go, pool=pool, execution=Execution(timeout=5.0)
        )
    assert [f.point for f in swept.failures] == [1, 3]
    assert swept.failures[0].reason == "the worker was lost (killed? out of memory?)"
    assert "took longer than 5 s" in swept.failures[1].reason
    assert payloads(tmp_path).items() < alone.items()
    assert len(payloads(tmp_path)) == 4
    assert started(log).count(1) == started(log).count(3) == 2
    assert not any(map(alive, processes(log)))
