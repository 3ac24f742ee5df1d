"""consistency: coefficients, times and weights by hand, both trainings against the exact end of Gaussian data, and the task on images."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model
from fabloom.plugins.blocks.noise import noise_schedule
from fabloom.plugins.data.line_pair.method import LinePair
from fabloom.plugins.diffusion.ddpm.method import Ddpm
from fabloom.plugins.one_step.consistency import training
from fabloom.plugins.one_step.consistency.function import (
    Function,
    coefficients,
    distance,
    generate,
    level_shares,
    points_at,
    teacher_times,
    training_times,
)
from fabloom.plugins.one_step.consistency.method import Consistency
from fabloom.plugins.one_step.consistency.networks import function_of
from fabloom.plugins.one_step.consistency.params import TrainParams
from fabloom.storage.backends.local import LocalStore

MEAN, STD = 0.4, 0.3
"""Of the Gaussian data."""
SCHEDULE = noise_schedule("linear", 1e-4, 0.02)
POINTS = 20
"""Times of the toy's teacher."""
TINY: dict[str, Any] = {"steps": 4, "batch": 8, "warmup": 1, "first_points": 4, "last_points": 16}
SHAPE: dict[str, Any] = {"channels": [8, 16], "norm_groups": 4}


@pytest.fixture(scope="module")
def store(kept: LocalStore) -> LocalStore:
    return kept


def best(x: Tensor, t: Tensor) -> Tensor:
    """The optimal clean image for Gaussian data."""
    a, s = SCHEDULE.at(t, x)
    return MEAN + a * STD**2 / (a**2 * STD**2 + s**2) * (x - a * MEAN)


def end(x: Tensor, t: Tensor) -> Tensor:
    """Where the path through x ends: as many deviations from the mean as x is."""
    a, s = SCHEDULE.at(t, x)
    return MEAN + STD * (x - a * MEAN) / (a**2 * STD**2 + s**2).sqrt()


def test_at_time_0_the_function_is_what_it_is_given_and_later_what_the_network_sees() -> None:
    skip, out = coefficients(torch.tensor([0.0, 1.0, 999.0]))
    assert skip.tolist() == pytest.approx([1, 0.25 / 100.25, 0], abs=1e-6) and out.tolist() == pytest.approx([0, 0.998752, 1], abs=1e-5)
    x = torch.randn(3, 1, 2, 2)
    function = Function(lambda x, t: torch.zeros_like(x), SCHEDULE, "sample")
    assert torch.equal(function(x, torch.zeros(3, dtype=torch.long)), x)


@pytest.mark.parametrize("kind", ["sample", "epsilon", "v_prediction"])
def test_a_teachers_step_is_that_of_ddim_by_hand(kind: str) -> None:
    def network(x: Tensor, t: Tensor) -> Tensor:
        a, s = SCHEDULE.at(t, x)
        clean = best(x, t)
        noise = (x - a * clean) / s
        return {"sample": clean, "epsilon": noise, "v_prediction": a * noise - s * clean}[kind]

    x, t, to = torch.randn(5, 1), torch.full((5,), 400), torch.full((5,), 380)
    found = Function(network, SCHEDULE, kind).stepped(x, t, to)  # type: ignore[arg-type]
    (a, s), (b, c) = ((float(SCHEDULE.alpha[i]), float(SCHEDULE.sigma[i])) for i in (400, 380))
    clean = best(x, t)
    assert torch.allclose(found, b * clean + c * (x - a * clean) / s, atol=1e-4)


def test_distances_are_near_squares_when_small_and_lengths_when_large() -> None:
    zero, far = torch.zeros(1, 100), torch.full((1, 100), 3.0)
    assert float(distance(far, zero, 0.00054)[0]) == pytest.approx(30, rel=1e-3)
    near = torch.full((1, 100), 1e-5)
    assert float(distance(near, zero, 0.00054)[0]) == pytest.approx(1e-8 / (2 * 0.0054), rel=1e-2)


