"""From arrays of an artifact to what other libraries take: torch, PIL, pandas."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fabloom.errors import DataError, EnvironmentProblem

if TYPE_CHECKING:
    import numpy as np
    import pandas
    import torch
    from numpy.typing import NDArray
    from PIL import Image


def tensor(values: NDArray[Any]) -> torch.Tensor:
    """The values as a tensor of their own dtype on the CPU."""
    import torch

    return torch.from_numpy(values)


def pictures(images: NDArray[np.uint8]) -> list[Image.Image]:
    """PIL images of uint8 [N,C,H,W]: L of one channel, RGB of three. Raises DataError for another number of channels."""
    from PIL import Image

    channels = images.shape[1]
    if channels not in (1, 3):
        raise DataError(f"images of {channels} channels are no grey or colour pictures; take some of them, as in images[:, :1]")
    return [Image.fromarray(image[0] if channels == 1 else image.transpose(1, 2, 0)) for image in images]


def frame(columns: Mapping[str, Sequence[Any] | NDArray[Any]]) -> pandas.DataFrame:
    """A data frame of columns of one length. Raises EnvironmentProblem where pandas is not installed."""
    try:
        module = importlib.import_module("pandas")
    except ImportError as error:
        raise EnvironmentProblem("to_frame needs pandas, which is not installed. Install it: pip install pandas") from error
    made: pandas.DataFrame = module.DataFrame(dict(columns))
    return made
