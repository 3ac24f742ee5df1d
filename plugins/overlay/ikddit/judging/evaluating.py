"""The task `evaluate`: generators of overlay maps and their rivals on wafers of lots that nobody learned from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError
from fabloom.kinds import Metric, Report, Table
from fabloom.kinds.metric import Better
from fabloom.method import Context
from fabloom.plugins.blocks.overlay.drawing import heat, sheet, tiled
from fabloom.plugins.blocks.overlay.ensembles import OverlayEnsembles
from fabloom.plugins.blocks.overlay.fitting import fitted
from fabloom.plugins.blocks.overlay.maps import OverlayMaps
from fabloom.plugins.blocks.overlay.terms import NAMES, SIZES, TERMS, Real
from fabloom.plugins.blocks.streams import numpy_stream
from fabloom.plugins.overlay.ikddit.material import Units
from fabloom.plugins.overlay.ikddit.params import EvaluateParams

from . import scores
from .rivals import FIELDS, Known, Ridge

SHOWN = 4
NOTES = (
    "All wafers are of lots that nothing was learned from. R2: of terms of which at least 0.8 of the variance can be foretold, as the "
    "simulation knows it, or ridge regression of measured wafers; terms are fitted to the mean of an ensemble and to the measured map. "
    "CRPS: continuous ranked probability score, for one map its absolute error. Coverage: share of pixels within 1.96 deviations of the "
    "ensemble, 0.95 if calibrated. Intervals resample lots.",
    "FD: Frechet distance of 34 fitted terms, in usual sizes, and the logs of three band energies of what they leave; no Inception, "
    "not FID. floor: that of as many training wafers. Gaussian: maps from a normal distribution of the training terms, told nothing.",
    "Ridge is told the fitted terms of the layer below, all logs and the fields of the barcode. Its ensemble adds errors that it made on "
    "training wafers. Where wafers follow what they are told in straight lines, as simulated ones do, little can be better than it.",
)
BETTER: dict[str, Better] = {"crps": "down", "rmse": "down", "r2": "up", "r2_least": "up", "fd": "down"}
COLUMNS = {
    "r2": "R2 of terms", "r2_least": "least R2", "rmse": "RMSE, nm", "crps": "CRPS, nm", "coverage": "coverage", "fd": "FD of terms",
    "deviation": "deviation over real", "low": "power, low", "middle": "middle", "high": "high", "going_on": "correlation with below",
    "seams": "seams over real",
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One generator: members [N,M,2,H,W] in nm, and the model's own spread [N,2,H,W] where it has one."""

    members: Real
    spread: Real | None = None


def evaluate(ctx: Context, params: EvaluateParams, training: OverlayMaps, maps: OverlayMaps, samples: Sequence[OverlayEnsembles]) -> Report:
    """Write the report."""
    entries, wafers = given(params, maps, samples)
    learned, known = Known.of(training), Known.of(maps, wafers)
    if learned.raster.stored() != known.raster.stored():
        raise DataError(f"training set {training.key[:12]} lies on another raster than set {maps.key[:12]}; load both alike")
    ridge, rng = Ridge.of(learned, Units.of(training, FIELDS)), numpy_stream(ctx.seed, "errors")
    explained = explainable(known, ridge)
    if not explained.any():
        raise DataError(f"of no term of set {maps.key[:12]} a share of {scores.EXPLAINED} can be foretold: R2 would tell nothing")
    own = scores.look(known.raster, known.values, known.valid)
    judge = Judge(known, own, known.residue_below, explained)
    entries |= {
        "ridge": Entry(ridge.maps(known)[:, None]),
        "ridge, with its errors": Entry(ridge.ensembles(known, learned, params.members, rng)),
        "layer below": Entry(known.below[:, None]),
    }
    found = {}
    with ctx.progress(len(entries), unit="generator", name="evaluate") as bar:
        for name, entry in entries.items():
            found[name] = judge.scores(entry)
            bar.advance()
    some = rng.permutation(len(learned.values))[: len(known.values)]
    floor = scores.frechet(scores.look(known.raster, learned.values[some], learned.valid[some]).features, own.features)
    gaussian = scores.frechet(judge.gaussian(learned, rng), own.features)
    controls = ("ridge", "ridge, with its errors", "layer below")
    metrics: dict[str, Any] = {
        name: {
            key: Metric(
                value, judge.interval(key, entries[name], ctx.seed), better=BETTER.get(key),
                role="headline" if key == "crps" and name not in controls else "control" if name in controls else "detail",
                label=COLUMNS[key],
            )
            for key, value in row.items()
        }
        for name, row in found.items()
    }  # fmt: skip
    metrics["fd_floor"], metrics["fd_gaussian"] = Metric(floor, role="control"), Metric(gaussian, role="control")
    words = {name: scores.own_word(e.spread, e.members.mean(1), known) for name, e in entries.items() if e.spread is not None}
    metrics["own_spread"] = {name: dict(values) for name, values in words.items()}
    metrics["real"] = {
        "going_on": scores.going_on(own.rest, known.residue_below),
        "wafers": len(known.values),
        "lots": len(np.unique(known.lots)),
    }
    tables = {
        "Generators": Table(("maps", *COLUMNS.values()), [(name, *(row.get(key) for key in COLUMNS)) for name, row in found.items()]),
        "Own word of the error": spread_table(words),
        "R2 of each term": term_table(judge, entries, explained),
    }
    return Report.write(
        ctx, metrics, tables=tables, pictures=pictures(known, entries), verdict=verdict(found, list(controls), floor), notes=list(NOTES)
    )


