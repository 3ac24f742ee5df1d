"""The methods that have patches and no network (GPNN, GPDM): the pyramid of the one image, and the way through it from coarse to fine.

Heights shrink by a ratio, truncated to whole pixels, until one is at most the coarsest; widths follow (Granot et al. 2022, Elnekave and
Weiss 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context

from .grey import GreyMap
from .one_shot import images_at_once, pick, write_samples
from .patch_params import PatchSampling, PatchTraining
from .pyramid import Size, coarse_to_fine, grown_sizes, resize
from .streams import normal, streams

UNIT = GreyMap(0.0, 255.0)
Step: TypeAlias = Callable[[int, Tensor], Tensor]
"""(number of a scale, canvas [B,C,h,w] in its size) to what a method makes of it there, the same shape."""


def truncated_sizes(size: Size, ratio: float, coarsest: int) -> list[Size]:
    """(height, width) of every scale, coarsest first; the last one is `size`, and the first may be lower than `coarsest`."""
    heights = [size[0]]
    while heights[-1] > coarsest:
        heights.append(int(ratio * heights[-1]))
    return [(height, int(size[1] * height / size[0])) for height in reversed(heights)]


def check_patches(sizes: Sequence[Size], patch: int, what: str) -> None:
    """Raises DataError where a patch does not fit in the coarsest scale."""
    height, width = sizes[0]
    if min(height, width) < patch:
        raise DataError(f"{what}: the coarsest scale is {height} x {width}, where patches of {patch} do not fit; take a higher `coarsest`, "
                        "or a smaller `patch`")  # fmt: skip


@dataclass(frozen=True)
class Reference:
    """The one image at every scale, float [1,C,h,w] in [-1, 1], coarsest first."""

    images: Sequence[Tensor]
    values: GreyMap
    channels: int

    @property
    def sizes(self) -> list[Size]:
        """(height, width) of every scale."""
        return [(int(image.shape[-2]), int(image.shape[-1])) for image in self.images]

    @classmethod
    def load(cls, model: Model, role: str, device: torch.device) -> Self:
        """From the model of a method of this name. Raises DataError for another model."""
        config = model.config
        if config.get("role") != role:
            raise DataError(f"model {model.key[:12]} is no model of {role}.train (role '{config.get('role')}')")
        values = GreyMap(*config["values"])
        whole = values.forward(model.state("image")[""].numpy())[None].to(device)
        return cls([resize(whole, (int(height), int(width))) for height, width in config["sizes"]], values, config["set_channels"])

    def fitting(self, size: Size | None, patch: int) -> list[Size]:
        """(height, width) of every scale of an output. Raises DataError where patches do not fit in the coarsest of either."""
        sizes = grown_sizes(self.sizes, size)
        check_patches(self.sizes, patch, "image")
        check_patches(sizes, patch, "output")
        return sizes

    def canvas(self, sources: Sequence[torch.Generator], sizes: Sequence[Size], params: PatchSampling) -> Tensor:
        """Where generation starts [B,C,h,w], at the first of `sizes`: from each generator noise, on the coarsest image, its mean, or 0."""
        coarsest, size = self.images[0], sizes[0]
        if params.start == "image":
            base = resize(coarsest, size)
        else:
            level = coarsest.mean((2, 3), keepdim=True) if params.start == "mean" else coarsest.new_zeros(1, coarsest.shape[1], 1, 1)
            base = level.expand(1, -1, *size)
        drawn, unit = (sizes[-1], 1.0) if params.noise_at == "finest" else (size, coarsest.std())
        return base + params.noise * unit * resize(normal(sources, (coarsest.shape[1], *drawn), base.device), size)


def write_reference(ctx: Context, role: str, params: PatchTraining, images: ImageSet) -> Model:
    """The task `train` of a method that has no training: the one image, the sizes of its scales, and how its grey levels are mapped.

    Raises DataError for a set that leaves a choice, and a constant image.
    """
    picture = pick(images, params.image)
    height, width = picture.pixels.shape[1:]
    sizes = truncated_sizes((height, width), params.ratio, params.coarsest)
    values = GreyMap.fit(picture.pixels, margin=0) if params.stretch else UNIT
    ctx.log(f"nothing is trained: scales {', '.join(f'{h}x{w}' for h, w in sizes)}")
    config: Mapping[str, Any] = {
        "role": role,
        "image": list(picture.pixels.shape),
        "set_channels": picture.channels,
        "sizes": [list(size) for size in sizes],
        "values": [values.low, values.high],
    }
    return Model.write(ctx, {"image": torch.from_numpy(picture.pixels)}, config)


def refine(ctx: Context, role: str, params: PatchSampling, model: Model, method: Callable[[Reference], Step]) -> ImageSet:
    """The task `sample`: canvases through all scales, by what `method` makes of the image, `params.batch` at most at once.

    Raises DataError for the model of another method, and where patches do not fit in the coarsest scale of the image or of the output.
    """
    reference = Reference.load(model, role, ctx.device)
    sizes, step = reference.fitting(params.size, params.patch), method(reference)

    def draw(numbers: range) -> NDArray[np.uint8]:
        canvas = reference.canvas(streams(ctx.seed, numbers), sizes, params)
        return reference.values.inverse(coarse_to_fine(canvas, sizes, step).clamp(-1, 1)).cpu().numpy()

    attrs = {"sampler": role, "model": model.key}
    return write_samples(ctx, params.count, images_at_once(params.batch, sizes[-1]), reference.channels, draw, attrs)
