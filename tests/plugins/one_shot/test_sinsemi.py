"""SinSEMI: the bridge against closed forms, solvers against exact answers, parity switches one by one, and real small runs."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from fabloom.errors import DataError, Interrupted, PipelineError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context, Method, task
from fabloom.params import Params
from fabloom.plugins.blocks.pyramid import scale_sizes
from fabloom.plugins.blocks.scale_network import ScaleNetwork
from fabloom.plugins.blocks.streams import streams
from fabloom.plugins.data.images.method import Images
from fabloom.plugins.one_shot.sinsemi import levels, training
from fabloom.plugins.one_shot.sinsemi.bridge import Bridge
from fabloom.plugins.one_shot.sinsemi.guidance import Guide
from fabloom.plugins.one_shot.sinsemi.method import SinSemi
from fabloom.plugins.one_shot.sinsemi.params import Guidance, SampleParams, TrainParams
from fabloom.plugins.one_shot.sinsemi.sampling import Sampler, Trained, steps_of
from fabloom.plugins.one_shot.sinsemi.solvers import Ode, Paper, Sde, Solver
from fabloom.storage.backends.local import LocalStore

Tensor = torch.Tensor
BRIDGE = Bridge(0.35)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# the bridge


def test_moments_of_the_path() -> None:
    t = torch.tensor([0.1, 0.5, 0.8], dtype=torch.float64)[:, None]
    x = BRIDGE.point(torch.tensor(2.0), torch.tensor(-1.0), t, numbers(3, 200_000))
    assert x.mean(1) == pytest.approx(2 * (1 - t[:, 0]) - t[:, 0], abs=3e-3)
    assert x.var(1) == pytest.approx(0.35**2 * t[:, 0] * (1 - t[:, 0]), rel=0.02)
    noisy = BRIDGE.point(torch.tensor(2.0), numbers(3, 200_000, seed=1), t, numbers(3, 200_000))
    assert noisy.var(1) == pytest.approx(BRIDGE.variance(t[:, 0]), rel=0.02)


def test_velocity_is_the_derivative_of_the_path_and_its_bound_keeps_the_sign() -> None:
    x0, x1, z = numbers(7), numbers(7, seed=1), numbers(7, seed=2)
    step = 1e-6
    for value in (0.1, 0.3, 0.5, 0.7, 0.9):
        t = torch.tensor(value, dtype=torch.float64)
        slope = (BRIDGE.point(x0, x1, t + step, z) - BRIDGE.point(x0, x1, t - step, z)) / (2 * step)
        assert torch.allclose(BRIDGE.velocity_of(x0, BRIDGE.point(x0, x1, t, z), t, x1), slope, atol=1e-6), "exact"
        # the published denominator is softened by 0.01: at most 1.7 % of the noise's factor in this range
        assert torch.allclose(BRIDGE.velocity(x0, x1, t, z), slope, atol=0.02 * float(z.abs().max()))
    for value, right in ((0.02, 2.0), (0.98, -2.0)):
        t = torch.tensor(value, dtype=torch.float64)
        assert torch.allclose(BRIDGE.velocity(x0, x1, t, z), x1 - x0 + 0.35 * right * z)
        assert torch.allclose(BRIDGE.velocity(x0, x1, t, z, "positive"), x1 - x0 + 0.35 * 2 * z), "the released code's bound"


@pytest.mark.parametrize("known", [True, False], ids=["known end", "noise end"])
@pytest.mark.parametrize("value", [0.06, 0.4, 0.94])
def test_predictions_stand_for_the_clean_image(known: bool, value: float) -> None:
    t = torch.tensor(value, dtype=torch.float64)
    x0, x1, z = numbers(9), numbers(9, seed=1), numbers(9, seed=2)
    x = BRIDGE.point(x0, x1, t, z)
    end = x1 if known else None
    assert torch.allclose(BRIDGE.clean("drift", (x - x0) / t, x, t, end), x0)
    assert torch.allclose(BRIDGE.clean("velocity", BRIDGE.velocity_of(x0, x, t, end), x, t, end), x0)


def test_an_error_of_the_drift_is_twice_that_of_the_velocity() -> None:
    t = torch.tensor(0.4, dtype=torch.float64)
    x0, x1 = numbers(9), numbers(9, seed=1)
    x = BRIDGE.point(x0, x1, t, numbers(9, seed=2))
    error = numbers(9, seed=3)
    moved = BRIDGE.velocity_of(BRIDGE.clean("drift", (x - x0) / t + error, x, t, x1), x, t, x1) - BRIDGE.velocity_of(x0, x, t, x1)
    assert torch.allclose(moved, error / 2)


# solvers against exact answers


def toy(make: Any, steps: int, deviation: float = 0.2, count: int = 100_000) -> float:
    """Deviation of samples where pixels are N(0, deviation^2), the end is noise, and the clean image is known exactly."""
    draw = torch.Generator().manual_seed(3)
    solver: Solver = make()
    x = torch.randn(count, generator=draw)
    for t, to in itertools.pairwise(solver.times(steps)):
        clean = (1 - t) * deviation**2 / ((1 - t) ** 2 * deviation**2 + BRIDGE.variance(t)) * x
        mean, spread = solver.step(clean, x, t, to)
        x = mean + spread * torch.randn(count, generator=draw)
    return float(x.std())


def test_ode_and_sde_keep_the_variance_and_the_released_sampler_inflates_it() -> None:
    assert 0.198 <= toy(lambda: Ode(BRIDGE, None), 300) <= 0.202
    assert 0.198 <= toy(lambda: Sde(BRIDGE, None), 300) <= 0.202
    assert 0.265 <= toy(lambda: Paper(BRIDGE, None, 1.0), 300) <= 0.28
    assert 0.205 <= toy(lambda: Paper(BRIDGE, None, 0.35), 300) <= 0.215


def test_few_steps_keep_the_variance_too() -> None:
    """Second order and squared times; one of the two alone is much worse."""

    class Plain(Sde):
        def carried(self, clean: Tensor, t: Tensor, to: Tensor) -> Tensor:
            return clean

        def times(self, steps: int) -> Tensor:
            return torch.linspace(1, 0, steps + 1)

    ours, plain = toy(lambda: Sde(BRIDGE, None), 12), toy(lambda: Plain(BRIDGE, None), 12)
    assert abs(ours - 0.2) < 0.015 and abs(plain - 0.2) > 3 * abs(ours - 0.2)
    assert abs(toy(lambda: Ode(BRIDGE, None), 12) - 0.2) < 0.005


def test_sde_from_a_known_end_keeps_the_variance() -> None:
    """x0 | x1 ~ N(0.9 x1, 0.2^2): every x1 must lead to the whole spread."""
    draw = torch.Generator().manual_seed(0)
    x1 = torch.randn(100_000, generator=draw)
    solver, x = Sde(BRIDGE, x1), x1
    for t, to in itertools.pairwise(solver.times(100)):
        seen = 0.35**2 * t * (1 - t) / (1 - t).clamp(min=1e-6) ** 2
        clean = (0.9 * x1 * seen + (x - t * x1) / (1 - t).clamp(min=1e-6) * 0.04) / (0.04 + seen) if t < 1 else 0.9 * x1
        mean, spread = solver.step(clean, x, t, to)
        x = mean + spread * torch.randn(len(x), generator=draw)
    assert float((x - 0.9 * x1).std()) == pytest.approx(0.2, rel=0.02)
    assert abs(float(torch.corrcoef(torch.stack([x - 0.9 * x1, x1]))[0, 1])) < 0.01


LINES = levels.build(
    np.tile(np.arange(64, dtype=np.uint8) % 16 * 8 + 40, (1, 64, 1)), [(45, 45), (64, 64)], normalise="finest", quantise=False
)


class Oracle(torch.nn.Module):
    """Knows the image of every scale: (x - x0) / t, or the velocity from the given end."""

    def forward(self, x: Tensor, time: Tensor, scale: Tensor, context: Tensor | None) -> Tensor:
        return (x - LINES.images[int(scale[0])]) / time[:, None, None, None]


@pytest.mark.parametrize("sampler", ["sde", "ode"])
@pytest.mark.parametrize("steps", [1, 7])
def test_a_network_that_knows_the_image_returns_it(sampler: str, steps: int) -> None:
    trained = Trained(Oracle(), BRIDGE, "drift", 1.0, LINES, torch.device("cpu"))
    params = SampleParams.model_validate({"sampler": sampler, "precision": "fp32"})
    made = Sampler(trained, params, LINES.sizes, [None, None], [steps, steps], None).generate(streams(0, range(2)))
    assert (made - LINES.images[-1]).abs().max() < 1e-5


def test_the_released_sampler_leaves_noise_in_the_image() -> None:
    trained = Trained(Oracle(), BRIDGE, "drift", 1.0, LINES, torch.device("cpu"))
    params = SampleParams.model_validate({"preset": "parity", "guidance": {"strength": 0}})
    made = Sampler(trained, params, LINES.sizes, [None, None], [10, 10], None).generate(streams(0, range(8)))
    # the last of 10 steps adds sqrt(h) sqrt(h (1-h)) = 0.095 on top of what the steps before left
    assert 0.09 < float((made - LINES.images[-1]).std()) < 0.2


# parity with the released code, switch by switch


def test_presets_fill_in_and_what_is_given_wins() -> None:
    small, published, parity = (TrainParams.model_validate({"preset": name}) for name in ("small", "published", "parity"))
    assert (published.steps, published.batch, published.width, published.lr) == (120_000, 32, 160, 1e-4)
    assert published.anchor == "none" and published.window is None and small.anchor == "auto"
    changed = {k for k in parity.model_dump() if getattr(parity, k) != getattr(published, k)}
    assert changed == {"preset", "scales", "clamp", "normalise", "quantise"}
    assert TrainParams.model_validate({"preset": "published", "steps": 5}).steps == 5
    assert TrainParams.model_validate(parity.model_dump()) == parity, "a dump is what was meant"
    released = SampleParams.model_validate({"preset": "parity", "guidance": {"strength": 0.1}})
    assert released.guidance.strength == 0.1 and released.guidance.normalise == "batch" and released.sigma == 1.0
    with pytest.raises(ValidationError, match="preset"):
        TrainParams.model_validate({"preset": "big"})


def drawn(given: dict[str, Any], count: int = 300) -> list[training.Batch]:
    params = TrainParams.model_validate({"batch": 2, **given})
    draw = torch.Generator().manual_seed(0)
    return [training.draw_batch(params, LINES, [torch.rand(1, 2, *size) for size in LINES.sizes], draw) for _ in range(count)]


def test_the_coarsest_scale_is_trained_on_more_often() -> None:
    def share(given: dict[str, Any]) -> float:
        return sum(batch.scale == 0 for batch in drawn({"preset": "published", **given})) / 300

    assert len(LINES.sizes) == 2
    # one scale in two, two draws in three, three in four; the deviation of a share is 0.03
    assert share({}) == pytest.approx(1 / 2, abs=0.1)
    assert share({"coarsest": 2}) == pytest.approx(2 / 3, abs=0.08)
    assert share({"coarsest": 3}) == pytest.approx(3 / 4, abs=0.08)
    assert (TrainParams().coarsest, TrainParams.model_validate({"preset": "parity"}).coarsest) == (2, 1)


def test_finer_scales_take_fewer_steps() -> None:
    assert steps_of(None, [(55, 55), (96, 96), (512, 512), (2048, 2048)]) == (12, 8, 4, 2)
    assert steps_of(5, [(55, 55), (96, 96)]) == (5, 5)


def test_the_released_code_never_trains_the_finest_scale() -> None:
    assert {batch.scale for batch in drawn({})} == {0, 1}
    assert {batch.scale for batch in drawn({"scales": "all but finest"})} == {0}


def test_windows_cut_image_end_and_anchor_at_one_place() -> None:
    for batch in drawn({"window": 40, "coarse_window": 33}, 40):
        side = 40 if batch.scale else 33
        assert batch.x0.shape == batch.z.shape == batch.x1.shape == (2, 1, side, side)
        assert batch.context is not None and batch.context.shape == (2, 2, side, side)
        image, recon = LINES.images[batch.scale], LINES.recons[batch.scale]
        for x0, x1 in zip(batch.x0, batch.x1, strict=True):
            spots = [
                (top, left) for top in range(26) for left in range(26) if torch.equal(image[0, :, top : top + side, left : left + side], x0)
            ]
            assert spots
            if recon is not None:
                assert any(torch.equal(recon[0, :, top : top + side, left : left + side], x1) for top, left in spots)
    assert {tuple(batch.x0.shape[2:]) for batch in drawn({"window": None, "coarse_window": None}, 40)} == set(LINES.sizes)


def test_statistics_of_the_finest_scale_or_of_each_image() -> None:
    pixels = np.random.default_rng(0).integers(40, 90, (1, 96, 96)).astype(np.uint8)
    sizes = [(55, 55), (73, 73), (96, 96)]
    each = levels.build(pixels, sizes, normalise="each", quantise=False)
    ours = levels.build(pixels, sizes, normalise="finest", quantise=False)
    recons = [(a, b) for a, b in zip(each.recons, ours.recons, strict=True) if a is not None and b is not None]
    for a, b in [*zip(each.images, ours.images, strict=True), *recons]:
        assert float(a.std()) == pytest.approx(1, abs=1e-4)
        assert torch.allclose(a, (b - b.mean()) / b.std(), atol=1e-4)
    assert float(recons[0][1].std()) < 0.9, "a blurred image has less contrast, and keeps it"


def test_real_statistics_of_the_line_pair(data_dir: Path) -> None:
    from PIL import Image

    pixels = np.asarray(Image.open(data_dir / "line_pair" / "bridge_defect.png"))[..., 0][None]
    sizes = scale_sizes((96, 96), TrainParams().area, TrainParams().ratio)
    built = levels.build(pixels, sizes, normalise="finest", quantise=False)
    spread = [float(image.std(correction=0)) * built.deviation * 255 for image in built.images]
    assert spread == pytest.approx([6.011, 6.086, 6.152], abs=0.05) and sizes == [(55, 55), (73, 73), (96, 96)]


# guidance


def squares(goal: Tensor, point: Tensor) -> Tensor:
    """An energy whose gradient is known: 2 (point - goal)."""
    return (point - goal).square().flatten(1).sum(1)


def guide(**given: Any) -> Guide:
    return Guide(Guidance.model_validate({"strength": 0.5, **given}), squares, LINES, BRIDGE, 1)  # type: ignore[arg-type]


def test_the_pull_is_as_long_as_strength_times_the_step_and_points_to_the_reference() -> None:
    x, move = torch.randn(3, 1, 64, 64), torch.randn(3, 1, 64, 64) * torch.tensor([1.0, 2.0, 4.0])[:, None, None, None]
    nudge = guide(on="clean").nudge(x, x, move, 0.5, 1, 0)
    assert torch.allclose(nudge.flatten(1).norm(dim=1), 0.5 * move.flatten(1).norm(dim=1), rtol=1e-4)
    towards = LINES.images[1] - x
    assert torch.nn.functional.cosine_similarity(nudge.flatten(1), towards.flatten(1)) == pytest.approx(torch.ones(3), abs=1e-4)
    assert not guide(until=0.4).nudge(x, x, move, 0.5, 1, 0).any()


def test_norms_of_the_batch_mix_the_samples_and_norms_of_a_sample_do_not() -> None:
    x, move = torch.randn(2, 1, 64, 64), torch.randn(2, 1, 64, 64) * torch.tensor([1.0, 9.0])[:, None, None, None]
    for normalise, depends in (("sample", False), ("batch", True)):
        given = guide(normalise=normalise)
        together, alone = given.nudge(x, x, move, 0.5, 1, 0)[:1], given.nudge(x[:1], x[:1], move[:1], 0.5, 1, 0)
        assert torch.allclose(together, alone, rtol=1e-4) is not depends


def test_the_noised_reference_lies_on_the_path_with_noise_of_every_step() -> None:
    fresh, frozen = guide(), guide(coarse_reference="frozen")
    assert torch.equal(fresh.noised(0.5, 1, 3), fresh.noised(0.5, 1, 3)) and not torch.equal(
        fresh.noised(0.5, 1, 3), fresh.noised(0.5, 1, 4)
    )
    ends = [guide_.noised(0.999999, 0, step) for guide_ in (fresh, frozen) for step in (0, 1)]
    assert (ends[2] - ends[3]).abs().max() < 0.01 < (ends[0] - ends[1]).abs().max(), "only the frozen end stays"
    many = torch.cat([fresh.noised(0.5, 1, step) for step in range(200)])
    recon = LINES.recons[1]
    assert recon is not None
    assert torch.allclose(many.mean(0), (0.5 * LINES.images[1] + 0.5 * recon)[0], atol=0.07)
    assert float((many - many.mean(0)).std()) == pytest.approx(0.35 * 0.5, rel=0.05)


# whole runs


class PictureParams(Params):
    count: int = 1
    channels: int = 1
    constant: bool = False
    height: int = 72
    width: int = 72


class Picture(Method):
    """Vertical lines of 9 pixels' pitch; channels differ where there are several."""

    name = "picture"

    @task(version=1)
    def make(self, ctx: Context, params: PictureParams) -> ImageSet:
        x = np.arange(params.width)
        plane = 100 + (0 if params.constant else 40) * np.cos(2 * np.pi * (x + 0.5) / 9)
        rng = np.random.default_rng(ctx.seed)
        noise = rng.normal(0, 0 if params.constant else 2, (params.count, params.channels, params.height, params.width))
        gain = np.linspace(1, 0.5, params.channels)[:, None, None]
        return ImageSet.write(ctx, (plane * gain + noise).round().astype(np.uint8))


