"""The cores of the servers, as kernels: who runs where, and for how long; see `disciplines` for the rules."""

from __future__ import annotations

from typing import Any

from lbsim.engine.request import service
from lbsim.engine.request.heap import push
from lbsim.engine.request.plane import CORE, FCFS, FOREVER, JBSQ, KIND, PRIORITY, SHARING, Servers
from lbsim.engine.request.service import attempt_index, is_urgent, worker_of
from lbsim.engine.request.state import NONE, State, dequeue, enqueue, int64
from lbsim.jit import lean, step

# --- attempts come in, and take turns -----------------------------------------------------------------------


@step
def join(s: State, spec: Servers, seed: int, slot: int, now: int) -> None:
    """Take an attempt into its server; an idle core may begin at once."""
    server = int64(s.attempts[slot].server)
    if spec.discipline == FCFS:
        enqueue(s.attempts, s.servers[server], slot)
        core = lowest_idle(s, spec, server)
    else:
        core = join_otherwise(s, spec, seed, slot, server)
    if core >= 0:
        go_on(s, spec, core, now)


@step
def go_on(s: State, spec: Servers, c: int, now: int) -> None:
    """Let an idle core take its next work, if there is any."""
    core, server = s.cores[c], c // spec.cores
    row = s.servers[server]
    since = max(now, row.thawed)
    length, switch = FOREVER, 0
    if spec.discipline == FCFS:
        slot = dequeue(s.attempts, row)
    else:
        slot, length, switch = take_otherwise(s, spec, c, server, since)
    if slot < 0:
        return
    row.idle -= 1
    start = since + switch
    core.running, core.since, core.start, core.limit = slot, since, start, start + length
    foresee(s, c, row.speed)


@step
def foresee(s: State, c: int, speed: float) -> None:
    """Plan the end of a core's turn."""
    core = s.cores[c]
    core.plan += 1
    end = service.plan(s.attempts, core.running, core.start, core.limit, speed)
    push(s.heap, end, CORE << KIND | c, core.plan)


