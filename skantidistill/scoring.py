"""Score perturbed predictions whose logits come in blocks, by accuracy or by any scorer of scikit-learn."""

from collections.abc import Callable
from inspect import signature
from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import check_scoring, get_scorer, get_scorer_names

from skantidistill._checks import check_logits, nearest, quoted
from skantidistill.answers import AnswersByLogits

__all__ = ["PerturbedClassifier", "Points", "Tally", "find_scorer"]


class PerturbedClassifier(AnswersByLogits, ClassifierMixin, BaseEstimator):
    """What a scorer sees in place of the estimator: its answers for perturbed rows or parameters.

    Parameters
    ----------
    X : array-like
        The rows as they were; it answers for these only, the very same object.
    logits : ndarray of shape (n_samples, n_classes)
        The perturbed logits.
    classes : ndarray of shape (n_classes,)
        Labels of the logits.
    """

    def __init__(self, X: Any, logits: np.ndarray, classes: np.ndarray) -> None:
        self.X = X
        self.logits = logits
        self.classes = classes

    @property
    def classes_(self) -> np.ndarray:  # type: ignore[override]
        """Labels of the outputs."""
        return self.classes

    def _logits(self, X: Any) -> np.ndarray:
        if X is not self.X:
            raise ValueError(
                "scoring asked for predictions of other rows than the X that it was given; only that X has "
                "been perturbed: predict on it as a whole, and select rows of the result."
            )
        return self.logits


def find_scorer(scoring: Any, weighted: bool = False) -> Callable[..., Any] | None:
    """Return the scorer of a name, or a function ``(estimator, X, y)`` as it is; None stands for accuracy.

    Raise if it is ``weighted``, to be called with ``sample_weight``, and does not take that.
    """
    scorer = _find_scorer(scoring)
    if weighted and scorer is not None and not _takes_weight(scorer):
        raise TypeError(
            f"scoring={quoted(scoring)} takes no sample_weight; leave sample_weight out, or give a scorer "
            "that takes it, such as a function (estimator, X, y, sample_weight)."
        )
    return scorer


def _takes_weight(scorer: Callable[..., Any]) -> bool:
    # A scorer of scikit-learn takes all keywords, and hands them on to its metric.
    parameters = signature(getattr(scorer, "_score_func", scorer)).parameters.values()
    return any(p.name == "sample_weight" or p.kind is p.VAR_KEYWORD for p in parameters)


def _find_scorer(scoring: Any) -> Callable[..., Any] | None:
    if scoring is None:
        return None
    if isinstance(scoring, str):
        if scoring not in get_scorer_names():
            raise ValueError(
                f"scoring={quoted(scoring)} is unknown; use a name in sklearn.metrics.get_scorer_names(), "
                "such as 'balanced_accuracy', a function (estimator, X, y), or None for the accuracy."
                f"{nearest(scoring, get_scorer_names())}"
            )
        return get_scorer(scoring)
    if not callable(scoring):
        raise TypeError(
            f"scoring={quoted(scoring)} is neither a name nor a function; give one name such as "
            "'balanced_accuracy', one function (estimator, X, y), or None for the accuracy."
        )
    return check_scoring(scoring=scoring)


class Tally:
    """Scores by strength and draw, of logits that come in blocks of rows, in order.

    Parameters
    ----------
    X, y : array-like of shape (n_samples, n_features), ndarray of shape (n_samples,)
        The rows as they were given, and the index of every row's class.
    classes : ndarray of shape (n_classes,)
        Labels of the outputs.
    weight : ndarray of shape (n_samples,) or None
        Row weights; None: all alike.
    scorer : callable or None
        ``scorer(estimator, X, y)``, with ``sample_weight`` if there are weights; None: the accuracy.
    shape : (int, int)
        Number of strengths and of draws.
    """

    def __init__(
        self,
        X: Any,
        y: np.ndarray,
        classes: np.ndarray,
        weight: np.ndarray | None,
        scorer: Callable[..., Any] | None,
        shape: tuple[int, int],
    ) -> None:
        self.X, self.y, self.classes, self.weight, self.scorer = X, y, classes, weight, scorer
        self.scores = np.zeros(shape)
        self._share = np.ones(len(y)) if weight is None else weight
        self._total = self._share.sum()
        self._logits: dict[tuple[int, int], np.ndarray] = {}

    @property
    def until_broken(self) -> bool:
        """Whether a row that is misclassified counts alike, however badly."""
        return self.scorer is None

    def add(
        self, strength: int, draw: int, rows: slice, logits: np.ndarray, points: np.ndarray | None = None
    ) -> None:
        """Take the logits of the next rows; after the last ones the score stands in ``scores``."""
        check_logits(logits, rows.start)
        if self.scorer is None:
            self.add_hits(strength, draw, rows, logits.argmax(axis=1) == self.y[rows])
            return
        whole = self._logits.setdefault(
            (strength, draw), np.empty((len(self.y), len(self.classes)), logits.dtype)
        )
        whole[rows] = logits
        if rows.stop == len(self.y):
            self.scores[strength, draw] = self._score(self._logits.pop((strength, draw)))

    def add_hits(self, strength: int, draw: int, rows: slice, hit: np.ndarray) -> None:
        """Take which of the next rows count as right."""
        self.scores[strength, draw] += self._share[rows] @ hit
        if rows.stop == len(self.y):
            # Sums in two orders may differ by a rounding: no share is above 1.
            self.scores[strength, draw] = min(self.scores[strength, draw] / self._total, 1.0)

    def _score(self, logits: np.ndarray) -> float:
        view = PerturbedClassifier(self.X, logits, self.classes)
        weights = {} if self.weight is None else {"sample_weight": self.weight}
        assert self.scorer is not None
        score = self.scorer(view, self.X, self.classes[self.y], **weights)
        if not isinstance(score, Real):
            raise TypeError(
                f"scoring returned {quoted(score)}, a {type(score).__name__}; it must return one number."
            )
        return float(score)


class Points:
    """In place of a tally: the points themselves to which an attack brings the rows."""

    until_broken = False  # of each row the worst point

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.X = np.empty(shape, dtype)

    def add(self, strength: int, draw: int, rows: slice, logits: np.ndarray, points: np.ndarray) -> None:
        """Take the next rows."""
        check_logits(logits, rows.start)
        self.X[rows] = points
