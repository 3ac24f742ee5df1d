"""autoencoder: statistics of its latents, defects that survive it or not, and the models that live in its latents."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model, Report
from fabloom.method import Context, Method, task
from fabloom.params import Params
from fabloom.plugins.blocks.codec import Codec
from fabloom.plugins.blocks.pool import Pool
from fabloom.plugins.data.line_pair.method import LinePair
from fabloom.plugins.diffusion.autoencoder import training
from fabloom.plugins.diffusion.autoencoder.method import Autoencoder
from fabloom.plugins.diffusion.autoencoder.params import TrainParams
from fabloom.plugins.diffusion.ddpm.method import Ddpm
from fabloom.plugins.one_step.consistency.method import Consistency
from fabloom.plugins.one_step.denoising_circuits.method import DenoisingCircuits
from fabloom.plugins.one_step.mean_flow.method import MeanFlow
from fabloom.storage.backends.local import LocalStore

CPU = torch.device("cpu")
TINY: dict[str, Any] = {"channels": [8, 8, 8], "norm_groups": 4, "steps": 4, "batch": 4, "warmup": 1, "crop": None}
LEARNING: dict[str, Any] = {"channels": [16, 32], "steps": 200, "crop": None, "lr": 4e-3, "warmup": 20, "ema_decay": 0.98}
BRIEF: dict[str, Any] = {"network": {"channels": [8, 16], "norm_groups": 4}, "steps": 3, "batch": 4, "warmup": 1}


@pytest.fixture(scope="module")
def store(kept: LocalStore) -> LocalStore:
    return kept


class Blobs(Params):
    """How many images, and whether they have defects."""

    count: int = 48
    defects: bool = True


class Drawn(Method):
    """Stripes of 16 px, and on each defect image a square of 8 without them: four latent pixels of a factor of 2."""

    name = "drawn"

    @task(version=1)
    def make(self, ctx: Context, params: Blobs) -> ImageSet:
        draw = np.random.default_rng(ctx.seed)
        x = np.arange(16)
        pixels = 110 + 30 * np.sign(np.sin(2 * np.pi * (x + 0.5) / 8)) + draw.normal(0, 4, (params.count, 1, 16, 16))
        masks = np.zeros((params.count, 16, 16), np.uint8)
        for row in range(params.count if params.defects else 0):
            top, left = draw.integers(1, 7, 2)
            masks[row, top : top + 8, left : left + 8] = 1
            pixels[row, 0, top : top + 8, left : left + 8] = 110 + draw.normal(0, 4, (8, 8))
        return ImageSet.write(ctx, pixels.round().clip(0, 255).astype(np.uint8), masks=masks)


@pytest.fixture
def tiny(run_task: Any) -> tuple[ImageSet, Model]:
    images = run_task(LinePair, "simulate", {"count": 8, "size": 32})
    return images, run_task(Autoencoder, "train", TINY, images=images)


def test_defects_survive_and_those_of_clean_images_alone_do_not(run_task: Any) -> None:
    """The control of the specification: what has seen no defect takes them away."""
    held_out = run_task(Drawn, "make", seed=1)
    ratios, reports = {}, {}
    for seen in (True, False):
        model = run_task(Autoencoder, "train", LEARNING, images=run_task(Drawn, "make", {"defects": seen}))
        reports[seen] = report = run_task(Autoencoder, "evaluate", model=model, images=held_out)
        assert isinstance(report, Report)
        ratios[seen] = report.metrics["defect_ratio"]
    assert ratios[True] < 1.5 < ratios[False], ratios
    assert "Defects survive" in reports[True].verdict and "do not survive" in reports[False].verdict
    told = reports[True].metrics
    assert told["latent_mean"] < 0.25 and told["latent_deviation"]["least"] > 0.8 and told["latent_deviation"]["most"] < 1.25
    assert told["psnr"] > 20 and told["l1_defect"] > 0


def test_latents_of_the_training_images_are_standard(tiny: tuple[ImageSet, Model]) -> None:
    images, model = tiny
    latents = Codec.of(model, CPU).encode(np.asarray(images.images[...])).double()
    assert latents.shape == (8, 4, 8, 8)
    assert latents.mean((0, 2, 3)).abs().max() < 1e-4 and (latents.std((0, 2, 3)) - 1).abs().max() < 1e-4


def test_the_loss_by_hand() -> None:
    """The divergence of a normal from the standard one, and the differences of neighbours."""
    torch.manual_seed(0)
    vae = training.build(TrainParams(**TINY), (1, 16, 16)).eval()
    x, noise = torch.rand(2, 1, 16, 16), torch.randn(2, 4, 4, 4)
    found, divergence = training.through(vae, x, noise)
    posterior = vae.encode(x).latent_dist
    ours = torch.distributions.Normal(posterior.mean, posterior.std)
    standard = torch.distributions.Normal(torch.zeros(()), torch.ones(()))
    torch.testing.assert_close(divergence, torch.distributions.kl_divergence(ours, standard).mean())
    torch.testing.assert_close(found, vae.decode(posterior.mean + posterior.std * noise).sample)
    step = torch.zeros(1, 1, 4, 4)
    step[..., 2:] = 1.0
    assert float(training.edges(step, torch.zeros_like(step))) == pytest.approx(1 / 3), "one of three differences across, none down"


def test_windows_are_cut_where_images_are_larger() -> None:
    pixels = torch.arange(3 * 20 * 24).reshape(3, 1, 20, 24).float()
    cut = training.windows(pixels, 50, 8, torch.Generator().manual_seed(0))
    assert cut.shape == (50, 1, 8, 8) and (cut.diff(dim=-1) == 1).all() and (cut.diff(dim=-2) == 24).all()
    assert len(cut[:, 0, 0, 0].unique()) > 30
    assert training.windows(pixels, 2, None, torch.Generator()).shape == (2, 1, 20, 24)


def test_a_pool_of_latents_draws_those_of_the_mirrored_image(tiny: tuple[ImageSet, Model]) -> None:
    images, model = tiny
    codec = Codec.of(model, CPU)
    pool = Pool.of(images, True, True, codec)
    pixels = torch.from_numpy(np.asarray(images.images[...]))
    views = {(x, y): codec.encode(pixels.flip([a for a, on in ((-1, x), (-2, y)) if on])) for x in (False, True) for y in (False, True)}
    drawn, rows = pool.batch(64, torch.Generator().manual_seed(0))
    found = {next(k for k, v in views.items() if torch.allclose(v[row], one, atol=1e-5)) for one, row in zip(drawn, rows, strict=True)}
    assert found == set(views)
    down, rows = Pool.of(images, False, True, codec).batch(64, torch.Generator().manual_seed(0))
    kinds = [[torch.allclose(views[False, y][row], one, atol=1e-5) for y in (False, True)] for one, row in zip(down, rows, strict=True)]
    assert all(any(kind) for kind in kinds) and 10 < sum(kind[1] for kind in kinds) < 54, "top-bottom alone"
    still, rows = Pool.of(images, False, False, codec).batch(16, torch.Generator().manual_seed(0))
    assert torch.allclose(still, views[False, False][rows], atol=1e-5)


@pytest.mark.parametrize("method", [Ddpm, Consistency, MeanFlow])
def test_models_live_in_latents_and_carry_the_codec(run_task: Any, tiny: tuple[ImageSet, Model], method: Any) -> None:
    images, codec = tiny
    model = run_task(method, "train", BRIEF, images=images, autoencoder=codec)
    assert model.config["latent"] == [4, 8, 8] and model.config["codec"]["origin"] == codec.key
    drawn = run_task(method, "sample", {"count": 3, "batch": 2}, model=model)
    assert drawn.images.shape == (3, 1, 32, 32)
    for name, graph in method.networks(model).items():
        shown = graph.module(*graph.inputs.values())
        assert shown.shape[-2:] == ((8, 8) if name == "unet" else (32, 32))
    plain = run_task(method, "train", BRIEF, images=images)
    assert "codec" not in plain.config and "latent" not in plain.config


def test_a_student_lives_where_its_teacher_does(run_task: Any, tiny: tuple[ImageSet, Model]) -> None:
    images, codec = tiny
    teacher = run_task(Ddpm, "train", BRIEF, images=images, autoencoder=codec)
    student = run_task(Consistency, "train", BRIEF | {"network": None}, images=images, teacher=teacher)
    assert student.config["latent"] == [4, 8, 8] and run_task(Consistency, "sample", {"count": 2}, model=student).images.shape == (
        2,
        1,
        32,
        32,
    )
    with pytest.raises(DataError, match="leave out the input 'autoencoder'"):
        run_task(Consistency, "train", BRIEF, images=images, teacher=teacher, autoencoder=codec)
    with pytest.raises(DataError, match="knows latents, which a circuit does not"):
        run_task(DenoisingCircuits, "train", {"base": {"steps": 0}}, images=images, base=teacher)


def test_graphs_and_the_folder_of_diffusers_say_the_same(tiny: tuple[ImageSet, Model], tmp_path: Any) -> None:
    images, model = tiny
    codec, graphs = Codec.of(model, CPU), Autoencoder.networks(model)
    pixels = np.asarray(images.images[:2])
    latents = codec.encode(pixels)
    torch.testing.assert_close(graphs["encoder"].module(codec.grey.forward(pixels)), latents, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(graphs["decoder"].module(latents), codec.decode(latents), atol=1e-4, rtol=1e-4)
    Autoencoder.pretrained(model)["."].save_pretrained(tmp_path)
    again = AutoencoderKL.from_pretrained(tmp_path)
    assert again.config["latents_mean"] == pytest.approx(codec.mean.tolist())
    torch.testing.assert_close(
        again.encode(codec.grey.forward(pixels)).latent_dist.mean, latents * codec.deviation[:, None, None] + codec.mean[:, None, None]
    )


def test_what_does_not_fit_is_refused(run_task: Any, tiny: tuple[ImageSet, Model]) -> None:
    images, codec = tiny
    odd = run_task(LinePair, "simulate", {"count": 4, "size": 34})
    with pytest.raises(DataError, match="34 x 34 do not divide by 4"):
        run_task(Autoencoder, "train", TINY, images=odd)
    with pytest.raises(DataError, match="34 x 34 do not divide by 4, which the autoencoder"):
        run_task(Ddpm, "train", BRIEF, images=odd, autoencoder=codec)
    with pytest.raises(DataError, match="norm_groups=5 must divide"):
        run_task(Autoencoder, "train", TINY | {"norm_groups": 5}, images=images)
    with pytest.raises(DataError, match="crop=10 does not divide by 4"):
        run_task(Autoencoder, "train", TINY | {"crop": 10}, images=images)
    plain = run_task(Ddpm, "train", BRIEF, images=images)
    with pytest.raises(DataError, match=r"no model of autoencoder\.train"):
        run_task(MeanFlow, "train", BRIEF, images=images, autoencoder=plain)
