"""Which arithmetic a step computes with: what was asked (`auto`, `fp32`, `bf16`) and what this machine does natively."""

from .choice import Choice, Used, asked_by, autocast, choose, look
from .probe import Finding

__all__ = ["Choice", "Finding", "Used", "asked_by", "autocast", "choose", "look"]
