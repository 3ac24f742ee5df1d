"""The conformance kit catches what it says: one right plugin passes every check, and each wrong one fails at its own.

A wrong plugin is the right one with one passage replaced, so that nothing else can be the cause.
"""

from __future__ import annotations

import json
import os
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

RIGHT = '''
"""Learns the mean image from noisy copies and draws noise around it."""

from __future__ import annotations

from pydantic import Field, field_serializer, field_validator

from fabloom import Context, ImageSet, Method, Model, Params, hookimpl, task


class TrainParams(Params):
    steps: int = Field(8, gt=0, description="Optimizer steps.")


class SampleParams(Params):
    count: int = Field(4, gt=0, description="Images to draw.")


class Weave(Method):
    name = "weave"

    @task(version=1)
    def train(self, ctx: Context, params: TrainParams, *, images: ImageSet) -> Model:
        import torch

        data = torch.from_numpy(images.images[:]).float() / 255
        net = torch.nn.Conv2d(1, 1, 3, padding=1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
        for step in ctx.loop(params.steps, net=net, optimizer=optimizer):
            noisy = data + 0.1 * torch.randn(data.shape, generator=ctx.generator())
            loss = (net(noisy) - data).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step.log(loss=loss.item())
        state = {"mean": data.mean(0), **net.state_dict()}
        return Model.write(ctx, state, {"shape": list(data.shape[1:])})

    @task(version=1)
    def sample(self, ctx: Context, params: SampleParams, *, model: Model) -> ImageSet:
        import numpy as np
        import torch

        mean = model.state()["mean"]
        found = []
        with ctx.progress(params.count, unit="image") as bar:
            for _ in range(params.count):
                noise = 0.05 * torch.randn(mean.shape, generator=ctx.generator())
                found.append(((mean + noise).clamp(0, 1) * 255).round().to(torch.uint8).numpy())
                bar.advance()
        return ImageSet.write(ctx, np.stack(found))


@hookimpl
def fabloom_methods():
    return [Weave]
'''

SUITE = """
from fabloom.testing import MethodConformance
from {module} import Weave


class Test{title}(MethodConformance):
    method = Weave
    params = {{"train": {{"steps": 6}}, "sample": {{"count": 3}}}}
    seconds = {seconds}
"""


@dataclass(frozen=True)
class Wrong:
    """Passages replaced, the test that must fail, what it must say, and other tests that may fail with it."""

    changes: tuple[tuple[str, str], ...]
    test: str
    says: tuple[str, ...]
    besides: tuple[str, ...] = field(default=())


OUTPUT = ("return ImageSet.write(ctx, np.stack(found))",)
COMMIT = ("test_output", "test_same_seed", "test_another_seed", "test_killed", "test_stops")
"""What cannot be tested of a task that does not come to its end."""


def put(expression: str) -> tuple[tuple[str, str], ...]:
    return ((OUTPUT[0], f'ctx.staging.put("images", {expression}); return ImageSet(ctx.staging.as_reader())'),)


