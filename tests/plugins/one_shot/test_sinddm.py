"""SinDDM: schedule and blur against closed forms and real data, the reverse process against a perfect network, and real small runs."""

from __future__ import annotations

import itertools
from math import erfc, sqrt
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from fabloom.errors import DataError, Interrupted, PipelineError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context, Method, task
from fabloom.params import Params
from fabloom.pipeline import Pipeline
from fabloom.planning.plan import make_plan
from fabloom.plugins.blocks import composites
from fabloom.plugins.blocks.anchor import Anchor
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.noise import Prediction
from fabloom.plugins.blocks.pyramid import Pyramid, scale_sizes
from fabloom.plugins.blocks.streams import streams
from fabloom.plugins.one_shot.sinddm import guidance, levels, reverse, sampling, schedule, training
from fabloom.plugins.one_shot.sinddm.method import SinDdm
from fabloom.plugins.one_shot.sinddm.params import SampleParams, TrainParams
from fabloom.plugins.one_shot.sinddm.schedule import Blur
from fabloom.registry import Registry
from fabloom.storage.backends.local import LocalStore

Tensor = torch.Tensor
NOISE = schedule.noise_schedule()
PREDICTIONS: tuple[Prediction, ...] = ("epsilon", "v_prediction", "sample")
PLANE = np.tile(120 + 60 * np.cos(2 * np.pi * np.arange(64) / 16), (64, 1)) + np.random.default_rng(0).normal(0, 8, (64, 64))
PIXELS = PLANE.round().astype(np.uint8)[None]
VALUES = GreyMap.fit(PIXELS)
LINES = levels.build(PIXELS, [(45, 45), (64, 64)], VALUES, quantise=False)
CPU = torch.device("cpu")


def real_pixels(data_dir: Path) -> NDArray[np.uint8]:
    """The line pair's defect image [1,96,96]."""
    return np.asarray(Image.open(data_dir / "line_pair" / "bridge_defect.png").convert("L"))[None]


# schedule and blur


def test_noise_levels_are_the_published_ones() -> None:
    found = Blur(NOISE, [None]).levels[[0, 30, 50, 80, 98, 99]]
    assert found.tolist() == pytest.approx([0.025, 0.54, 1.04, 3.28, 64, 2029], rel=6e-3)
    i = np.arange(101)
    cumulative = np.cos((i / 100 + 0.008) / 1.008 * np.pi / 2) ** 2
    cumulative = np.cumprod(1 - np.clip(1 - cumulative[1:] / cumulative[:-1], 0, 0.999))
    assert NOISE.alpha.numpy() ** 2 == pytest.approx(cumulative, rel=1e-4)


def test_the_overflow_gives_the_published_starts_on_the_line_pair(data_dir: Path) -> None:
    pixels = real_pixels(data_dir)
    sizes = scale_sizes((96, 96), 3110, 1.411)
    assert sizes == [(55, 55), (73, 73), (96, 96)]
    limits = schedule.overflow(pixels, sizes)
    assert limits == pytest.approx([0.839, 0.474], abs=6e-4)
    assert [Blur(NOISE, [None, *limits]).start(scale) for scale in range(3)] == [100, 43, 27]
    picture = Image.fromarray(np.repeat(pixels[0][..., None], 3, 2))
    images = [picture.resize(size, Image.Resampling.LANCZOS) for size in sizes]
    pairs = [(np.asarray(b, int), np.asarray(a.resize(b.size, Image.Resampling.BILINEAR), int)) for a, b in itertools.pairwise(images)]
    without = [float(np.linalg.norm(image - recon) / image.size) for image, recon in pairs]
    assert without == pytest.approx([0.0049, 0.0026], abs=6e-5)
    assert [Blur(NOISE, [None, *without]).start(scale) for scale in (1, 2)] == [0, 0], "no refinement at all"


