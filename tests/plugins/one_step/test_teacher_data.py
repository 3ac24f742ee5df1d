"""Teacher data in and out of the published container, written here by NumPy and zstandard alone; raw rows; still channels."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zstandard

from fabloom.errors import DataError, UserError
from fabloom.flows.export.job import export_artifact
from fabloom.kinds import Model, OfflineData
from fabloom.plugins.data.line_pair.method import LinePair
from fabloom.plugins.one_step.denoising_circuits.method import DenoisingCircuits
from fabloom.storage.backends.local import LocalStore
from fabloom.storage.format.quantise import quantise
from fabloom.testing import tiny_offline, write_artifact

TINY: dict[str, Any] = {
    "timesteps": 5, "patch": 2, "latent_channels": 8, "head_width": 8, "batch": 4,
    "base": {"channels": [8, 16], "steps": 1, "batch": 4}, "stages": [{"steps": 1, "step_probs": [0, 1]}],
}  # fmt: skip
LATENT = (8, 8, 8)


@pytest.fixture(scope="module")
def store(kept: LocalStore) -> LocalStore:
    return kept


@pytest.fixture
def published(run_task: Any) -> Model:
    """A teacher that carries nothing in its latent, as published."""
    images = run_task(LinePair, "simulate", {"count": 8, "size": 16})
    made: Model = run_task(DenoisingCircuits, "train", TINY | {"carry": False, "chain": "live"}, images=images)
    return made


@pytest.fixture
def carrying(run_task: Any) -> Model:
    images = run_task(LinePair, "simulate", {"count": 8, "size": 16})
    made: Model = run_task(DenoisingCircuits, "train", TINY, images=images)
    return made


def sample(seed: int, chunks: int = 4) -> dict[str, np.ndarray[Any, Any]]:
    draw = np.random.default_rng(seed)
    return {
        "x_T_f16": draw.normal(size=(1, 16, 16)).astype(np.float16), "x0_teacher_f16": draw.normal(size=(1, 16, 16)).astype(np.float16),
        "rin0_q": draw.integers(-127, 128, LATENT).astype(np.int8), "rin0_scale_f16": np.full(8, 0.02, np.float16),
        "r_chunks_q": draw.integers(-127, 128, (chunks, *LATENT)).astype(np.int8),
        "r_chunks_scale_f16": draw.uniform(1e-3, 2e-3, (chunks, 8)).astype(np.float16),
        "T": np.array([1000], np.int16), "chunk_size": np.array([1000 // chunks], np.int16),
    }  # fmt: skip


def packed(arrays: dict[str, Any], **options: Any) -> bytes:
    archive = io.BytesIO()
    np.savez(archive, **arrays)
    return zstandard.ZstdCompressor(**options).compress(archive.getvalue())


def folder(root: Path, numbers: tuple[int, ...] = (0, 1, 2, 10)) -> Path:
    root.mkdir(exist_ok=True)
    for number in numbers:
        (root / f"sample_{number:08d}.zst").write_bytes(packed(sample(number)))
    (root / "README.txt").write_text("not a sample")
    return root


def test_a_folder_is_read_value_by_value_in_the_order_of_its_numbers(run_task: Any, tmp_path: Path) -> None:
    read: OfflineData = run_task(DenoisingCircuits, "read", {"path": str(folder(tmp_path / "elsewhere")), "block": 3})
    assert read.array("sample_id")[:].tolist() == [0, 1, 2, 10] and read.chunks == 4
    assert read.attrs["T"] == 1000 and read.attrs["boundaries"] == [0, 250, 500, 750, 1000] and read.attrs["teacher"] == "elsewhere"
    for row, number in enumerate((0, 1, 2, 10)):
        held = sample(number)
        for ours, theirs in (("x_T", "x_T_f16"), ("x0", "x0_teacher_f16"), ("rin0", "rin0_q"), ("r_chunks", "r_chunks_q")):
            np.testing.assert_array_equal(read.array(ours)[row], held[theirs])
        for name in ("rin0_scale", "r_chunks_scale"):
            np.testing.assert_array_equal(read.array(name)[row], held[f"{name}_f16"].astype(np.float32))
    few = run_task(DenoisingCircuits, "read", {"path": str(tmp_path / "elsewhere"), "limit": 2})
    assert len(few) == 2


def bomb() -> bytes:
    """Small, and large when it is unpacked."""
    return zstandard.ZstdCompressor(level=19).compress(bytes(3 * 2**20))


def zip_bomb() -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packer:
        packer.writestr("x_T_f16.npy", bytes(3 * 2**20))
    return zstandard.ZstdCompressor().compress(archive.getvalue())


def pickled() -> bytes:
    return packed(sample(0) | {"x_T_f16": np.array([{"a": 1}], object)})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(lambda: packed(sample(1))[:-40], "damaged", id="truncated"),
        pytest.param(lambda: b"no zstd at all", "damaged", id="no-zstd"),
        pytest.param(lambda: zstandard.ZstdCompressor().compress(b"no archive"), "damaged", id="no-archive"),
        pytest.param(lambda: packed({k: v for k, v in sample(1).items() if k != "rin0_q"}), "no array rin0_q", id="missing"),
        pytest.param(lambda: packed(sample(1) | {"rin0_q": np.zeros(LATENT, np.float32)}), "rin0_q is float32", id="type"),
        pytest.param(lambda: packed(sample(1) | {"rin0_scale_f16": np.ones(7, np.float16)}), "the others want", id="shape"),
        pytest.param(lambda: packed(sample(1, chunks=5)), "that of 'sample_00000000.zst' is", id="other-chunks"),
        pytest.param(lambda: packed(sample(1) | {"T": np.array([500], np.int16)}), "T=500", id="other-times"),
        pytest.param(lambda: packed(sample(1) | {"x0_teacher_f16": np.full((1, 16, 16), np.nan, np.float16)}), "NaN", id="nan"),
        pytest.param(bomb, "more than 1,048,576 bytes", id="zstd-bomb"),
        pytest.param(zip_bomb, "more than 1,048,576 bytes", id="zip-bomb"),
        pytest.param(pickled, "damaged", id="pickle"),
    ],
)
def test_what_is_no_sample_is_refused_by_its_name(run_task: Any, tmp_path: Path, content: Any, words: str) -> None:
    given = folder(tmp_path / "elsewhere")
    (given / "sample_00000001.zst").write_bytes(content())
    with pytest.raises(DataError, match=rf"'sample_00000001\.zst'.*{words}"):
        run_task(DenoisingCircuits, "read", {"path": str(given), "max_mib": 1})


def test_an_empty_folder_and_a_number_twice_are_refused(run_task: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no file sample_NUMBER"):
        run_task(DenoisingCircuits, "read", {"path": str(folder(tmp_path / "none", ()))})
    twice = folder(tmp_path / "twice")
    (twice / "sample_1.zst").write_bytes(packed(sample(1)))
    with pytest.raises(DataError, match="are both sample 1"):
        run_task(DenoisingCircuits, "read", {"path": str(twice)})


def test_a_student_is_distilled_from_elsewhere_with_a_readout_of_its_own(
    run_task: Any, tmp_path: Path, published: Model, carrying: Model
) -> None:
    rows = run_task(DenoisingCircuits, "read", {"path": str(folder(tmp_path / "elsewhere"))})
    params = {"steps": 2, "batch": 4, "predict_end": False, "train_readout": True}
    student = run_task(DenoisingCircuits, "distill", params, teacher=published, offline=rows)
    head = {name.removeprefix("circuit."): value for name, value in published.state().items() if "x0_head" in name}
    changed = [name for name, value in head.items() if not torch.equal(value, student.state()[f"one_step.{name}"])]
    assert changed, "the readout has learned"
    assert run_task(DenoisingCircuits, "sample", {"count": 2}, model=student).images.shape == (2, 1, 16, 16)
    with pytest.raises(DataError, match="train_readout: true"):
        run_task(DenoisingCircuits, "distill", params | {"train_readout": False}, teacher=published, offline=rows)
    with pytest.raises(DataError, match="carries pixels"):
        run_task(DenoisingCircuits, "distill", params, teacher=carrying, offline=rows)
    own = run_task(DenoisingCircuits, "record", {"count": 2, "chunks": 2}, teacher=carrying)
    with pytest.raises(DataError, match="recorded from model"):
        run_task(DenoisingCircuits, "distill", params, teacher=published, offline=own)


def test_what_is_exported_is_read_back_and_read_by_numpy_alone(run_task: Any, store: LocalStore, tmp_path: Path, published: Model) -> None:
    own: OfflineData = run_task(DenoisingCircuits, "record", {"count": 5, "chunks": 2, "block": 2}, teacher=published)
    names = export_artifact(store, own.key, tmp_path / "out", "published")
    assert [name for name in names if name.endswith(".zst")] == [f"sample_{number:08d}.zst" for number in range(5)]
    with np.load(io.BytesIO(zstandard.ZstdDecompressor().decompress((tmp_path / "out" / "sample_00000003.zst").read_bytes()))) as archive:
        assert archive["T"].tolist() == [5] and archive["chunk_size"].tolist() == [2] and archive["rin0_scale_f16"].dtype == np.float16
        np.testing.assert_array_equal(archive["r_chunks_q"], own.array("r_chunks")[3])
    back = run_task(DenoisingCircuits, "read", {"path": str(tmp_path / "out")})
    for name in ("sample_id", "x_T", "x0", "rin0", "r_chunks"):
        np.testing.assert_array_equal(back.array(name)[:], own.array(name)[:])
    np.testing.assert_allclose(back.array("r_chunks_scale")[:], own.array("r_chunks_scale")[:], rtol=2**-11)


def test_rows_that_are_no_trajectories_are_not_exported(store: LocalStore, tmp_path: Path) -> None:
    from fabloom.kinds import RowSpec

    def pairs(ctx: Any) -> OfflineData:
        writer = OfflineData.writer(ctx, count=2, block=2, arrays={"noise": RowSpec("float32", (3,))})
        writer.append({"noise": np.zeros((2, 3), np.float32)})
        return OfflineData.finish(ctx, writer, {})

    with pytest.raises(UserError, match=r"hold noise: without .*rin0.* they are no recurrence trajectories"):
        export_artifact(store, write_artifact(store, pairs).key, tmp_path / "out", "published")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_raw_rows_hold_the_same_values_uncompressed_and_are_still_checked(run_task: Any, store: LocalStore, published: Model) -> None:
    params = {"count": 6, "chunks": 2, "block": 2}
    packed_rows, raw = (run_task(DenoisingCircuits, "record", params | {"compress": c}, teacher=published) for c in (True, False))
    for name in packed_rows.names:
        np.testing.assert_array_equal(raw.reader([name]).read(np.arange(6))[name], packed_rows.array(name)[:])
    (told,) = store.root.glob(f"**/{raw.key}*/**/r_chunks/zarr.json")
    codecs = json.dumps(json.loads(told.read_text())["codecs"])
    assert "crc32c" in codecs and "zstd" not in codecs
    (piece,) = [path for path in told.parent.rglob("*") if (path.is_file() and path.name == "0") or path.name.endswith("/0")][:1]
    content = bytearray(piece.read_bytes())
    content[10] ^= 1
    piece.write_bytes(bytes(content))
    with pytest.raises(Exception, match=r"crc32c|checksum|damaged"):
        raw.reader(["r_chunks"]).read(np.arange(6))


def test_a_channel_that_stands_still_takes_few_codes_and_the_sum_stays_exact() -> None:
    draw = torch.Generator().manual_seed(0)
    rin0 = torch.randn(2, 4, 8, 8, generator=draw)
    chunks = torch.randn(2, 3, 4, 8, 8, generator=draw) * torch.tensor([1.0, 0.5, 1e-6, 0.0])[:, None, None]
    free, floored = quantise(rin0, chunks), quantise(rin0, chunks, scale_floor=0.01)
    assert int(free.r_chunks[:, :, 2].abs().max()) == 127, "without a floor its rounding errors fill the range"
    assert int(floored.r_chunks[:, -1, 2].abs().max()) <= 1 and torch.equal(free.r_chunks[:, :, :2], floored.r_chunks[:, :, :2])
    end = rin0.double() + chunks.double().sum(1)
    for coded in (free, floored):
        scales = coded.r_chunks_scale.double()[..., None, None]
        lost = end - coded.rin0 * coded.rin0_scale.double()[..., None, None] - (coded.r_chunks * scales).sum(1)
        assert (lost.abs() <= 0.501 * scales[:, -1] + 1e-12).all()


def test_the_tiny_trajectories_of_the_kit_can_be_exported(store: LocalStore, tmp_path: Path) -> None:
    made = write_artifact(store, tiny_offline)
    assert len(export_artifact(store, made.key, tmp_path / "out", "published")) >= len(made)
