"""Run a study: fit every method for every seed, on the same rows and from the same teacher."""

import math
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from skantidistill.classifier import AntiDistilledMLPClassifier
from skantidistill.datasets import Dataset
from skantidistill.study.protocols import METHODS, Protocol, n_steps, student_parameters
from skantidistill.training import Callback

__all__ = ["Notify", "fit_teacher", "run_method", "run_study"]

#: Is told what runs now, and which share of a run was finished since the last call.
Notify = Callable[[str, float], None]


def run_study(
    protocol: Protocol,
    seeds: Iterable[int],
    methods: Sequence[str] = tuple(METHODS),
    notify: Notify | None = None,
) -> list[dict[str, Any]]:
    """Run methods over seeds; a seed's split and teacher are the same for every method.

    Parameters
    ----------
    protocol : Protocol
        What is studied; one of ``PROTOCOLS``, or your own.
    seeds : iterable of int
        Seeds of splits, teachers and students.
    methods : sequence of str, default=all
        Keys of ``METHODS``.
    notify : callable, default=None
        Called as ``notify(what runs now, share of a run just finished)``. A teacher is a run, and so is
        a student: the shares of a whole study add up to ``len(seeds) * (1 + len(methods))``.

    Returns
    -------
    rows : list of dict
        A tidy table, one row a method and seed; ``pandas.DataFrame(rows)`` takes it. Its columns are
        ``method``, ``seed``, the criteria ``accuracy``, ``fgsm`` and ``parameter_noise``, the gradient
        steps ``phi_steps`` on D1 and ``steps`` on D2, ``seconds`` (of ``fit``), and accuracies on the test
        rows of the teacher's classes: ``teacher_accuracy``, and ``phi_accuracy`` of the student after
        phi, its other outputs left out (NaN without a teacher).

    Raises
    ------
    KeyError
        If a method is unknown.
    skantidistill.datasets.DatasetError
        If the data can't be had.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from skantidistill.study import PROTOCOLS, run_study
    >>> short = replace(PROTOCOLS["digits"], teacher_phases=((5, 1e-2),))
    >>> [row["method"] for row in run_study(short, seeds=[0], methods=["Uniform"])]
    ['Uniform']
    """

    # A plain function, since skorch's callbacks are cloned, which copies bound methods with their owner.
    def tell(doing: str, share: float) -> None:
        if notify is not None:
            notify(doing, share)

    rows = []
    with threadpool_limits(protocol.n_threads), warnings.catch_warnings():
        # Budgets are fixed, so nothing is trained until it converges.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for seed in seeds:
            tell(f"seed {seed}: data", 0.0)
            data = protocol.load(seed)
            teacher = fit_teacher(protocol, data, seed, tell)
            rows += [run_method(protocol, data, teacher, method, seed, tell) for method in methods]
    return rows


def fit_teacher(protocol: Protocol, data: Dataset, seed: int, tell: Notify) -> MLPClassifier:
    """Fit the teacher on D1, one ``fit`` a phase: each begins anew with Adam and with its step size."""
    known = np.isin(data.y_train, protocol.teacher_classes)
    # An infinite patience: the budget is fixed.
    teacher = MLPClassifier(**protocol.teacher, n_iter_no_change=np.inf, warm_start=True, random_state=seed)
    epochs = sum(n for n, _ in protocol.teacher_phases)
    for n, step_size in protocol.teacher_phases:
        tell(f"seed {seed}: teacher", 0.0)
        teacher.set_params(max_iter=n, learning_rate_init=step_size)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Training interrupted by user")
            teacher.fit(data.X_train[known], data.y_train[known])
        _check_complete(teacher.n_iter_, n)
        tell(f"seed {seed}: teacher", n / epochs)
    return teacher


def run_method(
    protocol: Protocol, data: Dataset, teacher: MLPClassifier, method: str, seed: int, tell: Notify
) -> dict[str, Any]:
    """Fit one student and measure it: one row of the tidy table."""
    n_old = int(np.isin(data.y_train, protocol.teacher_classes).sum())
    parameters = student_parameters(protocol, method, n_old, len(data.y_train))
    doing = f"seed {seed}: {method}"
    student = AntiDistilledMLPClassifier(
        **{"teacher": teacher, **parameters, "random_state": seed},
        callbacks=[_Tick(doing, tell, parameters["max_iter"])],
    )
    tell(doing, 0.0)
    began = time.perf_counter()
    # D1 needs no naming: it is the rows whose label the teacher knows.
    student.fit(data.X_train, data.y_train)
    seconds = time.perf_counter() - began
    _check_complete(student.n_iter_, student.max_iter)
    if student.phi_history_:
        _check_complete(len(student.phi_history_), student.phi_max_iter)
    batch_size = parameters["batch_size"]
    return {
        "method": method,
        "seed": seed,
        **_criteria(protocol, data, student, seed),
        "phi_steps": len(student.phi_history_) * n_steps(n_old, batch_size),
        "steps": student.n_iter_ * n_steps(len(data.y_train), batch_size),
        "seconds": seconds,
        **_knowledge(protocol, data, teacher, student),
    }


def _criteria(
    protocol: Protocol, data: Dataset, student: AntiDistilledMLPClassifier, seed: int
) -> dict[str, float]:
    X, y = data.X_test, data.y_test
    noise = {"n_draws": protocol.n_draws, "random_state": seed}
    return {
        "accuracy": student.score(X, y),
        "fgsm": student.robustness_score(X, y, "fgsm", protocol.fgsm_epsilon),
        "parameter_noise": student.robustness_score(X, y, "parameter_noise", protocol.noise_epsilon, **noise),
    }


def _knowledge(
    protocol: Protocol, data: Dataset, teacher: MLPClassifier, student: AntiDistilledMLPClassifier
) -> dict[str, float]:
    """Return accuracies on the teacher's classes: the teacher's, and that of the student after phi."""
    known = np.isin(data.y_test, protocol.teacher_classes)
    X, y = data.X_test[known], data.y_test[known]
    after_phi = math.nan
    if student.growth_ is not None:
        masked = student.phi_blueprint_.select_classes(student.growth_.outputs)
        after_phi = float(np.mean(masked.classes[masked.logits(X).argmax(axis=1)] == y))
    return {"teacher_accuracy": teacher.score(X, y), "phi_accuracy": after_phi}


def _check_complete(n_epochs: int, wanted: int) -> None:
    """Pass Ctrl-C on, which scikit-learn and skorch take for a wish to end one training early."""
    if n_epochs < wanted:
        raise KeyboardInterrupt


class _Tick(Callback):
    """Tell of every finished epoch."""

    def __init__(self, doing: str, tell: Notify, n_epochs: int) -> None:
        self.doing, self.tell, self.n_epochs = doing, tell, n_epochs

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Tell of one epoch."""
        self.tell(self.doing, 1 / self.n_epochs)
