"""mean-flow: the identity, the loss and one step against the exact flow of Gaussian data, and the task on images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model
from fabloom.plugins.blocks.backbone import Network
from fabloom.plugins.blocks.denoisers import load
from fabloom.plugins.blocks.ema import ema
from fabloom.plugins.blocks.unet2d import build
from fabloom.plugins.data.line_pair.method import LinePair
from fabloom.plugins.diffusion.ddpm.method import Ddpm
from fabloom.plugins.one_step.mean_flow.flow import errors, generate, times, weighted, with_derivative
from fabloom.plugins.one_step.mean_flow.method import MeanFlow
from fabloom.plugins.one_step.mean_flow.networks import forward_differentiable, velocity
from fabloom.storage.backends.local import LocalStore

MEAN, STD = 0.4, 0.3
"""Of the Gaussian data."""
TINY: dict[str, Any] = {"network": {"channels": [8, 16], "norm_groups": 4}, "steps": 4, "batch": 8, "warmup": 1}


@pytest.fixture(scope="module")
def store(kept: LocalStore) -> LocalStore:
    return kept


def spread(t: Tensor) -> Tensor:
    """Deviation of z_t."""
    return ((1 - t) ** 2 * STD**2 + t**2).sqrt()


def instant(z: Tensor, t: Tensor) -> Tensor:
    """The velocity of the flow of Gaussian data: z_t keeps its number of deviations from the mean."""
    rise = (t - (1 - t) * STD**2) / spread(t)
    return -MEAN + rise / spread(t) * (z - (1 - t) * MEAN)


def exact(z: Tensor, r: Tensor, t: Tensor) -> Tensor:
    """Its average velocity between r and t."""
    goal = (1 - r) * MEAN + spread(r) / spread(t) * (z - (1 - t) * MEAN)
    return torch.where(t > r, (z - goal) / (t - r).clamp(min=1e-6), instant(z, t))


def test_the_identity_holds_for_the_exact_average_velocity_and_not_for_another() -> None:
    z, pair = torch.randn(64, dtype=torch.float64), torch.rand(2, 64, dtype=torch.float64).sort(0).values
    r, t = pair[0], pair[1] + 0.05
    for network, holds in ((exact, True), (lambda z, r, t: instant(z, t), False)):
        u, change = with_derivative(network, z, r, t, instant(z, t))
        off = (u + (t - r) * change - instant(z, t)).abs().max()
        assert (off < 1e-8) == holds


def test_steps_of_the_exact_average_velocity_end_where_the_flow_ends() -> None:
    noise = torch.randn(200, generator=torch.Generator().manual_seed(0))
    for steps in (1, 3):
        assert torch.allclose(generate(exact, noise, steps), MEAN + STD * noise, atol=1e-5), "one step goes all the way"


def test_times_are_ordered_and_as_many_are_equal_as_asked() -> None:
    r, t = times(4000, 3000, -0.4, 1.0, torch.Generator().manual_seed(0))
    assert (r[:3000] == t[:3000]).all() and (r[3000:] < t[3000:]).all() and float(r.min()) > 0 and float(t.max()) < 1
    logits = torch.logit(torch.cat([t[3000:], r[3000:]]))  # together they are the two draws
    assert logits.mean() == pytest.approx(-0.4, abs=0.07) and logits.std() == pytest.approx(1, abs=0.07)


def test_errors_are_in_the_order_of_the_batch_and_hold_the_target_fixed() -> None:
    """For u = a z the target is known: v - (t - r) a v, and dz/dt alone is v."""
    a = nn.Parameter(torch.tensor(0.7))
    x, noise = torch.randn(2, 5, 1, 2, 2).unbind(0)
    r, t = torch.tensor([0.2, 0.5, 0.1, 0.6, 0.9]), torch.tensor([0.2, 0.8, 0.4, 0.6, 0.95])
    found = errors(lambda z, r, t: a * z, x, noise, r, t)
    at, gap = t.reshape(-1, 1, 1, 1), (t - r).reshape(-1, 1, 1, 1)
    z, v = (1 - at) * x + at * noise, noise - x
    target = v - gap * 0.7 * v
    assert torch.allclose(found, (0.7 * z - target).square().flatten(1).sum(1), atol=1e-5)
    found.sum().backward()
    assert a.grad is not None and float(a.grad) == pytest.approx(float((2 * (0.7 * z - target) * z).sum()), rel=1e-4)


def test_weights_divide_by_the_error_itself() -> None:
    error = torch.tensor([0.5, 8.0], requires_grad=True)
    weighted(error, 1.0).backward()
    assert error.grad is not None and torch.allclose(error.grad, 1 / (2 * (error.detach() + 1e-3)))
    assert weighted(error, 0.0).item() == pytest.approx(4.25)


def trained(share: float) -> nn.Module:
    """A small network of (r, t), linear in z as the exact velocity is, that has learned Gaussian data."""
    steps = 2500
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2))
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    average, draw = ema(net, 0.99), torch.Generator().manual_seed(1)
    for _ in range(steps):
        x = MEAN + STD * torch.randn(256, 1, generator=draw)
        r, t = times(256, round(256 * share), 0.0, 2.5, draw)
        loss = errors(linear(net), x, torch.randn(x.shape, generator=draw), r, t).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
        average.update_parameters(net)
    return average.module


def linear(net: nn.Module) -> Any:
    def network(z: Tensor, r: Tensor, t: Tensor) -> Tensor:
        slope, rest = net(torch.stack([t, t - r], 1)).split(1, 1)
        return slope * z + rest

    return network


def test_a_small_network_learns_the_whole_flow_in_one_step_and_flow_matching_does_not() -> None:
    """The best step of ordinary flow matching from pure noise ends at the mean of the data; only the identity tells where to go."""
    noise = torch.randn(2000, 1, generator=torch.Generator().manual_seed(2))
    off = {}
    for share in (0.25, 1.0):
        found = generate(linear(trained(share)), noise, 1)
        off[share] = float((found - MEAN - STD * noise).square().mean().sqrt()) / STD
    assert off[0.25] < 0.05 and off[1.0] > 0.5, off


@pytest.fixture(scope="module")
def unet() -> nn.Module:
    torch.manual_seed(0)
    made = build(Network(channels=(8, 16), norm_groups=4), (1, 8, 8), second_time=True)
    forward_differentiable(made)
    return made


def test_the_u_net_is_differentiated_forwards_and_knows_both_times(unet: nn.Module) -> None:
    network = velocity(unet, 10.0)
    z, v = torch.randn(2, 4, 1, 8, 8, generator=torch.Generator().manual_seed(3)).unbind(0)
    r, t = torch.tensor([0.1, 0.3, 0.2, 0.5]), torch.tensor([0.6, 0.9, 0.3, 0.8])
    _, change = with_derivative(network, z, r, t, v)
    step = 2e-3
    with torch.no_grad():
        around = (network(z + step * v, r, t + step) - network(z - step * v, r, t - step)) / (2 * step)
        assert (change - around).abs().max() < 0.01 * change.abs().max()
        assert not torch.allclose(network(z, r, t), network(z, r + 0.2, t)) and not torch.allclose(network(z, r, t), network(z, r, t + 0.1))


def test_a_model_draws_in_one_step_or_several_and_exports_one(run_task: Any) -> None:
    images: ImageSet = run_task(LinePair, "simulate", {"count": 12, "size": 16})
    model: Model = run_task(MeanFlow, "train", TINY, images=images)
    one, few = (run_task(MeanFlow, "sample", {"count": 6, "batch": 4, "steps": steps}, model=model) for steps in (1, 4))
    assert one.images.shape == (6, 1, 16, 16) and (np.asarray(one.images) != np.asarray(few.images)).any()
    (graph,) = MeanFlow.networks(model).values()
    noise = torch.randn(3, 1, 16, 16)
    net = velocity(load(model, "mean-flow", torch.device("cpu")), model.config["time_unit"])
    assert torch.allclose(graph.module(noise), generate(net, noise, 1), atol=1e-5)


def test_what_does_not_fit_is_refused(run_task: Any) -> None:
    images = run_task(LinePair, "simulate", {"count": 4, "size": 34})
    with pytest.raises(DataError, match="cannot be halved 2 times"):
        run_task(MeanFlow, "train", {"steps": 1}, images=images)
    other = run_task(Ddpm, "train", TINY, images=run_task(LinePair, "simulate", {"count": 4, "size": 16}))
    with pytest.raises(DataError, match="no model of mean-flow"):
        run_task(MeanFlow, "sample", {"count": 1}, model=other)
