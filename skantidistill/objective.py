"""The four terms that phi minimises, as pure functions, and their weighted sum.

A term is a function of parameters, a batch and draws; every random number is a draw, made outside
by :meth:`Objective.draw`. So ``torch.func.vmap(torch.func.grad(term))`` runs over a stack of students.
Parameters are the flat tuple of :mod:`skantidistill.network`.
"""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from skantidistill import perturbations
from skantidistill.growth import Growth
from skantidistill.network import (
    Batch,
    Parameters,
    forward,
    margin_gradient,
    select_inputs,
    select_outputs,
    weighted_mean,
)
from skantidistill.row_traces import exact_rows, hutchinson, n_signs, rademacher, sampled_rows

__all__ = ["Draws", "Objective", "data_term", "noise_term", "teacher_term", "trace_term"]


class Draws(NamedTuple):
    """The random numbers of one step; what a setting does not need is an empty tensor or tuple.

    ``offsets`` (n_rows, n_features): uniform on [-1, 1], or standard normal. ``noise``: standard normal,
    shaped as the parameters. ``signs`` (n_rows, n_signs), see :func:`~skantidistill.curvature.n_signs`, and
    ``probes`` (shaped as the parameters): -1 and +1.
    """

    offsets: Tensor
    noise: Parameters
    signs: Tensor
    probes: Parameters


