"""The one form in which a fitted network travels through the package.

Weights are (n_out, n_in); scikit-learn's ``coefs_`` are transposed on reading.
"""

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import issparse
from scipy.special import expit
from sklearn.utils import gen_batches

__all__ = ["Blueprint"]

BATCH_ROWS = 8192

_HIDDEN = {
    "identity": lambda z: z,
    "logistic": expit,
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0, out=z),
}


@dataclass(frozen=True, eq=False, repr=False)
class Blueprint:
    """A multi-layer perceptron classifier as plain arrays.

    Parameters
    ----------
    weights : tuple of ndarray of shape (n_out, n_in)
        One matrix a layer, the output layer last. Binary classifiers have two outputs.
    biases : tuple of ndarray of shape (n_out,)
        One vector a layer.
    activation : {"identity", "logistic", "tanh", "relu"}
        Activation of the hidden layers; the output layer has none (logits).
    classes : ndarray of shape (n_classes,)
        Label of every output, in the order of the outputs.
    feature_names : ndarray of shape (n_features,) or None, default=None
        Name of every input column.
    input_scale, input_shift : ndarray of shape (n_features,) or None, default=None
        The first layer sees ``X * input_scale + input_shift``; None: X itself.

    Raises
    ------
    ValueError
        If the shapes do not fit together, or the activation is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from skantidistill.blueprint import Blueprint
    >>> line = Blueprint((np.array([[-1.0], [1.0]]),), (np.zeros(2),), "relu", np.array(["no", "yes"]))
    >>> line.classes[line.logits(np.array([[3.0]])).argmax(axis=1)]
    array(['yes'], dtype='<U3')
    """

    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    activation: str
    classes: np.ndarray
    feature_names: np.ndarray | None = None
    input_scale: np.ndarray | None = None
    input_shift: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.activation not in _HIDDEN:
            raise ValueError(f"activation={self.activation!r} is unknown; use one of {sorted(_HIDDEN)}.")
        shapes = [w.shape for w in self.weights]
        chained = all(below[0] == above[1] for below, above in itertools.pairwise(shapes))
        biased = [b.shape for b in self.biases] == [(n_out,) for n_out, _ in shapes]
        if not (shapes and chained and biased and len(self.classes) == shapes[-1][0]):
            raise ValueError(
                f"weights of shapes {shapes}, biases of shapes {[b.shape for b in self.biases]} and "
                f"{len(self.classes)} classes do not make one network; every layer's n_in must be the "
                "n_out of the layer below it, and the last n_out the number of classes."
            )

    def __repr__(self) -> str:
        return f"Blueprint(layer_sizes={self.layer_sizes}, activation={self.activation!r})"

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Number of units of every layer, inputs first, outputs last."""
        return (self.weights[0].shape[1], *(w.shape[0] for w in self.weights))

    @property
    def hidden_layer_sizes(self) -> tuple[int, ...]:
        """Number of units of every hidden layer."""
        return self.layer_sizes[1:-1]

    @property
    def parameters(self) -> tuple[np.ndarray, ...]:
        """The flat tuple ``(W_1, b_1, ..., W_L, b_L)``."""
        return tuple(p for layer in zip(self.weights, self.biases, strict=True) for p in layer)

    @property
    def dtype(self) -> Any:
        """Precision of the parameters."""
        return self.weights[0].dtype

    def with_parameters(self, parameters: tuple[np.ndarray, ...]) -> "Blueprint":
        """Return the same network with other values in the flat tuple of parameters.

        Parameters
        ----------
        parameters : tuple of ndarray
            ``(W_1, b_1, ..., W_L, b_L)``, of the same shapes.

        Returns
        -------
        blueprint : Blueprint
            It shares the arrays.
        """
        return replace(self, weights=tuple(parameters[::2]), biases=tuple(parameters[1::2]))

    def astype(self, dtype: Any) -> "Blueprint":
        """Return the same network with parameters of this dtype, copied if they are of another.

        Parameters
        ----------
        dtype : numpy dtype
            A floating one.

        Returns
        -------
        blueprint : Blueprint
            With the same scaling, whose precision stays.
        """
        return self.with_parameters(tuple(p.astype(dtype, copy=False) for p in self.parameters))

    def select_classes(self, outputs: np.ndarray) -> "Blueprint":
        """Return the network that has only these outputs, given by index, in this order.

        Parameters
        ----------
        outputs : ndarray of shape (n_selected,)
            Indices of outputs.

        Returns
        -------
        blueprint : Blueprint
            With ``n_selected`` classes.
        """
        return replace(
            self,
            weights=(*self.weights[:-1], self.weights[-1][outputs]),
            biases=(*self.biases[:-1], self.biases[-1][outputs]),
            classes=self.classes[outputs],
        )

    def scaled(self, X: Any) -> Any:
        """Return what the first layer sees of X, in X's dtype.

        It is computed in double precision: a shift that is large beside the scaled values cancels.

        Parameters
        ----------
        X : ndarray or tensor of shape (n_samples, n_features)
            Raw inputs.

        Returns
        -------
        scaled : ndarray or tensor of shape (n_samples, n_features)
            ``X * input_scale + input_shift``, or X itself.
        """
        if self.input_scale is None or self.input_shift is None:
            return X
        return (X * self.input_scale + self.input_shift).astype(X.dtype, copy=False)

    def folded(self) -> "Blueprint":
        """Return the same function with the input scaling as part of the first layer.

        Returns
        -------
        blueprint : Blueprint
            Without ``input_scale`` and ``input_shift``.
        """
        if self.input_scale is None or self.input_shift is None:
            return self
        weight = self.weights[0] * self.input_scale
        bias = self.biases[0] + self.weights[0] @ self.input_shift
        params = tuple(p.astype(self.dtype) for p in (weight, bias))
        return replace(
            self.with_parameters((*params, *self.parameters[2:])), input_scale=None, input_shift=None
        )

    def logits(self, X: Any) -> np.ndarray:
        """Return the outputs before the softmax.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Raw inputs, columns in the network's order; the scaling is applied here. They are read in blocks
            of rows, so that a memory map may be larger than memory; a sparse matrix is never made dense.

        Returns
        -------
        logits : ndarray of shape (n_samples, n_classes)
            In the order of ``classes``; infinite or NaN where X is so large that numbers overflow.
        """
        if not issparse(X):
            X = np.asarray(X)
        elif self.input_scale is not None:
            return self.folded().logits(X)
        with np.errstate(over="ignore", invalid="ignore"):
            blocks = [
                self.hidden(X[rows]) @ self.weights[-1].T + self.biases[-1]
                for rows in gen_batches(X.shape[0], BATCH_ROWS)
            ]
        return np.concatenate(blocks) if len(blocks) != 1 else blocks[0]

    def hidden(self, X: Any) -> np.ndarray:
        """Return what the output layer sees of raw inputs.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Raw inputs.

        Returns
        -------
        hidden : ndarray of shape (n_samples, n_units)
            Activations of the last hidden layer; without one, the scaled inputs.
        """
        if issparse(X) and self.input_scale is not None:
            return self.folded().hidden(X)
        a = self.scaled(X)
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            z = a @ weight.T
            z += bias
            a = _HIDDEN[self.activation](z)
        return a
