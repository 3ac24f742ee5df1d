"""The kinds of artifact, declared over a small store protocol: `ImageSet`, `Model`, `OfflineData`, `Report`.

An artifact is immutable. A task receives committed artifacts and returns one that it wrote with `Kind.write(ctx, ...)`;
the engine commits it when the task returns. Arrays are lazy: slicing gives numpy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from .errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from .context import Context


@dataclass(frozen=True)
class RowSpec:
    """One array of a row-wise artifact: the dtype and the shape of a row, without N.

    `compress` is off for data that zstd cannot shrink (noise, scales). `dims` names the axes after the first, so that xarray
    knows which arrays share them; left out, each axis gets a name of its own.
    """

    dtype: str
    shape: tuple[int, ...] = ()
    compress: bool = True
    dims: tuple[str, ...] = ()


class LazyArray(Protocol):
    """An array in the store: shape and dtype are known, slicing reads and returns numpy."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: Any) -> NDArray[Any]: ...
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]: ...


class RowReader(Protocol):
    """The fast path: many random rows of several arrays at once, decoded in threads."""

    def read(self, rows: Sequence[int] | NDArray[Any]) -> dict[str, NDArray[Any]]: ...


class RowWriter(Protocol):
    """Writes the rows of several arrays in order, in whole row blocks; finished blocks survive a kill.

    `start` is the first row that is still missing, 0 in a fresh artifact.
    """

    start: int
    block: int
    count: int

    def append(self, rows: Mapping[str, NDArray[Any]]) -> None: ...
    def close(self) -> None: ...


class Reader(Protocol):
    """A committed artifact as the store hands it out."""

    key: str
    digest: str

    @property
    def attrs(self) -> Mapping[str, Any]: ...
    def names(self) -> list[str]: ...
    def array(self, name: str) -> LazyArray | None: ...
    def rows(self, names: Sequence[str], threads: int = 2) -> RowReader: ...


class Staging(Protocol):
    """An artifact being written; invisible until the engine commits it."""

    key: str
    attrs: dict[str, Any]

    def put(self, name: str, value: NDArray[Any], attrs: Mapping[str, Any] | None = None) -> None: ...
    def rows(self, count: int, block: int, arrays: Mapping[str, RowSpec]) -> RowWriter: ...
    def as_reader(self) -> Reader: ...


class Artifact:
    """Base of all kinds. `key` says what was asked for, `digest` what came out."""

    kind: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.kind = cls.__name__

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    @property
    def key(self) -> str:
        """Hash of what was asked for: task, version, params, seed and input keys."""
        return self._reader.key

    @property
    def digest(self) -> str:
        """Hash of what came out; empty until the artifact is committed."""
        return self._reader.digest

    @property
    def attrs(self) -> Mapping[str, Any]:
        """JSON attributes of the artifact."""
        return self._reader.attrs

    def array(self, name: str) -> LazyArray:
        """The array `name`. Raises KeyError with the names that exist."""
        found = self._reader.array(name)
        if found is None:
            raise KeyError(f"{self.kind} {self.key[:12]} has no array '{name}', only {self._reader.names()}")
        return found

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.key[:12]})"


def _blocks(batches: Iterable[Any], block: int) -> Iterator[NDArray[Any]]:
    """Re-batch arrays of any length into blocks of `block` rows; the last may be short."""
    import numpy as np

    held: list[NDArray[Any]] = []
    rows = 0
    for batch in batches:
        held.append(np.asarray(batch))
        rows += len(held[-1])
        while rows >= block:
            joined = np.concatenate(held)
            yield joined[:block]
            held = [joined[block:]]
            rows -= block
    if rows:
        yield np.concatenate(held)


