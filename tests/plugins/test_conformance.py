"""Our own methods against the kit that third parties get, first of all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fabloom import Context, ImageSet, Model, Report
from fabloom.plugins.blocks.overlay.maps import OverlayMaps
from fabloom.plugins.cross_domain.icddm.method import Icddm
from fabloom.plugins.cross_domain.kdcddm.method import Kdcddm
from fabloom.plugins.data.contact_hole.method import ContactHole
from fabloom.plugins.data.images.method import Images
from fabloom.plugins.data.line_pair.method import LinePair
from fabloom.plugins.data.overlay_map.method import OverlayMap
from fabloom.plugins.data.overlay_map.params import SimulateParams
from fabloom.plugins.data.sem_etch.method import SemEtch
from fabloom.plugins.data.sram_cell.method import SramCell
from fabloom.plugins.data.wafer_map.method import WaferMap
from fabloom.plugins.diffusion.autoencoder.method import Autoencoder
from fabloom.plugins.diffusion.ddpm.method import Ddpm
from fabloom.plugins.judge.curate.method import Curate
from fabloom.plugins.judge.leaderboard.method import Leaderboard
from fabloom.plugins.judge.memory_bank.method import MemoryBank
from fabloom.plugins.judge.quality.method import Quality
from fabloom.plugins.judge.reference_difference.method import ReferenceDifference
from fabloom.plugins.judge.samplers.method import Samplers
from fabloom.plugins.judge.score_maps.method import ScoreMaps
from fabloom.plugins.judge.unet.method import UNet
from fabloom.plugins.judge.unet.params import TrainParams
from fabloom.plugins.one_shot.consingan.method import ConSinGan
from fabloom.plugins.one_shot.copy_paste.method import CopyPaste
from fabloom.plugins.one_shot.gpdm.method import Gpdm
from fabloom.plugins.one_shot.gpnn.method import Gpnn
from fabloom.plugins.one_shot.inpaint.method import Inpaint
from fabloom.plugins.one_shot.noise_paste.method import NoisePaste
from fabloom.plugins.one_shot.sinddm.method import SinDdm
from fabloom.plugins.one_shot.sindiffusion.method import SinDiffusion
from fabloom.plugins.one_shot.sinfusion.method import SinFusion
from fabloom.plugins.one_shot.singan.method import SinGan
from fabloom.plugins.one_shot.sinsemi.method import SinSemi
from fabloom.plugins.one_step.consistency.method import Consistency
from fabloom.plugins.one_step.denoising_circuits.method import DenoisingCircuits
from fabloom.plugins.one_step.mean_flow.method import MeanFlow
from fabloom.plugins.overlay.ikddit.method import Ikddit
from fabloom.registry import Registry
from fabloom.storage.format.published import encoded, file_name
from fabloom.testing import MethodConformance, tiny_images


def lines(ctx: Context) -> ImageSet:
    """One image of vertical lines, 48 x 48."""
    x = np.arange(48)
    draw = np.random.default_rng(ctx.seed)
    image = 100 + 40 * np.cos(2 * np.pi * (x + 0.5) / 9) + draw.normal(0, 2, (1, 1, 48, 48))
    return ImageSet.write(ctx, image.round().astype(np.uint8))


def pair(ctx: Context) -> ImageSet:
    """A defect image and a clean one of the same lines, 40 x 40."""
    x = np.arange(40)
    draw = np.random.default_rng(ctx.seed)
    pixels = 100 + 40 * np.cos(2 * np.pi * (x + 0.5) / 10) + draw.normal(0, 2, (2, 1, 40, 40))
    masks = np.zeros((2, 40, 40), np.uint8)
    masks[0, 12:18, 20:26] = 1
    pixels[0, 0][masks[0] == 1] = 150
    return ImageSet.write(ctx, pixels.round().clip(0, 255).astype(np.uint8), masks=masks)


def place(ctx: Context) -> ImageSet:
    """A defect image and a clean one of the same place, 48 x 48, without a period."""
    y, x = np.mgrid[:48, :48]
    draw = np.random.default_rng(ctx.seed)
    pixels = 80 + 60 * (np.abs(y - x) < 6) + 40 * (y > 36) + draw.normal(0, 2, (2, 1, 48, 48))
    pixels[0, 0, 8:14, 28:35] = 170
    return ImageSet.write(ctx, pixels.round().clip(0, 255).astype(np.uint8), domain=np.array([1, 0], np.int8))


def clean(ctx: Context) -> ImageSet:
    """The clean half of the kit's tiny images."""
    lines = np.where(np.arange(32) % 8 < 4, 160.0, 90.0)
    pixels = lines + np.random.default_rng(ctx.seed).normal(0, 4, (6, 1, 32, 32))
    return ImageSet.write(ctx, pixels.round().clip(0, 255).astype(np.uint8), domain=np.zeros(6, np.int8))


