"""Interval bound propagation: what a network can say at most while every input stays in its box.

Boxes travel as centre c and radius r. A linear layer maps them to ``W c + b`` and ``|W| r``, a monotone
activation maps their two ends. All is in float64 and outward: every radius grows by more than the rounding
errors of the layer, so that a certificate also holds for the network as it is evaluated in float64.
"""

import numpy as np
import torch

from skantidistill.blueprint import Blueprint
from skantidistill.network import ACTIVATIONS

__all__ = ["certified_margins"]


def certified_margins(blueprint: Blueprint, low: np.ndarray, high: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return by how much the label's logit exceeds every other one, at least, wherever x lies in its box.

    Parameters
    ----------
    blueprint : Blueprint
        The network; its input scaling is taken into account.
    low, high : ndarray of shape (n_samples, n_features)
        The box of every row, in raw units.
    y : ndarray of shape (n_samples,)
        Index of every row's class.

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
    blueprint = blueprint.astype(np.float64)
    centre, radius = (high + low) / 2, (high - low) / 2
    radius += _rounding(1) * (np.abs(low) + np.abs(high)) * (radius > 0)
    if blueprint.input_scale is not None and blueprint.input_shift is not None:
        scale, shift = (a.astype(np.float64) for a in (blueprint.input_scale, blueprint.input_shift))
        radius = radius * np.abs(scale) + _rounding(2) * (np.abs(centre * scale) + np.abs(shift))
        centre = centre * scale + shift
    activate = ACTIVATIONS[blueprint.activation].function
    for weight, bias in zip(blueprint.weights[:-1], blueprint.biases[:-1], strict=True):
        centre, radius = _through_linear(weight, bias, centre, radius)
        low, high = (activate(torch.from_numpy(z)).numpy() for z in (centre - radius, centre + radius))
        centre, radius = (high + low) / 2, (high - low) / 2
    margins = np.full(len(y), np.inf)
    weight, bias = blueprint.weights[-1], blueprint.biases[-1]
    for label in np.unique(y):
        rows = y == label
        others = np.arange(len(bias)) != label
        ahead, offset = weight[label] - weight[others], bias[label] - bias[others]
        extra = np.abs(weight[label]) + np.abs(weight[others]), np.abs(bias[label]) + np.abs(bias[others])
        middle, spread = _through_linear(ahead, offset, centre[rows], radius[rows], extra)
        margins[rows] = (middle - spread).min(axis=1, initial=np.inf)
    return margins


def _through_linear(
    weight: np.ndarray,
    bias: np.ndarray,
    centre: np.ndarray,
    radius: np.ndarray,
    size: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return centre and radius behind a layer; ``size`` bounds its entries where they are differences."""
    error = _rounding(weight.shape[1])
    reach = np.abs(centre) + radius
    if size is None:
        spread = (radius + error * reach) @ np.abs(weight).T + error * np.abs(bias)
    else:
        spread = radius @ np.abs(weight).T + error * (reach @ size[0].T + size[1])
    return centre @ weight.T + bias, spread


def _rounding(n_terms: int) -> float:
    """Return more than twice the relative error of a sum of n products: ours, and an evaluation's."""
    return 2 * (n_terms + 8) * float(np.finfo(np.float64).eps)
