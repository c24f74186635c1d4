"""Policies: plain functions that pick one of n targets for a unit of work.

A policy is written once and runs unchanged in the reference engine and, compiled by Numba, inside the
kernel. Choosing a core at the NIC and choosing a server at a balancer are the same operation. For equal
results use what NumPy and Numba define alike: `argmin` takes the first of equals in both, `argsort` any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim import rng
from lbsim.balancer.tournament import Order, no_order
from lbsim.jit import kernel, transient

Int64s = NDArray[np.int64]
Float64s = NDArray[np.float64]
Builder = Callable[[Int64s, Float64s, int, int], Int64s]
Rank = Callable[[int, float], float]
Buckets = tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]
Done = Callable[["View", "Answer"], None]

READS: Final = {
    "nothing": "of no target",
    "hash": "the flow's, not of targets",
    "weights": "as old as they were last set",
    "queue": "live, or as old as the last report",
    "answers": "as old as the target's last one",
    "probes": "a round trip old, or more",
}
"""Signals that choices rest on, and how old each is."""


class View(NamedTuple):
    """What a policy may look at: the targets, live, at the instant of the choice."""

    n: int  # targets 0 .. n-1; of a balancer, positions in its list of active servers
    now: int  # ps
    queue: Int64s  # [n] units at each target, the one in service included; connections of a server
    state: Int64s  # the policy's own memory, zeros at the start; size declared by @policy
    seed: int  # of the policy's coins
    total: int  # units at all targets together
    weight: Float64s  # [n], 1 on average; ones for cores
    table: Int64s  # target by slot, as the policy's builder made it; empty where it declares none
    order: Order  # a tournament by the declared rank, see `tournament`; empty where none is kept
    active: Int64s  # [n] number of the server at each position; 0 .. n-1 for cores
    choices: int  # d of JSQ(d)
    latency: Int64s  # [n] each target's own smoothed response time, ps, for probes; zeros where it keeps none
    inside: Int64s  # [n] live number of units in each target, for probes; `queue` where that is live too
    age: Int64s  # [n] ps since what `queue` says was measured; zeros: it is live


class Unit(NamedTuple):
    """The unit of work to place: a packet, later a connection or a request."""

    index: int  # type: ignore[assignment]  # 0, 1, 2 ... in order of arrival
    flow: int  # row of the flow table
    hash: int  # 32-bit Toeplitz hash of its flow
    size: int  # bytes


class Answer(NamedTuple):
    """What an answer tells as it passes the balancer on its way to the client."""

    target: int  # number of the server
    latency: int  # ps from the choice of the target to its answer
    service: int  # ps of work that it was
    queue: int  # units left at the target
    index: int  # type: ignore[assignment]  # of the unit answered
    found: int = 0  # units at the target when this one came


@dataclass(frozen=True)
class Policy:
    """A registered policy: its name, its function, and what it declares (see `policy`)."""

    name: str
    choose: Callable[[View, Unit], int]
    state: int | Callable[[int], int]
    about: str
    by_hash: bool = False
    table: Builder | None = None
    slots: int | Callable[[int], int] | None = None
    rank: Rank | None = None
    buckets: Buckets | None = None
    done: Done | None = None
    samples: int = 0
    reads: str = "queue"


def view_of_cores(now: int, queue: Int64s, state: Int64s, seed: int, table: Int64s) -> View:
    """Return what a policy sees that picks a core: cores weigh the same, and none comes or goes."""
    n, total = len(queue), int(queue.sum())
    cores, zeros = np.arange(n, dtype=np.int64), np.zeros(n, np.int64)
    return View(
        n, now, queue, state, seed, total, np.ones(n), table, no_order(), cores, 2, zeros, queue, zeros
    )  # fmt: skip


_REGISTRY: dict[str, Policy] = {}
_CARRIED: ContextVar[Policy | None] = ContextVar("carried", default=None)


def policy(
    function: Callable[[View, Unit], int] | None = None,
    *,
    state: int | Callable[[int], int] = 0,
    by_hash: bool = False,
    table: Builder | None = None,
    slots: int | Callable[[int], int] | None = None,
    rank: Rank | None = None,
    buckets: Buckets | None = None,
    done: Done | None = None,
    samples: int = 0,
    reads: str | None = None,
) -> Callable[..., int] | Callable[[Callable[[View, Unit], int]], Callable[[View, Unit], int]]:
    """Register a function as a policy under its own name; a later one of that name replaces it.

    - `state`: how many int64 the engine allocates for it (zeros) and passes as `view.state`; a number, or a
      function that yields it from the number of configured servers (or of cores).
    - `by_hash`: it looks at nothing but `unit.hash`, `n`, `table`, `active` and `weight`, so a balancer may
      ask it anew for every packet of a connection.
    - `table`: builder(active, weights, size, seed) of `view.table`, called again whenever the pool changes;
      `active` are server numbers in the order of the list, `weights` go by server number; it returns server
      numbers, int64[any size].
    - `slots`: the size asked of it, or a function that yields it from the number of configured servers.
    - `rank`: a kernel rank(queue, weight); engines may keep the target of least rank for `first`.
    - `buckets`: instead of `table`, one that remembers: make(active, size) returns its rows, whose field
      `current` is the table; join(rows, active, server, now) and leave(...) change them, where `active` is
      the list after the change.
    - `done`: a function done(view, answer), called when an answer passes the balancer; it may write
      `view.state`. Packets and connections have no answers.
    - `samples`: a promise, for engines that bring queues up to date only where someone looks. Of `queue`, it
      looks at no targets but coin(view, unit, k) % n for k < samples, and never at `total`, `latency` or
      `inside`; -1: for k < `choices`. 0 promises nothing; who looks at no queue may say 1.
    - `reads`: for people, the signal its choice rests on, one of `READS`; left out, "hash" or "queue".

    Raises ValueError for both a table and buckets, for a size of neither, for samples below -1, and for a
    signal that is none.

    >>> @policy(state=1)
    ... def alternate(view, unit):
    ...     view.state[0] += 1
    ...     return view.state[0] % view.n
    """

    def register(choose: Callable[[View, Unit], int]) -> Callable[[View, Unit], int]:
        name = choose.__name__
        if table is not None and buckets is not None:
            raise ValueError(f"policy {name} declares table and buckets: buckets make the table; give one")
        if slots is not None and table is None and buckets is None:
            raise ValueError(f"policy {name} declares slots but no table: give a table, or leave slots out")
        if samples < -1:
            raise ValueError(f"policy {name} declares samples={samples}: give 0 or more, or -1 for `choices`")
        signal = reads or ("hash" if by_hash else "queue")
        if signal not in READS:
            raise ValueError(f"policy {name} declares reads={signal!r}: give one of {', '.join(READS)}")
        about = (choose.__doc__ or "").strip().partition("\n")[0]
        _REGISTRY[name] = Policy(
            name, choose, state, about, by_hash, table, slots, rank, buckets, done, samples, signal
        )  # fmt: skip
        return choose

    return register if function is None else register(function)


def memory_of(policy: Policy, configured: int) -> Int64s:
    """Return a policy's memory as it is at the start: zeros, as many int64 as it declares."""
    return np.zeros(policy.state(configured) if callable(policy.state) else policy.state, np.int64)


