"""LPIPS reproduces the package's published values, and can be a loss: differentiable, frozen, silent, without luck."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from fabloom.errors import EnvironmentProblem
from fabloom.plugins.blocks import weights
from fabloom.plugins.blocks.perceptual import Lpips
from fabloom.plugins.blocks.weights import TRUNKS
from fabloom.plugins.judge import quality

TOLERANCE = 2e-4
"""What `expected.json` allows."""


def need(net: str) -> None:
    """Skip where the trunk is not at hand: a test fetches nothing."""
    entry = weights.TABLE[TRUNKS[net]]
    if weights.locate(entry) is None:
        pytest.skip(f"no file of the trunk of {net} is at hand: {' or '.join(entry.files)}")


def picture(path: Path, mode: str = "RGB") -> Tensor:
    """[1,C,H,W] on [-1, 1]."""
    pixels = np.atleast_3d(np.asarray(Image.open(path).convert(mode)))
    return torch.from_numpy(pixels.transpose(2, 0, 1)[None] / 127.5 - 1).float()


@pytest.mark.parametrize("net", ["alex", "squeeze", "vgg"])
def test_the_published_values_come_out(data_dir: Path, weights_dir: Path, net: str) -> None:
    need(net)
    folder = data_dir / "lpips_reference"
    expected = json.loads((folder / "expected.json").read_text())
    reference, first, second = (picture(folder / f"ex_{name}.png") for name in ("ref", "p0", "p1"))
    assert quality.lpips(reference, first, net).item() == pytest.approx(expected["ex_ref_vs_ex_p0"][net], abs=TOLERANCE)
    assert quality.lpips(reference, second, net).item() == pytest.approx(expected["ex_ref_vs_ex_p1"][net], abs=TOLERANCE)
    draw = torch.Generator().manual_seed(123)  # the same stream as the global generator's
    a, b = (torch.rand(10, 3, 100, 100, generator=draw) * 2 - 1 for _ in range(2))
    (noise,) = (value for name, value in expected.items() if "manual_seed(123)" in name)
    assert quality.lpips(a, b, net).mean().item() == pytest.approx(noise[net], abs=TOLERANCE)


def test_the_real_pair(data_dir: Path, weights_dir: Path) -> None:
    defect, clean = (picture(data_dir / "line_pair" / f"{name}.png", "L") for name in ("bridge_defect", "no_defect"))
    assert quality.lpips(defect, clean, "squeeze").item() == pytest.approx(0.00844, abs=5e-6)


@pytest.fixture(params=["alex", "squeeze", "vgg"])
def random_trunk(request: pytest.FixtureRequest) -> Lpips:
    """Algebra needs no pretrained trunk; nothing but a test ever builds one like this."""
    import torchvision

    models = {"alex": "alexnet", "squeeze": "squeezenet1_1", "vgg": "vgg16"}
    with torch.device("meta"):
        shapes = getattr(torchvision.models, models[request.param])(weights=None).features.state_dict()
    draw = torch.Generator().manual_seed(0)
    trunk = {
        f"features.{name}": torch.randn(value.shape, generator=draw) * (2 / max(value[0].numel(), 1)) ** 0.5
        for name, value in shapes.items()
    }
    return Lpips(request.param, trunk)


def rand(count: int, channels: int = 1, side: int = 32) -> Tensor:
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(count)) * 2 - 1


def test_it_is_a_distance_of_batches(random_trunk: Lpips) -> None:
    a, b = rand(3), rand(4)[:3]
    distances = random_trunk(a, b)
    assert distances.shape == (3,) and (distances > 0).all()
    assert random_trunk(a, a).tolist() == [0, 0, 0]
    torch.testing.assert_close(distances, random_trunk(b, a))
    torch.testing.assert_close(random_trunk(a, b.expand(-1, 3, -1, -1)), distances)  # grey is three equal channels
    torch.testing.assert_close(random_trunk(a, b[:1]), random_trunk(a, b[:1].expand(3, -1, -1, -1)))
    torch.testing.assert_close(random_trunk(b[:1], a), random_trunk(a, b[:1]))
    torch.testing.assert_close(torch.cat([random_trunk(a[i : i + 1], b[i : i + 1]) for i in range(3)]), distances)


def test_it_is_what_the_package_computes(random_trunk: Lpips) -> None:
    import lpips

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = lpips.LPIPS(net=random_trunk.net, pnet_rand=True, verbose=False)
    for ours, theirs in zip(random_trunk.slices, package.net.children(), strict=False):
        theirs.load_state_dict(ours.state_dict())
    a, b = rand(3, 3, 48), rand(4, 3, 48)[:3]
    torch.testing.assert_close(random_trunk(a, b), package(a, b).flatten(), rtol=1e-4, atol=1e-7)


def test_it_can_be_a_loss(random_trunk: Lpips) -> None:
    assert not any(p.requires_grad for p in random_trunk.parameters()) and not random_trunk.training
    a, b = rand(2).requires_grad_(), rand(3)[:2].requires_grad_()
    random_trunk(a, b).sum().backward()
    for x in (a, b):
        assert x.grad is not None and torch.isfinite(x.grad).all() and x.grad.abs().sum() > 0
    outside = 5 * rand(2)  # a z-scored image: not clamped
    assert not torch.allclose(random_trunk(outside, b), random_trunk(outside.clamp(-1, 1), b))


def test_positions_where_nothing_is_active_have_a_gradient() -> None:
    net = Lpips("squeeze", {k: -v.abs() for k, v in _squeeze().items()})  # all activations are cut to 0 but the first taps of dark images
    x = torch.ones(1, 1, 32, 32, requires_grad=True)
    net(x, rand(1)).sum().backward()
    assert x.grad is not None and torch.isfinite(x.grad).all()


def _squeeze() -> dict[str, Tensor]:
    import torchvision

    return {f"features.{k}": v for k, v in torchvision.models.squeezenet1_1(weights=None).features.state_dict().items()}


def test_loading_is_silent_and_leaves_the_global_generator_alone(weights_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Lpips.load("squeeze", torch.device("cpu"))
    assert torch.equal(before, torch.random.get_rng_state())
    assert capfd.readouterr() == ("", "")


def test_missing_trunks_and_unknown_nets_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(weights.VARIABLE, str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setitem(weights.TABLE, "alexnet", weights.Entry({"no-such-file.pth": "00"}, "nowhere"))
    with pytest.raises(EnvironmentProblem, match=r"no-such-file.pth .*set FABLOOM_WEIGHTS_DIR"):
        Lpips.load("alex")
    with pytest.raises(ValueError, match="LPIPS knows alex, squeeze, vgg, not 'resnet'"):
        quality.lpips(rand(1), rand(1), "resnet")
