"""Teacher data: storage and quantiser beside the published file-per-sample scheme and its peers, in one run.

    python benchmarks/offline_data.py [--samples N] [--rounds 5] [--json FILE] [--artifact KEY --store DIR]

All schemes take turns in every round, so that load hits them alike; what is printed are medians over the rounds of the ratio to the
file-per-sample scheme of the same round: percentile codes with float16 scales in npz + zstd level 3. The others hold our codes (absmax with
feedback, float32 scales). Reads give stacked int8 batches and scales with the page cache hot. Ours verifies every checksum and
fsyncs what it writes; LMDB fsyncs, the rest do neither. In brackets the same ratio in CPU seconds, which other load moves less.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from offline_schemes import Scheme, schemes

from fabloom.storage.format.quantise import QuantiserStats, chunk_order, quantise

BATCH = 16
TARGETS = {
    "random read": (1.8, 2.2),
    "sequential read": (1.9, 2.4),
    "write": (1.4, 1.4),
    "first batch": (0.6, 0.6),
}
Latents = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def field(generator: torch.Generator, count: int, chunks: int = 8, channels: int = 128, size: int = 32) -> Latents:
    """Synthetic x_T, x0, rin0, r_chunks: channels with correlation lengths of 0.4 to 2.5 px and log-normal gains, a smooth heavy-tailed
    envelope, AR(1) between chunks, a 10 % white floor, and chunks that shrink by a tenth each from 0.6 of rin0."""
    draws = {"generator": generator}
    fy, fx = torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None]
    width = torch.linspace(0.4, 2.5, channels)[:, None, None]

    def smooth(white: torch.Tensor, sigma: torch.Tensor | float) -> torch.Tensor:
        spectrum = torch.fft.rfft2(white) * torch.exp(-2 * (torch.pi * sigma) ** 2 * (fy**2 + fx**2))
        soft = torch.fft.irfft2(spectrum, s=(size, size))
        return soft / soft.std((-2, -1), keepdim=True)

    gain = torch.exp(0.4 * torch.randn(channels, 1, 1, generator=torch.Generator().manual_seed(1)))
    envelope = torch.exp(0.5 * smooth(torch.randn(count, 1, size, size, **draws), 3.0))
    parts, state = [], torch.zeros(count, channels, size, size)
    for k in range(chunks + 1):
        fresh = smooth(torch.randn(count, channels, size, size, **draws), width)
        state = fresh if k < 2 else 0.6 * state + 0.8 * fresh
        floor = 0.1 * torch.randn(count, channels, size, size, **draws)
        parts.append((state * envelope + floor) * gain * (1.0 if k == 0 else 0.6 * 0.9 ** (k - 1)))
    x_T = torch.randn(count, 3, size, size, **draws).half()
    x0 = smooth(torch.randn(count, 3, size, size, **draws), 2.0).clamp(-1, 1).half()
    return x_T, x0, parts[0], torch.stack(parts[1:], 1)


def synthetic(samples: int) -> Iterator[Latents]:
    generator = torch.Generator().manual_seed(0)
    for start in range(0, samples, BATCH):
        yield field(generator, min(BATCH, samples - start))


def recorded(key: str, store: str, samples: int) -> Iterator[Latents]:
    """The dequantised latents of a real artifact, dithered by up to half an LSB: bare codes would lie on our own grid and cost nothing."""
    from fabloom.storage.backends.local import LocalStore

    artifact: Any = LocalStore(store).get(key)
    reader, generator = artifact.reader(), torch.Generator().manual_seed(0)

    def latents(codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        dither = torch.rand(codes.shape, generator=generator) - 0.5
        return (codes + dither) * scales[..., None, None]

    for start in range(0, min(samples, len(artifact)), BATCH):
        rows = reader.read(range(start, min(start + BATCH, samples, len(artifact))))
        t = {name: torch.from_numpy(value) for name, value in rows.items()}
        yield t["x_T"], t["x0"], latents(t["rin0"], t["rin0_scale"]), latents(t["r_chunks"], t["r_chunks_scale"])


class Accuracy:
    """SNR of z_end and the mean over the chunks, of codes as a reader decodes them."""

    def __init__(self) -> None:
        self.signal, self.noise = 0.0, 0.0

    def add(self, rin0: torch.Tensor, r_chunks: torch.Tensor, columns: dict[str, torch.Tensor]) -> None:
        lost = rin0.double() + r_chunks.double().sum(1)
        self.signal += float(lost.square().sum())
        lost -= columns["rin0"] * columns["rin0_scale"].double()[..., None, None]
        for k in range(r_chunks.shape[1]):
            lost -= columns["r_chunks"][:, k] * columns["r_chunks_scale"][:, k].double()[..., None, None]
        self.noise += float(lost.square().sum())

    def db(self) -> float:
        return 10 * float(np.log10(self.signal / self.noise))


def encode(batches: Iterator[Latents]) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, dict[str, Any]], Latents]:
    """Columns of each quantiser, its accuracy, and the first batch of latents."""
    options: dict[str, dict[str, Any]] = {"published": {"mode": "percentile"}, "8 bits": {}, "6 bits": {"bits": 6}}
    held: dict[str, list[dict[str, torch.Tensor]]] = {name: [] for name in options}
    sums = {name: Accuracy() for name in options}
    first: Latents | None = None
    rows = 0
    for batch in batches:
        x_T, x0, rin0, r_chunks = batch
        if first is None:
            first, order = batch, chunk_order(r_chunks)
            stats = {name: QuantiserStats(r_chunks.shape[1]) for name in options}
        for name, option in options.items():
            coded = quantise(rin0, r_chunks, order=order, **option)
            stats[name].update(rin0, r_chunks, coded)
            scale = torch.float16 if name == "published" else torch.float32
            columns = {
                "sample_id": torch.arange(rows, rows + len(rin0)), "x_T": x_T, "x0": x0,
                "rin0": coded.rin0, "rin0_scale": coded.rin0_scale.to(scale),
                "r_chunks": coded.r_chunks, "r_chunks_scale": coded.r_chunks_scale.to(scale),
            }  # fmt: skip
            sums[name].add(rin0, r_chunks, columns)
            held[name].append(columns)
        rows += len(rin0)
    if first is None:
        raise SystemExit("no samples")
    joined = {name: {c: torch.cat([part[c] for part in parts]).numpy() for c in parts[0]} for name, parts in held.items()}
    facts = {name: {**stats[name].as_dict(), "sum_snr_db": round(sums[name].db(), 2)} for name in options}
    return joined, facts, first


def clock(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def disk(folder: Path) -> tuple[int, int]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files), len(files)


def one_round(name: str, scheme: Scheme, columns: dict[str, np.ndarray], room: Path, order: np.ndarray) -> dict[str, tuple[float, float]]:
    """Wall and CPU seconds of each task, on files written anew."""
    folder = room / name
    shutil.rmtree(folder, ignore_errors=True)
    os.sync()  # or an fsync here would wait for what another scheme left unwritten
    found = {"write": clock(lambda: scheme.write(folder, columns))}
    read = scheme.open_reader(folder)
    read(order[:2])
    batches = [order[i : i + 64] for i in range(0, len(order) - 63, 64)]
    found["random read"] = clock(lambda: [read(batch) for batch in batches])
    found["sequential read"] = clock(lambda: [read(np.sort(order)[i : i + 64]) for i in range(0, len(order) - 63, 64)])
    script = Path(__file__).with_name("offline_schemes.py")
    answer = subprocess.run([sys.executable, str(script), name, str(folder)], check=True, capture_output=True, text=True)
    found["first batch"] = (float(answer.stdout),) * 2
    return found


def same_content(read: Callable[[Any], dict[str, Any]], columns: dict[str, np.ndarray], rows: np.ndarray) -> None:
    for name, values in read(rows).items():
        if not np.array_equal(values, columns[name][rows]):
            raise SystemExit(f"'{name}' does not come back as it was written")


def storage(columns: dict[str, dict[str, np.ndarray]], rounds: int, room: Path) -> dict[str, dict[str, Any]]:
    """Times, bytes and files of every scheme. A first, uncounted round warms libraries and page cache."""
    table = schemes()
    order = np.random.default_rng(0).permutation(len(columns["8 bits"]["sample_id"]))
    times: dict[str, dict[str, list[tuple[float, float]]]] = {name: {} for name in table}
    for number in range(rounds + 1):
        for name, scheme in table.items():
            if not scheme.missing:
                for what, seconds in one_round(name, scheme, columns[_content(scheme)], room, order).items():
                    times[name].setdefault(what, []).extend([seconds] if number else [])
    results: dict[str, dict[str, Any]] = {}
    for name, scheme in table.items():
        results[name] = {"label": scheme.label, "missing": scheme.missing}
        if not scheme.missing:
            same_content(scheme.open_reader(room / name), columns[_content(scheme)], order[:64])
            for what, seconds in times[name].items():
                wall, cpu = (statistics.median(column) for column in zip(*seconds, strict=True))
                ratio, cpu_ratio = (
                    statistics.median(theirs[i] / mine[i] for theirs, mine in zip(times["files"][what], seconds, strict=True))
                    for i in (0, 1)
                )
                results[name][what] = {"seconds": wall, "cpu_seconds": cpu, "speed": ratio, "cpu_speed": cpu_ratio}
            results[name]["bytes"], results[name]["files"] = disk(room / name)
    table["ours2"].write(room / "six", columns["6 bits"])
    results["six"] = {"label": "fabloom, 6 bits", "bytes": disk(room / "six")[0]}
    return results


def _content(scheme: Scheme) -> str:
    return "published" if scheme.published else "8 bits"


def percentile_loop(latents: np.ndarray) -> None:
    """The published quantiser as it is written: one np.percentile a channel."""
    for x in latents.reshape(-1, latents.shape[-2] * latents.shape[-1]):
        scale = max(float(np.percentile(np.abs(x), 99.5)) / 127, 1e-8)
        np.clip(np.round(x / scale), -127, 127).astype(np.int8)


def quantiser_speed(batch: Latents, rounds: int) -> dict[str, float]:
    """CPU seconds a sample, one torch thread."""
    _, _, rin0, r_chunks = batch
    few = torch.cat([rin0[:2, None], r_chunks[:2]], 1).numpy()
    loop, ours = [], []
    quantise(rin0, r_chunks)
    for _ in range(rounds):
        loop.append(clock(lambda: percentile_loop(few))[1] / len(few))
        ours.append(clock(lambda: quantise(rin0, r_chunks))[1] / len(rin0))
    raw = 4 * (rin0[0].numel() + r_chunks[0].numel())
    return {"loop": statistics.median(loop), "ours": statistics.median(ours), "gigabytes_per_second": raw / statistics.median(ours) / 1e9}


def machine() -> str:
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    model = next((line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")), platform.machine())
    libraries = []
    for name in ("numpy", "torch", "zarr", "numcodecs", "zstandard", "lmdb"):
        try:
            libraries.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            libraries.append(f"no {name}")
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{len(os.sched_getaffinity(0))} cores of {model}, load average {load}; Python {platform.python_version()}; {', '.join(libraries)}"
    )


def verdict(value: float, target: float, *, least: bool) -> str:
    return f"{value:.2f} ({'meets' if (value >= target if least else value <= target) else 'MISSES'} {'>=' if least else '<='} {target})"


def report(results: dict[str, dict[str, Any]], facts: dict[str, dict[str, Any]], speed: dict[str, float], samples: int) -> str:
    base = results["files"]
    column = 1 if sys.version_info >= (3, 12) else 0
    lines = [f"{machine()}; {samples} samples, ratios to the file-per-sample scheme, speeds above 1 are faster", ""]
    lines += ["| scheme | random read | sequential read | write | first batch (time) | bytes | files |", "|---|---|---|---|---|---|---|"]
    for row in results.values():
        if row.get("missing"):
            lines.append(f"| {row['label']} | {row['missing']} | | | | | |")
        elif "write" in row:
            speeds = [f"{row[what]['speed']:.2f} ({row[what]['cpu_speed']:.2f})" for what in ("random read", "sequential read", "write")]
            first, size = 1 / row["first batch"]["speed"], row["bytes"] / base["bytes"]
            lines.append(f"| {row['label']} | {' | '.join(speeds)} | {first:.2f} | {size:.3f} | {row['files']} |")
    counts = {"random read": samples // 64 * 64, "sequential read": samples // 64 * 64, "write": samples}
    per_second = ", ".join(f"{what} {count / base[what]['seconds']:.0f}/s" for what, count in counts.items())
    lines += [
        "",
        f"Reference: {per_second}, first batch {base['first batch']['seconds']:.2f} s, {base['bytes'] / samples:.0f} bytes a sample.",
        "",
    ]
    lines += [
        "| quantiser | SNR of z_end, dB | mean chunk SNR, dB | clipped values | z_end error, LSB of last chunk | bytes | CPU ms a sample |"
    ]
    lines += ["|---|---|---|---|---|---|---|"]
    for name, scheme in (("published", "files"), ("8 bits", "ours2"), ("6 bits", "six")):
        fact = facts[name]
        cpu = {"published": f"{speed['loop'] * 1e3:.1f}", "8 bits": f"{speed['ours'] * 1e3:.2f}"}.get(name, "")
        chunk = statistics.fmean(fact["chunk_snr_db"])
        bound = f"{fact['telescoping_lsb']:.4f}"
        size = results[scheme]["bytes"] / base["bytes"]
        lines.append(f"| {name} | {fact['sum_snr_db']:.1f} | {chunk:.1f} | {fact['clipped']} | {bound} | {size:.3f} | {cpu} |")
    best = results["ours2"]
    lines += ["", f"Mean channel kurtosis {facts['8 bits']['kurtosis']}; quantiser {speed['gigabytes_per_second']:.2f} GB/s in.", ""]
    for what, target in TARGETS.items():
        least = what != "first batch"
        ratio = best[what]["speed"] if least else 1 / best[what]["speed"]
        lines.append(f"- {what}: {verdict(ratio, target[column], least=least)}")
    lines.append(f"- quantise: {verdict(speed['loop'] / speed['ours'], 20, least=True)}")
    gain = facts["8 bits"]["sum_snr_db"] - facts["published"]["sum_snr_db"]
    lines.append(f"- 8 bits, z_end dB above published: {verdict(gain, 15, least=True)}")
    lines.append(f"- 8 bits, bytes: {verdict(best['bytes'] / base['bytes'], 1.0, least=False)}")
    lines.append(f"- 6 bits, bytes: {verdict(results['six']['bytes'] / base['bytes'], 0.75, least=False)}")
    gain = facts["6 bits"]["sum_snr_db"] - facts["published"]["sum_snr_db"]
    lines.append(f"- 6 bits, z_end dB above published: {verdict(gain, 0, least=True)}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=128, help="rows to store, at least 64")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write every number here")
    parser.add_argument("--artifact", help="key of an OfflineData artifact whose latents replace the synthetic ones")
    parser.add_argument("--store", default=".fabloom", help="store that holds --artifact")
    options = parser.parse_args()
    if options.samples < 64:
        parser.error("--samples must be at least 64, one batch")
    torch.set_num_threads(1)  # more compute threads than cores left over slow every scheme several times
    batches = recorded(options.artifact, options.store, options.samples) if options.artifact else synthetic(options.samples)
    columns, facts, first = encode(batches)
    samples = len(columns["8 bits"]["sample_id"])
    if samples < 64:
        parser.error(f"the artifact holds {samples} rows; at least 64 are needed")
    speed = quantiser_speed(first, options.rounds)
    with tempfile.TemporaryDirectory() as room:
        results = storage(columns, options.rounds, Path(room))
    print(report(results, facts, speed, samples))
    if options.json:
        everything = {"machine": machine(), "samples": samples, "storage": results, "quantiser": facts, "quantise_cpu": speed}
        options.json.write_text(json.dumps(everything, indent=2))


if __name__ == "__main__":
    main()