def test_times_double_and_end_where_noise_does() -> None:
    assert teacher_times(50)[:3].tolist() == [0, 19, 39] and int(teacher_times(50)[-1]) == 999 and len(teacher_times(50)) == 51
    assert training_times(10)[:2].tolist() == [0, 100] and int(training_times(10)[-1]) == 999
    assert [points_at(step, 700, 10, 640) for step in (0, 99, 100, 399, 600, 699)] == [10, 10, 20, 80, 640, 640]
    assert points_at(5, 10, 8, 8) == 8 and [points_at(step, 30, 10, 30) for step in (0, 10, 29)] == [10, 20, 30]


def test_spans_are_drawn_by_a_lognormal_of_noise_and_weigh_the_inverse_of_their_rise() -> None:
    times = training_times(640)
    chance, weight = level_shares(SCHEDULE, times, -1.1, 2.0)
    levels = (SCHEDULE.sigma / SCHEDULE.alpha)[times]
    assert torch.allclose(weight, 1 / (levels[1:] - levels[:-1]))
    share = chance / chance.sum()
    below = float(share[levels[1:] < np.exp(-1.1)].sum())
    lowest = torch.distributions.Normal(0, 1).cdf((levels[0].log() + 1.1) / 2)  # what lies below the first level is not drawn
    assert below == pytest.approx((0.5 - float(lowest)) / (1 - float(lowest)), abs=0.02), "half of a lognormal lies below its median"


def toy(teacher: bool, steps: int) -> Function:
    """A small network, linear in x as the exact path is, that learned Gaussian data by the loss of the task."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2))

    def seen(net: nn.Module) -> Function:
        def network(x: Tensor, t: Tensor) -> Tensor:
            a, s = SCHEDULE.at(t, x)
            slope, rest = net(torch.cat([a, s], 1)).split(1, 1)
            return slope * x + rest  # type: ignore[no-any-return]

        return Function(network, SCHEDULE, "sample")

    params = TrainParams(batch=256, steps=steps, points=POINTS, huber=1.0, first_points=5, last_points=320, noise_mean=1.0)
    setting = training.Setting({}, SCHEDULE, Function(best, SCHEDULE, "sample") if teacher else None)
    average, behind = training.ema(net, 0.99), training.ema(net, 0.95, warmup=False)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    draw = torch.Generator().manual_seed(1)
    for step in range(steps):
        x0 = MEAN + STD * torch.randn(256, 1, generator=draw)
        noise, times = torch.randn(x0.shape, generator=draw), training.draw_times(params, setting, step, draw)
        target = seen(behind.module) if teacher else seen(net)
        loss = training.batch_loss(params, seen(net), target, setting, x0, noise, times)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
        average.update_parameters(net)
        behind.update_parameters(net)
    return seen(average.module)


def off(function: Function, goal: Callable[[Tensor], Tensor]) -> float:
    """Root mean square distance of one step from noise to where it shall end, in deviations of the data."""
    x, t = torch.randn(2000, 1, generator=torch.Generator().manual_seed(2)), torch.full((2000,), 999)
    with torch.no_grad():
        return float((function(x, t) - goal(x)).square().mean().sqrt()) / STD


def chain(x: Tensor) -> Tensor:
    """Where the teacher's own steps end: with so few it is not the end of the exact path, and nothing better can be learned of them."""
    taught = Function(best, SCHEDULE, "sample")
    for later, earlier in pairwise(teacher_times(POINTS).flip(0)):
        x = taught.stepped(x, later.repeat(len(x)), earlier.repeat(len(x)))
    return x


def path_end(x: Tensor) -> Tensor:
    return end(x, torch.full((len(x),), 999))


