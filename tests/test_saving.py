"""A saved student comes back bit for bit, and goes on as it would have; no file is ever half written."""

import pickle
import re
import sys
import warnings
from pathlib import Path
from typing import ClassVar
from unittest import mock

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler
from skorch.callbacks import EpochScoring
from strategies import fitted_students

from skantidistill import AntiDistilledMLPClassifier
from skantidistill.blueprint import Blueprint
from skantidistill.growth import Growth
from skantidistill.starts import uniform
from skantidistill.student_parts import pack_labels
from skantidistill.teachers import read_teacher
from tests.problems import digits, fitted_teacher, named, named_teacher, old_rows, quick, same_parameters

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def same(a, b):
    """Say whether two values are equal bit for bit, in type and dtype, all through."""
    if isinstance(a, (Blueprint, Growth)):
        a, b = vars(a), vars(b)
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return a == b


def fitted_state(student):
    """Return what is no parameter, without the teacher's form and the settings of the optimiser."""
    state = {
        name: value for name, value in vars(student).items() if name not in student.get_params(deep=False)
    }
    optimizer = state["_training_state"]["optimizer"]
    state["_training_state"] = {**state["_training_state"], "optimizer": optimizer["state"]}
    return {name: value for name, value in state.items() if name != "teacher_"}


def saved_and_loaded(student, folder):
    student.save(folder / "student")
    return type(student).load(folder / "student")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("saved")


def test_the_comparison_sees_differences():
    network = Blueprint((np.eye(2),), (np.zeros(2),), "relu", np.array([1, 2]))
    growth = Growth(network, 2, (4,), np.array([1, 2]))
    assert same([network, growth, {"a": (1, 2.0)}], [network, growth, {"a": (1, 2.0)}])
    for a, b in [
        (1, 1.0),
        (np.ones(2), np.ones(2, dtype=np.float32)),
        (network, network.with_parameters((np.eye(2), np.ones(2)))),
        (growth, Growth(network, 2, (5,), np.array([1, 2]))),
        ({"a": [1]}, {"a": (1,)}),
        (torch.zeros(2), torch.ones(2)),
    ]:
        assert not same(a, b)


# --- What comes back ------------------------------------------------------------------------------------


@given(case=fitted_students())
def test_a_loaded_student_is_the_saved_one_bit_for_bit(case, folder):
    student = case.student
    loaded = saved_and_loaded(student, folder)
    assert_array_equal(loaded.predict_proba(case.X), student.predict_proba(case.X))
    before, after = fitted_state(student), fitted_state(loaded)
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert same(after[name], value), name
    params, again = student.get_params(deep=False), loaded.get_params(deep=False)
    assert params.keys() == again.keys()
    for name in params.keys() - {"teacher", "alpha", "class_weight"}:
        assert same(again[name], params[name]), name
    assert (again["alpha"], again["class_weight"]) == (params["alpha"], params["class_weight"])
    assert again["teacher"] is loaded.teacher_
    if student.teacher_ is None:
        assert loaded.teacher_ is None
        return
    assert isinstance(loaded.teacher_, (MLPClassifier, Pipeline))
    columns = slice(0, loaded.teacher_.n_features_in_)
    X1 = case.X.iloc[:, columns] if isinstance(case.X, pd.DataFrame) else case.X[:, columns]
    # Rounding errors of float32, in which X may be.
    assert_allclose(loaded.teacher_.predict_proba(X1), student.teacher_.predict_proba(X1), rtol=0, atol=1e-5)


@given(case=fitted_students())
def test_training_goes_on_as_it_would_have(case, folder):
    student = case.student.set_params(early_stopping=False)
    loaded = saved_and_loaded(student, folder)
    before = student.blueprint_.parameters
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what so short a training warns of
        for one in (student, loaded):
            one.partial_fit(case.X, case.y)
        assert same_parameters(student, loaded)
        assert any((p != q).any() for p, q in zip(student.blueprint_.parameters, before, strict=True))
        for one in (student, loaded):
            one.set_params(warm_start=True, hidden_layer_sizes="auto").fit(case.X, case.y)
    assert same_parameters(student, loaded)
    assert loaded.loss_curve_ == student.loss_curve_


