"""The book: numbers without gaps, what was in force at each, edits that only operators change, and its bytes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from pydantic import TypeAdapter

from proxy.config import ledger
from proxy.config.ledger import KEPT, Author, Change, Ledger, decoded, encoded
from proxy.config.schema import Config
from tests.unit.config.books import author, begun, bound, file, laid, primaries

_FILE = {"bot": {"primary": bound("one")}, "other": {"primary": bound("two")}}


def _edited(book: Ledger, config: Config, by: str, at: float = 2.0, **fields: Any) -> tuple[Ledger, Config]:
    """`bot` rebound; the book, and what is in force then."""
    edits = {**book.edits, "bot": {**book.edits.get("bot", {}), **fields}}
    after = laid(config, edits)
    return ledger.edited(book, laid(config, book.edits), after, edits, author(at, by)), after


# -- what is entered


def test_an_empty_book_has_no_number_and_no_mark() -> None:
    """As a store that has none."""
    assert (Ledger().number, Ledger().mark, Ledger().touched("bot"), Ledger().file) == (0, "", 0, "")


def test_the_first_file_is_a_revision_without_changes_and_the_same_file_is_none() -> None:
    """A restart makes no revision."""
    config = file(_FILE)
    book = begun(config)
    assert [(each.number, each.origin, each.changes) for each in book.revisions] == [(1, "file", ())]
    assert ledger.filed(book, config, config.fingerprint, author(2.0)) is book


def test_a_file_that_changed_unseen_is_entered_with_what_it_changed() -> None:
    """While the replica was down, or the book could not be kept; an assistant that came or went included."""
    other = file({"bot": {"primary": bound("three")}, "new": {"fallbacks": [bound("one")]}})
    book = ledger.filed(begun(file(_FILE)), other, other.fingerprint, Author(2.0, "file", "file"), "limits")
    newest = book.revisions[-1]
    assert (newest.number, newest.note, newest.file, book.file) == (2, "limits", other.fingerprint, other.fingerprint)
    assert newest.changes == (
        Change("bot", "primary", bound("one"), bound("three")),
        Change("other", "primary", bound("two"), None),
        Change("other", "fallbacks", [], None),
        Change("other", "chains", {}, None),
        Change("other", "timeouts", {}, None),
        Change("new", "fallbacks", None, [bound("one")]),
        Change("new", "chains", None, {}),
        Change("new", "timeouts", None, {}),
    )


def test_a_change_beside_the_assistants_is_a_revision_too() -> None:
    """Without changes of theirs, but with a note of its parts."""
    other = file(_FILE, breaker={"cooldown": "7s"})
    book = ledger.filed(begun(file(_FILE)), other, other.fingerprint, author(2.0), "breaker")
    assert (book.number, book.revisions[-1].changes, book.revisions[-1].note) == (2, (), "breaker")


def test_an_edit_tells_who_when_from_where_and_what() -> None:
    """Of what is in force: a field that stays as it was is not told."""
    book, _ = _edited(begun(file(_FILE)), file(_FILE), "ann from 10.0.0.1", 5.0, primary=None, fallbacks=[])
    newest = book.revisions[-1]
    assert (newest.number, newest.at, newest.by, newest.origin) == (2, 5.0, "ann from 10.0.0.1", "api")
    assert newest.changes == (Change("bot", "primary", bound("one"), None),)
    assert book.edits == {"bot": {"primary": None, "fallbacks": []}}


def test_touched_is_of_one_assistant() -> None:
    """A change of another one does not outdate what an operator has seen of this."""
    book, _ = _edited(begun(file(_FILE)), file(_FILE), "ann", primary=None)
    assert (book.touched("bot"), book.touched("other"), book.number) == (2, 0, 2)


def test_settling_changes_neither_what_is_in_force_nor_the_edits() -> None:
    """It is a revision of its own, and it keeps what the file said, null included."""
    book, _ = _edited(begun(file(_FILE)), file(_FILE), "ann", primary=bound("three"))
    after = ledger.settled(book, "bot", "primary", None, author(3.0))
    assert (after.edits, after.held, after.number) == (book.edits, book.held, 3)
    assert after.settled == {"bot": {"primary": None}}
    assert after.revisions[-1].changes == ()
    assert ledger.settled(after, "bot", "fallbacks", [], author(4.0)).settled["bot"] == {
        "primary": None,
        "fallbacks": [],
    }


def test_old_revisions_are_forgotten_and_the_numbers_go_on() -> None:
    """The last KEPT stay, without gaps; edits are never forgotten."""
    book = primaries(KEPT + 20)
    assert [each.number for each in book.revisions] == list(range(22, KEPT + 22))
    assert book.edits == {"bot": {"primary": bound("one", f"m{KEPT + 20}")}}


def test_what_changed_an_assistant_last_is_known_for_ever() -> None:
    """An ETag stays what it is until the assistant changes, also when the revision it names is forgotten."""
    config = file(_FILE)
    book, after = _edited(begun(config), config, "ann", primary=bound("three"))
    for number in range(KEPT + 5):
        edits = {**book.edits, "other": {"primary": bound("two", f"m{number}")}}
        following = laid(config, edits)
        book, after = ledger.edited(book, after, following, edits, author(float(number))), following
    assert book.revisions[0].number > 2
    assert (book.touched("bot"), book.touched("other"), book.touched("nobody")) == (2, KEPT + 7, 0)
    assert decoded(encoded(book)).touched("bot") == 2


# -- going back


def _then(book: Ledger, config: Config, number: int) -> dict[str, dict[str, Any]]:
    return ledger.at_revision(book, laid(config, book.edits), number)


def test_undoing_gives_back_what_was_in_force() -> None:
    """At every number, the field that changed twice included."""
    config = file(_FILE)
    book = begun(config)
    for number, model in enumerate(("x", "y", "x"), 2):
        book, _ = _edited(book, config, "ann", float(number), primary=bound("one", model))
    assert [_then(book, config, number) for number in range(1, 5)] == [
        {"bot": {"primary": bound("one")}},
        {},
        {"bot": {"primary": bound("one", "y")}},
        {},
    ]


def test_a_revision_that_is_not_kept_cannot_be_gone_back_to() -> None:
    """Neither one to come, nor one that is forgotten, nor any of an empty book."""
    book = primaries(KEPT + 20)
    for number in (-1, 0, 21, KEPT + 22):
        with pytest.raises(KeyError):
            _then(book, file({"bot": {}}), number)
    with pytest.raises(KeyError):
        ledger.at_revision(Ledger(), file(_FILE), 0)


def test_an_assistant_that_was_not_there_yet_is_left_as_it_is() -> None:
    """Going back does not unbind what the file has brought since."""
    before, after = file({"bot": {"primary": bound("one")}}), file(_FILE | {"bot": {"primary": bound("three")}})
    book = ledger.filed(begun(before), after, after.fingerprint, author(2.0))
    assert _then(book, after, 1) == {"bot": {"primary": bound("one")}}


def test_an_assistant_that_has_gone_and_come_back_is_as_it_was() -> None:
    """Through the revision in which it was not there."""
    first, without = file(_FILE), file({"other": _FILE["other"]})
    again = file(_FILE | {"bot": {"primary": bound("three"), "fallbacks": [bound("two")]}})
    book = begun(first)
    for number, config in enumerate((without, again), 2):
        book = ledger.filed(book, config, config.fingerprint, author(float(number)))
    assert _then(book, again, 1) == {"bot": {"primary": bound("one"), "fallbacks": []}}
    assert _then(book, again, 2) == {}


def test_edits_to_what_the_file_says_already_are_none() -> None:
    """And those of other fields and assistants stay."""
    edits: dict[str, dict[str, Any]] = {"bot": {"primary": bound("three"), "fallbacks": []}, "gone": {"primary": None}}
    wanted: dict[str, dict[str, Any]] = {
        "bot": {"primary": bound("one")},
        "other": {"primary": None},
        "gone": {"primary": bound("one")},
    }
    made = ledger.edits_to(file(_FILE), edits, wanted)
    assert made == {"bot": {"fallbacks": []}, "other": {"primary": None}, "gone": {"primary": None}}
    assert ledger.edits_to(file(_FILE), {"bot": {"primary": None}}, {"bot": {"primary": bound("one")}}) == {}


# -- two books


def test_a_mark_names_the_newest_revision() -> None:
    """Equal for equal books, whoever has read them; another for another change of the same number."""
    begin = begun(file(_FILE))
    ann, ben = (_edited(begin, file(_FILE), by, primary=None)[0] for by in ("ann", "ben"))
    later, _ = _edited(begin, file(_FILE), "ann", 2.5, primary=None)
    assert len({begin.mark, ann.mark, ben.mark, later.mark}) == 4
    assert decoded(encoded(ann)).mark == ann.mark
    assert ann.mark.startswith("2.")


def _numbers(book: Ledger, other: Ledger) -> list[int]:
    return [each.number for each in book.missing(other)]


def test_a_book_knows_what_of_another_it_does_not_have() -> None:
    """By what they are, not by their numbers; what it may have forgotten aside."""
    begin = begun(file(_FILE))
    ann, _ = _edited(begin, file(_FILE), "ann", primary=None)
    ben, _ = _edited(begin, file(_FILE), "ben", primary=None)
    assert (_numbers(ann, begin), _numbers(begin, ann), _numbers(ann, ann)) == ([], [2], [])
    assert (_numbers(ann, ben), _numbers(ben, ann)) == ([2], [2])
    assert (_numbers(Ledger(), ann), _numbers(ann, Ledger())) == ([1, 2], [])
    assert _numbers(primaries(KEPT + 20), primaries(50)) == []


def test_the_book_that_operators_have_made_more_of_is_the_one_to_go_on_with() -> None:
    """The longer one of one history; of two, not the one that only a file was entered in, be that as long as it may;
    and where both have edits of their own, neither by itself: the store's."""
    config, other = file(_FILE), file(_FILE, breaker={"cooldown": "9s"})
    begin = begun(config)
    ann, _ = _edited(begin, config, "ann", primary=None)
    more, _ = _edited(ann, config, "ann", 3.0, primary=bound("two"))
    files = ledger.filed(begin, other, other.fingerprint, Author(5.0, "file", "file"))
    files = ledger.filed(files, config, config.fingerprint, Author(6.0, "file", "file"))
    fresh = begun(config, at=9.0)
    ben, _ = _edited(fresh, config, "ben", primary=None)
    for book, than in ((begin, Ledger()), (more, begin), (more, ann), (ann, files), (ann, fresh), (files, begin)):
        assert book.outweighs(than)
        assert not than.outweighs(book)
    for one, two in ((ann, ann), (ann, ben), (more, ben), (fresh, begin), (Ledger(), Ledger())):
        assert not one.outweighs(two)
        assert not two.outweighs(one)
    assert primaries(KEPT + 20).outweighs(primaries(5))


