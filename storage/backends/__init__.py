"""Opens local folders as stores, through the same hook that serves other URL schemes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabloom.hooks import hookimpl

if TYPE_CHECKING:
    from .local import LocalStore


@hookimpl(tryfirst=True)
def fabloom_open_store(url: str, read_only: bool) -> LocalStore | None:
    """A path, or file://PATH. Anything else with a scheme is left to other plugins."""
    from .local import LocalStore

    scheme, separator, rest = url.partition("://")
    if separator and scheme != "file":
        return None
    return LocalStore(rest if separator else url, read_only=read_only)
