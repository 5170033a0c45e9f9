"""Laws of the perceptron on tensors, with automatic differentiation and torch's modules as oracles."""

import numpy as np
import pytest
import torch
from hypothesis import given
from strategies import make_network, networks
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from skantidistill.network import ACTIVATIONS, forward, margin_gradient, select_outputs, weighted_mean

# Float64 sums of at most a few dozen terms of order 1: rounding stays far below this.
SAME = {"rtol": 1e-11, "atol": 1e-12}


def sequential_of(params, activation):
    layers = []
    for weight, bias in zip(params[::2], params[1::2], strict=True):
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
        layer.weight.data, layer.bias.data = weight, bias
        layers += [layer, ACTIVATIONS[activation].module()]
    return torch.nn.Sequential(*layers[:-1])


def loss_gradient(params, X, y, activation):
    """Differentiate every row's cross-entropy in its input."""
    X = X.clone().requires_grad_()
    loss = cross_entropy(forward(params, X, activation)[1], y, reduction="sum")
    return torch.autograd.grad(loss, X)[0]


def slow_margin(params, X, y, activation):
    """The logarithm of the odds against the label, row by row."""
    margins = []
    for logits, label in zip(forward(params, X, activation)[1], y.tolist(), strict=True):
        others = torch.cat([logits[:label], logits[label + 1 :]])
        margins.append(others.logsumexp(0) - logits[label])
    return torch.stack(margins)


@given(networks())
def test_forward_is_that_of_a_torch_sequential(net):
    module = sequential_of(net.params, net.activation)
    inputs, logits = forward(net.params, net.X, net.activation)
    assert_close(logits, module(net.X).detach(), **SAME)
    assert len(inputs) == len(net.sizes) - 1
    assert inputs[0] is net.X
    for depth, layer_input in enumerate(inputs[1:], start=1):
        assert_close(layer_input, module[: 2 * depth](net.X).detach(), **SAME)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_slope_is_the_derivative_as_a_function_of_the_value(activation):
    function, slope = ACTIVATIONS[activation][:2]
    z = torch.tensor([-2.3, -0.4, 0.7, 3.1], dtype=torch.float64, requires_grad=True)
    derivative = torch.autograd.grad(function(z).sum(), z)[0]
    assert_close(slope(function(z.detach())), derivative, **SAME)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_bend_is_the_second_derivative_as_a_function_of_the_value(activation):
    function, bend = ACTIVATIONS[activation].function, ACTIVATIONS[activation].bend
    z = torch.tensor([-2.3, -0.4, 0.7, 3.1], dtype=torch.float64)
    second = torch.func.vmap(torch.func.grad(torch.func.grad(function)))(z)
    assert_close(bend(function(z)), second, **SAME)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_piecewise_linear_means_a_zero_second_derivative(activation):
    function = ACTIVATIONS[activation].function
    z = torch.tensor([-2.3, -0.4, 0.7, 3.1], dtype=torch.float64)
    second = torch.func.vmap(torch.func.grad(torch.func.grad(function)))(z)
    assert ACTIVATIONS[activation].piecewise_linear == bool((second == 0).all())


@given(networks())
def test_margin_gradient_is_that_of_automatic_differentiation(net):
    X = net.X.clone().requires_grad_()
    margin = slow_margin(net.params, X, net.y, net.activation)
    (expected,) = torch.autograd.grad(margin.sum(), X)
    assert_close(margin_gradient(net.params, net.X, net.y, net.activation), expected, **SAME)


@given(networks())
def test_margin_gradient_has_the_direction_of_the_losss(net):
    gradient = margin_gradient(net.params, net.X, net.y, net.activation)
    p = forward(net.params, net.X, net.activation)[1].softmax(1)
    others = 1 - p[torch.arange(len(net.y)), net.y]
    expected = loss_gradient(net.params, net.X, net.y, net.activation)
    assert_close(others[:, None] * gradient, expected, rtol=1e-9, atol=1e-12)


def test_margin_gradient_depends_on_the_label():
    net = make_network((2, 3, 3), "tanh", seed=0)
    gradients = [margin_gradient(net.params, net.X, torch.full((3,), c), net.activation) for c in range(3)]
    assert all(g.abs().max() > 1e-2 for g in gradients)
    assert not torch.allclose(gradients[0], gradients[1], atol=1e-2)


def test_margin_gradient_is_detached_from_the_parameters():
    net = make_network((2, 3, 3), "relu", seed=0)
    params = tuple(p.requires_grad_() for p in net.params)
    assert not margin_gradient(params, net.X.requires_grad_(), net.y, "relu").requires_grad


def test_margin_gradient_of_a_single_output_is_zero():
    net = make_network((2, 3, 1), "tanh", seed=0)
    assert torch.equal(margin_gradient(net.params, net.X, net.y, "tanh"), torch.zeros_like(net.X))


@pytest.mark.parametrize("gap", [0.0, 5.0, 30.0, 60.0, 200.0, 1e4])
@pytest.mark.parametrize("label", [0, 2])
def test_margin_gradient_is_kept_in_single_precision_however_confident_a_row_is(gap, label):
    weight = torch.tensor([[3.0, -1.0], [1.0, 2.0], [-2.0, -3.0]])
    bias, y, X = torch.zeros(3), torch.tensor([label]), torch.tensor([[0.25, -0.5]])
    bias[label] = gap
    single = margin_gradient((weight, bias), X, y, "relu").double()
    exact = margin_gradient((weight.double(), bias.double()), X.double(), y, "relu")
    # The other logits are of order 1 whatever the gap is: a few roundings of 6e-8.
    assert_close(single, exact, rtol=1e-6, atol=0)
    # Sibling: the p_y - 1 of automatic differentiation loses the label's share, and later all underflows.
    gradient = loss_gradient((weight, bias), X, y, "relu").double()
    kept = torch.allclose(gradient / gradient.norm(), exact / exact.norm(), atol=0.05)
    assert kept == (gap < 17)  # 2^-24 is exp(-16.6)
    assert (gradient == 0).all() == (gap > 110)


def test_selected_outputs_are_rows_of_the_last_layer():
    net = make_network((2, 3, 4), "relu", seed=0)
    outputs = torch.tensor([3, 1])
    selected = select_outputs(net.params, outputs)
    logits = forward(net.params, net.X, "relu")[1]
    assert_close(forward(selected, net.X, "relu")[1], logits[:, outputs], **SAME)
    assert not torch.allclose(logits[:, [1, 3]], logits[:, [3, 1]])
    assert select_outputs(net.params, None) is net.params


@given(networks())
def test_weighted_mean_is_numpys_average(net):
    rows = net.X[:, 0]
    expected = np.average(rows.numpy(), weights=net.weight.numpy())
    assert_close(weighted_mean(rows, net.weight).item(), expected, **SAME)
    assert_close(weighted_mean(rows).item(), rows.numpy().mean(), **SAME)


def test_weights_count_in_the_weighted_mean():
    rows, weight = torch.tensor([1.0, 5.0]), torch.tensor([3.0, 1.0])
    assert weighted_mean(rows, weight) == 2
    assert weighted_mean(rows) == 3


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_functions_write_to_no_argument(activation):
    net = make_network((2, 3, 3), activation, seed=0)
    before = [t.clone() for t in (net.X, *net.params)]
    forward(net.params, net.X, activation)
    margin_gradient(net.params, net.X, net.y, activation)
    for now, then in zip((net.X, *net.params), before, strict=True):
        assert torch.equal(now, then)
