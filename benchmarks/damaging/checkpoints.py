"""Damage to the checkpoints of a stopped training."""

from __future__ import annotations

import io
import random
import shutil
import traceback
from pathlib import Path

from .bench import Bench
from .looking import Summary, deadline, unprivileged
from .promises import ALL, BYTES, NO_FILE
from .ways import Skip, damage, replace

WHICH = ("newest", "before", "both")
CHECKPOINT_DAMAGES = (
    *BYTES, "delete", *NO_FILE, "link to a copy", "link to a sibling", "no permission", "swap", "swap names", "another step",
    "of another run", "another optimizer", "another network", "no torch file", "a torn one beside",
)  # fmt: skip


def hurt_checkpoint(bench: Bench, folder: Path, which: str, how: str, chance: random.Random) -> None:
    """Damage one or both of a loop's two checkpoints. Raises Skip."""
    found = sorted(folder.glob("ckpt-*.pt"))
    assert len(found) == 2, found
    chosen = {"newest": found[1:], "before": found[:1], "both": found}[which]
    if how == "swap names":
        middle = folder / "middle"
        found[0].rename(middle), found[1].rename(found[0]), middle.rename(found[1])
    elif how == "swap":
        first, second = (path.read_bytes() for path in found)
        replace(found[0], second), replace(found[1], first)
    else:
        for path in chosen:
            if how in ALL:
                damage(path, how, found, bench.outside, chance)
            else:
                _forge(bench, path, how, chance)


def _forge(bench: Bench, path: Path, how: str, chance: random.Random) -> None:
    """A checkpoint that hashes to its name and is not, or does not fit, what this loop would go on from."""
    import torch

    from fabloom.method import checkpoint

    loop, step = path.name.split("-")[1:3]
    if how == "a torn one beside":
        path.with_name(f".ckpt-{loop}.{chance.randbytes(8).hex()}.tmp").write_bytes(path.read_bytes()[: chance.randrange(1000)])
        return
    if how == "of another run":
        (other,) = (bench.hurt / "work" / bench.keys["other"]).glob(f"ckpt-{loop}-{step}-*.pt")
        path.unlink()
        shutil.copy(other, path.parent)
        return
    if how == "another step":
        path.rename(path.with_name(path.name.replace(step, f"{chance.randrange(1, 999):09d}")))
        return
    content = torch.load(io.BytesIO(path.read_bytes()), weights_only=True)
    path.unlink()
    if how == "another optimizer":
        layer = torch.nn.Linear(2, 2)
        content["state"]["optimizer"] = torch.optim.SGD([{"params": [layer.weight]}, {"params": [layer.bias]}], lr=0.1).state_dict()
    elif how == "another network":
        content["state"]["net"]["2.weight"] = torch.zeros(3, 3)
    held = path.with_name("held")
    held.mkdir()
    made = checkpoint.save(held, loop, int(step), content)
    if how == "no torch file":
        import hashlib

        data = b"PK\3\4 of another version"
        made.unlink()
        made = made.with_name(f"ckpt-{loop}-{step}-{hashlib.blake2b(data, digest_size=20).hexdigest()}.pt")
        made.write_bytes(data)
    made.rename(path.parent / made.name)
    held.rmdir()


def checkpoint_cases(bench: Bench, cases: int, seed: int, summary: Summary) -> None:
    """Damage one or both checkpoints of a stopped training; it must come to the digest of one that was never stopped."""
    chance = random.Random(seed + 1)
    order = [(which, how) for how in CHECKPOINT_DAMAGES for which in WHICH]
    if cases < len(order):
        chance.shuffle(order)
    for number in range(10 * cases):
        if summary.checkpoint_cases >= cases:
            break
        which, how = order[number % len(order)]
        bench.copy()
        folder = bench.hurt / "work" / bench.keys["walk"]
        name = f"checkpoint {number}: {how} of the {which}"
        try:
            hurt_checkpoint(bench, folder, which, how, chance)
            with unprivileged(how == "no permission"), deadline():
                result = bench.run("walk", bench.hurt)
        except Skip as why:
            summary.skipped[f"{how} of checkpoints: {why}"] += 1
            continue
        except TimeoutError:
            summary.tell("hangs", name, traceback.format_exc())
        except Exception:
            summary.tell("tracebacks", name, traceback.format_exc())
        else:
            (step,) = result.steps
            if step.status != "ran":
                summary.tell("failed_steps", name, step.error)
            elif step.digest != bench.digests["walk/walk"]:
                summary.tell("wrong_digests", name, step.digest)
        summary.checkpoint_cases += 1
