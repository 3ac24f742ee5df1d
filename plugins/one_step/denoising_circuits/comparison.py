"""Student against recurrence on fresh noise, beside controls that must fail, and the recurrence against its DDIM targets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import mse_loss

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Metric, Model, Report, Table
from fabloom.kinds.metric import Better, Role
from fabloom.method import Context
from fabloom.plugins.blocks import references
from fabloom.plugins.blocks.difference import Rule, blur
from fabloom.plugins.blocks.difference import grey as grey_of
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.labels import LabelParams
from fabloom.plugins.blocks.noise import NoiseSchedule
from fabloom.plugins.blocks.patches import apart
from fabloom.plugins.blocks.spectra import ratios

from .heads import mixed, table
from .losses import BaseChain, ddim_step
from .networks import Circuit
from .params import CompareParams
from .recurrence import labels, readout, starting_noise
from .sampling import generate, generator_of, grain_of
from .starting import chain_of
from .student import load_student
from .training import load_circuit

SHOWN_STEPS = 8
LOOKED_AT = 8
"""Samples at least that the heads are judged by, however small a batch is: of one there is no variance."""
BETTER: dict[str, Better] = {"mse_ratio": "down", "unexplained_variance": "down", "defect_agreement": "up", "defect_agreement_all": "up"}
ROLES: dict[str, Role] = {"mse_ratio": "headline"}
NOTES = (
    "mse_ratio is the mean square difference to the recurrence over that of two recurrences from different noise: 0 is a perfect student, "
    "1 is no better than another draw. unexplained_variance divides by the variance about the mean image instead (twice as strict).",
    "defect_agreement counts the samples in both images of which the labels can tell whether there is a defect, told_share how many those "
    "are. defect_agreement_all counts the others as without a defect: two acquisitions of one faint defect differ in that, too.",
    "Controls: 'shuffled' pairs student images with the wrong noise, 'foreign chunks' adds another sample's chunks to a sample's start, "
    "'mean image' answers the reference's mean for every noise, "
    "'pure noise' answers x_T itself. Each must be clearly worse than the student.",
    "low_band, middle_band and high_band are the student's power in thirds of the band over the recurrence's: below 1 it is smoother. "
    "with_grain_ are those of its images as they are sampled, with the noise that one step cannot predict. sliced_wasserstein is the "
    "distance of patches to those of the reference images, in grey levels.",
    "relative_path divides |z_k - z*_k|^2 by what R = identity would reach, |z*_k - z*_0|^2: below 1 the recurrence follows. z* are the "
    "points of the chain that the teacher was trained towards.",
)
LEARNED = (
    "recurrence_error is the mean square difference of the recurrence's image to that of the base's {fine} DDIM steps, and "
    "recurrence_error_ratio the same over that of the base's {few} plain steps, which R starts as: below 1 R has learned something."
)


@dataclass(frozen=True)
class Walk:
    """The recurrence from x_T: images [N,C,H,W] in [-1, 1], some readouts on the way, and the path error beside identity's, by step; and,
    where its base is known, the images of the base's chain, with the substeps that R stands for and without.
    """

    images: Tensor
    strip: list[Tensor]
    path: list[float]
    identity: list[float]
    fine: Tensor | None = None
    plain: Tensor | None = None


def compare(ctx: Context, params: CompareParams, teacher: Model, student: Model, reference: ImageSet) -> Report:
    """The task `compare`."""
    check(teacher, student, reference)
    grey = GreyMap(*teacher.config["grey"])
    seed = ctx.seed if params.noise_seed is None else params.noise_seed
    noise = starting_noise(seed, range(params.count), tuple(teacher.config["image"]))
    circuit = load_circuit(teacher, ctx.device)
    schedule = NoiseSchedule.make(circuit.config.timesteps, teacher.config["schedule"])
    one_step = ctx.autocast(params.precision)(generator_of(student, ctx.device))
    walk = follow(ctx, params, circuit, schedule, chain_of(teacher, ctx.device), noise)
    found = torch.cat(list(generate(one_step, noise, ctx.device, params.batch)))
    net = load_student(student, ctx.device)
    grain = grain_of(student)
    grained = found if grain is None else (found + grain(seed, range(params.count))).clamp(-1, 1)
    pixels = np.asarray(reference.images)
    mean = grey.forward(pixels).clamp(-1, 1).mean(0, keepdim=True).expand_as(found)
    foreign = torch.cat(list(generate(ctx.autocast(params.precision)(partial(mixed, net)), noise, ctx.device, params.batch)))
    answers = {
        "student": found, "shuffled": found.roll(1, 0), "foreign chunks": foreign, "mean image": mean, "pure noise": noise.clamp(-1, 1)
    }  # fmt: skip
    rule, problem = labelling(ctx, reference)
    rows = judge(answers, walk.images, grey, rule)
    metrics = {
        **{name: Metric(value, better=BETTER.get(name), role=ROLES.get(name, "detail")) for name, value in rows["student"].items()},
        "controls": {
            answer.replace(" ", "_"): {name: Metric(value, better=BETTER.get(name), role="control") for name, value in row.items()}
            for answer, row in rows.items()
            if answer != "student"
        },
        "relative_path": Metric(_mean([c / max(i, 1e-12) for c, i in zip(walk.path, walk.identity, strict=True)]), better="down"),
        "relative_path_end": Metric(walk.path[-1] / max(walk.identity[-1], 1e-12), better="down"),
        **learned(walk),
        **looks({"student": found, "student with grain": grained, "recurrence": walk.images}, grey, pixels),
        "samples": params.count,
    }
    columns = ("answer", *rows["student"])
    steps = [(k + 1, c, i, c / max(i, 1e-12)) for k, (c, i) in enumerate(zip(walk.path, walk.identity, strict=True))]
    tables = {
        "student against recurrence": Table(columns, [(name, *row.values()) for name, row in rows.items()]),
        "heads of the student": table(net, circuit, noise[: max(params.batch, LOOKED_AT)].to(ctx.device), ctx.generator("heads")),
        "path by step": Table(("step", "distance to the chain", "identity R", "ratio"), steps),
    }
    shown = min(params.shown, params.count)
    pictures = {
        "same noise: recurrence above, one-step student below": sheet(grey, [walk.images[:shown], found[:shown]]),
        "x_0 read out along the recurrence, one row a sample": sheet(grey, list(torch.stack(walk.strip, 1)[:shown])),
    }
    few, fine = circuit.config.timesteps - 1, (circuit.config.timesteps - 1) * teacher.config.get("substeps", 1)
    told = [] if walk.fine is None else [LEARNED.format(few=few, fine=fine)]
    return Report.write(ctx, metrics, tables=tables, pictures=pictures, notes=[*NOTES, *told, *problem])


def looks(sets: dict[str, Tensor], grey: GreyMap, pixels: NDArray[np.uint8]) -> dict[str, Metric]:
    """Sharpness and noise: power in thirds of the band over the recurrence's, and the distance of patches to those of the reference images,
    in grey levels; beside it that of the recurrence.
    """
    levels = {name: grey.inverse(images).double() for name, images in sets.items()}
    own = levels["recurrence"].mean(1).numpy()
    real, found = torch.from_numpy(pixels).double(), dict[str, Metric]()
    for name, images in levels.items():
        key = "" if name == "student" else f"{name.removeprefix('student ').replace(' ', '_')}_"
        role: Role = "control" if name == "recurrence" else "detail"
        if name != "recurrence":
            found |= {f"{key}{band}": Metric(ratio, role=role) for band, ratio in ratios(images.mean(1).numpy(), own).items()}
        found[f"{key}sliced_wasserstein"] = Metric(apart(images, real), better="down", role=role)
    return found


def learned(walk: Walk) -> dict[str, Metric]:
    """How near the recurrence comes to the chain that it was trained towards, and how near its start, the plain chain, is."""
    if walk.fine is None or walk.plain is None:
        return {}
    error, start = (float(mse_loss(images, walk.fine)) for images in (walk.images, walk.plain))
    found = {"recurrence_error": Metric(error, better="down"), "plain_chain_error": Metric(start, role="control")}
    return found | ({"recurrence_error_ratio": Metric(error / start, better="down")} if start > 0 else {})


def check(teacher: Model, student: Model, reference: ImageSet) -> None:
    """Refuse what cannot be compared, before anything runs."""
    for name, model, role in (("teacher", teacher, "teacher"), ("student", student, "student")):
        if model.config.get("role") != role:
            raise DataError(f"input '{name}' is no denoising-circuits {role} but a '{model.config.get('role')}'")
    if student.config["teacher"] != teacher.key:
        raise DataError(f"the student was distilled from model {student.config['teacher'][:12]}, not from {teacher.key[:12]}")
    if list(reference.images.shape[1:]) != list(teacher.config["image"]):
        raise DataError(f"reference images are {reference.images.shape[1:]}, the models make {tuple(teacher.config['image'])}")


@torch.no_grad()
def follow(
    ctx: Context, params: CompareParams, circuit: Circuit, schedule: NoiseSchedule, chain: BaseChain | None, noise: Tensor
) -> Walk:  # fmt: skip
    """Walk the recurrence and the chain that it was trained towards side by side, batch by batch, without keeping the latents."""
    at = labels(circuit.config.timesteps)
    seen = {round(i * len(at) / SHOWN_STEPS) for i in range(SHOWN_STEPS + 1)}
    walks = []
    with ctx.progress(len(noise), unit="sample", name="recurrence") as bar:
        for x in noise.split(params.batch):
            with ctx.autocast(params.precision):
                walks.append(_follow_batch(circuit, schedule, chain, x.to(ctx.device), at, seen))
            bar.advance(len(x))
    shares = [len(x) / len(noise) for x in noise.split(params.batch)]
    return Walk(
        torch.cat([w.images for w in walks]),
        [torch.cat(frames) for frames in zip(*(w.strip for w in walks), strict=True)],
        [sum(s * c for s, c in zip(shares, step, strict=True)) for step in zip(*(w.path for w in walks), strict=True)],
        [sum(s * c for s, c in zip(shares, step, strict=True)) for step in zip(*(w.identity for w in walks), strict=True)],
        *(None if chain is None else torch.cat([getattr(w, name) for w in walks]) for name in ("fine", "plain")),
    )


def _follow_batch(circuit: Circuit, schedule: NoiseSchedule, chain: BaseChain | None, x: Tensor, at: list[int], seen: set[int]) -> Walk:
    label = torch.full((len(x),), at[0], device=x.device)
    start = target = z = circuit.rin(x, label)
    plain, strip = x, [circuit.x0_head(z, label)]
    path, identity = [], []
    for done, _ in enumerate(at, start=1):
        if chain is None:
            x = ddim_step(schedule, x, circuit.v_head(target, label), label, label - 1)
        else:
            x, plain = chain.advance(x, label), replace(chain, substeps=1).advance(plain, label)
        z = circuit.step(z, label)
        label = label - 1
        target = circuit.rin(x, label)
        path.append(float(mse_loss(z, target)))
        identity.append(float(mse_loss(start, target)))
        if done in seen:
            strip.append(circuit.x0_head(z, label))
    ends = (None, None) if chain is None else (within(x), within(plain))
    return Walk(within(readout(circuit, z)), [within(s) for s in strip], path, identity, *ends)


def within(images: Tensor) -> Tensor:
    """Float32 on the CPU, clipped to [-1, 1]."""
    return images.float().clamp(-1, 1).cpu()


def labelling(ctx: Context, reference: ImageSet) -> tuple[Rule | None, list[str]]:
    """The rule by which images that lie where the clean ones do are labelled; None, and why, where those are of several places."""
    try:
        clean = references.find(ctx, reference, reference, aligns=True)
    except DataError as problem:
        ctx.log(f"whether there is a defect is not compared: {problem}")
        return None, [f"Whether there is a defect is not compared: {problem}."]
    placed = []
    if len(clean.clean) == 1:  # the images show the noise
        values = grey_of(reference.images[: references.at_once(reference)])
        placed = [clean.placer(picture).place(blur(value)) for value, picture in zip(values, clean.pictures(0, len(values)), strict=True)]
    return references.rule_of(LabelParams(), reference, clean, placed), []


def judge(answers: dict[str, Tensor], wanted: Tensor, grey: GreyMap, rule: Rule | None) -> dict[str, dict[str, float | None]]:
    """Error ratios and agreement on the presence of a defect, for the student and each control; the first alone without a rule.

    The rule of labels has three answers: pairs of which it cannot tell in one or both do not count, unless as `_all` says.
    """

    def look(images: Tensor, rule: Rule) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        found = [rule.find(level) for level in grey.inverse(images).numpy().mean(1, dtype=np.float64)]
        return np.array([one.sure > 0 for one in found]), np.array([one.told for one in found])

    variance = float(wanted.var(0).mean())
    truth, known = look(wanted, rule) if rule else (None, None)
    rows: dict[str, dict[str, float | None]] = {}
    for name, images in answers.items():
        error = float(mse_loss(images, wanted))
        rows[name] = {"mse_ratio": error / max(2 * variance, 1e-12), "unexplained_variance": error / max(variance, 1e-12)}
        if rule and truth is not None and known is not None:
            verdict, told = look(images, rule)
            both = told & known
            rows[name] |= {
                "defect_agreement": float((verdict == truth)[both].mean()) if both.any() else None,
                "told_share": float(both.mean()),
                "defect_agreement_all": float((verdict == truth).mean()),
                "defect_share": float(verdict.mean()),
                "defect_share_recurrence": float(truth.mean()),
            }
    return rows


def sheet(grey: GreyMap, rows: list[Tensor]) -> NDArray[np.uint8]:
    """Rows of images [n,C,H,W] as one picture [H,W,C] with a pixel of white between."""
    framed = [torch.nn.functional.pad(grey.inverse(row), (0, 1, 0, 1), value=255) for row in rows]
    picture: NDArray[np.uint8] = torch.cat([torch.cat(list(row), -1) for row in framed], -2).permute(1, 2, 0).numpy()
    return picture


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
