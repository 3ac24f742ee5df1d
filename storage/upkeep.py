"""What the commands `verify` and `gc` ask of a store. A store that has it gives it as `upkeep`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .backends.local import LocalStore
    from .verify import Health


class Upkeep(Protocol):
    """Holding a store against its manifests, and taking out the rubbish."""

    def verify(self, key: str | None = None) -> Health:
        """Hash every byte of one artifact, or of all."""
        ...

    def sweep(self) -> tuple[list[str], int]:
        """Remove what dead runs left, and old report pages: what went, and the bytes freed."""
        ...

    def unreferenced(self, older_than_days: float) -> list[str]:
        """Keys that neither a ref nor a living run reaches, and that were made more than so many days ago."""
        ...

    def collect(self, older_than_days: float) -> tuple[list[str], int]:
        """Remove what is unreferenced: the keys that went, and the bytes freed."""
        ...


class LocalUpkeep:
    """Of a store in a folder."""

    def __init__(self, store: LocalStore) -> None:
        self.store = store

    def verify(self, key: str | None = None) -> Health:
        """As `storage.verify`."""
        from .verify import verify

        return verify(self.store, key)

    def sweep(self) -> tuple[list[str], int]:
        """As `storage.gc`."""
        from .gc import sweep

        paths, freed = sweep(self.store)
        return [str(path) for path in paths], freed

    def unreferenced(self, older_than_days: float) -> list[str]:
        """As `storage.gc`."""
        from .gc import unreferenced

        return unreferenced(self.store, older_than_days)

    def collect(self, older_than_days: float) -> tuple[list[str], int]:
        """As `storage.gc`."""
        from .gc import collect

        return collect(self.store, older_than_days)
