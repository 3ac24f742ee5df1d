"""Overlay maps by ikddit: what each thing that it is told is worth, wafers beyond the training, and what leaving patches out saves.

    python benchmarks/overlay.py controls STORE [--seeds 7 8 9]     after `fabloom run overlay --store STORE --seed 7` and so on
    python benchmarks/overlay.py speed [--tokens 64 256 1024]       masked sampling against full, untrained networks, seconds

`controls` draws ensembles with the layer below, logs or barcodes of other wafers, and for wafers whose reticle or tool no training set had.
It prints R2 of the terms that can be foretold and RMSE in nm; every row is of one model. `speed` prints CPU seconds, medians of five,
side by side, one thread, of maps of 16, 32 and 64 px in batches of eight.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np
import torch

import fabloom
from fabloom.kinds import Model
from fabloom.method import Context, Method, task
from fabloom.params import Params
from fabloom.plugins.blocks.noise import noise_schedule
from fabloom.plugins.blocks.operations import counted
from fabloom.plugins.blocks.overlay.fitting import fitted
from fabloom.plugins.blocks.overlay.maps import OverlayMaps
from fabloom.plugins.blocks.overlay.raster import Raster
from fabloom.plugins.blocks.overlay.terms import SIZES
from fabloom.plugins.overlay.ikddit import network
from fabloom.plugins.overlay.ikddit.conditions import TOKENS
from fabloom.plugins.overlay.ikddit.judging import scores
from fabloom.plugins.overlay.ikddit.judging.known import Known
from fabloom.plugins.overlay.ikddit.judging.rivals import Ridge
from fabloom.plugins.overlay.ikddit.material import Units
from fabloom.plugins.overlay.ikddit.params import SIZES as NETWORKS
from fabloom.plugins.overlay.ikddit.params import SampleParams
from fabloom.plugins.overlay.ikddit.priors import shapes
from fabloom.plugins.overlay.ikddit.walk import Prompt, Walk
from fabloom.registry import Registry
from fabloom.testing import run_task

WAFERS, MEMBERS = 150, 4


class ShuffleParams(Params):
    """Which of the things that a wafer is told by are another wafer's."""

    what: str


class Shuffled(Method):
    """Maps with the layer below, logs or barcodes of other wafers."""

    name = "shuffled"

    @task(version=1)
    def shuffle(self, ctx: Context, params: ShuffleParams, *, maps: OverlayMaps) -> OverlayMaps:
        """Drawn without replacement; maps and truth stay."""
        order = np.random.default_rng(ctx.seed).permutation(len(maps))
        own = np.arange(len(maps))
        below, logs, codes = (order if params.what == name else own for name in ("previous", "logs", "barcode"))
        return OverlayMaps.write_maps(
            ctx,
            maps.values[...],
            previous=maps.previous[...][below],
            valid=maps.valid[...].astype(bool),
            logs=np.where(maps.logged[...] == 1, maps.logs[...], np.nan)[logs].astype(np.float32),
            log_names=maps.log_names,
            log_units=list(maps.attrs["log_units"]),
            barcodes=[maps.barcodes[row] for row in codes],
            raster=maps.raster,
            **maps.origins(),
        )


def made(artifact: object) -> OverlayMaps:
    """As what it is."""
    assert isinstance(artifact, OverlayMaps)
    return artifact


