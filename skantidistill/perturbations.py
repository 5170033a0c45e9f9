"""What can be done to inputs and to parameters, on tensors.

Randomness is an argument (``offsets``, ``noise``), never drawn here. ``epsilon`` and ``delta`` are
scalars or tensors of shape (n_features,), in the units of X; ``bounds`` is a pair (low, high) of the
same kinds, or None. Around every row lies a ball of norm "linf", the box of half-widths epsilon, or "l2", the
ellipsoid of half-axes epsilon; where epsilon is 0, the row doesn't move.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["BALLS", "Ball", "Bounds", "Box", "Ellipsoid", "fgsm", "input_noise", "parameter_noise", "pgd"]

Bounds = tuple[Tensor | float, Tensor | float] | None


class Box(NamedTuple):
    """Where rows may go under "linf": between ``low`` and ``high``, both of shape (n_samples, n_features)."""

    low: Tensor
    high: Tensor

    @classmethod
    def around(cls, X: Tensor, epsilon: Tensor | float, bounds: Bounds = None) -> "Box":
        """Return the cubes of half-width epsilon, cut off at the bounds."""
        if bounds is None:
            return cls(X - epsilon, X + epsilon)
        low, high = (torch.as_tensor(b, dtype=X.dtype) for b in bounds)
        return cls(torch.maximum(X - epsilon, low), torch.minimum(X + epsilon, high))

    def step(self, moved: Tensor, gradient: Tensor, size: Tensor | float) -> Tensor:
        """Go uphill by ``size`` in every coordinate, and back to the nearest point of the box."""
        return torch.clamp(_shifted(moved, size, torch.sign(gradient)), self.low, self.high)

    def rows(self, index: Tensor) -> "Box":
        """Return the boxes of some rows."""
        return Box(self.low[index], self.high[index])


class Ellipsoid(NamedTuple):
    """Where rows may go under "l2": ``||(x' - x) / axes|| <= 1``, inside the bounds."""

    X: Tensor
    axes: Tensor
    bounds: Bounds

    @classmethod
    def around(cls, X: Tensor, epsilon: Tensor | float, bounds: Bounds = None) -> "Ellipsoid":
        """Return the ellipsoids of half-axes epsilon; of one epsilon they are the balls of that radius."""
        return cls(X, torch.as_tensor(epsilon, dtype=X.dtype), bounds)

    def step(self, moved: Tensor, gradient: Tensor, size: Tensor | float) -> Tensor:
        """Go as far uphill as an ellipsoid of half-axes ``size`` lets, and back inside along the radius."""
        uphill = size * gradient
        # By the largest entry first: the square of a small one underflows. Rows without slope stay.
        peak = uphill.abs().amax(dim=1, keepdim=True)
        uphill = uphill / torch.where(peak > 0, peak, 1.0)
        uphill = uphill / uphill.norm(dim=1, keepdim=True).clamp(min=1.0)
        # Clipped first, so that what the bounds cut off does not count as length.
        away = (_clip(moved + size * uphill, self.bounds) - self.X) * (self.axes > 0)
        share = away * torch.where(self.axes > 0, 1 / self.axes, 0.0)
        away = away / share.norm(dim=1, keepdim=True).clamp(min=1.0)
        return _clip(self.X + away, self.bounds)  # of rounding

    def rows(self, index: Tensor) -> "Ellipsoid":
        """Return the ellipsoids of some rows."""
        return Ellipsoid(self.X[index], self.axes, self.bounds)


Ball = Box | Ellipsoid

#: The ball of every norm.
BALLS: dict[str, type[Box] | type[Ellipsoid]] = {"l2": Ellipsoid, "linf": Box}


def pgd(
    gradient: Callable[[Tensor], Tensor],
    X: Tensor,
    epsilon: Tensor | float,
    *,
    step_size: Tensor | float,
    n_steps: int,
    start: Tensor | None = None,
    bounds: Bounds = None,
    norm: str = "linf",
) -> Tensor:
    """Climb a loss by steepest steps of fixed length, projected onto the ball around every row.

    Parameters
    ----------
    gradient : callable, (n_samples, n_features) -> (n_samples, n_features)
        The gradient of every row's loss in its own input; only its signs ("l2": its direction) are used.
    X : tensor of shape (n_samples, n_features)
        The clean inputs, inside the bounds.
    epsilon : float or tensor of shape (n_features,)
        Half-width of the box ("l2": half-axes of the ellipsoid) around every row, in the units of X.
    step_size : float or tensor of shape (n_features,)
        Length of a step, in every coordinate ("l2": of the vector; half-axes if one a feature).
    n_steps : int
        Number of steps.
    start : tensor of shape (n_samples, n_features), default=None
        Where the climb begins; None: X itself.
    bounds : pair of float or tensor, default=None
        Lowest and highest valid inputs.
    norm : {"linf", "l2"}, default="linf"
        Of the ball.

    Returns
    -------
    X_adversarial : tensor of shape (n_samples, n_features)

    References
    ----------
    A. Madry et al., "Towards deep learning models resistant to adversarial attacks" (2018).
    """
    moved, ball = X if start is None else start, BALLS[norm].around(X, epsilon, bounds)
    for _ in range(n_steps):
        moved = ball.step(moved, gradient(moved), step_size)
    return moved


def fgsm(
    gradient: Callable[[Tensor], Tensor],
    X: Tensor,
    epsilon: Tensor | float,
    *,
    bounds: Bounds = None,
    norm: str = "linf",
) -> Tensor:
    """Take the fast gradient sign step ``X + epsilon * sign(gradient(X))``, "l2": the fast gradient step.

    Parameters and result are those of :func:`pgd` with one full step.

    References
    ----------
    I. Goodfellow, J. Shlens, C. Szegedy, "Explaining and harnessing adversarial examples" (2014).
    """
    return pgd(gradient, X, epsilon, step_size=epsilon, n_steps=1, bounds=bounds, norm=norm)


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
