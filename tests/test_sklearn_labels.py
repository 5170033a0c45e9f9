"""Tools of scikit-learn that hand the student other labels than y's: codes 0 to K-1, or 0 and 1."""

import re
from functools import partial

import numpy as np
import pytest
from sklearn import config_context
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.model_selection import cross_val_predict
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.neural_network import MLPClassifier

from tests.problems import digits, fitted_teacher, old_rows, quick
from tests.tool_problems import codes_of, numbers, problem

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


FAST = {"max_iter": 10, "learning_rate_init": 1e-2}


def probabilities(student, X, y):
    """Return the classes that cross_val_predict finds most probable."""
    return np.unique(y)[cross_val_predict(student, X, y, cv=2, method="predict_proba").argmax(axis=1)]


def meta(tool):
    """Return a function that fits a meta-estimator around a student, and predicts."""
    return lambda student, X, y: tool(student).fit(X, y).predict(X)


ENCODERS = {
    "bagging": meta(lambda student: BaggingClassifier(student, n_estimators=2, random_state=0)),
    "voting": meta(lambda student: VotingClassifier([("student", student)], voting="soft")),
    "stacking": meta(lambda student: StackingClassifier([("student", student)], cv=2)),
    "cross_val_predict": probabilities,
}
OTHERS = {
    "calibration": meta(lambda student: CalibratedClassifierCV(student, cv=2)),
    "boosting": meta(lambda student: AdaBoostClassifier(student, n_estimators=2, random_state=0)),
}


@pytest.mark.parametrize("tool", sorted(ENCODERS))
def test_encoded_labels_of_another_kind_raise_and_the_error_names_the_remedy(tool):
    X, y, teacher = problem("strings")
    with pytest.raises(ValueError, match=re.escape("name them in their order by teacher_classes")):
        ENCODERS[tool](quick(teacher), X, y)


@pytest.mark.parametrize("tool", sorted(ENCODERS))
def test_encoded_integers_are_noticed(tool):
    # All that the teacher knows, 3, 4 and 6, are codes too: of the digits 6, 7 and 9.
    X, y, teacher = problem("integers")
    assert set(teacher.classes_) < set(codes_of(y, y))
    with pytest.warns(UserWarning, match=r"Are the labels encoded.* teacher_classes"):
        ENCODERS[tool](quick(teacher), X, y)


@pytest.mark.parametrize("kind", ["strings", "integers"])
@pytest.mark.parametrize("tool", sorted(ENCODERS))
def test_teacher_classes_named_in_codes_are_the_remedy(tool, kind):
    X, y, teacher = problem(kind)
    student = quick(
        teacher, teacher_classes=codes_of(y, teacher.classes_), max_iter=10, learning_rate_init=1e-2
    )
    predicted = ENCODERS[tool](student, X, y)  # and no warning
    assert np.mean(predicted == y) > 0.7


@pytest.mark.parametrize("kind", ["strings", "integers"])
@pytest.mark.parametrize("tool", sorted(OTHERS))
def test_other_tools_hand_labels_on_as_they_are(tool, kind):
    X, y, teacher = problem(kind)
    predicted = OTHERS[tool](quick(teacher, **FAST), X, y)
    assert np.mean(predicted == y) > 0.7


@pytest.mark.parametrize("in_codes", [False, True])
def test_calibration_without_an_ensemble_mixes_labels_and_codes(in_codes):
    # Its cross-validation encodes and its last fit does not, so that only labels 0 to K-1 get through.
    X, y, teacher = problem("strings")
    classes = codes_of(y, teacher.classes_) if in_codes else None
    with pytest.raises(ValueError, match="name them in their order by teacher_classes"):
        CalibratedClassifierCV(quick(teacher, teacher_classes=classes), cv=2, ensemble=False).fit(X, y)
    student = quick(
        teacher, teacher_classes=codes_of(y, teacher.classes_), max_iter=10, learning_rate_init=1e-2
    )
    calibrated = CalibratedClassifierCV(student, cv=2, ensemble=False).fit(X, codes_of(y, y))
    assert calibrated.score(X, codes_of(y, y)) > 0.7


def test_encoded_labels_are_noticed():
    X, y = digits("integers")
    codes = np.searchsorted(np.unique(y), y)
    # The teacher's labels 4, 9 and 70 are codes of other digits, or of none.
    with (
        pytest.warns(UserWarning, match="Are the labels encoded"),
        pytest.warns(UserWarning, match="have no row in y"),
    ):
        quick(fitted_teacher("integers")).fit(X, codes)


ONE_VS_REST = re.escape("OneVsRestClassifier and OneVsOneClassifier work with teacher=None only")
ONE_VS_REST_TOOLS = {
    "one vs rest": OneVsRestClassifier,
    "one vs one": OneVsOneClassifier,
    "output code": partial(OutputCodeClassifier, random_state=0),
}
TEACHERS = {
    "strings": (digits, fitted_teacher),
    "integers": (lambda: numbers(3, 9)[:2], lambda: numbers(3, 9)[2]),
    "integers with 0 and 1": (lambda: numbers(0, 5)[:2], lambda: numbers(0, 5)[2]),
}


