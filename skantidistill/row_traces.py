"""The trace of the Hessian row by row: formulas on the flat tuple of parameters and a forward pass.

The notation is that of :mod:`skantidistill.curvature`, whose functions are for users; these are for those who
have a forward pass already, and are free of what ``torch.func`` can't differentiate or map.
"""

import torch
from torch import Tensor

from skantidistill.network import ACTIVATIONS, Parameters, cross_entropy_rows, forward, weighted_mean

__all__ = [
    "exact_rows",
    "gauss_newton_rows",
    "hutchinson",
    "n_signs",
    "sampled_rows",
    "y_is_needed",
]


def n_signs(params: Parameters, activation: str) -> int:
    """Return how many signs a row of :func:`~skantidistill.curvature.sampled_trace` needs.

    Parameters
    ----------
    params : tuple of tensors (W_1, b_1, ..., W_L, b_L)
        Weights of shape (n_out, n_in), biases of shape (n_out,).
    activation : {"relu", "identity", "tanh", "logistic"}
        Activation of the hidden layers.

    Returns
    -------
    n_signs : int
        One a class, and for "tanh" and "logistic" one a unit of all hidden layers but the last.
    """
    hidden = () if ACTIVATIONS[activation].piecewise_linear else params[1:-4:2]
    return sum(bias.shape[-1] for bias in (params[-1], *hidden))


def exact_rows(
    params: Parameters, inputs: list[Tensor], logits: Tensor, activation: str, y: Tensor | None = None
) -> Tensor:
    """Return the exact trace of every row, from a forward pass that was made already."""
    rows = gauss_newton_rows(params, inputs, logits, activation)
    if ACTIVATIONS[activation].piecewise_linear:
        return rows
    bends = _bends(params, inputs, logits, activation, y)
    return rows + _exact_bend_rows(params, inputs, bends, activation)


def sampled_rows(
    params: Parameters,
    inputs: list[Tensor],
    logits: Tensor,
    activation: str,
    signs: Tensor,
    y: Tensor | None = None,
) -> Tensor:
    """Return the sampled trace of every row, from a forward pass that was made already."""
    n_outputs = logits.shape[-1]
    slope = ACTIVATIONS[activation].slope
    # exp(log p / 2): the gradient of the square root of an underflowed p would be NaN.
    log_p = torch.log_softmax(logits, dim=-1)
    root = torch.exp(log_p / 2) * signs[..., :n_outputs]
    v = root - torch.exp(log_p) * root.sum(dim=-1, keepdim=True)
    rows = _squared_norm_plus_one(inputs[-1]) * v.square().sum(dim=-1)
    for layer in range(len(inputs) - 1, 0, -1):
        v = (v @ params[2 * layer]) * slope(inputs[layer])
        rows = rows + _squared_norm_plus_one(inputs[layer - 1]) * v.square().sum(dim=-1)
    if ACTIVATIONS[activation].piecewise_linear:
        return rows
    bends = _bends(params, inputs, logits, activation, y)
    return rows + _sampled_bend_rows(params, inputs, bends, activation, signs[..., n_outputs:])


def gauss_newton_rows(params: Parameters, inputs: list[Tensor], logits: Tensor, activation: str) -> Tensor:
    """Return the trace of every row's Gauss-Newton matrix, ``sum_l (1 + ||a_{l-1}||^2) tr(J_l^T S J_l)``."""
    slope = ACTIVATIONS[activation].slope
    p = torch.softmax(logits, dim=-1)
    rows = _squared_norm_plus_one(inputs[-1]) * (p * (1 - p)).sum(dim=-1)
    if len(inputs) == 1:
        return rows
    # Last hidden layer: sum_h Var_{c ~ p}[W[c, h]] sigma'_h^2, two matrix products and no work per class.
    # S ignores a constant added to a column, so W is centred first: less cancellation in Var.
    W = params[-2] - params[-2].mean(dim=-2, keepdim=True)
    s = slope(inputs[-1])
    variance = (p @ W.square() - (p @ W).square()) * s.square()
    rows = rows + _squared_norm_plus_one(inputs[-2]) * variance.sum(dim=-1)
    if len(inputs) == 2:
        return rows
    # S has rank C - 1, and is the sum of f_j f_j^T over all classes j but the last (Householder):
    # f_j = q_j (e_j - r),   q = sqrt(p),   r = (p_1, ..., p_{C-1}) / (1 + q_C) and q_C.
    # So the J_l^T f_j are pulled back instead of J_l, and what is summed are plain squares.
    q = torch.exp(torch.log_softmax(logits, dim=-1) / 2)
    first, last = q[..., :-1], q[..., -1:]
    r = torch.cat([first.square() / (1 + last), last], dim=-1)
    pulled = first[..., None] * (_by_row(W)[..., :-1, :] - (r @ W)[..., None, :]) * s[..., None, :]
    for layer in range(len(inputs) - 2, 0, -1):
        pulled = pulled @ _by_row(params[2 * layer])
        s = slope(inputs[layer])
        squares = torch.linalg.vecdot(pulled, pulled, dim=-2) * s.square()
        rows = rows + _squared_norm_plus_one(inputs[layer - 1]) * squares.sum(dim=-1)
        if layer > 1:
            pulled = pulled * s[..., None, :]
    return rows