@pytest.mark.parametrize(("teacher", "steps", "goal"), [(True, 1500, chain), (False, 2500, path_end)], ids=["distilled", "alone"])
def test_a_small_network_learns_where_the_path_ends_and_one_step_of_the_teacher_ends_at_the_mean(
    teacher: bool, steps: int, goal: Callable[[Tensor], Tensor]
) -> None:
    assert off(Function(best, SCHEDULE, "sample"), goal) > 0.7, "the control"
    assert off(toy(teacher, steps), goal) < 0.05


def test_steps_of_the_exact_function_keep_mean_and_deviation() -> None:
    exact = Function(end, SCHEDULE, "sample")
    draw = torch.Generator().manual_seed(3)
    x = torch.randn(20000, 1, generator=draw)
    for steps in (1, 4):
        found = generate(exact, x, steps, lambda: torch.randn(x.shape, generator=draw))
        assert float(found.mean()) == pytest.approx(MEAN, abs=0.02) and float(found.std()) == pytest.approx(STD, abs=0.02)


@pytest.fixture
def images(run_task: Any) -> ImageSet:
    made: ImageSet = run_task(LinePair, "simulate", {"count": 12, "size": 16})
    return made


@pytest.fixture
def base(run_task: Any, images: ImageSet) -> Model:
    made: Model = run_task(Ddpm, "train", {"network": SHAPE, "steps": 4, "batch": 8, "warmup": 1}, images=images)
    return made


def test_a_distilled_model_starts_at_its_teacher_and_one_alone_does_not(run_task: Any, images: ImageSet, base: Model) -> None:
    taught = run_task(Consistency, "train", {**TINY, "steps": 0}, images=images, teacher=base)
    assert all(torch.equal(value, base.state()[name]) for name, value in taught.state().items())
    assert taught.config["grey"] == base.config["grey"] and taught.config["prediction_type"] == base.config["prediction_type"]
    alone = run_task(Consistency, "train", {**TINY, "network": SHAPE}, images=images)
    assert alone.state().keys() == taught.state().keys()
    other = run_task(Consistency, "train", {**TINY, "network": {"channels": [16], "norm_groups": 4}}, images=images, teacher=base)
    assert other.state().keys() != taught.state().keys(), "a shape that is asked for is a network of its own"


def test_a_model_draws_in_one_step_or_several_and_exports_one(run_task: Any, images: ImageSet, base: Model) -> None:
    model = run_task(Consistency, "train", TINY, images=images, teacher=base)
    one, few = (run_task(Consistency, "sample", {"count": 6, "batch": 4, "steps": steps}, model=model) for steps in (1, 4))
    assert one.images.shape == (6, 1, 16, 16) and (np.asarray(one.images) != np.asarray(few.images)).any()
    (graph,) = Consistency.networks(model).values()
    noise = torch.randn(3, 1, 16, 16)
    function = function_of(model, torch.device("cpu"))
    assert torch.allclose(graph.module(noise), function(noise, torch.full((3,), 999)), atol=1e-5)


def test_what_does_not_fit_is_refused(run_task: Any, images: ImageSet, base: Model) -> None:
    larger = run_task(LinePair, "simulate", {"count": 4, "size": 32})
    with pytest.raises(DataError, match=r"makes images \[1, 16, 16\], the training images are \[1, 32, 32\]"):
        run_task(Consistency, "train", TINY, images=larger, teacher=base)
    classes = run_task(Ddpm, "train", {"network": SHAPE, "steps": 1, "classes": "domain"}, images=images)
    with pytest.raises(DataError, match="knows classes"):
        run_task(Consistency, "train", TINY, images=images, teacher=classes)
    model = run_task(Consistency, "train", {**TINY, "network": SHAPE}, images=images)
    with pytest.raises(DataError, match=r"no model of ddpm\.train"):
        run_task(Consistency, "train", TINY, images=images, teacher=model)
    with pytest.raises(DataError, match=r"no model of consistency\.train"):
        run_task(Consistency, "sample", {"count": 1}, model=base)
    with pytest.raises(ValueError, match="first_points=20 must not be above"):
        TrainParams(first_points=20, last_points=10)
