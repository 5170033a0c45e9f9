"""Run a skorch net over in-memory rows: steps, stopping, history."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from sklearn.base import clone
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, Freezer, LRScheduler, Unfreezer
from skorch.helper import predefined_split
from torch import Tensor

from skantidistill._checks import quoted
from skantidistill.epochs import EndTraining, Monitor, PrintEpochs, ProgressBar, Stopping
from skantidistill.faults import Interrupted, ctrl_c_waits
from skantidistill.network import ACTIVATIONS, Batch, Parameters, cross_entropy_rows, weighted_mean
from skantidistill.rows import Minibatches, Rows
from skantidistill.steps import Adam, Average

__all__ = [
    "Callback",
    "Schedule",
    "Trained",
    "Training",
    "check_callbacks",
    "check_finite",
    "divergence",
    "epoch_columns",
    "means",
    "train",
    "validation_values",
]

Arrays = tuple[np.ndarray, ...]


class Loss(Protocol):
    """What is minimised: see :class:`skantidistill.objective.Objective`."""

    def draw(self, params: Parameters, batch: Batch, generator: torch.Generator) -> Any: ...

    def logits(self, params: Parameters, batch: Batch) -> Tensor: ...

    def descend(
        self, params: Parameters, batch: Batch, draws: Any
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]: ...


@dataclass(frozen=True)
class Schedule:
    """How long and in which steps a network trains; names and meanings are scikit-learn's.

    ``tol=None`` never stops early; ``decay`` multiplies the learning rate after every epoch; ``ema_decay`` is
    that of the average of the parameters which is the result (0: the last step's); ``stage`` names the run in
    messages, ``unit`` its epochs; ``verbose``: 1 prints a line an epoch, 2 shows a bar of all of them.
    """

    max_iter: int
    batch_size: int
    learning_rate_init: float
    decay: float = 1.0
    ema_decay: float = 0.0
    shuffle: bool = True
    tol: float | None = None
    n_iter_no_change: int = 10
    freeze_iter: int = 0
    verbose: int = 0
    stage: str = "training"
    unit: str = "Iteration"
    callbacks: Sequence[Any] = field(default=())
    monitor: Monitor | None = None


@dataclass(frozen=True)
class Trained:
    """Parameters after training, a history row an epoch, and what a later run goes on from.

    ``stopped``: whether ``tol`` or a callback ended the run, rather than ``max_iter``.
    """

    params: Arrays
    history: list[dict[str, Any]]
    state: dict[str, Any]
    stopped: bool


@dataclass(frozen=True)
class Training:
    """A training that is to be done: what :func:`train` takes."""

    params: Arrays
    activation: str
    rows: Rows
    objective: Loss
    schedule: Schedule
    shuffle_generator: torch.Generator
    draw_generator: torch.Generator
    valid_rows: Rows | None = None
    state: dict[str, Any] | None = None

    def alone(self) -> Trained:
        """Do it."""
        return train(
            self.params,
            self.activation,
            self.rows,
            self.objective,
            self.schedule,
            shuffle_generator=self.shuffle_generator,
            draw_generator=self.draw_generator,
            valid_rows=self.valid_rows,
            state=self.state,
        )

    def repeat(self, first: "Training", value: Trained) -> Trained:
        """Return what an identical training has given, and go on with the random numbers where it does."""
        self.shuffle_generator.set_state(first.shuffle_generator.get_state())
        self.draw_generator.set_state(first.draw_generator.get_state())
        return copy.deepcopy(value)


def train(
    params: Arrays,
    activation: str,
    rows: Rows,
    objective: Loss,
    schedule: Schedule,
    *,
    shuffle_generator: torch.Generator,
    draw_generator: torch.Generator,
    valid_rows: Rows | None = None,
    state: dict[str, Any] | None = None,
) -> Trained:
    """Minimise an objective over rows by Adam, starting from ``params``.

    Parameters
    ----------
    params : tuple of ndarray (W_1, b_1, ..., W_L, b_L)
        Weights are (n_out, n_in). Not written to.
    activation : str
        Activation of the hidden layers.
    rows, valid_rows : Rows
        Training rows; with validation rows, stopping watches their accuracy and the best
        parameters are returned.
    objective : Objective
        What is minimised.
    schedule : Schedule
        Epochs, steps, stopping.
    shuffle_generator, draw_generator : torch.Generator
        Of the order of rows, and of the objective's draws.
    state : dict, default=None
        ``Trained.state`` of an earlier run that ended in ``params``, to go on from.

    Returns
    -------
    trained : Trained

    Raises
    ------
    ValueError
        If a term or a parameter becomes infinite or NaN.
    """
    _import_all_of_torch()
    module = _build_module(params, activation).to(rows.device)
    average = None
    if schedule.ema_decay:
        average = Average(module, schedule.ema_decay, state)
    stopping = Stopping(schedule.tol, schedule.n_iter_no_change, valid_rows is not None, schedule.monitor)
    watching = _callbacks(schedule, module, stopping)
    net = _Net(
        module,
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=Adam,
        optimizer__fused=True,
        lr=schedule.learning_rate_init,
        batch_size=schedule.batch_size,
        iterator_train=Minibatches,
        iterator_train__shuffle=schedule.shuffle,
        iterator_train__generator=shuffle_generator,
        iterator_valid=Minibatches,
        train_split=None if valid_rows is None else predefined_split(valid_rows),
        classes=np.arange(len(params[-1])),
        # The rule watches first and stops last: a user's callbacks see the last epoch, and it sees theirs.
        callbacks=[stopping, *watching, *schedule.callbacks, EndTraining(stopping)],
        callbacks__train_loss=None,
        callbacks__valid_loss=None,
        callbacks__valid_acc=None,
        callbacks__print_log=None,
        max_epochs=schedule.max_iter,
        verbose=0,
        device=rows.device,
    )
    net.objective_, net.draw_generator_, net.unit_ = objective, draw_generator, schedule.unit
    net.average_ = average
    net.best_ = {}
    net.initialize()
    if state is not None:
        net.optimizer_.load_state_dict(state["optimizer"])
        for group in net.optimizer_.param_groups:
            group["lr"] = schedule.learning_rate_init
            group.pop("initial_lr", None)  # a scheduler's memory of the earlier run's
    try:
        net.partial_fit(rows)
    except KeyError as error:
        if "history" in str(error):  # skorch's words
            columns = ", ".join(sorted(set(net.history[-1]) - {"batches"}))
            error.add_note(
                f"A callback reads this from the history, which has {columns}; valid_loss and valid_acc need "
                "early_stopping=True. Give the callback monitor='train_loss', say."
            )
        raise
    finally:
        for callback in watching:
            if isinstance(callback, ProgressBar):
                callback.close()
    history = [{k: v for k, v in row.items() if k != "batches"} for row in net.history]
    ended = stopping.stopped or len(history) < schedule.max_iter
    by_callback = bool(schedule.callbacks and history and "train_loss" in history[-1])
    if ended and not (stopping.stopped or by_callback):
        raise Interrupted  # a KeyboardInterrupt between two epochs, which skorch has swallowed
    final = stopping.best_params if valid_rows is not None else list(module.parameters())
    arrays = tuple(p.detach().cpu().numpy().copy() for p in final)
    if not all(np.isfinite(a).all() for a in arrays):
        raise ValueError(divergence(schedule.unit, len(net.history), "parameters"))
    state = {"optimizer": net.optimizer_.state_dict()}
    if average is not None:
        state |= average.state(final)
    return Trained(arrays, history, state, ended)


def check_callbacks(callbacks: Any) -> list[Any]:
    """Return clones of a user's callbacks: skorch callbacks, their classes, or pairs (name, callback)."""
    for given in callbacks or []:
        callback = given[1] if isinstance(given, tuple) and len(given) == 2 else given
        kind = callback if isinstance(callback, type) else type(callback)
        if not issubclass(kind, Callback):
            raise TypeError(
                f"callbacks has {quoted(given)}, which is no skorch callback; give those of "
                "skorch.callbacks, such as [LRScheduler()]."
            )
    return clone(list(callbacks or []), safe=False)


class _Net(NeuralNetClassifier):
    """A skorch net that minimises an objective and asks for no number before the epoch ends."""

    def train_step(self, batch: Batch, **fit_params: Any) -> dict[str, Any]:
        params = self.params_
        draws = self.objective_.draw(params, batch, self.draw_generator_)
        loss, parts, logits = self.objective_.descend(params, batch, draws)
        if self.heard_["on_grad_computed"]:
            named = list(self.module_.named_parameters())
            self.notify("on_grad_computed", named_parameters=named, batch=batch[:2], training=True)
        with torch.no_grad():
            self.optimizer_.advance()
            if self.average_:
                self.average_.update()
        return {"loss": loss, "y_pred": logits, "names": list(parts), "values": [loss, *parts.values()]}

    def run_single_epoch(
        self, iterator: Any, training: bool, prefix: str, step_fn: Callable, **fit_params: Any
    ) -> None:
        if iterator is None:
            return
        step_fn = step_fn if training else self._validate
        self.heard_, self.params_ = _heard(self), tuple(self.module_.parameters())
        values, weights = [], []
        average = self.average_ if training else None
        try:
            if average:
                average.begin_epoch()
            for batch in iterator:
                if self.heard_["on_batch_begin"]:
                    self.notify("on_batch_begin", batch=batch[:2], training=training)
                step = step_fn(batch)
                values += step.pop("values")
                weights.append(batch.weight.sum())
                names = step.pop("names")
                if self.heard_["on_batch_end"]:
                    self.notify("on_batch_end", batch=batch[:2], training=training, **step)
            if average:
                average.end_epoch()
        except KeyboardInterrupt as interrupt:
            raise Interrupted from interrupt  # skorch would take it for a callback's wish to stop
        table, weight = torch.stack(values).double().cpu(), torch.stack(weights).double().cpu()
        table = table.view(len(weights), -1)
        mean = means(table, weight)
        check_finite(torch.vstack([table, mean]), names, self.unit_, len(self.history))
        for name, value in epoch_columns(f"{prefix}_loss", names, mean.tolist(), self.best_).items():
            self.history.record(name, value)

    def _validate(self, batch: Batch) -> dict[str, Any]:
        with torch.no_grad():
            logits = self.objective_.logits(self.params_, batch)
            values = validation_values(logits, batch)
        return {"loss": values[0], "y_pred": logits, "names": ["valid_acc"], "values": values}


def validation_values(logits: Tensor, batch: Batch) -> list[Tensor]:
    """Return the loss and the accuracy on a batch."""
    rows = cross_entropy_rows(logits, batch.y)
    hits = (logits.argmax(dim=-1) == batch.y).to(rows)
    return [weighted_mean(r, batch.weight) for r in (rows, hits)]


def means(table: Tensor, weight: Tensor) -> Tensor:
    """Return the mean over minibatches, which come first in a table and in their weights."""
    return (weight[:, None] * table).sum(dim=0) / weight.sum(dim=0)


def epoch_columns(
    loss: str, names: Sequence[str], values: Sequence[float], best: dict[str, float]
) -> dict[str, Any]:
    """Return columns of the history, with whether a value is the best so far; ``best`` has these."""
    columns: dict[str, Any] = {}
    for name, value in zip([loss, *names], values, strict=True):
        columns[name] = value
        if name.startswith(("train_", "valid_")):
            better = max if name.endswith("acc") else min
            best[name] = better(value, best.get(name, value))
            columns[f"{name}_best"] = best[name] == value
    return columns


def _heard(net: NeuralNetClassifier) -> dict[str, bool]:
    """Say which moments of a batch a callback listens to: telling one that does not still takes time.

    Where none listens to the beginning or the end, ``history`` gets one batch an epoch, which skorch's
    Checkpoint asks for.
    """
    moments = ["on_batch_begin", "on_batch_end", "on_grad_computed"]
    methods = {moment: [getattr(callback, moment) for _, callback in net.callbacks_] for moment in moments}
    heard = {
        moment: any(getattr(m, "__func__", m) is not getattr(Callback, moment) for m in methods[moment])
        for moment in moments
    }
    heard["on_batch_begin"] = heard["on_batch_begin"] or heard["on_batch_end"]
    if not heard["on_batch_begin"]:
        net.history.new_batch()
    return heard


def _callbacks(schedule: Schedule, module: torch.nn.Module, stopping: Stopping) -> list[Any]:
    """Return what a schedule asks for besides stopping."""
    callbacks: list[Any] = []
    if schedule.freeze_iter:
        hidden = [name for name, _ in list(module.named_parameters())[:-2]]
        if hidden:
            callbacks += [Freezer(hidden), Unfreezer(hidden, at=schedule.freeze_iter + 1)]
    if schedule.decay != 1:
        callbacks.append(LRScheduler(policy="ExponentialLR", gamma=schedule.decay))
    if schedule.verbose == 1:
        callbacks.append(PrintEpochs(schedule.stage, schedule.unit, stopping))
    elif schedule.verbose > 1:
        callbacks.append(ProgressBar(schedule.stage, schedule.max_iter, stopping))
    return callbacks


@cache
def _import_all_of_torch() -> None:
    """Make a step of an optimizer, for whose first one torch imports half of itself.

    That takes seconds, and a Ctrl-C in it would break torch for the rest of the process.
    """
    with ctrl_c_waits():
        parameter = torch.zeros(1, requires_grad=True)
        parameter.grad = torch.zeros(1)
        torch.optim.Adam([parameter]).step()


def _build_module(params: Arrays, activation: str) -> torch.nn.Sequential:
    """Return Linear layers with an activation between them, holding a copy of the parameters."""
    sizes = [params[0].shape[1], *(len(bias) for bias in params[1::2])]
    layers: list[torch.nn.Module] = []
    for (n_in, n_out), weight, bias in zip(pairwise(sizes), params[::2], params[1::2], strict=True):
        linear = torch.nn.Linear(n_in, n_out, device="meta")  # the global random state is not touched
        linear.weight, linear.bias = (torch.nn.Parameter(torch.tensor(p)) for p in (weight, bias))
        layers += [linear, ACTIVATIONS[activation].module()]
    return torch.nn.Sequential(*layers[:-1])


def check_finite(table: Tensor, names: list[str], stage: str, epoch: int) -> None:
    """Raise if a number is infinite or NaN, naming the term that was so first."""
    broken = ~torch.isfinite(table)
    if broken.any():
        first = broken[int(broken.any(dim=1).nonzero()[0])]
        terms = [name for name, bad in zip(names, first[1:].tolist(), strict=True) if bad]
        raise ValueError(divergence(stage, epoch, " and ".join(map(repr, terms)) or "the weighted sum"))


def divergence(stage: str, epoch: int, what: str) -> str:
    """Say that training diverged."""
    return (
        f"Training diverged in {stage} {epoch}: first {what} became infinite or NaN. Scale X (for "
        "example by StandardScaler), or lower learning_rate_init (in phi: phi_learning_rate_init) or the "
        "weight of that term (lambda_noise for 'noise' and so on, alpha for 'penalty')."
    )
