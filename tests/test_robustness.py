"""Laws of the robustness scores: closed forms, slow loops, automatic differentiation, bad input."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC

from skantidistill import (
    AntiDistilledMLPClassifier,
    adversarial_examples,
    measures,
    robustness_curve,
    robustness_score,
)
from skantidistill.blueprint import Blueprint
from skantidistill.network import forward
from skantidistill.teachers import read_teacher

LABELS = {2: np.array([False, True]), 3: np.array(["ant", "bee", "cat"])}
EPSILONS = [0.0, 0.1, 0.3, 0.6]


def make_rows(n_classes=3, seed=0):
    """Overlapping clouds of 150 points whose features have unequal scales."""
    rng = np.random.default_rng(seed)
    codes = np.arange(150) % n_classes
    return rng.normal(size=(150, 4)) * [1, 2, 0.5, 1] + codes[:, None] * [1.5, -1, 1, 0], LABELS[n_classes][
        codes
    ]


def fit_mlp(n_classes=3, activation="relu", X=None):
    rows, y = make_rows(n_classes)
    X = rows if X is None else X
    mlp = MLPClassifier((8, 6), activation=activation, learning_rate_init=0.02, random_state=0)
    for _ in range(40):
        mlp.partial_fit(X, y, classes=LABELS[n_classes])
    return mlp


def fit_logistic(n_classes):
    return LogisticRegression(max_iter=1000).fit(*make_rows(n_classes))


def fit_student(n_classes=3, **params):
    X, y = make_rows(n_classes)
    student = AntiDistilledMLPClassifier(
        hidden_layer_sizes=(8,), learning_rate_init=0.02, random_state=0, **params
    )
    for _ in range(20):
        student.partial_fit(X, y, classes=LABELS[n_classes])
    return student


def attacked_by_autograd(blueprint, X, codes, epsilon, bounds=(-np.inf, np.inf)):
    """FGSM in raw units by differentiating through the scaling and the whole network."""
    scale = 1.0 if blueprint.input_scale is None else torch.from_numpy(blueprint.input_scale)
    shift = 0.0 if blueprint.input_scale is None else torch.from_numpy(blueprint.input_shift)
    raw = torch.tensor(X, requires_grad=True)
    params = tuple(torch.tensor(p) for p in blueprint.parameters)
    logits = forward(params, raw * scale + shift, blueprint.activation)[1]
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(codes), reduction="sum")
    (gradient,) = torch.autograd.grad(loss, raw)
    return np.clip(X + epsilon * np.sign(gradient.numpy()), *bounds)


def codes_of(y):
    return np.searchsorted(np.unique(y), y)


# --- fgsm ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["fgsm", "parameter_noise"])
@pytest.mark.parametrize("fit", [fit_mlp, fit_logistic, fit_student])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_epsilon_zero_is_the_plain_score(fit, n_classes, kind):
    estimator, (X, y) = fit(n_classes), make_rows(n_classes)
    weight = np.linspace(0.1, 2, len(y))
    # Means of 150 hits and misses; with weights, summed in another order.
    assert robustness_score(estimator, X, y, kind, 0.0) == pytest.approx(estimator.score(X, y), rel=1e-14)
    weighted = robustness_score(estimator, X, y, kind, 0.0, sample_weight=weight)
    assert weighted == pytest.approx(estimator.score(X, y, weight), rel=1e-12)
    assert weighted != estimator.score(X, y)
    assert robustness_score(estimator, X, y, kind, 1.0) < estimator.score(X, y) - 0.05


@pytest.mark.parametrize("epsilon", [0.1, 0.3, [0.5, 0.0, 0.2, 0.4]])
def test_fgsm_of_a_linear_binary_model_has_a_closed_form(epsilon):
    model, (X, y) = fit_logistic(2), make_rows(2)
    # Every row moves straight to the boundary: its margin falls by sum_j epsilon_j |w_j|.
    margin = model.decision_function(X) * np.where(y, 1, -1) - np.sum(
        np.multiply(epsilon, np.abs(model.coef_))
    )
    assert np.abs(margin).min() > 1e-6  # no row is decided by rounding
    assert robustness_score(model, X, y, epsilon=epsilon) == np.mean(margin > 0)
    assert np.mean(margin > 0) < model.score(X, y)


@pytest.mark.parametrize("activation", ["relu", "identity", "tanh", "logistic"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_fgsm_of_a_plain_mlp_is_that_of_automatic_differentiation(n_classes, activation):
    mlp, (X, y) = fit_mlp(n_classes, activation), make_rows(n_classes)
    curve = robustness_curve(mlp, X, y, "fgsm", EPSILONS)
    blueprint, codes = read_teacher(mlp), codes_of(y)
    for epsilon, score in zip(EPSILONS, curve.scores, strict=True):
        moved = attacked_by_autograd(blueprint, X, codes, epsilon)
        assert score == mlp.score(moved, y)
    assert np.ptp(curve.scores) > 0.2


def test_fgsm_is_worse_than_a_random_step_of_the_same_length():
    mlp, (X, y) = fit_mlp(), make_rows()
    signs = np.sign(np.random.default_rng(1).normal(size=X.shape))
    assert robustness_score(mlp, X, y, epsilon=0.3) < mlp.score(X + 0.3 * signs, y) - 0.05


def test_fgsm_takes_one_strength_a_feature():
    mlp, (X, y) = fit_mlp(), make_rows()
    epsilon = np.array([0.6, 0.0, 0.2, 0.1])
    moved = attacked_by_autograd(read_teacher(mlp), X, codes_of(y), epsilon)
    assert robustness_score(mlp, X, y, epsilon=epsilon) == mlp.score(moved, y)
    assert robustness_score(mlp, X, y, epsilon=epsilon[::-1]) != mlp.score(moved, y)
    assert robustness_score(mlp, X, y, epsilon=np.full(4, 0.3)) == robustness_score(mlp, X, y, epsilon=0.3)


@pytest.mark.parametrize("by_feature", [False, True])
def test_fgsm_stays_inside_the_bounds(by_feature):
    mlp, (X, y) = fit_mlp(), make_rows()
    X = np.clip(X, -1, 1)
    low, high = (np.full(4, -1.0), np.array([1, 1.2, 1.5, 1])) if by_feature else (-1, 1)
    moved = attacked_by_autograd(read_teacher(mlp), X, codes_of(y), 0.5, (low, high))
    bounded = robustness_score(mlp, X, y, epsilon=0.5, bounds=(low, high))
    assert bounded == mlp.score(moved, y)
    assert bounded > robustness_score(mlp, X, y, epsilon=0.5)


def test_epsilon_and_bounds_may_be_read_only_or_reversed_views():
    mlp, (X, y) = fit_mlp(), make_rows()
    X = np.clip(X, -1, 1)
    epsilon, low, high = (np.array(v) for v in ([0.6, 0, 0.2, 0.1], [-2.0, -1, -1, -1], [1.0, 1, 2, 3]))
    expected = robustness_score(mlp, X, y, epsilon=epsilon, bounds=(low, high))
    for view in (np.ndarray.copy, lambda a: a[::-1].copy()[::-1]):
        arrays = [view(a) for a in (epsilon, low, high)]
        for array in arrays:
            array.setflags(write=False)
        score = robustness_score(mlp, X, y, epsilon=arrays[0], bounds=tuple(arrays[1:]))
        assert score == expected
    assert robustness_score(mlp, X, y, epsilon=epsilon) != expected


def test_a_folded_scaling_is_attacked_in_raw_units():
    rng = np.random.default_rng(0)
    X, y = make_rows()
    params = read_teacher(fit_mlp(X=(X - 0.5) * [3.0, 0.2, 1.0, 2.0]))
    blueprint = Blueprint(
        params.weights,
        params.biases,
        params.activation,
        params.classes,
        input_scale=np.array([3.0, 0.2, 1.0, 2.0]),
        input_shift=-0.5 * np.array([3.0, 0.2, 1.0, 2.0]),
    )
    student = fit_student()
    student.blueprint_ = blueprint
    assert student.score(X, y) > 0.8
    for epsilon in (0.2, rng.uniform(0, 0.5, size=4)):
        moved = attacked_by_autograd(blueprint, X, codes_of(y), epsilon)
        score = student.robustness_score(X, y, epsilon=epsilon)
        assert score == student.score(moved, y) < student.score(X, y)
        # Sibling: steps of this length in the scaled space are other steps in X.
        scaled = attacked_by_autograd(params, blueprint.scaled(X), codes_of(y), epsilon)
        assert score != np.mean(params.classes[params.logits(scaled).argmax(axis=1)] == y)


def test_the_attack_in_single_precision_is_that_in_double():
    mlp, (X, y) = fit_mlp(), make_rows()
    single = X.astype(np.float32)
    scores = [
        robustness_curve(mlp, rows, y, "fgsm", EPSILONS).scores for rows in (single, single.astype(float))
    ]
    assert_array_equal(*scores)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_confidence_is_no_robustness(dtype):
    # The same decisions with logits ten thousand times as large: the gradient of the loss underflows.
    X, y = make_rows(2)
    plain = read_teacher(fit_logistic(2))
    scores = []
    for factor in (1.0, 1e4):
        student = fit_student(2)
        student.blueprint_ = plain.with_parameters(tuple(factor * p for p in plain.parameters))
        scores.append(student.robustness_score(X.astype(dtype), y, epsilon=0.3))
    assert scores[0] == scores[1] < fit_logistic(2).score(X, y) - 0.05


def test_rows_are_attacked_in_batches_without_a_seam(monkeypatch):
    mlp, (X, y) = fit_mlp(), make_rows()
    whole = robustness_curve(mlp, X, y, "fgsm", EPSILONS).scores
    monkeypatch.setattr(measures, "BATCH_ROWS", 7)
    assert_array_equal(robustness_curve(mlp, X, y, "fgsm", EPSILONS).scores, whole)


# --- parameter noise -------------------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 3])
def test_parameter_noise_is_a_loop_over_noisy_networks(n_classes):
    mlp, (X, y) = fit_mlp(n_classes), make_rows(n_classes)
    weight = np.linspace(0.1, 2, len(y))
    curve = robustness_curve(
        mlp, X, y, "parameter_noise", [0.0, 0.3], n_draws=4, random_state=5, sample_weight=weight
    )
    blueprint = read_teacher(mlp)
    for epsilon, draws in zip([0.0, 0.3], curve.draws, strict=True):
        # The noise comes from one seed that random_state draws, and is the same for every epsilon.
        generator = torch.Generator().manual_seed(np.random.RandomState(5).randint(2**31 - 1))
        for score in draws:
            flat = torch.empty(sum(p.size for p in blueprint.parameters)).normal_(generator=generator)
            ends = np.cumsum([p.size for p in blueprint.parameters])[:-1]
            noise = np.split(flat.double().numpy(), ends)
            noisy = [
                p + epsilon * n.reshape(p.shape) for p, n in zip(blueprint.parameters, noise, strict=True)
            ]
            moved = Blueprint(noisy[::2], noisy[1::2], blueprint.activation, blueprint.classes)
            predicted = blueprint.classes[moved.logits(X).argmax(axis=1)]
            assert score == pytest.approx(np.average(predicted == y, weights=weight), rel=1e-12)
    assert curve.draws.shape == (2, 4)
    assert np.ptp(curve.draws[0]) == 0
    assert np.ptp(curve.draws[1]) > 0
    assert_array_equal(curve.scores, curve.draws.mean(axis=1))


def test_parameter_noise_is_reproducible_and_new_with_another_seed():
    mlp, (X, y) = fit_mlp(), make_rows()

    def draws(random_state):
        return robustness_curve(mlp, X, y, "parameter_noise", [0.3], random_state=random_state).draws

    assert draws(0).shape == (1, 10)
    assert_array_equal(draws(0), draws(0))
    assert_array_equal(draws(np.random.RandomState(0)), draws(0))
    assert not np.array_equal(draws(0), draws(1))


def test_parameter_noise_of_a_curve_is_that_of_the_single_scores():
    mlp, (X, y) = fit_mlp(), make_rows()
    settings = {"random_state": 3, "n_draws": 3}
    curve = robustness_curve(mlp, X, y, "parameter_noise", EPSILONS, **settings)
    singles = [robustness_score(mlp, X, y, "parameter_noise", e, **settings) for e in EPSILONS]
    assert_array_equal(curve.scores, singles)
    assert len(set(singles)) > 2


@pytest.mark.parametrize("kind", ["fgsm", "parameter_noise"])
def test_scoring_leaves_estimator_and_rows_as_they_were_and_touches_no_global_random_state(kind):
    mlp, (X, y) = fit_mlp(), make_rows()
    before = [a.copy() for a in (X, *mlp.coefs_, *mlp.intercepts_)]
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    X.setflags(write=False)
    robustness_score(mlp, X, y, kind, 0.3, random_state=0)
    for now, then in zip((X, *mlp.coefs_, *mlp.intercepts_), before, strict=True):
        assert_array_equal(now, then)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert_array_equal(np.random.get_state()[1], states[1])


# --- what is returned ------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "last"), [("fgsm", 0.018), ("parameter_noise", 0.09)])
def test_the_published_strengths_are_the_default(kind, last):
    curve = robustness_curve(fit_mlp(), *make_rows(), kind, random_state=0)
    assert curve.kind == kind
    assert_allclose(curve.epsilons, np.linspace(0, last, 10), rtol=1e-12)
    assert curve.scores.shape == (10,)
    assert curve.draws.shape == (10, 1 if kind == "fgsm" else 10)


@pytest.mark.parametrize("kind", ["fgsm", "parameter_noise"])
def test_the_students_methods_are_the_functions(kind):
    student, (X, y) = fit_student(), make_rows()
    settings = {"random_state": 0, "n_draws": 2}
    curve = student.robustness_curve(X, y, kind, EPSILONS, **settings)
    assert_array_equal(curve.scores, robustness_curve(student, X, y, kind, EPSILONS, **settings).scores)
    assert student.robustness_score(X, y, kind, 0.3, **settings) == curve.scores[2]


def test_the_students_own_bounds_are_the_default_of_its_methods():
    X, y = make_rows()
    student = fit_student(bounds=(-10, 10)).set_params(bounds=(-1, 1))
    X = np.clip(X, -1, 1)
    bounded = student.robustness_score(X, y, epsilon=0.5)
    assert bounded == robustness_score(student, X, y, epsilon=0.5, bounds=(-1, 1))
    assert bounded != robustness_score(student, X, y, epsilon=0.5)
    assert student.robustness_score(X, y, epsilon=0.5, bounds=(-10, 10)) != bounded


def test_frames_and_lists_are_taken_as_the_estimator_takes_them():
    X, y = make_rows()
    frame = pd.DataFrame(X, columns=["age", "width", "depth", "mass"])
    model = LogisticRegression(max_iter=1000).fit(frame, y)
    expected = robustness_score(fit_logistic(3), X, y, epsilon=0.3)
    assert robustness_score(model, frame, list(y), epsilon=0.3) == expected
    with pytest.raises(ValueError, match="feature names should match"):
        robustness_score(model, frame[["width", "age", "depth", "mass"]], y)


# --- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"kind": "fog"},
            "kind='fog' is unknown; use one of ['certified', 'fgsm', 'input_noise', 'parameter_noise', "
            "'pgd'].",
        ),
        ({"n_draws": 0}, "n_draws=0 must be an integer of at least 1."),
        ({"n_draws": 2.0}, "n_draws=2.0 must be an integer of at least 1."),
        ({"n_draws": True}, "n_draws=True must be an integer of at least 1."),
        ({"epsilon": -0.1}, "epsilon=-0.1 must be finite and not negative."),
        ({"epsilon": np.inf}, "epsilon=inf must be finite and not negative."),
        (
            {"epsilon": [0.1, 0.2]},
            "epsilon has shape (2,), but X has 4 features; give a scalar or an array of shape (4,).",
        ),
        (
            {"kind": "parameter_noise", "epsilon": [0.1] * 4},
            "epsilon of shape (4,) is one value a feature; parameter_noise takes a scalar.",
        ),
        (
            {"bounds": (0, 1)},
            "widen bounds or clip the input.",
        ),
        ({"bounds": (1, 0)}, "bounds=(1, 0) must have low < high for every feature."),
        (
            {"bounds": 3},
            "bounds=3 is not a pair (low, high) of numbers; give for example (0, 1), (0, np.inf)",
        ),
        (
            {"bounds": ([0, 1], 9)},
            "bounds have shapes (2,) and (), but X has 4 features; give scalars or arrays of shape (4,).",
        ),
        ({"y": make_rows()[1][:-1]}, "X has 150 rows but y has 149 labels; give one label a row."),
        (
            {"y": np.repeat(["gnu", "ant"], 75)},
            "y has labels that the estimator doesn't know: ['gnu']; it knows ['ant', 'bee', 'cat'].",
        ),
        ({"sample_weight": np.zeros(150)}, "at least one"),  # scikit-learn's sentence or ours, by its release
    ],
)
def test_bad_values_are_refused(changes, message):
    X, y = make_rows()
    call = {"X": X, "y": y} | changes
    with pytest.raises(ValueError, match=re.escape(message)):
        robustness_score(fit_mlp(), **call)


def test_an_epsilon_that_is_no_number_is_refused():
    message = "epsilon='much' is no number; give a number >= 0, or one a feature."
    with pytest.raises(TypeError, match=re.escape(message)):
        robustness_score(fit_mlp(), *make_rows(), epsilon="much")


def test_rows_outside_the_bounds_are_named():
    X, y = make_rows()
    X = np.clip(X, -1, 1)
    X[7, 2] = 1.5
    message = "X has a value outside bounds: 1.5 in row 7, feature 2; widen bounds or clip the input."
    with pytest.raises(ValueError, match=re.escape(message)):
        robustness_score(fit_mlp(), X, y, bounds=(-1, 1))


def test_an_estimator_that_cannot_be_read_is_refused():
    X, y = make_rows()
    with pytest.raises(TypeError, match=re.escape("SVC can't be read as a network")):
        robustness_score(SVC().fit(X, y), X, y)


def test_another_number_of_features_is_refused():
    X, y = make_rows()
    with pytest.raises(ValueError, match="X has 3 features, but MLPClassifier is expecting 4"):
        robustness_score(fit_mlp(), X[:, :3], y)


def test_scalar_and_per_feature_epsilons_may_be_mixed():
    X, y = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=1000).fit(X, y)
    curve = robustness_curve(model, X, y, epsilons=[0.3, np.full(4, 0.3), np.zeros(4)])
    assert curve.epsilons.shape == (3, 4)
    assert curve.scores[0] == curve.scores[1] < curve.scores[2] == model.score(X, y)


def test_one_epsilon_is_no_curve():
    X, y = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=1000).fit(X, y)
    with pytest.raises(
        TypeError, match=re.escape("epsilons=0.1 must be a sequence, such as [0, 0.05, 0.1]; for")
    ):
        robustness_curve(model, X, y, epsilons=0.1)
    with pytest.raises(ValueError, match=re.escape("epsilons is empty; give at least one strength.")):
        robustness_curve(model, X, y, epsilons=[])


@pytest.mark.parametrize(
    ("changes", "meant"),
    [
        ({"kind": "fsgm"}, "fgsm"),
        ({"kind": "PGD"}, "pgd"),
        ({"kind": "param_noise"}, "parameter_noise"),
        ({"norm": "L2"}, "l2"),
        ({"scoring": "Accuracy"}, "accuracy"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest(changes, meant):
    X, y = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=1000).fit(X, y)
    with pytest.raises(ValueError, match=re.escape(f"Did you mean '{meant}'?") + "$"):
        robustness_score(model, X, y, **changes)
    with pytest.raises(ValueError, match=re.escape("use one of ['fgsm', 'pgd'].") + "$"):
        adversarial_examples(model, X, y, "zzz")


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (None, TypeError, "y has no labels, but None; give one label a row."),
        (
            ["a", *[0] * 149],
            ValueError,
            "y mixes labels of the types ['int', 'str']; give labels of one type",
        ),
        ([None, *[0] * 149], ValueError, "y mixes labels of the types ['NoneType', 'int']"),
    ],
)
def test_labels_that_are_none_or_mixed_are_refused(y, error, message):
    X, truth = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=1000).fit(X, truth)
    with pytest.raises(error, match=re.escape(message)):
        robustness_score(model, X, y if y is None else np.array(y, dtype=object))
    assert robustness_score(model, X, truth.astype(object)) == robustness_score(model, X, truth)


def test_messages_are_short_whatever_they_quote():
    X, y = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=1000).fit(X, y)
    with pytest.raises(ValueError, match=r"^y has labels that the estimator doesn't know: \[3") as caught:
        robustness_score(model, X, y + np.arange(3, 153))
    assert len(str(caught.value)) < 200
    with pytest.raises(ValueError, match=r"^bounds=\[0, 1, 2, 3, .* \.\.\. is not a pair") as caught:
        robustness_score(model, X, y, bounds=list(range(10_000)))
    assert len(str(caught.value)) < 300
    with pytest.raises(TypeError, match=r"^scoring=<object object> is neither a name nor a function"):
        robustness_score(model, X, y, scoring=object())
