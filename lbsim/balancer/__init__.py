"""Choosing one of n targets: policies, written once, run by both engines."""

from lbsim.balancer import choices, prequal, stale, weighted  # noqa: F401  (they register policies)
from lbsim.balancer.policies import Answer, Policy, Unit, View, coin, first, policies, policy

__all__ = ["Answer", "Policy", "Unit", "View", "coin", "first", "policies", "policy"]
