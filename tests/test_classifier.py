"""What the student does: growth, phi, training, and how it repeats itself."""

import copy
import gc
import pickle
import re
import signal

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.utils._testing import ignore_warnings

from skantidistill import AntiDistilledMLPClassifier
from skantidistill.teachers import read_teacher
from tests.problems import LABELS, digits, fitted_teacher, old_rows, quick, same_parameters

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("kind", sorted(LABELS))
def test_classes_are_matched_by_label_of_any_kind(kind):
    X, y = digits(kind)
    teacher = fitted_teacher(kind)
    student = quick(teacher, start="zero", phi_max_iter=0).fit(X, y)
    np.testing.assert_array_equal(student.classes_, np.unique(y))
    assert student.classes_.dtype == y.dtype
    columns = np.searchsorted(student.classes_, teacher.classes_)
    start = student.phi_blueprint_.logits(X)
    np.testing.assert_allclose(start[:, columns], read_teacher(teacher).logits(X), atol=1e-12)
    assert not np.allclose(start[:, :3], read_teacher(teacher).logits(X)) or list(columns) == [0, 1, 2]
    assert set(student.predict(X)) <= set(y)


def test_boolean_labels_grow_from_a_binary_teacher():
    X, y = digits("integers")
    even = np.isin(y, [30, 9, 70])
    teacher = MLPClassifier((4,), max_iter=300, random_state=0).fit(X, even)
    student = quick(teacher, max_iter=20).fit(X, even)
    assert student.classes_.dtype == bool
    assert student.hidden_layer_sizes == "auto"
    assert student.blueprint_.layer_sizes == (64, 8, 2)
    decision = student.decision_function(X)
    assert decision.shape == (len(X),)
    np.testing.assert_array_equal(decision > 0, student.predict(X))
    assert student.score(X, even) > 0.95


@pytest.mark.parametrize("n_classes", [2, 3])
def test_logistic_regression_grows_into_more_classes(n_classes):
    X, y = digits()
    rows = np.isin(y, LABELS["strings"][1 : 1 + n_classes])
    teacher = LogisticRegression(max_iter=1000).fit(X[rows], y[rows])
    student = quick(teacher, hidden_layer_sizes=(), max_iter=60, learning_rate_init=1e-2).fit(X, y)
    assert student.blueprint_.layer_sizes == (64, 6)
    assert student.score(X, y) > 0.9


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_every_activation_grows_with_the_default_terms(activation):
    X, y = digits()
    student = quick(fitted_teacher(activation=activation), max_iter=30, learning_rate_init=3e-3).fit(X, y)
    assert student.blueprint_.activation == activation
    assert set(student.phi_history_[0]) >= {"ce", "teacher", "noise", "trace", "train_loss", "dur"}
    assert student.score(X, y) > 0.9


def test_after_phi_the_student_still_knows_the_old_classes():
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X / 16, y, random_state=0, stratify=y)
    teacher = MLPClassifier((32,), max_iter=500, random_state=0).fit(X[y < 5], y[y < 5])
    student = quick(teacher, max_iter=1, phi_max_iter=5).fit(X, y)
    old = y_test < 5
    masked = student.phi_blueprint_.logits(X_test[old])[:, :5].argmax(axis=1)
    assert np.mean(masked == y_test[old]) >= teacher.score(X_test[old], y_test[old]) - 0.01


def test_phi_lowers_its_objective_and_reports_every_term():
    X, y = digits()
    student = quick(fitted_teacher(), phi_max_iter=12).fit(X, y)
    losses = [row["train_loss"] for row in student.phi_history_]
    assert len(losses) == 12
    assert losses[-1] < losses[0]
    row, p = student.phi_history_[-1], student.get_params()
    weighted = sum(p[f"lambda_{term}"] * row[term] for term in ("ce", "teacher", "noise", "trace"))
    np.testing.assert_allclose(row["train_loss"], weighted, rtol=1e-12)


