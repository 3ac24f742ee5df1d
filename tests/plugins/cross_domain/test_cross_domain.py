"""icddm and kdcddm: the flow against closed forms, then small models against their controls in the same run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from fabloom import testing
from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model, OfflineData
from fabloom.method import Context
from fabloom.plugins.blocks.defects import Defects
from fabloom.plugins.blocks.domains.coupling import Coupling, mixed
from fabloom.plugins.blocks.domains.flow import Flow, grid
from fabloom.plugins.blocks.domains.params import Route
from fabloom.plugins.blocks.domains.translator import CLEAN, DEFECT, held_out
from fabloom.plugins.blocks.domains.twins import pasted
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.noise import noise_schedule
from fabloom.plugins.cross_domain.icddm.method import Icddm
from fabloom.plugins.cross_domain.icddm.training import set_aside, spread
from fabloom.plugins.cross_domain.kdcddm.distillation import Recorded
from fabloom.plugins.cross_domain.kdcddm.method import Kdcddm
from fabloom.plugins.diffusion.autoencoder.method import Autoencoder
from fabloom.plugins.judge.score_maps.curves import Counts
from fabloom.storage.backends.local import LocalStore
from fabloom.testing import write_artifact

SCHEDULE = noise_schedule("squaredcos_cap_v2", 1e-4, 0.02)
MEANS, STD = (0.1, -0.4, -0.15), 0.5
"""Of pixels of the two domains, and of no domain; all independent and Gaussian."""
SIDE = 16
RunTask = Callable[..., Any]


# the flow where it is known


def exact_network(x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
    """The best velocity for pixels N(MEANS[label], STD^2)."""
    assert labels is not None
    a, s = SCHEDULE.at(t, x)
    mean = torch.tensor(MEANS).to(x)[labels].reshape(-1, *[1] * (x.ndim - 1))
    x0 = mean + a * STD**2 / (a**2 * STD**2 + s**2) * (x - a * mean)
    return a * (x - a * x0) / s - s * x0


FLOW = Flow(exact_network, "v_prediction", SCHEDULE, 2)


def start() -> torch.Tensor:
    return MEANS[1] + STD * torch.randn(64, 1, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("depth", [0.3, 0.5, 0.7])
def test_an_image_is_led_where_the_exact_flow_leads_it(depth: float) -> None:
    x = start()
    index = round(depth * 1000) - 1
    a, s = float(SCHEDULE.alpha[index]), float(SCHEDULE.sigma[index])
    exact = a * MEANS[1] + (a**2 * STD**2 + s**2) ** 0.5 / STD * (x - MEANS[1])
    errors = [float((FLOW.encode(x, DEFECT, depth, steps) - exact).abs().max()) for steps in (10, 40, 200)]
    assert errors[2] < 1e-3 and errors[1] < errors[0] / 8, "the error falls with the square of the step"


@pytest.mark.parametrize("depth", [0.3, 0.6, 0.9])
def test_a_translation_moves_the_mean_as_the_exact_flows_do_and_nothing_else(depth: float) -> None:
    """There and back under other domains of one spread: x + (m_clean - m_defect) (1 - a k), with k = STD / sqrt(a^2 STD^2 + s^2)."""
    x, index = start(), round(depth * 1000) - 1
    a, s = float(SCHEDULE.alpha[index]), float(SCHEDULE.sigma[index])
    wanted = (MEANS[CLEAN] - MEANS[DEFECT]) * (1 - a * STD / (a**2 * STD**2 + s**2) ** 0.5)
    moved = FLOW.decode(FLOW.encode(x, DEFECT, depth, 100), CLEAN, depth, 100) - x
    assert float(moved.mean()) == pytest.approx(wanted, abs=5e-4) and moved.std() < 1e-4


def test_a_round_trip_comes_home_and_one_by_single_slopes_does_not() -> None:
    x, times = start(), [0.0, *grid(0.5, 12)]

    def single(x: torch.Tensor, way: list[float]) -> torch.Tensor:
        """DDIM: the slope of the beginning of each step alone."""
        for one, other in pairwise(way):
            (a, s), (b, r) = FLOW._at(one), FLOW._at(other)
            x = (x / a + FLOW._noise(x, DEFECT, one, 1.0, clip=False) * (r / b - s / a)) * b
        return x

    home = FLOW.decode(FLOW.encode(x, DEFECT, 0.5, 6), DEFECT, 0.5, 6)
    ddim = single(single(x, times), times[::-1])
    assert (home - x).abs().mean() < 0.1 * (ddim - x).abs().mean(), "as many evaluations, a tenth of the error"


def test_guidance_goes_past_the_domain_and_other_noise_keeps_the_spread() -> None:
    z = torch.randn(256, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    plain, guided = (FLOW.decode(z, CLEAN, 1.0, 50, scale).mean() for scale in (1.0, 2.0))
    assert guided > plain + 0.1, "no domain lies below the clean one, so guidance goes up"
    noise, fresh = torch.randn(2, 4000, generator=torch.Generator().manual_seed(2))
    assert mixed(noise, fresh, 0.4).var() == pytest.approx(1, abs=0.06)
    assert torch.equal(mixed(noise, fresh, 0.0), noise) and torch.equal(mixed(noise, fresh, 1.0), fresh)


def test_times_of_a_batch_are_spread_over_all() -> None:
    t = spread(40, (0.2, 0.6), torch.Generator().manual_seed(0))
    assert sorted(((t - 200) // 10).tolist()) == list(range(40)), "one of each of 40 parts of the span"
    assert t.tolist() != sorted(t.tolist())


# small models and their controls


def drawn(seed: int, count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int8]]:
    """Stripes of drawn phase, every second image with a spot: (images, masks, domain)."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    images, masks = np.empty((count, 1, SIDE, SIDE), np.uint8), np.zeros((count, SIDE, SIDE), np.uint8)
    for row in range(count):
        pixels = 110 + 40 * np.sign(np.sin(2 * np.pi * (x + draw.uniform(0, 8)) / 8))
        if row % 2:
            masks[row] = np.hypot(y - draw.uniform(3, 12), x - draw.uniform(3, 12)) < 2
            pixels = np.where(masks[row], 220, pixels)
        images[row, 0] = np.clip(np.rint(ndimage.gaussian_filter(pixels, 0.5) + draw.normal(0, 3, pixels.shape)), 0, 255)
    return images, masks, (np.arange(count) % 2).astype(np.int8)


