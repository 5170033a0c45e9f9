"""Where a student starts from: initial parameters of the grown network.

A start is a function ``(growth, random_state) -> (W_1, b_1, ..., W_L, b_L)`` of float64 arrays;
weights are (n_out, n_in).
"""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from numpy.random import RandomState

from skantidistill.growth import Growth

__all__ = ["STARTS", "glorot_uniform", "uniform", "xavier", "zero"]


def glorot_uniform(layer_sizes: Sequence[int], random_state: RandomState) -> tuple[np.ndarray, ...]:
    """Draw every weight from U[-r, r], r = sqrt(6 / (n_in + n_out)); biases are zero.

    References
    ----------
    X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS 2010, equation 16.
    """
    params: list[np.ndarray] = []
    for n_in, n_out in itertools.pairwise(layer_sizes):
        r = np.sqrt(6 / (n_in + n_out))
        params += [random_state.uniform(-r, r, (n_out, n_in)), np.zeros(n_out)]
    return tuple(params)


def xavier(growth: Growth, random_state: RandomState) -> tuple[np.ndarray, ...]:
    """Start fresh, with nothing of the teacher (:func:`glorot_uniform`)."""
    return glorot_uniform(growth.layer_sizes, random_state)


def zero(growth: Growth, random_state: RandomState) -> tuple[np.ndarray, ...]:
    """Keep the teacher's block and set every other parameter to 0.

    The logits of the teacher's classes are exactly the teacher's. For relu the added hidden units
    never train: they output 0, their outgoing weights are 0, and the gradient of both stays 0. Only
    the new outputs learn. (Parameter noise lifts them off 0: with ``parameter_noise_std > 0`` they train.)
    """
    sizes = growth.layer_sizes
    fill: list[np.ndarray] = []
    for n_in, n_out in itertools.pairwise(sizes):
        fill += [np.zeros((n_out, n_in)), np.zeros(n_out)]
    return growth.embed(growth.teacher.parameters, fill)


def uniform(growth: Growth, random_state: RandomState) -> tuple[np.ndarray, ...]:
    """Keep the teacher's block and draw the others from U[-1/sqrt(n), 1/sqrt(n)], n a layer's inputs.

    The added units disturb the teacher's function, and they train.
    """
    sizes = growth.layer_sizes
    fill: list[np.ndarray] = []
    for n_in, n_out in itertools.pairwise(sizes):
        r = 1 / np.sqrt(n_in)
        fill += [random_state.uniform(-r, r, (n_out, n_in)), random_state.uniform(-r, r, n_out)]
    return growth.embed(growth.teacher.parameters, fill)


STARTS: dict[str, Callable[[Growth, RandomState], tuple[np.ndarray, ...]]] = {
    "xavier": xavier,
    "zero": zero,
    "uniform": uniform,
}
