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
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lbsim import rng
from lbsim.jit import kernel


class View(NamedTuple):
    """What a policy may look at: the targets, live, at the instant of the choice."""

    n: int  # targets 0 .. n-1
    now: int  # ps
    queue: NDArray[np.int64]  # units at each target, the one in service included
    state: NDArray[np.int64]  # the policy's own memory, zeros at the start; size declared by @policy
    seed: int  # of the policy's coins


class Unit(NamedTuple):
    """The unit of work to place: a packet, later a connection or a request."""

    index: int  # type: ignore[assignment]  # 0, 1, 2 ... in order of arrival
    flow: int  # row of the flow table
    hash: int  # 32-bit Toeplitz hash of its flow
    size: int  # bytes


@dataclass(frozen=True)
class Policy:
    """A registered policy: its name, its function, and how many int64 of memory it declares."""

    name: str
    choose: Callable[[View, Unit], int]
    state: int
    about: str


_REGISTRY: dict[str, Policy] = {}
_CARRIED: ContextVar[Policy | None] = ContextVar("carried", default=None)


def policy(
    function: Callable[[View, Unit], int] | None = None, *, state: int = 0
) -> Callable[..., int] | Callable[[Callable[[View, Unit], int]], Callable[[View, Unit], int]]:
    """Register a function as a policy under its own name; a later one of that name replaces it.

    `state` is the number of int64 the engine allocates for it (zeros) and passes as `view.state`.

    >>> @policy(state=1)
    ... def alternate(view, unit):
    ...     view.state[0] += 1
    ...     return view.state[0] % view.n
    """

    def register(choose: Callable[[View, Unit], int]) -> Callable[[View, Unit], int]:
        name = choose.__name__
        about = (choose.__doc__ or "").strip().partition("\n")[0]
        _REGISTRY[name] = Policy(name, choose, state, about)
        return choose

    return register if function is None else register(function)


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


@policy
def round_robin(view: View, unit: Unit) -> int:
    """Each target in turn, packet by packet."""
    return unit.index % view.n


@policy
def uniform(view: View, unit: Unit) -> int:
    """A target at random, independent of everything."""
    return coin(view, unit, 0) % view.n


@policy
def hashed(view: View, unit: Unit) -> int:
    """The flow's hash modulo n, without an indirection table."""
    return unit.hash % view.n


@policy
def power_of_two(view: View, unit: Unit) -> int:
    """The shorter of two random queues, the first at a tie (Mitzenmacher 2001; with replacement)."""
    a, b = coin(view, unit, 0) % view.n, coin(view, unit, 1) % view.n
    return a if view.queue[a] <= view.queue[b] else b


@policy
def least_loaded(view: View, unit: Unit) -> int:
    """The shortest queue, the lowest number at a tie (join the shortest queue)."""
    best = 0
    for k in range(1, view.n):
        if view.queue[k] < view.queue[best]:
            best = k
    return best
