"""A policy's plain function, compiled: once for what it does, in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from lbsim.balancer.meaning import meaning
from lbsim.jit import transient

F = TypeVar("F", bound=Callable[..., Any])


class PolicyError(Exception):
    """Numba cannot compile a policy; the reference engine can still run it."""

    @classmethod
    def of(cls, error: Exception) -> PolicyError:
        """Return the error with Numba's reason, in a line."""
        said = [line.strip() for line in str(error).splitlines() if line.strip()]
        reasons = [line for line in said if not line.startswith("Failed in nopython mode")]
        return cls((reasons or ["Numba gives no reason"])[0])


_COMPILED: dict[str, Callable[..., Any]] = {}


def compile_policy(function: F) -> F:
    """Return a policy's `choose` or `done` compiled by Numba; its types are checked when it first runs.

    It compiles once for what it does: again after a global that it reads has changed, as Numba freezes those.
    """
    try:
        told = meaning(function)
    except ValueError:  # it uses something that cannot be compared
        return transient(function)
    if told not in _COMPILED:
        _COMPILED[told] = transient(function)
    return cast(F, _COMPILED[told])
