"""The three traces are the trace of the Hessian, with ``torch.autograd.functional.hessian`` as the oracle.

The random ones are averaged over *all* sign vectors, so that no test has a statistical tolerance.
"""

import itertools
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import PIECEWISE_LINEAR, make_network, networks, seeds
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from skantidistill.curvature import (
    exact_rows,
    exact_trace,
    hutchinson_trace,
    rademacher,
    sampled_rows,
    sampled_trace,
)
from skantidistill.network import forward

# Float64 sums of a few hundred terms; both sides lose at most some ten units in the last place.
SAME = {"rtol": 1e-9, "atol": 1e-11}
piecewise_linear = st.sampled_from(PIECEWISE_LINEAR)

#: Networks of 0, 1, 2 and 3 hidden layers with at most ten parameters: all 2^10 probes can be tried.
TINY = [(2, 2), (1, 3), (1, 1, 2), (2, 1, 2), (1, 2, 2), (1, 1, 3), (1, 1, 1, 2), (1, 1, 1, 1, 2)]


def weighted_loss(net, params, weight):
    """The weighted mean of the rows' cross-entropies, with nothing of the package but ``forward``."""
    rows = cross_entropy(forward(params, net.X, net.activation)[1], net.y, reduction="none")
    return rows.mean() if weight is None else (weight * rows).sum() / weight.sum()


def unflatten(vector, params):
    parts = vector.split([p.numel() for p in params])
    return tuple(part.view(p.shape) for part, p in zip(parts, params, strict=True))


def hessian_trace(net, weight=None, create_graph=False):
    """The trace of the whole Hessian in all weights and biases, and the vector that it depends on."""
    vector = torch.cat([p.flatten() for p in net.params]).requires_grad_(create_graph)

    def loss(flat):
        return weighted_loss(net, unflatten(flat, net.params), weight)

    hessian = torch.autograd.functional.hessian(loss, vector, create_graph=create_graph)
    return hessian.trace(), vector


def hessian_trace_gradient(net, weight=None):
    trace, vector = hessian_trace(net, weight, create_graph=True)
    if not trace.requires_grad:
        return torch.zeros_like(vector)
    (gradient,) = torch.autograd.grad(trace, vector, allow_unused=True)
    return gradient


def gradient_of(function, params):
    params = tuple(p.clone().requires_grad_() for p in params)
    gradients = torch.autograd.grad(function(params), params, allow_unused=True, materialize_grads=True)
    return torch.cat([g.flatten() for g in gradients])


def all_signs(n):
    """All 2^n sign vectors, of shape (2^n, n)."""
    return torch.tensor(list(itertools.product([-1.0, 1.0], repeat=n)), dtype=torch.float64)


def signs_by_row(net):
    """Every row goes through all sign vectors, each in another order: shape (2^C, n_rows, C)."""
    table = all_signs(net.sizes[-1])
    orders = [torch.randperm(len(table), generator=net.generator) for _ in net.X]
    return torch.stack([table[order] for order in orders], dim=1)


def mean_sampled_trace(net, params, weight=None):
    signs = signs_by_row(net)
    values = [sampled_trace(params, net.X, s, weight, activation=net.activation) for s in signs]
    return torch.stack(values).mean()


def mean_hutchinson_trace(net, params, weight=None):
    def one(probe):
        probes = unflatten(probe, net.params)
        return hutchinson_trace(params, net.X, net.y, probes, weight, activation=net.activation)

    return torch.func.vmap(one)(all_signs(net.n_params)).mean()


# --- values --------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(networks(piecewise_linear), st.booleans())
def test_exact_trace_is_the_trace_of_the_hessian(net, weighted):
    weight = net.weight if weighted else None
    expected = hessian_trace(net, weight)[0]
    assert_close(exact_trace(net.params, net.X, weight, activation=net.activation), expected, **SAME)
    assert expected > 0


@pytest.mark.parametrize("hidden", [(), (3,), (3, 2), (2, 3, 2)], ids=len)
@pytest.mark.parametrize("activation", PIECEWISE_LINEAR)
def test_exact_trace_of_every_depth_sees_every_layer(hidden, activation):
    net = make_network((2, *hidden, 3), activation, seed=3, n_rows=4)
    trace = exact_trace(net.params, net.X, net.weight, activation=activation)
    assert_close(trace, hessian_trace(net, net.weight)[0], **SAME)
    # Sibling: the output layer's share alone, (1 + ||a||^2) (1 - ||p||^2), is not all where there are others.
    inputs, logits = forward(net.params, net.X, activation)
    rows = (1 + inputs[-1].square().sum(1)) * (1 - logits.softmax(1).square().sum(1))
    share = (rows * net.weight).sum() / net.weight.sum()
    assert torch.isclose(share, trace, rtol=1e-3) == (hidden == ())


