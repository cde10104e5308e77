"""A YAML text into a tree that knows where every key and value stands.

1. Plain words stay text: only `null`, `~`, nothing, `true`, `false` and numbers as JSON writes them are anything else,
   so `on`, `012` and `22:30` mean what they look like.
2. A key written twice is a fault: of two values one would be lost without a word.
3. Aliases are allowed; what they unfold to is counted, so a small file cannot become a huge one.
4. No text of the file is repeated in a fault, keys and anchors apart.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from proxy.config.fault import Fault, Loc, Wrong, dotted
from proxy.config.interpolate import shield, shielded, unshield

_MAX_NODES = 200_000
"""About five thousand assistants."""
_MAX_DEPTH = 40
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)
_WORDS: dict[str, bool | None] = {"": None, "null": None, "~": None, "true": True, "false": False}
_NOT_TEXT = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U000effff\U00100000-\U0010ffff]"
)
"""What YAML does not allow, a byte order mark within the text, and the private characters that `shield` uses."""
_STR = "tag:yaml.org,2002:str"


@dataclass(slots=True)
class Node:
    """A value, where it stands (from 1), and what it holds."""

    line: int
    column: int
    content: Any
    """A scalar; or a dict or a list of nodes."""
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Where the keys of a mapping stand."""
    broken: bool = False
    """A fault was noted here; there is no value."""
    weight: int = 1
    """Nodes that it unfolds to."""


def plain(node: Node, without: Collection[Loc] = (), loc: Loc = ()) -> Any:
    """The tree as ordinary values, leaving out what is broken or named in `without`."""
    if isinstance(node.content, dict | list):
        held = {key: plain(child, without, (*loc, key)) for key, child in _present(node, without, loc)}
        return held if isinstance(node.content, dict) else list(held.values())
    return node.content


def locate(node: Node, found: Loc, without: Collection[Loc] = ()) -> Loc:
    """A location in what `plain` gave, as a location in the tree: list positions move where something was left out.

    The validator's own steps, which the file does not have, are written in brackets.
    """
    loc: Loc = ()
    for segment in found:
        inner = child(node, segment)
        if isinstance(segment, int) and isinstance(node.content, list):
            segment, inner = list(_present(node, without, loc))[segment]
        elif inner is None and re.fullmatch(r"\[.*\]", str(segment)):
            continue
        loc = (*loc, segment)
        node = inner or Node(node.line, node.column, None)
    return loc


def child(node: Node, segment: str | int) -> Node | None:
    """What stands under a key or at a list position."""
    match node.content:
        case dict() as held:
            return held.get(segment)
        case list() as items if isinstance(segment, int) and segment < len(items):
            found: Node = items[segment]
            return found
    return None


def position(root: Node, loc: Loc, *, of_key: bool = False) -> tuple[int, int]:
    """Line and column of a value, or of its key; of the nearest thing around it that exists."""
    node = root
    for place, segment in enumerate(loc):
        if of_key and place == len(loc) - 1 and isinstance(segment, str) and segment in node.keys:
            return node.keys[segment]
        inner = child(node, segment)
        if inner is None:
            break
        node = inner
    return node.line, node.column


def broken(node: Node, loc: Loc = ()) -> Iterator[Loc]:
    """Where there is no value because of a fault."""
    if node.broken:
        yield loc
    for segment, each in _held(node):
        yield from broken(each, (*loc, segment))


def planted(value: Any, line: int, column: int) -> Node:
    """Ordinary values as a tree, all of which stands at one place."""
    match value:
        case dict():
            held = {key: planted(each, line, column) for key, each in value.items()}
            return Node(line, column, held, dict.fromkeys(held, (line, column)))
        case list():
            return Node(line, column, [planted(each, line, column) for each in value])
        case _:
            return Node(line, column, value)


def cut(root: Node, loc: Loc) -> tuple[Node, tuple[int, int]]:
    """Take a mapping's value out, and the mappings that held nothing else; the value, and where its key stood."""
    parents = [root]
    for segment in loc[:-1]:
        inner = child(parents[-1], segment)
        if inner is None:
            raise LookupError
        parents.append(inner)
    name = str(loc[-1])
    node, key = parents[-1].content.pop(name), parents[-1].keys.pop(name)
    for depth in range(len(loc) - 2, -1, -1):
        segment = loc[depth]
        if parents[depth + 1].content or not isinstance(segment, str):
            break
        del parents[depth].content[segment], parents[depth].keys[segment]
    return node, key


def graft(root: Node, loc: Loc, node: Node, key: tuple[int, int] | None = None) -> None:
    """Put a value where there is none; mappings on the way are made. `key`: where its key is said to stand."""
    key = key or (node.line, node.column)
    for segment in loc[:-1]:
        inner = child(root, segment)
        if inner is None:
            inner = Node(node.line, node.column, {})
            root.content[segment], root.keys[str(segment)] = inner, key
        root = inner
    root.content[loc[-1]], root.keys[str(loc[-1])] = node, key


def _present(node: Node, without: Collection[Loc], loc: Loc) -> Iterator[tuple[str | int, Node]]:
    return ((key, each) for key, each in _held(node) if not each.broken and (*loc, key) not in without)


def _held(node: Node) -> Iterable[tuple[str | int, Node]]:
    match node.content:
        case dict() as held:
            return held.items()
        case list() as items:
            return enumerate(items)
        case _:
            return ()


