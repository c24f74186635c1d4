"""Cores that share something: buckets with owners, a flow table, locks; or whose reordering is measured."""

from lbsim.engine.stateful.bank import StatefulBank
from lbsim.engine.stateful.reference import StatefulReference
from lbsim.engine.stateful.sharing import spec_of
from lbsim.engine.stateful.state import MARK, NONE, WATCH, Sharing

__all__ = ["MARK", "NONE", "WATCH", "Sharing", "StatefulBank", "StatefulReference", "spec_of"]
