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
    d.arrow((66, 74), (66, 121)).arrow((122, 149), (800, 149), (800, 175))
    d.arrow((503, 203), (771, 203)).arrow((850, 74), (850, 175))
    d.text(250, 142, "the same U-Net, trained on variations of the real images", "small")
    return d.svg()


def way() -> str:
    """From a pipeline to committed artifacts, through the rooms."""
    d = Drawing(
        "way",
        "A pipeline is planned once; what the store has is reused, the rest crosses to an executor as a request and is committed",
        900,
        420,
    )
    d.box(10, 24, 124, 58, "pipeline", "YAML or Python", "`core/pipeline`")
    d.box(178, 24, 124, 58, "registry", "names to tasks", "`core/registry`")
    d.box(346, 24, 158, 58, "plan", "types, params, every key", "`core/planning`", style="strong")
    d.box(570, 24, 130, 58, "in the store?", "manifest there", "`storage`")
    d.box(766, 24, 124, 58, "reused", "no torch,", "no process")
    d.arrow((134, 53), (177, 53)).arrow((302, 53), (345, 53))
    d.arrow((504, 53), (569, 53), label="each step").arrow((700, 53), (765, 53), label="yes")
    d.arrow((635, 82), (635, 121), label="no", at=(652, 106))
    d.box(552, 122, 166, 58, "StepRequest", "keys frozen, plain JSON", "`core/method/step`", style="strong")
    d.box(300, 122, 176, 58, "executor", "inline or processes", "`core/running/executors`")
    d.arrow((551, 151), (477, 151), label="submit")
    d.arrow((388, 180), (388, 200), (87, 200), (87, 243))
    d.room(10, 214, 880, 196, "")
    d.text(110, 233, "where the step runs: this process, or one of its own, forked from a warm server", "small")
    steps = [
        ("lock", "the key"), ("lease", "the device"), ("task", "ctx, params, inputs"), ("digest", "every file"),
        ("manifest", "written last"), ("rename", "one, atomic"),
    ]  # fmt: skip
    for index, (name, what) in enumerate(steps):
        x = 24 + index * 144
        d.box(x, 244, 126, 54, name, what, style="strong" if name == "rename" else "box")
        if index:
            d.arrow((x - 18, 271), (x - 1, 271))
    d.text(24, 326, "`core/running/execute`").text(312, 326, "`plugins/…/method`")
    d.text(456, 326, "`storage/commit`")
    d.box(300, 348, 150, 48, "`staging/<key>/`").box(716, 348, 166, 48, "`objects/<k2>/<key>/`")
    d.arrow((438, 298), (438, 347)).arrow((870, 298), (870, 347)).arrow(
        (450, 372), (715, 372), label="fsynced, hashed, then moved as a whole"
    )
    return d.svg()


