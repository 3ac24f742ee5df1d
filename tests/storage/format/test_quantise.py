from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fabloom.errors import DataError
from fabloom.storage.format.quantise import FLOOR, Quantised, QuantiserStats, chunk_order, dequantise, quantise, snr_db, sum_latent

B, K, L, P = 4, 8, 16, 32
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"))]


def fixture(name: str, seed: int = 0, decay: float = 0.8) -> tuple[torch.Tensor, torch.Tensor]:
    """rin0 [B,L,P,P] and chunks [B,K,L,P,P] of one distribution, chunk k `decay`**k times as large as rin0."""
    rng = np.random.default_rng(seed)
    draw = {"gauss": rng.standard_normal, "laplace": rng.laplace, "student-t": lambda size: rng.standard_t(5, size)}[name]
    values = torch.from_numpy(np.asarray(draw(size=(B, K + 1, L, P, P)), np.float32))
    return values[:, 0], values[:, 1:] * decay ** torch.arange(K)[:, None, None, None]


def decoded(coded: Quantised) -> torch.Tensor:
    """rin0 + sum of the chunks in float64."""
    parts = dequantise(coded.r_chunks, coded.r_chunks_scale, torch.float64).sum(1)
    return parts + dequantise(coded.rin0, coded.rin0_scale, torch.float64)


def z_end(rin0: torch.Tensor, r_chunks: torch.Tensor) -> torch.Tensor:
    return rin0.double() + r_chunks.double().sum(1)


def exact(coded: Quantised) -> torch.Tensor:
    """Like `decoded`, with products that are not rounded to float32."""
    parts = coded.r_chunks * coded.r_chunks_scale.double()[..., None, None]
    return coded.rin0 * coded.rin0_scale.double()[..., None, None] + parts.sum(1)


@pytest.mark.parametrize("name", ["gauss", "laplace", "student-t"])
def test_the_sum_gains_15_db_on_the_published_scheme_and_6_bits_still_win(name):
    data = fixture(name)
    published = snr_db(z_end(*data), decoded(quantise(*data, mode="percentile")))
    order = chunk_order(data[1])
    assert snr_db(z_end(*data), decoded(quantise(*data, order=order))) >= published + 15
    assert snr_db(z_end(*data), decoded(quantise(*data, bits=6, order=order))) > published
    assert snr_db(z_end(*data), decoded(quantise(*data, feedback=False))) > published  # what absmax alone gives


def test_gaussian_chunks_stay_usable_on_their_own():
    rin0, r_chunks = fixture("gauss")
    coded = quantise(rin0, r_chunks, order=chunk_order(r_chunks))
    for k in range(K):
        assert snr_db(r_chunks[:, k], dequantise(coded.r_chunks[:, k], coded.r_chunks_scale[:, k])) >= 35
    assert snr_db(z_end(rin0, r_chunks), decoded(coded)) >= 45


def test_feedback_and_the_order_each_help_the_sum():
    data = fixture("gauss", decay=1.25)  # the smallest chunk comes first
    order = chunk_order(data[1])
    assert order == tuple(reversed(range(K)))
    plain, closed, ordered = (
        snr_db(z_end(*data), decoded(q)) for q in (quantise(*data, feedback=False), quantise(*data), quantise(*data, order=order))
    )
    assert plain < closed - 2 < ordered - 8


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    exponents=st.lists(st.integers(-9, 4), min_size=2, max_size=5),
    bits=st.sampled_from([8, 6]),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32]),
    data=st.data(),
)
def test_only_the_last_rounding_error_stays_in_the_sum(seed, exponents, bits, dtype, data):
    """For any sizes of the chunks and any order: 0.501 LSB of the chunk coded last, and no code outside its range."""
    generator = torch.Generator().manual_seed(seed)
    sizes = 2.0 ** torch.tensor(exponents)
    values = torch.randn(2, len(exponents), 3, 4, 5, generator=generator) * sizes[:, None, None, None]
    rin0, r_chunks = values[:, 0].to(dtype), values[:, 1:].to(dtype)
    order = data.draw(st.permutations(range(len(exponents) - 1)))
    coded = quantise(rin0, r_chunks, bits=bits, order=order)
    lsb = coded.r_chunks_scale[:, order[-1], :, None, None].double()
    assert ((exact(coded) - z_end(rin0, r_chunks)).abs() <= 0.501 * lsb).all()
    assert coded.r_chunks.abs().max() <= 2 ** (bits - 1) - 1
    assert coded.rin0.abs().max() <= 127
    assert (coded.r_chunks.abs().amax((-2, -1)) == 2 ** (bits - 1) - 1).all()  # every channel uses its whole range


@pytest.mark.parametrize("size", [1e-44, 1e-38, 1e-20, 1e-12, 1e30])
def test_scales_near_the_ends_of_float32(size):
    """Below the floor everything rounds to zero, which is right to within half the floor; nothing overflows."""
    rin0, r_chunks = (x * size for x in fixture("gauss"))
    coded = quantise(rin0, r_chunks)
    last = coded.r_chunks_scale[:, -1, :, None, None].double()
    assert (last >= torch.tensor(FLOOR)).all()
    assert ((exact(coded) - z_end(rin0, r_chunks)).abs() <= 0.501 * last).all()
    if size > 1e-8:
        assert snr_db(z_end(rin0, r_chunks), exact(coded)) > 45


