"""The drawings of the concept pages, as SVG that takes its colours from the page (`docs/assets/site.css`)."""

from __future__ import annotations

from html import escape

LINE = 17
"""Distance of two lines of text in a box."""


class Drawing:
    """Boxes, arrows and words on a canvas; `name` keeps ids apart where a page shows several."""

    def __init__(self, name: str, title: str, width: int, height: int) -> None:
        self.name, self.title, self.width, self.height = name, title, width, height
        self._parts: list[str] = []

    def box(self, x: int, y: int, w: int, h: int, *lines: str, style: str = "box") -> Drawing:
        """A box with lines of text in its middle: the first in bold where there are several; `code` in a fixed-width face."""
        self._parts.append(f'<rect class="{style}" x="{x}" y="{y}" width="{w}" height="{h}" rx="6"/>')
        top = y + h / 2 + 5 - LINE * (len(lines) - 1) / 2
        for index, line in enumerate(lines):
            kind = "title" if index == 0 and len(lines) > 1 else "small" if index else ""
            self.text(x + w / 2, top + LINE * index, line, kind, anchor="middle")
        return self

    def room(self, x: int, y: int, w: int, h: int, title: str) -> Drawing:
        """A dashed frame with a title on its upper edge."""
        self._parts.append(f'<rect class="room" x="{x}" y="{y}" width="{w}" height="{h}" rx="8"/>')
        return self.text(x + 12, y + 18, title, "small")

    def text(self, x: float, y: float, text: str, kind: str = "", *, anchor: str = "start") -> Drawing:
        """Words whose baseline is at y."""
        if text.startswith("`"):
            text, kind = text.strip("`"), "code"
        self._parts.append(f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>')
        return self

    def arrow(self, *points: tuple[int, int], label: str = "", at: tuple[int, int] | None = None, style: str = "line") -> Drawing:
        """A line through the points with a tip at its end; `label` stands above its middle, or at `at`."""
        path = " ".join(f"{'M' if i == 0 else 'L'}{x} {y}" for i, (x, y) in enumerate(points))
        self._parts.append(f'<path class="{style}" d="{path}" marker-end="url(#tip-{self.name})"/>')
        if label:
            (x0, y0), (x1, y1) = points[0], points[-1]
            x, y = at or ((x0 + x1) // 2, (y0 + y1) // 2 - 7)
            self.text(x, y, label, "small", anchor="middle")
        return self

    def line(self, x0: int, y0: int, x1: int, y1: int, style: str = "line") -> Drawing:
        """A plain line."""
        self._parts.append(f'<path class="{style}" d="M{x0} {y0} L{x1} {y1}"/>')
        return self

    def svg(self) -> str:
        """The drawing, one element a line and no empty line, as Markdown wants of HTML."""
        tip = (
            f'<defs><marker id="tip-{self.name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto-start-reverse"><path class="tip" d="M0 0 L8 4 L0 8 z"/></marker></defs>'
        )
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" role="img">'
        return "\n".join([head, f"<title>{escape(self.title)}</title>", tip, *self._parts, "</svg>"]) + "\n"


def weave() -> str:
    """What the main pipeline makes of a few images."""
    d = Drawing("weave", "Images become a teacher, offline data, a student, synthetic images, labels, a segmenter and a report", 900, 250)
    names = [
        ("images", "yours or simulated"), ("teacher", "latent recurrence"), ("offline data", "int8 + zstd"), ("student", "one step"),
        ("synthetic", "thousands"), ("labelled", "pixel masks"), ("segmenter", "U-Net"),
    ]  # fmt: skip
    for index, (name, what) in enumerate(names):
        x = 10 + index * 127
        d.box(x, 20, 112, 54, name, what, style="strong" if name == "student" else "box")
        if index:
            d.arrow((x - 15, 47), (x - 1, 47))
    d.box(10, 122, 112, 54, "baseline", "plain augmentation").box(391, 176, 112, 54, "test images", "held out")
    d.box(772, 176, 112, 54, "report", "numbers, beside", style="strong").text(828, 242, "", "small")
    d.arrow((66, 74), (66, 121)).arrow((122, 149), (800, 149), (800, 175)).arrow((503, 203), (771, 203)).arrow((850, 74), (850, 175))
    d.text(250, 142, "the same U-Net, trained on variations of the real images", "small")
    return d.svg()


def way() -> str:
    """From a pipeline to committed artifacts."""
    d = Drawing(
        "way", "A pipeline is planned; what the store has is reused, the rest runs in a worker and is committed by one rename", 900, 330
    )
    d.box(10, 30, 120, 54, "pipeline", "YAML or Python").box(180, 30, 150, 54, "plan", "types, params, keys", style="strong")
    d.box(390, 30, 130, 54, "in the store?", "manifest there").box(600, 30, 130, 54, "reused", "no torch, no process")
    d.arrow((130, 57), (179, 57)).arrow((330, 57), (389, 57), label="each step").arrow((520, 57), (599, 57), label="yes")
    d.arrow((455, 84), (455, 120), (80, 120), (80, 159), label="no", at=(470, 108))
    d.room(10, 140, 880, 180, "").text(110, 158, "a process of the step's own, forked from a warm server", "small")
    steps = [
        ("lock", "the key"), ("lease", "the device"), ("task", "ctx, params, inputs"), ("digest", "every file"),
        ("manifest", "written last"), ("rename", "one, atomic"),
    ]  # fmt: skip
    for index, (name, what) in enumerate(steps):
        x = 24 + index * 144
        d.box(x, 175, 126, 54, name, what, style="strong" if name == "rename" else "box")
        if index:
            d.arrow((x - 18, 202), (x - 1, 202))
    d.box(300, 258, 150, 48, "`staging/<key>/`").box(716, 258, 166, 48, "`objects/<k2>/<key>/`")
    d.arrow((375, 229), (375, 257)).arrow((807, 229), (807, 257)).arrow(
        (450, 282), (715, 282), label="fsynced, hashed, then moved as a whole"
    )
    return d.svg()


def keys() -> str:
    """How a key is made, and how keys hang together."""
    d = Drawing(
        "keys", "A key is a hash of what was asked, with the keys of the inputs in it; a digest is a hash of what came out", 900, 300
    )
    d.room(10, 10, 250, 280, "what was asked (the preimage)")
    for index, line in enumerate(
        [
            "`task: fade.train`",
            "`version: 2`",
            "`params: {steps: 2000, …}`",
            "`seed: 63-bit hash`",
            "`inputs: {images: KEY}`",
            "`schema: 1`",
        ]
    ):
        d.text(30, 58 + 28 * index, line)
    d.text(30, 240, "not in it: step names, paths,", "small").text(30, 258, "devices, workers, cadence", "small")
    d.box(320, 60, 130, 50, "canonical JSON", "blake2b").box(510, 60, 110, 50, "key", "known at planning", style="strong")
    d.arrow((260, 85), (319, 85)).arrow((450, 85), (509, 85))
    d.arrow((565, 110), (565, 140), (690, 140), label="is an input of", at=(630, 133)).box(
        691, 115, 190, 50, "the next step's key", "and so on down the pipeline"
    )
    d.room(290, 185, 600, 105, "what came out").box(310, 215, 150, 54, "`data.zarr/`", "path, size, hash")
    d.box(520, 215, 120, 54, "digest", "known at commit", style="strong").arrow((460, 242), (519, 242), label="blake2b")
    d.text(665, 236, "equal keys give equal digests on one", "small").text(665, 254, "platform, device kind, thread count", "small")
    return d.svg()


def commit() -> str:
    """The moments of a commit, and what a kill at each leaves behind."""
    d = Drawing("commit", "A kill before the rename leaves no artifact, a kill after it a whole one", 900, 270)
    moments = [
        ("lock", "flock on the key"),
        ("stage", "row blocks, fsynced"),
        ("digest", "hash of each file"),
        ("manifest", "written last"),
        ("rename", "one directory"),
    ]
    for index, (name, what) in enumerate(moments):
        x = 20 + index * 146
        d.box(x, 30, 128, 54, name, what, style="strong" if name == "rename" else "box")
        if index:
            d.arrow((x - 18, 57), (x - 1, 57))
    d.box(760, 30, 120, 54, "committed", "immutable").arrow((732, 57), (759, 57))
    d.line(668, 100, 668, 250, "room").text(20, 130, "killed here: no artifact", "title").text(690, 130, "killed here: all of it", "title")
    d.text(20, 154, "objects/ never saw it. The kernel gives the lock back. work/<key>/ keeps", "small")
    d.text(20, 172, "checkpoints, and a journal that names the finished row blocks with digests.", "small")
    d.text(20, 200, "The next holder of the lock keeps the blocks the journal vouches for,", "small")
    d.text(20, 218, "removes every other file, and goes on.", "small")
    d.text(690, 154, "A reader sees the manifest,", "small").text(690, 172, "so every byte it names was", "small").text(
        690, 190, "on disk before.", "small"
    )
    return d.svg()


def resume() -> str:
    """A loop that is killed and goes on."""
    d = Drawing("resume", "A killed loop goes on from its last checkpoint and gives what an uninterrupted run gives", 900, 270)
    d.text(10, 42, "first run", "title").line(110, 37, 520, 37)
    for x in (210, 320, 430):
        d.box(x - 8, 24, 16, 26, "", style="strong")
    d.line(510, 24, 534, 50, "line bad").line(534, 24, 510, 50, "line bad").text(545, 42, "killed at step 1430", "small")
    d.text(10, 122, "second run", "title").arrow((430, 117), (800, 117)).box(422, 104, 16, 26, "", style="strong").box(
        540, 104, 16, 26, "", style="strong"
    )
    d.box(650, 104, 16, 26, "", style="strong").box(801, 92, 90, 50, "commit")
    d.arrow((430, 52), (430, 103), label="newest readable checkpoint, step 1400", at=(290, 84))
    d.room(110, 160, 690, 96, "a checkpoint holds")
    d.text(128, 202, "what the loop was given: network, optimizer, average, schedule … · every ctx.generator stream", "small")
    d.text(128, 222, "Python's, NumPy's and torch's global generators · the step number · the curves so far", "small")
    d.text(128, 242, "written to a new file, fsynced, renamed; the two newest are kept", "small")
    return d.svg()


def processes() -> str:
    """Who starts whom, and who dies with whom."""
    d = Drawing("processes", "The caller, the warm fork server and the workers, with their sockets", 900, 310)
    d.box(20, 50, 230, 84, "caller", "fabloom run, Prefect flow", "plan, display, observers")
    d.box(400, 50, 190, 84, "fork server", "torch imported, no CUDA", "starts with the first step", style="strong")
    for index, name in enumerate(("worker: teacher", "worker: baseline")):
        d.box(700, 30 + 80 * index, 180, 62, name, "lock, lease, task, commit")
    d.arrow((250, 78), (399, 78), label="a socket a step").arrow((590, 78), (699, 61)).arrow(
        (590, 105), (699, 141), label="fork", at=(640, 138)
    )
    d.arrow(
        (790, 172),
        (790, 215),
        (135, 215),
        (135, 135),
        label="events as JSON lines: progress, log, result; back: the request, stop",
        at=(460, 208),
    )
    d.text(
        20, 252, "The caller is killed: the server reads end-of-file and leaves; the kernel kills its workers (PR_SET_PDEATHSIG).", "small"
    )
    d.text(
        20,
        271,
        "A worker is killed: that step fails with the signal's name; its lock and lease were kernel flocks, so they are free.",
        "small",
    )
    d.text(20, 290, "A worker ends: accelerator memory goes back to the driver with the process.", "small")
    return d.svg()


def plugins() -> str:
    """Loading: each entry point in its own try."""
    d = Drawing("plugins", "Each plugin is loaded in its own try; a broken one becomes a problem and everything else works", 900, 300)
    d.room(10, 10, 200, 280, "entry points fabloom.plugins")
    for index, name in enumerate(("fabloom: methods", "fabloom: pipelines", "fabloom: store", "my-weave", "broken-weave")):
        d.box(26, 44 + 47 * index, 168, 36, name, style="strong" if name.startswith("fabloom") else "box")
    d.arrow((210, 120), (299, 120)).box(300, 80, 190, 80, "one at a time", "import, hooks checked,", "methods, kinds, pipelines")
    d.arrow((490, 105), (609, 70), label="fine").arrow((490, 140), (609, 215), label="raised, misspelt, taken name …", at=(640, 160))
    d.box(610, 40, 270, 60, "registry", "methods, kinds, pipelines, observers", style="strong")
    d.box(610, 190, 270, 76, "PluginProblem", "distribution, version, cause, fix", "shown by plugins and doctor")
    d.text(240, 240, "Only a pipeline that names something of a", "small").text(240, 258, "broken plugin fails, with exit code 3.", "small")
    return d.svg()


def layers() -> str:
    """Which folder may import which."""
    d = Drawing(
        "layers", "Imports point one way: storage imports core, plugins and flows import both, the command line is on top", 900, 240
    )
    d.box(300, 10, 300, 44, "command line", style="strong")
    d.box(110, 80, 300, 50, "plugins", "methods, shared blocks; never Prefect").box(
        490, 80, 300, 50, "flows", "Prefect, report, deployments"
    )
    d.box(220, 150, 460, 36, "storage: zarr store, commit, refs").box(
        220, 196, 460, 36, "core: contract, plan, engine; imports only itself", style="strong"
    )
    d.arrow((380, 54), (280, 79)).arrow((520, 54), (620, 79)).arrow((260, 130), (320, 149)).arrow((640, 130), (580, 149)).arrow(
        (450, 186), (450, 195)
    )
    return d.svg()


DRAWINGS = {draw.__name__: draw for draw in (weave, way, keys, commit, resume, processes, plugins, layers)}
"""Name of the file to the function that draws it."""
