"""What a store needs of an object store: nine operations, of which two are conditional. `S3Bucket` has them by obstore."""

from __future__ import annotations

import functools
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar

from fabloom.errors import DamagedArtifact, EnvironmentProblem
from fabloom.registry.address import without_secrets

from .address import Address, certificates, endpoint

MOST_BYTES = 64 << 20
"""The most that is read of a manifest or a ref: these are the only objects whose size nothing announces."""
AT_ONCE = 16
"""Requests under way at the same time, of all calls of a process."""
THREADS = "fabloom-s3"
PIECE = 8 << 20
"""Bytes of a part of a large upload, and of a piece of a stream."""
GAP = 128 << 10
"""Bytes between two pieces that are fetched too, since another request would take longer."""
SILENCE = timedelta(seconds=30)
"""Without a byte of an answer a request has failed. It counts while the body is sent too, so only those up to `SHORT` are held to it."""
SHORT = 64 << 10
"""Bytes of a write that a slow line takes within `SILENCE`, `AT_ONCE` of them at a time: manifests, refs, pins, metadata, tensors."""
LONGEST = {"read": timedelta(hours=1), "write": timedelta(minutes=10)}
"""A whole request, to the end of its body: what only bounds a transfer that goes on, but for good. A write is a part of `PIECE` at most."""
RETRIES = 3
WITHIN = timedelta(seconds=30)
"""A request is tried again so often, and not later than that: obstore's own 10 times in 3 minutes keep a run waiting that cannot go on."""

T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """An object as a listing or a look has it: name, bytes, Unix time of its last writing."""

    name: str
    size: int
    modified: float


class Bucket(Protocol):
    """Objects under a prefix, by names with '/'. What is written is there at once, and for everybody, when a call returns.

    Every method raises EnvironmentProblem where the server cannot be reached, or refuses.
    """

    url: str

    def look(self, name: str) -> Entry | None:
        """What is known of an object, None where there is none."""
        ...

    def read(self, name: str) -> tuple[bytes, str] | None:
        """The content of a small object and the tag of this content. Raises DamagedArtifact for one over `MOST_BYTES`."""
        ...

    def ranges(self, name: str, offsets: Sequence[int], sizes: Sequence[int]) -> list[Any] | None:
        """Pieces of an object, as buffers, shorter where it ends before; None where there is none."""
        ...

    def stream(self, name: str) -> Iterator[Any]:
        """The whole content in pieces, as buffers; none of them where there is no object."""
        ...

    def write(self, name: str, content: bytes | Path) -> None:
        """Put an object there, whatever was there."""
        ...

    def create(self, name: str, content: bytes) -> bool:
        """Put an object where there is none: False, with nothing done, where there is one. Of several at once one has True."""
        ...

    def exchange(self, name: str, content: bytes, tag: str) -> bool:
        """Put an object in the place of the content that has this tag: False, with nothing done, where another one is there, or none."""
        ...

    def list(self, room: str, after: str = "") -> Iterator[Entry]:
        """Every object under `room/`, sorted by name; only those after `room/after` where that is given."""
        ...

    def delete(self, names: Sequence[str]) -> None:
        """Remove objects; what is not there is passed over."""
        ...