@dataclass(frozen=True)
class World:
    store: LocalStore
    run: RunTask
    learned: ImageSet
    test: ImageSet
    model: Model


TRAINED = {"steps": 200, "batch": 16, "network": {"channels": [16, 32], "norm_groups": 8}, "lr": 3e-3, "ema_decay": 0.98, "warmup": 20}


def held(store: LocalStore, images: NDArray[np.uint8], **columns: Any) -> Any:
    """A set of these images in the store."""

    def write(ctx: Context) -> ImageSet:
        return ImageSet.write(ctx, images, **columns)

    told = images.tobytes() + b"".join(np.asarray(column).tobytes() for column in columns.values())
    write.__qualname__ = f"held.{hashlib.blake2b(told, digest_size=8).hexdigest()}"
    return write_artifact(store, write)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    store = LocalStore(tmp_path_factory.mktemp("world"))

    def run(method: Any, task: str, params: dict[str, Any] | None = None, *, seed: int = 0, **inputs: Any) -> Any:
        return testing.run_task(store, method, task, params, seed=seed, inputs=inputs)

    images, _, domain = drawn(1, 240)
    learned = held(store, images, domain=domain)
    others, masks, sides = drawn(2, 40)
    test = held(store, others, masks=masks, domain=sides)
    return World(store, run, learned, test, run(Icddm, "train", TRAINED, images=learned))


def ap(maps: ImageSet, truth: ImageSet) -> float:
    """Average precision of pixels."""
    scores = np.asarray(maps.scores).astype(np.float32)
    counts = Counts.of(scores, Defects.of(np.asarray(truth.masks)), np.zeros(len(scores), np.int64))
    return float(counts.areas(np.ones((1, 1)), 0.3)["ap"][0])


@pytest.fixture(scope="module")
def found(world: World) -> ImageSet:
    return world.run(Icddm, "detect", {"steps": 4}, images=world.test, model=world.model)  # type: ignore[no-any-return]


def test_it_finds_defects_that_no_mask_ever_showed_it(world: World, found: ImageSet) -> None:
    shuffled = held(world.store, np.asarray(world.learned.images), domain=np.random.default_rng(3).permutation(world.learned.domain[...]))
    blind = world.run(Icddm, "train", TRAINED, images=shuffled)
    controls = {
        "shuffled domains": world.run(Icddm, "detect", {"steps": 4}, images=world.test, model=blind),
        "random noise": world.run(Icddm, "detect", {"steps": 4, "noise": "random"}, images=world.test, model=world.model),
    }
    own, others = ap(found, world.test), {name: ap(maps, world.test) for name, maps in controls.items()}
    assert own > 0.75, own
    assert others["shuffled domains"] < 0.65 * own and others["random noise"] < own, (own, others)


def test_clean_images_of_the_test_set_stay_clean(found: ImageSet, world: World) -> None:
    clean = np.asarray(world.test.domain) == 0
    masks = np.asarray(found.masks)
    assert (masks[clean] > 0).mean() <= 0.01 and (masks[~clean] > 0).any((1, 2)).mean() > 0.5
    assert found.attrs["clean_images"] == len(held_out(world.model)) == 12


