"""Recording a teacher's trajectories: start, chunk residuals and image of every seeded noise, quantised, block by block."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fabloom.errors import DataError, Interrupted
from fabloom.kinds import Model, OfflineData, offline_specs
from fabloom.method import Context
from fabloom.plugins.blocks.operations import OPERATIONS, counted
from fabloom.storage.format.quantise import Quantised, QuantiserStats, chunk_order, quantise

from .networks import Circuit
from .params import RecordParams
from .recurrence import boundaries, labels, readout, run, starting_noise
from .training import load_circuit

TELESCOPING = 1e-4
"""Largest difference allowed between z_end and rin0 + sum of chunks before quantisation; float32 rounding is near 1e-6."""


BATCHES = "batches"
"""Attribute of a part: what was measured of each of its batches."""


class Ledger:
    """What is measured, batch by batch, and over the whole recording. Kept in the scratch folder block by block, so that a restart goes
    on from it, and in the attributes of a part, so that the whole is measured as in one go: sums are taken in the order of the batches.
    """

    def __init__(self, chunks: int) -> None:
        self.quantiser, self._chunks = QuantiserStats(chunks), chunks
        self.order: list[int] | None = None
        self.telescoping = 0.0
        self.low, self.high = float("inf"), float("-inf")
        self.batches: list[dict[str, Any]] = []
        self._saved = 0

    def measure(self, rin0: Tensor, chunks: Tensor, done: Quantised, error: float, x0: Tensor) -> None:
        """Take in a batch."""
        stats = QuantiserStats(self._chunks)
        stats.update(rin0, chunks, done)
        self.add({"quantiser": stats.state_dict(), "telescoping": error, "low": float(x0.min()), "high": float(x0.max())})

    def add(self, batch: dict[str, Any]) -> None:
        """Take in what was measured of the next batch."""
        stats = QuantiserStats(self._chunks)
        stats.load_state_dict(batch["quantiser"])
        self.quantiser.add(stats)
        self.telescoping = max(self.telescoping, batch["telescoping"])
        self.low, self.high = min(self.low, batch["low"]), max(self.high, batch["high"])
        self.batches.append(batch)

    def save(self, folder: Path, rows: int) -> None:
        """Keep the batches since the last save, `rows` rows; the row block is written after it, so one in the store has its ledger."""
        temporary = folder / "ledger.tmp"
        temporary.write_text(json.dumps({"order": self.order, BATCHES: self.batches[self._saved :]}))
        temporary.replace(folder / f"ledger-{rows:09d}.json")
        self._saved = len(self.batches)

    def restore(self, folder: Path, rows: int) -> None:
        """Go on after `rows` rows."""
        for path in sorted(folder.glob("ledger-*.json")):
            if int(path.stem.removeprefix("ledger-")) <= rows:
                kept = json.loads(path.read_text())
                self.order = kept["order"]
                for batch in kept[BATCHES]:
                    self.add(batch)
        self._saved = len(self.batches)

    def attributes(self) -> dict[str, Any]:
        """The measurements, for the artifact's attributes."""
        x0_range = [round(self.low, 4), round(self.high, 4)]
        return {"measured": self.quantiser.as_dict(), "telescoping_error": float(f"{self.telescoping:.1e}"), "x0_range": x0_range}


