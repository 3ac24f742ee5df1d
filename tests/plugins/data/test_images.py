"""Images from files: formats and layouts, one grey range, and an error for everything that must not get in."""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from fabloom.errors import DataError
from fabloom.plugins.data.images.method import Images
from fabloom.plugins.data.images.params import LoadParams
from fabloom.plugins.data.images.reading import decode, header

RAMP = np.arange(12 * 10, dtype=np.uint8).reshape(12, 10)


def png(path: Path, pixels: Any, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels)).save(path, **options)
    return path


def dot(value: int = 255, size: tuple[int, int] = (12, 10)) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    mask[3:5, 4:7] = value
    return mask


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A place for images; the store of the fixtures lies beside it."""
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def load(run_task: Any) -> Any:
    def run(path: Path, **params: Any) -> Any:
        return run_task(Images, "load", {"path": str(path), **params})

    return run


def scan(path: Path, clean: Any = (), defect: Any = ()) -> Any:
    return LoadParams.model_validate({"path": str(path), "clean": clean, "defect": defect}).scene().entries


def refused(load: Any, path: Path, *words: str, **params: Any) -> None:
    """Loading raises one DataError that holds all `words`."""
    with pytest.raises(DataError) as caught:
        load(path, **params)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "npy"])
def test_lossless_formats_keep_every_grey_level(load: Any, folder: Path, suffix: str) -> None:
    path = folder / f"one.{suffix}"
    if suffix == "npy":
        np.save(path, RAMP)
    elif suffix == "tif":
        tifffile.imwrite(path, RAMP)
    else:
        png(path, RAMP)
    made = load(path)
    np.testing.assert_array_equal(made.images[:], RAMP[None, None])
    assert made.masks is made.domain is made.labels is None
    assert (made.attrs["grey_low"], made.attrs["grey_high"]) == (0.0, 255.0)


def test_the_names_of_the_files_are_kept(load: Any, folder: Path) -> None:
    for name in ("defect/b.png", "clean/a.png", "clean/ä 1.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        png(folder / name, RAMP)
    made = load(folder)
    assert made.source_names == ["clean/a.png", "clean/ä 1.png", "defect/b.png"] and made.source[...].tolist() == [0, 1, 2]
    tiled = load(folder / "clean", tile=8)
    assert tiled.source_names == ["a.png", "ä 1.png"] and np.bincount(tiled.source[...]).tolist() == [len(tiled) // 2] * 2
    assert load(folder / "defect" / "b.png").source_names == ["b.png"]


def test_jpeg_is_read(load: Any, folder: Path) -> None:
    assert np.abs(load(png(folder / "one.jpg", RAMP, quality=95)).images[:][0, 0].astype(int) - RAMP).max() < 12


def test_compressed_tiff_of_sixteen_bits_is_read(load: Any, folder: Path) -> None:
    wide = RAMP.astype(np.uint16) * 257
    Image.fromarray(wide).save(folder / "one.tif", compression="tiff_lzw")
    made = load(folder)
    assert made.attrs["grey_high"] == 119 * 257
    assert made.images[:].max() == 255


def test_flat_folder_is_sorted_and_names_are_not_interpreted(load: Any, folder: Path) -> None:
    for index, name in enumerate(("no_defect", "bridge_defect", "clean_2")):
        png(folder / f"{name}.png", RAMP + index)
    (folder / "notes.txt").write_text("x")
    made = load(folder)
    assert made.domain is None
    assert made.images[:, 0, 0, 0].tolist() == [1, 2, 0]  # bridge_defect, clean_2, no_defect


def test_patterns_give_the_domain(load: Any, folder: Path) -> None:
    for name in ("no_defect", "bridge_defect"):
        png(folder / f"{name}.png", RAMP)
    assert load(folder, clean=["no_*"], defect=["bridge*"]).domain[:].tolist() == [1, 0]
    refused(load, folder, "no_defect.png", "both clean and defect", clean=["no_*"], defect=["*defect*"])
    refused(load, folder, "pattern 'nodefect*' matches no file", clean=["nodefect*"])
    refused(load, folder, "bridge_defect.png", "neither", clean=["no_*"])
    png(folder / "wafer[2]_1.png", RAMP)
    patterns = {"clean": ["no_*", "wafer[2]_*"], "defect": ["[b]ridge*"]}  # brackets stand for themselves, and for what globs mean
    assert load(folder, **patterns).domain[:].tolist() == [1, 0, 0]


def test_folders_give_the_domain_and_masks(load: Any, folder: Path) -> None:
    png(folder / "clean" / "a.png", RAMP)
    png(folder / "defect" / "b.png", RAMP + 1)
    assert load(folder).domain[:].tolist() == [0, 1]
    png(folder / "masks" / "b.png", dot())
    made = load(folder)
    assert made.domain[:].tolist() == [0, 1]
    np.testing.assert_array_equal(made.masks[:], [dot(0), dot(1)])


def test_masks_beside_a_flat_folder_give_the_domain(load: Any, folder: Path) -> None:
    for name, value in (("a", 0), ("b", 7)):
        png(folder / "set" / f"{name}.png", RAMP)
        png(folder / "drawn" / f"{name}.bmp", dot(value))
    made = load(folder / "set", masks=str(folder / "drawn"))
    assert made.domain[:].tolist() == [0, 1]
    np.testing.assert_array_equal(made.masks[1], dot(1))


def test_one_name_in_both_folders_needs_masks_in_folders(load: Any, folder: Path) -> None:
    for name in ("clean", "defect"):
        png(folder / name / "0.png", RAMP)
    drawn = png(folder / "masks" / "0.png", dot())
    refused(load, folder, "fits several images", "masks/defect")
    drawn.unlink()
    png(folder / "masks" / "defect" / "0.png", dot())
    assert load(folder).masks[:].any((1, 2)).tolist() == [False, True]


def test_colour_masks_and_palettes(load: Any, folder: Path) -> None:
    png(folder / "a.png", RAMP)
    drawn = Image.fromarray(dot(1), "P")
    drawn.putpalette([0, 0, 0, 128, 0, 0])
    (folder / "masks").mkdir()
    drawn.save(folder / "masks" / "a.png")
    np.testing.assert_array_equal(load(folder).masks[0], dot(1))


def colour(shift: int = 0) -> np.ndarray:
    return np.stack([RAMP, RAMP + shift, RAMP], -1)


def test_equal_channels_collapse_to_grey(load: Any, folder: Path) -> None:
    png(folder / "a.png", colour())
    png(folder / "b.png", RAMP)
    np.testing.assert_array_equal(load(folder).images[:], np.stack([RAMP, RAMP])[:, None])
    refused(load, folder, "b.png", "1 channels", colour="keep")


def test_true_colour_stays_colour_for_the_whole_set(load: Any, folder: Path) -> None:
    png(folder / "a.png", colour(50))
    png(folder / "b.png", RAMP)
    made = load(folder).images[:]
    np.testing.assert_array_equal(made, np.stack([colour(50), colour()]).transpose(0, 3, 1, 2))
    grey = load(folder, colour="grey").images[:]
    np.testing.assert_array_equal(grey[0, 0], np.rint(RAMP + 0.587 * 50))


def test_alpha_is_dropped_where_opaque_and_composited_over_black_elsewhere(load: Any, folder: Path) -> None:
    alpha = np.full((12, 10, 1), 255, np.uint8)
    png(folder / "opaque" / "a.png", np.concatenate([colour(), alpha], -1))
    np.testing.assert_array_equal(load(folder / "opaque").images[0, 0], RAMP)
    alpha[:, 5:] = 0
    png(folder / "holes" / "a.png", np.concatenate([colour(), alpha], -1))
    np.testing.assert_array_equal(load(folder / "holes").images[0, 0], np.where(np.arange(10) < 5, RAMP, 0))


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32, np.float64])
def test_wide_grey_levels_share_one_range(load: Any, folder: Path, dtype: Any) -> None:
    for name, offset in (("a", 1000), ("b", 1040)):
        np.save(folder / f"{name}.npy", (RAMP.astype(dtype) + dtype(offset)))
    made = load(folder)
    low, high = made.attrs["grey_low"], made.attrs["grey_high"]
    assert (low, high) == (1000.0, 1159.0)
    back = made.images[:, 0] / 255 * (high - low) + low
    np.testing.assert_allclose(back[0], RAMP + 1000.0, atol=0.51 * (high - low) / 255)
    np.testing.assert_allclose(back[1] - back[0], 40, atol=1.02 * (high - low) / 255)  # one map for both, not one each


def test_sixteen_bit_png_is_not_cut(load: Any, folder: Path) -> None:
    png(folder / "a.png", RAMP.astype(np.uint16) * 300)
    made = load(folder)
    assert made.attrs["grey_high"] == 119 * 300
    assert len(np.unique(made.images[:])) == 120


def test_widest_float_range_does_not_overflow(load: Any, folder: Path) -> None:
    np.save(folder / "a.npy", np.array([[-1.7e308, 0.0], [1.7e308, 0.0]]))
    assert load(folder).images[0, 0].tolist() == [[0, 128], [255, 128]]


def test_tiles_cover_images_of_any_size_and_carry_masks(load: Any, folder: Path) -> None:
    png(folder / "defect" / "a.png", np.tile(RAMP, (2, 2)))
    png(folder / "clean" / "b.png", RAMP)
    refused(load, folder, "a.png", "without a mask", tile=8)
    mask = np.zeros((24, 20), np.uint8)
    mask[10, 2] = 255
    png(folder / "masks" / "a.png", mask)
    made = load(folder, tile=8)
    assert made.images.shape == (1 + 3 * 2, 1, 8, 8)
    assert made.domain[:].tolist() == [0, 0, 0, 1, 0, 0, 0]  # b, then the tiles of a: only the one at y 8, x 0
    np.testing.assert_array_equal(made.images[2, 0], np.tile(RAMP, (2, 2))[0:8, 8:16])
    assert load(folder, tile=8, stride=4).images.shape[0] == 2 + 5 * 4
    refused(load, folder, "smaller than tile=16", tile=16)


def test_empty_and_unknown_folders(load: Any, folder: Path) -> None:
    (folder / "readme.txt").write_text("x")
    refused(load, folder, "no images", ".txt")
    with pytest.raises(DataError, match="no such file or folder"):
        scan(folder / "absent")
    png(folder / "train" / "a.png", RAMP)
    refused(load, folder, "'train'", "clean, defect, masks")


def test_images_beside_labelled_folders_are_refused(load: Any, folder: Path) -> None:
    png(folder / "clean" / "a.png", RAMP)
    png(folder / "b.png", RAMP)
    refused(load, folder, "b.png", "move them")


def test_two_files_of_one_name_are_refused(load: Any, folder: Path) -> None:
    png(folder / "a.png", RAMP)
    png(folder / "a.bmp", RAMP)
    refused(load, folder, "a.bmp", "a.png", "rename")


COMPOSED, DECOMPOSED = "\u00e9", "e\u0301"
"""One letter, as archives and file systems of two sorts write it."""


def test_names_that_look_the_same_are_the_same(load: Any, folder: Path) -> None:
    png(folder / f"{DECOMPOSED}.png", RAMP)
    png(folder / "b.png", RAMP)
    png(folder / "masks" / f"{COMPOSED}.png", dot())
    made = load(folder, clean=["b*"])
    assert made.domain[:].tolist() == [0, 1] and made.masks[1].any()
    assert [entry.domain for entry in scan(folder, ["b.png"], [f"{COMPOSED}*"])] == [0, 1]
    png(folder / f"{COMPOSED}.png", RAMP)
    refused(load, folder, "two files of one name")


def test_a_name_that_is_no_text_is_refused(load: Any, folder: Path) -> None:
    png(folder / "a.png", RAMP)
    (folder / os.fsdecode(b"caf\xe9.png")).write_bytes((folder / "a.png").read_bytes())
    refused(load, folder, "caf\\udce9.png", "not UTF-8", "Rename")
    refused(load, folder / os.fsdecode(b"caf\xe9.png"), "not UTF-8")


def test_mixed_sizes_and_depths_are_refused(load: Any, folder: Path) -> None:
    png(folder / "sizes" / "a.png", RAMP)
    png(folder / "sizes" / "b.png", RAMP.T)
    refused(load, folder / "sizes", "b.png", "10 x 12", "12 x 10", "tile")
    png(folder / "depths" / "a.png", RAMP)
    np.save(folder / "depths" / "b.npy", RAMP.astype(np.float32))
    refused(load, folder / "depths", "b.npy", "float32", "uint8")


def test_unreadable_and_truncated_files_are_refused(load: Any, folder: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    for name in ("cut.png", "cut.jpg", "cut.npy", "cut.tif"):
        alone = folder / name.replace(".", "_")
        alone.mkdir()
        path = alone / name
        if name.endswith("npy"):
            np.save(path, noise)
        elif name.endswith("tif"):
            tifffile.imwrite(path, noise)
        else:
            png(path, noise)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        refused(load, alone, name, "remove it")
    (folder / "text.png").write_text("not an image")
    refused(load, folder / "text.png", "text.png", "cannot be read")


def test_animated_and_multi_page_files_are_refused(load: Any, folder: Path) -> None:
    frames = [Image.fromarray(RAMP + i) for i in range(3)]
    frames[0].save(folder / "film.png", save_all=True, append_images=frames[1:])
    refused(load, folder / "film.png", "film.png", "3 frames")
    tifffile.imwrite(folder / "pages.tif", np.stack([RAMP] * 4), photometric="minisblack")
    refused(load, folder / "pages.tif", "pages.tif", "4 pages")


def huge_png(path: Path, side: int) -> Path:
    """The header of a grey PNG of side x side pixels with next to no data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("side", [9_000, 12_000, 60_000])
