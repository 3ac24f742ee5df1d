"""Teacher data that were recorded elsewhere, in the published container."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fabloom.errors import DataError, Interrupted
from fabloom.kinds import OfflineData, offline_specs
from fabloom.method import Context
from fabloom.storage.format.published import Row, decoded, numbered

from .params import ReadParams

MIB = 2**20


def read(ctx: Context, params: ReadParams) -> OfflineData:
    """The task `read`."""
    files = numbered(params.path.path)[: params.limit]
    first, timesteps, chunk_size = decoded(files[0][1], params.max_mib * MIB)
    chunks = len(first["r_chunks"])
    ends = [min(chunk_size * k, timesteps) for k in range(chunks)] + [timesteps]
    if len(set(ends)) <= chunks:
        raise DataError(f"'{files[0][1].name}': {chunks} chunks of {chunk_size} steps do not fit into T={timesteps}")
    image, latent = first["x_T"].shape, first["rin0"].shape
    specs = offline_specs(image, latent, chunks, r_sum=False, compress=params.compress)
    writer = OfflineData.writer(ctx, count=len(files), block=params.block, arrays=specs)
    shapes = {name: array.shape for name, array in first.items()}

    def row(path: Path) -> Row:
        found, *told = decoded(path, params.max_mib * MIB)
        for name, array in found.items():
            if array.shape != shapes[name]:
                raise DataError(f"'{path.name}': {name} is {list(array.shape)}, that of '{files[0][1].name}' is {list(shapes[name])}")
        if told != [timesteps, chunk_size]:
            raise DataError(f"'{path.name}' is of T={told[0]} in chunks of {told[1]}, '{files[0][1].name}' of {timesteps} in {chunk_size}")
        return found

    with ctx.progress(len(files), unit="sample", name="read", done=writer.start) as bar:
        for start in range(writer.start, len(files), writer.block):
            part = files[start : start + writer.block]
            rows = [row(path) for _, path in part]
            stacked = {name: np.stack([one[name] for one in rows]).astype(specs[name].dtype) for name in shapes}
            writer.append({"sample_id": np.array([number for number, _ in part], np.int64), **stacked})
            bar.advance(len(part))
            if ctx.stop_requested():
                raise Interrupted(f"stopped after {start + len(part)} of {len(files)} samples. Run the same command again to go on.")
    facts = {"T": timesteps, "boundaries": ends, "apply_t0": True, "teacher": ELSEWHERE, "quantiser": {"mode": ELSEWHERE}}
    return OfflineData.finish(ctx, writer, facts)


ELSEWHERE = "elsewhere"
"""Who recorded: nobody that this store knows."""
