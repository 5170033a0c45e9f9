"""How well a classifier holds under attack on its inputs and under noise in its inputs and parameters.

Works for every estimator that :func:`skantidistill.teachers.read_teacher` reads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import check_array, check_random_state

from skantidistill._checks import (
    FLOATS,
    check_bounds,
    check_inputs,
    check_inside,
    check_weight,
    encode_labels,
    nearest,
    quoted,
    read_labels,
    told_of,
)
from skantidistill.blueprint import Blueprint
from skantidistill.faults import memory_told
from skantidistill.measures import ATTACKS, KINDS, Trial
from skantidistill.perturbation_settings import check_by_feature, check_settings, check_strengths
from skantidistill.scoring import Points, Tally, find_scorer
from skantidistill.teachers import read_teacher

__all__ = ["RobustnessCurve", "adversarial_examples", "robustness_curve", "robustness_score"]


@dataclass(frozen=True)
class RobustnessCurve:
    """Score by strength of a perturbation.

    Parameters
    ----------
    kind : str
        Kind of the perturbation.
    epsilons : ndarray of shape (n_epsilons,), or (n_epsilons, n_features) if any is one value a feature
        Its strengths, in the units of X or, for ``"parameter_noise"``, of the parameters.
    scores : ndarray of shape (n_epsilons,)
        The scores (without ``scoring`` accuracies, in [0, 1]), the means over draws.
    draws : ndarray of shape (n_epsilons, n_draws)
        The score of every draw; one column for the attacks and the certificate.
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
    random_state: Any = None,
    sample_weight: Any = None,
) -> float:
    """Return the accuracy, or another score, of a fitted classifier under a perturbation.

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
    kind : {"fgsm", "pgd", "input_noise", "parameter_noise", "certified"}, default="fgsm"
        - ``"fgsm"``: every input takes the fast gradient sign step of the cross-entropy of its true label
          [1]_; with ``norm="l2"`` the fast gradient step.
        - ``"pgd"``: projected gradient ascent [2]_. A row is broken if it is misclassified at any of these
          points: the input itself, the end of its fast gradient step, and every iterate from every start. So
          the accuracy is never above that of ``"fgsm"``.
        - ``"input_noise"``: every input moves to a random point.
        - ``"parameter_noise"``: ``epsilon * N(0, 1)`` is added to every weight and bias; a binary network has
          two logits here, and noise on both.
        - ``"certified"``: the share of rows whose prediction is right and provably stays so wherever the
          input moves within epsilon, by interval bound propagation [3]_: a lower bound of the accuracy under
          any attack.
    epsilon : float or array-like of shape (n_features,), default=0.1
        Strength, at least 0, in the units of X, or of the parameters. For the attacks and the certificate the
        largest change of a feature, or for ``norm="l2"`` of the input's Euclidean norm (one value a feature:
        the half-axes of an ellipsoid); for ``"input_noise"`` the half-width, or standard deviation if normal.
        One value a feature is allowed but for ``"parameter_noise"``; a Series is matched by name.
    norm : {"linf", "l2"}, default=None
        In which epsilon is measured, for ``"fgsm"`` and ``"pgd"``; None: "linf", the only one of
        ``"certified"``.
    n_steps : int, default=None
        Steps of ``"pgd"``; None: 40.
    step_size : float or array-like of shape (n_features,), default=None
        Length of a step of ``"pgd"`` in the units of X, measured as epsilon is; None: ``2.5 * epsilon /
        n_steps``, but at most epsilon.
    n_restarts : int, default=None
        Number of starts of ``"pgd"``, of which the worst counts; None: 1.
    random_start : bool, default=None
        Whether ``"pgd"`` starts at uniform points of the ball, or at the input itself; None: True.
    distribution : {"uniform", "normal"}, default=None
        Of ``"input_noise"``; None: "uniform".
    relative : bool, default=None
        Whether ``"parameter_noise"`` is in proportion to each layer: its weights', and its biases', own root
        mean square. None: False.
    mutable : array-like of bool of shape (n_features,), default=None
        Which features may move; the others are frozen. None: all. Not for ``"parameter_noise"``.
    bounds : pair of float or array-like, default=None
        Lowest and highest valid inputs; perturbed inputs are clipped to them.
    scoring : str or callable, default=None
        Name of a scikit-learn scorer, such as ``"balanced_accuracy"`` or ``"roc_auc_ovr"``, or a function
        ``(estimator, X, y)``, in place of the accuracy; it sees the perturbed predictions, decision function
        and probabilities, the softmax of the logits. Rows are then attacked until the end of ``"pgd"`` and
        judged at the point of the largest margin of another label. Not for ``"certified"``.
    n_draws : int, default=10
        Number of draws of a kind of noise that are averaged.
    random_state : int, RandomState instance or None, default=None
        Determines noise and random starts; they are the same for every epsilon of a curve.
    sample_weight : array-like of shape (n_samples,), default=None
        Row weights of the score.

    Returns
    -------
    score : float
        Accuracy in [0, 1], or what ``scoring`` returns.

    Raises
    ------
    TypeError
        If the estimator is of a kind that can't be read, or a parameter of a wrong type.
    ValueError
        If the kind is unknown or does not take a parameter that is given, X lies outside ``bounds``, y has
        labels that the estimator doesn't know, or epsilon is negative or of another length than the features.

    Notes
    -----
    Attacks climb the margin by which another label leads, in the precision of X; its gradient does not vanish
    where the network is confident. Predictions are those of the estimator, up to rounding. The certificate is
    computed in float64 and makes up for the rounding errors of an evaluation in the wider precision of X and
    the parameters, and of scalers in that of X: it is not above the accuracy of an attack in float32 either.

    References
    ----------
    .. [1] I. Goodfellow, J. Shlens, C. Szegedy, "Explaining and harnessing adversarial examples" (2014).
    .. [2] A. Madry et al., "Towards deep learning models resistant to adversarial attacks" (2018).
    .. [3] S. Gowal et al., "On the effectiveness of interval bound propagation for training verifiably
       robust models" (2018).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skantidistill.robustness import robustness_score
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LogisticRegression(max_iter=1000).fit(X, y)
    >>> robustness_score(model, X, y, epsilon=0.0) == model.score(X, y)
    True
    >>> certified = robustness_score(model, X, y, "certified", 0.2)
    >>> certified <= robustness_score(model, X, y, "pgd", 0.2, random_state=0) < model.score(X, y)
    True
    """
    curve = robustness_curve(
        estimator,
        X,
        y,
        kind,
        [epsilon],
        norm=norm,
        n_steps=n_steps,
        step_size=step_size,
        n_restarts=n_restarts,
        random_start=random_start,
        distribution=distribution,
        relative=relative,
        mutable=mutable,
        bounds=bounds,
        scoring=scoring,
        n_draws=n_draws,
        random_state=random_state,
        sample_weight=sample_weight,
    )
    return float(curve.scores[0])


