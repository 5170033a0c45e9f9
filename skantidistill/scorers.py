"""Robustness as ``scoring=`` of searches and cross-validation."""

from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.metadata_routing import UNUSED

from skantidistill._checks import check_bounds, check_column_values
from skantidistill.perturbation_settings import check_by_feature, check_settings
from skantidistill.robustness import robustness_score
from skantidistill.scoring import find_scorer

__all__ = ["RobustnessScorer", "make_robustness_scorer"]


class RobustnessScorer(BaseEstimator):
    """What :func:`make_robustness_scorer` returns; its parameters are those."""

    # scikit-learn's routing reads from a method ``score`` what may be asked for: only sample_weight.
    __metadata_request__score: ClassVar[dict] = {"estimator": UNUSED}

    def __init__(
        self,
        kind: str = "fgsm",
        epsilon: Any = 0.1,
        *,
        norm: str | None = None,
        n_steps: int | None = None,
        step_size: Any = None,
        n_restarts: int | None = None,
        random_start: bool | None = None,
        distribution: str | None = None,
        relative: bool | None = None,
        mutable: Any = None,
        bounds: Any = None,
        scoring: Any = None,
        n_draws: int = 10,
        random_state: Any = 0,
    ) -> None:
        self.kind = kind
        self.epsilon = epsilon
        self.norm = norm
        self.n_steps = n_steps
        self.step_size = step_size
        self.n_restarts = n_restarts
        self.random_start = random_start
        self.distribution = distribution
        self.relative = relative
        self.mutable = mutable
        self.bounds = bounds
        self.scoring = scoring
        self.n_draws = n_draws
        self.random_state = random_state

    def score(self, estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the score of a fitted estimator under the perturbation."""
        return robustness_score(estimator, X, y, sample_weight=sample_weight, **self.get_params(deep=False))

    def __call__(self, estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return :meth:`score`, as scikit-learn's tools ask for it."""
        return self.score(estimator, X, y, sample_weight)

    def _accept_sample_weight(self) -> bool:
        """Say yes: searches ask their scorers before they hand on weights without routing."""
        return True


def make_robustness_scorer(
    kind: str = "fgsm",
    epsilon: Any = 0.1,
    *,
    norm: str | None = None,
    n_steps: int | None = None,
    step_size: Any = None,
    n_restarts: int | None = None,
    random_start: bool | None = None,
    distribution: str | None = None,
    relative: bool | None = None,
    mutable: Any = None,
    bounds: Any = None,
    scoring: Any = None,
    n_draws: int = 10,
    random_state: Any = 0,
) -> RobustnessScorer:
    """Return a scorer, ``scorer(estimator, X, y)``, for ``scoring=`` of scikit-learn's tools.

    Parameters
    ----------
    kind, epsilon, norm, n_steps, step_size, n_restarts, random_start, distribution, relative, mutable
        As in :func:`~skantidistill.robustness_score`.
    bounds : pair of float or array-like, default=None
        As there; a student's own are not looked at, so that all candidates are perturbed alike.
    scoring, n_draws
        As there.
    random_state : int, RandomState instance or None, default=0
        Determines noise and random starts. With an int, every candidate, fold and process sees the same ones.

    Returns
    -------
    scorer : RobustnessScorer
        Picklable. Under metadata routing it asks for weights by ``set_score_request(sample_weight=True)``.

    Raises
    ------
    TypeError, ValueError
        If the kind is unknown, or does not take what is given, or a value of epsilon, step_size or bounds is
        wrong; what depends on the data is checked there.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skantidistill import make_robustness_scorer
    >>> scoring = {"accuracy": "accuracy", "attacked": make_robustness_scorer("pgd", 0.2)}
    >>> search = GridSearchCV(
    ...     LogisticRegression(max_iter=1000), {"C": [0.1, 1]}, scoring=scoring, refit="attacked"
    ... )
    >>> search.fit(*load_iris(return_X_y=True)).best_params_
    {'C': 1}
    """
    given = {
        "norm": norm,
        "n_steps": n_steps,
        "step_size": step_size,
        "n_restarts": n_restarts,
        "random_start": random_start,
        "distribution": distribution,
        "relative": relative,
        "mutable": mutable,
        "scoring": scoring,
    }
    check_settings(kind, given, n_draws)
    find_scorer(scoring)
    check_column_values(epsilon, np.size(epsilon), "epsilon")
    check_by_feature({"step_size": step_size}, np.size(step_size), None)
    check_bounds(bounds, None)
    return RobustnessScorer(kind, epsilon, bounds=bounds, n_draws=n_draws, random_state=random_state, **given)
