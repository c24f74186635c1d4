"""The steps of an attempt's life, as kernels: what no policy has a part in, from being sent to being over."""

from __future__ import annotations

from lbsim.engine.request import cores, heap, service
from lbsim.engine.request.heap import push
from lbsim.engine.request.plane import (
    INDEPENDENT,
    KIND,
    LAUNCH,
    NEVER,
    PACED,
    PICK,
    RETRY,
    TIMEOUT,
    USERS,
    Columns,
    Servers,
)
from lbsim.engine.request.service import backoff_of, goes_on, smoothed
from lbsim.engine.request.state import (
    AREA,
    COHORT,
    COMPLETED,
    GIVEN_UP,
    HIGH,
    INSIDE,
    LATENCY,
    LAUNCHED,
    LOGGED,
    LOW,
    NEXT,
    NONE,
    PEAK,
    REFUSED,
    RETRIED,
    SINCE,
    SOJOURN,
    TIMED_OUT,
    Habits,
    State,
    add_wide,
    give,
    int64,
    take,
)
from lbsim.jit import lean, step
from lbsim.metrics.histogram import bin_of
from lbsim.units import SECOND

# --- clients --------------------------------------------------------


@step
def count(s: State, h: Habits, event: int, now: int, due: int) -> bool:
    """Count an event of a request; return whether it belongs to the cohort."""
    belongs = h.warmup <= (now if h.cohort_done else due) < h.end
    s.counts[event] += 1
    s.counts[COHORT + event] += belongs
    return belongs


@step
def note(s: State, slot: int, now: int, latency: int) -> None:
    """Log a request that is over."""
    if len(s.log) > 0:
        row, a = s.log[s.counts[LOGGED]], s.attempts[slot]
        s.counts[LOGGED] += 1
        row.index, row.user, row.server, row.due, row.sent = a.index, a.user, a.server, a.due, a.sent
        row.done, row.latency, row.attempts = now, latency, a.number


@lean
def launch_first(s: State, h: Habits) -> None:
    """Let every user send its first request when it is to."""
    for user in range(len(h.first)):
        if h.first[user] < h.end:
            push(s.heap, h.first[user], LAUNCH << KIND | user, 0)


@step
def launch(s: State, h: Habits, columns: Columns, number: int, now: int) -> int:
    """A request's first attempt is sent, by a user or as an arrival; return its record."""
    counts, slot = s.counts, take(s)
    a, at, index = s.attempts[slot], counts[NEXT], counts[LAUNCHED]
    counts[NEXT] = at + 1
    a.index, a.number, a.hash, a.work = index, 1, columns.hash[at], columns.work[at]
    a.user = index if h.kind == INDEPENDENT else number
    a.due, a.sent = now, now
    a.server = NONE
    if h.kind == USERS:
        a.pause = columns.pause[at]
        user = s.users[number]
        if user.home < 0:
            user.hash = a.hash
        a.hash = user.hash
    elif h.kind == PACED:
        a.due = h.first[number] + s.users[number].over * h.period
    count(s, h, LAUNCHED, now, a.due)
    return slot


@step
def send(s: State, h: Habits, slot: int, now: int) -> bool:
    """An attempt goes to the balancer; return whether that is at hand."""
    a = s.attempts[slot]
    a.current = 1
    if h.timeout != NEVER:
        heap.join(s.line, now + h.timeout, TIMEOUT << KIND | a.index, int64(a.number) << 32 | slot)
    if h.lanes == 0:
        return True
    lane = int64(a.hash) % h.lanes
    s.ready[lane] = max(now, s.ready[lane]) + h.cost
    push(s.heap, s.ready[lane], PICK << KIND | a.index, slot)
    return False


@step
def over(s: State, h: Habits, slot: int, now: int, completed: bool) -> None:
    """A request is over with its last attempt; its user, if any, goes on."""
    if h.kind == INDEPENDENT:
        return
    a = s.attempts[slot]
    user = s.users[a.user]
    if h.kind == PACED:
        user.over += 1
        time = h.first[a.user] + user.over * h.period
        if time > now:
            user.behind = 0
        else:
            if user.behind == 0:
                user.behind, user.anchor, user.before = 1, now, user.over
            time = max(now, user.anchor + (user.over - user.before) * h.catch)
    else:
        time = now + a.pause
        if h.session == 1.0 or not completed or not goes_on(h.seed, a.index, h.session):
            user.home = NONE
    if time < h.end:
        push(s.heap, time, LAUNCH << KIND | a.user, 0)


