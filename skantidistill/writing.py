"""Files that are written at once or not at all."""

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

__all__ = ["can_be_named", "write_whole"]


def can_be_named(text: str | Path) -> bool:
    """Say whether a file, or a word of a command line, can have this name: a caller may give any string.

    Parameters
    ----------
    text : str or Path
        The name.

    Returns
    -------
    possible : bool
        False if it has a NUL, or a character that the file system's encoding lacks.
    """
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def write_whole(path: Path, content: bytes) -> None:
    """Write a file at once or not at all: where it fails, what was there before stays whole.

    A file that is there keeps its permissions, and a link to one stays a link. Of several writers at the same
    time the last one wins. A process that is killed meanwhile may leave its draft, a hidden file beside it
    whose name begins as the file's: nobody reads it, and it may be removed.

    Parameters
    ----------
    path : Path
        In a folder that exists.
    content : bytes
        What the file will hold.

    Raises
    ------
    OSError
        If it can't be written; it names the file.
    """
    path = path.resolve()
    # Every writer has a draft of its own, whose name is not longer than the file's if that is long.
    draft = path.parent / f".{path.name[:200]}.{secrets.token_hex(4)}"
    try:
        with draft.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            shutil.copymode(path, draft)
        draft.replace(path)
    except BaseException as error:
        draft.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno:  # it names the draft, or nothing
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