@dataclass(frozen=True)
class Objective:
    """The weighted sum of the terms, with everything that they need beside parameters, batch and draws.

    ``lambda_ce CE + lambda_teacher ||u - Pr[w]||^2 + lambda_noise T3 + lambda_trace tr H
    + alpha/2 ||W||^2 / (weight of the batch)``; a term of weight 0 is neither drawn nor computed.

    Parameters
    ----------
    activation : str
        Activation of the hidden layers.
    lambda_ce, lambda_teacher, lambda_noise, lambda_trace : float
        Weights of the four terms.
    alpha : float
        Strength of the L2 penalty on the weight matrices, as in scikit-learn's ``MLPClassifier``.
    delta : float or tensor of shape (n_features,)
        Half-width (or standard deviation) of the neighbourhood, in the units of the scaled inputs.
    neighborhood : {"uniform", "normal", "adversarial"}
        How x' is chosen from U_delta(x).
    parameter_noise_std : float
        The pass of term 3 is made at ``w + parameter_noise_std * noise``.
    trace : {"exact", "sampled", "hutchinson"}
        How the trace is computed.
    bounds : pair of tensors or float, or None
        Lowest and highest valid (scaled) inputs.
    outputs : integer tensor of shape (n_outputs,) or None
        The outputs that the softmax runs over, labels in a batch counting among them; None: all.
    growth : Growth or None
        Where the teacher's parameters are in the student's.
    teacher : tuple of tensors
        The teacher's parameters u.
    """

    activation: str
    lambda_ce: float = 1.0
    lambda_teacher: float = 0.0
    lambda_noise: float = 0.0
    lambda_trace: float = 0.0
    alpha: float = 0.0
    delta: Tensor | float = 0.0
    neighborhood: str = "uniform"
    parameter_noise_std: float = 0.0
    trace: str = "exact"
    bounds: perturbations.Bounds = None
    outputs: Tensor | None = None
    growth: Growth | None = None
    teacher: Parameters = field(default=())

    def draw(self, params: Parameters, batch: Batch, generator: torch.Generator) -> Draws:
        """Draw what one step needs, always in the same order, from one generator."""
        X = batch.X
        params = select_inputs(params, batch.columns)
        offsets = signs = X.new_empty(0)
        noise: Parameters = ()
        probes: Parameters = ()
        if self.lambda_noise:
            if self.neighborhood == "normal":
                offsets = _normal(X, generator)
            else:
                offsets = torch.empty_like(X).uniform_(-1, 1, generator=generator)
            if self.parameter_noise_std:
                noise = tuple(_normal(p, generator) for p in params)
        if self.lambda_trace and self.trace == "sampled":
            needed = n_signs(select_outputs(params, self.outputs), self.activation)
            signs = rademacher((len(X), needed), X, generator)
        elif self.lambda_trace and self.trace == "hutchinson":
            probes = tuple(rademacher(p.shape, p, generator) for p in params)
        return Draws(offsets, noise, signs, probes)

    def __call__(
        self, params: Parameters, batch: Batch, draws: Draws
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Return the weighted sum, every term by itself (unweighted), and the clean logits."""
        seen, narrowed = select_inputs(params, batch.columns), self._narrowed(batch.columns)
        selected = select_outputs(seen, self.outputs)
        inputs, logits = forward(selected, batch.X, self.activation)
        parts = {"ce": _mean_cross_entropy(logits, batch)}
        loss = self.lambda_ce * parts["ce"]
        if self.lambda_teacher and self.growth is not None:
            parts["teacher"] = teacher_term(params, batch, draws, self)
            loss = loss + self.lambda_teacher * parts["teacher"]
        if self.lambda_noise:
            parts["noise"] = noise_term(seen, batch, draws, narrowed)
            loss = loss + self.lambda_noise * parts["noise"]
        if self.lambda_trace:
            parts["trace"] = trace_term(seen, batch, draws, narrowed, passed=(inputs, logits))
            loss = loss + self.lambda_trace * parts["trace"]
        if self.alpha:
            parts["penalty"] = sum(w.square().sum() for w in params[::2]) / (2 * batch.weight.sum())
            loss = loss + self.alpha * parts["penalty"]
        return loss, parts, logits

    def logits(self, params: Parameters, batch: Batch) -> Tensor:
        """Return the logits of a batch, of all outputs."""
        return forward(select_inputs(params, batch.columns), batch.X, self.activation)[1]

    def _narrowed(self, columns: Tensor | None) -> "Objective":
        """Return the objective for batches of these input columns only."""
        if columns is None:
            return self

        def narrowed(value: Tensor | float) -> Tensor | float:
            return value[columns] if isinstance(value, Tensor) and value.ndim else value

        bounds = None if self.bounds is None else (narrowed(self.bounds[0]), narrowed(self.bounds[1]))
        return replace(self, delta=narrowed(self.delta), bounds=bounds)


def data_term(params: Parameters, batch: Batch, draws: Draws, objective: Objective) -> Tensor:
    """Return ``sum_i w_i CE(w, (x_i, y_i)) / sum_i w_i``; zero where every label is certain."""
    logits = forward(select_outputs(params, objective.outputs), batch.X, objective.activation)[1]
    return _mean_cross_entropy(logits, batch)


def teacher_term(params: Parameters, batch: Batch, draws: Draws, objective: Objective) -> Tensor:
    """Return ``||u - Pr[w]||^2``, a plain sum over weights and biases; zero at an embedding of u."""
    assert objective.growth is not None
    projected = objective.growth.project(params)
    gaps = [(u - w).square().sum() for u, w in zip(objective.teacher, projected, strict=True)]
    return torch.stack(gaps).sum()


def noise_term(params: Parameters, batch: Batch, draws: Draws, objective: Objective) -> Tensor:
    """Return the mean of ``CE(w + s xi, (x', y))`` with x' from U_delta(x).

    x' is ``x + delta * offsets``, or for "adversarial" one step of ``delta * sign(gradient)`` from
    there, projected back onto the cube. At ``delta = s = 0`` it is the data term; it is zero where every
    label is certain on all of U_delta. Of sparse rows only the stored values move.
    """
    params = select_outputs(params, objective.outputs)
    if objective.parameter_noise_std:
        noise = select_outputs(draws.noise, objective.outputs)
        params = perturbations.parameter_noise(params, objective.parameter_noise_std, noise)
    delta = objective.delta if batch.stored is None else objective.delta * batch.stored
    X = perturbations.input_noise(batch.X, delta, draws.offsets, objective.bounds)
    if objective.neighborhood == "adversarial":
        X = perturbations.pgd(
            lambda moved: margin_gradient(params, moved, batch.y, objective.activation),
            batch.X,
            delta,
            step_size=delta,
            n_steps=1,
            start=X,
            bounds=objective.bounds,
        )
    logits = forward(params, X, objective.activation)[1]
    return _mean_cross_entropy(logits, batch)


def trace_term(
    params: Parameters,
    batch: Batch,
    draws: Draws,
    objective: Objective,
    passed: tuple[list[Tensor], Tensor] | None = None,
) -> Tensor:
    """Return ``tr d^2 CE / d w^2`` of the batch's mean loss; zero where every p is one-hot at the label.

    ``passed`` is the forward pass of the selected outputs, where it was made already.
    """
    activation = objective.activation
    selected = select_outputs(params, objective.outputs)
    if objective.trace == "hutchinson":
        probes = select_outputs(draws.probes, objective.outputs)
        return hutchinson(selected, batch.X, batch.y, probes, batch.weight, activation)
    inputs, logits = passed or forward(selected, batch.X, activation)
    if objective.trace == "sampled":
        rows = sampled_rows(selected, inputs, logits, activation, draws.signs, batch.y)
    else:
        rows = exact_rows(selected, inputs, logits, activation, batch.y)
    return weighted_mean(rows, batch.weight)


def _mean_cross_entropy(logits: Tensor, batch: Batch) -> Tensor:
    return weighted_mean(cross_entropy(logits, batch.y, reduction="none"), batch.weight)


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw standard normal numbers of the shape, dtype and device of ``like``."""
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)
