"""Edits over a file: what is set holds, null included; what is not set is the file's; what is wrong changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.config import edits
from proxy.config.edits import Difference
from proxy.config.migrations import Change
from proxy.config.schema import Assistant, Config
from tests.unit.config.books import SOURCES, bound, file, laid
from tests.unit.config.steps import PLACES

_FILE = {"bot": {"primary": bound("one"), "fallbacks": [bound("two")], "timeouts": {"total": "90s"}}}


def test_an_edited_field_holds_and_the_rest_is_the_files() -> None:
    """Field by field, whole: an edit of `timeouts` does not leave half of the file's."""
    after = laid(file(_FILE), {"bot": {"primary": bound("three"), "timeouts": {"hold": "5s"}}}).assistants["bot"]
    assert after.primary is not None
    assert (after.primary.source, after.fallbacks[0].source) == ("three", "two")
    assert (after.timeouts.hold, after.timeouts.total) == (5.0, 600.0)


@pytest.mark.parametrize("field", edits.FIELDS)
def test_null_empties_each_field(field: str) -> None:
    """And stays distinguishable from what was never set: it is an operator's value."""
    config = file({"bot": {**_FILE["bot"], "chains": {"embeddings": {"primary": bound("one")}}, "breaker": None}})
    empty = edits.shown(Assistant())[field]
    after = laid(config, {"bot": {field: None}}).assistants["bot"]
    assert edits.shown(after)[field] == empty
    assert edits.origins(after, {field: None})[field] == "operator"


@pytest.mark.parametrize("tier", [{"source": "two"}, {"source": "two", "model": None}])
def test_an_edit_without_a_model_stays_without_one(tier: dict[str, Any]) -> None:
    """A default that comes, changes or goes is never written into it; where there is none the edit does not go."""
    over = {"bot": {"primary": tier, "fallbacks": [tier | {"source": "three", "model": "x"}]}}

    def defaulting(model: str | None) -> Config:
        two = SOURCES["two"] | ({} if model is None else {"default_model": model})
        return file(_FILE, sources=SOURCES | {"two": two})

    for model in ("d", "e"):
        config = laid(defaulting(model), over)
        primary = config.assistants["bot"].primary
        assert primary is not None
        assert config.model_of(primary) == model
        assert edits.shown(config.assistants["bot"])["primary"] == tier
    refused = edits.laid_over(defaulting(None), over, "edits")
    assert isinstance(refused, tuple)
    assert [(each.path, each.problem) for each in refused] == [
        ("assistants.bot.primary.model", "no model is named, and `two` has no `default_model`")
    ]


def test_an_edit_of_an_assistant_that_the_file_does_not_have_rests() -> None:
    """It neither makes one nor is at fault, and holds again once the file has it."""
    over = {"gone": {"primary": bound("three")}}
    assert "gone" not in laid(file(_FILE), over).assistants
    back = laid(file(_FILE | {"gone": {"primary": bound("one")}}), over).assistants["gone"].primary
    assert back is not None
    assert back.source == "three"
    assert list(edits.differences(file(_FILE), over)) == []


def test_the_files_configuration_is_never_changed() -> None:
    """What is laid over it is another one, and everything beside the assistants is the same."""
    config = file(_FILE, breaker={"cooldown": "7s"})
    before = config.fingerprint
    after = laid(config, {"bot": {"primary": None}})
    assert config.fingerprint == before != after.fingerprint
    assert after.model_copy(update={"assistants": config.assistants}) == config


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            {"primary": bound("nowhere")},
            "edit: assistants.bot.primary.source: `nowhere` does not stand under `sources`",
        ),
        ({"primary": {"source": "one"}}, "edit: assistants.bot.primary.model: "),
        ({"primary": {"source": "one", "modle": "m"}}, "edit: assistants.bot.primary.modle: "),
        ({"primary": "one/m"}, "edit: assistants.bot.primary: "),
        ({"fallbacks": [bound("two"), bound("two")]}, "edit: assistants.bot.fallbacks.1: the same tier as fallback-1"),
        ({"fallbacks": 7}, "edit: assistants.bot.fallbacks: "),
        ({"chains": {"images": {}}}, "edit: assistants.bot.chains.images: "),
        ({"timeouts": {"total": "long"}}, "edit: assistants.bot.timeouts.total: "),
        ({"timeouts": {"total": "5s", "hold": "6s"}}, "edit: assistants.bot.timeouts.hold: `hold` is longer"),
        ({"breaker": {"cooldown": "2s"}}, "edit: assistants.bot.breaker: health is shared"),
    ],
)
def test_what_a_file_may_not_say_an_edit_may_not_either(fields: dict[str, Any], told: str) -> None:
    """In the same words, at the place of the edit."""
    faults = edits.laid_over(file(_FILE), {"bot": fields}, "edit")
    assert isinstance(faults, tuple)
    assert [str(fault) for fault in faults if str(fault).startswith(told)], faults


