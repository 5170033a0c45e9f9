"""A classifier that is handed on as scikit-learn's or as ONNX predicts what it did, without this package."""

import os
import pickle
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import MultinomialNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, StandardScaler
from sklearn.svm import SVC
from sklearn.utils.validation import check_is_fitted
from strategies import blueprints

from skantidistill import AntiDistilledMLPClassifier, to_sklearn
from skantidistill.teachers import read_teacher
from tests.problems import digits, fitted_teacher, named, named_teacher, quick
from tests.test_robustness import fit_logistic, fit_mlp, fit_student, make_rows

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

#: Rounding errors of sums of at most some hundred products of numbers around 1.
TOLERANCE = {np.dtype(np.float64): 1e-10, np.dtype(np.float32): 1e-5}


def student_of(blueprint):
    """Return a student that has a given network, and nothing else."""
    student = AntiDistilledMLPClassifier()
    student.blueprint_, student.classes_ = blueprint, blueprint.classes
    student.n_features_in_ = blueprint.layer_sizes[0]
    if blueprint.feature_names is not None:
        student.feature_names_in_ = blueprint.feature_names
    return student


def mlp_of(model):
    return model[-1] if isinstance(model, Pipeline) else model


def rows_for(blueprint, seed=0):
    X = np.random.default_rng(seed).normal(size=(12, blueprint.layer_sizes[0]))
    return X.astype(blueprint.dtype)


def assert_predicts_the_same(model, estimator, X, tolerance):
    assert_allclose(model.predict_proba(X), estimator.predict_proba(X), rtol=0, atol=tolerance)
    assert_array_equal(model.predict(X), estimator.predict(X))


# --- scikit-learn ---------------------------------------------------------------------------------------


@given(blueprints())
def test_scikit_learns_estimator_predicts_as_the_student(blueprint):
    student, X = student_of(blueprint), rows_for(blueprint)
    model = student.to_sklearn()
    assert type(model) is (MLPClassifier if blueprint.input_scale is None else Pipeline)
    if blueprint.feature_names is not None:
        pandas = pytest.importorskip("pandas")
        X = pandas.DataFrame(X, columns=blueprint.feature_names)
    assert_predicts_the_same(model, student, X, TOLERANCE[blueprint.dtype])
    assert model.predict_proba(X).dtype == blueprint.dtype


def test_the_comparison_sees_another_network():
    X = make_rows()[0]
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_predicts_the_same(fit_student().to_sklearn(), fit_mlp(), X, 1e-2)


@given(blueprints())
def test_sparse_rows_are_taken_as_the_student_takes_them(blueprint):
    student = student_of(replace(blueprint, feature_names=None))
    X = csr_matrix(rows_for(blueprint))
    shifted = blueprint.input_shift is not None and blueprint.input_shift.any()
    model = student.to_sklearn(fold=shifted)
    assert_predicts_the_same(model, student, X, TOLERANCE[blueprint.dtype])
    if shifted:  # scikit-learn's own rule
        with pytest.raises((ValueError, TypeError), match="sparse"):
            student.to_sklearn().predict(X)


@given(blueprints())
def test_folding_changes_the_form_and_not_the_predictions(blueprint):
    student, X = student_of(blueprint), rows_for(blueprint)
    model = to_sklearn(student, fold=True)
    assert type(model) is MLPClassifier
    if blueprint.feature_names is None:
        assert_predicts_the_same(model, student, X, TOLERANCE[blueprint.dtype])
    else:
        assert_array_equal(model.feature_names_in_, blueprint.feature_names)


@given(blueprints())
def test_reading_it_back_gives_the_network(blueprint):
    again = read_teacher(to_sklearn(student_of(blueprint)))
    assert (again.activation, again.layer_sizes) == (blueprint.activation, blueprint.layer_sizes)
    assert_array_equal(again.classes, blueprint.classes)
    assert_array_equal(again.feature_names, blueprint.feature_names)
    assert again.dtype == blueprint.dtype
    if blueprint.input_scale is None:
        assert again.input_scale is None
    else:  # 1 / (1 / s) may be the number beside s
        assert_allclose(again.input_scale, blueprint.input_scale, rtol=1e-15)
        assert_allclose(again.input_shift, blueprint.input_shift, rtol=1e-15)
    expected = list(blueprint.parameters)
    if len(blueprint.classes) == 2:  # one logistic output is read as (-z/2, +z/2)
        half_weight, half_bias = ((p[1] - p[0]) / 2 for p in expected[-2:])
        expected[-2:] = np.stack([-half_weight, half_weight]), np.stack([-half_bias, half_bias])
    for got, wanted in zip(again.parameters, expected, strict=True):
        assert_array_equal(got, wanted)


