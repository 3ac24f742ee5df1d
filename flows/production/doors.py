"""From where a server of this machine can be reached, and whether it asks who is there."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx

LISTENING = "0A"
"""State of a socket in /proc/net/tcp."""


def is_loopback(host: str) -> bool:
    """Whether a name or address leads to this machine only."""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return bool(found) and all(ipaddress.ip_address(str(one).partition("%")[0]).is_loopback for one in found)


def open_addresses(port: int) -> list[str]:
    """Addresses other than loopback that something here listens on at the port; '0.0.0.0' and '::' stand for every one.

    Where the kernel does not say (no /proc): the machine's own address, if something answers there.
    """
    tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
    if tables[0].is_file():
        found = {address for table in tables if table.is_file() for address in _listening(table.read_text(), port)}
        return sorted(str(one) for one in found if not one.is_loopback and not _mapped_loopback(one))
    own = _own_address()
    with socket.socket() as trial:
        trial.settimeout(2)
        return [own] if own and trial.connect_ex((own, port)) == 0 else []


def _listening(table: str, port: int) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """The second column is `address:port` in hexadecimal digits, the fourth the state."""
    rows = [line.split() for line in table.splitlines()[1:]]
    return [_address(row[1]) for row in rows if len(row) > 3 and row[3] == LISTENING and int(row[1].partition(":")[2], 16) == port]


def _address(place: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """As the kernel prints it: words of four bytes in the machine's order, which is little endian wherever we run."""
    words = bytes.fromhex(place.partition(":")[0])
    return ipaddress.ip_address(b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4)))


def _mapped_loopback(one: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return isinstance(one, ipaddress.IPv6Address) and one.ipv4_mapped is not None and one.ipv4_mapped.is_loopback


def _own_address() -> str:
    """The address by which this machine would speak to another one; '' without a network. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
        try:
            trial.connect(("192.0.2.1", 9))
        except OSError:
            return ""
        return str(trial.getsockname()[0])


def asks_for_password(api: str) -> bool:
    """Whether the API refuses somebody without one. Raises httpx.HTTPError where it does not answer."""
    return httpx.get(f"{api}/admin/version", timeout=10, trust_env=False).status_code in (401, 403)


def port_of(url: str) -> int:
    """That of a URL, or its scheme's."""
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)
