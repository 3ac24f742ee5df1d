"""What a line's retraining is to do, as written: one YAML file, one pydantic model. It names no time; a schedule does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fabloom.errors import PipelineError, UserError, did_you_mean
from fabloom.pipeline import Name, document, validation_error

Share = Annotated[float, Field(ge=0, le=1)]


class Part(BaseModel):
    """A part of a specification: frozen, unknown names and NaN refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Ports(Part):
    """Inputs of the evaluation's task, where they are called otherwise than those of unet.evaluate."""

    challenger: str = Field("model", description="the port that takes the challenger; the report has its scores under this name")
    champion: str = Field("baseline", description="the port that takes the champion; the report has its scores under this name")
    test: str = Field("images", description="the port that takes the held-out set")


class Evaluate(Part):
    """How challenger and champion are scored: both, every night, on the same images."""

    task: str = Field("unet.evaluate", description="a task that gives a Report with paired differences under 'difference'")
    test: str = Field(
        description="the held-out set, never trained on: ref:NAME, key:HEX, or a step of the pipeline. Frozen to a key when a night "
        "begins; where it changes, the champion is scored anew on the new set"
    )
    params: dict[str, Any] = Field(default_factory=dict, description="parameters of the task")
    ports: Ports = Field(default_factory=Ports, description="names of the task's inputs")


class Condition(Part):
    """One condition of the gate, on the paired difference challenger minus champion."""

    metric: str = Field(description="a metric of the evaluation, as in iou_defect")
    better: Literal["up", "down"] | None = Field(None, description="which way is better; left out: as the report says")
    by: float | None = Field(None, ge=0, description="the whole interval must show a gain of more than this")
    no_worse_than: float | None = Field(
        None,
        ge=0,
        description="the whole interval must show a loss of less than this; of a rate, N sources without an event rule out 3.7 / N at 95 %",
    )
    events: str | None = Field(
        None,
        description="a metric of another condition of this gate that counts the events behind this one, as false_alarm_rate those behind "
        "false_alarm_pixels: it decides where every source gives the same difference. Left out, such a condition does not hold",
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.by is None) == (self.no_worse_than is None):
            raise ValueError("give `by` (a gain that must be shown) or `no_worse_than` (a loss that must be ruled out), one of both")
        return self

    @property
    def margin(self) -> float:
        """The gain or loss that was written."""
        return float(self.no_worse_than if self.by is None else self.by)  # type: ignore[arg-type]  # one of both is given

    def bound(self, better: str) -> float:
        """What the interval of the difference must lie beyond: above it where more is better, below it where less is."""
        gain = self.margin if self.by is not None else -self.margin
        return (-gain if better == "down" else gain) + 0.0  # never -0


class Change(Part):
    """Bounds of a number of the training set, and how far it may be from that of the last accepted set."""

    at_least: float | None = Field(None, ge=0, description="no less than this")
    at_most: float | None = Field(None, ge=0, description="no more than this")
    change: float | None = Field(None, ge=0, description="no further from the last accepted set than this; of a count, as a share of it")


class Check(Part):
    """What the training set must look like before anything is trained on it. What is left out is not looked at."""

    step: Name = Field(description="the step of the pipeline that gives the images")
    count: Change = Field(default_factory=Change, description="number of images")
    size: Literal["same", "any"] = Field("any", description="same: height, width and channels of the last accepted set")
    grey: Change = Field(default_factory=Change, description="mean grey level, 0 to 255; its change in grey levels")
    contrast: Change = Field(default_factory=Change, description="standard deviation of the grey levels; its change in grey levels")
    defects: Change = Field(default_factory=Change, description="share of images with a defect, 0 to 1")
    duplicates: Share | None = Field(None, description="largest share of images that repeat another one of the set, pixel by pixel")
    known: Share | None = Field(None, description="largest share of images that the last accepted set has too, where the set changed")


class Options(Part):
    """How a night runs; none of it is in a key."""

    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps")
    checkpoint_seconds: float = Field(30.0, ge=0, description="seconds between checkpoints inside a step")


