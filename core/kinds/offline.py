"""A teacher's recorded trajectories: `OfflineData`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from .artifact import Artifact, RowReader, RowSpec, RowWriter, Writing


class OfflineData(Artifact):
    """A recurrence teacher's quantised trajectories, row by row; arrays as in `offline_specs`."""

    @property
    def chunks(self) -> int:
        """Number K of chunks the trajectory was cut into."""
        return self.array("r_chunks").shape[1]

    def __len__(self) -> int:
        return self.array("sample_id").shape[0]

    def reader(self, names: Sequence[str] | None = None, threads: int = 2) -> RowReader:
        """Fast random access to many rows: int8 codes and scales as stored, to be dequantised on the device."""
        return self._reader.rows(list(names) if names is not None else self._reader.names(), threads)

    @classmethod
    def writer(cls, ctx: Writing, *, count: int, block: int, arrays: Mapping[str, RowSpec]) -> RowWriter:
        """A writer that resumes after a kill: go on from its `start`, append whole blocks, then `finish`."""
        return ctx.staging.rows(count, block, arrays)

    @classmethod
    def finish(cls, ctx: Writing, writer: RowWriter, attrs: Mapping[str, Any]) -> Self:
        """Close the writer and set the attributes (T, chunk boundaries, teacher key, quantiser, measured SNR)."""
        writer.close()
        ctx.staging.attrs.update(attrs)
        return cls(ctx.staging.as_reader())

    @classmethod
    def summarise(cls, manifest: Mapping[str, Any]) -> str:
        """The number of rows, and into how many chunks each trajectory is cut."""
        arrays = manifest["arrays"]
        told = f"{arrays['sample_id']['shape'][0]:,} rows"
        return f"{told}, trajectories in {arrays['r_chunks']['shape'][1]} chunks" if "r_chunks" in arrays else told


def offline_specs(image: tuple[int, int, int], latent: tuple[int, int, int], chunks: int, *, r_sum: bool) -> dict[str, RowSpec]:
    """The arrays of `OfflineData`: image [C,H,W], latent [L,h,w], K chunks.

    x_T, x0 float16; rin0 int8 with rin0_scale float32 [L]; r_chunks int8 [K,L,h,w] with r_chunks_scale float32 [K,L];
    sample_id int64; optional r_sum float16 [L,h,w], the sum of the chunks without rin0.
    """
    plane, hidden = ("channel", "y", "x"), ("latent_channel", "latent_y", "latent_x")
    specs = {
        "sample_id": RowSpec("int64", (), compress=False),
        "x_T": RowSpec("float16", image, compress=False, dims=plane),
        "x0": RowSpec("float16", image, dims=plane),
        "rin0": RowSpec("int8", latent, dims=hidden),
        "rin0_scale": RowSpec("float32", latent[:1], compress=False, dims=hidden[:1]),
        "r_chunks": RowSpec("int8", (chunks, *latent), dims=("chunk", *hidden)),
        "r_chunks_scale": RowSpec("float32", (chunks, latent[0]), compress=False, dims=("chunk", *hidden[:1])),
    }
    if r_sum:
        specs["r_sum"] = RowSpec("float16", latent, dims=hidden)
    return specs
