"""Pretrained weights: a small table, looked up on this machine, else downloaded, checked by hash, never silently random."""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fabloom.errors import EnvironmentProblem, did_you_mean
from fabloom.progress import Messenger

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
VARIABLE = "FABLOOM_WEIGHTS_DIR"
OFFLINE = "FABLOOM_OFFLINE"
"""Set to anything but 0, nothing is fetched: what is missing is told at once instead of after a server's silence."""
TORCHVISION = "https://download.pytorch.org/models/"
TRUNKS: dict[str, str] = {"alex": "alexnet", "squeeze": "squeezenet1_1", "vgg": "vgg16"}
"""Trunk of each net of LPIPS, by its name in `TABLE`."""
SIFID_STEMS: dict[str, str] = {"sifid": "inception_v3", "sifid_nsfwjs": "inception_v3_nsfwjs"}
"""Name of each SIFID to its weights, the comparable one first."""
MEGABYTE = 1 << 20
SECONDS = 10
"""A server that is silent for so long is taken for out of reach."""


class MissingWeights(EnvironmentProblem):
    """Weights that are neither on this machine nor to be had; unlike damaged ones, a score may be left out for want of them."""


@dataclass(frozen=True)
class Entry:
    """Weights under the names of their torchvision module.

    `files` gives the names they are looked for under, and for each how its sha256 starts. `keep` are the prefixes of the
    tensors that are used, `url` is where the last of the files can be had, None where it is not for download.
    """

    files: Mapping[str, str]
    source: str
    keep: tuple[str, ...] = ("features.",)
    url: str | None = None


def torchvision(original: str, source: str, keep: tuple[str, ...] = ("features.",), **trimmed: str) -> Entry:
    """An entry of torchvision's `original`, whose name carries the first digits of its sha256 (torch.hub checks it so too).

    `trimmed` gives stem and sha256 of a safetensors file that holds only what is used.
    """
    smaller = {f"{stem}.safetensors": digest for stem, digest in trimmed.items()}
    digits = Path(original).stem.rpartition("-")[2]
    return Entry({**smaller, original: digits}, f"torchvision {source}", keep, TORCHVISION + original)


STEM = ("Conv2d_1a_3x3.", "Conv2d_2a_3x3.", "Conv2d_2b_3x3.")
"""The layers of Inception-v3 before its first max-pool."""

TABLE: dict[str, Entry] = {
    "squeezenet1_1": torchvision(
        "squeezenet1_1-b8a52dc0.pth",
        "SqueezeNet1_1_Weights.IMAGENET1K_V1",
        squeezenet1_1_features="b4a3f2f6d15fc11b34dde3e6462ea24cf02a61eea1815639421908894824ef24",
    ),
    "alexnet": torchvision(
        "alexnet-owt-7be5be79.pth",
        "AlexNet_Weights.IMAGENET1K_V1",
        alexnet_features="417b56ec089904a6a84b67f41622865eef7c010aa9015b42a92422f9d369a54f",
    ),
    "vgg16": torchvision("vgg16-397923af.pth", "VGG16_Weights.IMAGENET1K_V1"),
    "inception_v3": torchvision("inception_v3_google-0cc3c7bd.pth", "Inception_V3_Weights.IMAGENET1K_V1", STEM),
    "inception_v3_nsfwjs": Entry(
        {"inception_v3_stem_nsfwjs.safetensors": "853c98e7084e1366a002f49b8643c2a46cf1e34028b367df7faeb61b4a02849b"},
        "the stem of nsfwjs 4.4.0's Inception-v3: fine-tuned on other images and 8-bit, a stand-in for tests",
        STEM,
    ),
}


