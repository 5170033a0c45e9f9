"""Every parameter reaches the step of ``fit`` that it is for, and no other."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from skantidistill import settings, training
from skantidistill.objective import teacher_term
from skantidistill.starts import STARTS
from skantidistill.teachers import read_teacher
from tests.problems import (
    digits,
    fitted_teacher,
    named,
    named_teacher,
    old_rows,
    quick,
    same_parameters,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def runs(monkeypatch):
    """Record what every run of training is asked for: rows, objective, schedule."""
    seen = []

    def recording(params, activation, rows, objective, schedule, **others):
        seen.append((rows, objective, schedule))
        return train(params, activation, rows, objective, schedule, **others)

    train = training.train
    monkeypatch.setattr(training, "train", recording)
    return seen


UNUSUAL = {
    "lambda_ce": 0.7,
    "lambda_teacher": 0.02,
    "lambda_noise": 0.4,
    "lambda_trace": 0.005,
    "delta": 0.03,
    "neighborhood": "normal",
    "parameter_noise_std": 0.011,
    "trace": "exact",
    "bounds": (-1, 2),
    "phi_max_iter": 3,
    "phi_learning_rate_init": 2e-4,
    "phi_learning_rate_decay": 0.9,
    "alpha": 0.003,
    "batch_size": 50,
    "learning_rate_init": 3e-4,
    "max_iter": 4,
    "shuffle": False,
    "tol": 1e-6,
    "n_iter_no_change": 7,
    "freeze_iter": 1,
}


def shared_settings(objective):
    """Return the settings that phi and training have in common."""
    return (
        objective.neighborhood,
        objective.parameter_noise_std,
        objective.trace,
        float(objective.delta),
        tuple(map(float, objective.bounds)),
    )


def test_phi_has_all_four_terms_over_the_old_outputs_and_rows(runs):
    X, y = digits()
    student = quick(fitted_teacher(), **UNUSUAL).fit(X, y)
    rows, objective, schedule = runs[0]
    weights = [getattr(objective, f"lambda_{term}") for term in ("ce", "teacher", "noise", "trace")]
    assert weights == [0.7, 0.02, 0.4, 0.005]
    assert objective.alpha == 0
    assert shared_settings(objective) == ("normal", 0.011, "exact", 0.03, (-1.0, 2.0))
    np.testing.assert_array_equal(
        objective.outputs, np.searchsorted(student.classes_, ["four", "one", "two"])
    )
    assert len(rows) == old_rows().sum()
    assert (schedule.max_iter, schedule.learning_rate_init, schedule.decay) == (3, 2e-4, 0.9)
    assert (schedule.batch_size, schedule.shuffle, schedule.tol, schedule.freeze_iter) == (50, False, 1e-6, 0)


@pytest.mark.parametrize("regularize", ["fit", "phi"])
def test_training_has_cross_entropy_of_weight_one_and_the_kept_terms(runs, regularize):
    X, y = digits()
    quick(fitted_teacher(), **UNUSUAL, regularize=regularize).fit(X, y)
    rows, objective, schedule = runs[1]
    kept = regularize == "fit"
    assert (objective.lambda_ce, objective.lambda_teacher, objective.outputs) == (1.0, 0.0, None)
    assert (objective.lambda_noise, objective.lambda_trace) == ((0.4, 0.005) if kept else (0.0, 0.0))
    assert objective.alpha == 0.003
    assert shared_settings(objective) == ("normal", 0.011, "exact", 0.03, (-1.0, 2.0))
    assert len(rows) == len(X)
    assert (schedule.max_iter, schedule.learning_rate_init, schedule.decay) == (4, 3e-4, 1.0)
    assert (schedule.batch_size, schedule.shuffle, schedule.tol, schedule.freeze_iter) == (50, False, 1e-6, 1)
    assert schedule.n_iter_no_change == 7


def test_partial_fit_is_one_unfrozen_epoch_without_a_rule_to_stop(runs):
    X, y = digits()
    quick(fitted_teacher(), **UNUSUAL).partial_fit(X, y, classes=np.unique(y))
    schedule = runs[1][2]
    assert (schedule.max_iter, schedule.tol, schedule.freeze_iter) == (1, None, 0)


@pytest.mark.parametrize("activation", ["relu", "identity", "tanh", "logistic"])
@pytest.mark.parametrize(
    ("asked", "trace"),
    [("auto", "sampled"), ("sampled", "sampled"), ("exact", "exact"), ("hutchinson", "hutchinson")],
)
def test_every_trace_is_open_to_every_activation_and_auto_is_the_sampled_one(runs, activation, asked, trace):
    quick(fitted_teacher(activation=activation), trace=asked, max_iter=1, phi_max_iter=1).fit(*digits())
    assert [objective.trace for _, objective, _ in runs] == [trace, trace]


def test_batches_follow_scikit_learns_rule(runs):
    X, y = digits()
    quick(fitted_teacher(), max_iter=1, phi_max_iter=1).fit(X, y)
    quick(fitted_teacher(), max_iter=1, phi_max_iter=1).fit(X[:90], y[:90])
    sizes = [schedule.batch_size for _, _, schedule in runs]
    assert sizes == [200, 200, int(old_rows()[:90].sum()), 90]


def test_teacher_data_takes_the_precision_of_the_inputs(runs):
    X, y = digits()
    rows = old_rows()
    quick(fitted_teacher()).fit(X.astype(np.float32), y, teacher_data=(X[rows], y[rows]))
    assert runs[0][0].inputs.dtype == np.float32


def test_class_weight_counts_in_phi_too(runs):
    X, y = digits()
    rows = old_rows()
    student = quick(fitted_teacher(), class_weight={"one": 5.0, "zero": 2.0})
    weight = np.full(rows.sum(), 0.5)
    student.fit(X, y, teacher_data=(X[rows], y[rows], weight))
    np.testing.assert_array_equal(runs[-2][0].weight, np.where(y[rows] == "one", 2.5, 0.5))
    student.fit(X, y, np.full(len(X), 0.5), teacher_rows=rows)
    np.testing.assert_array_equal(runs[-2][0].weight[rows], np.where(y[rows] == "one", 2.5, 0.5))


def test_an_unfitted_teacher_is_fitted_with_the_weights():
    X, y = digits()
    rows = old_rows()
    weight = np.random.RandomState(0).randint(0, 4, rows.sum()).astype(float)
    student = quick(LogisticRegression(max_iter=1000), max_iter=1)
    student.fit(X, y, teacher_data=(X[rows], y[rows], weight))
    counted = weight > 0
    direct = LogisticRegression(max_iter=1000).fit(X[rows][counted], y[rows][counted], weight[counted])
    np.testing.assert_array_equal(student.teacher_.coef_, direct.coef_)
    unweighted = LogisticRegression(max_iter=1000).fit(X[rows], y[rows])
    assert not np.allclose(student.teacher_.coef_, unweighted.coef_)


def test_the_teacher_is_scored_on_its_own_columns():
    random_state = np.random.RandomState(0)
    frame = pd.DataFrame(random_state.randn(200, 2), columns=["a", "b"])
    y = np.where(frame["a"] > frame["b"], "more", "less")
    teacher = LogisticRegression().fit(frame, y)
    reversed_columns = frame[["b", "a"]]
    quick(teacher).fit(reversed_columns, y)  # no warning, and a warning would be an error
    with pytest.warns(UserWarning, match="below the .* of a constant answer"):
        quick(LogisticRegression().fit(frame.to_numpy(), y)).fit(reversed_columns.to_numpy(), y)


def test_old_rows_of_one_class_need_no_perfect_teacher():
    X, y = digits()
    teacher = MLPClassifier((2,), max_iter=30, random_state=3, learning_rate_init=0.02)
    teacher.fit(X[old_rows()], y[old_rows()])
    ones = y == "one"
    recall = teacher.score(X[ones], y[ones])
    assert 0.5 < recall < 1  # else this case says nothing
    quick(teacher).fit(X, y, teacher_rows=ones)
    wrong = np.where(ones, "two", y)
    with (
        pytest.warns(UserWarning, match="Are the labels encoded"),
        pytest.warns(UserWarning, match="no output for them"),
    ):
        quick(teacher).fit(X, wrong, teacher_rows=ones)


@pytest.mark.parametrize("changed", [{"early_stopping": True}, {"class_weight": "balanced"}])
def test_partial_fit_refuses_what_needs_all_rows(changed):
    X, y = digits()
    student = quick(fitted_teacher(), **changed)
    with pytest.raises(ValueError, match=f"partial_fit does not support {next(iter(changed))}"):
        student.partial_fit(X, y, classes=np.unique(y))


def test_batches_of_partial_fit_need_not_have_the_classes_that_are_weighed():
    X, y = digits()
    student = quick(fitted_teacher(), class_weight={"five": 3.0}).partial_fit(X, y, classes=np.unique(y))
    rows = y != "five"
    student.partial_fit(X[rows], y[rows])
    with pytest.raises(ValueError, match=r"class_weight names \['six'\], none of which is a label"):
        student.set_params(class_weight={"six": 3.0}).partial_fit(X, y)


def test_a_failed_partial_fit_leaves_nothing_behind():
    X, y = digits()
    student = quick(fitted_teacher())
    before = dict(vars(student))
    with pytest.raises(ValueError, match="no output for"):
        student.partial_fit(X, y, classes=["one", "two", "four", "three"])
    assert vars(student) == before
    student.partial_fit(X, y, classes=np.unique(y))
    before = dict(vars(student))
    with pytest.raises(ValueError, match="diverged"):
        student.set_params(learning_rate_init=1e308).partial_fit(X * 1e200, y)
    student.set_params(learning_rate_init=before["learning_rate_init"])
    assert vars(student) == before


def test_a_validation_part_of_one_row_is_refused():
    X, y = digits()
    student = quick(early_stopping=True, validation_fraction=0.02)
    few = np.concatenate([np.flatnonzero(y == label)[:20] for label in ("one", "two")])
    with pytest.raises(ValueError, match=r"validation set is too small|test_size = 1"):
        student.fit(X[few], y[few])


def test_validation_scores_are_those_of_the_last_way_to_train():
    X, y = digits()
    student = quick(fitted_teacher(), early_stopping=True, warm_start=True).fit(X, y)
    assert len(student.validation_scores_) == 3
    student.set_params(early_stopping=False).fit(X, y)
    assert student.validation_scores_ is None
    assert len(student.loss_curve_) == 6


def test_teacher_data_is_held_to_bounds_and_names():
    X, y = digits()
    rows = old_rows()
    with pytest.raises(ValueError, match="teacher_data has a value outside bounds"):
        quick(fitted_teacher(), bounds=(0, 1)).fit(X, y, teacher_data=(2 * X[rows], y[rows]))
    frame, teacher = named(X), named_teacher()
    renamed = frame.iloc[rows].rename(columns={"pixel3": "other"})
    with pytest.raises(ValueError, match="teacher_data has a column named 'other', which X has not"):
        quick(teacher).fit(frame, y, teacher_data=(renamed, y[rows]))
    with pytest.raises(
        ValueError, match="teacher_data lacks columns that the teacher was fitted on, among them"
    ):
        quick(teacher).fit(frame, y, teacher_data=(frame.iloc[rows, 1:], y[rows]))


@pytest.mark.parametrize("named_data", [False, True])
def test_teacher_data_in_the_teachers_columns_is_held_to_their_bounds(named_data):
    X, y = digits()
    rows, teacher = old_rows(), named_teacher(40)
    frame = named(X * np.arange(1, 65)).iloc[:, ::-1]  # pixel i is in [0, i + 1]
    low, high = np.zeros(64), np.arange(64, 0, -1.0)
    old = named(X).iloc[rows, :40]
    given = old if named_data else old.to_numpy()
    quick(teacher, bounds=(low, high), lambda_noise=0, lambda_trace=0).fit(
        frame, y, teacher_data=(given, y[rows])
    )
    high[63 - 36] = X[:, 36].max() / 2
    frame["pixel36"] = 0.0
    with pytest.raises(ValueError, match=r"teacher_data has a value outside bounds: .*, feature 36"):
        quick(teacher, bounds=(low, high)).fit(frame, y, teacher_data=(given, y[rows]))


def test_names_travel_with_the_student():
    X, y = digits()
    frame = named(X)
    first = quick(named_teacher(), start="zero").fit(frame, y)
    second = quick(first, start="zero", phi_max_iter=0).fit(frame.iloc[:, ::-1], y)
    start = second.phi_blueprint_.logits(X[:, ::-1])
    np.testing.assert_allclose(start, first.decision_function(frame), atol=1e-10)


# --- new features -----------------------------------------------------------------------------------


def seen_in_phi(runs):
    """Return D1 as phi saw it: inputs and labels."""
    rows = runs[0][0]
    return rows.inputs[rows.index], rows.targets[rows.index]


def test_old_data_may_have_the_teachers_columns_only(runs):
    X, y = digits()
    rows, weight = old_rows(), np.random.default_rng(0).random(len(X))
    teacher = named_teacher(40)
    # The same D1 with the teacher's columns by name, by name in another order, and by position.
    order = np.random.default_rng(1).permutation(64)
    frame = named(X).iloc[:, order]
    means = np.average(X[:, order], axis=0, weights=weight)
    old = named(X).iloc[rows, :40]
    mixed = old.iloc[:, np.random.default_rng(2).permutation(40)]
    for X1 in (old, mixed, old.to_numpy()):
        runs.clear()
        student = quick(teacher).fit(frame, y, sample_weight=weight, teacher_data=(X1, y[rows]))
        expected = np.where(order < 40, X[rows][:, order], means)
        np.testing.assert_allclose(seen_in_phi(runs)[0], expected, rtol=1e-12)
        assert student.growth_.features.tolist() == np.argsort(order)[:40].tolist()
        assert student.growth_.new_features.tolist() == np.flatnonzero(order >= 40).tolist()
    runs.clear()
    quick(teacher).fit(frame, y, teacher_data=(frame[rows], y[rows]))
    np.testing.assert_array_equal(seen_in_phi(runs)[0], X[rows][:, order])


def test_an_unfitted_teacher_is_fitted_on_the_columns_of_its_own_data():
    X, y = digits()
    rows, frame = old_rows(), named(X).iloc[:, ::-1]
    teacher = MLPClassifier((6,), max_iter=300, random_state=0)
    student = quick(teacher).fit(
        frame, y, teacher_data=(frame.loc[rows, ["pixel10", "pixel20", "pixel3"]], y[rows])
    )
    assert student.growth_.features.tolist() == [53, 43, 60]
    assert student.teacher_.n_features_in_ == 3
    student = quick(teacher).fit(X, y, teacher_data=(X[rows, :30], y[rows]))
    assert student.growth_.features.tolist() == list(range(30))


@pytest.mark.parametrize("start", ["zero", "net2net"])
def test_new_features_leave_the_teachers_function_and_then_are_learned(start):
    X, y = digits()
    teacher = fitted_teacher_of(X[:, :24], y)
    student = quick(
        teacher, start=start, lambda_teacher=0, phi_max_iter=0, learning_rate_init=1e-2, max_iter=60
    ).fit(X, y)
    logits = student.phi_blueprint_.logits(X)[:, student.growth_.outputs]
    expected = read_teacher(teacher).logits(X[:, :24])
    np.testing.assert_allclose(logits, expected, rtol=1e-10, atol=1e-10)
    assert np.all(student.phi_blueprint_.weights[0][:, 24:] == 0)
    assert student.score(X, y) > 0.95
    with_old_columns = X.copy()
    with_old_columns[:, 24:] = X[:, 24:].mean(axis=0)
    assert student.score(with_old_columns, y) < 0.9


def fitted_teacher_of(X, y):
    """Return an MLPClassifier of these columns of digits 1, 2 and 4."""
    rows = old_rows()
    return MLPClassifier((8,), max_iter=1000, random_state=0).fit(X[rows], y[rows])


def test_a_linear_teacher_becomes_the_first_layer():
    X, y = digits()
    rows = old_rows()
    teacher = LogisticRegression(max_iter=500).fit(X[rows], y[rows])
    student = quick(teacher, start="zero", phi_max_iter=0).fit(X, y)
    assert student.blueprint_.layer_sizes == (64, 100, 6)
    assert student.blueprint_.activation == "relu"
    logits = student.phi_blueprint_.logits(X)[:, student.growth_.outputs]
    np.testing.assert_allclose(logits, teacher.decision_function(X), rtol=1e-10, atol=1e-10)
    flat = quick(teacher, hidden_layer_sizes=()).fit(X, y)
    assert flat.blueprint_.layer_sizes == (64, 6)


def test_transfer_leaves_the_output_layer_out_of_the_teachers_term(runs):
    X, y = digits()
    teacher = fitted_teacher()
    student = quick(teacher, start="transfer", freeze_iter=2, lambda_teacher=0.1).fit(X, y)
    assert student.blueprint_.hidden_layer_sizes == (8,)
    objective = runs[0][1]
    assert [tuple(u.shape) for u in objective.teacher] == [(8, 64), (8,)]
    begun = [p * 0 for p in student.phi_blueprint_.parameters]
    expected = sum((w**2).sum() for w in (teacher.coefs_[0], teacher.intercepts_[0]))
    tensors = tuple(torch.from_numpy(p) for p in begun)
    assert float(teacher_term(tensors, None, None, objective)) == pytest.approx(expected, rel=1e-12)
    held, alone = runs[1][2], quick(teacher, start="transfer", phi_max_iter=0, freeze_iter=3).fit(X, y)
    assert held.freeze_iter == 2
    np.testing.assert_array_equal(alone.blueprint_.weights[0], teacher.coefs_[0].T)  # 3 epochs, all frozen


def test_a_start_may_be_a_function_or_be_registered_by_name(monkeypatch):
    X, y = digits()

    def ones(growth, random_state):
        return tuple(np.ones_like(p) for p in STARTS["zero"](growth, random_state))

    given = quick(fitted_teacher(), start=ones, phi_max_iter=0).fit(X, y)
    assert all(np.all(p == 1) for p in given.phi_blueprint_.parameters)
    monkeypatch.setitem(STARTS, "ones", ones)
    assert same_parameters(given, quick(fitted_teacher(), start="ones", phi_max_iter=0).fit(X, y))


@pytest.mark.parametrize("convert", [np.ndarray.tolist, torch.tensor, np.float32, np.asfortranarray])
def test_whatever_numbers_a_start_returns_the_student_has_its_own_copy_in_its_own_precision(convert):
    X, y = digits()
    kept = []

    def start(growth, random_state):
        kept.extend(convert(np.round(p, 2)) for p in STARTS["uniform"](growth, random_state))
        return kept

    student = quick(fitted_teacher(), start=start, phi_max_iter=0).fit(X, y)
    for param, value in zip(student.phi_blueprint_.parameters, kept, strict=True):
        assert param.dtype == np.float64
        np.testing.assert_array_equal(param, np.asarray(value, dtype=np.float64))
        assert not np.shares_memory(param, np.asarray(value))


def test_the_first_layer_has_room_for_a_linear_teacher_of_many_classes():
    X, y = np.random.default_rng(0).normal(size=(180, 3)), np.arange(180) % 60
    teacher = LogisticRegression().fit(X, y)
    assert quick(teacher, start="zero").fit(X, y).blueprint_.hidden_layer_sizes == (120,)
    few = y < 7
    assert quick(LogisticRegression().fit(X[few], y[few])).fit(X, y).blueprint_.hidden_layer_sizes == (100,)


def test_transfer_of_a_linear_teacher_is_a_fresh_linear_student():
    X, y = digits()
    rows = old_rows()
    teacher = LogisticRegression(max_iter=1000).fit(X[rows], y[rows])
    student = quick(teacher, start="transfer").fit(X, y)
    assert student.blueprint_.layer_sizes == (64, 6)
    assert student.growth_.layers == []
    fresh = quick(teacher, start="xavier", hidden_layer_sizes=(), lambda_teacher=0).fit(X, y)
    assert same_parameters(student, fresh)


def test_net2net_with_the_teachers_term_warns():
    X, y = digits()
    with pytest.warns(UserWarning, match=r"start='net2net' divides .* use lambda_teacher=0"):
        quick(fitted_teacher(), start="net2net").fit(X, y)
    quick(fitted_teacher(), start="net2net", lambda_teacher=0).fit(X, y)
    quick(fitted_teacher(), start="net2net", phi_max_iter=0).fit(X, y)


def test_robustness_takes_the_students_own_bounds():
    X, y = digits()
    student = quick(fitted_teacher(), bounds=(0, 1), max_iter=30).fit(X, y)
    kept = student.robustness_score(X, y, "fgsm", 0.2)
    assert kept == student.robustness_score(X, y, "fgsm", 0.2, bounds=(0, 1))
    assert kept > student.robustness_score(X, y, "fgsm", 0.2, bounds=(-9, 9))


def test_devices_other_than_the_cpu_are_checked_before_anything_else():
    if torch.cuda.is_available():
        X, y = digits()
        student = quick(fitted_teacher(), device="cuda").fit(X, y)
        assert not same_parameters(student, quick(fitted_teacher()).fit(X, y))
    else:
        with pytest.raises(ValueError, match=re.escape("device='cuda' can't be used here")):
            quick(fitted_teacher(), device="cuda").fit(*digits())


@pytest.mark.parametrize("through", ["y", "teacher_rows"])
def test_phi_does_not_see_the_rows_set_aside_for_validation(runs, monkeypatch, through):
    X, y = digits()
    split = []
    monkeypatch.setattr(
        settings, "train_test_split", lambda *a, **k: split.append(train_test_split(*a, **k)) or split[0]
    )
    rows = old_rows() if through == "teacher_rows" else None
    quick(fitted_teacher(), early_stopping=True, max_iter=1).fit(X, y, teacher_rows=rows)
    kept, aside = split[0]
    np.testing.assert_array_equal(np.sort(runs[0][0].index), np.sort(kept[old_rows()[kept]]))
    assert old_rows()[aside].any()


def test_old_rows_are_not_copied(runs):
    X, y = digits()
    X = np.ascontiguousarray(X)
    quick(fitted_teacher()).fit(X, y)
    quick(fitted_teacher()).fit(X, y, teacher_rows=old_rows())
    assert all(np.shares_memory(rows.inputs, X) for rows, _, _ in runs)


class NotAnArray:
    """Convertible to an array, and to be handled by no function of numpy's before that."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return self.values if dtype is None else self.values.astype(dtype)

    def __array_function__(self, function, types, args, kwargs):
        raise TypeError(f"{function.__name__} was called")


