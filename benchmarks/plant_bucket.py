"""A bucket on loopback for `deployments.py`, whose keys are in a Secret block of Prefect's, and a search for them where they must not be.

It needs obstore, 'moto[s3]', flask and flask-cors. The server takes every key, and notes whose it was.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BLOCK = "plant-s3"
ASKED = (
    "/deployments/filter", "/flow_runs/filter", "/task_runs/filter", "/logs/filter", "/artifacts/filter", "/events/filter",
    "/block_documents/filter", "/variables/filter", "/work_pools/filter", "/automations/filter",
)  # fmt: skip
"""What a page of Prefect's, or anybody without the right to read blocks, asks its API for."""


@dataclass
class PlantBucket:
    """Where it is, what is in the block, and by whose key requests were signed."""

    endpoint: str
    url: str = f"s3://lab/{secrets.token_hex(4)}"
    key: str = f"PLANT{secrets.token_hex(8)}".upper()
    secret: str = f"hunter2/of+the-plant/{secrets.token_hex(8)}"
    signed: set[str] = field(default_factory=set)

    @property
    def block(self) -> str:
        keys = {"access_key_id": self.key, "secret_access_key": self.secret, "region": "us-east-1", "endpoint": self.endpoint}
        return json.dumps(keys)

    @contextmanager
    def visited(self) -> Iterator[None]:
        """The environment of who deploys, with keys of his own."""
        own = {
            "AWS_ACCESS_KEY_ID": "VISITOR", "AWS_SECRET_ACCESS_KEY": "of-who-deploys", "AWS_REGION": "us-east-1",
            "FABLOOM_S3_ENDPOINT": self.endpoint,
        }  # fmt: skip
        before = {name: os.environ.get(name) for name in own}
        os.environ.update(own)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value

    def damage(self) -> int:
        from fabloom.storage.backends.objects.store import ObjectStore

        with self.visited():
            store = ObjectStore(self.url, read_only=True)
            health = store.upkeep.verify()
        return len(health.problems) if health.checked else -1

    def objects_with_the_secret(self) -> list[str]:
        from moto.core import DEFAULT_ACCOUNT_ID
        from moto.s3.models import s3_backends

        kept = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets["lab"].keys
        return [name for name, one in kept.items() if self.secret.encode() in one.value]


@contextmanager
def served() -> Iterator[PlantBucket]:
    """A server on loopback with a bucket `lab`."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication as Application
    from moto.s3.responses import S3Response
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    put, call, one = S3Response.put_object, Application.__call__, threading.Lock()
    found = PlantBucket("")

    def put_object(self: Any) -> Any:
        with one:  # moto looks at the condition and writes without a lock
            return put(self)

    def noting(self: Any, environ: Any, start: Any) -> Any:
        if signed := re.search(r"Credential=([^/]+)/", environ.get("HTTP_AUTHORIZATION", "")):
            found.signed.add(signed[1])
        return call(self, environ, start)

    S3Response.put_object, Application.__call__ = put_object, noting
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        found.endpoint = "http://{}:{}".format(*server.get_host_and_port())
        urllib.request.urlopen(urllib.request.Request(f"{found.endpoint}/lab", method="PUT")).read()
        yield found
    finally:
        server.stop()
        S3Response.put_object, Application.__call__ = put, call


def answers_with(ask: Any, deployment: str, secret: str) -> list[str]:
    """Which answers of the API hold it."""
    told = {path: ask("POST", path) for path in ASKED}
    told["deployment"] = ask("GET", f"/deployments/{deployment}")
    assert told["/logs/filter"] and told["/task_runs/filter"] and BLOCK in json.dumps(told["deployment"]), "there is something to look at"
    return [path for path, answer in told.items() if secret in json.dumps(answer) or json.dumps(secret)[1:-1] in json.dumps(answer)]


def files_with(folder: Path, secret: str) -> list[str]:
    """Which files below a folder hold it: stores, logs, the server's database."""
    return subprocess.run(["grep", "-rlF", secret, str(folder)], capture_output=True, text=True, check=False).stdout.split()


def holders(secret: str) -> dict[str, bool]:
    """Processes that have it in the environment that they began with, or in their command line: True where they are of a flow run."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            variables, line = (place / "environ").read_bytes(), (place / "cmdline").read_bytes()
        except OSError:
            continue
        if secret.encode() in line:
            found[line.replace(b"\0", b" ").decode(errors="replace")] = False
        elif secret.encode() in variables:
            found[line.replace(b"\0", b" ").decode(errors="replace")[:80]] = b"PREFECT__FLOW_RUN_ID=" in variables
    return found
