"""Files that are written at once or not at all."""

import os
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: Path, content: bytes) -> None:
    """Write a file at once or not at all: where it fails, what was there before stays whole.

    Parameters
    ----------
    path : Path
        In a folder that exists.
    content : bytes
        What the file will hold.

    Raises
    ------
    OSError
        If it can't be written.
    """
    draft = path.parent / f".{path.name}.{os.getpid()}"
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
