"""The compiled data plane of connections: begins, ends and breaks, as Numba kernels over records.

`run` merges the attempts of the source with the agenda. It is compiled anew for each policy, in the process,
so all that does not depend on the policy is in kernels of its own, which are cached. At a change of the pool
the kernels of `changes` look at every connection once. Results do not depend on which record a connection
has: events are ordered by kind and index.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from lbsim.balancer import consistency
from lbsim.balancer.consistency import REFUSED, Keeper
from lbsim.balancer.policies import Unit, View
from lbsim.balancer.tournament import play, play_all
from lbsim.engine.connection.agenda import (
    INDEX,
    KIND_SHIFT,
    NONE,
    Agenda,
    due,
    give,
    int64,
    is_full,
    key_of,
    schedule,
    take,
)
from lbsim.engine.connection.ahead import fetch_beginning, fetch_ending, fetch_server
from lbsim.engine.connection.plane import LOST, REMAPPED, Attempts
from lbsim.engine.connection.state import (
    BEGUN,
    BROKE,
    COMPLETED,
    EVENTS,
    HIGHEST,
    LIVE,
    LOGGED,
    NEXT,
    PEAK,
    PEAK_PROTECTED,
    PROTECTED,
    RATIOS,
    REFUSALS,
    RETRIED,
    SKIPPED,
    SOON,
    TOTAL,
    Habits,
    State,
)
from lbsim.jit import kernel, lean, step
from lbsim.rng import coin

END, BREAK, RETRY, BEGIN = range(4)  # kinds, in the order of events of the same instant

# Why `run` returns:
DONE, MORE, PAUSE, FULL, HIGH, LONG, ASTRAY = range(7)
"""All before `until` has been; more attempts, please; a while has passed; no room: records, levels, log; a
policy that placed a connection nowhere."""


@kernel
def notice(seed: int, index: int, mean: int) -> int:
    """Return how long the client of a broken connection takes to report it, ps: exponential."""
    return round(-mean * math.log1p(-float(coin(seed, index, 2) >> 10) / 2.0**53))


@kernel
def new_hash(seed: int, index: int) -> int:
    """Return the hash of the connection that a client opens after connection `index` broke."""
    return coin(seed, index, 3) & 0xFFFFFFFF


# --- steps of `run` that no policy has a part in ------------------------------------------------------------


@step
def add(s: State, server: int, by: int) -> int:
    """Add 1 or -1 to a server's load; return its position, or -1 if it is not active."""
    row, counts = s.servers[server], s.counts
    row.load += by
    counts[LIVE] += by
    place = row.place
    if place >= 0:
        load = row.load
        s.queue[place] = load
        s.levels[load - by] -= 1
        s.levels[load] += 1
        counts[TOTAL] += by
        if load > counts[HIGHEST] or (load - by == counts[HIGHEST] and s.levels[load - by] == 0):
            counts[HIGHEST] = load
    return place  # type: ignore[no-any-return]


@step
def put_back(s: State, process: int, url: int) -> None:
    """A URL can be asked for again."""
    s.free[process, s.idle[process]] = url
    s.idle[process] += 1


@step
def pick(s: State, process: int, u: int) -> int:
    """Take one of a process's free URLs, or return NONE."""
    f = s.idle[process]
    if f == 0:
        s.counts[SKIPPED] += 1
        return NONE
    row, p = s.free[process], u % f
    url = row[p]
    row[p] = row[f - 1]
    s.idle[process] = f - 1
    return url  # type: ignore[no-any-return]


@step
def over(a: Agenda, s: State, keeper: Keeper, habits: Habits, slot: int) -> int:
    """A connection ends or breaks, as its record says; return its server's position or -1."""
    record, counts = a.records[slot], s.counts
    kind, index, time, server = record.key >> KIND_SHIFT, record.key & INDEX, record.time, record.server
    url, process = record.url, record.process
    place = add(s, server, -1)
    consistency.release(keeper, index, int64(record.hash), int64(server), int64(record.handle))
    if record.handle >= 0:
        counts[PROTECTED] -= 1
    if kind == END:
        counts[COMPLETED] += 1
    else:
        broke(s, habits, time, index, server)
    if process >= 0 and (kind == END or habits.again):
        put_back(s, process, url)
    if kind == BREAK and habits.retry >= 0:
        wait(a, habits, slot, time, index, record.end - time)
    else:
        give(a, slot)
    return place


@lean
def broke(s: State, habits: Habits, time: int, index: int, server: int) -> None:
    """Note a break in the log."""
    counts, row = s.counts, s.log[s.counts[LOGGED]]
    cause = LOST if s.servers[server].down else REMAPPED
    counts[LOGGED] += 1
    counts[BROKE + cause] += 1
    row.time, row.index, row.server, row.cause = time, index, server, cause
    row.reported = time + notice(habits.seed, index, habits.notice)


@lean
def wait(a: Agenda, habits: Habits, slot: int, time: int, index: int, length: int) -> None:
    """Let the client of connection `index`, broken at `time`, begin again after a while."""
    record = a.records[slot]
    record.time = time + habits.retry
    record.key = key_of(RETRY, index)
    record.end = length
    record.hash = new_hash(habits.seed, index)
    record.url = record.process = NONE
    schedule(a, slot)


