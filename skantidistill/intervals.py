"""Interval bound propagation: what a network can say at most while every input stays in its box.

Boxes travel as centre c and radius r. A linear layer maps them to ``W c + b`` and ``|W| r``, a monotone
activation maps their two ends. All is in float64 and outward: every radius grows by more than the rounding
errors of the layer, those made here and those of an evaluation in the precision of rows and parameters, so
that a certificate also holds for the network as it is evaluated.
"""

from typing import Any

import numpy as np
import torch

from skantidistill.blueprint import Blueprint
from skantidistill.network import ACTIVATIONS

__all__ = ["certified_margins"]


def certified_margins(
    blueprint: Blueprint, low: np.ndarray, high: np.ndarray, y: np.ndarray, dtype: Any = np.float64
) -> np.ndarray:
    """Return by how much the label's logit exceeds every other one, at least, wherever x lies in its box.

    Parameters
    ----------
    blueprint : Blueprint
        The network; its input scaling is taken into account.
    low, high : ndarray of shape (n_samples, n_features)
        The box of every row, in raw units.
    y : ndarray of shape (n_samples,)
        Index of every row's class.
    dtype : dtype, default=numpy.float64
        Of the rows for which the certificate is; they are evaluated in the wider one of this and the
        parameters' dtype, but scaled in this one.

    Returns
    -------
    margins : ndarray of shape (n_samples,)
        The least of ``z_y - z_c`` over the classes c != y, or less. Where it is above 0, the prediction is
        y in the whole box. For a network without hidden layers it is exact, up to rounding.

    References
    ----------
    S. Gowal et al., "On the effectiveness of interval bound propagation for training verifiably robust
    models" (2018); the output layer is that of differences of logits, as there.
    """
    evaluated = np.result_type(dtype, blueprint.dtype)
    blueprint = blueprint.astype(np.float64)
    centre, radius = (high + low) / 2, (high - low) / 2
    radius += _rounding(1, np.float64) * (np.abs(low) + np.abs(high)) * (radius > 0)
    if blueprint.input_scale is not None and blueprint.input_shift is not None:
        scale, shift = (a.astype(np.float64) for a in (blueprint.input_scale, blueprint.input_shift))
        size = (np.abs(centre) + radius) * np.abs(scale) + np.abs(shift)
        # Some of scikit-learn's scalers round all they do and know to the dtype of the rows: three times.
        error = _rounding(2, np.float64) + 2 * float(np.finfo(dtype).eps)
        radius = radius * np.abs(scale) + error * size + _least(2, dtype)
        centre = centre * scale + shift
    activate = ACTIVATIONS[blueprint.activation].function
    for weight, bias in zip(blueprint.weights[:-1], blueprint.biases[:-1], strict=True):
        centre, radius = _through_linear(weight, bias, centre, radius, evaluated)
        low, high = (activate(torch.from_numpy(z)).numpy() for z in (centre - radius, centre + radius))
        centre, radius = (high + low) / 2, (high - low) / 2
    margins = np.full(len(y), np.inf)
    weight, bias = blueprint.weights[-1], blueprint.biases[-1]
    for label in np.unique(y):
        rows = y == label
        others = np.arange(len(bias)) != label
        ahead, offset = weight[label] - weight[others], bias[label] - bias[others]
        extra = np.abs(weight[label]) + np.abs(weight[others]), np.abs(bias[label]) + np.abs(bias[others])
        middle, spread = _through_linear(ahead, offset, centre[rows], radius[rows], evaluated, extra)
        margins[rows] = (middle - spread).min(axis=1, initial=np.inf)
    return margins


def _through_linear(
    weight: np.ndarray,
    bias: np.ndarray,
    centre: np.ndarray,
    radius: np.ndarray,
    dtype: Any,
    size: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return centre and radius behind a layer; ``size`` bounds its entries where they are differences."""
    error = _rounding(weight.shape[1], dtype)
    reach = np.abs(centre) + radius
    if size is None:
        spread = (radius + error * reach) @ np.abs(weight).T + error * np.abs(bias)
    else:
        spread = radius @ np.abs(weight).T + error * (reach @ size[0].T + size[1])
    return centre @ weight.T + bias, spread + _least(weight.shape[1], dtype)


def _rounding(n_terms: int, dtype: Any) -> float:
    """Return more than the relative errors of a sum of n products: ours, and an evaluation's in a dtype.

    The terms beyond n are for the bias and for the inputs, which may be off by some units in the last place.
    """
    # Each of the n operations that a term goes through errs by the factor 1 +- unit.
    shares = [(n_terms + 16) * float(np.finfo(d).eps) / 2 for d in (np.float64, dtype)]
    return sum(share / (1 - share) if share < 1 else np.inf for share in shares)


def _least(n_terms: int, dtype: Any) -> float:
    """Return more than what a sum of n products loses where they underflow."""
    return (n_terms + 1) * float(np.finfo(dtype).tiny)
