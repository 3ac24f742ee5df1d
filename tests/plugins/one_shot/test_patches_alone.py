"""`gpnn` and `gpdm`: the search and the distance against plain ones, and what comes out against noise and copies of the same run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, unfold

from fabloom.errors import DataError
from fabloom.kinds import Model
from fabloom.plugins.blocks.patch_scales import Reference, truncated_sizes
from fabloom.plugins.blocks.patch_search import Keys, overlapped, patches, weights
from fabloom.plugins.blocks.patches import nearest, sliced_wasserstein
from fabloom.plugins.blocks.pyramid import grown_sizes, resize
from fabloom.plugins.blocks.streams import streams
from fabloom.plugins.one_shot.gpdm.distance import directions, distance_and_gradient, ranked
from fabloom.plugins.one_shot.gpdm.generation import Course
from fabloom.plugins.one_shot.gpdm.method import Gpdm
from fabloom.plugins.one_shot.gpdm.params import SampleParams as Matching
from fabloom.plugins.one_shot.gpnn.generation import Scale, widened
from fabloom.plugins.one_shot.gpnn.method import Gpnn
from fabloom.plugins.one_shot.gpnn.params import SampleParams as Searching

from .bridged import lines

SIDE = 48


def of(images: Any) -> Tensor:
    """Grey levels as float."""
    return torch.from_numpy(np.asarray(images)).float()


def test_sizes_are_those_of_the_papers_code() -> None:
    assert [h for h, _ in truncated_sizes((96, 96), 0.75, 14)] == [12, 16, 22, 30, 40, 54, 72, 96]
    assert [h for h, _ in truncated_sizes((48, 48), 0.75, 14)] == [11, 15, 20, 27, 36, 48]
    assert [h for h, _ in truncated_sizes((96, 96), 0.85, 21)] == [19, 23, 28, 34, 40, 48, 57, 68, 81, 96]
    assert truncated_sizes((48, 96), 0.75, 14)[0] == (11, 22)
    assert grown_sizes([(11, 22), (48, 96)], (96, 48)) == [(22, 11), (96, 48)]


@pytest.mark.parametrize("alpha", [None, 0.005, 1e9])
def test_the_search_finds_what_the_whole_matrix_says(alpha: float | None) -> None:
    draw = torch.Generator().manual_seed(1)
    keys, queries = (patches(torch.rand(1, 1, 16, 16, generator=draw), 7) for _ in range(2))
    distances = torch.cdist(queries.double(), keys.double()).square() / 49
    scores = distances if alpha is None else distances / (alpha + distances.min(0).values)
    found = Keys.of(keys).nearest(queries, alpha)
    assert torch.equal(found, scores.argmin(1))
    if alpha == 1e9:
        assert torch.equal(found, Keys.of(keys).nearest(queries, None))
    else:
        other = Keys.of(keys).nearest(queries, 0.005 if alpha is None else None)
        assert not torch.equal(found, other), "and completeness changes it"


def test_of_equal_patches_the_first_is_found() -> None:
    rows = torch.rand(40, 49, generator=torch.Generator().manual_seed(2))
    twice = torch.cat([rows, rows.flip(0), rows])
    assert torch.equal(Keys.of(twice).nearest(rows, None), torch.arange(40))


@pytest.mark.parametrize("reduce", ["mean", "gauss"])
def test_an_image_is_its_own_patches_overlapped(reduce: Any) -> None:
    image = torch.rand(1, 3, 12, 17, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(overlapped(patches(image, 5), (12, 17), 5, weights(5, reduce)), image)


def test_the_distance_of_moved_grey_levels_is_known() -> None:
    image, views = (
        torch.rand(1, 1, 20, 20, generator=torch.Generator().manual_seed(4)),
        directions(torch.Generator().manual_seed(5), 64, 1, 7),
    )
    assert float(distance_and_gradient(image, image, views)[0]) == 0
    apart = distance_and_gradient(image + 0.3, image, views)[0]
    assert float(apart) == pytest.approx(0.3 * float(views.sum((1, 2, 3)).abs().mean()), rel=1e-5)
    assert ranked(image, views, 100).shape == (64, 100), "of images of other sizes quantiles are compared"


def test_the_gradient_is_that_of_the_distance() -> None:
    draw = torch.Generator().manual_seed(6)
    images, reference = torch.rand(2, 1, 10, 10, generator=draw), torch.rand(1, 1, 10, 10, generator=draw)
    views = directions(draw, 16, 1, 7)
    followed = images.clone().requires_grad_(True)
    plain = (conv2d(followed, views).flatten(2).sort(2).values - ranked(reference, views, 16)).abs().mean((1, 2))
    plain.sum().backward()
    distance, gradient = distance_and_gradient(images, reference, views)
    assert followed.grad is not None
    torch.testing.assert_close(distance, plain.detach(), rtol=1e-4, atol=1e-7)
    assert float((gradient - followed.grad).norm() / followed.grad.norm()) < 1e-3


def samples(run_task: Any, method: Any, model: Model, seed: int = 0, **params: Any) -> Tensor:
    """Images [N,1,48,48] of a model."""
    return of(run_task(method, "sample", params, model=model, seed=seed).images)


class Matched(torch.autograd.Function):
    """The distance with its gradient in closed form, for autograd's own check."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, reference: Tensor, views: Tensor, pooled: bool) -> Tensor:
        distance, gradient = distance_and_gradient(images, reference, views, pooled=pooled)
        ctx.save_for_backward(gradient)
        return distance

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> Any:
        return ctx.saved_tensors[0] * given[0].reshape(-1, 1, 1, 1), None, None, None


