"""Refs that are shared: each reading asks the remote, each change is written back."""

from __future__ import annotations

from pathlib import Path

from fabloom.storage.commit.manifest import write_durably
from fabloom.storage.refs import NAME, Refs

from .checks import check_history
from .remote import Remote


class RemoteRefs(Refs):
    """`refs/<name>.json` of the remote, worked on as a local copy. Of two writers at the same moment the last one wins."""

    def __init__(self, root: Path, remote: Remote) -> None:
        super().__init__(root)
        self._remote = remote

    def names(self) -> list[str]:
        """All refs of the remote."""
        found = [path.removeprefix("refs/") for path in self._remote.matching("refs/**") if path.endswith(".json")]
        return [name[:-5] for name in found if NAME.fullmatch(name[:-5])]

    def history(self, name: str) -> list[str]:
        """Keys the ref has pointed at, oldest first. Raises UserError for an unknown ref."""
        self._pull(name)
        return super().history(name)

    def set(self, name: str, key: str) -> None:
        """Point the ref at `key`, for everybody."""
        self._pull(name)
        super().set(name, key)
        self._push(name)

    def rollback(self, name: str) -> str:
        """Point the ref back at what it pointed at before, for everybody."""
        key = super().rollback(name)
        self._push(name)
        return key

    def _pull(self, name: str) -> None:
        if not NAME.fullmatch(name):
            return  # the base class says what is wrong with it
        local, data = self.root / f"{name}.json", self._remote.read(f"refs/{name}.json")
        if data is None:
            local.unlink(missing_ok=True)
            return
        check_history(name, data)
        local.parent.mkdir(parents=True, exist_ok=True)
        write_durably(local, data)

    def _push(self, name: str) -> None:
        self._remote.write(f"refs/{name}.json", (self.root / f"{name}.json").read_bytes())
