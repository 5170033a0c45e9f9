"""Laws of PGD, input noise, the certificate, norms, frozen features and other scores than accuracy."""

import re
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from scipy.stats import kstest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, get_scorer
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from strategies import make_network, module_of, networks

from skantidistill import adversarial_examples, measures, robustness_curve, robustness_score
from skantidistill.blueprint import Blueprint
from skantidistill.perturbations import input_noise
from skantidistill.scoring import Points
from skantidistill.teachers import read_teacher
from tests.test_robustness import (
    attacked_by_autograd,
    codes_of,
    fit_logistic,
    fit_mlp,
    fit_student,
    make_rows,
)

KINDS = ["certified", "fgsm", "input_noise", "parameter_noise", "pgd"]
UNSCORED = ("certified", "neg_log_loss")
EPSILONS = [0.0, 0.1, 0.3, 0.6]
strengths = st.sampled_from([1e-6, 0.03, 0.3, 2.0])
norms = st.sampled_from(["linf", "l2"])


def score(net, *args, **settings):
    """Score a drawn network on its rows, with the labels that it predicts: each of them can be lost."""
    module = module_of(net)
    labels = module(net.X).argmax(dim=1).numpy()
    return robustness_score(module, net.X.numpy(), labels, *args, **settings)


# --- where attacked rows go ------------------------------------------------------------------------


@given(networks(), strengths, norms, st.sampled_from(["fgsm", "pgd", "input_noise"]), st.data())
def test_every_judged_point_is_within_epsilon_and_bounds_and_moves_no_frozen_feature(
    net, epsilon, norm, kind, data
):
    n_features = net.sizes[0]
    mutable = data.draw(st.lists(st.booleans(), min_size=n_features, max_size=n_features).filter(any))
    X = net.X.numpy()[:1].clip(-0.4, 0.3)
    by_feature = epsilon * np.linspace(0.5, 1, n_features)
    settings = {} if kind == "input_noise" else {"norm": norm}
    settings |= {"n_steps": 3, "n_restarts": 2} if kind == "pgd" else {}
    points, logits = [], Blueprint.logits

    def spy(blueprint, rows):
        points.append(np.array(rows))
        return logits(blueprint, rows)

    with mock.patch.object(Blueprint, "logits", spy):
        robustness_score(
            *(module_of(net), X, net.y.numpy()[:1], kind, by_feature),
            **(settings | {"mutable": mutable, "bounds": (-0.4, 0.3), "random_state": 0}),
        )
    assert points
    away = np.concatenate(points) - X
    assert (away[:, ~np.array(mutable)] == 0).all()
    assert (np.abs(away + X - (-0.05)) <= 0.35 + 1e-15).all()
    # x + epsilon is rounded to a unit in the last place of |x| + epsilon.
    slack = 4e-16 * (0.4 + epsilon)
    if settings.get("norm") == "l2":
        assert (np.linalg.norm(away / by_feature, axis=1) <= 1 + 10 * slack / epsilon).all()
    else:
        assert (np.abs(away) <= by_feature + slack).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fit", [fit_mlp, fit_logistic, fit_student])
def test_epsilon_zero_is_the_clean_score(fit, kind):
    model, (X, y) = fit(3), make_rows()
    weight = np.linspace(0.1, 2, len(y))
    for rows in (X, X.astype(np.float32), csr_matrix(X)):
        assert robustness_score(model, rows, y, kind, 0.0, sample_weight=weight) == pytest.approx(
            np.average(model.predict(rows) == y, weights=weight), rel=1e-12
        )
    assert robustness_score(model, X, y, kind, 3.0, random_state=0) < model.score(X, y) - 0.05


def test_frozen_features_are_features_of_strength_zero():
    mlp, (X, y) = fit_mlp(), make_rows()
    mutable = np.array([True, False, True, False])
    for settings in (
        {"kind": "fgsm"},
        {"kind": "fgsm", "norm": "l2"},
        {"kind": "certified"},
        {"kind": "pgd"},
    ):
        kept = robustness_score(mlp, X, y, epsilon=0.5, mutable=mutable, random_state=0, **settings)
        assert kept == robustness_score(mlp, X, y, epsilon=0.5 * mutable, random_state=0, **settings)
        assert kept > robustness_score(mlp, X, y, epsilon=0.5, random_state=0, **settings)


