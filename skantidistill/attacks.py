"""The strongest of many steps: projected gradient ascent that keeps the best point of every row."""

import torch
from torch import Tensor

from skantidistill.network import Parameters, forward, logits_and_margin_gradient
from skantidistill.perturbations import Ball

__all__ = ["climb", "worst_margin"]

#: A row counts as broken while climbing if its margin is this share of how far its logits lay apart at the
#: start, which a common offset of them does not change; another order of summation, or double precision, will
#: then not undo it. Offset or not, it must also be above this many rounding errors of the largest logit.
FIRM = 1e-4
FIRM_ERRORS = 16
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
        Whether a row may stop at an iterate that another label wins firmly, instead of looking for a better
        one. For an accuracy this is all the same.

    Returns
    -------
    X_adversarial : tensor of shape (n_samples, n_features)
    """
    kept, moved = start.clone(), start
    highest = torch.full((len(start),), -torch.inf, dtype=start.dtype)
    firm = torch.zeros(len(start), dtype=torch.bool)
    rows = torch.arange(len(start))  # those that still climb
    for step in range(n_steps + 1):
        last = step == n_steps
        if last:
            logits = forward(params, moved, activation)[1]
        else:
            logits, slope = logits_and_margin_gradient(params, moved, y[rows], activation)
        if step == 0:
            spread = logits.amax(dim=-1) - logits.amin(dim=-1)
        margin = worst_margin(logits, y[rows])
        better = margin > highest[rows]
        kept[rows[better]], highest[rows[better]] = moved[better], margin[better]
        if last:
            break
        error = FIRM_ERRORS * torch.finfo(logits.dtype).eps * logits.abs().amax(dim=-1)
        firm[rows] |= margin > FIRM * spread[rows] + error
        holds = ~firm[rows]
        if until_broken and holds.sum() <= (1 - DROPPED) * len(rows):
            rows, moved, slope, ball = rows[holds], moved[holds], slope[holds], ball.rows(holds)
            if not len(rows):
                break
        moved = ball.step(moved, slope, step_size)
    return kept
