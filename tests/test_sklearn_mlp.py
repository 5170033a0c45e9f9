"""What users of scikit-learn's MLPClassifier rely on, and its tests hold: the same of the student.

Some of these laws stand elsewhere: stopping, steps and callbacks in ``test_training``, sparse rows in
``test_large_input``, errors in ``test_bad_input``.
"""

import subprocess
import sys

import joblib
import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_html_repr, get_tags

from skantidistill import AntiDistilledMLPClassifier
from tests.problems import digits, fitted_teacher, named, quick, same_parameters

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
CLASSES = np.unique(digits()[1])


def plain(**params):
    """Return a student without a teacher and its terms: scikit-learn's perceptron."""
    return quick(**{"hidden_layer_sizes": (16,), "lambda_noise": 0, "lambda_trace": 0, **params})


def binary():
    """Return the digits 0 and 1."""
    X, y = digits()
    rows = np.isin(y, ["zero", "one"])
    return X[rows], y[rows]


# --- predictions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("n_classes", [2, 6])
def test_rows_that_it_has_not_seen_are_told_apart_and_all_answers_agree(n_classes, activation):
    X, y = binary() if n_classes == 2 else digits()
    student = plain(activation=activation, max_iter=40, learning_rate_init=0.02).fit(X[::2], y[::2])
    X, y = X[1::2], y[1::2]
    assert student.score(X, y) > 0.95
    p, decision = student.predict_proba(X), student.decision_function(X)
    assert p.shape == (len(X), n_classes)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(student.predict_log_proba(X), np.log(p), atol=1e-9)
    np.testing.assert_array_equal(student.classes_[p.argmax(axis=1)], student.predict(X))
    if n_classes == 2:
        assert decision.shape == (len(X),)
        np.testing.assert_allclose(decision, np.log(p[:, 1] / p[:, 0]), atol=1e-8)
        np.testing.assert_array_equal(student.classes_[(decision > 0).astype(int)], student.predict(X))
    else:
        np.testing.assert_allclose(decision - decision[:, :1], np.log(p / p[:, :1]), atol=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probabilities_of_extreme_inputs_are_numbers(dtype):
    X, y = digits()
    student = plain().fit(X.astype(dtype), y)
    far = (X * np.finfo(dtype).max ** 0.9).astype(dtype)
    p, log_p = student.predict_proba(far), student.predict_log_proba(far)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)
    assert p.dtype == log_p.dtype == dtype
    assert {0.0, 1.0} <= set(p.ravel().tolist())
    assert np.isfinite(log_p).all()
    assert log_p.min() < np.log(np.finfo(dtype).tiny)


def test_single_precision_gives_the_student_of_double_precision():
    X, y = digits()
    double, single = (quick(fitted_teacher()).fit(X.astype(dtype), y) for dtype in (np.float64, np.float32))
    p = double.predict_proba(X)
    # The same draws in both, so that only the roundings of 24 bits differ, over some tens of steps.
    np.testing.assert_allclose(single.predict_proba(X.astype(np.float32)), p, atol=1e-3)
    assert not np.array_equal(single.predict_proba(X.astype(np.float32)), p)
    assert np.mean(single.predict(X.astype(np.float32)) == double.predict(X)) > 0.99
    # Mixed precisions are those of scikit-learn.
    assert single.predict_proba(X).dtype == MLPClassifier(max_iter=1).fit(X, y).predict_proba(X).dtype


# --- what a fit depends on --------------------------------------------------------------------------


def test_more_alpha_means_smaller_weights_in_every_layer():
    X, y = digits()
    sizes = [
        [np.abs(weights).sum() for weights in plain(alpha=alpha, max_iter=30).fit(X, y).coefs_]
        for alpha in (0.0, 10.0, 100.0)
    ]
    assert (np.diff(sizes, axis=0) < 0).all()


def test_the_loss_falls_with_every_epoch_of_small_steps():
    X, y = digits()
    student = plain(batch_size=len(X), max_iter=30, alpha=0).fit(X, y)
    assert len(student.loss_curve_) == student.n_iter_ == 30
    assert (np.diff(student.loss_curve_) < 0).all()
    p = plain(batch_size=len(X), max_iter=29, alpha=0, ema_decay=0).fit(X, y).predict_proba(X)
    known = p[np.arange(len(X)), np.searchsorted(CLASSES, y)]
    # An epoch's loss is that of the parameters before its steps.
    np.testing.assert_allclose(student.loss_, -np.log(known).mean(), rtol=1e-10)