def test_equivalent_noise_gives_sensible_starts_on_real_images(data_dir: Path) -> None:
    board = np.asarray(Image.open(data_dir / "deeppcb" / "00041000_test.jpg").convert("L"))[200:296, 300:396][None]
    starts = {}
    for name, pixels in (("lines", real_pixels(data_dir)), ("board", board)):
        pyramid = levels.build(pixels, scale_sizes((96, 96), 3110, 1.411), GreyMap.fit(pixels), quantise=False)
        blur = Blur(NOISE, schedule.limits(TrainParams(), NOISE, pyramid, pixels))
        starts[name] = [blur.start(scale) for scale in range(3)]
    assert starts["lines"] == [100, 20, 21] and starts["board"] == [100, 53, 60]


def test_blur_hidden_by_its_equivalent_noise_is_as_hard_to_see_as_promised() -> None:
    """The best guess of which of two known images lies behind the noise is wrong in erfc(d' / 2 sqrt 2) / 2 of the cases."""
    draw = torch.Generator().manual_seed(0)
    sharp, blurred = torch.randn(2, 1, 1, 33, 33, generator=draw)
    for wanted in (1.0, 2.0):
        deviation = schedule.equivalent(sharp, blurred, wanted)
        seen = sharp + deviation * torch.randn(4000, 1, 33, 33, generator=draw)
        wrong = (seen - blurred).square().sum((1, 2, 3)) < (seen - sharp).square().sum((1, 2, 3))
        assert float(wrong.float().mean()) == pytest.approx(erfc(wanted / 2 / sqrt(2)) / 2, abs=0.02)
    assert schedule.equivalent(3 * sharp, 3 * blurred, 1.0) == pytest.approx(3 * schedule.equivalent(sharp, blurred, 1.0))


def test_blur_grows_with_the_noise_and_is_complete_at_the_start() -> None:
    pyramid = Pyramid([torch.zeros(1, 1, size, size) for size in (45, 50, 57, 64)], [None] * 4)
    params = TrainParams.model_validate({"blur": "fractions", "fractions": [0.4, 0.25]})
    blur = Blur(NOISE, schedule.limits(params, NOISE, pyramid, PIXELS))
    assert [blur.start(scale) for scale in range(4)] == [100, 40, 25, 25]
    shares = blur.shares(1)
    assert float(shares[39]) == 1 == float(shares[99]) and float(shares[38]) < 1 and (shares.diff() >= 0).all()
    ratio = shares[:40] / blur.levels[:40]
    assert torch.allclose(ratio, ratio[0].expand(40)), "blur and noise vanish together"
    assert not blur.shares(0).any()


# training