TINY = {"steps": 60, "width": 16, "batch": 4, "precision": "fp32"}


@pytest.fixture(scope="module")
def store(kept: LocalStore) -> LocalStore:
    return kept


@pytest.fixture
def picture(run_task: Any) -> ImageSet:
    made: ImageSet = run_task(Picture, "make")
    return made


def profile_match(made: ImageSet, picture: ImageSet) -> float:
    """Mean correlation of the samples' column profiles with that of the training image: are the lines in their place?"""
    wanted = np.asarray(picture.images)[0, 0].mean(0)
    return float(np.mean([np.corrcoef(wanted, image[0].mean(0))[0, 1] for image in np.asarray(made.images)]))


def test_lines_lie_where_they_should_after_few_steps_with_an_anchor(run_task: Any, picture: ImageSet) -> None:
    given = {**TINY, "steps": 150, "lr": 4e-3}
    sample = {"count": 6, "steps": 6, "precision": "fp32"}
    anchored: Model = run_task(SinSemi, "train", given, images=picture)
    assert len(anchored.config["lattice"]) == 1
    untrained = run_task(SinSemi, "train", {**given, "steps": 0}, images=picture)
    match, nothing = (profile_match(run_task(SinSemi, "sample", sample, model=model), picture) for model in (anchored, untrained))
    assert match > 0.9 and abs(nothing) < 0.6
    wide = run_task(SinSemi, "sample", {**sample, "size": [50, 130]}, model=anchored)
    pixels = np.asarray(wide.images)
    assert pixels.shape == (6, 1, 50, 130)
    waves = np.exp(-2j * np.pi * np.arange(130) / 9)
    strength = np.abs((pixels[:, 0].mean(1) - pixels[:, 0].mean((1, 2))[:, None]) @ waves) / 130
    assert strength.min() > 10, "the pitch is that of the training image (amplitude 40 gives 20)"