def test_gigapixel_images_are_refused_before_decoding(load: Any, folder: Path, side: int) -> None:
    png(folder / "a.png", RAMP)
    refused(load, huge_png(folder / "b.png", side), "b.png", "cut it into parts")


def test_a_bad_last_header_is_found_before_the_first_pixel_is_decoded(load: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fabloom.plugins.data.images import loading

    decoded: list[Path] = []
    monkeypatch.setattr(loading, "decode", decoded.append)
    png(folder / "a.png", RAMP)
    (folder / "z.png").write_text("not an image")
    refused(load, folder, "z.png")
    assert not decoded


def test_numbers_that_are_no_grey_levels_are_refused(load: Any, folder: Path) -> None:
    for name, value, word in (
        ("nan", np.array([[0.0, np.nan]]), "NaN"),
        ("inf", np.array([[0.0, np.inf]]), "infinity"),
        ("complex", np.array([[0j, 1j]]), "complex128"),
        ("stack", np.zeros((4, 9, 7)), "(4, 9, 7)"),
        ("objects", np.array([[{}, None]], dtype=object), "pickle"),
        ("empty", np.zeros((0, 5)), "empty"),
    ):
        path = folder / f"{name}.npy"
        np.save(path, value, allow_pickle=True)
        refused(load, path, path.name, word)


def test_sixteen_bit_colour_png_is_refused_rather_than_halved(load: Any, folder: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(range(12)) for _ in range(2))
    content = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    refused(load, folder, "a.png", "16 bits")


def test_constant_set_is_refused_but_one_constant_image_is_not(load: Any, folder: Path) -> None:
    png(folder / "a.png", np.full_like(RAMP, 9))
    refused(load, folder, "every pixel of the set is 9")
    png(folder / "b.png", np.full_like(RAMP, 10))
    assert len(load(folder)) == 2


@pytest.mark.parametrize(
    ("name", "mask", "words"),
    [
        ("other", dot(), ("defect/b", "no mask")),
        ("b", dot(size=(10, 10)), ("b.png", "10 x 10", "12 x 10")),
        ("b", RAMP, ("b.png", "119 values")),
        ("b", dot(0), ("b.png", "mask is empty")),
    ],
)
def test_masks_that_do_not_fit_are_refused(load: Any, folder: Path, name: str, mask: np.ndarray, words: tuple[str, ...]) -> None:
    png(folder / "clean" / "a.png", RAMP)
    png(folder / "defect" / "b.png", RAMP)
    png(folder / "masks" / f"{name}.png", mask)
    refused(load, folder, *words)


def test_masks_of_nothing_and_masks_on_clean_images_are_refused(load: Any, folder: Path) -> None:
    png(folder / "clean" / "a.png", RAMP)
    png(folder / "defect" / "b.png", RAMP)
    png(folder / "masks" / "b.png", dot())
    extra = png(folder / "masks" / "c.png", dot())
    refused(load, folder, "c.png", "has no image")
    extra.unlink()
    png(folder / "masks" / "a.png", dot())
    refused(load, folder, "a.png", "clean, but its mask marks pixels")


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "npy"])
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_give_an_image_or_a_data_error(folder: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    path = folder / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, RAMP)
    elif suffix == "tif":
        tifffile.imwrite(path, RAMP)
    else:
        png(path, RAMP)
    sound, refusals = path.read_bytes(), 0
    for _ in range(300):
        damaged = bytearray(sound)
        for _ in range(rng.integers(1, 6)):
            damaged[rng.integers(min(len(damaged), 200))] = rng.integers(256)
        path.write_bytes(damaged[: rng.integers(len(damaged))] if rng.random() < 0.2 else damaged)
        try:
            header(path, 10**6)
            pixels = decode(path)
        except DataError as error:
            refusals += 1
            assert str(path) in str(error)
        else:
            assert pixels.ndim == 3
    assert refusals > 30


