"""Make a protocol of what a user asks for: whose data, and what the teacher knows of them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from skantidistill.datasets import Dataset
from skantidistill.study.errors import StudyError
from skantidistill.study.files import digest_of, load_table
from skantidistill.study.methods import n_steps
from skantidistill.study.problem import names_of
from skantidistill.study.protocols import PROTOCOLS, Protocol

__all__ = ["make_protocol"]

STEPS_OF_FILES = 2000


def make_protocol(
    data: str = "digits",
    *,
    target: str | None = None,
    teacher_classes: Sequence[str] | None = None,
    teacher_features: Sequence[str] | float | None = None,
    rows: int | None = None,
    hidden: Sequence[int] | None = None,
) -> Protocol:
    """Return the protocol of a data set by name, or of a file, with what is asked to differ.

    Parameters
    ----------
    data : str, default="digits"
        A key of ``PROTOCOLS``, or the path of a file (``.csv``, ``.parquet`` or ``.npz``).
    target : str, default=None
        Of a file: the column of the labels.
    teacher_classes : sequence of str, default=None
        The labels that the teacher knows, as they print; None: the lower half of them, or all where
        ``teacher_features`` is given or there are only two.
    teacher_features : sequence of str or float, default=None
        The columns that the teacher knows, or their share in (0, 1); None: all, but half of them where
        there are two classes only.
    rows : int, default=None
        Rows of D2; None: all training rows.
    hidden : sequence of int, default=None
        The students' hidden layers; the teacher's are half as wide.

    Returns
    -------
    protocol : Protocol
        To be given to :func:`~skantidistill.study.run_study`.

    Raises
    ------
    StudyError
        If a file can't be used, or classes, features or rows are asked for that there are not.
    skantidistill.datasets.DatasetError
        If the data can't be had.
    """
    if data in PROTOCOLS:
        if target is not None:
            raise StudyError(f"--target is for files; {data} has its labels.")
        protocol = PROTOCOLS[data]
        dataset = protocol.load(0)
    elif not Path(data).suffix and not Path(data).exists():
        raise StudyError(f"--data {data} is unknown; use {', '.join(PROTOCOLS)}, or a file.")
    else:
        digest = digest_of(data)
        dataset = load_table(data, target, digest, 0)
        protocol = _of_file(data, target, digest, dataset)
    classes = np.unique(dataset.y_train).tolist()
    if teacher_features is not None:
        _check_features(teacher_features, names_of(dataset))
        known = teacher_features if isinstance(teacher_features, float) else tuple(teacher_features)
        protocol = replace(protocol, teacher_features=known, teacher_classes=tuple(classes))
    if teacher_classes is not None:
        protocol = replace(protocol, teacher_classes=_find_classes(teacher_classes, classes))
    if rows is not None:
        n_rows = len(dataset.y_train)
        if not len(classes) <= rows <= n_rows - len(classes):
            raise StudyError(
                f"--rows {rows} can't be had with every class among them and among the others: there are "
                f"{n_rows} training rows of {len(classes)} classes."
            )
        protocol = replace(protocol, rows=rows)
    if hidden is not None:
        halves = tuple(max(1, n // 2) for n in hidden)
        student = {**protocol.student, "hidden_layer_sizes": tuple(hidden)}
        teacher = {**protocol.teacher, "hidden_layer_sizes": halves}
        protocol = replace(protocol, student=student, teacher=teacher)
    return protocol


def _of_file(data: str, target: str | None, digest: str, dataset: Dataset) -> Protocol:
    """Return a protocol by the size of a data set: widths by its columns, epochs by its rows."""
    classes = np.unique(dataset.y_train).tolist()
    known = tuple(classes if len(classes) == 2 else classes[: math.ceil(len(classes) / 2)])
    n_rows, n_features = dataset.X_train.shape
    width = min(max(2 ** math.ceil(math.log2(max(n_features / 2, 1))), 16), 128)
    batch_size = 16 if n_rows < 1000 else 64 if n_rows < 10_000 else 256
    epochs = min(max(math.ceil(STEPS_OF_FILES / n_steps(n_rows, batch_size)), 10), 100)
    student = {"hidden_layer_sizes": (2 * width, width), "batch_size": batch_size, "max_iter": epochs}
    return Protocol(
        title=Path(data).name,
        data=data,
        teacher_classes=known,
        teacher={"hidden_layer_sizes": (width, width // 2), "batch_size": batch_size},
        teacher_phases=((epochs, 1e-3),),
        student={**PROTOCOLS["digits"].student, **student},
        # Columns have the standard deviation 1.
        fgsm_epsilon=0.1,
        noise_epsilon=0.15,
        n_steps_few_rows=epochs * n_steps(n_rows, batch_size),
        teacher_features=0.5 if len(classes) == 2 and n_features > 1 else None,
        target=target,
        digest=digest,
    )


def _find_classes(wanted: Sequence[str], classes: list[Any]) -> tuple[Any, ...]:
    by_name = {str(label): label for label in classes}
    unknown = [name for name in wanted if name not in by_name]
    if unknown:
        raise StudyError(
            f"--teacher-classes: {', '.join(unknown)} does not occur; the classes are {_listed(by_name)}."
        )
    if len(set(wanted)) < max(2, len(wanted)):
        raise StudyError("--teacher-classes: name at least two classes, each once.")
    return tuple(label for name, label in by_name.items() if name in wanted)


def _check_features(wanted: Sequence[str] | float, names: tuple[str, ...]) -> None:
    if isinstance(wanted, float):
        return
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise StudyError(
            f"--teacher-features: {', '.join(unknown)} does not occur; the columns are {_listed(names)}."
        )
    if len(set(wanted)) < len(wanted):
        raise StudyError("--teacher-features: a column is named twice.")


def _listed(names: Iterable[str], most: int = 12) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
