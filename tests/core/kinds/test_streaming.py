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


@pytest.mark.parametrize("sizes", [[50], [7] * 7 + [1], [16, 16, 16, 2]])
def test_masks_and_scores_may_come_with_the_images(store: LocalStore, monkeypatch: Any, sizes: list[int]) -> None:
    monkeypatch.setattr(ImageSet, "BLOCK", 16)
    pixels, labels = images(50), (np.arange(50) % 3).astype(np.int16)
    masks = (pixels[:, 0] > 200).astype(np.uint8) * labels[:, None, None].astype(np.uint8)
    scores = (pixels[:, 0] / 256).astype(np.float16)
    columns = {"images": pixels, "masks": masks, "scores": scores, "references": pixels[::-1]}
    named = {"class_names": ["clean", "a", "b"], "labels": labels}
    one, many = context(store, "one"), context(store, "many")
    ImageSet.write(one, **columns, **named)
    cuts = np.cumsum(sizes)[:-1]
    parts = (dict(zip(columns, group, strict=True)) for group in zip(*(np.split(a, cuts) for a in columns.values()), strict=True))
    made = ImageSet.write(many, parts, count=50, **named)
    assert files(one) == files(many) and made.mask_names == ["clean", "a", "b"] and made.attrs["mask_classes"]


def test_wrong_columns_of_a_batch_are_told(store: LocalStore, monkeypatch: Any) -> None:
    monkeypatch.setattr(ImageSet, "BLOCK", 16)
    pixels = images(32)
    good = {"images": pixels[:16], "masks": (pixels[:16, 0] > 99).astype(np.uint8)}
    for number, (odd, word) in enumerate((
        ({"images": pixels[16:]}, "all have the columns"),
        ({**good, "masks": good["masks"][:9]}, "each as many rows"),
        ({**good, "masks": good["masks"] * 2}, "without class names"),
        ({**good, "masks": good["masks"].astype(np.int8)}, "must be uint8"),
        ({"masks": good["masks"]}, "without 'images'"),
    )):  # fmt: skip
        with pytest.raises(DataError, match=word):
            ImageSet.write(context(store, f"odd {number}"), iter([good, odd]), count=32)
    with pytest.raises(DataError, match="a column 'depth'"):
        ImageSet.write(context(store, "depth"), iter([{**good, "depth": pixels[:16]}]), count=16)
    with pytest.raises(DataError, match="give them once"):
        ImageSet.write(context(store, "twice"), iter([good]), count=16, masks=good["masks"])


def test_large_images_make_short_blocks(store: LocalStore, monkeypatch: Any) -> None:
    monkeypatch.setattr("fabloom.kinds.streaming.BLOCK_BYTES", 5 * 24)
    pixels, whole, parts = images(12), context(store, "whole"), context(store, "parts")
    ImageSet.write(whole, pixels)
    made = ImageSet.write(parts, iter(np.split(pixels, 4)), count=12)
    assert files(whole) == files(parts) and (made.images[...] == pixels).all()
    shards = [name for name in files(whole) if name.startswith("images/c/")]
    assert len(shards) == 3, "five, five and two images"


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
