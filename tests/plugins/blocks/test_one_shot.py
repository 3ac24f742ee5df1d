"""What one-shot samplers share: images in batches, whole or a part of them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fabloom.kinds import ImageSet
from fabloom.method import Context
from fabloom.plugins.blocks.one_shot import write_samples
from fabloom.storage.backends.local import LocalStore
from fabloom.testing import write_artifact


@pytest.mark.parametrize(("first", "stop"), [(0, 10), (0, 4), (4, 9), (6, 10), (9, 10)])
def test_a_part_draws_the_batches_of_the_whole_and_keeps_its_own(store: LocalStore, first: int, stop: int) -> None:
    drawn: list[range] = []

    def draw(numbers: range) -> NDArray[np.uint8]:
        """Each image tells its number and in which company it was drawn."""
        drawn.append(numbers)
        return np.array([[number, numbers.start, numbers.stop] for number in numbers], np.uint8).reshape(-1, 1, 1, 3)

    def write(ctx: Context) -> ImageSet:
        ctx.part = range(first, stop)
        return write_samples(ctx, 10, 3, 1, draw, {}, np.arange(30, dtype=np.uint8).reshape(10, 1, 1, 3))

    made: ImageSet = write_artifact(store, write)  # type: ignore[assignment]
    whole = np.concatenate([draw(range(start, min(start + 3, 10))) for start in range(0, 10, 3)])
    assert (made.images[:] == whole[first:stop]).all() and len(drawn) > 4 and drawn[0].start % 3 == 0
    assert made.references is not None and made.references[:, 0, 0, 0].tolist() == [3 * row for row in range(first, stop)]
