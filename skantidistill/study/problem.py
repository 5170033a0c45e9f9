"""The problem of a seed: D1 for the teacher, D2 for the student, and the test rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from skantidistill.datasets import Dataset
from skantidistill.study.protocols import Protocol

__all__ = ["Problem", "names_of", "pose"]


@dataclass(frozen=True, eq=False)
class Problem:
    """D1, D2 and the test rows; the teacher's columns are the first ``X_old.shape[1]`` of X.

    Attributes
    ----------
    X_old, y_old : ndarray of shape (n_old, n_old_features) and of shape (n_old,)
        D1: what the teacher is fitted on.
    X, y : ndarray of shape (n_rows, n_features) and of shape (n_rows,)
        D2: what the student is fitted on.
    X_test, y_test : ndarray of shape (n_test, n_features) and of shape (n_test,)
        Held-out rows.
    knows : ndarray of bool of shape (n_test,)
        Which of them have a label that the teacher knows.
    is_apart : bool
        Whether D1 has rows that D2 lacks, so that ``fit`` must be given it.
    """

    X_old: np.ndarray
    y_old: np.ndarray
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    knows: np.ndarray
    is_apart: bool

    @property
    def classes(self) -> np.ndarray:
        """The labels of D1 and D2, in the order of the student's outputs."""
        return np.union1d(self.y, self.y_old)

    @property
    def fit_parameters(self) -> dict[str, Any]:
        """What ``fit`` takes besides D2. D1 needs no naming where it is the rows of D2 that it knows."""
        return {"teacher_data": (self.X_old, self.y_old)} if self.is_apart else {}


def names_of(data: Dataset) -> tuple[str, ...]:
    """Return the names of the columns of a data set."""
    return data.feature_names or tuple(map(str, range(data.X_train.shape[1])))


def pose(protocol: Protocol, data: Dataset, seed: int) -> Problem:
    """Return the problem that a protocol makes of a data set.

    Parameters
    ----------
    protocol : Protocol
        Says which classes, columns and rows are old and new.
    data : Dataset
        Training and test rows.
    seed : int
        Draws the rows of D2 where they are few, and the teacher's columns where they are a share.

    Returns
    -------
    problem : Problem
    """
    X, y, X_test = data.X_train, data.y_train, data.X_test
    columns, n_known = _order_columns(protocol, data, seed)
    if protocol.teacher_features is not None:
        X, X_test = X[:, columns], X_test[:, columns]
    old = np.isin(y, protocol.teacher_classes)
    X_old, y_old = X[old][:, :n_known], y[old]
    if protocol.rows is not None:
        few, _ = train_test_split(np.arange(len(y)), train_size=protocol.rows, stratify=y, random_state=seed)
        X, y = X[few], y[few]
    knows = np.isin(data.y_test, protocol.teacher_classes)
    return Problem(X_old, y_old, X, y, X_test, data.y_test, knows, protocol.rows is not None)


def _order_columns(protocol: Protocol, data: Dataset, seed: int) -> tuple[np.ndarray, int]:
    """Return the columns, the teacher's first, and how many of them are the teacher's."""
    known, names = protocol.teacher_features, names_of(data)
    if known is None:
        return np.arange(len(names)), len(names)
    if isinstance(known, float):
        n_known = min(max(1, round(known * len(names))), len(names))
        first = np.sort(np.random.RandomState(seed).permutation(len(names))[:n_known])
    else:
        first = np.array([names.index(name) for name in known])
    others = np.setdiff1d(np.arange(len(names)), first)
    return np.concatenate([first, others]), len(first)
