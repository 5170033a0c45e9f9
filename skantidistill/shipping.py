"""Hand a fitted classifier to where there is no torch and no skantidistill: as scikit-learn's, and as ONNX.

Weights of a blueprint are (n_out, n_in); scikit-learn's ``coefs_`` are (n_in, n_out).
"""

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import LabelBinarizer, StandardScaler

from skantidistill._checks import import_optional, quoted
from skantidistill.blueprint import Blueprint
from skantidistill.teachers import read_teacher

__all__ = ["plain_estimator", "to_onnx", "to_sklearn"]


def to_sklearn(estimator: Any, *, classes: Any = None, fold: bool = False) -> Any:
    """Return a fitted classifier as a fitted ``MLPClassifier``, behind a scaler where it has a scaling.

    The result predicts the same and holds copies of the parameters. Neither it nor its pickle needs torch or
    skantidistill.

    Parameters
    ----------
    estimator : fitted estimator
        Any that :func:`~skantidistill.teachers.read_teacher` reads.
    classes : array-like of shape (n_classes,), default=None
        Labels of the outputs, in their order, as ``teacher_classes``; None: the estimator's ``classes_``. The
        result has them sorted, as all of scikit-learn.
    fold : bool, default=False
        Whether a scaling becomes part of the first layer, which then takes sparse X whatever the scaling.
        Where columns of X are far from 0, it costs digits.

    Returns
    -------
    model : MLPClassifier or Pipeline
        A Pipeline ``("scale", StandardScaler), ("mlp", MLPClassifier)`` if the estimator has a scaling (which
        takes sparse X if it does not shift) and ``fold`` is False. Two logits become scikit-learn's one
        logistic output. Of the constructor parameters, ``hidden_layer_sizes`` and ``activation`` are the
        network's, the others are scikit-learn's defaults: set what ``partial_fit`` is to go on with. What the
        estimator tells of its training (``n_iter_``, ``loss_``, ``loss_curve_``, ``validation_scores_``) is
        kept; a linear model tells nothing of epochs: 0 of them, and ``loss_`` is NaN. The loss of a student
        has the noise and trace terms in it. In float32 scikit-learn rounds the scaler's mean, which costs
        digits where columns of X are far from 0.

    Raises
    ------
    TypeError, ValueError
        As :func:`~skantidistill.teachers.read_teacher`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skantidistill import to_sklearn
    >>> to_sklearn(LogisticRegression(max_iter=500).fit(*load_iris(return_X_y=True)))
    MLPClassifier(activation='identity', hidden_layer_sizes=())
    """
    blueprint = read_teacher(estimator, classes)
    if fold:
        blueprint = blueprint.folded()
    model = plain_estimator(blueprint)
    _tell(model[-1] if isinstance(model, Pipeline) else model, _trained(estimator))
    return model


def plain_estimator(blueprint: Blueprint) -> Any:
    """Return what :func:`to_sklearn` makes of a blueprint, as if it had been trained for no epoch."""
    blueprint = blueprint.select_classes(np.argsort(blueprint.classes))
    if blueprint.input_scale is None or blueprint.input_shift is None:
        return _mlp(blueprint)
    scaler = _scaler(blueprint.input_scale, blueprint.input_shift)
    _name_features(scaler, blueprint)
    mlp = _mlp(replace(blueprint, feature_names=None))  # it sees the scaler's bare arrays
    return Pipeline([("scale", scaler), ("mlp", mlp)])


def _mlp(blueprint: Blueprint) -> MLPClassifier:
    """Return the network behind the scaling; what tells of training is as before the first epoch."""
    weights, biases = list(blueprint.weights), list(blueprint.biases)
    if len(blueprint.classes) == 2:
        weights[-1], biases[-1] = np.diff(weights[-1], axis=0), np.diff(biases[-1])
    mlp = MLPClassifier(blueprint.hidden_layer_sizes, blueprint.activation)
    # scikit-learn's predict turns outputs into labels by this, and its partial_fit labels into outputs.
    mlp._label_binarizer = LabelBinarizer().fit(blueprint.classes)
    mlp.classes_ = mlp._label_binarizer.classes_
    mlp.coefs_ = [np.array(weight.T, order="C") for weight in weights]
    mlp.intercepts_ = [np.array(bias) for bias in biases]
    mlp.n_layers_ = len(blueprint.layer_sizes)
    mlp.n_outputs_ = len(biases[-1])
    mlp.out_activation_ = "logistic" if mlp.n_outputs_ == 1 else "softmax"
    _name_features(mlp, blueprint)
    _tell(mlp, None)
    mlp._no_improvement_count = 0  # partial_fit adds to it
    mlp.t_ = 0
    return mlp


