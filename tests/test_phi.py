"""phi: stopped by its loss, and kept in a cache for those who ask for it again."""

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier

from skantidistill import training
from tests.problems import digits, fitted_teacher, old_rows, quick, same_parameters

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def stages(monkeypatch):
    """Record the stage of every run of training."""
    seen = []

    def recording(params, activation, rows, objective, schedule, **others):
        seen.append(schedule.stage)
        return train(params, activation, rows, objective, schedule, **others)

    train = training.train
    monkeypatch.setattr(training, "train", recording)
    return seen


PHI, TRAINING = "phi", "training"


def test_a_cached_phi_gives_the_same_student_without_being_run_again(stages, tmp_path):
    X, y = digits()
    plain = quick(fitted_teacher(), alpha=0.1).fit(X, y)
    first = quick(fitted_teacher(), memory=str(tmp_path)).fit(X, y)
    stages.clear()
    second = quick(fitted_teacher(), memory=str(tmp_path), alpha=0.1).fit(X, y)
    assert stages == [TRAINING]
    assert same_parameters(second, plain)
    assert not same_parameters(first, plain)
    assert second.phi_history_ == first.phi_history_


@pytest.mark.parametrize(
    "change",
    [
        {"lambda_ce": 0.5},
        {"lambda_teacher": 0.5},
        {"lambda_noise": 0.5},
        {"lambda_trace": 0.5},
        {"delta": 0.05},
        {"neighborhood": "uniform"},
        {"parameter_noise_std": 0.1},
        {"trace": "exact"},
        {"bounds": (0, 1)},
        {"phi_max_iter": 1},
        {"phi_learning_rate_init": 0.01},
        {"phi_learning_rate_decay": 0.5},
        {"batch_size": 50},
        {"shuffle": False},
        {"tol": 0.5, "n_iter_no_change": 1, "phi_max_iter": 9},
        {"random_state": 1},
        {"start": "zero"},
        {"hidden_layer_sizes": (12,)},
        {"teacher": fitted_teacher(hidden=(7,)), "hidden_layer_sizes": (16,)},
        {"class_weight": "balanced"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_phi_depends_on_makes_it_run_again(change, stages, tmp_path):
    X, y = digits()
    quick(fitted_teacher(), memory=str(tmp_path)).fit(X, y)
    stages.clear()
    student = quick(**{"teacher": fitted_teacher(), "memory": str(tmp_path), **change}).fit(X, y)
    assert stages == [PHI, TRAINING]
    alone = quick(**{"teacher": fitted_teacher(), **change}).fit(X, y)
    assert same_parameters(student, alone)


def test_other_old_rows_make_phi_run_again(stages, tmp_path):
    X, y = digits()
    rows = old_rows()
    student = quick(fitted_teacher(), memory=str(tmp_path))
    student.fit(X, y)
    for fit_params in ({"teacher_rows": rows & (np.arange(len(X)) % 2 == 0)}, {"sample_weight": 1 + rows}):
        stages.clear()
        student.fit(X, y, **fit_params)
        assert stages == [PHI, TRAINING]
    stages.clear()
    student.fit(X, y, teacher_rows=rows)  # the rows that it had found by itself
    assert stages == [TRAINING]


def test_a_search_over_training_parameters_pays_for_phi_once_a_fold(stages, tmp_path):
    X, y = digits()
    student = quick(fitted_teacher(), memory=str(tmp_path))
    grid = {"alpha": [0.0, 0.1], "max_iter": [1, 2], "regularize": ["phi", "fit"]}
    GridSearchCV(student, grid, cv=2, refit=False, error_score="raise").fit(X, y)
    assert stages.count(PHI) == 2
    assert stages.count(TRAINING) == 16


def test_phi_stops_once_its_loss_falls_no_more():
    X, y = digits()
    settings = {"phi_max_iter": 60, "lambda_noise": 0, "lambda_trace": 0, "n_iter_no_change": 2}
    stopped = quick(fitted_teacher(), tol=0.01, **settings).fit(X, y)
    whole = quick(fitted_teacher(), tol=0.0, **{**settings, "n_iter_no_change": np.inf}).fit(X, y)
    assert len(stopped.phi_history_) < 60 == len(whole.phi_history_)
    losses = [row["train_loss"] for row in stopped.phi_history_]
    assert min(losses[:-3]) - min(losses[-3:]) < 0.01
    assert losses == [row["train_loss"] for row in whole.phi_history_][: len(losses)]


def test_another_teacher_makes_phi_run_again_even_from_a_fresh_start(stages, tmp_path):
    X, y = digits()
    rows = old_rows()
    other = MLPClassifier((8,), max_iter=1000, random_state=1).fit(X[rows], y[rows])
    settings = {"start": "xavier", "lambda_teacher": 0.1, "memory": str(tmp_path)}
    first = quick(fitted_teacher(), **settings).fit(X, y)
    stages.clear()
    second = quick(other, **settings).fit(X, y)
    assert stages == [PHI, TRAINING]
    assert not same_parameters(first, second)
