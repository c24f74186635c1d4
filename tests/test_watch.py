"""What a sweep tells as it goes: counts, times, and that nothing of it can harm the sweep or the terminal."""

import io
import os
import re
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lbsim.study.running import watch as module
from lbsim.study.running.tally import FEW, Tally
from lbsim.study.running.watch import Lines, LiveTable, Notebook, Watch, open_watch, short, silent, span


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def lines(encoding: str = "utf-8", errors: str = "strict") -> tuple[Watch, Clock, io.BytesIO]:
    raw, clock = io.BytesIO(), Clock()
    file = io.TextIOWrapper(raw, encoding, errors, write_through=True)
    return open_watch(Console(file=file, width=60, force_jupyter=False), clock), clock, raw


def terminal(width: int, height: int = 24, encoding: str = "utf-8") -> tuple[LiveTable, Clock, io.BytesIO]:
    raw, clock = io.BytesIO(), Clock()
    file = io.TextIOWrapper(raw, encoding, write_through=True)
    console = Console(
        file=file,
        width=width,
        height=height,
        force_terminal=True,
        force_interactive=True,
        force_jupyter=False,
    )
    watch = open_watch(console, clock)
    assert isinstance(watch, LiveTable)
    return watch, clock, raw


def drawn(watch: LiveTable) -> list[str]:
    console = Console(file=io.StringIO(), width=watch.console.width, legacy_windows=False)
    with console.capture() as text:
        console.print(watch.table())
    return [line.rstrip() for line in text.get().splitlines()]


def test_none_is_silence(capfd: pytest.CaptureFixture[str]) -> None:
    with open_watch(None) as watch:
        assert watch is silent
        watch.begin("a", 2, 1)
        watch.point(10, "gone")
        watch.note("hear me")
        watch.end()
    assert capfd.readouterr() == ("", "")


