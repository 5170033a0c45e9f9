"""A teacher's scalers become the student's input layer: the same function, and all settings in raw units."""

import re
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from skantidistill import AntiDistilledMLPClassifier, fitting, training
from skantidistill.blueprint import Blueprint
from skantidistill.growth import Growth
from skantidistill.old_data import OldData
from skantidistill.perturbations import input_noise
from tests.problems import quick, same_parameters

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FRAME, LABELS = load_wine(return_X_y=True, as_frame=True)  # columns of very different scales
WINE, LABELS = FRAME.to_numpy(), LABELS.to_numpy()
OLD = LABELS < 2
SCALERS = [StandardScaler(), MinMaxScaler((-2, 3)), RobustScaler(), MaxAbsScaler()]


def teach(scaler, X):
    teacher = make_pipeline(clone(scaler), MLPClassifier((5,), max_iter=300, random_state=0))
    return teacher.fit(X[OLD], LABELS[OLD])


@pytest.mark.parametrize("scaler", SCALERS, ids=repr)
@pytest.mark.parametrize("start", ["zero", "net2net"])
def test_a_student_of_a_pipeline_starts_as_that_pipeline_whatever_the_order_of_columns(scaler, start):
    order = np.random.default_rng(0).permutation(13)
    teacher = teach(scaler, FRAME.iloc[:, :8])
    student = quick(teacher, start=start, phi_max_iter=0).fit(FRAME.iloc[:, order], LABELS)
    log_odds = np.diff(student.phi_blueprint_.logits(WINE[:, order])[:, :2])[:, 0]
    p = teacher.predict_proba(FRAME.iloc[:, :8])
    assert_allclose(1 / (1 + np.exp(-log_odds)), p[:, 1], atol=1e-9)
    assert np.ptp(p) > 0.2
    new = order >= 8
    scaled = student.blueprint_.scaled(WINE[:, order])
    assert_allclose(
        scaled[:, new], clone(scaler).fit_transform(WINE[:, order][:, new]), rtol=1e-9, atol=1e-12
    )
    # And one growth further, with the columns as they come.
    names = FRAME.columns[order[:11]]
    middle = quick(teacher, start="zero", phi_max_iter=0).fit(
        FRAME[sorted({*names, *FRAME.columns[:8]})], LABELS
    )
    last = quick(middle, start=start, phi_max_iter=0).fit(FRAME, LABELS)
    seen = FRAME[middle.feature_names_in_].to_numpy()
    assert_allclose(last.phi_blueprint_.logits(WINE), middle.blueprint_.logits(seen), atol=1e-9)


def test_new_columns_are_scaled_on_the_rows_that_count_with_their_weights():
    index, weight = np.flatnonzero(LABELS != 1), np.random.default_rng(0).random(len(WINE))
    teacher = teach(StandardScaler(), WINE[:, :8])
    growth = Growth(
        Blueprint((np.ones((2, 8)),), (np.zeros(2),), "relu", np.arange(2), None, np.ones(8), np.zeros(8)),
        13,
        (8,),
        np.arange(3),
    )
    data = OldData(WINE, LABELS, weight, index, "y")
    scale, shift = fitting._input_scaling(SimpleNamespace(teacher_=teacher), growth, data)
    expected = StandardScaler().fit(WINE[index, 8:], sample_weight=weight[index])
    assert_allclose(scale[8:], 1 / expected.scale_, rtol=1e-10)
    assert_allclose(shift[8:], -expected.mean_ / expected.scale_, rtol=1e-10)
    for other in (
        StandardScaler().fit(WINE[index, 8:]),
        StandardScaler().fit(WINE[:, 8:], sample_weight=weight),
    ):
        assert not np.allclose(scale[8:], 1 / other.scale_, rtol=1e-3)


@pytest.mark.parametrize("scaler", SCALERS, ids=repr)
def test_delta_and_bounds_are_in_the_units_of_x_in_phi_and_in_training(scaler, monkeypatch):
    seen, train = [], training.train

    def recording(params, activation, rows, objective, *args, **kwargs):
        seen.append((rows, objective))
        return train(params, activation, rows, objective, *args, **kwargs)

    monkeypatch.setattr(training, "train", recording)
    delta = WINE.std(axis=0) * np.linspace(0.1, 1, 13)
    low, high = WINE.min(axis=0) - delta / 2, WINE.max(axis=0) + delta / 3
    student = quick(teach(scaler, WINE[:, :8]), delta=delta, bounds=(low, high)).fit(WINE, LABELS)
    blueprint = student.blueprint_
    assert len(seen) == 2
    for (rows, objective), X in zip(seen, (WINE[OLD], WINE), strict=True):
        batch = rows.batch(np.arange(len(X)))
        assert_allclose(batch.X.numpy(), blueprint.scaled(X), rtol=1e-12)
        offsets = torch.empty_like(batch.X).uniform_(-1, 1, generator=torch.Generator().manual_seed(0))
        moved = input_noise(batch.X, objective.delta, offsets, objective.bounds).numpy()
        raw = (moved - blueprint.input_shift) / blueprint.input_scale
        expected = np.clip(X + delta * offsets.numpy(), low, high)
        assert_allclose(raw, expected, rtol=1e-9, atol=1e-9)
        assert np.any(expected != X + delta * offsets.numpy())


