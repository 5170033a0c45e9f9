"""Where a student starts from: initial parameters of the grown network.

A start is a function ``(growth, random_state) -> (W_1, b_1, ..., W_L, b_L)``; weights are (n_out, n_in).
``STARTS`` maps names to starts and is open: ``STARTS["mine"] = function`` makes ``start="mine"`` work.
"""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.random import RandomState
from sklearn.utils import gen_batches

from skantidistill.growth import Growth

__all__ = [
    "STARTS",
    "check_same_hidden_layers",
    "find_start",
    "glorot_uniform",
    "is_start",
    "net2net",
    "transfer",
    "uniform",
    "xavier",
    "zero",
]

BLOCK = 2**20  # numbers that are drawn at a time


def glorot_uniform(
    layer_sizes: Sequence[int], random_state: RandomState, dtype: Any = np.float64
) -> tuple[np.ndarray, ...]:
    """Draw every weight from U[-r, r], r = sqrt(6 / (n_in + n_out)); biases are zero.

    Parameters
    ----------
    layer_sizes : sequence of int
        Units of every layer, inputs first, outputs last.
    random_state : RandomState
        What draws.
    dtype : numpy dtype, default=numpy.float64
        Of the result.

    Returns
    -------
    params : tuple of ndarray
        ``(W_1, b_1, ..., W_L, b_L)``.

    References
    ----------
    X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS 2010, equation 16.
    """
    params: list[np.ndarray] = []
    for n_in, n_out in itertools.pairwise(layer_sizes):
        r = np.sqrt(6 / (n_in + n_out))
        params += [_draw(random_state, r, (n_out, n_in), dtype), np.zeros(n_out, dtype)]
    return tuple(params)


def xavier(growth: Growth, random_state: RandomState) -> tuple[np.ndarray, ...]:
    """Start fresh, with nothing of the teacher (:func:`glorot_uniform`).

    Parameters
    ----------
    growth : Growth
        The correspondence.
    random_state : RandomState
        What draws.

    Returns
    -------
    params : tuple of ndarray
        The student's ``(W_1, b_1, ..., W_L, b_L)``.
    """
    return glorot_uniform(growth.layer_sizes, random_state, growth.teacher.dtype)


def zero(growth: Growth, random_state: RandomState | None = None) -> tuple[np.ndarray, ...]:
    """Keep the teacher's block, carry it through inserted layers, and set every other parameter to 0.

    The logits of the teacher's classes are exactly the teacher's (tanh and logistic: without inserted
    layers). For relu the added hidden units never train: they output 0, their outgoing weights are 0,
    and the gradient of both stays 0. Only the new outputs learn, and the weights of new features.
    (Parameter noise lifts the units off 0: with ``parameter_noise_std > 0`` they train.)

    Parameters
    ----------
    growth : Growth
        The correspondence.
    random_state : RandomState or None, default=None
        Takes no part; starts are called with it.

    Returns
    -------
    params : tuple of ndarray
        The student's ``(W_1, b_1, ..., W_L, b_L)``.

    Raises
    ------
    ValueError
        If inserted layers hold the outputs of the teacher's classes, and the student has none of these.
    """
    _check_something_carried(growth)
    params: list[np.ndarray] = []
    for n_in, n_out in itertools.pairwise(growth.layer_sizes):
        params += [np.zeros((n_out, n_in), growth.teacher.dtype), np.zeros(n_out, growth.teacher.dtype)]
    growth.carry(params)
    return growth.place(growth.shared, params)


def uniform(growth: Growth, random_state: RandomState) -> tuple[np.ndarray, ...]:
    """Keep the teacher's block and draw the others from U[-1/sqrt(n), 1/sqrt(n)], n a layer's inputs.

    Inserted layers carry the teacher's block as in :func:`zero`. The added units disturb the teacher's
    function, and they train.

    Parameters
    ----------
    growth : Growth
        The correspondence.
    random_state : RandomState
        What draws.

    Returns
    -------
    params : tuple of ndarray
        The student's ``(W_1, b_1, ..., W_L, b_L)``.
    """
    params: list[np.ndarray] = []
    for n_in, n_out in itertools.pairwise(growth.layer_sizes):
        r = 1 / np.sqrt(n_in)
        params += [_draw(random_state, r, shape, growth.teacher.dtype) for shape in [(n_out, n_in), (n_out,)]]
    growth.carry(params)
    return growth.place(growth.shared, params)


def transfer(growth: Growth, random_state: RandomState) -> tuple[np.ndarray, ...]:
    """Keep the teacher's hidden layers at their own size; the output layer is fresh (:func:`glorot_uniform`).

    Meant for ``freeze_iter > 0``: the output layer is then trained alone first. New features start fresh too.

    Parameters
    ----------
    growth : Growth
        The correspondence.
    random_state : RandomState
        What draws.

    Returns
    -------
    params : tuple of ndarray
        The student's ``(W_1, b_1, ..., W_L, b_L)``.

    Raises
    ------
    ValueError
        If the student's hidden layers are not of the teacher's sizes.
    """
    check_same_hidden_layers(growth)
    kept = growth.without_output_layer()
    return kept.place(kept.shared, xavier(growth, random_state))


