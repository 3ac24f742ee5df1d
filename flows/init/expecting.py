"""Times to expect, told beside what `init` chooses: CPU seconds of one thread of one machine, times how much slower this one is.

`python benchmarks/generator_time.py` and `classes.py` measured them within minutes of each other on a busy machine, where a step took
0.42 s at 96, 224 and 512 px alike; all are divided by what that machine was slower than at rest. Those of icddm and of the memory of
patches are of `cross_domain.py --count 1000` on another. How fast this machine is says the convolution that `precision: auto` times once
a machine and keeps; before the first training here nothing is known of it.
"""

from __future__ import annotations

from math import sqrt

from fabloom.precision import memory
from fabloom.precision.probe import NATIVE

CONVOLUTION = 1.2e-3
"""CPU seconds of the probe's convolution in float32 where the others were measured."""
MEGAPIXEL = 1.8
"""Of a million training pixels of the small segmenter."""
STEP = 0.18
"""Of a training step of SinSEMI's preset `small`: windows of one size, so that images of every size take as long."""
PIXEL = 3.0e-6
"""Of a pixel that its network looks at in one sampling step."""
COARSEST, RATIO = 55, 1.4
"""Sides in pixels of its scales: about."""
STEPS, FINER, LARGE, FEWEST = 12, 8, 256, 2
"""Sampling steps of the coarsest scale and of the others; fewer in proportion to a side above `LARGE`, but `FEWEST`."""
DENOISER, TRANSLATION = 4.9, 22.0
"""Of a million pixels that icddm learns from, and of a million of images that it leads into the noise and back."""
BANK = 45.0
"""Of a million pixels of a memory of patches."""
BELIEVED = 20.0
"""A machine that is so many times slower or faster was timed wrongly."""


def segmenter_seconds(pixels: int) -> float:
    """Of a training of the small segmenter on so many pixels, all steps together."""
    return pixels * 1e-6 * MEGAPIXEL * slowness()


def generator_seconds(steps: int, count: int, height: int, width: int) -> float:
    """Of so many training steps of SinSEMI, and `count` samples of this size."""
    return (steps * STEP + count * looked_at(height, width) * PIXEL) * slowness()


def denoiser_seconds(pixels: int) -> float:
    """Of a training of icddm on so many pixels, all steps together."""
    return pixels * 1e-6 * DENOISER * slowness()


def translation_seconds(pixels: int) -> float:
    """Of clean estimates of images of so many pixels."""
    return pixels * 1e-6 * TRANSLATION * slowness()


def bank_seconds(pixels: int) -> float:
    """Of a memory of clean patches that is made of, and asked about, so many pixels."""
    return pixels * 1e-6 * BANK * slowness()


def looked_at(height: int, width: int) -> float:
    """Pixels that the network looks at for one sample, all scales and steps together."""
    side, total = sqrt(height * width), 0.0
    while side > COARSEST * sqrt(RATIO):
        total += side**2 * max(FINER * min(1.0, LARGE / side), FEWEST)
        side /= RATIO
    return total + side**2 * STEPS


def slowness() -> float:
    """How many times as long this machine takes as that of the measurements; 1 where it was not timed yet."""
    identity = memory.machine("cpu")
    seconds, factor = memory.recall(identity, "seconds"), memory.recall(identity)
    if seconds is None or factor is None:
        return 1.0
    found = seconds / CONVOLUTION / (factor if factor >= NATIVE else 1.0)
    return found if 1 / BELIEVED < found < BELIEVED else 1.0


def core() -> str:
    """On what that holds, in words."""
    return "one CPU core" if memory.recall(memory.machine("cpu"), "seconds") is None else "one core of this machine"
