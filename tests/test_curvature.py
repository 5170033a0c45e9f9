"""The three traces are the trace of the Hessian, with ``torch.autograd.functional.hessian`` as the oracle.

The random ones are averaged over *all* sign vectors, so that no test has a statistical tolerance.
"""

import itertools
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import ACTIVATIONS, PIECEWISE_LINEAR, activations, make_network, networks, seeds
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from skantidistill.curvature import exact_trace, hutchinson_trace, n_signs, rademacher, sampled_trace
from skantidistill.network import forward
from skantidistill.row_traces import exact_rows, gauss_newton_rows, sampled_rows

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
    """Every row goes through all sign vectors, each in another order: shape (2^k, n_rows, k)."""
    table = all_signs(n_signs(net.params, net.activation))
    orders = [torch.randperm(len(table), generator=net.generator) for _ in net.X]
    return torch.stack([table[order] for order in orders], dim=1)


def exact(net, params=None, weight=None):
    return exact_trace(params or net.params, net.X, weight=weight, y=net.y, activation=net.activation)


def sampled(net, signs, params=None, weight=None):
    return sampled_trace(
        params or net.params, net.X, signs, weight=weight, y=net.y, activation=net.activation
    )


def mean_sampled_trace(net, params=None, weight=None):
    return torch.func.vmap(lambda signs: sampled(net, signs, params, weight))(signs_by_row(net)).mean()


def mean_hutchinson_trace(net, params, weight=None):
    def one(probe):
        probes = unflatten(probe, net.params)
        return hutchinson_trace(params, net.X, net.y, probes, weight=weight, activation=net.activation)

    return torch.func.vmap(one)(all_signs(net.n_params)).mean()


# --- values --------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(networks(), st.booleans())
def test_exact_trace_is_the_trace_of_the_hessian(net, weighted):
    weight = net.weight if weighted else None
    expected = hessian_trace(net, weight)[0]
    assert_close(exact(net, weight=weight), expected, **SAME)
    assert expected > 0 or net.activation not in PIECEWISE_LINEAR


@pytest.mark.parametrize("hidden", [(), (3,), (3, 2), (2, 3, 2), (2, 1, 3, 2)], ids=len)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_exact_trace_of_every_depth_sees_every_layer(hidden, activation):
    net = make_network((2, *hidden, 3), activation, seed=3, n_rows=4)
    trace = exact(net, weight=net.weight)
    assert_close(trace, hessian_trace(net, net.weight)[0], **SAME)
    # Sibling: the output layer's share alone, (1 + ||a||^2) (1 - ||p||^2), is not all where there are others.
    inputs, logits = forward(net.params, net.X, activation)
    rows = (1 + inputs[-1].square().sum(1)) * (1 - logits.softmax(1).square().sum(1))
    share = (rows * net.weight).sum() / net.weight.sum()
    assert torch.isclose(share, trace, rtol=1e-3) == (hidden == ())


@settings(max_examples=40)
@given(networks(max_width=3, max_classes=3), st.booleans())
def test_sampled_trace_over_all_signs_is_the_trace_of_the_hessian(net, weighted):
    weight = net.weight if weighted else None
    assert_close(mean_sampled_trace(net, weight=weight), hessian_trace(net, weight)[0], **SAME)


@pytest.mark.parametrize("hidden", [(2, 3, 2), (2, 2, 2, 3)], ids=len)
@pytest.mark.parametrize("activation", ["tanh", "logistic"])
def test_mean_sampled_trace_sees_layers_two_and_more_below_the_last(hidden, activation):
    net = make_network((2, *hidden, 2), activation, seed=3)
    assert_close(mean_sampled_trace(net, weight=net.weight), hessian_trace(net, net.weight)[0], **SAME)


@pytest.mark.parametrize("sizes", [(2, 3), (2, 4, 3), (2, 5, 4, 3), (2, 6, 5, 4, 3)], ids=len)
def test_a_row_needs_a_sign_a_class_and_if_smooth_a_sign_a_unit_below_the_last_hidden_layer(sizes):
    for activation in ACTIVATIONS:
        net = make_network(sizes, activation, seed=0)
        needed = 3 if activation in PIECEWISE_LINEAR else 3 + sum(sizes[1:-2])
        assert n_signs(net.params, activation) == needed
        value = sampled(net, rademacher((3, needed), net.X, net.generator))
        assert torch.isfinite(value)
        message = f"signs of shape (3, {needed + 1}) do not fit; give (3, {needed}), see n_signs."
        with pytest.raises(ValueError, match=re.escape(message)):
            sampled(net, torch.ones(3, needed + 1))


