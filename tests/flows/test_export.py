"""What is exported is opened by what it is meant for, without fabloom, and gives what the model or the set gives."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from fabloom.errors import DamagedArtifact, FabloomError, PluginError, UserError
from fabloom.flows.cli.main import main
from fabloom.flows.export.images import components
from fabloom.flows.export.job import export_artifact, formats_of
from fabloom.flows.export.models import compare
from fabloom.hooks import hookimpl
from fabloom.kinds import Artifact, ImageSet, Model
from fabloom.method import Context, Method, task
from fabloom.network import Network
from fabloom.params import Params
from fabloom.plugins.blocks.graphs import traceable
from fabloom.plugins.cross_domain.icddm.method import Icddm
from fabloom.plugins.cross_domain.kdcddm.method import Kdcddm
from fabloom.plugins.diffusion.ddpm.method import Ddpm
from fabloom.plugins.judge.unet.method import UNet
from fabloom.plugins.one_shot.consingan.method import ConSinGan
from fabloom.plugins.one_shot.sinddm.method import SinDdm
from fabloom.plugins.one_shot.sindiffusion.method import SinDiffusion
from fabloom.plugins.one_shot.sinfusion.method import SinFusion
from fabloom.plugins.one_shot.singan.method import SinGan
from fabloom.plugins.one_shot.sinsemi.method import SinSemi
from fabloom.plugins.one_step.denoising_circuits.method import DenoisingCircuits
from fabloom.registry import Origin, Registry
from fabloom.storage.backends.local import LocalStore
from fabloom.testing.running import run_task, write_artifact
from fabloom.testing.tiny import tiny_images, tiny_model, tiny_offline, tiny_report

Start = Callable[..., subprocess.CompletedProcess[str]]
TOLERANCE = 1e-4
"""Largest deviation of an exported graph, as a share of the largest output. Graphs and module add up in different orders."""


def picture(ctx: Context) -> ImageSet:
    """One image of lines, for the one-shot methods."""
    draw = np.random.default_rng(0)
    pixels = np.where(np.arange(64) % 9 < 4, 160.0, 90.0) + draw.normal(0, 4, (1, 1, 64, 64))
    return ImageSet.write(ctx, np.clip(pixels, 0, 255).astype(np.uint8))


def rough(ctx: Context) -> ImageSet:
    """Colour images with masks that touch at corners, reach every border, enclose holes or are empty; no classes."""
    draw = np.random.default_rng(3)
    masks = np.zeros((6, 9, 13), np.uint8)
    masks[1, :3, :3] = masks[1, 3, 3] = 1
    masks[1, 1, 1] = 0
    masks[2] = 1
    masks[3, 0, 0] = masks[3, -1, -1] = masks[3, 4, :] = 1
    masks[4] = draw.random((9, 13)) < 0.4
    return ImageSet.write(ctx, draw.integers(0, 256, (6, 3, 9, 13), dtype=np.uint8), masks=masks)


def unlabelled(ctx: Context) -> ImageSet:
    """Images and nothing else."""
    return ImageSet.write(ctx, np.arange(3 * 64, dtype=np.uint8).reshape(3, 1, 8, 8))


class NoParams(Params):
    """None."""


class Halves(Method):
    """A method with bfloat16 weights that has no graph."""

    name = "halves"

    @task(version=1)
    def train(self, ctx: Context, params: NoParams, *, images: ImageSet) -> Model:
        """Three tensors."""
        values = torch.arange(12.0).reshape(3, 4) / 7
        return Model.write(ctx, {"a.weight": values.bfloat16(), "a.bias": values[0], "count": torch.tensor(3)}, {"of": "halves"})


class Plugin:
    """Registers it."""

    @hookimpl
    def fabloom_methods(self) -> list[type[Method]]:
        return [Halves]


class Broken:
    """A plugin that cannot be used."""

    @hookimpl
    def fabloom_methods(self) -> list[type[Method]]:
        raise ZeroDivisionError("no methods today")


@dataclass(frozen=True)
class World:
    """A store with a model of every method, and what is registered."""

    store: LocalStore
    registry: Registry
    artifacts: dict[str, Artifact]

    def export(self, name: str, folder: Path, format: str | None = None, **more: Any) -> list[str]:
        """Export by name."""
        return export_artifact(self.store, self.artifacts[name].key, folder, format, registry=self.registry, **more)


UNET = {"channels": [8, 16], "norm_groups": 4}
CIRCUIT: dict[str, Any] = {
    "timesteps": 4, "patch": 2, "latent_channels": 8, "head_width": 8, "batch": 4, "rin_blocks": 0, "step_blocks": 0, "carry": False,
    "head_blocks": 0, "train_backbone": False, "base": {"channels": [8], "steps": 2, "batch": 4}, "stages": [{"steps": 2, "step_probs": [0, 1]}],
}  # fmt: skip
ONE = {"steps": 3, "width": 8, "batch": 2, "precision": "fp32"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Every method that says how to export its models, trained for a few steps so that no weight is at its start."""
    store, registry = LocalStore(tmp_path_factory.mktemp("world") / "store"), Registry.load()
    registry.register(Plugin(), Origin("halves", "halves-dist", "1.0"))
    assert registry.methods["halves"] is Halves
    lines, one = write_artifact(store, tiny_images), write_artifact(store, picture)

    def train(method: type[Method], params: dict[str, Any], images: Artifact = lines, step: str = "train", **inputs: Artifact) -> Artifact:
        return run_task(store, method, step, params, inputs=inputs or {"images": images})

    teacher = train(DenoisingCircuits, CIRCUIT)
    offline = train(DenoisingCircuits, {"count": 8, "batch": 4, "chunks": 2, "block": 8}, step="record", teacher=teacher)
    domains = train(Icddm, {"steps": 3, "batch": 4, "network": UNET, "precision": "fp32"})
    answers = run_task(store, Kdcddm, "record", {"steps": 1, "block": 16}, inputs={"images": lines, "teacher": domains})
    kdcddm = train(
        Kdcddm, {"steps": 80, "lr": 0.05, "batch": 4, "network": UNET, "critic_width": 4}, step="distill", teacher=domains, offline=answers
    )
    return World(store, registry, {
        "images": lines, "rough": write_artifact(store, rough), "unlabelled": write_artifact(store, unlabelled),
        "report": write_artifact(store, tiny_report), "offline": write_artifact(store, tiny_offline),
        "foreign": write_artifact(store, tiny_model), "halves": train(Halves, {}),
        "ddpm": train(Ddpm, {"steps": 3, "batch": 4, "network": {**UNET, "channels": [8]}}),
        "ddpm-classes": train(Ddpm, {"steps": 3, "batch": 4, "network": UNET, "classes": "domain"}),
        "teacher": teacher, "kdcddm": kdcddm,
        "student": train(DenoisingCircuits, {"steps": 2, "batch": 4}, step="distill", teacher=teacher, offline=offline),
        "unet": train(UNet, {"steps": 2, "batch": 4, "decoder_channels": [16, 8, 8]}),
        "sinsemi": train(SinSemi, ONE, one),
        "sinddm": train(SinDdm, {**ONE, "anchor": "none"}, one),
        "sindiffusion": train(SinDiffusion, {"steps": 3, "precision": "fp32"}, one),
        "sinfusion": train(SinFusion, {"steps": 3, "depth": 2, "width": 8, "precision": "fp32"}, one),
        "singan": train(SinGan, {"iterations": 3, "width": 8, "norm": "batch"}, one),
        "consingan": train(ConSinGan, {"iterations": 3, "width": 8, "stages": 3}, one),
    })  # fmt: skip


