"""Laws of the starts: what of the teacher they keep, how they fill the rest, what can train."""

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from strategies import growths, normal_parameters, seeds

from skantidistill import AntiDistilledMLPClassifier
from skantidistill.blueprint import Blueprint
from skantidistill.growth import Growth
from skantidistill.starts import STARTS, glorot_uniform, uniform, xavier, zero

LABELS = np.array(["ant", "bee", "cat", "dolphin"])


def make_growth(sizes=(20, 30, 25), grown=(60, 50), activation="relu", seed=0):
    params = normal_parameters((*sizes, 3), np.random.default_rng(seed), std=0.2)
    teacher = Blueprint(params[::2], params[1::2], activation, LABELS[[2, 0, 1]])
    return Growth(teacher, sizes[0], grown, LABELS)


def outside_the_block(growth, params):
    """The parameters that do not come from the teacher, layer by layer."""
    marked = growth.embed(
        [np.ones_like(p) for p in growth.teacher.parameters], [np.zeros_like(p) for p in params]
    )
    return [p[m == 0] for p, m in zip(params, marked, strict=True)]


def all_equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_starts_have_these_names():
    assert {"xavier": xavier, "zero": zero, "uniform": uniform}.items() <= STARTS.items()


@pytest.mark.parametrize("name", sorted(STARTS))
@given(growths(), seeds)
def test_a_start_has_the_students_shapes_and_its_seed_determines_it(name, case, seed):
    start = STARTS[name]
    params = start(case.growth, np.random.RandomState(seed))
    assert [p.shape for p in params] == [f.shape for f in case.fill]
    assert {p.dtype for p in params} == {np.dtype(np.float64)}
    assert all_equal(start(case.growth, np.random.RandomState(seed)), params)
    drawn = name == "xavier" or (
        name == "uniform" and any(p.size for p in outside_the_block(case.growth, params))
    )
    assert drawn != all_equal(start(case.growth, np.random.RandomState(seed + 1)), params)


@given(growths(), seeds)
def test_zero_and_uniform_keep_the_teachers_block_and_xavier_does_not(case, seed):
    u = case.growth.teacher.parameters
    random_state = np.random.RandomState(seed)
    assert all_equal(case.growth.project(zero(case.growth, random_state)), u)
    assert all_equal(case.growth.project(uniform(case.growth, random_state)), u)
    assert not all_equal(case.growth.project(xavier(case.growth, random_state)), u)


def test_glorot_weights_fill_the_interval_of_their_layer_and_biases_are_zero():
    params = glorot_uniform((20, 60, 50, 4), np.random.RandomState(0))
    for layer, (n_in, n_out) in enumerate(itertools.pairwise((20, 60, 50, 4))):
        r = np.sqrt(6 / (n_in + n_out))
        weight, bias = params[2 * layer : 2 * layer + 2]
        assert np.abs(weight).max() <= r
        # 200 draws or more: odds of 0.95^200 = 4e-5 to miss the twentieth next to an end; the seed is fixed.
        assert weight.max() > 0.9 * r
        assert weight.min() < -0.9 * r
        assert_array_equal(bias, np.zeros(n_out))


def test_xavier_is_the_glorot_start_of_the_students_sizes():
    growth = make_growth()
    expected = glorot_uniform((20, 60, 50, 4), np.random.RandomState(3))
    assert all_equal(xavier(growth, np.random.RandomState(3)), expected)


def test_zero_sets_everything_else_to_zero():
    growth = make_growth()
    beside = outside_the_block(growth, zero(growth, np.random.RandomState(0)))
    assert all(np.all(p == 0) for p in beside)
    assert sum(p.size for p in beside) > 1000


def test_uniform_fills_the_interval_of_a_layers_inputs_outside_the_block():
    growth = make_growth()
    beside = outside_the_block(growth, uniform(growth, np.random.RandomState(0)))
    for layer, n_in in enumerate(growth.layer_sizes[:-1]):
        weights, biases = beside[2 * layer : 2 * layer + 2]
        r = 1 / np.sqrt(n_in)
        assert max(np.abs(weights).max(), np.abs(biases).max()) <= r
        # 125 draws or more: odds of 0.95^125 = 2e-3 to miss the twentieth next to an end; the seed is fixed.
        assert weights.max() > 0.9 * r
        assert weights.min() < -0.9 * r
        assert np.all(biases != 0)


