"""What a teacher knows: its network, and D1, the rows that it was fitted on.

``find_teacher`` and ``find_old_data`` turn what a user gave to ``fit`` into these two, and catch
nonsense before any training starts.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.random import RandomState
from scipy.sparse import csr_matrix, issparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import gen_batches
from sklearn.utils.validation import has_fit_parameter

from skantidistill._checks import (
    ONE_VS_REST,
    BaseSearchCV,
    are_one_vs_rest,
    check_rows,
    check_same_kind,
    encode_labels,
    is_fitted,
    quoted,
    told_of,
    warn_user,
    weigh_classes,
)
from skantidistill.blueprint import Blueprint
from skantidistill.teachers import read_teacher

__all__ = [
    "OldData",
    "all_labels",
    "column_means",
    "complete_columns",
    "find_old_data",
    "find_teacher",
    "join_classes",
    "known_rows",
    "warn_of_wrong_labels",
]

BATCH_ROWS = 2048
HARDLY = 0.1


@dataclass(frozen=True)
class OldData:
    """D1: the rows ``index`` of inputs (n_samples, n_features), labels and weights; where they came from.

    The index holds only rows that count: of positive weight, and not set aside for validation. ``names``
    are those of its columns, and ``columns`` the columns of the student's X that they are: None if they are
    all of them, or, being fewer, the teacher's.
    """

    X: Any
    y: np.ndarray
    weight: np.ndarray
    index: np.ndarray
    source: str
    names: np.ndarray | None = None
    columns: np.ndarray | None = None

    @property
    def labels(self) -> np.ndarray:
        """Labels of D1's rows."""
        return self.y[self.index]


def find_old_data(
    estimator: Any,
    X: Any,
    y: np.ndarray,
    weight: np.ndarray,
    index: np.ndarray,
    teacher_data: Any,
    teacher_rows: Any,
) -> OldData | None:
    """Return D1 as the user named it, or None where neither way was used.

    ``index`` holds the rows of (X, y) that count and that training will see.

    Raises
    ------
    ValueError
        If both ways were used, or one of them gives no rows.
    TypeError
        If ``teacher_data`` is no tuple or ``teacher_rows`` no boolean mask.
    """
    if teacher_data is not None and teacher_rows is not None:
        raise ValueError("Both teacher_data and teacher_rows are given; give one of them.")
    names = getattr(estimator, "feature_names_in_", None)
    if teacher_data is not None:
        X1, y1, weight1, columns = check_rows(estimator, teacher_data, X.dtype, issparse(X))
        weight1 = weigh_classes(estimator.class_weight, y1, weight1)
        if names is not None and columns is not None:
            names = names[columns]
        elif X1.shape[1] < X.shape[1]:
            names = None
        old = OldData(X1, y1, weight1, np.flatnonzero(weight1), "teacher_data", names, columns)
    elif teacher_rows is not None:
        mask = _check_mask(teacher_rows, X.shape[0])
        old = OldData(X, y, weight, index[mask[index]], "teacher_rows", names)
    else:
        return None
    if len(old.index) == 0:
        raise ValueError(
            f"{old.source} has no row that counts: all have weight 0 or are set aside for validation."
        )
    return old


def complete_columns(old: OldData, features: np.ndarray, new: OldData) -> OldData:
    """Return D1 with all columns of X, the missing ones filled with their weighted means over new rows.

    Of a sparse X they are 0. ``features`` are X's columns that are the teacher's, in its order.

    Raises
    ------
    ValueError
        If D1 has neither the teacher's columns nor all of X's, or lacks a column of the teacher.
    """
    n_columns, n_features = old.X.shape[1], new.X.shape[1]
    columns = old.columns
    if columns is None:
        if n_columns == n_features:
            return old
        if n_columns != len(features):
            raise ValueError(
                f"{old.source} has {n_columns} features, the teacher {len(features)} and X {n_features}; "
                "give it the teacher's columns or all of X's."
            )
        columns = features
    missing = np.setdiff1d(features, columns)
    if len(missing):
        raise ValueError(
            f"{old.source} lacks columns that the teacher was fitted on, among them column {missing[0]} of "
            f"X; give it all of the teacher's {len(features)}."
        )
    if issparse(old.X):
        parts = (old.X.data, columns[old.X.indices], old.X.indptr)
        X = csr_matrix(parts, shape=(old.X.shape[0], n_features))
    else:
        means = column_means(new.X, new.weight, new.index)
        X = np.tile(means.astype(old.X.dtype), (len(old.X), 1))
        X[:, columns] = old.X
    return replace(old, X=X, columns=None)


