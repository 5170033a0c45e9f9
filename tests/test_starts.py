"""Laws of the starts: what of the teacher they keep, how they fill the rest, what can train."""

import itertools
import re
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
from skantidistill.starts import STARTS, glorot_uniform, net2net, transfer, uniform, xavier, zero

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


def has_room(growth):
    """Say whether the student has anything beside what the teacher takes."""
    more = growth.layer_sizes[1:-1] != growth.smallest_hidden_layer_sizes
    return more or len(growth.new_features) > 0 or growth.layer_sizes[-1] > len(growth.outputs)


def all_equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_starts_have_these_names():
    named = {"xavier": xavier, "zero": zero, "uniform": uniform, "transfer": transfer, "net2net": net2net}
    assert named.items() <= STARTS.items()
    assert set(STARTS) - set(named) == {"net2net_equal"}


@pytest.mark.parametrize("name", sorted(set(STARTS) - {"transfer"}))
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@given(case=growths(), seed=seeds)
def test_a_start_has_the_students_shapes_and_its_seed_determines_it(name, dtype, case, seed):
    start, growth = STARTS[name], case.regrow(case.teacher.astype(dtype))
    params = start(growth, np.random.RandomState(seed))
    assert [p.shape for p in params] == [f.shape for f in case.fill]
    assert {p.dtype for p in params} == {np.dtype(dtype)}
    assert all_equal(start(growth, np.random.RandomState(seed)), params)
    if "net2net" not in name:  # which may choose the same replicas again
        drawn = name == "xavier" or (name == "uniform" and has_room(growth))
        assert drawn != all_equal(start(growth, np.random.RandomState(seed + 1)), params)


@given(growths(), seeds)
def test_zero_and_uniform_keep_the_teachers_block_and_xavier_does_not(case, seed):
    u = case.growth.teacher.parameters
    random_state = np.random.RandomState(seed)
    assert all_equal(case.growth.project(zero(case.growth)), u)
    assert all_equal(case.growth.project(uniform(case.growth, random_state)), u)
    assert not all_equal(case.growth.project(xavier(case.growth, random_state)), u)


@pytest.mark.parametrize("split", ["random", "equal"])
@given(case=growths(), seed=seeds)
def test_net2net_keeps_the_teachers_function_in_every_direction(split, case, seed):
    params = net2net(case.growth, np.random.RandomState(seed), split)
    student = Blueprint(params[::2], params[1::2], case.teacher.activation, case.classes)
    expected = case.teacher_logits
    # Float64 sums of a few dozen products, divided and put together again.
    assert_allclose(student.logits(case.X)[:, case.growth.outputs], expected, rtol=1e-10, atol=1e-10)
    assert np.ptp(expected) > 0
    held = case.growth.teacher.hidden_layer_sizes
    if (
        case.growth.layer_sizes[1 : len(held)] != held[:-1]
    ):  # replicas share what the teacher's unit sent on: Pr is another network
        assert not all_equal(case.growth.project(params), case.growth.teacher.parameters)


@given(growths(), seeds)
def test_uniform_and_xavier_are_other_functions_than_the_teacher(case, seed):
    """The sibling of the laws for zero and net2net: a disturbance is seen by the same comparison."""
    more = case.growth.layer_sizes[1:-1] != case.growth.smallest_hidden_layer_sizes
    disturbed = (more or len(case.growth.new_features)) and case.teacher.activation != "relu"
    for start in [xavier, *([uniform] if disturbed else [])]:  # relu units may all be silent
        params = start(case.growth, np.random.RandomState(seed))
        student = Blueprint(params[::2], params[1::2], case.teacher.activation, case.classes)
        logits = student.logits(case.X)[:, case.growth.outputs]
        assert not np.allclose(logits, case.teacher_logits, rtol=1e-10, atol=1e-10)


def replicas(growth, params, layer):
    """Units of a hidden layer that have the incoming weights of one of the first, as pairs of indices."""
    weight = np.column_stack(params[2 * layer : 2 * layer + 2])
    held = growth.teacher.hidden_layer_sizes[layer]
    pairs = [(i, j) for j in range(held, len(weight)) for i in range(held) if np.array_equal(*weight[[i, j]])]
    assert len(pairs) == len(weight) - held
    return pairs


@pytest.mark.parametrize("activation", ["relu", "identity"])
def test_uniform_inserts_identities_of_all_units(activation):
    growth = make_growth(sizes=(20, 6, 5), grown=(6, 9, 7, 8), activation=activation)
    params = uniform(growth, np.random.RandomState(0))
    for layer in (2, 3):
        assert_array_equal(params[2 * layer][:7, :7], np.eye(7))
        assert_array_equal(params[2 * layer + 1][:7], 0)
    assert np.all(params[4][:, 7:] != 0)  # what no unit of the layer above can carry
    assert np.all(params[6][7:] != 0)