def image() -> str:
    """What becomes of one image with a defect, and in which room."""
    d = Drawing("image", "An image with a defect becomes a model, images, masks, a segmenter and a report; forward only", 900, 316)
    d.text(12, 18, "rooms of plugins/", "small")
    rooms = [
        ("data/images", 100, 160), ("one_shot/sinsemi", 290, 270), ("judge/reference_difference", 590, 140), ("judge/unet", 756, 134),
    ]  # fmt: skip
    for name, x, w in rooms:
        d.room(x, 28, w, 278, name if w > 150 else "")
        d.text(x + 12, 46, "" if w > 150 else name.partition("/")[0] + "/", "small")
        if w <= 150:
            d.text(x + 12, 60, name.partition("/")[2], "small")
    d.box(8, 84, 74, 72, "folder", "your files").box(112, 84, 136, 72, "load", "domain by name", "→ ImageSet")
    d.box(304, 84, 112, 72, "train", "one image", "→ Model")
    d.box(432, 84, 112, 72, "sample", "hundreds", "→ ImageSet", style="strong")
    d.box(602, 84, 116, 72, "label", "masks", "→ ImageSet").box(768, 84, 110, 72, "train", "a U-Net", "→ Model")
    d.arrow((82, 120), (111, 120)).arrow((248, 120), (303, 120))
    d.arrow((416, 120), (431, 120)).arrow((544, 120), (601, 120))
    d.arrow((718, 120), (767, 120))
    d.box(112, 222, 136, 72, "augment", "flips, noise", "→ ImageSet")
    d.box(768, 222, 110, 72, "evaluate", "and a baseline", "→ Report", style="strong")
    d.arrow((180, 156), (180, 221)).arrow((823, 156), (823, 221))
    d.arrow((248, 258), (767, 258), label="test images: variations of the real ones")
    d.arrow((232, 156), (232, 194), (660, 194), (660, 157), label="the image without a defect is the reference", at=(430, 187))
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
    d.text(290, 30, "computed once, in the plan; whoever runs the step is handed it in the StepRequest", "small")
    d.box(320, 60, 130, 50, "canonical JSON", "blake2b")
    d.box(500, 60, 130, 50, "key", "known at planning", style="strong")
    d.arrow((260, 85), (319, 85)).arrow((450, 85), (499, 85))
    d.arrow((565, 110), (565, 140), (690, 140), label="is an input of", at=(630, 133)).box(
        691, 115, 190, 50, "the next step's key", "and so on down the pipeline"
    )
    d.room(290, 185, 600, 105, "what came out").box(310, 215, 150, 54, "`data.zarr/`", "path, size, hash")
    d.box(520, 215, 120, 54, "digest", "known at commit", style="strong").arrow((460, 242), (519, 242), label="blake2b")
    d.text(665, 236, "equal keys give equal digests on one", "small")
    d.text(665, 254, "platform, device kind, thread count", "small")
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
    d.line(668, 100, 668, 250, "room").text(20, 130, "killed here: no artifact", "title")
    d.text(690, 130, "killed here: all of it", "title")
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
    d.line(510, 24, 534, 50, "line bad").line(534, 24, 510, 50, "line bad")
    d.text(545, 42, "killed at step 1430", "small")
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


def executors() -> str:
    """One contract for where steps run."""
    d = Drawing(
        "executors",
        "The engine submits a step as a request to an executor; the artifact reaches the store before the result comes back",
        900,
        240,
    )
    d.box(20, 80, 190, 74, "engine", "reuse or submit, in order", "observers, display")
    d.box(690, 80, 190, 74, "store", "artifacts, by key", "the only place for data")
    d.room(330, 10, 240, 214, "Executor: submit, stop, close")
    d.box(350, 44, 200, 50, "InlineExecutor", "this process", style="strong")
    d.box(350, 108, 200, 50, "ProcessExecutor", "a process a step", style="strong")
    d.box(350, 172, 200, 40, "another of yours")
    d.arrow((210, 104), (329, 104), label="StepRequest")
    d.arrow((330, 134), (211, 134), label="StepResult", at=(270, 150))
    d.arrow((570, 104), (689, 104), label="commits").arrow((690, 134), (571, 134), label="inputs", at=(630, 150))
    d.text(20, 196, "Plain data crosses: keys, paths, options.", "small")
    d.text(20, 214, "No array and no object of Python's.", "small")
    return d.svg()


def processes() -> str:
    """Who starts whom, and who dies with whom."""
    d = Drawing("processes", "The caller, the warm fork server and the workers, with their sockets", 900, 329)
    d.box(20, 50, 230, 84, "caller", "engine, ProcessExecutor", "plan, display, observers")
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
    d.text(20, 252, "The caller is killed: the server reads end-of-file, ends its workers with what they started, and leaves.", "small")
    d.text(
        20,
        271,
        "A worker is killed: that step fails with the signal's name; its lock and lease were kernel flocks, so they are free.",
        "small",
    )
    d.text(20, 290, "The server is killed: the kernel kills its workers (PR_SET_PDEATHSIG), its guard what they started.", "small")
    d.text(20, 309, "A worker ends: accelerator memory goes back to the driver with the process.", "small")
    return d.svg()


