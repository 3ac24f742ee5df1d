"""The one-shot methods that train a network and have no anchor, on a simulated line pair: what they cost, and how near samples come.

    python benchmarks/one_image.py [--size 96] [--seeds 3] [--steps 1000] [--count 8] [--only sinfusion singan singan/published ...]

CPU seconds of one thread, and ratios of one run, so that they hold on other machines: the distance of patches (sliced Wasserstein) is over
that of noise with the image's moments, with a mirror image and a copy beside it; means and deviations are over the image's. "nearest" is
the deviation from the image where it is shifted, up to a period each way, to where they differ least: 0 is a copy, 1.41 another image.
"grain" is the deviation of differences down the lines, over the image's. "rebuilt" is, of single-image GANs, the error of the image that a
fixed noise gives back at the finest scale, one number a seed, and of singan behind a slash that of the generators as they sample, which
differs by the gap of batch norms. "left" is, of diffusion models, what is left of what the network predicts at 0.3 and 0.6 of the noise
levels, a mean squared error: the specification asks for 0.05 of noise. Else mean and standard deviation over seeds.

The rows `METHOD/NAME` change something of the defaults: `published` of the GANs is the published network and recipe with 100 iterations
a scale and the grey levels stretched as in the default, `half` the default with 50.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Mapping
from typing import Any

os.environ.setdefault("FABLOOM_THREADS", "1")

import numpy as np
import torch
from torch import Tensor

import fabloom
from fabloom.kinds import Model
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.noise import target
from fabloom.plugins.blocks.patches import nearest, sliced_wasserstein
from fabloom.plugins.blocks.single_scale import Diffusion
from fabloom.plugins.one_shot.sindiffusion import generation as sindiffusion
from fabloom.plugins.one_shot.sinfusion import generation as sinfusion
from fabloom.plugins.one_shot.singan.sampling import Trained

CASES: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "sindiffusion": ({}, {}),
    "sindiffusion/ddim, 10 steps": ({}, {"scheduler": "ddim", "steps": 10}),
    "sindiffusion/rescale 0.1": ({"rescale": 0.1}, {}),
    "sindiffusion/rescale 0": ({"rescale": 0.0}, {}),
    "sindiffusion/epsilon": ({"prediction": "epsilon"}, {}),
    "sinfusion": ({}, {}),
    "sinfusion/ddim, 10 steps": ({}, {"scheduler": "ddim", "steps": 10}),
    "sinfusion/no average": ({"ema_decay": 0.0}, {}),
    "sinfusion/crop 0.5": ({"crop": 0.5}, {}),
    "singan": ({}, {}),
    "singan/half": ({"iterations": 50}, {}),
    "singan/published": ({"preset": "published", "stretch": True, "max_pixels": None, "iterations": 100}, {}),
    "consingan": ({}, {}),
    "consingan/half": ({"iterations": 50}, {}),
    "consingan/published": ({"preset": "published", "stretch": True, "max_pixels": None, "iterations": 100}, {}),
}
"""Row to parameters of training and of sampling."""
PERIOD = 20
"""Pixels that an image is shifted to find the nearest copy, each way."""


def simulated(store: Any, size: int) -> Any:
    """One image of lines with a bridge."""
    optics = {"pixel_nm": 12.5, "line_reflectance": 0.1, "ler_nm": 0.5, "grey_low": 60.7, "grey_high": 77.3, "noise_std": 0.6}
    simulator = fabloom.method("line-pair", store=store, device="cpu")
    return simulator.simulate(1, size=size, defects=["bridge"], defect_low=0.6, defect_share=1.0, **optics)


SCALES = {"sindiffusion": sindiffusion.SCALE, "sinfusion": sinfusion.SCALE}


@torch.no_grad()
def sampled(model: Model, pixels: Tensor) -> str:
    """The error of the image [1,1,H,W] as singan's generators give it back when they sample, over its deviation."""
    trained = Trained.load(model, torch.device("cpu"))
    real = trained.values.forward(pixels)
    return f"/{float((trained.chain.rebuilt(trained.sizes, trained.twin) - real).square().mean().sqrt() / real.std()):.3f}"