class Spec(Part):
    """The retraining of one line. Its refs are LINE/champion, what is in use, and LINE/decision, what the last night decided."""

    line: Name = Field(description="name of the line")
    pipeline: str = Field(description="a registered pipeline, or the path of a YAML file, as the command `fabloom run` takes it")
    set: list[str] = Field(default_factory=list, description="overrides of the pipeline, as those of --set")
    challenger: Name = Field(description="the step whose artifact may become the champion")
    feedback: Name | None = Field(
        None,
        description="a step of the pipeline that the champion stands in for, once there is one; what only that step needs is left out. "
        "So the segmenter in use may say what the challenger learns from, and a night that promotes is a round of a closed loop",
    )
    evaluate: Evaluate = Field(description="how challenger and champion are scored")
    gate: list[Condition] = Field(min_length=1, description="conditions that must all hold")
    first: Literal["promote", "reject"] | Annotated[dict[str, float], Field(min_length=1)] = Field(
        "promote",
        description="what to do while there is no champion: promote; reject; or a bound for each metric of the challenger itself, as in "
        "{iou_defect: 0.3}, which its whole interval must keep",
    )
    check: Check | None = Field(None, description="what the training set must look like")
    watch: list[str] = Field(default_factory=list, description="folders, files and ref:NAME whose change starts a night (--if-new)")
    settle: float = Field(60.0, ge=0, description="seconds for which what is watched must be at rest before a night starts")
    options: Options = Field(default_factory=Options, description="how a night runs")

    @model_validator(mode="after")
    def _events(self) -> Self:
        metrics = [one.metric for one in self.gate]
        for one in self.gate:
            if one.events is not None and (one.events == one.metric or one.events not in metrics):
                raise ValueError(f"gate: '{one.events}', the events of {one.metric}, has no condition of its own in the gate; add one")
        return self

    @model_validator(mode="after")
    def _fed_back(self) -> Self:
        taken = {"challenger": self.challenger, "evaluate.test": self.evaluate.test, "check.step": self.check.step if self.check else None}
        for place, step in taken.items():
            if self.feedback is not None and self.feedback == step:
                raise ValueError(f"feedback: the champion cannot stand in for '{step}', which is the {place}; name the step before it")
        return self

    @property
    def champion(self) -> str:
        """The ref of what is in use."""
        return f"{self.line}/champion"

    @property
    def decision(self) -> str:
        """The ref whose log is the line's nights."""
        return f"{self.line}/decision"

    @classmethod
    def load(cls, path: str | Path) -> Spec:
        """Read a YAML file. Raises UserError that names the file, the place in it, and what is wrong."""
        return cls.parse(document(path, "specification"), origin=str(path))

    @classmethod
    def parse(cls, content: Any, origin: str = "specification") -> Spec:
        """Validate plain data. Raises UserError with the path of the first mistake."""
        if not isinstance(content, Mapping):
            raise UserError(f"{origin}: a specification is a mapping with 'line', 'pipeline' and so on, not {type(content).__name__}")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise UserError(f"{origin}: {_told(error)}") from error


def _told(error: ValidationError) -> PipelineError:
    """One of pydantic's complaints; a name that is not known gets the nearest of its part."""
    slip = next((one for one in error.errors() if one["type"] == "extra_forbidden"), None)
    owner: Any = Spec
    for part in slip["loc"][:-1] if slip is not None else ():
        field = getattr(owner, "model_fields", {}).get(part) if isinstance(part, str) else None
        owner = _part_of(field.annotation) if field is not None else owner
    if slip is not None and owner is not None:
        place, name = ".".join(map(str, slip["loc"])), str(slip["loc"][-1])
        return PipelineError(place, f"is not known here.{did_you_mean(name, owner.model_fields)}")
    return validation_error(error, Spec)


def _part_of(annotation: Any) -> Any:
    """The part that a field holds, or a list of which it holds; None where it holds none."""
    for one in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(one, type) and issubclass(one, Part):
            return one
    return None
