"""A network handed to other libraries says what the estimator says, on raw inputs."""

import re
import sys
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC
from strategies import module_of, networks

from skantidistill import to_art, to_torch
from skantidistill.teachers import read_teacher
from tests.test_robustness import fit_logistic, fit_mlp, fit_student, make_rows


def scaled(scaler):
    X, y = make_rows()
    return make_pipeline(scaler, LogisticRegression(max_iter=1000)).fit(X * [1, 100, 1, 1] + 5, y)


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_module_has_the_probabilities_of_the_network(n_classes, activation):
    mlp, X = fit_mlp(n_classes, activation), make_rows(n_classes)[0]
    module = to_torch(mlp, dtype=torch.float64)
    assert not module.training
    with torch.no_grad():
        logits = module(torch.tensor(X)).numpy()
    assert_allclose(softmax(logits, axis=1), mlp.predict_proba(X), rtol=1e-9, atol=1e-12)
    assert_array_equal(mlp.classes_[logits.argmax(axis=1)], mlp.predict(X))
    assert len(np.unique(logits.argmax(axis=1))) == n_classes


@pytest.mark.parametrize("scaler", [StandardScaler(), MinMaxScaler()], ids=repr)
def test_scalers_are_part_of_the_first_layer(scaler):
    pipeline, X = scaled(scaler), make_rows()[0] * [1, 100, 1, 1] + 5
    module = to_torch(pipeline, dtype=torch.float64)
    assert [type(m) for m in module] == [torch.nn.Linear]
    with torch.no_grad():
        logits = module(torch.tensor(X)).numpy()
    assert_allclose(softmax(logits, axis=1), pipeline.predict_proba(X), rtol=1e-9, atol=1e-12)


def test_scalers_are_folded_in_double_precision_whatever_the_module_is_in():
    # The bias that takes in a shift of 1e4 is a small difference of large products.
    X, y = make_rows()
    far = (X + 1e4).astype(np.float32)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(far, y)
    blueprint = read_teacher(pipeline)
    assert blueprint.dtype == np.float32
    wide = blueprint.astype(np.float64).folded()
    for dtype in (torch.float64, torch.float32, None):
        weight, bias = (p.detach().numpy() for p in to_torch(pipeline, dtype=dtype).parameters())
        assert_array_equal(weight, wide.weights[0].astype(weight.dtype))
        assert_array_equal(bias, wide.biases[0].astype(bias.dtype))
    module = to_torch(pipeline, dtype=torch.float64)
    assert_allclose(
        module(torch.from_numpy(far).double()).detach().numpy(),
        blueprint.astype(np.float64).logits(far.astype(float)),
        rtol=0,
        atol=1e-9,
    )
    # Sibling: folded in single precision it is another function.
    assert np.abs(blueprint.folded().biases[0] - wide.biases[0]).max() > 1e-4


@given(networks())
def test_reading_the_module_gives_the_network_back(net):
    blueprint = read_teacher(module_of(net))
    again = read_teacher(to_torch(module_of(net), dtype=None))
    for got, expected in zip(again.parameters, blueprint.parameters, strict=True):
        assert_array_equal(got, expected)
        assert got.dtype == expected.dtype
    assert again.activation == blueprint.activation


def test_the_dtype_is_single_by_default_and_the_estimators_own_for_none():
    student = fit_student()
    assert student.blueprint_.dtype == np.float64
    for dtype, expected in [(torch.float32, torch.float32), (None, torch.float64)]:
        assert {p.dtype for p in student.to_torch(dtype=dtype).parameters()} == {expected}
    assert {p.dtype for p in to_torch(student).parameters()} == {torch.float32}
    for bad in ("float32", torch.int64):
        message = f"dtype={bad!r} must be a floating dtype of torch, such as torch.float64, or None."
        with pytest.raises(TypeError, match=re.escape(message)):
            to_torch(student, dtype=bad)


def test_the_module_shares_no_memory_with_the_estimator():
    mlp = fit_mlp()
    before = [p.copy() for p in (*mlp.coefs_, *mlp.intercepts_)]
    with torch.no_grad():
        for parameter in to_torch(mlp, dtype=None).parameters():
            assert parameter.requires_grad
            parameter += 1
    for now, then in zip((*mlp.coefs_, *mlp.intercepts_), before, strict=True):
        assert_array_equal(now, then)


def test_what_cannot_be_read_cannot_be_handed_on():
    X, y = make_rows()
    for hand_on in (to_torch, to_art):
        with pytest.raises(TypeError, match=re.escape("SVC can't be read as a network")):
            hand_on(SVC().fit(X, y))


# --- Adversarial Robustness Toolbox ---------------------------------------------------------------------


def test_an_art_classifier_predicts_as_the_estimator():
    X = make_rows()[0]
    for estimator in (fit_mlp(), fit_logistic(3), fit_student()):
        classifier = to_art(estimator)
        predicted = classifier.predict(X.astype(np.float32)).argmax(axis=1)
        clear = np.diff(np.sort(read_teacher(estimator).logits(X), axis=1)[:, -2:])[:, 0] > 1e-4
        assert clear.mean() > 0.9  # the others are ties in single precision
        assert_array_equal(estimator.classes_[predicted][clear], estimator.predict(X)[clear])
        assert classifier.clip_values is None
        assert classifier.input_shape == (4,)
        assert classifier.nb_classes == 3


def test_bounds_are_the_clip_values():
    student = fit_student(bounds=(-20, 20))
    assert_array_equal(student.to_art().clip_values, (-20, 20))
    assert_array_equal(student.to_art(bounds=(-9, 9)).clip_values, (-9, 9))
    assert to_art(student).clip_values is None
    low, high = student.to_art(bounds=(-9, [1, 2, 3, 4])).clip_values
    assert_array_equal(low, [-9] * 4)
    assert_array_equal(high, [1, 2, 3, 4])
    with pytest.raises(ValueError, match=re.escape("bounds=(1, 0) must have low < high for every feature.")):
        student.to_art(bounds=(1, 0))


def test_a_missing_toolbox_is_named_with_its_remedy():
    with mock.patch.dict(sys.modules, {"art": None, "art.estimators.classification": None}):
        message = "install it by: pip install adversarial-robustness-toolbox"
        with pytest.raises(ImportError, match=re.escape(message)) as caught:
            fit_student().to_art()
    assert str(caught.value).startswith("to_art needs art, which can't be imported (")