# ------------------------------------------------------------------------------------------------------------------------ networks

GRAPHS = {
    "ddpm-classes": ["unet"], "teacher": ["start", "step", "readout"], "student": ["one-step"], "unet": ["segmenter-0"],
    "sinsemi": ["scale-network"], "sinddm": ["scale-network"], "sindiffusion": ["denoiser"], "sinfusion": ["denoiser"],
    "singan": ["generator"], "consingan": ["generator"],
    "kdcddm": ["detector"],
}  # fmt: skip
METHODS: dict[str, type[Method]] = {
    "ddpm-classes": Ddpm, "teacher": DenoisingCircuits, "student": DenoisingCircuits, "unet": UNet, "sinsemi": SinSemi, "sinddm": SinDdm,
    "sindiffusion": SinDiffusion, "sinfusion": SinFusion, "singan": SinGan, "consingan": ConSinGan,
    "kdcddm": Kdcddm,
}  # fmt: skip
CASES = [(model, name) for model, names in GRAPHS.items() for name in names]
BATCHES = (1, 5, 70)
"""One image, where axes of length 1 might have been taken for constants; more than the example has; more than diffusers branches at."""


def given(network: Network, batch: int) -> list[NDArray[Any]]:
    """Random inputs with `batch` images, height and width other than those of the example where they are free."""
    draw = np.random.default_rng(batch)
    lengths = {name: {"batch": batch, "height": 23, "width": 31}[name] for name in network.lengths}
    values = []
    for name, example in network.inputs.items():
        shape = [lengths.get(network.axes.get(name, {}).get(axis, ""), size) for axis, size in enumerate(example.shape)]
        if example.dtype == torch.int64:
            low, high = int(example.min()), int(example.max())
            values.append(draw.integers(low, high + 1, shape))
        else:
            values.append((draw.standard_normal(shape) * float(example.std())).astype(np.float32))
    return values


OUTSIDE = """
import importlib.abc, json, os, sys, warnings
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "fabloom":
            raise ImportError("fabloom is not to be used here")
sys.meta_path.insert(0, Refuse())
warnings.simplefilter("ignore")
import numpy as np, onnxruntime, torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from safetensors.torch import load_file

def joined(outputs):
    outputs = [o.detach().numpy() if isinstance(o, torch.Tensor) else o for o in outputs]
    return outputs[0] if len(outputs) == 1 else np.concatenate([o.reshape(len(o), -1) for o in outputs], 1)

inputs = np.load("inputs.npz")
out, facts = {}, {}
for model, name, count in json.load(open("cases.json")):
    for kind in ("onnx", "torch-export"):
        folder = f"{model}/{kind}"
        file = f"{folder}/" + json.load(open(f"{folder}/networks.json"))[name]["file"]
        if kind == "onnx":
            session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
            names = [i.name for i in session.get_inputs()]
            facts[f"{model}/{name}"] = [[i.name, i.shape, i.type] for i in session.get_inputs()]
            run = lambda values: joined(session.run(None, dict(zip(names, values))))
        else:
            module = torch.export.load(file).module()
            def run(values):
                found = module(*map(torch.from_numpy, values))
                return joined(found if isinstance(found, tuple) else [found])
        for batch in json.load(open("batches.json")):
            out[f"{model}/{name}/{kind}/{batch}"] = run([inputs[f"{model}/{name}/{batch}/{i}"] for i in range(count)])

pipeline = DDPMPipeline.from_pretrained("ddpm/diffusers")
pipeline.set_progress_bar_config(disable=True)
generators = [torch.Generator().manual_seed(seed) for seed in json.load(open("seeds.json"))]
out["pipeline"] = pipeline(len(generators), generators, num_inference_steps=5, output_type="np").images
x, t, labels = (torch.from_numpy(inputs[f"ddpm-classes/unet/5/{i}"]) for i in range(3))
conditional = UNet2DModel.from_pretrained("ddpm-classes/diffusers", subfolder="unet")
out["conditional"] = conditional(x, t, class_labels=labels).sample.detach().numpy()
facts["scheduler"] = dict(DDPMScheduler.from_pretrained("ddpm-classes/diffusers", subfolder="scheduler").config)
halves = load_file("halves/safetensors/model.safetensors")
facts["halves"] = {name: str(value.dtype) for name, value in halves.items()}
out |= {f"halves/{name}": value.view(torch.int16).numpy() if value.dtype == torch.bfloat16 else value.numpy() for name, value in halves.items()}
np.savez("outputs.npz", **out)
json.dump(facts, open("facts.json", "w"))
assert not [name for name in sys.modules if name.partition(".")[0] == "fabloom"]
"""
SAMPLED = 3


