"""Refs that are shared: each reading asks the remote, each change is written back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fabloom.durable import write_durably
from fabloom.kinds.store import RefEntry
from fabloom.storage.refs import NAME, LocalRefs

from .checks import check_log
from .remote import Remote


class RemoteRefs(LocalRefs):
    """`refs/<name>.json` of the remote, worked on as a local copy. Of writers on two machines at the same moment the last one wins."""

    def __init__(self, root: Path, remote: Remote) -> None:
        super().__init__(root)
        self._remote = remote

    def names(self) -> list[str]:
        """All refs of the remote."""
        found = [path.removeprefix("refs/") for path in self._remote.matching("refs/**") if path.endswith(".json")]
        return [name[:-5] for name in found if NAME.fullmatch(name[:-5])]

    def log(self, name: str) -> list[RefEntry]:
        """Everything that happened to the ref, oldest first. Raises UserError for an unknown ref."""
        with self.alone():
            self.exists(name)
            return self.read(name)

    def exists(self, name: str) -> bool:
        """Bring the log of the remote here, or take away what the remote has not got. Called under the lock, before a log is read."""
        local, data = self.root / f"{self.checked(name)}.json", self._remote.read(f"refs/{name}.json")
        if data is None:
            local.unlink(missing_ok=True)
            return False
        check_log(name, data)
        local.parent.mkdir(parents=True, exist_ok=True)
        write_durably(local, data)
        return True

    def write(self, name: str, entries: Sequence[RefEntry]) -> None:
        """Take the changed log to the remote, for everybody."""
        super().write(name, entries)
        self._remote.write(f"refs/{name}.json", (self.root / f"{name}.json").read_bytes())
