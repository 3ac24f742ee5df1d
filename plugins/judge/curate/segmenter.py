"""What a segmenter sees in images, whoever brought it: the network that its method says is complete, pixels in, probabilities out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fabloom.errors import DataError, Interrupted, PipelineError
from fabloom.kinds import Model
from fabloom.kinds.arrays import LazyArray
from fabloom.method import Context
from fabloom.registry import Registry

PIXELS = 2**20
"""Most pixels that are predicted at once."""


@dataclass(frozen=True)
class Segmenter:
    """A complete network (see `fabloom.network`), and what its card says: the threshold that it was given, the channels that it takes."""

    key: str
    module: nn.Module
    card: Mapping[str, Any]

    @classmethod
    def of(cls, model: Model) -> Self:
        """Raises DataError for a model whose method gives no complete segmenter."""
        role = str(model.config.get("role", ""))
        try:
            method = Registry.load().task(f"{role}.segment").method
        except PipelineError:
            raise DataError(f"model {model.key[:12]} is no segmenter (role '{role}'); give one of unet.train") from None
        for network in method.networks(model).values():
            if network.card is not None and network.outputs[:1] == ("probability",):
                return cls(model.key, network.module, network.card)
        raise DataError(f"method '{role}' gives no complete network of model {model.key[:12]}, which takes pixels and gives probabilities")

    @property
    def threshold(self) -> float:
        """A pixel is a defect where its probability is above this."""
        return float(self.card["threshold"])

    def probabilities(self, ctx: Context, images: LazyArray | NDArray[np.uint8]) -> NDArray[np.float32]:
        """[N,H,W] of a defect of any class, at every pixel of images uint8 [N,C,H,W]. Raises DataError for other channels."""
        count, channels, height, width = images.shape
        if channels != (wanted := int(self.card["channels"])):
            raise DataError(f"model {self.key[:12]} takes {wanted} channel{'s' * (wanted > 1)}, the images have {channels}")
        at_once, found = max(PIXELS // (height * width), 1), np.empty((count, height, width), np.float32)
        module = self.module.to(ctx.device)
        with ctx.progress(count, unit="image", name="predict") as bar, torch.inference_mode(), ctx.device:
            for start in range(0, count, at_once):
                if ctx.stop_requested():
                    raise Interrupted(f"stopped after {start} of {count} images. Run the same command again to start over.")
                pixels = torch.from_numpy(np.asarray(images[start : start + at_once]))
                found[start : start + at_once] = module(pixels.to(ctx.device))[0].float().cpu().numpy()
                bar.advance(len(pixels))
        return found
