import builtins
import errno
import json
import os
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lbsim.scenario import override
from lbsim.study.points import store
from lbsim.study.points.pointfile import encode
from results import BASE, made_up, same

HERE = Path(__file__).parent
KEY = "0123456789abcdef" * 2
WHOLE = encode(made_up(BASE), KEY)
NO_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def stored(folder, notices=None):
    return store.read(folder, KEY, BASE, notices.append if notices is not None else pytest.fail)


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def raising(error):
    def fail(*given, **named):
        raise error

    return fail


# --- reading and writing ---


def test_a_stored_point_is_found_again(tmp_path):
    folder = tmp_path / "results" / "points"
    assert stored(folder) is None
    store.write(folder, KEY, WHOLE)
    assert same(stored(folder), made_up(BASE))
    assert files(folder) == [f"{KEY}.parquet"]
    assert store.path_of(folder, KEY).read_bytes() == WHOLE


def test_a_result_is_that_of_the_scenario_asked_for(tmp_path):
    store.write(tmp_path, KEY, WHOLE)
    titled = override(BASE, {"name": "the same under another title"})
    assert store.read(tmp_path, KEY, titled, pytest.fail).scenario == titled


def test_others_may_read_what_is_written(tmp_path):
    before = os.umask(0o022)
    try:
        store.write(tmp_path, KEY, WHOLE)
    finally:
        os.umask(before)
    assert store.path_of(tmp_path, KEY).stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (WHOLE[:-1], "not those that were written"),
        (b"", "not those that were written"),
        (encode(made_up(BASE), "f" * 32), "holds the point ffff"),
    ],
)
def test_a_damaged_point_goes_to_quarantine_with_its_reason(tmp_path, content, reason):
    notices = []
    for k, expected in enumerate([f"quarantine/{KEY}.parquet", f"quarantine/{KEY}.2.parquet"]):
        store.write(tmp_path, KEY, content)
        assert stored(tmp_path, notices) is None
        assert reason in notices[k]
        assert f"moved to {expected}, computed again" in notices[k]
        assert (tmp_path / expected).read_bytes() == content
        assert reason in (tmp_path / expected).with_suffix(".txt").read_text()
    assert stored(tmp_path) is None  # and that was all there is to say
    assert len(notices) == 2
    store.write(tmp_path, KEY, WHOLE)
    assert same(stored(tmp_path), made_up(BASE))
    assert len(files(tmp_path)) == 5


def test_quarantine_overwrites_nothing_and_claims_nothing_it_did_not_move(tmp_path):
    aside = tmp_path / "quarantine"
    aside.mkdir()
    (aside / f"{KEY}.parquet").write_bytes(b"kept")
    (aside / f"{KEY}.2.txt").write_text("kept")
    store.write(tmp_path, KEY, b"damaged")
    assert store.quarantine(store.path_of(tmp_path, KEY), "why").name == f"{KEY}.3.parquet"
    with pytest.raises(FileNotFoundError):
        store.quarantine(store.path_of(tmp_path, KEY), "gone")
    assert files(aside) == [f"{KEY}.{end}" for end in ("2.txt", "3.parquet", "3.txt", "parquet")]
    assert (aside / f"{KEY}.parquet").read_bytes() == b"kept"


def test_a_damaged_point_that_cannot_be_moved_is_still_computed_again(tmp_path, monkeypatch):
    store.write(tmp_path, KEY, WHOLE[:-1])
    notices = []
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", raising(OSError(errno.EROFS, "Read-only file system")))
        assert stored(tmp_path, notices) is None
    assert "could not be moved to quarantine (Read-only file system), computed again" in notices[0]
    assert files(tmp_path) == [f"{KEY}.parquet"]


def test_a_point_that_cannot_be_read_is_not_taken_for_damaged(tmp_path, monkeypatch):
    store.write(tmp_path, KEY, WHOLE)
    notices = []
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", raising(OSError(errno.EMFILE, "Too many open files")))
        assert stored(tmp_path, notices) is None
    assert notices == [f"{KEY}.parquet cannot be read (Too many open files); computed again"]
    assert same(stored(tmp_path), made_up(BASE))


def test_many_may_read_and_write_the_same_points_at_once(tmp_path):
    contents = [WHOLE, WHOLE[:-1]]

    def one(k):
        if k % 5 == 0:
            store.write(tmp_path, KEY, contents[k % 2])
        found = store.read(tmp_path, KEY, BASE, lambda text: None)
        return found is None or same(found, made_up(BASE))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(400)))
    assert not list(tmp_path.glob(".*"))
    aside = tmp_path / "quarantine"
    assert len(list(aside.glob("*.parquet"))) == len(list(aside.glob("*.txt")))


