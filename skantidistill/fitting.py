"""The steps of ``fit`` but phi: grow the teacher, train the student, and what both share with phi.

Every function takes the estimator, reads its parameters and sets its fitted attributes.
"""

import copy
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.random import RandomState
from scipy.sparse import issparse
from sklearn.exceptions import ConvergenceWarning

from skantidistill._checks import check_bounds, check_column_values, encode_labels, quoted, warn_user
from skantidistill.blueprint import Blueprint
from skantidistill.growth import Growth
from skantidistill.monitoring import FitMonitor
from skantidistill.objective import Objective
from skantidistill.old_data import OldData
from skantidistill.rehearsal import RehearsedRows
from skantidistill.rows import Rows
from skantidistill.scaling import scale_like
from skantidistill.settings import hidden_layer_sizes, match
from skantidistill.starts import find_start, glorot_uniform
from skantidistill.teachers import scalers
from skantidistill.together import ask
from skantidistill.training import Schedule, Trained, Training, check_callbacks

__all__ = [
    "build_objective",
    "build_rows",
    "count_batch",
    "grow",
    "run",
    "seed_generators",
    "start_fresh",
    "to_tensor",
    "train_student",
]


def start_fresh(
    student: Any, n_features: int, classes: np.ndarray, random_state: RandomState, dtype: Any
) -> Blueprint:
    """Return a network without a teacher."""
    sizes = (n_features, *hidden_layer_sizes(student, None), len(classes))
    params = glorot_uniform(sizes, random_state, dtype)
    names = getattr(student, "feature_names_in_", None)
    return Blueprint(tuple(params[::2]), tuple(params[1::2]), student.activation or "relu", classes, names)


def grow(
    student: Any,
    teacher: Blueprint,
    data: OldData,
    classes: np.ndarray,
    random_state: RandomState,
    dtype: Any,
) -> tuple[Growth, Blueprint]:
    """Return the correspondence to the teacher, and the network that phi starts from.

    ``data`` are the rows of (X, y) that count; on them the scalers of new columns are fitted.
    """
    names = getattr(student, "feature_names_in_", None)
    # A copy: a teacher that its owner trains on does not change what this student remembers of it.
    teacher = teacher.with_parameters(tuple(np.array(p, dtype=dtype) for p in teacher.parameters))
    growth = match(student, teacher, data.X.shape[1], classes, names)
    params = _check_start(student.start, find_start(student.start)(growth, random_state), growth, dtype)
    scale, shift = _input_scaling(student, growth, data)
    activation = growth.teacher.activation
    return growth, Blueprint(
        tuple(params[::2]), tuple(params[1::2]), activation, classes, names, scale, shift
    )


def _input_scaling(
    student: Any, growth: Growth, data: OldData
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return the teacher's input scaling, with new columns scaled by scalers of the same kinds."""
    teacher, new = growth.teacher, growth.new_features
    if teacher.input_scale is None or teacher.input_shift is None:
        return None, None
    scale, shift = np.ones(growth.layer_sizes[0]), np.zeros(growth.layer_sizes[0])
    scale[growth.features], shift[growth.features] = teacher.input_scale, teacher.input_shift
    if len(new):
        columns = data.X[:, new][data.index]  # in this order: all columns of all rows may be much
        scale[new], shift[new] = scale_like(scalers(student.teacher_), columns, data.weight[data.index])
    return scale, shift


def _check_start(start: Any, params: Any, growth: Growth, dtype: Any) -> list[np.ndarray]:
    """Return copies of what a start, which may be a user's function, has returned, or say what is wrong."""
    shapes = [shape for n_in, n_out in pairwise(growth.layer_sizes) for shape in ((n_out, n_in), (n_out,))]
    try:
        arrays = [np.array(np.asarray(p), dtype=dtype) for p in params]
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"start={quoted(start)} must return arrays of numbers (W_1, b_1, ...), got "
            f"{type(params).__name__} ({error})."
        ) from None
    got = [a.shape for a in arrays]
    if got != shapes:
        raise ValueError(
            f"start={quoted(start)} returned parameters of shapes {got}; this student's (W_1, b_1, ...) "
            f"have the shapes {shapes}."
        )
    if not all(np.isfinite(a).all() for a in arrays):
        raise ValueError(f"start={quoted(start)} returned parameters that are NaN or infinite.")
    return arrays


