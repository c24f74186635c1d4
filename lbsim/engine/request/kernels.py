"""The compiled data plane of requests: one event after the other, as Numba kernels over records.

`run` takes the first of the pending events: of the heap, of the line of timeouts, of the arrivals. It is
compiled anew for each policy, in the process, so all that does not depend on the policy is in kernels of
their own, which are cached. Results do not depend on which record an attempt has: events are ordered by time
and key.
"""

from __future__ import annotations

from collections.abc import Callable

from lbsim.balancer.policies import Answer, Unit, View
from lbsim.balancer.tournament import play
from lbsim.engine.request import cores, heap, life
from lbsim.engine.request.heap import LINED, SIZE, TAKEN, push
from lbsim.engine.request.plane import (
    ANSWER,
    CORE,
    INDEPENDENT,
    KIND,
    LAUNCH,
    NEVER,
    PICK,
    RETRY,
    TIMEOUT,
    USERS,
    Columns,
    Int64s,
    Servers,
)
from lbsim.engine.request.service import attempt_index
from lbsim.engine.request.state import (
    ASKED,
    AT_ONCE,
    EVENTS,
    INSIDE,
    LAST,
    NEXT,
    NONE,
    NOW,
    TOLD,
    Habits,
    State,
    give,
    int64,
    is_full,
)
from lbsim.jit import kernel, lean, step

# Why `run` returns:
DONE, MORE, PAUSE, FULL, ASTRAY, STUCK = range(6)
"""All before `until` has been; more columns, please; a while has passed; no room; a policy that placed a
request nowhere; time stands still."""

NOWHERE, HEAP, LINE, COLUMNS = range(4)
"""Where an event comes from."""

NUMBER = (1 << KIND) - 1  # the bits of a key below its kind


@kernel
def not_asked(view: View, answer: Answer) -> None:
    """Stand for `done` of a policy that does not declare it."""


@step
def seen(s: State, h: Habits, view: View, measured: Int64s, now: int) -> View:
    """Return what the policy sees now."""
    total = s.counts[INSIDE]
    if not h.live:
        total = view.total
        for k in range(view.n):
            view.age[k] = now - measured[k]
    return View(
        view.n, now, view.queue, view.state, view.seed, total, view.weight, view.table,
        view.order, view.active, view.choices, view.latency, view.inside, view.age,
    )  # fmt: skip


@step
def drop_stale(s: State) -> None:
    """Drop timeouts of attempts that nobody waits for any more from the head of their line."""
    while s.line.mark[LINED] > 0:
        first = heap.head(s.line)
        a = s.attempts[first.tag & 0xFFFFFFFF]
        if a.current and a.index == first.key & NUMBER and a.number == first.tag >> 32:
            return
        heap.drop(s.line)


@lean
def run(
    s: State, h: Habits, spec: Servers, view: View, measured: Int64s,
    policy: Callable[[View, Unit], int], rank: Callable[[int, float], float],
    done: Callable[[View, Answer], None], columns: Columns, last: bool, until: int, bound: int, pause: int,
) -> int:  # fmt: skip
    """Run what is before (until, bound) and return why it stopped, see `DONE`.

    `last` says that no columns come after these; `pause` is the number of events to run at most.
    """
    counts, attempts, entries, size = s.counts, s.attempts, s.heap.entries, len(columns.hash)
    ranked, arrivals = h.live and len(view.order) > 0, h.kind == INDEPENDENT
    for _ in range(pause):
        heap.settle(s.heap)
        if h.timeout != NEVER:
            drop_stale(s)
        if is_full(s):
            return FULL
        at = counts[NEXT]
        if arrivals and at == size and not last:
            return MORE
        # --- what comes first
        now, key, tag, origin = until, bound, int64(0), NOWHERE
        if s.heap.mark[SIZE] > 0 and heap.after(now, key, entries[0]):
            now, key, tag, origin = entries[0].time, entries[0].key, entries[0].tag, HEAP
        if h.timeout != NEVER and s.line.mark[LINED] > 0:
            first = heap.head(s.line)
            if heap.after(now, key, first):
                now, key, tag, origin = first.time, first.key, first.tag, LINE
        if arrivals and at < size and columns.time[at] < h.end:
            time = columns.time[at]
            if time < now or (time == now and key > LAUNCH << KIND):
                now, key, origin = time, LAUNCH << KIND, COLUMNS
        if origin == NOWHERE:
            return DONE
        kind, number = key >> KIND, key & NUMBER
        if kind == LAUNCH and at == size:
            return MORE
        if origin == HEAP:
            s.heap.mark[TAKEN] = 1
        elif origin == LINE:
            heap.drop(s.line)
        counts[AT_ONCE] = counts[AT_ONCE] + 1 if now == counts[NOW] else 1
        counts[NOW] = now
        if counts[AT_ONCE] > h.at_once:
            return STUCK
        counts[EVENTS] += 1
        # --- what happens
        slot = tag
        if kind == CORE:
            if tag != s.cores[number].plan:
                continue
            counts[LAST] = now
            slot, server = cores.stop(s, spec, number, now), number // spec.cores
            if slot >= 0:
                life.leave(s, slot, server, now)
                if ranked:
                    play(view.order, view.queue, view.weight, rank, server)
            cores.go_on(s, spec, number, now)
            if slot < 0:
                continue
            a = attempts[slot]
            if h.asked:
                answer = Answer(server, now - a.picked, a.work, s.inside[server], a.index, int64(a.found))
                done(seen(s, h, view, measured, now), answer)
            if not a.current:
                give(s, slot)
            elif h.delay > 0:
                push(s.heap, now + h.delay, ANSWER << KIND | a.index, slot)
            else:
                life.receive(s, h, slot, now)
                give(s, slot)
            continue
        if kind == ANSWER:
            if attempts[slot].current:
                counts[LAST] = now
                life.receive(s, h, slot, now)
            give(s, slot)
            continue
        counts[LAST] = now
        if kind == TIMEOUT:
            life.time_out(s, h, slot & 0xFFFFFFFF, now)
            continue
        if kind == LAUNCH:
            slot = life.launch(s, h, columns, number, now)
        elif kind == RETRY:
            attempts[slot].server = NONE
        if kind != PICK and not life.send(s, h, slot, now):
            continue
        a = attempts[slot]
        server = int64(NONE)
        if h.kind == USERS and a.number == 1:
            server = s.users[a.user].home
        if server < 0:
            unit = Unit(attempt_index(a.index, int64(a.number)), a.user, int64(a.hash), spec.response)
            server = policy(seen(s, h, view, measured, now), unit)
            if server < 0 or server >= view.n:
                counts[ASKED], counts[TOLD] = a.index, server
                return ASTRAY
        life.settle(s, h, slot, server, now)
        if spec.backlog == NEVER or s.inside[server] < spec.backlog:
            life.enter(s, h, spec, slot, server, now)
            if ranked:
                play(view.order, view.queue, view.weight, rank, server)
        else:
            life.refuse(s, h, slot, now)
    return PAUSE
