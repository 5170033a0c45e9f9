"""Bad input gets one error, before training, that says what is wrong, what was got and what would work."""

import re
import warnings
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import config_context
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from skorch.callbacks import EarlyStopping

from skantidistill import robustness_score, training
from skantidistill.starts import STARTS
from tests.problems import digits, fitted_teacher, old_rows, quick, same_parameters

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def refuse(student, error, *words, X=None, y=None, during_training=False, **fit_params):
    """Check that ``fit`` raises an error with these words, before any training, and leaves nothing behind."""
    X, y = digits()[0] if X is None else X, digits()[1] if y is None else y
    before = dict(vars(student))
    began = AssertionError("training began")
    with (
        mock.patch("skantidistill.training.train", side_effect=training.train if during_training else began),
        mock.patch.object(MLPClassifier, "fit", side_effect=began),
        pytest.raises(error) as caught,
    ):
        student.fit(X, y, **fit_params)
    for word in words:
        assert re.search(re.escape(word), str(caught.value)), str(caught.value)
    assert vars(student) == before


def test_unreadable_teacher_names_its_type_and_those_that_can_be_read():
    X, y = digits()
    forest = RandomForestClassifier(2).fit(X, y)
    words = ("RandomForestClassifier can't be read", "LogisticRegression", "MLPClassifier")
    refuse(quick(forest), TypeError, *words)
    refuse(quick(RandomForestClassifier(2)), TypeError, *words)
    refuse(quick("a teacher"), TypeError, "str can't be read")
    refuse(quick(MLPClassifier), TypeError, "The class MLPClassifier can't be read", "Give an instance")
    unreadable = make_pipeline(PCA(2), MLPClassifier())
    refuse(quick(unreadable), TypeError, "The step 'pca' is a PCA", "Give the pipeline's last step")
    refuse(quick(make_pipeline(StandardScaler(), SVC())), TypeError, "SVC can't be read", *words[1:])


def test_unfitted_teacher_without_old_data():
    words = ("The teacher, MLPClassifier, is not fitted", "teacher_data", "FrozenEstimator")
    refuse(quick(MLPClassifier()), ValueError, *words)


def test_teacher_layer_wider_than_the_students():
    words = "hidden_layer_sizes=(3,) cannot hold the teacher's hidden layer 1 of 8 units; use at least 8."
    refuse(quick(fitted_teacher(), hidden_layer_sizes=(3,)), ValueError, words)


def test_fewer_layers_than_the_teachers():
    teacher = fitted_teacher(hidden=(8, 4))
    words = ("hidden_layer_sizes=(16,)", "fewer layers than the teacher's (8, 4)", "at least 2 layers")
    refuse(quick(teacher, hidden_layer_sizes=(16,)), ValueError, *words)


def test_inserted_layers_that_cannot_carry_the_teacher():
    words = ("hidden_layer_sizes=(16, 5)", "cannot carry the teacher's 3 classes", "use at least 6")
    refuse(quick(fitted_teacher(), hidden_layer_sizes=(16, 5)), ValueError, *words)
    linear = LogisticRegression(max_iter=500).fit(*digits())
    words = ("hidden_layer_sizes=(11,)", "the teacher's 6 classes", "use at least 12 (2 a class for 'relu')")
    refuse(quick(linear, hidden_layer_sizes=(11,)), ValueError, *words)


def test_fewer_features_than_the_teachers():
    X = digits()[0][:, :60]
    refuse(quick(fitted_teacher()), ValueError, "X has 60 features", "fitted on 64", X=X)


def test_transfer_into_other_sizes():
    words = ("hidden_layer_sizes=(16,) differs from the teacher's", "use hidden_layer_sizes=(8,)")
    refuse(quick(fitted_teacher(), start="transfer", hidden_layer_sizes=(16,)), ValueError, *words)


def test_a_start_of_other_shapes():
    def short(growth, random_state):
        return STARTS["zero"](growth)[:2]

    words = (
        "returned parameters of shapes [(16, 64), (16,)]",
        "have the shapes [(16, 64), (16,), (6, 16), (6,)]",
    )
    refuse(quick(fitted_teacher(), start=short), ValueError, *words)


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (None, TypeError, ("must return arrays of numbers (W_1, b_1, ...), got NoneType",)),
        ([["a"]], TypeError, ("must return arrays of numbers", "got list", "could not convert")),
        ([[1, [2]]], TypeError, ("must return arrays of numbers", "got list")),
    ],
)
def test_a_start_that_returns_no_parameters(value, error, words):
    refuse(
        quick(fitted_teacher(), start=lambda growth, random_state: value), error, "start=<function", *words
    )


def test_a_start_that_is_not_finite():
    def broken(growth, random_state):
        return [p * np.nan for p in STARTS["zero"](growth)]

    words = ("start=<function", "returned parameters that are NaN or infinite")
    refuse(quick(fitted_teacher(), start=broken), ValueError, *words)


