"""The task `distill`: a student of one evaluation from a teacher's recorded answers, with a critic where one is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from diffusers.optimization import get_scheduler
from torch import Tensor, nn
from torch.nn.functional import l1_loss, relu

from fabloom.errors import DataError
from fabloom.kinds import Model, OfflineData
from fabloom.method import Context
from fabloom.plugins.blocks.codec import Codec
from fabloom.plugins.blocks.denoisers import build, kept
from fabloom.plugins.blocks.domains.coupling import ROLE as TEACHER
from fabloom.plugins.blocks.domains.given import Given
from fabloom.plugins.blocks.domains.translator import CLEAN, DEFECT, HELD, NAMES
from fabloom.plugins.blocks.ema import ema
from fabloom.plugins.blocks.operations import OPERATIONS, counted, operations_of
from fabloom.plugins.blocks.seen import SEEN

from .networks import ROLE, Critic, changed, still
from .params import DistillParams

LOG_EVERY = 10
NAMED = ("source", "source_scale", "change", "change_scale", "domain", "target")
BETAS = (0.0, 0.99)
"""Of both optimizers where there is a critic: momentum lets the two chase each other."""


class Recorded:
    """Recorded rows in memory as they are stored."""

    def __init__(self, offline: OfflineData, device: torch.device) -> None:
        read = offline.reader(NAMED).read(np.arange(len(offline)))
        self._values = {name: torch.from_numpy(np.ascontiguousarray(read[name])) for name in NAMED}
        self._device = device
        self.clean = torch.nonzero((self._values["domain"] == CLEAN) & (self._values["target"] == CLEAN)).flatten()

    def __len__(self) -> int:
        return len(self._values["domain"])

    def at(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(image, teacher's answer [B,L,h,w], domain, domain asked for [B]) of rows [B]."""
        picked = {name: value[rows].to(self._device) for name, value in self._values.items()}
        z, change = (picked[name].float() * picked[f"{name}_scale"][..., None, None] for name in ("source", "change"))
        return z, z + change, picked["domain"].long(), picked["target"].long()


def distill(ctx: Context, params: DistillParams, teacher: Model, offline: OfflineData) -> Model:
    """The task `distill`: the model holds the averaged weights."""
    check(teacher, offline)
    recorded = Recorded(offline, ctx.device)
    taught = len(recorded) - max(1, round(len(recorded) * params.held_out))
    hidden: tuple[int, int, int] = tuple(offline.array("source").shape[1:])  # type: ignore[assignment]
    given = Given.of(teacher)
    net = build(params, params.network, hidden, len(NAMES), film=True).to(ctx.device)
    still(net)
    weights, operations = fit(ctx, params, net, recorded, taught, hidden, given)
    state, network = kept(net, weights)
    net.load_state_dict(weights)
    config = {
        "role": ROLE,
        **network,
        **{name: teacher.config[name] for name in ("image", "grey", "fold")},
        **given.kept(),
        "teacher": teacher.key,
        "held_out": held_out(net.eval(), recorded, range(taught, len(recorded)), given),
        OPERATIONS: operations + operations_of(offline.attrs),
    }
    tensors = {HELD: teacher.state(HELD)[""], **({SEEN: seen[""]} if (seen := teacher.state(SEEN)) else {})}
    codec = Codec.inside(teacher, ctx.device)
    if codec is not None:
        carried, told = codec.kept()
        tensors, config = tensors | carried, config | told | {"latent": list(hidden)}
    return Model.write(ctx, state | tensors, config)


def check(teacher: Model, offline: OfflineData) -> None:
    """Raise DataError for a teacher of another method, and for rows that it did not give."""
    if teacher.config.get("role") != TEACHER:
        raise DataError(f"input 'teacher' is no model of icddm.train (role '{teacher.config.get('role')}')")
    if offline.attrs.get("teacher") != teacher.key:
        raise DataError(f"the teacher data were recorded from model {str(offline.attrs.get('teacher'))[:12]}, not from {teacher.key[:12]}")
    if len(offline) < 4:
        raise DataError(f"{len(offline)} recorded rows are not enough: some are learned from, others are held out")


