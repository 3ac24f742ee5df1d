"""The keys of a bucket from one Secret block of Prefect's, asked for when a run begins: in the environment of its processes, nowhere else.

The deployment knows the block by its name, in the variable FABLOOM_S3_BLOCK of its runs. What is in the block comes over the API into the
flow's process, and its steps' processes inherit it. No parameter, job variable, pod, artifact, manifest, log or message ever holds it.

A block's value is a text. Prefect takes an object too, and then gives it in plain to whoever lists the blocks: it blots out texts only.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from prefect import get_client
from prefect.exceptions import ObjectNotFound

from fabloom.errors import EnvironmentProblem

from .outage import TROUBLE, place, reason

BLOCK = "FABLOOM_S3_BLOCK"
"""Variable of a run that names the block."""

VARIABLES = {
    "access_key_id": "AWS_ACCESS_KEY_ID",
    "secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "session_token": "AWS_SESSION_TOKEN",
    "region": "AWS_REGION",
    "endpoint": "FABLOOM_S3_ENDPOINT",
}
"""What a block may hold, and the variable that each is for the run."""

NEEDED = ("access_key_id", "secret_access_key")
OF_THE_KEYS = (*NEEDED, "session_token")
"""These belong together: one that the block leaves out is not taken from elsewhere."""

FORM = '{"access_key_id": "…", "secret_access_key": "…", "region": "eu-central-1", "endpoint": "https://minio.example.com"}'
"""How a block's value is written; `region`, `endpoint` and `session_token` may be left out."""


@contextlib.contextmanager
def lent() -> Iterator[None]:
    """Within, the environment has what is in the block that FABLOOM_S3_BLOCK names; as it is where that is not set.

    Raises EnvironmentProblem for a block that is not there, or holds something else, in words that repeat nothing of it.
    """
    block = os.environ.get(BLOCK)
    if not block:
        yield
        return
    found = variables(block, _value(block))
    before = {name: os.environ.get(name) for name in (*(VARIABLES[one] for one in OF_THE_KEYS), *found)}
    _put({**dict.fromkeys(before), **found})
    try:
        yield
    finally:
        _put(before)


def variables(block: str, value: Any) -> dict[str, str]:
    """The environment variables that a block's value stands for. Raises EnvironmentProblem, without a word of the value."""
    if isinstance(value, Mapping):
        raise EnvironmentProblem(in_plain(block))
    try:
        content = json.loads(value) if isinstance(value, str) else None
    except ValueError:
        content = None
    if not isinstance(content, Mapping):
        raise _unfit(block, "is no JSON object")
    if any(name not in VARIABLES for name in content):  # which is not said: it may be a key in the wrong place
        raise _unfit(block, f"has a name that is none of {', '.join(VARIABLES)}")
    missing = [name for name in NEEDED if not content.get(name)]
    if missing:
        raise _unfit(block, f"has no {' and no '.join(missing)}")
    odd = [name for name, one in content.items() if one is not None and not (isinstance(one, str) and one.isprintable())]
    if odd:
        raise _unfit(block, f"has a {odd[0]} that is no text of one line")
    return {VARIABLES[name]: one for name, one in content.items() if one}


def in_plain(block: str) -> str:
    """What to say of a block whose value is an object."""
    return (
        f"the value of the Secret block '{block}' is an object, which Prefect shows in plain to whoever lists its blocks. Take other keys, "
        "and save them as a text: Secret(value=json.dumps({…}))"
    )


def _value(block: str) -> Any:
    """What is in the block. Raises EnvironmentProblem where there is none of that name, or the server does not answer."""
    try:
        with get_client(sync_client=True) as client:
            return client.read_block_document_by_name(block, "secret", include_secrets=True).data.get("value")
    except ObjectNotFound:
        raise EnvironmentProblem(
            f"Prefect's server has no Secret block '{block}' ({BLOCK}), which should hold the keys of the bucket. "
            "Make it in the UI (Blocks, Secret), or name another one: `fabloom deploy … --s3-credentials BLOCK`."
        ) from None
    except TROUBLE as error:
        raise EnvironmentProblem(f"Prefect's server at {place()} does not give the Secret block '{block}': {reason(error)}") from error


def _unfit(block: str, why: str) -> EnvironmentProblem:
    return EnvironmentProblem(f"the Secret block '{block}' ({BLOCK}) {why}. Its value is a text like {FORM}")


def _put(wanted: Mapping[str, str | None]) -> None:
    for name, value in wanted.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