def test_labels_in_teacher_data_that_the_teacher_does_not_know():
    words = ("teacher_data has labels that the teacher doesn't know", "'five'", "['four', 'one', 'two']")
    refuse(quick(fitted_teacher()), ValueError, *words, teacher_data=digits())
    rows = np.ones(len(digits()[0]), dtype=bool)
    words = ("teacher_rows has labels that the teacher doesn't know",)
    refuse(quick(fitted_teacher()), ValueError, *words, teacher_rows=rows)


@pytest.mark.parametrize("labels", ["numbers", "booleans"])
def test_labels_of_another_kind_than_the_teachers(labels):
    y = digits("integers")[1] if labels == "numbers" else digits("integers")[1] > 9
    kind = "numeric" if labels == "numbers" else "boolean"
    words = (f"y has {kind} labels", "the teacher's classes are string", "teacher_classes")
    refuse(quick(fitted_teacher()), ValueError, *words, y=y)
    X1, y1 = digits("integers")
    words = ("teacher_data has numeric labels", "teacher_classes")
    refuse(quick(fitted_teacher()), ValueError, *words, teacher_data=(X1, y1))


def test_both_ways_to_name_the_old_rows():
    X, y = digits()
    rows = old_rows()
    words = "Both teacher_data and teacher_rows are given; give one of them."
    refuse(quick(fitted_teacher()), ValueError, words, teacher_data=(X[rows], y[rows]), teacher_rows=rows)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity(bad):
    X = digits()[0]
    broken = X.copy()
    broken[3, 5] = bad
    refuse(quick(fitted_teacher()), ValueError, "Input X contains", X=broken)
    rows = np.flatnonzero(old_rows())
    rows[0] = 3
    refuse(
        quick(fitted_teacher()),
        ValueError,
        "Input teacher_data contains",
        teacher_data=(broken[rows], np.full(len(rows), "one")),
    )
    weight = np.ones(len(X))
    weight[0] = bad
    refuse(quick(fitted_teacher()), ValueError, "sample_weight contains", sample_weight=weight)


@pytest.mark.parametrize(
    "name", ["lambda_ce", "lambda_teacher", "lambda_noise", "lambda_trace", "parameter_noise_std", "alpha"]
)
@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf, "much"])
def test_negative_or_senseless_weights(name, value):
    refuse(quick(fitted_teacher(), **{name: value}), ValueError, f"'{name}' parameter", str(value))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (-0.1, ("delta=-0.1", "not negative")),
        (np.nan, ("delta=nan", "finite")),
        (np.full(64, -1.0), ("delta is -1.0 for feature 0; it must be finite and not negative",)),
        (np.float64(-1), ("delta=-1.0 must be finite",)),
        (np.ones(3), ("delta has shape (3,)", "X has 64 features", "(64,)")),
    ],
)
def test_bad_delta(value, words):
    refuse(quick(fitted_teacher(), delta=value), ValueError, *words)


def test_delta_that_is_no_number():
    refuse(quick(fitted_teacher(), delta="small"), TypeError, "delta='small' is no number")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ((1, 0), "must have low < high"),
        (3, "is not a pair (low, high)"),
        ((0, 0.5), "X has a value outside bounds"),
        ((np.zeros(3), 1), "bounds have shapes (3,) and ()"),
    ],
)
def test_bad_bounds(value, words):
    refuse(quick(fitted_teacher(), bounds=value), ValueError, words)


def test_empty_old_data():
    X, y = digits()
    words = "teacher_data is empty"
    refuse(quick(fitted_teacher()), ValueError, words, teacher_data=(X[:0], y[:0]))
    rows = np.zeros(len(X), dtype=bool)
    refuse(quick(fitted_teacher()), ValueError, "teacher_rows is False for every row", teacher_rows=rows)


@pytest.mark.parametrize(
    ("rows", "error", "words"),
    [
        (np.arange(480), TypeError, "teacher_rows must be a boolean mask"),
        (np.ones(7, dtype=bool), ValueError, "teacher_rows has shape (7,), but X has 480 rows"),
    ],
)
def test_bad_teacher_rows(rows, error, words):
    refuse(quick(fitted_teacher()), error, words, teacher_rows=rows)


def test_bad_teacher_data():
    X, y = digits()
    student = quick(fitted_teacher())
    refuse(student, TypeError, "teacher_data must be a tuple (X1, y1)", "ndarray", teacher_data=X)
    refuse(student, TypeError, "tuple of length 1", teacher_data=(X,))
    rows = old_rows()
    few, many = (X[rows, :5], y[rows]), (np.column_stack([X, X])[rows], y[rows])
    refuse(student, ValueError, "teacher_data has 5 features, the teacher 64 and X 64", teacher_data=few)
    refuse(student, ValueError, "teacher_data has 128 features, but X has 64", teacher_data=many)
    refuse(student, ValueError, "480 rows in X but 3 labels", teacher_data=(X, y[:3]))
    for X1 in ([[1.0, 2.0], [3.0]], [["a", "b"]], X[0], None):  # ragged, strings, a vector, nothing
        refuse(student, ValueError, "teacher_data: ", teacher_data=(X1, y[:1]))


