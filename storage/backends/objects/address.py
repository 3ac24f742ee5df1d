"""Where a bucket is: the URL says which, the environment says at whose door. Neither may hold a secret that is shown."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from fabloom.errors import EnvironmentProblem, UserError
from fabloom.hashing import blake

SCHEME = "s3"
BUCKET = re.compile(r"[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]")
PART = re.compile(r"[A-Za-z0-9_\-=+][A-Za-z0-9_.\-=+]{0,199}")
"""One part of a prefix: nothing that leads elsewhere, or that a shell, a URL or a listing would write otherwise."""

ENDPOINTS = ("FABLOOM_S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
"""Variables that name the door, the first that is set counts; none for Amazon's own."""
ALLOW_HTTP = "AWS_ALLOW_HTTP"
AUTHORITIES = "AWS_CA_BUNDLE"
WORK = "FABLOOM_WORK_DIR"
"""Variable with the folder for what stays on this machine: work, locks, reports."""


@dataclass(frozen=True)
class Address:
    """`s3://bucket/prefix`; the prefix may be empty."""

    bucket: str
    prefix: str

    @property
    def url(self) -> str:
        """What `--store` takes."""
        return f"{SCHEME}://{self.bucket}{'/' if self.prefix else ''}{self.prefix}"


def parse(url: str) -> Address:
    """The bucket and prefix of a URL. Raises UserError, which does not repeat what may be a secret."""
    rest = url.partition("://")[2]
    bucket, _, prefix = rest.rstrip("/").partition("/")
    wanted = "write s3://BUCKET/PREFIX, as in s3://lab/runs"
    if "@" in rest or "?" in rest or "#" in rest:
        raise UserError(
            f"a store's URL names a bucket and a prefix and nothing else: {wanted}. Endpoint, region and credentials are given by "
            f"environment variables ({ENDPOINTS[0]}, AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)."
        )
    if not BUCKET.fullmatch(bucket):
        raise UserError(f"'{bucket[:80]}' is no name of a bucket (3 to 63 small letters, digits, '-' and '.'): {wanted}")
    odd = next((part for part in prefix.split("/") if not PART.fullmatch(part)), None) if prefix else None
    if odd is not None:
        raise UserError(f"'{odd[:80]}' cannot be a part of a store's prefix (letters, digits, '_', '-', '.', '=', '+'): {wanted}")
    return Address(bucket, prefix)


def endpoint() -> str | None:
    """The URL of the server, None for Amazon's own.

    Raises EnvironmentProblem for what is none, for one with a user or password in it, and for http to another machine.
    """
    name = next((name for name in ENDPOINTS if os.environ.get(name)), None)
    if name is None:
        return None
    given = os.environ[name]
    try:
        parts = urlsplit(given)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        sound = False
    if not sound or parts.username or parts.password or parts.query or parts.fragment:
        raise EnvironmentProblem(f"{name} is no address of a server: give it as https://HOST[:PORT], without user and password")
    if parts.scheme == "http" and not _is_loopback(str(parts.hostname)) and os.environ.get(ALLOW_HTTP, "").lower() not in ("1", "true"):
        raise EnvironmentProblem(
            f"{name} is http:// on another machine ({parts.hostname}): data would go there for everybody to read. Use https://, or say "
            f"{ALLOW_HTTP}=true where the network is your own."
        )
    return given.rstrip("/")


def certificates() -> dict[str, str]:
    """What is trusted beside the usual authorities: the file that AWS_CA_BUNDLE names. Raises EnvironmentProblem where it is none."""
    name = os.environ.get(AUTHORITIES)
    if not name:
        return {}
    try:
        return {"root_certificate": Path(name).read_text()}
    except (OSError, ValueError) as error:
        raise EnvironmentProblem(f"{AUTHORITIES} names '{name}', which cannot be read ({error}). Mend it, or unset it.") from error


def workspace(address: Address, server: str | None) -> Path:
    """The folder of this machine that belongs to the store: below FABLOOM_WORK_DIR, else below the user's cache folder."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "fabloom" / "work"
    name = re.sub(r"[^A-Za-z0-9.\-]+", "-", f"{address.bucket}-{address.prefix}")[:60].strip("-")
    own = blake(f"{server or ''} {address.url}".encode())[:8]
    return Path(os.environ.get(WORK) or home).expanduser().absolute() / f"{name}-{own}"


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