# Where the teacher knows one of the made-up labels, it warns of its others before the error.
@pytest.mark.filterwarnings("ignore:The teacher's classes")
@pytest.mark.parametrize("kind", sorted(TEACHERS))
@pytest.mark.parametrize("tool", sorted(ONE_VS_REST_TOOLS))
def test_one_versus_rest_with_a_teacher_is_an_error(tool, kind):
    data, teacher = TEACHERS[kind]
    student = quick(teacher(), max_iter=1, phi_max_iter=0)
    with pytest.raises(ValueError, match=ONE_VS_REST):
        ONE_VS_REST_TOOLS[tool](student).fit(*data())


@pytest.mark.parametrize("tool", sorted(ONE_VS_REST_TOOLS))
def test_one_versus_rest_with_routed_numbers_warns_and_predicts_nothing_of_use(tool):
    # Two new classes 0 and 1 beside old data would look the same to fit, and are no error.
    X, y, teacher = problem("integers")
    old = np.isin(y, teacher.classes_)
    with config_context(enable_metadata_routing=True):
        student = quick(teacher, max_iter=1, phi_max_iter=0).set_fit_request(teacher_data=True)
        with pytest.warns(UserWarning, match="are in teacher_data but not in y"):
            fitted = ONE_VS_REST_TOOLS[tool](student).fit(X, y, teacher_data=(X[old], y[old]))
        if tool == "output code":
            assert len(fitted.predict(X)) > len(X)
        else:
            with pytest.raises(ValueError, match="shape"):
                fitted.predict(X)


@pytest.mark.parametrize("tool", sorted(ONE_VS_REST_TOOLS))
def test_one_versus_rest_works_without_a_teacher(tool):
    X, y = digits()
    student = quick(max_iter=15, learning_rate_init=1e-2, hidden_layer_sizes=(20,))
    assert ONE_VS_REST_TOOLS[tool](student).fit(X, y).score(X, y) > 0.9


@pytest.mark.parametrize("made_up", [[0, 1], [-1, 1], [0.0, 1.0]])
def test_made_up_labels_with_teacher_rows_are_an_error(made_up):
    X, y, teacher = problem("integers")
    y = np.array(made_up)[(y > 5).astype(int)]
    with pytest.raises(ValueError, match=f"No row of y, whose labels are .*{ONE_VS_REST}"):
        quick(teacher).fit(X, y, teacher_rows=np.ones(len(y), dtype=bool))


def test_real_classes_0_and_1_are_no_error():
    X, y, teacher = numbers(0, 5)
    rows = y < 2
    with pytest.warns(UserWarning, match=re.escape("classes [3] have no row in y")):
        student = quick(teacher).fit(X[rows], y[rows])
    assert student.score(X[rows], y[rows]) > 0.9
    # Two new classes beside old data of other labels.
    X, y, teacher = problem("integers")
    old, new = np.isin(y, teacher.classes_), np.isin(y, [5, 8])
    with pytest.warns(UserWarning, match="are in teacher_data but not in y"):
        student = quick(teacher).fit(X[new], (y[new] == 5) * 1, teacher_data=(X[old], y[old]))
    assert student.classes_.tolist() == [0, 1, *teacher.classes_]


@pytest.mark.parametrize("labels", [["no", "yes"], [False, True]])
def test_pairs_of_another_kind_keep_their_error(labels):
    X, y, teacher = problem("integers")
    with pytest.raises(ValueError, match=r"name them in their order by teacher_classes\.$"):
        quick(teacher).fit(X, np.array(labels)[(y > 5).astype(int)])


@pytest.mark.filterwarnings("ignore:The teacher's classes")
def test_pairs_of_other_numbers_keep_their_warning():
    X, y, teacher = problem("integers")
    with pytest.warns(UserWarning, match="the teacher serves as a start only"):
        quick(teacher).fit(X, 1 + (y > 5))
    # The teacher knows 0 and 1, and does badly on teacher_data that has no other labels.
    X, y, teacher = numbers(0, 5)
    rows = y < 2
    with pytest.warns(UserWarning, match="below the"):
        quick(teacher).fit(X, y, teacher_data=(X[rows], 1 - y[rows]))


def test_a_teacher_that_knows_just_0_and_1_keeps_its_warning():
    X, y = digits()
    binary = (y == "zero") * 1
    teacher = MLPClassifier((4,), max_iter=500, random_state=0).fit(X, binary)
    quick(teacher).fit(X, binary)
    with pytest.warns(UserWarning, match="below the"):
        quick(teacher).fit(X, 1 - binary)


def test_an_encoded_pair_of_labels_can_be_named_by_teacher_classes():
    X, y = digits()
    rows = np.isin(y, ["one", "two"])
    teacher = MLPClassifier((4,), max_iter=500, random_state=0).fit(X[rows], y[rows])
    codes = codes_of(y[rows], y[rows])
    with pytest.raises(ValueError, match=f"teacher_classes.*{ONE_VS_REST}"):
        quick(teacher).fit(X[rows], codes)
    quick(teacher, teacher_classes=[0, 1]).fit(X[rows], codes)


def test_marked_rows_of_wrong_labels_still_warn():
    X, y = digits()
    shuffled = np.random.RandomState(0).permutation(y)
    with pytest.warns(UserWarning, match="Are the labels encoded"):
        quick(fitted_teacher()).fit(X, shuffled, teacher_rows=old_rows() & np.isin(shuffled, y[old_rows()]))
