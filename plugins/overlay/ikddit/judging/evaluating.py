"""The task `evaluate`: generators of overlay maps and their rivals on wafers of lots that nobody learned from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fabloom.errors import DataError
from fabloom.kinds import Metric, Report, Table
from fabloom.kinds.metric import Better
from fabloom.method import Context
from fabloom.plugins.blocks.overlay.ensembles import OverlayEnsembles
from fabloom.plugins.blocks.overlay.maps import OverlayMaps
from fabloom.plugins.blocks.sources import FEWEST
from fabloom.plugins.blocks.streams import numpy_stream
from fabloom.plugins.overlay.ikddit.material import Units
from fabloom.plugins.overlay.ikddit.params import EvaluateParams

from . import scores
from .judge import Entry, Judge, explainable
from .known import Known, check_apart
from .pictures import pictures
from .rivals import Ridge, climatology

RIVAL = "ridge, with its errors"
CONTROLS = ("ridge", RIVAL, "climatology", "layer below")
NOTES = (
    "No lot of these wafers was learned from. R2: of terms of which at least 0.8 of the variance can be foretold, as the simulation knows "
    "it, or ridge regression of measured wafers; terms are fitted to the mean of an ensemble and to the measured map. CRPS: continuous "
    "ranked probability score, for one map its absolute error. Coverage: share of pixels within 1.96 deviations of the ensemble, 0.95 if "
    "calibrated. Intervals resample lots.",
    "FD: Frechet distance of fitted terms, in usual sizes, and the logs of the power, in thirds of the band, of what they leave; of terms "
    "alone beside it; no Inception, not FID. Floor: that of as many training wafers.",
    "Ridge is told the fitted terms of the layer below, all logs and the fields of the barcode. Its ensemble adds errors that it made on "
    "training wafers. Climatology draws terms from their normal distribution over training wafers, told nothing. Where wafers follow what "
    "they are told in straight lines, as simulated ones do, little can be better than ridge.",
)
NOTHING = (
    f"Of no term {scores.EXPLAINED} of the variance can be foretold, so R2 is left out: what wafers are told by says little of these maps, "
    "or they are too few for ridge regression to find it."
)
BETTER: dict[str, Better] = {"crps": "down", "rmse": "down", "r2": "up", "r2_least": "up", "fd": "down", "fd_terms": "down"}
COLUMNS = {
    "r2": "R2 of terms", "r2_least": "least R2", "rmse": "RMSE, nm", "crps": "CRPS, nm", "coverage": "coverage", "fd": "FD",
    "fd_terms": "FD of terms alone", "deviation": "deviation over real", "low": "residue's power over real, low",
    "middle": "residue's power, middle", "high": "residue's power, high",
    "correlation": "residue's correlation with below", "seams": "seams over real",
}  # fmt: skip


def evaluate(ctx: Context, params: EvaluateParams, training: OverlayMaps, maps: OverlayMaps, samples: Sequence[OverlayEnsembles]) -> Report:
    """Write the report."""
    check_apart(training, maps)
    entries, wafers = given(params, maps, samples)
    learned, known = Known.of(training), Known.of(maps, wafers)
    ridge, rng = Ridge.of(learned, Units.of(training, params.group_parts)), numpy_stream(ctx.seed, "rivals")
    explained = explainable(known, ridge)
    judge = Judge(known, explained)
    rivals = {
        "ridge": ridge.maps(known)[:, None],
        RIVAL: ridge.ensembles(known, learned, params.members, rng),
        "climatology": climatology(known, learned, params.members, rng),
        "layer below": known.below[:, None],
    }
    entries |= {name: Entry(members) for name, members in rivals.items()}
    rows: dict[str, dict[str, Metric]] = {}
    of_wafers = {}
    with ctx.progress(len(entries), unit="generator", name="evaluate") as bar:
        for name, entry in entries.items():
            each = judge.each(entry)
            of_wafers[name] = each["crps"]
            values = judge.scores(entry) | {key: float(one.mean()) for key, one in each.items()}
            rows[name] = {
                key: Metric(
                    values[key],
                    judge.interval(each[key], ctx.seed) if key in each else None,
                    better=BETTER.get(key),
                    role="control" if name in CONTROLS else "headline" if key == "crps" else "detail",
                    label=COLUMNS[key],
                )
                for key in COLUMNS
            }
            bar.advance()
    some = rng.permutation(len(learned.values))[:wafers]
    floor = scores.Look.of(known.raster, learned.values[some], learned.valid[some])
    floors = {"fd": judge.real.distance(floor), "fd_terms": judge.real.distance_of_terms(floor)}
    sigmas = {name: scores.of_sigma(one.sigma, one.mean, known) for name, one in entries.items() if one.sigma is not None}
    metrics: dict[str, Any] = {
        **rows,
        "floor": {key: Metric(value, role="control", label=COLUMNS[key]) for key, value in floors.items()},
        "predicted_sigma": sigmas,
        "real": {
            "correlation": scores.correlation(judge.real.rest, known.residue_below),
            "wafers": wafers,
            "lots": len(set(known.lots.tolist())),
        },
    }
    tables = {
        "Generators": Table(
            ("maps", *COLUMNS.values()),
            [(name, *(row[key].value for key in COLUMNS)) for name, row in rows.items()]
            + [("floor: training wafers", *(floors.get(key) for key in COLUMNS))],
        ),
        "Predicted sigma": sigma_table(sigmas),
        "R2 of each term": judge.term_table({name: entry for name, entry in entries.items() if name not in (RIVAL, "climatology")}),
    }
    best = min(params.entries, key=lambda name: rows[name]["crps"].value)
    apart = judge.interval(of_wafers[best] - of_wafers[RIVAL], ctx.seed, -math.inf)
    told = verdict(best, rows, apart, floors["fd"], int(judge.groups.max()) + 1)
    notes = list(NOTES if explained.any() else (NOTHING, *NOTES))
    return Report.write(ctx, metrics, tables=tables, pictures=pictures(known, entries), verdict=told, notes=notes)


def given(params: EvaluateParams, maps: OverlayMaps, samples: Sequence[OverlayEnsembles]) -> tuple[dict[str, Entry], int]:
    """(entries by name, wafers that all have). Raises DataError for samples of other maps."""
    entries, wafers = {}, min(one.wafers for one in samples)
    for name, one in zip(params.entries, samples, strict=True):
        if one.attrs.get("of") != maps.key:
            raise DataError(
                f"samples '{name}' were drawn for set {str(one.attrs.get('of'))[:12]}, not for {maps.key[:12]}; give the same maps"
            )
        values, sigma = (one.by_wafer(array, slice(wafers)).astype(float) for array in ("values", "sigma"))
        entries[name] = Entry(values, sigma.mean(1))
    return entries, wafers


def sigma_table(sigmas: dict[str, dict[str, float]]) -> Table:
    """What models say of their own error."""
    columns = {
        "spearman_pixels": "rank correlation with the error, pixels", "spearman_places": "places", "spearman_wafers": "wafers",
        "factor": "factor", "coverage": "coverage with it",
    }  # fmt: skip
    return Table(("maps", *columns.values()), [(name, *(values[key] for key in columns)) for name, values in sigmas.items()])


def verdict(best: str, rows: dict[str, dict[str, Metric]], apart: tuple[float, float] | None, floor: float, lots: int) -> str:
    """How the best generator compares with ridge, whose CRPS lies so far `apart` from its own: an interval over so many lots."""
    mine, theirs = (rows[name]["crps"].value for name in (best, RIVAL))
    far = [f"{rows[name]['fd'].value / floor:.1f}" for name in (best, RIVAL)]
    looks = f"its maps are {far[0]} floors from real ones, those of ridge with errors {far[1]}."
    if lots < FEWEST or apart is None:
        return (
            f"'{best}' has a CRPS of {mine:.3f} nm, '{RIVAL}' {theirs:.3f} nm, of {lots} lot{'s' * (lots > 1)}: fewer than {FEWEST} say "
            f"nothing about others, and there is no verdict; {looks}"
        )
    word = f"{abs(mine / theirs - 1):.0%} {'better' if mine < theirs else 'worse'} than"
    word = "not told apart from" if apart[0] <= 0 <= apart[1] else word
    return f"'{best}' has a CRPS of {mine:.3f} nm, {word} '{RIVAL}' ({theirs:.3f} nm, apart by {apart[0]:+.3f} to {apart[1]:+.3f}); {looks}"
