"""Every readable estimator gives a network that predicts as the estimator itself does."""

import inspect
import re
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import (
    LogisticRegression,
    LogisticRegressionCV,
    PassiveAggressiveClassifier,
    Perceptron,
    RidgeClassifier,
    RidgeClassifierCV,
    SGDClassifier,
)
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, RandomizedSearchCV
from sklearn.naive_bayes import MultinomialNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from skantidistill import AntiDistilledMLPClassifier, robustness_score
from skantidistill.blueprint import Blueprint
from skantidistill.teachers import check_readable, read_teacher, scalers

# The acceptance of the reader; float64 probabilities agree far better.
SAME_PROBABILITIES = {"rtol": 0, "atol": 1e-10}
READABLE = (
    "AntiDistilledMLPClassifier, FrozenEstimator, GridSearchCV, LinearDiscriminantAnalysis, "
    "LogisticRegression, MLPClassifier, MultinomialNB, NeuralNetBinaryClassifier, NeuralNetClassifier, "
    "Pipeline, RandomizedSearchCV, SGDClassifier, Sequential"
)
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


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_cross_validated_logistic_regression_is_read_like_a_plain_one(n_classes):
    model = LogisticRegressionCV(Cs=[0.1], cv=2, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of defaults that change between its releases
        model.fit(*make_rows(n_classes))
    assert_predicts_like(read_teacher(model), model, n_classes)


@pytest.mark.parametrize("solver", ["svd", "lsqr", "eigen"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_linear_discriminant_analysis_is_read_whatever_its_solver(n_classes, solver):
    model = LinearDiscriminantAnalysis(solver).fit(*make_rows(n_classes))
    assert_predicts_like(read_teacher(model), model, n_classes)


@pytest.mark.parametrize("fit_prior", [True, False])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_multinomial_naive_bayes_is_linear_in_its_counts(n_classes, fit_prior):
    X, y = make_rows(n_classes)
    model = MultinomialNB(fit_prior=fit_prior).fit(np.exp(X), y, np.linspace(0.1, 3, len(y)))
    X, _ = make_rows(n_classes, seed=1)
    blueprint, counts = read_teacher(model), np.exp(X)
    expected = model.predict_proba(counts)
    assert_allclose(softmax(blueprint.logits(counts), axis=1), expected, **SAME_PROBABILITIES)
    assert_array_equal(blueprint.classes, LABELS[n_classes])
    assert blueprint.layer_sizes == (4, n_classes)
    assert np.ptp(expected, axis=0).min() > 0.05


def fit_sgd(n_classes, **params):
    model = SGDClassifier(**{"loss": "log_loss", "alpha": 0.1, "random_state": 0, **params})
    return model.fit(*make_rows(n_classes))


@pytest.mark.parametrize("sparse", [False, True])
def test_a_binary_sgd_classifier_of_the_log_loss_is_read_like_a_logistic_regression(sparse):
    model = fit_sgd(2)
    if sparse:
        model.sparsify()
    assert_predicts_like(read_teacher(model), model, 2)


def test_a_one_versus_rest_sgd_classifier_keeps_its_decisions_though_not_its_probabilities():
    model, (X, _) = fit_sgd(3), make_rows(3, seed=1)
    blueprint = read_teacher(model)
    # The same product of matrices; the sum may run in another order.
    assert_allclose(blueprint.logits(X), model.decision_function(X), rtol=1e-12, atol=1e-12)
    assert_array_equal(blueprint.classes[blueprint.logits(X).argmax(axis=1)], model.predict(X))
    assert len(np.unique(model.predict(X))) == 3
    assert np.abs(softmax(blueprint.logits(X), axis=1) - model.predict_proba(X)).max() > 0.01


@pytest.mark.parametrize("loss", ["hinge", "modified_huber", "perceptron"])
def test_an_sgd_classifier_of_another_loss_is_refused(loss):
    message = (
        f"teacher is an SGDClassifier with loss={loss!r}, which has no probabilities that are a softmax or "
        "logistic function of its decision function; fit it with loss='log_loss'."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        read_teacher(fit_sgd(3, loss=loss))
    with pytest.raises(ValueError, match=re.escape(message)):
        check_readable(make_pipeline(StandardScaler(), SGDClassifier(loss)))


def test_classifiers_without_fitting_probabilities_are_refused_with_the_reason():
    reason = (
        "It has no probabilities that are a softmax or logistic function of its decision function; fit a "
        "LogisticRegression or SGDClassifier(loss='log_loss')."
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PassiveAggressiveClassifier is deprecated
        passive = PassiveAggressiveClassifier().fit(*make_rows(3))
    others = [LinearSVC(), RidgeClassifier(), RidgeClassifierCV(), Perceptron()]
    for model in [passive, *others, *(model.fit(*make_rows(3)) for model in map(clone, others))]:
        with pytest.raises(TypeError, match=re.escape(reason)) as caught:
            read_teacher(model)
        assert str(caught.value).startswith(f"{type(model).__name__} can't be read as a network")


def test_a_calibrated_classifier_is_refused_with_the_classifier_inside_it():
    calibrated = CalibratedClassifierCV(LogisticRegression(), cv=2)
    remedy = "Its probabilities are recalibrated; give the classifier inside it, its "
    with pytest.raises(TypeError, match=re.escape(f"{remedy}estimator.")):
        check_readable(calibrated)
    calibrated.fit(*make_rows(3))
    with pytest.raises(TypeError, match=re.escape(f"{remedy}calibrated_classifiers_[0].estimator.")):
        read_teacher(calibrated)
    inside = calibrated.calibrated_classifiers_[0].estimator
    assert_predicts_like(read_teacher(inside), inside, 3)


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


# --- pipelines -------------------------------------------------------------------------------------

WINE = load_wine(return_X_y=True)
CANCER = load_breast_cancer(return_X_y=True)
STEPS = [
    StandardScaler(),
    StandardScaler(with_mean=False),
    MinMaxScaler((-1, 2)),
    MaxAbsScaler(),
    RobustScaler(unit_variance=True),
    make_pipeline(RobustScaler(with_centering=False), "passthrough", MinMaxScaler()),
    "passthrough",
    None,
]


@settings(max_examples=30)
@given(
    st.lists(st.sampled_from(STEPS), min_size=0, max_size=4),
    st.sampled_from(["logistic", "lda", "mlp", "nested", "search", "frozen"]),
    st.sampled_from([WINE, CANCER]),
)
def test_a_pipeline_of_scalers_is_read_as_the_network_that_takes_raw_inputs(steps, last, data):
    X, y = data[0][::3], data[1][::3]
    logistic = LogisticRegression(C=10, max_iter=10_000)
    classifier = {
        "logistic": logistic,
        "lda": LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1),
        "mlp": MLPClassifier((3,), solver="lbfgs", max_iter=20, random_state=0),
        "nested": make_pipeline(StandardScaler(), logistic),
        "search": GridSearchCV(make_pipeline(RobustScaler(), logistic), {}, cv=2),
        "frozen": FrozenEstimator(make_pipeline(StandardScaler(), logistic)),
    }[last]
    pipeline = make_pipeline(StandardScaler(), *map(clone_step, steps), classifier)
    if last == "frozen":
        classifier.estimator.fit(pipeline[:-1].fit_transform(X, y), y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # an unfinished fit is read as well
        pipeline.fit(X, y)
    blueprint, X_test = read_teacher(pipeline), data[0]
    expected = pipeline.predict_proba(X_test)
    # Scaling in one step in place of several rounds differently, by some 1e-13 of logits up to 1e2.
    assert_allclose(softmax(blueprint.logits(X_test), axis=1), expected, rtol=0, atol=1e-10)
    assert np.ptp(expected, axis=0).min() > 0.05
    bare = replace(blueprint, input_scale=None, input_shift=None)
    assert np.abs(softmax(bare.logits(X_test), axis=1) - expected).max() > 0.05


def clone_step(step):
    return clone(step) if hasattr(step, "fit") else step


def test_a_pipeline_without_scalers_has_no_input_scaling():
    X, y = make_rows(3)
    pipeline = Pipeline([("nothing", "passthrough"), ("model", LogisticRegression())]).fit(X, y)
    blueprint = read_teacher(pipeline)
    assert blueprint.input_scale is None
    assert_predicts_like(blueprint, pipeline, 3)


@pytest.mark.parametrize("output", ["default", "pandas"])
@pytest.mark.parametrize("first", [StandardScaler(), "passthrough"], ids=repr)
def test_the_names_of_a_pipelines_columns_are_those_of_its_raw_inputs(first, output):
    X, y = make_rows(3)
    names = ["age", "width", "depth", "mass"]
    pipeline = make_pipeline(first, MinMaxScaler(), LogisticRegression())
    pipeline.set_output(transform=output)
    assert read_teacher(pipeline.fit(pd.DataFrame(X, columns=names), y)).feature_names.tolist() == names
    # Scalers that put out frames make up names for an array's columns; those are not the inputs'.
    assert read_teacher(pipeline.fit(X, y)).feature_names is None


def test_the_scalers_of_a_pipeline_are_listed_in_their_order_out_of_every_nesting():
    inner = make_pipeline(MaxAbsScaler(), "passthrough", LogisticRegression(max_iter=500))
    search = GridSearchCV(make_pipeline(FrozenEstimator(MinMaxScaler().fit(WINE[0])), inner), {}, cv=2)
    pipeline = FrozenEstimator(make_pipeline(None, make_pipeline(StandardScaler()), search).fit(*WINE))
    found = scalers(pipeline)
    assert [type(scaler) for scaler in found] == [StandardScaler, MinMaxScaler, MaxAbsScaler]
    assert found[0] is pipeline.estimator.steps[1][1].steps[0][1]
    assert all(hasattr(scaler, "n_features_in_") for scaler in found)
    assert scalers(fit_mlp(3)) == []


@pytest.mark.parametrize("before", [PCA(2), make_pipeline(StandardScaler(), PCA(2))], ids=repr)
def test_a_pipeline_whose_step_is_not_affine_is_refused_before_and_after_it_is_fitted(before):
    pipeline = Pipeline([("before", before), ("last", LogisticRegression())])
    step = "before" if isinstance(before, PCA) else "before__pca"
    message = (
        f"The step {step!r} is a PCA, which can't be read as a scaler; a transformer of one of these kinds "
        "can: FrozenEstimator, MaxAbsScaler, MinMaxScaler, Pipeline, RobustScaler, StandardScaler. Give the "
        "pipeline's last step as teacher, and X as its other steps transform it."
    )
    with pytest.raises(TypeError, match=re.escape(message)):
        check_readable(pipeline)
    with pytest.raises(TypeError, match=re.escape(message)):
        read_teacher(pipeline.fit(*make_rows(3)))


@pytest.mark.parametrize(
    "estimator",
    [
        make_pipeline(StandardScaler(), SVC()),
        make_pipeline(StandardScaler(), make_pipeline(MinMaxScaler(), SVC())),
        GridSearchCV(SVC(), {}),
        GridSearchCV(make_pipeline(StandardScaler(), SVC()), {}),
        Pipeline([("scale", StandardScaler()), ("svc", FrozenEstimator(SVC()))]),
    ],
    ids=repr,
)
def test_what_cannot_be_read_is_refused_within_unfitted_estimators_too(estimator):
    with pytest.raises(TypeError, match=re.escape("SVC can't be read as a network")):
        check_readable(estimator)


@pytest.mark.parametrize("last", ["passthrough", StandardScaler()], ids=repr)
def test_a_pipeline_without_a_classifier_is_refused(last):
    with pytest.raises(TypeError, match=f"{type(last).__name__} can't be read as a network"):
        read_teacher(make_pipeline(StandardScaler(), last))


def test_a_scaler_that_is_not_fitted_is_named():
    pipeline = Pipeline([("scale", StandardScaler()), ("model", fit_mlp(3))])
    with pytest.raises(NotFittedError, match="StandardScaler"):
        read_teacher(pipeline)


# --- searches --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [GridSearchCV, RandomizedSearchCV, HalvingGridSearchCV])
def test_a_search_is_read_by_its_best_estimator(kind):
    keywords = {"n_iter": 2} if kind is RandomizedSearchCV else {}
    search = kind(LogisticRegression(max_iter=1000), {"C": [0.1, 1.0]}, cv=2, **keywords)
    check_readable(search)
    with pytest.raises(NotFittedError, match=kind.__name__):
        read_teacher(search)
    search.fit(*make_rows(3))
    assert_predicts_like(read_teacher(search), search, 3)
    assert_array_equal(read_teacher(search).weights[0], search.best_estimator_.coef_)


def test_a_search_without_refit_is_refused():
    message = (
        "teacher is a GridSearchCV with refit=False, which keeps no fitted estimator; set refit=True, or "
        "give clone(search.estimator).set_params(**search.best_params_)."
    )
    search = GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=2, refit=False)
    for model in [search, clone(search).fit(*make_rows(3))]:
        with pytest.raises(ValueError, match=re.escape(message)):
            read_teacher(model)
        with pytest.raises(ValueError, match=re.escape(message)):
            check_readable(make_pipeline(StandardScaler(), model))


# --- parameters that are not finite; robustness -------------------------------------------------------


@pytest.mark.parametrize("place", ["coefs_", "intercepts_", "scale_", "mean_"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_parameters_that_are_not_finite_are_refused(place, value):
    mlp, scaler = fit_mlp(3), StandardScaler().fit(make_rows(3)[0])
    pipeline = Pipeline([("scale", scaler), ("mlp", mlp)])
    assert np.isfinite(read_teacher(pipeline).logits(make_rows(3)[0])).all()
    if place.endswith("s_"):
        getattr(mlp, place)[1].flat[2] = value
    else:
        # A standard deviation of 0 divides to infinity; an infinite one is no way to break a scale.
        getattr(scaler, place)[2] = 0.0 if place == "scale_" and value == np.inf else value
    with (
        np.errstate(divide="ignore"),
        pytest.raises(ValueError, match="Pipeline, has parameters that are NaN"),
    ):
        read_teacher(pipeline)


@pytest.mark.parametrize("scaler", [StandardScaler(), MinMaxScaler()], ids=repr)
def test_fgsm_of_a_pipeline_moves_raw_inputs(scaler):
    X, y = CANCER
    pipeline = make_pipeline(scaler, LogisticRegression()).fit(X, y)
    assert robustness_score(pipeline, X, y, epsilon=0.0) == pipeline.score(X, y)
    # A linear model's margin falls by sum_j epsilon_j |w_j|, w in raw units: epsilon is a tenth of a
    # standard deviation of each raw column.
    epsilon = X.std(axis=0) / 10
    raw = pipeline[-1].coef_[0] * read_teacher(pipeline).input_scale
    margin = pipeline.decision_function(X) * np.where(y, 1, -1) - epsilon @ np.abs(raw)
    assert np.abs(margin).min() > 1e-9  # no row is decided by rounding
    attacked = robustness_score(pipeline, X, y, epsilon=epsilon)
    assert attacked == np.mean(margin > 0)
    assert attacked < pipeline.score(X, y) - 0.01


def test_robustness_of_a_pipeline_checks_the_columns_of_its_raw_inputs():
    X, y = make_rows(3)
    scaled = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    with pytest.raises(ValueError, match=re.escape("X has 3 features, but Pipeline is expecting 4")):
        robustness_score(scaled, X[:, :3], y)
    nothing = Pipeline([("a", "passthrough"), ("b", LogisticRegression())]).fit(X, y)
    with pytest.raises(ValueError, match=re.escape("X has 3 features, but Pipeline is expecting 4")):
        robustness_score(nothing, X[:, :3], y)
