"""Every error fabloom raises on purpose.

    FabloomError                     exit code
    ├── UserError                    2   mended by editing the command, the pipeline or the data
    │   ├── PipelineError                grammar, types, names, cycles; carries the YAML path
    │   ├── DataError                    unreadable, mixed, empty or unsafe input data
    │   └── RefMoved                     somebody else moved a ref since it was read
    ├── EnvironmentProblem           3   device, weights, disk, permission
    │   └── PluginError                  a plugin that this pipeline needs is broken or collides
    ├── StepFailed                   1   a step's own code raised, or its process died
    ├── RunFailed                        a run in Python that did not end well: the code of its first failure
    ├── DamagedArtifact              1   bytes in the store are not the bytes that were committed
    └── Interrupted                130   stopped on request; a rerun goes on from the checkpoint

A message says what is wrong, where, why, and what to do about it.
"""

from __future__ import annotations

import difflib
import linecache
import traceback
from collections.abc import Iterable
from typing import Any

BETWEEN = ("IPython", "contextlib", "pydantic")
"""Packages between the caller's own lines and fabloom's."""


class FabloomError(Exception):
    """Base of all deliberate errors; `exit_code` is what the command line returns."""

    exit_code = 1

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the last line of the caller's own and the message, without the frames inside fabloom."""
        own = []
        for frame, line in traceback.walk_tb(self.__traceback__):
            package = str(frame.f_globals.get("__name__")).partition(".")[0]
            if package == "fabloom":  # below it are plugins and libraries, not the caller
                break
            if package not in BETWEEN:
                own.append((frame.f_code.co_filename, line))
        called = linecache.getline(*own[-1]).strip() if own else ""
        return [*([f"line {own[-1][1]}: {called}"] if called else []), f"{type(self).__name__}: {self}"]


class UserError(FabloomError):
    """Something the user can mend by editing the command, the pipeline or the data."""

    exit_code = 2


class PipelineError(UserError):
    """A pipeline that does not type-check. `path` is the place, as in `steps.student.inputs.offline`."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path


class DataError(UserError):
    """Input data that cannot be used: unreadable, empty, mixed sizes, NaN, unsafe."""


class RefMoved(UserError):
    """A ref does not point any more at what the caller decided against: decide again."""


class EnvironmentProblem(FabloomError):
    """The machine is at fault: device, weights, disk, permissions."""

    exit_code = 3


class PluginError(EnvironmentProblem):
    """A plugin that this pipeline needs cannot be used."""


class StepFailed(FabloomError):
    """A step raised or its process died. `step` is its name in the pipeline."""

    def __init__(self, step: str, message: str) -> None:
        super().__init__(f"step '{step}' failed: {message}")
        self.step = step


class RunFailed(FabloomError):
    """A run from Python in which a step failed or was stopped. `result` is its `RunResult`, `exit_code` that of the first failure."""

    def __init__(self, message: str, result: Any) -> None:
        super().__init__(message)
        self.result = result
        self.exit_code = int(result.exit_code)


class DamagedArtifact(FabloomError):
    """Stored bytes differ from the committed ones, or are missing."""


class Interrupted(FabloomError):
    """The run was asked to stop. Run the same command again to go on."""

    exit_code = 130


LONGEST = 200
"""Characters of a name that may be a slip of the pen: comparing takes their square and more."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """' Did you mean 'x'?' for the closest known name, else the list of what is known.

    >>> did_you_mean("tain", ["train", "sample"])
    " Did you mean 'train'?"
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6) if len(name) <= LONGEST else ()
    if close:
        return f" Did you mean '{close[0]}'?"
    return f" Known: {', '.join(names)}." if names else ""
