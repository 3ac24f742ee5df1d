from __future__ import annotations

import hashlib
import io
import shutil
from dataclasses import replace
from http.client import IncompleteRead
from pathlib import Path
from typing import Any, ClassVar, NoReturn
from urllib.error import URLError

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import nn
from torch.nn.functional import conv2d

from fabloom.errors import EnvironmentProblem
from fabloom.plugins.blocks import patches, weights
from fabloom.plugins.blocks.ema import ema
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.noise import NoiseSchedule
from fabloom.progress import Messenger

# weights


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A weights folder, an empty hub cache, and no network."""
    given, hub = tmp_path / "weights", tmp_path / "hub"
    given.mkdir()
    (hub / "checkpoints").mkdir(parents=True)
    monkeypatch.setenv(weights.VARIABLE, str(given))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(weights.urllib.request, "urlopen", unreachable)
    return given


def unreachable(url: str, timeout: float) -> NoReturn:
    raise URLError("no route to host")


@pytest.fixture
def entry(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A table with one small entry; gives the bytes of its file."""
    content = save({"features.0.weight": torch.arange(4.0), "classifier.1.weight": torch.zeros(2)})
    made = weights.torchvision("tiny-00000000.pth", "nowhere", tiny=hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(weights, "TABLE", {"tiny": made})
    return content


def found(name: str) -> Path:
    place = weights.locate(weights.TABLE[name])
    assert place is not None
    return place[0].parent


def test_weights_are_found_in_the_folder_then_in_the_hub_cache(folder: Path, entry: bytes) -> None:
    assert weights.locate(weights.TABLE["tiny"]) is None
    (folder.parent / "hub" / "checkpoints" / "tiny.safetensors").write_bytes(entry)
    assert found("tiny").name == "checkpoints"
    (folder / "tiny.safetensors").write_bytes(entry)
    assert found("tiny") == folder
    state = weights.load("tiny")
    assert list(state) == ["features.0.weight"] and state["features.0.weight"].tolist() == [0, 1, 2, 3]


def test_missing_weights_say_where_to_put_them(folder: Path, entry: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = rf"tiny-00000000.pth .* are not in {folder} or .*checkpoints, and https://.* \(.*no route.*Put tiny.safetensors or .*"
    with pytest.raises(EnvironmentProblem, match=rf"{wanted}set {weights.VARIABLE}"):
        weights.load("tiny")
    monkeypatch.delenv(weights.VARIABLE)
    with pytest.raises(EnvironmentProblem, match=f"set {weights.VARIABLE}"):
        weights.load("tiny")
    with pytest.raises(EnvironmentProblem, match="Did you mean 'tiny'"):
        weights.load("tinny")
    monkeypatch.setattr(weights, "TABLE", {"tiny": replace(weights.TABLE["tiny"], url=None)})
    with pytest.raises(EnvironmentProblem, match="not for download"):
        weights.load("tiny")


def test_missing_weights_are_fetched_whole_and_checked(folder: Path, entry: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"features.0.weight": torch.ones(3), "classifier.1.bias": torch.ones(1)}, folder / "any.pth")
    content = (folder / "any.pth").read_bytes()
    made = weights.torchvision(f"tiny-{hashlib.sha256(content).hexdigest()[:8]}.pth", "nowhere")
    monkeypatch.setattr(weights, "TABLE", {"tiny": made})
    asked = []

    class Answer(io.BytesIO):
        """What a server sends."""

        headers: ClassVar[dict[str, str]] = {"Content-Length": str(len(content))}

    def answer(url: str, timeout: float) -> io.BytesIO:
        asked.append(url)
        return Answer(content)

    class Cut(Answer):
        """A connection that breaks after some bytes."""

        error: ClassVar[Exception]

        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                raise self.error
            return super().read(10)

    monkeypatch.setattr(weights.urllib.request, "urlopen", lambda url, timeout: Cut(content))
    events: list[dict[str, Any]] = []
    for error in (TimeoutError("the read operation timed out"), IncompleteRead(b"", 5)):
        Cut.error = error
        with pytest.raises(EnvironmentProblem, match=r"timed out|IncompleteRead"):
            weights.load("tiny")
    cache = folder.parent / "hub" / "checkpoints"
    assert not list(cache.iterdir())
    monkeypatch.setattr(weights.urllib.request, "urlopen", answer)
    path, read = weights.verified("tiny", Messenger(events.append))
    assert read == content and path.parent == cache
    assert events[0]["message"] == f"fetching {made.url} (1 MB) into {cache}" and events[-1]["done"] == events[-1]["total"] == 1
    assert weights.load("tiny")["features.0.weight"].tolist() == weights.load("tiny")["features.0.weight"].tolist() == [1, 1, 1]
    assert asked == [made.url] and [file.name for file in cache.iterdir()] == list(made.files)
    (cache / next(iter(made.files))).unlink()
    for wrong in (content + b"x", content[:-1], b"<html>please log in</html>"):
        monkeypatch.setattr(weights.urllib.request, "urlopen", lambda url, timeout, sent=wrong: Answer(sent))
        with pytest.raises(weights.MissingWeights, match=r"could not be fetched .what came has the sha256"):
            weights.load("tiny")
        assert not list(cache.iterdir()), "what is not the file of the table does not stay"


def test_the_cache_is_where_torch_hub_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for home, cache in ((None, None), (None, str(tmp_path / "cache")), (str(tmp_path / "home"), str(tmp_path / "cache"))):
        for name, value in (("TORCH_HOME", home), ("XDG_CACHE_HOME", cache)):
            monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
        assert [*weights._folders()][-1] == Path(torch.hub.get_dir()) / "checkpoints"


def test_damaged_weights_are_refused(folder: Path, entry: bytes) -> None:
    (folder / "tiny.safetensors").write_bytes(entry[:-1] + b"x")
    with pytest.raises(EnvironmentProblem, match="damaged"):
        weights.load("tiny")


def test_the_original_file_is_checked_by_the_digits_in_its_name(folder: Path, entry: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"features.0.weight": torch.ones(3), "classifier.1.bias": torch.ones(1)}, folder / "any.pth")
    digits = hashlib.sha256((folder / "any.pth").read_bytes()).hexdigest()[:8]
    monkeypatch.setattr(weights, "TABLE", {"tiny": weights.torchvision(f"tiny-{digits}.pth", "nowhere")})
    (folder / "any.pth").rename(folder / f"tiny-{digits}.pth")
    assert {k: v.tolist() for k, v in weights.load("tiny").items()} == {"features.0.weight": [1, 1, 1]}
    shutil.copy(folder / f"tiny-{digits}.pth", folder / "tiny-00000000.pth")
    monkeypatch.setattr(weights, "TABLE", {"tiny": weights.torchvision("tiny-00000000.pth", "nowhere")})
    with pytest.raises(EnvironmentProblem, match="damaged"):
        weights.load("tiny")