class ImageSet(Artifact):
    """Images uint8 [N,C,H,W] with optional masks uint8 [N,H,W] in {0,1}, domain int8 [N] (0 clean, 1 defect) and labels int16 [N]."""

    BLOCK: ClassVar[int] = 1024

    @property
    def images(self) -> LazyArray:
        """uint8 [N,C,H,W]."""
        return self.array("images")

    @property
    def masks(self) -> LazyArray | None:
        """uint8 [N,H,W], 1 on a defect; None where the set has no masks."""
        return self._reader.array("masks")

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
        """Names of the classes that `labels` counts."""
        return list(self.attrs.get("class_names", []))

    def __len__(self) -> int:
        return self.images.shape[0]

    @classmethod
    def write(
        cls,
        ctx: Context,
        images: NDArray[np.uint8] | Iterable[NDArray[np.uint8]],
        *,
        masks: NDArray[np.uint8] | None = None,
        domain: NDArray[np.int8] | None = None,
        labels: NDArray[np.int16] | None = None,
        class_names: Sequence[str] | None = None,
        attrs: Mapping[str, Any] | None = None,
    ) -> Self:
        """Write a set. `images` is uint8 [N,C,H,W], or batches [B,C,H,W] of it from an iterable.

        Where masks are given without a domain, the domain is derived (1 where a mask has a pixel). Raises DataError for
        a wrong dtype or shape, an empty set, mask values outside {0,1}, and masks that contradict the domain.
        """
        import numpy as np

        # one pass of batches is held: N must be known before the first block is laid out
        stack = images if isinstance(images, np.ndarray) else list(_blocks(images, cls.BLOCK))
        pixels = stack if isinstance(stack, np.ndarray) else (np.concatenate(stack) if stack else np.empty(0, np.uint8))
        columns = {"images": cls._checked("images", pixels, np.uint8, 4, None)}
        count, _, height, width = pixels.shape
        if masks is not None:
            columns["masks"] = cls._checked("masks", masks, np.uint8, 3, (count, height, width))
            if masks.max(initial=0) > 1:
                raise DataError(f"masks hold values up to {int(masks.max())}; a mask is 0 or 1")
            drawn: NDArray[np.int8] = masks.reshape(count, -1).max(1).astype(np.int8)
            if domain is None:
                domain = drawn
            elif (np.asarray(domain) != drawn).any():
                row = int(np.flatnonzero(np.asarray(domain) != drawn)[0])
                raise DataError(f"image {row}: domain says {int(domain[row])} but its mask says {int(drawn[row])}")
        if domain is not None:
            columns["domain"] = cls._checked("domain", domain, np.int8, 1, (count,))
            if not np.isin(domain, (0, 1)).all():
                raise DataError("domain holds values other than 0 (clean) and 1 (defect)")
        if labels is not None:
            columns["labels"] = cls._checked("labels", labels, np.int16, 1, (count,))
            names = list(class_names or [])
            if not names or labels.min() < 0 or labels.max() >= len(names):
                raise DataError(f"labels run to {int(labels.max())} but class_names holds {len(names)} names")
        dims = {"images": ("channel", "y", "x"), "masks": ("y", "x")}
        specs = {name: RowSpec(str(a.dtype), a.shape[1:], dims=dims.get(name, ())) for name, a in columns.items()}
        writer = ctx.staging.rows(count, cls.BLOCK, specs)
        for start in range(writer.start, count, cls.BLOCK):
            writer.append({name: a[start : start + cls.BLOCK] for name, a in columns.items()})
        writer.close()
        ctx.staging.attrs.update(attrs or {})
        if class_names is not None:
            ctx.staging.attrs["class_names"] = list(class_names)
        return cls(ctx.staging.as_reader())

    @staticmethod
    def _checked(name: str, value: Any, dtype: Any, ndim: int, shape: tuple[int, ...] | None) -> NDArray[Any]:
        import numpy as np

        array = np.asarray(value)
        if array.dtype != dtype:
            raise DataError(f"{name} must be {np.dtype(dtype)}, not {array.dtype}")
        if array.ndim != ndim or 0 in array.shape or (shape is not None and array.shape != shape):
            wanted = shape if shape is not None else ("N,C,H,W" if ndim == 4 else f"{ndim} axes")
            raise DataError(f"{name} must have shape {wanted} with no empty axis, not {array.shape}")
        return array


