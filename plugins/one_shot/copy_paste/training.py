"""The task `train`: every defect image against its clean one, the defects cut out, and the noise measured. Nothing is trained."""

from __future__ import annotations

from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.cutouts.cutting import cut_out
from fabloom.plugins.blocks.ground import Ground

from .params import TrainParams


def train(ctx: Context, params: TrainParams, images: ImageSet, reference: ImageSet | None) -> Model:
    """The task `train`."""
    cut = cut_out(ctx, params, images, reference)
    noise, rows = cut.noise, {one.pair.row for one in cut.found}
    ground = Ground.of(cut.clean, noise.clean, noise.apart, noise.image)
    ctx.log(
        f"{len(cut.found)} defects of {len(rows)} images cut out, for {len(cut.clean)} clean images; nothing was trained. Noise: "
        f"{noise.image:.2f} grey levels in the images, {noise.clean:.2f} in the clean ones; {ground.grain.deviation:.2f} are drawn anew"
    )
    state, config = cut.written(images)
    share = noise.image**2 / ground.grain.deviation**2 if ground.grain.deviation else 0.0
    return Model.write(ctx, {**ground.written(), **state}, {**config, "role": "copy-paste", "noise_share": share})
