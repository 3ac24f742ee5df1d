from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fabloom.errors import DataError
from fabloom.kinds import Artifact, ImageSet, RowSpec
from fabloom.kinds.masks import UNKNOWN, drawn_domain, is_defect
from fabloom.kinds.origin import LONGEST, check_names, printable
from fabloom.storage.backends.local import LocalStore
from fabloom.testing import MemoryStore, write_artifact
from fabloom.testing.method.checks import problems
from fabloom.testing.tiny import tiny_images

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 1, 6, 8), dtype=np.uint8)
CLASSES = ["clean", "bridge", "break"]


def masks(*values: int) -> np.ndarray:
    """A mask for each value, which fills a corner of 2 x 3 pixels; [4,6,8]."""
    drawn = np.zeros((4, 6, 8), np.uint8)
    for row, value in enumerate(values):
        drawn[row, :2, :3] = value
    return drawn


def write(images: Any = PIXELS, **columns: Any) -> ImageSet:
    made = write_artifact(MemoryStore(), lambda ctx: ImageSet.write(ctx, images, **columns))
    assert isinstance(made, ImageSet)
    return made


def refused(*words: str, images: Any = PIXELS, **columns: Any) -> None:
    with pytest.raises(DataError) as caught:
        write(images, **columns)
    for word in words:
        assert word in str(caught.value)


def test_masks_of_several_classes() -> None:
    made = write(masks=masks(0, 1, 2, 255), class_names=CLASSES)
    assert made.masks is not None and made.domain is not None
    assert made.masks[...].max((1, 2)).tolist() == [0, 1, 2, 255]
    assert made.domain[...].tolist() == [0, 1, 1, 0], "255 alone is no defect"
    assert made.mask_names == CLASSES and problems(made) == []


def test_one_class_stays_zero_and_one() -> None:
    plain = write(masks=masks(0, 1, 255, 0))
    assert plain.domain is not None and plain.domain[...].tolist() == [0, 1, 0, 0]
    assert plain.mask_names == ["clean", "defect"] and plain.class_names == [] and problems(plain) == []
    # labels of several classes beside masks that say where, not what
    labelled = write(masks=masks(0, 1, 1, 0), labels=np.array([0, 1, 2, 0], np.int16), class_names=CLASSES)
    assert labelled.mask_names == ["clean", "defect"] and problems(labelled) == []
    # names without labels can only be those of the masks' values
    assert write(masks=masks(0, 1, 1, 0), class_names=CLASSES).mask_names == CLASSES


def test_what_contradicts_is_refused() -> None:
    refused("value 2 without class names", "the clean class first", masks=masks(0, 2, 1, 0))
    refused("value 3", "class_names holds 3", masks=masks(0, 1, 3, 0), class_names=CLASSES)
    refused("value 1", "class_names holds 1", masks=masks(0, 1), class_names=["clean"])
    refused("image 1: domain says 0 but its mask says 1", masks=masks(0, 1), domain=np.zeros(4, np.int8))
    refused("image 3: domain says 1", "cannot tell", "by 255", masks=masks(0, 1, 0, 255), domain=np.array([0, 1, 0, 1], np.int8))
    wrong = {"masks": masks(0, 1, 2, 0), "class_names": CLASSES}
    refused("image 2: its label says 'bridge'", "says 'break'", labels=np.array([0, 1, 1, 0], np.int16), **wrong)
    refused("image 1: its label says 'clean'", labels=np.array([0, 0, 2, 0], np.int16), **wrong)
    refused("image 3: its label says 'break'", "says 'clean'", labels=np.array([0, 1, 2, 2], np.int16), **wrong)
    unsure = write(masks=masks(0, 1, 2, 255), class_names=CLASSES, labels=np.array([0, 1, 2, 2], np.int16))
    assert problems(unsure) == [], "of an image that holds 255 the label may say more than its mask"


def test_black_and_white_masks_are_warned_of() -> None:
    with pytest.warns(UserWarning, match="Divide masks that were drawn in black and white by 255"):
        assert not write(masks=masks(0, 255, 255, 0)).domain[...].any()  # type: ignore[index]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        write(masks=masks(0, 255, 255, 0), domain=np.zeros(4, np.int8))
        write(masks=masks(0, 255, 1, 0))


