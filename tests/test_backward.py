"""Backpropagation written out is autograd's, for any perceptron."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import PIECEWISE_LINEAR, networks
from torch.testing import assert_close

from skantidistill.backward import (
    backpropagate,
    cross_entropy_signal,
    pass_forward,
    sampled_trace_signal,
    trace_signal_by_graph,
)
from skantidistill.draws import rademacher
from skantidistill.network import forward
from skantidistill.row_traces import exact_rows, n_signs, sampled_rows

# Two orders of summation in float64, relative to the largest number of a tensor.
ROUNDING = 1e-12

strengths = st.sampled_from([1.0, 2.0]) | st.floats(0.1, 3)


def assert_gradients(got, expected):
    for one, other in zip(got, expected, strict=True):
        assert_close(one, other, rtol=0, atol=ROUNDING * (1 + float(other.abs().max())))


def leaves(net):
    return tuple(p.detach().clone().requires_grad_() for p in net.params)


@given(networks(), strengths)
def test_the_signal_of_cross_entropy_goes_back_as_autograds_gradient(net, strength):
    params = leaves(net)
    rows = torch.nn.functional.cross_entropy(
        forward(params, net.X, net.activation)[1], net.y, reduction="none"
    )
    expected = torch.autograd.grad(strength * (rows @ net.weight), params)
    with torch.no_grad():
        passed = pass_forward(net.params, net.X, net.activation)
        value, signal = cross_entropy_signal(passed, net.y, net.weight, strength)
        got = backpropagate(net.params, passed, signal)
    assert_close(value, (rows @ net.weight).detach(), rtol=1e-12, atol=ROUNDING)
    assert_gradients(got, expected)
    assert max(g.abs().max() for g in expected) > 0


@given(networks(st.sampled_from(PIECEWISE_LINEAR)), strengths)
def test_the_signal_of_the_sampled_trace_goes_back_as_autograds_gradient(net, strength):
    signs = rademacher((len(net.X), net.sizes[-1]), net.X, net.generator)
    params = leaves(net)
    inputs, logits = forward(params, net.X, net.activation)
    rows = sampled_rows(params, inputs, logits, net.activation, signs)
    gradients = torch.autograd.grad(strength * (rows @ net.weight), params, materialize_grads=True)
    with torch.no_grad():
        passed = pass_forward(net.params, net.X, net.activation)
        value, signal = sampled_trace_signal(net.params, passed, signs, net.weight, strength)
        assert len(signal.inputs) == len(signal.weights) == len(net.sizes) - 2
        got = backpropagate(net.params, passed, signal.logits, signal.inputs)
        for gradient, more in zip(got[2::2], signal.weights, strict=True):
            gradient.add_(more)
    assert_close(value, (rows @ net.weight).detach(), rtol=1e-12, atol=ROUNDING)
    assert_gradients(got, gradients)


@given(networks(), st.sampled_from(["exact", "sampled"]))
def test_a_trace_by_the_shorter_graph_has_the_gradient_of_the_whole_one(net, trace):
    signs = rademacher((len(net.X), n_signs(net.params, net.activation)), net.X, net.generator)

    def rows(params, inputs, logits):
        if trace == "exact":
            return exact_rows(params, inputs, logits, net.activation, net.y)
        return sampled_rows(params, inputs, logits, net.activation, signs, net.y)

    params = leaves(net)
    total = rows(params, *forward(params, net.X, net.activation)) @ net.weight
    expected = torch.autograd.grad(0.5 * total, params, materialize_grads=True)
    with torch.no_grad():
        passed = pass_forward(net.params, net.X, net.activation)
        value, signal = trace_signal_by_graph(rows, net.params, passed, net.weight, 0.5)
        assert len(signal.inputs) == len(signal.weights) == len(net.sizes) - 2
        got = backpropagate(net.params, passed, signal.logits, signal.inputs)
        for gradient, more in zip(got[2::2], signal.weights, strict=True):
            gradient.add_(more)
    assert_close(value, total.detach(), rtol=1e-12, atol=ROUNDING)
    assert_gradients(got, expected)