@pytest.mark.parametrize(("name", "module"), [("alexnet", "alexnet"), ("squeezenet1_1", "squeezenet1_1")])
def test_the_table_fits_torchvision(weights_dir: Path, name: str, module: str) -> None:
    import torchvision

    with torch.device("meta"):
        net = getattr(torchvision.models, module)(weights=None)
    wanted = {f"features.{key}": value.shape for key, value in net.features.state_dict().items()}
    assert {key: value.shape for key, value in weights.load(name).items()} == wanted


@pytest.mark.parametrize("name", ["inception_v3", "inception_v3_nsfwjs"])
def test_the_stem_fits_torchvision(weights_dir: Path, name: str) -> None:
    if weights.locate(weights.TABLE[name]) is None:
        pytest.skip(f"no file of {name} is at hand: {' or '.join(weights.TABLE[name].files)}")
    from torchvision.models.inception import Inception3

    with torch.device("meta"):
        net = Inception3(init_weights=False)
    wanted = {key: value.shape for key, value in net.state_dict().items() if key.startswith(weights.STEM) and "num_batches" not in key}
    found = {key: value.shape for key, value in weights.load(name).items() if "num_batches" not in key}
    assert found == wanted and len(found) == 15


# average, grey, noise


def test_average_follows_its_warm_up_in_closed_form() -> None:
    net = nn.Linear(1, 1, bias=False)
    average = ema(net, decay=0.5)
    expected = None
    for n, value in enumerate((3.0, -1.0, 4.0, 1.0, 5.0, 9.0)):
        nn.init.constant_(net.weight, value)
        average.update_parameters(net)
        # torch copies the first value; from then on the decay is min(0.5, (1 + n) / (10 + n))
        decay = min(0.5, (1 + n) / (10 + n))
        expected = value if expected is None else decay * expected + (1 - decay) * value
    assert average.module.weight.item() == pytest.approx(expected)


