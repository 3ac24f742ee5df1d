"""The task `train`: clean images and their noise. Nothing is trained."""

from __future__ import annotations

import numpy as np

from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.grain import noise_of
from fabloom.plugins.blocks.ground import Ground, chosen
from fabloom.plugins.blocks.references import clean_sources, name_of

from .params import TrainParams


def train(ctx: Context, params: TrainParams, images: ImageSet, reference: ImageSet | None) -> Model:
    """The task `train`."""
    whose = images if reference is None else reference
    rows, source = clean_sources(whose)
    height, width = source.shape[2:]
    kept = rows[chosen(len(rows), (height, width), params.cleans)]
    clean = np.stack([source[int(row)] for row in kept])
    if (clean == clean[:, :1]).all():
        clean = clean[:, :1]
    noise = float(np.mean([noise_of(image.astype(np.float64)) for image in clean]))
    ground = Ground.of(clean, noise)
    told = f"noise of {noise:.2f} grey levels, of which {ground.grain.deviation:.2f} are drawn anew"
    ctx.log(f"{len(kept)} clean images kept, {told}; nothing was trained")
    names = [name_of(whose, int(row)) for row in kept]
    unique = list(dict.fromkeys(names))
    config = {
        "role": "noise-paste",
        "image": [int(source.shape[1]), height, width],
        "noise": noise,
        "clean_source": [unique.index(name) for name in names],
        "source_names": unique,
    }
    return Model.write(ctx, ground.written(), config)
