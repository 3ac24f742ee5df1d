"""What is raised on purpose shows one message in scripts and notebooks; everything else shows all of its frames."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import traceback
from typing import Any

import pytest

from fabloom.errors import DataError, FabloomError
from fabloom.frames import door


def inner(error: Exception) -> None:
    try:
        raise KeyError("deep")
    except KeyError as cause:
        raise error from cause


@door
def called(error: Exception) -> None:
    """What a user calls."""
    inner(error)


def test_a_deliberate_error_shows_the_callers_line_and_the_message() -> None:
    with pytest.raises(DataError) as caught:
        called(DataError("the folder is empty"))
    shown = "".join(traceback.format_exception(caught.value))
    assert [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)][1:] == ["opened"]
    assert "deep" not in shown and shown.endswith("fabloom.errors.DataError: the folder is empty\n")
    assert called.__doc__ == "What a user calls."


def test_any_other_error_keeps_its_frames_and_its_cause() -> None:
    with pytest.raises(ValueError, match="odd") as caught:
        called(ValueError("odd"))
    shown = "".join(traceback.format_exception(caught.value))
    assert "in inner" in shown and "deep" in shown


def test_a_notebook_shows_the_line_that_called_and_the_message() -> None:
    with pytest.raises(FabloomError) as caught:
        called(DataError("the folder is empty"))
    assert caught.value._render_traceback_()[1:] == ["DataError: the folder is empty"]
    assert caught.value._render_traceback_()[0].endswith('called(DataError("the folder is empty"))')


def test_a_notebook_shows_no_line_of_a_plugin_or_of_what_stands_between() -> None:
    """The frames of a plugin lie below fabloom's; those of contextlib between the caller's and fabloom's."""
    inside: dict[str, Any] = {"__name__": "fabloom.planning.made_up"}
    exec("def check(plugin):\n    plugin()\n    yield", inside)

    def plugin() -> None:
        raise DataError("the folder is empty")

    with pytest.raises(FabloomError) as caught, contextlib.contextmanager(inside["check"])(plugin):
        pass
    assert caught.value._render_traceback_()[0].endswith('contextlib.contextmanager(inside["check"])(plugin):')


def test_pythons_development_mode_keeps_every_frame() -> None:
    code = (
        "from fabloom.errors import UserError\nfrom fabloom.frames import door\n"
        "def deep(): raise UserError('no')\n@door\ndef shallow(): deep()\nshallow()"
    )
    plain, dev = (
        subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, check=False).stderr
        for flags in ([], ["-X", "dev"])
    )
    assert "in deep" in dev and "in deep" not in plain and "UserError: no" in plain
