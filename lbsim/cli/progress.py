"""How far a run is: a bar on a terminal, a line now and then elsewhere; nothing for what is over at once."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from lbsim.units import short

PATIENCE: Final = 2.0  # s before anything is shown
LINE_EVERY: Final = 10.0  # s between lines where there is no terminal


class RunProgress:
    """A context that is called with (share done, units of work done) and shows it on stderr."""

    def __init__(self, label: str, console: Console, unit: str = "packets") -> None:
        self.label, self.console, self.unit = label, console, unit
        self.began: tuple[float, int] | None = None  # time and units at the first call, after any compilation
        self.shown = 0.0
        self.bar: Progress | None = None
        self.task = TaskID(0)

    def __enter__(self) -> RunProgress:
        """Return the function to call."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar off the terminal."""
        if self.bar is not None:
            self.bar.stop()

    def __call__(self, share: float, units: int) -> None:
        """Show how far the run is, once it has taken a while."""
        now = time.monotonic()
        if self.began is None:
            self.began = now, units
        elapsed = now - self.began[0]
        if elapsed < PATIENCE:
            return
        rate = f"{short((units - self.began[1]) / elapsed)} {self.unit}/s"
        if self.console.is_interactive:
            if self.bar is None:
                self.bar = self._start()
            self.bar.update(self.task, completed=share, rate=rate)
        elif now - self.shown >= LINE_EVERY:
            self.shown = now
            left = f", {elapsed * (1 - share) / share:.0f} s left" if share > 0 else ""
            self.console.print(f"{self.label}: {share:.0%}, {rate}{left}")

    def _start(self) -> Progress:
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None, complete_style="cyan", finished_style="green"),
            TextColumn("{task.percentage:.0f} %  {task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            console=self.console,
            transient=True,
            expand=True,
        )
        self.task = bar.add_task(self.label, total=1.0, rate="")
        bar.start()
        return bar
