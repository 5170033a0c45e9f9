"""What the study compares, and on what: methods, tables and protocols, all of them plain values."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from skantidistill.classifier import AntiDistilledMLPClassifier
from skantidistill.datasets import Dataset, fetch_fashion_mnist, load_digits

__all__ = ["METHODS", "PROTOCOLS", "TABLES", "Protocol", "n_steps", "student_parameters"]

_PLAIN = {"phi_max_iter": 0, "lambda_noise": 0.0, "lambda_trace": 0.0, "new_outputs": "start"}

#: Rows of the tables: parameters of ``AntiDistilledMLPClassifier``. What a row does not name is the
#: protocol's, or else the estimator's default; a row that does not name the teacher has it.
METHODS: dict[str, dict[str, Any]] = {
    "Xavier": {"teacher": None, "start": "xavier", **_PLAIN},
    "Zero": {"start": "zero", **_PLAIN},
    "Uniform": {"start": "uniform", **_PLAIN},
    "Xavier + kept terms": {"teacher": None, "start": "xavier", "phi_max_iter": 0},
    "Zero + kept terms": {"start": "zero", "phi_max_iter": 0},
    "Uniform + kept terms": {"start": "uniform", "phi_max_iter": 0},
    "AD": {},
}

#: Which rows are compared with which. In "equal training" every row has AD's budget.
TABLES = {
    "as published": ("Xavier", "Zero", "Uniform", "AD"),
    "equal training": ("Xavier + kept terms", "Zero + kept terms", "Uniform + kept terms", "AD"),
}


@dataclass(frozen=True)
class Protocol:
    """Data, teacher, student and criteria of a study.

    Parameters
    ----------
    title : str
        Name of the data, for readers.
    load : callable, seed -> Dataset
        Gives the training rows (D2) and the test rows of a seed.
    teacher_classes : tuple of int
        The teacher's labels; D1 is the training rows that have them.
    teacher : mapping
        Parameters of the teacher, a scikit-learn ``MLPClassifier`` that Adam trains.
    teacher_phases : tuple of (int, float)
        Epochs and step sizes of its training, one after the other.
    student : mapping
        Parameters that all students share.
    fgsm_epsilon, noise_epsilon : float
        Strength of the two perturbations, in the units of X and of the parameters.
    n_draws : int, default=10
        Draws of parameter noise that are averaged.
    n_threads : int or None, default=1
        Threads to compute with; None: as many as the libraries take. One gives the same bits on every
        machine, and where others compute too, it is much faster: nobody waits for a thread that waits.
    """

    title: str
    load: Callable[[int], Dataset]
    teacher_classes: tuple[int, ...]
    teacher: Mapping[str, Any]
    teacher_phases: tuple[tuple[int, float], ...]
    student: Mapping[str, Any]
    fgsm_epsilon: float
    noise_epsilon: float
    n_draws: int = 10
    n_threads: int | None = 1


PROTOCOLS = {
    # 1/16 is one grey level of these pictures; noise of 0.15 costs a plain student about a third of its
    # accuracy.
    "digits": Protocol(
        title="Digits",
        load=lambda seed: load_digits(random_state=seed),
        teacher_classes=(0, 1, 2, 3, 4),
        teacher={"hidden_layer_sizes": (32, 16), "batch_size": 64},
        teacher_phases=((40, 1e-3),),
        student={
            "hidden_layer_sizes": (64, 32),
            "batch_size": 64,
            "learning_rate_init": 1e-3,
            "max_iter": 40,
            "tol": 0.0,
            "n_iter_no_change": math.inf,
        },
        fgsm_epsilon=0.0625,
        noise_epsilon=0.15,
    ),
    # The protocol of the paper; its phi is the estimator's own.
    "fashion-mnist": Protocol(
        title="Fashion-MNIST",
        load=lambda seed: fetch_fashion_mnist(),
        teacher_classes=(0, 1, 2, 3, 4),
        teacher={"hidden_layer_sizes": (128, 64, 32), "batch_size": 256},
        teacher_phases=((10, 1e-2), (20, 1e-3)),
        student={
            "hidden_layer_sizes": (256, 128, 64),
            "batch_size": 256,
            "learning_rate_init": 1e-3,
            "max_iter": 10,
            "tol": 0.0,
            "n_iter_no_change": math.inf,
        },
        fgsm_epsilon=0.018,
        noise_epsilon=0.09,
    ),
}


def n_steps(n_rows: int, batch_size: int) -> int:
    """Return the gradient steps of one epoch."""
    return math.ceil(n_rows / batch_size)


def student_parameters(protocol: Protocol, method: str, n_old: int, n_rows: int) -> dict[str, Any]:
    """Return a row's parameters of ``AntiDistilledMLPClassifier``, all but teacher and seed.

    A row of "equal training" without phi trains longer: as many more epochs of D2 as hold AD's steps of
    phi, rounded up in favour of the row.

    Parameters
    ----------
    protocol : Protocol
        What is studied.
    method : str
        Name of the row, a key of ``METHODS``.
    n_old, n_rows : int
        Number of rows of D1 and of D2.

    Returns
    -------
    parameters : dict
        For ``AntiDistilledMLPClassifier(**parameters)``; holds ``teacher`` only where it is None.

    Examples
    --------
    >>> from skantidistill.study import PROTOCOLS, student_parameters
    >>> student_parameters(PROTOCOLS["digits"], "Zero", n_old=600, n_rows=1198)["start"]
    'zero'
    """
    parameters = {**protocol.student, **METHODS[method]}
    if method in TABLES["equal training"] and parameters.get("phi_max_iter") == 0:
        batch_size = parameters["batch_size"]
        phi_epochs = AntiDistilledMLPClassifier(**METHODS["AD"]).phi_max_iter
        phi_steps = phi_epochs * n_steps(n_old, batch_size)
        parameters["max_iter"] += math.ceil(phi_steps / n_steps(n_rows, batch_size))
    return parameters
