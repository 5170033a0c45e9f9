"""Fits from several random states, of which the best by validation is kept; they train as one stack."""

import copy
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.random import RandomState

from skantidistill._checks import warn_user
from skantidistill.stacks import Room, answer_all
from skantidistill.together import ask_all, run_together

__all__ = ["fit_best"]


def fit_best(student: Any, random_state: RandomState, fit: Callable[[Any, RandomState], None]) -> None:
    """Fit copies of a student, and let it become the one of the highest validation score.

    Sets ``restart_scores_``. Only the warnings of the best one are told.

    Parameters
    ----------
    student : AntiDistilledMLPClassifier
        ``n_restarts`` copies of it are fitted.
    random_state : RandomState
        That of the first copy, which is what the student would become by itself; the others' come of it.
    fit : callable, (student, random_state) -> None
        Fits a student.
    """
    seeds = copy.deepcopy(random_state).randint(2**31 - 1, size=student.n_restarts - 1)
    states = [random_state, *map(RandomState, seeds)]
    copies = [copy.copy(student) for _ in states]
    fits = [partial(_record_warnings, fit, *pair) for pair in zip(copies, states, strict=True)]
    told = run_together(fits, lambda requests: ask_all(requests, answer_all), Room(np.inf))
    scores = np.array([max(copied.validation_scores_) for copied in copies])
    best = int(scores.argmax())
    student.__dict__.update(vars(copies[best]))
    student.restart_scores_ = scores
    for warning in told[best]:
        warn_user(warning.message, warning.category)


def _record_warnings(
    fit: Callable[[Any, RandomState], None], student: Any, random_state: RandomState
) -> list[warnings.WarningMessage]:
    with warnings.catch_warnings(record=True) as told:
        fit(student, random_state)
    return told or []