@dataclass(frozen=True)
class Outside:
    """What a process without fabloom made of the exports in `folder`."""

    folder: Path
    outputs: Mapping[str, NDArray[Any]]
    facts: dict[str, Any]


@pytest.fixture(scope="module")
def networks(world: World) -> dict[str, Mapping[str, Network]]:
    made = {name: METHODS[name].networks(world.artifacts[name]) for name in GRAPHS}  # type: ignore[arg-type]
    return {model: {name: network for name, network in found.items() if network.card is None} for model, found in made.items()}


@pytest.fixture(scope="module")
def outside(world: World, networks: dict[str, Mapping[str, Network]], tmp_path_factory: pytest.TempPathFactory, warm: Start) -> Outside:
    folder = tmp_path_factory.mktemp("exports")
    for name in GRAPHS:
        for kind in ("onnx", "torch-export"):
            world.export(name, folder / name / kind, kind)
    for name in ("ddpm", "ddpm-classes"):
        world.export(name, folder / name / "diffusers", "diffusers")
    world.export("halves", folder / "halves" / "safetensors")
    inputs = {
        f"{model}/{name}/{batch}/{index}": value
        for model, name in CASES for batch in BATCHES for index, value in enumerate(given(networks[model][name], batch))
    }  # fmt: skip
    np.savez(folder / "inputs.npz", **inputs)  # type: ignore[arg-type]
    (folder / "cases.json").write_text(json.dumps([[model, name, len(networks[model][name].inputs)] for model, name in CASES]))
    (folder / "batches.json").write_text(json.dumps(BATCHES))
    (folder / "seeds.json").write_text(json.dumps(image_seeds(sampled(world).key, world.store)))
    done = warm(["-c", OUTSIDE], cwd=folder)
    assert done.returncode == 0, done.stderr
    return Outside(folder, np.load(folder / "outputs.npz"), json.loads((folder / "facts.json").read_text()))


def sampled(world: World) -> ImageSet:
    """Images of the ddpm model by fabloom's own sampler, as diffusers' pipeline shall draw them."""
    params = {"count": SAMPLED, "scheduler": "ddpm", "steps": 5}
    made = run_task(world.store, Ddpm, "sample", params, inputs={"model": world.artifacts["ddpm"]})
    assert isinstance(made, ImageSet)
    return made


def image_seeds(key: str, store: LocalStore) -> list[int]:
    """The seeds of the sampled images, written down once more."""
    seed = store.manifest(key)["preimage"]["seed"]
    digests = [hashlib.blake2b(f"ddpm/{seed}/{index}".encode(), digest_size=8).digest() for index in range(SAMPLED)]
    return [int.from_bytes(digest, "big") >> 1 for digest in digests]


def deviation(got: NDArray[Any], network: Network, values: list[NDArray[Any]]) -> float:
    """Largest difference to the module's output, several side by side, as a share of its largest value."""
    with torch.no_grad():
        found = network.module(*map(torch.from_numpy, values))
    parts = [part.numpy().reshape(len(part), -1) for part in found] if isinstance(found, tuple) else []
    wanted = np.concatenate(parts, 1) if parts else found.numpy()
    assert got.shape == wanted.shape and got.dtype == wanted.dtype == np.float32
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("kind", ["onnx", "torch-export"])
@pytest.mark.parametrize(("model", "name"), CASES, ids=str)
def test_a_graph_gives_what_the_model_gives(model: str, name: str, kind: str, outside: Outside, networks: Any) -> None:
    network: Network = networks[model][name]
    for batch in BATCHES:
        got = outside.outputs[f"{model}/{name}/{kind}/{batch}"]
        assert deviation(got, network, given(network, batch)) < TOLERANCE
    told = json.loads((outside.folder / model / kind / "networks.json").read_text())[name]
    assert told["largest_difference"] < TOLERANCE and all(entry["meaning"] for entry in told["inputs"] + told["outputs"])
    assert [entry["name"] for entry in told["inputs"]] == list(network.inputs)
    if kind == "onnx":
        assert told["opset"] == 20
        assert [[n, s] for n, s, _ in outside.facts[f"{model}/{name}"]] == [[entry["name"], entry["shape"]] for entry in told["inputs"]]


@pytest.mark.parametrize(("model", "name"), CASES, ids=str)
def test_the_comparison_sees_weights_that_are_a_little_off(model: str, name: str, outside: Outside, networks: Any, world: World) -> None:
    """The control: one hundredth more on every weight is far outside the tolerance, for the same inputs."""
    network: Network = METHODS[model].networks(world.artifacts[model])[name]  # type: ignore[arg-type]
    with torch.no_grad():
        for value in network.module.parameters():
            value.mul_(1.01)
    for kind in ("onnx", "torch-export"):
        assert deviation(outside.outputs[f"{model}/{name}/{kind}/5"], network, given(network, 5)) > 10 * TOLERANCE


