"""The steps of ``fit``: read and grow the teacher, minimise phi, train the student.

Every function takes the estimator, reads its parameters and sets its fitted attributes.
"""

import copy
import warnings
from typing import Any

import numpy as np
import torch
from numpy.random import RandomState
from sklearn.exceptions import ConvergenceWarning

from skantidistill._checks import check_bounds, check_column_values, encode_labels
from skantidistill.blueprint import Blueprint
from skantidistill.growth import Growth
from skantidistill.objective import Objective
from skantidistill.old_data import OldData
from skantidistill.rows import Rows
from skantidistill.settings import choose_trace, hidden_layer_sizes, match
from skantidistill.starts import STARTS, glorot_uniform
from skantidistill.training import Schedule, Trained, check_callbacks, train

__all__ = ["grow", "minimise_phi", "seed_generators", "start_fresh", "train_student"]


def start_fresh(student: Any, n_features: int, classes: np.ndarray, random_state: RandomState) -> Blueprint:
    """Return a network without a teacher."""
    activation = student.activation or "relu"
    sizes = (n_features, *hidden_layer_sizes(student, None), len(classes))
    return _blueprint(student, glorot_uniform(sizes, random_state), activation, classes)


def grow(
    student: Any, teacher: Blueprint, n_features: int, classes: np.ndarray, random_state: RandomState
) -> tuple[Growth, Blueprint]:
    """Return the correspondence to the teacher, and the network that phi starts from."""
    growth = match(student, teacher, n_features, classes)
    params = STARTS[student.start](growth, random_state)
    return growth, _blueprint(student, params, student.activation or teacher.activation, classes)


def minimise_phi(student: Any, start: Blueprint, growth: Growth, old: OldData, dtype: Any) -> Blueprint:
    """Return the value of phi, and set ``phi_history_``."""
    weights = (student.lambda_ce, student.lambda_teacher, student.lambda_noise, student.lambda_trace)
    if student.phi_max_iter == 0 or not any(weights):
        return start
    codes = np.zeros(len(old.y), dtype=np.int64)
    codes[old.index] = encode_labels(old.labels, growth.teacher.classes, old.source, "the teacher")
    tensors = tuple(_tensor(student, p, dtype) for p in growth.teacher.parameters)
    objective = _objective(
        student,
        start,
        dtype,
        lambda_ce=student.lambda_ce,
        lambda_teacher=student.lambda_teacher,
        lambda_noise=student.lambda_noise,
        lambda_trace=student.lambda_trace,
        outputs=torch.from_numpy(growth.outputs).to(student.device),
        growth=growth,
        teacher=tensors,
    )
    rows = Rows(old.X, codes, old.weight, old.index, dtype=dtype, device=student.device)
    schedule = Schedule(
        max_iter=student.phi_max_iter,
        batch_size=_batch_size(student, len(rows)),
        learning_rate_init=student.phi_learning_rate_init,
        decay=student.phi_learning_rate_decay,
        shuffle=student.shuffle,
        verbose=bool(student.verbose),
        stage="phi, epoch",
    )
    trained = _run(student, start, rows, objective, schedule)
    student.phi_history_ = trained.history
    return start.with_parameters(trained.params)


