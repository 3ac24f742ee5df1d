"""The one-step student D: one pass of a U-Net from x_T to the start of the recurrence and its K chunk residuals.

    rin = GN(head(coarse));  coarse chunks = head_i(rin);  middle and fine chunks = head_i of finer features
    x_0 = X0out(GN(rin + sum of chunks), 0)      with the teacher's readout, frozen

With `predict_end` the end itself is predicted from fine features and the last chunk is what remains to it: the image then does
not depend on large terms cancelling. Of a carried latent the first channels of the start are known exactly: they are x_T.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_unshuffle

from fabloom.kinds import Model

from .backbone import backbone
from .networks import CircuitConfig, Head, Shell, groups


def active(width: int, outside: int) -> list[nn.Module]:
    """GroupNorm, SiLU and a 3x3 convolution, Kaiming-initialised."""
    return [nn.GroupNorm(groups(width), width), nn.SiLU(), conv(width, outside)]


def conv(inside: int, outside: int) -> nn.Conv2d:
    """A 3x3 convolution, Kaiming-normal weights and no bias at first."""
    layer = nn.Conv2d(inside, outside, 3, padding=1, bias=True)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias if layer.bias is not None else torch.empty(0))
    return layer


def readout_up(inside: int, latent: int, factor: int) -> nn.Sequential:
    """Features at 1/factor of the latent's resolution to `latent` channels at all of it; the width halves with every doubling."""
    layers: list[nn.Module] = [conv(inside, factor * latent)]
    if factor > 1:
        for width in (latent * 2**k for k in range(factor.bit_length() - 1, 0, -1)):
            up = active(width, width // 2)
            layers += [up[0], up[1], nn.Upsample(scale_factor=2, mode="nearest"), up[2]]
        layers += active(latent, latent)
    return nn.Sequential(*layers)


def chunk_sources(chunks: int) -> list[int]:
    """Where each chunk is read: 0 from rin (the first 40 %), 1 from middle features (to 70 %), 2 from fine ones; 4, 3, 3 of ten."""
    return [int(i >= round(0.4 * chunks)) + int(i >= round(0.7 * chunks)) for i in range(chunks)]


class Student(nn.Module):
    """D: x_T [B,C,H,W] to [B,1+K,L,h,w], rin first. All weights are trained."""

    def __init__(self, config: CircuitConfig, chunks: int, predict_end: bool = False) -> None:
        super().__init__()
        self.config, self.chunks, self.predict_end = config, chunks, predict_end
        widths, latent = config.unet["block_out_channels"], config.latent_channels
        self.unet = backbone(config.unet, keep_conv_in=True)
        levels = len(widths)
        self.taps = (0, min(1, levels - 1))
        self.middle = readout_up(widths[-1 - self.taps[1]], latent, 2 ** max(levels - 3, 0))
        self.fine = readout_up(widths[0], latent, 1)
        self.rin_head: nn.Module | None = None
        if own := latent - config.carried:
            up = readout_up(widths[-1], latent, 2 ** max(levels - 2, 0))
            self.rin_head = nn.Sequential(up, *active(latent, latent), *active(latent, own))
        self.chunk_heads = nn.ModuleList(nn.Sequential(*active(latent, latent), *active(latent, latent)) for _ in range(chunks))
        # in the last chunk's place there is then the head of the end
        self.sources = [*chunk_sources(chunks)[:-1], 2] if predict_end else chunk_sources(chunks)
        self.shell = Shell(config)

    def features(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs of the first two up blocks and the final features."""
        seen: dict[int, Tensor] = {}

        def keep(index: int) -> Any:
            return lambda _module, _inputs, output: seen.__setitem__(index, output)

        handles = [self.unet.up_blocks[index].register_forward_hook(keep(index)) for index in set(self.taps)]
        try:
            last = torch.full((x.shape[0],), self.config.labels[-1], device=x.device)
            final: Tensor = self.unet(pixel_unshuffle(x, self.config.patch), last).sample
        finally:
            for handle in handles:
                handle.remove()
        return seen[self.taps[0]], seen[self.taps[1]], final

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] -> [B,1+K,L,h,w] float32."""
        coarse, middle, final = self.features(x)
        known = pixel_unshuffle(x, self.config.patch).float()[:, : self.config.carried]
        rin = known if self.rin_head is None else self.shell(torch.cat([known, self.rin_head(coarse).float()], 1))
        sources = (rin, self.middle(middle), self.fine(final))
        parts = [rin, *(head(sources[at]).float() for head, at in zip(self.chunk_heads, self.sources, strict=True))]
        if self.predict_end:
            parts[-1] = parts[-1] - torch.stack(parts[:-1]).sum(0)
        return torch.stack(parts, 1)


class OneStep(nn.Module):
    """Student and readout: noise to image in one pass."""

    def __init__(self, config: CircuitConfig, chunks: int, final_norm: bool, predict_end: bool = False) -> None:
        super().__init__()
        self.student = Student(config, chunks, predict_end)
        self.x0_head = Head(config)
        self.final_norm = final_norm

    def end(self, parts: Tensor) -> Tensor:
        """The predicted end of the recurrence [B,L,h,w] from [B,1+K,L,h,w]."""
        z = parts.sum(1)
        on_shell: Tensor = self.student.shell(z)
        return on_shell if self.final_norm else z

    def read(self, parts: Tensor) -> Tensor:
        """The image [B,C,H,W], not clipped."""
        image: Tensor = self.x0_head(self.end(parts), torch.zeros(parts.shape[0], dtype=torch.long, device=parts.device))
        return image

    def forward(self, x: Tensor) -> Tensor:
        """x_T [B,C,H,W] -> x_0 [B,C,H,W]."""
        return self.read(self.student(x))


def load_student(model: Model, device: torch.device) -> OneStep:
    """The one-step generator of a student model, in evaluation mode. Needs nothing but the model."""
    config = model.config
    net = OneStep(CircuitConfig.from_json(config["circuit"]), config["chunks"], config["final_norm"], config["predict_end"])
    net.load_state_dict(model.state("one_step."))
    return net.to(device).eval().requires_grad_(False)
