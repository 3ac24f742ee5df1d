"""The task `sample`: textures in the shape of thresholded Perlin noise on clean images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.ground import Ground, Size, held_by
from fabloom.plugins.blocks.pasted import Sample, batches
from fabloom.plugins.blocks.streams import numpy_stream

from .params import SampleParams
from .perlin import perlin
from .textures import Textures

Real = NDArray[np.float64]
Pixels = NDArray[np.uint8]
FEWEST, FINEST = 6, 4
"""Pixels of the smallest shape, and of a cell's side."""
TRIES = 16
"""How often a shape or a texture that does not show is drawn anew."""
VISIBLE, LEAST = 3.0, 1.0
"""Root mean square change in a shape, in deviations of the noise and in grey levels, below which nobody would see it."""


@dataclass(frozen=True)
class Paster:
    """Makes samples of a model; a sample follows from the seed and its number alone."""

    ground: Ground
    textures: Textures
    noise: float
    params: SampleParams
    size: Size
    seed: int

    def clean(self, number: int) -> int:
        """Which clean image sample `number` is made on."""
        return int(numpy_stream(self.seed, f"choice/{number}").integers(len(self.ground.clean)))

    def make(self, number: int) -> Sample:
        """Sample `number`: (1 - M) I + M ((1 - b) I + b A), and noise on all of it."""
        which, draw = self.clean(number), numpy_stream(self.seed, f"sample/{number}")
        top, left = (int(draw.integers(whole - shown + 1)) for whole, shown in zip(self.ground.size, self.size, strict=True))
        part = slice(top, top + self.size[0]), slice(left, left + self.size[1])
        smooth = self.ground.smooth[which][:, *part]
        levels, mask = smooth, np.zeros(self.size, bool)
        if draw.random() < self.params.defect_share:
            levels, mask = self._spoilt(smooth, self.ground.smooth[which], draw)
        levels = levels + self.ground.grain.draw(self.size, draw)
        return Sample.of(levels, mask.astype(np.uint8), self.ground.clean[which][:, *part])

    def _spoilt(self, smooth: Real, whole: Real, draw: np.random.Generator) -> tuple[Real, NDArray[np.bool_]]:
        """A clean image [C,h,w] with a texture in it that shows, and where; as it is where no try gives one."""
        for _ in range(TRIES):
            mask = self._shape(draw)
            opacity = draw.uniform(*self.params.opacity)
            change = opacity * (self.textures.draw(whole, self.size, draw) - smooth)
            if mask.sum() >= FEWEST and np.sqrt(np.square(change[:, mask]).mean()) >= max(VISIBLE * self.noise, LEAST):
                return smooth + mask * change, mask
        return smooth, np.zeros(self.size, bool)

    def _shape(self, draw: np.random.Generator) -> NDArray[np.bool_]:
        """Where thresholded Perlin noise is above the threshold [h,w]."""
        low, high = self.params.cells
        most = [max(int(np.log2(max(side / FINEST, 1))), 0) for side in self.size]
        powers = [int(draw.integers(min(low, one), min(high, one) + 1)) for one in most]
        noise = perlin(self.size, (2 ** powers[0], 2 ** powers[1]), draw.uniform(-np.pi / 2, np.pi / 2), draw)
        shape: NDArray[np.bool_] = noise > self.params.threshold
        return shape


def sample(ctx: Context, params: SampleParams, model: Model, textures: ImageSet | None) -> ImageSet:
    """The task `sample`."""
    config = held_by(model, "noise-paste")
    ground = Ground.of_model(model)
    size = ground.size if params.size is None else params.size
    drawn = Textures.of(params, textures, ground.clean.shape[1])
    paster = Paster(ground.reaching(size), drawn, float(config["noise"]), params, size, ctx.seed)
    own, channels = ctx.rows(params.count), int(config["image"][0])
    source = [config["clean_source"][paster.clean(number)] for number in own]
    return ImageSet.write(
        ctx,
        batches(ctx, paster.make, own, params.batch, channels),
        count=len(own),
        source=np.array(source, np.int32),
        source_names=config["source_names"],
        channels=channels,
        attrs={"method": "noise-paste"},
    )
