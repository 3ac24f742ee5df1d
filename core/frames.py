"""One clear message in a script or a notebook: an error raised on purpose leaves by fabloom's door without the frames behind it.

    Traceback (most recent call last):
      File "mine.py", line 4, in <module>
        fabloom.run("one-step", set=["steps.teacher.params.stps=3"])
      File ".../fabloom/frames.py", line 42, in opened
        raise error.with_traceback(None) from None
    fabloom.errors.PipelineError: steps.teacher.params.stps: is not known here. Did you mean 'timesteps'?

What is said is what, where, why and what to do: the way to it inside fabloom is of no use to its reader. What was not raised on purpose
keeps every frame. `python -X dev` keeps them for all.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from .errors import FabloomError

P = ParamSpec("P")
T = TypeVar("T")


def door(function: Callable[P, T]) -> Callable[P, T]:
    """A function that users call: a FabloomError from below it is shown as if it were raised here."""

    @functools.wraps(function)
    def opened(*given: P.args, **named: P.kwargs) -> T:
        __tracebackhide__ = True  # pytest leaves the frame out
        try:
            return function(*given, **named)
        except FabloomError as error:
            if sys.flags.dev_mode:
                raise
            raise error.with_traceback(None) from None

    return opened
