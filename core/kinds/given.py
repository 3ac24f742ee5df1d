"""Arrays as somebody has them in Python, as `ImageSet.write` wants them: `ImageSet.from_arrays` is its door."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fabloom.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def image_stack(what: str, value: Any) -> NDArray[np.uint8]:
    """uint8 [N,C,H,W] of an array of that shape or [N,H,W], or of a sequence of pictures of one size: arrays, PIL images, tensors.

    Raises DataError for another dtype, which is never guessed at, and another number of axes.
    """
    import numpy as np

    try:
        stack = np.asarray(value) if hasattr(value, "__array__") else np.stack([np.asarray(one) for one in value])
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} must be an array uint8 [N,C,H,W] or [N,H,W], or pictures of one size: {error}") from error
    if stack.dtype != np.uint8:
        raise DataError(f"{what} must be uint8, from 0 to 255, not {stack.dtype}.{_scaling(stack)}")
    if stack.ndim not in (3, 4):
        raise DataError(f"{what} must have shape N,C,H,W or N,H,W, not {stack.shape}; of one image give [image]")
    return stack[:, None] if stack.ndim == 3 else stack


def _scaling(stack: NDArray[Any]) -> str:
    """How values of that range become uint8; '' where they cannot be guessed at."""
    import numpy as np

    if stack.dtype.kind not in "fiu" or not stack.size or not np.isfinite(stack).all():
        return ""
    least, most = stack.min(), stack.max()
    if least >= 0 and most <= 1 and stack.dtype.kind == "f":
        return " Of values from 0 to 1: (255 * x).round().astype('uint8')."
    if least >= 0 and most <= 255 and stack.dtype.kind != "f":
        return " All values fit: x.astype('uint8')."
    if least == most:
        return ""
    return (
        f" These run from {least:g} to {most:g}: low, high = np.percentile(x, (0.1, 99.9)), once for every set of them, then "
        "((x - low) / (high - low) * 255).clip(0, 255).round().astype('uint8')."
    )


def mask_stack(value: Any) -> NDArray[np.uint8]:
    """uint8 [N,H,W] of masks that are bool or uint8. Raises DataError for another dtype."""
    import numpy as np

    try:
        stack = np.asarray(value) if hasattr(value, "__array__") else np.stack([np.asarray(one) for one in value])
    except (TypeError, ValueError) as error:
        raise DataError(f"masks must be an array uint8 or bool [N,H,W]: {error}") from error
    if stack.dtype not in (np.dtype(np.bool_), np.dtype(np.uint8)):
        raise DataError(f"masks must be bool, or uint8 of 0 clean, 1..K defect, 255 cannot tell; not {stack.dtype}")
    return stack.astype(np.uint8)


def column(what: str, value: Any, dtype: Any) -> NDArray[Any]:
    """Whole numbers (or bools) [N] in that dtype. Raises DataError for others, and for a number that it cannot hold."""
    import numpy as np

    given = np.asarray(value)
    if given.dtype.kind not in "iub" or given.ndim != 1:
        raise DataError(f"{what} must be whole numbers, one for each image, not {given.dtype} of shape {given.shape}")
    kept = given.astype(dtype)
    if (kept.astype(np.int64) != given.astype(np.int64)).any():
        raise DataError(f"{what} holds {int(given.max())}, more than {np.dtype(dtype)} can")
    return kept


def index_of(names: Sequence[str]) -> tuple[NDArray[np.int32], list[str]]:
    """`source` and `source_names` of a name for each image; images of one name come from one source."""
    import numpy as np

    order = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return np.array([order[name] for name in names], np.int32), list(order)
