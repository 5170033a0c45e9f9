"""scikit-learn's scalers of single columns, read as ``z = x * scale + shift``.

Scales and shifts are float64 arrays of shape (n_features,).
"""

from collections.abc import Iterable, Sequence
from functools import singledispatch
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

__all__ = ["Affine", "bare_scalers", "check_scalers", "compose", "read_scaler", "scale_like"]

Affine = tuple[np.ndarray, np.ndarray]
Steps = Iterable[tuple[str, Any]]

#: Numbers that ``scale_like`` holds at once where the columns are sparse.
BLOCK_SIZE = 2**22

_REMEDY = "Give the pipeline's last step as teacher, and X as its other steps transform it."


@singledispatch
def read_scaler(transformer: Any) -> Affine:
    """Return ``(scale, shift)`` of a fitted scaler, or of a pipeline of scalers.

    Parameters
    ----------
    transformer : fitted transformer
        A ``StandardScaler``, ``MinMaxScaler``, ``MaxAbsScaler`` or ``RobustScaler``, a ``FrozenEstimator``
        around one of them, or a ``Pipeline`` of them with at least one scaler.

    Returns
    -------
    scale, shift : ndarray of shape (n_features,)
        ``transform(X) == X * scale + shift``, up to rounding.

    Raises
    ------
    TypeError
        If it is of another kind.
    ValueError
        If it clips what it scales.
    sklearn.exceptions.NotFittedError
        If it is not fitted.

    Examples
    --------
    >>> from sklearn.preprocessing import MinMaxScaler
    >>> from skantidistill.scaling import read_scaler
    >>> read_scaler(MinMaxScaler().fit([[2.0], [6.0]]))
    (array([0.25]), array([-0.5]))
    """
    raise _unreadable(transformer)


@read_scaler.register
def _(transformer: StandardScaler) -> Affine:
    check_is_fitted(transformer)
    scale = 1 / transformer.scale_ if transformer.with_std else np.ones(transformer.n_features_in_)
    return scale, -transformer.mean_ * scale if transformer.with_mean else np.zeros_like(scale)


@read_scaler.register
def _(transformer: MinMaxScaler) -> Affine:
    check_is_fitted(transformer)
    _check_unclipped(transformer)
    return transformer.scale_.astype(np.float64), transformer.min_.astype(np.float64)


@read_scaler.register
def _(transformer: MaxAbsScaler) -> Affine:
    check_is_fitted(transformer)
    _check_unclipped(transformer)
    scale = 1 / transformer.scale_.astype(np.float64)
    return scale, np.zeros_like(scale)


@read_scaler.register
def _(transformer: RobustScaler) -> Affine:
    check_is_fitted(transformer)
    scale = np.ones(transformer.n_features_in_)
    if transformer.with_scaling:
        scale /= transformer.scale_
    return scale, -transformer.center_ * scale if transformer.with_centering else np.zeros_like(scale)


@read_scaler.register
def _(transformer: FrozenEstimator) -> Affine:
    return read_scaler(transformer.estimator)


@read_scaler.register
def _(transformer: Pipeline) -> Affine:
    check_scalers(transformer.steps)
    return compose([read_scaler(scaler) for scaler in bare_scalers(transformer.steps)])


def compose(maps: Sequence[Affine]) -> Affine:
    """Return the affine map that applies one or more maps, the first one first."""
    scale, shift = maps[0]
    for next_scale, next_shift in maps[1:]:
        scale, shift = scale * next_scale, shift * next_scale + next_shift
    return scale, shift


def bare_scalers(steps: Steps) -> list[Any]:
    """Return the scalers in a pipeline's steps, out of nested pipelines and ``FrozenEstimator``."""
    return [transformer for _, transformer in _flat(steps)]


def check_scalers(steps: Steps) -> None:
    """Raise unless every step, fitted or not, is of a kind that ``read_scaler`` reads, and does not clip."""
    for name, transformer in _flat(steps):
        if read_scaler.dispatch(type(transformer)) is read_scaler.dispatch(object):
            raise _unreadable(transformer, name)
        _check_unclipped(transformer)


def scale_like(scalers: Sequence[Any], X_new: Any, sample_weight: np.ndarray | None = None) -> Affine:
    """Return what scalers of the same kinds and settings do to new columns, fitted on them in turn.

    Parameters
    ----------
    scalers : sequence of transformer
        As :func:`skantidistill.teachers.scalers` returns them; cloned, not written to.
    X_new : {ndarray, CSR matrix or array} of shape (n_samples, n_new)
        The columns. Sparse ones are filled in by blocks, so that centring is allowed.
    sample_weight : ndarray of shape (n_samples,), default=None
        Row weights, for the scalers that take them; a row of weight 0 counts as absent for all.

    Returns
    -------
    scale, shift : ndarray of shape (n_new,)
        Ones and zeros where there are no scalers.
    """
    if sample_weight is not None and not np.all(sample_weight):
        X_new, sample_weight = X_new[np.flatnonzero(sample_weight)], sample_weight[sample_weight != 0]
    n_rows, n_new = X_new.shape
    scale, shift = np.ones(n_new), np.zeros(n_new)
    sparse = issparse(X_new)
    if sparse:
        X_new = X_new.tocsc()
    width = max(1, BLOCK_SIZE // n_rows)
    for start in range(0, n_new, width):
        columns = slice(start, start + width)
        block = X_new[:, columns]
        maps = [(scale[columns], shift[columns])]
        maps += _refit(scalers, block.toarray() if sparse else block, sample_weight)
        scale[columns], shift[columns] = compose(maps)
    return scale, shift


def _refit(scalers: Sequence[Any], X: np.ndarray, sample_weight: np.ndarray | None) -> list[Affine]:
    maps = []
    for scaler in scalers:
        fresh = clone(scaler).set_output(transform="default")
        weighted = sample_weight is not None and has_fit_parameter(fresh, "sample_weight")
        X = fresh.fit(X, **({"sample_weight": sample_weight} if weighted else {})).transform(X)
        maps.append(read_scaler(fresh))
    return maps


def _flat(steps: Steps, prefix: str = "") -> list[tuple[str, Any]]:
    """Return (name, transformer) pairs, nested ones as ``outer__inner``, without those that do nothing."""
    flat = []
    for name, step in steps:
        while isinstance(step, FrozenEstimator):
            step = step.estimator
        if isinstance(step, Pipeline):
            flat += _flat(step.steps, f"{prefix}{name}__")
        elif step is not None and not (isinstance(step, str) and step == "passthrough"):
            flat.append((prefix + name, step))
    return flat


def _check_unclipped(transformer: Any) -> None:
    if getattr(transformer, "clip", False):
        raise ValueError(
            f"A {type(transformer).__name__} with clip=True is not affine; set clip=False. Or: {_REMEDY}"
        )


def _unreadable(transformer: Any, step: str = "") -> TypeError:
    name = type(transformer).__name__
    kinds = sorted(kind.__name__ for kind in read_scaler.registry if kind is not object)
    return TypeError(
        f"{f'The step {step!r} is a {name}, which' if step else name} can't be read as a scaler; a "
        f"transformer of one of these kinds can: {', '.join(kinds)}. {_REMEDY}"
    )
