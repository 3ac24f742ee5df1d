"""A shipped segmenter: one file from pixels to a mask, used without fabloom, as `unet.segment` would have done it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from fabloom.errors import UserError
from fabloom.flows.export.job import export_artifact
from fabloom.flows.export.segmenter import EXAMPLE
from fabloom.flows.run.as_trained import reading
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context, Method, task
from fabloom.params import Params
from fabloom.plugins.data.images.method import Images
from fabloom.plugins.data.line_pair.method import LinePair
from fabloom.plugins.judge.unet import exporting, networks
from fabloom.plugins.judge.unet.calibration import Choice, HeldOut
from fabloom.plugins.judge.unet.method import UNet
from fabloom.registry import Registry
from fabloom.storage.backends.local import LocalStore
from fabloom.testing.running import run_task as run

PARITY = 1e-4
ODD = ((33, 47), (9, 70), (64, 31))


class SizeParams(Params):
    height: int = 32
    width: int = 32


class Squares(Method):
    """Bright and dark squares on noise, as two classes."""

    name = "squares"

    @task(version=1)
    def make(self, ctx: Context, params: SizeParams) -> ImageSet:
        """Twelve images."""
        draw = np.random.default_rng(ctx.seed)
        pixels, masks = draw.normal(120, 9, (12, 1, params.height, params.width)), np.zeros((12, params.height, params.width), np.uint8)
        for row in range(12):
            y, x = draw.integers(0, params.height - 6), draw.integers(0, params.width - 6)
            masks[row, y : y + 6, x : x + 6] = row % 3
            pixels[row, 0, y : y + 6, x : x + 6] += (0, 70, -70)[row % 3]
        return ImageSet.write(ctx, pixels.clip(0, 255).astype(np.uint8), masks=masks, class_names=["clean", "bright", "dark"])


@dataclass(frozen=True)
class Shipped:
    """A model of two classes and two trainings, and the folder that it was exported to."""

    store: LocalStore
    model: Any
    folder: Path

    @property
    def card(self) -> dict[str, Any]:
        """What it says of itself."""
        found: dict[str, Any] = json.loads((self.folder / "card.json").read_text())
        return found

    def images(self, size: tuple[int, int]) -> ImageSet:
        """Images of another size than it was trained on."""
        return run(self.store, Squares, "make", {"height": size[0], "width": size[1]}, seed=sum(size))  # type: ignore[return-value]

    def probability(self, pixels: np.ndarray) -> np.ndarray:
        """Of a defect, as `unet.segment` computes it before it rounds to float16."""
        config = self.model.config
        x = (torch.from_numpy(pixels).float() - config["grey"][0]) * (2 / (config["grey"][1] - config["grey"][0])) - 1
        nets = networks.load(self.model, torch.device("cpu"))
        each = torch.stack([networks.outputs(net, x, config["depth"]).softmax(1) for net in nets]).mean(0)
        return (1 - each[:, 0]).numpy()


def a_tenth(held: HeldOut, *_: Any) -> Choice:
    """A threshold that a tenth of the held-out pixels is above: whatever few steps have taught, masks are neither empty nor full."""
    values = [held.sums[row] / held.counts[row] for row in held.sums]
    return Choice(round(float(np.quantile(values, 0.9)), 4), True, "a tenth is a defect")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    folder = tmp_path_factory.mktemp("shipped")
    store = LocalStore(folder / "store")
    params = {"encoder": "tu-resnet10t", "decoder_channels": [16, 8, 8], "steps": 12, "batch": 6, "repeats": 2, "validation": 0.5}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HeldOut, "choose", a_tenth)
        model = run(store, UNet, "train", params, inputs={"images": run(store, Squares, "make")})
    files = export_artifact(store, model.key, folder / "out", "segmenter", registry=Registry.load())
    assert files == ["artifact.json", "card.json", "example.py", "segmenter.onnx", "segmenter.pt2"]
    return Shipped(store, model, folder / "out")


def agrees(shipped: Shipped, outputs: Any, images: ImageSet) -> None:
    """Hold probability and mask against the model and against `unet.segment`."""
    probability, mask = (np.asarray(value) for value in outputs)
    wanted = shipped.probability(np.asarray(images.images))
    assert probability.dtype == np.float32 and mask.dtype == np.uint8 and probability.shape == mask.shape == wanted.shape
    assert np.abs(probability - wanted).max() < PARITY
    assert np.abs(probability - wanted[::-1]).max() > 100 * PARITY, "images differ by far more"
    found = run(shipped.store, UNet, "segment", {"min_area": 1, "precision": "fp32"}, inputs={"images": images, "model": shipped.model})
    sure = np.abs(wanted - shipped.card["threshold"]) > PARITY
    assert sure.mean() > 0.99 and mask.any()
    np.testing.assert_array_equal(mask[sure], np.asarray(found.masks)[sure])  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", ODD)
def test_onnx_gives_the_masks_of_predict(shipped: Shipped, size: tuple[int, int]) -> None:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    session = onnxruntime.InferenceSession(shipped.folder / "segmenter.onnx", providers=["CPUExecutionProvider"])
    images = shipped.images(size)
    agrees(shipped, session.run(None, {"image": np.asarray(images.images)}), images)


@pytest.mark.parametrize("size", ODD[:1])
def test_torch_export_gives_the_masks_of_predict(shipped: Shipped, size: tuple[int, int]) -> None:
    images = shipped.images(size)
    agrees(shipped, torch.export.load(shipped.folder / "segmenter.pt2").module()(torch.from_numpy(np.asarray(images.images))), images)


def test_openvino_gives_the_masks_of_predict(shipped: Shipped) -> None:
    openvino = pytest.importorskip("openvino", reason="openvino is no dependency; with its wheel installed it reads the ONNX file")
    compiled = openvino.Core().compile_model(shipped.folder / "segmenter.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    images = shipped.images(ODD[0])
    found = compiled({"image": np.asarray(images.images)})
    agrees(shipped, [found[0], found[1]], images)


ONE_BY_ONE = """
import contextlib, io, json, runpy, sys
told, calls, sys.argv[0] = [], json.loads(sys.argv[2]), sys.argv[1]
for given in calls:
    out, err, code, sys.argv[1:] = io.StringIO(), io.StringIO(), 0, given
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as end:
            code = end.code
    told.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(told))
