"""Parameters of `samplers`: what its task takes, with defaults."""

from __future__ import annotations

from pydantic import Field

from fabloom.params import Params


class Entry(Params):
    """What one of the sets of samples is. Sets of one title are of several trainings, and stand in one row."""

    title: str = Field(description="name of the row")
    evaluations: int = Field(ge=1, description="network evaluations an image")


class CompareParams(Params):
    """What the sets and reports of the input lists are, in their order."""

    entries: tuple[Entry, ...] = Field(min_length=1, description="one for each of `samples`, `labelled` and `segmentation`, in their order")
    students: tuple[str, ...] = Field((), description="names of the rows of the students, one for each of `agreement`, in their order")
    shown: int = Field(8, ge=1, description="samples of each row in the picture")
