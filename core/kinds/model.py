"""Weights and a config: `Model`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self

from fabloom.errors import DataError

from .artifact import Artifact, Writing
from .exhibit import Exhibit

if TYPE_CHECKING:
    import torch


class Model(Artifact):
    """Weights, one array a tensor named by its parameter path, and a JSON config. Never a pickle."""

    @property
    def config(self) -> dict[str, Any]:
        """What is needed to build the network again."""
        return dict(self.attrs["config"])

    def state(self, prefix: str = "") -> dict[str, torch.Tensor]:
        """All tensors (CPU), or those whose name starts with `prefix`, with it taken off."""
        import torch

        tensors, halves = {}, frozenset(self.attrs["bfloat16"])
        for name in self._reader.names():
            if not name.startswith(prefix):
                continue
            value = torch.from_numpy(self.array(name)[...].copy())
            if name in halves:
                value = value.view(torch.bfloat16)
            tensors[name[len(prefix) :]] = value
        return tensors

    @classmethod
    def write(cls, ctx: Writing, state: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> Self:
        """Write a state dict (name to tensor) and its config. Raises DataError for a non-finite weight."""
        import torch

        halves = []
        for name, tensor in state.items():
            value = tensor.detach().cpu().contiguous()
            if value.is_floating_point() and not torch.isfinite(value).all():
                raise DataError(f"weight '{name}' holds NaN or infinity: the training diverged. Lower the learning rate.")
            if value.dtype == torch.bfloat16:
                halves.append(name)
                value = value.view(torch.uint16)
            ctx.staging.put(name, value.numpy())
        ctx.staging.attrs.update({"config": dict(config), "bfloat16": sorted(halves)})
        return cls(ctx.staging.as_reader())

    @classmethod
    def summarise(cls, manifest: Mapping[str, Any]) -> str:
        """The number of tensors and of their values."""
        shapes = [entry["shape"] for entry in manifest["arrays"].values()]
        return f"{len(shapes):,} tensor{'s' * (len(shapes) != 1)}, {sum(map(math.prod, shapes)):,} values"

    def summary(self) -> str:
        """Its role and the number of tensors; their shapes would have to be opened one by one."""
        count = len(self._reader.names())
        role = self.config.get("role")
        return f"{f'{role}, ' if role else ''}{count:,} tensor{'s' * (count != 1)}"

    def exhibits(self) -> Iterator[Exhibit]:
        """Its role, and the rest of the configuration."""
        config = self.config
        yield Exhibit(facts={"role": config.pop("role", "not said")})
        if config:
            yield Exhibit("Configuration", facts=config, folded=True)