@pytest.mark.parametrize("activation", ["relu", "identity", "tanh", "logistic"])
def test_zero_keeps_the_teachers_function_and_uniform_disturbs_it(activation):
    growth = make_growth(activation=activation)
    X = np.random.default_rng(1).normal(size=(8, 20))
    expected = growth.teacher.logits(X)
    assert np.ptp(expected) > 0.1

    def logits(start):
        params = start(growth, np.random.RandomState(0))
        return Blueprint(params[::2], params[1::2], activation, LABELS).logits(X)[:, growth.outputs]

    # Float64 sums of at most 60 products, in another order.
    assert_allclose(logits(zero), expected, rtol=1e-12, atol=1e-12)
    for start in (uniform, xavier):
        assert np.abs(logits(start) - expected).max() > 0.01


# --- training from a start -----------------------------------------------------------------------


def train_student(start, activation="relu", **params):
    """Grow a teacher of two classes into three for a few epochs, by all terms but with no parameter noise."""
    params = {"parameter_noise_std": 0.0} | params
    rng = np.random.default_rng(0)
    codes = np.arange(90) % 3
    X, y = rng.normal(size=(90, 4)) + 2 * np.eye(4)[codes], LABELS[codes]
    teacher = MLPClassifier((3, 2), activation=activation, learning_rate_init=0.05, random_state=0)
    for _ in range(30):
        teacher.partial_fit(X[codes < 2], y[codes < 2], classes=LABELS[:2])
    student = AntiDistilledMLPClassifier(
        teacher, hidden_layer_sizes=(5, 4), start=start, max_iter=5, batch_size=20, random_state=0, **params
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return student.fit(X, y)


def added_units(blueprint):
    """Everything that goes into or out of the units that the teacher does not have."""
    W1, W2, W3 = blueprint.weights
    b1, b2, _ = blueprint.biases
    return [W1[3:], b1[3:], W2[:, 3:], W2[2:], b2[2:], W3[:, 2:]]


def test_added_relu_units_of_a_zero_start_never_train_but_the_new_output_does():
    student = train_student("zero")
    assert all(np.all(part == 0) for part in added_units(student.blueprint_))
    new_output = student.blueprint_.weights[-1][2, :2]
    assert np.abs(new_output).max() > 1e-4
    assert student.score(*_rows_of_class("cat")) > 0  # it learned the new class with the old units alone


def test_added_relu_units_of_a_zero_start_train_where_parameter_noise_lifts_them_off_zero():
    parts = added_units(train_student("zero", parameter_noise_std=0.05).blueprint_)
    assert min(np.abs(part).max() for part in parts) > 1e-4


def _rows_of_class(label):
    code = LABELS.tolist().index(label)
    rng = np.random.default_rng(1)
    return rng.normal(size=(30, 4)) + 2 * np.eye(4)[code], np.repeat(label, 30)


def test_added_relu_units_of_a_uniform_start_train():
    student = train_student("uniform")
    begun = uniform(student.growth_, np.random.RandomState(0))
    before = Blueprint(begun[::2], begun[1::2], "relu", LABELS[:3])
    moved = [
        np.abs(a - b).max() for a, b in zip(added_units(student.blueprint_), added_units(before), strict=True)
    ]
    assert min(moved) > 1e-4


def test_added_tanh_units_of_a_zero_start_get_no_gradient_from_the_loss_but_logistic_ones_do():
    # tanh(0) = 0 as for relu; logistic(0) = 1/2 gives the outgoing weights a gradient.
    silent = train_student("zero", "tanh", lambda_trace=0)
    assert all(np.all(part == 0) for part in added_units(silent.blueprint_))
    parts = added_units(train_student("zero", "logistic", lambda_trace=0).blueprint_)
    assert any(np.abs(part).max() > 1e-4 for part in parts)