def test_the_clean_estimate_takes_the_defect_out_and_leaves_the_rest(found: ImageSet, world: World) -> None:
    rows = np.flatnonzero(np.asarray(world.test.domain))
    images, clean = (np.asarray(array)[rows, 0].astype(float) for array in (world.test.images, found.references))
    inside = np.asarray(world.test.masks)[rows] > 0
    near = ndimage.binary_dilation(inside, np.ones((1, 5, 5)))
    gap = np.abs(images - clean)
    assert gap[inside].mean() > 5 * gap[~near].mean()


def test_the_model_remembers_what_it_learned_from(world: World) -> None:
    again = world.run(Icddm, "detect", {"steps": 1}, images=world.learned, model=world.model)
    assert again.attrs["seen"] == len(world.learned)


def test_pairs_are_equal_but_for_the_defect(world: World) -> None:
    pairs = world.run(Icddm, "pair", {"steps": 4}, images=world.test, model=world.model)
    away = ~ndimage.binary_dilation(
        np.asarray(pairs.masks) > 0, ndimage.generate_binary_structure(3, 1) * [[[0]], [[1]], [[0]]], iterations=2
    )
    one, other = (np.asarray(array)[:, 0].astype(int) for array in (pairs.images, pairs.references))
    assert len(pairs) >= 10 and np.abs(one - other)[away].max() == 0
    loose = world.run(Icddm, "pair", {"steps": 4, "composite": False}, images=world.test, model=world.model)
    one, other = (np.asarray(array)[:, 0].astype(int) for array in (loose.images, loose.references))
    assert np.abs(one - other).mean() > 0.5, "without compositing noise is made anew"


def test_new_defects_come_out_on_clean_images_and_differ_by_seed(world: World) -> None:
    more = [world.run(Icddm, "augment", {"count": 12, "steps": 4, "depth": 0.7}, seed=seed, images=world.learned, model=world.model)
            for seed in (0, 0, 1)]  # fmt: skip
    assert len(more[0]) >= 4 and (np.asarray(more[0].masks) > 0).any((1, 2)).all()
    assert np.array_equal(more[0].images[...], more[1].images[...])
    assert more[2].images[...].shape != more[0].images[...].shape or not np.array_equal(more[2].images[...], more[0].images[...])
    with pytest.raises(DataError, match="no image of domain defect"):
        clean = held(world.store, np.asarray(world.learned.images)[::2], domain=np.zeros(120, np.int8))
        world.run(Icddm, "augment", {"count": 2, "of": "defect"}, images=clean, model=world.model)


@pytest.fixture(scope="module")
def offline(world: World) -> OfflineData:
    return world.run(Kdcddm, "record", {"steps": 4, "block": 100}, images=world.learned, teacher=world.model)  # type: ignore[no-any-return]


PLAIN: Any = SimpleNamespace(device=torch.device("cpu"), autocast=lambda precision: lambda network: network)
"""All that a coupling asks of the context of a task."""


def test_recorded_answers_are_the_teachers(world: World, offline: OfflineData) -> None:
    recorded = Recorded(offline, torch.device("cpu"))
    assert len(offline) == 240 + 120 - 2 * 12, "every image to clean, clean ones back, and none of the twelve that set the threshold"
    told = {image.tobytes() for image in np.asarray(world.learned.images)[np.unique(offline.array("row")[...])]}
    assert not told & {image.tobytes() for image in held_out(world.model)}
    rows = torch.arange(0, 336, 40)
    z, answer, domain, target = recorded.at(rows)
    images = np.asarray(world.learned.images)[offline.array("row")[...][rows]]
    teacher = Coupling.of(PLAIN, world.model, Route(steps=4))
    for number in range(len(rows)):
        x = teacher.grey.forward(images[number : number + 1])
        wanted = teacher.back(teacher.lead(teacher.seeing.inner(x), int(domain[number])), int(target[number]))
        assert (answer[number] - wanted[0]).abs().max() < 0.03 and (z[number] - teacher.seeing.inner(x)[0]).abs().max() < 0.01


def test_a_student_says_in_one_evaluation_what_its_teacher_says(world: World, offline: OfflineData, found: ImageSet) -> None:
    params = {
        "steps": 150,
        "batch": 16,
        "network": {"channels": [16, 32], "norm_groups": 8},
        "critic_width": 8,
        "ema_decay": 0.98,
        "lr": 2e-3,
        "warmup": 20,
    }
    student = world.run(Kdcddm, "distill", params, teacher=world.model, offline=offline)
    told = student.config["held_out"]
    assert told["student"] < 0.6 * told["change"], told
    maps = world.run(Kdcddm, "detect", images=world.test, model=student)
    assert ap(maps, world.test) > ap(found, world.test) - 0.05
    identity = world.run(Kdcddm, "distill", params | {"steps": 1, "lr": 1e-9}, teacher=world.model, offline=offline)
    still = identity.config["held_out"]
    assert still["student"] == pytest.approx(still["change"], rel=1e-3), "a student that learned nothing changes nothing"
    nothing = world.run(Kdcddm, "detect", images=world.test, model=identity)
    assert ap(nothing, world.test) < 0.5 * ap(maps, world.test)


