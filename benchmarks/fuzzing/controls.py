"""Cases that break every rule: what does not see them sees nothing."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from fuzzing.world import MOST_SECONDS, Case


def controls() -> list[Case]:
    """Cases that break every rule: what does not see them sees nothing."""

    def raises() -> int:
        raise KeyError("x")

    def talks() -> int:
        print("fabloom: one\nfabloom: two", file=sys.stderr)
        return 2

    def idles() -> int:
        while time.process_time() < MOST_SECONDS + 0.1:
            pass
        return 0

    def grows() -> int:
        return len(bytearray(os.urandom(1)) * (210 << 20)) * 0

    def leaves() -> int:
        Path("out").mkdir()
        return 2

    def wanders() -> int:
        (Path("..") / ".." / "wandered").touch()
        return 0

    def changes() -> int:
        (Path("s") / "store.json").write_text("{}")
        return 0

    calls = (raises, talks, idles, grows, leaves, wanders, changes)
    return [Case("name", f"control: {call.__name__}", ("show",), call=call) for call in calls]