def test_phi_max_iter_0_gives_the_bare_start():
    X, y = digits()
    student = quick(fitted_teacher(), start="zero", phi_max_iter=0).fit(X, y)
    moved = quick(fitted_teacher(), start="zero", phi_max_iter=1).fit(X, y)
    teacher = read_teacher(fitted_teacher())
    kept = student.growth_.project(student.phi_blueprint_.parameters)
    assert all(np.array_equal(u, w) for u, w in zip(teacher.parameters, kept, strict=True))
    assert student.phi_history_ == []
    assert not np.array_equal(moved.phi_blueprint_.weights[0], student.phi_blueprint_.weights[0])


def test_masked_softmax_leaves_new_outputs_alone_during_phi():
    X, y = digits()
    bare = quick(fitted_teacher(), phi_max_iter=0).fit(X, y).phi_blueprint_
    student = quick(fitted_teacher(), phi_max_iter=3).fit(X, y)
    old = student.growth_.outputs
    new = np.setdiff1d(np.arange(6), old)
    np.testing.assert_array_equal(student.phi_blueprint_.weights[-1][new], bare.weights[-1][new])
    np.testing.assert_array_equal(student.phi_blueprint_.biases[-1][new], bare.biases[-1][new])
    assert not np.array_equal(student.phi_blueprint_.weights[-1][old], bare.weights[-1][old])


@pytest.mark.parametrize(("regularize", "parts"), [("fit", {"noise", "trace"}), ("phi", set())])
def test_regularize_says_where_the_terms_stay(regularize, parts):
    X, y = digits()
    student = quick(fitted_teacher(), regularize=regularize).fit(X, y)
    assert set(student.phi_history_[0]) >= {"noise", "trace"}
    assert set(student.history_[0]) & {"noise", "trace"} == parts
    row = student.history_[-1]
    whole = row["ce"] + student.alpha * row["penalty"]
    whole += sum(getattr(student, f"lambda_{part}") * row[part] for part in parts)
    np.testing.assert_allclose(student.loss_, whole, rtol=1e-12)


def test_a_student_is_a_teacher_of_the_next():
    X, y = digits()
    first = quick(fitted_teacher(), max_iter=20, learning_rate_init=5e-3)
    first.fit(X[np.isin(y, ["one", "two", "four", "five"])], y[np.isin(y, ["one", "two", "four", "five"])])
    second = quick(first, max_iter=20, learning_rate_init=5e-3).fit(X, y)
    assert second.blueprint_.layer_sizes == (64, 32, 6)
    assert second.score(X, y) > 0.9


def test_without_a_teacher_it_is_a_plain_perceptron():
    X, y = digits()
    student = AntiDistilledMLPClassifier(lambda_noise=0, lambda_trace=0, random_state=0, max_iter=60)
    student.fit(X, y)
    assert student.blueprint_.layer_sizes == (64, 100, 6)
    assert (student.teacher_, student.growth_, student.phi_history_) == (None, None, [])
    assert student.score(X, y) > 0.95


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arithmetic_follows_the_inputs(dtype):
    X, y = digits()
    student = quick(fitted_teacher()).fit(X.astype(dtype), y)
    assert {p.dtype for p in student.blueprint_.parameters} == {np.dtype(dtype)}
    assert student.predict_proba(X.astype(dtype)).dtype == dtype


def test_fitted_attributes_have_scikit_learns_meaning():
    X, y = digits()
    student = quick(fitted_teacher(), max_iter=4).fit(X, y)
    assert [c.shape for c in student.coefs_] == [(64, 16), (16, 6)]
    assert [b.shape for b in student.intercepts_] == [(16,), (6,)]
    assert (student.n_layers_, student.n_iter_, student.n_features_in_) == (3, 4, 64)
    assert len(student.loss_curve_) == 4
    assert student.loss_ == student.loss_curve_[-1]
    assert student.validation_scores_ is None
    hidden = np.maximum(X @ student.coefs_[0] + student.intercepts_[0], 0)
    logits = hidden @ student.coefs_[1] + student.intercepts_[1]
    np.testing.assert_allclose(student.decision_function(X), logits, atol=1e-12)
    np.testing.assert_allclose(np.log(student.predict_proba(X)), student.predict_log_proba(X), atol=1e-10)