def _scaler(scale: np.ndarray, shift: np.ndarray) -> StandardScaler:
    """Return the scaler ``x * scale + shift``; no rows were seen to estimate it."""
    scaler = StandardScaler(with_mean=bool(np.any(shift)))
    scaler.scale_ = 1 / scale
    scaler.mean_ = -shift / scale
    scaler.var_ = scaler.scale_**2
    scaler.n_samples_seen_ = np.int64(0)
    return scaler


def _name_features(estimator: Any, blueprint: Blueprint) -> None:
    estimator.n_features_in_ = blueprint.layer_sizes[0]
    if blueprint.feature_names is not None:
        estimator.feature_names_in_ = np.array(blueprint.feature_names, dtype=object)


def _trained(estimator: Any) -> Any:
    """Return the classifier inside pipelines, searches and ``FrozenEstimator``, which was trained."""
    while isinstance(estimator, (Pipeline, FrozenEstimator)) or hasattr(estimator, "best_estimator_"):
        if isinstance(estimator, Pipeline):
            estimator = estimator[-1]
        else:
            estimator = getattr(estimator, "best_estimator_", None) or estimator.estimator
    return estimator


def _tell(mlp: MLPClassifier, estimator: Any) -> None:
    """Set what an estimator tells of its training, if it is a network that was trained by the epoch."""
    told = hasattr(estimator, "loss_")
    mlp.n_iter_ = int(estimator.n_iter_) if told else 0
    mlp.loss_ = float(estimator.loss_) if told else np.nan
    mlp.loss_curve_ = list(getattr(estimator, "loss_curve_", []))
    mlp.best_loss_ = min(mlp.loss_curve_, default=np.inf)
    mlp.validation_scores_ = list(getattr(estimator, "validation_scores_", None) or []) or None
    mlp.best_validation_score_ = max(mlp.validation_scores_) if mlp.validation_scores_ else None


def to_onnx(
    estimator: Any, *, classes: Any = None, dtype: Any = np.float32, target_opset: int | None = None
) -> Any:
    """Return a fitted classifier as an ONNX model, which runs without Python.

    Parameters
    ----------
    estimator : fitted estimator
        Any that :func:`~skantidistill.teachers.read_teacher` reads.
    classes : array-like of shape (n_classes,), default=None
        Labels of the outputs, as in :func:`to_sklearn`.
    dtype : {numpy.float32, numpy.float64} or None, default=numpy.float32
        Of the input and of the arithmetic; None: that of the estimator's parameters.
    target_opset : int, default=None
        Version of ONNX's operators, for an old runtime; None: the newest that skl2onnx knows.

    Returns
    -------
    model : onnx.ModelProto
        ``model.SerializeToString()`` are the bytes of an ``.onnx`` file. One input "X" of shape
        (n_samples, n_features) takes raw, dense rows in the order of the estimator's columns, whatever their
        names; the outputs are "label" (strings, or int64 for numbers and booleans) and "probabilities" of
        shape (n_samples, n_classes), in the sorted order of the labels. To run it::

            session = onnxruntime.InferenceSession(model.SerializeToString())
            label, probabilities = session.run(None, {"X": X.astype(np.float32)})

    Raises
    ------
    ImportError
        If skl2onnx is not installed: ``pip install skl2onnx``.
    TypeError, ValueError
        As :func:`to_sklearn`; if ``dtype`` is another one; and for integer labels beyond 32 bits, which
        skl2onnx does not keep.
    """
    skl2onnx = import_optional("skl2onnx", "skl2onnx", "to_onnx")
    types = import_optional("skl2onnx.common.data_types", "skl2onnx", "to_onnx")
    model = to_sklearn(estimator, classes=classes)
    mlp = model[-1] if isinstance(model, Pipeline) else model
    _check_onnx_labels(mlp.classes_)
    tensors = {np.dtype(np.float32): types.FloatTensorType, np.dtype(np.float64): types.DoubleTensorType}
    try:
        kind = np.dtype(mlp.coefs_[0].dtype if dtype is None else dtype)
    except TypeError:
        kind = None
    if kind not in tensors:
        raise TypeError(f"dtype={quoted(dtype)} must be numpy.float32, numpy.float64 or None.")
    options = {id(mlp): {"zipmap": False}}  # probabilities as one array, not as a dict a row
    inputs = [("X", tensors[kind]([None, model.n_features_in_]))]
    return skl2onnx.to_onnx(model, initial_types=inputs, options=options, target_opset=target_opset)


def _check_onnx_labels(labels: np.ndarray) -> None:
    limits = np.iinfo(np.int32)
    if labels.dtype.kind in "iuf" and not limits.min <= labels[0] <= labels[-1] <= limits.max:
        raise ValueError(
            f"The labels {labels[0]} to {labels[-1]} do not fit into 32 bits, which is what skl2onnx keeps "
            "of them; name them as strings, by classes."
        )