def slots_of(policy: Policy, configured: int) -> int:
    """Return the size of a policy's table that it asks for itself; 0 where it names none."""
    return policy.slots(configured) if callable(policy.slots) else policy.slots or 0


def table_over(policy: Policy, n: int, seed: int) -> Int64s:
    """Return a policy's table over n equal targets that never change, such as cores; empty for none."""
    targets, size = np.arange(n, dtype=np.int64), slots_of(policy, n)
    if policy.buckets is not None:
        return np.array(policy.buckets[0](targets, size).current)
    if policy.table is not None:
        return policy.table(targets, np.ones(n), size, rng.coin(seed, 0, 1))  # the first of its tables
    return np.empty(0, np.int64)


def policies() -> dict[str, Policy]:
    """Return all registered policies by name, and before them one that is carried."""
    policy = _CARRIED.get()
    return {**_REGISTRY, policy.name: policy} if policy else dict(_REGISTRY)


@contextmanager
def carried(policy: Policy | None) -> Iterator[None]:
    """Let scenarios name a policy that came from another process, in this thread alone; None: nothing."""
    token = _CARRIED.set(policy)
    try:
        yield
    finally:
        _CARRIED.reset(token)


@kernel
def coin(view: View, unit: Unit, k: int) -> int:
    """Return the k-th 63-bit coin of this unit; equal in both engines, and no state anywhere."""
    return rng.coin(view.seed, unit.index, k)


