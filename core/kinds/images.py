"""Images with masks, domains and labels: `ImageSet`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from fabloom.errors import DataError
from fabloom.frames import door

from .arrays import LazyArray
from .artifact import Artifact, Writing
from .columns import append, check_channels, checked_array, checked_pixels
from .exhibit import Exhibit
from .masks import agreed_domain, check_classes, is_defect, tells_classes
from .origin import check_source, named, read_origins
from .streaming import streamed

if TYPE_CHECKING:
    import numpy as np
    import pandas
    import torch
    from numpy.typing import NDArray
    from PIL import Image

    from .streaming import Batch


class ImageSet(Artifact):
    """Images uint8 [N,C,H,W] with optional masks uint8 [N,H,W], scores float16 [N,H,W], references uint8 [N,C,H,W], domain int8 [N],
    labels int16 [N] and source int32 [N].

    A pixel of a mask is 0 (clean), 1..K (a defect; with several classes an index into `class_names`, whose first is the clean
    class) or 255 (cannot tell). `domain` is 1 where any pixel is 1..K, else 0. `labels` is the class of the whole image. `source`
    says by index which file or row an image comes from; tiles and noise copies of one share it. `scores` is how sure who made the
    masks is that a pixel is a defect. `references` shows the same place without a defect (a die beside it, a template), pixel on pixel.
    """

    BLOCK: ClassVar[int] = 1024

    @property
    def images(self) -> LazyArray:
        """uint8 [N,C,H,W]."""
        return self.array("images")

    @property
    def masks(self) -> LazyArray | None:
        """uint8 [N,H,W]: 0 clean, 1..K a defect (`mask_names` names the values), 255 cannot tell; None where the set has no masks."""
        return self._reader.array("masks")

    @property
    def scores(self) -> LazyArray | None:
        """float16 [N,H,W], larger where a defect is surer, finite; a probability where its maker gives one. None where nobody did."""
        return self._reader.array("scores")

    @property
    def references(self) -> LazyArray | None:
        """uint8 [N,C,H,W]: for each image the same place without a defect, registered to it; None where the set has none."""
        return self._reader.array("references")

    @property
    def domain(self) -> LazyArray | None:
        """int8 [N], 0 clean and 1 defect; None where unknown."""
        return self._reader.array("domain")

    @property
    def labels(self) -> LazyArray | None:
        """int16 [N], an index into `class_names`; None where the set has no classes."""
        return self._reader.array("labels")

    @property
    def class_names(self) -> list[str]:
        """Names of the classes that `labels` counts, and `masks` where they tell several."""
        return list(self.attrs.get("class_names", []))

    @property
    def mask_names(self) -> list[str]:
        """Name of each value of `masks` but 255: `class_names` where the masks tell classes, else clean and defect.

        Masks tell classes where they hold a value above 1, and where there are class names but no labels.
        """
        if self.attrs.get("mask_classes") or (self.class_names and self._reader.array("labels") is None):
            return self.class_names
        return ["clean", "defect"]

    @property
    def source(self) -> LazyArray | None:
        """int32 [N], an index into `source_names`; None where nobody noted where images come from."""
        return self._reader.array("source")

    @property
    def source_names(self) -> list[str]:
        """Names of the files (relative to their folder) or rows that `source` counts."""
        return named(self.attrs)

    def origins(self, rows: Any = slice(None)) -> dict[str, Any]:
        """`source` and `source_names` of some rows, to be passed on to `write` by who makes images from them; {} without sources."""
        return read_origins(self._reader, rows)

    def __len__(self) -> int:
        return self.images.shape[0]

    @classmethod
    def write(
        cls,
        ctx: Writing,
        images: NDArray[np.uint8] | Iterable[Batch],
        *,
        count: int | None = None,
        masks: NDArray[np.uint8] | None = None,
        scores: NDArray[np.float16] | None = None,
        references: NDArray[np.uint8] | None = None,
        domain: NDArray[np.int8] | None = None,
        labels: NDArray[np.int16] | None = None,
        class_names: Sequence[str] | None = None,
        source: NDArray[np.int32] | None = None,
        source_names: Sequence[str] | None = None,
        channels: int | None = None,
        attrs: Mapping[str, Any] | None = None,
    ) -> Self:
        """Write a set. `images` is uint8 [N,C,H,W], or batches [B,C,H,W] of it from an iterable; a batch may also be columns by name,
        `images` with `masks`, `scores` or `references` of the same rows.

        With `count`, the number of images in all batches, they go to the disk block by block as they come; without it they are held
        in memory until the last. C is 1 or 3, or what `channels` declares. Where masks are given without a domain, the domain is
        derived (1 where a mask has a pixel of 1..K). Raises DataError for a wrong dtype, shape or count, an empty set, mask values
        without a class name, an index without a source name, and masks that contradict domain or labels.
        """
        import numpy as np

        count, block, blocks = streamed(images, count, cls.BLOCK)
        first = next(blocks, {"images": np.empty(0, np.uint8)})
        shape = checked_array("images", first["images"], np.uint8, 4, None).shape[1:]
        check_channels((count, *shape), channels)
        columns: dict[str, NDArray[Any]] = {}
        given = {"masks": masks, "scores": scores, "references": references}
        for name, values in given.items():
            if values is not None:
                if name in first:
                    raise DataError(f"{name} come with the batches and in one piece; give them once")
                columns[name] = checked_pixels(name, values, (count, *shape))
        if domain is not None:
            columns["domain"] = checked_array("domain", domain, np.int8, 1, (count,))
            if not np.isin(domain, (0, 1)).all():
                raise DataError("domain holds values other than 0 (clean) and 1 (defect)")
        if labels is not None:
            columns["labels"] = checked_array("labels", labels, np.int16, 1, (count,))
            names = list(class_names or [])
            if not names or labels.min() < 0 or labels.max() >= len(names):
                raise DataError(f"labels run to {int(labels.max())} but class_names holds {len(names)} names")
        if masks is not None:
            columns["domain"] = agreed_domain(masks, domain)
            check_classes(masks, labels, class_names or ())
        kept: dict[str, Any] = {} if class_names is None else {"class_names": list(class_names)}
        if source is not None or source_names is not None:
            columns["source"], kept["source_names"] = check_source(count, source, source_names)
        several = masks is not None and tells_classes(masks)

        def laid() -> Iterator[dict[str, NDArray[Any]]]:
            nonlocal several
            for start, rows in zip(range(0, count, block), itertools.chain([first], blocks), strict=True):
                whole = {name: values[start : start + block] for name, values in columns.items()}
                found = {name: checked_pixels(name, values, (len(rows["images"]), *shape)) for name, values in rows.items()}
                if "masks" in found:
                    found["domain"] = agreed_domain(found["masks"], whole.pop("domain", None))
                    check_classes(found["masks"], whole.get("labels"), class_names or ())
                    several = several or tells_classes(found["masks"])
                yield found | whole

        append(ctx.staging, count, block, laid())
        if several:
            kept["mask_classes"] = True
        ctx.staging.attrs.update({**(attrs or {}), **kept})
        return cls(ctx.staging.as_reader())

    @classmethod
    @door
    def from_arrays(
        cls,
        images: Any,
        *,
        masks: Any = None,
        domain: Any = None,
        names: Sequence[str] | None = None,
        references: Any = None,
        labels: Any = None,
        class_names: Sequence[str] | None = None,
        attrs: Mapping[str, Any] | None = None,
    ) -> Self:
        """A set in memory, of arrays: to look at, for `store.put`, or as an input of `fabloom.run` and of a method's tasks.

        `images` and `references` are uint8 [N,C,H,W] or [N,H,W], or N pictures of one size (arrays, PIL images); `masks` bool or uint8
        [N,H,W]; `domain` (0 clean, 1 defect) and `labels` N numbers; `names` a name for each image, as of its file: images of one name
        count as one source. The set has no key: in a store it gets one that follows from its content. Raises DataError as `write`.

        >>> ImageSet.from_arrays([[[0, 255], [255, 0]]])
        Traceback (most recent call last):
        fabloom.errors.DataError: images must be uint8, from 0 to 255, not int64. All values fit: x.astype('uint8').
        """
        from .given import column, image_stack, index_of, mask_stack
        from .memory import Held

        stack = image_stack("images", images)
        given: dict[str, Any] = {}
        if names is not None:
            given["source"], given["source_names"] = index_of(names)
        return cls.write(
            Held(),
            stack,
            masks=None if masks is None else mask_stack(masks),
            references=None if references is None else image_stack("references", references),
            domain=None if domain is None else column("domain", domain, "int8"),
            labels=None if labels is None else column("labels", labels, "int16"),
            class_names=class_names,
            attrs=attrs,
            **given,
        )

    def to_torch(self, name: str = "images", rows: Any = slice(None)) -> torch.Tensor:
        """An array of the set as a tensor on the CPU, whole or some rows of it: `images` uint8 [N,C,H,W], `masks` [N,H,W]."""
        from .conversion import tensor

        return tensor(self.array(name)[rows])

    def to_pil(self, rows: Any = slice(None)) -> list[Image.Image]:
        """The images, or some rows of them, as PIL images: grey or RGB."""
        from .conversion import pictures

        return pictures(self.images[rows])

    def to_frame(self) -> pandas.DataFrame:
        """A row for each image, as far as it is known: the file that it comes from, domain, class, pixels of defects in its mask.

        Raises EnvironmentProblem where pandas is not installed.
        """
        from .conversion import frame

        columns: dict[str, Any] = {}
        if self.source is not None:
            columns["source"] = [self.source_names[index] for index in self.source[:].tolist()]
        if self.domain is not None:
            columns["domain"] = self.domain[:]
        if self.labels is not None:
            columns["class"] = [self.class_names[index] for index in self.labels[:].tolist()]
        if self.masks is not None:
            blocks = (self.masks[start : start + self.BLOCK] for start in range(0, len(self), self.BLOCK))
            columns["defect_pixels"] = [int(area) for block in blocks for area in is_defect(block).sum((1, 2))]
        return frame({"image": range(len(self)), **columns}).set_index("image")

    @classmethod
    def summarise(cls, manifest: Mapping[str, Any]) -> str:
        """The number of images, their size, and what else is known of each."""
        arrays = manifest["arrays"]
        count, channels, height, width = arrays["images"]["shape"]
        called = {"masks": "masks", "references": "references", "domain": "clean or defect known", "labels": "classes"}
        beside = ", ".join(word for name, word in called.items() if name in arrays and not (name == "domain" and "masks" in arrays))
        colour = f" × {channels}" if channels != 1 else ""
        return f"{count:,} image{'s' * (count != 1)} of {height} × {width}{colour}{f' with {beside}' if beside else ''}"

    def exhibits(self) -> Iterator[Exhibit]:
        """Samples with their masks, statistics and attributes, and where the defects are."""
        from .portrait import places, statistics

        yield Exhibit(samples=self.images, masks=self.masks, section="images")
        attrs = {name: value for name, value in self.attrs.items() if name not in ("class_names", "source_names")}
        flat = {name: value for name, value in attrs.items() if not isinstance(value, Mapping)}
        told = statistics(self.images, self.masks, self.domain, self.labels, self.class_names)
        names = self.source_names
        if names:
            told["from"] = f"{len(names):,} file{'s' * (len(names) > 1)} or row{'s' * (len(names) > 1)}, as {names[0]}"
        yield Exhibit(facts=told | flat, section="images")
        for name, value in attrs.items():
            if isinstance(value, Mapping):
                yield Exhibit(name, facts=value, section="images", folded=True)
        if self.masks is not None:
            share, count = places(self.masks)
            caption = f"Share of {count:,} masks that cover a pixel." if share.any() else "No mask of this set has a defect."
            yield Exhibit(heat=share, caption=caption, section="defects")