def mapped(ctx: Context) -> ImageSet:
    """Eight images with masks and scores, the same whatever the seed."""
    draw = np.random.default_rng(0)
    masks = np.zeros((8, 20, 20), np.uint8)
    masks[::2, 5:9, 5:9] = 1
    scores = (0.5 * draw.random(masks.shape) + 0.4 * masks).astype(np.float16)
    return ImageSet.write(ctx, draw.integers(0, 255, (8, 1, 20, 20)).astype(np.uint8), masks=masks, scores=scores)


def small(ctx: Context) -> ImageSet:
    """Twelve images of lines, 16 x 16, every second with a defect."""
    draw = np.random.default_rng(ctx.seed)
    pixels = np.where(np.arange(16) % 4 < 2, 180, 60) + draw.integers(0, 6, (12, 1, 16, 16))
    pixels[1::2, :, 4:8, 4:8] = 240
    return ImageSet.write(ctx, pixels.astype(np.uint8), domain=(np.arange(12) % 2).astype(np.int8))


def both(ctx: Context) -> ImageSet:
    """24 images of lines, 16 x 16, every second with a spot."""
    draw = np.random.default_rng(ctx.seed)
    pixels = np.where(np.arange(16) % 4 < 2, 180, 60) + draw.integers(0, 6, (24, 1, 16, 16))
    pixels[1::2, :, 4:8, 4:8] = 240
    return ImageSet.write(ctx, pixels.astype(np.uint8), domain=(np.arange(24) % 2).astype(np.int8))


def score(ctx: Context) -> Report:
    """What quality.evaluate says of a method."""
    distance = {"raw": 0.01, "raw_ci": [0.009, 0.011], "sd": 0.002, "ratio": 1.0, "pair": 0.01, "ratio_ci": [0.9, 1.1]}
    found = {"count": 0.9, "count_ci": [0.8, 1.0], "share_one": 0.7, "lines": 4, "off_reference_share": 0.05}
    return Report.write(ctx, {"lpips_squeeze": distance, "defects": found, "copies": {"copy_share": 0.0}})


def overlay(ctx: Context) -> OverlayMaps:
    """Twelve wafers of four lots."""
    return OverlayMap().simulate(ctx, SimulateParams(count=12, size=16, wafers_per_lot=3))


def segmenter(ctx: Context) -> Report:
    """What unet.evaluate says of the U-Net trained on its images."""
    means = {"iou": 0.8, "iou_defect": 0.6, "iou_defect_moved": 0.5, "detection_rate_moved": 0.9, "false_alarm_rate_moved": 0.1}
    scores = means | {f"{name}_ci": [value - 0.1, value + 0.1] for name, value in means.items()} | {"iou_sd": 0.2}
    return Report.write(ctx, {"model": scores, "baseline": scores, "nothing": scores})


def untrained(ctx: Context) -> Model:
    """A segmenter that learned nothing."""
    return UNet().train(ctx, TrainParams(steps=0, decoder_channels=(16, 8, 8), batch=4), images=tiny_images(ctx))


class TestLinePair(MethodConformance):
    method = LinePair
    params = {"simulate": {"count": 6, "size": 32}}


class TestContactHole(MethodConformance):
    method = ContactHole
    params = {"simulate": {"count": 6, "size": 32}}


class TestSemEtch(MethodConformance):
    method = SemEtch
    params = {"simulate": {"count": 6, "references": True}}


class TestSramCell(MethodConformance):
    method = SramCell
    params = {"simulate": {"count": 6, "size": 80, "references": True}}


class TestWaferMap(MethodConformance):
    method = WaferMap
    params = {"simulate": {"count": 6, "size": 16, "references": True}}

    def task_params(self, task: str, folder: Path) -> Mapping[str, Any]:
        if task != "load":
            return super().task_params(task, folder)
        folder.mkdir(parents=True, exist_ok=True)
        dies = np.random.default_rng(0).integers(0, 3, (6, 9, 9)).astype(np.uint8)
        np.savez(folder / "maps.npz", arr_0=dies, arr_1=np.eye(6, 8, dtype=np.uint8))
        return {"path": str(folder / "maps.npz"), "size": 9, "count": 4}


