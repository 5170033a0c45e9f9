"""Every readable estimator gives a network that predicts as the estimator itself does."""

import inspect
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from skantidistill import AntiDistilledMLPClassifier
from skantidistill.blueprint import Blueprint
from skantidistill.teachers import check_readable, read_teacher

# The acceptance of the reader; float64 probabilities agree far better.
SAME_PROBABILITIES = {"rtol": 0, "atol": 1e-10}
READABLE = "AntiDistilledMLPClassifier, FrozenEstimator, LogisticRegression, MLPClassifier"
LABELS = {2: np.array([False, True]), 3: np.array(["ant", "bee", "cat"])}


def make_rows(n_classes, seed=0):
    """Three overlapping clouds of points, so that probabilities are far from 0 and 1."""
    rng = np.random.default_rng(seed)
    codes = np.arange(60) % n_classes
    return rng.normal(size=(60, 4)) + codes[:, None] * [1.0, -0.5, 0.3, 0.0], LABELS[n_classes][codes]


def fit_mlp(n_classes, activation="relu", hidden=(5, 4)):
    """Train some epochs; ``partial_fit`` warns of no unfinished convergence."""
    X, y = make_rows(n_classes)
    mlp = MLPClassifier(hidden, activation=activation, learning_rate_init=0.05, random_state=0)
    for _ in range(30):
        mlp.partial_fit(X, y, classes=LABELS[n_classes])
    return mlp


def fit_student(n_classes, activation="relu"):
    X, y = make_rows(n_classes)
    student = AntiDistilledMLPClassifier(
        hidden_layer_sizes=(5,), activation=activation, learning_rate_init=0.05, random_state=0
    )
    for _ in range(30):
        student.partial_fit(X, y, classes=LABELS[n_classes])
    return student


def assert_predicts_like(blueprint, estimator, n_classes):
    X, _ = make_rows(n_classes, seed=1)
    expected = estimator.predict_proba(X)
    assert_allclose(softmax(blueprint.logits(X), axis=1), expected, **SAME_PROBABILITIES)
    assert_array_equal(blueprint.classes[blueprint.logits(X).argmax(axis=1)], estimator.predict(X))
    assert_array_equal(blueprint.classes, LABELS[n_classes])
    assert len(np.unique(estimator.predict(X))) > 1
    assert np.ptp(expected, axis=0).min() > 0.05  # probabilities depend on the row


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_an_mlp_is_read_as_the_network_that_predicts_its_probabilities(n_classes, activation):
    mlp = fit_mlp(n_classes, activation)
    blueprint = read_teacher(mlp)
    assert_predicts_like(blueprint, mlp, n_classes)
    assert blueprint.activation == activation
    assert blueprint.layer_sizes == (4, 5, 4, n_classes)


def test_the_wrong_activation_would_predict_other_probabilities():
    mlp = fit_mlp(3, "tanh")
    blueprint = read_teacher(mlp)
    relu = Blueprint(blueprint.weights, blueprint.biases, "relu", blueprint.classes)
    X, _ = make_rows(3)
    assert np.abs(softmax(relu.logits(X), axis=1) - mlp.predict_proba(X)).max() > 1e-3


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_logistic_regression_is_a_network_without_hidden_layers(n_classes):
    model = LogisticRegression(max_iter=1000).fit(*make_rows(n_classes))
    blueprint = read_teacher(model)
    assert_predicts_like(blueprint, model, n_classes)
    assert blueprint.hidden_layer_sizes == ()


def test_a_logistic_regression_without_intercept_has_zero_biases():
    model = LogisticRegression(fit_intercept=False, max_iter=1000).fit(*make_rows(3))
    blueprint = read_teacher(model)
    assert_predicts_like(blueprint, model, 3)
    assert_array_equal(blueprint.biases[0], np.zeros(3))