class Spy(torch.nn.Module):
    """Keeps what it is asked, and answers with zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(self, x: Tensor, time: Tensor, scale: Tensor, context: Tensor | None) -> Tensor:
        self.asked.append((x, time, scale))
        return torch.zeros_like(x)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_training_sees_x_t_in_closed_form_and_asks_for_the_right_thing(prediction: Prediction) -> None:
    given = {"prediction": prediction, "loss": "l1", "precision": "fp32", "window": None, "coarse_window": None, "batch": 6}
    params = TrainParams.model_validate(given)
    blur, draw, spy = Blur(NOISE, [None, 0.5]), torch.Generator().manual_seed(1), Spy()
    scales = set()
    for _ in range(12):
        batch = training.draw_batch(params, LINES, [None, None], [100, 100], draw)
        loss = training.batch_loss(params, blur, spy, batch, CPU)
        x, t, scale = spy.asked[-1]
        scales.add(int(scale[0]))
        a, s = NOISE.at(t, x)
        image, recon = LINES.images[batch.scale], LINES.recons[batch.scale]
        share = (s / a / 0.5).clamp(0, 1) if recon is not None else torch.zeros_like(s)
        noise = (x - a * (share * (image if recon is None else recon) + (1 - share) * image)) / s
        assert torch.allclose(noise, batch.noise, atol=2e-4)
        target = {"epsilon": noise, "sample": image.expand_as(x), "v_prediction": (a * x - image) / s}[prediction]
        assert float(loss) == pytest.approx(float(target.abs().mean()), rel=1e-3), "the mean absolute error of zeros"
    assert scales == {0, 1}


def test_windows_levels_and_scales_are_drawn_evenly() -> None:
    draw = torch.Generator().manual_seed(0)
    params = TrainParams.model_validate({"batch": 4, "window": 40, "coarse_window": 33})
    batches = [training.draw_batch(params, LINES, [torch.rand(1, 2, *size) for size in LINES.sizes], [100, 30], draw) for _ in range(500)]
    for scale, highest in enumerate((100, 30)):
        t = torch.cat([batch.t for batch in batches if batch.scale == scale])
        assert sorted(set(t.tolist())) == list(range(highest)) and float(t.float().mean()) == pytest.approx((highest - 1) / 2, abs=3)
    assert 200 < sum(batch.scale for batch in batches) < 300
    for batch in batches[:20]:
        side = 40 if batch.scale else 33
        assert batch.x0.shape == batch.blurred.shape == (4, 1, side, side)
        assert batch.context is not None and batch.context.shape == (4, 2, side, side)
        assert torch.equal(batch.blurred, batch.x0) is (batch.scale == 0)


def test_presets_fill_in_and_what_is_given_wins() -> None:
    published, parity = (TrainParams.model_validate({"preset": name}) for name in ("published", "parity"))
    assert (published.steps, published.batch, published.width, published.lr) == (120_000, 32, 160, 1e-3)
    assert (published.prediction, published.loss, published.anchor, published.stretch) == ("epsilon", "l1", "none", False)
    changed = {k for k in parity.model_dump() if getattr(parity, k) != getattr(published, k)}
    assert changed == {"preset", "blur", "quantise"}
    assert TrainParams.model_validate({"preset": "published", "steps": 5}).steps == 5
    assert TrainParams.model_validate(parity.model_dump()) == parity, "a dump is what was meant"
    assert SampleParams.model_validate({"preset": "parity"}).start_noise == "above"
    for wrong in ({"preset": "big"}, {"fractions": [0.4, 1.2]}):
        with pytest.raises(ValidationError):
            TrainParams.model_validate(wrong)


# the reverse process


def oracle(prediction: Prediction, blur: Blur, pyramid: Pyramid = LINES) -> torch.nn.Module:
    """A network that knows the image of every scale, and so what it is asked to predict."""

    class Oracle(torch.nn.Module):
        def forward(self, x: Tensor, time: Tensor, scale: Tensor, context: Tensor | None) -> Tensor:
            t, s = int(time[0]), int(scale[0])
            image, recon, share = pyramid.images[s], pyramid.recons[s], float(blur.shares(s)[t])
            a, sigma = float(NOISE.alpha[t]), float(NOISE.sigma[t])
            mix = image if recon is None else share * recon + (1 - share) * image
            answers = {"epsilon": (x - a * mix) / sigma, "v_prediction": (a * x - image) / sigma, "sample": image.expand_as(x)}
            return answers[prediction]

    return Oracle()


def sampler_of(prediction: Prediction, net: torch.nn.Module | None = None, **given: Any) -> sampling.Sampler:
    blur = Blur(NOISE, [None, 0.8])
    trained = sampling.Trained(net or oracle(prediction, blur), blur, prediction, LINES, VALUES, 64 / 45, [100, 60], CPU)
    return sampling.make_sampler(trained, SampleParams.model_validate({"precision": "fp32", **given}), Anchor())


# one step from level 99 multiplies the round-off of a predicted noise by 2029
RUNS = [(prediction, steps) for prediction in PREDICTIONS for steps in (1, 7, 100) if (prediction, steps) != ("epsilon", 1)]


@pytest.mark.parametrize(("prediction", "steps"), RUNS)
@pytest.mark.parametrize("more", [{}, {"start_noise": "above", "omega": 0.5, "eta": 1.0, "order": 1}], ids=["plain", "noisy"])
def test_a_network_that_knows_the_image_returns_it(prediction: Prediction, steps: int, more: dict[str, Any]) -> None:
    made = sampler_of(prediction, steps=steps, **more).generate(streams(0, range(2)))
    assert (made - LINES.images[-1]).abs().max() < 1e-4


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_taking_the_blur_out_undoes_putting_it_in(prediction: Prediction) -> None:
    blur = Blur(NOISE, [None, 0.8])
    image, recon = LINES.images[1], LINES.recons[1]
    assert recon is not None
    for t in (0, 10, 22):  # the share is below its bound up to level 23
        share = float(blur.shares(1)[t])
        assert share < reverse.LARGEST_SHARE
        mix = share * recon + (1 - share) * image
        x = NOISE.add_noise(mix, torch.randn(mix.shape, generator=torch.Generator().manual_seed(t)), torch.tensor([t]))
        net = oracle(prediction, blur)

        def evaluate(x: Tensor, t: int, scale: int, net: torch.nn.Module = net) -> Tensor:
            found: Tensor = net(x, torch.tensor([t]), torch.tensor([scale]), None)
            return found

        clean, mixed = reverse.Reverse(blur, prediction, evaluate, lambda clean, scale: clean).clean(x, t, 1, recon)
        assert torch.allclose(clean, image, atol=1e-4) and torch.allclose(mixed, mix, atol=1e-4)


def test_levels_are_visited_from_the_start_down_to_the_last() -> None:
    assert reverse.visited(43, 100) == list(range(42, -1, -1)) and reverse.visited(100, 100)[0] == 99
    assert reverse.visited(43, 1) == [42] and reverse.visited(43, 3) == [42, 21, 0]
    assert len(set(reverse.visited(100, 33))) == 33


def gaussian(steps: int, eta: float, order: int, deviation: float = 0.3, count: int = 20_000) -> float:
    """Deviation of coarse samples where pixels are N(0, deviation^2) and E[x0 | x_t] is known, over the true one."""

    def evaluate(x: Tensor, t: int, scale: int) -> Tensor:
        a, s = float(NOISE.alpha[t]), float(NOISE.sigma[t])
        return a * deviation**2 / (a**2 * deviation**2 + s**2) * x

    draw = torch.Generator().manual_seed(3)
    process = reverse.Reverse(Blur(NOISE, [None]), "sample", evaluate, lambda clean, scale: clean, order)

    def noise() -> Tensor:
        return torch.randn(count, 1, 1, 1, generator=draw)

    run = reverse.visited(100, steps)
    made = process.descend(noise(), None, run, 0, noise, lambda t, to: eta**2 * process.posterior(t, to))
    return float(made.std()) / deviation


def test_steps_shrink_contrast_less_at_second_order() -> None:
    assert abs(gaussian(100, 0.0, 2) - 1) < 0.02 and abs(gaussian(100, 1.0, 2) - 1) < 0.03
    assert 0.92 < gaussian(100, 1.0, 1) < 0.96, "the published sampler loses some contrast even with all steps"
    few, published = gaussian(20, 0.0, 2), gaussian(20, 1.0, 1)
    assert abs(few - 1) < 0.1 and published < 0.85


def test_all_fresh_noise_is_ancestral_sampling() -> None:
    """One step against mean and variance of q(x_to | x_t, x0) (Ho et al. 2020, eq. 6 and 7)."""
    t, to = 60, 41
    now, then = float(NOISE.alpha[t]) ** 2, float(NOISE.alpha[to]) ** 2
    beta, x, clean = 1 - now / then, torch.tensor(0.7), torch.tensor(-0.4)
    mean = then**0.5 * beta / (1 - now) * clean + (now / then) ** 0.5 * (1 - then) / (1 - now) * x
    seen: list[Tensor] = []

    def evaluate(state: Tensor, level: int, scale: int) -> Tensor:
        seen.append(state)
        return clean.expand_as(state)

    process = reverse.Reverse(Blur(NOISE, [None]), "sample", evaluate, lambda image, scale: image)
    noise = torch.randn(50_000, generator=torch.Generator().manual_seed(0))
    process.descend(x.expand(50_000), None, [t, to], 0, lambda: noise, process.posterior)
    assert torch.allclose(seen[1].mean(), mean, atol=0.01)
    assert float(seen[1].var()) == pytest.approx(beta * (1 - then) / (1 - now), rel=0.02)


def test_a_finer_step_in_closed_form() -> None:
    """The released update, with its bound of the blur's share and a share omega of fresh noise."""
    draw = torch.Generator().manual_seed(0)
    x, base, epsilon, noise = (0.3 * torch.randn(4, 1, 5, 5, generator=draw) for _ in range(4))
    blur, t, to, omega = Blur(NOISE, [None, 0.8]), 30, 20, 0.3
    seen: list[Tensor] = []

    def evaluate(state: Tensor, level: int, scale: int) -> Tensor:
        seen.append(state)
        return epsilon

    process = reverse.Reverse(blur, "epsilon", evaluate, lambda image, scale: image)
    process.descend(x, base, [t, to], 1, lambda: noise, lambda t, to: omega * float(NOISE.sigma[to]) ** 2)
    (a, s), (a_to, s_to) = ((float(NOISE.alpha[level]), float(NOISE.sigma[level])) for level in (t, to))
    share, share_to = 0.55, float(blur.levels[to]) / 0.8
    assert float(blur.levels[t]) / 0.8 > 0.6 and share_to < 0.55
    mix = (x - s * epsilon) / a
    then = (share_to * base + (1 - share_to) * (mix - share * base) / (1 - share)).clamp(-1, 1)
    wanted = a_to * then + s_to * sqrt(1 - omega) * (x - a * mix.clamp(-1, 1)) / s + s_to * sqrt(omega) * noise
    assert torch.allclose(seen[1], wanted, atol=1e-5)


