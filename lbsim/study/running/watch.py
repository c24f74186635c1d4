"""How far a sweep is: a live table on a terminal, plain lines elsewhere, a bar in a notebook, or silence.

    with open_watch(console) as watch:
        for study in studies:
            watch.begin(study.name, total=200, stored=12)
            ...                          # watch.point(packets) as each of the 188 comes back
            watch.end()

While the live table is up, everything else that prints should do so through `watch.note`.
"""

from __future__ import annotations

import html
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lbsim.study.running.tally import Tally
from lbsim.units import short, span

LINE_EVERY: Final = 10.0  # s between lines where there is no terminal
BAR_EVERY: Final = 0.2  # s between updates of a notebook
NARROW: Final = 68  # columns below which a table says less
WIDE: Final = 120  # columns beyond which a bar tells nothing more
MAX_FAILURES: Final = 20  # of a study that are shown one by one


class Watch:
    """What a sweep tells as it goes: a context around one study or several; this one shows nothing."""

    def begin(self, title: str, total: int, stored: int, weights: Sequence[float] | None = None) -> None:
        """Begin a study of `total` points, `stored` of which have their result already.

        `weights` are those of the points to compute: how long each will take, in any unit, e.g. simulated
        seconds (None: all alike). The time left is told by them.
        """

    def point(self, packets: int, failed: str = "", weight: float = 1.0, *, stored: bool = False) -> None:
        """One point is over, now: its packets, the reason if it failed, its weight.

        `stored` says that its result turned up in the store meanwhile, computed by someone else.
        """

    def note(self, text: str) -> None:
        """Say something, in one line."""

    def end(self) -> None:
        """End the study, whether all points are over or not."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


silent: Final = Watch()


def open_watch(console: Console | None, clock: Callable[[], float] = time.monotonic) -> Watch:
    """Return the watch that suits a console; None: silence. `clock` gives seconds from any origin."""
    if console is None:
        return silent
    if console.is_jupyter:
        return Notebook(console, clock)
    return LiveTable(console, clock) if console.is_interactive else Lines(console, clock)


@dataclass
class Lines(Watch):
    """A line now and then and one at the end; what counts the points for the other watches too.

    A study without points is not shown.
    """

    console: Console
    clock: Callable[[], float]
    rows: list[Tally] = field(default_factory=list)
    shown: float = 0.0  # when the display last changed

    def begin(self, title: str, total: int, stored: int, weights: Sequence[float] | None = None) -> None:
        """Begin a row; one that is still open ends."""
        self.end()
        now = self.shown = self.clock()
        ahead = float(total - stored if weights is None else sum(weights))
        self.rows.append(Tally(self._safe(title), total, stored, ahead, now, now))
        self._show(self.rows[-1], now)

    def point(self, packets: int, failed: str = "", weight: float = 1.0, *, stored: bool = False) -> None:
        """Count a point, and say so if it failed."""
        row, now = self.rows[-1], self.clock()
        if stored:  # took no time, so it says nothing about the others
            row.stored += 1
            row.ahead -= weight
        else:
            row.computed += not failed
            row.failed += bool(failed)
            row.packets += packets
            row.weight += weight
            row.last = now
        if failed and row.failed <= MAX_FAILURES:
            more = "; more failures are counted, not shown" if row.failed == MAX_FAILURES else ""
            self._say(self._safe(f"{row.title}: point failed: {failed}{more}"), "red")
        self._show(row, now)

    def note(self, text: str) -> None:
        """Print a line."""
        self._say(self._safe(text), "yellow")

    def end(self) -> None:
        """End the row, if one is open."""
        if self.rows and self.rows[-1].ended is None:
            row = self.rows[-1]
            row.ended = self.clock()
            self._show(row, row.ended)

    def _show(self, row: Tally, now: float) -> None:
        """Show that a row has begun, advanced or ended."""
        over = row.ended is not None
        if row.total and (over or (row.left and now - self.shown >= LINE_EVERY)):
            self.shown = now
            self._say(row.line(now))

    def _say(self, text: str, style: str = "") -> None:
        self.console.print(Text(text, style), soft_wrap=True)

    def _safe(self, text: str) -> str:
        """Return text in one line, without what the console cannot write."""
        line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        try:
            line.encode(self.console.encoding, getattr(self.console.file, "errors", None) or "strict")
        except UnicodeEncodeError:
            line = line.encode(self.console.encoding, "replace").decode(self.console.encoding)
        return line


@dataclass
class LiveTable(Lines):
    """A row a study, kept up to date in place; what is said goes above."""

    live: Live | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.end()
        finally:
            live, self.live = self.live, None
            if live is not None:
                live.stop()  # the table as it is now stays, the cursor comes back

    def _show(self, row: Tally, now: float) -> None:
        if self.live is None and row.total:
            self.live = Live(
                get_renderable=self.table,
                console=self.console,
                refresh_per_second=4,  # also between points: the clocks go on
                redirect_stdout=sys.stdout.isatty(),  # what goes to a file stays in the file
                redirect_stderr=sys.stderr.isatty(),
            )
            self.live.start(refresh=True)

    def _say(self, text: str, style: str = "") -> None:
        self.console.print(Text(text, style))

    def table(self) -> Table:
        """Return the table as of now: the last rows that fit while it is live, all of them at the end."""
        now = self.clock()
        width = min(self.console.width - 3, WIDE)  # room for ^C: a line that wraps is not erased
        table = Table(
            box=None,
            padding=(0, 2 if width == WIDE else 1, 0, 0),
            pad_edge=False,
            header_style="dim",
            width=width,
        )
        rows = [row for row in self.rows if row.total]
        hidden = max(0, len(rows) - max(1, self.console.height - 3)) if self.live is not None else 0
        earlier = f"{hidden} earlier" if hidden else ""
        cut: Any = "crop" if self.console.options.ascii_only else "ellipsis"
        table.add_column(earlier, no_wrap=True, overflow=cut, max_width=max(12, width // 5))
        most = max((len(f"{row.total:,}") for row in rows), default=0)
        least = {"done": most, "failed": 0, "left": most, "stored": most, "packets/s": 0, "time": 5, "ETA": 5}
        kept = [head for head in least if width >= NARROW or head not in ("stored", "time")]
        for head in kept:  # as wide as they will ever be: nothing moves but the numbers
            table.add_column(head, justify="right", no_wrap=True, min_width=max(least[head], len(head)))
        table.add_column("", ratio=1, min_width=4)
        for row in rows[hidden:]:
            rest = row.remaining(now)
            cells: dict[str, str | Text] = {
                "done": f"{row.done:,}",
                "failed": Text(f"{row.failed:,}", "bold red" if row.failed else ""),
                "left": f"{row.left:,}",
                "stored": f"{row.stored:,}",
                "packets/s": short(row.rate) if row.rate else "",
                "time": span(row.elapsed(now)),
                "ETA": span(rest) if rest is not None else "",
            }
            over = "red" if row.failed else "green"
            bar = ProgressBar(row.total, row.total - row.left, complete_style="cyan", finished_style=over)
            table.add_row(Text(row.title), *(cells[head] for head in kept), bar)
        return table


@dataclass
class Notebook(Lines):
    """Bars in the output of a notebook's cell, updated in place; the last state stays in the file."""

    handle: Any = None  # of IPython's display
    said: deque[str] = field(default_factory=lambda: deque(maxlen=100))

    def _show(self, row: Tally, now: float) -> None:
        turning = not row.weight or row.ended is not None
        if row.total and (turning or now - self.shown >= BAR_EVERY):
            self._draw()

    def _say(self, text: str, style: str = "") -> None:
        self.said.append(text)
        self._draw()

    def _draw(self) -> None:
        from IPython.display import display

        first: Any = display  # carries no types
        now = self.shown = self.clock()
        rows = [row for row in self.rows if row.total]
        lines = [*self.said, *(row.line(now) for row in rows)]
        said = "".join(f"<div>{html.escape(text)}</div>" for text in self.said)
        data = {"text/plain": "\n".join(lines), "text/html": said + "".join(_bar(row, now) for row in rows)}
        if self.handle is None:
            self.handle = first(data, raw=True, display_id=True)
        else:
            self.handle.update(data, raw=True)


def _bar(row: Tally, now: float) -> str:
    over = row.total - row.left
    bar = f'<progress max="{row.total}" value="{over}" style="flex: none; width: 16em"></progress>'
    text = html.escape(row.line(now))
    return f'<div style="display: flex; gap: 1em; align-items: center">{bar} {text}</div>'
