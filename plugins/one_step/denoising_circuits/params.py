"""Parameters of `denoising-circuits`: what its tasks take, with defaults and presets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from fabloom.params import Params, Precision, Source
from fabloom.plugins.blocks.backbone import TIMES

Loss = Literal["published", "path", "end"]


class Stage(Params):
    """One stage of training with its own optimizer and one-cycle schedule."""

    steps: int = Field(ge=0, description="Optimizer steps; the published 100 epochs of 50,000 images are 39,000 steps of 128")
    step_probs: list[float] = Field(
        min_length=1, description="Probability of a chain of s recurrent steps, index is s: [0, 1] is always 1, [0, 0, 0, 1] always 3"
    )
    lr: float = Field(2e-4, gt=0, description="Largest learning rate of the one-cycle schedule")
    only_step: bool = Field(
        False, description="Train R alone: Rin and the heads, and with them the targets of the chain, stand still (published False)"
    )
    loss: Loss = Field(
        "published", description="path: only where the chain passes, for R that starts as DDIM; end: only the image where it ends"
    )

    @model_validator(mode="after")
    def _probabilities(self) -> Stage:
        if min(self.step_probs) < 0 or abs(sum(self.step_probs) - 1) > 1e-6:
            raise ValueError(f"step_probs {self.step_probs} must be probabilities that add up to 1")
        return self


class Base(Params):
    """The U-Net that Rin and R are copies of, where it is trained inside."""

    channels: list[int] = Field([64, 128], min_length=1, description="Width of each level (published 128, 256, 256, 256)")
    layers: int = Field(1, ge=1, description="Residual blocks a level (published 2)")
    attention: list[int] = Field([], description="Levels with self-attention, counted from the image (published 1)")
    steps: int = Field(2000, ge=0, description="Steps of ordinary v-prediction training before the circuit; 0 with `base` or `base_path`")
    lr: float = Field(1e-3, gt=0, description="Largest learning rate")
    batch: int = Field(32, ge=1, description="Images a step")


class TrainParams(Params):
    """Teacher. The defaults suit 32 x 32 images on a CPU; docs/methods/denoising-circuits.md lists the published values."""

    base_path: Source | None = Field(None, description="Folder of a diffusers UNet2DModel; without it and `base` one is trained here")
    base: Base = Field(Base(), description="U-Net trained inside; not used with `base` or `base_path`")
    timesteps: int = Field(6, ge=2, le=1000, description="T: labels of the recurrence, T - 1 steps (published 1000)")
    schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = Field("linear", description="Noise schedule (published linear)")
    patch: int = Field(4, ge=1, description="Pixels folded into channels, each way (published 1; a given base says its own)")
    latent_channels: int | None = Field(
        None, ge=1, description="Channels of the latent; null: with carry as many as the pixels have after `patch`, else 64 (published 128)"
    )
    rin_blocks: int = Field(1, ge=0, description="FiLM blocks of Rin's adapter (published 4)")
    step_blocks: int = Field(1, ge=0, description="FiLM blocks of R's adapters (published 2)")
    head_blocks: int = Field(1, ge=0, description="FiLM blocks of the readout heads (published 4)")
    head_width: int = Field(64, ge=4, multiple_of=4, description="Width of the readout heads (published 128)")
    residual_cap: float = Field(2.0, gt=0, description="Largest scale of a step; few steps need larger ones (published 0.3)")
    carry: bool = Field(True, description="Carry the pixels in the latent and let R start as a DDIM step of the base (published False)")
    spectral: bool = Field(True, description="Spectral norm on the adapters' outer convolutions (published)")
    time_features: Literal["ordinary", "published"] = Field("ordinary", description="Published: one period at most over all labels")
    lora_rank: int = Field(8, ge=1, description="LoRA rank on the attention of a frozen backbone (published 8)")
    lora_alpha: float = Field(16.0, gt=0, description="LoRA scale is alpha / rank (published 16)")
    train_backbone: bool = Field(True, description="Train the whole backbone; False freezes it as published, for a large pretrained one")
    stages: list[Stage] | None = Field(
        None,
        min_length=1,
        description="Stages of training, in order; null: one of 300 steps with s = 1, of a carried circuit of R alone by the path",
    )
    batch: int = Field(32, ge=1, description="Images a step (published 128)")
    consistency_weight: float = Field(5.0, ge=0, description="Weight of the latent consistency (published 5)")
    x0_weight: float = Field(1.0, ge=0, description="Weight of the x_0 readout (published 1)")
    chain: Literal["live", "ema", "base", "data"] = Field(
        "base", description="Targets along the chain: DDIM by the live weights (published), their average or the base, or the data itself"
    )
    substeps: int | None = Field(
        None,
        ge=1,
        le=TIMES,
        description="DDIM steps of the base that one step of R is to stand for, with chain: base; null: 8 of a circuit "
        "that carries its pixels, else 1 (published 1)",
    )
    defect_weight: float = Field(
        1.0, gt=0, description="Draw defect images this many times as often (needs a domain): few recurrent steps lean towards clean ones"
    )
    flip: bool = Field(False, description="Random horizontal flips (published True)")
    weight_decay: float = Field(1e-4, ge=0, description="AdamW decay (published 1e-4); never on the step scales")
    grad_clip: float = Field(1.0, gt=0, description="Largest gradient norm (published 1)")
    cycle_momentum: bool = Field(False, description="Let the one-cycle schedule move beta1 too, 0.95 to 0.85 and back (published True)")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="Decay of the weight average, after a warm-up (published 0.999)")
    precision: Precision = "auto"

    @property
    def course(self) -> list[Stage]:
        """The stages."""
        if self.stages is not None:
            return self.stages
        return [
            Stage(steps=300, step_probs=[0, 1], lr=1e-3, only_step=True, loss="path") if self.carry else Stage(steps=300, step_probs=[0, 1])
        ]

    def latent(self, pixels: int) -> int:
        """Channels of the latent of images with so many channels after `patch`."""
        return self.latent_channels or (pixels if self.carry else 64)

    @property
    def fineness(self) -> int:
        """Substeps of the base's chain."""
        return self.substeps or (8 if self.carry and self.chain == "base" and 8 * (self.timesteps - 1) < TIMES else 1)

    @model_validator(mode="after")
    def _depths(self) -> TrainParams:
        for stage in self.course:
            if len(stage.step_probs) > self.timesteps:
                raise ValueError(
                    f"step_probs of length {len(stage.step_probs)} asks for chains of {len(stage.step_probs) - 1} steps, "
                    f"but timesteps={self.timesteps} has {self.timesteps - 1} at most"
                )
        if not self.carry and all(stage.loss == "path" for stage in self.course):
            raise ValueError("a circuit that carries no pixels learns to read its latents by loss: published; no stage has it")
        if self.fineness > 1 and self.chain != "base":
            raise ValueError(f"substeps={self.substeps} are of the base's chain, and chain is '{self.chain}': give chain: base")
        if self.fineness * (self.timesteps - 1) > TIMES - 1:
            raise ValueError(f"substeps={self.substeps} between {self.timesteps} labels are more than the base's {TIMES} times")
        return self


