"""The task `report`: numbers of all images and of each, and two pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fabloom import Context, DataError, Metric, Report, Table

from . import roughness
from .kind import LineEdges
from .method import ReportParams

Real = NDArray[np.float64]
Picture = NDArray[np.uint8]
ZOOM = 4


def run(ctx: Context, params: ReportParams, given: LineEdges) -> Report:
    """Measure the edges and write the report."""
    edges = given.edges[...].astype(np.float64)
    if edges.shape[2] < 3:
        raise DataError(f"edges of {edges.shape[2]} rows have no roughness; 3 are needed")
    unit, scale = ("px", 1.0) if params.pixel_nm is None else ("nm", params.pixel_nm)
    widths, pitch = roughness.widths(edges).mean(-1), roughness.pitch(edges)
    each: dict[str, Real] = {"cd": widths.mean(1), "ler_3sigma": roughness.ler(edges), "lwr_3sigma": roughness.lwr(edges)}
    if pitch is not None:
        each["pitch"] = pitch
    each = {name: values * scale for name, values in each.items()}
    metrics: dict[str, Any] = {"images": len(given), "lines": given.lines, "filled_share": float(given.filled[...].mean())}
    for name, values in each.items():
        pooled = np.sqrt(np.square(values).mean()) if name.endswith("3sigma") else values.mean()
        headline, rough = name == "ler_3sigma", name.endswith("3sigma")
        metrics[f"{name}_{unit}"] = Metric(float(pooled), better="down" if rough else None, role="headline" if headline else "detail")
    metrics[f"cd_local_3sigma_{unit}"] = float(3 * widths.std(ddof=1) * scale) if widths.size > 1 else None
    rows = [[index, *values] for index, values in enumerate(np.stack(list(each.values()), 1).tolist())]
    return Report.write(
        ctx,
        metrics,
        tables={f"Images, lengths in {unit}": Table(("image", *each), rows)},
        pictures={
            f"Lines of image 0 from their edges, {ZOOM} times enlarged": drawn(edges[0], given.width, given.tone),
            f"Residuals of the edges of image 0 (a band each): blue left, red right, full colour at {spread(edges[0]) * scale:.3g} {unit}":
                coloured(roughness.residuals(edges[0])),
        },
        notes=[
            "LER: 3 sigma of the edge positions about a straight line, over all edges; LWR: 3 sigma of the width along a line; "
            "cd_local: 3 sigma of the mean widths of single lines. Noise of the camera is part of LER and LWR.",
        ],
    )  # fmt: skip


def drawn(edges: Real, width: int, tone: str) -> Picture:
    """The lines of edges [E,H], filled with their tone; uint8 [ZOOM H, ZOOM W]."""
    fine = (np.arange(width * ZOOM) + 0.5) / ZOOM - 0.5
    inside = (fine[None, :, None] > edges[:, None]).sum(0).T % 2 == 1  # right of an odd number of edges
    dark, bright = (60, 220) if tone == "dark" else (220, 60)
    picture: Picture = np.where(inside, dark, bright).astype(np.uint8).repeat(ZOOM, 0)
    return picture


def spread(edges: Real) -> float:
    """The residual that is shown in full colour, in pixels: the largest, 0.05 at least."""
    return max(float(np.abs(roughness.residuals(edges)).max()), 0.05)


def coloured(residuals: Real) -> Picture:
    """Residuals [E,H] as bands of colour, row y of the image from left to right; uint8 [4 ZOOM E, ZOOM H, 3]."""
    share = residuals / max(float(np.abs(residuals).max()), 0.05)
    colour = np.stack([1 + np.minimum(share, 0), 1 - np.abs(share), 1 - np.maximum(share, 0)], -1)
    picture: Picture = np.rint(255 * colour).astype(np.uint8).repeat(4 * ZOOM, 0).repeat(ZOOM, 1)
    return picture