@pytest.mark.parametrize("pooled", [False, True])
def test_the_gradient_is_that_of_small_differences(pooled: bool) -> None:
    """Of 16 patches, whose places need so few bits that the largest projection once was ranked the smallest."""
    draw = torch.Generator().manual_seed(10)
    images, reference, views = (torch.rand(n, 1, side, side, generator=draw).double() for n, side in ((2, 10), (1, 10), (8, 7)))
    followed = images.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: Matched.apply(x, reference, views - 0.5, pooled), followed)


def shown(model: Model) -> tuple[Tensor, Reference]:
    """The training image [1,1,h,w] in grey levels, and at all scales."""
    return of(model.state("image")[""])[None], Reference.load(model, model.config["role"], torch.device("cpu"))


def noise_like(image: Tensor, count: int) -> Tensor:
    """Normal noise [count,...] with the mean and the deviation of an image."""
    return image.mean() + image.std() * torch.randn(count, *image.shape[1:], generator=torch.Generator().manual_seed(7))


def test_gpnn_makes_other_images_of_the_same_patches(run_task: Any, held: Any) -> None:
    """Four seeds; completeness as the mean of them, since one seed decides much of it."""
    model = run_task(Gpnn, "train", images=held(lines(0)))
    image, reference = shown(model)
    made, nearer = (
        torch.cat([samples(run_task, Gpnn, model, count=1, alpha=alpha, seed=seed) for seed in range(4)]) for alpha in (0.005, None)
    )
    (coherence, complete), (_, incomplete), (foreign, missing) = (nearest(images, image) for images in (made, nearer, noise_like(image, 4)))
    assert float(coherence.max()) < 0.03 * float(foreign.mean()), "every patch is one of the image"
    assert float(complete.mean()) < 0.6 * float(incomplete.mean()) < float(missing.mean()), "and alpha leaves fewer out"
    assert (complete < incomplete).all()
    assert float(made.std(0).mean() / image.std()) > 0.2, "and they differ"
    copies = samples(run_task, Gpnn, model, count=2, noise=0.0, start="image")
    assert float(copies.std(0).mean()) == 0, "without noise they do not"
    scale = Scale.of(reference, 2, Searching())
    assert torch.equal(scale.values, patches(reference.images[2], 7)), "what is put in place are patches of the image"


def test_gpdm_matches_the_distribution_of_patches(run_task: Any, held: Any) -> None:
    """Five seeds, of which one ended in lines of another pitch when this was measured: the median counts, and none is like noise."""
    model = run_task(Gpdm, "train", images=held(lines(0)))
    image, reference = shown(model)
    made = torch.cat([samples(run_task, Gpdm, model, count=1, lr=0.05, steps=60, seed=seed) for seed in range(5)])
    rough = samples(run_task, Gpdm, model, count=2, lr=0.05, steps=2)
    found, started, foreign, mirrored = (
        sliced_wasserstein(images, image) for images in (made, rough, noise_like(image, 4), image.flip(-1))
    )
    assert float(found.median()) < min(0.05 * float(foreign.mean()), float(mirrored))
    assert float(found.max()) < 0.2 * float(foreign.mean())
    assert float(started.mean()) > 3 * float(found.median()), "steps are what matches them"
    assert float(made.std(0).mean() / image.std()) > 0.2, "and they differ"

    course, views = Course(reference.images, Matching(steps=60, lr=0.05), 0, lambda: False), directions(torch.Generator(), 256, 1, 7)
    canvas, gained = reference.canvas(streams(0, range(2)), reference.sizes, Matching()), []
    for scale, size in enumerate(reference.sizes):
        canvas = resize(canvas, size)
        before = distance_and_gradient(canvas, reference.images[scale], views)[0]
        canvas = course.matched(scale, canvas)
        gained.append(before / distance_and_gradient(canvas, reference.images[scale], views)[0])
    assert torch.stack(gained).min() > 1.2, "at every scale"


