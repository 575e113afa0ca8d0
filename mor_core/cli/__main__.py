"""`python -m mor_core.cli` is the command `mor`."""

from mor_core.cli.cli import main

main()
