from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fabloom import artifacts, kinds
from fabloom.errors import DataError
from fabloom.kinds import Artifact, OfflineData, RowSpec
from fabloom.storage.backends.local import LocalStore
from fabloom.testing import MemoryStore, tiny_offline, write_artifact
from fabloom.testing.method.checks import problems

SPECS = {
    "image": RowSpec("uint8", (1, 12, 12), dims=("channel", "y", "x"), units="grey levels", meaning="what the text describes"),
    "text_embedding": RowSpec("float16", (77, 8), dims=("token", "feature"), meaning="last hidden state of the text encoder"),
    "text_id": RowSpec("int32", (), compress=False),
}
COUNT, BLOCK = 20, 8


def rows(start: int, stop: int) -> dict[str, np.ndarray]:
    """Rows that follow from their number."""
    number = np.arange(start, stop)
    return {
        "image": np.broadcast_to(number.astype(np.uint8)[:, None, None, None], (len(number), 1, 12, 12)),
        "text_embedding": np.random.default_rng(3).normal(0, 1, (COUNT, 77, 8)).astype(np.float16)[start:stop],
        "text_id": (number // 2).astype(np.int32),
    }


def pairs(ctx: Any, specs: dict[str, RowSpec] = SPECS, attrs: dict[str, Any] | None = None) -> OfflineData:
    """What a text-conditional method would record: images and embeddings."""
    writer = OfflineData.writer(ctx, count=COUNT, block=BLOCK, arrays=specs)
    for start in range(writer.start, COUNT, BLOCK):
        writer.append(rows(start, min(start + BLOCK, COUNT)))
    return OfflineData.finish(ctx, writer, {"encoder": "tiny", **(attrs or {})})


@pytest.mark.parametrize("local", [True, False])
def test_rows_of_another_method(local: bool, tmp_path: Path) -> None:
    made = write_artifact(LocalStore(tmp_path) if local else MemoryStore(), pairs)
    assert isinstance(made, OfflineData)
    assert made.names == ["image", "text_embedding", "text_id"] and len(made) == COUNT
    assert made.specs["text_embedding"] == SPECS["text_embedding"] and made.specs["image"].units == "grey levels"
    assert made.specs["text_id"].shape == () and made.attrs["encoder"] == "tiny"
    batch = made.reader(["image", "text_id"]).read([19, 2, 2])
    assert set(batch) == {"image", "text_id"} and batch["text_id"].tolist() == [9, 1, 1] and batch["image"][0].min() == 19
    np.testing.assert_array_equal(made.array("text_embedding")[...], rows(0, COUNT)["text_embedding"])
    assert problems(made) == []
    with pytest.raises(DataError, match=r"holds image, text_embedding, text_id: .*no recurrence trajectories"):
        _ = made.chunks


def test_words_about_arrays_change_no_byte_of_artifacts_without_them(tmp_path: Path) -> None:
    bare = {name: RowSpec(s.dtype, s.shape, s.compress, s.dims) for name, s in SPECS.items()}
    told, silent = (
        write_artifact(LocalStore(tmp_path / n), lambda ctx, s=s: pairs(ctx, s))  # type: ignore[misc]
        for n, s in (("told", SPECS), ("silent", bare))
    )
    assert set(silent.attrs) == {"encoder"} and set(told.attrs) == {"encoder", "rows"} and told.digest != silent.digest


def test_what_contradicts_is_refused() -> None:
    def attempt(**how: Any) -> str:
        with pytest.raises(DataError) as caught:
            write_artifact(MemoryStore(), lambda ctx: pairs(ctx, **how))
        return str(caught.value)

    assert "0 arrays" in attempt(specs={})
    assert "'image': 2 dims for a row of 3 axes" in attempt(specs={"image": RowSpec("uint8", (1, 12, 12), dims=("y", "x"))})
    assert "'rows' already says" in attempt(attrs={"rows": 3})


def test_circuits_are_read_as_before() -> None:
    made = write_artifact(MemoryStore(), tiny_offline)
    assert isinstance(made, OfflineData) and made.chunks == 2 and len(made) == 12 and set(made.attrs) == {"T", "boundaries"}
    assert set(made.names) == set(kinds.offline_specs((1, 8, 8), (2, 4, 4), 2, r_sum=False))
    assert kinds.offline_specs is artifacts.offline_specs and problems(made) == []


def test_the_kit_finds_rows_of_several_lengths_and_nan() -> None:
    def torn(ctx: Any) -> Artifact:
        ctx.staging.put("a", np.zeros((3, 2), np.float32))
        ctx.staging.put("b", np.zeros((4, 2), np.float32))
        return OfflineData(ctx.staging.as_reader())

    def hollow(ctx: Any) -> Artifact:
        ctx.staging.put("a", np.full((3, 2), np.nan, np.float32))
        return OfflineData(ctx.staging.as_reader())

    assert "no length in common" in problems(write_artifact(MemoryStore(), torn))[0]
    assert problems(write_artifact(MemoryStore(), hollow)) == ["array 'a' holds NaN or infinity"]
