"""A fabloom store for another URL scheme: `remote+` before any URL that fsspec can open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabloom import hookimpl

if TYPE_CHECKING:
    from .store import RemoteStore

PREFIX = "remote+"


@hookimpl
def fabloom_open_store(url: str) -> RemoteStore | None:
    """Open `remote+s3://bucket/prefix` and its like; None leaves every other URL to other plugins."""
    if not url.startswith(PREFIX):
        return None
    from .store import RemoteStore  # fsspec is imported only where it is used: listing commands stay light

    return RemoteStore(url)
