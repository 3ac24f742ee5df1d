"""A segmenter to ship: one graph from the pixels of a file to a mask, a card that says what it is, and a script that uses it."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabloom.errors import UserError
from fabloom.flows.run.as_trained import reading

from .models import OPSET, compare, described, method_of, needed, quiet, save_onnx, save_torch

if TYPE_CHECKING:
    from .job import Export

PARITY = 1e-4
"""Largest deviation of the graphs from the model, in probability."""
USAGE = "python example.py OUT IMAGE...: masks of images of 8 bits, in the folder OUT"
FILES = {"onnx": "segmenter.onnx", "torch_export": "segmenter.pt2"}
EXAMPLE = '''"""Masks of images of 8 bits: python example.py OUT IMAGE... needs onnxruntime, numpy and pillow alone."""
import json
import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime


def refuse(why):
    print(f"example.py: {why}", file=sys.stderr)
    sys.exit(2)


out, names = Path("".join(sys.argv[1:2])), [Path(name) for name in sys.argv[2:]]
masks = [out / f"{name.stem}.png" for name in names]
if not names or out.is_file() or out.resolve() in {name.resolve().parent for name in names} or len({*masks}) < len(masks):
    refuse("give OUT IMAGE...: a folder for the masks that holds none of the images, then images of different names")
for name in names:
    with Image.open(name) as image:
        if image.mode[0] in "IF" or ";16" in str(image.tile):
            refuse(f"{name} has more than 8 bits; map its grey levels to 0 to 255 first, as those of the training images were")
here = Path(__file__).parent
card = json.loads((here / "card.json").read_text(encoding="utf-8"))
session = onnxruntime.InferenceSession(here / card["files"]["onnx"], providers=["CPUExecutionProvider"])
out.mkdir(parents=True, exist_ok=True)
for name, path in zip(names, masks):
    pixels = np.atleast_3d(np.asarray(Image.open(name).convert("L" if card["channels"] == 1 else "RGB")))
    pixels = pixels[: len(pixels) - (card["reading"]["crop_bottom"] or 0)]  # the data bar, as in the training
    probability, mask = session.run(None, {"image": pixels.transpose(2, 0, 1)[None]})
    Image.fromarray(mask[0] * (255 if len(card["classes"]) == 2 else 1)).save(path)
    print(f"{name}: {(mask > 0).sum()} defect pixels, largest probability {probability.max():.4f}")
'''


def segmenter(job: Export) -> Callable[[Path], None]:
    """`segmenter.onnx`, `segmenter.pt2`, `card.json` and `example.py`: image uint8 [N,C,H,W] to probability and mask [N,H,W].

    Both graphs are run on images of another number and size and compared with the model. Raises UserError for a model whose method
    gives no complete network, EnvironmentProblem without the extra `onnx`. The card's `reading` says how files were read for the training:
    rows of a data bar to cut off, the range of grey, and the period of the structure in pixels.
    """
    method = method_of(job)
    complete = {name: network for name, network in method.networks(job.artifact).items() if network.card is not None}
    if not complete:
        raise UserError(f"--format segmenter: a model of {method.name} is no segmenter; give one that unet.train made, or take safetensors")
    needed("segmenter")
    (name, network), *_ = complete.items()

    def write(folder: Path) -> None:
        found = {}
        with job.progress(len(FILES), "graph") as bar, quiet():
            for (kind, file), save in zip(FILES.items(), (save_onnx, save_torch), strict=True):
                found[kind] = compare(name, network, save(network, folder / file), PARITY)
                bar.advance()
        card = {**(network.card or {}), **described(network), "files": FILES, "usage": USAGE, "opset": OPSET, "largest_difference": found}
        card["reading"] = reading(job.store, job.artifact.key) | {"pitch": job.artifact.config.get("pitch")}
        (folder / "card.json").write_text(json.dumps(card | origin(job), indent=2, ensure_ascii=False), encoding="utf-8")
        (folder / "example.py").write_text(EXAMPLE, encoding="utf-8")

    return write


def origin(job: Export) -> dict[str, Any]:
    """Where a model comes from, with room for the licence that its owner gives it."""
    packages = ("fabloom", "torch", "onnx", "onnxscript", "onnxruntime", "segmentation-models-pytorch", "timm")
    return {
        "model": {"key": job.artifact.key, "digest": job.artifact.digest},
        "training": dict(job.manifest["preimage"]),
        "created": job.manifest["created"],
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "licence": "",
    }
