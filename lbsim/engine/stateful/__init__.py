"""Cores that share something: buckets with owners, a flow table, locks; or whose reordering is measured."""

from lbsim.engine.stateful.bank import StatefulBank
from lbsim.engine.stateful.reference import StatefulReference
from lbsim.engine.stateful.sharing import MARK, NONE, WATCH, Sharing, spec_of

__all__ = ["MARK", "NONE", "WATCH", "Sharing", "StatefulBank", "StatefulReference", "spec_of"]