def test_whole_sources_are_held_out_and_single_images_where_there_are_too_few() -> None:
    draw = torch.Generator().manual_seed(0)
    tiles = np.repeat(np.arange(20), 5)
    held = set_aside(tiles, 12, draw)
    assert 12 <= held.sum() <= 16 and not set(tiles[held]) & set(tiles[~held]), "no frame has tiles on both sides"
    assert set_aside(np.zeros(40, np.int64), 4, draw).sum() == 4 and set_aside(np.arange(40), 7, draw).sum() == 7


# what is refused


def test_bad_input_is_named(world: World, offline: OfflineData) -> None:
    images = np.asarray(world.learned.images)
    with pytest.raises(DataError, match="does not say which images have a defect"):
        world.run(Icddm, "train", TRAINED, images=held(world.store, images))
    with pytest.raises(DataError, match="240 clean and 0 defect images"):
        world.run(Icddm, "train", TRAINED, images=held(world.store, images, domain=np.zeros(240, np.int8)))
    with pytest.raises(DataError, match="do not divide by fold=3"):
        world.run(Icddm, "train", TRAINED | {"fold": 3}, images=world.learned)
    with pytest.raises(DataError, match="translates images"):
        world.run(Icddm, "detect", images=held(world.store, images[:2, :, :8, :8]), model=world.model)
    with pytest.raises(DataError, match=r"learned times 0\.05 to 0\.75"):
        world.run(Icddm, "detect", {"depth": 0.9}, images=world.test, model=world.model)
    with pytest.raises(DataError, match=r"begin at 0\.035.*learned times 0\.05 to 0\.75"):
        world.run(Icddm, "detect", {"steps": 20}, images=world.test, model=world.model)
    with pytest.raises(DataError, match="never saw an image of no domain"):
        world.run(Icddm, "detect", {"guidance": 2.0}, images=world.test, model=world.model)
    with pytest.raises(DataError, match="were recorded from model"):
        other = world.run(Icddm, "train", TRAINED | {"steps": 1}, images=world.learned)
        world.run(Kdcddm, "distill", {"steps": 1}, teacher=other, offline=offline)
    with pytest.raises(DataError, match="no model of kdcddm"):
        world.run(Kdcddm, "detect", images=world.test, model=world.model)


def test_pasting_is_exact_away_from_the_mask_and_whole_inside() -> None:
    made, ground = np.full((1, 1, 20, 20), 200, np.uint8), np.full((1, 1, 20, 20), 50, np.uint8)
    mask = np.zeros((1, 20, 20), np.uint8)
    mask[0, 8:13, 8:13] = 1
    out = pasted(made, ground, mask)[0, 0]
    assert out[10, 10] == 200 and out[0, 0] == 50 and (out[mask[0] > 0] > 150).all() and (out[:6] == 50).all()


def test_in_latents_the_same_tasks_run_and_the_students_graph_holds_the_autoencoder(world: World) -> None:
    vae = world.run(Autoencoder, "train", {"steps": 30, "batch": 16, "channels": [8, 16]}, images=world.learned)
    model = world.run(Icddm, "train", TRAINED | {"steps": 30}, images=world.learned, autoencoder=vae)
    latent = model.config["latent"]
    assert latent[1:] == [SIDE // 2, SIDE // 2] and model.config["fold"] == 1, "latents are never folded"
    found = world.run(Icddm, "detect", {"steps": 2, "against": "reconstruction"}, images=world.test, model=model)
    assert found.references.shape == world.test.images.shape
    offline = world.run(Kdcddm, "record", {"steps": 2}, images=world.test, teacher=model)
    assert list(offline.array("source").shape[1:]) == latent
    params = {"steps": 4, "batch": 8, "network": TRAINED["network"], "critic_width": 4, "adversarial_weight": 0.1}
    student = world.run(Kdcddm, "distill", params, teacher=model, offline=offline)
    maps = world.run(Kdcddm, "detect", {"smooth": 0.0}, images=world.test, model=student)
    (graph,) = Kdcddm.networks(student).values()
    grey = GreyMap(*student.config["grey"])
    with torch.no_grad():
        clean, _ = graph.module(grey.forward(np.asarray(world.test.images)[:3]))
    assert np.abs(grey.inverse(clean).numpy().astype(int) - np.asarray(maps.references)[:3]).max() <= 1