def test_a_series_of_what_may_move_is_matched_by_name():
    X, y = make_rows()
    frame = pd.DataFrame(X, columns=["age", "width", "depth", "mass"])
    model = LogisticRegression(max_iter=1000).fit(frame, y)
    mutable = pd.Series([True, False, False, False], index=["mass", "age", "width", "depth"])
    named = robustness_score(model, frame, y, epsilon=2.0, mutable=mutable)
    assert named == robustness_score(model, frame, y, epsilon=2.0, mutable=[False, False, False, True])
    assert named != robustness_score(model, frame, y, epsilon=2.0, mutable=mutable.to_numpy())


# --- closed forms of linear models -----------------------------------------------------------------


@pytest.mark.parametrize("epsilon", [0.1, 0.3, [0.5, 0.0, 0.2, 0.4]])
@pytest.mark.parametrize("mutable", [None, [True, False, True, True]])
def test_attacks_and_certificate_of_a_linear_binary_model_are_its_exact_robust_accuracy(epsilon, mutable):
    model, (X, y) = fit_logistic(2), make_rows(2)
    reach = np.multiply(epsilon, True if mutable is None else mutable) * np.ones(4)
    for norm, order in (("linf", 1), ("l2", 2)):  # of the dual norm
        margin = model.decision_function(X) * np.where(y, 1, -1)
        margin -= np.linalg.norm(reach * model.coef_[0], ord=order)
        assert np.abs(margin).min() > 1e-6  # no row is decided by rounding
        exact = np.mean(margin > 0)
        assert exact < model.score(X, y)
        for kind in ["fgsm", "pgd"] + ["certified"] * (norm == "linf"):
            assert robustness_score(model, X, y, kind, epsilon, norm=norm, mutable=mutable) == exact


def test_bounds_tighten_the_certificate():
    model, (X, y) = fit_logistic(2), make_rows(2)
    X = np.clip(X, -1, 1)
    weight = model.coef_[0] * np.where(y, 1, -1)[:, None]
    # The worst point of the cube within the bounds, feature by feature.
    worst = np.clip(X - 0.5 * np.sign(weight), -1, 1)
    exact = np.mean(model.predict(worst) == y)
    for kind in ("fgsm", "pgd", "certified"):
        assert robustness_score(model, X, y, kind, 0.5, bounds=(-1, 1)) == exact
    assert robustness_score(model, X, y, "certified", 0.5) < exact


# --- order -----------------------------------------------------------------------------------------


@given(networks(), strengths, norms, st.booleans(), st.integers(1, 5), st.sampled_from([None, 0.1, 1.0]))
def test_pgd_is_never_weaker_than_fgsm(net, epsilon, norm, random_start, n_steps, step_size):
    climb = {"random_start": random_start, "n_steps": n_steps, "step_size": step_size, "random_state": 0}
    assert score(net, "pgd", epsilon, norm=norm, **climb) <= score(net, "fgsm", epsilon, norm=norm)


@given(networks(), strengths, st.booleans(), st.sampled_from([torch.float32, torch.float64]))
def test_no_certified_row_is_broken(net, epsilon, random_start, dtype):
    params, X = tuple(p.to(dtype) for p in net.params), net.X.to(dtype)
    for row in range(len(net.X)):
        one = make_network(net.sizes, net.activation, 0, n_rows=1)
        one = type(net)(net.sizes, net.activation, params, X[row : row + 1], one.y, one.weight, None)
        certified = score(one, "certified", epsilon)
        assert certified <= score(one, "pgd", epsilon, random_start=random_start, n_steps=5, random_state=0)
        assert certified <= score(one, "input_noise", epsilon, random_state=0)


@given(networks())
def test_the_certificate_falls_with_epsilon(net):
    module = module_of(net)
    labels = module(net.X).argmax(dim=1).numpy()
    curve = robustness_curve(module, net.X.numpy(), labels, "certified", [0, 1e-9, 1e-3, 0.01, 0.1, 1, 10])
    assert (np.diff(curve.scores) <= 0).all()


def test_certificate_and_attacks_are_not_all_the_same():
    mlp, (X, y) = fit_mlp(), make_rows()
    certified, pgd, fgsm, noise = (
        robustness_score(mlp, X, y, kind, 0.3, random_state=0)
        for kind in ("certified", "pgd", "fgsm", "input_noise")
    )
    assert 0.05 < certified < pgd < fgsm < noise


def plateau():
    """A network that says 0 up to x = 0.6 and has no slope below x = 0.5, and 400 rows at 0."""
    hidden = torch.nn.Linear(1, 1, dtype=torch.float64)
    output = torch.nn.Linear(1, 2, dtype=torch.float64)
    for parameter, value in zip(
        [hidden.weight, hidden.bias, output.weight, output.bias],
        [[[1]], [-0.5], [[0], [1]], [0.1, 0]],
        strict=True,
    ):
        parameter.data = torch.tensor(value, dtype=torch.float64)
    return torch.nn.Sequential(hidden, torch.nn.ReLU(), output), np.zeros((400, 1)), np.zeros(400, dtype=int)