def check_same_hidden_layers(growth: Growth) -> None:
    """Raise unless the student's hidden layers are of the teacher's sizes."""
    hidden, held = growth.layer_sizes[1:-1], growth.teacher.hidden_layer_sizes
    if hidden != held:
        raise ValueError(
            f"hidden_layer_sizes={hidden} differs from the teacher's, which start='transfer' keeps; use "
            f"hidden_layer_sizes={held}, or another start to grow."
        )


def net2net(
    growth: Growth, random_state: RandomState, split: Literal["random", "equal"] = "random"
) -> tuple[np.ndarray, ...]:
    """Replicate the teacher's units at random and divide their outgoing weights among the replicas.

    The logits of the teacher's classes are exactly the teacher's. Inserted layers begin as in :func:`zero`,
    at the smallest width, and are widened with the others. New outputs are drawn as in :func:`uniform`; new
    features have weight 0.

    Parameters
    ----------
    growth : Growth
        The correspondence. ``Pr`` of the result is not the teacher, because outgoing weights are divided.
    random_state : RandomState
        Of the choice of units and of the shares.
    split : {"random", "equal"}, default="random"
        "equal" divides by the number of replicas, which then stay identical for ever if nothing else tells
        them apart. "random" draws shares for every outgoing weight by itself, so that their gradients
        differ.

    Returns
    -------
    params : tuple of ndarray
        The student's ``(W_1, b_1, ..., W_L, b_L)``.

    Raises
    ------
    ValueError
        As :func:`zero`; also if ``split`` is unknown.

    References
    ----------
    T. Chen, I. Goodfellow, J. Shlens, "Net2Net", ICLR 2016 (arXiv:1511.05641), algorithm 1 (its
    equation 6 is "equal").
    """
    if split not in ("random", "equal"):
        raise ValueError(f"split={split!r} is unknown; use 'random' or 'equal'.")
    _check_something_carried(growth)
    params = list(zero(growth.with_hidden_layer_sizes(growth.smallest_hidden_layer_sizes)))
    for layer, wide in enumerate(growth.layer_sizes[1:-1]):
        n = len(params[2 * layer])
        source = np.concatenate([np.arange(n), random_state.randint(n, size=wide - n)])
        params[2 * layer], params[2 * layer + 1] = params[2 * layer][source], params[2 * layer + 1][source]
        above = params[2 * layer + 2]
        parts = (
            np.ones((1, wide)) if split == "equal" else random_state.standard_exponential((len(above), wide))
        )
        params[2 * layer + 2] = above[:, source] * _shares(parts.astype(above.dtype, copy=False), source)
    new = growth.new_outputs
    r = 1 / np.sqrt(growth.layer_sizes[-2])
    params[-2][new] = random_state.uniform(-r, r, (len(new), growth.layer_sizes[-2]))
    params[-1][new] = random_state.uniform(-r, r, len(new))
    return tuple(params)


def _check_something_carried(growth: Growth) -> None:
    """Raise if inserted layers would carry the outputs of classes of which the student has none."""
    if 0 in growth.smallest_hidden_layer_sizes:
        raise ValueError(
            f"hidden_layer_sizes={growth.layer_sizes[1:-1]} carry the teacher's outputs only, and the "
            "student has none of its classes, so that nothing is left to start from; use start='uniform' or "
            "'xavier'."
        )


def _shares(parts: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Divide every column by the sum of the columns that have the same source."""
    order = np.argsort(source, kind="stable")
    firsts = np.flatnonzero(np.diff(source[order], prepend=-1))
    sums = np.add.reduceat(parts[:, order], firsts, axis=1)
    return parts / sums[:, source]


def find_start(start: Any) -> Callable[[Growth, RandomState], tuple[np.ndarray, ...]]:
    """Return the function that a name stands for, or the function itself."""
    return STARTS[start] if isinstance(start, str) else start


def is_start(start: Any, function: Callable) -> bool:
    """Say whether a start, by name or as a function, is this one, with whatever arguments bound."""
    found = STARTS.get(start) if isinstance(start, str) else start
    return (found.func if isinstance(found, partial) else found) is function


def _draw(random_state: RandomState, r: float, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Draw from U[-r, r] block by block, so that float32 needs no float64 copy of the whole."""
    values = np.empty(shape, dtype)
    for rows in gen_batches(shape[0], max(1, BLOCK // int(np.prod(shape[1:], dtype=int)))):
        values[rows] = random_state.uniform(-r, r, values[rows].shape)
    return values


STARTS: dict[str, Callable[[Growth, RandomState], tuple[np.ndarray, ...]]] = {
    "xavier": xavier,
    "zero": zero,
    "uniform": uniform,
    "transfer": transfer,
    "net2net": net2net,
    "net2net_equal": partial(net2net, split="equal"),
}