def test_a_layer_may_be_given_by_its_number_and_layers_by_any_sequence():
    X, y = digits()
    expected = plain(hidden_layer_sizes=(5,)).fit(X, y)
    for given in (5, np.int64(5), [5], np.array([5])):
        assert same_parameters(plain(hidden_layer_sizes=given).fit(X, y), expected)
    assert plain(hidden_layer_sizes=[7, 5, 4]).fit(X, y).blueprint_.layer_sizes == (64, 7, 5, 4, 6)
    assert plain(hidden_layer_sizes=()).fit(X, y).blueprint_.layer_sizes == (64, 6)


def test_a_batch_of_more_rows_than_there_are_is_one_of_all():
    X, y = digits()
    expected = plain(batch_size=len(X)).fit(X, y)
    assert same_parameters(plain(batch_size=10**6).fit(X, y), expected)
    assert not same_parameters(plain().fit(X, y), expected)


def test_rows_keep_their_order_without_shuffling_only():
    X, y = digits()
    order = np.random.RandomState(0).permutation(len(X))
    kept, shuffled = (plain(batch_size=20, shuffle=shuffle).fit(X, y) for shuffle in (False, True))
    assert not same_parameters(kept, shuffled)
    assert same_parameters(plain(batch_size=20, shuffle=False, random_state=0).fit(X, y), kept)
    assert not same_parameters(plain(batch_size=20, shuffle=False).fit(X[order], y[order]), kept)


def test_a_random_state_is_drawn_on_and_an_integer_is_not():
    X, y = digits()
    stream = np.random.RandomState(0)
    first, second = (plain(random_state=stream, max_iter=1).fit(X, y) for _ in range(2))
    assert same_parameters(first, plain(random_state=0, max_iter=1).fit(X, y))
    assert not same_parameters(first, second)


# --- weights and the validation part ----------------------------------------------------------------


def test_weights_of_one_are_no_weights_and_rows_of_weight_0_are_in_neither_part():
    X, y = digits()
    part = {"early_stopping": True, "validation_fraction": 0.3}
    expected = plain(**part).fit(X, y)
    assert same_parameters(plain(**part).fit(X, y, np.ones(len(X))), expected)
    kept = np.random.RandomState(0).rand(len(X)) < 0.7
    removed, zeroed = plain(**part).fit(X[kept], y[kept]), plain(**part).fit(X, y, kept.astype(float))
    # The last bits of a product depend on where its rows lie in memory.
    np.testing.assert_allclose(zeroed.decision_function(X), removed.decision_function(X), rtol=1e-9)
    assert zeroed.validation_scores_ == pytest.approx(removed.validation_scores_, rel=1e-12)
    assert zeroed.validation_scores_ != expected.validation_scores_


def test_rows_of_the_validation_part_count_by_their_weights():
    X, y = digits()
    weight = np.where(y == "two", 1e6, 1e-6)
    student = plain(early_stopping=True, max_iter=8).fit(X, y, weight)
    assert student.validation_scores_[-1] == pytest.approx(1, abs=1e-6)
    assert student.score(X, y) < 0.5


def test_early_stopping_sets_aside_rows_with_names_and_labels_of_any_kind():
    X, y = digits()
    expected = plain(early_stopping=True).fit(X, y)
    student = plain(early_stopping=True).fit(named(X), y.astype(object))  # a warning would be an error
    assert same_parameters(student, expected)
    assert student.classes_.dtype == object
    assert len(student.validation_scores_) == student.n_iter_


# --- going on ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [binary, digits])
def test_so_many_calls_of_partial_fit_are_so_many_epochs(rows):
    X, y = rows()
    steps = plain()
    for _ in range(8):
        steps.partial_fit(X, y, classes=np.unique(y))
    assert same_parameters(steps, plain(max_iter=8, tol=0.0).fit(X, y))
    assert len(steps.loss_curve_) == 8
    assert steps.n_iter_ == 1


def test_classes_that_come_later_are_learned_when_they_come():
    X, y = digits()
    first = np.isin(y, ["five", "one"])
    student = plain(learning_rate_init=0.02, ema_decay=0)
    for _ in range(20):
        student.partial_fit(X[first], y[first], classes=CLASSES[::-1])
    np.testing.assert_array_equal(student.classes_, CLASSES)
    assert student.score(X[first], y[first]) > 0.95
    assert student.score(X[~first], y[~first]) == 0
    for _ in range(60):
        student.partial_fit(X, y)
    assert student.score(X[~first], y[~first]) > 0.95


def test_classes_may_be_repeated_in_later_calls_and_not_changed():
    X, y = digits()
    student = plain().partial_fit(X, y, classes=CLASSES).partial_fit(X, y, classes=CLASSES)
    before = student.blueprint_
    with pytest.raises(ValueError, match="is not the same as on last call to partial_fit"):
        student.partial_fit(X, y, classes=CLASSES[:-1])
    assert student.blueprint_ is before


