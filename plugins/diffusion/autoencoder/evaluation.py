"""What an autoencoder leaves of images and of their defects."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Metric, Model, Report
from fabloom.kinds.masks import UNKNOWN, is_defect
from fabloom.method import Context
from fabloom.plugins.blocks.codec import Codec
from fabloom.plugins.blocks.sheets import stretched, tiled

from .params import EvaluateParams

SURVIVES = 1.5
"""Error of defects against the background's up to which they are said to survive."""
AMPLIFIED = 4
"""Times by which the picture shows differences."""


def evaluate(ctx: Context, params: EvaluateParams, model: Model, images: ImageSet) -> Report:
    """The task `evaluate`."""
    if images.masks is None:
        raise DataError(f"set {images.key[:12]} has no masks, and without them nobody can tell what becomes of defects; label it first")
    codec = Codec.of(model, ctx.device)
    codec.shape(images.images.shape[1:])  # type: ignore[arg-type]
    pixels, masks = np.asarray(images.images[...]), np.asarray(images.masks[...])
    latents = codec.encode(pixels)
    back = np.concatenate([codec.grey.inverse(codec.decode(part.to(ctx.device)).cpu()).numpy() for part in latents.split(64)])
    error = np.abs(back.astype(np.float64) - pixels).mean(1)
    defect = is_defect(masks)
    near = np.stack([ndimage.binary_dilation(mask > 0, iterations=params.margin) if params.margin else mask > 0 for mask in masks])
    away = ~near & (masks != UNKNOWN)
    found = {"defect": float(error[defect].mean()) if defect.any() else None, "background": float(error[away].mean())}
    ratio = None if found["defect"] is None else found["defect"] / max(found["background"] or 0.0, 1e-12)
    span = codec.grey.high - codec.grey.low
    metrics: dict[str, Any] = {
        "defect_ratio": Metric(ratio, better="down", role="headline"),
        "l1_defect": found["defect"],
        "l1_background": found["background"],
        "psnr": psnr(pixels, back, np.ones_like(defect), span),
        "psnr_defect": psnr(pixels, back, defect, span),
        "latent_mean": float(latents.mean((0, 2, 3)).abs().max()),
        "latent_deviation": {"least": float(latents.std((0, 2, 3)).min()), "most": float(latents.std((0, 2, 3)).max())},
    }
    title = f"Images, what comes back, and the difference x {AMPLIFIED}"
    return Report.write(ctx, metrics, pictures={title: picture(params, pixels, back, defect)}, verdict=verdict(ratio))


def psnr(pixels: NDArray[np.uint8], back: NDArray[np.uint8], where: NDArray[np.bool_], span: float) -> float | None:
    """Peak signal to noise of the grey range at pixels [N,H,W] of images [N,C,H,W], in dB; None without any, and without an error."""
    chosen = [images.transpose(0, 2, 3, 1)[where] for images in (pixels, back)]
    if (chosen[0] == chosen[1]).all():
        return None
    return float(peak_signal_noise_ratio(*chosen, data_range=span))


def verdict(ratio: float | None) -> str:
    """Whether defects survive."""
    if ratio is None:
        return "No verdict: no image has a defect."
    survive = "survive" if ratio <= SURVIVES else "do not survive"
    return f"Defects {survive}: their pixels come back {ratio:.2f} times as far off as the background's (at most {SURVIVES} is wanted)."


def picture(params: EvaluateParams, pixels: NDArray[np.uint8], back: NDArray[np.uint8], defect: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Images with a defect first: as they are, as they come back, and how they differ."""
    rows = np.argsort(~defect.any((1, 2)), kind="stable")[: params.shown]
    low, high = float(pixels.min()), float(pixels.max())
    apart = np.clip(127 + AMPLIFIED * (back[rows].astype(np.int16) - pixels[rows]), 0, 255).astype(np.uint8)
    return tiled([stretched(pixels[rows], low, high), stretched(back[rows], low, high), stretched(apart, 0, 255)], params.shown)