def compose(text: str, file: str, substitute: Callable[[str], str]) -> tuple[Node | None, list[Fault]]:
    """The tree of a text and the faults on the way; no tree when it cannot be read, or holds nothing.

    `substitute` is applied to every text value that is not a key; a Wrong of its own becomes a fault.
    """
    if match := _NOT_TEXT.search(text):
        line = text.count("\n", 0, match.start()) + 1
        column = match.start() - text.rfind("\n", 0, match.start())
        problem = f"the character U+{ord(match.group()):04X} may not stand in a configuration"
        return None, [Fault(file, line, column, "", problem, "remove it")]
    composer = _Composer(shield(text), file, substitute)
    try:
        return composer.document(), composer.faults
    except _Unreadable as error:
        return None, [*composer.faults, error.fault]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        problem = f"this is not YAML: {getattr(error, 'problem', None) or 'it cannot be parsed'}"
        remedy = "check the indentation, the brackets and the quotes around here"
        return None, [*composer.faults, Fault(file, line, column, "", problem, remedy)]


class _Unreadable(Exception):
    """Nothing further can be read."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.problem)
        self.fault = fault


class _Composer:
    def __init__(self, text: str, file: str, substitute: Callable[[str], str]) -> None:
        self.faults: list[Fault] = []
        self._events = iter(yaml.parse(text, Loader=yaml.CSafeLoader))
        self._file, self._substitute = file, substitute
        self._anchors: dict[str, Node | None] = {}
        self._nodes = 0

    def document(self) -> Node | None:
        root = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise self._unreadable(event, (), "a second document begins here", "remove the `---`")
                root = self._node(next(self._events), ())
        return root

    def _node(self, event: Any, loc: Loc) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._aliased(event, loc)
        node = Node(*_start(event), None)
        self._count(event, loc, 1)
        if event.anchor:
            self._anchors[event.anchor] = None  # until it is whole: it must not hold itself
        if event.tag not in (None, _STR):
            self._fault(node, loc, "tags are not read", "remove the tag, the word that begins with !")
        if isinstance(event, yaml.MappingStartEvent):
            node.content = {}
            self._mapping(node, loc)
        elif isinstance(event, yaml.SequenceStartEvent):
            node.content = []
            self._sequence(node, loc)
        else:
            self._scalar(node, event, loc)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _mapping(self, node: Node, loc: Loc) -> None:
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            place = Node(*_start(event), None)
            if not isinstance(event, yaml.ScalarEvent):
                raise self._unreadable(event, loc, "a key must be plain text", "write it like `key: value`")
            key = unshield(event.value)
            value = self._node(next(self._events), (*loc, key))
            node.weight += value.weight
            if key in node.keys:
                first = node.keys[key][0]
                self._fault(place, (*loc, key), f"the key is written twice, first in line {first}", "keep one of them")
                continue
            node.content[key], node.keys[key] = value, (place.line, place.column)

    def _sequence(self, node: Node, loc: Loc) -> None:
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            item = self._node(event, (*loc, len(node.content)))
            node.weight += item.weight
            node.content.append(item)

    def _scalar(self, node: Node, event: yaml.ScalarEvent, loc: Loc) -> None:
        text: str = event.value
        if event.implicit[0] and not shielded(text):
            if text in _WORDS:
                node.content = _WORDS[text]
                return
            if _NUMBER.fullmatch(text):
                node.content = number = _number(text)
                if number is None:
                    self._fault(
                        node, loc, "the number is too large", "write one that fits in 64 bits, or put it in quotes"
                    )
                    node.broken = True
                return
        try:
            node.content = self._substitute(unshield(text))
        except Wrong as wrong:
            self._fault(node, loc, wrong.problem, wrong.remedy)
            node.broken = True

    def _aliased(self, event: Any, loc: Loc) -> Node:
        target = self._anchors.get(event.anchor)
        if target is None:
            holds_itself = event.anchor in self._anchors
            problem = "an alias stands within what it names" if holds_itself else "an alias that no anchor goes before"
            raise self._unreadable(event, loc, problem, "put the value in quotes if it is text that begins with *")
        self._count(event, loc, target.weight)
        line, column = _start(event)
        return replace(target, line=line, column=column)

    def _count(self, event: Any, loc: Loc, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > _MAX_NODES:
            raise self._unreadable(event, loc, f"more than {_MAX_NODES} values", "use fewer aliases, or fewer values")
        if len(loc) > _MAX_DEPTH:
            raise self._unreadable(event, loc[:3], f"nested deeper than {_MAX_DEPTH} levels", "nest it less")

    def _fault(self, node: Node, loc: Loc, problem: str, remedy: str) -> None:
        self.faults.append(Fault(self._file, node.line, node.column, dotted(loc), problem, remedy))

    def _unreadable(self, event: Any, loc: Loc, problem: str, remedy: str) -> _Unreadable:
        return _Unreadable(Fault(self._file, *_start(event), dotted(loc), problem, remedy))


def _start(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _number(text: str) -> int | float | None:
    """None for one that JSON's readers would not agree on."""
    if len(text) > 400:
        return None
    if text.lstrip("-").isdigit():
        value = int(text)
        return value if -(2**63) <= value < 2**64 else None
    real = float(text)
    return real if math.isfinite(real) else None