def train_student(
    student: Any,
    X: np.ndarray,
    codes: np.ndarray,
    weight: np.ndarray,
    index: np.ndarray,
    valid_index: np.ndarray | None,
    *,
    one_epoch: bool = False,
) -> None:
    """Train ``blueprint_`` on all labels, and set what training leaves behind.

    ``index`` and ``valid_index`` are the rows to train on and those that stopping watches.
    """
    dtype = student.blueprint_.weights[0].dtype
    rows = Rows(X, codes, weight, index, dtype=dtype, device=student.device)
    valid_rows = None
    if valid_index is not None:
        valid_rows = Rows(X, codes, weight, valid_index, dtype=dtype, device=student.device)
    kept = student.regularize == "fit"
    objective = _objective(
        student,
        student.blueprint_,
        dtype,
        lambda_noise=student.lambda_noise if kept else 0.0,
        lambda_trace=student.lambda_trace if kept else 0.0,
        alpha=student.alpha,
    )
    schedule = Schedule(
        max_iter=1 if one_epoch else student.max_iter,
        batch_size=_batch_size(student, len(rows)),
        learning_rate_init=student.learning_rate_init,
        shuffle=student.shuffle,
        tol=None if one_epoch else student.tol,
        n_iter_no_change=student.n_iter_no_change,
        freeze_iter=0 if one_epoch else student.freeze_iter,
        verbose=bool(student.verbose),
        callbacks=check_callbacks(student.callbacks),
    )
    state = copy.deepcopy(student._optimizer_state)
    trained = _run(student, student.blueprint_, rows, objective, schedule, valid_rows, state)
    student.blueprint_ = student.blueprint_.with_parameters(trained.params)
    student._optimizer_state = trained.optimizer_state
    _record(student, trained, valid_rows is not None)
    if not (trained.stopped or one_epoch):
        warnings.warn(
            f"Maximum iterations ({student.max_iter}) reached and the optimization hasn't converged yet.",
            ConvergenceWarning,
            stacklevel=5,
        )


def seed_generators(student: Any, random_state: RandomState) -> None:
    """Give the student its own generators, of the order of rows and of the terms' draws."""
    seeds = random_state.randint(2**31 - 1, size=2)
    devices = ("cpu", student.device)
    student._generator_states = tuple(
        torch.Generator(device).manual_seed(int(seed)).get_state()
        for device, seed in zip(devices, seeds, strict=True)
    )


def _run(
    student: Any,
    blueprint: Blueprint,
    rows: Rows,
    objective: Objective,
    schedule: Schedule,
    valid_rows: Rows | None = None,
    optimizer_state: dict[str, Any] | None = None,
) -> Trained:
    """Train from a blueprint, going on with the student's generators where they stood."""
    generators = [torch.Generator("cpu"), torch.Generator(student.device)]
    for generator, state in zip(generators, student._generator_states, strict=True):
        generator.set_state(state)
    trained = train(
        tuple(p.astype(rows.dtype) for p in blueprint.parameters),
        blueprint.activation,
        rows,
        objective,
        schedule,
        shuffle_generator=generators[0],
        draw_generator=generators[1],
        valid_rows=valid_rows,
        optimizer_state=optimizer_state,
    )
    student._generator_states = tuple(g.get_state() for g in generators)
    return trained


def _record(student: Any, trained: Trained, validated: bool) -> None:
    """Set the attributes that tell how training went, as scikit-learn's MLPClassifier does."""
    student.n_iter_ = len(trained.history)
    student.history_ = [*student.history_, *trained.history]
    student.loss_curve_ = [row["train_loss"] for row in student.history_]
    student.loss_ = student.loss_curve_[-1]
    scores = [row["valid_acc"] for row in student.history_ if "valid_acc" in row]
    student.validation_scores_ = scores if validated else None


def _objective(student: Any, blueprint: Blueprint, dtype: Any, **terms: Any) -> Objective:
    n_features = blueprint.layer_sizes[0]
    bounds = check_bounds(student.bounds, n_features)
    if bounds is not None:
        bounds = _tensor(student, bounds[0], dtype), _tensor(student, bounds[1], dtype)
    return Objective(
        blueprint.activation,
        delta=_tensor(student, check_column_values(student.delta, n_features, "delta"), dtype),
        neighborhood=student.neighborhood,
        parameter_noise_std=student.parameter_noise_std,
        # Where the trace has no weight it is not computed, and any way to compute it will do.
        trace=choose_trace(student, blueprint.activation) if terms["lambda_trace"] else "exact",
        bounds=bounds,
        **terms,
    )


def _blueprint(
    student: Any, params: tuple[np.ndarray, ...], activation: str, classes: np.ndarray
) -> Blueprint:
    names = getattr(student, "feature_names_in_", None)
    return Blueprint(tuple(params[::2]), tuple(params[1::2]), activation, classes, names)


def _batch_size(student: Any, n_rows: int) -> int:
    if student.batch_size == "auto":
        return min(200, n_rows)
    return min(student.batch_size, n_rows)


def _tensor(student: Any, value: Any, dtype: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(value, dtype=dtype)).to(student.device)
