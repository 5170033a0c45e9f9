"""A user's own data: a table in a CSV, Parquet or NumPy file, read, checked, split and standardised."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.utils.multiclass import type_of_target

from skantidistill.datasets import Dataset
from skantidistill.study.errors import StudyError

__all__ = ["Table", "digest_of", "load_table", "read_table"]

TEST_SIZE = 1 / 3
SEVERAL = 5  # names that an error message lists


class Table(NamedTuple):
    """Inputs (n_samples, n_features) float64, labels (n_samples,), and the names of the columns."""

    X: np.ndarray
    y: np.ndarray
    names: tuple[str, ...]


def load_table(path: str, target: str | None, digest: str, seed: int) -> Dataset:
    """Return a file's rows as a data set: a third is held out, stratified, and columns are standardised.

    Mean and standard deviation are those of the training rows. Reading is kept for the next seed.

    Raises
    ------
    StudyError
        If the file is not what it was when its digest was taken, or can't be used: see :func:`read_table`.
    """
    table = _read_once(path, target, digest)
    try:
        X, X_test, y, y_test = train_test_split(
            table.X, table.y, test_size=TEST_SIZE, stratify=table.y, random_state=seed
        )
    except ValueError as error:
        raise StudyError(f"{path} can't be split into training and test rows: {_one_line(error)}") from None
    scaler = StandardScaler().fit(X)
    X, X_test = (scaler.transform(part).astype(np.float32) for part in (X, X_test))
    return Dataset(X, y, X_test, y_test, table.names)


@lru_cache(maxsize=1)
def _read_once(path: str, target: str | None, digest: str) -> Table:
    if digest_of(path) != digest:
        raise StudyError(f"{path} has changed while it was studied; run the command again.")
    return read_table(path, target)


def digest_of(path: str) -> str:
    """Return the SHA-256 of a file's content, by which a study knows its data."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StudyError(f"{path} can't be read: {error.strerror or error}") from None


def read_table(path: str, target: str | None = None) -> Table:
    """Read a table of numbers and a column of labels.

    Parameters
    ----------
    path : str
        A file ``.csv`` (also compressed, ``.csv.gz``), ``.parquet``, or ``.npz``; the last holds the arrays
        ``X`` and the labels, and may hold ``feature_names``.
    target : str, default=None
        The column, or for ``.npz`` the array, that holds the labels; for ``.npz`` None means ``y``.

    Returns
    -------
    table : Table

    Raises
    ------
    StudyError
        If the file can't be read, is empty, lacks the target, or has columns that are no numbers, missing
        or infinite values, or labels that are no classes.
    """
    suffixes = Path(path).suffixes
    try:
        if suffixes[-1:] == [".npz"]:
            table = _read_arrays(path, target or "y")
        elif ".csv" in suffixes[-2:]:
            table = _read_frame("read_csv", path, target)
        elif suffixes[-1:] in ([".parquet"], [".pq"]):
            table = _read_frame("read_parquet", path, target)
        else:
            raise StudyError(f"{path} is of no known kind; use a file .csv, .parquet or .npz.")
    except ImportError as error:
        raise StudyError(
            f"Reading {path} needs another package: {_one_line(error)} Try: pip install pandas pyarrow"
        ) from None
    except OSError as error:
        raise StudyError(f"{path} can't be read: {error.strerror or _one_line(error)}") from None
    return _checked(path, table)


def _read_frame(reader: str, path: str, target: str | None) -> Table:
    import pandas as pd

    try:
        frame = getattr(pd, reader)(Path(path).absolute())  # which is no URL, whatever its name
    except pd.errors.EmptyDataError:
        raise StudyError(f"{path} is empty; it needs a line of names and rows below it.") from None
    except (ValueError, EOFError) as error:  # of pandas, of pyarrow, of the encoding
        raise StudyError(f"{path} can't be read as a table: {_one_line(error)}") from None
    frame.columns = frame.columns.map(str)
    if target is None or target not in frame.columns:
        missing = "--target COLUMN is missing" if target is None else f"{path} has no column {target!r}"
        raise StudyError(f"{missing}; the columns are {_listed(frame.columns)}.")
    if not len(frame):
        raise StudyError(f"{path} has no rows.")
    inputs = frame.drop(columns=target)
    kinds = [(name, column.dtype) for name, column in inputs.items()]
    text = [str(name) for name, dtype in kinds if not _is_number(dtype)]
    if text:
        raise StudyError(
            f"{path} has columns that are no numbers: {_listed(text)}; encode them, or leave them out."
        )
    names = tuple(inputs.columns)
    return Table(inputs.to_numpy(dtype=np.float64, na_value=np.nan), frame[target].to_numpy(), names)


