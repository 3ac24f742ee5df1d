"""What the tests of one-shot methods share."""

from __future__ import annotations

from typing import Any

import pytest

from fabloom.kinds import ImageSet
from fabloom.storage.backends.local import LocalStore
from fabloom.testing import write_artifact


@pytest.fixture
def held(store: LocalStore) -> Any:
    """`held(image)` writes a set of one image [C,H,W]; further columns as they are."""

    def write(image: Any, **columns: Any) -> Any:
        return write_artifact(store, lambda ctx: ImageSet.write(ctx, image[None], **columns), seed=len(list(store.keys())))

    return write