def test_old_data_without_a_teacher_is_a_warning():
    X, y = digits()
    rows = old_rows()
    with pytest.warns(UserWarning, match="teacher_data is ignored, because teacher=None"):
        quick().fit(X, y, teacher_data=(X[rows], y[rows]))
    with pytest.warns(UserWarning, match="teacher_rows is ignored, because teacher=None"):
        quick().fit(X, y, teacher_rows=rows)


def test_fewer_than_two_classes():
    words = ("y has one class only", "'one'", "at least 2 classes")
    refuse(quick(), ValueError, *words, y=np.full(480, "one"))


def test_no_row_that_the_teacher_knows_is_a_warning_that_says_what_falls_away():
    X, y = digits()
    new = ~old_rows()
    with (
        pytest.warns(UserWarning, match="phi is skipped, so that lambda_ce and lambda_teacher"),
        pytest.warns(UserWarning, match="the student gets no output for them"),
    ):
        student = quick(fitted_teacher()).fit(X[new], y[new])
    assert student.phi_history_ == []


def test_warnings_point_to_the_call_of_fit():
    X, y = digits()
    new, known = y == "five", np.isin(y, ["one", "two"])
    old = X[old_rows()], y[old_rows()]
    swap = {"one": "two", "two": "four", "four": "one"}
    swapped = np.array([swap.get(label, label) for label in y.tolist()])
    calls = [
        (quick(fitted_teacher()), {"y": np.where(new, "six", "seven")}, "No row of y"),
        (quick(fitted_teacher()), {"X": X[known], "y": y[known]}, "have no row in y or teacher_data"),
        (quick(fitted_teacher()), {"y": swapped}, "The teacher's accuracy"),
        (quick(fitted_teacher()), {"X": 1000 * X}, "root mean square"),
        (quick(fitted_teacher(), start="net2net"), {}, "divides the teacher's weights"),
        (quick(fitted_teacher()), {"X": X[known], "y": y[known], "teacher_data": old}, "forgets"),
        (quick(), {"teacher_rows": old_rows()}, "is ignored"),
        (quick(fitted_teacher()), {}, "Maximum iterations"),
    ]
    for student, changed, words in calls:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            student.fit(**{"X": X, "y": y, **changed})
        found = [w for w in caught if words in str(w.message)]
        assert found, words
        assert found[0].filename == __file__, words


def test_classes_at_a_loss_are_named():
    X, y = digits()
    some = y != "four"
    with pytest.warns(UserWarning, match=re.escape("teacher's classes ['four'] have no row")):
        student = quick(fitted_teacher()).fit(X[some], y[some])
    assert "four" not in student.classes_
    with pytest.warns(UserWarning, match=re.escape("['four'] are in teacher_data but not in y")):
        student = quick(fitted_teacher()).fit(X[some], y[some], teacher_data=(X[old_rows()], y[old_rows()]))
    assert "four" in student.classes_


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"start": "zeros"}, ("start='zeros' is unknown", "'transfer', 'uniform', 'xavier', 'zero']")),
        ({"hidden_layer_sizes": (8.5,)}, ("hidden_layer_sizes=(8.5,) must be positive integers",)),
        ({"hidden_layer_sizes": (0,)}, ("hidden_layer_sizes=(0,) must be positive integers",)),
        ({"hidden_layer_sizes": "wide"}, ("hidden_layer_sizes", "'auto'")),
        ({"activation": "tanh"}, ("activation='tanh' differs from the teacher's 'relu'",)),
        ({"trace": "rough"}, ("'trace' parameter", "sampled")),
        ({"neighborhood": "far"}, ("'neighborhood' parameter", "adversarial")),
        ({"regularize": "never"}, ("'regularize' parameter", "'fit'")),
        ({"teacher_classes": ["one", "two"]}, ("teacher_classes", "3 outputs")),
        ({"teacher_classes": ["one", "one", "two"]}, ("teacher_classes", "distinct")),
        ({"device": "abacus"}, ("device='abacus'",)),
    ],
)
def test_bad_parameters_name_what_would_work(params, words):
    refuse(quick(fitted_teacher(), **params), ValueError, *words)


@pytest.mark.parametrize("stage", ["phi", "Iteration"])
def test_divergence_names_the_term_that_went_first(stage):
    steps = {"phi": {"phi_learning_rate_init": 1e30}, "Iteration": {"learning_rate_init": 1e30}}[stage]
    student = quick(fitted_teacher(), **steps)
    words = ("Training diverged in " + stage, "became infinite or NaN", "phi_learning_rate_init")
    refuse(student, ValueError, *words, X=digits()[0].astype(np.float32), during_training=True)


