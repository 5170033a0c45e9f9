"""An unfitted teacher is cloned and fitted on D1, whatever holds it: weights reach it, seeds are set."""

import re
import warnings

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array, csr_matrix
from scipy.special import softmax
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, ShuffleSplit, StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler
from sklearn.utils import check_random_state

from skantidistill._checks import is_fitted
from skantidistill.old_data import OldData, column_means, complete_columns, find_old_data, find_teacher
from skantidistill.teachers import read_teacher
from tests.problems import digits, named, quick

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def old_digits(integer=False):
    """Return the digits 1, 2 and 4, a part of them as D1's index, with unequal weights."""
    X, y = digits()
    weight = 1.0 + np.arange(len(y)) % 3 if integer else np.linspace(0.2, 5, len(y))
    return OldData(X * 16, y, weight, np.flatnonzero(np.isin(y, ["one", "two", "four"]))[::2], "teacher_data")


def linear():
    return LogisticRegression(C=0.01, max_iter=5000)


UNFITTED = {
    "pipeline": make_pipeline(StandardScaler(), linear()),
    "nested": Pipeline(
        [("a", make_pipeline(RobustScaler(), StandardScaler())), ("b", make_pipeline(None, linear()))]
    ),
    "search": GridSearchCV(linear(), {"C": [0.01]}, cv=2),
    "search of a pipeline": GridSearchCV(make_pipeline(StandardScaler(), linear()), {}, cv=2),
    "search in a pipeline": make_pipeline(StandardScaler(), "passthrough", GridSearchCV(linear(), {}, cv=2)),
}


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("name", sorted(UNFITTED))
def test_row_weights_reach_every_step_of_an_unfitted_teacher(name, routing):
    old, teacher = old_digits(integer=True), UNFITTED[name]
    with sklearn.config_context(enable_metadata_routing=routing):
        found, blueprint = find_teacher(teacher, None, old, check_random_state(0))
    assert is_fitted(found)
    assert not is_fitted(teacher)
    X, y = old.X[old.index], old.labels
    assert_allclose(softmax(blueprint.logits(X), axis=1), found.predict_proba(X), rtol=0, atol=1e-10)
    unweighted = clone(teacher).fit(X, y)
    assert np.abs(found.predict_proba(X) - unweighted.predict_proba(X)).max() > 0.01
    if name == "nested":
        return  # a RobustScaler takes no weights
    # A row of weight 3 is as good as three rows, in the scaler and in the classifier.
    counts = old.weight[old.index].astype(int)
    repeated = clone(teacher).fit(X.repeat(counts, axis=0), y.repeat(counts))
    # lbfgs stops at a gradient of 1e-4.
    assert_allclose(found.predict_proba(X), repeated.predict_proba(X), rtol=0, atol=1e-3)


def test_a_step_without_weights_gets_none():
    old = old_digits()
    pipeline = make_pipeline(MinMaxScaler(), RobustScaler(), linear())
    found, _ = find_teacher(pipeline, None, old, check_random_state(0))
    X = old.X[old.index]
    scaled = RobustScaler().fit_transform(MinMaxScaler().fit_transform(X))
    expected = linear().fit(scaled, old.labels, old.weight[old.index])
    assert_array_equal(found[-1].coef_, expected.coef_)


def seeds(teacher):
    """Return every seed in an estimator, at every level, and in its splitters."""
    params = teacher.get_params(deep=True)
    found = {name: value for name, value in params.items() if name.endswith("random_state")}
    return found | {
        name: value.random_state for name, value in params.items() if name.split("__")[-1] == "cv"
    }


def randomised():
    inner = make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss"))
    splits = StratifiedKFold(2, shuffle=True)
    grid = {"sgdclassifier__alpha": [1e-3, 1e-2, 0.1]}
    return make_pipeline(StandardScaler(), RandomizedSearchCV(inner, grid, n_iter=2, cv=splits))


def test_missing_seeds_are_set_at_every_level():
    teacher, old = randomised(), old_digits()
    state = np.random.get_state()[1].copy()
    first, blueprint = find_teacher(teacher, None, old, check_random_state(0))
    assert_array_equal(np.random.get_state()[1], state)
    again, same = find_teacher(teacher, None, old, check_random_state(0))
    _, other = find_teacher(teacher, None, old, check_random_state(1))
    assert_array_equal(blueprint.weights[0], same.weights[0])
    assert not np.array_equal(blueprint.weights[0], other.weights[0])
    assert seeds(first) == seeds(again)
    assert len(seeds(first)) == 3
    assert None not in seeds(first).values()
    assert set(seeds(teacher).values()) == {None}


