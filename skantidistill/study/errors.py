"""What stops a study, in one line that says what to do."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

__all__ = ["StudyError", "errors_told"]

_GO_ON = "what was written is kept; once that is mended, the same command goes on from there."


class StudyError(ValueError):
    """A study can't be done as asked, or can't go on; the message is one line and says what would work."""


@contextlib.contextmanager
def errors_told(folder: Path, what_to_do: str = _GO_ON) -> Iterator[None]:
    """Tell what goes wrong with a folder in one line."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StudyError(f"{folder} can't be used ({reason}); {what_to_do}") from error
