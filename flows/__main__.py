"""`python -m fabloom.flows` is the `fabloom` command."""

from .cli import main

main()
