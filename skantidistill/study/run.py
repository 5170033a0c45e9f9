"""Run a study: make every method for every seed, on the same rows and from the same teacher."""

import contextlib
import functools
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from typing import Any

from joblib import Parallel, delayed

from skantidistill.study.cluster import Cluster
from skantidistill.study.errors import StudyError
from skantidistill.study.methods import METHODS
from skantidistill.study.protocols import Protocol, tables_of
from skantidistill.study.store import Memory, Results, Row, Run
from skantidistill.study.task import run_method

__all__ = ["Watcher", "deaf_to_ctrl_c", "deaths_told", "methods_of", "run_study"]

_GONE = "ignore:resource_tracker:UserWarning"

#: Is told ``(run, "began")`` and ``(run, "ended")``; of a run that was there already "ended" alone.
Watcher = Callable[[Run, str], None]

POLL = 1.0  # seconds between two looks at the runs of another process


def methods_of(protocol: Protocol) -> tuple[str, ...]:
    """Return the methods of a protocol's tables, each once, in the order of ``METHODS``.

    Parameters
    ----------
    protocol : Protocol
        What is studied.

    Returns
    -------
    methods : tuple of str
        Names of rows.
    """
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
    cluster: Cluster | None = None,
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
    cluster : Cluster, default=None
        Whose workers make the runs, and get their data from here; ``n_jobs`` then means nothing. None: this
        process, or joblib's.

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
        If a student can't be fitted, results can't be kept, or a cluster is gone.
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
    make = cluster.make if cluster is not None else functools.partial(_make_here, n_jobs)
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
        if not _compute(make, protocol, study, missing, tell, told):
            time.sleep(POLL)


def _compute(
    make: Callable[[Protocol, Iterator[Run]], Any],
    protocol: Protocol,
    study: Any,
    missing: list[Run],
    tell: Watcher,
    told: set[Run],
) -> bool:
    """Make those runs that nobody else makes, and return whether there were any."""
    any_made = False
    failures: list[StudyError] = []

    def claimed() -> Iterator[Run]:
        # joblib asks for tasks in threads of its own, where an error would be nobody's.
        try:
            for run in missing:
                if study.claim(run):
                    tell(run, "began")
                    yield run
        except StudyError as error:
            failures.append(error)

    with contextlib.closing(make(protocol, claimed())) as finished:
        for row in finished:
            run = Run(row.pop("seed"), row.pop("method"))
            study.add(run, row)
            told.add(run)
            tell(run, "ended")
            any_made = True
    if failures:
        raise failures[0]
    return any_made


def _make_here(n_jobs: int, protocol: Protocol, runs: Iterator[Run]) -> Iterator[Row]:
    """Give the rows of runs as they are finished; a run is taken when it can be begun."""
    # As many tasks are handed out as can run, so that others may take the rest.
    parallel = Parallel(n_jobs, return_as="generator_unordered", pre_dispatch="n_jobs", batch_size=1)
    with deaf_to_ctrl_c():
        generator = parallel(delayed(run_method)(protocol, run.method, run.seed) for run in runs)
    with deaths_told(), warnings.catch_warnings(), contextlib.closing(generator) as finished:
        # Of tasks that are given up, when this loop is left by an error.
        warnings.filterwarnings("ignore", message=".*tasks", category=UserWarning, module="joblib")
        yield from finished


@contextlib.contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Start worker processes that don't hear Ctrl-C, which reaches all of a terminal: joblib ends them.

    joblib's tracker of resources, which is started with them, then does not warn of those that are gone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.warnoptions.append(_GONE)  # new processes of Python take these over
    try:
        yield
    finally:
        sys.warnoptions.remove(_GONE)
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)


@contextlib.contextmanager
def deaths_told() -> Iterator[None]:
    """Tell in one line that a worker process died."""
    try:
        yield
    except BrokenExecutor as error:
        raise StudyError(
            "A process that computed was ended from outside, perhaps for want of memory; fewer --jobs need "
            "less. What was finished is kept where --out was given; the same command goes on from there."
        ) from error
