"""A short version of `benchmarks/damage.py`: whatever happens to a file of a store is found where the documentation says."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_damage_is_found_as_promised_and_heals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setenv("FABLOOM_THREADS", "1")
    monkeypatch.setattr(sys, "argv", ["fabloom"])
    from damage import measure

    with tempfile.TemporaryDirectory() as folder:  # not pytest's, into which `nobody` may not look
        summary = measure(Path(folder), cases=36, checkpoints=14, seed=3)
    assert summary.sound, summary.told
    assert (summary.cases, summary.checkpoint_cases, summary.marked, summary.wrong_as_told) == (36, 14, True, 0)
    assert summary.found_on_reading >= 8 and summary.found_by_verify >= 8 and summary.healed >= 26