def test_traceable_changes_no_value(world: World) -> None:
    """Spectral norm and LoRA worked into the weights, upsampling without branches: as before, on the same input."""
    from fabloom.plugins.blocks.denoisers import load
    from fabloom.plugins.one_step.denoising_circuits.training import load_circuit

    x, label = torch.randn(2, 1, 32, 32), torch.tensor([3, 3])
    before, after = (load_circuit(world.artifacts["teacher"], torch.device("cpu")) for _ in range(2))  # type: ignore[arg-type]
    parametrized = [name for name, _ in before.named_parameters() if "parametrizations" in name]
    assert len(parametrized) > 10 and not [name for name, _ in traceable(after).named_parameters() if "parametrizations" in name]
    z = before.rin(x, label)
    torch.testing.assert_close(after.rin(x, label), z)
    torch.testing.assert_close(after.step(z, label), before.step(z, label), msg="the two share frozen tensors")
    unet, plain = (load(world.artifacts["ddpm-classes"], "ddpm", torch.device("cpu")) for _ in range(2))  # type: ignore[arg-type]
    torch.testing.assert_close(traceable(plain)(x, label, label - 2).sample, unet(x, label, label - 2).sample)


def test_a_students_graph_is_its_whole_sampler(world: World, outside: Outside, networks: Any) -> None:
    """Noise to the very images that `denoising-circuits.sample` writes."""
    from fabloom.plugins.one_step.denoising_circuits.recurrence import starting_noise

    made = run_task(world.store, DenoisingCircuits, "sample", {"count": 5, "noise_seed": 9}, inputs={"model": world.artifacts["student"]})
    program = torch.export.load(outside.folder / "student" / "torch-export" / "one-step.pt2").module()
    low, high = json.loads((outside.folder / "student" / "torch-export" / "config.json").read_text())["grey"]
    values = program(starting_noise(9, range(5), (1, 32, 32))).detach().numpy().clip(-1, 1)
    grey = (values + 1) / 2 * (high - low) + low
    assert isinstance(made, ImageSet) and np.abs(grey - made.images[...]).max() <= 0.51


def test_a_teachers_graphs_in_a_loop_are_its_sampler(world: World, outside: Outside) -> None:
    from fabloom.plugins.one_step.denoising_circuits.recurrence import starting_noise

    made = run_task(world.store, DenoisingCircuits, "sample", {"count": 3, "noise_seed": 9}, inputs={"model": world.artifacts["teacher"]})
    folder = outside.folder / "teacher" / "torch-export"
    start, step, readout = (torch.export.load(folder / f"{name}.pt2").module() for name in ("start", "step", "readout"))
    z = start(starting_noise(9, range(3), (1, 32, 32)))
    for label in range(CIRCUIT["timesteps"] - 1, 0, -1):
        z = step(z, torch.full((3,), label))
    low, high = json.loads((folder / "config.json").read_text())["grey"]
    grey = (readout(z).detach().numpy().clip(-1, 1) + 1) / 2 * (high - low) + low
    assert isinstance(made, ImageSet) and np.abs(grey - made.images[...]).max() <= 0.51


def test_a_segmenters_graph_gives_the_masks_that_are_evaluated(world: World, outside: Outside) -> None:
    from fabloom.plugins.blocks.grey import GreyMap
    from fabloom.plugins.judge.unet.networks import load
    from fabloom.plugins.judge.unet.prediction import predict

    model, images = world.artifacts["unet"], world.artifacts["images"]
    assert isinstance(model, Model) and isinstance(images, ImageSet)
    program = torch.export.load(outside.folder / "unet" / "torch-export" / "segmenter-0.pt2").module()
    low, high = model.config["grey"]
    x = torch.from_numpy((images.images[...].astype(np.float32) - low) * 2 / (high - low) - 1)
    (net,) = load(model, torch.device("cpu"))
    logits = program(x).detach()
    threshold = float(logits.median().sigmoid())
    wanted = predict(net, images.images, GreyMap(low, high), model.config["depth"], torch.device("cpu"), threshold=threshold, batch=16)
    assert 0.2 < wanted.mean() < 0.8
    assert ((logits > logits.median()).numpy() == wanted).mean() > 0.999


# ----------------------------------------------------------------------------------------------------------------------- diffusers


def test_diffusers_own_pipeline_draws_the_images_that_fabloom_draws(world: World, outside: Outside) -> None:
    """Same noise, same steps, clipped alike: the pipeline's grey range [0, 1] is the model's [low, high]."""
    model = world.artifacts["ddpm"]
    assert isinstance(model, Model)
    low, high = model.config["grey"]
    grey = outside.outputs["pipeline"].transpose(0, 3, 1, 2) * (high - low) + low
    wanted = sampled(world).images[...].astype(float)
    assert wanted.shape == grey.shape == (SAMPLED, 1, 32, 32) and wanted.std() > 5
    assert np.abs(grey - wanted).max() <= 0.51
    assert np.abs(grey[::-1] - wanted).max() > 10, "the control: other noise gives other images"
    assert json.loads((outside.folder / "ddpm/diffusers/model_index.json").read_text())["_class_name"] == "DDPMPipeline"
    assert json.loads((outside.folder / "ddpm/diffusers/fabloom.json").read_text()) == model.config


def test_a_model_with_classes_loads_as_unet_and_scheduler(world: World, outside: Outside, networks: Any) -> None:
    network: Network = networks["ddpm-classes"]["unet"]
    values = given(network, 5)
    assert len(set(values[2].tolist())) > 1
    assert deviation(outside.outputs["conditional"], network, values) < TOLERANCE
    values[2] = (values[2] + 1) % 3
    assert deviation(outside.outputs["conditional"], network, values) > 10 * TOLERANCE
    config = world.artifacts["ddpm-classes"].attrs["config"]
    scheduler = outside.facts["scheduler"]
    assert (scheduler["prediction_type"], scheduler["beta_schedule"]) == (config["prediction_type"], config["schedule"])
    assert not (outside.folder / "ddpm-classes/diffusers/model_index.json").exists()


