"""`Network`: a computation of a model in a form that other software can run, given by `Method.networks` for `fabloom export`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch
    from torch import nn

BATCH = "batch"
"""Name of the axis that is free unless a network says otherwise: the first one of every input."""


class Pretrained(Protocol):
    """What diffusers and its relatives write as a folder: a pipeline, a network, a scheduler."""

    def save_pretrained(self, save_directory: Any) -> Any:
        """Write config and weights below the folder."""


@dataclass(frozen=True)
class Network:
    """A module on the CPU in evaluation mode, its weights loaded, with everything that a graph of it needs.

    `inputs` are examples in the order of `module.forward`, which takes tensors by position and returns a tensor or a tuple of
    them, named by `outputs`. Give examples two rows or more: an axis of length 1 is traced as a constant.
    `dynamic` says for each input which axes are free and what they are called; axes of one name have one length. Left out, the
    first axis of every input is free and called `batch`. `meaning` explains inputs and outputs (units, ranges) in the export.
    A network with a `card`, facts about it as plain JSON data, is a program by itself: pixels in, findings out. `fabloom export --format
    segmenter` ships it with the card; the formats `onnx` and `torch-export` write the others.

    Raises ValueError for a module in training mode, without inputs or outputs, and for axes that the examples do not have.
    """

    module: nn.Module
    inputs: Mapping[str, torch.Tensor]
    outputs: tuple[str, ...]
    dynamic: Mapping[str, Mapping[int, str]] | None = None
    meaning: Mapping[str, str] = field(default_factory=dict)
    card: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.module.training:
            raise ValueError("the module of a Network is in training mode; call module.eval()")
        if not self.inputs or not self.outputs:
            raise ValueError("a Network names its inputs and outputs")
        for name, axes in self.axes.items():
            if name not in self.inputs or not all(0 <= axis < self.inputs[name].ndim for axis in axes):
                raise ValueError(f"dynamic names axes {sorted(axes)} of input '{name}', which the examples do not have")
        for name, lengths in self.lengths.items():
            if len(lengths) > 1:
                raise ValueError(f"the dynamic axis '{name}' has the lengths {sorted(lengths)} in the examples; it is one length")
        unknown = set(self.meaning) - {*self.inputs, *self.outputs}
        if unknown:
            raise ValueError(f"meaning explains {sorted(unknown)}, which are no inputs or outputs")

    @property
    def axes(self) -> Mapping[str, Mapping[int, str]]:
        """Free axes of every input that has any: {input: {axis: name}}."""
        return {name: {0: BATCH} for name in self.inputs} if self.dynamic is None else self.dynamic

    @property
    def lengths(self) -> dict[str, set[int]]:
        """Lengths that each named axis has in the examples."""
        found: dict[str, set[int]] = {}
        for name, axes in self.axes.items():
            for axis, called in axes.items():
                found.setdefault(called, set()).add(int(self.inputs[name].shape[axis]))
        return found