@pytest.mark.parametrize("tag", range(1, 9))
def test_a_tag_turns_image_and_mask_as_pillow_turns_them(load: Any, folder: Path, tag: int) -> None:
    tags = Image.Exif()
    tags[0x0112] = tag
    for name, pixels in (("a.png", RAMP), ("masks/a.png", dot())):
        png(folder / name, pixels, exif=tags)
    made = load(folder)
    for array, pixels in ((made.images[0, 0], RAMP), (made.masks[0] * 255, dot())):
        with Image.open(png(folder / "turned" / "one.png", pixels, exif=tags)) as stored:
            np.testing.assert_array_equal(array, np.asarray(ImageOps.exif_transpose(stored)))
        shutil.rmtree(folder / "turned")
    png(folder / "masks" / "a.png", dot())
    if tag > 1:
        refused(load, folder, "a.png", "orientation: apply", "ignore")
    np.testing.assert_array_equal(load(folder, orientation="ignore").masks[0], dot(1))


def test_masks_may_lie_in_a_folder_of_another_name(load: Any, folder: Path) -> None:
    png(folder / "a.png", RAMP)
    png(folder / "truth" / "a.png", dot())
    refused(load, folder, "'truth'")
    assert load(folder, masks=str(folder / "truth")).domain[:].tolist() == [1]


