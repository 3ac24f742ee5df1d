"""`singan` and `consingan`: sizes, networks and losses against what is known of them, and what comes out against noise and the image."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from fabloom.errors import DataError, Interrupted, PipelineError
from fabloom.kinds import ImageSet, Model
from fabloom.pipeline import Pipeline
from fabloom.planning.plan import make_plan
from fabloom.plugins.blocks import adversarial
from fabloom.plugins.blocks.conv_stack import conv_stack
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.patches import sliced_wasserstein
from fabloom.plugins.blocks.wgan_gp import between, critic_loss, generator_loss, gradient_penalty
from fabloom.plugins.one_shot.consingan import training as growing_training
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


@pytest.mark.parametrize("method", [SinGan, ConSinGan])
def test_they_learn_the_patches_and_vary(run_task: Any, held: Any, method: Any) -> None:
    """Nearer than noise of the same moments and than the untrained network, and neither copies nor noise."""
    whole = of(lines(0))[None]
    model, untrained = (run_task(method, "train", quick(method, **more), images=held(lines(0))) for more in ({}, {"iterations": 1}))
    made, before = (samples(run_task, method, one, count=8) for one in (model, untrained))
    noise = (whole.mean() + whole.std() * torch.randn(4, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(3))).clamp(0, 255)
    found, started, foreign = (float(sliced_wasserstein(images, whole).mean()) for images in (made, before, noise))
    assert found < 0.7 * foreign, "as the specification asks"
    assert found < 0.7 * started, "and training is what does it"
    varied = float(made.std(0).mean() / whole.std())
    assert 0.1 < varied < 1.2
    assert float(whole.expand(8, -1, -1, -1).std(0).mean() / whole.std()) < 0.1, "which copies of the image would not"


@pytest.mark.parametrize("method", [SinGan, ConSinGan])
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


@pytest.mark.parametrize("method", [SinGan, ConSinGan])
def test_the_image_comes_back(run_task: Any, held: Any, monkeypatch: Any, method: Any) -> None:
    """From its twin, nearer than the scale before it enlarged, and than any other sample."""
    ends: list[tuple[Tensor, Tensor]] = []

    def watched(ctx: Any, params: Any, name: str, scale: adversarial.Scale) -> None:
        with torch.no_grad():
            before = scale.rebuild()
        adversarial.play(ctx, params, name, scale)
        with torch.no_grad():
            ends.append((apart(before, scale.real), apart(scale.rebuild(), scale.real)))

    monkeypatch.setattr(chain_training if method is SinGan else growing_training, "play", watched)
    model = run_task(method, "train", quick(method), images=held(lines(0)))
    before, after = ends[-1]
    assert after < 0.4 and after < before
    whole = torch.from_numpy(lines(0)).float()[None]
    values = GreyMap(*model.config["values"])
    others = values.forward(samples(run_task, method, model, count=4))
    assert float(apart(others, values.forward(whole))) > 2 * after


def apart(images: Tensor, real: Tensor) -> Tensor:
    """Root mean squared error over the standard deviation of the image."""
    return (images - real).square().mean().sqrt() / real.std()


@pytest.mark.parametrize("method", [SinGan, ConSinGan])
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


def test_composites_change_near_their_mask_only_and_less_from_a_finer_start(run_task: Any, held: Any) -> None:
    model = run_task(SinGan, "train", quick(SinGan, iterations=30), images=held(lines(0)))
    pasted = lines(0).copy()
    pasted[:, 30:38, 30:38] = 255
    mask = np.zeros((1, SIDE, SIDE), np.uint8)
    mask[:, 30:38, 30:38] = 1
    composite = held(pasted, masks=mask)
    near = ndimage.binary_dilation(mask[0] > 0, np.ones((9, 9)))
    moved = {}
    for start in (1, 2):
        made = np.asarray(run_task(SinGan, "sample", {"count": 2, "start": start}, model=model, composite=composite).images)[:, 0].astype(
            int
        )
        assert np.array_equal(made[0][~near], pasted[0][~near].astype(int))
        moved[start] = float(np.abs(made[0] - pasted[0])[near].mean())
    assert moved[1] > moved[2] > 0
    with pytest.raises(DataError, match="composites enter at scale 1"):
        run_task(SinGan, "sample", {"count": 1}, model=model, composite=composite)
    with pytest.raises(DataError, match=r"scales 0 to 2, not 3"):
        run_task(SinGan, "sample", {"count": 1, "start": 3}, model=model)
    with pytest.raises(ValueError, match="leave out size, or start at 0"):
        run_task(SinGan, "sample", {"count": 1, "start": 1, "size": (40, 40)}, model=model)


def test_noise_from_a_finer_scale_on_varies_less(run_task: Any, held: Any) -> None:
    model = run_task(SinGan, "train", quick(SinGan, iterations=30), images=held(lines(0)))
    spread = [float(samples(run_task, SinGan, model, count=4, start=start).std(0).mean()) for start in (0, 1, 2)]
    assert spread[0] > spread[1] > spread[2] > 0


def test_a_composite_that_enters_nowhere_is_refused_while_planning(store: LocalStore) -> None:
    steps = {
        "images": {"task": "line-pair.simulate", "params": {"count": 1, "size": 48}},
        "model": {"task": "singan.train", "inputs": {"images": "images"}},
        "made": {"task": "singan.sample", "inputs": {"model": "model", "composite": "images"}},
    }
    with pytest.raises(PipelineError, match=r"steps.made.params.start: composites enter at scale 1"):
        make_plan(Pipeline.model_validate({"name": "t", "steps": steps}), Registry.load(), store)


@pytest.mark.parametrize("method", [SinGan, ConSinGan])
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
