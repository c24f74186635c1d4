import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from functools import partial
from pathlib import Path

import pytest
import sweeps
from sweeps import BASE, Notes, alive, misbehaving, offered, payloads, processes, seeds, started

from lbsim.engine.rings import choose_and_poll
from lbsim.engine.run import run
from lbsim.scenario import CaptureFile, Recorded, override
from lbsim.study.points import pointfile, store
from lbsim.study.points.keys import point_key
from lbsim.study.running import flight
from lbsim.study.running.executors import Execution, Inline, Opened, Pool, open_pool
from lbsim.study.running.runner import Interrupted, run_points

INLINE = Execution("inline")
IMPATIENT = 3.0  # s; a cold worker needs part of it before its first packet
FULL = OSError(errno.ENOSPC, "No space left on device", "there")


@pytest.fixture(scope="module")
def pool():
    """Two processes for the whole file; they are replaced when a test kills them."""
    with open_pool(Execution("loky", jobs=2)) as shared:
        yield shared


def expected(*numbers):
    return [run(scenario).offered for scenario in seeds(*numbers)]


def failed_files(folder):
    return [json.loads(path.read_text()) for path in folder.glob("*.failed.json")]


# --- what is computed, and what is not ---


def test_values_come_in_the_order_of_the_scenarios_and_are_stored(tmp_path):
    swept = run_points(seeds(3, 1, 2), tmp_path, offered, execution=INLINE)
    assert swept.values == expected(3, 1, 2)
    assert (swept.failures, swept.left, swept.stored) == ([], 0, 0)
    assert swept.packets == sum(swept.values)
    assert set(payloads(tmp_path)) == {point_key(scenario) for scenario in seeds(1, 2, 3)}


def test_only_what_is_new_is_computed(tmp_path):
    go, log = misbehaving(tmp_path)
    notes = Notes()
    run_points(seeds(0, 1), tmp_path, offered, run=go, execution=INLINE)
    swept = run_points(seeds(0, 1, 2), tmp_path, offered, run=go, execution=INLINE, watch=notes)
    assert started(log) == [0, 1, 2]
    assert swept.stored == 2
    assert swept.packets == swept.values[2]
    assert notes.begun == ("points", 3, 2, 1)
    assert notes.points == [(swept.values[2], "", False)]
    assert notes.ended == 1


def test_fresh_computes_all_again(tmp_path):
    go, log = misbehaving(tmp_path)
    for _ in range(2):
        swept = run_points(seeds(0, 1), tmp_path, offered, run=go, execution=Execution("inline", fresh=True))
    assert started(log) == [0, 1, 0, 1]
    assert swept.stored == 0


def test_equal_points_are_computed_once(tmp_path):
    go, log = misbehaving(tmp_path, {2: sweeps.fail})
    swept = run_points(seeds(1, 2, 1, 2), tmp_path, offered, run=go, execution=INLINE)
    assert sorted(started(log)) == [1, 2, 2]
    assert swept.values == [*expected(1), None, *expected(1), None]
    assert [f.point for f in swept.failures] == [1, 3]
    assert run_points(seeds(1, 1), tmp_path, offered, execution=INLINE).stored == 2


def test_points_start_in_the_order_asked_for(tmp_path):
    go, log = misbehaving(tmp_path)
    swept = run_points(seeds(5, 6, 7), tmp_path, offered, run=go, execution=INLINE, order=[2, 0, 1])
    assert started(log) == [7, 5, 6]
    assert swept.values == expected(5, 6, 7)


def test_nothing_to_compute_needs_no_pool_and_no_disk(tmp_path, monkeypatch):
    run_points(seeds(1), tmp_path, offered, execution=INLINE)
    monkeypatch.setattr(store, "write_whole", None)
    swept = run_points(seeds(1), tmp_path, offered, execution=Execution("tcp://127.0.0.1:1"))
    assert swept.values == expected(1)


def _then_store(scenario, progress=None, *, folder, other):
    key = point_key(other)
    store.write(folder, key, pointfile.encode(run(other), key))
    return run(scenario)


def test_what_another_sweep_stored_meanwhile_is_taken(tmp_path):
    first, second = seeds(1, 2)
    go, notes = partial(_then_store, folder=tmp_path, other=second), Notes()
    swept = run_points([first, second], tmp_path, offered, run=go, execution=INLINE, watch=notes)
    assert swept.values == expected(1, 2)
    assert swept.packets == swept.values[0]
    assert notes.points == [(swept.values[0], "", False), (0, "", True)]


