"""denoising-circuits: published sizes, closed forms, the recurrence, the recording and the whole chain on tiny nets."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DModel
from pydantic import ValidationError
from torch import nn

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Metric, Model, OfflineData, Report
from fabloom.method import Context, Method, Options, task
from fabloom.params import Params
from fabloom.plugins.blocks.ema import ema
from fabloom.plugins.blocks.noise import NoiseSchedule
from fabloom.plugins.diffusion.ddpm.method import Ddpm
from fabloom.plugins.one_step.denoising_circuits import (
    backbone,
    comparison,
    distillation,
    heads,
    losses,
    recording,
    recurrence,
    starting,
    student,
    training,
)
from fabloom.plugins.one_step.denoising_circuits.base import BaseNet, new_unet
from fabloom.plugins.one_step.denoising_circuits.method import DenoisingCircuits
from fabloom.plugins.one_step.denoising_circuits.networks import (  # fmt: skip
    Adapter,
    Circuit,
    CircuitConfig,
    Encoder,
    FilmBlock,
    Head,
    Step,
    parameter_counts,
)
from fabloom.plugins.one_step.denoising_circuits.params import Stage, TrainParams
from fabloom.registry import Registry
from fabloom.running.engine import Engine
from fabloom.running.parts import Crew
from fabloom.storage.backends.local import LocalStore
from fabloom.testing import MemoryStore, write_artifact
from fabloom.testing.running import plan_task

CIFAR = {
    "sample_size": 32, "in_channels": 3, "out_channels": 3, "block_out_channels": [128, 256, 256, 256], "layers_per_block": 2,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"], "act_fn": "silu", "norm_num_groups": 32,
    "norm_eps": 1e-6, "attention_head_dim": None, "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1,
    "time_embedding_type": "positional", "center_input_sample": False,
}  # fmt: skip
PUBLISHED = CircuitConfig(CIFAR, tuple(range(1000)), 3)
SMALL_UNET = {
    "sample_size": 8, "in_channels": 4, "out_channels": 4, "block_out_channels": [8, 16], "layers_per_block": 1, "norm_num_groups": 4,
    "down_block_types": ["DownBlock2D", "DownBlock2D"], "up_block_types": ["UpBlock2D", "UpBlock2D"], "attention_head_dim": None,
}  # fmt: skip
TINY: dict[str, Any] = {
    "timesteps": 5, "patch": 2, "latent_channels": 8, "head_width": 8, "batch": 4,
    "base": {"channels": [8, 16], "steps": 4, "batch": 4},
    "stages": [{"steps": 2, "step_probs": [1]}, {"steps": 3, "step_probs": [0, 0.5, 0, 0, 0.5]}],
}  # fmt: skip


def small(**changes: Any) -> CircuitConfig:
    settings: dict[str, Any] = {
        "latent_channels": 8, "head_width": 8, "rin_blocks": 1, "step_blocks": 1, "head_blocks": 1, "residual_cap": 1.0, "patch": 2,
        "train_backbone": True, "labels": (0, 250, 500, 749, 999), "unet": SMALL_UNET, "image_channels": 1,
    }  # fmt: skip
    return CircuitConfig(**{**settings, **changes})


def circuit(**changes: Any) -> Circuit:
    torch.manual_seed(0)
    return Circuit(small(**changes))


def stirred(net: Any) -> Any:
    """Small weights where there were zeros, so that nothing is hidden by a zero start."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return net


class Lines(Method):
    name = "lines"

    @task(version=1)
    def images(self, ctx: Context, params: LinesParams) -> ImageSet:
        draw = np.random.default_rng(ctx.seed)
        images = np.full((params.count, 1, 16, 16), 60, np.uint8)
        images[..., ::4] = images[..., 1::4] = 180
        domain = (np.arange(params.count) % 2).astype(np.int8)
        for row in np.flatnonzero(domain):
            y, x = draw.integers(2, 10, 2)
            images[row, 0, y : y + 4, x : x + 4] = 240
        images += draw.integers(0, 6, images.shape, dtype=np.uint8)
        return ImageSet.write(ctx, images, domain=domain)


class LinesParams(Params):
    count: int = 12


Lines.images.__annotations__["params"] = LinesParams


@pytest.fixture(scope="module")
def store(kept: LocalStore) -> LocalStore:
    return kept


@pytest.fixture
def teacher(run_task: Any) -> Model:
    return run_task(DenoisingCircuits, "train", TINY, images=run_task(Lines, "images"))


# published sizes -------------------------------------------------------------------------------------------------------


def test_published_parameter_counts() -> None:
    with torch.device("meta"):
        net = Circuit(PUBLISHED)
        one_step = student.Student(PUBLISHED, 10)
    assert parameter_counts(net.rin) == (38_631_808, 3_249_664)
    assert parameter_counts(net.step) == (43_252_456, 7_870_312)
    assert parameter_counts(net.v_head) == parameter_counts(net.x0_head) == (2_662_915, 2_662_915)
    assert parameter_counts(net) == (87_210_094, 16_445_806)
    assert parameter_counts(one_step)[0] == 42_980_864
    assert len(list(backbone.attention_layers(net.rin.unet))) == 24


def test_chunk_heads_are_split_four_three_three_as_published() -> None:
    assert student.chunk_sources(10) == [0] * 4 + [1] * 3 + [2] * 3
    for chunks in (1, 2, 3, 7):
        assert sorted(student.chunk_sources(chunks)) == student.chunk_sources(chunks)


# construction ----------------------------------------------------------------------------------------------------------


def test_zero_starts_survive_the_whole_construction() -> None:
    net = circuit(train_backbone=False, unet={**SMALL_UNET, "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
                                              "up_block_types": ["AttnUpBlock2D", "UpBlock2D"]})  # fmt: skip
    blocks = [m for m in net.modules() if isinstance(m, FilmBlock)]
    assert len(blocks) == 5
    assert all(not b.conv2.weight.any() and not b.film[2].weight.any() and b.conv1.weight.std() > 0 for b in blocks)
    assert not net.step.scale.weight.any()
    for head in (net.v_head, net.x0_head):
        assert not head.skip.weight.any()
        assert 0 < head.outlet.weight.abs().max() < 1e-4
    lora = [m for m in net.modules() if isinstance(m, backbone.LowRank)]
    assert lora
    assert all(not m.b.any() and m.a.std() > 0 for m in lora)