class RecordParams(Params):
    """Teacher data."""

    count: int = Field(2000, ge=1, description="Samples (published 10,000)")
    batch: int = Field(128, ge=1, description="Samples computed at once (published 200)")
    chunks: int = Field(4, ge=1, description="K pieces of the trajectory; piece i ends after round(i (T-1) / K) steps (published 10)")
    apply_t0: bool = Field(False, description="Also apply R at label 0, which no training ever sees (published True)")
    r_sum: bool = Field(False, description="Store the sum of the chunks as float16 too")
    quantiser: Literal["absmax", "percentile"] = Field("absmax", description="Scale of an int8 channel (published: percentile)")
    percentile: float = Field(99.5, ge=50, le=100, description="Clipping percentile of that quantiser (published 99.5)")
    bits: Literal[8, 6] = Field(8, description="Bits of a chunk code; stored as int8, where zstd takes the idle bits out")
    feedback: bool = Field(True, description="Carry rounding errors into the next chunk, so that the sum stays exact (published False)")
    scale_floor: float = Field(
        0.01, ge=0, le=1, description="Least scale of a channel against the largest of its sample and chunk: one that stands still takes "
        "few bytes (published 0)"
    )  # fmt: skip
    compress: bool = Field(True, description="zstd; False reads several times as fast for more room, checksums are kept (published True)")
    block: int = Field(512, ge=1, description="Rows written together; a killed recording goes on from the last block")
    noise_seed: int | None = Field(None, description="Seed of x_T; None takes the step's own")
    precision: Precision = "auto"


