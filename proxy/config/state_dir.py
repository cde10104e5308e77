"""The book of revisions on disk: one readable file, replaced whole.

1. A write is in the folder under another name, flushed to the disk, before it takes the book's name: whatever moment a
   process or a machine dies at, the book is the old one or the new one.
2. What cannot be written is a KeepError with the remedy, and the book on disk stays as it was.
3. One process keeps a book here. What another had begun to write when it was killed is swept away at the next start.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from proxy.config.ledger import Ledger, decoded, encoded

_NAME = "revisions.json"


class KeepError(Exception):
    """The book could not be kept or read; the text has the remedy."""


class StateDir:
    """`state_dir` of a configuration. Made when the first book is written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fresh = folder / f".{_NAME}.{os.getpid()}"

    def read(self) -> Ledger:
        """The book; an empty one if there is none yet. Raises KeepError."""
        path = self._folder / _NAME
        for left in self._folder.glob(f".{_NAME}.*"):
            with contextlib.suppress(OSError):
                left.unlink()
        try:
            return decoded(path.read_bytes())
        except FileNotFoundError:
            return Ledger()
        except OSError as error:
            remedy = "make it readable, or choose another state_dir"
            raise KeepError(f"{path} cannot be read: {error.strerror}; {remedy}") from None
        except ValueError:
            # Not overwritten: it may be an operator's only copy.
            raise KeepError(f"{path} is no book of revisions; mend it, or move it away to begin a new one") from None

    def prepare(self, book: Ledger) -> None:
        """Have the book on the disk, ready to take its name. Raises KeepError."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._fresh.open("wb") as file:
                file.write(encoded(book))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            self.discard()
            raise self._cannot(error) from None

    def keep(self) -> None:
        """What was prepared is the book from now on. Raises KeepError."""
        try:
            self._fresh.replace(self._folder / _NAME)
            _flush(self._folder)
        except OSError as error:
            self.discard()
            raise self._cannot(error) from None

    def discard(self) -> None:
        """What was prepared is not wanted."""
        with contextlib.suppress(OSError):
            self._fresh.unlink(missing_ok=True)

    def _cannot(self, error: OSError) -> KeepError:
        remedy = "make room there, or let Homeport write to it"
        return KeepError(f"{self._folder} cannot keep it: {error.strerror}; {remedy}")


def _flush(folder: Path) -> None:
    """The folder's own entry, without which a new name may be lost with the power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