def test_batches_and_workers_do_not_matter(run_task: Any, picture: ImageSet, store: LocalStore) -> None:
    model = run_task(SinSemi, "train", {**TINY, "steps": 10}, images=picture)
    given = {"count": 5, "steps": 3, "precision": "fp32"}
    five = np.asarray(run_task(SinSemi, "sample", {**given, "batch": 5}, model=model).images).astype(int)
    made = run_task(SinSemi, "sample", {**given, "batch": 2}, model=model)
    two = np.asarray(made.images).astype(int)
    assert np.abs(five - two).max() <= 1 and np.abs(five[0] - five[1]).max() > 5
    other = np.asarray(run_task(SinSemi, "sample", {**given, "batch": 5}, seed=1, model=model).images).astype(int)
    assert np.abs(five - other).max() > 5
    store.set_aside(made.key)
    assert run_task(SinSemi, "sample", {**given, "batch": 2}, model=model, workers=2).digest == made.digest


def test_a_stopped_training_goes_on_to_the_same_weights(run_task: Any, picture: ImageSet, tmp_path: Path) -> None:
    whole = run_task(SinSemi, "train", {**TINY, "steps": 9, "ema_start": 3}, images=picture)
    other = LocalStore(tmp_path / "other")
    again = run_task(Picture, "make", store=other)
    calls = itertools.count()
    with pytest.raises(Interrupted):
        run_task(SinSemi, "train", {**TINY, "steps": 9, "ema_start": 3}, images=again, store=other, stop=lambda: next(calls) >= 4)
    resumed = run_task(SinSemi, "train", {**TINY, "steps": 9, "ema_start": 3}, images=again, store=other)
    assert resumed.digest == whole.digest