def fit(
    ctx: Context, params: DistillParams, net: nn.Module, recorded: Recorded, taught: int, hidden: tuple[int, int, int], given: Given
) -> tuple[dict[str, Any], int]:
    """The loop; returns the averaged weights, and the multiply-adds that all steps take."""
    average = ema(net, params.ema_decay)
    critic = Critic(hidden[0], params.critic_width, min(hidden[1:])).to(ctx.device)
    student = torch.optim.AdamW(net.parameters(), lr=params.lr, betas=BETAS if params.adversarial_weight else (0.9, 0.999))
    judge = torch.optim.AdamW(critic.parameters(), lr=params.critic_lr, betas=BETAS)
    course = get_scheduler("cosine", student, num_warmup_steps=min(params.warmup, params.steps // 2), num_training_steps=params.steps)
    draw = ctx.generator("rows")
    clean = recorded.clean[recorded.clean < taught]
    begins = params.alone * params.steps
    forward: Callable[[Tensor, Tensor], Tensor] = ctx.autocast(params.precision)(lambda z, target: changed(net, z, target, given))
    net.train()

    def once(index: int, draw: torch.Generator, judge: torch.optim.Optimizer | None = None) -> dict[str, Tensor]:
        """Gradients of one step, after one of the critic; returns the parts of the loss. Without `judge` the critic stays as it is."""
        z, wanted, _, target = recorded.at(torch.randint(taught, (params.batch,), generator=draw))
        adversarial = params.adversarial_weight * min(1.0, max(0.0, (index - begins) / max(begins, 1)))
        if adversarial:
            critic.zero_grad(set_to_none=True)
            with torch.no_grad():
                answer = forward(z, target)
            (relu(1 - critic(wanted, z, target)).mean() + relu(1 + critic(answer, z, target)).mean()).backward()
            if judge is not None:
                judge.step()
        answer = forward(z, target)
        parts = {"teacher": params.teacher_weight * l1_loss(answer, wanted)}
        if params.identity_weight and len(clean):
            own, *_, asked = recorded.at(clean[torch.randint(len(clean), (max(params.batch // 4, 1),), generator=draw)])
            parts["identity"] = params.identity_weight * l1_loss(forward(own, asked), own)
            if params.cycle_weight:
                there = forward(own, torch.full_like(asked, DEFECT))
                parts["cycle"] = params.cycle_weight * l1_loss(forward(there, asked), own)
        if adversarial:
            critic.requires_grad_(False)
            parts["critic"] = -adversarial * critic(answer, z, target).mean()
        torch.stack(list(parts.values())).sum().backward()
        critic.requires_grad_(True)
        return parts

    operations = counted(lambda: once(params.steps, ctx.generator("counted")))[1] * params.steps
    for step in ctx.loop(params.steps, net=net, average=average, critic=critic, student=student, judge=judge, course=course):
        student.zero_grad(set_to_none=True)
        parts = once(step.index, draw, judge)
        nn.utils.clip_grad_norm_(net.parameters(), params.grad_clip)
        student.step()
        course.step()
        average.update_parameters(net)
        if step.index % LOG_EVERY == 0:
            step.log(**{name: float(value.detach()) for name, value in parts.items()})
    return average.module.state_dict(), operations


@torch.no_grad()
def held_out(net: nn.Module, recorded: Recorded, rows: range, given: Given) -> dict[str, Any]:
    """Of rows that were not learned from: mean absolute differences. A student that changes nothing has `student` equal to `change`."""
    z, wanted, domain, target = recorded.at(torch.tensor(list(rows)))
    answer = changed(net, z, target, given)
    removing = (domain == DEFECT) & (target == CLEAN)
    if not removing.any():
        return {"rows": len(rows), "student": None, "change": None}
    student, change = (float((one - wanted)[removing].abs().mean()) for one in (answer, z))
    return {"rows": int(removing.sum()), "student": student, "change": change}