"""


def examples(shipped: Shipped, folder: Path, *calls: tuple[str, ...]) -> list[tuple[int, str, str]]:
    """(code, stdout, stderr) of each call, in one Python where every library but its own three refuses to be imported."""
    (folder / "none").mkdir(exist_ok=True)
    for name in ("fabloom", "torch", "torchvision", "scipy", "skimage", "onnx", "pydantic", "zarr"):
        (folder / "none" / f"{name}.py").write_text(f"raise ImportError('{name} is not to be used')")
    command = [sys.executable, "-c", ONE_BY_ONE, str(shipped.folder / "example.py"), json.dumps(calls)]
    env = {**os.environ, "PYTHONPATH": str(folder / "none")}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [(code, out, err) for code, out, err in json.loads(done.stdout)]


def test_the_card_and_the_example_know_of_a_data_bar(shipped: Shipped, tmp_path: Path) -> None:
    """A model of images whose bar was cut off: the example cuts it off too, and gives the mask of the rest."""
    (tmp_path / "images").mkdir()
    pixels = np.asarray(shipped.images(ODD[0]).images)
    for number, one in enumerate(pixels):
        bar = np.zeros((9, one.shape[2]), np.uint8)
        bar[3:6, 1:-1:2] = 255
        Image.fromarray(np.concatenate([one.mean(0).astype(np.uint8), bar])).save(tmp_path / "images" / f"{number}.png")
    loaded = run(shipped.store, Images, "load", {"path": str(tmp_path / "images"), "info_bar": True, "colour": "keep"})
    assert reading(shipped.store, loaded.key) == {"crop_bottom": 9, "grey_range": [0.0, 255.0]}
    assert reading(shipped.store, shipped.model.key) == {"crop_bottom": 0, "grey_range": [0.0, 255.0]}, "the control: not from files"
    assert shipped.card["reading"]["crop_bottom"] == 0
    barred = tmp_path / "barred"
    shutil.copytree(shipped.folder, barred)
    (barred / "card.json").write_text(json.dumps(shipped.card | {"reading": {"crop_bottom": 9, "grey_range": [0.0, 255.0], "pitch": None}}))
    file = str(tmp_path / "images" / "0.png")
    for name, ship in (("whole", shipped), ("cut", Shipped(shipped.store, shipped.model, barred))):
        ((code, _, err),) = examples(ship, tmp_path, (str(tmp_path / name), file))
        assert code == 0, err
    high, cut = (np.asarray(Image.open(tmp_path / name / "0.png")).shape for name in ("whole", "cut"))
    assert high == (cut[0] + 9, cut[1]) and cut == pixels.shape[2:]


def test_the_example_needs_onnxruntime_numpy_and_pillow_alone(shipped: Shipped, tmp_path: Path) -> None:
    images = shipped.images(ODD[0])
    Image.fromarray(images.images[1][0]).save(tmp_path / "wafer 1.png")
    ((code, out, err),) = examples(shipped, tmp_path, ("deep/masks", "wafer 1.png"))
    assert code == 0, err
    assert [path.name for path in (tmp_path / "deep" / "masks").iterdir()] == ["wafer 1.png"]
    mask = np.asarray(Image.open(tmp_path / "deep" / "masks" / "wafer 1.png"))
    assert mask.shape == ODD[0] and set(np.unique(mask)) <= {0, 1, 2}
    assert f"{(mask > 0).sum()} defect pixels" in out
    assert f"{shipped.probability(np.asarray(images.images[1:2])).max():.3f}"[:-1] in out
    assert len([line for line in EXAMPLE.splitlines() if line.strip()]) <= 30


def test_the_example_refuses_what_it_would_get_wrong(shipped: Shipped, tmp_path: Path) -> None:
    """In one line, before anything is written; 8 bits of the same picture, in grey or colour, are taken."""
    ramp = np.arange(256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(ramp.astype(np.uint8)).save(tmp_path / "grey.png")
    Image.fromarray(np.stack([ramp] * 3, 2).astype(np.uint8)).save(tmp_path / "colour.tif")
    Image.fromarray(ramp * 200).save(tmp_path / "deep.png")
    Image.fromarray(ramp.astype(np.float32)).save(tmp_path / "real.tif")
    tifffile.imwrite(tmp_path / "deep colour.tif", np.stack([ramp * 200] * 3, 2), photometric="rgb")
    (tmp_path / "other").mkdir()
    Image.fromarray(ramp.astype(np.uint8)).save(tmp_path / "other" / "grey.png")
    before = sorted(tmp_path.rglob("*.*"))
    refused = [
        ("deep.png has more than 8 bits", ("out", "grey.png", "deep.png")),
        ("real.tif has more than 8 bits", ("out", "real.tif")),
        ("deep colour.tif has more than 8 bits", ("out", "deep colour.tif")),
        ("OUT IMAGE", (".", "grey.png")),
        ("OUT IMAGE", ("other/..", "other/grey.png", "grey.png")),
        ("OUT IMAGE", ("out", "grey.png", "other/grey.png")),
        ("OUT IMAGE", ("grey.png", "colour.tif")),
        ("OUT IMAGE", ("grey.png",)),
        ("OUT IMAGE", ()),
    ]
    for (word, _), (code, out, err) in zip(refused, examples(shipped, tmp_path, *(call for _, call in refused)), strict=True):
        assert code == 2 and word in err and len(err.splitlines()) == 1 and not out, err
    assert not (tmp_path / "out").exists()
    assert [path for path in sorted(tmp_path.rglob("*.*")) if path.parent.name != "none"] == before
    ((code, _, err),) = examples(shipped, tmp_path, ("out", "grey.png", "colour.tif"))
    assert code == 0 and {path.name for path in (tmp_path / "out").iterdir()} == {"grey.png", "colour.png"}, err


def test_the_card_says_what_it_is(shipped: Shipped) -> None:
    card, config = shipped.card, shipped.model.config
    assert card["classes"] == ["clean", "bright", "dark"] and card["threshold"] == config["threshold"] and card["trainings"] == 2
    assert card["threshold_choice"] == config["threshold_choice"] and card["model"]["key"] == shipped.model.key
    assert "OUT IMAGE" in card["usage"] and card["usage"].split(":")[0] in EXAMPLE
    assert card["training"]["task"] == "unet.train" and card["licence"] == "" and card["versions"]["torch"]
    assert [entry["shape"] for entry in card["inputs"]] == [["batch", 1, "height", "width"]]
    assert [entry["dtype"] for entry in card["inputs"]] == ["uint8"] and max(card["largest_difference"].values()) < PARITY
    assert [entry["name"] for entry in card["outputs"]] == ["probability", "mask"]


@pytest.mark.parametrize("encoder", [{"decoder_channels": [16, 8, 8]}, {"encoder": "milesial"}], ids=str)
def test_a_complete_network_of_one_class_is_segment(shipped: Shipped, encoder: dict[str, Any]) -> None:
    """Without the graph: scaling, padding and threshold, of the published network too."""
    lines = run(shipped.store, LinePair, "simulate", {"count": 4, "size": 20})
    model = run(shipped.store, UNet, "train", {"steps": 0} | encoder, inputs={"images": lines})
    assert isinstance(model, Model) and isinstance(lines, ImageSet)
    probability, mask = exporting.networks(model)["segmenter"].module(torch.from_numpy(np.asarray(lines.images)))
    found: Any = run(shipped.store, UNet, "segment", {"min_area": 1, "precision": "fp32"}, inputs={"images": lines, "model": model})
    assert np.abs(probability.numpy() - np.asarray(found.scores, np.float32)).max() < 5e-4, "half of a step of float16"
    sure = np.abs(probability.numpy() - 0.5) > PARITY
    np.testing.assert_array_equal(mask.numpy()[sure], np.asarray(found.masks)[sure])


def test_a_model_that_is_no_segmenter_is_refused(shipped: Shipped, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="segmenter"):
        export_artifact(shipped.store, shipped.images(ODD[0]).key, tmp_path / "out", "segmenter")
    assert not list(tmp_path.iterdir())