# --------------------------------------------------------------------------------------------------------------------- safetensors


def test_safetensors_are_the_stored_tensors_bit_for_bit_bfloat16_too(world: World, outside: Outside) -> None:
    model = world.artifacts["halves"]
    assert isinstance(model, Model)
    assert outside.facts["halves"] == {"a.weight": "torch.bfloat16", "a.bias": "torch.float32", "count": "torch.int64"}
    for name, value in model.state().items():
        wanted = value.view(torch.int16) if value.dtype == torch.bfloat16 else value
        assert (outside.outputs[f"halves/{name}"] == wanted.numpy()).all()
    weight = model.state()["a.weight"]
    assert weight.dtype == torch.bfloat16 and 0 < (weight.float() - torch.arange(12.0).reshape(3, 4) / 7).abs().max() < 0.01


# ------------------------------------------------------------------------------------------------------------------------ contract


def test_a_model_without_graphs_says_so_and_what_to_do(world: World, tmp_path: Path) -> None:
    for kind in ("onnx", "torch-export"):
        with pytest.raises(UserError, match=r"'halves' says of no network.*safetensors.*Method\.networks"):
            world.export("halves", tmp_path / "out", kind)
    with pytest.raises(UserError, match=r"no class of diffusers holds a model of halves.train; take safetensors$"):
        world.export("halves", tmp_path / "out", "diffusers")
    with pytest.raises(UserError, match="take safetensors, onnx or torch-export"):
        world.export("unet", tmp_path / "out", "diffusers")
    assert not list(tmp_path.iterdir())


def test_a_method_that_is_not_installed_is_named(world: World, tmp_path: Path) -> None:
    bare = Registry()
    key = world.artifacts["ddpm"].key
    for kind in ("onnx", "torch-export", "diffusers"):
        with pytest.raises(PluginError, match=r"made by ddpm\.train.*install fabloom .*safetensors or zarr"):
            export_artifact(world.store, key, tmp_path / "out", kind, registry=bare)
    bare.register(Broken(), Origin("ddpm", "broken-dist", "0.3"))
    with pytest.raises(PluginError, match=r"broken-dist 0\.3.*ZeroDivisionError"):
        export_artifact(world.store, key, tmp_path / "out", "onnx", registry=bare)
    assert not list(tmp_path.iterdir())
    assert "model.safetensors" in export_artifact(world.store, key, tmp_path / "out", registry=bare)


def test_onnx_without_its_extra_says_what_to_install(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "onnxscript" else find(name, *more))
    with pytest.raises(FabloomError, match=r"needs onnxscript: pip install 'fabloom\[onnx\]'") as caught:
        world.export("unet", tmp_path / "out", "onnx")
    assert caught.value.exit_code == 3 and not list(tmp_path.iterdir())


