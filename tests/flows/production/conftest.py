"""A line of the method `rival` in an empty folder, and its nights through the command."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fabloom.flows.cli.main import main
from fabloom.flows.production.night import How
from fabloom.flows.production.spec import Spec
from fabloom.flows.run.api import open_store, run
from fabloom.kinds.store import Store
from fabloom.registry import Registry

HERE = Path(__file__).parent


class Line:
    """A folder with `data/grey`, a pipeline, a specification and a store."""

    def __init__(self, folder: Path, place: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._capfd, self._monkeypatch = folder, capfd, monkeypatch
        self.registry = Registry.load()
        (folder / "data").mkdir()
        self.grey(99)
        read = {"task": "rival.read", "params": {"path": "data"}}
        train = {"task": "rival.train", "inputs": {"images": "images"}}
        (folder / "pipeline.yaml").write_text(yaml.safe_dump({"name": "rivals", "steps": {"images": read, "model": train}}))
        self.content: dict[str, Any] = {
            "line": "unit",
            "pipeline": "pipeline.yaml",
            "challenger": "model",
            "evaluate": {"task": "rival.evaluate", "test": "ref:unit/heldout"},
            "gate": [{"metric": "score", "better": "up", "by": 0.01}],
            "options": {"device": "cpu"},
        }
        self.write()
        self.store: Store = open_store(place, self.registry)
        test = run({"name": "held", "steps": {"images": {**read, "seed": 9}}}, store=self.store, registry=self.registry, device="cpu")
        self.store.refs.set("unit/heldout", test["images"].key)
        self.grey(100)

    def grey(self, level: int, count: int = 20, defects: float = 0.5) -> None:
        """The day's data."""
        (self.folder / "data" / "grey").write_text(f"{level} {count} {defects}")

    def write(self, **changes: Any) -> Path:
        """Write the specification with some fields changed for good."""
        self.content |= changes
        path = self.folder / "retrain.yaml"
        path.write_text(yaml.safe_dump(self.content))
        return path

    @property
    def spec(self) -> Spec:
        return Spec.parse(self.content)

    def how(self, **more: Any) -> How:
        """To run a night in Python."""
        return How(self.registry, self.store, **more)

    def command(self, *arguments: str) -> tuple[int, str, str]:
        """`fabloom …` in this process: exit code, stdout, stderr."""
        self._capfd.readouterr()
        self._monkeypatch.setattr("sys.argv", ["fabloom", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0), *self._capfd.readouterr()

    def night(self, *arguments: str) -> dict[str, Any]:
        """`fabloom retrain retrain.yaml --json`, which must have exit code 0."""
        code, out, err = self.command("retrain", "retrain.yaml", "--engine", "inline", "--json", *arguments)
        assert code == 0, err
        found: dict[str, Any] = json.loads(out)
        return found

    def champion_file(self) -> bytes:
        """The champion's ref as it lies on the disk."""
        return (self.folder / "store" / "refs" / "unit" / "champion.json").read_bytes()


@pytest.fixture
def place() -> str:
    """Where the line's store is, as `--store` takes it; a test may have another one."""
    return "store"


@pytest.fixture
def line(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Line]:
    """A line, with the plugin installed beside this file."""
    info = tmp_path / "site" / "rival_plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rival-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fabloom.plugins]\nrival = rival_plugin\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("FABLOOM_STORE", place)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield Line(tmp_path, place, capfd, monkeypatch)
    for number, handler in handlers.items():
        signal.signal(number, handler)
