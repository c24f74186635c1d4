"""The policy that a scenario names, and others that would do."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches

from lbsim.balancer import Policy, policies
from lbsim.scenario import ScenarioError


def policy_named(field: str, name: str) -> Policy:
    """Return the policy that a field names; raises ScenarioError, with the nearest one, if there is none."""
    known = policies()
    if name not in known:
        near = get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ScenarioError([f"{field}: {name!r} is none of {', '.join(sorted(known))}{hint}"])
    return known[name]


def such_as(fits: Callable[[Policy], bool]) -> str:
    """Return the names of the policies that would do."""
    return " or ".join(sorted(repr(name) for name, policy in policies().items() if fits(policy)))
