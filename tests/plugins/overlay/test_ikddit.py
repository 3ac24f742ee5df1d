"""`ikddit`: what is masked is not seen, gates start closed, the teacher is an average, and masks, losses and walks add up."""

from __future__ import annotations

import csv
import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from scipy.fft import dct, dctn
from torch import Tensor

from fabloom.errors import DataError, PipelineError
from fabloom.flows.export import export_artifact
from fabloom.kinds import Metric, Model, Report
from fabloom.method import Context
from fabloom.pipeline import Pipeline
from fabloom.planning.plan import make_plan
from fabloom.plugins.blocks.ema import ema
from fabloom.plugins.blocks.noise import noise_schedule
from fabloom.plugins.blocks.operations import counted
from fabloom.plugins.blocks.overlay.ensembles import OverlayEnsembles
from fabloom.plugins.blocks.overlay.fitting import fitted
from fabloom.plugins.blocks.overlay.maps import OverlayMaps
from fabloom.plugins.blocks.overlay.raster import Raster
from fabloom.plugins.blocks.overlay.terms import NAMES
from fabloom.plugins.blocks.overlay.terms import SIZES as USUAL
from fabloom.plugins.data.overlay_map.method import OverlayMap
from fabloom.plugins.overlay.ikddit import conditions, contrast, discriminators, losses, masking, material, network, priors, training
from fabloom.plugins.overlay.ikddit.judging import scores
from fabloom.plugins.overlay.ikddit.judging.evaluating import verdict
from fabloom.plugins.overlay.ikddit.judging.known import Known
from fabloom.plugins.overlay.ikddit.judging.rivals import Ridge
from fabloom.plugins.overlay.ikddit.material import Material, Units
from fabloom.plugins.overlay.ikddit.method import Ikddit
from fabloom.plugins.overlay.ikddit.params import SIZES, SampleParams, TrainParams
from fabloom.plugins.overlay.ikddit.sampling import Generator
from fabloom.plugins.overlay.ikddit.walk import Prompt, Walk
from fabloom.registry import Registry
from fabloom.storage.backends.local import LocalStore
from fabloom.testing.running import run_task, write_artifact


@pytest.fixture(scope="module")
def store(kept: LocalStore) -> LocalStore:
    return kept


@pytest.fixture(scope="module", autouse=True)
def tiny() -> Iterator[None]:
    """A transformer that a test can afford, in place of the size `small`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "small", (2, 64, 2, 32, 1))
        yield


TINY = network.Shape(size=16, patch=4, width=32, blocks=2, heads=2, decoder_width=24, decoder_blocks=1, condition=16)


def seeded(build: Any, seed: int = 0) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build()


def network_of(shape: network.Shape) -> network.Ikddit:
    return network.Ikddit(shape, priors.shapes(Raster(shape.size).stored()))


def opened(net: network.Ikddit) -> network.Ikddit:
    """A network none of whose weights is at 0, as after a training."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        for value in net.parameters():
            value.add_(0.2 * torch.randn_like(value))
        net.wiener.power.copy_(torch.rand_like(net.wiener.power))
    return net


def given(shape: network.Shape = TINY, batch: int = 3) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(2)
    return {
        "x": torch.randn(batch, 2, shape.size, shape.size, generator=draw),
        "given": torch.randn(batch, network.GIVEN, shape.size, shape.size, generator=draw),
        "t": torch.tensor([900, 400, 30])[:batch],
        "conditions": torch.randn(batch, sum(conditions.TOKENS.values()), shape.condition, generator=draw),
    }


# ------------------------------------------------------------------------------------------------------------------------- masking


def test_what_is_gathered_comes_back_to_its_place() -> None:
    x, draw = torch.randn(4, 16, 5), torch.Generator().manual_seed(0)
    seen = masking.drawn(4, 16, 0.5, draw)
    assert seen is not None and seen.shape == (4, 8) and (seen[0] != seen[1]).any()
    back = masking.scattered(masking.gathered(x, seen), seen, torch.full_like(x, math.nan))
    there = masking.visible(seen, 4, 16)
    assert torch.equal(back[there], x[there]) and back[~there].isnan().all()
    assert masking.drawn(4, 16, 0.0, draw) is None and masking.kept_count(16, 0.97) == 1


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.7])
def test_turns_see_every_patch(ratio: float) -> None:
    turns = masking.turns(64, ratio, torch.Generator().manual_seed(0))
    assert torch.cat(turns).unique().tolist() == list(range(64)) and {len(turn) for turn in turns} == {masking.kept_count(64, ratio)}
    if ratio == 0.5:
        assert not set(turns[0].tolist()) & set(turns[1].tolist())


