"""Metron's scaling: which cores are overloaded or idle, and who gets whose traffic classes.

Metron (Katsikas et al., NSDI 2018; TOCS 2021) by its published code: the controller (gkatsikas/onos,
OrchestrationManager and TagManager) and the agent (tbarbette/fastclick). A core gives away half of its
classes by their number, not by their load: that is the controller's limit, and a simulator must keep it. Pure
functions over arrays of all cores; loads are in units of one core.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from lbsim.nic.classes import Rearranged
from lbsim.nic.indirection import round_robin_table
from lbsim.nic.rsspp import Flags, Floats, Ints
from lbsim.nic.scaling import Wish
from lbsim.units import MS, SECOND

LOAD_PERIOD: Final = 100 * MS
"""Picoseconds over which a core's load is taken."""

JIFFY: Final = 10 * MS  # unit in which /proc/stat counts busy time
NEVER, CHANGED = -2, -1
"""In `Watch.since`: not sampled so far; took part in a change and has not been seen to work since."""

CROWDED: Final = 3  # times `up`: spare capacity, in cores, below which every overloaded core counts
SPARSE: Final = 3  # times `down`: mean load below which every underloaded core counts
MERGED: Final = 1.8  # by how much a merge is taken to raise a load, at most


class MetronParams(NamedTuple):
    """What can be set about the controller; the defaults are those of the published code."""

    up: float = 0.75  # load, or forecast, from which on a core is overloaded
    down: float = 0.25  # load up to which a core is underloaded
    hold: int = SECOND  # ps for which a core is left alone once its change is seen to work
    memory: float = 0.67  # weight of the past in the trend

    @property
    def urgent(self) -> float:
        """Return the load from which on a core is not left alone."""
        return (self.up + 1) / 2


class Watch(NamedTuple):
    """What the controller remembers of every core, in use or not."""

    trend: Floats  # its past loads, smoothed
    since: Ints  # ps at which it was seen to work after its last change; NEVER, CHANGED


class Sample(NamedTuple):
    """What one sample tells; cores in the order in which they are handled."""

    watch: Watch
    over: tuple[int, ...]
    under: tuple[int, ...]


class AgentParams(NamedTuple):
    """What can be set about the agent; the defaults are those of the published code."""

    up: float = 0.7  # smoothed load above which it takes one core more
    down: float = 0.4  # smoothed load below which it takes one less
    rest: int = 5 * SECOND  # ps between two steps


class AgentState(NamedTuple):
    """What the agent remembers."""

    load: float = 0.0  # highest load of a core, smoothed
    rested_at: int = 0  # ps from which on it may take the next step


def useful_share(before: Ints, busy: Ints, elapsed: int) -> Floats:
    """Return the load of cores that poll: the share of `elapsed` ps in which polls found packets.

    `before` and `busy` are cumulative busy times. The published code names a smoother but returns the last
    observation as it is (fastclick, routerthread.cc).
    """
    return np.minimum((busy - before) / elapsed, 1.0)