@settings(max_examples=30)
@given(networks(piecewise_linear), st.booleans())
def test_sampled_trace_over_all_signs_is_the_trace_of_the_hessian(net, weighted):
    weight = net.weight if weighted else None
    assert_close(mean_sampled_trace(net, net.params, weight), hessian_trace(net, weight)[0], **SAME)


@settings(max_examples=15)
@given(st.sampled_from(TINY), st.sampled_from(["relu", "identity", "tanh", "logistic"]), seeds, st.booleans())
def test_hutchinson_trace_over_all_probes_is_the_trace_of_the_hessian(sizes, activation, seed, weighted):
    net = make_network(sizes, activation, seed)
    weight = net.weight if weighted else None
    assert_close(mean_hutchinson_trace(net, net.params, weight), hessian_trace(net, weight)[0], **SAME)


def test_single_draws_differ_from_the_trace_and_from_each_other():
    net = make_network((1, 2, 2), "relu", seed=1)
    exact = exact_trace(net.params, net.X)
    sampled = torch.stack([sampled_trace(net.params, net.X, s) for s in signs_by_row(net)])
    probes = [unflatten(v, net.params) for v in all_signs(net.n_params)[:8]]
    hutchinson = torch.stack([hutchinson_trace(net.params, net.X, net.y, v) for v in probes])
    assert exact > 0.1
    for draws in (sampled, hutchinson):
        assert draws.std() > 0.01 * exact


@given(networks(piecewise_linear))
def test_row_traces_average_to_the_trace(net):
    inputs, logits = forward(net.params, net.X, net.activation)
    signs = signs_by_row(net)[0]
    rows = exact_rows(net.params, inputs, logits, net.activation)
    draws = sampled_rows(net.params, inputs, logits, net.activation, signs)
    mean = (rows * net.weight).sum() / net.weight.sum()
    assert rows.shape == draws.shape == net.y.shape
    assert_close(exact_trace(net.params, net.X, net.weight, activation=net.activation), mean, **SAME)
    mean = (draws * net.weight).sum() / net.weight.sum()
    assert_close(sampled_trace(net.params, net.X, signs, net.weight, activation=net.activation), mean, **SAME)


def test_row_weights_count():
    net = make_network((2, 3, 3), "relu", seed=0)
    signs, probes = signs_by_row(net)[1], tuple(torch.sign(p) for p in net.params)
    for trace in (
        lambda weight: exact_trace(net.params, net.X, weight),
        lambda weight: sampled_trace(net.params, net.X, signs, weight),
        lambda weight: hutchinson_trace(net.params, net.X, net.y, probes, weight),
    ):
        even = torch.full_like(net.weight, 7.0)
        assert_close(trace(even), trace(None), **SAME)
        assert not torch.isclose(trace(net.weight), trace(None), rtol=1e-3)


def relabelled(net):
    y = (net.y + 1) % net.sizes[-1]
    return type(net)(net.sizes, net.activation, net.params, net.X, y, net.weight, net.generator)


@settings(max_examples=20)
@given(networks(piecewise_linear))
def test_trace_of_a_piecewise_linear_network_depends_on_no_label(net):
    assert_close(hessian_trace(relabelled(net))[0], hessian_trace(net)[0], **SAME)


def test_trace_of_a_smooth_network_depends_on_the_labels():
    net = make_network((1, 1, 2), "tanh", seed=1)
    other = relabelled(net)
    assert not torch.isclose(hessian_trace(other)[0], hessian_trace(net)[0], rtol=0.05)
    assert_close(mean_hutchinson_trace(other, net.params), hessian_trace(other)[0], **SAME)


# --- sign ----------------------------------------------------------------------------------------


