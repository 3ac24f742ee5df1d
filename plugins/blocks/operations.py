"""How much arithmetic something is: multiply-adds of matrix products and convolutions, counted while it runs, the same on every machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch.utils.flop_counter import FlopCounterMode

T = TypeVar("T")
OPERATIONS, TRAINING = "operations", "training_operations"
"""Of a model's config: multiply-adds of all that its training took, with those of its teacher and of recordings. Of the attributes of a set
that a model drew: those of one image, and those of the model's training.
"""


def counted(work: Callable[[], T]) -> tuple[T, int]:
    """What `work` gives, and the multiply-adds that it took."""
    with FlopCounterMode(display=False) as counter:
        done = work()
    return done, counter.get_total_flops() // 2


def operations_of(attributes: Mapping[str, Any]) -> int:
    """The multiply-adds behind a model by its config, or a recording by its attributes; 0 for one that does not say."""
    return int(attributes.get(OPERATIONS, 0))
