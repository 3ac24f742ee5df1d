"""Refs that are shared: each reading asks the remote, each change is written back."""

from __future__ import annotations

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
            self.fetch(name)
            return self.read(name)

    def fetch(self, name: str) -> None:
        """Bring the log of the remote here, or take away what the remote has not got."""
        if not self.safe(name):
            return  # reading it says what is wrong with the name
        local, data = self.root / f"{name}.json", self._remote.read(f"refs/{name}.json")
        if data is None:
            local.unlink(missing_ok=True)
            return
        check_log(name, data)
        local.parent.mkdir(parents=True, exist_ok=True)
        write_durably(local, data)

    def share(self, name: str) -> None:
        """Take the changed log to the remote, for everybody."""
        self._remote.write(f"refs/{name}.json", (self.root / f"{name}.json").read_bytes())
