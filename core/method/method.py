"""The nouns of a method: `Method`, its tasks as `TaskSpec` with their `Port`s, and a `PlannedStep`, a task about to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from fabloom.kinds import Artifact, Model
from fabloom.params import Params

from .convention import CONVENTIONAL, listed
from .fanout import Fanout
from .origin import NOWHERE, Origin
from .outline import Outline
from .survey import Survey

if TYPE_CHECKING:
    from fabloom.network import Network, Pretrained
    from fabloom.progress import Messenger


class Method:
    """A named family of tasks. Subclass it, set `name`, and mark tasks with `@task`."""

    name: ClassVar[str]
    api: ClassVar[str] = ">=1,<2"
    tags: ClassVar[frozenset[str]] = frozenset()
    preload: ClassVar[tuple[str, ...]] = ("torch", "torch._dynamo")
    """Modules that the warm worker imports before it forks a step of this method; optimizers pull in `torch._dynamo` (3 s)."""

    @classmethod
    def check(cls, step: PlannedStep, upstream: Mapping[str, PlannedStep]) -> None:
        """Override to refuse, while planning, what only the step and its neighbours together show to be wrong.

        `upstream` holds the steps of this pipeline that feed the ports, those of a list as `port[0]`, `port[1]`. Raise
        PipelineError; read no data.
        """

    @classmethod
    def check_inputs(cls, step: PlannedStep, manifests: Mapping[str, Mapping[str, Any]]) -> None:
        """Override to refuse, while planning, inputs that are in the store already and do not do, as a training set without masks.

        `manifests` holds those of the ports' artifacts that are there, those of a list as `port[0]`, `port[1]`: `arrays` has the shape and
        dtype of each array. Asked only for a step that would run. What is not made yet is checked by the task. Raise PipelineError.
        """

    @classmethod
    def expect(cls, step: PlannedStep, inputs: Mapping[str, Outline]) -> Outline | None:
        """Override to say, while planning, which arrays a step will write, as far as its parameters and inputs tell; None: not known.

        `inputs` holds what is known of the ports' artifacts, those of a list as `port[0]`, `port[1]`; a port of which nothing is known is
        missing. An array that is named must come out so. Read no data and import nothing heavy: `fabloom plan` asks.
        """
        return None

    @classmethod
    def joined(cls, step: PlannedStep, parts: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Override to make the attributes of an artifact of those of its parts, in the order of the rows, for a task with a `Fanout`.

        They must be those of a run in one piece. By default all parts have the same ones; raises ValueError where they do not.
        """
        for name in dict.fromkeys(name for part in parts for name in part):
            if any(part.get(name) != parts[0].get(name) for part in parts):
                raise ValueError(f"the attribute '{name}' differs among the parts of '{step.name}'; override {cls.__name__}.joined")
        return parts[0]

    @classmethod
    def prepare(cls, steps: Sequence[PlannedStep], messenger: Messenger) -> None:
        """Override to fetch or refuse, before any step of a run starts, what lies outside the store: pretrained weights, a licence.

        `steps` are those of this method that will run. Called in the process that was asked to run the pipeline, in which torch need
        not be imported; a later step finds what was fetched on this machine. Raise EnvironmentProblem for what cannot be had.
        """

    @classmethod
    def survey(cls, folder: Path, options: Mapping[str, Any]) -> Survey | None:
        """Override to say what a folder of files that a task of this method loads holds, for `fabloom init`; None for one of others.

        `options` are parameters of that task that the user decided. Raise UserError for a folder that it is and that cannot be used.
        """
        return None

    @classmethod
    def networks(cls, model: Model) -> Mapping[str, Network]:
        """Override to say what `fabloom export --format onnx` and `torch-export` write of a model of this method.

        One graph for each entry, named as its file: small letters, digits, dots, hyphens. Empty: there is nothing to export as a graph.
        """
        return {}

    @classmethod
    def pretrained(cls, model: Model) -> Mapping[str, Pretrained]:
        """Override to say what `fabloom export --format diffusers` writes: for each folder an object with `save_pretrained`.

        The folder `.` is a whole pipeline. Empty: no class of diffusers holds such a model.
        """
        return {}


@dataclass(frozen=True)
class Port:
    """An input of a task: its kind, whether it takes a list, whether it may be left out."""

    kind: type[Artifact]
    many: bool = False
    optional: bool = False

    def __str__(self) -> str:
        text = f"list[{self.kind.kind}]" if self.many else self.kind.kind
        return f"{text} | None" if self.optional else text


@dataclass(frozen=True)
class TaskSpec:
    """A task as the registry knows it, read from its signature, and who brought it.

    `signature` is the tag of a conventional task whose ports are others than the plain ones, as in 'translating' (see `convention`).
    `fanout` is None for a task that one worker makes.
    """

    method: type[Method]
    name: str
    version: int
    params: type[Params]
    inputs: dict[str, Port]
    output: type[Artifact]
    function: Callable[..., Artifact]
    doc: str
    signature: str = ""
    origin: Origin = NOWHERE
    fanout: Fanout | None = None

    @property
    def full_name(self) -> str:
        """`<method>.<task>`."""
        return f"{self.method.name}.{self.name}"

    @property
    def signed(self) -> str:
        """The signature in words, as in `signature 'translating' (model: Model, images: ImageSet)`; '' for an unconventional task."""
        if self.name not in CONVENTIONAL:
            return ""
        required = listed({port: wanted for port, wanted in self.inputs.items() if not wanted.optional})
        tag = f"signature '{self.signature}'" if self.signature else "the plain signature"
        return f"{tag} ({required})"


@dataclass(frozen=True, repr=False)
class PlannedStep:
    """One step, ready to run: `inputs` are keys by port, `upstream` the steps of this pipeline it waits for.

    `pipeline` is the name of the pipeline that it was planned for; it tells observers, and is in no key.
    """

    name: str
    spec: TaskSpec
    params: Params
    inputs: Mapping[str, str | list[str]]
    upstream: tuple[str, ...]
    seed: int
    key: str
    preimage: Mapping[str, Any]
    pipeline: str = ""

    def __repr__(self) -> str:
        return f"PlannedStep({self.name}: {self.task} {self.key[:12]})"

    @property
    def task(self) -> str:
        """`<method>.<task>`."""
        return self.spec.full_name

    @property
    def kind(self) -> str:
        """Name of the kind that it gives."""
        return self.spec.output.kind