def test_restarts_at_random_points_find_what_has_no_slope_at_the_row_itself():
    settings = {"epsilon": 1.0, "n_steps": 20, "random_state": 0}
    assert robustness_score(*plateau(), "fgsm", 1.0) == 1
    assert robustness_score(*plateau(), "pgd", random_start=False, **settings) == 1
    assert robustness_score(*plateau(), "certified", 1.0) == 0
    # A start beyond 0.5, a quarter of the interval, finds the way; 400 rows: four standard errors.
    for n_restarts in (1, 5):
        held = robustness_score(*plateau(), "pgd", n_restarts=n_restarts, **settings)
        expected = 0.75**n_restarts
        assert abs(held - expected) < 4 * (expected * (1 - expected) / 400) ** 0.5


def test_the_step_size_is_in_the_units_of_x():
    # From 0, 59 steps of 0.01 stay on this side of the boundary at 0.599, 60 do not. The fast gradient step
    # leads to the far end of the bounds, where the other unit says 0 again.
    _, X, y = plateau()
    back = torch.nn.Linear(1, 2, dtype=torch.float64)
    back.weight.data, back.bias.data = (
        torch.tensor(value, dtype=torch.float64) for value in ([[1], [1]], [0.001, -0.9])
    )
    output = torch.nn.Linear(2, 2, dtype=torch.float64)
    output.weight.data, output.bias.data = (
        torch.tensor(value, dtype=torch.float64) for value in ([[0, 0], [1, -9]], [0.6, 0])
    )
    module = torch.nn.Sequential(back, torch.nn.ReLU(), output)
    steps = {"random_start": False, "step_size": 0.01}
    assert robustness_score(module, X, y, "fgsm", 1.0) == 1
    assert robustness_score(module, X, y, "pgd", 1.0, n_steps=59, **steps) == 1
    assert robustness_score(module, X, y, "pgd", 1.0, n_steps=60, **steps) == 0


def test_random_starts_are_reproducible():
    def held(random_state):
        settings = {"n_steps": 2, "random_state": random_state}
        return robustness_score(*plateau(), "pgd", 1.0, **settings)

    assert held(3) == held(3) == held(np.random.RandomState(3))
    assert len({held(seed) for seed in range(5)}) > 1


# --- noise in the inputs ---------------------------------------------------------------------------


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_input_noise_is_a_loop_over_noisy_inputs(distribution):
    mlp, (X, y) = fit_mlp(), make_rows()
    X = np.clip(X, -1, 1)
    settings = {"n_draws": 3, "random_state": 5, "bounds": (-1, 1), "distribution": distribution}
    curve = robustness_curve(mlp, X, y, "input_noise", EPSILONS, **settings)
    stream = np.random.RandomState(np.random.RandomState(5).randint(2**31 - 1))
    for draw in range(3):
        offsets = (
            stream.standard_normal(X.shape) if distribution == "normal" else stream.uniform(-1, 1, X.shape)
        )
        expected = [mlp.score(np.clip(X + e * offsets, -1, 1), y) for e in EPSILONS]
        assert_allclose(curve.draws[:, draw], expected, rtol=1e-14)
    assert np.ptp(curve.draws[3]) > 0
    assert_array_equal(curve.scores, curve.draws.mean(axis=1))
    assert curve.scores[3] < curve.scores[0]


def test_relative_parameter_noise_is_noise_in_proportion_to_each_array():
    mlp, (X, y) = fit_mlp(), make_rows()
    settings = {"n_draws": 20, "random_state": 0}
    relative = robustness_score(mlp, X, y, "parameter_noise", 0.3, relative=True, **settings)
    # Weights of root mean square 1 see both kinds alike.
    unit = fit_mlp()
    for array in (*unit.coefs_, *unit.intercepts_):
        array[:] = np.sign(array)
    both = [
        robustness_score(unit, X, y, "parameter_noise", 0.3, relative=r, **settings) for r in (False, True)
    ]
    assert both[0] == both[1]
    assert relative != robustness_score(mlp, X, y, "parameter_noise", 0.3, **settings)


