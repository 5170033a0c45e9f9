"""Readers of scikit-learn's estimators, each into a :class:`~skantidistill.blueprint.Blueprint`.

One short reader for every kind of estimator; nothing else in the package knows what the inside of a
scikit-learn network looks like. scikit-learn's ``coefs_`` are (n_in, n_out) and are transposed here.
"""

from dataclasses import replace
from functools import singledispatch
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.calibration import CalibratedClassifierCV
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.naive_bayes import MultinomialNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skantidistill._checks import BaseSearchCV, check_labels, quoted
from skantidistill.blueprint import Blueprint
from skantidistill.scaling import bare_scalers, check_scalers, compose, read_scaler

__all__ = ["check_readable", "name_outputs", "read_teacher", "reader", "remedy", "scalers", "two_logits"]


def read_teacher(estimator: Any, classes: Any = None) -> Blueprint:
    """Return the network inside a fitted classifier.

    Parameters
    ----------
    estimator : fitted estimator
        One of

        - ``MLPClassifier``, ``AntiDistilledMLPClassifier``;
        - ``LogisticRegression``, ``LogisticRegressionCV``, ``LinearDiscriminantAnalysis``,
          ``MultinomialNB``, and ``SGDClassifier`` with ``loss="log_loss"``;
        - ``torch.nn.Sequential``, or a skorch net of one: of linear layers and activations;
        - ``Pipeline`` of affine scalers, such as ``StandardScaler``, and one of these:
          the scalers become ``input_scale`` and ``input_shift``;
        - a search such as ``GridSearchCV``, by its ``best_estimator_``, or a ``FrozenEstimator``, around one
          of these.

        A binary classifier with one logistic output ``z`` is read as two logits ``(-z/2, +z/2)``. The
        softmax of the logits is ``predict_proba``, but for an ``SGDClassifier`` of three classes or more:
        that is one-vs-rest, its logits are its decision function, and only predictions stay the same.
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
        If it is not a single-label softmax or logistic classifier, has parameters that are not finite, or
        ``classes`` has another length than its outputs or names a label twice.
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
    blueprint = reader(estimator)
    scaling = (a for a in (blueprint.input_scale, blueprint.input_shift) if a is not None)
    if not all(np.isfinite(array).all() for array in (*blueprint.parameters, *scaling)):
        raise ValueError(
            f"The teacher, {type(estimator).__name__}, has parameters that are NaN or infinite; fit it "
            "again, with a smaller learning rate or on scaled inputs if its training diverged."
        )
    return name_outputs(blueprint, classes)


def name_outputs(blueprint: Blueprint, classes: Any) -> Blueprint:
    """Return the blueprint with ``teacher_classes`` as its classes, or unchanged if they are None."""
    if classes is None:
        return blueprint
    labels = np.asarray(classes, dtype=object)
    if labels.shape == blueprint.classes.shape:
        labels = np.array(check_labels(labels, "teacher_classes").tolist())
    if labels.shape != blueprint.classes.shape or len(np.unique(labels)) != len(labels):
        raise ValueError(
            f"teacher_classes={quoted(classes)} does not name the teacher's {len(blueprint.classes)} "
            "outputs; give one distinct label for each, in the order of its outputs."
        )
    return replace(blueprint, classes=labels)


@singledispatch
def reader(estimator: Any) -> Blueprint:
    """Read a fitted estimator; ``reader.register`` adds a kind, by the type that it annotates."""
    raise _unreadable(estimator)


@singledispatch
def check_readable(estimator: Any) -> None:
    """Raise if an estimator, fitted or not, is of a kind or has a setting that can't be read."""
    if reader.dispatch(type(estimator)) is reader.dispatch(object):
        raise _unreadable(estimator)


@singledispatch
def remedy(estimator: Any) -> str:
    """Say what to give in place of an estimator that can't be read; ``remedy.register`` adds a kind."""
    if isinstance(estimator, type):
        return "Give an instance of it."
    if hasattr(estimator, "decision_function") and not hasattr(estimator, "predict_proba"):
        return (
            "It has no probabilities that are a softmax or logistic function of its decision function; fit a "
            "LogisticRegression or SGDClassifier(loss='log_loss')."
        )
    return ""


@remedy.register
def _(estimator: CalibratedClassifierCV) -> str:
    inner = (
        "calibrated_classifiers_[0].estimator"
        if hasattr(estimator, "calibrated_classifiers_")
        else "estimator"
    )
    return f"Its probabilities are recalibrated; give the classifier inside it, its {inner}."


def _unreadable(estimator: Any) -> TypeError:
    kinds = (kind.__name__ for kind in reader.registry if kind is not object)
    readable = ", ".join(sorted(kind for kind in kinds if not kind.startswith("Base")))
    is_class = isinstance(estimator, type)
    name = f"The class {estimator.__name__}" if is_class else type(estimator).__name__
    return TypeError(
        f"{name} can't be read as a network; an estimator of one of these kinds can: {readable}. "
        f"{remedy(estimator)}".rstrip()
    )


@singledispatch
def scalers(estimator: Any) -> list[Any]:
    """Return the fitted scalers that the inputs of an estimator pass; ``scalers.register`` adds a kind.

    The first one comes first; together they are the blueprint's ``input_scale`` and ``input_shift``.
    """
    return []


