"""The quantiser of `OfflineData`: int8 codes with one float32 scale a channel, and a trajectory whose sum survives the coding.

A recurrence teacher's latent telescopes: z_end = rin0 + sum of its chunks. With feedback each chunk is coded together with the
rounding error that the chunks before it left behind, beginning with rin0's,

    y_k = r_k + e_{k-1},   s_k = max|y_k| / qmax,   q_k = round(y_k / s_k),   e_k = y_k - q_k s_k,

so the errors cancel in the sum and only the last one stays: |z_end - (rin0 + sum of chunks)| <= s_last / 2, in exact arithmetic for
any data, as the scale is taken on y_k and nothing clips. The price is about 3 dB on a single chunk, more on one that is small beside
the part coded before it: 7 dB at half its size.

So chunks are best coded from the largest to the smallest (`chunk_order`): the last rounding error is then the smallest there is,
and no chunk inherits an error that is large beside it. The order is a fact of the data set: find it once, keep it in the attributes.

Shapes: B samples, K chunks, L latent channels, h x w pixels. Codes lie in [-qmax, qmax], qmax = 127 for 8 bits and 31 for 6; -128 is
unused. 6-bit codes are stored as int8, where zstd's entropy coder takes the idle bits out. Works on the tensors' own device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from fabloom.errors import DataError

FLOOR = 1e-12
"""Smallest scale, so that an all-zero channel divides by something."""

PUBLISHED_FLOOR = 1e-8
"""Smallest scale of the published scheme."""

TILE_BYTES = 1 << 20
"""Working set on the CPU: it stays in cache while every chunk of a sample passes through it."""

Mode = Literal["absmax", "percentile"]


@dataclass(frozen=True)
class Quantised:
    """Codes int8 rin0 [B,L,h,w], r_chunks [B,K,L,h,w]; scales float32 [B,L], [B,K,L]; the order in which chunks were coded."""

    rin0: Tensor
    rin0_scale: Tensor
    r_chunks: Tensor
    r_chunks_scale: Tensor
    order: tuple[int, ...]
    feedback: bool


def chunk_order(r_chunks: Tensor) -> tuple[int, ...]:
    """Chunks [B,K,L,h,w] from the largest to the smallest mean absmax of their channels; equal ones in sequence."""
    sizes = r_chunks.abs().amax((-2, -1)).double().mean((0, 2)).tolist()
    return tuple(sorted(range(len(sizes)), key=lambda k: (-sizes[k], k)))


def quantise(
    rin0: Tensor,
    r_chunks: Tensor,
    *,
    mode: Mode = "absmax",
    bits: Literal[8, 6] = 8,
    feedback: bool = True,
    percentile: float = 99.5,
    order: Sequence[int] | None = None,
    scale_floor: float = 0.0,
) -> Quantised:
    """Code rin0 [B,L,h,w] (always 8 bits) and r_chunks [B,K,L,h,w] (`bits`), chunks in `order`, by default in sequence.

    No scale is below `scale_floor` times the largest of its sample and part: the codes of a channel that stands nearly still are then
    few and shrink, where else its rounding errors would fill the whole range.

    `percentile` is the published scheme: the scale from that percentile of |x|, values beyond it clipped, chunks independent of
    each other; `feedback` is then without effect. Raises DataError for NaN and infinity, naming sample, chunk and channel;
    ValueError for shapes or an order that do not fit.
    """
    batch, chunks = r_chunks.shape[:2] if r_chunks.ndim == 5 else (0, 0)
    if not chunks or rin0.shape != (batch, *r_chunks.shape[2:]):
        raise ValueError(f"wanted rin0 [B,L,h,w] and r_chunks [B,K,L,h,w] of one size, not {tuple(rin0.shape)} and {tuple(r_chunks.shape)}")
    sequence = tuple(range(chunks)) if order is None else tuple(order)
    if sorted(sequence) != list(range(chunks)):
        raise ValueError(f"order {sequence} is no permutation of the {chunks} chunks")
    feedback = feedback and mode == "absmax"
    codes = torch.empty((batch, chunks + 1, *rin0.shape[1:]), dtype=torch.int8, device=rin0.device).flatten(3)
    scales = torch.empty(codes.shape[:3], device=rin0.device)
    # the error is carried in float64: float32 would lose more than 0.001 LSB of a chunk that is small beside rin0
    tile = max(1, TILE_BYTES // (8 * rin0[0].numel())) if rin0.device.type == "cpu" else batch
    y = torch.empty((tile, *codes.shape[2:]), dtype=torch.float64, device=rin0.device)
    work = torch.empty_like(y)
    for start in range(0, batch, tile):
        rows = slice(start, min(start + tile, batch))
        error, room = y[: rows.stop - start], work[: rows.stop - start]
        for place in (0, *(k + 1 for k in sequence)):
            part = (rin0[rows] if place == 0 else r_chunks[rows, place - 1]).flatten(2)
            if feedback and place:
                error.add_(part)
            else:
                error.copy_(part)
            limit = 2 ** (bits - 1) - 1 if place else 127
            _code(error, room, limit, percentile if mode == "percentile" else None, scale_floor, codes[rows, place], scales[rows, place])
    _refuse_nonfinite(scales)
    codes = codes.view(batch, chunks + 1, *rin0.shape[1:])
    return Quantised(codes[:, 0], scales[:, 0], codes[:, 1:], scales[:, 1:], sequence, feedback)


def _code(y: Tensor, work: Tensor, limit: int, percentile: float | None, floor: float, codes: Tensor, scales: Tensor) -> None:
    """Code channels y [B,L,P] in place: `codes` and `scales` are filled, and y becomes what the codes leave over."""
    torch.abs(y, out=work)
    if percentile is None:
        scales.copy_(work.amax(-1).div_(limit)).clamp_(min=FLOOR)
    else:
        scales.copy_(_percentile(work, percentile).div_(limit)).clamp_(min=PUBLISHED_FLOOR)
    if floor:
        torch.maximum(scales, floor * scales.amax(-1, keepdim=True), out=scales)
    step = scales.double()[..., None]  # the scale as it is stored, so that decoding multiplies by the very same number
    torch.div(y, step, out=work).round_()
    if percentile is not None:
        work.clamp_(-limit, limit)
    codes.copy_(work)
    y.addcmul_(work, step, value=-1)


def _percentile(values: Tensor, percent: float) -> Tensor:
    """Linearly interpolated percentile over the last axis; NaN where there is one. `torch.quantile` sorts and is 7 times slower."""
    position = percent / 100 * (values.shape[-1] - 1)
    low = math.floor(position)
    top = values.topk(values.shape[-1] - low).values
    below, above = top[..., -1], top[..., -2 if top.shape[-1] > 1 else -1]
    found = below + (above - below) * (position - low)
    return torch.where(torch.isfinite(top[..., 0]), found, torch.nan)


def _refuse_nonfinite(scales: Tensor) -> None:
    if not torch.isfinite(scales).all():
        sample, place, channel = (int(i) for i in (~torch.isfinite(scales)).nonzero()[0])
        where = f"chunk {place - 1}" if place else "rin0"
        raise DataError(
            f"sample {sample} of the batch, {where}, channel {channel}: NaN, infinity or a value beyond float32. "
            "The teacher diverged or overflowed: train it longer or at a lower rate, or record in float32."
        )


def dequantise(codes: Tensor, scales: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Codes int8 [...,L,h,w] times scales float32 [...,L]; multiplied in float32, returned as `dtype`."""
    return codes.float().mul_(scales.float()[..., None, None]).to(dtype)


