"""Take a perceptron as its user holds it, and rows for it, as tensors that keep their gradients.

Weights are (n_out, n_in), as torch's; the result is the flat tuple of :mod:`skantidistill.network`.
"""

from collections.abc import Iterator
from functools import singledispatch
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import issparse
from torch import Tensor, nn

from skantidistill._checks import quoted
from skantidistill.blueprint import Blueprint
from skantidistill.network import ACTIVATIONS, Parameters

__all__ = ["Perceptron", "Problem", "perceptron", "read_problem"]

_NAMES = {activation.module: name for name, activation in ACTIVATIONS.items()}
_DROPOUTS = (nn.Dropout, nn.AlphaDropout, nn.FeatureAlphaDropout)


class Perceptron(NamedTuple):
    """A network as live tensors; what is None is open."""

    params: Parameters
    activation: str | None = None
    scaling: tuple[Tensor, Tensor] | None = None
    classes: np.ndarray | None = None
    flattens: bool = False


class Problem(NamedTuple):
    """A network and rows for it, as the functions on tensors take them."""

    params: Parameters
    X: Tensor
    y: Tensor | None
    weight: Tensor | None
    activation: str


def read_problem(
    model: Any, X: Any, y: Any = None, weight: Any = None, activation: str | None = None
) -> Problem:
    """Return a network and rows as tensors, differentiable in all that was a tensor.

    Parameters
    ----------
    model : tuple of tensors (W_1, b_1, ..., W_L, b_L), torch.nn.Sequential or Blueprint
        The parameters of a Sequential are its own, not copies.
    X : tensor or array-like of shape (n_samples, n_features)
        Raw inputs: the input scaling of a Blueprint is applied. An array takes the dtype of the parameters.
    y : tensor or array-like of shape (n_samples,), default=None
        Index of every row's output; for a Blueprint, its label.
    weight : tensor or array-like of shape (n_samples,), default=None
        Row weights.
    activation : {"identity", "logistic", "relu", "tanh"}, default=None
        Activation of the hidden layers; None: the model's own, and "relu" for a tuple.

    Returns
    -------
    problem : Problem

    Raises
    ------
    TypeError
        If the model is of another kind, or a Sequential has a module of another kind.
    ValueError
        If a Sequential is no perceptron with one kind of activation and logits, or what comes with it
        does not fit it.
    """
    network = perceptron(model)
    _check_chain(network.params)
    own = network.activation
    if activation is not None and activation not in ACTIVATIONS:
        raise ValueError(f"activation={activation!r} is unknown; use one of {sorted(ACTIVATIONS)}.")
    if None not in (own, activation) and own != activation:
        raise ValueError(f"activation={activation!r} differs from the model's own, {own!r}; leave it None.")
    like = network.params[0]
    X = _tensor(X, like, "X")
    if isinstance(model, Blueprint):
        X = X.to(like)
    if network.flattens:
        X = X.flatten(1)
    if X.ndim != 2 or X.shape[1] != like.shape[1]:
        raise ValueError(
            f"X of shape {tuple(X.shape)} does not fit a first layer of {like.shape[1]} inputs; give "
            f"(n_samples, {like.shape[1]})."
        )
    if X.dtype != like.dtype:
        raise TypeError(f"X is of {X.dtype}, the parameters are of {like.dtype}; give X.to({like.dtype}).")
    if network.scaling is not None:
        scale, shift = network.scaling
        X = X * scale + shift
    y = None if y is None else _outputs(y, network)
    weight = None if weight is None else _tensor(weight, like, "weight")
    for name, rows in (("y", y), ("weight", weight)):
        if rows is not None and rows.shape != X.shape[:1]:
            raise ValueError(
                f"{name} of shape {tuple(rows.shape)} does not fit X; give one value for each of its "
                f"{len(X)} rows."
            )
    return Problem(network.params, X, y, weight, own or activation or "relu")


@singledispatch
def perceptron(model: Any) -> Perceptron:
    """Return the network inside a model; ``perceptron.register`` adds a kind."""
    name = f"The class {model.__name__}" if isinstance(model, type) else type(model).__name__
    raise TypeError(
        f"{name} can't be read as a network of live tensors; give the flat tuple "
        "(W_1, b_1, ..., W_L, b_L), a torch.nn.Sequential or a Blueprint (read_teacher reads an estimator "
        "into one)."
    )


@perceptron.register(tuple)
@perceptron.register(list)
def _(model: Any) -> Perceptron:
    return Perceptron(tuple(model))


@perceptron.register
def _(model: Blueprint) -> Perceptron:
    params = tuple(torch.tensor(p) for p in model.parameters)
    scaling = None
    if model.input_scale is not None and model.input_shift is not None:
        scale, shift = model.input_scale, model.input_shift
        scaling = (_tensor(scale, params[0], "input_scale"), _tensor(shift, params[0], "input_shift"))
    return Perceptron(params, model.activation, scaling, model.classes)


