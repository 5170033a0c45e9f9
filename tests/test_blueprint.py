"""Laws of Blueprint: one network as plain, consistent arrays."""

import dataclasses
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from strategies import normal_parameters, seeds

from skantidistill.blueprint import Blueprint
from skantidistill.network import ACTIVATIONS

LABELS = np.array(["ant", "bee", "cat"])


def blueprint_of(sizes, activation="relu", seed=0, **more):
    params = normal_parameters(sizes, np.random.default_rng(seed))
    return Blueprint(params[::2], params[1::2], activation, LABELS[: sizes[-1]], **more)


def sequential_of(blueprint):
    """Build the same network of torch's own modules."""
    layers = []
    for weight, bias in zip(blueprint.weights, blueprint.biases, strict=True):
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
        layer.weight.data, layer.bias.data = torch.tensor(weight), torch.tensor(bias)
        layers += [layer, ACTIVATIONS[blueprint.activation].module()]
    return torch.nn.Sequential(*layers[:-1])


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("hidden", [(), (4,), (4, 3), (4, 3, 5)])
def test_logits_are_those_of_a_torch_sequential(activation, hidden):
    blueprint = blueprint_of((3, *hidden, 3), activation)
    X = np.random.default_rng(1).normal(size=(7, 3))
    expected = sequential_of(blueprint)(torch.tensor(X)).detach().numpy()
    # Sums of at most 5 products of order 1 in float64, summed in another order.
    assert_allclose(blueprint.logits(X), expected, rtol=1e-12, atol=1e-12)
    assert np.ptp(expected) > 0.1


def test_activations_give_different_logits():
    X = np.random.default_rng(1).normal(size=(7, 3))
    logits = [blueprint_of((3, 4, 3), activation).logits(X) for activation in sorted(ACTIVATIONS)]
    for i, one in enumerate(logits):
        for other in logits[:i]:
            assert not np.allclose(one, other, atol=1e-3)


@given(seeds, st.lists(st.integers(1, 4), max_size=3))
def test_parameters_and_with_parameters_are_inverse(seed, hidden):
    blueprint = blueprint_of((2, *hidden, 3), seed=seed)
    again = blueprint.with_parameters(blueprint.parameters)
    for got, expected in zip(again.parameters, blueprint.parameters, strict=True):
        assert got is expected
    others = normal_parameters((2, *hidden, 3), np.random.default_rng(seed + 1))
    assert not np.array_equal(blueprint.with_parameters(others).weights[-1], blueprint.weights[-1])
    assert blueprint.layer_sizes == (2, *hidden, 3)
    assert blueprint.hidden_layer_sizes == tuple(hidden)


def test_parameters_alternate_weights_and_biases_from_the_input_up():
    blueprint = blueprint_of((2, 4, 3))
    assert [p.shape for p in blueprint.parameters] == [(4, 2), (4,), (3, 4), (3,)]
    assert blueprint.parameters[2] is blueprint.weights[1]


def test_selected_classes_keep_their_logits_and_labels():
    blueprint = blueprint_of((2, 4, 3))
    X = np.random.default_rng(1).normal(size=(5, 2))
    selected = blueprint.select_classes(np.array([2, 0]))
    assert selected.classes.tolist() == ["cat", "ant"]
    # A narrower matrix product may sum in another order: a few units in the last place.
    assert_allclose(selected.logits(X), blueprint.logits(X)[:, [2, 0]], rtol=1e-13)
    assert not np.allclose(selected.logits(X), blueprint.logits(X)[:, [0, 2]])


def test_astype_changes_parameters_only():
    blueprint = blueprint_of((2, 4, 3))
    single = blueprint.astype(np.float32)
    assert {p.dtype for p in single.parameters} == {np.dtype(np.float32)}
    assert single.classes is blueprint.classes
    assert {p.dtype for p in blueprint.parameters} == {np.dtype(np.float64)}