def test_training_goes_on_otherwise_from_a_fresh_optimiser(folder):
    """The sibling: what a file keeps of the optimiser and the generators is needed."""
    X, y = digits()
    student = quick(fitted_teacher()).fit(X, y)
    for lost in ("optimizer", "stepped", "generators"):
        loaded = saved_and_loaded(student, folder)
        if lost == "optimizer":
            loaded._training_state["optimizer"]["state"] = {}
        elif lost == "stepped":
            loaded._training_state["stepped"] = None
        else:
            loaded._generator_states = tuple(torch.Generator().get_state() for _ in range(2))
        twin = saved_and_loaded(student, folder).partial_fit(X, y)
        assert not same_parameters(loaded.partial_fit(X, y), twin), lost


def test_a_history_that_is_validated_in_part_comes_back(folder):
    X, y = digits()
    student = quick(fitted_teacher(), early_stopping=True).fit(X, y)
    student.set_params(early_stopping=False).partial_fit(X, y)
    assert ["valid_acc" in row for row in student.history_] == [True, True, True, False]
    assert same(saved_and_loaded(student, folder).history_, student.history_)


def test_the_scores_of_restarts_come_back(folder):
    student = quick(fitted_teacher(), early_stopping=True, n_restarts=3, max_iter=2).fit(*digits())
    loaded = saved_and_loaded(student, folder)
    assert_array_equal(loaded.restart_scores_, student.restart_scores_, strict=True)
    assert loaded.n_restarts == 3


def test_rehearsal_goes_on_with_the_columns_of_the_growth(folder):
    X, y = digits()
    old, new = old_rows(), ~old_rows()
    student = quick(named_teacher(), rehearse=0.3, warm_start=True)
    old_data = (named(X[old]), y[old])
    student.fit(named(X[new]), y[new], teacher_data=old_data)
    loaded = saved_and_loaded(student, folder)
    for one in (student, loaded):
        one.fit(named(X[new]), y[new], teacher_data=old_data)
    assert same_parameters(student, loaded)


@pytest.mark.parametrize("start", ["transfer", "net2net", "zero"])
def test_the_growth_comes_back_from_every_start(start, folder):
    X, y = digits()
    student = quick(fitted_teacher(), start=start, lambda_teacher=0.0).fit(X, y)
    loaded = saved_and_loaded(student, folder)
    assert same(loaded.growth_, student.growth_)
    projected = loaded.growth_.project(loaded.phi_blueprint_.parameters)
    assert len(projected) == (2 if start == "transfer" else 4)
    assert same(projected, student.growth_.project(student.phi_blueprint_.parameters))