class S3Bucket:
    """A `Bucket` on a server that speaks S3, by obstore. Address and credentials are those of the environment."""

    def __init__(self, address: Address) -> None:
        self.url = address.url
        self._address, self._server = address, endpoint()
        self._open()

    def _open(self) -> None:
        try:
            from obstore.store import S3Store
        except ImportError as error:
            raise EnvironmentProblem(f"store '{self.url}' needs obstore ({error}): pip install 'fabloom[s3]'") from error
        config: Any = {"conditional_put": "etag"}
        if self._server is not None:
            config |= {"endpoint": self._server, "aws_endpoint_url_s3": self._server}
        client: Any = {"connect_timeout": timedelta(seconds=5), **certificates()}
        client["allow_http"] = (self._server or "").startswith("http://")
        self._pid = os.getpid()

        def door(**limits: timedelta) -> Any:
            return S3Store(
                self._address.bucket,
                prefix=self._address.prefix or None,
                config=config,
                client_options=client | limits,
                retry_config={"max_retries": RETRIES, "retry_timeout": WITHIN},
            )

        with self._reaching(""):
            self._store = door(timeout=LONGEST["read"], read_timeout=SILENCE)
            self._patient = door(timeout=LONGEST["write"])

    def _for(self, size: int) -> Any:
        """The door for a write of so many bytes."""
        return self._store if size <= SHORT else self._patient

    def look(self, name: str) -> Entry | None:
        """HEAD."""
        import obstore

        with self._reaching(name):
            try:
                return _entry(obstore.head(self._store, name))
            except FileNotFoundError:
                return None

    def read(self, name: str) -> tuple[bytes, str] | None:
        """GET."""
        import obstore

        with self._reaching(name):
            try:
                found = obstore.get(self._store, name)
                if found.meta["size"] > MOST_BYTES:
                    raise DamagedArtifact(f"'{name}' in '{self.url}' has {found.meta['size']} bytes; {MOST_BYTES} at most were expected")
                return bytes(found.bytes()), str(found.meta["e_tag"])
            except FileNotFoundError:
                return None

    def ranges(self, name: str, offsets: Sequence[int], sizes: Sequence[int]) -> list[Any] | None:
        """GET with Range; pieces that lie close together come in one request."""
        import obstore
        from obstore.exceptions import GenericError

        with self._reaching(name):
            try:
                return list(obstore.get_ranges(self._store, name, starts=list(offsets), lengths=list(sizes), coalesce=GAP))
            except FileNotFoundError:
                return None
            except GenericError as error:
                if "status code: 416" not in str(error):  # the object ends before a piece begins
                    raise
                return [b""] * len(offsets)

    def stream(self, name: str) -> Iterator[Any]:
        """GET with Range, piece by piece: what fails and is tried again is a piece."""
        start = 0
        while (found := self.ranges(name, [start], [PIECE])) and len(found[0]):
            yield found[0]
            if len(found[0]) < PIECE:
                return
            start += PIECE

    def write(self, name: str, content: bytes | Path) -> None:
        """PUT, in parts where it is large."""
        import obstore

        with self._reaching(name):
            size = content.stat().st_size if isinstance(content, Path) else len(content)
            obstore.put(self._for(size), name, content, chunk_size=PIECE, max_concurrency=4)

    def create(self, name: str, content: bytes) -> bool:
        """PUT with If-None-Match: *."""
        return self._put_if(name, content, "create")

    def exchange(self, name: str, content: bytes, tag: str) -> bool:
        """PUT with If-Match."""
        return self._put_if(name, content, {"e_tag": tag})

    def _put_if(self, name: str, content: bytes, mode: Any) -> bool:
        """False for 412, for 409 (another such request is under way, of either sort), and for 404 (there is nothing to match)."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._reaching(name):
            try:
                obstore.put(self._for(len(content)), name, content, mode=mode)
            except (AlreadyExistsError, PreconditionError, FileNotFoundError):
                return False
        return True

    def list(self, room: str, after: str = "") -> Iterator[Entry]:
        """LIST, a thousand at a time."""
        import obstore

        with self._reaching(f"{room}/"):
            for page in obstore.list(self._store, room, offset=f"{room}/{after}" if after else None, chunk_size=1000):
                yield from map(_entry, page)

    def delete(self, names: Sequence[str]) -> None:
        """DELETE, a thousand at a time."""
        import obstore

        for start in range(0, len(names), 1000):
            with self._reaching(names[start]):
                obstore.delete(self._store, list(names[start : start + 1000]))

    @contextmanager
    def _reaching(self, name: str) -> Iterator[None]:
        """Turn the library's errors into ours. Each is one line, in which no secret is."""
        from obstore.exceptions import BaseError

        if os.getpid() != self._pid:
            raise EnvironmentProblem(
                f"store '{self.url}' was opened in another process: the library that speaks S3 works in no fork of it. Open it again there."
            )
        try:
            yield
        except BaseError as error:
            raise EnvironmentProblem(f"'{self.url}': {_told(error, name)}") from None  # its source would be a page long


def _told(error: Exception, name: str) -> str:
    """What a library's error says, in a line, and what to do about it."""
    text = str(error).partition("\nDebug source:")[0]
    code = re.search(r"<Code>([A-Za-z0-9]+)</Code>", text)
    status = re.search(r"status code: (\d{3} [A-Za-z ]+)", text)
    if code and code[1] == "NoSuchBucket":
        return "there is no such bucket. Make it with the tools of its provider; fabloom makes none."
    if type(error).__name__ in ("PermissionDeniedError", "UnauthenticatedError") or (status and status[1][:3] in ("401", "403")):
        why = code[1] if code else status[1].strip() if status else "refused"
        return f"access denied ({why}) to '{name}'. Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and what they may do."
    short = " ".join(without_secrets(re.sub(r"<\?xml.*", "", text, flags=re.DOTALL)).split())[:300].rstrip(": ")
    why = f"{short}: {code[1]}" if code else short
    return f"'{name}' cannot be reached ({why}). Check the endpoint, the network and the AWS_… variables, then run again."


def _entry(meta: Any) -> Entry:
    return Entry(str(meta["path"]), int(meta["size"]), meta["last_modified"].timestamp())


def pause(tried: int) -> None:
    """Wait at random, longer after several tries, so that those who were refused do not all come again at the same moment."""
    time.sleep(random.uniform(0, 0.01 * min(tried + 1, 20)))


def together(work: Callable[[Any], T], things: Sequence[Any]) -> list[T]:
    """`work` of each thing, several requests at a time, in order. The first error is raised; what is under way then ends by itself."""
    if len(things) < 2 or threading.current_thread().name.startswith(THREADS):  # one that waited here for others could stop them all
        return [work(thing) for thing in things]
    return list(_pool(os.getpid()).map(work, things))


@functools.cache
def _pool(pid: int) -> ThreadPoolExecutor:
    """The threads of this process: a start of sixteen for each batch of rows would cost more than their requests. None live in a fork."""
    return ThreadPoolExecutor(AT_ONCE, THREADS)
