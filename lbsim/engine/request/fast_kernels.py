"""Requests whose departure is final at admission, as kernels: one step a request, and no event at all.

Where a server runs one request at a time to its end, in order of arrival, a request that enters at t departs
at max(t, end of the one before) + its work, whatever comes later. So a closed loop needs to know no more than
which user is the next to launch, and an open loop not even that. What has departed by now is taken off a
server's list only when someone looks: the policy, a counter. Two ways to do that give equal results:

- lazily: the list of a server is brought up to date when the policy samples it;
- exactly: a tournament of the servers by their next departure tells what has departed before each launch.

The most there ever was in all servers at once is kept by either. Lazily, the number that were not seen to
depart yet is an upper bound; all lists are brought up to date where that would make a new peak.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lbsim import rng
from lbsim.balancer import tournament
from lbsim.balancer.policies import Unit, View
from lbsim.engine.request.fast_state import (
    AT,
    COHORT_COMPLETED,
    COHORT_LAUNCHED,
    HIGH,
    INSIDE,
    LATENCY,
    LATENCY_HIGH,
    LATEST,
    LAUNCHED,
    LOW,
    NEVER,
    NOBODY,
    NONE,
    PART,
    PEAK,
    SPARE,
    STAY,
    STAY_HIGH,
    Habits,
    Rows,
    State,
    play,
    play_all,
)
from lbsim.engine.request.plane import INDEPENDENT, PACED, Columns, Int64s
from lbsim.engine.request.service import smoothed, wall
from lbsim.jit import lean, step
from lbsim.metrics.histogram import bin_of


@step
def unsigned(index: int) -> Any:
    """Return an index that is never negative as such, so that nobody tests whether it counts from the end."""
    return np.uint64(index)


# --- servers ------------------------------------------------------------------------------------------------


@step
def depart(s: State, server: int) -> None:
    """The first request of a server's list departs."""
    at = unsigned(server)
    row, visits, counts = s.rows[at], s.visits, s.counts
    slot = row.head
    visit = visits[slot]
    stay = visit.end - visit.begin
    s.latency[at] = smoothed(s.latency[at], stay, row.placed == s.inside[at])
    s.inside[at] -= 1
    counts[INSIDE] -= 1
    row.head = visit.next
    row.next = visits[row.head].end if row.head != NOBODY else NEVER
    visit.next = counts[SPARE]
    counts[SPARE] = slot


@step
def settle(s: State, server: int, now: int) -> None:
    """Bring a server's list up to date."""
    while s.rows[unsigned(server)].next <= now:
        depart(s, server)


@lean
def settle_all(s: State, now: int) -> None:
    """Bring all lists up to date."""
    for server in range(len(s.rows)):
        settle(s, server, now)


