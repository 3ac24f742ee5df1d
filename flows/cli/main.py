"""The `fabloom` command: its groups of commands, and how it ends."""

from __future__ import annotations

from typing import Annotated

import typer

from fabloom.errors import EnvironmentProblem, FabloomError

from . import completing, deploying, export, init, installation, looking, new, plan, predict, production, refs, run, runs, shell, upkeep
from .leaving import leave, tell_lost, tell_system, tell_usage
from .output import LostOutput, say, settle, tell

UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""click's error for a command line that cannot be read, from the copy of click that typer uses."""

app = typer.Typer(
    name="fabloom",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Generative models for semiconductor inspection, as pipelines that can be believed.

    A few images of a structure go in; a trained generator, labelled synthetic defects and a *measured* segmenter come out.

    Start with `fabloom run one-step`, then `fabloom pipelines`, `fabloom tasks denoising-circuits.train`, `fabloom plan PIPELINE`.

    Exit codes: 0 fine, 1 a step failed, 2 mend the command, pipeline or data, 3 the machine is at fault, 130 interrupted.
    """,
)
for room in (run, plan, installation, init, predict, production, deploying, runs, shell, looking, upkeep, export, refs, new):
    app.add_typer(room.commands)  # in the order of `--help`


def _version(asked: bool) -> None:
    """Print the version and the contract that plugins are written for, and leave."""
    if asked:
        from fabloom import __version__
        from fabloom.registry import API

        say(f"fabloom {__version__} (plugin contract {'.'.join(map(str, API))})")
        raise typer.Exit


@app.callback()
def fabloom(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")] = False,
) -> None:
    """Options of the command as a whole; its help text is that of `app`."""


def main() -> None:
    """Entry point: errors become one line and an exit code."""
    settle()
    completing.ready()
    try:
        code = app(standalone_mode=False, prog_name="fabloom")  # gives the code of a typer.Exit back
        code = code if isinstance(code, int) else 0
    except FabloomError as error:
        from fabloom.registry.address import without_secrets

        tell(f"fabloom: {without_secrets(str(error))}")
        leave(error.exit_code)
    except UsageError as error:
        tell_usage(error)
        code = 2
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except MemoryError:
        tell("fabloom: out of memory. Ask for less, or free some.")
        code = EnvironmentProblem.exit_code
    except (LostOutput, BrokenPipeError) as error:
        code = tell_lost(error)
    except OSError as error:
        code = tell_system(error)
    if code == 130:
        tell("fabloom: stopped. Run the same command again to go on.")
    leave(code)
