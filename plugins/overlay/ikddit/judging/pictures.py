"""What a page shows of generated overlay maps: beside measured ones, and where they err."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fabloom.plugins.blocks.overlay.drawing import heat, sheet, tiled
from fabloom.plugins.blocks.overlay.terms import Real

from .judge import Entry
from .known import Known

SHOWN = 4


def pictures(known: Known, entries: Mapping[str, Entry]) -> dict[str, NDArray[np.uint8]]:
    """Of the first wafers and the first generator: layer below, measured map, a member, the mean; errors and what is said of them."""
    name, entry = next(iter(entries.items()))
    valid = known.valid[:SHOWN]
    rows = [known.below[:SHOWN], known.values[:SHOWN], entry.members[:SHOWN, 0], entry.mean[:SHOWN]]
    picture, full = sheet(rows, valid, known.raster)
    maps = {"error of the mean": entry.mean[:SHOWN] - known.values[:SHOWN]}
    if entry.several:
        maps["deviation of the members"] = entry.deviation[:SHOWN]
    if entry.sigma is not None:
        maps["predicted sigma"] = entry.sigma[:SHOWN]
    lengths: list[Real] = [np.hypot(one[:, 0], one[:, 1]) for one in maps.values()]
    most = float(np.quantile(lengths[0][valid], 0.98))
    drawn = tiled([[heat(one, mask, most) for one, mask in zip(row, valid, strict=True)] for row in lengths])
    return {
        f"Rows: layer below, measured, a map of '{name}', the mean of its ensemble (darkest at {full:.1f} nm)": picture,
        f"Rows: {', '.join(maps)} (darkest at {most:.2f} nm)": drawn,
    }