def jiffies_share(before: Ints, busy: Ints, elapsed: int) -> Floats:
    """Return the load that /proc/stat tells: cumulative busy times are cut to whole jiffies."""
    return useful_share(before // JIFFY * JIFFY, busy // JIFFY * JIFFY, elapsed)


def first_watch(cores: int) -> Watch:
    """Return what the controller knows of cores that it has not sampled."""
    return Watch(np.zeros(cores), np.full(cores, NEVER, np.int64))


def sample(load: Floats, used: Flags, watch: Watch, now: int, params: MetronParams) -> Sample:
    """Return which cores in use are overloaded and underloaded, and what to remember.

    With P the trend before this sample, the forecast is 2 x load - P. Cores that have not been seen to work
    since their last change are left alone, and so are they for `hold` after that, unless their load is
    urgent. Of the others a core is

    - overloaded where load or forecast reach `up` and P does as well (so that the load decides: where P does
      and the forecast does, the load does), and either less than 3 x `up` cores of capacity are spare or its
      load is above the urgent one;
    - underloaded where load, P and forecast are at most `down`, 1.8 times their highest is at most `up`, and
      either the mean load is below 3 x `down` or its own below `down` / 3.

    Overloaded cores are handled from the one seen to work most lately (in whole seconds), of those from the
    highest load on; underloaded ones the other way round. Ties fall to the lowest number.
    """
    past, since, urgent = watch.trend, watch.since, params.urgent
    forecast = 2 * load - past
    peak = np.maximum(np.maximum(load, past), forecast)
    number, total = int(used.sum()), float(load[used].sum())
    judged = used & (since >= 0) & ((now - since >= params.hold) | (load >= urgent))
    high = judged & ((load >= params.up) | (forecast >= params.up))
    over = high & (past >= params.up) & ((number - total < CROWDED * params.up) | (load > urgent))
    low = judged & ~high & (peak <= params.down) & (peak * MERGED <= params.up)
    under = low & ((total < SPARSE * params.down * number) | (load < params.down / 3))

    trend = np.where(used, params.memory * past + (1 - params.memory) * load, past)
    works = used & (since == CHANGED) & (load > 0)
    known = np.where(used & (since == NEVER), CHANGED, np.where(works, now, since))

    def order(core: int) -> tuple[int, float]:
        return int(since[core]) // SECOND, float(load[core])

    return Sample(
        Watch(trend, known),
        tuple(sorted(np.flatnonzero(over).tolist(), key=order, reverse=True)),
        tuple(sorted(np.flatnonzero(under).tolist(), key=order)),
    )


def changed(watch: Watch, touched: Flags) -> Watch:
    """Return what is known once the cores that `touched` marks have taken part in a change."""
    return watch._replace(since=np.where(touched, CHANGED, watch.since))


def by_halves(
    table: Ints, used: Flags, over: tuple[int, ...], under: tuple[int, ...], least: int, held: Flags | None
) -> Rearranged:
    """Return the classes after overloaded cores were split and underloaded ones merged.

    `table` holds the core of each class, `used` which cores are in use; `held` marks classes that must stay,
    None for none. No argument changes. Each overloaded core of m classes keeps ceil(m / 2) and gives the
    later floor(m / 2), in order of number, to the lowest core out of use; with one class, or all cores in
    use, nothing happens. Then, while two underloaded cores are left and more than `least` in use, the first
    takes all classes of the one that has the fewest among the others, which goes out of use.
    """
    table, used, touched = table.copy(), used.copy(), np.zeros(used.size, np.bool_)
    stays = np.zeros(table.size, np.bool_) if held is None else held
    added = removed = 0
    for source in over:
        mine = np.flatnonzero(table == source)
        free = mine[~stays[mine]]
        given = free[max(0, free.size - mine.size // 2) :]
        if not given.size or used.all():
            continue
        sink = int(np.argmin(used))
        table[given], used[sink] = sink, True
        touched[[source, sink]] = True
        added += 1
    left = list(under)
    while len(left) > 1 and int(used.sum()) > least:
        sink = left.pop(0)
        sizes = np.bincount(table, minlength=used.size)
        whole = [core for core in left if not stays[table == core].any()]
        if not whole:
            break
        source = min(whole, key=lambda core: (sizes[core], core))
        left.remove(source)
        table[table == source], used[source] = sink, False
        touched[[source, sink]] = True
        removed += 1
    return Rearranged(table, used, touched, added, removed)


def in_order(
    table: Ints, used: Flags, over: tuple[int, ...], under: tuple[int, ...], least: int, held: Flags | None
) -> Rearranged:
    """Return the buckets of a hash after cores came and went in order of number.

    Like `by_halves`, for an indirection table over the cores 0 .. n-1 in use: every overloaded core brings
    core n into use, every two underloaded ones send core n-1 out of it, and the table is written anew, entry
    i holding core i mod n. Entries that `held` marks stay, and so do their cores.
    """
    cores, before = used.size, int(used.sum())
    number, touched = before, np.zeros(used.size, np.bool_)
    for source in over:
        if number < cores:
            touched[[source, number]] = True
            number += 1
    left = list(under)
    while len(left) > 1 and number > least:
        number -= 1
        touched[[*left[:2], number]] = True
        left = [core for core in left[2:] if core < number]
    if held is not None and held.any():
        number = max(number, int(table[held].max()) + 1)
    if number == before:
        return Rearranged(table.copy(), used.copy(), np.zeros(cores, np.bool_), 0, 0)
    after = round_robin_table(table.size, number)
    if held is not None:
        after[held] = table[held]
    more = number - before
    return Rearranged(after, np.arange(cores) < number, touched, max(0, more), max(0, -more))


def agent_step(highest: float, state: AgentState, now: int, params: AgentParams) -> tuple[AgentState, Wish]:
    """Return what the agent remembers and wants after it has seen the highest load of a core.

    It smooths that load by halves, and wants a core more above `up`, one less below `down`, but nothing for
    `rest` after it last wanted something: also where it could not have it, as with one core idle.
    """
    load = 0.5 * state.load + 0.5 * highest
    wish = Wish.ADD if load > params.up else Wish.REMOVE if load < params.down else Wish.KEEP
    if now < state.rested_at:
        wish = Wish.KEEP
    return AgentState(load, state.rested_at if wish == Wish.KEEP else now + params.rest), wish