def test_the_start_has_the_noise_of_its_first_level_or_of_the_one_above() -> None:
    first = {}
    for start_noise in ("level", "above"):
        spy = Spy()
        sampler_of("sample", spy, start=[40], start_noise=start_noise, steps=3).generate(streams(0, range(1)))
        # zeros at the coarsest scale leave noise alone
        first[start_noise], time, _ = next(asked for asked in spy.asked if int(asked[2][0]) == 1)
        assert int(time[0]) == 39
    assert torch.allclose(first["above"] / float(NOISE.sigma[40]), first["level"] / float(NOISE.sigma[39]), atol=1e-5)
    assert float(first["level"].std()) == pytest.approx(float(NOISE.sigma[39]), rel=0.05)


def test_sizes_are_truncated_at_every_scale_and_go_on_beyond_the_finest() -> None:
    sampler = sampler_of("sample", size=[50, 130])
    assert list(sampler.sizes) == [(35, 91), (50, 130)]
    assert sampler_of("sample").sizes[-1] == (64, 64) == LINES.sizes[-1]
    grown = sampler_of("sample", extra_scales=1)
    assert list(grown.sizes) == [(45, 45), (64, 64), (91, 91)] and grown.starts[1] == grown.starts[2]
    magnified = sampler_of("sample", extra_scales=1, size=[64, 64])
    assert magnified.sizes[-1] == (64, 64) and magnified.sizes[-2] == (45, 45)