def controls(store: Any, seed: int) -> None:
    """All rows of one seed."""
    result = fabloom.run("overlay", store=store, seed=seed, engine="inline", device="cpu")
    learned, test, model = result["maps"], result["test"], result["model"]
    assert isinstance(learned, OverlayMaps) and isinstance(test, OverlayMaps) and isinstance(model, Model)
    methods = Registry.load().methods
    ridge = Ridge.of(Known.of(learned), Units.of(learned, 3))
    sets = {"as they are": test}
    for what in ("previous", "logs", "barcode"):
        sets[f"{what} of others"] = made(run_task(store, Shuffled, "shuffle", {"what": what}, seed=seed, inputs={"maps": test}))
    for what in ("reticle", "tool"):
        params = {"count": 200, "unseen": [what]}
        sets[f"a {what} never seen"] = made(run_task(store, methods["overlay-map"], "simulate", params, seed=seed + 1000))
    for name, maps in sets.items():
        inputs = {"maps": maps, "model": model}
        drawn: Any = run_task(store, methods["ikddit"], "sample", {"members": MEMBERS, "wafers": WAFERS}, seed=seed, inputs=inputs)
        known = Known.of(maps, WAFERS)
        mean = drawn.by_wafer().mean(1).astype(np.float64)
        counts = scores.r2(Known.of(test, WAFERS).told, Known.of(test, WAFERS).terms) >= scores.EXPLAINED  # type: ignore[arg-type]
        found = {"ikddit": (fitted(known.raster, mean, known.valid) / SIZES, mean), "ridge": (ridge.terms(known), ridge.maps(known))}
        told = [
            f"{scores.r2(terms, known.terms)[counts].mean():.3f}, {scores.rmse(whole, known).mean():.3f}" for terms, whole in found.values()
        ]
        print(f"| {seed} | {name} | {' | '.join(told)} |", flush=True)


def speed(tokens: int) -> None:
    """One row: operations and seconds of a walk of twelve steps, half masked over full."""
    size = 2 * round(tokens**0.5)
    blocks, width, heads, decoder_width, decoder_blocks = NETWORKS["small"]
    shape = network.Shape(size, 2, width, blocks, heads, decoder_width, decoder_blocks, 64, holes="noisy_patch")
    net = network.Ikddit(shape, shapes(Raster(size).stored())).eval().requires_grad_(False)
    noise, valid = torch.randn(8, 2, size, size), torch.ones(8, 1, size, size)
    prompt = Prompt(torch.randn(8, network.GIVEN, size, size), torch.randn(8, sum(TOKENS.values()), 64))
    walks = {ratio: Walk(net, noise_schedule("linear", 1e-4, 0.02), SampleParams(mask_ratio=ratio), shape.tokens) for ratio in (0.0, 0.5)}

    def walked(ratio: float) -> None:
        seen = [None if one is None else one.expand(8, -1) for one in walks[ratio].seen(torch.Generator().manual_seed(0))]
        walks[ratio](noise, prompt, None, seen, valid, lambda: None)

    seen = walks[0.5].seen(torch.Generator().manual_seed(0))[0]
    assert seen is not None
    t = torch.full((8,), 500)
    encoder = [counted(lambda one=one: net.encode(noise, prompt.given, t, prompt.conditions, one))[1] for one in (seen.expand(8, -1), None)]
    row = [f"{encoder[0] / encoder[1]:.3f}", f"{counted(lambda: walked(0.5))[1] / counted(lambda: walked(0.0))[1]:.3f}"]
    torch.set_num_threads(1)
    taken: dict[float, list[float]] = {0.0: [], 0.5: []}
    for _ in range(5):
        for ratio, found in taken.items():
            began = time.process_time()
            walked(ratio)
            found.append(time.process_time() - began)
    full, half = (statistics.median(taken[ratio]) for ratio in (0.0, 0.5))
    print(f"| {tokens} | {' | '.join(row)} | {full:.2f} / {half:.2f} = {full / half:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    asked = parts.add_parser("controls")
    asked.add_argument("store")
    asked.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    parts.add_parser("speed").add_argument("--tokens", type=int, nargs="+", default=[64, 256, 1024])
    given = parser.parse_args()
    if given.part == "controls":
        print("| seed | wafers are told by | ikddit: R2, RMSE nm | ridge: R2, RMSE nm |\n|---|---|---|---|")
        for seed in given.seeds:
            controls(fabloom.open_store(given.store), seed)
    else:
        print("| patches | encoder's operations, half / full | all operations | CPU s, full / half |\n|---|---|---|---|")
        for tokens in given.tokens:
            speed(tokens)


if __name__ == "__main__":
    main()
