"""Wafer by wafer: who exposed it, what was logged, the terms that follow, and the two maps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from fabloom.errors import Interrupted
from fabloom.method import Context
from fabloom.plugins.blocks.overlay.fitting import drawn
from fabloom.plugins.blocks.overlay.maps import OverlayMaps
from fabloom.plugins.blocks.overlay.raster import Fields, Raster
from fabloom.plugins.blocks.overlay.terms import NAMES, SIZES, Real

from .logs import LOGS, names, units
from .params import SimulateParams
from .world import CHUCKS, LAYERS, RETICLES, TOOLS, UNSEEN, World

FROM_LOGS, FROM_BARCODE = 0.45, 0.35
"""Shares of the layer below that its logs and its tool and reticle tell."""
OUTLIER = 8.0
CHUNK = 256
SLOTS = 25
"""Wafers of a lot, of which some are measured."""
LETTERS = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"


@dataclass(frozen=True)
class Wafers:
    """Some wafers in standard units: u of the logs [N,F], terms of the current layer by cause [N,K], terms of the layer below, barcodes."""

    u: Real
    logs: NDArray[np.float32]
    parts: dict[str, Real]
    below: Real
    barcodes: list[str]


def lot_name(seed: int, lot: int) -> str:
    """LOT4K29: a name that follows from the seed and the lot's number, another for each lot of a seed."""
    scrambled = (lot * 7919 + seed * 104729) % len(LETTERS) ** 4
    digits = [LETTERS[scrambled // len(LETTERS) ** place % len(LETTERS)] for place in range(4)]
    return "LOT" + "".join(digits)


def wafers(params: SimulateParams, seed: int, rows: range) -> Wafers:
    """Wafers of these numbers: each a function of parameters, seed and number alone."""
    world, spare = World(params.world), params.spare_logs
    tool, chuck, reticle, slot, codes = [], [], [], [], []
    u, noise, hidden, wrong, xi, below = [], [], [], [], [], []
    lots = [log.lot for log in LOGS]
    heating = next(number for number, log in enumerate(LOGS) if log.name == "wafer_heating")
    for row in rows:
        lot, number = divmod(row, params.wafers_per_lot)
        of_lot, own = np.random.default_rng((seed, 3, lot)), np.random.default_rng((seed, 4, row))
        tool.append(int(of_lot.integers(TOOLS)) + UNSEEN * ("tool" in params.unseen))
        reticle.append(int(of_lot.integers(RETICLES)) + UNSEEN * ("reticle" in params.unseen))
        slot.append(1 + int(np.sort(of_lot.permutation(SLOTS)[: params.wafers_per_lot])[number]))
        chuck.append(slot[-1] % CHUCKS)
        u.append(np.sqrt(lots) * of_lot.normal(0, 1, len(LOGS)) + np.sqrt(1 - np.array(lots)) * own.normal(0, 1, len(LOGS)))
        u[-1][heating] = (1 - np.exp(-slot[-1] / 6) - LOGS[heating].mean) / LOGS[heating].scale
        xi.append(own.normal(0, 1, len(NAMES)))
        below.append(np.sqrt(0.5) * of_lot.normal(0, 1, len(NAMES)) + np.sqrt(0.5) * own.normal(0, 1, len(NAMES)))
        noise.append(own.normal(0, 1, spare))
        hidden.append(own.random(len(LOGS) + spare))
        wrong.append(np.where(own.random(len(LOGS) + spare) < params.outliers, OUTLIER * own.normal(0, 1, len(LOGS) + spare), 0))
        who, what = (one % 100 + 16 * (one >= UNSEEN) for one in (tool[-1], reticle[-1]))
        codes.append(
            f"T{who + 1:02d}-C{chuck[-1] + 1}|R{401 + what:04d}A|L{4 + reticle[-1] % LAYERS:02d}|{lot_name(seed, lot)}|W{slot[-1]:02d}"
        )
    cause = np.stack(u)
    effects = [world.effects(layer, np.array(tool), np.array(chuck), np.array(reticle)) for layer in (0, 1)]
    previous = (
        np.sqrt(FROM_LOGS) * cause @ world.previous.T
        + np.sqrt(FROM_BARCODE) * effects[1]
        + np.sqrt(1 - FROM_LOGS - FROM_BARCODE) * np.stack(below)
    )
    chance = 1 - params.from_previous - params.from_logs - params.from_barcode
    parts = {
        "previous": np.sqrt(params.from_previous) * previous,
        "logs": np.sqrt(params.from_logs) * cause @ world.current.T,
        "barcode": np.sqrt(params.from_barcode) * effects[0],
        "chance": np.sqrt(max(chance, 0.0)) * np.stack(xi),
    }
    told = np.concatenate([cause, np.stack(noise)], 1) + np.stack(wrong)
    means, scales = (np.array([getattr(log, name) for log in LOGS] + [fill] * spare) for name, fill in (("mean", 0.0), ("scale", 1.0)))
    logs = np.where(np.stack(hidden) < params.missing, np.nan, means + scales * told).astype(np.float32)
    return Wafers(cause, logs, parts, previous, codes)


def rough(params: SimulateParams, raster: Raster, seed: int, rows: range) -> tuple[Real, Real]:
    """What no term describes, [N,2,H,W] in nm of the current layer and of that below: residue that neighbours share, and noise."""
    sigma = params.residue_length / np.sqrt(2) / raster.pixel
    margin = int(np.ceil(3 * sigma))
    side = raster.size + 2 * margin
    smooth = np.zeros((side, side))
    smooth[side // 2, side // 2] = 1
    norm = np.sqrt(np.square(gaussian_filter(smooth, sigma)).sum())  # deviation of filtered white noise
    found = []
    for row in rows:
        rng = np.random.default_rng((seed, 5, row))
        field = gaussian_filter(rng.normal(0, 1, (4, side, side)), (0, sigma, sigma)) * (params.residue / norm)
        inner = field[:, margin : margin + raster.size, margin : margin + raster.size]
        below, new = inner[:2], inner[2:]
        current = params.residue_kept * below + np.sqrt(1 - params.residue_kept**2) * new
        noise = rng.normal(0, params.noise, (2, 2, raster.size, raster.size))
        found.append((current + noise[0], below + noise[1]))
    return tuple(np.stack(maps) for maps in zip(*found, strict=True))  # type: ignore[return-value]


def simulate(ctx: Context, params: SimulateParams) -> OverlayMaps:
    """Draw `params.count` wafers and write them, with the terms that they follow and where their variance comes from."""
    raster = Raster(params.size, Fields(params.field_width, params.field_height))
    parts: list[dict[str, Real]] = []
    found: dict[str, list[NDArray[np.float32]]] = {"values": [], "previous": [], "logs": [], "truth": [], "told": []}
    codes: list[str] = []
    with ctx.progress(params.count, unit="wafer", name="simulate") as bar:
        for rows in _chunks(params.count):
            if ctx.stop_requested():
                raise Interrupted(f"stopped after {rows.start} of {params.count} wafers. Run the same command again to start over.")
            made = wafers(params, ctx.seed, rows)
            theta = sum(made.parts.values()) * SIZES
            current, below = rough(params, raster, ctx.seed, rows)
            found["values"].append((drawn(raster, theta) + current).astype(np.float32))
            found["previous"].append((drawn(raster, made.below * SIZES) + below).astype(np.float32))
            found["logs"].append(made.logs)
            found["truth"].append(theta.astype(np.float32))
            found["told"].append((theta - made.parts["chance"] * SIZES).astype(np.float32))
            parts.append(made.parts)
            codes += made.barcodes
            bar.advance(len(rows))
    lots = np.arange(params.count) // params.wafers_per_lot
    stacked = {name: np.concatenate(blocks) for name, blocks in found.items()}
    return OverlayMaps.write_maps(
        ctx,
        stacked["values"],
        previous=stacked["previous"],
        valid=np.broadcast_to(raster.valid, (params.count, *raster.valid.shape)),
        logs=stacked["logs"],
        log_names=names(params.spare_logs),
        log_units=units(params.spare_logs),
        barcodes=codes,
        raster=raster,
        source=lots.astype(np.int32),
        source_names=[lot_name(ctx.seed, lot) for lot in range(int(lots.max()) + 1)],
        truth=stacked["truth"],
        told=stacked["told"],
        attrs={
            "settings": params.model_dump(mode="json"),
            "terms": list(NAMES),
            "variance": variances(params, raster, parts),
        },
    )


def variances(params: SimulateParams, raster: Raster, parts: list[dict[str, Real]]) -> dict[str, float]:
    """Share of the variance of the maps over the wafers that comes from each cause; residue goes on from below by its correlation."""
    scaled = raster.basis[:, :, raster.valid] * SIZES[:, None, None]
    gram = np.einsum("kcp,lcp->kl", scaled, scaled) / (2 * raster.valid.sum())
    found = {}
    for name in parts[0]:
        centred = np.concatenate([part[name] for part in parts])
        found[name] = float(np.trace(np.cov(centred.T) @ gram))
    found["previous"] += (params.residue * params.residue_kept) ** 2
    found["chance"] += params.residue**2 * (1 - params.residue_kept**2) + params.noise**2
    total = sum(found.values())
    return {name: round(value / total, 4) for name, value in found.items()}


def _chunks(count: int) -> Iterator[range]:
    for start in range(0, count, CHUNK):
        yield range(start, min(start + CHUNK, count))
