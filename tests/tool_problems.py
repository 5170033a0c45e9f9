"""Problems for scikit-learn's tools: labels that are never codes 0 to K-1, and labels that may be."""

import pickle
from functools import cache

import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from tests.problems import digits, fitted_teacher


@cache
def numbers(lowest, highest):
    """Return images of the digits of a range, these digits, and a teacher of three of them."""
    X, y = load_digits(return_X_y=True)
    rows = np.flatnonzero((lowest <= y) & (y <= highest))[:480]
    X, y = X[rows] / 16, y[rows]
    known = np.isin(y, [lowest, lowest + 1, lowest + 3])
    return X, y, MLPClassifier((8,), max_iter=1000, random_state=0).fit(X[known], y[known])


def problem(kind):
    """Return inputs, labels and a teacher: strings, or the integers 3 to 9, some of which are codes too."""
    if kind == "integers":
        return numbers(3, 9)
    return *digits(), fitted_teacher()


def codes_of(y, labels):
    """Return the positions of labels among the sorted labels of y."""
    return np.searchsorted(np.unique(y), labels)


def untouched(teacher):
    """Return a function that checks that no attribute of the teacher has changed."""
    before = pickle.dumps(teacher)
    return lambda: pickle.dumps(teacher) == before