def test_seeds_and_splitters_that_draw_nothing_are_left_as_they_are():
    search = GridSearchCV(MLPClassifier((2,), max_iter=2, random_state=7), {}, cv=StratifiedKFold(2))
    found, _ = find_teacher(search, None, old_digits(), check_random_state(0))
    assert seeds(found) == {"estimator__random_state": 7, "cv": None}
    search.set_params(cv=ShuffleSplit(2), estimator__random_state=None)
    found, _ = find_teacher(search, None, old_digits(), check_random_state(0))
    assert None not in seeds(found).values()
    assert len(seeds(found)) == 2


def new_rows(X):
    """Return rows of (X, y), of equal weight."""
    n = X.shape[0]
    return OldData(X, np.arange(n), np.ones(n), np.arange(n), "y")


@pytest.mark.parametrize("kind", [csr_matrix, csr_array])
@pytest.mark.parametrize("by_name", [False, True])
def test_missing_columns_of_sparse_old_data_are_0_and_the_others_go_where_they_belong(by_name, kind):
    X = np.random.default_rng(0).random((5, 3)) * [[1, 0, 1]] * (np.arange(5) > 1)[:, None]
    features = np.array([5, 0, 3])  # X's columns that the teacher was fitted on, in its order
    columns = np.array([3, 5, 0]) if by_name else None
    old = OldData(kind(X), np.arange(5), np.ones(5), np.arange(5), "teacher_data", None, columns)
    whole = complete_columns(old, features, new_rows(kind(np.ones((4, 7)))))
    expected = np.zeros((5, 7))
    expected[:, features if columns is None else columns] = X
    assert_array_equal(whole.X.toarray(), expected)
    assert_array_equal(whole.X[[4, 2]].toarray(), expected[[4, 2]])
    assert whole.columns is None


def test_completed_old_data_keeps_its_precision():
    old = OldData(np.ones((4, 2), np.float32), np.arange(4), np.ones(4), np.arange(4), "teacher_data")
    whole = complete_columns(old, np.array([2, 0]), new_rows(np.tile([5.0, 6.0, 7.0], (4, 1))))
    assert whole.X.dtype == np.float32
    assert_array_equal(whole.X, [[1, 6, 1]] * 4)


def test_column_means_are_those_of_the_rows_that_count():
    rng = np.random.default_rng(0)
    X, weight, index = rng.random((5000, 3)), rng.random(5000), np.arange(0, 5000, 2)
    means = column_means(X, weight, index)
    assert_allclose(means, np.average(X[index], axis=0, weights=weight[index]), rtol=1e-12)
    assert not np.allclose(means, np.average(X, axis=0, weights=weight), rtol=1e-4)


def test_old_data_in_the_columns_of_x_is_not_copied_to_be_completed():
    X, y = digits()
    student = quick()
    student.feature_names_in_, student.n_features_in_ = named(X).columns.to_numpy(dtype=object), 64
    for columns, expected in (
        (np.arange(64), None),
        (np.arange(64)[::-1], np.arange(64)[::-1]),
        ([3, 1], [3, 1]),
    ):
        data = named(X).iloc[:, columns], y
        old = find_old_data(student, X, y, np.ones(len(y)), np.arange(len(y)), data, None)
        if expected is None:
            assert old.columns is None
            assert complete_columns(old, np.arange(64), new_rows(X)) is old
        else:
            assert_array_equal(old.columns, expected)


def test_old_rows_of_weight_zero_only_are_refused():
    X, y = digits()
    rows = np.isin(y, ["one", "two", "four"])
    message = "teacher_rows has no row that counts: all have weight 0 or are set aside for validation."
    with pytest.raises(ValueError, match=re.escape(message)):
        quick(linear()).fit(X, y, np.where(rows, 0.0, 1.0), teacher_rows=rows)


@pytest.mark.parametrize("name", sorted(UNFITTED))
def test_a_student_fits_and_keeps_an_unfitted_pipeline_or_search(name):
    X, y = digits()
    teacher, rows = UNFITTED[name], np.isin(y, ["one", "two", "four"])
    student = quick(teacher)
    assert clone(student).teacher is not teacher
    prefix = {"search": "estimator__", "search of a pipeline": "estimator__logisticregression__"}
    if name in prefix:
        student.set_params(**{f"teacher__{prefix[name]}C": 0.5})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        student.fit(X, y, teacher_rows=rows)
    assert not is_fitted(teacher)
    assert student.teacher_.score(X[rows], y[rows]) > 0.9
    assert read_teacher(student.teacher_).classes.tolist() == ["four", "one", "two"]
    # A fitted one is kept by reference.
    kept = quick(student.teacher_)
    assert clone(kept).teacher is student.teacher_
    assert not any(parameter.startswith("teacher__") for parameter in kept.get_params())