def test_starts_may_be_given_and_zero_leaves_the_upsampled_image() -> None:
    sampler = sampler_of("sample", start=[0], steps=5)
    recon = LINES.recons[1]
    assert recon is not None and torch.allclose(sampler.generate(streams(0, range(1))), recon, atol=1e-4)
    with pytest.raises(DataError, match="start: scale 1 was trained on 60 noise levels and cannot start at 61"):
        sampler_of("sample", start=[61])
    with pytest.raises(DataError, match="start names 2 levels but there are 1 scales"):
        sampler_of("sample", start=[4, 4])
    with pytest.raises(DataError, match="steps names 3 numbers but there are 2 scales"):
        sampler_of("sample", steps=[1, 1, 1])


def box(top: int, left: int, height: int, width: int) -> dict[str, int]:
    return {"top": top, "left": left, "height": height, "width": width}


def test_regions_bring_their_content_to_another_place() -> None:
    source, target = box(8, 6, 20, 20), box(40, 33, 20, 20)
    given = {"start": [0], "steps": 4, "regions": [{"source": source, "target": target}]}
    plain = sampler_of("sample", start=[0], steps=4).generate(streams(0, range(1)))
    for strength in (0.8, 1.0):
        made = sampler_of("sample", region_strength=strength, **given).generate(streams(0, range(1)))
        inside, wanted = made[0, 0, 43:57, 36:50], plain[0, 0, 11:25, 9:23]
        match = float(torch.corrcoef(torch.stack([inside.flatten(), wanted.flatten()]))[0, 1])
        before = float(torch.corrcoef(torch.stack([plain[0, 0, 43:57, 36:50].flatten(), wanted.flatten()]))[0, 1])
        assert match > 0.9 and before < 0.5
        assert torch.equal(made[..., :30], plain[..., :30])
    with pytest.raises(DataError, match=r"regions\[0\].target: rows 50..70 and columns 33..53 leave the output of 64 x 64"):
        sampler_of("sample", regions=[{"source": source, "target": box(50, 33, 20, 20)}])
    with pytest.raises(DataError, match=r"regions\[0\].source"):
        sampler_of("sample", regions=[{"source": box(60, 0, 5, 5), "target": target}])