@given(networks(piecewise_linear), st.sampled_from([1.0, 10.0, 1000.0]))
def test_exact_and_sampled_trace_are_never_negative(net, scale):
    params = tuple(scale * p for p in net.params)
    inputs, logits = forward(params, net.X, net.activation)
    exact = exact_rows(params, inputs, logits, net.activation)
    # Only the last hidden layer's variance is a difference, of p @ W^2 and (p @ W)^2: it may go below zero
    # by some units in the last place of its terms, at most 16 eps (1 + ||a||^2) ||W||^2 with C <= 4 of them.
    ahead = 1 + inputs[-2].square().sum(1) if len(inputs) > 1 else torch.zeros(len(net.X))
    rounding = 16 * torch.finfo(torch.float64).eps * ahead * params[-2].square().sum()
    assert (exact >= -rounding).all()
    for signs in signs_by_row(net):
        assert (sampled_rows(params, inputs, logits, net.activation, signs) >= 0).all()  # sums of squares


def test_hutchinson_trace_may_be_negative():
    net = make_network((1, 1, 2), "tanh", seed=1)
    values = [
        hutchinson_trace(net.params, net.X, net.y, unflatten(v, net.params), activation="tanh")
        for v in all_signs(net.n_params)
    ]
    assert min(values) < 0 < max(values)


def test_traces_vanish_where_every_probability_is_one_hot():
    net = make_network((2, 3, 3), "relu", seed=0)
    params = (*net.params[:-2], 1e4 * net.params[-2], 1e4 * net.params[-1])
    assert exact_trace(params, net.X) == 0
    assert sampled_trace(params, net.X, signs_by_row(net)[0]) == 0
    assert exact_trace(net.params, net.X) > 0.1


def test_a_constant_added_to_the_rows_of_all_classes_changes_no_trace_of_lower_layers_in_float32():
    net = make_network((2, 3, 3), "relu", seed=0, dtype=torch.float32)
    shifted = (*net.params[:-2], net.params[-2] + 1000.0, net.params[-1])
    # Softmax ignores a shift of all logits. Each shifted weight is rounded by up to 3e-5 and each logit by up
    # to 1e-3, which moves p; without centring, the variance would be a difference of numbers near 1e6.
    assert_close(exact_trace(shifted, net.X), exact_trace(net.params, net.X), rtol=1e-2, atol=0)


# --- which Hessian -------------------------------------------------------------------------------


def gauss_newton_trace(net):
    """Tr(J^T S J) of the logits' Jacobian in all parameters, row by row."""
    vector = torch.cat([p.flatten() for p in net.params])
    rows = []
    for x in net.X:

        def logits(flat, x=x):
            return forward(unflatten(flat, net.params), x[None], net.activation)[1][0]

        jacobian = torch.autograd.functional.jacobian(logits, vector)
        p = logits(vector).softmax(0)
        rows.append((jacobian.T @ (p.diag() - p.outer(p)) @ jacobian).trace())
    return torch.stack(rows).mean()


@pytest.mark.parametrize("activation", ["tanh", "logistic"])
def test_the_gauss_newton_trace_of_a_smooth_network_is_not_that_of_its_hessian(activation):
    net = make_network((2, 3, 3), activation, seed=2)
    inputs, logits = forward(net.params, net.X, activation)
    gauss_newton = exact_rows(net.params, inputs, logits, activation).mean()
    assert_close(gauss_newton, gauss_newton_trace(net), **SAME)
    assert not torch.isclose(gauss_newton, hessian_trace(net)[0], rtol=0.05)


@pytest.mark.parametrize("activation", PIECEWISE_LINEAR)
def test_the_gauss_newton_trace_of_a_piecewise_linear_network_is_that_of_its_hessian(activation):
    net = make_network((2, 3, 3), activation, seed=2)
    assert_close(gauss_newton_trace(net), hessian_trace(net)[0], **SAME)
    assert_close(gauss_newton_trace(net), exact_trace(net.params, net.X, activation=activation), **SAME)


@pytest.mark.parametrize("activation", ["tanh", "logistic"])
def test_smooth_activations_are_refused(activation):
    net = make_network((2, 3, 3), activation, seed=0)
    for name, call in [
        ("exact_trace", lambda: exact_trace(net.params, net.X, activation=activation)),
        (
            "sampled_trace",
            lambda: sampled_trace(net.params, net.X, signs_by_row(net)[0], activation=activation),
        ),
    ]:
        message = (
            f"{name} is the Hessian's trace for piecewise linear activations only, got "
            f"activation={activation!r}; use hutchinson_trace, or activation 'relu' or 'identity'."
        )
        with pytest.raises(ValueError, match=re.escape(message)):
            call()


# --- derivatives ---------------------------------------------------------------------------------