def column_means(X: np.ndarray, weight: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return the weighted mean of every column over the rows ``index``."""
    total = np.zeros(X.shape[1])
    for rows in gen_batches(len(index), BATCH_ROWS):
        total += weight[index[rows]].astype(np.float64) @ X[index[rows]].astype(np.float64)
    return total / weight[index].sum(dtype=np.float64)


def _check_mask(teacher_rows: Any, n_rows: int) -> np.ndarray:
    with told_of("teacher_rows"):
        mask = np.asarray(teacher_rows)
    if mask.dtype != bool:
        raise TypeError(
            f"teacher_rows must be a boolean mask over the rows of X, got dtype {mask.dtype}; a "
            "mask of 0 and 1 becomes one by mask.astype(bool), numbers of rows by "
            "np.isin(np.arange(len(X)), rows)."
        )
    if mask.shape != (n_rows,):
        raise ValueError(
            f"teacher_rows has shape {mask.shape}, but X has {n_rows} rows; give one value a row."
        )
    if not mask.any():
        raise ValueError("teacher_rows is False for every row; mark at least one, or leave it out.")
    return mask


def find_teacher(
    teacher: Any, teacher_classes: Any, old: OldData | None, random_state: RandomState
) -> tuple[Any, Blueprint]:
    """Return the fitted teacher and its network; an unfitted one is cloned and fitted on D1.

    Row weights reach every step of a Pipeline and the estimator of a search, where these take them.

    Raises
    ------
    TypeError
        If the teacher is of a kind that can't be read.
    ValueError
        If it is unfitted and D1 was not named.
    """
    if not is_fitted(teacher):
        if isinstance(teacher, FrozenEstimator):
            raise ValueError(
                f"The teacher is a FrozenEstimator around a {type(teacher.estimator).__name__} that is not "
                "fitted, and a frozen estimator can't be; fit it before it is wrapped."
            )
        if old is None:
            raise ValueError(
                f"The teacher, {type(teacher).__name__}, is not fitted: fit it first, or give fit "
                "teacher_data or teacher_rows to fit it on. (If it was fitted: scikit-learn clones the "
                "values of a parameter grid; there wrap it as FrozenEstimator(teacher).)"
            )
        teacher = clone(teacher)
        _set_missing_seeds(teacher, random_state)
        keywords = _weight_keywords(teacher, old.weight[old.index])
        with config_context(enable_metadata_routing=False):  # the keywords name their steps
            teacher.fit(old.X[old.index], old.labels, **keywords)
    return teacher, read_teacher(teacher, teacher_classes)


def join_classes(
    y: np.ndarray, teacher: Blueprint, old: OldData | None, rehearsed: bool = False
) -> np.ndarray:
    """Return ``classes_``: the sorted labels of y and of ``teacher_data``; warn of those at a loss."""
    check_same_kind(y, teacher.classes, "y")
    known = np.isin(y, teacher.classes).any()
    if not known and (old is None or old.source == "teacher_rows") and are_one_vs_rest(y, teacher.classes):
        raise ValueError(
            f"No row of y, whose labels are {np.unique(y).tolist()}, has a label that the teacher knows "
            f"({quoted(teacher.classes.tolist())}). If its outputs stand for labels of y, name them in their "
            f"order by teacher_classes. {ONE_VS_REST}"
        )
    if old is not None:
        check_same_kind(old.labels, teacher.classes, old.source)
        encode_labels(old.labels, teacher.classes, old.source, "the teacher")
    classes = all_labels(y, old)
    only_old = np.setdiff1d(classes, y)
    if len(only_old) and not rehearsed:
        warn_user(
            f"Classes {quoted(only_old.tolist())} are in teacher_data but not in y: the student has "
            "outputs for them, which training on (X, y) forgets again; set rehearse, say to 0.5, or add "
            "rows of theirs to (X, y).",
        )
    dropped = np.setdiff1d(teacher.classes, classes)
    if len(dropped):
        warn_user(
            f"The teacher's classes {quoted(dropped.tolist())} have no row in y or teacher_data: the "
            "student gets no output for them.",
        )
    return classes


def all_labels(y: np.ndarray, old: OldData | None) -> np.ndarray:
    """Return the sorted labels of y and of ``teacher_data``; those of ``teacher_rows`` are in y."""
    return np.unique(y) if old is None or old.source == "teacher_rows" else np.union1d(y, old.labels)


def known_rows(
    X: np.ndarray, y: np.ndarray, weight: np.ndarray, index: np.ndarray, teacher: Blueprint
) -> OldData | None:
    """Return the rows whose label the teacher knows, or None, with a warning, if there are none."""
    known = index[np.isin(y[index], teacher.classes)]
    if len(known):
        return OldData(X, y, weight, known, "y")
    warn_user(
        f"No row of y has a label that the teacher knows ({quoted(teacher.classes.tolist())}), and neither "
        "teacher_data nor teacher_rows is given: the teacher serves as a start only. phi is skipped, so "
        "that lambda_ce and lambda_teacher have no effect, and lambda_noise and lambda_trace only on y.",
    )
    return None


def warn_of_wrong_labels(teacher: Blueprint, columns: Any, old: OldData) -> None:
    """Warn if the teacher is no better on D1 than a constant answer, or hardly better than a guess.

    "Hardly" is a balanced accuracy less than a tenth of the way from 1 / n_classes to 1. Where D1 has one
    class only, which no teacher can beat, it is enough to be right half of the time. With the labels that
    one-vs-rest tools make up it is an error. ``columns`` are those of D1's inputs that the teacher takes, in
    its order.
    """
    codes = encode_labels(old.labels, teacher.classes, old.source, "the teacher")
    weight, hit = old.weight[old.index], np.empty(len(codes), dtype=bool)
    for rows in gen_batches(len(codes), BATCH_ROWS):
        X = old.X[old.index[rows]][:, columns]
        hit[rows] = teacher.logits(X).argmax(axis=1) == codes[rows]
    accuracy, mass = np.average(hit, weights=weight), np.bincount(codes, weights=weight)
    present = mass > 0
    balanced = np.mean(np.bincount(codes, weights=weight * hit)[present] / mass[present])
    n_classes = np.count_nonzero(present)
    constant, guess = (mass.max() / mass.sum(), 1 / n_classes) if n_classes > 1 else (0.5, 0.5)
    if accuracy < constant:
        verdict = f"accuracy on the old rows ({old.source}) is {accuracy:.3f}, below the {constant:.3f} of a "
        verdict += "constant answer."
    elif n_classes > 1 and balanced < guess + HARDLY * (1 - guess):
        verdict = f"balanced accuracy on the old rows ({old.source}) is {balanced:.3f}, near the {guess:.3f} "
        verdict += "of a guess."
    else:
        return
    if accuracy < constant and old.source != "teacher_data" and are_one_vs_rest(old.y, teacher.classes):
        raise ValueError(
            f"The teacher's {verdict} If {np.unique(old.y).tolist()} are y's own labels, the teacher means "
            f"others by them: name its outputs in y's labels by teacher_classes. {ONE_VS_REST}"
        )
    warn_user(
        f"The teacher's {verdict} Is X scaled as it was for the teacher, with its columns in the "
        "same order? Are the labels encoded, as BaggingClassifier, VotingClassifier, StackingClassifier and "
        "others do before they call fit? Then name the teacher's outputs in y's labels by teacher_classes.",
    )


def _set_missing_seeds(teacher: Any, random_state: RandomState) -> None:
    """Give every unset ``random_state`` a seed, so that fitting touches no global random state."""
    for name, value in sorted(teacher.get_params(deep=True).items()):
        if (name == "random_state" or name.endswith("__random_state")) and value is None:
            teacher.set_params(**{name: int(random_state.randint(2**31 - 1))})
        elif _draws_splits(value):
            value.random_state = int(random_state.randint(2**31 - 1))  # cloning has copied it


def _draws_splits(value: Any) -> bool:
    """Say whether a parameter is a search's splitter that draws from the global random state."""
    seedless = getattr(value, "random_state", 0) is None
    return hasattr(value, "split") and seedless and getattr(value, "shuffle", True)


def _weight_keywords(teacher: Any, weight: np.ndarray, prefix: str = "") -> dict[str, np.ndarray]:
    """Return the keywords of ``fit`` by which row weights reach every step that takes them."""
    if isinstance(teacher, BaseSearchCV):
        return _weight_keywords(teacher.estimator, weight, prefix)
    if isinstance(teacher, Pipeline):
        keywords: dict[str, np.ndarray] = {}
        for name, step in teacher.steps:
            keywords |= _weight_keywords(step, weight, f"{prefix}{name}__")
        return keywords
    return {f"{prefix}sample_weight": weight} if has_fit_parameter(teacher, "sample_weight") else {}
