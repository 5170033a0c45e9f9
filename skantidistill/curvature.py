"""The trace of the Hessian of a perceptron's cross-entropy in its parameters, differentiably.

Parameters are the flat tuple of :mod:`skantidistill.network`; weights are (n_out, n_in). With
``z_l = W_l a_{l-1} + b_l``, ``a_l = sigma(z_l)`` and ``p = softmax(z_L)``, a row's Gauss-Newton trace is

    sum_l (1 + ||a_{l-1}||^2) tr(J_l^T S J_l),   J_l = d z_L / d z_l,   S = diag(p) - p p^T,

and for piecewise linear activations it is the trace of the Hessian itself (almost everywhere).
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from skantidistill.network import ACTIVATIONS, Parameters, forward, weighted_mean

__all__ = [
    "exact_rows",
    "exact_trace",
    "hutchinson_trace",
    "rademacher",
    "sampled_rows",
    "sampled_trace",
]


def exact_trace(
    params: Parameters, X: Tensor, weight: Tensor | None = None, *, activation: str = "relu"
) -> Tensor:
    """Return the trace of the Hessian of the mean cross-entropy, in closed form.

    It depends on no labels, has no variance and is never negative; it is zero where every row's
    probabilities are one-hot.

    Parameters
    ----------
    params : tuple of tensors (W_1, b_1, ..., W_L, b_L)
        Weights of shape (n_out, n_in), biases of shape (n_out,).
    X : tensor of shape (n_samples, n_features)
        Inputs of the first layer.
    weight : tensor of shape (n_samples,), default=None
        Row weights; the result is the weighted mean over rows.
    activation : {"relu", "identity"}, default="relu"
        Activation of the hidden layers.

    Returns
    -------
    trace : scalar tensor
        Differentiable in ``params`` and ``X``.

    Raises
    ------
    ValueError
        If the activation is not piecewise linear: its Hessian is not the Gauss-Newton matrix.

    References
    ----------
    N. Schraudolph, "Fast curvature matrix-vector products for second-order gradient descent",
    Neural Computation 14 (2002), section 3 (the Gauss-Newton matrix of a matching loss).

    Examples
    --------
    >>> import torch
    >>> from skantidistill.curvature import exact_trace
    >>> W, b = torch.zeros(2, 3), torch.zeros(2)   # p = (1/2, 1/2): tr S = 1/2
    >>> exact_trace((W, b), torch.ones(1, 3))      # (1 + ||x||^2) tr S = 4 / 2
    tensor(2.)
    """
    _check_piecewise_linear(activation, "exact_trace")
    inputs, logits = forward(params, X, activation)
    return weighted_mean(exact_rows(params, inputs, logits, activation), weight)


def sampled_trace(
    params: Parameters,
    X: Tensor,
    signs: Tensor,
    weight: Tensor | None = None,
    *,
    activation: str = "relu",
) -> Tensor:
    """Return an unbiased estimate of :func:`exact_trace` at about the cost of a backward pass.

    With ``v = sqrt(p) * s - p (sqrt(p) . s)`` and Rademacher ``s``, ``E[v v^T] = S``; one vector is
    pushed through the network instead of one per class. The mean over all sign vectors is exact.

    Parameters
    ----------
    params, X, weight, activation
        As in :func:`exact_trace`.
    signs : tensor of shape (n_samples, n_classes)
        Independent values -1 and +1, for example from :func:`rademacher`.

    Returns
    -------
    trace : scalar tensor
        Differentiable in ``params`` and ``X``; never negative.

    Raises
    ------
    ValueError
        If the activation is not piecewise linear.

    References
    ----------
    M. Hutchinson, "A stochastic estimator of the trace of the influence matrix for Laplacian
    smoothing splines" (1989), applied to the factor of S.
    """
    _check_piecewise_linear(activation, "sampled_trace")
    inputs, logits = forward(params, X, activation)
    return weighted_mean(sampled_rows(params, inputs, logits, activation, signs), weight)


def hutchinson_trace(
    params: Parameters,
    X: Tensor,
    y: Tensor,
    probes: Parameters,
    weight: Tensor | None = None,
    *,
    activation: str = "relu",
) -> Tensor:
    """Return Hutchinson's estimate ``v^T H v`` of the trace, for any activation.

    The Hessian-vector product is forward over reverse (Pearlmutter 1994), so that an outer
    gradient and ``torch.func.vmap`` can cross it. The mean over all sign vectors is exact.

    Parameters
    ----------
    params, X, weight
        As in :func:`exact_trace`.
    y : integer tensor of shape (n_samples,)
        Output index of every row's label.
    probes : tuple of tensors, shaped as ``params``
        Independent values -1 and +1.
    activation : {"relu", "identity", "tanh", "logistic"}, default="relu"
        Activation of the hidden layers.

    Returns
    -------
    trace : scalar tensor
        Differentiable in ``params``; negative where the loss is concave along the probe.

    References
    ----------
    M. Hutchinson (1989); B. Pearlmutter, "Fast exact multiplication by the Hessian" (1994).
    """

    def loss(parameters: Parameters) -> Tensor:
        logits = forward(parameters, X, activation)[1]
        return weighted_mean(cross_entropy(logits, y, reduction="none"), weight)

    hessian_probe = torch.func.jvp(torch.func.grad(loss), (tuple(params),), (tuple(probes),))[1]
    products = [(v * hv).sum() for v, hv in zip(probes, hessian_probe, strict=True)]
    return torch.stack(products).sum()


def rademacher(shape: torch.Size | tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw independent signs, -1 and +1 with equal odds, of the dtype and device of ``like``."""
    bits = torch.randint(2, shape, generator=generator, device=generator.device, dtype=torch.int8)
    return bits.to(like).mul_(2).sub_(1)


