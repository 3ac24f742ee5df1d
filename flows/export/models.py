"""Models as safetensors, as a diffusers folder, as ONNX and as torch.export graphs; graphs are compared with the model at once."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabloom.errors import EnvironmentProblem, FabloomError, PluginError, UserError
from fabloom.kinds import Model
from fabloom.method import Method

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from fabloom.network import Network

    from .job import Export

OPSET = 20
"""ONNX operator set; onnxruntime reads it since 1.17."""
TOLERANCE = 1e-3
"""Largest deviation of a graph from the module, as a share of the largest output."""
NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
Run = Callable[[tuple["torch.Tensor", ...]], list["NDArray[Any]"]]


def safetensors(job: Export) -> Callable[[Path], None]:
    """`model.safetensors` with the tensors as stored, and `config.json`."""

    def write(folder: Path) -> None:
        from safetensors.torch import save_file

        save_file({name: tensor.contiguous() for name, tensor in job.artifact.state().items()}, folder / "model.safetensors")
        _config(job.artifact, folder)

    return write


def diffusers(job: Export) -> Callable[[Path], None]:
    """What the method calls `pretrained`, each in its folder. Raises UserError for a model that diffusers has no class for."""
    method = method_of(job)
    found = method.pretrained(job.artifact)
    if not found:
        raise UserError(
            f"--format diffusers: no class of diffusers holds a model of {_task(job)}; "
            f"take safetensors{', onnx or torch-export' if _has(method.networks) else ''}"
        )

    def write(folder: Path) -> None:
        for name, part in found.items():
            part.save_pretrained(folder if name == "." else folder / _checked(name, method))
        _config(job.artifact, folder, "fabloom.json")

    return write


def onnx(job: Export) -> Callable[[Path], None]:
    """`NAME.onnx` for every network. Raises EnvironmentProblem without the extra `onnx`."""
    needed("onnx")
    return _graphs(job, "onnx", save_onnx, {"opset": OPSET})


def needed(format: str) -> None:
    """Raise EnvironmentProblem where a package that ONNX graphs are written and checked with is missing."""
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise EnvironmentProblem(f"--format {format} needs {', '.join(missing)}: pip install 'fabloom[onnx]'")


def save_onnx(network: Network, path: Path) -> Run:
    """Write a network as ONNX, and give what runs the file."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime 1.31 would report events to its maker from its import on
    import onnxruntime  # type: ignore[import-untyped]
    import torch

    names = list(network.inputs)
    program: Any = torch.onnx.export(
        network.module, tuple(network.inputs.values()), dynamo=True, dynamic_shapes=_dimensions(network), input_names=names,
        output_names=list(network.outputs), opset_version=OPSET, verbose=False,
    )  # fmt: skip
    program.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda values: session.run(None, {n: v.numpy() for n, v in zip(names, values, strict=True)})


def torch_export(job: Export) -> Callable[[Path], None]:
    """`NAME.pt2` for every network, for `torch.export.load`."""
    return _graphs(job, "pt2", save_torch, {})


def save_torch(network: Network, path: Path) -> Run:
    """Write a network as a program of torch.export, and give what runs the file.

    Names of free axes promise lengths from 1 on. Where a network does not keep that, as one that halves its sides does not, or the padding
    of small images in a complete one, they have none.
    """
    import torch
    from torch._dynamo.exc import UserError as Unkept

    free = torch.export.Dim.DYNAMIC
    nameless = tuple(dict.fromkeys(network.axes.get(name, {}), free) for name in network.inputs)

    def program(shapes: tuple[dict[int, Any], ...]) -> torch.export.ExportedProgram:
        return torch.export.export(network.module, tuple(network.inputs.values()), dynamic_shapes=shapes, strict=False)

    try:
        made = program(_dimensions(network) if network.card is None else nameless)
    except Unkept:
        made = program(nameless)
    torch.export.save(made, path)
    module = torch.export.load(path).module()
    return lambda values: _arrays(module(*values))


def _graphs(job: Export, suffix: str, save: Callable[[Network, Path], Run], facts: Mapping[str, Any]) -> Callable[[Path], None]:
    """A graph of every network, each run once on another number of images and compared with the module, and `networks.json`."""
    method = method_of(job)
    networks = {name: network for name, network in method.networks(job.artifact).items() if network.card is None}
    if not networks:
        others = "safetensors or diffusers" if _has(method.pretrained) else "safetensors"
        raise UserError(
            f"method '{method.name}' says of no network how it is to be exported as a graph; take {others}, "
            "or have its author override Method.networks (docs/interoperability.md)"
        )

    def write(folder: Path) -> None:
        written = {}
        with job.progress(len(networks), "network") as bar:
            for name, network in networks.items():
                path = folder / f"{_checked(name, method)}.{suffix}"
                with quiet():
                    difference = compare(name, network, save(network, path))
                written[name] = {"file": path.name, **facts, **described(network), "largest_difference": difference}
                bar.advance()
        (folder / "networks.json").write_text(json.dumps(written, indent=2))
        _config(job.artifact, folder)

    return write