# --- batches, sparse rows, curves ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "scoring"),
    [(kind, scoring) for kind in KINDS for scoring in (None, "neg_log_loss") if (kind, scoring) != UNSCORED],
)
def test_batches_and_blocks_of_draws_have_no_seam(kind, scoring, monkeypatch):
    mlp, (X, y) = fit_mlp(), make_rows()
    settings = {"scoring": scoring, "random_state": 0, "n_draws": 3}
    whole = robustness_curve(mlp, X, y, kind, EPSILONS, **settings)
    monkeypatch.setattr(measures, "BATCH_ROWS", 7)
    monkeypatch.setattr(measures, "NOISY_ROWS", 11)
    monkeypatch.setattr(measures, "BLOCK", 300)  # numbers: two draws of the 4-8-6-3 network
    blocks = robustness_curve(mlp, X, y, kind, EPSILONS, **settings)
    # Products of other sizes are added up in another order; in single precision for noisy copies.
    assert_allclose(blocks.draws, whole.draws, rtol=1e-5 if scoring else 1e-14)
    assert np.ptp(whole.scores) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_sparse_rows_score_as_dense_ones(kind):
    mlp, (X, y) = fit_mlp(), make_rows()
    X = X * (np.abs(X) > 0.7)
    scaled = make_pipeline(StandardScaler(with_mean=False), mlp)
    scaled[0].fit(X)
    for model in (mlp, scaled):
        curves = [
            robustness_curve(model, rows, y, kind, EPSILONS, random_state=0, n_draws=3)
            for rows in (X, csr_matrix(X))
        ]
        assert_array_equal(curves[0].draws, curves[1].draws)
        assert np.ptp(curves[0].scores) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_curve_is_its_single_scores(kind):
    student, (X, y) = fit_student(), make_rows()
    settings = {"random_state": 3, "n_draws": 2}
    curve = student.robustness_curve(X, y, kind, EPSILONS, **settings)
    assert_array_equal(curve.scores, [student.robustness_score(X, y, kind, e, **settings) for e in EPSILONS])
    assert curve.kind == kind
    assert curve.draws.shape == (4, 2 if kind.endswith("noise") else 1)
    default = robustness_curve(student, X, y, kind, random_state=0).epsilons
    assert_allclose(default, np.linspace(0, 0.09 if kind.endswith("noise") else 0.018, 10), rtol=1e-12)


def test_the_students_methods_hand_on_every_setting():
    student, (X, y) = fit_student(), make_rows()
    for kind, settings in [
        ("pgd", {"norm": "l2", "n_steps": 3, "step_size": 0.2, "n_restarts": 2, "random_start": True}),
        ("input_noise", {"distribution": "normal", "mutable": [True, True, False, False]}),
        ("parameter_noise", {"relative": True, "scoring": "balanced_accuracy"}),
    ]:
        settings |= {"random_state": 0}
        expected = robustness_curve(student, X, y, kind, EPSILONS, **settings)
        assert_array_equal(student.robustness_curve(X, y, kind, EPSILONS, **settings).draws, expected.draws)
        assert student.robustness_score(X, y, kind, 0.6, **settings) == expected.scores[3]
        assert expected.scores[3] != robustness_score(student, X, y, kind, 0.6, random_state=0)


# --- other scores than accuracy --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["balanced_accuracy", "roc_auc_ovr", "neg_log_loss", "f1_macro", "accuracy"])
def test_a_scorer_of_attacked_rows_is_that_of_moved_rows(name):
    mlp, (X, y) = fit_mlp(), make_rows()
    weight = np.linspace(0.1, 2, len(y))
    moved = attacked_by_autograd(read_teacher(mlp), X, codes_of(y), 0.3)
    for weights in ({}, {"sample_weight": weight}):
        scorer = get_scorer(name)
        got = robustness_score(mlp, X, y, "fgsm", 0.3, scoring=name, **weights)
        assert got == pytest.approx(scorer(mlp, moved, y, **weights), rel=1e-10)
        assert robustness_score(mlp, X, y, "fgsm", 0.0, scoring=name, **weights) == pytest.approx(
            scorer(mlp, X, y, **weights), rel=1e-10
        )
        assert got < scorer(mlp, X, y, **weights) - 0.01


@pytest.mark.parametrize("name", ["roc_auc", "average_precision", "f1"])
def test_binary_scorers_see_one_column_and_the_positive_label(name):
    model, (X, y) = fit_logistic(2), make_rows(2)
    moved = attacked_by_autograd(read_teacher(model), X, codes_of(y), 0.3)
    got = robustness_score(model, X, y, "fgsm", 0.3, scoring=name)
    assert got == pytest.approx(get_scorer(name)(model, moved, y), rel=1e-10)
    assert got < get_scorer(name)(model, X, y) - 0.01


