"""The trace of the Hessian of a perceptron's cross-entropy in its parameters, differentiably.

Weights are (n_out, n_in). With ``z_l = W_l a_{l-1} + b_l``, ``a_l = sigma(z_l)``, ``p = softmax(z_L)`` and
``J_l = d z_L / d z_l``, ``K_ml = d z_m / d z_l``, ``g_m = d CE / d a_m``, a row's trace is

    sum_l (1 + ||a_{l-1}||^2) tr(d^2 CE / d z_l^2),
    d^2 CE / d z_l^2 = J_l^T S J_l + sum_{l <= m < L} K_ml^T diag(sigma''(z_m) g_m) K_ml

with ``S = diag(p) - p p^T``, because z_l is linear in W_l and b_l. The first part is the Gauss-Newton matrix;
the second needs the labels, and is zero (almost everywhere) for piecewise linear activations.
"""

from typing import Any

import torch
from torch import Tensor

from skantidistill._checks import quoted
from skantidistill.draws import rademacher
from skantidistill.faults import memory_told
from skantidistill.network import ACTIVATIONS, Parameters, forward, weighted_mean
from skantidistill.perceptron import Problem, read_problem
from skantidistill.row_traces import exact_rows, hutchinson, n_signs, sampled_rows, y_is_needed

__all__ = ["exact_trace", "hutchinson_trace", "n_signs", "rademacher", "sampled_trace"]


@memory_told
def exact_trace(
    model: Any, X: Any, *, y: Any = None, weight: Any = None, activation: str | None = None
) -> Tensor:
    """Return the trace of the Hessian of the mean cross-entropy in all weights and biases, in closed form.

    It has no variance. For "relu" and "identity" it depends on no labels, is never negative, and is zero
    where every row's probabilities are one-hot; for "tanh" and "logistic", where they are one-hot at the
    labels. Its memory grows with rows times classes times the widest layer; for "tanh" and "logistic" with
    three hidden layers or more, with rows times the sum of their upper widths times the widest layer.

    Parameters
    ----------
    model : tuple of tensors (W_1, b_1, ..., W_L, b_L), torch.nn.Sequential or Blueprint
        Weights of shape (n_out, n_in), biases of shape (n_out,). A Sequential is one of Linear layers with
        one kind of ReLU, Tanh or Sigmoid between them; the result is differentiable in its parameters.
    X : tensor or array-like of shape (n_samples, n_features)
        Inputs; those of a Blueprint are raw and scaled here.
    y : tensor or array-like of shape (n_samples,), default=None
        Index of the output of every row's label; for a Blueprint, the label itself. Needed for "tanh" and
        "logistic".
    weight : tensor or array-like of shape (n_samples,), default=None
        Row weights; the result is the weighted mean over rows.
    activation : {"relu", "identity", "tanh", "logistic"}, default=None
        Activation of the hidden layers; None: the model's own, and "relu" for a tuple of tensors.

    Returns
    -------
    trace : scalar tensor
        Differentiable in the parameters and ``X`` as far as these are tensors; ``float(trace)`` is a number.

    Raises
    ------
    TypeError
        If the model, or a module of it, is of a kind that can't be read (BatchNorm1d is one).
    ValueError
        If the model is no perceptron with logits, ``y`` is needed and missing, or shapes do not fit.

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
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    >>> exact_trace(model, torch.ones(1, 3)).backward()
    >>> model[0].weight.grad.shape
    torch.Size([4, 3])
    """
    problem = _problem(model, X, weight, y, activation, "exact_trace")
    inputs, logits = forward(problem.params, problem.X, problem.activation)
    rows = exact_rows(problem.params, inputs, logits, problem.activation, problem.y)
    return weighted_mean(rows, problem.weight)


