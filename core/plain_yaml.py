"""YAML as plain data: mappings with text for names, lists, text, numbers, true, false, null. YAML 1.2's core schema, and no more than JSON.

A date stays the text that it is, `yes` too, `1e-4` is a number, a tag is refused. Size, depth (aliases unfolded) and what aliases unfold to
are bounded, so that no text costs more than its length: it is read event by event, by libyaml's parser where that is there.
"""

from __future__ import annotations

import copy
import math
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

LARGEST = 16 << 20
"""Characters of a document."""
DEEPEST = 64
MOST = 1_000_000
"""Values in a document, aliases unfolded."""
UNFOLDED = 100_000
"""Values that aliases stand for, in all: they cost no text."""
DIRECTIVES = 16
"""Lines that begin with %: libyaml compares each with all before it."""
NULL = re.compile(r"null|Null|NULL|~|")
BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
NO_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
LONGEST_INT = 24
"""Characters; what is kept as JSON elsewhere fits 64 bits."""
_Parser: Any = yaml.CBaseLoader if yaml.__with_libyaml__ else yaml.BaseLoader
TEXT_TAGS = {None, "!", "tag:yaml.org,2002:str"}


class NotPlain(ValueError):
    """What the text holds that plain data do not, and where."""

    def __init__(self, message: str, mark: Any = None) -> None:
        super().__init__(message if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: {message}")


@dataclass
class _Open:
    """A list or mapping that has begun: in a mapping `name` waits for its value."""

    value: list[Any] | dict[str, Any]
    anchor: str | None
    before: int
    name: str | None = None
    merged: list[Any] = field(default_factory=list)
    depth: int = 1


@dataclass(frozen=True)
class _Anchored:
    """What an alias stands for: how many values, and how deep they lie in one another."""

    value: Any
    size: int = 1
    depth: int = 0


def load(text: str) -> Any:
    """The one document in the text; None where there is none. Raises NotPlain."""
    if len(text) > LARGEST:
        raise NotPlain(f"{len(text)} characters are more than the {LARGEST} of a pipeline")
    if text.count("\n%") + text.startswith("%") > DIRECTIVES:
        raise NotPlain(f"more than {DIRECTIVES} lines begin with %")
    try:
        return _Reading().document(text)
    except UnicodeEncodeError as error:
        raise NotPlain(f"character {error.start + 1} is no text: half of a pair, or a byte that is not UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise NotPlain(" ".join(str(getattr(error, "problem", None) or error).split()), mark) from error


class _Reading:
    """The state while one document is read."""

    def __init__(self) -> None:
        self.open: list[_Open] = []
        self.anchors: dict[str, _Anchored] = {}
        self.count = self.unfolded = 0
        self.documents = 0
        self.result: Any = None

    def document(self, text: str) -> Any:
        for event in yaml.parse(text, Loader=_Parser):
            if isinstance(event, yaml.ScalarEvent):
                self._scalar(event)
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event)
            elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
                self._begin(event)
            elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                self._end(event)
            elif isinstance(event, yaml.DocumentStartEvent):
                self.documents += 1
                if self.documents > 1:
                    raise NotPlain("a second document begins; give one", event.start_mark)
        return self.result

    def _scalar(self, event: Any) -> None:
        if event.tag not in TEXT_TAGS:
            raise NotPlain(f"the tag {event.tag} is not understood: write plain values, text in quotes", event.start_mark)
        top = self.open[-1] if self.open else None
        if top is not None and isinstance(top.value, dict) and top.name is None:
            self._name(top, event)
            return
        plain = event.style in (None, "") and event.tag is None
        self._put(_resolved(event.value, event.start_mark) if plain else event.value, event.anchor, 1, event.start_mark)

    def _name(self, top: _Open, event: Any) -> None:
        assert isinstance(top.value, dict)
        if event.value in top.value:
            raise NotPlain(f"'{event.value}' is given twice", event.start_mark)
        top.name = event.value
        if event.anchor is not None:
            self.anchors[event.anchor] = _Anchored(event.value)

    def _alias(self, event: Any) -> None:
        top = self.open[-1] if self.open else None
        if top is not None and isinstance(top.value, dict) and top.name is None:
            raise NotPlain("an alias cannot be a name", event.start_mark)
        if event.anchor not in self.anchors:
            raise NotPlain(f"*{event.anchor} stands for nothing, or for what it is inside of", event.start_mark)
        found = self.anchors[event.anchor]
        self._counted(found.size, event.start_mark)
        self.unfolded += found.size
        if self.unfolded > UNFOLDED:
            raise NotPlain(f"aliases stand for more than {UNFOLDED} values", event.start_mark)
        if len(self.open) + found.depth > DEEPEST:
            raise NotPlain(f"values lie more than {DEEPEST} deep in one another, aliases unfolded", event.start_mark)
        self._put(copy.deepcopy(found.value), None, 0, event.start_mark, depth=found.depth)

    def _begin(self, event: Any) -> None:
        mapping = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, "!", f"tag:yaml.org,2002:{'map' if mapping else 'seq'}"):
            raise NotPlain(f"the tag {event.tag} is not understood: write plain values", event.start_mark)
        if len(self.open) >= DEEPEST:
            raise NotPlain(f"values lie more than {DEEPEST} deep in one another", event.start_mark)
        top = self.open[-1] if self.open else None
        if top is not None and isinstance(top.value, dict) and top.name is None:
            raise NotPlain("a list or mapping cannot be a name", event.start_mark)
        self._counted(1, event.start_mark)
        self.open.append(_Open({} if mapping else [], event.anchor, self.count - 1))

    def _end(self, event: Any) -> None:
        done = self.open.pop()
        value = done.value
        if isinstance(value, dict):
            for other in done.merged:  # what is written out wins over what is merged in, the first of several over the next
                for name, item in other.items():
                    value.setdefault(name, item)
        self._put(value, done.anchor, 0, event.start_mark, self.count - done.before, done.depth)

    def _put(self, value: Any, anchor: str | None, count: int, mark: Any, size: int = 1, depth: int = 0) -> None:
        """Hand a value to what it is in; a list or mapping was counted when it began."""
        self._counted(count, mark)
        if anchor is not None:
            self.anchors[anchor] = _Anchored(value, size, depth)
        if not self.open:
            self.result = value
            return
        top = self.open[-1]
        merged = isinstance(top.value, dict) and top.name == "<<"  # what is in it comes into the mapping itself
        top.depth = max(top.depth, depth - isinstance(value, list) if merged else depth + 1)
        if isinstance(top.value, list):
            top.value.append(value)
            return
        name, top.name = top.name, None
        assert name is not None, "a name comes before its value"
        if merged:
            top.merged += _mappings(value, mark)
        else:
            top.value[name] = value

    def _counted(self, more: int, mark: Any) -> None:
        self.count += more
        if self.count > MOST:
            raise NotPlain(f"more than {MOST} values, aliases unfolded", mark)


def _mappings(value: Any, mark: Any) -> list[dict[str, Any]]:
    """What `<<` may name: a mapping or several."""
    several = value if isinstance(value, list) else [value]
    if not all(isinstance(one, dict) for one in several):
        raise NotPlain("'<<' takes a mapping, or a list of them", mark)
    return several


def _resolved(text: str, mark: Any) -> Any:
    """A plain scalar by the core schema."""
    if NULL.fullmatch(text):
        return None
    if BOOL.fullmatch(text):
        return text[0] in "tT"
    if INT.fullmatch(text):
        value = int(text, 0 if text[:2] in ("0o", "0x") else 10) if len(text) <= LONGEST_INT else 1 << 64
        if not -(1 << 63) <= value < 1 << 64:
            raise NotPlain(f"{text[:24]}{'…' * (len(text) > 24)} does not fit 64 bits; text goes in quotes", mark)
        return value
    if FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise NotPlain(f"{text[:24]} is too large for a number", mark)
        return number
    if NO_NUMBER.fullmatch(text):
        raise NotPlain(f"{text} is no number that can be stored; text goes in quotes", mark)
    return text