@torch.no_grad()
def left(name: str, model: Model, pixels: Tensor) -> str:
    """The loss of a diffusion model on the image [1,1,H,W] at 0.3 and 0.6 of its noise levels, over 16 draws of noise."""
    net, diffusion, errors = SCALES[name].load(model), Diffusion(**model.config["diffusion"]), []
    clean = GreyMap(*model.config["values"]).forward(pixels).expand(16, -1, -1, -1)
    for share in (0.3, 0.6):
        level = int(share * diffusion.times)
        noise, t = torch.randn(clean.shape, generator=torch.Generator().manual_seed(level)), torch.full((len(clean),), level)
        out = net(diffusion.noise.add_noise(clean, noise, t), t)
        errors.append(float((out - target(diffusion.noise, diffusion.prediction, clean, noise, t)).square().mean()))
    return " ".join(f"{error:.4f}" for error in errors)


def rebuilt(curves: Mapping[str, Any]) -> str:
    """The last error of the finest scale, of a training that logs one; a loop is named after its scale."""
    finest = max((name for name in curves if name.endswith("_rebuilt")), key=lambda name: int(name.split(".")[0].split("_")[1]), default="")
    return f"{curves[finest][-1][1]:.3f}" if finest else ""


def measured(x: Tensor, y: Tensor) -> dict[str, float]:
    """What the columns say of samples [N,1,H,W] and the image [1,1,H,W]."""
    noise = y.mean() + y.std() * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    far, shifts = float(sliced_wasserstein(noise, y).mean()), range(-PERIOD // 2, PERIOD // 2 + 1)
    off = torch.stack([(x - y.roll((down, across), (2, 3))).square().mean((1, 2, 3)) for down in shifts for across in shifts])
    coherence, completeness = nearest(x, y)
    return {
        "patches": float(sliced_wasserstein(x, y).mean()) / far,
        "mean": float((x.mean() - y.mean()) / y.std()),
        "deviation": float(x.std((1, 2, 3)).mean() / y.std()),
        "diversity": float(x.std(0).mean() / y.std()) if len(x) > 1 else 0.0,
        "nearest": float(off.min(0).values.sqrt().mean() / y.std()),
        "coherence": float(coherence.mean() / y.var()),
        "completeness": float(completeness.mean() / y.var()),
        "grain": float(x.diff(dim=2).std() / y.diff(dim=2).std()),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="training steps, of GANs a scale; default: the row's")
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--only", nargs="*", default=[name for name in CASES if "/" not in name], choices=CASES, metavar="ROW")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        store = fabloom.open_store(folder)
        images = simulated(store, given.size)
        pixels = torch.from_numpy(np.asarray(images.images)).float()
        low, high = float(pixels.min()), float(pixels.max())

        def scaled(values: Any) -> Tensor:
            return 2 * (torch.from_numpy(np.asarray(values)).float() - low) / (high - low) - 1

        image = scaled(images.images)
        names = list(measured(image, image))
        machine = f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
        print(f"{machine}, one thread, {given.size} px, {given.seeds} seeds, {given.count} samples each")
        print(f"| row | train, CPU s | CPU s a sample | rebuilt | left | {' | '.join(names)} |\n|---|---|---|---|---|{'---|' * len(names)}")
        for name, anchor in {"a copy": image, "its mirror image": image.flip(-1)}.items():
            print(f"| {name} | | | | | {' | '.join(f'{value:.3f}' for value in measured(anchor, image).values())} |")
        for row in given.only:
            method_name = row.partition("/")[0]
            method = fabloom.method(method_name, store=store, device="cpu")
            training, sampling = CASES[row]
            shorter = {} if given.steps is None else {"iterations" if "gan" in method_name else "steps": given.steps}
            arithmetic = {} if "gan" in method_name else {"precision": "fp32"}
            found, errors, rest = [], [], []
            for seed in range(given.seeds):
                began = time.process_time()
                model = method.train(images, **{**arithmetic, **training, **shorter}, seed=seed)
                trained = time.process_time()
                samples = method.sample(model, given.count, **{**arithmetic, **sampling}, seed=seed)
                spent = [trained - began, (time.process_time() - trained) / given.count]
                errors.append(
                    rebuilt(store.manifest(model.key).get("curves", {})) + (sampled(model, pixels) if method_name == "singan" else "")
                )
                rest.append(left(method_name, model, pixels) if method_name in SCALES else "")
                found.append([*spent, *measured(scaled(samples.images), image).values()])
            mean, spread = np.mean(found, 0), np.std(found, 0)
            cells = [f"{m:.3f} ± {s:.3f}" if given.seeds > 1 else f"{m:.3f}" for m, s in zip(mean[2:], spread[2:], strict=True)]
            print(f"| {row} | {mean[0]:.0f} | {mean[1]:.2f} | {' '.join(errors)} | {', '.join(rest)} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