@step
def imbalance(s: State, n: int) -> None:
    """Note highest / mean load."""
    counts = s.counts
    if counts[TOTAL] > 0:
        ratio = counts[HIGHEST] * n / counts[TOTAL]
        counts[RATIOS] += 1
        s.ratio[0] += ratio
        s.ratio[1] = max(s.ratio[1], ratio)


@step
def enter(
    a: Agenda, s: State, keeper: Keeper, habits: Habits, server: int,
    time: int, length: int, gap: int, digest: int, url: int, process: int,
) -> int:  # fmt: skip
    """A connection begins on the server the policy chose; return that server's position, -1 if it fails."""
    counts, row = s.counts, s.servers[server]
    index = counts[BEGUN]
    if row.down:  # but the balancer does not know
        counts[BEGUN] += 1
        row.placed += 1
        broke(s, habits, time, index, server)
        if process >= 0 and habits.again:
            put_back(s, process, url)
        if habits.retry >= 0:
            slot = take(a)
            a.records[slot].gap = gap
            wait(a, habits, slot, time, index, length)
        return -1
    handle = consistency.admit(keeper, index, digest, server)
    if handle == REFUSED:
        counts[REFUSALS] += 1
        if process >= 0:
            put_back(s, process, url)
        return -1
    counts[BEGUN] += 1
    row.placed += 1
    place = add(s, server, 1)
    counts[PEAK] = max(counts[PEAK], counts[LIVE])
    if handle >= 0:
        counts[PROTECTED] += 1
        counts[PEAK_PROTECTED] = max(counts[PEAK_PROTECTED], counts[PROTECTED])
    slot = take(a)
    record = a.records[slot]
    record.time = record.end = time + length
    record.key = key_of(END, index)
    record.begin, record.gap, record.hash = time, gap, digest
    record.server, record.handle, record.url, record.process = server, handle, url, process
    schedule(a, slot)
    return place


# --- the loop -----------------------------------------------------------------------------------------------


@lean
def run(
    a: Agenda, s: State, keeper: Keeper, habits: Habits, view: View,
    policy: Callable[[View, Unit], int], rank: Callable[[int, float], float],
    attempts: Attempts, last: bool, until: int, key: int, pause: int,
) -> int:  # fmt: skip
    """Run what is before (until, key) and return why it stopped, see `DONE`.

    `last` says that no attempts come after these; `pause` is the number of events to run at most.
    """
    counts, size = s.counts, len(attempts.time)
    ranked, by_hash = len(view.order) > 0, len(s.soon) > 0
    decided = counts[NEXT] + SOON  # from this attempt on: `soon` is of the view of now
    for _ in range(pause):
        if is_full(a):
            return FULL
        if counts[HIGHEST] + 1 >= len(s.levels) or counts[LOGGED] == len(s.log):
            return LONG if counts[LOGGED] == len(s.log) else HIGH
        at = counts[NEXT]
        time, bound = until, key
        if at < size:
            if attempts.time[at] < until:
                time, bound = attempts.time[at], key_of(BEGIN, 0)
        elif not last:
            return MORE
        slot = due(a, time, bound)
        if slot >= 0:
            fetch_ending(a, s.servers, keeper)
        else:
            fetch_beginning(a, keeper, attempts, at)
        position = url = process = int64(NONE)
        if slot >= 0 and a.records[slot].key >> KIND_SHIFT != RETRY:
            place = over(a, s, keeper, habits, slot)
        else:
            if slot >= 0:
                record = a.records[slot]
                time, length, gap, digest = record.time, record.end, record.gap, int64(record.hash)
                give(a, slot)
                counts[RETRIED] += 1
            elif bound >> KIND_SHIFT == BEGIN:
                counts[NEXT] += 1
                digest = attempts.hash[at]
                if by_hash:
                    position = s.soon[at & (SOON - 1)] if at >= decided else position
                    if at + SOON < size:
                        s.soon[at & (SOON - 1)] = policy(view, Unit(0, 0, attempts.hash[at + SOON], 0))
                    fetch_server(s, view, at)
                if len(habits.length) > 0:
                    process = attempts.process[at]
                    url = pick(s, process, attempts.coin[at])
                    if url < 0:
                        continue
                    length, gap = habits.length[url], habits.gap[url]
                else:
                    length, gap = attempts.length[at], attempts.gap[at]
            else:
                return DONE
            if time >= habits.warmup:
                imbalance(s, view.n)
            now = View(
                view.n, time, view.queue, view.state, view.seed, counts[TOTAL], view.weight, view.table,
                view.order, view.active, view.choices, view.latency, view.inside, view.age,
            )  # fmt: skip
            if position < 0:
                position = policy(now, Unit(counts[BEGUN], counts[BEGUN], digest, 0))
            if position < 0 or position >= view.n:
                return ASTRAY
            server = view.active[position]
            place = enter(a, s, keeper, habits, server, time, length, gap, digest, url, process)
        counts[EVENTS] += 1
        if ranked and place >= 0:
            play(view.order, view.queue, view.weight, rank, place)
    return PAUSE


@lean
def replay(view: View, rank: Callable[[int, float], float]) -> None:
    """Play the whole tournament anew, after targets came, went or changed their weights."""
    play_all(view.order, view.queue, view.weight, rank)
