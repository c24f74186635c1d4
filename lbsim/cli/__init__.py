"""The command line: `lbsim run`, `sweep`, `figures`, `scorecard`, `report`, `bench`, `check` and so on.

Nothing heavy is imported before a command needs it, so `lbsim --help` answers at once. Exit codes: 0 fine,
1 a claim failed, 2 bad input, 3 some points failed, 130 interrupted.
"""

from lbsim.cli.app import main

__all__ = ["main"]