def test_regions_spare_the_finest_scale() -> None:
    regions = guidance.Regions.build(
        SampleParams.model_validate({"regions": [{"source": box(0, 0, 9, 9), "target": box(9, 9, 9, 9)}]}).regions, 0.8, LINES, LINES.sizes
    )
    clean = torch.zeros(1, 1, 45, 45)
    guided = regions(clean, 0)
    assert torch.allclose(guided[..., 6:13, 6:13].abs().mean(), 0.8 * LINES.images[0][..., :6, :6].abs().mean(), rtol=0.2)
    assert not guided[..., 13:, :].any() and not clean.any()
    finest = torch.zeros(1, 1, 64, 64)
    assert regions(finest, 1) is finest
    alone = Pyramid([torch.zeros(1, 1, 45, 45)], [None])
    with pytest.raises(DataError, match="one scale only"):
        guidance.Regions.build(
            SampleParams.model_validate({"regions": [{"source": box(0, 0, 9, 9), "target": box(9, 9, 9, 9)}]}).regions,
            0.8,
            alone,
            [(45, 45)],
        )


def test_a_softened_mask_is_full_inside_and_nothing_far_away() -> None:
    mask = torch.zeros(1, 1, 40, 40)
    mask[..., 15:20, 18:30] = 1
    soft = composites.softened(mask, 3)
    assert (soft[mask > 0] > 1 - 1e-6).all() and 0 < float(soft[0, 0, 12, 22]) < 1
    assert not soft[..., :9, :].any() and not soft[..., 26:, :].any()
    assert composites.softened(mask, 0) is mask


# whole runs


class PictureParams(Params):
    count: int = 1
    channels: int = 1
    constant: bool = False
    height: int = 72
    width: int = 72
    masks: Literal["none", "spot", "empty"] = "none"
    equal: bool = False


class Picture(Method):
    """Vertical lines of 9 pixels' pitch; channels differ where there are several and they are not `equal`."""

    name = "picture"

    @task(version=1)
    def make(self, ctx: Context, params: PictureParams) -> ImageSet:
        x = np.arange(params.width)
        plane = 100 + (0 if params.constant else 40) * np.cos(2 * np.pi * (x + 0.5) / 9)
        rng = np.random.default_rng(0)
        spread = 0 if params.constant else 2
        noise = rng.normal(0, spread, (params.count, 1 if params.equal else params.channels, params.height, params.width))
        gain = np.ones(params.channels) if params.equal else np.linspace(1, 0.5, params.channels)
        masks = np.zeros((params.count, params.height, params.width), np.uint8)
        images = (plane * gain[:, None, None] + noise).round().astype(np.uint8)
        if params.masks == "spot":
            masks[:, 20:29, 30:39] = 1
            images[:, :, 20:29, 30:39] = 60
        return ImageSet.write(ctx, images, masks=None if params.masks == "none" else masks)


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
    given = {**TINY, "steps": 80, "lr": 6e-3}
    sample = {"count": 6, "steps": 8, "precision": "fp32"}
    anchored: Model = run_task(SinDdm, "train", given, images=picture)
    assert len(anchored.config["lattice"]) == 1
    untrained = run_task(SinDdm, "train", {**given, "steps": 0}, images=picture)
    match, nothing = (profile_match(run_task(SinDdm, "sample", sample, model=model), picture) for model in (anchored, untrained))
    assert match > 0.9 and abs(nothing) < 0.6
    wide = run_task(SinDdm, "sample", {**sample, "size": [50, 130]}, model=anchored)
    grown = run_task(SinDdm, "sample", {**sample, "extra_scales": 1, "start": [20, 5]}, model=anchored)
    ratio = 72 / anchored.config["sizes"][0][0]
    for made, pitch, size in ((wide, 9.0, (50, 130)), (grown, 9 * ratio, (int(72 * ratio), int(72 * ratio)))):
        pixels = np.asarray(made.images)
        assert pixels.shape == (6, 1, *size)
        waves = np.exp(-2j * np.pi * np.arange(size[1]) / pitch)
        strength = np.abs((pixels[:, 0].mean(1) - pixels[:, 0].mean((1, 2))[:, None]) @ waves) / size[1]
        assert strength.min() > 10, "the pitch follows the size of a pixel (amplitude 40 gives 20)"


