"""`python -m fabloom.flows` is the `fabloom` command."""

from fabloom.flows.cli.main import main

main()
