"""Choosing one of n targets: policies, written once, run by both engines."""

from lbsim.balancer.policies import Policy, Unit, View, coin, policies, policy

__all__ = ["Policy", "Unit", "View", "coin", "policies", "policy"]