def test_feature_names_are_matched_whatever_their_order():
    X, y = digits()
    frame = pd.DataFrame(X, columns=[f"pixel{i}" for i in range(64)])
    rows = old_rows()
    teacher = MLPClassifier((8,), max_iter=300, random_state=0).fit(frame[rows], y[rows])
    shuffled = frame[np.random.RandomState(0).permutation(frame.columns)]
    student = quick(teacher, start="zero", phi_max_iter=0).fit(shuffled, y)
    start = student.phi_blueprint_.logits(shuffled.to_numpy())[:, student.growth_.outputs]
    np.testing.assert_allclose(start, read_teacher(teacher).logits(X), atol=1e-12)
    assert not np.array_equal(shuffled.columns, frame.columns)
    np.testing.assert_array_equal(student.feature_names_in_, shuffled.columns)


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def test_frames_train_like_arrays(library):
    X, y = digits()
    frame = library({f"pixel{i}": X[:, i] for i in range(64)})
    student = quick(fitted_teacher())
    with ignore_warnings(category=UserWarning):
        student.fit(frame, y)
    assert list(student.feature_names_in_) == [f"pixel{i}" for i in range(64)]
    assert same_parameters(student, quick(fitted_teacher()).fit(X, y))
    np.testing.assert_array_equal(student.predict(frame), quick(fitted_teacher()).fit(X, y).predict(X))


def test_pandas_labels_give_the_same_student():
    X, y = digits()
    for labels in (pd.Series(y), pd.Series(y, dtype="category"), pd.Series(y, dtype=object)):
        student = quick(fitted_teacher()).fit(X, labels)
        assert same_parameters(student, quick(fitted_teacher()).fit(X, y))
        assert set(student.predict(X)) <= set(y)


def test_same_seed_same_bits_other_seed_other_bits():
    X, y = digits()
    first, again, other = (
        quick(fitted_teacher()),
        quick(fitted_teacher()),
        quick(fitted_teacher(), random_state=1),
    )
    assert same_parameters(first.fit(X, y), again.fit(X, y))
    assert not same_parameters(first, other.fit(X, y))
    assert same_parameters(first, clone(first).fit(X, y))


def test_global_random_states_are_not_touched():
    X, y = digits()
    numpy_before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()
    student = quick(fitted_teacher(), early_stopping=True, parameter_noise_std=0.01).fit(X, y)
    student.robustness_score(X, y, "parameter_noise", 0.1, random_state=0)
    quick(MLPClassifier((4,), max_iter=50)).fit(X, y, teacher_rows=old_rows())
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)
    assert torch.equal(torch.get_rng_state(), torch_before)


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_a_copied_student_predicts_and_trains_on_alike(copier):
    X, y = digits()
    student = quick(fitted_teacher(), warm_start=True).fit(X, y)
    copied = copier(student)
    np.testing.assert_array_equal(copied.predict_proba(X), student.predict_proba(X))
    assert same_parameters(copied.fit(X, y), student.fit(X, y))


def test_two_partial_fits_go_on_where_the_first_stopped():
    X, y = digits()
    steps = quick(fitted_teacher(), tol=0.0)
    steps.partial_fit(X, y, classes=np.unique(y))
    assert len(steps.phi_history_) == 2
    once = steps.blueprint_
    steps.partial_fit(X, y)
    assert steps.blueprint_ is not once
    assert len(steps.loss_curve_) == 2
    # fit's two epochs draw the same batches and terms, with one optimiser.
    assert same_parameters(steps, quick(fitted_teacher(), max_iter=2).fit(X, y))


