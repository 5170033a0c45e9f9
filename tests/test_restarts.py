"""``n_restarts``: several students of which the best by validation is kept."""

import itertools
import warnings

import numpy as np
import pytest
import torch
from numpy.random import RandomState
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier

from skantidistill import AntiDistilledMLPClassifier
from skantidistill.together import run_together
from skantidistill.training import Training
from tests.problems import digits, fitted_teacher, old_rows, quick, same_parameters

X, Y = digits()
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def several(n_restarts=4, **params):
    return quick(fitted_teacher(), early_stopping=True, n_restarts=n_restarts, **params)


def test_the_student_of_the_highest_validation_score_is_kept():
    student = several(6).fit(X, Y)
    scores = student.restart_scores_
    assert scores.shape == (6,)
    assert len(set(scores)) > 1
    assert max(student.validation_scores_) == scores.max()


def test_the_first_restart_is_the_student_of_one():
    one = several(1).fit(X, Y)
    assert not hasattr(one, "restart_scores_")
    student = several(6).fit(X, Y)
    assert student.restart_scores_[0] == max(one.validation_scores_)
    is_first = int(student.restart_scores_.argmax()) == 0
    pairs = zip(student.blueprint_.parameters, one.blueprint_.parameters, strict=True)
    assert all(np.allclose(p, q, rtol=0, atol=1e-8) for p, q in pairs) == is_first


def test_restarts_differ_and_do_not_depend_on_their_number():
    scores = [several(n, max_iter=1).fit(X, Y).restart_scores_ for n in (2, 3, 5)]
    for fewer, more in itertools.pairwise(scores):
        assert list(fewer) == list(more[: len(fewer)])
    assert len(set(scores[-1])) > 1


def test_the_same_seed_gives_the_same_student_and_global_states_stay():
    states = np.random.get_state()[1].copy(), torch.get_rng_state()
    a, b = several().fit(X, Y), several().fit(X, Y)
    assert same_parameters(a, b)
    assert list(a.restart_scores_) == list(b.restart_scores_)
    assert np.array_equal(np.random.get_state()[1], states[0])
    assert torch.equal(torch.get_rng_state(), states[1])
    assert not same_parameters(a, several(random_state=RandomState(5)).fit(X, Y))


def test_it_can_be_used_as_any_student_and_a_warm_start_goes_on_with_one():
    student = several(warm_start=True).fit(X, Y)
    before = student.blueprint_
    assert student.fit(X, Y) is student
    assert student.blueprint_ is not before
    assert len(student.restart_scores_) == 4
    assert student.n_iter_ <= 3
    assert student.score(X, Y) > 0.8


def test_a_fit_of_one_forgets_the_scores_of_earlier_restarts():
    student = several(2).fit(X, Y).set_params(n_restarts=1).fit(X, Y)
    assert not hasattr(student, "restart_scores_")


def test_without_validation_it_is_refused_before_anything_is_done():
    student = quick(fitted_teacher(), n_restarts=3)
    before = dict(vars(student))
    with pytest.raises(ValueError, match=r"n_restarts=3 keeps the best .* needs early_stopping=True"):
        student.fit(X, Y)
    assert vars(student) == before
    with pytest.raises(ValueError, match="partial_fit does not support n_restarts=3; use fit"):
        student.partial_fit(X, Y)
    for wrong in (0, -1, 1.5, "two", None):
        with pytest.raises(ValueError, match="n_restarts"):
            clone(student).set_params(n_restarts=wrong).fit(X, Y)


def test_restarts_train_as_one_stack(monkeypatch):
    sizes = []

    def counting(trainings):
        sizes.append(len(trainings))
        return original(trainings)

    from skantidistill import stacks

    original = stacks.train_stack
    monkeypatch.setattr(stacks, "train_stack", counting)
    several(5).fit(X, Y)
    assert sizes == [5, 5]


def test_an_unfitted_teacher_is_fitted_for_each():
    teacher = MLPClassifier((8,), max_iter=300, random_state=None)
    student = AntiDistilledMLPClassifier(
        teacher, n_restarts=3, early_stopping=True, max_iter=2, random_state=0
    )
    student.fit(X, Y, teacher_rows=old_rows())
    assert student.teacher_ is not teacher
    assert len(student.restart_scores_) == 3


def test_only_the_warnings_of_the_kept_one_are_told_and_point_to_the_call():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        several(3).fit(X, Y)
    (warning,) = [w for w in told if issubclass(w.category, ConvergenceWarning)]
    assert warning.filename == __file__


def test_a_warning_that_is_an_error_ends_all_and_leaves_the_student_as_it_was():
    student = several(3)
    before = dict(vars(student))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConvergenceWarning):
            student.fit(X, Y)
    assert vars(student) == before


def test_inside_a_search_all_restarts_of_all_fits_are_asked_for_at_once():
    asked = []

    def answer(requests):
        from skantidistill.stacks import answer_all

        asked.append(sum(isinstance(request, Training) for request in requests))
        return answer_all(requests)

    students = [several(3, alpha=alpha) for alpha in (1e-4, 1e-3)]
    expected = [clone(student).fit(X, Y) for student in students]
    run_together([lambda s=s: s.fit(X, Y) for s in students], answer)
    assert [n for n in asked if n] == [6, 6]
    for student, wanted in zip(students, expected, strict=True):
        assert list(student.restart_scores_) == list(wanted.restart_scores_)


def test_scikit_learn_s_search_finds_it_as_any_parameter():
    search = GridSearchCV(several(), {"n_restarts": [1, 2]}, cv=2, error_score="raise").fit(X, Y)
    assert search.best_params_["n_restarts"] in (1, 2)