@settings(max_examples=20)
@given(networks(piecewise_linear, max_width=3, max_classes=3), st.booleans())
def test_gradients_of_exact_and_mean_sampled_trace_are_those_of_the_hessians_trace(net, weighted):
    weight = net.weight if weighted else None
    expected = hessian_trace_gradient(net, weight)
    exact = gradient_of(lambda p: exact_trace(p, net.X, weight, activation=net.activation), net.params)
    assert_close(exact, expected, **SAME)
    assert_close(gradient_of(lambda p: mean_sampled_trace(net, p, weight), net.params), expected, **SAME)
    assert expected.abs().max() > 0


@settings(max_examples=8)
@given(st.sampled_from(TINY), st.sampled_from(["relu", "identity", "tanh", "logistic"]), seeds)
def test_gradient_of_the_mean_hutchinson_trace_is_that_of_the_hessians_trace(sizes, activation, seed):
    net = make_network(sizes, activation, seed)
    expected = hessian_trace_gradient(net, net.weight)
    got = gradient_of(lambda p: mean_hutchinson_trace(net, p, net.weight), net.params)
    assert_close(got, expected, **SAME)


@pytest.mark.parametrize("hidden", [(), (3,), (3, 2)], ids=len)
@pytest.mark.parametrize("activation", ["identity", "relu"])
def test_gradient_of_one_draw_is_that_of_finite_differences(hidden, activation):
    # gradcheck steps by 1e-6, and no unit of these networks is that close to its kink.
    net = make_network((2, *hidden, 3), activation, seed=5)
    assert min(a[a > 0].min() for a in [net.X.abs(), *forward(net.params, net.X, "relu")[0][1:]]) > 1e-4
    params = tuple(p.clone().requires_grad_() for p in net.params)
    signs, probes = signs_by_row(net)[2], tuple(rademacher(p.shape, p, net.generator) for p in params)
    for trace in (
        lambda *p: exact_trace(p, net.X, net.weight, activation=activation),
        lambda *p: sampled_trace(p, net.X, signs, net.weight, activation=activation),
        lambda *p: hutchinson_trace(p, net.X, net.y, probes, net.weight, activation=activation),
    ):
        assert torch.autograd.gradcheck(trace, params)


@pytest.mark.parametrize("activation", ["tanh", "logistic"])
def test_gradient_of_one_hutchinson_draw_is_that_of_finite_differences_where_smooth(activation):
    net = make_network((2, 3, 3), activation, seed=5)
    params = tuple(p.clone().requires_grad_() for p in net.params)
    probes = tuple(rademacher(p.shape, p, net.generator) for p in params)
    assert torch.autograd.gradcheck(
        lambda *p: hutchinson_trace(p, net.X, net.y, probes, activation=activation), params
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("hidden", [(), (3,), (3, 2)], ids=len)
def test_gradients_are_finite_at_logits_of_ten_thousand(hidden, dtype):
    net = make_network((2, *hidden, 3), "relu", seed=5, dtype=dtype)
    logits = forward(net.params, net.X, "relu")[1]
    scale = 1e4 / logits.abs().max()
    params = (*net.params[:-2], scale * net.params[-2], scale * net.params[-1])
    assert 0.99e4 < forward(params, net.X, "relu")[1].abs().max() < 1.01e4
    signs, probes = signs_by_row(net)[2].to(dtype), tuple(torch.sign(p) for p in params)
    for trace in (
        lambda p: exact_trace(p, net.X),
        lambda p: sampled_trace(p, net.X, signs),
        lambda p: hutchinson_trace(p, net.X, net.y, probes),
    ):
        assert torch.isfinite(trace(params))
        assert torch.isfinite(gradient_of(trace, params)).all()

    # Sibling: the square root of an underflowed probability has no finite gradient.
    def naive(p):
        return (forward(p, net.X, "relu")[1].softmax(1).sqrt() * signs).sum().square()

    assert not torch.isfinite(gradient_of(naive, params)).all()


# --- signs ---------------------------------------------------------------------------------------


@given(seeds)
def test_rademacher_draws_are_signs_that_the_generator_determines(seed):
    like = torch.zeros(1, dtype=torch.float64)
    one, same, other = (
        rademacher((40, 3), like, torch.Generator().manual_seed(s)) for s in (seed, seed, seed + 1)
    )
    assert set(one.unique().tolist()) == {-1.0, 1.0}
    assert one.dtype == torch.float64
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_rademacher_signs_have_equal_odds():
    signs = rademacher((100, 100), torch.zeros(1), torch.Generator().manual_seed(0))
    assert abs(signs.mean()) < 0.05  # five standard deviations of the mean of 10,000 signs; the seed is fixed
