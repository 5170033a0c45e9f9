"""Stacked searches are scikit-learn's searches: the same results, by another engine."""

import gc
import logging
import signal
import threading
import time
import warnings
import weakref

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, RandomizedSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skantidistill import StackedGridSearchCV, StackedRandomizedSearchCV, make_robustness_scorer
from skantidistill.objective import Objective
from skantidistill.stacked_objective import StackedObjective
from skantidistill.stacks import train_stack
from tests.problems import digits, fitted_teacher, old_rows, quick, same_parameters

X, Y = digits()
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

GRID = {"delta": [0.01, 0.05], "learning_rate_init": [0.001, 0.01], "alpha": [1e-4, 1.0]}


def assert_same_results(search, expected):
    """Check that two searches have found the same, whatever time they took."""
    got, wanted = search.cv_results_, expected.cv_results_
    assert list(got) == list(wanted)
    for name, column in wanted.items():
        if "time" in name:
            assert (got[name] > 0).all() == (column > 0).all()
        elif name.startswith("param"):
            assert list(map(repr, got[name])) == list(map(repr, column))
        else:
            assert_allclose(got[name], column, rtol=1e-12, err_msg=name)
    for name in ("best_index_", "best_params_", "best_score_", "n_splits_", "multimetric_"):
        assert getattr(search, name, None) == getattr(expected, name, None)
    if hasattr(expected, "best_estimator_"):
        students = [
            getattr(s.best_estimator_, "steps", [(0, s.best_estimator_)])[-1][1] for s in (search, expected)
        ]
        assert same_parameters(*students)


@pytest.fixture
def stacks(monkeypatch):
    """Record the sizes of the stacks that are trained in this process."""
    sizes = []

    def counting(trainings):
        sizes.append(len(trainings))
        return train_stack(trainings)

    monkeypatch.setattr("skantidistill.stacks.train_stack", counting)
    monkeypatch.setattr("skantidistill.stacks.STEP_BYTES", 1e9)
    return sizes


def both(student, grid, *fit_args, kinds=(StackedGridSearchCV, GridSearchCV), fit=None, **params):
    """Return both searches, fitted."""
    stacked, plain = (kind(student, grid, **{"cv": 3, **params}) for kind in kinds)
    for search in (stacked, plain):
        search.fit(*(fit_args or (X, Y)), **(fit or {}))
    return stacked, plain


def test_the_results_are_scikit_learn_s_and_all_fits_are_one_stack(stacks):
    stacked, plain = both(quick(fitted_teacher()), GRID)
    assert_same_results(stacked, plain)
    assert stacks == [6, 24]  # phi depends on delta alone


def test_with_early_stopping_and_unequal_folds_too():
    grid = {"n_iter_no_change": [1, 3], "tol": [0.01, 0.1], "max_iter": [5, 25]}
    student = quick(fitted_teacher(), early_stopping=True)
    assert_same_results(*both(student, grid, cv=KFold(4)))


def test_several_scores_train_scores_and_a_chosen_refit():
    scoring = {
        "accuracy": "accuracy",
        "attacked": make_robustness_scorer("fgsm", 0.1),
        "loss": "neg_log_loss",
    }
    params = {"scoring": scoring, "refit": "attacked", "return_train_score": True}
    stacked, plain = (
        kind(quick(fitted_teacher()), GRID, cv=2, **params).fit(X, Y)
        for kind in (StackedGridSearchCV, GridSearchCV)
    )
    for name in ("mean_test_accuracy", "mean_test_attacked", "mean_train_accuracy", "rank_test_attacked"):
        assert_array_equal(stacked.cv_results_[name], plain.cv_results_[name])
    assert_allclose(stacked.cv_results_["mean_test_loss"], plain.cv_results_["mean_test_loss"], rtol=1e-9)
    assert stacked.best_params_ == plain.best_params_


