"""`gpnn` and `gpdm` beside plain loops of their published algorithms, in one run: CPU seconds of one thread, as ratios.

    python benchmarks/patch_methods.py [--size 96] [--repeats 3]

The image is a simulated line pair with a bridge. The plain search forms every block of distances twice, as published; the plain matching
sorts in a graph that is differentiated automatically. Both start from the noise of the fast one, and the distance says what they reach.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d

import fabloom
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.patch_scales import Reference, truncated_sizes
from fabloom.plugins.blocks.patch_search import overlapped, patches, weights
from fabloom.plugins.blocks.patches import sliced_wasserstein
from fabloom.plugins.blocks.pyramid import coarse_to_fine, resize
from fabloom.plugins.blocks.streams import stream
from fabloom.plugins.one_shot.gpdm.distance import directions
from fabloom.plugins.one_shot.gpdm.generation import Course
from fabloom.plugins.one_shot.gpdm.params import SampleParams as Matching
from fabloom.plugins.one_shot.gpnn.generation import Scale, blurred
from fabloom.plugins.one_shot.gpnn.params import SampleParams as Searching

Step = Callable[[int, Tensor], Tensor]
ROWS = 256
"""Queries of a block of the plain search, as published."""


def drawn(size: int, ratio: float, coarsest: int) -> Reference:
    """The image at the scales of a method."""
    with tempfile.TemporaryDirectory() as folder:
        simulator = fabloom.method("line-pair", store=fabloom.open_store(folder), device="cpu")
        optics = {"pixel_nm": 12.5, "line_reflectance": 0.1, "ler_nm": 0.5, "grey_low": 60.7, "grey_high": 77.3, "noise_std": 0.6}
        images = simulator.simulate(1, size=size, defects=["bridge"], defect_low=0.6, defect_share=1.0, **optics)
        pixels = np.asarray(images.images)[0]
    values = GreyMap.fit(pixels, margin=0)
    whole = values.forward(pixels)[None]
    return Reference([resize(whole, one) for one in truncated_sizes((size, size), ratio, coarsest)], values, 1)


def plain_search(reference: Reference, params: Searching) -> Step:
    """Every iteration of every scale, distances in blocks, twice."""
    assert params.alpha is not None
    alpha, weight = params.alpha, weights(params.patch, "mean")
    values = [patches(image, params.patch) for image in reference.images]
    keys = [patches(blurred(reference.images, number, "blur"), params.patch) for number in range(len(values))]

    def distances(asked: Tensor, given: Tensor) -> Tensor:
        return (asked.square().sum(1)[:, None] + given.square().sum(1) - 2 * asked @ given.T).clamp(min=0) / asked.shape[1]

    def step(number: int, canvas: Tensor) -> Tensor:
        for _ in range(1 if number == 0 else params.iterations):
            blocks = patches(canvas, params.patch).split(ROWS)
            least = torch.stack([distances(rows, keys[number]).min(0).values for rows in blocks]).min(0).values
            chosen = torch.cat([(distances(rows, keys[number]) / (alpha + least)).min(1).indices for rows in blocks])
            canvas = overlapped(values[number][chosen], (canvas.shape[2], canvas.shape[3]), params.patch, weight)
        return canvas

    return step


def plain_matching(reference: Reference, params: Matching) -> Step:
    """Adam on the pixels at a constant rate, the gradient by a graph."""

    def step(number: int, canvas: Tensor) -> Tensor:
        draw, pixels = stream(0, f"plain/{number}"), canvas.clone().requires_grad_(True)
        optimizer = torch.optim.Adam([pixels], lr=params.lr)
        for _ in range(params.steps):
            views = directions(draw, params.projections, 1, params.patch)
            seen = conv2d(pixels, views).flatten(2).sort(2).values
            known = conv2d(reference.images[number], views).flatten(2).sort(2).values
            optimizer.zero_grad()
            (seen - known).abs().mean().backward()
            optimizer.step()
        return pixels.detach().clamp(-1, 1)

    return step


def measured(title: str, reference: Reference, loops: Sequence[tuple[str, Step]], repeats: int) -> None:
    """A row a loop: median CPU seconds of a sample, over the first one's, and the distance of patches to the image over noise's."""
    image, sizes = reference.images[-1], reference.sizes
    noise = image.mean() + image.std() * torch.randn(image.shape, generator=torch.Generator().manual_seed(1))
    far, first = float(sliced_wasserstein(noise, image)), 0.0
    for name, step in loops:
        spent, reached = [], []
        for repeat in range(repeats):
            canvas = reference.canvas([stream(repeat, "noise")], sizes, Matching())
            began = time.process_time()
            made = coarse_to_fine(canvas, sizes, step)
            spent.append(time.process_time() - began)
            reached.append(float(sliced_wasserstein(made, image)) / far)
        took = statistics.median(spent)
        first = first or took
        print(f"| {title} | {name} | {took:.2f} | {took / first:.1f} | {statistics.median(reached):.4f} |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, one thread, {given.size} px, median of {given.repeats}")
    print("| method | loop | CPU s a sample | times the first | distance of patches, over noise's |\n|---|---|---|---|---|")
    reference, searching = drawn(given.size, 0.75, 14), Searching()
    scales = [Scale.of(reference, number, searching) for number in range(len(reference.images))]

    def fast(number: int, canvas: Tensor) -> Tensor:
        return scales[number].rearrange(canvas)

    measured("gpnn", reference, [("fabloom", fast), ("plain", plain_search(reference, searching))], given.repeats)
    reference = drawn(given.size, 0.85, 21)
    loops: list[tuple[str, Step]] = []
    for preset in (Matching(), Matching(preset="published")):
        course, told = Course(reference.images, preset, 0, lambda: False), f"{preset.steps} steps of {preset.lr:g}"
        loops += [(f"fabloom, {told}", course.matched), (f"plain, {told}", plain_matching(reference, preset))]
    measured("gpdm", reference, loops, given.repeats)


if __name__ == "__main__":
    main()