def test_average_covers_buffers() -> None:
    net = nn.BatchNorm1d(1)
    average = ema(net)
    for _ in range(2):
        net(torch.tensor([[1.0], [3.0]]))
        average.update_parameters(net)
    assert 0 < average.module.running_mean.item() < net.running_mean.item() < 2
    assert average.module.num_batches_tracked.item() == 2


def test_grey_map_goes_to_the_unit_range_and_back() -> None:
    images = np.arange(60, 90, dtype=np.uint8).reshape(1, 1, 5, 6)
    grey = GreyMap.fit(images)
    values = grey.forward(images)
    assert -1 < values.min() < -0.85 and 0.85 < values.max() < 1
    assert torch.equal(grey.inverse(values), torch.from_numpy(images))
    constant = GreyMap.fit(np.full((1, 1, 2, 2), 7, np.uint8))
    assert torch.isfinite(constant.forward(np.full((1, 1, 2, 2), 7, np.uint8))).all()
    assert grey.inverse(torch.tensor([-99.0, 99.0])).tolist() == [0, 255]


@pytest.mark.parametrize("name", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_noise_schedule_is_diffusers_and_preserves_variance(name: str) -> None:
    from diffusers import DDPMScheduler

    schedule = NoiseSchedule.make(1000, name)
    reference = DDPMScheduler(beta_schedule=name, beta_start=1e-4, beta_end=0.02)
    x0, noise = torch.randn(2, 4, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0, 10, 500, 999])
    torch.testing.assert_close(schedule.add_noise(x0, noise, t), reference.add_noise(x0, noise, t), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(schedule.velocity(x0, noise, t), reference.get_velocity(x0, noise, t), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(schedule.alpha**2 + schedule.sigma**2, torch.ones(1000, dtype=torch.float64))
    few = NoiseSchedule.make(8, name)
    assert few.alpha[-1] == schedule.alpha[-1] and few.alpha[0] == schedule.alpha[0]


def test_velocity_splits_into_image_and_noise() -> None:
    schedule = NoiseSchedule.make(1000)
    x0, noise = torch.randn(2, 6, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0, 1, 300, 600, 900, 999])
    parts = schedule.split_velocity(schedule.add_noise(x0, noise, t), schedule.velocity(x0, noise, t), t)
    torch.testing.assert_close(parts[0], x0, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(parts[1], noise, rtol=1e-4, atol=1e-4)


def test_patches_of_a_large_image_are_thinned_and_of_a_small_one_not() -> None:
    """Distances to itself stay 0, and to noise what they are, though a few thousand patches ask and some answer; pairs are never held all at once."""
    draw = torch.Generator().manual_seed(0)
    for side, asking in ((96, 900), (300, 2401)):
        image, other = torch.rand(2, 1, 1, side, side, generator=draw)
        dense, sparse = patches._patches(image)
        assert len(sparse) == asking and len(dense) == (8100 if side == 96 else patches.ANSWERING + asking)
        own, foreign = patches.nearest(image, image), patches.nearest(other, image)
        assert max(float(value) for value in own) < 1e-6 < 0.02 < min(float(value) for value in foreign)
        assert float(patches.sliced_wasserstein(image, image)) == 0
        assert float(patches.sliced_wasserstein(image + 1, image)) == pytest.approx(
            float(patches.projections(1).sum((1, 2, 3)).abs().mean()), rel=1e-4
        )


def test_two_sets_of_images_are_as_far_apart_as_quantiles_of_all_their_patches_say() -> None:
    draw = torch.Generator().manual_seed(1)
    some, others = torch.rand(6, 2, 20, 20, generator=draw), torch.rand(4, 2, 24, 20, generator=draw) ** 2
    shift = float(patches.projections(2).sum((1, 2, 3)).abs().mean())
    assert patches.apart(some, some) == 0 and patches.apart(some + 1, some) == pytest.approx(shift, rel=1e-4)
    seen = [conv2d(one, patches.projections(2), stride=patches.STEP).transpose(0, 1).flatten(1).numpy() for one in (some, others)]
    wanted = [np.quantile(one.astype(float), np.linspace(0, 1, patches.QUANTILES), axis=1) for one in seen]
    assert patches.apart(some, others) == pytest.approx(float(np.abs(wanted[0] - wanted[1]).mean()), rel=1e-4) and wanted[0].std() > 0.1
