"""Artifacts that no step made: arrays from Python, kept in a store under a key that follows from their content."""

from __future__ import annotations

import hashlib
import time
from typing import Any

from fabloom.errors import EnvironmentProblem
from fabloom.hashing import canonical_json
from fabloom.kinds import Artifact
from fabloom.kinds.memory import copy_to
from fabloom.kinds.store import Store

from .keys import artifact_key, preimage

TASK = "given"
"""In place of a task in the preimage, before the kind: `given.ImageSet`. No method can be called so and have a task of a kind's name."""
PUT = "put, not made"
"""What is shown in the place of a task."""


def is_given(task: str) -> bool:
    """Whether this stands where a task would: the artifact was put into its store, and no step can make it again."""
    return task.startswith(f"{TASK}.")


def content_hash(artifact: Artifact) -> str:
    """blake2b-160 of attributes and arrays: equal content gives an equal hash, wherever it lies and however it is stored."""
    import numpy as np

    digest = hashlib.blake2b(digest_size=20)
    digest.update(canonical_json(dict(artifact.attrs)))
    for name in sorted(artifact._reader.names()):
        array = np.ascontiguousarray(artifact.array(name)[...])
        digest.update(canonical_json([name, array.dtype.str, list(array.shape)]))
        digest.update(array.data.cast("B") if array.size else b"")
    return digest.hexdigest()


def put(store: Store, artifact: Artifact) -> Artifact:
    """Keep an artifact in the store and return what lies there. What is in the store already is returned as it is.

    The key follows from kind and content alone: equal arrays are kept once. Raises EnvironmentProblem where the store cannot be written.
    """
    if artifact.digest and store.has(artifact.key) and store.manifest(artifact.key)["digest"] == artifact.digest:
        return store.get(artifact.key)
    asked = preimage(f"{TASK}.{artifact.kind}", 1, {"content": content_hash(artifact)}, 0, {})
    key = artifact_key(asked)
    if not store.has(key):
        with store.lock(key, lambda who: None, lambda: False):
            if not store.has(key):
                _commit(store, key, artifact, asked)
    return store.get(key)


def _commit(store: Store, key: str, artifact: Artifact, asked: dict[str, Any]) -> None:
    store.work(key).mkdir(parents=True, exist_ok=True)
    try:
        staging = store.stage(key)
        copy_to(staging, artifact._reader)
        facts = {
            "kind": artifact.kind, "preimage": asked, "source": "", "plugin": {"distribution": "fabloom", "version": "given"},
            "made_with": {}, "device": "cpu", "threads": 1, "precision": {}, "seconds": 0.0, "curves": {},
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }  # fmt: skip
        store.commit(staging, facts)
    except OSError as error:
        raise EnvironmentProblem(f"store '{store.url}' cannot keep the {artifact.kind}: {error.strerror}: {error.filename}") from error