@check_readable.register
def _(estimator: FrozenEstimator) -> None:
    check_readable(estimator.estimator)


@reader.register
def _(estimator: FrozenEstimator) -> Blueprint:
    return reader(estimator.estimator)


@scalers.register
def _(estimator: FrozenEstimator) -> list[Any]:
    return scalers(estimator.estimator)


@check_readable.register
def _(estimator: BaseSearchCV) -> None:
    if not estimator.refit:
        raise ValueError(
            f"teacher is a {type(estimator).__name__} with refit=False, which keeps no fitted estimator; set "
            "refit=True, or give clone(search.estimator).set_params(**search.best_params_)."
        )
    check_readable(getattr(estimator, "best_estimator_", estimator.estimator))


@reader.register(GridSearchCV)
@reader.register(RandomizedSearchCV)
@reader.register(BaseSearchCV)
def _(estimator: Any) -> Blueprint:
    check_readable(estimator)
    check_is_fitted(estimator, "best_estimator_")
    return reader(estimator.best_estimator_)


@scalers.register
def _(estimator: BaseSearchCV) -> list[Any]:
    return scalers(estimator.best_estimator_)


@check_readable.register
def _(estimator: Pipeline) -> None:
    check_scalers(estimator.steps[:-1])
    check_readable(estimator.steps[-1][1] if estimator.steps else None)


@reader.register
def _(estimator: Pipeline) -> Blueprint:
    check_readable(estimator)
    *before, (_, classifier) = estimator.steps
    blueprint, inputs = reader(classifier), bare_scalers(before)
    if not inputs:
        return blueprint
    maps = [read_scaler(scaler) for scaler in inputs]
    if blueprint.input_scale is not None and blueprint.input_shift is not None:
        maps.append((blueprint.input_scale, blueprint.input_shift))
    scale, shift = compose(maps)
    return replace(blueprint, feature_names=_feature_names(inputs[0]), input_scale=scale, input_shift=shift)


@scalers.register
def _(estimator: Pipeline) -> list[Any]:
    *before, (_, classifier) = estimator.steps
    return [*bare_scalers(before), *scalers(classifier)]


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
        weights[-1], biases[-1] = two_logits(weights[-1], biases[-1])
    return Blueprint(
        tuple(weights), tuple(biases), estimator.activation, estimator.classes_, _feature_names(estimator)
    )


@reader.register
def _(estimator: LogisticRegression) -> Blueprint:
    check_is_fitted(estimator)
    # scikit-learn before 1.8 had one-vs-rest fits, whose probabilities are no softmax.
    scheme = getattr(estimator, "multi_class", "auto")
    if len(estimator.coef_) > 1 and (scheme == "ovr" or estimator.solver == "liblinear"):
        raise ValueError(
            "teacher is a one-vs-rest LogisticRegression, whose probabilities are not the softmax of "
            "its decision function; fit it with a multinomial solver such as 'lbfgs'."
        )
    # A multinomial fit of two classes has probabilities softmax(-z, z), twice the logistic's logit.
    return _linear(estimator, half=1.0 if scheme == "multinomial" else 0.5)


@check_readable.register
def _(estimator: SGDClassifier) -> None:
    if estimator.loss != "log_loss":
        raise ValueError(
            f"teacher is an SGDClassifier with loss={estimator.loss!r}, which has no probabilities that are "
            "a softmax or logistic function of its decision function; fit it with loss='log_loss'."
        )


@reader.register
def _(estimator: SGDClassifier) -> Blueprint:
    check_readable(estimator)
    check_is_fitted(estimator)
    return _linear(estimator)


@reader.register
def _(estimator: LinearDiscriminantAnalysis) -> Blueprint:
    check_is_fitted(estimator)
    return _linear(estimator)


@reader.register
def _(estimator: MultinomialNB) -> Blueprint:
    check_is_fitted(estimator)
    _check_several_classes(estimator)
    # Log likelihoods have a large offset in common, which the softmax ignores but a new class would not.
    weight = estimator.feature_log_prob_ - estimator.feature_log_prob_.mean(axis=0)
    bias = estimator.class_log_prior_ - estimator.class_log_prior_.mean()
    return Blueprint((weight,), (bias,), "identity", estimator.classes_, _feature_names(estimator))


def _linear(estimator: Any, half: float = 0.5) -> Blueprint:
    """Read a linear classifier whose ``coef_`` has one row a class, or one row for two classes."""
    weight = estimator.coef_.toarray() if issparse(estimator.coef_) else estimator.coef_
    bias = np.broadcast_to(estimator.intercept_, len(weight))
    if len(weight) == 1:
        weight, bias = two_logits(weight, bias, half)
    return Blueprint((weight,), (bias,), "identity", estimator.classes_, _feature_names(estimator))


def _check_several_classes(estimator: Any) -> None:
    if len(estimator.classes_) < 2:
        raise ValueError(
            f"teacher knows one class only, {quoted(estimator.classes_[0])}; only teachers of at least 2 "
            "classes can grow."
        )


def two_logits(weight: np.ndarray, bias: np.ndarray, half: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Turn the logistic output z into the logits (-half * z, +half * z)."""
    return np.concatenate([-half * weight, half * weight]), np.concatenate([-half * bias, half * bias])


def _feature_names(estimator: Any) -> np.ndarray | None:
    return getattr(estimator, "feature_names_in_", None)