def test_partial_fit_needs_classes_first_and_refuses_new_ones_later():
    X, y = digits()
    student = quick(fitted_teacher())
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        student.partial_fit(X, y)
    with pytest.warns(UserWarning, match="no output for them"):
        student.partial_fit(X[y < "p"], y[y < "p"], classes=np.unique(y[y < "p"]))
    before = student.blueprint_
    with pytest.raises(ValueError, match="To grow, pass it as teacher"):
        student.partial_fit(X, y)
    assert student.blueprint_ is before


def test_warm_start_goes_on_without_phi():
    X, y = digits()
    whole = quick(fitted_teacher(), max_iter=4).fit(X, y)
    parts = quick(fitted_teacher(), max_iter=2, warm_start=True).fit(X, y)
    phi = parts.phi_blueprint_
    parts.fit(X, y)
    assert same_parameters(whole, parts)
    assert parts.phi_blueprint_ is phi
    assert (parts.n_iter_, len(parts.loss_curve_)) == (2, 4)
    again = quick(fitted_teacher(), max_iter=2).fit(X, y)
    assert same_parameters(again, again.fit(X, y))
    assert len(again.loss_curve_) == 2


@pytest.mark.parametrize("change", ["labels", "sizes", "features"])
def test_warm_start_refuses_another_problem(change):
    X, y = digits()
    student = quick(fitted_teacher(), warm_start=True).fit(X, y)
    before = student.blueprint_
    if change == "labels":
        y = np.where(y == "five", "six", y)
    elif change == "sizes":
        student.set_params(hidden_layer_sizes=(40,))
    else:
        X = X[:, :-1]
    pattern = "expecting 64 features" if change == "features" else "To grow, pass this student as teacher"
    with pytest.raises(ValueError, match=pattern):
        student.fit(X, y)
    assert student.blueprint_ is before


def test_early_stopping_keeps_the_best_epoch():
    X, y = digits()
    student = quick(fitted_teacher(), early_stopping=True, max_iter=80, n_iter_no_change=3, tol=1e-3)
    student.set_params(learning_rate_init=0.05, validation_fraction=0.3).fit(X, y)
    scores = student.validation_scores_
    assert student.n_iter_ == len(scores) < 80
    _, X_valid, _, y_valid = _split(student, X, y)
    assert student.score(X_valid, y_valid) == pytest.approx(max(scores))


def _split(student, X, y):
    """Draw the student's validation part again: the first thing that its seed decides."""
    return train_test_split(
        X, y, test_size=student.validation_fraction, random_state=student.random_state, stratify=y
    )


def test_a_count_may_be_numpys_as_a_search_draws_it():
    counts = {"batch_size": 30, "max_iter": 2, "phi_max_iter": 1, "freeze_iter": 1, "n_iter_no_change": 3}
    drawn = {name: np.int64(value) for name, value in counts.items()}
    plain, numpys = (quick(fitted_teacher(), **params).fit(*digits()) for params in (counts, drawn))
    assert same_parameters(plain, numpys)


def test_reaching_max_iter_warns_as_scikit_learn_does():
    X, y = digits()
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(3\) reached"):
        quick(fitted_teacher()).fit(X, y)


def test_verbose_prints_a_line_an_epoch(capsys):
    X, y = digits()
    quick(fitted_teacher(), verbose=True).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] + "," for line in lines[2:]] == [
        "Iteration 1,",
        "Iteration 2,",
        "Iteration 3,",
    ]
    assert lines[0].startswith("phi, epoch 1, loss = ")
    assert len(lines) == 5


@pytest.mark.parametrize("early_stopping", [False, True])
def test_verbose_says_why_training_ends_in_scikit_learns_words(capsys, early_stopping):
    X, y = digits()
    rule = {"tol": 10.0, "n_iter_no_change": 1, "early_stopping": early_stopping, "verbose": True}
    quick(**rule | {"max_iter": 9}).fit(X, y)
    ours = capsys.readouterr().out.splitlines()
    MLPClassifier(**rule, max_iter=9, random_state=0).fit(X, y)
    theirs = capsys.readouterr().out.splitlines()
    assert ours[-1] == theirs[-1]
    assert "did not improve" in ours[-1]