def test_colour_stays_and_equal_channels_collapse(run_task: Any) -> None:
    colour = run_task(Picture, "make", {"channels": 3})
    model = run_task(SinSemi, "train", {**TINY, "steps": 2}, images=colour)
    assert model.config["channels"] == 3
    assert np.asarray(run_task(SinSemi, "sample", {"count": 1, "steps": 2}, model=model).images).shape == (1, 3, 72, 72)


class Equal(Method):
    """The same plane three times."""

    name = "equal"

    @task(version=1)
    def make(self, ctx: Context, params: PictureParams, *, images: ImageSet) -> ImageSet:
        return ImageSet.write(ctx, np.repeat(np.asarray(images.images), 3, 1))


def test_equal_channels_are_learnt_once_and_written_back(run_task: Any, picture: ImageSet) -> None:
    model = run_task(SinSemi, "train", {**TINY, "steps": 2}, images=run_task(Equal, "make", images=picture))
    assert (model.config["channels"], model.config["set_channels"]) == (1, 3)
    pixels: NDArray[np.uint8] = np.asarray(run_task(SinSemi, "sample", {"count": 1, "steps": 2}, model=model).images)
    assert pixels.shape == (1, 3, 72, 72) and (pixels == pixels[:, :1]).all()


def test_the_published_network_is_what_a_published_run_would_train(run_task: Any, picture: ImageSet) -> None:
    model = run_task(SinSemi, "train", {"preset": "published", "steps": 0}, images=picture)
    assert sum(v.numel() for v in model.state("net.").values()) == 1_104_892 and model.config["prediction"] == "velocity"
    net = ScaleNetwork(1, model.config["width"])
    net.load_state_dict(model.state("net."))
    made = run_task(SinSemi, "sample", {"preset": "published", "count": 1, "steps": [2, 1]}, model=model)
    assert made.attrs["sampler"] == "paper"


