"""Who made the masks of a set: a labelling rule says so in an attribute, and whoever makes images from images carries it along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fabloom.kinds import ImageSet

LABELLED = "labelled"
"""Attribute of a set whose masks a rule made: 'all' of them, or 'some'. Where it is missing they are drawn or simulated."""


def label_attrs(*images: ImageSet) -> dict[str, str]:
    """What a set made of these says of its masks; nothing where no rule made any."""
    said: set[Any] = {one.attrs.get(LABELLED) for one in images}
    return {} if said == {None} else {LABELLED: "all" if said == {"all"} else "some"}


def told(images: ImageSet) -> str:
    """The sentence for whoever reads scores against these masks, '' where no rule made any."""
    whose = {"all": "The truth here is", "some": "The truth of some images here is"}.get(str(images.attrs.get(LABELLED, "")))
    if whose is None:
        return ""
    return (
        f"{whose} labels by difference to a clean image, made by fabloom, not by a person: "
        "scores say how well the network repeats that rule."
    )
