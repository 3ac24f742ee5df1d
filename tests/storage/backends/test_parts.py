"""Parts of one artifact on machines that share a bucket and no folder: made here and there, joined on a third, and gone afterwards."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fabloom.errors import DamagedArtifact, DataError
from fabloom.kinds import ImageSet, OfflineData, RowSpec
from fabloom.method import Context, Fanout, Method, Options, task
from fabloom.params import Params
from fabloom.running.execute import run_step
from fabloom.running.parts import parts_of
from fabloom.storage.backends.local import LocalStore
from fabloom.storage.backends.objects.store import ObjectStore
from fabloom.testing import run_task
from fabloom.testing.running import plan_task


class Many(Params):
    count: int = 23
    batch: int = 4


class Squares(Method):
    """Rows that follow from their number."""

    name = "squares"

    @task(version=1, fanout=Fanout())
    def codes(self, ctx: Context, params: Many) -> OfflineData:
        own = ctx.rows(params.count)
        arrays = {"number": RowSpec("int64", compress=False), "code": RowSpec("int8", (2, 8, 8), dims=("c", "y", "x"))}
        writer = OfflineData.writer(ctx, count=len(own), block=4, arrays=arrays)
        rows = np.arange(own.start + writer.start, own.stop)
        writer.append({"number": rows, "code": np.broadcast_to(rows[:, None, None, None] % 100, (len(rows), 2, 8, 8)).astype(np.int8)})
        return OfflineData.finish(ctx, writer, {"power": 2})

    @task(version=1, fanout=Fanout())
    def images(self, ctx: Context, params: Many) -> ImageSet:
        own = ctx.rows(params.count)
        rows = np.arange(own.start, own.stop)
        return ImageSet.write(ctx, np.broadcast_to(rows[:, None, None, None], (len(rows), 1, 8, 8)).astype(np.uint8), channels=1)


def test_parts_of_several_machines_are_joined_to_the_bytes_of_one(s3: str, tmp_path: Path) -> None:
    url = f"s3://lab/{secrets.token_hex(4)}/runs"
    machines = [ObjectStore(url, work=tmp_path / name) for name in "abc"]
    for name in ("codes", "images"):
        step = plan_task(machines[0], Squares, name, {}, 0, {})
        parts = parts_of(step, machines[0], 3)
        assert [part.preimage["rows"] for part in parts] == [[0, 8], [8, 16], [16, 23]]
        for store, part in zip(machines, parts, strict=True):
            run_step(part, store, Options("cpu"))
        assert len(list(machines[1].keys())) == 3
        made = run_step(step, machines[1], Options("cpu", parts=tuple(part.key for part in parts)))
        local = run_task(LocalStore(tmp_path / "local"), Squares, name)
        assert made.digest == local.digest and list(machines[0].keys()) == [made.key]
        health = machines[1].upkeep.verify()
        assert health.checked == 1 and not health.problems and not health.leftovers
        machines[0].set_aside(made.key)


def test_a_part_that_was_damaged_or_taken_away_is_not_joined(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    step = plan_task(store, Squares, "codes", {}, 0, {})
    parts = parts_of(step, store, 2)
    for part in parts:
        run_step(part, store, Options("cpu"))
    together = Options("cpu", parts=tuple(part.key for part in parts))
    shard = store.folder(parts[1].key) / "data.zarr" / "code" / "c" / "1" / "0" / "0" / "0"
    held = bytearray(shard.read_bytes())
    held[40] ^= 1
    shard.write_bytes(held)
    with pytest.raises(DamagedArtifact, match="differs from what was committed"):
        run_step(step, store, together)
    held[40] ^= 1
    shard.write_bytes(held)
    with pytest.raises(DataError, match="is not its part from row 0"):
        run_step(step, store, replace(together, parts=together.parts[::-1]))
    store.set_aside(parts[0].key)
    with pytest.raises(DataError, match="was removed before the parts were joined"):
        run_step(step, store, together)
    run_step(parts[0], store, Options("cpu"))
    assert run_step(step, store, together).digest == run_task(LocalStore(tmp_path / "other"), Squares, "codes").digest