@pytest.mark.parametrize(
    ("given", "params", "message"),
    [
        ({"count": 2}, {}, "choose one|Choose one"),
        ({"count": 2}, {"image": 2}, "row 2 is not in set"),
        ({"constant": True}, {}, "constant"),
        ({"height": 41}, {}, "41 x 72 is too small"),
    ],
)
def test_training_refuses_what_it_cannot_use(run_task: Any, given: dict[str, Any], params: dict[str, Any], message: str) -> None:
    images = run_task(Picture, "make", given)
    with pytest.raises(DataError, match=message):
        run_task(SinSemi, "train", {**TINY, "steps": 1, **params}, images=images)


class Cloud(Method):
    """No structure."""

    name = "cloud"

    @task(version=1)
    def make(self, ctx: Context, params: PictureParams) -> ImageSet:
        return ImageSet.write(ctx, np.random.default_rng(0).integers(0, 255, (1, 1, 64, 64)).astype(np.uint8))


def test_a_lattice_is_demanded_or_found_or_not(run_task: Any) -> None:
    cloud = run_task(Cloud, "make")
    with pytest.raises(DataError, match="no periodic structure"):
        run_task(SinSemi, "train", {**TINY, "steps": 1, "anchor": "lattice"}, images=cloud)
    assert run_task(SinSemi, "train", {**TINY, "steps": 1}, images=cloud).config["lattice"] == []


