"""The pyramid of the methods that have patches and no network (GPNN, GPDM), and the way through it from coarse to fine.

Heights shrink by a ratio, truncated to whole pixels, until one is at most the coarsest; widths follow (Granot et al. 2022, Elnekave and
Weiss 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context

from .grey import GreyMap
from .one_shot import pick
from .pyramid import Size, grown_sizes, resize
from .streams import normal

UNIT = GreyMap(0.0, 255.0)


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

    def canvas(self, sources: Sequence[torch.Generator], size: Size, start: str, noise: float) -> Tensor:
        """Where generation starts, [B,C,*size]: the coarsest image or its mean, and noise of `noise` of its standard deviations."""
        coarsest = self.images[0]
        base = resize(coarsest, size) if start == "image" else coarsest.mean((2, 3), keepdim=True).expand(1, -1, *size)
        return base + noise * coarsest.std() * normal(sources, (coarsest.shape[1], *size), base.device)


def write_reference(
    ctx: Context, role: str, images: ImageSet, row: int | None, sizing: Callable[[Size], list[Size]], stretch: bool
) -> Model:
    """The model of a method that has no training: the one image, the sizes of its scales, and how its grey levels are mapped.

    Raises DataError for a set that leaves a choice, and a constant image.
    """
    picture = pick(images, row)
    height, width = picture.pixels.shape[1:]
    sizes, values = sizing((height, width)), GreyMap.fit(picture.pixels, margin=0) if stretch else UNIT
    ctx.log(f"nothing is trained: scales {', '.join(f'{h}x{w}' for h, w in sizes)}")
    config: Mapping[str, Any] = {
        "role": role,
        "image": list(picture.pixels.shape),
        "set_channels": picture.channels,
        "sizes": [list(size) for size in sizes],
        "values": [values.low, values.high],
    }
    return Model.write(ctx, {"image": torch.from_numpy(picture.pixels)}, config)
