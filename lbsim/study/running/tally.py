"""How far one study is: counted by a watch, told as numbers or in a line."""

from __future__ import annotations

from dataclasses import dataclass

from lbsim.units import short, span

FEW = 4
"""Points that must be over before a study says how long the rest will take, if it has more of them."""


@dataclass
class Tally:
    """How far one study is; times are those of the clock, in seconds."""

    title: str
    total: int  # points
    stored: int
    ahead: float  # weight of the points to compute, those computed already included
    began: float
    last: float  # when the last point was over
    computed: int = 0
    failed: int = 0
    packets: int = 0
    weight: float = 0.0  # of the points computed or failed
    ended: float | None = None

    @property
    def done(self) -> int:
        """Points that have a result."""
        return self.stored + self.computed

    @property
    def left(self) -> int:
        """Points that have neither a result nor a reason why not."""
        return self.total - self.done - self.failed

    @property
    def rate(self) -> float:
        """Packets a second from the beginning to the last point; 0 before the first."""
        return self.packets / (self.last - self.began) if self.last > self.began else 0.0

    def elapsed(self, now: float) -> float:
        """Return how long the study has taken."""
        return (now if self.ended is None else self.ended) - self.began

    def remaining(self, now: float) -> float | None:
        """Return how long the rest will take: estimated at the last point, counted down since; or None.

        None where nothing can be said: too few points are over, of which the first also waited for processes
        to start and kernels to compile; or it is later than estimated, or ended.
        """
        over = self.computed + self.failed
        few = FEW if self.total - self.stored > FEW else 1
        if self.ended is not None or not self.weight or over < few:
            return None
        estimate = (self.last - self.began) / self.weight * (self.ahead - self.weight)
        rest = estimate - (now - self.last)
        return rest if rest > 0 else None

    def line(self, now: float) -> str:
        """Return all that in one line."""
        if self.total and self.stored == self.total:
            return f"{self.title}: {self.total:,} points, all from the store"
        stopped = "stopped at " if self.ended is not None and self.left else ""
        parts = [f"{self.title}: {stopped}{self.done:,} of {self.total:,} points"]
        parts[0] += f" ({self.stored:,} from the store)" if self.stored else ""
        parts += [f"{self.failed:,} FAILED"] if self.failed else []
        parts += [f"{span(self.elapsed(now))}"] if self.ended is not None else []
        parts += [f"{short(self.rate)} packets/s"] if self.rate else []
        rest = self.remaining(now)
        parts += [f"{span(rest)} left"] if rest is not None else []
        return ", ".join(parts)