def test_a_callable_refit_and_none():
    def worst(results):
        return int(np.argmin(results["mean_test_score"]))

    assert_same_results(*both(quick(fitted_teacher()), GRID, refit=worst))
    stacked, _ = both(quick(fitted_teacher()), {"alpha": [0.1]}, refit=False)
    assert not hasattr(stacked, "best_estimator_")


def test_a_randomized_search_draws_what_scikit_learn_s_draws():
    kinds = StackedRandomizedSearchCV, RandomizedSearchCV
    space = {"alpha": loguniform(1e-5, 1), "delta": [0.01, 0.03], "hidden_layer_sizes": [(16,), (20,)]}
    student = quick(fitted_teacher())
    assert_same_results(*both(student, space, kinds=kinds, n_iter=5, random_state=3))


def test_the_last_step_of_a_pipeline_is_searched_with_its_rows_marked():
    pipeline = make_pipeline(MinMaxScaler(), quick(fitted_teacher()))
    name = pipeline.steps[-1][0]
    grid = {f"{name}__delta": [0.01, 0.02], f"{name}__alpha": [0.1, 1.0], "minmaxscaler__clip": [True, False]}
    assert_same_results(*both(pipeline, grid, fit={f"{name}__teacher_rows": old_rows()}))


def test_weights_are_routed():
    weight = np.random.RandomState(0).rand(len(X)) + 0.1
    with sklearn.config_context(enable_metadata_routing=True):
        student = quick(fitted_teacher()).set_fit_request(sample_weight=True, teacher_rows=True)
        student.set_score_request(sample_weight=True)
        given = {"sample_weight": weight, "teacher_rows": old_rows()}
        stacked, plain = both(student, {"alpha": [0.1, 1.0]}, fit=given)
    assert_same_results(stacked, plain)
    unweighted, _ = both(quick(fitted_teacher()), {"alpha": [0.1, 1.0]})
    assert list(unweighted.cv_results_["mean_test_score"]) != list(stacked.cv_results_["mean_test_score"])


def test_frames_and_unfitted_teachers_are_searched_too():
    frame = pd.DataFrame(X, columns=[f"pixel {i}" for i in range(64)])
    teacher = clone(fitted_teacher()).set_params(max_iter=200)
    grid = {"teacher__alpha": [1e-4, 1.0], "alpha": [0.1, 1.0]}
    student = quick(teacher)
    assert_same_results(*both(student, grid, frame, Y, fit={"teacher_rows": old_rows()}))


# --- what fails ------------------------------------------------------------------------------------------


def test_candidates_that_fail_have_the_error_score_and_say_why():
    grid = {"alpha": [0.1, -1.0], "learning_rate_init": [0.01, 1e300]}
    student = quick(fitted_teacher(), ema_decay=0.0, max_iter=4)
    searches = []
    for kind in (StackedGridSearchCV, GridSearchCV):
        with warnings.catch_warnings(record=True) as told, np.errstate(all="ignore"):
            warnings.simplefilter("always")
            searches.append(kind(student, grid, cv=2, error_score=-1.0).fit(X, Y))
        (failed,) = [str(w.message) for w in told if issubclass(w.category, FitFailedWarning)]
        assert "6 fits failed out of a total of 8" in failed
        assert "diverged" in failed
        assert "alpha" in failed
    assert_same_results(*searches)
    assert list(searches[0].cv_results_["mean_test_score"]).count(-1.0) == 3


def test_an_error_that_is_to_be_raised_is_raised_and_no_thread_stays():
    search = StackedGridSearchCV(quick(fitted_teacher()), {"alpha": [0.1, -1.0]}, error_score="raise", cv=2)
    before = threading.active_count()
    with pytest.raises(ValueError, match="alpha"):
        search.fit(X, Y)
    assert threading.active_count() == before
    assert not hasattr(search, "cv_results_")
    search.set_params(param_grid={"alpha": [0.1]}).fit(X, Y)


@pytest.mark.parametrize("wrong", [0, -1.0, "much", None])
def test_a_wrong_memory_is_refused(wrong):
    with pytest.raises(ValueError, match="max_memory"):
        StackedGridSearchCV(quick(fitted_teacher()), GRID, max_memory=wrong).fit(X, Y)


