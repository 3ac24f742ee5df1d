"""What the equipment logs of a simulated wafer, and which term each log moves.

A log's cause `u` is standard normal; what is logged is its mean plus its scale times u, in its unit. Some drive the current layer, some
drove the layer below, and the rest mean nothing. Signs and partners follow general lithography practice; amounts are the simulation's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from fabloom.plugins.blocks.overlay.terms import NAMES, Real

Drives = Literal["current", "previous", "nothing"]


@dataclass(frozen=True)
class Log:
    """One log: unit, mean and scale of its values, what it drives, and the share of its variance that is one for all wafers of a lot."""

    name: str
    unit: str
    mean: float
    scale: float
    drives: Drives = "nothing"
    lot: float = 0.5


LOGS: Final[tuple[Log, ...]] = (
    Log("lens_temperature", "mK", 0, 5, "current", 0.8),
    Log("ambient_pressure", "hPa", 1000, 6, "current", 0.9),
    Log("dose", "mJ/cm2", 28, 0.4, "current", 0.6),
    Log("wafer_heating", "1", 0.8, 0.2, "current", 0.0),
    Log("days_since_maintenance", "d", 20, 9, "current", 0.95),
    Log("reticle_heating", "1", 0.5, 0.2, "current", 0.4),
    Log("stage_residual_x", "nm", 0, 0.5, "current", 0.2),
    Log("stage_residual_y", "nm", 0, 0.5, "current", 0.2),
    Log("chuck_temperature", "mK", 0, 3, "current", 0.5),
    Log("wafer_bow", "um", 15, 10, "current", 0.5),
    Log("cmp_time", "s", 60, 4, "current", 0.5),
    Log("film_stress", "MPa", -120, 25, "current", 0.6),
    Log("apc_x", "nm", 0, 1.0, "current", 0.6),
    Log("apc_y", "nm", 0, 1.0, "current", 0.6),
    Log("previous_pressure", "hPa", 1000, 6, "previous", 0.7),
    Log("previous_chuck_temperature", "mK", 0, 3, "previous", 0.4),
    Log("previous_stage_residual", "nm", 0, 0.5, "previous", 0.2),
    Log("previous_bow", "um", 12, 9, "previous", 0.4),
    Log("previous_cmp_time", "s", 58, 4, "previous", 0.4),
    Log("previous_apc_x", "nm", 0, 1.0, "previous", 0.5),
    Log("previous_apc_y", "nm", 0, 1.0, "previous", 0.5),
    Log("track_humidity", "%", 45, 1),
    Log("resist_age", "d", 20, 8, lot=0.9),
    Log("bake_temperature", "K", 383, 0.3),
    Log("developer_flow", "l/min", 1.2, 0.05),
    Log("air_flow", "m/s", 0.35, 0.02),
    Log("chuck_vacuum", "kPa", -60, 1),
    Log("queue_time", "h", 6, 2, lot=0.9),
    Log("laser_power", "W", 90, 1),
    Log("alignment_signal", "%", 70, 6),
    Log("ring_pressure", "kPa", 20, 1),
    Log("rinse_time", "s", 30, 1),
)
PARTNERS: Final[dict[str, dict[str, float]]] = {
    "translation_x": {"apc_x": -1.0, "days_since_maintenance": 0.5, "stage_residual_x": 0.6},
    "translation_y": {"apc_y": -1.0, "stage_residual_y": 0.6},
    "scaling_x": {"chuck_temperature": 1.0, "wafer_heating": 0.5},
    "scaling_y": {"chuck_temperature": 1.0, "film_stress": -0.5},
    "rotation": {"stage_residual_x": 0.8, "stage_residual_y": -0.8},
    "non_orthogonality": {"stage_residual_y": 1.0, "days_since_maintenance": 0.6},
    "dx_X3": {"wafer_bow": 1.0, "film_stress": 0.6},
    "dy_Y3": {"wafer_bow": 1.0, "film_stress": 0.6},
    "magnification": {"ambient_pressure": 1.0, "lens_temperature": 0.6, "dose": 0.5},
    "asymmetric_magnification": {"reticle_heating": 1.0, "lens_temperature": 0.5},
    "field_rotation": {"stage_residual_x": -0.6, "reticle_heating": 0.5},
    "scan_y": {"stage_residual_y": 1.0},
    "edge_roll_off": {"cmp_time": 1.0, "film_stress": -0.4},
}
"""Of the terms whose causes are known by name; the others are moved by three logs each, drawn for the world."""
DRAWN = 3


def names(spare: int) -> list[str]:
    """Names of all logs, with `spare` more that mean nothing."""
    return [log.name for log in LOGS] + [f"spare_{number:03d}" for number in range(spare)]


def units(spare: int) -> list[str]:
    """Their units."""
    return [log.unit for log in LOGS] + ["1"] * spare


def couplings(drives: Drives, rng: np.random.Generator, *, known: bool) -> Real:
    """How much each log moves each term in deviations, [K,F], a row of squares that add up to 1; of `known` partners, or drawn."""
    own = [number for number, log in enumerate(LOGS) if log.drives == drives]
    found = np.zeros((len(NAMES), len(LOGS)))
    index = {log.name: number for number, log in enumerate(LOGS)}
    for row, term in enumerate(NAMES):
        chosen, amounts = rng.permutation(own)[:DRAWN], rng.normal(0, 1, DRAWN)  # drawn for every term, so that none moves another's
        if known and term in PARTNERS:
            for name, amount in PARTNERS[term].items():
                found[row, index[name]] = amount
        else:
            found[row, chosen] = amounts
    scaled: Real = found / np.linalg.norm(found, axis=1, keepdims=True)
    return scaled
