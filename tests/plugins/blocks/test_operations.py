"""Multiply-adds against the textbook."""

from __future__ import annotations

import torch
from torch import nn

from fabloom.plugins.blocks.operations import counted, operations_of


def test_products_and_convolutions_are_counted_forward_and_backward() -> None:
    layer, x = nn.Linear(20, 30), torch.randn(7, 20)
    assert counted(lambda: layer(x))[1] == 7 * 20 * 30
    assert counted(lambda: layer(x).sum().backward())[1] == 2 * 7 * 20 * 30  # weights; the input needs no gradient
    conv, image = nn.Conv2d(3, 8, 3, padding=1), torch.randn(2, 3, 16, 16)
    found, taken = counted(lambda: conv(image))
    assert taken == 2 * 16 * 16 * 9 * 3 * 8 and found.shape == (2, 8, 16, 16)
    assert counted(lambda: image + 1)[1] == 0


def test_tangents_are_counted_as_what_is_computed() -> None:
    layer, x = nn.Linear(20, 30, bias=False), torch.randn(7, 20)
    _, taken = counted(lambda: torch.func.jvp(layer, (x,), (torch.ones_like(x),)))
    assert (
        taken == 3 * 7 * 20 * 30
    )  # the value, its tangent, and one by the weights' tangent, which is zeros but is multiplied all the same


def test_what_does_not_say_counts_as_nothing() -> None:
    assert operations_of({}) == 0 and operations_of({"operations": 12}) == 12
