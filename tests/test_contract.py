"""scikit-learn's contract: its own checks, and the laws of weights."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.utils.estimator_checks import parametrize_with_checks

from skantidistill import AntiDistilledMLPClassifier
from tests.problems import digits, fitted_teacher, old_rows, quick

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # Some of scikit-learn's checks draw X around 100, which fit rightly calls unscaled.
    pytest.mark.filterwarnings("ignore:X has a root mean square of 1[0-9][0-9], and:UserWarning"),
]

WITHOUT_TERMS = AntiDistilledMLPClassifier(lambda_noise=0, lambda_trace=0)
DEFAULT = AntiDistilledMLPClassifier()


def expected_failures(estimator):
    """Only what draws per row can't hold: a repeated row has two draws, a row of weight 2 one."""
    if estimator.lambda_noise or estimator.lambda_trace:
        checks = (f"check_sample_weight_equivalence_on_{kind}_data" for kind in ("dense", "sparse"))
        return dict.fromkeys(checks, "noise and probes are drawn per row")
    return {}


@parametrize_with_checks([WITHOUT_TERMS, DEFAULT], expected_failed_checks=expected_failures)
def test_scikit_learn_check_passes(estimator, check):
    check(estimator)


@parametrize_with_checks([WITHOUT_TERMS, DEFAULT], expected_failed_checks=expected_failures)
def test_scikit_learn_check_passes_with_metadata_routing(estimator, check):
    with config_context(enable_metadata_routing=True):
        check(estimator)


#: No draw a row, one full batch: every term is then a plain weighted mean.
DETERMINISTIC = {
    "lambda_noise": 0.0,
    "lambda_trace": 1e-2,
    "trace": "exact",
    "batch_size": 10_000,
    "shuffle": False,
    "max_iter": 20,
    "phi_max_iter": 20,
    "new_outputs": "start",  # its solver stops within 1e-6 of the minimum: see test_new_outputs
}


@pytest.mark.parametrize("through", ["y", "teacher_rows"])
def test_weight_two_is_the_row_twice(through):
    X, y = digits("integers")
    twice = np.random.RandomState(0).rand(len(X)) < 0.4
    weight = 1.0 + twice
    order = np.concatenate([np.arange(len(X)), np.flatnonzero(twice)])
    weighted, repeated, plain = (quick(fitted_teacher("integers"), **DETERMINISTIC) for _ in range(3))
    rows = old_rows("integers") if through == "teacher_rows" else None
    weighted.fit(X, y, weight, teacher_rows=rows)
    repeated.fit(X[order], y[order], teacher_rows=None if rows is None else rows[order])
    plain.fit(X, y, teacher_rows=rows)
    # The same sums in another order, through 40 steps of Adam in float64.
    np.testing.assert_allclose(weighted.decision_function(X), repeated.decision_function(X), rtol=1e-7)
    assert not np.allclose(weighted.decision_function(X), plain.decision_function(X), rtol=1e-3)


def test_weights_of_teacher_data_act_as_repeated_rows():
    X, y = digits()
    rows = old_rows()
    X1, y1 = X[rows], y[rows]
    twice = np.random.RandomState(0).rand(len(X1)) < 0.4
    order = np.concatenate([np.arange(len(X1)), np.flatnonzero(twice)])
    weighted, repeated, plain = (quick(fitted_teacher(), **DETERMINISTIC) for _ in range(3))
    weighted.fit(X, y, teacher_data=(X1, y1, 1.0 + twice))
    repeated.fit(X, y, teacher_data=(X1[order], y1[order]))
    plain.fit(X, y, teacher_data=(X1, y1))
    np.testing.assert_allclose(weighted.decision_function(X), repeated.decision_function(X), rtol=1e-7)
    assert not np.allclose(weighted.decision_function(X), plain.decision_function(X), rtol=1e-4)


def test_rows_of_weight_zero_are_absent():
    X, y = digits()
    kept = np.random.RandomState(0).rand(len(X)) < 0.7
    zeroed, removed = quick(fitted_teacher(), **DETERMINISTIC), quick(fitted_teacher(), **DETERMINISTIC)
    zeroed.fit(X, y, kept.astype(float))
    removed.fit(X[kept], y[kept])
    np.testing.assert_allclose(zeroed.decision_function(X), removed.decision_function(X), rtol=1e-9)


def test_class_weight_is_a_sample_weight():
    X, y = digits()
    by_class = {"zero": 3.0, "five": 0.5, "one": 1.0, "two": 2.0, "three": 1.0, "four": 1.0}
    classes, weights = quick(fitted_teacher(), **DETERMINISTIC), quick(fitted_teacher(), **DETERMINISTIC)
    classes.set_params(class_weight=by_class).fit(X, y)
    weights.fit(X, y, np.array([by_class[label] for label in y]))
    np.testing.assert_allclose(classes.decision_function(X), weights.decision_function(X), rtol=1e-9)


def test_balanced_classes_count_weights_not_rows():
    X, y = digits()
    kept = np.random.RandomState(0).rand(len(X)) < np.where(y == "one", 0.2, 0.8)
    zeroed, removed, plain = (quick(fitted_teacher(), **DETERMINISTIC) for _ in range(3))
    zeroed.set_params(class_weight="balanced").fit(X, y, kept.astype(float))
    removed.set_params(class_weight="balanced").fit(X[kept], y[kept])
    plain.fit(X[kept], y[kept])
    np.testing.assert_allclose(zeroed.decision_function(X), removed.decision_function(X), rtol=1e-7)
    assert not np.allclose(removed.decision_function(X), plain.decision_function(X), rtol=1e-3)
