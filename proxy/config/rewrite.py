"""A migration's changes made in the text of the file: what they do not touch stays as it is, comments included.

1. Every character outside the changed keys and values is kept, so that a diff shows the migration and nothing else.
2. What comes out was read back and found to hold exactly the migrated data. Otherwise it is not given away at all:
   anchors and unusual forms are for a person to change.
3. References stay references; no value of the environment gets into the text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import yaml

from proxy.config import yaml_map
from proxy.config.fault import Loc
from proxy.config.interpolate import shield, unshield
from proxy.config.migrations import Change, doomed
from proxy.config.yaml_text import flow, text


class CannotRewrite(Exception):
    """The changes have to be made by hand."""


def rewrite(before: str, changes: Iterable[Change], data: dict[str, Any]) -> str:
    """The text with the changes made, holding this data with its `version`; raises CannotRewrite."""
    try:
        page = _Page(before)
        for change in changes:
            page.change(change)
        page.replace(("version",), flow(data["version"]))
        after = page.text
        root, faults = yaml_map.compose(after, "", lambda value: value)
    except (yaml.YAMLError, LookupError) as error:
        raise CannotRewrite from error
    if faults or root is None or yaml_map.plain(root) != data:
        raise CannotRewrite
    return after


@dataclass(frozen=True, slots=True)
class _Form:
    """How a moved value was written, as far as it is kept."""

    block: list[str] | None = None
    """Its lines, if it has lines of its own, without their indentation."""
    above: list[str] = field(default_factory=list)
    """The comments above it."""
    behind: str = ""
    """The comment behind it, with the space before."""


class _Page:
    """A text, changed in one place at a time and parsed again."""

    def __init__(self, before: str) -> None:
        self.text = before
        self._newline = "\r\n" if "\r\n" in before else "\n"
        self._parse()

    def change(self, change: Change) -> None:
        match change.kind:
            case "filled":
                self._insert(change.to, change.value)
            case "superseded" | "unread":
                self._remove(change.loc)
            case "moved" if change.loc[:-1] == change.to[:-1]:
                self._rename(change)
            case "moved":
                block = None if change.rewritten else self._block(change.loc)
                above, behind = self._take_comments(change.loc)
                self._remove(change.loc)
                self._insert(change.to, change.value, _Form(block, above, behind if block is None else ""))

    def replace(self, loc: Loc, value: str) -> None:
        """Write another value in the place of one."""
        _, node = self._entry(loc)
        self._splice(node.start_mark.index, _end(node), value)

    def _rename(self, change: Change) -> None:
        key, node = self._entry(change.loc)
        renamed = text(str(change.to[-1]))
        if change.rewritten:
            self._splice(key.start_mark.index, _end(node), f"{renamed}: {flow(change.value)}")
        else:
            self._splice(key.start_mark.index, key.end_mark.index, renamed)

    def _remove(self, loc: Loc) -> None:
        loc = doomed(self._data, loc)
        key, node = self._entry(loc)
        parent = self._node(loc[:-1])
        start, end = key.start_mark.index, _end(node)
        if parent.flow_style:
            place = next(place for place, (each, _) in enumerate(parent.value) if each is key)
            if place + 1 < len(parent.value):
                end = parent.value[place + 1][0].start_mark.index
            elif place:
                start = _end(parent.value[place - 1][1])
        else:
            start = self._line(start)
            if self.text[start : key.start_mark.index].strip():
                raise CannotRewrite
            end = self._after(end)
        self._splice(start, end, "")

    def _insert(self, loc: Loc, value: Any, form: _Form | None = None) -> None:
        depth = len(loc) - 1
        while depth and not self._has(loc[:depth]):
            depth -= 1
        parent, names = self._node(loc[:depth]), loc[depth:]
        if not isinstance(parent, yaml.MappingNode):
            raise CannotRewrite
        if parent.flow_style:
            for name in reversed(names[1:]):
                value = {name: value}
            entry = f"{text(str(names[0]))}: {flow(value)}"
            if parent.value:
                end = _end(parent.value[-1][1])
                self._splice(end, end, f", {entry}")
            else:
                end = parent.start_mark.index + 1
                self._splice(end, end, entry)
            return
        self._append(parent, [str(name) for name in names], value, form or _Form())

    def _append(self, parent: yaml.MappingNode, names: list[str], value: Any, form: _Form) -> None:
        """A new last entry of a block mapping."""
        column = parent.value[0][0].start_mark.column
        lines = [" " * (column + 2 * depth) + f"{text(name)}:" for depth, name in enumerate(names)]
        lines[-1:-1] = [" " * (column + 2 * len(names) - 2) + line for line in form.above]
        if form.block is None:
            lines[-1] += f" {flow(value)}{form.behind}"
        else:
            lines += [" " * (column + 2 * len(names)) + line if line.strip() else "" for line in form.block]
        end = self._after(_end(parent.value[-1][1]))
        opening = "" if self.text[:end].endswith("\n") else self._newline
        self._splice(end, end, opening + "".join(line + self._newline for line in lines))

    def _block(self, loc: Loc) -> list[str] | None:
        """The lines of a value that stands in lines of its own, without their indentation; None for any other."""
        _, node = self._entry(loc)
        if not isinstance(node, yaml.CollectionNode) or node.flow_style:
            return None
        lines = self.text[self._line(node.start_mark.index) : self._after(_end(node))].splitlines()
        column = node.start_mark.column
        if any(line[:column].strip() for line in lines):
            return None
        return [line[column:] for line in lines]

    def _take_comments(self, loc: Loc) -> tuple[list[str], str]:
        """The comments of an entry that is to move: the lines right above it, which go, and what stands behind it."""
        key, node = self._entry(loc)
        start = top = self._line(key.start_mark.index)
        if self.text[start : key.start_mark.index].strip():
            return [], ""
        end = _end(node)
        rest = self.text[end : self._after(end)].strip()
        while top and self.text[self._line(top - 1) : top].lstrip().startswith("#"):
            top = self._line(top - 1)
        above = [line.strip() for line in self.text[top:start].splitlines()]
        self._splice(top, start, "")
        return above, f"  {rest}" if rest.startswith("#") else ""

    def _entry(self, loc: Loc) -> tuple[yaml.Node, yaml.Node]:
        for key, node in self._node(loc[:-1]).value:
            if unshield(key.value) == loc[-1]:
                if node.start_mark.index < key.end_mark.index:
                    raise CannotRewrite  # an alias: what it names stands elsewhere
                return key, node
        raise CannotRewrite

    def _node(self, loc: Loc) -> yaml.CollectionNode:
        node: Any = self._root
        for depth, segment in enumerate(loc):
            node = node.value[segment] if isinstance(segment, int) else self._entry(loc[: depth + 1])[1]
        if not isinstance(node, yaml.CollectionNode):
            raise CannotRewrite
        return node

    def _has(self, loc: Loc) -> bool:
        try:
            return isinstance(self._node(loc), yaml.CollectionNode)
        except CannotRewrite:
            return False

    def _line(self, index: int) -> int:
        """Where the line begins."""
        return self.text.rfind("\n", 0, index) + 1

    def _after(self, index: int) -> int:
        """Where the next line begins; what was already a line's beginning stays."""
        if index and self.text[index - 1] == "\n":
            return index
        end = self.text.find("\n", index)
        return len(self.text) if end < 0 else end + 1

    def _splice(self, start: int, end: int, new: str) -> None:
        self.text = self.text[:start] + new + self.text[end:]
        self._parse()

    def _parse(self) -> None:
        root = yaml.compose(shield(self.text), Loader=yaml.SafeLoader)
        if not isinstance(root, yaml.MappingNode):
            raise CannotRewrite
        self._root = root
        tree, _ = yaml_map.compose(self.text, "", lambda value: value)
        self._data = yaml_map.plain(tree) if tree is not None else {}


def _end(node: yaml.Node) -> int:
    """Where a value really ends; a block's own mark stands before the next thing."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last: Any = node.value[-1]
        node = last[1] if isinstance(node, yaml.MappingNode) else last
    end: int = node.end_mark.index
    return end
