"""scikit-learn's contract: its own checks in every configuration, and the laws of weights."""

import re

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import has_fit_parameter

from skantidistill import AntiDistilledMLPClassifier
from skantidistill.starts import STARTS
from tests.problems import digits, fitted_teacher, old_rows, quick

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # Some of scikit-learn's checks draw X around 100, which fit rightly calls unscaled.
    pytest.mark.filterwarnings("ignore:X has a root mean square of 1[0-9][0-9], and:UserWarning"),
]


class Grown(AntiDistilledMLPClassifier):
    """Know the old data by itself, since the checks know of no teacher: all rows that it is given."""

    def fit(self, X, y, sample_weight=None):
        old = (X, y) if sample_weight is None else (X, y, sample_weight)
        return super().fit(X, y, sample_weight, teacher_data=old)

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        unfitted = self.teacher
        if not hasattr(self, "blueprint_"):
            self.teacher = clone(unfitted).fit(X, y)
        try:
            return super().partial_fit(X, y, classes, sample_weight)
        finally:
            self.teacher = unfitted


class GrownByAClass(Grown):
    """Know the old data by itself: all rows but those of the last class, where there are three."""

    def fit(self, X, y, sample_weight=None):
        labels = np.ravel(np.asarray(y))
        known = np.unique(labels)
        rows = labels != known[-1] if len(known) > 2 else np.full(len(labels), True)
        return AntiDistilledMLPClassifier.fit(self, X, y, sample_weight, teacher_rows=rows)


#: As long as the checks' blobs need: what is checked does not depend on it.
SHORT = {"max_iter": 10, "phi_max_iter": 2, "learning_rate_init": 0.1, "tol": 1e-3}
SMALL_TEACHER = MLPClassifier((4,), max_iter=30, learning_rate_init=0.05)


def alone(**params):
    """Return a small student without a teacher."""
    return AntiDistilledMLPClassifier(hidden_layer_sizes=(8,), **SHORT, **params)


DEFAULT = AntiDistilledMLPClassifier()
ALONE = [
    alone(lambda_noise=0, lambda_trace=0),
    alone(neighborhood="uniform"),
    alone(neighborhood="normal", parameter_noise_std=0),
    alone(trace="exact"),
    alone(trace="hutchinson"),
    alone(regularize="phi"),
    alone(early_stopping=True, validation_fraction=0.5),
    alone(warm_start=True),
    alone(ema_decay=0),
]
GROWN = [
    *(
        Grown(SMALL_TEACHER, start=start, lambda_teacher=0 if "net2net" in start else 1e-3, **SHORT)
        for start in sorted(STARTS)
    ),
    Grown(LogisticRegression(), regularize="phi", trace="exact", **SHORT),
    GrownByAClass(SMALL_TEACHER, **SHORT),
    GrownByAClass(SMALL_TEACHER, new_outputs="start", **SHORT),
]

#: In some checks labels are random, and fit rightly says that no teacher knows them.
with_random_labels = pytest.mark.filterwarnings("ignore:The teacher's .*accuracy on the old:UserWarning")

WEIGHTS = [f"check_sample_weight_equivalence_on_{kind}_data" for kind in ("dense", "sparse")]
PARTIAL_FIT = [
    "check_estimators_partial_fit_n_features",
    "check_fit_score_takes_y",
    "check_n_features_in_after_fitting",
]


def draws_by_row(estimator):
    """Say whether a term draws numbers for every row: offsets, or the signs of the sampled trace."""
    runs = estimator.teacher is not None or estimator.regularize == "fit"
    signs = estimator.lambda_trace and estimator.trace in ("auto", "sampled")
    return bool(runs and (estimator.lambda_noise or signs))


def expected_failures(estimator):
    """Only what can't hold; every reason has its test below."""
    failures = {}
    if draws_by_row(estimator):
        failures |= dict.fromkeys(WEIGHTS, "a repeated row has two draws, a row of weight 2 has one")
    if estimator.early_stopping:
        failures |= dict.fromkeys(WEIGHTS, "its few rows can't be split: every class needs 2 rows")
        failures |= dict.fromkeys(PARTIAL_FIT, "partial_fit refuses early_stopping, as MLPClassifier's does")
    if estimator.warm_start:
        failures["check_supervised_y_2d"] = "it fits twice, and the second fit goes on from the first"
    return failures


@parametrize_with_checks([DEFAULT, *ALONE], expected_failed_checks=expected_failures)
def test_scikit_learn_check_passes(estimator, check):
    check(estimator)


@with_random_labels
@parametrize_with_checks(GROWN, expected_failed_checks=expected_failures)
def test_scikit_learn_check_passes_with_a_teacher(estimator, check):
    check(estimator)


