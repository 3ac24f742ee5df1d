"""`fabloom completion`: what makes a shell complete the command."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from .completing import VARIABLE
from .output import emit_json, put
from .shared import JsonOption, StoreOption

commands = typer.Typer()


@commands.command()
def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Print what makes a shell complete commands, options, pipelines, steps, tasks, refs and keys.

    bash: `eval "$(fabloom completion bash)"` in ~/.bashrc. zsh: the same in ~/.zshrc, after compinit. fish: write it to
    ~/.config/fish/completions/fabloom.fish.
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # typer does not list what it lends

    script = get_completion_script(prog_name="fabloom", complete_var=VARIABLE, shell=shell)
    if json_:
        emit_json({"shell": shell, "script": script})
    else:
        put(script)
