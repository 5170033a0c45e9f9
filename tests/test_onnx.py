"""An ONNX model predicts what the classifier did that it was made of, in onnxruntime."""

import re
import sys
from unittest import mock

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, StandardScaler
from sklearn.svm import SVC
from strategies import ACTIVATIONS

from skantidistill import AntiDistilledMLPClassifier, to_onnx, to_sklearn
from tests.problems import digits, fitted_teacher, named, named_teacher, quick
from tests.test_robustness import fit_logistic, fit_student, make_rows

pytest.importorskip("skl2onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

#: Rounding errors of sums of at most some hundred products of numbers around 1.
TOLERANCE = {np.float64: 1e-10, np.float32: 1e-5}


def run_onnx(model, X):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["X"]
    assert [o.name for o in session.get_outputs()] == ["label", "probabilities"]
    return session.run(None, {"X": X})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scaler", [None, StandardScaler(), MaxAbsScaler()], ids=repr)
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_onnx_predicts_as_the_student(activation, n_classes, scaler, dtype):
    X, y = make_rows(n_classes)
    mlp = MLPClassifier((6,), activation, max_iter=100, learning_rate_init=0.02, random_state=0)
    student = quick(make_pipeline(scaler, mlp).fit(X, y) if scaler else mlp.fit(X, y), delta=0.1).fit(X, y)
    X = X.astype(dtype)
    labels, probabilities = run_onnx(student.to_onnx(dtype=dtype), X)
    assert probabilities.dtype == dtype
    assert_allclose(probabilities, student.predict_proba(X), rtol=0, atol=TOLERANCE[dtype])
    assert_array_equal(labels, student.predict(X))
    assert len(np.unique(labels)) == n_classes


@pytest.mark.parametrize("kind", ["strings", "integers", "negative integers", "floats"])
def test_onnx_has_the_labels(kind):
    X, y = digits(kind)
    X = X.astype(np.float32)
    student = quick(fitted_teacher(kind)).fit(X, y)
    labels, probabilities = run_onnx(to_onnx(student, dtype=None), X)
    assert_array_equal(labels, student.predict(X))
    assert_allclose(probabilities, student.predict_proba(X), rtol=0, atol=1e-5)
    assert len(np.unique(labels)) == 6
    assert labels.dtype == (object if kind == "strings" else np.int64)


def test_onnx_takes_linear_models_names_and_unsorted_outputs():
    X, _ = make_rows()
    linear = fit_logistic(3)
    labels, probabilities = run_onnx(to_onnx(linear, dtype=np.float64), X)
    assert_allclose(probabilities, linear.predict_proba(X), rtol=0, atol=1e-10)
    module = torch.nn.Sequential(torch.nn.Linear(4, 3)).double()
    labels, probabilities = run_onnx(to_onnx(module, classes=["cow", "ant", "bee"], dtype=None), X)
    assert_array_equal(labels, np.array(["ant", "bee", "cow"])[probabilities.argmax(axis=1)])
    assert_array_equal(labels, to_sklearn(module, classes=["cow", "ant", "bee"]).predict(X))
    frame, y = named(digits()[0]), digits()[1]
    student = quick(named_teacher()).fit(frame, y)
    labels, _ = run_onnx(student.to_onnx(dtype=np.float64), frame.to_numpy())
    assert_array_equal(labels, student.predict(frame))


def test_onnx_may_be_of_an_older_version():
    model = to_onnx(fit_student(), target_opset=15)
    assert {opset.domain: opset.version for opset in model.opset_import}[""] == 15
    X = make_rows()[0].astype(np.float32)
    assert_array_equal(run_onnx(model, X)[0], fit_student().predict(X))


def test_onnx_refuses_what_it_would_not_keep():
    module = torch.nn.Sequential(torch.nn.Linear(4, 2))
    message = "The labels 0 to 1099511627776 do not fit into 32 bits, which is what skl2onnx keeps of them"
    with pytest.raises(ValueError, match=re.escape(message)):
        to_onnx(module, classes=[2**40, 0])
    for dtype in (np.float16, "floaty"):
        with pytest.raises(
            TypeError, match=re.escape(f"dtype={dtype!r} must be numpy.float32, numpy.float64 or")
        ):
            to_onnx(module, dtype=dtype)


def test_a_missing_converter_is_named_with_its_remedy():
    with (
        mock.patch.dict(sys.modules, {"skl2onnx": None}),
        pytest.raises(ImportError, match=re.escape("install it by: pip install skl2onnx")) as caught,
    ):
        fit_student().to_onnx()
    assert str(caught.value).startswith("to_onnx needs skl2onnx, which can't be imported (")


def test_what_cannot_be_read_or_is_not_fitted_cannot_be_handed_on():
    with pytest.raises(TypeError, match=re.escape("SVC can't be read as a network")):
        to_onnx(SVC().fit(*make_rows()))
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        AntiDistilledMLPClassifier().to_onnx()