def test_all_faults_of_all_edits_come_together() -> None:
    """An operator mends them in one go."""
    over: dict[str, dict[str, Any]] = {
        "bot": {"primary": 1, "timeouts": {"hold": "never"}},
        "other": {"fallbacks": "x"},
    }
    faults = edits.laid_over(file(_FILE | {"other": {}}), over, "edits")
    assert isinstance(faults, tuple)
    paths = [fault.path for fault in faults]
    assert paths == ["assistants.bot.primary", "assistants.bot.timeouts.hold", "assistants.other.fallbacks"]


def test_no_fault_repeats_a_secret() -> None:
    """What the sources hold is in no word about an edit."""
    faults = edits.laid_over(file(_FILE), {"bot": {"primary": {"source": "one", "model": 7, "api_key": "s"}}}, "edit")
    assert isinstance(faults, tuple)
    assert "the-key-of-one" not in "".join(map(str, faults))


_EVERYTHING: dict[str, Any] = {
    "primary": bound(
        "one", "*", params={"drop": ["seed"], "set": {"t": 0.5, "x": {"y": [1, None]}}, "cap": {"max_tokens": 10}}
    ),
    "fallbacks": [bound("two", context=8000, supports=["tools"]), bound("three", context=None)],
    "chains": {"embeddings": {"primary": bound("one", "e"), "fallbacks": [bound("two", "e")]}},
    "timeouts": {"connect": "500ms", "first_byte": 1.25, "attempt": None},
    "breaker": {"scope": "assistant", "failure_rate": "30%", "cooldown": "90s", "minimum_calls": 7},
}


def test_what_is_shown_can_be_set_again() -> None:
    """Every field, as it is shown, gives the same configuration: in force, in the fingerprint, and shown again."""
    written: Config = file({"bot": _EVERYTHING})
    shown = edits.shown(written.assistants["bot"])
    again = laid(file({"bot": {}}), {"bot": shown})
    assert again.assistants["bot"] == written.assistants["bot"]
    assert edits.shown(again.assistants["bot"]) == shown
    assert again.fingerprint == laid(written, {"bot": shown}).fingerprint


# -- where edit and file differ


def test_a_difference_tells_both_sides() -> None:
    """Only where they differ."""
    over = {"bot": {"primary": bound("three"), "fallbacks": [bound("two")]}}
    found = list(edits.differences(file(_FILE), over))
    assert found == [Difference("bot", "primary", bound("one"), bound("three"))]


def test_a_settled_difference_is_open_again_when_the_file_says_something_else() -> None:
    """And only then; also when the file says null."""
    over = {"bot": {"primary": bound("three")}}
    settled = {"bot": {"primary": bound("one")}}
    assert list(edits.unsettled(file(_FILE), over, {})) != []
    assert list(edits.unsettled(file(_FILE), over, settled)) == []
    for other in (bound("two"), None):
        (again,) = edits.unsettled(file({"bot": {"primary": other}}), over, settled)
        assert again.file == other
    assert list(edits.unsettled(file({"bot": {"primary": None}}), over, {"bot": {"primary": None}})) == []


def test_origins_tell_what_somebody_has_set() -> None:
    """In the file or by an edit; what nobody set is a default, each limit of time by itself."""
    config = file({"bot": {"primary": None, "timeouts": {"hold": "5s"}}})
    told = edits.origins(laid(config, {"bot": {"fallbacks": []}}).assistants["bot"], {"fallbacks": []})
    operators = {name for name, origin in told.items() if origin == "operator"}
    assert operators == {"primary", "fallbacks", "timeouts", "timeouts.hold"}
    assert set(told.values()) == {"operator", "default"}


def test_what_a_migration_has_filled_is_told_until_an_operator_sets_it() -> None:
    """A value that nobody has chosen, and that is no default either."""
    hold = ("assistants", "bot", "timeouts", "hold")
    config = file({"bot": {"primary": None, "timeouts": {"hold": "2s"}}}).came_by(
        (Change(PLACES, "filled", hold, hold, "2s"),)
    )
    filled = edits.filled(config, "bot")
    assert edits.origins(config.assistants["bot"], {}, filled)["timeouts.hold"] == "migration"
    assert edits.origins(config.assistants["bot"], {"timeouts": {"hold": 2.0}}, filled)["timeouts.hold"] == "operator"
    assert edits.filled(config, "other") == set()
