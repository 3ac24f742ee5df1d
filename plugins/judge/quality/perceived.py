"""Scores by what networks see: LPIPS and SIFID, of the images as they are and without their noise."""

from __future__ import annotations

import numpy as np

from fabloom.method import Context
from fabloom.plugins.blocks.perceptual import Lpips
from fabloom.plugins.blocks.weights import SIFID_STEMS, TRUNKS, MissingWeights

from . import features, notes, sifid
from .comparison import Comparison
from .params import EvaluateParams
from .scores import Findings, Metrics, Summary


def lpips_scores(ctx: Context, params: EvaluateParams, given: Comparison, smooth: Comparison, summary: Summary, found: Findings) -> None:
    """LPIPS to the reference and among the images, for every net whose weights are there; of the first without noise, too."""
    varied: Metrics = {"pixel_sd": float(given.images.std(0, dtype=np.float64).mean()) / given.deviation}
    for net in dict.fromkeys(params.nets):
        try:
            model = Lpips.load(net, ctx.device)
        except MissingWeights as problem:
            ctx.log(str(problem))
            found.notes.append(notes.left_out(f"LPIPS {net}", TRUNKS[net]))
            continue
        distances, among = features.lpips(ctx, model, given, params.neighbours)
        found.metrics[f"lpips_{net}"] = summary.distance(distances.values, distances.pair)
        first = found.nearness is None
        if first:
            found.nearness = f"LPIPS {net}", distances.values
            found.notes.append(notes.diversity(net, params.neighbours))
            without(found, f"lpips_{net}", features.lpips(ctx, model, smooth, 0)[0], summary)
        if among is not None:
            name = "lpips" if first else f"lpips_{net}"
            varied |= summary.mean(name, among)
            if distances.pair:
                varied[f"{name}_ratio"] = varied[name].value / distances.pair
    found.metrics["diversity"] = varied


def without(found: Findings, name: str, distances: features.Distances, summary: Summary) -> None:
    """A distance of the images whose noise was taken off, beside the one of those as they are."""
    found.metrics.setdefault("denoised", {})[name] = summary.distance(distances.values, distances.pair)


def sifid_scores(ctx: Context, given: Comparison, smooth: Comparison, summary: Summary, found: Findings) -> None:
    """SIFID under the name of the weights it was computed with; nothing without weights."""
    try:
        name, stem = sifid.load(ctx.device)
    except MissingWeights as problem:
        ctx.log(str(problem))
        found.notes.append(notes.left_out("SIFID", SIFID_STEMS["sifid"]))
        return
    distances = features.sifid(ctx, stem, given)
    found.metrics[name] = summary.distance(distances.values, distances.pair)
    without(found, name, features.sifid(ctx, stem, smooth), summary)
    if name != "sifid":
        found.notes.append(notes.STAND_IN)