def test_verbose_2_shows_a_bar_of_phi_and_one_of_training(capsys):
    X, y = digits()
    rule = {"tol": 10.0, "n_iter_no_change": 1, "early_stopping": True, "max_iter": 9}
    quick(fitted_teacher(), verbose=2, **rule).fit(X, y)
    out, err = capsys.readouterr()
    assert not out
    phi, training = (line.split("\r")[-1] for line in err.split("\n")[:-1])
    assert re.match(r"phi: 100%.*2/2 .*, loss \d\.\d{4}\]", phi)
    assert re.match(r"training: .*3/9 .*, loss \d\.\d{4}, validation score 0\.\d{4}, converged\]", training)


def test_a_bar_is_closed_where_training_fails(capsys):
    X, y = digits()
    with pytest.raises(ValueError, match="Training diverged") as caught:
        quick(fitted_teacher(), verbose=2, phi_learning_rate_init=1e300).fit(X, y)
    assert capsys.readouterr().err.endswith("\n")
    assert caught.tb is not None  # it holds the bar, which no garbage collector has closed


def test_bounds_do_not_bind_inside_them():
    X, y = digits()
    wide = quick(fitted_teacher(), bounds=(-10, 10)).fit(X, y)
    tight = quick(fitted_teacher(), bounds=(0, 1)).fit(X, y)
    free = quick(fitted_teacher()).fit(X, y)
    assert same_parameters(wide, free)
    assert not same_parameters(tight, free)


def test_delta_per_feature_equals_the_scalar_where_it_is_constant():
    X, y = digits()
    scalar = quick(fitted_teacher(), delta=0.02).fit(X, y)
    vector = quick(fitted_teacher(), delta=np.full(64, 0.02)).fit(X, y)
    other = quick(fitted_teacher(), delta=np.linspace(0, 0.1, 64)).fit(X, y)
    assert same_parameters(scalar, vector)
    assert not same_parameters(scalar, other)


def test_not_fitted_raises_everywhere():
    X, y = digits()
    student = AntiDistilledMLPClassifier(fitted_teacher())
    for call in (student.predict, student.predict_proba, student.decision_function):
        with pytest.raises(NotFittedError):
            call(X)
    with pytest.raises(NotFittedError):
        student.robustness_score(X, y)
    for name in ("coefs_", "intercepts_", "n_layers_"):
        with pytest.raises(NotFittedError):
            getattr(student, name)
        assert not hasattr(student, name)


@pytest.mark.parametrize("verbose", [0, 2])
@pytest.mark.parametrize("seconds", [0.001, 0.01, 0.03, 0.1, 0.2, 0.4])
@pytest.mark.parametrize("stage", ["phi_max_iter", "max_iter"])
def test_ctrl_c_at_any_moment_raises_and_leaves_no_trace(stage, seconds, verbose):
    X, y = digits()
    quick(fitted_teacher()).fit(X, y)  # torch imports half of itself at the first step; that is not ours
    student = quick(fitted_teacher(), tol=0.0, verbose=verbose, **{stage: 10**6})
    before = dict(vars(student))
    handler = signal.signal(signal.SIGALRM, signal.default_int_handler)  # what Ctrl-C calls
    gc.disable()  # Python swallows what is raised in a callback of the collector, such as hypothesis has
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        with pytest.raises(KeyboardInterrupt):
            student.fit(X, y)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        gc.enable()
    assert vars(student) == before


def test_ctrl_c_between_epochs_raises_and_leaves_no_trace(monkeypatch):
    def interrupt(self, net, **kwargs):
        raise KeyboardInterrupt

    X, y = digits()
    student = quick(fitted_teacher())
    before = dict(vars(student))
    monkeypatch.setattr("skantidistill.epochs.Stopping.on_epoch_end", interrupt)
    with pytest.raises(KeyboardInterrupt):
        student.fit(X, y)
    assert vars(student) == before
