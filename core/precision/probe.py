"""Measuring whether a device computes bfloat16 itself or imitates it: a convolution forth and back, in both precisions.

Flags of a CPU do not say it: a library may be told to leave instructions alone, a virtual machine may hide or imitate them, and torch
has kernels for some shapes only. So the very thing that networks do is timed as they do it, float32 weights under autocast.
"""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

NATIVE = 1.2
"""bfloat16 counts as native from this many times the speed of float32 on."""
TURNS = 5
SHAPE, WIDTH, KERNEL = (2, 32, 32, 32), 32, 3
"""Of the input [B,C,H,W]; output channels; side of the kernel. Some milliseconds where it is computed natively."""


@dataclass(frozen=True)
class Finding:
    """Whether bfloat16 is native. `factor` is its speed over that of float32, which took `seconds`; None where nothing was timed."""

    native: bool
    factor: float | None = None
    seconds: float | None = None

    @classmethod
    def timed(cls, factor: float, seconds: float | None = None) -> Finding:
        """From a measured factor, and the CPU seconds of the convolution in float32."""
        return cls(factor >= NATIVE, factor, seconds)

    def __str__(self) -> str:
        if self.factor is None:
            return "torch says that the device computes bf16 itself" if self.native else "the device computes no bf16"
        return f"bf16 runs {self.factor:.2f} times as fast as fp32 here"


def measure(device: torch.device) -> Finding:
    """What this device makes of bfloat16; for CUDA torch's own word, for others the probe.

    One thread, well under a second of CPU time, no random number drawn. CPUs are timed by the thread's own clock, which a busy
    neighbour hardly moves; the precisions take turns, and the median of each counts.
    """
    import torch

    if device.type == "cuda":  # torch knows the hardware's generation
        return Finding(torch.cuda.is_bf16_supported(including_emulation=False))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        plain, half = _took(device)
        return Finding.timed(plain / max(half, 1e-9), plain)
    except (RuntimeError, TypeError):  # an accelerator without the type
        return Finding(native=False)
    finally:
        torch.set_num_threads(threads)


def _took(device: torch.device) -> tuple[float, float]:
    """Median seconds of a turn in float32 and in bfloat16."""
    import torch

    x = torch.linspace(-1, 1, math.prod(SHAPE), device=device).reshape(SHAPE)
    shape = (WIDTH, SHAPE[1], KERNEL, KERNEL)
    weight = torch.linspace(-1, 1, math.prod(shape), device=device).reshape(shape).requires_grad_()
    spent: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(TURNS + 1):
        for half, times in spent.items():
            took = _turn(x, weight, half)
            if turn:  # the first one plans and allocates
                times.append(took)
    return statistics.median(spent[False]), statistics.median(spent[True])


def _turn(x: torch.Tensor, weight: torch.Tensor, half: bool) -> float:
    """Seconds of one convolution and its gradient."""
    import torch

    clock = time.thread_time if x.device.type == "cpu" else time.perf_counter
    began = clock()
    with torch.enable_grad():
        with torch.autocast(x.device.type, torch.bfloat16, enabled=half):
            out = torch.nn.functional.conv2d(x, weight, padding=KERNEL // 2)
        (gradient,) = torch.autograd.grad(out.float().square().mean(), weight)
    float(gradient.flatten()[0])  # an accelerator is waited for
    return clock() - began
