"""The diffusion transformer: published sizes, zero at the start, what it is told, and the three methods that can have it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fabloom.errors import DataError
from fabloom.plugins.blocks import denoisers, dit
from fabloom.plugins.blocks.backbone import Transformer
from fabloom.plugins.blocks.noise import noise_schedule
from fabloom.plugins.data.line_pair.method import LinePair
from fabloom.plugins.diffusion.ddpm.method import Ddpm
from fabloom.plugins.diffusion.ddpm.params import TrainParams
from fabloom.plugins.one_step.consistency.method import Consistency
from fabloom.plugins.one_step.mean_flow.flow import with_derivative
from fabloom.plugins.one_step.mean_flow.method import MeanFlow
from fabloom.plugins.one_step.mean_flow.networks import velocity

TINY: dict[str, Any] = {"patch": 4, "blocks": 2, "width": 16, "heads": 2}
BRIEF: dict[str, Any] = {"backbone": "dit", "transformer": TINY, "steps": 3, "batch": 8, "warmup": 1}


def stirred(net: dit.Dit) -> dit.Dit:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net


def test_the_small_published_one_has_the_published_size_and_cost() -> None:
    """33 million parameters and 6.06 GMAC for a latent of 32 x 32 x 4 (table 1 of the paper, patch 2, 1000 classes)."""
    net = dit.build(Transformer(preset="S", patch=2), (4, 32, 32), 1000)
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(33e6, rel=0.02)
    # the other kernels of attention are not counted on every device
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 4, 32, 32), torch.zeros(1), torch.zeros(1, dtype=torch.long))
    assert counter.get_total_flops() / 2 == pytest.approx(6.06e9, rel=0.02)


def test_it_gives_zero_at_first_and_not_once_it_has_learned() -> None:
    net = dit.build(Transformer(**TINY), (1, 16, 16), 2)
    x, t, labels = torch.randn(3, 1, 16, 16), torch.tensor([1.0, 500.0, 999.0]), torch.tensor([0, 1, 2])
    assert torch.equal(net(x, t, labels).sample, torch.zeros_like(x))
    found = stirred(net)(x, t, labels).sample
    assert found.shape == x.shape and float(found.std()) > 0.01


@pytest.mark.parametrize(("classes", "second"), [(2, False), (0, True), (0, False)])
def test_it_is_told_times_and_classes(classes: int, second: bool) -> None:
    net = stirred(dit.build(Transformer(**TINY), (1, 16, 16), classes, second_time=second)).eval()
    x, t = torch.randn(2, 1, 16, 16), torch.tensor([10.0, 20.0])
    other = torch.tensor([0, 1]) if classes else torch.tensor([3.0, 4.0]) if second else None
    before = net(x, t, other).sample
    assert not torch.allclose(before, net(x, t + 5, other).sample)
    if other is not None:
        assert not torch.allclose(before, net(x, t, other + 1).sample)
    again = dit.Dit.of(net.stored()).eval()
    again.load_state_dict(net.state_dict())
    assert torch.equal(again(x, t, other).sample, before)


def test_it_is_differentiated_forwards() -> None:
    net = stirred(dit.build(Transformer(**TINY), (1, 16, 16), second_time=True)).eval().double()
    network = velocity(net, 10.0)
    z, v = torch.randn(2, 3, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).unbind(0)
    r, t = torch.tensor([0.1, 0.3, 0.2], dtype=torch.float64), torch.tensor([0.6, 0.9, 0.8], dtype=torch.float64)
    _, change = with_derivative(network, z, r, t, v)
    step = 1e-4
    with torch.no_grad():
        around = (network(z + step * v, r, t + step) - network(z - step * v, r, t - step)) / (2 * step)
    assert (change - around).abs().max() < 0.01 * change.abs().max()


@pytest.mark.parametrize(
    ("changes", "image", "words"),
    [
        ({}, (1, 16, 32), "are not square"),
        ({"patch": 3}, (1, 16, 16), "patch=3 must divide the side of 16 px"),
        ({"heads": 3}, (1, 16, 16), "heads=3 must divide transformer.width=16"),
    ],
)
def test_what_cannot_be_built_is_refused(changes: dict[str, Any], image: tuple[int, int, int], words: str) -> None:
    with pytest.raises(DataError, match=words):
        dit.build(Transformer(**TINY | changes), image)


@pytest.mark.parametrize("given", [{"network": {"layers": 2}, "backbone": "dit"}, {"transformer": {"patch": 2}}])
def test_a_shape_of_the_other_backbone_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="changes nothing with backbone"):
        TrainParams.model_validate(given)
    kept = TrainParams.model_validate(BRIEF)
    assert TrainParams.model_validate(kept.model_dump()) == kept, "what is written down whole is read again"


@pytest.mark.parametrize("method", [Ddpm, Consistency, MeanFlow])
def test_the_methods_train_draw_and_export_with_it(run_task: Any, method: Any) -> None:
    images = run_task(LinePair, "simulate", {"count": 12, "size": 16})
    model = run_task(method, "train", BRIEF, images=images)
    assert "dit" in model.config and "unet" not in model.config and all(name.startswith("dit.") for name in model.state())
    drawn = run_task(method, "sample", {"count": 3}, model=model)
    assert drawn.images.shape == (3, 1, 16, 16)
    (graph,) = method.networks(model).values()
    inputs = tuple(graph.inputs.values())
    assert torch.isfinite(graph.module(*inputs)).all()


def test_a_transformer_learns_what_a_network_at_its_start_does_not_know(run_task: Any) -> None:
    images = run_task(LinePair, "simulate", {"count": 64, "size": 16})
    losses = []
    for steps in (0, 150):
        params = BRIEF | {"steps": steps, "batch": 16, "lr": 3e-3, "ema_decay": 0.9}
        model = run_task(Ddpm, "train", params, images=images)
        schedule, net = noise_schedule("linear", 1e-4, 0.02), denoisers.load(model, "ddpm", torch.device("cpu"))
        draw = torch.Generator().manual_seed(5)
        x0 = torch.from_numpy(np.asarray(images.images)).float() / 127.5 - 1
        noise, t = torch.randn(x0.shape, generator=draw), torch.randint(200, 900, (len(x0),), generator=draw)
        with torch.no_grad():
            v = denoisers.evaluate(net, schedule.add_noise(x0, noise, t), t, None)
        losses.append(float((v - schedule.velocity(x0, noise, t)).square().mean()))
    assert losses[1] < 0.8 * losses[0], losses


def test_diffusers_has_no_class_for_it(run_task: Any) -> None:
    images = run_task(LinePair, "simulate", {"count": 12, "size": 16})
    assert Ddpm.pretrained(run_task(Ddpm, "train", BRIEF, images=images)) == {}
