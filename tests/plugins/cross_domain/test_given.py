"""What is known of an image: the flow against closed forms, then a small model of wafer maps against its controls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import pixel_unshuffle

from fabloom import testing
from fabloom.errors import DataError, PipelineError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.pipeline import Pipeline
from fabloom.planning.plan import make_plan
from fabloom.plugins.blocks.denoising import Batch, batch_loss
from fabloom.plugins.blocks.diffusion import loss_weights
from fabloom.plugins.blocks.domains.flow import Flow
from fabloom.plugins.blocks.domains.given import Given
from fabloom.plugins.blocks.noise import noise_schedule, target
from fabloom.plugins.blocks.smoothing import smoothed
from fabloom.plugins.cross_domain.icddm.method import Icddm
from fabloom.plugins.cross_domain.icddm.params import TrainParams
from fabloom.plugins.cross_domain.kdcddm.method import Kdcddm
from fabloom.plugins.data.wafer_map.encoding import EMPTY, decoded
from fabloom.plugins.data.wafer_map.method import WaferMap
from fabloom.plugins.judge.score_maps.ranking import auroc, image_scores
from fabloom.registry import Registry
from fabloom.storage.backends.local import LocalStore
from fabloom.testing import write_artifact

SCHEDULE = noise_schedule("squaredcos_cap_v2", 1e-4, 0.02)
MEANS, SHIFT, STD = (0.1, -0.4, -0.15), 0.3, 0.5
DIES = Given(2, 1)


# the flow where it is known


def network(x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
    """The best velocity for a first channel of pixels N(MEANS[label] + SHIFT known, STD^2), for a known one of -1 and 1; nonsense for that."""
    assert labels is not None
    a, s = SCHEDULE.at(t, x)
    mean = torch.tensor(MEANS).to(x)[labels].reshape(-1, 1, 1, 1) + SHIFT * x[:, 1:]
    x0 = mean + a * STD**2 / (a**2 * STD**2 + s**2) * (x[:, :1] - a * mean)
    velocity = a * (x[:, :1] - a * x0) / s - s * x0
    return torch.cat([velocity, torch.full_like(velocity, 2)], 1)


def start() -> tuple[torch.Tensor, torch.Tensor]:
    """(images [8,2,6,6] of a free channel and one of dies, which pixels are on a die [8,1,6,6])."""
    draw = torch.Generator().manual_seed(0)
    there = torch.rand(8, 1, 6, 6, generator=draw) < 0.6
    return torch.cat([torch.where(there, STD * torch.randn(8, 1, 6, 6, generator=draw), -1), 2 * there - 1.0], 1), there


def flow(given: Given) -> Flow:
    return Flow(network, "v_prediction", SCHEDULE, 2, given)


@pytest.mark.parametrize("depth", [0.3, 0.7])
def test_what_is_free_flows_as_it_would_alone_and_what_is_known_stays_to_the_bit(depth: float) -> None:
    x, there = start()
    index = round(depth * 1000) - 1
    a, s = float(SCHEDULE.alpha[index]), float(SCHEDULE.sigma[index])
    mean = MEANS[1] + SHIFT  # of a pixel on a die, which the network is told by the known channel
    exact = a * mean + (a**2 * STD**2 + s**2) ** 0.5 / STD * (x[:, :1] - mean)
    z = flow(DIES).encode(x, 1, depth, 100)
    assert (z[:, :1] - exact)[there].abs().max() < 3e-3
    assert torch.equal(z[:, 1:], x[:, 1:]) and torch.equal(z[:, :1][~there], x[:, :1][~there])
    loose = flow(Given()).encode(x, 1, depth, 100)
    assert (loose[:, :1] - exact)[there].abs().max() > 0.05, "noised with the rest, the known channel misleads"
    for other in (flow(DIES).decode(z, 0, depth, 8, guidance) for guidance in (1.0, 2.0)):
        assert torch.equal(other[:, 1:], x[:, 1:]) and torch.equal(other[:, :1][~there], x[:, :1][~there])


def test_noise_is_drawn_onto_what_is_free_alone() -> None:
    x, there = start()
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    z = flow(DIES).joined(x, noise, 0.5)
    assert torch.equal(z[:, 1:], x[:, 1:]) and torch.equal(z[:, :1][~there], x[:, :1][~there])
    assert torch.equal(z[:, :1][there], flow(Given()).joined(x, noise, 0.5)[:, :1][there])
    x0, _ = flow(DIES).split(z, 0, 0.5)
    assert torch.equal(x0[:, 1:], x[:, 1:]) and torch.equal(x0[:, :1][~there], x[:, :1][~there])


def test_squares_of_pixels_are_free_where_their_pixels_are() -> None:
    x, there = start()
    free = DIES.free(x)
    assert torch.equal(free[:, :1], there) and not free[:, 1:].any()
    for fold in (1, 2, 3):
        assert torch.equal(DIES.free(pixel_unshuffle(x, fold)).float(), pixel_unshuffle(free.float(), fold))
    three = torch.cat([x, x.flip(-1)[:, 1:]], 1)
    assert torch.equal(Given(3, 2).free(three)[:, :1], there | there.flip(-1)), "where any of several channels says so"
    assert Given(2).free(x).all() and Given(2).put(x, x + 1) is x


def test_nothing_is_learned_of_what_is_known() -> None:
    """A network that is right where an image is free, and wrong by any amount elsewhere, has no loss; it sees what is known without noise."""
    x, _ = start()
    free, noise, t = DIES.free(x), torch.randn(x.shape, generator=torch.Generator().manual_seed(1)), torch.full((8,), 500)
    wanted = target(SCHEDULE, "v_prediction", x, noise, t)
    seen = []

    def wrong(by: float, where: torch.Tensor) -> Callable[..., Any]:
        def net(value: torch.Tensor, t: torch.Tensor, class_labels: torch.Tensor | None) -> Any:
            seen.append(value)
            return type("Out", (), {"sample": torch.where(where, wanted + by, wanted)})

        return net

    params = TrainParams()
    weights = loss_weights(SCHEDULE, "v_prediction", None)
    batch = Batch(x, noise, t, torch.zeros(8, dtype=torch.long), free)
    assert batch_loss(params, wrong(9.0, ~free), SCHEDULE, weights, batch) == 0
    assert batch_loss(params, wrong(2.0, free), SCHEDULE, weights, batch) == pytest.approx(4.0), "a mean over what is free"
    assert torch.equal(seen[0][~free], x[~free]) and not torch.equal(seen[0][free], x[free])
    (half,) = list(batch.split(5))[1:]
    assert half.free is not None and torch.equal(half.free, free[5:])


def test_a_mean_over_dies_counts_no_place_without_one() -> None:
    there = np.hypot(*(np.mgrid[:20, :20] - 9.5)) < 8
    even = smoothed(np.where(there, 0.7, 5.0)[None], 2.0, there[None])[0]
    assert np.allclose(even[there], 0.7) and not even[~there].any()
    assert smoothed(np.where(there, 0.7, 0.0)[None], 2.0)[0][there].min() < 0.5, "which without it falls towards the edge"


# a small model of wafer maps, and its controls


@dataclass(frozen=True)
class World:
    store: LocalStore
    run: Callable[..., Any]
    learned: ImageSet
    test: ImageSet
    model: Model


WAFERS = {"size": 16, "patterns": ["Center", "Edge-Ring"], "mixed_share": 0.0, "fail_high": 0.3, "density_low": 0.4, "density_high": 0.7}
TRAINED = {
    "steps": 120, "batch": 16, "network": {"channels": [16, 32], "norm_groups": 8}, "lr": 3e-3, "ema_decay": 0.98, "warmup": 20, "given": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    store = LocalStore(tmp_path_factory.mktemp("world"))

    def run(method: Any, task: str, params: dict[str, Any] | None = None, *, seed: int = 0, **inputs: Any) -> Any:
        return testing.run_task(store, method, task, params, seed=seed, inputs=inputs)

    learned, test = (run(WaferMap, "simulate", {"count": count, **WAFERS}, seed=seed) for seed, count in ((1, 240), (2, 100)))
    return World(store, run, learned, test, run(Icddm, "train", TRAINED, images=learned))


@pytest.fixture(scope="module")
def found(world: World) -> ImageSet:
    return world.run(Icddm, "detect", {"steps": 2}, images=world.test, model=world.model)  # type: ignore[no-any-return]


def ranked(maps: ImageSet, truth: ImageSet) -> float:
    """Image AUROC."""
    defect = np.asarray(truth.domain) == 1
    return float(
        auroc(image_scores(np.asarray(maps.scores).astype(np.float32)), defect, np.arange(len(defect)), np.ones((1, len(defect))))[0]
    )


def of_dies(array: Any) -> tuple[np.ndarray, np.ndarray]:
    """Channels of a set of wafer maps: (fails, dies), each [N,H,W]."""
    fails, dies = np.moveaxis(np.asarray(array), 1, 0)
    return fails, dies


def test_a_clean_estimate_is_a_wafer_with_the_same_dies(world: World, found: ImageSet) -> None:
    (_, dies), (fails, kept) = of_dies(world.test.images), of_dies(found.references)
    assert np.array_equal(kept, dies) and not fails[dies == 0].any() and len(np.unique(fails)) > 2
    assert np.array_equal(decoded(np.asarray(found.references)) == EMPTY, dies == 0)
    assert not np.asarray(found.masks)[dies == 0].any() and not np.asarray(found.scores)[dies == 0].any()
    assert world.model.config["given"] == 1


def test_patterns_are_told_from_random_fails_and_by_shuffled_domains_they_are_not(world: World, found: ImageSet) -> None:
    def write(ctx: Context) -> ImageSet:
        domain = np.random.default_rng(3).permutation(np.asarray(world.learned.domain))
        return ImageSet.write(ctx, np.asarray(world.learned.images), domain=domain, channels=2)

    blind = world.run(Icddm, "train", TRAINED, images=write_artifact(world.store, write))
    still = world.run(Icddm, "train", TRAINED | {"steps": 0}, images=world.learned)
    maps = {model: world.run(Icddm, "detect", {"steps": 2}, images=world.test, model=model) for model in (blind, still)}
    own, controls = ranked(found, world.test), [ranked(one, world.test) for one in maps.values()]
    # not chance: where more dies fail, more of them are missed by any estimate
    assert own > 0.85 and max(controls) < own - 0.12, (own, controls)


@pytest.mark.parametrize("composite", [True, False])
def test_twins_and_new_maps_have_the_dies_of_what_they_are_made_of(world: World, composite: bool) -> None:
    params = {"steps": 2, "composite": composite, "false_alarms": 0.9, "min_area": 1, "reach": 1.0, "outline": 0.9}
    pairs = world.run(Icddm, "pair", params, images=world.test, model=world.model)
    more = world.run(Icddm, "augment", params | {"count": 8}, images=world.test, model=world.model)
    _, (dies, *_) = of_dies(world.test.images)  # those of one simulated set have the same
    for made in (pairs, more):
        for array in (made.images, made.references):
            fails, kept = of_dies(array)
            assert len(made) > 2 and np.array_equal(kept, np.broadcast_to(dies, kept.shape)) and not fails[kept == 0].any()


def test_a_student_keeps_the_dies_too(world: World) -> None:
    offline = world.run(Kdcddm, "record", {"steps": 1, "back": False}, images=world.test, teacher=world.model)
    change = offline.array("change")[...] * offline.array("change_scale")[...][..., None, None]
    assert np.abs(change[:, 4:]).max() < 1e-6 < np.abs(change[:, :4]).max(), "the teacher's answers hold dies as they are"
    student = world.run(
        Kdcddm, "distill", {"steps": 12, "batch": 8, "network": TRAINED["network"], "warmup": 2}, teacher=world.model, offline=offline
    )
    maps = world.run(Kdcddm, "detect", images=world.test, model=student)
    (_, dies), (fails, kept) = of_dies(world.test.images), of_dies(maps.references)
    assert (
        np.array_equal(kept, dies) and not fails[dies == 0].any() and (np.asarray(maps.references) != np.asarray(world.test.images)).any()
    )
    (graph,) = Kdcddm.networks(student).values()
    x = torch.from_numpy(np.asarray(world.test.images)[:3]) / 127.5 - 1
    with torch.no_grad():
        clean, gap = graph.module(x)
    assert torch.equal(clean[:, 1], x[:, 1]) and torch.allclose(gap, (clean - x)[:, 0].abs())


# what is refused


def test_what_is_no_mask_or_leaves_nothing_is_refused(world: World, store: LocalStore) -> None:
    with pytest.raises(DataError, match="nothing is left to learn"):
        world.run(Icddm, "train", TRAINED | {"given": 2}, images=world.learned)

    def blurred(ctx: Context) -> ImageSet:
        pixels = np.asarray(world.learned.images).copy()
        pixels[7, 1, 3, 3] = 130
        return ImageSet.write(ctx, pixels, domain=np.asarray(world.learned.domain), channels=2)

    grey = write_artifact(world.store, blurred)
    for task, params, inputs in (("train", TRAINED, {}), ("detect", {}, {"model": world.model}), ("pair", {}, {"model": world.model})):
        with pytest.raises(DataError, match=r"image 7 of set \w+ has a 130 in channel 1"):
            world.run(Icddm, task, params, images=grey, **inputs)


def test_latents_of_known_channels_are_refused_before_anything_runs(store: LocalStore) -> None:
    steps = {
        "maps": {"task": "wafer-map.simulate", "params": {"count": 20}},
        "latents": {"task": "autoencoder.train", "inputs": {"images": "maps"}},
        "model": {"task": "icddm.train", "inputs": {"images": "maps", "autoencoder": "latents"}, "params": {"given": 1}},
    }
    with pytest.raises(PipelineError, match=r"steps\.model\.params\.given: .* in latents it mixes with the rest"):
        make_plan(Pipeline.model_validate({"name": "mixed", "steps": steps}), Registry.load(), store)
