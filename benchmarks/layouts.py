"""Layouts x formats x bit depths x modes of masks: each folder is read right, or refused with one line.

    python benchmarks/layouts.py [--every N] [--only WORD] [--show] [--json]

`laying` writes each folder with Pillow, tifffile, numpy and by hand, and knows what it drew; nothing of it is shared with the reader.
`images.load` reads it, and pixels, masks, labels, class names, domain, references and the order of files are compared. A case is `right`,
`refused` (one line, a DataError or an error of the parameters), `told` (wrong by itself, but the log says what to look at), or `silent`:
wrong, and nobody said so. Refused although it should have been read is counted apart, as `too strict`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from laying.cases import everything
from laying.truth import Case, Truth

MOST_LINE = 600
"""Characters of a refusal."""


@dataclass
class Verdict:
    case: Case
    outcome: str
    why: str


def read(case: Case, folder: Path, store: Any) -> tuple[Any, list[str], Truth | None]:
    """What `images.load` makes of a case, and what it logged. Raises what it raises."""
    from fabloom.method import Context
    from fabloom.plugins.data.images.method import Images
    from fabloom.plugins.data.images.params import LoadParams

    root = folder / "images"
    root.mkdir()
    params, truth = case.write(root)
    for place in sorted((p for p in root.rglob("*") if p.is_dir() and not any(p.iterdir())), reverse=True):
        place.rmdir()
    logged: list[str] = []
    key = f"{abs(hash(case.name)):040x}"[-40:]
    ctx = Context(staging=store.stage(key), seed=0, workdir=store.work(key), emit=lambda e: logged.append(str(e.get("message", ""))))
    return Images().load(ctx, LoadParams.model_validate({"path": str(root), **params})), logged, truth


def wrong(made: Any, truth: Truth) -> str:
    """What differs from the truth, '' where nothing does."""
    images = made.images[...]
    if images.shape != truth.images.shape:
        return f"images {images.shape}, right is {truth.images.shape}"
    most = truth.off or int(made.attrs["grey_high"] != 255.0)  # a half may round either way
    off = int(np.abs(images.astype(int) - truth.images.astype(int)).max())
    if off > most:
        return f"pixels off by {off}"
    for name, right, bound in (("masks", truth.masks, 0), ("references", truth.references, most)):
        found = getattr(made, name)
        if (found is None) != (right is None):
            return f"{name} {'missing' if found is None else 'too many'}"
        if right is not None and (found.shape != right.shape or int(np.abs(found[...].astype(int) - right.astype(int)).max()) > bound):
            return f"{name} differ"
    if truth.domain is not None and (made.domain is None or made.domain[...].tolist() != truth.domain):
        return f"domain {None if made.domain is None else made.domain[...].tolist()}, right is {truth.domain}"
    if truth.names is not None and made.class_names != truth.names:
        return f"class names {made.class_names}, right are {truth.names}"
    labels = None if made.labels is None else [made.class_names[i] for i in made.labels[...]]
    if labels != truth.labels:
        return f"labels {labels}, right are {truth.labels}"
    if truth.sources is not None and made.source_names != truth.sources:
        return f"sources {made.source_names}, right are {truth.sources}"
    return ""


def judged(case: Case, folder: Path, store: Any) -> Verdict:
    from pydantic import ValidationError

    from fabloom.errors import DataError

    try:
        made, logged, truth = read(case, folder, store)
    except (DataError, ValidationError) as error:
        line = str(error) if isinstance(error, DataError) else error.errors()[0]["msg"]
        good = "\n" not in line and len(line) < MOST_LINE
        outcome = ("refused" if case.wanted == "refused" else "too strict") if good else "no line"
        return Verdict(case, outcome, line)
    except Exception as error:
        return Verdict(case, "broken", f"{type(error).__name__}: {error}")
    if case.told and not any(case.told in line for line in logged):
        return Verdict(case, "silent", f"the log lacks '{case.told}'")
    if case.wanted == "refused" or truth is None:
        return Verdict(case, "silent", "was read")
    problem = wrong(made, truth)
    if problem and case.wanted == "told":
        return Verdict(case, "told", problem)
    return Verdict(case, "silent" if problem else "right", problem)


def measure(folder: Path, every: int = 1, only: str = "", seed: int = 0) -> list[Verdict]:
    """Every `every`th case, begun at `seed`."""
    import fabloom

    store = fabloom.open_store(folder / "store")
    chosen = [case for case in everything() if only in case.name][seed % every :: every]
    verdicts = []
    for number, case in enumerate(chosen):
        with tempfile.TemporaryDirectory(dir=folder, prefix=f"{number:04}-") as place:
            verdicts.append(judged(case, Path(place), store))
    return verdicts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--only", default="", help="cases whose name holds this word")
    parser.add_argument("--show", action="store_true", help="one line a case")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fabloom-layouts-") as folder:
        verdicts = measure(Path(folder), given.every, given.only)
    counts = Counter(verdict.outcome for verdict in verdicts)
    odd = [v for v in verdicts if v.outcome not in ("right", "refused", "told")]
    for verdict in verdicts if given.show else odd:
        print(f"{verdict.outcome:10} {verdict.case.name}: {verdict.why}"[:300], file=sys.stderr)
    print(json.dumps({"cases": len(verdicts), **counts}) if given.json else f"{len(verdicts)} cases: {dict(counts)}")
    raise SystemExit(bool(odd))


if __name__ == "__main__":
    main()
