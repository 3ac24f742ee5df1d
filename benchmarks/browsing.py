"""A headless Chromium that does what a person does with a page: look, click where something stands, type, and take a picture.

Prefect's pages answer real events of the mouse alone, and draw their graph by WebGL, which needs a software renderer here.
"""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--hide-scrollbars", "--no-first-run",
    "--disable-extensions", "--disable-background-networking", "--remote-debugging-port=0",
)  # fmt: skip
PLACES = """
(() => {
  const wanted = %s, found = [];
  for (const one of document.querySelectorAll(%s)) {
    const box = one.getBoundingClientRect();
    if (box.width && box.height && (wanted === "" || (one.innerText || one.value || one.ariaLabel || "").trim() === wanted))
      found.push([box.x + box.width / 2, box.y + box.height / 2]);
  }
  return found;
})()
"""


class Page:
    """One page, by Chrome's debugging protocol."""

    def __init__(self, url: str) -> None:
        from websockets.sync.client import connect

        self._socket = connect(url, max_size=1 << 26)
        self._number = 0

    def ask(self, method: str, **parameters: Any) -> Any:
        """What the browser answers."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=120))
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def look(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        return self.ask("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def open(self, url: str, until: str = "", seconds: float = 180) -> None:
        """Go to a page, and wait until a text stands on it."""
        self.ask("Page.navigate", url=url)
        self.until(until, seconds)

    def until(self, text: str, seconds: float = 180) -> None:
        """Wait until a text stands on the page. Raises RuntimeError with what stands there where it never does."""
        deadline = time.monotonic() + seconds
        while text not in str(self.look("document.body && document.body.innerText")):
            if time.monotonic() > deadline:
                raise RuntimeError(f"'{text}' never stood there: {str(self.look('document.body.innerText'))[:2000]}")
            time.sleep(0.5)

    def click(self, selector: str, text: str = "", which: int = 0, seconds: float = 60) -> None:
        """Click in the middle of an element, one of those with that text."""
        script = PLACES % (json.dumps(text), json.dumps(selector))
        deadline = time.monotonic() + seconds
        while len(found := self.look(script) or []) <= which:
            if time.monotonic() > deadline:
                raise RuntimeError(f"no {selector} '{text}' is there")
            time.sleep(0.5)
        self.press(*found[which])

    def press(self, x: float, y: float) -> None:
        """The left button at a place of the window."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def write(self, text: str) -> None:
        """Type into what has the focus, in place of what is there."""
        for kind in ("keyDown", "keyUp"):
            self.ask(
                "Input.dispatchKeyEvent", type=kind, key="a", code="KeyA", modifiers=2, commands=["selectAll"] if kind == "keyDown" else []
            )
        self.ask("Input.insertText", text=text)

    def picture(self, path: Path, width: int = 1280, height: int = 900) -> None:
        """The page as a PNG of that size, in 128 colours."""
        from PIL import Image

        self.size(width, height)
        time.sleep(1.5)
        taken = Image.open(io.BytesIO(base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"])))
        taken.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)

    def size(self, width: int, height: int) -> None:
        """Of the window."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)


@contextmanager
def browser() -> Iterator[Page]:
    """A browser with an empty page, which ends with the block. Raises FileNotFoundError where no Chromium is installed."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        raise FileNotFoundError("no Chromium is installed")
    with tempfile.TemporaryDirectory(prefix="fabloom-browser-", ignore_cleanup_errors=True) as folder:
        command = [program, *FLAGS, f"--user-data-dir={folder}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            place, deadline = Path(folder) / "DevToolsActivePort", time.monotonic() + 180
            while not place.exists() or not place.read_text().strip():
                if time.monotonic() > deadline:
                    raise RuntimeError("the browser does not start")
                time.sleep(0.2)
            port = place.read_text().splitlines()[0]
            pages = json.loads(urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=60).read())
            yield Page(next(one["webSocketDebuggerUrl"] for one in pages if one["type"] == "page"))
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
