"""`one-step-gpu` and `one-step-full`: the published run from one file, whole in miniature, and that every stage of the long one is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DModel
from PIL import Image

import fabloom
from fabloom.registry import Registry
from fabloom.storage.backends.local import LocalStore

SMALL = (
    "teacher.params.timesteps=12", "teacher.params.latent_channels=8", "teacher.params.rin_blocks=1", "teacher.params.step_blocks=1",
    "teacher.params.head_blocks=1", "teacher.params.head_width=8", "teacher.params.batch=2",
    "teacher.params.stages=[{steps: 1, step_probs: [0, 1]}, {steps: 1, step_probs: [0, 0, 0, 1]}]",
    "offline.params.count=20", "offline.params.batch=10", "student.params.steps=2", "student.params.batch=2",
    "recurrence.params.count=2", "synthetic.params.count=2", "agreement.params.count=8",
)  # fmt: skip


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load()


def colour_images(folder: Path) -> Path:
    """Eight files of 16 x 16 in colour."""
    folder.mkdir()
    draw = np.random.default_rng(0)
    for number in range(8):
        Image.fromarray(draw.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize("layout", ["averaged", "hub"])
def test_the_published_run_takes_both_layouts_of_its_backbone(registry: Registry, store: LocalStore, tmp_path: Path, layout: str) -> None:
    shape = {"in_channels": 3, "out_channels": 3, "sample_size": 16, "block_out_channels": (8, 16), "layers_per_block": 1,
             "norm_num_groups": 4, "down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}  # fmt: skip
    torch.manual_seed(0)
    net, base = UNet2DModel(**shape), tmp_path / "base"
    if layout == "averaged":
        net.save_pretrained(base / "unet_ema")
    else:
        net.save_config(base)
        torch.save(net.state_dict(), base / "diffusion_pytorch_model.bin")
    places = (f"images.params.path={colour_images(tmp_path / 'images')}", f"teacher.params.base_path={base}")
    result = fabloom.run("one-step-gpu", set=[f"steps.{change}" for change in (*places, *SMALL)], store=store, device="cpu")
    assert result.exit_code == 0
    config = result["teacher"].config
    assert (config["image"], config["circuit"]["carry"]) == ([3, 16, 16], False)
    kept = result["teacher"].state("circuit.rin.unet.")["conv_in.weight"]
    torch.testing.assert_close(kept, net.conv_in.weight.detach())
    assert np.asarray(result["synthetic"].images).shape == (2, 3, 16, 16)


def test_the_long_run_has_every_stage_of_the_method(registry: Registry) -> None:
    stages = registry.pipeline("one-step-full").steps["teacher"].params["stages"]
    chains = [len(stage["step_probs"]) - 1 for stage in stages]
    assert chains == [1, 3, registry.pipeline("one-step-full").steps["teacher"].params["timesteps"] - 1]
