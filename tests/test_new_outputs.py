"""Outputs of new classes, fitted before training: a convex problem, solved, that leaves the rest alone."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from skantidistill import new_outputs
from skantidistill.blueprint import Blueprint
from skantidistill.new_outputs import fit_new_outputs
from skantidistill.old_data import OldData
from tests.problems import digits, fitted_teacher, old_rows, quick, same_parameters
from tests.strategies import normal_parameters, seeds

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", "ignore:Classes .* are in teacher_data but not in y"
)
LABELS = np.array(["ant", "bee", "cat", "dolphin"])


def problem(seed, n=200, labels=LABELS, activation="tanh"):
    """Return a random network of four outputs, and rows whose classes it could tell apart."""
    rng = np.random.default_rng(seed)
    params = normal_parameters((5, 6, 4), rng)
    blueprint = Blueprint(params[::2], params[1::2], activation, LABELS)
    codes = rng.integers(len(labels), size=n)
    X = rng.normal(size=(n, 5)) + 2 * np.eye(5)[codes]
    return blueprint, OldData(X, labels[codes], 0.5 + rng.random(n), np.arange(n), "y")


def fit(blueprint, new, data, old=None, seed=0):
    return fit_new_outputs(blueprint, np.array(new), data, old, np.random.RandomState(seed))


def mean_loss(blueprint, data):
    logits = blueprint.logits(data.X[data.index])
    codes = np.searchsorted(blueprint.classes, data.y[data.index])
    losses = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(codes)), codes]
    return np.average(losses, weights=data.weight[data.index])


@given(seeds, st.sets(st.integers(0, 3), min_size=1, max_size=3))
def test_only_the_output_layer_changes_and_the_loss_falls(seed, new):
    blueprint, data = problem(seed)
    fitted = fit(blueprint, sorted(new), data)
    for before, after in zip(blueprint.parameters[:-2], fitted.parameters[:-2], strict=True):
        np.testing.assert_array_equal(before, after)
    assert mean_loss(fitted, data) < mean_loss(blueprint, data)


@given(seeds)
def test_the_gradient_vanishes_at_the_solution(seed):
    """The objective by itself; all rows are in the sample."""
    blueprint, data = problem(seed)
    fitted = fit(blueprint, [1, 3], data)
    a = np.column_stack([blueprint.hidden(data.X), np.ones(len(data.X))])
    codes = np.searchsorted(LABELS, data.y)
    mass = np.bincount(codes, weights=data.weight)
    w = data.weight / mass.sum()
    begin = np.column_stack([blueprint.weights[-1], blueprint.biases[-1]])
    begin[[1, 3]] = 0
    V = np.column_stack([fitted.weights[-1], fitted.biases[-1]])
    p = np.exp(a @ V.T)
    p /= p.sum(axis=1, keepdims=True)
    pull = new_outputs.PULL * np.average(np.mean(a[:, :-1] ** 2, axis=1), weights=data.weight)
    gradient = (w[:, None] * (p - np.eye(4)[codes])).T @ a + pull * (V - begin)
    # L-BFGS stops at 1e-9, or where the value, of order 1, falls no more in its last bits.
    assert np.abs(gradient).max() < 1e-6
    assert np.abs(V - begin).max() > 1e-3


def test_weight_two_is_the_row_twice():
    blueprint, data = problem(0)
    size = np.mean(blueprint.hidden(data.X) ** 2, axis=1)
    twice = size > np.median(size)  # so that the pull, too, feels the weights
    weighted = replace(data, weight=1.0 + twice)
    order = np.concatenate([np.arange(200), np.flatnonzero(twice)])
    repeated = OldData(data.X[order], data.y[order], np.ones(len(order)), np.arange(len(order)), "y")
    one, other, plain = (fit(blueprint, [1, 3], d).weights[-1] for d in (weighted, repeated, data))
    # A gradient of 1e-9 over a curvature of at least 1e-3 m: within 1e-6.
    np.testing.assert_allclose(one, other, atol=1e-5)
    assert not np.allclose(one, plain, atol=1e-2)


def test_from_zero_it_is_scikit_learns_multinomial_regression():
    blueprint, data = problem(0, n=400)
    data = replace(data, weight=np.ones(400))
    zeroed = blueprint.with_parameters((*blueprint.parameters[:-2], np.zeros((4, 6)), np.zeros(4)))
    fitted = fit(zeroed, [0, 1, 2, 3], data)
    a = np.column_stack([blueprint.hidden(data.X), np.ones(400)])
    pull = new_outputs.PULL * np.mean(a[:, :-1] ** 2)
    peer = LogisticRegression(C=1 / (400 * pull), fit_intercept=False, tol=1e-10, max_iter=10_000)
    expected = peer.fit(a, data.y).decision_function(a)
    np.testing.assert_allclose(fitted.logits(data.X), expected, atol=1e-5)


def test_outputs_without_rows_stay_as_they_are():
    blueprint, data = problem(0, labels=LABELS[1:])
    fitted = fit(blueprint, [2], data)
    np.testing.assert_array_equal(fitted.weights[-1][0], blueprint.weights[-1][0])
    assert fitted.biases[-1][0] == blueprint.biases[-1][0]
    assert not np.allclose(fitted.weights[-1][1:], blueprint.weights[-1][1:])
    assert fit(blueprint, [0], data) is blueprint  # no row of the new class


def test_old_rows_stand_in_for_classes_that_the_new_rows_lack():
    blueprint, everything = problem(0, n=600)
    lacking = replace(everything, index=np.flatnonzero(everything.y != "ant"))
    old = replace(
        everything, index=np.flatnonzero(np.isin(everything.y, ["ant", "bee"])), source="teacher_data"
    )
    ants = np.flatnonzero(everything.y == "ant")
    alone, together = fit(blueprint, [2, 3], lacking), fit(blueprint, [2, 3], lacking, old)

    def recall(network):
        return np.mean(network.classes[network.logits(everything.X[ants]).argmax(axis=1)] == "ant")

    assert recall(together) > recall(alone) + 0.2


def test_the_sample_takes_classes_alike(monkeypatch):
    monkeypatch.setattr(new_outputs, "SAMPLE", 40)
    monkeypatch.setattr(new_outputs, "SAMPLE_PER_CLASS", 5)
    codes = np.repeat([0, 1, 3], [500, 30, 4])
    rows = new_outputs._sample(codes, np.arange(100, 534), np.random.RandomState(0))
    assert np.bincount(codes[rows]).tolist() == [13, 13, 0, 4]
    assert rows.min() >= 100
    assert len(np.unique(rows)) == len(rows)


def test_a_student_begins_with_fitted_outputs_and_learns_faster():
    X, y = digits()
    rows = old_rows()
    fitted, plain = (
        quick(fitted_teacher(), new_outputs=how, max_iter=1).fit(X, y) for how in ("fit", "start")
    )
    for one, other in zip(fitted.phi_blueprint_.parameters, plain.phi_blueprint_.parameters, strict=True):
        np.testing.assert_array_equal(one, other)
    assert fitted.score(X[~rows], y[~rows]) > plain.score(X[~rows], y[~rows]) + 0.3
    assert same_parameters(fitted, quick(fitted_teacher(), max_iter=1).fit(X, y))
    sparse = quick(fitted_teacher(), max_iter=1).fit(sp.csr_matrix(X), y)
    assert sparse.score(X, y) == pytest.approx(fitted.score(X, y), abs=0.05)  # noise on stored values only


def test_a_linear_student_and_one_without_new_classes_begin_with_the_start():
    X, y = digits()
    rows = old_rows()
    teacher = LogisticRegression(max_iter=300).fit(X[rows], y[rows])
    how = {name: {"new_outputs": name} for name in ("fit", "start")}
    linear = {name: quick(teacher, hidden_layer_sizes=(), **p).fit(X, y) for name, p in how.items()}
    assert same_parameters(linear["fit"], linear["start"])
    same_classes = {name: quick(fitted_teacher(), **p).fit(X[rows], y[rows]) for name, p in how.items()}
    assert same_parameters(same_classes["fit"], same_classes["start"])
