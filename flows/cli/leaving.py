"""How the command ends where something is wrong: one line on stderr, and an exit code."""

from __future__ import annotations

import contextlib
import errno
import sys
from typing import Any, NoReturn

import typer

from fabloom.errors import EnvironmentProblem, UserError

from .output import tell, unwritten


def leave(code: int) -> NoReturn:
    """End with an exit code; what stdout holds is written out, or its loss told."""
    lost = unwritten()
    sys.exit(tell_lost(lost) if lost is not None and code == 0 else code)


def tell_lost(error: OSError) -> int:
    """Output that cannot be written: 3, but 1 and no word where whoever read it has had enough of it, as in `| head`."""
    if error.errno == errno.EPIPE:
        return 1
    tell(f"fabloom: the output cannot be written: {error.strerror}. Mend the disk, or write it elsewhere.")
    return EnvironmentProblem.exit_code


def tell_system(error: OSError) -> int:
    """What the system refused, and the exit code: 3 where the machine is to blame, 2 for a path that cannot be."""
    from fabloom.regular import STRANGE
    from fabloom.running.execute import code_of

    machine = code_of(error) == EnvironmentProblem.exit_code or error.errno in STRANGE
    place = "" if error.filename is None else f": {error.filename}"
    tell(f"fabloom: {error.strerror or error}{place}. {'Mend the disk or its permissions' if machine else 'Give another path'}.")
    return EnvironmentProblem.exit_code if machine else UserError.exit_code


def tell_usage(error: Any) -> None:
    """A command line that cannot be read, in one line; the help itself where no argument was given."""
    command = error.ctx.command_path if error.ctx is not None else "fabloom"
    if error.ctx is not None and type(error).__name__ == "NoArgsIsHelpError":
        with contextlib.suppress(OSError):
            typer.echo(error.ctx.get_help(), err=True)
    else:
        tell(f"fabloom: {error.format_message()} See `{command} --help`.")
