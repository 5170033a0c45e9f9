"""Output rows for classes that the teacher lacks, fitted before the training begins.

A grown network knows nothing of its new classes, and unlearns what it does know while it finds out. Their
output rows are a convex problem on what the last hidden layer gives, solved here on a sample.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.random import RandomState
from scipy.optimize import minimize
from scipy.sparse import issparse
from scipy.sparse.linalg import LinearOperator, cg
from torch import Tensor

from skantidistill._checks import encode_labels
from skantidistill.blueprint import Blueprint
from skantidistill.network import ACTIVATIONS, forward
from skantidistill.old_data import OldData
from skantidistill.together import ask

__all__ = ["OutputLayer", "fit_new_outputs"]

#: Rows of the sample: this many, or this many a class if that is more.
SAMPLE, SAMPLE_PER_CLASS = 3000, 20
#: Strength of the pull towards the present output layer, new rows towards 0, in units of the mean square of
#: what the layer sees. Less of it begins with more accuracy and ends with less firmness.
PULL = 0.1
#: Bound on the products of numbers in one direction, over all iterations: some seconds.
WORK = 3e10
#: Newton's steps near the minimum, each by conjugate gradients to 1e-5 of what is left.
N_NEWTON = 2
#: What the output layer may see at most: its squares are summed.
LARGEST = 1e100


def fit_new_outputs(
    blueprint: Blueprint, new: np.ndarray, data: OldData, old: OldData | None, random_state: RandomState
) -> Blueprint:
    """Return the network with an output layer that knows its new classes.

    Minimises ``CE + PULL/2 m ||V - V_0||^2`` over the output layer V alone, biases included, on a sample with
    as many rows of every class, weighed as the classes are in the data. ``V_0`` is the present layer, 0 in
    the new rows, and m the sample's mean square of the last hidden layer's outputs, by row weights. Outputs
    of classes that have no row stay as they are, and out of the softmax.

    Parameters
    ----------
    blueprint : Blueprint
        The grown network.
    new : integer ndarray of shape (n_new,)
        Its outputs that are new. If no row has one of them, or there are no hidden layers, nothing is done.
    data : OldData
        The rows to train on.
    old : OldData or None
        D1, with all columns: the rows of classes that ``data`` has not; each counts as an average class.
    random_state : RandomState
        Chooses the sample.
    """
    if not blueprint.hidden_layer_sizes:
        return blueprint
    codes, index, mass = _count(blueprint, data)
    if not mass[new].any():
        return blueprint
    rows = _sample(codes, index, random_state)
    a, labels, weight = _hidden(blueprint, data.X[rows]), codes[rows], data.weight[rows]
    if old is not None:
        old_codes, old_index, old_mass = _count(blueprint, old)
        absent = (old_mass > 0) & (mass == 0)
        mass = np.where(absent, mass[mass > 0].mean(), mass)
        rows = _sample(old_codes, old_index[absent[old_codes[old_index]]], random_state)
        a, labels = np.concatenate([a, _hidden(blueprint, old.X[rows])]), np.append(labels, old_codes[rows])
        weight = np.append(weight, old.weight[rows])
    share = (mass / mass.sum() / np.maximum(np.bincount(labels, weight, len(mass)), 1e-300))[labels]
    if not np.isfinite(a).all() or np.abs(a, dtype=np.float64).max() > LARGEST:
        return blueprint  # training says what is wrong
    a = a.astype(np.float64)
    pull = PULL * np.average(a**2, weights=np.broadcast_to(weight[:, None], a.shape))
    present = np.unique(labels)
    begin = np.column_stack([blueprint.weights[-1], blueprint.biases[-1]]).astype(np.float64)
    begin[new] = 0
    # By torch, see _hidden. (SciPy's own sums are shared among threads above 10,000 numbers.)
    problem = OutputLayer(
        torch.from_numpy(np.column_stack([a, np.ones(len(a))])),
        torch.from_numpy(np.searchsorted(present, labels))[None],
        torch.from_numpy(share * weight),
        torch.from_numpy(begin[present]),
        float(pull),
    )
    V = ask(problem, OutputLayer.alone)
    weights, biases = blueprint.weights[-1].copy(), blueprint.biases[-1].copy()
    weights[present], biases[present] = V[:, :-1], V[:, -1]
    return blueprint.with_parameters((*blueprint.parameters[:-2], weights, biases))


def _hidden(blueprint: Blueprint, X: Any) -> np.ndarray:
    """Return what the output layer sees of raw inputs.

    By torch, as all of the training: the last bits depend on the number of threads, and NumPy's is another.
    """
    if issparse(X):
        blueprint = blueprint.folded()
    activation, params = blueprint.activation, tuple(map(torch.tensor, blueprint.parameters))
    if issparse(X):  # SciPy's product is made by one thread
        weight, bias = blueprint.parameters[:2]
        first = torch.from_numpy(np.asarray(X @ weight.T + bias))
        inputs, params = ACTIVATIONS[activation].function(first), params[2:]
    else:
        inputs = torch.from_numpy(np.array(blueprint.scaled(np.asarray(X)), dtype=blueprint.dtype))
    with torch.no_grad():
        return forward(params, inputs.to(params[0]), activation)[0][-1].numpy()


def _count(blueprint: Blueprint, data: OldData) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the output of every row that counts (0 elsewhere), these rows, and the weight of every class."""
    codes = np.zeros(len(data.y), dtype=np.int64)
    codes[data.index] = encode_labels(data.labels, blueprint.classes, data.source, "the student")
    weight = data.weight[data.index]
    return codes, data.index, np.bincount(codes[data.index], weights=weight, minlength=len(blueprint.classes))


