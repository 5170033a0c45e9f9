"""A fitted teacher inside scikit-learn's tools: cloning, searches, pipelines, other processes."""

import pickle
import re
from copy import deepcopy
from functools import partial

import numpy as np
import pytest
from joblib import parallel_config
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import BaggingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_val_score,
    cross_validate,
)
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import check_is_fitted

from skantidistill import AntiDistilledMLPClassifier
from tests.problems import digits, fitted_teacher, old_rows, quick, same_parameters
from tests.tool_problems import codes_of, problem, untouched

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


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


def test_clone_shares_a_student_that_is_a_teacher():
    X, y = digits()
    first = quick(fitted_teacher()).fit(X, y)
    student = quick(first)
    assert clone(clone(student)).teacher is first
    assert not [name for name in student.get_params() if name.startswith("teacher__")]
    assert clone(student).fit(X, y).growth_.teacher.hidden_layer_sizes == first.blueprint_.hidden_layer_sizes


def test_a_copy_and_a_pickle_of_an_unfitted_student_keep_a_fitted_teacher():
    X, y = digits()
    expected = quick(fitted_teacher()).fit(X, y)
    for student in [pickle.loads(pickle.dumps(quick(fitted_teacher()))), deepcopy(quick(fitted_teacher()))]:
        check_is_fitted(student.teacher)
        assert same_parameters(student.fit(X, y), expected)


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


SEARCHES = {
    "grid": GridSearchCV,
    "random": partial(RandomizedSearchCV, n_iter=4, random_state=0),
    "halving": partial(HalvingGridSearchCV, min_resources=240, random_state=0),
    "halving epochs": partial(HalvingGridSearchCV, resource="max_iter", max_resources=4, min_resources=2),
}
PROBABILITY_SCORES = ["neg_log_loss", "roc_auc_ovr"]


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("kind", ["strings", "integers"])
@pytest.mark.parametrize("name", sorted(SEARCHES))
def test_every_search_keeps_the_teacher_and_ranks_by_probabilities(name, kind, routing):
    X, y, teacher = problem(kind)
    intact = untouched(teacher)
    grid = {"start": ["zero", "uniform"], "hidden_layer_sizes": [(8,), (20,)]}
    scoring = PROBABILITY_SCORES[routing]
    with config_context(enable_metadata_routing=routing):
        search = SEARCHES[name](quick(teacher), grid, cv=2, scoring=scoring, error_score="raise").fit(X, y)
    assert intact()
    assert search.best_estimator_.teacher is teacher
    assert search.best_estimator_.teacher_ is teacher
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert len(np.unique(scores)) > 2


def test_delta_and_every_lambda_can_be_searched():
    X, y = digits()
    grid = [{name: [0.0, 0.2]} for name in ("delta", "lambda_ce", "lambda_teacher", "lambda_trace")]
    search = GridSearchCV(quick(fitted_teacher()), grid, cv=2, error_score="raise", scoring="neg_log_loss")
    scores = search.fit(X, y).cv_results_["mean_test_score"]
    assert len(np.unique(scores)) == 8  # every value of every parameter matters


