"""Tiny artifacts of the built-in kinds, each written by a function of a context, as a task would."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabloom.kinds import Fields, ImageSet, Model, OfflineData, Report, Table, offline_specs

if TYPE_CHECKING:
    from fabloom.method import Context


def tiny_images(ctx: Context) -> ImageSet:
    """Eight clean and eight defective images of vertical lines: uint8 [16,1,32,32] with masks, domain and two classes.

    Period 8, grey levels 90 and 160, Gaussian noise of 4; a defect is a bridge of 3 x 4 pixels across one space.
    """
    import numpy as np

    draw = np.random.default_rng(ctx.seed)
    lines = np.where(np.arange(32) % 8 < 4, 160.0, 90.0)
    pixels = np.broadcast_to(lines, (16, 32, 32)) + draw.normal(0, 4, (16, 32, 32))
    masks = np.zeros((16, 32, 32), np.uint8)
    for row in range(8, 16):
        y, x = int(draw.integers(4, 26)), 8 * int(draw.integers(0, 3)) + 4
        masks[row, y : y + 3, x : x + 4] = 1
    pixels[masks == 1] = 160
    domain = np.repeat(np.array([0, 1], np.int8), 8)
    return ImageSet.write(
        ctx,
        np.clip(np.rint(pixels), 0, 255).astype(np.uint8)[:, None],
        masks=masks,
        domain=domain,
        labels=domain.astype(np.int16),
        class_names=["clean", "bridge"],
    )


def tiny_fields(ctx: Context) -> Fields:
    """Six overlay maps in nm: float32 [6,2,24,24], a shift, a rotation and noise of 0.1 nm; a corner of each was not measured."""
    import numpy as np

    draw = np.random.default_rng(ctx.seed)
    y, x = np.mgrid[-1:1:24j, -1:1:24j]
    shift, turn = draw.normal(0, 2, (6, 2, 1, 1)), draw.normal(0, 1, (6, 1, 1))
    values = (shift + np.stack([-turn * y, turn * x], 1) + draw.normal(0, 0.1, (6, 2, 24, 24))).astype(np.float32)
    valid = np.broadcast_to(x + y < 1.5, (6, 24, 24))
    return Fields.write(ctx, values, valid=valid, units=["nm", "nm"], channel_names=["overlay_x", "overlay_y"])


def tiny_model(ctx: Context) -> Model:
    """Two small tensors and a config, for tasks that take any model."""
    import torch

    generator = torch.Generator().manual_seed(ctx.seed)
    return Model.write(ctx, {"weight": torch.randn(4, 3, generator=generator), "bias": torch.zeros(4)}, {"inputs": 3, "outputs": 4})


def tiny_offline(ctx: Context) -> OfflineData:
    """Twelve rows of random trajectories in 2 chunks: images [1,8,8], latents [2,4,4]."""
    import numpy as np

    draw = np.random.default_rng(ctx.seed)
    count, specs = 12, offline_specs((1, 8, 8), (2, 4, 4), 2, r_sum=False)
    rows = {}
    for name, spec in specs.items():
        shape = (count, *spec.shape)
        if name == "sample_id":
            rows[name] = np.arange(count)
        elif spec.dtype == "int8":
            rows[name] = draw.integers(-127, 128, shape).astype(np.int8)
        else:
            rows[name] = np.abs(draw.normal(0, 1, shape)).astype(spec.dtype)
    writer = OfflineData.writer(ctx, count=count, block=count, arrays=specs)
    if writer.start < count:
        writer.append(rows)
    return OfflineData.finish(ctx, writer, {"T": 8, "boundaries": [0, 4, 8]})


def tiny_report(ctx: Context) -> Report:
    """One number, one table, one picture."""
    import numpy as np

    return Report.write(
        ctx, {"score": 0.5}, tables={"scores": Table(("image", "score"), ((0, 0.5),))}, pictures={"grey": np.full((8, 8), 128, np.uint8)}
    )


TINY = {"Fields": tiny_fields, "ImageSet": tiny_images, "Model": tiny_model, "OfflineData": tiny_offline, "Report": tiny_report}
"""By kind: what a port gets where nothing else is said."""
