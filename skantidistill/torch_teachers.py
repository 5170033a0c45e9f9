"""Read a ``torch.nn.Sequential``, or a skorch net of one, into a Blueprint.

Importing this module registers its readers. Networks are read as they predict in evaluation mode: dropout
passes everything, batch normalisation is the affine map of its running statistics and goes into the linear
layer beside it. Labels are 0, 1, 2, ... Weights are (n_out, n_in), as torch's.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import NotFittedError
from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from skantidistill._checks import is_fitted
from skantidistill.blueprint import Blueprint
from skantidistill.scaling import Affine, compose
from skantidistill.sklearn_teachers import check_readable, reader, remedy, two_logits

__all__: list[str] = []


@is_fitted.register
def _(estimator: nn.Module) -> bool:
    return True


@is_fitted.register
def _(estimator: NeuralNet) -> bool:
    return estimator.initialized_


@remedy.register
def _(estimator: dict) -> str:
    return "Load a state dict into a torch.nn.Sequential of its layers, and give that."


@remedy.register(nn.Module)
@remedy.register(NeuralNet)
def _(estimator: Any) -> str:
    return "Give a torch.nn.Sequential, a NeuralNetClassifier or a NeuralNetBinaryClassifier of one."


@reader.register
def _(estimator: nn.Sequential) -> Blueprint:
    layers = _Layers()
    layers.add(estimator)
    weights, biases, activation = layers.finish()
    if len(biases[-1]) == 1:
        weights[-1], biases[-1] = two_logits(weights[-1], biases[-1])
    tensors = [*estimator.parameters(), *estimator.buffers()]
    dtype = np.float64 if any(t.dtype == torch.float64 for t in tensors) else np.float32
    classes = np.arange(len(biases[-1]))
    return Blueprint(tuple(weights), tuple(biases), activation, classes).astype(dtype)


@check_readable.register(NeuralNetClassifier)
@check_readable.register(NeuralNetBinaryClassifier)
def _(estimator: Any) -> None:
    name = type(estimator).__name__
    if not is_fitted(estimator):
        raise NotFittedError(
            f"The teacher, a {name} of skorch, is not initialized, and is never fitted here, because skorch "
            "wants labels 0, 1, 2, ... and inputs of its module's dtype: fit it first. (If it was fitted: "
            "scikit-learn clones the values of a parameter grid; there wrap it as FrozenEstimator(teacher).)"
        )
    if not isinstance(estimator.module_, nn.Sequential):
        raise TypeError(
            f"The teacher's module, {type(estimator.module_).__name__}, can't be read as a network; give a "
            f"{name} whose module is a torch.nn.Sequential."
        )
    if getattr(estimator, "threshold", 0.5) != 0.5:
        raise ValueError(
            f"The teacher, a {name}, has threshold={estimator.threshold!r}; only 0.5, the more probable of "
            "two labels, can be read."
        )


@reader.register(NeuralNetClassifier)
@reader.register(NeuralNetBinaryClassifier)
def _(estimator: Any) -> Blueprint:
    check_readable(estimator)
    # skorch predicts the index of an output, whatever labels it saw.
    return reader(estimator.module_)


class _Layers:
    """The linear layers of a Sequential, in float64, as they are read one module after the other."""

    def __init__(self) -> None:
        self.weights: list[np.ndarray] = []
        self.biases: list[np.ndarray] = []
        #: What follows every linear layer; "" while nothing does.
        self.activations: list[str] = []
        #: Batch normalisation that the next linear layer takes in.
        self.waiting: Affine | None = None

    def add(self, module: nn.Module) -> None:
        """Read a module that computes what a class of torch does: not one that overrides ``forward``."""
        for kind, method in _KINDS.items():
            if isinstance(module, kind) and type(module).forward is kind.forward:
                _check_unhooked(module)
                return method(self, module)
        raise TypeError(
            f"The teacher, a Sequential, has a {type(module).__name__}, which can't be read; these modules "
            f"can: {', '.join(kind.__name__ for kind in _KINDS)}."
        )

    def add_each(self, modules: Any) -> None:
        for module in modules:
            self.add(module)

    def add_linear(self, module: nn.Linear) -> None:
        if nn.parameter.is_lazy(module.weight):
            raise ValueError(
                f"The teacher's {type(module).__name__} is not initialized; pass it a batch of inputs first."
            )
        weight, bias = _array(module.weight), np.zeros(module.out_features)
        if module.bias is not None:
            bias = _array(module.bias)
        if self.waiting is not None:
            scale, shift = self.waiting
            _check_width(len(scale), weight.shape[1])
            weight, bias, self.waiting = weight * scale, bias + weight @ shift, None
        self.weights.append(weight)
        self.biases.append(bias)
        self.activations.append("")

    def add_batch_norm(self, module: nn.BatchNorm1d) -> None:
        if module.running_mean is None or module.running_var is None:
            raise ValueError(
                "The teacher has a BatchNorm1d with track_running_stats=False, whose output depends on the "
                "whole batch; only one with running statistics can be read."
            )
        scale = 1 / np.sqrt(_array(module.running_var) + module.eps)
        if module.weight is not None:
            scale *= _array(module.weight)
        shift = -_array(module.running_mean) * scale
        if module.bias is not None:
            shift += _array(module.bias)
        if self.activations and not self.activations[-1]:
            _check_width(len(scale), len(self.biases[-1]))
            self.weights[-1] = scale[:, None] * self.weights[-1]
            self.biases[-1] = scale * self.biases[-1] + shift
        elif self.waiting is None:
            self.waiting = scale, shift
        else:
            _check_width(len(scale), len(self.waiting[0]))
            self.waiting = compose([self.waiting, (scale, shift)])

    def add_activation(self, module: nn.Module) -> None:
        kind = next(kind for kind in _ACTIVATIONS if isinstance(module, kind))
        if self.waiting is not None or not self.activations or self.activations[-1]:
            raise ValueError(f"The teacher has a {kind.__name__} that does not follow a Linear.")
        self.activations[-1] = _ACTIVATIONS[kind]

    def add_softmax(self, module: nn.Softmax | nn.LogSoftmax) -> None:
        if module.dim not in (1, -1):
            raise ValueError(
                f"The teacher has a {type(module).__name__} with dim={module.dim}; use dim=1, the classes."
            )
        self.add_activation(module)

    def add_flatten(self, module: nn.Flatten) -> None:
        if (module.start_dim, module.end_dim) != (1, -1):
            raise ValueError(f"The teacher has a {module}, which mixes rows; use Flatten().")

    def skip(self, module: nn.Module) -> None:
        """Read over what does nothing to a table of inputs in evaluation mode."""

    def finish(self) -> tuple[list[np.ndarray], list[np.ndarray], str]:
        """Return weights, biases and the activation of all hidden layers."""
        if not self.weights or self.waiting is not None:
            raise ValueError("The teacher, a Sequential, must have a Linear as its output layer.")
        *hidden, last = (name or "identity" for name in self.activations)
        n_outputs = len(self.biases[-1])
        if last != "identity" and last != ("logistic" if n_outputs == 1 else "softmax"):
            raise ValueError(
                f"The teacher's output layer of {n_outputs} units is followed by {last}; its outputs must be "
                "logits, or go through a Softmax or LogSoftmax (one output: a Sigmoid)."
            )
        if len(set(hidden)) > 1 or "softmax" in hidden:
            raise ValueError(
                f"The teacher's hidden layers have the activations {hidden}; they must all have the same of "
                "identity, logistic, relu, tanh."
            )
        return self.weights, self.biases, hidden[0] if hidden else "identity"


_ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.Tanh: "tanh",
    nn.Sigmoid: "logistic",
    nn.Softmax: "softmax",
    nn.LogSoftmax: "softmax",
}

_KINDS: dict[type[nn.Module], Callable[[_Layers, Any], None]] = {
    nn.Sequential: _Layers.add_each,
    nn.Linear: _Layers.add_linear,
    nn.BatchNorm1d: _Layers.add_batch_norm,
    nn.ReLU: _Layers.add_activation,
    nn.Tanh: _Layers.add_activation,
    nn.Sigmoid: _Layers.add_activation,
    nn.Softmax: _Layers.add_softmax,
    nn.LogSoftmax: _Layers.add_softmax,
    nn.Identity: _Layers.skip,
    nn.Flatten: _Layers.add_flatten,
    nn.Dropout: _Layers.skip,
    nn.Dropout1d: _Layers.skip,
    nn.Dropout2d: _Layers.skip,
    nn.Dropout3d: _Layers.skip,
    nn.AlphaDropout: _Layers.skip,
    nn.FeatureAlphaDropout: _Layers.skip,
}


def _check_unhooked(module: nn.Module) -> None:
    hooked = module._forward_hooks or module._forward_pre_hooks
    if isinstance(module, LazyModuleMixin):
        return  # its hook waits for a first batch
    if hooked or "forward" in vars(module):
        raise ValueError(
            f"The teacher has a {type(module).__name__} whose forward is changed, by a hook (as weight_norm "
            "and spectral_norm of torch.nn.utils do) or an attribute; remove it first. What is in "
            "torch.nn.utils.parametrizations can be read."
        )


def _check_width(got: int, expected: int) -> None:
    if got != expected:
        raise ValueError(
            f"The teacher has a BatchNorm1d of {got} features beside a layer of {expected}; only one of the "
            "layer's own width can be read."
        )


def _array(tensor: torch.Tensor) -> np.ndarray:
    """Return a copy in float64: it shares no memory and knows no gradient."""
    return tensor.detach().to("cpu", torch.float64).numpy().copy()
