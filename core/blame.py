"""Where an error arose: the line of the method's own code, not that of the library it called."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

from .fingerprint import method_module


def located(error: BaseException, method: type) -> str:
    """The error with the innermost line of the method's package that led to it, or the innermost of all where none did."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _belongs(frame.filename, method)]
    place = "".join(f" (at {Path(frame.filename).name}:{frame.lineno}, in {frame.name})" for frame in (own or frames)[-1:])
    return f"{type(error).__name__}: {error}{place}"


def _belongs(file: str, method: type) -> bool:
    """Whether a file is the method's module, or of the package that holds it."""
    module, package = (getattr(sys.modules.get(name), "__file__", None) for name in (method.__module__, method_module(method)))
    within = package is not None and package.endswith("__init__.py") and Path(file).is_relative_to(Path(package).parent)
    return file == module or within