@settings(max_examples=15)
@given(st.sampled_from(TINY), activations, seeds, st.booleans())
def test_hutchinson_trace_over_all_probes_is_the_trace_of_the_hessian(sizes, activation, seed, weighted):
    net = make_network(sizes, activation, seed)
    weight = net.weight if weighted else None
    assert_close(mean_hutchinson_trace(net, net.params, weight), hessian_trace(net, weight)[0], **SAME)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_single_draws_differ_from_the_trace_and_from_each_other(activation):
    net = make_network((1, 2, 2), activation, seed=1)
    probes = [unflatten(v, net.params) for v in all_signs(net.n_params)[:8]]
    for draws in (
        torch.stack([sampled(net, s) for s in signs_by_row(net)]),
        torch.stack([hutchinson_trace(net.params, net.X, net.y, v, activation=activation) for v in probes]),
    ):
        assert draws.std() > 0.01 * exact(net).abs() > 1e-3


@given(networks())
def test_row_traces_average_to_the_trace(net):
    inputs, logits = forward(net.params, net.X, net.activation)
    signs = signs_by_row(net)[0]
    rows = exact_rows(net.params, inputs, logits, net.activation, net.y)
    draws = sampled_rows(net.params, inputs, logits, net.activation, signs, net.y)
    mean = (rows * net.weight).sum() / net.weight.sum()
    assert rows.shape == draws.shape == net.y.shape
    assert_close(exact(net, weight=net.weight), mean, **SAME)
    mean = (draws * net.weight).sum() / net.weight.sum()
    assert_close(sampled(net, signs, weight=net.weight), mean, **SAME)