def test_a_failed_fit_keeps_the_earlier_one():
    X, y = digits()
    student = quick(fitted_teacher()).fit(X, y)
    before = student.predict_proba(X)
    with pytest.raises(ValueError, match="contains NaN"):
        student.fit(np.full_like(X, np.nan), y)
    np.testing.assert_array_equal(student.predict_proba(X), before)


def test_several_labels_a_row_are_named():
    X, y = digits()
    words = "y should be a 1d array, got an array of shape (480, 2) instead. Several labels a row (multi"
    for labels in (np.column_stack([y == "one", y == "two"]).astype(int), np.column_stack([y, y])):
        refuse(quick(), ValueError, words, y=labels)
        with pytest.raises(ValueError, match=re.escape(words)):
            quick().partial_fit(X, labels, classes=np.unique(labels))
    # What the message says to do works.
    assert MultiOutputClassifier(quick(max_iter=1)).fit(X, labels).predict(X).shape == (480, 2)


def test_inputs_too_large_for_the_terms_are_a_warning():
    X, y = digits()
    with pytest.warns(UserWarning, match="X has a root mean square of .* Scale X for the teacher"):
        quick().fit(255 * X, y)
    quick(lambda_noise=0, lambda_trace=0).fit(255 * X, y)  # a warning would be an error
    quick().fit(16 * X, y)


def test_teacher_of_another_scale_is_noticed():
    X, y = digits()
    with pytest.warns(UserWarning, match="Is X scaled as it was for the teacher"):
        quick(fitted_teacher()).fit(1 - X, y)


@pytest.mark.parametrize(
    ("params", "error", "words"),
    [
        ({"hidden_layer_sizes": (3,)}, ValueError, "cannot hold the teacher's hidden layer 1 of 8 units"),
        ({"hidden_layer_sizes": ()}, ValueError, "has fewer layers than the teacher's (8,)"),
        ({"hidden_layer_sizes": (0,)}, ValueError, "must be positive integers"),
        ({"activation": "tanh"}, ValueError, "activation='tanh' differs from the teacher's 'relu'"),
        ({"teacher_classes": ["one", "two"]}, ValueError, "does not name the teacher's 3 outputs"),
        ({"teacher_classes": ["one", 2, "four"]}, ValueError, "mixes labels of the types ['int', 'str']"),
        ({"callbacks": ["x"]}, TypeError, "callbacks has 'x', which is no skorch callback"),
    ],
)
def test_an_unfitted_teacher_is_not_fitted_in_vain(params, error, words):
    refuse(quick(MLPClassifier((8,)), **params), error, words, teacher_rows=old_rows())


def test_an_unfitted_teacher_needs_two_classes():
    X, y = digits()
    rows = y == "one"
    refuse(quick(MLPClassifier((8,))), ValueError, "teacher_rows has one class only", teacher_rows=rows)
    refuse(quick(MLPClassifier((8,))), ValueError, "teacher_data has one", teacher_data=(X[rows], y[rows]))


def test_a_teacher_of_one_class_is_refused():
    X, y = digits()
    constant = MLPClassifier((4,), max_iter=1).fit(X[y == "one"], y[y == "one"])
    refuse(quick(constant), ValueError, "teacher knows one class only, 'one'")


def test_too_few_rows_to_set_aside():
    X, y = digits()
    student = quick(fitted_teacher(), early_stopping=True)
    words = ("validation_fraction=0.1 of 40 rows can't be set aside", "as many rows as there are classes, 6;")
    refuse(student, ValueError, *words, X=X[:40], y=y[:40])


def test_labels_that_the_teacher_means_otherwise():
    y = 1 - np.isin(digits("integers")[1], [4, 9])
    classes = [0, 1, 2]  # 0 and 1 stand for others than y's
    words = ("If [0, 1] are y's own labels", "name its outputs in y's labels by teacher_classes")
    with pytest.warns(UserWarning, match="have no row in y"):
        refuse(quick(fitted_teacher(), teacher_classes=classes), ValueError, *words, y=y)


@pytest.mark.parametrize(
    ("class_weight", "words"),
    [
        ({"one": -3.0}, "class_weight['one']=-3.0 must be a finite number >= 0"),
        ({"one": np.nan}, "class_weight['one']=nan must be a finite number >= 0"),
        ({1: 2.0}, "class_weight names [1], none of which is a label of y"),
        (dict.fromkeys(["zero", "one", "two", "three", "four", "five"], 0), "is zero for every row"),
    ],
)
def test_bad_class_weight(class_weight, words):
    refuse(quick(fitted_teacher(), class_weight=class_weight), ValueError, words)


