"""phi: the teacher's parameters to the student's initial ones, by minimising four terms over D1.

The result may be kept in a joblib cache, so that a search over what comes after phi pays for it once.
"""

from importlib.metadata import version
from typing import Any

import joblib
import numpy as np
import torch
from sklearn.utils.validation import check_memory

from skantidistill._checks import encode_labels, warn_user
from skantidistill.blueprint import Blueprint
from skantidistill.fitting import build_objective, build_rows, count_batch, run, to_tensor
from skantidistill.growth import Growth
from skantidistill.monitoring import FitMonitor
from skantidistill.objective import Objective
from skantidistill.old_data import OldData
from skantidistill.rows import Rows
from skantidistill.starts import is_start, net2net
from skantidistill.training import Schedule

__all__ = ["minimise_phi"]

Result = tuple[tuple[np.ndarray, ...], list[dict[str, Any]], list[np.ndarray]]

#: Parameters that phi depends on besides its start, its rows and the state of the generators.
_PARAMETERS = (
    "batch_size",
    "bounds",
    "delta",
    "device",
    "ema_decay",
    "lambda_ce",
    "lambda_noise",
    "lambda_teacher",
    "lambda_trace",
    "n_iter_no_change",
    "neighborhood",
    "parameter_noise_std",
    "phi_learning_rate_decay",
    "phi_learning_rate_init",
    "phi_max_iter",
    "shuffle",
    "tol",
    "trace",
)


def minimise_phi(
    student: Any,
    start: Blueprint,
    growth: Growth,
    old: OldData,
    dtype: Any,
    monitor: FitMonitor | None = None,
) -> Blueprint:
    """Return the value of phi, and set ``phi_history_``."""
    weights = (student.lambda_ce, student.lambda_teacher, student.lambda_noise, student.lambda_trace)
    if student.phi_max_iter == 0 or not any(weights):
        return start
    if student.lambda_teacher and is_start(student.start, net2net):
        warn_user(
            f"start={student.start!r} divides the teacher's weights among replicas, so that "
            f"lambda_teacher={student.lambda_teacher} pulls the student out of the teacher's function; use "
            "lambda_teacher=0."
        )
    codes = np.zeros(len(old.y), dtype=np.int64)
    codes[old.index] = encode_labels(old.labels, growth.teacher.classes, old.source, "the teacher")
    objective = build_objective(
        student,
        start,
        dtype,
        lambda_ce=float(student.lambda_ce),
        lambda_teacher=float(student.lambda_teacher),
        lambda_noise=float(student.lambda_noise),
        lambda_trace=float(student.lambda_trace),
        outputs=torch.from_numpy(growth.outputs).to(student.device),
        growth=growth if growth.layers else None,
        teacher=tuple(to_tensor(student, p, dtype) for p in growth.shared),
    )
    rows = build_rows(student, start, old.X, codes, old.weight, old.index)
    stage = monitor.begin_phi(student.phi_max_iter, start, old, growth.outputs) if monitor else None
    schedule = Schedule(
        max_iter=student.phi_max_iter,
        batch_size=count_batch(student, len(rows)),
        learning_rate_init=float(student.phi_learning_rate_init),
        decay=float(student.phi_learning_rate_decay),
        ema_decay=float(student.ema_decay),
        shuffle=student.shuffle,
        tol=student.tol,
        n_iter_no_change=student.n_iter_no_change,
        verbose=int(student.verbose),
        stage="phi",
        unit="phi, epoch",
        monitor=stage,
    )
    memory = check_memory(student.memory)
    key = None if memory.location is None else _key(student, start, growth, rows)
    minimise = memory.cache(_minimise, ignore=["student", "start", "rows", "objective", "schedule"])
    try:
        params, student.phi_history_, states = minimise(key, student, start, rows, objective, schedule)
    except _Stopped as stopped:
        params, student.phi_history_, states = stopped.result
    student._generator_states = tuple(torch.from_numpy(state.copy()) for state in states)
    blueprint = start.with_parameters(params)
    if stage is not None:
        stage.end(blueprint)
    return blueprint


class _Stopped(Exception):  # noqa: N818  it is none
    """A callback has stopped phi: the result is not what ``key`` says, and a cache keeps no exception."""

    def __init__(self, result: Result) -> None:
        self.result = result


def _minimise(
    key: Any, student: Any, start: Blueprint, rows: Rows, objective: Objective, schedule: Schedule
) -> Result:
    """Return parameters, history and the states of the generators; the result is determined by ``key``."""
    trained = run(student, start, rows, objective, schedule)
    result = trained.params, trained.history, [state.numpy() for state in student._generator_states]
    if schedule.monitor and schedule.monitor.stopped:
        raise _Stopped(result)
    return result


def _key(student: Any, start: Blueprint, growth: Growth, rows: Rows) -> str:
    """Return a hash of all that phi depends on: a short one, because joblib writes arguments down."""
    everything = {
        "versions": (version("skantidistill"), torch.__version__, torch.get_num_threads()),
        "parameters": {name: getattr(student, name) for name in _PARAMETERS},
        "start": (start.parameters, start.activation, start.input_scale, start.input_shift),
        "teacher": (growth.shared, growth.layers, growth.outputs, growth.features),
        "rows": (rows.inputs[rows.index], rows.targets[rows.index], rows.weight[rows.index]),
        "generators": [state.numpy() for state in student._generator_states],
    }
    return joblib.hash(everything)