def given(params: EvaluateParams, maps: OverlayMaps, samples: Sequence[OverlayEnsembles]) -> tuple[dict[str, Entry], int]:
    """(entries by name, wafers that all have). Raises DataError for samples of other maps."""
    entries, wafers = {}, min(one.wafers for one in samples)
    for name, one in zip(params.entries, samples, strict=True):
        if one.attrs.get("of") != maps.key:
            raise DataError(
                f"samples '{name}' were drawn for set {str(one.attrs.get('of'))[:12]}, not for {maps.key[:12]}; give the same maps"
            )
        shape = (one.wafers, one.members, *one.values.shape[1:])
        members = one.values[...].reshape(shape)[:wafers].astype(np.float64)
        spread = one.spread[...].reshape(shape)[:wafers].astype(np.float64).mean(1)
        entries[name] = Entry(members, spread)
    return entries, wafers


def explainable(known: Known, ridge: Ridge) -> NDArray[np.bool_]:
    """Which terms can be foretold [K]: by the part of simulated ones that is told, else by ridge regression."""
    foretold = ridge.terms(known) if known.told is None else known.told
    mask: NDArray[np.bool_] = scores.r2(foretold, known.terms) >= scores.EXPLAINED
    return mask


class Judge:
    """Scores of generators on known wafers, by terms that can be foretold."""

    def __init__(self, known: Known, own: scores.Look, below: Real, explained: NDArray[np.bool_]) -> None:
        self.known, self.own, self.below, self.explained = known, own, below, explained

    def terms(self, entry: Entry) -> Real:
        """R2 of each term of the mean map [K]."""
        return scores.r2(fitted(self.known.raster, entry.members.mean(1), self.known.valid) / SIZES, self.known.terms)

    def scores(self, entry: Entry) -> dict[str, float | None]:
        """All of one generator; of how maps look by the first member of each wafer."""
        known, mean, one = self.known, entry.members.mean(1), entry.members[:, 0]
        raster, several = known.raster, entry.members.shape[1]
        each, looks = self.terms(entry)[self.explained], scores.look(raster, one, known.valid)
        valid = np.broadcast_to(known.valid[:, None], one.shape)
        wide = entry.members.std(1, ddof=1) * np.sqrt(1 + 1 / several) if several > 1 else None
        bands = (looks.bands.mean(0) / self.own.bands.mean(0)).tolist()
        return {
            "r2": float(each.mean()),
            "r2_least": float(each.min()),
            "rmse": float(scores.rmse(mean, known).mean()),
            "crps": float(scores.crps(entry.members, known).mean()),
            "coverage": None if wide is None else scores.coverage(mean, wide, known),
            "fd": scores.frechet(looks.features, self.own.features),
            "deviation": float(one[valid].std() / known.values[valid].std()),
            **dict(zip(("low", "middle", "high"), bands, strict=True)),
            "going_on": scores.going_on(looks.rest, self.below),
            "seams": scores.seams(raster, one, known.valid) / scores.seams(raster, known.values, known.valid),
        }

    def interval(self, key: str, entry: Entry, seed: int) -> tuple[float, float] | None:
        """95 % interval of a score that is a mean over wafers, lots resampled; None of others and of a single lot."""
        of: dict[str, Callable[[], Real]] = {
            "rmse": lambda: scores.rmse(entry.members.mean(1), self.known), "crps": lambda: scores.crps(entry.members, self.known),
        }  # fmt: skip
        lots = self.known.lots
        numbers = np.unique(lots)
        if key not in of or len(numbers) < 2:
            return None
        values = of[key]()
        sums, counts = (np.array([f(values[lots == lot]) for lot in numbers]) for f in (np.sum, len))
        drawn = numpy_stream(seed, f"lots/{key}").integers(len(numbers), size=(2000, len(numbers)))
        low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), (0.025, 0.975))
        return float(low), float(high)

    def gaussian(self, learned: Known, rng: np.random.Generator) -> Real:
        """Features of maps that a normal distribution of the training terms makes, without anything that terms do not describe."""
        drawn = rng.multivariate_normal(learned.terms.mean(0), np.cov(learned.terms.T), len(self.known.values))
        raster = self.known.raster
        maps = np.einsum("nk,kchw->nchw", drawn * SIZES, raster.basis, optimize=True) * self.known.valid[:, None]
        return scores.look(raster, maps + 1e-3 * rng.normal(size=maps.shape), self.known.valid).features