def test_a_damaged_point_is_computed_again_with_a_notice(tmp_path):
    go, log = misbehaving(tmp_path)
    run_points(seeds(1, 2), tmp_path, offered, run=go, execution=INLINE)
    path = store.path_of(tmp_path, point_key(seeds(2)[0]))
    path.write_bytes(path.read_bytes()[:-9])
    notes = Notes()
    swept = run_points(seeds(1, 2), tmp_path, offered, run=go, execution=INLINE, watch=notes)
    assert started(log) == [1, 2, 2]
    assert swept.values == expected(1, 2)
    assert [path.name in note and "damaged" in note for note in notes.said] == [True]


def test_results_are_dropped_once_measured(tmp_path):
    seen, alive_at_once = [], []

    def measure(result):
        seen.append(weakref.ref(result))
        alive_at_once.append(sum(reference() is not None for reference in seen))

    for _ in range(2):  # computed, then read
        run_points(seeds(*range(6)), tmp_path, measure, execution=INLINE)
    assert len(alive_at_once) == 12
    assert max(alive_at_once) <= 2


# --- what goes wrong with a point ---


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (sweeps.fail, "ArithmeticError: this seed is unlucky"),
        (sweeps.fail_evilly, "EvilError"),
        (sweeps.leave, "SystemExit: 3"),
        (sweeps.run_out_of_memory, "Unable to allocate"),
        (sweeps.hang_with_callbacks, "took longer than 3 s; raise the timeout or shorten the scenario"),
    ],
)
@pytest.mark.parametrize("apart", [False, True])
def test_a_point_that_raises_is_tried_again_alone_then_recorded(tmp_path, pool, wrong, reason, apart):
    go, log = misbehaving(tmp_path, {1: wrong})
    notes = Notes()
    timeout = IMPATIENT if wrong is sweeps.hang_with_callbacks else None
    execution = Execution("inline", timeout=timeout)
    swept = run_points(
        seeds(0, 1, 2, 3), tmp_path, offered, run=go, watch=notes,
        execution=execution, pool=pool if apart else None,
    )  # fmt: skip
    assert sorted(started(log)[:-1]) == [0, 1, 2, 3]
    assert started(log)[-1] == 1
    assert swept.values == [*expected(0), None, *expected(2, 3)]
    assert [f.point for f in swept.failures] == [1]
    assert reason in swept.failures[0].reason
    assert "\n" not in swept.failures[0].reason
    assert ["point 2: " in note and "tried again" in note for note in notes.said] == [True]
    assert [failed for _, failed, _ in notes.points if failed] == [f"point 2: {swept.failures[0].reason}"]
    [record] = failed_files(tmp_path)
    assert record["reason"] == swept.failures[0].reason
    assert "misbehave" in record["trace"]


def test_a_point_that_fails_once_does_not_count_as_failed(tmp_path):
    go, log = misbehaving(tmp_path, {1: sweeps.fail}, once=True)
    swept = run_points(seeds(0, 1, 2), tmp_path, offered, run=go, execution=INLINE)
    assert started(log) == [0, 1, 2, 1]
    assert swept.failures == failed_files(tmp_path) == []
    assert swept.values == expected(0, 1, 2)


def test_the_record_of_a_failure_goes_when_the_point_succeeds(tmp_path):
    go, _ = misbehaving(tmp_path, {1: sweeps.fail})
    run_points(seeds(1), tmp_path, offered, run=go, execution=INLINE)
    assert len(failed_files(tmp_path)) == 1
    run_points(seeds(1), tmp_path, offered, execution=INLINE)
    assert failed_files(tmp_path) == []


def test_a_point_whose_capture_is_missing_fails_alone(tmp_path):
    gone = override(BASE, {"traffic": CaptureFile(file="gone.pcap"), "arrivals": Recorded(speed=1)})
    swept = run_points([*seeds(1), gone], tmp_path, offered, execution=INLINE)
    assert swept.values == [*expected(1), None]
    assert [f.point for f in swept.failures] == [1]
    assert "gone.pcap" in swept.failures[0].reason


def test_a_result_that_cannot_be_measured_is_stored_and_named(tmp_path):
    def measure(result):
        return 1 / (result.scenario.seed - 1)

    for _ in range(2):  # computed, then read
        swept = run_points(seeds(0, 1, 2), tmp_path, measure, execution=INLINE)
        assert swept.values == [-1, None, 1]
        assert swept.failures == [
            (1, "computed, but cannot be measured: ZeroDivisionError: division by zero")
        ]
    assert swept.stored == 3


