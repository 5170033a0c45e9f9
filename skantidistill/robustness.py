"""How well a classifier holds under attack on its inputs and under noise in its parameters.

Works for every estimator that :func:`skantidistill.teachers.read_teacher` reads.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.utils import check_array, check_random_state, gen_batches
from sklearn.utils.validation import column_or_1d

from skantidistill import perturbations
from skantidistill._checks import (
    FLOATS,
    check_bounds,
    check_column_values,
    check_inputs,
    check_inside,
    check_weight,
    encode_labels,
)
from skantidistill.blueprint import Blueprint
from skantidistill.network import margin_gradient
from skantidistill.teachers import read_teacher

__all__ = ["KINDS", "RobustnessCurve", "robustness_curve", "robustness_score"]

BATCH_ROWS = 2048
BLOCK = 2**24  # numbers of a dense block


@dataclass(frozen=True)
class _Test:
    """Checked data and settings of a measurement."""

    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    bounds: tuple[np.ndarray, np.ndarray] | None
    n_draws: int
    seed: int


@dataclass(frozen=True)
class RobustnessCurve:
    """Accuracy by strength of a perturbation.

    Attributes
    ----------
    kind : str
        Kind of the perturbation.
    epsilons : ndarray of shape (n_epsilons,), or (n_epsilons, n_features) if any is one value a feature
        Its strengths, in the units of X (``"fgsm"``) or of the parameters (``"parameter_noise"``).
    scores : ndarray of shape (n_epsilons,)
        Accuracy in [0, 1], the mean over draws.
    draws : ndarray of shape (n_epsilons, n_draws)
        Accuracy of every draw; one column for a kind without randomness.
    """

    kind: str
    epsilons: np.ndarray
    scores: np.ndarray
    draws: np.ndarray


def robustness_score(
    estimator: Any,
    X: Any,
    y: Any,
    kind: str = "fgsm",
    epsilon: Any = 0.1,
    *,
    bounds: Any = None,
    n_draws: int = 10,
    random_state: Any = None,
    sample_weight: Any = None,
) -> float:
    """Return the accuracy of a fitted classifier under a perturbation.

    Parameters
    ----------
    estimator : fitted estimator
        Any that :func:`~skantidistill.teachers.read_teacher` reads, for example a plain
        scikit-learn ``MLPClassifier``, a ``Pipeline`` or a ``torch.nn.Sequential``.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Test inputs, as the estimator itself takes them: raw ones for a ``Pipeline``. An attack moves every
        feature, also where a sparse matrix stores nothing.
    y : array-like of shape (n_samples,)
        Their true labels; 0, 1, 2, ... for a torch module or a skorch net.
    kind : {"fgsm", "parameter_noise"}, default="fgsm"
        ``"fgsm"``: every input takes the fast gradient sign step of the cross-entropy of its true
        label [1]_. ``"parameter_noise"``: ``epsilon * N(0, 1)`` is added to every weight and bias;
        a binary network has two logits here, and noise on both.
    epsilon : float or array-like of shape (n_features,), default=0.1
        Strength, at least 0, in the units of X (``"fgsm"``; one value a feature is allowed) or of
        the parameters.
    bounds : pair of float or array-like, default=None
        Lowest and highest valid inputs; attacks are clipped to them.
    n_draws : int, default=10
        Number of draws of parameter noise that are averaged.
    random_state : int, RandomState instance or None, default=None
        Determines the noise; the same for every epsilon of a curve.
    sample_weight : array-like of shape (n_samples,), default=None
        Row weights of the accuracy.

    Returns
    -------
    score : float
        Accuracy in [0, 1].

    Raises
    ------
    TypeError
        If the estimator is of a kind that can't be read.
    ValueError
        If the kind is unknown, X lies outside ``bounds``, y has labels that the estimator doesn't
        know, or epsilon is negative or of another length than the features.

    References
    ----------
    .. [1] I. Goodfellow, J. Shlens, C. Szegedy, "Explaining and harnessing adversarial examples" (2014).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skantidistill.robustness import robustness_score
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LogisticRegression(max_iter=1000).fit(X, y)
    >>> robustness_score(model, X, y, epsilon=0.0) == model.score(X, y)
    True
    """
    curve = robustness_curve(
        estimator,
        X,
        y,
        kind,
        [epsilon],
        bounds=bounds,
        n_draws=n_draws,
        random_state=random_state,
        sample_weight=sample_weight,
    )
    return float(curve.scores[0])


def robustness_curve(
    estimator: Any,
    X: Any,
    y: Any,
    kind: str = "fgsm",
    epsilons: Sequence[Any] | None = None,
    *,
    bounds: Any = None,
    n_draws: int = 10,
    random_state: Any = None,
    sample_weight: Any = None,
) -> RobustnessCurve:
    """Return the accuracy of a fitted classifier by strength of a perturbation.

    Parameters
    ----------
    estimator, X, y, kind, bounds, n_draws, random_state, sample_weight
        As in :func:`robustness_score`.
    epsilons : sequence of shape (n_epsilons,), default=None
        Strengths; None: ten values of the published experiment, 0 to 0.018 for ``"fgsm"`` and 0 to
        0.09 for ``"parameter_noise"``.

    Returns
    -------
    curve : RobustnessCurve
        With ``epsilons``, ``scores`` and ``draws``.

    Raises
    ------
    TypeError, ValueError
        As in :func:`robustness_score`.
    """
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"kind={kind!r} is unknown; use one of {sorted(KINDS)}.")
    if isinstance(n_draws, bool) or not isinstance(n_draws, (int, np.integer)) or n_draws < 1:
        raise ValueError(f"n_draws={n_draws!r} must be an integer of at least 1.")
    measure, default_epsilons = KINDS[kind]
    blueprint = read_teacher(estimator)
    X = _check_columns(estimator, X, blueprint.layer_sizes[0])
    labels = column_or_1d(y, warn=True)
    if len(labels) != X.shape[0]:
        raise ValueError(f"X has {X.shape[0]} rows but y has {len(labels)} labels; give one label a row.")
    columns = getattr(estimator, "feature_names_in_", None)
    checked = check_bounds(bounds, X.shape[1], columns)
    check_inside(X, checked)
    test = _Test(
        X,
        encode_labels(labels, blueprint.classes, "y", "the estimator"),
        check_weight(sample_weight, X),
        checked,
        n_draws,
        # An attack draws nothing, and so takes nothing from a random state either.
        0 if kind == "fgsm" else int(check_random_state(random_state).randint(2**31 - 1)),
    )
    given = default_epsilons if epsilons is None else epsilons
    if not np.iterable(given):
        raise TypeError(f"epsilons={epsilons!r} must be a sequence; for one strength use robustness_score.")
    if len(given) == 0:
        raise ValueError("epsilons is empty; give at least one strength.")
    strengths = [check_column_values(e, X.shape[1], "epsilon", columns) for e in given]
    draws = np.array([measure(blueprint, test, strength) for strength in strengths])
    by_feature = any(np.ndim(strength) for strength in strengths)
    shape = (len(strengths), X.shape[1]) if by_feature else (len(strengths),)
    table = np.array([np.broadcast_to(strength, shape[1:]) for strength in strengths])
    return RobustnessCurve(kind, table, draws.mean(axis=1), draws)


def _check_columns(estimator: Any, X: Any, n_features: int) -> Any:
    """Return X as floats of the estimator's columns; torch modules and skorch nets don't name theirs."""
    if hasattr(estimator, "n_features_in_"):
        return check_inputs(estimator, X)
    X = check_array(X, dtype=FLOATS, accept_sparse="csr", input_name="X")
    if X.shape[1] != n_features:
        raise ValueError(
            f"X has {X.shape[1]} features, but {type(estimator).__name__} is expecting {n_features} features "
            "as input."
        )
    return X


def _under_fgsm(blueprint: Blueprint, test: _Test, epsilon: float | np.ndarray) -> list[float]:
    params, dtype = blueprint.folded().parameters, torch.from_numpy(np.empty(0, test.X.dtype)).dtype
    tensors = tuple(torch.tensor(p, dtype=dtype) for p in params)
    step = torch.as_tensor(epsilon, dtype=dtype)
    bounds = None
    if test.bounds is not None:
        low, high = test.bounds
        bounds = torch.as_tensor(low, dtype=dtype), torch.as_tensor(high, dtype=dtype)
    hit = np.empty(test.X.shape[0], dtype=bool)
    for rows in gen_batches(len(hit), max(1, min(BATCH_ROWS, BLOCK // test.X.shape[1]))):
        X, y = test.X[rows], torch.from_numpy(test.y[rows])
        X = torch.tensor(X.toarray() if issparse(X) else X)

        def gradient(X: torch.Tensor, y: torch.Tensor = y) -> torch.Tensor:
            return margin_gradient(tensors, X, y, blueprint.activation)

        moved = perturbations.fgsm(gradient, X, step, bounds=bounds)
        hit[rows] = blueprint.logits(moved.numpy()).argmax(axis=1) == test.y[rows]
    return [float(np.average(hit, weights=test.weight))]


def _under_parameter_noise(blueprint: Blueprint, test: _Test, epsilon: float | np.ndarray) -> list[float]:
    if np.ndim(epsilon):
        raise ValueError(
            f"epsilon of shape {np.shape(epsilon)} is one value a feature; parameter_noise takes a scalar."
        )
    random_state = np.random.RandomState(test.seed)
    scores = []
    for _ in range(test.n_draws):
        noisy = tuple(
            (p + epsilon * random_state.standard_normal(p.shape)).astype(p.dtype)
            for p in blueprint.parameters
        )
        hit = blueprint.with_parameters(noisy).logits(test.X).argmax(axis=1) == test.y
        scores.append(float(np.average(hit, weights=test.weight)))
    return scores


Measure = Callable[[Blueprint, _Test, float | np.ndarray], list[float]]

#: Kinds of perturbation: how each is measured, and the strengths of the published experiment.
KINDS: dict[str, tuple[Measure, np.ndarray]] = {
    "fgsm": (_under_fgsm, np.arange(10) * 0.002),
    "parameter_noise": (_under_parameter_noise, np.arange(10) * 0.01),
}