@settings(max_examples=25)
@given(networks(max_hidden=5))
def test_the_trace_of_a_row_alone_is_that_of_the_row_among_others(net):
    inputs, logits = forward(net.params, net.X, net.activation)
    signs = rademacher((len(net.X), n_signs(net.params, net.activation)), net.X, net.generator)
    together = (
        exact_rows(net.params, inputs, logits, net.activation, net.y),
        sampled_rows(net.params, inputs, logits, net.activation, signs, net.y),
    )
    for row in range(len(net.X)):
        passed = [a[row] for a in inputs], logits[row], net.activation
        alone = (
            exact_rows(net.params, *passed, net.y[row]),
            sampled_rows(net.params, *passed, signs[row], net.y[row]),
        )
        for one, all_rows in zip(alone, together, strict=True):
            assert one.shape == ()
            assert_close(one, all_rows[row], **SAME)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_row_weights_count(activation):
    net = make_network((2, 3, 3), activation, seed=0)
    signs, probes = signs_by_row(net)[1], tuple(torch.sign(p) for p in net.params)
    for trace in (
        lambda weight: exact(net, weight=weight),
        lambda weight: sampled(net, signs, weight=weight),
        lambda weight: hutchinson_trace(
            net.params, net.X, net.y, probes, weight=weight, activation=activation
        ),
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
    for trace in (exact(other), mean_sampled_trace(other), mean_hutchinson_trace(other, net.params)):
        assert_close(trace, hessian_trace(other)[0], **SAME)


# --- sign ----------------------------------------------------------------------------------------


@given(networks(piecewise_linear), st.sampled_from([1.0, 10.0, 1000.0]))
def test_exact_and_sampled_trace_are_never_negative(net, scale):
    params = tuple(scale * p for p in net.params)
    inputs, logits = forward(params, net.X, net.activation)
    traces = exact_rows(params, inputs, logits, net.activation)
    # Only the last hidden layer's variance is a difference, of p @ W^2 and (p @ W)^2: it may go below zero
    # by some units in the last place of its terms, at most 16 eps (1 + ||a||^2) ||W||^2 with C <= 4 of them.
    ahead = 1 + inputs[-2].square().sum(1) if len(inputs) > 1 else torch.zeros(len(net.X))
    rounding = 16 * torch.finfo(torch.float64).eps * ahead * params[-2].square().sum()
    assert (traces >= -rounding).all()
    for signs in signs_by_row(net):
        assert (sampled_rows(params, inputs, logits, net.activation, signs) >= 0).all()  # sums of squares


def test_exact_trace_of_a_smooth_network_may_be_negative():
    nets = [make_network((1, 2, 2), "tanh", seed, n_rows=1) for seed in range(6)]
    traces = [exact(net) for net in nets]
    assert min(traces) < -0.1
    assert max(traces) > 0.1
    for net, trace in zip(nets, traces, strict=True):
        assert_close(trace, hessian_trace(net)[0], **SAME)


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


@pytest.mark.parametrize("activation", ["tanh", "logistic"])
def test_traces_of_a_smooth_network_vanish_where_the_labels_are_certain(activation):
    net = make_network((2, 3, 3, 2, 3), activation, seed=0)
    biases = torch.tensor([0.0, 1e4, 0.0], dtype=torch.float64)
    params = (*net.params[:-1], biases)
    signs, certain = signs_by_row(net)[0], torch.ones_like(net.y)
    for y, zero in ((certain, True), (0 * certain, False)):
        for trace in (
            exact_trace(params, net.X, y=y, activation=activation),
            sampled_trace(params, net.X, signs, y=y, activation=activation),
        ):
            assert (trace == 0) == zero


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
    gauss_newton = gauss_newton_rows(net.params, inputs, logits, activation).mean()
    assert_close(gauss_newton, gauss_newton_trace(net), **SAME)
    assert not torch.isclose(gauss_newton, hessian_trace(net)[0], rtol=0.05)


@pytest.mark.parametrize("activation", PIECEWISE_LINEAR)
def test_the_gauss_newton_trace_of_a_piecewise_linear_network_is_that_of_its_hessian(activation):
    net = make_network((2, 3, 3), activation, seed=2)
    assert_close(gauss_newton_trace(net), hessian_trace(net)[0], **SAME)
    assert_close(gauss_newton_trace(net), exact_trace(net.params, net.X, activation=activation), **SAME)


@settings(max_examples=30)
@given(networks())
def test_gauss_newton_rows_average_to_the_trace_of_the_gauss_newton_matrix(net):
    inputs, logits = forward(net.params, net.X, net.activation)
    rows = gauss_newton_rows(net.params, inputs, logits, net.activation)
    assert_close(rows.mean(), gauss_newton_trace(net), **SAME)


@pytest.mark.parametrize("activation", ["tanh", "logistic"])
def test_smooth_activations_need_labels(activation):
    net = make_network((2, 3, 3), activation, seed=0)
    signs = signs_by_row(net)[0]
    inputs, logits = forward(net.params, net.X, activation)
    for name, call in [
        ("exact_trace", lambda: exact_trace(net.params, net.X, activation=activation)),
        ("sampled_trace", lambda: sampled_trace(net.params, net.X, signs, activation=activation)),
        (
            "hutchinson_trace",
            lambda: hutchinson_trace(net.params, net.X, None, net.params, activation=activation),
        ),
        ("The trace", lambda: exact_rows(net.params, inputs, logits, activation)),
    ]:
        depends = "the Hessian of a network that is not piecewise linear depends on it"
        why = f"for activation={activation!r}: {depends}"
        if name == "hutchinson_trace":
            why = "for it differentiates the cross-entropy"
        message = f"{name} needs y, the label of every row, {why}."
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            call()


def test_a_model_of_one_output_is_refused():
    net = make_network((2, 3, 1), "relu", seed=0)
    for name, call in [
        ("exact_trace", lambda: exact_trace(net.params, net.X)),
        ("sampled_trace", lambda: sampled_trace(net.params, net.X, net.generator)),
        ("hutchinson_trace", lambda: hutchinson_trace(net.params, net.X, net.y, net.generator)),
    ]:
        message = (
            f"{name} takes the cross-entropy of a softmax, and the model has one output z, whose softmax is "
            "always 1; give it two, 0 and z."
        )
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            call()


def test_signs_and_probes_that_are_no_tensors_are_refused():
    net = make_network((2, 3, 3), "relu", seed=0)
    remedy = re.escape("torch.Generator().manual_seed(0) will do.") + "$"
    for signs in (None, 3, [[1, 1, 1]], "a"):
        with pytest.raises(TypeError, match=f"signs must be a tensor .*got {type(signs).__name__}; {remedy}"):
            sampled_trace(net.params, net.X, signs)
    for probes, told in [
        (None, "None"),
        (3, "3"),
        ([p.detach().numpy() for p in net.params], r"\[array"),
        ((net.params[0], 3), r"\(tensor"),
    ]:
        with pytest.raises(TypeError, match=f"probes must be a tuple of tensors .*got {told}.*; {remedy}"):
            hutchinson_trace(net.params, net.X, net.y, probes)
    with pytest.raises(ValueError, match=re.escape("probes of shapes [(3, 2), (3,)] do not fit; give those")):
        hutchinson_trace(net.params, net.X, net.y, net.params[:2])
    assert torch.isfinite(hutchinson_trace(net.params, net.X, net.y, list(net.params)))


# --- derivatives ---------------------------------------------------------------------------------


@settings(max_examples=25)
@given(networks(max_width=3, max_classes=3), st.booleans())
def test_gradients_of_exact_and_mean_sampled_trace_are_those_of_the_hessians_trace(net, weighted):
    weight = net.weight if weighted else None
    expected = hessian_trace_gradient(net, weight)
    assert_close(gradient_of(lambda p: exact(net, p, weight), net.params), expected, **SAME)
    assert_close(gradient_of(lambda p: mean_sampled_trace(net, p, weight), net.params), expected, **SAME)
    assert expected.abs().max() > 0


@settings(max_examples=8)
@given(st.sampled_from(TINY), activations, seeds)
def test_gradient_of_the_mean_hutchinson_trace_is_that_of_the_hessians_trace(sizes, activation, seed):
    net = make_network(sizes, activation, seed)
    expected = hessian_trace_gradient(net, net.weight)
    got = gradient_of(lambda p: mean_hutchinson_trace(net, p, net.weight), net.params)
    assert_close(got, expected, **SAME)


@pytest.mark.parametrize("hidden", [(), (3,), (3, 2), (3, 2, 2)], ids=len)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradient_of_one_draw_is_that_of_finite_differences(hidden, activation):
    # gradcheck steps by 1e-6, and no relu unit of these networks is that close to its kink.
    net = make_network((2, *hidden, 3), activation, seed=5)
    assert min(a[a > 0].min() for a in [net.X.abs(), *forward(net.params, net.X, "relu")[0][1:]]) > 1e-4
    params = tuple(p.clone().requires_grad_() for p in net.params)
    signs, probes = signs_by_row(net)[2], tuple(rademacher(p.shape, p, net.generator) for p in params)
    for trace in (
        lambda *p: exact(net, p, net.weight),
        lambda *p: sampled(net, signs, p, net.weight),
        lambda *p: hutchinson_trace(p, net.X, net.y, probes, weight=net.weight, activation=activation),
    ):
        assert torch.autograd.gradcheck(trace, params)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_gradients_and_stacks_of_gradients_can_be_taken_by_torch_func(activation):
    nets = [make_network((2, 3, 2, 3), activation, seed) for seed in range(3)]
    signs = [signs_by_row(net)[seed] for seed, net in enumerate(nets)]
    params = tuple(torch.stack(p) for p in zip(*(net.params for net in nets), strict=True))
    X, y = torch.stack([net.X for net in nets]), torch.stack([net.y for net in nets])
    for trace in (
        lambda p, x, labels, s: exact_trace(p, x, y=labels, activation=activation),
        lambda p, x, labels, s: sampled_trace(p, x, s, y=labels, activation=activation),
        lambda p, x, labels, s: hutchinson_trace(
            p, x, labels, tuple(torch.sign(q.detach()) for q in p), activation=activation
        ),
    ):
        together = torch.func.vmap(torch.func.grad(trace))(params, X, y, torch.stack(signs))
        for k, (net, s) in enumerate(zip(nets, signs, strict=True)):
            alone = gradient_of(lambda p, net=net, s=s, f=trace: f(p, net.X, net.y, s), net.params)
            assert_close(torch.cat([g[k].flatten() for g in together]), alone, **SAME)
            assert alone.abs().max() > 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("hidden", [(), (3,), (3, 2), (3, 2, 2)], ids=len)
@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic"])
def test_gradients_are_finite_at_logits_of_ten_thousand(hidden, dtype, activation):
    net = make_network((2, *hidden, 3), activation, seed=5, dtype=dtype)
    logits = forward(net.params, net.X, activation)[1]
    scale = 1e4 / logits.abs().max()
    params = (*net.params[:-2], scale * net.params[-2], scale * net.params[-1])
    assert 0.99e4 < forward(params, net.X, activation)[1].abs().max() < 1.01e4
    signs, probes = signs_by_row(net)[2].to(dtype), tuple(torch.sign(p) for p in params)
    for trace in (
        lambda p: exact(net, p),
        lambda p: sampled(net, signs, p),
        lambda p: hutchinson_trace(p, net.X, net.y, probes, activation=activation),
    ):
        assert torch.isfinite(trace(params))
        assert torch.isfinite(gradient_of(trace, params)).all()

    # Sibling: the square root of an underflowed probability has no finite gradient.
    def naive(p):
        return (forward(p, net.X, activation)[1].softmax(1).sqrt() * signs[:, :3]).sum().square()

    assert not torch.isfinite(gradient_of(naive, params)).all()


@pytest.mark.parametrize("activation", ["tanh", "logistic"])
def test_gradients_are_finite_where_every_unit_is_saturated(activation):
    net = make_network((2, 3, 2, 2, 3), activation, seed=5, dtype=torch.float32)
    params = tuple(1e4 * p for p in net.params)
    signs = signs_by_row(net)[2].float()
    for trace in (lambda p: exact(net, p), lambda p: sampled(net, signs, p)):
        assert torch.isfinite(trace(params))
        assert torch.isfinite(gradient_of(trace, params)).all()


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