def test_bad_labels_and_weights_in_teacher_data():
    X, y = digits()
    rows = np.flatnonzero(old_rows())
    mixed = y[rows].astype(object)
    mixed[0] = 3
    student = quick(fitted_teacher())
    refuse(student, ValueError, "teacher_data mixes labels of the types", teacher_data=(X[rows], mixed))
    weight = np.full(len(rows), -1.0)
    words = "teacher_data's sample_weight"
    refuse(student, ValueError, words, teacher_data=(X[rows], y[rows], weight))
    refuse(student, ValueError, words, teacher_data=(X[rows], y[rows], weight[1:]))
    refuse(student, ValueError, "is empty", teacher_data=([], []))


def test_first_partial_fit_refuses_labels_outside_classes_before_phi():
    X, y = digits()
    with (
        mock.patch("skantidistill.training.train", side_effect=AssertionError("training began")),
        pytest.raises(ValueError, match=re.escape("['five', 'three', 'zero'] that this student has no")),
    ):
        quick(fitted_teacher()).partial_fit(X, y, classes=["one", "two", "four"])


def test_a_frozen_teacher_that_is_not_fitted():
    frozen = FrozenEstimator(MLPClassifier((4,)))
    words = "FrozenEstimator around a MLPClassifier that is not fitted"
    refuse(quick(frozen), ValueError, words)
    refuse(quick(frozen), ValueError, words, teacher_rows=old_rows())


@pytest.mark.parametrize(
    "name",
    [
        "alpha",
        "batch_size",
        "lambda_ce",
        "lambda_noise",
        "lambda_teacher",
        "lambda_trace",
        "parameter_noise_std",
    ],
)
def test_switches_are_no_numbers(name):
    words = f"{name}=True is no number; give one, such as {name}=1."
    refuse(quick(fitted_teacher(), **{name: True}), TypeError, words)


def test_ragged_layers():
    words = "hidden_layer_sizes=[[1], [1, 2]] must be positive integers, one a layer; give for example (100,)"
    refuse(quick(fitted_teacher(), hidden_layer_sizes=[[1], [1, 2]]), ValueError, words)


@pytest.mark.parametrize("bounds", ["01", (None, 1), (0, "1"), (False, True)])
def test_bounds_that_are_no_numbers(bounds):
    words = f"bounds={bounds!r} is not a pair (low, high) of numbers; give for example (0, 1), (0, np.inf)"
    refuse(quick(fitted_teacher(), bounds=bounds), ValueError, words)


def test_a_device_that_holds_no_values_and_one_that_is_none():
    refuse(quick(fitted_teacher(), device="meta"), ValueError, "device='meta' can't be used here")
    words = "device='gpu' is no device of torch; use for example 'cpu', 'cuda' for a GPU of NVIDIA"
    refuse(quick(fitted_teacher(), device="gpu"), ValueError, words)


def test_a_misspelt_start():
    words = ("start='xaviar' is unknown", "Did you mean 'xavier'?")
    refuse(quick(fitted_teacher(), start="xaviar"), ValueError, *words)


@pytest.mark.parametrize(("odd", "types"), [(3, "['int', 'str']"), (None, "['NoneType', 'str']")])
def test_labels_of_several_types(odd, types):
    X, y = digits()
    mixed = y.astype(object)
    mixed[0] = odd
    refuse(quick(fitted_teacher()), ValueError, f"y mixes labels of the types {types}", y=mixed)
    pairs = pd.Series([(label, 0) for label in y])
    refuse(
        quick(fitted_teacher()),
        ValueError,
        "y has labels of the types ['tuple']; give labels of one",
        y=pairs,
    )
    if odd is not None:
        words = "teacher_data mixes labels of the types"
        refuse(quick(fitted_teacher()), ValueError, words, teacher_data=(X, mixed))


def test_integers_in_an_array_of_objects_are_labels():
    X, y = digits("integers")
    student = quick().fit(X, y.astype(object))
    assert student.classes_.dtype.kind == "i"
    assert same_parameters(student, quick().fit(X, y))


def test_labels_of_teacher_data_that_are_none_or_several_a_row():
    X, y = digits()
    words = "teacher_data has no labels, but None; give one label a row."
    refuse(quick(fitted_teacher()), TypeError, words, teacher_data=(X, None))
    words = "teacher_data: y should be a 1d array, got an array of shape (480, 2)"
    refuse(quick(fitted_teacher()), ValueError, words, teacher_data=(X, np.c_[y, y]))