WRONG = {
    "random": Wrong((("generator=ctx.generator())\n                found", "generator=None) + float(np.frombuffer(__import__('os').urandom(1), np.uint8)[0]) / 2550\n                found"),),
                    "test_same_seed_same_digest[sample]", ("two runs with the same seed", "images/c/0", "ctx.generator"), ("test_killed", "test_stops")),
    "set_order": Wrong(((OUTPUT[0], "names = list({'a', 'b', 'c', 'd', 'e', 'f'}); return ImageSet.write(ctx, np.stack(found), attrs={'names': names})"),),
                       "test_same_seed_same_digest[sample]", ("two runs with the same seed", "zarr.json", "sort sets"), ()),
    "fixed_seed": Wrong((("ctx.generator())\n                found", "torch.Generator().manual_seed(0))\n                found"),),
                        "test_another_seed_gives_another_sample", ("another seed gives the same images",)),
    "input_file": Wrong((("found = []", "found = []; p = next(model._reader.folder.rglob('c/*')); p = p if p.is_file() else next(q for q in p.rglob('*') if q.is_file()); "
                          "f = __import__('posix').open(str(p), 1); __import__('posix').write(f, b'!'); __import__('posix').close(f)"),),
                        "test_no_writes_outside[sample]", ("objects/", "ctx.workdir"), COMMIT),
    "input_silent": Wrong((("found = []", "found = []; import ctypes; p = next(q for q in model._reader.folder.rglob('*') if q.is_file() and 'c' in q.parts); "
                            "libc = ctypes.CDLL(None); d = libc.open(str(p).encode(), 1); libc.write(d, b'!', 1); libc.close(d)"),),
                          "test_inputs_are_untouched[sample]", ("input 'model' was changed", "content differs", "numpy arrays of your own"), COMMIT),
    "input_attrs": Wrong((("found = []", "found = []; model.attrs['config']['seen'] = True"),),
                         "test_inputs_are_untouched[sample]", ("input 'model' was changed: its attributes in memory",)),
    "kind": Wrong(((OUTPUT[0], "return Model.write(ctx, {'mean': mean}, {})"),),
                  "test_output[sample]", ("must return ImageSet, not Model",), COMMIT),
    "handed_on": Wrong(((OUTPUT[0], "return ImageSet(model._reader)"),),
                       "test_output[sample]", ("returned an artifact that it did not write", "return ImageSet.write(ctx"), COMMIT),
    "taken_name": Wrong((('name = "weave"', 'name = "line-pair"'),), "test_schema", ("the name 'line-pair' is taken by fabloom",)),
    "shape": Wrong(put("np.stack(found)[:, 0]"), "test_output[sample]", ("array 'images' has shape (3, 32, 32)", "ImageSet.write, which checks")),
    "dtype": Wrong(put("np.stack(found).astype(np.float32)"), "test_output[sample]", ("array 'images' is float32, wanted uint8",)),
    "count": Wrong((("np.stack(found))", "np.stack(found)[1:])"),), "test_output[sample]", ("2 images where params.count asks for 3",)),
    "progress_short": Wrong((("ctx.progress(params.count,", "ctx.progress(params.count + 2,"),),
                            "test_progress_reaches_its_total[sample]", ("ends at 3 of 5 image", "counts to its total")),
    "progress_beyond": Wrong((("bar.advance()", "bar.advance(2)"),),
                             "test_progress_reaches_its_total[sample]", ("is at 4 of 3 image",), COMMIT),
    "progress_endless": Wrong((("bar.advance()", "bar.advance()\n            while True:\n                __import__('time').sleep(0.1)"),),
                              "test_progress_reaches_its_total[sample]", ("did not end within 6 s", "raise `seconds`"), COMMIT),
    "network": Wrong((("found = []", "found = []; import socket, contextlib\n        with contextlib.suppress(OSError):\n            socket.create_connection(('127.0.0.1', 9), 1)"),),
                     "test_no_network[sample]", ("127.0.0.1", "behind a firewall", "type Source")),
    "outside": Wrong((("found = []", "found = []; import pathlib, tempfile; pathlib.Path(tempfile.gettempdir(), 'weave-scratch').write_text('x')"),),
                     "test_no_writes_outside[sample]", ("weave-scratch", "ctx.workdir"), COMMIT),
    "litter": Wrong((("found = []", "found = []; import ctypes; libc = ctypes.CDLL(None); libc.close(libc.open(b'cache.bin', 65, 0o600))"),),
                    "test_no_writes_outside[sample]", ("left cache.bin in the current folder",)),
    "pickle": Wrong(((OUTPUT[0], "import pickle; return ImageSet.write(ctx, np.stack(found), attrs={'model': pickle.dumps(mean).hex()})"),),
                    "test_no_pickle[sample]", ("pickle.dumps", "loading a pickle runs"), (*COMMIT, "test_source_has_no_pickle")),
    "torch_save": Wrong(((OUTPUT[0], "torch.save(mean, ctx.workdir / 'mean.pt'); " + OUTPUT[0]),), "test_no_pickle[sample]", ("torch.save (at wrong_torch_save.py:",), COMMIT),
    "unpickle": Wrong(((OUTPUT[0], "torch.load('x', weights_only=False) if params.count > 1000 else None; " + OUTPUT[0]),),
                      "test_source_has_no_pickle", ("weights_only=False", ".py:")),
    "resume": Wrong((("net=net, optimizer=optimizer)", "net=net)"),),
                    "test_killed_and_resumed_equals_uninterrupted[train]", ("killed at a checkpoint and run again, it gives another result", "optimizer"), ("test_stops",)),
    "torch_at_import": Wrong((("from pydantic", "import torch\nfrom pydantic"),), "test_importing_it_is_light", ("loads torch", "wrong_torch_at_import.py:6 import torch", "sibling module")),
    "stale_version": Wrong((("0.1 * torch.randn", "0.2 * torch.randn"),), "test_lock", ("another source than the lock", "@task(version=", "--fabloom-lock")),
    "params": Wrong((('description="Images to draw.")', 'description="Images to draw.")\n\n    @field_validator("count")\n    @classmethod\n    def _twice(cls, value: int) -> int:\n        return 2 * value'),),
                    "test_params_round_trip[sample]", ("comes back as", "idempotent"), (*COMMIT, "test_inputs", "test_progress")),
    "params_lost": Wrong((('description="Images to draw.")', 'description="Images to draw.")\n\n    @field_serializer("count")\n    def _rounded(self, value: int) -> str:\n        return "many"'),),
                         "test_params_round_trip[sample]", ("cannot be read back", "plain pydantic types"), ("[sample]", "test_another")),
    "deaf": Wrong((("                bar.advance()", "                try:\n                    bar.advance()\n                except Exception:\n                    bar.done += 1"),),
                  "test_stops_promptly[sample]", ("went on after a stop was requested", "Interrupted")),
    "one_stream": Wrong((("    @task(version=1)\n    def sample(", "    @task(version=1, fanout=__import__('fabloom.method').method.Fanout(unit=(1,)))\n    def sample("),
                         ("for _ in range(params.count)", "for _ in ctx.rows(params.count)"), ("ctx.progress(params.count,", "ctx.progress(len(ctx.rows(params.count)),")),
                        "test_parts_join_to_the_whole[sample]", ("made in two parts, images/c/0/0/0/0 differ", "each from a generator of its own")),
    "few_rows": Wrong((("    @task(version=1)\n    def sample(", "    @task(version=1, fanout=__import__('fabloom.method').method.Fanout(unit=(2,)))\n    def sample("),),
                      "test_parts_join_to_the_whole[sample]", ("count is below two units (2)", "at least two units of rows")),
    "signature": Wrong((("*, model: Model) -> ImageSet", "*, weights: Model) -> ImageSet"),), "test_schema", ("def Weave.sample(", "so that methods can be swapped"), ("test_",)),
    "prepare": Wrong((('name = "weave"', 'name = "weave"\n\n    @classmethod\n    def prepare(cls, steps, messenger):\n        messenger.message("fetching")'),),
                     "test_prepare", ("AttributeError", "wrong_prepare.py:", "EnvironmentProblem")),
    "expect": Wrong((('name = "weave"', 'name = "weave"\n\n    @classmethod\n    def expect(cls, step, inputs):\n        from fabloom.method import Outline\n        return Outline.of_images(9, (1, 8, 8)) if step.spec.name == "sample" else None'),),
                    "test_output[sample]", ("expect says array 'images' is ((9, 1, 8, 8), 'uint8'), but it is", "return None where that is not known")),
    "version": Wrong((('name = "weave"', 'name = "weave"\n    api = ">=2"'),), "test_schema", ("wants contract version >=2",)),
}  # fmt: skip

