"""`singan` and `consingan`: sizes, networks and losses against what is known of them, and what comes out against noise and the image."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from fabloom import testing
from fabloom.errors import DataError, Interrupted, PipelineError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context, Method
from fabloom.pipeline import Pipeline
from fabloom.planning.plan import make_plan
from fabloom.plugins.blocks import adversarial
from fabloom.plugins.blocks.conv_stack import conv_stack
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.patches import nearest, sliced_wasserstein
from fabloom.plugins.blocks.streams import normal, streams
from fabloom.plugins.blocks.wgan_gp import between, critic_loss, generator_loss, gradient_penalty
from fabloom.plugins.one_shot.consingan import training as growing_training
from fabloom.plugins.one_shot.consingan.altering import ALTERED, recoloured, shuffled
from fabloom.plugins.one_shot.consingan.growing import Growing, stage_sizes
from fabloom.plugins.one_shot.consingan.method import ConSinGan
from fabloom.plugins.one_shot.singan import training as chain_training
from fabloom.plugins.one_shot.singan.chain import Chain, scale_sizes, width_at
from fabloom.plugins.one_shot.singan.method import SinGan
from fabloom.registry import Registry
from fabloom.storage.backends.local import LocalStore
from fabloom.testing import write_artifact

from .bridged import lines

SIDE = 48
SEEDS = range(3)
ADVERSARIAL = pytest.mark.parametrize("method", [SinGan, ConSinGan])
GAP = re.compile(r"comes back to ([0-9.]+) of its deviation .*, ([0-9.]+) with those")
Ends = tuple[float, float]
"""Errors of the image as a scale gives it back, over its deviation: before it has learnt, and after."""


@dataclass(frozen=True)
class Trained:
    """Three short trainings of one image with seeds of their own: models, and the ends of their scales."""

    store: LocalStore
    method: type[Method]
    models: list[Model]
    ends: list[list[Ends]]

    def samples(self, seed: int, **params: Any) -> Tensor:
        """Images [N,1,48,48] of one of them."""
        return of(testing.run_task(self.store, self.method, "sample", params, inputs={"model": self.models[seed]}, seed=seed).images)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def store(kept: LocalStore) -> LocalStore:
    return kept


@pytest.fixture(scope="module", params=[SinGan, ConSinGan], ids=lambda method: method.name)
def trained(request: Any, kept: LocalStore) -> Trained:
    return train_three(request.param, kept)


def train_three(method: type[Method], store: LocalStore) -> Trained:
    """Trained with `play` watched."""
    made = Trained(store, method, [], [])
    image = write_artifact(store, lambda ctx: ImageSet.write(ctx, lines(0)[None]))

    def watched(ctx: Any, params: Any, name: str, scale: adversarial.Scale) -> None:
        with torch.no_grad():
            before = scale.rebuild()
        adversarial.play(ctx, params, name, scale)
        with torch.no_grad():
            made.ends[-1].append((float(apart(before, scale.real)), float(apart(scale.rebuild(), scale.real))))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain_training if method is SinGan else growing_training, "play", watched)
        for seed in SEEDS:
            made.ends.append([])
            made.models.append(testing.run_task(store, method, "train", quick(method), inputs={"images": image}, seed=seed))  # type: ignore[arg-type]
    return made


def of(images: Any) -> Tensor:
    """Grey levels as float."""
    return torch.from_numpy(np.asarray(images)).float()


def weights(net: nn.Module) -> int:
    """How many parameters learn, in all."""
    return sum(value.numel() for value in net.parameters())


@pytest.mark.parametrize(
    ("side", "sides"),
    [
        (96, [25, 32, 40, 49, 62, 77, 96]),
        (48, [25, 30, 35, 41, 48]),
        (250, [25, 32, 40, 50, 63, 80, 100, 126, 158, 199, 250]),
    ],
)
def test_singan_shrinks_as_published(side: int, sides: list[int]) -> None:
    assert scale_sizes((side, side), 0.75, 25) == [(one, one) for one in sides]


@pytest.mark.parametrize(
    ("side", "sides"), [(96, [25, 30, 36, 47, 74, 96]), (48, [25, 27, 30, 34, 43, 48]), (250, [25, 33, 45, 72, 158, 250])]
)
def test_consingan_grows_as_published(side: int, sides: list[int]) -> None:
    assert stage_sizes((side, side), 25, 6) == [(one, one) for one in sides]
    assert stage_sizes((side, 2 * side), 25, 6)[-1] == (side, 2 * side)


def test_the_networks_are_those_of_the_papers() -> None:
    chain = Chain(3, 32, 9, growing=True, norm=True)
    assert [weights(net) for net in (chain.nets[0], chain.nets[4], chain.nets[8])] == [29_763, 114_819, 450_819]
    assert [width_at(scale, 32, growing=True) for scale in (3, 4, 11)] == [32, 64, 128]
    assert weights(conv_stack(3, 32, 1, 0.2, norm=True)) == 29_185
    grey = Chain(1, 32, 1, growing=True, norm=True)
    assert weights(grey.nets[0]) == weights(conv_stack(1, 32, 1, 0.2, norm=True)) == 28_609
    assert weights(Growing(3, 64)) == 114_307
    assert weights(Growing(3, 64, 6)) == 668_227
    assert weights(conv_stack(3, 64, 1, 0.05)) == 113_153


def test_a_critic_sees_11_pixels() -> None:
    image = torch.rand(1, 1, 25, 25, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    scores = conv_stack(1, 8, 1, 0.2)(image)
    assert scores.shape[-2:] == (15, 15)
    scores[0, 0, 7, 7].backward()
    assert image.grad is not None
    rows, columns = image.grad[0, 0].nonzero(as_tuple=True)
    assert (int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())) == (7, 17, 7, 17)


def test_the_penalty_of_a_known_gradient_is_known() -> None:
    """A linear critic's gradient by pixel p is its weight there: the penalty is the mean of (|w_p| - 1)^2, channels together."""
    draw = torch.Generator().manual_seed(1)
    weight = torch.randn(3, 6, 5, generator=draw)
    images = torch.randn(2, 3, 6, 5, generator=draw)

    def critic(given: Tensor) -> Tensor:
        return (given * weight).sum((1, 2, 3), keepdim=True)

    wanted = ((weight.square().sum(0).sqrt() - 1) ** 2).mean()
    torch.testing.assert_close(gradient_penalty(critic, images), wanted, rtol=1e-5, atol=0)
    per_image = ((weight.square().sum().sqrt() - 1) ** 2).item()
    assert float(wanted) < 0.1 * per_image, "and not that of the whole image"
    assert float(critic_loss(critic, images[:1], images[1:])) == pytest.approx(float(critic(images[1:]) - critic(images[:1])))
    assert torch.equal(between(images[:1], images[1:], torch.tensor(1.0)), images[:1])
    rebuilt = images[:1] + 0.5
    assert float(generator_loss(critic, images[1:], rebuilt, images[:1], 10)) == pytest.approx(2.5 - float(critic(images[1:])), rel=1e-5)


