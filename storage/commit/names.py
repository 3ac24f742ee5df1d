"""Which names an array may have: what every file system takes, and nothing that leads out of a folder."""

from __future__ import annotations

import re

SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,254}")
