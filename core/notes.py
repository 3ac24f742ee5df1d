"""Notes: small JSON files that say their own hash, replaced whole. What is odd reads as if it were not there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fabloom.durable import write_durably, write_whole
from fabloom.hashing import blake, canonical_json
from fabloom.regular import read_regular

LARGEST = 1 << 16
"""Bytes; a note is a few lines."""


def write_note(path: Path, content: Mapping[str, Any], *, lasting: bool = True) -> None:
    """Replace `path` durably, or where it need not be `lasting` without waiting for the disk: one that a power cut tore reads as none.

    Raises OSError where that cannot be done; nothing half-written is left.
    """
    body = canonical_json({**content, "self": blake(canonical_json(content))})
    (write_durably if lasting else write_whole)(path, body)


def read_note(path: Path) -> dict[str, Any] | None:
    """What was written; None where nothing is there, or something else than was written."""
    try:
        body = json.loads(read_regular(path, LARGEST))
        claimed = body.pop("self")
        return body if blake(canonical_json(body)) == claimed else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