@step
def receive(s: State, h: Habits, slot: int, now: int) -> None:
    """An answer reaches its client, which still waits for it."""
    a, counts = s.attempts[slot], s.counts
    a.current = 0
    latency = now - a.due + h.overhead
    if count(s, h, COMPLETED, now, a.due):
        s.bins[bin_of(latency)] += 1
        add_wide(counts, LATENCY, latency, 1)
        counts[LOW] = min(counts[LOW], latency)
        counts[HIGH] = max(counts[HIGH], latency)
    note(s, slot, now, latency)
    over(s, h, slot, now, True)


@lean
def fail(s: State, h: Habits, slot: int, now: int) -> None:
    """An attempt has failed, and nothing else needs its record; its client sends another, or gives up."""
    a = s.attempts[slot]
    a.current = 0
    if a.number < h.attempts:
        count(s, h, RETRIED, now, a.due)
        wait = backoff_of(h.seed, a.index, int64(a.number), h.backoff, h.factor, h.most, h.jitter)
        a.number += 1
        push(s.heap, now + wait, RETRY << KIND | a.index, slot)
    else:
        count(s, h, GIVEN_UP, now, a.due)
        note(s, slot, now, NEVER)
        over(s, h, slot, now, False)
        give(s, slot)


@lean
def time_out(s: State, h: Habits, slot: int, now: int) -> None:
    """A client has waited long enough; what is left of its attempt stays where it is."""
    old, new = s.attempts[slot], take(s)
    a = s.attempts[new]
    count(s, h, TIMED_OUT, now, old.due)
    old.current = 0
    a.index, a.number, a.hash, a.work = old.index, old.number, old.hash, old.work
    a.user, a.due, a.sent, a.pause, a.server = old.user, old.due, old.sent, old.pause, old.server
    fail(s, h, new, now)


# --- balancer and servers ------------------------------------------------------------------


@step
def settle(s: State, h: Habits, slot: int, server: int, now: int) -> None:
    """The balancer sends an attempt to a server, to which its user's connection then goes."""
    a = s.attempts[slot]
    a.server, a.picked = server, now
    s.servers[server].placed += 1
    if h.kind == USERS and a.current:
        s.users[a.user].home = server


@step
def enter(s: State, h: Habits, spec: Servers, slot: int, server: int, now: int) -> None:
    """An attempt enters its server, which has room."""
    a, counts = s.attempts[slot], s.counts
    if spec.by_second.size > 0:
        a.work = spec.by_second[server, min(now // SECOND, spec.by_second.shape[1] - 1)]
    service.begin(s.attempts, slot, a.work, spec.spins, spec.setup, spec.finish, 0)
    add_wide(counts, AREA, now - counts[SINCE], counts[INSIDE])
    counts[SINCE] = now
    a.found = s.inside[server]
    s.inside[server] += 1
    counts[INSIDE] += 1
    counts[PEAK] = max(counts[PEAK], counts[INSIDE])
    cores.join(s, spec, h.seed, slot, now)


@step
def leave(s: State, slot: int, server: int, now: int) -> None:
    """A server has served an attempt."""
    counts, row = s.counts, s.servers[server]
    spent = now - s.attempts[slot].picked
    add_wide(counts, AREA, now - counts[SINCE], counts[INSIDE])
    counts[SINCE] = now
    s.inside[server] -= 1
    counts[INSIDE] -= 1
    add_wide(counts, SOJOURN, spent, 1)
    s.latency[server] = smoothed(s.latency[server], spent, row.answered == 0)
    row.answered += 1


@step
def refuse(s: State, h: Habits, slot: int, now: int) -> None:
    """A server has no room for an attempt."""
    a = s.attempts[slot]
    count(s, h, REFUSED, now, a.due)
    if a.current:
        fail(s, h, slot, now)
    else:
        give(s, slot)
