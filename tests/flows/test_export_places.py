"""Where an export may go: a place where no folder can be is refused with nothing made, and an odd name is a name."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fabloom.errors import FabloomError, UserError
from fabloom.flows.cli.main import main
from fabloom.flows.export.job import export_artifact
from fabloom.kinds import Artifact, ImageSet
from fabloom.registry import Registry
from fabloom.storage.backends.local import LocalStore
from fabloom.testing.running import write_artifact
from fabloom.testing.tiny import tiny_images


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[LocalStore, Artifact]:
    store = LocalStore(tmp_path_factory.mktemp("places") / "store")
    return store, write_artifact(store, tiny_images)


@pytest.mark.parametrize("name", ["a" * 256, "new/deep/" + "a" * 256, "a/" * 2100 + "b", "file/x", "loop/x", "dangling", "file", "link"])
def test_a_place_where_no_folder_can_be_is_refused_and_nothing_made(name: str, images: tuple[LocalStore, Artifact], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for link, to in (("loop", "loop"), ("dangling", "nowhere"), ("link", "empty")):
        (tmp_path / link).symlink_to(to)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=r"Give another folder|give a new one"):
        export_artifact(images[0], images[1].key, tmp_path / name, registry=Registry())
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["a" * 255, os.fsdecode(b"caf\xe9"), "a\nb", "\x1b[31m", "new/deep"])
def test_an_odd_name_is_a_name(
    name: str, images: tuple[LocalStore, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for form, more in (("text", []), ("json", ["--json"])):
        folder = tmp_path / form / name
        monkeypatch.setattr("sys.argv", ["fabloom", "export", images[1].key, str(folder), "--store", images[0].url, *more])
        with pytest.raises(SystemExit) as left:
            main()
        done = capfd.readouterr()
        assert not left.value.code and (folder / "artifact.json").is_file() and "\x1b[31m" not in done.out + done.err
    assert json.loads(done.out)["folder"] == str(folder)


def test_what_a_writer_did_not_expect_is_told_and_leaves_nothing(
    images: tuple[LocalStore, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An artifact that is not as its kind writes it, with right hashes all the same."""
    monkeypatch.setattr(ImageSet, "mask_names", 7)
    with pytest.raises(FabloomError, match=r"cannot be written as coco: TypeError: .* \(at images.py:\d+, in .*fabloom verify"):
        export_artifact(images[0], images[1].key, tmp_path / "new" / "out", "coco", registry=Registry())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("instead", ["device", "FIFO", "longer", "folder", "nothing"])
def test_a_copy_of_the_group_ends_whatever_stands_in_the_place_of_a_file(instead: str, tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    made = write_artifact(store, tiny_images)
    (path,) = store.folder(made.key).glob("**/images/zarr.json")
    path.parent.chmod(0o700)  # what is committed may not be written
    content = path.read_bytes()
    path.unlink()
    if instead == "device":
        path.symlink_to("/dev/zero")
    elif instead == "FIFO":
        os.mkfifo(path)
    elif instead == "longer":
        path.write_bytes(content + bytes(1 << 24))
    elif instead == "folder":
        path.mkdir()
    command = [sys.executable, "-c", EXPORT, str(store.root), made.key, str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, preexec_fn=bounded)
    assert "is not what was committed" in done.stdout, done.stderr[-1000:]
    assert not (tmp_path / "out").exists()


EXPORT = """
import sys
from fabloom.errors import DamagedArtifact
from fabloom.flows.export.job import export_artifact
from fabloom.registry import Registry
from fabloom.storage.backends.local import LocalStore
try:
    export_artifact(LocalStore(sys.argv[1], read_only=True), sys.argv[2], sys.argv[3], "zarr", registry=Registry())
except DamagedArtifact as error:
    print(error)
"""


def bounded() -> None:
    """No file of the process grows beyond 64 MiB, and what asks for it is an error."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 26, 1 << 26))
