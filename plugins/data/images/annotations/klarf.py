"""KLARF 1.1, 1.2 and 1.8: the defect list that inspection and review stations write, read within bounds.

1.2 is a row of statements that end with `;`, 1.8 nests `Record`, `Field` and `List` in braces. Both hold a table of defects with an image
list in each row, class names, and the files of the images; files may be named once, between defects, or in the image list.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fabloom.errors import DataError
from fabloom.plugins.data.images.documents import DEEPEST, read_bounded

TOKEN = re.compile(r'"[^"]*"|[{};,]|[^\s{};,"]+')
FILES = {"tifffilename", "filename", "imagefilename"}
"""Words before the name of a file of images, in lower case."""
HEAD = re.compile(rb'\s*(?:FileVersion\s+1\s+[12]\s*;|Record\s+FileRecord\s+"1\.8")', re.IGNORECASE)


class _First(str):
    """The first part of a line."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """An image of a defect: the file, where one is named, the number of the image in it, from 1, and its type."""

    file: str | None
    number: int | None
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Defect:
    """A row of the defect list: text by column in capitals, and its images."""

    values: dict[str, str]
    pictures: tuple[Picture, ...]


@dataclass
class Klarf:
    """What a file says: version ('1.2' or '1.8'), defects in their order, class names by number."""

    version: str
    defects: list[Defect] = field(default_factory=list)
    classes: dict[int, str] = field(default_factory=dict)


def is_klarf(head: bytes) -> bool:
    """Whether a file that begins so is a KLARF."""
    return HEAD.match(head.removeprefix(b"\xef\xbb\xbf")) is not None


def read_klarf(path: Path) -> Klarf:
    """Read a file of either dialect. Raises DataError for what is none, or does not hold together."""
    content = read_bounded(path)
    if not is_klarf(content[:200]):
        raise DataError(f"{path}: is no KLARF of version 1.1, 1.2 or 1.8")
    lines = [TOKEN.findall(line) for line in content.decode("utf-8-sig", "replace").splitlines()]
    parts = [_First(part) if place == 0 else part for line in lines for place, part in enumerate(line)]
    if "EndOfFile" not in parts[-2:]:
        raise DataError(f"{path}: is a KLARF that does not end with EndOfFile; was it cut off? Copy it anew")
    try:
        return _Records(parts).read() if parts[0].casefold() == "record" else _statements(parts)
    except (ValueError, IndexError, StopIteration, RuntimeError) as error:
        raise DataError(f"{path}: is a KLARF that does not hold together ({error}); write it anew or remove it") from None


def plain(part: str) -> str:
    """A part without its quotes."""
    return part[1:-1] if part.startswith('"') else part


def _statements(parts: list[str]) -> Klarf:
    """Version 1.1 and 1.2. A statement that begins with a number goes on with the list before it: some write `;` behind each row."""
    klarf, columns, file, current = Klarf("1.2"), [], None, ""
    for statement in _split(parts):
        head = statement[0].casefold()
        numeric = _is_number(statement[0])
        body = statement if numeric else statement[1:]
        current = current if numeric else head
        if head in FILES and body:
            file, current = plain(body[0]), "defectlist"
        elif head == "defectrecordspec":
            columns = [plain(part).upper() for part in body[1:]]
        elif current == "defectlist" and body:
            file = _rows(klarf, columns, body, file)
        elif current == "classlookup":
            _lookup(klarf, body if numeric else body[1:])
    return klarf


def _split(parts: list[str]) -> Iterator[list[str]]:
    statement: list[str] = []
    for part in parts:
        if part == ";":
            if statement:
                yield statement
            statement = []
        else:
            statement.append(part)
    if statement:
        yield statement


def _rows(klarf: Klarf, columns: list[str], parts: list[str], file: str | None) -> str | None:
    """The defects of a statement: each begins a line, unless all stand in one, and IMAGECOUNT says how long its image list is."""
    if not columns:
        raise ValueError("a DefectList before any DefectRecordSpec")
    place = 0
    listed = columns[-1] == "IMAGELIST"
    fixed = columns[:-1] if listed else columns
    lines = [part for part in parts if isinstance(part, _First)]
    while place < len(parts):
        if parts[place].casefold() in FILES:
            file, place = plain(parts[place + 1]), place + 2
            continue
        values = dict(zip(fixed, map(plain, parts[place : place + len(fixed)]), strict=False))
        if len(values) < len(fixed) or not _is_number(parts[place]):
            raise ValueError(f"a defect of {len(values)} values where DefectRecordSpec names {len(fixed)}, at '{parts[place][:40]}'")
        place += len(fixed)
        count = int(float(values.get("IMAGECOUNT", "0"))) if listed else 0
        width = 1 if _ends(parts, place + count) and not _ends(parts, place + 2 * count) else 2  # some write no type beside a number
        numbers = parts[place : place + width * count]
        if len(numbers) < width * count or count < 0:
            raise ValueError(f"defect {values.get('DEFECTID')} has fewer than its {count} images listed")
        place += width * count
        if listed and count == 0 and parts[place : place + 1] == ["N"]:
            place += 1
        if len(lines) > 1 and not _ends(parts, place):
            raise ValueError(f"defect {values.get('DEFECTID')} is longer than DefectRecordSpec says, at '{parts[place][:40]}'")
        kinds = numbers[1::2] if width == 2 else [""] * count
        pictures = [Picture(file, int(float(plain(n))), plain(kind)) for n, kind in zip(numbers[::width], kinds, strict=True)]
        if not pictures and not listed and file is not None:
            pictures = [Picture(file, None)]
        klarf.defects.append(Defect(values, tuple(pictures)))
    return file


def _ends(parts: list[str], place: int) -> bool:
    """Whether a line begins there, or nothing is left."""
    return place == len(parts) or (place < len(parts) and isinstance(parts[place], _First))


def _lookup(klarf: Klarf, parts: list[str]) -> None:
    for number, name in itertools.pairwise(parts):
        if _is_number(number) and not number.startswith('"') and not _is_number(name):
            klarf.classes.setdefault(int(float(number)), plain(name))


def _is_number(part: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", part) is not None


class _Records:
    """Version 1.8, by one walk over its parts."""

    def __init__(self, parts: list[str]) -> None:
        self.parts = parts
        self.place = 0
        self.klarf = Klarf("1.8")

    def read(self) -> Klarf:
        while self.place < len(self.parts) and self.parts[self.place] != "EndOfFile":
            self.entry(None, 0)
        return self.klarf

    def next(self) -> str:
        part = self.parts[self.place]
        self.place += 1
        return part

    def upto(self, wanted: str) -> list[str]:
        """The parts before the next `wanted`, and past it."""
        end = self.parts.index(wanted, self.place)
        found, self.place = self.parts[self.place : end], end + 1
        return found

    def entry(self, file: str | None, depth: int) -> str | None:
        """One Record, Field or List. Gives the file of images that holds from here on."""
        if depth > DEEPEST:
            raise ValueError(f"records deeper than {DEEPEST}")
        word = self.next().casefold()
        if word == ";":
            return file
        head = self.upto("{")
        if word == "record":
            inner = file
            while self.parts[self.place] != "}":
                inner = self.entry(inner, depth + 1)
            self.place += 1
            return file
        if word == "field":
            values = [plain(part) for part in self.upto("}") if part != ","]
            return values[0] if head and head[0].casefold() in FILES and values else file
        if word != "list":
            raise ValueError(f"'{word[:40]}' where a Record, Field or List was expected")
        self.table(head[0].casefold(), file)
        return file

    def table(self, name: str, file: str | None) -> None:
        """A list: its columns and its rows."""
        columns: list[str] = []
        while self.parts[self.place] != "}":
            word = self.next().casefold()
            self.upto("{")
            if word == "columns":
                columns = [part.upper() for part in self._last_words()]
            elif word == "data":
                for row in self.rows():
                    self.row(name, columns, row, file)
            else:
                raise ValueError(f"'{word[:40]}' in a list, which has Columns and Data")
        self.place += 1

    def _last_words(self) -> list[str]:
        parts = self.upto("}")
        ends = [index for index, part in enumerate(parts) if part == ","] + [len(parts)]
        return [plain(parts[end - 1]) for end in ends if end]

    def rows(self) -> Iterator[list[str | list[list[str]]]]:
        """Values of each row; a group in braces is a list of its entries."""
        row: list[str | list[list[str]]] = []
        while (part := self.next()) != "}":
            if part == ";":
                if row:
                    yield row
                row = []
            elif part == "{":
                while row and isinstance(row[-1], str) and re.fullmatch(r"\d+|Images", row[-1]):
                    word = row.pop()
                    if word == "Images" or not (row and row[-1] == "Images"):
                        break
                row.append(self.group())
            elif part != ",":
                row.append(part)
        if row:
            yield row

    def group(self) -> list[list[str]]:
        entries: list[list[str]] = [[]]
        depth = 0
        while (part := self.next()) != "}" or depth:
            depth += (part == "{") - (part == "}")
            if part == "," and not depth and self.parts[self.place - 2] != "{":
                entries.append([])
            elif part not in "{},":
                entries[-1].append(part)
        return [entry for entry in entries if entry]

    def row(self, name: str, columns: list[str], row: list[str | list[list[str]]], file: str | None) -> None:
        if name == "defectlist":
            if len(row) != len(columns):
                raise ValueError(f"a defect of {len(row)} values where its Columns name {len(columns)}, at '{str(row[0])[:40]}'")
            values = {key: plain(value) for key, value in zip(columns, row, strict=True) if isinstance(value, str)}
            pictures = [self.picture(entry, file) for value in row if isinstance(value, list) for entry in value]
            self.klarf.defects.append(Defect(values, tuple(pictures)))
        elif name in ("classlookuplist", "classlookup") and {"CLASSNUMBER", "CLASSNAME"} <= set(columns):
            if len(row) != len(columns):
                raise ValueError(f"a class of {len(row)} values where its Columns name {len(columns)}")
            said = dict(zip(columns, row, strict=True))
            self.klarf.classes[int(float(plain(str(said["CLASSNUMBER"]))))] = plain(str(said["CLASSNAME"]))

    @staticmethod
    def picture(entry: list[str], file: str | None) -> Picture:
        """An entry of an image list: (number, type) or (file, format, number, type)."""
        words = [plain(part) for part in entry]
        own = words[0] if entry[0].startswith('"') and "." in words[0] else None
        numbers = [
            int(word) for part, word in zip(entry, words, strict=True) if not part.startswith('"') and re.fullmatch(r"\d{1,9}", word)
        ]
        return Picture(own or file, numbers[0] if numbers else None, words[-1] if len(words) > 1 else "")