class TestOverlayMap(MethodConformance):
    method = OverlayMap
    params = {"simulate": {"count": 6, "size": 16}, "split": {"part": "test"}}
    inputs = {"split": {"maps": overlay}}

    def task_params(self, task: str, folder: Path) -> Mapping[str, Any]:
        if task != "load":
            return super().task_params(task, folder)
        folder.mkdir(parents=True, exist_ok=True)
        marks = [
            (26 * c + x, 33 * r + y, x, y, f"{c}/{r}") for c in range(-4, 5) for r in range(-3, 4) for x in (-9, 0, 9) for y in (-12, 0, 12)
        ]
        rows = [f"W{w},{f},{X},{Y},{x},{y},{X / 40 + w},{y / 8},1,{w}" for w in (1, 2) for X, Y, x, y, f in marks if X * X + Y * Y < 147**2]
        (folder / "overlay.csv").write_text("\n".join(["wafer,field,X,Y,x,y,dx,dy,dx_previous,dy_previous", *rows]))
        (folder / "wafers.csv").write_text("wafer,barcode,dose [mJ/cm2]\nW1,T01|R1|L4|LOTA|W1,28\nW2,T01|R1|L4|LOTB|W2,\n")
        return {"path": str(folder), "size": 16}


class TestImages(MethodConformance):
    method = Images
    params = {
        "augment": {"count": 5, "flip_x": True, "noise": 2.0},
        "split": {"part": "train"},
        "tile": {"size": 8},
        "draw": {"defects": 1},
    }

    def task_params(self, task: str, folder: Path) -> Mapping[str, Any]:
        if task != "load":
            return super().task_params(task, folder)
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(3):
            pixels = np.random.default_rng(index).integers(0, 255, (16, 16)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.png")
        return {"path": str(folder)}


class TestDdpm(MethodConformance):
    method = Ddpm
    params = {
        "train": {"steps": 4, "batch": 4, "network": {"channels": [8, 16], "norm_groups": 4}, "classes": "domain"},
        "sample": {"count": 4, "steps": 2, "batch": 2},
    }
    inputs = {"train": {"images": small}}


class TestAutoencoder(MethodConformance):
    method = Autoencoder
    params = {"train": {"steps": 4, "batch": 4, "channels": [8, 8], "norm_groups": 4, "crop": None}}
    inputs = {"train": {"images": tiny_images}, "evaluate": {"images": tiny_images}}


class TestDenoisingCircuits(MethodConformance):
    method = DenoisingCircuits
    params = {
        "train": {
            "timesteps": 5, "patch": 2, "latent_channels": 8, "head_width": 8, "batch": 4,
            "base": {"channels": [8, 16], "steps": 4, "batch": 4},
            "stages": [{"steps": 2, "step_probs": [1]}, {"steps": 3, "step_probs": [0, 0.5, 0, 0, 0.5]}],
        },
        "record": {"count": 6, "batch": 3, "block": 2, "chunks": 2},
        "distill": {"steps": 4, "batch": 4},
        "sample": {"count": 4, "batch": 2},
        "compare": {"count": 8, "batch": 4},
    }  # fmt: skip
    inputs = {"train": {"images": small}, "compare": {"teacher": "train", "student": "distill", "reference": small}}

    def task_params(self, task: str, folder: Path) -> Mapping[str, Any]:
        if task != "read":
            return super().task_params(task, folder)
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(3):
            draw = np.random.default_rng(number)
            row = {name: draw.normal(size=(1, 8, 8)) for name in ("x_T", "x0")} | {
                "rin0_scale": np.ones(4),
                "r_chunks_scale": np.ones((2, 4)),
            }
            row |= {name: draw.integers(-9, 9, shape) for name, shape in (("rin0", (4, 4, 4)), ("r_chunks", (2, 4, 4, 4)))}
            (folder / file_name(number)).write_bytes(encoded(row, 10, 5))
        return {"path": str(folder)}


class TestMeanFlow(MethodConformance):
    method = MeanFlow
    params = {
        "train": {"steps": 4, "batch": 4, "network": {"channels": [8, 16], "norm_groups": 4}},
        "sample": {"count": 4, "steps": 2, "batch": 2},
    }
    inputs = {"train": {"images": small}}


class TestConsistency(MethodConformance):
    method = Consistency
    params = {
        "train": {"steps": 4, "batch": 4, "network": {"channels": [8, 16], "norm_groups": 4}, "first_points": 4, "last_points": 16},
        "sample": {"count": 4, "steps": 2, "batch": 2},
    }
    inputs = {"train": {"images": small}}


class TestReferenceDifference(MethodConformance):
    method = ReferenceDifference
    inputs = {"label": {"images": tiny_images, "reference": clean}}


class TestUNet(MethodConformance):
    method = UNet
    params = {
        "train": {"decoder_channels": [16, 8, 8], "steps": 4, "batch": 4, "repeats": 2},
        "evaluate": {"resamples": 100},
        "worth": {"resamples": 100, "cells": [{"recipe": "augmented", "size": 1}]},
    }
    inputs = {"worth": {"models": ["train"]}}


class TestMemoryBank(MethodConformance):
    method = MemoryBank
    inputs = {"fit": {"images": clean}, "segment": {"images": tiny_images, "model": "fit"}}


class TestScoreMaps(MethodConformance):
    method = ScoreMaps
    params = {
        "evaluate": {"resamples": 100, "entries": ["difference"]},
        "rank": {"resamples": 100, "entries": ["difference"]},
    }
    inputs = {
        "difference": {"images": tiny_images, "clean": tiny_images},
        "density": {"images": tiny_images},
        "evaluate": {"images": mapped, "maps": [mapped]},
        "rank": {"images": mapped, "maps": [mapped]},
    }


FAINT = {"false_alarms": 0.9, "min_area": 1, "outline": 0.95, "reach": 1.0}
"""Of a network that has learned nothing a difference is seen, and a small one."""
DOMAINS = {"steps": 4, "batch": 4, "network": {"channels": [8, 16], "norm_groups": 4}}


class TestIcddm(MethodConformance):
    method = Icddm
    params = {
        "train": DOMAINS,
        "detect": {"steps": 1, "batch": 5},
        "pair": {"steps": 1, "batch": 5, "depth": 0.75, **FAINT},
        "augment": {"steps": 1, "count": 4, "depth": 0.75, "fresh": 0.1, "smooth": 0.0, **FAINT},
    }
    inputs = {"train": {"images": both}, **{task: {"images": both, "model": "train"} for task in ("detect", "pair", "augment")}}


def teacher(ctx: Context) -> Model:
    """A cross-domain model that has seen four batches."""
    from fabloom.plugins.cross_domain.icddm.params import TrainParams as Domains

    return Icddm().train(ctx, Domains(**DOMAINS), images=both(ctx))  # type: ignore[arg-type]


class TestKdcddm(MethodConformance):
    method = Kdcddm
    params = {
        "record": {"steps": 1, "batch": 5, "block": 8},
        "distill": DOMAINS | {"critic_width": 4, "alone": 0.25, "adversarial_weight": 0.1},
        "detect": {"batch": 5},
        "pair": {"batch": 5, **FAINT},
    }
    inputs = {
        "record": {"images": both, "teacher": teacher},
        "distill": {"teacher": "record.teacher", "offline": "record"},
        **{task: {"images": both, "model": "distill"} for task in ("detect", "pair")},
    }


def overlay(ctx: Context) -> OverlayMaps:
    """Forty wafers of 16 x 16 of one fab, other ones for each seed."""
    from fabloom.plugins.data.overlay_map.params import SimulateParams as Fab

    return OverlayMap().simulate(ctx, Fab(count=40, size=16))


def later(ctx: Context) -> OverlayMaps:
    """Ten other wafers of that fab."""
    from fabloom.plugins.data.overlay_map.params import SimulateParams as Fab

    ctx.seed += 1
    return OverlayMap().simulate(ctx, Fab(count=10, size=16))


class TestIkddit(MethodConformance):
    method = Ikddit
    params = {
        "embed": {"steps": 4, "batch": 8, "width": 16, "layers": 1},
        "train": {"steps": 4, "batch": 4},
        "sample": {"members": 2, "steps": 3, "batch": 4, "mask_ratio": 0.5},
        "evaluate": {"members": 2},
    }
    inputs = {
        "embed": {"maps": overlay},
        "train": {"maps": overlay, "embedding": "embed"},
        "sample": {"maps": later, "model": "train"},
        "evaluate": {"training": overlay, "maps": "sample.maps", "samples": ["sample"]},
    }


class TestCurate(MethodConformance):
    method = Curate
    params = {
        "select": {"count": 6, "copy_below": None},
        "compare": {"resamples": 100, "cells": [{"arm": "closed loop", "round": 1}, {"arm": "control", "round": 1}]},
    }
    inputs = {"select": {"model": untrained}, "misses": {"model": untrained}, "compare": {"misses": ["misses", "misses"]}}


class TestSinSemi(MethodConformance):
    method = SinSemi
    params = {"train": {"steps": 4, "width": 8, "batch": 2}, "sample": {"count": 2, "steps": 2, "batch": 1}}
    inputs = {"train": {"images": lines}}


class TestSinDdm(MethodConformance):
    method = SinDdm
    params = {"train": {"steps": 4, "width": 8, "batch": 2, "anchor": "reference"}, "sample": {"count": 2, "steps": 2, "batch": 1}}
    inputs = {"train": {"images": place}}


class TestSinDiffusion(MethodConformance):
    method = SinDiffusion
    params = {"train": {"steps": 4, "mults": [1], "batch": 2}, "sample": {"count": 2, "steps": 2, "batch": 1}}
    inputs = {"train": {"images": lines}}


class TestSinFusion(MethodConformance):
    method = SinFusion
    params = {"train": {"steps": 4, "depth": 2, "width": 8}, "sample": {"count": 2, "steps": 2, "batch": 1}}
    inputs = {"train": {"images": lines}}


class TestCopyPaste(MethodConformance):
    method = CopyPaste
    params = {"sample": {"count": 4, "batch": 2}}
    inputs = {"train": {"images": pair}}


class TestGpnn(MethodConformance):
    method = Gpnn
    params = {"sample": {"count": 4, "batch": 2, "iterations": 2}}
    inputs = {"train": {"images": lines}}


class TestGpdm(MethodConformance):
    method = Gpdm
    params = {"sample": {"count": 4, "batch": 2, "steps": 2, "projections": 8}}
    inputs = {"train": {"images": lines}}


class TestSinGan(MethodConformance):
    method = SinGan
    params = {"train": {"iterations": 10, "width": 8, "lr": 0.02, "ratio": 0.4}, "sample": {"count": 4, "batch": 2}}
    inputs = {"train": {"images": lines}}


class TestConSinGan(MethodConformance):
    method = ConSinGan
    params = {"train": {"iterations": 20, "width": 16, "lr": 2e-3, "stages": 3}, "sample": {"count": 4, "batch": 2}}
    inputs = {"train": {"images": lines}}


class TestInpaint(MethodConformance):
    method = Inpaint
    params = {
        "train": {"steps": 4, "width": 8, "batch": 2, "copies": 2, "window": 24},
        "sample": {"count": 4, "batch": 2, "steps": 2, "shown": 0, "tighten": False},
    }
    inputs = {"train": {"images": pair}, "sample": {"images": pair, "masks": pair}}


class TestNoisePaste(MethodConformance):
    method = NoisePaste
    params = {"sample": {"count": 4, "batch": 2}}
    inputs = {"train": {"images": clean}, "sample": {"textures": small}}


class TestQuality(MethodConformance):
    method = Quality
    params = {"evaluate": {"resamples": 100, "nets": ["squeeze"], "shown": 2}}
    inputs = {"evaluate": {"images": pair, "reference": pair}}


class TestLeaderboard(MethodConformance):
    method = Leaderboard
    params = {"compare": {"entries": [{"method": "sinsemi"}, {"method": "loom"}], "shown": 2}}
    inputs = {
        "compare": {"reference": pair, "samples": [pair, pair], "quality": [score, score], "segmentation": [segmenter, segmenter]},
    }


def trivial(ctx: Context) -> Report:
    """What unet.evaluate says, as far as the table of samplers reads it."""
    return Report.write(ctx, {"model": {"iou_defect": 0.6}, "baseline": {"iou_defect": 0.9}})


class TestSamplers(MethodConformance):
    method = Samplers
    params = {"compare": {"entries": [{"title": "a", "evaluations": 1}, {"title": "b", "evaluations": 4}], "shown": 2}}
    inputs = {
        "compare": {
            "samples": [tiny_images, tiny_images], "labelled": [tiny_images, tiny_images], "segmentation": [trivial, trivial],
            "agreement": [],
        },
    }  # fmt: skip


def test_every_method_is_tested() -> None:
    tested = {value.method.name for value in globals().values() if isinstance(value, type) and value.__name__.startswith("Test")}
    assert tested == {name for name, origin in Registry.load().origins.items() if origin.distribution == "fabloom"}