def test_lines_come_every_ten_seconds_and_at_the_end() -> None:
    watch, clock, raw = lines()
    said = []
    with watch:
        watch.begin("load", 112, 12)
        for _ in range(100):
            clock.now += 0.5
            watch.point(1_000_000)
            said.append(raw.getvalue().count(b"\n"))
        watch.end()
    assert said == [(k + 1) // 20 if k < 99 else 4 for k in range(100)]
    text = raw.getvalue().decode().splitlines()
    assert text[0] == "load: 32 of 112 points (12 from the store), 2 M packets/s, 40 s left"
    assert text[-1] == "load: 112 of 112 points (12 from the store), 50 s, 2 M packets/s"
    assert len(text) == 5


def test_a_study_from_the_store_is_one_line_and_one_without_points_none() -> None:
    watch, _, raw = lines()
    with watch:
        watch.begin("stored", 1200, 1200)
        watch.end()
        watch.begin("nothing", 0, 0)
        watch.end()
    assert raw.getvalue().decode() == "stored: 1,200 points, all from the store\n"


def test_what_stops_early_says_so() -> None:
    watch, clock, raw = lines()

    def sweep() -> None:
        with watch:
            watch.begin("load", 10, 0)
            clock.now += 2
            watch.point(5_000)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep()
    assert raw.getvalue().decode() == "load: stopped at 1 of 10 points, 2 s, 2.5 k packets/s\n"


def test_a_study_ends_where_the_next_begins() -> None:
    watch, _, raw = lines()
    with watch:
        watch.begin("a", 1, 1)
        watch.begin("b", 1, 1)
    assert [line.split(":")[0] for line in raw.getvalue().decode().splitlines()] == ["a", "b"]


def test_failures_are_shown_at_once_in_one_line_of_plain_text() -> None:
    watch, _, raw = lines()
    with watch:
        watch.begin("load", 3, 0)
        watch.point(0, "ValueError: [red]no[/]\n\tsuch \x1b[2J thing " + "x" * 100)
        said = raw.getvalue().decode()
    assert said == f"load: point failed: ValueError: [red]no[/] such [2J thing {'x' * 100}\n"
    assert "0 of 3 points, 1 FAILED" in raw.getvalue().decode()


def test_failures_do_not_flood() -> None:
    watch, _, raw = lines()
    with watch:
        watch.begin("load", 1000, 0)
        for _ in range(1000):
            watch.point(0, "disk")
    text = raw.getvalue().decode().splitlines()
    assert len(text) == module.MAX_FAILURES + 1
    assert text[-2].endswith("disk; more failures are counted, not shown")
    assert "1,000 FAILED" in text[-1]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("width", [20, 60, 200])
def test_any_console_can_write_it(encoding: str, width: int) -> None:
    told = "10 Gb/s – 3 µs … 平 \N{SNAKE}"
    watch, clock, raw = terminal(width, encoding=encoding)
    plain, _, dull = lines(encoding)
    for each in (watch, plain):
        with each:
            each.note(told)
            each.begin(told * 3, 3, 0)
            clock.now += 1
            each.point(1, told)
    for output in (raw, dull):
        assert "10 Gb/s" in output.getvalue().decode(encoding)
        assert ("µ" in output.getvalue().decode(encoding)) == (encoding != "ascii")


def test_an_error_handler_of_the_stream_is_kept() -> None:
    watch, _, raw = lines("ascii", "backslashreplace")
    watch.note("3 µs")
    assert raw.getvalue() == b"3 \\xb5s\n"


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_table_fits_and_tells_all(width: int) -> None:
    watch, clock, _ = terminal(width)
    with watch:
        watch.begin("rsspp-fig10a", 200, 200)
        watch.end()
        watch.begin("a-sweep-with-a-rather-long-name", 10_000, 4_000, [0.5] * 6_000)
        for k in range(1_000):
            clock.now += 0.25
            watch.point(1_000_000, "timeout" if k == 7 else "", 0.5)
        head, first, second = drawn(watch)
    heads = ["done", "failed", "left", "stored", "packets/s", "time", "ETA"]
    kept = [h for h in heads if width > 60 or h not in ("stored", "time")]
    assert head.split() == kept
    assert all(len(line) <= min(width - 3, module.WIDE) for line in (head, first, second))
    told = {
        "done": "4,999", "failed": "1", "left": "5,000", "stored": "4,000", "packets/s": "4 M",
        "time": "4:10", "ETA": "20:50",
    }  # fmt: skip
    assert " ".join(told[h] for h in kept) in " ".join(second.split())
    assert second.startswith("a-sweep-wit")
    bars = [sum(c in "━╸╺" for c in line) for line in (first, second)]
    assert bars[0] >= 4
    assert bars[1] == pytest.approx(bars[0] / 2, abs=1)


def test_rows_that_do_not_fit_are_shown_at_the_end() -> None:
    watch, _, _ = terminal(80, height=10)
    with watch:
        for k in range(30):
            watch.begin(f"study{k}", 1, 1)
        live = drawn(watch)
    assert live[0].startswith("23 earlier")
    assert [line.split()[0] for line in live[1:]] == [f"study{k}" for k in range(23, 30)]
    assert [line.split()[0] for line in drawn(watch)[1:]] == [f"study{k}" for k in range(30)]


def test_without_points_a_terminal_stays_clean() -> None:
    watch, _, raw = terminal(80)
    with watch:
        watch.begin("nothing", 0, 0)
    assert raw.getvalue() == b""


def test_after_an_error_no_thread_and_no_hidden_cursor_remain() -> None:
    before = set(threading.enumerate())
    watch, _, raw = terminal(80)

    def sweep() -> None:
        with watch:
            watch.begin("a", 5, 0)
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        sweep()
    output = raw.getvalue()
    assert output.rindex(b"\x1b[?25h") > output.rindex(b"\x1b[?25l")
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()
    with watch:  # and it can be used again
        watch.begin("b", 1, 1)
    assert output != raw.getvalue()


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert type(open_watch(Console(force_terminal=True, force_jupyter=False, file=io.StringIO()))) is Lines


@given(
    weights=st.lists(st.integers(1, 100), min_size=FEW + 1, max_size=30),
    pace=st.integers(1, 50),
    data=st.data(),
)
def test_the_time_left_follows_the_weights(weights: list[int], pace: int, data: st.DataObject) -> None:
    """Points that take time in proportion to their weight: the estimate is exact from the fourth one on."""
    clock = Clock()
    watch = Lines(Console(quiet=True, force_jupyter=False), clock)
    watch.begin("a", len(weights) + 5, 5, weights)
    row = watch.rows[0]
    assert row.remaining(clock.now) is None
    for k, weight in enumerate(weights[:-1]):
        if data.draw(st.booleans()) and k >= FEW:
            watch.point(0, weight=weight, stored=True)
        else:
            clock.now += pace * weight
            watch.point(100 * pace * weight, weight=weight)
            assert row.rate == pytest.approx(100)
        rest = pace * sum(weights[k + 1 :])
        assert row.remaining(clock.now) == (pytest.approx(rest) if k + 1 >= FEW else None)
        assert row.left == len(weights) - k - 1
    assert row.remaining(clock.now + pace / 2) == pytest.approx(pace * (weights[-1] - 0.5))
    assert row.remaining(clock.now + pace * weights[-1] + 1) is None  # late: nothing honest to say
    watch.point(1, weight=weights[-1])
    assert row.remaining(clock.now) is None
    assert (row.left, row.done) == (0, row.total)


def test_a_study_of_few_points_says_how_long_it_takes_from_the_first() -> None:
    clock = Clock()
    watch = Lines(Console(quiet=True, force_jupyter=False), clock)
    watch.begin("a", 9, 7)
    clock.now += 5
    watch.point(1)
    assert watch.rows[0].remaining(clock.now) == 5


def test_nothing_is_divided_by_nothing() -> None:
    row = Tally("a", 3, 0, ahead=0.0, began=5.0, last=5.0)
    assert (row.rate, row.remaining(5.0), row.elapsed(5.0)) == (0.0, None, 0.0)
    row.weight, row.computed = 0.0, 1
    assert row.remaining(6.0) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (999.6, "1 k"), (12_345_678, "12.3 M"), (999_999, "1 M"), (2.5e9, "2.5 G")],
)
def test_counts_are_short(value: float, text: str) -> None:
    assert short(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1:00"), (204, "3:24"), (3599.7, "1:00:00"), (90_061, "25:01:01")],
)
def test_times_are_for_people(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_a_notebook_has_one_output_updated_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    display = pytest.importorskip("IPython.display")
    shown: list[tuple[str, dict[str, str]]] = []

    class Handle:
        def update(self, data: dict[str, str], raw: bool) -> None:
            assert raw
            shown.append(("update", data))

    def first(data: dict[str, str], raw: bool, display_id: bool) -> Handle:
        assert raw
        assert display_id
        shown.append(("display", data))
        return Handle()

    monkeypatch.setattr(display, "display", first)
    clock = Clock()
    watch = open_watch(Console(force_jupyter=True, file=io.StringIO()), clock)
    assert isinstance(watch, Notebook)
    with watch:
        watch.begin("empty", 0, 0)
        assert not shown
        watch.begin("<a>", 101, 1)
        assert len(shown) == 1
        for _ in range(100):
            clock.now += 0.05
            watch.point(1)
        assert 20 <= len(shown) <= 30  # not one a point
        watch.note("x < y")
    assert [how for how, _ in shown] == ["display"] + ["update"] * (len(shown) - 1)
    last = shown[-1][1]
    assert last["text/plain"] == "x < y\n<a>: 101 of 101 points (1 from the store), 5 s, 20 packets/s"
    assert "<div>x &lt; y</div>" in last["text/html"]
    assert "&lt;a&gt;: 101 of 101" in last["text/html"]
    assert '<progress max="101" value="101"' in last["text/html"]


SWEEP = """
import sys, time
from rich.console import Console
from lbsim.study.running.watch import open_watch
with open_watch(Console(stderr=True)) as watch:
    watch.begin("load", 4, 1)
    watch.point(1_000_000)
    print("a line for the file", flush=True)
    watch.note("ready")
    time.sleep(60)
"""


def test_ctrl_c_leaves_the_terminal_clean(tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    main, side = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    with (tmp_path / "out").open("wb") as out:
        sweep = subprocess.Popen([sys.executable, "-c", SWEEP], stdout=out, stderr=side, env=env)
    os.close(side)
    seen, sent = b"", False
    try:
        while select.select([main], [], [], 60)[0]:
            try:
                more = os.read(main, 65536)
            except OSError:  # how Linux says that the other side is closed
                break
            if not more:
                break
            seen += more
            if b"ready" in seen and not sent:
                sweep.send_signal(signal.SIGINT)
                sent = True
        assert sweep.wait(60) not in (0, None)
    finally:
        sweep.kill()
        sweep.wait()
        os.close(main)
    text = seen.decode()
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    after = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text[text.rindex("failed") :])
    assert re.search(r"load +2 +0 +2 ", after)
    assert after.index("load") < after.index("KeyboardInterrupt")
    assert (tmp_path / "out").read_text() == "a line for the file\n"
