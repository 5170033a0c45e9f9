"""Real, small problems with labels that hide no mistake: strings, booleans, integers not from 0."""

from functools import cache

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from skantidistill import AntiDistilledMLPClassifier

#: Labels of digits 0 to 5, of several kinds; in none is a label its own position.
LABELS = {
    "strings": np.array(["zero", "one", "two", "three", "four", "five"]),
    "integers": np.array([30, 4, 9, 5, 70, 11]),
    "negative integers": np.array([-1, 5, -7, 3, 2, 9]),
    "floats": np.array([0.0, 7.0, 3.0, 2.0, -1.0, 4.0]),
}


@cache
def digits(kind="strings"):
    """Return the first 480 images of digits 0 to 5 in [0, 1], and their labels."""
    X, y = load_digits(return_X_y=True)
    rows = np.flatnonzero(y < 6)[:480]
    return X[rows] / 16, LABELS[kind][y[rows]]


@cache
def old_rows(kind="strings"):
    """Return the mask of the digits 1, 2 and 4, which the teacher knows."""
    return np.isin(digits(kind)[1], LABELS[kind][[1, 2, 4]])


@cache
def fitted_teacher(kind="strings", activation="relu", hidden=(8,)):
    """Return a good MLPClassifier of the digits 1, 2 and 4."""
    X, y = digits(kind)
    rows = old_rows(kind)
    return MLPClassifier(hidden, activation=activation, max_iter=1000, random_state=0).fit(X[rows], y[rows])


def named(X):
    """Return X as a frame with a name for every pixel."""
    return pd.DataFrame(X, columns=[f"pixel{i}" for i in range(X.shape[1])])


@cache
def named_teacher(n_pixels=64):
    """Return an MLPClassifier of the first pixels of digits 1, 2 and 4, which knows their names."""
    X, y = digits()
    rows = old_rows()
    teacher = MLPClassifier((8,), max_iter=1000, random_state=0)
    return teacher.fit(named(X[rows]).iloc[:, :n_pixels], y[rows])


def quick(teacher=None, **params):
    """Return a student that trains for a few epochs."""
    return AntiDistilledMLPClassifier(
        teacher, **{"max_iter": 3, "phi_max_iter": 2, "random_state": 0, **params}
    )


def same_parameters(a, b):
    """Say whether two fitted students have the same parameters, bit for bit."""
    pairs = zip(a.blueprint_.parameters, b.blueprint_.parameters, strict=True)
    return all(p.dtype == q.dtype and np.array_equal(p, q) for p, q in pairs)
