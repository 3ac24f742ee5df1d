"""The Python door: arrays and folders as inputs, a method without YAML, results by name, short reprs, errors that raise."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import fabloom
from fabloom.errors import DataError, EnvironmentProblem, PipelineError, RunFailed, StepFailed, UserError
from fabloom.kinds import ImageSet, Metric, Model, OfflineData, Report, RowSpec, Table
from fabloom.kinds.memory import Held
from fabloom.method import Context, Method, task
from fabloom.params import Params
from fabloom.pipeline import Pipeline
from fabloom.planning.plan import make_plan
from fabloom.registry import Origin, Registry
from fabloom.storage.backends.local import LocalStore
from fabloom.storage.verify import verify
from fabloom.testing import MemoryStore


class Steps(Params):
    steps: int = 3
    fail: bool = False


class Draw(Params):
    count: int = 4


class Mean(Method):
    """The mean image, and copies of it."""

    name = "mean"

    @task(version=1)
    def train(self, ctx: Context, params: Steps, *, images: ImageSet) -> Model:
        """The mean image."""
        if params.fail:
            raise DataError("the images are upside down")
        mean = torch.from_numpy(images.images[:]).float().mean(0)
        for step in ctx.loop(params.steps):
            step.log(level=float(mean.mean()))
        return Model.write(ctx, {"mean": mean}, {"role": "mean"})

    @task(version=1)
    def sample(self, ctx: Context, params: Draw, *, model: Model) -> ImageSet:
        """Copies of it."""
        one = model.state()["mean"].byte().numpy()
        return ImageSet.write(ctx, np.broadcast_to(one, (params.count, *one.shape)).copy())

    @task(version=1)
    def score(self, ctx: Context, params: Params, *, images: ImageSet) -> Report:
        """The mean grey."""
        value = Metric(float(images.images[:].mean()), (0.0, 255.0), unit="grey levels", better="up", role="headline")
        return Report.write(
            ctx, {"model": {"mean": value}, "images": len(images)}, tables={"by image": Table(("image", "mean"), [[0, 1.5]])}
        )


PIPELINE = {
    "name": "means",
    "steps": {
        "images": {"task": "mean.sample", "inputs": {"model": "base"}},
        "base": {"task": "mean.train", "inputs": {"images": "key:" + "0" * 40}},
        "model": {"task": "mean.train", "inputs": {"images": "images"}, "params": {"steps": 5}},
        "samples": {"task": "mean.sample", "inputs": {"model": "model"}, "params": {"count": 7}},
        "report": {"task": "mean.score", "inputs": {"images": "samples"}},
    },
}


@pytest.fixture(scope="module")
def registry() -> Registry:
    found = Registry.load()
    found._add_method(Mean, Origin("mean", "mean", "1"))
    return found


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (6, 1, 8, 8), dtype=np.uint8)


def test_a_notebook_completes_every_public_name() -> None:
    code = "import fabloom; missing = set(fabloom.__all__) - set(dir(fabloom)); assert not missing, missing; import sys; assert 'pydantic' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# ------------------------------------------------------------------------------------------------------------------------ arrays


def test_a_set_of_arrays_is_what_was_given(pixels: np.ndarray) -> None:
    masks = np.zeros((6, 8, 8), bool)
    masks[3:, 2, 2:4] = True
    names = ["a.png", "a.png", "b.png", "c.png", "c.png", "d.png"]
    made = ImageSet.from_arrays(
        pixels[:, 0], masks=masks, names=names, references=pixels, labels=[0, 0, 0, 1, 1, 1], class_names=["good", "bad"]
    )
    assert (made.images[:] == pixels).all() and made.domain is not None and made.domain[:].tolist() == [0, 0, 0, 1, 1, 1]
    assert made.references is not None and (made.references[:] == pixels).all() and made.key == ""
    assert made.source is not None and [made.source_names[i] for i in made.source[:]] == names and len(made.source_names) == 4
    several = ImageSet.from_arrays([Image.fromarray(one[0]) for one in pixels])
    assert (several.images[:] == pixels).all() and (ImageSet.from_arrays(torch.from_numpy(pixels)).images[:] == pixels).all()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"images": np.arange(32, dtype=np.uint16).reshape(2, 4, 4) * 100}, r"not uint16. These run from 0 to 3100: low, high = np.perc"),
        ({"images": np.arange(32).reshape(2, 4, 4)}, r"not int64. All values fit: x.astype"),
        ({"images": np.zeros((2, 4, 4))}, r"uint8, from 0 to 255, not float64. Of values from 0 to 1"),
        ({"images": np.zeros((2, 4, 4, 3), np.uint8)}, "Channels last"),
        ({"images": np.zeros((4, 4), np.uint8)}, r"of one image give \[image\]"),
        ({"images": [np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8)]}, "pictures of one size"),
        ({"masks": np.zeros((2, 4, 4), np.float32)}, "masks must be bool, or uint8"),
        ({"masks": np.zeros((2, 4, 5), bool)}, "masks must have shape"),
        ({"domain": [0, 2]}, "other than 0"),
        ({"domain": [0.5, 1.0]}, "whole numbers"),
        ({"labels": [0, 70000], "class_names": ["a"]}, "more than int16"),
        ({"names": ["a"]}, "source must be int32"),
    ],
)
def test_what_is_no_set_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        ImageSet.from_arrays(**{"images": np.zeros((2, 1, 4, 4), np.uint8), **given})


def test_equal_arrays_are_kept_once_and_read_back(store: LocalStore, pixels: np.ndarray) -> None:
    first = store.put(ImageSet.from_arrays(pixels, names=list("aabbcc")))
    again = store.put(ImageSet.from_arrays(pixels.copy()[:, 0], names=list("aabbcc")))
    assert first.key == again.key and list(store.keys()) == [first.key] and store.put(first).key == first.key
    assert isinstance(first, ImageSet) and (first.images[:] == pixels).all() and first.source_names == ["a", "b", "c"]
    changed = pixels.copy()
    changed[0, 0, 0, 0] ^= 1
    others = [
        ImageSet.from_arrays(changed, names=list("aabbcc")),
        ImageSet.from_arrays(pixels),
        ImageSet.from_arrays(pixels, names=list("aabbcd")),
    ]
    assert len({first.key, *(store.put(one).key for one in others)}) == 4
    memory = MemoryStore()
    assert memory.put(first).key == memory.put(ImageSet.from_arrays(pixels, names=list("aabbcc"))).key == first.key, "in every store alike"
    health = verify(store)
    assert not health.problems and not health.leftovers and store.manifest(first.key)["preimage"]["task"] == "given.ImageSet"


def test_what_no_step_made_is_told_so(store: LocalStore, pixels: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    """Wherever a manifest is told there would be the name of a task, and of the plugin that it is from."""
    from fabloom.errors import PluginError
    from fabloom.flows.cli.health import tell_health
    from fabloom.flows.cli.looking import artifacts, lineage, show
    from fabloom.flows.report.provenance import _row

    kept = store.put(ImageSet.from_arrays(pixels))
    for command in (
        lambda: artifacts(None, store.url, False),
        lambda: show(kept.key, store.url, False),
        lambda: lineage(kept.key, store.url),
    ):
        command()
        out = capsys.readouterr().out
        assert ("put, not made" in out or "by no step" in out) and "given" not in out, out
    assert "given" not in "".join(_row("x", kept.key, store.manifest(kept.key)))
    file = next(path for path in store.folder(kept.key).rglob("*") if path.is_file() and "/c/" in path.as_posix())
    file.chmod(0o644)
    file.write_bytes(b"?")
    tell_health(verify(store))
    out = capsys.readouterr().out
    assert "no step can make it again" in out and "--redo" not in out and "given" not in out
    del store.kinds["ImageSet"]
    with pytest.raises(PluginError, match="it was put there, by no step") as caught:
        store.get(kept.key)
    assert "given" not in str(caught.value)


def test_any_kind_is_kept_with_its_rows(store: LocalStore) -> None:
    model = store.put(Model.write(Held(), {"a": torch.ones(2, 3)}, {"role": "x"}))
    assert isinstance(model, Model) and torch.equal(model.state()["a"], torch.ones(2, 3))
    held = Held()
    writer = OfflineData.writer(held, count=5, block=2, arrays={"x": RowSpec("int64", meaning="a number")})
    writer.append({"x": np.arange(5)})
    rows = store.put(OfflineData.finish(held, writer, {"T": 1}))
    assert isinstance(rows, OfflineData) and rows.reader().read([4, 0])["x"].tolist() == [4, 0] and rows.specs["x"].meaning == "a number"


# --------------------------------------------------------------------------------------------------------------- runs and methods


def test_what_is_given_stands_in_for_a_step_and_for_what_only_it_needed(registry: Registry, store: LocalStore, pixels: np.ndarray) -> None:
    given = ImageSet.from_arrays(pixels)
    done = fabloom.run(PIPELINE, store=store, registry=registry, device="cpu", inputs={"images": given})
    assert list(done) == ["images", "model", "samples", "report"], "'base' is not trained for nothing"
    assert (done["images"].images[:] == pixels).all() and len(done["samples"]) == 7 and done["model"].config == {"role": "mean"}  # type: ignore[attr-defined,arg-type]
    assert done.plan.step("model").inputs == {"images": store.put(given).key}
    steps = {name: PIPELINE["steps"][name] for name in ("model", "samples", "report")}  # type: ignore[index]
    steps["model"] = {**steps["model"], "inputs": {"images": pixels}}
    as_step = fabloom.run({"name": "means", "steps": steps}, store=store, registry=registry, device="cpu")
    assert {step.status for step in as_step.steps} == {"reused"} and as_step["model"].key == done["model"].key
    by_key = fabloom.run(PIPELINE, store=store, registry=registry, device="cpu", inputs={"images": f"key:{store.put(given).key}"})
    assert {step.status for step in by_key.steps} == {"reused"}
    for inputs, told in (
        ({"imagez": given}, "no step 'imagez'.*Did you mean 'images'"),
        ({"images": 3}, r"inputs\['images'\]: int cannot be an input"),
        (dict.fromkeys(PIPELINE["steps"], given), "nothing is left to run"),  # type: ignore[attr-defined]
        ({"model": given}, "expects Model, but .* is ImageSet"),
    ):
        with pytest.raises(UserError, match=told):
            fabloom.run(PIPELINE, store=store, registry=registry, inputs=inputs)


def test_a_folder_stands_in_for_a_step(registry: Registry, store: LocalStore, pixels: np.ndarray, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for place, one in enumerate(pixels):
        Image.fromarray(one[0]).save(folder / f"{place}.png")
    done = fabloom.run(PIPELINE, store=store, registry=registry, device="cpu", inputs={"images": folder})
    assert done.plan.step("images").task == "images.load" and (done["images"].images[:] == pixels).all()  # type: ignore[attr-defined]
    model = fabloom.method("mean", store=store, registry=registry, device="cpu").train(folder, steps=5)
    assert model.key == done["model"].key
    step = {"task": "mean.train", "inputs": {"images": folder}, "params": {"steps": 5}}
    as_input = fabloom.run({"name": "p", "steps": {"model": step}}, store=store, registry=registry, device="cpu")
    assert list(as_input) == ["model-images", "model"] and as_input["model"].key == model.key


def test_a_method_gives_the_keys_of_the_pipeline(registry: Registry, store: LocalStore, pixels: np.ndarray) -> None:
    mean = fabloom.method("mean", store=store, registry=registry, device="cpu", seed=4)
    samples = mean.train(pixels, steps=5, seed=2).sample(50)
    assert len(samples) == 50 and dir(mean) == ["sample", "score", "train"] and "steps = 3" in mean.train.__doc__
    written = {
        "name": "other",
        "seed": 4,
        "steps": {
            "m": {
                "task": "mean.train",
                "inputs": {"images": f"key:{store.put(ImageSet.from_arrays(pixels)).key}"},
                "params": {"steps": 5},
                "seed": 2,
            },
            "s": {"task": "mean.sample", "inputs": {"model": "m"}, "params": {"count": 50}},
        },
    }
    plan = make_plan(Pipeline.parse(written), registry, store)
    assert plan.step("s").key == samples.key and store.has(plan.step("m").key)
    assert samples.score().metrics["images"] == 50


def test_a_methods_errors_are_those_of_pipelines(registry: Registry, store: LocalStore, pixels: np.ndarray) -> None:
    mean = fabloom.method("mean", store=store, registry=registry, device="cpu")
    with pytest.raises(PipelineError, match=r"steps.train.params.stepz: is not known here. Did you mean 'steps'"):
        mean.train(pixels, stepz=3)
    with pytest.raises(PipelineError, match=r"steps.train.inputs.images: is missing: mean.train needs ImageSet"):
        mean.train()
    with pytest.raises(UserError, match=r"images: ImageSet; a str is left over"):
        mean.train(pixels, "more")
    with pytest.raises(UserError, match=r"mean.train: 3 has no place; give parameters by name, as in steps=3"):
        mean.train(pixels, 3)
    with pytest.raises(AttributeError, match=r"no task 'tain'. Did you mean 'train'"):
        mean.tain  # noqa: B018
    with pytest.raises(PipelineError, match=r"no task 'mena.train'.*Did you mean 'mean.train'"):
        fabloom.method("mena", store=store, registry=registry)
    with pytest.raises(RunFailed, match=r"upside down"):
        mean.train(pixels, fail=True)


def test_a_failed_run_raises_with_its_result(registry: Registry, store: LocalStore, pixels: np.ndarray) -> None:
    def run(**more: Any) -> fabloom.RunResult:
        failing = ["steps.model.params.fail=true"]
        return fabloom.run(PIPELINE, store=store, registry=registry, device="cpu", inputs={"images": pixels}, set=failing, **more)

    with pytest.raises(RunFailed, match=r"upside down.* 2 other steps did not run") as caught:
        run()
    assert caught.value.exit_code == 2 and [step.status for step in caught.value.result.steps] == ["failed", "skipped", "skipped"]
    done = run(check=False)
    assert done.exit_code == 2 and repr(done) == f"RunResult({done.run}: 1 failed, 2 skipped)"
    with pytest.raises(StepFailed, match=r"step 'samples' failed: step 'model' failed"):
        done["samples"]
    with pytest.raises(UserError, match=r"no step 'modle'. Did you mean 'model'"):
        done["modle"]
    with pytest.raises(RunFailed, match=r"not begun: a stop was asked for") as stopped:
        fabloom.run(PIPELINE, store=store, registry=registry, device="cpu", inputs={"images": pixels}, stop=lambda: True)
    assert stopped.value.exit_code == 130 and stopped.value.result.as_dict()["steps"]["model"]["status"] == "stopped"


# ---------------------------------------------------------------------------------------------------------------- what is shown


def test_what_a_notebook_shows_is_short(registry: Registry, store: LocalStore) -> None:
    large = np.random.default_rng(0).integers(0, 255, (40, 1, 256, 256), dtype=np.uint8)
    masks = np.zeros((40, 256, 256), bool)
    masks[:, 9:40, 9:40] = True
    made = ImageSet.from_arrays(large, masks=masks)
    done = fabloom.run(PIPELINE, store=store, registry=registry, device="cpu", inputs={"images": made})
    shown = [made, *(done[name] for name in done), done, done.plan, *done.plan.steps, *done.steps, store]
    assert max(len(repr(one)) for one in shown) < 400 and repr(made) == "ImageSet(in memory: 40 images of 256 × 256 with masks)"
    views = [one._repr_html_() for one in (made, done["images"], done["model"], done["report"], done, done.plan)]  # type: ignore[attr-defined]
    assert all(views) and max(map(len, views)) < 500_000
    assert "data:image/png" in views[0] and "mean.train" in views[5] and "grey levels" in views[3] and "by image" in views[4]
    ids = re.findall(r'id="(sheet-[^"]*)"', "".join(made._repr_html_() or "" for _ in range(2)))
    assert len(ids) == len(set(ids)) == 2, "two cells with one artifact"
    damaged = store.folder(done["model"].key) / "data.zarr" / "zarr.json"
    damaged.write_bytes(b"{}")
    assert "cannot be shown" in (store.get(done["model"].key)._repr_html_() or "cannot be shown")


def test_to_other_libraries(monkeypatch: pytest.MonkeyPatch, pixels: np.ndarray) -> None:
    made = ImageSet.from_arrays(pixels, masks=np.eye(8, dtype=bool)[None].repeat(6, 0), names=list("abcdef"))
    assert torch.equal(made.to_torch(), torch.from_numpy(pixels)) and made.to_torch("masks", slice(2)).shape == (2, 8, 8)
    assert [(np.asarray(one) == pixels[place, 0]).all() for place, one in enumerate(made.to_pil())] == [True] * 6
    colour = ImageSet.from_arrays(pixels.repeat(3, 1)).to_pil([0])
    assert colour[0].mode == "RGB" and colour[0].size == (8, 8)
    frame = made.to_frame()
    assert (
        list(frame.columns) == ["source", "domain", "defect_pixels"]
        and frame["defect_pixels"].tolist() == [8] * 6
        and frame["source"][3] == "d"
    )
    report = Report.write(Held(), {"iou": Metric(0.5, (0.4, 0.6), unit="1"), "n": 3}, tables={"t": Table(("a", "b"), [[1, 2], [3, 4]])})
    assert report.to_frame().loc[0, ["metric", "value", "low", "high", "unit"]].tolist() == ["iou", 0.5, 0.4, 0.6, "1"]
    assert report.to_frame("t")["b"].tolist() == [2, 4]
    with pytest.raises(DataError, match=r"no table 'u'"):
        report.to_frame("u")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(EnvironmentProblem, match=r"pip install pandas"):
        made.to_frame()


def test_a_stored_set_without_masks_is_refused_while_planning(registry: Registry, store: LocalStore, pixels: np.ndarray) -> None:
    steps = {"images": {"task": "mean.sample", "inputs": {"model": "base"}}, "base": {"task": "mean.train", "inputs": {"images": pixels}}}
    made = fabloom.run({"name": "p", "steps": steps}, store=store, registry=registry, device="cpu")
    told = r"steps.model.inputs.images: unet.train needs masks, and ImageSet \w{12} has none"
    for source in (pixels, made["images"]):
        with pytest.raises(PipelineError, match=told):
            fabloom.run(
                {"name": "q", "steps": {"model": {"task": "unet.train", "inputs": {"images": source}}}}, store=store, registry=registry
            )
    with pytest.raises(PipelineError, match=r"steps.train.inputs.images: unet.train needs masks"):
        fabloom.method("unet", store=store, registry=registry).train(pixels)
    masked = ImageSet.from_arrays(pixels, masks=np.ones((6, 8, 8), bool))
    content = {"name": "q", "steps": {"model": {"task": "unet.train", "inputs": {"images": f"key:{store.put(masked).key}"}}}}
    assert make_plan(Pipeline.parse(content), registry, store).step("model").task == "unet.train"