def test_the_words_of_a_mask() -> None:
    values = np.array([[[0, 1, 254, 255]], [[0, 0, 255, 255]]], np.uint8)
    assert is_defect(values)[0, 0].tolist() == [False, True, True, False]
    assert drawn_domain(values).tolist() == [1, 0] and UNKNOWN == 255


def test_sources_are_kept_and_passed_on() -> None:
    made = write(source=np.array([1, 1, 0, 1], np.int32), source_names=["a.png", "lot 3/b.png"])
    assert made.source is not None and made.source[...].tolist() == [1, 1, 0, 1]
    assert made.source_names == ["a.png", "lot 3/b.png"] and problems(made) == []
    some = write(PIXELS[:2], **made.origins([2, 3]))
    assert some.source is not None and some.source[...].tolist() == [0, 1] and some.source_names == made.source_names
    bare = write()
    assert bare.source is None and bare.source_names == [] and bare.origins() == {}


def test_sources_are_checked() -> None:
    index = np.arange(4, dtype=np.int32)
    refused("source runs from 0 to 3 but source_names holds 2", source=index, source_names=["a", "b"])
    refused("source runs from -1", source=index - 1, source_names=["a", "b", "c", "d"])
    refused("belong together", source=index)
    refused("belong together", source_names=["a"])
    refused("int32", "int64", source=index.astype(np.int64), source_names=list("abcd"))
    refused("shape (4,)", source=index[:2], source_names=list("abcd"))
    for name in ("", "x" * (LONGEST + 1), "a\nb", "\x1b[31m", "\udc80"):
        refused("source_names[1]", source=index % 2, source_names=["a", name])
    refused("'a' twice", source=index % 2, source_names=["a", "a"])


@pytest.mark.parametrize("name", ["a.png", "µ 3.tif", "a\nb", "\x1b]0;\x07", "\udc80\udcff.png", "d/" * 3000 + "end.png"])
def test_any_file_name_becomes_plain_text(name: str) -> None:
    text = printable(name)
    assert check_names("names", [text]) == [text] and text.encode() and text.endswith(name[-3:] if name.isprintable() else text[-1])
    assert printable("a.png") == "a.png" and printable("a\nb") != printable("a\tb")


@pytest.mark.parametrize("batches", [False, True])
def test_channels_last_is_refused(batches: bool) -> None:
    colour = np.zeros((2, 64, 64, 3), np.uint8)
    refused("(2, 64, 64, 3)", "64 channels", "Channels last?", "(2, 3, 64, 64)", images=iter([colour]) if batches else colour)
    refused("64 channels, wanted the declared 3", images=colour, channels=3)
    many = np.zeros((2, 5, 8, 8), np.uint8)
    refused("5 channels, wanted 1 or 3", images=many)
    assert write(many, channels=5).images.shape == (2, 5, 8, 8)


def lines(ctx: Any) -> Artifact:
    """The set of `tiny_images` by the store's own words: what `ImageSet.write` wrote before sources and classes."""
    made = write_artifact(MemoryStore(), tiny_images, seed=ctx.seed)
    columns = {name: made.array(name)[...] for name in ("images", "masks", "domain", "labels")}
    dims = {"images": ("channel", "y", "x"), "masks": ("y", "x")}
    specs = {name: RowSpec(str(a.dtype), a.shape[1:], dims=dims.get(name, ())) for name, a in columns.items()}
    writer = ctx.staging.rows(16, 1024, specs)
    writer.append(columns)
    writer.close()
    ctx.staging.attrs["class_names"] = ["clean", "bridge"]
    return ImageSet(ctx.staging.as_reader())


def test_a_set_without_sources_has_the_bytes_it_always_had(tmp_path: Path) -> None:
    wrote: list[Callable[[Any], Artifact]] = [tiny_images, lines]
    new, old = (write_artifact(LocalStore(tmp_path / str(place)), one, seed=5) for place, one in enumerate(wrote))
    assert new.digest == old.digest != ""


def test_references_lie_row_by_row_beside_the_images() -> None:
    made = write(references=PIXELS[::-1].copy())
    assert made.references is not None and np.array_equal(made.references[1:], PIXELS[::-1][1:]) and problems(made) == []
    assert write().references is None


@pytest.mark.parametrize("shape", [(4, 1, 8, 6), (3, 1, 6, 8), (4, 6, 8)])
def test_references_have_the_shape_of_the_images(shape: tuple[int, ...]) -> None:
    refused("references must", references=np.zeros(shape, np.uint8))
