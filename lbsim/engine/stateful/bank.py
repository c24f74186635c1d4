"""The compiled bank of stateful cores."""

from __future__ import annotations

from lbsim.engine.kernels import NEVER, Books, Machine
from lbsim.engine.plane import Counters, Flags, Int64s, work_done
from lbsim.engine.stateful import kernels
from lbsim.engine.stateful.sharing import causes
from lbsim.engine.stateful.state import NONE, NOTHING, Sharing, idle, with_room
from lbsim.workload.packets import Packets


class StatefulBank:
    """Cores that share something, or whose reordering is measured; see `lbsim.engine.compiled.Bank`."""

    name = "stateful cores"

    def __init__(
        self, machine: Machine, cores: int, table: Int64s, sharing: Sharing, flows: int, reordering: bool
    ) -> None:
        self.table = table
        self.causes: tuple[str, ...] = causes(sharing)
        self._machine = machine
        self._sharing = sharing
        self._state = idle(cores, table, flows, sharing, reordering)

    def counted(self) -> dict[str, int]:
        """Return the buckets that have changed hands and the packets that had to wait for theirs."""
        if self._sharing.protocol == NONE:
            return {}
        common = self._state.common
        return {"hand-overs": int(common["handed"][0]), "parked": int(common["parked"][0])}

    def run(self, books: Books, p: Packets, base: int) -> None:
        """Take packets base, base + 1 ... in order of arrival."""
        self._state = with_room(self._state, len(p.time))
        kernels.run(
            self._state, books, self._machine, self._sharing,
            p.time, p.bucket, p.flow, p.service, p.frame, base,
        )  # fmt: skip

    def catch_up(self, books: Books, now: int) -> None:
        """Let everything happen that is due at or before now."""
        kernels.catch_up(self._state, books, self._machine, self._sharing, now)
        self._state.common["clock"] = now

    def counters(self, now: int) -> Counters:
        """Return the counters at now."""
        c = self._state.cores
        busy = work_done(c["busy"], c["start"], c["cost"], now)
        return Counters(
            c["departed"].copy(), busy, c["dropped"].copy(), c["count"].copy(), self._state.polled.copy()
        )

    def stall(self, core: int, now: int, length: int) -> None:
        """Hold a core for `length` ps."""
        kernels.hold(self._state, core, now, length)

    def moved(self, now: int) -> None:
        """Take note that the table has been rewritten at now."""
        if self._sharing.protocol != NONE:
            kernels.moved(self._state, self._sharing, now)

    def in_transit(self) -> Flags | None:
        """Return the buckets that their new core does not own yet, or has packets of to catch up with."""
        if self._sharing.protocol == NONE:
            return None
        s = self._state
        flags: Flags = (s.owner != s.table) | (s.parking["head"] != NOTHING)
        return flags

    def drain(self, books: Books) -> None:
        """Run to the last departure, flush everything that is parked, and run to the last again."""
        s, m = self._state, self._machine
        kernels.catch_up(s, books, m, self._sharing, NEVER - 1)
        if self._sharing.protocol != NONE:
            at_once = self._sharing._replace(as_published=False)
            kernels.hand_over_all(s, at_once)
            kernels.catch_up(s, books, m, at_once, NEVER - 1)
