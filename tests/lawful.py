"""The law of bad input: a call succeeds, or is refused by one documented error, and leaves nothing behind."""

import linecache
import os
import pickle
import re
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import sklearn
from scipy.sparse import issparse
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning

import skantidistill

__all__ = ["Ended", "attempt", "fingerprint", "leads_inside", "listing"]

OURS, SKLEARN = (str(Path(package.__file__).parent) + os.sep for package in (skantidistill, sklearn))
#: What may warn: this package, from whose code a warning points to the caller's; and scikit-learn.
WARNED_FROM = (str(Path(__file__).parent) + os.sep, SKLEARN)
WARNINGS = {UserWarning, ConvergenceWarning, DataConversionWarning}
#: What scikit-learn says of labels points to whoever has asked.
POINTED = ("The number of unique classes is greater than 50%", "A column-vector y was passed")
LONGEST = 1000


class Ended(NamedTuple):
    """What a call has returned, or the error that has refused it."""

    value: Any
    error: Exception | None

    @property
    def how(self) -> str:
        """How a campaign counts it."""
        return "done" if self.error is None else "refused"


def attempt(call: Callable[[], Any], documented: Any, blamed: str, *inputs: Any) -> Ended:
    """Call, and hold the law but for what a success means.

    An error is of a documented kind, says something, names what is blamed (a regular expression), and was
    raised on purpose; no other library warns; ``inputs`` are as they were.
    """
    before = [fingerprint(value) for value in inputs]
    error = value = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            value = call()
        except documented as refusal:
            error = refusal
    for number, value_before in enumerate(before):
        assert fingerprint(inputs[number]) == value_before, f"input {number} was written to"
    told = [w for w in caught if not is_told(w)]
    assert not told, (
        f"{told[0].category.__name__} from {told[0].filename}:{told[0].lineno}: {told[0].message}"
    )
    if error is not None:
        assert_told(error, blamed)
    return Ended(value, error)


def is_told(warning: warnings.WarningMessage) -> bool:
    """Say whether a warning is this package's or scikit-learn's, and in their words."""
    if warning.category in WARNINGS and warning.filename.startswith(WARNED_FROM):
        return True
    return str(warning.message).startswith(POINTED)


def assert_told(error: Exception, blamed: str) -> None:
    """Check that an error says what is wrong with what is blamed, and was raised on purpose.

    The innermost of the frames that are this package's or scikit-learn's stands at a ``raise``; or else in
    scikit-learn's conversion and validation of arrays, whose words numpy, scipy and pandas choose.
    """
    text = str(error)
    assert text.strip(), "an error without words"
    if isinstance(error, OSError) and error.filename is not None:
        return  # the system's own words, with the whole name of the file
    assert re.search(blamed, text), f"{text!r} does not say {blamed!r}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith((OURS, SKLEARN))]
    assert frames, "raised outside of the package"
    last = frames[-1]
    quoted = last.filename.endswith("_param_validation.py")  # whole, whatever the value of a parameter
    assert len(text) <= LONGEST or quoted, f"{len(text)} characters: {text[:200]!r}"
    line = linecache.getline(last.filename, last.lineno).strip()
    validated = last.filename.startswith((f"{SKLEARN}utils{os.sep}", f"{SKLEARN}externals{os.sep}"))
    assert validated or line.startswith("raise"), f"{last.filename}:{last.lineno} {line!r} fails: {error!r}"


def fingerprint(value: Any) -> Any:
    """Return what changes if anything in a value does; not what a sparse matrix remembers of itself."""
    if issparse(value):
        parts = (
            getattr(value, name, None) for name in ("data", "indices", "indptr", "row", "col", "offsets")
        )
        stored = [p.tobytes() if isinstance(p, np.ndarray) and p.dtype != object else repr(p) for p in parts]
        return type(value), value.shape, stored
    if isinstance(value, np.ndarray) and value.dtype != object:
        mask = np.ma.getmaskarray(value).tobytes() if isinstance(value, np.ma.MaskedArray) else b""
        return type(value), value.dtype, value.shape, value.strides, np.asarray(value).tobytes(), mask
    if isinstance(value, tuple | list):
        return type(value), [fingerprint(item) for item in value]
    if isinstance(value, dict):
        return [(key, fingerprint(item)) for key, item in value.items()]
    if isinstance(value, pd.DataFrame | pd.Series):  # whose pickles also say how it was looked at
        columns = value.columns.tolist() if isinstance(value, pd.DataFrame) else value.name
        kinds = np.atleast_1d(np.array(value.dtypes, dtype=object)).tolist()
        return type(value), repr((value.to_numpy().tolist(), columns, kinds, value.index.tolist()))
    if isinstance(value, np.random.RandomState):
        return type(value)  # it is there to be drawn from
    try:
        return pickle.dumps(value)
    except Exception:
        return repr(value)


def listing(folder: Path) -> dict[str, Any]:
    """Return all files below a folder, and when and how large they were written."""
    found = {}
    for path in sorted(folder.rglob("*")):
        told = path.lstat()
        found[str(path.relative_to(folder))] = (told.st_mode, told.st_size, told.st_mtime_ns)
    return found


def leads_inside(place: Any, folder: Path) -> bool:
    """Say whether a made-up path leads below a folder: no test may write, or remove, what lies elsewhere."""
    try:
        real = os.path.realpath(folder / os.fspath(place))
    except (TypeError, ValueError) as error:  # no path at all
        nul = not isinstance(place, str | bytes | os.PathLike) or "\0" in str(place)
        return nul or isinstance(error, UnicodeEncodeError)
    return Path(real).is_relative_to(folder.resolve())