def test_the_released_codes_start_is_nearly_without_noise(run_task: Any, held: Any) -> None:
    """Drawn at the full size and shrunk, noise loses most of its deviation; without it the samples of gpnn are nearly one."""
    model = run_task(Gpnn, "train", {"stretch": False}, images=held(lines(0)))
    _, reference = shown(model)
    parity = Searching(preset="parity")
    assert (parity.start, parity.noise_at, parity.noise, parity.contrast) == ("zeros", "finest", 0.75, "full")
    assert Searching(preset="published") == parity.model_copy(update={"preset": "published", "contrast": "kept"})
    canvas = reference.canvas(streams(0, range(40)), reference.sizes, parity)
    assert canvas.shape[2:] == reference.sizes[0] and abs(float(canvas.mean())) < 0.01, "around the middle, not around the image's mean"
    assert 0.1 < float(canvas.std()) / 0.75 < 0.25
    at_coarsest = reference.canvas(streams(0, range(40)), reference.sizes, Searching())
    assert float(at_coarsest.std() / reference.images[0].std()) == pytest.approx(1, rel=0.05)
    made = samples(run_task, Gpnn, model, count=2, preset="parity", iterations=2)
    assert (made.amin((1, 2, 3)) == 0).all() and (made.amax((1, 2, 3)) == 255).all(), "and each has the full contrast"
    assert samples(run_task, Gpnn, model, count=1, preset="parity", contrast="kept", iterations=2).max() < 230
    torch.testing.assert_close(widened(torch.tensor([1.0, 2.0, 4.0]).reshape(1, 1, 1, 3)).flatten(), torch.tensor([-1, -1 / 3, 1.0]))


def test_pooled_patches_match_only_together(run_task: Any, held: Any) -> None:
    """One image too bright and one too dark by as much: pooled, grey levels of one make up for those of the other."""
    model = run_task(Gpdm, "train", images=held(lines(0)))
    _, reference = shown(model)
    image, views = reference.images[-1], directions(torch.Generator().manual_seed(11), 64, 1, 7)
    (pooled,), alone = (distance_and_gradient(torch.cat([image - 0.3, image + 0.3]), image, views, pooled=how)[0] for how in (True, False))
    assert float(pooled) < 0.5 * float(alone.min())
    twice = image.expand(2, -1, -1, -1)
    assert float(distance_and_gradient(twice, image, views, pooled=True)[0]) < 0.01 * float(alone.min())
    quick = {"count": 2, "steps": 3, "projections": 8}
    coupled, single = (samples(run_task, Gpdm, model, **quick, pooled=True, batch=batch) for batch in (2, 1))
    assert not torch.equal(coupled, single), "samples depend on each other"
    parity = Matching(preset="parity")
    assert (parity.steps, parity.lr, parity.settle, parity.noise, parity.pooled) == (300, 0.01, 0.0, 1.5, True)
    assert not Matching(preset="published").pooled


@pytest.mark.parametrize("method", [Gpnn, Gpdm])
def test_sizes_colour_and_batches(run_task: Any, held: Any, method: Any) -> None:
    draw = np.random.default_rng(9)
    colour = np.repeat(lines(1), 3, 0)
    colour[2] = np.clip(colour[2] + draw.integers(0, 9, colour[2].shape), 0, 255)
    model = run_task(method, "train", images=held(colour))
    quick = {"iterations": 1} if method is Gpnn else {"steps": 2, "projections": 8}
    wide = run_task(method, "sample", {"count": 2, "size": (40, 60), **quick}, model=model)
    assert np.asarray(wide.images).shape == (2, 3, 40, 60)
    whole, single = (np.asarray(run_task(method, "sample", {"count": 3, "batch": batch, **quick}, model=model).images) for batch in (3, 1))
    # sums of a larger product may be ordered otherwise, and decide between two that are nearly equal
    assert (whole != single).mean() < 0.02
    with pytest.raises(DataError, match=r"coarsest scale is .* where patches of 15 do not fit"):
        run_task(method, "sample", {"count": 1, "patch": 15, "size": (30, 30)}, model=model)


def test_patches_are_counted_row_by_row() -> None:
    image = torch.arange(36.0).reshape(1, 1, 6, 6)
    assert torch.equal(patches(image, 3), unfold(image, 3)[0].T)
