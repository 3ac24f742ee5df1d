"""Recording a teacher's trajectories: start, chunk residuals and image of every seeded noise, quantised, block by block."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fabloom.errors import DataError, Interrupted
from fabloom.kinds import Model, OfflineData, offline_specs
from fabloom.method import Context
from fabloom.storage.format.quantise import QuantiserStats, chunk_order, quantise

from .networks import Circuit
from .params import RecordParams
from .recurrence import boundaries, labels, readout, run, starting_noise
from .training import load_circuit

TELESCOPING = 1e-4
"""Largest difference allowed between z_end and rin0 + sum of chunks before quantisation; float32 rounding is near 1e-6."""


class Ledger:
    """What is measured over the whole recording. Kept in the scratch folder with every block, so that a restart goes on from it."""

    def __init__(self, folder: Path, chunks: int) -> None:
        self.folder = folder
        self.quantiser = QuantiserStats(chunks)
        self.order: list[int] | None = None
        self.telescoping = 0.0
        self.low, self.high = float("inf"), float("-inf")

    def _file(self, row: int) -> Path:
        return self.folder / f"ledger-{row:09d}.json"

    def save(self, row: int) -> None:
        """Keep the state after `row` rows; the row block is written after it, so a block in the store always has its ledger."""
        state = {name: getattr(self, name) for name in ("order", "telescoping", "low", "high")}
        temporary = self.folder / "ledger.tmp"
        temporary.write_text(json.dumps({**state, "quantiser": self.quantiser.state_dict()}))
        temporary.replace(self._file(row))

    def restore(self, row: int) -> None:
        """Go on after `row` rows."""
        state = json.loads(self._file(row).read_text())
        self.quantiser.load_state_dict(state.pop("quantiser"))
        for name, value in state.items():
            setattr(self, name, value)

    def attributes(self) -> dict[str, Any]:
        """The measurements, for the artifact's attributes."""
        x0_range = [round(self.low, 4), round(self.high, 4)]
        return {"measured": self.quantiser.as_dict(), "telescoping_error": float(f"{self.telescoping:.1e}"), "x0_range": x0_range}


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
    writer = OfflineData.writer(
        ctx, count=params.count, block=params.block, arrays=offline_specs(image, latent, params.chunks, r_sum=params.r_sum)
    )
    ledger = Ledger(ctx.workdir, params.chunks)
    if writer.start:
        ledger.restore(writer.start)
    seed = ctx.seed if params.noise_seed is None else params.noise_seed
    with ctx.progress(params.count, unit="sample", name="record", done=writer.start) as bar:
        for start in range(writer.start, params.count, writer.block):
            stop = min(start + writer.block, params.count)
            rows = block_rows(ctx, params, circuit, ledger, starting_noise(seed, range(start, stop), image), (at, ends))
            ledger.save(stop)
            writer.append({"sample_id": np.arange(start, stop, dtype=np.int64), **rows})
            bar.advance(stop - start)
            if ctx.stop_requested():
                raise Interrupted(f"stopped after {stop} of {params.count} samples. Run the same command again to go on.")
    return OfflineData.finish(ctx, writer, attributes(params, config.timesteps, ends, teacher.key, seed, ledger))


def attributes(params: RecordParams, timesteps: int, ends: list[int], teacher: str, seed: int, ledger: Ledger) -> dict[str, Any]:
    """What a reader must know about the data."""
    quantiser = {"mode": params.quantiser, "bits": params.bits, "feedback": params.feedback, "percentile": params.percentile}
    return {
        "T": timesteps,
        "boundaries": ends,
        "apply_t0": params.apply_t0,
        "teacher": teacher,
        "noise_seed": seed,
        "quantiser": {**quantiser, "order": ledger.order},
        **ledger.attributes(),
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
        batches.append({"x_T": x.half(), "x0": x0.half(), **coded(params, ledger, rin0, chunks, end)})
        ledger.low, ledger.high = min(ledger.low, float(x0.min())), max(ledger.high, float(x0.max()))
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


def coded(params: RecordParams, ledger: Ledger, rin0: Tensor, chunks: Tensor, end: Tensor) -> dict[str, Tensor]:
    """Quantise a batch and measure what it cost. The order of the chunks is that of the first batch."""
    error = float((rin0 + chunks.sum(1) - end).abs().max())
    if not error < TELESCOPING:
        raise DataError(f"rin0 and the chunks add up to z_end within {error:.1e} only: the teacher diverged; train it at a lower rate")
    ledger.telescoping = max(ledger.telescoping, error)
    if ledger.order is None:
        ledger.order = list(chunk_order(chunks)) if params.feedback and params.quantiser == "absmax" else list(range(params.chunks))
    done = quantise(
        rin0, chunks, mode=params.quantiser, bits=params.bits, feedback=params.feedback, percentile=params.percentile, order=ledger.order
    )
    ledger.quantiser.update(rin0, chunks, done)
    arrays = {"rin0": done.rin0, "rin0_scale": done.rin0_scale, "r_chunks": done.r_chunks, "r_chunks_scale": done.r_chunks_scale}
    if params.r_sum:
        arrays["r_sum"] = chunks.sum(1).half()
    return {name: value.cpu() for name, value in arrays.items()}