def test_weights_in_a_dict_name_their_parameter():
    words = "sample_weight: float() argument must be a string or a real number, not 'dict'"
    refuse(quick(fitted_teacher()), TypeError, words, sample_weight={"one": 2.0})


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"alpha": "x"}, "The 'alpha' parameter of MLPClassifier must be"),
        ({"hidden_layer_sizes": "x"}, "The 'hidden_layer_sizes' parameter of MLPClassifier must be"),
        ({"activation": "gelu"}, "The 'activation' parameter of MLPClassifier must be"),
        ({"hidden_layer_sizes": (-4,)}, "hidden_layer_sizes must be > 0, got [-4]"),
    ],
)
def test_wrong_parameters_of_an_unfitted_teacher_are_told_by_the_teacher(params, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        quick(MLPClassifier(**params)).fit(*digits(), teacher_rows=old_rows())


@pytest.mark.parametrize("teacher", [None, "a teacher"])
def test_what_is_no_estimator_has_no_parameters_to_set(teacher):
    words = f"teacher__alpha can't be set: teacher={teacher!r} has no parameters. Give an unfitted teacher"
    with pytest.raises(ValueError, match=re.escape(words)):
        quick(teacher).set_params(teacher__alpha=1.0)


def test_later_calls_of_partial_fit_check_what_the_first_one_does():
    X, y = digits()
    for settings, words in [
        ({"device": "gpu"}, "device='gpu' is no"),
        ({"bounds": (0, 0.5)}, "outside bounds"),
    ]:
        student = quick(fitted_teacher()).partial_fit(X, y, classes=np.unique(y)).set_params(**settings)
        with pytest.raises(ValueError, match=words):
            student.partial_fit(X, y)


def test_a_callback_that_watches_what_is_not_there_is_told_what_is():
    with pytest.raises(KeyError, match="valid_loss") as caught:
        quick(fitted_teacher(), callbacks=[EarlyStopping()]).fit(*digits())
    (note,) = caught.value.__notes__
    assert "valid_loss and valid_acc need early_stopping=True" in note
    assert "train_loss" in note.split(";")[0]
    quick(fitted_teacher(), callbacks=[EarlyStopping()], early_stopping=True).fit(*digits())
    quick(fitted_teacher(), callbacks=[EarlyStopping(monitor="train_loss")]).fit(*digits())


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda X: X.tobytes(), ValueError, "X: could not convert string to float"),
        (lambda X: X + 1j, ValueError, "X: Complex data not supported"),
        (lambda X: [[10**400] * 64] * len(X), ValueError, "X: int too large to convert to float"),
        (lambda X: {1, 2}, TypeError, "X: float() argument must be"),
        (lambda X: X[1:], ValueError, "X and y: Found input variables with inconsistent numbers of samples"),
        (lambda X: np.where(X > 0, np.longdouble("1e4000"), X), ValueError, "Input X contains infinity"),
    ],
)
def test_inputs_that_are_no_numbers_are_named_in_a_short_error(change, error, words):
    X = change(digits()[0])
    refuse(quick(fitted_teacher()), error, words, X=X)
    with pytest.raises(error) as caught:
        quick().fit(X, digits()[1])
    assert len(str(caught.value)) <= 820
    if "inconsistent" not in words:
        student = quick().fit(*digits())
        for answer in (student.predict, lambda X: student.robustness_score(X, digits()[1])):
            with pytest.raises(error, match=re.escape(words)):
                answer(X)


class Refuses:
    """No array."""

    def __array__(self, *args, **kwargs):
        raise ValueError("no array")


def test_arguments_that_no_array_can_be_made_of_are_named():
    X, y = digits()
    student = quick(fitted_teacher())
    refuse(student, ValueError, "teacher_rows: no array", teacher_rows=Refuses())
    with pytest.raises(ValueError, match="mutable: no array"):
        robustness_score(fitted_teacher(), X, y, mutable=Refuses())
    refuse(quick(device="x" * 9999), ValueError, "device='xxxx", " ... is no device of torch")
    refuse(quick(start="x" * 9999), ValueError, "start='xxxx", " ... is unknown")
    refuse(student, ValueError, "teacher_rows: setting an array", teacher_rows=[[True], [True, False]])
    refuse(student, ValueError, "teacher_data: no array", teacher_data=(X, Refuses()))
    refuse(student, ValueError, "y: no array", y=Refuses())
    refuse(student, ValueError, "sample_weight: int too large", sample_weight=[10**400] * len(y))
    names = pd.DataFrame(X, columns=[*range(63), "last"])
    refuse(student, TypeError, "teacher_data: Feature names are only supported", teacher_data=(names, y))
    labels = np.char.encode(y)
    refuse(student, TypeError, "teacher_data has labels that are no classes", teacher_data=(X, labels))


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ([], "classes is empty; give all labels"),
        ([[1, 2], [3]], "classes: setting an array"),
        (3, "classes: y should be a 1d array"),
        ([1j, 2], "classes: Complex data not supported"),
        ([1, 2, {}], "classes mixes labels of the types ['dict', 'int']"),
        (Refuses(), "classes: no array"),
    ],
)
def test_senseless_classes_are_named(classes, words):
    student = quick(fitted_teacher())
    before = dict(vars(student))
    with pytest.raises(ValueError, match=re.escape(words)):
        student.partial_fit(*digits(), classes=classes)
    assert vars(student) == before