def test_stride_without_tile_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="set tile too"):
        LoadParams.model_validate({"path": str(folder), "stride": 4})


def test_same_files_elsewhere_have_the_same_key(load: Any, folder: Path) -> None:
    made = []
    for name in ("one", "two"):
        png(folder / name / "a.png", RAMP)
        made.append(load(folder / name))
    assert made[0].key == made[1].key


def test_real_pair(load: Any, data_dir: Path) -> None:
    made = load(data_dir / "line_pair", clean=["no_defect*"], defect=["bridge_defect*"])
    assert made.images.shape == (2, 1, 96, 96)
    assert made.domain[:].tolist() == [1, 0]
    assert [int(made.images[i].min()) for i in (0, 1)] == [54, 59]
    assert made.images[0].mean() == pytest.approx(68.94, abs=0.01)


def test_scanning_a_folder_takes_no_path_apart_per_file(folder: Path, monkeypatch: Any) -> None:
    for index in range(60):
        (folder / f"{index:02}.png").touch()
    asked: list[str] = []
    for name in ("relative_to", "is_file", "is_dir", "samefile", "with_suffix"):
        own = getattr(Path, name)
        monkeypatch.setattr(Path, name, lambda path, *a, own=own, name=name, **k: (asked.append(name), own(path, *a, **k))[1])
    assert [entry.name for entry in scan(folder)] == [f"{index:02}.png" for index in range(60)]
    assert len(asked) < 10