class Doubler(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


def test_a_network_checks_what_it_is_given() -> None:
    x = {"x": torch.zeros(2, 3)}
    assert Network(Doubler().eval(), x, ("y",)).axes == {"x": {0: "batch"}}
    wrong: list[tuple[str, Callable[[], Network]]] = [
        ("training mode", lambda: Network(Doubler(), x, ("y",))),
        ("inputs and outputs", lambda: Network(Doubler().eval(), {}, ("y",))),
        ("inputs and outputs", lambda: Network(Doubler().eval(), x, ())),
        ("which the examples do not have", lambda: Network(Doubler().eval(), x, ("y",), {"x": {2: "width"}})),
        ("which the examples do not have", lambda: Network(Doubler().eval(), x, ("y",), {"z": {0: "batch"}})),
        (r"'side' has the lengths \[2, 3\]", lambda: Network(Doubler().eval(), x, ("y",), {"x": {0: "side", 1: "side"}})),
        ("explains", lambda: Network(Doubler().eval(), x, ("y",), meaning={"z": "?"})),
    ]
    for words, build in wrong:
        with pytest.raises(ValueError, match=words):
            build()


def test_a_graph_that_differs_from_its_module_is_not_exported() -> None:
    network = Network(Doubler().eval(), {"x": torch.ones(2, 3)}, ("y",))
    assert compare("n", network, lambda values: [2 * values[0].numpy()]) == 0
    for other in (
        lambda values: [2.01 * values[0].numpy()],
        lambda values: [values[0][:2].numpy() * 2],
        lambda values: [np.nan * values[0].numpy()],
    ):
        with pytest.raises(FabloomError, match="'n' differs"):
            compare("n", network, other)


@pytest.mark.parametrize("name", ["../outside", "a/b", "", ".hidden", "Big"])
def test_the_names_of_a_methods_networks_stay_in_the_folder(
    name: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network(Doubler().eval(), {"x": torch.zeros(2, 3)}, ("y",))
    monkeypatch.setattr(Halves, "networks", classmethod(lambda cls, model: {name: network}))
    with pytest.raises(PluginError, match="names a part"):
        world.export("halves", tmp_path / "out", "torch-export")
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------------------------------- formats


@pytest.mark.parametrize(
    ("name", "fits", "wrong"),
    [
        ("images", "png, coco, imagefolder, predictions, zarr", "onnx"), ("ddpm", "safetensors, diffusers, onnx, torch-export, segmenter, zarr", "png"),
        ("report", "json, zarr", "coco"), ("offline", "zarr, published", "png"),
    ],
)  # fmt: skip
def test_a_wrong_format_names_those_that_fit_and_writes_nothing(name: str, fits: str, wrong: str, world: World, tmp_path: Path) -> None:
    assert ", ".join(formats_of(world.artifacts[name])) == fits
    with pytest.raises(UserError, match=f"'{wrong}' does not fit .* can be written as {fits}$"):
        world.export(name, tmp_path / "out", wrong)
    assert not list(tmp_path.iterdir())


class Plate(ImageSet):
    """A third party's kind over a built-in one, with formats of its own."""

    def exports(self) -> Mapping[str, Callable[[Path], None]]:
        def broken(folder: Path) -> None:
            (folder / "half").touch()
            raise ZeroDivisionError("no plates today")

        return {"count": lambda folder: (folder / "count.txt").write_text(str(len(self))), "broken": broken}  # type: ignore[dict-item, return-value]


def test_a_kind_brings_formats_before_those_of_its_base(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store", {"Plate": Plate})
    plate = write_artifact(store, lambda ctx: Plate.write(ctx, np.zeros((3, 1, 4, 4), np.uint8)))
    assert list(formats_of(plate)) == ["count", "broken", "png", "coco", "imagefolder", "predictions", "zarr"]
    registry = Registry()
    assert export_artifact(store, plate.key, tmp_path / "a", registry=registry) == ["artifact.json", "count.txt"]
    assert (tmp_path / "a" / "count.txt").read_text() == "3"
    assert "images/000002.png" in export_artifact(store, plate.key, tmp_path / "b", "png", registry=registry)
    with pytest.raises(PluginError, match=r"kind 'Plate' cannot write .* as broken \(ZeroDivisionError: no plates today\)"):
        export_artifact(store, plate.key, tmp_path / "c", "broken", registry=registry)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "store"], "nothing half-written stays"


def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *words: Any) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["fabloom", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        main()
    out, err = capfd.readouterr()
    return int(caught.value.code or 0), out, err


def test_the_command_writes_a_format_or_exits_with_2(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    where = ("--store", world.store.root)
    key = world.artifacts["ddpm"].key
    code, out, err = cli(monkeypatch, capfd, "export", key[:10], tmp_path / "a", "--format", "torch-export", *where, "--json")
    assert code == 0 and json.loads(out)["files"] == ["artifact.json", "config.json", "networks.json", "unet.pt2"], err
    code, out, err = cli(monkeypatch, capfd, "export", key, tmp_path / "b", "--format", "torch-exprt", *where)
    assert code == 2 and not out and "Did you mean 'torch-export'" in err and len(err.splitlines()) == 1
    code, _, err = cli(monkeypatch, capfd, "export", key, tmp_path / "a", *where)
    assert code == 2 and "no empty folder" in err
    (tmp_path / "empty").mkdir()
    code, out, err = cli(monkeypatch, capfd, "export", key, tmp_path / "empty", *where)
    assert (code, out) == (0, f"3 files in {tmp_path / 'empty'}\n"), err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "empty"]
    code, out, _ = cli(monkeypatch, capfd, "export", "--help")
    assert code == 0 and all(
        word in out for word in ("png", "coco", "imagefolder", "safetensors", "diffusers", "onnx", "torch-export", "zarr")
    )


def test_an_export_that_fails_leaves_nothing(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[Any] = []
    save = Image.Image.save

    def full(self: Image.Image, *arguments: Any) -> None:
        saved.append(arguments[0])
        if len(saved) == 5:
            raise OSError(28, "No space left on device")
        save(self, *arguments)

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space"):
        world.export("images", tmp_path / "out")
    assert len(saved) == 5 and not list(tmp_path.iterdir())


def test_long_exports_tell_how_far_they_are(world: World, tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    world.export("images", tmp_path / "out", "coco", emit=events.append)
    assert (events[-1]["done"], events[-1]["total"], events[-1]["unit"]) == (16, 16, "image")


def test_the_zarr_group_is_copied_as_it_is_and_damage_is_found(world: World, tmp_path: Path) -> None:
    for name in ("images", "ddpm", "report", "offline"):
        files = world.export(name, tmp_path / name, "zarr")
        source = world.store.folder(world.artifacts[name].key) / "data.zarr"
        wanted = {path.relative_to(source).as_posix(): path.read_bytes() for path in source.rglob("*") if path.is_file()}
        assert {f"data.zarr/{file}" for file in wanted} | {"artifact.json"} == set(files)
        assert all((tmp_path / name / "data.zarr" / file).read_bytes() == data for file, data in wanted.items())
    other = LocalStore(tmp_path / "damaged")
    key = write_artifact(other, unlabelled).key
    victim = next(path for path in (other.folder(key) / "data.zarr" / "images").rglob("0") if path.is_file())
    data = bytearray(victim.read_bytes())
    data[3] ^= 1
    victim.write_bytes(data)
    with pytest.raises(DamagedArtifact, match="not what was committed"):
        export_artifact(other, key, tmp_path / "out", "zarr")
    assert not (tmp_path / "out").exists()


# -------------------------------------------------------------------------------------------------------------------------- images


def decoded(segmentation: dict[str, Any]) -> NDArray[np.uint8]:
    """COCO's uncompressed RLE, decoded by its definition: runs of 0 and 1 in turn, down the columns."""
    height, width = segmentation["size"]
    flat = [value for index, count in enumerate(segmentation["counts"]) for value in [index % 2] * count]
    assert len(flat) == height * width
    mask = np.zeros((height, width), np.uint8)
    for place, value in enumerate(flat):
        mask[place % height, place // height] = value
    return mask


@pytest.mark.parametrize("name", ["images", "rough"])
def test_coco_decodes_to_the_exact_masks(name: str, world: World, tmp_path: Path) -> None:
    images = world.artifacts[name]
    assert isinstance(images, ImageSet) and images.masks is not None and images.domain is not None
    world.export(name, tmp_path / "out", "coco")
    found = json.loads((tmp_path / "out" / "annotations.json").read_text())
    assert [entry["id"] for entry in found["annotations"]] == list(range(1, len(found["annotations"]) + 1))
    wanted = ["clean", "bridge"] if name == "images" else ["defect"]
    assert [(entry["id"], entry["name"]) for entry in found["categories"]] == list(enumerate(wanted, start=1))
    for row, entry in enumerate(found["images"]):
        pixels = np.asarray(Image.open(tmp_path / "out" / "images" / entry["file_name"]))
        assert (np.atleast_3d(pixels).transpose(2, 0, 1) == images.images[row]).all()
        assert (entry["height"], entry["width"]) == images.images.shape[2:]
        mask = np.zeros(images.images.shape[2:], np.uint8)
        mine = [one for one in found["annotations"] if one["image_id"] == entry["id"]]
        assert bool(mine) is bool(images.domain[row])
        for one in mine:
            part = decoded(one["segmentation"])
            y, x = np.nonzero(part)
            assert one["bbox"] == [x.min(), y.min(), x.max() - x.min() + 1, y.max() - y.min() + 1]
            assert one["area"] == part.sum() and one["iscrowd"] == 0 and one["category_id"] == len(wanted)
            assert not (mask & part).any()
            mask |= part
        assert (mask == images.masks[row]).all()


def test_an_instance_is_an_eight_connected_component() -> None:
    mask = np.zeros((5, 6), np.uint8)
    mask[0, 0] = mask[1, 1] = mask[4, 4] = 1
    found = list(components(mask == 1))
    assert [one.area for one in found] == [2, 1] and [one.bbox for one in found] == [[0, 0, 2, 2], [4, 4, 1, 1]]
    for rows, counts in (
        ([[0, 1], [1, 1]], [1, 3]),
        ([[1, 0], [0, 0]], [0, 1, 3]),
        ([[0, 1], [0, 0]], [2, 1, 1]),  # down the columns: along the rows it would be 1, 1, 2
        ([[0, 0, 0], [0, 1, 1], [0, 1, 0], [0, 0, 0]], [5, 2, 2, 1, 2]),
    ):
        (one,) = components(np.array(rows, bool))
        assert one.counts() == counts, rows


def test_coco_needs_masks(world: World, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no masks.*png or imagefolder"):
        world.export("unlabelled", tmp_path / "out", "coco")
    assert not list(tmp_path.iterdir())


def test_an_imagefolder_is_joined_by_its_metadata(world: World, tmp_path: Path) -> None:
    images = world.artifacts["images"]
    assert isinstance(images, ImageSet) and images.masks is not None
    files = world.export("images", tmp_path / "out", "imagefolder")
    lines = [json.loads(line) for line in (tmp_path / "out/train/metadata.jsonl").read_text().splitlines()]
    assert len(lines) == len(images) and {tuple(line) for line in lines} == {("file_name", "mask_file_name", "label")}
    for row, line in enumerate(lines):
        assert line["file_name"].startswith("clean/" if row < 8 else "defect/") and line["label"] == ("clean" if row < 8 else "bridge")
        assert (np.asarray(Image.open(tmp_path / "out/train" / line["file_name"])) == images.images[row][0]).all()
        assert (np.asarray(Image.open(tmp_path / "out/train" / line["mask_file_name"])) == 255 * images.masks[row]).all()
    told = {f"train/{line[key]}" for line in lines for key in ("file_name", "mask_file_name")}
    assert set(files) == told | {"train/metadata.jsonl", "artifact.json"}
    plain = world.export("unlabelled", tmp_path / "plain", "imagefolder")
    assert [name for name in plain if name.endswith("png")] == [f"train/images/00000{row}.png" for row in range(3)]
    assert (tmp_path / "plain/train/metadata.jsonl").read_text().splitlines()[0] == '{"file_name": "images/000000.png"}'


def test_png_folders_come_back_as_the_same_set(world: World, tmp_path: Path) -> None:
    from fabloom.plugins.data.images.method import Images

    files = world.export("images", tmp_path / "out")
    assert sum(name.startswith("clean/") for name in files) == sum(name.startswith("masks/") for name in files) == 8
    again = run_task(LocalStore(tmp_path / "other"), Images, "load", {"path": str(tmp_path / "out")})
    images = world.artifacts["images"]
    assert isinstance(again, ImageSet) and isinstance(images, ImageSet) and again.masks is not None and images.masks is not None
    order = {row.tobytes(): index for index, row in enumerate(images.images[...])}
    rows = [order[row.tobytes()] for row in again.images[...]]
    assert sorted(rows) == list(range(16)) and (again.masks[...] == images.masks[...][rows]).all()


# --------------------------------------------------------------------------------------------------------------------- zarr, xarray


def test_xarray_opens_every_kind_of_artifact_without_hints(world: World) -> None:
    import xarray

    def opened(name: str, **how: Any) -> xarray.Dataset:
        return xarray.open_dataset(
            world.store.folder(world.artifacts[name].key) / "data.zarr", engine="zarr", consolidated=False, chunks=None, **how
        )

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images, offline, report = opened("rough"), opened("offline"), opened("report")
        models = {name: opened(name) for name in ("ddpm", "teacher", "student", "unet", "sinsemi", "sinddm")}
    rough = world.artifacts["rough"]
    assert isinstance(rough, ImageSet)
    assert dict(images.sizes) == {"sample": 6, "channel": 3, "y": 9, "x": 13}
    assert (images["images"].values == rough.images[...]).all()
    assert (images["masks"].sum(("y", "x")).values[[0, 2]] == [0, 117]).all()
    latent = {"latent_channel": 2, "latent_y": 4, "latent_x": 4}
    assert dict(offline.sizes) == {"sample": 12, "chunk": 2, "channel": 1, "y": 8, "x": 8, **latent}
    codes = offline["r_chunks"] * offline["r_chunks_scale"]  # the scales' axes are those of the codes, so they multiply by name
    assert codes.dims == ("sample", "chunk", *latent)
    assert (offline["rin0"].values == world.artifacts["offline"].array("rin0")[...]).all()
    assert report["picture_0"].shape == world.artifacts["report"].array("picture_0").shape
    for name, found in models.items():
        artifact = world.artifacts[name]
        assert isinstance(artifact, Model)
        state = artifact.state()
        assert set(found.data_vars) == set(state)
        assert all((found[key].values == value.numpy()).all() for key, value in state.items())


def test_a_hugging_face_data_set_is_loaded_from_the_imagefolder(world: World, tmp_path: Path, warm: Start) -> None:
    images = world.artifacts["images"]
    assert isinstance(images, ImageSet) and images.masks is not None
    world.export("images", tmp_path / "out", "imagefolder")
    world.export("unlabelled", tmp_path / "plain", "imagefolder")
    script = """
        import sys
        from pathlib import Path
        from datasets import load_dataset
        import numpy as np
        out, plain, cache, wanted = map(Path, sys.argv[1:])
        rows = load_dataset("imagefolder", data_dir=str(out), split="train", cache_dir=str(cache / "a"))
        assert set(rows.column_names) == {"image", "mask", "label"}, rows.column_names
        np.savez(wanted, image=[np.asarray(r["image"]) for r in rows], mask=[np.asarray(r["mask"]) for r in rows],
                 label=[str(r["label"]) for r in rows])
        print(len(load_dataset("imagefolder", data_dir=str(plain), split="train", cache_dir=str(cache / "b"))))
    """
    command = ["-c", textwrap.dedent(script), *map(str, (tmp_path / "out", tmp_path / "plain", tmp_path / "cache"))]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HOME": str(tmp_path / "home")}
    ran = warm([*command, str(tmp_path / "rows.npz")], env={**os.environ, **offline})
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == "3"
    rows = np.load(tmp_path / "rows.npz")
    assert len(rows["label"]) == len(images)
    order = {pixels.tobytes(): row for row, pixels in enumerate(images.images[...][:, 0])}
    for pixels, mask, label in zip(rows["image"], rows["mask"], rows["label"], strict=True):
        row = order[pixels.tobytes()]
        assert label == ("clean" if row < 8 else "bridge") and (mask == 255 * images.masks[row]).all()


# ------------------------------------------------------------------------------------------------------------- classes and sources


def judged(ctx: Context) -> ImageSet:
    """Three classes with touching components and pixels that nobody can judge; two images of one file, names of strangers."""
    masks = np.zeros((4, 8, 8), np.uint8)
    masks[1, :2, :2], masks[1, 2:4, :2], masks[1, 6:, 6:] = 1, 2, 255
    masks[2, 5, 5] = 2
    masks[3, 0, 0] = 255
    source, names = np.array([0, 1, 2, 2], np.int32), ["clean/die 7.tif", "../../.bashrc", "lot\\b:c.png"]
    pixels = np.random.default_rng(0).integers(0, 256, (4, 1, 8, 8), dtype=np.uint8)
    return ImageSet.write(ctx, pixels, masks=masks, class_names=["clean", "bridge", "break"], source=source, source_names=names)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Any:
    store = LocalStore(tmp_path_factory.mktemp("judged"))
    made = write_artifact(store, judged)
    return lambda folder, format: export_artifact(store, made.key, folder, format, registry=Registry())


STEMS = ["die 7", "bashrc", "b_c-000002", "b_c-000003"]


def test_exported_files_keep_the_names_of_their_sources(stranger: Any, tmp_path: Path) -> None:
    rooms = ["clean", "defect", "defect", "clean"]
    files = stranger(tmp_path / "png", "png")
    told = json.loads((tmp_path / "png" / "sources.json").read_text())
    wanted = [f"{room}/{stem}.png" for room, stem in zip(rooms, STEMS, strict=True)]
    assert list(told) == wanted and set(wanted) <= set(files) and told["defect/bashrc.png"] == "../../.bashrc"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["png"], "no name leads out of the folder"
    stranger(tmp_path / "folder", "imagefolder")
    lines = [json.loads(line) for line in (tmp_path / "folder/train/metadata.jsonl").read_text().splitlines()]
    assert [line["file_name"] for line in lines] == wanted and lines[0]["source"] == "clean/die 7.tif"
    stranger(tmp_path / "coco", "coco")
    images = json.loads((tmp_path / "coco/annotations.json").read_text())["images"]
    assert [(i["file_name"], i["source"]) for i in images][:2] == [("die 7.png", "clean/die 7.tif"), ("bashrc.png", "../../.bashrc")]


def test_masks_of_classes_are_exported_as_their_values(stranger: Any, tmp_path: Path) -> None:
    stranger(tmp_path / "png", "png")
    assert (tmp_path / "png" / "classes.txt").read_text().split() == ["clean", "bridge", "break"]
    drawn = {path.stem: np.unique(np.asarray(Image.open(path))).tolist() for path in (tmp_path / "png" / "masks").iterdir()}
    assert drawn == {"bashrc": [0, 1, 2, 255], "b_c-000002": [0, 2], "b_c-000003": [0, 255]}


def test_coco_instances_are_of_their_pixels_class(stranger: Any, tmp_path: Path) -> None:
    stranger(tmp_path / "coco", "coco")
    found = json.loads((tmp_path / "coco" / "annotations.json").read_text())
    names = {entry["id"]: entry["name"] for entry in found["categories"]}
    instances = [(one["image_id"], names[one["category_id"]], one["area"], one["iscrowd"]) for one in found["annotations"]]
    assert instances == [
        (2, "bridge", 4, 0), (2, "break", 4, 0), (2, "cannot tell", 4, 1), (3, "break", 1, 0), (4, "cannot tell", 1, 1),
    ]  # fmt: skip
