"""Read a fitted estimator into a :class:`~skantidistill.blueprint.Blueprint`.

One short reader for every kind of estimator; nothing else in the package knows what the inside of a
scikit-learn network looks like. scikit-learn's ``coefs_`` are (n_in, n_out) and are transposed here.
"""

from dataclasses import replace
from functools import singledispatch
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skantidistill._checks import check_labels
from skantidistill.blueprint import Blueprint

__all__ = ["check_readable", "name_outputs", "read_teacher", "reader"]


def read_teacher(estimator: Any, classes: Any = None) -> Blueprint:
    """Return the network inside a fitted classifier.

    Parameters
    ----------
    estimator : fitted estimator
        An ``MLPClassifier``, a ``LogisticRegression``, a ``FrozenEstimator`` around one of them, or
        an ``AntiDistilledMLPClassifier``. A binary classifier with one logistic output ``z`` is
        read as two logits ``(-z/2, +z/2)``.
    classes : array-like of shape (n_classes,), default=None
        Labels of the outputs, in their order; None: the estimator's ``classes_``.

    Returns
    -------
    blueprint : Blueprint
        Its arrays are shared with the estimator where the layout allows; don't write to them.

    Raises
    ------
    TypeError
        If the estimator is of a kind that can't be read.
    ValueError
        If it is not a single-label softmax or logistic classifier, or ``classes`` has another length
        than its outputs or names a label twice.
    sklearn.exceptions.NotFittedError
        If it is not fitted.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skantidistill.teachers import read_teacher
    >>> read_teacher(LogisticRegression(max_iter=500).fit(*load_iris(return_X_y=True))).layer_sizes
    (4, 3)
    """
    return name_outputs(reader(estimator), classes)


def name_outputs(blueprint: Blueprint, classes: Any) -> Blueprint:
    """Return the blueprint with ``teacher_classes`` as its classes, or unchanged if they are None."""
    if classes is None:
        return blueprint
    labels = np.asarray(classes, dtype=object)
    if labels.shape == blueprint.classes.shape:
        labels = np.array(check_labels(labels, "teacher_classes").tolist())
    if labels.shape != blueprint.classes.shape or len(np.unique(labels)) != len(labels):
        raise ValueError(
            f"teacher_classes={classes!r} does not name the teacher's {len(blueprint.classes)} outputs; "
            "give one distinct label for each, in the order of its outputs."
        )
    return replace(blueprint, classes=labels)


@singledispatch
def reader(estimator: Any) -> Blueprint:
    """Read a fitted estimator; ``reader.register`` adds a kind, by the type that it annotates."""
    raise _unreadable(estimator)


def check_readable(estimator: Any) -> None:
    """Raise a TypeError if no reader is registered for the kind of this estimator, fitted or not."""
    if reader.dispatch(type(estimator)) is reader.dispatch(object):
        raise _unreadable(estimator)


def _unreadable(estimator: Any) -> TypeError:
    readable = sorted(kind.__name__ for kind in reader.registry if kind is not object)
    name, remedy = type(estimator).__name__, ""
    if isinstance(estimator, type):
        name, remedy = f"The class {estimator.__name__}", " Give an instance of it."
    elif isinstance(estimator, Pipeline):
        remedy = " Give its last step, together with inputs as its other steps transform them."
    elif hasattr(estimator, "best_estimator_"):
        remedy = " Give its best_estimator_."
    return TypeError(
        f"{name} can't be read as a network; an estimator of one of these kinds can: "
        f"{', '.join(readable)}.{remedy}"
    )


@reader.register
def _(estimator: FrozenEstimator) -> Blueprint:
    return reader(estimator.estimator)


@reader.register
def _(estimator: MLPClassifier) -> Blueprint:
    check_is_fitted(estimator)
    _check_several_classes(estimator)
    n_outputs = estimator.coefs_[-1].shape[1]
    if estimator.out_activation_ == "logistic" and n_outputs > 1:
        raise ValueError(
            f"teacher is a multilabel MLPClassifier with {n_outputs} outputs; only teachers that give "
            "every row one label can grow."
        )
    weights = [w.T for w in estimator.coefs_]
    biases = list(estimator.intercepts_)
    if estimator.out_activation_ == "logistic":
        weights[-1], biases[-1] = _two_logits(weights[-1], biases[-1])
    return Blueprint(
        tuple(weights), tuple(biases), estimator.activation, estimator.classes_, _feature_names(estimator)
    )


@reader.register
def _(estimator: LogisticRegression) -> Blueprint:
    check_is_fitted(estimator)
    coef = estimator.coef_.toarray() if issparse(estimator.coef_) else estimator.coef_
    weight, bias = coef, np.broadcast_to(estimator.intercept_, len(coef))
    # scikit-learn before 1.8 had one-vs-rest fits, whose probabilities are no softmax.
    scheme = getattr(estimator, "multi_class", "auto")
    if len(weight) > 1 and (scheme == "ovr" or estimator.solver == "liblinear"):
        raise ValueError(
            "teacher is a one-vs-rest LogisticRegression, whose probabilities are not the softmax of "
            "its decision function; fit it with a multinomial solver such as 'lbfgs'."
        )
    if len(weight) == 1:
        # A multinomial fit of two classes has probabilities softmax(-z, z), twice the logistic's logit.
        weight, bias = _two_logits(weight, bias, half=1.0 if scheme == "multinomial" else 0.5)
    return Blueprint((weight,), (bias,), "identity", estimator.classes_, _feature_names(estimator))


def _check_several_classes(estimator: Any) -> None:
    if len(estimator.classes_) < 2:
        raise ValueError(
            f"teacher knows one class only, {estimator.classes_.tolist()[0]!r}; only teachers of at least 2 "
            "classes can grow."
        )


def _two_logits(weight: np.ndarray, bias: np.ndarray, half: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Turn the logistic output z into the logits (-half * z, +half * z)."""
    return np.concatenate([-half * weight, half * weight]), np.concatenate([-half * bias, half * bias])


def _feature_names(estimator: Any) -> np.ndarray | None:
    return getattr(estimator, "feature_names_in_", None)
