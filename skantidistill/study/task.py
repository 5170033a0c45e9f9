"""One run of a study: fit one student on the problem of a seed, and measure it."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from skantidistill.classifier import AntiDistilledMLPClassifier
from skantidistill.datasets import Dataset
from skantidistill.faults import ended_by_ctrl_c
from skantidistill.study.errors import StudyError
from skantidistill.study.measure import LearningCurve, measure
from skantidistill.study.methods import n_steps
from skantidistill.study.problem import Problem, pose
from skantidistill.study.protocols import Protocol, steps_an_epoch, student_parameters

__all__ = ["fit_teacher", "run_method"]


def run_method(protocol: Protocol, method: str, seed: int, data: Dataset | None = None) -> dict[str, Any]:
    """Fit one student and measure it: one row of the tidy table, determined by the arguments but for seconds.

    ``data`` are those that ``protocol.load(seed)`` returns, where they are at hand.

    Raises
    ------
    StudyError
        If the student can't be fitted.
    """
    with _threads(protocol.n_threads), warnings.catch_warnings():
        # Budgets are fixed, so nothing is trained until it converges.
        warnings.simplefilter("ignore", ConvergenceWarning)
        _warm_up()
        problem, teacher = _prepare(protocol, seed, data)
        parameters = student_parameters(protocol, method, len(problem.y_old), len(problem.y))
        student = AntiDistilledMLPClassifier(**{"teacher": teacher, **parameters, "random_state": seed})
        named = {} if student.teacher is None else problem.fit_parameters
        curve = LearningCurve(problem, student.max_iter)
        student.set_params(callbacks=[curve.callback()])
        try:
            student.fit(problem.X, problem.y, **named)
        except ValueError as error:
            raise StudyError(f"seed {seed}, {method}: {error}") from error
        seconds = curve.total()
        _check_complete(student.n_iter_, student.max_iter)
        if student.phi_history_:
            _check_complete(len(student.phi_history_), student.phi_max_iter)
        return {
            "method": method,
            "seed": seed,
            **measure(protocol, problem, student, teacher, seed),
            **_effort(student, parameters, problem, curve),
            "seconds": seconds,
        }


@contextmanager
def _threads(n: int | None) -> Iterator[None]:
    """Compute with so many threads; None: as many as there are.

    torch is told by itself, too: after ``torch.set_num_threads`` its matrix products hear nobody else. So it
    is told only where its number is another one; threadpoolctl reaches it no more in this process, then.
    """
    before = torch.get_num_threads()
    if n is None or n == before:
        with threadpool_limits(n):
            yield
        return
    with threadpool_limits(n):
        torch.set_num_threads(n)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _effort(
    student: AntiDistilledMLPClassifier, parameters: dict[str, Any], problem: Problem, curve: LearningCurve
) -> dict[str, Any]:
    """Return rows, steps, and the learning curve; its epochs are D2's, phi's steps counted among them."""
    batch_size = parameters["batch_size"]
    epoch, own_epoch = n_steps(len(problem.y), batch_size), steps_an_epoch(parameters, len(problem.y))
    phi_steps = len(student.phi_history_) * n_steps(len(problem.y_old), batch_size)
    return {
        "n_old": len(problem.y_old),
        "n_rows": len(problem.y),
        "n_test": len(problem.y_test),
        "n_test_old": int(problem.knows.sum()),
        "phi_steps": phi_steps,
        "steps": student.n_iter_ * own_epoch,
        "curve_epochs": [(phi_steps + n * own_epoch) / epoch for n in curve.epochs],
        "curve_accuracy": curve.accuracies,
        "curve_seconds": curve.seconds,
    }


#: The last problem and its teacher.
_prepared: dict[tuple[Protocol, int], tuple[Problem, MLPClassifier]] = {}


def _prepare(protocol: Protocol, seed: int, data: Dataset | None) -> tuple[Problem, MLPClassifier]:
    """Return the problem and the teacher of a seed, which the runs of the seed share."""
    key = replace(protocol, best={}), seed
    if key not in _prepared:
        data = protocol.load(seed) if data is None else data
        made = pose(protocol, data, seed), fit_teacher(protocol, data, seed)
        _prepared.clear()
        _prepared[key] = made
    return _prepared[key]


@cache
def _warm_up() -> None:
    """Fit something tiny: the first ``fit`` of a process takes a second longer, whatever the method."""
    X, y = np.eye(4, dtype=np.float32), np.arange(4) % 2
    AntiDistilledMLPClassifier(hidden_layer_sizes=(2,), max_iter=1, random_state=0).fit(X, y)


def fit_teacher(protocol: Protocol, data: Dataset, seed: int) -> MLPClassifier:
    """Fit the teacher on D1, one ``fit`` a phase: each begins anew with Adam and with its step size."""
    problem = pose(protocol, data, seed)
    # An infinite patience: the budget is fixed.
    teacher = MLPClassifier(**protocol.teacher, n_iter_no_change=np.inf, warm_start=True, random_state=seed)
    for n, step_size in protocol.teacher_phases:
        teacher.set_params(max_iter=n, learning_rate_init=step_size)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Training interrupted by user")
            ended_by_ctrl_c(teacher.fit)(problem.X_old, problem.y_old)
        _check_complete(teacher.n_iter_, n)
    return teacher


def _check_complete(n_epochs: int, wanted: int) -> None:
    """Pass Ctrl-C on, which scikit-learn and skorch take for a wish to end one training early."""
    if n_epochs < wanted:
        raise KeyboardInterrupt