def test_sampling_refuses_what_does_not_fit(run_task: Any, picture: ImageSet) -> None:
    model = run_task(SinSemi, "train", {**TINY, "steps": 1}, images=picture)
    guided = {"count": 1, "steps": 1, "guidance": {"strength": 1}}
    with pytest.raises(DataError, match="2 scales"):
        run_task(SinSemi, "sample", {"count": 1, "steps": [1, 1, 1]}, model=model)
    with pytest.raises(DataError, match="connect a `reference` of the output's size"):
        run_task(SinSemi, "sample", {**guided, "size": [72, 80]}, model=model)
    with pytest.raises(DataError, match="the reference is 72 x 72 but the output 72 x 80"):
        run_task(SinSemi, "sample", {**guided, "size": [72, 80]}, model=model, reference=picture)
    with pytest.raises(DataError, match="has 3 channels"):
        run_task(SinSemi, "sample", guided, model=model, reference=run_task(Picture, "make", {"channels": 3}))
    with pytest.raises(ValidationError, match="one step or more"):
        SampleParams.model_validate({"steps": [3, 0]})


def test_a_reference_that_nothing_uses_is_refused_while_planning(store: Any) -> None:
    from fabloom.pipeline import Pipeline
    from fabloom.planning.plan import make_plan
    from fabloom.registry import Registry

    steps = {
        "images": {"task": "line-pair.simulate", "params": {"count": 1}},
        "model": {"task": "sinsemi.train", "inputs": {"images": "images"}, "params": {"anchor": "lattice"}},
        "made": {"task": "sinsemi.sample", "inputs": {"model": "model", "reference": "images"}},
    }
    with pytest.raises(PipelineError, match=r"steps.made.inputs.reference: .*guidance.strength is 0"):
        make_plan(Pipeline.model_validate({"name": "t", "steps": steps}), Registry.load(), store)


def test_guidance_brings_real_lpips_down(run_task: Any, data_dir: Path, weights_dir: Path) -> None:
    from fabloom.plugins.blocks.perceptual import Lpips

    loaded = {"path": str(data_dir / "line_pair"), "clean": ["no_defect*"], "defect": ["bridge_defect*"]}
    images = run_task(Images, "load", loaded)
    model = run_task(SinSemi, "train", {**TINY, "steps": 40}, images=images)
    assert (model.state("image")[""].numpy() == np.asarray(images.images)[images.domain[...] == 1][0]).all(), "the only defect is picked"
    goal = torch.from_numpy(np.asarray(images.images)[images.domain[...] == 1] / 127.5 - 1).float()
    lpips = Lpips.load("squeeze", torch.device("cpu"))
    means = []
    for strength in (0.0, 1.0):
        given = {"count": 4, "steps": 5, "precision": "fp32", "guidance": {"strength": strength}}
        made = run_task(SinSemi, "sample", given, model=model)
        means.append(float(lpips(goal, torch.from_numpy(np.asarray(made.images) / 127.5 - 1).float()).mean()))
    assert means[1] < means[0]
