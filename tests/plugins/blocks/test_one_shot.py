"""Pyramid, scale-conditioned network, lattice, and the ends that one-shot methods share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fabloom.errors import DataError
from fabloom.plugins.blocks.lattice import Lattice
from fabloom.plugins.blocks.one_shot import normal, streams
from fabloom.plugins.blocks.pyramid import Pyramid, fitted, resize, scale_sizes
from fabloom.plugins.blocks.scale_network import RECEPTIVE_FIELD, ScaleNetwork
from fabloom.plugins.blocks.scale_params import ScaleTraining
from fabloom.plugins.blocks.scale_training import average_of, update_average


def test_sizes_are_the_published_ones() -> None:
    square = [(55, 55), (73, 73), (96, 96)]
    assert scale_sizes((96, 96), 3000, 1.4) == square and scale_sizes((96, 96), 3110, 1.411) == square
    landscape, portrait = scale_sizes((120, 200), 3000, 1.4), scale_sizes((200, 120), 3000, 1.4)
    assert [(w, h) for h, w in landscape] == portrait, "height and width are not mixed up"
    assert landscape[-1] == (120, 200) and 42 <= landscape[0][0] <= 55
    assert scale_sizes((48, 48), 3000, 1.4) == [(48, 48)], "one scale, where ln(m / d0) is 0 / 0 in the formula"
    with pytest.raises(DataError, match="41 x 96 is too small"):
        scale_sizes((41, 96), 3000, 1.4)


def test_large_images_are_shrunk_and_small_ones_are_not() -> None:
    assert fitted((96, 96), 50_000) == (96, 96)
    height, width = fitted((640, 320), 50_000)
    assert height * width <= 50_000 < (height + 2) * (width + 2) and abs(height / width - 2) < 0.02


@pytest.mark.parametrize(("kernel", "pillow"), [("bilinear", Image.Resampling.BILINEAR), ("lanczos", Image.Resampling.LANCZOS)])
def test_resize_is_pillows(kernel: str, pillow: Image.Resampling) -> None:
    image = np.random.default_rng(0).normal(size=(96, 80)).astype(np.float32)
    ours = resize(torch.from_numpy(image)[None, None], (55, 47), kernel)[0, 0].numpy()
    theirs = np.asarray(Image.fromarray(image).resize((47, 55), pillow))
    plain = torch.nn.functional.interpolate(torch.from_numpy(image)[None, None], (55, 47), mode="bilinear")[0, 0].numpy()
    assert np.abs(ours - theirs).max() < 1e-5 < np.abs(plain - theirs).max(), "without the low-pass it is another image"


def test_a_pyramid_comes_from_the_original_and_may_be_kept_in_8_bits() -> None:
    image = torch.rand(1, 96, 96, generator=torch.Generator().manual_seed(0))
    sizes = scale_sizes((96, 96), 3000, 1.4)
    pyramid, rounded = Pyramid.build(image, sizes), Pyramid.build(image, sizes, levels=255)
    assert pyramid.sizes == sizes and torch.equal(pyramid.images[-1][0], image) and pyramid.recons[0] is None
    recon = pyramid.recons[2]
    assert recon is not None and torch.equal(recon, resize(resize(image[None], sizes[1]), sizes[2]))
    steps = rounded.images[0] * 255
    assert torch.allclose(steps, steps.round(), atol=1e-4) and not torch.allclose(pyramid.images[0] * 255, steps, atol=1e-2)


def test_parameter_counts_are_the_published_ones() -> None:
    counts = {channels: sum(p.numel() for p in ScaleNetwork(channels).parameters()) for channels in (1, 3)}
    assert counts == {1: 1_104_892, 3: 1_106_772}


def test_the_receptive_field_is_33_pixels() -> None:
    torch.manual_seed(0)
    net = ScaleNetwork(1, width=8)
    x = torch.randn(1, 1, 65, 65, requires_grad=True)
    net_out = net(x, torch.zeros(1), torch.zeros(1))
    net_out[0, 0, 32, 32].backward()
    assert x.grad is not None
    rows, columns = np.nonzero(x.grad[0, 0].numpy())
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (RECEPTIVE_FIELD, RECEPTIVE_FIELD) == (33, 33)


def test_the_network_hears_time_scale_and_context() -> None:
    torch.manual_seed(0)
    net = ScaleNetwork(1, width=8, context=2)
    x, context = torch.randn(2, 1, 20, 31), torch.randn(1, 2, 20, 31)
    zero, one = torch.zeros(2), torch.ones(2)
    plain = net(x, zero, zero, context)
    assert plain.shape == x.shape
    for other in (net(x, one, zero, context), net(x, zero, one, context), net(x, zero, zero, 2 * context)):
        assert (plain - other).abs().max() > 1e-6


def grid(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    return np.mgrid[: size[0], : size[1]] + 0.5


@pytest.mark.parametrize("frequency", [(0.0, 0.0526), (0.05, 0.08), (0.137, -0.02)])
def test_a_wave_is_found_between_the_bins(frequency: tuple[float, float]) -> None:
    y, x = grid((96, 90))
    wave = np.cos(2 * np.pi * (frequency[0] * y + frequency[1] * x) + 1) + 0.2 * np.random.default_rng(0).normal(size=y.shape)
    ((fy, fx),) = Lattice.fit(wave).frequencies
    sign = np.sign(fy * frequency[0] + fx * frequency[1])
    assert np.hypot(sign * fy - frequency[0], sign * fx - frequency[1]) < 0.05 / 96, "a twentieth of a bin"


def test_contact_holes_have_two_directions_and_lines_one() -> None:
    y, x = grid((96, 96))
    holes = np.exp(-(((y % 14 - 7) ** 2) + (x % 12 - 6) ** 2) / 8)
    lattice = Lattice.fit(holes)
    assert sorted(1 / np.hypot(*f) for f in lattice.frequencies) == pytest.approx([12, 14], rel=5e-3)
    lines = Lattice.fit((x % 7 < 3).astype(float))
    assert len(lines.frequencies) == 1 and lines.period == pytest.approx(7, rel=1e-3)


@pytest.mark.parametrize("kind", ["noise", "shade", "constant", "two bumps"])
def test_what_is_not_periodic_has_no_lattice(kind: str) -> None:
    y, x = grid((96, 96))
    images = {
        "noise": np.random.default_rng(0).normal(size=(96, 96)),
        "shade": x + 0.5 * y,
        "constant": np.full((96, 96), 7.0),
        "two bumps": np.exp(-((x - 30) ** 2 + (y - 50) ** 2) / 200) + np.exp(-((x - 70) ** 2 + (y - 20) ** 2) / 90),
    }
    assert Lattice.fit(images[kind]).frequencies == ()


def test_circuit_boards_have_no_lattice_and_the_line_pair_has_one(data_dir: Path) -> None:
    board = np.asarray(Image.open(data_dir / "deeppcb" / "00041000_temp.jpg").convert("L"), float)
    assert Lattice.fit(board).frequencies == () == Lattice.fit(board[200:296, 200:296]).frequencies
    lines = np.asarray(Image.open(data_dir / "line_pair" / "no_defect.png").convert("L"), float)
    lattice = Lattice.fit(lines)
    # least squares over the columns' mean gives 0.0526 cycles a pixel
    assert len(lattice.frequencies) == 1 and lattice.period == pytest.approx(1 / 0.0526, rel=2e-3)


def test_the_phase_follows_the_structure_at_every_scale() -> None:
    _, x = grid((96, 96))
    lattice = Lattice.fit(np.cos(2 * np.pi * 0.0526 * x))
    full, small = lattice.phase((96, 96)), lattice.phase((48, 48), (2, 2))
    assert full.shape == (2, 96, 96) and np.abs(full[0].numpy() - np.cos(2 * np.pi * 0.0526 * x)).max() < 0.05
    assert torch.allclose(resize(full[None], (48, 48))[0, :, 4:-4, 4:-4], small[:, 4:-4, 4:-4], atol=0.05)


def test_noise_of_a_sample_depends_on_its_number_alone() -> None:
    together = normal(streams(5, range(4)), (1, 3, 3), torch.device("cpu"))
    apart = torch.cat([normal(streams(5, range(n, n + 1)), (1, 3, 3), torch.device("cpu")) for n in range(4)])
    assert torch.equal(together, apart) and not torch.equal(together[0], together[1])
    assert not torch.equal(together, normal(streams(6, range(4)), (1, 3, 3), torch.device("cpu")))


def test_the_published_average_is_a_copy_first_and_then_has_its_full_decay() -> None:
    class Given(ScaleTraining):
        pass

    net = torch.nn.Linear(1, 1, bias=False)
    # after two copies 0.9 * 1 + 0.1 * 2; with warm-up one copy, then decays of 2/11 and 3/12
    for params, wanted in ((Given(ema_start=2, ema_decay=0.9), 1.1), (Given(ema_decay=0.9), 0.25 * 9 / 11 + 0.75 * 2)):
        average = average_of(params, net)
        for step, value in enumerate((0.0, 1.0, 2.0)):
            torch.nn.init.constant_(net.weight, value)
            update_average(params, average, net, step)
        assert average.module.weight.item() == pytest.approx(wanted)
