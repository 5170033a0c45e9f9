"""The four terms that phi minimises, as pure functions, and their weighted sum.

A term is a function of parameters, a batch and draws; every random number is a draw, made outside
by :meth:`Objective.draw`. So ``torch.func.vmap(torch.func.grad(term))`` runs over a stack of students.
Parameters are the flat tuple of :mod:`skantidistill.network`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from skantidistill import perturbations
from skantidistill.backward import (
    Passed,
    Strength,
    TraceSignal,
    backpropagate,
    cross_entropy_signal,
    pass_forward,
    sampled_trace_signal,
    trace_signal_by_graph,
)
from skantidistill.draws import normal, rademacher, uniform
from skantidistill.growth import Growth
from skantidistill.network import (
    ACTIVATIONS,
    Batch,
    Parameters,
    cross_entropy_rows,
    forward,
    margin_gradient,
    select_inputs,
    select_outputs,
    weighted_mean,
)
from skantidistill.row_traces import exact_rows, hutchinson, n_signs, sampled_rows

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
        Weights of the four terms; for a stack tensors of one a member, also ``alpha``.
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
    lambda_ce: Strength = 1.0
    lambda_teacher: Strength = 0.0
    lambda_noise: Strength = 0.0
    lambda_trace: Strength = 0.0
    alpha: Strength = 0.0
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
        offsets = signs = X.new_empty(0)
        noise: Parameters = ()
        probes: Parameters = ()
        if self.lambda_noise:
            if self.neighborhood == "normal":
                (offsets,) = normal([X.shape], X, generator)
            else:
                offsets = uniform(X, generator)
            if self.parameter_noise_std:
                noise = normal(_shapes(params, batch.columns), X, generator)
        if self.lambda_trace and self.trace == "sampled":
            needed = n_signs(select_outputs(params, self.outputs), self.activation)
            signs = rademacher((len(X), needed), X, generator)
        elif self.lambda_trace and self.trace == "hutchinson":
            probes = tuple(rademacher(shape, X, generator) for shape in _shapes(params, batch.columns))
        return Draws(offsets, noise, signs, probes)

    def __call__(
        self, params: Parameters, batch: Batch, draws: Draws
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Return the weighted sum, every term by itself (unweighted), and the clean logits."""
        seen, narrowed = select_inputs(params, batch.columns), self._narrowed(batch.columns)
        selected = select_outputs(seen, self.outputs)
        inputs, logits = forward(selected, batch.X, self.activation)
        parts = {"ce": _mean_cross_entropy(logits, batch)}
        if self.lambda_teacher and self.growth is not None:
            parts["teacher"] = teacher_term(params, batch, draws, self)
        if self.lambda_noise:
            parts["noise"] = noise_term(seen, batch, draws, narrowed)
        if self.lambda_trace:
            parts["trace"] = trace_term(seen, batch, draws, narrowed, passed=(inputs, logits))
        if self.alpha:
            parts["penalty"] = sum(w.square().sum() for w in params[::2]) / (2 * batch.weight.sum())
        return self._weighted_sum(parts), parts, logits

    def descend(
        self, params: Parameters, batch: Batch, draws: Draws
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Return what a call does, detached, and leave the gradient in ``grad`` of the parameters.

        Terms whose gradient is plain backpropagation have it written out, and the others go through autograd.
        """
        if batch.columns is not None:
            return _by_graph(self, params, batch, draws)
        with torch.no_grad():
            loss, parts, logits, gradient = self.gradient(params, batch, draws)
        for p, g in zip(params, gradient, strict=True):
            p.grad = g if p.requires_grad else None
        return loss, parts, logits

    def gradient(
        self, params: Parameters, batch: Batch, draws: Draws
    ) -> tuple[Tensor, dict[str, Tensor], Tensor, list[Tensor]]:
        """Return what a call does and the sum's gradient, for dense rows; to be called without a graph."""
        inverse = batch.weight.sum(dim=-1).reciprocal()
        weight = batch.weight * inverse[..., None]
        selected = select_outputs(params, self.outputs)
        parts, gradient, logits = self._clean_gradient(selected, batch, weight, draws)
        if is_on(self.lambda_noise):
            noisy, X = _moved(selected, batch, draws, self)
            passed = pass_forward(noisy, X, self.activation)
            parts["noise"], signal = cross_entropy_signal(passed, batch.y, weight, self.lambda_noise)
            _add(gradient, backpropagate(noisy, passed, signal))
        if self.outputs is not None:
            for axis in (-2, -1):  # weights and biases of the last layer
                whole = torch.zeros_like(params[axis])
                gradient[axis] = whole.index_copy_(axis, self.outputs, gradient[axis])
        if is_on(self.lambda_teacher) and self.has_teacher:
            parts["teacher"], in_params = self._teacher_gradient(params, batch, draws)
            _add(gradient, in_params, self.lambda_teacher)
        if is_on(self.alpha):
            norms = torch.stack([torch.linalg.vector_norm(w, dim=(-2, -1)) for w in params[::2]], dim=-1)
            parts["penalty"] = torch.linalg.vecdot(norms, norms) * inverse / 2
            _add(gradient[::2], params[::2], self.alpha * inverse)
        return self._weighted_sum(parts), parts, logits, gradient

    @property
    def has_teacher(self) -> bool:
        """Whether there are parameters of a teacher to be close to."""
        return self.growth is not None

    def _teacher_gradient(
        self, params: Parameters, batch: Batch, draws: Draws
    ) -> tuple[Tensor, list[Tensor]]:
        return _graph_gradient(teacher_term, params, batch, draws, self)

    def _clean_gradient(
        self, params: Parameters, batch: Batch, weight: Tensor, draws: Draws
    ) -> tuple[dict[str, Tensor], list[Tensor], Tensor]:
        """Return cross-entropy and trace, the gradient of their weighted sum, and the logits."""
        passed = pass_forward(params, batch.X, self.activation)
        ce, signal = cross_entropy_signal(passed, batch.y, weight, self.lambda_ce)
        parts = {"ce": ce}
        if not is_on(self.lambda_trace) or self.trace == "hutchinson":
            gradient = backpropagate(params, passed, signal)
        else:
            parts["trace"], more = self._trace_signal(params, passed, batch, weight, draws)
            gradient = backpropagate(params, passed, signal + more.logits, more.inputs)
            _add(gradient[2::2], more.weights)
        if is_on(self.lambda_trace) and self.trace == "hutchinson":
            draws = draws._replace(probes=select_outputs(draws.probes, self.outputs))
            whole = replace(self, outputs=None)
            parts["trace"], in_params = _graph_gradient(trace_term, params, batch, draws, whole)
            _add(gradient, in_params, self.lambda_trace)
        return parts, gradient, passed.logits

    def _trace_signal(
        self, params: Parameters, passed: Passed, batch: Batch, weight: Tensor, draws: Draws
    ) -> tuple[Tensor, TraceSignal]:
        if self.trace == "sampled" and ACTIVATIONS[self.activation].piecewise_linear:
            return sampled_trace_signal(params, passed, draws.signs, weight, self.lambda_trace)

        def rows(params: Parameters, inputs: list[Tensor], logits: Tensor) -> Tensor:
            if self.trace == "sampled":
                return sampled_rows(params, inputs, logits, self.activation, draws.signs, batch.y)
            return exact_rows(params, inputs, logits, self.activation, batch.y)

        return trace_signal_by_graph(rows, params, passed, weight, self.lambda_trace)

    def _weighted_sum(self, parts: dict[str, Tensor]) -> Tensor:
        weights = {
            "teacher": self.lambda_teacher,
            "noise": self.lambda_noise,
            "trace": self.lambda_trace,
            "penalty": self.alpha,
        }
        total = parts["ce"] * self.lambda_ce
        for name, part in list(parts.items())[1:]:
            total = _sum(total, part, weights[name])
        return total

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
    params, X = _moved(select_outputs(params, objective.outputs), batch, draws, objective)
    return _mean_cross_entropy(forward(params, X, objective.activation)[1], batch)


def _moved(params: Parameters, batch: Batch, draws: Draws, objective: Objective) -> tuple[Parameters, Tensor]:
    """Return ``w + s xi`` and x', at which the noise term has its cross-entropy."""
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
    return params, X


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
    return weighted_mean(cross_entropy_rows(logits, batch.y), batch.weight)


def _by_graph(
    objective: Objective, params: Parameters, batch: Batch, draws: Draws
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Call an objective and go backward through autograd's graph; return what the call did, detached."""
    for p in params:
        p.grad = None
    loss, parts, logits = objective(params, batch, draws)
    loss.backward()
    return loss.detach(), {name: part.detach() for name, part in parts.items()}, logits.detach()


def _graph_gradient(
    term: Callable, params: Parameters, batch: Batch, draws: Draws, objective: Objective
) -> tuple[Tensor, list[Tensor]]:
    """Return a term, and its gradient by autograd's graph; frozen parameters get theirs, too."""
    leaves = tuple(p.detach().requires_grad_() for p in params)
    with torch.enable_grad():
        value = term(leaves, batch, draws, objective)
        total = value.sum()
    found = torch.autograd.grad(total, leaves, materialize_grads=True)
    return value.detach(), list(found)


def is_on(strength: Strength) -> bool:
    """Say whether a term counts; in a stack one counts for every member or for none."""
    return isinstance(strength, Tensor) or bool(strength)


def _sum(total: Tensor, part: Tensor, strength: Strength) -> Tensor:
    """Return a sum to which ``strength`` times another is added."""
    if isinstance(strength, Tensor):
        return torch.addcmul(total, part, strength)
    return torch.add(total, part, alpha=strength)


def _add(gradient: Sequence[Tensor], more: Sequence[Tensor], strength: Strength = 1.0) -> None:
    """Add ``strength`` times the second to the first, in place."""
    for g, added in zip(gradient, more, strict=True):
        if isinstance(strength, Tensor):
            g.addcmul_(added, strength.reshape(*strength.shape, *(1,) * (g.ndim - strength.ndim)))
        else:
            g.add_(added, alpha=strength)


def _shapes(params: Parameters, columns: Tensor | None) -> list[tuple[int, ...]]:
    """Return the shapes of the parameters of the network that sees only these input columns."""
    shapes: list[tuple[int, ...]] = [tuple(p.shape) for p in params]
    if columns is not None:
        shapes[0] = (shapes[0][0], len(columns))
    return shapes