@perceptron.register
def _(model: nn.Sequential) -> Perceptron:
    params: list[Tensor] = []
    followed: list[str] = []  # by which activation, for every linear layer
    flattens = False
    for module in _flat(model):
        kind = _plain_kind(module)
        name = kind.__name__
        if kind is nn.Linear:
            if module.bias is None:
                raise ValueError("The Sequential has a Linear without bias; give it one (it may be 0).")
            params += [module.weight, module.bias]
            followed.append("")
        elif kind is nn.Flatten:
            if followed or (module.start_dim, module.end_dim) != (1, -1):
                raise ValueError(
                    f"The Sequential has a {module}; only Flatten() before all layers can be read."
                )
            flattens = True
        elif kind in _DROPOUTS:
            if module.training and module.p > 0:
                raise ValueError(
                    f"The Sequential has a {name} in training mode, with which it is another network at "
                    "every call; call eval() on it."
                )
        elif kind is not nn.Identity:
            if not followed or followed[-1]:
                raise ValueError(f"The Sequential has a {name} that does not follow a Linear.")
            if kind in (nn.Softmax, nn.LogSoftmax) and module.dim not in (1, -1):
                raise ValueError(f"The Sequential has a {module}; use dim=1, the classes.")
            followed[-1] = _NAMES.get(kind, "softmax")
    return Perceptron(tuple(params), _activation(followed), flattens=flattens)


def _flat(model: nn.Sequential) -> Iterator[Any]:
    """Yield the modules of a Sequential and of those inside it."""
    for module in model:
        if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
            yield from _flat(module)
        else:
            yield module


def _plain_kind(module: nn.Module) -> type[nn.Module]:
    """Return the class of torch that a module computes like, if it is one that can be read."""
    kinds: tuple[type[nn.Module], ...] = (
        nn.Linear,
        *_NAMES,
        nn.Softmax,
        nn.LogSoftmax,
        nn.Flatten,
        *_DROPOUTS,
    )
    for kind in kinds:
        if isinstance(module, kind) and type(module).forward is kind.forward:
            return kind
    name = type(module).__name__
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        raise TypeError(
            f"The Sequential has a {name}, which can't be read live; give the Blueprint that read_teacher "
            "makes of the Sequential, which has its running statistics in the layer beside it."
        )
    raise TypeError(
        f"The Sequential has a {name}, which can't be read; these modules can: "
        f"{', '.join(kind.__name__ for kind in kinds)}."
    )


def _activation(followed: list[str]) -> str:
    """Return the activation of all hidden layers, from what follows every layer."""
    if not followed:
        raise ValueError("The Sequential has no Linear; its output layer must be one.")
    *hidden, last = (name or "identity" for name in followed)
    if last not in ("identity", "softmax"):
        raise ValueError(
            f"The Sequential's output layer is followed by {last}; its outputs must be logits, or go "
            "through a Softmax or LogSoftmax."
        )
    if len(set(hidden)) > 1 or "softmax" in hidden:
        raise ValueError(
            f"The Sequential's hidden layers have the activations {hidden}; they must all have the same of "
            f"{', '.join(sorted(ACTIVATIONS))}."
        )
    return hidden[0] if hidden else "identity"


def _check_chain(params: Parameters) -> None:
    """Raise unless parameters are tensors of floats that make one network."""
    for p in params:
        if not isinstance(p, Tensor) or not p.is_floating_point():
            got = p.dtype if isinstance(p, Tensor) else type(p).__name__
            raise TypeError(
                f"A parameter of the network is of {got}; give tensors of floats, such as "
                "torch.tensor(values, dtype=torch.float64)."
            )
    weights, biases = ([tuple(p.shape) for p in some] for some in (params[::2], params[1::2]))
    fits = weights and all(len(shape) == 2 for shape in weights) and biases == [w[:1] for w in weights]
    if not fits or any(below[0] != above[1] for below, above in pairwise(weights)):
        raise ValueError(
            f"Parameters of shapes {[tuple(p.shape) for p in params]} do not make one network; give "
            "(W_1, b_1, ..., W_L, b_L), weights (n_out, n_in) and biases (n_out,), where every n_in is the "
            "n_out of the layer below."
        )


def _tensor(values: Any, like: Tensor, name: str) -> Tensor:
    """Return a tensor as it is, anything else with the dtype and device of ``like``."""
    if isinstance(values, Tensor):
        return values
    values = values.toarray() if issparse(values) else np.asarray(values)
    if values.dtype.kind not in "biuf":
        raise TypeError(
            f"{name} of dtype {values.dtype} does not hold numbers; give a tensor or an array of them."
        )
    return torch.tensor(values, dtype=like.dtype, device=like.device)


def _outputs(y: Any, network: Perceptron) -> Tensor:
    """Return the index of the output of every row's label."""
    n_outputs = len(network.params[-1])
    if network.classes is None:
        if isinstance(y, Tensor) and not y.is_floating_point():
            return y
        index = y.numpy(force=True) if isinstance(y, Tensor) else np.asarray(y)
        if index.dtype.kind not in "iu" or (index < 0).any() or (index >= n_outputs).any():
            raise ValueError(
                f"y must hold the index of every row's output, integers from 0 to {n_outputs - 1}, got "
                f"{quoted(np.unique(index).tolist())}."
            )
    else:
        labels = y.numpy(force=True) if isinstance(y, Tensor) else np.asarray(y)
        matches = labels[..., None] == network.classes
        if not matches.any(axis=-1).all():
            unknown = np.unique(labels[~matches.any(axis=-1)])
            raise ValueError(
                f"y has labels that the model doesn't know: {quoted(unknown.tolist())}; it knows "
                f"{quoted(network.classes.tolist())}."
            )
        index = matches.argmax(axis=-1)
    return torch.tensor(index.astype(np.int64), device=network.params[0].device)