def test_equal_seeds_equal_digests_and_batches_do_not_matter(run_task: Any, picture: ImageSet, tmp_path: Path) -> None:
    model = run_task(SinDdm, "train", {**TINY, "steps": 10}, images=picture)
    given = {"count": 5, "steps": 3, "precision": "fp32", "omega": 0.2}
    made = run_task(SinDdm, "sample", {**given, "batch": 5}, model=model)
    in_twos = run_task(SinDdm, "sample", {**given, "batch": 2}, model=model)
    five, two = (np.asarray(one.images).astype(int) for one in (made, in_twos))
    assert np.abs(five - two).max() <= 1 and np.abs(five[0] - five[1]).max() > 5
    other = np.asarray(run_task(SinDdm, "sample", {**given, "batch": 5}, seed=1, model=model).images).astype(int)
    assert np.abs(five - other).max() > 5
    store = LocalStore(tmp_path / "other")
    again = run_task(SinDdm, "train", {**TINY, "steps": 10}, images=run_task(Picture, "make", store=store), store=store)
    assert again.digest == model.digest
    assert run_task(SinDdm, "sample", {**given, "batch": 5}, model=again, store=store).digest == made.digest
    assert run_task(SinDdm, "sample", {**given, "batch": 2}, model=again, store=store, workers=2).digest == in_twos.digest


def test_a_stopped_training_goes_on_to_the_same_weights(run_task: Any, picture: ImageSet, tmp_path: Path) -> None:
    given = {**TINY, "steps": 9, "ema_start": 3, "ema_every": 2, "decay": "halvings"}
    whole = run_task(SinDdm, "train", given, images=picture)
    store = LocalStore(tmp_path / "other")
    again = run_task(Picture, "make", store=store)
    calls = itertools.count()
    with pytest.raises(Interrupted):
        run_task(SinDdm, "train", given, images=again, store=store, stop=lambda: next(calls) >= 4)
    assert run_task(SinDdm, "train", given, images=again, store=store).digest == whole.digest


def test_colour_stays_and_equal_channels_collapse(run_task: Any) -> None:
    for given, channels in (({"channels": 3}, 3), ({"channels": 3, "equal": True}, 1)):
        model = run_task(SinDdm, "train", {**TINY, "steps": 2}, images=run_task(Picture, "make", given))
        assert (model.config["channels"], model.config["set_channels"]) == (channels, 3)
        pixels = np.asarray(run_task(SinDdm, "sample", {"count": 1, "steps": 2}, model=model).images)
        assert pixels.shape == (1, 3, 72, 72) and bool((pixels == pixels[:, :1]).all()) is (channels == 1)


@pytest.mark.parametrize(("channels", "count"), [(1, 1_104_892), (3, 1_106_772)])
def test_the_published_network_is_what_a_published_run_would_train(run_task: Any, channels: int, count: int) -> None:
    model = run_task(SinDdm, "train", {"preset": "parity", "steps": 0}, images=run_task(Picture, "make", {"channels": channels}))
    assert sum(v.numel() for v in model.state("net.").values()) == count
    assert model.config["prediction"] == "epsilon" and model.config["values"] == [0.0, 255.0]
    made = run_task(SinDdm, "sample", {"preset": "parity", "count": 1, "steps": 1}, model=model)
    assert made.images.shape == (1, channels, 72, 72)


