"""Conventional ports and declared signatures: what registers, what is refused, and what planning says after a swap."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from fabloom import Artifact, Context, ImageSet, Method, Model, OfflineData, Params, Pipeline, PipelineError, hookimpl, task
from fabloom.flows.pipelines.one_shot_leaderboard import one_shot_leaderboard
from fabloom.method import Origin, read_tasks
from fabloom.planning.plan import make_plan
from fabloom.registry import Registry
from fabloom.storage.backends.local import LocalStore


class Maps(Artifact):
    """A kind of another domain."""


class Plain(Method):
    """The ports that a name has."""

    name = "plain"
    tags = frozenset({"one-shot"})

    @task(version=1)
    def train(self, ctx: Context, params: Params, *, images: ImageSet, base: Model | None = None) -> Model: ...

    @task(version=1)
    def sample(self, ctx: Context, params: Params, *, model: Model) -> ImageSet: ...

    @task(version=1)
    def distill(self, ctx: Context, params: Params, *, teacher: Model, offline: OfflineData) -> Model: ...


class Translator(Method):
    """Two domains in, images of one in the look of the other out; distilled from images."""

    name = "translator"
    tags = frozenset({"one-shot"})

    @task(version=1, signature="translating")
    def train(self, ctx: Context, params: Params, *, source: ImageSet, target: ImageSet) -> Model: ...

    @task(version=1, signature="translating")
    def sample(self, ctx: Context, params: Params, *, model: Model, images: ImageSet) -> ImageSet: ...

    @task(version=1)
    def distill(self, ctx: Context, params: Params, *, teacher: Model, images: ImageSet) -> Model: ...


class Overlay(Method):
    """Another kind than images, in and out."""

    name = "overlay"

    @task(version=1, signature="fields")
    def train(self, ctx: Context, params: Params, *, fields: Maps) -> Model: ...

    @task(version=1, signature="fields")
    def sample(self, ctx: Context, params: Params, *, model: Model) -> Maps: ...


class Plugin:
    @hookimpl
    def fabloom_methods(self) -> list[type[Method]]:
        return [Plain, Translator, Overlay]

    @hookimpl
    def fabloom_kinds(self) -> list[type[Artifact]]:
        return [Maps]


@pytest.fixture
def registry() -> Registry:
    made = Registry()
    made.register(Plugin(), Origin("looms", "acme-looms", "2.5"))
    assert not made.problems
    return made


def test_signatures_are_declared_or_told_by_the_ports(registry: Registry) -> None:
    found = {name: spec.signature for name, spec in registry.tasks.items()}
    assert found == {
        "plain.train": "", "plain.sample": "", "plain.distill": "",
        "translator.train": "translating", "translator.sample": "translating", "translator.distill": "from-images",
        "overlay.train": "fields", "overlay.sample": "fields",
    }  # fmt: skip
    assert registry.task("translator.sample").signed == "signature 'translating' (model: Model, images: ImageSet)"
    assert registry.task("plain.train").signed == "the plain signature (images: ImageSet)", "what is optional is in no signature"
    assert registry.task("plain.train").origin == Origin("looms", "acme-looms", "2.5")


def of(name: str, output: type[Artifact], signature: str = "", **ports: type[Artifact]) -> type[Method]:
    """A method with one task of these ports."""

    def function(*given: Any, **inputs: Any) -> None: ...

    hints = {"ctx": Context, "params": Params, **ports}
    leading = [inspect.Parameter(p, inspect.Parameter.POSITIONAL_OR_KEYWORD) for p in ("self", "ctx", "params")]
    inputs = [inspect.Parameter(p, inspect.Parameter.KEYWORD_ONLY, annotation=kind) for p, kind in ports.items()]
    function.__signature__ = inspect.Signature([*leading, *inputs], return_annotation=output)  # type: ignore[attr-defined]
    function.__annotations__ = hints | {"return": output}
    return type("Odd", (Method,), {"name": "odd", name: task(version=1, signature=signature)(function)})


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (of("sample", ImageSet, model=Model, fields=Maps), r"has the inputs model: Model and returns ImageSet.*signature='translating'"),
        (of("distill", Model, teacher=Model), "teacher: Model, offline: OfflineData or teacher: Model, images: ImageSet"),
        (of("train", Model, fields=Maps), "has the inputs images: ImageSet"),
        (of("sample", ImageSet, "conditional", model=Model), "with the inputs model: Model has one; leave it out"),
        (of("distill", Model, "from-images", teacher=Model, fields=Maps), "has one; leave it out"),
        (of("sample", ImageSet, "conditional", fields=Maps), "has the input model: Model in every signature"),
        (of("train", ImageSet, "translating", source=ImageSet), "returns Model in every signature, not ImageSet"),
        (of("sample", ImageSet, "Two Words", model=Model, fields=Maps), "small letters, digits and hyphens"),
        (of("label", ImageSet, "conditional", images=ImageSet), "only train, sample, record, distill have a signature"),
    ],
)
def test_what_cannot_be_is_refused_with_the_signature_quoted(method: type[Method], words: str) -> None:
    with pytest.raises(TypeError, match=rf"(?s){words}.*def Odd\."):
        read_tasks(method)


def test_a_conditional_sample_registers_and_a_stranger_has_an_origin() -> None:
    (spec,) = read_tasks(of("sample", ImageSet, "conditional", model=Model, fields=Maps)).values()
    assert spec.signature == "conditional" and spec.origin.version == "unknown"
    assert read_tasks(Registry.load().methods["ddpm"])["train"].origin.distribution == "fabloom", "found by the package's name"


PIPELINE: dict[str, Any] = {
    "name": "p",
    "steps": {
        "images": {"task": "line-pair.simulate"},
        "model": {"task": "plain.train", "inputs": {"images": "images"}},
        "samples": {"task": "plain.sample", "inputs": {"model": "model"}},
    },
}


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("steps.samples.task=translator.sample", r"samples\.inputs\.images: is missing: translator\.sample needs ImageSet.*signature 'translating' \(model: Model, images: ImageSet\)"),
        ("steps.model.task=translator.train", r"model\.inputs\.images: translator\.train has no input of that name.*signature 'translating' \(source"),
        ("steps.samples.inputs.images=images", r"plain\.sample has no input of that name.*the plain signature \(model: Model\)"),
    ],
)  # fmt: skip
def test_a_swap_across_signatures_says_which_the_method_has(tmp_path: Path, setting: str, words: str) -> None:
    registry = Registry.load()
    registry.register(Plugin(), Origin("looms", "acme-looms", "2.5"))
    store, pipeline = LocalStore(tmp_path / "store"), Pipeline.parse(PIPELINE)
    assert make_plan(pipeline.override(["steps.samples.task=ddpm.sample", "steps.model.task=ddpm.train"], None), registry, store).steps
    with pytest.raises(PipelineError, match=words):
        make_plan(pipeline.override([setting], None), registry, store)


def test_the_leaderboard_takes_the_plain_and_says_whom_it_leaves_out(registry: Registry) -> None:
    board = one_shot_leaderboard(registry)
    assert "plain_model" in board.steps and "translator_model" not in board.steps
    assert "Left out: translator.train has signature 'translating' (source: ImageSet, target: ImageSet)" in board.description
    del registry.methods["plain"]
    with pytest.raises(PipelineError, match=r"translator\.sample has signature 'translating'"):
        one_shot_leaderboard(registry)
