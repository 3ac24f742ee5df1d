"""The task `train`: a student that sees a part of the patches, and a teacher that sees them all."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch
from diffusers.optimization import get_scheduler
from torch import Tensor, nn

from fabloom.errors import DataError
from fabloom.kinds import Model
from fabloom.method import Context
from fabloom.plugins.blocks.backbone import TIMES
from fabloom.plugins.blocks.ema import ema
from fabloom.plugins.blocks.noise import BETA_SCHEDULES, NoiseSchedule, noise_schedule
from fabloom.plugins.blocks.operations import OPERATIONS, counted
from fabloom.plugins.blocks.overlay.maps import LONGEST, OverlayMaps

from . import conditions, discriminators, network
from .embedding import ROLE as EMBEDDING
from .losses import seen_and_masked, spread_loss
from .masking import drawn, gathered, visible
from .material import Material, Units, met
from .params import SIZES, TrainParams
from .priors import power, shapes

ROLE = "ikddit"
LOG_EVERY = 10
NOISIEST = 0.75
"""Share of all times above which the spread is learned: there the clean map is told by the conditions alone, as in its use."""


class Student(nn.Module):
    """Everything that learns: the encoders of the conditions, the transformer, and the discriminator of its training."""

    def __init__(self, conditions: conditions.Conditions, net: network.Ikddit, discriminator: discriminators.Discriminator) -> None:
        super().__init__()
        self.conditions, self.net, self.discriminator = conditions, net, discriminator


def train(ctx: Context, params: TrainParams, maps: OverlayMaps, embedding: Model | None) -> Model:
    """Train; the model holds the average of the student, without discriminator."""
    units = Units.inside(embedding.config) if embedding is not None else Units.of(maps, params.group_parts)
    if embedding is not None:
        if embedding.config.get("role") != EMBEDDING:
            raise DataError(f"model {embedding.key[:12]} is no model of ikddit.embed (role '{embedding.config.get('role')}')")
        units.check(maps, embedding)
    student = built(ctx, params, maps, units, embedding).to(ctx.device)
    average = ema(student, params.ema_decay)
    operations = fit(ctx, params, student, average, Material.of(maps, units))
    final: Any = average.module
    state = {f"{part}.{name}": value for part in ("conditions", "net") for name, value in getattr(final, part).state_dict().items()}
    config = {
        "role": ROLE,
        "net": student.net.shape.stored(),
        "conditions": asdict(student.conditions.shape),
        "units": units.stored(),
        "met": met(maps.barcodes, units.group_parts),
        "mask_ratio": params.mask_ratio,
        OPERATIONS: operations,
    }
    return Model.write(ctx, state, config)


def built(ctx: Context, params: TrainParams, maps: OverlayMaps, units: Units, embedding: Model | None) -> Student:
    """The networks at their start; the encoders are those of `embed` where there is one. Raises DataError for sizes that do not fit."""
    size = maps.values.shape[-1]
    if size % params.patch or size % 8:
        raise DataError(f"maps of {size} px do not divide by patch={params.patch} and by 8; load them in another size")
    blocks, width, heads, decoder_width, decoder_blocks = SIZES[params.size]
    told = conditions.Shape(**embedding.config["shape"]) if embedding else conditions.Shape(size, len(units.log_names), LONGEST)
    shape = network.Shape(
        size, params.patch, width, blocks, heads, decoder_width, decoder_blocks, told.width, params.gate, params.holes,
        BETA_SCHEDULES[params.schedule],
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(ctx.seed)
        encoders, net = conditions.Conditions(told), network.Ikddit(shape, shapes(units.raster))
        discriminator = discriminators.build(params.disc, width, params.prototypes)
    if params.wiener:
        net.wiener.power.copy_(power(maps, units.current))
    if embedding is not None:
        encoders.load_state_dict(embedding.state())
    return Student(encoders, net, discriminator)


def fit(ctx: Context, params: TrainParams, student: Student, average: Any, material: Material) -> int:
    """The loop; returns the multiply-adds that all steps take."""
    own = list(student.conditions.parameters())
    others = [*student.net.parameters(), *student.discriminator.parameters()]
    optimizer = torch.optim.AdamW(
        [{"params": others, "lr": params.lr}, {"params": own, "lr": params.lr * params.encoder_lr}], weight_decay=params.weight_decay
    )
    warmup = min(params.warmup, params.steps // 2)
    rate = get_scheduler("cosine", optimizer, num_warmup_steps=warmup, num_training_steps=params.steps)
    schedule = noise_schedule(student.net.shape.schedule, 1e-4, 0.02)
    step_of = Step(ctx, params, student, average.module, material, schedule)
    draw = ctx.generator("batches")
    average.eval().requires_grad_(False)

    def once() -> None:
        step_of(ctx.generator("counted"), params.mask_ratio, 0.0)[0].backward()

    _, operations = counted(once)
    unmasked = params.steps - round(params.unmasking * params.steps)
    for step in ctx.loop(params.steps, student=student, average=average, optimizer=optimizer, rate=rate):
        whole = step.index >= unmasked or float(torch.rand((), generator=draw)) < params.whole
        optimizer.zero_grad(set_to_none=True)
        loss, told = step_of(draw, 0.0 if whole else params.mask_ratio, step.index / max(1, params.steps))
        loss.backward()
        nn.utils.clip_grad_norm_([p for p in student.parameters() if p.requires_grad], params.grad_clip)
        optimizer.step()
        rate.step()
        average.update_parameters(student)
        if step.index % LOG_EVERY == 0:
            step.log(**{name: float(torch.as_tensor(value).detach()) for name, value in told.items()})
    return operations * params.steps


@dataclass(frozen=True)
class Step:
    """One step's loss of a student beside its teacher."""

    ctx: Context
    params: TrainParams
    student: Student
    teacher: Any
    material: Material
    schedule: NoiseSchedule

    @cached_property
    def weights(self) -> Tensor:
        """Weight of a squared error at every time, [T]."""
        return ((self.schedule.alpha / self.schedule.sigma) ** 2 + 1).clamp(max=self.params.gamma).float()

    @cached_property
    def forward(self) -> Any:
        """Both networks, in the precision that is asked for."""
        return self.ctx.autocast(self.params.precision)(self._forward)

    def __call__(self, draw: torch.Generator, ratio: float, progress: float) -> tuple[Tensor, dict[str, Any]]:
        """(the loss, its terms) of maps, times, noise and masks that are drawn, all from the CPU stream."""
        params, device, count = self.params, self.ctx.device, self.params.batch
        rows = torch.randint(len(self.material.maps), (count,), generator=draw)
        x0 = self.material.maps[rows]
        noise, t = torch.randn(x0.shape, generator=draw), torch.randint(TIMES, (count,), generator=draw)
        hidden = (torch.rand(count, 3, generator=draw) < params.drop) | (torch.rand(count, 1, generator=draw) < params.drop)
        seen = drawn(count, self.student.net.shape.tokens, ratio, draw)
        told = self.material.drawn(rows, draw).to(device)
        valid, weight = self.material.valid[rows].to(device), self.weights[t].to(device)
        x0, noise, t, hidden = x0.to(device), noise.to(device), t.to(device), hidden.to(device)
        seen = None if seen is None else seen.to(device)
        x = self.schedule.add_noise(x0, noise, t) * valid
        clean, spread, student, teacher = self.forward(x, told, t, hidden, seen)
        here = visible(seen, count, self.student.net.shape.tokens).to(device)
        dsm, mae = seen_and_masked(clean, x0, valid, here, weight, self.student.net.shape.patch)
        late = (t >= NOISIEST * TIMES).float()
        terms: dict[str, Any] = {"dsm": dsm, "mae": mae, "spread": spread_loss(clean, spread, x0, valid, late)}
        loss = dsm + params.mae_weight * mae + params.spread_weight * terms["spread"]
        if teacher is not None:
            disc, more = self.student.discriminator(student, teacher, self.teacher.discriminator, progress)
            loss = loss + params.disc_weight * disc
            terms |= {"disc": disc, **more, "alignment": nn.functional.cosine_similarity(student, teacher, dim=-1).mean()}
        return loss, terms

    def _forward(
        self, x: Tensor, told: conditions.Told, t: Tensor, hidden: Tensor, seen: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """(x0, log b, the student's tokens, the teacher's at the same places); both with their mean behind them."""
        given = self.material.given(told, hidden)
        clean, spread, h = self.student.net(x, given, t, self.student.conditions(told, hidden), seen)
        if not self.params.disc_weight:
            return clean, spread, h, None
        with torch.no_grad():
            whole = self.teacher.net.encode(x, given, t, self.teacher.conditions(told, hidden))
            teacher = with_mean(gathered(whole, seen), whole)
        return clean, spread, with_mean(h, h), teacher


def with_mean(tokens: Tensor, all_: Tensor) -> Tensor:
    """Tokens [B,V,d] with the mean of all [B,N,d] behind them, [B,V+1,d]."""
    return torch.cat([tokens, all_.mean(1, keepdim=True)], 1)