def test_a_list_that_mixes_strings_and_numbers_is_refused_though_numpy_makes_strings_of_it():
    X, y = digits()
    for odd in (3, np.nan):
        mixed = [odd, *y[1:].tolist()]
        assert np.asarray(mixed).dtype.kind == "U"
        refuse(quick(), ValueError, "y mixes labels of the types", y=mixed)
    assert quick().fit(X, [np.str_(y[0]), *y[1:].tolist()]).classes_.tolist() == np.unique(y).tolist()


@pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="NumPy 2 has them")
def test_numpys_new_strings_are_labels():
    X, y = digits()
    student = quick(fitted_teacher()).fit(X, y.astype(np.dtypes.StringDType()))
    assert same_parameters(student, quick(fitted_teacher()).fit(X, y))
    assert student.predict(X).tolist() == quick(fitted_teacher()).fit(X, y).predict(X).tolist()


@pytest.mark.parametrize("dtype", ["M8[D]", "m8[s]"])
def test_dates_are_no_numbers(dtype):
    X, y = digits("integers")
    dates = y.astype(dtype)
    student = quick(fitted_teacher("integers"))
    refuse(student, ValueError, "the teacher's classes are numeric", teacher_data=(X, dates))


@pytest.mark.parametrize(("weight", "size"), [(1e308, "large"), (5e-324, "small")])
def test_weights_that_cannot_be_summed_or_divided_by(weight, size):
    X, y = digits()
    words = ("sample_weight has values up to", f"too {size} to be computed with as float64")
    refuse(quick(fitted_teacher()), ValueError, *words, sample_weight=np.full(len(y), weight))
    refuse(
        quick(fitted_teacher(), class_weight="balanced"),
        ValueError,
        "sample_weight",
        sample_weight=np.full(len(y), 1e308),
    )
    single = {"X": X.astype(np.float32), "sample_weight": np.full(len(y), 1e38)}
    refuse(quick(fitted_teacher()), ValueError, "sample_weight has values up to 9.99", "as float32", **single)
    wide = np.linspace(1e-300, 1e300, len(y))  # whose mean can be taken
    quick(fitted_teacher(), max_iter=1).fit(X, y, sample_weight=wide)
    heavy = dict.fromkeys(np.unique(y).tolist(), 1e308)
    words = ("class_weight times sample_weight has values up to",)
    refuse(quick(fitted_teacher(), class_weight=heavy), ValueError, *words)


def test_weights_too_small_for_their_precision_count_as_nothing():
    """Such as those of old rows by which a stream is made to forget."""
    X, y = digits()
    X = X.astype(np.float32)
    decay = 0.75 ** np.arange(len(y), dtype=float)[::-1]
    assert 0 < decay.min() < np.finfo(np.float32).tiny
    seen = np.where(decay < np.finfo(np.float32).tiny, 0, decay)
    students = [quick(fitted_teacher(), max_iter=1).fit(X, y, sample_weight=w) for w in (decay, seen)]
    assert same_parameters(*students)
    assert not same_parameters(students[0], quick(fitted_teacher(), max_iter=1).fit(X, y))


def test_what_is_wrong_with_the_labels_is_not_said_of_the_inputs():
    X, y = digits("floats")
    broken = np.where(np.arange(len(y)) == 3, np.nan, y)
    with pytest.raises(ValueError, match=r"^Input y contains NaN"):
        quick().fit(X, broken)
    with pytest.raises(ValueError, match=r"^This AntiDistilledMLPClassifier estimator requires y"):
        quick().fit(X, None)
    for nothing in (3, "abc"):
        with pytest.raises(ValueError, match="y should be a 1d array") as caught:
            quick().fit(X, nothing)
        assert "multilabel" not in str(caught.value)


def test_strings_of_python_and_of_numpy_are_labels_of_one_kind():
    X, y = digits()
    mixed = [np.str_(label) if number % 2 else str(label) for number, label in enumerate(y)]
    plain = quick(fitted_teacher()).fit(X, y)
    for labels in (mixed, np.array(mixed, dtype=object)):
        assert same_parameters(plain, quick(fitted_teacher()).fit(X, labels))


class UnreadableError(ValueError):
    """What a user's own container raises."""


def test_an_error_of_the_users_own_kind_stays_that_error():
    class Rows:
        def __array__(self, dtype=None, copy=None):
            raise UnreadableError("the file is gone")

    with pytest.raises(UnreadableError, match=r"^the file is gone$"):
        quick().fit(Rows(), digits()[1])
    with pytest.raises(ValueError, match=r"^X: ") as caught:
        quick().fit([["a"] * 64] * len(digits()[1]), digits()[1])
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_later_partial_fit_validates_unless_scikit_learn_is_told_not_to():
    X, y = digits()
    student = quick().partial_fit(X, y, classes=np.unique(y)).set_params(shuffle="yes")
    with pytest.raises(ValueError, match="'shuffle' parameter"):
        student.partial_fit(X, y)
    with config_context(skip_parameter_validation=True):
        student.partial_fit(X, y)