@pytest.mark.parametrize(
    "classifier",
    [
        LogisticRegression(),
        LogisticRegression(fit_intercept=False),
        SGDClassifier(loss="log_loss", random_state=0),
        LinearDiscriminantAnalysis(),
        MultinomialNB(),
        MLPClassifier((5,), activation="tanh", max_iter=300, random_state=0),
        make_pipeline(MinMaxScaler(), LogisticRegression()),
        make_pipeline(StandardScaler(), MaxAbsScaler(), MLPClassifier((9, 4), max_iter=500, random_state=0)),
    ],
    ids=lambda classifier: repr(classifier).split("(random")[0][:40],
)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_every_kind_that_can_be_read_can_be_handed_on(classifier, n_classes):
    X, y = make_rows(n_classes)
    X = np.abs(X)
    estimator = clone(classifier).fit(X, y)
    model = to_sklearn(estimator)
    assert_array_equal(model.predict(X), estimator.predict(X))
    if not (isinstance(estimator, SGDClassifier) and n_classes > 2):  # one-vs-rest: no softmax
        assert_allclose(model.predict_proba(X), estimator.predict_proba(X), rtol=0, atol=1e-10)
    assert len(np.unique(model.predict(X))) == n_classes


def test_the_outputs_of_a_module_are_put_into_the_order_of_their_labels():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)).double()
    X = make_rows()[0]
    names = np.array(["cow", "ant", "bee"])
    model = to_sklearn(module, classes=names)
    with torch.no_grad():
        logits = module(torch.from_numpy(X)).numpy()
    assert_array_equal(model.classes_, ["ant", "bee", "cow"])
    assert_array_equal(model.predict(X), names[logits.argmax(axis=1)])
    assert len(np.unique(model.predict(X))) > 1
    assert_allclose(model.predict_proba(X), torch.from_numpy(logits[:, [1, 2, 0]]).softmax(1), atol=1e-12)


def test_it_has_what_a_fitted_mlp_has():
    X, y = make_rows()
    fitted = MLPClassifier((8,), max_iter=3, random_state=0).fit(X, y)
    model = fit_student().to_sklearn()
    own = {
        "_optimizer",
        "_random_state",
        "_best_coefs",
        "_best_intercepts",
    }  # made anew by partial_fit and fit
    assert set(vars(fitted)) - own == set(vars(model))
    for name in set(vars(model)) - set(model.get_params()):
        assert isinstance(getattr(fitted, name), type(getattr(model, name))), name
    assert (model._no_improvement_count, model.t_) == (0, 0)  # partial_fit and Adam go on from them
    check_is_fitted(model)
    assert clone(model).get_params() == MLPClassifier((8,)).get_params()
    assert repr(model) == "MLPClassifier(hidden_layer_sizes=(8,))"
    assert "MLPClassifier" in model._repr_html_()