def test_one_scale_is_plain_diffusion(run_task: Any) -> None:
    model = run_task(SinDdm, "train", {**TINY, "steps": 1}, images=run_task(Picture, "make", {"height": 48, "width": 48}))
    assert model.config["sizes"] == [[48, 48]]
    made = run_task(SinDdm, "sample", {"count": 1, "steps": 2, "extra_scales": 1, "start": [0]}, model=model)
    assert made.images.shape == (1, 1, 67, 67), "48 times 1.411"


@pytest.mark.parametrize(
    ("given", "params", "message"),
    [
        ({"count": 2}, {}, "Choose one"),
        ({"count": 2}, {"image": 2}, "row 2 is not in set"),
        ({"constant": True}, {}, "constant"),
        ({"height": 41}, {}, "41 x 72 is too small"),
    ],
)
def test_training_refuses_what_it_cannot_use(run_task: Any, given: dict[str, Any], params: dict[str, Any], message: str) -> None:
    images = run_task(Picture, "make", given)
    with pytest.raises(DataError, match=message):
        run_task(SinDdm, "train", {**TINY, "steps": 1, **params}, images=images)


# composites


def test_a_perfect_network_repairs_a_composite_and_spares_the_rest() -> None:
    sampler = sampler_of("sample", composite_start=15)
    given = LINES.images[1].clone()
    given[..., 20:29, 30:39] = -0.9
    assert torch.allclose(sampler.repair(given, streams(0, range(1))), LINES.images[1], atol=1e-4)


def test_repaired_composites_change_near_the_mask_only(run_task: Any, picture: ImageSet) -> None:
    model = run_task(SinDdm, "train", {**TINY, "steps": 20, "lr": 4e-3}, images=picture)
    pasted = run_task(Picture, "make", {"count": 2, "masks": "spot"})
    given = {"count": 3, "precision": "fp32", "steps": 6, "composite_margin": 2}
    made = run_task(SinDdm, "sample", given, model=model, composite=pasted)
    pixels, before = np.asarray(made.images).astype(int), np.asarray(pasted.images).astype(int)[[0, 1, 0]]
    changed = np.abs(pixels - before).max((0, 1)) > 0
    assert changed[20:29, 30:39].any()
    changed[16:33, 26:43] = False
    assert not changed.any()
    assert made.attrs["composite_start"] == 15


def test_composites_that_do_not_fit_are_refused(run_task: Any, picture: ImageSet) -> None:
    model = run_task(SinDdm, "train", {**TINY, "steps": 1}, images=picture)
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "has no masks"),
        ({"masks": "empty"}, "masks of composite set .* are empty"),
        ({"masks": "spot", "width": 73}, "the composites are 72 x 73, the model's images 72 x 72"),
        ({"masks": "spot", "channels": 3}, "composites have 3 channels, the training image 1"),
    ]
    for given, message in cases:
        with pytest.raises(DataError, match=message):
            run_task(SinDdm, "sample", {"count": 1}, model=model, composite=run_task(Picture, "make", given))
    equal = run_task(Picture, "make", {"masks": "spot", "channels": 3, "equal": True})
    assert run_task(SinDdm, "sample", {"count": 1, "steps": 1}, model=model, composite=equal).images.shape == (1, 1, 72, 72)


def test_settings_that_a_composite_would_ignore_are_refused_while_planning(store: LocalStore) -> None:
    steps = {
        "images": {"task": "line-pair.simulate", "params": {"count": 1}},
        "model": {"task": "sinddm.train", "inputs": {"images": "images"}},
        "made": {"task": "sinddm.sample", "inputs": {"model": "model", "composite": "images"}, "params": {"size": [96, 96]}},
    }
    with pytest.raises(PipelineError, match=r"steps.made.params.size: a composite is repaired at the finest scale"):
        make_plan(Pipeline.model_validate({"name": "t", "steps": steps}), Registry.load(), store)