def test_the_encoder_gets_what_is_seen_and_half_costs_half() -> None:
    net, told = seeded(lambda: network_of(TINY)).eval(), given()
    seen = masking.drawn(3, TINY.tokens, 0.5, torch.Generator().manual_seed(0))
    lengths: list[int] = []
    for block in net.encoder.blocks:
        block.register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[1]))
    net(**told, seen=seen)
    assert lengths == [TINY.tokens // 2] * TINY.blocks
    wide = network.Shape(size=32, patch=4, width=128, blocks=4, heads=4, decoder_width=96, decoder_blocks=1, condition=64)
    large, told = seeded(lambda: network_of(wide)).eval(), given(wide)
    seen = masking.drawn(3, wide.tokens, 0.5, torch.Generator().manual_seed(0))
    half, whole = (counted(lambda seen=one: large(**told, seen=seen))[1] for one in (seen, None))
    assert 0.45 <= half / whole <= 0.58
    encoder = [counted(lambda seen=one: large.encode(**told, seen=seen))[1] for one in (seen, None)]
    assert encoder[0] / encoder[1] <= 0.55


def test_masking_nothing_is_the_same_as_no_mask_bit_for_bit() -> None:
    net, told = opened(seeded(lambda: network_of(TINY))).eval(), given()
    everything = torch.arange(TINY.tokens).expand(3, -1)
    for with_mask, without in zip(net(**told, seen=everything), net(**told), strict=True):
        assert torch.equal(with_mask, without)


@pytest.mark.parametrize("holes", ["mask_token", "noisy_patch"])
def test_what_is_masked_does_not_leak(holes: network.Holes) -> None:
    shape = network.Shape(**{**TINY.stored(), "holes": holes})
    net, told = opened(seeded(lambda: network_of(shape))).eval(), given()
    seen = masking.drawn(3, shape.tokens, 0.5, torch.Generator().manual_seed(0))
    hidden = ~masking.visible(seen, 3, shape.tokens)
    patches = torch.where(hidden[..., None], 5.0, network.patches(told["x"], shape.patch))
    other = {**told, "x": torch.nn.functional.pixel_shuffle(patches.transpose(1, 2).unflatten(2, (4, 4)), shape.patch)}
    assert not torch.equal(other["x"], told["x"])
    before, after = net(**told, seen=seen), net(**other, seen=seen)
    assert torch.equal(before[2], after[2]), "the encoder saw a masked patch"
    assert torch.equal(before[0], after[0]) == (holes == "mask_token")
    assert not torch.equal(net(**told)[2], net(**other)[2]), "a control: unmasked, the patches do matter"


def test_gates_start_closed_and_the_output_at_zero() -> None:
    told, other = given(), {**given(), "conditions": torch.zeros_like(given()["conditions"])}
    fresh = seeded(lambda: network_of(TINY)).eval()
    for one in fresh(**told)[:2]:
        assert not one.any()
    assert torch.equal(fresh(**told)[2], fresh(**other)[2])
    after = opened(seeded(lambda: network_of(TINY))).eval()
    assert not torch.equal(after(**told)[2], after(**other)[2])
    sigmoid = seeded(lambda: network_of(network.Shape(**{**TINY.stored(), "gate": "sigmoid"})))
    gated = sigmoid.encoder.blocks[0].gated
    torch.testing.assert_close(gated.opening(torch.randn(2, 3, 32)), torch.sigmoid(torch.tensor(-3.0)).expand(2, 3, 1))


@pytest.mark.parametrize(("size", "published"), [("S", 33e6), ("B", 130e6), ("L", 458e6), ("XL", 675e6), ("seed_s", 57e6)])
def test_encoders_of_the_published_sizes_have_the_parameters_of_dit(size: str, published: float) -> None:
    blocks, width, heads, decoder_width, decoder_blocks = SIZES[size]
    shape = network.Shape(256, 16, width, blocks, heads, decoder_width, decoder_blocks, 256, "sigmoid", "mask_token")
    with torch.device("meta"):
        net = network.Ikddit(shape, torch.zeros(2, 2, 256, 256))
    own = sum(p.numel() for name, p in net.encoder.blocks.named_parameters() if ".gated." not in name)
    assert 0.95 * published < own < 1.02 * published
    assert shape.tokens == 256, "of 16 pixels at 256, as published"


def test_a_factor_of_a_given_channel_carries_its_pixels_to_the_map() -> None:
    decoder, told = seeded(lambda: network.Decoder(TINY)), given()
    with torch.no_grad():
        decoder.factors.bias[0] = 2.0
        decoder.factors.bias[network.FACTORS + 3] = -3.0
        x0, spread = decoder(torch.randn(3, TINY.tokens, TINY.width), told["x"], told["given"], torch.randn(3, TINY.width), None)
    torch.testing.assert_close(x0, torch.stack([2 * told["given"][:, 0], -3 * told["given"][:, 4]], 1))
    assert not spread.any()


# -------------------------------------------------------------------------------------------------------------------------- priors


def waves(side: int) -> Tensor:
    """Power of a smooth field and white noise, [side,side]."""
    along = torch.arange(side).float()
    return 0.3 * torch.exp(-(along[:, None] ** 2 + along**2) / 4) + 0.01


def wiener(power: Tensor) -> priors.Wiener:
    made = priors.Wiener(len(power), "linear")
    made.power.copy_(power)
    return made


def test_the_filter_gives_the_mean_of_what_a_noisy_gaussian_field_can_have_been() -> None:
    """Against the formula for any Gaussian: m + a C (a^2 C + s^2 1)^-1 (x - a m), with the covariance C as a matrix of all pixels."""
    side, schedule = 8, noise_schedule("linear", 1e-4, 0.02)
    draw = torch.Generator().manual_seed(0)
    x, mean = (torch.randn(3, 2, side, side, generator=draw) for _ in range(2))
    t = torch.tensor([900, 300, 20])
    cosines = torch.kron(*[torch.from_numpy(dct(np.eye(side), axis=0, norm="ortho"))] * 2)
    covariance = cosines.T @ torch.diag(waves(side).flatten().double()) @ cosines
    found = wiener(waves(side))(x, t, mean)
    for row, time in enumerate(t):
        a, s = float(schedule.alpha[time]), float(schedule.sigma[time])
        m, seen = (values[row].double().reshape(2, -1) for values in (mean, x))
        exact = m + (a * covariance @ torch.linalg.solve(a**2 * covariance + s**2 * torch.eye(side**2), (seen - a * m).T)).T
        torch.testing.assert_close(found[row].double().reshape(2, -1), exact, rtol=0, atol=2e-5)
    silent = priors.Wiener(side, "linear")
    torch.testing.assert_close(silent(x, t, mean), mean)
    half = torch.zeros(3, 1, side, side)
    half[..., :4] = 1
    apart = wiener(waves(side))
    torch.testing.assert_close(apart(x, t, mean, half), apart(torch.where(half > 0, x, 7.0), t, mean, half))
    torch.testing.assert_close(apart(x, t, mean, half)[..., 4:], mean[..., 4:])


def test_a_walk_that_knows_only_the_mean_draws_fields_of_the_spectrum_about_it() -> None:
    side, schedule, mean = 16, noise_schedule("linear", 1e-4, 0.02), torch.linspace(-1, 1, 16).expand(64, 2, 16, 16)
    noise = torch.randn(64, 2, side, side, generator=torch.Generator().manual_seed(0))
    nothing = Prompt(torch.zeros(64, 13, side, side), torch.zeros(64, 1, 1))
    for prior, level in ((wiener(waves(side)), 1.0), (priors.Wiener(side, "linear"), 0.0)):
        walk = Walk(lambda x, _, t, *rest, prior=prior: (prior(x, t, mean), x, x), schedule, SampleParams(), 4)  # type: ignore[misc, arg-type, return-value]
        x, _ = walk(noise, nothing, None, [None] * 12, torch.ones(64, 1, side, side), lambda: None)
        apart = np.square(dctn((x - mean).numpy(), axes=(2, 3), norm="ortho")).mean((0, 1))
        for low, high in ((0, 3), (6, 16)):
            assert apart[low:high, low:high].mean() == pytest.approx(
                level * float(waves(side)[low:high, low:high].mean()), rel=0.2, abs=1e-6
            )


def test_shapes_hold_all_terms_and_none_twice() -> None:
    raster = Raster(32)
    made = priors.shapes(raster.stored()).double()
    flat = made.reshape(len(made), -1)
    torch.testing.assert_close(flat @ flat.T / (2 * raster.valid.sum()), torch.eye(len(NAMES)).double(), rtol=0, atol=1e-5)
    assert not made[:, :, ~torch.from_numpy(raster.valid)].any()
    terms = torch.from_numpy(raster.basis * USUAL[:, None, None, None] * raster.valid).reshape(len(NAMES), -1)
    torch.testing.assert_close(terms @ flat.T @ flat / (2 * raster.valid.sum()), terms, rtol=0, atol=1e-4)


def test_the_power_of_what_terms_leave_is_that_of_residue_and_noise_but_for_what_the_layer_below_tells(store: LocalStore) -> None:
    fine, smooth, alone = (
        priors.power(run_task(store, OverlayMap, "simulate", {"count": 60, **params}), 1.0)  # type: ignore[arg-type]
        for params in ({"residue": 0.0}, {"residue": 0.5}, {"residue": 0.5, "residue_kept": 0.0})
    )
    for power in (fine, smooth, alone):
        assert float(power[20:, 20:].mean()) == pytest.approx(0.25**2, rel=0.1), "metrology noise of 0.25 nm"
    assert float(alone[2:6, 2:6].mean()) > 10 * float(fine[2:6, 2:6].mean())
    told = float(smooth[2:6, 2:6].mean() / alone[2:6, 2:6].mean())
    assert 0.5 < told < 0.85, "0.6 of the residue goes on from below: 0.64 of its power is new, and noise hides some of what is not"


# -------------------------------------------------------------------------------------------------------------------------- losses


def test_squares_are_of_what_is_seen_and_absolute_values_of_what_is_masked_on_the_wafer() -> None:
    target, x0 = torch.zeros(2, 2, 8, 8), torch.zeros(2, 2, 8, 8)
    valid, seen = torch.ones(2, 1, 8, 8), torch.tensor([[True, False, False, True]] * 2)
    x0[:, :, :4, :4], x0[:, :, :4, 4:] = 2.0, 3.0  # patch 0 is seen, patch 1 is not
    valid[1, :, :4, :4] = 0
    dsm, mae = losses.seen_and_masked(x0, target, valid, seen, torch.tensor([1.0, 5.0]), 4)
    assert float(dsm) == pytest.approx(4 / 3) and float(mae) == pytest.approx(1.5)
    none = losses.seen_and_masked(x0, target, valid, torch.ones_like(seen), torch.ones(2), 4)[1]
    assert float(none) == 0


def test_the_spread_learns_the_scale_of_the_error_and_leaves_the_mean_alone() -> None:
    error = torch.distributions.Laplace(0.0, 0.3).sample((64, 2, 8, 8))
    x0, spread = torch.zeros(64, 2, 8, 8, requires_grad=True), torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.Adam([spread], 0.05)
    for _ in range(200):
        optimizer.zero_grad()
        losses.spread_loss(x0, spread.expand(64, 2, 8, 8), error, torch.ones(64, 1, 8, 8), torch.ones(64)).backward()
        optimizer.step()
    assert x0.grad is None or not x0.grad.any()
    assert float(spread.detach().exp()) == pytest.approx(0.3, rel=0.05)


@pytest.mark.parametrize("kind", ["selfdisc", "cosine", "gan"])
def test_a_discriminator_brings_the_student_to_the_teacher(kind: discriminators.Kind) -> None:
    draw = torch.Generator().manual_seed(0)
    teacher = torch.randn(8, 5, 16, generator=draw)
    student = (0.3 * torch.randn(8, 5, 16, generator=draw)).requires_grad_()
    one = seeded(lambda: discriminators.build(kind, 16, 32))
    own = seeded(lambda: discriminators.build(kind, 16, 32))
    optimizer = torch.optim.Adam([student, *one.parameters()], 0.02)
    found = []
    for step in range(150):
        optimizer.zero_grad()
        loss, told = one(student, teacher, own, step / 150)
        loss.backward()
        optimizer.step()
        own.load_state_dict(one.state_dict())
        found.append((float(loss.detach()), told))
    assert teacher.grad is None
    if kind == "gan":
        assert found[0][1]["told_apart"] > 0.6  # and the student does not lose
        assert found[-1][0] < 5
    else:
        assert found[-1][0] < 0.8 * found[0][0]
    if kind == "selfdisc":
        assert 0.02 < found[-1][1]["teacher_entropy"] < 0.98


def test_wafers_of_one_group_are_no_negatives_of_each_other() -> None:
    groups = torch.tensor([0, 0, 1, 1])
    codes = torch.nn.functional.normalize(torch.eye(4)[groups], dim=-1)
    alone = torch.nn.functional.normalize(torch.eye(4), dim=-1)
    embedded = {"previous": alone, "logs": alone, "barcode": codes}
    steep = torch.tensor(100.0)
    pairs = {"barcode": codes, "previous": codes, "logs": codes}
    same = contrast.contrastive(pairs, groups, steep)
    other = contrast.contrastive(pairs, groups, steep, labels=False)
    assert float(same) == pytest.approx(math.log(2), abs=1e-3) and float(other) == pytest.approx(math.log(2), abs=1e-3)
    apart = {**pairs, "barcode": alone}
    assert float(contrast.contrastive(apart, groups, steep)) > float(same) + 1, "equal barcodes that are pushed apart are punished"
    assert contrast.retrieval(embedded, groups, "previous", "logs") == 1


# --------------------------------------------------------------------------------------------------------------------------- walks


def test_a_walk_ends_where_the_gaussian_flow_does() -> None:
    """Of x0 ~ N(m, s^2) the clean map is known at every time, and DDIM the walk ends at m + s z but for its steps."""
    schedule, m, s = noise_schedule("linear", 1e-4, 0.02), 0.3, 0.4

    def exact(x: Tensor, given: Tensor, t: Tensor, conditions: Tensor, seen: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        a, sigma = schedule.at(t, x)
        x0 = m + a * s**2 / (a**2 * s**2 + sigma**2) * (x - a * m)
        return x0, torch.zeros_like(x), x

    noise = torch.randn(64, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    nothing = Prompt(torch.zeros(64, 13, 8, 8), torch.zeros(64, 1, 1))
    found = {}
    for order, steps in ((1, 12), (1, 100), (2, 12), (2, 100)):
        walk = Walk(exact, schedule, SampleParams(steps=steps, order=order), 4)
        x, _ = walk(noise, nothing, None, walk.seen(torch.Generator().manual_seed(0)), torch.ones(64, 1, 8, 8), lambda: None)
        found[order, steps] = float((x - (m + s * noise)).square().mean().sqrt()) / s
    assert found[1, 100] < 0.3 * found[1, 12] and found[2, 12] < 0.3 * found[1, 12] and found[2, 100] < 0.01, found


def test_few_steps_of_ddim_even_in_time_halve_what_varies_little_and_these_do_not() -> None:
    """The same Gaussian with a deviation of 0.1: what twenty evaluations leave of it, by DDIM as it is usually spaced, and by the walk."""
    schedule, s = noise_schedule("linear", 1e-4, 0.02), 0.1

    def clean(x: Tensor, t: Tensor) -> Tensor:
        a, sigma = schedule.at(t, x)
        return a * s**2 / (a**2 * s**2 + sigma**2) * x

    noise = torch.ones(1, 2, 8, 8)
    walk = Walk(lambda x, _, t, *rest: (clean(x, t), x, x), schedule, SampleParams(steps=20), 4)
    nothing = Prompt(torch.zeros(1, 13, 8, 8), torch.zeros(1, 1, 1))
    x, _ = walk(noise, nothing, None, [None] * 20, torch.ones(1, 1, 8, 8), lambda: None)
    assert float(x.mean()) / s == pytest.approx(1, abs=0.05)
    x, times = noise, torch.linspace(999, 0, 21).round().long()[:-1].tolist()
    for now, after in itertools.pairwise([*times, None]):
        x0 = clean(x, torch.tensor([now]))
        if after is None:
            assert float(x0.mean()) / s < 0.55
        else:
            (a, sigma), (later, rest) = (schedule.at(torch.tensor([one]), x) for one in (now, after))
            x = later * x0 + rest * (x - a * x0) / sigma


def test_where_two_times_would_be_one_the_last_steps_still_see_everything() -> None:
    walk = Walk(lambda *_: None, noise_schedule("linear", 1e-4, 0.02), SampleParams(steps=1000, mask_ratio=0.5), 64)  # type: ignore[arg-type, return-value]
    seen = walk.seen(torch.Generator().manual_seed(0))
    assert len(seen) == len(walk.times) < 1000 and [one is None for one in seen[-3:]] == [False, True, True]


def test_the_last_steps_see_everything_and_the_others_take_turns() -> None:
    schedule = noise_schedule("linear", 1e-4, 0.02)
    for turn, distinct in (("alternate", 2), ("fixed", 1)):
        walk = Walk(lambda *_: None, schedule, SampleParams(steps=8, mask_ratio=0.5, turn=turn), 64)  # type: ignore[arg-type, return-value]
        seen = walk.seen(torch.Generator().manual_seed(0))
        assert [one is None for one in seen] == [False] * 6 + [True] * 2
        assert len({tuple(one[0].tolist()) for one in seen if one is not None}) == distinct


# ------------------------------------------------------------------------------------------------------------------------ training

SMALL: dict[str, Any] = {"steps": 120, "batch": 16, "lr": 2e-3}


@pytest.fixture(scope="module")
def maps(store: LocalStore) -> OverlayMaps:
    return run_task(store, OverlayMap, "simulate", {"count": 240, "size": 16}, seed=7)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def others(store: LocalStore) -> OverlayMaps:
    return run_task(store, OverlayMap, "simulate", {"count": 60, "size": 16}, seed=8)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def embedding(store: LocalStore, maps: OverlayMaps) -> Model:
    return run_task(store, Ikddit, "embed", {"steps": 60, "batch": 64, "width": 32, "layers": 1}, inputs={"maps": maps})  # type: ignore[return-value]


@pytest.fixture(scope="module")
def model(store: LocalStore, maps: OverlayMaps, embedding: Model) -> Model:
    return run_task(store, Ikddit, "train", SMALL, inputs={"maps": maps, "embedding": embedding})  # type: ignore[return-value]


def test_encoders_know_wafers_of_lots_that_they_have_not_met_better_than_untrained_ones(store: LocalStore) -> None:
    many = run_task(store, OverlayMap, "simulate", {"count": 600, "size": 16}, seed=7)
    trained, untrained = (
        run_task(store, Ikddit, "embed", {"steps": steps, "batch": 64, "width": 32, "layers": 1}, inputs={"maps": many})
        for steps in (90, 0)
    )
    assert isinstance(trained, Model) and isinstance(untrained, Model)
    assert trained.config["held_out"]["loss"] < untrained.config["held_out"]["loss"] - 0.1


def test_the_model_holds_the_student_alone(model: Model) -> None:
    names = list(model.state())
    assert {name.partition(".")[0] for name in names} == {"conditions", "net"}
    assert not [name for name in names if "teacher" in name or "discriminator" in name or "prototype" in name]


def test_training_lowers_the_error_of_what_is_masked(store: LocalStore, model: Model) -> None:
    curves = store.manifest(model.key)["curves"]
    assert {"main.dsm", "main.mae", "main.disc", "main.spread", "main.teacher_entropy", "main.alignment"} <= set(curves)
    errors = [value for _, value in curves["main.mae"] if value]  # 0 where nothing was masked
    assert np.mean(errors[-3:]) < 0.9 * np.mean(errors[:2])


def test_ensembles_follow_from_the_seed_and_their_number_alone(store: LocalStore, model: Model, others: OverlayMaps) -> None:
    inputs = {"maps": others, "model": model}
    made = [
        run_task(store, Ikddit, "sample", {"members": 2, "wafers": count, "steps": 3, "batch": batch}, inputs=inputs)
        for count, batch in ((4, 8), (3, 4))
    ]
    first, second = (one.values[...] for one in made)  # type: ignore[attr-defined]
    np.testing.assert_allclose(first[:6], second, atol=1e-4)
    assert isinstance(made[0], OverlayEnsembles) and made[0].wafers == 4 and (first[0] != first[1]).any()
    assert made[0].source_names == others.source_names


def test_a_member_does_not_depend_on_how_many_there_are(store: LocalStore, model: Model, others: OverlayMaps) -> None:
    inputs = {"maps": others, "model": model}
    two, three = (run_task(store, Ikddit, "sample", {"members": m, "wafers": 3, "steps": 3}, inputs=inputs) for m in (2, 3))
    assert isinstance(two, OverlayEnsembles) and isinstance(three, OverlayEnsembles)
    np.testing.assert_allclose(three.by_wafer()[:, :2], two.by_wafer(), atol=1e-4)
    assert two.barcodes == others.barcodes[:3]


def test_the_teacher_is_the_average_of_the_student_and_has_no_gradient(store: LocalStore, maps: OverlayMaps, embedding: Model) -> None:
    def trained(ctx: Context) -> Model:
        params, units = TrainParams(**SMALL), Units.inside(embedding.config)
        student = training.built(ctx, params, maps, units, embedding)
        average = ema(student, params.ema_decay)
        average.requires_grad_(False)
        before = {name: value.clone() for name, value in student.named_parameters()}
        step = training.Step(ctx, params, student, average.module, Material.of(maps, units), noise_schedule("linear", 1e-4, 0.02))
        loss, told = step(ctx.generator("batches"), 0.5, 0.0)
        loss.backward()
        assert told["alignment"] < 1 and not [p for p in average.module.parameters() if p.grad is not None]
        assert [p for p in student.net.parameters() if p.grad is not None and p.grad.any()]
        for _ in range(2):  # the first makes it the student, the second has the warmed-up decay of 2 / 11
            with torch.no_grad():
                for value in student.parameters():
                    value.add_(1)
            average.update_parameters(student)
        for name, value in average.module.named_parameters():
            torch.testing.assert_close(value, before[name] + 1 + 9 / 11, rtol=1e-6, atol=1e-6)
        return Model.write(ctx, {"done": torch.ones(1)}, {})

    write_artifact(store, trained)


@pytest.mark.parametrize("members", [1, 3])
def test_ensembles_leave_as_tables_of_places_and_of_wafers(store: LocalStore, model: Model, others: OverlayMaps, tmp_path: Path, members: int) -> None:  # fmt: skip
    params = {"members": members, "wafers": 2, "steps": 3}
    drawn = run_task(store, Ikddit, "sample", params, inputs={"maps": others, "model": model})
    assert isinstance(drawn, OverlayEnsembles)
    drawn.exports()["csv"](tmp_path)
    with (tmp_path / "maps.csv").open(newline="") as file:
        places = list(csv.DictReader(file))
    valid = drawn.valid[0].astype(bool)
    assert len(places) == 2 * valid.sum()
    second = [place for place in places if place["wafer"] == "1"]
    mean = drawn.values[members:].mean(0)[:, valid]
    np.testing.assert_allclose([[float(p["dx"]), float(p["dy"])] for p in second], mean.T, rtol=1e-4, atol=1e-6)
    assert {place["deviation_dx"] == "" for place in places} == {members == 1}
    assert all(float(place["sigma_dy"]) > 0 for place in places)
    with (tmp_path / "wafers.csv").open(newline="") as file:
        wafers = list(csv.DictReader(file))
    assert [wafer["barcode"] for wafer in wafers] == others.barcodes[:2]
    fit = fitted(drawn.raster, drawn.values[members:].mean(0)[None], valid[None])[0]
    assert float(wafers[1]["translation_x [nm]"]) == pytest.approx(fit[NAMES.index("translation_x")], rel=1e-3, abs=1e-5)
    along = drawn.values[members:, 1][:, valid]
    worst = np.mean([abs(one.mean()) + 3 * one.std() for one in along])
    assert {place["barcode"] for place in second} == {others.barcodes[1]}
    assert float(wafers[1]["y |mean| + 3 sigma [nm]"]) == pytest.approx(worst, rel=1e-4)


@pytest.mark.parametrize("ratio", [0.0, 0.5])
def test_what_is_told_matters_and_what_is_hidden_does_not(store: LocalStore, model: Model, others: OverlayMaps, ratio: float) -> None:
    params = {"members": 1, "wafers": 4, "steps": 3, "mask_ratio": ratio}
    inputs = {"maps": others, "model": model}
    plain, hidden = (
        run_task(store, Ikddit, "sample", {**params, "hide": hide}, inputs=inputs).values[...]  # type: ignore[attr-defined]
        for hide in ((), ("previous", "logs", "barcode"))
    )
    assert np.abs(plain - hidden).max() > 1e-3


def test_the_graph_of_the_student_is_that_of_the_sampler(model: Model) -> None:
    networks = Ikddit.networks(model)
    assert set(networks) == {"student", "student-masked"}
    generator = Generator(model)
    one = networks["student"]
    clean, _ = one.module(*one.inputs.values())
    told = conditions.Told(*(one.inputs[name] for name in ("previous", "logs", "logged", "codes")))
    places = one.module.places.expand(2, -1, -1, -1)
    wanted, _, _ = generator.net(one.inputs["x"], torch.cat([told.previous, places], 1), one.inputs["t"], generator.conditions(told))
    torch.testing.assert_close(clean, wanted)


@pytest.fixture(scope="module")
def shallow(store: LocalStore, maps: OverlayMaps, embedding: Model) -> Model:
    """One block: the time that a graph takes to trace goes with their number, and they are alike."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "small", (1, *SIZES["small"][1:]))
        return run_task(store, Ikddit, "train", SMALL | {"steps": 3}, inputs={"maps": maps, "embedding": embedding})  # type: ignore[return-value]


@pytest.mark.parametrize("kind", ["onnx", "torch-export", "safetensors"])
def test_the_student_leaves_as_a_graph_and_as_weights_without_a_teacher(
    kind: str, store: LocalStore, shallow: Model, tmp_path: Path
) -> None:
    export_artifact(store, shallow.key, tmp_path / kind, kind, registry=Registry.load())
    if kind == "safetensors":
        with safe_open(tmp_path / kind / "model.safetensors", "pt") as file:
            assert {name.partition(".")[0] for name in file.keys()} == {"conditions", "net"}
        return
    told = json.loads((tmp_path / kind / "networks.json").read_text())
    assert set(told) == {"student", "student-masked"}
    assert all(one["largest_difference"] < 1e-4 for one in told.values())


@pytest.mark.parametrize("what", ["an entry", "a shape"])
def test_a_model_of_another_version_is_refused_in_words(store: LocalStore, model: Model, others: OverlayMaps, what: str) -> None:
    def aged(ctx: Context) -> Model:
        if what == "an entry":
            return Model.write(ctx, model.state(), {name: value for name, value in model.config.items() if name != "met"})
        leave = "net.decoder.leave.weight"
        return Model.write(ctx, model.state() | {leave: model.state()[leave].repeat(2, 1)}, dict(model.config))

    with pytest.raises(DataError, match=r"another version of ikddit\.train; run its training step again"):
        run_task(store, Ikddit, "sample", {"members": 1}, inputs={"maps": others, "model": write_artifact(store, aged)})


def test_maps_of_another_raster_and_other_logs_are_refused(store: LocalStore, model: Model, embedding: Model) -> None:
    larger = run_task(store, OverlayMap, "simulate", {"count": 10, "size": 24})
    more = run_task(store, OverlayMap, "simulate", {"count": 10, "size": 16, "spare_logs": 3})
    for wrong, word in ((larger, "raster"), (more, "logs")):
        with pytest.raises(Exception, match=word):
            run_task(store, Ikddit, "sample", {"members": 1}, inputs={"maps": wrong, "model": model})
    with pytest.raises(Exception, match="no model of ikddit"):
        run_task(store, Ikddit, "sample", {"members": 1}, inputs={"maps": more, "model": embedding})


# ------------------------------------------------------------------------------------------------------------------------- judging


def test_crps_of_a_normal_ensemble_is_the_closed_form(others: OverlayMaps) -> None:
    known = Known.of(others)
    rng = np.random.default_rng(0)
    exact = replace(known, values=rng.normal(size=known.values.shape))
    members = rng.normal(size=(len(exact.values), 8, *exact.values.shape[1:]))
    assert scores.crps(members, exact).mean() == pytest.approx(1 / math.sqrt(math.pi), rel=0.02)
    assert scores.crps(members[:, :1] * 0, exact).mean() == pytest.approx(math.sqrt(2 / math.pi), rel=0.02)
    mean, deviation = members.mean(1), members.std(1, ddof=1)
    assert scores.coverage(mean * 0, deviation * 0 + 1, exact) == pytest.approx(0.95, abs=0.005)


def test_a_frechet_distance_is_that_of_the_normals() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, (40000, 3)), rng.normal(0, 1, (40000, 3)) * [1, 2, 3] + [1, 0, 0]
    assert scores.apart(a, b) == pytest.approx(1 + 1 + 4, rel=0.03)
    assert scores.apart(a, a) == pytest.approx(0, abs=1e-6)


def test_ridge_foretells_what_is_told_and_nothing_of_shuffled_wafers(maps: OverlayMaps, others: OverlayMaps) -> None:
    learned, known = Known.of(maps), Known.of(others)
    ridge = Ridge.of(learned, Units.of(maps, 3))
    own = scores.r2(ridge.terms(known), known.terms)
    turned = np.roll(np.arange(len(known.terms)), 17)
    wrong = scores.r2(ridge.terms(known)[turned], known.terms)
    assert np.median(own) > 0.3 and np.median(wrong) < 0
    assert 0.3 < ridge.carried < 0.8


def test_a_report_of_a_model_stands_beside_its_rivals(store: LocalStore, model: Model, maps: OverlayMaps, others: OverlayMaps) -> None:
    drawn = run_task(store, Ikddit, "sample", {"members": 3, "steps": 3}, inputs={"maps": others, "model": model})
    report = run_task(store, Ikddit, "evaluate", {"members": 3}, inputs={"training": maps, "maps": others, "samples": [drawn]})
    assert isinstance(report, Report)
    rows = {row[0]: row for row in report.tables["Generators"].rows}
    assert list(rows) == ["ikddit", "ridge", "ridge, with its errors", "climatology", "layer below", "floor: training wafers"]
    assert report.metrics["ridge, with its errors"]["crps"] < report.metrics["layer below"]["crps"]
    assert report.metrics["ikddit"]["crps_ci"][0] <= report.metrics["ikddit"]["crps"] <= report.metrics["ikddit"]["crps_ci"][1]
    assert report.metrics["climatology"]["r2"] < 0 < report.metrics["ridge"]["r2"]
    assert report.metrics["floor"]["fd"] < report.metrics["climatology"]["fd"] and "CRPS" in report.verdict
    assert len(report.pictures) == 2


def test_a_report_of_maps_that_nothing_foretells_says_so_and_leaves_r2_out(store: LocalStore, model: Model, maps: OverlayMaps) -> None:
    chance = {"count": 40, "size": 16, "from_previous": 0.0, "from_logs": 0.0, "from_barcode": 0.0}
    others = run_task(store, OverlayMap, "simulate", chance, seed=9)
    drawn = run_task(store, Ikddit, "sample", {"members": 2, "steps": 3}, inputs={"maps": others, "model": model})
    report = run_task(store, Ikddit, "evaluate", {"members": 2}, inputs={"training": maps, "maps": others, "samples": [drawn]})
    assert isinstance(report, Report)
    assert "R2 is left out" in str(report.notes) and report.metrics["ikddit"]["crps"] > 0
    assert report.metrics["ikddit"].get("r2") is None and report.metrics["climatology"].get("r2") is None


def rewritten(ctx: Context, maps: OverlayMaps, **changes: Any) -> OverlayMaps:
    """The same maps but for what is changed."""
    told = {
        "log_names": maps.log_names, "log_units": list(maps.attrs["log_units"]), "barcodes": maps.barcodes, "raster": maps.raster,
        "logs": np.where(maps.logged[...] == 1, maps.logs[...], np.nan).astype(np.float32),
    }  # fmt: skip
    return OverlayMaps.write_maps(
        ctx,
        maps.values[...],
        previous=maps.previous[...],
        valid=maps.valid[...].astype(bool),
        **{**told, **changes},
        **maps.origins(),
    )


def test_a_log_in_another_unit_than_was_learned_is_refused(store: LocalStore, model: Model, others: OverlayMaps) -> None:
    def in_other_units(ctx: Context) -> OverlayMaps:
        return rewritten(ctx, others, log_units=["furlong", *others.attrs["log_units"][1:]])

    with pytest.raises(Exception, match=f"log '{others.log_names[0]}' of set .* is in 'furlong', model .* learned it in"):
        run_task(
            store, Ikddit, "sample", {"members": 1, "steps": 3}, inputs={"maps": write_artifact(store, in_other_units), "model": model}
        )


def test_a_log_far_from_those_that_were_learned_is_named(
    store: LocalStore, model: Model, others: OverlayMaps, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(Context, "log", lambda _, message: said.append(message))
    told = model.config["units"]

    def in_other_units(ctx: Context) -> OverlayMaps:
        logs = np.where(others.logged[...] == 1, others.logs[...], np.nan).astype(np.float32)
        logs[:4, 0] = told["means"][0] + 100 * told["deviations"][0]
        return rewritten(ctx, others, logs=logs)

    params = {"members": 1, "wafers": 5, "steps": 3}
    run_task(store, Ikddit, "sample", params, inputs={"maps": others, "model": model})
    assert not [line for line in said if "lies far" in line], "the control: the same fab, wrong entries and all"
    run_task(store, Ikddit, "sample", params, inputs={"maps": write_artifact(store, in_other_units), "model": model})
    (line,) = [line for line in said if "lies far" in line]
    assert line.startswith(f"log {told['log_names'][0]} [") and "4 of 5 wafers, as" in line


def test_a_verdict_tells_apart_what_the_interval_does() -> None:
    rows = {
        name: {"crps": Metric(crps), "fd": Metric(fd)} for name, crps, fd in (("mine", 0.50, 3.0), ("ridge, with its errors", 0.52, 1.5))
    }
    close, better = (verdict("mine", rows, apart, 3.0, 6) for apart in ((-0.04, 0.01), (-0.03, -0.01)))
    assert "not told apart from" in close and "-0.040 to +0.010" in close and "1.0 floors" in close
    assert "4% better than 'ridge, with its errors' (0.520 nm" in better
    few, alone = verdict("mine", rows, (-0.03, -0.01), 3.0, 5), verdict("mine", rows, None, 3.0, 1)
    assert "of 5 lots: fewer than 6 say nothing about others" in few and "of 1 lot: " in alone
    assert not [word for word in ("better", "worse", "not told apart") if word in few + alone]


def test_tools_that_the_training_had_not_are_named(
    store: LocalStore, model: Model, maps: OverlayMaps, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(Context, "log", lambda _, message: said.append(message))

    def renamed(ctx: Context) -> OverlayMaps:
        codes = [f"T99-C2|{code.partition('|')[2]}" if row < 3 else code for row, code in enumerate(maps.barcodes)]
        return rewritten(ctx, maps, barcodes=codes)

    params = {"members": 1, "wafers": 5, "steps": 3}
    known = run_task(store, Ikddit, "sample", params, inputs={"maps": maps, "model": model})
    assert not said and known.attrs["unmet"] == {}, "the control: wafers that were learned from"
    made = run_task(store, Ikddit, "sample", params, inputs={"maps": write_artifact(store, renamed), "model": model})
    assert made.attrs["unmet"] == {"T99-C2": 3} and "T99-C2 (3 wafers)" in "".join(said)
    assert any("T99-C2 (3)" in str(exhibit.facts) for exhibit in made.exhibits())
    assert material.unmet(["A|B|C"], [["A"], ["X"]]) == {"B": 1}, "fields behind those that make a group are not looked at"


def test_a_report_of_other_maps_or_of_the_training_set_is_refused(
    store: LocalStore, model: Model, maps: OverlayMaps, others: OverlayMaps
) -> None:
    drawn = run_task(store, Ikddit, "sample", {"members": 1, "wafers": 3, "steps": 3}, inputs={"maps": maps, "model": model})
    with pytest.raises(Exception, match="were drawn for set"):
        run_task(store, Ikddit, "evaluate", {}, inputs={"training": maps, "maps": others, "samples": [drawn]})
    steps = {
        "maps": {"task": "overlay-map.simulate"},
        "model": {"task": "ikddit.train", "inputs": {"maps": "maps"}},
        "drawn": {"task": "ikddit.sample", "inputs": {"maps": "maps", "model": "model"}},
        "report": {"task": "ikddit.evaluate", "inputs": {"training": "maps", "maps": "maps", "samples": ["drawn"]}},
    }
    odd = {name: steps[name] for name in ("maps", "model")}
    odd["model"] = {**odd["model"], "params": {"patch": 5}}
    with pytest.raises(PipelineError, match="patches of 5 px"):
        make_plan(Pipeline.model_validate({"name": "odd", "steps": odd}), Registry.load(), store)
    with pytest.raises(PipelineError, match="training set"):
        make_plan(Pipeline.model_validate({"name": "wrong", "steps": steps}), Registry.load(), store)


def test_wafers_of_lots_that_were_learned_from_are_refused(store: LocalStore, model: Model, maps: OverlayMaps) -> None:
    parts = {part: run_task(store, OverlayMap, "split", {"part": part}, inputs={"maps": maps}) for part in ("train", "test")}
    drawn = run_task(store, Ikddit, "sample", {"members": 1, "steps": 3}, inputs={"maps": parts["test"], "model": model})
    inputs = {"maps": parts["test"], "samples": [drawn]}
    run_task(store, Ikddit, "evaluate", {"members": 2}, inputs={"training": parts["train"], **inputs})
    with pytest.raises(Exception, match=r"\d+ lots are in training set .* Part a set with overlay-map.split"):
        run_task(store, Ikddit, "evaluate", {"members": 2}, inputs={"training": maps, **inputs})


def test_too_few_wafers_for_a_batch_are_refused(store: LocalStore) -> None:
    few = run_task(store, OverlayMap, "simulate", {"count": 10, "size": 16})
    with pytest.raises((DataError, Exception), match="two lots"):
        run_task(store, Ikddit, "embed", {"batch": 64}, inputs={"maps": few})


def test_maps_measured_at_few_places_are_learned_without_a_filter_or_refused(store: LocalStore, maps: OverlayMaps) -> None:
    valid = maps.valid[...].astype(bool) & (np.arange(16) % 4 == 0) & (np.arange(16) % 4 == 0)[:, None]

    def measured(ctx: Context) -> OverlayMaps:
        return OverlayMaps.write_maps(
            ctx,
            maps.values[...] * valid[:, None],
            previous=maps.previous[...],
            valid=valid,
            logs=np.where(maps.logged[...] == 1, maps.logs[...], np.nan).astype(np.float32),
            log_names=maps.log_names,
            log_units=list(maps.attrs["log_units"]),
            barcodes=maps.barcodes,
            raster=maps.raster,
            **maps.origins(),
        )

    few = write_artifact(store, measured)
    with pytest.raises(Exception, match=r"too few to tell 34 terms apart.*wiener: false"):
        run_task(store, Ikddit, "train", {"steps": 1, "batch": 4}, inputs={"maps": few})
    run_task(store, Ikddit, "train", {"steps": 1, "batch": 4, "wiener": False}, inputs={"maps": few})