@pytest.mark.parametrize("kind", ["fgsm", "pgd", "input_noise", "parameter_noise"])
def test_the_accuracy_by_a_scorer_is_the_accuracy(kind):
    mlp, (X, y) = fit_mlp(), make_rows()
    curves = [
        robustness_curve(mlp, X, y, kind, EPSILONS, scoring=scoring, random_state=0, n_draws=3).draws
        for scoring in (None, "accuracy")
    ]
    assert_allclose(*curves, rtol=1e-14)


def test_a_function_scores_the_rows_that_it_was_given():
    mlp, (X, y) = fit_mlp(), make_rows()
    seen = []

    def of_the_tall(estimator, X, y):
        seen.append(X)
        tall = X[:, 0] > 1
        return accuracy_score(y[tall], estimator.predict(X)[tall])

    got = robustness_score(mlp, X, y, "fgsm", 0.3, scoring=of_the_tall)
    moved = attacked_by_autograd(read_teacher(mlp), X, codes_of(y), 0.3)
    tall = X[:, 0] > 1
    assert got == accuracy_score(y[tall], mlp.predict(moved)[tall])
    assert got != robustness_score(mlp, X, y, "fgsm", 0.3)
    assert seen[0] is X

    message = "scoring asked for predictions of other rows than the X that it was given"
    with pytest.raises(ValueError, match=re.escape(message)):
        robustness_score(mlp, X, y, "fgsm", 0.3, scoring=lambda e, X, y: e.score(X[:9], y[:9]))


# --- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm": "l1"}, "norm='l1' is unknown; use one of ['l2', 'linf']."),
        (
            {"kind": "certified", "norm": "l2"},
            "norm='l2' can't be certified: interval bounds are for norm='linf'; use that, or kind='pgd', "
            "which takes both.",
        ),
        (
            {"n_steps": 5},
            "n_steps=5 is no parameter of kind='fgsm', but of ['pgd']; leave it out. fgsm takes ['mutable', "
            "'norm', 'scoring'].",
        ),
        (
            {"kind": "certified", "scoring": "balanced_accuracy"},
            "scoring='balanced_accuracy' is no parameter of kind='certified', but of ['fgsm', 'input_noise', "
            "'parameter_noise', 'pgd']; leave it out.",
        ),
        (
            {"kind": "parameter_noise", "mutable": [True] * 4},
            "mutable=[True, True, True, True] is no parameter of kind='parameter_noise', but of",
        ),
        ({"relative": False}, "relative=False is no parameter of kind='fgsm', but of ['parameter_noise'];"),
        ({"kind": "pgd", "n_steps": 0}, "n_steps=0 must be an integer of at least 1."),
        ({"kind": "pgd", "n_restarts": 1.0}, "n_restarts=1.0 must be an integer of at least 1."),
        (
            {"kind": "pgd", "n_restarts": 5, "random_start": False},
            "n_restarts=5 with random_start=False would run the same climb 5 times; use random_start=True, "
            "or n_restarts=1.",
        ),
        ({"kind": "pgd", "step_size": -1}, "step_size=-1 must be finite and not negative."),
        (
            {"kind": "pgd", "step_size": [0.1, 0, 0.1, 0.1]},
            "step_size=[0.1, 0, 0.1, 0.1] has a step of length 0; use positive lengths, and mutable to "
            "freeze features.",
        ),
        (
            {"kind": "pgd", "step_size": [0.1, 0.1]},
            "step_size has shape (2,), but X has 4 features; give a scalar or an array of shape (4,).",
        ),
        (
            {"kind": "input_noise", "distribution": "laplace"},
            "distribution='laplace' is unknown; use one of ['normal', 'uniform'].",
        ),
        (
            {"mutable": [True, False]},
            "mutable has shape (2,), but X has 4 features; give a boolean array of shape (4,).",
        ),
        (
            {"mutable": [False] * 4},
            "mutable is False for every feature, so that nothing can move; set one to True.",
        ),
        (
            {"scoring": "niceness"},
            "scoring='niceness' is unknown; use a name in sklearn.metrics.get_scorer_names(), such as "
            "'balanced_accuracy', a function (estimator, X, y), or None for the accuracy.",
        ),
        ({"scoring": accuracy_score}, "looks like it is a metric function rather than a scorer"),
        ({"kind": "pgd", "epsilon": -1}, "epsilon=-1 must be finite and not negative."),
        (
            {"kind": "certified", "bounds": (0, 1)},
            "widen bounds or clip the input.",
        ),
    ],
)
def test_bad_values_are_refused(changes, message):
    X, y = make_rows()
    with pytest.raises(ValueError, match=re.escape(message)):
        robustness_score(fit_logistic(3), X, y, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"mutable": [1, 0, 1, 0]},
            "mutable has values of dtype int64; give one True or False a feature, such as [True, False, ...] "
            "of length 4.",
        ),
        ({"kind": "pgd", "random_start": 1}, "random_start=1 must be True or False."),
        ({"kind": "parameter_noise", "relative": "yes"}, "relative='yes' must be True or False."),
        (
            {"scoring": ["accuracy"]},
            "scoring=['accuracy'] is neither a name nor a function; give one name such as "
            "'balanced_accuracy', one function (estimator, X, y), or None for the accuracy.",
        ),
        (
            {"scoring": lambda estimator, X, y: {"a": 1.0}},
            "scoring returned {'a': 1.0}, a dict; it must return one number.",
        ),
        ({"kind": "pgd", "step_size": "long"}, "step_size='long' is no number; give a number >= 0"),
    ],
)
def test_bad_kinds_of_values_are_refused(changes, message):
    X, y = make_rows()
    with pytest.raises(TypeError, match=re.escape(message)):
        robustness_score(fit_logistic(3), X, y, **changes)


