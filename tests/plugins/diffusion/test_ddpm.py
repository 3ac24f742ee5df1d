from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from fabloom.errors import DataError, Interrupted
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context, Method, task
from fabloom.params import Params
from fabloom.plugins.blocks import denoisers, denoising, diffusion, unet2d
from fabloom.plugins.blocks import noise as noise_block
from fabloom.plugins.blocks.backbone import Network
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.pool import Pool
from fabloom.plugins.diffusion.ddpm import sampling, training
from fabloom.plugins.diffusion.ddpm.method import Ddpm
from fabloom.plugins.diffusion.ddpm.params import SampleParams, TrainParams
from fabloom.storage.backends.local import LocalStore

MEAN, STD = 0.3, 0.5
LINEAR = ("linear", 1e-4, 0.02)


class StripeParams(Params):
    count: int = 24
    size: int = 8
    with_classes: bool = True


class Stripes(Method):
    """Bright columns (class 0) or rows (class 1), with a little noise."""

    name = "stripes"

    @task(version=1)
    def simulate(self, ctx: Context, params: StripeParams) -> ImageSet:
        draw = np.random.default_rng(ctx.seed)
        numbers = (np.arange(params.count) % 2).astype(np.int16)
        ramp = 60 + 120 * (np.arange(params.size) // 2 % 2)
        images = np.stack([np.tile(ramp, (params.size, 1)) if n == 0 else np.tile(ramp, (params.size, 1)).T for n in numbers])
        noisy = (images + draw.normal(0, 3, images.shape)).round().astype(np.uint8)[:, None]
        classes: dict[str, Any] = {"labels": numbers, "class_names": ["columns", "rows"], "domain": numbers.astype(np.int8)}
        return ImageSet.write(ctx, noisy, **(classes if params.with_classes else {}))


TINY = {"network": {"channels": [8, 16], "norm_groups": 4}, "steps": 6, "batch": 8, "warmup": 1}


# samplers against the exact solution for Gaussian data


def best_network(kind: str, schedule: Any = None) -> diffusion.Network:
    """The optimal predictor for pixels that are independent N(MEAN, STD^2): E[x_0 | x_t] by Gaussian conditioning."""
    schedule = schedule or noise_block.noise_schedule(*LINEAR)

    def network(x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        a, s = schedule.at(t, x)
        x0 = MEAN + a * STD**2 / (a**2 * STD**2 + s**2) * (x - a * MEAN)
        noise = (x - a * x0) / s
        return {"sample": x0, "epsilon": noise, "v_prediction": a * noise - s * x0}[kind]

    return network


def drawn(scheduler: str, steps: int, network_kind: str, told: str | None = None, images: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """(x_0, exact x_0 of the probability-flow ODE from the same x_T)."""
    params = SampleParams(scheduler=scheduler, steps=steps, clip=False)
    sampler = sampling.Sampler(best_network(network_kind), told or network_kind, *LINEAR, 0, params)  # type: ignore[arg-type]
    shape = (1, 8, 8)
    x0 = sampler.draw([sampling.image_generator(3, i) for i in range(images)], shape, None, torch.device("cpu"))
    start = torch.stack([torch.randn(shape, generator=sampling.image_generator(3, i)) for i in range(images)])
    schedule = noise_block.noise_schedule(*LINEAR)
    a, s = float(schedule.alpha[-1]), float(schedule.sigma[-1])
    return x0, MEAN + STD * (start - a * MEAN) / (a**2 * STD**2 + s**2) ** 0.5


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize(("scheduler", "steps", "off"), [("ddim", 250, 0.03), ("dpm++", 50, 0.02), ("euler", 250, 0.03)])
def test_ode_samplers_end_where_the_exact_solution_ends(kind: str, scheduler: str, steps: int, off: float) -> None:
    found, exact = drawn(scheduler, steps, kind)
    assert (found - exact).abs().max() < off * 4  # four standard deviations away at most
    assert (found.mean() - exact.mean()).abs() < off and (found.std() - exact.std()).abs() < off


@pytest.mark.parametrize("scheduler", ["ddim", "dpm++", "euler"])
def test_more_steps_come_closer(scheduler: str) -> None:
    errors = [(found - exact).square().mean().sqrt() for found, exact in (drawn(scheduler, steps, "v_prediction") for steps in (10, 100))]
    assert errors[1] < 0.4 * errors[0]


@pytest.mark.parametrize(("scheduler", "steps"), [("ddpm", 500), ("euler-ancestral", 250)])
def test_noisy_samplers_give_the_right_mean_and_spread(scheduler: str, steps: int) -> None:
    found, _ = drawn(scheduler, steps, "epsilon")
    # 4096 values: the mean is known to 0.008, the spread to 0.006
    assert found.mean() == pytest.approx(MEAN, abs=0.04) and found.std() == pytest.approx(STD, abs=0.04)


@pytest.mark.parametrize(("kind", "told"), [("epsilon", "sample"), ("v_prediction", "epsilon"), ("sample", "v_prediction")])
def test_a_wrong_prediction_type_misses(kind: str, told: str) -> None:
    found, exact = drawn("dpm++", 50, kind, told)
    assert not (found - exact).abs().max() < 0.2


def test_clipping_keeps_samples_in_range() -> None:
    params = SampleParams(scheduler="dpm++", steps=20)
    sampler = sampling.Sampler(lambda x, t, labels: 5 * torch.ones_like(x), "sample", *LINEAR, 0, params)
    x0 = sampler.draw([sampling.image_generator(0, 0)], (1, 4, 4), None, torch.device("cpu"))
    assert x0.max() < 1.05


def test_uneven_ddim_strides_are_refused() -> None:
    with pytest.raises(ValidationError, match="take 25 or 40"):
        SampleParams(scheduler="ddim", steps=30)
    assert SampleParams(scheduler="dpm++", steps=30).steps == 30


# weights, targets, guidance


@pytest.mark.parametrize("name", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_min_snr_weights_in_closed_form(name: str) -> None:
    from diffusers import DDPMScheduler

    cumulative = DDPMScheduler(beta_schedule=name, beta_start=1e-4, beta_end=0.02).alphas_cumprod.double()
    snr = cumulative / (1 - cumulative)
    schedule = noise_block.noise_schedule(name, 1e-4, 0.02)  # type: ignore[arg-type]
    least = torch.minimum(snr, torch.tensor(5.0))
    for kind, wanted in (("sample", least), ("epsilon", least / snr), ("v_prediction", least / (snr + 1))):
        torch.testing.assert_close(diffusion.loss_weights(schedule, kind, 5.0), wanted.float(), rtol=2e-5, atol=0)  # type: ignore[arg-type]
        assert torch.equal(diffusion.loss_weights(schedule, kind, None), torch.ones(1000))  # type: ignore[arg-type]


def test_weighted_losses_of_all_kinds_are_the_same_loss_of_the_clean_image() -> None:
    """One guess of x_0, written as n, v and x_0: min-SNR must weigh it the same three times; without it they differ."""
    schedule = noise_block.noise_schedule(*LINEAR)
    draw = torch.Generator().manual_seed(0)
    x0, noise, guess = torch.randn(3, 4, 1, 5, 5, generator=draw).double()
    t = torch.tensor([3, 200, 500, 900])
    x = schedule.add_noise(x0, noise, t)
    a, s = schedule.at(t, x)
    outputs = {"sample": guess, "epsilon": (x - a * guess) / s, "v_prediction": (a * x - guess) / s}
    losses, bare = [], []
    for kind, output in outputs.items():
        torch.testing.assert_close(noise_block.clean_image(schedule, kind, x, output, t), guess)  # type: ignore[arg-type]
        error = (output - noise_block.target(schedule, kind, x0, noise, t)).square().flatten(1).mean(1)  # type: ignore[arg-type]
        losses.append(diffusion.loss_weights(schedule, kind, 5.0)[t] * error)  # type: ignore[arg-type]
        bare.append(error)
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-4, atol=0)
    torch.testing.assert_close(losses[0], losses[2], rtol=1e-4, atol=0)
    assert not torch.allclose(bare[0], bare[1], rtol=0.1)
    torch.testing.assert_close(diffusion.velocity_of(schedule, x, guess, t), outputs["v_prediction"])


def test_guidance_is_linear_and_skips_what_it_does_not_need() -> None:
    sizes = []

    def network(x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        sizes.append(len(x))
        return x * (0 if labels is None else (labels + 1)[:, None, None, None])

    x, t, labels = torch.ones(3, 1, 2, 2), torch.zeros(3, dtype=torch.long), torch.tensor([0, 1, 0])
    given, without = x * (labels + 1)[:, None, None, None], x * 4
    for scale in (0.0, 0.5, 1.0, 3.0):
        out = diffusion.guided(network, x, t, labels, 3, scale)
        torch.testing.assert_close(out, (1 - scale) * without + scale * given)
    assert sizes == [3, 6, 3, 6]
    assert diffusion.guided(network, x, t, None, 3, 2.0).sum() == 0


# network


def test_the_published_network_has_its_published_size() -> None:
    with torch.device("meta"):
        published, small = unet2d.build(Network(preset="cifar10"), (3, 32, 32), 0), unet2d.build(Network(), (1, 32, 32), 0)
    assert sum(p.numel() for p in published.parameters()) == 35_746_307
    assert sum(p.numel() for p in small.parameters()) == 636_465


def test_widths_replace_those_of_the_preset() -> None:
    shape = unet2d.shape_of(Network(preset="cifar10", channels=(32, 64), attention=()))
    assert shape == {"channels": (32, 64), "layers": 2, "attention": (), "head_channels": None, "norm_groups": 32}


@pytest.mark.parametrize(
    ("network", "image", "message"),
    [
        ({"channels": (8, 8, 8)}, (1, 30, 32), "30 x 32 cannot be halved 2 times .* 32 x 32, or give network.channels 2 levels"),
        ({"channels": (8, 8)}, (1, 9, 9), "10 x 10, or give network.channels 1 level$"),
        ({"channels": (8, 12)}, (1, 8, 8), "norm_groups=8 must divide"),
        ({"channels": (8, 16), "head_channels": 32}, (1, 8, 8), "head_channels=32 must divide the 16 channels"),
        ({"channels": (8, 16), "attention": (2,)}, (1, 8, 8), "2 levels count from 0 to 1"),
    ],
)
def test_networks_that_do_not_fit_are_refused(network: dict[str, Any], image: tuple[int, int, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        unet2d.build(Network(**network), image, 0)


def test_heads_split_the_attention() -> None:
    unet = unet2d.build(Network(channels=(8, 16), attention=(1,), head_channels=4), (1, 8, 8), 0)
    assert {m.heads for m in unet.modules() if hasattr(m, "heads")} == {4}


# training


@pytest.mark.parametrize("micro", [1, 3, 8])
def test_accumulated_gradients_are_those_of_the_big_batch(micro: int) -> None:
    gradients, losses = [], []
    schedule = noise_block.noise_schedule(*LINEAR)
    pixels = torch.randint(0, 255, (10, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    for size in (None, micro):
        params = TrainParams(**TINY | {"micro_batch": size})
        torch.manual_seed(0)
        unet = unet2d.build(params.network, (1, 8, 8), 2).train()
        labels = torch.arange(10) % 2
        batch = training.draw_batch(params, Pool(pixels, GreyMap(0, 255), (False, False)), labels, 2, torch.Generator().manual_seed(1))
        weights = diffusion.loss_weights(schedule, params.prediction, 5.0)
        losses.append(denoising.accumulate(params, unet, schedule, weights, batch).item())
        gradients.append(torch.cat([p.grad.flatten() for p in unet.parameters() if p.grad is not None]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-6)
    assert gradients[0].norm() > 1e-3


def test_labels_are_hidden_as_often_as_asked_and_flips_are_off_by_default() -> None:
    pixels = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8)
    labels = torch.tensor([1])
    draw = torch.Generator().manual_seed(0)
    for share, low, high in ((0.0, 0, 0), (0.3, 0.25, 0.35), (1.0, 1, 1)):
        params = TrainParams(batch=2000, label_dropout=share, classes="labels")
        batch = training.draw_batch(params, Pool(pixels, GreyMap(0, 63), (False, False)), labels, 2, draw)
        assert low <= (batch.labels == 2).float().mean() <= high
        assert len({tuple(x.flatten().tolist()) for x in batch.x0[:50]}) == 1
    both = training.draw_batch(TrainParams(batch=200), Pool(pixels, GreyMap(0, 63), (True, True)), None, 0, draw)
    assert len({tuple(x.flatten().tolist()) for x in both.x0}) == 4


@pytest.fixture(scope="module")
def store(kept: LocalStore) -> LocalStore:
    return kept


@pytest.fixture
def stripes(run_task: Any) -> ImageSet:
    return run_task(Stripes, "simulate")


def held_out_loss(model: Model, images: ImageSet) -> float:
    config = model.config
    unet = denoisers.load(model, "ddpm", torch.device("cpu"))
    params = TrainParams(batch=64)
    schedule = noise_block.noise_schedule(config["schedule"], config["beta_start"], config["beta_end"])
    batch = training.draw_batch(params, Pool.of(images, False, False, None, GreyMap(*config["grey"])), None, 0, torch.Generator())
    with torch.no_grad():
        return denoising.batch_loss(params, unet, schedule, diffusion.loss_weights(schedule, "v_prediction", 5.0), batch).item()


def test_training_lowers_the_loss_of_the_average_on_new_images(run_task: Any, stripes: ImageSet) -> None:
    new = run_task(Stripes, "simulate", seed=1)
    anchor, model = (run_task(Ddpm, "train", TINY | {"steps": steps}, images=stripes) for steps in (0, 80))
    assert held_out_loss(model, new) < 0.5 * held_out_loss(anchor, new)


def test_a_stopped_training_goes_on_to_the_same_model(run_task: Any, stripes: ImageSet, tmp_path: Path) -> None:
    given = TINY | {"classes": "labels", "micro_batch": 5, "flip_x": True, "network": TINY["network"] | {"dropout": 0.1}}
    whole = run_task(Ddpm, "train", given, images=stripes)
    other = LocalStore(tmp_path / "other")
    again = run_task(Stripes, "simulate", store=other)
    calls = iter(range(100))
    with pytest.raises(Interrupted):
        run_task(Ddpm, "train", given, images=again, store=other, stop=lambda: next(calls) >= 2)
    resumed = run_task(Ddpm, "train", given, images=again, store=other)
    assert resumed.digest == whole.digest
    assert run_task(Ddpm, "train", given, images=stripes, seed=4).digest != whole.digest


@pytest.mark.parametrize("classes", ["labels", "domain"])
def test_missing_classes_are_refused(run_task: Any, classes: str) -> None:
    plain = run_task(Stripes, "simulate", {"with_classes": False})
    with pytest.raises(DataError, match=f"has no {classes}"):
        run_task(Ddpm, "train", TINY | {"classes": classes}, images=plain)


# sampling


def test_classes_are_drawn_in_turn_or_as_asked(run_task: Any, stripes: ImageSet) -> None:
    model = run_task(Ddpm, "train", TINY | {"classes": "labels"}, images=stripes)
    drawn_set = run_task(Ddpm, "sample", {"count": 5, "steps": 2, "guidance_scale": 2.0}, model=model)
    assert drawn_set.labels[...].tolist() == [0, 1, 0, 1, 0] and drawn_set.class_names == ["columns", "rows"]
    rows = run_task(Ddpm, "sample", {"count": 3, "steps": 2, "labels": ["rows"]}, model=model)
    assert rows.labels[...].tolist() == [1, 1, 1]
    with pytest.raises(DataError, match=r"no class 'row'\. Did you mean 'rows'"):
        run_task(Ddpm, "sample", {"labels": ["row"]}, model=model)
    by_domain = run_task(Ddpm, "train", TINY | {"classes": "domain"}, images=stripes)
    defects = run_task(Ddpm, "sample", {"count": 2, "steps": 2, "labels": ["defect"]}, model=by_domain)
    assert defects.domain[...].tolist() == [1, 1] and defects.labels is None


@pytest.mark.parametrize("scheduler", ["dpm++", "euler-ancestral"])
def test_images_depend_on_seed_and_index_not_on_batch_or_count(run_task: Any, stripes: ImageSet, scheduler: str) -> None:
    model = run_task(Ddpm, "train", TINY, images=stripes)
    base = {"count": 6, "scheduler": scheduler, "steps": 5}
    whole, singly, fewer, other = (
        run_task(Ddpm, "sample", base | more, model=model, seed=seed).images[...].astype(int)
        for more, seed in (({}, 0), ({"batch": 1}, 0), ({"count": 4, "batch": 3}, 0), ({}, 1))
    )
    # equal up to rounding of the batched kernels: the seed hash is the same, the key is not
    assert abs(whole - singly).max() <= 1 and abs(whole[:4] - fewer).max() <= 1
    assert abs(whole - other).mean() > 5


def test_images_are_the_same_from_any_number_of_workers(run_task: Any, stripes: ImageSet, store: LocalStore) -> None:
    model = run_task(Ddpm, "train", TINY | {"classes": "labels"}, images=stripes)
    asked = {"count": 7, "batch": 2, "steps": 2, "scheduler": "euler-ancestral"}
    digests = []
    for workers in (1, 2, 3):
        made = run_task(Ddpm, "sample", asked, model=model, workers=workers)
        assert made.labels[...].tolist() == [0, 1, 0, 1, 0, 1, 0]
        digests.append(made.digest)
        store.set_aside(made.key)
    assert digests[0] == digests[1] == digests[2]


def test_same_seed_same_digest_and_bf16_stays_close(run_task: Any, stripes: ImageSet, tmp_path: Path) -> None:
    digests, sets = [], []
    for store in (LocalStore(tmp_path / "a"), LocalStore(tmp_path / "b")):
        images = run_task(Stripes, "simulate", store=store)
        model = run_task(Ddpm, "train", TINY, images=images, store=store)
        sets.append(run_task(Ddpm, "sample", {"count": 4, "steps": 4, "precision": "bf16"}, model=model, store=store))
        digests.append((model.digest, sets[-1].digest))
        full = run_task(Ddpm, "sample", {"count": 4, "steps": 4}, model=model, store=store)
    assert digests[0] == digests[1]
    apart = abs(sets[1].images[...].astype(int) - full.images[...].astype(int))
    assert apart.max() > 0 and apart.mean() < 4


def test_guidance_needs_classes_and_sampling_needs_a_diffusion_model(run_task: Any, stripes: ImageSet) -> None:
    model = run_task(Ddpm, "train", TINY, images=stripes)
    for more in ({"guidance_scale": 2.0}, {"labels": ["rows"]}):
        with pytest.raises(DataError, match="knows no classes"):
            run_task(Ddpm, "sample", more, model=model)
    with pytest.raises(Interrupted):
        run_task(Ddpm, "sample", {"count": 2}, model=model, stop=lambda: True)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_plain_diffusers_draws_the_same_image_from_the_model(run_task: Any, stripes: ImageSet, prediction: Any) -> None:
    from diffusers import DDIMScheduler, UNet2DModel

    model = run_task(Ddpm, "train", TINY | {"schedule": "cosine", "prediction": prediction, "steps": 2}, images=stripes)
    config = model.config
    unet = UNet2DModel.from_config(config["unet"]).eval()
    unet.load_state_dict(model.state("unet."))
    names = ("num_train_timesteps", "prediction_type", "beta_start", "beta_end")
    scheduler = DDIMScheduler(beta_schedule=config["schedule"], timestep_spacing="trailing", **{name: config[name] for name in names})
    scheduler.set_timesteps(10)
    x = torch.randn(1, 1, 8, 8, generator=sampling.image_generator(0, 0))
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(unet(x, t).sample, t, x, use_clipped_model_output=True).prev_sample
    sampler = sampling.Sampler(
        lambda x, t, labels: denoisers.evaluate(unet, x, t, labels), config["prediction_type"], config["schedule"], config["beta_start"],
        config["beta_end"], 0, SampleParams(scheduler="ddim", steps=10),
    )  # fmt: skip
    ours = sampler.draw([sampling.image_generator(0, 0)], (1, 8, 8), None, torch.device("cpu"))
    torch.testing.assert_close(ours, x, rtol=0, atol=0.01)
