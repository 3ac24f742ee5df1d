"""The U-Net that diffusion models here have in common: diffusers' `UNet2DModel` from parameters, with their checks."""

from __future__ import annotations

import json
from typing import Any

from diffusers import ConfigMixin, UNet2DModel

from fabloom.errors import DataError

from .backbone import Network

PRESETS: dict[str, dict[str, Any]] = {
    "small": {"channels": (16, 32, 64), "layers": 1, "attention": (), "head_channels": None, "norm_groups": 8},
    "cifar10": {"channels": (128, 256, 256, 256), "layers": 2, "attention": (1,), "head_channels": None, "norm_groups": 32},
}


def shape_of(network: Network) -> dict[str, Any]:
    """The preset's values with those that were given put in."""
    preset = PRESETS[network.preset]
    return {name: value if (given := getattr(network, name)) is None else given for name, value in preset.items()}


def build(network: Network, image: tuple[int, int, int], classes: int = 0, *, second_time: bool = False, film: bool = False) -> UNet2DModel:
    """A U-Net with random weights for images [C,H,W]; `classes` > 0 adds that many class embeddings and one for 'no class', `second_time`
    takes a further time in their place. With `film` time and class scale and shift the features of every block, else they shift them.

    Raises DataError before anything is built where widths, groups, heads or the image size do not fit.
    """
    shape = shape_of(network)
    check(shape, image)
    levels = len(shape["channels"])
    down = ["AttnDownBlock2D" if level in shape["attention"] else "DownBlock2D" for level in range(levels)]
    return UNet2DModel(
        sample_size=image[1:],
        in_channels=image[0],
        out_channels=image[0],
        block_out_channels=shape["channels"],
        layers_per_block=shape["layers"],
        down_block_types=tuple(down),
        up_block_types=tuple(name.replace("Down", "Up") for name in reversed(down)),
        attention_head_dim=shape["head_channels"],
        norm_num_groups=shape["norm_groups"],
        dropout=network.dropout,
        # as in the published CIFAR-10 model
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        num_class_embeds=classes + 1 if classes else None,
        class_embed_type="timestep" if second_time else None,
        resnet_time_scale_shift="scale_shift" if film else "default",
    )


def check(shape: dict[str, Any], image: tuple[int, int, int]) -> None:
    """Raise DataError for a network that cannot be built or cannot take images [C,H,W]."""
    channels, groups, head = shape["channels"], shape["norm_groups"], shape["head_channels"]
    levels = len(channels)
    if min(channels) < 1 or any(width % groups for width in channels):
        raise DataError(f"network.norm_groups={groups} must divide every width of channels {list(channels)}")
    wrong = [level for level in shape["attention"] if not 0 <= level < levels]
    if wrong:
        raise DataError(f"network.attention names level {wrong[0]}; {levels} levels count from 0 to {levels - 1}")
    # the middle always attends, at the last width
    for width in [channels[level] for level in shape["attention"]] + [channels[-1]]:
        if head is not None and width % head:
            raise DataError(f"network.head_channels={head} must divide the {width} channels of a level with attention (the middle is one)")
    unit = 2 ** (levels - 1)
    if any(side % unit for side in image[1:]):
        fits = max(n for n in range(1, levels) if all(side % 2 ** (n - 1) == 0 for side in image[1:]))
        sizes = " x ".join(str(-(-side // unit) * unit) for side in image[1:])
        raise DataError(
            f"images of {image[1]} x {image[2]} cannot be halved {levels - 1} times ({levels} levels): "
            f"resize or pad them to {sizes}, or give network.channels {fits} level{'s' if fits > 1 else ''}"
        )


def config_of(net: ConfigMixin) -> dict[str, Any]:
    """The config of a network of diffusers as plain JSON, as it writes it."""
    plain: dict[str, Any] = json.loads(json.dumps({k: v for k, v in net.config.items() if not k.startswith("_")}))
    return plain
