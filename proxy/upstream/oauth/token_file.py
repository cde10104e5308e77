"""A token file: read, replaced whole, and locked so that one process at a time may spend what is in it.

1. A new token is in the folder under another name, flushed to the disk, before it takes the file's name: whatever
   moment a process or a machine dies at, the file is the old one or the new one.
2. The file's mode stays as it was. A link is followed, so that what it leads to is what is replaced.
3. Only who holds the lock writes. The lock is a file beside it, which the kernel frees when its owner dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from proxy.providers import tokens
from proxy.providers.tokens import Token

_LARGEST = 256 * 1024

Mark = tuple[int, int, int] | None
"""What tells one content of a file from another; None where there is no file."""


class FileError(Exception):
    """It cannot be read or written; the text is a word, and tells nothing of what is in it."""


class Busy(Exception):
    """Another process holds the lock."""


class TokenFile:
    """One token file. Each call reads or writes the disk: call them beside the event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def mark(self) -> Mark:
        """What the file is now."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def read(self) -> tuple[Token, str]:
        """The token and its login. Raises FileError."""
        try:
            return tokens.from_file(self._raw())
        except ValueError:
            raise FileError("not_a_token_file") from None

    def write(self, token: Token, login: str) -> None:
        """Keep a token, under the lock. Raises FileError."""
        try:
            new = tokens.into_file(self._raw(), token, login)
        except ValueError:
            raise FileError("not_a_token_file") from None
        path = self._real()
        fresh = path.with_name(f".{path.name}.new")
        try:
            mode = path.stat().st_mode & 0o777
            fresh.unlink(missing_ok=True)  # what a killed process had begun
            # Whoever may read it is settled before there is anything to read.
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, mode)
                file.write(new)
                file.flush()
                os.fsync(descriptor)
            fresh.replace(path)
            _flush(path.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise FileError(_word(error)) from None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Held within. Raises Busy, and FileError where there can be no lock."""
        path = self._real()
        try:
            descriptor = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise FileError(_word(error)) from None
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy from None
            except OSError as error:
                raise FileError(_word(error)) from None
            yield
        finally:
            os.close(descriptor)

    def _raw(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                raw = file.read(_LARGEST + 1)
        except OSError as error:
            raise FileError(_word(error)) from None
        if len(raw) > _LARGEST:
            raise FileError("not_a_token_file")
        return raw

    def _real(self) -> Path:
        return Path(os.path.realpath(self._path))


def _word(error: OSError) -> str:
    return {FileNotFoundError: "missing", PermissionError: "not_permitted"}.get(type(error), "io_error")


def _flush(folder: Path) -> None:
    """The folder's own entry, without which a new name may be lost with the power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