def test_what_the_student_tells_of_its_training_is_kept():
    X, y = digits()
    student = quick(fitted_teacher(), early_stopping=True).fit(X, y)
    model = student.to_sklearn()
    assert model.loss_curve_ == student.loss_curve_ is not model.loss_curve_
    assert (model.n_iter_, model.loss_, model.t_) == (3, student.loss_, 0)
    assert model.best_loss_ == min(student.loss_curve_)
    assert model.validation_scores_ == student.validation_scores_
    assert model.best_validation_score_ == max(student.validation_scores_)
    mlp = MLPClassifier((5,), max_iter=3, random_state=0)
    search = GridSearchCV(make_pipeline(StandardScaler(), FrozenEstimator(mlp.fit(X, y))), {}).fit(X, y)
    model = to_sklearn(search)
    assert (model[-1].n_iter_, model[-1].loss_curve_) == (3, mlp.loss_curve_)
    untold = to_sklearn(fit_logistic(3))
    assert (untold.n_iter_, untold.loss_curve_, untold.best_loss_) == (0, [], np.inf)
    assert np.isnan(untold.loss_)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_scikit_learn_trains_it_on(n_classes):
    X, y = make_rows(n_classes)
    teacher = make_pipeline(StandardScaler(), MLPClassifier((4,), max_iter=300, random_state=0)).fit(X, y)
    for estimator in (fit_student(n_classes), fit_logistic(n_classes), quick(teacher).fit(X, y)):
        model = to_sklearn(estimator)
        mlp, rows = mlp_of(model), X if model is mlp_of(model) else model[0].transform(X)
        before, told = mlp.predict_proba(rows), len(mlp.loss_curve_)
        kept = [p.copy() for p in read_teacher(estimator).parameters]
        for _ in range(20):
            mlp.partial_fit(rows, y)
        assert mlp.loss_curve_[-1] < mlp.loss_curve_[told]
        assert len(mlp.loss_curve_) == told + 20
        assert np.abs(mlp.predict_proba(rows) - before).max() > 1e-4
        for now, then in zip(read_teacher(estimator).parameters, kept, strict=True):
            assert_array_equal(now, then)  # it has copies
        mlp.set_params(warm_start=True, max_iter=1).fit(rows, y)
        assert len(mlp.loss_curve_) == told + 21


def test_names_are_asked_for_where_the_student_asks_for_them():
    X, y = digits()
    student = quick(named_teacher()).fit(named(X), y)
    model = student.to_sklearn()
    assert_predicts_the_same(model, student, named(X), 1e-10)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(named(X).iloc[:, ::-1])


def test_a_scaler_that_is_handed_on_works_in_scikit_learns_ways():
    X, y = make_rows()
    model = to_sklearn(make_pipeline(MinMaxScaler(), LogisticRegression()).fit(X, y))
    expected = MinMaxScaler().fit(X).transform(X)
    assert_allclose(model[0].transform(X), expected, rtol=0, atol=1e-12)
    assert_allclose(model[0].inverse_transform(expected), X, rtol=0, atol=1e-12)
    assert "StandardScaler" in model._repr_html_()
    before = model.predict_proba(X)
    model[0].partial_fit(X)
    assert_allclose(model[0].mean_, X.mean(axis=0))  # it had seen no rows
    assert np.abs(model.predict_proba(X) - before).max() > 0.01


#: Imports of torch, skorch or this package fail; a pickle of predictions' inputs is read and answered.
ELSEWHERE = """
import pickle, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "skorch", "skantidistill"):
            raise ImportError(name + " is not here")

sys.meta_path.insert(0, Refuse())
for name in ("torch", "skorch", "skantidistill"):
    try:
        __import__(name)
    except ImportError:
        continue
    raise SystemExit(name + " can be imported")
models, X = pickle.load(sys.stdin.buffer)
answers = [(model.predict_proba(X), model.predict(X)) for model in models]
models[0].partial_fit(X, answers[0][1])
pickle.dump(answers, sys.stdout.buffer)
"""


def test_a_pickle_of_it_needs_neither_torch_nor_this_package():
    X, y = make_rows()
    scaled = make_pipeline(MinMaxScaler(), LogisticRegression()).fit(X, y)
    estimators = [fit_student(), fit_mlp(), quick(scaled, delta=0.1).fit(X, y)]
    content = pickle.dumps(([to_sklearn(estimator) for estimator in estimators], X))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], input=content, capture_output=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    for (probabilities, labels), estimator in zip(pickle.loads(done.stdout), estimators, strict=True):
        assert_allclose(probabilities, estimator.predict_proba(X), rtol=0, atol=1e-10)
        assert_array_equal(labels, estimator.predict(X))


def test_skops_takes_it_without_a_type_that_has_to_be_trusted():
    skops = pytest.importorskip("skops.io")
    X, y = make_rows()
    scaled = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    for estimator in (fit_student(2), fit_mlp(), scaled):
        model = to_sklearn(estimator)
        content = skops.dumps(model)
        assert skops.get_untrusted_types(data=content) == []
        assert_array_equal(skops.loads(content).predict_proba(X), model.predict_proba(X))


def test_what_cannot_be_read_or_is_not_fitted_cannot_be_handed_on():
    with pytest.raises(TypeError, match=re.escape("SVC can't be read as a network")):
        to_sklearn(SVC().fit(*make_rows()))
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        AntiDistilledMLPClassifier().to_sklearn()
