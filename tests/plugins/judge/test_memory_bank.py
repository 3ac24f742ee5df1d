"""memory-bank: the coreset covers, thresholds keep their rate, defects are found that nobody has shown it, and the prior of place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fabloom.errors import DataError, EnvironmentProblem
from fabloom.flows.run.predict import predict_folder
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.alarms import choose, outlined, scores
from fabloom.plugins.blocks.defects import height
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.data.line_pair.method import LinePair
from fabloom.plugins.judge.memory_bank import trunks, weighing
from fabloom.plugins.judge.memory_bank.bank import Bank, nearest
from fabloom.plugins.judge.memory_bank.coreset import centres, cover
from fabloom.plugins.judge.memory_bank.features import HALO, Reader, laid, reflected
from fabloom.plugins.judge.memory_bank.filters import Filters, kernels
from fabloom.plugins.judge.memory_bank.maps import distance
from fabloom.plugins.judge.memory_bank.method import MemoryBank
from fabloom.plugins.judge.memory_bank.params import FitParams
from fabloom.plugins.judge.unet.method import UNet
from fabloom.progress import Messenger
from fabloom.storage.backends.local import LocalStore
from fabloom.testing import write_artifact

CPU = torch.device("cpu")
SPOTS = ((12, 12), (12, 30), (30, 12))
"""Where dots belong."""
WRONG = (30, 30)


@pytest.fixture(scope="module")
def store(kept: LocalStore) -> LocalStore:
    return kept


def dots(draw: np.random.Generator, spots: Any, shift: int = 0) -> np.ndarray:
    """Bright dots on grey, 44 x 44, with noise."""
    y, x = np.mgrid[:44, :44]
    bare = 80 + sum(90 * np.exp(-((y - a) ** 2 + (x - b - shift) ** 2) / 8) for a, b in spots)
    return np.clip(np.rint(bare + draw.normal(0, 2, (44, 44))), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def held(store: LocalStore) -> Any:
    """`held(pictures, name, ...)` writes a set of grey pictures."""

    def write(pictures: Any, seed: int, **columns: Any) -> ImageSet:
        def task(ctx: Context) -> ImageSet:
            return ImageSet.write(ctx, np.stack(pictures)[:, None], **columns)

        made = write_artifact(store, task, seed=seed)
        assert isinstance(made, ImageSet)
        return made

    return write


@pytest.fixture(scope="module")
def clean(held: Any) -> ImageSet:
    draw = np.random.default_rng(0)
    found: ImageSet = held([dots(draw, SPOTS) for _ in range(12)], 1)
    return found


@pytest.fixture(scope="module")
def odd(held: Any) -> ImageSet:
    """Clean; a dot where none belongs; one that is missing; clean, three pixels to the right; the wrong one, to the right too."""
    draw = np.random.default_rng(1)
    pictures = [dots(draw, SPOTS), dots(draw, [*SPOTS, WRONG]), dots(draw, SPOTS[:2]), dots(draw, SPOTS, 3), dots(draw, [*SPOTS, WRONG], 3)]
    found: ImageSet = held(pictures, 2)
    return found


def test_a_coreset_covers_better_than_chance_and_stops_at_copies() -> None:
    draw = torch.Generator().manual_seed(0)
    features = torch.cat([torch.randn(400, 3, generator=draw), 8 + torch.randn(4, 3, generator=draw)])  # four odd ones
    covers = [cover(features, centres(features, count, torch.Generator().manual_seed(1))) for count in (1, 4, 16, 64)]
    assert covers == sorted(covers, reverse=True) and covers[3] < covers[0] / 5
    chance = [cover(features, torch.randperm(404, generator=draw)[:16]) for _ in range(20)]
    assert covers[2] < min(chance)
    rows = centres(features.repeat(3, 1), 2000, torch.Generator().manual_seed(1))
    assert len(rows) == len(features), "a copy adds nothing"
    assert len(set(rows.tolist())) == len(rows)


def test_distances_are_those_by_hand_and_the_prior_looks_at_one_place_alone() -> None:
    entries, places = torch.tensor([[0.0, 0], [3, 4], [1, 0]]), torch.tensor([[0.0, 0], [0, 20], [30, 0]])
    asked = torch.tensor([[0.0, 0], [3, 0], [1, 1]])
    assert nearest(asked, entries).tolist() == pytest.approx([0, 2, 1])
    grid, where = asked[None], torch.tensor([[[0.0, 3], [0, 22], [60, 60]]])
    near = Bank(entries, places, 4.0).distances(grid, where)[0].tolist()
    assert near == pytest.approx([0, 4, 1]), "the second sees (3, 4) alone; nothing is known of the third place: all is searched"
    assert Bank(entries, places, 4.0).distances(grid, None)[0].tolist() == pytest.approx([0, 2, 1])


def test_filters_answer_to_edges_and_to_no_level() -> None:
    bell, first, second = kernels(2.0)
    assert bell.sum() == pytest.approx(1, abs=1e-6) and abs(float(first.sum())) < 1e-6 and abs(float(second.sum())) < 1e-6
    at = torch.arange(len(bell)) - len(bell) // 2
    assert float((first * at).sum()) == pytest.approx(-2, abs=0.1), "the response to a slope of 1 is the scale"
    flat, edge = torch.full((1, 1, 48, 48), 0.3), torch.zeros(1, 1, 48, 48)
    edge[..., 24:] = 1
    (one, _, _), (other, _, _) = Filters(1)(flat)[0], Filters(1)(edge)[0]
    inner = (slice(None), slice(8, 16), slice(8, 16))
    assert one[0][inner][0].mean() == pytest.approx(0.3, abs=1e-5) and one[0][inner][1].abs().max() < 1e-5
    across, down = other[0, 1, 12].abs().max(), other[0, 2, 8:16].abs().max()
    assert across > 0.2 and down < 1e-6


def test_windows_of_a_large_frame_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (1, 1, 70, 90)).astype(np.uint8)
    reader = Reader(Filters(1), GreyMap(0, 255), 3, 1, CPU)
    whole = torch.zeros(1, 35, 45, 12)
    for part in reader.windows(pixels):
        whole[:, part.top : part.top + part.features.shape[1], part.left : part.left + part.features.shape[2]] = part.features
    monkeypatch.setattr("fabloom.plugins.judge.memory_bank.features.WINDOW", 32)
    parts = list(reader.windows(pixels))
    assert len(parts) == 9
    for part in parts:
        there = whole[:, part.top : part.top + part.features.shape[1], part.left : part.left + part.features.shape[2]]
        assert torch.allclose(part.features, there, atol=1e-4)
    assert reflected(np.arange(-3, 8), 5).tolist() == [3, 2, 1, 0, 1, 2, 3, 4, 3, 2, 1] and HALO > 3 * 4
    assert laid([0.0, 1.5, 9.0], 3, 2.0, 0.5).tolist() == [[1, 0, 0], [0.5, 0.5, 0], [0, 0, 1]]


def test_the_threshold_is_a_rank_and_beyond_the_images_a_law() -> None:
    heights = np.arange(1.0, 100.0)  # 99 of them show a rate of 1 %
    assert choose(heights, 0.01).distance == 99 and choose(heights, 0.1).distance == 90
    assert not choose(heights, 0.1).facts["extrapolated"]
    draw = np.random.default_rng(0)
    reached = [choose(draw.gumbel(5, 1, 20), 0.01) for _ in range(200)]
    true = 5 - np.log(-np.log(0.99))
    assert all(one.facts["extrapolated"] for one in reached)
    assert np.median([one.distance for one in reached]) == pytest.approx(true, rel=0.1)


def test_heights_and_scores() -> None:
    values = np.zeros((12, 12), np.float32)
    values[2:4, 2:4], values[8, 8] = [[3, 5], [4, 6]], 9
    assert height(values, 4) == 3 and height(values, 1) == 9 and height(values, 200) == 0
    found = scores(np.array([[0.0, 2.0, 4.0]], np.float32), 2.0)
    assert found.dtype == np.float16 and found.tolist() == [[0, 0.5, pytest.approx(2 / 3, abs=1e-3)]]
    assert distance(0.5, 2.0) == 2 and distance(0.8, 2.0) == pytest.approx(8)


def test_a_strong_defect_is_outlined_at_half_its_height_and_a_faint_one_beside_it_stays() -> None:
    values = np.full((40, 40), 0.1, np.float32)
    values[4:15, 4:15], values[7:12, 7:12] = 3, 10  # what is seen of a strong one from some pixels away
    values[25:30, 25:30] = 2
    strong, faint = (slice(7, 12), slice(7, 12)), (slice(25, 30), slice(25, 30))
    mask = outlined(values, 1.0, 4, 0.5)
    assert mask[strong].all() and mask[faint].all() and mask.sum() == 50
    assert outlined(values, 1.0, 4, 0.0).sum() == 121 + 25
    assert not outlined(values, 11.0, 4, 0.5).any() and outlined(values, 5.0, 26, 0.5).sum() == 0


@pytest.mark.parametrize("registered", ["auto", "no"])
def test_a_normal_patch_at_a_wrong_place_takes_the_prior(registered: str, clean: ImageSet, odd: ImageSet, run_task: Any) -> None:
    """The negative control: without the prior a dot is a dot wherever it lies."""
    model = run_task(MemoryBank, "fit", {"registered": registered, "false_alarms": 0.05, "share": 0.2}, images=clean)
    assert isinstance(model, Model) and model.config["registered"] is (registered == "auto")
    found = run_task(MemoryBank, "segment", {}, images=odd, model=model)
    masks = np.asarray(found.masks) > 0
    here = slice(WRONG[0] - 3, WRONG[0] + 4)
    assert not masks[0].any(), "clean"
    assert masks[1, here, here].any() is np.bool_(registered == "auto")
    assert masks[2, 27:34, 9:16].any() is np.bool_(registered == "auto"), "ground where a dot belongs"
    if registered == "auto":  # without a prior, cells at odd pixels of a structure are new
        assert not masks[3].any(), "a shift is measured and taken off"
        assert masks[4, here, WRONG[1] : WRONG[1] + 7].any()
    assert (np.asarray(found.scores)[masks] >= 0.5).all() and np.array_equal(found.images[...], odd.images[...])


def test_defects_of_lines_are_found_and_the_rate_is_kept(run_task: Any) -> None:
    images = run_task(LinePair, "simulate", {"count": 60, "size": 32})
    test = run_task(LinePair, "simulate", {"count": 120, "size": 32}, seed=1)
    model = run_task(MemoryBank, "fit", {"false_alarms": 0.1}, images=images)
    found = run_task(MemoryBank, "segment", {}, images=test, model=model)
    truth, masks = np.asarray(test.masks) > 0, np.asarray(found.masks) > 0
    defect = truth.any((1, 2))
    alarms = int(masks[~defect].any((1, 2)).sum())
    assert alarms <= 15, "6 of 60 are expected; more than 15 have a chance below 1 in 1000"
    assert (masks & truth)[defect].any((1, 2)).mean() > 0.9
    assert model.config["images"] == {"clean": 30, "left_out": 30}, "no image with a defect is remembered"
    strict = run_task(MemoryBank, "segment", {"threshold": 0.9}, images=test, model=model)
    assert np.asarray(strict.masks).sum() < masks.sum() / 2


def test_a_defect_in_the_fit_is_left_out_and_never_remembered(held: Any, run_task: Any) -> None:
    """A control: the same image taken for clean is remembered, and then no defect any more."""
    draw = np.random.default_rng(5)
    pictures = [dots(draw, SPOTS) for _ in range(8)] + [dots(draw, [*SPOTS, WRONG]) for _ in range(4)]
    told = held(pictures, 11, domain=np.array([0] * 8 + [1] * 4, np.int8))
    silent = held(pictures, 12)
    test = held([dots(draw, [*SPOTS, WRONG])], 13)
    reached = []
    for images in (told, silent):
        model = run_task(MemoryBank, "fit", {"false_alarms": 0.2}, images=images)
        found = run_task(MemoryBank, "segment", {}, images=test, model=model)
        reached.append(float(np.asarray(found.scores)[0, WRONG[0], WRONG[1]]))
    assert reached[0] > 0.7 and reached[1] < 0.5


def test_what_cannot_be_fitted_or_segmented_is_refused(clean: ImageSet, odd: ImageSet, held: Any, run_task: Any) -> None:
    draw = np.random.default_rng(3)
    pictures = [dots(draw, SPOTS) for _ in range(3)]
    with pytest.raises(DataError, match=r"needs two clean images or more.*of the 3 images .* 1 is clean"):
        run_task(MemoryBank, "fit", {}, images=held(pictures, 21, domain=np.array([1, 0, 1], np.int8)))
    with pytest.raises(DataError, match="one and the same"):
        run_task(MemoryBank, "fit", {}, images=held([pictures[0]] * 3, 22))
    elsewhere = [draw.permutation(one.ravel()).reshape(44, 44) for one in pictures]
    with pytest.raises(DataError, match=r"registered: yes, but clean image 'row \d' shows something else"):
        run_task(MemoryBank, "fit", {"registered": "yes"}, images=held([dots(draw, s) for s in (SPOTS, [(5, 40)], [(38, 22)])], 23))
    assert not run_task(MemoryBank, "fit", {}, images=held(elsewhere, 24)).config["registered"]
    model = run_task(MemoryBank, "fit", {"false_alarms": 0.1, "share": 0.2}, images=clean)
    with pytest.raises(DataError, match=r"44 x 44 pixels, images .* are 40 x 44"):
        run_task(MemoryBank, "segment", {}, images=held([pictures[0][:40]], 25), model=model)
    for given, told in (({"trunk": "squeezer"}, "none of filters"), ({"patch": 2}, "must be odd"), ({"layers": [0]}, "has none")):
        with pytest.raises(ValueError, match=told):
            FitParams.model_validate(given)


def test_images_of_another_size_are_taken_where_places_do_not_count(clean: ImageSet, held: Any, run_task: Any) -> None:
    model = run_task(MemoryBank, "fit", {"false_alarms": 0.1, "share": 0.2, "registered": "no"}, images=clean)
    wide = np.concatenate([dots(np.random.default_rng(8), SPOTS)] * 2, 1)
    wide[20:26, 60:70] = 250
    found = run_task(MemoryBank, "segment", {}, images=held([wide], 31), model=model)
    mask = np.asarray(found.masks)[0] > 0
    assert mask[20:26, 60:70].mean() > 0.8 and mask.sum() < 600


def test_a_trunk_without_weights_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FABLOOM_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setenv("FABLOOM_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for trunk, told in (("squeeze", "trunk: squeeze.*take trunk: filters"), ("timm/test_vit", r"test_vit\.safetensors does not lie in")):
        with pytest.raises(EnvironmentProblem, match=told):
            weighing.check(trunk, Messenger())
    weighing.check("filters", Messenger())


def test_networks_of_timm_are_read_from_their_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    timm, safetensors = pytest.importorskip("timm"), pytest.importorskip("safetensors.torch")
    monkeypatch.setenv("FABLOOM_WEIGHTS_DIR", str(tmp_path))
    pixels = np.random.default_rng(0).integers(0, 255, (1, 1, 40, 52)).astype(np.uint8)
    for name in ("test_vit", "test_resnet"):
        safetensors.save_file(timm.create_model(name, pretrained=False).state_dict(), tmp_path / f"{name}.safetensors")
        trunk: Any = trunks.load(f"timm/{name}", None, 1)
        again: Any = trunks.load(f"timm/{name}", None, 1, trunk.state_dict())
        read, other = (list(Reader(net, GreyMap(0, 255), 3, 1, CPU).windows(pixels)) for net in (trunk, again))
        assert read[0].features.shape[1:3] == (-(-40 // trunk.stride), -(-52 // trunk.stride)) and read[0].features.std() > 0
        assert torch.equal(read[0].features, other[0].features), "a model that keeps the weights needs no file"
    with pytest.raises(DataError, match="has the layers 0 to"):
        trunks.load("timm/test_resnet", [9], 1)


@pytest.mark.skipif(not weighing.weights.locate(weighing.weights.TABLE["squeezenet1_1"]), reason="weights of squeezenet1_1 are not at hand")
def test_a_network_sees_the_defect_too_and_the_model_keeps_its_weights(
    clean: ImageSet, odd: ImageSet, run_task: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = run_task(MemoryBank, "fit", {"trunk": "squeeze", "zoom": 2, "false_alarms": 0.1, "share": 0.3}, images=clean)
    monkeypatch.setenv("FABLOOM_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    maps = np.asarray(run_task(MemoryBank, "segment", {}, images=odd, model=model).scores)
    there = [float(one[WRONG[0] - 3 : WRONG[0] + 4, WRONG[1] - 3 : WRONG[1] + 4].max()) for one in maps[:2]]
    assert there[1] > 0.5 > there[0]


def test_predict_takes_a_bank(clean: ImageSet, odd: ImageSet, run_task: Any, store: LocalStore, tmp_path: Path) -> None:
    from PIL import Image

    model = run_task(MemoryBank, "fit", {"false_alarms": 0.1, "share": 0.2}, images=clean)
    (tmp_path / "new").mkdir()
    for row, one in enumerate(np.asarray(odd.images[:2])):
        Image.fromarray(one[0]).save(tmp_path / "new" / f"{row}.png")
    result, found = predict_folder(model.key, tmp_path / "new", tmp_path / "out", store=store.root, device="cpu")
    assert result.exit_code == 0 and found["with defects"] == 1


def test_maps_say_how_many_of_their_images_the_model_was_made_of(run_task: Any, clean: ImageSet, odd: ImageSet) -> None:
    bank = run_task(MemoryBank, "fit", {"registered": "no"}, images=clean)
    assert run_task(MemoryBank, "segment", {}, images=clean, model=bank).attrs["seen"] == 12
    assert run_task(MemoryBank, "segment", {}, images=odd, model=bank).attrs["seen"] == 0
    pool = run_task(LinePair, "simulate", {"count": 12, "size": 32})
    net = run_task(UNet, "train", {"steps": 1, "batch": 4}, images=pool)
    assert run_task(UNet, "segment", {}, images=pool, model=net).attrs["seen"] == 12


def test_a_mask_reaches_as_far_as_it_is_told_and_no_region_that_never_rose_comes_along() -> None:
    values = np.zeros((12, 24))
    values[4:8, 2:6], values[4:8, 6:8] = 2.0, 0.8  # a defect with a weaker side
    values[4:8, 16:20] = 0.9  # as weak, and alone
    strict, wide = (outlined(values, 1.0, 4, 0.0, reach) for reach in (1.0, 0.5))
    assert strict.sum() == 16 and wide.sum() == 24 and not wide[:, 16:].any()
    assert outlined(values, 1.0, 4, 0.5, 0.5).sum() == 16, "of it the part near its own height"
    assert not outlined(values, 1.0, 17, 0.0, 0.5).any(), "what rises must be large enough itself"
