"""Files of named arrays and of JSON, in the safetensors format: nothing in them can be run.

Whatever is wrong with a file is a ValueError that says what; the caller adds the file's name.
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from skantidistill._checks import import_optional
from skantidistill.writing import write_whole

__all__ = ["decode", "encode", "finish", "read_file", "take", "write_file"]

FORMAT = "skantidistill student"
VERSION = 1
#: Characters of JSON that a file may have; safetensors itself admits 100 MB, in which quotes are escaped.
LONGEST = 2**23
#: Lists and dicts inside each other that a value may have.
DEEPEST = 3

_DTYPES = {
    *("F64", "F32", "F16"),
    *(f"{sign}{bits}" for sign in "IU" for bits in (8, 16, 32, 64)),
}


def write_file(path: Path, content: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write JSON and arrays into one file, at once or not at all.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    OSError
        If the file can't be written.
    ValueError
        If the JSON is longer than a file may hold.
    """
    safetensors = import_optional("safetensors.numpy", "safetensors", "save")
    if path.is_dir():
        raise IsADirectoryError(
            f"path={str(path)!r} is a folder; give the name of a file, such as {path}/student."
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder of path={str(path)!r} does not exist; make it first.")
    text = json.dumps(content, separators=(",", ":"))
    if len(text) > LONGEST:
        raise ValueError(
            f"Labels, names and histories are {len(text)} characters of JSON, and a file holds at most "
            f"{LONGEST}; shorten history_ and loss_curve_."
        )
    whole = {
        name: np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
        for name, array in arrays.items()
    }
    metadata = {"format": FORMAT, "version": str(VERSION), "student": text}
    write_whole(path, safetensors.save(whole, metadata=metadata))


def read_file(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the JSON and the arrays that ``write_file`` wrote.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    OSError
        If the file can't be read; FileNotFoundError if there is none.
    ValueError
        If it is no such file, a damaged one, or one of a newer version.
    """
    safetensors = import_optional("safetensors", "safetensors", "load")
    if path.exists() and not (path.is_file() or path.is_dir()):  # to open a pipe is to wait for a writer
        raise ValueError("it is no file but a pipe, a socket or a device")
    with path.open("rb"):  # whose errors name the path
        pass
    # Where safetensors gets no memory it ends the process, or waits for itself: numpy asks first, for more.
    # (But for a file of a length that is made up, the header of which is then refused.)
    np.empty(min(path.stat().st_size, 2**28) + 2**20, np.uint8)
    try:
        with safetensors.safe_open(str(path), framework="np") as file:
            content = _content(file.metadata() or {})
            return content, {name: _array(file, name) for name in file.keys()}  # noqa: SIM118  it is no dict
    except safetensors.SafetensorError as error:
        raise ValueError(f"it is no whole safetensors file ({error})") from None


def _content(metadata: dict[str, str]) -> dict[str, Any]:
    """Return the JSON of a file of this format and of a version that is known."""
    found, version, text = (metadata.get(key, "") for key in ("format", "version", "student"))
    if found != FORMAT:
        raise ValueError(f"its format is {found[:50]!r}, not {FORMAT!r}")
    if version != str(VERSION):
        raise ValueError(
            f"its version is {version[:20]!r}, and this skantidistill reads {VERSION}; upgrade it"
        )
    if len(text) > LONGEST:
        raise ValueError(f"it has {len(text)} characters of JSON, and at most {LONGEST} are read")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its JSON can't be read ({error})") from None
    if not isinstance(content, dict):
        raise ValueError("its JSON is no object")
    return content


def _array(file: Any, name: str) -> np.ndarray:
    found = file.get_slice(name)
    dtype = found.get_dtype()
    if dtype not in _DTYPES:
        raise ValueError(
            f"its tensor {name[:50]!r} has the dtype {dtype}; one of {sorted(_DTYPES)} can be read"
        )
    # As in read_file: safetensors panics.
    np.empty(math.prod(found.get_shape()) * int(dtype[1:]) // 8 + 2**16, np.uint8)
    return file.get_tensor(name)


def take(section: Any, key: str, *kinds: type) -> Any:
    """Take a value of one of these kinds out of a part of the JSON, or an array out of the arrays."""
    if not isinstance(section, dict) or key not in section:
        raise ValueError(f"it lacks {key!r}")
    value = section.pop(key)
    # True is an int in Python, and in no JSON.
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise ValueError(f"its {key!r} is of the type {type(value).__name__}, not {wanted}")
    return value


def finish(section: Iterable[str], name: str) -> None:
    """Raise if something has not been taken out."""
    left = [key[:50] for key in section]
    if left:
        raise ValueError(f"it has unknown {name}: {sorted(left)[:5]}")


def encode(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """Return a value as JSON, with its arrays put aside under names that begin with ``name``.

    Raises
    ------
    TypeError
        If JSON and arrays can't say it.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "iuf" and value.dtype.itemsize <= 8:
        arrays[name] = value
        return {"array": name}
    if isinstance(value, (list, tuple)):
        items = [encode(item, f"{name}.{number}", arrays) for number, item in enumerate(value)]
        return {type(value).__name__: items} if type(value) in (list, tuple) else {"list": items}
    if isinstance(value, dict):
        pairs = [[encode(k, name, arrays), encode(v, name, arrays)] for k, v in value.items()]
        return {"dict": pairs}
    raise TypeError(f"{name} is a {type(value).__name__}, which can't be written down")


def decode(value: Any, arrays: dict[str, np.ndarray], depth: int = 0) -> Any:
    """Return the value that ``encode`` has turned into JSON, taking its arrays out."""
    if isinstance(value, int) and abs(value) >= 2**64:
        raise ValueError("it has an integer of more than 64 bits")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if not isinstance(value, dict) or len(value) != 1 or depth > DEEPEST:
        raise ValueError(
            "it has a value that is neither a number, a string nor a short list or dict of these"
        )
    ((kind, inner),) = value.items()
    if kind == "array" and isinstance(inner, str):
        return take(arrays, inner, np.ndarray)
    if kind in ("list", "tuple") and isinstance(inner, list):
        items = [decode(item, arrays, depth + 1) for item in inner]
        return items if kind == "list" else tuple(items)
    if kind == "dict" and isinstance(inner, list) and all(map(_is_pair, inner)):
        return {decode(key, arrays): decode(item, arrays, depth + 1) for key, item in inner}
    raise ValueError(f"it has a value of an unknown kind, {kind[:50]!r}")


def _is_pair(value: Any) -> bool:
    """Say whether a value is a key, which is plain, and what belongs to it."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], (bool, int, float, str))