def hutchinson(
    params: Parameters, X: Tensor, y: Tensor, probes: Parameters, weight: Tensor | None, activation: str
) -> Tensor:
    """Return ``v^T H v`` of the weighted mean loss; outer gradients and ``torch.func.vmap`` can cross it."""

    def loss(parameters: Parameters) -> Tensor:
        logits = forward(parameters, X, activation)[1]
        return weighted_mean(cross_entropy_rows(logits, y), weight).sum()

    # H is symmetric, so its product with a probe is a pull-back of the gradient.
    (products,) = torch.func.vjp(torch.func.grad(loss), tuple(params))[1](tuple(probes))
    stacked = params[-1].ndim - 1
    sums = [(v * hv).flatten(stacked).sum(dim=-1) for v, hv in zip(probes, products, strict=True)]
    return torch.stack(sums).sum(dim=0)


def _bends(
    params: Parameters, inputs: list[Tensor], logits: Tensor, activation: str, y: Tensor | None
) -> list[Tensor]:
    """Return ``sigma''(z_m) * d CE / d a_m`` of every hidden layer m; the 0-th is the input's, empty."""
    if y is None:
        raise ValueError(y_is_needed("The trace", activation))
    _, slope, bend, *_ = ACTIVATIONS[activation]
    label = y[..., None]
    p = torch.softmax(logits, dim=-1)
    signal = p.scatter_add(-1, label, -torch.ones_like(label, dtype=p.dtype))
    bends = []
    for layer in range(len(inputs) - 1, 0, -1):
        gradient = signal @ params[2 * layer]
        bends.append(bend(inputs[layer]) * gradient)
        signal = slope(inputs[layer]) * gradient
    return [logits.new_empty(0), *reversed(bends)]


def _exact_bend_rows(
    params: Parameters, inputs: list[Tensor], bends: list[Tensor], activation: str
) -> Tensor:
    """Return ``sum_l (1 + ||a_{l-1}||^2) sum_{m >= l} tr(K_ml^T diag(bends_m) K_ml)`` of every row.

    ``m = l`` is a sum and ``m = l + 1`` a product with ``W_m^2``; only networks of three hidden layers or
    more have an m above these, whose rows of K_ml are pulled back one by one.
    """
    slope = ACTIVATIONS[activation].slope
    rows = torch.zeros_like(inputs[0][..., 0])
    pulled: Tensor | None = None  # K_{m, layer + 1} of all m > layer + 1, one above the other
    factors: Tensor | None = None  # the bends of these rows
    for layer in range(len(inputs) - 1, 0, -1):
        trace = bends[layer].sum(dim=-1)
        if layer < len(inputs) - 1:
            W, s, above = params[2 * layer], slope(inputs[layer]), bends[layer + 1]
            squares = above @ W.square()
            if pulled is not None and factors is not None:
                pulled = pulled @ _by_row(W)
                squares = squares + (factors[..., None, :] @ pulled.square())[..., 0, :]
            trace = trace + (squares * s.square()).sum(dim=-1)
            if layer > 1:
                nearest = _by_row(W) * s[..., None, :]
                pulled = nearest if pulled is None else torch.cat([nearest, pulled * s[..., None, :]], dim=-2)
                factors = above if factors is None else torch.cat([above, factors], dim=-1)
        rows = rows + _squared_norm_plus_one(inputs[layer - 1]) * trace
    return rows


def _sampled_bend_rows(
    params: Parameters, inputs: list[Tensor], bends: list[Tensor], activation: str, signs: Tensor
) -> Tensor:
    """Return an unbiased estimate of :func:`_exact_bend_rows`, whose ``m = l`` is exact.

    With ``t_1 = 0``, ``t_{m+1} = W_{m+1} diag(sigma'(z_m)) (t_m + s_m sqrt(1 + ||a_{m-1}||^2))``, the squares
    of ``t_m`` have the mean ``sum_{l < m} (1 + ||a_{l-1}||^2) diag(K_ml K_ml^T)``.
    """
    slope = ACTIVATIONS[activation].slope
    rows = torch.zeros_like(inputs[0][..., 0])
    pushed: Tensor | None = None
    begin = 0
    for layer in range(1, len(inputs)):
        size = _squared_norm_plus_one(inputs[layer - 1])[..., None]
        squares = size if pushed is None else size + pushed.square()
        rows = rows + (bends[layer] * squares).sum(dim=-1)
        if layer < len(inputs) - 1:
            end = begin + inputs[layer].shape[-1]
            step = signs[..., begin:end] * size.sqrt()
            step = step if pushed is None else pushed + step
            pushed, begin = (slope(inputs[layer]) * step) @ params[2 * layer].mT, end
    return rows


def _by_row(W: Tensor) -> Tensor:
    """Return weights that broadcast against matrices of every row; of one network they do so already."""
    return W if W.ndim == 2 else W[:, None]


def _squared_norm_plus_one(a: Tensor) -> Tensor:
    """Return ``1 + ||a||^2`` of every row: what a layer's weights and its bias multiply."""
    return 1 + a.square().sum(dim=-1)


def y_is_needed(name: str, activation: str) -> str:
    """Say that labels are missing."""
    return (
        f"{name} needs y, the label of every row, for activation={activation!r}: the Hessian of a network "
        "that is not piecewise linear depends on it."
    )