@step
def stop(s: State, spec: Servers, c: int, now: int) -> int:
    """End a core's turn; return its attempt if it departs, else NONE."""
    core = s.cores[c]
    row, slot = s.servers[c // spec.cores], core.running
    account(s, c, row.speed, now, row)
    core.running = NONE
    row.idle += 1
    finished = s.attempts[slot].finished == 1
    if spec.discipline != FCFS:
        stop_otherwise(s, spec, c, slot, finished)
    return slot if finished else NONE


@step
def account(s: State, c: int, speed: float, now: int, row: Any) -> None:
    """Account for a core's turn up to now."""
    core = s.cores[c]
    service.progress(s.attempts, core.running, core.start, now, speed)
    row.busy += max(0, now - core.since)


@lean
def plan_anew(s: State, spec: Servers, server: int, now: int, later: int, speed: float) -> None:
    """Put off all turns of a server by `later` ps, at another speed from now on."""
    row = s.servers[server]
    for c in range(server * spec.cores, (server + 1) * spec.cores):
        core = s.cores[c]
        if core.running >= 0:
            account(s, c, row.speed, now, row)
            core.since = max(core.since, now) + later
            core.start = max(core.start, now) + later
            core.limit += later
            core.slice += later
            foresee(s, c, speed)
    row.speed = speed


# --- disciplines other than FCFS ----------------------------------------------------------------------------


@lean
def join_otherwise(s: State, spec: Servers, seed: int, slot: int, server: int) -> int:
    """Queue an attempt; return the core that is to take work at once, or NONE."""
    a, row, first = s.attempts[slot], s.servers[server], server * spec.cores
    if spec.discipline == SHARING:
        if spec.workers == 0:
            enqueue(s.attempts, row, slot)
        else:
            w = server * spec.workers + worker_of(seed, a.index, int64(a.number), spec.workers)
            worker = s.workers[w]
            enqueue(s.attempts, worker, slot)
            if worker.awake:
                return NONE
            worker.awake = 1
            enqueue(s.workers, row, w)
        return lowest_idle(s, spec, server)
    if spec.discipline == JBSQ:
        enqueue(s.attempts, row, slot)
        core = hand_out(s, spec, server)
        if core >= 0 and s.cores[core].running >= 0:
            return NONE
        return core
    if spec.discipline == PRIORITY:
        urgent = is_urgent(seed, a.index, int64(a.number), spec.urgent)
        if urgent:
            enqueue(s.attempts, s.workers[server], slot)
        else:
            enqueue(s.attempts, row, slot)
        return lowest_idle(s, spec, server)
    home = int64(a.hash) % spec.cores
    enqueue(s.attempts, s.cores[first + home], slot)
    for k in range(spec.cores if row.idle > 0 else 0):
        core = first + (home + k) % spec.cores
        if s.cores[core].running < 0:
            return core  # type: ignore[no-any-return]
    return NONE


@lean
def take_otherwise(s: State, spec: Servers, c: int, server: int, now: int) -> tuple[int, int, int]:
    """Return a core's next attempt or NONE, ps that it may run at most, and ps before it runs."""
    core, row = s.cores[c], s.servers[server]
    if spec.discipline == SHARING:
        if spec.workers > 0:
            return take_worker(s, spec, c, server, now)
        slot, switch = dequeue(s.attempts, row), 0
        if slot >= 0:
            who = attempt_index(s.attempts[slot].index, int64(s.attempts[slot].number))
            switch = spec.switch if core.last not in (NONE, who) else 0
            core.last = who
        return slot, spec.slice, switch
    if spec.discipline == JBSQ:
        return dequeue(s.attempts, core), FOREVER, 0
    if spec.discipline == PRIORITY:
        slot = dequeue(s.attempts, s.workers[server])
        return slot if slot >= 0 else dequeue(s.attempts, row), FOREVER, 0
    first = server * spec.cores
    for k in range(spec.cores):
        slot = dequeue(s.attempts, s.cores[first + (c - first + k) % spec.cores])
        if slot >= 0:
            s.attempts[slot].left += spec.steal if k > 0 else 0
            return slot, FOREVER, 0
    return int64(NONE), FOREVER, 0


@lean
def take_worker(s: State, spec: Servers, c: int, server: int, now: int) -> tuple[int, int, int]:
    """Go on with the core's worker while its slice lasts, then with the head of the run queue."""
    core, row, w = s.cores[c], s.servers[server], int64(s.cores[c].worker)
    if w >= 0:
        worker = s.workers[w]
        if worker.head >= 0:
            if now < core.slice:
                return dequeue(s.attempts, worker), min(spec.turn, core.slice - now), 0
            enqueue(s.workers, row, w)
        else:
            worker.awake = 0
        core.worker = NONE
    w = dequeue(s.workers, row)
    if w < 0:
        return int64(NONE), 0, 0
    switch = spec.switch if core.last not in (NONE, w) else 0
    core.worker = core.last = w
    core.slice = now + switch + spec.slice
    return dequeue(s.attempts, s.workers[w]), min(spec.turn, spec.slice), switch


@lean
def stop_otherwise(s: State, spec: Servers, c: int, slot: int, finished: bool) -> None:
    """Take back an attempt that is not finished; make room for another one where it is."""
    core, server = s.cores[c], c // spec.cores
    if spec.discipline == JBSQ:
        core.held -= 1
        hand_out(s, spec, server)
    elif spec.discipline == SHARING and not finished:
        if spec.workers == 0:
            enqueue(s.attempts, s.servers[server], slot)
        else:
            enqueue(s.attempts, s.workers[core.worker], slot)


@lean
def hand_out(s: State, spec: Servers, server: int) -> int:
    """Give the head of the central queue to the core that holds the fewest; return it, NONE if none may."""
    first, row = server * spec.cores, s.servers[server]
    best = first
    for c in range(first + 1, first + spec.cores):
        if s.cores[c].held < s.cores[best].held:
            best = c
    if row.head < 0 or s.cores[best].held >= spec.depth:
        return NONE
    s.cores[best].held += 1
    enqueue(s.attempts, s.cores[best], dequeue(s.attempts, row))
    return best


@step
def lowest_idle(s: State, spec: Servers, server: int) -> int:
    """Return the lowest-numbered idle core of a server, or NONE."""
    if s.servers[server].idle > 0:
        for c in range(server * spec.cores, (server + 1) * spec.cores):
            if s.cores[c].running < 0:
                return c
    return NONE