WHOLE = ("random", "input_file", "network", "stale_version", "progress_short", "signature", "resume", "params", "kind", "pickle")
"""Wrong plugins that are asked every question; the others only the one that they must fail, for the price of a run each."""

SECONDS = {"wrong_progress_endless": 6.0}
"""What never ends is given up soon; everything else may take as long as a busy machine makes it."""

Results = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, warm: Callable[..., subprocess.CompletedProcess[str]]) -> Results:
    """Class name -> test -> '' where it passed, else its message; all plugins in one pytest run, as an author would start it."""
    site = tmp_path_factory.mktemp("site")
    (site / "right.py").write_text(RIGHT)
    sources = {"right": RIGHT}
    for name, wrong in WRONG.items():
        source = RIGHT
        for old, new in wrong.changes:
            assert source.count(old) == 1, (name, old)
            source = source.replace(old, new)
        sources[f"wrong_{name}"] = source
    for module, source in sources.items():
        folder = site / f"tests_{module}"
        folder.mkdir()
        (site / f"{module}.py").write_text(source)
        (folder / f"test_{module}.py").write_text(
            SUITE.format(module=module, title=module.title().replace("_", ""), seconds=SECONDS.get(module, 120.0))
        )
    arguments = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", "--rootdir", str(site)]
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    warm([*arguments, "-k", "test_lock", "--fabloom-lock", str(site)], env=environment)
    stale = site / "tests_wrong_stale_version" / "fabloom.lock"
    locked = json.loads(stale.read_text())
    right = json.loads((site / "tests_right" / "fabloom.lock").read_text())
    assert locked["weave"]["source"] != right["weave"]["source"], "the changed source has another hash"
    stale.write_text(json.dumps(right))  # what the author committed before the change
    asked = [f"{site}/tests_right"]
    for name, wrong in WRONG.items():
        file = f"{site}/tests_wrong_{name}/test_wrong_{name}.py"
        asked.append(file if name in WHOLE else f"{file}::TestWrong{name.title().replace('_', '')}::{wrong.test}")
    done = warm([*arguments, "--junit-xml", str(site / "results.xml"), *asked], env=environment)
    assert (site / "results.xml").is_file(), done.stdout[-3000:]
    found: Results = {}
    for case in ET.parse(site / "results.xml").iter("testcase"):
        failure = next((child for child in case if child.tag in ("failure", "error")), None)
        name = case.get("classname", "").rpartition(".")[2]
        found.setdefault(name, {})[case.get("name", "")] = "" if failure is None else f"{failure.get('message')}\n{failure.text}"
    return found


def of(results: Results, module: str) -> dict[str, str]:
    return results["Test" + module.title().replace("_", "")]


def test_the_right_plugin_passes_every_check(results: Results) -> None:
    found = of(results, "right")
    assert len(found) == 6 + 2 * 11 and not {name: message for name, message in found.items() if message}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_plugin_fails_at_its_own_check_and_is_told_how_to_mend_it(results: Results, name: str) -> None:
    wrong, found = WRONG[name], of(results, f"wrong_{name}")
    message = found[wrong.test]
    for words in wrong.says:
        assert words in message, message or f"{wrong.test} passed; failed: {[n for n, m in found.items() if m]}"
    assert "the contract:" in message and "mend it:" in message
    others = [test for test, text in found.items() if text and test != wrong.test and not any(part in test for part in wrong.besides)]
    assert not others, {test: found[test] for test in others}