# --- adversarial examples --------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("kind", ["fgsm", "pgd"])
def test_adversarial_examples_are_what_the_score_is_of(kind, norm):
    X, y = load_iris(return_X_y=True)
    model = MLPClassifier((8,), max_iter=400, tol=1e-2, random_state=0).fit(X, y)
    settings = {"norm": norm, "random_state": 0, "bounds": (0, 7), "mutable": [True, True, False, True]}
    X = np.clip(X, 0, 7)
    moved = adversarial_examples(model, X, y, kind, 0.4, **settings)
    assert model.score(moved, y) == robustness_score(model, X, y, kind, 0.4, **settings) < model.score(X, y)
    distance = np.abs(moved - X).max() if norm == "linf" else np.linalg.norm(moved - X, axis=1).max()
    assert 0.1 < distance <= 0.4 + 1e-12
    assert_array_equal(moved[:, 2], X[:, 2])
    assert moved.min() >= 0
    assert moved.max() <= 7


def test_only_attacks_make_adversarial_examples():
    X, y = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=500).fit(X, y)
    with pytest.raises(ValueError, match=re.escape("kind='certified' makes no adversarial examples; use")):
        adversarial_examples(model, X, y, "certified")


# --- layouts, starts, precision --------------------------------------------------------------------

LAYOUTS = {
    "reversed rows": lambda X: X[::-1].copy()[::-1],
    "reversed columns": lambda X: X[:, ::-1].copy()[:, ::-1],
    "Fortran order": np.asfortranarray,
    "read-only": np.copy,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_score_does_not_depend_on_how_rows_lie_in_memory(kind, layout, dtype):
    mlp, (X, y) = fit_mlp(), make_rows()
    X = X.astype(dtype)
    other = LAYOUTS[layout](X)
    other.setflags(write=False)
    settings = {"random_state": 0, "n_draws": 2}
    expected = robustness_score(mlp, X, y, kind, 0.3, **settings)
    assert robustness_score(mlp, other, y, kind, 0.3, **settings) == expected < mlp.score(X, y)


@pytest.mark.parametrize("frozen", ["mutable", "epsilon"])
def test_l2_starts_are_uniform_in_the_ball_of_the_features_that_move(frozen, monkeypatch):
    net = make_network((6, 3), "relu", 0)
    moves = np.array([True, False, True, False, False, False])
    epsilon = np.array([0.5, 0.1, 2.0, 0.1, 0.1, 0.1])
    X, starts = np.zeros((2000, 6)), []

    def spy(*args):
        starts.append(input_noise(*args).numpy())
        return torch.from_numpy(starts[-1])

    monkeypatch.setattr(measures, "input_noise", spy)
    settings = {"mutable": moves} if frozen == "mutable" else {}
    labels = module_of(net)(torch.from_numpy(X)).argmax(dim=1).numpy()
    robustness_score(
        *(module_of(net), X, labels, "pgd", epsilon if settings else epsilon * moves),
        **(settings | {"norm": "l2", "n_steps": 1, "random_state": 0, "scoring": "accuracy"}),
    )
    (start,) = starts
    assert (start[:, ~moves] == 0).all()
    away = start[:, moves] / epsilon[moves]
    radii = np.linalg.norm(away, axis=1)
    assert len(radii) == 2000
    # In the plane the square of the radius is uniform, and so is the angle.
    assert kstest(radii**2, "uniform").pvalue > 1e-3
    assert kstest(np.arctan2(*away.T) / (2 * np.pi) + 0.5, "uniform").pvalue > 1e-3
    assert kstest(radii, "uniform").pvalue < 1e-9
    assert kstest(radii**6, "uniform").pvalue < 1e-9


def test_a_given_step_is_the_length_in_the_features_that_move(monkeypatch):
    # The length of an l2 step must not count what can't move: with a frozen feature of steepest slope, the
    # climb is that in the other features alone.
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(2, 3)) * [1.0, 50.0, 1.0]
    whole, part = (
        Blueprint((w,), (np.array([0.0, 3.0]),), "relu", np.arange(2)) for w in (weight, weight[:, [0, 2]])
    )
    X = rng.normal(size=(40, 3)) * [1, 0, 1]
    y = whole.logits(X).argmax(axis=1)
    mutable = np.array([True, False, True])
    settings = {"norm": "l2", "n_steps": 3, "random_start": False, "step_size": 0.1, "n_restarts": 1}
    trials = [
        measures.Trial(rows, y, None, 1, 0, settings | {"mutable": moves, "scoring": None})
        for rows, moves in ((X, mutable), (X[:, mutable], None))
    ]
    ends, climb = [], measures.climb

    def spy(*args, **kwargs):
        ends.append(climb(*args, **kwargs).numpy())
        return torch.from_numpy(ends[-1])

    monkeypatch.setattr(measures, "climb", spy)
    for blueprint, trial in zip((whole, part), trials, strict=True):
        measures.measure_pgd(blueprint, trial, [5.0], Points(trial.X.shape, trial.X.dtype))
    assert_allclose(ends[0][:, mutable], ends[1], rtol=1e-9)
    assert_allclose(np.linalg.norm(ends[1] - X[:, mutable], axis=1), 0.3, rtol=1e-9)