@memory_told
def sampled_trace(
    model: Any,
    X: Any,
    signs: Tensor | torch.Generator,
    *,
    y: Any = None,
    weight: Any = None,
    activation: str | None = None,
) -> Tensor:
    """Return an unbiased estimate of :func:`exact_trace` at about the cost of a backward pass.

    With ``v = sqrt(p) * s - p (sqrt(p) . s)`` and Rademacher ``s``, ``E[v v^T] = S``: one vector is pulled
    back through the network instead of one per class. For smooth activations, signs on the units of hidden
    layer l are pushed forward through the layers m above it, ``E[(K_ml s)^2] = diag(K_ml K_ml^T)``. The mean
    over all sign vectors is exact.

    Parameters
    ----------
    model, X
        As in :func:`exact_trace`.
    signs : tensor of shape (n_samples, n_signs) or torch.Generator
        Independent values -1 and +1, or what draws them; :func:`n_signs` says how many a row needs: one for
        every class, and for "tanh" and "logistic" one for every unit of all hidden layers but the last.
    y, weight, activation
        As in :func:`exact_trace`.

    Returns
    -------
    trace : scalar tensor
        Differentiable as :func:`exact_trace`; never negative for "relu" and "identity".

    Raises
    ------
    TypeError, ValueError
        As in :func:`exact_trace`; and if there are fewer or more signs than needed.

    References
    ----------
    M. Hutchinson, "A stochastic estimator of the trace of the influence matrix for Laplacian
    smoothing splines" (1989), applied to the factors of the Hessian.

    Examples
    --------
    >>> import torch
    >>> from skantidistill.curvature import sampled_trace
    >>> W, b = torch.zeros(2, 3), torch.zeros(2)
    >>> sampled_trace((W, b), torch.ones(1, 3), torch.tensor([[1.0, -1.0]]))  # signs alike would give 0
    tensor(4.0000)
    """
    params, X, y, weight, activation = _problem(model, X, weight, y, activation, "sampled_trace")
    shape = (len(X), n_signs(params, activation))
    if isinstance(signs, torch.Generator):
        signs = rademacher(shape, X, signs)
    elif not isinstance(signs, Tensor):
        raise TypeError(
            f"signs must be a tensor of -1 and +1 or a torch.Generator, got {type(signs).__name__}; "
            "torch.Generator().manual_seed(0) will do."
        )
    elif tuple(signs.shape) != shape:
        raise ValueError(f"signs of shape {tuple(signs.shape)} do not fit; give {shape}, see n_signs.")
    inputs, logits = forward(params, X, activation)
    return weighted_mean(sampled_rows(params, inputs, logits, activation, signs, y), weight)


@memory_told
def hutchinson_trace(
    model: Any,
    X: Any,
    y: Any,
    probes: Parameters | torch.Generator,
    *,
    weight: Any = None,
    activation: str | None = None,
) -> Tensor:
    """Return Hutchinson's estimate ``v^T H v`` of the trace, from one probe of all parameters.

    The mean over all sign vectors is exact. :func:`sampled_trace` is cheaper and varies far less; this one
    knows nothing of the network but its loss.

    Parameters
    ----------
    model, X
        As in :func:`exact_trace`.
    y : tensor or array-like of shape (n_samples,)
        Index of the output of every row's label; for a Blueprint, the label itself.
    probes : tuple of tensors, shaped as the parameters, or torch.Generator
        Independent values -1 and +1, or what draws them.
    weight, activation
        As in :func:`exact_trace`.

    Returns
    -------
    trace : scalar tensor
        Differentiable as :func:`exact_trace`; negative where the loss is concave along the probe.

    Raises
    ------
    TypeError, ValueError
        As in :func:`exact_trace`.

    References
    ----------
    M. Hutchinson (1989); B. Pearlmutter, "Fast exact multiplication by the Hessian" (1994).

    Examples
    --------
    >>> import torch
    >>> from skantidistill.curvature import hutchinson_trace
    >>> params = torch.zeros(2, 1), torch.zeros(2)
    >>> probe = torch.tensor([[1.0], [-1.0]]), torch.tensor([1.0, -1.0])
    >>> hutchinson_trace(params, torch.ones(1, 1), torch.tensor([0]), probe)
    tensor(4.)
    """
    problem = _problem(model, X, weight, y, activation, "hutchinson_trace")
    if isinstance(probes, torch.Generator):
        probes = tuple(rademacher(p.shape, p, probes) for p in problem.params)
    _check_probes(probes, problem.params)
    assert problem.y is not None
    return hutchinson(problem.params, problem.X, problem.y, probes, problem.weight, problem.activation)


def _check_probes(probes: Any, params: Parameters) -> None:
    """Raise unless the probes are tensors of the parameters' shapes."""
    if not isinstance(probes, (tuple, list)) or not all(isinstance(p, Tensor) for p in probes):
        raise TypeError(
            f"probes must be a tuple of tensors of -1 and +1 or a torch.Generator, got {quoted(probes)}; "
            "torch.Generator().manual_seed(0) will do."
        )
    got, shapes = ([tuple(p.shape) for p in some] for some in (probes, params))
    if got != shapes:
        raise ValueError(f"probes of shapes {got} do not fit; give those of the parameters, {shapes}.")


def _problem(model: Any, X: Any, weight: Any, y: Any, activation: str | None, name: str) -> Problem:
    """Read a model and its rows, and raise if there are no labels where the trace depends on them."""
    problem = read_problem(model, X, y, weight, activation)
    if problem.params[-1].shape[-1] == 1:
        raise ValueError(
            f"{name} takes the cross-entropy of a softmax, and the model has one output z, whose softmax is "
            "always 1; give it two, 0 and z."
        )
    if problem.y is None and name == "hutchinson_trace":
        raise ValueError(f"{name} needs y, the label of every row, for it differentiates the cross-entropy.")
    if problem.y is None and not ACTIVATIONS[problem.activation].piecewise_linear:
        raise ValueError(y_is_needed(name, problem.activation))
    return problem