@pytest.mark.parametrize(
    "name", ["alpha", "lambda_noise", "learning_rate_init", "phi_learning_rate_init", "tol"]
)
@pytest.mark.parametrize("value", [10**400, np.longdouble("1e4000")], ids=["integer", "longdouble"])
def test_numbers_that_are_no_floats(name, value):
    refuse(quick(fitted_teacher(), **{name: value}), ValueError, f"{name}=", "is too large for a float")


def test_integers_and_numpys_numbers_are_floats():
    X, y = digits()
    whole = {"lambda_ce": 2, "lambda_teacher": 1, "lambda_trace": np.int8(1), "alpha": np.float32(0.5)}
    same = {name: float(value) for name, value in whole.items()}
    assert same_parameters(
        quick(fitted_teacher(), **whole).fit(X, y), quick(fitted_teacher(), **same).fit(X, y)
    )
    with pytest.raises(ValueError, match="Training diverged"):
        quick(fitted_teacher(), alpha=10**30, learning_rate_init=10**30).fit(X.astype(np.float32), y)


def test_what_is_too_large_for_single_precision_is_refused_without_a_warning_of_numpy():
    X, y = digits()
    X = X.astype(np.float32)
    with pytest.warns(UserWarning, match="delta=1e"), pytest.raises(ValueError, match="Training diverged"):
        quick(fitted_teacher(), delta=1e300).fit(X, y)
    with pytest.warns(UserWarning, match="root mean square"), pytest.raises(ValueError, match="diverged"):
        quick(fitted_teacher()).fit(np.where(X > 0.9, np.float32(3e38), X), y)
    words = "delta=np.longdouble('1e+4000') must be finite"
    refuse(quick(fitted_teacher(), delta=np.longdouble("1e4000")), ValueError, words)


def test_a_loss_whose_mean_overflows_is_a_divergence():
    with pytest.raises(ValueError, match="Training diverged in phi, epoch 1"):
        quick(fitted_teacher(), lambda_noise=1.7e308).fit(*digits())


def test_inputs_that_overflow_a_student_get_no_answer():
    X, y = digits()
    for dtype, huge in ((np.float64, 1e308), (np.float32, 3e38)):
        student = quick(fitted_teacher()).fit(X.astype(dtype), y)
        far = X.astype(dtype)
        far[[5, 7]] = huge
        for answer in (student.predict, student.predict_proba, student.decision_function):
            with pytest.raises(ValueError, match=r"Row 5 of X makes the network overflow .* scale X"):
                answer(far)
        far[[5, 7]] = 1e6
        assert np.isfinite(student.predict_proba(far)).all()


@pytest.mark.parametrize("kind", ["fgsm", "input_noise", "parameter_noise", "pgd"])
def test_inputs_that_overflow_under_a_perturbation_get_no_score(kind):
    X, y = digits()
    student = quick(fitted_teacher()).fit(X, y)
    far = X.copy()
    far[5] = 1e308
    with np.errstate(all="raise"), pytest.raises(ValueError, match=r"Row 5 of X makes the network overflow"):
        robustness_score(student, far, y, kind, 0.1, random_state=0)
    assert robustness_score(student, X, y, kind, 0.1, random_state=0) > 0


def test_inputs_that_overflow_are_certified_for_nothing():
    X, y = digits()
    student = quick(fitted_teacher()).fit(X, y)
    far = np.where(np.arange(len(X))[:, None] == 5, 1e308, X)
    certified = [robustness_score(student, rows, y, "certified", 1e-6) for rows in (X, far)]
    assert certified[0] - certified[1] == pytest.approx((student.predict(X) == y)[5] / len(y))


def test_later_calls_of_partial_fit_check_parameters():
    X, y = digits()
    for name, value in {"batch_size": "much", "regularize": "never", "warm_start": "yes"}.items():
        student = quick(fitted_teacher()).partial_fit(X, y, classes=np.unique(y))
        with pytest.raises(ValueError, match=f"The '{name}' parameter"):
            student.set_params(**{name: value}).partial_fit(X, y)


def test_a_senseless_random_state_is_named_even_where_nothing_is_drawn():
    X, y = digits()
    for kind in ("fgsm", "pgd", "input_noise"):
        with pytest.raises(ValueError, match="random_state: 'x' cannot be used to seed"):
            robustness_score(fitted_teacher(), X[old_rows()], y[old_rows()], kind, random_state="x")


def test_labels_that_cannot_be_compared_with_the_classes_are_unknown():
    X, y = digits()
    with pytest.raises(ValueError, match="y has labels that the estimator doesn't know"):
        robustness_score(fitted_teacher(), X, [10**400 if label == "one" else 1 for label in y])


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="it is here")
def test_a_device_that_is_not_here_is_told_in_short():
    student = quick(device="mps")
    with pytest.raises(ValueError, match="device='mps' can't be used here") as caught:
        student.fit(*digits())
    assert len(str(caught.value)) < 300