@pytest.mark.parametrize("held", [np.ndarray.tolist, NotAnArray, pd.DataFrame, np.asfortranarray])
def test_old_data_may_be_held_as_x_may_be(held):
    X, y = digits()
    rows = old_rows()
    plain = quick(fitted_teacher()).fit(X, y, teacher_data=(X[rows], y[rows]))
    other = quick(fitted_teacher()).fit(held(X), y, teacher_data=(held(X[rows]), y[rows].tolist()))
    assert same_parameters(plain, other)


def test_zero_weight_old_rows_are_absent():
    X, y = digits()
    rows = old_rows()
    weight = np.where(y == "four", 0.0, 1.0)
    student = quick(MLPClassifier((4,), max_iter=200)).fit(X, y, weight, teacher_rows=rows)
    assert set(student.teacher_.classes_) == {"one", "two"}
    stranger = rows.copy()
    stranger[np.flatnonzero(y == "zero")[0]] = True
    weight = np.where(y == "zero", 0.0, 1.0)
    zeroed = quick(fitted_teacher()).fit(X, y, weight, teacher_rows=stranger)
    assert same_parameters(zeroed, quick(fitted_teacher()).fit(X, y, weight, teacher_rows=rows))
    with pytest.warns(UserWarning, match="the teacher serves as a start only"):
        quick(fitted_teacher(), class_weight={"one": 0, "two": 0, "four": 0}).fit(X, y)