def load(name: str) -> dict[str, Tensor]:
    """The tensors of table entry `name` that are used (for a trunk `features.*`), float32 on the CPU.

    Looked for in the folder FABLOOM_WEIGHTS_DIR, then in torch hub's cache, then downloaded into that cache. Raises
    MissingWeights where they cannot be had, EnvironmentProblem where they are not the file of the table.
    """
    import torch

    path, content = verified(name)
    entry = TABLE[name]
    if path.suffix == ".safetensors":
        from safetensors.torch import load as parse

        state = parse(content)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    return {key: value for key, value in state.items() if key.startswith(entry.keep)}


def verified(name: str, messenger: Messenger | None = None) -> tuple[Path, bytes]:
    """The file of table entry `name`, downloaded where it is not on this machine, and its content, held against its hash.

    For `Method.prepare`: imports no torch, tells of a download with its pace, and raises as `load` does.
    """
    if name not in TABLE:
        raise EnvironmentProblem(f"weights '{name}' are not in the table.{did_you_mean(name, TABLE)}")
    path, expected = locate(TABLE[name]) or download(TABLE[name], messenger or Messenger())
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if not found.startswith(expected):
        raise EnvironmentProblem(f"{path} is damaged or another file: sha256 {found[:12]}..., wanted {expected[:12]}.... Replace it.")
    return path, content


def first(names: Iterable[str], take: Callable[[str], T]) -> tuple[str, T]:
    """The first of these entries that can be had, with what `take` (`load`, `verified`) gives. Raises MissingWeights where none can."""
    problems = []
    for name in names:
        try:
            return name, take(name)
        except MissingWeights as problem:
            problems.append(str(problem))
    raise MissingWeights(" ".join(problems))


def locate(entry: Entry) -> tuple[Path, str] | None:
    """The file of an entry on this machine, and how its sha256 starts; None where there is none."""
    for folder in _folders():
        for file, digits in entry.files.items():
            if (folder / file).is_file():
                return folder / file, digits
    return None


def download(entry: Entry, messenger: Messenger) -> tuple[Path, str]:
    """Fetch the original file into torch hub's cache. Raises MissingWeights that says where to put it by hand."""
    *_, folder = _folders()
    *_, (name, digits) = entry.files.items()
    why = "and they are not for download"
    if entry.url is not None:
        try:
            _fetch(entry.url, folder / name, digits, messenger)
        except (OSError, HTTPException) as error:  # no network, a server that refuses or breaks off, no room or right to write
            why = f"and {entry.url} could not be fetched ({error})"
        else:
            return folder / name, digits
    raise MissingWeights(
        f"weights {name} ({entry.source}) are not in {' or '.join(map(str, _folders()))}, {why}. "
        f"Put {' or '.join(entry.files)} into a folder and set {VARIABLE} to it."
    )


def _fetch(url: str, path: Path, expected: str, messenger: Messenger) -> None:
    """Whole or not at all: into a file beside, held against its hash, then renamed. Raises OSError."""
    if os.environ.get(OFFLINE, "0") not in ("", "0"):
        raise OSError(f"{OFFLINE} is set")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        part = Path(folder) / path.name
        with urllib.request.urlopen(url, timeout=SECONDS) as answer, part.open("wb") as file:  # noqa: S310 - https, from the table
            size = -(-int(answer.headers.get("Content-Length") or 0) // MEGABYTE)
            messenger.log(f"fetching {url} ({size} MB) into {path.parent}")
            digest = hashlib.sha256()
            with messenger.progress(size, unit="MB", name="fetching weights") as bar:
                while block := answer.read(MEGABYTE):
                    digest.update(block)
                    file.write(block)
                    bar.advance()
        if not digest.hexdigest().startswith(expected):  # a proxy's page, or a connection that was cut
            raise OSError(f"what came has the sha256 {digest.hexdigest()[:12]}..., wanted {expected[:12]}...")
        part.replace(path)


def _folders() -> Iterator[Path]:
    given = os.environ.get(VARIABLE)
    if given:
        yield Path(given).expanduser()
    cache = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch"
    yield Path(cache).expanduser() / "hub" / "checkpoints"  # torch.hub.get_dir(), without torch