def _sample(codes: np.ndarray, index: np.ndarray, random_state: RandomState) -> np.ndarray:
    """Choose rows, as many of every class as there are, up to an equal share of the sample."""
    shuffled = random_state.permutation(index)
    order = shuffled[np.argsort(codes[shuffled], kind="stable")]
    counts = np.bincount(codes[order])
    counts = counts[counts > 0]
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[rank < max(SAMPLE_PER_CLASS, SAMPLE // max(1, len(counts)))]


@dataclass(frozen=True)
class OutputLayer:
    """A softmax regression near ``origin``; V and ``origin`` are (n_classes, n_inputs).

    ``label`` is (1, n_rows), ``share`` are row weights of sum 1. Classes come first, see
    :mod:`skantidistill.backward`.
    """

    inputs: Tensor
    label: Tensor
    share: Tensor
    origin: Tensor
    pull: float

    def alone(self) -> np.ndarray:
        """Return the V of the minimum, which is one: where rounding differs a little, so does V, and no more.

        Near it only where that would take minutes, as with a thousand classes.
        """
        n_iter = int(np.clip(WORK / (self.inputs.shape[0] * self.origin.numel()), 20, 1000))
        near = {"maxiter": n_iter, "ftol": 1e-15, "gtol": 1e-4, "maxcor": 30}
        V = self.origin.flatten().numpy()
        V = minimize(self.loss_and_gradient, V, jac=True, method="L-BFGS-B", options=near).x
        for _ in range(N_NEWTON):
            _, gradient = self.loss_and_gradient(V)
            V = V - cg(self.hessian(V), gradient, atol=0.0, maxiter=n_iter)[0]
        return V.reshape(self.origin.shape)

    def repeat(self, first: "OutputLayer", value: np.ndarray) -> np.ndarray:
        """Return what an identical problem has given."""
        return value

    def loss_and_gradient(self, v: np.ndarray) -> tuple[float, np.ndarray]:
        """Return what is minimised and its gradient, both at the flat V."""
        V = torch.from_numpy(v).view(self.origin.shape)
        away = V - self.origin
        log_p = torch.log_softmax(V @ self.inputs.T, dim=0)
        loss = self.pull / 2 * away.square().sum() - torch.dot(self.share, log_p.gather(0, self.label)[0])
        signal = log_p.exp().mul_(self.share).scatter_add_(0, self.label, -self.share[None])
        return loss.item(), torch.add(signal @ self.inputs, away, alpha=self.pull).flatten().numpy()

    def hessian(self, v: np.ndarray) -> LinearOperator:
        """Return the second derivative at the flat V."""
        p = torch.softmax(torch.from_numpy(v).view(self.origin.shape) @ self.inputs.T, dim=0)

        def times(direction: np.ndarray) -> np.ndarray:
            D = torch.from_numpy(direction).view(self.origin.shape)
            change = (D @ self.inputs.T).mul_(p)
            change.addcmul_(p, change.sum(dim=0), value=-1).mul_(self.share)
            return torch.add(change @ self.inputs, D, alpha=self.pull).flatten().numpy()

        return LinearOperator((len(v), len(v)), matvec=times, dtype=np.float64)
