"""The reference data plane of requests, on SimPy's clock. The executable specification; read it first.

Each kind of event is a method; `at` lets one happen later. It runs any plain-Python policy and is the oracle
of the kernels: equal requests and equal control give equal servers, latencies and counters, to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lbsim.balancer.balancer import Balancer
from lbsim.balancer.policies import Answer, Unit, View
from lbsim.balancer.tournament import no_order
from lbsim.engine.plane import Clock, Progress
from lbsim.engine.request import plane
from lbsim.engine.request.clients import Launch, Row, Users, rows_of
from lbsim.engine.request.disciplines import Attempt
from lbsim.engine.request.ledger import Ledger
from lbsim.engine.request.plane import (
    ANSWER,
    CORE,
    INDEPENDENT,
    LAUNCH,
    NEVER,
    PICK,
    RETRY,
    TIMEOUT,
    Columns,
    Counters,
    Int64s,
    Servers,
    Source,
    Tally,
    key,
)
from lbsim.engine.request.server import Server, Turn
from lbsim.engine.request.service import attempt_index, backoff_of, begin
from lbsim.units import SECOND


class ReferencePlane:
    """See `lbsim.engine.request.plane.Plane` for the interface; `sync` and `refresh` have nothing to do here.

    `live`: the policy sees the servers as they are; otherwise `signal` is control's. `log`: keep a row a
    request.
    """

    def __init__(
        self,
        env: Clock,
        balancer: Balancer,
        source: Source,
        servers: Servers,
        *,
        live: bool = True,
        log: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.name = "reference: SimPy, a method for each kind of event"
        self.env, self.balancer, self.source, self.spec = env, balancer, source, servers
        self.live, self.progress = live, progress
        self.servers = [Server(s, servers, source.seed) for s in range(servers.number)]
        self.users, self.ledger = Users(source), Ledger(source, servers, log)
        self.signal: Int64s = self.ledger.inside if live else np.zeros(servers.number, np.int64)
        self.measured: Int64s = np.zeros(servers.number, np.int64)
        self.launched = 0  # requests
        self.ready = [0] * source.lanes  # ps at which each core of the balancer is free
        self.instant, self.events = -1, 0  # how many have happened at that instant
        self.requests = self.drawn(source.columns())
        if source.kind == INDEPENDENT:
            self.expect()
        for first in self.users.first():
            self.plan(first)

    # --- time -----------------------------------------------------------------------------------------------

    def at(self, time: int, kind: int, number: int, event: Callable[..., None], *about: Any) -> None:
        """Let an event happen at a time, in the order of its kind and number among those of that instant."""
        callbacks = self.env.wait(time - self.env.now, key(kind, number)).callbacks
        assert callbacks is not None
        callbacks.append(lambda _: self.happen(event, *about))

    def happen(self, event: Callable[..., None], *about: Any) -> None:
        """Let an event happen now, unless time has come to a stand."""
        now = self.env.now
        self.events = self.events + 1 if now == self.instant else 1
        self.instant = now
        if self.events > plane.MOST_AT_ONCE:
            raise RuntimeError(
                f"no progress: {self.events} events at {now} ps, where attempts fail and come back at once; "
                "raise clients.retry.backoff, clients.think or servers.backlog"
            )
        event(*about)

    # --- clients --------------------------------------------------------------------------------------------

    def drawn(self, columns: Iterator[Columns]) -> Iterator[Row]:
        """Yield what each request brings along."""
        for chunk in columns:
            yield from rows_of(chunk)
            if self.progress is not None:
                self.progress(self.env.now, self.launched)

    def expect(self) -> None:
        """Let the next of independent requests come at its time."""
        row = next(self.requests, None)
        if row is not None and row.time < self.source.end:
            self.at(row.time, LAUNCH, 0, self.arrive, row)

    def arrive(self, row: Row) -> None:
        """An independent request comes."""
        self.launch(self.launched, row.time, row)
        self.expect()

    def plan(self, launch: Launch) -> None:
        """Let a user send its next request, unless the run is over by then."""
        if launch.time < self.source.end:
            self.at(launch.time, LAUNCH, launch.user, self.go, launch)

    def go(self, launch: Launch) -> None:
        """A user sends its next request."""
        self.launch(launch.user, launch.due, next(self.requests))

    def launch(self, user: int, due: int, row: Row) -> None:
        """A request's first attempt is sent."""
        now = self.env.now
        self.ledger.count("launched", now, due)
        digest = self.users.hash_of(user, row.hash)
        attempt = Attempt(self.launched, 1, user, digest, row.work, row.pause, due, now)
        self.launched += 1
        self.send(attempt)

    def send(self, attempt: Attempt) -> None:
        """An attempt goes to the balancer, which may be busy."""
        self.ledger.end = now = self.env.now
        source = self.source
        if source.retry.timeout != NEVER:
            self.at(now + source.retry.timeout, TIMEOUT, attempt.index, self.time_out, attempt)
        if source.lanes:
            lane = attempt.hash % source.lanes
            self.ready[lane] = max(now, self.ready[lane]) + source.cost
            self.at(self.ready[lane], PICK, attempt.index, self.pick, attempt)
        else:
            self.pick(attempt)

    def receive(self, attempt: Attempt) -> None:
        """An answer reaches its client, which may not wait for it any more."""
        if attempt.current:
            attempt.current = False
            self.ledger.complete(attempt, self.env.now)
            self.over(attempt, completed=True)

    def time_out(self, attempt: Attempt) -> None:
        """A client has waited long enough."""
        if attempt.current:
            self.ledger.count("timed_out", self.env.now, attempt.due)
            self.fail(attempt)

    def fail(self, attempt: Attempt) -> None:
        """An attempt has failed; its client makes another one later, or gives up."""
        attempt.current = False
        now, retry = self.env.now, self.source.retry
        k, number = attempt.index, attempt.number
        if number < retry.attempts:
            self.ledger.end = now
            self.ledger.count("retried", now, attempt.due)
            seed, grows = self.source.seed, (retry.backoff, retry.factor, retry.most, retry.jitter)
            self.at(now + int(backoff_of(seed, k, number, *grows)), RETRY, k, self.try_again, attempt)
        else:
            self.ledger.give_up(attempt, now)
            self.over(attempt, completed=False)

    def try_again(self, failed: Attempt) -> None:
        """A client makes another attempt."""
        self.send(failed.again())

    def over(self, last: Attempt, completed: bool) -> None:
        """A request is over with its last attempt; its user, if any, goes on."""
        self.ledger.end = now = self.env.now
        launch = self.users.next(last, now, completed)
        if launch is not None:
            self.plan(launch)

    # --- the balancer ---------------------------------------------------------------------------------------

    def pick(self, attempt: Attempt) -> None:
        """The balancer sends an attempt to a server, which may be full."""
        ledger = self.ledger
        ledger.end = now = self.env.now
        home = self.users.home_of(attempt)
        server = home if home >= 0 else self.choose(attempt)
        attempt.server, attempt.picked = server, now
        self.users.settle(attempt)
        ledger.placed[server] += 1
        if self.spec.backlog == NEVER or ledger.inside[server] < self.spec.backlog:
            self.enter(attempt)
            return
        ledger.count("refused", now, attempt.due)
        if attempt.current:
            self.fail(attempt)

    def view(self) -> View:
        """Return what the policy may look at."""
        b, front, now = self.balancer, self.balancer.front, self.env.now
        queue = self.signal[front.active]
        age = np.zeros_like(queue) if self.live else now - self.measured[front.active]
        return View(
            len(queue), now, queue, b.state, b.seed, int(queue.sum()),
            front.weight, front.table, no_order(), front.active, b.choices,
            self.ledger.latency[front.active], self.ledger.inside[front.active], age,
        )  # fmt: skip

    def choose(self, attempt: Attempt) -> int:
        """Return the server of the policy's choice."""
        unit = Unit(
            int(attempt_index(attempt.index, attempt.number)), attempt.user, attempt.hash, self.spec.response
        )
        place = int(self.balancer.policy.choose(self.view(), unit))
        if not 0 <= place < self.spec.number:
            raise ValueError(
                f"the policy sent request {attempt.index} to no server: it must return 0 .. "
                f"{self.spec.number - 1}, not {place}"
            )
        return place

    def answered(self, attempt: Attempt) -> None:
        """An answer passes the balancer on its way to the client."""
        now, server = self.env.now, attempt.server
        if self.balancer.policy.done is not None:
            answer = Answer(
                server, now - attempt.picked, attempt.work, int(self.ledger.inside[server]), attempt.index,
                attempt.found,
            )  # fmt: skip
            self.balancer.policy.done(self.view(), answer)
        if attempt.current:
            if self.source.delay:
                self.at(now + self.source.delay, ANSWER, attempt.index, self.receive, attempt)
            else:
                self.receive(attempt)

    # --- servers --------------------------------------------------------------------------------------------

    def enter(self, attempt: Attempt) -> None:
        """An attempt reaches its server."""
        spec, server = self.spec, self.servers[attempt.server]
        if spec.by_second.size:
            second = min(self.env.now // SECOND, spec.by_second.shape[1] - 1)
            attempt.work = int(spec.by_second[attempt.server, second])
        attempt.found = int(self.ledger.inside[attempt.server])
        begin(attempt.record, 0, attempt.work, spec.spins, spec.setup, spec.finish, 0)
        self.ledger.enter(attempt.server, self.env.now)
        core = server.join(attempt)
        if core is not None:
            self.go_on(server, core)

    def go_on(self, server: Server, core: int) -> None:
        """A core takes its next work, if there is any."""
        turn = server.begin(core, self.env.now)
        if turn is not None:
            self.plan_stop(server, core, turn)

    def plan_stop(self, server: Server, core: int, turn: Turn) -> None:
        """Let a turn end when it is to."""
        self.at(turn.end, CORE, server.number * self.spec.cores + core, self.stop, server, core, turn)

    def stop(self, server: Server, core: int, turn: Turn) -> None:
        """A turn ends, unless it was planned anew: first its attempt leaves, then the core goes on."""
        if server.turns[core] is not turn:
            return
        self.ledger.end = now = self.env.now
        departed = server.stop(core, turn, now)
        if departed is not None:
            self.ledger.leave(departed, now)
        self.go_on(server, core)
        if departed is not None:
            self.answered(departed)

    # --- control --------------------------------------------------------------------------------------------

    def pause(self, server: int, now: int, length: int) -> None:
        """Freeze a server's cores."""
        for core, turn in self.servers[server].freeze(now, length):
            self.plan_stop(self.servers[server], core, turn)

    def slow(self, server: int, now: int, factor: float) -> None:
        """Change a server's speed."""
        for core, turn in self.servers[server].slow(now, factor):
            self.plan_stop(self.servers[server], core, turn)

    def sync(self, now: int) -> None:
        """Nothing: every event is on the same clock."""

    def refresh(self) -> None:
        """Nothing: signal and balancer are looked at when they are needed."""

    # --- what was counted -----------------------------------------------------------------------------------

    def counters(self, now: int) -> Counters:
        """Return the counters."""
        return self.ledger.counters(self.busy(now))

    def busy(self, now: int) -> Int64s:
        """Return what each server has worked."""
        return np.array([server.busy_at(now) for server in self.servers], np.int64)

    def finish(self) -> Tally:
        """Run all there is to run, and return what was counted."""
        self.env.run()
        return self.ledger.tally(self.busy(self.env.now))