def test_a_scalar_weight_is_that_weight_everywhere():
    X, y = digits()
    scalar = quick(fitted_teacher()).fit(X, y, 2.0)
    assert same_parameters(scalar, quick(fitted_teacher()).fit(X, y, np.full(len(X), 2.0)))


def test_labels_held_by_objects_are_those_labels():
    X, y = digits("integers")
    rows = old_rows("integers")
    plain = quick(fitted_teacher("integers")).fit(X, y, teacher_data=(X[rows], y[rows]))
    held = quick(fitted_teacher("integers")).fit(X, y, teacher_data=(X[rows], y[rows].astype(object)))
    assert same_parameters(plain, held)
    assert held.classes_.dtype == y.dtype
    assert held.score(X, y) == plain.score(X, y)


def test_a_trace_that_is_not_used_is_not_checked():
    X, y = digits()
    quick(fitted_teacher(activation="tanh"), trace="exact", lambda_trace=0).fit(X, y)


def test_a_series_of_half_widths_or_bounds_is_matched_by_name(runs):
    X, y = digits()
    order = np.random.default_rng(0).permutation(64)
    frame = named(X).iloc[:, order]
    widths = pd.Series(np.linspace(0.01, 0.1, 64), index=[f"pixel{i}" for i in range(64)])
    low = -0.1 - widths
    student = quick(named_teacher(), delta=widths, bounds=(low, 2)).fit(frame, y)
    np.testing.assert_allclose(runs[0][1].delta.numpy(), widths.to_numpy()[order])
    np.testing.assert_allclose(runs[0][1].bounds[0].numpy(), low.to_numpy()[order])
    score = student.robustness_score(frame, y, epsilon=widths)
    assert score == student.robustness_score(frame, y, epsilon=widths.to_numpy()[order])
    assert score != student.robustness_score(frame, y, epsilon=widths.to_numpy())
    with pytest.raises(ValueError, match="delta is a Series whose index is not X's columns"):
        quick(named_teacher(), delta=widths.reset_index(drop=True)).fit(frame, y)
    with pytest.raises(ValueError, match="bounds is a Series whose index is not X's columns"):
        quick(named_teacher(), bounds=(low.iloc[1:], 2)).fit(frame, y)


def test_a_teacher_hardly_better_than_a_guess_is_questioned():
    X, y = digits("integers")
    teacher, mask = fitted_teacher("integers"), old_rows("integers")
    # The digits 1, 2 and 4 have the labels 4, 9 and 70.
    mixed = quick(teacher, teacher_classes=[9, 70, 4])
    with pytest.warns(UserWarning, match="below the|near the"):
        mixed.fit(X, y)
    rng = np.random.default_rng(0)
    guessed = np.where(rng.random(len(y)) < 0.95, rng.choice(teacher.classes_, len(y)), y)
    labels = np.where(mask, guessed, y)
    with pytest.warns(
        UserWarning, match=r"balanced accuracy on the old rows \(y\) is 0\.3.., near the 0\.333"
    ):
        quick(teacher).fit(X, labels)
