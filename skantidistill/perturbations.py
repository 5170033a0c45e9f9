"""What can be done to inputs and to parameters, on tensors.

Randomness is an argument (``offsets``, ``noise``), never drawn here. ``epsilon`` and ``delta`` are
scalars or tensors of shape (n_features,), in the units of X; ``bounds`` is a pair (low, high) of the
same kinds, or None.
"""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["fgsm", "input_noise", "parameter_noise", "pgd"]

Bounds = tuple[Tensor | float, Tensor | float] | None


def pgd(
    gradient: Callable[[Tensor], Tensor],
    X: Tensor,
    epsilon: Tensor | float,
    *,
    step_size: Tensor | float,
    n_steps: int,
    start: Tensor | None = None,
    bounds: Bounds = None,
) -> Tensor:
    """Climb a loss by signed gradient steps, projected onto ``[X - epsilon, X + epsilon]``.

    Parameters
    ----------
    gradient : callable, (n_samples, n_features) -> (n_samples, n_features)
        The gradient of every row's loss in its own input; only its signs are used.
    X : tensor of shape (n_samples, n_features)
        The clean inputs.
    epsilon : float or tensor of shape (n_features,)
        Half-width of the cube around every row, in the units of X.
    step_size : float or tensor of shape (n_features,)
        Length of a step in every coordinate.
    n_steps : int
        Number of steps.
    start : tensor of shape (n_samples, n_features), default=None
        Where the climb begins; None: X itself.
    bounds : pair of float or tensor, default=None
        Lowest and highest valid inputs.

    Returns
    -------
    X_adversarial : tensor of shape (n_samples, n_features)

    References
    ----------
    A. Madry et al., "Towards deep learning models resistant to adversarial attacks" (2018).
    """
    moved = X if start is None else start
    for _ in range(n_steps):
        moved = _shifted(moved, step_size, torch.sign(gradient(moved)))
        moved = _clip(torch.clamp(moved, X - epsilon, X + epsilon), bounds)
    return moved


def fgsm(
    gradient: Callable[[Tensor], Tensor],
    X: Tensor,
    epsilon: Tensor | float,
    *,
    bounds: Bounds = None,
) -> Tensor:
    """Take the fast gradient sign step ``X + epsilon * sign(gradient(X))``.

    Parameters and result are those of :func:`pgd` with one full step.

    References
    ----------
    I. Goodfellow, J. Shlens, C. Szegedy, "Explaining and harnessing adversarial examples" (2014).
    """
    return pgd(gradient, X, epsilon, step_size=epsilon, n_steps=1, bounds=bounds)


def input_noise(X: Tensor, delta: Tensor | float, offsets: Tensor, bounds: Bounds = None) -> Tensor:
    """Return ``X + delta * offsets``, clipped to the bounds; offsets are shaped as X."""
    return _clip(_shifted(X, delta, offsets), bounds)


def parameter_noise(
    params: tuple[Tensor, ...], noise_std: float, noise: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """Return ``w + noise_std * noise`` for every parameter w; noise is shaped as the parameters."""
    return tuple(_shifted(p, noise_std, n) for p, n in zip(params, noise, strict=True))


def _shifted(X: Tensor, size: Tensor | float, direction: Tensor) -> Tensor:
    """Return ``X + size * direction`` in one pass over memory."""
    if isinstance(size, Tensor):
        return torch.addcmul(X, size, direction)
    return torch.add(X, direction, alpha=size)


def _clip(X: Tensor, bounds: Bounds) -> Tensor:
    return X if bounds is None else torch.clamp(X, *(torch.as_tensor(b, dtype=X.dtype) for b in bounds))