def test_a_student_remembers_its_teacher_as_it_was_read():
    X = StandardScaler().fit_transform(WINE)
    teacher = MLPClassifier((5,), max_iter=100, random_state=0).fit(X[OLD], LABELS[OLD])
    student = quick(teacher).fit(X, LABELS)
    before = [p.copy() for p in student.growth_.teacher.parameters]
    teacher.partial_fit(X[OLD], LABELS[OLD])  # which writes into coefs_
    assert not np.array_equal(before[0], teacher.coefs_[0].T)
    for now, then in zip(student.growth_.teacher.parameters, before, strict=True):
        assert_array_equal(now, then)


def test_named_columns_of_old_data_reach_a_scaled_student_in_any_order():
    teacher = teach(StandardScaler(), FRAME.iloc[:, [4, 1, 7]])
    orders = [FRAME.columns, FRAME.columns[::-1]]
    first, second = (
        quick(teacher).fit(FRAME, LABELS, teacher_data=(FRAME.loc[OLD, order], LABELS[OLD]))
        for order in orders
    )
    assert same_parameters(first, second)


@pytest.mark.parametrize("scaler", SCALERS, ids=repr)
def test_a_scaled_student_answers_for_sparse_rows_and_under_attack_as_for_raw_ones(scaler):
    student = quick(teach(scaler, WINE[:, :8]), max_iter=60).fit(WINE, LABELS)
    assert_allclose(student.predict_proba(csr_matrix(WINE)), student.predict_proba(WINE), rtol=0, atol=1e-9)
    blueprint, X = student.blueprint_, torch.tensor(WINE, requires_grad=True)
    assert np.abs(blueprint.folded().biases[0] - blueprint.biases[0]).max() > 0 or scaler is SCALERS[3]
    a = X * torch.tensor(blueprint.input_scale) + torch.tensor(blueprint.input_shift)
    for weight, bias in zip(blueprint.weights[:-1], blueprint.biases[:-1], strict=True):
        a = torch.relu(a @ torch.tensor(weight).T + torch.tensor(bias))
    logits = a @ torch.tensor(blueprint.weights[-1]).T + torch.tensor(blueprint.biases[-1])
    torch.nn.functional.cross_entropy(logits, torch.tensor(LABELS), reduction="sum").backward()
    epsilon = 0.2 * WINE.std(axis=0)
    attacked = WINE + epsilon * np.sign(X.grad.numpy())
    score = student.robustness_score(WINE, LABELS, epsilon=epsilon)
    assert score == pytest.approx(student.score(attacked, LABELS))
    assert 0 < score < student.score(WINE, LABELS)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("scaled", [False, True])
def test_a_neighbourhood_wider_than_the_data_is_warned_of(scaled):
    X, y = load_wine(return_X_y=True)
    X = StandardScaler().fit_transform(X) * 1e-3
    old = y < 2
    classifier = LogisticRegression(C=1e8, max_iter=5000)
    teacher = (make_pipeline(StandardScaler(), classifier) if scaled else classifier).fit(X[old], y[old])
    student = AntiDistilledMLPClassifier(teacher, max_iter=1, random_state=0)
    with pytest.warns(UserWarning, match=re.escape("delta=0.02 is 20 times the standard deviation of a")):
        student.fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        student.set_params(delta=0.02 * X.std(axis=0)).fit(X, y)


def test_a_width_beyond_some_columns_of_a_scaled_teacher_warns():
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    teacher = make_pipeline(StandardScaler(), LogisticRegression()).fit(X.iloc[:, :4], y)
    n_wide = int((X.std(ddof=0) < 0.02).sum())
    message = (
        f"delta=0.02 is more than the standard deviation of {n_wide} of 30 columns, so that the noise may"
    )
    assert 3 < n_wide < 15
    with pytest.warns(UserWarning, match=re.escape(message)):
        quick(teacher).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        quick(teacher, delta=0.02 * X.std()).fit(X, y)