# Routing goes by the signatures of a class, not by parameters; but an unfitted teacher is fitted inside.
@with_random_labels
@parametrize_with_checks([alone(), GROWN[-1]], expected_failed_checks=expected_failures)
def test_scikit_learn_check_passes_with_metadata_routing(estimator, check):
    with config_context(enable_metadata_routing=True):
        check(estimator)


@with_random_labels
@pytest.mark.parametrize("estimator", [alone(), GROWN[-1]], ids=["alone", "grown"])
@pytest.mark.parametrize(
    "check",
    ["check_dataframe_column_names_consistency", "check_inplace_ensure_writeable", "check_param_validation"],
)
def test_a_check_passes_that_scikit_learn_keeps_for_its_own_estimators(estimator, check):
    getattr(estimator_checks, check)(type(estimator).__name__, estimator)


@with_random_labels  # or a teacher of 30 steps
@pytest.mark.parametrize("estimator", GROWN, ids=str)
def test_the_checks_run_phi_over_a_teacher_and_grow_it(estimator):
    X, y = make_blobs(60, random_state=1)
    student = clone(estimator).set_params(random_state=0).fit(X / 10, y)
    assert len(student.phi_history_) == 2
    assert len(student.growth_.new_outputs) == isinstance(estimator, GrownByAClass)
    assert student.teacher_.n_features_in_ == 2
    partly = clone(estimator).set_params(random_state=0).partial_fit(X / 10, y, classes=np.unique(y))
    assert len(partly.phi_history_) == 2
    assert not hasattr(partly.teacher, "classes_")


# --- the reasons of expected failures ---------------------------------------------------------------


@pytest.mark.parametrize("check", WEIGHTS)
@pytest.mark.parametrize(
    "estimator", [e for e in [DEFAULT, *ALONE, *GROWN] if draws_by_row(e) and not e.early_stopping], ids=str
)
def test_weights_are_repetitions_once_nothing_is_drawn_by_row(estimator, check):
    student = clone(estimator).set_params(lambda_noise=0)
    student.set_params(new_outputs="start")  # see DETERMINISTIC
    if student.trace != "hutchinson":  # whose probes are drawn for the parameters
        student.set_params(trace="exact")
    if student.teacher is not None and not has_fit_parameter(student.teacher, "sample_weight"):
        # An MLPClassifier before scikit-learn 1.7.
        student.set_params(teacher=LogisticRegression(), start="uniform", hidden_layer_sizes=(8,))
    getattr(estimator_checks, check)(type(student).__name__, student)


@pytest.mark.parametrize("check", WEIGHTS)
def test_the_rows_of_the_checks_of_weights_cannot_be_split(check):
    student = alone(early_stopping=True, validation_fraction=0.5)
    with pytest.raises(ValueError, match="Every class needs 2 rows"):
        getattr(estimator_checks, check)(type(student).__name__, student)


@pytest.mark.parametrize("check", PARTIAL_FIT)
@pytest.mark.parametrize("kind", [AntiDistilledMLPClassifier, MLPClassifier])
def test_partial_fit_fails_the_same_checks_in_scikit_learns_perceptron(kind, check):
    estimator = kind(early_stopping=True, validation_fraction=0.5, max_iter=2)
    with pytest.raises(ValueError, match=re.escape("partial_fit does not support early_stopping=True")):
        getattr(estimator_checks, check)(kind.__name__, estimator)


# --- weights ----------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(("new_outputs", "rtol"), [("start", 1e-7), ("fit", 1e-4)])
@pytest.mark.parametrize("through", ["y", "teacher_rows"])
def test_weight_two_is_the_row_twice(through, new_outputs, rtol):
    X, y = digits("integers")
    twice = np.random.RandomState(0).rand(len(X)) < np.where(X.mean(axis=1) > 0.3, 0.7, 0.1)
    weight = 1.0 + twice
    order = np.concatenate([np.arange(len(X)), np.flatnonzero(twice)])
    settings = DETERMINISTIC | {"new_outputs": new_outputs}
    weighted, repeated, plain = (quick(fitted_teacher("integers"), **settings) for _ in range(3))
    rows = old_rows("integers") if through == "teacher_rows" else None
    weighted.fit(X, y, weight, teacher_rows=rows)
    repeated.fit(X[order], y[order], teacher_rows=None if rows is None else rows[order])
    plain.fit(X, y, teacher_rows=rows)
    # The same sums in another order, through 40 steps of Adam in float64.
    np.testing.assert_allclose(weighted.decision_function(X), repeated.decision_function(X), rtol=rtol)
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
