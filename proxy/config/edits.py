"""What operators have set through the API or the page, laid over what the file says; and where each value comes from.

1. An edit is a field of an assistant, as the file would write it; an explicit null is an edit like any other, and stays
   null until an operator says otherwise.
2. Nothing but an operator's own act changes an edit: no reload, no migration, no default.
3. What results is checked like a file: whole, or not at all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError

from proxy.config import checks, explain
from proxy.config.fault import Fault, Loc, dotted, in_order
from proxy.config.schema import Assistant, Config

FIELDS = ("primary", "fallbacks", "chains", "timeouts", "breaker")
"""Fields of an assistant that can be edited."""

Edits = Mapping[str, Mapping[str, Any]]
"""Assistant → field → value."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A field in which an edit and the file do not say the same."""

    assistant: str
    field: str
    file: Any
    edit: Any


def laid_over(config: Config, edits: Edits, name: str) -> Config | tuple[Fault, ...]:
    """The file's configuration with the edits on it; `name` is what faults call the edits.

    An edit of an assistant that the file does not have rests until the file has it again.
    """
    faults: list[Fault] = []
    assistants = dict(config.assistants)
    if edits.keys().isdisjoint(assistants):
        return config
    for assistant, fields in edits.items():
        if assistant not in assistants:
            continue
        document = written(assistants[assistant]) | dict(fields)
        try:
            assistants[assistant] = Assistant.model_validate(document)
        except ValidationError as error:
            faults += [_fault(name, ("assistants", assistant), each) for each in error.errors(include_url=False)]
    if faults:
        return in_order(faults)
    changed = config.model_copy(update={"assistants": MappingProxyType(assistants)})
    faults = [
        Fault(name, 0, 0, dotted(finding.loc), finding.problem, finding.remedy) for finding in checks.find(changed)
    ]
    return in_order(faults) or changed


def _fault(name: str, above: Loc, error: Any) -> Fault:
    loc = (*above, *(each for each in error["loc"] if not str(each).startswith("[")))
    problem, remedy, _ = explain.explain(error, loc)
    return Fault(name, 0, 0, dotted(loc), problem, remedy)


def written(part: BaseModel) -> dict[str, Any]:
    """What was set of a part of the configuration, as plain values; times in seconds."""
    return {name: _plain(getattr(part, name)) for name in type(part).model_fields if name in part.model_fields_set}


def _plain(value: Any) -> Any:
    match value:
        case BaseModel():
            return written(value)
        case Mapping():
            return {key: _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case _:
            return value


def shown(assistant: Assistant) -> dict[str, Any]:
    """Every editable field with its value, whether it was set or not."""
    document: dict[str, Any] = {
        "primary": None,
        "fallbacks": [],
        "chains": {},
        "timeouts": {},
        "breaker": None,
    }
    return document | written(assistant)


def differences(config: Config, edits: Edits) -> Iterator[Difference]:
    """Where the file says something else than an operator's edit."""
    for assistant, fields in edits.items():
        if assistant not in config.assistants:
            continue
        file = shown(config.assistants[assistant])
        for field, edit in fields.items():
            if file[field] != edit:
                yield Difference(assistant, field, file[field], edit)


def unsettled(config: Config, edits: Edits, settled: Edits) -> Iterator[Difference]:
    """Those differences that no operator has looked at since the file says so."""
    for each in differences(config, edits):
        known = settled.get(each.assistant, {})
        if each.field not in known or known[each.field] != each.file:
            yield each


def origins(assistant: Assistant, edited: Mapping[str, Any], filled: Collection[Loc] = ()) -> dict[str, str]:
    """Where the value of each field comes from: `operator` (the file, or an edit), `migration` or `default`.

    `filled`: the assistant's fields that a migration has given a value that no operator had set.
    """

    def origin(*loc: str, given: bool) -> str:
        if loc[0] not in edited and loc in filled:
            return "migration"
        return "operator" if given else "default"

    timeouts = assistant.timeouts
    set_by_operator = assistant.model_fields_set | edited.keys()
    return {field: origin(field, given=field in set_by_operator) for field in FIELDS} | {
        f"timeouts.{name}": origin("timeouts", name, given=name in timeouts.model_fields_set)
        for name in type(timeouts).model_fields
    }


def filled(config: Config, assistant: str) -> set[Loc]:
    """The assistant's fields that a migration of the file has filled."""
    where = ("assistants", assistant)
    return {each.loc[2:] for each in config.migrated if each.kind == "filled" and each.loc[:2] == where}
