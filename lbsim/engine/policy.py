"""A policy's plain function, compiled: once for what it does, in this process."""

from __future__ import annotations

from collections.abc import Callable

from lbsim.balancer.meaning import meaning
from lbsim.balancer.policies import Unit, View
from lbsim.jit import transient


class PolicyError(Exception):
    """Numba cannot compile a policy; the reference engine can still run it."""

    @classmethod
    def of(cls, error: Exception) -> PolicyError:
        """Return the error with Numba's reason, in a line."""
        said = [line.strip() for line in str(error).splitlines() if line.strip()]
        reasons = [line for line in said if not line.startswith("Failed in nopython mode")]
        return cls((reasons or ["Numba gives no reason"])[0])


_COMPILED: dict[str, Callable[[View, Unit], int]] = {}


def compile_policy(choose: Callable[[View, Unit], int]) -> Callable[[View, Unit], int]:
    """Return a policy's function compiled by Numba; its types are checked when it first runs.

    It compiles once for what it does: again after a global that it reads has changed, as Numba freezes those.
    """
    try:
        told = meaning(choose)
    except ValueError:  # it uses something that cannot be compared
        return transient(choose)
    if told not in _COMPILED:
        _COMPILED[told] = transient(choose)
    return _COMPILED[told]
