"""The compiled bank of a pipeline; see `lbsim.engine.compiled.Bank`."""

from __future__ import annotations

from lbsim.engine import kernels as rings
from lbsim.engine.kernels import NEVER, Books, Machine
from lbsim.engine.pipeline import kernels
from lbsim.engine.pipeline.spec import Spec, check
from lbsim.engine.pipeline.state import idle, with_room
from lbsim.engine.plane import QUEUE_FULL, RING_FULL, Counters, Int64s, work_done
from lbsim.workload.packets import Packets


class PipelineBank:
    """Lanes of cores: core lane x stages + stage; the table names the first core of a lane.

    `machine.ring` and `machine.per_batch` are those of first cores; flows are numbered as in `spec.class_of`.
    Packets that left a core's ring count as processed by it, those too that the next one refused. Counters
    by bucket are those of the first cores. What is on its way between two cores occupies no ring.
    """

    name = "pipeline of cores"
    causes: tuple[str, ...] = (RING_FULL, QUEUE_FULL)

    def __init__(self, machine: Machine, cores: int, table: Int64s, spec: Spec, reordering: bool) -> None:
        check(cores, table, spec)
        self.table = table
        self._machine = machine
        self._spec = spec
        self._state = idle(cores, len(table), len(spec.class_of), reordering)

    def run(self, books: Books, p: Packets, base: int) -> None:
        """Take packets base, base + 1 ... in order of arrival."""
        self._state = with_room(self._state, len(p.time))
        kernels.run(
            self._state, books, self._machine, self._spec, self.table,
            p.time, p.bucket, p.flow, p.service, p.frame, base,
        )  # fmt: skip

    def catch_up(self, books: Books, now: int) -> None:
        """Let everything happen that is due up to now."""
        kernels.catch_up(self._state, books, self._machine, self._spec, now)

    def counters(self, now: int) -> Counters:
        """Return the counters at now."""
        c = self._state.cores
        busy = work_done(c["busy"], c["start"], c["cost"], now)
        return Counters(
            c["head"].copy(), busy, c["dropped"].copy(), c["count"].copy(), self._state.polled.copy()
        )

    def stall(self, core: int, now: int, length: int) -> None:
        """Hold a core for `length` ps."""
        rings.hold(self._state.cores, core, now, length)

    def moved(self, now: int) -> None:
        """Do nothing: buckets keep no state."""

    def in_transit(self) -> None:
        """Return None: buckets keep no state."""

    def drain(self, books: Books) -> None:
        """Run to the last departure."""
        self.catch_up(books, NEVER - 1)

    def counted(self) -> dict[str, int]:
        """Return the packets that a core took over from another."""
        cores = self._state.cores
        taken = (cores["head"] + cores["count"]).reshape(-1, self._spec.stages)
        return {"hand_overs": int(taken[:, 1:].sum())}
