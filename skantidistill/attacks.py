"""The strongest of many steps: projected gradient ascent that keeps the best point of every row."""

import torch
from torch import Tensor

from skantidistill.network import Parameters, forward, logits_and_margin_gradient
from skantidistill.perturbations import Ball

__all__ = ["climb", "worst_margin"]

#: A row counts as broken while climbing if its margin is this share of its largest logit: one that
#: another order of summation, or double precision, will not undo.
FIRM = 1e-4
#: Rows are dropped once this share of them is broken: seldom enough that copying the others pays.
DROPPED = 0.25


def worst_margin(logits: Tensor, y: Tensor) -> Tensor:
    """Return ``max_{c != y} z_c - z_y`` of every row: above 0 where another label wins."""
    label = y[:, None]
    others = logits.scatter(-1, label, -torch.inf).amax(dim=-1)
    return others - logits.gather(-1, label)[:, 0]


def climb(
    params: Parameters,
    activation: str,
    ball: Ball,
    start: Tensor,
    y: Tensor,
    *,
    step_size: Tensor | float,
    n_steps: int,
    until_broken: bool,
) -> Tensor:
    """Return for every row the point of largest margin among the start and ``n_steps`` iterates.

    Parameters
    ----------
    params, activation
        The network, on raw inputs.
    ball : Box or Ellipsoid
        Where the rows may go.
    start : tensor of shape (n_samples, n_features)
        Where they begin, inside the ball.
    y : tensor of shape (n_samples,)
        Index of every row's class.
    step_size : float or tensor of shape (n_features,)
        As in :func:`skantidistill.perturbations.pgd`.
    n_steps : int
        Number of steps.
    until_broken : bool
        Whether a row stops at the first iterate that another label wins firmly, instead of the best one;
        which of the iterates is kept of a row that holds is then its last. For an accuracy this is all the
        same.

    Returns
    -------
    X_adversarial : tensor of shape (n_samples, n_features)
    """
    kept, moved = start.clone(), start
    highest = torch.full((len(start),), -torch.inf, dtype=start.dtype)
    rows = torch.arange(len(start))  # those that still climb
    for step in range(n_steps + 1):
        last = step == n_steps
        if last:
            logits = forward(params, moved, activation)[1]
        else:
            logits, slope = logits_and_margin_gradient(params, moved, y[rows], activation)
        margin = worst_margin(logits, y[rows])
        better = margin > highest[rows]
        if until_broken and not last:
            better &= margin > FIRM * logits.abs().amax(dim=-1)
        kept[rows[better]], highest[rows[better]] = moved[better], margin[better]
        if last:
            break
        holds = highest[rows] == -torch.inf
        if until_broken and holds.sum() <= (1 - DROPPED) * len(rows):
            rows, moved, slope, ball = rows[holds], moved[holds], slope[holds], ball.rows(holds)
            if not len(rows):
                break
        moved = ball.step(moved, slope, step_size)
    return kept