def test_net2net_replicates_units_and_shares_equally_or_at_random():
    growth = make_growth(sizes=(20, 6, 5), grown=(12, 5))
    equal = net2net(growth, np.random.RandomState(1), "equal")
    assert_allclose(np.median(np.abs(equal[0])), np.median(np.abs(growth.teacher.weights[0])), rtol=0.3)
    shared = net2net(growth, np.random.RandomState(1), "random")
    pairs = replicas(growth, equal, 0)
    assert pairs == replicas(growth, shared, 0)
    for i, j in pairs:
        assert_array_equal(equal[2][:, i], equal[2][:, j])
        ratio = shared[2][:, i] / shared[2][:, j]
        assert np.ptp(ratio) > 0.01  # another share for every outgoing weight: Adam, which scales, sees it
        assert np.all(ratio > 0)
    # Which units are replicated is drawn, and so are the new outputs: another seed, others.
    other = net2net(growth, np.random.RandomState(2), "equal")
    assert pairs != replicas(growth, other, 0)
    new = np.setdiff1d(np.arange(4), growth.outputs)
    for param in (equal[-2][new], equal[-1][new]):
        assert 0 < np.abs(param).min() <= np.abs(param).max() <= 1 / np.sqrt(5)
    assert equal[-1][new] != other[-1][new]
    with pytest.raises(ValueError, match="split='half' is unknown; use 'random' or 'equal'"):
        net2net(growth, np.random.RandomState(1), "half")


@pytest.mark.parametrize("start", ["net2net", "net2net_equal"])
def test_replicas_that_share_equally_stay_identical_and_others_part(start):
    student = train_student(start, phi_max_iter=0, lambda_noise=0.0, lambda_trace=0.0, max_iter=60)
    weight = np.column_stack(student.blueprint_.parameters[:2])
    begun = student.phi_blueprint_.parameters
    pairs = replicas(student.growth_, begun, 0)
    assert np.abs(weight - np.column_stack(begun[:2])).max() > 0.01  # it trained
    for i, j in pairs:
        distance = np.abs(weight[i] - weight[j]).max()
        # Equal shares: the same sums, up to their order, in every step of Adam (1e-12 was seen after 200).
        assert (distance < 1e-9) == (start == "net2net_equal")


@pytest.mark.parametrize("activation", ["relu", "identity"])
@pytest.mark.parametrize(("sizes", "hidden"), [((4,), (6, 5)), ((4, 6), (7, 3))])
def test_starts_that_carry_the_teacher_are_refused_where_it_has_nothing_to_carry(sizes, hidden, activation):
    params = normal_parameters((*sizes, 2), np.random.default_rng(0))
    teacher = Blueprint(params[::2], params[1::2], activation, LABELS[:2])
    growth = Growth(teacher, 4, hidden, LABELS[2:])
    words = re.escape(
        f"hidden_layer_sizes={hidden} carry the teacher's outputs only, and the student has none"
    )
    for start in (STARTS["zero"], STARTS["net2net"], STARTS["net2net_equal"]):
        with pytest.raises(ValueError, match=words):
            start(growth, np.random.RandomState(0))
    assert np.all(uniform(growth, np.random.RandomState(0))[-2] != 0)
    # With one of its classes there is something, and it is kept.
    growth = Growth(teacher, 4, hidden, LABELS[1:])
    X = np.random.default_rng(1).normal(size=(9, 4))
    for start in (STARTS["zero"], STARTS["net2net"]):
        grown = start(growth, np.random.RandomState(0))
        logits = Blueprint(grown[::2], grown[1::2], activation, LABELS[1:]).logits(X)
        assert_allclose(logits[:, 0], teacher.logits(X)[:, 1], rtol=1e-12, atol=1e-12)
        assert np.ptp(logits[:, 0]) > 0.1


def test_transfer_keeps_the_hidden_layers_and_draws_a_fresh_output_layer():
    whole = make_growth(grown=(30, 25))
    growth = whole.without_output_layer()
    params = transfer(growth, np.random.RandomState(5))
    assert all_equal(params, transfer(whole, np.random.RandomState(5)))
    assert all_equal(params[:-2], growth.teacher.parameters[:-2])
    assert all_equal(params[-2:], xavier(growth, np.random.RandomState(5))[-2:])
    assert all_equal(growth.project(params), growth.shared)
    assert len(growth.shared) == 4  # the output layer is no part of Pr
    message = "hidden_layer_sizes=(31, 25) differs from the teacher's, which start='transfer' keeps; use "
    with pytest.raises(ValueError, match=re.escape(message + "hidden_layer_sizes=(30, 25)")):
        transfer(make_growth(grown=(31, 25)), np.random.RandomState(5))


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
    beside = outside_the_block(growth, zero(growth))
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
    params = {"parameter_noise_std": 0.0, "max_iter": 5} | params
    rng = np.random.default_rng(0)
    codes = np.arange(90) % 3
    X, y = rng.normal(size=(90, 4)) + 2 * np.eye(4)[codes], LABELS[codes]
    teacher = MLPClassifier((3, 2), activation=activation, learning_rate_init=0.05, random_state=0)
    for _ in range(30):
        teacher.partial_fit(X[codes < 2], y[codes < 2], classes=LABELS[:2])
    student = AntiDistilledMLPClassifier(
        teacher, hidden_layer_sizes=(5, 4), start=start, batch_size=20, random_state=0, **params
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
