"""`python -m lbsim` is the command line."""

from lbsim.cli import main

main()
