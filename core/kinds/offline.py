"""Recorded rows for training: `OfflineData`, and the arrays that a recurrence teacher records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from fabloom.errors import DataError

from .artifact import Artifact, RowReader, RowSpec, RowWriter, Writing

DECLARED = "rows"
"""Attribute that keeps dims, units and meaning of the arrays."""


class OfflineData(Artifact):
    """Rows that a method records once and trains on many times: any arrays of one length, declared by name with `RowSpec`.

    Quantised trajectories of a teacher, noise and image pairs, images with embeddings: the arrays are the method's business, and it
    says with `units` and `meaning` of their specs what they are. Those of a recurrence teacher are in `offline_specs`.
    """

    @property
    def names(self) -> list[str]:
        """Names of the arrays, sorted."""
        return sorted(self._reader.names())

    @property
    def specs(self) -> dict[str, RowSpec]:
        """What a row of each array is; dims, units and meaning where any array was declared with units or meaning."""
        said: Mapping[str, Mapping[str, Any]] = self.attrs.get(DECLARED, {})
        found = {}
        for name in self.names:
            array, words = self.array(name), said.get(name, {})
            dims = tuple(words.get("dims", ()))
            found[name] = RowSpec(str(array.dtype), array.shape[1:], True, dims, words.get("units", ""), words.get("meaning", ""))
        return found

    @property
    def chunks(self) -> int:
        """Number K of chunks that a recurrence trajectory was cut into. Raises DataError for rows of another method."""
        if "r_chunks" not in self.names:
            held = ", ".join(self.names)
            raise DataError(f"OfflineData {self.key[:12]} holds {held}: these are no recurrence trajectories (no r_chunks)")
        return self.array("r_chunks").shape[1]

    def __len__(self) -> int:
        return self.array(self.names[0]).shape[0]

    def reader(self, names: Sequence[str] | None = None, threads: int = 2) -> RowReader:
        """Fast random access to many rows, as stored: codes and scales are dequantised on the device."""
        return self._reader.rows(list(names) if names is not None else self._reader.names(), threads)

    @classmethod
    def writer(cls, ctx: Writing, *, count: int, block: int, arrays: Mapping[str, RowSpec]) -> RowWriter:
        """A writer that resumes after a kill: go on from its `start`, append whole blocks, then `finish`.

        Raises DataError where nothing is declared, and for dims that are not one a row axis.
        """
        if not arrays or count < 1 or block < 1:
            raise DataError(f"{count} rows in blocks of {block} of {len(arrays)} arrays: each must be at least 1")
        for name, spec in arrays.items():
            if spec.dims and len(spec.dims) != len(spec.shape):
                raise DataError(f"array '{name}': {len(spec.dims)} dims for a row of {len(spec.shape)} axes; name each axis, or none")
        if any(spec.units or spec.meaning for spec in arrays.values()):
            said = {name: {"dims": list(s.dims), "units": s.units, "meaning": s.meaning} for name, s in arrays.items()}
            ctx.staging.attrs[DECLARED] = said
        return ctx.staging.rows(count, block, arrays)

    @classmethod
    def finish(cls, ctx: Writing, writer: RowWriter, attrs: Mapping[str, Any]) -> Self:
        """Close the writer and set the attributes: what is needed to use the rows (T, teacher key, quantiser, measured SNR).

        Raises DataError for an attribute `rows` beside declared units.
        """
        if DECLARED in attrs and DECLARED in ctx.staging.attrs:
            raise DataError(f"the attribute '{DECLARED}' already says what the arrays are; give yours another name")
        writer.close()
        ctx.staging.attrs.update(attrs)
        return cls(ctx.staging.as_reader())

    @classmethod
    def summarise(cls, manifest: Mapping[str, Any]) -> str:
        """The number of rows, and into how many chunks each trajectory is cut; of another method's rows, what they hold."""
        arrays = manifest["arrays"]
        told = f"{next(iter(arrays.values()))['shape'][0]:,} rows"
        if "r_chunks" in arrays:
            return f"{told}, trajectories in {arrays['r_chunks']['shape'][1]} chunks"
        return f"{told} of {', '.join(sorted(arrays))}"


def offline_specs(
    image: tuple[int, int, int], latent: tuple[int, int, int], chunks: int, *, r_sum: bool, compress: bool = True
) -> dict[str, RowSpec]:
    """The arrays that a recurrence teacher records into `OfflineData`: image [C,H,W], latent [L,h,w], K chunks.

    Without `compress` nothing is: rows are read several times as fast, and take some more room. They have their checksums either way.

    x_T, x0 float16; rin0 int8 with rin0_scale float32 [L]; r_chunks int8 [K,L,h,w] with r_chunks_scale float32 [K,L];
    sample_id int64; optional r_sum float16 [L,h,w], the sum of the chunks without rin0.
    """
    plane, hidden = ("channel", "y", "x"), ("latent_channel", "latent_y", "latent_x")
    specs = {
        "sample_id": RowSpec("int64", (), compress=False),
        "x_T": RowSpec("float16", image, compress=False, dims=plane),
        "x0": RowSpec("float16", image, compress=compress, dims=plane),
        "rin0": RowSpec("int8", latent, compress=compress, dims=hidden),
        "rin0_scale": RowSpec("float32", latent[:1], compress=False, dims=hidden[:1]),
        "r_chunks": RowSpec("int8", (chunks, *latent), compress=compress, dims=("chunk", *hidden)),
        "r_chunks_scale": RowSpec("float32", (chunks, latent[0]), compress=False, dims=("chunk", *hidden[:1])),
    }
    if r_sum:
        specs["r_sum"] = RowSpec("float16", latent, compress=compress, dims=hidden)
    return specs