def train_student(
    student: Any,
    X: np.ndarray,
    codes: np.ndarray,
    weight: np.ndarray,
    index: np.ndarray,
    valid_index: np.ndarray | None,
    *,
    old: OldData | None = None,
    one_epoch: bool = False,
    monitor: FitMonitor | None = None,
) -> None:
    """Train ``blueprint_`` on all labels, and set what training leaves behind.

    ``index`` and ``valid_index`` are the rows to train on and those that stopping watches; ``old`` are rows
    to rehearse; ``monitor`` is told of epochs.
    """
    rows = build_rows(student, student.blueprint_, X, codes, weight, index)
    batch_size = count_batch(student, len(rows))
    if old is not None:
        rows, batch_size = _rehearsed(student, rows, old, batch_size)
    valid_rows = None
    if valid_index is not None:
        valid_rows = build_rows(student, student.blueprint_, X, codes, weight, valid_index)
    kept = student.regularize == "fit"
    objective = build_objective(
        student,
        student.blueprint_,
        rows.dtype,
        lambda_noise=float(student.lambda_noise) if kept else 0.0,
        lambda_trace=float(student.lambda_trace) if kept else 0.0,
        alpha=float(student.alpha),
    )
    stage = monitor.begin("training", student.max_iter, student.blueprint_) if monitor else None
    schedule = Schedule(
        max_iter=1 if one_epoch else student.max_iter,
        batch_size=batch_size,
        learning_rate_init=float(student.learning_rate_init),
        ema_decay=float(student.ema_decay),
        shuffle=student.shuffle,
        tol=None if one_epoch else student.tol,
        n_iter_no_change=student.n_iter_no_change,
        freeze_iter=0 if one_epoch else int(student.freeze_iter),  # skorch calls what is no int
        verbose=int(student.verbose),
        callbacks=check_callbacks(student.callbacks),
        monitor=stage,
    )
    state = copy.deepcopy(student._training_state)
    trained = run(student, student.blueprint_, rows, objective, schedule, valid_rows, state)
    student.blueprint_ = student.blueprint_.with_parameters(trained.params)
    student._training_state = trained.state
    _record(student, trained, valid_rows is not None)
    if stage is not None:
        stage.end(student.blueprint_)
    if not (trained.stopped or one_epoch):
        warn_user(
            f"Maximum iterations ({student.max_iter}) reached and the optimization hasn't converged yet."
            + (" (With the noise and trace terms, tol=1e-3 is often enough.)" if student.tol < 1e-3 else ""),
            ConvergenceWarning,
        )


def seed_generators(student: Any, random_state: RandomState) -> None:
    """Give the student its own generators, of the order of rows and of the terms' draws."""
    seeds = random_state.randint(2**31 - 1, size=2)
    devices = ("cpu", student.device)
    student._generator_states = tuple(
        torch.Generator(device).manual_seed(int(seed)).get_state()
        for device, seed in zip(devices, seeds, strict=True)
    )


def run(
    student: Any,
    blueprint: Blueprint,
    rows: Rows,
    objective: Objective,
    schedule: Schedule,
    valid_rows: Rows | None = None,
    state: dict[str, Any] | None = None,
) -> Trained:
    """Train from a blueprint, going on with the student's generators where they stood."""
    generators = [torch.Generator("cpu"), torch.Generator(student.device)]
    for generator, stood in zip(generators, student._generator_states, strict=True):
        generator.set_state(stood)
    training = Training(
        blueprint.parameters,
        blueprint.activation,
        rows,
        objective,
        schedule,
        shuffle_generator=generators[0],
        draw_generator=generators[1],
        valid_rows=valid_rows,
        state=state,
    )
    trained: Trained = ask(training, Training.alone)
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


def build_objective(student: Any, blueprint: Blueprint, dtype: Any, **terms: Any) -> Objective:
    """Return the weighted sum of terms, with half-widths and bounds in the units that the network sees."""
    n_features = blueprint.layer_sizes[0]
    columns = getattr(student, "feature_names_in_", None)
    delta = check_column_values(student.delta, n_features, "delta", columns)
    bounds: Any = check_bounds(student.bounds, n_features, columns)
    if blueprint.input_scale is not None:  # both are in raw units, the network sees scaled inputs
        delta = delta * np.abs(blueprint.input_scale)
        if bounds is not None:
            ends = [b * blueprint.input_scale + blueprint.input_shift for b in bounds]
            bounds = np.minimum(*ends), np.maximum(*ends)
    if bounds is not None:
        bounds = to_tensor(student, bounds[0], dtype), to_tensor(student, bounds[1], dtype)
    return Objective(
        blueprint.activation,
        delta=to_tensor(student, delta, dtype),
        neighborhood=student.neighborhood,
        parameter_noise_std=float(student.parameter_noise_std),
        trace="sampled" if student.trace == "auto" else student.trace,
        bounds=bounds,
        **terms,
    )


def build_rows(
    student: Any, blueprint: Blueprint, X: Any, codes: np.ndarray, weight: np.ndarray, index: np.ndarray
) -> Rows:
    """Return rows as the network sees them, in its own precision and on its device."""
    scaled = None if blueprint.input_scale is None else blueprint.scaled
    if issparse(X) and blueprint.input_scale is not None and not np.any(blueprint.input_shift):
        X, scaled = X.multiply(blueprint.input_scale.astype(X.dtype)).tocsr(), None  # zeros stay zeros
    return Rows(X, codes, weight, index, dtype=blueprint.dtype, device=student.device, scaled=scaled)


def _rehearsed(student: Any, rows: Rows, old: OldData, batch_size: int) -> tuple[Rows, int]:
    """Return rows whose minibatches have a share of old ones, and the number of new ones in each."""
    codes = np.zeros(len(old.y), dtype=np.int64)
    codes[old.index] = encode_labels(old.labels, student.classes_, old.source, "the student")
    old_rows = build_rows(student, student.blueprint_, old.X, codes, old.weight, old.index)
    n_old = min(round(student.rehearse * batch_size), batch_size - 1)
    seed = torch.Generator("cpu")
    seed.set_state(student._generator_states[0])
    drawn = int(torch.randint(2**31 - 1, (), generator=seed))
    return RehearsedRows(rows, old_rows, batch_size - n_old, n_old, drawn), batch_size - n_old


def count_batch(student: Any, n_rows: int) -> int:
    """Return the rows of a minibatch."""
    if student.batch_size == "auto":
        return min(200, n_rows)
    return min(int(student.batch_size), n_rows)  # torch takes no numpy integer


def to_tensor(student: Any, value: Any, dtype: Any) -> torch.Tensor:
    """Return a copy of a value on the student's device."""
    with np.errstate(over="ignore"):  # infinite in single precision: training says that it diverges
        return torch.from_numpy(np.array(value, dtype=dtype)).to(student.device)
