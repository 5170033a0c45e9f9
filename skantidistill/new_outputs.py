"""Output rows for classes that the teacher lacks, fitted before the training begins.

A grown network knows nothing of its new classes, and unlearns what it does know while it finds out. Their
output rows are a convex problem on what the last hidden layer gives, solved here on a sample.
"""

from typing import Any

import numpy as np
from numpy.random import RandomState
from scipy.optimize import minimize
from scipy.special import log_softmax

from skantidistill.blueprint import Blueprint

__all__ = ["fit_new_outputs"]

#: Rows of the sample: this many, or this many a class if that is more.
SAMPLE, SAMPLE_PER_CLASS = 3000, 20
#: Strength of the pull towards the present output layer, and of new rows towards 0, in units of the mean square
#: of what the layer sees. 1e-3 gives new rows the norm of the old ones on Fashion-MNIST, and like firmness.
PULL = 1e-3


def fit_new_outputs(
    blueprint: Blueprint,
    new: np.ndarray,
    X: Any,
    codes: np.ndarray,
    weight: np.ndarray,
    index: np.ndarray,
    random_state: RandomState,
) -> Blueprint:
    """Return the network with an output layer that knows its new classes.

    Minimises ``CE + PULL/2 m ||V - V_0||^2`` over the output layer V alone, biases included, on a sample with
    as many rows of every class, weighed as the classes are in the data. ``V_0`` is the present layer, 0 in
    the new rows, and m the mean square of the last hidden layer's outputs. Outputs of classes that have no
    row here stay as they are, and out of the softmax.

    Parameters
    ----------
    blueprint : Blueprint
        The grown network.
    new : integer ndarray of shape (n_new,)
        Its outputs that are new. If no row has one of them, or there are no hidden layers, nothing is done.
    X : {ndarray, sparse matrix} of shape (n_samples, n_features)
        Raw inputs.
    codes : integer ndarray of shape (n_samples,)
        Output index of every row's label.
    weight : ndarray of shape (n_samples,)
        Row weights.
    index : integer ndarray of shape (n_rows,)
        The rows that count.
    random_state : RandomState
        Chooses the sample.
    """
    mass = np.bincount(codes[index], weights=weight[index], minlength=len(blueprint.classes))
    if not mass[new].any() or not blueprint.hidden_layer_sizes:
        return blueprint
    present = np.flatnonzero(mass)
    rows = _sample(codes, index, random_state)
    n_rows = np.bincount(codes[rows], minlength=len(mass))
    w = (mass / mass.sum() / np.maximum(n_rows, 1))[codes[rows]]
    a = blueprint.hidden(X[rows]).astype(np.float64)
    inputs = np.column_stack([a, np.ones(len(a))])
    begin = np.column_stack([blueprint.weights[-1], blueprint.biases[-1]]).astype(np.float64)
    begin[new] = 0
    begin, truth = begin[present], np.eye(len(mass))[codes[rows]][:, present]
    pull = PULL * np.mean(a**2)

    def objective(v: np.ndarray) -> tuple[float, np.ndarray]:
        V = v.reshape(begin.shape)
        log_p = log_softmax(inputs @ V.T, axis=1)
        away = V - begin
        loss = -w @ (log_p * truth).sum(axis=1) + pull / 2 * np.sum(away**2)
        return loss, ((w[:, None] * (np.exp(log_p) - truth)).T @ inputs + pull * away).ravel()

    # To the minimum, which is one: where rounding differs a little, so does the result, and no more.
    exactly = {"maxiter": 1000, "ftol": 1e-15, "gtol": 1e-9, "maxcor": 30}
    V = minimize(objective, begin.ravel(), jac=True, method="L-BFGS-B", options=exactly).x
    V = V.reshape(begin.shape)
    weights, biases = blueprint.weights[-1].copy(), blueprint.biases[-1].copy()
    weights[present], biases[present] = V[:, :-1], V[:, -1]
    return blueprint.with_parameters((*blueprint.parameters[:-2], weights, biases))


def _sample(codes: np.ndarray, index: np.ndarray, random_state: RandomState) -> np.ndarray:
    """Choose rows, as many of every class as there are, up to an equal share of the sample."""
    shuffled = random_state.permutation(index)
    order = shuffled[np.argsort(codes[shuffled], kind="stable")]
    counts = np.bincount(codes[order])
    counts = counts[counts > 0]
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[rank < max(SAMPLE_PER_CLASS, SAMPLE // len(counts))]