# --- stacks, memory, workers -----------------------------------------------------------------------------


def test_architectures_have_stacks_of_their_own(stacks):
    grid = {"hidden_layer_sizes": [(16,), (20,)], "alpha": [0.1, 1.0]}
    stacked, plain = both(quick(fitted_teacher()), grid, refit=False)
    assert sorted(stacks) == [3, 3, 6, 6]  # phi does not depend on alpha
    assert_same_results(stacked, plain)


def test_with_little_memory_fits_come_one_after_the_other(stacks):
    _, plain = both(quick(fitted_teacher()), GRID, refit=False)
    assert max(stacks) == 24
    stacks.clear()
    little = StackedGridSearchCV(quick(fitted_teacher()), GRID, cv=3, refit=False, max_memory=1).fit(X, Y)
    assert set(stacks) == {1}
    assert_same_results(little, plain)
    stacks.clear()
    some = clone(little).set_params(max_memory=4_000_000).fit(X, Y)
    assert 1 < max(stacks) < 24
    assert_same_results(some, plain)


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_workers_of_joblib_have_shares(backend):
    with joblib.parallel_config(backend):
        assert_same_results(*both(quick(fitted_teacher()), GRID, n_jobs=2))


def test_workers_of_dask_have_shares():
    distributed = pytest.importorskip("distributed")
    from tests.dask_network import Network

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    plain = GridSearchCV(quick(fitted_teacher()), GRID, cv=3).fit(X, Y)
    search = clone(StackedGridSearchCV(quick(fitted_teacher()), GRID, cv=3, n_jobs=-1))
    with Network() as network:
        network.have(2)
        with distributed.Client(network.address), joblib.parallel_config("dask"):
            search.fit(X, Y)
    assert_same_results(search, plain)


def test_n_jobs_of_the_surroundings_counts():
    seen = []

    class Watching(joblib._parallel_backends.ThreadingBackend):
        def configure(self, n_jobs=1, **others):
            seen.append(n_jobs)
            return super().configure(n_jobs, **others)

    joblib.register_parallel_backend("watching", Watching)
    with joblib.parallel_config("watching", n_jobs=2):
        stacked, plain = both(quick(fitted_teacher()), {"alpha": [0.1, 1.0]})
    assert set(seen) == {2}
    assert_same_results(stacked, plain)


def test_a_search_in_a_cross_validation_is_as_scikit_learn_s():
    scores = [
        cross_val_score(kind(quick(fitted_teacher()), {"alpha": [0.1, 1.0]}, cv=2), X, Y, cv=2, n_jobs=2)
        for kind in (StackedGridSearchCV, GridSearchCV)
    ]
    assert_array_equal(*scores)


def test_the_refit_is_as_any_other_fit():
    """The engine is gone by then: what else uses joblib finds its own."""
    seen = []

    class Curious(MinMaxScaler):
        def fit(self, X, y=None):
            seen.append(type(joblib.parallel.get_active_backend()[0]).__name__)
            return super().fit(X, y)

    search = StackedGridSearchCV(make_pipeline(Curious(), quick(fitted_teacher())), {}, cv=2)
    before = type(joblib.parallel.get_active_backend()[0]).__name__
    search.fit(X, Y)
    assert seen == [before] * 3
    assert type(joblib.parallel.get_active_backend()[0]).__name__ == before


def test_all_fits_are_asked_for_before_any_is_run(stacks):
    StackedGridSearchCV(quick(fitted_teacher()), GRID, cv=2, pre_dispatch=2, refit=False).fit(X, Y)
    assert stacks == [4, 16]


def test_a_fitted_student_ends_with_its_fit():
    alive, most = weakref.WeakSet(), []

    def count(estimator, X, y):
        alive.add(estimator)
        most.append(len(alive))
        return 0.0

    for max_memory in (1, 2**30):
        search = StackedGridSearchCV(quick(fitted_teacher()), GRID, cv=2, scoring=count, refit=False)
        search.set_params(max_memory=max_memory).fit(X, Y)
        gc.collect()
    assert len(most) == 32
    assert max(most) <= 3


