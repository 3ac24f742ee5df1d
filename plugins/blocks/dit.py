"""A diffusion transformer as backbone (Peebles & Xie 2023, arXiv 2212.09748): diffusers' `DiTTransformer2DModel`, conditioned once.

Images are cut into patches; every block is shifted, scaled and gated by what it is told of times and classes (adaLN-zero), and starts as
the identity, so that the output is 0 at first. Diffusers gives each block an embedding of its own; published, and here, all share one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from diffusers import DiTTransformer2DModel
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor, nn

from fabloom.errors import DataError

from .backbone import Transformer

PRESETS: dict[str, tuple[int, int, int]] = {
    "small": (6, 128, 4), "S": (12, 384, 6), "B": (12, 768, 12), "L": (24, 1024, 16), "XL": (28, 1152, 16),
}  # fmt: skip
"""Blocks, width, heads; the capital ones as published."""
FREQUENCIES = 256
"""Values that a time is embedded in before its network."""


@dataclass(frozen=True)
class Shape:
    """Everything that is needed to build one again."""

    blocks: int
    width: int
    heads: int
    patch: int
    image: tuple[int, int, int]
    classes: int = 0
    second_time: bool = False


class Passed(nn.Module):
    """Stands where diffusers embeds times and classes: they come embedded already."""

    def forward(self, embedded: Tensor, classes: object, hidden_dtype: object = None) -> Tensor:
        """The first, as it is."""
        return embedded


class Condition(nn.Module):
    """What all blocks are told [B,width]: a time, and a class (the last one is 'no class') or a second time."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.waves = Timesteps(FREQUENCIES, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time = TimestepEmbedding(FREQUENCIES, shape.width)
        self.second = TimestepEmbedding(FREQUENCIES, shape.width) if shape.second_time else None
        self.classes = nn.Embedding(shape.classes + 1, shape.width) if shape.classes else None
        for layer in (*self.time.children(), *(self.second.children() if self.second else ())):
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.02)
        if self.classes is not None:
            nn.init.normal_(self.classes.weight, std=0.02)

    def forward(self, time: Tensor, other: Tensor | None, like: Tensor) -> Tensor:
        """From times [B] and classes or second times [B]."""
        told: Tensor = self.time(self.waves(time).to(like.dtype))
        if self.second is not None and other is not None:
            told = told + self.second(self.waves(other).to(like.dtype))
        if self.classes is not None and other is not None:
            told = told + self.classes(other)
        return told


class Dit(nn.Module):
    """Called as `UNet2DModel` is: (x [B,C,H,W], times [B], class_labels [B]) to an object with `sample` [B,C,H,W]."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.condition = Condition(shape)
        self.transformer = DiTTransformer2DModel(
            num_attention_heads=shape.heads,
            attention_head_dim=shape.width // shape.heads,
            in_channels=shape.image[0],
            num_layers=shape.blocks,
            sample_size=shape.image[1],
            patch_size=shape.patch,
            num_embeds_ada_norm=1,
        )
        for block in self.transformer.transformer_blocks:
            block.norm1.emb = Passed()
        self._start()

    def _start(self) -> None:
        """Xavier-uniform linear layers, and zeros where a block is gated and where the image comes out (section 3.2 of the paper)."""
        for module in self.transformer.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        gates = [block.norm1.linear for block in self.transformer.transformer_blocks]
        for layer in (*gates, self.transformer.proj_out_1, self.transformer.proj_out_2):
            nn.init.zeros_(layer.weight)

    def forward(self, x: Tensor, time: Tensor, class_labels: Tensor | None = None) -> UNet2DOutput:
        """One evaluation."""
        told = self.condition(time, class_labels, x)
        out: Tensor = self.transformer(x, timestep=told, class_labels=None, return_dict=False)[0]
        return UNet2DOutput(sample=out)

    def stored(self) -> dict[str, Any]:
        """The shape as plain JSON."""
        return asdict(self.shape) | {"image": list(self.shape.image)}

    @classmethod
    def of(cls, stored: dict[str, Any]) -> Dit:
        """The inverse of `stored`, with weights of its own."""
        return cls(Shape(**{**stored, "image": tuple(stored["image"])}))


def build(params: Transformer, image: tuple[int, int, int], classes: int = 0, *, second_time: bool = False) -> Dit:
    """A transformer for images [C,H,W]; `classes` and `second_time` as of the U-Net.

    Raises DataError for images that are not square or that the patch does not divide, and for heads that do not divide the width.
    """
    blocks, width, heads = (
        preset if (given := getattr(params, name)) is None else given
        for name, preset in zip(("blocks", "width", "heads"), PRESETS[params.preset], strict=True)
    )
    if image[1] != image[2]:
        raise DataError(f"images of {image[1]} x {image[2]} are not square, as a transformer wants them; crop them, or take backbone: unet")
    if image[1] % params.patch:
        raise DataError(f"transformer.patch={params.patch} must divide the side of {image[1]} px")
    if width % heads:
        raise DataError(f"transformer.heads={heads} must divide transformer.width={width}")
    return Dit(Shape(blocks, width, heads, params.patch, image, classes, second_time))