def sum_latent(rin0: Tensor, rin0_scale: Tensor, r_chunks: Tensor, r_chunks_scale: Tensor) -> Tensor:
    """z_end float32 [B,L,h,w] from codes and scales, chunk by chunk in place: a broadcast product would need K times the memory."""
    total = dequantise(rin0, rin0_scale)
    chunk = torch.empty_like(total)
    for k in range(r_chunks.shape[1]):
        total.addcmul_(chunk.copy_(r_chunks[:, k]), r_chunks_scale[:, k, :, None, None].float())
    return total


def snr_db(reference: Tensor, approximation: Tensor) -> float:
    """10 log10 of the energy of `reference` over the energy of the difference; infinite where both agree."""
    signal = reference.double()
    return _decibel(float(signal.square().sum()), float((signal - approximation.double()).square().sum()))


def _decibel(signal: float, noise: float) -> float:
    return math.inf if noise == 0 else -math.inf if signal == 0 else 10 * math.log10(signal / noise)


class QuantiserStats:
    """What the quantiser did to a data set, batch by batch; resumable by `state_dict`, and `as_dict` goes into the attributes."""

    def __init__(self, chunks: int) -> None:
        # signal and noise energy of rin0, the chunks and z_end; kurtosis summed over `channels` channels
        self._signal, self._noise = [0.0] * (chunks + 2), [0.0] * (chunks + 2)
        self._clipped, self._telescoping, self._kurtosis, self._channels = 0, 0.0, 0.0, 0

    def update(self, rin0: Tensor, r_chunks: Tensor, coded: Quantised) -> None:
        """Add a batch: what was quantised, and what came of it."""
        parts = torch.cat([rin0[:, None], r_chunks], 1).double().flatten(3)
        codes = torch.cat([coded.rin0[:, None], coded.r_chunks], 1).flatten(3)
        scales = torch.cat([coded.rin0_scale[:, None], coded.r_chunks_scale], 1).double()[..., None]
        errors = parts - codes * scales
        residue = torch.zeros_like(errors[:, 0])
        for place in (0, *(k + 1 for k in coded.order)):
            residue = residue + errors[:, place] if coded.feedback else errors[:, place]
            self._clipped += int((residue.abs() > 0.501 * scales[:, place]).sum())
        lost = errors.sum(1)
        self._telescoping = max(self._telescoping, float((lost.abs() / scales[:, coded.order[-1] + 1]).amax()))
        for place, (signal, noise) in enumerate([*zip(parts.unbind(1), errors.unbind(1), strict=True), (parts.sum(1), lost)]):
            self._signal[place] += float(signal.square().sum())
            self._noise[place] += float(noise.square().sum())
        central = parts[:, 1:] - parts[:, 1:].mean(-1, keepdim=True)
        spread = central.square().mean(-1)
        alive = spread > 0
        self._kurtosis += float((central.pow(4).mean(-1)[alive] / spread[alive].square()).sum())
        self._channels += int(alive.sum())

    def add(self, later: QuantiserStats) -> None:
        """Add what was gathered of later batches. Batches that are added one by one in their order give what `update` gives of them."""
        for name in ("_signal", "_noise"):
            setattr(self, name, [a + b for a, b in zip(getattr(self, name), getattr(later, name), strict=True)])
        self._clipped += later._clipped
        self._telescoping = max(self._telescoping, later._telescoping)
        self._kurtosis += later._kurtosis
        self._channels += later._channels

    def as_dict(self) -> dict[str, Any]:
        """SNR in dB of rin0, each chunk and z_end (None where undefined), clipped values, the largest error of z_end in LSB of the chunk
        coded last, and the mean kurtosis of a channel of a chunk (3 for a Gaussian).
        """
        decibels = [_rounded(_decibel(s, n)) for s, n in zip(self._signal, self._noise, strict=True)]
        return {
            "rin0_snr_db": decibels[0],
            "chunk_snr_db": decibels[1:-1],
            "sum_snr_db": decibels[-1],
            "clipped": self._clipped,
            "telescoping_lsb": _rounded(self._telescoping),
            "kurtosis": _rounded(self._kurtosis / self._channels) if self._channels else None,
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything gathered so far."""
        return {name: list(value) if isinstance(value, list) else value for name, value in vars(self).items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`."""
        vars(self).update({name: list(value) if isinstance(value, list) else value for name, value in state.items()})


def _rounded(value: float) -> float | None:
    """Three decimals: the order in which a machine sums does not show."""
    return round(value, 3) if math.isfinite(value) else None
