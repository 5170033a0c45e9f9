"""Backpropagation written out, for the terms of which it is plain.

On small networks autograd's graph costs more than the arithmetic. To be called under ``torch.no_grad()``. A
*signal* is a gradient in the logits, of shape (n_rows, n_outputs); log p is kept with classes first, because
over a short last axis a softmax is several times slower. All of it takes stacks, see
:mod:`skantidistill.network`; a *strength* is a number, or for a stack a tensor of one a member.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from skantidistill.network import ACTIVATIONS, NARROW, Parameters, forward

__all__ = [
    "Passed",
    "Strength",
    "TraceSignal",
    "backpropagate",
    "cross_entropy_signal",
    "pass_forward",
    "sampled_trace_signal",
    "times",
    "trace_signal_by_graph",
]


Strength = Tensor | float


class Passed(NamedTuple):
    """A forward pass: layers' inputs ``a_0, ..., a_{L-1}``, logits, log p, slopes of a_1, ..., a_{L-1}."""

    inputs: list[Tensor]
    logits: Tensor
    log_p: Tensor
    slopes: list[Tensor]


class TraceSignal(NamedTuple):
    """Gradients of the trace in the logits, in a_1, ..., a_{L-1} and in the weights W_2, ..., W_L."""

    logits: Tensor
    inputs: list[Tensor]
    weights: list[Tensor]


def pass_forward(params: Parameters, X: Tensor, activation: str) -> Passed:
    """Return what the backward pass needs."""
    inputs, logits = forward(params, X, activation)
    log_p = torch.log_softmax(logits.mT.contiguous(), dim=-2)
    return Passed(inputs, logits, log_p, [ACTIVATIONS[activation].slope(a) for a in inputs[1:]])


def cross_entropy_signal(
    passed: Passed, y: Tensor, weight: Tensor, strength: Strength
) -> tuple[Tensor, Tensor]:
    """Return ``sum_i weight_i CE_i``, and ``strength`` times its gradient in the logits."""
    label = y[..., None, :]
    total = torch.linalg.vecdot(passed.log_p.gather(-2, label)[..., 0, :], -weight)
    # d CE / d z = p - e_y
    scaled = times(weight, strength)[..., None, :]
    return total, passed.log_p.exp().mul_(scaled).scatter_add_(-2, label, -scaled).mT


def sampled_trace_signal(
    params: Parameters, passed: Passed, signs: Tensor, weight: Tensor, strength: Strength
) -> tuple[Tensor, TraceSignal]:
    """Return ``sum_i weight_i t_i``, t the sampled trace of a piecewise linear network, and its gradient.

    With ``n_l = 1 + ||a_{l-1}||^2``, ``v_L = v`` and ``v_l = m_l * (v_{l+1} W_{l+1})``, where m is the slope,
    ``t = sum_l n_l ||v_l||^2`` (:func:`skantidistill.row_traces.sampled_rows`). From the first layer up, the
    gradient in v_l is ``g_l = 2 n_l v_l + (m_{l-1} * g_{l-1}) W_l^T`` and that in W_l
    ``v_l^T (m_{l-1} * g_{l-1})``; a_{l-1} gets ``2 ||v_l||^2 a_{l-1}``.
    """
    inputs, slopes, n_layers = passed.inputs, passed.slopes, len(passed.inputs)
    p = passed.log_p.exp()
    root = p.sqrt().mul_(signs.mT)
    total = root.sum(dim=-2, keepdim=True)
    pulled = [torch.addcmul(root, p, total, value=-1).mT]  # v_L, ..., v_1
    for layer in range(n_layers - 1, 0, -1):
        pulled.append((pulled[-1] @ params[2 * layer]).mul_(slopes[layer - 1]))
    pulled.reverse()
    sizes = [torch.linalg.vecdot(a, a).add_(1) for a in inputs]
    squares = [torch.linalg.vecdot(v, v) for v in pulled]
    rows = torch.stack(sizes).mul_(torch.stack(squares)).sum(dim=0)
    twice = times(weight, strength * 2)
    from_above = [a * (twice * s)[..., None] for a, s in zip(inputs[1:], squares[1:], strict=True)]
    weights, gradient = [], pulled[0] * (twice * sizes[0])[..., None]
    for layer in range(1, n_layers):
        masked = gradient.mul_(slopes[layer - 1])
        weights.append(pulled[layer].mT @ masked)
        own = pulled[layer] * (twice * sizes[layer])[..., None]
        gradient = _added_product(own, masked, params[2 * layer])
    # v = root - p (1 . root), root = sqrt(p) * signs, and d p = p * d log p
    gradient = gradient.mT
    mean = (gradient * p).sum(dim=-2, keepdim=True)
    in_log_p = torch.addcmul(root.mul_(gradient - mean).mul_(0.5), p.mul(total), gradient, value=-1)
    signal = torch.addcmul(in_log_p, p, in_log_p.sum(dim=-2, keepdim=True), value=-1)
    return torch.linalg.vecdot(rows, weight), TraceSignal(signal.mT, from_above, weights)


def _added_product(own: Tensor, X: Tensor, weight: Tensor) -> Tensor:
    """Return ``own + X W^T``."""
    if own.ndim == 2:
        return torch.addmm(own, X, weight.T)
    if weight.shape[1] < NARROW:
        return torch.baddbmm(own.mT, weight, X.mT).mT
    return torch.baddbmm(own, X, weight.mT)


def times(weight: Tensor, strength: Strength) -> Tensor:
    """Return the weights of rows, times a strength."""
    if isinstance(strength, Tensor):
        return weight * strength[..., None]
    return weight if strength == 1 else weight * strength


def trace_signal_by_graph(
    rows: Callable[[Parameters, list[Tensor], Tensor], Tensor],
    params: Parameters,
    passed: Passed,
    weight: Tensor,
    strength: Strength,
) -> tuple[Tensor, TraceSignal]:
    """Return ``sum_i weight_i t_i`` and its gradient by autograd, for ``t = rows(params, inputs, logits)``.

    The graph holds what comes after the forward pass, in which the first layer has no part.
    """
    logits = passed.logits.detach().requires_grad_()
    inputs = [a.detach().requires_grad_() for a in passed.inputs[1:]]
    weights = [W.detach().requires_grad_() for W in params[2::2]]
    leaves = list(params)
    leaves[2::2] = weights
    with torch.enable_grad():
        total = torch.linalg.vecdot(rows(tuple(leaves), [passed.inputs[0], *inputs], logits), weight)
        found = torch.autograd.grad((total * strength).sum(), [logits, *inputs, *weights])
    n_hidden = len(inputs)
    return total.detach(), TraceSignal(found[0], list(found[1 : 1 + n_hidden]), list(found[1 + n_hidden :]))


def backpropagate(
    params: Parameters, passed: Passed, signal: Tensor, in_inputs: Sequence[Tensor] = ()
) -> list[Tensor]:
    """Return the gradient in the parameters, from that in the logits and, beside it, in a_1, ..., a_{L-1}."""
    gradient: list[Tensor] = []
    for layer in range(len(passed.inputs) - 1, -1, -1):
        gradient[:0] = signal.mT @ passed.inputs[layer], signal.sum(dim=-2)
        if layer:
            signal = signal @ params[2 * layer]
            if in_inputs:
                signal.add_(in_inputs[layer - 1])
            signal.mul_(passed.slopes[layer - 1])
    return gradient