def test_adapter_keeps_its_intended_start_under_spectral_norm() -> None:
    torch.manual_seed(0)
    adapter = Adapter(256, 256, 128, 0, small(spectral=True))
    original = adapter.tail.parametrizations.weight.original
    intended = (2 / (256 * 9)) ** 0.5  # Kaiming-normal: 0.0295; torch's own start would be 0.0120
    assert original.std().item() == pytest.approx(intended, rel=0.02)
    with torch.no_grad():
        for _ in range(30):
            adapter.tail.weight  # noqa: B018  (every training-mode access is a power iteration)
        assert torch.linalg.matrix_norm(adapter.tail.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.03)


def test_a_fresh_step_moves_by_half_the_cap() -> None:
    net = circuit(residual_cap=0.3).eval()
    z = net.rin.shell(torch.randn(2, 8, 8, 8))
    t = torch.tensor([3, 1])
    features = net.step.unet(net.step.inlet(z, t), torch.tensor([749, 250])).sample
    expected = net.step.shell(z + 0.15 * net.step.outlet(torch.cat([features, z], 1), t))
    torch.testing.assert_close(net.step(z, t), expected)


def test_latents_stay_on_the_shell() -> None:
    z = recurrence.run(stirred(circuit()).eval(), torch.randn(2, 1, 16, 16), [4, 3, 2, 1])
    grouped = z.reshape(2, 2, -1)
    torch.testing.assert_close(grouped.mean(-1), torch.zeros(2, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(grouped.var(-1, unbiased=False), torch.ones(2, 2), atol=1e-3, rtol=0)


def test_ordinary_time_features_tell_neighbours_apart_better_than_the_published_ones() -> None:
    from fabloom.plugins.one_step.denoising_circuits.networks import time_features

    def change(kind: Any) -> float:
        config = CircuitConfig(CIFAR, tuple(range(1000)), 3, time_features=kind)
        a, b = time_features(torch.tensor([500, 501]), 128, config)
        return float((a - b).norm())

    assert change("ordinary") > 20 * change("published") > 0


def test_frozen_tensors_are_held_and_written_once() -> None:
    net = circuit(train_backbone=False)
    backbone.load_backbone(net.step.unet, backbone_state := UNet2DModel.from_config(SMALL_UNET).state_dict())
    backbone.load_backbone(net.rin.unet, backbone_state)
    shared = backbone.share_frozen(net.rin.unet, net.step.unet)
    assert shared > 20
    written = training.unique_state(net)
    assert len(written) == len(net.state_dict()) - shared
    assert net.rin.unet.mid_block.resnets[0].conv1.weight is net.step.unet.mid_block.resnets[0].conv1.weight
    assert not net.train().rin.unet.training


def test_backbone_copies_the_base_also_under_lora() -> None:
    attentive = {**SMALL_UNET, "down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"]}
    base = UNet2DModel.from_config(attentive)
    encoder = Encoder(small(unet=attentive, train_backbone=False))
    backbone.load_backbone(encoder.unet, base.state_dict())
    x, t = torch.randn(1, 4, 8, 8), torch.tensor([499])
    base.conv_out = nn.Identity()
    torch.testing.assert_close(encoder.unet(x, t).sample, base(x, t).sample)
    for low_rank in (m for m in encoder.modules() if isinstance(m, backbone.LowRank)):
        nn.init.normal_(low_rank.b)
    adapted = encoder.unet(x, t).sample
    assert not torch.allclose(adapted, base(x, t).sample)
    torch.testing.assert_close(distillation.folded(encoder.unet)(x, t).sample, adapted)


# loss ------------------------------------------------------------------------------------------------------------------


def test_velocity_and_ddim_against_closed_forms() -> None:
    schedule = NoiseSchedule.make(10)
    x0, noise = torch.randn(2, 3, 1, 4, 4)
    t = torch.tensor([9, 5, 1])
    x, v = schedule.add_noise(x0, noise, t), schedule.velocity(x0, noise, t)
    back, epsilon = schedule.split_velocity(x, v, t)
    torch.testing.assert_close(back, x0)
    torch.testing.assert_close(epsilon, noise)
    # with the true v, a DDIM step lands on the same image with the same noise, one label lower
    torch.testing.assert_close(losses.ddim_step(schedule, x, v, t, t - 1), schedule.add_noise(x0, noise, t - 1))


def test_loss_is_put_together_as_published() -> None:
    net, depth = stirred(circuit()).eval(), 2
    schedule = NoiseSchedule.make(5)
    x0, noise, t = torch.randn(3, 1, 16, 16), torch.randn(3, 1, 16, 16), torch.tensor([4, 3, 2])
    x, v = schedule.add_noise(x0, noise, t), schedule.velocity(x0, noise, t)
    points = losses.ddim_points(net, schedule, x, t, depth)
    loss, parts = losses.circuit_loss(net, points, x0, v, x, t, depth, losses.Weights(5.0, 1.0))
    mse = nn.functional.mse_loss
    z = losses.chain(net, x, t, depth)
    main = (mse(net.v_head(z[0], t), v) + (mse(net.v_head(z[1], t - 1), points.v[1]) + mse(net.v_head(z[2], t - 2), points.v[2])) / 2) / 2
    clean = (mse(net.x0_head(z[0], t), x0) + sum(mse(net.x0_head(z[k], t - k), points.x0[k]) for k in (1, 2)) / 2) / 2
    consistency = (mse(z[1], points.z[1]) + mse(z[2], points.z[2])) / 2
    torch.testing.assert_close(loss, main + 5 * consistency + clean)
    torch.testing.assert_close(parts["identity"], (mse(points.z[0], points.z[1]) + mse(points.z[0], points.z[2])) / 2)
    assert not any(p.requires_grad for group in (points.z, points.v, points.x0) for p in group)
    torch.testing.assert_close(parts["path"], consistency)
    path, _ = losses.circuit_loss(net, points, x0, v, x, t, depth, losses.Weights(loss="path"))
    torch.testing.assert_close(path, consistency)
    end, _ = losses.circuit_loss(net, points, x0, v, x, t, depth, losses.Weights(loss="end"))
    torch.testing.assert_close(end, mse(net.x0_head(z[2], t - 2), points.x0[2]))
    plain, parts = losses.circuit_loss(net, None, x0, v, x, t, 0, losses.Weights(5.0, 1.0))
    torch.testing.assert_close(plain, parts["v"] + parts["x0"])


def chain_of(velocity: Any, labels: int = 5, substeps: int = 1) -> losses.BaseChain:
    times = torch.linspace(0, 999, labels).round().long()
    return losses.BaseChain(velocity, NoiseSchedule.make(1000), times, substeps)


def test_a_part_of_the_loss_alone_computes_no_other_target(monkeypatch: pytest.MonkeyPatch) -> None:
    net, depth = stirred(circuit()).eval(), 2
    chain = chain_of(lambda x, t: 0.3 * x)
    x0, x, t = torch.randn(3, 1, 16, 16), torch.randn(3, 1, 16, 16), torch.tensor([4, 3, 2])
    whole = losses.base_points(net, chain, x, t, depth)
    encode, passes = net.rin.forward, []
    monkeypatch.setattr(net.rin, "forward", lambda *given: passes.append(1) or encode(*given))
    for loss, encodings in (("published", depth + 1), ("path", depth + 1), ("end", 0)):
        passes.clear()
        points = losses.base_points(net, chain, x, t, depth, loss)  # type: ignore[arg-type]
        assert len(passes) == encodings
        weights = losses.Weights(loss=loss)  # type: ignore[arg-type]
        found, wanted = (losses.circuit_loss(net, given, x0, x, x, t, depth, weights)[0] for given in (points, whole))
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_a_latent_of_pixels_alone_needs_no_encoder_and_its_path_is_that_of_the_pixels() -> None:
    net = stirred(circuit(carry=True, latent_channels=4, turns=(1.0, 0.9, 0.9, 0.9, 0.9))).eval()
    assert net.rin.unet is None and not list(net.rin.parameters())
    chain, x, t = chain_of(lambda x, t: 0.3 * x), torch.randn(2, 1, 16, 16), torch.tensor([4, 3])
    latents = losses.chain(net, x, t, 1)
    torch.testing.assert_close(latents[0], nn.functional.pixel_unshuffle(x, 2), rtol=0, atol=0)
    points = losses.base_points(net, chain, x, t, 1, "path")
    loss, parts = losses.circuit_loss(net, points, x, x, x, t, 1, losses.Weights(loss="path"))
    pixels = nn.functional.pixel_unshuffle(chain.advance(x, t), 2)
    torch.testing.assert_close(loss, nn.functional.mse_loss(latents[1], pixels))
    torch.testing.assert_close(parts["identity"], nn.functional.mse_loss(latents[0], pixels))


def test_more_substeps_come_nearer_to_the_ode_of_a_gaussian() -> None:
    """For x_0 ~ N(0, s^2) v is linear, and x_0 = s x_T / std(x_T) (Song et al. 2021): DDIM's error falls with its number of steps."""
    schedule, s = NoiseSchedule.make(1000, "squaredcos_cap_v2"), 0.3

    def velocity(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        a, sigma = schedule.at(t, x)
        return a * sigma * (1 - s**2) / (a**2 * s**2 + sigma**2) * x

    times = torch.linspace(0, 999, 6).round().long()
    x = torch.randn(4, 1, 8, 8)
    errors = []
    for substeps in (1, 4, 16):
        chain, z = losses.BaseChain(velocity, schedule, times, substeps), x
        for label in recurrence.labels(6):
            z = chain.advance(z, torch.full((4,), label))
        first, last = (schedule.at(torch.tensor([t]), x) for t in (999, 0))
        std = [float((a**2 * s**2 + sigma**2).sqrt()) for a, sigma in (first, last)]
        errors.append(float((z - x * std[1] / std[0]).norm()))
    assert errors[1] < errors[0] / 3 and errors[2] < errors[1] / 3


def test_identity_step_scores_exactly_the_identity_baseline() -> None:
    net = stirred(circuit()).eval()
    net.step.config = CircuitConfig.from_json({**net.config.as_json(), "residual_cap": 1e-12})
    x, t, schedule = torch.randn(2, 1, 16, 16), torch.tensor([4, 4]), NoiseSchedule.make(5)
    points = losses.ddim_points(net, schedule, x, t, 3)
    _, parts = losses.circuit_loss(net, points, x, x, x, t, 3, losses.Weights())
    assert parts["identity"] > 0
    torch.testing.assert_close(parts["path"], parts["identity"], rtol=1e-3, atol=0)


def test_gradient_reaches_exactly_the_labels_that_sampling_uses() -> None:
    net, schedule = stirred(circuit()), NoiseSchedule.make(5)
    touched: set[int] = set()
    draw = torch.Generator().manual_seed(0)
    for depth in (1, 3, 4):
        for _ in range(4):
            t = torch.randint(depth, 5, (4,), generator=draw)
            x = torch.randn(4, 1, 16, 16, generator=draw)
            points = losses.ddim_points(net, schedule, x, t, depth)
            net.zero_grad()
            losses.circuit_loss(net, points, x, x, x, t, depth, losses.Weights())[0].backward()
            touched |= set(net.step.scale.weight.grad.abs().sum(1).nonzero().flatten().tolist())
    assert touched == {1, 2, 3, 4} == set(recurrence.labels(5))
    assert recurrence.labels(5, apply_t0=True) == [4, 3, 2, 1, 0]


def test_targets_leave_frozen_parts_in_evaluation_mode_and_restore_training() -> None:
    net = circuit(train_backbone=False).train()
    params = TrainParams.model_validate({**TINY, "train_backbone": False})
    x, t = torch.randn(2, 1, 16, 16), torch.tensor([4, 3])
    for chain in ("live", "ema", "data"):
        chosen = params.model_copy(update={"chain": chain})
        points = training.targets(chosen, net, ema(net), NoiseSchedule.make(5), None, x, x, x, t, 1, "published")
        assert points is not None and len(points.z) == 2
    assert net.training and net.step.inlet.training and not net.step.unet.training


def carried(**changes: Any) -> tuple[TrainParams, Circuit, BaseNet]:
    """A circuit that carries pixels, as it starts from a base with random weights."""
    torch.manual_seed(0)
    params = TrainParams.model_validate(
        {**TINY, "timesteps": 8, "schedule": "squaredcos_cap_v2", "stages": [Stage(steps=0, step_probs=[1])], **changes}
    )
    unet = new_unet(params, torch.Size((1, 16, 16)))
    base = BaseNet(dict(unet.config), stirred(unet).state_dict(), 1000, 2)
    net, schedule = starting.build(params, base, 1).eval(), NoiseSchedule.make(params.timesteps, params.schedule)
    starting.start_as_ddim(net, base, schedule)
    return params, net, base


@torch.no_grad()
@pytest.mark.parametrize("channels", [4, 8])
def test_a_carried_circuit_starts_exactly_as_the_ddim_of_its_base(channels: int) -> None:
    params, net, base = carried(latent_channels=channels)
    chain = starting.base_chain(base, net.config, params.schedule, 1, torch.device("cpu"))
    x, latents = 0.2 + 1.5 * torch.randn(2, 1, 16, 16), []
    end = recurrence.run(net, x, recurrence.labels(8), lambda _, z: latents.append(z[:, :4]))
    for label in recurrence.labels(8):
        torch.testing.assert_close(latents[7 - label], nn.functional.pixel_unshuffle(x, 2), rtol=1e-4, atol=1e-4)
        x = chain.advance(x, torch.full((2,), label))
    torch.testing.assert_close(recurrence.readout(net, end), x, rtol=1e-4, atol=1e-4)
    assert float((x - recurrence.readout(net, net.rin(x, torch.tensor([7, 7])))).abs().max()) < 1e-3  # what is carried is x itself


def test_too_few_labels_for_the_cap_are_refused_with_a_cap_that_suffices() -> None:
    with pytest.raises(DataError, match=r"give residual_cap: (\d+\.\d)") as refused:
        carried(timesteps=3, residual_cap=0.5)
    carried(timesteps=3, residual_cap=float(str(refused.value).split("residual_cap: ")[1].split(" ")[0]))


def test_a_latent_with_no_room_for_the_pixels_is_refused() -> None:
    with pytest.raises(DataError, match="carries 4 channels of pixels: give latent_channels of at least that"):
        carried(latent_channels=3)


def test_circuits_that_earlier_versions_carried_are_refused() -> None:
    kept = small(carry=True, turns=(1.0,) * 5).as_json()
    assert CircuitConfig.from_json(json.loads(json.dumps(kept))) == small(carry=True, turns=(1.0,) * 5)
    with pytest.raises(DataError, match="train it again"):
        CircuitConfig.from_json({name: value for name, value in kept.items() if name != "turns"})


# optimiser -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 7, 40])
def test_one_cycle_ends_with_the_last_step(steps: int) -> None:
    net = circuit()
    optimizer, cycle = training.optimizer_for(net, steps, 2e-4, 1e-4, False)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(2e-8)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        cycle.step()
    assert cycle.total_steps == max(steps, 4)
    if steps == 40:
        assert max(rates) == pytest.approx(2e-4)
        assert rates[-1] == pytest.approx(2e-12, rel=1e-3)
    assert {group["betas"][0] for group in optimizer.param_groups} == {0.9}


def test_momentum_cycles_only_on_request_and_step_scales_never_decay() -> None:
    net = circuit()
    optimizer, _ = training.optimizer_for(net, 40, 1e-3, 0.1, True)
    assert optimizer.param_groups[0]["betas"][0] == pytest.approx(0.95)
    spared = [p for group in optimizer.param_groups if group["weight_decay"] == 0 for p in group["params"]]
    assert [p is net.step.scale.weight for p in spared] == [True]


def test_average_follows_every_trainable_tensor_and_buffer() -> None:
    net = circuit(train_backbone=False)
    average = ema(net, 0.0)
    with torch.no_grad():
        for tensor in [*net.parameters(), *net.buffers()]:
            if tensor.is_floating_point():
                tensor.add_(1.0)
    for _ in range(2):  # the first update copies
        average.update_parameters(net)
    theirs = average.module.state_dict()
    moved = [name for name, value in net.state_dict().items() if torch.equal(theirs[name], value)]
    assert len(moved) == len(net.state_dict())
    assert any(name.endswith("_u") for name in moved)


def test_defect_weight_draws_defects_that_much_more_often() -> None:
    pool = training.Pool(torch.arange(2.0)[:, None, None, None], torch.tensor([1.0, 3.0]), False)
    assert pool.batch(4000, torch.Generator().manual_seed(0)).mean().item() == pytest.approx(0.75, abs=0.03)


def test_only_step_trains_r_alone_and_gives_the_rest_back() -> None:
    params = TrainParams.model_validate({**TINY, "stages": [{"steps": 2, "step_probs": [0, 1], "only_step": True}], "chain": "live"})
    net = circuit()
    before = {name: value.clone() for name, value in net.named_parameters()}
    wanted = {name for name, p in net.named_parameters() if p.requires_grad}
    ctx = _Context(Path("/nonexistent"))
    pool = training.Pool(torch.randn(3, 1, 16, 16), torch.ones(3), False)
    training.run_stage(ctx, params, params.stages[0], "stage0", net, ema(net), pool, NoiseSchedule.make(5), None)
    moved = {name for name, p in net.named_parameters() if not torch.equal(p, before[name])}
    assert moved and all(name.startswith("step.") for name in moved)
    assert {name for name, p in net.named_parameters() if p.requires_grad} == wanted


class _Context:
    """The part of a context that a stage uses, without checkpoints."""

    device = torch.device("cpu")

    def __init__(self, workdir: Path) -> None:
        self.workdir = workdir

    def generator(self, name: str) -> torch.Generator:
        return torch.Generator().manual_seed(0)

    def autocast(self, asked: str) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def loop(self, steps: int, **_: Any) -> Any:
        class Turn:
            index = 1

            def log(self, **scalars: float) -> None: ...

        return (Turn() for _ in range(steps))


# recurrence and recording ----------------------------------------------------------------------------------------------


def test_noise_depends_on_seed_and_index_only_and_is_what_float16_holds() -> None:
    all_rows = recurrence.starting_noise(3, range(6), (1, 4, 4))
    torch.testing.assert_close(recurrence.starting_noise(3, [4, 2], (1, 4, 4)), all_rows[[4, 2]], rtol=0, atol=0)
    assert torch.equal(all_rows.half().float(), all_rows)
    assert not torch.equal(recurrence.starting_noise(4, range(6), (1, 4, 4)), all_rows)
    assert all_rows.flatten(1).unique(dim=0).shape[0] == 6


@pytest.mark.parametrize("chunks", [1, 2, 3, 4])
def test_chunks_telescope_also_where_they_do_not_divide_the_steps(chunks: int) -> None:
    net = stirred(circuit()).eval()
    at = recurrence.labels(5)
    ends = recurrence.boundaries(len(at), chunks)
    assert ends[0] == 0 and ends[-1] == 4 and len(set(ends)) == chunks + 1
    rin0, pieces, end = recording.trajectory(net, torch.randn(3, 1, 16, 16), at, ends)
    assert pieces.shape == (3, chunks, 8, 8, 8)
    assert float((rin0 + pieces.sum(1) - end).abs().max()) < 1e-5
    assert float((rin0 + pieces[:, 1:].sum(1) - end).abs().max()) > 1e-2


def test_more_chunks_than_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one step"):
        recurrence.boundaries(4, 5)


# settings --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("probs", [[], [0.5], [-1, 2]])
def test_bad_step_probabilities_are_refused(probs: list[float]) -> None:
    with pytest.raises(ValidationError):
        Stage(steps=1, step_probs=probs)


def test_defaults_follow_from_what_the_latent_carries() -> None:
    carrying, other = TrainParams(), TrainParams(carry=False)
    assert (carrying.latent(16), carrying.fineness, carrying.course[0].loss) == (16, 8, "path")
    assert (other.latent(16), other.fineness, other.course[0].loss) == (64, 1, "published")
    assert TrainParams(chain="live").fineness == 1 and TrainParams(timesteps=1000).fineness == 1
    assert TrainParams.model_validate(carrying.model_dump()) == carrying
    for wrong, words in (
        ({"substeps": 4, "chain": "live"}, "give chain: base"),
        ({"substeps": 200}, "more than the base's 1000 times"),
        ({"carry": False, "stages": [{"steps": 1, "step_probs": [0, 1], "loss": "path"}]}, "no stage has it"),
    ):
        with pytest.raises(ValidationError, match=words):
            TrainParams.model_validate(wrong)


def test_a_base_of_another_noise_schedule_is_refused(run_task: Any) -> None:
    images = run_task(Lines, "images")
    learned = {"network": {"channels": [8, 16], "attention": [], "norm_groups": 4}, "steps": 1, "batch": 4}
    base = run_task(Ddpm, "train", learned | {"schedule": "cosine"}, images=images)
    params = TINY | {"stages": [{"steps": 1, "step_probs": [0, 1], "loss": "path"}]}
    with pytest.raises(DataError, match="give schedule: squaredcos_cap_v2"):
        run_task(DenoisingCircuits, "train", params, images=images, base=base)
    made = run_task(DenoisingCircuits, "train", params | {"schedule": "squaredcos_cap_v2"}, images=images, base=base)
    assert made.config["circuit"]["latent_channels"] == 8 and made.config["operations"] > base.config["operations"] > 0
    other = run_task(Ddpm, "train", learned | {"beta_end": 0.03}, images=images)
    with pytest.raises(DataError, match=r"has betas 0\.0001 to 0\.03"):
        run_task(DenoisingCircuits, "train", params, images=images, base=other)


def test_a_chain_longer_than_the_labels_is_refused() -> None:
    with pytest.raises(ValidationError, match="chains of 5 steps"):
        TrainParams.model_validate({**TINY, "stages": [{"steps": 1, "step_probs": [0, 0, 0, 0, 0, 1]}]})


def test_published_stages_can_be_written_down() -> None:
    stages = [{"steps": 39_000, "step_probs": [0, 1]}, {"steps": 19_500, "step_probs": [0, 0, 0, 1]}]
    assert [s.step_probs.index(1) for s in TrainParams(stages=stages).stages] == [1, 3]  # type: ignore[arg-type]


# tasks -----------------------------------------------------------------------------------------------------------------


def test_the_whole_chain(run_task: Any, teacher: Model) -> None:
    images = run_task(Lines, "images")
    offline = run_task(DenoisingCircuits, "record", {"count": 10, "batch": 3, "block": 4, "chunks": 3, "r_sum": True}, teacher=teacher)
    assert isinstance(offline, OfflineData)
    assert offline.attrs["boundaries"] == [0, 1, 3, 4] and offline.attrs["teacher"] == teacher.key
    assert offline.attrs["telescoping_error"] < 1e-5 and offline.attrs["measured"]["sum_snr_db"] > 40
    assert offline.array("sample_id")[:].tolist() == list(range(10))
    recorded = offline.array("x_T")[:]
    np.testing.assert_array_equal(recorded, recurrence.starting_noise(offline.attrs["noise_seed"], range(10), (1, 16, 16)).half().numpy())
    pupil = run_task(DenoisingCircuits, "distill", {"steps": 3, "batch": 16}, teacher=teacher, offline=offline)
    samples = {"count": 6, "batch": 4, "noise_seed": offline.attrs["noise_seed"]}
    by_recurrence = run_task(DenoisingCircuits, "sample", samples, model=teacher)
    in_one_step = run_task(DenoisingCircuits, "sample", samples, model=pupil)
    assert by_recurrence.images.shape == in_one_step.images.shape == (6, 1, 16, 16)
    low, high = teacher.config["grey"]
    expected = (offline.array("x0")[:6].astype(np.float32).clip(-1, 1) + 1) * (high - low) / 2 + low
    assert np.abs(by_recurrence.images[:].astype(float) - expected).max() <= 1.0  # float16 and rounding to grey levels
    report = run_task(DenoisingCircuits, "compare", {"count": 9, "batch": 1}, teacher=teacher, student=pupil, reference=images)
    assert isinstance(report, Report)
    controls = report.metrics["controls"]
    assert set(controls) == {"shuffled", "foreign_chunks", "mean_image", "pure_noise"}
    assert {"recurrence_error", "plain_chain_error", "high_band", "with_grain_high_band", "sliced_wasserstein"} <= report.metrics.keys()
    heads = report.tables["heads of the student"].rows
    assert [row[0] for row in heads] == ["start", "chunk 1", "chunk 2", "chunk 3"]
    assert sum(row[2] for row in heads) == pytest.approx(1) and all(row[3] > 0 for row in heads)
    assert report.described["mse_ratio"] == Metric(report.metrics["mse_ratio"], better="down", role="headline")
    assert all(group["mse_ratio"].role == "control" for group in report.described["controls"].values())
    assert report.metrics["relative_path"] > 0 and len(report.pictures) == 2
    assert len(report.tables["path by step"].rows) == 4


def pupils(run_task: Any, teacher: Model, offline: OfflineData, **params: Any) -> Model:
    settings = {"steps": 2, "batch": 4, "rin_weight": 0.0, "chunk_weight": 0.0, "sum_weight": 0.0, "x0_weight": 1.0} | params
    pupil: Model = run_task(DenoisingCircuits, "distill", settings, teacher=teacher, offline=offline)
    return pupil


def test_only_by_the_sum_does_the_image_teach_every_head(run_task: Any, teacher: Model) -> None:
    """What a student's report is for: of a predicted end no other head than the last has a gradient, of a sum all have."""
    offline = run_task(DenoisingCircuits, "record", {"count": 10, "chunks": 4}, teacher=teacher)
    circuit, x = training.load_circuit(teacher, torch.device("cpu")), recurrence.starting_noise(9, range(6), (1, 16, 16))
    shares = {}
    for predict_end in (True, False):
        net = student.load_student(pupils(run_task, teacher, offline, predict_end=predict_end), torch.device("cpu"))
        before = {name: value.clone() for name, value in net.state_dict().items()}
        table = heads.table(net, circuit, x, torch.Generator().manual_seed(0))
        shares[predict_end] = [row[2] for row in table.rows]
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
        assert not any(weight.requires_grad for weight in net.parameters())
    assert shares[True][:-1] == [0, 0, 0, 0] and shares[True][-1] == pytest.approx(1)
    assert min(shares[False]) > 0


def test_grain_is_a_samples_own_and_can_be_left_out(run_task: Any, teacher: Model) -> None:
    offline = run_task(DenoisingCircuits, "record", {"count": 40, "chunks": 2}, teacher=teacher)
    pupil = pupils(run_task, teacher, offline, held_out=0.5)
    assert pupil.config["held_out"]["rows"] == 20 and pupil.config["held_out"]["unexplained_variance"] > 0
    whole, again, bare = (
        run_task(DenoisingCircuits, "sample", {"count": 7, "noise_seed": 3, **how}, model=pupil).images[...].astype(float)
        for how in ({"batch": 7}, {"batch": 2}, {"grain": False})
    )
    assert np.abs(whole - again).max() <= 1 and np.abs(whole - bare).mean() > 1
    added = (whole - bare).reshape(7, -1)
    assert abs(np.corrcoef(added)[np.triu_indices(7, 1)]).max() < 0.5
    with pytest.raises(DataError, match="one recorded sample is not enough"):
        distillation.taught_rows(1, 0.05)
    assert [distillation.taught_rows(rows, 0.05) for rows in (2, 40, 7000)] == [1, 38, 6650]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_r_comes_nearer_to_finer_steps_than_the_chain_it_starts_as(run_task: Any, seed: int) -> None:
    """A base that has learned lines, 3 steps of R for 18 of its own; what R starts as is the control."""
    images = run_task(Lines, "images", LinesParams(count=64).model_dump(), seed=seed)
    settings = {
        "timesteps": 4, "schedule": "squaredcos_cap_v2", "patch": 2, "head_width": 8, "step_blocks": 0, "substeps": 6, "batch": 8,
        "base": {"channels": [8, 16], "steps": 80, "batch": 16, "lr": 4e-3},
        "stages": [{"steps": 50, "step_probs": [0, 1], "lr": 2e-3, "only_step": True, "loss": "path"}],
    }  # fmt: skip
    model = run_task(DenoisingCircuits, "train", settings, seed=seed, images=images)
    circuit, chain = training.load_circuit(model, torch.device("cpu")), starting.chain_of(model, torch.device("cpu"))
    assert chain is not None and chain.substeps == 6
    noise = recurrence.starting_noise(5, range(32), (1, 16, 16))
    walk = comparison._follow_batch(circuit, NoiseSchedule.make(4, "squaredcos_cap_v2"), chain, noise, recurrence.labels(4), set())
    assert walk.fine is not None and walk.plain is not None
    ratio = float(nn.functional.mse_loss(walk.images, walk.fine) / nn.functional.mse_loss(walk.plain, walk.fine))
    assert ratio < 0.5


def test_same_seed_same_digest_and_another_seed_other_data(run_task: Any, store: Any, tmp_path: Path) -> None:
    other = LocalStore(tmp_path / "other")
    digests = []
    for place, seed in ((store, 0), (other, 0)):
        images = run_task(Lines, "images", store=place)
        model = run_task(DenoisingCircuits, "train", TINY, seed=seed, store=place, images=images)
        data = run_task(DenoisingCircuits, "record", {"count": 5, "block": 2, "chunks": 2}, seed=seed, store=place, teacher=model)
        digests.append((model.digest, data.digest))
    assert digests[0] == digests[1]
    again = run_task(DenoisingCircuits, "record", {"count": 5, "block": 2, "chunks": 2}, seed=1, store=other, teacher=model)
    assert again.digest != digests[0][1]


def test_stopped_recording_goes_on_and_ends_in_the_same_bytes(run_task: Any, store: Any, tmp_path: Path, teacher: Model) -> None:
    from fabloom.errors import Interrupted

    params = {"count": 7, "batch": 2, "block": 2, "chunks": 2}
    other = LocalStore(shutil.copytree(store.root, tmp_path / "other"))
    whole = run_task(DenoisingCircuits, "record", params, teacher=teacher)
    again = other.get(teacher.key)
    assert not other.has(whole.key)
    calls = iter([False, True])
    with pytest.raises(Interrupted):
        run_task(DenoisingCircuits, "record", params, store=other, teacher=again, stop=lambda: next(calls, True))
    resumed = run_task(DenoisingCircuits, "record", params, store=other, teacher=again)
    assert resumed.digest == whole.digest


def test_recording_and_sampling_come_out_the_same_from_any_number_of_workers(teacher: Model, store: LocalStore) -> None:
    registry = Registry.load()
    tasks: dict[str, dict[str, Any]] = {
        "record": {"count": 14, "batch": 3, "block": 4, "chunks": 2},
        "sample": {"count": 14, "batch": 4},
    }
    for name, params in tasks.items():
        step = plan_task(store, DenoisingCircuits, name, params, 7, {"teacher" if name == "record" else "model": teacher.key})
        made = []
        for workers in (1, 2, 3):
            lines: list[str] = []
            engine = Engine(
                registry,
                store,
                Options("cpu", redo=(name,)),
                lambda event, lines=lines: lines.append(event.get("message", "")),
                crew=Crew(workers),
            )
            result = engine.perform(step)
            assert result.status == "ran", result.error
            assert (f"in {workers} parts on {workers} workers" in lines) is (workers > 1)
            made.append((result.digest, dict(store.get(step.key).attrs)))
        assert made[0] == made[1] == made[2]


def test_given_base_is_used_and_checked(run_task: Any, tmp_path: Path) -> None:
    images = run_task(Lines, "images")
    net = UNet2DModel.from_config({**SMALL_UNET, "in_channels": 1, "out_channels": 1, "sample_size": 16})
    net.save_pretrained(tmp_path / "base" / "unet_ema")
    params = {**TINY, "base_path": str(tmp_path / "base"), "train_backbone": False, "chain": "live", "carry": False,
              "stages": [{"steps": 1, "step_probs": [0, 1]}]}  # fmt: skip
    model = run_task(DenoisingCircuits, "train", params, images=images)
    assert model.config["circuit"]["patch"] == 1
    kept = model.state("circuit.rin.unet.")["mid_block.resnets.0.conv1.weight"]
    torch.testing.assert_close(kept, net.mid_block.resnets[0].conv1.weight.detach())
    (tmp_path / "base" / "unet_ema" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(DataError, match=r"config\.json beside"):
        run_task(DenoisingCircuits, "train", {**params, "batch": 3}, images=images)
    torch.save(net.state_dict(), tmp_path / "base" / "unet_ema" / "diffusion_pytorch_model.bin")
    run_task(DenoisingCircuits, "train", {**params, "batch": 5}, images=images)
    coloured = json.loads((tmp_path / "base" / "unet_ema" / "config.json").read_text()) | {"in_channels": 3}
    (tmp_path / "base" / "unet_ema" / "config.json").write_text(json.dumps(coloured))
    with pytest.raises(DataError, match="does not fit config"):
        run_task(DenoisingCircuits, "train", {**params, "batch": 6}, images=images)
    with pytest.raises(DataError, match="frozen backbone needs weights"):
        run_task(DenoisingCircuits, "train", {**TINY, "base": {"channels": [8, 16], "steps": 0}, "train_backbone": False}, images=images)


def test_data_of_another_teacher_are_refused(run_task: Any, teacher: Model) -> None:
    short = {**TINY, "base": {**TINY["base"], "steps": 1}, "stages": [{"steps": 1, "step_probs": [1]}]}
    other = run_task(DenoisingCircuits, "train", short, images=run_task(Lines, "images"))
    offline = run_task(DenoisingCircuits, "record", {"count": 4, "chunks": 2}, teacher=other)
    with pytest.raises(DataError, match="recorded from model"):
        run_task(DenoisingCircuits, "distill", {"steps": 1}, teacher=teacher, offline=offline)
    with pytest.raises(DataError, match="at least one step"):
        run_task(DenoisingCircuits, "record", {"count": 4, "chunks": 5}, teacher=teacher)


def test_student_reads_codes_as_the_store_decodes_them(run_task: Any, teacher: Model) -> None:
    from fabloom.storage.format.quantise import dequantise

    offline = run_task(DenoisingCircuits, "record", {"count": 6, "chunks": 2}, teacher=teacher)
    kept, direct = (distillation.row_source(offline, size)(np.array([5, 0, 3])) for size in (64, 0))
    assert all(np.array_equal(kept[name], direct[name]) for name in kept)
    assert kept["r_chunks"].dtype == np.int8
    _, _, latents = distillation.on_device(kept, torch.device("cpu"))
    torch.testing.assert_close(latents[:, 0], dequantise(torch.from_numpy(kept["rin0"]), torch.from_numpy(kept["rin0_scale"])))
    torch.testing.assert_close(latents[:, 1:], dequantise(torch.from_numpy(kept["r_chunks"]), torch.from_numpy(kept["r_chunks_scale"])))


# comparison ------------------------------------------------------------------------------------------------------------


def rule_for(run_task: Any, images: ImageSet) -> Any:
    """The rule of labels of these images."""
    from fabloom.plugins.one_step.denoising_circuits.comparison import labelling

    rule, problem = labelling(SimpleNamespace(log=print), images)  # type: ignore[arg-type]
    assert rule is not None and not problem
    return rule


def test_clean_images_of_several_places_tell_no_defects(run_task: Any) -> None:
    from fabloom.plugins.blocks.grey import GreyMap
    from fabloom.plugins.one_step.denoising_circuits.comparison import judge, labelling

    draw = np.random.default_rng(0)
    places = [draw.integers(0, 256, (1, 16, 16), np.uint8).repeat(2, 1).repeat(2, 2) for _ in range(6)]
    images = write_artifact(MemoryStore(), lambda ctx: ImageSet.write(ctx, np.stack(places), domain=np.zeros(6, np.int8)))
    rule, problem = labelling(SimpleNamespace(log=print), images)  # type: ignore[arg-type]
    assert rule is None and "are not of one place" in problem[0]
    rows = judge({"same": torch.zeros(2, 1, 4, 4)}, torch.randn(2, 1, 4, 4), GreyMap(0, 255), None)
    assert set(rows["same"]) == {"mse_ratio", "unexplained_variance"}


def test_controls_fail_where_a_perfect_answer_passes(run_task: Any) -> None:
    from fabloom.plugins.blocks.grey import GreyMap
    from fabloom.plugins.one_step.denoising_circuits.comparison import judge

    images = run_task(Lines, "images", {"count": 40})
    grey = GreyMap(0, 255)
    wanted = grey.forward(images.images[:])
    mean = wanted.mean(0, keepdim=True).expand_as(wanted)
    rows = judge({"perfect": wanted, "shuffled": wanted.roll(1, 0), "mean": mean, "noise": torch.randn(wanted.shape).clamp(-1, 1)},
                 wanted, grey, rule_for(run_task, images))  # fmt: skip
    assert rows["perfect"]["mse_ratio"] == 0 and rows["perfect"]["defect_agreement"] == 1
    assert rows["perfect"]["defect_share"] == pytest.approx(0.5)
    assert rows["shuffled"]["mse_ratio"] > 0.7 and rows["shuffled"]["defect_agreement"] < 0.2  # neighbours alternate
    assert rows["mean"]["unexplained_variance"] == pytest.approx(1, rel=0.05) and rows["mean"]["defect_agreement_all"] < 0.8
    assert rows["noise"]["mse_ratio"] > 2


def test_what_cannot_be_told_speaks_neither_for_nor_against_the_student(run_task: Any) -> None:
    from fabloom.plugins.blocks.grey import GreyMap
    from fabloom.plugins.one_step.denoising_circuits.comparison import judge

    images = run_task(Lines, "images", {"count": 40})
    grey, pixels = GreyMap(0, 255), images.images[:].copy()
    clean = pixels[images.domain[:] == 0][0].astype(np.int16)
    low, high = np.percentile(clean, (1, 99))

    def spotted(share: float) -> Any:
        """The clean image with a spot of this share of its contrast."""
        spot = clean.copy()
        spot[:, 4:10, 4:10] += np.int16(share * (high - low))
        return grey.forward(spot.clip(0, 255).astype(np.uint8))[None]

    bare, faint, strong = spotted(0), spotted(0.16), spotted(0.8)
    wanted = torch.cat([strong, strong, bare, bare])
    rows = judge({"faint": torch.cat([strong, faint, bare, faint]), "wrong": torch.cat([strong, bare, bare, strong]),
                  "never": torch.cat([faint] * 4)}, wanted, grey, rule_for(run_task, images))  # fmt: skip
    assert (rows["faint"]["defect_agreement"], rows["faint"]["told_share"], rows["faint"]["defect_agreement_all"]) == (1, 0.5, 0.75)
    assert (rows["wrong"]["defect_agreement"], rows["wrong"]["told_share"], rows["wrong"]["defect_agreement_all"]) == (0.5, 1, 0.5)
    assert (rows["never"]["defect_agreement"], rows["never"]["told_share"]) == (None, 0)


def test_heads_and_steps_are_exported_shapes() -> None:
    config = small()
    z, t = torch.randn(2, 8, 8, 8), torch.tensor([4, 1])
    assert Head(config)(z, t).shape == (2, 1, 16, 16)
    assert Step(config)(z, t).shape == z.shape
    one_step = student.OneStep(config, 3, final_norm=True)
    parts = one_step.student(torch.randn(2, 1, 16, 16))
    assert parts.shape == (2, 4, 8, 8, 8)
    torch.testing.assert_close(one_step.end(parts).reshape(2, 2, -1).var(-1, unbiased=False), torch.ones(2, 2), rtol=1e-3, atol=0)
    torch.testing.assert_close(student.OneStep(config, 3, final_norm=False).end(parts), parts.sum(1))


def test_the_stored_config_holds_nothing_that_depends_on_the_process() -> None:
    from diffusers import UNet2DModel

    from fabloom.plugins.one_step.denoising_circuits.base import plain_config

    unet = UNet2DModel(sample_size=8, block_out_channels=(8, 8), norm_num_groups=4, **BLOCKS_OF_TWO)
    config = plain_config(unet)
    assert any(name.startswith("_") for name in unet.config), "diffusers no longer adds its unordered list; drop plain_config"
    assert not any(name.startswith("_") for name in config)
    assert UNet2DModel.from_config(config).state_dict().keys() == unet.state_dict().keys()


BLOCKS_OF_TWO = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
