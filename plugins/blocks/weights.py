"""Pretrained weights: a small table, looked up on this machine, checked by hash, never silently random."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fabloom.errors import EnvironmentProblem, did_you_mean

VARIABLE = "FABLOOM_WEIGHTS_DIR"


@dataclass(frozen=True)
class Entry:
    """Weights under the names of their torchvision module.

    `file` is a safetensors file with that `sha256`. `original` is the file of the source; its name carries the first digits
    of its sha256, which is how torch.hub checks it too.
    """

    file: str
    sha256: str
    original: str
    source: str


TABLE: dict[str, Entry] = {
    "squeezenet1_1": Entry(
        "squeezenet1_1_features.safetensors",
        "b4a3f2f6d15fc11b34dde3e6462ea24cf02a61eea1815639421908894824ef24",
        "squeezenet1_1-b8a52dc0.pth",
        "torchvision SqueezeNet1_1_Weights.IMAGENET1K_V1, convolutions only",
    ),
    "alexnet": Entry(
        "alexnet_features.safetensors",
        "417b56ec089904a6a84b67f41622865eef7c010aa9015b42a92422f9d369a54f",
        "alexnet-owt-7be5be79.pth",
        "torchvision AlexNet_Weights.IMAGENET1K_V1, convolutions only",
    ),
}


def load(name: str) -> dict[str, Tensor]:
    """The convolution weights `features.*` of table entry `name`, float32 on the CPU.

    Looked for in the folder FABLOOM_WEIGHTS_DIR, then in torch hub's cache. Raises EnvironmentProblem where they are not, or
    are not the file of the table.
    """
    if name not in TABLE:
        raise EnvironmentProblem(f"weights '{name}' are not in the table.{did_you_mean(name, TABLE)}")
    path, expected = locate(TABLE[name])
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if not found.startswith(expected):
        raise EnvironmentProblem(f"{path} is damaged or another file: sha256 {found[:12]}..., wanted {expected[:12]}.... Replace it.")
    if path.suffix == ".safetensors":
        from safetensors.torch import load as parse

        state = parse(content)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    return {key: value for key, value in state.items() if key.startswith("features.")}


def locate(entry: Entry) -> tuple[Path, str]:
    """The file of an entry, and how its sha256 starts. Raises EnvironmentProblem that says where to put it."""
    folders = list(_folders())
    for folder in folders:
        if (folder / entry.file).is_file():
            return folder / entry.file, entry.sha256
        if (folder / entry.original).is_file():
            return folder / entry.original, Path(entry.original).stem.rpartition("-")[2]
    raise EnvironmentProblem(
        f"weights {entry.file} ({entry.source}) are not in {' or '.join(map(str, folders))}. "
        f"Put that file, or torchvision's {entry.original}, into a folder and set {VARIABLE} to it."
    )


def _folders() -> Iterator[Path]:
    given = os.environ.get(VARIABLE)
    if given:
        yield Path(given).expanduser()
    yield Path(torch.hub.get_dir()) / "checkpoints"
