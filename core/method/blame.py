"""Where foreign code may fail: an error that arises in a method names the method, and the line of its own code."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fabloom.errors import FabloomError, PluginError


def method_module(method: type) -> str:
    """The package that holds a method's module, or the module itself where it stands alone."""
    return method.__module__.rpartition(".")[0] or method.__module__


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


@contextmanager
def own_fault(method: type, place: str, doing: str) -> Iterator[None]:
    """What a method's own code raises amiss outside its tasks becomes an error that names the method."""
    try:
        yield
    except FabloomError:
        raise
    except Exception as error:
        named = f"{method.__module__}.{method.__qualname__}"
        raise PluginError(f"{place}: {named} fails while {doing}: {located(error, method)}. Tell its author.") from error
