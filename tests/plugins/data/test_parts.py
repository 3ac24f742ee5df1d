"""Splitting by source, cutting into tiles, joining: nothing is lost, doubled, moved against its mask, or on both sides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fabloom.errors import DataError
from fabloom.kinds import ImageSet
from fabloom.method import Context, Method, task
from fabloom.params import Params
from fabloom.plugins.data.images.method import Images
from fabloom.plugins.data.images.parts import SplitParams
from fabloom.plugins.data.images.tile import cut, places, without_rests


class Given(Params):
    """How many files, how many images of each, and how many of the files have a defect."""

    files: int = 10
    each: int = 3
    defects: int = 4
    equal: bool = False
    plain: bool = False


class Drawn(Method):
    name = "drawn"

    @task(version=1)
    def make(self, ctx: Context, params: Given) -> ImageSet:
        count = params.files * params.each
        draw = np.random.default_rng(ctx.seed)
        pixels = draw.integers(0, 200, (count, 1, 20, 28), dtype=np.uint8)
        if params.equal:
            pixels[:] = pixels[0]
        source = np.repeat(np.arange(params.files, dtype=np.int32), params.each)
        masks = np.zeros((count, 20, 28), np.uint8)
        for row in np.flatnonzero(source < params.defects):
            masks[row, row % 8 : row % 8 + 3, 20:24] = 1
        pixels[:, 0][masks > 0] = 255
        if params.plain:
            return ImageSet.write(ctx, pixels)
        names = [f"{'d' if number < params.defects else 'c'}{number}.png" for number in range(params.files)]
        return ImageSet.write(ctx, pixels, masks=masks, references=255 - pixels, source=source, source_names=names)


def parts(run_task: Any, given: ImageSet, seed: int = 0, **params: Any) -> tuple[ImageSet, ImageSet]:
    train, test = (run_task(Images, "split", {"part": part, **params}, seed=seed, images=given) for part in ("train", "test"))
    return train, test


def used(images: ImageSet) -> set[str]:
    return {images.source_names[at] for at in np.unique(images.source[...])}


def test_the_two_parts_are_the_whole_and_share_no_source(run_task: Any) -> None:
    given = run_task(Drawn, "make")
    train, test = parts(run_task, given)
    assert not used(train) & used(test) and used(train) | used(test) == used(given)
    rows = {image.tobytes(): row for row, image in enumerate(given.images[...])}
    assert sorted(rows[image.tobytes()] for one in (train, test) for image in one.images[...]) == list(range(30))
    for one in (train, test):
        assert ((one.images[...][:, 0] == 255) == one.masks[...].astype(bool)).all()
        assert (one.references[...] == 255 - one.images[...]).all()
    assert {name[0] for name in used(test)} == {"c", "d"}, "both sorts are held out"
    assert len(used(test)) == 3, "round(0.3 * 4) of the defect files and round(0.3 * 6) of the clean ones"


def test_another_seed_holds_out_others_and_a_new_file_moves_few(run_task: Any) -> None:
    held = [used(parts(run_task, run_task(Drawn, "make"), seed=seed)[1]) for seed in range(4)]
    assert len(set(map(frozenset, held))) > 1
    more = run_task(Drawn, "make", {"files": 11})
    assert len(used(parts(run_task, more)[1]) & held[0]) >= 2


def test_equal_images_are_one_source_and_one_source_is_refused(run_task: Any) -> None:
    with pytest.raises(DataError, match="one clean source"):
        parts(run_task, run_task(Drawn, "make", {"equal": True, "defects": 0}))
    with pytest.raises(DataError, match=r"one defect source, 'd0\.png'"):
        parts(run_task, run_task(Drawn, "make", {"defects": 1}))


def test_one_defect_source_is_kept_for_a_one_shot_method(run_task: Any) -> None:
    given = run_task(Drawn, "make", {"each": 1})
    train, _ = parts(run_task, given)
    one = run_task(Images, "split", {"part": "train", "defects": 1}, images=given)
    assert int(one.domain[...].sum()) == 1 and used(one) < used(train)
    assert {name for name in used(one) if name[0] == "c"} == {name for name in used(train) if name[0] == "c"}


def test_a_set_without_sources_and_domains_is_split_by_row(run_task: Any) -> None:
    train, test = parts(run_task, run_task(Drawn, "make", {"plain": True, "files": 10, "each": 1}))
    assert len(train) == 7 and len(test) == 3 and not used(train) & used(test)


def test_tiles_cover_every_pixel_with_masks_and_references(run_task: Any) -> None:
    given = run_task(Drawn, "make", {"files": 3, "each": 1, "defects": 2})
    tiled = run_task(Images, "tile", {"size": 12, "stride": 8, "rest": 0}, images=given)
    assert tiled.images.shape == (3 * 2 * 3, 1, 12, 12)
    corners = [(top, left) for top in (0, 8) for left in (0, 8, 16)]
    for number, (image, mask, reference) in enumerate(zip(tiled.images[...], tiled.masks[...], tiled.references[...], strict=True)):
        row, (top, left) = number // 6, corners[number % 6]
        window = np.s_[top : top + 12, left : left + 12]
        assert (image[0] == given.images[row : row + 1][0, 0][window]).all()
        assert (mask == given.masks[row : row + 1][0][window]).all() and (reference == 255 - image).all()
    assert tiled.source[...].tolist() == np.repeat(np.arange(3), 6).tolist() and tiled.source_names == given.source_names


def rests(*boxes: tuple[int, int, int, int], **params: Any) -> Any:
    """Masks of the tiles of 16 px of one image of 32 px with defects in these boxes (top, bottom, left, right), as the task cuts them."""
    mask = np.zeros((1, 1, 32, 32), np.uint8)
    for top, bottom, left, right in boxes:
        mask[..., top:bottom, left:right] = 1
    side, corners = (16, 16), places((32, 32), (16, 16), 16)
    tiles = cut(mask[:, 0], corners, side)
    without_rests(tiles, mask[0, 0] > 0, corners, params.get("least", 4))
    return tiles.reshape(2, 2, 16, 16)


@pytest.mark.parametrize(
    ("box", "values"),
    [
        pytest.param((8, 19, 4, 8), [[1, 0], [255, 0]], id="three-rows-in-the-tile-below"),
        pytest.param((8, 20, 4, 8), [[1, 0], [1, 0]], id="four-rows-are-a-defect"),
        pytest.param((13, 24, 4, 8), [[255, 0], [1, 0]], id="three-rows-above"),
        pytest.param((4, 8, 8, 18), [[1, 255], [0, 0]], id="two-columns-to-the-right"),
        pytest.param((14, 16, 4, 8), [[1, 0], [0, 0]], id="ends-at-the-edge-by-itself"),
        pytest.param((30, 32, 4, 8), [[0, 0], [1, 0]], id="ends-with-the-image"),
        pytest.param((7, 9, 0, 32), [[1, 1], [0, 0]], id="thin-and-long-is-no-rest"),
        pytest.param((8, 18, 8, 18), [[1, 255], [255, 255]], id="a-corner"),
    ],
)
def test_the_last_pixels_of_a_defect_of_the_next_tile_are_none(box: tuple[int, int, int, int], values: list[list[int]]) -> None:
    assert rests(box).max((2, 3)).tolist() == values
    assert rests(box, least=0).max((2, 3)).max() == 1, "the control: nothing is doubted"


def test_a_rest_beside_a_whole_defect_is_doubted_alone() -> None:
    tile = rests((8, 18, 4, 8), (22, 26, 4, 8))[1, 0]
    assert (tile[:2, 4:8] == 255).all() and (tile[6:10, 4:8] == 1).all() and np.count_nonzero(tile) == 24


def test_a_tile_with_a_rest_alone_has_no_defect(run_task: Any) -> None:
    given = run_task(Drawn, "make", {"files": 3, "each": 1, "defects": 3})  # rows 0 to 2, 1 to 3, 2 to 4: the tile below is cut at row 3
    tiled = run_task(Images, "tile", {"size": 17, "stride": 17, "rest": 2}, images=given)
    masks = tiled.masks[...].reshape(3, 2, 2, 17, 17)
    assert [np.unique(masks[row, 1]).tolist() for row in range(3)] == [[0], [0, 255], [0, 1]]
    assert tiled.domain[...].reshape(3, 2, 2)[:, 1].any(1).tolist() == [False, False, True]


def test_images_that_fit_into_a_tile_are_left_whole(run_task: Any) -> None:
    given = run_task(Drawn, "make")
    whole = run_task(Images, "tile", {"size": 28}, images=given)
    assert (whole.images[...] == given.images[...]).all() and (whole.masks[...] == given.masks[...]).all()


@pytest.mark.parametrize(
    ("params", "given", "words"),
    [
        ({"size": 24}, {}, "do not fit"),
        ({"size": 8, "stride": 9}, {}, "pixels out"),
    ],
)
def test_tiles_that_cannot_be_cut(run_task: Any, params: dict[str, Any], given: dict[str, Any], words: str) -> None:
    with pytest.raises((DataError, ValueError), match=words):
        run_task(Images, "tile", params, images=run_task(Drawn, "make", given))


def test_sets_are_joined_with_their_masks_and_sources(run_task: Any) -> None:
    one, other = run_task(Drawn, "make"), run_task(Drawn, "make", {"files": 4, "defects": 1}, seed=1)
    both = run_task(Images, "join", images=[one, other])
    assert len(both) == 30 + 12
    assert (both.images[30:] == other.images[...]).all() and (both.masks[...][:30] == one.masks[...]).all()
    assert used(both) == used(one) | used(other), "a name that both know is one source"
    with pytest.raises(DataError, match="has no masks"):
        run_task(Images, "join", images=[one, run_task(Drawn, "make", {"plain": True})])
    with pytest.raises(DataError, match="cannot be one"):
        run_task(Images, "join", images=[one, run_task(Images, "tile", {"size": 16}, images=one)])


class Sorted(Params):
    """Labels of four images, names of the classes, and which images are marked, with what."""

    labels: tuple[int, ...] = (0, 1, 2, 1)
    names: tuple[str, ...] = ("clean", "missing", "bridged")
    marks: tuple[int, ...] = (0, 1, 1, 255)
    bare: tuple[str, ...] = ()


class Classed(Method):
    name = "classed"

    @task(version=1)
    def make(self, ctx: Context, params: Sorted) -> ImageSet:
        masks = np.zeros((4, 16, 16), np.uint8)
        for row, mark in enumerate(params.marks):
            masks[row, 2:5, row : row + 4] = mark
        pixels = np.random.default_rng(0).integers(0, 255, (4, 1, 16, 16), dtype=np.uint8)
        source = {"source": np.arange(4, dtype=np.int32), "source_names": ["a.png", "b.png", "c.png", "d.png"]}
        given: dict[str, Any] = {"masks": masks, "labels": np.array(params.labels, np.int16), "class_names": params.names}
        given = {name: value for name, value in given.items() if name not in params.bare}
        return ImageSet.write(ctx, pixels, references=255 - pixels, attrs={"grey_low": 1.0}, **source, **given)


def test_masks_get_the_class_that_the_label_of_their_image_tells(run_task: Any) -> None:
    given = run_task(Classed, "make")
    told = run_task(Images, "class_masks", images=given)
    masks = told.masks[...]
    assert told.mask_names == told.class_names == ["clean", "missing", "bridged"] and given.mask_names == ["clean", "defect"]
    assert [sorted(np.unique(mask).tolist()) for mask in masks] == [[0], [0, 1], [0, 2], [0, 255]]
    assert ((masks > 0) == (given.masks[...] > 0)).all() and (told.images[...] == given.images[...]).all()
    assert (told.references[...] == given.references[...]).all() and told.source_names == given.source_names
    assert told.labels[...].tolist() == [0, 1, 2, 1] and told.attrs["grey_low"] == 1.0
    assert run_task(Images, "split", {"part": "train"}, images=told).mask_names[0] == "clean"


def test_where_every_image_of_the_first_class_is_marked_no_class_is_the_clean_one(run_task: Any) -> None:
    told = run_task(
        Images,
        "class_masks",
        images=run_task(Classed, "make", {"names": ("bridge", "open"), "labels": (0, 1, 1, 0), "marks": (1, 1, 1, 1)}),
    )
    assert told.mask_names == ["clean", "bridge", "open"] and told.labels[...].tolist() == [1, 2, 2, 1]
    assert [int(mask.max()) for mask in told.masks[...]] == [1, 2, 2, 1]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"bare": ("labels", "class_names")}, "has no labels: nothing says"),
        ({"bare": ("masks",)}, "has no masks; label it first"),
        ({"marks": (0, 1, 2, 1)}, "tell classes already: clean, missing, bridged"),
        ({"labels": (0, 0, 2, 1)}, "'b.png' is of class 'clean', the first class, which is the clean one, but its mask marks a defect"),
        ({"marks": (0, 0, 1, 1)}, "'b.png' is of class 'missing', but its mask marks nothing"),
        ({"names": ("open", "missing", "bridged"), "labels": (0, 0, 2, 1)}, "'b.png' is of class 'open', the first class"),
    ],
)
def test_what_leaves_the_classes_of_masks_in_doubt_is_refused(run_task: Any, params: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        run_task(Images, "class_masks", images=run_task(Classed, "make", params))


def drawn(run_task: Any, given: ImageSet, seed: int = 0, **params: Any) -> list[str]:
    found = run_task(Images, "draw", params, seed=seed, images=given)
    return [found.source_names[at] for at in found.source[...]]


def test_a_draw_has_so_many_of_each_sort_and_holds_every_smaller_draw(run_task: Any) -> None:
    given = run_task(Drawn, "make")
    one, three = (drawn(run_task, given, defects=count, clean=2) for count in (1, 3))
    assert [name[0] for name in three] == ["d"] * 3 + ["c"] * 2 and len(set(three)) == 5
    assert one[0] == three[0] and one[1:] == three[3:]
    assert {tuple(drawn(run_task, given, seed=seed, defects=1, clean=0)) for seed in range(8)} > {(one[0],)}
    found = run_task(Images, "draw", {"defects": 3, "clean": 2}, images=given)
    assert found.domain[...].tolist() == [1, 1, 1, 0, 0] and found.masks[...].any((1, 2)).tolist() == [True] * 3 + [False] * 2


def test_all_clean_images_are_taken_on_request_and_each_image_may_be_a_unit_of_its_own(run_task: Any) -> None:
    given = run_task(Drawn, "make")
    every = drawn(run_task, given, defects=1, clean=None)
    assert len(set(every)) == len(every) == 1 + len({name for name in given.source_names if name[0] == "c"})
    found = run_task(Images, "draw", {"defects": 0, "clean": None, "unit": "image"}, images=given)
    assert len(found) == int((given.domain[...] == 0).sum()) > len(every) - 1, "images of one source too"
    orders = [run_task(Images, "draw", {"defects": 8, "clean": 0, "unit": "image"}, seed=seed, images=given).source[...] for seed in (0, 1)]
    assert (np.diff(orders[0]) == 0).sum() < 4 and (orders[0] != orders[1]).any(), "those of one source are not drawn together"


def test_more_than_there_is_cannot_be_drawn(run_task: Any) -> None:
    given = run_task(Drawn, "make")
    with pytest.raises(DataError, match=r"5 images with a defect are asked for, and set \w+ has them of 4 sources; ask for 4 at most"):
        drawn(run_task, given, defects=5)
    with pytest.raises(DataError, match="does not say which images have a defect"):
        drawn(run_task, run_task(Drawn, "make", {"plain": True}), defects=1)
    with pytest.raises(ValueError, match="draw nothing"):
        drawn(run_task, given, defects=0, clean=0)


def test_shuffled_masks_are_those_of_other_defect_images(run_task: Any) -> None:
    given = run_task(Drawn, "make", {"defects": 8, "each": 1})
    found = run_task(Images, "shuffle_masks", images=given)
    before, after = given.masks[...], found.masks[...]
    assert (after.any((1, 2)) == before.any((1, 2))).all(), "clean images stay clean"
    assert not (after == before)[:8].all((1, 2)).any(), "no defect image keeps its mask"
    assert sorted(mask.tobytes() for mask in after) == sorted(mask.tobytes() for mask in before)
    assert (found.images[...] == given.images[...]).all() and used(found) == used(given)


def test_one_mask_for_all_cannot_be_handed_round(run_task: Any) -> None:
    with pytest.raises(DataError, match="have one mask in common"):
        run_task(Images, "shuffle_masks", images=run_task(Drawn, "make", {"defects": 1, "each": 1}))
    with pytest.raises(DataError, match="has no masks to hand round"):
        run_task(Images, "shuffle_masks", images=run_task(Drawn, "make", {"plain": True}))


def test_images_of_one_lot_are_on_one_side(run_task: Any) -> None:
    """Files d0..d11 and c12..c29: those of equal tens are a lot, so d is one and d1, c1 and c2 are others."""
    given = run_task(Drawn, "make", Given(files=30, each=1, defects=12))
    lot = r"^(\D\d?)\d\.png$"

    def sides(**params: Any) -> int:
        train, test = ({name[:-5] for name in used(part)} for part in parts(run_task, given, share=0.4, **params))
        assert train | test == {"d", "d1", "c1", "c2"}, "nothing is left out"
        return len(train & test)

    assert sides(lot=lot) == 0
    assert sides() > 0, "a control: by file alone, lots are torn apart"
    with pytest.raises(DataError, match=r"finds no lot in 'd0\.png'"):
        run_task(Images, "split", {"part": "test", "lot": "^c"}, images=given)
    with pytest.raises(DataError, match="no names of sources"):
        run_task(Images, "split", {"part": "test", "lot": "(.)"}, images=run_task(Drawn, "make", Given(files=4, plain=True)))
    for wrong, told in (("(", "no regular expression"), ("(a)(b)", "2 groups")):
        with pytest.raises(ValueError, match=told):
            SplitParams(part="test", lot=wrong)
