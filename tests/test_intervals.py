"""Laws of the certificate: no point of the box beats it, and without hidden layers it is exact."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from strategies import ACTIVATIONS, make_network, networks

from skantidistill.blueprint import Blueprint
from skantidistill.intervals import certified_margins


def blueprint_of(net, **scaling):
    params = [p.numpy() for p in net.params]
    return Blueprint(
        tuple(params[::2]), tuple(params[1::2]), net.activation, np.arange(net.sizes[-1]), None, **scaling
    )


def margins(blueprint, X, y):
    """By how much the label leads at given points."""
    logits = blueprint.logits(X)
    own = np.take_along_axis(logits, y[:, None], axis=1)[:, 0]
    np.put_along_axis(logits, y[:, None], -np.inf, axis=1)
    return own - logits.max(axis=1)


def box_points(low, high, rng, n_random=20):
    """Points of a box: random ones and, in few dimensions, all corners."""
    points = [low + (high - low) * rng.random(low.shape) for _ in range(n_random)]
    for corner in itertools.product([0.0, 1.0], repeat=low.shape[1]):
        points.append(np.where(corner, high, low))
    return points


@given(networks(), st.sampled_from([0.0, 1e-3, 0.1, 1.0]))
def test_no_point_of_the_box_has_a_smaller_margin(net, epsilon):
    rng = np.random.default_rng(int(net.y.sum()))
    blueprint, X, y = blueprint_of(net), net.X.numpy(), net.y.numpy()
    low, high = X - epsilon * rng.random(X.shape), X + epsilon * rng.random(X.shape)
    certified = certified_margins(blueprint, low, high, y)
    for point in box_points(low, high, rng):
        assert (certified <= margins(blueprint, point, y)).all()  # no tolerance: rounding is inside


@given(networks())
def test_a_box_of_no_width_is_the_network_itself_up_to_rounding(net):
    blueprint, X, y = blueprint_of(net), net.X.numpy(), net.y.numpy()
    certified, exact = certified_margins(blueprint, X, X, y), margins(blueprint, X, y)
    assert (certified <= exact).all()
    # A few hundred units in the last place of sums that are below 1e4 in these networks.
    assert_allclose(certified, exact, rtol=0, atol=1e-9)


@given(networks(), st.sampled_from([1e-3, 0.1, 1.0]))
def test_a_smaller_box_has_no_smaller_margin(net, epsilon):
    blueprint, X, y = blueprint_of(net), net.X.numpy(), net.y.numpy()
    wide, narrow = (certified_margins(blueprint, X - e, X + e, y) for e in (epsilon, 0.7 * epsilon))
    # Both bounds are rounded.
    assert (wide <= narrow + 1e-9).all()


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_without_hidden_layers_the_certificate_is_the_exact_minimum(n_classes):
    net = make_network((4, n_classes), "relu", n_classes, n_rows=30)
    blueprint, X, y = blueprint_of(net), net.X.numpy(), net.y.numpy()
    (weight,) = blueprint.weights
    logits = blueprint.logits(X)
    for epsilon in (0.0, 0.05, 0.3):
        gaps = [
            [
                logits[i, y[i]] - logits[i, c] - epsilon * np.abs(weight[y[i]] - weight[c]).sum()
                for c in range(n_classes)
                if c != y[i]
            ]
            for i in range(30)
        ]
        exact = np.min(gaps, axis=1)
        assert_allclose(certified_margins(blueprint, X - epsilon, X + epsilon, y), exact, rtol=0, atol=1e-12)
        assert (exact > 0).any()
        assert (exact < 0).any()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_one_unit_a_layer_is_exact_too(activation):
    # A chain of single units is monotone: its extremes are at the ends of the interval.
    net = make_network((1, 1, 1, 2), activation, 3, n_rows=12)
    blueprint, X, y = blueprint_of(net), net.X.numpy(), net.y.numpy()
    ends = np.minimum(margins(blueprint, X - 0.4, y), margins(blueprint, X + 0.4, y))
    assert_allclose(certified_margins(blueprint, X - 0.4, X + 0.4, y), ends, rtol=0, atol=1e-12)


def test_differences_of_logits_are_tighter_than_logits_one_by_one():
    # Two outputs that move together: their difference does not depend on x at all.
    together = Blueprint((np.array([[1.0, 2.0], [1.0, 2.0]]),), (np.array([0.0, 0.1]),), "relu", np.arange(2))
    X = np.zeros((1, 2))
    certified = certified_margins(together, X - 9, X + 9, np.array([1]))
    assert_allclose(certified, [0.1], rtol=1e-11)  # less the rounding of terms of size 27


def test_a_tie_is_not_certified():
    tied = Blueprint((np.zeros((2, 3)),), (np.full(2, 0.3),), "relu", np.arange(2))
    X = np.ones((1, 3))
    assert tied.logits(X).argmax() == 0
    assert certified_margins(tied, X, X, np.array([0])) < 0


@given(networks(), st.sampled_from([1e-3, 0.2]))
def test_a_scaling_is_folded_in(net, epsilon):
    rng = np.random.default_rng(int(net.y.sum()))
    scale, shift = rng.normal(size=(2, net.sizes[0])) * 3
    blueprint = blueprint_of(net, input_scale=scale, input_shift=shift)
    X, y = net.X.numpy(), net.y.numpy()
    got = certified_margins(blueprint, X - epsilon, X + epsilon, y)
    folded = certified_margins(blueprint.folded(), X - epsilon, X + epsilon, y)
    assert_allclose(got, folded, rtol=1e-9, atol=1e-9)
    for point in box_points(X - epsilon, X + epsilon, rng, n_random=3):
        assert (got <= margins(blueprint, point, y)).all()


def test_single_precision_parameters_are_certified_in_double():
    net = make_network((3, 4, 3), "relu", 0, n_rows=5, dtype=torch.float32)
    blueprint, X = blueprint_of(net), net.X.numpy().astype(float)
    wide = blueprint.astype(np.float64)
    got, expected = (certified_margins(b, X - 0.1, X + 0.1, net.y.numpy()) for b in (blueprint, wide))
    assert got.dtype == np.float64
    assert (got == expected).all()
