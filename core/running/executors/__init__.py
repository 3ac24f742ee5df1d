"""Where steps run: `Executor`, and those that come with fabloom."""

from __future__ import annotations

from .inline import InlineExecutor
from .processes import ProcessExecutor
from .protocol import Executor

__all__ = ["Executor", "InlineExecutor", "ProcessExecutor"]
