"""A file of an older version, read as one of this version, with every value still where the file has it.

1. Faults after a migration point to the line that the operator wrote.
2. A version newer than this Homeport's is one fault and the end of reading: what else the file says cannot be judged.
3. A missing version is a fault as well. Nothing tells a file from before versions apart from one whose line was lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from proxy.config import yaml_map
from proxy.config.fault import Fault, dotted
from proxy.config.migrations import Change, Step, first_version, migrate
from proxy.config.words import VERSION, whole_version
from proxy.config.yaml_map import Node


@dataclass(frozen=True, slots=True)
class Brought:
    """A tree in this version's form."""

    root: Node
    """The tree that was given where there was nothing to do."""
    changes: tuple[Change, ...] = ()
    faults: tuple[Fault, ...] = ()


def bring(root: Node, file: str, steps: Sequence[Step]) -> Brought | Fault:
    """Migrate a tree in memory; a Fault for one of a newer version. `file` is what faults call it."""
    node = yaml_map.child(root, "version")
    version = whole_version(node.content) if node is not None and not node.broken else None
    if node is None or version is None:
        return Brought(root)  # whatever is wrong with it, the validator says
    if version > VERSION:
        problem = f"a newer version than this Homeport reads, which is {VERSION}"
        remedy = "serve it with the Homeport that it was written for, or go back to the file kept from before"
        return Fault(file, node.line, node.column, "version", problem, remedy)
    oldest = first_version(steps)
    if version == VERSION or oldest is None or version < oldest:
        return Brought(root)
    migrated = migrate(yaml_map.plain(root), version, steps, set(yaml_map.broken(root)))
    own = _own(root)
    faults = [fault for change in migrated.changes if (fault := _replay(own, change, file))]
    own.content["version"] = replace(node, content=VERSION)
    return Brought(own, migrated.changes, tuple(faults))


def _replay(root: Node, change: Change, file: str) -> Fault | None:
    if change.kind == "filled":
        line, column = yaml_map.position(root, change.to)
        yaml_map.graft(root, change.to, yaml_map.planted(change.value, line, column))
        return None
    node, key = yaml_map.cut(root, change.loc)
    if change.kind == "moved":
        if change.rewritten:
            node = yaml_map.planted(change.value, node.line, node.column)
        yaml_map.graft(root, change.to, node, key)
    if change.wrong is None:
        return None
    return Fault(file, node.line, node.column, dotted(change.loc), change.wrong.problem, change.wrong.remedy)


def _own(node: Node) -> Node:
    """A copy in which an alias is a value of its own: a change to one place is a change to that place alone."""
    match node.content:
        case dict() as held:
            return replace(node, content={key: _own(each) for key, each in held.items()}, keys=dict(node.keys))
        case list() as items:
            return replace(node, content=[_own(each) for each in items])
        case _:
            return replace(node)
