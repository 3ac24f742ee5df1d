"""The task `record`: what a teacher makes of every image, quantised, block by block."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fabloom.errors import Interrupted
from fabloom.kinds import ImageSet, Model, OfflineData
from fabloom.kinds.artifact import RowSpec
from fabloom.method import Context
from fabloom.plugins.blocks.domains.coupling import Coupling
from fabloom.plugins.blocks.domains.translator import CLEAN, DEFECT, check_images, domains_of, held_out, stacked
from fabloom.plugins.blocks.operations import OPERATIONS, counted, operations_of
from fabloom.plugins.blocks.seen import fingerprints
from fabloom.storage.format.quantise import quantise

from .params import RecordParams

Rows = dict[str, NDArray[Any]]


def record(ctx: Context, params: RecordParams, images: ImageSet, teacher: Model) -> OfflineData:
    """Rows (image, its domain, the domain asked for): every image asked to be clean, and clean ones asked to be defect.

    Clean images that set the teacher's threshold are left out: a student that learned to leave them alone would set its own by them.
    """
    check_images(teacher, images)
    domain, coupling = domains_of(images), Coupling.of(ctx, teacher, params)
    rows = np.flatnonzero(~np.isin(fingerprints(np.asarray(images.images)), fingerprints(held_out(teacher)))).tolist()
    asked = [(row, int(domain[row]), CLEAN) for row in rows]
    if params.back:
        asked += [(row, CLEAN, DEFECT) for row in rows if domain[row] == CLEAN]
    if len(rows) < len(images):
        ctx.log(f"{len(images) - len(rows)} of {len(images)} images set the teacher's threshold and are left out")
    order = np.random.default_rng(ctx.generator("order").initial_seed()).permutation(len(asked))
    asked = [asked[at] for at in order]  # the held-out rows at the end are then of all sorts
    writer = OfflineData.writer(ctx, count=len(asked), block=params.block, arrays=specs(coupling.hidden))
    with ctx.progress(len(asked), unit="row", name="record", done=writer.start) as bar:
        for start in range(writer.start, len(asked), params.block):
            part = asked[start : start + params.block]
            writer.append(translated(params, images, coupling, part, ctx.device))
            bar.advance(len(part))
            if ctx.stop_requested():
                raise Interrupted(f"stopped after {start + len(part)} of {len(asked)} rows. Run the same command again to go on.")
    one = torch.zeros(1, *coupling.seeing.image, device=ctx.device)
    taken = counted(lambda: coupling.translate(one, DEFECT, [CLEAN]))[1]
    facts = {"teacher": teacher.key, "images": images.key, "back": params.back, "operations_each": taken}
    return OfflineData.finish(ctx, writer, facts | {OPERATIONS: taken * len(asked) + operations_of(teacher.config)})


def specs(hidden: tuple[int, int, int]) -> dict[str, RowSpec]:
    """The arrays: what is diffused [L,h,w] of the image, and its change to what the teacher makes of it, int8 with a scale a channel."""
    dims = ("channel", "y", "x")
    return {
        "row": RowSpec("int32", meaning="row of the image set"),
        "domain": RowSpec("int8", meaning="domain of the image: 0 clean, 1 defect"),
        "target": RowSpec("int8", meaning="domain that was asked for"),
        "source": RowSpec("int8", hidden, dims=dims, meaning="codes of the image as the network sees it"),
        "source_scale": RowSpec("float32", hidden[:1], compress=False, dims=dims[:1], meaning="value of one code"),
        "change": RowSpec("int8", hidden, dims=dims, meaning="codes of the teacher's answer less the image"),
        "change_scale": RowSpec("float32", hidden[:1], compress=False, dims=dims[:1], meaning="value of one code"),
    }


@torch.no_grad()
def translated(params: RecordParams, images: ImageSet, coupling: Coupling, asked: list[tuple[int, int, int]], device: torch.device) -> Rows:
    """The arrays of some rows."""
    source = torch.empty(len(asked), *coupling.hidden)
    answer = torch.empty_like(source)
    for domain, target in sorted({(domain, target) for _, domain, target in asked}):
        at = [number for number, (_, *way) in enumerate(asked) if way == [domain, target]]
        for start in range(0, len(at), params.batch):
            part = at[start : start + params.batch]
            pixels = np.stack([np.asarray(images.images[asked[number][0]]) for number in part])
            y = coupling.seeing.inner(stacked(coupling.grey, pixels, device))
            source[part], answer[part] = y.cpu(), coupling.back(coupling.lead(y, domain), target).cpu()
    done = quantise(source, (answer - source)[:, None])
    rows, domains, targets = (np.array(column) for column in zip(*asked, strict=True))
    return {
        "row": rows.astype(np.int32), "domain": domains.astype(np.int8), "target": targets.astype(np.int8),
        "source": done.rin0.numpy(), "source_scale": done.rin0_scale.numpy(),
        "change": done.r_chunks[:, 0].numpy(), "change_scale": done.r_chunks_scale[:, 0].numpy(),
    }  # fmt: skip
