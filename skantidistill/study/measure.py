"""What a student is measured by: the criteria, accuracy by epoch, what it still knows, and the trace."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from skantidistill.classifier import AntiDistilledMLPClassifier
from skantidistill.curvature import exact_trace
from skantidistill.study.problem import Problem
from skantidistill.study.protocols import Protocol
from skantidistill.training import Callback

__all__ = ["CRITERIA", "Criterion", "LearningCurve", "measure"]

PGD_STEPS = 20
N_STRENGTHS = 10  # of a curve by strength, 0 and the criterion's own among them
TRACE_ROWS = 500
BLOCK = 2**24  # numbers of a block of the trace
MOST_POINTS = 50  # of a learning curve


@dataclass(frozen=True)
class Criterion:
    """An accuracy on the test rows under a perturbation; of two students the one with more is better.

    Parameters
    ----------
    column : str
        Its column of the tidy table.
    heading : str
        Its heading of the printed tables.
    kind : str or None
        Kind of ``robustness_score``; None: no perturbation.
    strength : str, default=""
        Name of the protocol's attribute that is its epsilon.
    options : dict
        What else ``robustness_score`` takes for it.
    by_strength : bool, default=False
        Whether it is kept for weaker perturbations, too: the column ``<column>_curve``.
    """

    column: str
    heading: str
    kind: str | None = None
    strength: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    by_strength: bool = False


CRITERIA = (
    Criterion("accuracy", "accuracy"),
    Criterion("fgsm", "FGSM", "fgsm", "fgsm_epsilon", by_strength=True),
    Criterion("pgd", "PGD", "pgd", "fgsm_epsilon", {"n_steps": PGD_STEPS}),
    Criterion("certified", "certified", "certified", "certified_epsilon"),
    Criterion("parameter_noise", "param. noise", "parameter_noise", "noise_epsilon", by_strength=True),
)


def measure(
    protocol: Protocol, problem: Problem, student: AntiDistilledMLPClassifier, teacher: Any, seed: int
) -> dict[str, Any]:
    """Return a fitted student's criteria, its knowledge of the teacher's classes, and its trace."""
    X, y, knows = problem.X_test, problem.y_test, problem.knows
    found: dict[str, Any] = {}
    for criterion in CRITERIA:
        if criterion.kind is None:
            found[criterion.column] = float(student.score(X, y))
            continue
        epsilon = getattr(protocol, criterion.strength)
        epsilons = np.linspace(0, epsilon, N_STRENGTHS).tolist() if criterion.by_strength else [epsilon]
        settings = {"n_draws": protocol.n_draws, "random_state": seed, **criterion.options}
        scores = student.robustness_curve(X, y, criterion.kind, epsilons, **settings).scores.tolist()
        found[criterion.column] = scores[-1]
        if criterion.by_strength:
            found[f"{criterion.column}_curve"] = scores
    found["old_classes"] = float(student.score(X[knows], y[knows]))
    found["teacher_accuracy"] = float(teacher.score(X[knows, : problem.X_old.shape[1]], y[knows]))
    found["phi_accuracy"] = _accuracy_of_phi(student, X[knows], y[knows])
    found["trace"] = _trace(student, X, seed)
    return found


def _accuracy_of_phi(student: AntiDistilledMLPClassifier, X: np.ndarray, y: np.ndarray) -> float:
    """Return the accuracy after phi on the teacher's classes, the other outputs left out."""
    if student.growth_ is None:
        return math.nan
    masked = student.phi_blueprint_.select_classes(student.growth_.outputs)
    return float(np.mean(masked.classes[masked.logits(X).argmax(axis=1)] == y))


def _trace(student: AntiDistilledMLPClassifier, X: np.ndarray, seed: int) -> float:
    """Return the exact trace of the Hessian of the cross-entropy on a sample of the test rows."""
    sizes = student.blueprint_.layer_sizes
    n_rows = max(1, min(TRACE_ROWS, BLOCK // (max(sizes[1:]) * sizes[-1])))
    rows = np.random.RandomState(seed).permutation(len(X))[:n_rows]
    return float(exact_trace(student.blueprint_, X[rows]))


class LearningCurve:
    """Accuracy on the test rows by epoch over D2, and how long it took to get there, phi included.

    The clock begins with this object, and stands still while accuracy is measured. Of many epochs only some,
    evenly spaced, and the last are measured.
    """

    def __init__(self, problem: Problem, n_epochs: int) -> None:
        self.X, self.y, self.classes = torch.from_numpy(problem.X_test), problem.y_test, problem.classes
        self.n_epochs, self.every = n_epochs, math.ceil(n_epochs / MOST_POINTS)
        self.epochs: list[int] = []
        self.accuracies: list[float] = []
        self.seconds: list[float] = []
        self.began, self.measuring = time.perf_counter(), 0.0

    def callback(self) -> Callback:
        """Return what the student's training has to call."""

        # A plain function, since skorch's callbacks are cloned, which copies bound methods with their owner.
        def watch(module: torch.nn.Module, epoch: int) -> None:
            self.add(module, epoch)

        return _EachEpoch(watch)

    def add(self, module: torch.nn.Module, epoch: int) -> None:
        """Measure after an epoch, if it is one of those."""
        if epoch % self.every and epoch != self.n_epochs:
            return
        paused = time.perf_counter()
        with torch.no_grad():
            codes = torch.cat([module(rows).argmax(dim=1) for rows in self.X.split(2048)])
        self.epochs.append(epoch)
        self.accuracies.append(float(np.mean(self.classes[codes.numpy()] == self.y)))
        self.seconds.append(paused - self.began - self.measuring)
        self.measuring += time.perf_counter() - paused

    def total(self) -> float:
        """Return the seconds until now, without those of measuring."""
        return time.perf_counter() - self.began - self.measuring


class _EachEpoch(Callback):
    """Call a function with the module before the first epoch and after every one."""

    def __init__(self, call: Callable[[torch.nn.Module, int], None]) -> None:
        self.call = call

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Before the first step."""
        self.call(net.module_, 0)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """After an epoch; the module holds the average of its steps then."""
        self.call(net.module_, len(net.history))