@pytest.mark.parametrize("backend", ["loky", "threading"])
@pytest.mark.parametrize("teacher", ["fitted", "unfitted"])
def test_other_processes_and_threads_compute_the_same_scores(backend, teacher):
    X, y = digits()
    student = quick(fitted_teacher() if teacher == "fitted" else MLPClassifier((6,), max_iter=50))
    keywords = {"cv": 3, "params": {"teacher_rows": old_rows()}, "scoring": "neg_log_loss"}
    intact = untouched(student.teacher)
    here = cross_val_score(student, X, y, error_score="raise", **keywords)
    with parallel_config(backend, n_jobs=2):
        there = cross_val_score(student, X, y, error_score="raise", **keywords)
    np.testing.assert_array_equal(here, there)
    assert len(np.unique(here)) == 3
    assert intact()


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_a_search_with_two_workers_is_a_search_with_one(backend, routing):
    X, y, teacher = problem("integers")
    intact = untouched(teacher)
    old = y == teacher.classes_[1]
    grid = {"lambda_noise": [0.0, 1.0], "start": ["zero", "uniform"]}
    results = []
    with config_context(enable_metadata_routing=routing):
        student = quick(teacher)
        if routing:
            student.set_fit_request(teacher_data=True)
        for n_jobs in (1, 2):
            search = GridSearchCV(student, grid, cv=2, scoring="neg_log_loss", error_score="raise")
            with parallel_config(backend, n_jobs=n_jobs):
                search.fit(X, y, teacher_data=(X[old], y[old]))
            assert search.best_estimator_.teacher is teacher
            results.append(search.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(*results)
    assert len(np.unique(results[0])) == 4
    assert intact()


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


@pytest.mark.parametrize("kind", ["strings", "integers"])
def test_a_column_transformer_may_come_first(kind):
    X, y, teacher = problem(kind)
    wide = np.hstack([np.ones((len(X), 2)), 16 * X])
    scale = FunctionTransformer(lambda X: X / 16)
    columns = ColumnTransformer([("pixels", scale, slice(2, None))])
    pipeline = Pipeline([("prepare", Pipeline([("columns", columns)])), ("student", quick(teacher))])
    mask = np.isin(y, teacher.classes_[:2])
    pipeline.fit(wide, y, student__teacher_rows=mask)
    alone = quick(teacher).fit(X, y, teacher_rows=mask)
    np.testing.assert_array_equal(pipeline.predict_proba(wide), alone.predict_proba(X))
    assert not same_parameters(pipeline[-1], quick(teacher).fit(X, y))  # the mask matters


def test_a_pipeline_with_a_memory_gives_the_same(tmp_path):
    X, y = digits()
    teacher = fitted_teacher()
    intact = untouched(teacher)
    grid = {"student__lambda_noise": [0.0, 1.0]}
    scores = []
    for memory in (None, str(tmp_path)):
        steps = [("halve", FunctionTransformer(halve)), ("student", quick(teacher))]
        search = GridSearchCV(Pipeline(steps, memory=memory), grid, cv=2, error_score="raise").fit(2 * X, y)
        assert search.best_estimator_[-1].teacher is teacher
        scores.append(search.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(*scores)
    assert any(tmp_path.rglob("output.pkl"))
    assert intact()


@pytest.mark.parametrize("weight_of_five", [0.0, 1.0])
def test_sample_weight_is_routed_too(weight_of_five):
    X, y = digits()
    params = {"sample_weight": np.where(y == "five", weight_of_five, 1.0)}
    with config_context(enable_metadata_routing=True):
        student = quick(fitted_teacher(), max_iter=10, learning_rate_init=1e-2)
        student.set_fit_request(sample_weight=True).set_score_request(sample_weight=False)
        result = cross_validate(student, X, y, cv=2, params=params, return_estimator=True)
    for fitted in result["estimator"]:
        assert ("five" in fitted.predict(X)) == (weight_of_five > 0)


@pytest.mark.parametrize("wrap", [lambda teacher: teacher, FrozenEstimator], ids=["bare", "frozen"])
def test_bagging_does_not_change_the_teacher(wrap):
    X, y = digits("integers")
    teacher = wrap(fitted_teacher("integers"))
    intact = untouched(teacher)
    codes = np.searchsorted(np.unique(y), teacher.classes_)
    bagging = BaggingClassifier(quick(teacher, teacher_classes=codes), n_estimators=2, random_state=0)
    before = dict(vars(teacher))
    bagging.fit(X, y)
    assert intact()
    assert vars(teacher).keys() == before.keys()
    assert all(vars(teacher)[name] is value for name, value in before.items())
    assert all(student.teacher_ is teacher for student in bagging.estimators_)
    assert len({student.random_state for student in bagging.estimators_}) == 2  # it did set what is listed
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


def test_an_unfitted_teacher_can_be_searched_inside_a_pipeline():
    X, y = digits()
    student = quick(MLPClassifier((6,), max_iter=50))
    pipeline = Pipeline([("halve", FunctionTransformer(halve)), ("student", student)])
    grid = {"student__teacher__hidden_layer_sizes": [(4,), (7,)]}
    search = RandomizedSearchCV(pipeline, grid, n_iter=2, cv=2, error_score="raise")
    search.fit(2 * X, y, student__teacher_rows=old_rows())
    best = search.best_estimator_[-1]
    assert best.growth_.teacher.hidden_layer_sizes == best.teacher.hidden_layer_sizes
    assert len(np.unique(search.cv_results_["mean_test_score"])) == 2
    pipeline.fit(2 * X, y, student__teacher_rows=old_rows())
    # No value of the grid, no seed and no fit has reached the teacher that was given.
    assert vars(student.teacher) == vars(MLPClassifier((6,), max_iter=50))


def test_bagging_seeds_an_unfitted_teacher_with_no_harm():
    X, y = digits()
    codes = codes_of(y, y)
    teacher = MLPClassifier((6,), max_iter=50)
    with config_context(enable_metadata_routing=True):
        student = quick(teacher).set_fit_request(teacher_rows=True)
        bagging = BaggingClassifier(student, n_estimators=2, random_state=0)
        bagging.fit(X, codes, teacher_rows=old_rows())
    assert teacher.random_state is None
    assert all(set(student.teacher_.classes_) == set(codes[old_rows()]) for student in bagging.estimators_)


def test_a_teacher_in_a_grid_is_unfitted_and_the_error_names_the_remedy():
    X, y = digits()
    grid = {"teacher": [fitted_teacher()]}
    with pytest.raises(ValueError, match=re.escape("FrozenEstimator(teacher)")):
        GridSearchCV(quick(), grid, cv=2, error_score="raise").fit(X, y)
    search = GridSearchCV(quick(), grid, cv=2, error_score="raise").fit(X, y, teacher_rows=old_rows())
    assert search.best_estimator_.teacher_ is not fitted_teacher()  # but another, fitted on the old rows
    frozen = {"teacher": [FrozenEstimator(fitted_teacher())]}
    search = GridSearchCV(quick(), frozen, cv=2, error_score="raise").fit(X, y)
    assert search.best_estimator_.teacher_.estimator is fitted_teacher()


def test_html_repr_shows_the_teacher_inside_the_student():
    html = quick(fitted_teacher())._repr_html_()
    assert "AntiDistilledMLPClassifier" in html
    assert "teacher: MLPClassifier" in html
    assert "MLPClassifier(" in repr(quick(fitted_teacher()))
