"""The command line, one file a group of commands: each makes `commands`, a typer.Typer, and main.py names the file once."""
