"""A multi-layer perceptron as a pure function of its parameters, on tensors.

Parameters travel as one flat tuple ``(W_1, b_1, ..., W_L, b_L)``; weights are (n_out, n_in). Every
function is free of in-place writes and of data-dependent branches, so that ``torch.func`` may differentiate
it and map it over a stack of networks. A *stack* has one more axis, in front, in its parameters, its rows and
all that comes of them: one network a member, each with rows of its own.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

__all__ = [
    "ACTIVATIONS",
    "NARROW",
    "Activation",
    "Batch",
    "Parameters",
    "SparseBatch",
    "affine",
    "cross_entropy_rows",
    "forward",
    "logits_and_margin_gradient",
    "margin_gradient",
    "select_inputs",
    "select_outputs",
    "weighted_mean",
]

Parameters = tuple[Tensor, ...]

#: Outputs below which a stack's product is made the other way round, which takes half the time.
NARROW = 32


class Batch(NamedTuple):
    """Rows of a minibatch: scaled inputs, output index of every label, row weights."""

    X: Tensor
    y: Tensor
    weight: Tensor

    @property
    def columns(self) -> Tensor | None:
        """The input columns that X has, of a sparse batch; None: all."""
        return None

    @property
    def stored(self) -> Tensor | None:
        """Where a sparse batch is not 0, of the shape of X; None: it is dense."""
        return None


class SparseBatch(Batch):
    """Rows that were sparse: X has only the ``columns`` in which one of them is not 0."""

    columns: Tensor | None = None
    stored: Tensor | None = None

    def __new__(cls, dense: Batch, columns: Tensor | None, stored: Tensor) -> "SparseBatch":
        """Add to the dense rows of the columns that matter which they are, and where they are not 0."""
        batch = super().__new__(cls, *dense)
        batch.columns, batch.stored = columns, stored
        return batch


class Activation(NamedTuple):
    """An activation and its first and second derivative, these as functions of the activation's *value*."""

    function: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    bend: Callable[[Tensor], Tensor]
    module: type[torch.nn.Module]
    piecewise_linear: bool


ACTIVATIONS = {
    "identity": Activation(lambda z: z, torch.ones_like, torch.zeros_like, torch.nn.Identity, True),
    "logistic": Activation(
        torch.sigmoid,
        lambda a: a * (1 - a),
        lambda a: a * (1 - a) * (1 - 2 * a),
        torch.nn.Sigmoid,
        False,
    ),
    "tanh": Activation(torch.tanh, lambda a: 1 - a * a, lambda a: -2 * a * (1 - a * a), torch.nn.Tanh, False),
    # The sign of what is never negative: a comparison, turned into numbers, takes many times as long.
    "relu": Activation(torch.relu, lambda a: torch.sign(a.detach()), torch.zeros_like, torch.nn.ReLU, True),
}


def forward(params: Parameters, X: Tensor, activation: str) -> tuple[list[Tensor], Tensor]:
    """Return the input of every layer, ``[a_0, ..., a_{L-1}]``, and the logits ``z_L``."""
    function = ACTIVATIONS[activation].function
    inputs = [X]
    for weight, bias in zip(params[:-2:2], params[1:-2:2], strict=True):
        inputs.append(function(affine(inputs[-1], weight, bias)))
    return inputs, affine(inputs[-1], params[-2], params[-1])


def affine(X: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return ``X W^T + b``."""
    if weight.ndim == 2:
        return linear(X, weight, bias)
    if weight.shape[1] < NARROW:
        return torch.baddbmm(bias[..., None], weight, X.mT).mT
    return torch.baddbmm(bias[:, None], X, weight.mT)


def cross_entropy_rows(logits: Tensor, y: Tensor) -> Tensor:
    """Return the cross-entropy of every row."""
    return cross_entropy(logits.movedim(-1, 1), y, reduction="none")


def margin_gradient(params: Parameters, X: Tensor, y: Tensor, activation: str) -> Tensor:
    """Return d m_i / d x_i for every row i, of shape (n_rows, n_features): where its loss rises fastest.

    The margin ``m = logsumexp_{c != y} z_c - z_y`` gives ``CE = softplus(m)``, so that the gradient of
    CE is ``(1 - p_y)`` times this one: the same direction. But this one neither loses the label's share to
    the cancellation in ``p_y - 1`` nor underflows, however confident a row is, whereas CE's would make the
    network look robust (gradient masking). It is zero for a network of one output.
    """
    return logits_and_margin_gradient(params, X, y, activation)[1]


def logits_and_margin_gradient(
    params: Parameters, X: Tensor, y: Tensor, activation: str
) -> tuple[Tensor, Tensor]:
    """Return the logits and the :func:`margin_gradient`, by one pass forward and one back."""
    params = tuple(p.detach() for p in params)
    inputs, logits = forward(params, X.detach(), activation)
    if logits.shape[-1] == 1:
        return logits, torch.zeros_like(X)
    # Classes first: over a short last axis a softmax is several times slower.
    label, z = y[..., None, :], logits.mT.contiguous()
    others = torch.softmax(z.scatter(-2, label, torch.finfo(z.dtype).min), dim=-2)
    signal = others.scatter(-2, label, -others.sum(dim=-2, keepdim=True)).mT
    slope = ACTIVATIONS[activation].slope
    for layer in range(len(inputs) - 1, 0, -1):
        signal = (signal @ params[2 * layer]) * slope(inputs[layer])
    return logits, signal @ params[0]


def select_outputs(params: Parameters, outputs: Tensor | None) -> Parameters:
    """Return the parameters of the network that has only these outputs; None keeps all."""
    if outputs is None:
        return params
    return (*params[:-2], params[-2].index_select(-2, outputs), params[-1].index_select(-1, outputs))


def select_inputs(params: Parameters, columns: Tensor | None) -> Parameters:
    """Return the parameters of the network that sees only these input columns; None keeps all."""
    if columns is None:
        return params
    return (params[0][:, columns], *params[1:])


def weighted_mean(rows: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return ``sum(w_i r_i) / sum(w_i)``; None weighs every row alike."""
    return rows.mean(dim=-1) if weight is None else (rows * weight).sum(dim=-1) / weight.sum(dim=-1)