# -- as bytes


def test_what_is_encoded_is_decoded_and_a_person_can_read_it() -> None:
    """Null stays null, and a number what it is."""
    set_ = {
        "t": 1.0,
        "n": 10**25,
        "deep": [{"x": None}],
        "text": "ü\u2028\u0000 \ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    }
    book, _ = _edited(
        begun(file(_FILE)), file(_FILE), "ann", primary=bound("one", params={"set": set_}), fallbacks=None
    )
    text = encoded(book)
    assert decoded(text) == book
    assert encoded(decoded(text)) == text
    assert orjson.loads(text)["edits"]["bot"]["fallbacks"] is None
    assert text.count(b"\n") > 20
    assert text.endswith(b"}\n")


@pytest.mark.parametrize("assistants", [0, 1, 99, 100, 101, 250])
def test_a_book_of_many_is_written_in_pieces_and_reads_as_one(assistants: int) -> None:
    """Whatever its notes and names look like."""
    many = {f'a\n  "held": {{{each}': {"primary": bound("one"), "chains": {}} for each in range(assistants)}
    book = replace(
        _edited(begun(file(_FILE)), file(_FILE), "ann", primary=None)[0], held=many, changed={'"held": {': 1}
    )
    assert encoded(book) == TypeAdapter(Ledger).dump_json(book, indent=2) + b"\n"
    assert decoded(encoded(book)) == book


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"null", b'{"revisions": 1}', b'{"revisions": [{}]}', b"\xff", b"{}x"]
)
def test_what_is_no_book_is_refused(text: bytes) -> None:
    """With one kind of error, whatever it is."""
    with pytest.raises(ValueError):  # noqa: PT011  # its text is nobody's promise
        decoded(text)


def test_every_beginning_of_a_book_is_refused() -> None:
    """A book that was cut off somewhere is never taken for a shorter one."""
    text = encoded(primaries(1))
    for cut in range(len(text) - 1):
        with pytest.raises(ValueError):  # noqa: PT011
            decoded(text[:cut])


def test_a_book_is_a_value() -> None:
    """What is made of a book leaves it as it was."""
    book = primaries(3)
    before = encoded(book)
    _edited(book, file({"bot": {}}), "ann", primary=None)
    ledger.settled(book, "bot", "primary", None, author())
    ledger.edits_to(file({"bot": {}}), book.edits, {"bot": {"primary": None}})
    assert encoded(book) == before
    assert replace(book) == book
