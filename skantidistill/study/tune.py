"""Choose anti-distillation's setting by Optuna, on the training rows only."""

import contextlib
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from joblib import Parallel, delayed
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from skantidistill.classifier import AntiDistilledMLPClassifier
from skantidistill.study.errors import StudyError
from skantidistill.study.protocols import Protocol
from skantidistill.study.run import deaf_to_ctrl_c, deaths_told
from skantidistill.study.task import run_method
from skantidistill.study.tuning import COLUMNS, PARAMETERS, Trial

__all__ = ["file_url", "suggest", "tune"]

POLL = 1.0  # seconds between two looks at the storage
HEARTBEAT = 30  # seconds; a trial whose process is silent for twice as long has failed
MOST_FAILURES = 5  # in a row
DEFAULTS = "defaults"  # attribute of the trial of the estimator's defaults


def file_url(path: Path) -> str:
    """Return the URL of an SQLite file, whatever its name."""
    return URL.create("sqlite", database=str(path.absolute())).render_as_string(hide_password=False)


def suggest(trial: optuna.trial.BaseTrial, protocol: Protocol) -> dict[str, Any]:
    """Return a setting of anti-distillation: the weights of the terms, their noise, and phi's schedule.

    Noise is drawn in units of the strengths that the protocol measures at.
    """
    attack, noise = protocol.fgsm_epsilon, protocol.noise_epsilon
    return {
        "lambda_ce": trial.suggest_float("lambda_ce", 0.1, 10, log=True),
        "lambda_teacher": trial.suggest_float("lambda_teacher", 1e-5, 1e-1, log=True),
        "lambda_noise": trial.suggest_float("lambda_noise", 0.3, 3, log=True),
        "lambda_trace": trial.suggest_float("lambda_trace", 1e-4, 2e-2, log=True),
        "delta": trial.suggest_float("delta", attack / 8, 3 * attack, log=True),
        "parameter_noise_std": trial.suggest_float("parameter_noise_std", 0, 0.8 * noise),
        "phi_max_iter": trial.suggest_int("phi_max_iter", 1, 15),
        "phi_learning_rate_init": trial.suggest_float("phi_learning_rate_init", 3e-4, 1e-2, log=True),
        "phi_learning_rate_decay": trial.suggest_float("phi_learning_rate_decay", 0.7, 1),
    }


def tune(
    protocol: Protocol,
    n_trials: int,
    *,
    seeds: Sequence[int] = (0,),
    storage: str | None = None,
    n_jobs: int = 1,
    random_state: int = 0,
    watcher: Callable[[int], None] | None = None,
) -> tuple[Trial, ...]:
    """Try settings of anti-distillation by Optuna's tree-structured Parzen estimator, for three criteria.

    A trial fits the row AD of the study on four fifths of the training rows of each seed, with a teacher of
    its own, and measures it on the others; the test rows of these seeds are not seen. The first trial is the
    estimator's defaults.

    Parameters
    ----------
    protocol : Protocol
        What is studied; its own setting of AD does not matter.
    n_trials : int
        Finished trials, those that the storage has already included.
    seeds : sequence of int, default=(0,)
        Every trial is the mean over these.
    storage : str, default=None
        URL of a database as Optuna takes it: trials are kept there, and any number of processes and machines
        may work on it. None: trials are not kept. Trials of other settings or versions are left alone.
    n_jobs : int, default=1
        Processes here, as joblib counts them.
    random_state : int, default=0
        Seed of the sampler. With one process that was never interrupted trials are reproducible.
    watcher : callable, default=None
        Called as ``watcher(n)`` now and then, from another thread, with the number of finished trials.

    Returns
    -------
    trials : tuple of Trial
        The finished ones, in the order of their numbers; more than ``n_trials`` where the storage has them.

    Raises
    ------
    StudyError
        If the storage can't be used, or five trials in a row fail.
    """
    protocol = replace(protocol, best={}, on_validation=True)
    with contextlib.ExitStack() as stack:
        if storage is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            storage = file_url(Path(folder, "tuning.sqlite"))
        stack.enter_context(_errors_told(storage))
        stack.enter_context(_quiet_optuna())
        work = _Work(protocol, n_trials, tuple(seeds), storage, random_state)
        study = stack.enter_context(work.opened())
        _enqueue_defaults(study)
        stack.enter_context(_watched(study, watcher))
        while work.is_open(study):
            if not work.n_wanted(study):  # others make the last ones
                time.sleep(POLL)
                continue
            _run(work, n_jobs)
        return _finished(study)