def _is_number(dtype: Any) -> bool:
    return getattr(dtype, "kind", "O") in "biuf"


def _read_arrays(path: str, target: str) -> Table:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: array for name, array in file.items() if isinstance(array, np.ndarray)}
    except (ValueError, EOFError, BadZipFile, AttributeError, TypeError):
        raise StudyError(f"{path} is broken, no .npz file, or holds Python objects.") from None
    if not arrays:
        raise StudyError(f"{path} holds no arrays; save it by np.savez(file, X=X, y=y).")
    missing = [name for name in ("X", target) if name not in arrays]
    if missing:
        raise StudyError(
            f"{path} has no array {missing[0]!r}, but {_listed(arrays)}; save it by np.savez(file, X=X, y=y)."
        )
    X, y = arrays["X"], arrays[target]
    if X.ndim != 2 or y.shape != (len(X),) or not _is_number(X.dtype):
        raise StudyError(
            f"{path} has X of shape {X.shape} and dtype {X.dtype} and {target} of shape {y.shape}; X must be "
            "numbers, one row a label."
        )
    names = arrays.get("feature_names", np.arange(X.shape[1]))
    if names.shape != (X.shape[1],):
        raise StudyError(f"{path} has {names.size} feature_names for {X.shape[1]} columns of X.")
    with np.errstate(over="ignore"):  # what no float64 can hold is infinite, which is told then
        return Table(X.astype(np.float64), y, tuple(map(str, names)))


def _checked(path: str, table: Table) -> Table:
    X, y, names = table
    if 0 in X.shape:
        what = "rows" if X.shape[1] else "columns beside the target"
        raise StudyError(f"{path} has no {what}.")
    broken = [name for name, bad in zip(names, ~np.isfinite(X).all(axis=0), strict=True) if bad]
    if broken:
        raise StudyError(f"{path} has missing or infinite values in {_listed(broken)}; fill or drop them.")
    y = _as_labels(path, y)
    classes, counts = np.unique(y, return_counts=True)
    if len(classes) < 2:
        raise StudyError(f"{path} has one class only, {classes.tolist()[0]!r}; at least 2 are needed.")
    if counts.min() < 2:
        rare = classes[counts < 2].tolist()
        raise StudyError(f"{path} has classes of a single row, {_listed(rare)}; every class needs 2 or more.")
    return Table(X, y, names)


def _as_labels(path: str, y: np.ndarray) -> np.ndarray:
    """Return labels as integers, booleans or strings."""
    if y.dtype.kind == "O" and all(isinstance(label, (int, float, np.number)) for label in y.tolist()):
        y = np.array(y.tolist())
    if y.dtype.kind in "OUT":
        if any(not isinstance(label, str) for label in y.tolist()):
            raise StudyError(f"{path} has missing labels, or labels of several kinds; drop or mend them.")
        return y.astype(str)
    if y.dtype.kind == "f":
        if not np.isfinite(y).all():
            raise StudyError(f"{path} has missing or infinite labels; drop these rows.")
        if type_of_target(y).startswith("continuous"):
            raise StudyError(f"The target of {path} is no class but a number, such as {y.tolist()[0]!r}.")
        return y.astype(np.int64)
    if y.dtype.kind not in "biu":
        raise StudyError(f"{path} has labels of the kind {y.dtype}; use integers, booleans or text.")
    return y if y.dtype.kind == "b" else y.astype(np.int64)


def _listed(names: Sequence[Any] | Any) -> str:
    names = list(map(str, names))
    more = f" and {len(names) - SEVERAL} more" if len(names) > SEVERAL else ""
    return ", ".join(names[:SEVERAL]) + more


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