def test_a_run_that_cannot_be_sent_fails_with_the_reason(tmp_path, pool):
    lock = threading.Lock()
    swept = run_points(seeds(1), tmp_path, offered, run=lambda s, progress: lock, pool=pool)
    assert "no worker could compute it (PicklingError" in swept.failures[0].reason


# --- workers that die or hang ---


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (sweeps.kill, "the worker was killed (signal 9: out of memory?)"),
        (sweeps.vanish, "the worker ended (EXIT(7))"),
        pytest.param(
            sweeps.hang,
            "took longer than 3 s; raise the timeout or shorten the scenario",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_worker_that_is_lost_costs_its_point_alone(tmp_path, pool, wrong, reason):
    go, log = misbehaving(tmp_path, {1: wrong})
    execution = Execution(timeout=IMPATIENT if wrong is sweeps.hang else None)
    swept = run_points(seeds(*range(6)), tmp_path, offered, run=go, execution=execution, pool=pool)
    assert swept.values == [*expected(0), None, *expected(2, 3, 4, 5)]
    assert [f.point for f in swept.failures] == [1]
    assert reason in swept.failures[0].reason
    assert started(log).count(1) == 2
    assert started(log)[-1] == 1 or started(log)[-2] == 1  # it and the other suspect
    assert len(failed_files(tmp_path)) == 1
    assert len(payloads(tmp_path)) == 5


def test_a_worker_killed_once_costs_nothing(tmp_path, pool):
    go, log = misbehaving(tmp_path, {1: sweeps.kill}, once=True)
    swept = run_points(seeds(*range(4)), tmp_path, offered, run=go, pool=pool)
    assert swept.values == expected(0, 1, 2, 3)
    assert swept.failures == []
    assert started(log).count(1) == 2


def test_a_worker_killed_while_idle_costs_nothing(tmp_path, pool):
    go, log = misbehaving(tmp_path)
    run_points(seeds(1, 2), tmp_path, offered, run=go, pool=pool)
    for process in processes(log):
        os.kill(process, signal.SIGKILL)
    swept = run_points(seeds(3, 4, 5), tmp_path, offered, run=go, pool=pool)
    assert swept.values == expected(3, 4, 5)
    assert swept.failures == []


@pytest.mark.slow
def test_a_worker_without_a_sign_of_life_is_killed(tmp_path, pool, monkeypatch):
    monkeypatch.setattr(flight, "LAST_RESORT", 2.0)
    go, log = misbehaving(tmp_path, {1: sweeps.hang_holding_the_interpreter})
    execution = Execution(timeout=IMPATIENT)
    swept = run_points(seeds(0, 1, 2), tmp_path, offered, run=go, execution=execution, pool=pool)
    assert swept.values == [*expected(0), None, *expected(2)]
    assert "took longer than 3 s" in swept.failures[0].reason
    assert "was ended" in swept.failures[0].reason
    assert not any(map(alive, processes(log) - set(_workers(tmp_path, pool))))


def _workers(folder, pool):
    """Return the processes of a pool that is idle."""
    go, log = misbehaving(folder / "ask")
    run_points(seeds(100, 101, 102, 103), folder / "ask", offered, run=go, pool=pool)
    return processes(log)


# --- the disk ---


def test_a_full_disk_is_told_and_tried_again_at_the_end(tmp_path, monkeypatch):
    write, attempts = store.write, []

    def full_at_first(folder, key, content):
        attempts.append(key)
        if len(attempts) <= 2:
            raise FULL
        write(folder, key, content)

    monkeypatch.setattr(store, "write", full_at_first)
    notes = Notes()
    swept = run_points(seeds(0, 1, 2), tmp_path, offered, execution=INLINE, watch=notes)
    assert (swept.failures, swept.values) == ([], expected(0, 1, 2))
    assert len(payloads(tmp_path)) == 3
    assert len(notes.said) == 1
    assert "No space left on device" in notes.said[0]


def test_a_disk_that_stays_full_loses_no_value_and_the_same_command_goes_on(tmp_path, monkeypatch):
    write = store.write
    go, log = misbehaving(tmp_path)

    def full(folder, key, content):
        if len(list(folder.glob("*.parquet"))) == 2:
            raise FULL
        write(folder, key, content)

    with monkeypatch.context() as patch:
        patch.setattr(store, "write", full)
        swept = run_points(seeds(0, 1, 2, 3), tmp_path, offered, run=go, execution=INLINE)
    assert swept.values == expected(0, 1, 2, 3)
    reason = (
        "computed, but cannot be stored: No space left on device: free some space, "
        "then the same command goes on"
    )
    assert swept.failures == [(2, reason), (3, reason)]
    again = run_points(seeds(0, 1, 2, 3), tmp_path, offered, run=go, execution=INLINE)
    assert (again.failures, again.stored) == ([], 2)
    assert started(log) == [0, 1, 2, 3, 2, 3]


def test_points_that_cannot_be_stored_are_told_in_one_note_with_a_way_out(tmp_path, monkeypatch):
    def refuse(folder, key, content):
        raise OSError(errno.EACCES, "Permission denied", str(folder))

    monkeypatch.setattr(store, "write", refuse)
    notes = Notes()
    swept = run_points(seeds(0, 1, 2, 3), tmp_path, offered, execution=INLINE, watch=notes)
    assert len(swept.failures) == 4
    first, last = notes.said
    assert "tried again at the end" in first
    assert "Permission denied: give another results folder" in last
    assert last.endswith("(and 3 more points)")


def test_a_folder_that_cannot_be_written_is_refused_before_the_first_packet(tmp_path):
    go, log = misbehaving(tmp_path)
    (tmp_path / "points").write_text("a file")
    with pytest.raises(OSError, match="cannot store points here"):
        run_points(seeds(1), tmp_path / "points", offered, run=go, execution=INLINE)
    assert started(log) == []


# --- time and interrupts ---


def test_nothing_new_starts_when_the_time_is_up(tmp_path):
    go, log = misbehaving(tmp_path)
    run_points(seeds(1), tmp_path, offered, run=go, execution=INLINE)
    over = Execution("inline", limit_time=0)
    swept = run_points(seeds(1, 2, 3, 3), tmp_path, offered, run=go, execution=over)
    assert started(log) == [1]
    assert swept.values == [*expected(1), None, None, None]
    assert (swept.left, swept.failures, swept.stored) == (3, [], 1)


def test_what_runs_when_the_time_is_up_is_finished(tmp_path, monkeypatch):
    go, log = misbehaving(tmp_path)
    ends = iter([False, False, True])
    monkeypatch.setattr(Execution, "over", lambda self: next(ends))
    swept = run_points(seeds(1, 2, 3), tmp_path, offered, run=go, execution=INLINE)
    assert started(log) == [1, 2]
    assert (swept.values, swept.left) == ([*expected(1, 2), None], 1)


def interrupt(progress):
    raise KeyboardInterrupt


def test_an_interrupt_keeps_what_came_back_and_tells_how_much(tmp_path):
    go, _ = misbehaving(tmp_path, {3: interrupt})
    notes = Notes()
    run_points(seeds(0), tmp_path, offered, run=go, execution=INLINE)
    with pytest.raises(Interrupted, match=r"2 of 4 points are stored") as caught:
        run_points(seeds(0, 1, 3, 4), tmp_path, offered, run=go, execution=INLINE, watch=notes)
    assert (caught.value.kept, caught.value.total) == (2, 4)
    assert notes.ended == 1
    assert run_points(seeds(0, 1, 3, 4), tmp_path, offered, execution=INLINE).stored == 2


def test_what_came_back_before_an_interrupt_is_stored(tmp_path):
    go, _ = misbehaving(tmp_path, {2: interrupt})
    three = Pool(lambda: Opened(Inline(), lambda: 3, lambda error: False, lambda kill: None), apart=False)
    with pytest.raises(Interrupted, match="2 of 3 points"):
        run_points(seeds(0, 1, 2), tmp_path, offered, run=go, pool=three)
    assert len(payloads(tmp_path)) == 2


SCRIPT = """
import sys
from pathlib import Path
from sweeps import hang, misbehaving, offered, seeds
from lbsim.study.running.executors import Execution
from lbsim.study.running.runner import Interrupted, run_points

folder = Path(sys.argv[1])
go, log = misbehaving(folder, {1: hang, 2: hang} if "hang" in sys.argv else {})
try:
    swept = run_points(seeds(*range(30)), folder, offered, run=go, execution=Execution(jobs=2), order=map(int, sys.argv[2].split(",")))
except Interrupted as error:
    print(error)
    sys.exit(130)
print(swept.failures)
"""  # noqa: E501


def sweep_process(folder, order, *extra):
    return python(["-c", SCRIPT, str(folder), ",".join(map(str, order)), *extra])


def python(arguments):
    path = os.pathsep.join(["tests", os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("everyone", [False, True])
def test_ctrl_c_stores_says_how_to_go_on_and_leaves_no_process(tmp_path, everyone):
    process = sweep_process(tmp_path, [0, 3, 4, 1, 2], "hang")
    wait_for(lambda: sorted(started(tmp_path / "log")) == [0, 1, 2, 3, 4])
    workers = processes(tmp_path / "log")
    if everyone:  # as a terminal does
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == "interrupted; 3 of 5 points are stored, the same command goes on\n"
    assert len(payloads(tmp_path)) == 3
    assert not any(map(alive, workers))


def test_workers_do_not_outlive_a_sweep_that_is_killed(tmp_path):
    process = sweep_process(tmp_path, [0, 1, 2], "hang")
    wait_for(lambda: sorted(started(tmp_path / "log")) == [0, 1, 2])
    process.kill()
    process.communicate(timeout=60)
    wait_for(lambda: not any(map(alive, processes(tmp_path / "log"))))
    assert len(payloads(tmp_path)) == 1
    assert run_points(seeds(0, 1, 2), tmp_path, offered, execution=INLINE).stored == 1


@pytest.mark.slow
def test_two_sweeps_on_one_store_do_not_harm_each_other(tmp_path):
    both = [sweep_process(tmp_path / "points", order) for order in (range(30), reversed(range(30)))]
    (tmp_path / "points").mkdir()
    assert [process.communicate(timeout=120)[0] for process in both] == ["[]\n", "[]\n"]
    log = tmp_path / "points" / "log"
    assert set(started(log)) == set(range(30))
    run_points(seeds(*range(30)), tmp_path / "alone", offered, execution=INLINE)
    assert payloads(tmp_path / "points") == payloads(tmp_path / "alone")
    assert [p.name for p in (tmp_path / "points").iterdir() if p.suffix != ".parquet"] == ["log"]


# --- policies travel ---


def _counting(scenario, progress=None, *, log):
    result = run(scenario, progress=progress)
    with open(log, "a") as file:
        file.write(f"{len(choose_and_poll().signatures)} {os.getpid()}\n")
    return result


@pytest.fixture
def travelling(tmp_path, monkeypatch):
    return sweeps.travelling(tmp_path, monkeypatch)


def test_a_policy_of_a_users_module_travels_and_compiles_once_a_process(tmp_path, pool, travelling):
    engines = run_points(travelling, tmp_path / "inline", lambda r: r.engine, execution=INLINE)
    log = tmp_path / "log"
    swept = run_points(travelling, tmp_path / "loky", offered, run=partial(_counting, log=log), pool=pool)
    assert swept.failures == []
    assert set(engines.values) == {"compiled: policy on live queues"}
    assert payloads(tmp_path / "loky") == payloads(tmp_path / "inline")
    assert len(started(log)) == 6
    assert len(set(log.read_text().splitlines())) == len(processes(log))  # none compiled twice


def test_a_policy_of_main_travels(tmp_path):
    script = (
        sweeps.POLICY.format(imports=sweeps.HELPERS, helper="twice")
        + """
import sys
from pathlib import Path
from sweeps import override, payloads, seeds
from lbsim.study.running.executors import Execution
from lbsim.study.running.runner import run_points
points = [override(s, {"nic.dispatch": {"kind": "policy", "policy": "travelling"}}) for s in seeds(1, 2)]
for name in ("inline", "loky"):
    folder = Path(sys.argv[1]) / name
    swept = run_points(points, folder, lambda r: r.engine, execution=Execution(name, jobs=1))
    print(swept.failures, set(swept.values))
print(payloads(Path(sys.argv[1]) / "inline") == payloads(Path(sys.argv[1]) / "loky"))
"""
    )
    done = python(["-c", script, str(tmp_path)]).communicate(timeout=120)[0]
    assert done == "[] {'compiled: policy on live queues'}\n" * 2 + "True\n"


def test_a_policy_that_cannot_travel_fails_with_the_reason(tmp_path, pool, travelling):
    sys.modules["users_policies"].users_helpers.lock = threading.Lock()
    swept = run_points(travelling[:2], tmp_path, offered, pool=pool)
    assert [f.point for f in swept.failures] == [0, 1]
    assert (
        "policy 'travelling' cannot travel to a worker (TypeError: cannot pickle" in swept.failures[0].reason
    )
    assert run_points(travelling[:1], tmp_path, offered, execution=INLINE).failures == []