def exact_rows(params: Parameters, inputs: list[Tensor], logits: Tensor, activation: str) -> Tensor:
    """Return the exact trace of every row, from a forward pass that was made already."""
    slope = ACTIVATIONS[activation].slope
    p = torch.softmax(logits, dim=-1)
    rows = _squared_norm_plus_one(inputs[-1]) * (p * (1 - p)).sum(dim=-1)
    if len(inputs) == 1:
        return rows
    # Last hidden layer: J[c, h] = W[c, h] m[h], and sum_h Var_{c ~ p} needs two matrix products.
    # S ignores a constant added to a column, so W is centred first: less cancellation in Var.
    W = params[-2] - params[-2].mean(dim=0)
    mask = slope(inputs[-1])
    variance = (p @ W.square() - (p @ W).square()) * mask.square()
    rows = rows + _squared_norm_plus_one(inputs[-2]) * variance.sum(dim=-1)
    jacobian = W * mask[:, None, :]
    for layer in range(len(inputs) - 2, 0, -1):
        jacobian = (jacobian @ params[2 * layer]) * slope(inputs[layer])[:, None, :]
        centred = jacobian - (p[:, None, :] @ jacobian)
        variance = (p[:, None, :] @ centred.square()).sum(dim=(-2, -1))
        rows = rows + _squared_norm_plus_one(inputs[layer - 1]) * variance
    return rows


def sampled_rows(
    params: Parameters, inputs: list[Tensor], logits: Tensor, activation: str, signs: Tensor
) -> Tensor:
    """Return the sampled trace of every row, from a forward pass that was made already."""
    slope = ACTIVATIONS[activation].slope
    # exp(log p / 2): the gradient of the square root of an underflowed p would be NaN.
    log_p = torch.log_softmax(logits, dim=-1)
    root = torch.exp(log_p / 2) * signs
    v = root - torch.exp(log_p) * root.sum(dim=-1, keepdim=True)
    rows = _squared_norm_plus_one(inputs[-1]) * v.square().sum(dim=-1)
    for layer in range(len(inputs) - 1, 0, -1):
        v = (v @ params[2 * layer]) * slope(inputs[layer])
        rows = rows + _squared_norm_plus_one(inputs[layer - 1]) * v.square().sum(dim=-1)
    return rows


def _squared_norm_plus_one(a: Tensor) -> Tensor:
    """Return ``1 + ||a||^2`` of every row: what a layer's weights and its bias multiply."""
    return 1 + a.square().sum(dim=-1)


def _check_piecewise_linear(activation: str, name: str) -> None:
    if not ACTIVATIONS[activation].piecewise_linear:
        raise ValueError(
            f"{name} is the Hessian's trace for piecewise linear activations only, got "
            f"activation={activation!r}; use hutchinson_trace, or activation 'relu' or 'identity'."
        )
