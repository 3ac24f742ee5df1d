"""Noise that makes up for power that images lack, against closed forms."""

from __future__ import annotations

import numpy as np

from fabloom.plugins.blocks.leftover import Leftover, power
from fabloom.plugins.blocks.spectra import ratios


def coloured(draw: np.random.Generator, count: int, channels: int, width: int) -> np.ndarray:
    """Noise [K,C,16,16] averaged over neighbours along x."""
    white = draw.standard_normal((count, channels, 16, 16))
    return sum(np.roll(white, shift, 3) for shift in range(width)) / width**0.5


def test_what_is_lacking_is_made_up_for_at_every_frequency() -> None:
    draw = np.random.default_rng(0)
    wanted, found = 5 * coloured(draw, 600, 1, 1), 3 * coloured(draw, 600, 1, 3)
    grain = Leftover.of(wanted, found)
    whole = found + np.stack([grain.draw(draw) for _ in found])
    deficit = np.maximum((power(wanted) - power(found))[..., 0, 0].real, 0)
    added = power(whole - found)[..., 0, 0].real
    np.testing.assert_allclose(added, deficit, rtol=0.4, atol=2.0)  # of 25; a window blurs a spectrum by two bins
    assert all(abs(ratio - 1) < 0.05 for ratio in ratios(whole[:, 0], wanted[:, 0]).values())
    assert ratios(found[:, 0], wanted[:, 0])["high_band"] < 0.6  # the control: without it they lack power


def test_power_of_its_own_is_not_counted_twice() -> None:
    draw = np.random.default_rng(1)
    wanted, found = coloured(draw, 400, 1, 1), coloured(draw, 400, 1, 1)  # as much noise, but other noise: nothing lacks
    grain = Leftover.of(wanted, found)
    drawn = np.stack([grain.draw(draw) for _ in range(200)])
    assert drawn.var() < 0.1 < (wanted - found).var() / 10


def test_channels_that_share_noise_share_it_afterwards_and_the_filters_travel() -> None:
    draw = np.random.default_rng(2)
    common = draw.standard_normal((500, 1, 8, 8))
    wanted = np.concatenate([common, 0.5 * common], 1)
    grain = Leftover.of(wanted, np.zeros_like(wanted))
    kept = Leftover.kept(grain.tensors())
    first, again = (one.draw(np.random.default_rng(3)) for one in (grain, kept))
    np.testing.assert_allclose(first, again, atol=1e-5)
    drawn = np.stack([grain.draw(draw) for _ in range(200)])
    assert np.corrcoef(drawn[:, 0].ravel(), drawn[:, 1].ravel())[0, 1] > 0.99
    np.testing.assert_allclose(drawn.std((0, 2, 3)), [1, 0.5], rtol=0.1)


def test_what_an_image_lacks_in_the_lowest_frequencies_does_not_leak_into_the_others() -> None:
    """Ramps across the frame, which do not join at its edges: without a window a seventh of all power would be made up for as fine noise."""
    draw = np.random.default_rng(4)
    ramp = draw.standard_normal((300, 1, 1, 1)) * np.linspace(-20, 20, 32)[None, None, None]
    wanted = np.broadcast_to(ramp, (300, 1, 32, 32)) + draw.standard_normal((300, 1, 32, 32))
    found = 0.9 * ramp + draw.standard_normal((300, 1, 32, 32))
    grain = Leftover.of(wanted, found)
    fine = np.stack([grain.draw(draw) for _ in range(100)])[:, 0]
    assert ratios(fine + found[:100, 0], wanted[:, 0])["high_band"] < 1.1