class ReadParams(Params):
    """Teacher data in the published container, recorded elsewhere."""

    path: Source = Field(description="Folder of sample_NUMBER.zst files, each a NumPy archive in zstd; nothing is unpickled")
    limit: int | None = Field(None, ge=1, description="Samples, from the smallest number on; null: all")
    max_mib: int = Field(64, ge=1, le=4096, description="Most MiB that one file may hold when it is unpacked")
    compress: bool = Field(True, description="zstd in the store; False reads several times as fast for more room")
    block: int = Field(512, ge=1, description="Rows written together; a killed reading goes on from the last block")


class DistillParams(Params):
    """One-step student."""

    steps: int = Field(1000, ge=1, description="Optimizer steps; the published 500 epochs of 10,000 samples are 39,000 steps of 128")
    batch: int = Field(64, ge=1, description="Samples a step (published 128)")
    lr: float = Field(2e-4, gt=0, description="Largest learning rate (published 2e-4)")
    rin_weight: float = Field(1.0, ge=0, description="Weight of the loss on Rin's latent (published 1)")
    chunk_weight: float = Field(1.0, ge=0, description="Weight of the mean loss on the chunks (published 1)")
    sum_weight: float = Field(0.0, ge=0, description="Weight of the loss on the final latent (published 0)")
    x0_weight: float = Field(0.1, ge=0, description="Weight of the loss on the image read out by the frozen head (published 0.1)")
    final_norm: bool = Field(True, description="Put the predicted end back on the shell before the readout (published False)")
    predict_end: bool = Field(True, description="Predict the end and let the last chunk be what remains to it (published False)")
    train_readout: bool = Field(
        False, description="Train the readout too: for rows that were recorded elsewhere, whose latents the teacher's cannot read"
    )
    held_out: float = Field(
        0.05, gt=0, lt=1, description="Share of the rows that are not trained on: there the student's error is measured, and the grain "
        "it leaves out (published: none)"
    )  # fmt: skip
    weight_decay: float = Field(1e-4, ge=0, description="AdamW decay (published 1e-4)")
    grad_clip: float = Field(1.0, gt=0, description="Largest gradient norm (published 1)")
    cycle_momentum: bool = Field(False, description="Let the one-cycle schedule move beta1 too (published True)")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="Decay of the weight average, after a warm-up (published 0.999)")
    precision: Precision = "auto"
    cache_mib: int = Field(1024, ge=0, description="Teacher data up to this size is read once and kept in memory as int8")


class SampleParams(Params):
    """Images from a teacher (by the recurrence) or a student (in one step)."""

    count: int = Field(1000, ge=1, description="Images")
    batch: int = Field(128, ge=1, description="Images computed at once")
    noise_seed: int | None = Field(None, description="Seed of x_T, None is the step's own; equal seeds share x_T")
    apply_t0: bool = Field(False, description="Teacher only: also apply R at label 0 (published True)")
    grain: bool = Field(
        True, description="Student only: add the noise that one step cannot predict, as measured on held-out rows (published False)"
    )
    precision: Precision = "auto"


class CompareParams(Params):
    """Student against recurrence on fresh noise."""

    count: int = Field(256, ge=8, description="Samples")
    batch: int = Field(128, ge=1, description="Samples computed at once")
    shown: int = Field(8, ge=1, description="Samples in the pictures")
    noise_seed: int | None = Field(None, description="Seed of x_T; None takes the step's own. Must not be the recording's")
    precision: Precision = "auto"