class _Work:
    """What every process of a tuning has to know; travels by pickle."""

    def __init__(
        self, protocol: Protocol, n_trials: int, seeds: tuple[int, ...], storage: str, random_state: int
    ) -> None:
        self.protocol, self.n_trials, self.seeds = protocol, n_trials, seeds
        self.storage, self.random_state = storage, random_state
        self.name = f"skantidistill {protocol.key}, seeds {', '.join(map(str, seeds))}"

    @contextlib.contextmanager
    def opened(self) -> Iterator[optuna.Study]:
        """Give the study of the storage."""
        storage = _open_storage(self.storage)
        try:
            study = optuna.create_study(
                storage=storage,
                study_name=self.name,
                directions=[StudyDirection.MAXIMIZE for _ in COLUMNS],
                load_if_exists=True,
            )
            study.sampler = optuna.samplers.TPESampler()  # draws nothing before measure puts its own
            yield study
        finally:
            storage.remove_session()
            storage.engine.dispose()

    def is_open(self, study: optuna.Study) -> bool:
        """Say whether trials are still to be finished, here or elsewhere."""
        optuna.storages.fail_stale_trials(study)
        # Optuna waits without end for one whose process ended between its beginning and its first heartbeat.
        before = datetime.now() - timedelta(seconds=2 * HEARTBEAT)
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if not trial.params and trial.datetime_start is not None and trial.datetime_start < before:
                study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        return _count(study, TrialState.COMPLETE) < self.n_trials

    def n_wanted(self, study: optuna.Study) -> int:
        """Return how many trials are neither finished nor running."""
        return max(0, self.n_trials - _count(study, TrialState.COMPLETE, TrialState.RUNNING))

    def run(self) -> None:
        """Make trials until there are enough."""
        failures = 0

        def stop(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
            nonlocal failures
            failures = failures + 1 if trial.state == TrialState.FAIL else 0
            if failures == MOST_FAILURES:
                raise StudyError(f"{failures} trials failed, the last one by: {trial.user_attrs['error']}")
            if not self.n_wanted(study):
                study.stop()

        with _quiet_optuna(), self.opened() as study:
            if self.n_wanted(study):
                study.optimize(self.measure, callbacks=[stop], catch=StudyError)

    def measure(self, trial: optuna.Trial) -> tuple[float, ...]:
        """Return the criteria of a trial."""
        # Draws depend on its number: no process repeats those of another one, or its own when it goes on.
        sequence = np.random.SeedSequence([self.random_state, trial.number])
        trial.study.sampler = optuna.samplers.TPESampler(seed=int(sequence.generate_state(1)[0]))
        protocol = replace(self.protocol, best=suggest(trial, self.protocol))
        try:
            rows = [run_method(protocol, "AD", seed) for seed in self.seeds]
        except StudyError as error:
            trial.set_user_attr("error", str(error))
            raise
        return tuple(float(np.mean([row[column] for row in rows])) for column in COLUMNS)


def _open_storage(url: str) -> optuna.storages.RDBStorage:
    """Return a storage, whose tables are made if there are none."""
    patience = {"connect_args": {"timeout": 60}} if make_url(url).get_backend_name() == "sqlite" else {}
    for seconds in (0.5, 1.0, 0.0):
        try:
            return optuna.storages.RDBStorage(
                url, engine_kwargs={"pool_pre_ping": True, **patience}, heartbeat_interval=HEARTBEAT
            )
        except SQLAlchemyError:  # of two processes that make the tables at once, one fails
            if not seconds:
                raise
            time.sleep(seconds)
        except RuntimeError as error:  # of tables that another version of Optuna made
            raise StudyError(str(error)) from error
    raise AssertionError("unreachable")


def _run(work: _Work, n_jobs: int) -> None:
    if n_jobs == 1:
        work.run()
        return
    parallel = Parallel(n_jobs, return_as="generator_unordered")
    with deaf_to_ctrl_c():
        finished = parallel(delayed(work.run)() for _ in range(parallel.n_jobs))
    with deaths_told(), contextlib.closing(finished):
        for _ in finished:
            pass


def _count(study: optuna.Study, *states: TrialState) -> int:
    return len(study.get_trials(deepcopy=False, states=states))


def _enqueue_defaults(study: optuna.Study) -> None:
    """Let the estimator's defaults be tried, unless they have been, or are."""
    tried = [trial.state for trial in study.get_trials(deepcopy=False) if DEFAULTS in trial.user_attrs]
    if all(state == TrialState.FAIL for state in tried):
        defaults = AntiDistilledMLPClassifier().get_params(deep=False)
        study.enqueue_trial({name: defaults[name] for name in PARAMETERS}, user_attrs={DEFAULTS: True})


def _finished(study: optuna.Study) -> tuple[Trial, ...]:
    """Return the finished trials; that of the defaults is 0, even if it is a second try."""
    found = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    defaults = [trial.number for trial in found if DEFAULTS in trial.user_attrs][:1]
    trials = (Trial(0 if t.number in defaults else t.number, dict(t.params), tuple(t.values)) for t in found)
    return tuple(sorted(trials, key=lambda trial: trial.number))


@contextlib.contextmanager
def _watched(study: optuna.Study, watcher: Callable[[int], None] | None) -> Iterator[None]:
    """Tell in a thread how many trials are finished."""
    if watcher is None:
        yield
        return
    over = threading.Event()

    def look() -> None:
        while not over.wait(POLL):
            with contextlib.suppress(Exception):  # the main thread meets the same error, and tells it
                watcher(_count(study, TrialState.COMPLETE))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Let Optuna tell nothing by itself: failures end as errors."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # heartbeats have been so since 2021
            yield
    finally:
        optuna.logging.set_verbosity(before)


@contextlib.contextmanager
def _errors_told(storage: str) -> Iterator[None]:
    """Tell what goes wrong with the storage in one line, without its password."""
    try:
        url = make_url(storage)
    except (SQLAlchemyError, ValueError):  # the latter: of a port
        raise StudyError(
            "--storage is no URL of a database, such as sqlite:///tuning.sqlite or "
            "postgresql://user@host/database."
        ) from None
    if "@" in (url.host or ""):  # what is before it is a part of the password
        raise StudyError("--storage has more than one @; in a user's name or a password, write %40 for it.")
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise StudyError("--storage names no file; give for example sqlite:///tuning.sqlite.")
    # A query may hold passwords, too.
    shown = url.set(query={}).render_as_string(hide_password=True)
    try:
        yield
    except (SQLAlchemyError, StorageInternalError, ImportError) as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise StudyError(
            f"--storage {shown} can't be used ({reason}); finished trials are kept, and the same command "
            "goes on from there."
        ) from error
