"""The rows of the study: plain parameters of ``AntiDistilledMLPClassifier``, to paste into one's own code."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["METHODS", "TABLES", "Group", "make_methods", "n_steps"]

_PLAIN = {"phi_max_iter": 0, "lambda_noise": 0.0, "lambda_trace": 0.0, "new_outputs": "start"}
_TRANSFER = {"start": "transfer", "hidden_layer_sizes": "auto", "freeze_iter": 3}
_NET2NET = {"start": "net2net_equal", "lambda_teacher": 0.0}


def make_methods(best: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the parameters of every row, by its name.

    What a row does not name is the protocol's, or else the estimator's default; a row that does not name the
    teacher has it. The first six and the last of "as published" are those of the paper.

    Parameters
    ----------
    best : mapping
        The setting of anti-distillation, where it differs from the estimator's defaults. Rows with "kept
        terms" take their terms from it, too.

    Examples
    --------
    >>> from skantidistill.study.methods import make_methods
    >>> make_methods({"delta": 0.01})["AD l4=0"]
    {'delta': 0.01, 'lambda_trace': 0.0}
    """
    kept = {**best, "phi_max_iter": 0}
    return {
        "Xavier": {"teacher": None, "start": "xavier", **_PLAIN},
        "Zero": {"start": "zero", **_PLAIN},
        "Uniform": {"start": "uniform", **_PLAIN},
        "Transfer": {**_TRANSFER, **_PLAIN},
        "Net2Net": {**_NET2NET, **_PLAIN},
        # The paper's: phi of a fresh network, of two terms, in the paper's steps.
        "Data noise": {
            "start": "xavier",
            "lambda_ce": 1.0,
            "lambda_teacher": 0.0,
            "lambda_noise": 1.0,
            "lambda_trace": 0.0,
            "neighborhood": "uniform",
            "delta": 0.05,
            "parameter_noise_std": 0.0,
            "phi_max_iter": 15,
            "phi_learning_rate_init": 5e-3,
            "phi_learning_rate_decay": 0.85,
            "regularize": "phi",
            "new_outputs": "start",
        },
        "AD phi only": {**best, "regularize": "phi"},
        "AD l4=0": {**best, "lambda_trace": 0.0},
        "AD": {**best},
        "Xavier + kept terms": {**kept, "teacher": None, "start": "xavier"},
        "Zero + kept terms": {**kept, "start": "zero"},
        "Uniform + kept terms": {**kept, "start": "uniform"},
        "Transfer + kept terms": {**kept, **_TRANSFER},
        "Net2Net + kept terms": {**kept, **_NET2NET},
        # From scratch, and with D1 in half of every minibatch. It has a teacher because rows are rehearsed
        # beside one only, but takes nothing of it: a fresh start, no phi, new outputs as they were drawn.
        "Xavier on D1+D2": {**kept, "start": "xavier", "new_outputs": "start", "rehearse": 0.5},
        "Uniform on D1+D2": {**kept, "start": "uniform", "rehearse": 0.5},
        "AD on D1+D2": {**best, "rehearse": 0.5},
    }


#: The rows with AD as the estimator's defaults have it.
METHODS = make_methods({})


@dataclass(frozen=True)
class Group:
    """Rows that are compared with each other; variants of AD among them are no rivals of the subject."""

    subject: str
    rows: tuple[str, ...]

    @property
    def rivals(self) -> tuple[str, ...]:
        """The rows that the subject is compared with."""
        return tuple(row for row in self.rows if not row.startswith("AD"))


_PUBLISHED = tuple(METHODS)[: tuple(METHODS).index("AD") + 1]
_EQUAL = (*(row for row in METHODS if row.endswith(" + kept terms")), "AD")
_JOINT = tuple(row for row in METHODS if row.endswith(" on D1+D2"))

#: The tables, each of groups of rows. In "equal training" every row has AD's terms and AD's budget.
TABLES: dict[str, tuple[Group, ...]] = {
    "as published": (Group("AD", _PUBLISHED),),
    "equal training": (Group("AD", _EQUAL), Group("AD on D1+D2", _JOINT)),
}


def n_steps(n_rows: int, batch_size: int) -> int:
    """Return the gradient steps of one epoch."""
    return math.ceil(n_rows / batch_size)
