"""The URL of a store is shown, handed to other processes and kept by Prefect, so there must be no secret in it."""

from __future__ import annotations

import re
from urllib.parse import unquote

from fabloom.errors import UserError

AUTHORITY = re.compile(r"[a-z0-9+.\-]:/+([^/?#]*)", re.IGNORECASE)
"""What stands between a scheme and the path. A chained URL (cache::s3://…) has several; one slash is a slip that counts too."""

BARE = re.compile(r"[^/]*:[^/@]+@[^/]")
"""user:password@host without a scheme, which would be taken for the name of a folder."""

NAMES = re.compile(r"[?&;#]\s*([^=&;?#]+)=")
"""Names in a query string or a fragment."""

HELD = (
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "signature",
    "credential",
    "authorization",
    "accesskey",
    "apikey",
    "connectionstring",
)
"""A name that holds one of these is that of a secret, whatever stands around it: x-amz-signature, client_secret."""

LAST = ("key", "keyid", "sig", "sas", "pwd", "pw", "pass", "auth", "jwt", "bearer", "cookie")
"""So is a name whose end is one of these: account_key, sig."""

REMEDY = (
    "A URL is shown and stored, also by Prefect, so it may hold no secret, and this one was not used. Give credentials by environment "
    "variables or the provider's own chain (for S3: AWS_…, ~/.aws)"
)


def check_address(url: str, of: str = "store") -> None:
    """Raise UserError, in words that do not repeat it, where a secret is in the URL of a store, or of what else is kept like one."""
    found = next((found for text in (url, unquote(url), unquote(unquote(url))) if (found := _secret(text))), None)
    if found is None:
        return
    scheme = re.match(r"[a-z][a-z0-9+.\-]*(?=:/)", url, re.IGNORECASE)
    place = f"the URL of the {of} ({scheme[0]}://…)" if scheme else f"the place of the {of}"
    raise UserError(
        f"{place} holds {found}. {REMEDY}{'' if scheme or of != 'store' else '; for a folder of such a name write ./ before it'}."
    )


def without_secrets(text: str) -> str:
    """A message, or a URL, without the users, passwords and values named like secrets of the URLs in it."""
    text = re.sub(r"(:/+)[^/@\s'\"]*@", r"\1", text)
    return re.sub(r"([?&;#]([^=&;?#\s]+)=)[^&;#\s'\"]+", lambda found: f"{found[1]}***" if _named_secret(found[2]) else found[0], text)


def _secret(url: str) -> str | None:
    """What kind of secret is in the URL; never the secret, nor a name of the user's own."""
    if BARE.match(url):
        return "a password"
    for authority in AUTHORITY.findall(url):
        user, at, host = authority.rpartition("@")
        port = host.partition("&")[0].rpartition(":")[2] if ":" in host and "]" not in host else ""
        if (at and user.partition(":")[2]) or (port and not port.isdigit()):  # the second: a password with a slash in it
            return "a password"
    if not AUTHORITY.search(url):
        return None
    word = next((word for name in NAMES.findall(url) if (word := _named_secret(name))), None)
    return f"a parameter named like a secret ('{word}')" if word else None


def _named_secret(name: str) -> str | None:
    """The word by which a name is that of a secret."""
    plain = re.sub(r"[^a-z]", "", name.lower())
    return next((word for word in HELD if word in plain), None) or next((word for word in LAST if plain.endswith(word)), None)
