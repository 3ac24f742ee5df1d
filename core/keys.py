"""Hashes and keys under the name that they had first: `fabloom.hashing` and `fabloom.planning` are the rooms."""

from __future__ import annotations

from .hashing import blake, blake_file, canonical_json
from .planning.keys import SCHEMA, artifact_key, canonical_params, preimage, step_seed
from .planning.sources import SourceCache, source_files

__all__ = [
    "SCHEMA", "SourceCache", "artifact_key", "blake", "blake_file", "canonical_json", "canonical_params", "preimage", "source_files",
    "step_seed",
]  # fmt: skip
