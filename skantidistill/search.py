"""scikit-learn's searches, whose candidates train together.

The searches are scikit-learn's own; what is changed is the engine that runs their fits. It hands shares of
them to joblib's workers, and in a share all fits run side by side (:mod:`skantidistill.together`): where they
come to train, they are trained in stacks (:mod:`skantidistill.stacks`).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, ClassVar, Self

import joblib
import numpy as np
from joblib.parallel import ParallelBackendBase, SequentialBackend, get_active_backend
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.utils.parallel import Parallel, delayed

from skantidistill._checks import Interval, quoted
from skantidistill.faults import ended_by_ctrl_c
from skantidistill.stacks import Room, answer_all, why_alone
from skantidistill.together import Answer, paused, run_together
from skantidistill.training import Training

__all__ = ["StackedGridSearchCV", "StackedRandomizedSearchCV"]

#: Fits of one share at most, so that there is something to hand out where there are many workers.
SHARE = 128
#: Parameters whose values make stacks of their own.
_STRUCTURE = {
    "activation",
    "batch_size",
    "early_stopping",
    "ema_decay",
    "hidden_layer_sizes",
    "neighborhood",
    "trace",
}


def _run_share(tasks: list[Any], max_memory: float) -> tuple[list[Any], Counter[str]]:
    """Run fits side by side; return what they return, and how many students trained alone, by the reason."""
    reasons: Counter[str] = Counter()

    def answer(requests: Sequence[Any]) -> list[Answer]:
        students = [r for r in requests if isinstance(r, Training) and r.schedule.stage == "training"]
        reasons.update(filter(None, map(why_alone, students)))
        return answer_all(requests)

    functions = [_timed(tasks, number) for number in range(len(tasks))]
    return run_together(functions, answer, Room(max_memory)), reasons


def _timed(tasks: list[Any], number: int) -> Callable[[], list[Any]]:
    """Let times say what a fit takes: its own seconds, and its share of what was done for many.

    Each task is forgotten once it is done, with the estimator that it has fitted.
    """

    def timed() -> list[Any]:
        task, tasks[number] = tasks[number], None
        results: list[Any] = task()
        for result in results:
            if isinstance(result, dict) and "fit_time" in result:
                result["fit_time"] -= min(paused(), result["fit_time"])
        return results

    return timed


class _Engine(ParallelBackendBase):
    """A backend of joblib that keeps what it is given until a result is wanted, and then runs all of it."""

    supports_retrieve_callback = False

    def __init__(self, n_jobs: int | None, max_memory: float, tell: Callable[[str], None]) -> None:
        super().__init__(nesting_level=0)
        self.outer, self.outer_jobs = get_active_backend()
        self.n_jobs = self.outer_jobs if n_jobs is None else n_jobs
        self.n_workers = joblib.effective_n_jobs(self.n_jobs)
        self.max_memory, self.tell = max_memory, tell
        self.config: Any = None
        self.fits: list[_Fit] = []

    def configure(self, n_jobs: int = 1, parallel: Any = None, **others: Any) -> int:
        """Ask for all fits before any is run."""
        parallel.pre_dispatch = "all"
        return self.effective_n_jobs(n_jobs)

    def effective_n_jobs(self, n_jobs: int) -> int:
        """Say that fits don't run at once: with one worker joblib would ask no backend."""
        return 2

    def get_nested_backend(self) -> tuple[Any, int | None]:
        """Let a fit use joblib as ever, unless it is one of several workers' fits."""
        if self.n_workers == 1:
            return self.outer, self.outer_jobs
        return SequentialBackend(nesting_level=1), None

    def submit(self, func: Callable[[], list[Any]], callback: Any) -> "_Fit":
        """Keep a fit, whose ``get`` will be called."""
        self.fits.append(_Fit(self, func, callback))
        return self.fits[-1]

    apply_async = submit  # joblib before 1.5

    def terminate(self) -> None:
        """End with the candidates: the refit is as any other."""
        self.config.unregister()

    def run(self) -> None:
        """Run all that is kept."""
        fits, self.fits = self.fits, []
        with joblib.parallel_config(backend=self.outer, n_jobs=self.n_jobs):
            n_shares = min(len(fits), self.n_workers * -(-len(fits) // (SHARE * self.n_workers)))
            order = [fits[number] for number in _by_structure([fit.function for fit in fits])]
            shares = [[order[i] for i in share] for share in np.array_split(range(len(order)), n_shares)]
            ended = Parallel(n_jobs=self.n_jobs)(
                delayed(_run_share)([fit.hand_over() for fit in share], self.max_memory) for share in shares
            )
        reasons: Counter[str] = Counter()
        for share, (results, alone) in zip(shares, ended, strict=True):
            reasons += alone
            for fit, result in zip(share, results, strict=True):
                fit.result = result
        for reason, count in reasons.items():
            self.tell(f"{count} student{'s' * (count > 1)} trained alone, because of {reason}")


class _Fit:
    """A fit that an engine keeps."""

    result: list[Any] | None = None

    def __init__(self, engine: _Engine, function: Any, callback: Callable[[Any], None]) -> None:
        self.engine, self.function, self.callback = engine, function, callback

    def hand_over(self) -> Any:
        """Return the function, and forget it: it holds an estimator, which will be fitted."""
        function, self.function = self.function, None
        return function

    def get(self, timeout: float | None = None) -> Any:
        """Return what the fit returns."""
        if self.result is None:
            self.engine.run()
        self.callback(None)  # joblib counts
        return self.result


def _by_structure(tasks: Sequence[Any]) -> list[int]:
    """Order fits so that those that may stack, and those of one fold, are next to each other."""

    def key(number: int) -> tuple[str, int, int]:
        (_, _, keywords), *_ = tasks[number].items
        parameters = keywords.get("parameters") or {}
        structure = {k: v for k, v in parameters.items() if k.rsplit("__", 1)[-1] in _STRUCTURE}
        return quoted(sorted(structure.items(), key=str)), keywords.get("split_progress", (0,))[0], number

    try:
        return sorted(range(len(tasks)), key=key)
    except (AttributeError, TypeError, ValueError):  # what joblib or scikit-learn hand over has changed
        return list(range(len(tasks)))


class _Stacked:
    """What both searches add to scikit-learn's."""

    n_jobs: int | None
    verbose: int
    max_memory: Any

    @ended_by_ctrl_c
    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Search, as scikit-learn's ``fit`` does.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs.
        y : array-like of shape (n_samples,)
            Labels.
        **params : dict
            Handed on as scikit-learn's searches do: to ``fit``, the splitter and the scorers.

        Returns
        -------
        self : estimator
            The search, fitted.
        """
        engine = _Engine(self.n_jobs, self.max_memory, self._tell)
        engine.config = joblib.parallel_config(backend=engine)
        with engine.config:
            return super().fit(X, y, **params)  # type: ignore[misc]

    def _tell(self, message: str) -> None:
        if self.verbose > 0:
            print(f"[{type(self).__name__}] {message}.")


_CONSTRAINTS = {"max_memory": [Interval(Real, 0, None, closed="neither")]}


class StackedGridSearchCV(_Stacked, GridSearchCV):
    """Search a grid as :class:`~sklearn.model_selection.GridSearchCV` does, all candidates at once.

    Students of one architecture are trained as one stack, in batched matrix products: candidates that differ
    in learning rates, weights of terms, seeds and the like, and all their folds. The result is that of
    scikit-learn's search, which this one is in everything else: each student is the one that ``fit`` would
    give by itself (up to rounding), on its own rows and draws, until its own end.

    What several fits ask for alike is computed once: candidates that differ only in what comes after phi
    share phi. Students that can't be stacked (of sparse rows or memory maps; with ``verbose``, ``callbacks``,
    ``freeze_iter``, ``rehearse`` of ``teacher_data`` or another device than the CPU; too large to gain) train
    alone, and with ``verbose`` of at least 1 the search says how many did and why. Other estimators are
    searched as scikit-learn does.

    Parameters
    ----------
    estimator : estimator
        An :class:`~skantidistill.AntiDistilledMLPClassifier`, or a Pipeline that ends in one.
    param_grid : dict or list of dict
        As there. Values of ``hidden_layer_sizes``, ``batch_size``, ``neighborhood``, ``trace``, ``ema_decay``
        and ``early_stopping`` make stacks of their own; so does a term that is off.
    scoring, n_jobs, refit, cv, verbose, pre_dispatch, error_score, return_train_score
        As there. ``n_jobs`` is the number of joblib's workers, each of which has stacks of its own; inside
        ``joblib.parallel_config("dask")`` they are Dask's. All fits are dispatched at once, whatever
        ``pre_dispatch`` says.
    max_memory : float, default=2**30
        Bytes that the fits of one worker may take at a time, beside the data that the search was given: about
        six copies of the training rows and twelve of the parameters a fit. Where more would not fit, they
        come one after the other; one fit always runs.

    Attributes
    ----------
    cv_results_, best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_, refit_time_
        As there. A ``fit_time`` is the time of the fit itself and its share of the stack's.
    multimetric_, classes_, n_features_in_, feature_names_in_
        As there.

    Raises
    ------
    ValueError
        As there, of ``fit``.

    See Also
    --------
    skantidistill.AntiDistilledMLPClassifier : Its ``n_restarts`` trains seeds as one stack.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> from sklearn.preprocessing import scale
    >>> from skantidistill import AntiDistilledMLPClassifier, StackedGridSearchCV
    >>> X, y = scale(load_iris().data), load_iris().target
    >>> teacher = MLPClassifier((8,), max_iter=1000, random_state=0).fit(X[y < 2], y[y < 2])
    >>> student = AntiDistilledMLPClassifier(teacher, tol=0.01, random_state=0)
    >>> grid = {"lambda_trace": [1e-4, 1e-3, 1e-2], "learning_rate_init": [0.01, 0.03]}
    >>> search = StackedGridSearchCV(student, grid).fit(X, y)
    >>> round(float(search.best_score_), 2)
    0.96
    """

    _parameter_constraints: ClassVar[dict] = {**GridSearchCV._parameter_constraints, **_CONSTRAINTS}

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: Any = "2*n_jobs",
        error_score: Any = np.nan,
        return_train_score: bool = False,
        max_memory: Any = 2**30,
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.max_memory = max_memory


class StackedRandomizedSearchCV(_Stacked, RandomizedSearchCV):
    """Search as :class:`~sklearn.model_selection.RandomizedSearchCV` does, all candidates at once.

    What trains as one stack, what is done once and what trains alone is told at
    :class:`~skantidistill.StackedGridSearchCV`.

    Parameters
    ----------
    estimator : estimator
        An :class:`~skantidistill.AntiDistilledMLPClassifier`, or a Pipeline that ends in one.
    param_distributions : dict or list of dict
        As in scikit-learn's search.
    n_iter, scoring, n_jobs, refit, cv, verbose, pre_dispatch, random_state, error_score, return_train_score
        As there; n_jobs and pre_dispatch as in :class:`~skantidistill.StackedGridSearchCV`.
    max_memory : float, default=2**30
        As in :class:`~skantidistill.StackedGridSearchCV`.

    Attributes
    ----------
    cv_results_, best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_, refit_time_
        As there.
    multimetric_, classes_, n_features_in_, feature_names_in_
        As there.

    Raises
    ------
    ValueError
        As there, of ``fit``.

    See Also
    --------
    skantidistill.StackedGridSearchCV : Of all candidates of a grid.

    Examples
    --------
    >>> from scipy.stats import loguniform
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> from sklearn.preprocessing import scale
    >>> from skantidistill import AntiDistilledMLPClassifier, StackedRandomizedSearchCV
    >>> X, y = scale(load_iris().data), load_iris().target
    >>> teacher = MLPClassifier((8,), max_iter=1000, random_state=0).fit(X[y < 2], y[y < 2])
    >>> student = AntiDistilledMLPClassifier(teacher, tol=0.01, random_state=0)
    >>> space = {"lambda_trace": loguniform(1e-4, 1e-2), "learning_rate_init": [0.01, 0.03]}
    >>> search = StackedRandomizedSearchCV(student, space, random_state=0).fit(X, y)
    >>> round(float(search.best_score_), 2)
    0.96
    """

    _parameter_constraints: ClassVar[dict] = {**RandomizedSearchCV._parameter_constraints, **_CONSTRAINTS}

    def __init__(
        self,
        estimator: Any,
        param_distributions: Any,
        *,
        n_iter: int = 10,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: Any = "2*n_jobs",
        random_state: Any = None,
        error_score: Any = np.nan,
        return_train_score: bool = False,
        max_memory: Any = 2**30,
    ) -> None:
        super().__init__(
            estimator,
            param_distributions,
            n_iter=n_iter,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            random_state=random_state,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.max_memory = max_memory
