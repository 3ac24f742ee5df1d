"""SinSEMI: our training against a plain loop of the published recipe, to the same velocity loss and the same sliced Wasserstein.

    FABLOOM_DATA_DIR=... python benchmarks/one_shot_training.py [--published-minutes 45] [--ours-steps 3000]

The plain loop is the published recipe as the specification states it: fp32, width 160, batch 32, Adam 1e-4, gradient norm 1, whole
scales, velocity target with |c| <= 2; it trains all scales (the released code forgets one) and bounds c with its sign. Ours is the
preset `small`. CPU seconds of one torch thread. The loss is the velocity's mean squared error at fixed (t, z, noise ends) that no
training saw, per scale, against the exact derivative of the path for t in [0.05, 0.95]; at the coarsest scale a large part of it
cannot be predicted by anyone, so the best possible value is printed beside. Samples of both come from the same sampler.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from fabloom.plugins.blocks.anchor import Anchor, fitting, zooms_of
from fabloom.plugins.blocks.ema import ema
from fabloom.plugins.blocks.lattice import Lattice
from fabloom.plugins.blocks.one_shot import Picture
from fabloom.plugins.blocks.patches import sliced_wasserstein
from fabloom.plugins.blocks.pyramid import Size, scale_sizes
from fabloom.plugins.blocks.scale_network import ScaleNetwork
from fabloom.plugins.blocks.scale_training import course
from fabloom.plugins.blocks.streams import streams
from fabloom.plugins.one_shot.sinsemi import levels, training
from fabloom.plugins.one_shot.sinsemi.bridge import Bridge
from fabloom.plugins.one_shot.sinsemi.params import SampleParams, TrainParams
from fabloom.plugins.one_shot.sinsemi.sampling import Sampler, Trained
from fabloom.precision import autocast, choose

CPU = torch.device("cpu")
BRIDGE = Bridge(0.35)
HELD_OUT = 16
SAMPLES, STEPS = 16, 20


@dataclass
class Curve:
    """CPU seconds of training and the held-out loss of every scale at that time."""

    seconds: list[float]
    losses: list[list[float]]

    def reached(self, goal: list[float]) -> float | None:
        """First time at which every scale is at or below the goal."""
        for at, losses in zip(self.seconds, self.losses, strict=True):
            if all(loss <= wanted for loss, wanted in zip(losses, goal, strict=True)):
                return at
        return None


def no_clean_image(pixels: np.ndarray, sizes: Sequence[Size]) -> Sequence[Tensor]:
    """A lattice alone anchors here."""
    raise NotImplementedError


@dataclass
class Contender:
    """A network in training, and how its output is read."""

    net: nn.Module
    params: TrainParams
    anchor: Anchor
    scales: levels.Levels

    @property
    def contexts(self) -> list[Tensor | None]:
        return self.anchor.contexts(zooms_of(self.scales.sizes), self.scales.sizes, no_clean_image)

    @property
    def arithmetic(self) -> torch.autocast:
        return autocast(CPU, choose(self.params.precision, CPU).used)

    def trained(self, net: nn.Module) -> Trained:
        return Trained(net, BRIDGE, self.params.prediction, self.params.time_unit, self.scales, CPU, self.arithmetic)


def published_loop(one: Contender) -> Iterator[nn.Module]:
    """The published recipe, written out: one image, 32 times, fresh t, z and noise ends."""
    optimizer = torch.optim.Adam(one.net.parameters(), lr=1e-4)
    draw = torch.Generator().manual_seed(0)
    while True:
        scale = int(torch.randint(len(one.scales.images), (), generator=draw))
        x0 = one.scales.images[scale].expand(32, -1, -1, -1)
        recon = one.scales.recons[scale]
        x1 = torch.randn(x0.shape, generator=draw) if recon is None else recon.expand(32, -1, -1, -1)
        t, z = torch.rand(32, 1, 1, 1, generator=draw), torch.randn(x0.shape, generator=draw)
        x = (1 - t) * x0 + t * x1 + 0.35 * (t * (1 - t)).sqrt() * z
        target = x1 - x0 + 0.35 * ((1 - 2 * t) / (2 * (t * (1 - t)).sqrt() + 0.01)).clamp(-2, 2) * z
        loss = (one.net(x, t.flatten(), torch.full((32,), scale)) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(one.net.parameters(), 1.0)
        optimizer.step()
        yield one.net  # the published average is a copy during the first 2000 iterations


def our_loop(one: Contender) -> Iterator[nn.Module]:
    """What `sinsemi.train` does in its loop."""
    average = ema(one.net, one.params.ema_decay)
    optimizer = torch.optim.Adam(one.net.parameters(), lr=one.params.lr)
    rate = course(one.params, optimizer)
    draw = torch.Generator().manual_seed(0)
    forward = one.arithmetic(one.net)
    for _ in range(one.params.steps):
        batch = training.draw_batch(one.params, one.scales, one.contexts, draw)
        loss = training.batch_loss(one.params, BRIDGE, forward, batch, CPU)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(one.net.parameters(), one.params.grad_clip)
        optimizer.step()
        rate.step()
        average.update_parameters(one.net)
        yield average.module


@torch.no_grad()
def held_out(one: Contender, net: nn.Module) -> list[float]:
    """Velocity loss of every scale on noise that is the same for everybody."""
    trained, found = one.trained(net), []
    for scale, (image, recon, context) in enumerate(zip(one.scales.images, one.scales.recons, one.contexts, strict=True)):
        draw = torch.Generator().manual_seed(1000 + scale)
        errors = []
        for t in torch.linspace(0.05, 0.95, HELD_OUT):
            z = torch.randn(image.shape, generator=draw)
            x1 = torch.randn(image.shape, generator=draw) if recon is None else recon
            x = BRIDGE.point(image, x1, t, z)
            exact = x1 - image + 0.35 * (1 - 2 * t) / (2 * (t * (1 - t)).sqrt()) * z
            out = trained.evaluate(x, float(t), scale, context)
            if one.params.prediction == "drift":
                out = BRIDGE.velocity_of(BRIDGE.clean("drift", out, x, t, recon), x, t, recon)
            errors.append(float((out - exact).square().mean()))
        found.append(float(np.mean(errors)))
    return found


def floor(scales: levels.Levels) -> list[float]:
    """The least possible loss: known ends tell everything; at the coarsest scale two noises share one x_t."""
    lowest = []
    for t in torch.linspace(0.05, 0.95, HELD_OUT):
        factor = 0.35 * (1 - 2 * t) / (2 * (t * (1 - t)).sqrt())
        joint = t + factor * 0.35 * (t * (1 - t)).sqrt()  # covariance of u and x_t
        lowest.append(float(1 + factor**2 - joint**2 / BRIDGE.variance(t)))
    return [float(np.mean(lowest)), *[0.0 for _ in scales.images[1:]]]


def follow(one: Contender, loop: Iterator[nn.Module], every: int, enough: Callable[[float, int], bool]) -> tuple[nn.Module, Curve]:
    """Run a loop, timing training only."""
    curve, spent, net = Curve([], []), 0.0, one.net
    for step in range(10**9):
        began = time.process_time()
        net = next(loop, net)
        spent += time.process_time() - began
        done = enough(spent, step + 1)
        if (step + 1) % every == 0 or done:
            curve.seconds.append(spent)
            curve.losses.append(held_out(one, net))
            print(f"  {step + 1} steps, {spent:.0f} CPU s, loss by scale {[round(v, 4) for v in curve.losses[-1]]}", flush=True)
        if done:
            break
    return net, curve


def quality(one: Contender, net: nn.Module) -> float:
    """Sliced Wasserstein of 7 x 7 patches between samples and the training image, in the image's standard deviations."""
    params = SampleParams.model_validate({"precision": one.params.precision})
    net.eval()
    sampler = Sampler(one.trained(net), params, one.scales.sizes, one.contexts, [STEPS] * len(one.scales.sizes), None)
    made = sampler.generate(streams(0, range(SAMPLES)))
    return float(np.mean([float(sliced_wasserstein(image[None], one.scales.images[-1])) for image in made]))


