"""A fitted teacher inside scikit-learn's tools: cloning, searches, pipelines, other processes."""

import pickle
import re

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.ensemble import BaggingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import check_is_fitted

from skantidistill import AntiDistilledMLPClassifier
from tests.problems import digits, fitted_teacher, old_rows, quick

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def untouched(teacher):
    """Return a function that checks that no attribute of the teacher has changed."""
    before = pickle.dumps(teacher)
    return lambda: pickle.dumps(teacher) == before


def test_clone_shares_a_fitted_teacher_and_copies_the_rest():
    teacher = fitted_teacher()
    student = AntiDistilledMLPClassifier(teacher, delta=np.ones(64), lambda_noise=0.3)
    with config_context(enable_metadata_routing=True):
        student.set_fit_request(teacher_rows=True)
    cloned = clone(student)
    assert cloned.teacher is teacher
    assert cloned.delta is not student.delta
    assert cloned.lambda_noise == 0.3
    assert cloned.get_metadata_routing().fit.requests["teacher_rows"] is True
    assert not hasattr(clone(quick(teacher).fit(*digits())), "blueprint_")


def test_clone_copies_an_unfitted_teacher():
    teacher = MLPClassifier((4,))
    assert clone(AntiDistilledMLPClassifier(teacher)).teacher is not teacher


def test_parameters_of_a_fitted_teacher_are_not_listed_and_cannot_be_set():
    student = AntiDistilledMLPClassifier(fitted_teacher())
    assert not [name for name in student.get_params() if name.startswith("teacher__")]
    intact = untouched(student.teacher)
    with pytest.raises(ValueError, match="teacher__alpha can't be set: the teacher is fitted"):
        student.set_params(teacher__alpha=1.0)
    assert intact()
    unfitted = AntiDistilledMLPClassifier(MLPClassifier())
    assert unfitted.set_params(teacher__alpha=1.0).teacher.alpha == 1.0
    with pytest.raises(ValueError, match="teacher__alpha can't be set"):
        unfitted.set_params(teacher=fitted_teacher(), teacher__alpha=2.0)


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_grid_search_keeps_the_teacher(routing, n_jobs):
    X, y = digits()
    student = quick(fitted_teacher())
    intact = untouched(student.teacher)
    grid = {"lambda_noise": [0.0, 1.0], "start": ["zero", "uniform"], "hidden_layer_sizes": [(8,), (20,)]}
    with config_context(enable_metadata_routing=routing):
        search = GridSearchCV(student, grid, cv=2, n_jobs=n_jobs, error_score="raise").fit(X, y)
    assert intact()
    assert search.best_estimator_.teacher is student.teacher
    assert len(np.unique(search.cv_results_["mean_test_score"])) > 1


def test_delta_and_every_lambda_can_be_searched():
    X, y = digits()
    grid = [{name: [0.0, 0.5]} for name in ("delta", "lambda_ce", "lambda_teacher", "lambda_trace")]
    search = GridSearchCV(quick(fitted_teacher()), grid, cv=2, error_score="raise", scoring="neg_log_loss")
    scores = search.fit(X, y).cv_results_["mean_test_score"]
    assert len(np.unique(scores)) == 8  # every value of every parameter matters


def test_other_processes_compute_the_same_scores():
    X, y = digits()
    student = quick(fitted_teacher())
    here = cross_val_score(student, X, y, cv=3, error_score="raise")
    there = cross_val_score(student, X, y, cv=3, n_jobs=2, error_score="raise")
    np.testing.assert_array_equal(here, there)


def halve(X):
    """Undo a doubling."""
    return X / 2


def test_a_pipeline_transforms_teacher_rows_too():
    X, y = digits()
    halved = fitted_teacher()
    student = quick(halved)
    pipeline = make_pipeline(FunctionTransformer(halve), student)
    pipeline.fit(2 * X, y, **{"antidistilledmlpclassifier__teacher_rows": old_rows()})
    alone = quick(halved).fit(X, y, teacher_rows=old_rows())
    np.testing.assert_array_equal(pipeline.predict_proba(2 * X), alone.predict_proba(X))
    scores = cross_val_score(pipeline, 2 * X, y, cv=2, error_score="raise")
    np.testing.assert_array_equal(scores, cross_val_score(student, X, y, cv=2))


def test_bagging_does_not_change_the_teacher():
    X, y = digits("integers")
    teacher = fitted_teacher("integers")
    intact = untouched(teacher)
    codes = np.searchsorted(np.unique(y), teacher.classes_)
    bagging = BaggingClassifier(quick(teacher, teacher_classes=codes), n_estimators=2, random_state=0)
    bagging.fit(X, y)
    assert intact()
    assert bagging.score(X, y) > 0.5


def test_an_unfitted_teacher_is_fitted_on_the_old_rows_and_can_be_searched():
    X, y = digits()
    teacher = MLPClassifier((6,), max_iter=100)
    student = quick(teacher)
    search = GridSearchCV(student, {"teacher__alpha": [1e-4, 30.0]}, cv=2, error_score="raise")
    search.fit(X, y, teacher_rows=old_rows())
    assert not hasattr(teacher, "coefs_")
    fitted = search.best_estimator_.teacher_
    check_is_fitted(fitted)
    assert set(fitted.classes_) == {"one", "two", "four"}
    assert fitted.random_state is not None
    assert len(np.unique(search.cv_results_["mean_test_score"])) == 2


def test_a_teacher_in_a_grid_is_unfitted_and_the_error_names_the_remedy():
    X, y = digits()
    grid = {"teacher": [fitted_teacher()]}
    with pytest.raises(ValueError, match=re.escape("FrozenEstimator(teacher)")):
        GridSearchCV(quick(), grid, cv=2, error_score="raise").fit(X, y)
    GridSearchCV(quick(), grid, cv=2, error_score="raise").fit(X, y, teacher_rows=old_rows())
    frozen = {"teacher": [FrozenEstimator(fitted_teacher())]}
    search = GridSearchCV(quick(), frozen, cv=2, error_score="raise").fit(X, y)
    assert search.best_estimator_.teacher_.estimator is fitted_teacher()


def test_html_repr_shows_the_teacher_inside_the_student():
    html = quick(fitted_teacher())._repr_html_()
    assert "AntiDistilledMLPClassifier" in html
    assert "teacher: MLPClassifier" in html
    assert "MLPClassifier(" in repr(quick(fitted_teacher()))