class Model(Artifact):
    """Weights, one array a tensor named by its parameter path, and a JSON config. Never a pickle."""

    @property
    def config(self) -> dict[str, Any]:
        """What is needed to build the network again."""
        return dict(self.attrs["config"])

    def state(self, prefix: str = "") -> dict[str, torch.Tensor]:
        """All tensors (CPU), or those whose name starts with `prefix`, with it taken off."""
        import torch

        tensors = {}
        for name in self._reader.names():
            if not name.startswith(prefix):
                continue
            value = torch.from_numpy(self.array(name)[...].copy())
            if name in self.attrs["bfloat16"]:
                value = value.view(torch.bfloat16)
            tensors[name[len(prefix) :]] = value
        return tensors

    @classmethod
    def write(cls, ctx: Context, state: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> Self:
        """Write a state dict (name to tensor) and its config. Raises DataError for a non-finite weight."""
        import torch

        halves = []
        for name, tensor in state.items():
            value = tensor.detach().cpu().contiguous()
            if value.is_floating_point() and not torch.isfinite(value).all():
                raise DataError(f"weight '{name}' holds NaN or infinity: the training diverged. Lower the learning rate.")
            if value.dtype == torch.bfloat16:
                halves.append(name)
                value = value.view(torch.uint16)
            ctx.staging.put(name, value.numpy())
        ctx.staging.attrs.update({"config": dict(config), "bfloat16": sorted(halves)})
        return cls(ctx.staging.as_reader())


class OfflineData(Artifact):
    """A recurrence teacher's quantised trajectories, row by row; arrays as in `core/artifacts.py:offline_specs`."""

    @property
    def chunks(self) -> int:
        """Number K of chunks the trajectory was cut into."""
        return self.array("r_chunks").shape[1]

    def __len__(self) -> int:
        return self.array("sample_id").shape[0]

    def reader(self, names: Sequence[str] | None = None, threads: int = 2) -> RowReader:
        """Fast random access to many rows: int8 codes and scales as stored, to be dequantised on the device."""
        return self._reader.rows(list(names) if names is not None else self._reader.names(), threads)

    @classmethod
    def writer(cls, ctx: Context, *, count: int, block: int, arrays: Mapping[str, RowSpec]) -> RowWriter:
        """A writer that resumes after a kill: go on from its `start`, append whole blocks, then `finish`."""
        return ctx.staging.rows(count, block, arrays)

    @classmethod
    def finish(cls, ctx: Context, writer: RowWriter, attrs: Mapping[str, Any]) -> Self:
        """Close the writer and set the attributes (T, chunk boundaries, teacher key, quantiser, measured SNR)."""
        writer.close()
        ctx.staging.attrs.update(attrs)
        return cls(ctx.staging.as_reader())


def offline_specs(image: tuple[int, int, int], latent: tuple[int, int, int], chunks: int, *, r_sum: bool) -> dict[str, RowSpec]:
    """The arrays of `OfflineData`: image [C,H,W], latent [L,h,w], K chunks.

    x_T, x0 float16; rin0 int8 with rin0_scale float32 [L]; r_chunks int8 [K,L,h,w] with r_chunks_scale float32 [K,L];
    sample_id int64; optional r_sum float16 [L,h,w], the sum of the chunks without rin0.
    """
    plane, hidden = ("channel", "y", "x"), ("latent_channel", "latent_y", "latent_x")
    specs = {
        "sample_id": RowSpec("int64", (), compress=False),
        "x_T": RowSpec("float16", image, compress=False, dims=plane),
        "x0": RowSpec("float16", image, dims=plane),
        "rin0": RowSpec("int8", latent, dims=hidden),
        "rin0_scale": RowSpec("float32", latent[:1], compress=False, dims=hidden[:1]),
        "r_chunks": RowSpec("int8", (chunks, *latent), dims=("chunk", *hidden)),
        "r_chunks_scale": RowSpec("float32", (chunks, latent[0]), compress=False, dims=("chunk", *hidden[:1])),
    }
    if r_sum:
        specs["r_sum"] = RowSpec("float16", latent, dims=hidden)
    return specs


@dataclass(frozen=True)
class Table:
    """A table of a report: column names and rows of JSON scalars."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


class Report(Artifact):
    """Deterministic metrics, tables and pictures; no times, hosts or paths."""

    @property
    def metrics(self) -> dict[str, Any]:
        """Named numbers, nested one or more levels deep."""
        return dict(self.attrs["metrics"])

    @property
    def tables(self) -> dict[str, Table]:
        """Title to table."""
        return {name: Table(t["columns"], t["rows"]) for name, t in self.attrs["tables"].items()}

    @property
    def pictures(self) -> dict[str, NDArray[np.uint8]]:
        """Title to uint8 [H,W,C]."""
        return {title: self.array(name)[...] for name, title in self.attrs["pictures"].items()}

    @property
    def notes(self) -> list[str]:
        """What a reader must know to read the numbers rightly."""
        return list(self.attrs["notes"])

    @classmethod
    def write(
        cls,
        ctx: Context,
        metrics: Mapping[str, Any],
        *,
        tables: Mapping[str, Table] | None = None,
        pictures: Mapping[str, NDArray[np.uint8]] | None = None,
        notes: Sequence[str] = (),
    ) -> Self:
        """Write a report. Metrics are JSON numbers (None where undefined), pictures uint8 [H,W] or [H,W,C]."""
        import numpy as np

        names = {}
        for index, (title, picture) in enumerate((pictures or {}).items()):
            pixels = np.asarray(picture)
            if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
                raise DataError(f"picture '{title}' must be uint8 [H,W] or [H,W,C], not {pixels.dtype} {pixels.shape}")
            ctx.staging.put(f"picture_{index}", pixels if pixels.ndim == 3 else pixels[..., None])
            names[f"picture_{index}"] = title
        ctx.staging.attrs.update({
            "metrics": dict(metrics),
            "tables": {title: {"columns": list(t.columns), "rows": [list(r) for r in t.rows]} for title, t in (tables or {}).items()},
            "pictures": names,
            "notes": list(notes),
        })  # fmt: skip
        return cls(ctx.staging.as_reader())


BUILTIN_KINDS: tuple[type[Artifact], ...] = (ImageSet, Model, OfflineData, Report)