def test_a_cross_validated_logistic_regression_is_read_like_a_plain_one():
    model = LogisticRegressionCV(Cs=[0.1], cv=2, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of defaults that change between its releases
        model.fit(*make_rows(3))
    assert_predicts_like(read_teacher(model), model, 3)


def test_a_binary_liblinear_regression_is_readable():
    model = LogisticRegression(solver="liblinear").fit(*make_rows(2))
    assert_predicts_like(read_teacher(model), model, 2)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_our_own_student_is_read_by_its_blueprint(n_classes):
    student = fit_student(n_classes)
    assert read_teacher(student) is student.blueprint_
    assert_predicts_like(read_teacher(student), student, n_classes)


@pytest.mark.parametrize("fit", [fit_mlp, fit_student])
def test_a_frozen_estimator_is_read_through(fit):
    estimator = fit(3)
    direct, frozen = read_teacher(estimator), read_teacher(FrozenEstimator(estimator))
    for got, expected in zip(frozen.parameters, direct.parameters, strict=True):
        assert_array_equal(got, expected)
    assert_array_equal(frozen.classes, direct.classes)


@pytest.mark.parametrize("fit", [fit_mlp, fit_student])
def test_a_binary_teacher_has_two_opposite_logits_or_two_of_its_own(fit):
    logits = read_teacher(fit(2)).logits(make_rows(2)[0])
    assert logits.shape == (60, 2)
    # sklearn's single logistic output z becomes (-z/2, +z/2); our students train two free logits.
    assert np.allclose(logits[:, 0], -logits[:, 1]) == (fit is fit_mlp)


def test_feature_names_are_read_with_the_network():
    X, y = make_rows(3)
    frame = pd.DataFrame(X, columns=["age", "width", "depth", "mass"])
    model = LogisticRegression(max_iter=1000).fit(frame, y)
    assert read_teacher(model).feature_names.tolist() == ["age", "width", "depth", "mass"]
    assert read_teacher(LogisticRegression(max_iter=1000).fit(X, y)).feature_names is None


def test_reading_leaves_the_estimator_as_it_was():
    mlp = fit_mlp(2)
    before = [p.copy() for p in (*mlp.coefs_, *mlp.intercepts_)]
    read_teacher(mlp, classes=["no", "yes"])
    for now, then in zip((*mlp.coefs_, *mlp.intercepts_), before, strict=True):
        assert_array_equal(now, then)
    assert_array_equal(mlp.classes_, [False, True])


def test_teacher_classes_rename_the_outputs_in_their_order():
    mlp = fit_mlp(3)
    renamed = read_teacher(mlp, classes=["gnu", "eel", "fox"])
    X, _ = make_rows(3)
    assert renamed.classes.tolist() == ["gnu", "eel", "fox"]
    assert_array_equal(renamed.logits(X), read_teacher(mlp).logits(X))


@pytest.mark.parametrize("classes", [["gnu", "eel"], ["gnu", "eel", "gnu"], [["gnu", "eel", "fox"]], "gnu"])
def test_teacher_classes_that_do_not_name_every_output_once_are_refused(classes):
    message = (
        f"teacher_classes={classes!r} does not name the teacher's 3 outputs; give one distinct label for "
        "each, in the order of its outputs."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        read_teacher(fit_mlp(3), classes=classes)


@pytest.mark.parametrize("estimator", [SVC(), DecisionTreeClassifier(), object(), None])
def test_a_kind_that_cannot_be_read_is_refused_with_the_list_of_those_that_can(estimator):
    message = (
        f"{type(estimator).__name__} can't be read as a network; an estimator of one of these kinds can: "
        f"{READABLE}."
    )
    with pytest.raises(TypeError, match=re.escape(message)):
        read_teacher(estimator)
    with pytest.raises(TypeError, match=re.escape(message)):
        check_readable(estimator)


def test_a_class_in_place_of_an_estimator_is_told_apart():
    with pytest.raises(TypeError, match=r"The class MLPClassifier can't be read .* Give an instance of it\."):
        read_teacher(MLPClassifier)


def test_a_frozen_estimator_of_another_kind_is_refused():
    model = DecisionTreeClassifier().fit(*make_rows(3))
    with pytest.raises(TypeError, match=re.escape("DecisionTreeClassifier can't be read as a network")):
        read_teacher(FrozenEstimator(model))


@pytest.mark.parametrize(
    "estimator", [MLPClassifier(), LogisticRegression(), AntiDistilledMLPClassifier()], ids=repr
)
def test_an_unfitted_estimator_is_readable_in_kind_but_not_yet(estimator):
    check_readable(estimator)
    with pytest.raises(NotFittedError, match=type(estimator).__name__):
        read_teacher(estimator)


def test_a_multilabel_mlp_is_refused():
    X, _ = make_rows(2)
    targets = (X[:, :3] > 0).astype(int)
    mlp = MLPClassifier((4,), random_state=0).partial_fit(X, targets, classes=[0, 1, 2])
    message = (
        "teacher is a multilabel MLPClassifier with 3 outputs; only teachers that give every row one label "
        "can grow."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        read_teacher(mlp)


@pytest.mark.parametrize(("name", "value"), [("solver", "liblinear"), ("multi_class", "ovr")])
def test_a_one_versus_rest_logistic_regression_is_refused(name, value):
    model = LogisticRegression(max_iter=1000).fit(*make_rows(3))
    setattr(model, name, value)  # which releases of scikit-learn allow such a fit differs
    message = (
        "teacher is a one-vs-rest LogisticRegression, whose probabilities are not the softmax of its "
        "decision function; fit it with a multinomial solver such as 'lbfgs'."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        read_teacher(model)


@pytest.mark.skipif(
    "multi_class" not in inspect.signature(LogisticRegression).parameters,
    reason="this scikit-learn has no multinomial fit of two classes",
)
def test_a_binary_multinomial_logistic_regression_has_twice_the_logit():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # multi_class is deprecated
        model = LogisticRegression(multi_class="multinomial", max_iter=1000).fit(*make_rows(2))
    assert_predicts_like(read_teacher(model), model, 2)
