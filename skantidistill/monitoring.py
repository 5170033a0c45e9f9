"""What scikit-learn's own callbacks (``sklearn.callback``, from 1.9 on) are told of a fit.

A fit is a task with two subtasks, "phi" and "training", whose subtasks are epochs. A callback that asks to
stop at the end of an epoch ends that stage, phi or training, there.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from skantidistill.blueprint import Blueprint
from skantidistill.old_data import OldData

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn before 1.9 has no callbacks

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """An estimator that takes no callbacks: scikit-learn is too old for them."""

    def with_callbacks(method: Callable) -> Callable:
        """Return the method as it is."""
        return method


__all__ = ["CallbackSupportMixin", "FitMonitor", "Stage", "with_callbacks"]


class FitMonitor:
    """The callbacks of an estimator, from the beginning of its fit to the end.

    Parameters
    ----------
    estimator : estimator
        It is fitted inside ``with_callbacks``. Without callbacks nothing happens.
    X, y, sample_weight
        What ``fit`` was given.
    n_stages : int
        Number of stages to come.
    """

    def __init__(self, estimator: Any, X: Any, y: Any, sample_weight: Any, n_stages: int) -> None:
        self.told = {"estimator": estimator, "X": X, "y": y, "metadata": None}
        if sample_weight is not None:
            self.told["metadata"] = {"sample_weight": sample_weight}
        self.root: Any = None
        if hasattr(estimator, "_skl_callbacks"):
            self.root = estimator._init_callback_context(max_subtasks=n_stages)
            self.root.call_on_fit_task_begin(**self.told)

    def begin(self, name: str, max_iter: int, blueprint: Blueprint) -> "Stage | None":
        """Begin a stage that trains a network on the rows of ``fit``."""
        if self.root is None:
            return None
        return Stage(self.root.subcontext(name, max_subtasks=max_iter), self.told, blueprint)

    def begin_phi(
        self, max_iter: int, blueprint: Blueprint, old: OldData, outputs: np.ndarray
    ) -> "Stage | None":
        """Begin phi, which sees the rows of D1, with all columns but without their names.

        As in phi's terms, the student has the outputs of D1's classes only; others would make a log loss
        of D1's labels impossible.
        """
        if self.root is None:
            return None
        told = {**self.told, "X": lambda: old.X[old.index], "y": lambda: old.labels}
        if self.told["metadata"] is not None:
            told["metadata"] = lambda: {"sample_weight": old.weight[old.index]}
        task = self.root.subcontext("phi", max_subtasks=max_iter)
        return Stage(task, told, blueprint, np.sort(outputs), feature_names_in_=None)

    def end(self) -> None:
        """End the fit."""
        if self.root is not None:
            self.root.call_on_fit_task_end(**self.told, reconstruction_attributes={})


class Stage:
    """A stage of a fit, told to callbacks epoch by epoch.

    ``outputs`` are those of the estimator that callbacks score, None: all of them; ``others`` its attributes
    besides network and classes. ``stopped``: whether a callback has asked to stop.
    """

    def __init__(
        self,
        task: Any,
        told: dict[str, Any],
        blueprint: Blueprint,
        outputs: np.ndarray | None = None,
        **others: Any,
    ) -> None:
        self.task, self.told, self.blueprint = task, told, blueprint
        self.outputs, self.others = outputs, others
        self.stopped = False
        task.call_on_fit_task_begin(**told, reconstruction_attributes=self._fitted(blueprint))

    def begin_epoch(self) -> None:
        """Begin an epoch."""
        self.epoch = self.task.subcontext("epoch")
        self.epoch.call_on_fit_task_begin(**self.told)

    def end_epoch(self, params: list[Tensor]) -> None:
        """End an epoch in these parameters."""

        def fitted() -> dict[str, Any]:
            arrays = tuple(p.detach().cpu().numpy().copy() for p in params)
            return self._fitted(self.blueprint.with_parameters(arrays))

        self.stopped = self.epoch.call_on_fit_task_end(**self.told, reconstruction_attributes=fitted)

    def end(self, blueprint: Blueprint) -> None:
        """End the stage in this network."""
        self.task.call_on_fit_task_end(**self.told, reconstruction_attributes=self._fitted(blueprint))

    def _fitted(self, blueprint: Blueprint) -> dict[str, Any]:
        """Return the attributes by which an estimator predicts as this network does."""
        if self.outputs is not None:
            blueprint = blueprint.select_classes(self.outputs)
        return {"blueprint_": blueprint, "classes_": blueprint.classes, **self.others}
