"""Run a study: fit every method for every seed, on the same rows and from the same teacher."""

import contextlib
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from skantidistill.classifier import AntiDistilledMLPClassifier
from skantidistill.datasets import Dataset
from skantidistill.study.errors import StudyError
from skantidistill.study.measure import LearningCurve, measure
from skantidistill.study.methods import METHODS, n_steps
from skantidistill.study.problem import Problem, pose
from skantidistill.study.protocols import Protocol, steps_an_epoch, student_parameters, tables_of
from skantidistill.study.store import Memory, Results, Run

__all__ = ["Watcher", "fit_teacher", "methods_of", "run_method", "run_study"]

#: Is told ``(run, "began")`` and ``(run, "ended")``; of a run that was there already "ended" alone.
Watcher = Callable[[Run, str], None]

POLL = 1.0  # seconds between two looks at the runs of another process


def methods_of(protocol: Protocol) -> tuple[str, ...]:
    """Return the methods of a protocol's tables, each once, in the order of ``METHODS``."""
    wanted = {row for groups in tables_of(protocol).values() for group in groups for row in group.rows}
    return tuple(method for method in METHODS if method in wanted)


def run_study(
    protocol: Protocol,
    seeds: Iterable[int],
    methods: Sequence[str] | None = None,
    *,
    results: Results | None = None,
    n_jobs: int = 1,
    watcher: Watcher | None = None,
) -> list[dict[str, Any]]:
    """Run methods over seeds; a seed's split and teacher are the same for every method.

    Runs are joblib tasks, so that ``joblib.parallel_config`` says where they run. Only those are made that
    ``results`` lacks. Of two processes that work on the same results, each makes what the other does not.

    Parameters
    ----------
    protocol : Protocol
        What is studied; one of ``PROTOCOLS``, or your own.
    seeds : iterable of int
        Seeds of splits, teachers and students.
    methods : sequence of str, default=None
        Keys of ``METHODS``; None: all of the protocol's tables.
    results : Store or Memory, default=None
        Where finished runs are kept; None: nowhere.
    n_jobs : int, default=1
        Runs at a time, as joblib counts them.
    watcher : callable, default=None
        Called as ``watcher(run, "began")`` and ``watcher(run, "ended")``.

    Returns
    -------
    rows : list of dict
        A tidy table, one row a method and seed; ``pandas.DataFrame(rows)`` takes it. Besides ``method`` and
        ``seed`` its columns are the accuracies of ``CRITERIA`` (two of them also by strength, in
        lists ``<column>_curve``) and those on the test rows of the teacher's
        classes: ``old_classes``, ``teacher_accuracy``, and ``phi_accuracy`` of the student after phi, its
        other outputs left out (NaN without a teacher); ``trace``; the numbers of rows ``n_old`` of D1,
        ``n_rows`` of D2, ``n_test`` and, of the teacher's classes, ``n_test_old``; the gradient steps
        ``phi_steps`` on D1 and ``steps`` on D2, ``seconds`` of ``fit``, and the learning curve in the lists
        ``curve_epochs``, ``curve_accuracy`` and ``curve_seconds``.

    Raises
    ------
    KeyError
        If a method is unknown.
    StudyError
        If a student can't be fitted, or results can't be kept.
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
    results = results if results is not None else Memory()
    tell = watcher or (lambda run, what: None)
    methods = methods_of(protocol) if methods is None else methods
    wanted = [Run(seed, method) for seed in seeds for method in methods]
    for run in wanted:
        METHODS[run.method]  # an unknown one is told before anything runs
    study = results.begin(protocol.key, protocol.settings())
    told: set[Run] = set()
    while True:
        found = study.rows()
        for run in wanted:
            if run in found and run not in told:
                told.add(run)
                tell(run, "ended")
        missing = [run for run in wanted if run not in found]
        if not missing:
            return [{"method": run.method, "seed": run.seed, **found[run]} for run in wanted]
        if not _compute(protocol, study, missing, n_jobs, tell, told):
            time.sleep(POLL)


def _compute(
    protocol: Protocol, study: Any, missing: list[Run], n_jobs: int, tell: Watcher, told: set[Run]
) -> bool:
    """Make those runs that nobody else makes, and return whether there were any."""
    any_made = False
    failures: list[StudyError] = []

    def tasks() -> Iterator[Any]:
        # joblib asks for tasks in threads of its own, where an error would be nobody's.
        try:
            for run in missing:
                if study.claim(run):
                    tell(run, "began")
                    yield delayed(run_method)(protocol, run.method, run.seed)
        except StudyError as error:
            failures.append(error)

    # As many tasks are handed out as can run, so that others may take the rest.
    parallel = Parallel(n_jobs, return_as="generator_unordered", pre_dispatch="n_jobs", batch_size=1)
    with _deaf_to_ctrl_c():
        generator = parallel(tasks())
    with warnings.catch_warnings(), contextlib.closing(generator) as finished:
        # Of tasks that are given up, when this loop is left by an error.
        warnings.filterwarnings("ignore", message=".*tasks", category=UserWarning, module="joblib")
        for row in finished:
            run = Run(row.pop("seed"), row.pop("method"))
            study.add(run, row)
            told.add(run)
            tell(run, "ended")
            any_made = True
    if failures:
        raise failures[0]
    return any_made


@contextlib.contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Start worker processes that don't hear Ctrl-C, which reaches all of a terminal: joblib ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)


def run_method(protocol: Protocol, method: str, seed: int) -> dict[str, Any]:
    """Fit one student and measure it: one row of the tidy table, determined by the arguments but for seconds.

    Raises
    ------
    StudyError
        If the student can't be fitted.
    """
    with threadpool_limits(protocol.n_threads), warnings.catch_warnings():
        # Budgets are fixed, so nothing is trained until it converges.
        warnings.simplefilter("ignore", ConvergenceWarning)
        _warm_up()
        problem, teacher = _prepare(protocol, seed)
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


@lru_cache(maxsize=1)
def _prepare(protocol: Protocol, seed: int) -> tuple[Problem, MLPClassifier]:
    """Return the problem and the teacher of a seed, which the runs of the seed share."""
    data = protocol.load(seed)
    return pose(protocol, data, seed), fit_teacher(protocol, data, seed)


@cache
def _warm_up() -> None:
    """Fit something tiny: the first ``fit`` of a process takes a second longer, whatever the method."""
    X, y = np.eye(4, dtype=np.float32), np.arange(4) % 2
    AntiDistilledMLPClassifier(hidden_layer_sizes=(2,), max_iter=1, random_state=0).fit(X, y)


def fit_teacher(
    protocol: Protocol, data: Dataset, seed: int, tell: Callable[[str, float], None] | None = None
) -> MLPClassifier:
    """Fit the teacher on D1, one ``fit`` a phase: each begins anew with Adam and with its step size.

    ``tell`` is called with what runs and the share of all epochs, after every phase.
    """
    problem = pose(protocol, data, seed)
    # An infinite patience: the budget is fixed.
    teacher = MLPClassifier(**protocol.teacher, n_iter_no_change=np.inf, warm_start=True, random_state=seed)
    epochs = sum(n for n, _ in protocol.teacher_phases)
    for n, step_size in protocol.teacher_phases:
        teacher.set_params(max_iter=n, learning_rate_init=step_size)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Training interrupted by user")
            teacher.fit(problem.X_old, problem.y_old)
        _check_complete(teacher.n_iter_, n)
        if tell is not None:
            tell(f"seed {seed}: teacher", n / epochs)
    return teacher


def _check_complete(n_epochs: int, wanted: int) -> None:
    """Pass Ctrl-C on, which scikit-learn and skorch take for a wish to end one training early."""
    if n_epochs < wanted:
        raise KeyboardInterrupt