def test_channels_of_zeros_stay_zero():
    rin0, r_chunks = fixture("gauss")
    rin0[:, 3], r_chunks[:, :, 3] = 0, 0
    coded = quantise(rin0, r_chunks)
    assert not coded.r_chunks[:, :, 3].any()
    assert torch.isfinite(coded.r_chunks_scale).all()
    assert not sum_latent(coded.rin0, coded.rin0_scale, coded.r_chunks, coded.r_chunks_scale)[:, 3].any()
    zeros = torch.zeros_like(rin0), torch.zeros_like(r_chunks)
    stats = QuantiserStats(K)
    stats.update(*zeros, quantise(*zeros))
    assert stats.as_dict() == {
        "rin0_snr_db": None, "chunk_snr_db": [None] * K, "sum_snr_db": None, "clipped": 0, "telescoping_lsb": 0.0, "kurtosis": None,
    }  # fmt: skip


@pytest.mark.parametrize("mode", ["absmax", "percentile"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_refused_with_their_place(bad, mode):
    rin0, r_chunks = fixture("gauss")
    r_chunks[2, 5, 7, 0, 0] = bad
    with pytest.raises(DataError, match=r"sample 2 of the batch, chunk 5, channel 7"):
        quantise(rin0, r_chunks, mode=mode)
    with pytest.raises(DataError, match=r"rin0, channel 7"):
        quantise(r_chunks[:, 5], fixture("gauss")[1], mode=mode)


def test_shapes_and_orders_that_do_not_fit():
    rin0, r_chunks = fixture("gauss")
    for wrong in ((rin0[:, :3], r_chunks), (rin0, rin0), (rin0[:2], r_chunks), (rin0, r_chunks[:, :0])):
        with pytest.raises(ValueError, match="one size"):
            quantise(*wrong)
    for order in ([0] * K, range(K - 1), range(1, K + 1)):
        with pytest.raises(ValueError, match="permutation"):
            quantise(rin0, r_chunks, order=order)


@pytest.mark.parametrize("percentile", [50.0, 99.5, 99.9, 100.0])
def test_percentile_is_the_published_scheme(percentile):
    """Closed form: numpy's linear percentile of |x| over 127, clipped, each chunk on its own."""
    rin0, r_chunks = fixture("laplace")
    coded = quantise(rin0, r_chunks, mode="percentile", percentile=percentile)
    x = r_chunks.double().numpy()
    scale = (np.percentile(np.abs(x), percentile, axis=(-2, -1)) / 127).astype(np.float32)
    np.testing.assert_allclose(coded.r_chunks_scale, scale, rtol=1e-6)
    codes = np.clip(np.round(x / coded.r_chunks_scale.double().numpy()[..., None, None]), -127, 127)
    np.testing.assert_array_equal(coded.r_chunks, codes)
    assert not coded.feedback


def test_codes_do_not_depend_on_the_batch_or_the_run():
    data = fixture("gauss")
    whole, again = quantise(*data), quantise(*data)
    single = [quantise(data[0][i : i + 1], data[1][i : i + 1]) for i in range(B)]
    for name in ("rin0", "rin0_scale", "r_chunks", "r_chunks_scale"):
        assert torch.equal(getattr(whole, name), getattr(again, name))
        assert torch.equal(getattr(whole, name), torch.cat([getattr(q, name) for q in single]))


@pytest.mark.parametrize("device", DEVICES)
def test_sum_latent_is_the_decoded_sum(device):
    data = [x.to(device) for x in fixture("gauss")]
    coded = quantise(*data)
    total = sum_latent(coded.rin0, coded.rin0_scale, coded.r_chunks, coded.r_chunks_scale)
    assert (total.dtype, total.device.type) == (torch.float32, device)
    torch.testing.assert_close(total.double(), exact(coded), rtol=0, atol=4e-6)
    assert dequantise(coded.rin0, coded.rin0_scale, torch.float16).dtype == torch.float16


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("mode", ["absmax", "percentile"])
def test_a_gpu_gives_the_same_codes(mode):
    data = fixture("gauss")
    here, there = quantise(*data, mode=mode), quantise(*(x.cuda() for x in data), mode=mode)
    for name in ("rin0", "rin0_scale", "r_chunks", "r_chunks_scale"):
        assert torch.equal(getattr(here, name), getattr(there, name).cpu())


def test_stats_say_what_happened_and_resume():
    data = fixture("gauss")
    order = chunk_order(data[1])
    coded, clipped = quantise(*data, order=order), quantise(*data, mode="percentile")
    stats, split, published = QuantiserStats(K), QuantiserStats(K), QuantiserStats(K)
    stats.update(*data, coded)
    published.update(*data, clipped)
    first, rest = ([x[:3] for x in data], [x[3:] for x in data])
    split.update(*first, quantise(*first, order=order))
    resumed = QuantiserStats(K)
    resumed.load_state_dict(json.loads(json.dumps(split.state_dict())))
    resumed.update(*rest, quantise(*rest, order=order))
    found = stats.as_dict()
    assert resumed.as_dict() == found == json.loads(json.dumps(found))
    assert found["sum_snr_db"] == pytest.approx(snr_db(z_end(*data), exact(coded)), abs=1e-3)
    assert found["chunk_snr_db"][2] == pytest.approx(
        snr_db(data[1][:, 2], dequantise(coded.r_chunks[:, 2], coded.r_chunks_scale[:, 2])), abs=1e-3
    )
    assert found["clipped"] == 0
    assert 0.49 < found["telescoping_lsb"] <= 0.501
    assert found["kurtosis"] == pytest.approx(3, abs=0.1)
    # 5 of 1024 values lie above a channel's 99.5th percentile (0.5 % of 1023, rounded down), most of them by half an LSB or more
    assert 3 < published.as_dict()["clipped"] / (B * (K + 1) * L) <= 6