@lean
def arrange(s: State) -> None:
    """Play the tournament of departures anew from the servers' lists."""
    tree = s.leaving
    for server in range(len(s.rows)):
        tree[len(tree) // 2 + server].time = s.rows[server].next
    play_all(tree)


@step
def look(s: State, habits: Habits, view: View, measured: Int64s, server: int, now: int) -> None:
    """Bring up to date what the policy sees of a server."""
    if habits.live:
        settle(s, server, now)
    else:
        view.age[server] = now - measured[server]


@lean
def settle_in_order(s: State, view: View, rank: Callable[[int, float], float], now: int) -> None:
    """The same as `settle_all` where the tournaments are kept: nothing but departures is looked at."""
    first = s.leaving[1]
    while first.time <= now:
        server = first.who
        depart(s, server)
        play(s.leaving, server, s.rows[server].next)
        if len(view.order) > 0:
            tournament.play(view.order, view.queue, view.weight, rank, server)


@step
def enter(s: State, server: int, time: int, end: int) -> None:
    """A request enters a server at `time` and departs at `end`."""
    at = unsigned(server)
    row, visits, counts = s.rows[at], s.visits, s.counts
    slot = unsigned(counts[SPARE])
    visit = visits[slot]
    counts[SPARE] = visit.next
    visit.end, visit.begin, visit.next = end, time, NOBODY
    if row.next == NEVER:
        row.head, row.next = slot, end
    else:
        visits[row.tail].next = slot
    row.tail = slot
    row.free = end
    row.placed += 1
    s.inside[at] += 1
    counts[INSIDE] += 1


# --- clients ------------------------------------------------------------------------------------------------


@step
def next_due(paces: Rows, user: int, habits: Habits, now: int) -> int:
    """Return when a paced user whose answer comes at `now` sends next."""
    pace = paces[user]
    pace.over += 1
    due = pace.first + pace.over * habits.period
    if due > now:
        pace.time = NONE
        return due  # type: ignore[no-any-return]
    if pace.time == NONE:
        pace.time, pace.count = now, pace.over
    return max(now, pace.time + (pace.over - pace.count) * habits.catch)  # type: ignore[no-any-return]


# --- the loop -----------------------------------------------------------------------------------------------

# Why `run` returns:
MORE, DONE, FULL, ASTRAY, TIRED = range(5)
"""The columns are used up; all before `until` has been launched; no room for another visit; a policy that
placed a request nowhere; too many scans: running exactly is cheaper now."""


@lean
def run(
    s: State, habits: Habits, view: View, measured: Int64s, policy: Callable[[View, Unit], int],
    rank: Callable[[int, float], float], samples: tuple[int, ...], exact: bool, columns: Columns,
    log: Rows, stop: int, scans: int, until: int,
) -> int:  # fmt: skip
    """Launch the requests of the columns up to row `stop` that are before `until`; return why it stopped.

    `samples` names the coins whose targets the policy looks at; where it may look at any, `exact` is set.
    `scans` is how often all lists may be brought up to date; `log` has a row for each, or none.
    """
    counts, users, rows, n = s.counts, s.users, s.rows, view.n
    begun = at = counts[AT]
    base = counts[LAUNCHED] - at
    low, high, latest = counts[LOW], counts[HIGH], counts[LATEST]
    stays = stays_high = latencies = latencies_high = launched = completed = 0
    why = MORE
    while at < stop:
        index = base + at
        if habits.kind == INDEPENDENT:
            time, user = columns.time[unsigned(at)], index
        else:
            time, user = users[1].time, users[1].who
        if time >= until:
            why = DONE
            break
        if exact:
            settle_in_order(s, view, rank, time)
        if counts[INSIDE] == counts[PEAK]:
            if not exact:
                if scans == 0:
                    why = TIRED
                    break
                scans -= 1
                settle_all(s, time)
            if counts[INSIDE] == counts[PEAK]:
                if counts[PEAK] == len(s.visits):
                    why = FULL
                    break
                counts[PEAK] += 1
        if len(samples) > 0:
            look(s, habits, view, measured, rng.coin(view.seed, index, 0) % n, time)
        if len(samples) > 1:  # not in the loop: so the policy need not make these coins again
            look(s, habits, view, measured, rng.coin(view.seed, index, 1) % n, time)
        for k in range(2, len(samples)):
            look(s, habits, view, measured, rng.coin(view.seed, index, k) % n, time)
        server = policy(
            View(
                n, time, view.queue, view.state, view.seed, counts[INSIDE], view.weight, view.table,
                view.order, view.active, view.choices, view.latency, view.inside, view.age,
            ),
            Unit(index, user, columns.hash[unsigned(at)], habits.response),
        )  # fmt: skip
        if server < 0 or server >= n:
            why = ASTRAY
            break
        row = rows[unsigned(server)]
        was_empty = row.next == NEVER
        length = wall(columns.work[unsigned(at)], row.speed)
        end = max(time, row.free) + length
        row.busy += length
        enter(s, server, time, end)
        if exact:
            if was_empty:
                play(s.leaving, server, end)
            if len(view.order) > 0:
                tournament.play(view.order, view.queue, view.weight, rank, server)
        due = time
        if habits.kind != INDEPENDENT:
            if habits.kind == PACED:
                pace = s.paces[user]
                due = pace.first + pace.over * habits.period
                then = next_due(s.paces, user, habits, end)
            else:
                then = end + columns.pause[at]
            play(users, user, then if then < habits.end else NEVER)
        stay = end - time
        stays += stay & ((1 << PART) - 1)
        stays_high += stay >> PART
        latest = max(latest, end)
        launched += habits.warmup <= (time if habits.cohort_done else due)
        if habits.warmup <= end < habits.end if habits.cohort_done else habits.warmup <= due:
            latency = end - due + habits.overhead
            s.bins[unsigned(bin_of(latency))] += 1
            latencies += latency & ((1 << PART) - 1)
            latencies_high += latency >> PART
            low, high = min(low, latency), max(high, latency)
            completed += 1
        if len(log) > 0:
            entry = log[at - begun]
            entry.user, entry.server, entry.due, entry.sent, entry.done = user, server, due, time, end
        at += 1
    counts[AT], counts[LAUNCHED] = at, base + at
    counts[LOW], counts[HIGH], counts[LATEST] = low, high, latest
    counts[STAY], counts[STAY_HIGH] = stays, stays_high
    counts[LATENCY], counts[LATENCY_HIGH] = latencies, latencies_high
    counts[COHORT_LAUNCHED], counts[COHORT_COMPLETED] = launched, completed
    return why
