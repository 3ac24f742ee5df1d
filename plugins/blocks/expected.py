"""Outlines that several methods share: what samples and simulated sets will hold. Light, since `fabloom plan` asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fabloom.method import Outline


def samples(params: Any, inputs: Mapping[str, Outline]) -> Outline | None:
    """`params.count` images of the shape that the model of port 'model' was trained on."""
    image = inputs["model"].image if "model" in inputs else None
    return None if image is None else Outline.of_images(params.count, image)


def trained(inputs: Mapping[str, Outline], **config: Any) -> Outline | None:
    """A model of images of the shape of port 'images'."""
    image = inputs["images"].image if "images" in inputs else None
    return None if image is None else Outline.of_model(image=list(image), **config)


def found(inputs: Mapping[str, Outline], *, references: bool = False) -> Outline | None:
    """The images of port 'images' with masks and scores, and with references where clean estimates come along."""
    rows = inputs["images"].arrays.get("images") if "images" in inputs else None
    if rows is None:
        return None
    count, *image = rows[0]
    plane = (count, *image[1:])
    beside = {"references": ((count, *image), "uint8")} if references else {}
    return Outline.of_images(count, tuple(image), masks=(plane, "uint8"), scores=(plane, "float16"), **beside)


def simulated(params: Any, *, references: bool = False) -> Outline:
    """A labelled set of `params.count` grey squares of side `params.size`, as `imaging.sets.simulate` writes it."""
    count, plane = params.count, (params.size, params.size)
    beside = {"references": ((count, 1, *plane), "uint8")} if references else {}
    return Outline.of_images(
        count, (1, *plane), masks=((count, *plane), "uint8"), domain=((count,), "int8"), labels=((count,), "int16"), **beside
    )


def pyramid(params: Any, inputs: Mapping[str, Outline]) -> Outline | None:
    """A one-shot model of an image of the set at port 'images': channels, and the finest scale where the image is not shrunk."""
    image = inputs["images"].image if "images" in inputs else None
    if image is None:
        return None
    whole = params.max_pixels is None or image[1] * image[2] <= params.max_pixels
    return Outline.of_model(set_channels=image[0], sizes=[list(image[1:])] if whole else None)


def grown(params: Any, inputs: Mapping[str, Outline]) -> Outline | None:
    """`params.count` images of a one-shot model: of the size that is asked for, or of the model's finest scale."""
    config = inputs["model"].attrs.get("config") if "model" in inputs else None
    if not isinstance(config, Mapping) or "set_channels" not in config or inputs.keys() & {"reference", "composite"}:
        return None
    finest = config["sizes"][-1] if "sizes" in config and not getattr(params, "extra_scales", 0) else None
    size = params.size or finest
    return None if size is None else Outline.of_images(params.count, (config["set_channels"], *size))


def pasted(params: Any, inputs: Mapping[str, Outline]) -> Outline | None:
    """`params.count` images with masks and clean references, of the size that is asked for or that of the model's images."""
    image = inputs["model"].image if "model" in inputs else None
    if image is None:
        return None
    count, plane = params.count, params.size or image[1:]
    pixels = (count, image[0], *plane)
    masks, references = ((count, *plane), "uint8"), (pixels, "uint8")
    return Outline.of_images(count, pixels[1:], masks=masks, references=references, domain=((count,), "int8"), source=((count,), "int32"))


def rearranged(inputs: Mapping[str, Outline]) -> Outline | None:
    """A one-shot model that keeps an image of the set at port 'images' in its own size."""
    image = inputs["images"].image if "images" in inputs else None
    return None if image is None else Outline.of_model(set_channels=image[0], sizes=[list(image[1:])])