def test_times_are_those_of_a_share_of_the_stack():
    search = StackedGridSearchCV(quick(fitted_teacher(), max_iter=30), GRID, cv=3, refit=False)
    with joblib.parallel_config("sequential"):
        begun = time.perf_counter()
        search.fit(X, Y)
        wall = time.perf_counter() - begun
    fits = search.cv_results_["mean_fit_time"].sum() * 3
    assert 0.3 * wall < fits < 1.01 * wall
    assert (search.cv_results_["mean_fit_time"] > 0).all()


@pytest.mark.parametrize("trained", ["in a stack", "alone"])
def test_ctrl_c_ends_a_search_and_leaves_no_thread(trained, monkeypatch):
    def press(self, *args, **kwargs):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(StackedObjective if trained == "in a stack" else Objective, "gradient", press)
    student = quick(fitted_teacher(), freeze_iter=0 if trained == "in a stack" else 1)
    search = StackedGridSearchCV(student, GRID, cv=2)
    before, threads = dict(vars(search)), threading.active_count()
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            search.fit(X, Y)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, handler)
    assert threading.active_count() == threads
    assert not hasattr(search, "cv_results_")
    assert before.keys() <= vars(search).keys()
    monkeypatch.undo()
    assert hasattr(search.fit(X, Y), "best_estimator_")


# --- what is said, and other estimators ------------------------------------------------------------------


def test_what_was_trained_alone_is_said_if_it_is_to_be(capsys):
    student = quick(fitted_teacher(), freeze_iter=1)
    StackedGridSearchCV(student, {"alpha": [0.1, 1.0]}, cv=2).fit(X, Y)
    assert capsys.readouterr().out == ""
    StackedGridSearchCV(student, {"alpha": [0.1, 1.0]}, cv=2, verbose=1).fit(X, Y)
    assert capsys.readouterr().out == (
        "Fitting 2 folds for each of 2 candidates, totalling 4 fits\n"
        "[StackedGridSearchCV] 4 students trained alone, because of freeze_iter.\n"
    )
    StackedGridSearchCV(quick(fitted_teacher()), {"alpha": [0.1, 1.0]}, cv=2, verbose=1).fit(X, Y)
    assert capsys.readouterr().out == "Fitting 2 folds for each of 2 candidates, totalling 4 fits\n"


def test_another_estimator_is_searched_as_scikit_learn_does():
    X, y = load_iris(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    grid = {"logisticregression__C": [0.01, 0.1, 1.0]}
    stacked, plain = (kind(pipeline, grid).fit(X, y) for kind in (StackedGridSearchCV, GridSearchCV))
    for name in ("mean_test_score", "rank_test_score"):
        assert_array_equal(stacked.cv_results_[name], plain.cv_results_[name])
    assert_array_equal(stacked.predict_proba(X), plain.predict_proba(X))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of scikit-learn's own estimators
@parametrize_with_checks(
    [
        StackedGridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2, error_score="raise"),
        StackedRandomizedSearchCV(
            LogisticRegression(), {"C": [0.1, 1.0]}, n_iter=2, cv=2, random_state=0, error_score="raise"
        ),
    ]
)
def test_scikit_learn_check_passes(estimator, check):
    check(estimator)


def test_parameters_are_those_of_scikit_learn_and_the_memory():
    for stacked, plain in (
        (StackedGridSearchCV(quick(), {}), GridSearchCV(quick(), {})),
        (StackedRandomizedSearchCV(quick(), {}), RandomizedSearchCV(quick(), {})),
    ):
        names = plain.get_params(deep=False).keys()
        assert stacked.get_params(deep=False).keys() == names | {"max_memory"}
        defaults = {name: getattr(stacked, name) for name in names - {"estimator"}}
        assert repr(defaults) == repr({name: getattr(plain, name) for name in defaults})