def test_partial_fit_goes_on_from_a_fit():
    X, y = digits()
    student = plain(tol=0.0).fit(X, y).partial_fit(X, y)
    assert same_parameters(student, plain(tol=0.0, max_iter=4).fit(X, y))
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        plain(early_stopping=True).fit(X, y).partial_fit(X, y)


def test_partial_fit_prints_its_epoch(capsys):
    X, y = digits()
    plain(verbose=True).partial_fit(X, y, classes=CLASSES).partial_fit(X, y)
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in printed] == ["Iteration 1", "Iteration 1"]


def test_a_warm_start_takes_other_rows_of_the_same_classes_and_no_others():
    X, y = digits()
    student = plain(warm_start=True).fit(X, y)
    student.fit(X[:200], y[:200])
    before = student.blueprint_
    for labels in (
        np.where(y == "five", "four", y),
        np.where(np.arange(len(y)) < 9, "six", y),
        np.where(y == "five", "six", y),
    ):
        with pytest.raises(ValueError, match="warm_start=True goes on with the labels"):
            student.fit(X, labels)
    assert student.blueprint_ is before


@pytest.mark.parametrize("early_stopping", [False, True])
def test_without_patience_every_warm_start_runs_to_its_own_max_iter(early_stopping):
    X, y = digits()
    student = plain(n_iter_no_change=np.inf, tol=1e9, warm_start=True, early_stopping=early_stopping)
    for max_iter, n_epochs in [(15, 15), (15, 30), (20, 50)]:
        student.set_params(max_iter=max_iter).fit(X, y)
        assert student.n_iter_ == max_iter
        assert len(student.loss_curve_) == n_epochs
        assert not early_stopping or len(student.validation_scores_) == n_epochs


def test_divergence_is_told_under_early_stopping_too():
    X, y = digits()
    with pytest.raises(ValueError, match="Training diverged in Iteration"):
        plain(early_stopping=True, learning_rate_init=1e300).fit(X, y)


GO_ON = """
import sys, joblib
student, X, y = joblib.load(sys.argv[1])
answers = [student.predict_proba(X), student.partial_fit(X, y).predict_proba(X)]
joblib.dump(answers, sys.argv[2])
"""


def test_a_pickled_student_goes_on_in_another_process(tmp_path):
    X, y = digits()
    student = quick(fitted_teacher()).fit(X, y)
    files = [str(tmp_path / name) for name in ("student", "answers")]
    joblib.dump((student, X, y), files[0])
    subprocess.run([sys.executable, "-W", "error", "-c", GO_ON, *files], check=True)
    before, after = joblib.load(files[1])
    np.testing.assert_array_equal(before, student.predict_proba(X))
    # Another process may have another number of threads, and so other last bits.
    np.testing.assert_allclose(after, student.partial_fit(X, y).predict_proba(X), atol=1e-10)
    assert np.abs(before - after).max() > 1e-3


# --- scikit-learn's machinery -----------------------------------------------------------------------


def test_tags_say_what_a_student_takes():
    tags = get_tags(AntiDistilledMLPClassifier(fitted_teacher()))
    assert tags == get_tags(AntiDistilledMLPClassifier())
    assert tags.input_tags.sparse
    assert tags.target_tags.required
    assert tags.classifier_tags.multi_class
    refused = [
        tags.classifier_tags.multi_label,
        tags.target_tags.multi_output,
        tags.input_tags.allow_nan,
        tags.input_tags.categorical,
        tags.input_tags.string,
        tags.no_validation,
        tags.non_deterministic,
    ]
    assert not any(refused)


def test_a_clone_of_a_fitted_student_has_its_parameters_and_nothing_else():
    student = quick(fitted_teacher(), early_stopping=True).fit(*digits())
    assert vars(clone(student)) == student.get_params(deep=False)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_an_output_of_frames_is_for_transformers(library):
    X, y = digits()
    with config_context(transform_output=library):
        pipeline = make_pipeline(FunctionTransformer(feature_names_out="one-to-one"), plain())
        assert type(pipeline.fit(named(X), y).predict_proba(named(X))) is np.ndarray
    assert not hasattr(plain(), "set_output")


def test_a_diagram_shows_the_teacher_whether_it_is_fitted_or_not():
    for teacher in (fitted_teacher(), MLPClassifier((3,))):
        pipeline = make_pipeline(FunctionTransformer(), quick(teacher))
        html = estimator_html_repr(pipeline)
        assert "AntiDistilledMLPClassifier" in html
        assert "teacher: MLPClassifier" in html