def contender(pixels: np.ndarray, params: TrainParams) -> Contender:
    picture = Picture(pixels, 1)
    size, _ = fitting(picture, params.max_pixels)
    sizes = scale_sizes(size, params.area, params.ratio)
    anchor = Anchor() if params.anchor == "none" else Anchor(Lattice.fit(picture.grey))
    scales = levels.build(pixels, sizes, normalise=params.normalise, quantise=params.quantise)
    torch.manual_seed(0)
    return Contender(ScaleNetwork(1, params.width, anchor.channels), params, anchor, scales)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--published-minutes", type=float, default=45)
    parser.add_argument("--ours-steps", type=int, default=3000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with Image.open(Path(os.environ["FABLOOM_DATA_DIR"]) / "line_pair" / "bridge_defect.png") as file:
        pixels = np.asarray(file.convert("L"))[None]
    ours = contender(pixels, TrainParams(steps=given.ours_steps))
    theirs = contender(pixels, TrainParams.model_validate({"preset": "published"}))
    print(f"{platform.machine()}, torch {torch.__version__}, one thread; least possible loss {[round(v, 4) for v in floor(ours.scales)]}")
    print("published recipe, plain loop")
    their_net, their_curve = follow(theirs, published_loop(theirs), 20, lambda spent, _: spent > 60 * given.published_minutes)
    their_swd = quality(theirs, their_net)
    print("ours")
    our_net, our_curve = follow(ours, our_loop(ours), 50, lambda _, step: step >= given.ours_steps)
    our_swd = quality(ours, our_net)
    goal = their_curve.losses[-1]
    reached = our_curve.reached(goal)
    for name, curve, swd in (("published", their_curve, their_swd), ("ours", our_curve, our_swd)):
        print(f"{name} after {curve.seconds[-1]:.0f} CPU s: loss {[round(v, 4) for v in curve.losses[-1]]}, sliced Wasserstein {swd:.4f}")
    if reached is None:
        print("ours did not reach that loss on all scales")
    else:
        print(f"ours reached that loss on all scales after {reached:.0f} CPU s: {their_curve.seconds[-1] / reached:.1f} times less")


if __name__ == "__main__":
    main()
