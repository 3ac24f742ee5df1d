"""What an artifact of a built-in kind must hold, checked on what was really committed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from fabloom.errors import FabloomError
from fabloom.kinds import Artifact, Exhibit, Fields, ImageSet, LazyArray, Model, OfflineData, Report
from fabloom.method import PlannedStep
from fabloom.method.blame import located
from fabloom.planning.outlines import given

if TYPE_CHECKING:
    from fabloom.kinds.store import Store
    from fabloom.storage.commit.reader import ArtifactReader


def problems(artifact: Artifact) -> list[str]:
    """What is wrong with the artifact, in words; empty where all is well. Reads every array."""
    found = [f"attribute {where}" for where in _unplain(dict(artifact.attrs), "")]
    reader: ArtifactReader = artifact._reader  # type: ignore[assignment]
    for name in reader.names():
        array = artifact.array(name)
        if array.dtype.kind not in "biufSU" or array.dtype.hasobject:
            found.append(f"array '{name}' is {array.dtype}: numbers are wanted, an object array is a pickle")
    if not found:
        for kind, check in KINDS.items():
            if isinstance(artifact, kind):
                try:
                    found += check(artifact)
                except (KeyError, FabloomError) as error:
                    found.append(str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error))
    return found or list(_untold(artifact))


def _untold(artifact: Artifact) -> Iterator[str]:
    """What is wrong with how the kind says what it holds, shows and exports."""
    name, given = type(artifact).__name__, cast(Any, artifact)  # what a third party's really returns
    try:
        told = given.summary()
        if not isinstance(told, str) or not told.strip() or "\n" in told:
            yield f"{name}.summarise gives {told!r}; a summary is one line of text"
        for exhibit in given.exhibits():
            if not isinstance(exhibit, Exhibit):
                yield f"{name}.exhibits yields a {type(exhibit).__name__}; yield fabloom.Exhibit"
        for format, write in given.exports().items():
            if not isinstance(format, str) or not callable(write):
                yield f"{name}.exports gives {format!r}: {write!r}; a format is a name and what writes into a folder"
    except Exception as error:
        yield f"{name} cannot say what it holds: {type(error).__name__}: {error}"


def _unplain(value: Any, where: str) -> Iterator[str]:
    """Places that are not plain JSON, or not finite."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        if isinstance(value, dict):
            for name, item in value.items():
                yield from _unplain(item, f"{where}.{name}".lstrip("."))
        else:
            yield f"'{where}' is {value!r}: {error}"


def _array(name: str, array: LazyArray, dtype: str, shape: tuple[int | None, ...]) -> Iterator[str]:
    """A dtype and a shape, None where any length will do but 0."""
    if str(array.dtype) != dtype:
        yield f"array '{name}' is {array.dtype}, wanted {dtype}"
    if len(array.shape) != len(shape) or any(n == 0 or (w is not None and n != w) for n, w in zip(array.shape, shape, strict=False)):
        yield f"array '{name}' has shape {array.shape}, wanted ({', '.join('any' if n is None else str(n) for n in shape)})"


def images(artifact: ImageSet) -> Iterator[str]:
    """uint8 [N,C,H,W]; masks of named values; domain in {0,1} and agreeing; labels and source that their names count."""
    import numpy as np

    from fabloom.kinds.masks import UNKNOWN, contradicted

    yield from _array("images", artifact.images, "uint8", (None,) * 4)
    if len(artifact.images.shape) != 4:
        return
    count, _, height, width = artifact.images.shape
    masks, domain, labels = artifact.masks, artifact.domain, artifact.labels
    if masks is not None:
        wrong = list(_array("masks", masks, "uint8", (count, height, width)))
        yield from wrong
        values = set() if wrong else set(np.unique(masks[...]).tolist()) - {UNKNOWN}
        if values and max(values) >= len(artifact.mask_names):
            yield f"masks hold values up to {max(values)}, which {artifact.mask_names} do not name; 255 is 'cannot tell'"
    if domain is not None:
        wrong = list(_array("domain", domain, "int8", (count,)))
        yield from wrong
        if not wrong and not np.isin(domain[...], (0, 1)).all():
            yield "domain holds values other than 0 (clean) and 1 (defect)"
        elif not wrong and masks is not None and masks.shape[0] == count and contradicted(masks[...], domain[...]).any():
            yield "masks and domain contradict each other: an image has a pixel of 1..K exactly where its domain is 1"
    if labels is not None:
        wrong = list(_array("labels", labels, "int16", (count,)))
        yield from wrong
        if not wrong and not ((labels[...] >= 0) & (labels[...] < len(artifact.class_names))).all():
            yield f"labels run from {labels[...].min()} to {labels[...].max()}, class_names has {len(artifact.class_names)}"
    yield from _sourced(artifact, count)


