"""`ImageSet.write` from batches: the same bytes as from one array, the right number of images, and no more memory than the set."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fabloom.errors import DataError
from fabloom.kinds import ImageSet
from fabloom.method import Context
from fabloom.storage.backends.local import LocalStore

MIB = 1 << 20
PEAK = """
import resource, sys
from pathlib import Path
import numpy as np
from fabloom.kinds import ImageSet
from fabloom.method import Context
from fabloom.storage.backends.local import LocalStore

how, folder = sys.argv[1], Path(sys.argv[2])
store = LocalStore(folder)
batches = (np.full((256, 1, 128, 128), number, np.uint8) for number in range({"control": 1}.get(how, 48)))
context = Context(staging=store.stage("0" * 40), seed=0, workdir=store.work("0" * 40))
ImageSet.write(context, batches, count=48 * 256 if how == "counted" else None)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def context(store: LocalStore, name: str) -> Context:
    key = name.encode().hex().ljust(40, "0")
    return Context(staging=store.stage(key), seed=0, workdir=store.work(key))


def files(ctx: Context) -> dict[str, bytes]:
    root: Path = ctx.staging.root / "data.zarr"
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def images(count: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 255, (count, 1, 4, 6)).astype(np.uint8)


@pytest.mark.parametrize("count", [None, 50])
@pytest.mark.parametrize("sizes", [[50], [7] * 7 + [1], [1, 0, 30, 19], [16, 16, 16, 2]])
def test_batches_give_the_bytes_of_one_array(store: LocalStore, monkeypatch: Any, count: int | None, sizes: list[int]) -> None:
    monkeypatch.setattr(ImageSet, "BLOCK", 16)
    pixels = images(50)
    masks = (pixels[:, 0] > 200).astype(np.uint8)
    one, many = context(store, "one"), context(store, "many")
    ImageSet.write(one, pixels, masks=masks)
    parts = (part for part in np.split(pixels, np.cumsum(sizes)[:-1]))
    made = ImageSet.write(many, parts, masks=masks, count=count)
    assert files(one) == files(many) and len(made) == 50


@pytest.mark.parametrize("count", [0, 1, 31, 49, 51, 64, 1000])
@pytest.mark.parametrize("batch", [7, 50])
def test_a_wrong_count_is_told(store: LocalStore, monkeypatch: Any, count: int, batch: int) -> None:
    monkeypatch.setattr(ImageSet, "BLOCK", 16)
    pixels = images(50)
    with pytest.raises(DataError, match=f"count={count}, but the batches hold"):
        ImageSet.write(context(store, "few"), (pixels[i : i + batch] for i in range(0, 50, batch)), count=count)


def test_a_wrong_batch_is_told_wherever_it_comes(store: LocalStore, monkeypatch: Any) -> None:
    monkeypatch.setattr(ImageSet, "BLOCK", 16)
    for odd, word in ((images(16).astype(np.int16), "int16"), (images(16)[:, :, :3], "shape")):
        with pytest.raises(DataError, match=word):
            ImageSet.write(context(store, word), iter([images(16), odd]), count=32)
    with pytest.raises(DataError, match="no empty axis"):
        ImageSet.write(context(store, "none"), iter([]))


def test_a_stopped_write_goes_on_behind_the_blocks_that_are_on_the_disk(store: LocalStore, monkeypatch: Any) -> None:
    monkeypatch.setattr(ImageSet, "BLOCK", 16)
    pixels, whole = images(50), context(store, "whole")
    ImageSet.write(whole, pixels)

    def dying() -> Any:
        yield pixels[:40]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ImageSet.write(context(store, "dies"), dying(), count=50)
    again = context(store, "dies")
    ImageSet.write(again, iter([pixels]), count=50)
    assert files(again) == files(whole)


def test_batches_take_no_more_memory_than_the_set(tmp_path: Path) -> None:
    def peak(how: str) -> int:
        command = [sys.executable, "-c", PEAK, how, str(tmp_path / how)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        return int(done.stdout)

    size, control = 48 * 256 * 128 * 128 // MIB, peak("control")
    assert peak("counted") - control <= 0.2 * size + 64, "counted batches go to the disk as they come"
    assert peak("held") - control <= 1.2 * size + 64
