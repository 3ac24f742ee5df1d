"""Parameters of `ikddit`: what its tasks take, with defaults and presets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fabloom.params import Params, Precision

SIZES: dict[str, tuple[int, int, int, int, int]] = {
    "small": (4, 128, 4, 96, 1), "S": (12, 384, 6, 256, 2), "B": (12, 768, 12, 384, 4),
    "L": (24, 1024, 16, 512, 8), "XL": (28, 1152, 16, 512, 8), "seed_s": (12, 512, 8, 256, 2),
}  # fmt: skip
"""Blocks, width and heads of the encoder, width and blocks of the decoder: S to XL those of DiT (Peebles & Xie 2023); seed_s as configured
in the published code."""


class EmbedParams(Params):
    """The contrastive training of the encoders of layer below, logs and barcode."""

    width: int = Field(64, ge=16, multiple_of=16, description="width of their tokens (published 256)")
    layers: int = Field(2, ge=1, description="transformer layers of each encoder")
    steps: int = Field(600, ge=0, description="optimizer steps")
    batch: int = Field(128, ge=2, description="wafers that are contrasted at once (256 and more at full size)")
    lr: float = Field(2e-3, gt=0, description="learning rate after the warm-up")
    warmup: int = Field(50, ge=0, description="steps over which it rises from 0")
    weight_decay: float = Field(0.01, ge=0, description="AdamW decay")
    contrast: Literal["unified", "infonce"] = Field(
        "unified", description="unified: wafers of one group count as one for the barcode (UniCL); infonce: every wafer for itself"
    )
    group_parts: int = Field(3, ge=1, description="fields of the barcode, from the left between |, that make a group: tool, reticle, layer")
    precision: Precision = "auto"


class TrainParams(Params):
    """Training of the transformer. The defaults suit some thousand 32 x 32 maps on a CPU."""

    size: Literal["small", "S", "B", "L", "XL", "seed_s"] = Field("small", description="blocks, width and heads")
    patch: int = Field(4, ge=1, description="pixels a side of a patch (published 16 at 256 px)")
    gate: Literal["tanh", "sigmoid"] = Field(
        "tanh", description="gate of the cross-attention: tanh of a vector that starts at 0, or sigmoid of a linear map (published)"
    )
    holes: Literal["mask_token", "noisy_patch"] = Field(
        "noisy_patch", description="what the decoder is given in place of a masked patch: a learned token (published), or its noisy values"
    )
    steps: int = Field(1500, ge=0, description="optimizer steps (published 100 epochs)")
    batch: int = Field(48, ge=1, description="maps an optimizer step (published 8)")
    lr: float = Field(1e-3, gt=0, description="learning rate after the warm-up (published 1e-4)")
    encoder_lr: float = Field(1.0, ge=0, description="its share for the encoders of layer below, logs and barcode; 0 freezes them")
    warmup: int = Field(100, ge=0, description="steps over which it rises from 0")
    weight_decay: float = Field(0.01, ge=0, description="AdamW decay")
    grad_clip: float = Field(1.0, gt=0, description="largest gradient norm")
    ema_decay: float = Field(0.995, ge=0, lt=1, description="decay of the average, which is the teacher and what samples")
    mask_ratio: float = Field(0.5, ge=0, lt=1, description="share of patches that the student's encoder does not see (published 0.5)")
    whole: float = Field(0.2, ge=0, le=1, description="share of steps that mask nothing")
    unmasking: float = Field(0.07, ge=0, le=1, description="share of the last steps that mask nothing (MaskDiT's unmasking tuning)")
    mae_weight: float = Field(1.0, ge=0, description="lambda1, of the mean absolute error on masked patches (published 1)")
    disc_weight: float = Field(0.1, ge=0, description="lambda2, of the implicit discriminator (published 0.1)")
    disc: Literal["selfdisc", "cosine", "gan"] = Field("selfdisc", description="how the discriminator compares student and teacher")
    prototypes: int = Field(256, ge=2, description="of selfdisc (published kind: 1024)")
    spread_weight: float = Field(0.1, ge=0, description="weight of the learned spread of the error")
    group_parts: int = Field(3, ge=1, description="as of `embed`, whose own is taken where there is one")
    drop: float = Field(0.1, ge=0, le=1, description="share of maps for which each modality is hidden, and again for which all are")
    wiener: bool = Field(
        True,
        description="x0 by a Wiener filter from noisy map and network, of the spectrum of what terms leave; false: as the network gives it",
    )
    gamma: float = Field(20.0, gt=0, description="largest weight of a squared error: min(SNR + 1, gamma), the velocity's up to there")
    schedule: Literal["linear", "scaled_linear", "cosine"] = Field("linear", description="noise schedule (published linear)")
    precision: Precision = "auto"


class SampleParams(Params):
    """Sampling of ensembles."""

    members: int = Field(16, ge=1, description="maps drawn for each wafer")
    wafers: int | None = Field(None, ge=1, description="only the first so many of the set; default: all")
    steps: int = Field(
        12, ge=3, le=1000, description="network evaluations a map at most, times even in the log of signal over noise (published 50)"
    )
    order: Literal[1, 2] = Field(2, description="1: DDIM; 2: DPM-Solver++ (2M), which loses less of what varies little")
    mask_ratio: float = Field(0.0, ge=0, lt=1, description="share of patches that the encoder leaves out in a step (published 0.5)")
    turn: Literal["alternate", "random", "fixed"] = Field(
        "alternate", description="which: each in its turn, drawn anew, or the same in all steps (published)"
    )
    whole_steps: int = Field(2, ge=0, description="last steps that leave nothing out")
    guidance: float = Field(1.0, ge=0, description="classifier-free guidance: 1 none; more than 1 narrows an ensemble")
    hide: tuple[Literal["previous", "logs", "barcode"], ...] = Field((), description="what the model is not told")
    batch: int = Field(256, ge=1, description="maps computed at once")
    precision: Precision = "auto"


class EvaluateParams(Params):
    """What is held against measured maps."""

    entries: tuple[str, ...] = Field(("ikddit",), min_length=1, description="names of the samples, in the order of the input list")
    members: int = Field(16, ge=2, description="maps of an ensemble of the rivals")
    group_parts: int = Field(3, ge=1, description="fields of the barcode, from the left between |, that ridge regression is told")