def _sourced(artifact: ImageSet | Fields, count: int) -> Iterator[str]:
    """An index that the names count."""
    if artifact.source is None:
        return
    wrong = list(_array("source", artifact.source, "int32", (count,)))
    yield from wrong
    index, names = artifact.source[...], len(artifact.source_names)
    if not wrong and (index.min() < 0 or index.max() >= names):
        yield f"source runs from {index.min()} to {index.max()}, source_names has {names}"


def fields(artifact: Fields) -> Iterator[str]:
    """float32 [N,C,H,W], 0 where valid is 0, finite elsewhere; a name and a unit a channel."""
    import numpy as np

    yield from _array("values", artifact.values, "float32", (None,) * 4)
    if len(artifact.values.shape) != 4:
        return
    count, channels, height, width = artifact.values.shape
    wrong = list(_array("valid", artifact.valid, "uint8", (count, height, width)))
    yield from wrong
    values, valid = artifact.values[...], artifact.valid[...]
    if not wrong and valid.max(initial=0) > 1:
        yield "valid holds values other than 0 and 1"
    if not wrong and ((values != 0) & (valid[:, None] == 0)).any():
        yield "values are not 0 where valid is 0; Fields.write makes them so"
    if not np.isfinite(values).all():
        yield "values hold NaN or infinity"
    if not len(artifact.units) == len(artifact.channel_names) == channels:
        yield f"{channels} channels have {len(artifact.channel_names)} names and {len(artifact.units)} units"
    yield from _sourced(artifact, count)


def model(artifact: Model) -> Iterator[str]:
    """A config, at least one tensor, all of them finite."""
    if not isinstance(artifact.attrs["config"], Mapping):
        yield "attribute 'config' is no dictionary"
    state = artifact.state()
    if not state:
        yield "the model has no tensor"
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            yield f"weight '{name}' holds NaN or infinity"


def offline(artifact: OfflineData) -> Iterator[str]:
    """Finite rows of one length in every array; a recurrence teacher's arrays of one N, K and L."""
    import numpy as np

    lengths = {name: artifact.array(name).shape[:1] for name in artifact.names}
    if len(set(lengths.values())) != 1 or () in lengths.values():
        yield f"the arrays have no length in common: {lengths}"
        return
    for name in artifact.names:
        array = artifact.array(name)
        if array.dtype.kind == "f" and not all(np.isfinite(array[start : start + 256]).all() for start in range(0, len(array), 256)):
            yield f"array '{name}' holds NaN or infinity"
    if "r_chunks" in artifact.names:
        yield from _trajectories(artifact)


def _trajectories(artifact: OfflineData) -> Iterator[str]:
    """The arrays of `fabloom.kinds.offline_specs`."""
    x0, codes = artifact.array("x0"), artifact.array("r_chunks")
    if len(x0.shape) != 4 or len(codes.shape) != 5:
        yield f"x0 has shape {x0.shape}, wanted N,C,H,W; r_chunks {codes.shape}, wanted N,K,L,h,w"
        return
    count, chunks, *latent = codes.shape
    wanted = {
        "x_T": ("float16", x0.shape),
        "x0": ("float16", (count, *x0.shape[1:])),
        "rin0": ("int8", (count, *latent)),
        "rin0_scale": ("float32", (count, latent[0])),
        "r_chunks": ("int8", codes.shape),
        "r_chunks_scale": ("float32", (count, chunks, latent[0])),
        "sample_id": ("int64", (count,)),
    }
    for name, (dtype, shape) in wanted.items():
        yield from _array(name, artifact.array(name), dtype, tuple(shape))


def report(artifact: Report) -> Iterator[str]:
    """Metrics, tables whose rows are as wide as their head, uint8 pictures."""
    yield from (f"metric {where}" for where in _unplain(artifact.metrics, ""))
    for title, table in artifact.tables.items():
        if any(len(row) != len(table.columns) for row in table.rows):
            yield f"table '{title}' has rows that are not {len(table.columns)} wide"
    for title, pixels in artifact.pictures.items():
        if str(pixels.dtype) != "uint8" or pixels.ndim != 3:
            yield f"picture '{title}' is {pixels.dtype} {pixels.shape}, wanted uint8 [H,W,C]"


KINDS: dict[type[Artifact], Callable[[Any], Iterator[str]]] = {
    ImageSet: images,
    Fields: fields,
    Model: model,
    OfflineData: offline,
    Report: report,
}


def misjudged(step: PlannedStep, store: Store) -> list[str]:
    """What `Method.expect` says of a step that was run, where that is not so."""
    try:
        expected = step.spec.method.expect(step, given(store, step))
    except Exception as error:
        return [f"expect raises {located(error, step.spec.method)}"]
    arrays = store.manifest(step.key)["arrays"]
    made = {name: (tuple(one["shape"]), one["dtype"]) for name, one in arrays.items()}
    said = {name: (tuple(shape), dtype) for name, (shape, dtype) in (expected.arrays if expected is not None else {}).items()}
    return [f"expect says array '{name}' is {said[name]}, but it is {made.get(name)}" for name in said if said[name] != made.get(name)]