def plugins() -> str:
    """Loading: each entry point in its own try."""
    d = Drawing("plugins", "Each plugin is loaded in its own try; a broken one becomes a problem and everything else works", 900, 300)
    d.room(10, 10, 200, 280, "entry points fabloom.plugins")
    for index, name in enumerate(("fabloom: one a method", "fabloom: pipelines", "fabloom: store", "my-weave", "broken-weave")):
        d.box(26, 44 + 47 * index, 168, 36, name, style="strong" if name.startswith("fabloom") else "box")
    d.arrow((210, 120), (299, 120))
    d.box(300, 80, 190, 80, "one at a time", "import, hooks checked,", "methods, kinds, pipelines")
    d.arrow((490, 105), (609, 70), label="fine")
    d.arrow((490, 140), (609, 215), label="raised, misspelt, taken name …", at=(640, 160))
    d.box(610, 40, 270, 60, "registry", "methods, kinds, pipelines, observers", style="strong")
    d.box(610, 190, 270, 76, "PluginProblem", "distribution, version, cause, fix", "shown by plugins and doctor")
    d.text(240, 240, "Only a pipeline that names something of a", "small")
    d.text(240, 258, "broken plugin fails, with exit code 3.", "small")
    return d.svg()


def layers() -> str:
    """The house: which room stands on which."""
    d = Drawing(
        "layers",
        "Imports point down: flows and plugins stand on storage, storage on core, and each floor of core on those below it",
        900,
        640,
    )
    d.room(10, 10, 432, 168, "flows/").room(458, 10, 432, 168, "plugins/, never Prefect")
    for index, (name, what) in enumerate(
        [
            ("cli", "commands"),
            ("run", "api, result, prefect/"),
            ("report", "page, draw/"),
            ("export", "other formats"),
            ("pipelines", "ready to run"),
            ("scaffold", "new plugin"),
        ]
    ):
        d.box(24 + index % 3 * 138, 40 + index // 3 * 66, 128, 54, name, what, style="strong" if name == "run" else "box")
    for index, (name, what) in enumerate(
        [
            ("data", "images, simulators"),
            ("one_shot", "sinsemi, sinddm, pastes"),
            ("diffusion", "ddpm"),
            ("one_step", "denoising circuits"),
            ("judge", "labels, unet, scores"),
        ]
    ):
        d.box(472 + index % 3 * 138, 36 + index // 3 * 56, 128, 48, name, what)
    d.box(748, 92, 128, 48, "blocks", "shared mathematics", style="strong")
    d.text(472, 164, "each method a room: params, method, networks, training, sampling", "small")
    d.room(10, 206, 880, 100, "storage/")
    for index, (name, what) in enumerate(
        [("backends", "local, locks, base"), ("commit", "staging, manifest, reader"), ("format", "arrays, rows, quantise")]
    ):
        d.box(24 + index * 188, 236, 164, 54, name, what, style="strong" if name == "commit" else "box")
        if index:
            d.arrow((188 + (index - 1) * 188, 263), (211 + (index - 1) * 188, 263))
    d.box(588, 236, 288, 54, "refs, verify, gc", "names for keys; checking; removing")
    d.arrow((226, 178), (226, 205)).arrow((674, 178), (674, 205)).arrow((450, 306), (450, 333))
    d.room(10, 334, 880, 296, "core/, the import name fabloom")
    floors = [
        ("running", "execute, engine, requests, device; executors/: inline, processes"), ("planning", "plan, keys, sources, fingerprint"),
        ("registry, hooks", "what is installed, and what could not be loaded"),
        ("method", "Method, task, Context, loop; StepRequest, StepResult"),
        ("kinds", "Artifact, ImageSet, Model, OfflineData, Report; the contract Store"),
        ("ground floor", "errors, params, pipeline, hashing, progress, network, deprecation"),
    ]  # fmt: skip
    for index, (name, what) in enumerate(floors):
        d.box(24, 362 + index * 44, 690, 38, "", style="strong" if name == "planning" else "box")
        d.text(40, 386 + index * 44, name, "title").text(170, 386 + index * 44, what, "small")
    d.box(730, 362, 146, 258, "testing", "kits for authors", "may use storage too")
    return d.svg()


DRAWINGS = {draw.__name__: draw for draw in (weave, way, image, keys, commit, resume, executors, processes, plugins, layers)}
"""Name of the file to the function that draws it."""