@kernel
def fewest(queue: int, weight: float) -> float:
    """Rank a target by its queue alone."""
    return queue  # as it is: comparing floats would cost the scan a fifth


@kernel
def soonest(queue: int, weight: float) -> float:
    """Rank a target by how long it takes with one unit more; one of weight 0 comes last."""
    return (queue + 1) / weight if weight > 0.0 else np.inf


@transient
def first(view: View, rank: Rank) -> int:
    """Return the target of least rank, the lowest at a tie: in O(1) where the engine keeps `view.order`.

    The policy must declare the same `rank`.
    """
    if len(view.order) > 0:
        return view.order[1].winner  # type: ignore[no-any-return]
    best, least = 0, rank(view.queue[0], view.weight[0])
    for k in range(1, view.n):
        value = rank(view.queue[k], view.weight[k])
        if value < least:
            best, least = k, value
    return best


@policy(state=1, samples=1, reads="nothing")
def round_robin(view: View, unit: Unit) -> int:
    """Each target in turn."""
    target: int = view.state[0] % view.n  # the pool may have shrunk
    view.state[0] = (target + 1) % view.n
    return target


@policy(state=4, samples=1, reads="nothing")
def round_robin_per_core(view: View, unit: Unit) -> int:
    """Each target in turn, for each of the balancer's 4 cores, as published for Cheetah.

    The NIC's hash gives a connection to a core, and pointers start a quarter of the list apart
    (cheetahlb/cheetah-fastclick, include/click/loadbalancer.hh). Memory: 1 + the pointer; 0 before its start.
    """
    core = unit.hash % 4
    pointer = view.state[core] - 1 if view.state[core] > 0 else core * (view.n // 4)
    target = pointer % view.n
    view.state[core] = (target + 1) % view.n + 1
    return target


@policy(samples=1, reads="nothing")
def uniform(view: View, unit: Unit) -> int:
    """A target at random, independent of everything."""
    return coin(view, unit, 0) % view.n


@policy(samples=2)
def power_of_two(view: View, unit: Unit) -> int:
    """The shorter of two random queues, the first at a tie (Mitzenmacher 2001; with replacement)."""
    a, b = coin(view, unit, 0) % view.n, coin(view, unit, 1) % view.n
    return a if view.queue[a] <= view.queue[b] else b


@policy
def power_of_two_distinct(view: View, unit: Unit) -> int:
    """The shorter queue of two different random targets, the first drawn at a tie (Mitzenmacher 2001)."""
    a = coin(view, unit, 0) % view.n
    b = coin(view, unit, 1) % max(1, view.n - 1)
    if b >= a and view.n > 1:
        b += 1
    return a if view.queue[a] <= view.queue[b] else b


@policy(samples=-1)
def jsq(view: View, unit: Unit) -> int:
    """JSQ(d): the shortest of d = `choices` random queues, with replacement, the first drawn at a tie.

    Vvedenskaya, Dobrushin and Karpelevich, Problems of Information Transmission 1996.
    """
    best = coin(view, unit, 0) % view.n
    for k in range(1, view.choices):
        target = coin(view, unit, k) % view.n
        if view.queue[target] < view.queue[best]:
            best = target
    return best


@policy(rank=fewest)
def least_loaded(view: View, unit: Unit) -> int:
    """The shortest queue, the lowest number at a tie (join the shortest queue; least connections)."""
    return first(view, fewest)


@policy(rank=fewest)
def join_idle(view: View, unit: Unit) -> int:
    """JIQ: an idle target, the lowest number of them; a random one when none is (Lu et al. 2011).

    Performance Evaluation 68(11); there, idle servers queue up at a balancer, here it sees all of them.
    """
    target = first(view, fewest)
    return target if view.queue[target] == 0 else coin(view, unit, 0) % view.n


@policy(rank=soonest)
def shortest_expected_delay(view: View, unit: Unit) -> int:
    """SED: the least (queue + 1) / weight, the lowest number at a tie (Linux IPVS, ip_vs_sed.c)."""
    return first(view, soonest)