def method_of(job: Export) -> type[Method]:
    """The method that made the model. Raises PluginError where it is not installed or cannot be used."""
    name = _task(job).partition(".")[0]
    found = job.registry.methods.get(name)
    if found is not None:
        return found
    broken = [str(problem) for problem in job.registry.problems if name in problem.names]
    plugin = job.manifest["plugin"]
    cure = broken[0] if broken else f"install {plugin['distribution']} {plugin['version']}"
    raise PluginError(
        f"model {job.artifact.key[:12]} was made by {_task(job)}, and method '{name}', which knows its networks, is not there: {cure}. "
        "Or take --format safetensors or zarr, which need no method."
    )


def compare(name: str, network: Network, run: Run, tolerance: float = TOLERANCE) -> float:
    """Largest deviation of a graph from the module on more images than in the example, as a share of the largest output.

    Of whole numbers, such as the classes of a mask, it is the share of those that differ: one on the edge of a threshold may.
    Raises FabloomError where it is above the tolerance.
    """
    import numpy as np
    import torch

    values = tuple(_grown(network, given) for given in network.inputs)
    with torch.no_grad():
        wanted = _arrays(network.module(*values))
    differences = [_deviation(got, want) if got.shape == want.shape else np.inf for got, want in zip(run(values), wanted, strict=True)]
    worst = float(np.max(differences))
    if not worst <= tolerance:  # also where it is not a number
        raise FabloomError(f"the graph of network '{name}' differs from the model by {worst:.2g} of its largest output: not exported")
    return worst


def _deviation(got: NDArray[Any], want: NDArray[Any]) -> float:
    import numpy as np

    if want.dtype.kind in "iub":
        return float((got != want).mean())
    return float(np.abs(np.asarray(got, np.float64) - want).max()) / max(float(np.abs(want).max()), 1e-12)


def _grown(network: Network, name: str) -> torch.Tensor:
    """An example input with every free axis one longer, its last entry repeated."""
    import torch

    value = network.inputs[name]
    for axis in network.axes.get(name, {}):
        value = torch.cat([value, value.narrow(axis, value.shape[axis] - 1, 1)], axis)
    return value


def _dimensions(network: Network) -> tuple[dict[int, Any], ...]:
    """The free axes in the form that torch.export takes."""
    import torch

    named = {called: torch.export.Dim(called) for called in network.lengths}
    return tuple({axis: named[called] for axis, called in network.axes.get(name, {}).items()} for name in network.inputs)


def described(network: Network) -> dict[str, Any]:
    """Names, types, shapes (free axes by name) and meaning of inputs and outputs as plain JSON."""
    shapes = {name: [network.axes.get(name, {}).get(axis, size) for axis, size in enumerate(v.shape)] for name, v in network.inputs.items()}
    inputs = [
        {"name": n, "dtype": str(v.dtype).removeprefix("torch."), "shape": shapes[n], "meaning": network.meaning.get(n, "")}
        for n, v in network.inputs.items()
    ]
    return {"inputs": inputs, "outputs": [{"name": name, "meaning": network.meaning.get(name, "")} for name in network.outputs]}


def _arrays(outputs: Any) -> list[NDArray[Any]]:
    return [value.detach().cpu().numpy() for value in (outputs if isinstance(outputs, tuple | list) else (outputs,))]


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporters' warnings about their own insides."""
    import logging

    kept = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(kept)


def _checked(name: str, method: type[Method]) -> str:
    """A name that is a plain file name. Raises PluginError."""
    if not NAME.fullmatch(name):
        raise PluginError(f"method '{method.name}' names a part '{name}'; names are small letters, digits, dots and hyphens")
    return name


def _has(hook: Any) -> bool:
    """True where a method overrides the hook."""
    return hook.__func__ is not getattr(Method, hook.__name__).__func__


def _task(job: Export) -> str:
    return str(job.manifest["preimage"]["task"])


def _config(model: Model, folder: Path, name: str = "config.json") -> None:
    (folder / name).write_text(json.dumps(model.config, indent=2))