def nearest_to_the_boundary(predict, X):
    """Points of X's dtype next to the boundary: between rows of different labels, halved until they touch."""
    labels = predict(X)
    left, right = X[labels == 0], X[labels == 1]
    left, right = left[: len(right)], right[: len(left)]
    for _ in range(80):
        middle = ((left + right) / 2).astype(X.dtype)
        zero = (predict(middle) == 0)[:, None]
        left, right = np.where(zero, middle, left), np.where(zero, right, middle)
    return np.concatenate([left, right])


def models_at_the_boundary(dtype):
    """Fitted models whose parameters are of a dtype, with rows of it."""
    X, y = make_rows(2)
    single, far = X.astype(dtype), (X + 1e6).astype(dtype)
    net = make_network(
        (4, 30, 20, 2), "tanh", 0, dtype=torch.float32 if dtype == np.float32 else torch.float64
    )
    scaled = make_pipeline(
        StandardScaler(), MLPClassifier((8,), learning_rate_init=0.02, max_iter=40, random_state=0)
    )
    return {
        "logistic": (LogisticRegression().fit(single, y), single),
        "torch": (module_of(net), single),
        "scaled": (scaled.fit(far, y), far),
    }


@pytest.mark.parametrize("name", ["logistic", "torch", "scaled"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_no_certified_row_is_broken_where_rounding_decides(name, dtype):
    model, X = models_at_the_boundary(dtype)[name]
    blueprint = read_teacher(model)
    assert blueprint.dtype == dtype

    def labels(rows):
        return blueprint.classes[blueprint.logits(rows).argmax(axis=1)]

    rows = nearest_to_the_boundary(lambda rows: blueprint.logits(rows).argmax(axis=1), X)
    assert len(rows) > 50
    right, wrong = labels(rows), blueprint.classes[1 - blueprint.logits(rows).argmax(axis=1)]
    epsilons = [0.0, 1e-9, 1e-6, 1e-3]
    for y in (right, wrong):
        certified, pgd, noise = (
            robustness_curve(model, rows, y, kind, epsilons, random_state=0).scores
            for kind in ("certified", "pgd", "input_noise")
        )
        assert (certified <= pgd).all()
        assert (certified <= noise).all()
    assert pgd[0] == 0  # of the wrong labels
    # Nor by another order of summation, or by the model's own code.
    one_by_one = np.concatenate([labels(row[None]) for row in rows])
    own = one_by_one if name == "torch" else model.predict(rows)
    for row, label in zip(*(a[(one_by_one != right) | (own != right)] for a in (rows, right)), strict=True):
        assert robustness_score(model, row[None], [label], "certified", 0.0) == 0
    if name == "scaled" and dtype == np.float32:
        assert (own != right).any()  # StandardScaler rounds its mean
    # Away from the boundary it holds.
    clean = labels(X)
    assert robustness_score(model, X, clean, "certified", 0.0) > (0.4 if name == "scaled" else 0.97)


@pytest.mark.parametrize("seed", range(3))
def test_a_common_offset_of_the_logits_changes_no_attack(seed):
    # Steps as long as the box, so that the last iterate is often not the worst.
    net = make_network((2, 4, 3), "tanh", seed, n_rows=300)
    X, labels = net.X.numpy(), module_of(net)(net.X).argmax(dim=1).numpy()
    settings = {"random_state": 0, "n_steps": 4, "step_size": 0.5}
    scores = []
    for offset in (0, 1e6):
        params = (*net.params[:-1], net.params[-1] + offset)
        module = module_of(type(net)(net.sizes, net.activation, params, net.X, net.y, net.weight, None))
        for scoring in (None, "accuracy"):
            curve = robustness_curve(module, X, labels, "pgd", [0.2, 0.5], scoring=scoring, **settings)
            scores.append(curve.scores)
    for other in scores[1:]:
        assert_allclose(other, scores[0], rtol=1e-14)
    assert (scores[0] < robustness_curve(module, X, labels, "fgsm", [0.2, 0.5]).scores).any()


@pytest.mark.parametrize(
    ("kind", "random_start", "draws"),
    [
        ("fgsm", None, False),
        ("certified", None, False),
        ("pgd", False, False),
        ("pgd", True, True),
        ("input_noise", None, True),
        ("parameter_noise", None, True),
    ],
)
def test_what_draws_nothing_leaves_a_random_state_as_it_was(kind, random_start, draws):
    model, (X, y) = fit_logistic(3), make_rows()
    state = np.random.RandomState(0)
    robustness_score(model, X, y, kind, 0.1, random_start=random_start, random_state=state)
    before, after = (s.get_state()[1:3] for s in (np.random.RandomState(0), state))
    same = np.array_equal(before[0], after[0]) and before[1] == after[1]
    assert same == (not draws)


def test_series_of_epsilon_and_bounds_are_matched_by_name():
    X, y = make_rows()
    frame = pd.DataFrame(X.clip(-1, 1), columns=["age", "width", "depth", "mass"])
    model = LogisticRegression(max_iter=1000).fit(frame, y)
    values = {"epsilon": [0.6, 0.0, 0.2, 0.4], "low": [-1.0, -1.5, -2, -3], "high": [1.0, 1.1, 2, 3]}
    order = ["mass", "age", "depth", "width"]

    def held(take, epsilon=True, bounds=True):
        arrays = {
            name: take(pd.Series(v, index=frame.columns)[order])
            if (epsilon if name == "epsilon" else bounds)
            else np.array(v)
            for name, v in values.items()
        }
        ends = (arrays["low"], arrays["high"])
        return robustness_score(model, frame, y, epsilon=arrays["epsilon"], bounds=ends)

    expected = held(None, False, False)
    assert held(lambda s: s) == expected
    # Siblings: in the order in which the Series have them.
    assert held(lambda s: s.to_numpy(), bounds=False) != expected
    assert held(lambda s: s.to_numpy(), epsilon=False) != expected


@pytest.mark.parametrize("epsilons", [np.array(0.1), "0.1", {0.1: 1}, {0.1}, 0.1], ids=repr)
def test_strengths_that_are_no_sequence_are_refused(epsilons):
    message = f"epsilons={epsilons!r} must be a sequence, such as [0, 0.05, 0.1]; for one strength use"
    with pytest.raises(TypeError, match=re.escape(message)):
        robustness_curve(fit_logistic(3), *make_rows(), epsilons=epsilons)


def test_a_list_is_no_kind_of_adversarial_examples():
    message = "kind=['fgsm'] makes no adversarial examples; use one of ['fgsm', 'pgd']."
    with pytest.raises(ValueError, match=re.escape(message)):
        adversarial_examples(fit_logistic(3), *make_rows(), ["fgsm"])


def test_weights_need_a_scorer_that_takes_them():
    model, (X, y) = fit_logistic(3), make_rows()
    weight = np.linspace(0.1, 2, len(y))
    message = "takes no sample_weight; leave sample_weight out, or give a scorer that"
    for scoring in ("adjusted_rand_score", lambda e, X, y: 0.5):
        with pytest.raises(TypeError, match=re.escape(message)):
            robustness_score(model, X, y, scoring=scoring, sample_weight=weight)
        assert np.isfinite(robustness_score(model, X, y, scoring=scoring))
    for scoring in ("neg_brier_score", lambda e, X, y, sample_weight: 0.5, lambda e, X, y, **more: 0.5):
        assert np.isfinite(robustness_score(model, X, y, scoring=scoring, sample_weight=weight))