def test_arithmetic_follows_the_inputs_in_single_precision():
    X = np.random.default_rng(1).normal(size=(5, 2)).astype(np.float32)
    assert blueprint_of((2, 4, 3)).astype(np.float32).logits(X).dtype == np.float32


def test_scaling_is_an_affine_map_before_the_first_layer():
    scale, shift = np.array([2.0, -0.5]), np.array([1.0, 3.0])
    scaled = blueprint_of((2, 4, 3), input_scale=scale, input_shift=shift)
    plain = blueprint_of((2, 4, 3))
    X = np.random.default_rng(1).normal(size=(5, 2))
    assert_array_equal(scaled.logits(X), plain.logits(X * scale + shift))
    assert not np.allclose(scaled.logits(X), plain.logits(X))
    assert scaled.scaled(X.astype(np.float32)).dtype == np.float32
    assert plain.scaled(X) is X


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("hidden", [(), (4,)])
def test_logits_leave_inputs_and_parameters_as_they_were(activation, hidden):
    blueprint = blueprint_of((2, *hidden, 3), activation)
    X = np.random.default_rng(1).normal(size=(5, 2))
    before = [a.copy() for a in (X, *blueprint.parameters)]
    blueprint.logits(X)
    for now, then in zip((X, *blueprint.parameters), before, strict=True):
        assert_array_equal(now, then)


def test_a_blueprint_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        blueprint_of((2, 3)).activation = "tanh"


def test_an_unknown_activation_is_refused():
    message = "activation='gelu' is unknown; use one of ['identity', 'logistic', 'relu', 'tanh']."
    with pytest.raises(ValueError, match=re.escape(message)):
        blueprint_of((2, 4, 3), "gelu")


@pytest.mark.parametrize(
    ("weights", "biases", "n_classes", "shapes"),
    [
        (
            [(4, 2), (3, 5)],
            [(4,), (3,)],
            3,
            "shapes [(4, 2), (3, 5)], biases of shapes [(4,), (3,)] and 3 classes",
        ),
        (
            [(4, 2), (3, 4)],
            [(4,), (2,)],
            3,
            "shapes [(4, 2), (3, 4)], biases of shapes [(4,), (2,)] and 3 classes",
        ),
        ([(3, 2)], [(3, 1)], 3, "shapes [(3, 2)], biases of shapes [(3, 1)] and 3 classes"),
        ([(3, 2)], [(3,)], 2, "shapes [(3, 2)], biases of shapes [(3,)] and 2 classes"),
        ([(3, 2)], [], 3, "shapes [(3, 2)], biases of shapes [] and 3 classes"),
        ([], [], 3, "shapes [], biases of shapes [] and 3 classes"),
    ],
)
def test_arrays_that_make_no_network_are_refused(weights, biases, n_classes, shapes):
    message = (
        f"weights of {shapes} do not make one network; every layer's n_in must be the n_out of the layer "
        "below it, and the last n_out the number of classes."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        Blueprint(tuple(map(np.zeros, weights)), tuple(map(np.zeros, biases)), "relu", LABELS[:n_classes])


@pytest.mark.parametrize("hidden", [(), (4,), (4, 3)])
def test_sparse_rows_have_the_logits_of_dense_ones(hidden):
    scale, shift = np.array([2.0, 0.5, 3.0]), np.array([0.0, 1.0, -1.0])
    X = np.random.default_rng(1).normal(size=(7, 3)) * [[1, 0, 1]]
    for scaling in ({}, {"input_scale": scale, "input_shift": shift}):
        blueprint = blueprint_of((3, *hidden, 3), **scaling)
        assert_allclose(blueprint.logits(csr_matrix(X)), blueprint.logits(X), rtol=0, atol=1e-12)
    plain = blueprint_of((3, *hidden, 3))
    assert np.abs(plain.logits(X) - blueprint.logits(X)).max() > 0.1