def spread_table(words: Mapping[str, Mapping[str, float]]) -> Table:
    """What models say of their own error."""
    columns = {
        "spearman_pixels": "rank correlation with the error, pixels", "spearman_places": "places", "spearman_wafers": "wafers",
        "factor": "factor", "coverage": "coverage with it",
    }  # fmt: skip
    return Table(("maps", *columns.values()), [(name, *(values[key] for key in columns)) for name, values in words.items()])


def term_table(judge: Judge, entries: Mapping[str, Entry], explained: NDArray[np.bool_]) -> Table:
    """A row a term."""
    columns = {name: judge.terms(entry) for name, entry in entries.items() if name != "ridge, with its errors"}
    if judge.known.told is not None:
        columns = {"can be foretold": scores.r2(judge.known.told, judge.known.terms)} | columns
    rows = [
        (NAMES[k], TERMS[k].unit, "yes" if explained[k] else "no", *(round(float(values[k]), 3) for values in columns.values()))
        for k in range(len(NAMES))
    ]
    return Table(("term", "unit", "counts", *columns), rows)


def verdict(found: Mapping[str, Mapping[str, float | None]], controls: Sequence[str], floor: float) -> str:
    """How the best generator compares with ridge."""

    def of(name: str, key: str) -> float:
        return float(found[name][key] or 0)

    best, rival = min((name for name in found if name not in controls), key=lambda name: of(name, "crps")), "ridge, with its errors"
    mine, theirs = of(best, "crps"), of(rival, "crps")
    word = "better" if mine < theirs else "worse"
    return (
        f"'{best}' has a CRPS of {mine:.3f} nm, {abs(mine / theirs - 1):.0%} {word} than '{rival}' ({theirs:.3f} nm); its maps are "
        f"{of(best, 'fd') / floor:.1f} floors from real ones, ridge's with errors {of(rival, 'fd') / floor:.1f}."
    )


def pictures(known: Known, entries: Mapping[str, Entry]) -> dict[str, NDArray[np.uint8]]:
    """Measured maps, a member and the mean of each generator, and where members differ."""
    count, raster, valid = min(SHOWN, len(known.values)), known.raster, known.valid
    name, entry = next(iter(entries.items()))
    rows = [known.below[:count], known.values[:count], entry.members[:count, 0], entry.members[:count].mean(1)]
    picture, full = sheet(rows, valid[:count], raster)
    found = {f"Rows: layer below, measured, a map of '{name}', the mean of its ensemble (darkest at {full:.1f} nm)": picture}
    error = np.hypot(*np.moveaxis(entry.members.mean(1) - known.values, 1, 0))
    shown = [error]
    titles = ["error of the mean"]
    if entry.members.shape[1] > 1:
        shown.append(np.hypot(*np.moveaxis(entry.members.std(1, ddof=1), 1, 0)))
        titles.append("deviation of the members")
    if entry.spread is not None:
        shown.append(np.hypot(entry.spread[:, 0], entry.spread[:, 1]))
        titles.append("the model's own word")
    most = float(np.quantile(error[:count][valid[:count]], 0.98))
    found[f"Rows: {', '.join(titles)} (darkest at {most:.2f} nm)"] = tiled(
        [[heat(one[wafer], valid[wafer], most) for wafer in range(count)] for one in shown]
    )
    return found
