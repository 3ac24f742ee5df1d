"""What is known of an artifact before it is made: `Outline`, from which a plan says how much a step will write."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

WIDTH = re.compile(r"\D+(\d+)")
"""The bits of a dtype's name, as in float16; bool has none."""


@dataclass(frozen=True)
class Outline:
    """Arrays of an artifact as far as they are known, shape and dtype by name, and attributes that what follows depends on.

    That of a Model may hold attributes alone, as {"config": {"image": [1, 96, 96]}}: images sampled from it have that shape. So may that of
    a set of which the number of rows is not known; `most` is then how many bytes it has at most. `memory` is how many bytes the step
    that makes it holds in memory at least, whatever its libraries take.
    """

    arrays: Mapping[str, tuple[tuple[int, ...], str]] = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)
    most: int | None = None
    memory: int | None = None

    @property
    def size(self) -> int | None:
        """Bytes of the arrays as they are in memory, which the store's lossless compression only makes fewer; else `most`, or None."""
        return sum(math.prod(shape) * _bytes(dtype) for shape, dtype in self.arrays.values()) if self.arrays else self.most

    def holding(self, *sizes: int | None) -> Outline:
        """The same of a step that holds all of these bytes at once; those that are not known count for nothing."""
        return replace(self, memory=sum(size or 0 for size in sizes) or None)

    def with_count(self, count: int) -> Outline:
        """The same with another number of rows."""
        return Outline({name: ((count, *shape[1:]), dtype) for name, (shape, dtype) in self.arrays.items()}, self.attrs)

    @property
    def image(self) -> tuple[int, ...] | None:
        """(C, H, W) of images of a set, or of those that a model was trained on; None where that is not known."""
        if "images" in self.arrays:
            return self.arrays["images"][0][1:]
        config = self.attrs.get("config")
        told = config.get("image") if isinstance(config, Mapping) else None
        return tuple(told) if told else None

    @classmethod
    def of_images(cls, count: int, image: tuple[int, ...], **others: tuple[tuple[int, ...], str]) -> Outline:
        """A set of so many images uint8 (C, H, W), and other arrays."""
        return cls({"images": ((count, *image), "uint8"), **others})

    @classmethod
    def of_image(cls, image: tuple[int, ...] | None, most: int | None = None) -> Outline | None:
        """A set of images (C, H, W) of unknown number, `most` bytes together; None where the image is not known."""
        return None if image is None else cls(attrs={"config": {"image": list(image)}}, most=most)

    @classmethod
    def of_model(cls, **config: Any) -> Outline:
        """A model of which a part of the config is known."""
        return cls(attrs={"config": {name: value for name, value in config.items() if value is not None}})


def _bytes(dtype: str) -> int:
    bits = WIDTH.fullmatch(dtype)
    return int(bits[1]) // 8 if bits else 1