# --- disks that fail ---


class TornFile:
    """A file that takes half of what it is given."""

    def __init__(self, file, error):
        self.file, self.error = file, error

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.file.close()

    def write(self, content):
        self.file.write(content[: len(content) // 2])
        self.file.flush()
        raise self.error


def failing(call, error, monkeypatch):
    """Make one of the calls by which a file is written fail."""
    calls = []
    real = {"open": builtins.open, "fsync": os.fsync, "os.open": os.open}

    def torn(*given, **named):
        return TornFile(real["open"](*given, **named), error)

    def folder_sync(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise error
        real["fsync"](descriptor)

    match call:
        case "mkdir":
            monkeypatch.setattr(Path, "mkdir", raising(error))
        case "open":
            monkeypatch.setattr(builtins, "open", raising(error))
        case "write":
            monkeypatch.setattr(builtins, "open", torn)
        case "fsync":
            monkeypatch.setattr(os, "fsync", raising(error))
        case "replace":
            monkeypatch.setattr(os, "replace", raising(error))
        case "open folder":
            monkeypatch.setattr(os, "open", raising(error))
        case "fsync folder":
            monkeypatch.setattr(os, "fsync", folder_sync)


CALLS = ("mkdir", "open", "write", "fsync", "replace", "open folder", "fsync folder")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_write_that_fails_leaves_no_partial_file(tmp_path, monkeypatch, call, code, old):
    folder = tmp_path / "points"
    path = store.path_of(folder, KEY)
    if old is not None:
        store.write(folder, KEY, old)
    with monkeypatch.context() as patched:
        failing(call, OSError(code, os.strerror(code)), patched)
        with pytest.raises(OSError, match=os.strerror(code)) as caught:
            store.write(folder, KEY, WHOLE)
    assert caught.value.errno == code
    assert caught.value.filename == str(path)
    replaced = call in ("open folder", "fsync folder")  # whole, but a power cut might still undo it
    assert files(tmp_path) == ([f"points/{KEY}.parquet"] if old is not None or replaced else [])
    if files(tmp_path):
        assert path.read_bytes() == (WHOLE if replaced else old)
    store.write(folder, KEY, WHOLE)  # the disk is well again: it goes on
    assert same(stored(folder), made_up(BASE))
    assert files(tmp_path) == [f"points/{KEY}.parquet"]


def test_a_file_system_that_cannot_sync_folders_will_do(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        failing("fsync folder", OSError(errno.EINVAL, "Invalid argument"), patched)
        store.write(tmp_path, KEY, WHOLE)
    with monkeypatch.context() as patched:
        failing("open folder", PermissionError(errno.EACCES, "Permission denied"), patched)
        store.write(tmp_path, KEY, WHOLE)
    assert same(stored(tmp_path), made_up(BASE))


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_ctrl_c_leaves_no_partial_file(tmp_path, monkeypatch, call):
    failing(call, KeyboardInterrupt(), monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        store.write(tmp_path, KEY, WHOLE)
    assert files(tmp_path) == []


def test_the_first_error_is_the_one_told(tmp_path, monkeypatch):
    failing("write", NO_SPACE, monkeypatch)
    monkeypatch.setattr(Path, "unlink", raising(OSError(errno.EROFS, "Read-only file system")))
    with pytest.raises(OSError, match="No space left"):
        store.write(tmp_path, KEY, WHOLE)


@pytest.mark.parametrize(
    ("code", "hint"),
    [(errno.ENOSPC, "free some space"), (errno.EDQUOT, "free some space"), (errno.EROFS, "another results")],
)
@pytest.mark.parametrize("call", CALLS)
def test_a_folder_that_takes_no_point_is_refused_before_any_work(tmp_path, monkeypatch, call, code, hint):
    store.writable(tmp_path / "points")
    with monkeypatch.context() as patched:
        failing(call, OSError(code, os.strerror(code)), patched)
        with pytest.raises(
            OSError, match=f"cannot store points here: {os.strerror(code)}; .*{hint}"
        ) as caught:
            store.writable(tmp_path / "points")
    assert caught.value.filename == str(tmp_path / "points")
    assert files(tmp_path) == []


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path):
    (tmp_path / "points").write_text("not a folder")
    with pytest.raises(OSError, match="cannot store points here"):
        store.writable(tmp_path / "points")
    assert stored(tmp_path / "points") is None


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 kB."""
    place = tmp_path / "small"
    place.mkdir()
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user cannot mount a small disk")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_disk_that_fills_up_and_is_freed(small_disk):
    folder = small_disk / "points"
    kept = []

    def fill():
        for number in range(100):
            store.write(folder, f"{number:032}", WHOLE)
            kept.append(f"points/{number:032}.parquet")

    with pytest.raises(OSError, match="No space left on device"):
        fill()
    assert len(kept) > 3
    assert files(small_disk) == kept
    assert all((small_disk / name).read_bytes() == WHOLE for name in kept)
    with pytest.raises(OSError, match="No space left on device; free some space"):
        store.writable(folder)
    assert store.remember_failure(folder, KEY, {"reason": "x" * 10**5}) is False
    assert files(small_disk) == kept
    for name in kept[:-1]:
        (small_disk / name).unlink()
    store.write(folder, KEY, WHOLE)
    assert same(stored(folder), made_up(BASE))


def test_a_disk_that_became_read_only(small_disk):
    store.write(small_disk, KEY, WHOLE)
    store.write(small_disk, "f" * 32, b"damaged")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(OSError, match="Read-only file system; give another results folder"):
        store.writable(small_disk)
    with pytest.raises(OSError, match="Read-only file system"):
        store.write(small_disk, "a" * 32, WHOLE)
    assert same(stored(small_disk), made_up(BASE))
    notices = []
    assert store.read(small_disk, "f" * 32, BASE, notices.append) is None
    assert "could not be moved to quarantine (Read-only file system)" in notices[0]
    store.forget_failure(small_disk, KEY)
    assert store.leftovers(small_disk) == 0


# --- sweeps that die ---


def test_a_file_is_whole_whenever_its_writer_is_killed(tmp_path):
    code = """
        import os, random, signal, sys, time
        from pathlib import Path
        from lbsim.study.points import store
        path = Path(sys.argv[1]) / "file"
        seen = set()
        for k in range(40):
            child = os.fork()
            if child == 0:
                turn = k
                while True:
                    turn += 1
                    store.write_whole(path, bytes([turn % 251]) * 2_000_000)
            time.sleep(random.Random(k).uniform(0.002, 0.03))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            if path.exists():
                content = path.read_bytes()
                assert content == content[:1] * 2_000_000, "a partial file"
                seen.add(content[0])
        left = len(list(path.parent.glob(".*.tmp")))
        assert store.leftovers(path.parent) == left
        print(left, len(seen), *os.listdir(path.parent))
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), tmp_path], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    left, seen, *names = ran.stdout.split()
    assert int(left) > 0
    assert int(seen) > 5
    assert names == ["file"]


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    here, elsewhere, token = store._host(), "0" * 8, "f" * 16
    names = {
        "dead": f".a.parquet.{here}-{dead.pid}-{token}.tmp",
        "alive": f".b.parquet.{here}-{os.getpid()}-{token}.tmp",
        "elsewhere": f".c.parquet.{elsewhere}-{dead.pid}-{token}.tmp",
        "long ago": f".d.parquet.{elsewhere}-{dead.pid}-{token}.tmp",
        "alive for long": f".e.parquet.{here}-{os.getpid()}-{token}.tmp",
        "not ours": ".f.tmp",
        "a point": "g.parquet",
    }
    for name in names.values():
        (tmp_path / name).write_bytes(b"")
    for what in ("long ago", "alive for long", "not ours", "a point"):
        os.utime(tmp_path / names[what], (time.time() - 3700,) * 2)
    assert store.leftovers(tmp_path) == 2
    assert files(tmp_path) == sorted(set(names.values()) - {names["dead"], names["long ago"]})
    assert store.leftovers(tmp_path / "nowhere") == 0


def test_the_temporary_file_of_a_write_is_known_by_its_name(tmp_path, monkeypatch):
    seen = []
    real = os.replace

    def look(source, target):
        seen.append(Path(source))
        assert store.leftovers(tmp_path) == 0  # it is that of a live process
        real(source, target)

    monkeypatch.setattr(os, "replace", look)
    store.write(tmp_path, KEY, WHOLE)
    store.write(tmp_path, KEY, WHOLE)
    assert seen[0] != seen[1]
    assert all(path.parent == tmp_path and store._TEMPORARY.fullmatch(path.name) for path in seen)
    assert len(seen[0].name) < 255


# --- failures ---


def test_failures_are_remembered_until_they_are_forgotten(tmp_path):
    store.forget_failure(tmp_path, KEY)
    about = {"reason": "took longer than 300 s µ", "labels": {"x": 1}}
    assert store.remember_failure(tmp_path, KEY, {"reason": "an earlier one"})
    assert store.remember_failure(tmp_path, KEY, about)
    assert json.loads((tmp_path / f"{KEY}.failed.json").read_text("utf-8")) == about
    assert stored(tmp_path) is None
    store.forget_failure(tmp_path, KEY)
    assert files(tmp_path) == []


def test_a_disk_that_takes_no_record_of_a_failure_does_no_harm(tmp_path, monkeypatch):
    failing("write", NO_SPACE, monkeypatch)
    assert store.remember_failure(tmp_path, KEY, {"reason": "any"}) is False
    assert files(tmp_path) == []


# --- check ---


@pytest.fixture
def results(tmp_path):
    for folder in (tmp_path / "points", tmp_path / "quick" / "points"):
        for seed in range(3):
            scenario = override(BASE, {"seed": seed})
            store.write(folder, f"{seed:032}", encode(made_up(scenario), f"{seed:032}"))
    figure = tmp_path / "figure"
    store.write_whole(figure / "table.csv", b"x,y\n1,2\n")
    store.write_whole(figure / "chart.json", b"[]\n")
    about = {"files": store.digests(figure, ["table.csv", "chart.json"])}
    store.write_whole(figure / "provenance.json", json.dumps(about).encode())
    return tmp_path


def test_all_is_well(results, tmp_path_factory):
    before = files(results)
    assert store.check(results) == []
    assert files(results) == before
    assert store.check(tmp_path_factory.mktemp("empty")) == []


def test_check_names_damaged_points_and_moves_them_to_quarantine(results):
    points = results / "quick" / "points"
    one, two = points / f"{1:032}.parquet", results / "points" / f"{2:032}.parquet"
    whole = one.read_bytes()
    one.write_bytes(whole[:100] + bytes([whole[100] ^ 4]) + whole[101:])
    two.replace(results / "points" / f"{3:032}.parquet")  # whole, under another point's name
    problems = store.check(results)
    assert len(problems) == 2
    assert f"{3:032}.parquet is damaged: it holds the point {2:032}; moved to quarantine/" in problems[0]
    assert problems[1].startswith(f"{one} is damaged: its bytes are not those that were written; moved to")
    assert (points / "quarantine" / one.name).exists()
    assert store.check(results) == []  # what is in quarantine is out of the way
    assert len(list(results.rglob("*.parquet"))) == 6


def test_check_leaves_other_peoples_files_alone(results):
    (results / "figure" / "my_own.parquet").write_bytes(b"not a point")
    assert store.check(results) == []
    assert (results / "figure" / "my_own.parquet").exists()


def test_check_tells_what_it_cannot_move(results, monkeypatch):
    path = results / "points" / f"{0:032}.parquet"
    path.write_bytes(b"")
    monkeypatch.setattr(os, "replace", raising(OSError(errno.EROFS, "Read-only file system")))
    [problem] = store.check(results)
    assert "it could not be moved to quarantine (Read-only file system); run its figure again" in problem
    assert path.exists()


def test_check_names_files_of_figures_that_changed_or_went(results):
    (results / "figure" / "table.csv").write_bytes(b"x,y\n1,3\n")
    (results / "figure" / "chart.json").unlink()
    problems = store.check(results)
    assert len(problems) == 2
    assert "chart.json is missing; run its figure again" in problems[0]
    assert "table.csv differs from what its study wrote; run its figure again" in problems[1]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"files": 3}', '{"files": [1]}', "\xff"])
def test_check_names_provenance_that_cannot_be_read(results, text):
    (results / "figure" / "provenance.json").write_bytes(text.encode("latin-1"))
    [problem] = store.check(results)
    assert "provenance.json cannot be read" in problem


def test_check_tells_files_it_cannot_read_from_damaged_ones(results, monkeypatch):
    monkeypatch.setattr(Path, "read_bytes", raising(OSError(errno.EIO, "Input/output error")))
    problems = store.check(results)
    assert len(problems) == 8
    assert all("cannot be read (Input/output error)" in problem for problem in problems)
    assert not list(results.rglob("quarantine"))
