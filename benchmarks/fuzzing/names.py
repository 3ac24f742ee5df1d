"""Names of exports, arrays and image files."""

from __future__ import annotations

import functools
import itertools
import os
import random
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from fuzzing.lines import TEXTS
from fuzzing.manifests import ODD_NAMES
from fuzzing.world import Case, World, emptied, made_at

FILES: list[str | bytes] = [
    "é.png", "e\u0301.png", "é.tif", "a\nb.png", "a\x1b[31m.png", "a" * 251 + ".png", b"caf\xe9.png", b"\xff\xfe.png", "-rf.png",
    "--.png", ".png", "..png", ".hidden.png", "a.PNG",
    "A.png", "a.png", "a.png.png", " .png", "a b.png", "*.png", "[a].png", "?.png", "a'\".png", "con.png", "a:b.png", "a\\b.png", "漢.png",
    "\u202e.png", "a.npy", "a.txt", "Thumbs.db",
    "\u212b.png", "\u00c5.png", "ﬁ.png", "fi.png", "ß.png", "ss.png" + ".jpg", "clean.png", "masks.png", "1.png", "01.png",
]  # fmt: skip


def targets() -> list[str | bytes]:
    """Where an export may be asked to go."""
    return [
        "out", "é", "e\u0301", b"caf\xe9", b"\xff", b"sub\xff/caf\xe9", "a" * 240, "a" * 255, "a" * 256, "a" * 5000, "a/" * 2100 + "b",
        "new/deep/er", "new/" + "a" * 256, "a\nb", "\x1b[31m",
        "..", ".", "../out", "../here/out", "new/../out", "out/", "out/.", "/", "//", "", "file", "file/x", "folder", "folder/new",
        "empty", "link", "link/new", "loop", "loop/x", "dangling",
        "dangling/x", "con", "a:b", "a\\b", "trailing. ", "-rf", "--", "~", "~/x", "/dev/null", "/dev/null/x", "/proc/x",
        "/proc/self/fd/x", "/sys/x", "s", "s/objects", "out.partial", ".out", "...",
    ]  # fmt: skip


def special(world: World) -> Iterator[Case]:
    for target, step in itertools.product(targets(), ("images", "report")):
        words = ("export", world.keys[step], "--store", "s", "--", target)
        yield Case("name", f"export to {target[:24]!a}", words)
        if step == "images":
            yield Case(
                "name",
                f"export to {target[:24]!a}",
                ("export", world.keys[step], "--json", "--format", "zarr", "--store", "s", "--", target),
            )
    for name in [*ODD_NAMES, *TEXTS]:
        if "\0" not in os.fsdecode(name):
            yield Case("name", f"ref {name[:24]!a}", ("ref", "set", "--store", "s", "--why", name, "--", name, world.keys["images"]))
            yield Case(
                "name",
                f"why {name[:24]!a}",
                ("ref", "hold", "fuzz/champion", world.keys["images"], "--store", "s", "--why=" + os.fsdecode(name)),
            )
            yield Case("name", f"new plugin {name[:24]!a}", ("new", "plugin", "--", name), heavy=True)
    for name in ODD_NAMES:
        yield Case("name", f"array {name[:24]!a}", (), call=functools.partial(array_named, name), heavy=False)
    pairs = [
        (["é.png"], ["e\u0301.png"]),
        (["e\u0301.png", "b.png"], ["é.png", "b.png"]),
        (["é.png", "e\u0301.png"], ["é.png"]),
        (["é.png"], ["é.png", "e\u0301.png"]),
    ]
    for images, masks in pairs:
        yield loading(f"images {images} masks {masks}", images, masks)


def drawn(chance: random.Random) -> Iterator[Case]:
    while True:
        files = chance.sample(FILES, chance.randint(1, 4))
        masks = chance.choice([[], files, chance.sample(FILES, chance.randint(1, 3))])
        pattern = chance.choice(["*", "[a", "é*", "e\u0301*", "?.png"])
        patterns = chance.choice([[], [f"--set=steps.images.params.clean=['{pattern}']"]])
        yield loading(f"images {files[:2]!a} masks {masks[:2]!a}", files, masks, *patterns)


def loading(name: str, files: Iterable[str | bytes], masks: Iterable[str | bytes], *more: str) -> Case:
    """`fabloom plan` of a folder of images with odd names."""
    files, masks = list(files), list(masks)

    def prepare(here: Path) -> None:
        pictures = emptied(here / "pictures")
        for file in files:
            made_at(pictures, file, b"x")
        for mask in masks:
            (pictures / "masks").mkdir(exist_ok=True)
            made_at(pictures / "masks", mask, b"x")
        (here / "load.yaml").write_text("name: load\nsteps:\n  images: {task: images.load, params: {path: pictures}}\n")

    return Case("name", name, ("plan", "load.yaml", "--store", "s", *more), prepare)


def array_named(name: str) -> int:
    """An array of an odd name in an artifact that is being written: written where it belongs, or refused."""
    import numpy as np

    from fabloom.storage.backends.local import LocalStore

    store = LocalStore("s")
    with store.lock("b" * 40, print, lambda: False):
        try:
            store.stage("b" * 40).put(name, np.ones(3, np.float32))
        except ValueError as error:
            print(f"fabloom: {error!a}", file=sys.stderr)
            return 2
    return 0