def measured(facts: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The attributes of a recording that was made in parts: what all parts say, and what was measured of the batches of all."""
    ledger = Ledger(len(facts["boundaries"]) - 1)
    for part in parts:
        for batch in part[BATCHES]:
            ledger.add(batch)
    return {**facts, **ledger.attributes()}


def record(ctx: Context, params: RecordParams, teacher: Model) -> OfflineData:
    """The task `record`."""
    if teacher.config.get("role") != "teacher":
        raise DataError(f"input 'teacher' is no denoising-circuits teacher but a '{teacher.config.get('role')}'")
    at = labels(len(teacher.config["circuit"]["labels"]), params.apply_t0)
    if params.chunks > len(at):
        raise DataError(f"chunks={params.chunks} of a recurrence of {len(at)} steps: a chunk needs at least one step")
    ends = boundaries(len(at), params.chunks)
    circuit = load_circuit(teacher, ctx.device)
    image: tuple[int, int, int] = tuple(teacher.config["image"])
    config = circuit.config
    latent = (config.latent_channels, image[1] // config.patch, image[2] // config.patch)
    own = ctx.rows(params.count)
    writer = OfflineData.writer(
        ctx, count=len(own), block=params.block,
        arrays=offline_specs(image, latent, params.chunks, r_sum=params.r_sum, compress=params.compress),
    )  # fmt: skip
    ledger = Ledger(params.chunks)
    if writer.start:
        ledger.restore(ctx.workdir, writer.start)
    seed = ctx.seed if params.noise_seed is None else params.noise_seed
    if own.start and ledger.order is None:  # that of the first batch of all, which is another part's
        first = starting_noise(seed, range(min(params.batch, params.block)), image)
        with ctx.autocast(params.precision):
            ledger.order = coding_order(params, trajectory(circuit, first.to(ctx.device), at, ends)[1])
    with ctx.progress(len(own), unit="sample", name="record", done=writer.start) as bar:
        for start in range(own.start + writer.start, own.stop, writer.block):
            stop = min(start + writer.block, own.stop)
            rows = block_rows(ctx, params, circuit, ledger, starting_noise(seed, range(start, stop), image), (at, ends))
            ledger.save(ctx.workdir, stop - own.start)
            writer.append({"sample_id": np.arange(start, stop, dtype=np.int64), **rows})
            bar.advance(stop - start)
            if ctx.stop_requested():
                raise Interrupted(f"stopped after {stop - own.start} of {len(own)} samples. Run the same command again to go on.")
    facts = attributes(params, config.timesteps, ends, teacher.key, seed, ledger.order)
    one = starting_noise(seed, range(1), image).to(ctx.device)
    facts[OPERATIONS] = params.count * counted(lambda: readout(circuit, run(circuit, one, at)))[1]
    return OfflineData.finish(ctx, writer, facts | (ledger.attributes() if ctx.part is None else {BATCHES: ledger.batches}))


def attributes(params: RecordParams, timesteps: int, ends: list[int], teacher: str, seed: int, order: list[int] | None) -> dict[str, Any]:
    """What a reader must know about the data."""
    quantiser = {name: getattr(params, name) for name in ("bits", "feedback", "percentile", "scale_floor")} | {"mode": params.quantiser}
    return {
        "T": timesteps,
        "boundaries": ends,
        "apply_t0": params.apply_t0,
        "teacher": teacher,
        "noise_seed": seed,
        "quantiser": {**quantiser, "order": order},
    }


def block_rows(
    ctx: Context, params: RecordParams, circuit: Circuit, ledger: Ledger, noise: Tensor, cut: tuple[list[int], list[int]]
) -> dict[str, NDArray[Any]]:
    """The arrays of one row block from its x_T [B,C,H,W]."""
    batches = []
    for x in noise.split(params.batch):
        with ctx.autocast(params.precision):
            rin0, chunks, end = trajectory(circuit, x.to(ctx.device), *cut)
            x0 = readout(circuit, end).cpu()
        batches.append({"x_T": x.half(), "x0": x0.half(), **coded(params, ledger, rin0, chunks, end, x0)})
    return {name: torch.cat([batch[name] for batch in batches]).numpy() for name in batches[0]}


def trajectory(circuit: Circuit, x: Tensor, at: list[int], ends: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """(rin0 [B,L,h,w], chunk residuals [B,K,L,h,w], z_end [B,L,h,w]) of x_T, float32."""
    stops: list[Tensor] = []

    def visit(done: int, z: Tensor) -> None:
        if done in ends:
            stops.append(z)

    end = run(circuit, x, at, visit)
    points = torch.stack(stops, 1)
    return points[:, 0], points[:, 1:] - points[:, :-1], end


def coding_order(params: RecordParams, chunks: Tensor) -> list[int]:
    """The order in which chunks are coded, from those of the first batch."""
    return list(chunk_order(chunks)) if params.feedback and params.quantiser == "absmax" else list(range(params.chunks))


def coded(params: RecordParams, ledger: Ledger, rin0: Tensor, chunks: Tensor, end: Tensor, x0: Tensor) -> dict[str, Tensor]:
    """Quantise a batch and measure what it cost. The order of the chunks is that of the first batch."""
    error = float((rin0 + chunks.sum(1) - end).abs().max())
    if not error < TELESCOPING:
        raise DataError(f"rin0 and the chunks add up to z_end within {error:.1e} only: the teacher diverged; train it at a lower rate")
    if ledger.order is None:
        ledger.order = coding_order(params, chunks)
    done = quantise(
        rin0, chunks, mode=params.quantiser, bits=params.bits, feedback=params.feedback, percentile=params.percentile, order=ledger.order,
        scale_floor=params.scale_floor,
    )  # fmt: skip
    ledger.measure(rin0, chunks, done, error, x0)
    arrays = {"rin0": done.rin0, "rin0_scale": done.rin0_scale, "r_chunks": done.r_chunks, "r_chunks_scale": done.r_chunks_scale}
    if params.r_sum:
        arrays["r_sum"] = chunks.sum(1).half()
    return {name: value.cpu() for name, value in arrays.items()}