@memory_told
def robustness_curve(
    estimator: Any,
    X: Any,
    y: Any,
    kind: str = "fgsm",
    epsilons: Sequence[Any] | None = None,
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
    random_state: Any = None,
    sample_weight: Any = None,
) -> RobustnessCurve:
    """Return the accuracy, or another score, of a fitted classifier by strength of a perturbation.

    Parameters
    ----------
    estimator, X, y, kind
        As in :func:`robustness_score`.
    epsilons : sequence of shape (n_epsilons,), default=None
        Strengths; None: ten values from 0, of the published experiment: to 0.018 for ``"fgsm"``, ``"pgd"``
        and ``"certified"``, and to 0.09 for noise.
    norm, n_steps, step_size, n_restarts, random_start, distribution, relative, mutable, bounds
        As in :func:`robustness_score`.
    scoring, n_draws, random_state, sample_weight
        As in :func:`robustness_score`.

    Returns
    -------
    curve : RobustnessCurve
        With ``epsilons``, ``scores`` and ``draws``.

    Raises
    ------
    TypeError, ValueError
        As in :func:`robustness_score`.
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
    blueprint, trial, strengths = _prepare(
        estimator, X, y, kind, epsilons, given, bounds, n_draws, random_state
    )
    weight = None if sample_weight is None else check_weight(sample_weight, np.empty(len(trial.y)))
    scorer = find_scorer(scoring, weight is not None)
    tables = []
    # A scorer needs the logits of all rows: those of one strength at a time.
    for group in [strengths] if scorer is None else [[strength] for strength in strengths]:
        shape = (len(group), n_draws if KINDS[kind].random else 1)
        tally = Tally(X, trial.y, blueprint.classes, weight, scorer, shape)
        KINDS[kind].measure(blueprint, trial, group, tally)
        tables.append(tally.scores)
    draws = np.concatenate(tables)
    table = np.array([np.broadcast_to(s, max(map(np.shape, strengths))) for s in strengths])
    return RobustnessCurve(kind, table, draws.mean(axis=1), draws)


@memory_told
def adversarial_examples(
    estimator: Any,
    X: Any,
    y: Any,
    kind: str = "fgsm",
    epsilon: Any = 0.1,
    *,
    norm: str | None = None,
    n_steps: int | None = None,
    step_size: Any = None,
    n_restarts: int | None = None,
    random_start: bool | None = None,
    mutable: Any = None,
    bounds: Any = None,
    random_state: Any = None,
) -> np.ndarray:
    """Return what an attack makes of rows: for ``"pgd"`` the worst point of every row.

    Parameters
    ----------
    estimator, X, y
        As in :func:`robustness_score`.
    kind : {"fgsm", "pgd"}, default="fgsm"
        The attack.
    epsilon, norm, n_steps, step_size, n_restarts, random_start, mutable, bounds, random_state
        As in :func:`robustness_score`.

    Returns
    -------
    X_adversarial : ndarray of shape (n_samples, n_features)
        Dense, in the precision of X. Of ``"pgd"`` a point that is misclassified before any that is not, and
        among these the one where another label leads by most.

    Raises
    ------
    TypeError, ValueError
        As in :func:`robustness_score`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skantidistill import adversarial_examples, robustness_score
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LogisticRegression(max_iter=1000).fit(X, y)
    >>> moved = adversarial_examples(model, X, y, "pgd", 0.5, random_state=0)
    >>> model.score(moved, y) == robustness_score(model, X, y, "pgd", 0.5, random_state=0) < model.score(X, y)
    True
    """
    if not isinstance(kind, str) or kind not in ATTACKS:
        raise ValueError(
            f"kind={quoted(kind)} makes no adversarial examples; use one of {sorted(ATTACKS)}."
            f"{nearest(kind, ATTACKS)}"
        )
    given = {
        "norm": norm,
        "n_steps": n_steps,
        "step_size": step_size,
        "n_restarts": n_restarts,
        "random_start": random_start,
        "mutable": mutable,
    }
    blueprint, trial, strengths = _prepare(estimator, X, y, kind, [epsilon], given, bounds, 1, random_state)
    points = Points(trial.X.shape, trial.X.dtype)
    ATTACKS[kind](blueprint, trial, strengths, points)
    return points.X


def _prepare(
    estimator: Any,
    X: Any,
    y: Any,
    kind: str,
    epsilons: Any,
    given: dict[str, Any],
    bounds: Any,
    n_draws: int,
    random_state: Any,
) -> tuple[Blueprint, Trial, list[Any]]:
    """Check everything, and return the network, the rows with their settings, and the strengths."""
    settings = check_settings(kind, given, n_draws)
    blueprint = read_teacher(estimator)
    rows = _check_columns(estimator, X, blueprint.layer_sizes[0])
    columns = getattr(estimator, "feature_names_in_", None)
    settings |= check_by_feature(settings, rows.shape[1], columns)
    strengths = check_strengths(kind, epsilons, rows.shape[1], columns)
    inside = check_bounds(bounds, rows.shape[1], columns)
    check_inside(rows, inside)
    codes = _check_labels(y, rows, blueprint.classes)
    with told_of("random_state"):
        stream = check_random_state(random_state)
    # What draws nothing takes nothing from a random state either.
    draws_any = KINDS[kind].random or settings.get("random_start", False)
    seed = int(stream.randint(2**31 - 1)) if draws_any else 0
    return blueprint, Trial(rows, codes, inside, n_draws, seed, settings), strengths


def _check_labels(y: Any, X: Any, classes: np.ndarray) -> np.ndarray:
    """Return the index of every row's label."""
    labels = read_labels(y, "y")
    if len(labels) != X.shape[0]:
        raise ValueError(f"X has {X.shape[0]} rows but y has {len(labels)} labels; give one label a row.")
    return encode_labels(labels, classes, "y", "the estimator")


def _check_columns(estimator: Any, X: Any, n_features: int) -> Any:
    """Return X as floats of the estimator's columns; torch modules and skorch nets don't name theirs."""
    if hasattr(estimator, "n_features_in_"):
        return check_inputs(estimator, X)
    with told_of("X"):
        X = check_array(X, dtype=FLOATS, accept_sparse="csr", input_name="X")
    if X.shape[1] != n_features:
        raise ValueError(
            f"X has {X.shape[1]} features, but {type(estimator).__name__} is expecting {n_features} features "
            "as input."
        )
    return X