def test_noise_alone_decides_at_the_coarsest_scale_and_amplitudes_at_the_others() -> None:
    torch.manual_seed(2)
    chain = Chain(1, 8, 2, growing=False, norm=False).eval()
    chain.amplitudes[:] = torch.tensor([1.0, 0.0])
    sizes = [(12, 12), (16, 16)]
    draws: list[torch.Generator] = []

    def noise(channels: int, size: tuple[int, int]) -> Tensor:
        return torch.randn(1, channels, *size, generator=draws[0])

    black = torch.zeros(1, 1, 12, 12)
    made = []
    for seed in (0, 0, 1):
        draws[:] = [torch.Generator().manual_seed(seed)]
        made.append(chain.draw(sizes, noise, black))
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])
    twin = torch.randn(1, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(chain.rebuilt(sizes, twin), made[0])


def quick(method: Any, **more: Any) -> dict[str, Any]:
    """A short training: three scales at 48 pixels."""
    own = {"ratio": 0.45, "iterations": 60} if method is SinGan else {"stages": 3, "iterations": 100, "lr": 1e-3}
    return {"width": 16, **own, **more}


def samples(run_task: Any, method: Any, model: Model, **params: Any) -> Tensor:
    """Images [N,1,48,48] of a model."""
    return of(run_task(method, "sample", params, model=model).images)


def test_they_learn_the_patches_and_vary(trained: Trained, run_task: Any, held: Any) -> None:
    """Of three seeds each: nearer than noise of the same moments and than the untrained network, and neither copies nor noise."""
    whole = of(lines(0))[None]
    untrained = run_task(trained.method, "train", quick(trained.method, iterations=1), images=held(lines(0)))
    before = samples(run_task, trained.method, untrained, count=8)
    noise = (whole.mean() + whole.std() * torch.randn(4, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(3))).clamp(0, 255)
    started, foreign = (float(sliced_wasserstein(images, whole).mean()) for images in (before, noise))
    for seed in SEEDS:
        made = trained.samples(seed, count=8)
        found = float(sliced_wasserstein(made, whole).mean())
        assert found < 0.7 * foreign, "as the specification asks"
        assert found < 0.7 * started, "and training is what does it"
        assert 0.1 < float(made.std(0).mean() / whole.std()) < 1.2
    assert float(whole.expand(8, -1, -1, -1).std(0).mean() / whole.std()) < 0.1, "which copies of the image would not"


@ADVERSARIAL
def test_the_published_settings_train(run_task: Any, held: Any, method: Any) -> None:
    """Ten iterations and more in all, two at each of the five scales or six stages that 48 pixels have."""
    model = run_task(method, "train", {"preset": "published", "iterations": 2}, images=held(lines(0)))
    published = Chain(1, 32, 5, growing=True, norm=True) if method is SinGan else Growing(1, 64, 6)
    state = model.state("chain." if method is SinGan else "net.")
    assert {name: value.shape for name, value in state.items()} == {name: value.shape for name, value in published.state_dict().items()}
    assert samples(run_task, method, model, count=2).shape == (2, 1, SIDE, SIDE)


class Played:
    """In the place of `play`: what each scale was given, and its generator's weights at the start and at every turn of it."""

    def __init__(self, iterations: int) -> None:
        self.iterations, self.scales = iterations, list[adversarial.Scale]()
        self.turns: list[list[Tensor]] = []

    def __call__(self, ctx: Any, params: Any, name: str, scale: adversarial.Scale) -> None:
        """Play, watched."""
        seen: list[Tensor] = []

        def rebuild() -> Tensor:
            seen.append(flat(scale.generator))
            return scale.rebuild()

        adversarial.play(ctx, params, name, replace(scale, rebuild=rebuild))
        self.scales.append(scale)
        self.turns.append([*seen, flat(scale.generator)])


def flat(net: nn.Module) -> Tensor:
    """All weights of a network in a row."""
    return torch.cat([value.detach().flatten().clone() for value in net.parameters()])


def test_every_step_of_the_generator_moves_it_and_finished_scales_stay(run_task: Any, held: Any, monkeypatch: Any) -> None:
    played = Played(2)
    monkeypatch.setattr(chain_training, "play", played)
    model = run_task(SinGan, "train", quick(SinGan, iterations=2, critic_steps=2, generator_steps=3), images=held(lines(0)))
    assert [len(turns) for turns in played.turns] == [7, 7, 7], "two iterations of three gradients, and the end"
    assert all(not torch.equal(before, after) for turns in played.turns for before, after in pairwise(turns))
    kept = Chain.of(model.config["chain"])
    kept.load_state_dict(model.state("chain."))
    for net, turns in zip(kept.nets, played.turns, strict=True):
        assert torch.equal(flat(net), turns[-1]), "no later scale changed it"
    for before, after in pairwise(played.turns):
        assert torch.equal(before[-1], after[0]), "and the next one started from it"


def test_bodies_learn_at_falling_rates_and_old_ones_not_at_all(run_task: Any, held: Any, monkeypatch: Any) -> None:
    played = Played(1)
    monkeypatch.setattr(growing_training, "play", played)
    given = quick(ConSinGan, iterations=1, stages=4, depth=2, lr=1e-3, lr_scale=0.1)
    run_task(ConSinGan, "train", given, images=held(lines(0)))
    rates = [[group["lr"] for group in scale.groups] for scale in played.scales]
    # tail, bodies from the oldest that learns to the newest, and the head while it does
    assert rates == [pytest.approx(row) for row in ([1e-3, 1e-3, 1e-3], [1e-3, 1e-4, 1e-3, 1e-4], [1e-3, 1e-4, 1e-3], [1e-3, 1e-4, 1e-3])]
    net = played.scales[-1].generator
    assert isinstance(net, Growing)
    assert [all(value.grad is None for value in body.parameters()) for body in net.bodies] == [True, True, False, False]
    assert [next(body.parameters()).requires_grad for body in net.bodies] == [False, False, True, True]
    assert not next(net.head.parameters()).requires_grad
    assert len({len(turns) for turns in played.turns}) == 1, "three steps of an iteration take one gradient"
    assert len(played.turns[0]) == 2


def test_the_parity_preset_asks_all_noise_for_the_image(run_task: Any, held: Any, monkeypatch: Any) -> None:
    """The released code draws the noise that shall give the image anew in every step."""
    for preset, alike in (("published", True), ("parity", False)):
        played = Watching()
        monkeypatch.setattr(chain_training, "play", played)
        run_task(SinGan, "train", quick(SinGan, preset=preset, iterations=1), images=held(lines(0)))
        first, *finer = played.pairs
        assert torch.equal(*first) == alike
        assert all(torch.equal(*pair) for pair in finer), "finer scales add no noise to it"


class Watching:
    """In the place of `play`: what shall be the image, asked for twice at every scale; nothing is trained."""

    def __init__(self) -> None:
        self.pairs = list[tuple[Tensor, Tensor]]()

    def __call__(self, ctx: Any, params: Any, name: str, scale: adversarial.Scale) -> None:
        """Ask."""
        scale.generator.eval()
        with torch.no_grad():
            self.pairs.append((scale.rebuild(), scale.rebuild()))


def test_the_image_comes_back(trained: Trained) -> None:
    """From its twin, of three seeds each nearer than the scale before it enlarged, than the specification asks, and than any other sample."""
    values = GreyMap(*trained.models[0].config["values"])
    whole = values.forward(lines(0))[None]
    for seed in SEEDS:
        before, after = trained.ends[seed][-1]
        assert after < 0.35 and after < before
        assert float(apart(values.forward(trained.samples(seed, count=4)), whole)) > 2 * after
        assert trained.ends[seed][0][1] < 0.5 * trained.ends[seed][0][0], "and the coarsest scale learnt it"


def test_batch_norms_give_the_image_back_worse_as_they_sample_and_the_log_says_so(run_task: Any, held: Any, monkeypatch: Any) -> None:
    """In training they take the statistics of the image itself; a finished scale has those that ran along."""
    given, said = quick(SinGan, iterations=15, norm="batch"), list[str]()
    monkeypatch.setattr(Context, "log", lambda ctx, message: said.append(message))
    model = run_task(SinGan, "train", given, images=held(lines(0)))
    told = GAP.findall("\n".join(said))
    assert len(told) == len(model.config["sizes"])
    trained, sampled = np.array(told, float).T
    assert (sampled > trained).all()
    chain = Chain.of(model.config["chain"]).eval()
    chain.load_state_dict(model.state("chain."))
    real = adversarial.resize(GreyMap(*model.config["values"]).forward(lines(0))[None], tuple(model.config["sizes"][0]), "bicubic")
    with torch.no_grad():
        back = chain.rebuilt([tuple(model.config["sizes"][0])], model.state("twin")[""])
    assert sampled[0] == pytest.approx(float(apart(back, real)), abs=6e-4), "and that is what the model does"
    run_task(SinGan, "train", {**given, "norm": "none", "iterations": 1}, images=held(lines(0)))
    assert len(told) == len(GAP.findall("\n".join(said))), "without norms there is no gap"


def apart(images: Tensor, real: Tensor) -> Tensor:
    """Root mean squared error over the standard deviation of the image."""
    return (images - real).square().mean().sqrt() / real.std()


@ADVERSARIAL
def test_sizes_colour_and_batches(run_task: Any, held: Any, method: Any) -> None:
    draw = np.random.default_rng(4)
    colour = np.repeat(lines(1), 3, 0)
    colour[2] = np.clip(colour[2] + draw.integers(0, 9, colour[2].shape), 0, 255)
    model = run_task(method, "train", quick(method, iterations=2, lr=5e-3), images=held(colour))
    wide = run_task(method, "sample", {"count": 2, "size": (40, 60)}, model=model)
    assert np.asarray(wide.images).shape == (2, 3, 40, 60)
    whole, single = (np.asarray(run_task(method, "sample", {"count": 3, "batch": batch}, model=model).images) for batch in (3, 1))
    assert np.abs(whole.astype(int) - single).max() <= 1, "but for rounding"
    again = np.asarray(run_task(method, "sample", {"count": 3}, model=model, seed=1).images)
    assert not np.array_equal(whole, again)
    with pytest.raises(DataError, match=r"smaller than the coarsest scale"):
        run_task(method, "train", quick(method), images=held(colour[:, :20]))
    other = run_task({SinGan: ConSinGan, ConSinGan: SinGan}[method], "train", {"iterations": 1, "width": 2}, images=held(lines(0)))
    with pytest.raises(DataError, match=f"is no model of {method.name}.train"):
        run_task(method, "sample", {"count": 1}, model=other)


BOX = (slice(28, 40), slice(14, 30))
PASTED = lines(0).copy()
PASTED[0][BOX] = 0.4 * PASTED[0][BOX] + 110
MASK = np.zeros((1, SIDE, SIDE), np.uint8)
MASK[0][BOX] = 1


def test_composites_change_near_their_mask_only_and_less_from_a_finer_start(trained: Trained, run_task: Any, held: Any) -> None:
    method, model, composite = trained.method, trained.models[0], held(PASTED, masks=MASK)
    mend = partial(run_task, method, "sample", model=model, composite=composite)
    near = ndimage.binary_dilation(MASK[0] > 0, np.ones((9, 9)))
    moved = []
    for start in (1, 2):
        made = np.asarray(mend({"count": 2, "start": start}).images)[:, 0].astype(int)
        assert np.array_equal(made[0][~near], PASTED[0][~near].astype(int))
        moved.append(float(np.abs(made[0] - PASTED[0])[near].mean()))
    assert moved[0] > moved[1] > 0
    with pytest.raises(DataError, match=r"(scales|stages) 0 to 2, not 3"):
        mend({"count": 1, "start": 3})
    if method is SinGan:
        with pytest.raises(DataError, match="composites enter at scale 1"):
            mend({"count": 1})
        with pytest.raises(ValueError, match="leave out size, or start at 0"):
            run_task(SinGan, "sample", {"count": 1, "start": 1, "size": (40, 40)}, model=model)


def test_a_generator_that_harmonises_brings_composites_nearer_and_keeps_the_image(run_task: Any, held: Any) -> None:
    image = held(lines(0))
    model = run_task(ConSinGan, "train", quick(ConSinGan, goal="harmonise", iterations=60), images=image)
    assert model.config["net"]["padded"] and model.config["sizes"] == [[25, 25], [35, 35], [48, 48]]
    whole, given = (of(pixels)[None] for pixels in (lines(0), PASTED))
    made, kept = (
        of(run_task(ConSinGan, "sample", {"count": 4}, model=model, composite=held(pixels, masks=masks)).images)
        for pixels, masks in ((PASTED, MASK), (lines(0), np.ones_like(MASK)))
    )
    mended, foreign = (float(nearest(images[:, :, 20:, 6:38], whole)[0].mean()) for images in (made, given))
    assert mended < 0.8 * foreign, "patches around what was pasted in are nearer to those of the image"
    assert apart(kept, whole) < 0.25 < apart(given[:, :, *BOX], whole[:, :, *BOX]), "and the image itself comes out as it is"
    with pytest.raises(DataError, match="was trained to harmonise: connect the images"):
        run_task(ConSinGan, "sample", {"count": 1}, model=model)


def test_altered_images_are_those_of_their_goal() -> None:
    draw, image = torch.Generator().manual_seed(5), GreyMap(0, 255).forward(lines(0))[None]
    edited = [shuffled(image, draw) for _ in range(20)]
    known = set(image.flatten().tolist())
    shares = torch.tensor([(one != image).float().mean() for one in edited])
    assert all(set(one.flatten().tolist()) <= known for one in edited) and shares.min() > 0 and shares.max() < 0.5
    others = [recoloured(image, draw) for _ in range(40)]
    same = [one for one in others if torch.equal(one, image)]
    assert 0 < len(same) < 15, "each alteration has even chances"
    linear = [np.corrcoef(one.flatten(), image.flatten())[0, 1] for one in others]
    assert 5 < sum(value > 1 - 1e-6 for value in linear) < 35, "about half have no noise"
    assert ALTERED.keys() == {"harmonise", "edit"}


def test_every_draw_of_a_goal_alters_the_image_anew(run_task: Any, held: Any, monkeypatch: Any) -> None:
    """The generator starts from altered images, and shall give the image for the image itself."""
    seen: list[Tensor] = []
    first = Growing.features

    def features(net: Growing, stage: int, size: Any, before: Tensor | None, noise: Tensor) -> Tensor:
        if stage == 0:
            seen.append(noise)
        return first(net, stage, size, before, noise)

    monkeypatch.setattr(Growing, "features", features)
    run_task(ConSinGan, "train", quick(ConSinGan, goal="edit", iterations=2, stages=3, depth=3), images=held(lines(0)))
    whole = GreyMap.fit(lines(0)).forward(lines(0))[None]
    coarsest = adversarial.resize(whole, (25, 25), "bicubic")
    itself = [torch.equal(one, coarsest) for one in seen]
    assert any(itself) and not all(itself)
    assert all(float((one - coarsest).abs().mean()) < 1 for one in seen), "and never noise"


def test_noise_from_a_finer_scale_on_varies_less(kept: LocalStore) -> None:
    trained = train_three(SinGan, kept)
    spread = [float(trained.samples(0, count=4, start=start).std(0).mean()) for start in (0, 1, 2)]
    assert spread[0] > spread[1] > spread[2] > 0


def test_the_exported_generator_draws_the_samples(trained: Trained) -> None:
    """The noises that a sample is drawn from, as one vector, give its pixels; other noise gives others."""
    model = trained.models[0]
    network = trained.method.networks(model)["generator"]
    made = testing.run_task(trained.store, trained.method, "sample", {"count": 3}, inputs={"model": model})
    assert isinstance(made, ImageSet)
    sources = streams(trained.store.manifest(made.key)["preimage"]["seed"], range(3))
    noise = torch.cat([normal(sources, shape, torch.device("cpu")).flatten(1) for shape in network.module.shapes], 1)
    with torch.no_grad():
        drawn, other = (GreyMap(*model.config["values"]).inverse(network.module(given)).float() for given in (noise, noise.flip(1)))
    assert float((drawn - of(made.images)).abs().max()) <= 1 < float((other - of(made.images)).abs().max())


def test_a_composite_that_enters_nowhere_is_refused_while_planning(store: LocalStore) -> None:
    steps = {
        "images": {"task": "line-pair.simulate", "params": {"count": 1, "size": 48}},
        "model": {"task": "singan.train", "inputs": {"images": "images"}},
        "made": {"task": "singan.sample", "inputs": {"model": "model", "composite": "images"}},
    }
    with pytest.raises(PipelineError, match=r"steps.made.params.start: composites enter at scale 1"):
        make_plan(Pipeline.model_validate({"name": "t", "steps": steps}), Registry.load(), store)


def test_a_generator_of_altered_images_needs_them_while_planning(store: LocalStore) -> None:
    steps = {
        "images": {"task": "line-pair.simulate", "params": {"count": 1, "size": 48}},
        "model": {"task": "consingan.train", "inputs": {"images": "images"}, "params": {"goal": "edit"}},
        "made": {"task": "consingan.sample", "inputs": {"model": "model"}},
    }
    with pytest.raises(PipelineError, match=r"steps.made.inputs.composite: step 'model' is trained to edit"):
        make_plan(Pipeline.model_validate({"name": "t", "steps": steps}), Registry.load(), store)
    steps["made"] |= {"inputs": {"model": "model", "composite": "images"}, "params": {"size": [40, 40]}}
    with pytest.raises(PipelineError, match=r"steps.made.params.size: a composite is harmonised in its own size"):
        make_plan(Pipeline.model_validate({"name": "t", "steps": steps}), Registry.load(), store)


@ADVERSARIAL
def test_a_training_that_was_stopped_goes_on_at_the_second_scale(run_task: Any, held: Any, tmp_path: Any, method: Any) -> None:
    """Finished scales come back from their checkpoints, and what follows is the same bit for bit."""
    image, asked = held(lines(0)), iter(range(1000))
    given = quick(method, iterations=4)
    with pytest.raises(Interrupted, match=r"(scale|stage)_1"):
        run_task(method, "train", given, images=image, stop=lambda: next(asked) >= 5)
    resumed = run_task(method, "train", given, images=image)
    elsewhere = LocalStore(tmp_path / "other")
    same = write_artifact(elsewhere, lambda ctx: ImageSet.write(ctx, lines(0)[None]))
    whole = run_task(method, "train", given, images=same, store=elsewhere)
    assert {name: value.tolist() for name, value in resumed.state().items()} == {name: v.tolist() for name, v in whole.state().items()}
