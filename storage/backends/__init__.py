"""Opens local folders and buckets as stores, through the same hook that serves other URL schemes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabloom.hooks import hookimpl

if TYPE_CHECKING:
    from fabloom.kinds.store import Store


@hookimpl(tryfirst=True)
def fabloom_open_store(url: str, read_only: bool) -> Store | None:
    """A path, or file://PATH; s3://BUCKET/PREFIX. Anything else with a scheme is left to other plugins."""
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "s3":
        from .objects.store import ObjectStore

        return ObjectStore(url, read_only=read_only)
    if separator and scheme != "file":
        return None
    from .local import LocalStore

    return LocalStore(rest if separator else url, read_only=read_only)
