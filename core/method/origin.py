"""Who brought a method: entry point, distribution and version."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Origin:
    """Where something was registered from."""

    entry_point: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version} (entry point '{self.entry_point}')"

    @property
    def plugin(self) -> dict[str, str]:
        """Distribution and version, as a manifest and a request say them."""
        return {"distribution": self.distribution, "version": self.version}


NOWHERE = Origin("", UNKNOWN, UNKNOWN)
"""Of a task that was made by hand."""


@cache
def origin_of(module: str) -> Origin:
    """Of a method that nobody registered, as in a test: the distribution named like its package, version 'unknown' where there is none.

    One distribution is looked up by name; which package belongs to whom would take the metadata of all that is installed.
    """
    from importlib.metadata import PackageNotFoundError, version

    package = module.partition(".")[0]
    try:
        return Origin("", package, version(package))
    except PackageNotFoundError:
        return Origin("", package, UNKNOWN)