def test_the_teacher_comes_back_as_scikit_learns_and_grows_again(folder):
    X, y = digits()
    module = torch.nn.Sequential(torch.nn.Linear(64, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3)).double()
    names = ["two", "four", "one"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it knows nothing yet
        student = quick(module, teacher_classes=names).fit(X, y)
    loaded = saved_and_loaded(student, folder)
    assert isinstance(loaded.teacher, MLPClassifier)
    assert loaded.teacher_classes is None
    assert_array_equal(loaded.teacher.classes_, ["four", "one", "two"])
    order = [1, 2, 0]
    assert_array_equal(
        read_teacher(loaded.teacher).logits(X), read_teacher(module, names).select_classes(order).logits(X)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = clone(loaded).fit(X, y)
    assert again.teacher_ is loaded.teacher_
    assert_array_equal(again.growth_.outputs, [1, 2, 4])
    assert_array_equal(again.growth_.shared[0], student.growth_.shared[0])


@pytest.mark.parametrize("start", ["uniform", "transfer"])
@pytest.mark.parametrize("known", [[], ["one"]])
@pytest.mark.filterwarnings("ignore")  # the teacher's other classes have no rows
def test_a_growth_out_of_few_of_the_teachers_classes_or_none_comes_back(known, start, folder):
    X, y = digits()
    rows = ~old_rows() | np.isin(y, known)
    student = quick(fitted_teacher(), start=start).fit(X[rows], y[rows])
    assert student.growth_.teacher.classes.tolist() == known
    loaded = saved_and_loaded(student, folder)
    assert same(loaded.growth_, student.growth_)
    assert_array_equal(loaded.predict_proba(X), student.predict_proba(X))
    assert same_parameters(loaded.partial_fit(X[rows], y[rows]), student.partial_fit(X[rows], y[rows]))


def test_a_teacher_that_was_fitted_within_is_fitted_in_the_file_and_has_the_columns_names(folder):
    X, y = digits()
    student = quick(MLPClassifier((4,), max_iter=5, random_state=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        student.fit(named(X), y, teacher_rows=old_rows())
    loaded = saved_and_loaded(student, folder)
    assert_array_equal(loaded.teacher.feature_names_in_, named(X).columns)
    # A frame lies otherwise in memory than an array, and sums are made in another order.
    assert_allclose(loaded.teacher.predict_proba(named(X)), student.teacher_.predict_proba(X), rtol=1e-12)


def test_a_scaled_binary_teacher_has_its_function(folder):
    X, y = digits()
    rows = np.isin(y, ["one", "two"])
    teacher = make_pipeline(MinMaxScaler((-1, 1)), LogisticRegression()).fit(X[rows], y[rows])
    student = quick(teacher).fit(X, y)
    loaded = saved_and_loaded(student, folder)
    assert_allclose(loaded.teacher.predict_proba(X), teacher.predict_proba(X), rtol=0, atol=1e-12)
    assert_array_equal(loaded.predict_proba(X), student.predict_proba(X))
    assert repr(loaded)


def test_a_series_becomes_an_array_in_the_order_of_the_columns(folder):
    frame, y = named(digits()[0]), digits()[1]
    delta = pd.Series(np.linspace(0.01, 0.1, 64), index=frame.columns)
    high = pd.Series(np.linspace(2, 3, 64), index=frame.columns)
    student = quick(named_teacher(), delta=delta[::-1], bounds=(-1, high[::-1])).fit(frame, y)
    loaded = saved_and_loaded(student, folder)
    assert_array_equal(loaded.delta, delta.to_numpy())
    assert_array_equal(loaded.bounds[1], high.to_numpy())
    assert same_parameters(student.partial_fit(frame, y), loaded.partial_fit(frame, y))


def test_load_gives_the_class_that_it_is_called_on(folder):
    class Sprout(AntiDistilledMLPClassifier):
        pass

    X, y = digits()
    student = quick(fitted_teacher()).fit(X, y)
    student.save(str(folder / "sprout"))
    assert type(Sprout.load(str(folder / "sprout"))) is Sprout
    assert type(AntiDistilledMLPClassifier.load(Path(folder / "sprout"))) is AntiDistilledMLPClassifier


def test_a_device_that_is_not_here_is_kept(folder):
    X, y = digits()
    student = quick(fitted_teacher()).fit(X, y)
    student.device = "cuda"
    student._generator_states = (student._generator_states[0], torch.zeros(16, dtype=torch.uint8))
    loaded = saved_and_loaded(student, folder)
    assert loaded.device == "cuda"
    assert_array_equal(loaded.predict_proba(X), student.predict_proba(X))


@pytest.mark.parametrize("through", ["pickle", "joblib", "save"])
def test_a_student_that_was_a_teacher_passes_through_every_kind_of_file(through, folder):
    X, y = digits()
    first = quick(fitted_teacher()).fit(X, y)
    student = quick(first).fit(X, y)
    if through == "pickle":
        again = pickle.loads(pickle.dumps(student))
    elif through == "joblib":
        joblib.dump(student, folder / "joblib")
        again = joblib.load(folder / "joblib")
    else:
        again = saved_and_loaded(student, folder)
    assert_array_equal(again.predict_proba(X), student.predict_proba(X))
    for name, value in fitted_state(student).items():
        assert same(fitted_state(again)[name], value), name
    assert same_parameters(again.partial_fit(X, y), student.partial_fit(X, y))
    assert same_parameters(
        again.set_params(warm_start=True).fit(X, y), student.set_params(warm_start=True).fit(X, y)
    )


# --- What can't be said without pickle ------------------------------------------------------------------


def test_what_a_file_does_not_keep_is_named_and_comes_back_as_its_default(folder, tmp_path):
    X, y = digits()
    student = quick(
        fitted_teacher(),
        start=uniform,
        random_state=np.random.RandomState(0),
        memory=str(tmp_path),
        callbacks=[EpochScoring("accuracy", on_train=True, name="seen")],
    ).fit(X, y)
    student.note_ = "mine"
    student.history_[0]["model"] = object()
    message = (
        f"{folder / 'student'} does not keep callbacks, memory, random_state, start, history_['model'], "
        "note_: a file without pickle can't. Set them anew in a loaded student."
    )
    with pytest.warns(UserWarning, match=re.escape(message)) as caught:
        student.save(folder / "student")
    assert caught[0].filename == __file__
    loaded = AntiDistilledMLPClassifier.load(folder / "student")
    assert (loaded.start, loaded.random_state, loaded.memory, loaded.callbacks) == (
        "uniform",
        None,
        None,
        None,
    )
    assert not hasattr(loaded, "note_")
    del student.history_[0]["model"]
    assert loaded.history_ == student.history_
    assert "seen" in loaded.history_[0]
    assert_array_equal(loaded.predict_proba(X), student.predict_proba(X))


class Sapling(AntiDistilledMLPClassifier):
    """A student with a parameter of any kind."""

    _parameter_constraints: ClassVar = {
        **AntiDistilledMLPClassifier._parameter_constraints,
        "note": "no_validation",
    }

    def __init__(self, teacher=None, *, max_iter=1, phi_max_iter=1, note=None):
        super().__init__(teacher, max_iter=max_iter, phi_max_iter=phi_max_iter)
        self.note = note


@pytest.mark.parametrize(
    ("note", "kept"),
    [
        ({"a": [1, (2.5, None)], 3: np.arange(2)}, True),
        ([np.ones(2), object()], False),  # of which an array is kept before the object is met
        ({(1, 2): 3}, False),
        ({None: 3}, False),
        ([[[[[1]]]]], False),
        (2**64, False),
        (np.ones(2, dtype=complex), False),
    ],
)
def test_a_file_holds_no_parameter_that_load_would_refuse(note, kept, folder):
    X, y = digits()
    student = Sapling(fitted_teacher(), note=note).fit(X, y)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = saved_and_loaded(student, folder)
    assert same(loaded.note, note if kept else None)
    expected = [] if kept else [f"{folder / 'student'} does not keep note: a file without pickle can't."]
    assert [str(w.message).split(" Set")[0] for w in caught] == expected


def test_an_array_of_another_byte_order_comes_back_in_this_machines(folder):
    X, y = digits()
    other = np.array([1, 2, 3], dtype=np.dtype(np.int32).newbyteorder("S"))
    loaded = saved_and_loaded(Sapling(fitted_teacher(), note=other).fit(X, y), folder)
    assert same(loaded.note, np.array([1, 2, 3], dtype=np.int32))


def test_what_scikit_learns_setters_left_is_named_as_a_user_knows_it(folder):
    X, y = digits()
    student = quick(fitted_teacher()).fit(X, y)
    with config_context(enable_metadata_routing=True):
        student.set_fit_request(sample_weight=True)
    student._skl_callbacks = []
    message = "does not keep the callbacks of set_callbacks, the requests of set_fit_request and the like: a"
    with pytest.warns(UserWarning, match=re.escape(message)):
        student.save(folder / "student")


def test_what_is_left_empty_is_not_missed(folder):
    X, y = digits()
    student = quick(fitted_teacher(), callbacks=[], teacher_classes=["four", "one", "two"]).fit(X, y)
    student.save(folder / "student")  # warnings are errors


# --- Files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_no_other(stage, tmp_path, monkeypatch):
    X, y = digits()
    student = quick(fitted_teacher()).fit(X, y)
    path = tmp_path / "student"
    student.save(path)
    before = path.read_bytes()
    student.partial_fit(X, y)

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync" if stage == "fsync" else "pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        student.save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    student.save(path)
    assert path.read_bytes() != before
    assert list(tmp_path.iterdir()) == [path]


def test_a_path_that_is_no_file_is_named(tmp_path):
    X, y = digits()
    student = quick(fitted_teacher()).fit(X, y)
    missing = tmp_path / "missing" / "student"
    message = f"The folder of path={str(missing)!r} does not exist; make it first."
    with pytest.raises(FileNotFoundError, match=re.escape(message)):
        student.save(missing)
    message = f"path={str(tmp_path)!r} is a folder; give the name of a file, such as {tmp_path}/student."
    with pytest.raises(IsADirectoryError, match=re.escape(message)):
        student.save(str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    for path, error in [(missing, FileNotFoundError), (tmp_path, IsADirectoryError)]:
        with pytest.raises(error, match=re.escape(str(path))):
            AntiDistilledMLPClassifier.load(path)


def test_a_student_that_is_not_fitted_can_not_be_saved(tmp_path):
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        AntiDistilledMLPClassifier().save(tmp_path / "student")
    assert list(tmp_path.iterdir()) == []


def test_what_could_not_be_loaded_is_not_saved(tmp_path, monkeypatch):
    X, y = digits()
    student = quick(fitted_teacher()).fit(X, y)
    for params, message in [
        (
            {"alpha": -1},
            "The 'alpha' parameter of AntiDistilledMLPClassifier must be a float in the range [0.0, inf)",
        ),
        ({"delta": np.ones(3)}, "delta has shape (3,), but X has 64 features"),
        ({"delta": "wide"}, "delta='wide' is no number"),
        ({"bounds": (1, 0)}, "bounds=(1, 0) must have low < high"),
        ({"class_weight": {"six": 1}}, "class_weight names ['six'], none of which is a label of y"),
        ({"hidden_layer_sizes": (2, 0)}, "hidden_layer_sizes=(2, 0) must be positive integers"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)):
            pickle.loads(pickle.dumps(student)).set_params(**params).save(tmp_path / "student")
    monkeypatch.setattr("skantidistill.tensor_files.LONGEST", 1000)
    with pytest.raises(
        ValueError, match=re.escape("characters of JSON, and a file holds at most 1000; shorten")
    ):
        student.save(tmp_path / "student")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("labels", [np.array([b"a", b"b"]), np.array([1, 2], dtype=object)], ids=repr)
def test_labels_that_a_file_cannot_hold_are_refused(labels):
    told = f"Labels of dtype {labels.dtype} such as {labels.tolist()[0]!r} can't be saved; fit on numbers,"
    with pytest.raises(ValueError, match=re.escape(told)):
        pack_labels(labels)


def test_a_missing_library_is_named_with_its_remedy(tmp_path):
    X, y = digits()
    student = quick(fitted_teacher()).fit(X, y)
    with mock.patch.dict(sys.modules, {"safetensors": None, "safetensors.numpy": None}):
        for act in (student.save, AntiDistilledMLPClassifier.load):
            with pytest.raises(ImportError, match=re.escape("install it by: pip install safetensors")):
                act(tmp_path / "student")


def test_callbacks_of_scikit_learn_are_named_by_the_method_that_set_them(tmp_path):
    callback = pytest.importorskip("sklearn.callback", reason="scikit-learn 1.9 brought callbacks")
    X, y = digits()
    student = quick(fitted_teacher()).set_callbacks(callback.ScoringMonitor(scoring="accuracy")).fit(X, y)
    with pytest.warns(
        UserWarning, match="does not keep the callbacks of set_callbacks: a file without pickle"
    ):
        student.save(tmp_path / "student")
    loaded = AntiDistilledMLPClassifier.load(tmp_path / "student")
    assert_array_equal(loaded.predict_proba(X), student.predict_proba(X))


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        (None, TypeError, "path=None is no path; give a string or a pathlib.Path."),
        (b"student", TypeError, "path=b'student' is no path"),
        ("a\0b", ValueError, "path='a\\x00b' has a character that names of files can't have"),
        ("\ud800", ValueError, "has a character that names of files can't have"),
    ],
)
def test_what_is_no_path_is_told(path, error, words):
    X, y = digits()
    with pytest.raises(error, match=re.escape(words)):
        AntiDistilledMLPClassifier.load(path)
    with pytest.raises(error, match=re.escape(words)):
        quick().fit(X, y).save(path)
